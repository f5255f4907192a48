/*
 * exception.c - delivery of exceptions and interrupts through the vector table of every mode.
 *
 * Promises: x86_interrupt() changes the state only when nothing can fault any more, so that a fault
 * on the way finds the state of the interrupted instruction; two faults become one as the SDM's
 * table of double faults says.
 *
 * Facts: Intel SDM vol. 3A, chapter 6 (tables 6-4 and 6-5 for double faults), 6.14 for long mode,
 * 20.1.4 for real mode, 20.3 for virtual-8086 mode; vol. 2 "INT n" for the order of checks.
 */
#include "x86/system.h"

/* The bit that error codes of faults on the way have, unless software asked for the event. */
static uint32_t ext_of(const struct x86_interrupt *i)
{
	return i->kind != X86_EVENT_SOFTWARE;
}

/* ---- Real mode ----------------------------------------------------------------------------- */

static void real_interrupt(struct x86_vcpu *c, const struct x86_interrupt *i, uint32_t flags)
{
	struct x86_stack st = x86_stack_current(c);
	uint32_t at = i->vector * 4u, target;

	if (at + 3 > c->s.idtr.limit)
		x86_raise_gp(c, NULL, i->vector * 8u + 2 + ext_of(i));
	target = (uint32_t)x86_sys_load(c, NULL, c->s.idtr.base + at, 4);
	x86_push(c, NULL, &st, 2, flags);
	x86_push(c, NULL, &st, 2, c->s.seg[X86_CS].selector);
	x86_push(c, NULL, &st, 2, i->rip);

	x86_stack_commit(c, &st);
	c->s.seg[X86_CS].selector = (uint16_t)(target >> 16);
	c->s.seg[X86_CS].base = (uint64_t)(target >> 16) << 4;
	c->s.rip = target & 0xffff;
	x86_set_flags(c, x86_flags(c) & ~(X86_FLAG_IF | X86_FLAG_TF | X86_FLAG_AC | X86_FLAG_RF));
	x86_update_mode(c);
}

/* ---- Gates --------------------------------------------------------------------------------- */

/* A gate, checked as far as vector, type, DPL and presence go. */
struct gate {
	uint64_t low;
	uint64_t offset;
	uint16_t selector;
	uint8_t size; /* of what is pushed: 2, 4 or 8 */
	bool task, trap;
	uint8_t ist;
};

static bool gate_type_valid(enum x86_sys_type type, bool in_long)
{
	switch (type) {
	case X86_SYS_INT32:
	case X86_SYS_TRAP32:
		return true;
	case X86_SYS_INT16:
	case X86_SYS_TRAP16:
	case X86_SYS_TASK_GATE:
		return !in_long;
	default:
		return false;
	}
}

static struct gate read_gate(struct x86_vcpu *c, const struct x86_interrupt *i, uint32_t ext)
{
	bool in_long = x86_in_long(c);
	unsigned width = in_long ? 16 : 8;
	uint32_t at = i->vector * width, error = i->vector * 8u + 2;
	enum x86_sys_type type;
	struct gate g;

	if (at + width - 1 > c->s.idtr.limit)
		x86_raise_gp(c, NULL, error + ext);
	g.low = x86_sys_load(c, NULL, c->s.idtr.base + at, 8);
	type = x86_desc_type(g.low);
	if ((g.low & X86_DESC_S) || !gate_type_valid(type, in_long))
		x86_raise_gp(c, NULL, error + ext);
	if (i->kind == X86_EVENT_SOFTWARE && x86_desc_dpl(g.low) < c->s.cpl)
		x86_raise_gp(c, NULL, error);
	if (!(g.low & X86_DESC_P))
		x86_raise_error(c, NULL, X86_VEC_NP, error + ext);

	g.selector = (uint16_t)(g.low >> 16);
	g.offset = (g.low & 0xffff) | ((g.low >> 32) & 0xffff0000);
	g.task = type == X86_SYS_TASK_GATE;
	g.trap = type & 1;
	g.ist = 0;
	g.size = type & 8 ? 4 : 2;
	if (in_long) {
		g.size = 8;
		g.offset |= x86_sys_load(c, NULL, c->s.idtr.base + at + 8, 8) << 32;
		g.ist = (g.low >> 32) & 7;
	} else if (g.size == 2) {
		g.offset &= 0xffff;
	}
	return g;
}

