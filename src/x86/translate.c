/*
 * translate.c - from guest bytes to operations.
 *
 * A block begins anywhere and goes on, past conditional branches, to an instruction that ends it,
 * the end of the page or the limit of its length. Only a block of one instruction reaches into a
 * second page. Decoding is Zydis'; what an instruction means is with the families.
 */
#include "x86/translate.h"

#include "x86/recipe.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_INSNS 64
#define INSN_OPS    24 /* more than any emitter appends for one instruction */

/* ---- The families --------------------------------------------------------------------------- */

struct x86_emitters {
	x86_emit_fn of[ZYDIS_MNEMONIC_MAX_VALUE + 1];
};

struct x86_emitters *x86_emitters_create(void)
{
	struct x86_emitters *e = calloc(1, sizeof(*e));
	x86_emit_fn *table = e ? e->of : NULL;

	if (!e)
		return NULL;
	x86_register_alu(table);
	x86_register_move(table);
	x86_register_shift(table);
	x86_register_multiply(table);
	x86_register_bit(table);
	x86_register_stack(table);
	x86_register_branch(table);
	x86_register_string(table);
	x86_register_atomic(table);
	x86_register_interrupt(table);
	x86_register_control(table);
	x86_register_system(table);
	x86_register_syscall(table);
	x86_register_msr(table);
	x86_register_segment(table);
	x86_register_io(table);
	x86_register_simd(table);
	x86_register_x87(table);
	x86_register_xsave(table);
	return e;
}

void x86_emitters_destroy(struct x86_emitters *e)
{
	free(e);
}

/* ---- Operations of the translator's own ----------------------------------------------------- */

X86_OP(op_undefined)
{
	x86_raise(c, o, X86_VEC_UD);
}

X86_OP(op_too_long)
{
	x86_raise_error(c, o, X86_VEC_GP, 0);
}

X86_OP(op_jump_link)
{
	return x86_link(c, o);
}

X86_OP(op_jump)
{
	return x86_chain(c, o, X86_REG(c, X86_R_PAGE, uint64_t) + (int64_t)o->disp);
}

X86_OP(op_jump_far_off)
{
	return x86_chain(c, o, X86_REG(c, X86_R_PAGE, uint64_t) + o->imm);
}

X86_OP(op_jump_legacy)
{
	uint32_t eip = (uint32_t)(x86_op_next_rip(c, o) + o->imm);

	return x86_chain(c, o, (uint32_t)(eip + c->cs_base));
}

/* The block ends right behind STI or MOV SS: the next instruction still runs undisturbed. */
X86_OP(op_shadow)
{
	c->s.interrupt_shadow = true;
	x86_attend(c, X86_ATTN_SINGLE);
	x86_end_here(c, o);
}

X86_OP(op_ea_64)
{
	uint64_t ea = X86_REG(c, o->base, uint64_t) +
		      (X86_REG(c, o->index, uint64_t) << o->scale) + o->imm;

	if (o->x)
		ea &= 0xffffffff;
	X86_REG(c, X86_R_EA, uint64_t) = ea + c->seg_base[o->seg];
	NEXT;
}

static inline uint32_t legacy_offset(const struct x86_vcpu *c, const struct x86_op *o)
{
	uint64_t ea = X86_REG(c, o->base, const uint64_t) +
		      (X86_REG(c, o->index, const uint64_t) << o->scale) + (int64_t)o->disp;

	return (uint32_t)(o->x ? ea & 0xffff : ea);
}

X86_OP(op_ea_legacy)
{
	X86_REG(c, X86_R_EA, uint64_t) = x86_segment_address(
		c, o, o->seg, legacy_offset(c, o), o->imm & 0xffff, o->imm >> 16);
	NEXT;
}

X86_OP(op_ea_offset)
{
	X86_REG(c, X86_R_EA, uint64_t) = legacy_offset(c, o);
	NEXT;
}

/* ---- Emitting ------------------------------------------------------------------------------- */

struct x86_op *x86_emit(struct x86_xlate *t, x86_op_fn fn)
{
	struct x86_op *o = &t->out[t->n_out++];

	*o = (struct x86_op){.fn = fn,
		.base = X86_R_ZERO,
		.index = X86_R_ZERO,
		.seg = X86_SEG_FLAT,
		.len = t->insn.length,
		.off = t->off,
		.n = (uint16_t)(t->n_insns + 1)};
	return o;
}

uint8_t x86_reg(ZydisRegister r)
{
	if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL)
		return X86_R(r - ZYDIS_REGISTER_AL);
	if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
		return X86_RH(r - ZYDIS_REGISTER_AH);
	if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B)
		return X86_R(r - ZYDIS_REGISTER_SPL + 4);
	if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_R15W)
		return X86_R(r - ZYDIS_REGISTER_AX);
	if (r >= ZYDIS_REGISTER_EAX && r <= ZYDIS_REGISTER_R15D)
		return X86_R(r - ZYDIS_REGISTER_EAX);
	if (r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15)
		return X86_R(r - ZYDIS_REGISTER_RAX);
	return X86_R_ZERO;
}

