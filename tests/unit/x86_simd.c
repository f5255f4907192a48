/*
 * x86_simd.c - x87, MMX and SSE where the host processor is no oracle: which exceptions they raise
 * under the guest's control registers, what is left behind then, what a hostile state image can do,
 * and that instructions which are not reported never reach the host.
 */
#include "x86_fixture.h"

static void set_double(uint8_t reg[16], double value)
{
	memcpy(reg, &value, sizeof(value));
}

static double get_double(const uint8_t reg[16])
{
	double value;

	memcpy(&value, reg, sizeof(value));
	return value;
}

/* ---- Availability --------------------------------------------------------------------------- */

static void test_control_registers(void **state)
{
	static const struct {
		const char *name;
		uint8_t code[5], size;
		int em, ts, no_osfxsr;
	} cases[] = {
		{"addps", {ADDPS}, 3, X86_VEC_UD, X86_VEC_NM, X86_VEC_UD},
		{"pxor", {PXOR}, 4, X86_VEC_UD, X86_VEC_NM, X86_VEC_UD},
		{"paddsb", {PADDSB}, 4, X86_VEC_UD, X86_VEC_NM, X86_VEC_UD},
		{"movaps", {MOVAPS}, 3, X86_VEC_UD, X86_VEC_NM, X86_VEC_UD},
		{"stmxcsr", {STMXCSR}, 3, X86_VEC_UD, X86_VEC_NM, X86_VEC_UD},
		{"paddb mm", {PADDB_MMX}, 3, X86_VEC_UD, X86_VEC_NM, HALTED},
		{"emms", {EMMS}, 2, X86_VEC_UD, X86_VEC_NM, HALTED},
		{"cvtpi2ps mm", {CVTPI2PS}, 3, X86_VEC_UD, X86_VEC_NM, X86_VEC_UD},
		{"fld1", {FLD1}, 2, X86_VEC_NM, X86_VEC_NM, HALTED},
		{"fninit", {FNINIT}, 2, X86_VEC_NM, X86_VEC_NM, HALTED},
		{"fnstsw", {FNSTSW_AX}, 2, X86_VEC_NM, X86_VEC_NM, HALTED},
		{"fxsave", {FXSAVE}, 4, X86_VEC_NM, X86_VEC_NM, HALTED},
		{"xsave", {XSAVE}, 4, HALTED, X86_VEC_NM, HALTED},
		{"fwait", {FWAIT}, 1, HALTED, X86_VEC_NM, HALTED},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("%s\n", cases[i].name);
		fresh(state);
		assert_int_equal(run_bytes(cases[i].code, cases[i].size), HALTED);
		fresh(state);
		s->cr0 |= X86_CR0_EM;
		assert_int_equal(run_bytes(cases[i].code, cases[i].size), cases[i].em);
		fresh(state);
		s->cr0 |= X86_CR0_TS;
		assert_int_equal(run_bytes(cases[i].code, cases[i].size), cases[i].ts);
		fresh(state);
		s->cr4 &= ~X86_CR4_OSFXSR;
		assert_int_equal(run_bytes(cases[i].code, cases[i].size), cases[i].no_osfxsr);
	}
	/* #UD goes before #NM; FWAIT looks at MP. */
	fresh(state);
	s->cr0 |= X86_CR0_TS;
	s->cr4 &= ~X86_CR4_OSFXSR;
	assert_int_equal(RUN(ADDPS), X86_VEC_UD);
	fresh(state);
	s->cr0 = (s->cr0 | X86_CR0_TS) & ~X86_CR0_MP;
	assert_int_equal(RUN(FWAIT), HALTED);
}

