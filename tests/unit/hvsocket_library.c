/*
 * hvsocket_library.c - libhvsocket as a program has it: the calls of the C library, the names of
 * the SDK, and a machine that answers as a test says.
 */
#include <hvsocket.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/vm_sockets.h>

#include "hvsocket/listen.h"
#include "hvsocket/places.h"
#include "hvsocket_machine.h"

#define SECOND 1000

static const GUID echo_service = {
	0x999e53d4, 0x3d5c, 0x4c3e, {0x87, 0x79, 0xbe, 0xd0, 0x6e, 0xc0, 0x56, 0xe1}};

static SOCKADDR_HV address(const GUID *vm, const GUID *service)
{
	return (SOCKADDR_HV){.Family = AF_HYPERV, .VmId = *vm, .ServiceId = *service};
}

static int hv_socket(int flags)
{
	int s = socket(AF_HYPERV, SOCK_STREAM | flags, HV_PROTOCOL_RAW);

	assert_true(s >= 0);
	return s;
}

static int hv_bind(int s, const GUID *vm, const GUID *service)
{
	SOCKADDR_HV a = address(vm, service);

	return bind(s, (struct sockaddr *)&a, sizeof(a)) ? -errno : 0;
}

static int hv_connect_to(int s, const GUID *vm, const GUID *service)
{
	SOCKADDR_HV a = address(vm, service);

	return connect(s, (struct sockaddr *)&a, sizeof(a)) ? -errno : 0;
}

static int listener(const GUID *vm)
{
	int s = hv_socket(SOCK_CLOEXEC);

	assert_int_equal(hv_bind(s, vm, &echo_service), 0);
	assert_int_equal(listen(s, 16), 0);
	return s;
}

static int pending_error(int s)
{
	socklen_t length = sizeof(int);
	int err;

	assert_int_equal(getsockopt(s, SOL_SOCKET, SO_ERROR, &err, &length), 0);
	return err;
}

static void assert_echo(int s)
{
	char text[5] = {0};

	assert_int_equal(send(s, "echo", 4, MSG_NOSIGNAL), 4);
	assert_int_equal(recv(s, text, 4, MSG_WAITALL), 4);
	assert_string_equal(text, "echo");
}

static void assert_is(const SOCKADDR_HV *a, const GUID *vm, const GUID *service)
{
	assert_int_equal(a->Family, AF_HYPERV);
	assert_int_equal(a->Reserved, 0);
	assert_memory_equal(&a->VmId, vm, sizeof(*vm));
	if (service)
		assert_memory_equal(&a->ServiceId, service, sizeof(*service));
}

static SOCKADDR_HV name_of(int s, int (*get)(int, struct sockaddr *, socklen_t *))
{
	SOCKADDR_HV a;
	socklen_t length = sizeof(a);

	assert_int_equal(get(s, (struct sockaddr *)&a, &length), 0);
	assert_int_equal(length, sizeof(a));
	return a;
}

static int get_own(int s, struct sockaddr *a, socklen_t *length)
{
	return getsockname(s, a, length);
}

static int get_peer(int s, struct sockaddr *a, socklen_t *length)
{
	return getpeername(s, a, length);
}

/* ---- Between host programs ------------------------------------------------------------------- */

static void two_programs(void **state)
{
	int l = listener(&HV_GUID_WILDCARD), c = hv_socket(0), s;
	SOCKADDR_HV a, b, client;
	socklen_t length = sizeof(a);
	char text[8];

	a = name_of(l, get_own);
	assert_is(&a, &HV_GUID_ZERO, &echo_service);
	assert_int_equal(hv_connect_to(c, &HV_GUID_LOOPBACK, &echo_service), 0);
	s = accept(l, (struct sockaddr *)&a, &length);
	assert_true(s >= 0);
	assert_int_equal(length, sizeof(a));
	assert_is(&a, &HV_GUID_LOOPBACK, NULL);
	client = name_of(c, get_own);
	assert_is(&client, &HV_GUID_LOOPBACK, &a.ServiceId);
	b = name_of(s, get_peer);
	assert_memory_equal(&a, &b, sizeof(a));
	b = name_of(c, get_peer);
	assert_is(&b, &HV_GUID_LOOPBACK, &echo_service);
	b = name_of(s, get_own);
	assert_is(&b, &HV_GUID_LOOPBACK, &echo_service);
	assert_int_equal(hv_connect_to(c, &HV_GUID_LOOPBACK, &echo_service), -EISCONN);

	/* Half-close, each way. */
	assert_int_equal(send(c, "one", 3, 0), 3);
	assert_int_equal(shutdown(c, SHUT_WR), 0);
	assert_int_equal(recv(s, text, sizeof(text), MSG_WAITALL), 3);
	assert_int_equal(send(s, "two", 3, 0), 3);
	close(s);
	assert_int_equal(recv(c, text, sizeof(text), MSG_WAITALL), 3);
	assert_int_equal(send(c, "x", 1, MSG_NOSIGNAL), -1);
	close(c);
	close(l);
}

