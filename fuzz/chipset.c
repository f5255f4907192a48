/*
 * chipset.c - a guest that does anything at all to the board: ports, device memory, ends of
 * interrupts, input, time. Each operation is eight bytes of the input.
 */
#include <stdlib.h>
#include <string.h>

#include "chipset/chipset.h"

#define MAX_TIMERS 32

struct chipset_timer {
	void (*expired)(void *arg);
	void *arg;
	uint64_t deadline;
};

static struct {
	uint64_t now;
	struct chipset_timer timers[MAX_TIMERS];
	unsigned count;
} world;

static uint64_t now(void *ctx)
{
	return world.now;
}

static int64_t wall_clock(void *ctx)
{
	return 1700000000000000000ll + (int64_t)world.now;
}

static struct chipset_timer *timer_create_(void *ctx, void (*expired)(void *arg), void *arg)
{
	struct chipset_timer *t;

	if (world.count == MAX_TIMERS)
		return NULL;
	t = &world.timers[world.count++];
	*t = (struct chipset_timer){.expired = expired, .arg = arg, .deadline = CHIPSET_NEVER};
	return t;
}

static void timer_set(struct chipset_timer *t, uint64_t deadline)
{
	t->deadline = deadline;
}

static void timer_destroy(struct chipset_timer *t)
{
	t->deadline = CHIPSET_NEVER;
}

static void deliver(void *ctx, const struct chipset_interrupt *interrupt)
{
}

static void extint(void *ctx, bool level)
{
}

static void power(void *ctx, enum chipset_power event)
{
}

static void serial_output(void *ctx, unsigned index, uint8_t byte)
{
	if (index >= CHIPSET_SERIAL_PORTS)
		abort();
}

static void serial_room(void *ctx, unsigned index)
{
	if (index >= CHIPSET_SERIAL_PORTS)
		abort();
}

static const struct chipset_ops ops = {
	.now = now,
	.wall_clock = wall_clock,
	.timer_create = timer_create_,
	.timer_set = timer_set,
	.timer_destroy = timer_destroy,
	.deliver = deliver,
	.extint = extint,
	.power = power,
	.serial_output = serial_output,
	.serial_room = serial_room,
};

/* A year in all: a guest may set its clock to within seven of what 64 bits hold. */
#define TIME_MAX 31556926000000000ull

static void pass_time(uint64_t ns)
{
	world.now += ns;
	if (world.now > TIME_MAX)
		world.now = TIME_MAX;
	for (unsigned i = 0; i < world.count; i++) {
		struct chipset_timer *t = &world.timers[i];

		if (t->deadline > world.now)
			continue;
		t->deadline = CHIPSET_NEVER;
		t->expired(t->arg);
	}
}

/* Where devices are, mostly. */
static uint16_t port_of(uint8_t where, uint16_t port)
{
	static const uint16_t bases[] = {CHIPSET_COM1_PORT, CHIPSET_COM2_PORT, CHIPSET_RTC_PORT,
		CHIPSET_PM_PORT, CHIPSET_RESET_PORT, 0x20, 0xa0, 0x40, 0x60, 0x4d0, 0x80};
	unsigned n = where % (sizeof(bases) / sizeof(bases[0]) + 1);

	return n < sizeof(bases) / sizeof(bases[0]) ? bases[n] + port % 16 : port;
}

static void operate(struct chipset *chipset, const uint8_t op[8])
{
	unsigned size = 1u << (op[1] & 3);
	uint16_t port = port_of(op[2], op[3]);
	uint32_t value;

	memcpy(&value, op + 4, sizeof(value));
	if (size == 8 && op[0] % 8 < 2)
		size = 1;
	switch (op[0] % 8) {
	case 0:
		chipset_io_read(chipset, port, size);
		break;
	case 1:
		chipset_io_write(chipset, port, size, value);
		break;
	case 2:
		chipset_mmio_read(chipset, CHIPSET_IOAPIC_BASE + op[3] % 64, size);
		break;
	case 3:
		chipset_mmio_write(chipset, CHIPSET_IOAPIC_BASE + op[3] % 64, size, value);
		break;
	case 4:
		chipset_eoi(chipset, op[3]);
		break;
	case 5:
		chipset_serial_input(chipset, op[2] % CHIPSET_SERIAL_PORTS, op, op[3] % 9);
		break;
	case 6:
		chipset_pic_acknowledge(chipset);
		if (op[1] & 0x80)
			chipset_power_button(chipset);
		break;
	default:
		pass_time((uint64_t)value << op[1] % 32);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct chipset_config config = {.ops = &ops, .low_memory = 64u << 20, .ioapic_id = 1};
	struct chipset *chipset;

	memset(&world, 0, sizeof(world));
	if (chipset_create(&config, &chipset) < 0)
		return 0;
	for (; size >= 8; data += 8, size -= 8)
		operate(chipset, data);
	chipset_destroy(chipset);
	return 0;
}
