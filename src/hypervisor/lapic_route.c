/*
 * lapic_route.c - which local APICs a message is for, and what it does to them: interprocessor
 * interrupts, WHvRequestInterrupt.
 *
 * Source: Intel SDM vol. 3A, "Issuing Interprocessor Interrupts", "Logical Destination Mode",
 * "x2APIC Mode".
 */
#include "hypervisor/partition.h"

enum shorthand {
	TO_DESTINATION,
	TO_SELF,
	TO_ALL,
	TO_OTHERS,
};

static bool logical_match(const struct vp *vp, uint32_t destination)
{
	const struct lapic *a = &vp->lapic;
	uint32_t ldr = atomic_load_explicit(&a->ldr, memory_order_relaxed);

	if (atomic_load_explicit(&a->base, memory_order_relaxed) & APIC_BASE_X2APIC)
		return (ldr >> 16) == (destination >> 16) && (ldr & destination & 0xFFFF);
	if (destination > 0xFF)
		return false;
	ldr >>= 24;
	if (atomic_load_explicit(&a->dfr, memory_order_relaxed) >> 28 == 0xF)
		return ldr & destination;
	return (ldr >> 4) == (destination >> 4) && (ldr & destination & 0xF);
}

bool lapic_matches(const struct vp *vp, uint32_t destination, bool logical)
{
	/* No APIC ID is as high as 255, so that 0xFF means all in every mode. */
	if (destination == APIC_BROADCAST || destination == 0xFF)
		return true;
	return logical ? logical_match(vp, destination) : vp->lapic.id == destination;
}

bool lapic_deliver_to(struct vp *vp, const struct apic_message *message)
{
	switch (message->delivery) {
	case APIC_FIXED:
	case APIC_LOWEST:
		return lapic_post(vp, message->vector, message->level);
	case APIC_NMI:
		vp_nmi(vp);
		return true;
	case APIC_INIT:
		if (!message->deassert)
			vp_post(vp, VP_EVENT_INIT);
		return true;
	case APIC_SIPI:
		atomic_store(&vp->sipi_vector, message->vector);
		vp_post(vp, VP_EVENT_SIPI);
		return true;
	default:
		return false; /* no SMM here, and ExtINT does not travel between processors */
	}
}

static bool in_set(const struct vp *vp, const struct apic_message *message,
	enum shorthand shorthand, const struct vp *from)
{
	switch (shorthand) {
	case TO_SELF:
		return vp == from;
	case TO_ALL:
		return true;
	case TO_OTHERS:
		return vp != from;
	default:
		return lapic_matches(vp, message->destination, message->logical);
	}
}

/* Lowest priority: the least busy of those addressed; in turn where several are. */
static unsigned deliver_lowest(struct partition *p, const struct apic_message *message,
	enum shorthand shorthand, const struct vp *from)
{
	unsigned count = p->prop.processor_count;
	unsigned start = atomic_fetch_add(&p->lowest_rotor, 1) % count;
	struct vp *best = NULL;

	for (unsigned i = 0; i < count; i++) {
		struct vp *vp = partition_vp(p, (start + i) % count);

		if (vp && lapic_enabled(vp) && in_set(vp, message, shorthand, from) &&
			(!best || lapic_priority(vp) < lapic_priority(best)))
			best = vp;
	}
	return best && lapic_deliver_to(best, message);
}

static unsigned deliver(struct partition *p, const struct apic_message *message,
	enum shorthand shorthand, const struct vp *from)
{
	unsigned taken = 0;

	if (message->delivery == APIC_LOWEST)
		return deliver_lowest(p, message, shorthand, from);
	for (unsigned i = 0; i < p->prop.processor_count; i++) {
		struct vp *vp = partition_vp(p, i);

		if (vp && in_set(vp, message, shorthand, from))
			taken += lapic_deliver_to(vp, message);
	}
	return taken;
}

unsigned lapic_deliver(struct partition *p, const struct apic_message *message)
{
	return deliver(p, message, TO_DESTINATION, NULL);
}

