/*
 * stack.c - PUSH, POP, PUSHA, POPA, PUSHF, POPF, ENTER, LEAVE.
 *
 * 64-bit operands on a 64-bit stack have operations of their own; they hand what misses the TLB
 * to the general ones, which serve every operand size and stack width (.x: operand in bytes).
 * Segment registers are pushed and popped in segment.c.
 *
 * Facts: Intel SDM vol. 2; vol. 1 chapter 6; vol. 3B 20.2.7 (flags in virtual-8086 mode, without
 * the virtual-mode extensions, which are not reported).
 */
#include "x86/recipe.h"
#include "x86/system.h"

#define RSP X86_REG(c, X86_R(X86_RSP), uint64_t)
#define RBP X86_REG(c, X86_R(X86_RBP), uint64_t)

/*
 * Out of line: a struct x86_stack whose address was taken would keep NEXT from being a jump; and a
 * general operation inside a fast one would give that a stack frame.
 */
#define OUT_OF_LINE __attribute__((noinline))

/* ---- Any stack ------------------------------------------------------------------------------- */

OUT_OF_LINE void x86_stack_push(
	struct x86_vcpu *c, const struct x86_op *o, unsigned size, uint64_t value)
{
	struct x86_stack st = x86_stack_current(c);

	x86_push(c, o, &st, size, value);
	x86_stack_commit(c, &st);
}

OUT_OF_LINE uint64_t x86_stack_top(struct x86_vcpu *c, const struct x86_op *o, unsigned size)
{
	struct x86_stack st = x86_stack_current(c);

	return x86_pop(c, o, &st, size);
}

OUT_OF_LINE void x86_stack_release(struct x86_vcpu *c, unsigned bytes)
{
	struct x86_stack st = x86_stack_current(c);

	st.sp += bytes;
	x86_stack_commit(c, &st);
}

static inline uint64_t load_size(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size)
{
	return size == 8   ? x86_load64(c, o, va)
	       : size == 4 ? x86_load32(c, o, va)
			   : x86_load16(c, o, va);
}

static inline void store_size(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size, uint64_t value)
{
	if (size == 8)
		x86_store64(c, o, va, value);
	else if (size == 4)
		x86_store32(c, o, va, (uint32_t)value);
	else
		x86_store16(c, o, va, (uint16_t)value);
}

/* ---- PUSH ----------------------------------------------------------------------------------- */

OUT_OF_LINE X86_OP(push_r)
{
	x86_stack_push(c, o, o->x, X86_REG(c, o->r0, uint64_t));
	NEXT;
}

OUT_OF_LINE X86_OP(push_i)
{
	x86_stack_push(c, o, o->x, o->imm);
	NEXT;
}

X86_OP(push_m)
{
	x86_stack_push(c, o, o->x, load_size(c, o, x86_ea_s(c, o), o->x));
	NEXT;
}

/* A 64-bit push, or all of the general operation @slow when the TLB misses. */
#define PUSH64_OR(slow, value)                                                                     \
	do {                                                                                       \
		uint64_t sp = RSP - 8;                                                             \
		volatile uint64_t *p = x86_host_w(c, sp, 8);                                       \
                                                                                                   \
		if (unlikely(!p))                                                                  \
			return slow(c, o);                                                         \
		*p = (value);                                                                      \
		RSP = sp;                                                                          \
	} while (0)

X86_OP(push64_r)
{
	PUSH64_OR(push_r, X86_REG(c, o->r0, uint64_t));
	NEXT;
}

X86_OP(push64_i)
{
	PUSH64_OR(push_i, o->imm);
	NEXT;
}

static bool emit_push(struct x86_xlate *t)
{
	const ZydisDecodedOperand *s = &t->op[0];
	unsigned size = t->insn.operand_width / 8;
	struct x86_op *o;

	if (x86_is_mem(s)) {
		x86_emit_ea(t, s, size, false, true);
		o = x86_emit(t, push_m);
		o->base = X86_R_EA;
	} else if (x86_is_imm(s)) {
		o = x86_emit(t, size == 8 ? push64_i : push_i);
		o->imm = s->imm.value.u;
	} else if (ZydisRegisterGetClass(s->reg.value) == ZYDIS_REGCLASS_SEGMENT) {
		return x86_emit_push_segment(t);
	} else {
		o = x86_emit(t, size == 8 ? push64_r : push_r);
		o->r0 = x86_reg(s->reg.value);
	}
	o->x = (uint8_t)size;
	return true;
}

/* ---- POP ------------------------------------------------------------------------------------ */

