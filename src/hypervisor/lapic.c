/*
 * lapic.c - registers and interrupt acceptance of the local APIC. See lapic.h.
 */
#include "hypervisor/partition.h"

#define SVR_ENABLE	     0x100u
#define SVR_WRITABLE	     0x3FFu
#define LVT_MASKED	     0x10000u
#define VERSION		     (0x14u | (LVT_COUNT - 1) << 16)
#define ICR_PENDING	     0x1000u
#define ESR_ILLEGAL_REGISTER 0x80u
#define ESR_SEND_VECTOR	     0x20u
#define ESR_RECEIVE_VECTOR   0x40u

/* Bits a guest may set in each LVT entry; the others read as zero. */
static const uint32_t lvt_writable[LVT_COUNT] = {
	[LVT_TIMER] = 0x700FF,
	[LVT_THERMAL] = 0x107FF,
	[LVT_PERFORMANCE] = 0x107FF,
	[LVT_LINT0] = 0x1A7FF,
	[LVT_LINT1] = 0x1A7FF,
	[LVT_ERROR] = 0x100FF,
};

static bool x2apic(const struct vp *vp)
{
	return atomic_load_explicit(&vp->lapic.base, memory_order_relaxed) & APIC_BASE_X2APIC;
}

/* In x2APIC mode the logical ID follows from the APIC ID. */
static uint32_t x2apic_ldr(uint32_t id)
{
	return (id >> 4) << 16 | 1u << (id & 15);
}

void lapic_reset(struct vp *vp, bool init)
{
	struct lapic *a = &vp->lapic;

	if (!init) {
		a->id = vp->index;
		a->base = APIC_BASE_DEFAULT | APIC_BASE_ENABLE | (vp->index ? 0 : APIC_BASE_BSP);
	}
	a->ldr = x2apic(vp) ? x2apic_ldr(a->id) : 0;
	a->dfr = 0xFFFFFFFF;
	a->svr = 0xFF;
	a->tpr = 0;
	for (unsigned i = 0; i < 8; i++) {
		a->irr[i] = 0;
		a->isr[i] = 0;
		a->tmr[i] = 0;
	}
	for (unsigned i = 0; i < LVT_COUNT; i++)
		a->lvt[i] = LVT_MASKED;
	a->esr = 0;
	a->esr_pending = 0;
	a->icr = 0;
	a->timer_initial = a->timer_divide = 0;
	a->timer_period = 0;
	a->timer_deadline = CLOCK_NEVER;
	a->tsc_deadline = 0;
}

bool lapic_enabled(const struct vp *vp)
{
	return vp->partition->apic &&
	       (atomic_load_explicit(&vp->lapic.base, memory_order_relaxed) & APIC_BASE_ENABLE) &&
	       (atomic_load_explicit(&vp->lapic.svr, memory_order_relaxed) & SVR_ENABLE);
}

/* The highest bit of a 256-bit register, or -1. */
static int highest(const _Atomic uint32_t bits[8])
{
	for (int i = 7; i >= 0; i--) {
		uint32_t word = atomic_load_explicit(&bits[i], memory_order_relaxed);

		if (word)
			return i * 32 + 31 - __builtin_clz(word);
	}
	return -1;
}

bool lapic_post(struct vp *vp, uint8_t vector, bool level)
{
	struct lapic *a = &vp->lapic;
	uint32_t bit = 1u << (vector & 31);

	if (!lapic_enabled(vp))
		return false;
	if (vector < 16) {
		lapic_error(vp, ESR_RECEIVE_VECTOR);
		return true;
	}
	if (level)
		atomic_fetch_or(&a->tmr[vector / 32], bit);
	else if (atomic_load_explicit(&a->tmr[vector / 32], memory_order_relaxed) & bit)
		atomic_fetch_and(&a->tmr[vector / 32], ~bit);
	if (!(atomic_fetch_or(&a->irr[vector / 32], bit) & bit))
		vp_notify(vp);
	return true;
}

uint32_t lapic_priority(const struct vp *vp)
{
	uint32_t tpr = atomic_load_explicit(&vp->lapic.tpr, memory_order_relaxed);
	int isr = highest(vp->lapic.isr);
	uint32_t in_service = isr < 0 ? 0 : (uint32_t)isr & 0xF0;

	return (tpr & 0xF0) >= in_service ? tpr : in_service;
}

