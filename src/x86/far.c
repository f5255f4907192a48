/*
 * far.c - far CALL, JMP and RET in every mode: direct, through call gates, to tasks.
 *
 * Promises: nothing but accessed bits and bytes below the stack pointer has changed when a fault is
 * raised.
 *
 * Facts: Intel SDM vol. 2 "CALL", "JMP", "RET"; vol. 3A, 5.8 (control transfers), 5.8.3 and 5.8.3.1
 * (call gates, in long mode).
 */
#include "x86/system.h"
#include "x86/translate.h"

/* A far branch being made. */
struct branch {
	uint16_t selector;
	uint64_t offset;
	unsigned size; /* operand size in bytes: of the offset, and of what CALL pushes */
	bool call;
};

static void push_return(
	struct x86_vcpu *c, const struct x86_op *o, struct x86_stack *st, unsigned size)
{
	x86_push(c, o, st, size, c->s.seg[X86_CS].selector);
	x86_push(c, o, st, size, x86_op_next_rip(c, o));
}

/* Go to @rip in code segment @desc at privilege @cpl, on stack @st. Nothing faults here. */
static void enter_code(struct x86_vcpu *c, const struct x86_op *o, uint16_t selector, uint64_t desc,
	uint64_t rip, unsigned cpl, const struct x86_stack *st)
{
	c->s.seg[X86_CS] = x86_segment_of((uint16_t)((selector & 0xfffc) | cpl), desc);
	c->s.seg[X86_SS] = st->ss;
	c->s.cpl = (uint8_t)cpl;
	x86_stack_commit(c, st);
	x86_update_mode(c);
	x86_end_at(c, o, rip);
}

/* ---- CALL and JMP -------------------------------------------------------------------------- */

static void branch_real(struct x86_vcpu *c, const struct x86_op *o, const struct branch *b)
{
	struct x86_stack st = x86_stack_current(c);

	if (b->call)
		push_return(c, o, &st, b->size);
	if (b->offset > c->s.seg[X86_CS].limit)
		x86_raise_gp(c, o, 0);
	x86_stack_commit(c, &st);
	c->s.seg[X86_CS].selector = b->selector;
	c->s.seg[X86_CS].base = (uint64_t)b->selector << 4;
	x86_update_mode(c);
	x86_end_at(c, o, b->offset);
}

/* To a code segment named directly: the level stays. */
static void branch_code(
	struct x86_vcpu *c, const struct x86_op *o, const struct branch *b, uint64_t desc)
{
	struct x86_stack st = x86_stack_current(c);
	uint32_t error = b->selector & 0xfffc;
	unsigned cpl = c->s.cpl, dpl = x86_desc_dpl(desc);
	uint64_t rip = b->offset;

	if (x86_desc_is_conforming(desc) ? dpl > cpl : dpl != cpl || (b->selector & 3u) > cpl)
		x86_raise_gp(c, o, error);
	if (x86_in_long(c) && (desc & X86_DESC_L) && (desc & X86_DESC_DB))
		x86_raise_gp(c, o, error);
	if (!(desc & X86_DESC_P))
		x86_raise_error(c, o, X86_VEC_NP, error);
	if (b->call)
		push_return(c, o, &st, b->size);
	if (!x86_in_long(c) || !(desc & X86_DESC_L))
		rip &= 0xffffffff;
	x86_check_target(c, o, desc, rip, 0);
	x86_desc_accessed(c, o, b->selector, &desc);
	enter_code(c, o, b->selector, desc, rip, cpl, &st);
}

static uint64_t read_gate_code(struct x86_vcpu *c, const struct x86_op *o, uint16_t selector)
{
	uint32_t error = selector & 0xfffc;
	uint64_t desc;

	if (x86_selector_null(selector))
		x86_raise_gp(c, o, 0);
	if (!x86_desc_read(c, o, selector, &desc) || !x86_desc_is_code(desc) ||
		x86_desc_dpl(desc) > c->s.cpl)
		x86_raise_gp(c, o, error);
	if (x86_in_long(c) && (desc & (X86_DESC_L | X86_DESC_DB)) != X86_DESC_L)
		x86_raise_gp(c, o, error);
	if (!(desc & X86_DESC_P))
		x86_raise_error(c, o, X86_VEC_NP, error);
	return desc;
}

