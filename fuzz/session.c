/*
 * session.c - any bytes as what the other end of a direct session says, to either end: each message
 * is refused or acted upon, and no stream holds more than its window.
 *
 * The first byte says which end sends (bit 0), and what ours has for streams (bit 1).
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "session/message.h"
#include "session/streams.h"

static struct session_message message;

static void drain(int fd)
{
	while (recv(fd, &message, sizeof(message), MSG_DONTWAIT) > 0)
		;
}

/* An end with the streams of the host, or of the guest with or without a terminal. */
static void make_streams(struct streams *s, int packets, unsigned from, bool terminal)
{
	int nothing[2];

	if (pipe2(nothing, O_CLOEXEC | O_NONBLOCK))
		abort();
	streams_init(s, packets);
	for (unsigned i = 0; i < SESSION_STREAMS; i++) {
		if ((i == SESSION_STDIN) == (from == SESSION_FROM_HOST)) {
			if (streams_sink(s, i, open("/dev/null", O_WRONLY | O_CLOEXEC)))
				abort();
			s->stream[i].terminal = terminal;
		} else if (i != SESSION_STDERR || !terminal) {
			streams_source(s, i, dup(nothing[0]));
		}
	}
	close(nothing[0]);
	close(nothing[1]);
}

static void check_streams(const struct streams *s)
{
	for (unsigned i = 0; i < SESSION_STREAMS; i++) {
		const struct stream *t = &s->stream[i];

		if (t->state == STREAM_SINK && t->fd >= 0 &&
			t->allowed + t->held + t->grant != SESSION_WINDOW)
			abort();
		if (t->state == STREAM_SOURCE && t->credit > SESSION_WINDOW)
			abort();
	}
}

/* False: the connection would end. */
static bool act(struct streams *s, const uint8_t *bytes, size_t n)
{
	struct pollfd fds[STREAMS_POLL];

	memcpy(&message, bytes, n);
	message.payload[n - sizeof(struct session_header)] = 0;
	if (message.header.type == SESSION_PROMPT || message.header.type == SESSION_NOTE)
		session_clean((char *)message.payload + 1);
	if (streams_take(s, &message) < 0)
		return false;
	check_streams(s);
	streams_poll(s, fds);
	if (poll(fds, STREAMS_POLL, 0) < 0 || streams_move(s, fds))
		return false;
	check_streams(s);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned from;
	struct streams s;
	int pair[2];

	if (!size)
		return 0;
	from = data[0] & 1 ? SESSION_FROM_HOST : SESSION_FROM_AGENT;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		abort();
	make_streams(&s, pair[0], from, data[0] & 2);
	data++;
	size--;
	for (;;) {
		ssize_t n = session_message_whole(data, size, from);

		if (n <= 0 || (size_t)n > size || !session_message_valid(data, (size_t)n, from) ||
			!act(&s, data, (size_t)n))
			break;
		data += n;
		size -= (size_t)n;
		drain(pair[1]);
	}
	streams_free(&s);
	close(pair[0]);
	close(pair[1]);
	return 0;
}
