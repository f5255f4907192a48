/*
 * lapic_state.c - the local APIC as the client saves and restores it: one register at a time, or
 * as the page of WHvGet/SetVirtualProcessorInterruptControllerState2.
 *
 * The page is laid out as the xAPIC's own: 32-bit registers, 16 bytes apart, 1024 bytes in all.
 */
#include "hypervisor/partition.h"

#include <string.h>

#define STATE_BYTES	1024u
#define STATE_WORD(reg) ((reg)*16u)

static uint32_t logical_id(const struct vp *vp)
{
	uint32_t id = vp->lapic.id;

	return (id >> 4) << 16 | 1u << (id & 15);
}

bool lapic_set_base(struct vp *vp, uint64_t value)
{
	uint64_t modes = value & (APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	uint64_t known = APIC_BASE_BSP | APIC_BASE_ENABLE | APIC_BASE_X2APIC | ~0xFFFull;

	if ((value & ~known) || (HV_PAGE_GPA(value) >> vp->partition->prop.physical_width) ||
		modes == APIC_BASE_X2APIC ||
		((value & APIC_BASE_X2APIC) &&
			vp->partition->prop.apic_mode != WHvX64LocalApicEmulationModeX2Apic))
		return false;
	vp->lapic.base = value;
	if (value & APIC_BASE_X2APIC)
		vp->lapic.ldr = logical_id(vp);
	return true;
}

bool lapic_get(const struct vp *vp, unsigned reg, uint64_t *value)
{
	switch (reg) {
	case APIC_ID:
		*value = vp->lapic.id;
		return true;
	case APIC_ICR:
		*value = vp->lapic.icr;
		return true;
	case APIC_EOI:
	case APIC_SELF_IPI:
	case APIC_APR:
	case APIC_ICR_HIGH:
		return false;
	default:
		*value = lapic_register(vp, reg);
		return reg >= APIC_ID && reg <= APIC_TIMER_DIVIDE;
	}
}

bool lapic_set(struct vp *vp, unsigned reg, uint64_t value)
{
	struct lapic *a = &vp->lapic;
	uint32_t low = (uint32_t)value;

	switch (reg) {
	case APIC_ID:
		a->id = low;
		if (a->base & APIC_BASE_X2APIC)
			a->ldr = logical_id(vp);
		return true;
	case APIC_VERSION:
	case APIC_PPR:
		return true; /* computed */
	case APIC_TPR:
		a->tpr = low & 0xFF;
		return true;
	case APIC_LDR:
		if (!(a->base & APIC_BASE_X2APIC))
			a->ldr = low & 0xFF000000;
		return true;
	case APIC_DFR:
		a->dfr = low | 0x0FFFFFFF;
		return true;
	case APIC_SVR:
		a->svr = low & 0x3FF;
		return true;
	case APIC_ISR ... APIC_ISR + 7:
		a->isr[reg - APIC_ISR] = low;
		return true;
	case APIC_TMR ... APIC_TMR + 7:
		a->tmr[reg - APIC_TMR] = low;
		return true;
	case APIC_IRR ... APIC_IRR + 7:
		a->irr[reg - APIC_IRR] = low;
		if (lapic_pending(vp) >= 0)
			vp_notify(vp);
		return true;
	case APIC_ESR:
		a->esr = low;
		return true;
	case APIC_ICR:
		a->icr = value;
		return true;
	case APIC_LVT ... APIC_LVT + LVT_COUNT - 1:
		a->lvt[reg - APIC_LVT] = low & 0x7FFFF;
		return true;
	case APIC_TIMER_INITIAL:
		a->timer_initial = low;
		lapic_timer_start(vp);
		return true;
	case APIC_TIMER_CURRENT:
		lapic_timer_resume(vp, low);
		return true;
	case APIC_TIMER_DIVIDE:
		a->timer_divide = low & 0xB;
		return true;
	default:
		return false;
	}
}

/* Registers in an order in which they can be set: the mode and divisor before the counts. */
static const uint8_t saved[] = {
	APIC_ID,
	APIC_VERSION,
	APIC_TPR,
	APIC_PPR,
	APIC_LDR,
	APIC_DFR,
	APIC_SVR,
	APIC_ESR,
	APIC_LVT,
	APIC_LVT + 1,
	APIC_LVT + 2,
	APIC_LVT + 3,
	APIC_LVT + 4,
	APIC_LVT + 5,
	APIC_TIMER_DIVIDE,
	APIC_TIMER_INITIAL,
	APIC_TIMER_CURRENT,
};

HRESULT lapic_save(const struct vp *vp, void *buffer, uint32_t size, uint32_t *written)
{
	uint8_t *page = buffer;
	uint64_t value;

	if (written)
		*written = STATE_BYTES;
	if (size < STATE_BYTES)
		return WHV_E_INSUFFICIENT_BUFFER;
	if (!buffer)
		return E_POINTER;
	memset(page, 0, STATE_BYTES);
	for (unsigned i = 0; i < sizeof(saved); i++) {
		uint32_t word = lapic_register(vp, saved[i]);

		memcpy(page + STATE_WORD(saved[i]), &word, sizeof(word));
	}
	for (unsigned i = APIC_ISR; i < APIC_ISR + 24; i++) {
		uint32_t word = lapic_register(vp, i);

		memcpy(page + STATE_WORD(i), &word, sizeof(word));
	}
	value = vp->lapic.icr;
	memcpy(page + STATE_WORD(APIC_ICR), &value, 4);
	memcpy(page + STATE_WORD(APIC_ICR_HIGH), (uint8_t *)&value + 4, 4);
	return S_OK;
}

HRESULT lapic_restore(struct vp *vp, const void *buffer, uint32_t size)
{
	const uint8_t *page = buffer;
	uint32_t word, high;

	if (size < STATE_BYTES || !buffer)
		return E_INVALIDARG;
	for (unsigned i = 0; i < sizeof(saved); i++) {
		memcpy(&word, page + STATE_WORD(saved[i]), sizeof(word));
		if (saved[i] == APIC_ID && !(vp->lapic.base & APIC_BASE_X2APIC))
			word >>= 24;
		lapic_set(vp, saved[i], word);
	}
	for (unsigned i = APIC_ISR; i < APIC_ISR + 24; i++) {
		memcpy(&word, page + STATE_WORD(i), sizeof(word));
		lapic_set(vp, i, word);
	}
	memcpy(&word, page + STATE_WORD(APIC_ICR), sizeof(word));
	memcpy(&high, page + STATE_WORD(APIC_ICR_HIGH), sizeof(high));
	vp->lapic.icr = (uint64_t)high << 32 | word;
	return S_OK;
}
