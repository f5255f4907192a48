/*
 * MSRs and CPUID: what a guest finds, what it may write, what faults. Expectations are the TLFS's
 * and the SDM's.
 */
#include "hypervisor_fixture.h"

#include <string.h>

static struct fixture *with_synthetic(WHV_SYNTHETIC_PROCESSOR_FEATURES features)
{
	struct fixture *f = fixture_new();
	WHV_PARTITION_PROPERTY p = {.ProcessorCount = 3};

	assert_int_equal(WHvSetPartitionProperty(
				 f->p, WHvPartitionPropertyCodeProcessorCount, &p, sizeof(p)),
		S_OK);
	memset(&p, 0, sizeof(p));
	p.LocalApicEmulationMode = WHvX64LocalApicEmulationModeXApic;
	assert_int_equal(WHvSetPartitionProperty(f->p,
				 WHvPartitionPropertyCodeLocalApicEmulationMode, &p, sizeof(p)),
		S_OK);
	memset(&p, 0, sizeof(p));
	p.SyntheticProcessorFeaturesBanks.BanksCount = 1;
	p.SyntheticProcessorFeaturesBanks.Bank0 = features;
	assert_int_equal(
		WHvSetPartitionProperty(f->p,
			WHvPartitionPropertyCodeSyntheticProcessorFeaturesBanks, &p, sizeof(p)),
		S_OK);
	assert_int_equal(WHvSetupPartition(f->p), S_OK);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(WHvCreateVirtualProcessor(f->p, i, 0), S_OK);
	return f;
}

static void cpuid(struct vp *vp, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	cpuid_query(vp, leaf, subleaf, out);
}

static void test_hypercall_page(void **state)
{
	struct fixture *f = fixture_ready(2);
	struct vp *vp = fixture_vp(f, 0);

	/* Without an identity the page cannot be enabled. */
	fixture_wrmsr(vp, HV_MSR_HYPERCALL, 0x5000 | HV_PAGE_ENABLE);
	assert_int_equal(fixture_rdmsr(vp, HV_MSR_HYPERCALL), 0x5000);
	fixture_wrmsr(vp, HV_MSR_GUEST_OS_ID, 0x8100000000000000);
	fixture_wrmsr(vp, HV_MSR_HYPERCALL, 0x5000 | HV_PAGE_ENABLE);
	assert_int_equal(fixture_rdmsr(fixture_vp(f, 1), HV_MSR_HYPERCALL), 0x5001);
	assert_memory_equal(f->ram + 0x5000, "\x0F\x01\xC1\xC3", 4);
	fixture_wrmsr_faults(vp, HV_MSR_HYPERCALL, 1ull << 44 | 1);
	/* A lost identity disables it. */
	fixture_wrmsr(vp, HV_MSR_GUEST_OS_ID, 0);
	assert_int_equal(fixture_rdmsr(vp, HV_MSR_HYPERCALL), 0x5000);
	fixture_wrmsr(vp, HV_MSR_GUEST_OS_ID, 1);
	fixture_wrmsr(vp, HV_MSR_HYPERCALL, 0x5000 | HV_PAGE_ENABLE | HV_HYPERCALL_LOCKED);
	fixture_wrmsr_faults(vp, HV_MSR_HYPERCALL, 0x6001);
	fixture_free(f);
}

static void test_indices_and_frequencies(void **state)
{
	struct fixture *f = fixture_ready(3);

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fixture_rdmsr(fixture_vp(f, i), HV_MSR_VP_INDEX), i);
	assert_int_equal(fixture_rdmsr(fixture_vp(f, 0), HV_MSR_TSC_FREQUENCY), FIXTURE_HZ);
	assert_int_equal(fixture_rdmsr(fixture_vp(f, 0), HV_MSR_APIC_FREQUENCY), 200000000);
	fixture_wrmsr_faults(fixture_vp(f, 0), HV_MSR_VP_INDEX, 1);
	fixture_wrmsr_faults(fixture_vp(f, 0), HV_MSR_VP_RUNTIME, 1);
	fixture_wrmsr_faults(fixture_vp(f, 0), HV_MSR_TIME_REF_COUNT, 1);
	fixture_wrmsr_faults(fixture_vp(f, 0), HV_MSR_TSC_FREQUENCY, 1);
	fixture_wrmsr_faults(fixture_vp(f, 0), HV_MSR_GUEST_IDLE, 0);
	fixture_free(f);
}

