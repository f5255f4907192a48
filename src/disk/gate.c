/*
 * gate.c - see gate.h.
 *
 * Who comes in counts first and then looks whether the epoch is still the same and nobody froze the
 * disk; who waits changes that first and then looks at the counters. All of it is sequentially
 * consistent, so one of the two sees the other.
 */
#include "disk/gate.h"

#include <sched.h>

#include "disk/engine.h"
#include "disk/format.h"

/* A ticket: 1 + 3 * stripe + which counter. */
#define OUTSIDE 2u

void disk_gate_init(struct disk_gate *g)
{
	pthread_mutex_init(&g->turn, NULL);
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->moved, NULL);
	disk_work_list_init(&g->held);
}

void disk_gate_fini(struct disk_gate *g)
{
	pthread_cond_destroy(&g->moved);
	pthread_mutex_destroy(&g->lock);
	pthread_mutex_destroy(&g->turn);
}

unsigned disk_stripe(void)
{
	return (unsigned)sched_getcpu() % DISK_STRIPES;
}

static _Atomic unsigned *counter(struct disk_gate *g, disk_ticket t)
{
	struct disk_gate_stripe *s = &g->stripe[(t - 1) / 3];

	return (t - 1) % 3 == OUTSIDE ? &s->outside : &s->inside[(t - 1) % 3];
}

void disk_gate_leave(struct disk_gate *g, disk_ticket t)
{
	if (!t || atomic_fetch_sub(counter(g, t), 1) != 1 || !atomic_load(&g->waiting))
		return;
	pthread_mutex_lock(&g->lock);
	pthread_cond_broadcast(&g->moved);
	pthread_mutex_unlock(&g->lock);
}

disk_ticket disk_gate_enter(struct disk_gate *g, unsigned stripe, bool under_way)
{
	for (;;) {
		unsigned epoch = atomic_load(&g->epoch);
		disk_ticket t = 1 + 3 * stripe + (epoch & 1);
		bool frozen;

		atomic_fetch_add(counter(g, t), 1);
		frozen = !under_way && atomic_load(&g->frozen);
		if (!frozen && atomic_load(&g->epoch) == epoch)
			return t;
		disk_gate_leave(g, t);
		if (frozen)
			return 0;
	}
}

disk_ticket disk_gate_stay(struct disk_gate *g, unsigned stripe, bool under_way)
{
	disk_ticket t = 1 + 3 * stripe + OUTSIDE;

	atomic_fetch_add(counter(g, t), 1);
	if (under_way || !atomic_load(&g->frozen))
		return t;
	disk_gate_leave(g, t);
	return 0;
}

void disk_gate_wait(struct disk_gate *g)
{
	pthread_mutex_lock(&g->lock);
	while (atomic_load(&g->frozen))
		pthread_cond_wait(&g->moved, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

bool disk_gate_hold(struct disk_gate *g, struct disk_work *w)
{
	bool frozen;

	pthread_mutex_lock(&g->lock);
	frozen = atomic_load(&g->frozen);
	if (frozen)
		disk_work_append(&g->held, w);
	pthread_mutex_unlock(&g->lock);
	return frozen;
}

/* Wait until @which of all stripes was zero, each at some moment. */
static void drain(struct disk_gate *g, unsigned which)
{
	atomic_fetch_add(&g->waiting, 1);
	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < DISK_STRIPES; i++)
		while (atomic_load(counter(g, 1 + 3 * i + which)))
			pthread_cond_wait(&g->moved, &g->lock);
	pthread_mutex_unlock(&g->lock);
	atomic_fetch_sub(&g->waiting, 1);
}

void disk_synchronize(struct disk *d)
{
	struct disk_gate *g = &d->gate;

	pthread_mutex_lock(&g->turn);
	drain(g, atomic_fetch_add(&g->epoch, 1) & 1);
	pthread_mutex_unlock(&g->turn);
}

void disk_freeze(struct disk *d)
{
	struct disk_gate *g = &d->gate;

	pthread_mutex_lock(&g->lock);
	atomic_fetch_add(&g->frozen, 1);
	pthread_mutex_unlock(&g->lock);
	/* First those inside, who may go outside (to flush) but whom nobody follows in. */
	disk_synchronize(d);
	drain(g, OUTSIDE);
}

void disk_thaw(struct disk *d)
{
	struct disk_gate *g = &d->gate;

	pthread_mutex_lock(&g->lock);
	if (atomic_fetch_sub(&g->frozen, 1) == 1) {
		while (g->held.first)
			disk_engine_run(d->engine, disk_work_pop(&g->held), DISK_WORK_WAITS);
		pthread_cond_broadcast(&g->moved);
	}
	pthread_mutex_unlock(&g->lock);
}
