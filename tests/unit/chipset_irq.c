/*
 * chipset_irq.c - the interrupt controllers: I/O APIC and the pair of 8259s, driven by the serial
 * ports' and the power button's lines, as a guest programs them.
 */
#include "chipset_board.h"

#define MASTER	  0x20
#define SLAVE	  0xa0
#define ELCR	  0x4d0
#define COM1_IRQ  4
#define COM2_IRQ  3
#define SCI	  9
#define EOI	  0x20
#define MASTER_AT 0x30
#define SLAVE_AT  0x38

/* COM @n's transmitter-empty interrupt comes up, or goes. */
static void com_interrupt(struct board *b, unsigned n, bool level)
{
	uint16_t base = n == 1 ? 0x3f8 : 0x2f8;

	out8(b, base + 4, 0x08);
	out8(b, base + 1, level ? 0x02 : 0);
}

static void button(struct board *b)
{
	chipset_io_write(b->chipset, 0x602, 2, 0x100);
	chipset_power_button(b->chipset);
}

static void button_served(struct board *b)
{
	chipset_io_write(b->chipset, 0x600, 2, 0x100);
}

static void test_ioapic_registers(void **state)
{
	struct board *b = *state;

	assert_int_equal(ioapic_in(b, 0), 0x02000000);
	assert_int_equal(ioapic_in(b, 1), 0x00170011);
	assert_int_equal(ioapic_in(b, 2), 0x02000000);
	ioapic_out(b, 0, 0xff000000);
	assert_int_equal(ioapic_in(b, 0), 0x0f000000);
	for (unsigned pin = 0; pin < 24; pin++) {
		assert_int_equal(ioapic_in(b, 0x10 + 2 * pin), 0x10000);
		ioapic_out(b, 0x10 + 2 * pin, 0xffffffff);
		ioapic_out(b, 0x11 + 2 * pin, 0xffffffff);
		/* delivery status and remote IRR are not ours to write */
		assert_int_equal(ioapic_in(b, 0x10 + 2 * pin), 0x1afff);
		assert_int_equal(ioapic_in(b, 0x11 + 2 * pin), 0xff000000);
	}
	assert_int_equal(ioapic_in(b, 0x40), 0);
	ioapic_out(b, 0x40, 1);
	assert_int_equal(chipset_mmio_read(b->chipset, CHIPSET_IOAPIC_BASE, 1), 0x40);
	assert_int_equal(chipset_mmio_read(b->chipset, CHIPSET_IOAPIC_BASE + 0x20, 4), 0);
}

static void test_edges(void **state)
{
	struct board *b = *state;

	com_interrupt(b, 1, true); /* masked: lost */
	ioapic_open(b, COM1_IRQ, 0x44, false);
	assert_int_equal(b->interrupts, 0);
	com_interrupt(b, 1, false);
	ioapic_out(b, 0x11 + 2 * COM1_IRQ, 0x03000000);
	ioapic_out(b, 0x10 + 2 * COM1_IRQ, 0x0944); /* lowest priority, logical */
	com_interrupt(b, 1, true);
	com_interrupt(b, 1, true);
	assert_int_equal(b->interrupts, 1);
	assert_int_equal(b->interrupt[0].vector, 0x44);
	assert_int_equal(b->interrupt[0].delivery_mode, 1);
	assert_int_equal(b->interrupt[0].destination, 3);
	assert_true(b->interrupt[0].logical);
	assert_false(b->interrupt[0].level);
	chipset_eoi(b->chipset, 0x44);
	assert_int_equal(b->interrupts, 1);
	com_interrupt(b, 1, false);
	com_interrupt(b, 1, true);
	assert_int_equal(b->interrupts, 2);
}

