/*
 * The local APIC: priorities, end of interrupt, routing in every mode, IPIs, the timer, registers
 * in xAPIC and x2APIC mode. Expectations are the SDM's (vol. 3A, APIC chapter).
 */
#include "hypervisor_fixture.h"

#define SVR_ON	  0x1FF
#define MMIO(reg) (APIC_BASE_DEFAULT + (reg)*16)

static uint32_t reg_read(struct vp *vp, unsigned reg)
{
	return (uint32_t)lapic_mmio_read(vp, MMIO(reg), 4);
}

static void reg_write(struct vp *vp, unsigned reg, uint32_t value)
{
	assert_true(lapic_mmio(vp, MMIO(reg)));
	lapic_mmio_write(vp, MMIO(reg), 4, value);
}

static struct fixture *enabled(unsigned vps)
{
	struct fixture *f = fixture_ready(vps);

	for (unsigned i = 0; i < vps; i++)
		reg_write(fixture_vp(f, i), APIC_SVR, SVR_ON);
	return f;
}

static void to_x2apic(struct vp *vp)
{
	fixture_wrmsr(vp, APIC_MSR_BASE, vp->lapic.base | APIC_BASE_X2APIC);
}

static bool requested(const struct vp *vp, uint8_t vector)
{
	return vp->lapic.irr[vector / 32] >> (vector & 31) & 1;
}

static void test_reset_state(void **state)
{
	struct fixture *f = fixture_ready(2);
	struct vp *bsp = fixture_vp(f, 0), *ap = fixture_vp(f, 1);

	assert_int_equal(fixture_rdmsr(bsp, APIC_MSR_BASE), 0xFEE00900);
	assert_int_equal(fixture_rdmsr(ap, APIC_MSR_BASE), 0xFEE00800);
	assert_int_equal(reg_read(ap, APIC_ID), 1u << 24);
	assert_int_equal(reg_read(bsp, APIC_VERSION), 0x50014);
	assert_int_equal(reg_read(bsp, APIC_SVR), 0xFF);
	assert_int_equal(reg_read(bsp, APIC_DFR), 0xFFFFFFFF);
	assert_int_equal(reg_read(bsp, APIC_LVT), 0x10000);
	assert_false(bsp->startup_suspend);
	assert_true(ap->startup_suspend);
	fixture_free(f);
}

static void test_priorities(void **state)
{
	struct fixture *f = enabled(1);
	struct vp *vp = fixture_vp(f, 0);

	assert_true(lapic_post(vp, 0x31, false));
	assert_true(lapic_post(vp, 0x45, false));
	assert_int_equal(lapic_take(vp), 0x45);
	assert_int_equal(reg_read(vp, APIC_PPR), 0x40);
	assert_int_equal(lapic_take(vp), -1); /* 0x31 is of lower priority */
	lapic_post(vp, 0x4F, false);
	assert_int_equal(lapic_take(vp), -1); /* the same class does not interrupt */
	lapic_post(vp, 0x51, false);
	assert_int_equal(lapic_take(vp), 0x51);
	reg_write(vp, APIC_EOI, 0);
	assert_int_equal(lapic_take(vp), -1);
	reg_write(vp, APIC_EOI, 0);
	assert_int_equal(lapic_take(vp), 0x4F);
	reg_write(vp, APIC_EOI, 0);
	assert_int_equal(lapic_take(vp), 0x31);
	reg_write(vp, APIC_EOI, 0);
	assert_int_equal(reg_read(vp, APIC_PPR), 0);
	fixture_free(f);
}

static void test_task_priority(void **state)
{
	struct fixture *f = enabled(1);
	struct vp *vp = fixture_vp(f, 0);
	unsigned before;

	reg_write(vp, APIC_TPR, 0x50);
	lapic_post(vp, 0x5F, false);
	assert_int_equal(lapic_pending(vp), -1);
	assert_int_equal(reg_read(vp, APIC_PPR), 0x50);
	before = fixture_fake(vp)->interrupts;
	vp_ops.write_cr8(vp, 4);
	assert_int_equal(reg_read(vp, APIC_TPR), 0x40);
	assert_int_equal(vp_ops.read_cr8(vp), 4);
	assert_true(fixture_fake(vp)->interrupts > before); /* the engine is told to look again */
	assert_int_equal(lapic_take(vp), 0x5F);
	fixture_free(f);
}

