/*
 * rtc.c - the Motorola MC146818A (datasheet, 1984) behind ports 0x70 and 0x71, as PCs since the AT
 * wire and fill it (IBM PC AT Technical Reference, "Real-Time Clock/Complementary Metal-Oxide
 * Semiconductor RAM Information").
 *
 * The time is the host's UTC plus an offset that the guest sets by setting the clock, computed when
 * somebody looks; it counts from 1970 to 2255. Daylight saving and the square wave are not made.
 * An interrupt need not be acknowledged before the next one comes, as the WAET table promises:
 * each event is an edge, also while register C still holds an older one.
 */
#include "chipset/rtc.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* Ports */
#define RTC_INDEX 0
#define RTC_DATA  1

#define INDEX_MASK 0x7f /* the highest bit masks NMIs */

/* Registers */
#define SECONDS	      0x00
#define SECONDS_ALARM 0x01
#define MINUTES	      0x02
#define MINUTES_ALARM 0x03
#define HOURS	      0x04
#define HOURS_ALARM   0x05
#define WEEKDAY	      0x06
#define DAY	      0x07
#define MONTH	      0x08
#define YEAR	      0x09
#define REG_A	      0x0a
#define REG_B	      0x0b
#define REG_C	      0x0c
#define REG_D	      0x0d
#define EQUIPMENT     0x14
#define BASE_KB	      0x15 /* 16 bits, low byte first, like all of these */
#define EXTENDED_KB   0x17 /* from 1 MiB to 64 MiB */
#define EXTENDED_KB2  0x30
#define ABOVE_16M     0x34 /* in 64 KiB, to 4 GiB */
#define ABOVE_4G      0x5b /* in 64 KiB, 24 bits */

#define A_UIP  0x80
#define A_RATE 0x0f
#define A_INIT 0x26 /* 32768 Hz oscillator, 1024 Hz periodic rate */

#define B_SET	 0x80
#define B_UIE	 0x10
#define B_BINARY 0x04
#define B_24H	 0x02

/* Events: flags of register C, enables of register B */
#define EVENT_PERIODIC 0x40
#define EVENT_ALARM    0x20
#define EVENT_UPDATE   0x10
#define EVENTS	       (EVENT_PERIODIC | EVENT_ALARM | EVENT_UPDATE)
#define C_IRQF	       0x80

#define D_VRT 0x80 /* time and memory are valid */

#define ALARM_ANY 0xc0 /* both bits set: matches every value */
#define HOUR_PM	  0x80

#define EQUIPMENT_BYTE 0x02 /* a coprocessor; no floppy drive */

#define BASE_MEMORY_KB 640
#define UPDATE_NS      244000 /* how long UIP announces an update */
#define MAX_SECONDS    9000000000ll

static bool setting(const struct rtc *r)
{
	return r->cmos[REG_B] & B_SET;
}

static uint8_t encode(const struct rtc *r, unsigned value)
{
	return r->cmos[REG_B] & B_BINARY ? value : value / 10 << 4 | value % 10;
}

static unsigned decode(const struct rtc *r, uint8_t value)
{
	return r->cmos[REG_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 15);
}

static uint8_t encode_hour(const struct rtc *r, unsigned hour)
{
	if (r->cmos[REG_B] & B_24H)
		return encode(r, hour);
	return encode(r, (hour + 11) % 12 + 1) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct rtc *r, uint8_t value)
{
	if (r->cmos[REG_B] & B_24H)
		return decode(r, value);
	return decode(r, value & ~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0);
}

/* The guest's time, ns since 1970. */
static int64_t guest_time(const struct rtc *r)
{
	return clock_wall(&r->clock) + r->offset;
}

static int64_t whole_seconds(int64_t ns)
{
	int64_t second = CLOCK_SECOND;

	return ns / second - (ns % second < 0);
}

/* Brings the time fields up to date, unless the guest is setting them. */
static void fill_fields(struct rtc *r)
{
	time_t seconds = whole_seconds(guest_time(r));
	struct tm tm;

	if (setting(r) || !gmtime_r(&seconds, &tm))
		return;
	r->cmos[SECONDS] = encode(r, tm.tm_sec);
	r->cmos[MINUTES] = encode(r, tm.tm_min);
	r->cmos[HOURS] = encode_hour(r, tm.tm_hour);
	r->cmos[WEEKDAY] = encode(r, tm.tm_wday + 1);
	r->cmos[DAY] = encode(r, tm.tm_mday);
	r->cmos[MONTH] = encode(r, tm.tm_mon + 1);
	r->cmos[YEAR] = encode(r, tm.tm_year % 100);
	r->cmos[RTC_CENTURY] = encode(r, 19 + tm.tm_year / 100);
}