static void the_parent_is_the_host(void **state)
{
	int l = listener(&HV_GUID_LOOPBACK), c = hv_socket(0);

	assert_int_equal(hv_connect_to(c, &HV_GUID_PARENT, &echo_service), 0);
	close(c);
	close(l);
}

static void whom_a_listener_accepts(void **state)
{
	int l = listener(&HV_GUID_CHILDREN), c = hv_socket(0);

	/* Machines, and not host programs. */
	assert_int_equal(hv_connect_to(c, &HV_GUID_LOOPBACK, &echo_service), -ECONNREFUSED);
	close(l);
	l = listener(&echo_service); /* one machine, which may start later */
	assert_int_equal(hv_connect_to(c, &HV_GUID_LOOPBACK, &echo_service), -ECONNREFUSED);
	close(l);
	/* The socket is good for another attempt. */
	l = listener(&HV_GUID_WILDCARD);
	assert_int_equal(hv_connect_to(c, &HV_GUID_LOOPBACK, &echo_service), 0);
	close(l);
	close(c);
}

static void addresses_in_use(void **state)
{
	int l = hv_socket(0), s = hv_socket(0), other = hv_socket(0);

	assert_int_equal(hv_bind(l, &HV_GUID_WILDCARD, &echo_service), 0);
	/* Bound is taken, before anybody listens. */
	assert_int_equal(hv_bind(s, &HV_GUID_WILDCARD, &echo_service), -EADDRINUSE);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(hv_bind(s, &HV_GUID_WILDCARD, &echo_service), -EADDRINUSE);
	assert_int_equal(hv_bind(other, &HV_GUID_CHILDREN, &echo_service), 0);
	close(l);
	assert_int_equal(hv_bind(s, &HV_GUID_WILDCARD, &echo_service), 0);
	assert_int_equal(hv_bind(s, &HV_GUID_WILDCARD, &echo_service), -EINVAL);
	close(s);
	close(other);
}

static void services_left_open(void **state)
{
	int a = hv_socket(0), b = hv_socket(0), c = hv_socket(0);
	SOCKADDR_HV name, other;

	assert_int_equal(hv_bind(a, &HV_GUID_WILDCARD, &HV_GUID_ZERO), 0);
	assert_int_equal(hv_bind(b, &HV_GUID_WILDCARD, &HV_GUID_ZERO), 0);
	name = name_of(a, get_own);
	other = name_of(b, get_own);
	assert_memory_not_equal(&name.ServiceId, &HV_GUID_ZERO, sizeof(GUID));
	assert_memory_not_equal(&name.ServiceId, &other.ServiceId, sizeof(GUID));
	assert_int_equal(listen(a, 1), 0);
	assert_int_equal(hv_connect_to(c, &HV_GUID_LOOPBACK, &name.ServiceId), 0);
	close(a);
	close(b);
	close(c);
}

static void what_cannot_be_bound_to(void **state)
{
	SOCKADDR_HV a = address(&HV_GUID_WILDCARD, &echo_service);
	int s = hv_socket(0);

	assert_int_equal(hv_bind(s, &HV_GUID_PARENT, &echo_service), -EADDRNOTAVAIL);
	assert_int_equal(hv_bind(s, &HV_GUID_BROADCAST, &echo_service), -EADDRNOTAVAIL);
	assert_int_equal(hv_bind(s, &HV_GUID_SILOHOST, &echo_service), -EADDRNOTAVAIL);
	assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof(a) - 1), -1);
	assert_int_equal(errno, EINVAL);
	a.Family = AF_INET;
	assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof(a)), -1);
	assert_int_equal(errno, EAFNOSUPPORT);
	assert_int_equal(listen(s, 1), -1);
	close(s);
}

