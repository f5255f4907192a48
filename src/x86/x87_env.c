/*
 * x87_env.c - FNSTENV, FLDENV, FNSAVE, FRSTOR: the x87 state in its older memory formats.
 *
 * An environment is seven words (16-bit operand size) or doublewords (32-bit); protected mode has
 * selectors in it, which are zero here, real and virtual-8086 mode have linear addresses. An FNSAVE
 * image goes on with ST(0) to ST(7), ten bytes each.
 *
 * Facts: Intel SDM vol. 1, 8.1.7, 8.1.10 and figures 8-9 to 8-12.
 */
#include "x86/fpu.h"

#define ST_BYTES  80u
#define ENV_MAX	  28u
#define IMAGE_MAX (ENV_MAX + ST_BYTES)

/* x86_op.x */
#define FORM_32	   1u /* doublewords */
#define FORM_IMAGE 2u /* with the registers */

static inline unsigned env_size(const struct x86_op *o)
{
	return o->x & FORM_32 ? 28 : 14;
}

/* ---- Tags ----------------------------------------------------------------------------------- */

enum tag {
	TAG_VALID,
	TAG_ZERO,
	TAG_SPECIAL,
	TAG_EMPTY,
};

static enum tag tag_of(const uint8_t st[16])
{
	uint64_t mantissa;
	uint16_t exponent;

	memcpy(&mantissa, st, 8);
	memcpy(&exponent, st + 8, 2);
	exponent &= 0x7fff;
	if (!exponent && !mantissa)
		return TAG_ZERO;
	if (!exponent || exponent == 0x7fff || !(mantissa >> 63))
		return TAG_SPECIAL;
	return TAG_VALID;
}

/* Two bits for each physical register, from the one that FXSAVE keeps, and back. */
static uint16_t full_tags(const struct x86_fx *fx)
{
	unsigned top = X86_FSW_TOP(fx->fsw);
	uint16_t tags = 0;

	for (unsigned i = 0; i < 8; i++) {
		enum tag tag = fx->ftw & (1u << i) ? tag_of(fx->st[(i - top) & 7]) : TAG_EMPTY;

		tags |= (uint16_t)(tag << (2 * i));
	}
	return tags;
}

static uint8_t short_tags(uint16_t tags)
{
	uint8_t ftw = 0;

	for (unsigned i = 0; i < 8; i++)
		if (((tags >> (2 * i)) & 3) != TAG_EMPTY)
			ftw |= (uint8_t)(1u << i);
	return ftw;
}

/* ---- Environments --------------------------------------------------------------------------- */

static void put_env(const struct x86_vcpu *c, const struct x86_op *o, uint8_t *to)
{
	const struct x86_fx *fx = &c->s.fx;
	uint32_t ip = (uint32_t)fx->fip, dp = (uint32_t)fx->fdp, w[7];

	w[0] = fx->fcw;
	w[1] = fx->fsw;
	w[2] = full_tags(fx);
	w[3] = ip;
	w[4] = 0;
	w[5] = dp;
	w[6] = 0;
	if (!(c->mode & X86_MODE_PROT)) {
		w[3] = ip & 0xffff;
		w[4] = (ip >> 16) << 12 | fx->fop;
		w[5] = dp & 0xffff;
		w[6] = (dp >> 16) << 12;
	} else if (o->x & FORM_32) {
		w[4] = (uint32_t)fx->fop << 16;
	}
	if (o->x & FORM_32) {
		for (unsigned i = 0; i < 3; i++)
			w[i] |= 0xffff0000;
		if (c->mode & X86_MODE_PROT) {
			w[6] |= 0xffff0000;
		} else {
			w[3] |= 0xffff0000;
			w[5] |= 0xffff0000;
		}
		memcpy(to, w, 28);
		return;
	}
	for (unsigned i = 0; i < 7; i++) {
		uint16_t half = (uint16_t)w[i];

		memcpy(to + 2 * i, &half, 2);
	}
}

