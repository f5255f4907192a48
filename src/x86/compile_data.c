/*
 * compile_data.c - recipes of operations that move and compute.
 *
 * Each is the guest's own instruction on the registers of the host that have the guest's, and on
 * the guest's memory where the TLB says it is. So results and flags, undefined ones too, are the
 * processor's, as they are in the operations themselves. What an instruction does to flags decides
 * what is done before it: those that leave some alone need the guest's in the host's flags.
 */
#include "x86/compile.h"

typedef bool (*compile_fn)(
	struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r);

#define COMPILE(name)                                                                              \
	static bool name(struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r)

/* The immediate as an operand of @size bytes, sign-extended. */
static int64_t immediate(const struct x86_op *o, unsigned size)
{
	return size == 1   ? (int8_t)o->imm
	       : size == 2 ? (int16_t)o->imm
	       : size == 4 ? (int32_t)o->imm
			   : (int64_t)o->imm;
}

static bool is_32_bits(int64_t v)
{
	return v == (int32_t)v;
}

/* A register operand that this file does not deal with? */
static bool has_high(const struct x86_op *o, const struct x86_recipe *r)
{
	switch (r->form) {
	case X86_FORM_R:
	case X86_FORM_RM:
	case X86_FORM_RI:
		return x86_is_high(o->r0);
	case X86_FORM_RR:
		return x86_is_high(o->r0) || x86_is_high(o->r1);
	case X86_FORM_MR:
		return x86_is_high(o->r1);
	default:
		return false;
	}
}

static uint32_t locked(const struct x86_recipe *r)
{
	return r->lock ? HOST_LOCK : 0;
}

/* The register that an operation overwrites: whole, or what is left of it stays. */
static unsigned result(struct x86_compiler *k, uint8_t reg, unsigned size)
{
	return size >= 4 ? x86_def(k, reg) : x86_mod(k, reg);
}

/* [RDX], once the address that [RAX + RDX] is has been put there: RAX is free then. Overwrites
 * flags. */
static struct x86_host_mem sum_address(struct x86_compiler *k)
{
	x86_host_rr(&k->h, HOST_GROUP1_STORE(HOST_ADD), 8, HOST_RAX, HOST_RDX);
	return X86_AT(HOST_RDX, 0);
}

/* ---- Arithmetic ----------------------------------------------------------------------------- */

static void memory_imm(struct x86_compiler *k, uint32_t lock, unsigned op, unsigned size,
	struct x86_host_mem m, int64_t v)
{
	bool small = v == (int8_t)v;

	if (size == 1)
		x86_host_rm(&k->h, lock | HOST_GROUP1_BYTE, 1, op, m);
	else
		x86_host_rm(
			&k->h, lock | (small ? HOST_GROUP1_IMM8 : HOST_GROUP1_IMM), size, op, m);
	x86_host_imm(&k->h, size == 1 || small ? 1 : size, (uint64_t)v);
}

COMPILE(compile_alu)
{
	bool carry = r->code == HOST_ADC || r->code == HOST_SBB, compare = r->code == HOST_CMP;
	int64_t v = immediate(o, r->size);
	struct x86_host *h = &k->h;
	struct x86_host_mem m = {0};
	unsigned d = 0, s = 0;

	if (!is_32_bits(v) && (r->form == X86_FORM_RI || r->form == X86_FORM_MI))
		return false;
	if (x86_recipe_has_memory(r))
		m = x86_window_operand(k, o, r);
	if (r->form == X86_FORM_RR || r->form == X86_FORM_MR)
		s = x86_use(k, o->r1);
	if (r->form == X86_FORM_RR || r->form == X86_FORM_RI || r->form == X86_FORM_RM)
		d = compare ? x86_use(k, o->r0) : x86_mod(k, o->r0);
	if (carry)
		x86_carry_load(k);
	switch (r->form) {
	case X86_FORM_RR:
		x86_host_rr(h, HOST_GROUP1_STORE(r->code), r->size, s, d);
		break;
	case X86_FORM_RI:
		x86_host_alu_imm(h, r->code, r->size, d, (int32_t)v);
		break;
	case X86_FORM_RM:
		x86_host_rm(h, HOST_GROUP1_LOAD(r->code), r->size, d, m);
		break;
	case X86_FORM_MR:
		x86_host_rm(h, locked(r) | HOST_GROUP1_STORE(r->code), r->size, s, m);
		break;
	default:
		memory_imm(k, locked(r), r->code, r->size, m, v);
	}
	x86_flags_set(k);
	return true;
}