static void test_levels(void **state)
{
	struct board *b = *state;

	button(b);
	ioapic_open(b, SCI, 0x39, true); /* asserted before it was unmasked: comes now */
	assert_int_equal(b->interrupts, 1);
	assert_true(b->interrupt[0].level);
	assert_int_equal(ioapic_in(b, 0x10 + 2 * SCI), 0xc039);
	/* one at a time, until its own EOI */
	chipset_power_button(b->chipset);
	chipset_eoi(b->chipset, 0x38);
	assert_int_equal(b->interrupts, 1);
	chipset_eoi(b->chipset, 0x39);
	assert_int_equal(b->interrupts, 2);
	/* masked meanwhile: the EOI is taken, and the interrupt comes when it is unmasked */
	ioapic_out(b, 0x10 + 2 * SCI, 0x18039);
	chipset_eoi(b->chipset, 0x39);
	assert_int_equal(b->interrupts, 2);
	assert_int_equal(ioapic_in(b, 0x10 + 2 * SCI), 0x18039);
	ioapic_out(b, 0x10 + 2 * SCI, 0x8039);
	assert_int_equal(b->interrupts, 3);
	button_served(b);
	chipset_eoi(b->chipset, 0x39);
	assert_int_equal(b->interrupts, 3);
	assert_int_equal(ioapic_in(b, 0x10 + 2 * SCI), 0x8039);
}

/* How Linux ends a level-triggered interrupt itself where there is no EOI register. */
static void test_edge_and_back_clears_remote_irr(void **state)
{
	struct board *b = *state;

	button(b);
	ioapic_open(b, SCI, 0x39, true);
	button_served(b);
	assert_int_equal(ioapic_in(b, 0x10 + 2 * SCI), 0xc039);
	ioapic_out(b, 0x10 + 2 * SCI, 0x10039);
	ioapic_out(b, 0x10 + 2 * SCI, 0x8039);
	assert_int_equal(ioapic_in(b, 0x10 + 2 * SCI), 0x8039);
	assert_int_equal(b->interrupts, 1);
}

/* As Linux's init_8259A() */
static void init_pics(struct board *b, uint8_t icw4)
{
	out8(b, MASTER, 0x11);
	out8(b, MASTER + 1, MASTER_AT);
	out8(b, MASTER + 1, 0x04);
	out8(b, MASTER + 1, icw4);
	out8(b, SLAVE, 0x11);
	out8(b, SLAVE + 1, SLAVE_AT);
	out8(b, SLAVE + 1, 0x02);
	out8(b, SLAVE + 1, icw4);
}

static void test_pic_probe(void **state)
{
	struct board *b = *state;

	assert_int_equal(in8(b, MASTER + 1), 0xff); /* all masked at first */
	out8(b, SLAVE + 1, 0xff);
	out8(b, MASTER + 1, 0xfb);
	assert_int_equal(in8(b, MASTER + 1), 0xfb);
	assert_false(b->extint);
}

static void test_pic_delivers(void **state)
{
	struct board *b = *state;

	init_pics(b, 0x01);
	com_interrupt(b, 1, true);
	assert_true(b->extint);
	out8(b, MASTER, 0x0a);
	assert_int_equal(in8(b, MASTER), 1 << COM1_IRQ); /* IRR */
	assert_int_equal(chipset_pic_acknowledge(b->chipset), MASTER_AT + COM1_IRQ);
	assert_false(b->extint);
	assert_int_equal(in8(b, MASTER), 0);
	out8(b, MASTER, 0x0b);
	assert_int_equal(in8(b, MASTER), 1 << COM1_IRQ); /* ISR */
	/* COM2's has priority and interrupts it; after that COM1's new edge waits its turn */
	com_interrupt(b, 2, true);
	assert_true(b->extint);
	assert_int_equal(chipset_pic_acknowledge(b->chipset), MASTER_AT + COM2_IRQ);
	com_interrupt(b, 1, false);
	com_interrupt(b, 1, true);
	assert_false(b->extint);
	out8(b, MASTER, EOI);
	out8(b, MASTER, 0x0b);
	assert_int_equal(in8(b, MASTER), 1 << COM1_IRQ);
	assert_false(b->extint);
	out8(b, MASTER, 0x60 | COM1_IRQ); /* specific EOI */
	assert_true(b->extint);
	assert_int_equal(chipset_pic_acknowledge(b->chipset), MASTER_AT + COM1_IRQ);
}

