/*
 * property.c - partition properties: their defaults, and WHvGet/SetPartitionProperty.
 *
 * Most can be set only before WHvSetupPartition; the exit selections and the reference time also
 * afterwards. A buffer may be larger than its property: programs pass a whole
 * WHV_PARTITION_PROPERTY. It is copied before it is looked at.
 */
#include "hypervisor/partition.h"

#include <stdlib.h>
#include <string.h>

#define LIST_MAX	   1024u /* elements of a list property */
#define CPU_CAP_DEFAULT	   0x10000u
#define CPU_WEIGHT_DEFAULT 100u

void properties_init(
	struct properties *prop, const struct engine *engine, const struct engine_info *info)
{
	memset(prop, 0, sizeof(*prop));
	prop->features = capability_features(info);
	prop->features.Bank1.TscInvariantSupport = 0; /* must be asked for */
	prop->xsave = capability_xsave(info);
	prop->synthetic = capability_synthetic(engine);
	prop->msr_exits.UnhandledMsrs = 1;
	prop->clock_frequency = clock_host_hz();
	prop->interrupt_frequency = APIC_HZ_DEFAULT;
	prop->physical_width = info->physical_bits;
	prop->clflush_size = 8;
	prop->cpu_cap = CPU_CAP_DEFAULT;
	prop->cpu_weight = CPU_WEIGHT_DEFAULT;
}

void properties_free(struct properties *prop)
{
	free(prop->cpuid_exits);
	free(prop->cpuid_results);
	free(prop->cpuid_results2);
	free(prop->msr_actions);
}

static bool settable_after_setup(WHV_PARTITION_PROPERTY_CODE code)
{
	switch (code) {
	case WHvPartitionPropertyCodeExtendedVmExits:
	case WHvPartitionPropertyCodeExceptionExitBitmap:
	case WHvPartitionPropertyCodeX64MsrExitBitmap:
	case WHvPartitionPropertyCodeCpuidExitList:
	case WHvPartitionPropertyCodeReferenceTime:
	case WHvPartitionPropertyCodeCpuReserve:
	case WHvPartitionPropertyCodeCpuCap:
	case WHvPartitionPropertyCodeCpuWeight:
	case WHvPartitionPropertyCodeCpuGroupId:
	case WHvPartitionPropertyCodeProcessorFrequencyCap:
		return true;
	default:
		return false;
	}
}

/* Replace a list property; an empty buffer makes it empty. */
static HRESULT set_list(
	void **list, unsigned *count, size_t element, const void *buffer, uint32_t size)
{
	void *copy = NULL;

	if (size % element || size / element > LIST_MAX)
		return E_INVALIDARG;
	if (size) {
		copy = malloc(size);
		if (!copy)
			return E_OUTOFMEMORY;
		memcpy(copy, buffer, size);
	}
	free(*list);
	*list = copy;
	*count = (unsigned)(size / element);
	return S_OK;
}

static HRESULT set_features(struct partition *p, const WHV_PROCESSOR_FEATURES_BANKS *banks)
{
	WHV_PROCESSOR_FEATURES_BANKS offered = capability_features(&p->info), wanted = {0};

	if (!banks->BanksCount || banks->BanksCount > WHV_PROCESSOR_FEATURES_BANKS_COUNT)
		return E_INVALIDARG;
	wanted.BanksCount = WHV_PROCESSOR_FEATURES_BANKS_COUNT;
	for (unsigned i = 0; i < banks->BanksCount; i++) {
		wanted.AsUINT64[i] = banks->AsUINT64[i];
		if (wanted.AsUINT64[i] & ~offered.AsUINT64[i])
			return WHV_E_UNSUPPORTED_PROCESSOR_CONFIG;
	}
	p->prop.features = wanted;
	return S_OK;
}

static HRESULT set_synthetic(
	struct partition *p, const WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS *banks)
{
	if (banks->BanksCount != WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS_COUNT)
		return E_INVALIDARG;
	if (banks->AsUINT64[0] & ~capability_synthetic(p->engine).AsUINT64)
		return WHV_E_UNSUPPORTED_PROCESSOR_CONFIG;
	p->prop.synthetic = banks->Bank0;
	return S_OK;
}

/* All vps are claimed. */
static HRESULT set_reference_time(struct partition *p, uint64_t time)
{
	if (!p->ready)
		return WHV_E_INVALID_PARTITION_CONFIG;
	p->clock.ref_offset += (int64_t)(time - clock_ref(&p->clock));
	for (unsigned i = 0; i < p->prop.processor_count; i++) {
		struct vp *vp = partition_vp(p, i);

		if (vp) {
			stimers_rearm(vp);
			vp_rearm(vp);
		}
	}
	msr_update_reference_page(p);
	return S_OK;
}

