/*
 * The platform API itself: states of a partition, bad parameters of every function, capabilities,
 * properties, registers there and back, saved state, the memory map.
 */
#include "hypervisor_fixture.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RIGHTS (WHvMapGpaRangeFlagRead | WHvMapGpaRangeFlagWrite | WHvMapGpaRangeFlagExecute)

static void test_header_values(void **state)
{
	/* A sample of the numbers programs were compiled with. */
	assert_int_equal(WHvX64RegisterXmm0, 0x1000);
	assert_int_equal(WHvX64RegisterApicIcr, 0x3030);
	assert_int_equal(WHvRegisterPendingInterruption, 0x80000000);
	assert_int_equal(WHvPartitionPropertyCodeProcessorCount, 0x1FFF);
	assert_int_equal(WHvCapabilityCodeSyntheticProcessorFeaturesBanks, 0x1008);
	assert_int_equal(WHvRunVpExitReasonCanceled, 0x2001);
	assert_int_equal((uint32_t)WHV_E_INSUFFICIENT_BUFFER, 0x80370301);
	assert_int_equal((uint32_t)HRESULT_FROM_WIN32(ERROR_INVALID_STATE), 0x8007139F);
	assert_int_equal((uint32_t)HRESULT_FROM_WIN32(ERROR_HV_INVALID_SYNIC_STATE), 0xC0350018);
	assert_true(FAILED(E_INVALIDARG));
	assert_true(SUCCEEDED(S_FALSE));
}

static void test_life(void **state)
{
	struct fixture *f = fixture_new();
	WHV_PARTITION_PROPERTY p = {.ProcessorCount = 2};
	WHV_RUN_VP_EXIT_CONTEXT exit;

	assert_int_equal(WHvSetupPartition(f->p), WHV_E_INVALID_PARTITION_CONFIG);
	assert_int_equal(WHvCreateVirtualProcessor(f->p, 0, 0), E_INVALIDARG);
	assert_int_equal(WHvMapGpaRange(f->p, &exit, 0, 4096, RIGHTS), E_INVALIDARG);
	assert_int_equal(WHvSetPartitionProperty(
				 f->p, WHvPartitionPropertyCodeProcessorCount, &p, sizeof(p)),
		S_OK);
	assert_int_equal(WHvSetupPartition(f->p), S_OK);
	assert_int_equal(WHvSetupPartition(f->p), HRESULT_FROM_WIN32(ERROR_INVALID_STATE));
	assert_int_equal(WHvSetPartitionProperty(
				 f->p, WHvPartitionPropertyCodeProcessorCount, &p, sizeof(p)),
		HRESULT_FROM_WIN32(ERROR_INVALID_STATE));
	assert_int_equal(
		WHvRunVirtualProcessor(f->p, 0, &exit, sizeof(exit)), WHV_E_VP_DOES_NOT_EXIST);
	assert_int_equal(WHvCreateVirtualProcessor(f->p, 2, 0), E_INVALIDARG);
	assert_int_equal(WHvCreateVirtualProcessor(f->p, 1, 1), E_INVALIDARG);
	assert_int_equal(WHvCreateVirtualProcessor(f->p, 1, 0), S_OK);
	assert_int_equal(WHvCreateVirtualProcessor(f->p, 1, 0), WHV_E_VP_ALREADY_EXISTS);
	assert_int_equal(WHvDeleteVirtualProcessor(f->p, 0), WHV_E_VP_DOES_NOT_EXIST);
	assert_int_equal(WHvDeleteVirtualProcessor(f->p, 1), S_OK);
	assert_int_equal(
		WHvRunVirtualProcessor(f->p, 1, &exit, sizeof(exit)), WHV_E_VP_DOES_NOT_EXIST);
	assert_int_equal(WHvCreateVirtualProcessor(f->p, 1, 0), S_OK);
	assert_int_equal(WHvRunVirtualProcessor(f->p, 1, NULL, sizeof(exit)), E_INVALIDARG);
	assert_int_equal(WHvRunVirtualProcessor(f->p, 1, &exit, 2), WHV_E_INSUFFICIENT_BUFFER);
	assert_int_equal(WHvRunVirtualProcessor(f->p, 1, &exit, sizeof(exit)), S_OK);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonUnrecoverableException);
	assert_int_equal(WHvCancelRunVirtualProcessor(f->p, 1, 1), E_INVALIDARG);
	assert_int_equal(WHvCancelRunVirtualProcessor(f->p, 0, 0), WHV_E_VP_DOES_NOT_EXIST);
	fixture_free(f);
}

