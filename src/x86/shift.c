/*
 * shift.c - shifts and rotates: SHL (SAL) SHR SAR ROL ROR RCL RCR, SHLD SHRD.
 *
 * Each runs as the host's own instruction with the count in CL, wherever the guest's count comes
 * from: the host masks counts as the guest would, leaves the flags alone when the masked count is
 * zero, and sets the undefined ones as a processor does.
 *
 * Facts: Intel SDM vol. 2B, "RCL/RCR/ROL/ROR", "SAL/SAR/SHL/SHR", "SHLD", "SHRD".
 */
#include "x86/recipe.h"

#define COUNT_IMM (uint8_t)o->imm
#define COUNT_CL  (uint8_t)c->s.gpr[X86_RCX]

/* An instruction that defines all flags, or that needs those before it. */
#define SETS(fl, insn, value, count)                                                               \
	asm(insn " %%cl, %1" X86_ASM_SAVE_FLAGS : "=&a"(fl), "+r"(value) : "c"(count) : "cc")
#define KEEPS(fl, insn, value, count)                                                              \
	asm(X86_ASM_LOAD_FLAGS insn " %%cl, %1" X86_ASM_SAVE_FLAGS                                 \
	    : "+&a"(fl), "+r"(value)                                                               \
	    : "c"(count)                                                                           \
	    : "cc")

#define SHIFT_MEMORY(name, insn, bits, run, count, ea)                                             \
	X86_OP(name)                                                                               \
	{                                                                                          \
		uint##bits##_t *p = x86_rmw(c, o, ea(c, o), bits / 8, false);                      \
		uint##bits##_t v = *p;                                                             \
		uint16_t fl = c->fl;                                                               \
                                                                                                   \
		run(fl, insn, v, count);                                                           \
		*p = v;                                                                            \
		x86_rmw_end(c, o);                                                                 \
		c->fl = fl;                                                                        \
		NEXT;                                                                              \
	}

