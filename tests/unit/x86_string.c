/*
 * x86_string.c - string instructions and bit strings where the host cannot be asked: operands that
 * overlap, cross pages, end at a device or a segment's limit, single steps, 16- and 32-bit modes.
 *
 * Facts: Intel SDM vol. 2, "MOVS", "REP"; vol. 3A, 5.3 (limits).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "x86_flat.h"

#define CODE   0x1000u
#define TABLES 0x1000000u
#define DATA   0x100000u

static struct x86_state *enter(struct flat *g, enum flat_mode mode)
{
	return flat_enter(g, 0, mode, 0, TABLES, CODE);
}

/* ---- Overlap -------------------------------------------------------------------------------- */

/* Element by element, as the SDM defines it. */
static void copy(uint8_t *ram, int64_t to, int64_t from, unsigned size, unsigned n, bool down)
{
	for (unsigned i = 0; i < n; i++) {
		int64_t at = (int64_t)i * size * (down ? -1 : 1);
		uint64_t element;

		memcpy(&element, ram + from + at, size);
		memcpy(ram + to + at, &element, size);
	}
}

static void test_overlap(void **state)
{
	static const uint8_t codes[4][5] = {
		{0xf3, 0xa4, DONE},	  /* rep movsb */
		{0x66, 0xf3, 0xa5, DONE}, /* rep movsw */
		{0xf3, 0xa5, DONE},	  /* rep movsd */
		{0xf3, 0x48, 0xa5, DONE}, /* rep movsq */
	};
	static const int distances[] = {-5000, -17, -8, -3, -1, 0, 1, 2, 3, 5, 8, 17, 4093, 5000};
	static uint8_t expected[0x10000];
	struct flat *g = *state;

	for (unsigned k = 0; k < 4 * 2 * sizeof(distances) / sizeof(distances[0]); k++) {
		unsigned size = 1u << k % 4, n = 10000 / size;
		bool down = k / 4 % 2;
		uint64_t from = 0x6003 + (down ? 10000 : 0), to = from + distances[k / 8];
		struct x86_state *s;

		for (unsigned i = 0; i < sizeof(expected); i++)
			g->ram[DATA + i] = expected[i] = (uint8_t)(i * 167 + i / 256);
		copy(expected, (int64_t)to, (int64_t)from, size, n, down);
		flat_write(g, CODE, codes[k % 4], 5);
		s = enter(g, FLAT_64);
		s->rflags |= down ? X86_FLAG_DF : 0;
		s->gpr[X86_RSI] = DATA + from;
		s->gpr[X86_RDI] = DATA + to;
		s->gpr[X86_RCX] = n;
		flat_run_done(g, 0);
		assert_memory_equal(g->ram + DATA, expected, sizeof(expected));
		assert_int_equal(s->gpr[X86_RCX], 0);
		assert_int_equal(
			s->gpr[X86_RDI] - (DATA + to), (int64_t)n * size * (down ? -1 : 1));
	}
}

/* ---- Stops on the way ----------------------------------------------------------------------- */

/* What cannot be copied leaves the registers at the element that could not. */
static void test_device(void **state)
{
	struct flat *g = *state;
	struct flat_result r;
	struct x86_state *s;

	FLAT_CODE(g, CODE, 0xf3, 0xab, DONE); /* rep stosd, over the end of memory */
	s = enter(g, FLAT_64);
	s->gpr[X86_RDI] = FLAT_MEMORY - 0x1804;
	s->gpr[X86_RCX] = 0x1000;
	s->gpr[X86_RAX] = 0x12345678;
	r = flat_run(g, 0);
	assert_int_equal(r.exit.reason, X86_EXIT_MEMORY);
	assert_int_equal(r.exit.memory.gpa, FLAT_MEMORY);
	assert_true(r.exit.memory.write);
	assert_int_equal(s->rip, CODE);
	assert_int_equal(s->gpr[X86_RDI], FLAT_MEMORY);
	assert_int_equal(s->gpr[X86_RCX], 0x1000 - 0x1804 / 4);
}

static void test_single_step(void **state)
{
	struct flat *g = *state;
	struct x86_state *s;

	FLAT_CODE(g, CODE, 0xf3, 0xa4, DONE); /* rep movsb: a trap after each byte */
	s = enter(g, FLAT_64);
	s->gpr[X86_RSI] = DATA;
	s->gpr[X86_RDI] = DATA + 0x100;
	s->gpr[X86_RCX] = 3;
	for (unsigned left = 3; left--;) {
		s->rflags |= X86_FLAG_TF;
		assert_int_equal(flat_run(g, 0).vector, X86_VEC_DB);
		assert_int_equal(s->gpr[X86_RCX], left);
		assert_int_equal(s->rip, left ? CODE : CODE + 2);
	}
}

/* ---- 16- and 32-bit code -------------------------------------------------------------------- */

