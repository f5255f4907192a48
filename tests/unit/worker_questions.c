/*
 * worker_questions.c - questions to a broker that is the test: answers in any order, none that was
 * not asked for, more questions than its socket holds, and a broker that dies.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/pass.h"
#include "hvsocket/broker.h"
#include "worker/questions.h"

#define FOREVER 20000 /* ms; only a test that fails waits so long */

struct world {
	struct loop *loop;
	pthread_t thread;
	struct questions *questions;
	int machine, broker; /* the two ends */
	int answers[2];	     /* a pipe of struct heard */
};

struct heard {
	uint32_t service; /* of the question */
	bool from_guest;
	int err, given;
};

static void answered(void *ctx, const struct question *q, int err, int given)
{
	struct world *w = ctx;
	struct heard h = {q->request.service.Data1, q->from_guest, err, given};

	assert_int_equal(write(w->answers[1], &h, sizeof(h)), sizeof(h));
}

static void await(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&pfd, 1, FOREVER), 1);
}

static struct heard hear(struct world *w)
{
	struct heard h;

	await(w->answers[0]);
	assert_int_equal(read(w->answers[0], &h, sizeof(h)), sizeof(h));
	return h;
}

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe(w->answers), 0);
	/* All answers at once. */
	fcntl(w->answers[1], F_SETPIPE_SZ, 1 << 17);
	w->machine = pair[0];
	w->broker = pair[1];
	w->loop = loop_create();
	w->questions = questions_create(w->loop, w->machine, answered, w);
	assert_non_null(w->questions);
	assert_int_equal(pthread_create(&w->thread, NULL, run_loop, w->loop), 0);
	*state = w;
	return 0;
}

static void stop_loop(struct world *w)
{
	loop_quit(w->loop);
	pthread_join(w->thread, NULL);
}

static int tear_down(void **state)
{
	struct world *w = *state;

	if (w->questions) {
		stop_loop(w);
		questions_destroy(w->questions);
	}
	loop_destroy(w->loop);
	close(w->machine);
	if (w->broker >= 0)
		close(w->broker);
	close(w->answers[0]);
	close(w->answers[1]);
	free(w);
	return 0;
}

static int ask(struct world *w, uint32_t service, bool from_guest)
{
	struct question q = {.from_guest = from_guest,
		.endpoint = {.Data1 = service + 1},
		.uid = 1000 + service,
		.request = {.service = {.Data1 = service}}};

	return questions_ask(w->questions, &q);
}

/* ---- The broker ------------------------------------------------------------------------------ */

static struct broker_question read_question(struct world *w)
{
	struct broker_question q;

	await(w->broker);
	assert_int_equal(recv(w->broker, &q, sizeof(q), 0), sizeof(q));
	return q;
}

