/*
 * compile_window.c - several accesses by one look into the TLB.
 *
 * Code reaches the fields of an object, or of a stack frame, by one register and some constants.
 * When the first of such accesses is compiled, those behind it are looked for, and what is looked
 * up is the page of all of them: a window. Native code gives up, as always, when that page is not
 * in the TLB, or may not be written and one of them writes; and also when the window reaches into
 * the next page. A window is closed when its register changes, and with the run. Until then nothing
 * can take the page away: whoever changes translations, or makes code of the page, waits for the
 * vcpu to be between blocks (block.c).
 */
#include "x86/compile.h"

/* Bytes. The larger a window, the more often it reaches into the next page. */
#define WINDOW_MOST 256

/* An access, relative to its base register. */
struct access {
	int32_t low, high;
	bool write;
};

/* Whether this file serves the memory operand of a recipe, and then whether that is written. */
static bool find_kind(const struct x86_recipe *r, bool *write)
{
	bool to_memory = x86_recipe_has_memory(r) && r->form != X86_FORM_RM;

	switch ((enum x86_recipe_kind)r->kind) {
	case X86_DO_ALU:
		*write = to_memory && r->code != HOST_CMP;
		return true;
	case X86_DO_INC:
	case X86_DO_DEC:
	case X86_DO_NEG:
	case X86_DO_NOT:
	case X86_DO_MOV:
		*write = to_memory;
		return true;
	case X86_DO_ZERO_EXTEND:
	case X86_DO_SIGN_EXTEND:
	case X86_DO_TEST:
	case X86_DO_CMOV:
	case X86_DO_SCAN:
	case X86_DO_MUL:
	case X86_DO_IMUL:
		*write = false;
		return true;
	default:
		return false;
	}
}

static unsigned size_of(const struct x86_recipe *r)
{
	return r->kind == X86_DO_ZERO_EXTEND || r->kind == X86_DO_SIGN_EXTEND ? r->from : r->size;
}

/* Whether @o accesses memory at a register and a constant, and how. */
static bool find_access(const struct x86_op *o, const struct x86_recipe *r, struct access *a)
{
	a->low = o->disp;
	a->high = o->disp + (int32_t)size_of(r);
	return find_kind(r, &a->write) && x86_recipe_has_memory(r) && o->base != X86_R_ZERO &&
	       (!r->full || (o->index == X86_R_ZERO && o->seg == X86_SEG_FLAT)) &&
	       o->disp < INT32_MAX / 2;
}

/* A guess, for those that are looked for: windows are closed by what really changes a register. */
static bool may_change(const struct x86_op *o, const struct x86_recipe *r, uint8_t base)
{
	switch ((enum x86_recipe_kind)r->kind) {
	case X86_DO_TEST:
		return false;
	case X86_DO_ALU:
		if (r->code == HOST_CMP)
			return false;
		break;
	case X86_DO_PUSH:
	case X86_DO_POP:
	case X86_DO_LEAVE:
		if (base == X86_R(X86_RSP))
			return true;
		break;
	case X86_DO_XCHG:
	case X86_DO_XADD:
		return o->r0 == base || o->r1 == base;
	default:
		break;
	}
	return (!x86_recipe_has_memory(r) || r->form == X86_FORM_RM) && o->r0 == base;
}

static bool join(struct access *all, const struct access *one)
{
	struct access both = {.low = one->low < all->low ? one->low : all->low,
		.high = one->high > all->high ? one->high : all->high,
		.write = one->write || all->write};

	if ((int64_t)both.high - both.low > WINDOW_MOST)
		return false;
	*all = both;
	return true;
}

/*
 * What the accesses by register @base from the current operation on have in common; returns how
 * many they are. A write behind a branch may not happen, and a page that is only read must do.
 */
static unsigned look_ahead(const struct x86_compiler *k, uint8_t base, struct access *all)
{
	unsigned n = 1, i = k->op;
	bool branched = false;

	for (;;) {
		const struct x86_op *o = &k->block->ops[i];
		const struct x86_recipe *r = x86_recipe_of(k->recipes, o->fn);
		struct access one;

		if (i > k->op && o->base == base && find_access(o, r, &one) &&
			!(branched && one.write))
			n += join(all, &one);
		branched |= r->fused || r->kind == X86_DO_JCC_LINK || r->kind == X86_DO_JCC_CHAIN;
		i += r->fused ? 2 : 1;
		if (r->kind == X86_DO_NOTHING || may_change(o, r, base) || i >= k->block->n_ops)
			return n;
	}
}

static bool has(const struct x86_window *w, uint8_t base, const struct access *a)
{
	return w->base == base / 8 && a->low >= w->low && a->high <= w->high &&
	       (w->write || !a->write);
}

/* The one to be used for @base: its own, which does not have what is wanted, or any. */
static unsigned choose(const struct x86_compiler *k, uint8_t base)
{
	const struct x86_window *w = k->place.window;
	unsigned best = 0;

	for (unsigned i = 0; i < X86_WINDOWS; i++) {
		if (w[i].base == base / 8)
			return i;
		if (w[i].base == X86_GUEST_REGS ||
			(w[best].base != X86_GUEST_REGS &&
				k->used[w[i].host] < k->used[w[best].host]))
			best = i;
	}
	return best;
}

static struct x86_window *open_window(struct x86_compiler *k, uint8_t base, const struct access *a)
{
	unsigned i = choose(k, base), host;
	struct x86_window *w = &k->place.window[i];
	struct x86_host_mem m;

	x86_window_close(&k->place, i);
	x86_flags_spill(k);
	x86_host_rm(&k->h, HOST_LEA, 8, HOST_RDX, X86_AT(x86_use(k, base), a->low));
	m = x86_access(k, (unsigned)(a->high - a->low), a->write);
	host = x86_temporary(k);
	x86_host_rr(&k->h, HOST_MOV_STORE, 8, m.base, host);
	k->place.guest_of[host] = (uint8_t)(X86_GUEST_WINDOW + i);
	*w = (struct x86_window){.base = base / 8,
		.host = (uint8_t)host,
		.write = a->write,
		.low = a->low,
		.high = a->high};
	return w;
}

struct x86_host_mem x86_window_operand(
	struct x86_compiler *k, const struct x86_op *o, const struct x86_recipe *r)
{
	struct x86_window *w = NULL;
	struct access a;
	bool may = find_access(o, r, &a);

	for (unsigned i = 0; i < X86_WINDOWS && may; i++)
		if (has(&k->place.window[i], o->base, &a))
			w = &k->place.window[i];
	if (!w && may && look_ahead(k, o->base, &a) > 1)
		w = open_window(k, o->base, &a);
	if (!w) {
		x86_address(k, o, r->full);
		return x86_access(k, size_of(r), a.write);
	}
	k->pinned |= (uint16_t)(1u << w->host);
	k->used[w->host] = ++k->now;
	return (struct x86_host_mem){w->host, (uint8_t)x86_use(k, o->base), 0, o->disp};
}
