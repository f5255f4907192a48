/*
 * atomic.c - XCHG XADD CMPXCHG CMPXCHG8B CMPXCHG16B: exchanges, with and without LOCK.
 *
 * On memory each is the host's own instruction on the address x86_rmw() gives, with the host's LOCK
 * prefix where the guest has one (XCHG locks by itself), so that atomicity and ordering between
 * virtual processors are those between the host's. Registers change after x86_rmw_end(), the
 * last thing that can fault.
 *
 * Facts: Intel SDM vol. 2, the instructions' pages; vol. 3A, "Locked Atomic Operations".
 */
#include "x86/recipe.h"

/* A row of operations goes on with those that LOCK precedes. */
enum {
	FORM_SIMPLE_LOCK = FORMS,
	FORM_FULL_LOCK,
	LOCK_FORMS,
};

#define LOCK_ROW(name) {name##_r, name##_s, name##_f, name##_s_lock, name##_f_lock}
#define LOCK_ROWS(name)                                                                            \
	{LOCK_ROW(name##_8), LOCK_ROW(name##_16), LOCK_ROW(name##_32), LOCK_ROW(name##_64)}

/* ---- XCHG ----------------------------------------------------------------------------------- */

#define XCHG_MEMORY(bits, form, ea)                                                                \
	X86_OP(xchg_##bits##_##form)                                                               \
	{                                                                                          \
		uint##bits##_t v = X86_REG(c, o->r1, uint##bits##_t);                              \
		uint##bits##_t *p = x86_rmw(c, o, ea(c, o), bits / 8, true);                       \
                                                                                                   \
		asm volatile("xchg" SUFFIX_##bits " %0, %1" : "+r"(v), "+m"(*p) : : "memory");     \
		x86_rmw_end(c, o);                                                                 \
		X86_REG(c, o->r1, WRITE_##bits) = v;                                               \
		NEXT;                                                                              \
	}

#define XCHG(bits)                                                                                 \
	X86_OP(xchg_##bits##_r)                                                                    \
	{                                                                                          \
		uint##bits##_t a = X86_REG(c, o->r0, uint##bits##_t);                              \
		uint##bits##_t b = X86_REG(c, o->r1, uint##bits##_t);                              \
                                                                                                   \
		X86_REG(c, o->r0, WRITE_##bits) = b;                                               \
		X86_REG(c, o->r1, WRITE_##bits) = a;                                               \
		NEXT;                                                                              \
	}                                                                                          \
	XCHG_MEMORY(bits, s, x86_ea_s)                                                             \
	XCHG_MEMORY(bits, f, x86_ea_f)
XCHG(8)
XCHG(16)
XCHG(32)
XCHG(64)

/* ---- XADD ----------------------------------------------------------------------------------- */

#define XADD_MEMORY(name, lock, locked, bits, ea)                                                  \
	X86_OP(name)                                                                               \
	{                                                                                          \
		uint##bits##_t v = X86_REG(c, o->r1, uint##bits##_t);                              \
		uint##bits##_t *p = x86_rmw(c, o, ea(c, o), bits / 8, locked);                     \
		uint16_t fl;                                                                       \
                                                                                                   \
		asm volatile(lock "xadd" SUFFIX_##bits " %1, %2" X86_ASM_SAVE_FLAGS                \
			     : "=&a"(fl), "+r"(v), "+m"(*p)                                        \
			     :                                                                     \
			     : "cc", "memory");                                                    \
		x86_rmw_end(c, o);                                                                 \
		X86_REG(c, o->r1, WRITE_##bits) = v;                                               \
		c->fl = fl;                                                                        \
		NEXT;                                                                              \
	}

/* With one register for both operands the sum is what stays. */
#define XADD(bits)                                                                                 \
	X86_OP(xadd_##bits##_r)                                                                    \
	{                                                                                          \
		uint##bits##_t a = X86_REG(c, o->r0, uint##bits##_t);                              \
		uint##bits##_t b = X86_REG(c, o->r1, uint##bits##_t);                              \
                                                                                                   \
		asm("xadd" SUFFIX_##bits " %1, %2" X86_ASM_SAVE_FLAGS                              \
		    : "=&a"(c->fl), "+r"(b), "+r"(a)                                               \
		    :                                                                              \
		    : "cc");                                                                       \
		X86_REG(c, o->r1, WRITE_##bits) = b;                                               \
		X86_REG(c, o->r0, WRITE_##bits) = a;                                               \
		NEXT;                                                                              \
	}                                                                                          \
	XADD_MEMORY(xadd_##bits##_s, "", false, bits, x86_ea_s)                                    \
	XADD_MEMORY(xadd_##bits##_f, "", false, bits, x86_ea_f)                                    \
	XADD_MEMORY(xadd_##bits##_s_lock, "lock; ", true, bits, x86_ea_s)                          \
	XADD_MEMORY(xadd_##bits##_f_lock, "lock; ", true, bits, x86_ea_f)
XADD(8)
XADD(16)
XADD(32)
XADD(64)

/* ---- CMPXCHG -------------------------------------------------------------------------------- */

/* RAX goes in whole, and comes out whole in @acc: EAX is needed for the flags. */
#define CMPXCHG_ASM(lock, bits, fl, acc, destination, from)                                        \
	asm volatile("mov %[acc], %%rax\n\t" lock "cmpxchg" SUFFIX_##bits " %" PART_##bits         \
		     "[from], %" PART_##bits "[to]\n\tmov %%rax, %[acc]" X86_ASM_SAVE_FLAGS        \
		     : "=&a"(fl), [acc] "+&r"(acc), destination                                    \
		     : [from] "r"(from)                                                            \
		     : "cc", "memory")

#define CMPXCHG_MEMORY(name, lock, locked, bits, ea)                                               \
	X86_OP(name)                                                                               \
	{                                                                                          \
		uint64_t from = X86_REG(c, o->r1, uint##bits##_t);                                 \
		uint##bits##_t *p = x86_rmw(c, o, ea(c, o), bits / 8, locked);                     \
		uint64_t acc = c->s.gpr[X86_RAX];                                                  \
		uint16_t fl;                                                                       \
                                                                                                   \
		CMPXCHG_ASM(lock, bits, fl, acc, [to] "+m"(*p), from);                             \
		x86_rmw_end(c, o);                                                                 \
		c->s.gpr[X86_RAX] = acc;                                                           \
		c->fl = fl;                                                                        \
		NEXT;                                                                              \
	}

/* The destination is written last: it may be the accumulator itself. */
#define CMPXCHG(bits)                                                                              \
	X86_OP(cmpxchg_##bits##_r)                                                                 \
	{                                                                                          \
		uint64_t from = X86_REG(c, o->r1, uint##bits##_t);                                 \
		uint64_t to = X86_REG(c, o->r0, uint##bits##_t), acc = c->s.gpr[X86_RAX];          \
                                                                                                   \
		CMPXCHG_ASM("", bits, c->fl, acc, [to] "+&r"(to), from);                           \
		c->s.gpr[X86_RAX] = acc;                                                           \
		X86_REG(c, o->r0, WRITE_##bits) = (uint##bits##_t)to;                              \
		NEXT;                                                                              \
	}                                                                                          \
	CMPXCHG_MEMORY(cmpxchg_##bits##_s, "", false, bits, x86_ea_s)                              \
	CMPXCHG_MEMORY(cmpxchg_##bits##_f, "", false, bits, x86_ea_f)                              \
	CMPXCHG_MEMORY(cmpxchg_##bits##_s_lock, "lock; ", true, bits, x86_ea_s)                    \
	CMPXCHG_MEMORY(cmpxchg_##bits##_f_lock, "lock; ", true, bits, x86_ea_f)
CMPXCHG(8)
CMPXCHG(16)
CMPXCHG(32)
CMPXCHG(64)

/* ---- CMPXCHG8B CMPXCHG16B ------------------------------------------------------------------- */

/* @half: the type of the registers, half the operand. Only ZF changes. */
#define CMPXCHG_PAIR(name, insn, lock, locked, half, align, ea)                                    \
	X86_OP(name)                                                                               \
	{                                                                                          \
		struct pair {                                                                      \
			half low, high;                                                            \
		} *p;                                                                              \
		half low = (half)c->s.gpr[X86_RAX], high = (half)c->s.gpr[X86_RDX];                \
		uint64_t va = ea(c, o);                                                            \
		bool equal;                                                                        \
                                                                                                   \
		if (unlikely(va & (align - 1)))                                                    \
			x86_raise_error(c, o, X86_VEC_GP, 0);                                      \
		p = x86_rmw(c, o, va, 2 * sizeof(half), locked);                                   \
		asm volatile(lock insn " %1\n\tsete %0"                                            \
			     : "=q"(equal), "+m"(*p), "+a"(low), "+d"(high)                        \
			     : "b"((half)c->s.gpr[X86_RBX]), "c"((half)c->s.gpr[X86_RCX])          \
			     : "cc", "memory");                                                    \
		x86_rmw_end(c, o);                                                                 \
		if (equal) {                                                                       \
			c->fl |= X86_FL_ZF;                                                        \
		} else {                                                                           \
			c->s.gpr[X86_RAX] = low;                                                   \
			c->s.gpr[X86_RDX] = high;                                                  \
			c->fl &= (uint16_t)~X86_FL_ZF;                                             \
		}                                                                                  \
		NEXT;                                                                              \
	}
#define CMPXCHG_PAIRS(name, insn, half, align)                                                     \
	CMPXCHG_PAIR(name##_s, insn, "", false, half, align, x86_ea_s)                             \
	CMPXCHG_PAIR(name##_f, insn, "", false, half, align, x86_ea_f)                             \
	CMPXCHG_PAIR(name##_s_lock, insn, "lock; ", true, half, align, x86_ea_s)                   \
	CMPXCHG_PAIR(name##_f_lock, insn, "lock; ", true, half, align, x86_ea_f)
CMPXCHG_PAIRS(cmpxchg8b, "cmpxchg8b", uint32_t, 1)
CMPXCHG_PAIRS(cmpxchg16b, "cmpxchg16b", uint64_t, 16)

/* ---- Emitting ------------------------------------------------------------------------------- */

static struct x86_op *emit_memory(
	struct x86_xlate *t, const x86_op_fn ops[LOCK_FORMS], const ZydisDecodedOperand *m)
{
	bool lock = x86_has_lock(t);

	return x86_emit_mem(t, m, ops[lock ? FORM_SIMPLE_LOCK : FORM_SIMPLE],
		ops[lock ? FORM_FULL_LOCK : FORM_FULL], m->size / 8, true);
}

static bool emit_exchange(struct x86_xlate *t, const x86_op_fn ops[4][LOCK_FORMS])
{
	const ZydisDecodedOperand *to = &t->op[0], *from = &t->op[1];
	const x86_op_fn *fn;
	struct x86_op *o;

	/* XCHG has no order of operands, and the decoder may name either first. */
	if (x86_is_mem(from)) {
		to = &t->op[1];
		from = &t->op[0];
	}
	fn = ops[x86_size_index(to->size)];
	if (x86_is_mem(to)) {
		o = emit_memory(t, fn, to);
	} else {
		o = x86_emit(t, fn[FORM_REGISTER]);
		o->r0 = x86_reg(to->reg.value);
	}
	o->r1 = x86_reg(from->reg.value);
	return true;
}

#define XCHG_ROW(bits)                                                                             \
	{xchg_##bits##_r, xchg_##bits##_s, xchg_##bits##_f, xchg_##bits##_s, xchg_##bits##_f}

static const x86_op_fn xchg_ops[4][LOCK_FORMS] = {
	XCHG_ROW(8), XCHG_ROW(16), XCHG_ROW(32), XCHG_ROW(64)};
static const x86_op_fn xadd_ops[4][LOCK_FORMS] = LOCK_ROWS(xadd);
static const x86_op_fn cmpxchg_ops[4][LOCK_FORMS] = LOCK_ROWS(cmpxchg);

static bool emit_xchg(struct x86_xlate *t)
{
	return emit_exchange(t, xchg_ops);
}

static bool emit_xadd(struct x86_xlate *t)
{
	return emit_exchange(t, xadd_ops);
}

static bool emit_cmpxchg(struct x86_xlate *t)
{
	return emit_exchange(t, cmpxchg_ops);
}

static bool emit_cmpxchg_pair(struct x86_xlate *t)
{
	static const x86_op_fn ops[2][LOCK_FORMS] = {
		{NULL, cmpxchg8b_s, cmpxchg8b_f, cmpxchg8b_s_lock, cmpxchg8b_f_lock},
		{NULL, cmpxchg16b_s, cmpxchg16b_f, cmpxchg16b_s_lock, cmpxchg16b_f_lock}};

	emit_memory(t, ops[t->insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B], &t->op[0]);
	return true;
}

#define LEAF1_ECX_CX16 (1u << 13)

void x86_register_atomic(x86_emit_fn *table)
{
	struct x86_features f;

	x86_features(&f);
	table[ZYDIS_MNEMONIC_XCHG] = emit_xchg;
	table[ZYDIS_MNEMONIC_XADD] = emit_xadd;
	table[ZYDIS_MNEMONIC_CMPXCHG] = emit_cmpxchg;
	table[ZYDIS_MNEMONIC_CMPXCHG8B] = emit_cmpxchg_pair;
	if (f.leaf1_ecx & LEAF1_ECX_CX16)
		table[ZYDIS_MNEMONIC_CMPXCHG16B] = emit_cmpxchg_pair;
}

static void recipe_exchange(
	struct x86_recipes *r, const x86_op_fn ops[4][LOCK_FORMS], enum x86_recipe_kind kind)
{
	for (unsigned i = 0; i < 4; i++) {
		struct x86_recipe recipe = {
			.kind = (uint8_t)kind, .form = X86_FORM_MR, .size = (uint8_t)(1u << i)};

		x86_recipe_row(r, ops[i], X86_FORM_RR, X86_FORM_MR, recipe);
		recipe.lock = true;
		x86_recipe_add(r, ops[i][FORM_SIMPLE_LOCK], recipe);
		recipe.full = true;
		x86_recipe_add(r, ops[i][FORM_FULL_LOCK], recipe);
	}
}

void x86_recipes_atomic(struct x86_recipes *r)
{
	recipe_exchange(r, xchg_ops, X86_DO_XCHG);
	recipe_exchange(r, xadd_ops, X86_DO_XADD);
	recipe_exchange(r, cmpxchg_ops, X86_DO_CMPXCHG);
}
