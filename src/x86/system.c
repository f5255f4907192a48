/*
 * system.c - interrupt and alignment flags, HLT, CPUID, the time stamp counter, random numbers,
 * hypercalls, cache invalidation.
 *
 * Facts: Intel SDM vol. 2 under each instruction; vol. 3A, 6.8 (masking interrupts).
 */
#include "x86/system.h"
#include "x86/translate.h"

#include <sys/random.h>

static bool emit_plain(struct x86_xlate *t, x86_op_fn fn, bool end)
{
	x86_emit(t, fn);
	t->end = end;
	return true;
}

/* ---- CLI, STI, STAC, CLAC ------------------------------------------------------------------ */

static inline void require_iopl(struct x86_vcpu *c, const struct x86_op *o)
{
	if (unlikely(c->s.cpl > x86_iopl(c)))
		x86_raise_gp(c, o, 0);
}

X86_OP(op_cli)
{
	require_iopl(c, o);
	c->rflags &= ~X86_FLAG_IF;
	NEXT;
}

X86_OP(op_sti)
{
	require_iopl(c, o);
	if (!(c->rflags & X86_FLAG_IF))
		x86_set_flags(c, x86_flags(c) | X86_FLAG_IF);
	NEXT;
}

/* At CPL 0, where AC does nothing but let the supervisor at user pages. */
static inline void set_ac(struct x86_vcpu *c, bool ac)
{
	c->rflags = ac ? c->rflags | X86_FLAG_AC : c->rflags & ~X86_FLAG_AC;
	if (c->tlb_kind == X86_TLB_NONE)
		return;
	c->tlb_kind = ac || !(c->s.cr4 & X86_CR4_SMAP) ? X86_TLB_KERNEL_AC : X86_TLB_KERNEL;
	x86_tlb_select(c);
}

X86_OP(op_stac)
{
	if (unlikely(c->s.cpl))
		x86_raise(c, o, X86_VEC_UD);
	set_ac(c, true);
	NEXT;
}

X86_OP(op_clac)
{
	if (unlikely(c->s.cpl))
		x86_raise(c, o, X86_VEC_UD);
	set_ac(c, false);
	NEXT;
}

static bool emit_cli(struct x86_xlate *t)
{
	return emit_plain(t, op_cli, false);
}

/* The translator keeps the next instruction in the block: nothing comes between the two. */
static bool emit_sti(struct x86_xlate *t)
{
	t->shadow = true;
	return emit_plain(t, op_sti, false);
}

static bool emit_stac(struct x86_xlate *t)
{
	return emit_plain(t, op_stac, false);
}

static bool emit_clac(struct x86_xlate *t)
{
	return emit_plain(t, op_clac, false);
}

/* ---- HLT, WBINVD, INVD --------------------------------------------------------------------- */

X86_OP(op_hlt)
{
	x86_require_cpl0(c, o);
	c->instructions += o->n;
	c->s.rip = x86_op_next_rip(c, o);
	x86_leave(c, NULL, X86_EXIT_HALT);
}

static bool emit_hlt(struct x86_xlate *t)
{
	return emit_plain(t, op_hlt, true);
}

/* The host's caches are coherent: only the privilege matters. */
X86_OP(op_cache)
{
	x86_require_cpl0(c, o);
	NEXT;
}

static bool emit_cache(struct x86_xlate *t)
{
	return emit_plain(t, op_cache, false);
}

/* ---- CPUID, VMCALL ------------------------------------------------------------------------- */

X86_OP(op_cpuid)
{
	uint64_t *gpr = c->s.gpr;
	uint32_t out[4];

	x86_sync(c, o);
	if (!c->ops->cpuid || c->ops->cpuid(c->ctx, (uint32_t)gpr[X86_RAX], (uint32_t)gpr[X86_RCX],
				      out) != X86_DONE)
		x86_leave(c, o, X86_EXIT_CPUID);
	gpr[X86_RAX] = out[0];
	gpr[X86_RBX] = out[1];
	gpr[X86_RCX] = out[2];
	gpr[X86_RDX] = out[3];
	x86_end_here(c, o);
}

static bool emit_cpuid(struct x86_xlate *t)
{
	return emit_plain(t, op_cpuid, true);
}

