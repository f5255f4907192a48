/*
 * hvsocket_connect.c - hv_connect() and its steps, with a machine that answers as a test says.
 */
#include "hvsocket/connect.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/guid.h"
#include "hvsocket/places.h"
#include "hvsocket/system.h"
#include "hvsocket_machine.h"
#include "interruptions.h"

#define SECOND 1000

static GUID service(void)
{
	return hv_service_of_port(5000);
}

static int connect_to(const GUID *vm, int timeout_ms)
{
	const GUID id = service();

	return hv_connect(vm, &id, timeout_ms);
}

/* A socket that does not block, on its way to @m. */
static int begin(const struct machine *m, int timeout_ms)
{
	const GUID id = service();
	int fd = sys_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(hv_connect_begin(fd, &m->id, &id, timeout_ms), -EINPROGRESS);
	return fd;
}

static void assert_echo(int fd)
{
	char text[16] = {0};

	assert_int_equal(send(fd, "echo", 4, MSG_NOSIGNAL), 4);
	assert_int_equal(recv(fd, text, 4, MSG_WAITALL), 4);
	assert_string_equal(text, "echo");
}

static bool is_writable(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, timeout_ms) == 1;
}

static void a_machine_answers(void **state)
{
	struct machine m = {.answer = MACHINE_ACCEPTS};
	struct hv_greeting g;
	const GUID id = service();
	int fd;

	machine_start(&m);
	fd = connect_to(&m.id, 0);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	g = machine_heard(&m);
	assert_memory_equal(&g.service, &id, sizeof(id));
	assert_int_equal(g.timeout_ms, HV_CONNECT_TIMEOUT);
	assert_echo(fd);
	close(fd);
	machine_stop(&m);
}

static void what_a_machine_refuses_with(void **state)
{
	static const int errors[] = {-ECONNREFUSED, -EACCES, -ETIMEDOUT, -ECONNRESET};
	struct machine m = {.answer = MACHINE_REFUSES};

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		m.error = errors[i];
		machine_start(&m);
		assert_int_equal(connect_to(&m.id, 0), errors[i]);
		machine_stop(&m);
	}
}

static void nobody_there(void **state)
{
	struct machine m = {.answer = MACHINE_ACCEPTS};

	machine_start(&m);
	machine_stop(&m);
	assert_int_equal(connect_to(&m.id, 0), -ENETUNREACH);
	assert_int_equal(connect_to(&hv_loopback, 0), -ECONNREFUSED);
	assert_int_equal(connect_to(&hv_parent, 0), -ECONNREFUSED);
	assert_int_equal(connect_to(&hv_zero, 0), -EADDRNOTAVAIL);
	assert_int_equal(connect_to(&hv_children, 0), -EADDRNOTAVAIL);
	assert_int_equal(connect_to(&hv_broadcast, 0), -EADDRNOTAVAIL);
}

/* Its socket is still there, and nobody listens. */
static void a_killed_machine(void **state)
{
	struct machine m = {.answer = MACHINE_ACCEPTS};
	char path[PATH_MAX];
	int fd = sys_socket(AF_UNIX, SOCK_STREAM, 0);

	guid_new(&m.id);
	hv_place_machine(machine_base(), &m.id, path);
	assert_int_equal(hv_place_bind(fd, path), 0);
	close(fd);
	assert_int_equal(connect_to(&m.id, 0), -ENETUNREACH);
}

static void a_machine_that_dies(void **state)
{
	struct machine m = {.answer = MACHINE_DIES};

	machine_start(&m);
	assert_int_equal(connect_to(&m.id, 0), -ECONNRESET);
	machine_stop(&m);
}

static void a_machine_that_hangs(void **state)
{
	struct machine m = {.answer = MACHINE_IS_SILENT};

	machine_start(&m);
	assert_int_equal(connect_to(&m.id, 1), -ETIMEDOUT);
	machine_stop(&m);
}

/* What a guest says is never taken for a refusal, even if it ends at once. */
static void a_guest_that_speaks(void **state)
{
	struct machine m = {.answer = MACHINE_SPEAKS, .speech = "E111\n"};
	char text[8] = {0};

	machine_start(&m);
	for (int i = 0; i < 100; i++) {
		int fd = connect_to(&m.id, 0);

		assert_true(fd >= 0);
		assert_int_equal(recv(fd, text, sizeof(text), MSG_WAITALL), 5);
		assert_string_equal(text, "E111\n");
		close(fd);
	}
	machine_stop(&m);
}

static void not_writable_before_it_stands(void **state)
{
	static const int sizes[] = {0, 1, 4096, 100000, 1 << 20};
	const GUID id = service();
	struct machine m = {.answer = MACHINE_IS_SILENT};

	machine_start(&m);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int fd = sys_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

		if (sizes[i])
			assert_int_equal(
				sys_setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sizes[i], sizeof(int)),
				0);
		assert_int_equal(hv_connect_begin(fd, &m.id, &id, 60 * SECOND), -EINPROGRESS);
		assert_false(is_writable(fd, 0));
		assert_int_equal(hv_connect_end(fd), -EINPROGRESS);
		close(fd);
	}
	machine_stop(&m);
}

