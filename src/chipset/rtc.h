/*
 * rtc.h - the MC146818 real-time clock of a PC, with its CMOS memory.
 */
#ifndef PARTITA_CHIPSET_RTC_H
#define PARTITA_CHIPSET_RTC_H

#include <pthread.h>

#include "chipset/bus.h"
#include "chipset/clock.h"

#define RTC_PORTS   2
#define RTC_CENTURY 0x32 /* the CMOS byte, as the FADT says */

struct rtc {
	struct clock clock;
	struct irq_line irq;

	pthread_mutex_t lock;
	struct chipset_timer *timer;
	int64_t offset;	   /* guest's time - host's wall clock, ns */
	uint64_t seen;	   /* events up to this time (now) are in register C */
	int64_t seen_wall; /* the guest's time then, ns */
	uint8_t index;
	uint8_t cmos[128]; /* time fields are current only while register B's SET is on */
};

struct rtc_memory {
	uint64_t low, high; /* bytes of RAM below and from 4 GiB */
};

/* rtc_init - returns 0 or -ENOMEM, then with nothing to destroy. */
int rtc_init(struct rtc *rtc, struct rtc_memory memory, struct irq_line irq, struct clock clock);
void rtc_destroy(struct rtc *rtc);

extern const struct bus_ops rtc_bus_ops; /* RTC_PORTS ports */

#endif