/* A listener that nobody accepts from is full at last; a client waits no longer than it wants. */
static void a_full_backlog(void **state)
{
	int l = hv_socket(0), c[16], i = 0, s;
	ULONG limit = 1;

	assert_int_equal(hv_bind(l, &HV_GUID_WILDCARD, &echo_service), 0);
	assert_int_equal(listen(l, 1), 0);
	do {
		c[i] = hv_socket(SOCK_NONBLOCK);
	} while (!hv_connect_to(c[i++], &HV_GUID_LOOPBACK, &echo_service) && i < 16);
	assert_true(i > 1 && i < 16);
	assert_int_equal(hv_connect_to(c[i - 1], &HV_GUID_LOOPBACK, &echo_service), -ECONNREFUSED);
	s = hv_socket(0);
	assert_int_equal(
		setsockopt(s, HV_PROTOCOL_RAW, HVSOCKET_CONNECT_TIMEOUT, &limit, sizeof(limit)), 0);
	assert_int_equal(hv_connect_to(s, &HV_GUID_LOOPBACK, &echo_service), -ETIMEDOUT);
	while (i--)
		close(c[i]);
	close(s);
	close(l);
}

/* ---- To machines ----------------------------------------------------------------------------- */

static void a_machine(void **state)
{
	struct machine m = {.answer = MACHINE_ACCEPTS};
	int s = hv_socket(0);
	struct hv_greeting g;
	SOCKADDR_HV a;

	machine_start(&m);
	assert_int_equal(hv_connect_to(s, &m.id, &echo_service), 0);
	g = machine_heard(&m);
	assert_memory_equal(&g.service, &echo_service, sizeof(GUID));
	assert_int_equal(g.timeout_ms, 2000);
	a = name_of(s, get_peer);
	assert_is(&a, &m.id, &echo_service);
	a = name_of(s, get_own);
	assert_is(&a, &HV_GUID_PARENT, NULL);
	assert_echo(s);
	close(s);
	machine_stop(&m);
}

static void errors_of_connecting(void **state)
{
	static const int errors[] = {ECONNREFUSED, EACCES, ETIMEDOUT, ECONNRESET};
	struct machine m = {.answer = MACHINE_REFUSES};
	int s = hv_socket(0), t = socket(AF_VSOCK, SOCK_STREAM, 0);
	const struct sockaddr_vm nobody = {.svm_family = AF_VSOCK, .svm_cid = 77, .svm_port = 1};

	machine_start(&m);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		machine_refuses(&m, -errors[i]);
		/* The same socket: each attempt is a new one. */
		assert_int_equal(hv_connect_to(s, &m.id, &echo_service), -errors[i]);
	}
	machine_answers(&m, MACHINE_DIES);
	assert_int_equal(hv_connect_to(s, &m.id, &echo_service), -ECONNRESET);
	assert_int_equal(hv_connect_to(s, &echo_service, &echo_service), -ENETUNREACH);
	assert_int_equal(hv_connect_to(s, &HV_GUID_ZERO, &echo_service), -EADDRNOTAVAIL);
	assert_int_equal(hv_connect_to(s, &m.id, &HV_GUID_ZERO), -EADDRNOTAVAIL);
	assert_int_equal(connect(t, (const struct sockaddr *)&nobody, sizeof(nobody)), -1);
	assert_int_equal(errno, ENODEV);
	machine_answers(&m, MACHINE_ACCEPTS);
	assert_int_equal(hv_connect_to(s, &m.id, &echo_service), 0);
	assert_echo(s);
	close(s);
	close(t);
	machine_stop(&m);
}

