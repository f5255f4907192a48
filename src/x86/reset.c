/*
 * reset.c - the state after power-on and after INIT.
 *
 * Facts: Intel SDM vol. 3A, 9.1.1 and table 9-1.
 */
#include "x86/system.h"

#define FAMILY_6    0x600 /* in EDX: the processor's signature */
#define FCW_RESET   0x40
#define FTW_RESET   0xff /* every register valid: zero */
#define MXCSR_RESET 0x1f80
#define MXCSR_BITS  0xffff
#define PAT_RESET   0x0007040600070406ul

static struct x86_segment reset_segment(uint16_t attributes)
{
	return (struct x86_segment){.limit = 0xffff, .attributes = attributes};
}

static void reset_segments(struct x86_state *s)
{
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		s->seg[i] = reset_segment(X86_SEG_P | X86_SEG_S | 0x3);
	s->seg[X86_CS].attributes |= 0x8;
	s->seg[X86_CS].selector = 0xf000;
	s->seg[X86_CS].base = 0xffff0000;
	s->seg[X86_LDTR] = reset_segment(X86_SEG_P | X86_SYS_LDT);
	s->seg[X86_TR] = reset_segment(X86_SEG_P | X86_SYS_TSS32_BUSY);
	s->gdtr = (struct x86_table){.limit = 0xffff};
	s->idtr = (struct x86_table){.limit = 0xffff};
}

/* What power-on sets and INIT leaves alone. */
static void reset_power_on(struct x86_state *s)
{
	memset(&s->fx, 0, sizeof(s->fx));
	s->fx.fcw = FCW_RESET;
	s->fx.ftw = FTW_RESET;
	s->fx.mxcsr = MXCSR_RESET;
	s->fx.mxcsr_mask = MXCSR_BITS;
	s->xcr0 = 1;
	s->cr0 = X86_CR0_CD | X86_CR0_NW;
	s->star = s->lstar = s->cstar = s->sfmask = 0;
	s->sysenter_cs = s->sysenter_esp = s->sysenter_eip = 0;
	s->kernel_gs_base = 0;
	s->tsc_aux = 0;
	s->tsc_offset = -__builtin_ia32_rdtsc();
	s->pat = PAT_RESET;
}

void x86_vcpu_reset(struct x86_vcpu *c, bool init)
{
	struct x86_state *s = &c->s;

	if (!init)
		reset_power_on(s);
	memset(s->gpr, 0, sizeof(s->gpr));
	memset(s->scratch, 0, sizeof(s->scratch));
	s->gpr[X86_RDX] = FAMILY_6;
	s->rip = 0xfff0;
	s->rflags = X86_FLAG_1;
	reset_segments(s);
	s->cr0 = (s->cr0 & (X86_CR0_CD | X86_CR0_NW)) | X86_CR0_ET;
	s->cr2 = s->cr3 = s->cr4 = s->efer = 0;
	memset(s->dr, 0, sizeof(s->dr));
	s->dr6 = X86_DR6_FIXED;
	s->dr7 = X86_DR7_FIXED;
	s->cpl = 0;
	s->interrupt_shadow = false;
	s->nmi_masked = false;
	s->nmi_pending = false;
	c->injected.valid = false;
	c->pending_db = 0;
	x86_vcpu_changed(c);
}