/* The handler's code segment; raises what its checks raise. */
static uint64_t read_code(struct x86_vcpu *c, const struct gate *g, uint32_t ext)
{
	uint32_t error = (g->selector & 0xfffcu) + ext;
	uint64_t desc;

	if (x86_selector_null(g->selector))
		x86_raise_gp(c, NULL, ext);
	if (!x86_desc_read(c, NULL, g->selector, &desc) || !x86_desc_is_code(desc) ||
		x86_desc_dpl(desc) > c->s.cpl)
		x86_raise_gp(c, NULL, error);
	if (x86_in_long(c) && (desc & (X86_DESC_L | X86_DESC_DB)) != X86_DESC_L)
		x86_raise_gp(c, NULL, error);
	if (!(desc & X86_DESC_P))
		x86_raise_error(c, NULL, X86_VEC_NP, error);
	/* From virtual-8086 mode only to level 0. */
	if (x86_in_vm86(c) && (x86_desc_is_conforming(desc) || x86_desc_dpl(desc) != 0))
		x86_raise_gp(c, NULL, error);
	return desc;
}

/* The last step, which cannot fault: SS and RSP are the handler's already. */
static void enter_handler(struct x86_vcpu *c, const struct gate *g, uint64_t desc, unsigned cpl)
{
	uint32_t clear = X86_FLAG_TF | X86_FLAG_NT | X86_FLAG_RF | X86_FLAG_VM;

	if (!g->trap)
		clear |= X86_FLAG_IF;
	c->s.seg[X86_CS] = x86_segment_of((uint16_t)((g->selector & 0xfffc) | cpl), desc);
	c->s.cpl = (uint8_t)cpl;
	c->s.rip = g->offset;
	x86_set_flags(c, x86_flags(c) & ~clear);
	x86_update_mode(c);
}

/* ---- Protected mode ------------------------------------------------------------------------ */

static struct x86_stack inner_stack(struct x86_vcpu *c, unsigned cpl, uint32_t ext)
{
	struct x86_segment ss;
	uint16_t selector;
	uint64_t sp;

	x86_tss_stack(c, NULL, cpl, ext, &selector, &sp);
	ss = x86_check_stack_segment(c, NULL, selector, cpl, X86_VEC_TS, ext);
	return x86_stack_make(ss, sp, cpl, false, (selector & 0xfffcu) + ext);
}

static void enter_task(
	struct x86_vcpu *c, const struct x86_interrupt *i, uint16_t selector, uint32_t flags)
{
	struct x86_task task = {
		.reason = X86_TASK_EVENT,
		.selector = selector,
		.rip = i->rip,
		.flags = flags,
		.ext = ext_of(i),
		.push_error = i->has_error,
		.error = i->error,
	};

	x86_task_switch(c, NULL, &task);
}

static void protected_interrupt(struct x86_vcpu *c, const struct x86_interrupt *i, uint32_t flags)
{
	static const enum x86_seg data[] = {X86_GS, X86_FS, X86_DS, X86_ES};
	uint32_t ext = ext_of(i);
	struct gate g = read_gate(c, i, ext);
	bool from_vm86 = x86_in_vm86(c), inner;
	unsigned cpl = c->s.cpl;
	struct x86_stack st = x86_stack_current(c);
	uint64_t desc;

	if (g.task)
		return enter_task(c, i, g.selector, flags);
	desc = read_code(c, &g, ext);
	inner = !x86_desc_is_conforming(desc) && x86_desc_dpl(desc) < cpl;
	st.error = ext;
	if (inner) {
		cpl = x86_desc_dpl(desc);
		st = inner_stack(c, cpl, ext);
	}
	if (from_vm86)
		for (unsigned n = 0; n < 4; n++)
			x86_push(c, NULL, &st, g.size, c->s.seg[data[n]].selector);
	if (inner) {
		x86_push(c, NULL, &st, g.size, c->s.seg[X86_SS].selector);
		x86_push(c, NULL, &st, g.size, c->s.gpr[X86_RSP]);
	}
	x86_push(c, NULL, &st, g.size, flags);
	x86_push(c, NULL, &st, g.size, c->s.seg[X86_CS].selector);
	x86_push(c, NULL, &st, g.size, i->rip);
	if (i->has_error)
		x86_push(c, NULL, &st, g.size, i->error);
	x86_check_target(c, NULL, desc, g.offset, ext);
	x86_desc_accessed(c, NULL, g.selector, &desc);

	/* Nothing faults from here on. */
	if (from_vm86)
		for (unsigned n = 0; n < 4; n++)
			c->s.seg[data[n]] = x86_segment_null(0);
	c->s.seg[X86_SS] = st.ss;
	x86_stack_commit(c, &st);
	enter_handler(c, &g, desc, cpl);
}