static void test_null_handles(void **state)
{
	WHV_PARTITION_HANDLE p = NULL;
	uint64_t word[16] = {0};
	WHV_REGISTER_NAME name = WHvX64RegisterRax;
	WHV_REGISTER_VALUE value;
	WHV_TRANSLATE_GVA_RESULT result;
	WHV_ACCESS_GPA_CONTROLS controls = {0};
	WHV_SYNIC_EVENT_PARAMETERS event = {0};
	WHV_INTERRUPT_CONTROL control = {.Vector = 0x40};
	WHV_CPUID_OUTPUT cpuid;

	assert_int_equal(WHvCreatePartition(NULL), E_POINTER);
	assert_int_equal(WHvSetupPartition(p), E_INVALIDARG);
	assert_int_equal(WHvResetPartition(p), E_INVALIDARG);
	assert_int_equal(WHvDeletePartition(p), E_INVALIDARG);
	assert_int_equal(WHvGetPartitionProperty(p, 1, word, 8, NULL), E_INVALIDARG);
	assert_int_equal(WHvSetPartitionProperty(p, 1, word, 8), E_INVALIDARG);
	assert_int_equal(WHvSuspendPartitionTime(p), E_INVALIDARG);
	assert_int_equal(WHvResumePartitionTime(p), E_INVALIDARG);
	assert_int_equal(WHvMapGpaRange(p, word, 0, 4096, RIGHTS), E_INVALIDARG);
	assert_int_equal(WHvUnmapGpaRange(p, 0, 4096), E_INVALIDARG);
	assert_int_equal(WHvTranslateGva(p, 0, 0, 0, &result, word), E_INVALIDARG);
	assert_int_equal(WHvReadGpaRange(p, 0, 0, controls, word, 8), E_INVALIDARG);
	assert_int_equal(WHvWriteGpaRange(p, 0, 0, controls, word, 8), E_INVALIDARG);
	assert_int_equal(WHvCreateVirtualProcessor(p, 0, 0), E_INVALIDARG);
	assert_int_equal(WHvDeleteVirtualProcessor(p, 0), E_INVALIDARG);
	assert_int_equal(WHvRunVirtualProcessor(p, 0, word, sizeof(word)), E_INVALIDARG);
	assert_int_equal(WHvCancelRunVirtualProcessor(p, 0, 0), E_INVALIDARG);
	assert_int_equal(WHvGetVirtualProcessorRegisters(p, 0, &name, 1, &value), E_INVALIDARG);
	assert_int_equal(WHvSetVirtualProcessorRegisters(p, 0, &name, 1, &value), E_INVALIDARG);
	assert_int_equal(WHvRequestInterrupt(p, &control, sizeof(control)), E_INVALIDARG);
	assert_int_equal(WHvGetVirtualProcessorCpuidOutput(p, 0, 0, 0, &cpuid), E_INVALIDARG);
	assert_int_equal(WHvSignalVirtualProcessorSynicEvent(p, event, NULL), E_INVALIDARG);
	assert_int_equal(
		WHvPostVirtualProcessorSynicMessage(p, 0, 0, word, sizeof(word)), E_INVALIDARG);
	assert_int_equal(WHvGetPartitionCounters(p, 0, word, sizeof(word), NULL), E_INVALIDARG);
	assert_int_equal(
		WHvGetVirtualProcessorCounters(p, 0, 0, word, sizeof(word), NULL), E_INVALIDARG);
	assert_int_equal(
		WHvGetVirtualProcessorState(p, 0, 0, word, sizeof(word), NULL), E_INVALIDARG);
	assert_int_equal(WHvDeleteNotificationPort(p, word), E_INVALIDARG);
	assert_int_equal(WHvCreateTrigger(p, NULL, NULL, NULL), E_NOTIMPL);
}

