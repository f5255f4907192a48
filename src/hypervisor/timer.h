/*
 * timer.h - waking virtual processors when a deadline passes.
 *
 * A vp that sleeps in WHvRunVirtualProcessor waits for its own deadline. For those that execute
 * guest code one thread a partition sleeps until the earliest deadline, marks the vp
 * (VP_EVENT_TIMER) and interrupts its engine; the vp's own thread then does what the timer asks.
 * Setting a deadline is a store, and a system call only when it precedes what the thread waits for:
 * that sets the kernel's timer, and the thread sleeps on.
 */
#ifndef PARTITA_HYPERVISOR_TIMER_H
#define PARTITA_HYPERVISOR_TIMER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct partition;
struct vp;

struct timers {
	pthread_t thread;
	bool running;
	pthread_mutex_t still; /* held while the thread looks: whoever changes the clock takes it */
	_Atomic bool stop;
	int fd;			    /* a timerfd, which the thread sleeps in */
	_Atomic uint64_t next_wake; /* partition TSC it sleeps until; 0: awake, about to look */
};

int timers_start(struct partition *p);
void timers_stop(struct partition *p);
/* Owner of the vp: its earliest deadline is now @deadline. */
void timers_arm(struct vp *vp, uint64_t deadline);
/* Sleep while *word is @expected, for at most @ns. */
void timers_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t ns);
void timers_futex_wake(_Atomic uint32_t *word);

#endif