static void test_availability_before_segment(void **state)
{
	/* In 32-bit code: SS is too short for [ebp], but the unit is not there at all. */
	fresh(state);
	s->seg[X86_CS].attributes = 0xb | X86_SEG_S | X86_SEG_P | X86_SEG_DB | X86_SEG_G;
	s->seg[X86_SS].limit = 0xfff;
	s->gpr[X86_RBP] = DATA;
	s->cr0 |= X86_CR0_TS;
	assert_int_equal(RUN(0x0f, 0x28, 0x45, 0x00), X86_VEC_NM);
	assert_int_equal(RUN(0xdd, 0x45, 0x00), X86_VEC_NM);
	assert_int_equal(RUN(0xd9, 0x7d, 0x00), X86_VEC_NM);
	assert_int_equal(RUN(0x0f, 0xfc, 0x45, 0x00), X86_VEC_NM);
	assert_int_equal(RUN(0x0f, 0xae, 0x65, 0x00), X86_VEC_NM);
	s->cr0 &= ~X86_CR0_TS;
	assert_int_equal(RUN(0x0f, 0x28, 0x45, 0x00), X86_VEC_SS);
	assert_int_equal(RUN(0xdd, 0x45, 0x00), X86_VEC_SS);
}

static void test_unreported_are_undefined(void **state)
{
	static const struct {
		const char *name;
		uint8_t code[12];
	} cases[] = {
		{"vaddps xmm", {0xc5, 0xf0, 0x58, 0xc2}},
		{"vpxor ymm", {0xc5, 0xf5, 0xef, 0xc2}},
		{"vzeroupper", {0xc5, 0xf8, 0x77}},
		{"vldmxcsr", {0xc5, 0xf8, 0xae, 0x13}},
		{"vfmadd231ps", {0xc4, 0xe2, 0x71, 0xb8, 0xc2}},
		{"vcvtph2ps", {0xc4, 0xe2, 0x79, 0x13, 0xc1}},
		{"vaesenc", {0xc4, 0xe2, 0x71, 0xdc, 0xc2}},
		{"andn", {0xc4, 0xe2, 0x70, 0xf2, 0xc2}},
		{"vaddps zmm", {0x62, 0xf1, 0x74, 0x48, 0x58, 0xc2}},
		{"xop vpcmov", {0x8f, 0xe8, 0x70, 0xa2, 0xc2, 0x30}},
		{"sha1msg1", {0x0f, 0x38, 0xc9, 0xc1}},
		{"sha256rnds2", {0x0f, 0x38, 0xcb, 0xc1}},
		{"gf2p8mulb", {0x66, 0x0f, 0x38, 0xcf, 0xc1}},
		{"extrq", {0x66, 0x0f, 0x79, 0xc1}},
		{"insertq", {0xf2, 0x0f, 0x79, 0xc1}},
		{"movntss", {0xf3, 0x0f, 0x2b, 0x03}},
		{"femms", {0x0f, 0x0e}},
		{"pfadd", {0x0f, 0x0f, 0xc1, 0x9e}},
		{"xsaves", {0x48, 0x0f, 0xc7, 0x2b}},
		{"xrstors", {0x48, 0x0f, 0xc7, 0x1b}},
		{"adcx", {0x66, 0x0f, 0x38, 0xf6, 0xc1}},
		{"movdiri", {0x0f, 0x38, 0xf9, 0x03}},
		{"lock addps", {0xf0, 0x0f, 0x58, 0x03}},
		{"movhlps opcode with 66", {0x66, 0x0f, 0x12, 0xc1}},
		{"reserved x87", {0xd9, 0xd1}},
		{"reserved x87", {0xdb, 0xff}},
		{"reserved x87 memory", {0xd9, 0x0b}},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("%s\n", cases[i].name);
		fresh(state);
		assert_int_equal(run_bytes(cases[i].code, sizeof(cases[i].code)), X86_VEC_UD);
		assert_int_equal(s->rip, CODE);
	}
}

