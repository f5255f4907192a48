/*
 * whp/interrupts.h - interrupts, SynIC messages and events, ports, saved processor state.
 *
 * Source: the Windows SDK's definition of the same names (values and layouts are its ABI); sizes
 * and offsets are asserted in src/hypervisor/abi.c. Include <WinHvPlatformDefs.h>, not this file.
 */
#ifndef PARTITA_WHP_INTERRUPTS_H
#define PARTITA_WHP_INTERRUPTS_H

#include <whp/memory.h>

typedef enum WHV_INTERRUPT_TYPE {
	WHvX64InterruptTypeFixed = 0,
	WHvX64InterruptTypeLowestPriority = 1,
	WHvX64InterruptTypeNmi = 4,
	WHvX64InterruptTypeInit = 5,
	WHvX64InterruptTypeSipi = 6,
	WHvX64InterruptTypeLocalInt1 = 9,
} WHV_INTERRUPT_TYPE;

typedef enum WHV_INTERRUPT_DESTINATION_MODE {
	WHvX64InterruptDestinationModePhysical,
	WHvX64InterruptDestinationModeLogical,
} WHV_INTERRUPT_DESTINATION_MODE;

typedef enum WHV_INTERRUPT_TRIGGER_MODE {
	WHvX64InterruptTriggerModeEdge,
	WHvX64InterruptTriggerModeLevel,
} WHV_INTERRUPT_TRIGGER_MODE;

/*
 * Destination is an APIC ID or a logical destination; fields hold values of the three enums above.
 */
typedef struct WHV_INTERRUPT_CONTROL {
	UINT64 Type : 8;
	UINT64 DestinationMode : 4;
	UINT64 TriggerMode : 4;
	UINT64 TargetVtl : 8;
	UINT64 Reserved : 40;
	UINT32 Destination;
	UINT32 Vector;
} WHV_INTERRUPT_CONTROL;

/* Bytes in a SynIC message, header and payload. */
#define WHV_SYNIC_MESSAGE_SIZE 256

typedef struct WHV_SYNIC_EVENT_PARAMETERS {
	UINT32 VpIndex;
	UINT8 TargetSint;
	WHV_VTL TargetVtl;
	UINT16 FlagNumber;
} WHV_SYNIC_EVENT_PARAMETERS;

typedef enum WHV_TRIGGER_TYPE {
	WHvTriggerTypeInterrupt = 0,
	WHvTriggerTypeSynicEvent = 1,
	WHvTriggerTypeDeviceInterrupt = 2,
} WHV_TRIGGER_TYPE;

typedef struct WHV_TRIGGER_PARAMETERS {
	WHV_TRIGGER_TYPE TriggerType;
	UINT32 Reserved;
	union {
		WHV_INTERRUPT_CONTROL Interrupt;
		WHV_SYNIC_EVENT_PARAMETERS SynicEvent;
		struct {
			UINT64 LogicalDeviceId;
			UINT64 MsiAddress;
			UINT32 MsiData;
			UINT32 Reserved;
		} DeviceInterrupt;
	};
} WHV_TRIGGER_PARAMETERS;

typedef PVOID WHV_TRIGGER_HANDLE;

typedef enum WHV_NOTIFICATION_PORT_TYPE {
	WHvNotificationPortTypeEvent = 2,
	WHvNotificationPortTypeDoorbell = 4,
} WHV_NOTIFICATION_PORT_TYPE;

typedef struct WHV_NOTIFICATION_PORT_PARAMETERS {
	WHV_NOTIFICATION_PORT_TYPE NotificationPortType;
	UINT16 Reserved;
	UINT8 Reserved1;
	UINT8 ConnectionVtl;
	union {
		WHV_DOORBELL_MATCH_DATA Doorbell;
		struct {
			UINT32 ConnectionId;
		} Event;
	};
} WHV_NOTIFICATION_PORT_PARAMETERS;

typedef enum WHV_NOTIFICATION_PORT_PROPERTY_CODE {
	WHvNotificationPortPropertyPreferredTargetVp = 1,
	WHvNotificationPortPropertyPreferredTargetDuration = 5,
} WHV_NOTIFICATION_PORT_PROPERTY_CODE;

typedef UINT64 WHV_NOTIFICATION_PORT_PROPERTY;
typedef PVOID WHV_NOTIFICATION_PORT_HANDLE;
/* The preferred target is any virtual processor. */
#define WHV_ANY_VP				     (0xFFFFFFFF)
#define WHV_NOTIFICATION_PORT_PREFERRED_DURATION_MAX (0xFFFFFFFFFFFFFFFFull)

typedef enum WHV_VIRTUAL_PROCESSOR_PROPERTY_CODE {
	WHvVirtualProcessorPropertyCodeNumaNode = 0x00000000,
} WHV_VIRTUAL_PROCESSOR_PROPERTY_CODE;

typedef struct WHV_VIRTUAL_PROCESSOR_PROPERTY {
	WHV_VIRTUAL_PROCESSOR_PROPERTY_CODE PropertyCode;
	UINT32 Reserved;
	union {
		USHORT NumaNode;
		UINT64 Padding;
	};
} WHV_VIRTUAL_PROCESSOR_PROPERTY;

typedef enum WHV_VIRTUAL_PROCESSOR_STATE_TYPE {
	WHvVirtualProcessorStateTypeSynicMessagePage = 0x00000000,
	WHvVirtualProcessorStateTypeSynicEventFlagPage = 0x00000001,
	WHvVirtualProcessorStateTypeSynicTimerState = 0x00000002,
	WHvVirtualProcessorStateTypeInterruptControllerState2 = 0x00001000,
	WHvVirtualProcessorStateTypeXsaveState = 0x00001001,
	WHvVirtualProcessorStateTypeNestedState = 0x00001002,
} WHV_VIRTUAL_PROCESSOR_STATE_TYPE;

#endif
