/*
 * engine.c - threads for what may block, and whether io_uring can be had.
 *
 * The threads are made at once or together later, never one by one as work comes: a process that
 * has given up its privileges may not be able to make more.
 */
#include "disk/engine.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "disk/queue.h"
#include "disk/work.h"

#define STACK (256u << 10)

struct disk_engine {
	bool uring;
	_Atomic unsigned next_stripe;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t more;
	struct disk_work_list lists[2]; /* by kind */
	unsigned waiting;		/* threads with work that waits */
	bool quit;
	unsigned n_threads, n_wanted;
	pthread_t threads[];
};

/* The lock is held. NULL: nothing that may be begun. */
static struct disk_work *next_work(struct disk_engine *e, bool *waits)
{
	*waits = e->lists[DISK_WORK_WAITS].first && e->waiting < e->n_threads / 2;
	if (*waits)
		return disk_work_pop(&e->lists[DISK_WORK_WAITS]);
	return e->lists[DISK_WORK_GOES_ON].first ? disk_work_pop(&e->lists[DISK_WORK_GOES_ON])
						 : NULL;
}

static void *serve(void *arg)
{
	struct disk_engine *e = arg;

	pthread_mutex_lock(&e->lock);
	for (;;) {
		bool waits;
		struct disk_work *w = next_work(e, &waits);

		if (w) {
			e->waiting += waits;
			pthread_mutex_unlock(&e->lock);
			w->run(w);
			pthread_mutex_lock(&e->lock);
			e->waiting -= waits;
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
int disk_engine_start(struct disk_engine *e)
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
	pthread_mutex_lock(&e->lock);
	while (!err && e->n_threads < e->n_wanted) {
		err = pthread_create(&e->threads[e->n_threads], &attr, serve, e);
		e->n_threads += !err;
	}
	pthread_mutex_unlock(&e->lock);
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
		n = processors <= 4 ? 8 : processors > 16 ? 32 : 2 * processors;
	if (n < 2)
		n = 2;
	e = calloc(1, sizeof(*e) + n * sizeof(e->threads[0]));
	if (!e)
		return NULL;
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->more, NULL);
	disk_work_list_init(&e->lists[DISK_WORK_GOES_ON]);
	disk_work_list_init(&e->lists[DISK_WORK_WAITS]);
	e->uring = !options->no_uring && disk_ring_available();
	e->n_wanted = n;
	err = options->threads_later ? 0 : disk_engine_start(e);
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

void disk_engine_run(struct disk_engine *e, struct disk_work *w, enum disk_work_kind kind)
{
	pthread_mutex_lock(&e->lock);
	disk_work_append(&e->lists[kind], w);
	pthread_cond_signal(&e->more);
	pthread_mutex_unlock(&e->lock);
}

unsigned disk_engine_stripe(struct disk_engine *e)
{
	return atomic_fetch_add(&e->next_stripe, 1) % DISK_STRIPES;
}