void lapic_send(struct vp *vp, uint64_t icr)
{
	bool wide = vp->lapic.base & APIC_BASE_X2APIC;
	bool level = icr >> 15 & 1, assert = icr >> 14 & 1;
	struct apic_message message = {
		.destination = wide ? (uint32_t)(icr >> 32) : (uint32_t)(icr >> 56),
		.vector = (uint8_t)icr,
		.delivery = icr >> 8 & 7,
		.logical = icr >> 11 & 1,
		/* IPIs are edge-triggered; level means something for INIT de-assert only. */
		.deassert = level && !assert,
	};

	deliver(vp->partition, &message, icr >> 18 & 3, vp);
}

HRESULT WINAPI WHvRequestInterrupt(WHV_PARTITION_HANDLE Partition,
	const WHV_INTERRUPT_CONTROL *Interrupt, UINT32 InterruptControlSize)
{
	struct partition *p = partition_ready(Partition);
	struct apic_message message = {0};

	if (!p || !Interrupt || InterruptControlSize != sizeof(*Interrupt))
		return E_INVALIDARG;
	if (!p->apic)
		return HRESULT_FROM_WIN32(ERROR_HV_OPERATION_DENIED);
	if (Interrupt->Reserved || Interrupt->TargetVtl ||
		Interrupt->DestinationMode > WHvX64InterruptDestinationModeLogical ||
		Interrupt->TriggerMode > WHvX64InterruptTriggerModeLevel)
		return E_INVALIDARG;
	message.destination = Interrupt->Destination;
	message.vector = (uint8_t)Interrupt->Vector;
	message.logical = Interrupt->DestinationMode;
	message.level = Interrupt->TriggerMode;
	switch (Interrupt->Type) {
	case WHvX64InterruptTypeFixed:
	case WHvX64InterruptTypeLowestPriority:
		if (Interrupt->Vector < 16 || Interrupt->Vector > 255)
			return E_INVALIDARG;
		break;
	case WHvX64InterruptTypeSipi:
		if (Interrupt->Vector > 255)
			return E_INVALIDARG;
		break;
	case WHvX64InterruptTypeNmi:
	case WHvX64InterruptTypeInit:
	case WHvX64InterruptTypeLocalInt1:
		break;
	default:
		return E_INVALIDARG;
	}
	if (Interrupt->Type == WHvX64InterruptTypeLocalInt1) {
		for (unsigned i = 0; i < p->prop.processor_count; i++) {
			struct vp *vp = partition_vp(p, i);

			if (vp && lapic_matches(vp, message.destination, message.logical))
				lapic_lint(vp, LVT_LINT1);
		}
		return S_OK;
	}
	message.delivery = Interrupt->Type;
	lapic_deliver(p, &message);
	return S_OK;
}

HRESULT WINAPI WHvGetInterruptTargetVpSet(WHV_PARTITION_HANDLE Partition, UINT64 Destination,
	WHV_INTERRUPT_DESTINATION_MODE DestinationMode, UINT32 *TargetVps, UINT32 VpCount,
	UINT32 *TargetVpCount)
{
	struct partition *p = partition_ready(Partition);
	uint32_t found = 0;

	if (!p || !TargetVps || !TargetVpCount ||
		(unsigned)DestinationMode > WHvX64InterruptDestinationModeLogical ||
		VpCount < p->prop.processor_count)
		return E_INVALIDARG;
	if (!p->apic)
		return HRESULT_FROM_WIN32(ERROR_HV_OPERATION_DENIED);
	for (unsigned i = 0; i < p->prop.processor_count; i++) {
		struct vp *vp = partition_vp(p, i);

		if (vp && Destination <= UINT32_MAX &&
			lapic_matches(vp, (uint32_t)Destination,
				DestinationMode == WHvX64InterruptDestinationModeLogical))
			TargetVps[found++] = i;
	}
	*TargetVpCount = found;
	return S_OK;
}