static void the_timeout_is_told(void **state)
{
	struct machine m = {.answer = MACHINE_ACCEPTS};
	ULONG limit = 12345, got = 0, too_long = HVSOCKET_CONNECT_TIMEOUT_MAX + 1;
	socklen_t length = sizeof(got);
	int s = hv_socket(0);

	machine_start(&m);
	assert_int_equal(
		setsockopt(s, HV_PROTOCOL_RAW, HVSOCKET_CONNECT_TIMEOUT, &limit, sizeof(limit)), 0);
	assert_int_equal(
		setsockopt(s, HV_PROTOCOL_RAW, HVSOCKET_CONNECT_TIMEOUT, &too_long, sizeof(limit)),
		-1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(
		getsockopt(s, HV_PROTOCOL_RAW, HVSOCKET_CONNECT_TIMEOUT, &got, &length), 0);
	assert_int_equal(got, limit);
	assert_int_equal(hv_connect_to(s, &m.id, &echo_service), 0);
	assert_int_equal(machine_heard(&m).timeout_ms, limit);
	close(s);
	machine_stop(&m);
}

static void what_options_there_are(void **state)
{
	int s = hv_socket(0), one = 1, got = 0;
	socklen_t length = sizeof(got);

	assert_int_equal(
		setsockopt(s, HV_PROTOCOL_RAW, HVSOCKET_CONTAINER_PASSTHRU, &one, sizeof(one)), 0);
	assert_int_equal(
		getsockopt(s, HV_PROTOCOL_RAW, HVSOCKET_CONTAINER_PASSTHRU, &got, &length), 0);
	assert_int_equal(got, 1);
	assert_int_equal(
		setsockopt(s, HV_PROTOCOL_RAW, HVSOCKET_CONNECTED_SUSPEND, &one, sizeof(one)), 0);
	assert_int_equal(getsockopt(s, SOL_SOCKET, SO_DOMAIN, &got, &length), 0);
	assert_int_equal(got, AF_HYPERV);
	assert_int_equal(getsockopt(s, SOL_SOCKET, SO_TYPE, &got, &length), 0);
	assert_int_equal(got, SOCK_STREAM);
	assert_int_equal(getsockopt(s, SOL_SOCKET, SO_PROTOCOL, &got, &length), 0);
	assert_int_equal(got, HV_PROTOCOL_RAW);
	assert_int_equal(getsockopt(s, 6, 1, &got, &length), -1);
	assert_int_equal(errno, ENOPROTOOPT);
	assert_int_equal(pending_error(s), 0);
	close(s);
}

/* ---- Without blocking ------------------------------------------------------------------------ */

enum waiter { WITH_POLL, WITH_SELECT, WITH_EPOLL };

/* Until @s can be written, or failed. */
static void await(int s, enum waiter how)
{
	struct pollfd p = {.fd = s, .events = POLLOUT};
	struct epoll_event e = {.events = EPOLLOUT};
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	fd_set writable;

	FD_ZERO(&writable);
	FD_SET(s, &writable);
	switch (how) {
	case WITH_POLL:
		assert_int_equal(poll(&p, 1, 60 * SECOND), 1);
		break;
	case WITH_SELECT:
		assert_int_equal(select(s + 1, NULL, &writable, NULL, NULL), 1);
		break;
	case WITH_EPOLL:
		assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, s, &e), 0);
		assert_int_equal(epoll_wait(epoll, &e, 1, 60 * SECOND), 1);
		break;
	}
	close(epoll);
}

static void success_without_blocking(void **state)
{
	struct machine m = {.answer = MACHINE_ACCEPTS};

	machine_start(&m);
	for (enum waiter how = WITH_POLL; how <= WITH_EPOLL; how++) {
		int s = hv_socket(SOCK_NONBLOCK);

		assert_int_equal(hv_connect_to(s, &m.id, &echo_service), -EINPROGRESS);
		await(s, how);
		assert_int_equal(pending_error(s), 0);
		assert_int_equal(hv_connect_to(s, &m.id, &echo_service), -EISCONN);
		name_of(s, get_peer);
		assert_int_equal(fcntl(s, F_SETFL, 0), 0);
		assert_echo(s);
		close(s);
	}
	machine_stop(&m);
}

static void failure_without_blocking(void **state)
{
	struct machine m = {.answer = MACHINE_REFUSES, .error = -ECONNREFUSED};

	machine_start(&m);
	for (enum waiter how = WITH_POLL; how <= WITH_EPOLL; how++) {
		int s = hv_socket(SOCK_NONBLOCK);
		SOCKADDR_HV a;
		socklen_t length = sizeof(a);

		assert_int_equal(hv_connect_to(s, &m.id, &echo_service), -EINPROGRESS);
		await(s, how);
		if (how == WITH_POLL) {
			assert_int_equal(getpeername(s, (struct sockaddr *)&a, &length), -1);
			assert_int_equal(errno, ENOTCONN);
		}
		assert_int_equal(pending_error(s), ECONNREFUSED);
		assert_int_equal(pending_error(s), 0);
		close(s);
	}
	machine_stop(&m);
}

