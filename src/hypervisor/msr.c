/*
 * msr.c - which model-specific register is whose: the client's, the TLFS's, the local APIC's, the
 * machine's.
 *
 * The engine owns what x86.h says it owns (EFER, the system call and segment base MSRs, TSC, PAT);
 * every other RDMSR and WRMSR comes here. X86_FAULT raises #GP(0).
 */
#include "hypervisor/partition.h"

#define MSR_MISC_ENABLE 0x1A0u
#define MSR_UCODE_REV	0x8Bu

/* Does the client want this access for itself? */
static bool client_wants(const struct partition *p, uint32_t msr, bool write)
{
	const WHV_X64_MSR_EXIT_BITMAP bits = p->prop.msr_exits;

	if (!p->prop.exits.X64MsrExit)
		return false;
	switch (msr) {
	case APIC_MSR_BASE:
		return write && bits.ApicBaseMsrWrite;
	case MSR_MISC_ENABLE:
		return !write && bits.MiscEnableMsrRead;
	case MSR_UCODE_REV:
		return !write && bits.McUpdatePatchLevelMsrRead;
	default:
		return false;
	}
}

static WHV_MSR_ACTION listed_action(const struct partition *p, uint32_t msr, bool write)
{
	for (unsigned i = 0; i < p->prop.msr_action_count; i++) {
		const WHV_MSR_ACTION_ENTRY *entry = &p->prop.msr_actions[i];

		if (entry->Index == msr)
			return write ? entry->WriteAction : entry->ReadAction;
	}
	return WHvMsrActionArchitectureDefault;
}

/* Nobody here knows this register. */
static enum x86_answer unknown(const struct partition *p)
{
	if (p->prop.exits.X64MsrExit && p->prop.msr_exits.UnhandledMsrs)
		return X86_EXIT;
	switch (p->prop.unimplemented_msr) {
	case WHvMsrActionIgnoreWriteReadZero:
		return X86_DONE;
	case WHvMsrActionExit:
		return X86_EXIT;
	default:
		return X86_FAULT;
	}
}

/* The client handles crash and reset itself, as it does all that nobody here handles. */
static bool clients_synthetic(uint32_t msr)
{
	return msr == HV_MSR_RESET || (msr >= HV_MSR_CRASH_P0 && msr <= HV_MSR_CRASH_CTL);
}

/* X86_DONE: go on to the register itself. */
static enum x86_answer before_access(struct vp *vp, uint32_t msr, bool write, bool *ignore)
{
	const struct partition *p = vp->partition;
	WHV_MSR_ACTION action = listed_action(p, msr, write);

	vp->intercepts.MsrAccesses.Count++;
	*ignore = action == WHvMsrActionIgnoreWriteReadZero;
	if (action == WHvMsrActionExit || client_wants(p, msr, write))
		return X86_EXIT;
	return X86_DONE;
}

enum x86_answer msr_read(struct vp *vp, uint32_t msr, uint64_t *value)
{
	bool ignore;
	enum x86_answer answer = before_access(vp, msr, false, &ignore);

	*value = 0;
	if (answer != X86_DONE || ignore)
		return answer;
	if (msr >= HV_MSR_FIRST && msr <= HV_MSR_LAST && !clients_synthetic(msr))
		return msr_synthetic_read(vp, msr, value);
	if (msr >= APIC_MSR_FIRST && msr <= APIC_MSR_LAST)
		return lapic_msr_read(vp, msr, value);
	if (msr_machine_read(vp, msr, value, &answer))
		return answer;
	return unknown(vp->partition);
}

enum x86_answer msr_write(struct vp *vp, uint32_t msr, uint64_t value)
{
	bool ignore;
	enum x86_answer answer = before_access(vp, msr, true, &ignore);

	if (answer != X86_DONE || ignore)
		return answer;
	if (msr >= HV_MSR_FIRST && msr <= HV_MSR_LAST && !clients_synthetic(msr))
		return msr_synthetic_write(vp, msr, value);
	if (msr >= APIC_MSR_FIRST && msr <= APIC_MSR_LAST)
		return lapic_msr_write(vp, msr, value);
	if (msr_machine_write(vp, msr, value, &answer))
		return answer;
	return unknown(vp->partition);
}
