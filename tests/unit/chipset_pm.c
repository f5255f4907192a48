/*
 * chipset_pm.c - power management: timer, button, S5, the ways to reset; and the bus beneath.
 */
#include "chipset_board.h"

#define PM1_STATUS  0x600
#define PM1_ENABLE  0x602
#define PM1_CONTROL 0x604
#define PM_TIMER    0x608

#define VECTOR 0x39

static uint16_t in16(struct board *b, uint16_t port)
{
	return chipset_io_read(b->chipset, port, 2);
}

static void out16(struct board *b, uint16_t port, uint16_t value)
{
	chipset_io_write(b->chipset, port, 2, value);
}

static void test_timer_counts_at_its_rate(void **state)
{
	struct board *b = *state;
	uint32_t first = chipset_io_read(b->chipset, PM_TIMER, 4);

	board_advance(b, SECOND);
	assert_int_equal(chipset_io_read(b->chipset, PM_TIMER, 4) - first, 3579545);
	assert_int_equal(in8(b, PM_TIMER + 3), chipset_io_read(b->chipset, PM_TIMER, 4) >> 24);
	chipset_io_write(b->chipset, PM_TIMER, 4, 0);
	assert_int_equal(chipset_io_read(b->chipset, PM_TIMER, 4) - first, 3579545);
}

static void test_timer_carry_interrupts(void **state)
{
	struct board *b = *state;
	uint64_t carry = (1ull << 31) * SECOND / 3579545; /* about ten minutes */

	ioapic_open(b, 9, VECTOR, true);
	out16(b, PM1_ENABLE, 1);
	board_advance(b, carry - b->now - MILLISECOND);
	assert_int_equal(b->interrupts, 0);
	assert_int_equal(in16(b, PM1_STATUS), 0);
	board_advance(b, 2 * MILLISECOND);
	assert_int_equal(b->interrupts, 1);
	assert_int_equal(in16(b, PM1_STATUS), 1);
	out16(b, PM1_STATUS, 1);
	assert_int_equal(in16(b, PM1_STATUS), 0);
	chipset_eoi(b->chipset, VECTOR);
	assert_int_equal(b->interrupts, 1);
	board_advance(b, carry);
	assert_int_equal(b->interrupts, 2);
}

static void test_power_button(void **state)
{
	struct board *b = *state;

	ioapic_open(b, 9, VECTOR, true);
	chipset_power_button(b->chipset);
	assert_int_equal(b->interrupts, 0);
	assert_int_equal(in16(b, PM1_STATUS), 0x100);
	out8(b, PM1_ENABLE + 1, 0x01);
	assert_int_equal(in16(b, PM1_ENABLE), 0x100);
	assert_int_equal(b->interrupts, 1);
	assert_true(b->interrupt[0].level);
	/* not served: the EOI brings it again */
	chipset_eoi(b->chipset, VECTOR);
	assert_int_equal(b->interrupts, 2);
	out8(b, PM1_STATUS + 1, 0x01);
	chipset_eoi(b->chipset, VECTOR);
	assert_int_equal(b->interrupts, 2);
	assert_int_equal(in16(b, PM1_STATUS), 0);
}

static void test_s5(void **state)
{
	struct board *b = *state;

	assert_int_equal(in16(b, PM1_CONTROL), 1); /* already in ACPI mode */
	out16(b, PM1_CONTROL, 0x0001);
	out16(b, PM1_CONTROL, 0x2401); /* another sleep state: not ours */
	assert_int_equal(b->power_offs, 0);
	out16(b, PM1_CONTROL, 0x2001);
	assert_int_equal(b->power_offs, 1);
	assert_int_equal(b->resets, 0);
	assert_int_equal(in16(b, PM1_CONTROL), 1); /* SLP_EN reads as 0 */
}

static void test_resets(void **state)
{
	struct board *b = *state;

	out8(b, 0xcf9, 0x02);
	assert_int_equal(b->resets, 0);
	out8(b, 0xcf9, 0x06);
	assert_int_equal(b->resets, 1);
	out8(b, 0xcf9, 0x06); /* no new edge */
	assert_int_equal(b->resets, 1);
	assert_int_equal(in8(b, 0xcf9), 0x06);
	out8(b, 0x64, 0xfe);
	assert_int_equal(b->resets, 2);
	out8(b, 0x64, 0xff); /* pulses nothing */
	out8(b, 0x64, 0xaa);
	assert_int_equal(b->resets, 2);
	/* a driver that waits for room finds it, one that flushes sees no controller */
	assert_int_equal(in8(b, 0x64) & 0x03, 0x01);
}

static void test_pci_probe_resets_nothing(void **state)
{
	struct board *b = *state;

	chipset_io_write(b->chipset, 0xcf8, 4, 0x80000600);
	chipset_io_write(b->chipset, 0xcf9, 2, 0x0606);
	assert_int_equal(chipset_io_read(b->chipset, 0xcf8, 4), 0xffffffff);
	assert_int_equal(b->resets, 0);
}

static void test_nothing_there(void **state)
{
	struct board *b = *state;

	assert_int_equal(in8(b, 0x80), 0xff);
	assert_int_equal(chipset_io_read(b->chipset, 0xffff, 4), 0xffffffff);
	chipset_io_write(b->chipset, 0xfffe, 4, 0);
	assert_true(chipset_mmio_read(b->chipset, 0xf8000000, 8) == UINT64_MAX);
	assert_int_equal(chipset_mmio_read(b->chipset, 0xf8000000, 2), 0xffff);
	chipset_mmio_write(b->chipset, UINT64_MAX - 3, 8, 1);
	assert_true(chipset_mmio_read(b->chipset, UINT64_MAX - 3, 8) == UINT64_MAX);
	/* the edges of a device: COM1's LSR to SCR and the byte after them */
	assert_int_equal(chipset_io_read(b->chipset, 0x3fd, 4), 0xff00b060);
}

static void test_no_memory_is_reported(void **state)
{
	static struct board b;

	for (unsigned n = 1; n <= 3; n++) {
		memset(&b, 0, sizeof(b));
		b.fail_timer = n;
		assert_int_not_equal(board_create(&b), 0);
		for (unsigned i = 0; i < BOARD_TIMERS; i++)
			assert_false(b.timer[i].used);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, board_setup, board_teardown)
		TEST(test_timer_counts_at_its_rate),
		TEST(test_timer_carry_interrupts),
		TEST(test_power_button),
		TEST(test_s5),
		TEST(test_resets),
		TEST(test_pci_probe_resets_nothing),
		TEST(test_nothing_there),
		cmocka_unit_test(test_no_memory_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