#define SHIFT_FORMS(name, insn, bits, run, count)                                                  \
	X86_OP(name##_r)                                                                           \
	{                                                                                          \
		uint##bits##_t v = X86_REG(c, o->r0, uint##bits##_t);                              \
                                                                                                   \
		run(c->fl, insn, v, count);                                                        \
		X86_REG(c, o->r0, WRITE_##bits) = v;                                               \
		NEXT;                                                                              \
	}                                                                                          \
	SHIFT_MEMORY(name##_s, insn, bits, run, count, x86_ea_s)                                   \
	SHIFT_MEMORY(name##_f, insn, bits, run, count, x86_ea_f)

#define SHIFT_SIZES(name, insn, run, count)                                                        \
	SHIFT_FORMS(name##_8, insn "b", 8, run, count)                                             \
	SHIFT_FORMS(name##_16, insn "w", 16, run, count)                                           \
	SHIFT_FORMS(name##_32, insn "l", 32, run, count)                                           \
	SHIFT_FORMS(name##_64, insn "q", 64, run, count)

/* An immediate count of a shift is never zero here: emit_shift() sees to that. */
SHIFT_SIZES(shl_imm, "shl", SETS, COUNT_IMM)
SHIFT_SIZES(shl_cl, "shl", KEEPS, COUNT_CL)
SHIFT_SIZES(shr_imm, "shr", SETS, COUNT_IMM)
SHIFT_SIZES(shr_cl, "shr", KEEPS, COUNT_CL)
SHIFT_SIZES(sar_imm, "sar", SETS, COUNT_IMM)
SHIFT_SIZES(sar_cl, "sar", KEEPS, COUNT_CL)
SHIFT_SIZES(rol_imm, "rol", KEEPS, COUNT_IMM)
SHIFT_SIZES(rol_cl, "rol", KEEPS, COUNT_CL)
SHIFT_SIZES(ror_imm, "ror", KEEPS, COUNT_IMM)
SHIFT_SIZES(ror_cl, "ror", KEEPS, COUNT_CL)
SHIFT_SIZES(rcl_imm, "rcl", KEEPS, COUNT_IMM)
SHIFT_SIZES(rcl_cl, "rcl", KEEPS, COUNT_CL)
SHIFT_SIZES(rcr_imm, "rcr", KEEPS, COUNT_IMM)
SHIFT_SIZES(rcr_cl, "rcr", KEEPS, COUNT_CL)

enum shift {
	SHL,
	SHR,
	SAR,
	ROL,
	ROR,
	RCL,
	RCR,
	SHIFTS,
};

static const x86_op_fn shift_imm[SHIFTS][4][FORMS] = {SIZE_ROWS(shl_imm), SIZE_ROWS(shr_imm),
	SIZE_ROWS(sar_imm), SIZE_ROWS(rol_imm), SIZE_ROWS(ror_imm), SIZE_ROWS(rcl_imm),
	SIZE_ROWS(rcr_imm)};
static const x86_op_fn shift_cl[SHIFTS][4][FORMS] = {SIZE_ROWS(shl_cl), SIZE_ROWS(shr_cl),
	SIZE_ROWS(sar_cl), SIZE_ROWS(rol_cl), SIZE_ROWS(ror_cl), SIZE_ROWS(rcl_cl),
	SIZE_ROWS(rcr_cl)};

static struct x86_op *emit_form(
	struct x86_xlate *t, const x86_op_fn fn[FORMS], const ZydisDecodedOperand *dst)
{
	struct x86_op *o;

	if (x86_is_mem(dst))
		return x86_emit_mem(t, dst, fn[FORM_SIMPLE], fn[FORM_FULL], dst->size / 8, true);
	o = x86_emit(t, fn[FORM_REGISTER]);
	o->r0 = x86_reg(dst->reg.value);
	return o;
}

static enum shift shift_of(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_SHR:
		return SHR;
	case ZYDIS_MNEMONIC_SAR:
		return SAR;
	case ZYDIS_MNEMONIC_ROL:
		return ROL;
	case ZYDIS_MNEMONIC_ROR:
		return ROR;
	case ZYDIS_MNEMONIC_RCL:
		return RCL;
	case ZYDIS_MNEMONIC_RCR:
		return RCR;
	default:
		return SHL;
	}
}

/* The count as the processor masks it; -1 when it is in CL. */
static int constant_count(const struct x86_xlate *t, const ZydisDecodedOperand *n)
{
	if (!x86_is_imm(n))
		return -1;
	return (int)n->imm.value.u & (t->op[0].size == 64 ? 0x3f : 0x1f);
}

static bool emit_shift(struct x86_xlate *t)
{
	unsigned size = x86_size_index(t->op[0].size);
	enum shift kind = shift_of(t->insn.mnemonic);
	int count = constant_count(t, &t->op[1]);

	if (count < 0) {
		emit_form(t, shift_cl[kind][size], &t->op[0]);
		return true;
	}
	/* By nothing: whatever it is, it does what a rotation by nothing does. */
	if (!count)
		kind = ROL;
	emit_form(t, shift_imm[kind][size], &t->op[0])->imm = (uint64_t)count;
	return true;
}

/* ---- Double shifts --------------------------------------------------------------------------- */

#define DOUBLE(fl, insn, value, from, count)                                                       \
	asm(X86_ASM_LOAD_FLAGS insn " %%cl, %2, %1" X86_ASM_SAVE_FLAGS                             \
	    : "+&a"(fl), "+r"(value)                                                               \
	    : "r"(from), "c"(count)                                                                \
	    : "cc")

#define DOUBLE_MEMORY(name, insn, bits, count, ea)                                                 \
	X86_OP(name)                                                                               \
	{                                                                                          \
		uint##bits##_t from = X86_REG(c, o->r1, uint##bits##_t);                           \
		uint##bits##_t *p = x86_rmw(c, o, ea(c, o), bits / 8, false);                      \
		uint##bits##_t v = *p;                                                             \
		uint16_t fl = c->fl;                                                               \
                                                                                                   \
		DOUBLE(fl, insn, v, from, count);                                                  \
		*p = v;                                                                            \
		x86_rmw_end(c, o);                                                                 \
		c->fl = fl;                                                                        \
		NEXT;                                                                              \
	}

#define DOUBLE_FORMS(name, insn, bits, count)                                                      \
	X86_OP(name##_r)                                                                           \
	{                                                                                          \
		uint##bits##_t from = X86_REG(c, o->r1, uint##bits##_t);                           \
		uint##bits##_t v = X86_REG(c, o->r0, uint##bits##_t);                              \
                                                                                                   \
		DOUBLE(c->fl, insn, v, from, count);                                               \
		X86_REG(c, o->r0, WRITE_##bits) = v;                                               \
		NEXT;                                                                              \
	}                                                                                          \
	DOUBLE_MEMORY(name##_s, insn, bits, count, x86_ea_s)                                       \
	DOUBLE_MEMORY(name##_f, insn, bits, count, x86_ea_f)

#define DOUBLE_SIZES(name, insn, count)                                                            \
	DOUBLE_FORMS(name##_16, insn "w", 16, count)                                               \
	DOUBLE_FORMS(name##_32, insn "l", 32, count)                                               \
	DOUBLE_FORMS(name##_64, insn "q", 64, count)

DOUBLE_SIZES(shld_imm, "shld", COUNT_IMM)
DOUBLE_SIZES(shld_cl, "shld", COUNT_CL)
DOUBLE_SIZES(shrd_imm, "shrd", COUNT_IMM)
DOUBLE_SIZES(shrd_cl, "shrd", COUNT_CL)

/* There is no 8-bit form. */
#define DOUBLE_ROWS(name)                                                                          \
	{                                                                                          \
		{NULL}, FORM_ROW(name##_16), FORM_ROW(name##_32), FORM_ROW(name##_64)              \
	}
static const x86_op_fn shld_ops[2][4][FORMS] = {DOUBLE_ROWS(shld_imm), DOUBLE_ROWS(shld_cl)};
static const x86_op_fn shrd_ops[2][4][FORMS] = {DOUBLE_ROWS(shrd_imm), DOUBLE_ROWS(shrd_cl)};

static bool emit_double_shift(struct x86_xlate *t)
{
	const x86_op_fn(*ops)[4][FORMS] =
		t->insn.mnemonic == ZYDIS_MNEMONIC_SHLD ? shld_ops : shrd_ops;
	int count = constant_count(t, &t->op[2]);
	struct x86_op *o;

	o = emit_form(t, ops[count < 0][x86_size_index(t->op[0].size)], &t->op[0]);
	o->r1 = x86_reg(t->op[1].reg.value);
	o->imm = (uint64_t)count;
	return true;
}

void x86_register_shift(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_SHL] = emit_shift;
	table[ZYDIS_MNEMONIC_SHR] = emit_shift;
	table[ZYDIS_MNEMONIC_SAR] = emit_shift;
	table[ZYDIS_MNEMONIC_ROL] = emit_shift;
	table[ZYDIS_MNEMONIC_ROR] = emit_shift;
	table[ZYDIS_MNEMONIC_RCL] = emit_shift;
	table[ZYDIS_MNEMONIC_RCR] = emit_shift;
	table[ZYDIS_MNEMONIC_SHLD] = emit_double_shift;
	table[ZYDIS_MNEMONIC_SHRD] = emit_double_shift;
}

void x86_recipes_shift(struct x86_recipes *r)
{
	static const uint8_t code[SHIFTS] = {[SHL] = HOST_SHL, [SHR] = HOST_SHR, [SAR] = HOST_SAR,
		[ROL] = HOST_ROL, [ROR] = HOST_ROR, [RCL] = HOST_RCL, [RCR] = HOST_RCR};

	for (unsigned kind = 0; kind < SHIFTS; kind++)
		for (unsigned i = 0; i < 4; i++) {
			struct x86_recipe recipe = {.kind = X86_DO_SHIFT,
				.code = code[kind],
				.size = (uint8_t)(1u << i)};

			x86_recipe_row(
				r, shift_imm[kind][i], X86_FORM_RI, X86_FORM_MI, recipe);
			x86_recipe_row(r, shift_cl[kind][i], X86_FORM_R, X86_FORM_M, recipe);
		}
}
