/*
 * Interrupts, timers and several processors, with guests that use them: on each engine.
 */
#include "hypervisor_guest.h"

#include <string.h>
#include <unistd.h>

static const struct guest_options plain;

#define ENABLE_APIC "movl $0x1FF, 0xFEE000F0\n"

GUEST_PROGRAM(program_wait, ENABLE_APIC "out %eax, $0x10\n"
					"sti\n"
					"hlt\n"
					"movl $0, 0xFEE000B0\n"
					"out %eax, $0x10\n");

static void *interrupt_soon(void *arg)
{
	struct guest *g = arg;
	WHV_INTERRUPT_CONTROL control = {.Vector = 0x40};

	usleep(30000);
	assert_int_equal(WHvRequestInterrupt(g->partition, &control, sizeof(control)), S_OK);
	return NULL;
}

static void test_halt_until_interrupt(void **state)
{
	struct guest *g;
	pthread_t thread;
	uint64_t before;

	GUEST_NEEDS_HARDWARE();
	g = GUEST(&plain, program_wait);
	guest_expect(g, 0, PORT_REPORT);
	before = guest_now_us();
	assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, g), 0);
	assert_int_equal(guest_expect(g, 0, PORT_VECTOR), 0x40);
	assert_true(guest_now_us() - before >= 25000);
	guest_expect(g, 0, PORT_REPORT);
	pthread_join(thread, NULL);
	guest_free(g);
}

static void test_cancel_wakes_halted(void **state)
{
	struct guest *g = GUEST(&plain, program_wait);
	WHV_RUN_VP_EXIT_CONTEXT exit;

	guest_expect(g, 0, PORT_REPORT);
	assert_int_equal(WHvCancelRunVirtualProcessor(g->partition, 0, 0), S_OK);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonCanceled);
	guest_free(g);
}

static void test_level_interrupt(void **state)
{
	struct guest *g;
	WHV_INTERRUPT_CONTROL control = {
		.Vector = 0x61, .TriggerMode = WHvX64InterruptTriggerModeLevel};
	WHV_RUN_VP_EXIT_CONTEXT exit;

	GUEST_NEEDS_HARDWARE();
	g = GUEST(&plain, program_wait);
	guest_expect(g, 0, PORT_REPORT);
	assert_int_equal(WHvRequestInterrupt(g->partition, &control, sizeof(control)), S_OK);
	assert_int_equal(guest_expect(g, 0, PORT_VECTOR), 0x61);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonX64ApicEoi);
	assert_int_equal(exit.ApicEoi.InterruptVector, 0x61);
	guest_expect(g, 0, PORT_REPORT);
	guest_free(g);
}

/* Higher priorities first, whatever order they came in; CR8 holds back those below it. */
GUEST_PROGRAM(program_priorities, ENABLE_APIC "out %eax, $0x10\n"
					      "sti\n"
					      "nop\n"
					      "1: movl $0, 0xFEE000B0\n"
					      "out %eax, $0x10\n"
					      "jmp 1b\n");

static void test_priorities(void **state)
{
	struct guest *g;
	WHV_INTERRUPT_CONTROL control = {.Vector = 0x31};

	GUEST_NEEDS_HARDWARE();
	g = GUEST(&plain, program_priorities);
	guest_expect(g, 0, PORT_REPORT);
	WHvRequestInterrupt(g->partition, &control, sizeof(control));
	control.Vector = 0x52;
	WHvRequestInterrupt(g->partition, &control, sizeof(control));
	control.Vector = 0x45;
	WHvRequestInterrupt(g->partition, &control, sizeof(control));
	guest_set(g, 0, WHvX64RegisterCr8, 4);
	assert_int_equal(guest_expect(g, 0, PORT_VECTOR), 0x52);
	guest_expect(g, 0, PORT_REPORT);
	guest_expect(g, 0, PORT_REPORT); /* 0x45 is held back */
	guest_set(g, 0, WHvX64RegisterCr8, 0);
	assert_int_equal(guest_expect(g, 0, PORT_VECTOR), 0x45);
	guest_expect(g, 0, PORT_REPORT);
	assert_int_equal(guest_expect(g, 0, PORT_VECTOR), 0x31);
	guest_free(g);
}

/* Reports the low TSC before and after a one-shot of 400000 ticks at 200 MHz: 2 ms. */
GUEST_PROGRAM(program_timer, ENABLE_APIC "movl $0xB, 0xFEE003E0\n"
					 "movl $0x50, 0xFEE00320\n"
					 "out %eax, $0x10\n"
					 "1: rdtsc\n"
					 "mov %eax, %ebx\n"
					 "movl $400000, 0xFEE00380\n"
					 "sti\n"
					 "hlt\n"
					 "cli\n"
					 "rdtsc\n"
					 "sub %ebx, %eax\n"
					 "movl $0, 0xFEE000B0\n"
					 "out %eax, $0x10\n"
					 "jmp 1b\n");

