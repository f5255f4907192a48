/*
 * register_msr.c - registers of the API that a guest knows as MSRs or as APIC registers.
 *
 * They are read and written through the same functions as the guest's accesses, so that what is
 * refused to the guest is refused here. APIC registers are set as they are, without what writing
 * them would do: the client restores a state.
 */
#include "hypervisor/registers.h"

/* Ranges of names and the MSRs they stand for. */
static const struct {
	WHV_REGISTER_NAME first;
	unsigned count;
	uint32_t msr;
	unsigned stride;
} names[] = {
	{WHvX64RegisterMsrMtrrCap, 1, 0xFE, 1},
	{WHvX64RegisterMsrMtrrDefType, 1, 0x2FF, 1},
	{WHvX64RegisterMsrMtrrPhysBase0, 8, 0x200, 2},
	{WHvX64RegisterMsrMtrrPhysMask0, 8, 0x201, 2},
	{WHvX64RegisterMsrMtrrFix64k00000, 1, 0x250, 1},
	{WHvX64RegisterMsrMtrrFix16k80000, 2, 0x258, 1},
	{WHvX64RegisterMsrMtrrFix4kC0000, 8, 0x268, 1},
	{WHvX64RegisterMsrIa32MiscEnable, 1, 0x1A0, 1},
	{WHvX64RegisterIa32FeatureControl, 1, 0x3A, 1},
	{WHvX64RegisterTscDeadline, 1, APIC_MSR_DEADLINE, 1},
	{WHvRegisterSint0, HV_SINT_COUNT, HV_MSR_SINT0, 1},
	{WHvRegisterScontrol, 5, HV_MSR_SCONTROL, 1},
	{WHvRegisterVpRuntime, 1, HV_MSR_VP_RUNTIME, 1},
	{WHvX64RegisterHypercall, 1, HV_MSR_HYPERCALL, 1},
	{WHvRegisterGuestOsId, 1, HV_MSR_GUEST_OS_ID, 1},
	{WHvRegisterVpAssistPage, 1, HV_MSR_VP_ASSIST_PAGE, 1},
	{WHvRegisterReferenceTsc, 1, HV_MSR_REFERENCE_TSC, 1},
};

static bool find_msr(WHV_REGISTER_NAME name, uint32_t *msr)
{
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		unsigned offset = (unsigned)name - (unsigned)names[i].first;

		if (offset < names[i].count) {
			*msr = names[i].msr + offset * names[i].stride;
			return true;
		}
	}
	return false;
}

HRESULT register_msr_get(struct vp *vp, WHV_REGISTER_NAME name, WHV_REGISTER_VALUE *value)
{
	enum x86_answer answer = X86_FAULT;
	uint64_t word = 0;
	uint32_t msr;

	switch (name) {
	case WHvX64RegisterApicBase:
		value->Reg64 = vp->lapic.base;
		return S_OK;
	case WHvX64RegisterInitialApicId:
		value->Reg64 = vp->lapic.id;
		return S_OK;
	case WHvX64RegisterXss:
		return S_OK; /* no supervisor state components */
	case WHvRegisterReferenceTscSequence:
		value->Reg64 = vp->partition->reference_tsc & HV_PAGE_ENABLE;
		return S_OK;
	case WHvX64RegisterApicId ... WHvX64RegisterApicSelfIpi:
		return lapic_get(vp, name - 0x3000, &value->Reg64) ? S_OK
								   : WHV_E_INVALID_VP_REGISTER_NAME;
	default:
		break;
	}
	if (!find_msr(name, &msr))
		return WHV_E_INVALID_VP_REGISTER_NAME;
	if (msr >= HV_MSR_FIRST)
		answer = msr_synthetic_read(vp, msr, &word);
	else if (!msr_machine_read(vp, msr, &word, &answer))
		answer = X86_FAULT;
	value->Reg64 = word;
	return answer == X86_DONE ? S_OK : WHV_E_INVALID_VP_REGISTER_NAME;
}

HRESULT register_msr_set(struct vp *vp, WHV_REGISTER_NAME name, const WHV_REGISTER_VALUE *value)
{
	enum x86_answer answer = X86_FAULT;
	uint32_t msr;

	switch (name) {
	case WHvX64RegisterApicBase:
		return lapic_set_base(vp, value->Reg64) ? S_OK : E_INVALIDARG;
	case WHvX64RegisterInitialApicId:
		return value->Reg64 < 0xFF && lapic_set(vp, APIC_ID, value->Reg64) ? S_OK
										   : E_INVALIDARG;
	case WHvX64RegisterXss:
		return value->Reg64 ? E_INVALIDARG : S_OK;
	case WHvX64RegisterApicId ... WHvX64RegisterApicSelfIpi:
		return lapic_set(vp, name - 0x3000, value->Reg64) ? S_OK
								  : WHV_E_INVALID_VP_REGISTER_NAME;
	default:
		break;
	}
	if (!find_msr(name, &msr))
		return WHV_E_INVALID_VP_REGISTER_NAME;
	if (msr >= HV_MSR_FIRST)
		answer = msr_synthetic_write(vp, msr, value->Reg64);
	else if (!msr_machine_write(vp, msr, value->Reg64, &answer))
		answer = X86_FAULT;
	return answer == X86_DONE ? S_OK : E_INVALIDARG;
}
