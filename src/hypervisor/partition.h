/*
 * partition.h - what the files of this room share: the partition and its virtual processors.
 *
 * Who owns what:
 * - fields set before WHvSetupPartition, and vps[] once created, do not change: no lock;
 * - partition.lock: creation and deletion, properties that may change later;
 * - partition.msr_lock: the partition-wide synthetic MSRs;
 * - memory.lock: the map (memory.h);
 * - a vp's fields belong to whoever holds its claim (vp_claim, vp_begin_run): the thread inside
 *   WHvRunVirtualProcessor, or one that reads and sets registers in between. What other threads
 *   touch is atomic, or under synic.lock.
 * Locks are taken in the order partition.lock, synic.lock, memory.lock. msr_lock and memory.lock
 * are held around a few instructions only, never while calling an engine: an engine may wait for
 * processors that wait for the lock.
 */
#ifndef PARTITA_HYPERVISOR_PARTITION_H
#define PARTITA_HYPERVISOR_PARTITION_H

#include <WinHvPlatform.h>

#include "base/spin.h"
#include "hypervisor/clock.h"
#include "hypervisor/engine.h"
#include "hypervisor/lapic.h"
#include "hypervisor/memory.h"
#include "hypervisor/ports.h"
#include "hypervisor/synic.h"
#include "hypervisor/timer.h"
#include "hypervisor/tlfs.h"

#include <pthread.h>

#define VP_MAX 64u
/* Ticks a second of an undivided local APIC timer, unless the client says otherwise. */
#define APIC_HZ_DEFAULT 200000000ull

/* Things another thread wants of a vp: vp.events. */
#define VP_EVENT_CANCEL 0x01u
#define VP_EVENT_INIT	0x02u
#define VP_EVENT_SIPI	0x04u
#define VP_EVENT_TIMER	0x08u /* a deadline passed */
#define VP_EVENT_LOOK	0x10u /* leave the engine and look around */
#define VP_EVENT_NMI	0x20u /* an NMI was given to the engine: wakes from HLT */

struct msr_storage {
	uint64_t misc_enable, debugctl, mtrr_def_type;
	uint64_t mtrr_base[8], mtrr_mask[8], mtrr_fixed[11];
};

struct vp {
	struct partition *partition;
	unsigned index;
	void *engine_vp;
	const struct engine *engine;

	_Atomic int claim; /* enum vp_claim_state */
	_Atomic uint32_t events;
	_Atomic uint32_t asleep; /* futex: 1 while waiting in sleep_once() */
	_Atomic uint8_t sipi_vector;
	_Atomic uint64_t deadline; /* the earliest timer, partition TSC */
	_Atomic bool in_engine;	   /* the engine runs it: timers are the timer thread's */
	bool slack_set;		   /* this thread's timer slack is small */
	pthread_t thread;
	struct spin spin; /* before it sleeps */

	bool startup_suspend, halt_suspend, idle_suspend;
	bool eoi_pending;
	uint64_t eoi_exits[4]; /* level-triggered vectors whose EOI the client must hear of */
	bool extint_pending;
	uint8_t extint_vector;
	WHV_X64_PENDING_INTERRUPTION_REGISTER interruption; /* to be injected at the next run */
	WHV_X64_PENDING_EXCEPTION_EVENT exception_event;    /* likewise */
	WHV_X64_DELIVERABILITY_NOTIFICATIONS_REGISTER notify;
	WHV_HYPERCALL_CONTEXT hypercall; /* of a hypercall that exits to the client */

	struct lapic lapic;
	struct synic synic;
	struct stimer stimers[HV_STIMER_COUNT];
	uint64_t assist_page;
	struct msr_storage msrs;

	uint64_t runtime_tsc, run_since; /* time in WHvRunVirtualProcessor, not asleep */
	WHV_PROCESSOR_ACTIVITY_COUNTERS intercepts;
	WHV_PROCESSOR_GUEST_EVENT_COUNTERS guest_events;
	WHV_PROCESSOR_APIC_COUNTERS apic_counters;
	WHV_PROCESSOR_SYNTHETIC_FEATURES_COUNTERS synthetic_counters;
};

struct properties {
	WHV_EXTENDED_VM_EXITS exits;
	uint64_t exception_exits;
	WHV_X64_MSR_EXIT_BITMAP msr_exits;
	WHV_PROCESSOR_FEATURES_BANKS features;
	WHV_SYNTHETIC_PROCESSOR_FEATURES synthetic;
	WHV_PROCESSOR_XSAVE_FEATURES xsave;
	WHV_PROCESSOR_PERFMON_FEATURES perfmon;
	WHV_X64_LOCAL_APIC_EMULATION_MODE apic_mode;
	WHV_MSR_ACTION unimplemented_msr;
	uint64_t clock_frequency, interrupt_frequency;
	uint64_t cpu_group;
	uint32_t processor_count, physical_width;
	uint32_t cpu_reserve, cpu_cap, cpu_weight, frequency_cap;
	uint16_t numa_node;
	uint8_t clflush_size;
	BOOL separate_domain, nested, apic_remote_read, device_assignment, disable_smt;
	uint32_t *cpuid_exits;
	WHV_X64_CPUID_RESULT *cpuid_results;
	WHV_X64_CPUID_RESULT2 *cpuid_results2;
	WHV_MSR_ACTION_ENTRY *msr_actions;
	unsigned cpuid_exit_count, cpuid_result_count, cpuid_result2_count, msr_action_count;
};

#define PARTITION_MAGIC 0x50617274u

