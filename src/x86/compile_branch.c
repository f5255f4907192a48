/*
 * compile_branch.c - recipes of branches in 64-bit mode.
 *
 * Where a branch goes is asked first: what the operation of a LINK remembers, what the jump cache
 * has for a linear address. When neither knows, or something wants attention, native code gives up
 * before the branch has done anything, and the operation does it all. A target that is not
 * canonical is in no jump cache.
 */
#include "x86/compile.h"

/* ---- Targets -------------------------------------------------------------------------------- */

static void check_attention(struct x86_compiler *k)
{
	x86_host_rm(&k->h, HOST_GROUP1_IMM8, 4, HOST_CMP, X86_VCPU(attention));
	x86_host_byte(&k->h, 0);
	x86_give_up(k, HOST_CC_NZ);
}

/* A register with the block that the current operation, a LINK, remembers. Flags must be spilled.
 */
static unsigned linked_block(struct x86_compiler *k)
{
	unsigned block = x86_temporary(k);

	x86_host_rm(&k->h, HOST_MOV_LOAD, 8, block,
		x86_op_field(k, k->op, offsetof(struct x86_op, imm)));
	x86_host_rr(&k->h, HOST_TEST, 8, block, block);
	x86_give_up(k, HOST_CC_Z);
	check_attention(k);
	return block;
}

/* An entry's field; RAX points to the entry. */
#define JC_FIELD(field) X86_AT(HOST_RAX, offsetof(struct x86_jc_entry, field))

/* A register with the block that the jump cache has for the linear address in register @lin. */
static unsigned cached_block(struct x86_compiler *k, unsigned lin)
{
	struct x86_host *h = &k->h;
	unsigned block = x86_temporary(k);
	struct x86_exit_from *other;

	/* x86_jc_offset() */
	x86_host_rr(h, HOST_IMUL_IMM, 4, HOST_RCX, lin);
	x86_host_imm32(h, (int32_t)X86_JC_SCATTER);
	x86_host_rr(h, HOST_MOV_STORE, 4, lin, HOST_RAX);
	x86_host_rr(h, HOST_GROUP2_IMM, 4, HOST_SHR, HOST_RCX);
	x86_host_byte(h, 20);
	x86_host_alu_imm(h, HOST_AND, 4, HOST_RAX, X86_JC_SETS);
	x86_host_alu_imm(h, HOST_AND, 4, HOST_RCX, (X86_JC_OF_PAGE - 1) * 16);
	x86_host_rr(h, HOST_GROUP1_STORE(HOST_OR), 4, HOST_RCX, HOST_RAX);
	/* x86_jc_at() */
	x86_host_rm(h, HOST_GROUP1_LOAD(HOST_ADD), 8, HOST_RAX, X86_VCPU(jc));
	x86_host_rm(h, HOST_GROUP1_LOAD(HOST_CMP), 8, lin, JC_FIELD(lin));
	other = x86_exit_if(k, HOST_CC_NZ, k->op, X86_TRY_OTHER);
	if (other) {
		other->lin = (uint8_t)lin;
		other->back = h->n;
	}
	x86_host_rm(h, HOST_MOV_LOAD, 4, HOST_RCX, JC_FIELD(tag));
	x86_host_rm(h, HOST_GROUP1_LOAD(HOST_CMP), 4, HOST_RCX, X86_VCPU(jc_tag));
	x86_give_up(k, HOST_CC_NZ);
	check_attention(k);
	/* x86_jc_block() */
	x86_host_rm(h, HOST_MOV_LOAD, 4, block, JC_FIELD(block));
	x86_host_rm(h, HOST_GROUP1_LOAD(HOST_ADD), 8, block, X86_VCPU(code));
	return block;
}

void x86_compile_other(struct x86_compiler *k, const struct x86_exit_from *e)
{
	struct x86_host *h = &k->h;

	/* x86_jc_other() */
	x86_host_alu_imm(h, HOST_XOR, 8, HOST_RAX, X86_JC_OTHER);
	x86_host_rm(h, HOST_GROUP1_LOAD(HOST_CMP), 8, e->lin, JC_FIELD(lin));
	x86_give_up(k, HOST_CC_NZ);
	x86_host_jump_back(h, e->back);
}

static void go_linked(struct x86_compiler *k, unsigned block)
{
	x86_settle(k);
	x86_go(k, k->op, block);
}

/* The block may be in another page; @lin is overwritten. */
static void go_cached(struct x86_compiler *k, unsigned lin, unsigned block)
{
	x86_settle(k);
	x86_host_alu_imm(&k->h, HOST_AND, 8, lin, (int32_t)X86_PAGE_MASK);
	x86_host_rm(&k->h, HOST_MOV_STORE, 8, lin, X86_AT(HOST_RDI, X86_R_PAGE));
	x86_go(k, k->op, block);
}

