/*
 * cpuid.c - what CPUID says: the processor's leaves, the topology, and the hypervisor's leaves.
 *
 * The privileges, features and hints of the hypervisor leaves follow from the synthetic processor
 * features the client asked for, and nothing is shown that is not implemented.
 *
 * Source: Intel SDM vol. 2A "CPUID", TLFS "Feature and Interface Discovery".
 */
#include "hypervisor/partition.h"

#include <string.h>

#define BASIC_LEAF_MAX	    0x0Du
#define EXTENDED_LEAF_MAX   0x80000008u
#define HYPERVISOR_LEAF_MAX 0x4000000Au

/* The version of the interface that 0x40000002 shows: that of Windows Server 2022. */
#define HV_BUILD 20348u
#define HV_MAJOR 10u
#define HV_MINOR 0u

#define LONG_SPIN_WAIT_RETRIES 0x0FFFu

#define LEAF1_ECX_X2APIC       (1u << 21)
#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_OSXSAVE      (1u << 27)
#define LEAF1_ECX_HYPERVISOR   (1u << 31)
#define LEAF1_EDX_APIC	       (1u << 9)
#define LEAF1_EDX_MTRR	       (1u << 12)
#define LEAF1_EDX_HTT	       (1u << 28)
/* Bits that are not the engine's to say. */
#define LEAF1_ECX_OURS                                                                             \
	(LEAF1_ECX_X2APIC | LEAF1_ECX_TSC_DEADLINE | LEAF1_ECX_OSXSAVE | LEAF1_ECX_HYPERVISOR)
#define LEAF1_EDX_OURS	   (LEAF1_EDX_APIC | LEAF1_EDX_HTT)
#define LEAF6_EAX_ARAT	   (1u << 2)
#define LEAF7_EDX_ARCH_CAP (1u << 29)
#define XCR0_AVX	   4u

static const char brand[48] = "Partita Virtual Processor";

struct leaf {
	uint32_t eax, ebx, ecx, edx;
};

static bool wants_tsc_invariant(const struct partition *p)
{
	return p->prop.features.Bank1.TscInvariantSupport;
}

void cpuid_setup(struct partition *p)
{
	const WHV_SYNTHETIC_PROCESSOR_FEATURES f = p->prop.synthetic;
	bool client_msrs = p->prop.exits.X64MsrExit && p->prop.msr_exits.UnhandledMsrs;
	uint32_t low = 0, high = 0, features = 0, hints = 0;

	p->cpu = p->info.features;
	capability_mask(&p->cpu, &p->prop.features, p->prop.xsave);
	if (f.Hv1) {
		low |= f.AccessVpRunTimeReg ? HV_PRIV_VP_RUNTIME : 0;
		low |= f.AccessPartitionReferenceCounter ? HV_PRIV_REFERENCE_COUNT : 0;
		low |= f.AccessSynicRegs && p->apic ? HV_PRIV_SYNIC : 0;
		low |= f.AccessSyntheticTimerRegs && p->apic ? HV_PRIV_STIMER : 0;
		low |= f.AccessIntrCtrlRegs && p->apic ? HV_PRIV_INTR_CTRL : 0;
		low |= f.AccessHypercallRegs ? HV_PRIV_HYPERCALL : 0;
		low |= f.AccessVpIndex ? HV_PRIV_VP_INDEX : 0;
		low |= f.AccessPartitionReferenceTsc ? HV_PRIV_REFERENCE_TSC : 0;
		low |= f.AccessGuestIdleReg && p->apic ? HV_PRIV_GUEST_IDLE : 0;
		low |= f.AccessFrequencyRegs ? HV_PRIV_FREQUENCY : 0;
		low |= wants_tsc_invariant(p) ? HV_PRIV_TSC_INVARIANT : 0;
		/* Whoever takes the MSRs that nobody handles answers for reset and crash. */
		low |= client_msrs ? HV_PRIV_RESET : 0;
		high |= p->prop.exits.HypercallExit ? HV_PRIV2_POST_MESSAGES : 0;
		high |= f.SignalEvents ? HV_PRIV2_SIGNAL_EVENTS : 0;
		high |= f.AccessHypercallRegs ? HV_PRIV2_EXTENDED_CALLS : 0;
		features |= HV_FEATURE_XMM_INPUT | HV_FEATURE_HYPERCALL_LOCK;
		features |= low & HV_PRIV_GUEST_IDLE ? HV_FEATURE_GUEST_IDLE : 0;
		features |= low & HV_PRIV_FREQUENCY ? HV_FEATURE_FREQUENCY : 0;
		features |= client_msrs ? HV_FEATURE_CRASH : 0;
		features |= f.FastHypercallOutput ? HV_FEATURE_XMM_OUTPUT : 0;
		features |= low & HV_PRIV_SYNIC ? HV_FEATURE_SINT_POLLING : 0;
		features |= f.DirectSyntheticTimers && (low & HV_PRIV_STIMER)
				    ? HV_FEATURE_DIRECT_STIMER
				    : 0;
		hints |= HV_HINT_RELAXED_TIMING | HV_HINT_NO_AUTO_EOI;
		hints |= f.TbFlushHypercalls ? HV_HINT_REMOTE_FLUSH : 0;
		hints |= f.SyntheticClusterIpi && p->apic ? HV_HINT_CLUSTER_IPI : 0;
		hints |= f.ExtendedProcessorMasks ? HV_HINT_EX_MASKS : 0;
		/* Where x2APIC is to be had its own MSRs are as good. */
		if ((low & HV_PRIV_INTR_CTRL) &&
			p->prop.apic_mode == WHvX64LocalApicEmulationModeXApic)
			hints |= HV_HINT_APIC_MSRS;
	}
	p->privileges[0] = low;
	p->privileges[1] = high;
	p->features = features;
	p->hints = hints;
}

