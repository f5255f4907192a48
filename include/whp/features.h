/*
 * whp/features.h - what a processor can do, bit by bit.
 *
 * Source: the Windows SDK's definition of the same names (values and layouts are its ABI); sizes
 * and offsets are asserted in src/hypervisor/abi.c. Include <WinHvPlatformDefs.h>, not this file.
 */
#ifndef PARTITA_WHP_FEATURES_H
#define PARTITA_WHP_FEATURES_H

#include <windows.h>

typedef enum WHV_PROCESSOR_VENDOR {
	WHvProcessorVendorAmd = 0x0000,
	WHvProcessorVendorIntel = 0x0001,
	WHvProcessorVendorHygon = 0x0002,
	WHvProcessorVendorArm = 0x0010,
} WHV_PROCESSOR_VENDOR;

/* Bank 0: what the processor offers the guest. */
typedef union WHV_X64_PROCESSOR_FEATURES {
	struct {
		UINT64 Sse3Support : 1;
		UINT64 LahfSahfSupport : 1;
		UINT64 Ssse3Support : 1;
		UINT64 Sse4_1Support : 1;
		UINT64 Sse4_2Support : 1;
		UINT64 Sse4aSupport : 1;
		UINT64 XopSupport : 1;
		UINT64 PopCntSupport : 1;
		UINT64 Cmpxchg16bSupport : 1;
		UINT64 Altmovcr8Support : 1;
		UINT64 LzcntSupport : 1;
		UINT64 MisAlignSseSupport : 1;
		UINT64 MmxExtSupport : 1;
		UINT64 Amd3DNowSupport : 1;
		UINT64 ExtendedAmd3DNowSupport : 1;
		UINT64 Page1GbSupport : 1;
		UINT64 AesSupport : 1;
		UINT64 PclmulqdqSupport : 1;
		UINT64 PcidSupport : 1;
		UINT64 Fma4Support : 1;
		UINT64 F16CSupport : 1;
		UINT64 RdRandSupport : 1;
		UINT64 RdWrFsGsSupport : 1;
		UINT64 SmepSupport : 1;
		UINT64 EnhancedFastStringSupport : 1;
		UINT64 Bmi1Support : 1;
		UINT64 Bmi2Support : 1;
		UINT64 Reserved1 : 2;
		UINT64 MovbeSupport : 1;
		UINT64 Npiep1Support : 1;
		UINT64 DepX87FPUSaveSupport : 1;
		UINT64 RdSeedSupport : 1;
		UINT64 AdxSupport : 1;
		UINT64 IntelPrefetchSupport : 1;
		UINT64 SmapSupport : 1;
		UINT64 HleSupport : 1;
		UINT64 RtmSupport : 1;
		UINT64 RdtscpSupport : 1;
		UINT64 ClflushoptSupport : 1;
		UINT64 ClwbSupport : 1;
		UINT64 ShaSupport : 1;
		UINT64 X87PointersSavedSupport : 1;
		UINT64 InvpcidSupport : 1;
		UINT64 IbrsSupport : 1;
		UINT64 StibpSupport : 1;
		UINT64 IbpbSupport : 1;
		UINT64 UnrestrictedGuestSupport : 1;
		UINT64 SsbdSupport : 1;
		UINT64 FastShortRepMovSupport : 1;
		UINT64 Reserved3 : 1;
		UINT64 RdclNo : 1;
		UINT64 IbrsAllSupport : 1;
		UINT64 Reserved4 : 1;
		UINT64 SsbNo : 1;
		UINT64 RsbANo : 1;
		UINT64 Reserved5 : 1;
		UINT64 RdPidSupport : 1;
		UINT64 UmipSupport : 1;
		UINT64 MdsNoSupport : 1;
		UINT64 MdClearSupport : 1;
		UINT64 TaaNoSupport : 1;
		UINT64 TsxCtrlSupport : 1;
		UINT64 Reserved6 : 1;
	};
	UINT64 AsUINT64;
} WHV_X64_PROCESSOR_FEATURES, WHV_PROCESSOR_FEATURES;

