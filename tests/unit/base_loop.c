/*
 * base_loop.c - the event loop: descriptors, timers, quitting, and callbacks that destroy what
 * they were called for.
 */
#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MS 1000000ull

struct fixture {
	struct loop *loop;
	struct loop_watch *watch;
	struct loop_timer *timer, *other;
	int pipe[2];
	int calls, limit;
	char got[16];
	size_t length;
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){.loop = loop_create(), .limit = 1};
	*state = &f;
	return !f.loop || pipe2(f.pipe, O_NONBLOCK) ? -1 : 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_watch_destroy(f->watch);
	loop_timer_destroy(f->timer);
	loop_timer_destroy(f->other);
	loop_destroy(f->loop);
	close(f->pipe[0]);
	close(f->pipe[1]);
	return 0;
}

static void count(void *ctx)
{
	struct fixture *f = ctx;

	if (++f->calls == f->limit)
		loop_quit(f->loop);
}

static void fail_if_called(void *ctx)
{
	fail();
}

static void readable(void *ctx, uint32_t events)
{
	struct fixture *f = ctx;
	ssize_t n = read(f->pipe[0], f->got + f->length, sizeof(f->got) - f->length);

	if (n > 0)
		f->length += n;
	else
		loop_quit(f->loop);
}

static void watch_reads_until_hangup(void **state)
{
	struct fixture *f = *state;

	f->watch = loop_watch_create(f->loop, f->pipe[0], EPOLLIN, readable, f);
	assert_non_null(f->watch);
	assert_int_equal(write(f->pipe[1], "guest", 5), 5);
	close(f->pipe[1]);
	f->pipe[1] = -1;
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->length, 5);
	assert_memory_equal(f->got, "guest", 5);
}

/* A watch at rest must not report anything, not even that the other end is gone. */
static void resting_watch_is_silent(void **state)
{
	struct fixture *f = *state;

	f->watch = loop_watch_create(f->loop, f->pipe[0], 0, readable, f);
	assert_non_null(f->watch);
	assert_int_equal(write(f->pipe[1], "x", 1), 1);
	close(f->pipe[1]);
	f->pipe[1] = -1;
	f->timer = loop_timer_create(f->loop, count, f);
	loop_timer_arm(f->timer, loop_now() + 5 * MS, 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->length, 0);

	loop_watch_change(f->watch, EPOLLIN);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->length, 1);
}

static void regular_file_is_refused(void **state)
{
	struct fixture *f = *state;
	FILE *file = tmpfile();

	assert_non_null(file);
	assert_null(loop_watch_create(f->loop, fileno(file), EPOLLIN, readable, f));
	assert_int_equal(errno, EPERM);
	assert_null(loop_watch_create(f->loop, fileno(file), 0, readable, f));
	assert_int_equal(errno, EPERM);
	fclose(file);
}

static void timer_expires_not_early(void **state)
{
	struct fixture *f = *state;
	uint64_t deadline = loop_now() + 3 * MS;

	f->timer = loop_timer_create(f->loop, count, f);
	loop_timer_arm(f->timer, deadline, 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_true(loop_now() >= deadline);
	assert_int_equal(f->calls, 1);
}

static void timer_repeats(void **state)
{
	struct fixture *f = *state;
	uint64_t start = loop_now();

	f->limit = 4;
	f->timer = loop_timer_create(f->loop, count, f);
	loop_timer_arm(f->timer, start, MS); /* passed already: expires at once */
	assert_int_equal(loop_run(f->loop), 0);
	assert_true(loop_now() >= start + 3 * MS);
}

static void disarmed_timer_never_expires(void **state)
{
	struct fixture *f = *state;

	f->other = loop_timer_create(f->loop, fail_if_called, f);
	loop_timer_arm(f->other, 0, 0); /* expired before the loop even looks */
	loop_timer_disarm(f->other);
	f->timer = loop_timer_create(f->loop, count, f);
	loop_timer_arm(f->timer, loop_now() + 3 * MS, 0);
	assert_int_equal(loop_run(f->loop), 0);
}

static void destroy_own_timer(void *ctx)
{
	struct fixture *f = ctx;

	loop_timer_destroy(f->other);
	f->other = NULL;
}

static void callbacks_may_destroy(void **state)
{
	struct fixture *f = *state;

	f->other = loop_timer_create(f->loop, destroy_own_timer, f);
	f->timer = loop_timer_create(f->loop, count, f);
	loop_timer_arm(f->other, 0, MS);
	loop_timer_arm(f->timer, loop_now() + 3 * MS, 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_null(f->other);
}

static void *quit_elsewhere(void *loop)
{
	loop_quit(loop);
	return NULL;
}

static void any_thread_may_quit(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;

	loop_quit(f->loop); /* before the run: remembered */
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(pthread_create(&thread, NULL, quit_elsewhere, f->loop), 0);
	assert_int_equal(loop_run(f->loop), 0);
	pthread_join(thread, NULL);
}

struct talker {
	struct loop *loop;
	struct loop_watch *watch;
	int in, out, turns;
};

static void answer(void *ctx, uint32_t events)
{
	struct talker *t = ctx;
	char byte;

	assert_int_equal(read(t->in, &byte, 1), 1);
	if (--t->turns == 0)
		loop_quit(t->loop);
	assert_int_equal(write(t->out, &byte, 1), 1);
}

static void *talk(void *talker)
{
	struct talker *t = talker;

	assert_int_equal(loop_run(t->loop), 0);
	return NULL;
}

/* Whether it looks again or sleeps meanwhile, nothing is missed. */
static void loops_that_spin_talk(void **state)
{
	struct talker t[2];
	int there[2], back[2];
	pthread_t thread;

	assert_int_equal(pipe2(there, O_NONBLOCK) | pipe2(back, O_NONBLOCK), 0);
	t[0] = (struct talker){loop_create(), NULL, back[0], there[1], 2000};
	t[1] = (struct talker){loop_create(), NULL, there[0], back[1], 2000};
	for (unsigned i = 0; i < 2; i++) {
		loop_spin(t[i].loop);
		t[i].watch = loop_watch_create(t[i].loop, t[i].in, EPOLLIN, answer, &t[i]);
		assert_non_null(t[i].watch);
	}
	assert_int_equal(pthread_create(&thread, NULL, talk, &t[1]), 0);
	assert_int_equal(write(there[1], "x", 1), 1);
	talk(&t[0]);
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < 2; i++) {
		loop_watch_destroy(t[i].watch);
		loop_destroy(t[i].loop);
		close(there[i]);
		close(back[i]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(watch_reads_until_hangup),
		TEST(resting_watch_is_silent),
		TEST(regular_file_is_refused),
		TEST(timer_expires_not_early),
		TEST(timer_repeats),
		TEST(disarmed_timer_never_expires),
		TEST(callbacks_may_destroy),
		TEST(any_thread_may_quit),
		TEST(loops_that_spin_talk),
	};

	return cmocka_run_group_tests_name("base/loop", tests, NULL, NULL);
}
