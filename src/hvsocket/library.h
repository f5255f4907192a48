/*
 * library.h - what socket calls do with the sockets that libhvsocket gives out. Each takes and
 * answers what the call of the C library does (socket(2) and its like), but for errors, which are
 * negative errnos. -ENOTSOCK from one that is given a descriptor: it is none of ours, and nothing
 * was done.
 */
#ifndef PARTITA_HVSOCKET_LIBRARY_H
#define PARTITA_HVSOCKET_LIBRARY_H

#include <sys/socket.h>

int library_socket(int family, int type);
int library_bind(int fd, const struct sockaddr *name, socklen_t length);
int library_connect(int fd, const struct sockaddr *name, socklen_t length);
int library_getsockname(int fd, struct sockaddr *name, socklen_t *length);
int library_getpeername(int fd, struct sockaddr *name, socklen_t *length);
int library_getsockopt(int fd, int level, int option, void *value, socklen_t *length);
int library_setsockopt(int fd, int level, int option, const void *value, socklen_t length);

struct sockaddr_un;
/*
 * library_accepted - @fd was accepted from @listener, and its other end is @peer, of @peer_length
 * bytes. Tells the program who that is, if @name is not NULL.
 */
int library_accepted(int listener, int fd, const struct sockaddr_un *peer, socklen_t peer_length,
	struct sockaddr *name, socklen_t *length);
/*
 * library_adopt - the kernel has told @name, in @room bytes, of a socket that another process may
 * have made: systemd, or who starts programs for connections. Is it one of ours (@get, on @fd, says
 * so in full), the program is told the name in AF_HYPERV.
 */
void library_adopt(int fd, int (*get)(int fd, void *name, socklen_t *length), struct sockaddr *name,
	socklen_t room, socklen_t *length);

#endif
