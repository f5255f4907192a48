/*
 * x86_oracle_integer.c - the integer instructions that only compute: arithmetic, logic, shifts,
 * bits, moves, strings. Encodings, operand sizes and undefined flags: Intel SDM vol. 2.
 */
#include <string.h>

#include "x86_oracle.h"

/* The nine forms of the eight two-operand instructions; @n is the opcode's base and digit. */
/* clang-format off */
#define ALU(name, r8, r, m8, m, a8, a, digit, undefined, lock)                                     \
	{ name, r8 " /r", O8 | (lock), undefined }, { name, r " /r", OV | (lock), undefined },     \
	{ name, m8 " /r", O8, undefined }, { name, m " /r", OV, undefined },                       \
	{ name, a8 " ib", O8, undefined }, { name, a " iz", OV, undefined },                       \
	{ name, "80 /" digit " ib", O8 | (lock), undefined },                                      \
	{ name, "81 /" digit " iz", OV | (lock), undefined },                                      \
	{ name, "83 /" digit " ib", OV | (lock), undefined }
/* clang-format on */

static const struct oracle_template alu[] = {
	ALU("add", "00", "01", "02", "03", "04", "05", "0", 0, LOCKABLE),
	ALU("or", "08", "09", "0A", "0B", "0C", "0D", "1", AF, LOCKABLE),
	ALU("adc", "10", "11", "12", "13", "14", "15", "2", 0, LOCKABLE),
	ALU("sbb", "18", "19", "1A", "1B", "1C", "1D", "3", 0, LOCKABLE),
	ALU("and", "20", "21", "22", "23", "24", "25", "4", AF, LOCKABLE),
	ALU("sub", "28", "29", "2A", "2B", "2C", "2D", "5", 0, LOCKABLE),
	ALU("xor", "30", "31", "32", "33", "34", "35", "6", AF, LOCKABLE),
	ALU("cmp", "38", "39", "3A", "3B", "3C", "3D", "7", 0, 0),
	{"test", "84 /r", O8, AF},
	{"test", "85 /r", OV, AF},
	{"test", "A8 ib", O8, AF},
	{"test", "A9 iz", OV, AF},
	{"test", "F6 /0 ib", O8, AF},
	{"test", "F7 /0 iz", OV, AF},
};

static const struct oracle_template unary[] = {
	{"inc", "FE /0", O8 | LOCKABLE},
	{"inc", "FF /0", OV | LOCKABLE},
	{"dec", "FE /1", O8 | LOCKABLE},
	{"dec", "FF /1", OV | LOCKABLE},
	{"not", "F6 /2", O8 | LOCKABLE},
	{"not", "F7 /2", OV | LOCKABLE},
	{"neg", "F6 /3", O8 | LOCKABLE},
	{"neg", "F7 /3", OV | LOCKABLE},
};

#define MUL_UNDEFINED (SF | ZF | AF | PF)

/* Most random quotients overflow: makes half of them fit. */
static void quotient_fits(struct oracle_case *c, struct oracle_random *r)
{
	bool negative = oracle_once_in(r, 2);
	uint64_t *rdx = &c->in.gpr[X86_RDX], *rax = &c->in.gpr[X86_RAX];

	if (oracle_once_in(r, 3))
		return;
	if (c->size == 1) {
		if (!(c->used & 1u << X86_RAX))
			*rax = (*rax & ~0xff00ull) | (negative ? 0xff00 : 0);
	} else if (!(c->used & 1u << X86_RDX)) {
		*rdx = negative ? ~0ull : oracle_below(r, 2);
	}
}

static const struct oracle_template multiply[] = {
	{"mul", "F6 /4", O8, MUL_UNDEFINED},
	{"mul", "F7 /4", OV, MUL_UNDEFINED},
	{"imul", "F6 /5", O8, MUL_UNDEFINED},
	{"imul", "F7 /5", OV, MUL_UNDEFINED},
	{"imul", "0F AF /r", OV, MUL_UNDEFINED},
	{"imul", "69 /r iz", OV, MUL_UNDEFINED},
	{"imul", "6B /r ib", OV, MUL_UNDEFINED},
	{"div", "F6 /6", O8, X86_FLAGS_ARITH, ALWAYS, quotient_fits},
	{"div", "F7 /6", OV, X86_FLAGS_ARITH, ALWAYS, quotient_fits},
	{"idiv", "F6 /7", O8, X86_FLAGS_ARITH, ALWAYS, quotient_fits},
	{"idiv", "F7 /7", OV, X86_FLAGS_ARITH, ALWAYS, quotient_fits},
};

