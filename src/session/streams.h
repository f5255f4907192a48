/*
 * streams.h - the streams of a direct session, on either end: bytes move between descriptors and
 * DATA messages, within the credit that session_protocol.h describes.
 *
 * One thread, which waits with poll(2): streams_poll() says for what, streams_move() does what can
 * be done and never blocks on a descriptor that is not blocking. Nothing grows: a sink holds
 * SESSION_WINDOW bytes, a source nothing.
 */
#ifndef PARTITA_SESSION_STREAMS_H
#define PARTITA_SESSION_STREAMS_H

#include <poll.h>
#include <stdbool.h>

#include "session/message.h"

/* The most pollfds that streams_poll() fills: the packets' socket, then a descriptor a stream. */
#define STREAMS_POLL (1 + SESSION_STREAMS)

enum stream_state { STREAM_NONE, STREAM_SOURCE, STREAM_SINK };

struct stream {
	enum stream_state state;
	int fd;			/* -1: ended, or closed by streams_move() */
	bool end_due, end_sent; /* a source: EOF is to be sent; a sink: CLOSE */
	/* A source. */
	uint32_t credit;
	/*
	 * look_through - makes of what was read, @n bytes, what is sent: at most one byte more.
	 * False ends the session, which the user wanted (an escape). NULL: it is sent as it is.
	 */
	bool (*look_through)(void *ctx, const uint8_t *in, size_t n, uint8_t *out, size_t *n_out);
	void *ctx;
	/* A sink. */
	uint8_t *ring; /* SESSION_WINDOW bytes */
	size_t first, held;
	uint32_t grant;	  /* written, but not granted anew */
	uint32_t allowed; /* what the peer may still send */
	bool ended;	  /* the peer's EOF came: close when all is written */
	int error;	  /* why it takes no more: an errno, but for EPIPE, which is an end */
	bool terminal;	  /* its reader hears of the end by a typed ^D */
	size_t most;	  /* bytes that a write may have: few where it would block */
};

struct streams {
	int packets;
	bool blocked; /* the socket takes nothing more at the moment */
	bool drain;   /* what a source does not have now, does not come */
	bool over;    /* the other side has ended: nothing is sent any more */
	struct stream stream[SESSION_STREAMS];
};

void streams_init(struct streams *s, int packets);
/* streams_free - and close what descriptors are left. */
void streams_free(struct streams *s);

/* streams_source - send what @fd has; it is closed at its end. */
void streams_source(struct streams *s, enum session_stream which, int fd);
/* streams_sink - write what comes to @fd, closed at the stream's end. Returns 0, or -ENOMEM. */
int streams_sink(struct streams *s, enum session_stream which, int fd);

/* streams_poll - fill @fds, STREAMS_POLL of them; unused ones get -1. */
void streams_poll(struct streams *s, struct pollfd *fds);
/*
 * streams_move - read, write and send what can be, after poll. Returns 0; -ECANCELED: look_through
 * ended the session; -EPIPE: the other side is gone.
 */
int streams_move(struct streams *s, const struct pollfd *fds);
/*
 * streams_take - act on a message about a stream. Returns 1; 0: it is about something else;
 * -EPROTO: the peer exceeded its credit, or means a stream that does not exist.
 */
int streams_take(struct streams *s, const struct session_message *m);
/*
 * streams_send - send a message of another kind. False: the socket is full; call again after the
 * next poll.
 */
bool streams_send(struct streams *s, enum session_type type, const void *payload, size_t n);

/* streams_drain - whoever wrote to the sources has ended: send what they still hold, then EOF. */
void streams_drain(struct streams *s);
/* streams_over - the other side has ended: what came is still written, nothing is read or sent. */
void streams_over(struct streams *s);
/* streams_sources_ended - and their EOF has been sent. */
bool streams_sources_ended(const struct streams *s);
/* streams_sinks_empty - everything that came has been written, or cannot be. */
bool streams_sinks_empty(const struct streams *s);

#endif
