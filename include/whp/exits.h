/*
 * whp/exits.h - why and how a virtual processor stopped.
 *
 * Source: the Windows SDK's definition of the same names (values and layouts are its ABI); sizes
 * and offsets are asserted in src/hypervisor/abi.c. Include <WinHvPlatformDefs.h>, not this file.
 */
#ifndef PARTITA_WHP_EXITS_H
#define PARTITA_WHP_EXITS_H

#include <whp/memory.h>

typedef enum WHV_RUN_VP_EXIT_REASON {
	WHvRunVpExitReasonNone = 0x00000000,
	WHvRunVpExitReasonMemoryAccess = 0x00000001,
	WHvRunVpExitReasonX64IoPortAccess = 0x00000002,
	WHvRunVpExitReasonUnrecoverableException = 0x00000004,
	WHvRunVpExitReasonInvalidVpRegisterValue = 0x00000005,
	WHvRunVpExitReasonUnsupportedFeature = 0x00000006,
	WHvRunVpExitReasonX64InterruptWindow = 0x00000007,
	WHvRunVpExitReasonX64Halt = 0x00000008,
	WHvRunVpExitReasonX64ApicEoi = 0x00000009,
	WHvRunVpExitReasonSynicSintDeliverable = 0x0000000A,
	WHvRunVpExitReasonX64MsrAccess = 0x00001000,
	WHvRunVpExitReasonX64Cpuid = 0x00001001,
	WHvRunVpExitReasonException = 0x00001002,
	WHvRunVpExitReasonX64Rdtsc = 0x00001003,
	WHvRunVpExitReasonX64ApicSmiTrap = 0x00001004,
	WHvRunVpExitReasonHypercall = 0x00001005,
	WHvRunVpExitReasonX64ApicInitSipiTrap = 0x00001006,
	WHvRunVpExitReasonX64ApicWriteTrap = 0x00001007,
	WHvRunVpExitReasonCanceled = 0x00002001,
} WHV_RUN_VP_EXIT_REASON;

typedef union WHV_X64_VP_EXECUTION_STATE {
	struct {
		UINT16 Cpl : 2;
		UINT16 Cr0Pe : 1;
		UINT16 Cr0Am : 1;
		UINT16 EferLma : 1;
		UINT16 DebugActive : 1;
		UINT16 InterruptionPending : 1;
		UINT16 Reserved0 : 5;
		UINT16 InterruptShadow : 1;
		UINT16 Reserved1 : 3;
	};
	UINT16 AsUINT16;
} WHV_X64_VP_EXECUTION_STATE;

/* Common to all exits. InstructionLength is 0 where no instruction caused the exit. */
typedef struct WHV_X64_VP_EXIT_CONTEXT {
	WHV_X64_VP_EXECUTION_STATE ExecutionState;
	UINT8 InstructionLength : 4;
	UINT8 Cr8 : 4;
	UINT8 Reserved;
	UINT32 Reserved2;
	WHV_X64_SEGMENT_REGISTER Cs;
	UINT64 Rip;
	UINT64 Rflags;
} WHV_X64_VP_EXIT_CONTEXT, WHV_VP_EXIT_CONTEXT;

typedef union WHV_MEMORY_ACCESS_INFO {
	struct {
		UINT32 AccessType : 2;
		UINT32 GpaUnmapped : 1;
		UINT32 GvaValid : 1;
		UINT32 Reserved : 28;
	};
	UINT32 AsUINT32;
} WHV_MEMORY_ACCESS_INFO;

typedef struct WHV_MEMORY_ACCESS_CONTEXT {
	UINT8 InstructionByteCount;
	UINT8 Reserved[3];
	UINT8 InstructionBytes[16];
	WHV_MEMORY_ACCESS_INFO AccessInfo;
	WHV_GUEST_PHYSICAL_ADDRESS Gpa;
	WHV_GUEST_VIRTUAL_ADDRESS Gva;
} WHV_MEMORY_ACCESS_CONTEXT;

typedef union WHV_X64_IO_PORT_ACCESS_INFO {
	struct {
		UINT32 IsWrite : 1;
		UINT32 AccessSize : 3;
		UINT32 StringOp : 1;
		UINT32 RepPrefix : 1;
		UINT32 Reserved : 26;
	};
	UINT32 AsUINT32;
} WHV_X64_IO_PORT_ACCESS_INFO;

