/*
 * system.h - the kernel's socket calls, past the C library's names.
 *
 * libhvsocket defines socket(), connect() and their like; what this room does beneath them must not
 * come back to them. Each returns what the kernel does: 0 or more, or a negative errno.
 */
#ifndef PARTITA_HVSOCKET_SYSTEM_H
#define PARTITA_HVSOCKET_SYSTEM_H

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int sys_result(long r)
{
	return r < 0 ? -errno : (int)r;
}

static inline int sys_socket(int family, int type, int protocol)
{
	return sys_result(syscall(SYS_socket, family, type, protocol));
}

static inline int sys_bind(int fd, const void *address, socklen_t length)
{
	return sys_result(syscall(SYS_bind, fd, address, length));
}

static inline int sys_listen(int fd, int backlog)
{
	return sys_result(syscall(SYS_listen, fd, backlog));
}

static inline int sys_connect(int fd, const void *address, socklen_t length)
{
	return sys_result(syscall(SYS_connect, fd, address, length));
}

static inline int sys_getsockname(int fd, void *address, socklen_t *length)
{
	return sys_result(syscall(SYS_getsockname, fd, address, length));
}

static inline int sys_getpeername(int fd, void *address, socklen_t *length)
{
	return sys_result(syscall(SYS_getpeername, fd, address, length));
}

static inline int sys_setsockopt(int fd, int level, int option, const void *value, socklen_t length)
{
	return sys_result(syscall(SYS_setsockopt, fd, level, option, value, length));
}

static inline int sys_getsockopt(int fd, int level, int option, void *value, socklen_t *length)
{
	return sys_result(syscall(SYS_getsockopt, fd, level, option, value, length));
}

static inline int sys_fstat(int fd, struct stat *st)
{
	return sys_result(syscall(SYS_fstat, fd, st));
}

#endif