static void test_level_eoi_is_reported(void **state)
{
	struct fixture *f = enabled(1);
	struct vp *vp = fixture_vp(f, 0);

	lapic_post(vp, 0x61, true);
	assert_int_equal(lapic_take(vp), 0x61);
	assert_int_equal(reg_read(vp, APIC_TMR + 3), 1u << 1);
	assert_false(vp->eoi_pending);
	reg_write(vp, APIC_EOI, 0);
	assert_true(vp->eoi_pending);
	assert_int_equal(vp->eoi_exits[1], 1ull << (0x61 - 64));
	vp->eoi_pending = false;
	vp->eoi_exits[1] = 0;
	lapic_post(vp, 0x61, false); /* now edge-triggered: nobody need hear of it */
	assert_int_equal(lapic_take(vp), 0x61);
	reg_write(vp, APIC_EOI, 0);
	assert_false(vp->eoi_pending);
	fixture_free(f);
}

static void test_disabled_takes_nothing(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);

	assert_false(lapic_post(vp, 0x40, false));
	reg_write(vp, APIC_LVT, 0x40);
	assert_int_equal(reg_read(vp, APIC_LVT), 0x10040); /* stays masked */
	reg_write(vp, APIC_SVR, SVR_ON);
	assert_true(lapic_post(vp, 0x40, false));
	reg_write(vp, APIC_SVR, 0xFF);
	assert_int_equal(lapic_pending(vp), -1);
	fixture_free(f);
}

static void test_illegal_vectors(void **state)
{
	struct fixture *f = enabled(1);
	struct vp *vp = fixture_vp(f, 0);

	reg_write(vp, APIC_LVT + LVT_ERROR, 0x40);
	reg_write(vp, APIC_ICR, 0x0C040005); /* vector 5 */
	assert_true(requested(vp, 0x40));
	assert_int_equal(reg_read(vp, APIC_ESR), 0);
	reg_write(vp, APIC_ESR, 0);
	assert_int_equal(reg_read(vp, APIC_ESR), 0x20);
	reg_write(vp, 0x3A, 0); /* no such register */
	reg_write(vp, APIC_ESR, 0);
	assert_int_equal(reg_read(vp, APIC_ESR), 0x80);
	reg_write(vp, APIC_ESR, 0);
	assert_int_equal(reg_read(vp, APIC_ESR), 0);
	fixture_free(f);
}

/* Which of four vps have @vector requested, as a mask; forgets it. */
static unsigned takers(struct fixture *f, uint8_t vector)
{
	unsigned mask = 0;

	for (unsigned i = 0; i < 4; i++) {
		struct vp *vp = fixture_vp(f, i);

		mask |= (unsigned)requested(vp, vector) << i;
		vp->lapic.irr[vector / 32] &= ~(1u << (vector & 31));
	}
	return mask;
}

static void send_xapic(struct vp *vp, uint8_t destination, uint32_t low)
{
	reg_write(vp, APIC_ICR_HIGH, (uint32_t)destination << 24);
	reg_write(vp, APIC_ICR, low);
}

static void test_ipi_destinations(void **state)
{
	struct fixture *f = enabled(4);
	struct vp *vp = fixture_vp(f, 1);

	send_xapic(vp, 2, 0x40);
	assert_int_equal(takers(f, 0x40), 1u << 2);
	send_xapic(vp, 9, 0x40);
	assert_int_equal(takers(f, 0x40), 0);
	send_xapic(vp, 0xFF, 0x40);
	assert_int_equal(takers(f, 0x40), 0xF);
	send_xapic(vp, 0, 1u << 18 | 0x40); /* self */
	assert_int_equal(takers(f, 0x40), 1u << 1);
	send_xapic(vp, 0, 2u << 18 | 0x40); /* all */
	assert_int_equal(takers(f, 0x40), 0xF);
	send_xapic(vp, 0, 3u << 18 | 0x40); /* all others */
	assert_int_equal(takers(f, 0x40), 0xD);
	fixture_free(f);
}

