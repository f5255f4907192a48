/*
 * privilege.h - giving up what a process may do, before it reads anything hostile.
 */
#ifndef PARTITA_BASE_PRIVILEGE_H
#define PARTITA_BASE_PRIVILEGE_H

#include <stdbool.h>

/*
 * privilege_drop - root becomes nobody; no capabilities, and none to be had (no_new_privs). In a
 * container that does not know nobody, root stays who it is, without its powers. Returns 0, or a
 * negative errno. See capabilities(7), prctl(2).
 */
int privilege_drop(void);

/*
 * privilege_filter - from now on the process (all of its threads) can make these @count system
 * calls only; with @threads also threads, but no processes. Any other fails with EPERM, which a
 * library that merely probes survives. For good, and after privilege_drop(). In a program built
 * with a sanitizer, which needs calls of its own, it does nothing. Returns 0, or a negative errno.
 * See seccomp(2).
 */
int privilege_filter(const int *calls, unsigned count, bool threads);

#endif
