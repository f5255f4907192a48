/*
 * xsave.c - FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XSAVEC, XRSTOR, XGETBV, XSETBV.
 *
 * Components are x87 (bit 0) and SSE (bit 1), both in the legacy region, so that the standard and
 * the compacted layout differ in the header only. An area is checked wholly before anything of it
 * is taken, and is known to be writable before anything is written.
 *
 * Facts: Intel SDM vol. 1, 10.5 and chapter 13, vol. 2.
 */
#include "x86/fpu.h"

#define COMPONENT_X87 1u
#define COMPONENT_SSE 2u
#define COMPACTED     (1ul << 63)

struct xsave_header {
	uint64_t xstate_bv, xcomp_bv, reserved[6];
};

struct xsave_area {
	struct x86_fx legacy;
	struct xsave_header header;
};
_Static_assert(sizeof(struct xsave_area) == 576, "XSAVE area of x87 and SSE");

/* x86_op.x */
#define FORM_64	     1u /* REX.W: 64-bit instruction and data pointers */
#define FORM_OPT     2u /* XSAVEOPT, XSAVEC: components in their initial state are not written */
#define FORM_COMPACT 4u /* XSAVEC */

static inline unsigned xmm_count(const struct x86_vcpu *c)
{
	return c->mode & X86_MODE_64 ? 16 : 8;
}

/* ---- The legacy region ---------------------------------------------------------------------- */

static void put_legacy(const struct x86_vcpu *c, const struct x86_op *o, struct x86_fx *to)
{
	*to = c->s.fx;
	to->reserved0 = 0;
	to->mxcsr_mask = X86_MXCSR_SUPPORTED;
	if (!(o->x & FORM_64)) {
		to->fip = (uint32_t)to->fip; /* FCS, FDS: zero */
		to->fdp = (uint32_t)to->fdp;
	}
}

static void take_x87(struct x86_vcpu *c, const struct x86_op *o, const struct x86_fx *from)
{
	struct x86_fx *fx = &c->s.fx;

	fx->fcw = from->fcw;
	fx->fsw = from->fsw;
	fx->ftw = from->ftw;
	fx->fop = from->fop;
	fx->fip = o->x & FORM_64 ? from->fip : (uint32_t)from->fip;
	fx->fdp = o->x & FORM_64 ? from->fdp : (uint32_t)from->fdp;
	memcpy(fx->st, from->st, sizeof(fx->st));
	x86_fx_normalise(fx);
}

static void check_mxcsr(struct x86_vcpu *c, const struct x86_op *o, const struct x86_fx *from)
{
	if (from->mxcsr & ~X86_MXCSR_SUPPORTED)
		x86_raise_error(c, o, X86_VEC_GP, 0);
}

static void take_xmm(struct x86_vcpu *c, const struct x86_fx *from)
{
	memcpy(c->s.fx.xmm, from->xmm, xmm_count(c) * 16);
}

static void fx_trap_check(struct x86_vcpu *c, const struct x86_op *o)
{
	if (c->x87_trap)
		x86_raise(c, o, X86_VEC_NM);
}

static void fx_check(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	fx_trap_check(c, o);
	if (va & 15)
		x86_raise_error(c, o, X86_VEC_GP, 0);
}

static void fxsave(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	struct x86_fx image;

	fx_check(c, o, va);
	put_legacy(c, o, &image);
	x86_probe_write(c, o, va, sizeof(image));
	x86_write(c, o, va, &image, offsetof(struct x86_fx, xmm) + xmm_count(c) * 16);
}

static void fxrstor(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	struct x86_fx image;

	fx_check(c, o, va);
	x86_read(c, o, va, &image, sizeof(image));
	check_mxcsr(c, o, &image);
	c->s.fx.mxcsr = image.mxcsr;
	take_xmm(c, &image);
	take_x87(c, o, &image);
}

/* ---- XSAVE ---------------------------------------------------------------------------------- */

/*
 * The components that are not in their initial state. Out of line: its image on the stack would
 * keep an operation's NEXT from being a jump.
 */
__attribute__((noinline)) static uint64_t in_use(const struct x86_vcpu *c)
{
	const struct x86_fx *fx = &c->s.fx;
	struct x86_fx init = {0};
	uint64_t used = 0;

	x86_fx_init_x87(&init);
	if (fx->fcw != init.fcw || fx->fsw || fx->ftw || fx->fop || fx->fip || fx->fdp ||
		memcmp(fx->st, init.st, sizeof(fx->st)))
		used |= COMPONENT_X87;
	if (memcmp(fx->xmm, init.xmm, sizeof(fx->xmm)))
		used |= COMPONENT_SSE;
	return used;
}