/* Every property that is one value: where it lies and how large it is. */
static void *scalar(struct properties *prop, WHV_PARTITION_PROPERTY_CODE code, UINT32 *size)
{
#define AT(field)                                                                                  \
	do {                                                                                       \
		*size = sizeof(prop->field);                                                       \
		return &prop->field;                                                               \
	} while (0)
	switch (code) {
	case WHvPartitionPropertyCodeExtendedVmExits:
		AT(exits);
	case WHvPartitionPropertyCodeExceptionExitBitmap:
		AT(exception_exits);
	case WHvPartitionPropertyCodeSeparateSecurityDomain:
		AT(separate_domain);
	case WHvPartitionPropertyCodeNestedVirtualization:
		AT(nested);
	case WHvPartitionPropertyCodeX64MsrExitBitmap:
		AT(msr_exits);
	case WHvPartitionPropertyCodePrimaryNumaNode:
		AT(numa_node);
	case WHvPartitionPropertyCodeCpuReserve:
		AT(cpu_reserve);
	case WHvPartitionPropertyCodeCpuCap:
		AT(cpu_cap);
	case WHvPartitionPropertyCodeCpuWeight:
		AT(cpu_weight);
	case WHvPartitionPropertyCodeCpuGroupId:
		AT(cpu_group);
	case WHvPartitionPropertyCodeProcessorFrequencyCap:
		AT(frequency_cap);
	case WHvPartitionPropertyCodeAllowDeviceAssignment:
		AT(device_assignment);
	case WHvPartitionPropertyCodeDisableSmt:
		AT(disable_smt);
	case WHvPartitionPropertyCodeProcessorFeatures:
		AT(features.Bank0);
	case WHvPartitionPropertyCodeProcessorClFlushSize:
		AT(clflush_size);
	case WHvPartitionPropertyCodeLocalApicEmulationMode:
		AT(apic_mode);
	case WHvPartitionPropertyCodeProcessorXsaveFeatures:
		AT(xsave);
	case WHvPartitionPropertyCodeProcessorClockFrequency:
		AT(clock_frequency);
	case WHvPartitionPropertyCodeInterruptClockFrequency:
		AT(interrupt_frequency);
	case WHvPartitionPropertyCodeApicRemoteReadSupport:
		AT(apic_remote_read);
	case WHvPartitionPropertyCodeProcessorPerfmonFeatures:
		AT(perfmon);
	case WHvPartitionPropertyCodeUnimplementedMsrAction:
		AT(unimplemented_msr);
	case WHvPartitionPropertyCodePhysicalAddressWidth:
		AT(physical_width);
	case WHvPartitionPropertyCodeProcessorCount:
		AT(processor_count);
	default:
		return NULL;
	}
#undef AT
}

