/*
 * msr.c - RDMSR and WRMSR, and the model-specific registers that are the core's own.
 *
 * Every other one is asked for through ops->rdmsr and ops->wrmsr.
 *
 * Facts: Intel SDM vol. 4, table 2-2 (architectural MSRs); vol. 3A, 11.12.4 (PAT).
 */
#include "x86/system.h"
#include "x86/translate.h"

enum msr {
	MSR_TSC = 0x10,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
	MSR_PAT = 0x277,
	MSR_EFER = 0xc0000080,
	MSR_STAR = 0xc0000081,
	MSR_LSTAR = 0xc0000082,
	MSR_CSTAR = 0xc0000083,
	MSR_SFMASK = 0xc0000084,
	MSR_FS_BASE = 0xc0000100,
	MSR_GS_BASE = 0xc0000101,
	MSR_KERNEL_GS_BASE = 0xc0000102,
	MSR_TSC_AUX = 0xc0000103,
};

/* Where the core keeps an MSR that is no more than a stored value, or NULL. */
static uint64_t *stored(struct x86_state *s, uint32_t msr)
{
	switch (msr) {
	case MSR_SYSENTER_CS:
		return &s->sysenter_cs;
	case MSR_SYSENTER_ESP:
		return &s->sysenter_esp;
	case MSR_SYSENTER_EIP:
		return &s->sysenter_eip;
	case MSR_PAT:
		return &s->pat;
	case MSR_EFER:
		return &s->efer;
	case MSR_STAR:
		return &s->star;
	case MSR_LSTAR:
		return &s->lstar;
	case MSR_CSTAR:
		return &s->cstar;
	case MSR_SFMASK:
		return &s->sfmask;
	case MSR_FS_BASE:
		return &s->seg[X86_FS].base;
	case MSR_GS_BASE:
		return &s->seg[X86_GS].base;
	case MSR_KERNEL_GS_BASE:
		return &s->kernel_gs_base;
	case MSR_TSC_AUX:
		return &s->tsc_aux;
	default:
		return NULL;
	}
}

/* ---- RDMSR --------------------------------------------------------------------------------- */

static uint64_t read_msr(struct x86_vcpu *c, const struct x86_op *o, uint32_t msr)
{
	const uint64_t *own = stored(&c->s, msr);
	uint64_t value = 0;

	if (own)
		return *own;
	if (msr == MSR_TSC)
		return x86_tsc(c);
	x86_sync(c, o);
	switch (c->ops->rdmsr ? c->ops->rdmsr(c->ctx, msr, &value) : X86_FAULT) {
	case X86_DONE:
		break;
	case X86_FAULT:
		x86_raise_gp(c, o, 0);
	case X86_EXIT:
		x86_leave(c, o, X86_EXIT_RDMSR);
	}
	return value;
}

X86_OP(op_rdmsr)
{
	uint64_t value;

	x86_require_cpl0(c, o);
	value = read_msr(c, o, (uint32_t)c->s.gpr[X86_RCX]);
	c->s.gpr[X86_RAX] = (uint32_t)value;
	c->s.gpr[X86_RDX] = value >> 32;
	x86_end_here(c, o);
}

/* ---- WRMSR --------------------------------------------------------------------------------- */

static bool pat_valid(uint64_t pat)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned type = (pat >> 8 * i) & 0xff;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

#define EFER_WRITABLE (X86_EFER_SCE | X86_EFER_LME | X86_EFER_NXE)

static bool efer_valid(const struct x86_state *s, uint64_t value)
{
	if (value & ~(EFER_WRITABLE | X86_EFER_LMA))
		return false;
	return !((value ^ s->efer) & X86_EFER_LME) || !(s->cr0 & X86_CR0_PG);
}

/* Whether WRMSR of @value to one of the stored registers is without fault. */
static bool value_valid(const struct x86_state *s, uint32_t msr, uint64_t value)
{
	switch (msr) {
	case MSR_EFER:
		return efer_valid(s, value);
	case MSR_PAT:
		return pat_valid(value);
	case MSR_SYSENTER_CS:
	case MSR_TSC_AUX:
	case MSR_SFMASK:
		return value >> 32 == 0;
	case MSR_STAR:
		return true;
	default: /* addresses */
		return x86_canonical(value);
	}
}

static void write_stored(
	struct x86_vcpu *c, const struct x86_op *o, uint32_t msr, uint64_t *own, uint64_t value)
{
	uint64_t old = *own;

	if (!value_valid(&c->s, msr, value))
		x86_raise_gp(c, o, 0);
	if (msr == MSR_EFER) {
		value = (value & EFER_WRITABLE) | (old & X86_EFER_LMA);
		if ((value ^ old) & X86_EFER_NXE)
			x86_tlb_flush_all(c);
	}
	*own = value;
	if (msr == MSR_EFER || msr == MSR_FS_BASE || msr == MSR_GS_BASE)
		x86_update_mode(c);
}

static void write_msr(struct x86_vcpu *c, const struct x86_op *o, uint32_t msr, uint64_t value)
{
	uint64_t *own = stored(&c->s, msr);

	if (own)
		return write_stored(c, o, msr, own, value);
	if (msr == MSR_TSC) {
		c->s.tsc_offset += value - x86_tsc(c);
		return;
	}
	x86_sync(c, o);
	switch (c->ops->wrmsr ? c->ops->wrmsr(c->ctx, msr, value) : X86_FAULT) {
	case X86_DONE:
		return;
	case X86_FAULT:
		x86_raise_gp(c, o, 0);
	case X86_EXIT:
		x86_leave(c, o, X86_EXIT_WRMSR);
	}
}

X86_OP(op_wrmsr)
{
	x86_require_cpl0(c, o);
	write_msr(c, o, (uint32_t)c->s.gpr[X86_RCX],
		c->s.gpr[X86_RDX] << 32 | (uint32_t)c->s.gpr[X86_RAX]);
	x86_end_here(c, o);
}

static bool emit_rdmsr(struct x86_xlate *t)
{
	x86_emit(t, op_rdmsr);
	t->end = true;
	return true;
}

static bool emit_wrmsr(struct x86_xlate *t)
{
	x86_emit(t, op_wrmsr);
	t->end = true;
	return true;
}

void x86_register_msr(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_RDMSR] = emit_rdmsr;
	table[ZYDIS_MNEMONIC_WRMSR] = emit_wrmsr;
}
