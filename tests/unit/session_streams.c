/*
 * session_streams.c - streams of a direct session: bytes arrive in order and end, a reader that
 * stops holds up its own stream only, and a peer that sends more than it may is refused.
 *
 * Two ends in one process, a host's and a guest's, whose sockets are connected to each other.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "session/streams.h"

struct end {
	struct streams streams;
	unsigned from;
	struct session_message m;
	int other[SESSION_STREAMS]; /* the far ends of the descriptors that the streams have */
	unsigned others;	    /* messages that are not about streams */
};

static struct {
	struct end host, guest;
} * f;

/* A stream of @e's that is read from, or written to, a pipe. */
static void add(struct end *e, enum session_stream which, bool source)
{
	int pair[2];

	assert_int_equal(pipe2(pair, O_NONBLOCK | O_CLOEXEC), 0);
	if (source)
		streams_source(&e->streams, which, pair[0]);
	else
		assert_int_equal(streams_sink(&e->streams, which, pair[1]), 0);
	e->other[which] = pair[source ? 1 : 0];
}

static int set_up(void **state)
{
	int pair[2];

	f = calloc(1, sizeof(*f));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	streams_init(&f->host.streams, pair[0]);
	streams_init(&f->guest.streams, pair[1]);
	f->host.from = SESSION_FROM_AGENT;
	f->guest.from = SESSION_FROM_HOST;
	for (unsigned i = 0; i < SESSION_STREAMS; i++) {
		add(&f->host, i, i == SESSION_STDIN);
		add(&f->guest, i, i != SESSION_STDIN);
	}
	return 0;
}

static void close_other(struct end *e, enum session_stream which)
{
	if (e->other[which] >= 0)
		close(e->other[which]);
	e->other[which] = -1;
}

static int tear_down(void **state)
{
	for (unsigned i = 0; i < SESSION_STREAMS; i++) {
		close_other(&f->host, i);
		close_other(&f->guest, i);
	}
	close(f->host.streams.packets);
	close(f->guest.streams.packets);
	streams_free(&f->host.streams);
	streams_free(&f->guest.streams);
	free(f);
	return 0;
}

/* One round of an end; returns what streams_take() or streams_move() last said, if it failed. */
static int step(struct end *e)
{
	struct pollfd fds[STREAMS_POLL];
	int got, err = 0;

	streams_poll(&e->streams, fds);
	poll(fds, STREAMS_POLL, 0);
	while (!err &&
		(got = session_receive(e->streams.packets, &e->m, e->from, MSG_DONTWAIT)) > 0) {
		err = streams_take(&e->streams, &e->m);
		e->others += err == 0;
		err = err < 0 ? err : 0;
	}
	return err ? err : streams_move(&e->streams, fds);
}

static void run(void)
{
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(step(&f->host), 0);
		assert_int_equal(step(&f->guest), 0);
	}
}

/* As much as goes in until nothing moves any more; returns how many bytes. */
static size_t stuff(int fd)
{
	static const uint8_t block[4096];
	size_t sum = 0;
	ssize_t n;

	do {
		for (n = 0; write(fd, block, sizeof(block)) == (ssize_t)sizeof(block);)
			n += (ssize_t)sizeof(block);
		sum += (size_t)n;
		run();
	} while (n);
	return sum;
}

static size_t empty(int fd)
{
	uint8_t block[4096];
	size_t sum = 0;
	ssize_t n, before;

	do {
		before = (ssize_t)sum;
		while ((n = read(fd, block, sizeof(block))) > 0)
			sum += (size_t)n;
		run();
	} while ((ssize_t)sum != before);
	return sum;
}

static void there_and_back(void **state)
{
	char text[16] = "";

	assert_int_equal(write(f->host.other[SESSION_STDIN], "to the guest", 12), 12);
	assert_int_equal(write(f->guest.other[SESSION_STDERR], "an error", 8), 8);
	run();
	assert_int_equal(read(f->guest.other[SESSION_STDIN], text, sizeof(text)), 12);
	assert_memory_equal(text, "to the guest", 12);
	assert_int_equal(read(f->host.other[SESSION_STDERR], text, sizeof(text)), 8);
	assert_int_equal(read(f->host.other[SESSION_STDOUT], text, sizeof(text)), -1);
	/* The end of input is one of that stream only. */
	close_other(&f->host, SESSION_STDIN);
	run();
	assert_int_equal(read(f->guest.other[SESSION_STDIN], text, sizeof(text)), 0);
	assert_int_equal(read(f->host.other[SESSION_STDOUT], text, sizeof(text)), -1);
	assert_int_equal(errno, EAGAIN);
}

