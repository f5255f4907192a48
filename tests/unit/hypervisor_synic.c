/*
 * The SynIC and its timers: messages, events, full slots, EOM, direct mode. Expectations are the
 * TLFS's ("Inter-Partition Communication", "Timers").
 */
#include "hypervisor_fixture.h"

#include <string.h>

#define SIMP	  0x10000ull
#define SIEFP	  0x11000ull
#define SINT	  2u
#define VECTOR	  0x50u
#define CONFIG(n) (HV_MSR_STIMER0_CONFIG + (n)*2)
#define COUNT(n)  (HV_MSR_STIMER0_CONFIG + (n)*2 + 1)

static struct fixture *with_synic(void)
{
	struct fixture *f = fixture_ready(2);
	struct vp *vp = fixture_vp(f, 0);

	lapic_mmio_write(vp, APIC_BASE_DEFAULT + APIC_SVR * 16, 4, 0x1FF);
	fixture_enable_synic(vp, SIMP, SIEFP);
	fixture_wrmsr(vp, HV_MSR_SINT0 + SINT, VECTOR);
	return f;
}

static int taken(struct vp *vp)
{
	int vector = lapic_take(vp);

	if (vector >= 0)
		lapic_end(vp);
	return vector;
}

static HRESULT post(struct fixture *f, unsigned vp, unsigned sint, uint32_t type, const char *text)
{
	struct hv_message message = {.type = type, .payload_size = (uint8_t)strlen(text)};

	memcpy(message.payload, text, strlen(text));
	return WHvPostVirtualProcessorSynicMessage(f->p, vp, sint, &message, sizeof(message));
}

static void test_registers(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);

	for (unsigned i = 0; i < HV_SINT_COUNT; i++)
		assert_int_equal(fixture_rdmsr(vp, HV_MSR_SINT0 + i), HV_SINT_MASKED);
	assert_int_equal(fixture_rdmsr(vp, HV_MSR_SCONTROL), 0);
	assert_int_equal(fixture_rdmsr(vp, HV_MSR_SVERSION), 1);
	fixture_wrmsr_faults(vp, HV_MSR_SVERSION, 1);
	fixture_wrmsr_faults(vp, HV_MSR_SINT0, 15); /* vectors below 16 */
	fixture_wrmsr(vp, HV_MSR_SINT0, HV_SINT_MASKED);
	fixture_wrmsr_faults(vp, HV_MSR_SIMP, 1ull << 45 | 1); /* beyond the address space */
	assert_int_equal(fixture_rdmsr(vp, HV_MSR_EOM), 0);
	fixture_rdmsr_faults(vp, 0x40000085);
	fixture_wrmsr_faults(vp, 0x400000A0, 0);
	fixture_free(f);
}

static void test_pages_start_as_zeros(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);

	memset(f->ram + SIMP, 0xAA, 4096);
	fixture_wrmsr(vp, HV_MSR_SIMP, SIMP | 1);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(f->ram[SIMP + i], 0);
	f->ram[SIMP] = 7; /* writing the same value again keeps what is there */
	fixture_wrmsr(vp, HV_MSR_SIMP, SIMP | 1);
	assert_int_equal(f->ram[SIMP], 7);
	fixture_free(f);
}

static void test_message(void **state)
{
	struct fixture *f = with_synic();
	struct vp *vp = fixture_vp(f, 0);
	struct hv_message *slot = fixture_slot(f, SIMP, SINT);

	assert_int_equal(post(f, 0, SINT, 1, "hello"), S_OK);
	assert_int_equal(slot->type, 1);
	assert_int_equal(slot->payload_size, 5);
	assert_memory_equal(slot->payload, "hello", 5);
	assert_int_equal(slot->flags, 0);
	assert_int_equal(taken(vp), VECTOR);
	/* The slot is full: nothing is lost, and the guest will be asked to say EOM. */
	assert_int_equal(post(f, 0, SINT, 1, "again"), HRESULT_FROM_WIN32(ERROR_HV_OBJECT_IN_USE));
	assert_int_equal(slot->flags, HV_MESSAGE_PENDING);
	assert_memory_equal(slot->payload, "hello", 5);
	assert_int_equal(taken(vp), -1);
	slot->type = HV_MESSAGE_NONE;
	assert_int_equal(post(f, 0, SINT, 1, "again"), S_OK);
	assert_int_equal(taken(vp), VECTOR);
	fixture_free(f);
}

