/*
 * privilege.h - giving up what a process may do, before it reads anything hostile.
 */
#ifndef PARTITA_BASE_PRIVILEGE_H
#define PARTITA_BASE_PRIVILEGE_H

/*
 * privilege_drop - root becomes nobody; no capabilities, and none to be had (no_new_privs). In a
 * container that does not know nobody, root stays who it is, without its powers. Returns 0, or a
 * negative errno. See capabilities(7), prctl(2).
 */
int privilege_drop(void);

#endif