static void connecting_takes_its_time(void **state)
{
	struct machine m = {.answer = MACHINE_IS_SILENT};
	int s = hv_socket(SOCK_NONBLOCK);
	SOCKADDR_HV a;
	socklen_t length = sizeof(a);
	struct pollfd p = {.fd = s, .events = POLLOUT};

	machine_start(&m);
	assert_int_equal(hv_connect_to(s, &m.id, &echo_service), -EINPROGRESS);
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(hv_connect_to(s, &m.id, &echo_service), -EALREADY);
	assert_int_equal(pending_error(s), 0);
	assert_int_equal(getpeername(s, (struct sockaddr *)&a, &length), -1);
	assert_int_equal(errno, ENOTCONN);
	close(s);
	machine_stop(&m);
}

/* connect() itself tells how it went, if it is asked again. */
static void asked_by_connecting_again(void **state)
{
	struct machine m = {.answer = MACHINE_ACCEPTS};
	int s = hv_socket(SOCK_NONBLOCK);

	machine_start(&m);
	assert_int_equal(hv_connect_to(s, &m.id, &echo_service), -EINPROGRESS);
	await(s, WITH_POLL);
	assert_int_equal(hv_connect_to(s, &m.id, &echo_service), 0);
	assert_int_equal(hv_connect_to(s, &m.id, &echo_service), -EISCONN);
	close(s);
	machine_stop(&m);
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

static void duplicates(void **state)
{
	struct machine m = {.answer = MACHINE_ACCEPTS};
	int s = hv_socket(SOCK_NONBLOCK), d;
	SOCKADDR_HV a;

	machine_start(&m);
	d = dup(s);
	assert_int_equal(hv_connect_to(d, &m.id, &echo_service), -EINPROGRESS);
	await(s, WITH_POLL);
	close(d);
	assert_int_equal(pending_error(s), 0);
	d = fcntl(s, F_DUPFD, 100);
	close(s);
	a = name_of(d, get_peer);
	assert_is(&a, &m.id, &echo_service);
	close(d);
	machine_stop(&m);
}

/* A server that forks for each client; the child knows the socket as its parent did. */
static void children_go_on(void **state)
{
	int l = listener(&HV_GUID_WILDCARD), c = hv_socket(0), status;
	char text[16] = {0};
	pid_t child;

	assert_int_equal(hv_connect_to(c, &HV_GUID_LOOPBACK, &echo_service), 0);
	child = fork();
	if (!child) {
		SOCKADDR_HV a;
		socklen_t length = sizeof(a);
		int s = accept(l, NULL, NULL);
		bool ok = s >= 0 && !getpeername(s, (struct sockaddr *)&a, &length) &&
			  a.Family == AF_HYPERV && IsEqualGUID(&a.VmId, &HV_GUID_LOOPBACK);

		_exit(ok && send(s, "child", 5, 0) == 5 ? 0 : 1);
	}
	close(l);
	assert_int_equal(recv(c, text, sizeof(text), MSG_WAITALL), 5);
	assert_string_equal(text, "child");
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(c);
}

/* The library is told of no close(): what it keeps of sockets must not grow with them. */
static void many_sockets(void **state)
{
	int keep = hv_socket(0), got;
	socklen_t length = sizeof(got);

	for (int i = 0; i < 20000; i++)
		close(hv_socket(0));
	assert_int_equal(getsockopt(keep, SOL_SOCKET, SO_DOMAIN, &got, &length), 0);
	assert_int_equal(got, AF_HYPERV);
	close(keep);
}

/* ---- Other families -------------------------------------------------------------------------- */

static void vsock_programs(void **state)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK,
				   .svm_cid = VMADDR_CID_ANY,
				   .svm_port = VMADDR_PORT_ANY},
			   got = {0};
	int l = socket(AF_VSOCK, SOCK_STREAM, 0), c = socket(AF_VSOCK, SOCK_STREAM, 0), s;
	socklen_t length = sizeof(got);

	assert_int_equal(bind(l, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&got, &length), 0);
	assert_int_equal(length, sizeof(got));
	assert_int_equal(got.svm_cid, VMADDR_CID_ANY);
	assert_int_not_equal(got.svm_port, VMADDR_PORT_ANY);
	a.svm_port = got.svm_port;
	a.svm_cid = VMADDR_CID_HOST;
	assert_int_equal(connect(c, (struct sockaddr *)&a, sizeof(a)), 0);
	s = accept4(l, (struct sockaddr *)&got, &length, SOCK_CLOEXEC);
	assert_int_equal(fcntl(s, F_GETFD), FD_CLOEXEC);
	assert_int_equal(got.svm_family, AF_VSOCK);
	assert_int_equal(got.svm_cid, VMADDR_CID_LOCAL);
	assert_int_equal(getpeername(c, (struct sockaddr *)&got, &length), 0);
	assert_int_equal(got.svm_cid, VMADDR_CID_HOST);
	assert_int_equal(got.svm_port, a.svm_port);
	close(s);
	close(c);
	close(l);
}

