/*
 * library.c - what socket calls do with the sockets of libhvsocket. See library.h.
 *
 * The program's descriptor is a Unix stream socket. Who listens has it bound to a place (places.h),
 * who connects to a name that tells who he is (address.h). After a connection stands, or was
 * accepted, nothing here stands between the program and the kernel.
 */
#include "hvsocket/library.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "base/guid.h"
#include "hvsocket/connect.h"
#include "hvsocket/family.h"
#include "hvsocket/listen.h"
#include "hvsocket/places.h"
#include "hvsocket/system.h"
#include "hvsocket/table.h"

#define BIND_ATTEMPTS 16

int library_socket(int family, int type)
{
	struct hv_socket s = {.family = family};
	int fd = sys_socket(AF_UNIX, type, 0), err;

	if (fd < 0)
		return fd;
	err = table_put(fd, &s);
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* ---- bind() and accept() -------------------------------------------------------------------- */

/* Where who binds to @a listens; the host's own vsock context is everybody's way to it. */
static struct hv_address place_of(int family, const struct hv_address *a)
{
	struct hv_address place = *a;

	if (family == AF_VSOCK && guid_equal(&a->vm, &hv_parent))
		place.vm = hv_zero;
	return place;
}

int library_bind(int fd, const struct sockaddr *name, socklen_t length)
{
	struct hv_address place;
	struct hv_socket s;
	bool any;
	int err;

	if (!table_find(fd, &s))
		return -ENOTSOCK;
	if (s.stage != HV_FRESH)
		return -EINVAL;
	err = family_read(s.family, name, length, &s.self);
	if (err)
		return err == -ENODEV ? -EADDRNOTAVAIL : err;
	any = guid_is_zero(&s.self.service);
	for (unsigned i = 0; i < BIND_ATTEMPTS; i++) {
		if (any)
			s.self.service = family_free_service(s.family);
		place = place_of(s.family, &s.self);
		err = hv_listener_bind(fd, &place);
		if (!any || err != -EADDRINUSE)
			break;
	}
	s.stage = HV_BOUND;
	return err ? err : table_put(fd, &s);
}

/* Who is at the end with the name @name: a program that says nothing is one of the host's. */
static struct hv_address end_of(const struct sockaddr_un *name, socklen_t length)
{
	struct hv_address a = {.vm = hv_loopback};
	struct sockaddr_un path = {0};

	if (hv_address_decode(name, length, &a))
		return a;
	memcpy(&path, name, length < sizeof(path) ? length : sizeof(path) - 1);
	if (!hv_place_name(path.sun_path, &a.vm, &a.service))
		a.service = hv_zero;
	a.vm = hv_loopback;
	return a;
}

int library_accepted(int listener, int fd, const struct sockaddr_un *peer, socklen_t peer_length,
	struct sockaddr *name, socklen_t *length)
{
	struct hv_socket s;
	int err;

	if (!table_find(listener, &s))
		return -ENOTSOCK;
	s.stage = HV_CONNECTED;
	s.peer = end_of(peer, peer_length);
	s.self.vm = hv_is_machine(&s.peer.vm) ? hv_parent : hv_loopback;
	err = table_put(fd, &s);
	if (!err && name)
		family_write(s.family, &s.peer, name, length);
	return err;
}

/* ---- connect() ------------------------------------------------------------------------------ */

/* How an attempt ended: @err. */
static int finish(int fd, struct hv_socket *s, int err)
{
	int kept;

	/* vsock has one word for a machine that is not there. */
	if (err == -ENETUNREACH && s->family == AF_VSOCK)
		err = -ENODEV;
	s->stage = err ? HV_FAILED : HV_CONNECTED;
	kept = table_put(fd, s);
	return err ? err : kept;
}

/* An attempt that is in progress: -EINPROGRESS while it is. */
static int look(int fd, struct hv_socket *s)
{
	int err = hv_connect_end(fd);

	return err == -EINPROGRESS ? err : finish(fd, s, err);
}

/* The kernel's socket cannot connect again: put a new one in its place. */
static int renew(int fd, struct hv_socket *s)
{
	int flags = fcntl(fd, F_GETFL), close_on_exec = fcntl(fd, F_GETFD) & FD_CLOEXEC, fresh;

	fresh = sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (flags & O_NONBLOCK), 0);
	if (fresh < 0)
		return fresh;
	flags = dup3(fresh, fd, close_on_exec ? O_CLOEXEC : 0) < 0 ? -errno : 0;
	close(fresh);
	s->stage = HV_FRESH;
	return flags ? flags : table_put(fd, s);
}

