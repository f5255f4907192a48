/*
 * worker_output.c - buffered output: order, slow readers, readers that go away.
 */
#include "worker/output.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>

#define MUCH (1u << 20) /* more than output and pipe can hold */

struct fixture {
	struct loop *loop;
	struct output *output;
	pthread_t thread;
	int pipe[2];
	int error;
};

static void broken(void *ctx, int error)
{
	struct fixture *f = ctx;

	f->error = error;
	loop_quit(f->loop);
}

static void *run_loop(void *loop)
{
	loop_run(loop);
	return NULL;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	signal(SIGPIPE, SIG_IGN);
	f->loop = loop_create();
	f->output = output_create(f->loop, broken, f);
	return !f->output || pipe(f->pipe);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	output_destroy(f->output);
	loop_destroy(f->loop);
	close(f->pipe[0]);
	close(f->pipe[1]);
	free(f);
	return 0;
}

static uint8_t pattern(uint32_t i)
{
	return i * 167 >> 3;
}

static void *produce(void *arg)
{
	struct fixture *f = arg;

	for (uint32_t i = 0; i < MUCH; i++) {
		output_put(f->output, pattern(i));
		output_throttle(f->output);
	}
	return NULL;
}

/* A producer on another thread, a reader that takes its time, and nothing lost or swapped. */
static void all_bytes_in_order(void **state)
{
	struct fixture *f = *state;
	pthread_t producer;
	uint8_t bytes[777];
	uint32_t got = 0;

	output_connect(f->output, f->pipe[1]);
	pthread_create(&f->thread, NULL, run_loop, f->loop);
	pthread_create(&producer, NULL, produce, f);
	while (got < MUCH) {
		ssize_t n = read(f->pipe[0], bytes, sizeof(bytes));

		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(bytes[i], pattern(got + i));
		got += n;
	}
	pthread_join(producer, NULL);
	loop_quit(f->loop);
	pthread_join(f->thread, NULL);
}

static void without_reader_nothing_waits(void **state)
{
	struct fixture *f = *state;

	produce(f);
	output_flush(f->output);
}

static void hurry_ends_the_wait(void **state)
{
	struct fixture *f = *state;
	pthread_t producer;

	output_connect(f->output, f->pipe[1]);
	pthread_create(&producer, NULL, produce, f); /* blocks: nobody reads */
	output_hurry(f->output, true);
	pthread_join(producer, NULL);
}

static void flush_writes_what_is_left(void **state)
{
	struct fixture *f = *state;
	char text[8] = "";

	output_connect(f->output, f->pipe[1]);
	for (const char *c = "last"; *c; c++)
		output_put(f->output, *c);
	output_flush(f->output);
	assert_int_equal(read(f->pipe[0], text, sizeof(text)), 4);
	assert_string_equal(text, "last");
}

static void broken_reader_is_reported(void **state)
{
	struct fixture *f = *state;

	output_connect(f->output, f->pipe[1]);
	close(f->pipe[0]);
	f->pipe[0] = -1;
	output_put(f->output, 'x');
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->error, EPIPE);
	produce(f); /* goes nowhere now */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_bytes_in_order),
		TEST(without_reader_nothing_waits),
		TEST(hurry_ends_the_wait),
		TEST(flush_writes_what_is_left),
		TEST(broken_reader_is_reported),
	};

	return cmocka_run_group_tests_name("worker/output", tests, NULL, NULL);
}