/* The four registers of a leaf as text, in the order EBX, EDX, ECX or EAX..EDX. */
static uint32_t chars(const char *text)
{
	uint32_t word;

	memcpy(&word, text, sizeof(word));
	return word;
}

static unsigned ceil_log2(unsigned n)
{
	return n <= 1 ? 0 : 32 - (unsigned)__builtin_clz(n - 1);
}

static struct leaf leaf_features(struct vp *vp)
{
	const struct partition *p = vp->partition;
	unsigned count = p->prop.processor_count;
	struct leaf l = {
		.eax = p->info.signature,
		.ebx = vp->lapic.id << 24 | (count > 255 ? 255 : count) << 16 |
		       (uint32_t)p->prop.clflush_size << 8,
		.ecx = p->cpu.leaf1_ecx & ~LEAF1_ECX_OURS,
		.edx = (p->cpu.leaf1_edx | LEAF1_EDX_MTRR) & ~LEAF1_EDX_OURS,
	};

	if (p->prop.synthetic.HypervisorPresent)
		l.ecx |= LEAF1_ECX_HYPERVISOR;
	if (p->apic) {
		if (vp->lapic.base & APIC_BASE_ENABLE)
			l.edx |= LEAF1_EDX_APIC;
		if (p->prop.apic_mode == WHvX64LocalApicEmulationModeX2Apic)
			l.ecx |= LEAF1_ECX_X2APIC;
		if (p->prop.features.Bank1.TscDeadlineTmrSupport)
			l.ecx |= LEAF1_ECX_TSC_DEADLINE;
	}
	if ((l.ecx >> 26 & 1) && (vp_state(vp)->cr4 & X86_CR4_OSXSAVE))
		l.ecx |= LEAF1_ECX_OSXSAVE;
	if (count > 1)
		l.edx |= LEAF1_EDX_HTT;
	return l;
}

/* Caches: 32 KiB for data, 32 KiB for code, 1 MiB, all of 64-byte lines, none of them shared. */
static struct leaf leaf_caches(const struct partition *p, uint32_t subleaf)
{
	static const struct {
		uint32_t type_level;
		unsigned ways, sets;
	} caches[] = {
		{1 | 1 << 5, 8, 64},
		{2 | 1 << 5, 8, 64},
		{3 | 2 << 5, 16, 1024},
	};
	struct leaf l = {0};

	if (subleaf >= sizeof(caches) / sizeof(caches[0]))
		return l;
	l.eax = caches[subleaf].type_level | 1u << 8 |
		((1u << ceil_log2(p->prop.processor_count)) - 1) << 26;
	l.ebx = 63u | (caches[subleaf].ways - 1) << 22;
	l.ecx = caches[subleaf].sets - 1;
	return l;
}