/* The page's formula and the MSR agree at every moment. */
static void test_reference_time(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);
	struct hv_reference_tsc_page page;

	assert_int_equal(fixture_rdmsr(vp, HV_MSR_TIME_REF_COUNT), 0);
	fixture_wrmsr(vp, HV_MSR_REFERENCE_TSC, 0x8000 | HV_PAGE_ENABLE);
	memcpy(&page, f->ram + 0x8000, sizeof(page));
	assert_true(page.sequence != 0);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t tsc = clock_now(&f->p->clock), by_page;

		by_page = (uint64_t)(((unsigned __int128)tsc * page.scale) >> 64) +
			  (uint64_t)page.offset;
		assert_int_equal(by_page, fixture_rdmsr(vp, HV_MSR_TIME_REF_COUNT));
		fixture_set_tsc(f, f->tsc + 7919 * i);
	}
	/* A second is 10^7 units. */
	assert_int_equal(clock_to_ref(&f->p->clock, FIXTURE_HZ * 1000) / 10000000, 999);
	assert_int_equal((clock_to_ref(&f->p->clock, FIXTURE_HZ * 1000) + 1) / 10000000, 1000);
	fixture_free(f);
}

static void test_suspended_time(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);
	uint64_t before, offset;

	fixture_advance_us(f, 10);
	before = fixture_rdmsr(vp, HV_MSR_TIME_REF_COUNT);
	offset = vp_state(vp)->tsc_offset;
	assert_int_equal(WHvSuspendPartitionTime(f->p), S_OK);
	fixture_set_tsc(f, f->tsc + FIXTURE_HZ);
	assert_int_equal(fixture_rdmsr(vp, HV_MSR_TIME_REF_COUNT), before);
	assert_int_equal(WHvResumePartitionTime(f->p), S_OK);
	assert_int_equal(fixture_rdmsr(vp, HV_MSR_TIME_REF_COUNT), before);
	assert_int_equal(vp_state(vp)->tsc_offset, offset - FIXTURE_HZ);
	fixture_advance_us(f, 10);
	assert_true(fixture_rdmsr(vp, HV_MSR_TIME_REF_COUNT) > before);
	fixture_free(f);
}

static void test_reference_time_property(void **state)
{
	struct fixture *f = fixture_ready(1);
	WHV_PARTITION_PROPERTY p = {.ReferenceTime = 123456789};
	uint64_t time = 0;

	fixture_wrmsr(fixture_vp(f, 0), HV_MSR_REFERENCE_TSC, 0x8000 | HV_PAGE_ENABLE);
	assert_int_equal(
		WHvSetPartitionProperty(f->p, WHvPartitionPropertyCodeReferenceTime, &p, sizeof(p)),
		S_OK);
	assert_int_equal(fixture_rdmsr(fixture_vp(f, 0), HV_MSR_TIME_REF_COUNT), 123456789);
	assert_int_equal(WHvGetPartitionProperty(f->p, WHvPartitionPropertyCodeReferenceTime, &time,
				 sizeof(time), NULL),
		S_OK);
	assert_int_equal(time, 123456789);
	assert_int_equal(((struct hv_reference_tsc_page *)(f->ram + 0x8000))->offset,
		f->p->clock.ref_offset);
	fixture_free(f);
}

static void test_apic_msrs(void **state)
{
	struct fixture *f = fixture_ready(2);
	struct vp *vp = fixture_vp(f, 0);

	for (unsigned i = 0; i < 2; i++)
		lapic_mmio_write(fixture_vp(f, i), APIC_BASE_DEFAULT + APIC_SVR * 16, 4, 0x1FF);
	fixture_wrmsr(vp, HV_MSR_TPR, 0x30);
	assert_int_equal(fixture_rdmsr(vp, HV_MSR_TPR), 0x30);
	fixture_wrmsr_faults(vp, HV_MSR_TPR, 0x100);
	fixture_wrmsr(vp, HV_MSR_ICR, 1ull << 56 | 0x55);
	assert_int_equal(fixture_rdmsr(vp, HV_MSR_ICR), 1ull << 56 | 0x55);
	assert_int_equal(lapic_take(fixture_vp(f, 1)), 0x55);
	fixture_wrmsr(fixture_vp(f, 1), HV_MSR_EOI, 0);
	assert_int_equal(lapic_priority(fixture_vp(f, 1)), 0);
	fixture_wrmsr_faults(vp, HV_MSR_EOI, 1ull << 32);
	fixture_rdmsr_faults(vp, HV_MSR_EOI);
	fixture_free(f);
}