static void test_pic_masks(void **state)
{
	struct board *b = *state;

	init_pics(b, 0x01);
	out8(b, MASTER + 1, 0x10);
	com_interrupt(b, 1, true);
	assert_false(b->extint);
	out8(b, MASTER + 1, 0); /* the 8259 remembers */
	assert_true(b->extint);
	out8(b, MASTER + 1, 0x10);
	assert_false(b->extint);
}

static void test_pic_cascade(void **state)
{
	struct board *b = *state;

	init_pics(b, 0x01);
	assert_int_equal(in8(b, ELCR + 1), 0x02); /* the SCI is level-triggered */
	button(b);
	assert_true(b->extint);
	assert_int_equal(chipset_pic_acknowledge(b->chipset), SLAVE_AT + 1);
	out8(b, SLAVE, 0x0b);
	out8(b, MASTER, 0x0b);
	assert_int_equal(in8(b, SLAVE), 0x02);
	assert_int_equal(in8(b, MASTER), 0x04);
	assert_false(b->extint);
	/* still asserted: the EOIs bring it back */
	out8(b, SLAVE, EOI);
	assert_false(b->extint);
	out8(b, MASTER, EOI);
	assert_true(b->extint);
	assert_int_equal(chipset_pic_acknowledge(b->chipset), SLAVE_AT + 1);
	button_served(b);
	out8(b, SLAVE, EOI);
	out8(b, MASTER, EOI);
	assert_false(b->extint);
}

static void test_pic_spurious(void **state)
{
	struct board *b = *state;

	init_pics(b, 0x01);
	com_interrupt(b, 1, true);
	com_interrupt(b, 1, false); /* gone before it was taken */
	assert_false(b->extint);
	assert_int_equal(chipset_pic_acknowledge(b->chipset), MASTER_AT + 7);
	out8(b, MASTER, 0x0b);
	assert_int_equal(in8(b, MASTER), 0);
}

static void test_pic_auto_eoi_and_poll(void **state)
{
	struct board *b = *state;

	init_pics(b, 0x03);
	com_interrupt(b, 1, true);
	assert_int_equal(chipset_pic_acknowledge(b->chipset), MASTER_AT + COM1_IRQ);
	out8(b, MASTER, 0x0b);
	assert_int_equal(in8(b, MASTER), 0);
	com_interrupt(b, 2, true);
	out8(b, MASTER, 0x0c);
	assert_int_equal(in8(b, MASTER), 0x80 | COM2_IRQ);
	assert_false(b->extint);
	out8(b, MASTER, 0x0c);
	assert_int_equal(in8(b, MASTER), 0);
}

static void test_pic_rotation(void **state)
{
	struct board *b = *state;

	init_pics(b, 0x01);
	out8(b, MASTER, 0xc0 | COM2_IRQ); /* IRQ 3 lowest, so 4 highest */
	com_interrupt(b, 2, true);
	com_interrupt(b, 1, true);
	assert_int_equal(chipset_pic_acknowledge(b->chipset), MASTER_AT + COM1_IRQ);
	assert_false(b->extint);
	out8(b, MASTER, 0xa0); /* EOI, and it becomes the lowest */
	assert_int_equal(chipset_pic_acknowledge(b->chipset), MASTER_AT + COM2_IRQ);
}

static void test_elcr(void **state)
{
	struct board *b = *state;

	out8(b, ELCR, 0xff);
	out8(b, ELCR + 1, 0xff);
	assert_int_equal(in8(b, ELCR), 0xf8);
	assert_int_equal(in8(b, ELCR + 1), 0xde);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, board_setup, board_teardown)
		TEST(test_ioapic_registers),
		TEST(test_edges),
		TEST(test_levels),
		TEST(test_edge_and_back_clears_remote_irr),
		TEST(test_pic_probe),
		TEST(test_pic_delivers),
		TEST(test_pic_masks),
		TEST(test_pic_cascade),
		TEST(test_pic_spurious),
		TEST(test_pic_auto_eoi_and_poll),
		TEST(test_pic_rotation),
		TEST(test_elcr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