typedef struct WHV_X64_IO_PORT_ACCESS_CONTEXT {
	UINT8 InstructionByteCount;
	UINT8 Reserved[3];
	UINT8 InstructionBytes[16];
	WHV_X64_IO_PORT_ACCESS_INFO AccessInfo;
	UINT16 PortNumber;
	UINT16 Reserved2[3];
	UINT64 Rax;
	UINT64 Rcx;
	UINT64 Rsi;
	UINT64 Rdi;
	WHV_X64_SEGMENT_REGISTER Ds;
	WHV_X64_SEGMENT_REGISTER Es;
} WHV_X64_IO_PORT_ACCESS_CONTEXT;

typedef union WHV_X64_MSR_ACCESS_INFO {
	struct {
		UINT32 IsWrite : 1;
		UINT32 Reserved : 31;
	};
	UINT32 AsUINT32;
} WHV_X64_MSR_ACCESS_INFO;

typedef struct WHV_X64_MSR_ACCESS_CONTEXT {
	WHV_X64_MSR_ACCESS_INFO AccessInfo;
	UINT32 MsrNumber;
	UINT64 Rax;
	UINT64 Rdx;
} WHV_X64_MSR_ACCESS_CONTEXT;

/* The registers as the guest set them, and the result it would get. */
typedef struct WHV_X64_CPUID_ACCESS_CONTEXT {
	UINT64 Rax;
	UINT64 Rcx;
	UINT64 Rdx;
	UINT64 Rbx;
	UINT64 DefaultResultRax;
	UINT64 DefaultResultRcx;
	UINT64 DefaultResultRdx;
	UINT64 DefaultResultRbx;
} WHV_X64_CPUID_ACCESS_CONTEXT;

typedef union WHV_VP_EXCEPTION_INFO {
	struct {
		UINT32 ErrorCodeValid : 1;
		UINT32 SoftwareException : 1;
		UINT32 Reserved : 30;
	};
	UINT32 AsUINT32;
} WHV_VP_EXCEPTION_INFO;

typedef struct WHV_VP_EXCEPTION_CONTEXT {
	UINT8 InstructionByteCount;
	UINT8 Reserved[3];
	UINT8 InstructionBytes[16];
	WHV_VP_EXCEPTION_INFO ExceptionInfo;
	UINT8 ExceptionType;
	UINT8 Reserved2[3];
	UINT32 ErrorCode;
	UINT64 ExceptionParameter;
} WHV_VP_EXCEPTION_CONTEXT;

typedef enum WHV_X64_UNSUPPORTED_FEATURE_CODE {
	WHvUnsupportedFeatureIntercept = 1,
	WHvUnsupportedFeatureTaskSwitchTss = 2
} WHV_X64_UNSUPPORTED_FEATURE_CODE;

typedef struct WHV_X64_UNSUPPORTED_FEATURE_CONTEXT {
	WHV_X64_UNSUPPORTED_FEATURE_CODE FeatureCode;
	UINT32 Reserved;
	UINT64 FeatureParameter;
} WHV_X64_UNSUPPORTED_FEATURE_CONTEXT;

typedef enum WHV_RUN_VP_CANCEL_REASON { WHvRunVpCancelReasonUser = 0 } WHV_RUN_VP_CANCEL_REASON;
/* A spelling older headers had. */
#define WhvRunVpCancelReasonUser WHvRunVpCancelReasonUser

typedef struct WHV_RUN_VP_CANCELED_CONTEXT {
	WHV_RUN_VP_CANCEL_REASON CancelReason;
} WHV_RUN_VP_CANCELED_CONTEXT;

typedef struct WHV_X64_INTERRUPTION_DELIVERABLE_CONTEXT {
	WHV_X64_PENDING_INTERRUPTION_TYPE DeliverableType;
} WHV_X64_INTERRUPTION_DELIVERABLE_CONTEXT, *PWHV_X64_INTERRUPTION_DELIVERABLE_CONTEXT;

/* A level-triggered interrupt was ended. */
typedef struct WHV_X64_APIC_EOI_CONTEXT {
	UINT32 InterruptVector;
} WHV_X64_APIC_EOI_CONTEXT;