COMPILE(compile_test)
{
	int64_t v = immediate(o, r->size);
	struct x86_host *h = &k->h;

	if (!is_32_bits(v) && (r->form == X86_FORM_RI || r->form == X86_FORM_MI))
		return false;
	if (r->form == X86_FORM_RR) {
		unsigned d = x86_use(k, o->r0);

		x86_host_rr(h, HOST_TEST, r->size, x86_use(k, o->r1), d);
	} else if (r->form == X86_FORM_RI) {
		x86_host_rr(h, HOST_GROUP3, r->size, 0, x86_use(k, o->r0));
		x86_host_imm(h, r->size, (uint64_t)v);
	} else if (r->form == X86_FORM_MR) {
		struct x86_host_mem m = x86_window_operand(k, o, r);

		x86_host_rm(h, HOST_TEST, r->size, x86_use(k, o->r1), m);
	} else {
		x86_host_rm(h, HOST_GROUP3, r->size, 0, x86_window_operand(k, o, r));
		x86_host_imm(h, r->size, (uint64_t)v);
	}
	x86_flags_set(k);
	return true;
}

/* NOT leaves all flags alone, INC and DEC CF. */
COMPILE(compile_unary)
{
	bool step = r->kind == X86_DO_INC || r->kind == X86_DO_DEC;
	uint32_t code = step ? HOST_GROUP4 : HOST_GROUP3;
	unsigned number = r->kind == X86_DO_INC	  ? HOST_INC
			  : r->kind == X86_DO_DEC ? HOST_DEC
			  : r->kind == X86_DO_NEG ? HOST_NEG
						  : HOST_NOT;
	struct x86_host_mem m = {0};
	unsigned d = 0;

	if (x86_recipe_has_memory(r))
		m = x86_window_operand(k, o, r);
	else
		d = x86_mod(k, o->r0);
	if (step)
		x86_carry_load(k);
	if (x86_recipe_has_memory(r))
		x86_host_rm(&k->h, locked(r) | code, r->size, number, m);
	else
		x86_host_rr(&k->h, code, r->size, number, d);
	if (r->kind != X86_DO_NOT)
		x86_flags_set(k);
	return true;
}

COMPILE(compile_clear)
{
	unsigned d = x86_def(k, o->r0);

	x86_host_rr(&k->h, HOST_GROUP1_STORE(HOST_XOR), 4, d, d);
	x86_flags_set(k);
	return true;
}

/* ---- Moves: no flags ------------------------------------------------------------------------ */

COMPILE(compile_mov)
{
	int64_t v = immediate(o, r->size);
	struct x86_host *h = &k->h;
	unsigned s;

	switch (r->form) {
	case X86_FORM_RR:
		s = x86_use(k, o->r1);
		x86_host_rr(h, HOST_MOV_STORE, r->size, s, result(k, o->r0, r->size));
		return true;
	case X86_FORM_RI:
		if (r->size >= 4) {
			x86_host_mov_imm(
				h, x86_def(k, o->r0), r->size == 4 ? (uint32_t)v : (uint64_t)v);
		} else {
			x86_host_rr(h, HOST_MOV_IMM, r->size, 0, x86_mod(k, o->r0));
			x86_host_imm(h, r->size, (uint64_t)v);
		}
		return true;
	case X86_FORM_RM: {
		struct x86_host_mem m = x86_window_operand(k, o, r);

		x86_host_rm(h, HOST_MOV_LOAD, r->size, result(k, o->r0, r->size), m);
		return true;
	}
	case X86_FORM_MR: {
		struct x86_host_mem m = x86_window_operand(k, o, r);

		x86_host_rm(h, HOST_MOV_STORE, r->size, x86_use(k, o->r1), m);
		return true;
	}
	default:
		if (!is_32_bits(v))
			return false;
		x86_host_rm(h, HOST_MOV_IMM, r->size, 0, x86_window_operand(k, o, r));
		x86_host_imm(h, r->size, (uint64_t)v);
		return true;
	}
}

