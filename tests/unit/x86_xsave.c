/*
 * x86_xsave.c - FXSAVE, FXRSTOR and the XSAVE family: what they write, leave alone, take and
 * refuse.
 */
#include "x86_fixture.h"

static void fill_state(void)
{
	for (unsigned i = 0; i < 8; i++)
		memset(s->fx.st[i], 0x20 + (int)i, 10);
	for (unsigned i = 0; i < 16; i++)
		memset(s->fx.xmm[i], 0x40 + (int)i, 16);
	s->fx.fcw = 0x27f;
	s->fx.fsw = 0x3800;
	s->fx.ftw = 0x81;
	s->fx.fip = 0x123456789abc;
	s->fx.fdp = 0x9abc12345678;
	s->fx.fop = 0x123;
	s->fx.mxcsr = 0x1fa0;
	s->gpr[X86_RAX] = 3;
	s->gpr[X86_RDX] = 0;
}

static void test_fxsave(void **state)
{
	struct x86_fx before, *area = (struct x86_fx *)(ram + DATA);

	fill_state();
	memset(area, 0xee, sizeof(*area));
	assert_int_equal(RUN(FXSAVE), HALTED);
	before = s->fx;
	assert_memory_equal(area, &before, offsetof(struct x86_fx, reserved1));
	assert_int_equal(area->mxcsr_mask, 0xffff);
	for (unsigned i = 48; i < 96; i++)
		assert_int_equal(area->reserved1[i], 0xee);
	fresh(state);
	memcpy(area, &before, sizeof(before));
	assert_int_equal(RUN(FXRSTOR), HALTED);
	assert_memory_equal(&s->fx, &before, offsetof(struct x86_fx, reserved1));
	/* Without REX.W the pointers have 32 bits. */
	assert_int_equal(RUN(0x0f, 0xae, 0x03), HALTED);
	assert_int_equal(area->fip, 0x56789abc);
	/* Reserved bits of MXCSR; nothing is taken then. */
	area->mxcsr = 0x10000;
	area->fcw = 0;
	assert_int_equal(RUN(FXRSTOR), X86_VEC_GP);
	assert_memory_equal(&s->fx, &before, offsetof(struct x86_fx, reserved1));
	/* The whole area must be there before any of it is written. */
	memset(ram + RAM_SIZE - 256, 0x77, 256);
	s->gpr[X86_RBX] = RAM_SIZE - 256;
	assert_int_equal(RUN(FXSAVE), X86_VEC_PF);
	assert_int_equal(ram[RAM_SIZE - 256], 0x77);
}

struct area {
	struct x86_fx legacy;
	uint64_t xstate_bv, xcomp_bv, reserved[6];
};

static void test_xsave(void **state)
{
	struct area *area = (struct area *)(ram + DATA);

	fill_state();
	memset(area, 0xee, sizeof(*area));
	area->xstate_bv = 0;
	s->gpr[X86_RAX] = 1;
	assert_int_equal(RUN(XSAVE), HALTED);
	assert_int_equal(area->xstate_bv, 1);
	assert_int_equal(area->xcomp_bv, 0xeeeeeeeeeeeeeeee);
	assert_int_equal(area->legacy.fcw, 0x27f);
	assert_int_equal(area->legacy.mxcsr, 0xeeeeeeee);
	assert_int_equal(area->legacy.xmm[0][0], 0xee);
	s->gpr[X86_RAX] = ~0u;
	s->gpr[X86_RDX] = ~0u;
	assert_int_equal(RUN(XSAVE), HALTED);
	assert_int_equal(area->xstate_bv, 3);
	assert_int_equal(area->legacy.mxcsr, 0x1fa0);
	assert_int_equal(area->legacy.xmm[15][0], 0x4f);
	/* XSAVE writes initial state, XSAVEOPT only says that there is some. */
	s->gpr[X86_RAX] = 3;
	s->gpr[X86_RDX] = 0;
	memset(s->fx.xmm, 0, sizeof(s->fx.xmm));
	assert_int_equal(RUN(XSAVEOPT), HALTED);
	assert_int_equal(area->xstate_bv, 1);
	assert_int_equal(area->legacy.xmm[15][0], 0x4f);
	assert_int_equal(RUN(XSAVE), HALTED);
	assert_int_equal(area->legacy.xmm[15][0], 0);
	s->cr4 &= ~X86_CR4_OSXSAVE;
	assert_int_equal(RUN(XSAVE), X86_VEC_UD);
}