/* Makes the time fields the guest's time, @fraction ns into that second. */
static void take_fields(struct rtc *r, int64_t fraction)
{
	struct tm tm = {
		.tm_sec = decode(r, r->cmos[SECONDS]),
		.tm_min = decode(r, r->cmos[MINUTES]),
		.tm_hour = decode_hour(r, r->cmos[HOURS]),
		.tm_mday = decode(r, r->cmos[DAY]),
		.tm_mon = (int)decode(r, r->cmos[MONTH]) - 1,
		.tm_year = 100 * ((int)decode(r, r->cmos[RTC_CENTURY]) - 19) +
			   (int)decode(r, r->cmos[YEAR]),
	};
	int64_t seconds = timegm(&tm);

	if (seconds < 0)
		seconds = 0;
	if (seconds > MAX_SECONDS)
		seconds = MAX_SECONDS;
	r->offset = seconds * (int64_t)CLOCK_SECOND + fraction - clock_wall(&r->clock);
	r->seen_wall = guest_time(r);
}

static bool alarm_matches(const struct rtc *r, unsigned reg, unsigned value)
{
	uint8_t alarm = r->cmos[reg];

	if (alarm >= ALARM_ANY)
		return true;
	return value == (reg == HOURS_ALARM ? decode_hour(r, alarm) : decode(r, alarm));
}

/* The first matching second within an hour and after @after, or -1. */
static int64_t alarm_in_hour(const struct rtc *r, int64_t hour_start, int64_t after)
{
	for (unsigned m = 0; m < 60; m++) {
		int64_t minute_start = hour_start + m * 60;

		if (minute_start + 59 <= after || !alarm_matches(r, MINUTES_ALARM, m))
			continue;
		for (unsigned s = 0; s < 60; s++)
			if (minute_start + s > after && alarm_matches(r, SECONDS_ALARM, s))
				return minute_start + s;
	}
	return -1;
}

/* The first second after @after at which the alarm matches, or INT64_MAX. */
static int64_t next_alarm(const struct rtc *r, int64_t after)
{
	int64_t hour_start = after - after % 3600;

	for (unsigned i = 0; i <= 24; i++, hour_start += 3600) {
		int64_t found = -1;

		if (alarm_matches(r, HOURS_ALARM, hour_start / 3600 % 24))
			found = alarm_in_hour(r, hour_start, after);
		if (found >= 0)
			return found;
	}
	return INT64_MAX;
}

/* The periodic rate in Hz; 0: off. */
static uint32_t periodic_rate(const struct rtc *r)
{
	unsigned rate = r->cmos[REG_A] & A_RATE;

	if (!rate)
		return 0;
	return 32768 >> (rate < 3 ? rate + 6 : rate - 1);
}

/* Records what happened since it was last looked at. Returns the events. */
static uint8_t collect(struct rtc *r)
{
	uint64_t now = clock_now(&r->clock);
	int64_t wall = guest_time(r);
	int64_t second = whole_seconds(wall), seen_second = whole_seconds(r->seen_wall);
	uint32_t hz = periodic_rate(r);
	uint8_t events = 0;

	if (hz && clock_ticks(now, hz) != clock_ticks(r->seen, hz))
		events |= EVENT_PERIODIC;
	if (!setting(r) && second > seen_second) {
		events |= EVENT_UPDATE;
		if (next_alarm(r, seen_second) <= second)
			events |= EVENT_ALARM;
	}
	r->seen = now;
	r->seen_wall = wall;
	r->cmos[REG_C] |= events;
	return events;
}

static void earlier(uint64_t *deadline, uint64_t other)
{
	if (other < *deadline)
		*deadline = other;
}

/* Aims the timer at the next event that interrupts. */
static void schedule(struct rtc *r)
{
	uint8_t enabled = r->cmos[REG_B] & EVENTS;
	int64_t second = whole_seconds(r->seen_wall), alarm;
	uint64_t deadline = CHIPSET_NEVER;
	uint32_t hz = periodic_rate(r);

	if (enabled & EVENT_PERIODIC && hz)
		earlier(&deadline, clock_ns(clock_ticks(r->seen, hz) + 1, hz));
	if (enabled & EVENT_UPDATE && !setting(r))
		earlier(&deadline, r->seen + (second + 1) * (int64_t)CLOCK_SECOND - r->seen_wall);
	if (enabled & EVENT_ALARM && !setting(r)) {
		alarm = next_alarm(r, second);
		if (alarm != INT64_MAX)
			earlier(&deadline, r->seen + alarm * (int64_t)CLOCK_SECOND - r->seen_wall);
	}
	clock_timer_set(&r->clock, r->timer, deadline);
}

/* Looks at the clock, interrupts for what is new and enabled, and waits for the next event. */
static void update(struct rtc *r)
{
	uint8_t events = collect(r), enabled = r->cmos[REG_B] & EVENTS;
	bool pending = r->cmos[REG_C] & enabled;

	if (events & enabled)
		irq_line_set(&r->irq, false); /* a new edge, acknowledged or not */
	irq_line_set(&r->irq, pending);
	schedule(r);
}

static void timer_expired(void *arg)
{
	struct rtc *r = arg;

	pthread_mutex_lock(&r->lock);
	update(r);
	pthread_mutex_unlock(&r->lock);
}

