/*
 * table.h - what libhvsocket knows of a program's sockets beyond what the kernel does. This is the
 * one place with state of the process: the program calls socket() and its like with nothing but a
 * descriptor.
 *
 * A socket is known by its inode, which is the same for all its descriptors (dup(2), fork(2)) and
 * not used again soon, so nothing needs to be told when one is closed: each time the table has
 * grown to double, sockets that no descriptor of the process has any more are dropped. What is
 * looked up is a copy; any thread may, and a process that forks keeps its table in both.
 */
#ifndef PARTITA_HVSOCKET_TABLE_H
#define PARTITA_HVSOCKET_TABLE_H

#include <sys/types.h>

#include "hvsocket/address.h"

enum hv_stage {
	HV_FRESH,
	HV_BOUND, /* to a listener's place */
	HV_NAMED, /* to the name of a connecting end */
	HV_CONNECTING,
	HV_CONNECTED,
	HV_FAILED, /* the kernel's socket is used up */
};

struct hv_socket {
	ino_t inode;
	int family; /* as the program says */
	enum hv_stage stage;
	struct hv_address self, peer;
	unsigned timeout_ms; /* 0: the default */
	int error;	     /* negative errno that SO_ERROR has still to tell */
};

/* table_is_empty - without a lock: no socket of the process is one of ours. */
bool table_is_empty(void);
/* table_find - false: @fd is no socket of ours. */
bool table_find(int fd, struct hv_socket *s);
/* table_put - keep *@s for @fd, in place of what is known of it. Returns 0 or a negative errno. */
int table_put(int fd, struct hv_socket *s);

#endif
