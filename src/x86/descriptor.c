/*
 * descriptor.c - segment descriptors, the checks of loading them, and stacks of other levels.
 *
 * Promises: a function that raises has changed nothing but accessed and busy bits in the tables.
 *
 * Facts: Intel SDM vol. 3A, chapter 5 (protection), 7.2 (task state segments).
 */
#include "x86/system.h"

#define TYPE_SHIFT 40

/* ---- Tables -------------------------------------------------------------------------------- */

static bool desc_address(const struct x86_vcpu *c, uint32_t offset, uint16_t selector, uint64_t *va)
{
	const struct x86_segment *ldt = &c->s.seg[X86_LDTR];
	uint32_t at = (selector & 0xfff8u) + offset;

	if (!(selector & 4)) {
		*va = c->s.gdtr.base + at;
		return at + 7 <= c->s.gdtr.limit;
	}
	*va = ldt->base + at;
	return !(ldt->attributes & X86_SEG_NULL) && (ldt->attributes & X86_SEG_P) &&
	       at + 7 <= ldt->limit;
}

bool x86_desc_read(struct x86_vcpu *c, const struct x86_op *o, uint16_t selector, uint64_t *desc)
{
	uint64_t va;

	if (!desc_address(c, 0, selector, &va))
		return false;
	*desc = x86_sys_load(c, o, va, 8);
	return true;
}

bool x86_desc_read_high(
	struct x86_vcpu *c, const struct x86_op *o, uint16_t selector, uint64_t *high)
{
	uint64_t va;

	if (!desc_address(c, 8, selector, &va))
		return false;
	*high = x86_sys_load(c, o, va, 8);
	return true;
}

void x86_desc_mark(struct x86_vcpu *c, const struct x86_op *o, uint16_t selector, uint64_t *desc,
	unsigned set, unsigned clear)
{
	uint64_t va;

	*desc = (*desc & ~((uint64_t)clear << TYPE_SHIFT)) | (uint64_t)set << TYPE_SHIFT;
	if (desc_address(c, 0, selector, &va))
		x86_sys_store(c, o, va + 5, 1, *desc >> TYPE_SHIFT);
}

/* ---- Registers ----------------------------------------------------------------------------- */

struct x86_segment x86_segment_of(uint16_t selector, uint64_t desc)
{
	return (struct x86_segment){
		.base = x86_desc_base(desc),
		.limit = x86_desc_limit(desc),
		.selector = selector,
		.attributes = (uint16_t)((desc >> TYPE_SHIFT) & 0xf0ff),
	};
}

struct x86_segment x86_segment_null(uint16_t selector)
{
	return (struct x86_segment){.selector = selector, .attributes = X86_SEG_NULL};
}

struct x86_segment x86_segment_real(
	const struct x86_vcpu *c, const struct x86_segment *old, uint16_t selector)
{
	struct x86_segment seg = {
		.base = (uint64_t)selector << 4,
		.limit = 0xffff,
		.selector = selector,
		.attributes = 0xf3,
	};

	if (x86_in_vm86(c))
		return seg;
	/* Real mode keeps the limit that protected mode left behind. */
	seg.attributes = 0x93;
	if ((old->attributes & (X86_SEG_P | X86_SEG_NULL)) == X86_SEG_P) {
		seg.limit = old->limit;
		seg.attributes |= old->attributes & (X86_SEG_G | X86_SEG_DB);
	}
	return seg;
}

static struct x86_segment check_ss(struct x86_vcpu *c, const struct x86_op *o, uint16_t selector)
{
	bool null_allowed = (c->mode & X86_MODE_64) && c->s.cpl < 3;

	if (x86_selector_null(selector)) {
		if (!null_allowed || (selector & 3) != c->s.cpl)
			x86_raise_gp(c, o, 0);
		return x86_segment_null(selector);
	}
	return x86_check_stack_segment(c, o, selector, c->s.cpl, X86_VEC_GP, 0);
}

struct x86_segment x86_check_data_segment(struct x86_vcpu *c, const struct x86_op *o,
	uint16_t selector, unsigned vector, unsigned ext)
{
	uint32_t error = (selector & 0xfffc) | ext;
	unsigned rpl = selector & 3;
	uint64_t desc;

	if (x86_selector_null(selector))
		return x86_segment_null(selector);
	if (!x86_desc_read(c, o, selector, &desc) || !(desc & X86_DESC_S))
		x86_raise_error(c, o, vector, error);
	if (x86_desc_is_code(desc) && !(desc & X86_DESC_RW))
		x86_raise_error(c, o, vector, error);
	if (!x86_desc_is_code(desc) || !x86_desc_is_conforming(desc)) {
		if (x86_desc_dpl(desc) < rpl || x86_desc_dpl(desc) < c->s.cpl)
			x86_raise_error(c, o, vector, error);
	}
	if (!(desc & X86_DESC_P))
		x86_raise_error(c, o, X86_VEC_NP, error);
	x86_desc_accessed(c, o, selector, &desc);
	return x86_segment_of(selector, desc);
}