/* One thread a core, one package. */
static struct leaf leaf_topology(struct vp *vp, uint32_t subleaf)
{
	unsigned count = vp->partition->prop.processor_count;
	struct leaf l = {.ecx = subleaf & 0xFF, .edx = vp->lapic.id};

	if (subleaf == 0) {
		l.ebx = 1;
		l.ecx |= 1u << 8; /* SMT */
	} else if (subleaf == 1) {
		l.eax = ceil_log2(count);
		l.ebx = count;
		l.ecx |= 2u << 8; /* core */
	}
	return l;
}

static uint32_t xsave_size(uint64_t components)
{
	return components & XCR0_AVX ? 832 : 576;
}

static struct leaf leaf_xsave(struct vp *vp, uint32_t subleaf)
{
	const struct x86_features *cpu = &vp->partition->cpu;
	struct leaf l = {0};

	if (!(cpu->leaf1_ecx >> 26 & 1))
		return l;
	if (subleaf == 0) {
		l.eax = (uint32_t)cpu->xcr0;
		l.edx = (uint32_t)(cpu->xcr0 >> 32);
		l.ebx = xsave_size(vp_state(vp)->xcr0);
		l.ecx = xsave_size(cpu->xcr0);
	} else if (subleaf == 1) {
		l.eax = cpu->xsave1_eax;
		l.ebx = cpu->xsave1_eax & 0xA ? xsave_size(vp_state(vp)->xcr0) : 0;
	} else if (subleaf == 2 && (cpu->xcr0 & XCR0_AVX)) {
		l.eax = 256;
		l.ebx = 576;
	}
	return l;
}

static struct leaf basic(struct vp *vp, uint32_t leaf, uint32_t subleaf)
{
	const struct partition *p = vp->partition;
	struct leaf l = {0};

	switch (leaf) {
	case 0x00:
		l.eax = BASIC_LEAF_MAX;
		l.ebx = chars(p->info.intel ? "Genu" : "Auth");
		l.edx = chars(p->info.intel ? "ineI" : "enti");
		l.ecx = chars(p->info.intel ? "ntel" : "cAMD");
		return l;
	case 0x01:
		return leaf_features(vp);
	case 0x02: /* caches: see leaf 4 */
		l.eax = 0x0000FF01;
		return l;
	case 0x04:
		return leaf_caches(p, subleaf);
	case 0x06:
		l.eax = p->apic ? LEAF6_EAX_ARAT : 0;
		return l;
	case 0x07:
		if (subleaf == 0) {
			l.ebx = p->cpu.leaf7_ebx;
			l.ecx = p->cpu.leaf7_ecx;
			l.edx = p->cpu.leaf7_edx | (p->info.intel ? LEAF7_EDX_ARCH_CAP : 0);
		}
		return l;
	case 0x0B:
		return leaf_topology(vp, subleaf);
	case 0x0D:
		return leaf_xsave(vp, subleaf);
	default:
		return l;
	}
}

static struct leaf extended(struct vp *vp, uint32_t leaf)
{
	const struct partition *p = vp->partition;
	struct leaf l = {0};

	switch (leaf) {
	case 0x80000000:
		l.eax = EXTENDED_LEAF_MAX;
		return l;
	case 0x80000001:
		l.ecx = p->cpu.ext1_ecx;
		l.edx = p->cpu.ext1_edx;
		return l;
	case 0x80000002 ... 0x80000004: {
		const char *text = brand + (leaf - 0x80000002) * 16;

		l = (struct leaf){chars(text), chars(text + 4), chars(text + 8), chars(text + 12)};
		return l;
	}
	case 0x80000006: /* second-level cache: 1 MiB, 16 ways, 64-byte lines */
		l.ecx = 1024u << 16 | 8u << 12 | 64u;
		return l;
	case 0x80000007: /* invariant TSC; where the guest can control it, once it asked for it */
		if (!(p->privileges[0] & HV_PRIV_TSC_INVARIANT) || p->tsc_invariant ||
			!p->info.cpuid_exits)
			l.edx = 1u << 8;
		return l;
	case 0x80000008:
		l.eax = p->prop.physical_width | 48u << 8;
		return l;
	default:
		return l;
	}
}

static struct leaf hypervisor(const struct partition *p, uint32_t leaf)
{
	struct leaf l = {0};

