/*
 * chipset_time.c - interval timer and real-time clock, against a clock that the test moves.
 */
#include "chipset_board.h"

#define PIT_VECTOR 0x30
#define RTC_VECTOR 0x38
#define HZ	   1193182

static uint16_t read_count(struct board *b, unsigned channel)
{
	uint8_t low;

	out8(b, 0x43, channel << 6); /* latch */
	low = in8(b, 0x40 + channel);
	return low | in8(b, 0x40 + channel) << 8;
}

static void program(struct board *b, unsigned channel, unsigned mode, uint16_t count)
{
	out8(b, 0x43, channel << 6 | 0x30 | mode << 1);
	out8(b, 0x40 + channel, count);
	out8(b, 0x40 + channel, count >> 8);
}

/* Nanoseconds that @ticks of the PIT take, rounded up. */
static uint64_t ticks(uint64_t n)
{
	return (n * SECOND + HZ - 1) / HZ;
}

/* Linux's calibration by channel 2: gate on, mode 0, wait for OUT in port 0x61. */
static void test_calibration_by_channel_2(void **state)
{
	struct board *b = *state;
	const uint16_t latch = HZ / 20; /* 50 ms */
	unsigned polls = 0;
	uint64_t start;

	out8(b, 0x61, (in8(b, 0x61) & ~0x02) | 0x01);
	out8(b, 0x43, 0xb0);
	out8(b, 0x42, latch & 0xff);
	out8(b, 0x42, latch >> 8);
	start = b->now;
	assert_int_equal(in8(b, 0x61) & 0x20, 0);
	while (!(in8(b, 0x61) & 0x20)) {
		board_advance(b, MICROSECOND);
		polls++;
	}
	assert_in_range(b->now - start, ticks(latch), ticks(latch) + 2 * MICROSECOND);
	assert_true(polls > 49000);
}

/* And the quick one: the count's high byte steps down every 256 ticks. */
static void test_quick_calibration(void **state)
{
	struct board *b = *state;
	uint64_t start;

	out8(b, 0x61, 0x01);
	program(b, 2, 0, 0xffff);
	start = b->now;
	for (unsigned high = 0xff; high > 0xe0; high--) {
		for (;;) {
			in8(b, 0x42);
			if (in8(b, 0x42) != high)
				break;
			board_advance(b, 500);
		}
		assert_in_range(b->now - start, ticks((0x100 - high) * 256 - 256),
			ticks((0x100 - high) * 256) + 500);
	}
}

static void test_gate_holds_channel_2(void **state)
{
	struct board *b = *state;
	uint16_t held;

	program(b, 2, 0, 1000);
	board_advance(b, SECOND);
	assert_int_equal(in8(b, 0x61) & 0x20, 0);
	assert_int_equal(read_count(b, 2), 1000);
	out8(b, 0x61, 0x01);
	board_advance(b, ticks(400));
	out8(b, 0x61, 0x00);
	held = read_count(b, 2);
	assert_in_range(held, 599, 600);
	board_advance(b, SECOND);
	assert_int_equal(read_count(b, 2), held);
	out8(b, 0x61, 0x01);
	board_advance(b, ticks(601));
	assert_int_equal(in8(b, 0x61) & 0x20, 0x20);
}

static void test_refresh_toggles(void **state)
{
	struct board *b = *state;
	unsigned changes = 0;
	uint8_t last = in8(b, 0x61) & 0x10;

	for (unsigned i = 0; i < 1000; i++) {
		board_advance(b, MICROSECOND);
		changes += (in8(b, 0x61) & 0x10) != last;
		last = in8(b, 0x61) & 0x10;
	}
	assert_in_range(changes, 65, 67);
}

/* The tick of channel 0 as Linux's check for a working timer interrupt needs it: mode 2. */
static void test_periodic_interrupt(void **state)
{
	struct board *b = *state;

	ioapic_open(b, 2, PIT_VECTOR, false);
	program(b, 0, 2, HZ / 250);
	board_advance(b, ticks(HZ / 250) - 2);
	assert_int_equal(b->interrupts, 0);
	board_advance(b, 4);
	assert_int_equal(b->interrupts, 1);
	assert_int_equal(b->interrupt[0].vector, PIT_VECTOR);
	board_advance(b, SECOND);
	assert_int_equal(b->interrupts, 251);
	program(b, 0, 3, HZ / 100);
	board_advance(b, SECOND + MILLISECOND);
	assert_int_equal(b->interrupts, 351);
	/* a mode that is chosen but has no count yet is quiet */
	out8(b, 0x43, 0x34);
	board_advance(b, SECOND);
	assert_int_equal(b->interrupts, 351);
}

