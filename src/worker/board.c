/*
 * board.c - what the chipset's outputs are connected to: the loop's timers and the clocks, the
 * partition's interrupts, the console, and the end of the machine.
 */
#include "worker/machine.h"

#include <stdlib.h>
#include <time.h>

#include "base/log.h"

#define NS_PER_S 1000000000ll

/* Delivery modes of the I/O APIC that WHV_INTERRUPT_TYPE does not have. */
#define DELIVERY_SMI	2
#define DELIVERY_EXTINT 7

struct chipset_timer {
	struct loop_timer *timer;
};

static uint64_t board_now(void *ctx)
{
	return loop_now();
}

static int64_t board_wall_clock(void *ctx)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static struct chipset_timer *board_timer_create(void *ctx, void (*expired)(void *arg), void *arg)
{
	struct machine *m = ctx;
	struct chipset_timer *t = malloc(sizeof(*t));

	if (!t)
		return NULL;
	t->timer = loop_timer_create(m->loop, expired, arg);
	if (t->timer)
		return t;
	free(t);
	return NULL;
}

static void board_timer_set(struct chipset_timer *t, uint64_t deadline)
{
	if (deadline == CHIPSET_NEVER)
		loop_timer_disarm(t->timer);
	else
		loop_timer_arm(t->timer, deadline, 0);
}

/* The chipset is destroyed on the loop's thread, outside loop_run(): no callback can be running. */
static void board_timer_destroy(struct chipset_timer *t)
{
	loop_timer_destroy(t->timer);
	free(t);
}

static void board_deliver(void *ctx, const struct chipset_interrupt *interrupt)
{
	struct machine *m = ctx;
	WHV_INTERRUPT_CONTROL control = {
		.Type = interrupt->delivery_mode,
		.DestinationMode = interrupt->logical ? WHvX64InterruptDestinationModeLogical
						      : WHvX64InterruptDestinationModePhysical,
		.TriggerMode = interrupt->level ? WHvX64InterruptTriggerModeLevel
						: WHvX64InterruptTriggerModeEdge,
		.Destination = interrupt->destination,
		.Vector = interrupt->vector,
	};

	/* There is no SMM, and the PIC is wired to LINT0 alone. */
	if (interrupt->delivery_mode == DELIVERY_SMI || interrupt->delivery_mode == DELIVERY_EXTINT)
		return;
	/* What the guest got wrong (a vector below 16, nobody there) is lost, as on a board. */
	WHvRequestInterrupt(m->partition, &control, sizeof(control));
}

static void board_extint(void *ctx, bool level)
{
	struct machine *m = ctx;

	/* The first vp looks at the line between runs: see vp.c. */
	if (!atomic_exchange(&m->pic_output, level) && level)
		WHvCancelRunVirtualProcessor(m->partition, 0, 0);
}

static void board_power(void *ctx, enum chipset_power event)
{
	machine_stop(ctx, event == CHIPSET_POWER_OFF ? MACHINE_POWERED_OFF : MACHINE_RESET);
}

static void board_serial_output(void *ctx, unsigned index, uint8_t byte)
{
	struct machine *m = ctx;

	/* Nothing is plugged into COM2. */
	if (index == 0)
		console_put(m->console, byte);
}

static void board_serial_room(void *ctx, unsigned index)
{
	struct machine *m = ctx;

	if (index == 0)
		console_room(m->console);
}

const struct chipset_ops board_ops = {
	.now = board_now,
	.wall_clock = board_wall_clock,
	.timer_create = board_timer_create,
	.timer_set = board_timer_set,
	.timer_destroy = board_timer_destroy,
	.deliver = board_deliver,
	.extint = board_extint,
	.power = board_power,
	.serial_output = board_serial_output,
	.serial_room = board_serial_room,
};

static size_t board_console_input(void *ctx, const uint8_t *bytes, size_t count)
{
	struct machine *m = ctx;

	return chipset_serial_input(m->chipset, 0, bytes, count);
}

static void board_console_quit(void *ctx, int signal)
{
	struct machine *m = ctx;

	m->signal = signal;
	machine_stop(m, MACHINE_QUIT);
}

const struct console_ops board_console_ops = {
	.input = board_console_input,
	.quit = board_console_quit,
};