static void test_logical_flat(void **state)
{
	struct fixture *f = enabled(4);

	for (unsigned i = 0; i < 4; i++)
		reg_write(fixture_vp(f, i), APIC_LDR, 1u << (24 + i));
	send_xapic(fixture_vp(f, 0), 0x0A, 0x840);
	assert_int_equal(takers(f, 0x40), 0xA);
	send_xapic(fixture_vp(f, 0), 0x10, 0x840);
	assert_int_equal(takers(f, 0x40), 0);
	fixture_free(f);
}

static void test_logical_cluster(void **state)
{
	struct fixture *f = enabled(4);

	for (unsigned i = 0; i < 4; i++) { /* two clusters of two */
		reg_write(fixture_vp(f, i), APIC_DFR, 0x0FFFFFFF);
		reg_write(fixture_vp(f, i), APIC_LDR, ((i / 2) << 4 | 1u << (i % 2)) << 24);
	}
	send_xapic(fixture_vp(f, 0), 0x13, 0x840);
	assert_int_equal(takers(f, 0x40), 0xC);
	send_xapic(fixture_vp(f, 0), 0x02, 0x840);
	assert_int_equal(takers(f, 0x40), 0x2);
	fixture_free(f);
}

static void test_logical_x2apic(void **state)
{
	struct fixture *f = enabled(4);

	for (unsigned i = 0; i < 4; i++)
		to_x2apic(fixture_vp(f, i));
	assert_int_equal(fixture_rdmsr(fixture_vp(f, 3), 0x80D), 1u << 3);
	fixture_wrmsr(fixture_vp(f, 0), 0x830, 0x5ull << 32 | 0x840);
	assert_int_equal(takers(f, 0x40), 0x5);
	fixture_wrmsr(fixture_vp(f, 0), 0x830, 0x10001ull << 32 | 0x840);
	assert_int_equal(takers(f, 0x40), 0);
	fixture_wrmsr(fixture_vp(f, 0), 0x830, 0xFFFFFFFFull << 32 | 0x40);
	assert_int_equal(takers(f, 0x40), 0xF);
	fixture_free(f);
}

static void test_lowest_priority(void **state)
{
	struct fixture *f = enabled(4);
	unsigned seen = 0;

	for (unsigned i = 0; i < 4; i++)
		reg_write(fixture_vp(f, i), APIC_TPR, i == 2 ? 0x10 : 0x20);
	for (unsigned i = 0; i < 4; i++) {
		send_xapic(fixture_vp(f, 0), 0xFF, 0x140);
		assert_int_equal(takers(f, 0x40), 1u << 2);
	}
	reg_write(fixture_vp(f, 2), APIC_TPR, 0x20);
	for (unsigned i = 0; i < 4; i++) { /* equals take turns */
		unsigned mask;

		send_xapic(fixture_vp(f, 0), 0xFF, 0x140);
		mask = takers(f, 0x40);
		assert_int_equal(__builtin_popcount(mask), 1);
		seen |= mask;
	}
	assert_int_equal(seen, 0xF);
	fixture_free(f);
}

static void test_nmi_init_sipi(void **state)
{
	struct fixture *f = enabled(2);
	struct vp *bsp = fixture_vp(f, 0), *ap = fixture_vp(f, 1);

	send_xapic(bsp, 1, 0x400);
	assert_int_equal(fixture_fake(ap)->nmis, 1);
	send_xapic(bsp, 1, 0x4500); /* INIT, assert */
	assert_true(ap->events & VP_EVENT_INIT);
	ap->events = 0;
	send_xapic(bsp, 1, 0x8500); /* INIT, de-assert: nothing */
	assert_int_equal(ap->events, 0);
	send_xapic(bsp, 1, 0x469A);
	assert_true(ap->events & VP_EVENT_SIPI);
	assert_int_equal(ap->sipi_vector, 0x9A);
	fixture_free(f);
}

static void test_lint1(void **state)
{
	struct fixture *f = enabled(1);
	struct vp *vp = fixture_vp(f, 0);
	WHV_INTERRUPT_CONTROL control = {.Type = WHvX64InterruptTypeLocalInt1};

	assert_int_equal(WHvRequestInterrupt(f->p, &control, sizeof(control)), S_OK);
	assert_int_equal(fixture_fake(vp)->nmis, 0); /* masked */
	reg_write(vp, APIC_LVT + LVT_LINT1, 0x400);
	assert_int_equal(WHvRequestInterrupt(f->p, &control, sizeof(control)), S_OK);
	assert_int_equal(fixture_fake(vp)->nmis, 1);
	fixture_free(f);
}

