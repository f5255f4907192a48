/*
 * compile.h - from operations to native code.
 *
 * A block that has been executed often is compiled. Operations that have a recipe (recipe.h) become
 * instructions of the host; the others are executed as before. A run of operations with recipes
 * becomes native code of an operation's type, which stands in place of the run's first one, and
 * goes on to the operation behind the run as every operation does. Those inside the run stay what
 * they were, so that native code may give up before any of them and let it, and the rest of the
 * run, be executed one by one. That is how everything rare is done: misses of the TLB, faults,
 * devices, changed code. When native code gives up before an operation, nothing of that operation
 * has happened.
 *
 * Native code whose block ends goes on in other native code. Where that is, it does not know at
 * first, and asks a function in C (gate.h), which has it know from then on:
 * - a branch within the page is a jump into the other block's native code;
 * - so is one at a constant distance into another page, once it has compared which page of the
 *   guest's memory is there (vcpu.code_page);
 * - a call notes where its return is to go on, beside the return address (vcpu.return_lin), and a
 *   return that finds its address there goes on so;
 * - whatever else a branch leads to is looked up in the jump cache, which has native code as well.
 *
 * While native code runs
 * - RDI is the vcpu, and stays;
 * - the guest's general registers, X86_R_PAGE and X86_R_EA may be in registers of the host,
 *   dirty or not (x86_use() and its like say where), else they are in the vcpu;
 * - the guest's arithmetic flags are in vcpu.fl, in the host's flags, or in both;
 * - RAX, RCX and RDX belong to whoever appends instructions, between calls of functions below that
 *   say that they use them.
 * Between runs, and wherever native code gives up, all of the guest's state is in the vcpu. RBX,
 * RBP and R12 to R15 are not kept: x86_enter() of miss.S, through which blocks are entered, does
 * that.
 *
 * compile.c keeps account of registers, flags and exits, compile_window.c of pages that were looked
 * up; compile_data.c, compile_vector.c and compile_branch.c know the recipes.
 */
#ifndef PARTITA_X86_COMPILE_H
#define PARTITA_X86_COMPILE_H

#include "x86/recipe.h"

#include <stddef.h>

#define X86_GUEST_REGS 20u /* X86_R(0) to X86_R_T0 */

/* Where [register + low, register + high) of the guest is: compile_window.c. */
struct x86_window {
	uint8_t base; /* guest's register; X86_GUEST_REGS: no window */
	uint8_t host; /* register with what is to be added to the linear address */
	bool write;
	int32_t low, high;
};

#define X86_WINDOWS	 2u
#define X86_GUEST_WINDOW (X86_GUEST_REGS + 1) /* in guest_of[]: the register of window 0, of 1 */

/* What is where at some point of the code. */
struct x86_place {
	uint8_t host_of[X86_GUEST_REGS]; /* HOST_NONE: only in the vcpu */
	uint8_t guest_of[HOST_REGS];	 /* X86_GUEST_REGS: none */
	uint16_t dirty;			 /* host registers: newer than the vcpu */
	bool flags_host, flags_saved;	 /* in the host's flags, in vcpu.fl; one of them at least */
	struct x86_window window[X86_WINDOWS];
};

enum x86_exit_kind {
	X86_GIVE_UP,	  /* to the operation */
	X86_TAKE,	  /* the branch that the operation is */
	X86_TRY_OTHER,	  /* entry of the jump cache */
	X86_LINK,	  /* x86_go_link() */
	X86_CROSS,	  /* a branch to another page, before it has done anything */
	X86_OFFSET,	  /* such a branch when it has, but is not known where to */
	X86_RETURN,	  /* no jump: what a call notes for its return */
	X86_OTHER_RETURN, /* a return to elsewhere than noted */
};

/* A jump out of the code's line, or another way, to what is appended at its end. */
struct x86_exit_from {
	size_t at; /* behind the four bytes that are to lead there */
	struct x86_place place;
	uint16_t op, origin;
	enum x86_exit_kind kind;
	/*
	 * X86_TRY_OTHER, X86_OTHER_RETURN: the register with the address; the former comes back to
	 */
	uint8_t lin;
	size_t back;
	/* X86_CROSS, X86_OFFSET: of the target, in its page; the former has the page in .lin */
	uint16_t offset;
	size_t site, match; /* X86_CROSS: behind the four bytes that its gate is told of */
};

#define X86_EXITS_MAX 512u

struct x86_compiler {
	struct x86_host h;
	size_t at; /* offset of what is appended, in all native code */
	const struct x86_recipes *recipes;
	struct x86_block *block;
	unsigned op;	 /* index of the operation being compiled */
	unsigned span;	 /* how many are compiled with it, itself included */
	unsigned origin; /* index of the one that the run stands for */
	struct x86_place place;
	uint16_t pinned; /* host registers in use by the operation */
	uint32_t used[HOST_REGS], now;
	unsigned n_exits, first_exit;
	struct x86_exit_from *exits; /* [X86_EXITS_MAX] */
	bool vectors_ready;	     /* the run has looked whether XMM registers may be used */
	bool failed;		     /* no room */
};