static void test_message_refused(void **state)
{
	struct fixture *f = with_synic();
	struct hv_message message = {.type = 1};

	assert_int_equal(post(f, 0, 16, 1, ""), E_INVALIDARG);
	assert_int_equal(post(f, 0, SINT, HV_MESSAGE_NONE, ""), E_INVALIDARG);
	assert_int_equal(post(f, 7, SINT, 1, ""), WHV_E_VP_DOES_NOT_EXIST);
	assert_int_equal(
		WHvPostVirtualProcessorSynicMessage(f->p, 0, SINT, &message, 257), E_INVALIDARG);
	assert_int_equal(
		WHvPostVirtualProcessorSynicMessage(f->p, 0, SINT, &message, 0), E_INVALIDARG);
	/* The other processor's SynIC is off. */
	assert_int_equal(post(f, 1, SINT, 1, ""), HRESULT_FROM_WIN32(ERROR_HV_INVALID_SYNIC_STATE));
	fixture_free(f);
}

static void test_masked_and_polled(void **state)
{
	struct fixture *f = with_synic();
	struct vp *vp = fixture_vp(f, 0);

	fixture_wrmsr(vp, HV_MSR_SINT0 + SINT, VECTOR | HV_SINT_POLLING);
	assert_int_equal(post(f, 0, SINT, 1, "x"), S_OK);
	assert_int_equal(taken(vp), -1);
	fixture_wrmsr(vp, HV_MSR_SINT0 + 3, VECTOR | HV_SINT_MASKED);
	assert_int_equal(post(f, 0, 3, 1, "x"), S_OK);
	assert_int_equal(taken(vp), -1);
	fixture_free(f);
}

static void test_auto_eoi(void **state)
{
	struct fixture *f = with_synic();
	struct vp *vp = fixture_vp(f, 0);

	fixture_wrmsr(vp, HV_MSR_SINT0 + SINT, VECTOR | HV_SINT_AUTO_EOI);
	assert_int_equal(post(f, 0, SINT, 1, "x"), S_OK);
	assert_int_equal(lapic_take(vp), VECTOR);
	assert_int_equal(lapic_priority(vp), 0); /* not in service */
	fixture_free(f);
}

static void test_events(void **state)
{
	struct fixture *f = with_synic();
	struct vp *vp = fixture_vp(f, 0);
	WHV_SYNIC_EVENT_PARAMETERS e = {.TargetSint = SINT, .FlagNumber = 77};
	uint32_t *flags = (uint32_t *)(f->ram + SIEFP + SINT * 256);
	BOOL fresh = FALSE;

	assert_int_equal(WHvSignalVirtualProcessorSynicEvent(f->p, e, &fresh), S_OK);
	assert_true(fresh);
	assert_int_equal(flags[2], 1u << 13);
	assert_int_equal(taken(vp), VECTOR);
	assert_int_equal(WHvSignalVirtualProcessorSynicEvent(f->p, e, &fresh), S_OK);
	assert_false(fresh);
	assert_int_equal(taken(vp), -1); /* it was set already */
	e.FlagNumber = 2048;
	assert_int_equal(WHvSignalVirtualProcessorSynicEvent(f->p, e, NULL), E_INVALIDARG);
	e.FlagNumber = 2047;
	assert_int_equal(WHvSignalVirtualProcessorSynicEvent(f->p, e, NULL), S_OK);
	e.TargetVtl = 1;
	assert_int_equal(WHvSignalVirtualProcessorSynicEvent(f->p, e, NULL), E_INVALIDARG);
	e.TargetVtl = 0;
	e.TargetSint = 5; /* masked */
	assert_int_equal(WHvSignalVirtualProcessorSynicEvent(f->p, e, NULL),
		HRESULT_FROM_WIN32(ERROR_HV_INVALID_SYNIC_STATE));
	fixture_free(f);
}