static void reply(struct world *w, uint32_t tag, int err, int given)
{
	struct broker_answer a = {.tag = tag, .err = err};

	assert_int_equal(pass_send(w->broker, &a, sizeof(a), &given, given >= 0), sizeof(a));
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void what_is_asked(void **state)
{
	struct world *w = *state;
	struct broker_question q;

	assert_int_equal(ask(w, 7, true), 0);
	q = read_question(w);
	assert_int_equal(q.kind, BROKER_GUEST_CONNECTS);
	assert_int_equal(q.service.Data1, 7);
	assert_int_equal(q.endpoint.Data1, 8);
	assert_int_equal(ask(w, 9, false), 0);
	q = read_question(w);
	assert_int_equal(q.kind, BROKER_MAY_CONNECT);
	assert_int_equal(q.service.Data1, 9);
	assert_int_equal(q.uid, 1009);
}

static void answers_in_any_order(void **state)
{
	struct world *w = *state;
	struct broker_question first, second;
	struct heard h;

	assert_int_equal(ask(w, 1, true), 0);
	assert_int_equal(ask(w, 2, false), 0);
	first = read_question(w);
	second = read_question(w);
	assert_int_not_equal(first.tag, second.tag);
	reply(w, second.tag, -EACCES, -1);
	h = hear(w);
	assert_int_equal(h.service, 2);
	assert_int_equal(h.err, -EACCES);
	assert_int_equal(h.given, -1);
	reply(w, first.tag, 0, w->answers[0]);
	h = hear(w);
	assert_int_equal(h.service, 1);
	assert_true(h.from_guest);
	assert_int_equal(h.err, 0);
	assert_int_equal(fcntl(h.given, F_GETFD), FD_CLOEXEC);
	close(h.given);
}

/* What nobody asked for is passed over, and a descriptor that comes with it is closed. */
static void answers_to_nothing(void **state)
{
	struct world *w = *state;
	struct broker_question q;
	struct pollfd pfd;
	int pipe_ends[2];

	assert_int_equal(pipe(pipe_ends), 0);
	reply(w, 3, 0, pipe_ends[1]);
	reply(w, QUESTIONS_MAX, 0, -1);
	reply(w, ~0u, 0, -1);
	assert_int_equal(ask(w, 5, false), 0);
	q = read_question(w);
	reply(w, q.tag, 0, -1);
	reply(w, q.tag, -EACCES, -1);
	assert_int_equal(hear(w).service, 5);
	/* The last end of the pipe is this one: nobody kept the other. */
	close(pipe_ends[1]);
	pfd = (struct pollfd){.fd = pipe_ends[0], .events = POLLIN};
	assert_int_equal(poll(&pfd, 1, FOREVER), 1);
	assert_true(pfd.revents & POLLHUP);
	close(pipe_ends[0]);
}

/* More than the socket holds: they wait, and each is answered. */
static void as_many_as_there_may_be(void **state)
{
	struct world *w = *state;
	static bool seen[QUESTIONS_MAX];

	for (uint32_t i = 0; i < QUESTIONS_MAX; i++)
		assert_int_equal(ask(w, i, true), 0);
	assert_int_equal(ask(w, QUESTIONS_MAX, true), -ECONNREFUSED);
	for (uint32_t i = 0; i < QUESTIONS_MAX; i++) {
		struct broker_question q = read_question(w);

		reply(w, q.tag, -(int)(q.service.Data1 % 4000), -1);
	}
	for (uint32_t i = 0; i < QUESTIONS_MAX; i++) {
		struct heard h = hear(w);

		assert_int_equal(h.err, -(int)(h.service % 4000));
		assert_false(seen[h.service]);
		seen[h.service] = true;
	}
	/* And then there is room again. */
	assert_int_equal(ask(w, 1, true), 0);
	reply(w, read_question(w).tag, 0, -1);
	assert_int_equal(hear(w).service, 1);
}

static void a_broker_that_dies(void **state)
{
	struct world *w = *state;

	assert_int_equal(ask(w, 1, true), 0);
	assert_int_equal(ask(w, 2, false), 0);
	close(w->broker);
	w->broker = -1;
	for (int i = 0; i < 2; i++)
		assert_int_equal(hear(w).err, -ECONNREFUSED);
	assert_int_equal(ask(w, 3, true), -ECONNREFUSED);
}

static void a_machine_that_ends(void **state)
{
	struct world *w = *state;

	assert_int_equal(ask(w, 1, true), 0);
	stop_loop(w);
	questions_destroy(w->questions);
	w->questions = NULL;
	assert_int_equal(hear(w).err, -ECONNRESET);
}

static void without_a_broker(void **state)
{
	struct loop *loop = loop_create();
	struct questions *qs = questions_create(loop, -1, answered, NULL);
	const struct question q = {.from_guest = true};

	assert_non_null(qs);
	assert_int_equal(questions_ask(qs, &q), -ECONNREFUSED);
	questions_destroy(qs);
	loop_destroy(loop);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_asked),
		TEST(answers_in_any_order),
		TEST(answers_to_nothing),
		TEST(as_many_as_there_may_be),
		TEST(a_broker_that_dies),
		TEST(a_machine_that_ends),
		cmocka_unit_test(without_a_broker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
