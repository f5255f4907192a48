/*
 * socket_connection.h - one connection; private to socket.c, which knows of its life, and
 * socket_stream.c, which moves its bytes.
 */
#ifndef PARTITA_VSP_SOCKET_CONNECTION_H
#define PARTITA_VSP_SOCKET_CONNECTION_H

#include <pthread.h>

#include "vsp/socket.h"
#include "vsp/socket_protocol.h"

enum phase {
	WAITING, /* it has no channel: the guest has yet to let go of others */
	OFFERED, /* the guest has not opened the channel */
	OPEN,
	ENDED, /* the descriptor is closed; the guest has yet to let go */
};

struct connection {
	struct sockets *sockets;
	struct vmbus_channel *channel;
	struct socket_request request;
	bool from_guest;
	uint32_t port; /* of the host's end, unless @from_guest */
	GUID instance; /* of the channel: the end that connects */

	/*
	 * Guarded by the lock of @sockets; the phase of an open connection is the serving thread's.
	 */
	struct connection *next, **link;
	enum phase phase;
	uint64_t deadline; /* WAITING, OFFERED: to open it; OPEN: to end it; 0: none */
	uint64_t ask_at;   /* OFFERED: when to ask what the guest has seen */
	unsigned round;	   /* how often it had been asked when it was offered */
	bool refused;	   /* the guest has seen it and did not open it */

	/* The serving thread's, while it is OPEN. */
	struct loop_watch *watch;
	uint32_t events; /* that are watched for */
	uint32_t skip;	 /* bytes to drop yet */
	uint32_t sent;	 /* of the packet that receive() left */
	bool host_end;	 /* the program's stream is at its end */
	bool end_put;	 /* and the guest was told */
	bool guest_end;	 /* the guest's is, and the program was told */
	bool hung_up;	 /* the program has closed */
	bool full;	 /* the ring to the guest is */
	bool held;	 /* the socket is full: receive() left a packet */
	bool moved;	 /* pump() put something there */
	bool stalled;	 /* a deadline runs, because nothing moves */
	bool ending;	 /* or because all was said */
};

/* socket.c: end the connection in so many ms; 0: not for that reason any more. */
void connection_deadline(struct connection *c, unsigned ms);
/* socket.c: how long nothing may move, ms. */
unsigned connection_stall(const struct connection *c);

/* socket_stream.c; all on the serving thread. stream_open() returns 0 or a negative errno. */
int stream_open(struct connection *c);
void stream_close(struct connection *c);
int stream_receive(void *ctx, struct vmbus_channel *ch, const struct vmbus_packet *packet);
void stream_room(void *ctx, struct vmbus_channel *ch);

#endif
