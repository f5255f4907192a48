/*
 * emulator_mmio.c - WHvEmulatorTryMmioEmulation: what an instruction does to the device, to memory
 * and to registers; faults; failing callbacks; how often callbacks are called.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "emulator_guest.h"

static struct guest g;

/* The code is given as a string of bytes. */
#define CODE(bytes) guest_code(&g, bytes, sizeof(bytes) - 1), code_length = sizeof(bytes) - 1

static unsigned code_length;

static uint64_t device_word(unsigned offset, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, g.device + offset, size);
	return value;
}

static void succeeds(uint64_t gpa, bool write)
{
	assert_int_equal(guest_mmio(&g, emulator, gpa, write), SUCCESS);
}

static void completes(uint64_t gpa, bool write)
{
	succeeds(gpa, write);
	assert_int_equal(g.rip.Reg64, GUEST_RIP + code_length);
	assert_int_equal(g.event.ExceptionEvent.EventPending, 0);
}

static void test_loads(void **state)
{
	guest_init(&g, 64);
	GPR(&g, Rbx) = GUEST_DEVICE;
	CODE("\x8b\x43\x10"); /* mov eax, [rbx+16] */
	GPR(&g, Rax) = ~0ull;
	completes(GUEST_DEVICE + 16, false);
	assert_int_equal(GPR(&g, Rax), device_word(16, 4));
	assert_int_equal(g.device_accesses, 1);
	assert_int_equal(g.device_log[0].size, 4);
	/* One register read, two written, no translation asked for. */
	assert_int_equal(g.gets, 1);
	assert_int_equal(g.got, 1);
	assert_int_equal(g.sets, 1);
	assert_int_equal(g.set, 2);
	assert_int_equal(g.translations, 0);

	g.rip.Reg64 = GUEST_RIP;
	CODE("\x48\x8b\x43\x10"); /* mov rax, [rbx+16] */
	completes(GUEST_DEVICE + 16, false);
	assert_int_equal(GPR(&g, Rax), device_word(16, 8));

	g.rip.Reg64 = GUEST_RIP;
	CODE("\x66\x8b\x4b\x10"); /* mov cx, [rbx+16] */
	completes(GUEST_DEVICE + 16, false);
	assert_int_equal(GPR(&g, Rcx), 0x1111111111110000ull | device_word(16, 2));

	g.rip.Reg64 = GUEST_RIP;
	GPR(&g, Rcx) = 0x1111111111111111ull;
	CODE("\x8a\x6b\x11"); /* mov ch, [rbx+17] */
	completes(GUEST_DEVICE + 17, false);
	assert_int_equal(GPR(&g, Rcx), 0x1111111111110011ull | device_word(17, 1) << 8);

	g.rip.Reg64 = GUEST_RIP;
	CODE("\x0f\xb6\x43\x12"); /* movzx eax, byte [rbx+18] */
	completes(GUEST_DEVICE + 18, false);
	assert_int_equal(GPR(&g, Rax), device_word(18, 1));

	g.rip.Reg64 = GUEST_RIP;
	g.device[19] = 0x85;
	CODE("\x48\x0f\xbe\x43\x13"); /* movsx rax, byte [rbx+19] */
	completes(GUEST_DEVICE + 19, false);
	assert_int_equal(GPR(&g, Rax), 0xffffffffffffff85ull);

	g.rip.Reg64 = GUEST_RIP;
	CODE("\xa1\x20\x00\x10\x00\x00\x00\x00\x00"); /* mov eax, [moffs 0x100020] */
	completes(GUEST_DEVICE + 32, false);
	assert_int_equal(GPR(&g, Rax), device_word(32, 4));
}