typedef union WHV_X64_RDTSC_INFO {
	struct {
		UINT64 IsRdtscp : 1;
		UINT64 Reserved : 63;
	};
	UINT64 AsUINT64;
} WHV_X64_RDTSC_INFO;

typedef struct WHV_X64_RDTSC_CONTEXT {
	UINT64 TscAux;
	UINT64 VirtualOffset;
	UINT64 Tsc;
	UINT64 ReferenceTime;
	WHV_X64_RDTSC_INFO RdtscInfo;
} WHV_X64_RDTSC_CONTEXT;

typedef struct WHV_X64_APIC_SMI_CONTEXT {
	UINT64 ApicIcr;
} WHV_X64_APIC_SMI_CONTEXT;

typedef struct WHV_X64_APIC_INIT_SIPI_CONTEXT {
	UINT64 ApicIcr;
} WHV_X64_APIC_INIT_SIPI_CONTEXT;

typedef enum WHV_X64_APIC_WRITE_TYPE {
	WHvX64ApicWriteTypeLdr = 0xD0,
	WHvX64ApicWriteTypeDfr = 0xE0,
	WHvX64ApicWriteTypeSvr = 0xF0,
	WHvX64ApicWriteTypeLint0 = 0x350,
	WHvX64ApicWriteTypeLint1 = 0x360
} WHV_X64_APIC_WRITE_TYPE;

typedef struct WHV_X64_APIC_WRITE_CONTEXT {
	WHV_X64_APIC_WRITE_TYPE Type;
	UINT32 Reserved;
	UINT64 WriteValue;
} WHV_X64_APIC_WRITE_CONTEXT;

#define WHV_HYPERCALL_CONTEXT_MAX_XMM_REGISTERS 6

typedef struct WHV_X64_HYPERCALL_CONTEXT {
	UINT64 Rax;
	UINT64 Rbx;
	UINT64 Rcx;
	UINT64 Rdx;
	UINT64 R8;
	UINT64 Rsi;
	UINT64 Rdi;
	UINT64 Reserved0;
	WHV_UINT128 XmmRegisters[WHV_HYPERCALL_CONTEXT_MAX_XMM_REGISTERS];
	UINT64 Reserved1[2];
} WHV_X64_HYPERCALL_CONTEXT, WHV_HYPERCALL_CONTEXT, *PWHV_HYPERCALL_CONTEXT;

typedef struct WHV_SYNIC_SINT_DELIVERABLE_CONTEXT {
	UINT16 DeliverableSints;
	UINT16 Reserved1;
	UINT32 Reserved2;
} WHV_SYNIC_SINT_DELIVERABLE_CONTEXT;

/* What WHvRunVirtualProcessor fills. */
typedef struct WHV_RUN_VP_EXIT_CONTEXT {
	WHV_RUN_VP_EXIT_REASON ExitReason;
	UINT32 Reserved;
	WHV_VP_EXIT_CONTEXT VpContext;
	union {
		WHV_MEMORY_ACCESS_CONTEXT MemoryAccess;
		WHV_RUN_VP_CANCELED_CONTEXT CancelReason;
		WHV_HYPERCALL_CONTEXT Hypercall;
		WHV_SYNIC_SINT_DELIVERABLE_CONTEXT SynicSintDeliverable;
		WHV_X64_IO_PORT_ACCESS_CONTEXT IoPortAccess;
		WHV_X64_MSR_ACCESS_CONTEXT MsrAccess;
		WHV_X64_CPUID_ACCESS_CONTEXT CpuidAccess;
		WHV_VP_EXCEPTION_CONTEXT VpException;
		WHV_X64_INTERRUPTION_DELIVERABLE_CONTEXT InterruptWindow;
		WHV_X64_UNSUPPORTED_FEATURE_CONTEXT UnsupportedFeature;
		WHV_X64_APIC_EOI_CONTEXT ApicEoi;
		WHV_X64_RDTSC_CONTEXT ReadTsc;
		WHV_X64_APIC_SMI_CONTEXT ApicSmi;
		WHV_X64_APIC_INIT_SIPI_CONTEXT ApicInitSipi;
		WHV_X64_APIC_WRITE_CONTEXT ApicWrite;
		UINT64 AsUINT64[22];
	};
} WHV_RUN_VP_EXIT_CONTEXT;

#endif
