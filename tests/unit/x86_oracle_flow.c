/*
 * x86_oracle_flow.c - branches, the stack, what CPL 3 may not do, and what only 32-bit code has.
 * Encodings and undefined flags: Intel SDM vol. 2.
 *
 * A branch skips a store to a mark, so where it went shows in memory.
 */
#include <string.h>

#include "x86_oracle.h"

/* MOV dword [mark], n: what it takes, and the code. */
static unsigned mark_length(const struct oracle_case *c)
{
	return c->bits32 ? 10 : 11;
}

static void mark(struct oracle_case *c, uint32_t n)
{
	oracle_emit8(c, 0xc7);
	if (c->bits32)
		oracle_emit8(c, 0x05);
	else
		oracle_emit(c, "\x04\x25", 2);
	oracle_emit32(c, ORACLE_DATA + 4 * n);
	oracle_emit32(c, n);
}

static uint32_t here(const struct oracle_case *c)
{
	return ORACLE_START + c->length;
}

static void jump_if_short(struct oracle_case *c, struct oracle_random *r)
{
	oracle_emit8(c, 0x70 | oracle_below(r, 16));
	oracle_emit8(c, (uint8_t)mark_length(c));
	mark(c, 1);
	mark(c, 2);
}

static void jump_if_near(struct oracle_case *c, struct oracle_random *r)
{
	oracle_emit8(c, 0x0f);
	oracle_emit8(c, 0x80 | oracle_below(r, 16));
	oracle_emit32(c, mark_length(c));
	mark(c, 1);
	mark(c, 2);
}

static void loop(struct oracle_case *c, struct oracle_random *r)
{
	uint64_t *rcx = &c->in.gpr[X86_RCX];

	if (oracle_once_in(r, 2))
		*rcx = (*rcx & ~0xffffffffull) | oracle_below(r, 3);
	if (!c->bits32 && oracle_once_in(r, 2))
		oracle_emit8(c, 0x67);
	oracle_emit8(c, 0xe0 | oracle_below(r, 4));
	oracle_emit8(c, (uint8_t)mark_length(c));
	mark(c, 1);
	mark(c, 2);
}

/* JMP and CALL: relative, through a register, through memory. @digit: of FF. */
static void branch(struct oracle_case *c, struct oracle_random *r, uint8_t near, uint8_t digit)
{
	unsigned n = oracle_below(r, 8);
	unsigned form = oracle_below(r, 3), length = form == 0 ? 5 : form == 1 ? 2 : 7;
	uint64_t target = here(c) + length + mark_length(c);

	if (form == 2 && c->bits32)
		target--; /* a byte less without SIB */
	if (form == 0) {
		oracle_emit8(c, near);
		oracle_emit32(c, mark_length(c));
	} else if (form == 1) {
		while (n == X86_RSP)
			n = oracle_below(r, 8);
		c->in.gpr[n] = target;
		oracle_emit8(c, 0xff);
		oracle_emit8(c, (uint8_t)(0xc0 | digit << 3 | n));
	} else {
		memcpy(oracle_memory(c, ORACLE_TARGET), &target, 8);
		oracle_emit8(c, 0xff);
		oracle_emit8(c, (uint8_t)((c->bits32 ? 5 : 4) | digit << 3));
		if (!c->bits32)
			oracle_emit8(c, 0x25);
		oracle_emit32(c, ORACLE_TARGET);
	}
	mark(c, 1);
	mark(c, 2);
}

static void jump(struct oracle_case *c, struct oracle_random *r)
{
	branch(c, r, 0xe9, 4);
}

static void call(struct oracle_case *c, struct oracle_random *r)
{
	branch(c, r, 0xe8, 2);
}

/* RET to behind the mark; the return address is data of the case. */
static void ret(struct oracle_case *c, struct oracle_random *r)
{
	bool pops = oracle_once_in(r, 2);
	uint64_t target = here(c) + (pops ? 3 : 1) + mark_length(c);

	memcpy(oracle_memory(c, c->in.gpr[X86_RSP]), &target, c->bits32 ? 4 : 8);
	oracle_emit8(c, pops ? 0xc2 : 0xc3);
	if (pops) {
		oracle_emit8(c, (uint8_t)oracle_random(r));
		oracle_emit8(c, (uint8_t)oracle_below(r, 2));
	}
	mark(c, 1);
	mark(c, 2);
}

