/*
 * registers.c - WHvGet/SetVirtualProcessorRegisters.
 *
 * Registers of the processor core live in struct x86_state; those of the APIC, the SynIC and other
 * MSRs are reached as the guest reaches them (register_msr.c). Registers are set in the order
 * given; the first that is refused ends it.
 */
#include "hypervisor/registers.h"

#include <string.h>

#define SEGMENT_ATTRIBUTES                                                                         \
	(X86_SEG_TYPE | X86_SEG_S | X86_SEG_DPL | X86_SEG_P | X86_SEG_AVL | X86_SEG_L |            \
		X86_SEG_DB | X86_SEG_G)
#define MXCSR_MASK   0xFFFFu
#define RFLAGS_VALID 0x3F7FD7ull

void registers_update_cpl(struct x86_state *s)
{
	const struct x86_segment *ss = &s->seg[X86_SS], *cs = &s->seg[X86_CS];

	if (!(s->cr0 & X86_CR0_PE))
		s->cpl = 0;
	else if (s->rflags & X86_FLAG_VM)
		s->cpl = 3;
	else
		s->cpl = ((ss->attributes & X86_SEG_P ? ss : cs)->attributes & X86_SEG_DPL) >> 5;
}

static void get_segment(WHV_X64_SEGMENT_REGISTER *to, const struct x86_segment *from)
{
	to->Base = from->base;
	to->Limit = from->limit;
	to->Selector = from->selector;
	to->Attributes = from->attributes & SEGMENT_ATTRIBUTES;
}

static void set_segment(struct x86_segment *to, const WHV_X64_SEGMENT_REGISTER *from)
{
	to->base = from->Base;
	to->limit = from->Limit;
	to->selector = from->Selector;
	to->attributes = from->Attributes & SEGMENT_ATTRIBUTES;
	if (!(to->attributes & X86_SEG_P))
		to->attributes |= X86_SEG_NULL;
}

/* Registers that are one word of the state, to be read and written as they are. */
static uint64_t *plain(struct x86_state *s, WHV_REGISTER_NAME name)
{
	switch (name) {
	case WHvX64RegisterRax ... WHvX64RegisterR15:
		return &s->gpr[name - WHvX64RegisterRax];
	case WHvX64RegisterRip:
		return &s->rip;
	case WHvX64RegisterCr0:
		return &s->cr0;
	case WHvX64RegisterCr2:
		return &s->cr2;
	case WHvX64RegisterCr3:
		return &s->cr3;
	case WHvX64RegisterCr4:
		return &s->cr4;
	case WHvX64RegisterDr0 ... WHvX64RegisterDr3:
		return &s->dr[name - WHvX64RegisterDr0];
	case WHvX64RegisterDr6:
		return &s->dr6;
	case WHvX64RegisterDr7:
		return &s->dr7;
	case WHvX64RegisterEfer:
		return &s->efer;
	case WHvX64RegisterKernelGsBase:
		return &s->kernel_gs_base;
	case WHvX64RegisterPat:
		return &s->pat;
	case WHvX64RegisterSysenterCs:
		return &s->sysenter_cs;
	case WHvX64RegisterSysenterEip:
		return &s->sysenter_eip;
	case WHvX64RegisterSysenterEsp:
		return &s->sysenter_esp;
	case WHvX64RegisterStar:
		return &s->star;
	case WHvX64RegisterLstar:
		return &s->lstar;
	case WHvX64RegisterCstar:
		return &s->cstar;
	case WHvX64RegisterSfmask:
		return &s->sfmask;
	case WHvX64RegisterTscAux:
		return &s->tsc_aux;
	case WHvX64RegisterTscVirtualOffset:
		return &s->tsc_offset;
	default:
		return NULL;
	}
}

static uint64_t get_tsc(struct vp *vp, const struct x86_state *s)
{
	const struct clock *c = &vp->partition->clock;

	return clock_now(c) + (s->tsc_offset - (uint64_t)c->tsc_offset);
}

