/*
 * streams.c - see streams.h.
 *
 * What is to be said about a stream (credit, an end) is kept as state until the socket takes it,
 * and said once for all that has gathered.
 */
#include "session/streams.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#define GRANT_STEP (SESSION_WINDOW / 4)
/* A message of so much is two records of TLS (RFC 8446, section 5.1), and not a few bytes more. */
#define AT_ONCE ((2u << 14) - sizeof(struct session_header))
static_assert(AT_ONCE <= SESSION_PAYLOAD_MAX, "it fits");

void streams_init(struct streams *s, int packets)
{
	*s = (struct streams){.packets = packets};
	for (unsigned i = 0; i < SESSION_STREAMS; i++)
		s->stream[i].fd = -1;
}

static void close_stream(struct stream *t)
{
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
	t->first = t->held = 0;
}

void streams_free(struct streams *s)
{
	for (unsigned i = 0; i < SESSION_STREAMS; i++) {
		close_stream(&s->stream[i]);
		free(s->stream[i].ring);
	}
}

void streams_source(struct streams *s, enum session_stream which, int fd)
{
	s->stream[which] =
		(struct stream){.state = STREAM_SOURCE, .fd = fd, .credit = SESSION_WINDOW};
}

/*
 * poll(2) says of a pipe that it takes one byte, and means PIPE_BUF at least; a write of more may
 * block. A regular file always takes all.
 */
static size_t most_at_once(int fd)
{
	struct stat status;

	if (fcntl(fd, F_GETFL) & O_NONBLOCK || (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)))
		return SESSION_WINDOW;
	return PIPE_BUF;
}

int streams_sink(struct streams *s, enum session_stream which, int fd)
{
	uint8_t *ring = malloc(SESSION_WINDOW);

	if (!ring)
		return -ENOMEM;
	s->stream[which] = (struct stream){
		.state = STREAM_SINK,
		.fd = fd,
		.ring = ring,
		.allowed = SESSION_WINDOW,
		.most = most_at_once(fd),
	};
	return 0;
}

/* ---- Messages -------------------------------------------------------------------------------- */

/* 1: sent; 0: the socket is full; -EPIPE. */
static int put(
	struct streams *s, enum session_type type, unsigned which, const void *payload, size_t n)
{
	int err = s->over      ? 0
		  : s->blocked ? -EAGAIN
			       : session_send(s->packets, type, which, payload, n, MSG_DONTWAIT);

	if (err == -EAGAIN)
		s->blocked = true;
	return err == -EAGAIN ? 0 : err ? -EPIPE : 1;
}

bool streams_send(struct streams *s, enum session_type type, const void *payload, size_t n)
{
	/* Where nobody is any more, streams_move() says so. */
	return put(s, type, 0, payload, n) != 0;
}

static int take_data(struct stream *t, const struct session_message *m)
{
	const size_t n = m->header.length;
	size_t at, part;

	if (t->state != STREAM_SINK || t->ended || n > t->allowed)
		return -EPROTO;
	t->allowed -= n;
	if (t->fd < 0)
		return 1;
	/* It fits: what is held is less than the window by what is allowed. */
	at = (t->first + t->held) % SESSION_WINDOW;
	part = n < SESSION_WINDOW - at ? n : SESSION_WINDOW - at;
	memcpy(t->ring + at, m->payload, part);
	memcpy(t->ring, m->payload + part, n - part);
	t->held += n;
	return 1;
}

static int take_credit(struct stream *t, const struct session_message *m)
{
	struct session_credit credit;

	memcpy(&credit, m->payload, sizeof(credit));
	if (t->state != STREAM_SOURCE || credit.bytes > SESSION_WINDOW - t->credit)
		return -EPROTO;
	t->credit += credit.bytes;
	return 1;
}

