/*
 * pit.c - the Intel 8254 (datasheet 231164): three 16-bit counters at 1.193182 MHz in modes 0 to 5,
 * binary and BCD. Channel 0 interrupts, channel 1 once refreshed memory, channel 2 is gated and
 * read back through port 0x61, where guests calibrate other clocks by it.
 *
 * Counters are computed from the clock when somebody looks. A count written while a periodic mode
 * runs starts a new period at once instead of after the current one. Rising edges of channel 0
 * that are overdue by more than a period are merged into one.
 */
#include "chipset/pit.h"

#include <errno.h>
#include <string.h>

/* Ports 0 to 2 are the counters */
#define PIT_CONTROL 3

#define CONTROL_BCD	   0x01
#define CONTROL_READBACK   3 /* as the channel number */
#define READBACK_NO_COUNT  0x20
#define READBACK_NO_STATUS 0x10

#define ACCESS_LATCH 0
#define ACCESS_LOW   1
#define ACCESS_HIGH  2

#define STATUS_OUT  0x80
#define STATUS_NULL 0x40

#define MODE_TERMINAL_COUNT 0
#define MODE_ONE_SHOT	    1
#define MODE_RATE	    2
#define MODE_SQUARE	    3
#define MODE_SOFT_STROBE    4
#define MODE_HARD_STROBE    5

#define NEVER UINT64_MAX

/* Port 0x61 */
#define CONTROL_B_GATE	  0x01
#define CONTROL_B_KEEP	  0x0f /* gate, speaker, NMI sources: readable as written */
#define CONTROL_B_REFRESH 0x10
#define CONTROL_B_OUT	  0x20
#define REFRESH_HZ	  66288 /* one toggle every 15.085 us */

static bool periodic(const struct pit_channel *c)
{
	return c->mode == MODE_RATE || c->mode == MODE_SQUARE;
}

/* Modes whose counting begins at a rising edge of the gate, not when the count is written. */
static bool triggered(const struct pit_channel *c)
{
	return c->mode == MODE_ONE_SHOT || c->mode == MODE_HARD_STROBE;
}

/* Clock pulses since the count was loaded. */
static uint64_t elapsed(const struct pit_channel *c, uint64_t now)
{
	return clock_ticks(c->paused ? c->counted : now - c->start, PIT_HZ);
}

/* The level of OUT after @ticks. */
static bool output(const struct pit_channel *c, uint64_t ticks)
{
	if (!c->loaded)
		return c->mode != MODE_TERMINAL_COUNT;
	switch (c->mode) {
	case MODE_TERMINAL_COUNT:
	case MODE_ONE_SHOT:
		return ticks >= c->count;
	case MODE_RATE:
		return c->paused || ticks % c->count != c->count - 1;
	case MODE_SQUARE:
		return c->paused || ticks % c->count < (c->count + 1) / 2;
	default:
		return ticks != c->count;
	}
}

static uint16_t to_bcd(uint32_t n)
{
	return n % 10 | n / 10 % 10 << 4 | n / 100 % 10 << 8 | n / 1000 % 10 << 12;
}

static uint32_t from_bcd(uint16_t n)
{
	return (n & 15) + 10 * (n >> 4 & 15) + 100 * (n >> 8 & 15) + 1000 * (n >> 12);
}

/* What the counting element holds after @ticks. */
static uint16_t counter(const struct pit_channel *c, uint64_t ticks)
{
	uint32_t modulus = c->bcd ? 10000 : 65536, value;

	if (!c->loaded)
		return 0;
	if (c->mode == MODE_RATE) {
		value = c->count - ticks % c->count;
	} else if (c->mode == MODE_SQUARE) {
		/* It counts down by two, twice a period. */
		uint32_t half = (c->count + 1) / 2, phase = ticks % c->count;

		value = (c->count & ~1u) - 2 * (phase < half ? phase : phase - half);
	} else {
		value = (c->count + modulus - ticks % modulus) % modulus;
	}
	return c->bcd ? to_bcd(value % modulus) : value;
}