static void set_tsc(struct vp *vp, struct x86_state *s, uint64_t value)
{
	s->tsc_offset += value - get_tsc(vp, s);
}

static void get_fp_control(WHV_X64_FP_CONTROL_STATUS_REGISTER *to, const struct x86_fx *fx)
{
	to->FpControl = fx->fcw;
	to->FpStatus = fx->fsw;
	to->FpTag = fx->ftw;
	to->LastFpOp = fx->fop;
	to->LastFpRip = fx->fip;
}

static void set_fp_control(struct x86_fx *fx, const WHV_X64_FP_CONTROL_STATUS_REGISTER *from)
{
	fx->fcw = from->FpControl;
	fx->fsw = from->FpStatus;
	fx->ftw = from->FpTag;
	fx->fop = from->LastFpOp;
	fx->fip = from->LastFpRip;
}

/* Pending events, activity, notifications: what the run loop looks at. False: not one of those. */
static bool get_activity(struct vp *vp, WHV_REGISTER_NAME name, WHV_REGISTER_VALUE *value)
{
	const struct x86_state *s = vp_state(vp);

	switch (name) {
	case WHvRegisterPendingInterruption:
		value->PendingInterruption = vp->interruption;
		return true;
	case WHvRegisterInterruptState:
		value->InterruptState.InterruptShadow = s->interrupt_shadow;
		value->InterruptState.NmiMasked = s->nmi_masked;
		return true;
	case WHvRegisterPendingEvent:
		if (vp->extint_pending) {
			value->ExtIntEvent.EventPending = 1;
			value->ExtIntEvent.EventType = WHvX64PendingEventExtInt;
			value->ExtIntEvent.Vector = vp->extint_vector;
		} else {
			value->ExceptionEvent = vp->exception_event;
		}
		return true;
	case WHvRegisterPendingEvent1:
	case WHvRegisterPendingEvent2:
	case WHvRegisterPendingEvent3:
	case WHvX64RegisterPendingDebugException:
		return true;
	case WHvRegisterDeliverabilityNotifications:
		value->DeliverabilityNotifications = vp->notify;
		return true;
	case WHvRegisterInternalActivityState:
		value->InternalActivity.StartupSuspend = vp->startup_suspend;
		value->InternalActivity.HaltSuspend = vp->halt_suspend;
		value->InternalActivity.IdleSuspend = vp->idle_suspend;
		return true;
	default:
		return false;
	}
}

static HRESULT set_pending_interruption(struct vp *vp, WHV_X64_PENDING_INTERRUPTION_REGISTER value)
{
	unsigned type = value.InterruptionType;

	if (value.InterruptionPending &&
		((type != WHvX64PendingInterrupt && type != WHvX64PendingNmi &&
			 type != WHvX64PendingException && type != 4) ||
			value.InterruptionVector > 255 ||
			(type == WHvX64PendingException && value.InterruptionVector > 31)))
		return E_INVALIDARG;
	vp->interruption = value;
	return S_OK;
}

static HRESULT set_pending_event(struct vp *vp, const WHV_REGISTER_VALUE *value)
{
	const WHV_X64_PENDING_EXCEPTION_EVENT *e = &value->ExceptionEvent;

	if (e->EventPending && e->EventType == WHvX64PendingEventExtInt) {
		vp->extint_pending = true;
		vp->extint_vector = (uint8_t)value->ExtIntEvent.Vector;
		vp->engine->vp_interrupt(vp->engine_vp);
		return S_OK;
	}
	if (e->EventPending && (e->EventType != WHvX64PendingEventException || e->Vector > 31))
		return E_INVALIDARG;
	vp->exception_event = *e;
	if (!e->EventPending)
		vp->extint_pending = false;
	return S_OK;
}