static void test_one_shot_interrupt(void **state)
{
	struct board *b = *state;

	ioapic_open(b, 2, PIT_VECTOR, false);
	/* software strobe, as Linux's one-shot clock event */
	for (unsigned i = 1; i <= 3; i++) {
		program(b, 0, 4, 5000);
		board_advance(b, ticks(4999));
		assert_int_equal(b->interrupts, i - 1);
		board_advance(b, ticks(3));
		assert_int_equal(b->interrupts, i);
		board_advance(b, SECOND);
		assert_int_equal(b->interrupts, i);
	}
	program(b, 0, 0, 5000);
	board_advance(b, ticks(4999));
	assert_int_equal(b->interrupts, 3);
	board_advance(b, ticks(2));
	assert_int_equal(b->interrupts, 4);
	board_advance(b, SECOND);
	assert_int_equal(b->interrupts, 4);
}

static void test_late_timer_merges(void **state)
{
	struct board *b = *state;

	ioapic_open(b, 2, PIT_VECTOR, false);
	program(b, 0, 2, 1000);
	b->now += 10 * SECOND; /* nobody came in time */
	board_advance(b, 0);
	assert_int_equal(b->interrupts, 1);
	board_advance(b, ticks(1000));
	assert_int_equal(b->interrupts, 2);
}

static void test_count_formats(void **state)
{
	struct board *b = *state;

	/* mode 2 never shows 0; it reloads after 1 */
	program(b, 0, 2, 3);
	for (unsigned i = 0; i < 9; i++) {
		assert_int_equal(read_count(b, 0), 3 - i % 3);
		b->now += ticks(i + 1) - ticks(i);
	}
	/* mode 3 counts by two */
	program(b, 0, 3, 6);
	b->now += ticks(1);
	assert_int_equal(read_count(b, 0), 4);
	b->now += ticks(3) - ticks(1);
	assert_int_equal(read_count(b, 0), 6);
	/* a latched count stays until it is read, byte by byte */
	program(b, 1, 2, 0);
	b->now += ticks(0x102);
	out8(b, 0x43, 0x40);
	b->now += SECOND;
	assert_int_equal(in8(b, 0x41), 0xfe);
	assert_int_equal(in8(b, 0x41), 0xfe);
	/* one byte only: low, then high */
	out8(b, 0x43, 0x54);
	out8(b, 0x41, 0x80);
	assert_int_equal(in8(b, 0x41), 0x80);
	out8(b, 0x43, 0x64);
	out8(b, 0x41, 0x12);
	assert_int_equal(in8(b, 0x41), 0x12);
	/* BCD */
	out8(b, 0x43, 0x75);
	out8(b, 0x41, 0x00);
	out8(b, 0x41, 0x10);
	assert_int_equal(read_count(b, 1), 0x1000);
	b->now += ticks(1);
	assert_int_equal(read_count(b, 1), 0x0999);
}

static void test_read_back(void **state)
{
	struct board *b = *state;

	out8(b, 0x43, 0x34);
	out8(b, 0x43, 0xe2);		      /* status of channel 0 */
	assert_int_equal(in8(b, 0x40), 0xf4); /* OUT high, no count yet, both bytes, mode 2 */
	out8(b, 0x40, 0x10);
	out8(b, 0x40, 0x27);
	out8(b, 0x43, 0xc2); /* status and count */
	b->now += SECOND;
	assert_int_equal(in8(b, 0x40), 0xb4);
	assert_int_equal(in8(b, 0x40), 0x10);
	assert_int_equal(in8(b, 0x40), 0x27);
	assert_int_equal(in8(b, 0x43), 0xff);
}

static uint8_t cmos(struct board *b, uint8_t reg)
{
	out8(b, 0x70, reg);
	return in8(b, 0x71);
}