static void a_reader_that_stops(void **state)
{
	const struct stream *sink = &f->host.streams.stream[SESSION_STDOUT];
	char text[16];
	size_t sent = stuff(f->guest.other[SESSION_STDOUT]);

	/* The window, and the pipes at both ends. */
	assert_true(sent >= SESSION_WINDOW && sent <= SESSION_WINDOW + 4 * 65536);
	assert_int_equal(sink->allowed + sink->held + sink->grant, SESSION_WINDOW);
	/* Everything else goes on. */
	assert_int_equal(write(f->guest.other[SESSION_STDERR], "error", 5), 5);
	assert_int_equal(write(f->host.other[SESSION_STDIN], "input", 5), 5);
	assert_true(streams_send(&f->host.streams, SESSION_SIGNAL, "\017", 1));
	run();
	assert_int_equal(read(f->host.other[SESSION_STDERR], text, sizeof(text)), 5);
	assert_int_equal(read(f->guest.other[SESSION_STDIN], text, sizeof(text)), 5);
	assert_int_equal(f->guest.others, 1);
	/* And it all comes when it is read again. */
	assert_int_equal(empty(f->host.other[SESSION_STDOUT]), sent);
}

static void a_reader_that_leaves(void **state)
{
	close_other(&f->host, SESSION_STDOUT);
	assert_int_equal(write(f->guest.other[SESSION_STDOUT], "x", 1), 1);
	run();
	/* Whoever writes there hears of it. */
	assert_int_equal(write(f->guest.other[SESSION_STDOUT], "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	assert_true(f->guest.streams.stream[SESSION_STDOUT].end_sent);
}

static void drained(void **state)
{
	assert_int_equal(write(f->guest.other[SESSION_STDOUT], "last words", 10), 10);
	streams_drain(&f->guest.streams);
	run();
	/* Although somebody has the pipes open still. */
	assert_true(streams_sources_ended(&f->guest.streams));
	assert_int_equal(empty(f->host.other[SESSION_STDOUT]), 10);
	assert_true(streams_sinks_empty(&f->host.streams));
}

static bool append_or_end(void *ctx, const uint8_t *in, size_t n, uint8_t *out, size_t *n_out)
{
	memcpy(out, in, n);
	out[n] = '+';
	*n_out = n + 1;
	return in[0] != '.';
}

static void looked_through(void **state)
{
	char text[16];

	f->host.streams.stream[SESSION_STDIN].look_through = append_or_end;
	assert_int_equal(write(f->host.other[SESSION_STDIN], "typed", 5), 5);
	run();
	assert_int_equal(read(f->guest.other[SESSION_STDIN], text, sizeof(text)), 6);
	assert_memory_equal(text, "typed+", 6);
	assert_int_equal(write(f->host.other[SESSION_STDIN], ".", 1), 1);
	assert_int_equal(step(&f->host), -ECANCELED);
}

static void more_than_the_window(void **state)
{
	static const uint8_t block[SESSION_PAYLOAD_MAX];
	int err = 0;

	/* The guest does not read what it is sent. */
	for (unsigned i = 0; i < 2 * SESSION_WINDOW / sizeof(block) + 2 && !err; i++) {
		assert_int_equal(session_send(f->host.streams.packets, SESSION_DATA, SESSION_STDIN,
					 block, sizeof(block), MSG_DONTWAIT),
			0);
		err = step(&f->guest);
	}
	assert_int_equal(err, -EPROTO);
}

static void too_much_credit(void **state)
{
	const struct session_credit one = {1};

	session_send(f->guest.streams.packets, SESSION_CREDIT, SESSION_STDIN, &one, sizeof(one), 0);
	assert_int_equal(step(&f->host), -EPROTO);
}

static void data_after_the_end(void **state)
{
	session_send(f->host.streams.packets, SESSION_EOF, SESSION_STDIN, NULL, 0, 0);
	session_send(f->host.streams.packets, SESSION_DATA, SESSION_STDIN, "x", 1, 0);
	assert_int_equal(step(&f->guest), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(there_and_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_reader_that_stops, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_reader_that_leaves, set_up, tear_down),
		cmocka_unit_test_setup_teardown(drained, set_up, tear_down),
		cmocka_unit_test_setup_teardown(looked_through, set_up, tear_down),
		cmocka_unit_test_setup_teardown(more_than_the_window, set_up, tear_down),
		cmocka_unit_test_setup_teardown(too_much_credit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(data_after_the_end, set_up, tear_down),
	};

	/* A pipe without a reader is an error to whoever writes. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