static void test_stores(void **state)
{
	guest_init(&g, 64);
	GPR(&g, Rbx) = GUEST_DEVICE;
	CODE("\x89\x4b\x20"); /* mov [rbx+32], ecx */
	GPR(&g, Rcx) = 0x1122334455667788ull;
	completes(GUEST_DEVICE + 32, true);
	assert_int_equal(g.device_accesses, 1);
	assert_true(g.device_log[0].write);
	assert_int_equal(g.device_log[0].value, 0x55667788);
	assert_int_equal(g.set, 1); /* RIP alone */

	g.rip.Reg64 = GUEST_RIP;
	CODE("\x48\xc7\x43\x28\xfe\xff\xff\xff"); /* mov qword [rbx+40], -2 */
	completes(GUEST_DEVICE + 40, true);
	assert_int_equal(device_word(40, 8), 0xfffffffffffffffeull);

	g.rip.Reg64 = GUEST_RIP;
	CODE("\x88\x6b\x30"); /* mov [rbx+48], ch */
	completes(GUEST_DEVICE + 48, true);
	assert_int_equal(g.device[48], 0x77);

	g.rip.Reg64 = GUEST_RIP;
	g.xmm[2].Reg128.Low64 = 0x0123456789abcdefull;
	g.xmm[2].Reg128.High64 = 0xfedcba9876543210ull;
	CODE("\x0f\x11\x53\x40"); /* movups [rbx+64], xmm2 */
	completes(GUEST_DEVICE + 64, true);
	assert_int_equal(device_word(64, 8), 0x0123456789abcdefull);
	assert_int_equal(device_word(72, 8), 0xfedcba9876543210ull);
}

static void test_read_modify_write(void **state)
{
	uint32_t old;

	guest_init(&g, 64);
	GPR(&g, Rbx) = GUEST_DEVICE;
	old = (uint32_t)device_word(16, 4);
	CODE("\x83\x4b\x10\x04"); /* or dword [rbx+16], 4 */
	completes(GUEST_DEVICE + 16, true);
	assert_int_equal(device_word(16, 4), old | 4);
	assert_int_equal(g.device_accesses, 2);

	g.rip.Reg64 = GUEST_RIP;
	memcpy(g.device + 20, "\xff\xff\xff\xff", 4);
	CODE("\xf0\x83\x43\x14\x01"); /* lock add dword [rbx+20], 1 */
	completes(GUEST_DEVICE + 20, true);
	assert_int_equal(device_word(20, 4), 0);
	assert_int_equal(g.rflags.Reg64 & 0x41, 0x41); /* ZF, CF */

	g.rip.Reg64 = GUEST_RIP;
	old = (uint32_t)device_word(24, 4);
	GPR(&g, Rcx) = 0xcafe;
	CODE("\x87\x4b\x18"); /* xchg [rbx+24], ecx */
	completes(GUEST_DEVICE + 24, true);
	assert_int_equal(device_word(24, 4), 0xcafe);
	assert_int_equal(GPR(&g, Rcx), old);

	g.rip.Reg64 = GUEST_RIP;
	GPR(&g, Rax) = 0xcafe;
	GPR(&g, Rcx) = 0xbeef;
	CODE("\xf0\x0f\xb1\x4b\x18"); /* lock cmpxchg [rbx+24], ecx */
	completes(GUEST_DEVICE + 24, true);
	assert_int_equal(device_word(24, 4), 0xbeef);
	assert_true(g.rflags.Reg64 & 0x40);

	g.rip.Reg64 = GUEST_RIP;
	GPR(&g, Rax) = 1;
	completes(GUEST_DEVICE + 24, true);
	assert_int_equal(GPR(&g, Rax), 0xbeef);
	assert_false(g.rflags.Reg64 & 0x40);

	g.rip.Reg64 = GUEST_RIP;
	g.device[28] = 0x02;
	CODE("\x0f\xba\x73\x1c\x01"); /* btr dword [rbx+28], 1 */
	completes(GUEST_DEVICE + 28, true);
	assert_int_equal(g.device[28], 0);
	assert_true(g.rflags.Reg64 & 1);

	g.rip.Reg64 = GUEST_RIP;
	g.device[32] = 5;
	CODE("\x80\x7b\x20\x05"); /* cmp byte [rbx+32], 5 */
	completes(GUEST_DEVICE + 32, false);
	assert_true(g.rflags.Reg64 & 0x40);

	g.rip.Reg64 = GUEST_RIP;
	CODE("\xf6\x43\x20\x02"); /* test byte [rbx+32], 2 */
	completes(GUEST_DEVICE + 32, false);
	assert_true(g.rflags.Reg64 & 0x40);
}