static void test_alignment(void **state)
{
	static const struct {
		const char *name;
		uint8_t code[8], size;
		bool aligned;
	} cases[] = {
		{"movaps load", {0x0f, 0x28, 0x03}, 3, true},
		{"movaps store", {0x0f, 0x29, 0x03}, 3, true},
		{"movntdq", {0x66, 0x0f, 0xe7, 0x03}, 4, true},
		{"pxor", {0x66, 0x0f, 0xef, 0x03}, 4, true},
		{"paddsb", {0x66, 0x0f, 0xec, 0x03}, 4, true},
		{"addps", {0x0f, 0x58, 0x03}, 3, true},
		{"pshufd", {0x66, 0x0f, 0x70, 0x03, 0x1b}, 5, true},
		{"aesenc", {0x66, 0x0f, 0x38, 0xdc, 0x03}, 5, true},
		{"cvtpd2pi", {0x66, 0x0f, 0x2d, 0x03}, 4, true},
		{"fxsave", {0x0f, 0xae, 0x03}, 3, true},
		{"fxrstor", {0x0f, 0xae, 0x0b}, 3, true},
		{"xsave", {0x0f, 0xae, 0x23}, 3, true},
		{"xrstor", {0x0f, 0xae, 0x2b}, 3, true},
		{"movups", {0x0f, 0x10, 0x03}, 3, false},
		{"movdqu store", {0xf3, 0x0f, 0x7f, 0x03}, 4, false},
		{"lddqu", {0xf2, 0x0f, 0xf0, 0x03}, 4, false},
		{"addsd", {0xf2, 0x0f, 0x58, 0x03}, 4, false},
		{"pcmpistri", {0x66, 0x0f, 0x3a, 0x63, 0x03, 0}, 6, false},
		{"pmovzxbw", {0x66, 0x0f, 0x38, 0x30, 0x03}, 5, false},
		{"paddb mm", {0x0f, 0xfc, 0x03}, 3, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("%s\n", cases[i].name);
		fresh(state);
		s->gpr[X86_RBX] = DATA + 8;
		assert_int_equal(run_bytes(cases[i].code, cases[i].size),
			cases[i].aligned ? X86_VEC_GP : HALTED);
	}
	/* XSAVE areas are aligned to 64. */
	fresh(state);
	s->gpr[X86_RBX] = DATA + 16;
	assert_int_equal(RUN(XSAVE), X86_VEC_GP);
	assert_int_equal(RUN(FXSAVE), HALTED);
}

/* ---- MXCSR ---------------------------------------------------------------------------------- */

static void test_mxcsr_load(void **state)
{
	uint32_t value = 0xffff;

	memcpy(ram + DATA, &value, 4);
	assert_int_equal(RUN(LDMXCSR), HALTED);
	assert_int_equal(s->fx.mxcsr, 0xffff);
	value = 0x11f80;
	memcpy(ram + DATA, &value, 4);
	assert_int_equal(RUN(LDMXCSR), X86_VEC_GP);
	assert_int_equal(s->fx.mxcsr, 0xffff);
	assert_int_equal(RUN(STMXCSR), HALTED);
	memcpy(&value, ram + DATA, 4);
	assert_int_equal(value, 0xffff);
}

static void test_mxcsr_modes(void **state)
{
	static const int rounded[] = {2, 2, 3, 2}; /* of 2.5: nearest, down, up, zero */

	for (unsigned rc = 0; rc < 4; rc++) {
		fresh(state);
		s->fx.mxcsr = 0x1f80 | rc << 13;
		set_double(s->fx.xmm[0], 2.5);
		assert_int_equal(RUN(CVTSD2SI), HALTED);
		assert_int_equal(s->gpr[X86_RAX], rounded[rc]);
		assert_int_equal(s->fx.mxcsr, 0x1f80 | rc << 13 | 0x20);
	}
	/* A result that is tiny: kept, or flushed. */
	for (unsigned ftz = 0; ftz < 2; ftz++) {
		fresh(state);
		s->fx.mxcsr = 0x1f80 | ftz << 15;
		set_double(s->fx.xmm[0], 0x1p-1000);
		set_double(s->fx.xmm[1], 0x1p-60);
		assert_int_equal(RUN(MULSD), HALTED);
		assert_true(get_double(s->fx.xmm[0]) == (ftz ? 0 : 0x1p-1060));
	}
	/* A denormal operand: noticed, or taken as zero. */
	for (unsigned daz = 0; daz < 2; daz++) {
		fresh(state);
		s->fx.mxcsr = 0x1f80 | daz << 6;
		set_double(s->fx.xmm[0], 0x1p-1060);
		set_double(s->fx.xmm[1], 0x1p100);
		assert_int_equal(RUN(MULSD), HALTED);
		assert_true(get_double(s->fx.xmm[0]) == (daz ? 0 : 0x1p-960));
		assert_int_equal(s->fx.mxcsr & 0x3f, daz ? 0 : 0x02);
	}
}

static void test_xm(void **state)
{
	/* Division by zero, unmasked: nothing but the flag changes. */
	s->fx.mxcsr = 0x1d80;
	set_double(s->fx.xmm[0], 3);
	assert_int_equal(RUN(DIVSD), X86_VEC_XM);
	assert_int_equal(s->rip, CODE);
	assert_true(get_double(s->fx.xmm[0]) == 3);
	assert_int_equal(s->fx.mxcsr, 0x1d84);
	/* A flag that was set before raises nothing by itself. */
	set_double(s->fx.xmm[1], 2);
	assert_int_equal(RUN(DIVSD), HALTED);
	assert_true(get_double(s->fx.xmm[0]) == 1.5);
	assert_int_equal(s->fx.mxcsr, 0x1d84);
	/* Without OSXMMEXCPT it is #UD. */
	s->cr4 &= ~X86_CR4_OSXMMEXCPT;
	set_double(s->fx.xmm[1], 0);
	assert_int_equal(RUN(DIVSD), X86_VEC_UD);
	assert_true(get_double(s->fx.xmm[0]) == 1.5);
}

static void test_xm_keeps_flags_and_registers(void **state)
{
	const uint64_t nan = 0x7ff0000000000001;

	s->fx.mxcsr = 0x1f00;
	memcpy(s->fx.xmm[0], &nan, 8);
	s->rflags = X86_FLAG_CF | X86_FLAG_SF | X86_FLAG_1;
	assert_int_equal(RUN(COMISD), X86_VEC_XM);
	assert_int_equal(s->rflags & X86_FLAGS_ARITH, X86_FLAG_CF | X86_FLAG_SF);
	s->gpr[X86_RAX] = 0x123456789abcdef0;
	assert_int_equal(RUN(CVTSD2SI), X86_VEC_XM);
	assert_int_equal(s->gpr[X86_RAX], 0x123456789abcdef0);
	assert_int_equal(s->fx.mxcsr, 0x1f01);
}

static void test_xm_underflow(void **state)
{
	/* Tiny but exact: no underflow when masked, but one when not, whatever FTZ says. */
	set_double(s->fx.xmm[0], 0x1p-1000);
	set_double(s->fx.xmm[1], 0x1p-60);
	assert_int_equal(RUN(MULSD), HALTED);
	assert_int_equal(s->fx.mxcsr, 0x1f80);
	for (unsigned ftz = 0; ftz < 2; ftz++) {
		fresh(state);
		s->fx.mxcsr = 0x1780 | ftz << 15;
		set_double(s->fx.xmm[0], 0x1p-1000);
		set_double(s->fx.xmm[1], 0x1p-60);
		assert_int_equal(RUN(MULSD), X86_VEC_XM);
		assert_int_equal(s->fx.mxcsr & 0x3f, 0x10);
		assert_true(get_double(s->fx.xmm[0]) == 0x1p-1000);
	}
}

/* ---- x87 ------------------------------------------------------------------------------------ */

static void test_mf(void **state)
{
	/* 1 / 0 with ZM clear: the next waiting instruction finds out. */
	s->fx.fcw = 0x37b;
	assert_int_equal(RUN(FLD1, FLDZ, FDIVP), HALTED);
	assert_int_equal(s->fx.fsw & 0x80ff, 0x8084);
	assert_int_equal(RUN(FNSTSW_AX), HALTED);
	assert_int_equal(s->gpr[X86_RAX] & 0x80ff, 0x8084);
	assert_int_equal(RUN(FWAIT), X86_VEC_MF);
	assert_int_equal(RUN(FLD1), X86_VEC_MF);
	assert_int_equal(RUN(FSTP_D), X86_VEC_MF);
	assert_int_equal(RUN(PADDB_MMX), X86_VEC_MF);
	assert_int_equal(RUN(EMMS), X86_VEC_MF);
	assert_int_equal(RUN(CVTPI2PS), X86_VEC_MF);
	assert_int_equal(RUN(ADDPS), HALTED);
	assert_int_equal(RUN(FNCLEX, FWAIT), HALTED);
	assert_int_equal(s->fx.fsw & 0x80ff, 0);
}

/*
 * A state image with exceptions pending, in each way it can get in, must not reach the host's unit.
 */
static void test_mf_from_images(void **state)
{
	static const uint16_t env[14] = {0x0340, 0xffff, 0x0001, 0xffff, 0xffff, 0xffff};
	struct x86_fx *area = (struct x86_fx *)(ram + DATA);

	s->fx.fcw = 0;
	s->fx.fsw = 0x003f;
	assert_int_equal(RUN(FLD1), X86_VEC_MF);
	assert_int_equal(s->fx.fsw & 0x8080, 0x8080);

	fresh(state);
	area->fcw = 0xffc0;
	area->fsw = 0x0001;
	area->mxcsr = 0x1f80;
	assert_int_equal(RUN(FXRSTOR, FLD1), X86_VEC_MF);
	assert_int_equal(s->fx.fsw, 0x8081);
	assert_int_equal(s->fx.fcw, 0x1f40);

	fresh(state);
	area->fsw = 0x0001;
	((uint64_t *)(area + 1))[0] = 3;
	area->mxcsr = 0x1f80;
	s->gpr[X86_RAX] = 3;
	assert_int_equal(RUN(XRSTOR, PADDB_MMX), X86_VEC_MF);

	fresh(state);
	memcpy(ram + DATA, env, sizeof(env));
	assert_int_equal(RUN(0xd9, 0x23, FLD1), X86_VEC_MF); /* fldenv [rbx] */

	fresh(state);
	assert_int_equal(RUN(0xd9, 0x2b), HALTED); /* fldcw [rbx], of zero */
	assert_int_equal(s->fx.fcw, 0x0040);

	/* Summary without a cause is no exception. */
	fresh(state);
	s->fx.fsw = 0x80ff;
	assert_int_equal(RUN(FLD1, FWAIT), HALTED);
}

static void test_x87_store_is_restartable(void **state)
{
	s->gpr[X86_RCX] = UNMAPPED;
	assert_int_equal(RUN(FLD1, 0xdd, 0x19), X86_VEC_PF); /* fstp qword [rcx] */
	assert_int_equal(s->rip, CODE + 2);
	assert_int_equal(s->fx.fsw, 0x3800);
	assert_int_equal(s->fx.ftw, 0x80);
	assert_int_equal(RUN(FSTP_D), HALTED);
	assert_true(get_double(ram + DATA) == 1);
	assert_int_equal(s->fx.ftw, 0);
	/* The stack turns. */
	fresh(state);
	assert_int_equal(RUN(FLD1, FLDZ, FSTP_D), HALTED);
	assert_true(get_double(ram + DATA) == 0);
	assert_int_equal(s->fx.st[0][9], 0x3f);
	assert_int_equal(s->fx.st[7][9], 0);
	/* FNINIT makes R0 ST(0) and leaves contents. */
	assert_int_equal(RUN(FNINIT), HALTED);
	assert_int_equal(s->fx.st[0][9], 0);
	assert_int_equal(s->fx.st[7][9], 0x3f);
}

static void test_x87_unmasked_store(void **state)
{
	/*
	 * The largest extended real does not fit a double: with OM clear memory keeps what it has.
	 */
	memset(s->fx.st[0], 0xff, 8);
	s->fx.st[0][8] = 0xfe;
	s->fx.st[0][9] = 0x7f;
	s->fx.ftw = 0x01;
	s->fx.fcw = 0x377;
	set_double(ram + DATA, 42);
	assert_int_equal(RUN(FSTP_D), HALTED);
	assert_true(get_double(ram + DATA) == 42);
	assert_int_equal(s->fx.ftw, 0x01);
	assert_int_equal(s->fx.fsw & 0x8088, 0x8088);
}

static void test_x87_pointers(void **state)
{
	s->gpr[X86_RBX] = DATA + 64;
	assert_int_equal(RUN(0xdd, 0x43, 0x08), HALTED); /* fld qword [rbx + 8] */
	assert_int_equal(s->fx.fip, CODE);
	assert_int_equal(s->fx.fdp, DATA + 72);
	assert_int_equal(s->fx.fop, 0x543);
	assert_int_equal(RUN(0x90, 0xd9, 0x7b, 0x00), HALTED); /* fnstcw: control, leaves them */
	assert_int_equal(s->fx.fip, CODE);
	assert_int_equal(RUN(0x90, 0xd9, 0xe0), HALTED); /* fchs */
	assert_int_equal(s->fx.fip, CODE + 1);
	assert_int_equal(s->fx.fop, 0x1e0);
	assert_int_equal(RUN(FNINIT), HALTED);
	assert_int_equal(s->fx.fip | s->fx.fdp | s->fx.fop, 0);
}

static void test_mmx_state(void **state)
{
	/* With TOP 3, MM0 is ST(5). */
	for (unsigned i = 0; i < 8; i++)
		memset(s->fx.st[i], 0x10 + (int)i, 10);
	s->fx.fsw = 3 << 11;
	s->fx.ftw = 0x08;
	assert_int_equal(RUN(0x0f, 0x7f, 0x03), HALTED); /* movq [rbx], mm0 */
	assert_int_equal(ram[DATA], 0x15);
	assert_int_equal(s->fx.fsw, 0);
	assert_int_equal(s->fx.ftw, 0xff);
	assert_int_equal(s->fx.st[0][0], 0x15);
	assert_int_equal(s->fx.st[0][9], 0x15);
	assert_int_equal(s->fx.st[3][0], 0x10);
	/* A write sets the exponent's bits. */
	assert_int_equal(RUN(0x0f, 0x6f, 0xca), HALTED); /* movq mm1, mm2 */
	assert_int_equal(s->fx.st[1][0], s->fx.st[2][0]);
	assert_int_equal(s->fx.st[1][8], 0xff);
	assert_int_equal(s->fx.st[1][9], 0xff);
	assert_int_equal(RUN(EMMS), HALTED);
	assert_int_equal(s->fx.ftw, 0);
	/* A fault leaves all that alone. */
	s->fx.fsw = 3 << 11;
	s->gpr[X86_RCX] = UNMAPPED;
	assert_int_equal(RUN(0x0f, 0x6f, 0x01), X86_VEC_PF); /* movq mm0, [rcx] */
	assert_int_equal(s->fx.fsw, 3 << 11);
	assert_int_equal(s->fx.ftw, 0);
}

static void test_environment(void **state)
{
	uint32_t env[27];

	assert_int_equal(RUN(FLD1, FLDZ, 0xdd, 0x33), HALTED); /* fnsave [rbx] */
	memcpy(env, ram + DATA, sizeof(env));
	assert_int_equal(env[0], 0xffff037f);
	assert_int_equal(env[1], 0xffff3000);
	assert_int_equal(env[2], 0xffff1fff); /* R7 valid, R6 zero, the rest empty */
	assert_int_equal(s->fx.ftw, 0);
	assert_int_equal(s->fx.fsw, 0);
	assert_int_equal(RUN(0xdd, 0x23), HALTED); /* frstor [rbx] */
	assert_int_equal(s->fx.ftw, 0xc0);
	assert_int_equal(s->fx.fsw, 0x3000);
	assert_int_equal(s->fx.st[1][9], 0x3f);
	/* 16-bit form. */
	memset(ram + DATA, 0xee, 32);
	assert_int_equal(RUN(0x66, 0xd9, 0x33), HALTED); /* fnstenv [rbx] */
	assert_int_equal(ram[DATA + 13], 0);
	assert_int_equal(ram[DATA + 14], 0xee);
	assert_int_equal(s->fx.fcw & 0x3f, 0x3f);
}

/* ---- Limits --------------------------------------------------------------------------------- */

/* However many different instructions a guest executes, each has its thunk. */
static void test_thunks_never_run_out(void **state)
{
	static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};
	static const uint8_t with_imm8_0f[] = {0x70, 0x71, 0x72, 0x73, 0xc2, 0xc4, 0xc5, 0xc6};
	unsigned done = 0, last = 0;

	for (unsigned pass = 0; pass < 2; pass++) {
		done = 0;
		for (unsigned opcode = 0; opcode < 256 + sizeof(with_imm8_0f); opcode++) {
			for (unsigned k = 0; k < 4 * 2 * 2 * 8; k++) {
				bool f3a = opcode < 256;
				unsigned group = k & 7;
				bool shift = !f3a && with_imm8_0f[opcode - 256] >= 0x71 &&
					     with_imm8_0f[opcode - 256] <= 0x73;
				uint8_t code[9], n = 0, at;

				if (!shift && group)
					continue;
				if (prefixes[k >> 3 & 3])
					code[n++] = prefixes[k >> 3 & 3];
				if (k >> 5 & 1)
					code[n++] = 0x48;
				code[n++] = 0x0f;
				if (f3a)
					code[n++] = 0x3a;
				code[n++] = f3a ? (uint8_t)opcode : with_imm8_0f[opcode - 256];
				code[n++] = (uint8_t)((k >> 6 ? 0xc1 : 0x03) | group << 3);
				at = n++;
				code[at] = 0;
				fresh(state);
				if (run_bytes(code, n) != HALTED)
					continue;
				for (unsigned imm = 0; imm < 256; imm++) {
					code[at] = (uint8_t)imm;
					assert_int_equal(run_bytes(code, n), HALTED);
					done++;
				}
			}
		}
		/* The second time all are found again. */
		assert_true(done > 30000);
		assert_true(!pass || done == last);
		last = done;
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, fresh)
	const struct CMUnitTest tests[] = {
		TEST(test_control_registers),
		TEST(test_availability_before_segment),
		TEST(test_unreported_are_undefined),
		TEST(test_alignment),
		TEST(test_mxcsr_load),
		TEST(test_mxcsr_modes),
		TEST(test_xm),
		TEST(test_xm_keeps_flags_and_registers),
		TEST(test_xm_underflow),
		TEST(test_mf),
		TEST(test_mf_from_images),
		TEST(test_x87_store_is_restartable),
		TEST(test_x87_unmasked_store),
		TEST(test_x87_pointers),
		TEST(test_mmx_state),
		TEST(test_environment),
		TEST(test_thunks_never_run_out),
	};

	return cmocka_run_group_tests(tests, machine_setup, machine_teardown);
}
