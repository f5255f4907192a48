/*
 * gate.c - where native code leaves to: functions that find what comes next, and tell the native
 * code that asked, so that it goes there by itself from then on; see gate.h.
 *
 * Native code is changed while others execute it: by single, aligned stores, each of which leaves
 * code that is right. What is stored comes from the jump cache or a LINK's block, and stays right
 * for that place: the block in the same page of guest memory, or in the one that is compared with
 * first. A block that is dropped meanwhile is found out at its entry.
 */
#include "x86/gate.h"

#include "x86/compile.h"

/* At a block's entry the vcpu is not to go on; @o is the block's first operation. */
static void at_entry(struct x86_vcpu *c, const struct x86_op *o)
{
	if (x86_op_function(o) == x86_op_stale_block)
		return x86_op_stale_block(c, o);
	c->lin = x86_block_lin(c, x86_block_of(o));
}

/* Back to the loop, to go on at @offset in the page. */
static void at_offset(struct x86_vcpu *c, const struct x86_op *o, uint32_t offset)
{
	c->lin = *x86_page(c) + offset;
}

/* What entries of returns that are 0 lead to. */
static void at_zero(struct x86_vcpu *c, const struct x86_op *o)
{
	at_offset(c, o, 0);
}

/* @site: offset of four bytes of native code. */
static void store(const struct x86_vcpu *c, uint32_t site, uint32_t v)
{
	__atomic_store_n((uint32_t *)(x86_compiled_write(c->machine) + site), v, __ATOMIC_RELEASE);
}

/* The end of a block that is the LINK @o, left by a jump whose displacement is at @site. */
static void link(struct x86_vcpu *c, const struct x86_op *o, uint32_t site)
{
	struct x86_block *b = (struct x86_block *)__atomic_load_n(&o->imm, __ATOMIC_ACQUIRE);
	uint32_t native;

	if (!b || atomic_load_explicit(&c->attention, memory_order_relaxed))
		return x86_find_link(c, o);
	native = atomic_load(&b->native);
	if (native)
		store(c, site, native - (site + 4));
	return x86_enter_block(c, b);
}

/* Back from the call @o, which finds at @site where its returns go on. */
static void returned(struct x86_vcpu *c, const struct x86_op *o, uint32_t site)
{
	uint64_t lin = *x86_page(c) + o->off + o->len;
	const struct x86_jc_entry *e = x86_jc_at(c, lin);

	if (!x86_jc_is(c, e, lin) || atomic_load_explicit(&c->attention, memory_order_relaxed)) {
		c->lin = lin;
		return;
	}
	if (e->tag & X86_JC_NATIVE)
		store(c, site, e->where);
	return x86_enter_block(c, x86_jc_block(c, e));
}

_Static_assert(X86_PHYSICAL_BITS < 12 + 32, "numbers of pages have 32 bits, and X86_NO_PAGE");

/*
 * The jump whose displacement is at @site leads to @native from now on, when the page compared with
 * at
 * @match is the one with @number; once: others may just have compared. Two processors may want it
 * for two pages.
 */
static void learn(
	struct x86_vcpu *c, uint32_t site, uint32_t native, uint32_t match, uint32_t number)
{
	x86_lock(c->machine, c);
	if (*(const uint32_t *)(c->native + match) == X86_NO_PAGE) {
		store(c, site, native - (site + 4));
		store(c, match, number);
	}
	x86_unlock(c->machine);
}

/*
 * Before a branch to @lin that has not found there the page of guest memory whose number is at
 * @match; the displacement of its jump is at @site. What does the branch now is @fn.
 */
static void cross(struct x86_vcpu *c, const struct x86_op *o, uint64_t lin, uint32_t site,
	uint32_t match, x86_op_fn fn)
{
	const struct x86_jc_entry *e = x86_jc_at(c, lin);

	if (x86_jc_is(c, e, lin) && (e->tag & X86_JC_NATIVE)) {
		uint64_t number = x86_jc_block(c, e)->gpa / X86_PAGE_SIZE;

		*x86_code_page(c->code_page, lin) = (struct x86_code_page){
			.key = (lin & X86_PAGE_MASK) | c->code_gen, .number = number};
		if (*(const uint32_t *)(c->native + match) == X86_NO_PAGE)
			learn(c, site, e->where, match, (uint32_t)number);
	}
	return fn(c, o);
}

void x86_gates_put(uint8_t *write)
{
	static const uintptr_t to[X86_GATES] = {
		[X86_GATE_ZERO] = (uintptr_t)at_zero,
		[X86_GATE_ENTRY] = (uintptr_t)at_entry,
		[X86_GATE_OFFSET] = (uintptr_t)at_offset,
		[X86_GATE_LINK] = (uintptr_t)link,
		[X86_GATE_RETURN] = (uintptr_t)returned,
		[X86_GATE_CROSS] = (uintptr_t)cross,
	};

	for (unsigned i = 0; i < X86_GATES; i++) {
		struct x86_host h = {.code = write + i * X86_GATE_BYTES, .size = X86_GATE_BYTES};

		x86_host_mov_imm64(&h, HOST_R10, to[i]);
		x86_host_rr(&h, HOST_GROUP4, 4, HOST_JMP, HOST_R10);
	}
}