static void take_env(struct x86_vcpu *c, const struct x86_op *o, const uint8_t *from)
{
	struct x86_fx *fx = &c->s.fx;
	uint32_t w[7];

	for (unsigned i = 0; i < 7; i++) {
		if (o->x & FORM_32) {
			memcpy(&w[i], from + 4 * i, 4);
		} else {
			uint16_t half;

			memcpy(&half, from + 2 * i, 2);
			w[i] = half;
		}
	}
	fx->fcw = (uint16_t)w[0];
	x86_fx_set_top(fx, X86_FSW_TOP(w[1]));
	fx->fsw = (uint16_t)w[1];
	fx->ftw = short_tags((uint16_t)w[2]);
	fx->fip = w[3];
	fx->fdp = w[5];
	if (!(c->mode & X86_MODE_PROT)) {
		fx->fip = (w[3] & 0xffff) | (w[4] >> 12 & 0xffff) << 16;
		fx->fdp = (w[5] & 0xffff) | (w[6] >> 12 & 0xffff) << 16;
		fx->fop = w[4] & 0x07ff;
	} else {
		fx->fop = o->x & FORM_32 ? w[4] >> 16 & 0x07ff : 0;
	}
	x86_fx_normalise(fx);
}

/* ---- Instructions --------------------------------------------------------------------------- */

static void trap_check(struct x86_vcpu *c, const struct x86_op *o)
{
	if (c->x87_trap)
		x86_raise(c, o, X86_VEC_NM);
}

static void load_check(struct x86_vcpu *c, const struct x86_op *o)
{
	trap_check(c, o);
	if (x86_x87_pending(c))
		x86_raise(c, o, X86_VEC_MF);
}

static void store(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	struct x86_fx *fx = &c->s.fx;
	unsigned size = env_size(o);
	uint8_t image[IMAGE_MAX];

	trap_check(c, o);
	put_env(c, o, image);
	if (o->x & FORM_IMAGE) {
		for (unsigned i = 0; i < 8; i++)
			memcpy(image + size + 10 * i, fx->st[i], 10);
		size += ST_BYTES;
	}
	x86_write(c, o, va, image, size);
	if (o->x & FORM_IMAGE) {
		x86_fx_fninit(fx);
	} else {
		fx->fcw |= X86_FPE_ALL;
		fx->fsw &= ~X86_FSW_ES;
	}
}

static void load(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	unsigned size = env_size(o) + (o->x & FORM_IMAGE ? ST_BYTES : 0);
	struct x86_fx *fx = &c->s.fx;
	uint8_t image[IMAGE_MAX];

	load_check(c, o);
	x86_read(c, o, va, image, size);
	take_env(c, o, image);
	if (o->x & FORM_IMAGE)
		for (unsigned i = 0; i < 8; i++)
			memcpy(fx->st[i], image + env_size(o) + 10 * i, 10);
}

X86_MEM_FORMS(store)
X86_MEM_FORMS(load)

/* See x86_emit_ready(). */
X86_OP(store_ready)
{
	trap_check(c, o);
	NEXT;
}

X86_OP(load_ready)
{
	load_check(c, o);
	NEXT;
}

static bool emit_env(struct x86_xlate *t)
{
	const ZydisDecodedOperand *m = &t->op[0];
	bool written = x86_operand_written(m);
	uint8_t form = t->insn.operand_width == 16 ? 0 : FORM_32;
	unsigned size;

	if (!x86_native_has(t->c->machine->native, &t->insn))
		return false;
	if (t->insn.mnemonic == ZYDIS_MNEMONIC_FNSAVE || t->insn.mnemonic == ZYDIS_MNEMONIC_FRSTOR)
		form |= FORM_IMAGE;
	size = (form & FORM_32 ? 28 : 14) + (form & FORM_IMAGE ? ST_BYTES : 0);
	x86_emit_ready(t, written ? store_ready : load_ready);
	x86_emit_mem(t, m, written ? store_s : load_s, written ? store_f : load_f, size, written)
		->x = form;
	return true;
}

void x86_register_x87_env(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_FNSTENV] = emit_env;
	table[ZYDIS_MNEMONIC_FLDENV] = emit_env;
	table[ZYDIS_MNEMONIC_FNSAVE] = emit_env;
	table[ZYDIS_MNEMONIC_FRSTOR] = emit_env;
}
