/*
 * whp/partition.h - capabilities, partition properties, counters.
 *
 * Source: the Windows SDK's definition of the same names (values and layouts are its ABI); sizes
 * and offsets are asserted in src/hypervisor/abi.c. Include <WinHvPlatformDefs.h>, not this file.
 */
#ifndef PARTITA_WHP_PARTITION_H
#define PARTITA_WHP_PARTITION_H

#include <whp/features.h>
#include <whp/memory.h>

typedef VOID *WHV_PARTITION_HANDLE;

typedef enum WHV_CAPABILITY_CODE {
	WHvCapabilityCodeHypervisorPresent = 0x00000000,
	WHvCapabilityCodeFeatures = 0x00000001,
	WHvCapabilityCodeExtendedVmExits = 0x00000002,
	WHvCapabilityCodeExceptionExitBitmap = 0x00000003,
	WHvCapabilityCodeX64MsrExitBitmap = 0x00000004,
	WHvCapabilityCodeGpaRangePopulateFlags = 0x00000005,
	WHvCapabilityCodeSchedulerFeatures = 0x00000006,
	WHvCapabilityCodeProcessorVendor = 0x00001000,
	WHvCapabilityCodeProcessorFeatures = 0x00001001,
	WHvCapabilityCodeProcessorClFlushSize = 0x00001002,
	WHvCapabilityCodeProcessorXsaveFeatures = 0x00001003,
	WHvCapabilityCodeProcessorClockFrequency = 0x00001004,
	WHvCapabilityCodeInterruptClockFrequency = 0x00001005,
	WHvCapabilityCodeProcessorFeaturesBanks = 0x00001006,
	WHvCapabilityCodeProcessorFrequencyCap = 0x00001007,
	WHvCapabilityCodeSyntheticProcessorFeaturesBanks = 0x00001008,
	WHvCapabilityCodeProcessorPerfmonFeatures = 0x00001009,
	WHvCapabilityCodePhysicalAddressWidth = 0x0000100A,
	WHvCapabilityCodeVmxBasic = 0x00002000,
	WHvCapabilityCodeVmxPinbasedCtls = 0x00002001,
	WHvCapabilityCodeVmxProcbasedCtls = 0x00002002,
	WHvCapabilityCodeVmxExitCtls = 0x00002003,
	WHvCapabilityCodeVmxEntryCtls = 0x00002004,
	WHvCapabilityCodeVmxMisc = 0x00002005,
	WHvCapabilityCodeVmxCr0Fixed0 = 0x00002006,
	WHvCapabilityCodeVmxCr0Fixed1 = 0x00002007,
	WHvCapabilityCodeVmxCr4Fixed0 = 0x00002008,
	WHvCapabilityCodeVmxCr4Fixed1 = 0x00002009,
	WHvCapabilityCodeVmxVmcsEnum = 0x0000200A,
	WHvCapabilityCodeVmxProcbasedCtls2 = 0x0000200B,
	WHvCapabilityCodeVmxEptVpidCap = 0x0000200C,
	WHvCapabilityCodeVmxTruePinbasedCtls = 0x0000200D,
	WHvCapabilityCodeVmxTrueProcbasedCtls = 0x0000200E,
	WHvCapabilityCodeVmxTrueExitCtls = 0x0000200F,
	WHvCapabilityCodeVmxTrueEntryCtls = 0x00002010,
} WHV_CAPABILITY_CODE;

typedef union WHV_CAPABILITY_FEATURES {
	struct {
		UINT64 PartialUnmap : 1;
		UINT64 LocalApicEmulation : 1;
		UINT64 Xsave : 1;
		UINT64 DirtyPageTracking : 1;
		UINT64 SpeculationControl : 1;
		UINT64 ApicRemoteRead : 1;
		UINT64 IdleSuspend : 1;
		UINT64 VirtualPciDeviceSupport : 1;
		UINT64 IommuSupport : 1;
		UINT64 VpHotAddRemove : 1;
		UINT64 DeviceAccessTracking : 1;
		UINT64 ReservedX640 : 1;
		UINT64 Reserved : 52;
	};
	UINT64 AsUINT64;
} WHV_CAPABILITY_FEATURES;