bool lapic_requested(const struct vp *vp)
{
	return highest(vp->lapic.irr) >= 0;
}

int lapic_pending(const struct vp *vp)
{
	int vector = highest(vp->lapic.irr);

	if (vector < 0 || !lapic_enabled(vp))
		return -1;
	return ((uint32_t)vector & 0xF0) > (lapic_priority(vp) & 0xF0) ? vector : -1;
}

int lapic_take(struct vp *vp)
{
	struct lapic *a = &vp->lapic;
	int vector = lapic_pending(vp);
	uint32_t bit;

	if (vector < 0)
		return -1;
	bit = 1u << (vector & 31);
	atomic_fetch_and(&a->irr[vector / 32], ~bit);
	if (synic_auto_eoi(&vp->synic, (uint8_t)vector)) {
		/* Ended already: something of lower priority may follow at once. */
		if (lapic_pending(vp) >= 0)
			vp_notify(vp);
	} else {
		a->isr[vector / 32] |= bit;
	}
	vp->guest_events.InterruptCount++;
	return vector;
}

void lapic_end(struct vp *vp)
{
	struct lapic *a = &vp->lapic;
	int vector = highest(a->isr);
	uint32_t bit;

	vp->apic_counters.EoiAccessCount++;
	if (vector < 0)
		return;
	bit = 1u << (vector & 31);
	atomic_fetch_and(&a->isr[vector / 32], ~bit);
	if (atomic_load_explicit(&a->tmr[vector / 32], memory_order_relaxed) & bit) {
		vp->eoi_exits[vector / 64] |= 1ull << (vector & 63);
		vp->eoi_pending = true;
		vp->engine->vp_stop(vp->engine_vp);
	}
	synic_end_of_interrupt(vp, (uint8_t)vector);
	if (lapic_pending(vp) >= 0)
		vp_notify(vp);
}

void lapic_set_tpr(struct vp *vp, uint32_t tpr)
{
	uint32_t before = atomic_exchange(&vp->lapic.tpr, tpr & 0xFF);

	if ((tpr & 0xF0) < (before & 0xF0) && lapic_pending(vp) >= 0)
		vp_notify(vp);
}

void lapic_error(struct vp *vp, uint32_t bit)
{
	uint32_t lvt = atomic_load(&vp->lapic.lvt[LVT_ERROR]);

	if (atomic_fetch_or(&vp->lapic.esr_pending, bit) & bit)
		return;
	if (!(lvt & LVT_MASKED) && (lvt & 0xFF) >= 16)
		lapic_post(vp, (uint8_t)lvt, false);
}

void lapic_lint(struct vp *vp, enum apic_lvt pin)
{
	uint32_t lvt = atomic_load(&vp->lapic.lvt[pin]);
	struct apic_message message = {
		.vector = (uint8_t)lvt, .delivery = lvt >> 8 & 7, .level = lvt >> 15 & 1};

	if (!(lvt & LVT_MASKED) && message.delivery != APIC_EXTINT)
		lapic_deliver_to(vp, &message);
}

uint32_t lapic_register(const struct vp *vp, unsigned reg)
{
	const struct lapic *a = &vp->lapic;

	switch (reg) {
	case APIC_ID:
		return x2apic(vp) ? a->id : a->id << 24;
	case APIC_VERSION:
		return VERSION;
	case APIC_TPR:
		return a->tpr;
	case APIC_PPR:
		return lapic_priority(vp);
	case APIC_LDR:
		return a->ldr;
	case APIC_DFR:
		return a->dfr;
	case APIC_SVR:
		return a->svr;
	case APIC_ISR ... APIC_ISR + 7:
		return a->isr[reg - APIC_ISR];
	case APIC_TMR ... APIC_TMR + 7:
		return a->tmr[reg - APIC_TMR];
	case APIC_IRR ... APIC_IRR + 7:
		return a->irr[reg - APIC_IRR];
	case APIC_ESR:
		return a->esr;
	case APIC_ICR:
		return (uint32_t)a->icr;
	case APIC_ICR_HIGH:
		return (uint32_t)(a->icr >> 32);
	case APIC_LVT ... APIC_LVT + LVT_COUNT - 1:
		return a->lvt[reg - APIC_LVT];
	case APIC_TIMER_INITIAL:
		return a->timer_initial;
	case APIC_TIMER_CURRENT:
		return lapic_timer_current(vp);
	case APIC_TIMER_DIVIDE:
		return a->timer_divide;
	default:
		return 0;
	}
}

