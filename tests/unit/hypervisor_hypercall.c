/*
 * Hypercalls: where they are legal, every calling convention, every way to get one wrong.
 * Expectations are the TLFS's ("Hypercall Interface").
 */
#include "hypervisor_fixture.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define INPUT		   0x20000ull
#define OUTPUT		   0x21000ull
#define FAST		   HV_CALL_FAST
#define REPS(count, start) ((uint64_t)(count) << 32 | (uint64_t)(start) << 48)
#define VARHEAD(qwords)	   ((uint64_t)(qwords) << 17)

static struct x86_state *ready_to_call(struct fixture *f, unsigned index)
{
	struct vp *vp = fixture_vp(f, index);
	struct x86_state *s = vp_state(vp);

	fixture_wrmsr(vp, HV_MSR_GUEST_OS_ID, 1);
	fixture_wrmsr(vp, HV_MSR_HYPERCALL, 0x30000 | HV_PAGE_ENABLE);
	s->cr0 = X86_CR0_PE | X86_CR0_PG;
	s->efer = X86_EFER_LMA | X86_EFER_LME;
	s->seg[X86_CS].attributes = 0x209B;
	s->cpl = 0;
	return s;
}

/* A 64-bit call; the result value. */
static uint64_t call(struct fixture *f, uint64_t control, uint64_t rdx, uint64_t r8)
{
	struct vp *vp = fixture_vp(f, 0);
	struct x86_state *s = vp_state(vp);

	s->gpr[X86_RCX] = control;
	s->gpr[X86_RDX] = rdx;
	s->gpr[X86_R8] = r8;
	assert_int_equal(hypercall_dispatch(vp), X86_DONE);
	return s->gpr[X86_RAX];
}

static void put(struct fixture *f, unsigned qword, uint64_t value)
{
	memcpy(f->ram + INPUT + qword * 8, &value, 8);
}

static void enable_apics(struct fixture *f)
{
	for (unsigned i = 0; i < f->p->prop.processor_count; i++)
		lapic_mmio_write(fixture_vp(f, i), APIC_BASE_DEFAULT + APIC_SVR * 16, 4, 0x1FF);
}

static bool requested(struct fixture *f, unsigned index, uint8_t vector)
{
	return fixture_vp(f, index)->lapic.irr[vector / 32] >> (vector & 31) & 1;
}

static void test_illegal_environments(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);
	struct x86_state *s = ready_to_call(f, 0);

	s->gpr[X86_RCX] = HV_CALL_LONG_SPIN_WAIT | FAST;
	assert_int_equal(hypercall_dispatch(vp), X86_DONE);
	s->cpl = 3;
	assert_int_equal(hypercall_dispatch(vp), X86_FAULT);
	s->cpl = 0;
	s->cr0 = 0;
	assert_int_equal(hypercall_dispatch(vp), X86_FAULT);
	s->cr0 = X86_CR0_PE;
	s->rflags |= X86_FLAG_VM;
	assert_int_equal(hypercall_dispatch(vp), X86_FAULT);
	s->rflags &= ~(uint64_t)X86_FLAG_VM;
	fixture_wrmsr(vp, HV_MSR_HYPERCALL, 0);
	assert_int_equal(hypercall_dispatch(vp), X86_FAULT);
	fixture_free(f);
}

static void test_bad_control(void **state)
{
	struct fixture *f = fixture_ready(2);
	struct x86_state *s = ready_to_call(f, 0);

	assert_int_equal(call(f, 0x7777, INPUT, 0), HV_STATUS_INVALID_HYPERCALL_CODE);
	assert_int_equal(call(f, HV_CALL_LONG_SPIN_WAIT | FAST | 1ull << 27, 0, 0),
		HV_STATUS_INVALID_HYPERCALL_INPUT);
	assert_int_equal(call(f, HV_CALL_LONG_SPIN_WAIT | FAST | 1ull << 44, 0, 0),
		HV_STATUS_INVALID_HYPERCALL_INPUT);
	assert_int_equal(call(f, HV_CALL_LONG_SPIN_WAIT | FAST | 1ull << 63, 0, 0),
		HV_STATUS_INVALID_HYPERCALL_INPUT);
	/* Reps and variable headers where there are none. */
	assert_int_equal(call(f, HV_CALL_LONG_SPIN_WAIT | FAST | REPS(1, 0), 0, 0),
		HV_STATUS_INVALID_HYPERCALL_INPUT);
	assert_int_equal(call(f, HV_CALL_SEND_IPI | FAST | VARHEAD(1), 0, 0),
		HV_STATUS_INVALID_HYPERCALL_INPUT);
	/* A rep call without reps, or that starts behind its end. */
	assert_int_equal(call(f, HV_CALL_FLUSH_LIST, INPUT, 0), HV_STATUS_INVALID_HYPERCALL_INPUT);
	assert_int_equal(call(f, HV_CALL_FLUSH_LIST | REPS(2, 2), INPUT, 0),
		HV_STATUS_INVALID_HYPERCALL_INPUT);
	/* None of them has done any rep, wherever it was to start. */
	assert_int_equal(call(f, 0x7777 | REPS(2, 1), INPUT, 0), HV_STATUS_INVALID_HYPERCALL_CODE);
	assert_int_equal(call(f, HV_CALL_LONG_SPIN_WAIT | FAST | REPS(0, 1), 0, 0),
		HV_STATUS_INVALID_HYPERCALL_INPUT);
	assert_int_equal(s->gpr[X86_RCX], HV_CALL_LONG_SPIN_WAIT | FAST | REPS(0, 1));
	fixture_free(f);
}