static uint64_t requested(const struct x86_vcpu *c)
{
	return c->s.xcr0 &
	       ((c->s.gpr[X86_RDX] & 0xffffffff) << 32 | (c->s.gpr[X86_RAX] & 0xffffffff));
}

static void xsave_trap_check(struct x86_vcpu *c, const struct x86_op *o)
{
	if (!(c->s.cr4 & X86_CR4_OSXSAVE))
		x86_raise(c, o, X86_VEC_UD);
	if (c->s.cr0 & X86_CR0_TS)
		x86_raise(c, o, X86_VEC_NM);
}

static void xsave_check(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	xsave_trap_check(c, o);
	if (va & 63)
		x86_raise_error(c, o, X86_VEC_GP, 0);
}

/* Writes the members of struct x86_fx from @first up to, not including, @end. */
static void write_part(struct x86_vcpu *c, const struct x86_op *o, uint64_t va,
	const struct x86_fx *image, size_t first, size_t end)
{
	x86_write(c, o, va + first, (const uint8_t *)image + first, (unsigned)(end - first));
}

static void xsave(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	const size_t mxcsr = offsetof(struct x86_fx, mxcsr), st = offsetof(struct x86_fx, st);
	const size_t xmm = offsetof(struct x86_fx, xmm);
	uint64_t asked = requested(c), used = in_use(c), written = asked;
	struct xsave_header header = {0};
	struct x86_fx image;
	unsigned header_bytes = sizeof(header.xstate_bv);

	xsave_check(c, o, va);
	x86_probe_write(c, o, va, sizeof(struct xsave_area));
	if (o->x & FORM_COMPACT) {
		if (c->s.fx.mxcsr != X86_MXCSR_INIT)
			used |= COMPONENT_SSE;
		header.xcomp_bv = asked | COMPACTED;
		header_bytes += sizeof(header.xcomp_bv);
	} else {
		x86_read(c, o, va + sizeof(image), &header.xstate_bv, sizeof(header.xstate_bv));
	}
	header.xstate_bv = (header.xstate_bv & ~asked) | (asked & used);
	if (o->x & FORM_OPT)
		written &= used;
	put_legacy(c, o, &image);
	if (written & COMPONENT_X87) {
		write_part(c, o, va, &image, 0, mxcsr);
		write_part(c, o, va, &image, st, xmm);
	}
	/* In the standard form MXCSR is not subject to the initial-state optimisation. */
	if ((o->x & FORM_COMPACT ? written : asked) & COMPONENT_SSE)
		write_part(c, o, va, &image, mxcsr, st);
	if (written & COMPONENT_SSE)
		write_part(c, o, va, &image, xmm, xmm + xmm_count(c) * 16);
	x86_write(c, o, va + sizeof(image), &header, header_bytes);
}

/* Raises #GP unless XRSTOR accepts this header. */
static void check_header(struct x86_vcpu *c, const struct x86_op *o, const struct xsave_header *h)
{
	uint64_t bad = 0;

	for (unsigned i = 0; i < 6; i++)
		bad |= h->reserved[i];
	if (h->xcomp_bv & COMPACTED) {
		uint64_t layout = h->xcomp_bv & ~COMPACTED;

		/* Without XSAVEC there is no compacted form to restore from. */
		if (!(x86_native_features(c->machine->native)->xsave1_eax & 2))
			bad = 1;
		bad |= layout & ~c->s.xcr0;
		bad |= h->xstate_bv & ~layout;
	} else {
		/* Bytes 24 to 63 of a standard header are not looked at. */
		bad = h->reserved[0] | h->xcomp_bv | (h->xstate_bv & ~c->s.xcr0);
	}
	if (bad)
		x86_raise_error(c, o, X86_VEC_GP, 0);
}

static void xrstor(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	uint64_t asked = requested(c), present;
	struct xsave_area area;
	bool compacted;

	xsave_check(c, o, va);
	x86_read(c, o, va, &area, sizeof(area));
	check_header(c, o, &area.header);
	present = area.header.xstate_bv;
	compacted = area.header.xcomp_bv & COMPACTED;
	if ((asked & COMPONENT_SSE) && (!compacted || (present & COMPONENT_SSE))) {
		check_mxcsr(c, o, &area.legacy);
		c->s.fx.mxcsr = area.legacy.mxcsr;
	} else if (asked & COMPONENT_SSE) {
		c->s.fx.mxcsr = X86_MXCSR_INIT;
	}
	if (asked & ~present & COMPONENT_SSE)
		memset(area.legacy.xmm, 0, sizeof(area.legacy.xmm));
	if (asked & COMPONENT_SSE)
		take_xmm(c, &area.legacy);
	if (asked & ~present & COMPONENT_X87)
		x86_fx_init_x87(&area.legacy);
	if (asked & COMPONENT_X87)
		take_x87(c, o, &area.legacy);
}