static void test_guest_idle(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);

	lapic_mmio_write(vp, APIC_BASE_DEFAULT + APIC_SVR * 16, 4, 0x1FF);
	assert_int_equal(fixture_rdmsr(vp, HV_MSR_GUEST_IDLE), 0);
	assert_true(vp->idle_suspend);
	vp->idle_suspend = false;
	lapic_post(vp, 0x40, false);
	fixture_rdmsr(vp, HV_MSR_GUEST_IDLE); /* something is there already */
	assert_false(vp->idle_suspend);
	fixture_free(f);
}

/* In the handler of an interrupt, another of its priority cannot be taken but must end the wait. */
static void test_guest_idle_in_handler(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);

	lapic_mmio_write(vp, APIC_BASE_DEFAULT + APIC_SVR * 16, 4, 0x1FF);
	lapic_post(vp, 0xF3, false);
	assert_int_equal(lapic_take(vp), 0xF3);
	lapic_post(vp, 0xF7, false);
	assert_int_equal(lapic_pending(vp), -1);
	fixture_rdmsr(vp, HV_MSR_GUEST_IDLE);
	assert_false(vp->idle_suspend);
	fixture_free(f);
}

/* An interrupt sent to a disabled APIC is lost: nothing would end the wait. */
static void test_guest_idle_without_apic(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);

	fixture_rdmsr(vp, HV_MSR_GUEST_IDLE);
	assert_false(vp->idle_suspend);
	fixture_free(f);
}

static void test_privileges(void **state)
{
	WHV_SYNTHETIC_PROCESSOR_FEATURES few = {
		.HypervisorPresent = 1, .Hv1 = 1, .AccessHypercallRegs = 1, .AccessVpIndex = 1};
	struct fixture *f = with_synthetic(few);
	struct vp *vp = fixture_vp(f, 0);
	uint32_t out[4];

	cpuid(vp, 0x40000003, 0, out);
	assert_int_equal(out[0], HV_PRIV_HYPERCALL | HV_PRIV_VP_INDEX);
	fixture_rdmsr(vp, HV_MSR_VP_INDEX);
	fixture_rdmsr_faults(vp, HV_MSR_TIME_REF_COUNT);
	fixture_rdmsr_faults(vp, HV_MSR_SCONTROL);
	fixture_rdmsr_faults(vp, HV_MSR_STIMER0_CONFIG);
	fixture_rdmsr_faults(vp, HV_MSR_TPR);
	fixture_rdmsr_faults(vp, HV_MSR_REFERENCE_TSC);
	fixture_rdmsr_faults(vp, HV_MSR_TSC_FREQUENCY);
	fixture_rdmsr_faults(vp, HV_MSR_TSC_INVARIANT_CONTROL);
	fixture_rdmsr_faults(vp, HV_MSR_GUEST_IDLE);
	fixture_rdmsr_faults(vp, HV_MSR_CRASH_CTL);
	fixture_rdmsr_faults(vp, 0x400001FF);
	fixture_free(f);
}

static void test_no_hypervisor(void **state)
{
	struct fixture *f = with_synthetic((WHV_SYNTHETIC_PROCESSOR_FEATURES){0});
	uint32_t out[4];

	cpuid(fixture_vp(f, 0), 1, 0, out);
	assert_false(out[2] >> 31);
	cpuid(fixture_vp(f, 0), 0x40000000, 0, out);
	assert_int_equal(out[0] | out[1] | out[2] | out[3], 0);
	fixture_rdmsr_faults(fixture_vp(f, 0), HV_MSR_GUEST_OS_ID);
	fixture_free(f);
}

