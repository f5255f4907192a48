/*
 * interrupt.c - the instructions that enter and leave handlers: INT, INT1, INT3, INTO, IRET.
 *
 * Facts: Intel SDM vol. 2 "INT n/INTO/INT3/INT1" and "IRET/IRETD/IRETQ"; vol. 3A, 6.7.1 for the
 * masking of NMIs, 20.2 for virtual-8086 mode.
 */
#include "x86/system.h"
#include "x86/translate.h"

/* ---- Software interrupts ------------------------------------------------------------------- */

static __attribute__((noinline)) uint64_t interrupt(struct x86_vcpu *c, const struct x86_op *o)
{
	struct x86_interrupt i = {
		.vector = (uint8_t)o->imm,
		.kind = (enum x86_event_kind)o->x,
		.rip = x86_op_next_rip(c, o),
	};

	x86_sync(c, o);
	x86_interrupt(c, &i);
	if (c->s.rflags & X86_FLAG_TF) /* clear already when the trap would come */
		c->pending_db |= X86_DB_NO_STEP;
	return c->s.rip;
}

X86_OP(op_int)
{
	return x86_chain_at(c, o, interrupt(c, o));
}

X86_OP(op_int_n)
{
	if (x86_in_vm86(c) && x86_iopl(c) < 3)
		x86_raise_gp(c, o, 0);
	return op_int(c, o);
}

X86_OP(op_into)
{
	if (c->fl & X86_FL_OF)
		return op_int(c, o);
	x86_end_here(c, o);
}

static bool emit_vector(
	struct x86_xlate *t, x86_op_fn fn, uint64_t vector, enum x86_event_kind kind)
{
	struct x86_op *o = x86_emit(t, fn);

	o->imm = vector;
	o->x = (uint8_t)kind;
	t->end = true;
	return true;
}

static bool emit_int(struct x86_xlate *t)
{
	return emit_vector(t, op_int_n, t->op[0].imm.value.u & 0xff, X86_EVENT_SOFTWARE);
}

static bool emit_int3(struct x86_xlate *t)
{
	return emit_vector(t, op_int, X86_VEC_BP, X86_EVENT_SOFTWARE);
}

static bool emit_int1(struct x86_xlate *t)
{
	return emit_vector(t, op_int, X86_VEC_DB, X86_EVENT_ICEBP);
}

static bool emit_into(struct x86_xlate *t)
{
	return emit_vector(t, op_into, X86_VEC_OF, X86_EVENT_SOFTWARE);
}

/* ---- IRET ---------------------------------------------------------------------------------- */

#define FLAGS_WORD                                                                                 \
	(X86_FLAGS_ARITH | X86_FLAG_TF | X86_FLAG_IF | X86_FLAG_DF | X86_FLAG_IOPL | X86_FLAG_NT)
#define FLAGS_DWORD (X86_FLAG_RF | X86_FLAG_AC | X86_FLAG_ID)

static void unmask_nmi(struct x86_vcpu *c)
{
	c->s.nmi_masked = false;
	if (c->s.nmi_pending)
		x86_attend(c, X86_ATTN_NMI);
}

/* Flags with those of @mask from @popped. RF is of no use while there are no breakpoints. */
static void return_flags(struct x86_vcpu *c, uint32_t popped, uint32_t mask)
{
	uint32_t flags = (x86_flags(c) & ~mask) | (popped & mask);

	if (!x86_debug_active(c))
		flags &= ~X86_FLAG_RF;
	x86_set_flags(c, flags);
}