/* [RDI + a field of the vcpu]. */
#define X86_VCPU(field)                                                                            \
	((struct x86_host_mem){HOST_RDI, HOST_NONE, 0, (int32_t)offsetof(struct x86_vcpu, field)})
/* [@reg + @disp]. */
#define X86_AT(reg, disp) ((struct x86_host_mem){(uint8_t)(reg), HOST_NONE, 0, (int32_t)(disp)})

/*
 * x86_use, x86_def, x86_mod - the host register that has the guest's register @r (as in an
 * operation; of 64 bits: see x86_is_high()) to be read, to be overwritten whole, or to be read and
 * changed. It keeps having it for the rest of the operation. Flags and RAX, RCX, RDX stay.
 */
unsigned x86_use(struct x86_compiler *k, uint8_t r);
unsigned x86_def(struct x86_compiler *k, uint8_t r);
unsigned x86_mod(struct x86_compiler *k, uint8_t r);
/* A host register for the operation's own use. */
unsigned x86_temporary(struct x86_compiler *k);
/* AH, CH, DH or BH: nothing here deals with these. */
static inline bool x86_is_high(uint8_t r)
{
	return r & 7;
}

/* Flags: the host's are the guest's now, and only they. */
void x86_flags_set(struct x86_compiler *k);
/* The host's flags will be overwritten: keep the guest's. Uses RAX. */
void x86_flags_spill(struct x86_compiler *k);
/* The host's flags are to be the guest's. Uses RAX. */
void x86_flags_load(struct x86_compiler *k);
/* The host's CF at least is to be the guest's. */
void x86_carry_load(struct x86_compiler *k);

/* The vcpu has all of the guest's registers from here on, and the flags. Uses RAX. */
void x86_settle(struct x86_compiler *k);

/* Leave because of operation @op if @cc holds. Returns NULL when there is no room. */
struct x86_exit_from *x86_exit_if(
	struct x86_compiler *k, unsigned cc, unsigned op, enum x86_exit_kind kind);
/* The same for what stands before what is appended next, whatever leads there. */
struct x86_exit_from *x86_exit(struct x86_compiler *k, unsigned op, enum x86_exit_kind kind);
/* Such that four bytes behind another @ahead bytes of code can be changed by one store. */
void x86_align(struct x86_compiler *k, unsigned ahead);
/* Give up before the current operation if @cc holds. Flags must have been spilled. */
void x86_give_up(struct x86_compiler *k, unsigned cc);
/* When the guest's condition @cc holds, take the branch that operation @op is. */
void x86_take(struct x86_compiler *k, unsigned cc, unsigned op);

/*
 * x86_entry_of_page - RAX to the entry for the page of the linear address in host register @lin, of
 * 1 << @log bytes, one of @entries: those that the pointer at @table points to. Flags must have
 * been spilled.
 */
void x86_entry_of_page(struct x86_compiler *k, unsigned lin, unsigned log, unsigned entries,
	struct x86_host_mem table);

/* The address of @o's memory operand into RDX. Spills flags; uses RAX. */
void x86_address(struct x86_compiler *k, const struct x86_op *o, bool full);
/*
 * x86_access - an access of @size bytes to the linear address in RDX; gives up when the TLB misses.
 * Returns the operand, [RAX + RDX]. Uses RCX.
 */
struct x86_host_mem x86_access(struct x86_compiler *k, unsigned size, bool write);
/* Both of them. */
struct x86_host_mem x86_memory(
	struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r, bool write);

/*
 * x86_window_operand - the same, for the kinds of recipes that compile_window.c knows: @o's
 * operand, by what was looked up for an earlier access if that will do. Flags and RAX, RCX and RDX
 * may be overwritten or not, and the operand may need RAX and RDX; the flags have been spilled if
 * so.
 */
struct x86_host_mem x86_window_operand(
	struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r);
/* Window @i is no more. */
void x86_window_close(struct x86_place *p, unsigned i);

/* The end of a block: settles, counts the instructions up to the current operation. Uses RAX. */
void x86_go(struct x86_compiler *k);
/* The same, and goes to where the LINK that the current operation is leads. */
void x86_go_link(struct x86_compiler *k);

/* ---- compile_data.c, compile_vector.c, compile_branch.c ------------------------------------- */

/* Returns false: not this one. */
bool x86_compile_data(struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r);
bool x86_compile_vector(struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r);
/* Sets *@end when no operation follows. */
bool x86_compile_branch(
	struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r, bool *end);
/* What X86_TRY_OTHER and X86_OTHER_RETURN do. */
void x86_compile_other(struct x86_compiler *k, const struct x86_exit_from *e);
void x86_compile_other_return(struct x86_compiler *k, const struct x86_exit_from *e);
/* What is done when the branch that the current operation is, is taken. */
void x86_compile_taken(struct x86_compiler *k);

#endif