static void test_capabilities(void **state)
{
	WHV_CAPABILITY c;
	UINT32 written = 0;

	assert_int_equal(
		WHvGetCapability(WHvCapabilityCodeHypervisorPresent, &c, sizeof(c), NULL), S_OK);
	assert_true(c.HypervisorPresent);
	assert_int_equal(
		WHvGetCapability(WHvCapabilityCodeFeatures, &c, sizeof(c), &written), S_OK);
	assert_int_equal(written, 8);
	assert_true(c.Features.LocalApicEmulation);
	assert_false(c.Features.DirtyPageTracking);
	assert_false(c.Features.VirtualPciDeviceSupport);
	assert_int_equal(WHvGetCapability(WHvCapabilityCodeFeatures, &c, 7, &written),
		WHV_E_INSUFFICIENT_BUFFER);
	assert_int_equal(WHvGetCapability(0x7777, &c, sizeof(c), NULL), WHV_E_UNKNOWN_CAPABILITY);
	assert_int_equal(WHvGetCapability(WHvCapabilityCodeVmxBasic, &c, sizeof(c), NULL),
		WHV_E_UNKNOWN_CAPABILITY);
	assert_int_equal(
		WHvGetCapability(WHvCapabilityCodeProcessorClockFrequency, &c, sizeof(c), NULL),
		S_OK);
	assert_true(c.ProcessorClockFrequency > 100000000);
	for (unsigned code = 0; code < 0x2020; code++) {
		HRESULT hr = WHvGetCapability(code, &c, sizeof(c), &written);

		assert_true(hr == S_OK || hr == WHV_E_UNKNOWN_CAPABILITY);
	}
}

static void test_properties(void **state)
{
	struct fixture *f = fixture_new();
	WHV_PARTITION_PROPERTY p = {0};
	UINT32 written = 0, list[4] = {1, 2, 3, 4}, back[4] = {0};

	assert_int_equal(WHvGetPartitionProperty(f->p, WHvPartitionPropertyCodeExtendedVmExits, &p,
				 sizeof(p), &written),
		S_OK);
	assert_int_equal(written, 8);
	assert_int_equal(WHvGetPartitionProperty(
				 f->p, WHvPartitionPropertyCodeExtendedVmExits, &p, 7, &written),
		WHV_E_INSUFFICIENT_BUFFER);
	p.ExtendedVmExits.AsUINT64 = 1ull << 60;
	assert_int_equal(WHvSetPartitionProperty(
				 f->p, WHvPartitionPropertyCodeExtendedVmExits, &p, sizeof(p)),
		E_INVALIDARG);
	p.ExtendedVmExits.AsUINT64 = capability_exits(&f->p->info).AsUINT64;
	assert_int_equal(
		WHvSetPartitionProperty(f->p, WHvPartitionPropertyCodeExtendedVmExits, &p, 8),
		S_OK);
	assert_int_equal(
		WHvSetPartitionProperty(f->p, WHvPartitionPropertyCodeExtendedVmExits, &p, 4),
		E_INVALIDARG);
	assert_int_equal(
		WHvSetPartitionProperty(f->p, 0x7777, &p, sizeof(p)), WHV_E_UNKNOWN_PROPERTY);
	assert_int_equal(
		WHvGetPartitionProperty(f->p, 0x7777, &p, sizeof(p), NULL), WHV_E_UNKNOWN_PROPERTY);
	for (unsigned i = 0; i < 2; i++) {
		memset(&p, 0, sizeof(p));
		p.ProcessorCount = i ? 65 : 0;
		assert_int_equal(WHvSetPartitionProperty(f->p,
					 WHvPartitionPropertyCodeProcessorCount, &p, sizeof(p)),
			E_INVALIDARG);
	}
	assert_int_equal(WHvSetPartitionProperty(
				 f->p, WHvPartitionPropertyCodeCpuidExitList, list, sizeof(list)),
		S_OK);
	assert_int_equal(WHvGetPartitionProperty(f->p, WHvPartitionPropertyCodeCpuidExitList, back,
				 sizeof(back), &written),
		S_OK);
	assert_int_equal(written, sizeof(list));
	assert_memory_equal(list, back, sizeof(list));
	memset(&p, 0, sizeof(p));
	p.ProcessorFeatures.Sse4aSupport = 1; /* not there to be given */
	assert_int_equal(WHvSetPartitionProperty(
				 f->p, WHvPartitionPropertyCodeProcessorFeatures, &p, sizeof(p)),
		WHV_E_UNSUPPORTED_PROCESSOR_CONFIG);
	memset(&p, 0, sizeof(p));
	p.SyntheticProcessorFeaturesBanks.BanksCount = 1;
	p.SyntheticProcessorFeaturesBanks.Bank0.EnlightenedVmcs = 1;
	assert_int_equal(
		WHvSetPartitionProperty(f->p,
			WHvPartitionPropertyCodeSyntheticProcessorFeaturesBanks, &p, sizeof(p)),
		WHV_E_UNSUPPORTED_PROCESSOR_CONFIG);
	p.SyntheticProcessorFeaturesBanks.BanksCount = 2;
	assert_int_equal(
		WHvSetPartitionProperty(f->p,
			WHvPartitionPropertyCodeSyntheticProcessorFeaturesBanks, &p, sizeof(p)),
		E_INVALIDARG);
	fixture_free(f);
}

