/*
 * counters.c - WHvGetPartitionCounters, WHvGetVirtualProcessorCounters.
 *
 * Each counter is written by its vp's own thread and may be read meanwhile: a value read is one
 * that was true a moment ago. Times of single intercepts are not kept and read as 0.
 */
#include "hypervisor/partition.h"

#include <string.h>

static HRESULT give(const void *from, uint32_t need, void *buffer, uint32_t size, uint32_t *written)
{
	if (written)
		*written = need;
	if (size < need)
		return WHV_E_INSUFFICIENT_BUFFER;
	if (!buffer)
		return E_POINTER;
	memcpy(buffer, from, need);
	return S_OK;
}

HRESULT WINAPI WHvGetPartitionCounters(WHV_PARTITION_HANDLE Partition,
	WHV_PARTITION_COUNTER_SET CounterSet, VOID *Buffer, UINT32 BufferSizeInBytes,
	UINT32 *BytesWritten)
{
	struct partition *p = partition_ready(Partition);
	WHV_PARTITION_MEMORY_COUNTERS memory = {0};

	if (!p || CounterSet != WHvPartitionCounterSetMemory)
		return E_INVALIDARG;
	memory.Mapped4KPageCount = memory_pages(&p->memory);
	return give(&memory, sizeof(memory), Buffer, BufferSizeInBytes, BytesWritten);
}

HRESULT WINAPI WHvGetVirtualProcessorCounters(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	WHV_PROCESSOR_COUNTER_SET CounterSet, VOID *Buffer, UINT32 BufferSizeInBytes,
	UINT32 *BytesWritten)
{
	struct partition *p = partition_ready(Partition);
	struct vp *vp = p ? partition_vp(p, VpIndex) : NULL;
	WHV_PROCESSOR_RUNTIME_COUNTERS runtime = {0};

	if (!p)
		return E_INVALIDARG;
	if (!vp)
		return WHV_E_VP_DOES_NOT_EXIST;
	switch (CounterSet) {
	case WHvProcessorCounterSetRuntime:
		runtime.TotalRuntime100ns = vp_runtime(vp);
		return give(&runtime, sizeof(runtime), Buffer, BufferSizeInBytes, BytesWritten);
	case WHvProcessorCounterSetIntercepts:
		return give(&vp->intercepts, sizeof(vp->intercepts), Buffer, BufferSizeInBytes,
			BytesWritten);
	case WHvProcessorCounterSetEvents:
		return give(&vp->guest_events, sizeof(vp->guest_events), Buffer, BufferSizeInBytes,
			BytesWritten);
	case WHvProcessorCounterSetApic:
		return give(&vp->apic_counters, sizeof(vp->apic_counters), Buffer,
			BufferSizeInBytes, BytesWritten);
	case WHvProcessorCounterSetSyntheticFeatures:
		return give(&vp->synthetic_counters, sizeof(vp->synthetic_counters), Buffer,
			BufferSizeInBytes, BytesWritten);
	default:
		return E_INVALIDARG;
	}
}
