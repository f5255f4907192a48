/*
 * family.h - what the integer instruction families share: writes to a register by size, the
 * sixteen conditions, comparisons that take a branch with them, and the stack.
 *
 * Facts: Intel SDM vol. 1, 3.4.1.1 (32-bit results clear the upper half), B.1.4.7 (conditions).
 */
#ifndef PARTITA_X86_FAMILY_H
#define PARTITA_X86_FAMILY_H

#include "x86/mem.h"
#include "x86/translate.h"

/* ---- Registers ------------------------------------------------------------------------------- */

static inline void x86_put8(void *r, uint8_t v)
{
	*(uint8_t *)r = v;
}

static inline void x86_put16(void *r, uint16_t v)
{
	*(uint16_t *)r = v;
}

static inline void x86_put32(void *r, uint32_t v)
{
	*(uint64_t *)r = v;
}

static inline void x86_put64(void *r, uint64_t v)
{
	*(uint64_t *)r = v;
}

static inline void x86_put(void *r, unsigned size, uint64_t v)
{
	if (size == 8)
		x86_put64(r, v);
	else if (size == 4)
		x86_put32(r, (uint32_t)v);
	else
		x86_put16(r, (uint16_t)v);
}

/* Guest register @r, and the operation's immediate, as operands of @type. */
#define X86_REG_PTR(c, r) ((void *)((char *)(c) + (r)))
#define X86_IMM(o, type)  (*(const type *)&(o)->imm)

/* ---- Conditions ------------------------------------------------------------------------------ */

/* SF differs from OF. */
#define X86_FL_LESS(fl) ((((fl) >> 15) ^ (fl)) & 1u)

#define X86_CC_o(fl)   (((fl) & X86_FL_OF) != 0)
#define X86_CC_no(fl)  (!X86_CC_o(fl))
#define X86_CC_b(fl)   (((fl) & X86_FL_CF) != 0)
#define X86_CC_nb(fl)  (!X86_CC_b(fl))
#define X86_CC_z(fl)   (((fl) & X86_FL_ZF) != 0)
#define X86_CC_nz(fl)  (!X86_CC_z(fl))
#define X86_CC_be(fl)  (((fl) & (X86_FL_CF | X86_FL_ZF)) != 0)
#define X86_CC_nbe(fl) (!X86_CC_be(fl))
#define X86_CC_s(fl)   (((fl) & X86_FL_SF) != 0)
#define X86_CC_ns(fl)  (!X86_CC_s(fl))
#define X86_CC_p(fl)   (((fl) & X86_FL_PF) != 0)
#define X86_CC_np(fl)  (!X86_CC_p(fl))
#define X86_CC_l(fl)   (X86_FL_LESS(fl) != 0)
#define X86_CC_nl(fl)  (!X86_CC_l(fl))
#define X86_CC_le(fl)  ((X86_FL_LESS(fl) | ((fl) & X86_FL_ZF)) != 0)
#define X86_CC_nle(fl) (!X86_CC_le(fl))

/*
 * The conditions, in the order of their encoding: name here, name in Zydis, further arguments.
 * Those that code asks for after a comparison come in two groups.
 */
#define X86_CONDITIONS_BELOW(X, ...)                                                               \
	X(b, B, ##__VA_ARGS__)                                                                     \
	X(nb, NB, ##__VA_ARGS__)                                                                   \
	X(z, Z, ##__VA_ARGS__)                                                                     \
	X(nz, NZ, ##__VA_ARGS__)                                                                   \
	X(be, BE, ##__VA_ARGS__)                                                                   \
	X(nbe, NBE, ##__VA_ARGS__)                                                                 \
	X(s, S, ##__VA_ARGS__)                                                                     \
	X(ns, NS, ##__VA_ARGS__)
#define X86_CONDITIONS_LESS(X, ...)                                                                \
	X(l, L, ##__VA_ARGS__)                                                                     \
	X(nl, NL, ##__VA_ARGS__)                                                                   \
	X(le, LE, ##__VA_ARGS__)                                                                   \
	X(nle, NLE, ##__VA_ARGS__)
#define X86_CONDITIONS(X, ...)                                                                     \
	X(o, O, ##__VA_ARGS__)                                                                     \
	X(no, NO, ##__VA_ARGS__)                                                                   \
	X86_CONDITIONS_BELOW(X, ##__VA_ARGS__)                                                     \
	X(p, P, ##__VA_ARGS__)                                                                     \
	X(np, NP, ##__VA_ARGS__)                                                                   \
	X86_CONDITIONS_LESS(X, ##__VA_ARGS__)

enum x86_condition {
#define X(cc, CC) X86_COND_##CC,
	X86_CONDITIONS(X)
#undef X
	X86_COND_COUNT
};

/* ---- Between the files ----------------------------------------------------------------------- */

void x86_register_compare(x86_emit_fn *table);

/*
 * The operations of an instruction with a destination and a source, in one size: r register,
 * i immediate, m memory; [full address] and, where LOCK may precede, [locked][full address].
 */
struct x86_binary_forms {
	x86_op_fn rr, ri;
	x86_op_fn rm[2];
	x86_op_fn mr[2][2], mi[2][2];
};
bool x86_emit_binary(struct x86_xlate *t, const struct x86_binary_forms sizes[4]);

/*
 * x86_compare_fused - the operation that does what @prev does, a comparison, and then itself takes
 * the branch of the LINK operation that follows it (o + 1) when @cond holds, or goes on behind it
 * (o + 2). NULL when @prev is no comparison.
 */
x86_op_fn x86_compare_fused(const struct x86_op *prev, enum x86_condition cond);

/*
 * The stack in any mode, with operands of @size 2, 4 or 8 bytes: the slow paths of what in 64-bit
 * mode is usually one store or load.
 */
void x86_stack_push(struct x86_vcpu *c, const struct x86_op *o, unsigned size, uint64_t value);
/* What a pop would read; the stack pointer stays until x86_stack_release(). */
uint64_t x86_stack_top(struct x86_vcpu *c, const struct x86_op *o, unsigned size);
/* Add @bytes to the stack pointer. */
void x86_stack_release(struct x86_vcpu *c, unsigned bytes);

#endif