static uint8_t segment_of(ZydisRegister r)
{
	switch (r) {
	case ZYDIS_REGISTER_ES:
		return X86_ES;
	case ZYDIS_REGISTER_CS:
		return X86_CS;
	case ZYDIS_REGISTER_SS:
		return X86_SS;
	case ZYDIS_REGISTER_FS:
		return X86_FS;
	case ZYDIS_REGISTER_GS:
		return X86_GS;
	default:
		return X86_DS;
	}
}

static uint8_t scale_shift(unsigned scale)
{
	return scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;
}

/* Base, index, segment as they stand in the operand; returns the displacement from them. */
static int64_t fill_address(struct x86_xlate *t, const ZydisDecodedOperand *m, struct x86_op *o)
{
	int64_t disp = m->mem.disp.has_displacement ? m->mem.disp.value : 0;
	bool long_mode = t->mode & X86_MODE_64;

	o->seg = segment_of(m->mem.segment);
	if (long_mode && o->seg != X86_FS && o->seg != X86_GS)
		o->seg = X86_SEG_FLAT;
	if (m->mem.base == ZYDIS_REGISTER_RIP || m->mem.base == ZYDIS_REGISTER_EIP) {
		o->base = X86_R_PAGE;
		disp += t->off + t->insn.length;
	} else if (m->mem.base != ZYDIS_REGISTER_NONE) {
		o->base = x86_reg(m->mem.base);
	}
	if (m->mem.index != ZYDIS_REGISTER_NONE) {
		o->index = x86_reg(m->mem.index);
		o->scale = scale_shift(m->mem.scale);
	}
	return disp;
}

void x86_emit_ea(struct x86_xlate *t, const ZydisDecodedOperand *m, unsigned size, bool write,
	bool check)
{
	struct x86_op *o = x86_emit(t, NULL);
	int64_t disp = fill_address(t, m, o);

	if (t->mode & X86_MODE_64) {
		o->fn = op_ea_64;
		o->imm = (uint64_t)disp;
		o->x = t->insn.address_width != 64;
		if (!check)
			o->seg = X86_SEG_FLAT;
		return;
	}
	o->fn = check ? op_ea_legacy : op_ea_offset;
	o->disp = (int32_t)disp;
	o->imm = size | (uint64_t)write << 16;
	o->x = t->insn.address_width == 16;
}

struct x86_op *x86_emit_mem(struct x86_xlate *t, const ZydisDecodedOperand *m, x86_op_fn fs,
	x86_op_fn ff, unsigned size, bool write)
{
	struct x86_op probe = {.base = X86_R_ZERO, .index = X86_R_ZERO}, *o;
	int64_t disp = fill_address(t, m, &probe);

	if (!(t->mode & X86_MODE_64) || t->insn.address_width != 64 || disp != (int32_t)disp) {
		x86_emit_ea(t, m, size, write, true);
		o = x86_emit(t, fs);
		o->base = X86_R_EA;
		return o;
	}
	o = x86_emit(t, NULL);
	fill_address(t, m, o);
	o->disp = (int32_t)disp;
	o->fn = o->index == X86_R_ZERO && o->seg == X86_SEG_FLAT ? fs : ff;
	return o;
}

bool x86_can_link(const struct x86_xlate *t, int64_t rel)
{
	int64_t target = t->off + t->insn.length + rel;

	return (t->mode & X86_MODE_64) && target >= 0 && target < (int64_t)X86_PAGE_SIZE;
}

void x86_emit_jump(struct x86_xlate *t, int64_t rel)
{
	int64_t target = t->off + t->insn.length + rel;
	struct x86_op *o = x86_emit(t, op_jump);

	if (!(t->mode & X86_MODE_64)) {
		o->fn = op_jump_legacy;
		o->imm = (uint64_t)rel;
	} else if (target != (int32_t)target) {
		o->fn = op_jump_far_off;
		o->imm = (uint64_t)target;
	} else {
		o->disp = (int32_t)target;
		if (x86_can_link(t, rel))
			o->fn = op_jump_link;
	}
	t->end = true;
}

/* ---- Decoding ------------------------------------------------------------------------------- */

static void decoder_init(ZydisDecoder *d, uint32_t mode)
{
	if (mode & X86_MODE_64)
		ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	else
		ZydisDecoderInit(d,
			mode & X86_MODE_32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32
					   : ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
			mode & X86_MODE_SS32 ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_16);
	if (!(mode & (X86_MODE_64 | X86_MODE_LMA)))
		d->machine_mode = mode & X86_MODE_32 ? ZYDIS_MACHINE_MODE_LEGACY_32
						     : ZYDIS_MACHINE_MODE_LEGACY_16;
	/* What the processor does not have must decode as it does on one without it. */
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_LZCNT, ZYAN_FALSE);
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_TZCNT, ZYAN_FALSE);
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_FALSE);
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
}

#define INSN_BYTES 15