static void set_cmos(struct board *b, uint8_t reg, uint8_t value)
{
	out8(b, 0x70, reg);
	out8(b, 0x71, value);
}

/* The board starts at 22:13:25 UTC on Tuesday, 2023-11-14. */
static void test_clock_tells_utc(void **state)
{
	struct board *b = *state;

	assert_int_equal(cmos(b, 0), 0x25);
	assert_int_equal(cmos(b, 2), 0x13);
	assert_int_equal(cmos(b, 4), 0x22);
	assert_int_equal(cmos(b, 6), 3);
	assert_int_equal(cmos(b, 7), 0x14);
	assert_int_equal(cmos(b, 8), 0x11);
	assert_int_equal(cmos(b, 9), 0x23);
	assert_int_equal(cmos(b, 0x32), 0x20);
	assert_int_equal(cmos(b, 0x0a), 0x26);
	assert_int_equal(cmos(b, 0x0b), 0x02);
	assert_int_equal(cmos(b, 0x0d), 0x80);
	/* binary, and with twelve hours */
	set_cmos(b, 0x0b, 0x04);
	assert_int_equal(cmos(b, 0), 25);
	assert_int_equal(cmos(b, 4), 0x80 | 10);
	board_advance(b, 2 * 3600 * SECOND);
	assert_int_equal(cmos(b, 4), 12);
	set_cmos(b, 0x0b, 0x06);
	assert_int_equal(cmos(b, 4), 0);
	assert_int_equal(cmos(b, 7), 15);
}

static void test_update_in_progress(void **state)
{
	struct board *b = *state;

	assert_int_equal(cmos(b, 0x0a) & 0x80, 0);
	board_advance(b, SECOND - 100 * MICROSECOND);
	assert_int_equal(cmos(b, 0x0a) & 0x80, 0x80);
	assert_int_equal(cmos(b, 0), 0x25);
	board_advance(b, 100 * MICROSECOND);
	assert_int_equal(cmos(b, 0x0a) & 0x80, 0);
	assert_int_equal(cmos(b, 0), 0x26);
}

/* As Linux's mc146818_set_time() */
static void test_setting_the_clock(void **state)
{
	struct board *b = *state;

	set_cmos(b, 0x0b, 0x82);
	set_cmos(b, 0x0a, 0x76);
	set_cmos(b, 0x09, 0x31);
	set_cmos(b, 0x08, 0x02);
	set_cmos(b, 0x07, 0x28);
	set_cmos(b, 0x04, 0x23);
	set_cmos(b, 0x02, 0x59);
	set_cmos(b, 0x00, 0x59);
	set_cmos(b, 0x32, 0x20);
	board_advance(b, 3 * SECOND); /* it stands still meanwhile */
	assert_int_equal(cmos(b, 0), 0x59);
	set_cmos(b, 0x0b, 0x02);
	set_cmos(b, 0x0a, 0x26);
	board_advance(b, SECOND / 2 - MICROSECOND);
	assert_int_equal(cmos(b, 0), 0x59);
	board_advance(b, 2 * MICROSECOND);
	assert_int_equal(cmos(b, 0), 0x00);
	assert_int_equal(cmos(b, 7), 0x01);
	assert_int_equal(cmos(b, 8), 0x03);
	assert_int_equal(cmos(b, 9), 0x31);
	/* a field alone, without stopping the clock */
	set_cmos(b, 0x02, 0x30);
	assert_int_equal(cmos(b, 2), 0x30);
	assert_int_equal(cmos(b, 9), 0x31);
}

static void test_nonsense_time_is_survived(void **state)
{
	struct board *b = *state;

	for (unsigned binary = 0; binary <= 4; binary += 4) {
		for (unsigned value = 0; value < 256; value += 5) {
			set_cmos(b, 0x0b, 0x80 | binary);
			for (uint8_t reg = 0; reg < 10; reg++)
				set_cmos(b, reg, value);
			set_cmos(b, 0x32, value);
			set_cmos(b, 0x0b, 0x70 | binary);
			board_advance(b, SECOND);
			cmos(b, 0x0c);
			cmos(b, 0x32);
		}
	}
}