static void test_deliverable_notification(void **state)
{
	struct fixture *f = with_synic();
	struct vp *vp = fixture_vp(f, 0);
	WHV_REGISTER_NAME name = WHvRegisterDeliverabilityNotifications;
	WHV_REGISTER_VALUE value = {.DeliverabilityNotifications = {.Sint = 1u << SINT}};
	WHV_RUN_VP_EXIT_CONTEXT exit;

	assert_int_equal(post(f, 0, SINT, 1, "x"), S_OK);
	assert_int_equal(WHvSetVirtualProcessorRegisters(f->p, 0, &name, 1, &value), S_OK);
	assert_int_equal(synic_deliverable(vp, 1u << SINT), 0);
	assert_int_equal(fixture_slot(f, SIMP, SINT)->flags, HV_MESSAGE_PENDING);
	fixture_slot(f, SIMP, SINT)->type = HV_MESSAGE_NONE;
	fixture_wrmsr(vp, HV_MSR_EOM, 0);
	assert_int_equal(WHvRunVirtualProcessor(f->p, 0, &exit, sizeof(exit)), S_OK);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonSynicSintDeliverable);
	assert_int_equal(exit.SynicSintDeliverable.DeliverableSints, 1u << SINT);
	fixture_free(f);
}

/* ---- Timers --------------------------------------------------------------------------------- */

static uint64_t ref(struct fixture *f)
{
	return clock_ref(&f->p->clock);
}

static void test_timer_direct(void **state)
{
	struct fixture *f = with_synic();
	struct vp *vp = fixture_vp(f, 0);

	fixture_wrmsr(
		vp, CONFIG(0), HV_STIMER_DIRECT | HV_STIMER_AUTO_ENABLE | (uint64_t)0xED << 4);
	fixture_wrmsr(vp, COUNT(0), ref(f) + 1000); /* 100 us */
	assert_true(fixture_rdmsr(vp, CONFIG(0)) & HV_STIMER_ENABLE);
	fixture_advance_us(f, 99);
	assert_int_equal(taken(vp), -1);
	fixture_advance_us(f, 2);
	assert_int_equal(taken(vp), 0xED);
	assert_false(fixture_rdmsr(vp, CONFIG(0)) & HV_STIMER_ENABLE);
	fixture_advance_us(f, 1000);
	assert_int_equal(taken(vp), -1);
	fixture_wrmsr(vp, COUNT(0), ref(f) - 5); /* in the past: at once */
	assert_int_equal(taken(vp), 0xED);
	fixture_wrmsr(vp, COUNT(0), ref(f) + 1000);
	fixture_wrmsr(vp, COUNT(0), 0); /* stops */
	assert_false(fixture_rdmsr(vp, CONFIG(0)) & HV_STIMER_ENABLE);
	assert_true(vp->deadline == CLOCK_NEVER);
	fixture_free(f);
}

static void test_timer_never_early(void **state)
{
	struct fixture *f = with_synic();
	struct vp *vp = fixture_vp(f, 0);

	fixture_wrmsr(
		vp, CONFIG(1), HV_STIMER_DIRECT | HV_STIMER_AUTO_ENABLE | (uint64_t)0x61 << 4);
	for (unsigned i = 1; i < 2000; i++) {
		uint64_t when = ref(f) + i;

		fixture_wrmsr(vp, COUNT(1), when);
		fixture_set_tsc(f, vp->deadline - (uint64_t)f->p->clock.tsc_offset - 1);
		vp_expire_timers(vp);
		assert_int_equal(taken(vp), -1);
		assert_true(ref(f) < when);
		fixture_set_tsc(f, f->tsc + 1);
		vp_expire_timers(vp);
		assert_int_equal(taken(vp), 0x61);
		assert_true(ref(f) >= when);
	}
	fixture_free(f);
}

