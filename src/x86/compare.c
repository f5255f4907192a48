/*
 * compare.c - CMP and TEST, alone and fused with the conditional branch behind them.
 *
 * A comparison usually exists for the branch that follows. When that branch stays in its page the
 * translator puts the fused form in the comparison's place: it sets the flags as always and takes
 * the branch itself, from the operation behind it. That operation keeps its own place, so a fault
 * in the comparison's memory operand is the comparison's, and a branch into the middle is a block
 * of its own. Overflow and parity conditions, rare after comparisons, are not fused.
 *
 * Facts: Intel SDM vol. 2.
 */
#include "x86/recipe.h"

#define FUSED_CONDITIONS(X, ...)                                                                   \
	X86_CONDITIONS_BELOW(X, ##__VA_ARGS__)                                                     \
	X86_CONDITIONS_LESS(X, ##__VA_ARGS__)

/* ---- Operands: left and right, each an asm constraint with its operand ----------------------- */

#define LOADED(bits, ea) "r"(x86_load##bits(c, o, ea(c, o)))
#define REG0(bits)	 "r"(X86_REG(c, o->r0, const uint##bits##_t))
#define REG0_DIRECT(bits) "m"(X86_REG(c, o->r0, const uint##bits##_t))
#define REG1_DIRECT(bits) "m"(X86_REG(c, o->r1, const uint##bits##_t))
#define IMM_DIRECT(bits) "m"(X86_IMM(o, uint##bits##_t))

/* ---- One form: the plain operation and its fused ones --------------------------------------- */

#define DEFINE_FUSED(cc, CC, name, text, left, right)                                              \
	X86_OP(name##_j##cc)                                                                       \
	{                                                                                          \
		uint32_t fl;                                                                       \
		bool taken;                                                                        \
                                                                                                   \
		asm(text " %[r], %[l]" X86_ASM_SAVE_FLAGS                                          \
			: "=&a"(fl), "=@cc" #cc(taken) : [l] left, [r] right);                     \
		c->fl = (uint16_t)fl;                                                              \
		if (taken)                                                                         \
			return x86_link(c, o + 1);                                                 \
		return x86_continue(c, o + 2);                                                     \
	}

#define FUSED_NAME(cc, CC, name) [X86_COND_##CC] = name##_j##cc,

#define DEFINE_FORM(name, text, left, right)                                                       \
	X86_OP(name)                                                                               \
	{                                                                                          \
		uint32_t fl;                                                                       \
                                                                                                   \
		asm(text " %[r], %[l]" X86_ASM_SAVE_FLAGS                                          \
			: "=&a"(fl) : [l] left, [r] right : "cc");                                 \
		c->fl = (uint16_t)fl;                                                              \
		NEXT;                                                                              \
	}                                                                                          \
	FUSED_CONDITIONS(DEFINE_FUSED, name, text, left, right)                                    \
	static const struct form name##_form = {                                                   \
		.plain = name, .fused = {FUSED_CONDITIONS(FUSED_NAME, name)}};

struct form {
	x86_op_fn plain;
	x86_op_fn fused[X86_COND_COUNT];
};

/* ---- All forms of one instruction, in one size ---------------------------------------------- */

/* Those that address memory in pairs: simple, then full address. */
enum form_kind { RR, RI, MR_S, MR_F, MI_S, MI_F, RM_S, RM_F, FORM_KINDS };

struct forms {
	const struct form *of[FORM_KINDS];
};

#define DEFINE_COMPARE(op, sfx, bits)                                                              \
	DEFINE_FORM(op##bits##_rr, #op sfx, REG0(bits), REG1_DIRECT(bits))                         \
	DEFINE_FORM(op##bits##_ri, #op sfx, REG0(bits), IMM_DIRECT(bits))                          \
	DEFINE_FORM(op##bits##_mr_s, #op sfx, LOADED(bits, x86_ea_s), REG1_DIRECT(bits))           \
	DEFINE_FORM(op##bits##_mr_f, #op sfx, LOADED(bits, x86_ea_f), REG1_DIRECT(bits))           \
	DEFINE_FORM(op##bits##_mi_s, #op sfx, LOADED(bits, x86_ea_s), IMM_DIRECT(bits))            \
	DEFINE_FORM(op##bits##_mi_f, #op sfx, LOADED(bits, x86_ea_f), IMM_DIRECT(bits))

/* The encoding of TEST knows no memory on the right. */
#define DEFINE_COMPARE_RM(op, sfx, bits)                                                           \
	DEFINE_FORM(op##bits##_rm_s, #op sfx, REG0_DIRECT(bits), LOADED(bits, x86_ea_s))           \
	DEFINE_FORM(op##bits##_rm_f, #op sfx, REG0_DIRECT(bits), LOADED(bits, x86_ea_f))

#define FORMS(op, bits)                                                                            \
	[RR] = &op##bits##_rr_form, [RI] = &op##bits##_ri_form, [MR_S] = &op##bits##_mr_s_form,    \
	[MR_F] = &op##bits##_mr_f_form, [MI_S] = &op##bits##_mi_s_form,                            \
	[MI_F] = &op##bits##_mi_f_form
#define FORMS_RM(op, bits) [RM_S] = &op##bits##_rm_s_form, [RM_F] = &op##bits##_rm_f_form

DEFINE_COMPARE(cmp, "b", 8)
DEFINE_COMPARE(cmp, "w", 16)
DEFINE_COMPARE(cmp, "l", 32)
DEFINE_COMPARE(cmp, "q", 64)
DEFINE_COMPARE_RM(cmp, "b", 8)
DEFINE_COMPARE_RM(cmp, "w", 16)
DEFINE_COMPARE_RM(cmp, "l", 32)
DEFINE_COMPARE_RM(cmp, "q", 64)
DEFINE_COMPARE(test, "b", 8)
DEFINE_COMPARE(test, "w", 16)
DEFINE_COMPARE(test, "l", 32)
DEFINE_COMPARE(test, "q", 64)

static const struct forms cmp_forms[4] = {
	{{FORMS(cmp, 8), FORMS_RM(cmp, 8)}},
	{{FORMS(cmp, 16), FORMS_RM(cmp, 16)}},
	{{FORMS(cmp, 32), FORMS_RM(cmp, 32)}},
	{{FORMS(cmp, 64), FORMS_RM(cmp, 64)}},
};
static const struct forms test_forms[4] = {
	{{FORMS(test, 8)}}, {{FORMS(test, 16)}}, {{FORMS(test, 32)}}, {{FORMS(test, 64)}}};

/* ---- Emitters ------------------------------------------------------------------------------- */

static const struct form *find_form(const struct forms *sizes, x86_op_fn plain)
{
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned k = 0; k < FORM_KINDS; k++) {
			const struct form *f = sizes[i].of[k];

			if (f && f->plain == plain)
				return f;
		}
	}
	return NULL;
}

x86_op_fn x86_compare_fused(const struct x86_op *prev, enum x86_condition cond)
{
	const struct form *f = find_form(cmp_forms, prev->fn);

	if (!f)
		f = find_form(test_forms, prev->fn);
	return f ? f->fused[cond] : NULL;
}

static bool emit_compare(struct x86_xlate *t, const struct forms *sizes)
{
	const ZydisDecodedOperand *l = &t->op[0], *r = &t->op[1];
	const struct forms *f = &sizes[x86_size_index(l->size)];
	unsigned size = l->size / 8;
	struct x86_op *o;

	if (x86_is_mem(l)) {
		enum form_kind k = x86_is_imm(r) ? MI_S : MR_S;

		o = x86_emit_mem(t, l, f->of[k]->plain, f->of[k + 1]->plain, size, false);
	} else if (x86_is_mem(r)) {
		o = x86_emit_mem(t, r, f->of[RM_S]->plain, f->of[RM_F]->plain, size, false);
	} else {
		o = x86_emit(t, f->of[x86_is_imm(r) ? RI : RR]->plain);
	}
	if (x86_is_reg(l))
		o->r0 = x86_reg(l->reg.value);
	if (x86_is_reg(r))
		o->r1 = x86_reg(r->reg.value);
	else if (x86_is_imm(r))
		o->imm = r->imm.value.u;
	return true;
}

static bool emit_cmp(struct x86_xlate *t)
{
	return emit_compare(t, cmp_forms);
}

static bool emit_test(struct x86_xlate *t)
{
	return emit_compare(t, test_forms);
}

void x86_register_compare(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_CMP] = emit_cmp;
	table[ZYDIS_MNEMONIC_TEST] = emit_test;
}

static void recipe_form(struct x86_recipes *r, const struct form *f, struct x86_recipe recipe)
{
	x86_recipe_add(r, f->plain, recipe);
	recipe.fused = true;
	for (unsigned cond = 0; cond < X86_COND_COUNT; cond++) {
		recipe.cond = (uint8_t)cond;
		x86_recipe_add(r, f->fused[cond], recipe);
	}
}

static void recipe_compare(
	struct x86_recipes *r, const struct forms sizes[4], struct x86_recipe recipe)
{
	static const uint8_t forms[FORM_KINDS] = {[RR] = X86_FORM_RR, [RI] = X86_FORM_RI,
		[MR_S] = X86_FORM_MR, [MR_F] = X86_FORM_MR, [MI_S] = X86_FORM_MI,
		[MI_F] = X86_FORM_MI, [RM_S] = X86_FORM_RM, [RM_F] = X86_FORM_RM};

	for (unsigned i = 0; i < 4; i++) {
		recipe.size = (uint8_t)(1u << i);
		for (unsigned k = 0; k < FORM_KINDS; k++) {
			recipe.form = forms[k];
			recipe.full = k == MR_F || k == MI_F || k == RM_F;
			if (sizes[i].of[k])
				recipe_form(r, sizes[i].of[k], recipe);
		}
	}
}

void x86_recipes_compare(struct x86_recipes *r)
{
	recipe_compare(r, cmp_forms, (struct x86_recipe){.kind = X86_DO_ALU, .code = HOST_CMP});
	recipe_compare(r, test_forms, (struct x86_recipe){.kind = X86_DO_TEST});
}