/* Real and virtual-8086 mode. */
static uint64_t iret_real(struct x86_vcpu *c, const struct x86_op *o, unsigned size)
{
	struct x86_stack st = x86_stack_current(c);
	uint32_t mask = FLAGS_WORD | (size == 4 ? FLAGS_DWORD : 0);
	uint32_t rip, flags;
	uint16_t cs;

	if (x86_in_vm86(c)) {
		if (x86_iopl(c) < 3)
			x86_raise_gp(c, o, 0);
		mask &= ~X86_FLAG_IOPL;
	}
	rip = (uint32_t)x86_pop(c, o, &st, size);
	cs = (uint16_t)x86_pop(c, o, &st, size);
	flags = (uint32_t)x86_pop(c, o, &st, size);
	if (rip > c->s.seg[X86_CS].limit)
		x86_raise_gp(c, o, 0);

	x86_stack_commit(c, &st);
	c->s.seg[X86_CS].selector = cs;
	c->s.seg[X86_CS].base = (uint64_t)cs << 4;
	return_flags(c, flags, mask);
	return rip;
}

static uint64_t iret_task(struct x86_vcpu *c, const struct x86_op *o)
{
	struct x86_task task = {
		.reason = X86_TASK_IRET,
		.rip = x86_op_next_rip(c, o),
		.flags = x86_flags(c) & ~X86_FLAG_NT,
	};

	if (x86_in_long(c))
		x86_raise_gp(c, o, 0);
	task.selector = (uint16_t)x86_sys_load(c, o, c->s.seg[X86_TR].base, 2);
	x86_sync(c, o);
	x86_task_switch(c, o, &task);
	return c->s.rip;
}

/* The rest of the frame, when the flags in it say that virtual-8086 code was interrupted. */
static uint64_t iret_to_vm86(struct x86_vcpu *c, const struct x86_op *o, struct x86_stack *st,
	uint32_t rip, uint16_t cs, uint32_t flags)
{
	static const enum x86_seg order[] = {X86_SS, X86_ES, X86_DS, X86_FS, X86_GS};
	uint16_t selector[5];
	uint32_t sp = (uint32_t)x86_pop(c, o, st, 4);

	for (unsigned i = 0; i < 5; i++)
		selector[i] = (uint16_t)x86_pop(c, o, st, 4);
	if (rip > 0xffff)
		x86_raise_gp(c, o, 0);

	return_flags(
		c, flags, FLAGS_WORD | FLAGS_DWORD | X86_FLAG_VM | X86_FLAG_VIF | X86_FLAG_VIP);
	c->s.seg[X86_CS] = x86_segment_real(c, &c->s.seg[X86_CS], cs);
	for (unsigned i = 0; i < 5; i++)
		c->s.seg[order[i]] = x86_segment_real(c, &c->s.seg[order[i]], selector[i]);
	c->s.gpr[X86_RSP] = sp;
	c->s.cpl = 3;
	return rip;
}

/* What IRET at the present level may change. */
static uint32_t return_mask(const struct x86_vcpu *c, unsigned size)
{
	uint32_t mask = FLAGS_WORD & ~(X86_FLAG_IF | X86_FLAG_IOPL);

	if (size > 2)
		mask |= FLAGS_DWORD;
	if (c->s.cpl <= x86_iopl(c))
		mask |= X86_FLAG_IF;
	if (c->s.cpl == 0)
		mask |= X86_FLAG_IOPL | (size > 2 ? X86_FLAG_VIF | X86_FLAG_VIP : 0);
	return mask;
}

/* Nothing faults here; SS and RSP are those returned to already. */
static void enter_returned(
	struct x86_vcpu *c, uint16_t cs, uint64_t desc, uint32_t flags, uint32_t mask)
{
	bool outer = (cs & 3) > c->s.cpl;

	c->s.seg[X86_CS] = x86_segment_of(cs, desc);
	c->s.cpl = cs & 3;
	if (outer)
		x86_drop_inner_segments(c);
	return_flags(c, flags, mask);
}

