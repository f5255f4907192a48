/*
 * compile.c - the compiler of blocks: registers, flags, exits; see compile.h.
 *
 * One pass over the operations. Registers of the guest are loaded where they are first used,
 * written back where the code leaves. Code for leaving stands behind the block's own, so that the
 * usual way is a straight line.
 *
 * Compiling is done by a vcpu that just entered the block, under the machine's lock; others may be
 * executing the block meanwhile, and see an operation's function change from one that is right to
 * another that is right. Native code lives and dies with the half of the code cache that its block
 * is in (block.c).
 */
#include "x86/compile.h"

#include "x86/arena.h"
#include "x86/gate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CODE_ALIGN 16u /* of a block's native code */

/*
 * Native code of a block has two ways in. Other native code jumps to its entry, with nothing but
 * the vcpu in RDI; there it looks whether something wants attention. The block's first operation,
 * op_compiled(), goes past that. In front of the entry stands what leaves instead; when the block
 * is dropped the entry's first bytes become a jump to it, by one store, while others execute them.
 * So jumps between blocks need no look at what they lead to.
 *
 *	front:	mov rsi, the block's operations
 *		jmp at_entry()
 *	entry:	cmp dword [rdi + attention], 0
 *		jne front
 *
 * Without tail calls an operation is called by the one before, and a block that went on into others
 * would nest them without end. There the entry returns, with what x86_enter_block() leaves.
 */
#define FRONT_BYTES 16u
#define ENTRY_BYTES (X86_TAIL_CALLS ? 9u : 27u)
_Static_assert(FRONT_BYTES - X86_NATIVE_OPS == 2, "behind the two bytes of mov rsi's opcode");

#define GATES_END (X86_GATES * X86_GATE_BYTES)

struct x86_compiled {
	struct x86_recipes *recipes;
	struct x86_arena arena; /* gates, and a half beside each of the machine's operations */
	size_t used;		/* offset: to where the current half is in use */
	uint16_t after;
	struct x86_exit_from exits[X86_EXITS_MAX];
};

static size_t half_begin(const struct x86_machine *m)
{
	return GATES_END + m->half * m->half_bytes;
}

static size_t half_end(const struct x86_machine *m)
{
	return half_begin(m) + m->half_bytes;
}

/* ---- Registers ------------------------------------------------------------------------------ */

/* RBX, RBP, RSI, R8 to R15. */
#define CACHE ((uint16_t)(1u << HOST_RBX | 1u << HOST_RBP | 1u << HOST_RSI | 0xff00u))

static struct x86_host_mem guest_slot(unsigned guest)
{
	return X86_AT(HOST_RDI, guest * 8);
}

static void place_clear(struct x86_place *p)
{
	memset(p->host_of, HOST_NONE, sizeof(p->host_of));
	memset(p->guest_of, X86_GUEST_REGS, sizeof(p->guest_of));
	p->dirty = 0;
	for (unsigned i = 0; i < X86_WINDOWS; i++)
		p->window[i].base = X86_GUEST_REGS;
	p->flags_host = false;
	p->flags_saved = true;
}

static void write_back(struct x86_host *h, const struct x86_place *p)
{
	for (unsigned r = 0; r < HOST_REGS; r++)
		if (p->dirty >> r & 1)
			x86_host_rm(h, HOST_MOV_STORE, 8, r, guest_slot(p->guest_of[r]));
}

void x86_window_close(struct x86_place *p, unsigned i)
{
	struct x86_window *w = &p->window[i];

	if (w->base != X86_GUEST_REGS)
		p->guest_of[w->host] = X86_GUEST_REGS;
	w->base = X86_GUEST_REGS;
}

/* A register that the current operation does not use: a free one, or the one used longest ago. */
static unsigned take_host(struct x86_compiler *k)
{
	struct x86_place *p = &k->place;
	unsigned best = HOST_NONE;

	for (unsigned r = 0; r < HOST_REGS; r++) {
		if (!(CACHE >> r & 1) || k->pinned >> r & 1)
			continue;
		if (p->guest_of[r] == X86_GUEST_REGS) {
			best = r;
			break;
		}
		if (best == HOST_NONE || k->used[r] < k->used[best])
			best = r;
	}
	if (p->guest_of[best] >= X86_GUEST_WINDOW) {
		x86_window_close(p, p->guest_of[best] - X86_GUEST_WINDOW);
	} else if (p->guest_of[best] != X86_GUEST_REGS) {
		if (p->dirty >> best & 1)
			x86_host_rm(&k->h, HOST_MOV_STORE, 8, best, guest_slot(p->guest_of[best]));
		p->host_of[p->guest_of[best]] = HOST_NONE;
		p->guest_of[best] = X86_GUEST_REGS;
		p->dirty &= (uint16_t) ~(1u << best);
	}
	k->pinned |= (uint16_t)(1u << best);
	return best;
}

