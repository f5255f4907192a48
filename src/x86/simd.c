/*
 * simd.c - SSE to SSE4.2, AES and PCLMULQDQ: everything on XMM registers.
 *
 * Moves and the commonest logic are done here; all other instructions are run as themselves by the
 * thunks of native.c. Only the mnemonics listed here, in legacy encoding and of a set that
 * x86_features() reports, ever get a thunk. Instructions that also use MMX registers go to mmx.c.
 *
 * Facts: Intel SDM vol. 1 chapters 10-12 and appendix E, vol. 2 ("Instruction exception
 * specification" classes 1-6: alignment and floating-point exceptions, as Zydis tells them).
 */
#include "x86/fpu.h"
#include "x86/recipe.h"

typedef uint64_t vec __attribute__((vector_size(16)));
typedef uint64_t vec_u __attribute__((vector_size(16), aligned(1)));

#define VEC(p)	 (*(vec *)(p))
#define VEC_U(p) (*(vec_u *)(p))
#define REG0	 x86_slot(c, o->r0)
#define REG1	 x86_slot(c, o->r1)

/* ---- Exceptions ----------------------------------------------------------------------------- */

void x86_simd_refuse(struct x86_vcpu *c, const struct x86_op *o)
{
	if ((c->s.cr0 & X86_CR0_EM) || !(c->s.cr4 & X86_CR4_OSFXSR))
		x86_raise(c, o, X86_VEC_UD);
	x86_raise(c, o, X86_VEC_NM);
}

static inline void check_aligned(
	struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned mask)
{
	if (unlikely(va & mask))
		x86_raise_error(c, o, X86_VEC_GP, 0);
}

/*
 * The host runs with everything masked, and the flags tell what would have been raised. With
 * underflow unmasked a tiny result counts even when exact, and FTZ has no effect: a second run with
 * FTZ, which flushes just the tiny ones, tells. Exceptions that precede the computation (invalid,
 * denormal, divide) keep those that follow it from being noticed.
 *
 * One thing cannot be told so: with overflow unmasked PE is set as well, although the processor
 * leaves it clear when the result is exact but for its exponent.
 */
__attribute__((noinline)) void x86_simd_checked(
	struct x86_vcpu *c, const struct x86_op *o, void *reg, void *rm)
{
	const uint32_t before = (X86_FPE_IE | X86_FPE_DE | X86_FPE_ZE);
	x86_simd_fn fn = (x86_simd_fn)o->imm;
	uint32_t mxcsr = c->s.fx.mxcsr, unmasked = ~(mxcsr >> 7) & X86_FPE_ALL, raised;
	uint32_t run = (mxcsr | X86_MXCSR_MASKS) & ~X86_FPE_ALL;
	uint8_t result[16] __attribute__((aligned(16)));
	uint8_t ignored[16] __attribute__((aligned(16)));
	uint16_t fl = c->fl;

	memcpy(result, reg, sizeof(result));
	memcpy(ignored, reg, sizeof(ignored));
	c->s.fx.mxcsr = unmasked & X86_FPE_UE ? run & ~X86_MXCSR_FTZ : run;
	fn(result, rm, c);
	raised = c->s.fx.mxcsr & X86_FPE_ALL;
	if (unmasked & X86_FPE_UE) {
		c->s.fx.mxcsr = run | X86_MXCSR_FTZ;
		fn(ignored, rm, c);
		raised |= c->s.fx.mxcsr & X86_FPE_UE;
	}
	if (raised & unmasked & before)
		raised &= before;
	c->s.fx.mxcsr = mxcsr | raised;
	if (raised & unmasked) {
		c->fl = fl;
		x86_raise(c, o, c->s.cr4 & X86_CR4_OSXMMEXCPT ? X86_VEC_XM : X86_VEC_UD);
	}
	memcpy(reg, result, sizeof(result));
}

/* ---- Memory operands ------------------------------------------------------------------------ */

void *x86_operand_slow(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, unsigned size)
{
	x86_read(c, o, va, c->bounce, size);
	return c->bounce;
}

void x86_store_masked(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, const uint8_t *data,
	const uint8_t *mask, unsigned size)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < size; i++)
		bits |= (mask[i] >> 7) << i;
	if (!bits)
		return;
	/* Both ends are stored to, so nothing is asked for that an unselected byte would need. */
	x86_probe_write(
		c, o, va + __builtin_ctz(bits), 32 - __builtin_clz(bits) - __builtin_ctz(bits));
	for (unsigned i = 0; i < size; i++)
		if (bits & (1u << i))
			x86_store8(c, o, va + i, data[i]);
}