static void test_apic_timer(void **state)
{
	struct guest *g;
	uint64_t hz, best = UINT64_MAX, hosts_best = UINT64_MAX;

	GUEST_NEEDS_HARDWARE();
	g = GUEST(&plain, program_timer);
	assert_int_equal(
		WHvGetCapability(WHvCapabilityCodeProcessorClockFrequency, &hz, sizeof(hz), NULL),
		S_OK);
	guest_expect(g, 0, PORT_REPORT);
	for (unsigned i = 0; i < 20; i++) {
		uint64_t us;

		assert_int_equal(guest_expect(g, 0, PORT_VECTOR), 0x50);
		us = (uint64_t)guest_expect(g, 0, PORT_REPORT) * 1000000u / hz;
		assert_true(us >= 1999); /* never early */
		if (us < best)
			best = us;
		us = guest_now_us();
		usleep(2000);
		us = guest_now_us() - us;
		if (us < hosts_best)
			hosts_best = us;
	}
	assert_true(best < hosts_best + 500); /* and in time, as this host keeps it */
	guest_free(g);
}

/* A hundred one-shots of 100 us each by synthetic timer 0 in direct mode, without HLT. */
GUEST_PROGRAM(program_stimer, ENABLE_APIC "mov $0x400000B0, %ecx\n"
					  "mov $0x1ED8, %eax\n" /* direct, 0xED, auto-enable */
					  "xor %edx, %edx\n"
					  "wrmsr\n"
					  "sti\n"
					  "1: mov $0x40000020, %ecx\n"
					  "rdmsr\n"
					  "add $1000, %eax\n"
					  "adc $0, %edx\n"
					  "mov $0x400000B1, %ecx\n"
					  "wrmsr\n"
					  "2: mov $0x400000B0, %ecx\n"
					  "rdmsr\n"
					  "test $1, %eax\n"
					  "jnz 2b\n"
					  "movl $0, 0xFEE000B0\n"
					  "jmp 1b\n");

static void test_synthetic_timer(void **state)
{
	struct guest *g;
	uint64_t before = guest_now_us();

	GUEST_NEEDS_HARDWARE();
	g = GUEST(&plain, program_stimer);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(guest_expect(g, 0, PORT_VECTOR), 0xED);
	assert_true(guest_now_us() - before >= 99 * 100);
	guest_free(g);
}

/* INIT, then SIPI to 0x8000, where a real-mode program is. */
GUEST_PROGRAM(program_startup, ENABLE_APIC "movl $0x01000000, 0xFEE00310\n"
					   "movl $0x4500, 0xFEE00300\n"
					   "movl $0x01000000, 0xFEE00310\n"
					   "movl $0x4608, 0xFEE00300\n"
					   "out %eax, $0x10\n");

static const uint8_t ap_code[] = {
	0xB8,
	0x34,
	0x12, /* mov $0x1234, %ax */
	0xE7,
	0x10, /* out %ax, $0x10 */
	0xF4,
};

static void *run_ap(void *arg)
{
	struct guest *g = arg;
	WHV_RUN_VP_EXIT_CONTEXT exit;

	assert_int_equal(WHvRunVirtualProcessor(g->partition, 1, &exit, sizeof(exit)), S_OK);
	return (void *)(uintptr_t)(exit.ExitReason == WHvRunVpExitReasonX64IoPortAccess
					   ? exit.IoPortAccess.Rax & 0xFFFF
					   : 0);
}

static void test_startup_ipi(void **state)
{
	struct guest_options two = {.vps = 2};
	struct guest *g = GUEST(&two, program_startup);
	WHV_REGISTER_NAME activity = WHvRegisterInternalActivityState;
	WHV_REGISTER_VALUE value;
	pthread_t thread;
	void *said;

	memcpy(g->ram + 0x8000, ap_code, sizeof(ap_code));
	assert_int_equal(
		WHvGetVirtualProcessorRegisters(g->partition, 1, &activity, 1, &value), S_OK);
	assert_true(value.InternalActivity.StartupSuspend);
	assert_int_equal(pthread_create(&thread, NULL, run_ap, g), 0);
	guest_expect(g, 0, PORT_REPORT);
	pthread_join(thread, &said);
	assert_int_equal((uintptr_t)said, 0x1234);
	if (guest_exact())
		assert_int_equal(guest_get(g, 1, WHvX64RegisterRip), 3);
	guest_free(g);
}

GUEST_PROGRAM(program_nmi, "out %eax, $0x10\n"
			   "hlt\n"
			   "out %eax, $0x10\n");

static void *nmi_soon(void *arg)
{
	struct guest *g = arg;
	WHV_INTERRUPT_CONTROL control = {.Type = WHvX64InterruptTypeNmi};

	usleep(30000);
	assert_int_equal(WHvRequestInterrupt(g->partition, &control, sizeof(control)), S_OK);
	return NULL;
}