/* Exits beyond the standard ones, to be asked for before WHvSetupPartition. */
typedef union WHV_EXTENDED_VM_EXITS {
	struct {
		UINT64 X64CpuidExit : 1;
		UINT64 X64MsrExit : 1;
		UINT64 ExceptionExit : 1;
		UINT64 X64RdtscExit : 1;
		UINT64 X64ApicSmiExitTrap : 1;
		UINT64 HypercallExit : 1;
		UINT64 X64ApicInitSipiExitTrap : 1;
		UINT64 X64ApicWriteLint0ExitTrap : 1;
		UINT64 X64ApicWriteLint1ExitTrap : 1;
		UINT64 X64ApicWriteSvrExitTrap : 1;
		UINT64 UnknownSynicConnection : 1;
		UINT64 RetargetUnknownVpciDevice : 1;
		UINT64 X64ApicWriteLdrExitTrap : 1;
		UINT64 X64ApicWriteDfrExitTrap : 1;
		UINT64 GpaAccessFaultExit : 1;
		UINT64 Reserved : 49;
	};
	UINT64 AsUINT64;
} WHV_EXTENDED_VM_EXITS;

/* Which MSR accesses exit when X64MsrExit is set. */
typedef union WHV_X64_MSR_EXIT_BITMAP {
	UINT64 AsUINT64;
	struct {
		UINT64 UnhandledMsrs : 1;
		UINT64 TscMsrWrite : 1;
		UINT64 TscMsrRead : 1;
		UINT64 ApicBaseMsrWrite : 1;
		UINT64 MiscEnableMsrRead : 1;
		UINT64 McUpdatePatchLevelMsrRead : 1;
		UINT64 Reserved : 58;
	};
} WHV_X64_MSR_EXIT_BITMAP;

typedef union WHV_SCHEDULER_FEATURES {
	struct {
		UINT64 CpuReserve : 1;
		UINT64 CpuCap : 1;
		UINT64 CpuWeight : 1;
		UINT64 CpuGroupId : 1;
		UINT64 DisableSmt : 1;
		UINT64 Reserved : 59;
	};
	UINT64 AsUINT64;
} WHV_SCHEDULER_FEATURES;

typedef struct WHV_CAPABILITY_PROCESSOR_FREQUENCY_CAP {
	UINT32 IsSupported : 1;
	UINT32 Reserved : 31;
	UINT32 HighestFrequencyMhz;
	UINT32 NominalFrequencyMhz;
	UINT32 LowestFrequencyMhz;
	UINT32 FrequencyStepMhz;
} WHV_CAPABILITY_PROCESSOR_FREQUENCY_CAP;

typedef union WHV_CAPABILITY {
	BOOL HypervisorPresent;
	WHV_CAPABILITY_FEATURES Features;
	WHV_EXTENDED_VM_EXITS ExtendedVmExits;
	WHV_PROCESSOR_VENDOR ProcessorVendor;
	WHV_PROCESSOR_FEATURES ProcessorFeatures;
	WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS SyntheticProcessorFeaturesBanks;
	UINT8 ProcessorClFlushSize;
	UINT64 ProcessorClockFrequency;
	WHV_PROCESSOR_FEATURES_BANKS ProcessorFeaturesBanks;
	WHV_ADVISE_GPA_RANGE_POPULATE_FLAGS GpaRangePopulateFlags;
	WHV_CAPABILITY_PROCESSOR_FREQUENCY_CAP ProcessorFrequencyCap;
	WHV_SCHEDULER_FEATURES SchedulerFeatures;
	UINT32 PhysicalAddressWidth;
	UINT64 NestedFeatureRegister;
	WHV_PROCESSOR_XSAVE_FEATURES ProcessorXsaveFeatures;
	UINT64 InterruptClockFrequency;
	WHV_PROCESSOR_PERFMON_FEATURES ProcessorPerfmonFeatures;
	WHV_X64_MSR_EXIT_BITMAP X64MsrExitBitmap;
	UINT64 ExceptionExitBitmap;
} WHV_CAPABILITY;