struct partition {
	uint32_t magic;
	const struct engine *engine;
	struct engine_info info;
	void *machine;
	pthread_mutex_t lock;
	bool ready; /* WHvSetupPartition succeeded */
	struct properties prop;
	struct clock clock;
	struct timers timers;
	struct memory memory;
	struct ports ports;
	struct vp *_Atomic vps[VP_MAX];
	struct vp *deleted[VP_MAX]; /* freed with the partition: others may still look at them */
	bool apic;		    /* local APICs are emulated */
	_Atomic uint32_t lowest_rotor;

	struct x86_features cpu; /* the processor's, less what the client took away */
	uint32_t privileges[2], features, hints; /* what CPUID 0x40000003 and 4 say */
	pthread_mutex_t msr_lock;
	_Atomic uint64_t guest_os_id, hypercall, reference_tsc;
	_Atomic uint32_t tsc_invariant;
};

/* partition.c */
struct partition *partition_from(WHV_PARTITION_HANDLE handle);
/* The same, but NULL unless it has been set up. */
struct partition *partition_ready(WHV_PARTITION_HANDLE handle);
/*
 * Hold the state of all vps, and the timer thread off the clock; partition.lock is held. False: one
 * runs, none is held.
 */
bool partition_claim_vps(struct partition *p);
void partition_release_vps(struct partition *p);
/* For tests: as WHvCreatePartition with an engine of the caller's choice. */
struct partition *partition_new(const struct engine *engine);

static inline struct vp *partition_vp(struct partition *p, uint32_t index)
{
	return index < VP_MAX ? atomic_load_explicit(&p->vps[index], memory_order_acquire) : NULL;
}

/* property.c */
void properties_init(
	struct properties *prop, const struct engine *engine, const struct engine_info *info);
void properties_free(struct properties *prop);

/* capability.c: what this engine lets a partition have. */
WHV_PROCESSOR_FEATURES_BANKS capability_features(const struct engine_info *info);
WHV_PROCESSOR_XSAVE_FEATURES capability_xsave(const struct engine_info *info);
/* Clear in @features what is missing from @banks and @xsave. */
void capability_mask(struct x86_features *features, const WHV_PROCESSOR_FEATURES_BANKS *banks,
	WHV_PROCESSOR_XSAVE_FEATURES xsave);
WHV_EXTENDED_VM_EXITS capability_exits(const struct engine_info *info);
WHV_X64_MSR_EXIT_BITMAP capability_msr_exits(void);
WHV_SYNTHETIC_PROCESSOR_FEATURES capability_synthetic(const struct engine *engine);
uint64_t capability_exceptions(const struct engine_info *info);

/* registers.c, register_table.c */
/* The CPL follows from SS, CS and the mode after any of them was set. */
void registers_update_cpl(struct x86_state *s);

/* cpuid.c: everything that follows from the properties, at set-up. */
void cpuid_setup(struct partition *p);
void cpuid_query(struct vp *vp, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
bool cpuid_exits(const struct partition *p, uint32_t leaf);

/* msr.c, msr_synthetic.c, msr_machine.c */
enum x86_answer msr_read(struct vp *vp, uint32_t msr, uint64_t *value);
enum x86_answer msr_write(struct vp *vp, uint32_t msr, uint64_t value);
enum x86_answer msr_synthetic_read(struct vp *vp, uint32_t msr, uint64_t *value);
enum x86_answer msr_synthetic_write(struct vp *vp, uint32_t msr, uint64_t value);
bool msr_machine_read(struct vp *vp, uint32_t msr, uint64_t *value, enum x86_answer *answer);
bool msr_machine_write(struct vp *vp, uint32_t msr, uint64_t value, enum x86_answer *answer);
void msr_machine_reset(struct vp *vp);
/* Rewrite the reference TSC page after the clock changed. */
void msr_update_reference_page(struct partition *p);

/* hypercall.c */
enum x86_answer hypercall_dispatch(struct vp *vp);

/* vp.c */
enum vp_claim_state {
	VP_IDLE,
	VP_RUNNING,
	VP_ACCESSED,
};
/* Hold a vp's state while it does not run. False: a thread runs it. */
bool vp_claim(struct vp *vp);
/*
 * How API functions on a vp begin: S_OK with the vp claimed, or what to return. @sound: the other
 * arguments are.
 */
HRESULT vp_claim_by_index(
	WHV_PARTITION_HANDLE partition, uint32_t index, bool sound, struct vp **vp);
void vp_release(struct vp *vp);
void vp_reset(struct vp *vp);
void vp_free(struct vp *vp);
/* Any thread. Record @events and make the vp see them, whatever it does. */
void vp_post(struct vp *vp, uint32_t events);
/* Any thread. Its local APIC has something new: cheaper than vp_post(). */
void vp_notify(struct vp *vp);
/* Any thread. */
void vp_nmi(struct vp *vp);
/* Owner: process timers that are due, recompute the deadline. */
void vp_expire_timers(struct vp *vp);
void vp_rearm(struct vp *vp);
/* Owner: 100 ns of processor time consumed so far. */
uint64_t vp_runtime(const struct vp *vp);

static inline struct x86_state *vp_state(struct vp *vp)
{
	return vp->engine->vp_state(vp->engine_vp);
}

static inline void vp_changed(struct vp *vp)
{
	vp->engine->vp_changed(vp->engine_vp);
}

/* vp_ops.c: what engines call back. */
extern const struct x86_ops vp_ops;

/* exit.c: fill @context for the reason in @exit. */
void exit_fill(struct vp *vp, WHV_RUN_VP_EXIT_CONTEXT *context, const struct x86_exit *exit);
void exit_header(struct vp *vp, WHV_RUN_VP_EXIT_CONTEXT *context, WHV_RUN_VP_EXIT_REASON reason,
	unsigned instruction_length);

#endif