static void test_bad_addresses(void **state)
{
	struct fixture *f = fixture_ready(1);

	ready_to_call(f, 0);
	assert_int_equal(call(f, HV_CALL_FLUSH_SPACE, INPUT + 4, 0), HV_STATUS_INVALID_ALIGNMENT);
	assert_int_equal(call(f, HV_CALL_FLUSH_SPACE, INPUT + 0xFF0, 0),
		HV_STATUS_INVALID_ALIGNMENT); /* crosses the page */
	assert_int_equal(call(f, HV_CALL_FLUSH_SPACE, INPUT + 0xFE8, 0), HV_STATUS_SUCCESS);
	assert_int_equal(call(f, HV_CALL_FLUSH_SPACE, FIXTURE_MEMORY, 0),
		HV_STATUS_INVALID_ALIGNMENT); /* no memory there */
	assert_int_equal(call(f, HV_CALL_FLUSH_SPACE, ~7ull, 0), HV_STATUS_INVALID_ALIGNMENT);
	assert_int_equal((uint16_t)call(f, HV_CALL_FLUSH_LIST | REPS(510, 0), INPUT, 0),
		HV_STATUS_INVALID_ALIGNMENT);
	assert_int_equal((uint16_t)call(f, HV_CALL_FLUSH_LIST | REPS(4095, 0), INPUT, 0),
		HV_STATUS_INVALID_ALIGNMENT);
	assert_int_equal(
		call(f, HV_CALL_QUERY_CAPABILITIES, 0, OUTPUT + 1), HV_STATUS_INVALID_ALIGNMENT);
	assert_int_equal(call(f, HV_CALL_QUERY_CAPABILITIES, 0, FIXTURE_MEMORY + 4096),
		HV_STATUS_INVALID_ALIGNMENT);
	fixture_free(f);
}

static void test_flush_space(void **state)
{
	struct fixture *f = fixture_ready(4);
	struct fake_machine *m = fixture_machine(f);

	ready_to_call(f, 0);
	put(f, 0, 0x1000);
	put(f, 1, HV_FLUSH_NON_GLOBAL_ONLY);
	put(f, 2, 0x15); /* vp 4 does not exist */
	assert_int_equal(call(f, HV_CALL_FLUSH_SPACE, INPUT, 0), HV_STATUS_SUCCESS);
	assert_int_equal(m->flush.mask, 0x5);
	assert_false(m->flush.global);
	assert_int_equal(m->flush.count, 0);
	put(f, 1, HV_FLUSH_ALL_PROCESSORS | HV_FLUSH_ALL_SPACES);
	assert_int_equal(call(f, HV_CALL_FLUSH_SPACE, INPUT, 0), HV_STATUS_SUCCESS);
	assert_int_equal(m->flush.mask, 0xF);
	assert_true(m->flush.global);
	put(f, 1, 0x100);
	assert_int_equal(call(f, HV_CALL_FLUSH_SPACE, INPUT, 0), HV_STATUS_INVALID_PARAMETER);
	fixture_free(f);
}