static void write_svr(struct vp *vp, uint32_t value)
{
	struct lapic *a = &vp->lapic;

	a->svr = value & SVR_WRITABLE;
	if (!(value & SVR_ENABLE)) {
		for (unsigned i = 0; i < LVT_COUNT; i++)
			atomic_fetch_or(&a->lvt[i], LVT_MASKED);
	} else if (lapic_pending(vp) >= 0) {
		vp_notify(vp);
	}
}

static void write_lvt(struct vp *vp, enum apic_lvt entry, uint32_t value)
{
	struct lapic *a = &vp->lapic;
	uint32_t before = a->lvt[entry];

	value &= lvt_writable[entry];
	if (!(a->svr & SVR_ENABLE))
		value |= LVT_MASKED;
	a->lvt[entry] = value;
	if (entry == LVT_TIMER)
		lapic_timer_mode_changed(vp, before);
}

enum x86_answer lapic_write_icr(struct vp *vp, uint64_t icr)
{
	uint32_t delivery = icr >> 8 & 7;

	vp->lapic.icr = icr & ~(uint64_t)ICR_PENDING;
	vp->apic_counters.SentIpiCount++;
	if ((delivery == APIC_FIXED || delivery == APIC_LOWEST) && (icr & 0xFF) < 16) {
		lapic_error(vp, ESR_SEND_VECTOR);
		return X86_DONE;
	}
	lapic_send(vp, icr);
	return X86_DONE;
}

/* Registers that both modes write alike. False: there is no such register to write. */
static bool write_common(struct vp *vp, unsigned reg, uint32_t value)
{
	struct lapic *a = &vp->lapic;

	switch (reg) {
	case APIC_TPR:
		vp->apic_counters.TprAccessCount++;
		lapic_set_tpr(vp, value);
		return true;
	case APIC_EOI:
		lapic_end(vp);
		return true;
	case APIC_SVR:
		write_svr(vp, value);
		return true;
	case APIC_ESR:
		a->esr = atomic_exchange(&a->esr_pending, 0);
		return true;
	case APIC_LVT ... APIC_LVT + LVT_COUNT - 1:
		write_lvt(vp, reg - APIC_LVT, value);
		return true;
	case APIC_TIMER_INITIAL:
		a->timer_initial = value;
		lapic_timer_start(vp);
		return true;
	case APIC_TIMER_DIVIDE:
		a->timer_divide = value & 0xB;
		if (a->timer_period)
			lapic_timer_start(vp);
		return true;
	default:
		return false;
	}
}

/* ---- xAPIC: a page of 32-bit registers, 16 bytes apart --------------------------------------- */

bool lapic_mmio(struct vp *vp, uint64_t gpa)
{
	uint64_t base = atomic_load_explicit(&vp->lapic.base, memory_order_relaxed);

	return vp->partition->apic && (base & APIC_BASE_ENABLE) && !(base & APIC_BASE_X2APIC) &&
	       gpa - (base & ~0xFFFull) < HV_PAGE_SIZE;
}

uint64_t lapic_mmio_read(struct vp *vp, uint64_t gpa, unsigned size)
{
	unsigned offset = gpa & 0xFFF;

	vp->apic_counters.MmioAccessCount++;
	/* Anything but an aligned 32-bit access is undefined in the SDM: it reads as 0 here. */
	if (size < 4 || (offset & 15) || offset >= 0x400)
		return 0;
	return lapic_register(vp, offset / 16);
}

void lapic_mmio_write(struct vp *vp, uint64_t gpa, unsigned size, uint64_t value)
{
	struct lapic *a = &vp->lapic;
	unsigned offset = gpa & 0xFFF, reg = offset / 16;
	uint32_t low = (uint32_t)value;

	vp->apic_counters.MmioAccessCount++;
	if (size < 4 || (offset & 15))
		return;
	switch (reg) {
	case APIC_ID:
	case APIC_VERSION:
		return; /* the ID is fixed, as TLFS allows */
	case APIC_LDR:
		a->ldr = low & 0xFF000000;
		return;
	case APIC_DFR:
		a->dfr = low | 0x0FFFFFFF;
		return;
	case APIC_ICR:
		lapic_write_icr(vp, (a->icr & 0xFFFFFFFF00000000) | low);
		return;
	case APIC_ICR_HIGH:
		a->icr = (uint32_t)a->icr | (uint64_t)(low & 0xFF000000) << 32;
		return;
	default:
		if (!write_common(vp, reg, low))
			lapic_error(vp, ESR_ILLEGAL_REGISTER);
	}
}

