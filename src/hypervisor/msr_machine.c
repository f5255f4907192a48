/*
 * msr_machine.c - the architectural MSRs an operating system expects around the processor: memory
 * type ranges, feature and capability registers, power and debug controls that do nothing here.
 *
 * Source: Intel SDM vol. 4. Memory types are kept, not acted upon: all guest memory is write-back.
 */
#include "hypervisor/partition.h"

#include <string.h>

enum {
	MSR_PLATFORM_ID = 0x17,
	MSR_APIC_BASE = 0x1B,
	MSR_FEATURE_CONTROL = 0x3A,
	MSR_UCODE_WRITE = 0x79,
	MSR_UCODE_REV = 0x8B,
	MSR_PLATFORM_INFO = 0xCE,
	MSR_MTRR_CAP = 0xFE,
	MSR_ARCH_CAPABILITIES = 0x10A,
	MSR_MCG_CAP = 0x179,
	MSR_MCG_STATUS = 0x17A,
	MSR_PERF_STATUS = 0x198,
	MSR_PERF_CTL = 0x199,
	MSR_MISC_ENABLE = 0x1A0,
	MSR_DEBUGCTL = 0x1D9,
	MSR_MTRR_BASE0 = 0x200,
	MSR_MTRR_MASK7 = 0x20F,
	MSR_MTRR_FIX64K = 0x250,
	MSR_MTRR_FIX16K_80000 = 0x258,
	MSR_MTRR_FIX16K_A0000 = 0x259,
	MSR_MTRR_FIX4K_C0000 = 0x268,
	MSR_MTRR_FIX4K_F8000 = 0x26F,
	MSR_MTRR_DEF_TYPE = 0x2FF,
	MSR_TSC_DEADLINE = 0x6E0,
};

#define MTRR_COUNT	  8u
#define MTRR_CAP	  (MTRR_COUNT | 0x100u | 0x400u) /* variable, fixed, write-combining */
#define MTRR_DEF_VALID	  0xCFFull
#define MTRR_DEF_DEFAULT  0xC06ull /* enabled, fixed enabled, write-back */
#define MTRR_ALL_WB	  0x0606060606060606ull
#define MTRR_MASK_VALID	  0x800ull
#define MISC_ENABLE_RESET 0x1801ull /* fast strings; no BTS, no PEBS */
#define FEATURE_LOCKED	  1ull
#define UCODE_REVISION	  0xFFFFFFFF00000000ull

/*
 * IA32_ARCH_CAPABILITIES of a processor that executes one instruction after the other: RDCL_NO,
 * IBRS_ALL (nothing to restrict), SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, the three
 * MMIO stale data bits, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO.
 */
#define ARCH_CAPABILITIES                                                                          \
	(1ull << 0 | 1ull << 1 | 1ull << 3 | 1ull << 4 | 1ull << 5 | 1ull << 6 | 1ull << 8 |       \
		1ull << 13 | 1ull << 14 | 1ull << 15 | 1ull << 20 | 1ull << 24 | 1ull << 26 |      \
		1ull << 27 | 1ull << 62)

void msr_machine_reset(struct vp *vp)
{
	struct msr_storage *m = &vp->msrs;

	memset(m, 0, sizeof(*m));
	m->misc_enable = MISC_ENABLE_RESET;
	m->mtrr_def_type = MTRR_DEF_DEFAULT;
	for (unsigned i = 0; i < sizeof(m->mtrr_fixed) / sizeof(m->mtrr_fixed[0]); i++)
		m->mtrr_fixed[i] = MTRR_ALL_WB;
}

/* The storage behind an MTRR, or NULL. */
static uint64_t *mtrr(struct vp *vp, uint32_t msr)
{
	struct msr_storage *m = &vp->msrs;

	switch (msr) {
	case MSR_MTRR_BASE0 ... MSR_MTRR_MASK7:
		return msr & 1 ? &m->mtrr_mask[(msr - MSR_MTRR_BASE0) / 2]
			       : &m->mtrr_base[(msr - MSR_MTRR_BASE0) / 2];
	case MSR_MTRR_FIX64K:
		return &m->mtrr_fixed[0];
	case MSR_MTRR_FIX16K_80000 ... MSR_MTRR_FIX16K_A0000:
		return &m->mtrr_fixed[1 + msr - MSR_MTRR_FIX16K_80000];
	case MSR_MTRR_FIX4K_C0000 ... MSR_MTRR_FIX4K_F8000:
		return &m->mtrr_fixed[3 + msr - MSR_MTRR_FIX4K_C0000];
	case MSR_MTRR_DEF_TYPE:
		return &m->mtrr_def_type;
	default:
		return NULL;
	}
}

