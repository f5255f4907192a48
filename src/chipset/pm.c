/*
 * pm.c - see pm.h. ACPI specification 6.3, 4.8.3 (fixed hardware registers): PM1a event and control
 * blocks, the 32-bit power management timer, the power button; S5. There is no SMI, so the
 * machine is in ACPI mode from the start. Reset: the reset control register of Intel chipsets
 * (port 0xcf9), and the reset line of a keyboard controller (port 0x64) that is otherwise absent.
 */
#include "chipset/pm.h"

#include <errno.h>
#include <string.h>

/* Registers of the event block */
#define PM1_STATUS  0
#define PM1_ENABLE  2
#define PM1_CONTROL 4

/* Status and enable bits */
#define PM1_TMR	   0x0001
#define PM1_GBL	   0x0020
#define PM1_PWRBTN 0x0100
#define PM1_SLPBTN 0x0200
#define PM1_RTC	   0x0400
#define PM1_EVENTS (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC)

#define PM1_SCI_EN	  0x0001
#define PM1_BM_RLD	  0x0002
#define PM1_SLP_TYP	  0x1c00
#define PM1_SLP_TYP_SHIFT 10
#define PM1_SLP_EN	  0x2000

/* The timer's carry is the change of its highest bit. */
#define TIMER_CARRY_BIT 31

#define RESET_CPU  0x04
#define RESET_KEEP 0x0e

/*
 * What the keyboard controller's status port reads: nothing is there, so all ones, except "input
 * buffer full", so that one who is about to ask for a reset need not wait.
 */
#define KEYBOARD_STATUS	   0xfd
#define KEYBOARD_PULSE	   0xf0 /* to 0xff: pulse the output lines whose bits are 0 */
#define KEYBOARD_PULSE_CPU 0x01

static uint64_t timer_ticks(struct pm *pm)
{
	return clock_ticks(clock_now(&pm->clock), PM_TIMER_HZ);
}

/* The status register, the timer's carry included. */
static uint16_t status(struct pm *pm)
{
	if (timer_ticks(pm) >> TIMER_CARRY_BIT != pm->carries)
		return pm->status | PM1_TMR;
	return pm->status;
}

static void update(struct pm *pm)
{
	uint16_t now = status(pm);
	bool level = now & pm->enable & PM1_EVENTS;
	uint64_t carry = CHIPSET_NEVER;

	if (pm->enable & PM1_TMR && !(now & PM1_TMR))
		carry = clock_ns((pm->carries + 1) << TIMER_CARRY_BIT, PM_TIMER_HZ);
	clock_timer_set(&pm->clock, pm->timer, carry);
	if (level != pm->level) {
		pm->level = level;
		irq_line_set(&pm->sci, level);
	}
}

static void timer_expired(void *arg)
{
	struct pm *pm = arg;

	pthread_mutex_lock(&pm->lock);
	update(pm);
	pthread_mutex_unlock(&pm->lock);
}

static uint64_t event_read(void *device, uint64_t offset, unsigned size)
{
	struct pm *pm = device;
	uint16_t value = 0;

	pthread_mutex_lock(&pm->lock);
	switch (offset & ~1ull) {
	case PM1_STATUS:
		value = status(pm);
		break;
	case PM1_ENABLE:
		value = pm->enable;
		break;
	case PM1_CONTROL:
		value = pm->control;
		break;
	}
	pthread_mutex_unlock(&pm->lock);
	return value >> (offset & 1) * 8;
}

/* Returns whether the machine goes to S5. */
static bool write_control(struct pm *pm, uint16_t value)
{
	pm->control = (value & (PM1_BM_RLD | PM1_SLP_TYP)) | PM1_SCI_EN;
	return value & PM1_SLP_EN && (value & PM1_SLP_TYP) >> PM1_SLP_TYP_SHIFT == PM_SLEEP_TYPE_S5;
}

static void event_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pm *pm = device;
	unsigned shift = (offset & 1) * 8;
	uint16_t mask = (size == 1 ? 0xff : 0xffff) << shift;
	uint16_t word = value << shift;
	bool off = false;

	pthread_mutex_lock(&pm->lock);
	switch (offset & ~1ull) {
	case PM1_STATUS: /* writing a one clears */
		pm->status &= ~word;
		if (word & PM1_TMR)
			pm->carries = timer_ticks(pm) >> TIMER_CARRY_BIT;
		break;
	case PM1_ENABLE:
		pm->enable = ((pm->enable & ~mask) | word) & PM1_EVENTS;
		break;
	case PM1_CONTROL:
		off = write_control(pm, (pm->control & ~mask) | word);
		break;
	}
	update(pm);
	pthread_mutex_unlock(&pm->lock);
	if (off)
		pm->clock.ops->power(pm->clock.ctx, CHIPSET_POWER_OFF);
}

const struct bus_ops pm_event_bus_ops = {
	.width = 2,
	.read = event_read,
	.write = event_write,
};

static uint64_t timer_read(void *device, uint64_t offset, unsigned size)
{
	return (uint32_t)timer_ticks(device) >> offset * 8;
}

static void timer_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	/* read-only */
}

const struct bus_ops pm_timer_bus_ops = {
	.width = 4,
	.read = timer_read,
	.write = timer_write,
};

static uint64_t reset_read(void *device, uint64_t offset, unsigned size)
{
	struct pm *pm = device;
	uint8_t value;

	pthread_mutex_lock(&pm->lock);
	value = pm->reset_control;
	pthread_mutex_unlock(&pm->lock);
	return value;
}

static void reset_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pm *pm = device;
	bool reset;

	pthread_mutex_lock(&pm->lock);
	reset = value & ~pm->reset_control & RESET_CPU;
	pm->reset_control = value & RESET_KEEP;
	pthread_mutex_unlock(&pm->lock);
	if (reset)
		pm->clock.ops->power(pm->clock.ctx, CHIPSET_RESET);
}

/* Only byte accesses: the same port lies within PCI's 32-bit configuration address at 0xcf8. */
const struct bus_ops pm_reset_bus_ops = {
	.width = 1,
	.exact = true,
	.read = reset_read,
	.write = reset_write,
};

static uint64_t keyboard_read(void *device, uint64_t offset, unsigned size)
{
	return KEYBOARD_STATUS;
}

static void keyboard_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct pm *pm = device;

	if (value >= KEYBOARD_PULSE && !(value & KEYBOARD_PULSE_CPU))
		pm->clock.ops->power(pm->clock.ctx, CHIPSET_RESET);
}

const struct bus_ops pm_keyboard_bus_ops = {
	.width = 1,
	.read = keyboard_read,
	.write = keyboard_write,
};

void pm_power_button(struct pm *pm)
{
	pthread_mutex_lock(&pm->lock);
	pm->status |= PM1_PWRBTN;
	update(pm);
	pthread_mutex_unlock(&pm->lock);
}

int pm_init(struct pm *pm, struct irq_line sci, struct clock clock)
{
	memset(pm, 0, sizeof(*pm));
	pm->clock = clock;
	pm->sci = sci;
	pm->control = PM1_SCI_EN;
	pm->carries = timer_ticks(pm) >> TIMER_CARRY_BIT;
	pm->timer = clock_timer_create(&clock, timer_expired, pm);
	if (!pm->timer)
		return -ENOMEM;
	pthread_mutex_init(&pm->lock, NULL);
	return 0;
}

void pm_destroy(struct pm *pm)
{
	clock_timer_destroy(&pm->clock, pm->timer);
	pthread_mutex_destroy(&pm->lock);
}
