/*
 * spin.h - looking again for a moment before going to sleep.
 *
 * Waking a thread on a processor that has gone idle takes long, up to 50 us where the host is a
 * virtual machine itself, and a conversation between a guest and a program has several such wakings
 * a turn. So whoever waits for the other side of a conversation looks again and again for a while,
 * if that has paid lately: the window doubles when a wait was longer than it but not than
 * SPIN_MAX_NS, and halves with each wait that was longer than that. Who waits for events that come
 * seldom thus spins for less than twice SPIN_MAX_NS altogether, and then no more. Between two looks
 * other threads may run: where no processor is to spare, spinning costs system calls only.
 *
 *	spin_begin(&s);
 *	while (!came() && spin_on(&s))
 *		;
 *	if (!came())
 *		sleep_until_it_comes();
 *	spin_end(&s);
 *
 * KVM (halt_poll_ns) and Linux's haltpoll governor do so for idle processors, with this limit.
 */
#ifndef PARTITA_BASE_SPIN_H
#define PARTITA_BASE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#define SPIN_MAX_NS 200000u
#define SPIN_MIN_NS 12500u /* the shortest window but none */

/* One waiter's; zeros to begin with. */
struct spin {
	uint64_t window; /* ns, at most SPIN_MAX_NS */
	uint64_t began;	 /* CLOCK_MONOTONIC, ns */
};

/* spin_begin - it waits from now on. */
void spin_begin(struct spin *s);
/* spin_on - let others run, and say whether to look again; false: sleep. */
bool spin_on(struct spin *s);
/* spin_end - what it waited for is there, whether it slept or not. */
void spin_end(struct spin *s);

/* spin_window - the window that follows @window after a wait of so many ns. */
uint64_t spin_window(uint64_t window, uint64_t waited);

#endif