static const struct oracle_template branches[] = {
	{"jcc short", NULL, 0, 0, ALWAYS, jump_if_short},
	{"jcc near", NULL, 0, 0, ALWAYS, jump_if_near},
	{"loop", NULL, 0, 0, ALWAYS, loop},
	{"jmp", NULL, 0, 0, ALWAYS, jump},
	{"call", NULL, 0, 0, ALWAYS, call},
	{"ret", NULL, 0, 0, ALWAYS, ret},
};

/* Flags to be popped: not TF, which would single-step what follows. */
static void popped_flags(struct oracle_case *c, struct oracle_random *r)
{
	uint64_t value = oracle_random(r) & ~(uint64_t)X86_FLAG_TF;

	memcpy(oracle_memory(c, c->in.gpr[X86_RSP]), &value, 8);
}

/* A frame pointer that points into the data. */
static void frame(struct oracle_case *c, struct oracle_random *r)
{
	if (!oracle_once_in(r, 16))
		c->in.gpr[X86_RBP] =
			ORACLE_TARGET + 0x100 + oracle_below(r, ORACLE_TARGET_SIZE - 0x200);
}

/* ENTER: mostly a frame that fits. */
static void new_frame(struct oracle_case *c, struct oracle_random *r)
{
	frame(c, r);
	if (!oracle_once_in(r, 4))
		c->code[c->length - 2] &= 0x07;
}

#define STACK (O16 | O64 | D64)

static const struct oracle_template stack[] = {
	{"push", "50 +r", STACK},
	{"push", "FF /6", STACK},
	{"push", "6A ib", STACK},
	{"push", "68 iz", STACK},
	{"pop", "58 +r", STACK},
	{"pop", "8F /0", STACK},
	{"pushf", "9C", STACK | PLAIN},
	{"popf", "9D", STACK | PLAIN, 0, ALWAYS, popped_flags},
	{"enter", "C8 iw 00", STACK | PLAIN, 0, ALWAYS, new_frame},
	{"enter", "C8 iw ib", STACK | PLAIN, 0, ALWAYS, new_frame},
	{"leave", "C9", STACK | PLAIN, 0, ALWAYS, frame},
};

/* All of these fault at CPL 3 with IOPL 0. */
static const struct oracle_template privileged[] = {
	{"hlt", "F4", PLAIN},
	{"cli", "FA", PLAIN},
	{"sti", "FB", PLAIN},
	{"in", "E4 ib", PLAIN},
	{"in", "ED", PLAIN},
	{"out", "E7 ib", PLAIN},
	{"out", "EE", PLAIN},
	{"ins", "6C", PLAIN},
	{"outs", "6F", PLAIN},
	{"clts", "0F 06", PLAIN},
	{"invd", "0F 08", PLAIN},
	{"wbinvd", "0F 09", PLAIN},
	{"wrmsr", "0F 30", PLAIN},
	{"rdmsr", "0F 32", PLAIN},
	{"mov from cr0", "0F 20 C0", PLAIN},
	{"mov to cr3", "0F 22 D8", PLAIN},
	{"mov from dr7", "0F 21 F8", PLAIN},
	{"lldt", "0F 00 D0", PLAIN},
	{"ltr", "0F 00 D8", PLAIN},
	{"lgdt", "0F 01 /2", MEM_ONLY},
	{"lidt", "0F 01 /3", MEM_ONLY},
	{"lmsw", "0F 01 F0", PLAIN},
	{"invlpg", "0F 01 /7", MEM_ONLY},
	{"swapgs", "0F 01 F8", PLAIN | LONG},
	{"xsetbv", "0F 01 D1", PLAIN, 0, XSAVE},
	{"sysret", "0F 07", PLAIN | LONG},
	{"ud2", "0F 0B", PLAIN},
};

/* Writes GS's base, which nothing on the host uses, and reads it back. */
static void gs_base(struct oracle_case *c, struct oracle_random *r)
{
	uint8_t wide = oracle_once_in(r, 4) ? 0x40 : 0x48;
	uint8_t n = (uint8_t)oracle_below(r, 8), to = (uint8_t)oracle_below(r, 8);

	oracle_emit(c, (uint8_t[]){0xf3, wide, 0x0f, 0xae, 0xd8 | n}, 5);
	oracle_emit(c, (uint8_t[]){0xf3, wide, 0x0f, 0xae, 0xc8 | to}, 5);
}

