/*
 * control.c - control and debug registers, and what drops translations.
 *
 * Facts: Intel SDM vol. 3A, 2.5 (control registers), 9.8.5 (entering and leaving long mode), 4.10.4
 * (what each write invalidates); vol. 3B, 17.2 (debug registers); vol. 2 under each instruction.
 */
#include "x86/system.h"
#include "x86/translate.h"

/* ---- CR0 ----------------------------------------------------------------------------------- */

#define CR0_WRITABLE                                                                               \
	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_NE | X86_CR0_WP |             \
		X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)

/* Bits of PAE's page directory pointers that must be zero. */
#define PDPTE_RESERVED (0x1e6ul | ~((1ul << X86_PHYSICAL_BITS) - 1))

bool x86_pdptes_valid(struct x86_vcpu *c, uint64_t cr3)
{
	const uint64_t *entry = x86_machine_host(c->machine, cr3 & 0xffffffe0, NULL, NULL);

	for (unsigned i = 0; entry && i < 4; i++) {
		uint64_t e = __atomic_load_n(&entry[i], __ATOMIC_RELAXED);

		if ((e & 1) && (e & PDPTE_RESERVED))
			return false;
	}
	return true;
}

/* The new EFER when paging is turned on; raises what that raises. */
static uint64_t paging_on(struct x86_vcpu *c, const struct x86_op *o)
{
	uint64_t efer = c->s.efer;

	if (!(efer & X86_EFER_LME)) {
		if ((c->s.cr4 & X86_CR4_PAE) && !x86_pdptes_valid(c, c->s.cr3))
			x86_raise_gp(c, o, 0);
		return efer;
	}
	if (!(c->s.cr4 & X86_CR4_PAE) || (c->s.seg[X86_CS].attributes & X86_SEG_L) ||
		!(c->s.seg[X86_TR].attributes & 8))
		x86_raise_gp(c, o, 0);
	return efer | X86_EFER_LMA;
}

static void write_cr0(struct x86_vcpu *c, const struct x86_op *o, uint64_t value)
{
	uint64_t old = c->s.cr0, efer = c->s.efer;

	if (value >> 32)
		x86_raise_gp(c, o, 0);
	value = (value & CR0_WRITABLE) | X86_CR0_ET;
	if ((value & (X86_CR0_PG | X86_CR0_PE)) == X86_CR0_PG ||
		(value & (X86_CR0_NW | X86_CR0_CD)) == X86_CR0_NW)
		x86_raise_gp(c, o, 0);
	if (value & ~old & X86_CR0_PG)
		efer = paging_on(c, o);
	if (old & ~value & X86_CR0_PG) {
		if ((c->mode & X86_MODE_64) || (c->s.cr4 & X86_CR4_PCIDE))
			x86_raise_gp(c, o, 0);
		efer &= ~X86_EFER_LMA;
	}
	c->s.cr0 = value;
	c->s.efer = efer;
	if ((old ^ value) & (X86_CR0_PG | X86_CR0_PE | X86_CR0_WP))
		x86_tlb_flush_all(c);
	x86_update_mode(c);
}

/* ---- CR3, CR4, CR8 ------------------------------------------------------------------------- */

#define CR3_NO_FLUSH (1ul << 63)

static void write_cr3(struct x86_vcpu *c, const struct x86_op *o, uint64_t value)
{
	bool pcide = c->s.cr4 & X86_CR4_PCIDE, keep = false;

	if (x86_in_long(c)) {
		keep = pcide && (value & CR3_NO_FLUSH);
		if (pcide)
			value &= ~CR3_NO_FLUSH;
		if (value >> X86_PHYSICAL_BITS)
			x86_raise_gp(c, o, 0);
	} else if ((c->s.cr0 & X86_CR0_PG) && (c->s.cr4 & X86_CR4_PAE) &&
		   !x86_pdptes_valid(c, value)) {
		x86_raise_gp(c, o, 0);
	}
	c->s.cr3 = value;
	x86_tlb_switch(c, keep);
}

/* What is reported by x86_features(); setting anything else faults. */
#define CR4_VALID                                                                                  \
	(X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE |        \
		X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_UMIP |                 \
		X86_CR4_FSGSBASE | X86_CR4_PCIDE | X86_CR4_OSXSAVE | X86_CR4_SMEP | X86_CR4_SMAP)
#define CR4_TRANSLATION                                                                            \
	(X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PCIDE | X86_CR4_SMEP | X86_CR4_SMAP)