typedef enum WHV_PARTITION_PROPERTY_CODE {
	WHvPartitionPropertyCodeExtendedVmExits = 0x00000001,
	WHvPartitionPropertyCodeExceptionExitBitmap = 0x00000002,
	WHvPartitionPropertyCodeSeparateSecurityDomain = 0x00000003,
	WHvPartitionPropertyCodeNestedVirtualization = 0x00000004,
	WHvPartitionPropertyCodeX64MsrExitBitmap = 0x00000005,
	WHvPartitionPropertyCodePrimaryNumaNode = 0x00000006,
	WHvPartitionPropertyCodeCpuReserve = 0x00000007,
	WHvPartitionPropertyCodeCpuCap = 0x00000008,
	WHvPartitionPropertyCodeCpuWeight = 0x00000009,
	WHvPartitionPropertyCodeCpuGroupId = 0x0000000a,
	WHvPartitionPropertyCodeProcessorFrequencyCap = 0x0000000b,
	WHvPartitionPropertyCodeAllowDeviceAssignment = 0x0000000c,
	WHvPartitionPropertyCodeDisableSmt = 0x0000000d,
	WHvPartitionPropertyCodeProcessorFeatures = 0x00001001,
	WHvPartitionPropertyCodeProcessorClFlushSize = 0x00001002,
	WHvPartitionPropertyCodeCpuidExitList = 0x00001003,
	WHvPartitionPropertyCodeCpuidResultList = 0x00001004,
	WHvPartitionPropertyCodeLocalApicEmulationMode = 0x00001005,
	WHvPartitionPropertyCodeProcessorXsaveFeatures = 0x00001006,
	WHvPartitionPropertyCodeProcessorClockFrequency = 0x00001007,
	WHvPartitionPropertyCodeInterruptClockFrequency = 0x00001008,
	WHvPartitionPropertyCodeApicRemoteReadSupport = 0x00001009,
	WHvPartitionPropertyCodeProcessorFeaturesBanks = 0x0000100A,
	WHvPartitionPropertyCodeReferenceTime = 0x0000100B,
	WHvPartitionPropertyCodeSyntheticProcessorFeaturesBanks = 0x0000100C,
	WHvPartitionPropertyCodeCpuidResultList2 = 0x0000100D,
	WHvPartitionPropertyCodeProcessorPerfmonFeatures = 0x0000100E,
	WHvPartitionPropertyCodeMsrActionList = 0x0000100F,
	WHvPartitionPropertyCodeUnimplementedMsrAction = 0x00001010,
	WHvPartitionPropertyCodePhysicalAddressWidth = 0x00001011,
	WHvPartitionPropertyCodeProcessorCount = 0x00001fff,
} WHV_PARTITION_PROPERTY_CODE;

typedef struct WHV_CPUID_OUTPUT {
	UINT32 Eax;
	UINT32 Ebx;
	UINT32 Ecx;
	UINT32 Edx;
} WHV_CPUID_OUTPUT;

typedef struct WHV_X64_CPUID_RESULT {
	UINT32 Function;
	UINT32 Reserved[3];
	UINT32 Eax;
	UINT32 Ebx;
	UINT32 Ecx;
	UINT32 Edx;
} WHV_X64_CPUID_RESULT;

typedef enum WHV_X64_CPUID_RESULT2_FLAGS {
	WHvX64CpuidResult2FlagSubleafSpecific = 0x00000001,
	WHvX64CpuidResult2FlagVpSpecific = 0x00000002,
} WHV_X64_CPUID_RESULT2_FLAGS;
DEFINE_ENUM_FLAG_OPERATORS(WHV_X64_CPUID_RESULT2_FLAGS)

/* Bits set in Mask come from Output, the others stay as the processor has them. */
typedef struct WHV_X64_CPUID_RESULT2 {
	UINT32 Function;
	UINT32 Index;
	UINT32 VpIndex;
	WHV_X64_CPUID_RESULT2_FLAGS Flags;
	WHV_CPUID_OUTPUT Output;
	WHV_CPUID_OUTPUT Mask;
} WHV_X64_CPUID_RESULT2;

typedef enum WHV_MSR_ACTION {
	WHvMsrActionArchitectureDefault = 0,
	WHvMsrActionIgnoreWriteReadZero = 1,
	WHvMsrActionExit = 2,
} WHV_MSR_ACTION;

/* ReadAction and WriteAction are WHV_MSR_ACTION. */
typedef struct WHV_MSR_ACTION_ENTRY {
	UINT32 Index;
	UINT8 ReadAction;
	UINT8 WriteAction;
	UINT16 Reserved;
} WHV_MSR_ACTION_ENTRY;

