/*
 * compile_branch.c - recipes of branches in 64-bit mode.
 *
 * Where a branch goes is asked first: what the operation of a LINK remembers, what the jump cache
 * has for a linear address. When neither knows, or something wants attention, native code gives up
 * before the branch has done anything, and the operation does it all. A target that is not
 * canonical is in no jump cache.
 */
#include "x86/compile.h"
#include "x86/gate.h"

/* ---- Targets -------------------------------------------------------------------------------- */

/* An entry's field; RAX points to the entry. */
#define JC_FIELD(field) X86_AT(HOST_RAX, offsetof(struct x86_jc_entry, field))

/*
 * A register with the native code that the jump cache has for the linear address in register @lin.
 */
static unsigned cached_code(struct x86_compiler *k, unsigned lin)
{
	struct x86_host *h = &k->h;
	unsigned code = x86_temporary(k);
	struct x86_exit_from *other;

	/* x86_jc_offset() */
	x86_host_rr(h, HOST_IMUL_IMM, 4, HOST_RCX, lin);
	x86_host_imm32(h, (int32_t)X86_JC_SCATTER);
	x86_host_rr(h, HOST_MOV_STORE, 4, lin, HOST_RAX);
	x86_host_rr(h, HOST_GROUP2_IMM, 4, HOST_SHR, HOST_RCX);
	x86_host_byte(h, X86_JC_SHIFT);
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
	x86_host_rm(h, HOST_MOV_LOAD, 4, code, JC_FIELD(where));
	x86_host_rm(h, HOST_GROUP1_LOAD(HOST_ADD), 8, code, X86_VCPU(native));
	return code;
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

/* The block may be in another page; @lin is overwritten. */
static void go_cached(struct x86_compiler *k, unsigned lin, unsigned code)
{
	x86_go(k);
	x86_host_alu_imm(&k->h, HOST_AND, 8, lin, (int32_t)X86_PAGE_MASK);
	x86_host_rm(&k->h, HOST_MOV_STORE, 8, lin, X86_AT(HOST_RDI, X86_R_PAGE));
	x86_host_rr(&k->h, HOST_GROUP4, 4, HOST_JMP, code);
}

/* A register with the target of a JMP or CALL; the recipe tells where it is. Spills flags. */
static unsigned target(struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r)
{
	unsigned lin, s;

	x86_flags_spill(k);
	if (r->form == X86_FORM_R) {
		s = x86_use(k, o->r0);
		lin = x86_temporary(k);
		x86_host_rr(&k->h, HOST_MOV_STORE, 8, s, lin);
	} else {
		struct x86_host_mem m = x86_memory(k, o, r, false);

		lin = x86_temporary(k);
		x86_host_rm(&k->h, HOST_MOV_LOAD, 8, lin, m);
	}
	return lin;
}

static bool is_near(const struct x86_op *o)
{
	return (int64_t)o->imm == (int32_t)o->imm;
}

/* ---- CALL and RET --------------------------------------------------------------------------- */

/* [RDI + RAX + a ring of returns]; RAX is vcpu.returns. */
#define RETURNS(field)                                                                             \
	((struct x86_host_mem){HOST_RDI, HOST_RAX, 0, (int32_t)offsetof(struct x86_vcpu, field)})

static void load_returns(struct x86_compiler *k)
{
	x86_host_rm(&k->h, HOST_MOVZX(2), 4, HOST_RAX, X86_VCPU(returns));
}

static void add_returns(struct x86_compiler *k, int distance)
{
	x86_host_alu_imm(&k->h, HOST_ADD, 1, HOST_RAX, distance);
	x86_host_rm(&k->h, HOST_MOV_STORE, 2, HOST_RAX, X86_VCPU(returns));
}

/*
 * The call's return is to go on at the linear address in RCX: in the page of the call, or nothing
 * is known of it. As x86_returns_push().
 */
static void note_return(struct x86_compiler *k, const struct x86_op *o)
{
	bool known = o->off + o->len < (int)X86_PAGE_SIZE;
	struct x86_host *h = &k->h;

	load_returns(k);
	add_returns(k, 8);
	if (!known)
		x86_host_rr(h, HOST_GROUP1_STORE(HOST_XOR), 4, HOST_RCX, HOST_RCX);
	x86_host_rm(h, HOST_MOV_STORE, 8, HOST_RCX, RETURNS(return_lin));
	x86_align(k, 8);
	x86_host_rm(h, HOST_MOV_IMM, 4, 0, RETURNS(return_where));
	x86_host_imm32(h, 0);
	if (known)
		x86_exit(k, k->op, X86_RETURN);
}

static void push_return(struct x86_compiler *k, const struct x86_op *o)
{
	unsigned sp = x86_use(k, X86_R(X86_RSP)), page = x86_use(k, X86_R_PAGE);
	struct x86_host *h = &k->h;
	struct x86_host_mem m;

	x86_host_rm(h, HOST_LEA, 8, HOST_RDX, X86_AT(sp, -8));
	m = x86_access(k, 8, true);
	x86_host_rm(h, HOST_LEA, 8, HOST_RCX, X86_AT(page, o->off + o->len));
	x86_host_rm(h, HOST_MOV_STORE, 8, HOST_RCX, m);
	note_return(k, o);
	x86_mod(k, X86_R(X86_RSP));
	x86_host_rm(h, HOST_LEA, 8, sp, X86_AT(sp, -8));
}

/* The return address in @lin is popped, and the entry of the ring. */
static void go_return(struct x86_compiler *k, const struct x86_op *o, unsigned lin, unsigned code)
{
	unsigned sp = x86_mod(k, X86_R(X86_RSP));

	add_returns(k, -8);
	x86_host_rm(&k->h, HOST_LEA, 8, sp, X86_AT(sp, 8 + (int32_t)o->imm));
	go_cached(k, lin, code);
}

void x86_compile_other_return(struct x86_compiler *k, const struct x86_exit_from *e)
{
	unsigned code;

	k->pinned |= (uint16_t)(1u << e->lin);
	code = cached_code(k, e->lin);
	load_returns(k);
	go_return(k, &k->block->ops[k->op], e->lin, code);
}

static void compile_ret(struct x86_compiler *k, const struct x86_op *o)
{
	struct x86_host *h = &k->h;
	struct x86_exit_from *other;
	unsigned sp, lin, code;

	x86_flags_spill(k);
	sp = x86_use(k, X86_R(X86_RSP));
	lin = x86_temporary(k);
	x86_host_rr(h, HOST_MOV_STORE, 8, sp, HOST_RDX);
	x86_host_rm(h, HOST_MOV_LOAD, 8, lin, x86_access(k, 8, false));
	load_returns(k);
	x86_host_rm(h, HOST_GROUP1_LOAD(HOST_CMP), 8, lin, RETURNS(return_lin));
	other = x86_exit_if(k, HOST_CC_NZ, k->op, X86_OTHER_RETURN);
	if (other)
		other->lin = (uint8_t)lin;
	code = x86_temporary(k);
	x86_host_rm(h, HOST_MOV_LOAD, 8, code, RETURNS(return_where));
	x86_host_rm(h, HOST_GROUP1_LOAD(HOST_ADD), 8, code, X86_VCPU(native));
	go_return(k, o, lin, code);
}

/* ---- Into other pages ----------------------------------------------------------------------- */

/*
 * A JMP or CALL to a constant distance from X86_R_PAGE. The jump leads to a block of one page of
 * guest memory, and is taken while that is what the target's page is mapped to.
 */
static void go_cross(struct x86_compiler *k, const struct x86_op *o, int32_t distance, bool call)
{
	unsigned from = x86_use(k, X86_R_PAGE), page = x86_temporary(k);
	struct x86_exit_from *other, *unknown;
	struct x86_host *h = &k->h;
	size_t match;

	_Static_assert(sizeof(struct x86_code_page) == 1 << 4, "the logarithm");
	x86_flags_spill(k);
	x86_host_rm(h, HOST_LEA, 8, page, X86_AT(from, distance & (int32_t)X86_PAGE_MASK));
	x86_entry_of_page(k, page, 4, X86_CODE_PAGES, X86_VCPU(code_page));
	x86_host_rm(h, HOST_MOV_LOAD, 8, HOST_RCX, X86_VCPU(code_gen));
	x86_host_rr(h, HOST_GROUP1_STORE(HOST_OR), 8, page, HOST_RCX);
	x86_host_rm(h, HOST_GROUP1_LOAD(HOST_CMP), 8, HOST_RCX,
		X86_AT(HOST_RAX, offsetof(struct x86_code_page, key)));
	x86_align(k, 2 + 3);
	x86_host_jump_short(h, HOST_CC_NZ, h->n + 2 + 7); /* what decides the next one, too */
	x86_host_rm(h, HOST_GROUP1_IMM, 4, HOST_CMP,
		X86_AT(HOST_RAX, offsetof(struct x86_code_page, number)));
	x86_host_imm32(h, (int32_t)X86_NO_PAGE);
	match = h->n;
	other = x86_exit_if(k, HOST_CC_NZ, k->op, X86_CROSS);
	if (call)
		push_return(k, o);
	x86_go(k);
	x86_host_rm(h, HOST_MOV_STORE, 8, page, X86_AT(HOST_RDI, X86_R_PAGE));
	x86_align(k, 1);
	unknown = x86_exit_if(k, HOST_ALWAYS, k->op, X86_OFFSET);
	if (!other || !unknown)
		return;
	unknown->offset = other->offset = (uint16_t)(distance & ~(int32_t)X86_PAGE_MASK);
	other->lin = (uint8_t)page;
	other->site = unknown->at;
	other->match = match;
}

/* ---- All of them ---------------------------------------------------------------------------- */

void x86_compile_taken(struct x86_compiler *k)
{
	const struct x86_op *o = &k->block->ops[k->op];

	/* The same for both ways out of the condition: registers are written once. */
	x86_settle(k);
	if (x86_recipe_of(k->recipes, o->fn)->kind == X86_DO_JCC_LINK)
		x86_go_link(k);
	else
		go_cross(k, o, (int32_t)o->imm, false);
}

/* JMP or CALL; false: too far. */
static bool compile_near(struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r)
{
	bool call = r->kind == X86_DO_CALL;
	unsigned lin, code;

	if (r->form == X86_FORM_RI) {
		if (is_near(o))
			go_cross(k, o, (int32_t)o->imm, call);
		return is_near(o);
	}
	lin = target(k, o, r);
	code = cached_code(k, lin);
	if (call)
		push_return(k, o);
	go_cached(k, lin, code);
	return true;
}

bool x86_compile_branch(
	struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r, bool *end)
{
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
		x86_go_link(k);
		break;
	case X86_DO_JUMP_DISP:
		go_cross(k, o, o->disp, false);
		break;
	case X86_DO_CALL_LINK:
		x86_flags_spill(k);
		push_return(k, o);
		x86_go_link(k);
		break;
	case X86_DO_JUMP:
	case X86_DO_CALL:
		if (!compile_near(k, o, r))
			return false;
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
