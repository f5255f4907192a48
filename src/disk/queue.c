/*
 * queue.c - a queue: its life, its inbox, and answering.
 */
#include "disk/queue.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/event.h"
#include "disk/engine.h"

/* ---- The inbox ------------------------------------------------------------------------------- */

static void signal_event(struct disk_queue *q)
{
	if (!atomic_exchange(&q->signalled, true))
		event_signal(q->event);
}

void disk_queue_post(struct disk_queue *q, struct disk_work *w)
{
	atomic_fetch_add(&q->posting, 1);
	w->next = atomic_load_explicit(&q->inbox, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&q->inbox, &w->next, w))
		;
	signal_event(q);
	atomic_fetch_sub(&q->posting, 1);
}

/* Wait for the event (which is there, or comes, when the flag says so) and clear it. */
static void take_event(struct disk_queue *q)
{
	uint64_t count;

	while (read(q->event, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	atomic_store(&q->signalled, false);
}

/* Whoever posts after this took the list signals again. */
static void empty_inbox(struct disk_queue *q)
{
	struct disk_work *w, *oldest = NULL;

	if (!atomic_load_explicit(&q->signalled, memory_order_acquire))
		return;
	take_event(q);
	w = atomic_exchange(&q->inbox, NULL);
	while (w) {
		struct disk_work *next = w->next;

		w->next = oldest;
		oldest = w;
		w = next;
	}
	while (oldest) {
		w = oldest;
		oldest = w->next;
		w->run(w);
	}
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* One descriptor for the event and the ring. */
static int make_readiness(struct disk_queue *q)
{
	struct epoll_event in = {.events = EPOLLIN};

	q->event = eventfd(0, EFD_CLOEXEC);
	q->readiness = q->event;
	if (q->event < 0 || !q->has_ring)
		return q->event < 0 ? -errno : 0;
	q->readiness = epoll_create1(EPOLL_CLOEXEC);
	if (q->readiness < 0 || epoll_ctl(q->readiness, EPOLL_CTL_ADD, q->event, &in) < 0 ||
		epoll_ctl(q->readiness, EPOLL_CTL_ADD, q->ring.ring_fd, &in) < 0)
		return -errno;
	return 0;
}

struct disk_queue *disk_queue_create(struct disk_engine *e, unsigned depth)
{
	struct disk_queue *q = calloc(1, sizeof(*q));
	int err = q ? 0 : -ENOMEM;

	if (!depth)
		depth = 1;
	if (!err) {
		q->engine = e;
		q->stripe = disk_engine_stripe(e);
		q->event = q->readiness = -1;
		disk_work_list_init(&q->ready);
		disk_work_list_init(&q->starved);
		q->ops = calloc(depth, sizeof(q->ops[0]));
		q->has_ring = disk_engine_uses_uring(e) && disk_ring_init(q, depth) == 0;
		err = q->ops ? make_readiness(q) : -ENOMEM;
	}
	if (err) {
		disk_queue_destroy(q);
		errno = -err;
		return NULL;
	}
	while (depth--) {
		q->ops[depth].queue = q;
		disk_op_give(&q->ops[depth]);
	}
	return q;
}

void disk_queue_destroy(struct disk_queue *q)
{
	if (!q)
		return;
	/* Another's signal may have been enough: who posted last is perhaps still about to. */
	while (atomic_load(&q->posting))
		sched_yield();
	if (q->readiness >= 0 && q->readiness != q->event)
		close(q->readiness);
	if (q->event >= 0)
		close(q->event);
	if (q->has_ring)
		io_uring_queue_exit(&q->ring);
	free(q->ops);
	free(q);
}

/* ---- Use ------------------------------------------------------------------------------------- */

int disk_queue_fd(struct disk_queue *q)
{
	q->polled = true;
	return q->readiness;
}

void disk_queue_kick(struct disk_queue *q)
{
	if (q->has_ring)
		disk_ring_submit(q, false);
	if (q->polled && q->ready.first)
		signal_event(q);
}

static struct disk_request *request_of(struct disk_work *w)
{
	return (struct disk_request *)((char *)w - offsetof(struct disk_request, work));
}

/* Those that are ready now; what they submit and is ready at once is for the next time. */
static unsigned answer(struct disk_queue *q)
{
	struct disk_work_list now = q->ready;
	unsigned n = 0;

	if (!now.first)
		return 0;
	disk_work_list_init(&q->ready);
	while (now.first) {
		struct disk_request *r = request_of(disk_work_pop(&now));

		q->under_way--;
		n++;
		r->done(r);
	}
	return n;
}

/* Until there is something from the ring or from the engine. */
static void wait_for_something(struct disk_queue *q)
{
	struct pollfd fds[] = {
		{.fd = q->event, .events = POLLIN},
		{.fd = q->has_ring ? q->ring.ring_fd : -1, .events = POLLIN},
	};

	if (q->in_ring && !q->aside) {
		disk_ring_submit(q, true);
		return;
	}
	if (q->in_ring)
		disk_ring_submit(q, false);
	poll(fds, 2, -1);
}

unsigned disk_queue_run(struct disk_queue *q, bool wait)
{
	unsigned n;

	if (q->has_ring && !wait)
		disk_ring_submit(q, false);
	for (;;) {
		if (q->has_ring)
			disk_ring_reap(q);
		empty_inbox(q);
		while (q->starved.first && q->free)
			disk_request_resume(request_of(disk_work_pop(&q->starved)));
		n = answer(q);
		if (n || !wait || !q->under_way)
			break;
		/* Being resumed may have been enough. */
		if (!q->ready.first)
			wait_for_something(q);
	}
	if (q->polled)
		disk_queue_kick(q);
	return n;
}