/* ---- Long mode ----------------------------------------------------------------------------- */

static uint64_t long_stack(
	struct x86_vcpu *c, const struct gate *g, bool inner, unsigned cpl, uint32_t ext)
{
	if (g->ist)
		return x86_tss_rsp(c, NULL, 3u + g->ist, ext);
	if (inner)
		return x86_tss_rsp(c, NULL, cpl, ext);
	return c->mode & X86_MODE_64 ? c->s.gpr[X86_RSP] : (uint32_t)c->s.gpr[X86_RSP];
}

/* Writes a frame as code at the handler's level would; @inner: that is not the current one. */
static void write_frame(struct x86_vcpu *c, uint64_t va, const uint64_t *frame, unsigned n,
	bool inner, uint32_t ext)
{
	bool current = !inner && (c->s.cpl == 3 || (c->mode & X86_MODE_64));
	uint64_t *p;

	if (!x86_canonical(va) || !x86_canonical(va + n * 8 - 1))
		x86_raise_error(c, NULL, X86_VEC_SS, ext);
	p = current ? x86_host_w(c, va, n * 8) : x86_sys_host(c, va, n * 8, true);
	while (n--) { /* in the order of pushes: the first to fault tells its address */
		if (likely(p != NULL))
			((volatile uint64_t *)p)[n] = frame[n];
		else if (current)
			x86_store64(c, NULL, va + n * 8, frame[n]);
		else
			x86_sys_store(c, NULL, va + n * 8, 8, frame[n]);
	}
}

/* The frame has one shape, at a multiple of 16 bytes, whatever the level. */
static void long_interrupt(struct x86_vcpu *c, const struct x86_interrupt *i, uint32_t flags)
{
	uint32_t ext = ext_of(i);
	struct gate g = read_gate(c, i, ext);
	uint64_t desc = read_code(c, &g, ext);
	bool inner = !x86_desc_is_conforming(desc) && x86_desc_dpl(desc) < c->s.cpl;
	unsigned cpl = inner ? x86_desc_dpl(desc) : c->s.cpl;
	unsigned skip = !i->has_error;
	uint64_t rsp = long_stack(c, &g, inner, cpl, ext) & ~15ul;
	const uint64_t frame[6] = {
		i->error,
		i->rip,
		c->s.seg[X86_CS].selector,
		flags,
		c->s.gpr[X86_RSP],
		c->s.seg[X86_SS].selector,
	};

	rsp -= (6 - skip) * 8;
	write_frame(c, rsp, frame + skip, 6 - skip, inner, ext);
	x86_check_target(c, NULL, desc, g.offset, ext);
	x86_desc_accessed(c, NULL, g.selector, &desc);

	if (inner)
		c->s.seg[X86_SS] = x86_segment_null((uint16_t)cpl);
	c->s.gpr[X86_RSP] = rsp;
	enter_handler(c, &g, desc, cpl);
}

void x86_interrupt(struct x86_vcpu *c, const struct x86_interrupt *i)
{
	uint32_t flags = x86_flags(c) | (i->rf ? X86_FLAG_RF : 0);

	if (x86_in_long(c))
		long_interrupt(c, i, flags);
	else if (c->s.cr0 & X86_CR0_PE)
		protected_interrupt(c, i, flags);
	else
		real_interrupt(c, i, flags);
}

/* ---- Double and triple faults -------------------------------------------------------------- */

#define TYPE_INTERRUPT 0
#define TYPE_NMI       2
#define TYPE_EXCEPTION 3
#define TYPE_SOFTWARE  4

