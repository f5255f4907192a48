/*
 * timer.c - see timer.h.
 */
#include "hypervisor/partition.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
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

/*
 * Let the timer expire when @next_wake says. Who sets it last sets it right, for each looks again
 * afterwards; what others set meanwhile may wake the thread for nothing.
 */
static void set_timer(struct partition *p)
{
	struct timers *t = &p->timers;
	uint64_t wake, ns;

	do {
		struct itimerspec spec = {0};

		wake = atomic_load(&t->next_wake);
		ns = wake == CLOCK_NEVER ? SLEEP_MAX_NS : clock_ns_until(&p->clock, wake);
		if (ns > SLEEP_MAX_NS)
			ns = SLEEP_MAX_NS;
		spec.it_value.tv_sec = (time_t)(ns / 1000000000u);
		spec.it_value.tv_nsec = (long)(ns % 1000000000u);
		if (!ns)
			spec.it_value.tv_nsec = 1; /* 0 would disarm it */
		timerfd_settime(t->fd, 0, &spec, NULL);
	} while (atomic_load(&t->next_wake) != wake);
}

/* Fires what is due. False: to be called again. */
static bool look(struct partition *p)
{
	struct timers *t = &p->timers;
	uint64_t wake;

	atomic_store(&t->next_wake, 0);
	wake = scan(p);
	/* Whoever sets an earlier deadline after this store sets the timer; before, we see it. */
	atomic_store(&t->next_wake, wake);
	if (scan(p) < wake)
		return false;
	set_timer(p);
	return true;
}

static void *timer_main(void *arg)
{
	struct partition *p = arg;
	struct timers *t = &p->timers;

	prctl(PR_SET_TIMERSLACK, 1ul);
	while (!atomic_load(&t->stop)) {
		uint64_t expirations;
		bool sleep;

		pthread_mutex_lock(&t->still);
		sleep = look(p);
		pthread_mutex_unlock(&t->still);
		/* After this thread set the timer: who stops it sets it after @stop. */
		if (sleep && !atomic_load(&t->stop) &&
			read(t->fd, &expirations, sizeof(expirations)) < 0 && errno != EINTR)
			return NULL;
	}
	return NULL;
}

int timers_start(struct partition *p)
{
	struct timers *t = &p->timers;
	sigset_t all, before;
	int err;

	t->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (t->fd < 0)
		return -errno;
	/* The client's signals are the client's: none is delivered to this thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&t->thread, NULL, timer_main, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	t->running = !err;
	if (err)
		close(t->fd);
	return -err;
}

void timers_stop(struct partition *p)
{
	struct timers *t = &p->timers;

	if (!t->running)
		return;
	atomic_store(&t->stop, true);
	atomic_store(&t->next_wake, 0);
	set_timer(p);
	pthread_join(t->thread, NULL);
	close(t->fd);
	t->running = false;
}

void timers_arm(struct vp *vp, uint64_t deadline)
{
	struct timers *t = &vp->partition->timers;
	uint64_t next;

	atomic_store(&vp->deadline, deadline);
	if (!atomic_load(&vp->in_engine))
		return;
	next = atomic_load(&t->next_wake);
	while (deadline < next) {
		if (atomic_compare_exchange_weak(&t->next_wake, &next, deadline)) {
			set_timer(vp->partition);
			return;
		}
	}
}
