/*
 * branch.c - near JMP, CALL, RET, Jcc, JCXZ and LOOP; far forms are in far.c.
 *
 * In 64-bit mode a branch within its page is a LINK, and a conditional one takes the comparison
 * before it along (compare.c); other targets are found through the jump cache. Conditional
 * branches do not end the block: what follows them goes on inline. Outside 64-bit mode targets
 * wrap with the operand size and are checked against CS's limit each time.
 *
 * A target that is not canonical, or outside CS, is #GP at the branch, which then has changed
 * nothing.
 *
 * Facts: Intel SDM vol. 2; operand-size prefixes on near branches in 64-bit mode are ignored, as
 * on Intel's processors.
 */
#include "x86/recipe.h"
#include "x86/system.h"

#define RSP X86_REG(c, X86_R(X86_RSP), uint64_t)
#define PAGE X86_REG(c, X86_R_PAGE, uint64_t)

/* ---- Targets -------------------------------------------------------------------------------- */

/* 64-bit mode: end the block, continue at @rip. */
static inline __attribute__((always_inline)) void jump64(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t rip)
{
	if (unlikely(!x86_canonical(rip)))
		x86_raise_gp(c, o, 0);
	return x86_chain(c, o, rip);
}

/* Any mode: the linear address of @rip, checked. .x: operand size in bytes. */
static inline uint64_t target(struct x86_vcpu *c, const struct x86_op *o, uint64_t rip)
{
	if (c->mode & X86_MODE_64) {
		if (unlikely(!x86_canonical(rip)))
			x86_raise_gp(c, o, 0);
		return rip;
	}
	rip &= o->x == 2 ? 0xffff : 0xffffffff;
	if (unlikely(rip > c->s.seg[X86_CS].limit))
		x86_raise_gp(c, o, 0);
	return (uint32_t)(rip + c->cs_base);
}

/* Any mode: that of a branch with a displacement. */
static inline uint64_t relative_target(struct x86_vcpu *c, const struct x86_op *o)
{
	if (c->mode & X86_MODE_64)
		return target(c, o, PAGE + o->imm);
	return target(c, o, x86_op_next_rip(c, o) + o->imm);
}

static int64_t displacement(const struct x86_xlate *t)
{
	return t->op[0].imm.value.s;
}

/* .imm: the target from the block's page in 64-bit mode, from the next instruction otherwise. */
static struct x86_op *emit_relative(struct x86_xlate *t, x86_op_fn fn64, x86_op_fn fn)
{
	bool long_mode = t->mode & X86_MODE_64;
	struct x86_op *o = x86_emit(t, long_mode ? fn64 : fn);

	o->imm = (uint64_t)displacement(t) + (long_mode ? t->off + t->insn.length : 0u);
	o->x = (uint8_t)(t->insn.operand_width / 8);
	return o;
}

static struct x86_op *emit_link(struct x86_xlate *t, x86_op_fn fn)
{
	struct x86_op *o = x86_emit(t, fn);

	o->disp = (int32_t)(t->off + t->insn.length + displacement(t));
	return o;
}

/* ---- Jcc ------------------------------------------------------------------------------------ */

static bool emit_jcc(struct x86_xlate *t, enum x86_condition cond, x86_op_fn link,
	x86_op_fn chain64, x86_op_fn chain)
{
	struct x86_op *prev = t->n_out ? &t->out[t->n_out - 1] : NULL;
	x86_op_fn fused;

	if (!x86_can_link(t, displacement(t))) {
		emit_relative(t, chain64, chain);
		return true;
	}
	fused = prev ? x86_compare_fused(prev, cond) : NULL;
	if (fused)
		prev->fn = fused;
	emit_link(t, link);
	return true;
}

