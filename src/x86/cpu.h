/*
 * cpu.h - what the files of src/x86/ share: the vcpu, the decoded operation, the block.
 *
 * How the processor runs. Guest code is decoded once into blocks: arrays of struct x86_op, each a
 * pointer to the function that performs it and its operands. A function ends by calling the next
 * one (a tail call: NEXT), so a block runs without a loop around it; its last operation finds the
 * next block (CHAIN, LINK) and goes on there, or returns to the loop in block.c when something
 * wants attention. Nothing but block.c and translate.c knows how a block is made or run.
 *
 * Rules for a function that performs an operation:
 * - It changes no guest-visible register before its last access that can fault: whatever faults
 *   leaves through longjmp, and the instruction starts anew.
 * - It takes the address of no local variable that outlives a call, or the compiler cannot make
 *   NEXT a jump (tests/unit/x86_tailcall checks the object code).
 * - Whatever can fault, exit or block is given the operation, whose .off tells where RIP is.
 * - Guest arithmetic flags live in vcpu.fl in the form LAHF and SETO leave them (see FLAGS below).
 *
 * Facts: Intel SDM vol. 2 and 3A, AMD APM vol. 2 and 3.
 */
#ifndef PARTITA_X86_CPU_H
#define PARTITA_X86_CPU_H

#include "x86/x86.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <string.h>

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define X86_PAGE_SIZE 4096ul
#define X86_PAGE_MASK (~(X86_PAGE_SIZE - 1))

/* ---- Registers, as byte offsets from the start of struct x86_vcpu ---------------------------- */

#define X86_R(n) ((uint8_t)((n) * 8))	  /* general register n */
#define X86_RH(n) ((uint8_t)((n) * 8 + 1)) /* AH, CH, DH, BH: n = 0..3 */
#define X86_R_ZERO X86_R(16)		  /* always 0: an address without base or index */
#define X86_R_PAGE X86_R(17)		  /* linear address of the page the block began in */
#define X86_R_EA   X86_R(18)		  /* result of x86_op_ea */
#define X86_R_T0   X86_R(19)		  /* scratch of one instruction */

/* Entry of seg_base[] whose base is always 0. */
#define X86_SEG_FLAT X86_LDTR

/* ---- Operations and blocks ------------------------------------------------------------------ */

struct x86_vcpu;
struct x86_op;
typedef void (*x86_op_fn)(struct x86_vcpu *c, const struct x86_op *o);

struct x86_op {
	x86_op_fn fn;
	uint64_t imm; /* immediate; for LINK operations the linked block */
	int32_t disp; /* displacement; for LINK operations the target, relative to R_PAGE */
	uint8_t r0, r1; /* register operands, X86_R() */
	uint8_t base, index;
	uint8_t seg;	/* index into seg_base[] */
	uint8_t scale;	/* shift count of the index */
	uint8_t len;	/* of the instruction, in bytes */
	uint8_t x;	/* the operation's own use */
	uint16_t off;	/* of the instruction, from R_PAGE */
	uint16_t n;	/* instructions from the block's start to this one, itself included */
};
_Static_assert(sizeof(struct x86_op) == 32, "two operations a cache line");

struct x86_block {
	uint64_t gpa;  /* of the first byte */
	uint64_t gpa2; /* of the second page when the only instruction crosses; else 0 */
	uint32_t mode;
	uint16_t bytes;	 /* of guest code */
	uint16_t n_ops;
	struct x86_block *_Atomic hash_next;
	struct x86_block *page_next[2];
	uint16_t heat; /* how often it was entered, if somebody counts: compile.c */
	_Atomic uint32_t native; /* its native code: offset in vcpu.native; 0: none */
	struct x86_op ops[];
};

/* The block whose first operation @first is. */
static inline struct x86_block *x86_block_of(const struct x86_op *first)
{
	return (struct x86_block *)((char *)first - offsetof(struct x86_block, ops));
}