COMPILE(compile_extend)
{
	uint32_t code = r->kind == X86_DO_ZERO_EXTEND ? HOST_MOVZX(r->from) : HOST_MOVSX(r->from);

	if (r->form == X86_FORM_RM) {
		struct x86_host_mem m = x86_window_operand(k, o, r);

		x86_host_rm(&k->h, code, r->size, result(k, o->r0, r->size), m);
	} else {
		unsigned s = x86_use(k, o->r1);

		x86_host_rr(&k->h, code, r->size, result(k, o->r0, r->size), s);
	}
	return true;
}

COMPILE(compile_lea)
{
	struct x86_host_mem m = {HOST_NONE, HOST_NONE, 0, o->disp};

	if (o->base != X86_R_ZERO)
		m.base = (uint8_t)x86_use(k, o->base);
	if (r->full) {
		m.index = (uint8_t)x86_use(k, o->index);
		m.scale = o->scale;
	}
	x86_host_rm(&k->h, HOST_LEA, r->size, x86_def(k, o->r0), m);
	return true;
}

/* .imm: displacement; .x: the address has 32 bits. */
COMPILE(compile_address)
{
	struct x86_op of = *o;
	unsigned d;

	if (!is_32_bits((int64_t)o->imm) || (o->x && o->seg != X86_SEG_FLAT))
		return false;
	of.disp = (int32_t)o->imm;
	x86_address(k, &of, true);
	d = x86_def(k, X86_R_EA);
	x86_host_rr(&k->h, HOST_MOV_STORE, o->x ? 4 : 8, HOST_RDX, d);
	return true;
}

COMPILE(compile_cmov)
{
	struct x86_host *h = &k->h;
	unsigned s = HOST_RCX;

	if (r->form == X86_FORM_RM)
		x86_host_rm(h, HOST_MOV_LOAD, r->size, s, x86_window_operand(k, o, r));
	else
		s = x86_use(k, o->r1);
	x86_flags_load(k);
	x86_host_rr(h, HOST_CMOV(r->cond), r->size, x86_mod(k, o->r0), s);
	return true;
}

COMPILE(compile_set)
{
	if (r->form == X86_FORM_M) {
		struct x86_host_mem m;

		x86_memory(k, o, r, true);
		m = sum_address(k);
		x86_flags_load(k);
		x86_host_rm(&k->h, HOST_SET(r->cond), 1, 0, m);
	} else {
		x86_flags_load(k);
		x86_host_rr(&k->h, HOST_SET(r->cond), 1, 0, x86_mod(k, o->r0));
	}
	return true;
}

COMPILE(compile_bswap)
{
	x86_host_rr(&k->h, HOST_BSWAP, r->size, 1, x86_mod(k, o->r0));
	return true;
}

COMPILE(compile_cdqe)
{
	unsigned a = x86_mod(k, X86_R(X86_RAX));

	x86_host_rr(&k->h, HOST_MOVSX(r->size / 2), r->size, a, a);
	return true;
}

COMPILE(compile_cqo)
{
	struct x86_host *h = &k->h;

	x86_host_rr(h, HOST_MOV_STORE, 8, x86_use(k, X86_R(X86_RAX)), HOST_RAX);
	x86_host_plain(h, HOST_CQO, r->size);
	x86_host_rr(h, HOST_MOV_STORE, r->size, HOST_RDX, x86_def(k, X86_R(X86_RDX)));
	return true;
}

/* ---- Shifts, bits --------------------------------------------------------------------------- */

/* By an immediate count, which is masked already, or by CL. */
COMPILE(compile_shift)
{
	bool by_cl = r->form == X86_FORM_R || r->form == X86_FORM_M;
	struct x86_host *h = &k->h;
	struct x86_host_mem m = {0};

	if (x86_recipe_has_memory(r)) {
		x86_memory(k, o, r, true);
		m = sum_address(k);
	}
	if (by_cl)
		x86_host_rr(h, HOST_MOV_STORE, 4, x86_use(k, X86_R(X86_RCX)), HOST_RCX);
	/* All flags are defined only by shifts by something. */
	if (by_cl || !o->imm || r->code < HOST_SHL)
		x86_flags_load(k);
	if (x86_recipe_has_memory(r))
		x86_host_rm(h, by_cl ? HOST_GROUP2_CL : HOST_GROUP2_IMM, r->size, r->code, m);
	else
		x86_host_rr(h, by_cl ? HOST_GROUP2_CL : HOST_GROUP2_IMM, r->size, r->code,
			x86_mod(k, o->r0));
	if (!by_cl)
		x86_host_byte(h, (uint8_t)o->imm);
	x86_flags_set(k);
	return true;
}