#define DEFINE_JCC(cc, CC)                                                                         \
	X86_OP(j##cc##_link)                                                                       \
	{                                                                                          \
		if (X86_CC_##cc(c->fl))                                                            \
			return x86_link(c, o);                                                     \
		NEXT;                                                                              \
	}                                                                                          \
	X86_OP(j##cc##_chain64)                                                                    \
	{                                                                                          \
		if (X86_CC_##cc(c->fl))                                                            \
			return jump64(c, o, PAGE + o->imm);                                        \
		NEXT;                                                                              \
	}                                                                                          \
	X86_OP(j##cc##_chain)                                                                      \
	{                                                                                          \
		if (X86_CC_##cc(c->fl))                                                            \
			return x86_chain(c, o, relative_target(c, o));                             \
		NEXT;                                                                              \
	}                                                                                          \
	static bool emit_j##cc(struct x86_xlate *t)                                                \
	{                                                                                          \
		return emit_jcc(                                                                   \
			t, X86_COND_##CC, j##cc##_link, j##cc##_chain64, j##cc##_chain);           \
	}

X86_CONDITIONS(DEFINE_JCC)

/* ---- JCXZ, LOOP: rare, so one operation for all widths of the counter (.r0, in bytes) ------- */

static inline uint64_t counter(const struct x86_vcpu *c, const struct x86_op *o)
{
	uint64_t rcx = c->s.gpr[X86_RCX];

	return o->r0 == 8 ? rcx : o->r0 == 4 ? (uint32_t)rcx : (uint16_t)rcx;
}

X86_OP(jcxz)
{
	if (!counter(c, o))
		return x86_chain(c, o, relative_target(c, o));
	NEXT;
}

#define DEFINE_LOOP(name, condition)                                                               \
	X86_OP(name)                                                                               \
	{                                                                                          \
		uint64_t left = counter(c, o) - 1;                                                 \
		bool taken = counter(c, o) != 1 && (condition);                                    \
		uint64_t lin = taken ? relative_target(c, o) : 0;                                  \
                                                                                                   \
		x86_put(&c->s.gpr[X86_RCX], o->r0, left);                                          \
		if (taken)                                                                         \
			return x86_chain(c, o, lin);                                               \
		NEXT;                                                                              \
	}

DEFINE_LOOP(loop, true)
DEFINE_LOOP(loope, X86_CC_z(c->fl))
DEFINE_LOOP(loopne, X86_CC_nz(c->fl))

static bool emit_counted(struct x86_xlate *t)
{
	static const struct {
		ZydisMnemonic mnemonic;
		x86_op_fn fn;
	} ops[] = {
		{ZYDIS_MNEMONIC_LOOP, loop},
		{ZYDIS_MNEMONIC_LOOPE, loope},
		{ZYDIS_MNEMONIC_LOOPNE, loopne},
	};
	x86_op_fn fn = jcxz;

	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (ops[i].mnemonic == t->insn.mnemonic)
			fn = ops[i].fn;
	emit_relative(t, fn, fn)->r0 = (uint8_t)(t->insn.address_width / 8);
	return true;
}

/* ---- JMP ------------------------------------------------------------------------------------ */

static inline uint64_t load_target(struct x86_vcpu *c, const struct x86_op *o)
{
	uint64_t va = x86_ea_s(c, o);

	return o->x == 4 ? x86_load32(c, o, va) : x86_load16(c, o, va);
}

/*
 * JMP or CALL with its target in each kind of operand: go() continues at a linear address in any
 * mode, go64() at an offset in 64-bit mode.
 */
#define DEFINE_NEAR(name, go, go64)                                                                \
	X86_OP(name##_relative)                                                                    \
	{                                                                                          \
		return go(c, o, relative_target(c, o));                                            \
	}                                                                                          \
	X86_OP(name##_r)                                                                           \
	{                                                                                          \
		return go(c, o, target(c, o, X86_REG(c, o->r0, uint64_t)));                        \
	}                                                                                          \
	X86_OP(name##_m)                                                                           \
	{                                                                                          \
		return go(c, o, target(c, o, load_target(c, o)));                                  \
	}                                                                                          \
	X86_OP(name##64_relative)                                                                  \
	{                                                                                          \
		return go64(c, o, PAGE + o->imm);                                                  \
	}                                                                                          \
	X86_OP(name##64_r)                                                                         \
	{                                                                                          \
		return go64(c, o, X86_REG(c, o->r0, uint64_t));                                    \
	}                                                                                          \
	X86_OP(name##64_m_s)                                                                       \
	{                                                                                          \
		return go64(c, o, x86_load64(c, o, x86_ea_s(c, o)));                               \
	}                                                                                          \
	X86_OP(name##64_m_f)                                                                       \
	{                                                                                          \
		return go64(c, o, x86_load64(c, o, x86_ea_f(c, o)));                               \
	}

DEFINE_NEAR(jmp, x86_chain, jump64)

struct indirect_forms {
	x86_op_fn r64, m64_s, m64_f; /* 64-bit mode */
	x86_op_fn r, m;		     /* the others, where addresses are always simple */
};

static void emit_indirect(struct x86_xlate *t, const struct indirect_forms *f)
{
	const ZydisDecodedOperand *s = &t->op[0];
	unsigned size = t->insn.operand_width / 8;
	struct x86_op *o;

	if (x86_is_mem(s)) {
		o = x86_emit_mem(t, s, size == 8 ? f->m64_s : f->m, size == 8 ? f->m64_f : f->m,
			size, false);
	} else {
		o = x86_emit(t, size == 8 ? f->r64 : f->r);
		o->r0 = x86_reg(s->reg.value);
	}
	o->x = (uint8_t)size;
}

static bool emit_jmp(struct x86_xlate *t)
{
	static const struct indirect_forms forms = {jmp64_r, jmp64_m_s, jmp64_m_f, jmp_r, jmp_m};

	if (t->insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return x86_emit_far(t);
	if (!x86_is_imm(&t->op[0]))
		emit_indirect(t, &forms);
	else if (x86_can_link(t, displacement(t)))
		x86_emit_jump(t, displacement(t));
	else
		emit_relative(t, jmp64_relative, jmp_relative);
	t->end = true;
	return true;
}

/* ---- CALL ----------------------------------------------------------------------------------- */

/* Any mode and operand size: push the return address, continue at linear address @lin. */
static inline __attribute__((always_inline)) void call(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t lin)
{
	x86_stack_push(c, o, o->x, x86_op_next_rip(c, o));
	return x86_chain(c, o, lin);
}

/* 64-bit mode: push the return address, or let @slow do everything when the TLB misses. */
#define CALL64_OR(slow)                                                                            \
	do {                                                                                       \
		uint64_t sp = RSP - 8;                                                             \
		volatile uint64_t *p = x86_host_w(c, sp, 8);                                       \
                                                                                                   \
		if (unlikely(!p))                                                                  \
			return slow;                                                               \
		*p = PAGE + o->off + o->len;                                                       \
		RSP = sp;                                                                          \
	} while (0)

__attribute__((noinline)) static void call64_link_slow(struct x86_vcpu *c, const struct x86_op *o)
{
	x86_stack_push(c, o, 8, x86_op_next_rip(c, o));
	return x86_link(c, o);
}

X86_OP(call64_link)
{
	x86_returns_push(c);
	CALL64_OR(call64_link_slow(c, o));
	return x86_link(c, o);
}

__attribute__((noinline)) static void call64_slow(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t rip)
{
	return call(c, o, target(c, o, rip));
}

static inline __attribute__((always_inline)) void call64(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t rip)
{
	if (unlikely(!x86_canonical(rip)))
		x86_raise_gp(c, o, 0);
	x86_returns_push(c);
	CALL64_OR(call64_slow(c, o, rip));
	return x86_chain(c, o, rip);
}

DEFINE_NEAR(call, call, call64)

static bool emit_call(struct x86_xlate *t)
{
	static const struct indirect_forms forms = {
		call64_r, call64_m_s, call64_m_f, call_r, call_m};

	if (t->insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return x86_emit_far(t);
	if (!x86_is_imm(&t->op[0]))
		emit_indirect(t, &forms);
	else if (x86_can_link(t, displacement(t)))
		emit_link(t, call64_link);
	else
		emit_relative(t, call64_relative, call_relative);
	t->end = true;
	return true;
}

/* ---- RET: .imm, bytes to drop behind the return address ------------------------------------- */

X86_OP(ret)
{
	uint64_t lin = target(c, o, x86_stack_top(c, o, o->x));

	x86_stack_release(c, (unsigned)(o->x + o->imm));
	return x86_chain(c, o, lin);
}

X86_OP(ret64)
{
	uint64_t sp = RSP, rip;
	const volatile uint64_t *p = x86_host_r(c, sp, 8);

	x86_returns_pop(c);
	if (unlikely(!p))
		return ret(c, o);
	rip = *p;
	if (unlikely(!x86_canonical(rip)))
		x86_raise_gp(c, o, 0);
	RSP = sp + 8 + o->imm;
	return x86_chain(c, o, rip);
}

static bool emit_ret(struct x86_xlate *t)
{
	struct x86_op *o;

	if (t->insn.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return x86_emit_far(t);
	o = x86_emit(t, t->insn.operand_width == 64 ? ret64 : ret);
	o->x = (uint8_t)(t->insn.operand_width / 8);
	if (x86_is_imm(&t->op[0]))
		o->imm = t->op[0].imm.value.u & 0xffff;
	t->end = true;
	return true;
}

/* ---- Registration --------------------------------------------------------------------------- */

#define REGISTER_JCC(cc, CC) table[ZYDIS_MNEMONIC_J##CC] = emit_j##cc;

void x86_register_branch(x86_emit_fn *table)
{
	X86_CONDITIONS(REGISTER_JCC)
	table[ZYDIS_MNEMONIC_JCXZ] = emit_counted;
	table[ZYDIS_MNEMONIC_JECXZ] = emit_counted;
	table[ZYDIS_MNEMONIC_JRCXZ] = emit_counted;
	table[ZYDIS_MNEMONIC_LOOP] = emit_counted;
	table[ZYDIS_MNEMONIC_LOOPE] = emit_counted;
	table[ZYDIS_MNEMONIC_LOOPNE] = emit_counted;
	table[ZYDIS_MNEMONIC_JMP] = emit_jmp;
	table[ZYDIS_MNEMONIC_CALL] = emit_call;
	table[ZYDIS_MNEMONIC_RET] = emit_ret;
}

/* ---- Recipes: 64-bit mode -------------------------------------------------------------------- */

static void recipe_near(struct x86_recipes *r, enum x86_recipe_kind kind, x86_op_fn relative,
	x86_op_fn reg, x86_op_fn mem_s, x86_op_fn mem_f)
{
	struct x86_recipe recipe = {.kind = (uint8_t)kind, .form = X86_FORM_RI, .size = 8};

	x86_recipe_add(r, relative, recipe);
	x86_recipe_row(
		r, (const x86_op_fn[FORMS]){reg, mem_s, mem_f}, X86_FORM_R, X86_FORM_M, recipe);
}

#define RECIPE_JCC(cc, CC)                                                                         \
	x86_recipe_add(r, j##cc##_link,                                                            \
		(struct x86_recipe){.kind = X86_DO_JCC_LINK, .cond = X86_COND_##CC});              \
	x86_recipe_add(r, j##cc##_chain64,                                                         \
		(struct x86_recipe){.kind = X86_DO_JCC_CHAIN, .cond = X86_COND_##CC});

void x86_recipes_branch(struct x86_recipes *r)
{
	X86_CONDITIONS(RECIPE_JCC)
	recipe_near(r, X86_DO_JUMP, jmp64_relative, jmp64_r, jmp64_m_s, jmp64_m_f);
	recipe_near(r, X86_DO_CALL, call64_relative, call64_r, call64_m_s, call64_m_f);
	x86_recipe_add(r, call64_link, (struct x86_recipe){.kind = X86_DO_CALL_LINK});
	x86_recipe_add(r, ret64, (struct x86_recipe){.kind = X86_DO_RET});
}