/* The tick of the first rising edge of OUT after @ticks. */
static uint64_t next_rise(const struct pit_channel *c, uint64_t ticks)
{
	uint64_t rise = c->count;

	if (!c->loaded || c->paused)
		return NEVER;
	if (periodic(c))
		return (ticks / c->count + 1) * c->count;
	if (c->mode == MODE_SOFT_STROBE || c->mode == MODE_HARD_STROBE)
		rise++;
	return ticks < rise ? rise : NEVER;
}

/* Aims the timer at channel 0's next interrupt after @ticks. */
static void schedule(struct pit *p, uint64_t ticks)
{
	const struct pit_channel *c = &p->channel[0];
	uint64_t deadline = CHIPSET_NEVER;

	p->next_rise = next_rise(c, ticks);
	if (p->next_rise != NEVER)
		deadline = c->start + clock_ns(p->next_rise, PIT_HZ);
	clock_timer_set(&p->clock, p->timer, deadline);
}

static void timer_expired(void *arg)
{
	struct pit *p = arg;
	uint64_t ticks;

	pthread_mutex_lock(&p->lock);
	ticks = elapsed(&p->channel[0], clock_now(&p->clock));
	if (ticks >= p->next_rise) {
		irq_line_set(&p->irq, false);
		irq_line_set(&p->irq, true);
		schedule(p, ticks);
	} else {
		/* early: the deadline still stands */
		schedule(p, p->next_rise == NEVER ? ticks : p->next_rise - 1);
	}
	pthread_mutex_unlock(&p->lock);
}

/* Counting begins anew. */
static void restart(struct pit *p, struct pit_channel *c, uint64_t now)
{
	c->start = now;
	c->counted = 0;
	c->paused = triggered(c) || !c->gate;
	if (c == &p->channel[0])
		schedule(p, 0);
}

static void load(struct pit *p, struct pit_channel *c, uint16_t count)
{
	uint32_t value = c->bcd ? from_bcd(count) : count;

	c->count = value ? value : c->bcd ? 10000 : 65536;
	c->loaded = true;
	restart(p, c, clock_now(&p->clock));
	/* Terminal count: OUT falls now and rises at the end. */
	if (c == &p->channel[0] && c->mode == MODE_TERMINAL_COUNT)
		irq_line_set(&p->irq, false);
}

static void write_counter(struct pit *p, struct pit_channel *c, uint8_t value)
{
	switch (c->access) {
	case ACCESS_LOW:
		load(p, c, value);
		break;
	case ACCESS_HIGH:
		load(p, c, value << 8);
		break;
	default:
		if (c->write_high)
			load(p, c, c->low_byte | value << 8);
		else
			c->low_byte = value;
		c->write_high = !c->write_high;
	}
}

static uint8_t read_counter(struct pit_channel *c, uint64_t now)
{
	uint16_t value;
	bool high;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	value = c->count_latched ? c->latch : counter(c, elapsed(c, now));
	high = c->access == ACCESS_HIGH;
	if (c->access != ACCESS_LOW && c->access != ACCESS_HIGH) {
		high = c->read_high;
		c->read_high = !c->read_high;
	}
	if (!c->read_high) /* the last byte of it was read */
		c->count_latched = false;
	return high ? value >> 8 : value;
}

static void latch_count(struct pit_channel *c, uint64_t now)
{
	if (!c->count_latched) {
		c->latch = counter(c, elapsed(c, now));
		c->count_latched = true;
	}
}

static void latch_status(struct pit_channel *c, uint64_t now)
{
	if (c->status_latched)
		return;
	c->status = c->access << 4 | c->mode << 1 | c->bcd;
	if (output(c, elapsed(c, now)))
		c->status |= STATUS_OUT;
	if (!c->loaded)
		c->status |= STATUS_NULL;
	c->status_latched = true;
}

