/*
 * WinHvPlatform.h - the hypervisor's only door: partitions, their memory and their processors.
 *
 * Names, parameters and meanings are those of the Windows Hypervisor Platform API
 * (Microsoft Learn, "Windows Hypervisor Platform API Definitions"). How much of it works is in
 * docs/api-coverage.md.
 *
 * All functions return S_OK or a failure (winerror.h). E_INVALIDARG: a handle, index, size,
 * alignment or reserved field is wrong. Sizes are in bytes. Functions may be called from any
 * thread; registers and state of a virtual processor may be read and set only while no thread is
 * in WHvRunVirtualProcessor for it (WHV_E_INVALID_VP_STATE otherwise). The caller does not use a
 * partition after or while deleting it.
 */
#ifndef _WINHVAPI_H_
#define _WINHVAPI_H_

#include <WinHvPlatformDefs.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Capabilities */

/*
 * What the platform can do. CapabilityBuffer receives the member of WHV_CAPABILITY that the code
 * names; *WrittenSizeInBytes (may be NULL) its size, also when the buffer is too small
 * (WHV_E_INSUFFICIENT_BUFFER). WHV_E_UNKNOWN_CAPABILITY: no such code here.
 */
HRESULT WINAPI WHvGetCapability(WHV_CAPABILITY_CODE CapabilityCode, VOID *CapabilityBuffer,
	UINT32 CapabilityBufferSizeInBytes, UINT32 *WrittenSizeInBytes);

/* Partitions */

/*
 * A partition object, to be configured. Its engine is what the environment variable PARTITA_ENGINE
 * says (auto, software, kvm); WHV_E_UNSUPPORTED_HYPERVISOR_CONFIG: that one cannot be used here.
 */
HRESULT WINAPI WHvCreatePartition(WHV_PARTITION_HANDLE *Partition);
/*
 * Make the partition from its properties; ProcessorCount must be set
 * (WHV_E_INVALID_PARTITION_CONFIG). Its time starts at 0.
 */
HRESULT WINAPI WHvSetupPartition(WHV_PARTITION_HANDLE Partition);
/*
 * All processors, partition-wide synthetic registers and time as after set-up. Memory and
 * properties stay. Time stands still until a processor runs. No processor may be running
 * (HRESULT_FROM_WIN32(ERROR_INVALID_STATE)).
 */
HRESULT WINAPI WHvResetPartition(WHV_PARTITION_HANDLE Partition);
/*
 * No thread may be using the partition.
 */
HRESULT WINAPI WHvDeletePartition(WHV_PARTITION_HANDLE Partition);
/*
 * PropertyBuffer receives the member of WHV_PARTITION_PROPERTY that the code names. Errors as
 * WHvGetCapability, with WHV_E_UNKNOWN_PROPERTY.
 */
HRESULT WINAPI WHvGetPartitionProperty(WHV_PARTITION_HANDLE Partition,
	WHV_PARTITION_PROPERTY_CODE PropertyCode, VOID *PropertyBuffer,
	UINT32 PropertyBufferSizeInBytes, UINT32 *WrittenSizeInBytes);
/*
 * The buffer holds the property, and may be larger; a list property has its exact size. After
 * set-up only the exit selections, the scheduling properties and ReferenceTime may change
 * (ERROR_INVALID_STATE), and only while no processor runs. WHV_E_UNSUPPORTED_PROCESSOR_CONFIG:
 * features that WHvGetCapability does not offer.
 */
HRESULT WINAPI WHvSetPartitionProperty(WHV_PARTITION_HANDLE Partition,
	WHV_PARTITION_PROPERTY_CODE PropertyCode, const VOID *PropertyBuffer,
	UINT32 PropertyBufferSizeInBytes);
/*
 * TSC and reference time stand still until WHvResumePartitionTime or WHvRunVirtualProcessor. No
 * processor may be running.
 */
HRESULT WINAPI WHvSuspendPartitionTime(WHV_PARTITION_HANDLE Partition);
HRESULT WINAPI WHvResumePartitionTime(WHV_PARTITION_HANDLE Partition);
/*
 * Pages mapped.
 */
