/*
 * bit.c - bit tests, scans and counts: BT BTS BTR BTC, BSF BSR, POPCNT, and CRC32.
 *
 * All run as the host's instruction, so that a scan of zero leaves its destination as the host
 * leaves it. A bit number in a register reaches beyond a memory operand: the address is moved to
 * the word that holds the bit first.
 *
 * Without the ABM and BMI1 features LZCNT and TZCNT are BSR and BSF with a prefix that means
 * nothing: that is how they are decoded here, as long as x86_features() reports neither.
 *
 * Facts: Intel SDM vol. 2, the instructions' pages; vol. 1, "Bit and Byte Instructions".
 */
#include "x86/recipe.h"

/* ---- BT BTS BTR BTC ------------------------------------------------------------------------- */

/* Bytes from the operand's address to the word that bit @n, a signed number, lies in. */
#define BIT_OFFSET(bits, n) (((int##bits##_t)(n) >> __builtin_ctz(bits)) * (int64_t)(bits / 8))

#define BIT_ASM(lock, insn, bits, fl, operand, n)                                                  \
	asm volatile(X86_ASM_LOAD_FLAGS lock insn SUFFIX_##bits " %2, %1" X86_ASM_SAVE_FLAGS       \
		     : "+&a"(fl), operand                                                          \
		     : "r"((uint##bits##_t)((n) & (bits - 1)))                                     \
		     : "cc", "memory")

#define NUMBER_imm(bits) (uint##bits##_t)o->imm
#define NUMBER_reg(bits) X86_REG(c, o->r1, uint##bits##_t)
/* An immediate number stays within the operand. */
#define REACH_imm(bits) 0
#define REACH_reg(bits) BIT_OFFSET(bits, NUMBER_reg(bits))

#define BT_REGISTER(name, insn, bits, number, write)                                               \
	X86_OP(name##_##bits##_##number##_r)                                                       \
	{                                                                                          \
		uint##bits##_t v = X86_REG(c, o->r0, uint##bits##_t);                              \
                                                                                                   \
		BIT_ASM("", insn, bits, c->fl, "+r"(v), NUMBER_##number(bits));                    \
		if (write)                                                                         \
			X86_REG(c, o->r0, WRITE_##bits) = v;                                       \
		NEXT;                                                                              \
	}

#define BT_LOAD(name, insn, bits, number, form, ea)                                                \
	X86_OP(name##_##bits##_##number##_##form)                                                  \
	{                                                                                          \
		uint##bits##_t v =                                                                 \
			x86_load##bits(c, o, ea(c, o) + (uint64_t)REACH_##number(bits));           \
                                                                                                   \
		BIT_ASM("", insn, bits, c->fl, "+r"(v), NUMBER_##number(bits));                    \
		NEXT;                                                                              \
	}

#define BT_MODIFY(name, insn, bits, number, form, ea)                                              \
	X86_OP(name##_##bits##_##number##_##form)                                                  \
	{                                                                                          \
		uint##bits##_t *p = x86_rmw(c, o, ea(c, o) + (uint64_t)REACH_##number(bits),       \
			bits / 8, false);                                                          \
		uint##bits##_t v = *p;                                                             \
		uint16_t fl = c->fl;                                                               \
                                                                                                   \
		BIT_ASM("", insn, bits, fl, "+r"(v), NUMBER_##number(bits));                       \
		*p = v;                                                                            \
		x86_rmw_end(c, o);                                                                 \
		c->fl = fl;                                                                        \
		NEXT;                                                                              \
	}                                                                                          \
	X86_OP(name##_##bits##_##number##_##form##_lock)                                           \
	{                                                                                          \
		uint##bits##_t *p = x86_rmw(c, o, ea(c, o) + (uint64_t)REACH_##number(bits),       \
			bits / 8, true);                                                           \
		uint16_t fl = c->fl;                                                               \
                                                                                                   \
		BIT_ASM("lock; ", insn, bits, fl, "+m"(*p), NUMBER_##number(bits));                \
		x86_rmw_end(c, o);                                                                 \
		c->fl = fl;                                                                        \
		NEXT;                                                                              \
	}

#define BT_FORMS(memory, name, insn, bits, write)                                                  \
	BT_REGISTER(name, insn, bits, imm, write)                                                  \
	BT_REGISTER(name, insn, bits, reg, write)                                                  \
	memory(name, insn, bits, imm, s, x86_ea_s)                                                 \
	memory(name, insn, bits, imm, f, x86_ea_f)                                                 \
	memory(name, insn, bits, reg, s, x86_ea_s)                                                 \
	memory(name, insn, bits, reg, f, x86_ea_f)
#define BT_SIZES(memory, name, insn, write)                                                        \
	BT_FORMS(memory, name, insn, 16, write)                                                    \
	BT_FORMS(memory, name, insn, 32, write)                                                    \
	BT_FORMS(memory, name, insn, 64, write)

BT_SIZES(BT_LOAD, bt, "bt", false)
BT_SIZES(BT_MODIFY, bts, "bts", true)
BT_SIZES(BT_MODIFY, btr, "btr", true)
BT_SIZES(BT_MODIFY, btc, "btc", true)

enum bt_form {
	BT_R,
	BT_S,
	BT_F,
	BT_S_LOCK,
	BT_F_LOCK,
	BT_FORM_COUNT,
};

struct bt_ops {
	x86_op_fn imm[3][BT_FORM_COUNT], reg[3][BT_FORM_COUNT]; /* by size: 16, 32, 64 bits */
	bool writes;
};

#define BT_ROW(name) {name##_r, name##_s, name##_f, NULL, NULL}
#define BT_LOCK_ROW(name) {name##_r, name##_s, name##_f, name##_s_lock, name##_f_lock}
#define BT_OPS(row, name, written)                                                                 \
	{                                                                                          \
		.imm = {row(name##_16_imm), row(name##_32_imm), row(name##_64_imm)},               \
		.reg = {row(name##_16_reg), row(name##_32_reg), row(name##_64_reg)},               \
		.writes = written,                                                                 \
	}

/*
 * Where the sum of address and bit offset can wrap or leave the segment (any address width but 64
 * bits) it is made here: X86_R_EA becomes linear, and X86_R_T0 the bit's number in the word there.
 * o->x: address width; o->imm: whether the operand is written.
 */
#define BIT_ADDRESS(bits)                                                                          \
	X86_OP(bit_address_##bits)                                                                 \
	{                                                                                          \
		uint64_t n = X86_REG(c, o->r1, uint##bits##_t);                                    \
		uint64_t at = X86_REG(c, X86_R_EA, uint64_t) + (uint64_t)BIT_OFFSET(bits, n);      \
                                                                                                   \
		at = o->x == 16 ? (uint16_t)at : (uint32_t)at;                                     \
		X86_REG(c, X86_R_EA, uint64_t) =                                                   \
			x86_segment_address(c, o, o->seg, at, bits / 8, o->imm);                   \
		X86_REG(c, X86_R_T0, uint64_t) = n & (bits - 1);                                   \
		NEXT;                                                                              \
	}
BIT_ADDRESS(16)
BIT_ADDRESS(32)
BIT_ADDRESS(64)

static void emit_bit_address(struct x86_xlate *t, bool write)
{
	static const x86_op_fn ops[3] = {bit_address_16, bit_address_32, bit_address_64};
	const ZydisDecodedOperand *m = &t->op[0];
	struct x86_op *o;

	x86_emit_ea(t, m, m->size / 8, write, false);
	o = x86_emit(t, ops[x86_size_index(m->size) - 1]);
	o->r1 = x86_reg(t->op[1].reg.value);
	o->seg = (uint8_t)(m->mem.segment - ZYDIS_REGISTER_ES);
	o->x = (uint8_t)t->insn.address_width;
	o->imm = write;
}

static bool emit_bt_ops(struct x86_xlate *t, const struct bt_ops *ops)
{
	const ZydisDecodedOperand *at = &t->op[0], *number = &t->op[1];
	unsigned size = x86_size_index(at->size) - 1;
	const x86_op_fn *fn = x86_is_imm(number) ? ops->imm[size] : ops->reg[size];
	x86_op_fn simple = fn[x86_has_lock(t) ? BT_S_LOCK : BT_S];
	x86_op_fn full = fn[x86_has_lock(t) ? BT_F_LOCK : BT_F];
	struct x86_op *o;

	if (x86_is_reg(at)) {
		o = x86_emit(t, fn[BT_R]);
		o->r0 = x86_reg(at->reg.value);
	} else if (x86_is_reg(number) && t->insn.address_width != 64) {
		emit_bit_address(t, ops->writes);
		o = x86_emit(t, simple);
		o->base = X86_R_EA;
		o->r1 = X86_R_T0;
		return true;
	} else {
		o = x86_emit_mem(t, at, simple, full, at->size / 8, ops->writes);
	}
	if (x86_is_imm(number))
		o->imm = number->imm.value.u & (at->size - 1);
	else
		o->r1 = x86_reg(number->reg.value);
	return true;
}

static const struct bt_ops bt_ops = BT_OPS(BT_ROW, bt, false);
static const struct bt_ops bts_ops = BT_OPS(BT_LOCK_ROW, bts, true);
static const struct bt_ops btr_ops = BT_OPS(BT_LOCK_ROW, btr, true);
static const struct bt_ops btc_ops = BT_OPS(BT_LOCK_ROW, btc, true);

static bool emit_bt(struct x86_xlate *t)
{
	return emit_bt_ops(t, &bt_ops);
}

static bool emit_bts(struct x86_xlate *t)
{
	return emit_bt_ops(t, &bts_ops);
}

static bool emit_btr(struct x86_xlate *t)
{
	return emit_bt_ops(t, &btr_ops);
}

static bool emit_btc(struct x86_xlate *t)
{
	return emit_bt_ops(t, &btc_ops);
}

/* ---- BSF BSR POPCNT: a register from a register or memory ----------------------------------- */

/* The whole destination goes in and comes out: what is left of it is the host's affair. */
#define SCAN(name, insn, bits, form)                                                               \
	X86_OP(name##_##bits##_##form)                                                             \
	{                                                                                          \
		uint64_t from = SOURCE_##form(bits), v = X86_REG(c, o->r0, uint64_t);              \
                                                                                                   \
		asm(X86_ASM_LOAD_FLAGS insn SUFFIX_##bits " %" PART_##bits "2, %" PART_##bits      \
							  "1" X86_ASM_SAVE_FLAGS                   \
		    : "+&a"(c->fl), "+r"(v)                                                        \
		    : "r"(from)                                                                    \
		    : "cc");                                                                       \
		X86_REG(c, o->r0, uint64_t) = v;                                                   \
		NEXT;                                                                              \
	}
#define SCAN_FORMS(name, insn, bits)                                                               \
	SCAN(name, insn, bits, r) SCAN(name, insn, bits, s) SCAN(name, insn, bits, f)
#define SCAN_SIZES(name, insn)                                                                     \
	SCAN_FORMS(name, insn, 16) SCAN_FORMS(name, insn, 32) SCAN_FORMS(name, insn, 64)

SCAN_SIZES(bsf, "bsf")
SCAN_SIZES(bsr, "bsr")
SCAN_SIZES(popcnt, "popcnt")

#define SCAN_ROWS(name) {FORM_ROW(name##_16), FORM_ROW(name##_32), FORM_ROW(name##_64)}

static struct x86_op *emit_to_register(struct x86_xlate *t, const x86_op_fn ops[FORMS])
{
	const ZydisDecodedOperand *from = &t->op[1];
	struct x86_op *o;

	if (x86_is_mem(from)) {
		o = x86_emit_mem(
			t, from, ops[FORM_SIMPLE], ops[FORM_FULL], from->size / 8, false);
	} else {
		o = x86_emit(t, ops[FORM_REGISTER]);
		o->r1 = x86_reg(from->reg.value);
	}
	o->r0 = x86_reg(t->op[0].reg.value);
	return o;
}

static const x86_op_fn bsf_ops[3][FORMS] = SCAN_ROWS(bsf);

static bool emit_bsf(struct x86_xlate *t)
{
	emit_to_register(t, bsf_ops[x86_size_index(t->op[1].size) - 1]);
	return true;
}

static const x86_op_fn bsr_ops[3][FORMS] = SCAN_ROWS(bsr);

static bool emit_bsr(struct x86_xlate *t)
{
	emit_to_register(t, bsr_ops[x86_size_index(t->op[1].size) - 1]);
	return true;
}

static const x86_op_fn popcnt_ops[3][FORMS] = SCAN_ROWS(popcnt);

static bool emit_popcnt(struct x86_xlate *t)
{
	emit_to_register(t, popcnt_ops[x86_size_index(t->op[1].size) - 1]);
	return true;
}

/* ---- CRC32 ---------------------------------------------------------------------------------- */

#define SUM_8  "k"
#define SUM_16 "k"
#define SUM_32 "k"
#define SUM_64 "q"

/* The sum has 32 bits whatever the operand's size; it zero-extends. No flags. */
#define CRC32(bits, form)                                                                          \
	X86_OP(crc32_##bits##_##form)                                                              \
	{                                                                                          \
		uint##bits##_t from = SOURCE_##form(bits);                                         \
		uint64_t sum = X86_REG(c, o->r0, uint32_t);                                        \
                                                                                                   \
		asm("crc32" SUFFIX_##bits " %1, %" SUM_##bits "0" : "+r"(sum) : "r"(from));        \
		X86_REG(c, o->r0, uint64_t) = sum;                                                 \
		NEXT;                                                                              \
	}
#define CRC32_FORMS(bits) CRC32(bits, r) CRC32(bits, s) CRC32(bits, f)
CRC32_FORMS(8)
CRC32_FORMS(16)
CRC32_FORMS(32)
CRC32_FORMS(64)

static bool emit_crc32(struct x86_xlate *t)
{
	static const x86_op_fn ops[4][FORMS] = SIZE_ROWS(crc32);

	emit_to_register(t, ops[x86_size_index(t->op[1].size)]);
	return true;
}

#define LEAF1_ECX_SSE42	 (1u << 20)
#define LEAF1_ECX_POPCNT (1u << 23)

void x86_register_bit(x86_emit_fn *table)
{
	struct x86_features f;

	x86_features(&f);
	table[ZYDIS_MNEMONIC_BT] = emit_bt;
	table[ZYDIS_MNEMONIC_BTS] = emit_bts;
	table[ZYDIS_MNEMONIC_BTR] = emit_btr;
	table[ZYDIS_MNEMONIC_BTC] = emit_btc;
	table[ZYDIS_MNEMONIC_BSF] = emit_bsf;
	table[ZYDIS_MNEMONIC_BSR] = emit_bsr;
	table[ZYDIS_MNEMONIC_TZCNT] = emit_bsf;
	table[ZYDIS_MNEMONIC_LZCNT] = emit_bsr;
	if (f.leaf1_ecx & LEAF1_ECX_POPCNT)
		table[ZYDIS_MNEMONIC_POPCNT] = emit_popcnt;
	if (f.leaf1_ecx & LEAF1_ECX_SSE42)
		table[ZYDIS_MNEMONIC_CRC32] = emit_crc32;
}

static void recipe_bt(struct x86_recipes *r, const struct bt_ops *ops, unsigned code)
{
	for (unsigned i = 0; i < 3; i++) {
		struct x86_recipe recipe = {
			.kind = X86_DO_BT, .code = (uint8_t)code, .size = (uint8_t)(2u << i)};

		/* A row is one of sizes.h with the locked forms behind it. */
		x86_recipe_row(r, ops->imm[i], X86_FORM_RI, X86_FORM_MI, recipe);
		x86_recipe_row(r, ops->reg[i], X86_FORM_RR, X86_FORM_MR, recipe);
		recipe.lock = true;
		for (unsigned full = 0; full < 2; full++) {
			recipe.full = full;
			recipe.form = X86_FORM_MI;
			x86_recipe_add(r, ops->imm[i][BT_S_LOCK + full], recipe);
			recipe.form = X86_FORM_MR;
			x86_recipe_add(r, ops->reg[i][BT_S_LOCK + full], recipe);
		}
	}
}

static void recipe_scan(struct x86_recipes *r, const x86_op_fn ops[3][FORMS], unsigned code)
{
	for (unsigned i = 0; i < 3; i++)
		x86_recipe_row(r, ops[i], X86_FORM_RR, X86_FORM_RM,
			(struct x86_recipe){.kind = X86_DO_SCAN,
				.code = (uint8_t)code,
				.size = (uint8_t)(2u << i)});
}

void x86_recipes_bit(struct x86_recipes *r)
{
	recipe_bt(r, &bt_ops, HOST_BT);
	recipe_bt(r, &bts_ops, HOST_BTS);
	recipe_bt(r, &btr_ops, HOST_BTR);
	recipe_bt(r, &btc_ops, HOST_BTC);
	recipe_scan(r, bsf_ops, HOST_BSF);
	recipe_scan(r, bsr_ops, HOST_BSR);
	recipe_scan(r, popcnt_ops, HOST_POPCNT);
}