static void test_timer_message(void **state)
{
	struct fixture *f = with_synic();
	struct vp *vp = fixture_vp(f, 0);
	struct hv_message *slot = fixture_slot(f, SIMP, SINT);
	struct hv_timer_payload payload;
	uint64_t first = ref(f) + 1000, second = ref(f) + 2000;

	fixture_wrmsr(vp, COUNT(1), first);
	fixture_wrmsr(vp, CONFIG(1), HV_STIMER_ENABLE | SINT << 16);
	fixture_wrmsr(vp, COUNT(3), second);
	fixture_wrmsr(vp, CONFIG(3), HV_STIMER_ENABLE | SINT << 16);
	fixture_advance_us(f, 150);
	assert_int_equal(slot->type, HV_MESSAGE_TIMER_EXPIRED);
	assert_int_equal(slot->payload_size, sizeof(payload));
	memcpy(&payload, slot->payload, sizeof(payload));
	assert_int_equal(payload.index, 1);
	assert_int_equal(payload.expiration, first);
	assert_true(payload.delivery >= first);
	assert_int_equal(taken(vp), VECTOR);
	/* The second timer finds the slot full and waits. */
	fixture_advance_us(f, 100);
	assert_int_equal(slot->flags, HV_MESSAGE_PENDING);
	assert_true(fixture_rdmsr(vp, CONFIG(3)) & HV_STIMER_ENABLE);
	slot->type = HV_MESSAGE_NONE;
	fixture_wrmsr(vp, HV_MSR_EOM, 0);
	memcpy(&payload, slot->payload, sizeof(payload));
	assert_int_equal(slot->type, HV_MESSAGE_TIMER_EXPIRED);
	assert_int_equal(payload.index, 3);
	assert_int_equal(payload.expiration, second);
	assert_int_equal(slot->flags, 0);
	assert_int_equal(taken(vp), VECTOR);
	assert_false(fixture_rdmsr(vp, CONFIG(3)) & HV_STIMER_ENABLE);
	fixture_free(f);
}

static void test_timer_message_after_eoi(void **state)
{
	struct fixture *f = with_synic();
	struct vp *vp = fixture_vp(f, 0);
	struct hv_message *slot = fixture_slot(f, SIMP, SINT);

	assert_int_equal(post(f, 0, SINT, 1, "x"), S_OK);
	assert_int_equal(lapic_take(vp), VECTOR);
	fixture_wrmsr(vp, COUNT(0), ref(f) + 10);
	fixture_wrmsr(vp, CONFIG(0), HV_STIMER_ENABLE | SINT << 16);
	fixture_advance_us(f, 10);
	assert_int_equal(slot->type, 1);
	slot->type = HV_MESSAGE_NONE;
	lapic_end(vp); /* ending the interrupt is as good as EOM */
	assert_int_equal(slot->type, HV_MESSAGE_TIMER_EXPIRED);
	fixture_free(f);
}

static void test_timer_periodic(void **state)
{
	struct fixture *f = with_synic();
	struct vp *vp = fixture_vp(f, 0);

	fixture_wrmsr(vp, COUNT(2), 10000); /* 1 ms */
	fixture_wrmsr(vp, CONFIG(2),
		HV_STIMER_ENABLE | HV_STIMER_PERIODIC | HV_STIMER_DIRECT | (uint64_t)0x71 << 4);
	fixture_advance_us(f, 1); /* 100 ns of rounding must not matter below */
	for (unsigned i = 0; i < 4; i++) {
		fixture_advance_us(f, 998);
		assert_int_equal(taken(vp), -1);
		fixture_advance_us(f, 2);
		assert_int_equal(taken(vp), 0x71);
	}
	fixture_advance_us(f, 7500); /* seven missed */
	assert_int_equal(taken(vp), 0x71);
	assert_int_equal(taken(vp), -1);
	fixture_advance_us(f, 502);
	assert_int_equal(taken(vp), 0x71);
	fixture_wrmsr(vp, CONFIG(2), 0);
	fixture_advance_us(f, 5000);
	assert_int_equal(taken(vp), -1);
	fixture_free(f);
}