HRESULT WINAPI WHvGetPartitionCounters(WHV_PARTITION_HANDLE Partition,
	WHV_PARTITION_COUNTER_SET CounterSet, VOID *Buffer, UINT32 BufferSizeInBytes,
	UINT32 *BytesWritten);

/* Guest physical memory */

/*
 * Back guest-physical memory with the caller's, replacing what was mapped there. All three of
 * address, guest address and size are multiples of 4096; the memory stays the caller's and valid
 * until unmapped. Dirty page tracking is not offered.
 */
HRESULT WINAPI WHvMapGpaRange(WHV_PARTITION_HANDLE Partition, VOID *SourceAddress,
	WHV_GUEST_PHYSICAL_ADDRESS GuestAddress, UINT64 SizeInBytes, WHV_MAP_GPA_RANGE_FLAGS Flags);
/*
 * As WHvMapGpaRange; Process is NULL or the pseudo-handle of this process.
 */
HRESULT WINAPI WHvMapGpaRange2(WHV_PARTITION_HANDLE Partition, HANDLE Process, VOID *SourceAddress,
	WHV_GUEST_PHYSICAL_ADDRESS GuestAddress, UINT64 SizeInBytes, WHV_MAP_GPA_RANGE_FLAGS Flags);
/*
 * WHV_E_GPA_RANGE_NOT_FOUND: not all of the range is mapped. Part of a mapping may be unmapped.
 */
HRESULT WINAPI WHvUnmapGpaRange(WHV_PARTITION_HANDLE Partition,
	WHV_GUEST_PHYSICAL_ADDRESS GuestAddress, UINT64 SizeInBytes);
/*
 * Walk the processor's page tables as an access of the kinds validated would, at its privilege
 * level unless PrivilegeExempt. S_OK says that TranslationResult holds what came of it. The SMAP
 * flags are accepted and have no effect beyond EFLAGS.AC.
 */
HRESULT WINAPI WHvTranslateGva(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	WHV_GUEST_VIRTUAL_ADDRESS Gva, WHV_TRANSLATE_GVA_FLAGS TranslateFlags,
	WHV_TRANSLATE_GVA_RESULT *TranslationResult, WHV_GUEST_PHYSICAL_ADDRESS *Gpa);
/*
 * Copy 1 to WHV_READ_WRITE_GPA_RANGE_MAX_SIZE bytes. E_ACCESSDENIED: not all of them are mapped for
 * it.
 */
HRESULT WINAPI WHvReadGpaRange(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	WHV_GUEST_PHYSICAL_ADDRESS GuestAddress, WHV_ACCESS_GPA_CONTROLS Controls, PVOID Data,
	UINT32 DataSizeInBytes);
/*
 * As WHvReadGpaRange. Code that was made from these bytes is forgotten.
 */
HRESULT WINAPI WHvWriteGpaRange(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	WHV_GUEST_PHYSICAL_ADDRESS GuestAddress, WHV_ACCESS_GPA_CONTROLS Controls, const VOID *Data,
	UINT32 DataSizeInBytes);
HRESULT WINAPI WHvQueryGpaRangeDirtyBitmap(WHV_PARTITION_HANDLE Partition,
	WHV_GUEST_PHYSICAL_ADDRESS GuestAddress, UINT64 RangeSizeInBytes, UINT64 *Bitmap,
	UINT32 BitmapSizeInBytes);
/*
 * Pages stay where the client mapped them, so pinning only checks that they are mapped (a range not
 * wholly so is WHV_E_GPA_RANGE_NOT_FOUND). Unpinning ends a device's access to them: whoever wrote
 * guest pages through host memory (a disk that reads into them) calls it before the guest hears of
 * the data, so that code that was made from what was there before is forgotten. That is cheap for
 * pages without code. Populate: E_NOTIMPL.
 */
HRESULT WINAPI WHvAdviseGpaRange(WHV_PARTITION_HANDLE Partition,
	const WHV_MEMORY_RANGE_ENTRY *GpaRanges, UINT32 GpaRangesCount,
	WHV_ADVISE_GPA_RANGE_CODE Advice, const VOID *AdviceBuffer, UINT32 AdviceBufferSizeInBytes);