static unsigned hold(struct x86_compiler *k, uint8_t r, bool load, bool change)
{
	struct x86_place *p = &k->place;
	unsigned guest = r / 8, host = p->host_of[guest];

	if (host == HOST_NONE) {
		host = take_host(k);
		p->host_of[guest] = (uint8_t)host;
		p->guest_of[host] = (uint8_t)guest;
		if (load)
			x86_host_rm(&k->h, HOST_MOV_LOAD, 8, host, guest_slot(guest));
	}
	k->pinned |= (uint16_t)(1u << host);
	k->used[host] = ++k->now;
	if (!change)
		return host;
	p->dirty |= (uint16_t)(1u << host);
	for (unsigned i = 0; i < X86_WINDOWS; i++)
		if (p->window[i].base == guest)
			x86_window_close(p, i);
	return host;
}

unsigned x86_use(struct x86_compiler *k, uint8_t r)
{
	return hold(k, r, true, false);
}

unsigned x86_def(struct x86_compiler *k, uint8_t r)
{
	return hold(k, r, false, true);
}

unsigned x86_mod(struct x86_compiler *k, uint8_t r)
{
	return hold(k, r, true, true);
}

unsigned x86_temporary(struct x86_compiler *k)
{
	return take_host(k);
}

/* ---- Flags ---------------------------------------------------------------------------------- */

void x86_flags_set(struct x86_compiler *k)
{
	k->place.flags_host = true;
	k->place.flags_saved = false;
}

/* In the form that cpu.h describes. Leaves the host's flags alone. */
static void flags_save(struct x86_compiler *k)
{
	if (k->place.flags_saved)
		return;
	x86_host_byte(&k->h, 0x9f); /* lahf */
	x86_host_rr(&k->h, HOST_SET(X86_COND_O), 1, 0, HOST_RAX);
	x86_host_rm(&k->h, HOST_MOV_STORE, 2, HOST_RAX, X86_VCPU(fl));
	k->place.flags_saved = true;
}

void x86_flags_spill(struct x86_compiler *k)
{
	flags_save(k);
	k->place.flags_host = false;
}

void x86_flags_load(struct x86_compiler *k)
{
	if (k->place.flags_host)
		return;
	x86_host_rm(&k->h, HOST_MOVZX(2), 4, HOST_RAX, X86_VCPU(fl));
	x86_host_alu_imm(&k->h, HOST_ADD, 1, HOST_RAX, 0x7f);
	x86_host_byte(&k->h, 0x9e); /* sahf */
	k->place.flags_host = true;
}

void x86_carry_load(struct x86_compiler *k)
{
	if (k->place.flags_host)
		return;
	x86_host_rm(&k->h, HOST_BT_IMM, 2, HOST_BT, X86_VCPU(fl));
	x86_host_byte(&k->h, 8);
}

void x86_settle(struct x86_compiler *k)
{
	flags_save(k);
	write_back(&k->h, &k->place);
	place_clear(&k->place);
}

/* ---- Leaving -------------------------------------------------------------------------------- */

struct x86_exit_from *x86_exit(struct x86_compiler *k, unsigned op, enum x86_exit_kind kind)
{
	struct x86_exit_from *e = &k->exits[k->n_exits];

	if (k->n_exits == X86_EXITS_MAX) {
		k->failed = true;
		return NULL;
	}
	k->n_exits++;
	*e = (struct x86_exit_from){.at = k->h.n,
		.place = k->place,
		.op = (uint16_t)op,
		.origin = (uint16_t)k->origin,
		.kind = kind};
	return e;
}

