/*
 * questions.c - see questions.h.
 */
#include "worker/questions.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hvsocket/broker.h"

struct questions {
	int fd;
	struct loop_watch *watch;
	void (*answered)(void *ctx, const struct question *q, int err, int given);
	void *ctx;
	pthread_mutex_t lock; /* guards what follows */
	bool deaf;	      /* there is no broker */
	bool open[QUESTIONS_MAX];
	struct question questions[QUESTIONS_MAX]; /* by tag */
	uint32_t free[QUESTIONS_MAX], n_free;	  /* tags */
	uint32_t events;			  /* that are watched for */
	/* Those that the socket had no room for yet, in a ring. */
	uint32_t unsent[QUESTIONS_MAX], first_unsent, n_unsent;
};

/* ---- The lock is held ------------------------------------------------------------------------ */

static bool send_one(struct questions *qs, uint32_t tag)
{
	const struct question *q = &qs->questions[tag];
	struct broker_question asked = {
		.kind = q->from_guest ? BROKER_GUEST_CONNECTS : BROKER_MAY_CONNECT,
		.tag = tag,
		.service = q->request.service,
		.endpoint = q->endpoint,
		.uid = q->uid,
	};

	return send(qs->fd, &asked, sizeof(asked), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(asked);
}

/* What there is room for; the rest when there is more. */
static void send_unsent(struct questions *qs)
{
	uint32_t events = EPOLLIN;

	while (qs->n_unsent && send_one(qs, qs->unsent[qs->first_unsent])) {
		qs->first_unsent = (qs->first_unsent + 1) % QUESTIONS_MAX;
		qs->n_unsent--;
	}
	if (qs->n_unsent)
		events |= EPOLLOUT;
	if (events != qs->events)
		loop_watch_change(qs->watch, events);
	qs->events = events;
}

/* ---- Answers --------------------------------------------------------------------------------- */

/* False: nothing is open under that number. */
static bool take(struct questions *qs, uint32_t tag, struct question *q)
{
	bool was;

	pthread_mutex_lock(&qs->lock);
	was = tag < QUESTIONS_MAX && qs->open[tag];
	if (was) {
		*q = qs->questions[tag];
		qs->open[tag] = false;
		qs->free[qs->n_free++] = tag;
	}
	pthread_mutex_unlock(&qs->lock);
	return was;
}

static void answer_all(struct questions *qs, int err)
{
	struct question q;

	pthread_mutex_lock(&qs->lock);
	qs->deaf = true;
	qs->n_unsent = 0;
	pthread_mutex_unlock(&qs->lock);
	for (uint32_t tag = 0; tag < QUESTIONS_MAX; tag++)
		if (take(qs, tag, &q))
			qs->answered(qs->ctx, &q, err, -1);
}

static void ready(void *ctx, uint32_t events)
{
	struct questions *qs = ctx;
	struct broker_answer a;
	struct question q;
	int given, came = broker_receive(qs->fd, &a, &given);

	if (came < 0) { /* it was killed */
		answer_all(qs, -ECONNREFUSED);
		loop_watch_change(qs->watch, 0);
		return;
	}
	if (came && take(qs, a.tag, &q))
		qs->answered(qs->ctx, &q, a.err, given);
	else if (came && given >= 0)
		close(given);
	if (events & EPOLLOUT) {
		pthread_mutex_lock(&qs->lock);
		send_unsent(qs);
		pthread_mutex_unlock(&qs->lock);
	}
}

int questions_ask(struct questions *qs, const struct question *q)
{
	int err = -ECONNREFUSED;

	pthread_mutex_lock(&qs->lock);
	if (qs->n_free && !qs->deaf) {
		uint32_t tag = qs->free[--qs->n_free];

		qs->questions[tag] = *q;
		qs->open[tag] = true;
		qs->unsent[(qs->first_unsent + qs->n_unsent++) % QUESTIONS_MAX] = tag;
		send_unsent(qs);
		err = 0;
	}
	pthread_mutex_unlock(&qs->lock);
	return err;
}

struct questions *questions_create(struct loop *loop, int fd,
	void (*answered)(void *ctx, const struct question *q, int err, int given), void *ctx)
{
	struct questions *qs = calloc(1, sizeof(*qs));

	if (!qs)
		return NULL;
	qs->fd = fd;
	qs->deaf = fd < 0;
	qs->events = EPOLLIN;
	qs->answered = answered;
	qs->ctx = ctx;
	pthread_mutex_init(&qs->lock, NULL);
	while (qs->n_free < QUESTIONS_MAX) {
		qs->free[qs->n_free] = QUESTIONS_MAX - 1 - qs->n_free;
		qs->n_free++;
	}
	if (fd >= 0)
		qs->watch = loop_watch_create(loop, fd, qs->events, ready, qs);
	if (fd < 0 || qs->watch)
		return qs;
	questions_destroy(qs);
	return NULL;
}

void questions_destroy(struct questions *qs)
{
	if (!qs)
		return;
	loop_watch_destroy(qs->watch);
	answer_all(qs, -ECONNRESET);
	pthread_mutex_destroy(&qs->lock);
	free(qs);
}
