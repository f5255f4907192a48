/*
 * chipset.c - the board: which device sits where, and what its interrupt output is soldered to.
 *
 * An ISA interrupt reaches the PIC's input and the I/O APIC's pin of the same number; the timer
 * alone goes to pin 2, which the PIC uses for its cascade. The MADT says the same.
 */
#include "chipset/chipset.h"

#include <errno.h>
#include <stdlib.h>

#include "chipset/bus.h"
#include "chipset/clock.h"
#include "chipset/ioapic.h"
#include "chipset/pic.h"
#include "chipset/pit.h"
#include "chipset/pm.h"
#include "chipset/rtc.h"
#include "chipset/uart.h"

#define PIC_MASTER_PORT 0x20
#define PIC_SLAVE_PORT	0xa0
#define PIC_ELCR_PORT	0x4d0
#define PIT_PORT	0x40
#define CONTROL_B_PORT	0x61
#define KEYBOARD_PORT	0x64 /* status and command */

struct chipset {
	struct clock clock;
	struct bus bus;
	struct ioapic ioapic;
	struct pic pic;
	struct pit pit;
	struct rtc rtc;
	struct pm pm;
	struct uart uart[CHIPSET_SERIAL_PORTS];
};

static const struct {
	uint16_t port;
	unsigned irq;
} serial[CHIPSET_SERIAL_PORTS] = {
	{CHIPSET_COM1_PORT, CHIPSET_COM1_IRQ},
	{CHIPSET_COM2_PORT, CHIPSET_COM2_IRQ},
};

static void isa_set(void *ctx, unsigned irq, bool level)
{
	struct chipset *c = ctx;

	pic_set(&c->pic, irq, level);
	ioapic_set(&c->ioapic, irq == CHIPSET_PIT_IRQ ? CHIPSET_PIT_GSI : irq, level);
}

static struct irq_line isa_line(struct chipset *c, unsigned irq)
{
	return (struct irq_line){isa_set, c, irq};
}

static int init_devices(struct chipset *c, const struct chipset_config *config)
{
	struct rtc_memory memory = {config->low_memory, config->high_memory};
	const struct chipset_ops *ops = config->ops;
	void *ctx = config->ctx;

	if (pit_init(&c->pit, isa_line(c, CHIPSET_PIT_IRQ), c->clock))
		return -ENOMEM;
	if (rtc_init(&c->rtc, memory, isa_line(c, CHIPSET_RTC_IRQ), c->clock))
		goto no_rtc;
	if (pm_init(&c->pm, isa_line(c, CHIPSET_SCI_IRQ), c->clock))
		goto no_pm;
	ioapic_init(&c->ioapic, config->ioapic_id, ops->deliver, ctx);
	pic_init(&c->pic, ops->extint, ctx);
	for (unsigned i = 0; i < CHIPSET_SERIAL_PORTS; i++)
		uart_init(&c->uart[i], i, isa_line(c, serial[i].irq), ops, ctx);
	return 0;
no_pm:
	rtc_destroy(&c->rtc);
no_rtc:
	pit_destroy(&c->pit);
	return -ENOMEM;
}

static void destroy_devices(struct chipset *c)
{
	/* Those with timers first: none interrupts after that. */
	pm_destroy(&c->pm);
	rtc_destroy(&c->rtc);
	pit_destroy(&c->pit);
	for (unsigned i = 0; i < CHIPSET_SERIAL_PORTS; i++)
		uart_destroy(&c->uart[i]);
	pic_destroy(&c->pic);
	ioapic_destroy(&c->ioapic);
}

static void place_devices(struct chipset *c)
{
	struct bus *bus = &c->bus;

	bus_add_io(bus, PIC_MASTER_PORT, PIC_PORTS, &pic_chip_bus_ops, &c->pic.chip[0]);
	bus_add_io(bus, PIC_SLAVE_PORT, PIC_PORTS, &pic_chip_bus_ops, &c->pic.chip[1]);
	bus_add_io(bus, PIC_ELCR_PORT, 2, &pic_elcr_bus_ops, &c->pic);
	bus_add_io(bus, PIT_PORT, PIT_PORTS, &pit_bus_ops, &c->pit);
	bus_add_io(bus, CONTROL_B_PORT, 1, &pit_control_b_bus_ops, &c->pit);
	bus_add_io(bus, CHIPSET_RTC_PORT, RTC_PORTS, &rtc_bus_ops, &c->rtc);
	bus_add_io(bus, CHIPSET_PM_PORT, PM_EVENT_SIZE, &pm_event_bus_ops, &c->pm);
	bus_add_io(
		bus, CHIPSET_PM_PORT + PM_TIMER_OFFSET, PM_TIMER_SIZE, &pm_timer_bus_ops, &c->pm);
	bus_add_io(bus, CHIPSET_RESET_PORT, 1, &pm_reset_bus_ops, &c->pm);
	bus_add_io(bus, KEYBOARD_PORT, 1, &pm_keyboard_bus_ops, &c->pm);
	for (unsigned i = 0; i < CHIPSET_SERIAL_PORTS; i++)
		bus_add_io(bus, serial[i].port, UART_PORTS, &uart_bus_ops, &c->uart[i]);
	bus_add_mmio(bus, CHIPSET_IOAPIC_BASE, CHIPSET_IOAPIC_SIZE, &ioapic_bus_ops, &c->ioapic);
}

int chipset_create(const struct chipset_config *config, struct chipset **chipset)
{
	struct chipset *c = calloc(1, sizeof(*c));
	int error;

	if (!c)
		return -ENOMEM;
	c->clock = (struct clock){config->ops, config->ctx};
	error = init_devices(c, config);
	if (error) {
		free(c);
		return error;
	}
	place_devices(c);
	*chipset = c;
	return 0;
}

void chipset_destroy(struct chipset *c)
{
	destroy_devices(c);
	free(c);
}

uint32_t chipset_io_read(struct chipset *c, uint16_t port, unsigned size)
{
	return bus_io_read(&c->bus, port, size);
}

void chipset_io_write(struct chipset *c, uint16_t port, unsigned size, uint32_t value)
{
	bus_io_write(&c->bus, port, size, value);
}

uint64_t chipset_mmio_read(struct chipset *c, uint64_t gpa, unsigned size)
{
	return bus_mmio_read(&c->bus, gpa, size);
}

void chipset_mmio_write(struct chipset *c, uint64_t gpa, unsigned size, uint64_t value)
{
	bus_mmio_write(&c->bus, gpa, size, value);
}

void chipset_eoi(struct chipset *c, uint8_t vector)
{
	ioapic_eoi(&c->ioapic, vector);
}

uint8_t chipset_pic_acknowledge(struct chipset *c)
{
	return pic_acknowledge(&c->pic);
}

size_t chipset_serial_input(struct chipset *c, unsigned index, const uint8_t *bytes, size_t count)
{
	return uart_input(&c->uart[index], bytes, count);
}

void chipset_power_button(struct chipset *c)
{
	pm_power_button(&c->pm);
}
