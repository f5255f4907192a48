/*
 * clock.h - the time of a partition: its TSC, and the reference time computed from it.
 *
 * Three scales, all 64-bit and monotonic:
 * - host TSC: RDTSC here;
 * - partition TSC = host TSC + tsc_offset: 0 when the partition was set up, stands still while time
 *   is suspended. Every deadline in this room is a partition TSC value;
 * - reference time, in 100 ns = ((partition TSC * scale) >> 64) + ref_offset: the formula of the
 *   TLFS reference TSC page, so that the MSR and the page agree to the tick.
 *
 * The frequency of the host's TSC is measured once a process against CLOCK_MONOTONIC.
 */
#ifndef PARTITA_HYPERVISOR_CLOCK_H
#define PARTITA_HYPERVISOR_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CLOCK_NEVER UINT64_MAX

struct clock {
	uint64_t tsc_hz;
	uint64_t scale;	    /* 2^64 * 10^7 / tsc_hz */
	uint64_t to_ns;	    /* 2^32 * 10^9 / tsc_hz */
	int64_t tsc_offset; /* changes only while no vp runs */
	int64_t ref_offset;
	_Atomic bool suspended;
	uint64_t suspended_at; /* partition TSC */
	const uint64_t *fake;  /* tests: what RDTSC would say */
};

/* Hertz; the same on every call. */
uint64_t clock_host_hz(void);

/* Start at partition TSC 0, reference time 0. */
void clock_start(struct clock *c, uint64_t tsc_hz);
void clock_suspend(struct clock *c);
/* Returns by how much tsc_offset changed, for the processors' own offsets. */
int64_t clock_resume(struct clock *c);

static inline uint64_t clock_host(const struct clock *c)
{
	return c->fake ? __atomic_load_n(c->fake, __ATOMIC_RELAXED) : __builtin_ia32_rdtsc();
}

static inline uint64_t clock_now(const struct clock *c)
{
	return c->suspended ? c->suspended_at : clock_host(c) + (uint64_t)c->tsc_offset;
}

static inline uint64_t clock_to_ref(const struct clock *c, uint64_t tsc)
{
	return (uint64_t)(((unsigned __int128)tsc * c->scale) >> 64) + (uint64_t)c->ref_offset;
}

static inline uint64_t clock_ref(const struct clock *c)
{
	return clock_to_ref(c, clock_now(c));
}

/* The first partition TSC at which the reference time is at least @ref; CLOCK_NEVER: too far. */
uint64_t clock_from_ref(const struct clock *c, uint64_t ref);

/* Nanoseconds from now until @deadline; 0 when it is past. */
uint64_t clock_ns_until(const struct clock *c, uint64_t deadline);

#endif