/* Is @value, already copied, acceptable? */
static HRESULT check(const struct partition *p, WHV_PARTITION_PROPERTY_CODE code,
	const WHV_PARTITION_PROPERTY *value)
{
	switch (code) {
	case WHvPartitionPropertyCodeExtendedVmExits:
		return value->ExtendedVmExits.AsUINT64 & ~capability_exits(&p->info).AsUINT64
			       ? E_INVALIDARG
			       : S_OK;
	case WHvPartitionPropertyCodeExceptionExitBitmap:
		return value->ExceptionExitBitmap & ~capability_exceptions(&p->info) ? E_INVALIDARG
										     : S_OK;
	case WHvPartitionPropertyCodeX64MsrExitBitmap:
		return value->X64MsrExitBitmap.AsUINT64 & ~capability_msr_exits().AsUINT64
			       ? E_INVALIDARG
			       : S_OK;
	case WHvPartitionPropertyCodeNestedVirtualization:
	case WHvPartitionPropertyCodeAllowDeviceAssignment:
	case WHvPartitionPropertyCodeApicRemoteReadSupport:
		return value->NestedVirtualization ? HRESULT_FROM_WIN32(ERROR_NOT_SUPPORTED) : S_OK;
	case WHvPartitionPropertyCodeProcessorFeatures:
		return value->ProcessorFeatures.AsUINT64 &
				       ~capability_features(&p->info).AsUINT64[0]
			       ? WHV_E_UNSUPPORTED_PROCESSOR_CONFIG
			       : S_OK;
	case WHvPartitionPropertyCodeProcessorClFlushSize:
		return value->ProcessorClFlushSize == 8 ? S_OK : WHV_E_UNSUPPORTED_PROCESSOR_CONFIG;
	case WHvPartitionPropertyCodeLocalApicEmulationMode:
		return (unsigned)value->LocalApicEmulationMode > WHvX64LocalApicEmulationModeX2Apic
			       ? E_INVALIDARG
			       : S_OK;
	case WHvPartitionPropertyCodeProcessorXsaveFeatures:
		return value->ProcessorXsaveFeatures.AsUINT64 & ~capability_xsave(&p->info).AsUINT64
			       ? WHV_E_UNSUPPORTED_PROCESSOR_CONFIG
			       : S_OK;
	case WHvPartitionPropertyCodeProcessorClockFrequency:
		/* The guest's TSC runs at the host's rate. */
		return value->ProcessorClockFrequency == clock_host_hz()
			       ? S_OK
			       : HRESULT_FROM_WIN32(ERROR_NOT_SUPPORTED);
	case WHvPartitionPropertyCodeInterruptClockFrequency:
		return value->InterruptClockFrequency < 1000000 ||
				       value->InterruptClockFrequency > 10000000000u
			       ? E_INVALIDARG
			       : S_OK;
	case WHvPartitionPropertyCodeProcessorPerfmonFeatures:
		return value->ProcessorPerfmonFeatures.AsUINT64 ? WHV_E_UNSUPPORTED_PROCESSOR_CONFIG
								: S_OK;
	case WHvPartitionPropertyCodeUnimplementedMsrAction:
		return (unsigned)value->UnimplementedMsrAction > WHvMsrActionExit ? E_INVALIDARG
										  : S_OK;
	case WHvPartitionPropertyCodePhysicalAddressWidth:
		return value->PhysicalAddressWidth < 36 ||
				       value->PhysicalAddressWidth > p->info.physical_bits
			       ? E_INVALIDARG
			       : S_OK;
	case WHvPartitionPropertyCodeProcessorCount:
		return value->ProcessorCount < 1 || value->ProcessorCount > VP_MAX ? E_INVALIDARG
										   : S_OK;
	default:
		return S_OK;
	}
}

static HRESULT set_lists(struct partition *p, WHV_PARTITION_PROPERTY_CODE code, const void *buffer,
	uint32_t size, bool *known)
{
	struct properties *prop = &p->prop;

	*known = true;
	switch (code) {
	case WHvPartitionPropertyCodeCpuidExitList:
		return set_list((void **)&prop->cpuid_exits, &prop->cpuid_exit_count,
			sizeof(*prop->cpuid_exits), buffer, size);
	case WHvPartitionPropertyCodeCpuidResultList:
		return set_list((void **)&prop->cpuid_results, &prop->cpuid_result_count,
			sizeof(*prop->cpuid_results), buffer, size);
	case WHvPartitionPropertyCodeCpuidResultList2:
		return set_list((void **)&prop->cpuid_results2, &prop->cpuid_result2_count,
			sizeof(*prop->cpuid_results2), buffer, size);
	case WHvPartitionPropertyCodeMsrActionList:
		return set_list((void **)&prop->msr_actions, &prop->msr_action_count,
			sizeof(*prop->msr_actions), buffer, size);
	default:
		*known = false;
		return S_OK;
	}
}

/* The selections of exits that engines must know; all vps are claimed. */
static void exits_changed(struct partition *p)
{
	uint64_t exceptions = p->prop.exits.ExceptionExit ? p->prop.exception_exits : 0;

	for (unsigned i = 0; i < p->prop.processor_count; i++) {
		struct vp *vp = partition_vp(p, i);

		if (vp && p->info.exception_exits)
			p->engine->vp_intercept_exceptions(vp->engine_vp, exceptions);
	}
}

static HRESULT set_locked(
	struct partition *p, WHV_PARTITION_PROPERTY_CODE code, const void *buffer, uint32_t size)
{
	WHV_PARTITION_PROPERTY value;
	bool is_list;
	void *field;
	UINT32 need;
	HRESULT hr;

