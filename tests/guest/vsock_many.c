/*
 * vsock_many.c - a guest's end of thousands of connections at once, in one process: an echo server,
 * and a client of one.
 *
 * usage: vsock_many serve PORT [BUFFER]
 *	Prints "STEP serving"; echoes what each connection sends until its end, then closes it.
 *	BUFFER is SO_SNDBUF and SO_RCVBUF: where they are not set, Linux takes 512 KiB of memory
 *	in one piece for each connection's rings, and 64 KiB at least.
 * usage: vsock_many connect PORT COUNT BYTES
 *	COUNT connections to the host, begun together; when all stand, each sends BYTES, which
 *	differ from those of all others, and must get them back and then the end. Prints
 *	"FACT connected N", "FACT echoed N", and for the first that fails why.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#define PIECE 4096

struct connection {
	int fd;
	bool connected, shut;
	uint64_t sent, received; /* bytes, by this end */
	size_t kept;		 /* of the server: to be echoed yet */
	char data[PIECE];
};

static int epoll;

static void fail(const char *what)
{
	printf("FACT failed %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct connection *connection_new(int fd, uint32_t events)
{
	struct connection *c = calloc(1, sizeof(*c));
	struct epoll_event event = {.events = events, .data.ptr = c};

	if (!c)
		fail("memory");
	c->fd = fd;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		fail("epoll_ctl");
	return c;
}

static void watch(struct connection *c, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = c};

	if (epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event))
		fail("epoll_ctl");
}

/* ---- The server ------------------------------------------------------------------------------ */

static void accept_one(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

	if (fd >= 0)
		connection_new(fd, EPOLLIN);
	else if (errno != EAGAIN && errno != ECONNABORTED)
		fail("accept");
}

static void echo(struct connection *c)
{
	ssize_t n;

	if (!c->kept) {
		n = recv(c->fd, c->data, PIECE, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			close(c->fd);
			free(c);
			return;
		}
		c->kept = (size_t)n;
	}
	n = send(c->fd, c->data, c->kept, MSG_NOSIGNAL);
	if (n > 0) {
		c->kept -= (size_t)n;
		memmove(c->data, c->data + n, c->kept);
	} else if (n < 0 && errno != EAGAIN) {
		c->kept = 0; /* recv() tells the end */
	}
	watch(c, c->kept ? EPOLLOUT : EPOLLIN);
}

static void serve(unsigned port, int buffer)
{
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
	int listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	if (buffer && (setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)) ||
			      setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer))))
		fail("setsockopt");
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
		listen(listener, 4096) || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
		fail("listen");
	puts("STEP serving");
	while (epoll_wait(epoll, &event, 1, -1) == 1 || errno == EINTR) {
		if (event.data.ptr)
			echo(event.data.ptr);
		else
			accept_one(listener);
	}
}

/* ---- The client ------------------------------------------------------------------------------ */

static char byte_at(const struct connection *c, uint64_t at)
{
	return (char)((at + (uint64_t)c->fd * 2654435761u) * 0x9e3779b97f4a7c15ull >> 56);
}

static void begin(unsigned port)
{
	struct sockaddr_vm to = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
	/* So long Linux keeps the socket, even when it was connected and closed meanwhile. */
	struct timeval timeout = {.tv_sec = 20};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0 ||
		setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &timeout, sizeof(timeout)))
		fail("socket");
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)
		fail("connect");
	connection_new(fd, EPOLLOUT);
}

static struct connection *await(void)
{
	struct epoll_event event;

	while (epoll_wait(epoll, &event, 1, -1) != 1)
		if (errno != EINTR)
			fail("epoll_wait");
	return event.data.ptr;
}

/* It stands, or why not. At rest until all do. */
static void connected(struct connection *c)
{
	int err = 0;
	socklen_t length = sizeof(err);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &length) || err) {
		errno = err ? err : errno;
		fail("connect");
	}
	c->connected = true;
	watch(c, 0);
}

static void send_some(struct connection *c, uint64_t bytes)
{
	size_t want = bytes - c->sent < PIECE ? bytes - c->sent : PIECE;
	ssize_t n;

	for (size_t i = 0; i < want; i++)
		c->data[i] = byte_at(c, c->sent + i);
	n = want ? send(c->fd, c->data, want, MSG_NOSIGNAL) : 0;
	if (n < 0 && errno != EAGAIN)
		fail("send");
	c->sent += n > 0 ? (uint64_t)n : 0;
	if (c->sent < bytes)
		return;
	if (shutdown(c->fd, SHUT_WR))
		fail("shutdown");
	c->shut = true;
	watch(c, EPOLLIN);
}

/* True: its end. */
static bool receive_some(struct connection *c, uint64_t bytes)
{
	ssize_t n = recv(c->fd, c->data, PIECE, 0);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n < 0)
		fail("recv");
	errno = EBADMSG;
	for (ssize_t i = 0; i < n; i++)
		if (c->received + (uint64_t)i >= bytes || c->data[i] != byte_at(c, c->received + i))
			fail("another byte");
	c->received += (uint64_t)n;
	if (!n && c->received != bytes)
		fail("an end");
	return !n;
}

static void run_clients(unsigned port, unsigned count, uint64_t bytes)
{
	struct connection **all = calloc(count, sizeof(*all));
	unsigned n;

	for (unsigned i = 0; i < count; i++)
		begin(port);
	for (n = 0; n < count; n++) {
		all[n] = await();
		connected(all[n]);
	}
	printf("FACT connected %u\n", count);
	for (unsigned i = 0; i < count; i++)
		watch(all[i], EPOLLIN | EPOLLOUT);
	for (n = 0; n < count;) {
		struct connection *c = await();

		if (!c->shut)
			send_some(c, bytes);
		if (!receive_some(c, bytes))
			continue;
		close(c->fd);
		free(c);
		n++;
	}
	printf("FACT echoed %u\n", count);
}

int main(int argc, char **argv)
{
	struct rlimit limit = {8192, 8192};

	setvbuf(stdout, NULL, _IOLBF, 0);
	setrlimit(RLIMIT_NOFILE, &limit);
	epoll = epoll_create1(0);
	if ((argc == 3 || argc == 4) && !strcmp(argv[1], "serve"))
		serve((unsigned)atoi(argv[2]), argc == 4 ? atoi(argv[3]) : 0);
	else if (argc == 5 && !strcmp(argv[1], "connect"))
		run_clients((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]),
			strtoull(argv[4], NULL, 10));
	else
		return 2;
	return 0;
}