/* A feature the client takes away is gone from CPUID. */
static void test_masked_feature(void **state)
{
	struct fixture *f = fixture_new();
	WHV_PARTITION_PROPERTY p = {.ProcessorCount = 1};
	uint32_t out[4];

	assert_int_equal(WHvSetPartitionProperty(
				 f->p, WHvPartitionPropertyCodeProcessorCount, &p, sizeof(p)),
		S_OK);
	memset(&p, 0, sizeof(p));
	p.ProcessorFeatures = capability_features(&f->p->info).Bank0;
	assert_true(p.ProcessorFeatures.RdRandSupport);
	p.ProcessorFeatures.RdRandSupport = 0;
	assert_int_equal(WHvSetPartitionProperty(
				 f->p, WHvPartitionPropertyCodeProcessorFeatures, &p, sizeof(p)),
		S_OK);
	assert_int_equal(WHvSetupPartition(f->p), S_OK);
	assert_int_equal(WHvCreateVirtualProcessor(f->p, 0, 0), S_OK);
	cpuid_query(fixture_vp(f, 0), 1, 0, out);
	assert_false(out[2] >> 30 & 1);
	assert_true(out[2] >> 17 & 1);
	fixture_free(f);
}

static void test_register_round_trip(void **state)
{
	static const WHV_REGISTER_NAME words[] = {WHvX64RegisterRax, WHvX64RegisterR15,
		WHvX64RegisterRip, WHvX64RegisterCr2, WHvX64RegisterCr3, WHvX64RegisterDr0,
		WHvX64RegisterDr7, WHvX64RegisterKernelGsBase, WHvX64RegisterPat,
		WHvX64RegisterSysenterCs, WHvX64RegisterSysenterEip, WHvX64RegisterSysenterEsp,
		WHvX64RegisterStar, WHvX64RegisterLstar, WHvX64RegisterCstar, WHvX64RegisterSfmask,
		WHvX64RegisterTscAux, WHvX64RegisterEfer};
	struct fixture *f = fixture_ready(1);
	WHV_REGISTER_VALUE in, out;
	WHV_REGISTER_NAME name;

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		in.Reg64 = 0x1111111111111111ull * (i % 15 + 1);
		assert_int_equal(WHvSetVirtualProcessorRegisters(f->p, 0, &words[i], 1, &in), S_OK);
		assert_int_equal(
			WHvGetVirtualProcessorRegisters(f->p, 0, &words[i], 1, &out), S_OK);
		assert_int_equal(in.Reg64, out.Reg64);
		assert_int_equal(out.Reg128.High64, 0);
	}
	for (name = WHvX64RegisterEs; name <= WHvX64RegisterTr; name++) {
		memset(&in, 0, sizeof(in));
		in.Segment = (WHV_X64_SEGMENT_REGISTER){
			.Base = name, .Limit = 0xFFFF, .Selector = 8, .Attributes = 0xA093};
		assert_int_equal(WHvSetVirtualProcessorRegisters(f->p, 0, &name, 1, &in), S_OK);
		assert_int_equal(WHvGetVirtualProcessorRegisters(f->p, 0, &name, 1, &out), S_OK);
		assert_memory_equal(&in, &out, sizeof(in));
	}
	for (name = WHvX64RegisterXmm0; name <= WHvX64RegisterFpMmx7; name++) {
		memset(&in, 0, sizeof(in));
		memset(&in, name & 0xFF, 10);
		assert_int_equal(WHvSetVirtualProcessorRegisters(f->p, 0, &name, 1, &in), S_OK);
		assert_int_equal(WHvGetVirtualProcessorRegisters(f->p, 0, &name, 1, &out), S_OK);
		assert_memory_equal(&in, &out, sizeof(in));
	}
	fixture_free(f);
}

