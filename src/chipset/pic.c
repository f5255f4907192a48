/*
 * pic.c - two Intel 8259A (datasheet, December 1988), cascaded through the master's input 2, with
 * the edge/level control registers of EISA and later PCs. MCS-80 mode and buffered mode, which
 * no PC uses, are accepted and have no effect.
 *
 * At power-on all inputs are masked, as a machine's firmware leaves them.
 */
#include "chipset/pic.h"

#include <string.h>

#define CASCADE_INPUT 2
#define SPURIOUS      7

/* Ports of a chip */
#define PIC_COMMAND 0 /* read: IRR or ISR */
#define PIC_DATA    1 /* IMR */

#define ICW1	  0x10 /* distinguishes it from OCW2 and OCW3 */
#define ICW1_ICW4 0x01
#define ICW1_SNGL 0x02
#define ICW2_BASE 0xf8
#define ICW4_AEOI 0x02
#define ICW4_SFNM 0x10

#define OCW2_LEVEL    0x07
#define OCW2_EOI      0x20
#define OCW2_SPECIFIC 0x40
#define OCW2_ROTATE   0x80

#define OCW3		0x08 /* distinguishes it from OCW2 */
#define OCW3_READ_ISR	0x01
#define OCW3_READ	0x02
#define OCW3_POLL	0x04
#define OCW3_SMM	0x20
#define OCW3_SMM_ENABLE 0x40

#define POLL_PENDING 0x80

/* Inputs whose trigger cannot be chosen: timer, keyboard, cascade; RTC, coprocessor. */
static const uint8_t elcr_writable[2] = {0xf8, 0xde};
/* The SCI (IRQ 9) is level-triggered from the start. */
static const uint8_t elcr_initial[2] = {0x00, 0x02};

/* The input of highest priority in @set, or -1. */
static int highest(const struct pic_chip *c, uint8_t set)
{
	for (unsigned i = 1; i <= 8; i++) {
		unsigned input = (c->lowest + i) & 7;

		if (set & 1u << input)
			return input;
	}
	return -1;
}

/* The input that the chip would present now, or -1. */
static int pending(const struct pic_chip *c)
{
	uint8_t in_service = c->isr;
	int input = highest(c, c->irr & ~c->imr), served;

	if (input < 0 || c->init_step)
		return -1;
	if (c->special_mask)
		in_service &= ~c->imr;
	/* Fully nested also within the slave: its own input does not block it. */
	if (c->special_nested && c == &c->pair->chip[0])
		in_service &= ~(1u << CASCADE_INPUT);
	served = highest(c, in_service);
	if (served >= 0 && ((input - c->lowest - 1) & 7) >= ((served - c->lowest - 1) & 7))
		return -1;
	return input;
}

static void set_input(struct pic_chip *c, unsigned input, bool level)
{
	uint8_t bit = 1u << input;

	if (!level) {
		c->lines &= ~bit;
		c->irr &= ~bit; /* an input must stay high until it is acknowledged */
		return;
	}
	if (c->elcr & bit || !(c->lines & bit))
		c->irr |= bit;
	c->lines |= bit;
}

/* Carries a change through the cascade to the output. */
static void update(struct pic *p)
{
	bool level;

	set_input(&p->chip[0], CASCADE_INPUT, pending(&p->chip[1]) >= 0);
	level = pending(&p->chip[0]) >= 0;
	if (level != p->level) {
		p->level = level;
		p->output(p->ctx, level);
	}
}

void pic_set(struct pic *p, unsigned irq, bool level)
{
	pthread_mutex_lock(&p->lock);
	set_input(&p->chip[irq >> 3], irq & 7, level);
	update(p);
	pthread_mutex_unlock(&p->lock);
}

/* The chip's interrupt goes into service. Returns its input: 7 when it went away meanwhile. */
static unsigned take(struct pic_chip *c)
{
	int input = pending(c);

	if (input < 0)
		return SPURIOUS;
	if (!(c->elcr & 1u << input))
		c->irr &= ~(1u << input);
	if (!c->auto_eoi)
		c->isr |= 1u << input;
	else if (c->rotate_auto)
		c->lowest = input;
	return input;
}

uint8_t pic_acknowledge(struct pic *p)
{
	struct pic_chip *chip = &p->chip[0];
	unsigned input;
	uint8_t vector;

	pthread_mutex_lock(&p->lock);
	input = take(chip);
	if (input == CASCADE_INPUT) {
		chip = &p->chip[1];
		input = take(chip);
	}
	vector = chip->vector + input;
	/* The next request of the slave is a new edge at the master. */
	set_input(&p->chip[0], CASCADE_INPUT, false);
	update(p);
	pthread_mutex_unlock(&p->lock);
	return vector;
}

