/*
 * pic.h - the pair of 8259A interrupt controllers of a PC.
 */
#ifndef PARTITA_CHIPSET_PIC_H
#define PARTITA_CHIPSET_PIC_H

#include <pthread.h>

#include "chipset/bus.h"

#define PIC_PORTS 2 /* of each chip */

struct pic_chip {
	struct pic *pair;
	uint8_t lines; /* levels of the inputs */
	uint8_t irr, isr, imr;
	uint8_t elcr;	   /* bit n: input n is level-triggered */
	uint8_t vector;	   /* of input 0 */
	uint8_t lowest;	   /* the input with the lowest priority; 7 unless rotated */
	uint8_t init_step; /* the ICW expected next: 2 to 4; 0: none */
	bool needs_icw4, single, read_isr, poll, auto_eoi, rotate_auto, special_mask;
	bool special_nested;
};

struct pic {
	void (*output)(void *ctx, bool level);
	void *ctx;

	pthread_mutex_t lock;
	struct pic_chip chip[2]; /* master, slave */
	bool level;		 /* of the output */
};

/* pic_init - @output: the master's INT pin, called with the pair's lock held. */
void pic_init(struct pic *pic, void (*output)(void *ctx, bool level), void *ctx);
void pic_destroy(struct pic *pic);
/* pic_set - input @irq, 0 to 15 without 2, changes. */
void pic_set(struct pic *pic, unsigned irq, bool level);
/* pic_acknowledge - the INTA cycle: the vector to deliver. */
uint8_t pic_acknowledge(struct pic *pic);

extern const struct bus_ops pic_chip_bus_ops; /* PIC_PORTS ports; device: a chip of the pair */
extern const struct bus_ops pic_elcr_bus_ops; /* 2 ports: 0x4d0 */

#endif
