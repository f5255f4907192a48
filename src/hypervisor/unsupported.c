/*
 * unsupported.c - the functions of WinHvPlatform.h that this version does not offer yet: passed-
 * through devices, triggers, migration, dirty page tracking and advice on memory.
 *
 * Each answers E_NOTIMPL and touches none of its arguments; WHvGetCapability does not offer what
 * they belong to.
 */
#include <WinHvPlatform.h>

HRESULT WINAPI WHvQueryGpaRangeDirtyBitmap(WHV_PARTITION_HANDLE Partition,
	WHV_GUEST_PHYSICAL_ADDRESS GuestAddress, UINT64 RangeSizeInBytes, UINT64 *Bitmap,
	UINT32 BitmapSizeInBytes)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvAllocateVpciResource(const GUID *ProviderId,
	WHV_ALLOCATE_VPCI_RESOURCE_FLAGS Flags, const VOID *ResourceDescriptor,
	UINT32 ResourceDescriptorSizeInBytes, HANDLE *VpciResource)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvCreateVpciDevice(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	HANDLE VpciResource, WHV_CREATE_VPCI_DEVICE_FLAGS Flags, HANDLE NotificationEventHandle)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvDeleteVpciDevice(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvGetVpciDeviceProperty(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	WHV_VPCI_DEVICE_PROPERTY_CODE PropertyCode, VOID *PropertyBuffer,
	UINT32 PropertyBufferSizeInBytes, UINT32 *WrittenSizeInBytes)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvGetVpciDeviceNotification(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	WHV_VPCI_DEVICE_NOTIFICATION *Notification, UINT32 NotificationSizeInBytes)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvMapVpciDeviceMmioRanges(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	UINT32 *MappingCount, WHV_VPCI_MMIO_MAPPING **Mappings)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvUnmapVpciDeviceMmioRanges(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvSetVpciDevicePowerState(
	WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId, DEVICE_POWER_STATE PowerState)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvReadVpciDeviceRegister(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	const WHV_VPCI_DEVICE_REGISTER *Register, VOID *Data)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvWriteVpciDeviceRegister(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	const WHV_VPCI_DEVICE_REGISTER *Register, const VOID *Data)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvMapVpciDeviceInterrupt(WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId,
	UINT32 Index, UINT32 MessageCount, const WHV_VPCI_INTERRUPT_TARGET *Target,
	UINT64 *MsiAddress, UINT32 *MsiData)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvUnmapVpciDeviceInterrupt(
	WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId, UINT32 Index)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvRetargetVpciDeviceInterrupt(WHV_PARTITION_HANDLE Partition,
	UINT64 LogicalDeviceId, UINT64 MsiAddress, UINT32 MsiData,
	const WHV_VPCI_INTERRUPT_TARGET *Target)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvRequestVpciDeviceInterrupt(
	WHV_PARTITION_HANDLE Partition, UINT64 LogicalDeviceId, UINT64 MsiAddress, UINT32 MsiData)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvGetVpciDeviceInterruptTarget(WHV_PARTITION_HANDLE Partition,
	UINT64 LogicalDeviceId, UINT32 Index, UINT32 MultiMessageNumber,
	WHV_VPCI_INTERRUPT_TARGET *Target, UINT32 TargetSizeInBytes, UINT32 *BytesWritten)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvCreateTrigger(WHV_PARTITION_HANDLE Partition,
	const WHV_TRIGGER_PARAMETERS *Parameters, WHV_TRIGGER_HANDLE *TriggerHandle,
	HANDLE *EventHandle)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvUpdateTriggerParameters(WHV_PARTITION_HANDLE Partition,
	const WHV_TRIGGER_PARAMETERS *Parameters, WHV_TRIGGER_HANDLE TriggerHandle)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvDeleteTrigger(WHV_PARTITION_HANDLE Partition, WHV_TRIGGER_HANDLE TriggerHandle)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvStartPartitionMigration(WHV_PARTITION_HANDLE Partition, HANDLE *MigrationHandle)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvCancelPartitionMigration(WHV_PARTITION_HANDLE Partition)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvCompletePartitionMigration(WHV_PARTITION_HANDLE Partition)
{
	return E_NOTIMPL;
}

HRESULT WINAPI WHvAcceptPartitionMigration(HANDLE MigrationHandle, WHV_PARTITION_HANDLE *Partition)
{
	return E_NOTIMPL;
}
