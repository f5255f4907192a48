/*
 * capability.c - what the platform can do: WHvGetCapability, and how the API's feature bits
 * correspond to CPUID's.
 */
#include "hypervisor/partition.h"

#include <string.h>

/* A feature: its bit in a bank (or the XSAVE features), and its bit in struct x86_features. */
struct feature {
	uint8_t bit;
	uint8_t word; /* enum word */
	uint8_t cpuid_bit;
};

enum word {
	LEAF1_ECX,
	LEAF7_EBX,
	LEAF7_ECX,
	LEAF7_EDX,
	EXT1_ECX,
	EXT1_EDX,
	XSAVE1_EAX,
};

/* WHV_X64_PROCESSOR_FEATURES, by bit number. */
static const struct feature bank0[] = {
	{0, LEAF1_ECX, 0},   /* SSE3 */
	{1, EXT1_ECX, 0},    /* LAHF, SAHF */
	{2, LEAF1_ECX, 9},   /* SSSE3 */
	{3, LEAF1_ECX, 19},  /* SSE4.1 */
	{4, LEAF1_ECX, 20},  /* SSE4.2 */
	{5, EXT1_ECX, 6},    /* SSE4a */
	{6, EXT1_ECX, 11},   /* XOP */
	{7, LEAF1_ECX, 23},  /* POPCNT */
	{8, LEAF1_ECX, 13},  /* CMPXCHG16B */
	{9, EXT1_ECX, 4},    /* LOCK MOV CR0 is MOV CR8 */
	{10, EXT1_ECX, 5},   /* LZCNT */
	{11, EXT1_ECX, 7},   /* misaligned SSE */
	{12, EXT1_EDX, 22},  /* AMD's MMX extensions */
	{13, EXT1_EDX, 31},  /* 3DNow! */
	{14, EXT1_EDX, 30},  /* 3DNow! extensions */
	{15, EXT1_EDX, 26},  /* 1 GiB pages */
	{16, LEAF1_ECX, 25}, /* AES */
	{17, LEAF1_ECX, 1},  /* PCLMULQDQ */
	{18, LEAF1_ECX, 17}, /* PCID */
	{19, EXT1_ECX, 16},  /* FMA4 */
	{20, LEAF1_ECX, 29}, /* F16C */
	{21, LEAF1_ECX, 30}, /* RDRAND */
	{22, LEAF7_EBX, 0},  /* FSGSBASE */
	{23, LEAF7_EBX, 7},  /* SMEP */
	{24, LEAF7_EBX, 9},  /* enhanced REP MOVSB */
	{25, LEAF7_EBX, 3},  /* BMI1 */
	{26, LEAF7_EBX, 8},  /* BMI2 */
	{29, LEAF1_ECX, 22}, /* MOVBE */
	{32, LEAF7_EBX, 18}, /* RDSEED */
	{33, LEAF7_EBX, 19}, /* ADX */
	{34, EXT1_ECX, 8},   /* PREFETCHW */
	{35, LEAF7_EBX, 20}, /* SMAP */
	{36, LEAF7_EBX, 4},  /* HLE */
	{37, LEAF7_EBX, 11}, /* RTM */
	{38, EXT1_EDX, 27},  /* RDTSCP */
	{39, LEAF7_EBX, 23}, /* CLFLUSHOPT */
	{40, LEAF7_EBX, 24}, /* CLWB */
	{41, LEAF7_EBX, 29}, /* SHA */
	{43, LEAF7_EBX, 10}, /* INVPCID */
	{44, LEAF7_EDX, 26}, /* IBRS, IBPB */
	{45, LEAF7_EDX, 27}, /* STIBP */
	{48, LEAF7_EDX, 31}, /* SSBD */
	{49, LEAF7_EDX, 4},  /* fast short REP MOV */
	{57, LEAF7_ECX, 22}, /* RDPID */
	{58, LEAF7_ECX, 2},  /* UMIP */
	{60, LEAF7_EDX, 10}, /* MD_CLEAR */
};