X86_OP(op_hypercall)
{
	x86_sync(c, o);
	switch (c->ops->hypercall ? c->ops->hypercall(c->ctx) : X86_FAULT) {
	case X86_DONE:
		x86_end_here(c, o);
		return;
	case X86_FAULT:
		x86_raise(c, o, X86_VEC_UD);
	case X86_EXIT:
		x86_leave(c, o, X86_EXIT_HYPERCALL);
	}
}

static bool emit_hypercall(struct x86_xlate *t)
{
	return emit_plain(t, op_hypercall, true);
}

/* ---- RDTSC, RDTSCP, RDPMC, RDPID ----------------------------------------------------------- */

static inline void read_tsc(struct x86_vcpu *c, const struct x86_op *o)
{
	uint64_t tsc;

	if (unlikely(c->s.cpl && (c->s.cr4 & X86_CR4_TSD)))
		x86_raise_gp(c, o, 0);
	tsc = x86_tsc(c);
	c->s.gpr[X86_RAX] = (uint32_t)tsc;
	c->s.gpr[X86_RDX] = tsc >> 32;
}

X86_OP(op_rdtsc)
{
	read_tsc(c, o);
	NEXT;
}

X86_OP(op_rdtscp)
{
	__builtin_ia32_lfence(); /* earlier loads come first */
	read_tsc(c, o);
	c->s.gpr[X86_RCX] = (uint32_t)c->s.tsc_aux;
	NEXT;
}

X86_OP(op_rdpid)
{
	X86_REG(c, o->r0, uint64_t) = c->s.tsc_aux;
	NEXT;
}

/* There are no performance counters to read. */
X86_OP(op_rdpmc)
{
	x86_raise_gp(c, o, 0);
}

static bool emit_rdtsc(struct x86_xlate *t)
{
	return emit_plain(t, op_rdtsc, false);
}

static bool emit_rdtscp(struct x86_xlate *t)
{
	return emit_plain(t, op_rdtscp, false);
}

static bool emit_rdpid(struct x86_xlate *t)
{
	x86_emit(t, op_rdpid)->r0 = x86_reg(t->op[0].reg.value);
	return true;
}

static bool emit_rdpmc(struct x86_xlate *t)
{
	return emit_plain(t, op_rdpmc, true);
}

/* ---- RDRAND, RDSEED ------------------------------------------------------------------------ */

/* The host kernel's generator is as good as either instruction promises. CF: there was a number. */
__attribute__((noinline)) static void random_number(
	struct x86_vcpu *c, uint8_t reg, unsigned size)
{
	uint64_t value = 0;
	bool ok = getrandom(&value, size, GRND_NONBLOCK) == (ssize_t)size;

	if (!ok)
		value = 0;
	if (size == 2)
		X86_REG(c, reg, uint16_t) = (uint16_t)value;
	else
		X86_REG(c, reg, uint64_t) = value;
	x86_set_arith(c, ok ? X86_FLAG_CF : 0);
}

X86_OP(op_random)
{
	random_number(c, o->r0, o->x);
	NEXT;
}

static bool emit_random(struct x86_xlate *t)
{
	struct x86_op *o = x86_emit(t, op_random);

	o->r0 = x86_reg(t->op[0].reg.value);
	o->x = (uint8_t)(t->op[0].size / 8);
	return true;
}

void x86_register_system(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_CLI] = emit_cli;
	table[ZYDIS_MNEMONIC_STI] = emit_sti;
	table[ZYDIS_MNEMONIC_STAC] = emit_stac;
	table[ZYDIS_MNEMONIC_CLAC] = emit_clac;
	table[ZYDIS_MNEMONIC_HLT] = emit_hlt;
	table[ZYDIS_MNEMONIC_WBINVD] = emit_cache;
	table[ZYDIS_MNEMONIC_INVD] = emit_cache;
	table[ZYDIS_MNEMONIC_CPUID] = emit_cpuid;
	table[ZYDIS_MNEMONIC_VMCALL] = emit_hypercall;
	table[ZYDIS_MNEMONIC_VMMCALL] = emit_hypercall;
	table[ZYDIS_MNEMONIC_RDTSC] = emit_rdtsc;
	table[ZYDIS_MNEMONIC_RDTSCP] = emit_rdtscp;
	table[ZYDIS_MNEMONIC_RDPID] = emit_rdpid;
	table[ZYDIS_MNEMONIC_RDPMC] = emit_rdpmc;
	table[ZYDIS_MNEMONIC_RDRAND] = emit_random;
	table[ZYDIS_MNEMONIC_RDSEED] = emit_random;
}
