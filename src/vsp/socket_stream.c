/*
 * socket_stream.c - how the bytes of a connection move: from the program's socket into packets in
 * the ring to the guest, and from the guest's packets into the socket. Neither is copied in
 * between.
 *
 * When the ring is full nothing is read from the socket, until room() says that there is some; when
 * the socket is full the guest's packet stays in its ring, until the socket can be written. A
 * packet that was partly written is looked at anew each time, and checked anew: the guest may
 * change it.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "vsp/socket_connection.h"

/* Of the data that is put in a packet: enough to be worth a wakeup, and no more than leaves the
 * guest something to read while the next is put. */
#define PACKET_LEAST 4096u
#define PACKET_MOST  8192u
#define TURN	     16u /* packets, after which others on the thread get theirs */

_Static_assert(PACKET_MOST <= SOCKET_DATA_MAX, "a guest takes no more");

/* What the end of a stream takes in the ring. Linux leaves it there when it comes without data. */
#define END_BYTES                                                                                  \
	(uint32_t)(sizeof(struct vmbus_descriptor) + sizeof(struct socket_header) +                \
		   sizeof(struct vmbus_trailer))

/* What a watch waits for when it is only to tell that the program has closed. */
#define HANGUP_ONLY EPOLLPRI

/* ---- To the guest ---------------------------------------------------------------------------- */

static void put_header(uint8_t *at, uint32_t size)
{
	struct socket_header header = {.type = SOCKET_DATA, .size = size};

	memcpy(at, &header, sizeof(header));
}

/* Bytes that the program sent before the stream. False: not all of them have come. */
static bool drop(struct connection *c)
{
	char scrap[4096];

	while (c->skip) {
		ssize_t n = recv(c->request.fd, scrap,
			c->skip < sizeof(scrap) ? c->skip : sizeof(scrap), MSG_DONTWAIT);

		if (n <= 0)
			return false;
		c->skip -= (uint32_t)n;
	}
	return true;
}

/* Room for a packet's data; 0: there is none. */
static uint32_t reserve(struct connection *c, uint32_t least, uint32_t most, uint8_t **at)
{
	const uint32_t header = sizeof(struct socket_header);
	int room = vmbus_reserve(c->channel, header + least, header + most, at);

	/* A ring that is too small for that. */
	if (room == -EMSGSIZE)
		room = vmbus_reserve(c->channel, header + least / 8, header + most, at);
	if (room == -EAGAIN)
		c->full = true;
	return room < 0 ? 0 : (uint32_t)room - header;
}

/* Moves one packet. False: there is no more for now. */
static bool move(struct connection *c)
{
	uint8_t *at;
	uint32_t room = reserve(c, PACKET_LEAST, PACKET_MOST, &at);
	ssize_t n;

	if (!room)
		return false;
	n = recv(c->request.fd, at + sizeof(struct socket_header), room, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		c->hung_up |= n < 0; /* it closed with something unread */
		c->host_end = true;
		return false;
	}
	put_header(at, (uint32_t)n);
	vmbus_commit(c->channel, (uint32_t)sizeof(struct socket_header) + (uint32_t)n);
	c->moved = true;
	return (uint32_t)n == room;
}

static void put_end(struct connection *c)
{
	uint8_t *at;
	int room = vmbus_reserve(
		c->channel, sizeof(struct socket_header), sizeof(struct socket_header), &at);

	c->full = room == -EAGAIN;
	if (room < 0)
		return;
	put_header(at, 0);
	vmbus_commit(c->channel, sizeof(struct socket_header));
	c->end_put = true;
}

static void pump(struct connection *c)
{
	c->full = c->moved = false;
	if (!c->host_end && drop(c)) {
		for (unsigned i = 0; i < TURN && move(c); i++)
			;
	}
	if (c->host_end && !c->end_put)
		put_end(c);
	vmbus_flush(c->channel);
}

/* ---- What comes next ------------------------------------------------------------------------- */

/* All was said: the guest takes what is left, or does not. */
static void end(struct connection *c)
{
	if (vmbus_taken(c->channel, END_BYTES)) {
		vmbus_withdraw(c->channel);
	} else if (!c->ending) {
		c->ending = true;
		connection_deadline(c, SOCKET_LINGER);
	}
}

static void settle(struct connection *c)
{
	/* What a guest sends to a program that has closed is dropped: it may do so for ever. */
	bool stalled = c->full && (c->guest_end || c->hung_up);
	uint32_t events = 0;

	if (c->end_put && (c->guest_end || c->hung_up)) {
		end(c);
	} else if (stalled != c->stalled || (stalled && c->moved)) {
		/* A guest that took something is waited for anew. */
		c->stalled = stalled;
		connection_deadline(c, stalled ? connection_stall(c) : 0);
	}
	c->moved = false;
	if (!c->host_end && !c->full)
		events |= EPOLLIN;
	if (c->held)
		events |= EPOLLOUT;
	if (!events && !c->hung_up)
		events = HANGUP_ONLY;
	if (events != c->events)
		loop_watch_change(c->watch, events);
	c->events = events;
}

static void ready(void *ctx, uint32_t events)
{
	struct connection *c = ctx;

	if (events & (EPOLLHUP | EPOLLERR))
		c->hung_up = true;
	if (c->held && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
		c->held = false;
		vmbus_resume(c->channel);
	}
	pump(c);
	settle(c);
}

/* ---- The channel ----------------------------------------------------------------------------- */

/* Returns 0, -EAGAIN: the socket takes no more for now. What nobody will read is dropped. */
static int deliver(struct connection *c, const uint8_t *data, uint32_t size)
{
	ssize_t n;

	if (c->hung_up)
		return 0;
	n = send(c->request.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		c->hung_up = true;
		return 0;
	}
	if (n == (ssize_t)size)
		return 0;
	c->sent += n > 0 ? (uint32_t)n : 0;
	c->held = true;
	return -EAGAIN;
}

int stream_receive(void *ctx, struct vmbus_channel *ch, const struct vmbus_packet *packet)
{
	struct connection *c = ctx;
	struct socket_header header;
	int err;

	if (packet->kind != VMBUS_INBAND || vmbus_packet_read(packet, 0, &header, sizeof(header)) ||
		header.type != SOCKET_DATA || header.size > packet->size - sizeof(header) ||
		header.size < c->sent || c->guest_end)
		return -EPROTO;
	if (!header.size) {
		c->guest_end = true;
		shutdown(c->request.fd, SHUT_WR);
		settle(c);
		return 0;
	}
	err = deliver(c, packet->payload + sizeof(header) + c->sent, header.size - c->sent);
	if (!err)
		c->sent = 0;
	else
		settle(c);
	return err;
}

void stream_room(void *ctx, struct vmbus_channel *ch)
{
	struct connection *c = ctx;

	pump(c);
	settle(c);
}

int stream_open(struct connection *c)
{
	c->skip = c->request.skip;
	c->events = EPOLLIN;
	c->watch = loop_watch_create(
		vmbus_channel_loop(c->channel), c->request.fd, c->events, ready, c);
	return c->watch ? 0 : -errno;
}

void stream_close(struct connection *c)
{
	loop_watch_destroy(c->watch);
}
