/*
 * nbd.h - a disk for clients of the Network Block Device protocol: qemu, nbdkit, libnbd, the
 * kernel.
 *
 * What it promises:
 * - Fixed newstyle negotiation, structured replies, base:allocation, block sizes; what a client may
 *   ask for is in its flags. TLS is left to the socket's permissions.
 * - A client's requests run at once and are answered as they finish; clients are independent of
 *   each other, and a flush of one covers what was answered to all.
 * - Whatever a client sends costs its own connection at most: a thread, NBD_MAX_HELD bytes for
 *   data.
 */
#ifndef PARTITA_DISK_NBD_H
#define PARTITA_DISK_NBD_H

#include "disk/disk.h"

/* The limits. A request with more data than this ends the connection; clients are told it. */
#define NBD_MAX_PAYLOAD	 (32u << 20) /* bytes */
#define NBD_MAX_HELD	 (64u << 20) /* bytes of data a connection holds at once */
#define NBD_MAX_REQUESTS 128u	     /* of a connection, at once */
#define NBD_MAX_CLIENTS	 64u

struct nbd_export {
	struct disk_engine *engine;
	struct disk *disk;
	const char *name; /* what clients may call it, beside ""; at most 4096 bytes of UTF-8 */
	bool read_only;
};

/*
 * nbd_serve_client - serve the client at the socket @fd, from the greeting until it leaves, does
 * what no client may, or @stop becomes readable (then what it has asked for is answered first). The
 * socket becomes nonblocking and stays the caller's. Returns 0, or a negative errno: -EPROTO for a
 * client that does not speak the protocol, -ENOMEM.
 */
int nbd_serve_client(const struct nbd_export *x, int fd, int stop);

struct nbd_server;

/*
 * nbd_server_start - serve every client that connects to the listening socket @fd, each in a
 * thread.
 * @x and what it refers to must stay until the end; the socket stays the caller's. A client beyond
 * NBD_MAX_CLIENTS waits until another leaves. Returns 0 or a negative errno.
 */
int nbd_server_start(const struct nbd_export *x, int fd, struct nbd_server **server);
/* nbd_server_stop - answer what was asked for, hang up, and end the threads. NULL is allowed. */
void nbd_server_stop(struct nbd_server *s);

#endif