static void test_hypervisor_leaves(void **state)
{
	struct fixture *f = fixture_ready(2);
	struct vp *vp = fixture_vp(f, 0);
	uint32_t out[4];

	cpuid(vp, 0x40000000, 0, out);
	assert_true(out[0] >= 0x40000005);
	assert_memory_equal(&out[1], "Micr", 4);
	assert_memory_equal(&out[2], "osof", 4);
	assert_memory_equal(&out[3], "t Hv", 4);
	cpuid(vp, 0x40000001, 0, out);
	assert_memory_equal(&out[0], "Hv#1", 4);
	cpuid(vp, 0x40000003, 0, out);
	assert_int_equal(out[0] & HV_PRIV_TSC_INVARIANT, 0);
	/* Nobody takes the reset and crash registers: they are not offered. */
	assert_int_equal(out[0] & HV_PRIV_RESET, 0);
	assert_int_equal(out[3] & HV_FEATURE_CRASH, 0);
	cpuid(vp, 0x40000005, 0, out);
	assert_int_equal(out[0], 64);
	fixture_free(f);
}

static void test_processor_leaves(void **state)
{
	struct fixture *f = fixture_ready(3);
	struct vp *vp = fixture_vp(f, 2);
	uint32_t out[4];

	cpuid(vp, 0, 0, out);
	assert_memory_equal(&out[1], "Genu", 4);
	assert_memory_equal(&out[3], "ineI", 4);
	assert_memory_equal(&out[2], "ntel", 4);
	cpuid(vp, 1, 0, out);
	assert_int_equal(out[0] >> 8 & 0xF, 6);
	assert_int_equal(out[1] >> 24, 2);	  /* APIC ID */
	assert_int_equal(out[1] >> 16 & 0xFF, 3); /* processors */
	assert_true(out[2] >> 31);		  /* a hypervisor */
	assert_true(out[2] >> 21 & 1);		  /* x2APIC */
	assert_true(out[3] >> 9 & 1);		  /* APIC */
	assert_false(out[2] >> 27 & 1);		  /* OSXSAVE follows CR4 */
	vp_state(vp)->cr4 |= X86_CR4_OSXSAVE;
	cpuid(vp, 1, 0, out);
	assert_true(out[2] >> 27 & 1);
	cpuid(vp, 0xB, 0, out);
	assert_int_equal(out[1], 1);
	assert_int_equal(out[3], 2);
	cpuid(vp, 0xB, 1, out);
	assert_int_equal(out[0], 2); /* three processors need two bits */
	assert_int_equal(out[1], 3);
	cpuid(vp, 0xB, 2, out);
	assert_int_equal(out[1], 0);
	cpuid(vp, 0xD, 0, out);
	assert_int_equal(out[0], 3);
	assert_int_equal(out[1], 576);
	cpuid(vp, 0x80000000, 0, out);
	assert_int_equal(out[0], 0x80000008);
	cpuid(vp, 0x80000002, 0, out);
	assert_memory_equal(out, "Partita Virtual ", 16);
	cpuid(vp, 0x80000007, 0, out);
	assert_int_equal(out[3], 1u << 8);
	cpuid(vp, 0x80000008, 0, out);
	assert_int_equal(out[0], 48u << 8 | 40);
	lapic_write_base(vp, APIC_BASE_DEFAULT);
	cpuid(vp, 1, 0, out);
	assert_false(out[3] >> 9 & 1); /* a disabled APIC is not there */
	fixture_free(f);
}