struct x86_segment x86_check_segment(
	struct x86_vcpu *c, const struct x86_op *o, enum x86_seg seg, uint16_t selector)
{
	return seg == X86_SS ? check_ss(c, o, selector)
			     : x86_check_data_segment(c, o, selector, X86_VEC_GP, 0);
}

struct x86_segment x86_check_stack_segment(struct x86_vcpu *c, const struct x86_op *o,
	uint16_t selector, unsigned cpl, unsigned vector, unsigned ext)
{
	uint32_t error = (selector & 0xfffc) | ext;
	uint64_t desc;

	if (x86_selector_null(selector))
		x86_raise_error(c, o, vector, ext);
	if (!x86_desc_read(c, o, selector, &desc) || (selector & 3u) != cpl ||
		!x86_desc_is_writable(desc) || x86_desc_dpl(desc) != cpl)
		x86_raise_error(c, o, vector, error);
	if (!(desc & X86_DESC_P))
		x86_raise_error(c, o, X86_VEC_SS, error);
	x86_desc_accessed(c, o, selector, &desc);
	return x86_segment_of(selector, desc);
}

void x86_check_target(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t desc, uint64_t rip, uint32_t ext)
{
	bool in_long = x86_in_long(c) && (desc & X86_DESC_L);

	if (in_long ? !x86_canonical(rip) : rip > x86_desc_limit(desc))
		x86_raise_gp(c, o, ext);
}

void x86_drop_inner_segments(struct x86_vcpu *c)
{
	static const enum x86_seg data[] = {X86_ES, X86_DS, X86_FS, X86_GS};

	for (unsigned i = 0; i < 4; i++) {
		struct x86_segment *seg = &c->s.seg[data[i]];
		bool conforming_code = (seg->attributes & 0xc) == 0xc;

		if (seg->attributes & X86_SEG_NULL)
			continue;
		if ((seg->attributes & X86_SEG_DPL) >> 5 < c->s.cpl && !conforming_code)
			*seg = x86_segment_null(0);
	}
}

uint64_t x86_read_return_code(struct x86_vcpu *c, const struct x86_op *o, uint16_t cs)
{
	uint32_t error = cs & 0xfffc;
	unsigned rpl = cs & 3;
	uint64_t desc;

	if (x86_selector_null(cs))
		x86_raise_gp(c, o, 0);
	if (!x86_desc_read(c, o, cs, &desc) || !x86_desc_is_code(desc) || rpl < c->s.cpl)
		x86_raise_gp(c, o, error);
	if (x86_desc_is_conforming(desc) ? x86_desc_dpl(desc) > rpl : x86_desc_dpl(desc) != rpl)
		x86_raise_gp(c, o, error);
	if (x86_in_long(c) && (desc & X86_DESC_L) && (desc & X86_DESC_DB))
		x86_raise_gp(c, o, error);
	if (!(desc & X86_DESC_P))
		x86_raise_error(c, o, X86_VEC_NP, error);
	return desc;
}

struct x86_segment x86_check_return_stack(
	struct x86_vcpu *c, const struct x86_op *o, uint16_t ss, unsigned cpl, bool to_long)
{
	if (to_long && x86_selector_null(ss) && cpl < 3 && (ss & 3u) == cpl)
		return x86_segment_null(ss);
	return x86_check_stack_segment(c, o, ss, cpl, X86_VEC_GP, 0);
}

struct x86_stack x86_return_stack(struct x86_vcpu *c, const struct x86_op *o, uint16_t ss,
	uint64_t sp, unsigned cpl, uint64_t code)
{
	bool to_long = x86_in_long(c) && (code & X86_DESC_L);

	return x86_stack_make(x86_check_return_stack(c, o, ss, cpl, to_long), sp, cpl, to_long, 0);
}

/* ---- Stacks -------------------------------------------------------------------------------- */

struct x86_stack x86_stack_make(
	struct x86_segment ss, uint64_t sp, unsigned cpl, bool flat, uint32_t error)
{
	return (struct x86_stack){
		.ss = ss,
		.sp = sp,
		.mask = flat			     ? ~0ul
			: ss.attributes & X86_SEG_DB ? 0xfffffffful
						     : 0xfffful,
		.error = error,
		.cpl = (uint8_t)cpl,
		.flat = flat,
	};
}

