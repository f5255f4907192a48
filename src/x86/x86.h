/*
 * x86.h - the software processor's public face.
 *
 * A machine is guest-physical memory plus a shared cache of decoded code; a vcpu is one x86-64
 * processor that executes on the thread that calls x86_vcpu_run(). This room knows the
 * architecture (Intel SDM vol. 2 and 3, AMD APM vol. 2 and 3) and nothing of partitions, interrupt
 * controllers or devices: what lies outside the core is reached through struct x86_ops.
 *
 * Threads: a vcpu belongs to the thread inside x86_vcpu_run(). Between runs its state may be read
 * and changed by whoever owns the vcpu. Only the functions marked "any thread" may be called for a
 * vcpu that is running elsewhere.
 */
#ifndef PARTITA_X86_H
#define PARTITA_X86_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct x86_machine;
struct x86_vcpu;

/* Widths of guest-physical and linear addresses, as CPUID 0x80000008 tells them. */
#define X86_PHYSICAL_BITS 40
#define X86_LINEAR_BITS	  48

enum x86_gpr {
	X86_RAX,
	X86_RCX,
	X86_RDX,
	X86_RBX,
	X86_RSP,
	X86_RBP,
	X86_RSI,
	X86_RDI,
	X86_R8,
	X86_R9,
	X86_R10,
	X86_R11,
	X86_R12,
	X86_R13,
	X86_R14,
	X86_R15,
};

enum x86_seg {
	X86_ES,
	X86_CS,
	X86_SS,
	X86_DS,
	X86_FS,
	X86_GS,
	X86_LDTR,
	X86_TR,
	X86_SEG_COUNT,
};

/* Segment attributes, in the layout of WHV_X64_SEGMENT_REGISTER and of descriptor bits 40-55. */
#define X86_SEG_TYPE	0x000f
#define X86_SEG_S	0x0010
#define X86_SEG_DPL	0x0060
#define X86_SEG_P	0x0080
#define X86_SEG_AVL	0x1000
#define X86_SEG_L	0x2000
#define X86_SEG_DB	0x4000
#define X86_SEG_G	0x8000
/* Ours, in a bit descriptors leave unused: the register holds a null selector. */
#define X86_SEG_NULL	0x0100

struct x86_segment {
	uint64_t base;
	uint32_t limit; /* in bytes, granularity already applied */
	uint16_t selector;
	uint16_t attributes;
};

struct x86_table {
	uint64_t base;
	uint16_t limit;
};

#define X86_FLAG_CF   0x000001u
#define X86_FLAG_1    0x000002u
#define X86_FLAG_PF   0x000004u
#define X86_FLAG_AF   0x000010u
#define X86_FLAG_ZF   0x000040u
#define X86_FLAG_SF   0x000080u
#define X86_FLAG_TF   0x000100u
#define X86_FLAG_IF   0x000200u
#define X86_FLAG_DF   0x000400u
#define X86_FLAG_OF   0x000800u
#define X86_FLAG_IOPL 0x003000u
#define X86_FLAG_NT   0x004000u
#define X86_FLAG_RF   0x010000u
#define X86_FLAG_VM   0x020000u
#define X86_FLAG_AC   0x040000u
#define X86_FLAG_VIF  0x080000u
#define X86_FLAG_VIP  0x100000u
#define X86_FLAG_ID   0x200000u
#define X86_FLAGS_ARITH                                                                            \
	(X86_FLAG_CF | X86_FLAG_PF | X86_FLAG_AF | X86_FLAG_ZF | X86_FLAG_SF | X86_FLAG_OF)

#define X86_CR0_PE 0x00000001ul
#define X86_CR0_MP 0x00000002ul
#define X86_CR0_EM 0x00000004ul
#define X86_CR0_TS 0x00000008ul
#define X86_CR0_ET 0x00000010ul
#define X86_CR0_NE 0x00000020ul
#define X86_CR0_WP 0x00010000ul
#define X86_CR0_AM 0x00040000ul
#define X86_CR0_NW 0x20000000ul
#define X86_CR0_CD 0x40000000ul
#define X86_CR0_PG 0x80000000ul

