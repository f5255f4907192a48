/*
 * clock.c - see clock.h. Source: TLFS "Timers", "Partition Reference TSC Mechanism".
 */
#include "hypervisor/clock.h"

#include <pthread.h>
#include <time.h>

#define MEASURE_NS 20000000ull

static pthread_once_t host_once = PTHREAD_ONCE_INIT;
static uint64_t host_hz;

struct sample {
	uint64_t tsc, ns;
};

static uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Both clocks at the same moment: the tightest of several attempts, its middle. */
static struct sample sample_clocks(void)
{
	struct sample best = {0, 0};
	uint64_t best_width = UINT64_MAX;

	for (int i = 0; i < 16; i++) {
		uint64_t before = __builtin_ia32_rdtsc();
		uint64_t ns = monotonic_ns();
		uint64_t width = __builtin_ia32_rdtsc() - before;

		if (width < best_width) {
			best_width = width;
			best = (struct sample){before + width / 2, ns};
		}
	}
	return best;
}

static void measure(void)
{
	struct sample from = sample_clocks(), to;
	struct timespec pause = {0, (long)MEASURE_NS};

	nanosleep(&pause, NULL);
	to = sample_clocks();
	host_hz = (uint64_t)((unsigned __int128)(to.tsc - from.tsc) * 1000000000u /
			     (to.ns - from.ns));
}

uint64_t clock_host_hz(void)
{
	pthread_once(&host_once, measure);
	return host_hz;
}

void clock_start(struct clock *c, uint64_t tsc_hz)
{
	c->tsc_hz = tsc_hz;
	c->scale = (uint64_t)(((unsigned __int128)10000000u << 64) / tsc_hz);
	c->to_ns = (uint64_t)(((unsigned __int128)1000000000u << 32) / tsc_hz);
	c->tsc_offset = -(int64_t)clock_host(c);
	c->ref_offset = 0;
	c->suspended = false;
}

void clock_suspend(struct clock *c)
{
	if (c->suspended)
		return;
	c->suspended_at = clock_now(c);
	c->suspended = true;
}

int64_t clock_resume(struct clock *c)
{
	int64_t before = c->tsc_offset;

	if (!c->suspended)
		return 0;
	c->tsc_offset = (int64_t)(c->suspended_at - clock_host(c));
	c->suspended = false;
	return c->tsc_offset - before;
}

uint64_t clock_from_ref(const struct clock *c, uint64_t ref)
{
	uint64_t ticks = ref - (uint64_t)c->ref_offset;
	unsigned __int128 tsc;

	if (ref < (uint64_t)c->ref_offset && c->ref_offset > 0)
		return 0;
	/* Round up: the reference time must have been reached. */
	tsc = (((unsigned __int128)ticks << 64) + c->scale - 1) / c->scale;
	return tsc >= CLOCK_NEVER ? CLOCK_NEVER : (uint64_t)tsc;
}

uint64_t clock_ns_until(const struct clock *c, uint64_t deadline)
{
	uint64_t now = clock_now(c);

	if (deadline <= now)
		return 0;
	return (uint64_t)(((unsigned __int128)(deadline - now) * c->to_ns) >> 32);
}