OUT_OF_LINE X86_OP(pop_r)
{
	uint64_t value = x86_stack_top(c, o, o->x);

	x86_stack_release(c, o->x);
	x86_put(X86_REG_PTR(c, o->r0), o->x, value);
	NEXT;
}

X86_OP(pop_m)
{
	uint64_t value = x86_stack_top(c, o, o->x);

	store_size(c, o, x86_ea_s(c, o), o->x, value);
	x86_stack_release(c, o->x);
	NEXT;
}

X86_OP(pop64_r)
{
	uint64_t sp = RSP, value;
	const volatile uint64_t *p = x86_host_r(c, sp, 8);

	if (unlikely(!p))
		return pop_r(c, o);
	value = *p;
	RSP = sp + 8;
	X86_REG(c, o->r0, uint64_t) = value;
	NEXT;
}

static bool emit_pop(struct x86_xlate *t)
{
	ZydisDecodedOperand d = t->op[0];
	unsigned size = t->insn.operand_width / 8;
	struct x86_op *o;

	if (x86_is_mem(&d)) {
		/* An address from the stack pointer is that after the pop. */
		if (d.mem.base == ZYDIS_REGISTER_RSP || d.mem.base == ZYDIS_REGISTER_ESP) {
			d.mem.disp.value += size;
			d.mem.disp.has_displacement = true;
		}
		x86_emit_ea(t, &d, size, true, true);
		o = x86_emit(t, pop_m);
		o->base = X86_R_EA;
	} else if (ZydisRegisterGetClass(d.reg.value) == ZYDIS_REGCLASS_SEGMENT) {
		return x86_emit_pop_segment(t);
	} else {
		o = x86_emit(t, size == 8 ? pop64_r : pop_r);
		o->r0 = x86_reg(d.reg.value);
	}
	o->x = (uint8_t)size;
	return true;
}

/* ---- PUSHA, POPA ---------------------------------------------------------------------------- */

OUT_OF_LINE static void push_all(struct x86_vcpu *c, const struct x86_op *o)
{
	struct x86_stack st = x86_stack_current(c);

	for (unsigned r = X86_RAX; r <= X86_RDI; r++)
		x86_push(c, o, &st, o->x, c->s.gpr[r]);
	x86_stack_commit(c, &st);
}

OUT_OF_LINE static void pop_all(struct x86_vcpu *c, const struct x86_op *o)
{
	struct x86_stack st = x86_stack_current(c);
	uint64_t value[X86_RDI + 1];

	for (int r = X86_RDI; r >= X86_RAX; r--)
		value[r] = x86_pop(c, o, &st, o->x);
	x86_stack_commit(c, &st);
	for (unsigned r = X86_RAX; r <= X86_RDI; r++)
		if (r != X86_RSP)
			x86_put(&c->s.gpr[r], o->x, value[r]);
}

/* ---- PUSHF, POPF ---------------------------------------------------------------------------- */

/* In virtual-8086 mode the flags are the monitor's unless IOPL is 3. */
static void check_flags_access(struct x86_vcpu *c, const struct x86_op *o)
{
	if (x86_in_vm86(c) && x86_iopl(c) < 3)
		x86_raise_gp(c, o, 0);
}

OUT_OF_LINE static void push_flags(struct x86_vcpu *c, const struct x86_op *o)
{
	check_flags_access(c, o);
	x86_stack_push(c, o, o->x, x86_flags(c) & ~(X86_FLAG_VM | X86_FLAG_RF));
}

OUT_OF_LINE static void pop_flags(struct x86_vcpu *c, const struct x86_op *o)
{
	uint32_t mask = X86_FLAGS_ARITH | X86_FLAG_TF | X86_FLAG_DF | X86_FLAG_NT;
	uint32_t value;

	check_flags_access(c, o);
	if (o->x > 2)
		mask |= X86_FLAG_AC | X86_FLAG_ID;
	if (x86_in_vm86(c) || c->s.cpl <= x86_iopl(c))
		mask |= X86_FLAG_IF;
	if (c->s.cpl == 0)
		mask |= X86_FLAG_IOPL;
	value = (uint32_t)x86_stack_top(c, o, o->x);
	x86_stack_release(c, o->x);
	x86_set_flags(c, (x86_flags(c) & ~(mask | X86_FLAG_RF)) | (value & mask));
}

X86_OP(popf)
{
	pop_flags(c, o);
	x86_end_here(c, o);
}

static bool emit_popf(struct x86_xlate *t)
{
	x86_emit(t, popf)->x = (uint8_t)(t->insn.operand_width / 8);
	t->end = true;
	return true;
}

/* ---- ENTER, LEAVE --------------------------------------------------------------------------- */

