/*
 * vp_ops.c - what an engine asks while it executes: CPUID, MSRs, memory that is not there,
 * hypercalls, the next interrupt. All on the vp's own thread.
 */
#include "hypervisor/partition.h"

static enum x86_answer ops_cpuid(void *ctx, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	struct vp *vp = ctx;

	vp->intercepts.CpuidInstructions.Count++;
	if (cpuid_exits(vp->partition, leaf))
		return X86_EXIT;
	cpuid_query(vp, leaf, subleaf, out);
	return X86_DONE;
}

static enum x86_answer ops_rdmsr(void *ctx, uint32_t msr, uint64_t *value)
{
	return msr_read(ctx, msr, value);
}

static enum x86_answer ops_wrmsr(void *ctx, uint32_t msr, uint64_t value)
{
	return msr_write(ctx, msr, value);
}

static enum x86_answer ops_mmio_read(void *ctx, uint64_t gpa, unsigned size, uint64_t *value)
{
	struct vp *vp = ctx;

	if (!lapic_mmio(vp, gpa))
		return X86_EXIT;
	*value = lapic_mmio_read(vp, gpa, size);
	return X86_DONE;
}

static enum x86_answer ops_mmio_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	struct vp *vp = ctx;

	if (lapic_mmio(vp, gpa)) {
		lapic_mmio_write(vp, gpa, size, value);
		return X86_DONE;
	}
	return ports_doorbell(&vp->partition->ports, gpa, size, value) ? X86_DONE : X86_EXIT;
}

static enum x86_answer ops_hypercall(void *ctx)
{
	return hypercall_dispatch(ctx);
}

static int ops_interrupt(void *ctx)
{
	struct vp *vp = ctx;

	if ((atomic_load_explicit(&vp->events, memory_order_relaxed) & VP_EVENT_TIMER) &&
		(atomic_fetch_and(&vp->events, ~VP_EVENT_TIMER) & VP_EVENT_TIMER))
		vp_expire_timers(vp);
	if (vp->extint_pending) {
		vp->extint_pending = false;
		vp->guest_events.InterruptCount++;
		if (lapic_pending(vp) >= 0)
			vp_notify(vp);
		return vp->extint_vector;
	}
	return lapic_take(vp);
}

static uint64_t ops_read_cr8(void *ctx)
{
	struct vp *vp = ctx;

	return vp->lapic.tpr >> 4;
}

static void ops_write_cr8(void *ctx, uint64_t value)
{
	struct vp *vp = ctx;

	vp->apic_counters.TprAccessCount++;
	lapic_set_tpr(vp, (uint32_t)(value & 15) << 4);
}

const struct x86_ops vp_ops = {
	.cpuid = ops_cpuid,
	.rdmsr = ops_rdmsr,
	.wrmsr = ops_wrmsr,
	.mmio_read = ops_mmio_read,
	.mmio_write = ops_mmio_write,
	.hypercall = ops_hypercall,
	.interrupt = ops_interrupt,
	.read_cr8 = ops_read_cr8,
	.write_cr8 = ops_write_cr8,
};
