/*
 * msr_synthetic.c - the MSRs at 0x40000000 that the hypervisor itself answers.
 *
 * Each needs the privilege that CPUID 0x40000003 shows for it; without it, and where the TLFS says
 * so, the access raises #GP. Reset and crash MSRs are the client's (msr.c).
 *
 * Overlay pages (hypercall page, reference TSC page, VP assist page, SynIC pages) are written into
 * the guest's own memory at the address the guest chose. What lay there is not preserved: the TLFS
 * asks guests not to use it.
 */
#include "hypervisor/partition.h"

#include <stddef.h>

#define PAGE_FILL 0xCC

static uint32_t needed_privilege(uint32_t msr)
{
	switch (msr) {
	case HV_MSR_GUEST_OS_ID:
	case HV_MSR_HYPERCALL:
		return HV_PRIV_HYPERCALL;
	case HV_MSR_VP_INDEX:
		return HV_PRIV_VP_INDEX;
	case HV_MSR_VP_RUNTIME:
		return HV_PRIV_VP_RUNTIME;
	case HV_MSR_TIME_REF_COUNT:
		return HV_PRIV_REFERENCE_COUNT;
	case HV_MSR_REFERENCE_TSC:
		return HV_PRIV_REFERENCE_TSC;
	case HV_MSR_TSC_FREQUENCY:
	case HV_MSR_APIC_FREQUENCY:
		return HV_PRIV_FREQUENCY;
	case HV_MSR_EOI ... HV_MSR_VP_ASSIST_PAGE:
		return HV_PRIV_INTR_CTRL;
	case HV_MSR_SCONTROL ... HV_MSR_EOM:
	case HV_MSR_SINT0 ... HV_MSR_SINT15:
		return HV_PRIV_SYNIC;
	case HV_MSR_STIMER0_CONFIG ... HV_MSR_STIMER3_COUNT:
		return HV_PRIV_STIMER;
	case HV_MSR_GUEST_IDLE:
		return HV_PRIV_GUEST_IDLE;
	case HV_MSR_TSC_INVARIANT_CONTROL:
		return HV_PRIV_TSC_INVARIANT;
	default:
		return 0; /* there is no such register */
	}
}

/*
 * The virtual processor idle sleep state: until an interrupt is requested, whatever RFLAGS.IF and the
 * processor's priority say. Linux waits for spinlocks so, also in interrupt handlers and before it
 * has enabled its local APIC. The interrupt that is to end that wait would be lost at a disabled
 * APIC, so there the processor does not sleep.
 */
static void enter_idle(struct vp *vp)
{
	if (!lapic_enabled(vp) || lapic_requested(vp))
		return;
	vp->idle_suspend = true;
	vp->engine->vp_stop(vp->engine_vp);
}

enum x86_answer msr_synthetic_read(struct vp *vp, uint32_t msr, uint64_t *value)
{
	struct partition *p = vp->partition;

	if (!(p->privileges[0] & needed_privilege(msr)))
		return X86_FAULT;
	switch (msr) {
	case HV_MSR_GUEST_OS_ID:
		*value = p->guest_os_id;
		return X86_DONE;
	case HV_MSR_HYPERCALL:
		*value = p->hypercall;
		return X86_DONE;
	case HV_MSR_VP_INDEX:
		*value = vp->index;
		return X86_DONE;
	case HV_MSR_VP_RUNTIME:
		*value = vp_runtime(vp);
		return X86_DONE;
	case HV_MSR_TIME_REF_COUNT:
		*value = clock_ref(&p->clock);
		return X86_DONE;
	case HV_MSR_REFERENCE_TSC:
		*value = p->reference_tsc;
		return X86_DONE;
	case HV_MSR_TSC_FREQUENCY:
		*value = p->clock.tsc_hz;
		return X86_DONE;
	case HV_MSR_APIC_FREQUENCY:
		*value = p->prop.interrupt_frequency;
		return X86_DONE;
	case HV_MSR_ICR:
		*value = vp->lapic.icr;
		return X86_DONE;
	case HV_MSR_TPR:
		*value = vp->lapic.tpr;
		return X86_DONE;
	case HV_MSR_VP_ASSIST_PAGE:
		*value = vp->assist_page;
		return X86_DONE;
	case HV_MSR_SCONTROL ... HV_MSR_EOM:
	case HV_MSR_SINT0 ... HV_MSR_SINT15:
		return synic_msr_read(vp, msr, value);
	case HV_MSR_STIMER0_CONFIG ... HV_MSR_STIMER3_COUNT:
		return stimer_msr_read(vp, msr, value);
	case HV_MSR_GUEST_IDLE:
		*value = 0;
		enter_idle(vp);
		return X86_DONE;
	case HV_MSR_TSC_INVARIANT_CONTROL:
		*value = p->tsc_invariant;
		return X86_DONE;
	default:
		return X86_FAULT; /* EOI is write-only */
	}
}

/* Is the page that @value names inside the guest physical address space? */
static bool in_space(const struct partition *p, uint64_t value)
{
	return !(HV_PAGE_GPA(value) >> p->prop.physical_width);
}