static void test_register_rules(void **state)
{
	static const struct {
		WHV_REGISTER_NAME name;
		uint64_t bad;
	} refused[] = {
		{WHvX64RegisterCr8, 16},
		{WHvX64RegisterXCr0, 0},
		{WHvX64RegisterXCr0, 1ull << 9},
		{WHvX64RegisterApicBase, 1},
		{WHvX64RegisterMsrMtrrCap, 0},
		{WHvRegisterSversion, 7},
		{WHvRegisterPendingEvent1, 1},
		{WHvX64RegisterXss, 1},
	};
	struct fixture *f = fixture_ready(1);
	WHV_REGISTER_NAME name = 0x6666;
	WHV_REGISTER_VALUE v = {.Reg64 = 0};

	assert_int_equal(WHvGetVirtualProcessorRegisters(f->p, 0, &name, 1, &v),
		WHV_E_INVALID_VP_REGISTER_NAME);
	assert_int_equal(WHvSetVirtualProcessorRegisters(f->p, 0, &name, 1, &v),
		WHV_E_INVALID_VP_REGISTER_NAME);
	for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		memset(&v, 0, sizeof(v));
		v.Reg64 = refused[i].bad;
		assert_int_equal(WHvSetVirtualProcessorRegisters(f->p, 0, &refused[i].name, 1, &v),
			E_INVALIDARG);
	}
	memset(&v, 0, sizeof(v));
	v.PendingInterruption.InterruptionPending = 1;
	v.PendingInterruption.InterruptionType = 1;
	name = WHvRegisterPendingInterruption;
	assert_int_equal(WHvSetVirtualProcessorRegisters(f->p, 0, &name, 1, &v), E_INVALIDARG);
	v.PendingInterruption.InterruptionType = WHvX64PendingException;
	v.PendingInterruption.InterruptionVector = 32;
	assert_int_equal(WHvSetVirtualProcessorRegisters(f->p, 0, &name, 1, &v), E_INVALIDARG);
	v.PendingInterruption.InterruptionVector = 6;
	assert_int_equal(WHvSetVirtualProcessorRegisters(f->p, 0, &name, 1, &v), S_OK);
	assert_int_equal(WHvGetVirtualProcessorRegisters(f->p, 0, NULL, 1, &v), E_INVALIDARG);
	assert_int_equal(WHvGetVirtualProcessorRegisters(f->p, 0, NULL, 0, NULL), S_OK);
	fixture_free(f);
}

/* Every register name in the SDK's header has an answer, and none does harm. */
static void test_every_register_name(void **state)
{
	static const struct {
		uint32_t first, last;
	} ranges[] = {{0, 0x50}, {0x1000, 0x1020}, {0x2000, 0x20C0}, {0x3000, 0x3040},
		{0x4000, 0x4020}, {0x5000, 0x5060}, {0x80000000, 0x80000010}};
	struct fixture *f = fixture_ready(1);

	for (unsigned r = 0; r < sizeof(ranges) / sizeof(ranges[0]); r++) {
		for (uint32_t n = ranges[r].first; n < ranges[r].last; n++) {
			WHV_REGISTER_NAME name = n;
			WHV_REGISTER_VALUE v;
			HRESULT hr = WHvGetVirtualProcessorRegisters(f->p, 0, &name, 1, &v);

			assert_true(hr == S_OK || hr == WHV_E_INVALID_VP_REGISTER_NAME);
			if (hr != S_OK)
				continue;
			hr = WHvSetVirtualProcessorRegisters(f->p, 0, &name, 1, &v);
			assert_true(hr == S_OK || hr == E_INVALIDARG ||
				    hr == WHV_E_INVALID_VP_REGISTER_NAME);
		}
	}
	fixture_free(f);
}

