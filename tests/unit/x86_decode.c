/*
 * x86_decode.c - the translator: where instructions end, what prefixes do, what is undefined, and
 * instructions that reach into a second page.
 *
 * Facts: Intel SDM vol. 2, chapter 2 (prefixes), appendix A (opcode maps); vol. 3A 6.15 (#UD, #GP
 * for more than 15 bytes).
 */
#include "x86_flat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define HLT 0xf4

#define START	   0x10800u /* in the middle of a page */
#define REAL_START 0x9800u  /* below 64 KiB, clear of stack and tables */
#define DATA	   0x20000u

struct bytes {
	uint8_t n;
	uint8_t b[20];
};
#define BYTES(...)                                                                                 \
	{                                                                                          \
		sizeof((uint8_t[]){__VA_ARGS__}),                                                  \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

static struct flat *h;

static int setup(void **state)
{
	h = flat_create(1, 1 << 20);
	flat_small_pages(h);
	return 0;
}

static int teardown(void **state)
{
	flat_destroy(h);
	return 0;
}

/* Runs @code with HLT behind it; the registers that address memory point into it. */
static struct x86_exit run_at(enum flat_mode mode, uint64_t start, const uint8_t *code, unsigned n)
{
	struct x86_state *s = flat_start(h, 0, mode, start);
	uint64_t data = mode == FLAT_REAL ? 0x7000 : DATA;

	for (unsigned i = 0; i < 16; i++)
		if (i != X86_RSP)
			s->gpr[i] = data;
	flat_write(h, start, code, n);
	flat_write(h, start + n, (uint8_t[]){HLT}, 1);
	return flat_run(h, 0).exit;
}

static uint64_t start_of(enum flat_mode mode)
{
	return mode == FLAT_REAL ? REAL_START : START;
}

static void expect_vector(
	enum flat_mode mode, const struct bytes *code, unsigned vector, bool has_error)
{
	uint64_t start = start_of(mode);
	struct x86_exit exit = run_at(mode, start, code->b, code->n);

	if (exit.reason != X86_EXIT_EXCEPTION || exit.exception.vector != vector)
		print_error("mode %d, bytes %02x %02x %02x %02x: exit %d vector %d\n", mode,
			code->b[0], code->b[1], code->b[2], code->b[3], exit.reason,
			exit.exception.vector);
	assert_int_equal(exit.reason, X86_EXIT_EXCEPTION);
	assert_int_equal(exit.exception.vector, vector);
	assert_int_equal(exit.exception.has_error, has_error);
	if (has_error)
		assert_int_equal(exit.exception.error, 0);
	assert_int_equal(x86_vcpu_state(h->vcpu[0])->rip, start);
}

/* All of @code is one instruction, or several that are run through. */
static void expect_through(enum flat_mode mode, const struct bytes *code)
{
	uint64_t start = start_of(mode);
	struct x86_exit exit = run_at(mode, start, code->b, code->n);

	if (exit.reason != X86_EXIT_HALT)
		print_error("mode %d, bytes %02x %02x %02x %02x: exit %d vector %d\n", mode,
			code->b[0], code->b[1], code->b[2], code->b[3], exit.reason,
			exit.exception.vector);
	assert_int_equal(exit.reason, X86_EXIT_HALT);
	assert_int_equal(x86_vcpu_state(h->vcpu[0])->rip, start + code->n + 1);
}

/* Each is one instruction; were its length taken wrongly, HLT would be missed or met too early. */
static void test_lengths(void **state)
{
	static const struct {
		enum flat_mode mode;
		struct bytes code;
	} cases[] = {
		{FLAT_64, BYTES(0x90)},
		{FLAT_64, BYTES(0xb0, HLT)},				  /* mov al, imm8 */
		{FLAT_64, BYTES(0xb8, HLT, HLT, HLT, HLT)},		  /* mov eax, imm32 */
		{FLAT_64, BYTES(0x66, 0xb8, HLT, HLT)},			  /* mov ax, imm16 */
		{FLAT_64, BYTES(0x48, 0xb8, 1, 2, 3, 4, 5, 6, HLT, HLT)}, /* mov rax, imm64 */
		{FLAT_64, BYTES(0x48, 0xc7, 0xc0, HLT, HLT, HLT, HLT)},	  /* mov rax, imm32 */
		{FLAT_64, BYTES(0xa1, 0, 0, 2, 0, 0, 0, 0, 0)},		  /* mov eax, [moffs64] */
		{FLAT_64, BYTES(0x67, 0xa1, 0, 0, 2, 0)},		  /* mov eax, [moffs32] */
		{FLAT_32, BYTES(0xa1, 0, 0, 2, 0)},
		{FLAT_32, BYTES(0x67, 0xa1, 0, 0x70)}, /* [moffs16] */
		{FLAT_REAL, BYTES(0xa1, 0, 0x70)},
		{FLAT_REAL, BYTES(0x67, 0xa1, 0, 0x70, 0, 0)},
		{FLAT_REAL, BYTES(0xb8, HLT, HLT)},
		{FLAT_REAL, BYTES(0x66, 0xb8, HLT, HLT, HLT, HLT)},
		{FLAT_64, BYTES(0x8b, 0x05, HLT, HLT, 0, 0)},	/* [rip + disp32] */
		{FLAT_32, BYTES(0x8b, 0x05, 0, 0, 2, 0)},	/* [disp32] */
		{FLAT_64, BYTES(0x8b, 0x04, 0x25, 0, 0, 2, 0)}, /* SIB without base or index */
		{FLAT_64, BYTES(0x8b, 0x44, 0x24, HLT)},	/* [rsp + disp8] */
		{FLAT_64, BYTES(0x8b, 0x85, HLT, 0, 0, 0)},	/* [rbp + disp32] */
		{FLAT_64, BYTES(0x41, 0x8b, 0x45, HLT)},	/* [r13 + disp8] */
		{FLAT_REAL, BYTES(0x8b, 0x86, HLT, 0)},		/* [bp + disp16] */
		{FLAT_REAL, BYTES(0x8b, 0x1e, 0, 0x70)},	/* [disp16] */
		{FLAT_64, BYTES(0x0f, 0x1f, 0x84, 0x00, HLT, HLT, HLT, HLT)}, /* nop, 8 bytes */
		{FLAT_64, BYTES(0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, HLT, HLT, HLT, HLT)},
		{FLAT_64, BYTES(0x6a, HLT)},
		{FLAT_64, BYTES(0x68, HLT, HLT, HLT, HLT)},
		{FLAT_64, BYTES(0x66, 0x68, HLT, HLT)},
		{FLAT_64, BYTES(0xf6, 0x00, HLT)},		  /* test [rax], imm8 */
		{FLAT_64, BYTES(0xf7, 0x00, HLT, HLT, HLT, HLT)}, /* test [rax], imm32 */
		{FLAT_64, BYTES(0xf6, 0x08, HLT)},		  /* its alias /1 */
		{FLAT_64, BYTES(0xf7, 0x18)},			  /* neg [rax]: no immediate */
		{FLAT_64, BYTES(0x66, 0xc7, 0x40, HLT, HLT, HLT)},
		{FLAT_64, BYTES(0xc8, 0x10, 0, 0)},	  /* enter */
		{FLAT_64, BYTES(0xf3, 0x0f, 0x1e, 0xfa)}, /* endbr64 */
		{FLAT_64, BYTES(0xf3, 0x0f, 0x1e, 0xc8)}, /* rdsspd eax: NOP without CET */
		{FLAT_64, BYTES(0x0f, 0x18, 0x00)},	  /* prefetchnta */
		{FLAT_64, BYTES(0x0f, 0x0d, 0x08)},	  /* prefetchw */
		{FLAT_64, BYTES(0x0f, 0x19, 0xc0)},	  /* reserved NOP */
		{FLAT_64, BYTES(0xeb, 0x00)},
		{FLAT_64, BYTES(0xe9, 0, 0, 0, 0)},
		{FLAT_64, BYTES(0x66, 0xe9, 0, 0, 0, 0)}, /* 64-bit: the prefix is ignored */
		{FLAT_REAL, BYTES(0x66, 0xe9, 0, 0, 0, 0)},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_through(cases[i].mode, &cases[i].code);
}

static uint64_t rax_after(enum flat_mode mode, const struct bytes *code)
{
	expect_through(mode, code);
	return x86_vcpu_state(h->vcpu[0])->gpr[X86_RAX];
}

#define EXPECT_RAX(mode, value, ...)                                                               \
	do {                                                                                       \
		static const struct bytes code = BYTES(__VA_ARGS__);                               \
		assert_int_equal(rax_after(mode, &code), value);                                   \
	} while (0)

static void test_prefixes(void **state)
{
	/* A REX prefix counts only right before the opcode. */
	EXPECT_RAX(FLAT_64, 0x21234, 0xb8, 0, 0, 2, 0, 0x48, 0x66, 0xb8, 0x34, 0x12);
	EXPECT_RAX(FLAT_64, 0x1234, 0x66, 0x48, 0xc7, 0xc0, 0x34, 0x12, 0, 0);
	/* The last of several REX prefixes wins. */
	EXPECT_RAX(FLAT_64, 0x1234, 0x4f, 0x48, 0xc7, 0xc0, 0x34, 0x12, 0, 0);
	/* REX.W beats 66h. */
	EXPECT_RAX(FLAT_64, 0xffffffffffffffff, 0x66, 0x48, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff);
	/* 66h repeated, segment overrides of a register instruction, REP without a meaning. */
	EXPECT_RAX(FLAT_64, 0x25678, 0x66, 0x66, 0x66, 0xb8, 0x78, 0x56);
	EXPECT_RAX(FLAT_64, 0x5678, 0x2e, 0x3e, 0x65, 0xf3, 0xb8, 0x78, 0x56, 0, 0);
	/* SPL needs a REX prefix, AH must have none. */
	EXPECT_RAX(FLAT_64, 0x2ab00, 0xb4, 0xab);
	EXPECT_RAX(FLAT_64, 0x20000, 0x40, 0xb4, 0x00, 0x48, 0x89, 0xc0);
	/* A 32-bit address wraps at 4 GiB: lea eax, [ecx - 1] with 67h. */
	EXPECT_RAX(FLAT_64, 0xffffffff, 0x31, 0xc9, 0x67, 0x48, 0x8d, 0x41, 0xff);
	EXPECT_RAX(FLAT_64, 0xffffffffffffffff, 0x31, 0xc9, 0x48, 0x8d, 0x41, 0xff);
	/* 48h is DEC EAX outside 64-bit mode. */
	EXPECT_RAX(FLAT_32, 0x1ffff, 0x48);
	EXPECT_RAX(FLAT_REAL, 0x12345678, 0x66, 0xb8, 0x78, 0x56, 0x34, 0x12);
}

static void test_lock(void **state)
{
	static const struct bytes legal[] = {
		BYTES(0xf0, 0x01, 0x00),	     /* add [rax], eax */
		BYTES(0xf0, 0x80, 0x08, 0x01),	     /* or byte [rax], 1 */
		BYTES(0xf0, 0xff, 0x00),	     /* inc [rax] */
		BYTES(0xf0, 0xf7, 0x10),	     /* not [rax] */
		BYTES(0xf0, 0xf7, 0x18),	     /* neg [rax] */
		BYTES(0xf0, 0x87, 0x00),	     /* xchg */
		BYTES(0xf0, 0x0f, 0xc1, 0x00),	     /* xadd */
		BYTES(0xf0, 0x0f, 0xb1, 0x08),	     /* cmpxchg */
		BYTES(0xf0, 0x48, 0x0f, 0xab, 0x08), /* bts */
		BYTES(0xf0, 0x83, 0x10, 0x01),	     /* adc */
	};
	static const struct bytes illegal[] = {
		BYTES(0xf0, 0x01, 0xc0),       /* a register destination */
		BYTES(0xf0, 0x03, 0x00),       /* memory only read */
		BYTES(0xf0, 0x39, 0x00),       /* cmp */
		BYTES(0xf0, 0x83, 0x38, 0x01), /* cmp imm */
		BYTES(0xf0, 0x85, 0x00),       /* test */
		BYTES(0xf0, 0x89, 0x00),       /* mov */
		BYTES(0xf0, 0x90),	       /* nop */
		BYTES(0xf0, 0xff, 0xc0),       /* inc eax */
		BYTES(0xf0, 0x87, 0xc1),       /* xchg of registers */
		BYTES(0xf0, 0x50),	       /* push */
		BYTES(0xf0, 0xff, 0x30),       /* push [rax] */
		BYTES(0xf0, 0x0f, 0xa3, 0x08), /* bt */
		BYTES(0xf0, 0xd1, 0x20),       /* shl [rax], 1 */
		BYTES(0xf0, 0xeb, 0x00),       /* jmp */
		BYTES(0xf0, 0xa4),	       /* movsb */
		BYTES(0xf0, 0x0f, 0x1f, 0x00), /* nop [rax] */
		BYTES(0xf0, 0x0f, 0x94, 0x00), /* setz [rax] */
	};

	for (unsigned i = 0; i < sizeof(legal) / sizeof(legal[0]); i++)
		expect_through(FLAT_64, &legal[i]);
	for (unsigned i = 0; i < sizeof(illegal) / sizeof(illegal[0]); i++)
		expect_vector(FLAT_64, &illegal[i], X86_VEC_UD, false);
}

static void test_undefined(void **state)
{
	static const struct {
		enum flat_mode mode;
		struct bytes code;
	} cases[] = {
		{FLAT_64, BYTES(0x0f, 0x0b)},	    /* ud2 */
		{FLAT_64, BYTES(0x0f, 0xb9, 0xc0)}, /* ud1 */
		{FLAT_64, BYTES(0x0f, 0xff, 0xc0)}, /* ud0 */
		{FLAT_32, BYTES(0x0f, 0x0b)}, {FLAT_REAL, BYTES(0x0f, 0x0b)},
		{FLAT_64, BYTES(0x0f, 0x04)}, {FLAT_64, BYTES(0x0f, 0x0a)},
		{FLAT_64, BYTES(0x0f, 0x0c)},
		{FLAT_64, BYTES(0x0f, 0x24, 0xc0)}, /* mov to test registers */
		{FLAT_64, BYTES(0x0f, 0x36)}, {FLAT_64, BYTES(0x0f, 0x20, 0xc8)}, /* mov rax, cr1 */
		/* Not in 64-bit mode. */
		{FLAT_64, BYTES(0x06)}, {FLAT_64, BYTES(0x0e)}, {FLAT_64, BYTES(0x16)},
		{FLAT_64, BYTES(0x1e)}, {FLAT_64, BYTES(0x1f)}, {FLAT_64, BYTES(0x27)},
		{FLAT_64, BYTES(0x2f)}, {FLAT_64, BYTES(0x37)}, {FLAT_64, BYTES(0x3f)},
		{FLAT_64, BYTES(0x60)}, {FLAT_64, BYTES(0x61)}, {FLAT_64, BYTES(0x82, 0xc0, 0x00)},
		{FLAT_64, BYTES(0x9a, 0, 0, 0, 0, 0, 0)}, {FLAT_64, BYTES(0xce)},
		{FLAT_64, BYTES(0xd4, 0x0a)}, {FLAT_64, BYTES(0xd5, 0x0a)}, {FLAT_64, BYTES(0xd6)},
		{FLAT_64, BYTES(0xea, 0, 0, 0, 0, 0, 0)},
		/* Groups' empty places, and forms that need memory. */
		{FLAT_64, BYTES(0xfe, 0xd0)}, {FLAT_64, BYTES(0xff, 0xf8)},
		{FLAT_64, BYTES(0xc6, 0xc8, 0x00)}, {FLAT_64, BYTES(0x8f, 0xc8)},
		{FLAT_64, BYTES(0x8d, 0xc0)},	    /* lea eax, eax */
		{FLAT_64, BYTES(0x0f, 0xc3, 0xc0)}, /* movnti eax, eax */
		{FLAT_64, BYTES(0x0f, 0xc7, 0xc8)}, /* cmpxchg8b ecx:eax */
		{FLAT_64, BYTES(0x8e, 0xc8)},	    /* mov cs, eax */
		/* Extensions that are not reported. */
		{FLAT_64, BYTES(0xc5, 0xf8, 0x77)},		      /* vzeroupper */
		{FLAT_64, BYTES(0xc5, 0xfc, 0x28, 0xc1)},	      /* vmovaps */
		{FLAT_64, BYTES(0xc4, 0xe2, 0x78, 0xf2, 0xc1)},	      /* andn */
		{FLAT_64, BYTES(0x62, 0xf1, 0x7c, 0x48, 0x28, 0xc1)}, /* EVEX */
		{FLAT_64, BYTES(0x0f, 0x0f, 0xc1, 0x9e)},	      /* 3DNow! */
		{FLAT_64, BYTES(0xf3, 0x0f, 0xae, 0xe8)},	      /* incsspd */
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_vector(cases[i].mode, &cases[i].code, X86_VEC_UD, false);
}

static void test_too_long(void **state)
{
	struct bytes longest = {15, {0}}, longer = {16, {0}}, prefixes = {15, {0}};

	memset(longest.b, 0x66, 14);
	longest.b[14] = 0x90;
	expect_through(FLAT_64, &longest);
	expect_through(FLAT_32, &longest);
	expect_through(FLAT_REAL, &longest);
	memset(longer.b, 0x66, 15);
	longer.b[15] = 0x90;
	expect_vector(FLAT_64, &longer, X86_VEC_GP, true);
	expect_vector(FLAT_32, &longer, X86_VEC_GP, true);
	expect_vector(FLAT_REAL, &longer, X86_VEC_GP, true);
	/* The opcode may come early: 11 prefixes and mov eax, [disp32] with SIB. */
	memset(longer.b, 0x2e, 9);
	memcpy(longer.b + 9, (uint8_t[]){0x8b, 0x04, 0x25, 0, 0, 2, 0}, 7);
	expect_vector(FLAT_64, &longer, X86_VEC_GP, true);
	memset(prefixes.b, 0x2e, 8);
	memcpy(prefixes.b + 8, (uint8_t[]){0x8b, 0x04, 0x25, 0, 0, 2, 0}, 7);
	expect_through(FLAT_64, &prefixes);
}

/* ---- Two pages ------------------------------------------------------------------------------ */

#define FIRST	  0x30000u /* linear page, one to one */
#define SECOND	  0x31000u /* its neighbour, which the tests map elsewhere */
#define ELSEWHERE 0x50000u

static const uint8_t crossing[] = {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, HLT}; /* mov rax, imm64 */

static void put_crossing(unsigned before, uint64_t second)
{
	flat_write(h, FIRST + 4096 - before, crossing, before);
	flat_write(h, second, crossing + before, sizeof(crossing) - before);
}

static void test_crossing(void **state)
{
	for (unsigned before = 1; before < sizeof(crossing); before++) {
		struct x86_state *s = flat_start(h, 0, FLAT_64, SECOND - before);
		struct x86_exit exit;

		flat_map_page(h, SECOND, ELSEWHERE);
		put_crossing(before, ELSEWHERE);
		exit = flat_run(h, 0).exit;
		assert_int_equal(exit.reason, X86_EXIT_HALT);
		assert_int_equal(s->gpr[X86_RAX], 0x0807060504030201);
		assert_int_equal(s->rip, SECOND - before + sizeof(crossing));
	}
	flat_map_page(h, SECOND, SECOND);
}

/* A block in two pages depends on both: on the second's contents and on where it is. */
static void test_crossing_changes(void **state)
{
	struct x86_state *s;

	flat_map_page(h, SECOND, ELSEWHERE);
	put_crossing(5, ELSEWHERE);
	s = flat_start(h, 0, FLAT_64, SECOND - 5);
	assert_int_equal(flat_run(h, 0).exit.reason, X86_EXIT_HALT);

	flat_write(h, ELSEWHERE, (uint8_t[]){0x99}, 1);
	s = flat_start(h, 0, FLAT_64, SECOND - 5);
	assert_int_equal(flat_run(h, 0).exit.reason, X86_EXIT_HALT);
	assert_int_equal(s->gpr[X86_RAX], 0x0807060599030201);

	put_crossing(5, ELSEWHERE + 0x1000);
	flat_map_page(h, SECOND, ELSEWHERE + 0x1000);
	s = flat_start(h, 0, FLAT_64, SECOND - 5);
	assert_int_equal(flat_run(h, 0).exit.reason, X86_EXIT_HALT);
	assert_int_equal(s->gpr[X86_RAX], 0x0807060504030201);

	flat_map_page(h, SECOND, ELSEWHERE);
	s = flat_start(h, 0, FLAT_64, SECOND - 5);
	assert_int_equal(flat_run(h, 0).exit.reason, X86_EXIT_HALT);
	assert_int_equal(s->gpr[X86_RAX], 0x0807060599030201);
	flat_map_page(h, SECOND, SECOND);
}

/* The same when it is come to by a jump within the page, which is linked, and by one from another. */
static void test_crossing_is_jumped_to(void **state)
{
	static const uint32_t from[] = {FIRST, ELSEWHERE + 0x2000};
	struct x86_state *s;

	put_crossing(5, ELSEWHERE);
	put_crossing(5, ELSEWHERE + 0x1000);
	flat_write(h, ELSEWHERE + 0x1000, (uint8_t[]){0x99}, 1);
	for (unsigned i = 0; i < 2; i++) {
		uint32_t distance = SECOND - 5 - (from[i] + 5);

		flat_write(h, from[i], (uint8_t[]){0xe9}, 1);
		flat_write(h, from[i] + 1, &distance, sizeof(distance));
	}
	for (unsigned i = 0; i < 24; i++) {
		unsigned there = i / 3 % 2;

		flat_map_page(h, SECOND, ELSEWHERE + there * 0x1000);
		s = flat_start(h, 0, FLAT_64, from[i % 2]);
		assert_int_equal(flat_run(h, 0).exit.reason, X86_EXIT_HALT);
		assert_int_equal(s->gpr[X86_RAX], there ? 0x0807060599030201 : 0x0807060504030201);
	}
	flat_map_page(h, SECOND, ~0ul);
	s = flat_start(h, 0, FLAT_64, FIRST);
	assert_int_equal(flat_run(h, 0).exit.exception.vector, X86_VEC_PF);
	assert_int_equal(s->rip, SECOND - 5);
	flat_map_page(h, SECOND, SECOND);
}

static void test_crossing_faults(void **state)
{
	static const uint8_t whole[] = {0xb8, 1, 0, 0, 0}; /* mov eax, 1: ends with the page */
	struct x86_state *s;
	struct x86_exit exit;

	flat_map_page(h, SECOND, ~0ul);
	for (unsigned before = 1; before < 10; before++) {
		s = flat_start(h, 0, FLAT_64, SECOND - before);
		put_crossing(before, ELSEWHERE);
		exit = flat_run(h, 0).exit;
		assert_int_equal(exit.reason, X86_EXIT_EXCEPTION);
		assert_int_equal(exit.exception.vector, X86_VEC_PF);
		assert_int_equal(exit.exception.error, 0x10); /* a fetch, not present */
		assert_int_equal(exit.exception.parameter, SECOND);
		assert_int_equal(s->rip, SECOND - before);
		assert_int_equal(s->gpr[X86_RAX], 0);
	}
	/* The instruction before the missing page is executed, then the fetch faults. */
	s = flat_start(h, 0, FLAT_64, SECOND - 5);
	flat_write(h, SECOND - 5, whole, sizeof(whole));
	exit = flat_run(h, 0).exit;
	assert_int_equal(exit.exception.vector, X86_VEC_PF);
	assert_int_equal(s->rip, SECOND);
	assert_int_equal(s->gpr[X86_RAX], 1);
	flat_map_page(h, SECOND, SECOND);
}

/* Undefined or overlong bytes at the end of a page fault without the next page. */
static void test_undefined_at_page_end(void **state)
{
	struct x86_exit exit;
	uint8_t prefixes[15];

	flat_map_page(h, SECOND, ~0ul);
	flat_start(h, 0, FLAT_64, SECOND - 2);
	flat_write(h, SECOND - 2, (uint8_t[]){0x0f, 0x0b}, 2);
	exit = flat_run(h, 0).exit;
	assert_int_equal(exit.exception.vector, X86_VEC_UD);

	memset(prefixes, 0x66, sizeof(prefixes));
	flat_start(h, 0, FLAT_64, SECOND - 15);
	flat_write(h, SECOND - 15, prefixes, sizeof(prefixes));
	exit = flat_run(h, 0).exit;
	assert_int_equal(exit.exception.vector, X86_VEC_GP);
	flat_map_page(h, SECOND, SECOND);
}

/* A fused comparison and branch: a fault in the comparison is at the comparison. */
static void test_fused_fault(void **state)
{
	/* cmp [rbx], eax; jz +0; hlt */
	static const uint8_t code[] = {0x39, 0x03, 0x74, 0x00, HLT};
	struct x86_state *s = flat_start(h, 0, FLAT_64, START);
	struct x86_exit exit;

	flat_write(h, START, code, sizeof(code));
	s->gpr[X86_RBX] = FLAT_MAPPED;
	exit = flat_run(h, 0).exit;
	assert_int_equal(exit.exception.vector, X86_VEC_PF);
	assert_int_equal(s->rip, START);
	/* Entering at the branch itself finds the branch alone. */
	s = flat_start(h, 0, FLAT_64, START + 2);
	s->rflags |= X86_FLAG_ZF;
	assert_int_equal(flat_run(h, 0).exit.reason, X86_EXIT_HALT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_lock),
		cmocka_unit_test(test_undefined),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_crossing),
		cmocka_unit_test(test_crossing_changes),
		cmocka_unit_test(test_crossing_is_jumped_to),
		cmocka_unit_test(test_crossing_faults),
		cmocka_unit_test(test_undefined_at_page_end),
		cmocka_unit_test(test_fused_fault),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
