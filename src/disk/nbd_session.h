/*
 * nbd_session.h - one client of an export: what its handshake (nbd_handshake.c) agrees on for the
 * transmission phase (nbd_session.c).
 */
#ifndef PARTITA_DISK_NBD_SESSION_H
#define PARTITA_DISK_NBD_SESSION_H

#include "disk/nbd.h"
#include "disk/nbd_protocol.h"

/* The metadata context base:allocation, when the client selected it. */
#define NBD_CONTEXT_ALLOCATION 1u

struct nbd_terms {
	bool structured; /* replies to reads and block status are structured */
	bool allocation; /* NBD_CMD_BLOCK_STATUS answers NBD_CONTEXT_ALLOCATION */
};

/*
 * nbd_handshake - negotiate with the client at the nonblocking socket @fd. 0: the transmission
 * phase begins, on @terms; 1: the client left as it may; or a negative errno: -EPROTO, -ETIMEDOUT
 * for one that takes too long, -ESHUTDOWN because @stop became readable.
 */
int nbd_handshake(const struct nbd_export *x, int fd, int stop, struct nbd_terms *terms);

#endif
