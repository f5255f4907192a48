/*
 * syscall.c - fast system calls, SWAPGS, and the instructions that move FS and GS bases.
 *
 * These read no descriptors: CS and SS become flat segments of fixed attributes.
 *
 * Facts: Intel SDM vol. 2 under each instruction (SYSCALL and SYSRET only in 64-bit mode, as on
 * Intel's processors); vol. 3A, 5.8.7 and 5.8.8.
 */
#include "x86/system.h"
#include "x86/translate.h"

#define TYPE_CODE 0xb /* execute, read, accessed */
#define TYPE_DATA 0x3 /* read, write, accessed */

static struct x86_segment flat_segment(
	unsigned selector, unsigned type, unsigned dpl, unsigned size)
{
	return (struct x86_segment){
		.limit = 0xffffffff,
		.selector = (uint16_t)selector,
		.attributes =
			(uint16_t)(type | X86_SEG_S | dpl << 5 | X86_SEG_P | size | X86_SEG_G),
	};
}

/* CS from @cs, SS from @ss, both at @cpl; @in_long: 64-bit code. */
static void enter_level(
	struct x86_vcpu *c, unsigned cs, unsigned ss, unsigned cpl, bool in_long, uint32_t flags)
{
	c->s.seg[X86_CS] =
		flat_segment((cs & 0xfffc) | cpl, TYPE_CODE, cpl, in_long ? X86_SEG_L : X86_SEG_DB);
	c->s.seg[X86_SS] = flat_segment((ss & 0xfffc) | cpl, TYPE_DATA, cpl, X86_SEG_DB);
	c->s.cpl = (uint8_t)cpl;
	x86_set_flags(c, flags);
	x86_update_mode(c);
}

/* ---- SYSCALL, SYSRET ----------------------------------------------------------------------- */

#define SYSRET_FLAGS 0x3c7fd7u

X86_OP(op_syscall)
{
	uint32_t flags = x86_flags(c) & ~X86_FLAG_RF;
	unsigned cs = (c->s.star >> 32) & 0xffff;

	if (unlikely(!(c->s.efer & X86_EFER_SCE)))
		x86_raise(c, o, X86_VEC_UD);
	c->s.gpr[X86_RCX] = x86_op_next_rip(c, o);
	c->s.gpr[X86_R11] = flags;
	enter_level(c, cs & ~3u, (cs & ~3u) + 8, 0, true, flags & ~(uint32_t)c->s.sfmask);
	return x86_chain_at(c, o, c->s.lstar);
}

/* o->x: 1 when returning to 64-bit code. */
X86_OP(op_sysret)
{
	uint32_t flags = (uint32_t)c->s.gpr[X86_R11] & SYSRET_FLAGS;
	unsigned base = c->s.star >> 48;
	uint64_t rip = c->s.gpr[X86_RCX];

	if (unlikely(!(c->s.efer & X86_EFER_SCE)))
		x86_raise(c, o, X86_VEC_UD);
	x86_require_cpl0(c, o);
	if (!o->x)
		rip &= 0xffffffff;
	else if (unlikely(!x86_canonical(rip)))
		x86_raise_gp(c, o, 0);
	enter_level(c, o->x ? base + 16 : base, base + 8, 3, o->x, flags);
	return x86_chain_at(c, o, rip);
}

static bool emit_syscall(struct x86_xlate *t)
{
	if (!(t->mode & X86_MODE_64))
		return false;
	x86_emit(t, op_syscall);
	t->end = true;
	return true;
}

static bool emit_sysret(struct x86_xlate *t)
{
	if (!(t->mode & X86_MODE_64))
		return false;
	x86_emit(t, op_sysret)->x = t->insn.operand_width == 64;
	t->end = true;
	return true;
}

/* ---- SYSENTER, SYSEXIT --------------------------------------------------------------------- */

static void require_sysenter(struct x86_vcpu *c, const struct x86_op *o)
{
	if (!(c->s.cr0 & X86_CR0_PE) || !(c->s.sysenter_cs & 0xfffc))
		x86_raise_gp(c, o, 0);
}

X86_OP(op_sysenter)
{
	uint32_t flags = x86_flags(c) & ~(X86_FLAG_VM | X86_FLAG_IF | X86_FLAG_RF);
	uint64_t mask = x86_in_long(c) ? ~0ul : 0xfffffffful;
	unsigned cs = c->s.sysenter_cs & 0xfffc;

	require_sysenter(c, o);
	c->s.gpr[X86_RSP] = c->s.sysenter_esp & mask;
	enter_level(c, cs, cs + 8, 0, x86_in_long(c), flags);
	return x86_chain_at(c, o, c->s.sysenter_eip & mask);
}