static bool update_in_progress(const struct rtc *r)
{
	int64_t now = guest_time(r), second = CLOCK_SECOND;

	return !setting(r) && now - whole_seconds(now) * second >= second - UPDATE_NS;
}

static bool is_time(unsigned reg)
{
	return reg == SECONDS || reg == MINUTES || reg == HOURS ||
	       (reg >= WEEKDAY && reg <= YEAR) || reg == RTC_CENTURY;
}

/* Reading the flags acknowledges them. */
static uint8_t read_c(struct rtc *r)
{
	uint8_t value;

	collect(r);
	value = r->cmos[REG_C];
	if (value & r->cmos[REG_B] & EVENTS)
		value |= C_IRQF;
	r->cmos[REG_C] = 0;
	irq_line_set(&r->irq, false);
	schedule(r);
	return value;
}

static uint8_t read_register(struct rtc *r, unsigned reg)
{
	if (reg == REG_C)
		return read_c(r);
	if (is_time(reg))
		fill_fields(r);
	if (reg == REG_A && update_in_progress(r))
		return r->cmos[REG_A] | A_UIP;
	return r->cmos[reg];
}

static void write_b(struct rtc *r, uint8_t value)
{
	bool was_setting = setting(r);

	if (value & B_SET) {
		fill_fields(r); /* as they stand now */
		value &= ~B_UIE;
	}
	r->cmos[REG_B] = value;
	/* The first update comes half a second after the clock is set going again. */
	if (was_setting && !setting(r))
		take_fields(r, CLOCK_SECOND / 2);
}

static void write_register(struct rtc *r, unsigned reg, uint8_t value)
{
	if (is_time(reg)) {
		int64_t now = guest_time(r);

		fill_fields(r);
		r->cmos[reg] = value;
		if (!setting(r))
			take_fields(r, now - whole_seconds(now) * (int64_t)CLOCK_SECOND);
	} else if (reg == REG_A) {
		r->cmos[REG_A] = value & ~A_UIP;
	} else if (reg == REG_B) {
		write_b(r, value);
	} else if (reg != REG_C && reg != REG_D) {
		r->cmos[reg] = value;
	}
}

static uint64_t rtc_read(void *device, uint64_t offset, unsigned size)
{
	struct rtc *r = device;
	uint8_t value;

	if (offset == RTC_INDEX)
		return 0xff; /* write-only */
	pthread_mutex_lock(&r->lock);
	value = read_register(r, r->index);
	pthread_mutex_unlock(&r->lock);
	return value;
}

static void rtc_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct rtc *r = device;

	pthread_mutex_lock(&r->lock);
	if (offset == RTC_INDEX) {
		r->index = value & INDEX_MASK;
	} else {
		collect(r); /* under the old rules */
		write_register(r, r->index, value);
		update(r);
	}
	pthread_mutex_unlock(&r->lock);
}

const struct bus_ops rtc_bus_ops = {
	.width = 1,
	.read = rtc_read,
	.write = rtc_write,
};

/* Stores @value in @bytes CMOS bytes, or all ones when it does not fit. */
static void store(struct rtc *r, unsigned reg, unsigned bytes, uint64_t value)
{
	if (value >> bytes * 8)
		value = UINT64_MAX;
	for (unsigned i = 0; i < bytes; i++)
		r->cmos[reg + i] = value >> i * 8;
}

static void fill_memory(struct rtc *r, struct rtc_memory memory)
{
	uint64_t above_1m = memory.low > 1 << 20 ? memory.low - (1 << 20) : 0;
	uint64_t above_16m = memory.low > 16 << 20 ? memory.low - (16 << 20) : 0;

	store(r, BASE_KB, 2, BASE_MEMORY_KB);
	store(r, EXTENDED_KB, 2, above_1m >> 10);
	store(r, EXTENDED_KB2, 2, above_1m >> 10);
	store(r, ABOVE_16M, 2, above_16m >> 16);
	store(r, ABOVE_4G, 3, memory.high >> 16);
}

int rtc_init(struct rtc *r, struct rtc_memory memory, struct irq_line irq, struct clock clock)
{
	memset(r, 0, sizeof(*r));
	r->irq = irq;
	r->clock = clock;
	r->seen = clock_now(&clock);
	r->seen_wall = guest_time(r);
	r->cmos[REG_A] = A_INIT;
	r->cmos[REG_B] = B_24H;
	r->cmos[REG_D] = D_VRT;
	r->cmos[EQUIPMENT] = EQUIPMENT_BYTE;
	fill_memory(r, memory);
	r->timer = clock_timer_create(&clock, timer_expired, r);
	if (!r->timer)
		return -ENOMEM;
	pthread_mutex_init(&r->lock, NULL);
	return 0;
}

void rtc_destroy(struct rtc *r)
{
	clock_timer_destroy(&r->clock, r->timer);
	pthread_mutex_destroy(&r->lock);
}
