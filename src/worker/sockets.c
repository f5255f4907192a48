/*
 * sockets.c - see sockets.h. Whose connection needs an answer of the broker's waits for that
 * (questions.h): what the guest connects to, and programs of users that the machine does not belong
 * to. Programs are heard on the main thread: a line that is not there in time is not waited for, and
 * the less the more programs keep others out by that.
 */
#include "worker/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/greeting.h"
#include "vmbus/vmbus_protocol.h"
#include "worker/machine.h"
#include "worker/questions.h"

#define CLIENTS	 256u	       /* whose first line has not come */
#define PATIENCE 5000000000ull /* nanoseconds that it may take */
#define HASTE	 100000000ull  /* the same, when others wait because there are so many */
#define BREATH	 100000000ull  /* nanoseconds without listening, when descriptors are short */

struct client {
	struct machine_sockets *sockets;
	struct client *next, **link; /* in the order in which they came */
	struct loop_watch *watch;    /* of changes: what there is of a line stays in the socket */
	int fd;
	uint64_t came;
};

struct machine_sockets {
	struct machine *machine;
	struct sockets *sockets;
	struct questions *questions;
	struct loop_watch *listen[WORKER_SOCKETS];
	struct loop_timer *patience;
	struct client *clients, **clients_end;
	unsigned n_clients;
};

/* ---- Clients --------------------------------------------------------------------------------- */

static void listen_more(struct machine_sockets *s)
{
	for (unsigned i = 0; i < WORKER_SOCKETS; i++)
		if (s->listen[i])
			loop_watch_change(s->listen[i], EPOLLIN);
}

/* Those who connect wait in the socket. */
static void listen_less(struct machine_sockets *s)
{
	for (unsigned i = 0; i < WORKER_SOCKETS; i++)
		if (s->listen[i])
			loop_watch_change(s->listen[i], 0);
}

/* Until when the first is waited for, who has been for the longest. */
static uint64_t deadline(const struct machine_sockets *s)
{
	return s->clients->came + (s->n_clients < CLIENTS ? PATIENCE : HASTE);
}

static void client_add(struct machine_sockets *s, struct client *c)
{
	c->came = loop_now();
	c->link = s->clients_end;
	*c->link = c;
	s->clients_end = &c->next;
	if (++s->n_clients == CLIENTS)
		listen_less(s);
	if (s->clients == c || s->n_clients == CLIENTS)
		loop_timer_arm(s->patience, deadline(s), 0);
}

/* Returns its descriptor, which is not closed. */
static int client_remove(struct client *c)
{
	struct machine_sockets *s = c->sockets;
	int fd = c->fd;

	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	else
		s->clients_end = c->link;
	loop_watch_destroy(c->watch);
	free(c);
	if (s->n_clients-- == CLIENTS)
		listen_more(s);
	return fd;
}

