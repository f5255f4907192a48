/* host.c - see host.h. */
#include "x86/host.h"

#include <string.h>

void x86_host_byte(struct x86_host *h, uint8_t v)
{
	if (h->n < h->size)
		h->code[h->n] = v;
	h->n++;
}

void x86_host_imm32(struct x86_host *h, int32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		x86_host_byte(h, (uint8_t)((uint32_t)v >> (8 * i)));
}

void x86_host_imm(struct x86_host *h, unsigned size, uint64_t v)
{
	for (unsigned i = 0; i < (size > 4 ? 4 : size); i++)
		x86_host_byte(h, (uint8_t)(v >> (8 * i)));
}

#define REX_B 1u
#define REX_X 2u
#define REX_R 4u
#define REX_W 8u

/* Has @opcode an operand of one byte? SPL, BPL, SIL and DIL are only had with a REX prefix. */
static bool has_byte(uint32_t opcode, unsigned size)
{
	uint32_t code = opcode & 0xffff;

	return size == 1 || code == HOST_MOVZX(1) || code == HOST_MOVSX(1);
}

/* Prefixes and opcode. @rex: the prefix's bits; @need: it must be there even if none is set. */
static void begin(struct x86_host *h, uint32_t opcode, unsigned size, unsigned rex, bool need)
{
	uint32_t code = opcode & 0xffff;

	if (opcode & HOST_LOCK)
		x86_host_byte(h, 0xf0);
	if (size == 2 || (opcode & HOST_66))
		x86_host_byte(h, 0x66);
	if (opcode & HOST_F3)
		x86_host_byte(h, 0xf3);
	if (size == 8)
		rex |= REX_W;
	if (rex || need)
		x86_host_byte(h, (uint8_t)(0x40 | rex));
	if ((opcode & HOST_SIZED) && size == 1)
		code--;
	if (code >> 8)
		x86_host_byte(h, 0x0f);
	x86_host_byte(h, (uint8_t)code);
}

void x86_host_plain(struct x86_host *h, uint32_t opcode, unsigned size)
{
	begin(h, opcode, size, 0, false);
}

void x86_host_rr(struct x86_host *h, uint32_t opcode, unsigned size, unsigned reg, unsigned rm)
{
	unsigned rex = (reg >> 3) * REX_R | (rm >> 3) * REX_B;

	begin(h, opcode, size, rex, has_byte(opcode, size) && ((reg | rm) & 4));
	x86_host_byte(h, (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7)));
}

static bool short_disp(const struct x86_host_mem *m)
{
	return m->disp == (int8_t)m->disp;
}

void x86_host_rm(
	struct x86_host *h, uint32_t opcode, unsigned size, unsigned reg, struct x86_host_mem m)
{
	bool no_base = m.base == HOST_NONE, no_index = m.index == HOST_NONE;
	unsigned base = no_base ? 5 : m.base, index = no_index ? 4 : m.index;
	bool sib = no_base || !no_index || (base & 7) == HOST_RSP;
	unsigned mod = no_base ? 0 : !m.disp && (base & 7) != HOST_RBP ? 0 : short_disp(&m) ? 1 : 2;
	unsigned rex = (reg >> 3) * REX_R | (index >> 3) * REX_X | (base >> 3) * REX_B;

	begin(h, opcode, size, rex, size == 1 && (reg & 4));
	x86_host_byte(h, (uint8_t)(mod << 6 | (reg & 7) << 3 | (sib ? 4 : base & 7)));
	if (sib)
		x86_host_byte(h, (uint8_t)(m.scale << 6 | (index & 7) << 3 | (base & 7)));
	if (no_base || mod == 2)
		x86_host_imm32(h, m.disp);
	else if (mod == 1)
		x86_host_byte(h, (uint8_t)m.disp);
}

void x86_host_mov_imm64(struct x86_host *h, unsigned reg, uint64_t v)
{
	begin(h, 0xb8 + (reg & 7), 8, (reg >> 3) * REX_B, false);
	x86_host_imm32(h, (int32_t)v);
	x86_host_imm32(h, (int32_t)(v >> 32));
}

void x86_host_mov_imm(struct x86_host *h, unsigned reg, uint64_t v)
{
	if (v == (uint32_t)v) {
		begin(h, 0xb8 + (reg & 7), 4, (reg >> 3) * REX_B, false);
		x86_host_imm32(h, (int32_t)v);
	} else if (v == (uint64_t)(int32_t)v) {
		x86_host_rr(h, HOST_MOV_IMM, 8, 0, reg);
		x86_host_imm32(h, (int32_t)v);
	} else {
		x86_host_mov_imm64(h, reg, v);
	}
}

void x86_host_alu_imm(struct x86_host *h, unsigned op, unsigned size, unsigned reg, int32_t v)
{
	if (size == 1) {
		x86_host_rr(h, HOST_GROUP1_BYTE, 1, op, reg);
		x86_host_byte(h, (uint8_t)v);
	} else if (v == (int8_t)v) {
		x86_host_rr(h, HOST_GROUP1_IMM8, size, op, reg);
		x86_host_byte(h, (uint8_t)v);
	} else {
		x86_host_rr(h, HOST_GROUP1_IMM, size, op, reg);
		x86_host_imm(h, size, (uint32_t)v);
	}
}

size_t x86_host_jump(struct x86_host *h, unsigned cc)
{
	if (cc == HOST_ALWAYS) {
		x86_host_byte(h, 0xe9);
	} else {
		x86_host_byte(h, 0x0f);
		x86_host_byte(h, (uint8_t)(0x80 + cc));
	}
	x86_host_imm32(h, 0);
	return h->n;
}

void x86_host_jump_back(struct x86_host *h, size_t at)
{
	x86_host_byte(h, 0xe9);
	x86_host_imm32(h, (int32_t)(at - (h->n + 4)));
}

void x86_host_jump_short(struct x86_host *h, unsigned cc, size_t at)
{
	x86_host_byte(h, (uint8_t)(0x70 + cc));
	x86_host_byte(h, (uint8_t)(at - (h->n + 1)));
}

void x86_host_put32(struct x86_host *h, size_t at, uint32_t v)
{
	if (at <= h->size)
		memcpy(h->code + at - sizeof(v), &v, sizeof(v));
}

void x86_host_here(struct x86_host *h, size_t at)
{
	x86_host_put32(h, at, (uint32_t)(h->n - at));
}