/* Bit numbers of the exception exit bitmap. */
typedef enum WHV_EXCEPTION_TYPE {
	WHvX64ExceptionTypeDivideErrorFault = 0x0,
	WHvX64ExceptionTypeDebugTrapOrFault = 0x1,
	WHvX64ExceptionTypeBreakpointTrap = 0x3,
	WHvX64ExceptionTypeOverflowTrap = 0x4,
	WHvX64ExceptionTypeBoundRangeFault = 0x5,
	WHvX64ExceptionTypeInvalidOpcodeFault = 0x6,
	WHvX64ExceptionTypeDeviceNotAvailableFault = 0x7,
	WHvX64ExceptionTypeDoubleFaultAbort = 0x8,
	WHvX64ExceptionTypeInvalidTaskStateSegmentFault = 0x0A,
	WHvX64ExceptionTypeSegmentNotPresentFault = 0x0B,
	WHvX64ExceptionTypeStackFault = 0x0C,
	WHvX64ExceptionTypeGeneralProtectionFault = 0x0D,
	WHvX64ExceptionTypePageFault = 0x0E,
	WHvX64ExceptionTypeFloatingPointErrorFault = 0x10,
	WHvX64ExceptionTypeAlignmentCheckFault = 0x11,
	WHvX64ExceptionTypeMachineCheckAbort = 0x12,
	WHvX64ExceptionTypeSimdFloatingPointFault = 0x13,
	WHvX64ExceptionTypeControlProtectionFault = 0x15,
} WHV_EXCEPTION_TYPE;

typedef enum WHV_X64_LOCAL_APIC_EMULATION_MODE {
	WHvX64LocalApicEmulationModeNone,
	WHvX64LocalApicEmulationModeXApic,
	WHvX64LocalApicEmulationModeX2Apic
} WHV_X64_LOCAL_APIC_EMULATION_MODE;

typedef union WHV_PARTITION_PROPERTY {
	WHV_EXTENDED_VM_EXITS ExtendedVmExits;
	WHV_PROCESSOR_FEATURES ProcessorFeatures;
	WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS SyntheticProcessorFeaturesBanks;
	UINT8 ProcessorClFlushSize;
	UINT32 ProcessorCount;
	BOOL SeparateSecurityDomain;
	BOOL NestedVirtualization;
	UINT64 ProcessorClockFrequency;
	WHV_PROCESSOR_FEATURES_BANKS ProcessorFeaturesBanks;
	UINT64 ReferenceTime;
	USHORT PrimaryNumaNode;
	UINT32 CpuReserve;
	UINT32 CpuCap;
	UINT32 CpuWeight;
	UINT64 CpuGroupId;
	UINT32 ProcessorFrequencyCap;
	BOOL AllowDeviceAssignment;
	BOOL DisableSmt;
	UINT32 PhysicalAddressWidth;
	WHV_PROCESSOR_XSAVE_FEATURES ProcessorXsaveFeatures;
	UINT32 CpuidExitList[1];
	UINT64 ExceptionExitBitmap;
	BOOL ApicRemoteRead;
	WHV_X64_MSR_EXIT_BITMAP X64MsrExitBitmap;
	WHV_PROCESSOR_PERFMON_FEATURES ProcessorPerfmonFeatures;
	UINT64 InterruptClockFrequency;
	WHV_X64_CPUID_RESULT CpuidResultList[1];
	WHV_X64_CPUID_RESULT2 CpuidResultList2[1];
	WHV_MSR_ACTION_ENTRY MsrActionList[1];
	WHV_MSR_ACTION UnimplementedMsrAction;
	WHV_X64_LOCAL_APIC_EMULATION_MODE LocalApicEmulationMode;
} WHV_PARTITION_PROPERTY;

typedef struct WHV_INITIAL_VP_CONTEXT {
	UINT64 Rip;
	UINT64 Rsp;
	UINT64 Rflags;
	WHV_X64_SEGMENT_REGISTER Cs;
	WHV_X64_SEGMENT_REGISTER Ds;
	WHV_X64_SEGMENT_REGISTER Es;
	WHV_X64_SEGMENT_REGISTER Fs;
	WHV_X64_SEGMENT_REGISTER Gs;
	WHV_X64_SEGMENT_REGISTER Ss;
	WHV_X64_SEGMENT_REGISTER Tr;
	WHV_X64_SEGMENT_REGISTER Ldtr;
	WHV_X64_TABLE_REGISTER Idtr;
	WHV_X64_TABLE_REGISTER Gdtr;
	UINT64 Efer;
	UINT64 Cr0;
	UINT64 Cr3;
	UINT64 Cr4;
	UINT64 MsrCrPat;
} WHV_INITIAL_VP_CONTEXT;