static void test_x2apic_faults(void **state)
{
	struct fixture *f = enabled(1);
	struct vp *vp = fixture_vp(f, 0);

	fixture_rdmsr_faults(vp, 0x802); /* not in x2APIC mode */
	to_x2apic(vp);
	assert_false(lapic_mmio(vp, MMIO(APIC_ID)));
	assert_int_equal(fixture_rdmsr(vp, 0x802), 0);
	fixture_wrmsr_faults(vp, 0x802, 1);	/* read-only */
	fixture_wrmsr_faults(vp, 0x80D, 1);	/* LDR too */
	fixture_rdmsr_faults(vp, 0x80B);	/* EOI: write-only */
	fixture_wrmsr_faults(vp, 0x80B, 1);	/* and only zero */
	fixture_rdmsr_faults(vp, 0x80E);	/* no DFR */
	fixture_rdmsr_faults(vp, 0x831);	/* no ICR high */
	fixture_wrmsr_faults(vp, 0x808, 0x100); /* reserved bits */
	fixture_wrmsr_faults(vp, 0x828, 1);	/* ESR: only zero */
	fixture_rdmsr_faults(vp, 0x83F);	/* self IPI: write-only */
	fixture_wrmsr(vp, 0x83F, 0x77);
	assert_true(requested(vp, 0x77));
	fixture_free(f);
}

static void test_base_transitions(void **state)
{
	struct fixture *f = enabled(1);
	struct vp *vp = fixture_vp(f, 0);
	uint64_t base = vp->lapic.base, x2apic = base | APIC_BASE_X2APIC;
	uint64_t off = base & ~APIC_BASE_ENABLE;

	fixture_wrmsr_faults(vp, APIC_MSR_BASE, off | APIC_BASE_X2APIC);
	fixture_wrmsr_faults(vp, APIC_MSR_BASE, base | 1);
	fixture_wrmsr_faults(vp, APIC_MSR_BASE, base | 1ull << 45);
	fixture_wrmsr(vp, APIC_MSR_BASE, x2apic);
	fixture_wrmsr_faults(vp, APIC_MSR_BASE, base); /* not straight back */
	fixture_wrmsr(vp, APIC_MSR_BASE, off);
	fixture_wrmsr_faults(vp, APIC_MSR_BASE, x2apic); /* and not straight there */
	assert_false(lapic_post(vp, 0x40, false));
	fixture_wrmsr(vp, APIC_MSR_BASE, base);
	assert_int_equal(reg_read(vp, APIC_SVR), 0xFF); /* as after reset */
	fixture_free(f);
}

static void test_timer_one_shot(void **state)
{
	struct fixture *f = enabled(1);
	struct vp *vp = fixture_vp(f, 0);

	reg_write(vp, APIC_TIMER_DIVIDE, 0xB); /* by 1: 200 MHz */
	reg_write(vp, APIC_LVT, 0x50);
	reg_write(vp, APIC_TIMER_INITIAL, 200000); /* 1 ms */
	fixture_advance_us(f, 400);
	assert_false(requested(vp, 0x50));
	assert_int_equal(reg_read(vp, APIC_TIMER_CURRENT), 120000);
	fixture_advance_us(f, 599);
	assert_false(requested(vp, 0x50));
	fixture_advance_us(f, 1);
	assert_int_equal(lapic_take(vp), 0x50);
	assert_int_equal(reg_read(vp, APIC_TIMER_CURRENT), 0);
	lapic_end(vp);
	fixture_advance_us(f, 5000);
	assert_false(requested(vp, 0x50));
	reg_write(vp, APIC_TIMER_DIVIDE, 0xA); /* by 128: more undivided ticks than 32 bits */
	reg_write(vp, APIC_TIMER_INITIAL, 0xFFFFFFFF);
	assert_int_equal(reg_read(vp, APIC_TIMER_CURRENT), 0xFFFFFFFF);
	reg_write(vp, APIC_TIMER_DIVIDE, 0x3); /* by 16 */
	reg_write(vp, APIC_TIMER_INITIAL, 200000);
	fixture_advance_us(f, 15999);
	assert_false(requested(vp, 0x50));
	fixture_advance_us(f, 1);
	assert_true(requested(vp, 0x50));
	fixture_free(f);
}