static bool valid_type(uint8_t type)
{
	return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

static bool valid_mtrr(const struct vp *vp, uint32_t msr, uint64_t value)
{
	uint64_t address = ((1ull << vp->partition->prop.physical_width) - 1) & ~0xFFFull;

	switch (msr) {
	case MSR_MTRR_BASE0 ... MSR_MTRR_MASK7:
		if (msr & 1)
			return !(value & ~(address | MTRR_MASK_VALID));
		return !(value & ~(address | 0xFF)) && valid_type(value & 0xFF);
	case MSR_MTRR_DEF_TYPE:
		return !(value & ~MTRR_DEF_VALID) && valid_type(value & 0xFF);
	default:
		for (unsigned i = 0; i < 8; i++) {
			if (!valid_type(value >> (i * 8) & 0xFF))
				return false;
		}
		return true;
	}
}

bool msr_machine_read(struct vp *vp, uint32_t msr, uint64_t *value, enum x86_answer *answer)
{
	const struct partition *p = vp->partition;
	const uint64_t *range = mtrr(vp, msr);

	*answer = X86_DONE;
	if (range) {
		*value = *range;
		return true;
	}
	switch (msr) {
	case MSR_APIC_BASE:
		*value = vp->lapic.base;
		return p->apic;
	case MSR_TSC_DEADLINE:
		*value = lapic_timer_read_deadline(vp);
		return p->apic;
	case MSR_FEATURE_CONTROL:
		*value = FEATURE_LOCKED;
		return true;
	case MSR_UCODE_REV:
		*value = UCODE_REVISION;
		return true;
	case MSR_PLATFORM_INFO: /* the base ratio, in units of 100 MHz */
		*value = p->clock.tsc_hz / 100000000u << 8;
		return true;
	case MSR_MTRR_CAP:
		*value = MTRR_CAP;
		return true;
	case MSR_ARCH_CAPABILITIES:
		*value = ARCH_CAPABILITIES;
		return p->info.intel;
	case MSR_MISC_ENABLE:
		*value = vp->msrs.misc_enable;
		return true;
	case MSR_DEBUGCTL:
		*value = vp->msrs.debugctl;
		return true;
	case MSR_PLATFORM_ID:
	case MSR_MCG_CAP: /* no machine check banks */
	case MSR_MCG_STATUS:
	case MSR_PERF_STATUS:
	case MSR_PERF_CTL:
		*value = 0;
		return true;
	default:
		return false;
	}
}

bool msr_machine_write(struct vp *vp, uint32_t msr, uint64_t value, enum x86_answer *answer)
{
	const struct partition *p = vp->partition;
	uint64_t *range = mtrr(vp, msr);

	*answer = X86_DONE;
	if (range) {
		if (valid_mtrr(vp, msr, value))
			*range = value;
		else
			*answer = X86_FAULT;
		return true;
	}
	switch (msr) {
	case MSR_APIC_BASE:
		if (p->apic)
			*answer = lapic_write_base(vp, value);
		return p->apic;
	case MSR_TSC_DEADLINE:
		if (p->apic)
			lapic_timer_write_deadline(vp, value);
		return p->apic;
	case MSR_MISC_ENABLE:
		vp->msrs.misc_enable = value;
		return true;
	case MSR_DEBUGCTL: /* LBR and BTF are accepted and do nothing */
		if (value & ~3ull)
			*answer = X86_FAULT;
		else
			vp->msrs.debugctl = value;
		return true;
	case MSR_UCODE_WRITE:
	case MSR_UCODE_REV:
	case MSR_PERF_CTL:
		return true;
	case MSR_MCG_STATUS:
		if (value)
			*answer = X86_FAULT;
		return true;
	case MSR_PLATFORM_ID:
	case MSR_FEATURE_CONTROL:
	case MSR_PLATFORM_INFO:
	case MSR_MTRR_CAP:
	case MSR_ARCH_CAPABILITIES:
	case MSR_MCG_CAP:
	case MSR_PERF_STATUS:
		*answer = X86_FAULT;
		return true;
	default:
		return false;
	}
}