/* Virtual processors */

/*
 * VpIndex, below ProcessorCount, is also the APIC ID. Flags is 0. With local APIC emulation all but
 * the first processor wait for a start-up IPI. WHV_E_VP_ALREADY_EXISTS.
 */
HRESULT WINAPI WHvCreateVirtualProcessor(
	WHV_PARTITION_HANDLE Partition, UINT32 VpIndex, UINT32 Flags);
HRESULT WINAPI WHvCreateVirtualProcessor2(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	const WHV_VIRTUAL_PROCESSOR_PROPERTY *Properties, UINT32 PropertyCount);
HRESULT WINAPI WHvDeleteVirtualProcessor(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex);
/*
 * Execute until something needs the client: ExitContext receives a WHV_RUN_VP_EXIT_CONTEXT, cut to
 * the size given. Blocks while the processor waits (HLT, idle, start-up) if the local APIC is
 * emulated. One thread at a time (WHV_E_INVALID_VP_STATE); that thread's timer slack becomes 1 ns,
 * and on the kvm engine SIGRTMIN+6 stays blocked in it.
 */
HRESULT WINAPI WHvRunVirtualProcessor(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	VOID *ExitContext, UINT32 ExitContextSizeInBytes);
/*
 * Any thread. The current run, or else the next, returns WHvRunVpExitReasonCanceled. Flags is 0.
 */
HRESULT WINAPI WHvCancelRunVirtualProcessor(
	WHV_PARTITION_HANDLE Partition, UINT32 VpIndex, UINT32 Flags);
/*
 * WHV_E_INVALID_VP_REGISTER_NAME ends at the first name that does not exist here.
 */
HRESULT WINAPI WHvGetVirtualProcessorRegisters(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	const WHV_REGISTER_NAME *RegisterNames, UINT32 RegisterCount,
	WHV_REGISTER_VALUE *RegisterValues);
/*
 * Registers are set in order, up to the first that is refused.
 */
HRESULT WINAPI WHvSetVirtualProcessorRegisters(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	const WHV_REGISTER_NAME *RegisterNames, UINT32 RegisterCount,
	const WHV_REGISTER_VALUE *RegisterValues);
/*
 * *BytesWritten receives the size needed when the buffer is too small. The local APIC's state is a
 * page of 1024 bytes laid out as its registers; extended registers are an XSAVE area in standard
 * form.
 */
HRESULT WINAPI WHvGetVirtualProcessorState(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	WHV_VIRTUAL_PROCESSOR_STATE_TYPE StateType, VOID *Buffer, UINT32 BufferSizeInBytes,
	UINT32 *BytesWritten);
HRESULT WINAPI WHvSetVirtualProcessorState(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	WHV_VIRTUAL_PROCESSOR_STATE_TYPE StateType, const VOID *Buffer, UINT32 BufferSizeInBytes);
HRESULT WINAPI WHvGetVirtualProcessorXsaveState(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	VOID *Buffer, UINT32 BufferSizeInBytes, UINT32 *BytesWritten);
HRESULT WINAPI WHvSetVirtualProcessorXsaveState(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	const VOID *Buffer, UINT32 BufferSizeInBytes);
HRESULT WINAPI WHvGetVirtualProcessorInterruptControllerState(WHV_PARTITION_HANDLE Partition,
	UINT32 VpIndex, VOID *State, UINT32 StateSize, UINT32 *WrittenSize);
HRESULT WINAPI WHvSetVirtualProcessorInterruptControllerState(
	WHV_PARTITION_HANDLE Partition, UINT32 VpIndex, const VOID *State, UINT32 StateSize);
HRESULT WINAPI WHvGetVirtualProcessorInterruptControllerState2(WHV_PARTITION_HANDLE Partition,
	UINT32 VpIndex, VOID *State, UINT32 StateSize, UINT32 *WrittenSize);
HRESULT WINAPI WHvSetVirtualProcessorInterruptControllerState2(
	WHV_PARTITION_HANDLE Partition, UINT32 VpIndex, const VOID *State, UINT32 StateSize);