typedef enum WHV_PARTITION_COUNTER_SET {
	WHvPartitionCounterSetMemory,
} WHV_PARTITION_COUNTER_SET;

typedef struct WHV_PARTITION_MEMORY_COUNTERS {
	UINT64 Mapped4KPageCount;
	UINT64 Mapped2MPageCount;
	UINT64 Mapped1GPageCount;
} WHV_PARTITION_MEMORY_COUNTERS;

typedef enum WHV_PROCESSOR_COUNTER_SET {
	WHvProcessorCounterSetRuntime = 0,
	WHvProcessorCounterSetIntercepts = 1,
	WHvProcessorCounterSetEvents = 2,
	WHvProcessorCounterSetApic = 3,
	WHvProcessorCounterSetSyntheticFeatures = 4,
} WHV_PROCESSOR_COUNTER_SET;

typedef struct WHV_PROCESSOR_RUNTIME_COUNTERS {
	UINT64 TotalRuntime100ns;
	UINT64 HypervisorRuntime100ns;
} WHV_PROCESSOR_RUNTIME_COUNTERS;

typedef struct WHV_PROCESSOR_INTERCEPT_COUNTER {
	UINT64 Count;
	UINT64 Time100ns;
} WHV_PROCESSOR_INTERCEPT_COUNTER;

typedef struct WHV_PROCESSOR_INTERCEPT_COUNTERS {
	WHV_PROCESSOR_INTERCEPT_COUNTER PageInvalidations;
	WHV_PROCESSOR_INTERCEPT_COUNTER ControlRegisterAccesses;
	WHV_PROCESSOR_INTERCEPT_COUNTER IoInstructions;
	WHV_PROCESSOR_INTERCEPT_COUNTER HaltInstructions;
	WHV_PROCESSOR_INTERCEPT_COUNTER CpuidInstructions;
	WHV_PROCESSOR_INTERCEPT_COUNTER MsrAccesses;
	WHV_PROCESSOR_INTERCEPT_COUNTER OtherIntercepts;
	WHV_PROCESSOR_INTERCEPT_COUNTER PendingInterrupts;
	WHV_PROCESSOR_INTERCEPT_COUNTER EmulatedInstructions;
	WHV_PROCESSOR_INTERCEPT_COUNTER DebugRegisterAccesses;
	WHV_PROCESSOR_INTERCEPT_COUNTER PageFaultIntercepts;
	WHV_PROCESSOR_INTERCEPT_COUNTER NestedPageFaultIntercepts;
	WHV_PROCESSOR_INTERCEPT_COUNTER Hypercalls;
	WHV_PROCESSOR_INTERCEPT_COUNTER RdpmcInstructions;
} WHV_PROCESSOR_ACTIVITY_COUNTERS;

typedef struct WHV_PROCESSOR_EVENT_COUNTERS {
	UINT64 PageFaultCount;
	UINT64 ExceptionCount;
	UINT64 InterruptCount;
} WHV_PROCESSOR_GUEST_EVENT_COUNTERS;

typedef struct WHV_PROCESSOR_APIC_COUNTERS {
	UINT64 MmioAccessCount;
	UINT64 EoiAccessCount;
	UINT64 TprAccessCount;
	UINT64 SentIpiCount;
	UINT64 SelfIpiCount;
} WHV_PROCESSOR_APIC_COUNTERS;

typedef struct WHV_PROCESSOR_SYNTHETIC_FEATURES_COUNTERS {
	UINT64 SyntheticInterruptsCount;
	UINT64 LongSpinWaitHypercallsCount;
	UINT64 OtherHypercallsCount;
	UINT64 SyntheticInterruptHypercallsCount;
	UINT64 VirtualInterruptHypercallsCount;
	UINT64 VirtualMmuHypercallsCount;
} WHV_PROCESSOR_SYNTHETIC_FEATURES_COUNTERS;

#endif
