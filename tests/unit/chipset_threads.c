/*
 * chipset_threads.c - one board, several processors: no byte is lost, no interrupt either, and no
 * lock is taken twice or in two orders. Worth running under the thread sanitizer.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "chipset/chipset.h"

#define THREADS	   4
#define ROUNDS	   5000
#define COM1	   0x3f8
#define SCI_VECTOR 0x39

struct chipset_timer {
	void (*expired)(void *arg);
	void *arg;
	_Atomic uint64_t deadline;
};

static struct {
	struct chipset *chipset;
	_Atomic uint64_t now;
	struct chipset_timer timer[8];
	unsigned timers;
	atomic_uint output[256]; /* how often each byte came */
	atomic_uint rooms, interrupts, power;
} world;

static uint64_t now(void *ctx)
{
	return atomic_fetch_add(&world.now, 100) + 100;
}

static int64_t wall_clock(void *ctx)
{
	return 1700000000000000000ll + (int64_t)now(ctx);
}

static struct chipset_timer *create_timer(void *ctx, void (*expired)(void *arg), void *arg)
{
	struct chipset_timer *t = &world.timer[world.timers++];

	t->expired = expired;
	t->arg = arg;
	atomic_store(&t->deadline, CHIPSET_NEVER);
	return t;
}

static void set_timer(struct chipset_timer *t, uint64_t deadline)
{
	atomic_store(&t->deadline, deadline);
}

static void destroy_timer(struct chipset_timer *t)
{
	atomic_store(&t->deadline, CHIPSET_NEVER);
}

static void deliver(void *ctx, const struct chipset_interrupt *interrupt)
{
	atomic_fetch_add(&world.interrupts, 1);
}

static void extint(void *ctx, bool level)
{
}

static void power(void *ctx, enum chipset_power event)
{
	atomic_fetch_add(&world.power, 1);
}

static void output(void *ctx, unsigned index, uint8_t byte)
{
	atomic_fetch_add(&world.output[byte], 1);
}

static void room(void *ctx, unsigned index)
{
	atomic_fetch_add(&world.rooms, 1);
}

static const struct chipset_ops ops = {
	.now = now,
	.wall_clock = wall_clock,
	.timer_create = create_timer,
	.timer_set = set_timer,
	.timer_destroy = destroy_timer,
	.deliver = deliver,
	.extint = extint,
	.power = power,
	.serial_output = output,
	.serial_room = room,
};

static void out8(uint16_t port, uint8_t value)
{
	chipset_io_write(world.chipset, port, 1, value);
}

static uint8_t in8(uint16_t port)
{
	return chipset_io_read(world.chipset, port, 1);
}

/* A processor: prints, and touches every device. */
static void *processor(void *arg)
{
	uint8_t name = (uintptr_t)arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		out8(COM1, name);
		out8(0x70, i % 128 == 0x0b ? 0x0c : i % 128);
		in8(0x71);
		in8(0x40);
		in8(0x61);
		chipset_io_read(world.chipset, 0x608, 4);
		chipset_io_write(world.chipset, 0x600, 2, 0x100);
		out8(0x20, 0x20);
		in8(0x21);
		chipset_eoi(world.chipset, SCI_VECTOR);
		chipset_mmio_read(world.chipset, CHIPSET_IOAPIC_BASE + 0x10, 4);
		chipset_pic_acknowledge(world.chipset);
	}
	return NULL;
}

/* The owner's thread: timers, input, the power button. */
static void *owner(void *arg)
{
	unsigned accepted = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		for (unsigned t = 0; t < world.timers; t++) {
			struct chipset_timer *timer = &world.timer[t];
			uint64_t deadline = atomic_load(&timer->deadline);

			if (deadline <= now(NULL) &&
				atomic_compare_exchange_strong(
					&timer->deadline, &deadline, CHIPSET_NEVER))
				timer->expired(timer->arg);
		}
		accepted += chipset_serial_input(world.chipset, 0, (const uint8_t *)"in", 2);
		chipset_power_button(world.chipset);
	}
	*(unsigned *)arg = accepted;
	return NULL;
}

static void set_up_guest(void)
{
	/* serial FIFO and interrupts, PIT at 1 kHz, all RTC events, SCI */
	out8(COM1 + 2, 1);
	out8(COM1 + 4, 0x0b);
	out8(COM1 + 1, 0x0f);
	out8(0x43, 0x34);
	out8(0x40, 0xa9);
	out8(0x40, 0x04);
	out8(0x70, 0x0b);
	out8(0x71, 0x72);
	chipset_io_write(world.chipset, 0x602, 2, 0x100);
	for (unsigned pin = 0; pin < 24; pin++) {
		chipset_mmio_write(world.chipset, CHIPSET_IOAPIC_BASE, 4, 0x10 + 2 * pin);
		chipset_mmio_write(world.chipset, CHIPSET_IOAPIC_BASE + 0x10, 4,
			pin == 9 ? 0x8000 | SCI_VECTOR : 0x40 + pin);
	}
}

static void test_processors_share_the_board(void **state)
{
	struct chipset_config config = {
		.ops = &ops, .low_memory = 64u << 20, .high_memory = 0, .ioapic_id = 1};
	pthread_t thread[THREADS + 1];
	unsigned accepted = 0, taken = 0;

	assert_int_equal(chipset_create(&config, &world.chipset), 0);
	set_up_guest();
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, processor, (void *)('a' + i)), 0);
	assert_int_equal(pthread_create(&thread[THREADS], NULL, owner, &accepted), 0);
	for (unsigned i = 0; i <= THREADS; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(atomic_load(&world.output['a' + i]), ROUNDS);
	while (in8(COM1 + 5) & 1) {
		in8(COM1);
		taken++;
	}
	assert_int_equal(taken, accepted);
	assert_int_equal(atomic_load(&world.rooms), 1);
	assert_true(atomic_load(&world.interrupts) > 0);
	assert_int_equal(atomic_load(&world.power), 0);
	chipset_destroy(world.chipset);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_processors_share_the_board),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
