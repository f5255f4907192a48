/*
 * hypercall_ipi.c - HvCallSendSyntheticClusterIpi and its Ex form, and HvCallNotifyLongSpinWait.
 *
 * Source: TLFS "Virtual Interrupts", "Guest Spinlocks".
 */
#include "hypervisor/hypercall.h"

#include <sched.h>

#define AT_VECTOR 0u
#define AT_VTL	  4u
#define AT_MASK	  8u

static enum hv_status send(struct hypercall *h, uint64_t mask)
{
	struct partition *p = h->vp->partition;
	uint32_t vector = hypercall_u32(h, AT_VECTOR);

	if (!p->apic)
		return HV_STATUS_OPERATION_DENIED;
	/* There is one virtual trust level, and the padding after it is zero. */
	if (vector < 0x10 || vector > 0xFF || hypercall_u32(h, AT_VTL))
		return HV_STATUS_INVALID_PARAMETER;
	h->vp->synthetic_counters.SyntheticInterruptHypercallsCount++;
	while (mask) {
		unsigned index = (unsigned)__builtin_ctzll(mask);
		struct vp *vp = partition_vp(p, index);

		mask &= mask - 1;
		if (vp)
			lapic_post(vp, (uint8_t)vector, false);
	}
	return HV_STATUS_SUCCESS;
}

enum hv_status hypercall_send_ipi(struct hypercall *h)
{
	return send(h, hypercall_u64(h, AT_MASK) & hypercall_all_vps(h->vp->partition));
}

enum hv_status hypercall_send_ipi_ex(struct hypercall *h)
{
	uint64_t mask;
	enum hv_status status = hypercall_vp_set(h, AT_MASK, &mask);

	return status == HV_STATUS_SUCCESS ? send(h, mask) : status;
}

enum hv_status hypercall_long_spin_wait(struct hypercall *h)
{
	h->vp->synthetic_counters.LongSpinWaitHypercallsCount++;
	/* Whoever holds the lock may be waiting for this host processor. */
	sched_yield();
	return HV_STATUS_SUCCESS;
}