/* Where instructions are decoded from: guest memory, which other processors may be writing. */
struct window {
	const uint8_t *host, *more; /* the rest of the page; the start of the next one */
	unsigned host_len, more_len;
	uint8_t copy[INSN_BYTES]; /* the instruction's bytes, read once */
};

/*
 * Copies bytes that other processors may be writing. The processor fetches aligned words whole, so
 * that code changed by one aligned store is seen either old or new: so does this. (Guest pages are
 * aligned, thus the words around [@from, @from + @n) are theirs too.)
 */
static void fetch(uint8_t *to, const uint8_t *from, unsigned n)
{
	while (n) {
		unsigned skip = (uintptr_t)from % sizeof(uint64_t);
		unsigned here = sizeof(uint64_t) - skip < n ? sizeof(uint64_t) - skip : n;
		uint64_t word = __atomic_load_n((const uint64_t *)(from - skip), __ATOMIC_RELAXED);

		memcpy(to, (const uint8_t *)&word + skip, here);
		to += here;
		from += here;
		n -= here;
	}
}

/* Copies the bytes at @at from the block's start; returns how many there are. */
static unsigned window_read(struct window *w, unsigned at)
{
	unsigned left = w->host_len - at, here = left < INSN_BYTES ? left : INSN_BYTES;
	unsigned there = w->more ? INSN_BYTES - here : 0;

	if (there > w->more_len)
		there = w->more_len;
	fetch(w->copy, w->host + at, here);
	if (there)
		fetch(w->copy + here, w->more, there);
	return here + there;
}

static void emit_instruction(struct x86_xlate *t, const struct x86_emitters *e)
{
	x86_emit_fn emit = e->of[t->insn.mnemonic];
	unsigned mark = t->n_out;

	if (t->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && emit && emit(t))
		return;
	t->n_out = mark;
	x86_emit(t, op_undefined);
	t->end = true;
}

static void end_block(struct x86_xlate *t)
{
	if (t->shadow)
		x86_emit(t, op_shadow);
	else
		x86_emit_jump(t, 0);
}

/* The block goes on elsewhere; the operation for that counts with the last instruction. */
static void end_after_last(struct x86_xlate *t, uint8_t length)
{
	t->insn.length = length;
	t->n_insns--;
	end_block(t);
}

/* Invalid bytes: the fault is the instruction. */
static void emit_fault(struct x86_xlate *t, ZyanStatus status)
{
	bool too_long = status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG ||
			status == ZYDIS_STATUS_NO_MORE_DATA;

	t->insn.length = 1;
	x86_emit(t, too_long ? op_too_long : op_undefined);
	t->end = true;
}

unsigned x86_translate(struct x86_vcpu *c, uint64_t lin, uint32_t mode, const uint8_t *host,
	unsigned host_len, const uint8_t *more, unsigned more_len, struct x86_op *ops,
	unsigned *bytes)
{
	struct window w = {.host = host, .more = more, .host_len = host_len, .more_len = more_len};
	struct x86_xlate t = {.c = c, .mode = mode, .out = ops};
	unsigned limit = mode & X86_MODE_SINGLE ? 1 : BLOCK_INSNS;
	unsigned at = 0, start = (unsigned)(lin & ~X86_PAGE_MASK);
	x86_op_fn before = more ? x86_op_crosses : x86_compile_heat(c->machine, mode);
	uint8_t length = 0;
	ZydisDecoder decoder;

	decoder_init(&decoder, mode);
	t.off = (uint16_t)start;
	if (before)
		x86_emit(&t, before)->n = 0;
	while (!t.end) {
		bool in_shadow = t.shadow;
		unsigned n;
		ZyanStatus status;

		if (t.n_insns) /* only the first instruction may need the next page */
			w.more = NULL;
		n = window_read(&w, at);
		status = n ? ZydisDecoderDecodeFull(&decoder, w.copy, n, &t.insn, t.op)
			   : ZYDIS_STATUS_NO_MORE_DATA;
		if (status == ZYDIS_STATUS_NO_MORE_DATA && n < INSN_BYTES) {
			if (!t.n_insns)
				return 0;
			end_after_last(&t, length);
			break;
		}
		t.off = (uint16_t)(start + at);
		if (!ZYAN_SUCCESS(status)) {
			emit_fault(&t, status);
			at += 1;
			break;
		}
		emit_instruction(&t, c->machine->emitters);
		length = t.insn.length;
		at += length;
		t.n_insns++;
		if (in_shadow)
			t.shadow = false;
		if (t.end)
			break;
		if (in_shadow || t.n_insns >= limit || at >= host_len ||
			t.n_out + INSN_OPS > X86_BLOCK_OPS)
			end_after_last(&t, length);
	}
	*bytes = at;
	return t.n_out;
}

void x86_recipes_translate(struct x86_recipes *r)
{
	x86_recipe_add(r, op_jump_link, (struct x86_recipe){.kind = X86_DO_JUMP_LINK});
	x86_recipe_add(r, op_jump, (struct x86_recipe){.kind = X86_DO_JUMP_DISP});
	x86_recipe_add(r, op_ea_64, (struct x86_recipe){.kind = X86_DO_ADDRESS});
}
