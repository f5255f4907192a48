/*
 * x86_oracle_encode.c - random machine code and operands from a template.
 *
 * It promises code that is valid by the Intel SDM (vol. 2, chapter 2) and memory operands that
 * nearly always lie in the case's data; now and then it lets an address, an alignment or a LOCK go
 * wrong on purpose, since faults are compared too.
 */
#include <stdlib.h>
#include <string.h>

#include "x86_oracle.h"

/* An encoding being put together: what precedes and what follows the REX prefix. */
struct encoder {
	struct oracle_case *c;
	struct oracle_random *r;
	uint32_t how;
	uint8_t mandatory;
	uint8_t rex;
	uint8_t opcode[4];
	unsigned opcode_length;
	bool modrm;
	int digit;	  /* of ModRM.reg, or -1 */
	uint8_t tail[24]; /* ModRM, SIB, displacement, immediate */
	unsigned tail_length;
	int relative; /* where in tail a RIP-relative displacement is, or -1 */
};

void oracle_emit(struct oracle_case *c, const void *bytes, unsigned count)
{
	if (c->length + count > ORACLE_CODE_MAX)
		abort();
	memcpy(c->code + c->length, bytes, count);
	c->length += count;
}

void oracle_emit8(struct oracle_case *c, uint8_t byte)
{
	oracle_emit(c, &byte, 1);
}

void oracle_emit32(struct oracle_case *c, uint32_t value)
{
	oracle_emit(c, &value, 4);
}

uint8_t *oracle_memory(struct oracle_case *c, uint64_t address)
{
	if (address < ORACLE_DATA || address >= ORACLE_DATA + ORACLE_DATA_SIZE)
		abort();
	return c->data + (address - ORACLE_DATA);
}

static void tail(struct encoder *e, uint64_t value, unsigned count)
{
	memcpy(e->tail + e->tail_length, &value, count);
	e->tail_length += count;
}

static unsigned random_register(struct encoder *e)
{
	return oracle_below(e->r, e->c->bits32 ? 8 : 16);
}

/* ----- the state a case starts from ----- */

static void random_fx(struct x86_fx *fx, uint32_t how, struct oracle_random *r)
{
	fx->fcw = (uint16_t)(0x7f | oracle_below(r, 16) << 8);
	if (oracle_once_in(r, 2))
		fx->fcw = 0x37f;
	fx->fsw = (uint16_t)(oracle_random(r) & 0x7f00);
	fx->ftw = (uint8_t)(oracle_once_in(r, 4) ? oracle_random(r) : 0xff);
	fx->mxcsr = 0x1f80 | oracle_below(r, 4) << 13;
	if (oracle_once_in(r, 4))
		fx->mxcsr |= oracle_below(r, 64);
	if (oracle_once_in(r, 4))
		fx->mxcsr |= 0x8000;
	if (oracle_once_in(r, 4))
		fx->mxcsr |= 0x0040;
	if (how & CONTROL) {
		if (oracle_once_in(r, 2))
			fx->fcw &= (uint16_t)~oracle_below(r, 64);
		if (oracle_once_in(r, 2))
			fx->mxcsr &= ~(oracle_below(r, 64) << 7);
		if (oracle_once_in(r, 4))
			fx->fsw |= (uint16_t)(oracle_below(r, 64));
	}
	/* The summary bits follow from the flags and masks. */
	if (fx->fsw & ~fx->fcw & 0x3f)
		fx->fsw |= 0x8080;
	fx->mxcsr_mask = 0xffff;
	for (int i = 0; i < 8; i++)
		oracle_real80(r, fx->st[i]);
	for (int i = 0; i < 16; i++)
		oracle_fill(r, how & (F32 | F64), fx->xmm[i], 16);
}

static void random_state(struct oracle_case *c, struct oracle_random *r)
{
	struct oracle_state *s = &c->in;

	for (int i = 0; i < 16; i++)
		s->gpr[i] = oracle_integer_value(r);
	s->gpr[X86_RSP] = ORACLE_TARGET + ORACLE_TARGET_SIZE / 2 + oracle_below(r, 64) * 8;
	if (oracle_once_in(r, 8))
		s->gpr[X86_RSP] += oracle_below(r, 8);
	s->rflags = X86_FLAG_1 | X86_FLAG_IF | (oracle_random(r) & X86_FLAGS_ARITH);
	if (oracle_once_in(r, 8))
		s->rflags |= X86_FLAG_DF;
	s->rip = ORACLE_START;
	random_fx(&s->fx, c->template->how, r);
	for (unsigned i = 0; i < ORACLE_DATA_SIZE; i += 8) {
		uint64_t value = oracle_random(r);

		memcpy(c->data + i, &value, 8);
	}
}

/* ----- ModRM ----- */

