/*
 * segment.c - the instructions that load, store and examine segment and descriptor-table registers.
 *
 * A selector operand in memory is first loaded into scratch register T0, and a result for memory is
 * stored from there, so that each instruction exists once.
 *
 * Facts: Intel SDM vol. 2 under each instruction; vol. 3A, chapters 3 and 5; UMIP: vol. 3A, 2.5.
 */
#include "x86/system.h"
#include "x86/translate.h"

/* ---- Operands ------------------------------------------------------------------------------ */

X86_OP(op_load16)
{
	X86_REG(c, X86_R_T0, uint64_t) = x86_load16(c, o, X86_REG(c, X86_R_EA, uint64_t));
	NEXT;
}

X86_OP(op_store16)
{
	x86_store16(c, o, X86_REG(c, X86_R_EA, uint64_t), X86_REG(c, X86_R_T0, uint16_t));
	NEXT;
}

X86_OP(op_put16)
{
	X86_REG(c, o->r0, uint16_t) = X86_REG(c, X86_R_T0, uint16_t);
	NEXT;
}

X86_OP(op_put)
{
	X86_REG(c, o->r0, uint64_t) = X86_REG(c, X86_R_T0, uint64_t);
	NEXT;
}

uint8_t x86_emit_word_source(struct x86_xlate *t, const ZydisDecodedOperand *p)
{
	if (x86_is_reg(p))
		return x86_reg(p->reg.value);
	x86_emit_ea(t, p, 2, false, true);
	x86_emit(t, op_load16);
	return X86_R_T0;
}

void x86_emit_word_result(struct x86_xlate *t, x86_op_fn fn, uint8_t x)
{
	const ZydisDecodedOperand *p = &t->op[0];

	x86_emit(t, fn)->x = x;
	if (x86_is_mem(p)) {
		x86_emit_ea(t, p, 2, true, true);
		x86_emit(t, op_store16);
	} else {
		x86_emit(t, p->size == 16 ? op_put16 : op_put)->r0 = x86_reg(p->reg.value);
	}
}

/* ---- Segment registers --------------------------------------------------------------------- */

static struct x86_segment check_load(
	struct x86_vcpu *c, const struct x86_op *o, enum x86_seg seg, uint16_t selector)
{
	if (x86_in_protected(c))
		return x86_check_segment(c, o, seg, selector);
	return x86_segment_real(c, &c->s.seg[seg], selector);
}

static void load_segment(
	struct x86_vcpu *c, const struct x86_op *o, enum x86_seg seg, uint16_t selector)
{
	c->s.seg[seg] = check_load(c, o, seg, selector);
	x86_update_mode(c);
}

/* After MOV and POP, but not LSS, the next instruction comes before the single-step trap. */
static void hold_step(struct x86_vcpu *c, const struct x86_op *o)
{
	if (o->x == X86_SS && (c->rflags & X86_FLAG_TF))
		c->pending_db |= X86_DB_NO_STEP;
}

/*
 * A load of SS keeps interrupts away for one more instruction. In 64-bit mode decoded code depends
 * on nothing of data segments but the bases, so the block goes on and the translator sees to that;
 * elsewhere it ends.
 */
static void end_load(struct x86_vcpu *c, const struct x86_op *o)
{
	hold_step(c, o);
	if (o->x == X86_SS) {
		c->s.interrupt_shadow = true;
		x86_attend(c, X86_ATTN_SINGLE);
	}
	x86_end_here(c, o);
}

/* o->x: the segment register; o->r0: the selector. */
X86_OP(op_mov_to_segment)
{
	load_segment(c, o, (enum x86_seg)o->x, X86_REG(c, o->r0, uint16_t));
	end_load(c, o);
}

X86_OP(op_mov_to_segment64)
{
	load_segment(c, o, (enum x86_seg)o->x, X86_REG(c, o->r0, uint16_t));
	hold_step(c, o);
	NEXT;
}

X86_OP(op_mov_from_segment)
{
	X86_REG(c, X86_R_T0, uint64_t) = c->s.seg[o->x].selector;
	NEXT;
}

static enum x86_seg segment_id(const ZydisDecodedOperand *p)
{
	return (enum x86_seg)(p->reg.value - ZYDIS_REGISTER_ES);
}