static void test_timer_periodic(void **state)
{
	struct fixture *f = enabled(1);
	struct vp *vp = fixture_vp(f, 0);

	reg_write(vp, APIC_TIMER_DIVIDE, 0xB);
	reg_write(vp, APIC_LVT, 0x20050);
	reg_write(vp, APIC_TIMER_INITIAL, 200000);
	for (unsigned i = 0; i < 5; i++) {
		fixture_advance_us(f, 999);
		assert_int_equal(lapic_take(vp), -1);
		fixture_advance_us(f, 1);
		assert_int_equal(lapic_take(vp), 0x50);
		lapic_end(vp);
	}
	/* Ten periods late: one interrupt, and the next is due where it always was. */
	fixture_advance_us(f, 10300);
	assert_int_equal(lapic_take(vp), 0x50);
	lapic_end(vp);
	fixture_advance_us(f, 699);
	assert_int_equal(lapic_take(vp), -1);
	fixture_advance_us(f, 1);
	assert_int_equal(lapic_take(vp), 0x50);
	reg_write(vp, APIC_TIMER_INITIAL, 0);
	assert_true(vp->deadline == CLOCK_NEVER);
	fixture_free(f);
}

static void test_timer_deadline(void **state)
{
	struct fixture *f = enabled(1);
	struct vp *vp = fixture_vp(f, 0);
	uint64_t now = clock_now(&f->p->clock);

	fixture_wrmsr(vp, APIC_MSR_DEADLINE, now + 1000); /* ignored in other modes */
	assert_int_equal(fixture_rdmsr(vp, APIC_MSR_DEADLINE), 0);
	assert_true(vp->deadline == CLOCK_NEVER);
	reg_write(vp, APIC_LVT, 0x40050);
	fixture_wrmsr(vp, APIC_MSR_DEADLINE, now + 20000); /* 10 us */
	assert_int_equal(fixture_rdmsr(vp, APIC_MSR_DEADLINE), now + 20000);
	fixture_advance_us(f, 9);
	assert_int_equal(lapic_take(vp), -1);
	fixture_advance_us(f, 1);
	assert_int_equal(lapic_take(vp), 0x50);
	lapic_end(vp);
	assert_int_equal(fixture_rdmsr(vp, APIC_MSR_DEADLINE), 0);
	/* A guest that moved its own TSC means that TSC. */
	vp_state(vp)->tsc_offset += 1000000;
	fixture_wrmsr(vp, APIC_MSR_DEADLINE, clock_now(&f->p->clock) + 1000000 + 4000);
	fixture_advance_us(f, 1);
	assert_int_equal(lapic_take(vp), -1);
	fixture_advance_us(f, 1);
	assert_int_equal(lapic_take(vp), 0x50);
	fixture_free(f);
}

static void test_mmio_shapes(void **state)
{
	struct fixture *f = enabled(1);
	struct vp *vp = fixture_vp(f, 0);

	assert_int_equal(lapic_mmio_read(vp, MMIO(APIC_VERSION), 1), 0);
	assert_int_equal(lapic_mmio_read(vp, MMIO(APIC_VERSION) + 4, 4), 0);
	lapic_mmio_write(vp, MMIO(APIC_TPR) + 1, 4, 0xF0);
	lapic_mmio_write(vp, MMIO(APIC_TPR), 1, 0xF0);
	assert_int_equal(reg_read(vp, APIC_TPR), 0);
	for (unsigned offset = 0; offset < 4096; offset++) { /* whatever a guest pokes at */
		lapic_mmio_read(vp, APIC_BASE_DEFAULT + offset, 4);
		lapic_mmio_write(vp, APIC_BASE_DEFAULT + offset, 4, 0xFFFFFFFF);
	}
	fixture_free(f);
}

