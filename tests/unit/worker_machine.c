/*
 * worker_machine.c - see worker_machine.h.
 */
#include "worker_machine.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/loop.h"

static void *run_loop(void *loop)
{
	loop_run(loop);
	return NULL;
}

/* A name of nobody else's, in the abstract space. */
static void listen_somewhere(struct test_machine *t)
{
	struct sockaddr *address = (struct sockaddr *)&t->address;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	t->config.control_fd = fd;
	t->address.sun_family = AF_UNIX;
	t->address_size = sizeof(t->address);
	assert_int_equal(bind(fd, address, sizeof(t->address.sun_family)), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, address, &t->address_size), 0);
}

struct test_machine *test_machine_create(const struct worker_config *config,
	int (*build)(struct machine *m), void (*take_down)(struct machine *m))
{
	struct test_machine *t = calloc(1, sizeof(*t));

	t->guest = guest_create();
	t->config = *config;
	t->take_down = take_down;
	listen_somewhere(t);
	t->m = (struct machine){
		.config = &t->config, .vmbus = t->guest->bus, .loop = loop_create()};
	assert_int_equal(jobs_create(&t->m), 0);
	assert_int_equal(build(&t->m), 0);
	t->m.control = control_create(&t->m, t->config.control_fd);
	assert_non_null(t->m.control);
	assert_int_equal(pthread_create(&t->thread, NULL, run_loop, t->m.loop), 0);
	return t;
}

void test_machine_destroy(struct test_machine *t)
{
	loop_quit(t->m.loop);
	pthread_join(t->thread, NULL);
	control_destroy(t->m.control);
	t->take_down(&t->m);
	jobs_destroy(&t->m);
	guest_destroy(t->guest);
	loop_destroy(t->m.loop);
	close(t->config.control_fd);
	free(t);
}

int test_machine_connect(const struct test_machine *t)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&t->address, t->address_size), 0);
	return fd;
}

bool test_machine_readable(int client)
{
	struct pollfd p = {.fd = client, .events = POLLIN};

	return poll(&p, 1, PATIENCE) == 1;
}

const char *test_machine_hear(struct test_machine *t, int client)
{
	size_t have = 0;
	ssize_t n;

	do {
		assert_true(test_machine_readable(client));
		n = recv(client, t->reply + have, sizeof(t->reply) - 1 - have, 0);
		have += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	t->reply[have] = 0;
	close(client);
	return t->reply;
}