static void test_stack(void **state)
{
	uint64_t value;

	guest_init(&g, 64);
	GPR(&g, Rbx) = GUEST_DEVICE;
	CODE("\xff\x73\x08"); /* push qword [rbx+8] */
	completes(GUEST_DEVICE + 8, false);
	assert_int_equal(GPR(&g, Rsp), 0x7ff8);
	memcpy(&value, g.ram + 0x7ff8, 8);
	assert_int_equal(value, device_word(8, 8));

	g.rip.Reg64 = GUEST_RIP;
	value = 0x0123456789abcdefull;
	memcpy(g.ram + 0x7ff8, &value, 8);
	CODE("\x8f\x43\x10"); /* pop qword [rbx+16] */
	completes(GUEST_DEVICE + 16, true);
	assert_int_equal(GPR(&g, Rsp), 0x8000);
	assert_int_equal(device_word(16, 8), value);

	g.rip.Reg64 = GUEST_RIP;
	value = 0x4321;
	memcpy(g.device + 24, &value, 8);
	CODE("\xff\x53\x18"); /* call [rbx+24] */
	succeeds(GUEST_DEVICE + 24, false);
	assert_int_equal(g.rip.Reg64, 0x4321);
	memcpy(&value, g.ram + 0x7ff8, 8);
	assert_int_equal(value, GUEST_RIP + 3);
}

static void test_strings(void **state)
{
	guest_init(&g, 64);
	GPR(&g, Rdi) = GUEST_DEVICE;
	GPR(&g, Rcx) = 16;
	GPR(&g, Rax) = 0xa5a5a5a5a5a5a5a5ull;
	CODE("\xf3\xab"); /* rep stosd */
	completes(GUEST_DEVICE, true);
	assert_int_equal(GPR(&g, Rcx), 0);
	assert_int_equal(GPR(&g, Rdi), GUEST_DEVICE + 64);
	assert_int_equal(device_word(60, 4), 0xa5a5a5a5);
	assert_int_equal(g.device_accesses, 16);

	guest_init(&g, 64);
	GPR(&g, Rsi) = GUEST_DEVICE + 8;
	GPR(&g, Rdi) = 0x2000;
	GPR(&g, Rcx) = 3;
	g.rflags.Reg64 |= 0x400; /* DF */
	CODE("\xf3\x48\xa5");	 /* rep movsq */
	GPR(&g, Rsi) = GUEST_DEVICE + 16;
	completes(GUEST_DEVICE + 16, false);
	assert_int_equal(GPR(&g, Rsi), GUEST_DEVICE - 8);
	assert_int_equal(GPR(&g, Rdi), 0x2000 - 24);
	assert_memory_equal(g.ram + 0x2000 - 16, g.device, 24);

	guest_init(&g, 64);
	GPR(&g, Rsi) = 0x3000;
	GPR(&g, Rdi) = GUEST_DEVICE + 4;
	GPR(&g, Rcx) = 100;
	CODE("\xf3\xa4"); /* rep movsb */
	completes(GUEST_DEVICE + 4, true);
	assert_memory_equal(g.device + 4, g.ram + 0x3000, 100);

	guest_init(&g, 64);
	memset(g.device, 0, 64);
	g.device[5] = 7;
	GPR(&g, Rdi) = GUEST_DEVICE;
	GPR(&g, Rcx) = 64;
	GPR(&g, Rax) = 7;
	CODE("\xf2\xae"); /* repne scasb */
	completes(GUEST_DEVICE, false);
	assert_int_equal(GPR(&g, Rcx), 58);
	assert_true(g.rflags.Reg64 & 0x40);

	guest_init(&g, 64);
	GPR(&g, Rcx) = 0;
	GPR(&g, Rdi) = GUEST_DEVICE;
	CODE("\xf3\xaa"); /* rep stosb of nothing */
	completes(GUEST_DEVICE, true);
	assert_int_equal(g.device_accesses, 0);
}

/* A long repetition is left to be resumed, and can be. */
static void test_string_in_parts(void **state)
{
	unsigned calls = 0;

	guest_init(&g, 64);
	memset(g.device, 0, DEVICE_SIZE);
	GPR(&g, Rdi) = GUEST_DEVICE;
	GPR(&g, Rcx) = DEVICE_SIZE;
	GPR(&g, Rax) = 0x42;
	CODE("\xf3\xaa"); /* rep stosb */
	while (g.rip.Reg64 == GUEST_RIP && calls++ < 10)
		succeeds(GPR(&g, Rdi), true);
	assert_in_range(calls, 2, 4);
	assert_int_equal(GPR(&g, Rcx), 0);
	for (unsigned i = 0; i < DEVICE_SIZE; i++)
		assert_int_equal(g.device[i], 0x42);
}