static void test_client_results(void **state)
{
	struct fixture *f = fixture_new();
	WHV_PARTITION_PROPERTY p = {.ProcessorCount = 2};
	WHV_X64_CPUID_RESULT result = {
		.Function = 0x40000010, .Eax = 1, .Ebx = 2, .Ecx = 3, .Edx = 4};
	WHV_X64_CPUID_RESULT2 masks[] = {
		{.Function = 0x80000002,
			.Flags = WHvX64CpuidResult2FlagVpSpecific,
			.VpIndex = 1,
			.Output = {.Eax = 0x58},
			.Mask = {.Eax = 0xFF}},
		{.Function = 0xB,
			.Index = 1,
			.Flags = WHvX64CpuidResult2FlagSubleafSpecific,
			.Output = {.Ebx = 99},
			.Mask = {.Ebx = 0xFFFFFFFF}},
	};
	WHV_CPUID_OUTPUT out;

	assert_int_equal(WHvSetPartitionProperty(
				 f->p, WHvPartitionPropertyCodeProcessorCount, &p, sizeof(p)),
		S_OK);
	assert_int_equal(WHvSetPartitionProperty(f->p, WHvPartitionPropertyCodeCpuidResultList,
				 &result, sizeof(result)),
		S_OK);
	assert_int_equal(WHvSetPartitionProperty(f->p, WHvPartitionPropertyCodeCpuidResultList,
				 &result, sizeof(result) - 1),
		E_INVALIDARG);
	assert_int_equal(WHvSetPartitionProperty(f->p, WHvPartitionPropertyCodeCpuidResultList2,
				 masks, sizeof(masks)),
		S_OK);
	assert_int_equal(WHvSetupPartition(f->p), S_OK);
	assert_int_equal(WHvCreateVirtualProcessor(f->p, 0, 0), S_OK);
	assert_int_equal(WHvCreateVirtualProcessor(f->p, 1, 0), S_OK);
	assert_int_equal(WHvGetVirtualProcessorCpuidOutput(f->p, 0, 0x40000010, 0, &out), S_OK);
	assert_int_equal(out.Edx, 4);
	assert_int_equal(WHvGetVirtualProcessorCpuidOutput(f->p, 0, 0x80000002, 0, &out), S_OK);
	assert_int_equal(out.Eax & 0xFF, 'P');
	assert_int_equal(WHvGetVirtualProcessorCpuidOutput(f->p, 1, 0x80000002, 0, &out), S_OK);
	assert_int_equal(out.Eax, 'X' | 'a' << 8 | 'r' << 16 | 't' << 24);
	assert_int_equal(WHvGetVirtualProcessorCpuidOutput(f->p, 0, 0xB, 0, &out), S_OK);
	assert_int_equal(out.Ebx, 1);
	assert_int_equal(WHvGetVirtualProcessorCpuidOutput(f->p, 0, 0xB, 1, &out), S_OK);
	assert_int_equal(out.Ebx, 99);
	fixture_free(f);
}

static void test_tsc_invariant(void **state)
{
	struct fixture *f = fixture_new();
	WHV_PARTITION_PROPERTY p = {.ProcessorCount = 1};
	WHV_PROCESSOR_FEATURES_BANKS banks = capability_features(&f->p->info);
	uint32_t out[4];

	assert_int_equal(WHvSetPartitionProperty(
				 f->p, WHvPartitionPropertyCodeProcessorCount, &p, sizeof(p)),
		S_OK);
	assert_true(banks.Bank1.TscInvariantSupport);
	assert_int_equal(
		WHvSetPartitionProperty(f->p, WHvPartitionPropertyCodeProcessorFeaturesBanks,
			&banks, sizeof(banks)),
		S_OK);
	assert_int_equal(WHvSetupPartition(f->p), S_OK);
	assert_int_equal(WHvCreateVirtualProcessor(f->p, 0, 0), S_OK);
	cpuid(fixture_vp(f, 0), 0x40000003, 0, out);
	assert_true(out[0] & HV_PRIV_TSC_INVARIANT);
	cpuid(fixture_vp(f, 0), 0x80000007, 0, out);
	assert_int_equal(out[3], 0);
	fixture_wrmsr_faults(fixture_vp(f, 0), HV_MSR_TSC_INVARIANT_CONTROL, 2);
	fixture_wrmsr(fixture_vp(f, 0), HV_MSR_TSC_INVARIANT_CONTROL, 1);
	cpuid(fixture_vp(f, 0), 0x80000007, 0, out);
	assert_int_equal(out[3], 1u << 8);
	fixture_free(f);
}

static void test_memory_types(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);

	assert_int_equal(fixture_rdmsr(vp, 0xFE), 0x508);
	fixture_wrmsr_faults(vp, 0xFE, 0);
	fixture_wrmsr(vp, 0x200, 0xC0000000);
	fixture_wrmsr(vp, 0x201, 0xFFC0000800);
	assert_int_equal(fixture_rdmsr(vp, 0x201), 0xFFC0000800);
	fixture_wrmsr_faults(vp, 0x200, 2);	     /* no such type */
	fixture_wrmsr_faults(vp, 0x201, 1ull << 41); /* beyond the address width */
	fixture_wrmsr_faults(vp, 0x250, 7);
	fixture_wrmsr_faults(vp, 0x2FF, 1ull << 12);
	fixture_wrmsr(vp, 0x2FF, 0xC00);
	fixture_rdmsr_faults(vp, 0x210); /* there are eight */
	fixture_free(f);
}

