/*
 * recipe.h - what the families tell the compiler of native code (compile.c): which operation does
 * what.
 *
 * A recipe describes an operation by the host's instruction for it and by where its operands are.
 * The operation itself remains what counts: compiled code must do exactly what it does, and gives
 * up in its favour whenever something is out of the ordinary. An operation without a recipe is
 * executed as it is.
 */
#ifndef PARTITA_X86_RECIPE_H
#define PARTITA_X86_RECIPE_H

#include "x86/family.h"
#include "x86/host.h"
#include "x86/sizes.h"

/* What is done; .code and others as said. */
enum x86_recipe_kind {
	X86_DO_NOTHING, /* no recipe */
	X86_DO_ALU,	/* .code: HOST_ADD and so on */
	X86_DO_TEST,
	X86_DO_INC,
	X86_DO_DEC,
	X86_DO_NEG,
	X86_DO_NOT,
	X86_DO_CLEAR, /* XOR of a register with itself */
	X86_DO_MOV,
	X86_DO_ZERO_EXTEND, /* .from: bytes of the source */
	X86_DO_SIGN_EXTEND,
	X86_DO_LEA,	/* .full: with an index */
	X86_DO_ADDRESS, /* an address to X86_R_EA */
	X86_DO_CMOV,	/* .cond */
	X86_DO_SET,	/* .cond */
	X86_DO_BSWAP,
	X86_DO_CDQE,  /* .size: of the result */
	X86_DO_CQO,   /* .size: of either half */
	X86_DO_SHIFT, /* .code: HOST_ROL and so on; X86_FORM_RI by .imm, X86_FORM_R and _M by CL */
	X86_DO_BT,    /* .code: HOST_BT and so on */
	X86_DO_SCAN,  /* .code: HOST_BSF and so on */
	X86_DO_MUL,   /* .code: HOST_MUL or HOST_IMUL; RDX:RAX */
	X86_DO_IMUL,  /* r0 times the other; X86_FORM_RI and X86_FORM_MI: r1 or memory times .imm */
	X86_DO_XCHG,
	X86_DO_XADD,
	X86_DO_CMPXCHG,
	X86_DO_PUSH,
	X86_DO_POP,
	X86_DO_LEAVE,
	X86_DO_VECTOR_LOAD, /* to a slot (fpu.h); .wide: the rest of it becomes zero */
	X86_DO_VECTOR_STORE,
	X86_DO_VECTOR_COPY,   /* .wide, too; or with a general register */
	X86_DO_VECTOR_PACKED, /* .code: second byte of a 66-prefixed opcode */
	X86_DO_VECTOR_MASK,   /* PMOVMSKB */
	X86_DO_THUNK,	      /* .wide: floating point */
	X86_DO_JCC_LINK,      /* .cond */
	X86_DO_JCC_CHAIN,     /* .cond */
	X86_DO_JUMP_LINK,
	X86_DO_JUMP_DISP, /* a chain to .disp from X86_R_PAGE */
	X86_DO_JUMP,	  /* X86_FORM_RI: to .imm from X86_R_PAGE; X86_FORM_R, X86_FORM_M */
	X86_DO_CALL_LINK,
	X86_DO_CALL, /* as X86_DO_JUMP */
	X86_DO_RET,
	X86_DO_KINDS
};

/* Operands, the destination first: R registers .r0 and then .r1, I .imm, M memory. */
enum x86_recipe_form {
	X86_FORM_R,
	X86_FORM_M,
	X86_FORM_RR,
	X86_FORM_RI,
	X86_FORM_RM, /* register .r0 */
	X86_FORM_MR, /* register .r1 */
	X86_FORM_MI,
};

struct x86_recipe {
	uint8_t kind, form;
	uint8_t code;
	uint8_t size; /* of the operand, in bytes */
	uint8_t from;
	uint8_t cond; /* enum x86_condition */
	bool full;    /* memory: x86_ea_f(), not x86_ea_s() */
	bool lock;
	bool aligned; /* memory: to 16 bytes */
	bool wide;
	bool fused; /* with the conditional LINK behind it: .cond */
};

static inline bool x86_recipe_has_memory(const struct x86_recipe *r)
{
	return r->form == X86_FORM_M || r->form == X86_FORM_RM || r->form == X86_FORM_MR ||
	       r->form == X86_FORM_MI;
}

struct x86_recipes;

/* x86_recipe_add - @op is what @recipe says. What was said first holds; NULL is passed over. */
void x86_recipe_add(struct x86_recipes *r, x86_op_fn op, struct x86_recipe recipe);
/* The operations of an instruction with two operands: fills in .form, .size, .full and .lock. */
void x86_recipe_binary(
	struct x86_recipes *r, const struct x86_binary_forms sizes[4], struct x86_recipe recipe);
/* A row of sizes.h: .form is @reg for FORM_REGISTER and @mem for the others, which have .full. */
void x86_recipe_row(struct x86_recipes *r, const x86_op_fn row[FORMS], enum x86_recipe_form reg,
	enum x86_recipe_form mem, struct x86_recipe recipe);

/* NULL: no memory. */
struct x86_recipes *x86_recipes_create(void);
void x86_recipes_destroy(struct x86_recipes *r);
/* The recipe of @op; its kind is X86_DO_NOTHING when there is none. */
const struct x86_recipe *x86_recipe_of(const struct x86_recipes *r, x86_op_fn op);

/* Each family adds what it has. */
void x86_recipes_alu(struct x86_recipes *r);
void x86_recipes_compare(struct x86_recipes *r);
void x86_recipes_move(struct x86_recipes *r);
void x86_recipes_shift(struct x86_recipes *r);
void x86_recipes_bit(struct x86_recipes *r);
void x86_recipes_multiply(struct x86_recipes *r);
void x86_recipes_atomic(struct x86_recipes *r);
void x86_recipes_stack(struct x86_recipes *r);
void x86_recipes_branch(struct x86_recipes *r);
void x86_recipes_simd(struct x86_recipes *r);
void x86_recipes_translate(struct x86_recipes *r);

#endif