static void write_cr4(struct x86_vcpu *c, const struct x86_op *o, uint64_t value)
{
	uint64_t old = c->s.cr4, changed = old ^ value;

	if (value & ~CR4_VALID)
		x86_raise_gp(c, o, 0);
	if (x86_in_long(c) && !(value & X86_CR4_PAE))
		x86_raise_gp(c, o, 0);
	if ((value & ~old & X86_CR4_PCIDE) && (!x86_in_long(c) || (c->s.cr3 & 0xfff)))
		x86_raise_gp(c, o, 0);
	if (!x86_in_long(c) && (c->s.cr0 & X86_CR0_PG) && (value & X86_CR4_PAE) &&
		(changed & (X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE | X86_CR4_SMEP)) &&
		!x86_pdptes_valid(c, c->s.cr3))
		x86_raise_gp(c, o, 0);
	c->s.cr4 = value;
	if (changed & CR4_TRANSLATION)
		x86_tlb_flush_all(c);
	x86_update_mode(c);
}

static void write_cr8(struct x86_vcpu *c, const struct x86_op *o, uint64_t value)
{
	if (value > 15)
		x86_raise_gp(c, o, 0);
	x86_sync(c, o);
	if (c->ops->write_cr8)
		c->ops->write_cr8(c->ctx, value);
}

/* o->x: which; o->r0: the general register. */
X86_OP(op_write_control)
{
	uint64_t value = X86_REG(c, o->r0, uint64_t);

	x86_require_cpl0(c, o);
	if (!(c->mode & X86_MODE_64))
		value &= 0xffffffff;
	switch (o->x) {
	case 0:
		write_cr0(c, o, value);
		break;
	case 2:
		c->s.cr2 = value;
		break;
	case 3:
		write_cr3(c, o, value);
		break;
	case 4:
		write_cr4(c, o, value);
		break;
	case 8:
		write_cr8(c, o, value);
		break;
	}
	x86_end_here(c, o);
}

static uint64_t read_control(struct x86_vcpu *c, const struct x86_op *o)
{
	switch (o->x) {
	case 0:
		return c->s.cr0;
	case 2:
		return c->s.cr2;
	case 3:
		return c->s.cr3;
	case 4:
		return c->s.cr4;
	default: /* 8 */
		x86_sync(c, o);
		return c->ops->read_cr8 ? c->ops->read_cr8(c->ctx) : 0;
	}
}

X86_OP(op_read_control)
{
	x86_require_cpl0(c, o);
	X86_REG(c, o->r0, uint64_t) = read_control(c, o);
	NEXT;
}

bool x86_emit_mov_control(struct x86_xlate *t)
{
	bool write = ZydisRegisterGetClass(t->op[0].reg.value) == ZYDIS_REGCLASS_CONTROL;
	unsigned which = (unsigned)(t->op[!write].reg.value - ZYDIS_REGISTER_CR0);
	struct x86_op *o;

	if (which > 8 || !(1u << which & 0x11d))
		return false;
	o = x86_emit(t, write ? op_write_control : op_read_control);
	o->x = (uint8_t)which;
	o->r0 = x86_reg(t->op[write].reg.value);
	t->end = write;
	return true;
}

/* ---- LMSW, SMSW, CLTS ---------------------------------------------------------------------- */

X86_OP(op_lmsw)
{
	uint64_t word = X86_REG(c, o->r0, uint16_t);

	x86_require_cpl0(c, o);
	/* PE can be set, not cleared. */
	write_cr0(c, o, (c->s.cr0 & ~0xeul) | (word & 0xf));
	x86_end_here(c, o);
}

static bool emit_lmsw(struct x86_xlate *t)
{
	uint8_t source = x86_emit_word_source(t, &t->op[0]);

	x86_emit(t, op_lmsw)->r0 = source;
	t->end = true;
	return true;
}

X86_OP(op_smsw)
{
	if (c->s.cpl && (c->s.cr4 & X86_CR4_UMIP))
		x86_raise_gp(c, o, 0);
	X86_REG(c, X86_R_T0, uint64_t) = c->s.cr0;
	NEXT;
}

static bool emit_smsw(struct x86_xlate *t)
{
	x86_emit_word_result(t, op_smsw, 0);
	return true;
}

X86_OP(op_clts)
{
	x86_require_cpl0(c, o);
	c->s.cr0 &= ~X86_CR0_TS;
	x86_update_mode(c);
	x86_end_here(c, o);
}

static bool emit_clts(struct x86_xlate *t)
{
	x86_emit(t, op_clts);
	t->end = true;
	return true;
}

/* ---- INVLPG, INVPCID ----------------------------------------------------------------------- */

X86_OP(op_invlpg)
{
	uint64_t va = X86_REG(c, X86_R_EA, uint64_t);

	x86_require_cpl0(c, o);
	if (x86_canonical(va))
		x86_tlb_flush_page(c, va);
	x86_end_here(c, o);
}