/* The inner level's stack, with the frame that a call through a gate leaves on it. */
static struct x86_stack gate_stack(struct x86_vcpu *c, const struct x86_op *o, unsigned cpl,
	unsigned size, unsigned parameters)
{
	struct x86_stack old = x86_stack_current(c), st;
	uint64_t copied[31];
	uint16_t ss;
	uint64_t sp;

	if (size == 8) {
		sp = x86_tss_rsp(c, o, cpl, 0);
		st = x86_stack_make(x86_segment_null((uint16_t)cpl), sp, cpl, true, 0);
		parameters = 0;
	} else {
		x86_tss_stack(c, o, cpl, 0, &ss, &sp);
		st = x86_stack_make(x86_check_stack_segment(c, o, ss, cpl, X86_VEC_TS, 0), sp, cpl,
			false, ss & 0xfffcu);
	}
	for (unsigned i = 0; i < parameters; i++)
		copied[i] = x86_pop(c, o, &old, size);
	x86_push(c, o, &st, size, c->s.seg[X86_SS].selector);
	x86_push(c, o, &st, size, c->s.gpr[X86_RSP]);
	while (parameters--)
		x86_push(c, o, &st, size, copied[parameters]);
	push_return(c, o, &st, size);
	return st;
}

static void branch_gate(
	struct x86_vcpu *c, const struct x86_op *o, const struct branch *b, uint64_t gate)
{
	uint16_t selector = (uint16_t)(gate >> 16);
	uint64_t rip = (gate & 0xffff) | ((gate >> 32) & 0xffff0000), desc, high;
	unsigned size = x86_desc_type(gate) == X86_SYS_CALL16 ? 2 : 4, cpl = c->s.cpl;
	struct x86_stack st = x86_stack_current(c);

	if (x86_in_long(c)) {
		size = 8;
		if (!x86_desc_read_high(c, o, b->selector, &high) || ((high >> 40) & 0x1f))
			x86_raise_gp(c, o, b->selector & 0xfffc);
		rip |= high << 32;
	} else if (size == 2) {
		rip &= 0xffff;
	}
	desc = read_gate_code(c, o, selector);
	if (b->call && !x86_desc_is_conforming(desc) && x86_desc_dpl(desc) < cpl) {
		cpl = x86_desc_dpl(desc);
		st = gate_stack(c, o, cpl, size, (gate >> 32) & 31);
	} else if (!b->call && !x86_desc_is_conforming(desc) && x86_desc_dpl(desc) != cpl) {
		x86_raise_gp(c, o, selector & 0xfffc);
	} else if (b->call) {
		push_return(c, o, &st, size);
	}
	x86_check_target(c, o, desc, rip, 0);
	x86_desc_accessed(c, o, selector, &desc);
	enter_code(c, o, selector, desc, rip, cpl, &st);
}

static void branch_task(
	struct x86_vcpu *c, const struct x86_op *o, const struct branch *b, uint16_t tss)
{
	struct x86_task task = {
		.reason = b->call ? X86_TASK_CALL : X86_TASK_JUMP,
		.selector = tss,
		.rip = x86_op_next_rip(c, o),
		.flags = x86_flags(c),
	};

	x86_sync(c, o);
	x86_task_switch(c, o, &task);
	x86_end_at(c, o, c->s.rip);
}

static void branch_system(
	struct x86_vcpu *c, const struct x86_op *o, const struct branch *b, uint64_t desc)
{
	uint32_t error = b->selector & 0xfffc;
	enum x86_sys_type type = x86_desc_type(desc);
	bool in_long = x86_in_long(c);
	bool gate = type == X86_SYS_CALL32 || (!in_long && type == X86_SYS_CALL16);
	bool task_gate = !in_long && type == X86_SYS_TASK_GATE;
	bool tss = !in_long && (type == X86_SYS_TSS16 || type == X86_SYS_TSS32);

	if (!gate && !task_gate && !tss)
		x86_raise_gp(c, o, error);
	if (x86_desc_dpl(desc) < c->s.cpl || x86_desc_dpl(desc) < (b->selector & 3u))
		x86_raise_gp(c, o, error);
	if (!(desc & X86_DESC_P))
		x86_raise_error(c, o, X86_VEC_NP, error);
	if (gate)
		branch_gate(c, o, b, desc);
	else
		branch_task(c, o, b, task_gate ? (uint16_t)(desc >> 16) : b->selector);
}