X86_OP(op_sysexit)
{
	uint64_t rip = c->s.gpr[X86_RDX], rsp = c->s.gpr[X86_RCX];
	unsigned cs = (c->s.sysenter_cs & 0xfffc) + (o->x ? 32 : 16);

	require_sysenter(c, o);
	x86_require_cpl0(c, o);
	if (o->x && (!x86_canonical(rip) || !x86_canonical(rsp)))
		x86_raise_gp(c, o, 0);
	if (!o->x) {
		rip &= 0xffffffff;
		rsp &= 0xffffffff;
	}
	c->s.gpr[X86_RSP] = rsp;
	enter_level(c, cs, cs + 8, 3, o->x, x86_flags(c));
	return x86_chain_at(c, o, rip);
}

static bool emit_sysenter(struct x86_xlate *t)
{
	x86_emit(t, op_sysenter);
	t->end = true;
	return true;
}

static bool emit_sysexit(struct x86_xlate *t)
{
	x86_emit(t, op_sysexit)->x = t->insn.operand_width == 64;
	t->end = true;
	return true;
}

/* ---- SWAPGS, RDFSBASE and its like --------------------------------------------------------- */

X86_OP(op_swapgs)
{
	uint64_t base = c->s.kernel_gs_base;

	x86_require_cpl0(c, o);
	c->s.kernel_gs_base = c->s.seg[X86_GS].base;
	c->s.seg[X86_GS].base = base;
	c->seg_base[X86_GS] = base;
	NEXT;
}

static bool emit_swapgs(struct x86_xlate *t)
{
	if (!(t->mode & X86_MODE_64))
		return false;
	x86_emit(t, op_swapgs);
	return true;
}

static inline void require_fsgsbase(struct x86_vcpu *c, const struct x86_op *o)
{
	if (unlikely(!(c->s.cr4 & X86_CR4_FSGSBASE)))
		x86_raise(c, o, X86_VEC_UD);
}

/* o->x: FS or GS; o->imm: mask of the operand's width. */
X86_OP(op_read_base)
{
	require_fsgsbase(c, o);
	X86_REG(c, o->r0, uint64_t) = c->s.seg[o->x].base & o->imm;
	NEXT;
}

X86_OP(op_write_base)
{
	uint64_t base = X86_REG(c, o->r0, uint64_t) & o->imm;

	require_fsgsbase(c, o);
	if (unlikely(!x86_canonical(base)))
		x86_raise_gp(c, o, 0);
	c->s.seg[o->x].base = base;
	c->seg_base[o->x] = base;
	NEXT;
}

static bool emit_base(struct x86_xlate *t)
{
	ZydisMnemonic m = t->insn.mnemonic;
	bool read = m == ZYDIS_MNEMONIC_RDFSBASE || m == ZYDIS_MNEMONIC_RDGSBASE;
	struct x86_op *o;

	if (!(t->mode & X86_MODE_64))
		return false;
	o = x86_emit(t, read ? op_read_base : op_write_base);
	o->x = m == ZYDIS_MNEMONIC_RDFSBASE || m == ZYDIS_MNEMONIC_WRFSBASE ? X86_FS : X86_GS;
	o->r0 = x86_reg(t->op[0].reg.value);
	o->imm = t->op[0].size == 64 ? ~0ul : 0xfffffffful;
	return true;
}

void x86_register_syscall(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_SYSCALL] = emit_syscall;
	table[ZYDIS_MNEMONIC_SYSRET] = emit_sysret;
	table[ZYDIS_MNEMONIC_SYSENTER] = emit_sysenter;
	table[ZYDIS_MNEMONIC_SYSEXIT] = emit_sysexit;
	table[ZYDIS_MNEMONIC_SWAPGS] = emit_swapgs;
	table[ZYDIS_MNEMONIC_RDFSBASE] = emit_base;
	table[ZYDIS_MNEMONIC_RDGSBASE] = emit_base;
	table[ZYDIS_MNEMONIC_WRFSBASE] = emit_base;
	table[ZYDIS_MNEMONIC_WRGSBASE] = emit_base;
}
