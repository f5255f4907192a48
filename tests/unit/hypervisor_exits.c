/*
 * What a guest does reaches the client as the platform API says: one exit a test, on each engine.
 */
#include "hypervisor_guest.h"

#include <string.h>
#include <unistd.h>

static const struct guest_options plain;

GUEST_PROGRAM(program_ports, "mov $0x12345678, %eax\n"
			     "out %eax, $0x10\n"
			     "in $0x20, %al\n"
			     "out %eax, $0x10\n"
			     "mov $0x1234, %edx\n"
			     "outw %ax, %dx\n"
			     "mov $0x4000, %esi\n"
			     "mov $3, %ecx\n"
			     "rep outsb\n");

static void test_ports(void **state)
{
	struct guest *g = GUEST(&plain, program_ports);
	WHV_RUN_VP_EXIT_CONTEXT exit;

	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0x12345678);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonX64IoPortAccess);
	assert_int_equal(exit.IoPortAccess.PortNumber, 0x20);
	assert_false(exit.IoPortAccess.AccessInfo.IsWrite);
	assert_int_equal(exit.IoPortAccess.AccessInfo.AccessSize, 1);
	if (guest_exact()) {
		assert_int_equal(exit.VpContext.Rip, GUEST_CODE + 7);
		assert_true(exit.IoPortAccess.InstructionByteCount >= 2);
		assert_memory_equal(exit.IoPortAccess.InstructionBytes, "\xE4\x20", 2);
	}
	guest_set(g, 0, WHvX64RegisterRax, 0x123456AA);
	guest_complete_io(g, 0, &exit);
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0x123456AA);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.IoPortAccess.PortNumber, 0x1234);
	assert_int_equal(exit.IoPortAccess.AccessInfo.AccessSize, 2);
	guest_complete_io(g, 0, &exit);
	if (!guest_exact()) { /* one element at a time */
		memcpy(g->ram + 0x4000, "xyz", 3);
		for (unsigned i = 0; i < 3; i++) {
			guest_run(g, 0, &exit);
			assert_int_equal(exit.IoPortAccess.PortNumber, 0x1234);
			assert_int_equal(exit.IoPortAccess.Rax & 0xFF, 'x' + i);
			guest_complete_io(g, 0, &exit);
		}
		guest_free(g);
		return;
	}
	guest_run(g, 0, &exit);
	assert_true(exit.IoPortAccess.AccessInfo.StringOp);
	assert_true(exit.IoPortAccess.AccessInfo.RepPrefix);
	assert_int_equal(exit.IoPortAccess.Rsi, 0x4000);
	assert_int_equal(exit.IoPortAccess.Rcx, 3);
	guest_free(g);
}

GUEST_PROGRAM(program_memory, "mov 0xD0000010, %eax\n"
			      "out %eax, $0x10\n"
			      "movl $0x55AA, 0xD0000020\n"
			      "out %eax, $0x10\n"
			      "mov $0xD0000000, %eax\n"
			      "jmp *%eax\n");

static void test_memory(void **state)
{
	struct guest *g = GUEST(&plain, program_memory);
	WHV_RUN_VP_EXIT_CONTEXT exit;

	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonMemoryAccess);
	assert_int_equal(exit.MemoryAccess.Gpa, 0xD0000010);
	assert_int_equal(exit.MemoryAccess.AccessInfo.AccessType, WHvMemoryAccessRead);
	assert_true(exit.MemoryAccess.AccessInfo.GpaUnmapped);
	if (guest_exact()) {
		assert_int_equal(exit.VpContext.Rip, GUEST_CODE);
		assert_memory_equal(exit.MemoryAccess.InstructionBytes, "\xA1\x10\0\0\xD0", 5);
	}
	guest_set(g, 0, WHvX64RegisterRax, 0xABCD);
	guest_skip(g, 0, &exit);
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0xABCD);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonMemoryAccess);
	assert_int_equal(exit.MemoryAccess.Gpa, 0xD0000020);
	assert_int_equal(exit.MemoryAccess.AccessInfo.AccessType, WHvMemoryAccessWrite);
	if (guest_exact()) {
		assert_int_equal(exit.VpContext.Rip, GUEST_CODE + 7);
		assert_true(exit.MemoryAccess.InstructionByteCount >= 10);
		assert_memory_equal(
			exit.MemoryAccess.InstructionBytes, "\xC7\x05\x20\0\0\xD0\xAA\x55\0\0", 10);
	}
	guest_skip(g, 0, &exit);
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0xABCD);
	guest_free(g);
}

/* A client that does not carry an access out, but goes elsewhere, or starts over. */
GUEST_PROGRAM(program_detour, "mov $7, %ebx\n"
			      "mov 0xD0000000, %ebx\n"
			      "hlt\n"
			      "1: mov %ebx, %eax\n"
			      "out %eax, $0x10\n"
			      "in $0x20, %al\n"
			      "hlt\n");

