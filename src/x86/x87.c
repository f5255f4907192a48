/*
 * x87.c - the x87 unit's arithmetic, loads and stores, run by thunks; its control instructions.
 *
 * The guest's control word, status and tags are really the host's while a thunk runs. That is safe
 * because the unit signals an exception only at the next waiting instruction: before one runs here
 * nothing unmasked may be pending (#MF), and a thunk ends with FNINIT. The instruction and data
 * pointers are kept here, not by the host, whose own they would be.
 *
 * With CR0.NE clear a PC raises FERR# instead of #MF; there is no such line here, and #MF is raised
 * in both cases. FCS and FDS are not kept (CPUID.7.0:EBX[13] says so).
 *
 * Facts: Intel SDM vol. 1 chapter 8, vol. 2.
 */
#include "x86/fpu.h"

/* x86_op.r0: ModRM; r1: low bits of the opcode and the segment; x: bytes of memory and this: */
#define X87_CONTROL 0x80u /* the pointers stay as they are */
#define X87_SIZE    0x7fu

#define X87_OPCODE_BITS 0x07u
#define X87_SEG_SHIFT	3

static inline void trap_check(struct x86_vcpu *c, const struct x86_op *o)
{
	if (unlikely(c->x87_trap))
		x86_raise(c, o, X86_VEC_NM);
}

/* Before a waiting instruction. */
static inline void ready(struct x86_vcpu *c, const struct x86_op *o)
{
	trap_check(c, o);
	if (unlikely(x86_x87_pending(c)))
		x86_raise(c, o, X86_VEC_MF);
}

/* ---- State from outside --------------------------------------------------------------------- */

void x86_fx_normalise(struct x86_fx *fx)
{
	fx->fcw = (fx->fcw & 0x1f3f) | 0x0040;
	fx->fsw &= ~X86_FSW_ES;
	if (fx->fsw & ~fx->fcw & X86_FPE_ALL)
		fx->fsw |= X86_FSW_ES;
	fx->fop &= 0x07ff;
	fx->reserved0 = 0;
	fx->mxcsr &= X86_MXCSR_SUPPORTED;
	fx->mxcsr_mask = X86_MXCSR_SUPPORTED;
	for (unsigned i = 0; i < 8; i++)
		memset(fx->st[i] + 10, 0, 6);
}

void x86_fx_set_top(struct x86_fx *fx, unsigned top)
{
	unsigned turn = (top - X86_FSW_TOP(fx->fsw)) & 7;
	uint8_t st[8][16];

	if (!turn)
		return;
	memcpy(st, fx->st, sizeof(st));
	for (unsigned i = 0; i < 8; i++)
		memcpy(fx->st[i], st[(i + turn) & 7], sizeof(st[0]));
	fx->fsw = (uint16_t)((fx->fsw & ~X86_FSW_TOP_MASK) | top << 11);
}

void x86_fx_fninit(struct x86_fx *fx)
{
	x86_fx_set_top(fx, 0);
	fx->fcw = X86_FCW_INIT;
	fx->fsw = 0;
	fx->ftw = 0;
	fx->fop = 0;
	fx->fip = 0;
	fx->fdp = 0;
}

void x86_fx_init_x87(struct x86_fx *fx)
{
	x86_fx_fninit(fx);
	memset(fx->st, 0, sizeof(fx->st));
}

/* ---- Arithmetic, loads, stores -------------------------------------------------------------- */

static void run(struct x86_vcpu *c, const struct x86_op *o, void *mem, struct x86_fx *out)
{
	struct x86_fx *fx = &c->s.fx;
	uint64_t fip = fx->fip, fdp = fx->fdp;
	uint16_t fop = fx->fop;

	/* Nothing unmasked is pending, so that the summary is clear. */
	fx->fsw &= ~X86_FSW_ES;
	((x86_x87_fn)o->imm)(fx, mem, out, &c->fl);
	out->fip = fip;
	out->fdp = fdp;
	out->fop = fop;
	out->mxcsr_mask = X86_MXCSR_SUPPORTED;
}

static void note_pointers(struct x86_vcpu *c, const struct x86_op *o)
{
	c->s.fx.fip = x86_op_rip(c, o);
	c->s.fx.fop = (uint16_t)((o->r1 & X87_OPCODE_BITS) << 8 | o->r0);
}

