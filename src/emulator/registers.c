/*
 * registers.c - registers between the callbacks and the processor's state.
 *
 * Promises: at most one call of each register callback in an emulation; nothing is fetched that is
 * not needed, nothing is set that did not change.
 */
#include <string.h>

#include "emulator/emulator.h"

static WHV_REGISTER_NAME name_of(unsigned id)
{
	static const struct {
		unsigned first;
		WHV_REGISTER_NAME name;
	} groups[] = {
		{REG_INTERRUPT_STATE, WHvRegisterInterruptState},
		{REG_DR6, WHvX64RegisterDr6},
		{REG_CR4, WHvX64RegisterCr4},
		{REG_CR0, WHvX64RegisterCr0},
		{REG_SSE_CONTROL, WHvX64RegisterXmmControlStatus},
		{REG_X87_CONTROL, WHvX64RegisterFpControlStatus},
		{REG_X87, WHvX64RegisterFpMmx0},
		{REG_XMM, WHvX64RegisterXmm0},
		{REG_SEG, WHvX64RegisterEs},
		{REG_GPR, WHvX64RegisterRax},
	};
	unsigned i = 0;

	while (id < groups[i].first)
		i++;
	return groups[i].name + (id - groups[i].first);
}

void emulation_set_segment(
	struct emulation *e, enum x86_seg seg, const WHV_X64_SEGMENT_REGISTER *from)
{
	struct x86_segment *to = &e->state->seg[seg];

	to->base = from->Base;
	to->limit = from->Limit;
	to->selector = from->Selector;
	to->attributes = from->Attributes & 0xf0ff;
	if (!from->Present && e->vp->ExecutionState.Cr0Pe)
		to->attributes |= X86_SEG_NULL;
}

static void load(struct emulation *e, unsigned id, const WHV_REGISTER_VALUE *v)
{
	struct x86_state *s = e->state;

	if (id < REG_SEG) {
		s->gpr[id - REG_GPR] = v->Reg64;
	} else if (id < REG_XMM) {
		emulation_set_segment(e, id - REG_SEG, &v->Segment);
	} else if (id < REG_X87) {
		memcpy(s->fx.xmm[id - REG_XMM], v, 16);
	} else if (id < REG_X87_CONTROL) {
		memcpy(s->fx.st[id - REG_X87], v, 10);
	} else if (id == REG_X87_CONTROL) {
		s->fx.fcw = v->FpControlStatus.FpControl;
		s->fx.fsw = v->FpControlStatus.FpStatus;
		s->fx.ftw = v->FpControlStatus.FpTag;
		s->fx.fop = v->FpControlStatus.LastFpOp;
		s->fx.fip = v->FpControlStatus.LastFpRip;
	} else if (id == REG_SSE_CONTROL) {
		s->fx.fdp = v->XmmControlStatus.LastFpRdp;
		s->fx.mxcsr = v->XmmControlStatus.XmmStatusControl;
	} else if (id == REG_CR0) {
		s->cr0 = v->Reg64;
	} else if (id == REG_CR4) {
		s->cr4 = v->Reg64;
	}
}

/* The register's value now; @v holds what it was. */
static void store(const struct emulation *e, unsigned id, WHV_REGISTER_VALUE *v)
{
	const struct x86_state *s = e->state;

	if (id < REG_SEG) {
		v->Reg64 = s->gpr[id - REG_GPR];
	} else if (id >= REG_XMM && id < REG_X87) {
		memcpy(v, s->fx.xmm[id - REG_XMM], 16);
	} else if (id >= REG_X87 && id < REG_X87_CONTROL) {
		memcpy(v, s->fx.st[id - REG_X87], 10);
	} else if (id == REG_X87_CONTROL) {
		v->FpControlStatus.FpControl = s->fx.fcw;
		v->FpControlStatus.FpStatus = s->fx.fsw;
		v->FpControlStatus.FpTag = s->fx.ftw;
		v->FpControlStatus.LastFpOp = s->fx.fop;
		v->FpControlStatus.LastFpRip = s->fx.fip;
	} else if (id == REG_SSE_CONTROL) {
		v->XmmControlStatus.LastFpRdp = s->fx.fdp;
		v->XmmControlStatus.XmmStatusControl = s->fx.mxcsr;
	}
}

/* What the exit and the mode tell; everything else is fetched or does not matter. */
static void prepare(struct emulation *e)
{
	const WHV_VP_EXIT_CONTEXT *vp = e->vp;
	struct x86_state *s = e->state;
	struct x86_segment flat = {.limit = 0xffffffff};

	s->rip = vp->Rip;
	s->rflags = vp->Rflags;
	s->cpl = vp->ExecutionState.Cpl;
	s->cr0 = X86_CR0_ET | X86_CR0_NE | X86_CR0_WP;
	if (vp->ExecutionState.Cr0Pe)
		s->cr0 |= X86_CR0_PE;
	if (vp->ExecutionState.EferLma)
		s->cr0 |= X86_CR0_PG;
	s->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
	s->efer = vp->ExecutionState.EferLma ? X86_EFER_LME | X86_EFER_LMA : 0;
	s->interrupt_shadow = false;
	flat.attributes = X86_SEG_P | X86_SEG_S | X86_SEG_G | 3;
	flat.attributes |= (uint16_t)(vp->ExecutionState.Cpl << 5);
	flat.attributes |= vp->Cs.Default ? X86_SEG_DB : 0;
	for (unsigned seg = X86_ES; seg <= X86_GS; seg++)
		s->seg[seg] = flat;
	emulation_set_segment(e, X86_CS, &vp->Cs);
}