static void out_of_patience(void *ctx)
{
	struct machine_sockets *s = ctx;

	while (s->clients && deadline(s) <= loop_now())
		close(client_remove(s->clients));
	if (s->n_clients < CLIENTS)
		listen_more(s);
	if (s->clients)
		loop_timer_arm(s->patience, deadline(s), 0);
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static void answered(void *ctx, const struct socket_request *r, int err, uint32_t port)
{
	char text[GREETING_MAX];
	size_t length = greeting_answer(r->kind, err, port, text);

	/* A socket that was just connected has room for it; one that was closed needs none. */
	if (length)
		send(r->fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void refuse(struct machine_sockets *s, const struct socket_request *r, int err)
{
	answered(s, r, err, 0);
	close(r->fd);
}

static void permitted(void *ctx, const struct question *q, int err, int given)
{
	struct machine_sockets *s = ctx;
	const GUID *service = &q->request.service;

	if (!q->from_guest && err)
		refuse(s, &q->request, err);
	else if (!q->from_guest)
		sockets_connect(s->sockets, &q->request);
	else if (given < 0 || sockets_accept(s->sockets, &q->endpoint, service, given))
		vmbus_tl_connect_result(
			s->machine->vmbus, &q->endpoint, service, VMBUS_STATUS_REFUSED);
}

int sockets_guest_connects(struct machine_sockets *s, const GUID *endpoint, const GUID *service)
{
	struct question q = {
		.from_guest = true, .endpoint = *endpoint, .request = {.service = *service}};

	return questions_ask(s->questions, &q);
}

/* Root and the machine's owner may; whether others do is the registry's to say. */
static void connect_client(struct machine_sockets *s, const struct socket_request *request)
{
	struct question q = {.request = *request};
	struct ucred who;
	socklen_t length = sizeof(who);
	int err = getsockopt(request->fd, SOL_SOCKET, SO_PEERCRED, &who, &length) ? -errno : 0;

	if (!err && (who.uid == 0 || who.uid == s->machine->config->owner)) {
		sockets_connect(s->sockets, request);
		return;
	}
	q.uid = who.uid;
	if (err || questions_ask(s->questions, &q))
		refuse(s, request, -EACCES);
}

/*
 * Takes the line out of the socket, and nothing behind it. Returns 1; 0: it is not there yet;
 * -1: it will not come, or is none.
 */
static int take_line(int fd, char line[GREETING_MAX])
{
	ssize_t n = recv(fd, line, GREETING_MAX, MSG_PEEK | MSG_DONTWAIT);
	char *end;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	end = memchr(line, '\n', (size_t)n);
	if (!end)
		return n == 0 || n == GREETING_MAX ? -1 : 0;
	n = end - line + 1;
	if (recv(fd, line, (size_t)n, MSG_DONTWAIT) != n)
		return -1;
	*end = 0;
	return 1;
}

/* The program said its line; or it will not. */
static void greeted(struct machine_sockets *s, int fd, const char *line)
{
	struct socket_request request;

	if (line && greeting_parse(line, &request)) {
		request.fd = fd;
		connect_client(s, &request);
	} else {
		close(fd);
	}
}

static void client_ready(void *ctx, uint32_t events)
{
	struct client *c = ctx;
	struct machine_sockets *s = c->sockets;
	char line[GREETING_MAX];
	int came = take_line(c->fd, line);

	if (came || events & (EPOLLHUP | EPOLLRDHUP))
		greeted(s, client_remove(c), came > 0 ? line : NULL);
}

static struct client *client_create(struct machine_sockets *s, int fd)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->sockets = s;
	c->fd = fd;
	c->watch = loop_watch_create(
		s->machine->loop, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, client_ready, c);
	if (c->watch)
		return c;
	free(c);
	return NULL;
}

static void accept_ready(struct machine_sockets *s, int listener)
{
	struct client *c;
	char line[GREETING_MAX];
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), came;

	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		listen_less(s);
		loop_timer_arm(s->patience, loop_now() + BREATH, 0);
	}
	if (fd < 0)
		return;
	/* It mostly is there already. */
	came = take_line(fd, line);
	if (came) {
		greeted(s, fd, came > 0 ? line : NULL);
		return;
	}
	c = client_create(s, fd);
	if (c)
		client_add(s, c);
	else
		close(fd);
}

static void machine_ready(void *ctx, uint32_t events)
{
	struct machine_sockets *s = ctx;

	accept_ready(s, s->machine->config->socket_fds[WORKER_SOCKET_MACHINE]);
}

static void hybrid_ready(void *ctx, uint32_t events)
{
	struct machine_sockets *s = ctx;

	accept_ready(s, s->machine->config->socket_fds[WORKER_SOCKET_HYBRID]);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static int listen_at(struct machine_sockets *s, unsigned which)
{
	static void (*const ready[WORKER_SOCKETS])(void *, uint32_t) = {
		[WORKER_SOCKET_MACHINE] = machine_ready,
		[WORKER_SOCKET_HYBRID] = hybrid_ready,
	};
	int fd = s->machine->config->socket_fds[which];

	if (fd < 0)
		return 0;
	/* Who connects may be gone again before accept4(). */
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	s->listen[which] = loop_watch_create(s->machine->loop, fd, EPOLLIN, ready[which], s);
	return s->listen[which] ? 0 : -errno;
}

struct machine_sockets *sockets_start(struct machine *m)
{
	struct machine_sockets *s = calloc(1, sizeof(*s));
	struct sockets_config config = {
		.name = m->config->name, .loop = m->loop, .answered = answered};
	int err;

	if (!s)
		return NULL;
	s->machine = m;
	s->clients_end = &s->clients;
	config.ctx = s;
	s->patience = loop_timer_create(m->loop, out_of_patience, s);
	s->questions = questions_create(m->loop, m->config->broker_fd, permitted, s);
	err = s->patience && s->questions ? sockets_create(m->vmbus, &config, &s->sockets) : -errno;
	for (unsigned i = 0; i < WORKER_SOCKETS && !err; i++)
		err = listen_at(s, i);
	if (!err)
		return s;
	sockets_stop(s);
	errno = -err;
	return NULL;
}

void sockets_stop(struct machine_sockets *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < WORKER_SOCKETS; i++)
		loop_watch_destroy(s->listen[i]);
	while (s->clients)
		close(client_remove(s->clients));
	questions_destroy(s->questions);
	sockets_destroy(s->sockets);
	loop_timer_destroy(s->patience);
	free(s);
}