static void contexts_of_machines(void **state)
{
	struct machine m = {.answer = MACHINE_ACCEPTS};
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = 7, .svm_port = 5002}, got;
	struct timeval limit = {3, 500000};
	socklen_t length = sizeof(got);
	int s = socket(AF_VSOCK, SOCK_STREAM, 0);
	struct hv_greeting g;

	machine_start(&m);
	machine_gets_cid(&m, 7);
	assert_int_equal(
		setsockopt(s, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit, sizeof(limit)), 0);
	assert_int_equal(connect(s, (struct sockaddr *)&a, sizeof(a)), 0);
	g = machine_heard(&m);
	assert_int_equal(g.service.Data1, 5002);
	assert_memory_equal((char *)&g.service + 4, (const char *)&HV_GUID_VSOCK_TEMPLATE + 4, 12);
	assert_int_equal(g.timeout_ms, 3500);
	assert_int_equal(getpeername(s, (struct sockaddr *)&got, &length), 0);
	assert_int_equal(got.svm_cid, 7);
	assert_int_equal(got.svm_port, 5002);
	assert_echo(s);
	close(s);
	machine_stop(&m);
}

static void another_value_of_the_family(void **state)
{
	SOCKADDR_HV a = {.Family = 43, .VmId = HV_GUID_WILDCARD, .ServiceId = echo_service};
	int s;

	setenv("PARTITA_AF_HYPERV", "43", 1);
	s = socket(43, SOCK_STREAM, HV_PROTOCOL_RAW);
	unsetenv("PARTITA_AF_HYPERV");
	assert_true(s >= 0);
	assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
	a = name_of(s, get_own);
	assert_int_equal(a.Family, 43);
	close(s);
}

/* What the kernel answers to those who have nothing to do with us. */
static void others_are_left_alone(void **state)
{
	int hv = hv_socket(0), l = socket(AF_UNIX, SOCK_STREAM, 0), pair[2], got;
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "\0partita-test"}, b;
	socklen_t length = sizeof(b);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(bind(l, (struct sockaddr *)&a, sizeof(sa_family_t)), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&b, &length), 0);
	assert_int_equal(b.sun_family, AF_UNIX);
	length = sizeof(got);
	assert_int_equal(getsockopt(pair[0], SOL_SOCKET, SO_DOMAIN, &got, &length), 0);
	assert_int_equal(got, AF_UNIX);
	assert_int_equal(getsockopt(pair[0], SOL_SOCKET, SO_ERROR, &got, &length), 0);
	assert_int_equal(bind(-1, (struct sockaddr *)&a, sizeof(a)), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(socket(AF_HYPERV, SOCK_DGRAM, HV_PROTOCOL_RAW), -1);
	close(hv);
	close(l);
	close(pair[0]);
	close(pair[1]);
}

/*
 * A program that was started for a connection, or by systemd with a socket to listen at, did not
 * make the socket by the library.
 */
