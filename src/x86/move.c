/*
 * move.c - instructions that move data or only touch flags: MOV, MOVZX, MOVSX, MOVSXD, MOVNTI,
 * LEA, CMOVcc, SETcc, BSWAP, XLAT, the sign extensions of the accumulator, LAHF, SAHF, SALC, the
 * CF and DF instructions, fences, and what does nothing: NOPs, hints, prefetches.
 *
 * Names of operations as in alu.c. A 32-bit move writes 64 bits of the register.
 *
 * Facts: Intel SDM vol. 2.
 */
#include "x86/recipe.h"

#include <sched.h>

#define LEAF7_EBX_CLFLUSHOPT (1u << 23)

/* ---- MOV ------------------------------------------------------------------------------------- */

#define DEFINE_MOV_MEM(bits, k, ea)                                                                \
	X86_OP(mov##bits##_rm_##k)                                                                 \
	{                                                                                          \
		x86_put##bits(X86_REG_PTR(c, o->r0), x86_load##bits(c, o, ea(c, o)));              \
		NEXT;                                                                              \
	}                                                                                          \
	X86_OP(mov##bits##_mr_##k)                                                                 \
	{                                                                                          \
		x86_store##bits(c, o, ea(c, o), X86_REG(c, o->r1, uint##bits##_t));                \
		NEXT;                                                                              \
	}                                                                                          \
	X86_OP(mov##bits##_mi_##k)                                                                 \
	{                                                                                          \
		x86_store##bits(c, o, ea(c, o), X86_IMM(o, uint##bits##_t));                       \
		NEXT;                                                                              \
	}

#define DEFINE_MOV(bits)                                                                           \
	X86_OP(mov##bits##_rr)                                                                     \
	{                                                                                          \
		x86_put##bits(X86_REG_PTR(c, o->r0), X86_REG(c, o->r1, uint##bits##_t));           \
		NEXT;                                                                              \
	}                                                                                          \
	X86_OP(mov##bits##_ri)                                                                     \
	{                                                                                          \
		x86_put##bits(X86_REG_PTR(c, o->r0), X86_IMM(o, uint##bits##_t));                  \
		NEXT;                                                                              \
	}                                                                                          \
	DEFINE_MOV_MEM(bits, s, x86_ea_s)                                                          \
	DEFINE_MOV_MEM(bits, f, x86_ea_f)

DEFINE_MOV(8)
DEFINE_MOV(16)
DEFINE_MOV(32)
DEFINE_MOV(64)

#define MOV_FORMS(bits)                                                                            \
	{                                                                                          \
		.rr = mov##bits##_rr, .ri = mov##bits##_ri,                                        \
		.rm = {mov##bits##_rm_s, mov##bits##_rm_f},                                        \
		.mr = {{mov##bits##_mr_s, mov##bits##_mr_f}},                                      \
		.mi = {{mov##bits##_mi_s, mov##bits##_mi_f}},                                      \
	}

static const struct x86_binary_forms mov_forms[4] = {
	MOV_FORMS(8), MOV_FORMS(16), MOV_FORMS(32), MOV_FORMS(64)};

static bool emit_mov_gpr(struct x86_xlate *t)
{
	return x86_emit_binary(t, mov_forms);
}

/* The families of segment, control and debug registers emit their own. */
static bool emit_mov(struct x86_xlate *t)
{
	for (unsigned i = 0; i < 2; i++) {
		if (!x86_is_reg(&t->op[i]))
			continue;
		switch (ZydisRegisterGetClass(t->op[i].reg.value)) {
		case ZYDIS_REGCLASS_SEGMENT:
			return x86_emit_mov_segment(t);
		case ZYDIS_REGCLASS_CONTROL:
			return x86_emit_mov_control(t);
		case ZYDIS_REGCLASS_DEBUG:
			return x86_emit_mov_debug(t);
		case ZYDIS_REGCLASS_TEST:
			return false;
		default:
			break;
		}
	}
	return emit_mov_gpr(t);
}

/* ---- MOVZX, MOVSX, MOVSXD -------------------------------------------------------------------- */

#define DEFINE_EXTEND(name, from, ctype, to)                                                       \
	X86_OP(name##_rr)                                                                          \
	{                                                                                          \
		x86_put##to(X86_REG_PTR(c, o->r0),                                                 \
			(uint##to##_t)(ctype)X86_REG(c, o->r1, uint##from##_t));                   \
		NEXT;                                                                              \
	}                                                                                          \
	X86_OP(name##_rm_s)                                                                        \
	{                                                                                          \
		x86_put##to(X86_REG_PTR(c, o->r0),                                                 \
			(uint##to##_t)(ctype)x86_load##from(c, o, x86_ea_s(c, o)));                \
		NEXT;                                                                              \
	}                                                                                          \
	X86_OP(name##_rm_f)                                                                        \
	{                                                                                          \
		x86_put##to(X86_REG_PTR(c, o->r0),                                                 \
			(uint##to##_t)(ctype)x86_load##from(c, o, x86_ea_f(c, o)));                \
		NEXT;                                                                              \
	}

DEFINE_EXTEND(zx8_16, 8, uint8_t, 16)
DEFINE_EXTEND(zx8_64, 8, uint8_t, 64)
DEFINE_EXTEND(zx16_64, 16, uint16_t, 64)
DEFINE_EXTEND(sx8_16, 8, int8_t, 16)
DEFINE_EXTEND(sx8_32, 8, int8_t, 32)
DEFINE_EXTEND(sx8_64, 8, int8_t, 64)
DEFINE_EXTEND(sx16_32, 16, int16_t, 32)
DEFINE_EXTEND(sx16_64, 16, int16_t, 64)
DEFINE_EXTEND(sx32_64, 32, int32_t, 64)

struct extend_forms {
	x86_op_fn rr, rm[2];
};

#define EXTEND_FORMS(name) {name##_rr, {name##_rm_s, name##_rm_f}}

/* By size of the source, then of the destination; a source as wide as its destination is a MOV. */
static const struct extend_forms zero_extend[3][4] = {
	{[1] = EXTEND_FORMS(zx8_16), EXTEND_FORMS(zx8_64), EXTEND_FORMS(zx8_64)},
	{[1] = EXTEND_FORMS(mov16), EXTEND_FORMS(zx16_64), EXTEND_FORMS(zx16_64)},
	{[2] = EXTEND_FORMS(mov32), EXTEND_FORMS(mov32)},
};
static const struct extend_forms sign_extend[3][4] = {
	{[1] = EXTEND_FORMS(sx8_16), EXTEND_FORMS(sx8_32), EXTEND_FORMS(sx8_64)},
	{[1] = EXTEND_FORMS(mov16), EXTEND_FORMS(sx16_32), EXTEND_FORMS(sx16_64)},
	{[2] = EXTEND_FORMS(mov32), EXTEND_FORMS(sx32_64)},
};

static bool emit_extend(struct x86_xlate *t, const struct extend_forms forms[3][4])
{
	const ZydisDecodedOperand *d = &t->op[0], *s = &t->op[1];
	/* MOVSXD with a 16-bit destination reads only 16 bits, even though Zydis says 32. */
	unsigned from = s->size > d->size ? d->size : s->size;
	const struct extend_forms *f = &forms[x86_size_index(from)][x86_size_index(d->size)];
	struct x86_op *o;

	if (x86_is_mem(s)) {
		o = x86_emit_mem(t, s, f->rm[0], f->rm[1], from / 8, false);
	} else {
		o = x86_emit(t, f->rr);
		o->r1 = x86_reg(s->reg.value);
	}
	o->r0 = x86_reg(d->reg.value);
	return true;
}

static bool emit_movzx(struct x86_xlate *t)
{
	return emit_extend(t, zero_extend);
}

static bool emit_movsx(struct x86_xlate *t)
{
	return emit_extend(t, sign_extend);
}

/* ---- LEA ------------------------------------------------------------------------------------- */

#define DEFINE_LEA(bits)                                                                           \
	X86_OP(lea##bits##_s)                                                                      \
	{                                                                                          \
		x86_put##bits(X86_REG_PTR(c, o->r0), (uint##bits##_t)x86_ea_s(c, o));              \
		NEXT;                                                                              \
	}                                                                                          \
	X86_OP(lea##bits##_i)                                                                      \
	{                                                                                          \
		uint64_t index = X86_REG(c, o->index, uint64_t) << o->scale;                       \
                                                                                                   \
		x86_put##bits(X86_REG_PTR(c, o->r0), (uint##bits##_t)(x86_ea_s(c, o) + index));    \
		NEXT;                                                                              \
	}

DEFINE_LEA(16)
DEFINE_LEA(32)
DEFINE_LEA(64)

static const x86_op_fn with_base[4] = {NULL, lea16_s, lea32_s, lea64_s};
static const x86_op_fn with_index[4] = {NULL, lea16_i, lea32_i, lea64_i};

static bool emit_lea(struct x86_xlate *t)
{
	const ZydisDecodedOperand *d = &t->op[0], *m = &t->op[1];
	unsigned size = x86_size_index(d->size);
	struct x86_op *o;
	bool rip = m->mem.base == ZYDIS_REGISTER_RIP;
	bool index = m->mem.index != ZYDIS_REGISTER_NONE;
	int64_t disp = m->mem.disp.value + (rip ? t->off + t->insn.length : 0);

	if (t->insn.address_width != 64 || disp != (int32_t)disp) {
		x86_emit_ea(t, m, 0, false, false);
		o = x86_emit(t, with_base[size]);
		o->base = X86_R_EA;
	} else {
		o = x86_emit(t, index ? with_index[size] : with_base[size]);
		o->disp = (int32_t)disp;
		if (rip)
			o->base = X86_R_PAGE;
		else if (m->mem.base != ZYDIS_REGISTER_NONE)
			o->base = x86_reg(m->mem.base);
		if (index) {
			o->index = x86_reg(m->mem.index);
			o->scale = (uint8_t)__builtin_ctz(m->mem.scale);
		}
	}
	o->r0 = x86_reg(d->reg.value);
	return true;
}

/* ---- CMOVcc, SETcc -------------------------------------------------------------------------- */

/* The source is read whatever the condition; a 32-bit destination is always extended. */
#define DEFINE_CMOV_FORM(cc, bits, form, source)                                                   \
	X86_OP(cmov##cc##bits##_##form)                                                            \
	{                                                                                          \
		uint##bits##_t s = source;                                                         \
		void *r = X86_REG_PTR(c, o->r0);                                                   \
		uint##bits##_t d = *(uint##bits##_t *)r;                                           \
                                                                                                   \
		x86_put##bits(r, X86_CC_##cc(c->fl) ? s : d);                                      \
		NEXT;                                                                              \
	}

#define DEFINE_CMOV_SIZE(cc, bits)                                                                 \
	DEFINE_CMOV_FORM(cc, bits, rr, X86_REG(c, o->r1, uint##bits##_t))                          \
	DEFINE_CMOV_FORM(cc, bits, rm_s, x86_load##bits(c, o, x86_ea_s(c, o)))                     \
	DEFINE_CMOV_FORM(cc, bits, rm_f, x86_load##bits(c, o, x86_ea_f(c, o)))

#define DEFINE_CONDITIONAL(cc, CC)                                                                 \
	DEFINE_CMOV_SIZE(cc, 16)                                                                   \
	DEFINE_CMOV_SIZE(cc, 32)                                                                   \
	DEFINE_CMOV_SIZE(cc, 64)                                                                   \
	X86_OP(set##cc##_r)                                                                        \
	{                                                                                          \
		X86_REG(c, o->r0, uint8_t) = X86_CC_##cc(c->fl);                                   \
		NEXT;                                                                              \
	}                                                                                          \
	X86_OP(set##cc##_s)                                                                        \
	{                                                                                          \
		x86_store8(c, o, x86_ea_s(c, o), X86_CC_##cc(c->fl));                              \
		NEXT;                                                                              \
	}                                                                                          \
	X86_OP(set##cc##_f)                                                                        \
	{                                                                                          \
		x86_store8(c, o, x86_ea_f(c, o), X86_CC_##cc(c->fl));                              \
		NEXT;                                                                              \
	}                                                                                          \
	static const struct extend_forms cmov##cc##_forms[4] = {                                   \
		[1] = EXTEND_FORMS(cmov##cc##16), EXTEND_FORMS(cmov##cc##32),                      \
		EXTEND_FORMS(cmov##cc##64)};                                                       \
	static const x86_op_fn set##cc##_row[FORMS] = FORM_ROW(set##cc);                           \
	static bool emit_cmov##cc(struct x86_xlate *t)                                             \
	{                                                                                          \
		return emit_cmov(t, cmov##cc##_forms);                                             \
	}                                                                                          \
	static bool emit_set##cc(struct x86_xlate *t)                                              \
	{                                                                                          \
		return emit_set(t, set##cc##_row);                                                 \
	}

static bool emit_cmov(struct x86_xlate *t, const struct extend_forms forms[4])
{
	const ZydisDecodedOperand *d = &t->op[0], *s = &t->op[1];
	const struct extend_forms *f = &forms[x86_size_index(d->size)];
	struct x86_op *o;

	if (x86_is_mem(s)) {
		o = x86_emit_mem(t, s, f->rm[0], f->rm[1], d->size / 8, false);
	} else {
		o = x86_emit(t, f->rr);
		o->r1 = x86_reg(s->reg.value);
	}
	o->r0 = x86_reg(d->reg.value);
	return true;
}

static bool emit_set(struct x86_xlate *t, const x86_op_fn row[FORMS])
{
	const ZydisDecodedOperand *d = &t->op[0];

	if (x86_is_mem(d))
		x86_emit_mem(t, d, row[FORM_SIMPLE], row[FORM_FULL], 1, true);
	else
		x86_emit(t, row[FORM_REGISTER])->r0 = x86_reg(d->reg.value);
	return true;
}

X86_CONDITIONS(DEFINE_CONDITIONAL)

/* ---- One operation without operands, or with one register ----------------------------------- */

#define RAX X86_REG(c, X86_R(X86_RAX), uint64_t)
#define EAX X86_REG(c, X86_R(X86_RAX), uint32_t)
#define AX  X86_REG(c, X86_R(X86_RAX), uint16_t)
#define AL  X86_REG(c, X86_R(X86_RAX), uint8_t)
#define AH  X86_REG(c, X86_RH(X86_RAX), uint8_t)
#define RDX X86_REG(c, X86_R(X86_RDX), uint64_t)
#define DX  X86_REG(c, X86_R(X86_RDX), uint16_t)

#define DEFINE_PLAIN(name, ...)                                                                    \
	X86_OP(name)                                                                               \
	{                                                                                          \
		__VA_ARGS__;                                                                       \
		NEXT;                                                                              \
	}                                                                                          \
	static bool emit_##name(struct x86_xlate *t)                                               \
	{                                                                                          \
		x86_emit(t, name);                                                                 \
		return true;                                                                       \
	}

/*
 * PAUSE stands in loops that wait for another processor, which may be a thread that the host has
 * no core for: now and then the wait is given to it.
 */
#define PAUSES_TO_YIELD 64

static inline void spin(struct x86_vcpu *c)
{
	if (unlikely(++c->pauses % PAUSES_TO_YIELD == 0))
		sched_yield();
	__builtin_ia32_pause();
}

DEFINE_PLAIN(cbw, AX = (uint16_t)(int8_t)AL)
DEFINE_PLAIN(cwde, RAX = (uint32_t)(int16_t)AX)
DEFINE_PLAIN(cdqe, RAX = (uint64_t)(int32_t)EAX)
DEFINE_PLAIN(cwd, DX = (uint16_t)((int16_t)AX >> 15))
DEFINE_PLAIN(cdq, RDX = (uint32_t)((int32_t)EAX >> 31))
DEFINE_PLAIN(cqo, RDX = (uint64_t)((int64_t)RAX >> 63))
DEFINE_PLAIN(lahf, AH = (uint8_t)((c->fl >> 8 & 0xd5) | X86_FLAG_1))
DEFINE_PLAIN(sahf, c->fl = (uint16_t)((AH & 0xd5) << 8 | X86_FLAG_1 << 8 | (c->fl & X86_FL_OF)))
DEFINE_PLAIN(salc, AL = X86_CC_b(c->fl) ? 0xff : 0)
DEFINE_PLAIN(clc, c->fl &= (uint16_t)~X86_FL_CF)
DEFINE_PLAIN(stc, c->fl |= X86_FL_CF)
DEFINE_PLAIN(cmc, c->fl ^= X86_FL_CF)
DEFINE_PLAIN(cld, c->rflags &= ~X86_FLAG_DF)
DEFINE_PLAIN(std, c->rflags |= X86_FLAG_DF)
DEFINE_PLAIN(pause, spin(c))
DEFINE_PLAIN(lfence, asm volatile("lfence" : : : "memory"))
DEFINE_PLAIN(mfence, asm volatile("mfence" : : : "memory"))
DEFINE_PLAIN(sfence, asm volatile("sfence" : : : "memory"))

/* The host's own BSWAP, for what it does to a 16-bit register, which no manual defines. */
X86_OP(bswap16)
{
	asm(".byte 0x66\n\tbswap %%eax" : "+a"(X86_REG(c, o->r0, uint16_t)));
	NEXT;
}

X86_OP(bswap32)
{
	void *r = X86_REG_PTR(c, o->r0);

	x86_put32(r, __builtin_bswap32(*(uint32_t *)r));
	NEXT;
}

X86_OP(bswap64)
{
	void *r = X86_REG_PTR(c, o->r0);

	x86_put64(r, __builtin_bswap64(*(uint64_t *)r));
	NEXT;
}

static bool emit_bswap(struct x86_xlate *t)
{
	static const x86_op_fn fn[4] = {NULL, bswap16, bswap32, bswap64};
	const ZydisDecodedOperand *d = &t->op[0];

	x86_emit(t, fn[x86_size_index(d->size)])->r0 = x86_reg(d->reg.value);
	return true;
}

/* XLAT: AL = byte at rBX + AL; .x is the address width in bytes. */
X86_OP(xlat)
{
	uint64_t offset = X86_REG(c, X86_R(X86_RBX), uint64_t) + AL, va;

	if (o->x == 2)
		offset = (uint16_t)offset;
	else if (o->x == 4)
		offset = (uint32_t)offset;
	if (c->mode & X86_MODE_64)
		va = offset + c->seg_base[o->seg];
	else
		va = x86_segment_address(c, o, o->seg, (uint32_t)offset, 1, false);
	AL = x86_load8(c, o, va);
	NEXT;
}

static bool emit_xlat(struct x86_xlate *t)
{
	struct x86_op *o = x86_emit(t, xlat);

	for (unsigned i = 0; i < t->insn.operand_count; i++)
		if (x86_is_mem(&t->op[i]))
			o->seg = (uint8_t)(t->op[i].mem.segment - ZYDIS_REGISTER_ES);
	o->x = (uint8_t)(t->insn.address_width / 8);
	return true;
}

/* ---- Cache control, nothing ----------------------------------------------------------------- */

/* Caches are the host's own; what remains is the access check, that of a read. */
X86_OP(clflush_s)
{
	x86_load8(c, o, x86_ea_s(c, o));
	NEXT;
}

X86_OP(clflush_f)
{
	x86_load8(c, o, x86_ea_f(c, o));
	NEXT;
}

static bool emit_clflush(struct x86_xlate *t)
{
	x86_emit_mem(t, &t->op[0], clflush_s, clflush_f, 1, false);
	return true;
}

/* Nothing is appended: the next instruction counts this one. */
static bool emit_nothing(struct x86_xlate *t)
{
	return true;
}

/* ---- Registration --------------------------------------------------------------------------- */

static void register_nothing(x86_emit_fn *table)
{
	static const ZydisMnemonic none[] = {
		ZYDIS_MNEMONIC_NOP,
		ZYDIS_MNEMONIC_PREFETCH,
		ZYDIS_MNEMONIC_PREFETCHNTA,
		ZYDIS_MNEMONIC_PREFETCHT0,
		ZYDIS_MNEMONIC_PREFETCHT1,
		ZYDIS_MNEMONIC_PREFETCHT2,
		ZYDIS_MNEMONIC_PREFETCHW,
		ZYDIS_MNEMONIC_PREFETCHWT1,
	};

	for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		table[none[i]] = emit_nothing;
}

#define REGISTER_CONDITIONAL(cc, CC)                                                               \
	table[ZYDIS_MNEMONIC_CMOV##CC] = emit_cmov##cc;                                            \
	table[ZYDIS_MNEMONIC_SET##CC] = emit_set##cc;

void x86_register_move(x86_emit_fn *table)
{
	struct x86_features features;

	x86_features(&features);
	table[ZYDIS_MNEMONIC_MOV] = emit_mov;
	table[ZYDIS_MNEMONIC_MOVNTI] = emit_mov_gpr;
	table[ZYDIS_MNEMONIC_MOVZX] = emit_movzx;
	table[ZYDIS_MNEMONIC_MOVSX] = emit_movsx;
	table[ZYDIS_MNEMONIC_MOVSXD] = emit_movsx;
	table[ZYDIS_MNEMONIC_LEA] = emit_lea;
	X86_CONDITIONS(REGISTER_CONDITIONAL)
	table[ZYDIS_MNEMONIC_BSWAP] = emit_bswap;
	table[ZYDIS_MNEMONIC_XLAT] = emit_xlat;
	table[ZYDIS_MNEMONIC_CBW] = emit_cbw;
	table[ZYDIS_MNEMONIC_CWDE] = emit_cwde;
	table[ZYDIS_MNEMONIC_CDQE] = emit_cdqe;
	table[ZYDIS_MNEMONIC_CWD] = emit_cwd;
	table[ZYDIS_MNEMONIC_CDQ] = emit_cdq;
	table[ZYDIS_MNEMONIC_CQO] = emit_cqo;
	table[ZYDIS_MNEMONIC_LAHF] = emit_lahf;
	table[ZYDIS_MNEMONIC_SAHF] = emit_sahf;
	table[ZYDIS_MNEMONIC_SALC] = emit_salc;
	table[ZYDIS_MNEMONIC_CLC] = emit_clc;
	table[ZYDIS_MNEMONIC_STC] = emit_stc;
	table[ZYDIS_MNEMONIC_CMC] = emit_cmc;
	table[ZYDIS_MNEMONIC_CLD] = emit_cld;
	table[ZYDIS_MNEMONIC_STD] = emit_std;
	table[ZYDIS_MNEMONIC_PAUSE] = emit_pause;
	table[ZYDIS_MNEMONIC_LFENCE] = emit_lfence;
	table[ZYDIS_MNEMONIC_MFENCE] = emit_mfence;
	table[ZYDIS_MNEMONIC_SFENCE] = emit_sfence;
	table[ZYDIS_MNEMONIC_CLFLUSH] = emit_clflush;
	if (features.leaf7_ebx & LEAF7_EBX_CLFLUSHOPT)
		table[ZYDIS_MNEMONIC_CLFLUSHOPT] = emit_clflush;
	register_nothing(table);
}

/* ---- Recipes -------------------------------------------------------------------------------- */

static void recipe_forms(
	struct x86_recipes *r, const struct extend_forms *f, struct x86_recipe recipe)
{
	x86_recipe_row(r, (const x86_op_fn[FORMS]){f->rr, f->rm[0], f->rm[1]}, X86_FORM_RR,
		X86_FORM_RM, recipe);
}

static void recipe_extend(struct x86_recipes *r, const struct extend_forms forms[3][4],
	enum x86_recipe_kind kind)
{
	for (unsigned from = 0; from < 3; from++)
		for (unsigned to = 1; to < 4; to++)
			recipe_forms(r, &forms[from][to],
				(struct x86_recipe){.kind = (uint8_t)kind,
					.from = (uint8_t)(1u << from),
					.size = (uint8_t)(1u << to)});
}

static void recipe_conditional(struct x86_recipes *r, enum x86_condition cond,
	const struct extend_forms cmov[4], const x86_op_fn set[FORMS])
{
	struct x86_recipe recipe = {.kind = X86_DO_CMOV, .cond = (uint8_t)cond};

	for (unsigned i = 1; i < 4; i++) {
		recipe.size = (uint8_t)(1u << i);
		recipe_forms(r, &cmov[i], recipe);
	}
	x86_recipe_row(r, set, X86_FORM_R, X86_FORM_M,
		(struct x86_recipe){.kind = X86_DO_SET, .cond = (uint8_t)cond, .size = 1});
}

#define RECIPE_CONDITIONAL(cc, CC)                                                                 \
	recipe_conditional(r, X86_COND_##CC, cmov##cc##_forms, set##cc##_row);

void x86_recipes_move(struct x86_recipes *r)
{
	x86_recipe_binary(r, mov_forms, (struct x86_recipe){.kind = X86_DO_MOV});
	recipe_extend(r, zero_extend, X86_DO_ZERO_EXTEND);
	recipe_extend(r, sign_extend, X86_DO_SIGN_EXTEND);
	for (uint8_t i = 2; i < 4; i++) {
		struct x86_recipe lea = {.kind = X86_DO_LEA, .size = (uint8_t)(1u << i)};

		x86_recipe_add(r, with_base[i], lea);
		lea.full = true;
		x86_recipe_add(r, with_index[i], lea);
	}
	X86_CONDITIONS(RECIPE_CONDITIONAL)
	x86_recipe_add(r, bswap32, (struct x86_recipe){.kind = X86_DO_BSWAP, .size = 4});
	x86_recipe_add(r, bswap64, (struct x86_recipe){.kind = X86_DO_BSWAP, .size = 8});
	x86_recipe_add(r, cwde, (struct x86_recipe){.kind = X86_DO_CDQE, .size = 4});
	x86_recipe_add(r, cdqe, (struct x86_recipe){.kind = X86_DO_CDQE, .size = 8});
	x86_recipe_add(r, cdq, (struct x86_recipe){.kind = X86_DO_CQO, .size = 4});
	x86_recipe_add(r, cqo, (struct x86_recipe){.kind = X86_DO_CQO, .size = 8});
}