/* A memory form: @body has the linear address in va. Defines name_s and name_f. */
#define MEM_OP(name, body)                                                                         \
	static inline __attribute__((always_inline)) void name(                                    \
		struct x86_vcpu *c, const struct x86_op *o, uint64_t va)                           \
	{                                                                                          \
		x86_simd_ready(c, o);                                                              \
		body;                                                                              \
	}                                                                                          \
	X86_MEM_FORMS(name)

#define REG_OP(name, body)                                                                         \
	X86_OP(name)                                                                               \
	{                                                                                          \
		x86_simd_ready(c, o);                                                              \
		body;                                                                              \
		NEXT;                                                                              \
	}

/* ---- Moves ---------------------------------------------------------------------------------- */

static void store_slow(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	x86_write(c, o, va, REG0, 16);
}

static inline void store128(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	void *p = x86_host_w(c, va, 16);

	if (likely(p != NULL))
		VEC_U(p) = VEC(REG0);
	else
		store_slow(c, o, va);
}

MEM_OP(load128, VEC(REG0) = VEC_U(x86_operand(c, o, va, 16)))
MEM_OP(load128a, check_aligned(c, o, va, 15); VEC(REG0) = VEC_U(x86_operand(c, o, va, 16)))
MEM_OP(store128u, store128(c, o, va))
MEM_OP(store128a, check_aligned(c, o, va, 15); store128(c, o, va))
/* One half of a register, the other unchanged; or (z) all of it, zero-extended. */
MEM_OP(load64, *(uint64_t *)REG0 = x86_load64(c, o, va))
MEM_OP(load64z, VEC(REG0) = ((vec){x86_load64(c, o, va), 0}))
MEM_OP(load32z, VEC(REG0) = ((vec){x86_load32(c, o, va), 0}))
MEM_OP(store64, x86_store64(c, o, va, *(uint64_t *)REG0))
MEM_OP(store32, x86_store32(c, o, va, *(uint32_t *)REG0))

REG_OP(copy128, VEC(REG0) = VEC(REG1))
REG_OP(copy64, *(uint64_t *)REG0 = *(uint64_t *)REG1)
REG_OP(copy64z, VEC(REG0) = ((vec){*(uint64_t *)REG1, 0}))
REG_OP(copy32, *(uint32_t *)REG0 = *(uint32_t *)REG1)
REG_OP(copy32z, VEC(REG0) = ((vec){*(uint32_t *)REG1, 0}))
REG_OP(copy32gpr, *(uint64_t *)REG0 = *(uint32_t *)REG1)

uint8_t x86_slot_of(ZydisRegister r)
{
	uint8_t id = (uint8_t)ZydisRegisterGetId(r);

	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_XMM:
		return X86_SLOT_XMM(id);
	case ZYDIS_REGCLASS_MMX:
		return X86_SLOT_ST(id);
	default:
		return X86_SLOT_GPR(id);
	}
}

/* See x86_emit_ready(). */
REG_OP(simd_ready, (void)0)

static struct x86_op *emit_mem(struct x86_xlate *t, const ZydisDecodedOperand *m, x86_op_fn fs,
	x86_op_fn ff, unsigned size)
{
	x86_emit_ready(t, simd_ready);
	return x86_emit_mem(t, m, fs, ff, size, x86_operand_written(m));
}

struct mem_form {
	x86_op_fn s, f;
};
#define MEM_FORM(name) ((struct mem_form){name##_s, name##_f})

/* Appends a move between the register at @slot and memory operand @m. */
static bool move_mem(struct x86_xlate *t, const ZydisDecodedOperand *m, struct mem_form form,
	unsigned size, uint8_t slot)
{
	emit_mem(t, m, form.s, form.f, size)->r0 = slot;
	return true;
}

static bool move_reg(struct x86_xlate *t, x86_op_fn fn, uint8_t to, uint8_t from)
{
	struct x86_op *o = x86_emit(t, fn);

	o->r0 = to;
	o->r1 = from;
	return true;
}

static bool usable(const struct x86_xlate *t)
{
	return t->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	       x86_native_has(t->c->machine->native, &t->insn);
}

