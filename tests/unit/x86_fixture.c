/* x86_fixture.c - see x86_fixture.h. */
#include "x86_fixture.h"

#include "x86_flat.h"

_Static_assert(RAM_SIZE == FLAT_MAPPED, "memory ends where its mapping does");

struct x86_state *s;
uint8_t *ram;

static struct flat *guest;

int machine_setup(void **state)
{
	guest = flat_create(1, 4u << 20);
	flat_small_pages(guest);
	s = x86_vcpu_state(guest->vcpu[0]);
	ram = guest->ram;
	return 0;
}

int machine_teardown(void **state)
{
	flat_destroy(guest);
	return 0;
}

int fresh(void **state)
{
	flat_start(guest, 0, FLAT_64, CODE);
	s->cr0 |= X86_CR0_MP;
	s->cr4 |= X86_CR4_OSXSAVE;
	s->xcr0 = 3;
	s->fx.fcw = 0x37f;
	s->fx.fsw = 0;
	s->fx.ftw = 0;
	s->fx.mxcsr = 0x1f80;
	s->gpr[X86_RBX] = DATA;
	memset(ram + DATA, 0, 0x1000);
	return 0;
}

int run_bytes(const uint8_t *code, size_t size)
{
	struct x86_exit exit;
	uint16_t fcw, env[14];
	uint32_t mxcsr;

	flat_write(guest, CODE, code, (unsigned)size);
	flat_write(guest, CODE + size, (uint8_t[]){0xf4}, 1);
	s->rip = CODE;
	exit = flat_run(guest, 0).exit;
	/* Whatever ran, the host's own units are as the ABI wants them. */
	asm volatile("stmxcsr %0\n\tfnstcw %1\n\tfnstenv %2\n\tfldenv %2"
		     : "=m"(mxcsr), "=m"(fcw), "=m"(env));
	assert_int_equal(mxcsr & 0xffc0, 0x1f80);
	assert_int_equal(fcw, 0x37f);
	assert_int_equal(env[4], 0xffff);
	if (exit.reason == X86_EXIT_HALT)
		return HALTED;
	assert_int_equal(exit.reason, X86_EXIT_EXCEPTION);
	return exit.exception.vector;
}