	if (p->ready && !settable_after_setup(code))
		return HRESULT_FROM_WIN32(ERROR_INVALID_STATE);
	hr = set_lists(p, code, buffer, size, &is_list);
	if (is_list)
		return hr;
	if (size > sizeof(value))
		size = sizeof(value);
	memset(&value, 0, sizeof(value));
	memcpy(&value, buffer, size);
	switch (code) {
	case WHvPartitionPropertyCodeProcessorFeaturesBanks:
		return size >= sizeof(value.ProcessorFeaturesBanks)
			       ? set_features(p, &value.ProcessorFeaturesBanks)
			       : E_INVALIDARG;
	case WHvPartitionPropertyCodeSyntheticProcessorFeaturesBanks:
		return size >= sizeof(value.SyntheticProcessorFeaturesBanks)
			       ? set_synthetic(p, &value.SyntheticProcessorFeaturesBanks)
			       : E_INVALIDARG;
	case WHvPartitionPropertyCodeReferenceTime:
		return size >= sizeof(value.ReferenceTime)
			       ? set_reference_time(p, value.ReferenceTime)
			       : E_INVALIDARG;
	default:
		break;
	}
	field = scalar(&p->prop, code, &need);
	if (!field)
		return WHV_E_UNKNOWN_PROPERTY;
	if (size < need)
		return E_INVALIDARG;
	hr = check(p, code, &value);
	if (FAILED(hr))
		return hr;
	memcpy(field, &value, need);
	if (p->ready)
		exits_changed(p);
	return S_OK;
}

HRESULT WINAPI WHvSetPartitionProperty(WHV_PARTITION_HANDLE Partition,
	WHV_PARTITION_PROPERTY_CODE PropertyCode, const VOID *PropertyBuffer,
	UINT32 PropertyBufferSizeInBytes)
{
	struct partition *p = partition_from(Partition);
	HRESULT hr;

	if (!p || (!PropertyBuffer && PropertyBufferSizeInBytes))
		return E_INVALIDARG;
	pthread_mutex_lock(&p->lock);
	/* Running vps read properties without a lock. */
	if (partition_claim_vps(p)) {
		hr = set_locked(p, PropertyCode, PropertyBuffer, PropertyBufferSizeInBytes);
		partition_release_vps(p);
	} else {
		hr = WHV_E_INVALID_VP_STATE;
	}
	pthread_mutex_unlock(&p->lock);
	return hr;
}

/* What a property reads as: its address, which may be @value, and size. NULL: write-only. */
static const void *read_property(struct partition *p, WHV_PARTITION_PROPERTY_CODE code,
	WHV_PARTITION_PROPERTY *value, UINT32 *size)
{
	switch (code) {
	case WHvPartitionPropertyCodeProcessorFeaturesBanks:
		*size = sizeof(p->prop.features);
		return &p->prop.features;
	case WHvPartitionPropertyCodeSyntheticProcessorFeaturesBanks:
		value->SyntheticProcessorFeaturesBanks.BanksCount =
			WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS_COUNT;
		value->SyntheticProcessorFeaturesBanks.Bank0 = p->prop.synthetic;
		*size = sizeof(value->SyntheticProcessorFeaturesBanks);
		return value;
	case WHvPartitionPropertyCodeReferenceTime:
		value->ReferenceTime = p->ready ? clock_ref(&p->clock) : 0;
		*size = sizeof(value->ReferenceTime);
		return value;
	case WHvPartitionPropertyCodeCpuidExitList:
		*size = p->prop.cpuid_exit_count * (UINT32)sizeof(*p->prop.cpuid_exits);
		return p->prop.cpuid_exits ? (void *)p->prop.cpuid_exits : value;
	default:
		return scalar(&p->prop, code, size);
	}
}

HRESULT WINAPI WHvGetPartitionProperty(WHV_PARTITION_HANDLE Partition,
	WHV_PARTITION_PROPERTY_CODE PropertyCode, VOID *PropertyBuffer,
	UINT32 PropertyBufferSizeInBytes, UINT32 *WrittenSizeInBytes)
{
	struct partition *p = partition_from(Partition);
	WHV_PARTITION_PROPERTY value;
	const void *field;
	UINT32 size = 0;
	HRESULT hr = S_OK;

	if (!p)
		return E_INVALIDARG;
	memset(&value, 0, sizeof(value));
	pthread_mutex_lock(&p->lock);
	field = read_property(p, PropertyCode, &value, &size);
	if (!field)
		hr = WHV_E_UNKNOWN_PROPERTY;
	else if (PropertyBufferSizeInBytes < size)
		hr = WHV_E_INSUFFICIENT_BUFFER;
	else if (!PropertyBuffer && size)
		hr = E_POINTER;
	else if (size)
		memcpy(PropertyBuffer, field, size);
	pthread_mutex_unlock(&p->lock);
	if (field && WrittenSizeInBytes)
		*WrittenSizeInBytes = size;
	return hr;
}