struct x86_exit_from *x86_exit_if(
	struct x86_compiler *k, unsigned cc, unsigned op, enum x86_exit_kind kind)
{
	x86_host_jump(&k->h, cc);
	return x86_exit(k, op, kind);
}

void x86_align(struct x86_compiler *k, unsigned ahead)
{
	while ((k->at + k->h.n + ahead) % sizeof(uint32_t))
		x86_host_byte(&k->h, HOST_NOP);
}

void x86_go_link(struct x86_compiler *k)
{
	x86_go(k);
	x86_align(k, 1);
	x86_exit_if(k, HOST_ALWAYS, k->op, X86_LINK);
}

void x86_give_up(struct x86_compiler *k, unsigned cc)
{
	x86_exit_if(k, cc, k->op, X86_GIVE_UP);
}

void x86_take(struct x86_compiler *k, unsigned cc, unsigned op)
{
	x86_exit_if(k, cc, op, X86_TAKE);
}

static void rsi_to_op(struct x86_compiler *k, unsigned op)
{
	x86_host_mov_imm64(&k->h, HOST_RSI, (uintptr_t)&k->block->ops[op]);
}

static void go_to_gate(struct x86_compiler *k, enum x86_gate gate)
{
	x86_host_jump_back(&k->h, gate * X86_GATE_BYTES - k->at);
}

/* Offset in all native code of the four bytes that end at @at. */
static uint32_t four_before(const struct x86_compiler *k, size_t at)
{
	return (uint32_t)(k->at + at - 4);
}

/* Into an operation. Native code may stand in the place of the first one of a run. */
static void go_to_op(struct x86_compiler *k, unsigned op)
{
	rsi_to_op(k, op);
	if (op == k->origin) {
		x86_host_mov_imm(&k->h, HOST_RAX, (uintptr_t)k->block->ops[op].fn);
		x86_host_rr(&k->h, HOST_GROUP4, 4, HOST_JMP, HOST_RAX);
		return;
	}
	x86_host_rm(&k->h, HOST_GROUP4, 4, HOST_JMP, X86_AT(HOST_RSI, offsetof(struct x86_op, fn)));
}

/* What was jumped to; that may in turn leave. */
static void put_exits(struct x86_compiler *k)
{
	for (; k->first_exit < k->n_exits && !k->failed; k->first_exit++) {
		const struct x86_exit_from *e = &k->exits[k->first_exit];

		if (e->kind == X86_RETURN)
			x86_host_put32(&k->h, e->at, (uint32_t)(k->at + k->h.n));
		else
			x86_host_here(&k->h, e->at);
		k->place = e->place;
		k->op = e->op;
		k->origin = e->origin;
		k->pinned = 0;
		switch (e->kind) {
		case X86_TAKE:
			x86_compile_taken(k);
			break;
		case X86_TRY_OTHER:
			x86_compile_other(k, e);
			break;
		case X86_OTHER_RETURN:
			x86_compile_other_return(k, e);
			break;
		case X86_LINK:
		case X86_RETURN:
			rsi_to_op(k, k->op);
			x86_host_mov_imm(&k->h, HOST_RDX, four_before(k, e->at));
			go_to_gate(k, e->kind == X86_LINK ? X86_GATE_LINK : X86_GATE_RETURN);
			break;
		case X86_OFFSET:
			x86_host_mov_imm(&k->h, HOST_RDX, e->offset);
			go_to_gate(k, X86_GATE_OFFSET);
			break;
		case X86_CROSS:
			x86_settle(k);
			x86_host_rm(&k->h, HOST_LEA, 8, HOST_RDX, X86_AT(e->lin, e->offset));
			rsi_to_op(k, k->op);
			x86_host_mov_imm(&k->h, HOST_RCX, four_before(k, e->site));
			x86_host_mov_imm(&k->h, HOST_R8, four_before(k, e->match));
			x86_host_mov_imm(&k->h, HOST_R9, (uintptr_t)k->block->ops[k->op].fn);
			go_to_gate(k, X86_GATE_CROSS);
			break;
		case X86_GIVE_UP:
			x86_settle(k);
			go_to_op(k, k->op);
			break;
		}
	}
}

void x86_go(struct x86_compiler *k)
{
	unsigned n = k->block->ops[k->op].n;

	x86_settle(k);
	x86_host_rm(&k->h, n < 0x80 ? HOST_GROUP1_IMM8 : HOST_GROUP1_IMM, 8, HOST_ADD,
		X86_VCPU(instructions));
	x86_host_imm(&k->h, n < 0x80 ? 1 : 4, n);
}

