/*
 * x86_compile.c - native code of blocks does what their operations do: random programs, executed by
 * two machines of which one compiles, leave the same registers, flags and memory, and fault at the
 * same instruction.
 *
 * That the operations are right is x86_oracle's affair; the other tests of the processor are run
 * with compiled blocks as well (meson.build). The seed is printed; X86_SEED repeats it.
 */
#include "x86_flat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define CODE 0x30000u
#define DATA                                                                                       \
	0x50000u /* in RBX: a page before it and two from it on, then one that is not there        \
		  */
#define DATA_END 0x52000u
#define STACK	 0x60000u /* with two pages below it */
#define ELSEWHERE 0x40000u /* functions in another page than their callers */
#define PROGRAMS 4000

/* ---- Random --------------------------------------------------------------------------------- */

static uint64_t seed;

static uint64_t random64(void)
{
	uint64_t z = (seed += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static unsigned below(unsigned n)
{
	return (unsigned)((random64() >> 32) * n >> 32);
}

/* ---- Programs ------------------------------------------------------------------------------- */

struct program {
	uint8_t code[8192];
	unsigned n;
	uint8_t elsewhere[4096];
	unsigned n_elsewhere;
};

static void put(struct program *p, unsigned byte)
{
	p->code[p->n++] = (uint8_t)byte;
}

static void put_bytes(struct program *p, uint64_t v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		put(p, (unsigned)(v >> (8 * i)) & 0xff);
}

/* RBX addresses memory, RBP counts, R15 is an index: those, and RSP, are changed with care only. */
static unsigned any_register(void)
{
	static const uint8_t of[] = {0, 1, 2, 6, 7, 8, 9, 10, 11, 12, 13, 14};

	return of[below(sizeof(of))];
}

/* One instruction: opcode (with 0x0f00 in front), ModRM.reg, and an operand in a register or
 * memory. */
static void put_instruction(
	struct program *p, unsigned lock, unsigned opcode, unsigned size, unsigned reg, bool memory)
{
	bool index = below(3) == 0, high = size == 1 && !memory && below(4) == 0;
	unsigned rm = memory ? 3 : any_register();
	unsigned rex = (size == 8 ? 8 : 0) | (reg > 7 ? 4 : 0) | (rm > 7 ? 1 : 0);
	/* Mostly near; sometimes across a page or where none is. */
	int32_t disp =
		below(60) ? (int32_t)below(250) - 125 : (int32_t)below(DATA_END - DATA + 64) - 8;

	if (lock && memory)
		put(p, 0xf0);
	if (size == 2)
		put(p, 0x66);
	if (memory && index)
		rex |= 2;
	if (high && reg < 8 && rm < 8)
		rex = 0; /* AH, CH, DH, BH */
	else
		rex |= 0x40;
	if (!rex && ((reg & 4) || (rm & 4)) && (rm & 3) == 3)
		rex = 0x40; /* but BH is part of RBX */
	if (!rex && (reg & 7) == 7)
		rex = 0x40;
	if (rex)
		put(p, rex);
	if (opcode >> 8)
		put(p, opcode >> 8);
	put(p, opcode & 0xff);
	if (!memory) {
		put(p, 0xc0 | (reg & 7) << 3 | (rm & 7));
		return;
	}
	put(p, 0x80 | (reg & 7) << 3 | (index ? 4 : 3));
	if (index)
		put(p, below(4) << 6 | 7 << 3 | 3); /* [rbx + r15 * scale] */
	put_bytes(p, (uint32_t)disp, 4);
}

static unsigned any_size(void)
{
	return 1u << below(4);
}

static void arithmetic(struct program *p)
{
	unsigned op = below(8), size = any_size(), lock = op == 7 ? 0 : below(4) == 0;
	bool memory = below(2);

	switch (below(3)) {
	case 0: /* r/m, r */
		put_instruction(p, lock, op << 3 | (size > 1), size, any_register(), memory);
		break;
	case 1: /* r, r/m */
		put_instruction(p, 0, op << 3 | 2 | (size > 1), size, any_register(), memory);
		break;
	default: /* r/m, imm8 */
		put_instruction(p, lock, size > 1 ? 0x83 : 0x80, size, op, memory);
		put(p, below(256));
	}
}

static void one_operand(struct program *p)
{
	unsigned size = any_size(), lock = below(4) == 0;
	bool memory = below(2);

	if (below(2)) {
		put_instruction(p, lock, size > 1 ? 0xff : 0xfe, size, below(2), memory);
	} else {
		unsigned number = 2 + below(3); /* NOT, NEG, MUL */

		put_instruction(
			p, number == 4 ? 0 : lock, size > 1 ? 0xf7 : 0xf6, size, number, memory);
	}
}

static void test(struct program *p)
{
	unsigned size = any_size();

	put_instruction(p, 0, size > 1 ? 0x85 : 0x84, size, any_register(), below(2));
}

static void move(struct program *p)
{
	unsigned size = any_size(), wide = 2u << below(3);

	switch (below(7)) {
	case 0:
		put_instruction(p, 0, size > 1 ? 0x89 : 0x88, size, any_register(), below(2));
		break;
	case 1:
		put_instruction(p, 0, size > 1 ? 0x8b : 0x8a, size, any_register(), below(2));
		break;
	case 2:
		put_instruction(p, 0, size > 1 ? 0xc7 : 0xc6, size, 0, below(2));
		put_bytes(p, random64(), size > 4 ? 4 : size);
		break;
	case 3: /* MOVZX, MOVSX */
		put_instruction(
			p, 0, 0x0fb6 + below(2) + 8 * below(2), wide, any_register(), below(2));
		break;
	case 4: /* MOVSXD */
		put_instruction(p, 0, 0x63, 8, any_register(), below(2));
		break;
	case 5:
		put_instruction(p, 0, 0x8d, wide, any_register(), true);
		break;
	default: /* CMOVcc, SETcc */
		if (below(2))
			put_instruction(p, 0, 0x0f40 + below(16), wide, any_register(), below(2));
		else
			put_instruction(p, 0, 0x0f90 + below(16), 1, 0, below(2));
	}
}

static void shift(struct program *p)
{
	static const uint8_t numbers[] = {0, 1, 2, 3, 4, 5, 7};
	unsigned size = any_size(), number = numbers[below(sizeof(numbers))];
	bool memory = below(3) == 0;

	if (below(2)) {
		put_instruction(p, 0, size > 1 ? 0xd3 : 0xd2, size, number, memory);
	} else {
		put_instruction(p, 0, size > 1 ? 0xc1 : 0xc0, size, number, memory);
		put(p, below(70));
	}
}

static void bits(struct program *p)
{
	unsigned size = 2u << below(3), number = 4 + below(4);
	unsigned lock = number > 4 && below(3) == 0;

	switch (below(4)) {
	case 0:
		put_instruction(p, lock, 0x0fba, size, number, below(2));
		put(p, below(256));
		break;
	case 1: /* by R15: a bit number that stays near */
		put_instruction(p, lock, 0x0f83 + 8 * number, size, 15, below(2));
		break;
	case 2: /* BSF, BSR */
		put_instruction(p, 0, 0x0fbc + below(2), size, any_register(), below(2));
		break;
	default: /* BSWAP */
		put(p, 0x49);
		put(p, 0x0f);
		put(p, 0xc8 + below(6));
	}
}

static void product(struct program *p)
{
	unsigned size = 2u << below(3);

	if (below(2)) {
		put_instruction(p, 0, 0x0faf, size, any_register(), below(2));
	} else {
		put_instruction(p, 0, 0x6b, size, any_register(), below(2));
		put(p, below(256));
	}
}

static void exchange(struct program *p)
{
	static const uint16_t opcodes[] = {0x86, 0x0fc0, 0x0fb0};
	unsigned size = any_size();

	put_instruction(
		p, below(2), opcodes[below(3)] + (size > 1), size, any_register(), below(2));
}

/* As many pushes as pops: one or two, or as functions begin and end. */
static void stack(struct program *p)
{
	static const uint8_t registers[] = {0, 1, 2, 4, 6, 7, 8, 9, 12, 14};
	unsigned n = below(2) ? 1 + below(2) : 1 + below(10), reg;

	for (unsigned i = 0; i < n; i++) {
		if (below(5) == 0) {
			put_bytes(p, 0x6a | below(256) << 8, 2);
			continue;
		}
		reg = registers[below(sizeof(registers))];
		if (reg > 7)
			put(p, 0x41);
		put(p, 0x50 | (reg & 7));
	}
	while (n--) {
		do
			reg = registers[below(sizeof(registers))];
		while (reg == 4);
		if (reg > 7)
			put(p, 0x41);
		put(p, 0x58 | (reg & 7));
	}
}

static void extend_accumulator(struct program *p)
{
	static const uint8_t prefix[] = {0x66, 0x40, 0x48};

	put(p, prefix[below(3)]);
	put(p, 0x98 + below(2));
}

/* XMM registers, memory that is aligned with rare exceptions, and general registers. */
static void vector(struct program *p)
{
	/* 66-prefixed: moves, packed instructions with an operation of their own, and thunks. */
	static const uint8_t packed[] = {0x6f, 0x7f, 0xef, 0xeb, 0xdb, 0xdf, 0x74, 0x76, 0xda, 0xf8,
		0xfe, 0xd4, 0x60, 0x61, 0x62, 0x6c, 0xd5, 0xf6, 0x10, 0x11, 0x12, 0x13, 0x16, 0x17,
		0x58, 0x2f};
	unsigned op = packed[below(sizeof(packed))], reg = below(8);
	bool memory = below(2) || (op >= 0x12 && op <= 0x17);

	switch (below(5)) {
	case 0: /* MOVD, MOVQ */
		put(p, 0x66);
		put(p, below(2) ? 0x48 : 0x40);
		put_bytes(p, below(2) ? 0x6e0f : 0x7e0f, 2);
		put(p, 0xc0 | reg << 3 | below(3));
		return;
	case 1: /* PMOVMSKB */
		put_bytes(p, 0xd70f66, 3);
		put(p, 0xc0 | below(3) << 3 | reg);
		return;
	case 2: /* MOVQ, MOVSS, MOVSD, MOVDQU: F3 and F2 */
		put(p, 0xf2 + below(2));
		op = 0x10 + below(2);
		break;
	default:
		put(p, 0x66);
	}
	put(p, 0x0f);
	put(p, op);
	if (!memory) {
		put(p, 0xc0 | reg << 3 | below(8));
		return;
	}
	put(p, 0x83 | reg << 3);
	put_bytes(p, (uint32_t)((int32_t)below(64) - 32) * 16 + (below(40) ? 0 : 4), 4);
}

/* One access at [base + disp8], with register @reg where it has one. */
static void put_field(struct program *p, unsigned base, unsigned reg, unsigned disp)
{
	static const uint16_t opcodes[] = {0x8b, 0x89, 0x8a, 0x88, 0x03, 0x01, 0x3b, 0x85, 0xfe, 0xff,
		0x83, 0x80, 0xc7, 0xf6, 0x0fb6, 0x0fbf, 0x0f44, 0x0faf, 0x0fbc, 0x63, 0x69};
	unsigned opcode = opcodes[below(sizeof(opcodes) / sizeof(opcodes[0]))];
	unsigned group = opcode == 0xfe || opcode == 0xff   ? below(2)
			 : opcode == 0x83 || opcode == 0x80 ? below(8)
			 : opcode == 0xf6		    ? 2 + below(2)
			 : opcode == 0xc7		    ? 0
							    : reg;

	put(p, 0x40 | below(2) << 3 | group >> 3 << 2 | base >> 3);
	if (opcode >> 8)
		put(p, opcode >> 8);
	put(p, opcode & 0xff);
	put(p, 0x40 | (group & 7) << 3 | (base & 7));
	if ((base & 7) == 4)
		put(p, 0x24);
	put(p, disp & 0xff);
	if (opcode == 0x83 || opcode == 0x80)
		put(p, below(256));
	else if (opcode == 0xc7 || opcode == 0x69)
		put_bytes(p, (uint32_t)random64(), 4);
}

/* Below RSP, where no return address is. */
static unsigned any_field(unsigned base, unsigned range)
{
	return base == 4 ? -(8 + below(range - 7)) : below(range) - below(range / 2);
}

/* Fields of objects at RBX, RSP or R13, among which some change the register. */
static void fields(struct program *p)
{
	static const uint8_t bases[] = {3, 3, 4, 13};
	unsigned n = 2 + below(8), base = bases[below(4)], other = bases[below(4)];
	unsigned range = below(3) ? 48 : 128, moved = 0;

	if (base == 13 || other == 13) {
		put_bytes(p, 0x6b8d4c, 3); /* lea r13, [rbx + disp8] */
		put(p, below(128));
	}
	while (n--) {
		unsigned reg = any_register(), at = below(4) ? base : other;

		if (reg == 13 && (base == 13 || other == 13))
			reg = 12;
		put_field(p, at, reg, any_field(at, range));
		if (below(6) == 0) { /* add rbx, 8 */
			put_bytes(p, 0x08c38348, 4);
			moved++;
		}
		if (below(10) == 0) { /* jz over an access */
			unsigned here = p->n + 2;

			put_bytes(p, 0x0074, 2);
			put_field(p, at, reg, any_field(at, range));
			p->code[here - 1] = (uint8_t)(p->n - here);
		}
	}
	while (moved--) /* lea rbx, [rbx - 8] */
		put_bytes(p, 0xf85b8d48, 4);
}

/* What has no recipe, between what has. */
static void uncompiled(struct program *p)
{
	switch (below(4)) {
	case 0: /* pushfq; popfq */
		put(p, 0x9c);
		put(p, 0x9d);
		break;
	case 1: /* stc, clc, cmc */
		put(p, below(2) ? 0xf5 : 0xf8 + below(2));
		break;
	case 2: /* lahf, sahf */
		put(p, 0x9e + below(2));
		break;
	default: /* shld rax, rdx, n */
		put_bytes(p, 0xd0a40f48, 4);
		put(p, below(64));
	}
}

static void (*const makers[])(struct program *) = {arithmetic, arithmetic, arithmetic, one_operand,
	fields, fields, test, move, move, move, shift, bits, product, exchange, stack, extend_accumulator, vector,
	vector, uncompiled};

static void any_instruction(struct program *p)
{
	makers[below(sizeof(makers) / sizeof(makers[0]))](p);
}

/* Jcc over some instructions, short or long; or a call of them, a function that returns. */
static void any_branch(struct program *p)
{
	unsigned at, n = below(4);
	bool far = below(2), call = below(4) == 0;

	if (call) {
		/* call over the function's jump: call 1f; jmp 2f; 1: ... ret; 2: */
		put_bytes(p, 0x05e8, 5);
		put_bytes(p, 0xe9, 5);
	} else if (far) {
		put(p, 0x0f);
		put_bytes(p, 0x80 + below(16), 5);
	} else {
		put_bytes(p, 0x70 + below(16), 2);
	}
	at = p->n;
	do {
		p->n = at;
		for (unsigned i = 0; i < n; i++)
			any_instruction(p);
	} while (!call && !far && p->n - at > 127);
	if (call)
		put(p, 0xc3);
	if (call || far) {
		uint32_t distance = p->n - at;

		memcpy(p->code + at - 4, &distance, sizeof(distance));
	} else {
		p->code[at - 1] = (uint8_t)(p->n - at);
	}
}

/* A call of a function elsewhere; or Jcc to there, which jumps back. */
static void any_far_branch(struct program *p)
{
	unsigned at = ELSEWHERE + p->n_elsewhere;
	struct program there = {.n = 0};
	bool call = below(2);

	for (unsigned i = below(4); i; i--)
		any_instruction(&there);
	if (p->n_elsewhere + there.n + 5 > sizeof(p->elsewhere))
		return;
	if (call) {
		put(p, 0xe8);
		put(&there, 0xc3);
	} else {
		put(p, 0x0f);
		put(p, 0x80 + below(16));
	}
	put_bytes(p, at - (CODE + p->n + 4), 4);
	if (!call) {
		put(&there, 0xe9);
		put_bytes(&there, CODE + p->n - (at + there.n + 4), 4);
	}
	memcpy(p->elsewhere + p->n_elsewhere, there.code, there.n);
	p->n_elsewhere += there.n;
}

static void make_program(struct program *p)
{
	unsigned instructions = 1 + below(25);
	uint32_t back;

	p->n = p->n_elsewhere = 0;
	while (instructions--) {
		switch (below(10)) {
		case 0:
			any_branch(p);
			break;
		case 1:
			any_far_branch(p);
			break;
		default:
			any_instruction(p);
		}
	}
	put_bytes(p, 0xcdff, 2); /* dec ebp */
	put_bytes(p, 0x850f, 2); /* jnz */
	back = -(p->n + 4);
	put_bytes(p, back, 4);
	put_bytes(p, 0x0b0f, 2); /* ud2 */
}

/* ---- Two machines --------------------------------------------------------------------------- */

struct pair {
	struct flat *plain, *compiled;
};

static struct flat *machine(void)
{
	struct flat *g = flat_create(1, 1 << 20);

	flat_small_pages(g);
	flat_map_page(g, DATA_END, ~0ul);
	return g;
}

static int setup(void **state)
{
	static struct pair pair;

	unsetenv("X86_COMPILE");
	pair.plain = machine();
	pair.compiled = machine();
	assert_int_equal(x86_machine_compile(pair.compiled->machine, 2), 0);
	*state = &pair;
	return 0;
}

static int teardown(void **state)
{
	struct pair *pair = *state;

	flat_destroy(pair->plain);
	flat_destroy(pair->compiled);
	return 0;
}

static struct flat_result run(struct flat *g, const struct program *p, const struct x86_state *in,
	const uint8_t *data, struct x86_state *out, uint64_t *instructions)
{
	uint64_t before = x86_vcpu_instructions(g->vcpu[0]);
	struct x86_state *s = flat_start(g, 0, FLAT_64, CODE);
	struct flat_result result;

	memcpy(s->gpr, in->gpr, sizeof(s->gpr));
	memcpy(s->fx.xmm, in->fx.xmm, sizeof(s->fx.xmm));
	s->rflags = in->rflags;
	memcpy(g->ram + DATA - 0x1000, data, 0x3000);
	memset(g->ram + STACK - 0x2000, 0, 0x2000);
	flat_write(g, CODE, p->code, p->n);
	flat_write(g, ELSEWHERE, p->elsewhere, p->n_elsewhere);
	result = flat_run(g, 0);
	*out = *s;
	*instructions = x86_vcpu_instructions(g->vcpu[0]) - before;
	return result;
}

/* Mostly within a page; else it soon reaches the next one, or one that is not there. */
static uint64_t any_stack(void)
{
	unsigned near = below(16) ? 8 * below(12) : below(96);

	switch (below(8)) {
	case 0:
		return STACK - 0x1000 + near;
	case 1:
		return DATA_END + 0x1000 + near;
	default:
		return STACK - 0x100 - near;
	}
}

static void test_random(void **state)
{
	struct pair *pair = *state;
	const char *given = getenv("X86_SEED");
	uint8_t data[0x3000];
	size_t most = 0; /* bytes of native code: the cache is emptied now and then */

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	for (unsigned i = 0; i < PROGRAMS; i++) {
		struct x86_state in = {.rflags = 0x202 | (random64() & 0x8d5)}, plain, compiled;
		uint64_t from = seed, n_plain, n_compiled;
		struct flat_result a, b;
		struct program p;

		make_program(&p);
		for (unsigned r = 0; r < 16; r++)
			in.gpr[r] = random64() >> below(64);
		for (unsigned k = 0; k < sizeof(in.fx.xmm); k += 8)
			memcpy((char *)in.fx.xmm + k, &(uint64_t){random64()}, 8);
		in.gpr[X86_RBX] = DATA + (below(3) ? 16 * below(256) : 0);
		in.gpr[X86_RBP] = 1 + below(6);
		in.gpr[X86_RSP] = any_stack();
		in.gpr[X86_R15] = below(64);
		for (unsigned k = 0; k < sizeof(data); k += 8)
			memcpy(data + k, &(uint64_t){random64()}, 8);
		a = run(pair->plain, &p, &in, data, &plain, &n_plain);
		b = run(pair->compiled, &p, &in, data, &compiled, &n_compiled);
		if (x86_machine_native_bytes(pair->compiled->machine) > most)
			most = x86_machine_native_bytes(pair->compiled->machine);
		if (a.vector != b.vector || plain.rip != compiled.rip ||
			memcmp(plain.gpr, compiled.gpr, sizeof(plain.gpr)) ||
			plain.rflags != compiled.rflags ||
			memcmp(plain.fx.xmm, compiled.fx.xmm, sizeof(plain.fx.xmm)) ||
			plain.fx.mxcsr != compiled.fx.mxcsr || n_plain != n_compiled ||
			a.error != b.error || a.address != b.address ||
			memcmp(pair->plain->ram + DATA - 0x1000,
				pair->compiled->ram + DATA - 0x1000, 0x3000) ||
			memcmp(pair->plain->ram + STACK - 0x2000,
				pair->compiled->ram + STACK - 0x2000, 0x2000) ||
			memcmp(pair->plain->ram + DATA_END + 0x1000,
				pair->compiled->ram + DATA_END + 0x1000, 0x1000)) {
			print_message(
				"program %u, X86_SEED=%#lx, to RIP %#lx and %#lx, flags %#lx and "
				"%#lx, %lu and %lu instructions, vectors %d %d\n",
				i, from, plain.rip, compiled.rip, plain.rflags, compiled.rflags,
				n_plain, n_compiled, a.vector, b.vector);
			for (unsigned r = 0; r < 16; r++)
				if (plain.gpr[r] != compiled.gpr[r])
					print_message("register %u: %#lx and %#lx\n", r,
						plain.gpr[r], compiled.gpr[r]);
			for (unsigned k = 0; k < p.n; k++)
				print_message("%02x", p.code[k]);
			fail_msg("compiled code does something else");
		}
	}
	assert_in_range(most, 1, 1 << 20);
	assert_int_equal(x86_machine_native_bytes(pair->plain->machine), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
