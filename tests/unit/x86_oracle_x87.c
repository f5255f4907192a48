/*
 * x86_oracle_x87.c - the x87 and the instructions that save and restore it. Encodings: Intel SDM
 * vol. 2. Each x87 instruction runs twice: with all exceptions masked, and with random masks and
 * a WAIT behind it, which shows what it left pending.
 */
#include <string.h>

#include "x86_oracle.h"

/* The six arithmetic instructions with their forms in D8, DC, DE, DA and DE's integers. */
/* clang-format off */
#define ARITHMETIC(name, digit, d8, dc, mask)                                                      \
	{ "f" name, "D8 /" digit, MEM_ONLY | F32 | mask },                                         \
	{ "f" name, "DC /" digit, MEM_ONLY | F64 | mask },                                         \
	{ "fi" name, "DA /" digit, MEM_ONLY | mask },                                              \
	{ "fi" name, "DE /" digit, MEM_ONLY | mask },                                              \
	{ "f" name, "D8 " d8 " +r", PLAIN | mask },                                                \
	{ "f" name, "DC " dc " +r", PLAIN | mask },                                                \
	{ "f" name "p", "DE " dc " +r", PLAIN | mask }
/* clang-format on */

/* clang-format off */
#define MEMORY(name, code, how, mask) { name, code, MEM_ONLY | (how) | mask }
/* clang-format on */
/* On ST(i). */
/* clang-format off */
#define STACK(name, code, mask) { name, code " +r", PLAIN | mask }
#define PLAIN_ONE(name, code, mask) { name, code, PLAIN | mask }
/* clang-format on */

#define X87_ARITHMETIC(mask)                                                                       \
	ARITHMETIC("add", "0", "C0", "C0", mask), ARITHMETIC("mul", "1", "C8", "C8", mask),        \
		ARITHMETIC("sub", "4", "E0", "E8", mask),                                          \
		ARITHMETIC("subr", "5", "E8", "E0", mask),                                         \
		ARITHMETIC("div", "6", "F0", "F8", mask),                                          \
		ARITHMETIC("divr", "7", "F8", "F0", mask)

#define X87_COMPARE(mask)                                                                          \
	MEMORY("fcom", "D8 /2", F32, mask), MEMORY("fcom", "DC /2", F64, mask),                    \
		MEMORY("fcomp", "D8 /3", F32, mask), MEMORY("fcomp", "DC /3", F64, mask),          \
		MEMORY("ficom", "DA /2", 0, mask), MEMORY("ficom", "DE /2", 0, mask),              \
		MEMORY("ficomp", "DA /3", 0, mask), MEMORY("ficomp", "DE /3", 0, mask),            \
		STACK("fcom", "D8 D0", mask), STACK("fcomp", "D8 D8", mask),                       \
		STACK("fucom", "DD E0", mask), STACK("fucomp", "DD E8", mask),                     \
		PLAIN_ONE("fcompp", "DE D9", mask), PLAIN_ONE("fucompp", "DA E9", mask),           \
		STACK("fcomi", "DB F0", mask), STACK("fcomip", "DF F0", mask),                     \
		STACK("fucomi", "DB E8", mask), STACK("fucomip", "DF E8", mask),                   \
		PLAIN_ONE("ftst", "D9 E4", mask), PLAIN_ONE("fxam", "D9 E5", mask)

