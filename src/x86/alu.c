/*
 * alu.c - ADD OR ADC SBB AND SUB XOR INC DEC NEG NOT, in every size and form.
 *
 * Each is done by the host's own instruction on the guest's operands, so that results and flags,
 * the undefined ones too, are the processor's. LOCK forms use the host's lock prefix on the guest's
 * memory. CMP and TEST, which only set flags, are in compare.c.
 *
 * Names of operations: rr, ri register with register or immediate, rm register with memory, mr, mi
 * memory with register or immediate; _s and _f by the kind of address (translate.h); lock_ first
 * for locked ones.
 *
 * Facts: Intel SDM vol. 2.
 */
#include "x86/recipe.h"

/* Flags after XOR or SUB of a register with itself: ZF and PF. */
#define FL_ZERO (X86_FL_ZF | X86_FL_PF | 0x0200u)

/* One instruction of the host: @dst and @src are constraints with their operands. */
#define CALC(text, dst, src)                                                                       \
	asm(text " %[s], %[d]" X86_ASM_SAVE_FLAGS : "=&a"(fl), [d] dst : [s] src : "cc")
/* The same for those that read CF. */
#define CALC_CF(text, dst, src)                                                                    \
	asm("btw $8, %[f]\n\t" text " %[s], %[d]" X86_ASM_SAVE_FLAGS                               \
		: "=&a"(fl), [d] dst : [s] src, [f] "m"(c->fl) : "cc")
/* One operand: NEG; INC and DEC, which keep CF. */
#define CALC_UNARY(text, dst) asm(text " %[d]" X86_ASM_SAVE_FLAGS : "=&a"(fl), [d] dst : : "cc")
#define CALC_UNARY_CF(text, dst)                                                                   \
	asm("btw $8, %[f]\n\t" text " %[d]" X86_ASM_SAVE_FLAGS                                     \
		: "=&a"(fl), [d] dst : [f] "m"(c->fl) : "cc")

/* ---- Register destinations ------------------------------------------------------------------- */

#define DEFINE_REG_DST(name, calc, text, bits, src_operand)                                        \
	X86_OP(name)                                                                               \
	{                                                                                          \
		void *r = X86_REG_PTR(c, o->r0);                                                   \
		uint##bits##_t d = *(uint##bits##_t *)r;                                           \
		uint32_t fl;                                                                       \
                                                                                                   \
		calc(text, "+r"(d), src_operand);                                                  \
		x86_put##bits(r, d);                                                               \
		c->fl = (uint16_t)fl;                                                              \
		NEXT;                                                                              \
	}

#define DEFINE_REG_MEM(name, calc, text, bits, ea)                                                 \
	X86_OP(name)                                                                               \
	{                                                                                          \
		uint##bits##_t s = x86_load##bits(c, o, ea(c, o));                                 \
		void *r = X86_REG_PTR(c, o->r0);                                                   \
		uint##bits##_t d = *(uint##bits##_t *)r;                                           \
		uint32_t fl;                                                                       \
                                                                                                   \
		calc(text, "+r"(d), "r"(s));                                                       \
		x86_put##bits(r, d);                                                               \
		c->fl = (uint16_t)fl;                                                              \
		NEXT;                                                                              \
	}

#define DEFINE_REG_ONLY(name, calc, text, bits)                                                    \
	X86_OP(name)                                                                               \
	{                                                                                          \
		void *r = X86_REG_PTR(c, o->r0);                                                   \
		uint##bits##_t d = *(uint##bits##_t *)r;                                           \
		uint32_t fl;                                                                       \
                                                                                                   \
		calc(text, "+r"(d));                                                               \
		x86_put##bits(r, d);                                                               \
		c->fl = (uint16_t)fl;                                                              \
		NEXT;                                                                              \
	}

/* ---- Memory destinations --------------------------------------------------------------------- */

#define DEFINE_MEM_DST(name, calc, text, bits, ea, locked, src_operand)                            \
	X86_OP(name)                                                                               \
	{                                                                                          \
		uint##bits##_t *p = x86_rmw(c, o, ea(c, o), bits / 8, locked);                     \
		uint32_t fl;                                                                       \
                                                                                                   \
		calc(text, "+m"(*p), src_operand);                                                 \
		x86_rmw_end(c, o);                                                                 \
		c->fl = (uint16_t)fl;                                                              \
		NEXT;                                                                              \
	}