#define X86_CR4_VME	   0x00000001ul
#define X86_CR4_PVI	   0x00000002ul
#define X86_CR4_TSD	   0x00000004ul
#define X86_CR4_DE	   0x00000008ul
#define X86_CR4_PSE	   0x00000010ul
#define X86_CR4_PAE	   0x00000020ul
#define X86_CR4_MCE	   0x00000040ul
#define X86_CR4_PGE	   0x00000080ul
#define X86_CR4_PCE	   0x00000100ul
#define X86_CR4_OSFXSR	   0x00000200ul
#define X86_CR4_OSXMMEXCPT 0x00000400ul
#define X86_CR4_UMIP	   0x00000800ul
#define X86_CR4_FSGSBASE   0x00010000ul
#define X86_CR4_PCIDE	   0x00020000ul
#define X86_CR4_OSXSAVE	   0x00040000ul
#define X86_CR4_SMEP	   0x00100000ul
#define X86_CR4_SMAP	   0x00200000ul

#define X86_EFER_SCE 0x001ul
#define X86_EFER_LME 0x100ul
#define X86_EFER_LMA 0x400ul
#define X86_EFER_NXE 0x800ul

enum x86_vector {
	X86_VEC_DE = 0,
	X86_VEC_DB = 1,
	X86_VEC_NMI = 2,
	X86_VEC_BP = 3,
	X86_VEC_OF = 4,
	X86_VEC_BR = 5,
	X86_VEC_UD = 6,
	X86_VEC_NM = 7,
	X86_VEC_DF = 8,
	X86_VEC_TS = 10,
	X86_VEC_NP = 11,
	X86_VEC_SS = 12,
	X86_VEC_GP = 13,
	X86_VEC_PF = 14,
	X86_VEC_MF = 16,
	X86_VEC_AC = 17,
	X86_VEC_MC = 18,
	X86_VEC_XM = 19,
};

/* The legacy region of an XSAVE area: Intel SDM vol. 1, table 10-2. */
struct x86_fx {
	uint16_t fcw;
	uint16_t fsw;
	uint8_t ftw; /* abridged: one bit a register, set when it holds something */
	uint8_t reserved0;
	uint16_t fop;
	uint64_t fip;
	uint64_t fdp;
	uint32_t mxcsr;
	uint32_t mxcsr_mask;
	uint8_t st[8][16];
	uint8_t xmm[16][16];
	uint8_t reserved1[96];
} __attribute__((packed, aligned(16)));
_Static_assert(sizeof(struct x86_fx) == 512, "FXSAVE area");

/*
 * The architectural state. While the vcpu is stopped every field is exact. gpr[] and scratch[]
 * stay neighbours at the front: decoded operations address both as byte offsets.
 */
struct x86_state {
	uint64_t gpr[16];
	uint64_t scratch[8]; /* internal to x86/: see cpu.h */
	uint64_t rip;
	uint64_t rflags;
	struct x86_segment seg[X86_SEG_COUNT];
	struct x86_table gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, xcr0, efer;
	uint64_t dr[4], dr6, dr7;
	struct x86_fx fx __attribute__((aligned(64)));
	uint64_t star, lstar, cstar, sfmask;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t kernel_gs_base;
	uint64_t tsc_aux;
	uint64_t tsc_offset; /* guest TSC = host TSC + tsc_offset */
	uint64_t pat;
	uint8_t cpl;
	bool interrupt_shadow; /* STI or MOV SS just executed */
	bool nmi_masked;       /* between NMI delivery and IRET */
	bool nmi_pending;
};

enum x86_exit_reason {
	X86_EXIT_STOPPED,	   /* x86_vcpu_stop() was called */
	X86_EXIT_HALT,		   /* HLT; RIP is past it */
	X86_EXIT_IO,		   /* IN/OUT/INS/OUTS; RIP is at the instruction */
	X86_EXIT_MEMORY,	   /* access to unmapped or protected GPA; RIP at the instruction */
	X86_EXIT_CPUID,		   /* only when ops->cpuid asked for it; RIP at the instruction */
	X86_EXIT_RDMSR,		   /* likewise */
	X86_EXIT_WRMSR,		   /* likewise */
	X86_EXIT_HYPERCALL,	   /* likewise */
	X86_EXIT_EXCEPTION,	   /* an exception selected by x86_vcpu_intercept_exceptions() */
	X86_EXIT_INTERRUPT_WINDOW, /* asked for by x86_vcpu_request_window(), now open */
	X86_EXIT_SHUTDOWN,	   /* triple fault; state is as of the fault */
};

struct x86_exit {
	enum x86_exit_reason reason;
	uint8_t insn[16]; /* IO, MEMORY, EXCEPTION: bytes at RIP */
	uint8_t insn_len; /* how many of them are valid */
	uint8_t next;	  /* length of the instruction (all reasons where RIP is at it) */
	union {
		struct {
			uint16_t port;
			uint8_t size; /* 1, 2 or 4 */
			bool write, string, rep;
		} io;
		struct {
			uint64_t gpa, gva;
			bool write, exec;
			bool unmapped; /* no memory there; otherwise memory without that right */
		} memory;
		struct {
			uint8_t vector;
			bool has_error;
			uint32_t error;
			uint64_t parameter; /* #PF: the faulting address */
		} exception;
	};
};