static bool emit_move128(struct x86_xlate *t, struct mem_form load, struct mem_form store)
{
	const ZydisDecodedOperand *to = &t->op[0], *from = &t->op[1];

	if (!usable(t))
		return false;
	if (x86_is_mem(from))
		return move_mem(t, from, load, 16, x86_slot_of(to->reg.value));
	if (x86_is_mem(to))
		return move_mem(t, to, store, 16, x86_slot_of(from->reg.value));
	return move_reg(t, copy128, x86_slot_of(to->reg.value), x86_slot_of(from->reg.value));
}

static bool emit_move_aligned(struct x86_xlate *t)
{
	return emit_move128(t, MEM_FORM(load128a), MEM_FORM(store128a));
}

static bool emit_move_unaligned(struct x86_xlate *t)
{
	return emit_move128(t, MEM_FORM(load128), MEM_FORM(store128u));
}

/* MOVD, MOVQ: between XMM and general registers, or memory. */
static bool emit_movd_movq(struct x86_xlate *t)
{
	const ZydisDecodedOperand *to = &t->op[0], *from = &t->op[1];
	bool quad = t->insn.mnemonic == ZYDIS_MNEMONIC_MOVQ;
	x86_op_fn copy = quad ? copy64z : copy32z;

	if (!usable(t))
		return false;
	if (x86_uses_mmx(t))
		return x86_emit_mmx(t, false);
	if (x86_is_mem(from))
		return move_mem(t, from, quad ? MEM_FORM(load64z) : MEM_FORM(load32z), quad ? 8 : 4,
			x86_slot_of(to->reg.value));
	if (x86_is_mem(to))
		return move_mem(t, to, quad ? MEM_FORM(store64) : MEM_FORM(store32), quad ? 8 : 4,
			x86_slot_of(from->reg.value));
	if (ZydisRegisterGetClass(to->reg.value) != ZYDIS_REGCLASS_XMM)
		copy = quad ? copy64 : copy32gpr;
	return move_reg(t, copy, x86_slot_of(to->reg.value), x86_slot_of(from->reg.value));
}

/* MOVSS, MOVSD: a load clears the rest of the register, a move between registers does not. */
static bool emit_move_scalar(struct x86_xlate *t)
{
	const ZydisDecodedOperand *to = &t->op[0], *from = &t->op[1];
	bool dbl = t->insn.mnemonic == ZYDIS_MNEMONIC_MOVSD;

	if (!usable(t))
		return false;
	if (x86_is_mem(from))
		return move_mem(t, from, dbl ? MEM_FORM(load64z) : MEM_FORM(load32z), dbl ? 8 : 4,
			x86_slot_of(to->reg.value));
	if (x86_is_mem(to))
		return move_mem(t, to, dbl ? MEM_FORM(store64) : MEM_FORM(store32), dbl ? 8 : 4,
			x86_slot_of(from->reg.value));
	return move_reg(
		t, dbl ? copy64 : copy32, x86_slot_of(to->reg.value), x86_slot_of(from->reg.value));
}

/* MOVLPS and MOVHPS and their kin: half a register, @to_half and @from_half being 0 or 1. */
static bool emit_move_half(struct x86_xlate *t, unsigned to_half, unsigned from_half)
{
	const ZydisDecodedOperand *to = &t->op[0], *from = &t->op[1];

	if (!usable(t))
		return false;
	if (x86_is_mem(from))
		return move_mem(t, from, MEM_FORM(load64), 8, x86_slot_of(to->reg.value) + to_half);
	if (x86_is_mem(to))
		return move_mem(
			t, to, MEM_FORM(store64), 8, x86_slot_of(from->reg.value) + from_half);
	return move_reg(t, copy64, x86_slot_of(to->reg.value) + to_half,
		x86_slot_of(from->reg.value) + from_half);
}

static bool emit_move_low(struct x86_xlate *t)
{
	return emit_move_half(t, 0, 0);
}

static bool emit_move_high(struct x86_xlate *t)
{
	return emit_move_half(t, 1, 1);
}

static bool emit_movhlps(struct x86_xlate *t)
{
	return emit_move_half(t, 0, 1);
}

static bool emit_movlhps(struct x86_xlate *t)
{
	return emit_move_half(t, 1, 0);
}

/* ---- MXCSR, masked stores ------------------------------------------------------------------- */

static inline void load_mxcsr(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	uint32_t value = x86_load32(c, o, va);

	if (value & ~X86_MXCSR_SUPPORTED)
		x86_raise_error(c, o, X86_VEC_GP, 0);
	c->s.fx.mxcsr = value;
}