static void note_data(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	note_pointers(c, o);
	c->s.fx.fdp = va - c->seg_base[o->r1 >> X87_SEG_SHIFT];
	if (!(c->mode & X86_MODE_64))
		c->s.fx.fdp = (uint32_t)c->s.fx.fdp;
}

static void load(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	ready(c, o);
	run(c, o, x86_operand(c, o, va, o->x & X87_SIZE), &c->s.fx);
	if (!(o->x & X87_CONTROL))
		note_data(c, o, va);
}

/*
 * A store counts only when memory took it. With an unmasked exception other than inexact the unit
 * stores nothing and leaves its stack alone, but the memory's fault comes first even then.
 */
static void store(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	struct x86_fx after;

	ready(c, o);
	run(c, o, c->bounce, &after);
	if (after.fsw & ~after.fcw & (X86_FPE_IE | X86_FPE_DE | X86_FPE_OE | X86_FPE_UE))
		x86_probe_write(c, o, va, o->x & X87_SIZE);
	else
		x86_write(c, o, va, c->bounce, o->x & X87_SIZE);
	c->s.fx.fsw = after.fsw;
	c->s.fx.ftw = after.ftw;
	memcpy(c->s.fx.st, after.st, sizeof(after.st));
	note_data(c, o, va);
}

X86_OP(x87_reg)
{
	ready(c, o);
	run(c, o, NULL, &c->s.fx);
	note_pointers(c, o);
	NEXT;
}

/* ---- Control -------------------------------------------------------------------------------- */

static void store_fcw(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	trap_check(c, o);
	x86_store16(c, o, va, c->s.fx.fcw);
}

static void store_fsw(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	trap_check(c, o);
	x86_store16(c, o, va, c->s.fx.fsw);
}

X86_OP(x87_fnstsw_ax)
{
	trap_check(c, o);
	X86_REG(c, X86_R(X86_RAX), uint16_t) = c->s.fx.fsw;
	NEXT;
}

X86_OP(x87_fnclex)
{
	trap_check(c, o);
	c->s.fx.fsw &= 0x7f00; /* flags, stack fault, summary and busy */
	NEXT;
}

X86_OP(x87_fninit)
{
	trap_check(c, o);
	x86_fx_fninit(&c->s.fx);
	NEXT;
}

X86_OP(x87_fwait)
{
	if ((c->s.cr0 & (X86_CR0_MP | X86_CR0_TS)) == (X86_CR0_MP | X86_CR0_TS))
		x86_raise(c, o, X86_VEC_NM);
	if (x86_x87_pending(c))
		x86_raise(c, o, X86_VEC_MF);
	NEXT;
}

/* FNENI, FNDISI and FNSETPM of earlier coprocessors. */
X86_OP(x87_nothing)
{
	trap_check(c, o);
	NEXT;
}

X86_MEM_FORMS(load)
X86_MEM_FORMS(store)
X86_MEM_FORMS(store_fcw)
X86_MEM_FORMS(store_fsw)

/* See x86_emit_ready(). */
X86_OP(x87_ready)
{
	ready(c, o);
	NEXT;
}

X86_OP(x87_trap_check)
{
	trap_check(c, o);
	NEXT;
}

/* ---- Emitters ------------------------------------------------------------------------------- */

static bool usable(const struct x86_xlate *t)
{
	return x86_native_has(t->c->machine->native, &t->insn);
}

static uint8_t data_segment(const ZydisDecodedOperand *m)
{
	return (uint8_t)(m->mem.segment - ZYDIS_REGISTER_ES);
}

static bool emit_thunk(struct x86_xlate *t)
{
	const ZydisDecodedOperand *m = NULL;
	struct x86_op *o;
	x86_x87_fn fn;

	if (!usable(t))
		return false;
	fn = x86_native_x87(t->c->machine->native, t);
	if (!fn)
		return false;
	for (unsigned i = 0; i < t->insn.operand_count_visible; i++)
		if (x86_is_mem(&t->op[i]))
			m = &t->op[i];
	if (!m) {
		o = x86_emit(t, x87_reg);
	} else {
		bool written = x86_operand_written(m);

		x86_emit_ready(t, x87_ready);
		o = x86_emit_mem(t, m, written ? store_s : load_s, written ? store_f : load_f,
			m->size / 8, written);
		o->x = (uint8_t)(m->size / 8);
		o->r1 = (uint8_t)(data_segment(m) << X87_SEG_SHIFT);
	}
	o->r0 = (uint8_t)(t->insn.raw.modrm.mod << 6 | t->insn.raw.modrm.reg << 3 |
			  t->insn.raw.modrm.rm);
	o->r1 |= t->insn.opcode & X87_OPCODE_BITS;
	o->imm = (uint64_t)fn;
	return true;
}