X86_MEM_FORMS(fxsave)
X86_MEM_FORMS(fxrstor)
X86_MEM_FORMS(xsave)
X86_MEM_FORMS(xrstor)

/* See x86_emit_ready(). */
X86_OP(op_fx_ready)
{
	fx_trap_check(c, o);
	NEXT;
}

X86_OP(op_xsave_ready)
{
	xsave_trap_check(c, o);
	NEXT;
}

/* ---- Extended control registers ------------------------------------------------------------- */

static void put_edx_eax(struct x86_vcpu *c, uint64_t value)
{
	c->s.gpr[X86_RAX] = (uint32_t)value;
	c->s.gpr[X86_RDX] = value >> 32;
}

X86_OP(op_xgetbv)
{
	uint32_t index = (uint32_t)c->s.gpr[X86_RCX];

	if (!(c->s.cr4 & X86_CR4_OSXSAVE))
		x86_raise(c, o, X86_VEC_UD);
	if (index == 0)
		put_edx_eax(c, c->s.xcr0);
	else if (index == 1 && o->x)
		put_edx_eax(c, c->s.xcr0 & in_use(c));
	else
		x86_raise_error(c, o, X86_VEC_GP, 0);
	NEXT;
}

X86_OP(op_xsetbv)
{
	uint64_t value = (c->s.gpr[X86_RDX] & 0xffffffff) << 32 | (c->s.gpr[X86_RAX] & 0xffffffff);

	if (!(c->s.cr4 & X86_CR4_OSXSAVE))
		x86_raise(c, o, X86_VEC_UD);
	/* o->imm: the components there are. x87 cannot be switched off. */
	if (c->s.cpl || (uint32_t)c->s.gpr[X86_RCX] || (value & ~o->imm) ||
		!(value & COMPONENT_X87))
		x86_raise_error(c, o, X86_VEC_GP, 0);
	c->s.xcr0 = value;
	NEXT;
}

/* ---- Emitters ------------------------------------------------------------------------------- */

struct form {
	uint16_t mnemonic;
	uint8_t x;
	uint16_t size;
	bool write;
	x86_op_fn s, f;
};

#define M(name) ZYDIS_MNEMONIC_##name
#define FORM(name, x, size, write, fn)                                                             \
	{                                                                                          \
		M(name), x, size, write, fn##_s, fn##_f                                            \
	}

static const struct form forms[] = {
	FORM(FXSAVE, 0, 512, true, fxsave),
	FORM(FXSAVE64, FORM_64, 512, true, fxsave),
	FORM(FXRSTOR, 0, 512, false, fxrstor),
	FORM(FXRSTOR64, FORM_64, 512, false, fxrstor),
	FORM(XSAVE, 0, 576, true, xsave),
	FORM(XSAVE64, FORM_64, 576, true, xsave),
	FORM(XSAVEOPT, FORM_OPT, 576, true, xsave),
	FORM(XSAVEOPT64, FORM_OPT | FORM_64, 576, true, xsave),
	FORM(XSAVEC, FORM_OPT | FORM_COMPACT, 576, true, xsave),
	FORM(XSAVEC64, FORM_OPT | FORM_COMPACT | FORM_64, 576, true, xsave),
	FORM(XRSTOR, 0, 576, false, xrstor),
	FORM(XRSTOR64, FORM_64, 576, false, xrstor),
};

static bool emit_area(struct x86_xlate *t)
{
	const struct form *form = forms;

	if (!x86_native_has(t->c->machine->native, &t->insn))
		return false;
	while (form->mnemonic != t->insn.mnemonic)
		form++;
	x86_emit_ready(t, form->size == sizeof(struct x86_fx) ? op_fx_ready : op_xsave_ready);
	x86_emit_mem(t, &t->op[0], form->s, form->f, form->size, form->write)->x = form->x;
	return true;
}

static bool emit_xgetbv(struct x86_xlate *t)
{
	const struct x86_native *n = t->c->machine->native;

	if (!x86_native_has(n, &t->insn))
		return false;
	x86_emit(t, op_xgetbv)->x = x86_native_features(n)->xsave1_eax >> 2 & 1;
	return true;
}

static bool emit_xsetbv(struct x86_xlate *t)
{
	const struct x86_native *n = t->c->machine->native;

	if (!x86_native_has(n, &t->insn))
		return false;
	x86_emit(t, op_xsetbv)->imm = x86_native_features(n)->xcr0;
	return true;
}

void x86_register_xsave(x86_emit_fn *table)
{
	for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		table[forms[i].mnemonic] = emit_area;
	table[M(XGETBV)] = emit_xgetbv;
	table[M(XSETBV)] = emit_xsetbv;
}
