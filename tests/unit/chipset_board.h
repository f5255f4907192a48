/*
 * chipset_board.h - a board whose owner is the test: a clock that stands still until told, timers
 * that fire in order as it moves, and a record of everything the board puts out.
 */
#ifndef PARTITA_TESTS_CHIPSET_BOARD_H
#define PARTITA_TESTS_CHIPSET_BOARD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "chipset/chipset.h"

#define SECOND	    1000000000ull
#define MILLISECOND 1000000ull
#define MICROSECOND 1000ull

#define BOARD_TIMERS 8

struct chipset_timer {
	struct board *board;
	void (*expired)(void *arg);
	void *arg;
	uint64_t deadline;
	bool used;
};

struct board {
	struct chipset *chipset;
	uint64_t now;
	int64_t wall; /* at now == 0 */
	struct chipset_timer timer[BOARD_TIMERS];
	unsigned fail_timer; /* n: the nth timer_create() fails */
	unsigned created;
	/* what came out */
	struct chipset_interrupt interrupt[64]; /* the last ones */
	unsigned interrupts;
	bool extint;
	unsigned extint_changes;
	unsigned power_offs, resets;
	char output[2][1024];
	unsigned output_length[2];
	unsigned rooms[2];
};

static uint64_t board_now(void *ctx)
{
	return ((struct board *)ctx)->now;
}

static int64_t board_wall(void *ctx)
{
	struct board *b = ctx;

	return b->wall + b->now;
}

static struct chipset_timer *board_timer_create(void *ctx, void (*expired)(void *), void *arg)
{
	struct board *b = ctx;

	if (++b->created == b->fail_timer)
		return NULL;
	for (unsigned i = 0; i < BOARD_TIMERS; i++) {
		if (b->timer[i].used)
			continue;
		b->timer[i] = (struct chipset_timer){b, expired, arg, CHIPSET_NEVER, true};
		return &b->timer[i];
	}
	return NULL;
}

static void board_timer_set(struct chipset_timer *timer, uint64_t deadline)
{
	timer->deadline = deadline;
}

static void board_timer_destroy(struct chipset_timer *timer)
{
	assert_true(timer->used);
	timer->used = false;
}

static void board_deliver(void *ctx, const struct chipset_interrupt *interrupt)
{
	struct board *b = ctx;

	b->interrupt[b->interrupts++ % 64] = *interrupt;
}

static void board_extint(void *ctx, bool level)
{
	struct board *b = ctx;

	assert_true(b->extint != level);
	b->extint = level;
	b->extint_changes++;
}

static void board_power(void *ctx, enum chipset_power event)
{
	struct board *b = ctx;

	*(event == CHIPSET_POWER_OFF ? &b->power_offs : &b->resets) += 1;
}

static void board_serial_output(void *ctx, unsigned index, uint8_t byte)
{
	struct board *b = ctx;

	assert_true(b->output_length[index] < sizeof(b->output[index]));
	b->output[index][b->output_length[index]++] = byte;
}

static void board_serial_room(void *ctx, unsigned index)
{
	((struct board *)ctx)->rooms[index]++;
}

static const struct chipset_ops board_ops = {
	.now = board_now,
	.wall_clock = board_wall,
	.timer_create = board_timer_create,
	.timer_set = board_timer_set,
	.timer_destroy = board_timer_destroy,
	.deliver = board_deliver,
	.extint = board_extint,
	.power = board_power,
	.serial_output = board_serial_output,
	.serial_room = board_serial_room,
};

static int board_create(struct board *b)
{
	struct chipset_config config = {
		.ops = &board_ops,
		.ctx = b,
		.low_memory = 512 << 20,
		.high_memory = 1ull << 30,
		.ioapic_id = 2,
	};

	return chipset_create(&config, &b->chipset);
}

/* cmocka fixtures: *state is a struct board */
static inline int board_setup(void **state)
{
	static struct board board;

	memset(&board, 0, sizeof(board));
	board.now = 5 * SECOND;
	board.wall = 1700000000ll * (int64_t)SECOND; /* 2023-11-14 22:13:20 UTC */
	*state = &board;
	return board_create(&board);
}

static inline int board_teardown(void **state)
{
	struct board *b = *state;

	chipset_destroy(b->chipset);
	for (unsigned i = 0; i < BOARD_TIMERS; i++)
		assert_false(b->timer[i].used);
	return 0;
}

/* Lets time pass, timers firing at their deadlines. */
static inline void board_advance(struct board *b, uint64_t ns)
{
	uint64_t end = b->now + ns;

	for (;;) {
		struct chipset_timer *first = NULL;

		for (unsigned i = 0; i < BOARD_TIMERS; i++) {
			struct chipset_timer *t = &b->timer[i];

			if (t->used && t->deadline <= end &&
				(!first || t->deadline < first->deadline))
				first = t;
		}
		if (!first)
			break;
		if (first->deadline > b->now)
			b->now = first->deadline;
		first->deadline = CHIPSET_NEVER;
		first->expired(first->arg);
	}
	b->now = end;
}

static inline uint8_t in8(struct board *b, uint16_t port)
{
	return chipset_io_read(b->chipset, port, 1);
}

static inline void out8(struct board *b, uint16_t port, uint8_t value)
{
	chipset_io_write(b->chipset, port, 1, value);
}

static inline uint32_t ioapic_in(struct board *b, uint8_t reg)
{
	chipset_mmio_write(b->chipset, CHIPSET_IOAPIC_BASE, 4, reg);
	return chipset_mmio_read(b->chipset, CHIPSET_IOAPIC_BASE + 0x10, 4);
}

static inline void ioapic_out(struct board *b, uint8_t reg, uint32_t value)
{
	chipset_mmio_write(b->chipset, CHIPSET_IOAPIC_BASE, 4, reg);
	chipset_mmio_write(b->chipset, CHIPSET_IOAPIC_BASE + 0x10, 4, value);
}

/* Unmasks @pin, edge-triggered unless @level, to the first processor. */
static inline void ioapic_open(struct board *b, unsigned pin, uint8_t vector, bool level)
{
	ioapic_out(b, 0x11 + 2 * pin, 0);
	ioapic_out(b, 0x10 + 2 * pin, vector | (level ? 0x8000 : 0));
}

#endif