struct x86_stack x86_stack_current(const struct x86_vcpu *c)
{
	return x86_stack_make(
		c->s.seg[X86_SS], c->s.gpr[X86_RSP], c->s.cpl, c->mode & X86_MODE_64, 0);
}

static bool in_segment(const struct x86_segment *seg, uint64_t offset, unsigned size)
{
	uint64_t last = offset + size - 1;

	if ((seg->attributes & 0xc) != 0x4) /* not an expand-down data segment */
		return last <= seg->limit;
	return offset > seg->limit &&
	       last <= (seg->attributes & X86_SEG_DB ? 0xfffffffful : 0xfffful);
}

static uint64_t stack_address(struct x86_vcpu *c, const struct x86_op *o,
	const struct x86_stack *st, uint64_t sp, unsigned size)
{
	if (st->flat) {
		if (!x86_canonical(sp) || !x86_canonical(sp + size - 1))
			x86_raise_error(c, o, X86_VEC_SS, st->error);
		return sp;
	}
	if (!in_segment(&st->ss, sp, size))
		x86_raise_error(c, o, X86_VEC_SS, st->error);
	return (st->ss.base + sp) & 0xffffffff;
}

/* Whether accesses to @st are those that current code would make. */
static bool is_current(const struct x86_vcpu *c, const struct x86_stack *st)
{
	return st->cpl == c->s.cpl && st->flat == !!(c->mode & X86_MODE_64);
}

void x86_push(struct x86_vcpu *c, const struct x86_op *o, struct x86_stack *st, unsigned size,
	uint64_t value)
{
	uint64_t sp = (st->sp - size) & st->mask;
	uint64_t va = stack_address(c, o, st, sp, size);

	if (!is_current(c, st))
		x86_sys_store(c, o, va, size, value);
	else if (size == 8)
		x86_store64(c, o, va, value);
	else if (size == 4)
		x86_store32(c, o, va, (uint32_t)value);
	else
		x86_store16(c, o, va, (uint16_t)value);
	st->sp = (st->sp & ~st->mask) | sp;
}

uint64_t x86_pop(struct x86_vcpu *c, const struct x86_op *o, struct x86_stack *st, unsigned size)
{
	uint64_t va = stack_address(c, o, st, st->sp & st->mask, size);
	uint64_t value;

	if (!is_current(c, st))
		value = x86_sys_load(c, o, va, size);
	else if (size == 8)
		value = x86_load64(c, o, va);
	else if (size == 4)
		value = x86_load32(c, o, va);
	else
		value = x86_load16(c, o, va);
	st->sp = (st->sp & ~st->mask) | ((st->sp + size) & st->mask);
	return value;
}

void x86_stack_commit(struct x86_vcpu *c, const struct x86_stack *st)
{
	uint64_t keep = st->mask == 0xffff ? ~0xfffful : 0;

	c->s.gpr[X86_RSP] = (c->s.gpr[X86_RSP] & keep) | (st->sp & st->mask);
}

static bool tss_is_16bit(const struct x86_vcpu *c)
{
	return !(c->s.seg[X86_TR].attributes & 8);
}

void x86_tss_stack(struct x86_vcpu *c, const struct x86_op *o, unsigned cpl, uint32_t ext,
	uint16_t *ss, uint64_t *sp)
{
	const struct x86_segment *tr = &c->s.seg[X86_TR];
	unsigned size = tss_is_16bit(c) ? 2 : 4;
	uint64_t at = size + cpl * size * 2;

	if (at + size + 1 > tr->limit)
		x86_raise_error(c, o, X86_VEC_TS, (tr->selector & 0xfffc) | ext);
	*sp = x86_sys_load(c, o, tr->base + at, size);
	*ss = (uint16_t)x86_sys_load(c, o, tr->base + at + size, 2);
}

uint64_t x86_tss_rsp(struct x86_vcpu *c, const struct x86_op *o, unsigned slot, uint32_t ext)
{
	const struct x86_segment *tr = &c->s.seg[X86_TR];
	uint64_t at = 4 + slot * 8; /* RSP0 to RSP2, a reserved quadword, IST1 to IST7 */
	uint64_t rsp;

	if (at + 7 > tr->limit)
		x86_raise_error(c, o, X86_VEC_TS, (tr->selector & 0xfffc) | ext);
	rsp = x86_sys_load(c, o, tr->base + at, 8);
	if (!x86_canonical(rsp))
		x86_raise_error(c, o, X86_VEC_SS, ext);
	return rsp;
}
