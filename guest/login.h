/*
 * login.h - one connection from the host, from its first byte to its end, in a process of its own.
 *
 *   listener (agent.c)   accepts, and forks for each connection
 *   login                root: proves that it is the agent, talks to PAM, opens and closes the
 *                        session; takes only checked messages
 *   relay                nobody, seccomp: TLS and the parsing of messages (session/relay.h)
 *   session              the user: streams, the terminal (command.c); the command is its child
 */
#ifndef PARTITA_GUEST_LOGIN_H
#define PARTITA_GUEST_LOGIN_H

#include <stdint.h>

#include "session/message.h"
#include "settings.h"

struct connection {
	const struct settings *settings;
	const char *key;     /* the file of the agent's key */
	const char *confdir; /* of PAM's services, or NULL */
	int wire;
	int accepted;  /* a pipe: the process's id is written when its user is accepted */
	char peer[32]; /* who it is, for the log */
};

/* login_serve - serve it; returns when it is over. */
void login_serve(struct connection *c);

/*
 * login_receive - a message from the host before @deadline (loop_now()). Returns 1; anything else:
 * the connection is over, for a reason that was logged.
 */
int login_receive(int packets, struct session_message *m, uint64_t deadline);

#endif