int streams_take(struct streams *s, const struct session_message *m)
{
	struct stream *t = &s->stream[m->header.stream];

	switch (m->header.type) {
	case SESSION_DATA:
		return take_data(t, m);
	case SESSION_EOF:
		if (t->state != STREAM_SINK)
			return -EPROTO;
		t->ended = true;
		return 1;
	case SESSION_CREDIT:
		return take_credit(t, m);
	case SESSION_CLOSE:
		if (t->state != STREAM_SOURCE)
			return -EPROTO;
		close_stream(t);
		t->end_due = true;
		return 1;
	default:
		return 0;
	}
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

static bool source_wants(const struct streams *s, const struct stream *t)
{
	return t->state == STREAM_SOURCE && t->fd >= 0 && !s->blocked && !s->over &&
	       t->credit > (t->look_through ? 1 : 0);
}

static int move_source(struct streams *s, unsigned which)
{
	struct stream *t = &s->stream[which];
	uint8_t bytes[AT_ONCE], other[AT_ONCE], *out = bytes;
	size_t size = t->credit < sizeof(bytes) ? t->credit : sizeof(bytes);
	ssize_t got = read(t->fd, bytes, size - (t->look_through ? 1 : 0));
	size_t n = got > 0 ? (size_t)got : 0;

	if (got < 0 && (errno == EINTR || (errno == EAGAIN && !s->drain)))
		return 0;
	/* A terminal nobody has open any more says EIO. */
	if (got <= 0) {
		close_stream(t);
		t->end_due = true;
		return 0;
	}
	if (t->look_through) {
		out = other;
		if (!t->look_through(t->ctx, bytes, (size_t)got, out, &n))
			return -ECANCELED;
	}
	if (!n)
		return 0;
	t->credit -= (uint32_t)n;
	/* The socket was found writable, and takes a message then. */
	return put(s, SESSION_DATA, which, out, n) == 1 ? 0 : -EPIPE;
}

static void move_sink(struct stream *t)
{
	while (t->fd >= 0 && t->held) {
		size_t n =
			t->held < SESSION_WINDOW - t->first ? t->held : SESSION_WINDOW - t->first;
		ssize_t put = write(t->fd, t->ring + t->first, n < t->most ? n : t->most);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EAGAIN)
			return;
		if (put < 0) {
			t->error = errno == EPIPE ? 0 : errno;
			close_stream(t);
			t->end_due = true;
			return;
		}
		t->first = (t->first + (size_t)put) % SESSION_WINDOW;
		t->held -= (size_t)put;
		t->grant += (uint32_t)put;
		if (t->most == PIPE_BUF)
			return; /* whether it takes more, poll must say */
	}
}

/* Where the stream has ended and all is written, its reader must hear of it, too. */
static void end_sink(struct stream *t)
{
	static const char end_of_transmission = 4;

	if (!t->ended || t->held || t->fd < 0)
		return;
	if (t->terminal && write(t->fd, &end_of_transmission, 1) < 0 && errno == EAGAIN)
		return;
	close_stream(t);
}

/* Says what is due about a stream. */
static int say_due(struct streams *s, unsigned which)
{
	struct stream *t = &s->stream[which];
	int sent;

	if (t->state == STREAM_SINK && t->grant >= GRANT_STEP && !t->ended && t->fd >= 0) {
		const struct session_credit credit = {t->grant};

		sent = put(s, SESSION_CREDIT, which, &credit, sizeof(credit));
		if (sent <= 0)
			return sent;
		t->allowed += t->grant;
		t->grant = 0;
	}
	if (t->end_due && !t->end_sent) {
		sent = put(
			s, t->state == STREAM_SOURCE ? SESSION_EOF : SESSION_CLOSE, which, NULL, 0);
		if (sent <= 0)
			return sent;
		t->end_sent = true;
	}
	return 0;
}

static bool something_due(const struct streams *s)
{
	for (unsigned i = 0; i < SESSION_STREAMS; i++) {
		const struct stream *t = &s->stream[i];

		if ((t->end_due && !t->end_sent) || (s->drain && source_wants(s, t)))
			return true;
	}
	return false;
}

void streams_poll(struct streams *s, struct pollfd *fds)
{
	bool wait_to_send = s->blocked || something_due(s);

	for (unsigned i = 0; i < SESSION_STREAMS; i++) {
		const struct stream *t = &s->stream[i];
		bool source = source_wants(s, t);
		bool sink = t->state == STREAM_SINK && t->fd >= 0 && (t->held || t->ended);

		fds[1 + i] = (struct pollfd){.fd = -1};
		if (source || sink)
			fds[1 + i] = (struct pollfd){t->fd, source ? POLLIN : POLLOUT, 0};
	}
	fds[0] = (struct pollfd){
		s->over ? -1 : s->packets, POLLIN | (wait_to_send ? POLLOUT : 0), 0};
}

/* Whether the socket takes a message at once. */
static bool has_room(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, 0) > 0;
}

int streams_move(struct streams *s, const struct pollfd *fds)
{
	int err = 0;

	s->blocked = !s->over && !has_room(s->packets);
	for (unsigned i = 0; i < SESSION_STREAMS && !err; i++) {
		struct stream *t = &s->stream[i];

		if (t->state == STREAM_SINK) {
			if (fds[1 + i].revents)
				move_sink(t);
			end_sink(t);
		} else if (source_wants(s, t) && (s->drain || fds[1 + i].revents)) {
			err = move_source(s, i);
			s->blocked = s->blocked || !has_room(s->packets);
		}
		if (!err)
			err = say_due(s, i);
	}
	return err;
}

/* ---- The end --------------------------------------------------------------------------------- */

void streams_drain(struct streams *s)
{
	s->drain = true;
}

void streams_over(struct streams *s)
{
	s->over = true;
}

bool streams_sources_ended(const struct streams *s)
{
	for (unsigned i = 0; i < SESSION_STREAMS; i++)
		if (s->stream[i].state == STREAM_SOURCE && !s->stream[i].end_sent)
			return false;
	return true;
}

bool streams_sinks_empty(const struct streams *s)
{
	for (unsigned i = 0; i < SESSION_STREAMS; i++)
		if (s->stream[i].state == STREAM_SINK && s->stream[i].fd >= 0 && s->stream[i].held)
			return false;
	return true;
}