static void test_alarm(void **state)
{
	struct board *b = *state;

	ioapic_open(b, 8, RTC_VECTOR, false);
	set_cmos(b, 5, 0x22);
	set_cmos(b, 3, 0x14);
	set_cmos(b, 1, 0x00);
	cmos(b, 0x0c);
	set_cmos(b, 0x0b, 0x22);
	board_advance(b, 35 * SECOND - MILLISECOND);
	assert_int_equal(b->interrupts, 0);
	board_advance(b, 2 * MILLISECOND);
	assert_int_equal(b->interrupts, 1);
	assert_int_equal(b->interrupt[0].vector, RTC_VECTOR);
	assert_int_equal(cmos(b, 0x0c) & 0xa0, 0xa0);
	assert_int_equal(cmos(b, 0x0c), 0);
	/* again a day later; and every minute, with wildcards */
	board_advance(b, 86400 * SECOND - 10 * MILLISECOND);
	assert_int_equal(b->interrupts, 1);
	board_advance(b, 20 * MILLISECOND);
	assert_int_equal(b->interrupts, 2);
	cmos(b, 0x0c);
	set_cmos(b, 5, 0xff);
	set_cmos(b, 3, 0xc0);
	board_advance(b, 600 * SECOND);
	assert_int_equal(b->interrupts, 12); /* unacknowledged, as the WAET promises */
	/* never: a minute that does not exist */
	set_cmos(b, 3, 0x75);
	cmos(b, 0x0c);
	board_advance(b, 2 * 86400 * SECOND);
	assert_int_equal(b->interrupts, 12);
}

static void test_update_and_periodic_interrupts(void **state)
{
	struct board *b = *state;

	ioapic_open(b, 8, RTC_VECTOR, false);
	cmos(b, 0x0c);
	set_cmos(b, 0x0b, 0x12);
	board_advance(b, 3 * SECOND + MILLISECOND);
	assert_int_equal(b->interrupts, 3);
	assert_int_equal(cmos(b, 0x0c) & 0x90, 0x90);
	/* 1024 Hz, then 2 Hz */
	set_cmos(b, 0x0b, 0x42);
	board_advance(b, SECOND);
	assert_in_range(b->interrupts, 3 + 1023, 3 + 1025);
	set_cmos(b, 0x0a, 0x2f);
	cmos(b, 0x0c);
	b->interrupts = 0;
	board_advance(b, 5 * SECOND);
	assert_int_equal(b->interrupts, 10);
	set_cmos(b, 0x0b, 0x02);
	board_advance(b, 5 * SECOND);
	assert_int_equal(b->interrupts, 10);
}

static void test_cmos_memory(void **state)
{
	struct board *b = *state;

	assert_int_equal(cmos(b, 0x15) | cmos(b, 0x16) << 8, 640);
	assert_int_equal(cmos(b, 0x17) | cmos(b, 0x18) << 8, 0xffff);
	assert_int_equal(cmos(b, 0x34) | cmos(b, 0x35) << 8, (512 - 16) * 16);
	assert_int_equal(cmos(b, 0x5b) | cmos(b, 0x5c) << 8 | cmos(b, 0x5d) << 16, 16384);
	set_cmos(b, 0x80 | 0x40, 0x77); /* with NMIs off */
	assert_int_equal(cmos(b, 0x40), 0x77);
	set_cmos(b, 0x0d, 0);
	assert_int_equal(cmos(b, 0x0d), 0x80);
	assert_int_equal(in8(b, 0x70), 0xff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, board_setup, board_teardown)
		TEST(test_calibration_by_channel_2),
		TEST(test_quick_calibration),
		TEST(test_gate_holds_channel_2),
		TEST(test_refresh_toggles),
		TEST(test_periodic_interrupt),
		TEST(test_one_shot_interrupt),
		TEST(test_late_timer_merges),
		TEST(test_count_formats),
		TEST(test_read_back),
		TEST(test_clock_tells_utc),
		TEST(test_update_in_progress),
		TEST(test_setting_the_clock),
		TEST(test_nonsense_time_is_survived),
		TEST(test_alarm),
		TEST(test_update_and_periodic_interrupts),
		TEST(test_cmos_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