static void signals_while_it_is_asked(void **state)
{
	struct machine m = {.answer = MACHINE_IS_SILENT};
	timer_t timer;
	int fd;

	machine_start(&m);
	fd = begin(&m, 60 * SECOND);
	timer = interruptions_begin();
	while (interruptions_go_on())
		assert_int_equal(hv_connect_end(fd), -EINPROGRESS);
	interruptions_end(timer);
	close(fd);
	machine_stop(&m);
}

static void epoll_tells_when_it_stands(void **state)
{
	struct machine m = {.answer = MACHINE_ACCEPTS};
	struct epoll_event e = {.events = EPOLLOUT | EPOLLET}, got;
	int epoll = epoll_create1(EPOLL_CLOEXEC), fd;

	machine_start(&m);
	fd = begin(&m, 60 * SECOND);
	assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e), 0);
	assert_int_equal(epoll_wait(epoll, &got, 1, 60 * SECOND), 1);
	assert_int_equal(got.events, EPOLLOUT);
	assert_int_equal(hv_connect_end(fd), 0);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	assert_echo(fd);
	close(fd);
	close(epoll);
	machine_stop(&m);
}

static void poll_tells_when_it_fails(void **state)
{
	struct machine m = {.answer = MACHINE_REFUSES, .error = -ECONNREFUSED};
	char text[8];
	int fd;

	machine_start(&m);
	for (int i = 0; i < 100; i++) {
		fd = begin(&m, 60 * SECOND);
		assert_true(is_writable(fd, 60 * SECOND));
		assert_int_equal(hv_connect_end(fd), -ECONNREFUSED);
		assert_int_equal(recv(fd, text, sizeof(text), 0), 0);
		close(fd);
	}
	machine_stop(&m);
}

/* With a buffer so large that its padding still is on its way when the machine refuses. */
static void refused_in_the_midst_of_the_greeting(void **state)
{
	const int size = 16 << 20;
	const GUID id = service();
	struct machine m = {.answer = MACHINE_REFUSES, .error = -EACCES};

	machine_start(&m);
	for (unsigned i = 0; i < 20; i++) {
		int fd = sys_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err;

		err = sys_setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
		assert_true(!err || err == -EPERM); /* only root may have that much */
		assert_int_equal(hv_connect_begin(fd, &m.id, &id, SECOND), -EINPROGRESS);
		assert_true(is_writable(fd, 60 * SECOND));
		assert_int_equal(hv_connect_end(fd), -EACCES);
		close(fd);
	}
	machine_stop(&m);
}

/* The socket's buffer is what it was, so a stream is as fast as one can be. */
static void the_buffer_is_left_alone(void **state)
{
	struct machine m = {.answer = MACHINE_ACCEPTS};
	int fd, fresh = sys_socket(AF_UNIX, SOCK_STREAM, 0), a, b;
	socklen_t length = sizeof(int);

	machine_start(&m);
	fd = connect_to(&m.id, 0);
	assert_int_equal(sys_getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &a, &length), 0);
	assert_int_equal(sys_getsockopt(fresh, SOL_SOCKET, SO_SNDBUF, &b, &length), 0);
	assert_int_equal(a, b);
	close(fd);
	close(fresh);
	machine_stop(&m);
}

/* A name that the base makes longer than an address has room for. */
static void long_paths(void **state)
{
	char base[PATH_MAX], path[PATH_MAX], part[101] = {0};
	int listener = sys_socket(AF_UNIX, SOCK_STREAM, 0), fd;
	const GUID id = service();

	memset(part, 'x', 100);
	snprintf(base, sizeof(base), "%.60s/%s", machine_base(), part);
	assert_int_equal(hv_place_make(base), 0);
	setenv("PARTITA_RUN_DIR", base, 1);
	hv_place_listener(base, &hv_loopback, &id, path);
	assert_int_equal(hv_place_bind(listener, path), 0);
	assert_int_equal(sys_listen(listener, 1), 0);
	fd = connect_to(&hv_parent, 0);
	assert_true(fd >= 0);
	close(fd);
	close(listener);
	setenv("PARTITA_RUN_DIR", machine_base(), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_machine_answers),
		cmocka_unit_test(what_a_machine_refuses_with),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(a_killed_machine),
		cmocka_unit_test(a_machine_that_dies),
		cmocka_unit_test(a_machine_that_hangs),
		cmocka_unit_test(a_guest_that_speaks),
		cmocka_unit_test(not_writable_before_it_stands),
		cmocka_unit_test(signals_while_it_is_asked),
		cmocka_unit_test(epoll_tells_when_it_stands),
		cmocka_unit_test(poll_tells_when_it_fails),
		cmocka_unit_test(refused_in_the_midst_of_the_greeting),
		cmocka_unit_test(the_buffer_is_left_alone),
		cmocka_unit_test(long_paths),
	};

	return cmocka_run_group_tests(tests, machine_directory, machine_directory_gone);
}
