/*
 * task.c - hardware task switches through 16-bit and 32-bit task state segments.
 *
 * A switch has a point of no return: before it every fault is the old task's, with the old state
 * whole; after it TR and the general registers are the new task's, and a bad segment in its TSS is
 * its own fault.
 *
 * Facts: Intel SDM vol. 3A, chapter 7; figures 7-2 and 7-10 for the layouts, table 7-1 for the
 * checks and their order.
 */
#include "x86/system.h"

/* Offsets in the TSS, and sizes, by its width. */
struct layout {
	uint8_t size; /* of a register in it, in bytes */
	uint8_t min_limit;
	uint8_t ip, flags, gpr, segments, ldt;
	uint8_t n_segments; /* ES, CS, SS, DS, then FS and GS */
};

static const struct layout layout16 = {2, 0x2b, 0x0e, 0x10, 0x12, 0x22, 0x2a, 4};
static const struct layout layout32 = {4, 0x67, 0x20, 0x24, 0x28, 0x48, 0x60, 6};

#define TSS32_CR3  0x1c
#define TSS32_TRAP 0x64
#define TSS_MAX	   0x68
#define NEW_FLAGS  0x3f7fd7u
#define DR7_LOCAL  0x155ul

static const struct layout *layout_of(unsigned type)
{
	return type & 8 ? &layout32 : &layout16;
}

static uint32_t field(const uint8_t *tss, unsigned at, unsigned size)
{
	uint32_t value = 0;

	memcpy(&value, tss + at, size);
	return value;
}

/* The new TSS's descriptor, checked for @task. */
static uint64_t read_descriptor(
	struct x86_vcpu *c, const struct x86_op *o, const struct x86_task *task)
{
	bool back = task->reason == X86_TASK_IRET;
	unsigned vector = back ? X86_VEC_TS : X86_VEC_GP, type;
	uint32_t error = (task->selector & 0xfffc) | task->ext;
	uint64_t desc;

	if ((task->selector & 4) || x86_selector_null(task->selector) ||
		!x86_desc_read(c, o, task->selector, &desc) || (desc & X86_DESC_S))
		x86_raise_error(c, o, vector, error);
	type = x86_desc_type(desc);
	if ((type & ~8u) != (back ? X86_SYS_TSS16_BUSY : X86_SYS_TSS16))
		x86_raise_error(c, o, vector, error);
	if (!(desc & X86_DESC_P))
		x86_raise_error(c, o, X86_VEC_NP, error);
	if (x86_desc_limit(desc) < layout_of(type)->min_limit)
		x86_raise_error(c, o, X86_VEC_TS, error);
	return desc;
}

static void save_old(struct x86_vcpu *c, const struct x86_op *o, const struct x86_task *task)
{
	const struct x86_segment *tr = &c->s.seg[X86_TR];
	const struct layout *l = layout_of(tr->attributes);
	uint8_t image[TSS_MAX] = {0};
	unsigned end = l->segments + l->n_segments * l->size;

	memcpy(image + l->ip, &task->rip, l->size);
	memcpy(image + l->flags, &task->flags, l->size);
	for (unsigned i = 0; i < 8; i++)
		memcpy(image + l->gpr + i * l->size, &c->s.gpr[i], l->size);
	for (unsigned i = 0; i < l->n_segments; i++)
		memcpy(image + l->segments + i * l->size, &c->s.seg[i].selector, 2);
	x86_sys_write(c, o, tr->base + l->ip, image + l->ip, end - l->ip);
}

static void mark_busy(
	struct x86_vcpu *c, const struct x86_op *o, const struct x86_task *task, uint64_t *desc)
{
	uint16_t old = c->s.seg[X86_TR].selector;
	uint64_t old_desc;

	if ((task->reason == X86_TASK_JUMP || task->reason == X86_TASK_IRET) &&
		x86_desc_read(c, o, old, &old_desc))
		x86_desc_mark(c, o, old, &old_desc, 0, 2);
	if (task->reason != X86_TASK_IRET)
		x86_desc_mark(c, o, task->selector, desc, 2, 0);
}

/* Registers that load without checks; segment registers become null until they are checked. */
static void load_registers(
	struct x86_vcpu *c, const struct layout *l, const uint8_t *tss, bool nested)
{
	uint32_t flags = field(tss, l->flags, l->size) & NEW_FLAGS;

