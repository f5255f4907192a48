/*
 * timer.c - see timer.h.
 */
#include "hypervisor/partition.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The longest a thread sleeps at a time, so that a suspended clock cannot strand it. */
#define SLEEP_MAX_NS 1000000000ull
/*
 * Whoever's timer just expired will soon set it anew. The thread looks again after so long: a
 * deadline behind that needs no system call on the processor's side.
 */
#define LINGER_US 100u

void timers_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t ns)
{
	struct timespec ts = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, ns == UINT64_MAX ? NULL : &ts, NULL,
		0);
}

void timers_futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* When to look again at the vps that execute guest code; deadlines that passed are fired. */
static uint64_t scan(struct partition *p)
{
	uint64_t earliest = CLOCK_NEVER, now = clock_now(&p->clock);
	uint64_t linger = now + p->clock.tsc_hz / 1000000u * LINGER_US;

	for (unsigned i = 0; i < p->prop.processor_count; i++) {
		struct vp *vp = partition_vp(p, i);
		uint64_t deadline;

		if (!vp || !atomic_load(&vp->in_engine))
			continue;
		deadline = atomic_load(&vp->deadline);
		if (deadline > now) {
			if (deadline < earliest)
				earliest = deadline;
			continue;
		}
		/* Unless the vp sets a new one right now, this deadline is dealt with. */
		if (atomic_compare_exchange_strong(&vp->deadline, &deadline, CLOCK_NEVER)) {
			vp_post(vp, VP_EVENT_TIMER);
			if (linger < earliest)
				earliest = linger;
		} else {
			earliest = 0;
		}
	}
	return earliest;
}

/* Fires what is due; returns for how many nanoseconds there is nothing to do. */
static uint64_t look(struct partition *p)
{
	struct timers *t = &p->timers;
	uint64_t wake, ns = SLEEP_MAX_NS;

	atomic_store(&t->next_wake, 0);
	wake = scan(p);
	/* Whoever sets an earlier deadline after this store wakes us; before, we see it. */
	atomic_store(&t->next_wake, wake);
	if (scan(p) < wake)
		return 0;
	if (wake != CLOCK_NEVER)
		ns = clock_ns_until(&p->clock, wake);
	return ns < SLEEP_MAX_NS ? ns : SLEEP_MAX_NS;
}

static void *timer_main(void *arg)
{
	struct partition *p = arg;
	struct timers *t = &p->timers;

	prctl(PR_SET_TIMERSLACK, 1ul);
	while (!atomic_load(&t->stop)) {
		uint32_t word = atomic_load(&t->word);
		uint64_t ns;

		pthread_mutex_lock(&t->still);
		ns = look(p);
		pthread_mutex_unlock(&t->still);
		if (ns)
			timers_futex_wait(&t->word, word, ns);
	}
	return NULL;
}

int timers_start(struct partition *p)
{
	struct timers *t = &p->timers;
	sigset_t all, before;
	int err;

	/* The client's signals are the client's: none is delivered to this thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&t->thread, NULL, timer_main, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	t->running = !err;
	return -err;
}

static void wake(struct timers *t)
{
	atomic_fetch_add(&t->word, 1);
	timers_futex_wake(&t->word);
}

void timers_stop(struct partition *p)
{
	struct timers *t = &p->timers;

	if (!t->running)
		return;
	atomic_store(&t->stop, true);
	wake(t);
	pthread_join(t->thread, NULL);
	t->running = false;
}

void timers_arm(struct vp *vp, uint64_t deadline)
{
	struct timers *t = &vp->partition->timers;

	atomic_store(&vp->deadline, deadline);
	if (atomic_load(&vp->in_engine) && deadline < atomic_load(&t->next_wake))
		wake(t);
}