static void write_icw1(struct pic_chip *c, uint8_t value)
{
	c->irr &= c->elcr; /* the edge detectors are cleared */
	c->isr = 0;
	c->imr = 0;
	c->lowest = 7;
	c->special_mask = c->read_isr = c->poll = false;
	c->auto_eoi = c->rotate_auto = c->special_nested = false;
	c->needs_icw4 = value & ICW1_ICW4;
	c->single = value & ICW1_SNGL;
	c->init_step = 2;
}

/* ICW2 to ICW4. ICW3, how the chips are cascaded, can only say what is soldered. */
static void write_icw(struct pic_chip *c, uint8_t value)
{
	switch (c->init_step) {
	case 2:
		c->vector = value & ICW2_BASE;
		if (!c->single) {
			c->init_step = 3;
			break;
		}
		/* fall through */
	case 3:
		c->init_step = c->needs_icw4 ? 4 : 0;
		break;
	case 4:
		c->auto_eoi = value & ICW4_AEOI;
		c->special_nested = value & ICW4_SFNM;
		c->init_step = 0;
		break;
	}
}

static void write_ocw2(struct pic_chip *c, uint8_t value)
{
	int input = value & OCW2_LEVEL;

	if (!(value & OCW2_EOI)) {
		if (value & OCW2_SPECIFIC) { /* set priority; without rotate a no-operation */
			if (value & OCW2_ROTATE)
				c->lowest = input;
		} else {
			c->rotate_auto = value & OCW2_ROTATE;
		}
		return;
	}
	if (!(value & OCW2_SPECIFIC)) {
		input = highest(c, c->special_mask ? c->isr & ~c->imr : c->isr);
		if (input < 0)
			return;
	}
	c->isr &= ~(1u << input);
	if (value & OCW2_ROTATE)
		c->lowest = input;
}

static void write_ocw3(struct pic_chip *c, uint8_t value)
{
	c->poll = value & OCW3_POLL;
	if (value & OCW3_READ)
		c->read_isr = value & OCW3_READ_ISR;
	if (value & OCW3_SMM_ENABLE)
		c->special_mask = value & OCW3_SMM;
}

/* A poll is an acknowledge by reading. */
static uint8_t poll(struct pic_chip *c)
{
	uint8_t value = 0;

	c->poll = false;
	if (pending(c) >= 0)
		value = POLL_PENDING | take(c);
	return value;
}

static uint64_t chip_read(void *device, uint64_t offset, unsigned size)
{
	struct pic_chip *c = device;
	uint8_t value;

	pthread_mutex_lock(&c->pair->lock);
	if (c->poll)
		value = poll(c);
	else if (offset == PIC_DATA)
		value = c->imr;
	else
		value = c->read_isr ? c->isr : c->irr;
	update(c->pair);
	pthread_mutex_unlock(&c->pair->lock);
	return value;
}

static void chip_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pic_chip *c = device;

	pthread_mutex_lock(&c->pair->lock);
	if (offset == PIC_DATA) {
		if (c->init_step)
			write_icw(c, value);
		else
			c->imr = value;
	} else if (value & ICW1) {
		write_icw1(c, value);
	} else if (value & OCW3) {
		write_ocw3(c, value);
	} else {
		write_ocw2(c, value);
	}
	update(c->pair);
	pthread_mutex_unlock(&c->pair->lock);
}

const struct bus_ops pic_chip_bus_ops = {
	.width = 1,
	.read = chip_read,
	.write = chip_write,
};

static uint64_t elcr_read(void *device, uint64_t offset, unsigned size)
{
	struct pic *p = device;
	uint8_t value;

	pthread_mutex_lock(&p->lock);
	value = p->chip[offset].elcr;
	pthread_mutex_unlock(&p->lock);
	return value;
}

static void elcr_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pic *p = device;

	pthread_mutex_lock(&p->lock);
	p->chip[offset].elcr = value & elcr_writable[offset];
	pthread_mutex_unlock(&p->lock);
}

const struct bus_ops pic_elcr_bus_ops = {
	.width = 1,
	.read = elcr_read,
	.write = elcr_write,
};

void pic_init(struct pic *p, void (*output)(void *ctx, bool level), void *ctx)
{
	memset(p, 0, sizeof(*p));
	pthread_mutex_init(&p->lock, NULL);
	p->output = output;
	p->ctx = ctx;
	for (unsigned i = 0; i < 2; i++) {
		p->chip[i].pair = p;
		p->chip[i].imr = 0xff;
		p->chip[i].lowest = 7;
		p->chip[i].elcr = elcr_initial[i];
	}
}

void pic_destroy(struct pic *p)
{
	pthread_mutex_destroy(&p->lock);
}