/* What a block's meaning depends on besides its bytes; part of its key. */
#define X86_MODE_64	0x01u /* 64-bit code */
#define X86_MODE_32	0x02u /* 32-bit code (neither: 16-bit) */
#define X86_MODE_SS32	0x04u /* 32-bit stack outside 64-bit mode */
#define X86_MODE_USER	0x08u /* CPL 3 */
#define X86_MODE_PROT	0x10u /* protected mode, not virtual-8086 */
#define X86_MODE_SINGLE 0x20u /* blocks of one instruction */
#define X86_MODE_LMA	0x40u /* long mode active (64-bit or compatibility) */

/* ---- Translation look-aside buffer ----------------------------------------------------------- */

#define X86_TLB_ENTRIES 2048u

/*
 * A tag is the page's linear address with the generation of the buffer in its low 12 bits: making
 * a new generation empties the buffer at once, returning to an earlier one (PCID) revives it.
 */
struct x86_tlb_entry {
	uint64_t tag_r, tag_w, tag_x;
	uintptr_t addend; /* host address = linear address + addend */
};

enum x86_tlb_kind {
	X86_TLB_KERNEL,	   /* CPL 0-2, user pages refused (SMAP); all instruction fetches there */
	X86_TLB_KERNEL_AC, /* CPL 0-2, user pages allowed */
	X86_TLB_USER,	   /* CPL 3 */
	X86_TLB_NONE,	   /* never hits: alignment checks, emulation */
	X86_TLB_KINDS,
};

struct x86_tlb {
	struct x86_tlb_entry *entry;
	uint64_t *gpa;	    /* of the page, beside each entry */
	uint64_t gen;	    /* 1..4095 */
	bool has_nonglobal; /* something in it depends on CR3 */
	struct x86_code_page *code_page; /* [X86_CODE_PAGES]; NULL: nothing is fetched by it */
};

/* ---- Jump cache: linear address to block --------------------------------------------------- */

#define X86_JC_ENTRIES 32768u
#define X86_JC_OF_PAGE 256u
#define X86_JC_OTHER   0x800u

struct x86_jc_entry {
	uint64_t lin;
	uint32_t tag;	/* vcpu.jc_tag, or that without X86_JC_NATIVE */
	uint32_t where; /* offset in vcpu.native if X86_JC_NATIVE, else of the block in vcpu.code */
};
_Static_assert(sizeof(struct x86_jc_entry) == 16, "x86_jc_offset(), compile_branch.c");

#define X86_JC_NATIVE 0x80000000u

/*
 * Offset in bytes of the entry for @lin. Either that or the one X86_JC_OTHER from it has the
 * block. A page's entries lie together, so that INVLPG has few to clear, and are scattered there:
 * calls and their returns come in clusters.
 */
#define X86_JC_SETS    ((X86_JC_ENTRIES - X86_JC_OF_PAGE) * 16)
#define X86_JC_SCATTER 0x9e3779b1u
#define X86_JC_SHIFT   20 /* to an offset within a page */

static inline unsigned x86_jc_offset(uint64_t lin)
{
	unsigned in_page = (X86_JC_OF_PAGE - 1) * 16;

	return ((unsigned)lin & X86_JC_SETS) |
	       (((unsigned)lin * X86_JC_SCATTER) >> X86_JC_SHIFT & in_page);
}

static inline struct x86_jc_entry *x86_jc_other(struct x86_jc_entry *e)
{
	return (struct x86_jc_entry *)((uintptr_t)e ^ X86_JC_OTHER);
}

/* ---- Between pages of code ------------------------------------------------------------------ */

/* Which page of the guest's memory instructions are fetched from at a linear page. */
struct x86_code_page {
	uint64_t key;	 /* the linear page | x86_tlb.gen; 0: none */
	uint64_t number; /* guest-physical address / page size */
};