/* ---- Memory --------------------------------------------------------------------------------- */

void x86_address(struct x86_compiler *k, const struct x86_op *o, bool full)
{
	struct x86_host_mem m = {HOST_NONE, HOST_NONE, 0, o->disp};

	x86_flags_spill(k);
	if (o->base != X86_R_ZERO)
		m.base = (uint8_t)x86_use(k, o->base);
	if (full && o->index != X86_R_ZERO) {
		m.index = (uint8_t)x86_use(k, o->index);
		m.scale = o->scale;
	}
	if (m.base == HOST_NONE && m.index == HOST_NONE)
		x86_host_mov_imm(&k->h, HOST_RDX, (uint64_t)(int64_t)o->disp);
	else
		x86_host_rm(&k->h, HOST_LEA, 8, HOST_RDX, m);
	if (full && o->seg != X86_SEG_FLAT)
		x86_host_rm(
			&k->h, HOST_GROUP1_LOAD(HOST_ADD), 8, HOST_RDX, X86_VCPU(seg_base[o->seg]));
}

void x86_entry_of_page(struct x86_compiler *k, unsigned lin, unsigned log, unsigned entries,
	struct x86_host_mem table)
{
	struct x86_host *h = &k->h;

	x86_host_rr(h, HOST_MOV_STORE, 4, lin, HOST_RAX);
	x86_host_rr(h, HOST_GROUP2_IMM, 4, HOST_SHR, HOST_RAX);
	x86_host_byte(h, (uint8_t)(12 - log));
	x86_host_alu_imm(h, HOST_AND, 4, HOST_RAX, (int32_t)((entries - 1) << log));
	x86_host_rm(h, HOST_GROUP1_LOAD(HOST_ADD), 8, HOST_RAX, table);
}

/* As x86_tlb_slot() and x86_tlb_tag() of mem.h. */
struct x86_host_mem x86_access(struct x86_compiler *k, unsigned size, bool write)
{
	struct x86_host *h = &k->h;
	size_t tag = write ? offsetof(struct x86_tlb_entry, tag_w)
			   : offsetof(struct x86_tlb_entry, tag_r);

	_Static_assert(sizeof(struct x86_tlb_entry) == 1 << 5, "the logarithm");
	x86_entry_of_page(k, HOST_RDX, 5, X86_TLB_ENTRIES, X86_VCPU(tlb));
	if (size == 1)
		x86_host_rr(h, HOST_MOV_STORE, 8, HOST_RDX, HOST_RCX);
	else
		x86_host_rm(h, HOST_LEA, 8, HOST_RCX, X86_AT(HOST_RDX, size - 1));
	x86_host_alu_imm(h, HOST_AND, 8, HOST_RCX, (int32_t)X86_PAGE_MASK);
	x86_host_rm(h, HOST_GROUP1_LOAD(HOST_OR), 8, HOST_RCX, X86_VCPU(tlb_gen));
	x86_host_rm(h, HOST_GROUP1_LOAD(HOST_CMP), 8, HOST_RCX, X86_AT(HOST_RAX, tag));
	x86_give_up(k, HOST_CC_NZ);
	x86_host_rm(h, HOST_MOV_LOAD, 8, HOST_RAX,
		X86_AT(HOST_RAX, offsetof(struct x86_tlb_entry, addend)));
	return (struct x86_host_mem){HOST_RAX, HOST_RDX, 0, 0};
}

struct x86_host_mem x86_memory(
	struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r, bool write)
{
	x86_address(k, o, r->full);
	return x86_access(k, r->size, write);
}

/* ---- Blocks --------------------------------------------------------------------------------- */

/* A run of operations with recipes, for which native code is to stand. */
struct run {
	uint16_t op;
	size_t code;
};

/* Operations that @r is a recipe of: a fused comparison takes its branch along. */
static unsigned span(const struct x86_recipe *r)
{
	return r->fused ? 2 : 1;
}