/*
 * May be called while the processor runs.
 */
HRESULT WINAPI WHvGetVirtualProcessorCounters(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	WHV_PROCESSOR_COUNTER_SET CounterSet, VOID *Buffer, UINT32 BufferSizeInBytes,
	UINT32 *BytesWritten);
/*
 * What CPUID with these inputs shows the guest.
 */
HRESULT WINAPI WHvGetVirtualProcessorCpuidOutput(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	UINT32 Eax, UINT32 Ecx, WHV_CPUID_OUTPUT *CpuidOutput);

/* Interrupts */

/*
 * Any thread. InterruptControlSize is that of the structure. ERROR_HV_OPERATION_DENIED: no local
 * APIC is emulated. A level-triggered interrupt ends with WHvRunVpExitReasonX64ApicEoi.
 */
HRESULT WINAPI WHvRequestInterrupt(WHV_PARTITION_HANDLE Partition,
	const WHV_INTERRUPT_CONTROL *Interrupt, UINT32 InterruptControlSize);
/*
 * Which processors an interrupt for this destination would reach. VpCount is at least
 * ProcessorCount.
 */
HRESULT WINAPI WHvGetInterruptTargetVpSet(WHV_PARTITION_HANDLE Partition, UINT64 Destination,
	WHV_INTERRUPT_DESTINATION_MODE DestinationMode, UINT32 *TargetVps, UINT32 VpCount,
	UINT32 *TargetVpCount);
HRESULT WINAPI WHvCreateTrigger(WHV_PARTITION_HANDLE Partition,
	const WHV_TRIGGER_PARAMETERS *Parameters, WHV_TRIGGER_HANDLE *TriggerHandle,
	HANDLE *EventHandle);
HRESULT WINAPI WHvUpdateTriggerParameters(WHV_PARTITION_HANDLE Partition,
	const WHV_TRIGGER_PARAMETERS *Parameters, WHV_TRIGGER_HANDLE TriggerHandle);
HRESULT WINAPI WHvDeleteTrigger(WHV_PARTITION_HANDLE Partition, WHV_TRIGGER_HANDLE TriggerHandle);

/* Synthetic interrupt controller and notifications */

/*
 * Any thread. Message is a whole HV_MESSAGE, or its beginning. ERROR_HV_OBJECT_IN_USE: the slot is
 * full; wait for WHvRunVpExitReasonSynicSintDeliverable. ERROR_HV_INVALID_SYNIC_STATE: the guest's
 * SynIC or message page is off.
 */
HRESULT WINAPI WHvPostVirtualProcessorSynicMessage(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	UINT32 SintIndex, const VOID *Message, UINT32 MessageSizeInBytes);
/*
 * Any thread. *NewlySignaled (may be NULL): the flag was clear.
 */
HRESULT WINAPI WHvSignalVirtualProcessorSynicEvent(
	WHV_PARTITION_HANDLE Partition, WHV_SYNIC_EVENT_PARAMETERS SynicEvent, BOOL *NewlySignaled);
/*
 * EventHandle is an eventfd, see PARTITA_HANDLE_FROM_FD; it is duplicated.
 * HRESULT_FROM_WIN32(ERROR_ALREADY_EXISTS): there is such a port.
 */
HRESULT WINAPI WHvCreateNotificationPort(WHV_PARTITION_HANDLE Partition,
	const WHV_NOTIFICATION_PORT_PARAMETERS *Parameters, HANDLE EventHandle,
	WHV_NOTIFICATION_PORT_HANDLE *PortHandle);
HRESULT WINAPI WHvSetNotificationPortProperty(WHV_PARTITION_HANDLE Partition,
	WHV_NOTIFICATION_PORT_HANDLE PortHandle, WHV_NOTIFICATION_PORT_PROPERTY_CODE PropertyCode,
	WHV_NOTIFICATION_PORT_PROPERTY PropertyValue);
HRESULT WINAPI WHvDeleteNotificationPort(
	WHV_PARTITION_HANDLE Partition, WHV_NOTIFICATION_PORT_HANDLE PortHandle);