#define X87_MOVE(mask)                                                                             \
	MEMORY("fld", "D9 /0", F32, mask), MEMORY("fld", "DD /0", F64, mask),                      \
		MEMORY("fld", "DB /5", F80, mask), MEMORY("fst", "D9 /2", 0, mask),                \
		MEMORY("fst", "DD /2", 0, mask), MEMORY("fstp", "D9 /3", 0, mask),                 \
		MEMORY("fstp", "DD /3", 0, mask), MEMORY("fstp", "DB /7", 0, mask),                \
		MEMORY("fild", "DF /0", 0, mask), MEMORY("fild", "DB /0", 0, mask),                \
		MEMORY("fild", "DF /5", 0, mask), MEMORY("fist", "DF /2", 0, mask),                \
		MEMORY("fist", "DB /2", 0, mask), MEMORY("fistp", "DF /3", 0, mask),               \
		MEMORY("fistp", "DB /3", 0, mask), MEMORY("fistp", "DF /7", 0, mask),              \
		MEMORY("fisttp", "DF /1", 0, mask), MEMORY("fisttp", "DB /1", 0, mask),            \
		MEMORY("fisttp", "DD /1", 0, mask), MEMORY("fbld", "DF /4", BCD, mask),            \
		MEMORY("fbstp", "DF /6", 0, mask), STACK("fld", "D9 C0", mask),                    \
		STACK("fst", "DD D0", mask), STACK("fstp", "DD D8", mask),                         \
		STACK("fxch", "D9 C8", mask), STACK("ffree", "DD C0", mask),                       \
		STACK("fcmovb", "DA C0", mask), STACK("fcmove", "DA C8", mask),                    \
		STACK("fcmovbe", "DA D0", mask), STACK("fcmovu", "DA D8", mask),                   \
		STACK("fcmovnb", "DB C0", mask), STACK("fcmovne", "DB C8", mask),                  \
		STACK("fcmovnbe", "DB D0", mask), STACK("fcmovnu", "DB D8", mask),                 \
		PLAIN_ONE("fld1", "D9 E8", mask), PLAIN_ONE("fldl2t", "D9 E9", mask),              \
		PLAIN_ONE("fldl2e", "D9 EA", mask), PLAIN_ONE("fldpi", "D9 EB", mask),             \
		PLAIN_ONE("fldlg2", "D9 EC", mask), PLAIN_ONE("fldln2", "D9 ED", mask),            \
		PLAIN_ONE("fldz", "D9 EE", mask), PLAIN_ONE("fdecstp", "D9 F6", mask),             \
		PLAIN_ONE("fincstp", "D9 F7", mask), PLAIN_ONE("fnop", "D9 D0", mask)

#define X87_FUNCTION(mask)                                                                         \
	PLAIN_ONE("fchs", "D9 E0", mask), PLAIN_ONE("fabs", "D9 E1", mask),                        \
		PLAIN_ONE("f2xm1", "D9 F0", mask), PLAIN_ONE("fyl2x", "D9 F1", mask),              \
		PLAIN_ONE("fptan", "D9 F2", mask), PLAIN_ONE("fpatan", "D9 F3", mask),             \
		PLAIN_ONE("fxtract", "D9 F4", mask), PLAIN_ONE("fprem1", "D9 F5", mask),           \
		PLAIN_ONE("fprem", "D9 F8", mask), PLAIN_ONE("fyl2xp1", "D9 F9", mask),            \
		PLAIN_ONE("fsqrt", "D9 FA", mask), PLAIN_ONE("fsincos", "D9 FB", mask),            \
		PLAIN_ONE("frndint", "D9 FC", mask), PLAIN_ONE("fscale", "D9 FD", mask),           \
		PLAIN_ONE("fsin", "D9 FE", mask), PLAIN_ONE("fcos", "D9 FF", mask)

static const struct oracle_template x87_arithmetic[] = {X87_ARITHMETIC(0)};
static const struct oracle_template x87_compare[] = {X87_COMPARE(0)};
static const struct oracle_template x87_move[] = {X87_MOVE(0)};
static const struct oracle_template x87_function[] = {X87_FUNCTION(0)};
static const struct oracle_template x87_unmasked[] = {
	X87_ARITHMETIC(CONTROL | FENCED),
	X87_COMPARE(CONTROL | FENCED),
	X87_MOVE(CONTROL | FENCED),
	X87_FUNCTION(CONTROL | FENCED),
};

/* Mostly a control word without reserved bits. */
static void environment(struct oracle_case *c, struct oracle_random *r)
{
	uint16_t fcw = (uint16_t)(0x40 | (oracle_random(r) & 0xf3f));

	if (!oracle_once_in(r, 8))
		memcpy(oracle_memory(c, c->target), &fcw, 2);
}

/* Environments hold the pointers of the last instruction, which processors keep or not. */
static void environment_stored(struct oracle_case *c, struct oracle_random *r)
{
	unsigned words = c->size == 2 ? 2 : 4;

	c->ignore[0].at = c->target + 3 * words;
	c->ignore[0].size = 4 * words;
}