/* A bit number in a register reaches beyond a memory operand: RDX to the word that has the bit. */
static void reach(struct x86_compiler *k, const struct x86_op *o, unsigned size)
{
	struct x86_host *h = &k->h;
	unsigned n = x86_use(k, o->r1), log = size == 8 ? 6 : size == 4 ? 5 : 4;

	x86_host_rr(h, size == 8 ? HOST_MOV_LOAD : HOST_MOVSX(size), 8, HOST_RCX, n);
	x86_host_rr(h, HOST_GROUP2_IMM, 8, HOST_SAR, HOST_RCX);
	x86_host_byte(h, (uint8_t)log);
	x86_host_rm(h, HOST_LEA, 8, HOST_RDX,
		(struct x86_host_mem){HOST_RDX, HOST_RCX, (uint8_t)(log - 3), 0});
}

COMPILE(compile_bt)
{
	bool reg = r->form == X86_FORM_RR || r->form == X86_FORM_MR, write = r->code != HOST_BT;
	uint32_t code = reg ? HOST_BT_REG(r->code) : HOST_BT_IMM;
	unsigned n = reg ? HOST_RCX : r->code, d = 0;
	struct x86_host *h = &k->h;
	struct x86_host_mem m = {0};

	if (x86_recipe_has_memory(r)) {
		x86_address(k, o, r->full);
		if (reg)
			reach(k, o, r->size);
		x86_access(k, r->size, write);
		m = sum_address(k);
	} else {
		d = write ? x86_mod(k, o->r0) : x86_use(k, o->r0);
	}
	if (reg) {
		x86_flags_spill(k);
		x86_host_rr(h, HOST_MOV_STORE, 4, x86_use(k, o->r1), HOST_RCX);
		x86_host_alu_imm(h, HOST_AND, 4, HOST_RCX, r->size * 8 - 1);
	}
	x86_flags_load(k);
	if (x86_recipe_has_memory(r))
		x86_host_rm(h, locked(r) | code, r->size, n, m);
	else
		x86_host_rr(h, code, r->size, n, d);
	if (!reg)
		x86_host_byte(h, (uint8_t)o->imm);
	x86_flags_set(k);
	return true;
}

/* What is left of the destination when the source is zero, and of flags, is the host's affair. */
COMPILE(compile_scan)
{
	unsigned s = HOST_RCX;

	if (r->form == X86_FORM_RM)
		x86_host_rm(&k->h, HOST_MOV_LOAD, r->size, s, x86_window_operand(k, o, r));
	else
		s = x86_use(k, o->r1);
	x86_flags_load(k);
	x86_host_rr(&k->h, HOST_SCAN(r->code), r->size, x86_mod(k, o->r0), s);
	x86_flags_set(k);
	return true;
}

/* ---- Products ------------------------------------------------------------------------------- */

COMPILE(compile_mul)
{
	struct x86_host *h = &k->h;
	unsigned s = HOST_RCX;

	if (r->size < 4)
		return false;
	if (r->form == X86_FORM_M)
		x86_host_rm(h, HOST_MOV_LOAD, r->size, s, x86_window_operand(k, o, r));
	else
		s = x86_use(k, o->r1);
	x86_flags_load(k);
	x86_host_rr(h, HOST_MOV_STORE, 8, x86_use(k, X86_R(X86_RAX)), HOST_RAX);
	x86_host_rr(h, HOST_GROUP3, r->size, r->code, s);
	x86_host_rr(h, HOST_MOV_STORE, r->size, HOST_RAX, x86_def(k, X86_R(X86_RAX)));
	x86_host_rr(h, HOST_MOV_STORE, r->size, HOST_RDX, x86_def(k, X86_R(X86_RDX)));
	x86_flags_set(k);
	return true;
}

