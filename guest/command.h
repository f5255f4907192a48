/*
 * command.h - what an accepted user started: his login shell, a command, or a file transfer.
 */
#ifndef PARTITA_GUEST_COMMAND_H
#define PARTITA_GUEST_COMMAND_H

#include "account.h"
#include "session/message.h"

struct command {
	int packets;
	int master;	 /* of the terminal, -1: none */
	const char *tty; /* its name */
	const struct account *account;
	char **environment; /* PAM's */
	const struct session_message *start;
};

/*
 * command_run - become the user, start it, and serve its streams until it ends or the host goes,
 * which hangs it up. In a process that is for this alone; returns its exit status.
 */
int command_run(const struct command *c);

#endif
