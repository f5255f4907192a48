/*
 * confine.h - a worker gives up what a running machine does not need, so that a guest that breaks
 * out of its processor finds little.
 */
#ifndef PARTITA_WORKER_CONFINE_H
#define PARTITA_WORKER_CONFINE_H

/*
 * confine - for good: root becomes nobody and has no capabilities left, no program gains
 * privileges, and only those system calls work that a machine with everything open needs (it
 * can open, execute, connect and signal nothing). Holds for all threads, there already or to come;
 * called before the guest executes. Returns 0 or a negative errno.
 */
int confine(void);

#endif