static void test_running_vp_is_closed(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);
	WHV_REGISTER_NAME name = WHvX64RegisterRax;
	WHV_REGISTER_VALUE v = {.Reg64 = 0};
	WHV_RUN_VP_EXIT_CONTEXT exit;

	atomic_store(&vp->claim, VP_RUNNING);
	assert_int_equal(
		WHvGetVirtualProcessorRegisters(f->p, 0, &name, 1, &v), WHV_E_INVALID_VP_STATE);
	assert_int_equal(
		WHvRunVirtualProcessor(f->p, 0, &exit, sizeof(exit)), WHV_E_INVALID_VP_STATE);
	assert_int_equal(WHvDeleteVirtualProcessor(f->p, 0), WHV_E_INVALID_VP_STATE);
	assert_int_equal(WHvSuspendPartitionTime(f->p), WHV_E_INVALID_VP_STATE);
	assert_int_equal(WHvResetPartition(f->p), HRESULT_FROM_WIN32(ERROR_INVALID_STATE));
	atomic_store(&vp->claim, VP_IDLE);
	fixture_free(f);
}

static void test_memory_map(void **state)
{
	static const WHV_MEMORY_RANGE_ENTRY advised[] = {
		{0x1000, 0x3000}, {0x3000, 0x2000}, {0x1000, 8}};
	const WHV_ADVISE_GPA_RANGE_CODE unpin = WHvAdviseGpaRangeCodeUnpin;
	struct fixture *f = fixture_ready(1);
	static const WHV_ACCESS_GPA_CONTROLS wb = {.CacheType = WHvCacheTypeWriteBack};
	WHV_ACCESS_GPA_CONTROLS bad = wb;
	WHV_PARTITION_MEMORY_COUNTERS counters;
	uint64_t value = 0x1122334455667788, back = 0;

	assert_int_equal(WHvMapGpaRange(f->p, f->ram + 1, 0, 4096, RIGHTS), E_INVALIDARG);
	assert_int_equal(WHvMapGpaRange(f->p, f->ram, 1, 4096, RIGHTS), E_INVALIDARG);
	assert_int_equal(WHvMapGpaRange(f->p, f->ram, 0, 4095, RIGHTS), E_INVALIDARG);
	assert_int_equal(WHvMapGpaRange(f->p, f->ram, 0, 0, RIGHTS), E_INVALIDARG);
	assert_int_equal(WHvMapGpaRange(f->p, NULL, 0, 4096, RIGHTS), E_INVALIDARG);
	assert_int_equal(WHvMapGpaRange(f->p, f->ram, 1ull << 40, 4096, RIGHTS), E_INVALIDARG);
	assert_int_equal(WHvMapGpaRange(f->p, f->ram, -4096ull, 8192, RIGHTS), E_INVALIDARG);
	assert_int_equal(WHvMapGpaRange(f->p, f->ram, 0, 4096, 0x100), E_INVALIDARG);
	assert_int_equal(WHvUnmapGpaRange(f->p, FIXTURE_MEMORY, 4096), WHV_E_GPA_RANGE_NOT_FOUND);
	/* A hole in the middle; accesses that touch it fail and change nothing. */
	assert_int_equal(WHvUnmapGpaRange(f->p, 0x4000, 0x2000), S_OK);
	assert_int_equal(WHvWriteGpaRange(f->p, 0, 0x3FFC, wb, &value, 8), E_ACCESSDENIED);
	assert_int_equal(*(uint32_t *)(f->ram + 0x3FFC), 0);
	assert_int_equal(WHvWriteGpaRange(f->p, 0, 0x3FF8, wb, &value, 8), S_OK);
	assert_int_equal(WHvReadGpaRange(f->p, 0, 0x3FF8, wb, &back, 8), S_OK);
	assert_int_equal(back, value);
	assert_int_equal(WHvReadGpaRange(f->p, 0, 0x6000, wb, &back, 8), S_OK);
	assert_int_equal(WHvAdviseGpaRange(f->p, advised, 1, unpin, NULL, 0), S_OK);
	assert_int_equal(
		WHvAdviseGpaRange(f->p, advised, 1, WHvAdviseGpaRangeCodePin, NULL, 0), S_OK);
	assert_int_equal(
		WHvAdviseGpaRange(f->p, advised, 2, unpin, NULL, 0), WHV_E_GPA_RANGE_NOT_FOUND);
	assert_int_equal(WHvAdviseGpaRange(f->p, advised + 2, 1, unpin, NULL, 0), E_INVALIDARG);
	assert_int_equal(WHvAdviseGpaRange(f->p, advised, 0, unpin, NULL, 0), E_INVALIDARG);
	assert_int_equal(WHvAdviseGpaRange(f->p, advised, 1, 7, NULL, 0), E_INVALIDARG);
	/* A neighbour from elsewhere: one access spans both. */
	assert_int_equal(WHvMapGpaRange(f->p, f->ram + 0x80000, 0x4000, 0x1000, RIGHTS), S_OK);
	assert_int_equal(WHvWriteGpaRange(f->p, 0, 0x3FFC, wb, &value, 8), S_OK);
	assert_int_equal(*(uint32_t *)(f->ram + 0x80000), 0x11223344);
	assert_int_equal(WHvGetPartitionCounters(f->p, WHvPartitionCounterSetMemory, &counters,
				 sizeof(counters), NULL),
		S_OK);
	assert_int_equal(counters.Mapped4KPageCount, FIXTURE_MEMORY / 4096 - 1);
	assert_int_equal(WHvReadGpaRange(f->p, 0, 0, wb, &back, 17), E_INVALIDARG);
	assert_int_equal(WHvReadGpaRange(f->p, 0, 0, wb, &back, 0), E_INVALIDARG);
	bad.Reserved = 1;
	assert_int_equal(WHvReadGpaRange(f->p, 0, 0, bad, &back, 8), E_INVALIDARG);
	bad = wb;
	bad.CacheType = 3;
	assert_int_equal(WHvReadGpaRange(f->p, 0, 0, bad, &back, 8), E_INVALIDARG);
	assert_int_equal(WHvReadGpaRange(f->p, 0, ~0ull - 3, wb, &back, 8), E_ACCESSDENIED);
	fixture_free(f);
}