static unsigned count_of(const struct oracle_case *c, bool cl)
{
	unsigned count = cl ? (uint8_t)c->in.gpr[X86_RCX] : c->imm;

	return count & (c->size == 8 ? 63 : 31);
}

/* A count of zero changes no flag; OF is defined for a count of one only. */
static void shift_flags(struct oracle_case *c, unsigned count)
{
	if (!count) {
		c->undefined_flags = 0;
		return;
	}
	if (count > 1)
		c->undefined_flags |= OF;
	if (count >= 8 * c->size)
		c->undefined_flags |= CF;
}

static void shift_imm(struct oracle_case *c, struct oracle_random *r)
{
	shift_flags(c, count_of(c, false));
}

static void shift_cl(struct oracle_case *c, struct oracle_random *r)
{
	if (!(c->used & 1u << X86_RCX) && oracle_once_in(r, 2))
		c->in.gpr[X86_RCX] = (c->in.gpr[X86_RCX] & ~0xffull) | oracle_below(r, 70);
	shift_flags(c, count_of(c, true));
}

static void rotate_imm(struct oracle_case *c, struct oracle_random *r)
{
	if (count_of(c, false) > 1)
		c->undefined_flags |= OF;
}

static void rotate_cl(struct oracle_case *c, struct oracle_random *r)
{
	shift_cl(c, r);
	c->undefined_flags = count_of(c, true) > 1 ? OF : 0;
}

/* SHLD, SHRD: a count beyond the operand's size leaves everything undefined. */
static void double_shift(struct oracle_case *c, unsigned count)
{
	shift_flags(c, count);
	if (count > 8 * c->size)
		c->undefined = true;
}

static void double_imm(struct oracle_case *c, struct oracle_random *r)
{
	double_shift(c, count_of(c, false));
}

static void double_cl(struct oracle_case *c, struct oracle_random *r)
{
	shift_cl(c, r);
	double_shift(c, count_of(c, true));
}

/* clang-format off */
#define SHIFT(name, digit, undefined, by_imm, by_cl)                                               \
	{ name, "C0 /" digit " ib", O8, undefined, ALWAYS, by_imm },                               \
	{ name, "C1 /" digit " ib", OV, undefined, ALWAYS, by_imm },                               \
	{ name, "D0 /" digit, O8, undefined }, { name, "D1 /" digit, OV, undefined },              \
	{ name, "D2 /" digit, O8, undefined, ALWAYS, by_cl },                                      \
	{ name, "D3 /" digit, OV, undefined, ALWAYS, by_cl }
/* clang-format on */

static const struct oracle_template shift[] = {
	SHIFT("rol", "0", 0, rotate_imm, rotate_cl),
	SHIFT("ror", "1", 0, rotate_imm, rotate_cl),
	SHIFT("rcl", "2", 0, rotate_imm, rotate_cl),
	SHIFT("rcr", "3", 0, rotate_imm, rotate_cl),
	SHIFT("shl", "4", AF, shift_imm, shift_cl),
	SHIFT("shr", "5", AF, shift_imm, shift_cl),
	SHIFT("sal", "6", AF, shift_imm, shift_cl),
	SHIFT("sar", "7", AF, shift_imm, shift_cl),
	{"shld", "0F A4 /r ib", OV, AF, ALWAYS, double_imm},
	{"shld", "0F A5 /r", OV, AF, ALWAYS, double_cl},
	{"shrd", "0F AC /r ib", OV, AF, ALWAYS, double_imm},
	{"shrd", "0F AD /r", OV, AF, ALWAYS, double_cl},
};

#define BT_UNDEFINED (OF | SF | AF | PF)

/* The destination of a scan that finds nothing is left alone (AMD) or undefined (Intel). */
#define SCAN_UNDEFINED (CF | OF | SF | AF | PF)