static void test_detour(void **state)
{
	struct guest *g = GUEST(&plain, program_detour);
	WHV_RUN_VP_EXIT_CONTEXT exit;

	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonMemoryAccess);
	guest_set(g, 0, WHvX64RegisterRip, GUEST_CODE + 12);
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 7);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.IoPortAccess.PortNumber, 0x20);
	guest_set(g, 0, WHvX64RegisterRip, GUEST_CODE);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonMemoryAccess);
	guest_free(g);
}

static void test_reset_in_the_middle(void **state)
{
	struct guest *g = GUEST(&plain, program_detour);
	WHV_RUN_VP_EXIT_CONTEXT exit;

	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonMemoryAccess);
	assert_int_equal(WHvResetPartition(g->partition), S_OK);
	assert_int_equal(guest_get(g, 0, WHvX64RegisterRip), 0xFFF0);
	assert_int_equal(guest_get(g, 0, WHvX64RegisterRbx), 0);
	guest_start(g);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonMemoryAccess);
	assert_int_equal(guest_get(g, 0, WHvX64RegisterRbx), 7);
	guest_free(g);
}

GUEST_PROGRAM(program_cpuid, "mov $0x40000000, %eax\n"
			     "xor %ecx, %ecx\n"
			     "cpuid\n"
			     "mov %ebx, %eax\n"
			     "out %eax, $0x10\n"
			     "mov $1, %eax\n"
			     "cpuid\n"
			     "mov %ecx, %eax\n"
			     "out %eax, $0x10\n");

static void test_cpuid(void **state)
{
	struct guest *g = GUEST(&plain, program_cpuid);

	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0x7263694D); /* "Micr" */
	assert_true(guest_expect(g, 0, PORT_REPORT) >> 31);
	guest_free(g);
}

GUEST_PROGRAM(program_msr, "mov $0x40000105, %ecx\n"
			   "mov $0x80000000, %edx\n"
			   "xor %eax, %eax\n"
			   "wrmsr\n"
			   "mov $0x12345, %ecx\n"
			   "rdmsr\n"
			   "out %eax, $0x10\n"
			   "rdmsr\n");

static void test_msr_exit(void **state)
{
	struct guest_options options = {.exits = {.X64MsrExit = 1}};
	struct guest *g = GUEST(&options, program_msr);
	WHV_REGISTER_NAME event = WHvRegisterPendingEvent;
	WHV_REGISTER_VALUE gp = {.ExceptionEvent = {
					 .EventPending = 1,
					 .EventType = WHvX64PendingEventException,
					 .DeliverErrorCode = 1,
					 .Vector = 13,
				 }};
	WHV_RUN_VP_EXIT_CONTEXT exit;

	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonX64MsrAccess);
	assert_true(exit.MsrAccess.AccessInfo.IsWrite);
	assert_int_equal(exit.MsrAccess.MsrNumber, 0x40000105);
	assert_int_equal(exit.MsrAccess.Rdx, 0x80000000);
	assert_int_equal(exit.VpContext.InstructionLength, 2);
	guest_skip(g, 0, &exit);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonX64MsrAccess);
	assert_false(exit.MsrAccess.AccessInfo.IsWrite);
	assert_int_equal(exit.MsrAccess.MsrNumber, 0x12345);
	guest_set(g, 0, WHvX64RegisterRax, 0x77);
	guest_skip(g, 0, &exit);
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0x77);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonX64MsrAccess);
	assert_int_equal(WHvSetVirtualProcessorRegisters(g->partition, 0, &event, 1, &gp), S_OK);
	assert_int_equal(guest_expect(g, 0, PORT_VECTOR), 13);
	guest_free(g);
}

static void test_msr_fault(void **state)
{
	struct guest *g = GUEST(&plain, program_msr);

	assert_int_equal(guest_expect(g, 0, PORT_VECTOR), 13); /* nobody wants it */
	guest_free(g);
}

GUEST_PROGRAM(program_exceptions, "ud2\n"
				  "hlt\n");

static void test_exception_exit(void **state)
{
	struct guest_options options = {.exits = {.ExceptionExit = 1}, .exceptions = 1u << 6};
	WHV_EXTENDED_VM_EXITS offered;
	WHV_RUN_VP_EXIT_CONTEXT exit;
	struct guest *g;

	assert_int_equal(
		WHvGetCapability(WHvCapabilityCodeExtendedVmExits, &offered, sizeof(offered), NULL),
		S_OK);
	if (!offered.ExceptionExit)
		skip();
	g = GUEST(&options, program_exceptions);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonException);
	assert_int_equal(exit.VpException.ExceptionType, 6);
	assert_false(exit.VpException.ExceptionInfo.ErrorCodeValid);
	assert_int_equal(exit.VpContext.Rip, GUEST_CODE);
	guest_free(g);
}