/* .imm: bytes of local variables, and in bits 16 up the nesting level. */
OUT_OF_LINE static void enter_frame(struct x86_vcpu *c, const struct x86_op *o)
{
	struct x86_stack st = x86_stack_current(c), outer = st;
	unsigned level = (o->imm >> 16) & 31;
	uint64_t frame;

	x86_push(c, o, &st, o->x, RBP);
	frame = st.sp & st.mask;
	for (unsigned i = 1; i < level; i++) {
		outer.sp = RBP - (uint64_t)i * o->x;
		x86_push(c, o, &st, o->x, x86_pop(c, o, &outer, o->x));
	}
	if (level)
		x86_push(c, o, &st, o->x, frame);
	st.sp = (st.sp - (o->imm & 0xffff)) & st.mask;
	x86_probe_write(c, o,
		st.flat ? st.sp
			: x86_segment_address(c, o, X86_SS, (uint32_t)st.sp, o->x, true),
		o->x);
	x86_stack_commit(c, &st);
	x86_put(&RBP, o->x, frame);
}

OUT_OF_LINE static void leave_frame(struct x86_vcpu *c, const struct x86_op *o)
{
	struct x86_stack st = x86_stack_current(c);
	uint64_t value;

	st.sp = RBP;
	value = x86_pop(c, o, &st, o->x);
	x86_stack_commit(c, &st);
	x86_put(&RBP, o->x, value);
}

/* ---- Operations of functions that need no operands but .x ----------------------------------- */

#define DEFINE_STACK_OP(name, function)                                                            \
	OUT_OF_LINE X86_OP(name)                                                                   \
	{                                                                                          \
		function(c, o);                                                                    \
		NEXT;                                                                              \
	}                                                                                          \
	static bool emit_##name(struct x86_xlate *t)                                               \
	{                                                                                          \
		x86_emit(t, name)->x = (uint8_t)(t->insn.operand_width / 8);                       \
		return true;                                                                       \
	}

DEFINE_STACK_OP(pusha, push_all)
DEFINE_STACK_OP(popa, pop_all)
DEFINE_STACK_OP(pushf, push_flags)
DEFINE_STACK_OP(leave, leave_frame)

X86_OP(enter)
{
	enter_frame(c, o);
	NEXT;
}

static bool emit_enter(struct x86_xlate *t)
{
	struct x86_op *o = x86_emit(t, enter);

	o->x = (uint8_t)(t->insn.operand_width / 8);
	o->imm = (t->op[0].imm.value.u & 0xffff) | (t->op[1].imm.value.u & 0xff) << 16;
	return true;
}

X86_OP(leave64)
{
	uint64_t sp = RBP, value;
	const volatile uint64_t *p = x86_host_r(c, sp, 8);

	if (unlikely(!p))
		return leave(c, o);
	value = *p;
	RSP = sp + 8;
	RBP = value;
	NEXT;
}

static bool emit_leave_any(struct x86_xlate *t)
{
	if (t->insn.operand_width != 64)
		return emit_leave(t);
	x86_emit(t, leave64)->x = 8;
	return true;
}

void x86_register_stack(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_PUSH] = emit_push;
	table[ZYDIS_MNEMONIC_POP] = emit_pop;
	table[ZYDIS_MNEMONIC_PUSHA] = emit_pusha;
	table[ZYDIS_MNEMONIC_PUSHAD] = emit_pusha;
	table[ZYDIS_MNEMONIC_POPA] = emit_popa;
	table[ZYDIS_MNEMONIC_POPAD] = emit_popa;
	table[ZYDIS_MNEMONIC_PUSHF] = emit_pushf;
	table[ZYDIS_MNEMONIC_PUSHFD] = emit_pushf;
	table[ZYDIS_MNEMONIC_PUSHFQ] = emit_pushf;
	table[ZYDIS_MNEMONIC_POPF] = emit_popf;
	table[ZYDIS_MNEMONIC_POPFD] = emit_popf;
	table[ZYDIS_MNEMONIC_POPFQ] = emit_popf;
	table[ZYDIS_MNEMONIC_ENTER] = emit_enter;
	table[ZYDIS_MNEMONIC_LEAVE] = emit_leave_any;
}

void x86_recipes_stack(struct x86_recipes *r)
{
	x86_recipe_add(r, push64_r, (struct x86_recipe){.kind = X86_DO_PUSH, .form = X86_FORM_R});
	x86_recipe_add(r, push64_i, (struct x86_recipe){.kind = X86_DO_PUSH, .form = X86_FORM_RI});
	x86_recipe_add(r, pop64_r, (struct x86_recipe){.kind = X86_DO_POP});
	x86_recipe_add(r, leave64, (struct x86_recipe){.kind = X86_DO_LEAVE});
}