static void test_nmi_wakes(void **state)
{
	struct guest *g;
	pthread_t thread;

	GUEST_NEEDS_HARDWARE();
	g = GUEST(&plain, program_nmi);
	guest_expect(g, 0, PORT_REPORT); /* interrupts are closed, which NMIs ignore */
	assert_int_equal(pthread_create(&thread, NULL, nmi_soon, g), 0);
	assert_int_equal(guest_expect(g, 0, PORT_VECTOR), 2);
	guest_expect(g, 0, PORT_REPORT);
	pthread_join(thread, NULL);
	guest_free(g);
}

/*
 * Real mode, where every KVM can take interrupts: x2APIC by MSRs, a one-shot of 400000 ticks, HLT;
 * then HLT again until the client interrupts. The handler reports its vector.
 */
__asm__(".pushsection .rodata\n.code16\n"
	"real_mode:\n"
	"mov $0x1B, %ecx\n rdmsr\n or $0x400, %eax\n wrmsr\n"
	"mov $0x80F, %ecx\n mov $0x1FF, %eax\n xor %edx, %edx\n wrmsr\n"
	"mov $0x83E, %ecx\n mov $0xB, %eax\n wrmsr\n"
	"mov $0x832, %ecx\n mov $0x50, %eax\n wrmsr\n"
	"out %eax, $0x10\n"
	"mov $0x838, %ecx\n mov $400000, %eax\n wrmsr\n"
	"1: sti\n hlt\n cli\n"
	"out %eax, $0x10\n"
	"jmp 1b\n"
	"real_mode_end:\n"
	"real_handler:\n" /* of vector 0x50; 13 bytes on, of 0x40 */
	"mov $0x50, %eax\n jmp 2f\n"
	".org real_handler + 13\n"
	"mov $0x40, %eax\n"
	"2: out %eax, $0x11\n"
	"mov $0x80B, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr\n"
	"iret\n"
	"real_handler_end:\n"
	".code64\n.popsection\n");
extern const uint8_t real_mode[], real_mode_end[], real_handler[], real_handler_end[];

static void enter_real_mode(struct guest *g)
{
	static const WHV_REGISTER_NAME names[] = {WHvX64RegisterCr0, WHvX64RegisterCs,
		WHvX64RegisterDs, WHvX64RegisterEs, WHvX64RegisterSs, WHvX64RegisterIdtr};
	WHV_REGISTER_VALUE code = {.Segment = {.Limit = 0xFFFF, .Attributes = 0x9B}};
	WHV_REGISTER_VALUE data = {.Segment = {.Limit = 0xFFFF, .Attributes = 0x93}};
	WHV_REGISTER_VALUE values[] = {
		{.Reg64 = 0x10}, code, data, data, data, {.Table = {.Limit = 0x3FF}}};
	uint16_t vectors[][2] = {{0x9000, 0}, {0x900D, 0}};

	assert_int_equal(WHvSetVirtualProcessorRegisters(g->partition, 0, names, 6, values), S_OK);
	guest_set(g, 0, WHvX64RegisterRip, 0x8000);
	guest_set(g, 0, WHvX64RegisterRsp, 0x7000);
	memcpy(g->ram + 0x8000, real_mode, (size_t)(real_mode_end - real_mode));
	memcpy(g->ram + 0x9000, real_handler, (size_t)(real_handler_end - real_handler));
	memcpy(g->ram + 0x50 * 4, vectors[0], 4);
	memcpy(g->ram + 0x40 * 4, vectors[1], 4);
}

static void test_real_mode(void **state)
{
	struct guest *g = guest_new(&plain, real_mode, real_mode_end);
	uint64_t before;
	pthread_t thread;

	enter_real_mode(g);
	guest_expect(g, 0, PORT_REPORT);
	before = guest_now_us();
	assert_int_equal(guest_expect(g, 0, PORT_VECTOR), 0x50);
	assert_true(guest_now_us() - before >= 1990);
	guest_expect(g, 0, PORT_REPORT);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, g), 0);
		assert_int_equal(guest_expect(g, 0, PORT_VECTOR), 0x40);
		guest_expect(g, 0, PORT_REPORT);
		pthread_join(thread, NULL);
	}
	guest_free(g);
}

/* The guest idle register waits even with interrupts closed. */
GUEST_PROGRAM(program_idle, ENABLE_APIC "out %eax, $0x10\n"
					"mov $0x400000F0, %ecx\n"
					"rdmsr\n"
					"out %eax, $0x10\n");

