/*
 * worker_msr.c - the MSRs that the hypervisor leaves to the worker: reset, crash, and unknown ones.
 * The partition and the machine's end are stand-ins that remember what was asked of them.
 */
#include "worker/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define RESET	   0x40000003u
#define CRASH_P0   0x40000100u
#define CRASH_CTL  0x40000105u
#define RIP	   0xffffffff81000000ull
#define LENGTH	   2

static struct {
	WHV_REGISTER_NAME name[4];
	WHV_REGISTER_VALUE value[4];
	unsigned count;
	enum machine_end end;
} asked;

HRESULT WHvSetVirtualProcessorRegisters(WHV_PARTITION_HANDLE partition, UINT32 vp,
	const WHV_REGISTER_NAME *names, UINT32 count, const WHV_REGISTER_VALUE *values)
{
	assert_int_equal(vp, 1);
	memcpy(asked.name, names, count * sizeof(*names));
	memcpy(asked.value, values, count * sizeof(*values));
	asked.count = count;
	return S_OK;
}

/* Guest memory is mapped into no partition here. */
HRESULT WHvMapGpaRange(WHV_PARTITION_HANDLE partition, VOID *source, WHV_GUEST_PHYSICAL_ADDRESS gpa,
	UINT64 size, WHV_MAP_GPA_RANGE_FLAGS flags)
{
	return E_NOTIMPL;
}

HRESULT WHvUnmapGpaRange(
	WHV_PARTITION_HANDLE partition, WHV_GUEST_PHYSICAL_ADDRESS gpa, UINT64 size)
{
	return E_NOTIMPL;
}

void machine_stop(struct machine *m, enum machine_end end)
{
	asked.end = end;
}

static void access_msr(struct machine *m, uint32_t msr, bool write, uint64_t value)
{
	WHV_VP_EXIT_CONTEXT context = {.InstructionLength = LENGTH, .Rip = RIP};
	WHV_X64_MSR_ACCESS_CONTEXT access = {
		.AccessInfo.IsWrite = write,
		.MsrNumber = msr,
		/* Upper halves, which the instructions ignore. */
		.Rax = (uint32_t)value | 0xdead00000000ull,
		.Rdx = value >> 32 | 0xbeef00000000ull,
	};

	memset(&asked, 0, sizeof(asked));
	assert_int_equal(msr_access(m, 1, &context, &access), S_OK);
}

static uint64_t read_value(struct machine *m, uint32_t msr)
{
	access_msr(m, msr, false, 0);
	assert_int_equal(asked.count, 3);
	assert_int_equal(asked.name[0], WHvX64RegisterRip);
	assert_int_equal(asked.value[0].Reg64, RIP + LENGTH);
	assert_int_equal(asked.name[1], WHvX64RegisterRax);
	assert_int_equal(asked.name[2], WHvX64RegisterRdx);
	assert_int_equal(asked.value[1].Reg64 >> 32, 0);
	assert_int_equal(asked.value[2].Reg64 >> 32, 0);
	return asked.value[2].Reg64 << 32 | asked.value[1].Reg64;
}

static struct machine *machine(void)
{
	static const struct worker_config config = {.name = "test"};
	static struct machine m;

	memset(&m, 0, sizeof(m));
	m.config = &config;
	pthread_mutex_init(&m.crash_lock, NULL);
	return &m;
}

static void crash_parameters_are_kept(void **state)
{
	struct machine *m = machine();

	for (uint32_t i = 0; i < MACHINE_CRASH_PARAMETERS; i++) {
		access_msr(m, CRASH_P0 + i, true, 0x123456789abcdef0ull + i);
		assert_int_equal(asked.count, 1);
		assert_int_equal(asked.value[0].Reg64, RIP + LENGTH);
	}
	for (uint32_t i = 0; i < MACHINE_CRASH_PARAMETERS; i++)
		assert_int_equal(read_value(m, CRASH_P0 + i), 0x123456789abcdef0ull + i);
	assert_int_equal(read_value(m, CRASH_CTL), 3ull << 62);
}

/* A guest may claim that its last words are anywhere; only RAM is looked at. */
static void crash_text_stays_in_memory(void **state)
{
	static const uint64_t places[][2] = {{0, 16}, {0x1ff0, 0x1000}, {UINT64_MAX, 1}, {0, 0},
		{0, UINT64_MAX}, {0x1fff, 1}, {UINT64_MAX - 10, UINT64_MAX}};
	struct machine *m = machine();

	assert_int_equal(ram_create(&m->ram, 0x2000), 0);
	memset(m->ram.host, 'x', 0x2000);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		access_msr(m, CRASH_P0 + 3, true, places[i][0]);
		access_msr(m, CRASH_P0 + 4, true, places[i][1]);
		access_msr(m, CRASH_CTL, true, 3ull << 62);
		assert_int_equal(asked.end, MACHINE_RUNNING);
	}
	ram_destroy(&m->ram);
}

static void reset_register_resets(void **state)
{
	struct machine *m = machine();

	access_msr(m, RESET, true, 0);
	assert_int_equal(asked.end, MACHINE_RUNNING);
	access_msr(m, RESET, true, 1);
	assert_int_equal(asked.end, MACHINE_RESET);
	assert_int_equal(read_value(m, RESET), 0);
}

static void unknown_registers_raise_gp(void **state)
{
	struct machine *m = machine();

	for (int write = 0; write < 2; write++) {
		access_msr(m, 0x12345678, write, 0);
		assert_int_equal(asked.count, 1);
		assert_int_equal(asked.name[0], WHvRegisterPendingEvent);
		assert_int_equal(asked.value[0].ExceptionEvent.EventPending, 1);
		assert_int_equal(asked.value[0].ExceptionEvent.Vector, 13);
		assert_int_equal(asked.value[0].ExceptionEvent.DeliverErrorCode, 1);
		assert_int_equal(asked.value[0].ExceptionEvent.ErrorCode, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crash_parameters_are_kept),
		cmocka_unit_test(crash_text_stays_in_memory),
		cmocka_unit_test(reset_register_resets),
		cmocka_unit_test(unknown_registers_raise_gp),
	};

	return cmocka_run_group_tests_name("worker/msr", tests, NULL, NULL);
}
