/*
 * engine.c - threads for what may block, and whether io_uring can be had.
 *
 * The threads are there from the beginning: a process that gives up its privileges may not be able
 * to make more.
 */
#include "disk/engine.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "disk/gate.h"

#define STACK (256u << 10)

struct disk_engine {
	bool uring;
	_Atomic unsigned next_stripe;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t more;
	struct disk_work *first, **end;
	bool quit;
	unsigned n_threads;
	pthread_t threads[];
};

static void *serve(void *arg)
{
	struct disk_engine *e = arg;

	pthread_mutex_lock(&e->lock);
	for (;;) {
		struct disk_work *w = e->first;

		if (w) {
			e->first = w->next;
			if (!e->first)
				e->end = &e->first;
			pthread_mutex_unlock(&e->lock);
			w->run(w);
			pthread_mutex_lock(&e->lock);
		} else if (e->quit) {
			break;
		} else {
			pthread_cond_wait(&e->more, &e->lock);
		}
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

/* Signals are for the program's own threads. */
static int start(struct disk_engine *e, unsigned n)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int err;

	err = pthread_attr_init(&attr);
	if (err)
		return -err;
	pthread_attr_setstacksize(&attr, STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	while (!err && e->n_threads < n) {
		err = pthread_create(&e->threads[e->n_threads], &attr, serve, e);
		e->n_threads += !err;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

struct disk_engine *disk_engine_create(const struct disk_engine_options *options)
{
	static const struct disk_engine_options defaults;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct disk_engine *e;
	unsigned n;
	int err;

	if (!options)
		options = &defaults;
	n = options->threads;
	if (!n)
		n = processors < 2 ? 4 : processors > 8 ? 16 : 2 * processors;
	e = calloc(1, sizeof(*e) + n * sizeof(e->threads[0]));
	if (!e)
		return NULL;
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->more, NULL);
	e->end = &e->first;
	err = start(e, n);
	if (!err)
		return e;
	disk_engine_destroy(e);
	errno = -err;
	return NULL;
}

void disk_engine_destroy(struct disk_engine *e)
{
	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->quit = true;
	pthread_cond_broadcast(&e->more);
	pthread_mutex_unlock(&e->lock);
	for (unsigned i = 0; i < e->n_threads; i++)
		pthread_join(e->threads[i], NULL);
	pthread_cond_destroy(&e->more);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

bool disk_engine_uses_uring(const struct disk_engine *e)
{
	return e->uring;
}

void disk_engine_run(struct disk_engine *e, struct disk_work *w)
{
	w->next = NULL;
	pthread_mutex_lock(&e->lock);
	*e->end = w;
	e->end = &w->next;
	pthread_cond_signal(&e->more);
	pthread_mutex_unlock(&e->lock);
}

unsigned disk_engine_stripe(struct disk_engine *e)
{
	return atomic_fetch_add(&e->next_stripe, 1) % DISK_STRIPES;
}
