/*
 * nbd.c - the server: a thread that accepts clients, and one for each client. See nbd.h.
 */
#include "disk/nbd.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/event.h"

#define RETRY_MS 1000 /* when a client could not be accepted */

struct client {
	struct nbd_server *server;
	pthread_t thread;
	int fd;		   /* -1: the place is free; the accepting thread's */
	_Atomic bool left; /* the thread has nothing more to do */
};

struct nbd_server {
	const struct nbd_export *x;
	pthread_t thread; /* accepts, and owns the clients */
	int listener;
	int stop; /* eventfd, readable from nbd_server_stop() on */
	int left; /* eventfd: a client left */
	struct client clients[NBD_MAX_CLIENTS];
};

static void *serve(void *arg)
{
	struct client *c = arg;

	/* What a client does wrong is between it and its connection. */
	nbd_serve_client(c->server->x, c->fd, c->server->stop);
	shutdown(c->fd, SHUT_RDWR);
	c->left = true;
	event_signal(c->server->left);
	return NULL;
}

static void reap(struct client *c)
{
	pthread_join(c->thread, NULL);
	close(c->fd);
	c->fd = -1;
	c->left = false;
}

static struct client *free_place(struct nbd_server *s)
{
	for (unsigned i = 0; i < NBD_MAX_CLIENTS; i++)
		if (s->clients[i].fd < 0)
			return &s->clients[i];
	return NULL;
}

/* Returns false when descriptors or threads are short: better try again later. */
static bool accept_client(struct nbd_server *s, struct client *c)
{
	int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
	c->fd = fd;
	if (pthread_create(&c->thread, NULL, serve, c) == 0)
		return true;
	close(fd);
	c->fd = -1;
	return false;
}

static void *accept_clients(void *arg)
{
	struct nbd_server *s = arg;
	struct pollfd fds[3] = {{.events = POLLIN}, {.fd = s->left, .events = POLLIN},
		{.fd = s->stop, .events = POLLIN}};
	bool accepting = true;
	uint64_t count;

	while (!fds[2].revents) {
		struct client *place = free_place(s);

		fds[0].fd = accepting && place ? s->listener : -1;
		if (poll(fds, 3, accepting ? -1 : RETRY_MS) < 0)
			continue;
		accepting = true;
		if (fds[1].revents && read(s->left, &count, sizeof(count)) > 0)
			for (unsigned i = 0; i < NBD_MAX_CLIENTS; i++)
				if (s->clients[i].left)
					reap(&s->clients[i]);
		if (fds[0].revents && place)
			accepting = accept_client(s, place);
	}
	for (unsigned i = 0; i < NBD_MAX_CLIENTS; i++)
		if (s->clients[i].fd >= 0)
			reap(&s->clients[i]);
	return NULL;
}

/* Signals are the business of whoever started the server. */
static int start_thread(struct nbd_server *s)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&s->thread, NULL, accept_clients, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

static void server_free(struct nbd_server *s)
{
	if (s->stop >= 0)
		close(s->stop);
	if (s->left >= 0)
		close(s->left);
	free(s);
}

int nbd_server_start(const struct nbd_export *x, int fd, struct nbd_server **server)
{
	struct nbd_server *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->x = x;
	s->listener = fd;
	for (unsigned i = 0; i < NBD_MAX_CLIENTS; i++)
		s->clients[i] = (struct client){.server = s, .fd = -1};
	s->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->left = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = s->stop < 0 || s->left < 0 ? -errno : start_thread(s);
	if (err) {
		server_free(s);
		return err;
	}
	*server = s;
	return 0;
}

void nbd_server_stop(struct nbd_server *s)
{
	if (!s)
		return;
	event_signal(s->stop);
	pthread_join(s->thread, NULL);
	server_free(s);
}
