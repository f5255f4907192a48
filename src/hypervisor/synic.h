/*
 * synic.h - the synthetic interrupt controller of a virtual processor and its four timers.
 *
 * Messages and events arrive from any thread, the registers change on the vp's own: synic.lock
 * guards the registers and the pages they point at. The pages are guest memory that the guest
 * reads and writes at the same time: what is read from them is one aligned word at a time.
 *
 * Source: TLFS "Inter-Partition Communication", "Timers".
 */
#ifndef PARTITA_HYPERVISOR_SYNIC_H
#define PARTITA_HYPERVISOR_SYNIC_H

#include "hypervisor/tlfs.h"
#include "x86/x86.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct vp;

struct synic {
	pthread_mutex_t lock;
	uint64_t scontrol, siefp, simp;
	uint64_t sint[HV_SINT_COUNT];
	_Atomic uint32_t auto_eoi[8]; /* vectors of SINTs that end themselves */
	_Atomic uint32_t vectors[8];  /* vectors of all SINTs */
};

struct stimer {
	uint64_t config, count;
	uint64_t expires;  /* reference time, while enabled */
	uint64_t deadline; /* the same as partition TSC; CLOCK_NEVER: not armed */
	bool undelivered;  /* expired at .late, its message slot was full */
	uint64_t late;
};

int synic_init(struct vp *vp);
void synic_free(struct vp *vp);
void synic_reset(struct vp *vp);

static inline bool synic_auto_eoi(const struct synic *s, uint8_t vector)
{
	return atomic_load_explicit(&s->auto_eoi[vector / 32], memory_order_relaxed) >>
		       (vector & 31) &
	       1;
}

/* Owner: the SynIC MSRs. */
enum x86_answer synic_msr_read(struct vp *vp, uint32_t msr, uint64_t *value);
enum x86_answer synic_msr_write(struct vp *vp, uint32_t msr, uint64_t value);

/* Any thread. 0, -EBUSY (the slot is full; the guest will be asked to say EOM), -EINVAL (off). */
int synic_post(struct vp *vp, unsigned sint, const struct hv_message *message);
/*
 * Any thread. Set an event flag: 1 newly set, 0 was set, -EINVAL when the SynIC does not take it.
 */
int synic_signal(struct vp *vp, unsigned sint, unsigned flag);
/* Owner: an interrupt ended; messages that waited may now go. */
void synic_end_of_interrupt(struct vp *vp, uint8_t vector);
/* Any thread: which of the SINTs in @wanted could take a message. */
uint16_t synic_deliverable(struct vp *vp, uint16_t wanted);

/* stimer.c, owner. */
void stimers_reset(struct vp *vp);
enum x86_answer stimer_msr_read(struct vp *vp, uint32_t msr, uint64_t *value);
enum x86_answer stimer_msr_write(struct vp *vp, uint32_t msr, uint64_t value);
void stimers_expire(struct vp *vp, uint64_t now);
/* The earliest deadline of all four. */
uint64_t stimers_deadline(const struct vp *vp);
/* Try again to deliver what found its slot full. */
void stimers_retry(struct vp *vp);
/* Recompute deadlines after the reference time was set. */
void stimers_rearm(struct vp *vp);
/* Does an armed timer send messages, so that expiry matters while interrupts are closed? */
bool stimers_use_messages(const struct vp *vp);

#endif