/* A whole FXSAVE area: the case's own, changed a little. */
static void restore_area(struct oracle_case *c, struct oracle_random *r)
{
	struct x86_fx fx = c->in.fx;

	for (int i = 0; i < 8; i++)
		oracle_real80(r, fx.st[i]);
	for (int i = 0; i < 16; i++)
		oracle_fill(r, 0, fx.xmm[i], 16);
	fx.fcw = (uint16_t)(0x7f | oracle_below(r, 16) << 8);
	fx.fsw = (uint16_t)(oracle_random(r) & 0x7f00);
	fx.ftw = (uint8_t)oracle_random(r);
	fx.mxcsr = 0x1f80 | (oracle_below(r, 8) << 13);
	if (oracle_once_in(r, 10))
		fx.mxcsr |= 0x10000;
	memcpy(oracle_memory(c, c->target), &fx, sizeof(fx));
}

static void save_area(struct oracle_case *c, struct oracle_random *r)
{
	/* FOP, FIP, FDP; MXCSR_MASK. */
	c->ignore[0].at = c->target + 6;
	c->ignore[0].size = 18;
	c->ignore[1].at = c->target + 28;
	c->ignore[1].size = 4;
}

/* XSAVE and XRSTOR of the x87 and SSE components, at an absolute address: RAX holds the mask. */
static void xsave_area(struct oracle_case *c, struct oracle_random *r, uint8_t digit)
{
	uint8_t *header;

	c->memory = true;
	c->target = ORACLE_TARGET + 64 * oracle_below(r, 32) + (oracle_once_in(r, 32) ? 8 : 0);
	header = oracle_memory(c, c->target) + 512;
	restore_area(c, r);
	c->in.gpr[X86_RAX] = oracle_below(r, 4);
	c->in.gpr[X86_RDX] = 0;
	memset(header, 0, 64);
	header[0] = (uint8_t)oracle_below(r, 4);
	if (oracle_once_in(r, 16))
		header[oracle_below(r, 64)] = 0x40;
	if (!c->bits32 && oracle_once_in(r, 2))
		oracle_emit8(c, 0x48);
	oracle_emit(c, "\x0f\xae", 2);
	oracle_emit8(c, (uint8_t)((c->bits32 ? 5 : 4) | digit << 3));
	if (!c->bits32)
		oracle_emit8(c, 0x25);
	oracle_emit32(c, (uint32_t)c->target);
}

static void xsave(struct oracle_case *c, struct oracle_random *r)
{
	xsave_area(c, r, 4);
	save_area(c, r);
}

static void xrstor(struct oracle_case *c, struct oracle_random *r)
{
	xsave_area(c, r, 5);
}

static const struct oracle_template x87_state[] = {
	MEMORY("fldcw", "D9 /5", 0, 0),
	MEMORY("fnstcw", "D9 /7", 0, 0),
	MEMORY("fnstsw", "DD /7", 0, 0),
	PLAIN_ONE("fnstsw", "DF E0", 0),
	PLAIN_ONE("fnclex", "DB E2", CONTROL),
	PLAIN_ONE("fninit", "DB E3", CONTROL),
	PLAIN_ONE("fwait", "9B", CONTROL),
	{"fldenv", "D9 /4", MEM_ONLY | WIDE | O16 | O32, 0, ALWAYS, environment},
	{"fnstenv", "D9 /6", MEM_ONLY | WIDE | O16 | O32, 0, ALWAYS, environment_stored},
	{"frstor", "DD /4", MEM_ONLY | WIDE | O16 | O32, 0, ALWAYS, environment},
	{"fnsave", "DD /6", MEM_ONLY | WIDE | O16 | O32, 0, ALWAYS, environment_stored},
	{"fxsave", "0F AE /0", MEM_ONLY | WIDE | ALIGNED | O32 | O64, 0, ALWAYS, save_area},
	{"fxrstor", "0F AE /1", MEM_ONLY | WIDE | ALIGNED | O32 | O64, 0, ALWAYS, restore_area},
	{"xsave", NULL, 0, 0, XSAVE, xsave},
	{"xrstor", NULL, 0, 0, XSAVE, xrstor},
};

const struct oracle_family oracle_x87[] = {
	ORACLE_FAMILY("x87_arithmetic", x87_arithmetic),
	ORACLE_FAMILY("x87_compare", x87_compare),
	ORACLE_FAMILY("x87_move", x87_move),
	ORACLE_FAMILY("x87_function", x87_function),
	ORACLE_FAMILY("x87_unmasked", x87_unmasked),
	ORACLE_FAMILY("x87_state", x87_state),
};
const unsigned oracle_x87_count = sizeof(oracle_x87) / sizeof(oracle_x87[0]);
