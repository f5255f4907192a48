/*
 * clock.h - the time and timers that a device takes from the board's owner.
 *
 * Devices count in ticks of their own oscillators, derived from the one nanosecond clock, so they
 * never drift against each other. A timer is a hint to look at the clock again: devices decide
 * by the clock, and a late, early or superfluous call does no harm.
 */
#ifndef PARTITA_CHIPSET_CLOCK_H
#define PARTITA_CHIPSET_CLOCK_H

#include "chipset/chipset.h"

#define CLOCK_SECOND 1000000000ull

struct clock {
	const struct chipset_ops *ops;
	void *ctx;
};

static inline uint64_t clock_now(const struct clock *c)
{
	return c->ops->now(c->ctx);
}

static inline int64_t clock_wall(const struct clock *c)
{
	return c->ops->wall_clock(c->ctx);
}

/* Whole ticks at @hertz in @ns nanoseconds. */
static inline uint64_t clock_ticks(uint64_t ns, uint32_t hertz)
{
	return (unsigned __int128)ns * hertz / CLOCK_SECOND;
}

/* The first nanosecond at which @ticks whole ticks have passed. */
static inline uint64_t clock_ns(uint64_t ticks, uint32_t hertz)
{
	return ((unsigned __int128)ticks * CLOCK_SECOND + hertz - 1) / hertz;
}

static inline struct chipset_timer *clock_timer_create(
	const struct clock *c, void (*expired)(void *arg), void *arg)
{
	return c->ops->timer_create(c->ctx, expired, arg);
}

static inline void clock_timer_set(
	const struct clock *c, struct chipset_timer *timer, uint64_t deadline)
{
	c->ops->timer_set(timer, deadline);
}

static inline void clock_timer_destroy(const struct clock *c, struct chipset_timer *timer)
{
	c->ops->timer_destroy(timer);
}

#endif