COMPILE(compile_imul)
{
	bool by_imm = r->form == X86_FORM_RI || r->form == X86_FORM_MI;
	struct x86_host *h = &k->h;
	unsigned s = HOST_RCX;

	if (x86_recipe_has_memory(r))
		x86_host_rm(h, HOST_MOV_LOAD, r->size, s, x86_window_operand(k, o, r));
	else
		s = x86_use(k, o->r1);
	x86_flags_load(k);
	if (by_imm) {
		x86_host_rr(h, HOST_IMUL_IMM, r->size, result(k, o->r0, r->size), s);
		x86_host_imm(h, r->size, o->imm);
	} else {
		x86_host_rr(h, HOST_IMUL_REG, r->size, x86_mod(k, o->r0), s);
	}
	x86_flags_set(k);
	return true;
}

/* ---- Exchanges ------------------------------------------------------------------------------ */

COMPILE(compile_xchg)
{
	struct x86_host_mem m;
	unsigned a;

	if (r->form == X86_FORM_RR) {
		a = x86_mod(k, o->r0);
		x86_host_rr(&k->h, HOST_XCHG, r->size, x86_mod(k, o->r1), a);
		return true;
	}
	m = x86_memory(k, o, r, true);
	x86_host_rm(&k->h, HOST_XCHG, r->size, x86_mod(k, o->r1), m);
	return true;
}

COMPILE(compile_xadd)
{
	struct x86_host_mem m;

	if (r->form == X86_FORM_RR)
		return false;
	m = x86_memory(k, o, r, true);
	x86_host_rm(&k->h, locked(r) | HOST_XADD, r->size, x86_mod(k, o->r1), m);
	x86_flags_set(k);
	return true;
}

/* RAX goes in whole and comes out whole. */
COMPILE(compile_cmpxchg)
{
	struct x86_host *h = &k->h;
	struct x86_host_mem m;
	unsigned acc, s;

	if (r->form == X86_FORM_RR)
		return false;
	x86_memory(k, o, r, true);
	m = sum_address(k);
	s = x86_use(k, o->r1);
	acc = x86_mod(k, X86_R(X86_RAX));
	x86_host_rr(h, HOST_MOV_STORE, 8, acc, HOST_RAX);
	x86_host_rm(h, locked(r) | HOST_CMPXCHG, r->size, s, m);
	x86_host_rr(h, HOST_MOV_STORE, 8, HOST_RAX, acc);
	x86_flags_set(k);
	return true;
}

/* ---- The stack, in 64-bit mode -------------------------------------------------------------- */

/*
 * Functions begin and end with several of a kind. Those at and behind the current operation that
 * @may says can be done together, at most STACK_MOST; they are all compiled then.
 */
#define STACK_MOST 8u

static unsigned take_alike(struct x86_compiler *k, bool (*may)(const struct x86_op *, bool))
{
	const struct x86_recipe *r = x86_recipe_of(k->recipes, k->block->ops[k->op].fn);
	unsigned n = 1;

	for (; n < STACK_MOST && k->op + n < k->block->n_ops; n++) {
		const struct x86_op *o = &k->block->ops[k->op + n];
		const struct x86_recipe *other = x86_recipe_of(k->recipes, o->fn);

		if (other->kind != r->kind || !may(o, other->form == X86_FORM_RI))
			break;
	}
	k->span = n;
	return n;
}

/* Its immediate can be stored by one instruction, if it is one. */
static bool can_store(const struct x86_op *o, bool immediate)
{
	return !immediate || is_32_bits((int64_t)o->imm);
}

static bool may_push(const struct x86_op *o, bool immediate)
{
	return can_store(o, immediate) && (immediate || o->r0 != X86_R(X86_RSP));
}

COMPILE(compile_push)
{
	struct x86_host *h = &k->h;
	struct x86_host_mem m;
	unsigned sp, n;

	if (!can_store(o, r->form == X86_FORM_RI))
		return false;
	x86_flags_spill(k);
	sp = x86_use(k, X86_R(X86_RSP));
	n = take_alike(k, may_push);
	x86_host_rm(h, HOST_LEA, 8, HOST_RDX, X86_AT(sp, -8 * (int)n));
	m = x86_access(k, 8 * n, true);
	for (unsigned i = 0; i < n; i++) {
		m.disp = 8 * (int)(n - 1 - i);
		k->pinned = (uint16_t)(1u << sp);
		if (x86_recipe_of(k->recipes, o[i].fn)->form == X86_FORM_R) {
			x86_host_rm(h, HOST_MOV_STORE, 8, x86_use(k, o[i].r0), m);
		} else {
			x86_host_rm(h, HOST_MOV_IMM, 8, 0, m);
			x86_host_imm32(h, (int32_t)o[i].imm);
		}
	}
	x86_mod(k, X86_R(X86_RSP));
	x86_host_rm(h, HOST_LEA, 8, sp, X86_AT(sp, -8 * (int)n));
	return true;
}

