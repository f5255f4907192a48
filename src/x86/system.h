/*
 * system.h - what the system files of src/x86/ share: segment descriptors, stacks other than the
 * current one, event delivery, task switches, MSRs.
 *
 * Everything here works on the architectural state (struct x86_state), never on decoded code. A
 * function that takes an operation may raise a fault at it; NULL means that s.rip is exact already.
 * Whoever changes CS, SS, CPL, flags or control registers through these calls x86_update_mode().
 *
 * Facts: Intel SDM vol. 3A, chapters 3, 5, 6 and 7.
 */
#ifndef PARTITA_X86_SYSTEM_H
#define PARTITA_X86_SYSTEM_H

#include "x86/mem.h"

/* ---- Modes --------------------------------------------------------------------------------- */

static inline bool x86_in_vm86(const struct x86_vcpu *c)
{
	return c->rflags & X86_FLAG_VM;
}

/* Protected mode proper: selectors name descriptors. */
static inline bool x86_in_protected(const struct x86_vcpu *c)
{
	return (c->s.cr0 & X86_CR0_PE) && !x86_in_vm86(c);
}

static inline bool x86_in_long(const struct x86_vcpu *c)
{
	return c->s.efer & X86_EFER_LMA;
}

static inline unsigned x86_iopl(const struct x86_vcpu *c)
{
	return (c->rflags & X86_FLAG_IOPL) >> 12;
}

static inline bool x86_canonical(uint64_t va)
{
	return (uint64_t)((int64_t)(va << (64 - X86_LINEAR_BITS)) >> (64 - X86_LINEAR_BITS)) == va;
}

static inline _Noreturn void x86_raise_gp(
	struct x86_vcpu *c, const struct x86_op *o, uint32_t error)
{
	x86_raise_error(c, o, X86_VEC_GP, error);
}

static inline void x86_require_cpl0(struct x86_vcpu *c, const struct x86_op *o)
{
	if (unlikely(c->s.cpl))
		x86_raise_gp(c, o, 0);
}

/*
 * x86_chain_at - as x86_end_at(), for what changed nothing that the loop in vcpu.c need look at,
 * or says so in c->attention. Use as "return x86_chain_at(...)".
 */
static inline __attribute__((always_inline)) void x86_chain_at(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t rip)
{
	return x86_chain(c, o, (rip + c->cs_base) & (c->mode & X86_MODE_64 ? ~0ul : 0xfffffffful));
}

/* ---- The processor's own accesses ---------------------------------------------------------- */

/* As x86_host_r() and x86_host_w(), but supervisor accesses whatever the CPL. */
static inline void *x86_sys_host(const struct x86_vcpu *c, uint64_t va, unsigned size, bool write)
{
	const struct x86_tlb *t =
		&c->tlbs[c->s.cr4 & X86_CR4_SMAP ? X86_TLB_KERNEL : X86_TLB_KERNEL_AC];
	const struct x86_tlb_entry *e = &t->entry[(va >> 12) & (X86_TLB_ENTRIES - 1)];
	uint64_t tag = ((va + size - 1) & X86_PAGE_MASK) | t->gen;

	if (unlikely((write ? e->tag_w : e->tag_r) != tag || c->emulating))
		return NULL;
	return (void *)(va + e->addend);
}

static inline uint64_t x86_sys_load(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size)
{
	uint64_t value = 0;
	const void *p = x86_sys_host(c, va, size, false);

	if (unlikely(!p))
		x86_sys_read(c, o, va, &value, size);
	else if (size == 8)
		value = *(const volatile uint64_t *)p;
	else
		memcpy(&value, p, size);
	return value;
}

static inline void x86_sys_store(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size, uint64_t value)
{
	void *p = x86_sys_host(c, va, size, true);

	if (unlikely(!p))
		x86_sys_write(c, o, va, &value, size);
	else if (size == 8)
		*(volatile uint64_t *)p = value;
	else
		memcpy(p, &value, size);
}

/* ---- Descriptors (descriptor.c) ------------------------------------------------------------ */

/* Types of system descriptors. */
enum x86_sys_type {
	X86_SYS_TSS16 = 1,
	X86_SYS_LDT = 2,
	X86_SYS_TSS16_BUSY = 3,
	X86_SYS_CALL16 = 4,
	X86_SYS_TASK_GATE = 5,
	X86_SYS_INT16 = 6,
	X86_SYS_TRAP16 = 7,
	X86_SYS_TSS32 = 9, /* in long mode: 64-bit */
	X86_SYS_TSS32_BUSY = 11,
	X86_SYS_CALL32 = 12, /* in long mode: 64-bit */
	X86_SYS_INT32 = 14,
	X86_SYS_TRAP32 = 15,
};

