/*
 * multiply.c - MUL IMUL DIV IDIV, and what only 16- and 32-bit code has: AAA AAS AAD AAM DAA DAS
 * and BOUND.
 *
 * The host's own instructions multiply and divide. Before a division its operands are compared in
 * twice their width, so that a quotient that does not fit raises the guest's #DE and the host's
 * instruction cannot fault.
 *
 * Facts: Intel SDM vol. 2, the instructions' pages.
 */
#include "x86/recipe.h"

#define ACC_16 "%%ax"
#define ACC_32 "%%eax"
#define ACC_64 "%%rax"

/* ---- The accumulator forms of multiplication ------------------------------------------------ */

/*
 * The host's instruction on the guest's rDX:rAX, with the guest's flags around it: EAX carries the
 * flags in and out, @low the accumulator.
 */
#define ACCUMULATE(insn, bits, low, high, from)                                                    \
	asm(X86_ASM_LOAD_FLAGS "mov %[lo], " ACC_##bits "\n\t" insn SUFFIX_##bits                  \
			       " %[by]\n\tmov " ACC_##bits ", %[lo]" X86_ASM_SAVE_FLAGS            \
	    : "+&a"(c->fl), [lo] "+&r"(low), "+&d"(high)                                           \
	    : [by] "r"(from)                                                                       \
	    : "cc")
/* 8 bits have AX instead. */
#define ACCUMULATE_8(insn, ax, from)                                                               \
	asm(X86_ASM_LOAD_FLAGS "mov %[lo], %%ax\n\t" insn                                          \
			       "b %[by]\n\tmov %%ax, %[lo]" X86_ASM_SAVE_FLAGS                     \
	    : "+&a"(c->fl), [lo] "+&r"(ax)                                                         \
	    : [by] "r"(from)                                                                       \
	    : "cc")