/* A register with X86_R_PAGE + @distance. */
static unsigned from_page(struct x86_compiler *k, int32_t distance)
{
	unsigned page = x86_use(k, X86_R_PAGE), lin = x86_temporary(k);

	x86_host_rm(&k->h, HOST_LEA, 8, lin, X86_AT(page, distance));
	return lin;
}

/* A register with the target of a JMP or CALL; the recipe tells where it is. Spills flags. */
static unsigned target(struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r)
{
	struct x86_host_mem m;
	unsigned lin, s;

	x86_flags_spill(k);
	switch (r->form) {
	case X86_FORM_RI:
		return from_page(k, (int32_t)o->imm);
	case X86_FORM_R:
		s = x86_use(k, o->r0);
		lin = x86_temporary(k);
		x86_host_rr(&k->h, HOST_MOV_STORE, 8, s, lin);
		return lin;
	default:
		m = x86_memory(k, o, r, false);
		lin = x86_temporary(k);
		x86_host_rm(&k->h, HOST_MOV_LOAD, 8, lin, m);
		return lin;
	}
}

static bool is_near(const struct x86_op *o)
{
	return (int64_t)o->imm == (int32_t)o->imm;
}

/* ---- CALL and RET --------------------------------------------------------------------------- */

static void push_return(struct x86_compiler *k, const struct x86_op *o)
{
	unsigned sp = x86_use(k, X86_R(X86_RSP)), page = x86_use(k, X86_R_PAGE);
	struct x86_host *h = &k->h;
	struct x86_host_mem m;

	x86_host_rm(h, HOST_LEA, 8, HOST_RDX, X86_AT(sp, -8));
	m = x86_access(k, 8, true);
	x86_host_rm(h, HOST_LEA, 8, HOST_RCX, X86_AT(page, o->off + o->len));
	x86_host_rm(h, HOST_MOV_STORE, 8, HOST_RCX, m);
	x86_mod(k, X86_R(X86_RSP));
	x86_host_rm(h, HOST_LEA, 8, sp, X86_AT(sp, -8));
}

static void compile_ret(struct x86_compiler *k, const struct x86_op *o)
{
	struct x86_host *h = &k->h;
	unsigned sp, lin, block;

	x86_flags_spill(k);
	sp = x86_use(k, X86_R(X86_RSP));
	lin = x86_temporary(k);
	x86_host_rr(h, HOST_MOV_STORE, 8, sp, HOST_RDX);
	x86_host_rm(h, HOST_MOV_LOAD, 8, lin, x86_access(k, 8, false));
	block = cached_block(k, lin);
	x86_mod(k, X86_R(X86_RSP));
	x86_host_rm(h, HOST_LEA, 8, sp, X86_AT(sp, 8 + (int32_t)o->imm));
	go_cached(k, lin, block);
}

/* ---- All of them ---------------------------------------------------------------------------- */

void x86_compile_taken(struct x86_compiler *k)
{
	const struct x86_op *o = &k->block->ops[k->op];
	unsigned lin;

	/* The same for both ways out of the condition: registers are written once. */
	x86_settle(k);
	if (x86_recipe_of(k->recipes, o->fn)->kind == X86_DO_JCC_LINK) {
		go_linked(k, linked_block(k));
	} else {
		lin = from_page(k, (int32_t)o->imm);
		go_cached(k, lin, cached_block(k, lin));
	}
}

bool x86_compile_branch(
	struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r, bool *end)
{
	unsigned lin, block;

	switch ((enum x86_recipe_kind)r->kind) {
	case X86_DO_JCC_CHAIN:
		if (!is_near(o))
			return false;
		/* fall through */
	case X86_DO_JCC_LINK:
		x86_flags_load(k);
		x86_take(k, r->cond, k->op);
		return true;
	case X86_DO_JUMP_LINK:
		x86_flags_spill(k);
		go_linked(k, linked_block(k));
		break;
	case X86_DO_JUMP_DISP:
		x86_flags_spill(k);
		lin = from_page(k, o->disp);
		go_cached(k, lin, cached_block(k, lin));
		break;
	case X86_DO_JUMP:
		if (r->form == X86_FORM_RI && !is_near(o))
			return false;
		lin = target(k, o, r);
		go_cached(k, lin, cached_block(k, lin));
		break;
	case X86_DO_CALL_LINK:
		x86_flags_spill(k);
		block = linked_block(k);
		push_return(k, o);
		go_linked(k, block);
		break;
	case X86_DO_CALL:
		if (r->form == X86_FORM_RI && !is_near(o))
			return false;
		lin = target(k, o, r);
		block = cached_block(k, lin);
		push_return(k, o);
		go_cached(k, lin, block);
		break;
	case X86_DO_RET:
		compile_ret(k, o);
		break;
	default:
		return false;
	}
	*end = true;
	return true;
}
