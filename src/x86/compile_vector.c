/*
 * compile_vector.c - recipes of the operations of simd.c: moves of XMM registers, the commonest
 * instructions on them, and calls of thunks (native.h) for the others.
 *
 * XMM registers stay in the vcpu; the host's are used within one operation. Registers are slots
 * here, as in those operations: vcpu + 8 times the slot, where the first sixteen are general
 * registers.
 */
#include "x86/compile.h"
#include "x86/fpu.h"

#define COMPILE(name)                                                                              \
	static void name(struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r)

#define XMM0 0u

static struct x86_host_mem slot(uint8_t n)
{
	return X86_AT(HOST_RDI, n * 8);
}

static bool is_gpr(uint8_t n)
{
	return n < 16;
}

/* CR0 and CR4 allow these instructions, or the operation says why not: once a run, which they
 * outlast. */
static void check_ready(struct x86_compiler *k)
{
	if (k->vectors_ready)
		return;
	x86_flags_spill(k);
	x86_host_rm(&k->h, HOST_GROUP1_BYTE, 1, HOST_CMP, X86_VCPU(simd_trap));
	x86_host_byte(&k->h, 0);
	x86_give_up(k, HOST_CC_NZ);
	k->vectors_ready = true;
}

/* The memory operand, whose address has none of the bits of @mask. */
static struct x86_host_mem operand(struct x86_compiler *k, const struct x86_op *o, bool full,
	unsigned size, unsigned mask, bool write)
{
	x86_address(k, o, full);
	if (mask) {
		x86_host_rr(&k->h, HOST_GROUP3, 1, 0, HOST_RDX); /* TEST DL, mask */
		x86_host_byte(&k->h, (uint8_t)mask);
		x86_give_up(k, HOST_CC_NZ);
	}
	return x86_access(k, size, write);
}

static void load16(struct x86_compiler *k, uint8_t from)
{
	x86_host_rm(&k->h, HOST_MOVAPS_LOAD, 4, XMM0, slot(from));
}

static void store16(struct x86_compiler *k, uint8_t to)
{
	x86_host_rm(&k->h, HOST_MOVAPS_STORE, 4, XMM0, slot(to));
}

/* ---- Moves ---------------------------------------------------------------------------------- */

/* .wide: the rest of the register becomes zero. */
COMPILE(compile_load)
{
	struct x86_host *h = &k->h;
	struct x86_host_mem m;

	check_ready(k);
	m = operand(k, o, r->full, r->size, r->aligned ? 15 : 0, false);
	if (r->size == 16) {
		x86_host_rm(h, HOST_MOVUPS_LOAD, 4, XMM0, m);
		store16(k, o->r0);
	} else if (r->wide) {
		x86_host_rm(h, HOST_MOVD_LOAD, r->size, XMM0, m);
		store16(k, o->r0);
	} else {
		x86_host_rm(h, HOST_MOV_LOAD, r->size, HOST_RCX, m);
		x86_host_rm(h, HOST_MOV_STORE, r->size, HOST_RCX, slot(o->r0));
	}
}

COMPILE(compile_store)
{
	struct x86_host *h = &k->h;
	struct x86_host_mem m;

	check_ready(k);
	m = operand(k, o, r->full, r->size, r->aligned ? 15 : 0, true);
	if (r->size == 16) {
		load16(k, o->r0);
		x86_host_rm(h, HOST_MOVUPS_STORE, 4, XMM0, m);
	} else {
		x86_host_rm(h, HOST_MOV_LOAD, r->size, HOST_RCX, slot(o->r0));
		x86_host_rm(h, HOST_MOV_STORE, r->size, HOST_RCX, m);
	}
}