/* Bank 1. */
typedef union WHV_X64_PROCESSOR_FEATURES1 {
	struct {
		UINT64 ACountMCountSupport : 1;
		UINT64 TscInvariantSupport : 1;
		UINT64 ClZeroSupport : 1;
		UINT64 RdpruSupport : 1;
		UINT64 La57Support : 1;
		UINT64 MbecSupport : 1;
		UINT64 NestedVirtSupport : 1;
		UINT64 PsfdSupport : 1;
		UINT64 CetSsSupport : 1;
		UINT64 CetIbtSupport : 1;
		UINT64 VmxExceptionInjectSupport : 1;
		UINT64 Reserved2 : 1;
		UINT64 UmwaitTpauseSupport : 1;
		UINT64 MovdiriSupport : 1;
		UINT64 Movdir64bSupport : 1;
		UINT64 CldemoteSupport : 1;
		UINT64 SerializeSupport : 1;
		UINT64 TscDeadlineTmrSupport : 1;
		UINT64 TscAdjustSupport : 1;
		UINT64 FZLRepMovsb : 1;
		UINT64 FSRepStosb : 1;
		UINT64 FSRepCmpsb : 1;
		UINT64 TsxLdTrkSupport : 1;
		UINT64 VmxInsOutsExitInfoSupport : 1;
		UINT64 Reserved3 : 1;
		UINT64 SbdrSsdpNoSupport : 1;
		UINT64 FbsdpNoSupport : 1;
		UINT64 PsdpNoSupport : 1;
		UINT64 FbClearSupport : 1;
		UINT64 BtcNoSupport : 1;
		UINT64 IbpbRsbFlushSupport : 1;
		UINT64 StibpAlwaysOnSupport : 1;
		UINT64 PerfGlobalCtrlSupport : 1;
		UINT64 NptExecuteOnlySupport : 1;
		UINT64 NptADFlagsSupport : 1;
		UINT64 Npt1GbPageSupport : 1;
		UINT64 Reserved4 : 1;
		UINT64 Reserved5 : 1;
		UINT64 Reserved6 : 1;
		UINT64 Reserved7 : 1;
		UINT64 CmpccxaddSupport : 1;
		UINT64 Reserved8 : 1;
		UINT64 Reserved9 : 1;
		UINT64 Reserved10 : 1;
		UINT64 Reserved11 : 1;
		UINT64 PrefetchISupport : 1;
		UINT64 Sha512Support : 1;
		UINT64 Reserved12 : 1;
		UINT64 Reserved13 : 1;
		UINT64 Reserved14 : 1;
		UINT64 SM3Support : 1;
		UINT64 SM4Support : 1;
		UINT64 Reserved15 : 1;
		UINT64 Reserved16 : 1;
		UINT64 SbpbSupported : 1;
		UINT64 IbpbBrTypeSupported : 1;
		UINT64 SrsoNoSupported : 1;
		UINT64 SrsoUserKernelNoSupported : 1;
		UINT64 Reserved17 : 1;
		UINT64 Reserved18 : 1;
		UINT64 Reserved19 : 1;
		UINT64 Reserved20 : 3;
	};
	UINT64 AsUINT64;
} WHV_X64_PROCESSOR_FEATURES1, WHV_PROCESSOR_FEATURES1;

#define WHV_PROCESSOR_FEATURES_BANKS_COUNT 2

/* BanksCount says how many of AsUINT64[] the caller filled. */
typedef struct WHV_PROCESSOR_FEATURES_BANKS {
	UINT32 BanksCount;
	UINT32 Reserved0;
	union {
		struct {
			WHV_PROCESSOR_FEATURES Bank0;
			WHV_PROCESSOR_FEATURES1 Bank1;
		};
		UINT64 AsUINT64[WHV_PROCESSOR_FEATURES_BANKS_COUNT];
	};
} WHV_PROCESSOR_FEATURES_BANKS;

