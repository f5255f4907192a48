/*
 * loop.c - see loop.h. Each watch and each timer is one descriptor in one epoll set. A single
 * event is taken at a time, so that no event of a watch that a callback destroyed is left over.
 */
#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/event.h"
#include "base/spin.h"

#define NS_PER_S 1000000000ull

struct loop {
	int epoll;
	int quit_event; /* its data pointer in the epoll set is NULL */
	bool spins;
	struct spin spin; /* of the thread in loop_run() */
};

struct loop_watch {
	struct loop *loop;
	int fd;
	pthread_mutex_t lock;
	bool in_set; /* whether the epoll set holds fd; guarded by lock */
	void (*ready)(void *ctx, uint32_t events);
	void *ctx;
};

struct loop_timer {
	struct loop_watch watch; /* of its timerfd */
	void (*expired)(void *ctx);
	void *ctx;
};

struct loop *loop_create(void)
{
	struct loop *l = calloc(1, sizeof(*l));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	if (!l)
		return NULL;
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->quit_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->epoll >= 0 && l->quit_event >= 0 &&
		epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->quit_event, &event) == 0)
		return l;
	loop_destroy(l);
	return NULL;
}

void loop_destroy(struct loop *l)
{
	int saved = errno;

	if (!l)
		return;
	if (l->epoll >= 0)
		close(l->epoll);
	if (l->quit_event >= 0)
		close(l->quit_event);
	free(l);
	errno = saved;
}

void loop_spin(struct loop *l)
{
	l->spins = true;
}

/* As epoll_wait(2). */
static int wait_for(struct loop *l, struct epoll_event *event)
{
	int n;

	if (!l->spins)
		return epoll_wait(l->epoll, event, 1, -1);
	spin_begin(&l->spin);
	do
		n = epoll_wait(l->epoll, event, 1, 0);
	while (n == 0 && spin_on(&l->spin));
	if (n == 0)
		n = epoll_wait(l->epoll, event, 1, -1);
	spin_end(&l->spin);
	return n;
}

int loop_run(struct loop *l)
{
	for (;;) {
		struct epoll_event event;
		struct loop_watch *w;
		uint64_t count;
		int n = wait_for(l, &event);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0)
			continue;
		w = event.data.ptr;
		if (w)
			w->ready(w->ctx, event.events);
		else if (read(l->quit_event, &count, sizeof(count)) == sizeof(count))
			return 0;
	}
}

void loop_quit(struct loop *l)
{
	event_signal(l->quit_event);
}

/* Resting watches leave the set: epoll reports EPOLLHUP of everything that is in it. */
static int set_events(struct loop_watch *w, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = w};
	int err = 0;

	pthread_mutex_lock(&w->lock);
	if (events || w->in_set)
		err = epoll_ctl(w->loop->epoll,
			!events	    ? EPOLL_CTL_DEL
			: w->in_set ? EPOLL_CTL_MOD
				    : EPOLL_CTL_ADD,
			w->fd, &event);
	if (!err)
		w->in_set = events != 0;
	pthread_mutex_unlock(&w->lock);
	return err;
}

static int watch_init(struct loop_watch *w, struct loop *l, int fd, uint32_t events,
	void (*ready)(void *ctx, uint32_t events), void *ctx)
{
	*w = (struct loop_watch){
		.loop = l,
		.fd = fd,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.ready = ready,
		.ctx = ctx,
	};
	/* Also a watch that starts at rest learns now whether its descriptor can be watched. */
	if (set_events(w, events ? events : EPOLLET))
		return -1;
	return events ? 0 : set_events(w, 0);
}

struct loop_watch *loop_watch_create(struct loop *l, int fd, uint32_t events,
	void (*ready)(void *ctx, uint32_t events), void *ctx)
{
	struct loop_watch *w = malloc(sizeof(*w));

	if (w && watch_init(w, l, fd, events, ready, ctx) < 0) {
		free(w);
		return NULL;
	}
	return w;
}

void loop_watch_change(struct loop_watch *w, uint32_t events)
{
	set_events(w, events);
}

void loop_watch_destroy(struct loop_watch *w)
{
	if (!w)
		return;
	set_events(w, 0);
	free(w);
}

static void timer_ready(void *ctx, uint32_t events)
{
	struct loop_timer *t = ctx;
	uint64_t expirations;

	/* Nothing to read: it was armed anew or disarmed after epoll reported it. */
	if (read(t->watch.fd, &expirations, sizeof(expirations)) == sizeof(expirations))
		t->expired(t->ctx);
}

struct loop_timer *loop_timer_create(struct loop *l, void (*expired)(void *ctx), void *ctx)
{
	struct loop_timer *t = malloc(sizeof(*t));
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (t && fd >= 0) {
		t->expired = expired;
		t->ctx = ctx;
		if (watch_init(&t->watch, l, fd, EPOLLIN, timer_ready, t) == 0)
			return t;
	}
	if (fd >= 0)
		close(fd);
	free(t);
	return NULL;
}

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

void loop_timer_arm(struct loop_timer *t, uint64_t deadline, uint64_t period)
{
	struct itimerspec spec = {
		/* 0 would disarm it. */
		.it_value = to_timespec(deadline ? deadline : 1),
		.it_interval = to_timespec(period),
	};

	timerfd_settime(t->watch.fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

void loop_timer_disarm(struct loop_timer *t)
{
	static const struct itimerspec never;

	timerfd_settime(t->watch.fd, 0, &never, NULL);
}

void loop_timer_destroy(struct loop_timer *t)
{
	if (!t)
		return;
	close(t->watch.fd); /* which takes it out of the epoll set */
	free(t);
}

uint64_t loop_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}
