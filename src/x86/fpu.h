/*
 * fpu.h - what the x87, MMX, SSE and XSAVE families share: where registers are kept, which
 * exceptions come before an instruction, what a valid state image is.
 *
 * The state is s.fx, the FXSAVE image, at all times; st[] is in stack order (st[0] is ST(0)), so
 * MMX register i is st[(i - TOP) & 7]. A later ymm_hi[] would stand beside s.fx.
 *
 * Facts: Intel SDM vol. 1 chapters 8-10 and 13, vol. 3A 2.5 (CR0.EM, MP, TS, NE; CR4.OSFXSR).
 */
#ifndef PARTITA_X86_FPU_H
#define PARTITA_X86_FPU_H

#include "x86/mem.h"
#include "x86/native.h"

/*
 * A slot: where a register is kept, in units of 8 bytes from the vcpu's start. It fits x86_op.r0
 * and r1 for general, MMX and XMM registers alike, and slot + 1 is an XMM register's upper half.
 */
#define X86_SLOT_GPR(n) ((uint8_t)(n))
#define X86_SLOT_ST(n)	((uint8_t)((offsetof(struct x86_vcpu, s.fx.st) / 8) + 2 * (n)))
#define X86_SLOT_XMM(n) ((uint8_t)((offsetof(struct x86_vcpu, s.fx.xmm) / 8) + 2 * (n)))
_Static_assert(offsetof(struct x86_vcpu, s.fx.xmm) / 8 + 32 <= 256, "a slot fits a byte");
_Static_assert(offsetof(struct x86_vcpu, s.gpr) == 0, "general registers come first");

static inline void *x86_slot(struct x86_vcpu *c, uint8_t slot)
{
	return (char *)c + slot * 8u;
}

/* The slot of a register operand. */
uint8_t x86_slot_of(ZydisRegister r);

/* Exception flags and masks have the same order in FSW/FCW and MXCSR. */
#define X86_FPE_IE  0x01u
#define X86_FPE_DE  0x02u
#define X86_FPE_ZE  0x04u
#define X86_FPE_OE  0x08u
#define X86_FPE_UE  0x10u
#define X86_FPE_PE  0x20u
#define X86_FPE_ALL 0x3fu

#define X86_FCW_INIT	 0x037fu
#define X86_FSW_ES	 0x8080u /* error summary and its copy, the busy bit */
#define X86_FSW_TOP(w)	 (((w) >> 11) & 7u)
#define X86_FSW_TOP_MASK 0x3800u

#define X86_MXCSR_INIT	    0x1f80u
#define X86_MXCSR_MASKS	    0x1f80u
#define X86_MXCSR_FTZ	    0x8000u
#define X86_MXCSR_SUPPORTED 0xffffu

/* An unmasked x87 exception waits for the next waiting instruction. */
static inline bool x86_x87_pending(const struct x86_vcpu *c)
{
	return c->s.fx.fsw & ~c->s.fx.fcw & X86_FPE_ALL;
}

/* #UD or #NM of an SSE instruction when c->simd_trap is set. */
_Noreturn void x86_simd_refuse(struct x86_vcpu *c, const struct x86_op *o);

static inline void x86_simd_ready(struct x86_vcpu *c, const struct x86_op *o)
{
	if (unlikely(c->simd_trap))
		x86_simd_refuse(c, o);
}

/* Every floating-point exception is masked: a thunk may run as it is. */
static inline bool x86_simd_masked(const struct x86_vcpu *c)
{
	return (c->s.fx.mxcsr & X86_MXCSR_MASKS) == X86_MXCSR_MASKS;
}

/* Runs a floating-point thunk when not all are: #XM, with nothing changed, as MXCSR demands. */
void x86_simd_checked(struct x86_vcpu *c, const struct x86_op *o, void *reg, void *rm);

/*
 * A memory operand of up to 64 bytes, to be read where it lies if possible, else in c->bounce.
 * It is as aligned as @va is, to 16 bytes at most.
 */
void *x86_operand_slow(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size);

static inline void *x86_operand(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size)
{
	void *p = x86_host_r(c, va, size);

	return likely(p != NULL) ? p : x86_operand_slow(c, o, va, size);
}

/* MASKMOVDQU and MASKMOVQ: stores the bytes of @data whose @mask has its top bit set. */
void x86_store_masked(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, const uint8_t *data,
	const uint8_t *mask, unsigned size);

/* Makes any bytes a state that the processor could have; for state that comes from outside. */
void x86_fx_normalise(struct x86_fx *fx);
/* Sets TOP; the physical registers keep what they hold, so that st[] turns. */
void x86_fx_set_top(struct x86_fx *fx, unsigned top);
/* What FNINIT does, which leaves the registers' contents; and XRSTOR's initial state. */
void x86_fx_fninit(struct x86_fx *fx);
void x86_fx_init_x87(struct x86_fx *fx);

/* simd.c: an SSE instruction, by its thunk. @fp: it uses MXCSR. simd_list.c has those done so. */
bool x86_emit_thunk(struct x86_xlate *t, bool fp);
void x86_register_thunks(x86_emit_fn *table);
/* mmx.c: an instruction with an MMX register, of those simd.c lists; and the rest of MMX. */
bool x86_emit_mmx(struct x86_xlate *t, bool fp);
void x86_register_mmx(x86_emit_fn *table);
/* x87_env.c */
void x86_register_x87_env(x86_emit_fn *table);

/*
 * What precedes an instruction (#UD, #NM, #MF) precedes its segment's faults, too, which outside
 * 64-bit mode the operations of x86_emit_mem() raise: there @fn looks first.
 */
static inline void x86_emit_ready(struct x86_xlate *t, x86_op_fn fn)
{
	if (!(t->mode & X86_MODE_64))
		x86_emit(t, fn);
}

/* Both forms, fn_s and fn_f, of an operation that fn(c, o, va) does. */
#define X86_MEM_FORMS(fn)                                                                          \
	X86_OP(fn##_s)                                                                             \
	{                                                                                          \
		fn(c, o, x86_ea_s(c, o));                                                          \
		NEXT;                                                                              \
	}                                                                                          \
	X86_OP(fn##_f)                                                                             \
	{                                                                                          \
		fn(c, o, x86_ea_f(c, o));                                                          \
		NEXT;                                                                              \
	}

/* A form that uses an MMX register. */
static inline bool x86_uses_mmx(const struct x86_xlate *t)
{
	for (unsigned i = 0; i < t->insn.operand_count_visible; i++)
		if (x86_is_reg(&t->op[i]) &&
			ZydisRegisterGetClass(t->op[i].reg.value) == ZYDIS_REGCLASS_MMX)
			return true;
	return false;
}

/* The operand in ModRM.rm (or ModRM.reg), or NULL. */
static inline const ZydisDecodedOperand *x86_operand_at(
	const struct x86_xlate *t, ZydisOperandEncoding where)
{
	for (unsigned i = 0; i < t->insn.operand_count_visible; i++)
		if (t->op[i].encoding == where)
			return &t->op[i];
	return NULL;
}

static inline bool x86_operand_written(const ZydisDecodedOperand *op)
{
	return op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
}

#endif