#define X86_DESC_S    (1ul << 44)
#define X86_DESC_CODE (1ul << 43) /* of a code or data segment */
#define X86_DESC_CONF (1ul << 42) /* of a code segment: conforming; of data: expands down */
#define X86_DESC_RW   (1ul << 41) /* code: readable; data: writable */
#define X86_DESC_P    (1ul << 47)
#define X86_DESC_L    (1ul << 53)
#define X86_DESC_DB   (1ul << 54)

static inline unsigned x86_desc_dpl(uint64_t desc)
{
	return (desc >> 45) & 3;
}

static inline enum x86_sys_type x86_desc_type(uint64_t desc)
{
	return (enum x86_sys_type)((desc >> 40) & 15);
}

static inline bool x86_desc_is_code(uint64_t desc)
{
	return (desc & (X86_DESC_S | X86_DESC_CODE)) == (X86_DESC_S | X86_DESC_CODE);
}

static inline bool x86_desc_is_writable(uint64_t desc)
{
	return (desc & (X86_DESC_S | X86_DESC_CODE | X86_DESC_RW)) == (X86_DESC_S | X86_DESC_RW);
}

static inline bool x86_desc_is_conforming(uint64_t desc)
{
	return desc & X86_DESC_CONF;
}

static inline uint64_t x86_desc_base(uint64_t desc)
{
	return ((desc >> 16) & 0xffffff) | ((desc >> 32) & 0xff000000);
}

static inline uint32_t x86_desc_limit(uint64_t desc)
{
	uint32_t limit = (uint32_t)((desc & 0xffff) | ((desc >> 32) & 0xf0000));

	return desc & (1ul << 55) ? limit << 12 | 0xfff : limit;
}

static inline bool x86_selector_null(uint16_t selector)
{
	return (selector & 0xfffc) == 0;
}

/* Reads the descriptor of @selector; false: it lies outside its table. */
bool x86_desc_read(struct x86_vcpu *c, const struct x86_op *o, uint16_t selector, uint64_t *desc);
/* The upper half of a 16-byte system descriptor; false likewise. */
bool x86_desc_read_high(
	struct x86_vcpu *c, const struct x86_op *o, uint16_t selector, uint64_t *high);
/* Sets bits of the descriptor's type in memory: accessed, busy. Clears those of @clear. */
void x86_desc_mark(struct x86_vcpu *c, const struct x86_op *o, uint16_t selector, uint64_t *desc,
	unsigned set, unsigned clear);
/* Sets the accessed bit of a code or data descriptor unless it is set. */
static inline void x86_desc_accessed(
	struct x86_vcpu *c, const struct x86_op *o, uint16_t selector, uint64_t *desc)
{
	if (unlikely(!(*desc & (1ul << 40))))
		x86_desc_mark(c, o, selector, desc, 1, 0);
}

struct x86_segment x86_segment_of(uint16_t selector, uint64_t desc);
/* A null selector's register. */
struct x86_segment x86_segment_null(uint16_t selector);
/* What a selector means in real and virtual-8086 mode, given the register's present value. */
struct x86_segment x86_segment_real(
	const struct x86_vcpu *c, const struct x86_segment *old, uint16_t selector);

/*
 * The checks of loading ES, DS, FS or GS with @selector in protected mode. Raises what they raise
 * (@vector and @ext: as below); marks the descriptor accessed; returns the register's new value.
 */
struct x86_segment x86_check_data_segment(struct x86_vcpu *c, const struct x86_op *o,
	uint16_t selector, unsigned vector, unsigned ext);
/* The same by the rules of MOV, for SS as well. */
struct x86_segment x86_check_segment(
	struct x86_vcpu *c, const struct x86_op *o, enum x86_seg seg, uint16_t selector);
/*
 * The checks of SS for a stack at privilege @cpl, by the rules of a privilege change. @vector and
 * @ext: the exception for a bad selector (#TS or #GP) and what is added to the error code.
 */
struct x86_segment x86_check_stack_segment(struct x86_vcpu *c, const struct x86_op *o,
	uint16_t selector, unsigned cpl, unsigned vector, unsigned ext);
/* Offset @rip must lie in code segment @desc: #GP(@ext) otherwise. */
void x86_check_target(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t desc, uint64_t rip, uint32_t ext);

/* The checks of CS popped by IRET or a far RET: its descriptor. */
uint64_t x86_read_return_code(struct x86_vcpu *c, const struct x86_op *o, uint16_t cs);
/* Returning to an outer level: data segments that the new CPL may not use become null. */
void x86_drop_inner_segments(struct x86_vcpu *c);

/* ---- Stacks (descriptor.c) ----------------------------------------------------------------- */

/* A stack that is pushed to or popped from before it becomes, or after it was, the current one. */
struct x86_stack {
	struct x86_segment ss;
	uint64_t sp;
	uint64_t mask;	/* of sp: 16, 32 or 64 bits */
	uint32_t error; /* code of the #SS for an access outside the segment */
	uint8_t cpl;	/* at which it is accessed */
	bool flat;	/* 64-bit: canonical check instead of base and limit */
};