/* Compiles from operation @first on. Returns the index of the operation behind the run. */
static unsigned compile_run(struct x86_compiler *k, unsigned first)
{
	unsigned i = first;
	bool end = false;

	place_clear(&k->place);
	k->vectors_ready = false;
	while (i < k->block->n_ops && !end) {
		const struct x86_op *o = &k->block->ops[i];
		const struct x86_recipe *r = x86_recipe_of(k->recipes, o->fn);

		k->op = i;
		k->span = span(r);
		k->pinned = 0;
		if (!x86_compile_data(k, o, r) && !x86_compile_vector(k, o, r) &&
			!x86_compile_branch(k, o, r, &end))
			break;
		i += k->span;
	}
	if (!end && i < k->block->n_ops) {
		x86_settle(k);
		go_to_op(k, i);
	} else if (!end) {
		k->failed = true; /* blocks end with an operation that ends them */
	}
	return i;
}

/* Whether a run may begin at operation @i, of recipe @r: where an instruction begins. */
static bool may_begin(const struct x86_compiler *k, unsigned i, const struct x86_recipe *r)
{
	const struct x86_op *o = &k->block->ops[i];

	return r->kind != X86_DO_NOTHING && (i == 1 || o->off != o[-1].off);
}

static void put_entry(struct x86_compiler *k)
{
	struct x86_host *h = &k->h;

	rsi_to_op(k, 0);
	go_to_gate(k, X86_GATE_ENTRY);
	while (h->n < FRONT_BYTES)
		x86_host_byte(h, HOST_NOP);
	x86_host_rm(h, HOST_GROUP1_IMM8, 4, HOST_CMP, X86_VCPU(attention));
	x86_host_byte(h, 0);
	x86_host_jump_short(h, HOST_CC_NZ, 0);
	if (!X86_TAIL_CALLS) {
		rsi_to_op(k, 0);
		x86_host_rm(h, HOST_MOV_STORE, 8, HOST_RSI, X86_VCPU(next_op));
		x86_host_byte(h, HOST_RET);
	}
	k->failed |= h->n != FRONT_BYTES + ENTRY_BYTES;
}

/*
 * Returns the number of runs besides the one behind the entry. Where that cannot begin with the
 * first operation there is a jump to it.
 */
static unsigned compile_block(struct x86_compiler *k, struct run runs[X86_BLOCK_OPS])
{
	unsigned n = 0, i = 1;

	put_entry(k);
	while (i < k->block->n_ops) {
		const struct x86_recipe *r = x86_recipe_of(k->recipes, k->block->ops[i].fn);
		unsigned behind_run = i;

		k->origin = i == 1 ? 0 : i;
		runs[n] = (struct run){.op = (uint16_t)i, .code = k->h.n};
		if (may_begin(k, i, r))
			behind_run = compile_run(k, i);
		if (behind_run > i) {
			n += i > 1;
			i = behind_run;
			continue;
		}
		k->h.n = runs[n].code; /* its recipe does not serve these operands */
		if (i == 1)
			go_to_op(k, 1);
		i += span(r);
	}
	put_exits(k);
	return n;
}

static void op_heat(struct x86_vcpu *c, const struct x86_op *o);

/* What op_heat() becomes: into the block's native code, which the jump cache is told of. */
X86_OP(op_compiled)
{
	const struct x86_block *b = x86_block_of(o);
	uint64_t lin = x86_block_lin(c, b);
	struct x86_jc_entry *e = x86_jc_at(c, lin);
	uint32_t native = atomic_load_explicit(&b->native, memory_order_relaxed);

	if (e->lin == lin && e->tag == (c->jc_tag & ~X86_JC_NATIVE)) {
		e->where = native;
		e->tag = c->jc_tag;
	}
	return ((x86_op_fn)(uintptr_t)(c->native + native + ENTRY_BYTES))(c, o);
}