#define X86_CODE_PAGES 4096u

/*
 * Where calls are to return to: a ring for the kernel, one for the user, of this many. An entry is
 * a linear address and the offset in vcpu.native to go on at. Both are 0 where nothing is known:
 * native code at offset 0 goes on at address 0 (gate.h).
 */
#define X86_RETURNS 32u

/* ---- The processor -------------------------------------------------------------------------- */

/* Reasons to leave the chain of blocks. */
#define X86_ATTN_STOP	   0x001u /* x86_vcpu_stop() */
#define X86_ATTN_INTERRUPT 0x002u /* ask ops->interrupt when interrupts are open */
#define X86_ATTN_NMI	   0x004u
#define X86_ATTN_FLUSH	   0x008u /* flush[] holds requests */
#define X86_ATTN_SAFE	   0x010u /* somebody waits for this vcpu to reach a block boundary */
#define X86_ATTN_SINGLE	   0x020u /* TF, interrupt shadow or debug registers: step */
#define X86_ATTN_WINDOW	   0x040u
#define X86_ATTN_INJECT	   0x080u

struct x86_event {
	bool valid;
	uint8_t type; /* as x86_vcpu_inject() */
	uint8_t vector;
	uint8_t length; /* of the instruction that raised it, where RIP must move past it */
	bool has_error;
	uint32_t error;
	uint64_t parameter;
};

struct x86_vcpu {
	struct x86_state s; /* first: operations address registers from here */

	struct x86_tlb_entry *tlb; /* that of the current mode */
	uint64_t tlb_gen;
	uint16_t fl; /* arithmetic flags: see FLAGS */
	_Atomic uint32_t attention;
	uint32_t rflags; /* all the other flags */
	uint32_t mode;
	uint64_t seg_base[X86_SEG_COUNT]; /* as added to offsets: 0 for ES..DS in 64-bit mode */
	uint64_t cs_base;		  /* linear = RIP + cs_base */
	uint64_t lin;			  /* of the next instruction, between blocks */
	uint64_t instructions;
	const struct x86_op *link_from; /* the LINK operation to patch when the target is found */
	const struct x86_op *next_op;	/* where tail calls are not to be had: the chained block */
	uint32_t jc_tag; /* what depends on CR3 and the mode; with X86_JC_NATIVE */
	uint8_t rmw_pending;  /* x86_rmw_end() has work */
	uint8_t simd_trap;    /* SSE instructions must look at CR0/CR4 first */
	uint8_t x87_trap;     /* x87/MMX likewise */
	uint8_t irq_waiting;  /* an interrupt came while they were closed */
	uint32_t pauses;      /* PAUSE instructions executed */
	uint8_t bounce[64] __attribute__((aligned(64)));
	uint64_t rmw_va, rmw_gpa;
	unsigned rmw_size;

	struct x86_machine *machine;
	const struct x86_ops *ops;
	void *ctx;
	unsigned index;
	enum x86_tlb_kind tlb_kind;
	struct x86_tlb tlbs[X86_TLB_KINDS];
	struct x86_jc_entry *jc;
	const uint8_t *code, *native; /* the machine's */
	struct x86_code_page *code_page; /* those of the current mode, and their generation */
	uint64_t code_gen;
	uint16_t returns;      /* the entry in use, * 8: its low byte goes round in a ring */
	uint8_t returns_other; /* the low byte for the other ring */
	uint64_t return_lin[2 * X86_RETURNS], return_where[2 * X86_RETURNS];
	uint64_t large_2m[64], large_1g[64]; /* Bloom filters of large pages entered: see INVLPG */
	uint64_t gen_next;
	uint16_t *pcid_gen; /* [4096]: generation last used for a PCID, 0: none */

