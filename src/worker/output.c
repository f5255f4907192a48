/*
 * output.c - see output.h.
 *
 * A ring with one lock for its indices. Only the holder of `writing` takes bytes out, and it
 * writes them from where they lie, with no lock that a producer needs.
 */
#include "worker/output.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define RING_SIZE     65536u /* a power of two */
#define COALESCE_NS   2000000u
#define WRITE_MAX     4096u /* a pipe that polls as writable takes so much without blocking */
#define THROTTLE      (RING_SIZE / 2)
#define PATIENCE_MS   1000
#define HURRY_POLL_MS 100 /* how long output_hurry() may go unnoticed */

struct output {
	struct loop *loop;
	struct loop_timer *soon;  /* armed while bytes wait */
	struct loop_watch *ready; /* of fd; at rest unless waiting. NULL: fd cannot be waited for */
	bool waiting;		  /* for the reader; the loop's */
	void (*broken)(void *ctx, int error);
	void *ctx;
	pthread_mutex_t writing; /* taken before lock; guards fd and whoever takes bytes out */
	int fd;
	atomic_bool hurry, crowded;
	pthread_mutex_t lock; /* guards the two indices, which only grow */
	uint32_t head, tail;
	int error; /* set with lock held; reported by the loop's thread */
	uint8_t ring[RING_SIZE];
};

/* Writes without blocking: returns what write(2) would on a non-blocking descriptor. */
static ssize_t write_some(int fd, const uint8_t *bytes, size_t count)
{
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	ssize_t n = send(fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0 || errno != ENOTSOCK)
		return n;
	if (poll(&ready, 1, 0) <= 0) {
		errno = EAGAIN;
		return -1;
	}
	return write(fd, bytes, count < WRITE_MAX ? count : WRITE_MAX);
}

static void drop(struct output *o, int error)
{
	pthread_mutex_lock(&o->lock);
	o->head = o->tail;
	o->crowded = false;
	if (error)
		o->error = error;
	pthread_mutex_unlock(&o->lock);
}

/* Called with `writing` held. Returns false when bytes are left because the reader is slow. */
static bool write_buffered(struct output *o)
{
	for (;;) {
		uint32_t start, count;
		ssize_t n;

		pthread_mutex_lock(&o->lock);
		start = o->head % RING_SIZE;
		count = o->tail - o->head;
		pthread_mutex_unlock(&o->lock);
		if (!count)
			return true;
		if (o->fd < 0) {
			drop(o, 0);
			return true;
		}
		if (count > RING_SIZE - start)
			count = RING_SIZE - start;
		n = write_some(o->fd, o->ring + start, count);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n < 0) {
			o->fd = -1;
			drop(o, errno);
			loop_timer_arm(o->soon, 0, 0);
			return true;
		}
		pthread_mutex_lock(&o->lock);
		o->head += n;
		if (o->tail - o->head < THROTTLE)
			o->crowded = false;
		pthread_mutex_unlock(&o->lock);
	}
}

static void report(struct output *o)
{
	int error;

	pthread_mutex_lock(&o->lock);
	error = o->error;
	o->error = 0;
	pthread_mutex_unlock(&o->lock);
	if (error)
		o->broken(o->ctx, error);
}

/* On the loop's thread. Whoever holds `writing` otherwise is a producer that waits to go on. */
static void flush_now(struct output *o)
{
	bool done = false;

	if (pthread_mutex_trylock(&o->writing) == 0) {
		done = write_buffered(o);
		pthread_mutex_unlock(&o->writing);
	}
	if (done && o->waiting)
		loop_watch_change(o->ready, 0);
	else if (!done && !o->waiting && o->ready)
		loop_watch_change(o->ready, EPOLLOUT);
	else if (!done && !o->ready)
		loop_timer_arm(o->soon, loop_now() + COALESCE_NS, 0);
	o->waiting = !done && o->ready;
	report(o);
}

static void soon_expired(void *ctx)
{
	flush_now(ctx);
}

static void fd_ready(void *ctx, uint32_t events)
{
	flush_now(ctx);
}

struct output *output_create(struct loop *loop, void (*broken)(void *ctx, int error), void *ctx)
{
	struct output *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->loop = loop;
	o->broken = broken;
	o->ctx = ctx;
	o->fd = -1;
	pthread_mutex_init(&o->writing, NULL);
	pthread_mutex_init(&o->lock, NULL);
	o->soon = loop_timer_create(loop, soon_expired, o);
	if (o->soon)
		return o;
	free(o);
	return NULL;
}

void output_destroy(struct output *o)
{
	if (!o)
		return;
	loop_watch_destroy(o->ready);
	loop_timer_destroy(o->soon);
	pthread_mutex_destroy(&o->writing);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

void output_connect(struct output *o, int fd)
{
	pthread_mutex_lock(&o->writing);
	loop_watch_destroy(o->ready);
	o->fd = fd;
	/* What cannot be watched, such as a regular file, is never slow. */
	o->waiting = false;
	o->ready = fd < 0 ? NULL : loop_watch_create(o->loop, fd, 0, fd_ready, o);
	drop(o, 0);
	pthread_mutex_unlock(&o->writing);
}

void output_put(struct output *o, uint8_t byte)
{
	uint32_t used;

	pthread_mutex_lock(&o->lock);
	used = o->tail - o->head;
	if (used < RING_SIZE)
		o->ring[o->tail++ % RING_SIZE] = byte;
	if (used == THROTTLE)
		o->crowded = true;
	pthread_mutex_unlock(&o->lock);
	if (used == 0)
		loop_timer_arm(o->soon, loop_now() + COALESCE_NS, 0);
	else if (used == THROTTLE)
		loop_timer_arm(o->soon, 0, 0);
}

void output_throttle(struct output *o)
{
	if (!o->crowded)
		return;
	pthread_mutex_lock(&o->writing);
	while (!write_buffered(o) && o->crowded && !o->hurry) {
		struct pollfd ready = {.fd = o->fd, .events = POLLOUT};

		poll(&ready, 1, HURRY_POLL_MS);
	}
	pthread_mutex_unlock(&o->writing);
}

void output_hurry(struct output *o, bool hurry)
{
	o->hurry = hurry;
}

void output_flush(struct output *o)
{
	pthread_mutex_lock(&o->writing);
	while (!write_buffered(o)) {
		struct pollfd ready = {.fd = o->fd, .events = POLLOUT};

		if (poll(&ready, 1, PATIENCE_MS) == 0)
			break;
	}
	pthread_mutex_unlock(&o->writing);
}
