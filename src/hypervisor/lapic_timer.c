/*
 * lapic_timer.c - the local APIC's timer: one-shot, periodic, TSC deadline.
 *
 * Counts tick at the partition's interrupt clock frequency divided by the divide register; a
 * deadline is computed from them once, when the timer is started. Source: Intel SDM vol. 3A,
 * "APIC Timer".
 */
#include "hypervisor/partition.h"

#define LVT_MASKED    0x10000u
#define LVT_MODE(lvt) ((lvt) >> 17 & 3u)

enum timer_mode {
	MODE_ONE_SHOT,
	MODE_PERIODIC,
	MODE_DEADLINE,
};

/* A guest cannot have periodic interrupts more often than this. */
#define PERIOD_MIN_US 50u

static unsigned divide_shift(const struct lapic *a)
{
	return (((a->timer_divide & 3) | (a->timer_divide >> 1 & 4)) + 1) & 7;
}

static uint64_t counts_to_tsc(const struct vp *vp, uint64_t counts)
{
	const struct partition *p = vp->partition;

	return (uint64_t)(((unsigned __int128)counts << divide_shift(&vp->lapic)) *
			  p->clock.tsc_hz / p->prop.interrupt_frequency);
}

static void stop(struct lapic *a)
{
	a->timer_period = 0;
	a->timer_deadline = CLOCK_NEVER;
}

void lapic_timer_start(struct vp *vp)
{
	struct lapic *a = &vp->lapic;
	uint64_t shortest = vp->partition->clock.tsc_hz / 1000000u * PERIOD_MIN_US;

	if (LVT_MODE(a->lvt[LVT_TIMER]) == MODE_DEADLINE)
		return;
	if (!a->timer_initial) {
		stop(a);
	} else {
		a->timer_period = counts_to_tsc(vp, a->timer_initial);
		if (LVT_MODE(a->lvt[LVT_TIMER]) == MODE_PERIODIC && a->timer_period < shortest)
			a->timer_period = shortest;
		if (!a->timer_period)
			a->timer_period = 1;
		a->timer_deadline = clock_now(&vp->partition->clock) + a->timer_period;
	}
	vp_rearm(vp);
}

void lapic_timer_resume(struct vp *vp, uint32_t current)
{
	struct lapic *a = &vp->lapic;

	if (!a->timer_period || !current || current > a->timer_initial)
		return;
	a->timer_deadline = clock_now(&vp->partition->clock) + counts_to_tsc(vp, current);
	vp_rearm(vp);
}

void lapic_timer_mode_changed(struct vp *vp, uint32_t before)
{
	struct lapic *a = &vp->lapic;
	unsigned from = LVT_MODE(before), to = LVT_MODE(a->lvt[LVT_TIMER]);

	if (from == to || (from != MODE_DEADLINE && to != MODE_DEADLINE))
		return;
	stop(a);
	a->timer_initial = 0;
	a->tsc_deadline = 0;
	vp_rearm(vp);
}

uint32_t lapic_timer_current(const struct vp *vp)
{
	const struct lapic *a = &vp->lapic;
	const struct partition *p = vp->partition;
	uint64_t now = clock_now(&p->clock), left;

	if (!a->timer_period || a->timer_deadline == CLOCK_NEVER ||
		LVT_MODE(a->lvt[LVT_TIMER]) == MODE_DEADLINE)
		return 0;
	if (a->timer_deadline > now)
		left = a->timer_deadline - now;
	else if (LVT_MODE(a->lvt[LVT_TIMER]) == MODE_PERIODIC)
		left = a->timer_period - (now - a->timer_deadline) % a->timer_period;
	else
		return 0;
	return (uint32_t)((unsigned __int128)left * p->prop.interrupt_frequency / p->clock.tsc_hz >>
			  divide_shift(a));
}

void lapic_timer_expire(struct vp *vp, uint64_t now)
{
	struct lapic *a = &vp->lapic;
	uint32_t lvt = a->lvt[LVT_TIMER];

	if (now < a->timer_deadline)
		return;
	if (LVT_MODE(lvt) == MODE_PERIODIC) {
		/* Expirations that were missed are skipped. */
		a->timer_deadline += a->timer_period;
		if (a->timer_deadline <= now)
			a->timer_deadline =
				now + a->timer_period - (now - a->timer_deadline) % a->timer_period;
	} else {
		stop(a);
		a->tsc_deadline = 0;
	}
	if (!(lvt & LVT_MASKED))
		lapic_post(vp, (uint8_t)lvt, false);
}

uint64_t lapic_timer_read_deadline(const struct vp *vp)
{
	return LVT_MODE(vp->lapic.lvt[LVT_TIMER]) == MODE_DEADLINE ? vp->lapic.tsc_deadline : 0;
}

void lapic_timer_write_deadline(struct vp *vp, uint64_t value)
{
	struct lapic *a = &vp->lapic;
	/* How far the guest moved this processor's TSC away from the partition's. */
	uint64_t ahead = vp_state(vp)->tsc_offset - (uint64_t)vp->partition->clock.tsc_offset;

	if (LVT_MODE(a->lvt[LVT_TIMER]) != MODE_DEADLINE)
		return;
	a->tsc_deadline = value;
	if (!value)
		a->timer_deadline = CLOCK_NEVER;
	else
		a->timer_deadline = value > ahead || (int64_t)ahead < 0 ? value - ahead : 0;
	vp_rearm(vp);
}