static void test_page_crossing(void **state)
{
	guest_init(&g, 64);
	GPR(&g, Rbx) = GUEST_DEVICE + 0xffe;
	CODE("\x48\x89\x0b"); /* mov [rbx], rcx */
	GPR(&g, Rcx) = 0x1122334455667788ull;
	completes(GUEST_DEVICE + 0xffe, true);
	assert_int_equal(g.device_accesses, 2);
	assert_int_equal(g.device_log[0].size, 2);
	assert_int_equal(g.device_log[1].size, 6);
	assert_int_equal(device_word(0xffe, 8), 0x1122334455667788ull);

	/* Neither half is written when the second faults. */
	g.rip.Reg64 = GUEST_RIP;
	g.absent_page = GUEST_DEVICE + 0x1000;
	g.device_accesses = 0;
	succeeds(GUEST_DEVICE + 0xffe, true);
	assert_int_equal(g.device_accesses, 0);
	assert_int_equal(g.rip.Reg64, GUEST_RIP);
	assert_int_equal(g.event.ExceptionEvent.EventPending, 1);
	assert_int_equal(g.event.ExceptionEvent.Vector, 14);
	assert_int_equal(g.event.ExceptionEvent.ExceptionParameter, GUEST_DEVICE + 0x1000);
	assert_int_equal(g.event.ExceptionEvent.ErrorCode, 2);
}

static void test_modes(void **state)
{
	guest_init(&g, 32);
	GPR(&g, Rbx) = GUEST_DEVICE;
	CODE("\x8b\x43\x10"); /* mov eax, [ebx+16] */
	completes(GUEST_DEVICE + 16, false);
	assert_int_equal(GPR(&g, Rax), device_word(16, 4));

	/* Through FS with a base. */
	guest_init(&g, 32);
	g.segment[4].Segment.Base = GUEST_DEVICE;
	CODE("\x64\xa1\x08\x00\x00\x00"); /* mov eax, fs:[8] */
	completes(GUEST_DEVICE + 8, false);
	assert_int_equal(GPR(&g, Rax), device_word(8, 4));
	guest_init(&g, 64);
	g.segment[4].Segment.Base = GUEST_DEVICE;
	CODE("\x64\x8b\x04\x25\x08\x00\x00\x00");
	completes(GUEST_DEVICE + 8, false);
	assert_int_equal(GPR(&g, Rax), device_word(8, 4));

	/* Real mode reaches the device through a segment's base. */
	guest_init(&g, 16);
	g.segment[3].Segment.Base = GUEST_DEVICE;
	GPR(&g, Rbx) = 0x20;
	GPR(&g, Rsi) = 0x04;
	CODE("\x8b\x40\x02"); /* mov ax, [bx+si+2] */
	GPR(&g, Rax) = 0x55550000;
	completes(GUEST_DEVICE + 0x26, false);
	assert_int_equal(GPR(&g, Rax), 0x55550000 | device_word(0x26, 2));

	/* Beyond the limit: #GP(0). */
	guest_init(&g, 32);
	g.segment[3].Segment.Limit = 0xfff;
	g.segment[3].Segment.Granularity = 0;
	GPR(&g, Rbx) = GUEST_DEVICE;
	CODE("\x8b\x03");
	succeeds(GUEST_DEVICE, false);
	assert_int_equal(g.event.ExceptionEvent.EventPending, 1);
	assert_int_equal(g.event.ExceptionEvent.Vector, 13);
	assert_int_equal(g.event.ExceptionEvent.DeliverErrorCode, 1);
	assert_int_equal(g.rip.Reg64, GUEST_RIP);
}

/* The exit brought no or not all instruction bytes. */
static void test_fetch(void **state)
{
	for (unsigned n = 0; n < 4; n++) {
		guest_init(&g, 64);
		GPR(&g, Rbx) = GUEST_DEVICE;
		CODE("\x48\x8b\x43\x10");
		g.insn_bytes = n;
		completes(GUEST_DEVICE + 16, false);
		assert_int_equal(GPR(&g, Rax), device_word(16, 8));
	}
	guest_init(&g, 64);
	g.insn_bytes = 0;
	g.absent_page = GUEST_RIP;
	g.cpl = 3;
	succeeds(GUEST_DEVICE, false);
	assert_int_equal(g.event.ExceptionEvent.Vector, 14);
	assert_int_equal(g.event.ExceptionEvent.ErrorCode, 0x14);
	assert_int_equal(g.event.ExceptionEvent.ExceptionParameter, GUEST_RIP);
}