static void test_flush_list(void **state)
{
	struct fixture *f = fixture_ready(2);
	struct fake_machine *m = fixture_machine(f);
	uint64_t result;

	ready_to_call(f, 0);
	put(f, 0, 0);
	put(f, 1, 0);
	put(f, 2, 2);
	put(f, 3, 0x400000 | 2); /* three pages */
	put(f, 4, 0x900000);
	result = call(f, HV_CALL_FLUSH_LIST | REPS(2, 0), INPUT, 0);
	assert_int_equal(result, (uint64_t)2 << 32);
	assert_int_equal(m->flush.count, 4);
	assert_int_equal(m->flush.first, 0x400000);
	assert_int_equal(m->flush.mask, 2);
	assert_int_equal(HV_CALL_REP_START(vp_state(fixture_vp(f, 0))->gpr[X86_RCX]), 2);
	result = call(f, HV_CALL_FLUSH_LIST | REPS(2, 1), INPUT, 0);
	assert_int_equal(result, (uint64_t)2 << 32);
	assert_int_equal(m->flush.count, 1);
	assert_int_equal(m->flush.first, 0x900000);
	put(f, 3, 0x400FFF); /* 4096 pages: everything */
	call(f, HV_CALL_FLUSH_LIST | REPS(1, 0), INPUT, 0);
	assert_int_equal(m->flush.count, 0);
	put(f, 1, HV_FLUSH_NON_GLOBAL_ONLY);
	result = call(f, HV_CALL_FLUSH_LIST | REPS(1, 0), INPUT, 0);
	assert_int_equal(result, HV_STATUS_INVALID_PARAMETER); /* no reps done */
	fixture_free(f);
}

static void test_flush_extended(void **state)
{
	struct fixture *f = fixture_ready(4);
	struct fake_machine *m = fixture_machine(f);

	ready_to_call(f, 0);
	put(f, 0, 0);
	put(f, 1, HV_FLUSH_ALL_SPACES);
	put(f, 2, HV_VP_SET_SPARSE);
	put(f, 3, 1);
	put(f, 4, 0xA);
	assert_int_equal(call(f, HV_CALL_FLUSH_SPACE_EX | VARHEAD(1), INPUT, 0), HV_STATUS_SUCCESS);
	assert_int_equal(m->flush.mask, 0xA);
	/* The list follows the banks. */
	put(f, 3, 5);
	put(f, 5, ~0ull);
	put(f, 6, 0x7000);
	assert_int_equal(call(f, HV_CALL_FLUSH_LIST_EX | VARHEAD(2) | REPS(1, 0), INPUT, 0),
		(uint64_t)1 << 32);
	assert_int_equal(m->flush.mask, 0xA);
	assert_int_equal(m->flush.first, 0x7000);
	/* Banks that are not there. */
	assert_int_equal(call(f, HV_CALL_FLUSH_SPACE_EX | VARHEAD(1), INPUT, 0),
		HV_STATUS_INVALID_HYPERCALL_INPUT);
	put(f, 2, 2);
	assert_int_equal(call(f, HV_CALL_FLUSH_SPACE_EX | VARHEAD(2), INPUT, 0),
		HV_STATUS_INVALID_PARAMETER);
	put(f, 2, HV_VP_SET_ALL);
	assert_int_equal(call(f, HV_CALL_FLUSH_SPACE_EX, INPUT, 0), HV_STATUS_SUCCESS);
	assert_int_equal(m->flush.mask, 0xF);
	fixture_free(f);
}

static void test_fast_ipi(void **state)
{
	struct fixture *f = fixture_ready(4);

	ready_to_call(f, 0);
	enable_apics(f);
	assert_int_equal(call(f, HV_CALL_SEND_IPI | FAST, 0xF3, 0xC), HV_STATUS_SUCCESS);
	assert_false(requested(f, 1, 0xF3));
	assert_true(requested(f, 2, 0xF3));
	assert_true(requested(f, 3, 0xF3));
	assert_int_equal(call(f, HV_CALL_SEND_IPI | FAST, 0x0F, 0xC), HV_STATUS_INVALID_PARAMETER);
	assert_int_equal(call(f, HV_CALL_SEND_IPI | FAST, 0x100, 0xC), HV_STATUS_INVALID_PARAMETER);
	assert_int_equal(call(f, HV_CALL_SEND_IPI | FAST, 0x11ull << 32 | 0xF3, 0xC),
		HV_STATUS_INVALID_PARAMETER); /* another trust level */
	fixture_free(f);
}

static void test_memory_and_xmm_ipi(void **state)
{
	struct fixture *f = fixture_ready(4);
	struct x86_state *s = ready_to_call(f, 0);
	uint64_t xmm[2] = {1, 0x5}; /* valid banks, bank 0 */

	enable_apics(f);
	put(f, 0, 0x41);
	put(f, 1, HV_VP_SET_ALL);
	put(f, 2, 0);
	assert_int_equal(call(f, HV_CALL_SEND_IPI_EX, INPUT, 0), HV_STATUS_SUCCESS);
	for (unsigned i = 0; i < 4; i++)
		assert_true(requested(f, i, 0x41));
	/* In registers: vector in RDX, format in R8, the rest in XMM0. */
	memcpy(s->fx.xmm[0], xmm, sizeof(xmm));
	assert_int_equal(call(f, HV_CALL_SEND_IPI_EX | FAST | VARHEAD(1), 0x42, HV_VP_SET_SPARSE),
		HV_STATUS_SUCCESS);
	assert_true(requested(f, 0, 0x42));
	assert_false(requested(f, 1, 0x42));
	assert_true(requested(f, 2, 0x42));
	/* More than the registers hold. */
	assert_int_equal(call(f, HV_CALL_SEND_IPI_EX | FAST | VARHEAD(12), 0x42, 0),
		HV_STATUS_INVALID_HYPERCALL_INPUT);
	fixture_free(f);
}