static void write_control(struct pit *p, uint8_t value)
{
	uint64_t now = clock_now(&p->clock);
	unsigned number = value >> 6, access = value >> 4 & 3, mode = value >> 1 & 7;
	struct pit_channel *c = &p->channel[number % 3];

	if (number == CONTROL_READBACK) {
		for (unsigned i = 0; i < 3; i++) {
			if (!(value & 2u << i))
				continue;
			if (!(value & READBACK_NO_COUNT))
				latch_count(&p->channel[i], now);
			if (!(value & READBACK_NO_STATUS))
				latch_status(&p->channel[i], now);
		}
		return;
	}
	if (access == ACCESS_LATCH) {
		latch_count(c, now);
		return;
	}
	c->access = access;
	c->mode = mode > 5 ? mode - 4 : mode; /* the highest bit of 2 and 3 does not count */
	c->bcd = value & CONTROL_BCD;
	c->loaded = c->write_high = c->read_high = false;
	c->count_latched = c->status_latched = false;
	c->paused = false;
	if (number == 0) {
		schedule(p, 0);
		if (c->mode == MODE_TERMINAL_COUNT)
			irq_line_set(&p->irq, false);
	}
}

static uint64_t pit_read(void *device, uint64_t offset, unsigned size)
{
	struct pit *p = device;
	uint8_t value;

	if (offset == PIT_CONTROL)
		return 0xff; /* write-only */
	pthread_mutex_lock(&p->lock);
	value = read_counter(&p->channel[offset], clock_now(&p->clock));
	pthread_mutex_unlock(&p->lock);
	return value;
}

static void pit_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pit *p = device;

	pthread_mutex_lock(&p->lock);
	if (offset == PIT_CONTROL)
		write_control(p, value);
	else
		write_counter(p, &p->channel[offset], value);
	pthread_mutex_unlock(&p->lock);
}

const struct bus_ops pit_bus_ops = {
	.width = 1,
	.read = pit_read,
	.write = pit_write,
};

/* Only channel 2 has a gate that anything drives. */
static void set_gate(struct pit *p, bool gate)
{
	struct pit_channel *c = &p->channel[2];
	uint64_t now = clock_now(&p->clock);

	if (gate == c->gate)
		return;
	c->gate = gate;
	if (!c->loaded)
		return;
	if (gate && (triggered(c) || periodic(c))) {
		c->start = now;
		c->paused = false;
	} else if (gate && c->paused) {
		c->start = now - c->counted;
		c->paused = false;
	} else if (!gate && !triggered(c)) {
		c->counted = now - c->start;
		c->paused = true;
	}
}

static uint64_t control_b_read(void *device, uint64_t offset, unsigned size)
{
	struct pit *p = device;
	uint64_t now = clock_now(&p->clock);
	uint8_t value;

	pthread_mutex_lock(&p->lock);
	value = p->control_b;
	if (clock_ticks(now, REFRESH_HZ) & 1)
		value |= CONTROL_B_REFRESH;
	if (output(&p->channel[2], elapsed(&p->channel[2], now)))
		value |= CONTROL_B_OUT;
	pthread_mutex_unlock(&p->lock);
	return value;
}

static void control_b_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pit *p = device;

	pthread_mutex_lock(&p->lock);
	p->control_b = value & CONTROL_B_KEEP;
	set_gate(p, value & CONTROL_B_GATE);
	pthread_mutex_unlock(&p->lock);
}

const struct bus_ops pit_control_b_bus_ops = {
	.width = 1,
	.read = control_b_read,
	.write = control_b_write,
};

int pit_init(struct pit *p, struct irq_line irq, struct clock clock)
{
	memset(p, 0, sizeof(*p));
	p->irq = irq;
	p->clock = clock;
	p->next_rise = NEVER;
	for (unsigned i = 0; i < 3; i++) {
		p->channel[i].access = ACCESS_LOW | ACCESS_HIGH;
		p->channel[i].count = 65536;
		p->channel[i].gate = i != 2;
	}
	p->timer = clock_timer_create(&clock, timer_expired, p);
	if (!p->timer)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	return 0;
}

void pit_destroy(struct pit *p)
{
	clock_timer_destroy(&p->clock, p->timer);
	pthread_mutex_destroy(&p->lock);
}