static const struct oracle_template bit[] = {
	{"bt", "0F A3 /r", OV | BITS, BT_UNDEFINED},
	{"bts", "0F AB /r", OV | BITS | LOCKABLE, BT_UNDEFINED},
	{"btr", "0F B3 /r", OV | BITS | LOCKABLE, BT_UNDEFINED},
	{"btc", "0F BB /r", OV | BITS | LOCKABLE, BT_UNDEFINED},
	{"bt", "0F BA /4 ib", OV, BT_UNDEFINED},
	{"bts", "0F BA /5 ib", OV | LOCKABLE, BT_UNDEFINED},
	{"btr", "0F BA /6 ib", OV | LOCKABLE, BT_UNDEFINED},
	{"btc", "0F BA /7 ib", OV | LOCKABLE, BT_UNDEFINED},
	{"bsf", "0F BC /r", OV, SCAN_UNDEFINED},
	{"bsr", "0F BD /r", OV, SCAN_UNDEFINED},
	{"tzcnt", "F3 0F BC /r", OV | DEGRADES, OF | SF | AF | PF, BMI1},
	{"lzcnt", "F3 0F BD /r", OV | DEGRADES, OF | SF | AF | PF, LZCNT},
	{"popcnt", "F3 0F B8 /r", OV, 0, POPCNT},
	{"crc32", "F2 0F 38 F0 /r", O8, 0, SSE42},
	{"crc32", "F2 0F 38 F1 /r", OV, 0, SSE42},
	{"bswap", "0F C8 +r", O32 | O64},
	{"movbe", "0F 38 F0 /r", OV | MEM_ONLY, 0, MOVBE},
	{"movbe", "0F 38 F1 /r", OV | MEM_ONLY, 0, MOVBE},
	{"adcx", "66 0F 38 F6 /r", O32 | O64, 0, ADX},
	{"adox", "F3 0F 38 F6 /r", O32 | O64, 0, ADX},
};

/* Every second time makes the accumulator equal what it is compared with. */
static void compare_equal(struct oracle_case *c, struct oracle_random *r)
{
	uint64_t mask = ~0ull >> (64 - 8 * c->size), value;

	/* Whether a 32-bit register that is not replaced loses its upper half is the model's. */
	if (c->size == 4 && !c->memory)
		c->in.gpr[c->rm] &= mask;
	if (oracle_once_in(r, 2) || (c->used & 1u << X86_RAX))
		return;
	if (c->memory)
		memcpy(&value, oracle_memory(c, c->target), 8);
	else
		value = c->in.gpr[c->rm];
	c->in.gpr[X86_RAX] = (c->in.gpr[X86_RAX] & ~mask) | (value & mask);
}

static void compare_equal_pair(struct oracle_case *c, struct oracle_random *r)
{
	unsigned half = c->size == 8 ? 8 : 4;
	uint64_t value[2] = {0, 0};

	if (oracle_once_in(r, 2) || (c->used & (1u << X86_RAX | 1u << X86_RDX)))
		return;
	memcpy(&value[0], oracle_memory(c, c->target), half);
	memcpy(&value[1], oracle_memory(c, c->target) + half, half);
	c->in.gpr[X86_RAX] = value[0];
	c->in.gpr[X86_RDX] = value[1];
}

static void table_operand(struct oracle_case *c, struct oracle_random *r)
{
	c->in.gpr[X86_RBX] = ORACLE_TARGET + oracle_below(r, ORACLE_TARGET_SIZE);
}

static const struct oracle_template move[] = {
	{"mov", "88 /r", O8},
	{"mov", "89 /r", OV},
	{"mov", "8A /r", O8},
	{"mov", "8B /r", OV},
	{"mov", "A0 mo", O8},
	{"mov", "A1 mo", OV},
	{"mov", "A2 mo", O8},
	{"mov", "A3 mo", OV},
	{"mov", "B0 +r ib", O8},
	{"mov", "B8 +r iv", OV},
	{"mov", "C6 /0 ib", O8},
	{"mov", "C7 /0 iz", OV},
	{"movzx", "0F B6 /r", OV},
	{"movzx", "0F B7 /r", OV},
	{"movsx", "0F BE /r", OV},
	{"movsx", "0F BF /r", OV},
	{"movsxd", "63 /r", LONG | O32 | O64},
	{"movnti", "0F C3 /r", O32 | O64 | MEM_ONLY},
	{"xchg", "86 /r", O8 | LOCKABLE},
	{"xchg", "87 /r", OV | LOCKABLE},
	{"xchg", "90 +r", OV},
	{"xadd", "0F C0 /r", O8 | LOCKABLE},
	{"xadd", "0F C1 /r", OV | LOCKABLE},
	{"cmpxchg", "0F B0 /r", O8 | LOCKABLE, 0, ALWAYS, compare_equal},
	{"cmpxchg", "0F B1 /r", OV | LOCKABLE, 0, ALWAYS, compare_equal},
	{"cmpxchg8b", "0F C7 /1", O32 | MEM_ONLY | LOCKABLE, 0, ALWAYS, compare_equal_pair},
	{"cmpxchg16b", "0F C7 /1", LONG | O64 | MEM_ONLY | LOCKABLE | ALIGNED, 0, CX16,
		compare_equal_pair},
	{"lea", "8D /r", OV | MEM_ONLY},
	{"nop", "0F 1F /0", OV},
	{"endbr64", "F3 0F 1E FA", PLAIN},
	{"prefetch", "0F 18 /1", MEM_ONLY},
	{"prefetchw", "0F 0D /1", MEM_ONLY},
	{"pause", "F3 90", PLAIN},
	{"cbw", "98", OV},
	{"cwd", "99", OV},
	{"lahf", "9F", PLAIN, 0, LAHF},
	{"sahf", "9E", PLAIN, 0, LAHF},
	{"clc", "F8", PLAIN},
	{"stc", "F9", PLAIN},
	{"cmc", "F5", PLAIN},
	{"cld", "FC", PLAIN},
	{"std", "FD", PLAIN},
	{"xlat", "D7", PLAIN, 0, ALWAYS, table_operand},
};