static void test_xsave_state(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);
	uint8_t area[576], again[576];
	UINT32 written = 0;

	vp_state(vp)->fx.mxcsr = 0x1F80;
	vp_state(vp)->fx.xmm[3][5] = 0x77;
	assert_int_equal(WHvGetVirtualProcessorXsaveState(f->p, 0, area, 100, &written),
		WHV_E_INSUFFICIENT_BUFFER);
	assert_int_equal(written, sizeof(area));
	assert_int_equal(
		WHvGetVirtualProcessorXsaveState(f->p, 0, area, sizeof(area), &written), S_OK);
	vp_state(vp)->fx.xmm[3][5] = 0;
	assert_int_equal(WHvSetVirtualProcessorXsaveState(f->p, 0, area, sizeof(area)), S_OK);
	assert_int_equal(vp_state(vp)->fx.xmm[3][5], 0x77);
	assert_int_equal(
		WHvGetVirtualProcessorXsaveState(f->p, 0, again, sizeof(again), &written), S_OK);
	assert_memory_equal(area, again, sizeof(area));
	area[26] = 0xFF; /* a reserved bit of MXCSR */
	assert_int_equal(
		WHvSetVirtualProcessorXsaveState(f->p, 0, area, sizeof(area)), E_INVALIDARG);
	assert_int_equal(WHvSetVirtualProcessorXsaveState(f->p, 0, area, 575), E_INVALIDARG);
	assert_int_equal(WHvGetVirtualProcessorState(
				 f->p, 0, WHvVirtualProcessorStateTypeNestedState, area, 1, NULL),
		E_INVALIDARG);
	fixture_free(f);
}

