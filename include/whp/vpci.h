/*
 * whp/vpci.h - devices passed through to a partition.
 *
 * Source: the Windows SDK's definition of the same names (values and layouts are its ABI); sizes
 * and offsets are asserted in src/hypervisor/abi.c. Include <WinHvPlatformDefs.h>, not this file.
 */
#ifndef PARTITA_WHP_VPCI_H
#define PARTITA_WHP_VPCI_H

#include <windows.h>

#define WHV_MAX_DEVICE_ID_SIZE_IN_CHARS 200
#define WHV_VPCI_TYPE0_BAR_COUNT	6

typedef enum WHV_ALLOCATE_VPCI_RESOURCE_FLAGS {
	WHvAllocateVpciResourceFlagNone = 0x00000000,
	WHvAllocateVpciResourceFlagAllowDirectP2P = 0x00000001
} WHV_ALLOCATE_VPCI_RESOURCE_FLAGS;
DEFINE_ENUM_FLAG_OPERATORS(WHV_ALLOCATE_VPCI_RESOURCE_FLAGS)

typedef struct WHV_SRIOV_RESOURCE_DESCRIPTOR {
	WCHAR PnpInstanceId[WHV_MAX_DEVICE_ID_SIZE_IN_CHARS];
	LUID VirtualFunctionId;
	UINT16 VirtualFunctionIndex;
	UINT16 Reserved;
} WHV_SRIOV_RESOURCE_DESCRIPTOR;

typedef enum WHV_VPCI_DEVICE_NOTIFICATION_TYPE {
	WHvVpciDeviceNotificationUndefined = 0,
	WHvVpciDeviceNotificationMmioRemapping = 1,
	WHvVpciDeviceNotificationSurpriseRemoval = 2
} WHV_VPCI_DEVICE_NOTIFICATION_TYPE;

typedef struct WHV_VPCI_DEVICE_NOTIFICATION {
	WHV_VPCI_DEVICE_NOTIFICATION_TYPE NotificationType;
	UINT32 Reserved1;
	union {
		UINT64 Reserved2;
	};
} WHV_VPCI_DEVICE_NOTIFICATION;

typedef enum WHV_CREATE_VPCI_DEVICE_FLAGS {
	WHvCreateVpciDeviceFlagNone = 0x00000000,
	WHvCreateVpciDeviceFlagPhysicallyBacked = 0x00000001,
	WHvCreateVpciDeviceFlagUseLogicalInterrupts = 0x00000002
} WHV_CREATE_VPCI_DEVICE_FLAGS;
DEFINE_ENUM_FLAG_OPERATORS(WHV_CREATE_VPCI_DEVICE_FLAGS)

typedef enum WHV_VPCI_DEVICE_PROPERTY_CODE {
	WHvVpciDevicePropertyCodeUndefined = 0,
	WHvVpciDevicePropertyCodeHardwareIDs = 1,
	WHvVpciDevicePropertyCodeProbedBARs = 2
} WHV_VPCI_DEVICE_PROPERTY_CODE;

typedef struct WHV_VPCI_HARDWARE_IDS {
	UINT16 VendorID;
	UINT16 DeviceID;
	UINT8 RevisionID;
	UINT8 ProgIf;
	UINT8 SubClass;
	UINT8 BaseClass;
	UINT16 SubVendorID;
	UINT16 SubSystemID;
} WHV_VPCI_HARDWARE_IDS;

typedef struct WHV_VPCI_PROBED_BARS {
	UINT32 Value[WHV_VPCI_TYPE0_BAR_COUNT];
} WHV_VPCI_PROBED_BARS;

typedef enum WHV_VPCI_MMIO_RANGE_FLAGS {
	WHvVpciMmioRangeFlagReadAccess = 0x00000001,
	WHvVpciMmioRangeFlagWriteAccess = 0x00000002
} WHV_VPCI_MMIO_RANGE_FLAGS;

typedef enum WHV_VPCI_DEVICE_REGISTER_SPACE {
	WHvVpciConfigSpace = -1,
	WHvVpciBar0 = 0,
	WHvVpciBar1 = 1,
	WHvVpciBar2 = 2,
	WHvVpciBar3 = 3,
	WHvVpciBar4 = 4,
	WHvVpciBar5 = 5
} WHV_VPCI_DEVICE_REGISTER_SPACE;

typedef struct WHV_VPCI_MMIO_MAPPING {
	WHV_VPCI_DEVICE_REGISTER_SPACE Location;
	WHV_VPCI_MMIO_RANGE_FLAGS Flags;
	UINT64 SizeInBytes;
	UINT64 OffsetInBytes;
	PVOID VirtualAddress;
} WHV_VPCI_MMIO_MAPPING;

typedef struct WHV_VPCI_DEVICE_REGISTER {
	WHV_VPCI_DEVICE_REGISTER_SPACE Location;
	UINT32 SizeInBytes;
	UINT64 OffsetInBytes;
} WHV_VPCI_DEVICE_REGISTER;

typedef enum WHV_VPCI_INTERRUPT_TARGET_FLAGS {
	WHvVpciInterruptTargetFlagNone = 0x00000000,
	WHvVpciInterruptTargetFlagMulticast = 0x00000001,
} WHV_VPCI_INTERRUPT_TARGET_FLAGS;
DEFINE_ENUM_FLAG_OPERATORS(WHV_VPCI_INTERRUPT_TARGET_FLAGS)

typedef struct WHV_VPCI_INTERRUPT_TARGET {
	UINT32 Vector;
	WHV_VPCI_INTERRUPT_TARGET_FLAGS Flags;
	UINT32 ProcessorCount;
	UINT32 Processors[ANYSIZE_ARRAY];
} WHV_VPCI_INTERRUPT_TARGET;

#endif