/* ---- x2APIC: the same registers as MSRs ------------------------------------------------------ */

static bool x2apic_readable(unsigned reg)
{
	switch (reg) {
	case APIC_ID:
	case APIC_VERSION:
	case APIC_TPR:
	case APIC_PPR:
	case APIC_LDR:
	case APIC_SVR:
	case APIC_ISR ... APIC_ESR:
	case APIC_ICR:
	case APIC_LVT ... APIC_TIMER_CURRENT:
	case APIC_TIMER_DIVIDE:
		return true;
	default:
		return false;
	}
}

enum x86_answer lapic_msr_read(struct vp *vp, uint32_t msr, uint64_t *value)
{
	unsigned reg = msr - APIC_MSR_FIRST;

	if (!vp->partition->apic || !x2apic(vp) || !x2apic_readable(reg))
		return X86_FAULT;
	*value = reg == APIC_ICR ? vp->lapic.icr : lapic_register(vp, reg);
	return X86_DONE;
}

/* Bits that must be zero in what is written. */
static uint64_t x2apic_reserved(unsigned reg)
{
	switch (reg) {
	case APIC_TPR:
		return ~0xFFull;
	case APIC_EOI:
	case APIC_ESR:
		return ~0ull;
	case APIC_SVR:
		return ~(uint64_t)0x1FF;
	case APIC_ICR:
		return 0xFFF32000ull;
	case APIC_LVT ... APIC_LVT + LVT_COUNT - 1:
		return ~(uint64_t)(lvt_writable[reg - APIC_LVT] | 0x5000);
	case APIC_TIMER_DIVIDE:
		return ~0xBull;
	case APIC_SELF_IPI:
		return ~0xFFull;
	default:
		return 0xFFFFFFFF00000000ull;
	}
}

enum x86_answer lapic_msr_write(struct vp *vp, uint32_t msr, uint64_t value)
{
	unsigned reg = msr - APIC_MSR_FIRST;

	if (!vp->partition->apic || !x2apic(vp) || (value & x2apic_reserved(reg)))
		return X86_FAULT;
	switch (reg) {
	case APIC_ICR:
		return lapic_write_icr(vp, value);
	case APIC_SELF_IPI:
		vp->apic_counters.SelfIpiCount++;
		if (value < 16)
			lapic_error(vp, ESR_SEND_VECTOR);
		else
			lapic_post(vp, (uint8_t)value, false);
		return X86_DONE;
	default:
		return write_common(vp, reg, (uint32_t)value) ? X86_DONE : X86_FAULT;
	}
}

enum x86_answer lapic_write_base(struct vp *vp, uint64_t value)
{
	struct lapic *a = &vp->lapic;
	const struct partition *p = vp->partition;
	uint64_t before = a->base, address = ~0xFFFull & ((1ull << p->prop.physical_width) - 1);
	uint64_t modes = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	uint64_t valid = address | APIC_BASE_BSP | APIC_BASE_ENABLE;

	if (p->prop.apic_mode == WHvX64LocalApicEmulationModeX2Apic)
		valid |= APIC_BASE_X2APIC;
	if (value & ~valid)
		return X86_FAULT;
	/* SDM "x2APIC State Transitions": x2APIC is entered from xAPIC and left by disabling. */
	if ((value & modes) == APIC_BASE_X2APIC)
		return X86_FAULT;
	if ((before & APIC_BASE_X2APIC) && (value & modes) == APIC_BASE_ENABLE)
		return X86_FAULT;
	if (!(before & APIC_BASE_ENABLE) && (value & modes) == modes)
		return X86_FAULT;
	a->base = value;
	if ((before ^ value) & APIC_BASE_X2APIC) {
		a->ldr = value & APIC_BASE_X2APIC ? x2apic_ldr(a->id) : 0;
		a->icr = 0;
	}
	if ((before & APIC_BASE_ENABLE) && !(value & APIC_BASE_ENABLE)) {
		a->base = before;
		lapic_reset(vp, true);
		a->base = value;
		a->ldr = 0;
		vp_rearm(vp);
	}
	return X86_DONE;
}
