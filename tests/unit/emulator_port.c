/*
 * emulator_port.c - WHvEmulatorTryIoEmulation: IN, OUT, INS, OUTS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "emulator_guest.h"

#define PORT 0x1f0

static struct guest g;

#define CODE(bytes) guest_code(&g, bytes, sizeof(bytes) - 1), code_length = sizeof(bytes) - 1

static unsigned code_length;

static void plain(unsigned size, bool write, bool with_length)
{
	assert_int_equal(guest_port(&g, emulator, PORT, size, write, false, false,
				 with_length ? code_length : 0),
		SUCCESS);
	assert_int_equal(g.rip.Reg64, GUEST_RIP + code_length);
}

static void string(unsigned size, bool write, bool rep)
{
	assert_int_equal(guest_port(&g, emulator, PORT, size, write, true, rep, 0), SUCCESS);
}

static void test_in(void **state)
{
	for (int with_length = 0; with_length < 2; with_length++) {
		guest_init(&g, 64);
		GPR(&g, Rax) = ~0ull;
		g.port_data = 0x12345678;
		CODE("\xec"); /* in al, dx */
		plain(1, false, with_length);
		assert_int_equal(GPR(&g, Rax), 0xffffffffffffff78ull);
		assert_int_equal(g.gets, 0);
		assert_int_equal(g.sets, 1);
		g.rip.Reg64 = GUEST_RIP;
		g.port_data = 0x12345678;
		CODE("\x66\xed");
		plain(2, false, with_length);
		assert_int_equal(GPR(&g, Rax), 0xffffffffffff5678ull);
		g.rip.Reg64 = GUEST_RIP;
		g.port_data = 0x12345678;
		CODE("\xe5\xf0");
		plain(4, false, with_length);
		assert_int_equal(GPR(&g, Rax), 0x12345678ull);
	}
}

static void test_out(void **state)
{
	guest_init(&g, 32);
	GPR(&g, Rax) = 0x87654321;
	CODE("\xee");
	plain(1, true, true);
	assert_int_equal(g.port_log[0].value, 0x21);
	assert_int_equal(g.port_log[0].address, PORT);
	assert_int_equal(g.set, 1);
	g.rip.Reg64 = GUEST_RIP;
	CODE("\x66\xef");
	plain(2, true, false);
	assert_int_equal(g.port_log[1].value, 0x4321);
	g.rip.Reg64 = GUEST_RIP;
	CODE("\xef");
	plain(4, true, false);
	assert_int_equal(g.port_log[2].value, 0x87654321);
	assert_int_equal(g.port_log[2].size, 4);
}

static void test_ins(void **state)
{
	guest_init(&g, 64);
	g.port_data = 0x31;
	GPR(&g, Rdi) = 0x2000;
	CODE("\x6c"); /* insb */
	string(1, false, false);
	assert_int_equal(g.ram[0x2000], 0x31);
	assert_int_equal(GPR(&g, Rdi), 0x2001);
	assert_int_equal(GPR(&g, Rax), 0);
	assert_int_equal(g.rip.Reg64, GUEST_RIP + 1);
	assert_int_equal(g.gets, 0);

	/* Backwards, words, across a page. */
	guest_init(&g, 64);
	g.port_data = 0x0100;
	GPR(&g, Rdi) = 0x3001;
	GPR(&g, Rcx) = 3;
	g.rflags.Reg64 |= 0x400;
	CODE("\xf3\x66\x6d"); /* rep insw */
	string(2, false, true);
	assert_memory_equal(g.ram + 0x2ffd, "\x02\x01\x01\x01\x00\x01", 6);
	assert_int_equal(GPR(&g, Rdi), 0x2ffb);
	assert_int_equal(GPR(&g, Rcx), 0);
	assert_int_equal(g.rip.Reg64, GUEST_RIP + 3);

	/* REX.W does not widen it. */
	guest_init(&g, 64);
	g.port_data = 0x11223344;
	memset(g.ram + 0x2000, 0, 16);
	GPR(&g, Rdi) = 0x2000;
	CODE("\x48\x6d");
	string(4, false, false);
	assert_memory_equal(g.ram + 0x2000, "\x44\x33\x22\x11\0\0\0\0", 8);
	assert_int_equal(GPR(&g, Rdi), 0x2004);
}