static HRESULT set_activity(struct vp *vp, WHV_REGISTER_NAME name, const WHV_REGISTER_VALUE *value)
{
	struct x86_state *s = vp_state(vp);

	switch (name) {
	case WHvRegisterPendingInterruption:
		return set_pending_interruption(vp, value->PendingInterruption);
	case WHvRegisterInterruptState:
		s->interrupt_shadow = value->InterruptState.InterruptShadow;
		s->nmi_masked = value->InterruptState.NmiMasked;
		return S_OK;
	case WHvRegisterPendingEvent:
		return set_pending_event(vp, value);
	case WHvRegisterPendingEvent1:
	case WHvRegisterPendingEvent2:
	case WHvRegisterPendingEvent3:
	case WHvX64RegisterPendingDebugException:
		return value->Reg128.Low64 || value->Reg128.High64 ? E_INVALIDARG : S_OK;
	case WHvRegisterDeliverabilityNotifications:
		vp->notify = value->DeliverabilityNotifications;
		return S_OK;
	case WHvRegisterInternalActivityState:
		vp->startup_suspend = value->InternalActivity.StartupSuspend;
		vp->halt_suspend = value->InternalActivity.HaltSuspend;
		vp->idle_suspend = value->InternalActivity.IdleSuspend;
		return S_OK;
	default:
		return WHV_E_INVALID_VP_REGISTER_NAME;
	}
}

static HRESULT get_register(struct vp *vp, WHV_REGISTER_NAME name, WHV_REGISTER_VALUE *value)
{
	struct x86_state *s = vp_state(vp);
	const uint64_t *word = plain(s, name);

	memset(value, 0, sizeof(*value));
	if (word) {
		value->Reg64 = *word;
		return S_OK;
	}
	switch (name) {
	case WHvX64RegisterRflags:
		value->Reg64 = s->rflags;
		return S_OK;
	case WHvX64RegisterEs ... WHvX64RegisterTr:
		get_segment(&value->Segment, &s->seg[name - WHvX64RegisterEs]);
		return S_OK;
	case WHvX64RegisterIdtr:
	case WHvX64RegisterGdtr: {
		const struct x86_table *t = name == WHvX64RegisterIdtr ? &s->idtr : &s->gdtr;

		value->Table.Base = t->base;
		value->Table.Limit = t->limit;
		return S_OK;
	}
	case WHvX64RegisterCr8:
		value->Reg64 = vp->lapic.tpr >> 4;
		return S_OK;
	case WHvX64RegisterXCr0:
		value->Reg64 = s->xcr0;
		return S_OK;
	case WHvX64RegisterXmm0 ... WHvX64RegisterXmm15:
		memcpy(&value->Reg128, s->fx.xmm[name - WHvX64RegisterXmm0], 16);
		return S_OK;
	case WHvX64RegisterFpMmx0 ... WHvX64RegisterFpMmx7:
		memcpy(&value->Fp, s->fx.st[name - WHvX64RegisterFpMmx0], 16);
		return S_OK;
	case WHvX64RegisterFpControlStatus:
		get_fp_control(&value->FpControlStatus, &s->fx);
		return S_OK;
	case WHvX64RegisterXmmControlStatus:
		value->XmmControlStatus.LastFpRdp = s->fx.fdp;
		value->XmmControlStatus.XmmStatusControl = s->fx.mxcsr;
		value->XmmControlStatus.XmmStatusControlMask = MXCSR_MASK;
		return S_OK;
	case WHvX64RegisterTsc:
		value->Reg64 = get_tsc(vp, s);
		return S_OK;
	default:
		if (get_activity(vp, name, value))
			return S_OK;
		return register_msr_get(vp, name, value);
	}
}

static HRESULT set_xcr0(struct vp *vp, struct x86_state *s, uint64_t value)
{
	if (!(value & 1) || (value & ~vp->partition->cpu.xcr0))
		return E_INVALIDARG;
	s->xcr0 = value;
	return S_OK;
}