static void test_request_interrupt(void **state)
{
	struct fixture *f = enabled(4);
	WHV_INTERRUPT_CONTROL c = {
		.Type = WHvX64InterruptTypeFixed, .Destination = 3, .Vector = 0x33};
	uint32_t vps[4], count = 9;

	assert_int_equal(WHvRequestInterrupt(f->p, &c, sizeof(c)), S_OK);
	assert_int_equal(takers(f, 0x33), 8);
	c.TriggerMode = WHvX64InterruptTriggerModeLevel;
	assert_int_equal(WHvRequestInterrupt(f->p, &c, sizeof(c)), S_OK);
	assert_true(fixture_vp(f, 3)->lapic.tmr[1] & 1u << (0x33 - 32));
	c.Vector = 15;
	assert_int_equal(WHvRequestInterrupt(f->p, &c, sizeof(c)), E_INVALIDARG);
	c.Vector = 256;
	assert_int_equal(WHvRequestInterrupt(f->p, &c, sizeof(c)), E_INVALIDARG);
	c.Vector = 0x33;
	c.TargetVtl = 1;
	assert_int_equal(WHvRequestInterrupt(f->p, &c, sizeof(c)), E_INVALIDARG);
	c.TargetVtl = 0;
	c.Type = 2;
	assert_int_equal(WHvRequestInterrupt(f->p, &c, sizeof(c)), E_INVALIDARG);
	assert_int_equal(WHvGetInterruptTargetVpSet(f->p, 0xFF,
				 WHvX64InterruptDestinationModePhysical, vps, 4, &count),
		S_OK);
	assert_int_equal(count, 4);
	assert_int_equal(WHvGetInterruptTargetVpSet(
				 f->p, 2, WHvX64InterruptDestinationModePhysical, vps, 4, &count),
		S_OK);
	assert_int_equal(count, 1);
	assert_int_equal(vps[0], 2);
	assert_int_equal(WHvGetInterruptTargetVpSet(
				 f->p, 2, WHvX64InterruptDestinationModePhysical, vps, 3, &count),
		E_INVALIDARG);
	fixture_free(f);
}

static void test_state_page(void **state)
{
	struct fixture *f = enabled(2);
	struct vp *from = fixture_vp(f, 0);
	uint8_t page[1024], again[1024];
	uint32_t written = 0;

	lapic_post(from, 0x41, false);
	assert_int_equal(lapic_take(from), 0x41);
	lapic_post(from, 0x81, true);
	reg_write(from, APIC_LVT + LVT_LINT0, 0x700);
	assert_int_equal(
		WHvGetVirtualProcessorInterruptControllerState2(f->p, 0, page, 1023, &written),
		WHV_E_INSUFFICIENT_BUFFER);
	assert_int_equal(written, 1024);
	assert_int_equal(WHvGetVirtualProcessorInterruptControllerState2(
				 f->p, 0, page, sizeof(page), &written),
		S_OK);
	assert_int_equal(
		WHvSetVirtualProcessorInterruptControllerState2(f->p, 1, page, sizeof(page)), S_OK);
	assert_int_equal(WHvGetVirtualProcessorInterruptControllerState2(
				 f->p, 1, again, sizeof(again), NULL),
		S_OK);
	assert_memory_equal(page, again, sizeof(page));
	assert_int_equal(lapic_pending(fixture_vp(f, 1)), 0x81);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset_state),
		cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_task_priority),
		cmocka_unit_test(test_level_eoi_is_reported),
		cmocka_unit_test(test_disabled_takes_nothing),
		cmocka_unit_test(test_illegal_vectors),
		cmocka_unit_test(test_ipi_destinations),
		cmocka_unit_test(test_logical_flat),
		cmocka_unit_test(test_logical_cluster),
		cmocka_unit_test(test_logical_x2apic),
		cmocka_unit_test(test_lowest_priority),
		cmocka_unit_test(test_nmi_init_sipi),
		cmocka_unit_test(test_lint1),
		cmocka_unit_test(test_x2apic_faults),
		cmocka_unit_test(test_base_transitions),
		cmocka_unit_test(test_timer_one_shot),
		cmocka_unit_test(test_timer_periodic),
		cmocka_unit_test(test_timer_deadline),
		cmocka_unit_test(test_mmio_shapes),
		cmocka_unit_test(test_request_interrupt),
		cmocka_unit_test(test_state_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
