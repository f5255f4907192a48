/*
 * questions.c - see questions.h.
 */
#include "worker/questions.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "hvsocket/broker.h"

struct questions {
	int fd;
	struct loop_watch *watch;
	void (*answered)(void *ctx, const struct question *q, int err, int given);
	void *ctx;
	pthread_mutex_t lock; /* guards what follows */
	bool deaf;	      /* there is no broker */
	bool open[QUESTIONS_MAX];
	struct question questions[QUESTIONS_MAX];
};

/* False: nothing is open under that number. */
static bool take(struct questions *qs, uint32_t tag, struct question *q)
{
	bool was;

	pthread_mutex_lock(&qs->lock);
	was = tag < QUESTIONS_MAX && qs->open[tag];
	if (was) {
		*q = qs->questions[tag];
		qs->open[tag] = false;
	}
	pthread_mutex_unlock(&qs->lock);
	return was;
}

static void answer_all(struct questions *qs, int err)
{
	struct question q;

	pthread_mutex_lock(&qs->lock);
	qs->deaf = true;
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
		loop_watch_change(qs->watch, 0);
		answer_all(qs, -ECONNREFUSED);
	} else if (came && take(qs, a.tag, &q)) {
		qs->answered(qs->ctx, &q, a.err, given);
	}
}

int questions_ask(struct questions *qs, const struct question *q)
{
	struct broker_question asked = {
		.kind = q->from_guest ? BROKER_GUEST_CONNECTS : BROKER_MAY_CONNECT,
		.service = q->request.service,
		.endpoint = q->endpoint,
		.uid = q->uid,
	};
	int err = -ECONNREFUSED;

	pthread_mutex_lock(&qs->lock);
	while (asked.tag < QUESTIONS_MAX && qs->open[asked.tag])
		asked.tag++;
	if (asked.tag < QUESTIONS_MAX && !qs->deaf &&
		send(qs->fd, &asked, sizeof(asked), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(asked)) {
		qs->questions[asked.tag] = *q;
		qs->open[asked.tag] = true;
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
	qs->answered = answered;
	qs->ctx = ctx;
	pthread_mutex_init(&qs->lock, NULL);
	if (fd >= 0)
		qs->watch = loop_watch_create(loop, fd, EPOLLIN, ready, qs);
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