static void test_outs(void **state)
{
	guest_init(&g, 64);
	GPR(&g, Rsi) = 0x4ffe;
	GPR(&g, Rcx) = 4;
	GPR(&g, Rax) = 0x77;
	CODE("\xf3\x6f"); /* rep outsd, the first across a page */
	string(4, true, true);
	assert_int_equal(g.port_accesses, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_memory_equal(&g.port_log[i].value, g.ram + 0x4ffe + 4 * i, 4);
	assert_int_equal(GPR(&g, Rsi), 0x500e);
	assert_int_equal(GPR(&g, Rcx), 0);
	assert_int_equal(GPR(&g, Rax), 0x77);

	/* With an override and 16-bit addresses, which wrap, in 32-bit code. */
	guest_init(&g, 32);
	g.segment[5].Segment.Base = 0x1000;
	GPR(&g, Rsi) = 0xdead4000;
	GPR(&g, Rcx) = 0xbeef0002;
	CODE("\xf3\x65\x67\x6e"); /* rep outsb gs:[si] */
	string(1, true, true);
	assert_int_equal(g.port_accesses, 2);
	assert_int_equal(g.port_log[0].value, g.ram[0x5000]);
	assert_int_equal(g.port_log[1].value, g.ram[0x5001]);
	assert_int_equal(GPR(&g, Rsi), 0xdead4002);
	assert_int_equal(GPR(&g, Rcx), 0xbeef0000);

	guest_init(&g, 16);
	g.segment[3].Segment.Base = 0x6000;
	GPR(&g, Rsi) = 0x10;
	GPR(&g, Rcx) = 2;
	CODE("\xf3\x6f"); /* rep outsw in real mode */
	string(2, true, true);
	assert_memory_equal(&g.port_log[1].value, g.ram + 0x6012, 2);
}

static void test_nothing_to_do(void **state)
{
	guest_init(&g, 64);
	GPR(&g, Rcx) = 0;
	CODE("\xf3\x6c");
	string(1, false, true);
	assert_int_equal(g.port_accesses, 0);
	assert_int_equal(g.rip.Reg64, GUEST_RIP + 2);
}

static void test_in_parts(void **state)
{
	unsigned calls = 0;

	guest_init(&g, 64);
	GPR(&g, Rsi) = 0x2000;
	GPR(&g, Rcx) = 0x2000;
	CODE("\xf3\x6e");
	while (g.rip.Reg64 == GUEST_RIP && calls++ < 10)
		string(1, true, true);
	assert_in_range(calls, 2, 4);
	assert_int_equal(g.port_accesses, 0x2000);
	assert_int_equal(GPR(&g, Rsi), 0x4000);
}

/* A page fault of INS comes before the port is read. */
static void test_faults(void **state)
{
	guest_init(&g, 64);
	g.absent_page = 0x2000;
	GPR(&g, Rdi) = 0x1ffe;
	GPR(&g, Rcx) = 5;
	CODE("\xf3\x6c");
	string(1, false, true);
	assert_int_equal(g.port_accesses, 2);
	assert_int_equal(GPR(&g, Rcx), 3);
	assert_int_equal(GPR(&g, Rdi), 0x2000);
	assert_int_equal(g.rip.Reg64, GUEST_RIP);
	assert_int_equal(g.event.ExceptionEvent.Vector, 14);
	assert_int_equal(g.event.ExceptionEvent.ErrorCode, 2);
	assert_int_equal(g.event.ExceptionEvent.ExceptionParameter, 0x2000);
}

static void test_failing_callbacks(void **state)
{
	guest_init(&g, 64);
	g.fail_port = true;
	CODE("\xec");
	assert_int_equal(guest_port(&g, emulator, PORT, 1, false, false, false, 1), 1u << 2);
	assert_int_equal(g.sets, 0);
	GPR(&g, Rdi) = 0x2000;
	CODE("\x6c");
	assert_int_equal(guest_port(&g, emulator, PORT, 1, false, true, false, 1), 1u << 2);
	assert_int_equal(g.sets, 0);
	g.fail_port = false;
	g.fail_memory = true;
	assert_int_equal(guest_port(&g, emulator, PORT, 1, false, true, false, 1), 1u << 3);
	assert_int_equal(g.sets, 0);
	/* Not a string instruction though the exit says so. */
	g.fail_memory = false;
	CODE("\x90");
	assert_int_equal(guest_port(&g, emulator, PORT, 1, false, true, false, 1), 1u << 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in),
		cmocka_unit_test(test_out),
		cmocka_unit_test(test_ins),
		cmocka_unit_test(test_outs),
		cmocka_unit_test(test_nothing_to_do),
		cmocka_unit_test(test_in_parts),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_failing_callbacks),
	};

	return cmocka_run_group_tests(tests, emulator_setup, emulator_teardown);
}