/* Between XMM registers, or one of them and a general register. */
COMPILE(compile_copy)
{
	struct x86_host *h = &k->h;
	unsigned s = HOST_RCX;

	check_ready(k);
	if (r->size == 16) {
		load16(k, o->r1);
		store16(k, o->r0);
		return;
	}
	if (is_gpr(o->r1))
		s = x86_use(k, X86_R(o->r1));
	else
		x86_host_rm(h, HOST_MOV_LOAD, r->size, s, slot(o->r1));
	if (is_gpr(o->r0)) {
		x86_host_rr(h, HOST_MOV_STORE, r->size, s, x86_def(k, X86_R(o->r0)));
	} else if (r->wide) {
		x86_host_rr(h, HOST_MOVD_LOAD, r->size, XMM0, s);
		store16(k, o->r0);
	} else {
		x86_host_rm(h, HOST_MOV_STORE, r->size, s, slot(o->r0));
	}
}

/* ---- Instructions --------------------------------------------------------------------------- */

COMPILE(compile_packed)
{
	struct x86_host_mem m = slot(o->r1);

	check_ready(k);
	if (r->form == X86_FORM_RM)
		m = operand(k, o, r->full, 16, 15, false);
	load16(k, o->r0);
	x86_host_rm(&k->h, HOST_66 | 0x0f00u | r->code, 4, XMM0, m);
	store16(k, o->r0);
}

COMPILE(compile_mask)
{
	unsigned d;

	check_ready(k);
	load16(k, o->r1);
	d = x86_def(k, X86_R(o->r0));
	x86_host_rr(&k->h, HOST_PMOVMSKB, 4, d, XMM0);
}

/* MXCSR masks all exceptions, or the operation looks closer. */
static void check_masked(struct x86_compiler *k)
{
	x86_host_rm(&k->h, HOST_MOV_LOAD, 4, HOST_RAX, X86_VCPU(s.fx.mxcsr));
	x86_host_alu_imm(&k->h, HOST_AND, 4, HOST_RAX, X86_MXCSR_MASKS);
	x86_host_alu_imm(&k->h, HOST_CMP, 4, HOST_RAX, X86_MXCSR_MASKS);
	x86_give_up(k, HOST_CC_NZ);
}

/* .wide: floating point. A thunk deals with registers and flags in the vcpu. */
COMPILE(compile_thunk)
{
	struct x86_host *h = &k->h;
	struct x86_host_mem m = slot(o->r1);

	check_ready(k);
	x86_flags_spill(k);
	if (r->wide)
		check_masked(k);
	if (r->form == X86_FORM_RM)
		m = operand(k, o, r->full, o->x, o->r1, false);
	x86_settle(k);
	x86_host_plain(h, HOST_PUSH(HOST_RDI), 4);
	x86_host_plain(h, HOST_PUSH(HOST_RDI), 4); /* the stack stays aligned */
	x86_host_mov_imm(h, HOST_RCX, o->imm);
	x86_host_rm(h, HOST_LEA, 8, HOST_RSI, m);
	x86_host_rr(h, HOST_MOV_STORE, 8, HOST_RDI, HOST_RDX);
	x86_host_rm(h, HOST_LEA, 8, HOST_RDI, slot(o->r0));
	x86_host_rr(h, HOST_GROUP4, 4, HOST_CALL, HOST_RCX);
	x86_host_plain(h, HOST_POP(HOST_RDI), 4);
	x86_host_plain(h, HOST_POP(HOST_RDI), 4);
}

/* ---- All of them ---------------------------------------------------------------------------- */

bool x86_compile_vector(struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r)
{
	static void (*const compile[X86_DO_KINDS])(
		struct x86_compiler *, const struct x86_op *, const struct x86_recipe *) = {
		[X86_DO_VECTOR_LOAD] = compile_load,
		[X86_DO_VECTOR_STORE] = compile_store,
		[X86_DO_VECTOR_COPY] = compile_copy,
		[X86_DO_VECTOR_PACKED] = compile_packed,
		[X86_DO_VECTOR_MASK] = compile_mask,
		[X86_DO_THUNK] = compile_thunk,
	};

	if (!compile[r->kind])
		return false;
	compile[r->kind](k, o, r);
	return true;
}