	_Atomic bool parked; /* not between a TLB check and its access: may be waited for */
	bool emulating;	     /* inside x86_vcpu_emulate() */
	/* The code cache's epoch when last at a block boundary; X86_EPOCH_IDLE outside run. */
	_Atomic uint64_t code_epoch;
	uint64_t jc_epoch; /* the one that jc[] belongs to */
	struct {
		uint64_t cr0, cr3, cr4, efer;
	} seen; /* what the TLB was filled under */
	pthread_mutex_t flush_lock;
	struct {
		bool all, global;
		unsigned count;
		uint64_t gva[16];
	} flush;
	_Atomic uint32_t flush_done, flush_asked;

	jmp_buf *unwind;
	struct x86_event exception; /* being raised */
	struct x86_event injected;
	uint64_t exception_intercepts;
	struct x86_exit *exit;
	uint64_t pending_db; /* DR6 bits of data breakpoints hit by the current instruction */
	struct x86_block *emulate_block;
};

#define X86_EPOCH_IDLE (~0ul)
#define X86_BLOCK_OPS  192 /* the most operations in a block */

/* ---- Small accessors ------------------------------------------------------------------------- */

#define X86_REG(c, r, type) (*(type *)((char *)(c) + (r)))

/* X86_R_PAGE, to which operations' offsets are relative. */
static inline uint64_t *x86_page(const struct x86_vcpu *c)
{
	return &X86_REG(c, X86_R_PAGE, uint64_t);
}

/* FLAGS: fl holds AH of LAHF in its high byte and OF (0 or 1) in its low one. */
#define X86_FL_CF 0x0100u
#define X86_FL_PF 0x0400u
#define X86_FL_AF 0x1000u
#define X86_FL_ZF 0x4000u
#define X86_FL_SF 0x8000u
#define X86_FL_OF 0x0001u

/* After an instruction in an asm statement with output "=a"(c->fl): keeps its flags. */
#define X86_ASM_SAVE_FLAGS "\n\tlahf\n\tseto %%al"
/* Before an instruction that reads flags, with input "a"(c->fl). */
#define X86_ASM_LOAD_FLAGS "addb $0x7f, %%al\n\tsahf\n\t"

static inline uint32_t x86_flags(const struct x86_vcpu *c)
{
	return c->rflags | ((c->fl >> 8) & 0xd5u) | ((uint32_t)(c->fl & 1) << 11) | X86_FLAG_1;
}

static inline void x86_set_arith(struct x86_vcpu *c, uint32_t flags)
{
	c->fl = (uint16_t)(((flags & 0xd5u) | 2u) << 8 | ((flags >> 11) & 1));
}

/* The instruction's RIP, and that of the next one. */
static inline uint64_t x86_rip_mask(const struct x86_vcpu *c)
{
	return c->mode & X86_MODE_64 ? ~0ul : 0xfffffffful;
}

static inline uint64_t x86_op_rip(const struct x86_vcpu *c, const struct x86_op *o)
{
	return (*x86_page(c) + o->off - c->cs_base) & x86_rip_mask(c);
}

static inline uint64_t x86_op_next_rip(const struct x86_vcpu *c, const struct x86_op *o)
{
	return (*x86_page(c) + o->off + o->len - c->cs_base) & x86_rip_mask(c);
}

static inline void x86_attend(struct x86_vcpu *c, uint32_t bits)
{
	atomic_fetch_or(&c->attention, bits);
}

static inline struct x86_jc_entry *x86_jc_first(const struct x86_vcpu *c, uint64_t lin)
{
	return (struct x86_jc_entry *)((char *)c->jc + x86_jc_offset(lin));
}

/* Those of the page that has @lin, X86_JC_OF_PAGE. */
static inline struct x86_jc_entry *x86_jc_page(const struct x86_vcpu *c, uint64_t lin)
{
	return (struct x86_jc_entry *)((char *)c->jc + (lin & X86_JC_SETS));
}