static void branch(struct x86_vcpu *c, const struct x86_op *o, const struct branch *b)
{
	uint64_t desc;

	if (!x86_in_protected(c))
		return branch_real(c, o, b);
	if (x86_selector_null(b->selector))
		x86_raise_gp(c, o, 0);
	if (!x86_desc_read(c, o, b->selector, &desc))
		x86_raise_gp(c, o, b->selector & 0xfffc);
	if (!(desc & X86_DESC_S))
		branch_system(c, o, b, desc);
	else if (x86_desc_is_code(desc))
		branch_code(c, o, b, desc);
	else
		x86_raise_gp(c, o, b->selector & 0xfffc);
}

/* o->x: operand size in bytes; o->r0: 1 for CALL. The pointer is in o->imm and o->disp. */
X86_OP(op_far_direct)
{
	struct branch b = {
		.selector = (uint16_t)o->disp,
		.offset = o->imm,
		.size = o->x,
		.call = o->r0,
	};

	branch(c, o, &b);
}

/* The pointer is in memory at R_EA. */
X86_OP(op_far_memory)
{
	uint64_t ea = X86_REG(c, X86_R_EA, uint64_t);
	struct branch b = {.size = o->x, .call = o->r0};

	if (b.size == 8)
		b.offset = x86_load64(c, o, ea);
	else if (b.size == 4)
		b.offset = x86_load32(c, o, ea);
	else
		b.offset = x86_load16(c, o, ea);
	b.selector = x86_load16(c, o, ea + b.size);
	branch(c, o, &b);
}

static bool emit_branch(struct x86_xlate *t)
{
	const ZydisDecodedOperand *p = &t->op[0];
	unsigned size = t->insn.operand_width / 8;
	struct x86_op *o;

	if (x86_is_mem(p)) {
		x86_emit_ea(t, p, size + 2, false, true);
		o = x86_emit(t, op_far_memory);
	} else {
		o = x86_emit(t, op_far_direct);
		o->disp = p->ptr.segment;
		o->imm = size == 2 ? p->ptr.offset & 0xffff : p->ptr.offset;
	}
	o->x = (uint8_t)size;
	o->r0 = t->insn.mnemonic == ZYDIS_MNEMONIC_CALL;
	t->end = true;
	return true;
}

/* ---- RET ----------------------------------------------------------------------------------- */

static void ret_real(
	struct x86_vcpu *c, const struct x86_op *o, struct x86_stack *st, uint64_t rip, uint16_t cs)
{
	if (rip > c->s.seg[X86_CS].limit)
		x86_raise_gp(c, o, 0);
	st->sp = (st->sp & ~st->mask) | ((st->sp + o->imm) & st->mask);
	x86_stack_commit(c, st);
	c->s.seg[X86_CS].selector = cs;
	c->s.seg[X86_CS].base = (uint64_t)cs << 4;
	x86_update_mode(c);
	x86_end_at(c, o, rip);
}

/* o->imm: bytes of parameters to drop; o->x: operand size in bytes. */
X86_OP(op_far_ret)
{
	struct x86_stack st = x86_stack_current(c);
	unsigned size = o->x;
	uint64_t rip = x86_pop(c, o, &st, size), desc;
	uint16_t cs = (uint16_t)x86_pop(c, o, &st, size);
	unsigned cpl = c->s.cpl, rpl = cs & 3;

	if (!x86_in_protected(c))
		return ret_real(c, o, &st, rip, cs);
	desc = x86_read_return_code(c, o, cs);
	x86_check_target(c, o, desc, rip, 0);
	st.sp = (st.sp & ~st.mask) | ((st.sp + o->imm) & st.mask);
	if (rpl > cpl) {
		uint64_t sp = x86_pop(c, o, &st, size);
		uint16_t ss = (uint16_t)x86_pop(c, o, &st, size);

		st = x86_return_stack(c, o, ss, sp, rpl, desc);
		st.sp = (st.sp & ~st.mask) | ((st.sp + o->imm) & st.mask);
	}
	x86_desc_accessed(c, o, cs, &desc);
	enter_code(c, o, cs, desc, rip, rpl, &st);
	if (rpl > cpl) {
		x86_drop_inner_segments(c);
		x86_update_mode(c);
	}
}

static bool emit_ret(struct x86_xlate *t)
{
	struct x86_op *o = x86_emit(t, op_far_ret);

	o->imm = x86_is_imm(&t->op[0]) ? t->op[0].imm.value.u & 0xffff : 0;
	o->x = t->insn.operand_width / 8;
	t->end = true;
	return true;
}

bool x86_emit_far(struct x86_xlate *t)
{
	return t->insn.mnemonic == ZYDIS_MNEMONIC_RET ? emit_ret(t) : emit_branch(t);
}