MEM_OP(ldmxcsr, load_mxcsr(c, o, va))
MEM_OP(stmxcsr, x86_store32(c, o, va, c->s.fx.mxcsr))
MEM_OP(maskmovdqu, x86_store_masked(c, o, va, REG0, REG1, 16))

static bool emit_mxcsr(struct x86_xlate *t)
{
	bool load = t->insn.mnemonic == ZYDIS_MNEMONIC_LDMXCSR;

	return usable(t) &&
	       move_mem(t, &t->op[0], load ? MEM_FORM(ldmxcsr) : MEM_FORM(stmxcsr), 4, 0);
}

static bool emit_maskmovdqu(struct x86_xlate *t)
{
	struct x86_op *o;

	if (!usable(t))
		return false;
	o = emit_mem(t, &t->op[2], maskmovdqu_s, maskmovdqu_f, 16);
	o->r0 = x86_slot_of(t->op[0].reg.value);
	o->r1 = x86_slot_of(t->op[1].reg.value);
	return true;
}

/* ---- The commonest integer instructions, without a thunk ------------------------------------ */

#define DIRECT_ASM(insn, to, from)                                                                 \
	asm("movdqa %0, %%xmm0\n\t" insn " %1, %%xmm0\n\tmovdqa %%xmm0, %0"                        \
		: "+m"(VEC(to))                                                                    \
		: "m"(VEC(from))                                                                   \
		: "xmm0")