static void test_32_bit(void **state)
{
	struct fixture *f = fixture_ready(2);
	struct vp *vp = fixture_vp(f, 0);
	struct x86_state *s = ready_to_call(f, 0);

	enable_apics(f);
	s->efer = 0;
	s->seg[X86_CS].attributes = 0xC09B;
	s->gpr[X86_RDX] = 0;
	s->gpr[X86_RAX] = HV_CALL_SEND_IPI | FAST;
	s->gpr[X86_RBX] = 0;
	s->gpr[X86_RCX] = 0x44;
	s->gpr[X86_RDI] = 0;
	s->gpr[X86_RSI] = 0x2;
	assert_int_equal(hypercall_dispatch(vp), X86_DONE);
	assert_int_equal(s->gpr[X86_RAX], HV_STATUS_SUCCESS);
	assert_int_equal(s->gpr[X86_RDX], 0);
	assert_true(requested(f, 1, 0x44));
	fixture_free(f);
}

static void test_output(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct x86_state *s = ready_to_call(f, 0);

	memset(f->ram + OUTPUT, 0xFF, 16);
	assert_int_equal(call(f, HV_CALL_QUERY_CAPABILITIES, 0, OUTPUT), HV_STATUS_SUCCESS);
	assert_int_equal(*(uint64_t *)(f->ram + OUTPUT), 0);
	assert_int_equal(f->ram[OUTPUT + 8], 0xFF);
	assert_int_equal(call(f, HV_CALL_QUERY_CAPABILITIES | FAST, 0x1234, 0), HV_STATUS_SUCCESS);
	assert_int_equal(s->gpr[X86_RDX], 0);
	fixture_free(f);
}