static void test_xrstor(void **state)
{
	struct area *area = (struct area *)(ram + DATA);
	struct x86_fx before;

	fill_state();
	before = s->fx;
	assert_int_equal(RUN(XSAVE), HALTED);
	/* x87 from memory, SSE initial; in the standard form MXCSR is loaded all the same. */
	area->xstate_bv = 1;
	area->legacy.mxcsr = 0x5f80;
	area->legacy.fcw = 0x37f;
	assert_int_equal(RUN(XRSTOR), HALTED);
	assert_int_equal(s->fx.fcw, 0x37f);
	assert_memory_equal(s->fx.st, before.st, sizeof(before.st));
	assert_int_equal(s->fx.xmm[7][3], 0);
	assert_int_equal(s->fx.mxcsr, 0x5f80);
	/* Only what is asked for. */
	s->fx = before;
	area->xstate_bv = 0;
	s->gpr[X86_RAX] = 1;
	assert_int_equal(RUN(XRSTOR), HALTED);
	assert_int_equal(s->fx.ftw, 0);
	assert_int_equal(s->fx.st[0][0], 0);
	assert_memory_equal(s->fx.xmm, before.xmm, sizeof(before.xmm));
	assert_int_equal(s->fx.mxcsr, before.mxcsr);
}

static void test_xrstor_checks(void **state)
{
	struct area *area = (struct area *)(ram + DATA);
	struct x86_fx before;

	fill_state();
	assert_int_equal(RUN(XSAVE), HALTED);
	before = s->fx;
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		struct area good = *area;                                                          \
		change;                                                                            \
		assert_int_equal(RUN(XRSTOR), X86_VEC_GP);                                         \
		assert_memory_equal(&s->fx, &before, sizeof(before));                              \
		*area = good;                                                                      \
	} while (0)
	REFUSED(area->xstate_bv = 4);
	REFUSED(area->xcomp_bv = 1);
	REFUSED(area->reserved[0] = 1);
	REFUSED(area->legacy.mxcsr = 0x10000);
	REFUSED(area->xcomp_bv = 1ul << 63 | 4);
	REFUSED(area->xcomp_bv = 1ul << 63 | 1); /* SSE is present but not laid out */
	REFUSED((area->xcomp_bv = 1ul << 63 | 3, area->reserved[5] = 1));
#undef REFUSED
	assert_int_equal(RUN(XRSTOR), HALTED);
}

static void test_xsavec(void **state)
{
	struct area *area = (struct area *)(ram + DATA);
	struct x86_fx before;

	fill_state();
	before = s->fx;
	memset(s->fx.xmm, 0, sizeof(s->fx.xmm));
	memset(area, 0xee, sizeof(*area));
	/* A MXCSR that is not initial makes SSE count. */
	assert_int_equal(RUN(XSAVEC), HALTED);
	assert_int_equal(area->xstate_bv, 3);
	assert_int_equal(area->xcomp_bv, 1ul << 63 | 3);
	s->fx.mxcsr = 0x1f80;
	memset(area, 0xee, sizeof(*area));
	assert_int_equal(RUN(XSAVEC), HALTED);
	assert_int_equal(area->xstate_bv, 1);
	assert_int_equal(area->legacy.mxcsr, 0xeeeeeeee);
	memset(area->reserved, 0, sizeof(area->reserved));
	s->fx = before;
	assert_int_equal(RUN(XRSTOR), HALTED);
	assert_int_equal(s->fx.mxcsr, 0x1f80);
	assert_int_equal(s->fx.xmm[3][3], 0);
	assert_memory_equal(s->fx.st, before.st, sizeof(before.st));
}

static void test_xcr(void **state)
{
	s->gpr[X86_RCX] = 0;
	assert_int_equal(RUN(XGETBV), HALTED);
	assert_int_equal(s->gpr[X86_RAX], 3);
	assert_int_equal(s->gpr[X86_RDX], 0);
	s->gpr[X86_RCX] = 1;
	assert_int_equal(RUN(0x66, 0x0f, 0x76, 0xc0, XGETBV), HALTED); /* pcmpeqd xmm0, xmm0 */
	assert_int_equal(s->gpr[X86_RAX], 2);
	s->gpr[X86_RCX] = 2;
	assert_int_equal(RUN(XGETBV), X86_VEC_GP);
	assert_int_equal(RUN(XSETBV), X86_VEC_GP);
	s->gpr[X86_RCX] = 0;
	for (uint64_t value = 0; value < 16; value++) {
		s->gpr[X86_RAX] = value;
		assert_int_equal(RUN(XSETBV), value == 1 || value == 3 ? HALTED : X86_VEC_GP);
	}
	s->gpr[X86_RAX] = 3;
	s->gpr[X86_RDX] = 1;
	assert_int_equal(RUN(XSETBV), X86_VEC_GP);
	s->cr4 &= ~X86_CR4_OSXSAVE;
	assert_int_equal(RUN(XGETBV), X86_VEC_UD);
	assert_int_equal(RUN(XSETBV), X86_VEC_UD);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, fresh)
	const struct CMUnitTest tests[] = {
		TEST(test_fxsave),
		TEST(test_xsave),
		TEST(test_xrstor),
		TEST(test_xrstor_checks),
		TEST(test_xsavec),
		TEST(test_xcr),
	};

	return cmocka_run_group_tests(tests, machine_setup, machine_teardown);
}