	switch (leaf) {
	case 0x40000000:
		l.eax = p->prop.synthetic.Hv1 ? HYPERVISOR_LEAF_MAX : 0x40000001;
		l.ebx = chars("Micr");
		l.ecx = chars("osof");
		l.edx = chars("t Hv");
		return l;
	case 0x40000001:
		l.eax = p->prop.synthetic.Hv1 ? chars("Hv#1") : 0;
		return l;
	default:
		break;
	}
	if (!p->prop.synthetic.Hv1)
		return l;
	switch (leaf) {
	case 0x40000002:
		l.eax = HV_BUILD;
		l.ebx = HV_MAJOR << 16 | HV_MINOR;
		break;
	case 0x40000003:
		l.eax = p->privileges[0];
		l.ebx = p->privileges[1];
		l.edx = p->features;
		break;
	case 0x40000004:
		l.eax = p->hints;
		l.ebx = p->prop.synthetic.NotifyLongSpinWait ? LONG_SPIN_WAIT_RETRIES : UINT32_MAX;
		l.ecx = p->prop.physical_width;
		break;
	case 0x40000005:
		l.eax = VP_MAX;
		l.ebx = VP_MAX;
		break;
	}
	return l;
}

/* The leaves the client replaced. */
static void apply_results(const struct vp *vp, uint32_t leaf, uint32_t subleaf, struct leaf *l)
{
	const struct properties *prop = &vp->partition->prop;

	for (unsigned i = 0; i < prop->cpuid_result_count; i++) {
		const WHV_X64_CPUID_RESULT *r = &prop->cpuid_results[i];

		if (r->Function == leaf)
			*l = (struct leaf){r->Eax, r->Ebx, r->Ecx, r->Edx};
	}
	for (unsigned i = 0; i < prop->cpuid_result2_count; i++) {
		const WHV_X64_CPUID_RESULT2 *r = &prop->cpuid_results2[i];

		if (r->Function != leaf ||
			((r->Flags & WHvX64CpuidResult2FlagSubleafSpecific) &&
				r->Index != subleaf) ||
			((r->Flags & WHvX64CpuidResult2FlagVpSpecific) && r->VpIndex != vp->index))
			continue;
		l->eax = (l->eax & ~r->Mask.Eax) | (r->Output.Eax & r->Mask.Eax);
		l->ebx = (l->ebx & ~r->Mask.Ebx) | (r->Output.Ebx & r->Mask.Ebx);
		l->ecx = (l->ecx & ~r->Mask.Ecx) | (r->Output.Ecx & r->Mask.Ecx);
		l->edx = (l->edx & ~r->Mask.Edx) | (r->Output.Edx & r->Mask.Edx);
	}
}

void cpuid_query(struct vp *vp, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	const struct partition *p = vp->partition;
	struct leaf l = {0};

	if (leaf >= 0x40000000 && leaf < 0x40010000) {
		if (p->prop.synthetic.HypervisorPresent)
			l = hypervisor(p, leaf);
	} else if (leaf >= 0x80000000 && leaf <= EXTENDED_LEAF_MAX) {
		l = extended(vp, leaf);
	} else {
		/* A leaf that does not exist shows the last basic one, as Intel's do. */
		l = basic(vp, leaf > BASIC_LEAF_MAX ? BASIC_LEAF_MAX : leaf, subleaf);
	}
	apply_results(vp, leaf, subleaf, &l);
	out[0] = l.eax;
	out[1] = l.ebx;
	out[2] = l.ecx;
	out[3] = l.edx;
}

bool cpuid_exits(const struct partition *p, uint32_t leaf)
{
	if (!p->prop.exits.X64CpuidExit)
		return false;
	for (unsigned i = 0; i < p->prop.cpuid_exit_count; i++) {
		if (p->prop.cpuid_exits[i] == leaf)
			return true;
	}
	return false;
}

HRESULT WINAPI WHvGetVirtualProcessorCpuidOutput(WHV_PARTITION_HANDLE Partition, UINT32 VpIndex,
	UINT32 Eax, UINT32 Ecx, WHV_CPUID_OUTPUT *CpuidOutput)
{
	struct vp *vp;
	HRESULT hr = vp_claim_by_index(Partition, VpIndex, CpuidOutput, &vp);
	uint32_t out[4];

	if (FAILED(hr))
		return hr;
	cpuid_query(vp, Eax, Ecx, out);
	vp_release(vp);
	*CpuidOutput = (WHV_CPUID_OUTPUT){out[0], out[1], out[2], out[3]};
	return S_OK;
}