static bool may_pop(const struct x86_op *o, bool immediate)
{
	return o->r0 != X86_R(X86_RSP);
}

COMPILE(compile_pop)
{
	struct x86_host *h = &k->h;
	struct x86_host_mem m;
	unsigned sp, n;

	if (o->r0 == X86_R(X86_RSP))
		return false;
	x86_flags_spill(k);
	sp = x86_use(k, X86_R(X86_RSP));
	n = take_alike(k, may_pop);
	x86_host_rr(h, HOST_MOV_STORE, 8, sp, HOST_RDX);
	m = x86_access(k, 8 * n, false);
	for (unsigned i = 0; i < n; i++) {
		m.disp = 8 * (int)i;
		k->pinned = (uint16_t)(1u << sp);
		x86_host_rm(h, HOST_MOV_LOAD, 8, x86_def(k, o[i].r0), m);
	}
	x86_mod(k, X86_R(X86_RSP));
	x86_host_rm(h, HOST_LEA, 8, sp, X86_AT(sp, 8 * (int)n));
	return true;
}

COMPILE(compile_leave)
{
	struct x86_host *h = &k->h;
	unsigned bp, sp;

	x86_flags_spill(k);
	bp = x86_use(k, X86_R(X86_RBP));
	x86_host_rr(h, HOST_MOV_STORE, 8, bp, HOST_RDX);
	x86_host_rm(h, HOST_MOV_LOAD, 8, HOST_RCX, x86_access(k, 8, false));
	sp = x86_def(k, X86_R(X86_RSP));
	x86_mod(k, X86_R(X86_RBP));
	x86_host_rm(h, HOST_LEA, 8, sp, X86_AT(bp, 8));
	x86_host_rr(h, HOST_MOV_STORE, 8, HOST_RCX, bp);
	return true;
}

/* ---- All of them ---------------------------------------------------------------------------- */

bool x86_compile_data(struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r)
{
	static const compile_fn compile[X86_DO_KINDS] = {
		[X86_DO_ALU] = compile_alu,
		[X86_DO_TEST] = compile_test,
		[X86_DO_INC] = compile_unary,
		[X86_DO_DEC] = compile_unary,
		[X86_DO_NEG] = compile_unary,
		[X86_DO_NOT] = compile_unary,
		[X86_DO_CLEAR] = compile_clear,
		[X86_DO_MOV] = compile_mov,
		[X86_DO_ZERO_EXTEND] = compile_extend,
		[X86_DO_SIGN_EXTEND] = compile_extend,
		[X86_DO_LEA] = compile_lea,
		[X86_DO_ADDRESS] = compile_address,
		[X86_DO_CMOV] = compile_cmov,
		[X86_DO_SET] = compile_set,
		[X86_DO_BSWAP] = compile_bswap,
		[X86_DO_CDQE] = compile_cdqe,
		[X86_DO_CQO] = compile_cqo,
		[X86_DO_SHIFT] = compile_shift,
		[X86_DO_BT] = compile_bt,
		[X86_DO_SCAN] = compile_scan,
		[X86_DO_MUL] = compile_mul,
		[X86_DO_IMUL] = compile_imul,
		[X86_DO_XCHG] = compile_xchg,
		[X86_DO_XADD] = compile_xadd,
		[X86_DO_CMPXCHG] = compile_cmpxchg,
		[X86_DO_PUSH] = compile_push,
		[X86_DO_POP] = compile_pop,
		[X86_DO_LEAVE] = compile_leave,
	};

	if (!compile[r->kind] || has_high(o, r) || !compile[r->kind](k, o, r))
		return false;
	if (r->fused)
		x86_take(k, r->cond, k->op + 1);
	return true;
}