struct x86_stack x86_stack_current(const struct x86_vcpu *c);
/* Of segment @ss, as 64-bit code sees it or not. */
struct x86_stack x86_stack_make(
	struct x86_segment ss, uint64_t sp, unsigned cpl, bool flat, uint32_t error);
/* The checks of SS popped by IRET or a far RET to @cpl, and to 64-bit code or not. */
struct x86_segment x86_check_return_stack(
	struct x86_vcpu *c, const struct x86_op *o, uint16_t ss, unsigned cpl, bool to_long);
/* The same, making a stack of it, with what is popped for its pointer; @code: CS's descriptor. */
struct x86_stack x86_return_stack(struct x86_vcpu *c, const struct x86_op *o, uint16_t ss,
	uint64_t sp, unsigned cpl, uint64_t code);
void x86_push(struct x86_vcpu *c, const struct x86_op *o, struct x86_stack *st, unsigned size,
	uint64_t value);
uint64_t x86_pop(struct x86_vcpu *c, const struct x86_op *o, struct x86_stack *st, unsigned size);
/* The stack pointer register's new value: the bits outside the mask stay. */
void x86_stack_commit(struct x86_vcpu *c, const struct x86_stack *st);

/* SS:(E)SP of privilege @cpl from the TSS (not long mode); #TS(TR + @ext) beyond its limit. */
void x86_tss_stack(struct x86_vcpu *c, const struct x86_op *o, unsigned cpl, uint32_t ext,
	uint16_t *ss, uint64_t *sp);
/* Stack pointer @slot of the 64-bit TSS: 0 to 2 RSPn, 4 to 10 IST1 to IST7 (3 + n). */
uint64_t x86_tss_rsp(struct x86_vcpu *c, const struct x86_op *o, unsigned slot, uint32_t ext);

/* ---- Events (exception.c), tasks (task.c) -------------------------------------------------- */

enum x86_event_kind {
	X86_EVENT_HARDWARE, /* exceptions, interrupts, NMI: EXT set in error codes */
	X86_EVENT_SOFTWARE, /* INT n, INT3, INTO: the gate's DPL is checked */
	X86_EVENT_ICEBP,    /* INT1: no DPL check, EXT set */
};

struct x86_interrupt {
	uint8_t vector;
	enum x86_event_kind kind;
	bool rf; /* push the flags with RF set */
	bool has_error;
	uint32_t error;
	uint64_t rip; /* to push */
};

/*
 * x86_interrupt - go through the vector table once; s.rip is then the handler's. Faults leave
 * through c->unwind with the state unchanged.
 */
void x86_interrupt(struct x86_vcpu *c, const struct x86_interrupt *i);

enum x86_task_reason {
	X86_TASK_JUMP,
	X86_TASK_CALL,
	X86_TASK_IRET,
	X86_TASK_EVENT, /* through a task gate of the IDT: links back as CALL does */
};

struct x86_task {
	enum x86_task_reason reason;
	uint16_t selector; /* of the new TSS */
	uint64_t rip;	   /* what the old task resumes at, */
	uint32_t flags;	   /* and with */
	uint32_t ext;	   /* added to the error codes of faults on the way */
	bool push_error;   /* put .error on the new task's stack */
	uint32_t error;
};

/*
 * x86_task_switch - leaves s.rip in the new task. A fault in loading the new task's segments is
 * raised in the new task.
 */
void x86_task_switch(struct x86_vcpu *c, const struct x86_op *o, const struct x86_task *task);

/* Load LDTR as LLDT does. @vector: of the exception for a bad selector (segment.c). */
void x86_load_ldtr(struct x86_vcpu *c, const struct x86_op *o, uint16_t selector, unsigned vector);

/* ---- Control registers (control.c), debugging (debug.c) ------------------------------------ */

/* Reads PAE's four page directory pointers: false when one has a reserved bit set. */
bool x86_pdptes_valid(struct x86_vcpu *c, uint64_t cr3);
/* The guest's time stamp counter now. */
static inline uint64_t x86_tsc(const struct x86_vcpu *c)
{
	return __builtin_ia32_rdtsc() + c->s.tsc_offset;
}

/* Raises #DB with the bits of DR6; s.rip must be exact. */
_Noreturn void x86_raise_debug(struct x86_vcpu *c, const struct x86_op *o, uint64_t dr6);
/* DR6 bits of the I/O breakpoints that an access hits. */
uint64_t x86_debug_io(const struct x86_vcpu *c, uint16_t port, unsigned size);

/* In pending_db, beside bits of DR6: no single-step trap after this instruction. */
#define X86_DB_NO_STEP (1ul << 63)

#define X86_DR6_BD    0x2000ul
#define X86_DR6_BS    0x4000ul
#define X86_DR6_BT    0x8000ul
#define X86_DR6_FIXED 0xffff0ff0ul
#define X86_DR7_GD    0x2000ul
#define X86_DR7_FIXED 0x400ul

#endif
