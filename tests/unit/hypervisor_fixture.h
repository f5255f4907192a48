/*
 * hypervisor_fixture.h - a partition for tests of src/hypervisor without a processor: an engine
 * that executes nothing and remembers what it was asked, a clock that stands where the test puts
 * it, and some memory.
 */
#ifndef PARTITA_TESTS_HYPERVISOR_FIXTURE_H
#define PARTITA_TESTS_HYPERVISOR_FIXTURE_H

#include "hypervisor/partition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define FIXTURE_HZ     2000000000ull /* of the TSC: 200 ticks are 100 ns */
#define FIXTURE_MEMORY (1u << 20)

/* What the engine saw of one vp. */
struct fake_vp {
	struct x86_state state;
	unsigned index, stops, interrupts, nmis, resets, inits, windows;
	struct {
		bool valid;
		unsigned type;
		uint8_t vector;
	} injected;
};

struct fake_machine {
	struct fake_vp vps[VP_MAX];
	struct {
		unsigned calls, count;
		uint64_t mask, first;
		bool global;
	} flush;
};

struct fixture {
	uint64_t tsc; /* the host's, as the partition sees it */
	struct partition *p;
	uint8_t *ram;
};

extern const struct engine fixture_engine;

/* A partition that is not yet set up. */
struct fixture *fixture_new(void);
/* Set it up with @vps processors, x2APIC offered, and RAM at 0. */
struct fixture *fixture_ready(unsigned vps);
void fixture_free(struct fixture *f);

struct vp *fixture_vp(struct fixture *f, unsigned index);
struct fake_vp *fixture_fake(struct vp *vp);
struct fake_machine *fixture_machine(struct fixture *f);

/* What the host's TSC says from now on; the timer thread may be reading it. */
void fixture_set_tsc(struct fixture *f, uint64_t tsc);
/* Move the clock on and let the vp's timers see it. */
void fixture_advance_us(struct fixture *f, uint64_t us);

/* MSR accesses that must succeed, or raise #GP. */
uint64_t fixture_rdmsr(struct vp *vp, uint32_t msr);
void fixture_wrmsr(struct vp *vp, uint32_t msr, uint64_t value);
void fixture_rdmsr_faults(struct vp *vp, uint32_t msr);
void fixture_wrmsr_faults(struct vp *vp, uint32_t msr, uint64_t value);

/* Enable the SynIC of a vp with its message page at @simp and event page at @siefp. */
void fixture_enable_synic(struct vp *vp, uint64_t simp, uint64_t siefp);
struct hv_message *fixture_slot(struct fixture *f, uint64_t simp, unsigned sint);

#endif