static void test_halt_without_apic(void **state)
{
	struct guest_options options = {.no_apic = true};
	struct guest *g = GUEST(&options, program_exceptions);
	WHV_RUN_VP_EXIT_CONTEXT exit;

	guest_set(g, 0, WHvX64RegisterRip, GUEST_CODE + 2);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonX64Halt);
	assert_int_equal(exit.VpContext.Rip, GUEST_CODE + 3);
	guest_free(g);
}

GUEST_PROGRAM(program_triple_fault, "lidt 0x4000\n"
				    "ud2\n");

static void test_triple_fault(void **state)
{
	struct guest *g = GUEST(&plain, program_triple_fault);
	WHV_RUN_VP_EXIT_CONTEXT exit;

	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonUnrecoverableException);
	guest_free(g);
}

GUEST_PROGRAM(program_window, "out %eax, $0x10\n"
			      "sti\n"
			      "nop\n"
			      "nop\n"
			      "out %eax, $0x10\n");

static void test_interrupt_window(void **state)
{
	WHV_REGISTER_NAME notify = WHvX64RegisterDeliverabilityNotifications;
	WHV_REGISTER_NAME event = WHvRegisterPendingEvent;
	WHV_REGISTER_VALUE on = {.DeliverabilityNotifications = {.InterruptNotification = 1}};
	WHV_REGISTER_VALUE extint = {
		.ExtIntEvent = {
			.EventPending = 1, .EventType = WHvX64PendingEventExtInt, .Vector = 0x28}};
	WHV_RUN_VP_EXIT_CONTEXT exit;
	struct guest *g;

	GUEST_NEEDS_HARDWARE();
	g = GUEST(&plain, program_window);
	assert_int_equal(WHvSetVirtualProcessorRegisters(g->partition, 0, &notify, 1, &on), S_OK);
	guest_expect(g, 0, PORT_REPORT); /* interrupts are closed */
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonX64InterruptWindow);
	assert_int_equal(exit.InterruptWindow.DeliverableType, WHvX64PendingInterrupt);
	assert_true(exit.VpContext.Rflags & 0x200);
	assert_true(exit.VpContext.Rip >= GUEST_CODE + 4); /* not in the shadow of STI */
	assert_int_equal(
		WHvSetVirtualProcessorRegisters(g->partition, 0, &event, 1, &extint), S_OK);
	assert_int_equal(guest_expect(g, 0, PORT_VECTOR), 0x28);
	guest_expect(g, 0, PORT_REPORT);
	guest_free(g);
}

static void *cancel_soon(void *arg)
{
	struct guest *g = arg;

	usleep(20000);
	WHvCancelRunVirtualProcessor(g->partition, 0, 0);
	return NULL;
}

GUEST_PROGRAM(program_loop, "1: jmp 1b\n");

static void test_cancel(void **state)
{
	struct guest *g = GUEST(&plain, program_loop);
	WHV_RUN_VP_EXIT_CONTEXT exit;
	WHV_REGISTER_NAME name = WHvX64RegisterRip;
	WHV_REGISTER_VALUE value;
	pthread_t thread;

	/* Before the run: that run returns at once. */
	assert_int_equal(WHvCancelRunVirtualProcessor(g->partition, 0, 0), S_OK);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonCanceled);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(pthread_create(&thread, NULL, cancel_soon, g), 0);
		guest_run(g, 0, &exit);
		assert_int_equal(exit.ExitReason, WHvRunVpExitReasonCanceled);
		pthread_join(thread, NULL);
	}
	assert_int_equal(WHvGetVirtualProcessorRegisters(g->partition, 0, &name, 1, &value), S_OK);
	assert_int_equal(value.Reg64, GUEST_CODE);
	guest_free(g);
}

GUEST_PROGRAM(program_hypercall, "mov $0x40000000, %ecx\n"
				 "mov $1, %eax\n"
				 "xor %edx, %edx\n"
				 "wrmsr\n"
				 "mov $0x40000001, %ecx\n"
				 "mov $0x9001, %eax\n"
				 "wrmsr\n"
				 "mov $0x10008, %eax\n" /* long spin wait, fast */
				 "xor %edx, %edx\n"
				 "xor %ebx, %ebx\n"
				 "mov $100, %ecx\n"
				 "mov $0x9000, %edi\n"
				 "mov %edi, %ebp\n"
				 "xor %edi, %edi\n"
				 "xor %esi, %esi\n"
				 "call *%ebp\n"
				 "out %eax, $0x10\n"
				 "mov $0x7777, %eax\n"
				 "xor %edx, %edx\n"
				 "call *%ebp\n"
				 "out %eax, $0x10\n"
				 "mov $0x5C, %eax\n" /* post message */
				 "xor %edx, %edx\n"
				 "xor %ebx, %ebx\n"
				 "mov $0xA000, %ecx\n"
				 "call *%ebp\n"
				 "out %eax, $0x10\n");