/* Lock held. */
static void compile_locked(struct x86_vcpu *c, struct x86_block *b)
{
	struct x86_machine *m = c->machine;
	struct x86_compiled *d = m->compiled;
	struct x86_compiler k = {
		.h = {.code = d->arena.write + d->used, .size = half_end(m) - d->used},
		.at = d->used,
		.recipes = d->recipes,
		.block = b,
		.exits = d->exits};
	struct run runs[X86_BLOCK_OPS];
	unsigned n;

	/* Dropped, or compiled by another vcpu, or in the other half of the cache by now? */
	if (b->ops[0].fn != op_heat || atomic_load(&c->code_epoch) != atomic_load(&m->epoch))
		return;
	n = compile_block(&k, runs);
	if (k.failed || x86_host_full(&k.h))
		return;
	atomic_store(&b->native, (uint32_t)(d->used + FRONT_BYTES));
	for (unsigned i = n; i-- > 0;)
		__atomic_store_n(&b->ops[runs[i].op].fn,
			(x86_op_fn)(uintptr_t)(d->arena.exec + d->used + runs[i].code),
			__ATOMIC_RELEASE);
	__atomic_store_n(&b->ops[0].fn, op_compiled, __ATOMIC_RELEASE);
	d->used = (d->used + k.h.n + CODE_ALIGN - 1) & ~(size_t)(CODE_ALIGN - 1);
	if (d->used > half_end(m))
		d->used = half_end(m);
}

/* Out of line, so that counting needs no stack frame. */
__attribute__((noinline)) X86_OP(op_hot)
{
	x86_lock(c->machine, c);
	compile_locked(c, x86_block_of(o));
	x86_unlock(c->machine);
	if (x86_op_function(o) != op_heat)
		return x86_continue(c, o);
	NEXT;
}

/*
 * The first operation of a block that may be compiled counts how often it is entered. Several vcpus
 * may count at once, and then one is lost: so what.
 */
X86_OP(op_heat)
{
	struct x86_block *b = x86_block_of(o);
	uint16_t heat = (uint16_t)(__atomic_load_n(&b->heat, __ATOMIC_RELAXED) + 1);

	__atomic_store_n(&b->heat, heat, __ATOMIC_RELAXED);
	if (unlikely(heat == c->machine->compiled->after))
		return op_hot(c, o);
	NEXT;
}

x86_op_fn x86_compile_heat(const struct x86_machine *m, uint32_t mode)
{
	bool may = m->compiled && (mode & X86_MODE_64) && !(mode & X86_MODE_SINGLE);

#ifdef __SANITIZE_THREAD__
	may = false; /* it does not see what native code reads, and so not why it may */
#endif
	return may ? op_heat : NULL;
}

void x86_compiled_drop(struct x86_machine *m, const struct x86_block *b)
{
	uint32_t native = atomic_load(&b->native);
	uint8_t jump[2] = {0xeb, (uint8_t) - (FRONT_BYTES + 2)}; /* to the front */
	uint16_t both;

	if (!native)
		return;
	memcpy(&both, jump, sizeof(both));
	__atomic_store_n((uint16_t *)(m->compiled->arena.write + native), both, __ATOMIC_RELEASE);
}

/* ---- Life ----------------------------------------------------------------------------------- */

int x86_machine_compile(struct x86_machine *m, unsigned after)
{
	struct x86_compiled *d = calloc(1, sizeof(*d));
	int err = -ENOMEM;

	if (!d)
		return -ENOMEM;
	m->compiled = d;
	d->after = (uint16_t)after;
	d->recipes = x86_recipes_create();
	if (d->recipes)
		err = x86_arena_create(&d->arena, GATES_END + 2 * m->half_bytes, "partita-blocks");
	if (err) {
		x86_compiled_destroy(m);
		return err;
	}
	x86_gates_put(d->arena.write);
	x86_compiled_forget(m);
	for (unsigned i = 0; i < m->n_vcpus; i++)
		if (m->vcpu[i])
			m->vcpu[i]->native = d->arena.exec;
	return 0;
}

void x86_compiled_destroy(struct x86_machine *m)
{
	struct x86_compiled *d = m->compiled;

	if (!d)
		return;
	m->compiled = NULL;
	x86_arena_destroy(&d->arena);
	x86_recipes_destroy(d->recipes);
	free(d);
}

void x86_compiled_forget(struct x86_machine *m)
{
	if (m->compiled)
		m->compiled->used = half_begin(m);
}

const uint8_t *x86_compiled_base(const struct x86_machine *m)
{
	return m->compiled ? m->compiled->arena.exec : NULL;
}

uint8_t *x86_compiled_write(const struct x86_machine *m)
{
	return m->compiled->arena.write;
}

size_t x86_machine_native_bytes(struct x86_machine *m)
{
	return m->compiled ? m->compiled->used - half_begin(m) : 0;
}