static void test_faults(void **state)
{
	/* The other operand is not writable: the device has been read, registers are untouched. */
	guest_init(&g, 64);
	g.read_only_page = 0x2000;
	GPR(&g, Rsi) = GUEST_DEVICE;
	GPR(&g, Rdi) = 0x2000;
	CODE("\xa5"); /* movsd */
	succeeds(GUEST_DEVICE, false);
	assert_int_equal(g.event.ExceptionEvent.Vector, 14);
	assert_int_equal(g.event.ExceptionEvent.ErrorCode, 3);
	assert_int_equal(g.event.ExceptionEvent.ExceptionParameter, 0x2000);
	assert_int_equal(GPR(&g, Rsi), GUEST_DEVICE);
	assert_int_equal(GPR(&g, Rdi), 0x2000);
	assert_int_equal(g.rip.Reg64, GUEST_RIP);

	/* A repetition keeps what it has done. */
	guest_init(&g, 64);
	g.absent_page = 0x3000;
	GPR(&g, Rsi) = GUEST_DEVICE;
	GPR(&g, Rdi) = 0x2ff8;
	GPR(&g, Rcx) = 10;
	CODE("\xf3\xa5"); /* rep movsd */
	succeeds(GUEST_DEVICE, false);
	assert_int_equal(g.event.ExceptionEvent.Vector, 14);
	assert_int_equal(g.event.ExceptionEvent.ExceptionParameter, 0x3000);
	assert_int_equal(GPR(&g, Rcx), 8);
	assert_int_equal(GPR(&g, Rdi), 0x3000);
	assert_int_equal(g.rip.Reg64, GUEST_RIP);

	/* The other operand's address is not canonical. */
	guest_init(&g, 64);
	GPR(&g, Rsi) = GUEST_DEVICE;
	GPR(&g, Rdi) = 0x800000000000ull;
	CODE("\xa5");
	succeeds(GUEST_DEVICE, false);
	assert_int_equal(g.event.ExceptionEvent.Vector, 13);
	assert_int_equal(g.event.ExceptionEvent.DeliverErrorCode, 1);
	assert_int_equal(g.translations, 0);

	/* Division by a device that reads 0. */
	guest_init(&g, 64);
	memset(g.device, 0, 8);
	GPR(&g, Rbx) = GUEST_DEVICE;
	CODE("\xf7\x33"); /* div dword [rbx] */
	succeeds(GUEST_DEVICE, false);
	assert_int_equal(g.event.ExceptionEvent.Vector, 0);
	assert_int_equal(g.event.ExceptionEvent.EventPending, 1);
	assert_int_equal(g.event.ExceptionEvent.DeliverErrorCode, 0);

	/* SSE is off. */
	guest_init(&g, 64);
	g.cr0.Reg64 |= 8; /* TS */
	GPR(&g, Rbx) = GUEST_DEVICE;
	CODE("\x0f\x10\x03"); /* movups xmm0, [rbx] */
	succeeds(GUEST_DEVICE, false);
	assert_int_equal(g.event.ExceptionEvent.Vector, 7);
}

static void fails(uint32_t status)
{
	unsigned sets = g.sets;

	assert_int_equal(guest_mmio(&g, emulator, GUEST_DEVICE, false), status);
	assert_int_equal(g.rip.Reg64, GUEST_RIP);
	assert_true(g.sets == sets || g.fail_set);
}

static void load_from_device(void)
{
	guest_init(&g, 64);
	GPR(&g, Rbx) = GUEST_DEVICE;
	CODE("\x8b\x03"); /* mov eax, [rbx] */
}

