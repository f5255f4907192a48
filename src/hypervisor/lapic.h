/*
 * lapic.h - the local APIC of a virtual processor, in xAPIC and x2APIC mode, with its timer.
 *
 * The request and trigger-mode registers and what routing looks at are atomic: any thread may post
 * an interrupt to any vp without a lock. Everything else is the vp's own thread's.
 *
 * Source: Intel SDM vol. 3A, chapter "Advanced Programmable Interrupt Controller". Version 0x14
 * with six LVT entries, no EOI-broadcast suppression, as Hyper-V's.
 */
#ifndef PARTITA_HYPERVISOR_LAPIC_H
#define PARTITA_HYPERVISOR_LAPIC_H

#include "x86/x86.h"

#include <WinHvPlatform.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct vp;
struct partition;

#define APIC_BASE_DEFAULT 0xFEE00000ull
#define APIC_BASE_BSP	  0x100ull
#define APIC_BASE_X2APIC  0x400ull
#define APIC_BASE_ENABLE  0x800ull

#define APIC_MSR_BASE	  0x1Bu
#define APIC_MSR_FIRST	  0x800u
#define APIC_MSR_LAST	  0x8FFu
#define APIC_MSR_DEADLINE 0x6E0u

/* Registers, as their xAPIC offset divided by 16: x2APIC MSR number less 0x800. */
enum apic_register {
	APIC_ID = 0x02,
	APIC_VERSION = 0x03,
	APIC_TPR = 0x08,
	APIC_APR = 0x09,
	APIC_PPR = 0x0A,
	APIC_EOI = 0x0B,
	APIC_LDR = 0x0D,
	APIC_DFR = 0x0E,
	APIC_SVR = 0x0F,
	APIC_ISR = 0x10,
	APIC_TMR = 0x18,
	APIC_IRR = 0x20,
	APIC_ESR = 0x28,
	APIC_ICR = 0x30,
	APIC_ICR_HIGH = 0x31,
	APIC_LVT = 0x32, /* six of them, in the order of enum apic_lvt */
	APIC_TIMER_INITIAL = 0x38,
	APIC_TIMER_CURRENT = 0x39,
	APIC_TIMER_DIVIDE = 0x3E,
	APIC_SELF_IPI = 0x3F,
};

enum apic_lvt {
	LVT_TIMER,
	LVT_THERMAL,
	LVT_PERFORMANCE,
	LVT_LINT0,
	LVT_LINT1,
	LVT_ERROR,
	LVT_COUNT,
};

enum apic_delivery {
	APIC_FIXED = 0,
	APIC_LOWEST = 1,
	APIC_SMI = 2,
	APIC_NMI = 4,
	APIC_INIT = 5,
	APIC_SIPI = 6,
	APIC_EXTINT = 7,
};

struct lapic {
	_Atomic uint64_t base; /* IA32_APIC_BASE */
	_Atomic uint32_t id, ldr, dfr, svr, tpr;
	_Atomic uint32_t irr[8], tmr[8];
	_Atomic uint32_t isr[8]; /* written by the owner only */
	_Atomic uint32_t esr_pending;
	_Atomic uint32_t lvt[LVT_COUNT];
	uint32_t esr;
	uint64_t icr;
	uint32_t timer_initial, timer_divide;
	uint64_t timer_period; /* partition TSC ticks; 0: stopped */
	uint64_t timer_deadline;
	uint64_t tsc_deadline; /* as the guest wrote it */
};

/* Power-on (init false) or INIT state. The base register and the ID survive INIT. */
void lapic_reset(struct vp *vp, bool init);

/* Any thread: does the guest see an APIC that takes interrupts? */
bool lapic_enabled(const struct vp *vp);
/* Any thread. Request @vector (16-255). False: the APIC is disabled. */
bool lapic_post(struct vp *vp, uint8_t vector, bool level);
/* Any thread: the highest requested vector above the processor's priority, or -1. */
int lapic_pending(const struct vp *vp);
/* Any thread: is any vector requested, whatever its priority? */
bool lapic_requested(const struct vp *vp);
/* Any thread: the processor priority. */
uint32_t lapic_priority(const struct vp *vp);
/* Owner: move the vector that lapic_pending() says into service; -1: none. */
int lapic_take(struct vp *vp);
/* Owner: end the interrupt in service with the highest priority. */
void lapic_end(struct vp *vp);
void lapic_set_tpr(struct vp *vp, uint32_t tpr);
/* Any thread: the LINT pins. */
void lapic_lint(struct vp *vp, enum apic_lvt pin);
/* Record an error (a bit of the ESR) and raise the error interrupt. */
void lapic_error(struct vp *vp, uint32_t bit);

/* Registers as a guest in either mode reads and writes them. */
uint32_t lapic_register(const struct vp *vp, unsigned reg);
bool lapic_mmio(struct vp *vp, uint64_t gpa); /* is this in its page? */
uint64_t lapic_mmio_read(struct vp *vp, uint64_t gpa, unsigned size);
void lapic_mmio_write(struct vp *vp, uint64_t gpa, unsigned size, uint64_t value);
enum x86_answer lapic_msr_read(struct vp *vp, uint32_t msr, uint64_t *value);
enum x86_answer lapic_msr_write(struct vp *vp, uint32_t msr, uint64_t value);
enum x86_answer lapic_write_icr(struct vp *vp, uint64_t icr);
enum x86_answer lapic_write_base(struct vp *vp, uint64_t value);

/* lapic_state.c: registers as the client saves and restores them. False: refused. */
bool lapic_set_base(struct vp *vp, uint64_t value);
bool lapic_get(const struct vp *vp, unsigned reg, uint64_t *value);
bool lapic_set(struct vp *vp, unsigned reg, uint64_t value);
HRESULT lapic_save(const struct vp *vp, void *buffer, uint32_t size, uint32_t *written);
HRESULT lapic_restore(struct vp *vp, const void *buffer, uint32_t size);

/* lapic_timer.c. Deadlines are partition TSC. */
void lapic_timer_start(struct vp *vp);
/* Continue a started timer at @current counts. */
void lapic_timer_resume(struct vp *vp, uint32_t current);
void lapic_timer_mode_changed(struct vp *vp, uint32_t before);
uint32_t lapic_timer_current(const struct vp *vp);
void lapic_timer_expire(struct vp *vp, uint64_t now);
uint64_t lapic_timer_read_deadline(const struct vp *vp);
void lapic_timer_write_deadline(struct vp *vp, uint64_t value);

/* lapic_route.c */
#define APIC_BROADCAST 0xFFFFFFFFu
struct apic_message {
	uint32_t destination;
	uint8_t vector;
	uint8_t delivery; /* enum apic_delivery */
	bool logical, level, deassert;
};
/* Any thread: would this vp take a message for @destination? */
bool lapic_matches(const struct vp *vp, uint32_t destination, bool logical);
/* Any thread. Returns how many processors took it. */
unsigned lapic_deliver(struct partition *p, const struct apic_message *message);
/* The same for one vp that is known to match. */
bool lapic_deliver_to(struct vp *vp, const struct apic_message *message);
/* Owner: send what the ICR says. */
void lapic_send(struct vp *vp, uint64_t icr);

#endif
