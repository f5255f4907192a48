/*
 * socket.h - Hyper-V sockets: connections between programs of the host and of the guest, each a
 * channel.
 *
 * To a program of the host a connection is a Unix stream socket of which this provider holds the
 * other end; so blocking, polling, shutdown and flags of recv(2) are the kernel's own. Bytes go
 * from the socket straight into the ring to the guest and from the guest's ring straight into the
 * socket. When either is full nobody reads from the other.
 *
 *	the program                       the guest
 *	shutdown(SHUT_WR), or closes      reads the rest, then the end of the stream
 *	reads the rest, then the end      shutdown(SHUT_WR), or closes
 *	reads the rest, then the end, or  the machine is reset, or ends
 *	ECONNRESET; EPIPE when it writes
 * When both are done, or the program closed, the guest has SOCKET_LINGER ms to take what is left;
 * then the channel is rescinded.
 *
 * A guest that has finished sending, and then takes nothing for SOCKET_STALL ms, has closed: its
 * driver says no more about that. One that takes nothing for as long after the program has closed,
 * whatever it goes on sending, never will.
 *
 * Channels are served by a few threads that they share (VMBUS_SERVED_TOGETHER).
 */
#ifndef PARTITA_VSP_SOCKET_H
#define PARTITA_VSP_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "vmbus/vmbus.h"

#define SOCKET_LINGER 2000u
#define SOCKET_STALL  120000u
/* How long a guest may take to open the channel of its own connection, with thousands before it. */
#define SOCKET_GUEST_OPENS 30000u
/*
 * After this the guest is asked whether it has seen the offer: without a listener it says nothing.
 */
#define SOCKET_ASK 200u

/*
 * So many closed connections may the guest yet have to let go of; then new ones wait. Linux frees
 * their rings, 512 KiB each perhaps, when it has nothing else to do: whoever connects and closes
 * without a pause would use up its memory, and the numbers of channels.
 */
#define SOCKET_LEAVING_MAX 256u

struct sockets;

/* A program of the host that wants to be connected to the guest. */
struct socket_request {
	int fd; /* a Unix stream socket; becomes the provider's */
	GUID service;
	unsigned timeout_ms;
	uint32_t skip; /* so many bytes of the stream are dropped once the guest has accepted */
	unsigned kind; /* for answered() */
};

struct sockets_config {
	const char *name;  /* of the machine; stays the caller's */
	struct loop *loop; /* for timers */
	/*
	 * How a request ended, before any byte of the stream: 0, and the port of the host's end
	 * that the guest sees; or -ECONNREFUSED (nobody listens), -ETIMEDOUT, -ECONNRESET (the
	 * machine goes), or what vmbus_offer() fails with, after which the descriptor is closed.
	 * Any thread; must not wait.
	 */
	void (*answered)(void *ctx, const struct socket_request *r, int err, uint32_t port);
	void *ctx;
	unsigned stall_ms; /* in place of SOCKET_STALL; 0: that */
};

/* sockets_create - no connections yet. Returns 0, -ENOMEM, or a negative errno. */
int sockets_create(struct vmbus *bus, const struct sockets_config *config, struct sockets **s);
/* sockets_destroy - end all connections. No processor and no loop runs; the guest is forgotten. */
void sockets_destroy(struct sockets *s);

/* sockets_connect - connect a program to the guest; the answer comes by answered(). Any thread. */
void sockets_connect(struct sockets *s, const struct socket_request *request);
/*
 * sockets_accept - answer a guest that connects from @endpoint to @service: @fd, which becomes the
 * provider's, is the connection. Any thread. Returns 0; or a negative errno, the guest shall be
 * refused.
 */
int sockets_accept(struct sockets *s, const GUID *endpoint, const GUID *service, int fd);

#endif