static bool emit_fldcw(struct x86_xlate *t)
{
	if (!emit_thunk(t))
		return false;
	t->out[t->n_out - 1].x |= X87_CONTROL;
	return true;
}

static bool emit_fnstcw(struct x86_xlate *t)
{
	if (!usable(t))
		return false;
	x86_emit_ready(t, x87_trap_check);
	x86_emit_mem(t, &t->op[0], store_fcw_s, store_fcw_f, 2, true);
	return true;
}

static bool emit_fnstsw(struct x86_xlate *t)
{
	if (!usable(t))
		return false;
	if (!x86_is_mem(&t->op[0]))
		return x86_emit(t, x87_fnstsw_ax);
	x86_emit_ready(t, x87_trap_check);
	x86_emit_mem(t, &t->op[0], store_fsw_s, store_fsw_f, 2, true);
	return true;
}

#define EMIT_SIMPLE(name)                                                                          \
	static bool emit_##name(struct x86_xlate *t)                                               \
	{                                                                                          \
		return usable(t) && x86_emit(t, x87_##name);                                       \
	}
EMIT_SIMPLE(fnclex)
EMIT_SIMPLE(fninit)
EMIT_SIMPLE(fwait)
EMIT_SIMPLE(nothing)

#define M(name) ZYDIS_MNEMONIC_##name

static const uint16_t thunk_list[] = {
	M(F2XM1),
	M(FABS),
	M(FADD),
	M(FADDP),
	M(FBLD),
	M(FBSTP),
	M(FCHS),
	M(FCMOVB),
	M(FCMOVBE),
	M(FCMOVE),
	M(FCMOVNB),
	M(FCMOVNBE),
	M(FCMOVNE),
	M(FCMOVNU),
	M(FCMOVU),
	M(FCOM),
	M(FCOMI),
	M(FCOMIP),
	M(FCOMP),
	M(FCOMPP),
	M(FCOS),
	M(FDECSTP),
	M(FDIV),
	M(FDIVP),
	M(FDIVR),
	M(FDIVRP),
	M(FFREE),
	M(FFREEP),
	M(FIADD),
	M(FICOM),
	M(FICOMP),
	M(FIDIV),
	M(FIDIVR),
	M(FILD),
	M(FIMUL),
	M(FINCSTP),
	M(FIST),
	M(FISTP),
	M(FISTTP),
	M(FISUB),
	M(FISUBR),
	M(FLD),
	M(FLD1),
	M(FLDL2E),
	M(FLDL2T),
	M(FLDLG2),
	M(FLDLN2),
	M(FLDPI),
	M(FLDZ),
	M(FMUL),
	M(FMULP),
	M(FNOP),
	M(FPATAN),
	M(FPREM),
	M(FPREM1),
	M(FPTAN),
	M(FRNDINT),
	M(FSCALE),
	M(FSIN),
	M(FSINCOS),
	M(FSQRT),
	M(FST),
	M(FSTP),
	M(FSTPNCE),
	M(FSUB),
	M(FSUBP),
	M(FSUBR),
	M(FSUBRP),
	M(FTST),
	M(FUCOM),
	M(FUCOMI),
	M(FUCOMIP),
	M(FUCOMP),
	M(FUCOMPP),
	M(FXAM),
	M(FXCH),
	M(FXTRACT),
	M(FYL2X),
	M(FYL2XP1),
};

void x86_register_x87(x86_emit_fn *table)
{
	for (unsigned i = 0; i < sizeof(thunk_list) / sizeof(thunk_list[0]); i++)
		table[thunk_list[i]] = emit_thunk;
	table[M(FLDCW)] = emit_fldcw;
	table[M(FNSTCW)] = emit_fnstcw;
	table[M(FNSTSW)] = emit_fnstsw;
	table[M(FNCLEX)] = emit_fnclex;
	table[M(FNINIT)] = emit_fninit;
	table[M(FWAIT)] = emit_fwait;
	table[M(FENI8087_NOP)] = emit_nothing;
	table[M(FDISI8087_NOP)] = emit_nothing;
	table[M(FSETPM287_NOP)] = emit_nothing;
	x86_register_x87_env(table);
}