static HRESULT set_register(struct vp *vp, WHV_REGISTER_NAME name, const WHV_REGISTER_VALUE *value)
{
	struct x86_state *s = vp_state(vp);
	uint64_t *word = plain(s, name);

	if (word) {
		*word = value->Reg64;
		return S_OK;
	}
	switch (name) {
	case WHvX64RegisterRflags:
		s->rflags = (value->Reg64 & RFLAGS_VALID) | X86_FLAG_1;
		return S_OK;
	case WHvX64RegisterEs ... WHvX64RegisterTr:
		set_segment(&s->seg[name - WHvX64RegisterEs], &value->Segment);
		return S_OK;
	case WHvX64RegisterIdtr:
	case WHvX64RegisterGdtr: {
		struct x86_table *t = name == WHvX64RegisterIdtr ? &s->idtr : &s->gdtr;

		t->base = value->Table.Base;
		t->limit = value->Table.Limit;
		return S_OK;
	}
	case WHvX64RegisterCr8:
		if (value->Reg64 > 15)
			return E_INVALIDARG;
		lapic_set_tpr(vp, (uint32_t)value->Reg64 << 4);
		return S_OK;
	case WHvX64RegisterXCr0:
		return set_xcr0(vp, s, value->Reg64);
	case WHvX64RegisterXmm0 ... WHvX64RegisterXmm15:
		memcpy(s->fx.xmm[name - WHvX64RegisterXmm0], &value->Reg128, 16);
		return S_OK;
	case WHvX64RegisterFpMmx0 ... WHvX64RegisterFpMmx7:
		memcpy(s->fx.st[name - WHvX64RegisterFpMmx0], &value->Fp, 10);
		return S_OK;
	case WHvX64RegisterFpControlStatus:
		set_fp_control(&s->fx, &value->FpControlStatus);
		return S_OK;
	case WHvX64RegisterXmmControlStatus:
		if (value->XmmControlStatus.XmmStatusControl & ~MXCSR_MASK)
			return E_INVALIDARG;
		s->fx.fdp = value->XmmControlStatus.LastFpRdp;
		s->fx.mxcsr = value->XmmControlStatus.XmmStatusControl;
		return S_OK;
	case WHvX64RegisterTsc:
		set_tsc(vp, s, value->Reg64);
		return S_OK;
	default: {
		HRESULT hr = set_activity(vp, name, value);

		return hr == WHV_E_INVALID_VP_REGISTER_NAME ? register_msr_set(vp, name, value)
							    : hr;
	}
	}
}

HRESULT WINAPI WHvGetVirtualProcessorRegisters(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	const WHV_REGISTER_NAME *RegisterNames, UINT32 RegisterCount,
	WHV_REGISTER_VALUE *RegisterValues)
{
	bool sound = !RegisterCount || (RegisterNames && RegisterValues);
	struct vp *vp;
	HRESULT hr = vp_claim_by_index(Partition, VpIndex, sound, &vp);

	if (FAILED(hr))
		return hr;
	for (UINT32 i = 0; i < RegisterCount && SUCCEEDED(hr); i++)
		hr = get_register(vp, RegisterNames[i], &RegisterValues[i]);
	vp_release(vp);
	return hr;
}

HRESULT WINAPI WHvSetVirtualProcessorRegisters(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	const WHV_REGISTER_NAME *RegisterNames, UINT32 RegisterCount,
	const WHV_REGISTER_VALUE *RegisterValues)
{
	bool sound = !RegisterCount || (RegisterNames && RegisterValues);
	struct vp *vp;
	HRESULT hr = vp_claim_by_index(Partition, VpIndex, sound, &vp);

	if (FAILED(hr))
		return hr;
	for (UINT32 i = 0; i < RegisterCount && SUCCEEDED(hr); i++)
		hr = set_register(vp, RegisterNames[i], &RegisterValues[i]);
	registers_update_cpl(vp_state(vp));
	vp_changed(vp);
	vp_release(vp);
	return hr;
}