static void test_hypercall(void **state)
{
	struct guest *g = GUEST(&plain, program_hypercall);
	uint32_t message[] = {4, 0, 1, 16};

	memcpy(g->ram + 0xA000, message, sizeof(message));
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0);
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 2);	 /* unknown call code */
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0x12); /* unknown connection */
	guest_free(g);
}

static void test_hypercall_exit(void **state)
{
	struct guest_options options = {.exits = {.HypercallExit = 1}};
	struct guest *g = GUEST(&options, program_hypercall);
	uint32_t message[] = {4, 0, 1, 16};
	WHV_RUN_VP_EXIT_CONTEXT exit;

	memcpy(g->ram + 0xA000, message, sizeof(message));
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0);
	guest_run(g, 0, &exit); /* the unknown code */
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonHypercall);
	assert_int_equal((uint32_t)exit.Hypercall.Rax, 0x7777);
	guest_set(g, 0, WHvX64RegisterRax, 0x99);
	guest_skip(g, 0, &exit);
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0x99);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonHypercall);
	assert_int_equal((uint32_t)exit.Hypercall.Rax, 0x5C);
	assert_int_equal((uint32_t)exit.Hypercall.Rcx, 0xA000);
	guest_set(g, 0, WHvX64RegisterRax, 0);
	guest_skip(g, 0, &exit);
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0);
	guest_free(g);
}

/* What is mapped, unmapped and written behind the processor's back is seen by it. */
GUEST_PROGRAM(program_remap, "1: mov 0x100000, %eax\n"
			     "out %eax, $0x10\n"
			     "jmp 1b\n");

static void test_remap(void **state)
{
	static const WHV_ACCESS_GPA_CONTROLS controls = {.CacheType = WHvCacheTypeWriteBack};
	struct guest *g = GUEST(&plain, program_remap);
	WHV_RUN_VP_EXIT_CONTEXT exit;
	uint32_t value = 0x1111;

	memcpy(g->ram + 0x100000, &value, 4);
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0x1111);
	value = 0x2222;
	assert_int_equal(
		WHvWriteGpaRange(g->partition, 0, 0x100000, controls, &value, sizeof(value)), S_OK);
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0x2222);
	assert_int_equal(WHvUnmapGpaRange(g->partition, 0x100000, 0x1000), S_OK);
	guest_run(g, 0, &exit);
	assert_int_equal(exit.ExitReason, WHvRunVpExitReasonMemoryAccess);
	assert_int_equal(exit.MemoryAccess.Gpa, 0x100000);
	assert_int_equal(WHvMapGpaRange(g->partition, g->ram + 0x180000, 0x100000, 0x1000,
				 WHvMapGpaRangeFlagRead),
		S_OK);
	value = 0x3333;
	memcpy(g->ram + 0x180000, &value, 4);
	assert_int_equal(guest_expect(g, 0, PORT_REPORT), 0x3333);
	assert_int_equal(
		WHvWriteGpaRange(g->partition, 0, 0x100000, controls, &value, 4), E_ACCESSDENIED);
	guest_free(g);
}

/* Code that somebody else rewrites is executed as it is now. */
GUEST_PROGRAM(program_rewritten, "1: mov $1, %eax\n"
				 "out %eax, $0x10\n"
				 "jmp 1b\n");

static void test_rewritten_code(void **state)
{
	static const WHV_ACCESS_GPA_CONTROLS controls = {.CacheType = WHvCacheTypeWriteBack};
	struct guest *g = GUEST(&plain, program_rewritten);

	for (uint32_t i = 1; i < 20; i++) {
		assert_int_equal(guest_expect(g, 0, PORT_REPORT), i);
		i++;
		assert_int_equal(
			WHvWriteGpaRange(g->partition, 0, GUEST_CODE + 1, controls, &i, sizeof(i)),
			S_OK);
		i--;
	}
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_detour),
		cmocka_unit_test(test_reset_in_the_middle),
		cmocka_unit_test(test_cpuid),
		cmocka_unit_test(test_msr_exit),
		cmocka_unit_test(test_msr_fault),
		cmocka_unit_test(test_exception_exit),
		cmocka_unit_test(test_halt_without_apic),
		cmocka_unit_test(test_triple_fault),
		cmocka_unit_test(test_interrupt_window),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_hypercall),
		cmocka_unit_test(test_hypercall_exit),
		cmocka_unit_test(test_remap),
		cmocka_unit_test(test_rewritten_code),
	};

	return GUEST_RUN_TESTS(tests, "exits");
}