static void test_doorbells(void **state)
{
	struct fixture *f = fixture_ready(1);
	int event = eventfd(0, EFD_NONBLOCK);
	WHV_DOORBELL_MATCH_DATA match = {.GuestAddress = 0xD0000000,
		.Value = 5,
		.Length = 4,
		.MatchOnValue = 1,
		.MatchOnLength = 1};
	WHV_NOTIFICATION_PORT_PARAMETERS port = {0};
	WHV_NOTIFICATION_PORT_HANDLE handle;
	HANDLE h = PARTITA_HANDLE_FROM_FD(event);
	uint64_t count;

	assert_int_equal(WHvRegisterPartitionDoorbellEvent(f->p, &match, h), S_OK);
	assert_int_equal(WHvRegisterPartitionDoorbellEvent(f->p, &match, h),
		HRESULT_FROM_WIN32(ERROR_ALREADY_EXISTS));
	assert_int_equal(vp_ops.mmio_write(fixture_vp(f, 0), 0xD0000000, 4, 6), X86_EXIT);
	assert_int_equal(vp_ops.mmio_write(fixture_vp(f, 0), 0xD0000000, 2, 5), X86_EXIT);
	assert_int_equal(vp_ops.mmio_write(fixture_vp(f, 0), 0xD0000000, 4, 5), X86_DONE);
	assert_int_equal(read(event, &count, sizeof(count)), sizeof(count));
	assert_int_equal(WHvUnregisterPartitionDoorbellEvent(f->p, &match), S_OK);
	assert_int_equal(WHvUnregisterPartitionDoorbellEvent(f->p, &match),
		HRESULT_FROM_WIN32(ERROR_NOT_FOUND));
	assert_int_equal(vp_ops.mmio_write(fixture_vp(f, 0), 0xD0000000, 4, 5), X86_EXIT);
	match.MatchOnLength = 0; /* a value without a length, or a length unused */
	assert_int_equal(WHvRegisterPartitionDoorbellEvent(f->p, &match, h), E_INVALIDARG);
	assert_int_equal(WHvCreateNotificationPort(f->p, &port, h, &handle), E_INVALIDARG);
	port.NotificationPortType = WHvNotificationPortTypeEvent;
	assert_int_equal(WHvCreateNotificationPort(f->p, &port, h, &handle), E_INVALIDARG);
	port.Event.ConnectionId = 3;
	assert_int_equal(WHvCreateNotificationPort(f->p, &port, NULL, &handle), E_INVALIDARG);
	assert_int_equal(
		WHvCreateNotificationPort(f->p, &port, PARTITA_HANDLE_FROM_FD(-2), &handle),
		E_HANDLE);
	assert_int_equal(WHvCreateNotificationPort(f->p, &port, h, &handle), S_OK);
	assert_int_equal(WHvSetNotificationPortProperty(f->p, handle,
				 WHvNotificationPortPropertyPreferredTargetVp, WHV_ANY_VP),
		S_OK);
	assert_int_equal(WHvSetNotificationPortProperty(
				 f->p, handle, WHvNotificationPortPropertyPreferredTargetVp, 5),
		E_INVALIDARG);
	assert_int_equal(WHvSetNotificationPortProperty(f->p, &count, 1, 0), E_INVALIDARG);
	assert_int_equal(WHvDeleteNotificationPort(f->p, handle), S_OK);
	assert_int_equal(WHvDeleteNotificationPort(f->p, handle), E_INVALIDARG);
	close(event);
	fixture_free(f);
}

static void test_counters(void **state)
{
	struct fixture *f = fixture_ready(1);
	WHV_PROCESSOR_ACTIVITY_COUNTERS activity;
	WHV_PROCESSOR_APIC_COUNTERS apic;
	UINT32 written = 0;
	uint64_t value;

	msr_read(fixture_vp(f, 0), HV_MSR_VP_INDEX, &value);
	lapic_mmio_read(fixture_vp(f, 0), APIC_BASE_DEFAULT, 4);
	assert_int_equal(WHvGetVirtualProcessorCounters(f->p, 0, WHvProcessorCounterSetIntercepts,
				 &activity, sizeof(activity), &written),
		S_OK);
	assert_int_equal(written, sizeof(activity));
	assert_int_equal(activity.MsrAccesses.Count, 1);
	assert_int_equal(WHvGetVirtualProcessorCounters(
				 f->p, 0, WHvProcessorCounterSetApic, &apic, sizeof(apic), NULL),
		S_OK);
	assert_int_equal(apic.MmioAccessCount, 1);
	assert_int_equal(WHvGetVirtualProcessorCounters(
				 f->p, 0, WHvProcessorCounterSetApic, &apic, 8, &written),
		WHV_E_INSUFFICIENT_BUFFER);
	assert_int_equal(written, sizeof(apic));
	assert_int_equal(WHvGetVirtualProcessorCounters(f->p, 0, 99, &apic, sizeof(apic), NULL),
		E_INVALIDARG);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_values),
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_null_handles),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_properties),
		cmocka_unit_test(test_masked_feature),
		cmocka_unit_test(test_register_round_trip),
		cmocka_unit_test(test_register_rules),
		cmocka_unit_test(test_every_register_name),
		cmocka_unit_test(test_running_vp_is_closed),
		cmocka_unit_test(test_memory_map),
		cmocka_unit_test(test_xsave_state),
		cmocka_unit_test(test_doorbells),
		cmocka_unit_test(test_counters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