#define DEFINE_MEM_ONLY(name, calc, text, bits, ea, locked)                                        \
	X86_OP(name)                                                                               \
	{                                                                                          \
		uint##bits##_t *p = x86_rmw(c, o, ea(c, o), bits / 8, locked);                     \
		uint32_t fl;                                                                       \
                                                                                                   \
		calc(text, "+m"(*p));                                                              \
		x86_rmw_end(c, o);                                                                 \
		c->fl = (uint16_t)fl;                                                              \
		NEXT;                                                                              \
	}

/* ---- All forms of one instruction, in one size ----------------------------------------------- */

#define SRC_REG(bits) "r"(X86_REG(c, o->r1, const uint##bits##_t))
#define SRC_REG_DIRECT(bits) "m"(X86_REG(c, o->r1, const uint##bits##_t))
#define SRC_IMM(bits) "r"(X86_IMM(o, uint##bits##_t))
#define SRC_IMM_DIRECT(bits) "m"(X86_IMM(o, uint##bits##_t))

#define DEFINE_BINARY(op, calc, sfx, bits)                                                         \
	DEFINE_REG_DST(op##bits##_rr, calc, #op sfx, bits, SRC_REG_DIRECT(bits))                   \
	DEFINE_REG_DST(op##bits##_ri, calc, #op sfx, bits, SRC_IMM_DIRECT(bits))                   \
	DEFINE_REG_MEM(op##bits##_rm_s, calc, #op sfx, bits, x86_ea_s)                             \
	DEFINE_REG_MEM(op##bits##_rm_f, calc, #op sfx, bits, x86_ea_f)                             \
	DEFINE_MEM_DST(op##bits##_mr_s, calc, #op sfx, bits, x86_ea_s, false, SRC_REG(bits))       \
	DEFINE_MEM_DST(op##bits##_mr_f, calc, #op sfx, bits, x86_ea_f, false, SRC_REG(bits))       \
	DEFINE_MEM_DST(op##bits##_mi_s, calc, #op sfx, bits, x86_ea_s, false, SRC_IMM(bits))       \
	DEFINE_MEM_DST(op##bits##_mi_f, calc, #op sfx, bits, x86_ea_f, false, SRC_IMM(bits))       \
	DEFINE_MEM_DST(lock_##op##bits##_mr_s, calc, "lock " #op sfx, bits, x86_ea_s, true,        \
		SRC_REG(bits))                                                                     \
	DEFINE_MEM_DST(lock_##op##bits##_mr_f, calc, "lock " #op sfx, bits, x86_ea_f, true,        \
		SRC_REG(bits))                                                                     \
	DEFINE_MEM_DST(lock_##op##bits##_mi_s, calc, "lock " #op sfx, bits, x86_ea_s, true,        \
		SRC_IMM(bits))                                                                     \
	DEFINE_MEM_DST(lock_##op##bits##_mi_f, calc, "lock " #op sfx, bits, x86_ea_f, true,        \
		SRC_IMM(bits))

/* NOT leaves the flags alone. */
#define DEFINE_NOT_MEM(name, text, bits, ea, locked)                                               \
	X86_OP(name)                                                                               \
	{                                                                                          \
		uint##bits##_t *p = x86_rmw(c, o, ea(c, o), bits / 8, locked);                     \
                                                                                                   \
		asm(text " %0" : "+m"(*p));                                                        \
		x86_rmw_end(c, o);                                                                 \
		NEXT;                                                                              \
	}

#define DEFINE_NOT(sfx, bits)                                                                      \
	X86_OP(not##bits##_r)                                                                      \
	{                                                                                          \
		void *r = X86_REG_PTR(c, o->r0);                                                   \
                                                                                                   \
		x86_put##bits(r, (uint##bits##_t)~*(uint##bits##_t *)r);                           \
		NEXT;                                                                              \
	}                                                                                          \
	DEFINE_NOT_MEM(not##bits##_m_s, "not" sfx, bits, x86_ea_s, false)                          \
	DEFINE_NOT_MEM(not##bits##_m_f, "not" sfx, bits, x86_ea_f, false)                          \
	DEFINE_NOT_MEM(lock_not##bits##_m_s, "lock not" sfx, bits, x86_ea_s, true)                 \
	DEFINE_NOT_MEM(lock_not##bits##_m_f, "lock not" sfx, bits, x86_ea_f, true)

#define DEFINE_UNARY(op, calc, sfx, bits)                                                          \
	DEFINE_REG_ONLY(op##bits##_r, calc, #op sfx, bits)                                         \
	DEFINE_MEM_ONLY(op##bits##_m_s, calc, #op sfx, bits, x86_ea_s, false)                      \
	DEFINE_MEM_ONLY(op##bits##_m_f, calc, #op sfx, bits, x86_ea_f, false)                      \
	DEFINE_MEM_ONLY(lock_##op##bits##_m_s, calc, "lock " #op sfx, bits, x86_ea_s, true)        \
	DEFINE_MEM_ONLY(lock_##op##bits##_m_f, calc, "lock " #op sfx, bits, x86_ea_f, true)

struct unary_forms {
	x86_op_fn r;
	x86_op_fn m[2][2];
};

#define BINARY_FORMS(op, bits)                                                                     \
	{                                                                                          \
		.rr = op##bits##_rr, .ri = op##bits##_ri,                                          \
		.rm = {op##bits##_rm_s, op##bits##_rm_f},                                          \
		.mr = {{op##bits##_mr_s, op##bits##_mr_f},                                         \
			{lock_##op##bits##_mr_s, lock_##op##bits##_mr_f}},                         \
		.mi = {{op##bits##_mi_s, op##bits##_mi_f},                                         \
			{lock_##op##bits##_mi_s, lock_##op##bits##_mi_f}},                         \
	}

#define UNARY_FORMS(op, bits)                                                                      \
	{                                                                                          \
		.r = op##bits##_r,                                                                 \
		.m = {{op##bits##_m_s, op##bits##_m_f},                                            \
			{lock_##op##bits##_m_s, lock_##op##bits##_m_f}},                           \
	}

#define DEFINE_BINARY_SIZES(op, calc)                                                              \
	DEFINE_BINARY(op, calc, "b", 8)                                                            \
	DEFINE_BINARY(op, calc, "w", 16)                                                           \
	DEFINE_BINARY(op, calc, "l", 32)                                                           \
	DEFINE_BINARY(op, calc, "q", 64)                                                           \
	static const struct x86_binary_forms op##_forms[4] = {BINARY_FORMS(op, 8),                 \
		BINARY_FORMS(op, 16), BINARY_FORMS(op, 32), BINARY_FORMS(op, 64)};

#define UNARY_TABLE(op)                                                                            \
	static const struct unary_forms op##_forms[4] = {UNARY_FORMS(op, 8), UNARY_FORMS(op, 16),  \
		UNARY_FORMS(op, 32), UNARY_FORMS(op, 64)};

#define DEFINE_UNARY_SIZES(op, calc)                                                               \
	DEFINE_UNARY(op, calc, "b", 8)                                                             \
	DEFINE_UNARY(op, calc, "w", 16)                                                            \
	DEFINE_UNARY(op, calc, "l", 32)                                                            \
	DEFINE_UNARY(op, calc, "q", 64)                                                            \
	UNARY_TABLE(op)

DEFINE_BINARY_SIZES(add, CALC)
DEFINE_BINARY_SIZES(or, CALC)
DEFINE_BINARY_SIZES(adc, CALC_CF)
DEFINE_BINARY_SIZES(sbb, CALC_CF)
DEFINE_BINARY_SIZES(and, CALC)
DEFINE_BINARY_SIZES(sub, CALC)
DEFINE_BINARY_SIZES(xor, CALC)

DEFINE_UNARY_SIZES(inc, CALC_UNARY_CF)
DEFINE_UNARY_SIZES(dec, CALC_UNARY_CF)
DEFINE_UNARY_SIZES(neg, CALC_UNARY)

DEFINE_NOT("b", 8)
DEFINE_NOT("w", 16)
DEFINE_NOT("l", 32)
DEFINE_NOT("q", 64)
UNARY_TABLE(not)

/* XOR and SUB of a register with itself, the usual way to clear one. */
X86_OP(clear64)
{
	X86_REG(c, o->r0, uint64_t) = 0;
	c->fl = FL_ZERO;
	NEXT;
}

/* ---- Emitters -------------------------------------------------------------------------------- */

bool x86_emit_binary(struct x86_xlate *t, const struct x86_binary_forms sizes[4])
{
	const ZydisDecodedOperand *d = &t->op[0], *s = &t->op[1];
	const struct x86_binary_forms *f = &sizes[x86_size_index(d->size)];
	unsigned size = d->size / 8;
	bool lock = x86_has_lock(t);
	struct x86_op *o;

	if (x86_is_mem(d)) {
		const x86_op_fn *fn = x86_is_imm(s) ? f->mi[lock] : f->mr[lock];

		o = x86_emit_mem(t, d, fn[0], fn[1], size, true);
	} else if (x86_is_mem(s)) {
		o = x86_emit_mem(t, s, f->rm[0], f->rm[1], size, false);
	} else {
		o = x86_emit(t, x86_is_imm(s) ? f->ri : f->rr);
	}
	if (x86_is_reg(d))
		o->r0 = x86_reg(d->reg.value);
	if (x86_is_reg(s))
		o->r1 = x86_reg(s->reg.value);
	else if (x86_is_imm(s))
		o->imm = s->imm.value.u;
	return true;
}

/* XOR and SUB: clearing a register is an operation of its own. */
static bool emit_clearing(struct x86_xlate *t, const struct x86_binary_forms *sizes)
{
	const ZydisDecodedOperand *d = &t->op[0], *s = &t->op[1];

	if (x86_is_reg(d) && x86_is_reg(s) && d->reg.value == s->reg.value && d->size >= 32) {
		x86_emit(t, clear64)->r0 = x86_reg(d->reg.value);
		return true;
	}
	return x86_emit_binary(t, sizes);
}

static bool emit_unary(struct x86_xlate *t, const struct unary_forms *sizes)
{
	const ZydisDecodedOperand *d = &t->op[0];
	const struct unary_forms *f = &sizes[x86_size_index(d->size)];
	const x86_op_fn *fn = f->m[x86_has_lock(t)];

	if (x86_is_mem(d))
		x86_emit_mem(t, d, fn[0], fn[1], d->size / 8, true);
	else
		x86_emit(t, f->r)->r0 = x86_reg(d->reg.value);
	return true;
}

#define DEFINE_EMITTER(op, emit)                                                                   \
	static bool emit_##op(struct x86_xlate *t)                                                 \
	{                                                                                          \
		return emit(t, op##_forms);                                                        \
	}

DEFINE_EMITTER(add, x86_emit_binary)
DEFINE_EMITTER(or, x86_emit_binary)
DEFINE_EMITTER(adc, x86_emit_binary)
DEFINE_EMITTER(sbb, x86_emit_binary)
DEFINE_EMITTER(and, x86_emit_binary)
DEFINE_EMITTER(sub, emit_clearing)
DEFINE_EMITTER(xor, emit_clearing)
DEFINE_EMITTER(inc, emit_unary)
DEFINE_EMITTER(dec, emit_unary)
DEFINE_EMITTER(neg, emit_unary)
DEFINE_EMITTER(not, emit_unary)

void x86_register_alu(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_ADD] = emit_add;
	table[ZYDIS_MNEMONIC_OR] = emit_or;
	table[ZYDIS_MNEMONIC_ADC] = emit_adc;
	table[ZYDIS_MNEMONIC_SBB] = emit_sbb;
	table[ZYDIS_MNEMONIC_AND] = emit_and;
	table[ZYDIS_MNEMONIC_SUB] = emit_sub;
	table[ZYDIS_MNEMONIC_XOR] = emit_xor;
	table[ZYDIS_MNEMONIC_INC] = emit_inc;
	table[ZYDIS_MNEMONIC_DEC] = emit_dec;
	table[ZYDIS_MNEMONIC_NEG] = emit_neg;
	table[ZYDIS_MNEMONIC_NOT] = emit_not;
	x86_register_compare(table);
}

static void recipe_unary(
	struct x86_recipes *r, const struct unary_forms sizes[4], enum x86_recipe_kind kind)
{
	for (unsigned i = 0; i < 4; i++) {
		struct x86_recipe recipe = {.kind = (uint8_t)kind, .size = (uint8_t)(1u << i)};

		recipe.form = X86_FORM_R;
		x86_recipe_add(r, sizes[i].r, recipe);
		recipe.form = X86_FORM_M;
		for (unsigned lock = 0; lock < 2; lock++) {
			recipe.lock = lock;
			for (unsigned full = 0; full < 2; full++) {
				recipe.full = full;
				x86_recipe_add(r, sizes[i].m[lock][full], recipe);
			}
		}
	}
}

void x86_recipes_alu(struct x86_recipes *r)
{
	static const struct {
		const struct x86_binary_forms *forms;
		uint8_t code;
	} binary[] = {
		{add_forms, HOST_ADD},
		{or_forms, HOST_OR},
		{adc_forms, HOST_ADC},
		{sbb_forms, HOST_SBB},
		{and_forms, HOST_AND},
		{sub_forms, HOST_SUB},
		{xor_forms, HOST_XOR},
	};

	for (unsigned i = 0; i < sizeof(binary) / sizeof(binary[0]); i++)
		x86_recipe_binary(r, binary[i].forms,
			(struct x86_recipe){.kind = X86_DO_ALU, .code = binary[i].code});
	recipe_unary(r, inc_forms, X86_DO_INC);
	recipe_unary(r, dec_forms, X86_DO_DEC);
	recipe_unary(r, neg_forms, X86_DO_NEG);
	recipe_unary(r, not_forms, X86_DO_NOT);
	x86_recipe_add(r, clear64, (struct x86_recipe){.kind = X86_DO_CLEAR});
}