static void test_timer_bad_config(void **state)
{
	struct fixture *f = with_synic();
	struct vp *vp = fixture_vp(f, 0);

	fixture_wrmsr_faults(vp, CONFIG(0), 1ull << 13);
	fixture_wrmsr_faults(vp, CONFIG(0), 1ull << 20);
	fixture_wrmsr_faults(vp, CONFIG(0), HV_STIMER_DIRECT | 15 << 4);
	/* Message mode to SINT 0 is not permitted: the timer stays disabled. */
	fixture_wrmsr(vp, COUNT(0), ref(f) + 10);
	fixture_wrmsr(vp, CONFIG(0), HV_STIMER_ENABLE);
	assert_int_equal(fixture_rdmsr(vp, CONFIG(0)), 0);
	fixture_wrmsr(vp, CONFIG(0), HV_STIMER_AUTO_ENABLE);
	fixture_wrmsr(vp, COUNT(0), ref(f) + 10);
	assert_int_equal(fixture_rdmsr(vp, CONFIG(0)), HV_STIMER_AUTO_ENABLE);
	fixture_free(f);
}

static void test_timer_save_restore(void **state)
{
	struct fixture *f = with_synic();
	struct vp *vp = fixture_vp(f, 0);
	struct hv_stimers_state saved;
	uint32_t written = 0;

	fixture_wrmsr(
		vp, CONFIG(0), HV_STIMER_DIRECT | HV_STIMER_AUTO_ENABLE | (uint64_t)0xED << 4);
	fixture_wrmsr(vp, COUNT(0), ref(f) + 1000);
	assert_int_equal(
		WHvGetVirtualProcessorState(f->p, 0, WHvVirtualProcessorStateTypeSynicTimerState,
			&saved, sizeof(saved), &written),
		S_OK);
	assert_int_equal(written, 200);
	fixture_wrmsr(vp, COUNT(0), 0);
	assert_int_equal(
		WHvSetVirtualProcessorState(f->p, 0, WHvVirtualProcessorStateTypeSynicTimerState,
			&saved, sizeof(saved)),
		S_OK);
	fixture_advance_us(f, 101);
	assert_int_equal(taken(vp), 0xED);
	fixture_free(f);
}

static void test_reset_forgets(void **state)
{
	struct fixture *f = with_synic();
	struct vp *vp = fixture_vp(f, 0);

	fixture_wrmsr(
		vp, CONFIG(0), HV_STIMER_DIRECT | HV_STIMER_AUTO_ENABLE | (uint64_t)0xED << 4);
	fixture_wrmsr(vp, COUNT(0), ref(f) + 1000);
	assert_int_equal(WHvResetPartition(f->p), S_OK);
	assert_int_equal(fixture_rdmsr(vp, CONFIG(0)), 0);
	assert_int_equal(fixture_rdmsr(vp, HV_MSR_SINT0 + SINT), HV_SINT_MASKED);
	assert_int_equal(fixture_rdmsr(vp, HV_MSR_SCONTROL), 0);
	assert_true(vp->deadline == CLOCK_NEVER);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_pages_start_as_zeros),
		cmocka_unit_test(test_message),
		cmocka_unit_test(test_message_refused),
		cmocka_unit_test(test_masked_and_polled),
		cmocka_unit_test(test_auto_eoi),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_deliverable_notification),
		cmocka_unit_test(test_timer_direct),
		cmocka_unit_test(test_timer_never_early),
		cmocka_unit_test(test_timer_message),
		cmocka_unit_test(test_timer_message_after_eoi),
		cmocka_unit_test(test_timer_periodic),
		cmocka_unit_test(test_timer_bad_config),
		cmocka_unit_test(test_timer_save_restore),
		cmocka_unit_test(test_reset_forgets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