/* clang-format off */
#define CONDITIONS(name, low, rest, how)                                                           \
	{ name "o", low "0" rest, how }, { name "no", low "1" rest, how },                         \
	{ name "b", low "2" rest, how }, { name "ae", low "3" rest, how },                         \
	{ name "e", low "4" rest, how }, { name "ne", low "5" rest, how },                         \
	{ name "be", low "6" rest, how }, { name "a", low "7" rest, how },                         \
	{ name "s", low "8" rest, how }, { name "ns", low "9" rest, how },                         \
	{ name "p", low "A" rest, how }, { name "np", low "B" rest, how },                         \
	{ name "l", low "C" rest, how }, { name "ge", low "D" rest, how },                         \
	{ name "le", low "E" rest, how }, { name "g", low "F" rest, how }
/* clang-format on */

static const struct oracle_template conditional[] = {
	CONDITIONS("set", "0F 9", " /0", O8),
	CONDITIONS("cmov", "0F 4", " /r", OV),
};

/* Pointers into the data and a count that keeps them there, now and then not. */
static void string_operands(struct oracle_case *c, struct oracle_random *r)
{
	uint64_t *g = c->in.gpr;
	uint8_t *from, *to;

	g[X86_RSI] = ORACLE_TARGET + oracle_below(r, ORACLE_TARGET_SIZE);
	g[X86_RDI] = ORACLE_TARGET + oracle_below(r, ORACLE_TARGET_SIZE);
	if (oracle_once_in(r, 4)) /* overlapping */
		g[X86_RDI] = g[X86_RSI] + oracle_below(r, 33) - 16;
	g[X86_RCX] = oracle_once_in(r, 40) ? oracle_below(r, 3000) : oracle_below(r, 100);
	if (oracle_once_in(r, 2))
		c->in.rflags ^= X86_FLAG_DF;
	/* Equal operands, so that REPE goes on for a while. */
	if (oracle_once_in(r, 2)) {
		unsigned n = oracle_below(r, 200);

		from = oracle_memory(c, g[X86_RSI] - n);
		to = oracle_memory(c, g[X86_RDI] - n);
		memmove(to, from, 2 * n);
		if (oracle_once_in(r, 2)) {
			memset(from, 0x5a, 2 * n);
			memset(to, 0x5a, 2 * n);
			g[X86_RAX] = 0x5a5a5a5a5a5a5a5a;
		}
	}
	if (c->address32)
		for (int i = X86_RCX; i <= X86_RDI; i++)
			if (i == X86_RCX || i == X86_RSI || i == X86_RDI)
				g[i] |= oracle_random(r) << 32;
}

/* clang-format off */
#define STRING(name, byte, word, how)                                                              \
	{ name, byte, O8 | REP_OK | (how), 0, ALWAYS, string_operands },                           \
	{ name, word, OV | REP_OK | (how), 0, ALWAYS, string_operands }
/* clang-format on */

static const struct oracle_template string[] = {
	STRING("movs", "A4", "A5", WIDE),
	STRING("cmps", "A6", "A7", WIDE),
	STRING("stos", "AA", "AB", 0),
	STRING("lods", "AC", "AD", 0),
	STRING("scas", "AE", "AF", 0),
};

const struct oracle_family oracle_integer[] = {
	ORACLE_FAMILY("alu", alu),
	ORACLE_FAMILY("unary", unary),
	ORACLE_FAMILY("multiply", multiply),
	ORACLE_FAMILY("shift", shift),
	ORACLE_FAMILY("bit", bit),
	ORACLE_FAMILY("move", move),
	ORACLE_FAMILY("conditional", conditional),
	ORACLE_FAMILY("string", string),
};
const unsigned oracle_integer_count = sizeof(oracle_integer) / sizeof(oracle_integer[0]);