/* The entry that may be for @lin: look at its .lin, and at its .tag. */
static inline struct x86_jc_entry *x86_jc_at(const struct x86_vcpu *c, uint64_t lin)
{
	struct x86_jc_entry *e = x86_jc_first(c, lin);

	return likely(e->lin == lin) ? e : x86_jc_other(e);
}

static inline bool x86_jc_is(
	const struct x86_vcpu *c, const struct x86_jc_entry *e, uint64_t lin)
{
	return e->lin == lin && (e->tag | X86_JC_NATIVE) == c->jc_tag;
}

/* In front of a block's native code, this many bytes before it: where its first operation is. */
#define X86_NATIVE_OPS 14u

static inline struct x86_block *x86_jc_block(
	const struct x86_vcpu *c, const struct x86_jc_entry *e)
{
	const struct x86_op *first;

	if (!(e->tag & X86_JC_NATIVE))
		return (struct x86_block *)(c->code + e->where);
	memcpy(&first, c->native + e->where - X86_NATIVE_OPS, sizeof(first));
	return x86_block_of(first);
}

/* Where a block that is being entered begins: X86_R_PAGE is that of its first byte. */
static inline uint64_t x86_block_lin(const struct x86_vcpu *c, const struct x86_block *b)
{
	return *x86_page(c) + (b->gpa & ~X86_PAGE_MASK);
}

/* The one of @pages that may be that of @lin. */
static inline struct x86_code_page *x86_code_page(struct x86_code_page *pages, uint64_t lin)
{
	return &pages[(lin >> 12) & (X86_CODE_PAGES - 1)];
}

/* A call of whose return nothing is known, and a return: so that those of others are found. */
static inline void x86_returns_push(struct x86_vcpu *c)
{
	c->returns = (c->returns & 0xff00) | ((c->returns + 8) & 0xff);
	c->return_lin[c->returns / 8] = c->return_where[c->returns / 8] = 0;
}

static inline void x86_returns_pop(struct x86_vcpu *c)
{
	c->returns = (c->returns & 0xff00) | ((c->returns - 8) & 0xff);
}

/* ---- Going on ------------------------------------------------------------------------------- */

/* What sanitizers put behind a call keeps it from being a jump. gcc tells of them so, clang so. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define X86_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define X86_SANITIZED 1
#endif
#endif

#if defined(__OPTIMIZE__) && !defined(X86_SANITIZED) && !defined(PARTITA_NO_TAIL_CALLS)
#define X86_TAIL_CALLS 1
#else
#define X86_TAIL_CALLS 0
#endif

#define X86_OP(name) static void name(struct x86_vcpu *c, const struct x86_op *o)

/* Whoever drops a block changes its operations under those who are inside it: block.c. */
static inline x86_op_fn x86_op_function(const struct x86_op *o)
{
	return __atomic_load_n(&o->fn, __ATOMIC_RELAXED);
}

/*
 * x86_enter - execute from @o on until something returns; miss.S. Native code does not keep RBX,
 * RBP and R12 to R15; x86_enter() does, so this is how C calls an operation.
 */
void x86_enter(struct x86_vcpu *c, const struct x86_op *o);
_Static_assert(offsetof(struct x86_op, fn) == 0, "x86_enter() reads it there");

/* Goes on with @o. Use as "return x86_continue(...)". */
static inline __attribute__((always_inline)) void x86_continue(
	struct x86_vcpu *c, const struct x86_op *o)
{
#if X86_TAIL_CALLS
	return x86_op_function(o)(c, o);
#else
	x86_enter(c, o);
#endif
}

/* The next operation of the block. */
#define NEXT return x86_continue(c, o + 1)

static inline void x86_enter_block(struct x86_vcpu *c, struct x86_block *b)
{
#if X86_TAIL_CALLS
	return x86_continue(c, b->ops);
#else
	c->next_op = b->ops;
#endif
}

/*
 * x86_chain - end the block; continue at linear address @lin. Use as "return x86_chain(...)".
 */
