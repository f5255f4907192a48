/*
 * kvm.h - what the files of the kvm engine share.
 *
 * KVM runs the processor; the local APIC, the SynIC, timers and synthetic MSRs stay in this room
 * (no in-kernel interrupt controller). Three things make up for what KVM does otherwise than the
 * platform API:
 *
 * - The API reports an access before the instruction is executed and lets the client emulate it.
 *   KVM reports it in the middle of its own emulation and wants the data. So every access to a port
 *   or to memory that is not there is shown to the client as a plain MOV, IN or OUT of this one
 *   datum, with RIP placed before it and the instruction's bytes in the exit context
 * (kvm_access.c); when the client has carried it out, KVM finishes the real instruction with the
 * datum.
 * - Translating an address and the state after reset are the processor's own knowledge: a vcpu of
 *   the software processor, which executes nothing, lends it.
 * - KVM takes VMCALL for itself. Hypercalls leave through an OUT to a port of our own, which the
 *   hypercall page holds.
 */
#ifndef PARTITA_HYPERVISOR_KVM_H
#define PARTITA_HYPERVISOR_KVM_H

#include "hypervisor/engine.h"

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

/* The port whose OUT is a hypercall; no PC has anything there. */
#define KVM_HYPERCALL_PORT 0xE4u
/* The signal that brings a thread out of KVM_RUN; blocked everywhere else in a thread that runs. */
#define KVM_KICK_SIGNAL (SIGRTMIN + 6)
/*
 * Where the synthetic MOV's operand is said to lie: a linear address no guest uses, sign-extended.
 */
#define KVM_ACCESS_GVA 0xFFFFFFFFFFFE0000ull

struct kvm_slot {
	uint64_t gpa, size;
	uint8_t *host;
	unsigned flags; /* X86_MAP_* */
	bool used;
};

struct kvm_machine {
	int kvm, vm;
	size_t run_size;
	unsigned slot_max;
	struct kvm_slot *slots;
	pthread_mutex_t lock; /* slots and the scratch processor */
	struct x86_machine *scratch_machine;
	struct x86_vcpu *scratch;
};

/* What KVM waits for before it goes on with the instruction that left it. */
enum kvm_pending {
	KVM_PENDING_NONE,
	KVM_PENDING_IN, /* data of an IN: RAX after the client's IN */
	KVM_PENDING_OUT,
	KVM_PENDING_READ, /* of memory: likewise */
	KVM_PENDING_WRITE,
	KVM_PENDING_RDMSR,
	KVM_PENDING_WRMSR,
};

struct kvm_vp {
	struct kvm_machine *machine;
	unsigned index;
	int fd;
	struct kvm_run *run;
	const struct x86_ops *ops;
	void *ctx;

	struct x86_state state;
	bool fetched; /* state is KVM's */
	bool changed; /* state is newer than KVM's */
	bool cpuid_set;
	struct kvm_regs regs; /* as last fetched or set, to set only what changed */
	struct kvm_sregs sregs;
	struct kvm_fpu fpu;
	struct kvm_debugregs debug;
	struct kvm_vcpu_events events;
	uint64_t msrs[10];
	uint64_t xcr0, tsc_offset;

	bool unfinished; /* KVM is in the middle of an instruction that we have answered */
	enum kvm_pending pending;
	uint64_t shown_rip;  /* where the client was told the access is */
	uint64_t resume_rip; /* RIP once the client has done its part */
	uint64_t real_rip;   /* RIP that KVM has */
	uint64_t real_rax, real_rdx;
	unsigned element;    /* of a string access, which are shown one by one */
	uint64_t access_gpa; /* behind KVM_ACCESS_GVA */

	struct {
		bool valid;
		unsigned type;
		uint8_t vector;
		bool has_error;
		uint32_t error;
		uint64_t parameter;
	} inject;
	bool window; /* the client wants to know of an open interrupt window */
	pthread_t thread;
	bool signal_blocked;
	_Atomic bool stop, look, nmi, in_kvm;
};

/* kvm_state.c. Both return 0 or a negative errno. */
int kvm_state_fetch(struct kvm_vp *v);
int kvm_state_store(struct kvm_vp *v);
/* Everything is to be set, whatever was fetched. */
void kvm_state_forget(struct kvm_vp *v);
int kvm_state_set_cpuid(struct kvm_vp *v);

/* kvm_memory.c */
int kvm_memory_map(struct kvm_machine *m, uint64_t gpa, void *host, uint64_t size, unsigned flags);
int kvm_memory_unmap(struct kvm_machine *m, uint64_t gpa, uint64_t size);

/* kvm_access.c */
/* Fill @exit for what run says; the state is fetched. */
void kvm_access_show(struct kvm_vp *v, struct x86_exit *exit);
/* Take back what the client made of it. */
enum kvm_finish {
	KVM_FINISHED, /* KVM may go on */
	KVM_AGAIN,    /* the client did nothing: show it once more */
	KVM_ABANDON,  /* it went another way: KVM must forget the instruction */
};
enum kvm_finish kvm_access_finish(struct kvm_vp *v);

/* kvm_run.c */
/* Let KVM end the instruction it is in, whatever it makes of it, and go no further. */
void kvm_complete(struct kvm_vp *v);
void kvm_run_vp(struct kvm_vp *v, struct x86_exit *exit);
void kvm_kick(struct kvm_vp *v);

#endif
