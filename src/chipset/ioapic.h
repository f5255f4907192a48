/*
 * ioapic.h - an I/O APIC with 24 inputs.
 */
#ifndef PARTITA_CHIPSET_IOAPIC_H
#define PARTITA_CHIPSET_IOAPIC_H

#include <pthread.h>

#include "chipset/bus.h"
#include "chipset/chipset.h"

#define IOAPIC_PINS 24

struct ioapic {
	void (*deliver)(void *ctx, const struct chipset_interrupt *interrupt);
	void *ctx;

	pthread_mutex_t lock;
	uint8_t id, select;
	uint64_t entry[IOAPIC_PINS]; /* the redirection table */
	uint32_t lines;		     /* bit n: input n is asserted */
};

void ioapic_init(struct ioapic *ioapic, uint8_t id,
	void (*deliver)(void *ctx, const struct chipset_interrupt *interrupt), void *ctx);
void ioapic_destroy(struct ioapic *ioapic);
/* ioapic_set - input @pin changes. */
void ioapic_set(struct ioapic *ioapic, unsigned pin, bool level);
/* ioapic_eoi - a local APIC broadcasts the end of level-triggered interrupt @vector. */
void ioapic_eoi(struct ioapic *ioapic, uint8_t vector);

/* Its registers: CHIPSET_IOAPIC_SIZE bytes. */
extern const struct bus_ops ioapic_bus_ops;

#endif