/* Hyper-V enlightenments: the names are those of the TLFS privileges they grant. */
typedef union WHV_SYNTHETIC_PROCESSOR_FEATURES {
	struct {
		UINT64 HypervisorPresent : 1;
		UINT64 Hv1 : 1;
		UINT64 AccessVpRunTimeReg : 1;
		UINT64 AccessPartitionReferenceCounter : 1;
		UINT64 AccessSynicRegs : 1;
		UINT64 AccessSyntheticTimerRegs : 1;
		UINT64 AccessIntrCtrlRegs : 1;
		UINT64 AccessHypercallRegs : 1;
		UINT64 AccessVpIndex : 1;
		UINT64 AccessPartitionReferenceTsc : 1;
		UINT64 AccessGuestIdleReg : 1;
		UINT64 AccessFrequencyRegs : 1;
		UINT64 ReservedZ12 : 1;
		UINT64 ReservedZ13 : 1;
		UINT64 ReservedZ14 : 1;
		UINT64 EnableExtendedGvaRangesForFlushVirtualAddressList : 1;
		UINT64 ReservedZ16 : 1;
		UINT64 ReservedZ17 : 1;
		UINT64 FastHypercallOutput : 1;
		UINT64 ReservedZ19 : 1;
		UINT64 ReservedZ20 : 1;
		UINT64 ReservedZ21 : 1;
		UINT64 DirectSyntheticTimers : 1;
		UINT64 ReservedZ23 : 1;
		UINT64 ExtendedProcessorMasks : 1;
		UINT64 TbFlushHypercalls : 1;
		UINT64 SyntheticClusterIpi : 1;
		UINT64 NotifyLongSpinWait : 1;
		UINT64 QueryNumaDistance : 1;
		UINT64 SignalEvents : 1;
		UINT64 RetargetDeviceInterrupt : 1;
		UINT64 RestoreTime : 1;
		UINT64 EnlightenedVmcs : 1;
		UINT64 NestedDebugCtl : 1;
		UINT64 SyntheticTimeUnhaltedTimer : 1;
		UINT64 IdleSpecCtrl : 1;
		UINT64 ReservedZ36 : 1;
		UINT64 WakeVps : 1;
		UINT64 AccessVpRegs : 1;
		UINT64 ReservedZ39 : 1;
		UINT64 ReservedZ40 : 1;
		UINT64 ReservedZ41 : 1;
		UINT64 ReservedZ42 : 1;
		UINT64 ReservedZ43 : 1;
		UINT64 ReservedZ44 : 1;
		UINT64 Reserved : 19;
	};
	UINT64 AsUINT64;
} WHV_SYNTHETIC_PROCESSOR_FEATURES;

#define WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS_COUNT 1

typedef struct WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS {
	UINT32 BanksCount;
	UINT32 Reserved0;
	union {
		struct {
			WHV_SYNTHETIC_PROCESSOR_FEATURES Bank0;
		};
		UINT64 AsUINT64[WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS_COUNT];
	};
} WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS;

typedef union WHV_PROCESSOR_XSAVE_FEATURES {
	struct {
		UINT64 XsaveSupport : 1;
		UINT64 XsaveoptSupport : 1;
		UINT64 AvxSupport : 1;
		UINT64 Avx2Support : 1;
		UINT64 FmaSupport : 1;
		UINT64 MpxSupport : 1;
		UINT64 Avx512Support : 1;
		UINT64 Avx512DQSupport : 1;
		UINT64 Avx512CDSupport : 1;
		UINT64 Avx512BWSupport : 1;
		UINT64 Avx512VLSupport : 1;
		UINT64 XsaveCompSupport : 1;
		UINT64 XsaveSupervisorSupport : 1;
		UINT64 Xcr1Support : 1;
		UINT64 Avx512BitalgSupport : 1;
		UINT64 Avx512IfmaSupport : 1;
		UINT64 Avx512VBmiSupport : 1;
		UINT64 Avx512VBmi2Support : 1;
		UINT64 Avx512VnniSupport : 1;
		UINT64 GfniSupport : 1;
		UINT64 VaesSupport : 1;
		UINT64 Avx512VPopcntdqSupport : 1;
		UINT64 VpclmulqdqSupport : 1;
		UINT64 Avx512Bf16Support : 1;
		UINT64 Avx512Vp2IntersectSupport : 1;
		UINT64 Avx512Fp16Support : 1;
		UINT64 XfdSupport : 1;
		UINT64 AmxTileSupport : 1;
		UINT64 AmxBf16Support : 1;
		UINT64 AmxInt8Support : 1;
		UINT64 AvxVnniSupport : 1;
		UINT64 AvxIfmaSupport : 1;
		UINT64 AvxNeConvertSupport : 1;
		UINT64 AvxVnniInt8Support : 1;
		UINT64 AvxVnniInt16Support : 1;
		UINT64 Avx10_1_256Support : 1;
		UINT64 Avx10_1_512Support : 1;
		UINT64 AmxFp16Support : 1;
		UINT64 Reserved : 26;
	};
	UINT64 AsUINT64;
} WHV_PROCESSOR_XSAVE_FEATURES, *PWHV_PROCESSOR_XSAVE_FEATURES;

typedef union WHV_PROCESSOR_PERFMON_FEATURES {
	struct {
		UINT64 PmuSupport : 1;
		UINT64 LbrSupport : 1;
		UINT64 Reserved : 62;
	};
	UINT64 AsUINT64;
} WHV_PROCESSOR_PERFMON_FEATURES, *PWHV_PROCESSOR_PERFMON_FEATURES;

#endif
