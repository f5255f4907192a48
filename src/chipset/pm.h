/*
 * pm.h - power management: the ACPI fixed hardware, and the ways to reset the machine.
 */
#ifndef PARTITA_CHIPSET_PM_H
#define PARTITA_CHIPSET_PM_H

#include <pthread.h>

#include "chipset/bus.h"
#include "chipset/clock.h"

#define PM_EVENT_SIZE	 6 /* PM1 status, enable, control: 16 bits each */
#define PM_TIMER_OFFSET	 8
#define PM_TIMER_SIZE	 4
#define PM_TIMER_HZ	 3579545
#define PM_SLEEP_TYPE_S5 0 /* as the \_S5 object says */

struct pm {
	struct clock clock;
	struct irq_line sci;

	pthread_mutex_t lock;
	struct chipset_timer *timer;
	uint16_t status, enable, control;
	uint64_t carries; /* timer carries that were acknowledged */
	uint8_t reset_control;
	bool level; /* of the SCI */
};

/* pm_init - returns 0 or -ENOMEM, then with nothing to destroy. */
int pm_init(struct pm *pm, struct irq_line sci, struct clock clock);
void pm_destroy(struct pm *pm);
/* pm_power_button - somebody pressed it. */
void pm_power_button(struct pm *pm);

extern const struct bus_ops pm_event_bus_ops;	 /* PM_EVENT_SIZE ports */
extern const struct bus_ops pm_timer_bus_ops;	 /* PM_TIMER_SIZE ports */
extern const struct bus_ops pm_reset_bus_ops;	 /* 1 port: 0xcf9 */
extern const struct bus_ops pm_keyboard_bus_ops; /* 1 port: 0x64 */

#endif