static void sockets_of_another_process(void **state)
{
	const GUID vm = {1, 2, 3, {4}}, service = {5};
	const struct hv_address guest = {vm, service};
	int l = syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0), s;
	int c = syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
	char place[PATH_MAX];
	SOCKADDR_HV a;
	socklen_t length = sizeof(a);

	assert_int_equal(hv_listener_bind(l, &(struct hv_address){HV_GUID_ZERO, echo_service}), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(hv_address_bind(c, &guest), 0);
	hv_place_listener(machine_base(), &HV_GUID_ZERO, &echo_service, place);
	assert_int_equal(hv_place_connect(c, place), 0);
	s = accept(l, (struct sockaddr *)&a, &length);
	assert_true(s >= 0);
	assert_int_equal(length, sizeof(a));
	assert_is(&a, &vm, &service);
	a = name_of(s, get_peer);
	assert_is(&a, &vm, &service);
	a = name_of(s, get_own);
	assert_is(&a, &HV_GUID_LOOPBACK, &echo_service);
	close(s);
	close(c);
	close(l);
}

static void missing_pointers(void **state)
{
	SOCKADDR_HV a;
	socklen_t length = sizeof(a);
	int s = hv_socket(0);

	assert_int_equal(getsockname(s, (struct sockaddr *)&a, NULL), -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(getsockname(s, NULL, &length), -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(bind(s, NULL, sizeof(a)), -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(getsockopt(s, SOL_SOCKET, SO_ERROR, NULL, &length), -1);
	assert_int_equal(setsockopt(s, SOL_SOCKET, SO_DEBUG, NULL, 4), -1);
	close(s);
}

/* ---- Threads --------------------------------------------------------------------------------- */

#define N_THREADS 8
#define N_TIMES	  200

static void *connect_often(void *p)
{
	const GUID *vm = p;

	for (int i = 0; i < N_TIMES; i++) {
		int s = socket(AF_HYPERV, SOCK_STREAM, HV_PROTOCOL_RAW);

		if (hv_connect_to(s, vm, &echo_service))
			return p;
		close(s);
	}
	return NULL;
}

static void *accept_often(void *p)
{
	for (int i = 0; i < N_THREADS * N_TIMES; i++) {
		int s = accept(*(int *)p, NULL, NULL);
		SOCKADDR_HV a;
		socklen_t length = sizeof(a);

		if (s < 0 || getpeername(s, (struct sockaddr *)&a, &length))
			return p;
		close(s);
	}
	return NULL;
}

static void many_threads(void **state)
{
	struct machine m = {.answer = MACHINE_ACCEPTS};
	pthread_t threads[2 * N_THREADS], server;
	int l = listener(&HV_GUID_WILDCARD);
	void *failed;

	machine_start(&m);
	pthread_create(&server, NULL, accept_often, &l);
	for (int i = 0; i < 2 * N_THREADS; i++)
		pthread_create(&threads[i], NULL, connect_often,
			i % 2 ? (void *)&HV_GUID_LOOPBACK : (void *)&m.id);
	for (int i = 0; i < 2 * N_THREADS; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	pthread_join(server, &failed);
	assert_null(failed);
	close(l);
	machine_stop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_programs),
		cmocka_unit_test(the_parent_is_the_host),
		cmocka_unit_test(whom_a_listener_accepts),
		cmocka_unit_test(addresses_in_use),
		cmocka_unit_test(services_left_open),
		cmocka_unit_test(what_cannot_be_bound_to),
		cmocka_unit_test(a_full_backlog),
		cmocka_unit_test(a_machine),
		cmocka_unit_test(errors_of_connecting),
		cmocka_unit_test(the_timeout_is_told),
		cmocka_unit_test(what_options_there_are),
		cmocka_unit_test(success_without_blocking),
		cmocka_unit_test(failure_without_blocking),
		cmocka_unit_test(connecting_takes_its_time),
		cmocka_unit_test(asked_by_connecting_again),
		cmocka_unit_test(duplicates),
		cmocka_unit_test(children_go_on),
		cmocka_unit_test(many_sockets),
		cmocka_unit_test(vsock_programs),
		cmocka_unit_test(contexts_of_machines),
		cmocka_unit_test(another_value_of_the_family),
		cmocka_unit_test(others_are_left_alone),
		cmocka_unit_test(sockets_of_another_process),
		cmocka_unit_test(missing_pointers),
		cmocka_unit_test(many_threads),
	};

	return cmocka_run_group_tests(tests, machine_directory, machine_directory_gone);
}