static void write_hypercall_page(struct partition *p, uint64_t gpa)
{
	uint8_t page[HV_PAGE_SIZE];
	unsigned i;

	for (i = 0; i < p->info.hypercall_code_size; i++)
		page[i] = p->info.hypercall_code[i];
	for (; i < sizeof(page); i++)
		page[i] = PAGE_FILL;
	memory_write(&p->memory, gpa, page, sizeof(page));
}

static enum x86_answer write_hypercall(struct partition *p, uint64_t value)
{
	if (!in_space(p, value))
		return X86_FAULT;
	pthread_mutex_lock(&p->msr_lock);
	if (p->hypercall & HV_HYPERCALL_LOCKED) {
		pthread_mutex_unlock(&p->msr_lock);
		return X86_FAULT;
	}
	/* Without an identity the enable bit stays zero. */
	if (!p->guest_os_id)
		value &= ~HV_PAGE_ENABLE;
	p->hypercall = value;
	pthread_mutex_unlock(&p->msr_lock);
	if (value & HV_PAGE_ENABLE)
		write_hypercall_page(p, HV_PAGE_GPA(value));
	return X86_DONE;
}

static void write_guest_os_id(struct partition *p, uint64_t value)
{
	pthread_mutex_lock(&p->msr_lock);
	p->guest_os_id = value;
	if (!value)
		p->hypercall &= ~HV_PAGE_ENABLE;
	pthread_mutex_unlock(&p->msr_lock);
}

void msr_update_reference_page(struct partition *p)
{
	struct hv_reference_tsc_page page = {
		.sequence = 1,
		.scale = p->clock.scale,
		.offset = p->clock.ref_offset,
	};
	uint64_t value = p->reference_tsc, gpa = HV_PAGE_GPA(value);
	uint32_t invalid = 0;

	if (!(value & HV_PAGE_ENABLE))
		return;
	/* Sequence 0 while scale and offset change; then the sequence last. */
	if (memory_write(&p->memory, gpa, &invalid, sizeof(invalid)))
		return;
	memory_write(&p->memory, gpa + offsetof(struct hv_reference_tsc_page, reserved),
		&page.reserved, sizeof(page) - sizeof(page.sequence));
	atomic_thread_fence(memory_order_seq_cst);
	memory_write(&p->memory, gpa, &page.sequence, sizeof(page.sequence));
}

static enum x86_answer write_reference_tsc(struct partition *p, uint64_t value)
{
	if (!in_space(p, value))
		return X86_FAULT;
	if (value & HV_PAGE_ENABLE)
		memory_zero(&p->memory, HV_PAGE_GPA(value), HV_PAGE_SIZE);
	p->reference_tsc = value;
	msr_update_reference_page(p);
	return X86_DONE;
}

static enum x86_answer write_assist_page(struct vp *vp, uint64_t value)
{
	if (!in_space(vp->partition, value))
		return X86_FAULT;
	/* "No EOI required" is never set here, so that zeros are all the page ever says. */
	if (value & HV_PAGE_ENABLE)
		memory_zero(&vp->partition->memory, HV_PAGE_GPA(value), HV_PAGE_SIZE);
	vp->assist_page = value;
	return X86_DONE;
}

enum x86_answer msr_synthetic_write(struct vp *vp, uint32_t msr, uint64_t value)
{
	struct partition *p = vp->partition;

	if (!(p->privileges[0] & needed_privilege(msr)))
		return X86_FAULT;
	switch (msr) {
	case HV_MSR_GUEST_OS_ID:
		write_guest_os_id(p, value);
		return X86_DONE;
	case HV_MSR_HYPERCALL:
		return write_hypercall(p, value);
	case HV_MSR_REFERENCE_TSC:
		return write_reference_tsc(p, value);
	case HV_MSR_EOI:
		if (value >> 32)
			return X86_FAULT;
		lapic_end(vp);
		return X86_DONE;
	case HV_MSR_ICR:
		return lapic_write_icr(vp, value);
	case HV_MSR_TPR:
		if (value >> 8)
			return X86_FAULT;
		vp->apic_counters.TprAccessCount++;
		lapic_set_tpr(vp, (uint32_t)value);
		return X86_DONE;
	case HV_MSR_VP_ASSIST_PAGE:
		return write_assist_page(vp, value);
	case HV_MSR_SCONTROL ... HV_MSR_EOM:
	case HV_MSR_SINT0 ... HV_MSR_SINT15:
		return synic_msr_write(vp, msr, value);
	case HV_MSR_STIMER0_CONFIG ... HV_MSR_STIMER3_COUNT:
		return stimer_msr_write(vp, msr, value);
	case HV_MSR_TSC_INVARIANT_CONTROL:
		if (value & ~1ull)
			return X86_FAULT;
		p->tsc_invariant |= (uint32_t)value;
		return X86_DONE;
	default:
		return X86_FAULT; /* read-only: VP index, run time, counters, frequencies, idle */
	}
}
