/*
 * account.h - a user of the guest, from its password database; becoming him; and the record of who
 * is logged in (utmp).
 */
#ifndef PARTITA_GUEST_ACCOUNT_H
#define PARTITA_GUEST_ACCOUNT_H

#include <stdbool.h>
#include <sys/types.h>

struct account {
	char *name, *home, *shell;
	uid_t uid;
	gid_t gid;
};

/* account_find - false: there is no such user. account_free() when it is found. */
bool account_find(struct account *a, const char *name);
void account_free(struct account *a);

/*
 * account_become - drop everything that is not the user's, for good. The supplementary groups are
 * those that the process has. Who is not root can only become who he is. Returns 0, or a negative
 * errno.
 */
int account_become(const struct account *a);

/*
 * account_environment - what a login gives: HOME, SHELL, USER, LOGNAME, PATH, TERM unless it is
 * empty, then @more ("NAME=value", such as PAM's). NULL: no memory. It is not freed: a program
 * follows.
 */
char **account_environment(const struct account *a, const char *term, char **more);

/* account_record - say in utmp and wtmp that he came on the terminal (@came), or left it. */
void account_record(const char *name, const char *tty, pid_t pid, bool came);

#endif