	for (unsigned i = 0; i < 8; i++)
		c->s.gpr[i] = field(tss, l->gpr + i * l->size, l->size);
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		c->s.seg[i] = x86_segment_null(
			i < l->n_segments ? (uint16_t)field(tss, l->segments + i * l->size, 2) : 0);
	c->s.seg[X86_LDTR] = x86_segment_null((uint16_t)field(tss, l->ldt, 2));
	c->s.rip = field(tss, l->ip, l->size);
	c->s.cr0 |= X86_CR0_TS;
	c->s.dr7 &= ~DR7_LOCAL;
	c->s.cpl = flags & X86_FLAG_VM ? 3 : c->s.seg[X86_CS].selector & 3;
	if (l == &layout32 && (c->s.cr0 & X86_CR0_PG)) {
		c->s.cr3 = field(tss, TSS32_CR3, 4);
		x86_tlb_switch(c, false);
	}
	x86_set_flags(c, flags | (nested ? X86_FLAG_NT : 0));
	x86_update_mode(c);
}

static struct x86_segment check_code(struct x86_vcpu *c, uint16_t selector, uint32_t ext)
{
	uint32_t error = (selector & 0xfffc) | ext;
	unsigned rpl = selector & 3;
	uint64_t desc;

	if (x86_selector_null(selector))
		x86_raise_error(c, NULL, X86_VEC_TS, ext);
	if (!x86_desc_read(c, NULL, selector, &desc) || !x86_desc_is_code(desc))
		x86_raise_error(c, NULL, X86_VEC_TS, error);
	if (x86_desc_is_conforming(desc) ? x86_desc_dpl(desc) > rpl : x86_desc_dpl(desc) != rpl)
		x86_raise_error(c, NULL, X86_VEC_TS, error);
	if (!(desc & X86_DESC_P))
		x86_raise_error(c, NULL, X86_VEC_NP, error);
	x86_desc_accessed(c, NULL, selector, &desc);
	return x86_segment_of(selector, desc);
}

/* Checks and loads what the selectors in the registers name. */
static void load_segments(struct x86_vcpu *c, uint32_t ext)
{
	static const enum x86_seg data[] = {X86_ES, X86_DS, X86_FS, X86_GS};
	struct x86_segment *seg = c->s.seg;

	x86_load_ldtr(c, NULL, seg[X86_LDTR].selector, X86_VEC_TS);
	if (x86_in_vm86(c)) {
		for (unsigned i = X86_ES; i <= X86_GS; i++)
			seg[i] = x86_segment_real(c, &seg[i], seg[i].selector);
		x86_update_mode(c);
		return;
	}
	seg[X86_CS] = check_code(c, seg[X86_CS].selector, ext);
	x86_update_mode(c);
	seg[X86_SS] =
		x86_check_stack_segment(c, NULL, seg[X86_SS].selector, c->s.cpl, X86_VEC_TS, ext);
	for (unsigned i = 0; i < 4; i++)
		seg[data[i]] =
			x86_check_data_segment(c, NULL, seg[data[i]].selector, X86_VEC_TS, ext);
	x86_update_mode(c);
}

static void push_error(struct x86_vcpu *c, const struct layout *l, const struct x86_task *task)
{
	struct x86_stack st = x86_stack_current(c);

	st.error = task->ext;
	x86_push(c, NULL, &st, l->size, task->error);
	x86_stack_commit(c, &st);
}

void x86_task_switch(struct x86_vcpu *c, const struct x86_op *o, const struct x86_task *task)
{
	bool nested = task->reason == X86_TASK_CALL || task->reason == X86_TASK_EVENT;
	uint64_t desc = read_descriptor(c, o, task);
	const struct layout *l = layout_of(x86_desc_type(desc));
	uint16_t old = c->s.seg[X86_TR].selector;
	uint8_t tss[TSS_MAX];

	x86_sys_read(c, o, x86_desc_base(desc), tss, l->min_limit + 1u);
	save_old(c, o, task);
	if (nested)
		x86_sys_store(c, o, x86_desc_base(desc), 2, old);
	mark_busy(c, o, task, &desc);

	/* The new task's own faults from here on. */
	c->s.seg[X86_TR] = x86_segment_of(task->selector, desc);
	load_registers(c, l, tss, nested);
	load_segments(c, task->ext);
	if (task->push_error)
		push_error(c, l, task);
	if (c->s.rip > c->s.seg[X86_CS].limit)
		x86_raise_gp(c, NULL, task->ext);
	if (l == &layout32 && (tss[TSS32_TRAP] & 1))
		x86_vcpu_inject(c, 3, X86_VEC_DB, false, 0, X86_DR6_BT, 0);
}
