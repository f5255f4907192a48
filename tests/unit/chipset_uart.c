/*
 * chipset_uart.c - the serial ports as a guest's driver sees them, in the order in which Linux's
 * 8250 driver probes, starts and uses one.
 */
#include "chipset_board.h"

#define COM1 0x3f8
#define RBR  (COM1 + 0)
#define IER  (COM1 + 1)
#define IIR  (COM1 + 2)
#define FCR  (COM1 + 2)
#define LCR  (COM1 + 3)
#define MCR  (COM1 + 4)
#define LSR  (COM1 + 5)
#define MSR  (COM1 + 6)
#define SCR  (COM1 + 7)

#define VECTOR 0x34

static void open_irq(struct board *b)
{
	ioapic_open(b, 4, VECTOR, false);
	out8(b, MCR, 0x0b); /* DTR, RTS, OUT2 */
}

static void test_probe_finds_a_16550a(void **state)
{
	struct board *b = *state;

	out8(b, IER, 0);
	assert_int_equal(in8(b, IER) & 0x0f, 0);
	out8(b, IER, 0x0f);
	assert_int_equal(in8(b, IER), 0x0f);
	out8(b, IER, 0);
	/* loopback: RTS and OUT2 come back as CTS and DCD */
	out8(b, MCR, 0x1a);
	assert_int_equal(in8(b, MSR) & 0xf0, 0x90);
	out8(b, MCR, 0);
	out8(b, LCR, 0xbf);
	out8(b, FCR, 0);
	out8(b, LCR, 0);
	out8(b, FCR, 1);
	assert_int_equal(in8(b, IIR) >> 6, 3);
	/* no enhanced feature register, no 64-byte FIFO */
	out8(b, LCR, 0x80);
	assert_int_not_equal(in8(b, FCR), 0);
	out8(b, FCR, 0x21);
	assert_int_equal(in8(b, IIR) >> 5, 6);
	out8(b, LCR, 0);
	out8(b, SCR, 0xa5);
	assert_int_equal(in8(b, SCR), 0xa5);
	out8(b, SCR, 0x5a);
	assert_int_equal(in8(b, SCR), 0x5a);
	assert_int_equal(b->output_length[0], 0);
}

static void test_divisor_is_kept_apart(void **state)
{
	struct board *b = *state;

	out8(b, LCR, 0x83);
	chipset_io_write(b->chipset, RBR, 2, 0x1234);
	assert_int_equal(chipset_io_read(b->chipset, RBR, 2), 0x1234);
	out8(b, LCR, 0x03);
	assert_int_equal(in8(b, IER), 0);
	assert_int_equal(b->output_length[0], 0);
	assert_int_equal(in8(b, LCR), 0x03);
}

static void test_output_is_immediate_and_ordered(void **state)
{
	struct board *b = *state;

	for (const char *s = "hello, world"; *s; s++) {
		assert_int_equal(in8(b, LSR) & 0x60, 0x60);
		out8(b, RBR, *s);
	}
	out8(b, 0x2f8, 'x');
	assert_int_equal(b->output_length[0], 12);
	assert_memory_equal(b->output[0], "hello, world", 12);
	assert_int_equal(b->output_length[1], 1);
	assert_int_equal(b->output[1][0], 'x');
}

static void test_transmitter_interrupt(void **state)
{
	struct board *b = *state;

	open_irq(b);
	out8(b, FCR, 1);
	assert_int_equal(in8(b, IIR), 0xc1);
	/* enabling it raises it, reading takes it, enabling anew raises it again */
	for (unsigned i = 1; i <= 2; i++) {
		out8(b, IER, 0x02);
		assert_int_equal(b->interrupts, i);
		assert_int_equal(b->interrupt[i - 1].vector, VECTOR);
		assert_int_equal(in8(b, IIR), 0xc2);
		assert_int_equal(in8(b, IIR), 0xc1);
		out8(b, IER, 0);
	}
	/* so does a byte sent after it was taken */
	out8(b, IER, 0x02);
	in8(b, IIR);
	out8(b, RBR, 'a');
	assert_int_equal(b->interrupts, 4);
	/* further bytes are no further edges */
	out8(b, RBR, 'b');
	assert_int_equal(b->interrupts, 4);
	assert_int_equal(in8(b, IIR), 0xc2);
}

static void test_out2_connects_the_interrupt(void **state)
{
	struct board *b = *state;

	ioapic_open(b, 4, VECTOR, false);
	out8(b, MCR, 0x03);
	out8(b, IER, 0x02);
	assert_int_equal(b->interrupts, 0);
	out8(b, MCR, 0x0b);
	assert_int_equal(b->interrupts, 1);
}