/* WHV_PROCESSOR_XSAVE_FEATURES, by bit number. */
static const struct feature xsave_features[] = {
	{0, LEAF1_ECX, 26},  /* XSAVE */
	{1, XSAVE1_EAX, 0},  /* XSAVEOPT */
	{2, LEAF1_ECX, 28},  /* AVX */
	{3, LEAF7_EBX, 5},   /* AVX2 */
	{4, LEAF1_ECX, 12},  /* FMA */
	{11, XSAVE1_EAX, 1}, /* XSAVEC */
	{12, XSAVE1_EAX, 3}, /* XSAVES */
	{13, XSAVE1_EAX, 2}, /* XGETBV with ECX = 1 */
	{20, LEAF7_ECX, 9},  /* VAES */
	{22, LEAF7_ECX, 10}, /* VPCLMULQDQ */
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define BANK1_TSC_INVARIANT (1ull << 1)
#define BANK1_TSC_DEADLINE  (1ull << 17)

static uint32_t *word_of(struct x86_features *f, enum word word)
{
	switch (word) {
	case LEAF1_ECX:
		return &f->leaf1_ecx;
	case LEAF7_EBX:
		return &f->leaf7_ebx;
	case LEAF7_ECX:
		return &f->leaf7_ecx;
	case LEAF7_EDX:
		return &f->leaf7_edx;
	case EXT1_ECX:
		return &f->ext1_ecx;
	case EXT1_EDX:
		return &f->ext1_edx;
	default:
		return &f->xsave1_eax;
	}
}

static uint64_t gather(
	const struct x86_features *features, const struct feature *table, unsigned count)
{
	struct x86_features f = *features;
	uint64_t bits = 0;

	for (unsigned i = 0; i < count; i++) {
		if (*word_of(&f, table[i].word) >> table[i].cpuid_bit & 1)
			bits |= 1ull << table[i].bit;
	}
	return bits;
}

static void mask(
	struct x86_features *features, const struct feature *table, unsigned count, uint64_t bits)
{
	for (unsigned i = 0; i < count; i++) {
		if (!(bits >> table[i].bit & 1))
			*word_of(features, table[i].word) &= ~(1u << table[i].cpuid_bit);
	}
}

WHV_PROCESSOR_FEATURES_BANKS capability_features(const struct engine_info *info)
{
	WHV_PROCESSOR_FEATURES_BANKS banks = {.BanksCount = WHV_PROCESSOR_FEATURES_BANKS_COUNT};

	banks.AsUINT64[0] = gather(&info->features, bank0, COUNT(bank0));
	banks.AsUINT64[1] = BANK1_TSC_INVARIANT | BANK1_TSC_DEADLINE;
	return banks;
}

WHV_PROCESSOR_XSAVE_FEATURES capability_xsave(const struct engine_info *info)
{
	return (WHV_PROCESSOR_XSAVE_FEATURES){
		.AsUINT64 = gather(&info->features, xsave_features, COUNT(xsave_features))};
}

void capability_mask(struct x86_features *features, const WHV_PROCESSOR_FEATURES_BANKS *banks,
	WHV_PROCESSOR_XSAVE_FEATURES xsave)
{
	mask(features, bank0, COUNT(bank0), banks->AsUINT64[0]);
	mask(features, xsave_features, COUNT(xsave_features), xsave.AsUINT64);
	if (!xsave.XsaveSupport) {
		features->xsave1_eax = 0;
		features->xcr0 = 3;
		features->leaf1_ecx &= ~(1u << 28 | 1u << 12 | 1u << 29);
		features->leaf7_ebx &= ~(1u << 5);
	}
}

WHV_EXTENDED_VM_EXITS capability_exits(const struct engine_info *info)
{
	return (WHV_EXTENDED_VM_EXITS){
		.X64CpuidExit = info->cpuid_exits,
		.X64MsrExit = 1,
		.ExceptionExit = info->exception_exits,
		.HypercallExit = 1,
		.UnknownSynicConnection = 1,
	};
}

WHV_X64_MSR_EXIT_BITMAP capability_msr_exits(void)
{
	return (WHV_X64_MSR_EXIT_BITMAP){
		.UnhandledMsrs = 1,
		.ApicBaseMsrWrite = 1,
		.MiscEnableMsrRead = 1,
		.McUpdatePatchLevelMsrRead = 1,
	};
}

uint64_t capability_exceptions(const struct engine_info *info)
{
	if (!info->exception_exits)
		return 0;
	return 1ull << WHvX64ExceptionTypeDivideErrorFault |
	       1ull << WHvX64ExceptionTypeDebugTrapOrFault |
	       1ull << WHvX64ExceptionTypeBreakpointTrap | 1ull << WHvX64ExceptionTypeOverflowTrap |
	       1ull << WHvX64ExceptionTypeBoundRangeFault |
	       1ull << WHvX64ExceptionTypeInvalidOpcodeFault |
	       1ull << WHvX64ExceptionTypeDeviceNotAvailableFault |
	       1ull << WHvX64ExceptionTypeDoubleFaultAbort |
	       1ull << WHvX64ExceptionTypeInvalidTaskStateSegmentFault |
	       1ull << WHvX64ExceptionTypeSegmentNotPresentFault |
	       1ull << WHvX64ExceptionTypeStackFault |
	       1ull << WHvX64ExceptionTypeGeneralProtectionFault |
	       1ull << WHvX64ExceptionTypePageFault |
	       1ull << WHvX64ExceptionTypeFloatingPointErrorFault |
	       1ull << WHvX64ExceptionTypeAlignmentCheckFault |
	       1ull << WHvX64ExceptionTypeSimdFloatingPointFault;
}

WHV_SYNTHETIC_PROCESSOR_FEATURES capability_synthetic(const struct engine *engine)
{
	return (WHV_SYNTHETIC_PROCESSOR_FEATURES){
		.HypervisorPresent = 1,
		.Hv1 = 1,
		.AccessVpRunTimeReg = 1,
		.AccessPartitionReferenceCounter = 1,
		.AccessSynicRegs = 1,
		.AccessSyntheticTimerRegs = 1,
		.AccessIntrCtrlRegs = 1,
		.AccessHypercallRegs = 1,
		.AccessVpIndex = 1,
		.AccessPartitionReferenceTsc = 1,
		.AccessGuestIdleReg = 1,
		.AccessFrequencyRegs = 1,
		.FastHypercallOutput = 1,
		.DirectSyntheticTimers = 1,
		.ExtendedProcessorMasks = 1,
		.TbFlushHypercalls = engine->flush != NULL,
		.SyntheticClusterIpi = 1,
		.NotifyLongSpinWait = 1,
		.SignalEvents = 1,
	};
}

/* Everything but the answers that are words of their own. */
static UINT32 answer(const struct engine *engine, const struct engine_info *info,
	WHV_CAPABILITY_CODE code, WHV_CAPABILITY *c)
{
	switch (code) {
	case WHvCapabilityCodeHypervisorPresent:
		c->HypervisorPresent = engine != NULL;
		return sizeof(c->HypervisorPresent);
	case WHvCapabilityCodeFeatures:
		c->Features.PartialUnmap = 1;
		c->Features.LocalApicEmulation = 1;
		c->Features.Xsave = 1;
		c->Features.IdleSuspend = 1;
		return sizeof(c->Features);
	case WHvCapabilityCodeExtendedVmExits:
		c->ExtendedVmExits = capability_exits(info);
		return sizeof(c->ExtendedVmExits);
	case WHvCapabilityCodeExceptionExitBitmap:
		c->ExceptionExitBitmap = capability_exceptions(info);
		return sizeof(c->ExceptionExitBitmap);
	case WHvCapabilityCodeX64MsrExitBitmap:
		c->X64MsrExitBitmap = capability_msr_exits();
		return sizeof(c->X64MsrExitBitmap);
	case WHvCapabilityCodeGpaRangePopulateFlags:
		return sizeof(c->GpaRangePopulateFlags);
	case WHvCapabilityCodeSchedulerFeatures:
		return sizeof(c->SchedulerFeatures);
	case WHvCapabilityCodeProcessorVendor:
		c->ProcessorVendor = info->intel ? WHvProcessorVendorIntel : WHvProcessorVendorAmd;
		return sizeof(c->ProcessorVendor);
	case WHvCapabilityCodeProcessorFeatures:
		c->ProcessorFeatures.AsUINT64 = capability_features(info).AsUINT64[0];
		return sizeof(c->ProcessorFeatures);
	case WHvCapabilityCodeProcessorClFlushSize:
		c->ProcessorClFlushSize = 8;
		return sizeof(c->ProcessorClFlushSize);
	case WHvCapabilityCodeProcessorXsaveFeatures:
		c->ProcessorXsaveFeatures = capability_xsave(info);
		return sizeof(c->ProcessorXsaveFeatures);
	case WHvCapabilityCodeProcessorClockFrequency:
		c->ProcessorClockFrequency = clock_host_hz();
		return sizeof(c->ProcessorClockFrequency);
	case WHvCapabilityCodeInterruptClockFrequency:
		c->InterruptClockFrequency = APIC_HZ_DEFAULT;
		return sizeof(c->InterruptClockFrequency);
	case WHvCapabilityCodeProcessorFeaturesBanks:
		c->ProcessorFeaturesBanks = capability_features(info);
		return sizeof(c->ProcessorFeaturesBanks);
	case WHvCapabilityCodeProcessorFrequencyCap:
		return sizeof(c->ProcessorFrequencyCap);
	case WHvCapabilityCodeSyntheticProcessorFeaturesBanks:
		c->SyntheticProcessorFeaturesBanks.BanksCount =
			WHV_SYNTHETIC_PROCESSOR_FEATURES_BANKS_COUNT;
		if (engine)
			c->SyntheticProcessorFeaturesBanks.Bank0 = capability_synthetic(engine);
		return sizeof(c->SyntheticProcessorFeaturesBanks);
	case WHvCapabilityCodeProcessorPerfmonFeatures:
		return sizeof(c->ProcessorPerfmonFeatures);
	case WHvCapabilityCodePhysicalAddressWidth:
		c->PhysicalAddressWidth = info->physical_bits;
		return sizeof(c->PhysicalAddressWidth);
	default:
		return 0;
	}
}

HRESULT WINAPI WHvGetCapability(WHV_CAPABILITY_CODE CapabilityCode, VOID *CapabilityBuffer,
	UINT32 CapabilityBufferSizeInBytes, UINT32 *WrittenSizeInBytes)
{
	const char *why;
	const struct engine *engine = engine_choose(engine_wanted(), &why);
	struct engine_info info = {0};
	WHV_CAPABILITY capability;
	UINT32 size;

	memset(&capability, 0, sizeof(capability));
	if (engine)
		engine->info(&info);
	size = answer(engine, &info, CapabilityCode, &capability);
	if (!size)
		return WHV_E_UNKNOWN_CAPABILITY;
	if (WrittenSizeInBytes)
		*WrittenSizeInBytes = size;
	if (CapabilityBufferSizeInBytes < size)
		return WHV_E_INSUFFICIENT_BUFFER;
	if (!CapabilityBuffer)
		return E_POINTER;
	memcpy(CapabilityBuffer, &capability, size);
	return S_OK;
}