static inline __attribute__((always_inline)) void x86_chain(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t lin)
{
	struct x86_jc_entry *e = x86_jc_at(c, lin);

	c->instructions += o->n;
	if (likely(x86_jc_is(c, e, lin) &&
		    !atomic_load_explicit(&c->attention, memory_order_relaxed))) {
		*x86_page(c) = lin & X86_PAGE_MASK;
		return x86_enter_block(c, x86_jc_block(c, e));
	}
	c->lin = lin;
}

/* Back to the loop, to find the block that the LINK @o is to remember. */
static inline void x86_find_link(struct x86_vcpu *c, const struct x86_op *o)
{
	c->lin = *x86_page(c) + (int64_t)o->disp;
	c->link_from = o;
}

/*
 * x86_link - end the block; continue at o->disp from R_PAGE, in the page the block began in.
 * The block found there is remembered in o->imm.
 */
static inline __attribute__((always_inline)) void x86_link(
	struct x86_vcpu *c, const struct x86_op *o)
{
	struct x86_block *b = (struct x86_block *)atomic_load_explicit(
		(_Atomic uint64_t *)&o->imm, memory_order_acquire);

	c->instructions += o->n;
	if (likely(b && !atomic_load_explicit(&c->attention, memory_order_relaxed)))
		return x86_enter_block(c, b);
	x86_find_link(c, o);
}

/*
 * x86_end_here - end the block after this instruction and go through the loop in block.c, which
 * looks at everything anew: for instructions that change modes, translations or attention.
 */
static inline void x86_end_here(struct x86_vcpu *c, const struct x86_op *o)
{
	c->instructions += o->n;
	c->lin = *x86_page(c) + o->off + o->len;
}

/* x86_end_at - the same, continuing at @rip (an offset in CS as it is now). */
static inline void x86_end_at(struct x86_vcpu *c, const struct x86_op *o, uint64_t rip)
{
	c->instructions += o->n;
	c->lin = (rip + c->cs_base) & (c->mode & X86_MODE_64 ? ~0ul : 0xfffffffful);
}

/* ---- vcpu.c --------------------------------------------------------------------------------- */

/* Leave the current instruction by raising a fault; o may be NULL when s.rip is already right. */
_Noreturn void x86_raise(struct x86_vcpu *c, const struct x86_op *o, unsigned vector);
_Noreturn void x86_raise_error(
	struct x86_vcpu *c, const struct x86_op *o, unsigned vector, uint32_t error);
_Noreturn void x86_raise_event(
	struct x86_vcpu *c, const struct x86_op *o, const struct x86_event *event);
/* Leave x86_vcpu_run() with RIP at the instruction; the caller filled c->exit but the reason. */
_Noreturn void x86_leave(
	struct x86_vcpu *c, const struct x86_op *o, enum x86_exit_reason reason);

/* Make s.rip (unless o is NULL) and s.rflags exact, for callbacks and slow paths. */
void x86_sync(struct x86_vcpu *c, const struct x86_op *o);

/* Set all flags from a value that the caller has masked; looks at IF, TF and AC. */
void x86_set_flags(struct x86_vcpu *c, uint32_t flags);
/*
 * Recompute everything derived from CR0, CR3.., CR4, EFER, CPL, CS, SS, segment bases and flags:
 * mode, seg_base, the TLB in use, traps. Call after changing any of them.
 */
void x86_update_mode(struct x86_vcpu *c);

/* ---- tlb.c ----------------------------------------------------------------------------------- */

struct x86_slot {
	uint64_t gpa, size;
	uint8_t *host;
	unsigned flags;
	struct x86_page *page; /* one for each 4 KiB */
};

/* What the machine knows of a page of guest memory. */
struct x86_page {
	_Atomic uint8_t code;	/* decoded code comes from it: writes must be seen */
	_Atomic uint8_t writer; /* vcpu index + 1 whose TLB may hold it writable; 255: several */
};