static void test_unknown_msrs(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);
	uint64_t value = 5;

	fixture_rdmsr_faults(vp, 0xC0011020);
	fixture_wrmsr_faults(vp, 0xC0011020, 0);
	f->p->prop.unimplemented_msr = WHvMsrActionIgnoreWriteReadZero;
	assert_int_equal(fixture_rdmsr(vp, 0xC0011020), 0);
	fixture_wrmsr(vp, 0xC0011020, 1);
	f->p->prop.exits.X64MsrExit = 1;
	assert_int_equal(msr_read(vp, 0xC0011020, &value), X86_EXIT);
	assert_int_equal(msr_write(vp, HV_MSR_RESET, 1), X86_EXIT);
	assert_int_equal(msr_write(vp, HV_MSR_CRASH_CTL, 1ull << 63), X86_EXIT);
	assert_int_equal(msr_write(vp, 0x1B, vp->lapic.base), X86_DONE);
	f->p->prop.msr_exits.ApicBaseMsrWrite = 1;
	assert_int_equal(msr_write(vp, 0x1B, vp->lapic.base), X86_EXIT);
	assert_int_equal(msr_read(vp, 0x1B, &value), X86_DONE);
	fixture_free(f);
}

static void test_action_list(void **state)
{
	struct fixture *f = fixture_new();
	WHV_PARTITION_PROPERTY p = {.ProcessorCount = 1};
	WHV_MSR_ACTION_ENTRY list[] = {
		{.Index = 0x8B, .ReadAction = WHvMsrActionIgnoreWriteReadZero},
		{.Index = 0x1A0, .WriteAction = WHvMsrActionExit},
	};
	struct vp *vp;

	assert_int_equal(WHvSetPartitionProperty(
				 f->p, WHvPartitionPropertyCodeProcessorCount, &p, sizeof(p)),
		S_OK);
	assert_int_equal(WHvSetPartitionProperty(
				 f->p, WHvPartitionPropertyCodeMsrActionList, list, sizeof(list)),
		S_OK);
	assert_int_equal(WHvSetupPartition(f->p), S_OK);
	assert_int_equal(WHvCreateVirtualProcessor(f->p, 0, 0), S_OK);
	vp = fixture_vp(f, 0);
	assert_int_equal(fixture_rdmsr(vp, 0x8B), 0);
	assert_int_equal(msr_write(vp, 0x1A0, 0), X86_EXIT);
	assert_true(fixture_rdmsr(vp, 0x1A0) != 0);
	fixture_free(f);
}

/* Every MSR number a guest can name has an answer. */
static void test_every_number(void **state)
{
	static const uint32_t starts[] = {0, 0x40000000, 0xC0000000, 0xC0010000};
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);
	uint64_t value;

	for (unsigned i = 0; i < 4; i++) {
		for (uint32_t msr = 0; msr < 0x2000; msr++) {
			assert_true(msr_read(vp, starts[i] + msr, &value) <= X86_FAULT);
			assert_true(msr_write(vp, starts[i] + msr, ~0ull) <= X86_FAULT);
			assert_true(msr_write(vp, starts[i] + msr, 1) <= X86_FAULT);
			assert_true(msr_write(vp, starts[i] + msr, 0) <= X86_FAULT);
		}
	}
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hypercall_page),
		cmocka_unit_test(test_indices_and_frequencies),
		cmocka_unit_test(test_reference_time),
		cmocka_unit_test(test_suspended_time),
		cmocka_unit_test(test_reference_time_property),
		cmocka_unit_test(test_apic_msrs),
		cmocka_unit_test(test_guest_idle),
		cmocka_unit_test(test_guest_idle_in_handler),
		cmocka_unit_test(test_guest_idle_without_apic),
		cmocka_unit_test(test_privileges),
		cmocka_unit_test(test_no_hypervisor),
		cmocka_unit_test(test_hypervisor_leaves),
		cmocka_unit_test(test_processor_leaves),
		cmocka_unit_test(test_client_results),
		cmocka_unit_test(test_tsc_invariant),
		cmocka_unit_test(test_memory_types),
		cmocka_unit_test(test_unknown_msrs),
		cmocka_unit_test(test_action_list),
		cmocka_unit_test(test_every_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