static void test_real_mode(void **state)
{
	struct flat *g = *state;
	struct flat_result r;
	struct x86_state *s;

	/* SI and DI wrap at 64 KiB, and only they and CX change. */
	FLAT_CODE(g, CODE, 0xf3, 0xa4, DONE);
	memset(g->ram + 0x20000, 0, 0x10000);
	for (unsigned i = 0; i < 16; i++)
		g->ram[0x10000 + ((0xfff8 + i) & 0xffff)] = (uint8_t)(i + 1);
	s = enter(g, FLAT_REAL);
	s->seg[X86_DS].base = 0x10000;
	s->seg[X86_ES].base = 0x20000;
	s->gpr[X86_RSI] = 0x7777fff8;
	s->gpr[X86_RDI] = 0x8888fffc;
	s->gpr[X86_RCX] = 0x99990010;
	flat_run_done(g, 0);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(g->ram[0x20000 + ((0xfffc + i) & 0xffff)], i + 1);
	assert_int_equal(s->gpr[X86_RSI], 0x77770008);
	assert_int_equal(s->gpr[X86_RDI], 0x8888000c);
	assert_int_equal(s->gpr[X86_RCX], 0x99990000);

	/* A word at FFFF does not fit the segment; the ones before it are done. */
	FLAT_CODE(g, CODE, 0xf3, 0xab, DONE); /* rep stosw */
	s = enter(g, FLAT_REAL);
	s->seg[X86_ES].base = 0x20000;
	s->gpr[X86_RDI] = 0xfffb;
	s->gpr[X86_RCX] = 10;
	r = flat_run(g, 0);
	assert_int_equal(r.vector, X86_VEC_GP);
	assert_int_equal(s->gpr[X86_RDI], 0xffff);
	assert_int_equal(s->gpr[X86_RCX], 8);
}

static void test_limits(void **state)
{
	struct flat *g = *state;
	struct x86_state *s;

	/* Up to the limit of ES, which is 0x12ff */
	FLAT_CODE(g, CODE, 0xf3, 0xaa, DONE); /* rep stosb */
	s = enter(g, FLAT_32);
	s->seg[X86_ES].base = DATA;
	s->seg[X86_ES].limit = 0x12ff;
	s->gpr[X86_RDI] = 0xff0;
	s->gpr[X86_RCX] = 0x1000;
	assert_int_equal(flat_run(g, 0).vector, X86_VEC_GP);
	assert_int_equal(s->gpr[X86_RDI], 0x1300);
	assert_int_equal(s->gpr[X86_RCX], 0x1000 - 0x310);

	/* Down to the limit of a segment that expands down */
	s = enter(g, FLAT_32);
	s->rflags |= X86_FLAG_DF;
	s->seg[X86_ES].base = DATA;
	s->seg[X86_ES].limit = 0x12ff;
	s->seg[X86_ES].attributes |= 4;
	s->gpr[X86_RDI] = 0x2004;
	s->gpr[X86_RCX] = 0x1000;
	assert_int_equal(flat_run(g, 0).vector, X86_VEC_GP);
	assert_int_equal(s->gpr[X86_RDI], 0x12ff);
	assert_int_equal(s->gpr[X86_RCX], 0x1000 - (0x2004 - 0x12ff));

	/* The source through SS faults as the stack does: ss rep lodsb */
	FLAT_CODE(g, CODE, 0x36, 0xf3, 0xac, DONE);
	s = enter(g, FLAT_32);
	s->seg[X86_SS].limit = 0xff;
	s->gpr[X86_RSI] = 0xfe;
	s->gpr[X86_RCX] = 5;
	assert_int_equal(flat_run(g, 0).vector, X86_VEC_SS);
	assert_int_equal(s->gpr[X86_RSI], 0x100);
	assert_int_equal(s->gpr[X86_RCX], 3);

	/* A segment that cannot be written */
	FLAT_CODE(g, CODE, 0xaa, DONE); /* stosb */
	s = enter(g, FLAT_32);
	s->seg[X86_ES].attributes &= ~2u;
	assert_int_equal(flat_run(g, 0).vector, X86_VEC_GP);
}

