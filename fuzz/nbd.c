/*
 * nbd.c - any bytes as an NBD client: the server answers, or hangs up, and its disk stays its own
 * size.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "disk/nbd.h"
#include "memory_disk.h"

#define DISK_SIZE (1u << 20)
#define MAX_INPUT (64u << 10) /* a socket takes so much without a reader */

struct peer {
	const struct nbd_export *x;
	int fd, stop;
};

static void *serve(void *arg)
{
	struct peer *p = arg;

	nbd_serve_client(p->x, p->fd, p->stop);
	close(p->fd);
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nbd_export x;
	struct peer p = {.x = &x};
	pthread_t thread;
	char answers[65536];
	int pair[2];

	if (!x.disk) {
		x = (struct nbd_export){.engine = disk_engine_create(NULL), .name = "name"};
		x.disk = memory_disk(x.engine, memory_file(DISK_SIZE), DISK_OPEN_WRITE);
	}
	if (!size || size > MAX_INPUT)
		return 0;
	x.read_only = data[0] & 1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		abort();
	p.fd = pair[0];
	p.stop = eventfd(0, EFD_CLOEXEC);
	if (p.stop < 0 || pthread_create(&thread, NULL, serve, &p))
		abort();
	/* It may have hung up already. */
	send(pair[1], data + 1, size - 1, MSG_NOSIGNAL);
	shutdown(pair[1], SHUT_WR);
	while (read(pair[1], answers, sizeof(answers)) > 0)
		;
	pthread_join(thread, NULL);
	close(pair[1]);
	close(p.stop);
	if (disk_size(x.disk) != DISK_SIZE)
		abort();
	return 0;
}