#define X86_HASH_BUCKETS 32768u
#define X86_PAGE_BUCKETS 8192u

struct x86_machine {
	unsigned n_vcpus;
	struct x86_vcpu *vcpu[64];
	pthread_mutex_t lock; /* the code cache, the memory map; its holder may stop the others */
	struct x86_slot *slots; /* sorted by gpa */
	unsigned n_slots;
	uint8_t *code; /* the arena, two halves */
	size_t half_bytes, used;
	unsigned half;
	_Atomic uint64_t epoch; /* of the code cache: how often it was emptied */
	struct x86_block *_Atomic hash[X86_HASH_BUCKETS];
	struct x86_block *pages[X86_PAGE_BUCKETS];
	struct x86_emitters *emitters; /* translate.c's table */
	struct x86_native *native; /* thunks of x87 and SIMD instructions: native.h */
	struct x86_compiled *compiled; /* NULL: blocks are not compiled */
};

/* The vcpu of @m that this thread is running, or NULL. */
struct x86_vcpu *x86_current(const struct x86_machine *m);
/*
 * Taking the machine's lock: as a vcpu, which counts as parked while it waits, or from outside
 * (NULL, which also serves callbacks that do not know on whose behalf they are called).
 */
void x86_lock(struct x86_machine *m, struct x86_vcpu *c);
void x86_unlock(struct x86_machine *m);
/* With the lock held: wait until every other vcpu is parked; they stay so until the unlock. */
void x86_stop_others(struct x86_machine *m, struct x86_vcpu *c);

struct x86_slot *x86_slot_find(struct x86_machine *m, uint64_t gpa);

/* Drop translations of this vcpu: all, or all but global ones in kernel space. */
void x86_tlb_flush_all(struct x86_vcpu *c);
void x86_tlb_flush_nonglobal(struct x86_vcpu *c);
void x86_tlb_flush_page(struct x86_vcpu *c, uint64_t va);
/* Flush what belongs to one PCID (INVPCID type 1), current or not. */
void x86_tlb_flush_pcid(struct x86_vcpu *c, unsigned pcid);
/* Use the buffer that the mode calls for, after generations or the mode changed. */
void x86_tlb_select(struct x86_vcpu *c);
/* Native code that calls would return to is no more. */
void x86_returns_forget(struct x86_vcpu *c);
/* After CR3 changed: keep_pcid is bit 63 of the value written with CR4.PCIDE set. */
void x86_tlb_switch(struct x86_vcpu *c, bool keep_pcid);
void x86_tlb_serve_requests(struct x86_vcpu *c);

struct x86_walk {
	uint64_t gpa;
	uint64_t page_mask; /* of the page found: ~0xfff, ~0x1fffff ... */
	bool user, writable, exec, global, dirty;
};

/* Walk as CPL 3 (@user) or supervisor; @smap: supervisor access to user pages is refused. */
/* Returns 0 or a page-fault error code | X86_TRANSLATE_FAULT. @set: mark accessed and dirty. */
uint32_t x86_walk(struct x86_vcpu *c, uint64_t va, unsigned access, bool user, bool smap, bool set,
	struct x86_walk *w);

/* GPA of the code at @lin for the current mode; raises #PF or #GP. Sets *host (NULL: no memory) */
uint64_t x86_fetch_gpa(struct x86_vcpu *c, uint64_t lin, const uint8_t **host);

/* ---- Slow paths of memory access (tlb.c); use mem.h's functions instead --------------------- */

uint64_t x86_load_slow(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size);
void x86_store_slow(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size, uint64_t value);
void *x86_rmw_slow(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size, bool locked);
void x86_rmw_finish(struct x86_vcpu *c, const struct x86_op *o);
/* Any size to 4096; both pages are checked before anything is moved. */
void x86_read(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, void *data, unsigned size);
void x86_write(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, const void *data, unsigned size);
/* Raise what a write of @size bytes at @va would raise, without writing. */
void x86_probe_write(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size);
/* The processor's own accesses to descriptor tables and TSS: supervisor whatever the CPL. */
void x86_sys_read(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, void *data, unsigned size);
void x86_sys_write(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, const void *data, unsigned size);