/* From 16-bit and 32-bit code. */
static uint64_t iret_protected(struct x86_vcpu *c, const struct x86_op *o, unsigned size)
{
	struct x86_stack st = x86_stack_current(c);
	uint64_t rip = x86_pop(c, o, &st, size), desc;
	uint16_t cs = (uint16_t)x86_pop(c, o, &st, size);
	uint32_t flags = (uint32_t)x86_pop(c, o, &st, size);

	if (size == 4 && (flags & X86_FLAG_VM) && c->s.cpl == 0 && !x86_in_long(c))
		return iret_to_vm86(c, o, &st, (uint32_t)rip, cs, flags);
	desc = x86_read_return_code(c, o, cs);
	if ((cs & 3) > c->s.cpl) {
		uint64_t sp = x86_pop(c, o, &st, size);
		uint16_t ss = (uint16_t)x86_pop(c, o, &st, size);

		st = x86_return_stack(c, o, ss, sp, cs & 3, desc);
	}
	x86_check_target(c, o, desc, rip, 0);
	x86_desc_accessed(c, o, cs, &desc);

	c->s.seg[X86_SS] = st.ss;
	x86_stack_commit(c, &st);
	enter_returned(c, cs, desc, flags, return_mask(c, size));
	return rip;
}

/* Reads @n words of @size bytes from the stack of 64-bit code. */
static void read_frame(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t *frame, unsigned n, unsigned size)
{
	uint64_t rsp = c->s.gpr[X86_RSP];
	const uint64_t *p = size == 8 ? x86_host_r(c, rsp, n * 8) : NULL;
	struct x86_stack st;

	if (likely(p != NULL)) {
		for (unsigned i = 0; i < n; i++)
			frame[i] = ((const volatile uint64_t *)p)[i];
		return;
	}
	st = x86_stack_current(c);
	for (unsigned i = 0; i < n; i++)
		frame[i] = x86_pop(c, o, &st, size);
}

/* From 64-bit code, which finds SS:RSP in the frame whatever the level. */
static uint64_t iret_long(struct x86_vcpu *c, const struct x86_op *o, unsigned size)
{
	uint64_t frame[5], desc;
	uint16_t cs, ss;
	struct x86_segment stack;
	bool to_long;

	read_frame(c, o, frame, 5, size);
	cs = (uint16_t)frame[1];
	ss = (uint16_t)frame[4];
	desc = x86_read_return_code(c, o, cs);
	to_long = desc & X86_DESC_L;
	stack = x86_check_return_stack(c, o, ss, cs & 3, to_long);
	x86_check_target(c, o, desc, frame[0], 0);
	x86_desc_accessed(c, o, cs, &desc);

	c->s.seg[X86_SS] = stack;
	if (to_long)
		c->s.gpr[X86_RSP] = frame[3];
	else if (stack.attributes & X86_SEG_DB)
		c->s.gpr[X86_RSP] = (uint32_t)frame[3];
	else
		X86_REG(c, X86_R(X86_RSP), uint16_t) = (uint16_t)frame[3];
	enter_returned(c, cs, desc, (uint32_t)frame[2], return_mask(c, size));
	return frame[0];
}

static __attribute__((noinline)) uint64_t iret(
	struct x86_vcpu *c, const struct x86_op *o, unsigned size)
{
	uint64_t rip;

	unmask_nmi(c);
	if (!x86_in_protected(c))
		rip = iret_real(c, o, size);
	else if (c->rflags & X86_FLAG_NT)
		rip = iret_task(c, o);
	else if (c->mode & X86_MODE_64)
		rip = iret_long(c, o, size);
	else
		rip = iret_protected(c, o, size);
	x86_update_mode(c);
	return rip;
}

X86_OP(op_iret)
{
	return x86_chain_at(c, o, iret(c, o, o->x));
}

static bool emit_iret(struct x86_xlate *t)
{
	struct x86_op *o = x86_emit(t, op_iret);

	o->x = t->insn.operand_width / 8;
	t->end = true;
	return true;
}

void x86_register_interrupt(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_INT] = emit_int;
	table[ZYDIS_MNEMONIC_INT1] = emit_int1;
	table[ZYDIS_MNEMONIC_INT3] = emit_int3;
	table[ZYDIS_MNEMONIC_INTO] = emit_into;
	table[ZYDIS_MNEMONIC_IRET] = emit_iret;
	table[ZYDIS_MNEMONIC_IRETD] = emit_iret;
	table[ZYDIS_MNEMONIC_IRETQ] = emit_iret;
}