/* Through GS with a base: MOV r, gs:[disp32]. */
static void gs_load(struct oracle_case *c, struct oracle_random *r)
{
	c->in.gpr[X86_RAX] = ORACLE_TARGET + oracle_below(r, 0x100) - 0x80;
	oracle_emit(c, (uint8_t[]){0xf3, 0x48, 0x0f, 0xae, 0xd8}, 5);
	oracle_emit(c, "\x65\x48\x8b\x0c\x25\x80\x00\x00\x00", 9);
	oracle_emit(c, "\x65\x48\x8d\x14\x25\x80\x00\x00\x00", 9);
	oracle_emit(c, "\x65\x48\xff\x04\x25\x90\x00\x00\x00", 9);
}

static const struct oracle_template segment_base[] = {
	{"wrgsbase", NULL, LONG, 0, FSGSBASE, gs_base},
	{"gs override", NULL, LONG, 0, FSGSBASE, gs_load},
};

/* With EFLAGS.AC set, CPL 3 may not access memory off its alignment. */
static void checked(struct oracle_case *c, struct oracle_random *r)
{
	c->in.rflags |= X86_FLAG_AC;
}

static const struct oracle_template alignment[] = {
	{"add", "01 /r", OV | MEM_ONLY | LOCKABLE, 0, ALWAYS, checked},
	{"mov", "8B /r", OV | MEM_ONLY, 0, ALWAYS, checked},
	{"mov", "88 /r", O8 | MEM_ONLY, 0, ALWAYS, checked},
	{"cmpxchg8b", "0F C7 /1", O32 | MEM_ONLY, 0, ALWAYS, checked},
	{"push", "FF /6", STACK | MEM_ONLY, 0, ALWAYS, checked},
	{"push", "50 +r", STACK, 0, ALWAYS, checked},
	{"movq", "F3 0F 7E /r", MEM_ONLY, 0, ALWAYS, checked},
	{"movss", "F3 0F 10 /r", MEM_ONLY, 0, ALWAYS, checked},
	{"fld", "DD /0", MEM_ONLY, 0, ALWAYS, checked},
	{"fild", "DF /0", MEM_ONLY, 0, ALWAYS, checked},
};

/* clang-format off */
#define ALIAS(name, digit, undefined) { name, "82 /" digit " ib", LEGACY | O8, undefined }
/* clang-format on */

static const struct oracle_template legacy[] = {
	{"daa", "27", LEGACY | PLAIN, OF},
	{"das", "2F", LEGACY | PLAIN, OF},
	{"aaa", "37", LEGACY | PLAIN, OF | SF | ZF | PF},
	{"aas", "3F", LEGACY | PLAIN, OF | SF | ZF | PF},
	{"aam", "D4 ib", LEGACY | PLAIN, OF | AF | CF},
	{"aad", "D5 ib", LEGACY | PLAIN, OF | AF | CF},
	{"salc", "D6", LEGACY | PLAIN},
	{"inc", "40 +r", LEGACY | O16 | O32},
	{"dec", "48 +r", LEGACY | O16 | O32},
	{"pusha", "60", LEGACY | PLAIN | O16 | O32},
	{"popa", "61", LEGACY | PLAIN | O16 | O32},
	{"push es", "06", LEGACY | PLAIN},
	{"push cs", "0E", LEGACY | PLAIN},
	{"push ss", "16", LEGACY | PLAIN},
	{"push ds", "1E", LEGACY | PLAIN},
	{"bound", "62 /r", LEGACY | MEM_ONLY | O16 | O32},
	/* Without overrides: whether a write that does not come about is checked is the model's. */
	{"arpl", "63 /r", LEGACY | PLAIN | O16},
	ALIAS("add", "0", 0),
	ALIAS("or", "1", AF),
	ALIAS("adc", "2", 0),
	ALIAS("sbb", "3", 0),
	ALIAS("and", "4", AF),
	ALIAS("sub", "5", 0),
	ALIAS("xor", "6", AF),
	ALIAS("cmp", "7", 0),
};

const struct oracle_family oracle_flow[] = {
	ORACLE_FAMILY("branch", branches),
	ORACLE_FAMILY("stack", stack),
	ORACLE_FAMILY("privileged", privileged),
	ORACLE_FAMILY("segment_base", segment_base),
	ORACLE_FAMILY("alignment", alignment),
	ORACLE_FAMILY("legacy", legacy),
};
const unsigned oracle_flow_count = sizeof(oracle_flow) / sizeof(oracle_flow[0]);