static void test_receive_levels_and_flow(void **state)
{
	struct board *b = *state;
	uint8_t bytes[40];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = i;
	open_irq(b);
	out8(b, FCR, 0x81); /* interrupt at 8 */
	out8(b, IER, 0x05);
	assert_int_equal(chipset_serial_input(b->chipset, 0, bytes, 3), 3);
	assert_int_equal(b->interrupts, 1);
	assert_int_equal(in8(b, IIR), 0xcc); /* time-out: below the trigger level */
	assert_int_equal(chipset_serial_input(b->chipset, 0, bytes + 3, 37), 13);
	assert_int_equal(in8(b, IIR), 0xc4);
	assert_int_equal(in8(b, LSR), 0x61);
	assert_int_equal(chipset_serial_input(b->chipset, 0, bytes + 16, 1), 0);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(b->rooms[0], 0);
		assert_int_equal(in8(b, RBR), i);
	}
	assert_int_equal(b->rooms[0], 1);
	assert_int_equal(in8(b, LSR), 0x60);
	assert_int_equal(in8(b, IIR), 0xc1);
	assert_int_equal(chipset_serial_input(b->chipset, 0, bytes + 16, 16), 16);
	assert_int_equal(b->interrupts, 2);
	/* taken whole: nobody waits */
	for (unsigned i = 16; i < 32; i++)
		assert_int_equal(in8(b, RBR), i);
	assert_int_equal(b->rooms[0], 1);
	assert_int_equal(in8(b, RBR), 0);
}

static void test_without_fifo_one_byte(void **state)
{
	struct board *b = *state;

	assert_int_equal(chipset_serial_input(b->chipset, 0, (const uint8_t *)"ab", 2), 1);
	assert_int_equal(in8(b, RBR), 'a');
	assert_int_equal(b->rooms[0], 1);
	assert_int_equal(chipset_serial_input(b->chipset, 0, (const uint8_t *)"b", 1), 1);
	/* turning the FIFO on empties the receiver */
	out8(b, FCR, 1);
	assert_int_equal(in8(b, LSR), 0x60);
}

static void test_loopback(void **state)
{
	struct board *b = *state;
	unsigned n;

	out8(b, FCR, 7);
	out8(b, MCR, 0x10);
	assert_int_equal(chipset_serial_input(b->chipset, 0, (const uint8_t *)"z", 1), 0);
	for (unsigned i = 0; i < 256; i++)
		out8(b, RBR, i);
	assert_int_equal(b->output_length[0], 0);
	assert_int_equal(in8(b, LSR), 0x63); /* data and overrun */
	for (n = 0; in8(b, LSR) & 1; n++)
		assert_int_equal(in8(b, RBR), n);
	assert_int_equal(n, 16);
	assert_int_equal(b->rooms[0], 0);
	out8(b, MCR, 0);
	assert_int_equal(b->rooms[0], 1);
}

static void test_modem_status(void **state)
{
	struct board *b = *state;

	assert_int_equal(in8(b, MSR), 0xb0);
	open_irq(b);
	out8(b, IER, 0x08);
	assert_int_equal(b->interrupts, 0);
	out8(b, MCR, 0x1f); /* all outputs come back: RI rose, nothing else changed */
	assert_int_equal(in8(b, MSR), 0xf0);
	out8(b, MCR, 0x0b); /* RI fell: its trailing edge */
	assert_int_equal(b->interrupts, 1);
	assert_int_equal(in8(b, IIR), 0x00);
	assert_int_equal(in8(b, MSR), 0xb4);
	assert_int_equal(in8(b, IIR), 0x01);
}

static void test_overrun_has_priority(void **state)
{
	struct board *b = *state;

	out8(b, FCR, 1);
	out8(b, IER, 0x0f);
	out8(b, MCR, 0x10);
	for (unsigned i = 0; i < 17; i++)
		out8(b, RBR, i);
	assert_int_equal(in8(b, IIR), 0xc6);
	in8(b, LSR);
	assert_int_equal(in8(b, IIR), 0xc4);
	out8(b, FCR, 3);
	assert_int_equal(in8(b, IIR), 0xc2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, board_setup, board_teardown)
		TEST(test_probe_finds_a_16550a),
		TEST(test_divisor_is_kept_apart),
		TEST(test_output_is_immediate_and_ordered),
		TEST(test_transmitter_interrupt),
		TEST(test_out2_connects_the_interrupt),
		TEST(test_receive_levels_and_flow),
		TEST(test_without_fifo_one_byte),
		TEST(test_loopback),
		TEST(test_modem_status),
		TEST(test_overrun_has_priority),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
