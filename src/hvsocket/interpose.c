/*
 * interpose.c - the socket calls of the C library, as a program finds them that is linked to
 * libhvsocket or has it preloaded: its own sockets go to library.c, all others to whoever has the
 * name next. The rest of the calls (listen, send, recv, poll, shutdown, dup, close ...) need no one
 * here: the descriptor is the kernel's.
 */
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hvsocket/family.h"
#include "hvsocket/library.h"
#include "hvsocket/system.h"
#include "hvsocket/table.h"

/* A call with a pointer missing goes to the kernel, too, which says what is wrong with it. */
#define EXPORT __attribute__((visibility("default")))

/* The function that has @name behind us. */
#define NEXT(name)                                                                                 \
	({                                                                                         \
		static __typeof__(&(name)) found;                                                  \
		__typeof__(&(name)) f = __atomic_load_n(&found, __ATOMIC_RELAXED);                 \
		if (!f) {                                                                          \
			f = (__typeof__(&(name)))dlsym(RTLD_NEXT, #name);                          \
			__atomic_store_n(&found, f, __ATOMIC_RELAXED);                             \
		}                                                                                  \
		f;                                                                                 \
	})

static int answer(int result)
{
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}

EXPORT int socket(int family, int type, int protocol)
{
	if (!family_is_ours(family, type, protocol))
		return NEXT(socket)(family, type, protocol);
	return answer(library_socket(family, type));
}

EXPORT int bind(int fd, __CONST_SOCKADDR_ARG name, socklen_t length)
{
	int r = library_bind(fd, name.__sockaddr__, length);

	return r == -ENOTSOCK ? NEXT(bind)(fd, name, length) : answer(r);
}

EXPORT int connect(int fd, __CONST_SOCKADDR_ARG name, socklen_t length)
{
	int r = library_connect(fd, name.__sockaddr__, length);

	return r == -ENOTSOCK ? NEXT(connect)(fd, name, length) : answer(r);
}

/* accept() and accept4() of a socket that is not ours, which may have been made for us. */
static int adopt_peer(int fd, struct sockaddr *name, socklen_t room, socklen_t *length)
{
	if (fd >= 0 && name)
		library_adopt(fd, sys_getpeername, name, room, length);
	return fd;
}

EXPORT int accept4(int listener, __SOCKADDR_ARG name, socklen_t *restrict length, int flags)
{
	const socklen_t room = length ? *length : 0;
	struct sockaddr_un peer;
	socklen_t peer_length = sizeof(peer);
	struct hv_socket s;
	int fd, err;

	if (!table_find(listener, &s))
		return adopt_peer(NEXT(accept4)(listener, name, length, flags), name.__sockaddr__,
			room, length);
	fd = NEXT(accept4)(listener, (struct sockaddr *)&peer, &peer_length, flags);
	if (fd < 0)
		return fd;
	err = library_accepted(
		listener, fd, &peer, peer_length, length ? name.__sockaddr__ : NULL, length);
	if (!err)
		return fd;
	close(fd);
	return answer(err);
}

EXPORT int accept(int listener, __SOCKADDR_ARG name, socklen_t *restrict length)
{
	const socklen_t room = length ? *length : 0;
	struct hv_socket s;

	if (!table_find(listener, &s))
		return adopt_peer(
			NEXT(accept)(listener, name, length), name.__sockaddr__, room, length);
	return accept4(listener, name, length, 0);
}

EXPORT int getsockname(int fd, __SOCKADDR_ARG name, socklen_t *restrict length)
{
	const socklen_t room = length ? *length : 0;
	int r = -ENOTSOCK;

	if (name.__sockaddr__ && length)
		r = library_getsockname(fd, name.__sockaddr__, length);
	if (r != -ENOTSOCK)
		return answer(r);
	r = NEXT(getsockname)(fd, name, length);
	if (!r)
		library_adopt(fd, sys_getsockname, name.__sockaddr__, room, length);
	return r;
}

EXPORT int getpeername(int fd, __SOCKADDR_ARG name, socklen_t *restrict length)
{
	const socklen_t room = length ? *length : 0;
	int r = -ENOTSOCK;

	if (name.__sockaddr__ && length)
		r = library_getpeername(fd, name.__sockaddr__, length);
	if (r != -ENOTSOCK)
		return answer(r);
	r = NEXT(getpeername)(fd, name, length);
	if (!r)
		library_adopt(fd, sys_getpeername, name.__sockaddr__, room, length);
	return r;
}

EXPORT int getsockopt(
	int fd, int level, int option, void *restrict value, socklen_t *restrict length)
{
	int r = value && length ? library_getsockopt(fd, level, option, value, length) : -ENOTSOCK;

	return r == -ENOTSOCK ? NEXT(getsockopt)(fd, level, option, value, length) : answer(r);
}

EXPORT int setsockopt(int fd, int level, int option, const void *value, socklen_t length)
{
	int r = value ? library_setsockopt(fd, level, option, value, length) : -ENOTSOCK;

	return r == -ENOTSOCK ? NEXT(setsockopt)(fd, level, option, value, length) : answer(r);
}
