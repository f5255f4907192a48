/*
 * mmx.c - instructions with an MMX register, run by thunks.
 *
 * MMX register i lies in physical x87 register i. Each such instruction but EMMS makes TOP 0 and
 * all registers valid; that happens last, so that a fault leaves the x87 state alone. EMMS makes
 * TOP 0, too, and all registers empty.
 *
 * Facts: Intel SDM vol. 1 chapter 9, vol. 3A chapter 12 and table 12-1.
 */
#include "x86/fpu.h"

#define MMX_SIZE  0x1fu /* x86_op.x: bytes of the memory operand */
#define MMX_FP	  0x20u /* it uses MXCSR */
#define MMX_XMM	  0x40u /* it is an SSE instruction: CR4.OSFXSR counts */
#define MMX_ALIGN 0x80u /* its memory operand is aligned to 16 */

static void ready_as(struct x86_vcpu *c, const struct x86_op *o, bool sse)
{
	if (sse)
		x86_simd_ready(c, o);
	else if (unlikely(c->x87_trap))
		x86_raise(c, o, c->s.cr0 & X86_CR0_EM ? X86_VEC_UD : X86_VEC_NM);
	if (unlikely(x86_x87_pending(c)))
		x86_raise(c, o, X86_VEC_MF);
}

static void ready(struct x86_vcpu *c, const struct x86_op *o)
{
	ready_as(c, o, o->x & MMX_XMM);
}

/* Where the register of a slot is as long as TOP has not been changed. */
static void *operand(struct x86_vcpu *c, uint8_t slot)
{
	unsigned top = X86_FSW_TOP(c->s.fx.fsw);

	if (slot >= X86_SLOT_ST(0) && slot <= X86_SLOT_ST(7))
		return c->s.fx.st[((slot - X86_SLOT_ST(0)) / 2 - top) & 7];
	return x86_slot(c, slot);
}

static void enter(struct x86_vcpu *c, uint8_t tags)
{
	x86_fx_set_top(&c->s.fx, 0);
	c->s.fx.ftw = tags;
}

static void run(struct x86_vcpu *c, const struct x86_op *o, void *rm)
{
	void *reg = operand(c, o->r0);

	if ((o->x & MMX_FP) && !x86_simd_masked(c))
		x86_simd_checked(c, o, reg, rm);
	else
		((x86_simd_fn)o->imm)(reg, rm, c);
	enter(c, 0xff);
}

static void load(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	ready(c, o);
	if ((o->x & MMX_ALIGN) && (va & 15))
		x86_raise_error(c, o, X86_VEC_GP, 0);
	run(c, o, x86_operand(c, o, va, o->x & MMX_SIZE));
}

static void store(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	ready(c, o);
	((x86_simd_fn)o->imm)(operand(c, o->r0), c->bounce, c);
	x86_write(c, o, va, c->bounce, o->x & MMX_SIZE);
	enter(c, 0xff);
}

static void store_masked(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	ready(c, o);
	x86_store_masked(c, o, va, operand(c, o->r0), operand(c, o->r1), 8);
	enter(c, 0xff);
}

X86_OP(mmx_reg)
{
	ready(c, o);
	run(c, o, operand(c, o->r1));
	NEXT;
}

/* See x86_emit_ready(). */
X86_OP(mmx_ready)
{
	ready_as(c, o, false);
	NEXT;
}

X86_OP(mmx_ready_sse)
{
	ready_as(c, o, true);
	NEXT;
}

X86_OP(mmx_emms)
{
	ready(c, o);
	enter(c, 0);
	NEXT;
}

X86_MEM_FORMS(load)
X86_MEM_FORMS(store)
X86_MEM_FORMS(store_masked)

static bool uses_xmm(const struct x86_xlate *t)
{
	for (unsigned i = 0; i < t->insn.operand_count_visible; i++)
		if (x86_is_reg(&t->op[i]) &&
			ZydisRegisterGetClass(t->op[i].reg.value) == ZYDIS_REGCLASS_XMM)
			return true;
	/* CVTPS2PI and the like from memory. */
	return t->insn.meta.isa_set == ZYDIS_ISA_SET_SSE ||
	       t->insn.meta.isa_set == ZYDIS_ISA_SET_SSE2;
}

bool x86_emit_mmx(struct x86_xlate *t, bool fp)
{
	const ZydisDecodedOperand *reg = x86_operand_at(t, ZYDIS_OPERAND_ENCODING_MODRM_REG);
	const ZydisDecodedOperand *rm = x86_operand_at(t, ZYDIS_OPERAND_ENCODING_MODRM_RM);
	x86_simd_fn fn = x86_native_simd(t->c->machine->native, t, fp);
	uint8_t how = (fp ? MMX_FP : 0) | (fp || uses_xmm(t) ? MMX_XMM : 0);
	struct x86_op *o;

	if (!fn || !rm)
		return false;
	if (!x86_is_mem(rm)) {
		o = x86_emit(t, mmx_reg);
		o->r1 = x86_slot_of(rm->reg.value);
	} else {
		x86_emit_ready(t, how & MMX_XMM ? mmx_ready_sse : mmx_ready);
		if (x86_operand_written(rm))
			o = x86_emit_mem(t, rm, store_s, store_f, rm->size / 8, true);
		else
			o = x86_emit_mem(t, rm, load_s, load_f, rm->size / 8, false);
		how |= rm->size / 8 | (rm->size == 128 ? MMX_ALIGN : 0);
	}
	o->r0 = reg ? x86_slot_of(reg->reg.value) : o->r1;
	o->x = how;
	o->imm = (uint64_t)fn;
	return true;
}

static bool emit_emms(struct x86_xlate *t)
{
	return x86_native_has(t->c->machine->native, &t->insn) && x86_emit(t, mmx_emms);
}

static bool emit_maskmovq(struct x86_xlate *t)
{
	struct x86_op *o;

	if (!x86_native_has(t->c->machine->native, &t->insn))
		return false;
	x86_emit_ready(t, mmx_ready);
	o = x86_emit_mem(t, &t->op[2], store_masked_s, store_masked_f, 8, true);
	o->r0 = x86_slot_of(t->op[0].reg.value);
	o->r1 = x86_slot_of(t->op[1].reg.value);
	return true;
}

void x86_register_mmx(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_EMMS] = emit_emms;
	table[ZYDIS_MNEMONIC_MASKMOVQ] = emit_maskmovq;
}