static bool is_segment(const ZydisDecodedOperand *p)
{
	return x86_is_reg(p) && ZydisRegisterGetClass(p->reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

bool x86_emit_mov_segment(struct x86_xlate *t)
{
	enum x86_seg seg;
	uint8_t source;
	bool in_block;
	struct x86_op *o;

	if (!is_segment(&t->op[0])) {
		x86_emit_word_result(t, op_mov_from_segment, (uint8_t)segment_id(&t->op[1]));
		return true;
	}
	seg = segment_id(&t->op[0]);
	if (seg == X86_CS)
		return false;
	source = x86_emit_word_source(t, &t->op[1]);
	in_block = t->mode & X86_MODE_64;
	o = x86_emit(t, in_block ? op_mov_to_segment64 : op_mov_to_segment);
	o->x = (uint8_t)seg;
	o->r0 = source;
	t->end = !in_block;
	t->shadow = in_block && seg == X86_SS;
	return true;
}

/* o->x: the segment register; o->scale: operand size in bytes. */
X86_OP(op_push_segment)
{
	struct x86_stack st = x86_stack_current(c);

	x86_push(c, o, &st, o->scale, c->s.seg[o->x].selector);
	x86_stack_commit(c, &st);
	x86_end_here(c, o);
}

X86_OP(op_pop_segment)
{
	struct x86_stack st = x86_stack_current(c);
	uint16_t selector = (uint16_t)x86_pop(c, o, &st, o->scale);
	struct x86_segment seg = check_load(c, o, (enum x86_seg)o->x, selector);

	x86_stack_commit(c, &st);
	c->s.seg[o->x] = seg;
	x86_update_mode(c);
	end_load(c, o);
}

static bool emit_stack(struct x86_xlate *t, x86_op_fn fn)
{
	struct x86_op *o = x86_emit(t, fn);

	o->x = (uint8_t)segment_id(&t->op[0]);
	o->scale = t->insn.operand_width / 8;
	t->end = true;
	return true;
}

bool x86_emit_push_segment(struct x86_xlate *t)
{
	return emit_stack(t, op_push_segment);
}

bool x86_emit_pop_segment(struct x86_xlate *t)
{
	return emit_stack(t, op_pop_segment);
}

/* LDS and its like: o->x: segment register; o->r0: general register; o->scale: operand size. */
X86_OP(op_load_far)
{
	uint64_t ea = X86_REG(c, X86_R_EA, uint64_t), offset;
	unsigned size = o->scale;
	uint16_t selector;

	offset = size == 8   ? x86_load64(c, o, ea)
		 : size == 4 ? x86_load32(c, o, ea)
			     : x86_load16(c, o, ea);
	selector = x86_load16(c, o, ea + size);
	load_segment(c, o, (enum x86_seg)o->x, selector);
	if (size == 2)
		X86_REG(c, o->r0, uint16_t) = (uint16_t)offset;
	else
		X86_REG(c, o->r0, uint64_t) = offset;
	x86_end_here(c, o);
}

static bool emit_load_far(struct x86_xlate *t)
{
	static const struct {
		ZydisMnemonic mnemonic;
		enum x86_seg seg;
	} map[] = {
		{ZYDIS_MNEMONIC_LES, X86_ES},
		{ZYDIS_MNEMONIC_LDS, X86_DS},
		{ZYDIS_MNEMONIC_LSS, X86_SS},
		{ZYDIS_MNEMONIC_LFS, X86_FS},
		{ZYDIS_MNEMONIC_LGS, X86_GS},
	};
	unsigned size = t->insn.operand_width / 8, i = 0;
	struct x86_op *o;

	while (map[i].mnemonic != t->insn.mnemonic)
		i++;
	x86_emit_ea(t, &t->op[1], size + 2, false, true);
	o = x86_emit(t, op_load_far);
	o->x = (uint8_t)map[i].seg;
	o->r0 = x86_reg(t->op[0].reg.value);
	o->scale = (uint8_t)size;
	t->end = true;
	return true;
}

/* ---- GDTR, IDTR, LDTR, TR ------------------------------------------------------------------ */

static void require_umip(struct x86_vcpu *c, const struct x86_op *o)
{
	if (c->s.cpl && (c->s.cr4 & X86_CR4_UMIP))
		x86_raise_gp(c, o, 0);
}

/* o->x: 1 for IDTR; o->scale: bytes of the base. */
X86_OP(op_store_table)
{
	const struct x86_table *table = o->x ? &c->s.idtr : &c->s.gdtr;
	uint8_t image[10];

	require_umip(c, o);
	memcpy(image, &table->limit, 2);
	memcpy(image + 2, &table->base, 8);
	x86_write(c, o, X86_REG(c, X86_R_EA, uint64_t), image, 2u + o->scale);
	x86_end_here(c, o);
}

/* o->imm: mask of the base. */
X86_OP(op_load_table)
{
	struct x86_table *table = o->x ? &c->s.idtr : &c->s.gdtr;
	uint8_t image[10] = {0};
	uint64_t base;

	x86_require_cpl0(c, o);
	x86_read(c, o, X86_REG(c, X86_R_EA, uint64_t), image, 2u + o->scale);
	memcpy(&base, image + 2, 8);
	if (o->scale == 8 && !x86_canonical(base))
		x86_raise_gp(c, o, 0);
	memcpy(&table->limit, image, 2);
	table->base = base & o->imm;
	x86_end_here(c, o);
}

static bool emit_table(struct x86_xlate *t)
{
	ZydisMnemonic m = t->insn.mnemonic;
	bool load = m == ZYDIS_MNEMONIC_LGDT || m == ZYDIS_MNEMONIC_LIDT;
	unsigned base = t->mode & X86_MODE_64 ? 8 : 4;
	struct x86_op *o;

	x86_emit_ea(t, &t->op[0], base + 2, !load, true);
	o = x86_emit(t, load ? op_load_table : op_store_table);
	o->x = m == ZYDIS_MNEMONIC_LIDT || m == ZYDIS_MNEMONIC_SIDT;
	o->scale = (uint8_t)base;
	o->imm = base == 4 && t->insn.operand_width == 16 ? 0xffffff : ~0ul;
	t->end = true;
	return true;
}

static void require_protected(struct x86_vcpu *c, const struct x86_op *o)
{
	if (!x86_in_protected(c))
		x86_raise(c, o, X86_VEC_UD);
}

/* The descriptor of an LDT or TSS as LLDT and LTR want it, wide in long mode. */
static struct x86_segment system_segment(struct x86_vcpu *c, const struct x86_op *o,
	uint16_t selector, uint64_t desc, unsigned vector)
{
	struct x86_segment seg = x86_segment_of(selector, desc);
	uint64_t high;

	if (!x86_in_long(c))
		return seg;
	if (!x86_desc_read_high(c, o, selector, &high) || ((high >> 40) & 0x1f))
		x86_raise_error(c, o, vector, selector & 0xfffc);
	seg.base |= high << 32;
	if (!x86_canonical(seg.base))
		x86_raise_error(c, o, vector, selector & 0xfffc);
	return seg;
}

void x86_load_ldtr(struct x86_vcpu *c, const struct x86_op *o, uint16_t selector, unsigned vector)
{
	uint32_t error = selector & 0xfffc;
	uint64_t desc;

	if (x86_selector_null(selector)) {
		c->s.seg[X86_LDTR] = x86_segment_null(selector);
		return;
	}
	if ((selector & 4) || !x86_desc_read(c, o, selector, &desc) || (desc & X86_DESC_S) ||
		x86_desc_type(desc) != X86_SYS_LDT)
		x86_raise_error(c, o, vector, error);
	if (!(desc & X86_DESC_P))
		x86_raise_error(c, o, vector == X86_VEC_GP ? X86_VEC_NP : vector, error);
	c->s.seg[X86_LDTR] = system_segment(c, o, selector, desc, vector);
}

X86_OP(op_lldt)
{
	require_protected(c, o);
	x86_require_cpl0(c, o);
	x86_load_ldtr(c, o, X86_REG(c, o->r0, uint16_t), X86_VEC_GP);
	x86_end_here(c, o);
}

X86_OP(op_ltr)
{
	uint16_t selector = X86_REG(c, o->r0, uint16_t);
	uint32_t error = selector & 0xfffc;
	struct x86_segment seg;
	uint64_t desc;

	require_protected(c, o);
	x86_require_cpl0(c, o);
	if (x86_selector_null(selector))
		x86_raise_gp(c, o, 0);
	if ((selector & 4) || !x86_desc_read(c, o, selector, &desc) || (desc & X86_DESC_S))
		x86_raise_gp(c, o, error);
	if (x86_desc_type(desc) != X86_SYS_TSS32 &&
		(x86_in_long(c) || x86_desc_type(desc) != X86_SYS_TSS16))
		x86_raise_gp(c, o, error);
	if (!(desc & X86_DESC_P))
		x86_raise_error(c, o, X86_VEC_NP, error);
	seg = system_segment(c, o, selector, desc, X86_VEC_GP);
	x86_desc_mark(c, o, selector, &desc, 2, 0);
	seg.attributes |= 2; /* busy */
	c->s.seg[X86_TR] = seg;
	x86_end_here(c, o);
}

/* o->x: LDTR or TR. */
X86_OP(op_store_system)
{
	require_protected(c, o);
	require_umip(c, o);
	X86_REG(c, X86_R_T0, uint64_t) = c->s.seg[o->x].selector;
	NEXT;
}

static bool emit_load_system(struct x86_xlate *t)
{
	uint8_t source = x86_emit_word_source(t, &t->op[0]);

	x86_emit(t, t->insn.mnemonic == ZYDIS_MNEMONIC_LTR ? op_ltr : op_lldt)->r0 = source;
	t->end = true;
	return true;
}

static bool emit_store_system(struct x86_xlate *t)
{
	x86_emit_word_result(
		t, op_store_system, t->insn.mnemonic == ZYDIS_MNEMONIC_STR ? X86_TR : X86_LDTR);
	return true;
}

/* ---- LAR, LSL, VERR, VERW, ARPL ------------------------------------------------------------ */

/* Whether code at CPL may see the segment that @selector names at all. */
static bool visible(struct x86_vcpu *c, const struct x86_op *o, uint16_t selector, uint64_t *desc)
{
	if (x86_selector_null(selector) || !x86_desc_read(c, o, selector, desc))
		return false;
	if (x86_desc_is_code(*desc) && x86_desc_is_conforming(*desc))
		return true;
	return x86_desc_dpl(*desc) >= c->s.cpl && x86_desc_dpl(*desc) >= (selector & 3u);
}

static void set_zf(struct x86_vcpu *c, bool zf)
{
	c->fl = (uint16_t)(zf ? c->fl | X86_FL_ZF : c->fl & ~X86_FL_ZF);
}

/* System types that LAR and LSL accept, as sets of bits. */
#define LSL_LEGACY 0x0a0eu
#define LSL_LONG   0x0a04u
#define LAR_LEGACY (LSL_LEGACY | 0x1030u)
#define LAR_LONG   (LSL_LONG | 0x1000u)

static bool type_in(const struct x86_vcpu *c, uint64_t desc, unsigned legacy, unsigned in_long)
{
	return (desc & X86_DESC_S) ||
	       ((x86_in_long(c) ? in_long : legacy) >> x86_desc_type(desc) & 1);
}

/* o->r0: selector; o->r1: destination, of o->scale bytes, written when the answer is yes. */
static void answer(struct x86_vcpu *c, const struct x86_op *o, bool yes, uint32_t value)
{
	if (yes && o->scale == 2)
		X86_REG(c, o->r1, uint16_t) = (uint16_t)value;
	else if (yes)
		X86_REG(c, o->r1, uint64_t) = value;
	set_zf(c, yes);
	x86_end_here(c, o);
}

X86_OP(op_lar)
{
	uint64_t desc = 0;
	bool yes;

	require_protected(c, o);
	yes = visible(c, o, X86_REG(c, o->r0, uint16_t), &desc) &&
	      type_in(c, desc, LAR_LEGACY, LAR_LONG);
	answer(c, o, yes, (desc >> 32) & 0xffff00);
}

X86_OP(op_lsl)
{
	uint64_t desc = 0;
	bool yes;

	require_protected(c, o);
	yes = visible(c, o, X86_REG(c, o->r0, uint16_t), &desc) &&
	      type_in(c, desc, LSL_LEGACY, LSL_LONG);
	answer(c, o, yes, x86_desc_limit(desc));
}

X86_OP(op_verr)
{
	uint64_t desc;

	require_protected(c, o);
	set_zf(c, visible(c, o, X86_REG(c, o->r0, uint16_t), &desc) && (desc & X86_DESC_S) &&
			  (!x86_desc_is_code(desc) || (desc & X86_DESC_RW)));
	x86_end_here(c, o);
}

X86_OP(op_verw)
{
	uint64_t desc;

	require_protected(c, o);
	set_zf(c, visible(c, o, X86_REG(c, o->r0, uint16_t), &desc) && x86_desc_is_writable(desc));
	x86_end_here(c, o);
}

static bool emit_examine(struct x86_xlate *t)
{
	ZydisMnemonic m = t->insn.mnemonic;
	bool has_result = m == ZYDIS_MNEMONIC_LAR || m == ZYDIS_MNEMONIC_LSL;
	uint8_t source = x86_emit_word_source(t, &t->op[has_result]);
	struct x86_op *o = x86_emit(t, m == ZYDIS_MNEMONIC_LAR	  ? op_lar
				       : m == ZYDIS_MNEMONIC_LSL  ? op_lsl
				       : m == ZYDIS_MNEMONIC_VERR ? op_verr
								  : op_verw);

	o->r0 = source;
	if (has_result) {
		o->r1 = x86_reg(t->op[0].reg.value);
		o->scale = (uint8_t)(t->op[0].size / 8);
	}
	t->end = true;
	return true;
}

/* The destination's RPL is raised to the source's (o->r1). */
static bool adjust_rpl(struct x86_vcpu *c, const struct x86_op *o, uint16_t *selector)
{
	unsigned rpl = X86_REG(c, o->r1, uint16_t) & 3;

	if ((*selector & 3u) >= rpl)
		return false;
	*selector = (uint16_t)((*selector & ~3u) | rpl);
	return true;
}

X86_OP(op_arpl_reg)
{
	require_protected(c, o);
	set_zf(c, adjust_rpl(c, o, &X86_REG(c, o->r0, uint16_t)));
	x86_end_here(c, o);
}

X86_OP(op_arpl_mem)
{
	uint64_t ea = X86_REG(c, X86_R_EA, uint64_t);
	uint16_t selector;
	bool raised;

	require_protected(c, o);
	selector = x86_load16(c, o, ea);
	raised = adjust_rpl(c, o, &selector);
	if (raised)
		x86_store16(c, o, ea, selector);
	set_zf(c, raised);
	x86_end_here(c, o);
}

static bool emit_arpl(struct x86_xlate *t)
{
	bool mem = x86_is_mem(&t->op[0]);
	struct x86_op *o;

	if (mem)
		x86_emit_ea(t, &t->op[0], 2, true, true);
	o = x86_emit(t, mem ? op_arpl_mem : op_arpl_reg);
	o->r0 = mem ? 0 : x86_reg(t->op[0].reg.value);
	o->r1 = x86_reg(t->op[1].reg.value);
	t->end = true;
	return true;
}

void x86_register_segment(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_LES] = emit_load_far;
	table[ZYDIS_MNEMONIC_LDS] = emit_load_far;
	table[ZYDIS_MNEMONIC_LSS] = emit_load_far;
	table[ZYDIS_MNEMONIC_LFS] = emit_load_far;
	table[ZYDIS_MNEMONIC_LGS] = emit_load_far;
	table[ZYDIS_MNEMONIC_LGDT] = emit_table;
	table[ZYDIS_MNEMONIC_LIDT] = emit_table;
	table[ZYDIS_MNEMONIC_SGDT] = emit_table;
	table[ZYDIS_MNEMONIC_SIDT] = emit_table;
	table[ZYDIS_MNEMONIC_LLDT] = emit_load_system;
	table[ZYDIS_MNEMONIC_LTR] = emit_load_system;
	table[ZYDIS_MNEMONIC_SLDT] = emit_store_system;
	table[ZYDIS_MNEMONIC_STR] = emit_store_system;
	table[ZYDIS_MNEMONIC_LAR] = emit_examine;
	table[ZYDIS_MNEMONIC_LSL] = emit_examine;
	table[ZYDIS_MNEMONIC_VERR] = emit_examine;
	table[ZYDIS_MNEMONIC_VERW] = emit_examine;
	table[ZYDIS_MNEMONIC_ARPL] = emit_arpl;
}