/*
 * A doorbell port named by its match data.
 */
HRESULT WINAPI WHvRegisterPartitionDoorbellEvent(WHV_PARTITION_HANDLE Partition,
	const WHV_DOORBELL_MATCH_DATA *MatchData, HANDLE EventHandle);
HRESULT WINAPI WHvUnregisterPartitionDoorbellEvent(
	WHV_PARTITION_HANDLE Partition, const WHV_DOORBELL_MATCH_DATA *MatchData);

/* Passed-through devices */

HRESULT WINAPI WHvAllocateVpciResource(const GUID *ProviderId,
	WHV_ALLOCATE_VPCI_RESOURCE_FLAGS Flags, const VOID *ResourceDescriptor,
	UINT32 ResourceDescriptorSizeInBytes, HANDLE *VpciResource);
HRESULT WINAPI WHvCreateVpciDevice(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	HANDLE VpciResource, WHV_CREATE_VPCI_DEVICE_FLAGS Flags, HANDLE NotificationEventHandle);
HRESULT WINAPI WHvDeleteVpciDevice(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId);
HRESULT WINAPI WHvGetVpciDeviceProperty(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	WHV_VPCI_DEVICE_PROPERTY_CODE PropertyCode, VOID *PropertyBuffer,
	UINT32 PropertyBufferSizeInBytes, UINT32 *WrittenSizeInBytes);
HRESULT WINAPI WHvGetVpciDeviceNotification(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	WHV_VPCI_DEVICE_NOTIFICATION *Notification, UINT32 NotificationSizeInBytes);
HRESULT WINAPI WHvMapVpciDeviceMmioRanges(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	UINT32 *MappingCount, WHV_VPCI_MMIO_MAPPING **Mappings);
HRESULT WINAPI WHvUnmapVpciDeviceMmioRanges(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId);
HRESULT WINAPI WHvSetVpciDevicePowerState(
	WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId, DEVICE_POWER_STATE PowerState);
HRESULT WINAPI WHvReadVpciDeviceRegister(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	const WHV_VPCI_DEVICE_REGISTER *Register, VOID *Data);
HRESULT WINAPI WHvWriteVpciDeviceRegister(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	const WHV_VPCI_DEVICE_REGISTER *Register, const VOID *Data);
HRESULT WINAPI WHvMapVpciDeviceInterrupt(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	UINT32 Index, UINT32 MessageCount, const WHV_VPCI_INTERRUPT_TARGET *Target,
	UINT64 *MsiAddress, UINT32 *MsiData);
HRESULT WINAPI WHvUnmapVpciDeviceInterrupt(
	WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId, UINT32 Index);
HRESULT WINAPI WHvRetargetVpciDeviceInterrupt(WHV_PARTITION_HANDLE Partition,
	UINT64 LogicalDeviceId, UINT64 MsiAddress, UINT32 MsiData,
	const WHV_VPCI_INTERRUPT_TARGET *Target);
HRESULT WINAPI WHvRequestVpciDeviceInterrupt(
	WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId, UINT64 MsiAddress, UINT32 MsiData);
HRESULT WINAPI WHvGetVpciDeviceInterruptTarget(WHV_PARTITION_HANDLE Partition,
	UINT64 LogicalDeviceId, UINT32 Index, UINT32 MultiMessageNumber,
	WHV_VPCI_INTERRUPT_TARGET *Target, UINT32 TargetSizeInBytes, UINT32 *BytesWritten);

/* Migration */

HRESULT WINAPI WHvStartPartitionMigration(WHV_PARTITION_HANDLE Partition, HANDLE *MigrationHandle);
HRESULT WINAPI WHvCancelPartitionMigration(WHV_PARTITION_HANDLE Partition);
HRESULT WINAPI WHvCompletePartitionMigration(WHV_PARTITION_HANDLE Partition);
HRESULT WINAPI WHvAcceptPartitionMigration(HANDLE MigrationHandle, WHV_PARTITION_HANDLE *Partition);

#ifdef __cplusplus
}
#endif

#endif
