/*
 * whp/registers.h - what the registers of a virtual processor hold.
 *
 * Source: the Windows SDK's definition of the same names (values and layouts are its ABI); sizes
 * and offsets are asserted in src/hypervisor/abi.c. Include <WinHvPlatformDefs.h>, not this file.
 */
#ifndef PARTITA_WHP_REGISTERS_H
#define PARTITA_WHP_REGISTERS_H

#include <whp/register_names.h>

typedef UINT64 WHV_GUEST_PHYSICAL_ADDRESS;
typedef UINT64 WHV_GUEST_VIRTUAL_ADDRESS;

typedef union DECLSPEC_ALIGN(16) WHV_UINT128 {
	struct {
		UINT64 Low64;
		UINT64 High64;
	};
	UINT32 Dword[4];
} WHV_UINT128;

/* One x87 register, in its 80-bit format. */
typedef union WHV_X64_FP_REGISTER {
	struct {
		UINT64 Mantissa;
		UINT64 BiasedExponent : 15;
		UINT64 Sign : 1;
		UINT64 Reserved : 48;
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_FP_REGISTER;

/* FpTag is abridged: one bit a register, as FXSAVE stores it. */
typedef union WHV_X64_FP_CONTROL_STATUS_REGISTER {
	struct {
		UINT16 FpControl;
		UINT16 FpStatus;
		UINT8 FpTag;
		UINT8 Reserved;
		UINT16 LastFpOp;
		union {
			UINT64 LastFpRip;
			struct {
				UINT32 LastFpEip;
				UINT16 LastFpCs;
				UINT16 Reserved2;
			};
		};
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_FP_CONTROL_STATUS_REGISTER;

typedef union WHV_X64_XMM_CONTROL_STATUS_REGISTER {
	struct {
		union {
			UINT64 LastFpRdp;
			struct {
				UINT32 LastFpDp;
				UINT16 LastFpDs;
				UINT16 Reserved;
			};
		};
		UINT32 XmmStatusControl;
		UINT32 XmmStatusControlMask;
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_XMM_CONTROL_STATUS_REGISTER;

/* Limit is in bytes whatever Granularity says. */
typedef struct WHV_X64_SEGMENT_REGISTER {
	UINT64 Base;
	UINT32 Limit;
	UINT16 Selector;
	union {
		struct {
			UINT16 SegmentType : 4;
			UINT16 NonSystemSegment : 1;
			UINT16 DescriptorPrivilegeLevel : 2;
			UINT16 Present : 1;
			UINT16 Reserved : 4;
			UINT16 Available : 1;
			UINT16 Long : 1;
			UINT16 Default : 1;
			UINT16 Granularity : 1;
		};
		UINT16 Attributes;
	};
} WHV_X64_SEGMENT_REGISTER;

typedef struct WHV_X64_TABLE_REGISTER {
	UINT16 Pad[3];
	UINT16 Limit;
	UINT64 Base;
} WHV_X64_TABLE_REGISTER;

typedef union WHV_X64_INTERRUPT_STATE_REGISTER {
	struct {
		UINT64 InterruptShadow : 1;
		UINT64 NmiMasked : 1;
		UINT64 Reserved : 62;
	};
	UINT64 AsUINT64;
} WHV_X64_INTERRUPT_STATE_REGISTER;

typedef enum WHV_X64_PENDING_INTERRUPTION_TYPE {
	WHvX64PendingInterrupt = 0,
	WHvX64PendingNmi = 2,
	WHvX64PendingException = 3
} WHV_X64_PENDING_INTERRUPTION_TYPE,
	*PWHV_X64_PENDING_INTERRUPTION_TYPE;

/* An event to deliver before the next instruction; InterruptionType is
 * WHV_X64_PENDING_INTERRUPTION_TYPE. */
typedef union WHV_X64_PENDING_INTERRUPTION_REGISTER {
	struct {
		UINT32 InterruptionPending : 1;
		UINT32 InterruptionType : 3;
		UINT32 DeliverErrorCode : 1;
		UINT32 InstructionLength : 4;
		UINT32 NestedEvent : 1;
		UINT32 Reserved : 6;
		UINT32 InterruptionVector : 16;
		UINT32 ErrorCode;
	};
	UINT64 AsUINT64;
} WHV_X64_PENDING_INTERRUPTION_REGISTER;

typedef enum WHV_X64_PENDING_EVENT_TYPE {
	WHvX64PendingEventException = 0,
	WHvX64PendingEventExtInt = 5,
	WHvX64PendingEventSvmNestedExit = 7,
	WHvX64PendingEventVmxNestedExit = 8,
} WHV_X64_PENDING_EVENT_TYPE;

typedef union WHV_X64_PENDING_EXCEPTION_EVENT {
	struct {
		UINT32 EventPending : 1;
		UINT32 EventType : 3;
		UINT32 Reserved0 : 4;
		UINT32 DeliverErrorCode : 1;
		UINT32 Reserved1 : 7;
		UINT32 Vector : 16;
		UINT32 ErrorCode;
		UINT64 ExceptionParameter;
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_PENDING_EXCEPTION_EVENT;

/* The vector an 8259 would put on the bus. */
typedef union WHV_X64_PENDING_EXT_INT_EVENT {
	struct {
		UINT64 EventPending : 1;
		UINT64 EventType : 3;
		UINT64 Reserved0 : 4;
		UINT64 Vector : 8;
		UINT64 Reserved1 : 48;
		UINT64 Reserved2;
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_PENDING_EXT_INT_EVENT;

typedef union WHV_X64_PENDING_DEBUG_EXCEPTION {
	UINT64 AsUINT64;
	struct {
		UINT64 Breakpoint0 : 1;
		UINT64 Breakpoint1 : 1;
		UINT64 Breakpoint2 : 1;
		UINT64 Breakpoint3 : 1;
		UINT64 SingleStep : 1;
		UINT64 Reserved0 : 59;
	};
} WHV_X64_PENDING_DEBUG_EXCEPTION;

/* Exits asked for: once an NMI, an interrupt of this priority, or a message for this SINT can be
 * taken. */
typedef union WHV_DELIVERABILITY_NOTIFICATIONS_REGISTER {
	struct {
		UINT64 NmiNotification : 1;
		UINT64 InterruptNotification : 1;
		UINT64 InterruptPriority : 4;
		UINT64 Reserved : 42;
		UINT64 Sint : 16;
	};
	UINT64 AsUINT64;
} WHV_DELIVERABILITY_NOTIFICATIONS_REGISTER, WHV_X64_DELIVERABILITY_NOTIFICATIONS_REGISTER;

/* Why a virtual processor does not execute: waits for SIPI, HLT, idle MSR. */
typedef union WHV_INTERNAL_ACTIVITY_REGISTER {
	struct {
		UINT64 StartupSuspend : 1;
		UINT64 HaltSuspend : 1;
		UINT64 IdleSuspend : 1;
		UINT64 Reserved : 61;
	};
	UINT64 AsUINT64;
} WHV_INTERNAL_ACTIVITY_REGISTER;

/* Nested virtualization. */
typedef union WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT0 {
	struct {
		UINT64 EventPending : 1;
		UINT64 EventType : 4;
		UINT64 Reserved0 : 3;
		UINT64 InstructionBytesValid : 1;
		UINT64 Reserved1 : 55;
		UINT64 ExitCode;
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT0;

typedef union WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT1 {
	struct {
		UINT64 ExitInfo1;
		UINT64 ExitInfo2;
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT1;

typedef union WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT2 {
	struct {
		UINT64 NextRip;
		UINT8 InstructionBytesFetchedCount;
		UINT8 InstructionBytes[7];
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT2;

typedef union WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT3 {
	struct {
		UINT8 InstructionBytes[8];
		UINT64 Reserved2;
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT3;

typedef union WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT0 {
	struct {
		UINT32 EventPending : 1;
		UINT32 EventType : 4;
		UINT32 Reserved0 : 27;
		UINT32 ExitReason;
		UINT64 ExitQualification;
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT0;

typedef union WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT1 {
	struct {
		UINT32 InstructionLength;
		UINT32 InstructionInfo;
		UINT32 ExitInterruptionInfo;
		UINT32 ExitExceptionErrorCode;
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT1;

typedef union WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT2 {
	struct {
		UINT64 GuestLinearAddress;
		UINT64 GuestPhysicalAddress;
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT2;

typedef union WHV_X64_NESTED_INVEPT_REGISTER {
	struct {
		UINT8 Type;
		UINT8 Reserved[7];
		UINT64 Eptp;
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_NESTED_INVEPT_REGISTER;

typedef union WHV_X64_NESTED_INVVPID_REGISTER {
	struct {
		UINT8 Type;
		UINT8 Reserved[3];
		UINT32 Vpid;
		UINT64 LinearAddress;
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_NESTED_INVVPID_REGISTER;

typedef union WHV_X64_NESTED_GUEST_STATE {
	struct {
		UINT64 NestedVirtActive : 1;
		UINT64 NestedGuestMode : 1;
		UINT64 VmEntryPending : 1;
		UINT64 Reserved0 : 61;
		UINT64 Reserved1;
	};
	WHV_UINT128 AsUINT128;
} WHV_X64_NESTED_GUEST_STATE;

typedef union WHV_REGISTER_VALUE {
	WHV_UINT128 Reg128;
	UINT64 Reg64;
	UINT32 Reg32;
	UINT16 Reg16;
	UINT8 Reg8;
	WHV_INTERNAL_ACTIVITY_REGISTER InternalActivity;
	WHV_DELIVERABILITY_NOTIFICATIONS_REGISTER DeliverabilityNotifications;
	WHV_X64_FP_REGISTER Fp;
	WHV_X64_FP_CONTROL_STATUS_REGISTER FpControlStatus;
	WHV_X64_XMM_CONTROL_STATUS_REGISTER XmmControlStatus;
	WHV_X64_SEGMENT_REGISTER Segment;
	WHV_X64_TABLE_REGISTER Table;
	WHV_X64_INTERRUPT_STATE_REGISTER InterruptState;
	WHV_X64_PENDING_INTERRUPTION_REGISTER PendingInterruption;
	WHV_X64_PENDING_EXCEPTION_EVENT ExceptionEvent;
	WHV_X64_PENDING_EXT_INT_EVENT ExtIntEvent;
	WHV_X64_PENDING_DEBUG_EXCEPTION PendingDebugException;
	WHV_X64_NESTED_GUEST_STATE NestedState;
	WHV_X64_NESTED_INVEPT_REGISTER InvEpt;
	WHV_X64_NESTED_INVVPID_REGISTER InvVpid;
	WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT0 SvmNestedExit0;
	WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT1 SvmNestedExit1;
	WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT2 SvmNestedExit2;
	WHV_X64_PENDING_SVM_NESTED_EXIT_EVENT3 SvmNestedExit3;
	WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT0 VmxNestedExit0;
	WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT1 VmxNestedExit1;
	WHV_X64_PENDING_VMX_NESTED_EXIT_EVENT2 VmxNestedExit2;
} WHV_REGISTER_VALUE;

#endif