/* ---- Decoded code (block.c, translate.c) ---------------------------------------------------- */

/* The block for @lin in @mode, made if need be. Raises what fetching raises. Owner only. */
struct x86_block *x86_block_find(struct x86_vcpu *c, uint64_t lin, uint32_t mode);
/*
 * Decode a block at @lin into @ops (room for X86_BLOCK_OPS). @host: the bytes up to the end of the
 * page; @more: those of the next page, or NULL when not to be had. Returns the count of
 * operations and *bytes of guest code, or 0 when the first instruction needs @more.
 */
unsigned x86_translate(struct x86_vcpu *c, uint64_t lin, uint32_t mode, const uint8_t *host,
	unsigned host_len, const uint8_t *more, unsigned more_len, struct x86_op *ops,
	unsigned *bytes);
/*
 * The first operation of a block whose instruction crosses into the next page: is that still mapped
 * to the page whose bytes were decoded? So such blocks may be linked and stand in the jump cache.
 */
void x86_op_crosses(struct x86_vcpu *c, const struct x86_op *o);
/* What the first operation of a dropped block becomes. */
void x86_op_stale_block(struct x86_vcpu *c, const struct x86_op *o);
/* The table of what decodes into what; a machine has one. NULL: no memory. */
struct x86_emitters *x86_emitters_create(void);
void x86_emitters_destroy(struct x86_emitters *e);
/* Guest memory was written: drop the blocks made from it. c may be NULL. */
void x86_code_written(
	struct x86_machine *m, struct x86_vcpu *c, uint64_t gpa, unsigned size);
/* Take note of a change of the code cache; at block boundaries. */
void x86_code_sync(struct x86_vcpu *c);

/* ---- Native code (compile.c) ---------------------------------------------------------------- */

/* What vcpu.native is; NULL: nothing is compiled. And the same bytes, to be changed. */
const uint8_t *x86_compiled_base(const struct x86_machine *m);
uint8_t *x86_compiled_write(const struct x86_machine *m);
/* @b is dropped, its operations are stale: nobody enters its native code any more. Lock held. */
void x86_compiled_drop(struct x86_machine *m, const struct x86_block *b);
/* The operation to be the first of a block for @mode so that it may be compiled, or NULL. */
x86_op_fn x86_compile_heat(const struct x86_machine *m, uint32_t mode);
/* The current half of the code cache is empty now. Lock held. */
void x86_compiled_forget(struct x86_machine *m);
void x86_compiled_destroy(struct x86_machine *m);

/* ---- system.c and its neighbours ------------------------------------------------------------ */

/* Deliver c->exception (a fault, with s.rip at the instruction), with double and triple faults. */
/* Returns false on a triple fault. May itself leave through c->unwind for exits only. */
bool x86_deliver_exception(struct x86_vcpu *c);
/* Deliver an external interrupt, NMI, or injected event; faults on the way go the same road. */
bool x86_deliver_event(struct x86_vcpu *c, const struct x86_event *event);
/* After an instruction executed with TF set or data breakpoints hit: raise #DB when due. */
void x86_debug_after(struct x86_vcpu *c, bool single_step);
/* Instruction breakpoints at @lin: raises #DB. */
void x86_debug_before(struct x86_vcpu *c, uint64_t lin);
/* Data breakpoints: notes a hit in pending_db. */
void x86_debug_data(struct x86_vcpu *c, uint64_t va, unsigned size, bool write);
/* True when DR7 enables any breakpoint. */
bool x86_debug_active(const struct x86_vcpu *c);

#endif
