/*
 * spin.c - see spin.h.
 */
#include "base/spin.h"

#include <sched.h>
#include <time.h>

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void spin_begin(struct spin *s)
{
	s->began = now();
}

bool spin_on(struct spin *s)
{
	if (!s->window || now() - s->began >= s->window)
		return false;
	sched_yield();
	return true;
}

void spin_end(struct spin *s)
{
	s->window = spin_window(s->window, now() - s->began);
}

uint64_t spin_window(uint64_t window, uint64_t waited)
{
	if (waited > SPIN_MAX_NS)
		return window / 2 < SPIN_MIN_NS ? 0 : window / 2;
	if (waited <= window)
		return window;
	if (window < SPIN_MIN_NS)
		return SPIN_MIN_NS;
	return window * 2 < SPIN_MAX_NS ? window * 2 : SPIN_MAX_NS;
}