#define MULTIPLY_8(name, insn, form)                                                               \
	X86_OP(name##_8_##form)                                                                    \
	{                                                                                          \
		uint8_t from = SOURCE_##form(8);                                                   \
		uint16_t ax = (uint16_t)c->s.gpr[X86_RAX];                                         \
                                                                                                   \
		ACCUMULATE_8(insn, ax, from);                                                      \
		X86_REG(c, X86_R(X86_RAX), uint16_t) = ax;                                         \
		NEXT;                                                                              \
	}

#define MULTIPLY(name, insn, bits, form)                                                           \
	X86_OP(name##_##bits##_##form)                                                             \
	{                                                                                          \
		uint##bits##_t from = SOURCE_##form(bits);                                         \
		uint##bits##_t low = (uint##bits##_t)c->s.gpr[X86_RAX], high = 0;                  \
                                                                                                   \
		ACCUMULATE(insn, bits, low, high, from);                                           \
		X86_REG(c, X86_R(X86_RAX), WRITE_##bits) = low;                                    \
		X86_REG(c, X86_R(X86_RDX), WRITE_##bits) = high;                                   \
		NEXT;                                                                              \
	}

#define ALL_FORMS(what, ...)                                                                       \
	what(__VA_ARGS__, r) what(__VA_ARGS__, s) what(__VA_ARGS__, f)

#define MULTIPLY_SIZES(name, insn)                                                                 \
	ALL_FORMS(MULTIPLY_8, name, insn)                                                          \
	ALL_FORMS(MULTIPLY, name, insn, 16)                                                        \
	ALL_FORMS(MULTIPLY, name, insn, 32)                                                        \
	ALL_FORMS(MULTIPLY, name, insn, 64)

MULTIPLY_SIZES(mul, "mul")
MULTIPLY_SIZES(imul, "imul")

/* ---- Division ------------------------------------------------------------------------------- */

/* Whether a quotient fits its register: no division is needed to know. */
#define UNSIGNED_FITS(low, high, from, bits) ((high) < (from))

/*
 * |a / b| < 2^(bits-1), or <= when the quotient is negative, without dividing. @wide: the unsigned
 * type of twice the bits.
 */
#define DEFINE_SIGNED_FITS(bits, wide)                                                             \
	static inline bool signed_fits##bits(                                                      \
		uint##bits##_t low, uint##bits##_t high, uint##bits##_t from)                      \
	{                                                                                          \
		wide a = (wide)high << bits | low;                                                 \
		bool a_negative = high >> (bits - 1), negative = a_negative != from >> (bits - 1); \
		wide divisor = from >> (bits - 1) ? (uint##bits##_t)-from : from;                  \
                                                                                                   \
		if (a_negative)                                                                    \
			a = (wide)-a;                                                              \
		return a < (divisor << (bits - 1)) + (negative ? divisor : 0);                     \
	}
DEFINE_SIGNED_FITS(8, uint16_t)
DEFINE_SIGNED_FITS(16, uint32_t)
DEFINE_SIGNED_FITS(32, uint64_t)
DEFINE_SIGNED_FITS(64, unsigned __int128)
#define SIGNED_FITS(low, high, from, bits) signed_fits##bits(low, high, from)

#define DIVIDE_8(name, insn, fits, form)                                                           \
	X86_OP(name##_8_##form)                                                                    \
	{                                                                                          \
		uint8_t from = SOURCE_##form(8);                                                   \
		uint16_t ax = (uint16_t)c->s.gpr[X86_RAX];                                         \
                                                                                                   \
		if (unlikely(!fits((uint8_t)ax, (uint8_t)(ax >> 8), from, 8)))                     \
			x86_raise(c, o, X86_VEC_DE);                                               \
		ACCUMULATE_8(insn, ax, from);                                                      \
		X86_REG(c, X86_R(X86_RAX), uint16_t) = ax;                                         \
		NEXT;                                                                              \
	}

#define DIVIDE(name, insn, fits, bits, form)                                                       \
	X86_OP(name##_##bits##_##form)                                                             \
	{                                                                                          \
		uint##bits##_t from = SOURCE_##form(bits);                                         \
		uint##bits##_t low = (uint##bits##_t)c->s.gpr[X86_RAX];                            \
		uint##bits##_t high = (uint##bits##_t)c->s.gpr[X86_RDX];                           \
                                                                                                   \
		if (unlikely(!fits(low, high, from, bits)))                                        \
			x86_raise(c, o, X86_VEC_DE);                                               \
		ACCUMULATE(insn, bits, low, high, from);                                           \
		X86_REG(c, X86_R(X86_RAX), WRITE_##bits) = low;                                    \
		X86_REG(c, X86_R(X86_RDX), WRITE_##bits) = high;                                   \
		NEXT;                                                                              \
	}

#define DIVIDE_SIZES(name, insn, fits)                                                             \
	ALL_FORMS(DIVIDE_8, name, insn, fits)                                                      \
	ALL_FORMS(DIVIDE, name, insn, fits, 16)                                                    \
	ALL_FORMS(DIVIDE, name, insn, fits, 32)                                                    \
	ALL_FORMS(DIVIDE, name, insn, fits, 64)

DIVIDE_SIZES(div, "div", UNSIGNED_FITS)
DIVIDE_SIZES(idiv, "idiv", SIGNED_FITS)

static const x86_op_fn mul_ops[4][FORMS] = SIZE_ROWS(mul);
static const x86_op_fn imul_ops[4][FORMS] = SIZE_ROWS(imul);

static bool emit_accumulator(struct x86_xlate *t, const x86_op_fn ops[4][FORMS])
{
	const ZydisDecodedOperand *from = &t->op[0];
	const x86_op_fn *fn = ops[x86_size_index(from->size)];

	if (x86_is_mem(from))
		x86_emit_mem(t, from, fn[FORM_SIMPLE], fn[FORM_FULL], from->size / 8, false);
	else
		x86_emit(t, fn[FORM_REGISTER])->r1 = x86_reg(from->reg.value);
	return true;
}

static bool emit_mul(struct x86_xlate *t)
{
	return emit_accumulator(t, mul_ops);
}

static bool emit_div(struct x86_xlate *t)
{
	static const x86_op_fn ops[4][FORMS] = SIZE_ROWS(div);

	return emit_accumulator(t, ops);
}

static bool emit_idiv(struct x86_xlate *t)
{
	static const x86_op_fn ops[4][FORMS] = SIZE_ROWS(idiv);

	return emit_accumulator(t, ops);
}

/* ---- IMUL with two and three operands ------------------------------------------------------- */

#define IMUL(name, bits, form, left)                                                               \
	X86_OP(name##_##bits##_##form)                                                             \
	{                                                                                          \
		uint##bits##_t from = SOURCE_##form(bits);                                         \
		uint##bits##_t v = (uint##bits##_t)left;                                           \
                                                                                                   \
		asm(X86_ASM_LOAD_FLAGS "imul" SUFFIX_##bits " %2, %1" X86_ASM_SAVE_FLAGS           \
		    : "+&a"(c->fl), "+r"(v)                                                        \
		    : "r"(from)                                                                    \
		    : "cc");                                                                       \
		X86_REG(c, o->r0, WRITE_##bits) = v;                                               \
		NEXT;                                                                              \
	}
#define IMUL_REG(bits, form) IMUL(imul_reg, bits, form, X86_REG(c, o->r0, uint64_t))
#define IMUL_IMM(bits, form) IMUL(imul_imm, bits, form, o->imm)

ALL_FORMS(IMUL_REG, 16)
ALL_FORMS(IMUL_REG, 32)
ALL_FORMS(IMUL_REG, 64)
ALL_FORMS(IMUL_IMM, 16)
ALL_FORMS(IMUL_IMM, 32)
ALL_FORMS(IMUL_IMM, 64)

static const x86_op_fn imul_reg_ops[4][FORMS] = {
	{NULL}, FORM_ROW(imul_reg_16), FORM_ROW(imul_reg_32), FORM_ROW(imul_reg_64)};
static const x86_op_fn imul_imm_ops[4][FORMS] = {
	{NULL}, FORM_ROW(imul_imm_16), FORM_ROW(imul_imm_32), FORM_ROW(imul_imm_64)};

static bool emit_imul(struct x86_xlate *t)
{
	const ZydisDecodedOperand *from = &t->op[1];
	bool immediate = t->insn.operand_count_visible == 3;
	unsigned size = x86_size_index(t->op[0].size);
	const x86_op_fn *fn = immediate ? imul_imm_ops[size] : imul_reg_ops[size];
	struct x86_op *o;

	if (t->insn.operand_count_visible == 1)
		return emit_accumulator(t, imul_ops);
	if (x86_is_mem(from)) {
		o = x86_emit_mem(t, from, fn[FORM_SIMPLE], fn[FORM_FULL], from->size / 8, false);
	} else {
		o = x86_emit(t, fn[FORM_REGISTER]);
		o->r1 = x86_reg(from->reg.value);
	}
	o->r0 = x86_reg(t->op[0].reg.value);
	if (immediate)
		o->imm = (uint64_t)t->op[2].imm.value.s;
	return true;
}

/* ---- Decimal arithmetic, absent from 64-bit mode -------------------------------------------- */

/* SF, ZF and PF as @al has them, and the carries given. */
static uint16_t decimal_flags(uint8_t al, bool carry, bool adjust)
{
	uint16_t fl;

	asm("testb %1, %1" X86_ASM_SAVE_FLAGS : "=&a"(fl) : "r"(al) : "cc");
	fl &= X86_FL_SF | X86_FL_ZF | X86_FL_PF;
	return fl | 0x0200 | (carry ? X86_FL_CF : 0) | (adjust ? X86_FL_AF : 0);
}

#define AL X86_REG(c, X86_R(X86_RAX), uint8_t)
#define AH X86_REG(c, X86_RH(X86_RAX), uint8_t)
#define AX X86_REG(c, X86_R(X86_RAX), uint16_t)

static inline bool low_digit_overflows(const struct x86_vcpu *c)
{
	return (c->s.gpr[X86_RAX] & 0xf) > 9 || c->fl & X86_FL_AF;
}

X86_OP(aaa)
{
	bool adjust = low_digit_overflows(c);

	if (adjust)
		AX += 0x106;
	AL &= 0xf;
	c->fl = decimal_flags(AL, adjust, adjust);
	NEXT;
}

X86_OP(aas)
{
	bool adjust = low_digit_overflows(c);

	if (adjust)
		AX -= 0x106;
	AL &= 0xf;
	c->fl = decimal_flags(AL, adjust, adjust);
	NEXT;
}

X86_OP(daa)
{
	bool carry = AL > 0x99 || c->fl & X86_FL_CF, adjust = low_digit_overflows(c);

	AL += (adjust ? 6 : 0) + (carry ? 0x60 : 0);
	c->fl = decimal_flags(AL, carry, adjust);
	NEXT;
}

X86_OP(das)
{
	bool carry = AL > 0x99 || c->fl & X86_FL_CF, adjust = low_digit_overflows(c);
	/* The low digit may borrow when the high one has nothing to give. */
	bool borrow = adjust && AL < 6;

	AL -= (adjust ? 6 : 0) + (carry ? 0x60 : 0);
	c->fl = decimal_flags(AL, carry || borrow, adjust);
	NEXT;
}

X86_OP(aam)
{
	uint8_t al = AL, base = (uint8_t)o->imm;

	if (!base)
		x86_raise(c, o, X86_VEC_DE);
	AH = al / base;
	AL = al % base;
	c->fl = decimal_flags(AL, false, false);
	NEXT;
}

X86_OP(aad)
{
	AX = (uint8_t)(AL + AH * (uint8_t)o->imm);
	c->fl = decimal_flags(AL, false, false);
	NEXT;
}

static bool emit_decimal(struct x86_xlate *t)
{
	switch (t->insn.mnemonic) {
	case ZYDIS_MNEMONIC_AAA:
		x86_emit(t, aaa);
		return true;
	case ZYDIS_MNEMONIC_AAS:
		x86_emit(t, aas);
		return true;
	case ZYDIS_MNEMONIC_DAA:
		x86_emit(t, daa);
		return true;
	case ZYDIS_MNEMONIC_DAS:
		x86_emit(t, das);
		return true;
	case ZYDIS_MNEMONIC_AAM:
		x86_emit(t, aam)->imm = t->op[0].imm.value.u;
		return true;
	default:
		x86_emit(t, aad)->imm = t->op[0].imm.value.u;
		return true;
	}
}

/* ---- BOUND, likewise ------------------------------------------------------------------------ */

#define BOUND(bits, form, ea)                                                                      \
	X86_OP(bound_##bits##_##form)                                                              \
	{                                                                                          \
		uint64_t va = ea(c, o);                                                            \
		int##bits##_t lower = (int##bits##_t)x86_load##bits(c, o, va);                     \
		int##bits##_t upper = (int##bits##_t)x86_load##bits(c, o, va + bits / 8);          \
		int##bits##_t index = X86_REG(c, o->r0, int##bits##_t);                            \
                                                                                                   \
		if (index < lower || index > upper)                                                \
			x86_raise(c, o, X86_VEC_BR);                                               \
		NEXT;                                                                              \
	}

BOUND(16, s, x86_ea_s)
BOUND(16, f, x86_ea_f)
BOUND(32, s, x86_ea_s)
BOUND(32, f, x86_ea_f)

static bool emit_bound(struct x86_xlate *t)
{
	bool wide = t->op[0].size == 32;

	x86_emit_mem(t, &t->op[1], wide ? bound_32_s : bound_16_s, wide ? bound_32_f : bound_16_f,
		wide ? 8 : 4, false)
		->r0 = x86_reg(t->op[0].reg.value);
	return true;
}

void x86_register_multiply(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_MUL] = emit_mul;
	table[ZYDIS_MNEMONIC_IMUL] = emit_imul;
	table[ZYDIS_MNEMONIC_DIV] = emit_div;
	table[ZYDIS_MNEMONIC_IDIV] = emit_idiv;
	table[ZYDIS_MNEMONIC_AAA] = emit_decimal;
	table[ZYDIS_MNEMONIC_AAS] = emit_decimal;
	table[ZYDIS_MNEMONIC_DAA] = emit_decimal;
	table[ZYDIS_MNEMONIC_DAS] = emit_decimal;
	table[ZYDIS_MNEMONIC_AAM] = emit_decimal;
	table[ZYDIS_MNEMONIC_AAD] = emit_decimal;
	table[ZYDIS_MNEMONIC_BOUND] = emit_bound;
}

/* Products of bytes, in AX, are rare. */
void x86_recipes_multiply(struct x86_recipes *r)
{
	for (unsigned i = 1; i < 4; i++) {
		struct x86_recipe recipe = {.size = (uint8_t)(1u << i), .kind = X86_DO_MUL};

		recipe.code = HOST_MUL;
		x86_recipe_row(r, mul_ops[i], X86_FORM_R, X86_FORM_M, recipe);
		recipe.code = HOST_IMUL;
		x86_recipe_row(r, imul_ops[i], X86_FORM_R, X86_FORM_M, recipe);
		recipe.kind = X86_DO_IMUL;
		x86_recipe_row(r, imul_reg_ops[i], X86_FORM_RR, X86_FORM_RM, recipe);
		x86_recipe_row(r, imul_imm_ops[i], X86_FORM_RI, X86_FORM_MI, recipe);
	}
}
