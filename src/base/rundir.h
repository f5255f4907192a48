/*
 * rundir.h - where the sockets and notes of a user's running processes are: what PARTITA_RUN_DIR
 * names, or /run/partita for root, $XDG_RUNTIME_DIR/partita for others (XDG Base Directory
 * Specification). Who runs as root runs for all users, who may look there; another user's directory
 * is his alone.
 */
#ifndef PARTITA_BASE_RUNDIR_H
#define PARTITA_BASE_RUNDIR_H

#include <limits.h>
#include <stdbool.h>

/* rundir_own - this user's own. False: there is none, since XDG_RUNTIME_DIR is not set. */
bool rundir_own(char path[PATH_MAX]);

/*
 * rundir_look - the @index-th directory to look in for what runs: this user's own first, then the
 * system's, unless PARTITA_RUN_DIR says where. False: there are no more.
 */
bool rundir_look(unsigned index, char path[PATH_MAX]);

/*
 * rundir_path - the path of the directory @part ("machines") in it. *@path is the caller's. Returns
 * 0, -ENOENT: this user has none, since XDG_RUNTIME_DIR is not set; or -ENOMEM.
 */
int rundir_path(const char *part, char **path);
/* rundir_make - that directory, made where it is missing. Errors are also those of mkdir(2). */
int rundir_make(const char *part, char **path);

#endif