#define DIRECT(insn)                                                                               \
	REG_OP(insn##_r, DIRECT_ASM(#insn, REG0, REG1))                                            \
	MEM_OP(insn, check_aligned(c, o, va, 15);                                                  \
		DIRECT_ASM(#insn, REG0, x86_operand(c, o, va, 16)))                                \
	static bool emit_##insn(struct x86_xlate *t)                                               \
	{                                                                                          \
		return emit_direct(t, insn##_r, MEM_FORM(insn));                                   \
	}

static bool emit_direct(struct x86_xlate *t, x86_op_fn reg, struct mem_form mem)
{
	uint8_t to = x86_slot_of(t->op[0].reg.value);

	if (!usable(t))
		return false;
	if (x86_uses_mmx(t))
		return x86_emit_mmx(t, false);
	if (x86_is_mem(&t->op[1]))
		return move_mem(t, &t->op[1], mem, 16, to);
	return move_reg(t, reg, to, x86_slot_of(t->op[1].reg.value));
}

DIRECT(pxor)
DIRECT(por)
DIRECT(pand)
DIRECT(pandn)
DIRECT(pcmpeqb)
DIRECT(pcmpeqd)
DIRECT(pminub)
DIRECT(psubb)
DIRECT(paddd)
DIRECT(paddq)
DIRECT(punpcklbw)
DIRECT(punpcklwd)
DIRECT(punpckldq)
DIRECT(punpcklqdq)

REG_OP(pmovmskb_r, uint32_t bits; asm("pmovmskb %1, %0"
				      : "=r"(bits)
				      : "x"(VEC(REG1)));
	*(uint64_t *)REG0 = bits)

static bool emit_pmovmskb(struct x86_xlate *t)
{
	return emit_direct(t, pmovmskb_r, (struct mem_form){NULL, NULL});
}

/* ---- Everything else, by thunks ------------------------------------------------------------- */

static inline void run(struct x86_vcpu *c, const struct x86_op *o, void *reg, void *rm, bool fp)
{
	if (fp && unlikely(!x86_simd_masked(c)))
		x86_simd_checked(c, o, reg, rm);
	else
		((x86_simd_fn)o->imm)(reg, rm, c);
}

static void store_result(struct x86_vcpu *c, const struct x86_op *o, uint64_t va)
{
	((x86_simd_fn)o->imm)(REG0, c->bounce, c);
	x86_write(c, o, va, c->bounce, o->x);
}

/* With memory: r1 is the mask of address bits that must be zero, x the operand's size. */
static inline void run_mem(struct x86_vcpu *c, const struct x86_op *o, uint64_t va, bool fp)
{
	check_aligned(c, o, va, o->r1);
	run(c, o, REG0, x86_operand(c, o, va, o->x), fp);
}

REG_OP(thunk, run(c, o, REG0, REG1, false))
REG_OP(thunk_fp, run(c, o, REG0, REG1, true))
MEM_OP(thunk_mem, run_mem(c, o, va, false))
MEM_OP(thunk_mem_fp, run_mem(c, o, va, true))
MEM_OP(thunk_store, store_result(c, o, va))

/* Legacy encodings of classes 1, 2 and 4 want 16-byte operands aligned, with few exceptions. */
static uint8_t alignment_mask(const struct x86_xlate *t, const ZydisDecodedOperand *m)
{
	switch (t->insn.mnemonic) {
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
		return 0;
	default:
		return m->size == 128 ? 15 : 0;
	}
}

bool x86_emit_thunk(struct x86_xlate *t, bool fp)
{
	const ZydisDecodedOperand *reg = x86_operand_at(t, ZYDIS_OPERAND_ENCODING_MODRM_REG);
	const ZydisDecodedOperand *rm = x86_operand_at(t, ZYDIS_OPERAND_ENCODING_MODRM_RM);
	struct mem_form form = fp ? MEM_FORM(thunk_mem_fp) : MEM_FORM(thunk_mem);
	struct x86_op *o;
	x86_simd_fn fn;

	if (!usable(t) || !rm)
		return false;
	if (x86_uses_mmx(t))
		return x86_emit_mmx(t, fp);
	fn = x86_native_simd(t->c->machine->native, t, fp);
	if (!fn)
		return false;
	if (!x86_is_mem(rm)) {
		o = x86_emit(t, fp ? thunk_fp : thunk);
		o->r1 = x86_slot_of(rm->reg.value);
	} else {
		if (x86_operand_written(rm))
			form = MEM_FORM(thunk_store);
		o = emit_mem(t, rm, form.s, form.f, rm->size / 8);
		o->r1 = alignment_mask(t, rm);
		o->x = (uint8_t)(rm->size / 8);
	}
	o->r0 = reg ? x86_slot_of(reg->reg.value) : o->r1;
	o->imm = (uint64_t)fn;
	return true;
}

/* CMPSD and MOVSD name string instructions, too. */
static bool emit_movsd(struct x86_xlate *t)
{
	return t->insn.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? x86_emit_string(t)
							      : emit_move_scalar(t);
}

static bool emit_cmpsd(struct x86_xlate *t)
{
	return t->insn.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT ? x86_emit_string(t)
							      : x86_emit_thunk(t, true);
}

/* ---- What there is -------------------------------------------------------------------------- */

#define M(name) ZYDIS_MNEMONIC_##name

static const struct {
	uint16_t mnemonic;
	x86_emit_fn emit;
} own_list[] = {
	{M(MOVAPS), emit_move_aligned},
	{M(MOVAPD), emit_move_aligned},
	{M(MOVDQA), emit_move_aligned},
	{M(MOVNTPS), emit_move_aligned},
	{M(MOVNTPD), emit_move_aligned},
	{M(MOVNTDQ), emit_move_aligned},
	{M(MOVNTDQA), emit_move_aligned},
	{M(MOVUPS), emit_move_unaligned},
	{M(MOVUPD), emit_move_unaligned},
	{M(MOVDQU), emit_move_unaligned},
	{M(LDDQU), emit_move_unaligned},
	{M(MOVD), emit_movd_movq},
	{M(MOVQ), emit_movd_movq},
	{M(MOVSS), emit_move_scalar},
	{M(MOVSD), emit_movsd},
	{M(CMPSD), emit_cmpsd},
	{M(MOVLPS), emit_move_low},
	{M(MOVLPD), emit_move_low},
	{M(MOVHPS), emit_move_high},
	{M(MOVHPD), emit_move_high},
	{M(MOVHLPS), emit_movhlps},
	{M(MOVLHPS), emit_movlhps},
	{M(LDMXCSR), emit_mxcsr},
	{M(STMXCSR), emit_mxcsr},
	{M(MASKMOVDQU), emit_maskmovdqu},
	{M(PMOVMSKB), emit_pmovmskb},
	{M(PXOR), emit_pxor},
	{M(XORPS), emit_pxor},
	{M(XORPD), emit_pxor},
	{M(POR), emit_por},
	{M(ORPS), emit_por},
	{M(ORPD), emit_por},
	{M(PAND), emit_pand},
	{M(ANDPS), emit_pand},
	{M(ANDPD), emit_pand},
	{M(PANDN), emit_pandn},
	{M(ANDNPS), emit_pandn},
	{M(ANDNPD), emit_pandn},
	{M(PCMPEQB), emit_pcmpeqb},
	{M(PCMPEQD), emit_pcmpeqd},
	{M(PMINUB), emit_pminub},
	{M(PSUBB), emit_psubb},
	{M(PADDD), emit_paddd},
	{M(PADDQ), emit_paddq},
	{M(PUNPCKLBW), emit_punpcklbw},
	{M(PUNPCKLWD), emit_punpcklwd},
	{M(PUNPCKLDQ), emit_punpckldq},
	{M(PUNPCKLQDQ), emit_punpcklqdq},
};

void x86_register_simd(x86_emit_fn *table)
{
	x86_register_thunks(table);
	for (unsigned i = 0; i < sizeof(own_list) / sizeof(own_list[0]); i++)
		table[own_list[i].mnemonic] = own_list[i].emit;
	x86_register_mmx(table);
}

/* ---- Recipes -------------------------------------------------------------------------------- */

static void recipe_mem(struct x86_recipes *r, struct mem_form form, struct x86_recipe recipe)
{
	recipe.form = X86_FORM_RM;
	x86_recipe_add(r, form.s, recipe);
	recipe.full = true;
	x86_recipe_add(r, form.f, recipe);
}

static void recipe_packed(struct x86_recipes *r, x86_op_fn reg, struct mem_form mem, unsigned code)
{
	struct x86_recipe recipe = {.kind = X86_DO_VECTOR_PACKED, .code = (uint8_t)code};

	recipe_mem(r, mem, recipe);
	recipe.form = X86_FORM_RR;
	x86_recipe_add(r, reg, recipe);
}

#define LOAD(...)	   ((struct x86_recipe){.kind = X86_DO_VECTOR_LOAD, __VA_ARGS__})
#define STORE(...)	   ((struct x86_recipe){.kind = X86_DO_VECTOR_STORE, __VA_ARGS__})
#define COPY(...)	   ((struct x86_recipe){.kind = X86_DO_VECTOR_COPY, __VA_ARGS__})
#define PACKED(insn, code) recipe_packed(r, insn##_r, MEM_FORM(insn), code)

static void recipe_moves(struct x86_recipes *r)
{
	recipe_mem(r, MEM_FORM(load128), LOAD(.size = 16));
	recipe_mem(r, MEM_FORM(load128a), LOAD(.size = 16, .aligned = true));
	recipe_mem(r, MEM_FORM(load64), LOAD(.size = 8));
	recipe_mem(r, MEM_FORM(load64z), LOAD(.size = 8, .wide = true));
	recipe_mem(r, MEM_FORM(load32z), LOAD(.size = 4, .wide = true));
	recipe_mem(r, MEM_FORM(store128u), STORE(.size = 16));
	recipe_mem(r, MEM_FORM(store128a), STORE(.size = 16, .aligned = true));
	recipe_mem(r, MEM_FORM(store64), STORE(.size = 8));
	recipe_mem(r, MEM_FORM(store32), STORE(.size = 4));
	x86_recipe_add(r, copy128, COPY(.size = 16));
	x86_recipe_add(r, copy64, COPY(.size = 8));
	x86_recipe_add(r, copy64z, COPY(.size = 8, .wide = true));
	x86_recipe_add(r, copy32, COPY(.size = 4));
	x86_recipe_add(r, copy32z, COPY(.size = 4, .wide = true));
	x86_recipe_add(r, copy32gpr, COPY(.size = 4));
}

void x86_recipes_simd(struct x86_recipes *r)
{
	recipe_moves(r);
	PACKED(pxor, 0xef);
	PACKED(por, 0xeb);
	PACKED(pand, 0xdb);
	PACKED(pandn, 0xdf);
	PACKED(pcmpeqb, 0x74);
	PACKED(pcmpeqd, 0x76);
	PACKED(pminub, 0xda);
	PACKED(psubb, 0xf8);
	PACKED(paddd, 0xfe);
	PACKED(paddq, 0xd4);
	PACKED(punpcklbw, 0x60);
	PACKED(punpcklwd, 0x61);
	PACKED(punpckldq, 0x62);
	PACKED(punpcklqdq, 0x6c);
	x86_recipe_add(r, pmovmskb_r, (struct x86_recipe){.kind = X86_DO_VECTOR_MASK});
	x86_recipe_add(r, thunk, (struct x86_recipe){.kind = X86_DO_THUNK});
	x86_recipe_add(r, thunk_fp, (struct x86_recipe){.kind = X86_DO_THUNK, .wide = true});
	recipe_mem(r, MEM_FORM(thunk_mem), (struct x86_recipe){.kind = X86_DO_THUNK});
	recipe_mem(
		r, MEM_FORM(thunk_mem_fp), (struct x86_recipe){.kind = X86_DO_THUNK, .wide = true});
}
