/*
 * timesync.h - the time synchronisation service: tells the guest the host's time.
 *
 * When the guest's driver starts it is told to set its clock. After that it gets a sample every few
 * seconds, for a program of its own (chrony with Linux's PTP clock) to use, and is told to set its
 * clock again when the host's clock and the guest's reference time have moved apart: the host
 * slept, its clock was set, or the two run at slightly different rates. So it is, too, when the
 * machine did not run for a while (its process was stopped): a guest may lose count of the time
 * then.
 */
#ifndef PARTITA_VSP_TIMESYNC_H
#define PARTITA_VSP_TIMESYNC_H

#include "vsp/ic.h"

#define TIMESYNC_PERIOD_NS 5000000000ull
#define TIMESYNC_DRIFT_NS  1000000 /* that the guest's clock may gain or lose before it is set */
/* The period is late by so much: the machine did not run. */
#define TIMESYNC_STOPPED_NS 2000000000ull

struct timesync;

struct timesync_config {
	/* The partition's reference time now, in units of 100 ns. Any thread. */
	uint64_t (*reference_time)(void *ctx);
	void *ctx;
};

struct timesync_request {
	struct ic_request ic; /* the caller sets done and deadline */
	struct timesync *timesync;
	bool sync;
	union {
		struct ic_timesync plain;
		struct ic_timesync_reference reference;
	} message;
};

/* timesync_create - returns 0, or what ic_create() returned. */
int timesync_create(struct vmbus *bus, const struct timesync_config *config, struct timesync **t);
void timesync_destroy(struct timesync *t);
struct ic *timesync_ic(struct timesync *t);
/*
 * timesync_submit - tell the guest the time; with @sync it shall set its clock, else it is a
 * sample. Returns what ic_submit() does.
 */
int timesync_submit(struct timesync *t, struct timesync_request *r, bool sync);

#endif