/* Vectors whose flags are pushed with RF: the faults, but for #DB, whose handler decides. */
#define FAULTS                                                                                     \
	(1u << X86_VEC_DE | 1u << X86_VEC_BR | 1u << X86_VEC_UD | 1u << X86_VEC_NM |               \
		1u << X86_VEC_TS | 1u << X86_VEC_NP | 1u << X86_VEC_SS | 1u << X86_VEC_GP |        \
		1u << X86_VEC_PF | 1u << X86_VEC_MF | 1u << X86_VEC_AC | 1u << X86_VEC_XM)

#define CONTRIBUTORY                                                                               \
	(1u << X86_VEC_DE | 1u << X86_VEC_TS | 1u << X86_VEC_NP | 1u << X86_VEC_SS |               \
		1u << X86_VEC_GP)

static bool in_set(uint32_t set, uint8_t vector)
{
	return vector < 32 && (set >> vector & 1);
}

/*
 * What becomes of @second, raised while @first was delivered: leaves it, or makes it a double
 * fault. Returns false on a triple fault.
 */
static bool combine(const struct x86_event *first, struct x86_event *second)
{
	bool heavy = in_set(CONTRIBUTORY | 1u << X86_VEC_PF, second->vector);

	if (first->type != TYPE_EXCEPTION || !heavy)
		return true;
	if (first->vector == X86_VEC_DF)
		return false;
	if ((first->vector == X86_VEC_PF) ||
		(in_set(CONTRIBUTORY, first->vector) && second->vector != X86_VEC_PF))
		*second = (struct x86_event){.valid = true,
			.type = TYPE_EXCEPTION,
			.vector = X86_VEC_DF,
			.has_error = true};
	return true;
}

/* What an event does to registers beside pushing: CR2, DR6 and DR7, the NMI mask. */
static void side_effects(struct x86_vcpu *c, const struct x86_event *e)
{
	if (e->type == TYPE_NMI)
		c->s.nmi_masked = true;
	if (e->type != TYPE_EXCEPTION)
		return;
	if (e->vector == X86_VEC_PF)
		c->s.cr2 = e->parameter;
	if (e->vector == X86_VEC_DB && e->parameter) {
		c->s.dr6 = (c->s.dr6 & ~0xful) | e->parameter;
		c->s.dr7 &= ~X86_DR7_GD;
	}
}

/* One attempt: 0, or what longjmp carried. */
static int attempt(struct x86_vcpu *c, const struct x86_event *e)
{
	bool trap =
		e->type == TYPE_EXCEPTION && (e->vector == X86_VEC_BP || e->vector == X86_VEC_OF);
	struct x86_interrupt i = {
		.vector = e->type == TYPE_NMI ? X86_VEC_NMI : e->vector,
		.kind = e->type == TYPE_SOFTWARE || trap ? X86_EVENT_SOFTWARE : X86_EVENT_HARDWARE,
		.rf = e->type == TYPE_EXCEPTION && in_set(FAULTS, e->vector),
		.has_error = e->has_error,
		.error = e->error,
		.rip = c->s.rip,
	};
	jmp_buf here;
	int left;

	if (i.kind == X86_EVENT_SOFTWARE)
		i.rip += e->length;
	c->unwind = &here;
	left = setjmp(here);
	if (!left)
		x86_interrupt(c, &i);
	return left;
}

bool x86_deliver_event(struct x86_vcpu *c, const struct x86_event *event)
{
	jmp_buf *outer = c->unwind;
	struct x86_event e = *event;
	int left;

	c->pending_db = 0;
	for (;;) {
		side_effects(c, &e);
		c->exception.valid = false;
		left = attempt(c, &e);
		c->unwind = outer;
		if (!left)
			return true;
		if (!c->exception.valid) { /* an exit: try again when the vcpu next runs */
			c->injected = e;
			c->injected.valid = true;
			x86_attend(c, X86_ATTN_INJECT);
			longjmp(*outer, left);
		}
		if (!combine(&e, &c->exception))
			return false;
		e = c->exception;
	}
}

bool x86_deliver_exception(struct x86_vcpu *c)
{
	struct x86_event e = c->exception;

	return x86_deliver_event(c, &e);
}