bool emulation_load(struct emulation *e)
{
	WHV_REGISTER_NAME names[REG_COUNT];
	WHV_REGISTER_VALUE values[REG_COUNT];
	unsigned n = 0;

	e->interrupt_shadow_ends = e->vp->ExecutionState.InterruptShadow;
	e->single_step = e->vp->Rflags & X86_FLAG_TF;
	if (e->interrupt_shadow_ends)
		e->needed |= REG_BIT(REG_INTERRUPT_STATE);
	if (e->single_step)
		e->needed |= REG_BIT(REG_DR6);
	e->needed &= ~REG_BIT(REG_SEG + X86_CS);
	for (uint64_t set = e->needed; set; set &= set - 1)
		names[n++] = name_of((unsigned)__builtin_ctzll(set));
	if (n) {
		memset(values, 0, n * sizeof(values[0]));
		if (e->emulator->callbacks.WHvEmulatorGetVirtualProcessorRegisters(
			    e->context, names, n, values) != S_OK) {
			e->status.GetVirtualProcessorRegistersCallbackFailed = 1;
			return false;
		}
	}
	prepare(e);
	n = 0;
	for (uint64_t set = e->needed; set; set &= set - 1, n++) {
		unsigned id = (unsigned)__builtin_ctzll(set);

		e->before[id] = values[n];
		load(e, id, &values[n]);
	}
	return true;
}

/* ----- writing back ----- */

struct changes {
	WHV_REGISTER_NAME names[REG_COUNT + 4];
	WHV_REGISTER_VALUE values[REG_COUNT + 4];
	unsigned n;
};

static WHV_REGISTER_VALUE *change(struct changes *c, WHV_REGISTER_NAME name)
{
	WHV_REGISTER_VALUE *v = &c->values[c->n];

	c->names[c->n++] = name;
	memset(v, 0, sizeof(*v));
	return v;
}

static void collect(const struct emulation *e, struct changes *c, bool completed)
{
	for (uint64_t set = e->needed; set; set &= set - 1) {
		unsigned id = (unsigned)__builtin_ctzll(set);
		WHV_REGISTER_VALUE now = e->before[id];

		store(e, id, &now);
		if (memcmp(&now, &e->before[id], sizeof(now)))
			*change(c, name_of(id)) = now;
	}
	if (!completed)
		return;
	for (uint64_t set = e->written; set; set &= set - 1) {
		unsigned id = (unsigned)__builtin_ctzll(set);

		store(e, id, change(c, name_of(id)));
	}
}

static void pend_exception(
	struct changes *c, uint8_t vector, bool has_error, uint32_t error, uint64_t parameter)
{
	WHV_REGISTER_VALUE *v = change(c, WHvRegisterPendingEvent);

	v->ExceptionEvent.EventPending = 1;
	v->ExceptionEvent.EventType = WHvX64PendingEventException;
	v->ExceptionEvent.Vector = vector;
	v->ExceptionEvent.DeliverErrorCode = has_error;
	v->ExceptionEvent.ErrorCode = error;
	v->ExceptionEvent.ExceptionParameter = parameter;
}

/* What the end of an instruction does besides. */
static void end_of_instruction(struct emulation *e, struct changes *c)
{
	const uint64_t dr6_bs = 1u << 14;
	WHV_REGISTER_VALUE *v;

	e->state->rflags &= ~(uint64_t)X86_FLAG_RF;
	if (e->interrupt_shadow_ends) {
		v = change(c, WHvRegisterInterruptState);
		*v = e->before[REG_INTERRUPT_STATE];
		v->InterruptState.InterruptShadow = 0;
	}
	if (e->single_step && e->exit.reason != X86_EXIT_EXCEPTION) {
		v = change(c, WHvX64RegisterDr6);
		v->Reg64 = e->before[REG_DR6].Reg64 | dr6_bs;
		pend_exception(c, X86_VEC_DB, false, 0, 0);
	}
}

bool emulation_store(struct emulation *e, bool completed)
{
	struct changes c;

	c.n = 0;
	collect(e, &c, completed);
	if (completed)
		end_of_instruction(e, &c);
	if (e->state->rip != e->vp->Rip)
		change(&c, WHvX64RegisterRip)->Reg64 = e->state->rip;
	if (e->state->rflags != e->vp->Rflags)
		change(&c, WHvX64RegisterRflags)->Reg64 = e->state->rflags;
	if (e->exit.reason == X86_EXIT_EXCEPTION)
		pend_exception(&c, e->exit.exception.vector, e->exit.exception.has_error,
			e->exit.exception.error, e->exit.exception.parameter);
	if (c.n && e->emulator->callbacks.WHvEmulatorSetVirtualProcessorRegisters(
			   e->context, c.names, c.n, c.values) != S_OK) {
		e->status.SetVirtualProcessorRegistersCallbackFailed = 1;
		return false;
	}
	return true;
}