/* What comes before hv_connect_begin(): the socket is ready, and bound to who we are. */
static int prepare(int fd, struct hv_socket *s)
{
	int err = s->stage == HV_FAILED ? renew(fd, s) : 0;

	if (err || s->stage != HV_FRESH)
		return err;
	s->self.vm = hv_is_host(&s->peer.vm) ? hv_loopback : hv_parent;
	if (guid_is_zero(&s->self.service))
		s->self.service = family_free_service(s->family);
	err = hv_address_bind(fd, &s->self);
	s->stage = HV_NAMED;
	return err ? err : table_put(fd, s);
}

static bool is_blocking(int fd)
{
	return !(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static int wait_for(int fd, struct hv_socket *s, unsigned timeout_ms)
{
	int err = hv_connect_wait(fd, timeout_ms);

	return err == -EINTR ? err : finish(fd, s, err);
}

static int begin(int fd, struct hv_socket *s)
{
	const unsigned timeout_ms = s->timeout_ms ? s->timeout_ms : HV_CONNECT_TIMEOUT;
	struct sockaddr_un other;
	socklen_t length = sizeof(other);
	int err = prepare(fd, s);

	if (err)
		return err;
	err = hv_connect_begin(fd, &s->peer.vm, &s->peer.service, timeout_ms);
	if (err == -EINPROGRESS) {
		s->stage = HV_CONNECTING;
		err = table_put(fd, s);
		if (err)
			return err;
		return is_blocking(fd) ? wait_for(fd, s, timeout_ms) : -EINPROGRESS;
	}
	/* A socket that got nowhere can be used once more. */
	if (err && sys_getpeername(fd, &other, &length))
		return err == -ENETUNREACH && s->family == AF_VSOCK ? -ENODEV : err;
	return finish(fd, s, err);
}

int library_connect(int fd, const struct sockaddr *name, socklen_t length)
{
	struct hv_socket s;
	int err;

	if (!table_find(fd, &s))
		return -ENOTSOCK;
	if (s.stage == HV_CONNECTED)
		return -EISCONN;
	if (s.stage == HV_CONNECTING) {
		if (is_blocking(fd))
			return wait_for(fd, &s, s.timeout_ms ? s.timeout_ms : HV_CONNECT_TIMEOUT);
		err = look(fd, &s);
		return err == -EINPROGRESS ? -EALREADY : err;
	}
	err = family_read(s.family, name, length, &s.peer);
	if (err)
		return err;
	if (guid_is_zero(&s.peer.service))
		return -EADDRNOTAVAIL;
	return begin(fd, &s);
}

/* ---- Names ---------------------------------------------------------------------------------- */

int library_getsockname(int fd, struct sockaddr *name, socklen_t *length)
{
	struct hv_socket s;

	if (!table_find(fd, &s))
		return -ENOTSOCK;
	family_write(s.family, &s.self, name, length);
	return 0;
}

int library_getpeername(int fd, struct sockaddr *name, socklen_t *length)
{
	struct hv_socket s;

	if (!table_find(fd, &s))
		return -ENOTSOCK;
	if (s.stage == HV_CONNECTING) {
		s.error = look(fd, &s);
		if (s.error && s.error != -EINPROGRESS)
			table_put(fd, &s); /* SO_ERROR tells it */
	}
	if (s.stage != HV_CONNECTED)
		return -ENOTCONN;
	family_write(s.family, &s.peer, name, length);
	return 0;
}

void library_adopt(int fd, int (*get)(int fd, void *name, socklen_t *length), struct sockaddr *name,
	socklen_t room, socklen_t *length)
{
	struct sockaddr_un un = {0};
	socklen_t un_length = sizeof(un);
	struct hv_address a;
	GUID scope;

	if (room < sizeof(name->sa_family) || name->sa_family != AF_UNIX ||
		get(fd, &un, &un_length))
		return;
	if (!hv_address_decode(&un, un_length, &a)) {
		un.sun_path[sizeof(un.sun_path) - 1] = 0;
		if (!hv_place_name(un.sun_path, &scope, &a.service))
			return;
		a.vm = hv_loopback;
	}
	*length = room;
	family_write(AF_HYPERV, &a, name, length);
}

/* ---- Options -------------------------------------------------------------------------------- */

static int give(const void *what, socklen_t size, void *value, socklen_t *length)
{
	if (*length > size)
		*length = size;
	memcpy(value, what, *length);
	return 0;
}

static int give_number(int number, void *value, socklen_t *length)
{
	return give(&number, sizeof(number), value, length);
}

/* SO_ERROR: as the kernel's, but that of connecting is found here. */
static int take_error(int fd, struct hv_socket *s, void *value, socklen_t *length)
{
	int err = s->error;

	if (s->stage == HV_CONNECTING)
		err = look(fd, s);
	else if (!err)
		return sys_getsockopt(fd, SOL_SOCKET, SO_ERROR, value, length);
	if (s->error) {
		s->error = 0;
		table_put(fd, s);
	}
	return give_number(err == -EINPROGRESS ? 0 : -err, value, length);
}

static int get_vsock_option(struct hv_socket *s, int option, void *value, socklen_t *length)
{
	const unsigned ms = s->timeout_ms ? s->timeout_ms : HV_CONNECT_TIMEOUT;
	const struct timeval t = {ms / 1000, ms % 1000 * 1000};

	if (option != SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD &&
		option != SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW)
		return -ENOPROTOOPT;
	if (*length < sizeof(t))
		return -EINVAL;
	return give(&t, sizeof(t), value, length);
}

int library_getsockopt(int fd, int level, int option, void *value, socklen_t *length)
{
	struct hv_socket s;

	if (!table_find(fd, &s))
		return -ENOTSOCK;
	if (level == AF_VSOCK && s.family == AF_VSOCK)
		return get_vsock_option(&s, option, value, length);
	if (level != SOL_SOCKET)
		return -ENOPROTOOPT;
	if (s.family != AF_VSOCK && option == HVSOCKET_CONNECT_TIMEOUT)
		return give_number(s.timeout_ms, value, length);
	switch (option) {
	case SO_ERROR:
		return take_error(fd, &s, value, length);
	case SO_DOMAIN:
		return give_number(s.family, value, length);
	case SO_PROTOCOL:
		return give_number(s.family == AF_VSOCK ? 0 : HV_PROTOCOL_RAW, value, length);
	default:
		return sys_getsockopt(fd, level, option, value, length);
	}
}

static int set_timeout(int fd, struct hv_socket *s, uint64_t ms)
{
	s->timeout_ms = ms;
	return ms > HVSOCKET_CONNECT_TIMEOUT_MAX ? -EINVAL : table_put(fd, s);
}

static int set_vsock_option(
	int fd, struct hv_socket *s, int option, const void *value, socklen_t length)
{
	struct timeval t;

	switch (option) {
	case SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD:
	case SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW:
		if (length < sizeof(t))
			return -EINVAL;
		memcpy(&t, value, sizeof(t));
		if (t.tv_sec < 0 || t.tv_usec < 0 || t.tv_usec >= 1000000)
			return -ERANGE;
		if (t.tv_sec > HVSOCKET_CONNECT_TIMEOUT_MAX / 1000)
			t = (struct timeval){HVSOCKET_CONNECT_TIMEOUT_MAX / 1000, 0};
		return set_timeout(fd, s, t.tv_sec * 1000 + (t.tv_usec + 999) / 1000);
	case SO_VM_SOCKETS_BUFFER_SIZE:
	case SO_VM_SOCKETS_BUFFER_MIN_SIZE:
	case SO_VM_SOCKETS_BUFFER_MAX_SIZE:
		return 0; /* a hint, which nothing here needs */
	default:
		return -ENOPROTOOPT;
	}
}

int library_setsockopt(int fd, int level, int option, const void *value, socklen_t length)
{
	struct hv_socket s;
	ULONG number;

	if (!table_find(fd, &s))
		return -ENOTSOCK;
	if (level == AF_VSOCK && s.family == AF_VSOCK)
		return set_vsock_option(fd, &s, option, value, length);
	if (level != SOL_SOCKET)
		return -ENOPROTOOPT;
	if (s.family == AF_VSOCK ||
		(option != HVSOCKET_CONNECT_TIMEOUT && option != HVSOCKET_CONNECTED_SUSPEND))
		return sys_setsockopt(fd, level, option, value, length);
	if (length < sizeof(number))
		return -EINVAL;
	memcpy(&number, value, sizeof(number));
	return option == HVSOCKET_CONNECT_TIMEOUT ? set_timeout(fd, &s, number) : 0;
}
