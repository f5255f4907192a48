/*
 * pit.h - the 8254 interval timer of a PC, and system control port B (0x61).
 */
#ifndef PARTITA_CHIPSET_PIT_H
#define PARTITA_CHIPSET_PIT_H

#include <pthread.h>

#include "chipset/bus.h"
#include "chipset/clock.h"

#define PIT_HZ	  1193182
#define PIT_PORTS 4

struct pit_channel {
	uint32_t count;	  /* the initial count, 1 to 65536 (BCD: 10000) */
	uint64_t start;	  /* when counting began, ns */
	uint64_t counted; /* while the gate holds it still: ns counted before */
	uint16_t latch;
	uint8_t status;	  /* latched by a read-back command */
	uint8_t mode;	  /* 0 to 5 */
	uint8_t access;	  /* 1 low byte, 2 high byte, 3 both */
	uint8_t low_byte; /* of a count being written */
	bool bcd;
	bool loaded;		    /* a count was written since the control word */
	bool gate, paused;	    /* paused: counting waits for the gate */
	bool write_high, read_high; /* access 3: the next byte is the high one */
	bool count_latched, status_latched;
};

struct pit {
	struct clock clock;
	struct irq_line irq; /* channel 0's output */

	pthread_mutex_t lock;
	struct chipset_timer *timer;
	uint64_t next_rise; /* tick of channel 0's next rising edge, from its start */
	struct pit_channel channel[3];
	uint8_t control_b;
};

/* pit_init - returns 0 or -ENOMEM, then with nothing to destroy. */
int pit_init(struct pit *pit, struct irq_line irq, struct clock clock);
void pit_destroy(struct pit *pit);

extern const struct bus_ops pit_bus_ops;	   /* PIT_PORTS ports */
extern const struct bus_ops pit_control_b_bus_ops; /* 1 port: 0x61 */

#endif
