/*
 * stimer.c - synthetic timers: one-shot and periodic, with messages or direct interrupts.
 *
 * A timer belongs to its vp's own thread. A message that finds its slot full waits in the timer
 * until the guest says EOM or ends an interrupt; until then a periodic timer does not expire
 * again. Lazy timers are treated as the others. Source: TLFS "Synthetic Timers".
 */
#include "hypervisor/partition.h"

#include <errno.h>
#include <string.h>

/* A guest cannot have periodic expirations more often than this. */
#define PERIOD_MIN_100NS 500u

void stimers_reset(struct vp *vp)
{
	for (unsigned i = 0; i < HV_STIMER_COUNT; i++)
		vp->stimers[i] = (struct stimer){.deadline = CLOCK_NEVER};
}

static void arm(struct vp *vp, struct stimer *t, uint64_t expires)
{
	t->expires = expires;
	t->deadline = clock_from_ref(&vp->partition->clock, expires);
}

static uint64_t period_of(const struct stimer *t)
{
	return t->count < PERIOD_MIN_100NS ? PERIOD_MIN_100NS : t->count;
}

static void start(struct vp *vp, struct stimer *t)
{
	uint64_t now = clock_ref(&vp->partition->clock);

	t->undelivered = false;
	/* The count may wrap: what lies more than half the range ahead has passed. */
	if (t->config & HV_STIMER_PERIODIC)
		arm(vp, t, now + period_of(t));
	else
		arm(vp, t, (int64_t)(t->count - now) <= 0 ? now : t->count);
}

static void stop(struct stimer *t)
{
	t->config &= ~HV_STIMER_ENABLE;
	t->deadline = CLOCK_NEVER;
	t->undelivered = false;
}

enum x86_answer stimer_msr_read(struct vp *vp, uint32_t msr, uint64_t *value)
{
	unsigned reg = msr - HV_MSR_STIMER0_CONFIG;
	const struct stimer *t = &vp->stimers[reg / 2];

	*value = reg & 1 ? t->count : t->config;
	return X86_DONE;
}

static enum x86_answer write_config(struct vp *vp, struct stimer *t, uint64_t value)
{
	if (value & ~HV_STIMER_CONFIG_VALID)
		return X86_FAULT;
	if ((value & HV_STIMER_DIRECT) &&
		(HV_STIMER_VECTOR(value) < 16 ||
			!(vp->partition->features & HV_FEATURE_DIRECT_STIMER)))
		return X86_FAULT;
	stop(t);
	if (!(value & HV_STIMER_DIRECT) && !HV_STIMER_SINT(value))
		value &= ~HV_STIMER_ENABLE;
	t->config = value;
	if (!(value & HV_STIMER_ENABLE))
		return X86_DONE;
	if (t->count)
		start(vp, t);
	else
		t->config &= ~HV_STIMER_ENABLE;
	return X86_DONE;
}

static void write_count(struct vp *vp, struct stimer *t, uint64_t value)
{
	t->count = value;
	if (!value) {
		stop(t);
		return;
	}
	if ((t->config & HV_STIMER_AUTO_ENABLE) &&
		((t->config & HV_STIMER_DIRECT) || HV_STIMER_SINT(t->config)))
		t->config |= HV_STIMER_ENABLE;
	if (t->config & HV_STIMER_ENABLE)
		start(vp, t);
}

enum x86_answer stimer_msr_write(struct vp *vp, uint32_t msr, uint64_t value)
{
	unsigned reg = msr - HV_MSR_STIMER0_CONFIG;
	struct stimer *t = &vp->stimers[reg / 2];
	enum x86_answer answer = X86_DONE;

	if (reg & 1)
		write_count(vp, t, value);
	else
		answer = write_config(vp, t, value);
	vp_expire_timers(vp);
	return answer;
}

/* Returns whether the expiry at @when reached the guest. */
static bool signal_expiry(struct vp *vp, struct stimer *t, uint64_t when)
{
	struct hv_message message = {
		.type = HV_MESSAGE_TIMER_EXPIRED,
		.payload_size = sizeof(struct hv_timer_payload),
	};
	struct hv_timer_payload payload = {
		.index = (uint32_t)(t - vp->stimers),
		.expiration = when,
		.delivery = clock_ref(&vp->partition->clock),
	};

	if (t->config & HV_STIMER_DIRECT) {
		lapic_post(vp, (uint8_t)HV_STIMER_VECTOR(t->config), false);
		return true;
	}
	memcpy(message.payload, &payload, sizeof(payload));
	/* A message page that is off keeps the message waiting, as a full slot does. */
	return synic_post(vp, HV_STIMER_SINT(t->config), &message) == 0;
}

/* After an expiry was signalled: the next one, or the end. */
static void advance(struct vp *vp, struct stimer *t)
{
	uint64_t now, period;

	if (!(t->config & HV_STIMER_PERIODIC)) {
		t->config &= ~HV_STIMER_ENABLE;
		t->deadline = CLOCK_NEVER;
		return;
	}
	now = clock_ref(&vp->partition->clock);
	period = period_of(t);
	t->expires += period;
	if ((int64_t)(t->expires - now) <= 0) /* missed expirations are skipped */
		t->expires = now + period - (now - t->expires) % period;
	arm(vp, t, t->expires);
}

void stimers_expire(struct vp *vp, uint64_t now)
{
	for (unsigned i = 0; i < HV_STIMER_COUNT; i++) {
		struct stimer *t = &vp->stimers[i];

		if (now < t->deadline)
			continue;
		if (signal_expiry(vp, t, t->expires)) {
			advance(vp, t);
		} else {
			t->undelivered = true;
			t->late = t->expires;
			t->deadline = CLOCK_NEVER;
		}
	}
}

void stimers_retry(struct vp *vp)
{
	bool any = false;

	for (unsigned i = 0; i < HV_STIMER_COUNT; i++) {
		struct stimer *t = &vp->stimers[i];

		if (!t->undelivered || !signal_expiry(vp, t, t->late))
			continue;
		t->undelivered = false;
		advance(vp, t);
		any = true;
	}
	if (any)
		vp_rearm(vp);
}

uint64_t stimers_deadline(const struct vp *vp)
{
	uint64_t earliest = CLOCK_NEVER;

	for (unsigned i = 0; i < HV_STIMER_COUNT; i++) {
		if (vp->stimers[i].deadline < earliest)
			earliest = vp->stimers[i].deadline;
	}
	return earliest;
}

void stimers_rearm(struct vp *vp)
{
	for (unsigned i = 0; i < HV_STIMER_COUNT; i++) {
		struct stimer *t = &vp->stimers[i];

		if (t->deadline != CLOCK_NEVER)
			arm(vp, t, t->expires);
	}
}

bool stimers_use_messages(const struct vp *vp)
{
	for (unsigned i = 0; i < HV_STIMER_COUNT; i++) {
		const struct stimer *t = &vp->stimers[i];

		if (t->deadline != CLOCK_NEVER && !(t->config & HV_STIMER_DIRECT))
			return true;
	}
	return false;
}