static void test_guest_idle(void **state)
{
	struct guest *g = GUEST(&plain, program_idle);
	pthread_t thread;
	uint64_t before;

	guest_expect(g, 0, PORT_REPORT);
	before = guest_now_us();
	assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, g), 0);
	guest_expect(g, 0, PORT_REPORT);
	assert_true(guest_now_us() - before >= 25000);
	pthread_join(thread, NULL);
	guest_free(g);
}

/* Two processors send each other interrupts, each waiting in HLT for its own. */
GUEST_PROGRAM(program_ping, ENABLE_APIC "mov $2000, %esi\n"
					"movl $0x01000000, 0xFEE00310\n"
					"sti\n"
					"1: movl $0x70, 0xFEE00300\n"
					"cli\n"
					"2: cmpl $0, 0x9000\n"
					"jne 3f\n"
					"sti\n"
					"hlt\n"
					"cli\n"
					"jmp 2b\n"
					"3: movl $0, 0x9000\n"
					"sti\n"
					"dec %esi\n"
					"jnz 1b\n"
					"out %eax, $0x10\n");
/* Handlers: count, end the interrupt, return. */
GUEST_PROGRAM(handler_ping, "movl $1, 0x9000\n"
			    "movl $0, 0xFEE000B0\n"
			    "iret\n");
GUEST_PROGRAM(handler_pong, "push %eax\n"
			    "movl $0, 0xFEE000B0\n"
			    "movl $0, 0xFEE00310\n"
			    "movl $0x71, 0xFEE00300\n"
			    "pop %eax\n"
			    "iret\n");
GUEST_PROGRAM(program_pong, ENABLE_APIC "out %eax, $0x10\n"
					"sti\n"
					"1: hlt\n"
					"jmp 1b\n");

static void point_gate(struct guest *g, unsigned vector, uint32_t at)
{
	uint8_t *gate = g->ram + GUEST_IDT + vector * 8;

	gate[0] = (uint8_t)at;
	gate[1] = (uint8_t)(at >> 8);
	gate[6] = (uint8_t)(at >> 16);
}

static void *run_until_cancelled(void *arg)
{
	struct guest *g = arg;
	WHV_RUN_VP_EXIT_CONTEXT exit;

	assert_int_equal(WHvRunVirtualProcessor(g->partition, 1, &exit, sizeof(exit)), S_OK);
	return (void *)(uintptr_t)exit.ExitReason;
}

static void test_ping_pong(void **state)
{
	struct guest_options two = {.vps = 2};
	struct guest *g;
	static const WHV_REGISTER_NAME copied[] = {WHvX64RegisterCr0, WHvX64RegisterCs,
		WHvX64RegisterDs, WHvX64RegisterSs, WHvX64RegisterGdtr, WHvX64RegisterIdtr};
	WHV_REGISTER_VALUE values[6];
	pthread_t thread;
	void *reason;

	GUEST_NEEDS_HARDWARE();
	g = GUEST(&two, program_ping);
	memcpy(g->ram + 0x20000, handler_ping, (size_t)(handler_ping_end - handler_ping));
	memcpy(g->ram + 0x21000, handler_pong, (size_t)(handler_pong_end - handler_pong));
	memcpy(g->ram + 0x22000, program_pong, (size_t)(program_pong_end - program_pong));
	point_gate(g, 0x71, 0x20000);
	point_gate(g, 0x70, 0x21000);
	assert_int_equal(WHvGetVirtualProcessorRegisters(g->partition, 0, copied, 6, values), S_OK);
	assert_int_equal(WHvSetVirtualProcessorRegisters(g->partition, 1, copied, 6, values), S_OK);
	guest_set(g, 1, WHvX64RegisterRip, 0x22000);
	guest_set(g, 1, WHvX64RegisterRsp, 0x70000);
	guest_set(g, 1, WHvX64RegisterRflags, 2);
	guest_set(g, 1, WHvRegisterInternalActivityState, 0);
	/* It must take interrupts before the first is sent. */
	guest_expect(g, 1, PORT_REPORT);
	assert_int_equal(pthread_create(&thread, NULL, run_until_cancelled, g), 0);
	guest_expect(g, 0, PORT_REPORT);
	assert_int_equal(WHvCancelRunVirtualProcessor(g->partition, 1, 0), S_OK);
	pthread_join(thread, &reason);
	assert_int_equal((uintptr_t)reason, WHvRunVpExitReasonCanceled);
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_halt_until_interrupt),
		cmocka_unit_test(test_cancel_wakes_halted),
		cmocka_unit_test(test_level_interrupt),
		cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_apic_timer),
		cmocka_unit_test(test_synthetic_timer),
		cmocka_unit_test(test_startup_ipi),
		cmocka_unit_test(test_nmi_wakes),
		cmocka_unit_test(test_real_mode),
		cmocka_unit_test(test_guest_idle),
		cmocka_unit_test(test_ping_pong),
	};

	return GUEST_RUN_TESTS(tests, "interrupts");
}