static void test_failing_callbacks(void **state)
{
	load_from_device();
	g.fail_memory = true;
	fails(1u << 3);
	load_from_device();
	g.fail_get = true;
	fails(1u << 6);
	load_from_device();
	g.fail_set = true;
	fails(1u << 7);
	load_from_device();
	g.insn_bytes = 0;
	g.fail_translate = true;
	fails(1u << 4);
	load_from_device();
	g.insn_bytes = 0;
	g.misaligned = true;
	fails(1u << 5);
	load_from_device();
	g.interruption_pending = true;
	fails(1u << 8);
	/* Not instructions for an emulator: LGDT, MOV DS, IRETQ, XSAVE, INSB, AVX. */
	load_from_device();
	CODE("\x0f\x01\x13");
	fails(1u << 1);
	CODE("\x8e\x1b");
	fails(1u << 1);
	CODE("\x48\xcf");
	fails(1u << 1);
	CODE("\x0f\xae\x23");
	fails(1u << 1);
	CODE("\x6c");
	fails(1u << 1);
	CODE("\xff\xff");
	fails(1u << 1);
	/* A page fault of the second operand is not one when its translation fails. */
	guest_init(&g, 64);
	GPR(&g, Rsi) = GUEST_DEVICE;
	GPR(&g, Rdi) = 0x2000;
	g.fail_translate = true;
	CODE("\xa5");
	fails(1u << 4);
}

/* What ends with an instruction: the interrupt shadow, RF; and what follows it: single steps. */
static void test_end_of_instruction(void **state)
{
	load_from_device();
	g.interrupt_shadow = true;
	g.interrupt_state.InterruptState.InterruptShadow = 1;
	g.interrupt_state.InterruptState.NmiMasked = 1;
	g.rflags.Reg64 |= 0x10000;
	completes(GUEST_DEVICE, false);
	assert_int_equal(g.interrupt_state.InterruptState.InterruptShadow, 0);
	assert_int_equal(g.interrupt_state.InterruptState.NmiMasked, 1);
	assert_int_equal(g.rflags.Reg64, 2);

	load_from_device();
	g.rflags.Reg64 |= 0x100;
	succeeds(GUEST_DEVICE, false);
	assert_int_equal(g.rip.Reg64, GUEST_RIP + 2);
	assert_int_equal(g.event.ExceptionEvent.EventPending, 1);
	assert_int_equal(g.event.ExceptionEvent.Vector, 1);
	assert_int_equal(g.dr6.Reg64 & 0x4000, 0x4000);
}

static void *hammer(void *argument)
{
	struct guest *mine = malloc(sizeof(*mine));
	bool ok = mine;

	for (unsigned n = 0; ok && n < 2000; n++) {
		guest_init(mine, 64);
		GPR(mine, Rbx) = GUEST_DEVICE + 8 * (n % 64);
		guest_code(mine, "\x48\x0f\xc1\x03", 4); /* xadd [rbx], rax */
		GPR(mine, Rax) = n;
		memcpy(mine->device + 8 * (n % 64), &(uint64_t){1000}, 8);
		ok = guest_mmio(mine, emulator, GPR(mine, Rbx), true) == SUCCESS &&
		     GPR(mine, Rax) == 1000 &&
		     !memcmp(mine->device + 8 * (n % 64), &(uint64_t){1000 + n}, 8);
	}
	free(mine);
	return ok ? argument : NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, &g), 0);
	for (int i = 0; i < 4; i++) {
		void *result;

		pthread_join(threads[i], &result);
		assert_ptr_equal(result, &g);
	}
}

static void test_create(void **state)
{
	WHV_EMULATOR_CALLBACKS callbacks = guest_callbacks;
	WHV_EMULATOR_HANDLE handle;

	assert_int_equal(WHvEmulatorCreateEmulator(NULL, &handle), E_INVALIDARG);
	callbacks.Size--;
	assert_int_equal(WHvEmulatorCreateEmulator(&callbacks, &handle), E_INVALIDARG);
	callbacks = guest_callbacks;
	callbacks.WHvEmulatorMemoryCallback = NULL;
	assert_int_equal(WHvEmulatorCreateEmulator(&callbacks, &handle), E_INVALIDARG);
	assert_int_equal(WHvEmulatorDestroyEmulator(NULL), E_INVALIDARG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_loads),
		cmocka_unit_test(test_stores),
		cmocka_unit_test(test_read_modify_write),
		cmocka_unit_test(test_stack),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_string_in_parts),
		cmocka_unit_test(test_page_crossing),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_fetch),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_failing_callbacks),
		cmocka_unit_test(test_end_of_instruction),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, emulator_setup, emulator_teardown);
}