/* What a callback answers. */
enum x86_answer {
	X86_DONE,  /* handled */
	X86_FAULT, /* raise the instruction's fault: #GP(0) for MSRs, #UD for hypercalls */
	X86_EXIT,  /* leave x86_vcpu_run() with the matching reason */
};

/*
 * What the core asks of the world outside it. All are called on the vcpu's thread with its state
 * exact and RIP at the instruction; ctx is the vcpu's.
 */
struct x86_ops {
	enum x86_answer (*cpuid)(void *ctx, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
	/* MSRs that the core does not implement itself. */
	enum x86_answer (*rdmsr)(void *ctx, uint32_t msr, uint64_t *value);
	enum x86_answer (*wrmsr)(void *ctx, uint32_t msr, uint64_t value);
	/* GPA without memory behind it: an answer of X86_EXIT becomes X86_EXIT_MEMORY. */
	enum x86_answer (*mmio_read)(void *ctx, uint64_t gpa, unsigned size, uint64_t *value);
	enum x86_answer (*mmio_write)(void *ctx, uint64_t gpa, unsigned size, uint64_t value);
	/* VMCALL and VMMCALL; on X86_DONE the core steps over it. It may change the state. */
	enum x86_answer (*hypercall)(void *ctx);
	/* Takes the vector to deliver now, or -1: called only when one can be delivered. */
	int (*interrupt)(void *ctx);
	uint64_t (*read_cr8)(void *ctx);
	void (*write_cr8)(void *ctx, uint64_t value);
	/*
	 * NULL: the core walks the page tables in guest memory. Otherwise this translates, and no
	 * translation is cached (the instruction emulator). Returns 0 with *gpa, or a page-fault
	 * error code | X86_TRANSLATE_FAULT.
	 */
	uint32_t (*translate)(void *ctx, uint64_t gva, unsigned access, uint64_t *gpa);
};
#define X86_TRANSLATE_FAULT	   0x80000000u
#define X86_TRANSLATE_NONCANONICAL 0x40000000u /* with the former: #GP or #SS, not #PF */
#define X86_ACCESS_READ	    0u
#define X86_ACCESS_WRITE    1u
#define X86_ACCESS_EXEC	    2u

/*
 * x86_machine_create - a machine without memory or processors.
 * @vcpus: the most processors it will have, 1 to 64.
 * @code_bytes: the bound of the decoded-code cache, in bytes; less than 4 GiB.
 * Returns NULL when memory is short.
 */
struct x86_machine *x86_machine_create(unsigned vcpus, size_t code_bytes);
void x86_machine_destroy(struct x86_machine *m);
/*
 * x86_machine_compile - make native code of blocks of 64-bit code that have been entered @after
 * times (1 to 65535). Before the first processor runs; once. Takes as much address space again as
 * @code_bytes, and memory for what is compiled. Returns 0 or a negative errno: no memory, or the
 * host allows none that is executable.
 */
int x86_machine_compile(struct x86_machine *m, unsigned after);

#define X86_MAP_READ  1u
#define X86_MAP_WRITE 2u
#define X86_MAP_EXEC  4u

/*
 * x86_machine_map - put host memory at a guest-physical address, replacing what was there.
 * @gpa, @size: bytes, multiples of 4096. @host: page-aligned, stays the caller's.
 * @flags: X86_MAP_*. Any thread. Returns 0, -EINVAL, -ENOMEM.
 */
int x86_machine_map(
	struct x86_machine *m, uint64_t gpa, void *host, uint64_t size, unsigned flags);
int x86_machine_unmap(struct x86_machine *m, uint64_t gpa, uint64_t size);
/*
 * x86_machine_host - the host address of a guest-physical byte, or NULL. @left: bytes mapped
 * contiguously from there (may be NULL). Any thread, while the map does not change.
 */
void *x86_machine_host(struct x86_machine *m, uint64_t gpa, uint64_t *left, unsigned *flags);
/*
 * x86_machine_written - tell that somebody other than a vcpu wrote guest memory, so that decoded
 * code made from it is dropped. Any thread.
 */
void x86_machine_written(struct x86_machine *m, uint64_t gpa, uint64_t size);

/* x86_vcpu_create - a processor in its power-on state. @index: 0 to vcpus-1. NULL: no memory. */
struct x86_vcpu *x86_vcpu_create(
	struct x86_machine *m, unsigned index, const struct x86_ops *ops, void *ctx);
void x86_vcpu_destroy(struct x86_vcpu *v);

/*
 * x86_vcpu_reset - power-on (init false) or INIT (init true) state. INIT keeps what the SDM says
 * it keeps (FPU, MSRs, CR0.CD/NW).
 */
void x86_vcpu_reset(struct x86_vcpu *v, bool init);

/* The state itself; the vcpu must be stopped. After changing it call x86_vcpu_changed(). */
struct x86_state *x86_vcpu_state(struct x86_vcpu *v);
void x86_vcpu_changed(struct x86_vcpu *v);

/* x86_vcpu_run - execute until something needs the caller. */
void x86_vcpu_run(struct x86_vcpu *v, struct x86_exit *exit);

/* x86_vcpu_stop - make the current or next run return X86_EXIT_STOPPED soon. Any thread. */
void x86_vcpu_stop(struct x86_vcpu *v);
/* x86_vcpu_interrupt - ops->interrupt may now have a vector: look when allowed. Any thread. */
void x86_vcpu_interrupt(struct x86_vcpu *v);
/* x86_vcpu_nmi - make an NMI pending. Any thread. */
void x86_vcpu_nmi(struct x86_vcpu *v);
/* x86_vcpu_request_window - exit as soon as an interrupt could be delivered. Owner only. */
void x86_vcpu_request_window(struct x86_vcpu *v);
/* x86_vcpu_intercept_exceptions - bit n set: vector n exits instead of being delivered. */
void x86_vcpu_intercept_exceptions(struct x86_vcpu *v, uint64_t bitmap);
/*
 * x86_vcpu_inject - deliver an event when the vcpu next runs, before any instruction.
 * @type: 0 interrupt, 2 NMI, 3 exception, 4 software interrupt (@length: of its instruction).
 */
void x86_vcpu_inject(struct x86_vcpu *v, unsigned type, uint8_t vector, bool has_error,
	uint32_t error, uint64_t parameter, unsigned length);

/*
 * x86_vcpu_flush - drop cached translations of every vcpu in @mask (bit n: index n) before
 * returning, as HvCallFlushVirtualAddress* need. @global: also those of global pages.
 * @caller: the vcpu on whose thread (inside a callback) this is called, or NULL.
 * @count 0: everything; otherwise the pages at gva[0..count).
 */
void x86_vcpu_flush(struct x86_machine *m, struct x86_vcpu *caller, uint64_t mask, bool global,
	const uint64_t *gva, unsigned count);

/*
 * x86_vcpu_translate - walk the page tables as @access at @cpl would.
 * Returns 0 with *gpa, or X86_TRANSLATE_FAULT | page-fault error code. Never raises in the guest.
 */
uint32_t x86_vcpu_translate(
	struct x86_vcpu *v, uint64_t gva, unsigned access, unsigned cpl, uint64_t *gpa);

/*
 * x86_vcpu_emulate - execute exactly one instruction, whose first bytes are given, through
 * ops->translate and ops->mmio_*. For the instruction emulator. Returns what ended it:
 * X86_EXIT_STOPPED when it completed, otherwise as x86_vcpu_run().
 */
void x86_vcpu_emulate(
	struct x86_vcpu *v, const uint8_t *insn, unsigned length, struct x86_exit *exit);

/* x86_vcpu_instructions - instructions executed since creation. Any thread; approximate there. */
uint64_t x86_vcpu_instructions(struct x86_vcpu *v);
/* x86_machine_code_bytes - how much of the code cache is in use. Any thread. */
size_t x86_machine_code_bytes(struct x86_machine *m);
/* x86_machine_native_bytes - how much native code was made of what is there. Any thread. */
size_t x86_machine_native_bytes(struct x86_machine *m);

/*
 * x86_features - the CPUID feature words this processor implements, given what the host can lend
 * it: leaf 1 ECX, EDX; leaf 7.0 EBX, ECX, EDX; leaf 0x80000001 ECX, EDX; leaf 0xD.1 EAX.
 * Bits that depend on the interrupt controller (APIC, x2APIC, TSC-deadline, hypervisor) and on
 * state (OSXSAVE) are left to the caller.
 */
struct x86_features {
	uint32_t leaf1_ecx, leaf1_edx;
	uint32_t leaf7_ebx, leaf7_ecx, leaf7_edx;
	uint32_t ext1_ecx, ext1_edx;
	uint32_t xsave1_eax;
	uint64_t xcr0; /* state components that XSETBV accepts */
};
void x86_features(struct x86_features *f);

#endif