static void test_signal_event(void **state)
{
	struct fixture *f = fixture_ready(1);
	int event = eventfd(0, EFD_NONBLOCK);
	WHV_NOTIFICATION_PORT_PARAMETERS port = {
		.NotificationPortType = WHvNotificationPortTypeEvent, .Event = {.ConnectionId = 7}};
	WHV_NOTIFICATION_PORT_HANDLE handle;
	uint64_t count = 0;

	ready_to_call(f, 0);
	assert_int_equal(
		call(f, HV_CALL_SIGNAL_EVENT | FAST, 7, 0), HV_STATUS_INVALID_CONNECTION_ID);
	assert_int_equal(
		WHvCreateNotificationPort(f->p, &port, PARTITA_HANDLE_FROM_FD(event), &handle),
		S_OK);
	assert_int_equal(call(f, HV_CALL_SIGNAL_EVENT | FAST, 7, 0), HV_STATUS_SUCCESS);
	assert_int_equal(read(event, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 1);
	assert_int_equal(call(f, HV_CALL_SIGNAL_EVENT | FAST, 1ull << 32 | 7, 0),
		HV_STATUS_INVALID_PARAMETER); /* a port has one flag */
	assert_int_equal(call(f, HV_CALL_SIGNAL_EVENT | FAST, 1u << 24 | 7, 0),
		HV_STATUS_INVALID_CONNECTION_ID);
	assert_int_equal(WHvDeleteNotificationPort(f->p, handle), S_OK);
	assert_int_equal(
		call(f, HV_CALL_SIGNAL_EVENT | FAST, 7, 0), HV_STATUS_INVALID_CONNECTION_ID);
	close(event);
	fixture_free(f);
}

/* Many, most of whose numbers fall together: each is signalled by its own number and deleted by its
 * handle. */
static void test_many_events(void **state)
{
	enum { COUNT = 600, STRIDE = 1024 };
	struct fixture *f = fixture_ready(1);
	int event = eventfd(0, EFD_NONBLOCK);
	WHV_NOTIFICATION_PORT_PARAMETERS port = {
		.NotificationPortType = WHvNotificationPortTypeEvent};
	static WHV_NOTIFICATION_PORT_HANDLE handles[COUNT];

	ready_to_call(f, 0);
	for (unsigned i = 0; i < COUNT; i++) {
		port.Event.ConnectionId = 1 + i * STRIDE;
		assert_int_equal(WHvCreateNotificationPort(
					 f->p, &port, PARTITA_HANDLE_FROM_FD(event), &handles[i]),
			S_OK);
	}
	for (unsigned i = 0; i < COUNT; i += 2)
		assert_int_equal(WHvDeleteNotificationPort(f->p, handles[i]), S_OK);
	for (unsigned i = 0; i < COUNT; i++) {
		uint32_t id = 1 + i * STRIDE;

		assert_int_equal(call(f, HV_CALL_SIGNAL_EVENT | FAST, id, 0),
			i % 2 ? HV_STATUS_SUCCESS : HV_STATUS_INVALID_CONNECTION_ID);
	}
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(
			WHvDeleteNotificationPort(f->p, handles[i]), i % 2 ? S_OK : E_INVALIDARG);
	close(event);
	fixture_free(f);
}

static void test_post_message(void **state)
{
	struct fixture *f = fixture_ready(1);
	struct vp *vp = fixture_vp(f, 0);
	struct x86_state *s = ready_to_call(f, 0);

	put(f, 0, 4);
	put(f, 1, (uint64_t)16 << 32 | 1);
	assert_int_equal(call(f, HV_CALL_POST_MESSAGE, INPUT, 0), HV_STATUS_INVALID_CONNECTION_ID);
	put(f, 1, (uint64_t)241 << 32 | 1);
	assert_int_equal(call(f, HV_CALL_POST_MESSAGE, INPUT, 0), HV_STATUS_INVALID_PARAMETER);
	put(f, 1, (uint64_t)16 << 32 | 0x80000001);
	assert_int_equal(call(f, HV_CALL_POST_MESSAGE, INPUT, 0), HV_STATUS_INVALID_PARAMETER);
	put(f, 1, (uint64_t)16 << 32);
	assert_int_equal(call(f, HV_CALL_POST_MESSAGE, INPUT, 0), HV_STATUS_INVALID_PARAMETER);
	/* A client that asked for them gets the good ones. */
	f->p->prop.exits.HypercallExit = 1;
	put(f, 1, (uint64_t)16 << 32 | 1);
	s->gpr[X86_RCX] = HV_CALL_POST_MESSAGE;
	s->gpr[X86_RDX] = INPUT;
	s->gpr[X86_R8] = 0x99;
	assert_int_equal(hypercall_dispatch(vp), X86_EXIT);
	assert_int_equal(vp->hypercall.Rcx, HV_CALL_POST_MESSAGE);
	assert_int_equal(vp->hypercall.Rdx, INPUT);
	assert_int_equal(vp->hypercall.R8, 0x99);
	fixture_free(f);
}

/* Whatever the input value and the registers hold, there is an answer. */
static void test_random_input(void **state)
{
	struct fixture *f = fixture_ready(3);
	struct vp *vp = fixture_vp(f, 0);
	struct x86_state *s = ready_to_call(f, 0);
	uint64_t seed = 88172645463325252ull;
	static const uint16_t codes[] = {2, 3, 8, 0xB, 0x13, 0x14, 0x15, 0x5C, 0x5D, 0x8001};

	enable_apics(f);
	for (unsigned i = 0; i < 200000; i++) {
		for (unsigned r = 0; r < 16; r++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			s->gpr[r] = seed >> (seed & 63);
		}
		memcpy(f->ram + INPUT + (i * 8 & 0xFF8), &seed, 8);
		if (i & 1)
			s->gpr[X86_RDX] = INPUT + (seed & 0xFF8);
		s->gpr[X86_RCX] = (s->gpr[X86_RCX] & ~0xFFFFull) | codes[i % 10];
		if (i & 2)
			s->gpr[X86_RCX] &= ~HV_CALL_RESERVED & ~HV_CALL_NESTED;
		assert_int_equal(hypercall_dispatch(vp), X86_DONE);
	}
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_illegal_environments),
		cmocka_unit_test(test_bad_control),
		cmocka_unit_test(test_bad_addresses),
		cmocka_unit_test(test_flush_space),
		cmocka_unit_test(test_flush_list),
		cmocka_unit_test(test_flush_extended),
		cmocka_unit_test(test_fast_ipi),
		cmocka_unit_test(test_memory_and_xmm_ipi),
		cmocka_unit_test(test_32_bit),
		cmocka_unit_test(test_output),
		cmocka_unit_test(test_signal_event),
		cmocka_unit_test(test_many_events),
		cmocka_unit_test(test_post_message),
		cmocka_unit_test(test_random_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