static uint64_t choose_target(struct encoder *e)
{
	uint32_t how = e->how;
	unsigned align = how & ALIGNED64 ? 64 : how & ALIGNED ? 16 : e->c->size;
	uint64_t target = ORACLE_TARGET + oracle_below(e->r, ORACLE_TARGET_SIZE - 0x400);

	if (how & (ALIGNED | ALIGNED64))
		return oracle_once_in(e->r, 32) ? target : target & -(uint64_t)align;
	if (oracle_once_in(e->r, 2))
		target &= -(uint64_t)align;
	else if (oracle_once_in(e->r, 4)) /* across pages */
		target = (target & ~0xfffull) + 0x1000 - oracle_below(e->r, 16);
	return target;
}

/* Makes register @n hold @value, as far as the address size shows. */
static void set_address_register(struct encoder *e, unsigned n, uint64_t value)
{
	if (e->c->address32)
		value = (uint32_t)value | (oracle_once_in(e->r, 2) ? oracle_random(e->r) << 32 : 0);
	if (e->c->bits32)
		value = (uint32_t)value;
	if ((e->how & WIDE) || !oracle_once_in(e->r, 100))
		e->c->in.gpr[n] = value;
	e->c->used |= (uint16_t)(1u << n);
}

static void memory_operand(struct encoder *e, uint8_t reg)
{
	struct oracle_case *c = e->c;
	unsigned form = oracle_below(e->r, 8);
	unsigned base = random_register(e), index = random_register(e),
		 scale = oracle_below(e->r, 4);
	int64_t disp = 0;
	bool sib = form >= 3, small = form == 1 || form == 4;
	uint8_t mod;

	c->memory = true;
	c->target = choose_target(e);
	oracle_fill(e->r, e->how & (F32 | F64 | F80 | BCD), oracle_memory(c, c->target), 32);
	if (e->how & BITS)
		while ((base & 15) == c->reg)
			base = random_register(e);
	if (form == 6) { /* no base: disp32, perhaps with an index */
		tail(e, 0x04 | reg << 3, 1);
		if (oracle_once_in(e->r, 2) || index == 4 || ((e->how & BITS) && index == c->reg)) {
			tail(e, 0x25, 1);
		} else {
			int64_t value = (int64_t)oracle_below(e->r, 0x10000) - 0x8000;

			set_address_register(e, index, (uint64_t)value);
			disp = -(int64_t)(c->in.gpr[index] << scale);
			tail(e, 0x05 | (index & 7) << 3 | scale << 6, 1);
			e->rex |= index >= 8 ? 2 : 0;
		}
		tail(e, (uint64_t)((int64_t)c->target + disp), 4);
		return;
	}
	if (form == 7) { /* RIP-relative; in 32-bit code the same bits mean disp32 */
		tail(e, 0x05 | reg << 3, 1);
		if (!c->bits32)
			e->relative = (int)e->tail_length;
		tail(e, c->target, 4);
		return;
	}
	if (sib && (index == 4 || index == base || ((e->how & BITS) && index == c->reg)))
		sib = false;
	if (small)
		disp = (int8_t)oracle_random(e->r);
	else if (form == 2 || form == 5)
		disp = (int32_t)oracle_random(e->r);
	else if ((base & 7) == 5)
		small = true;
	mod = small ? 1 : form == 2 || form == 5 ? 2 : 0;
	e->rex |= base >= 8 ? 1 : 0;
	set_address_register(
		e, base, c->target - (uint64_t)disp - (sib ? c->in.gpr[index] << scale : 0));
	if (sib) {
		c->used |= (uint16_t)(1u << index);
		e->rex |= index >= 8 ? 2 : 0;
		tail(e, mod << 6 | reg << 3 | 4, 1);
		tail(e, scale << 6 | (index & 7) << 3 | (base & 7), 1);
	} else if ((base & 7) == 4) {
		tail(e, mod << 6 | reg << 3 | 4, 1);
		tail(e, 0x20 | 4, 1);
	} else {
		tail(e, mod << 6 | reg << 3 | (base & 7), 1);
	}
	tail(e, (uint64_t)disp, mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

static void modrm(struct encoder *e)
{
	struct oracle_case *c = e->c;
	uint32_t how = e->how;
	bool memory = how & MEM_ONLY || (!(how & REG_ONLY) && oracle_once_in(e->r, 2));

	if (e->digit >= 0) {
		c->reg = (unsigned)e->digit;
	} else {
		c->reg = random_register(e);
		e->rex |= c->reg >= 8 ? 4 : 0;
		if ((how & BITS) && memory)
			c->in.gpr[c->reg] =
				(uint64_t)((int64_t)oracle_below(e->r, 0x8000) - 0x4000);
	}
	if (memory) {
		memory_operand(e, c->reg & 7);
		return;
	}
	c->rm = random_register(e);
	e->rex |= c->rm >= 8 ? 1 : 0;
	tail(e, 0xc0 | (c->reg & 7) << 3 | (c->rm & 7), 1);
}

/* ----- the template ----- */

static void immediate(struct encoder *e, unsigned size)
{
	uint64_t value = oracle_integer_value(e->r);

	e->c->imm = (uint8_t)value;
	tail(e, value, size);
}

static void token(struct encoder *e, const char *t, unsigned n)
{
	struct oracle_case *c = e->c;

	if (n == 2 && t[0] == '/') {
		e->digit = t[1] == 'r' ? -1 : t[1] - '0';
		modrm(e);
	} else if (!strncmp(t, "+r", n)) {
		c->reg = random_register(e);
		e->rex |= c->reg >= 8 ? 1 : 0;
		e->opcode[e->opcode_length - 1] |= c->reg & 7;
	} else if (!strncmp(t, "ib", n)) {
		immediate(e, 1);
	} else if (!strncmp(t, "iw", n)) {
		immediate(e, 2);
	} else if (!strncmp(t, "iz", n)) {
		immediate(e, c->size == 2 ? 2 : 4);
	} else if (!strncmp(t, "iv", n)) {
		immediate(e, c->size);
	} else if (!strncmp(t, "mo", n)) {
		c->memory = true;
		c->target = choose_target(e);
		tail(e, c->target, c->bits32 || c->address32 ? 4 : 8);
	} else {
		uint8_t byte = (uint8_t)strtoul(t, NULL, 16);

		if (!e->opcode_length && !e->mandatory && t[n] &&
			(byte == 0x66 || byte == 0xf2 || byte == 0xf3))
			e->mandatory = byte;
		else
			e->opcode[e->opcode_length++] = byte;
	}
}

static void parse(struct encoder *e, const char *code)
{
	while (*code) {
		unsigned n = (unsigned)strcspn(code, " ");

		token(e, code, n);
		code += n;
		while (*code == ' ')
			code++;
	}
}

static unsigned choose_size(uint32_t how, struct oracle_random *r, bool bits32)
{
	unsigned sizes = how & (O8 | OV);

	if (bits32)
		sizes = how & D64 ? (sizes & ~O64) | O32 : sizes & ~O64;
	if (!sizes)
		return 4;
	for (;;) {
		unsigned n = oracle_below(r, 4);

		if (sizes & 1u << n)
			return 1u << n;
	}
}

static void prefixes(struct encoder *e)
{
	static const uint8_t ignored[4] = {0x26, 0x2e, 0x36, 0x3e};
	struct oracle_case *c = e->c;
	uint32_t how = e->how;

	if ((how & LOCKABLE) && oracle_once_in(e->r, c->memory ? 2 : 64)) {
		c->lock = true;
		oracle_emit8(c, 0xf0);
	}
	if (!(how & PLAIN) && oracle_once_in(e->r, 16))
		oracle_emit8(c, ignored[oracle_below(e->r, 4)]);
	if (c->size == 2 && (how & O16))
		oracle_emit8(c, 0x66);
	if (c->address32)
		oracle_emit8(c, 0x67);
	if ((how & REP_OK) && !oracle_once_in(e->r, 4))
		oracle_emit8(c, oracle_once_in(e->r, 2) ? 0xf2 : 0xf3);
	if (e->mandatory)
		oracle_emit8(c, e->mandatory);
	if (c->size == 8 && (how & O64) && !(how & D64))
		e->rex |= 8;
	if (c->bits32)
		return;
	if (e->rex || (!(how & PLAIN) && oracle_once_in(e->r, 6)))
		oracle_emit8(c, 0x40 | e->rex);
}

void oracle_make(struct oracle_case *c, const struct oracle_template *t, struct oracle_random *r)
{
	struct encoder e = {.c = c, .r = r, .how = t->how, .digit = -1, .relative = -1};

	memset(c, 0, offsetof(struct oracle_case, data));
	memset(&c->size, 0, sizeof(*c) - offsetof(struct oracle_case, size));
	c->template = t;
	c->bits32 = t->how & LEGACY || (!(t->how & LONG) && oracle_once_in(r, 4));
	random_state(c, r);
	c->undefined_flags = t->undefined;
	if (t->code) {
		c->size = choose_size(t->how, r, c->bits32);
		c->address32 = !c->bits32 && !(t->how & PLAIN) && oracle_once_in(r, 12);
		parse(&e, t->code);
		prefixes(&e);
		oracle_emit(c, e.opcode, e.opcode_length);
		if (e.relative >= 0) {
			uint32_t end = ORACLE_START + c->length + e.tail_length;
			uint32_t disp = (uint32_t)c->target - end;

			memcpy(e.tail + e.relative, &disp, 4);
		}
		oracle_emit(c, e.tail, e.tail_length);
	}
	if (t->adjust)
		t->adjust(c, r);
	if (c->bits32)
		for (int i = 0; i < 16; i++)
			c->in.gpr[i] &= i < 8 ? 0xffffffffu : 0;
	if (t->how & FENCED)
		oracle_emit8(c, 0x9b);
}