/* Bits far from a memory operand, where the address wraps or meets the segment's limit. */
static void test_bit_strings(void **state)
{
	struct flat *g = *state;
	struct x86_state *s;

	FLAT_CODE(g, CODE, 0x0f, 0xab, 0x07, DONE); /* bts [bx], ax */
	memset(g->ram + 0x20000, 0, 0x10000);
	s = enter(g, FLAT_REAL);
	s->seg[X86_DS].base = 0x20000;
	s->gpr[X86_RBX] = 0x10;
	s->gpr[X86_RAX] = 0x8003; /* -0x1000 bytes, bit 3 */
	flat_run_done(g, 0);
	assert_int_equal(g->ram[0x2f010], 8);
	assert_int_equal(s->rflags & X86_FLAG_CF, 0);

	FLAT_CODE(g, CODE, 0x0f, 0xab, 0x03, DONE); /* bts [ebx], eax */
	s = enter(g, FLAT_32);
	s->seg[X86_DS].base = DATA;
	s->seg[X86_DS].limit = 0xfff;
	memset(g->ram + DATA, 0, 0x1000);
	s->gpr[X86_RBX] = 0x10;
	s->gpr[X86_RAX] = 0xfe8 * 8 + 31;
	flat_run_done(g, 0);
	assert_int_equal(g->ram[DATA + 0xffb], 0x80);
	s = enter(g, FLAT_32);
	s->seg[X86_DS].base = DATA;
	s->seg[X86_DS].limit = 0xfff;
	s->gpr[X86_RAX] += 32;
	flat_run_done(g, 0);
	s = enter(g, FLAT_32);
	s->seg[X86_DS].base = DATA;
	s->seg[X86_DS].limit = 0xfff;
	s->gpr[X86_RAX] += 32;
	assert_int_equal(flat_run(g, 0).vector, X86_VEC_GP);
}

/* ---- Decimal arithmetic and BOUND, which 64-bit code does not have -------------------------- */

static void test_decimal(void **state)
{
	static const struct {
		uint8_t code[2];
		uint16_t ax, flags;  /* before */
		uint16_t after, set; /* AX and, of CF AF ZF SF, the flags */
	} cases[] = {
		{{0x27, 0x90}, 0x00ae, 0, 0x0014, 0x11}, /* daa */
		{{0x27, 0x90}, 0x002e, 0x11, 0x0094, 0x91},
		{{0x27, 0x90}, 0x0045, 0, 0x0045, 0},
		{{0x2f, 0x90}, 0x0000, 0x10, 0x00fa, 0x91}, /* das: a borrow */
		{{0x2f, 0x90}, 0x0047, 0x11, 0x00e1, 0x91},
		{{0x37, 0x90}, 0x010b, 0, 0x0201, 0x11}, /* aaa */
		{{0x37, 0x90}, 0x0105, 0, 0x0105, 0},
		{{0x3f, 0x90}, 0x020c, 0, 0x0106, 0x11}, /* aas */
		{{0xd4, 0x0a}, 0x0063, 0, 0x0909, 0},	 /* aam */
		{{0xd5, 0x0a}, 0x0909, 0, 0x0063, 0},	 /* aad */
		{{0xd4, 0x10}, 0x0080, 0, 0x0800, 0x40},
	};
	struct flat *g = *state;
	struct x86_state *s;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		flat_write(g, CODE, cases[i].code, 2);
		flat_write(g, CODE + 2, "\x0f\x0b", 2);
		s = enter(g, FLAT_32);
		s->gpr[X86_RAX] = 0x12340000 | cases[i].ax;
		s->rflags |= cases[i].flags;
		flat_run_done(g, 0);
		assert_int_equal(s->gpr[X86_RAX], 0x12340000 | cases[i].after);
		assert_int_equal(s->rflags & 0xd1 & (cases[i].code[0] < 0x37 ? 0xd1 : 0x51),
			cases[i].set & (cases[i].code[0] < 0x37 ? 0xd1 : 0x51));
	}
	FLAT_CODE(g, CODE, 0xd4, 0x00, DONE); /* aam 0 */
	enter(g, FLAT_32);
	assert_int_equal(flat_run(g, 0).vector, X86_VEC_DE);
	FLAT_CODE(g, CODE, 0x27, DONE); /* daa in 64-bit mode */
	enter(g, FLAT_64);
	assert_int_equal(flat_run(g, 0).vector, X86_VEC_UD);
}

static void test_bound(void **state)
{
	static const int32_t indices[] = {-6, -5, 0, 7, 8};
	struct flat *g = *state;
	struct x86_state *s;

	FLAT_CODE(g, CODE, 0x62, 0x03, DONE); /* bound eax, [ebx] */
	((int32_t *)(g->ram + DATA))[0] = -5;
	((int32_t *)(g->ram + DATA))[1] = 7;
	for (unsigned i = 0; i < 5; i++) {
		s = enter(g, FLAT_32);
		s->gpr[X86_RAX] = (uint32_t)indices[i];
		s->gpr[X86_RBX] = DATA;
		assert_int_equal(flat_run(g, 0).vector, i % 4 ? -1 : X86_VEC_BR);
	}
}

static int create(void **state)
{
	flat_setup(state);
	flat_identity(*state, TABLES);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, create, flat_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_overlap),
		TEST(test_device),
		TEST(test_single_step),
		TEST(test_real_mode),
		TEST(test_limits),
		TEST(test_bit_strings),
		TEST(test_decimal),
		TEST(test_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