static bool emit_invlpg(struct x86_xlate *t)
{
	x86_emit_ea(t, &t->op[0], 1, false, true);
	x86_emit(t, op_invlpg);
	t->end = true;
	return true;
}

static void invalidate_address(
	struct x86_vcpu *c, const struct x86_op *o, unsigned pcid, uint64_t va)
{
	bool pcide = c->s.cr4 & X86_CR4_PCIDE;

	if ((!pcide && pcid) || !x86_canonical(va))
		x86_raise_gp(c, o, 0);
	if (!pcide || pcid == (c->s.cr3 & 0xfff))
		x86_tlb_flush_page(c, va);
	else
		x86_tlb_flush_pcid(c, pcid); /* more than asked for */
}

/* o->r0: the type; the descriptor is at R_EA. */
X86_OP(op_invpcid)
{
	uint64_t type = X86_REG(c, o->r0, uint64_t), desc[2];

	x86_require_cpl0(c, o);
	if (!(c->mode & X86_MODE_64))
		type &= 0xffffffff;
	x86_read(c, o, X86_REG(c, X86_R_EA, uint64_t), desc, sizeof(desc));
	if (type > 3 || desc[0] >> 12)
		x86_raise_gp(c, o, 0);
	switch (type) {
	case 0:
		invalidate_address(c, o, desc[0] & 0xfff, desc[1]);
		break;
	case 1:
		if (!(c->s.cr4 & X86_CR4_PCIDE) && desc[0])
			x86_raise_gp(c, o, 0);
		x86_tlb_flush_pcid(c, desc[0] & 0xfff);
		break;
	default: /* every context, with and without global pages */
		x86_tlb_flush_all(c);
		break;
	}
	x86_end_here(c, o);
}

static bool emit_invpcid(struct x86_xlate *t)
{
	x86_emit_ea(t, &t->op[1], 16, false, true);
	x86_emit(t, op_invpcid)->r0 = x86_reg(t->op[0].reg.value);
	t->end = true;
	return true;
}

/* ---- Debug registers ----------------------------------------------------------------------- */

/* Checks of every access to a debug register; DR4 and DR5 are DR6 and DR7 unless CR4.DE. */
static unsigned check_debug(struct x86_vcpu *c, const struct x86_op *o)
{
	unsigned which = o->x;

	if (which == 4 || which == 5) {
		if (c->s.cr4 & X86_CR4_DE)
			x86_raise(c, o, X86_VEC_UD);
		which += 2;
	}
	x86_require_cpl0(c, o);
	if (c->s.dr7 & X86_DR7_GD)
		x86_raise_debug(c, o, X86_DR6_BD);
	return which;
}

X86_OP(op_write_debug)
{
	uint64_t value = X86_REG(c, o->r0, uint64_t);
	unsigned which = check_debug(c, o);

	if (!(c->mode & X86_MODE_64))
		value &= 0xffffffff;
	if (which >= 6 && value >> 32)
		x86_raise_gp(c, o, 0);
	if (which == 6)
		c->s.dr6 = (value & 0xe00f) | X86_DR6_FIXED;
	else if (which == 7)
		c->s.dr7 = (value & 0xffff23ff) | X86_DR7_FIXED;
	else
		c->s.dr[which] = value;
	x86_update_mode(c);
	x86_end_here(c, o);
}

X86_OP(op_read_debug)
{
	unsigned which = check_debug(c, o);

	X86_REG(c, o->r0, uint64_t) = which == 6   ? c->s.dr6
				      : which == 7 ? c->s.dr7
						   : c->s.dr[which];
	NEXT;
}

bool x86_emit_mov_debug(struct x86_xlate *t)
{
	bool write = ZydisRegisterGetClass(t->op[0].reg.value) == ZYDIS_REGCLASS_DEBUG;
	unsigned which = (unsigned)(t->op[!write].reg.value - ZYDIS_REGISTER_DR0);
	struct x86_op *o;

	if (which > 7)
		return false;
	o = x86_emit(t, write ? op_write_debug : op_read_debug);
	o->x = (uint8_t)which;
	o->r0 = x86_reg(t->op[write].reg.value);
	t->end = write;
	return true;
}

void x86_register_control(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_LMSW] = emit_lmsw;
	table[ZYDIS_MNEMONIC_SMSW] = emit_smsw;
	table[ZYDIS_MNEMONIC_CLTS] = emit_clts;
	table[ZYDIS_MNEMONIC_INVLPG] = emit_invlpg;
	table[ZYDIS_MNEMONIC_INVPCID] = emit_invpcid;
}
