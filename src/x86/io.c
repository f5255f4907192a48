/*
 * io.c - IN, OUT, INS, OUTS: permission, then an exit; whoever runs the vcpu does the transfer.
 *
 * Facts: Intel SDM vol. 1, 18.5 (IOPL and the I/O permission bit map); vol. 2 under each
 * instruction.
 */
#include "x86/system.h"
#include "x86/translate.h"

#define TSS_IO_MAP_BASE 102

static void check_permission(
	struct x86_vcpu *c, const struct x86_op *o, uint16_t port, unsigned size)
{
	const struct x86_segment *tr = &c->s.seg[X86_TR];
	uint32_t at, bits;

	if (!(c->s.cr0 & X86_CR0_PE) || (!x86_in_vm86(c) && c->s.cpl <= x86_iopl(c)))
		return;
	if (!(tr->attributes & 8) || tr->limit < TSS_IO_MAP_BASE + 1) /* 16-bit ones have none */
		x86_raise_gp(c, o, 0);
	at = (uint32_t)x86_sys_load(c, o, tr->base + TSS_IO_MAP_BASE, 2) + port / 8;
	if (at + 1 > tr->limit)
		x86_raise_gp(c, o, 0);
	bits = (uint32_t)x86_sys_load(c, o, tr->base + at, 2) >> (port & 7);
	if (bits & ((1u << size) - 1))
		x86_raise_gp(c, o, 0);
}

/*
 * o->imm: port, unless o->r0 says it is in DX; o->x: size; o->scale: 1 for writes; o->seg: 1 for
 * strings, 3 with REP.
 */
static _Noreturn void leave(struct x86_vcpu *c, const struct x86_op *o)
{
	uint16_t port = o->r0 ? (uint16_t)c->s.gpr[X86_RDX] : (uint16_t)o->imm;
	uint64_t trap;

	check_permission(c, o, port, o->x);
	/* The exit completes the instruction, so the trap after it comes with the next run. */
	trap = x86_debug_io(c, port, o->x) | (c->rflags & X86_FLAG_TF ? X86_DR6_BS : 0);
	if (trap && !c->emulating)
		x86_vcpu_inject(c, 3, X86_VEC_DB, false, 0, trap, 0);
	c->exit->io.port = port;
	c->exit->io.size = o->x;
	c->exit->io.write = o->scale;
	c->exit->io.string = o->seg & 1;
	c->exit->io.rep = o->seg & 2;
	c->instructions += o->n;
	x86_leave(c, o, X86_EXIT_IO);
}

X86_OP(op_io)
{
	leave(c, o);
}

/* o->imm: mask of the count register. */
X86_OP(op_io_rep)
{
	if (c->s.gpr[X86_RCX] & o->imm)
		leave(c, o);
	x86_end_here(c, o);
}

static bool emit_io(struct x86_xlate *t)
{
	bool write = t->insn.mnemonic == ZYDIS_MNEMONIC_OUT;
	const ZydisDecodedOperand *port = &t->op[!write], *data = &t->op[write];
	struct x86_op *o = x86_emit(t, op_io);

	o->x = (uint8_t)(data->size / 8);
	o->scale = write;
	o->r0 = x86_is_reg(port);
	o->seg = 0;
	if (x86_is_imm(port))
		o->imm = port->imm.value.u & 0xff;
	t->end = true;
	return true;
}

static unsigned string_size(ZydisMnemonic m)
{
	if (m == ZYDIS_MNEMONIC_INSB || m == ZYDIS_MNEMONIC_OUTSB)
		return 1;
	return m == ZYDIS_MNEMONIC_INSW || m == ZYDIS_MNEMONIC_OUTSW ? 2 : 4;
}

static bool emit_string(struct x86_xlate *t)
{
	ZydisMnemonic m = t->insn.mnemonic;
	bool rep = t->insn.attributes &
		   (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
	struct x86_op *o = x86_emit(t, rep ? op_io_rep : op_io);

	o->x = (uint8_t)string_size(m);
	o->scale =
		m == ZYDIS_MNEMONIC_OUTSB || m == ZYDIS_MNEMONIC_OUTSW || m == ZYDIS_MNEMONIC_OUTSD;
	o->r0 = 1;
	o->seg = rep ? 3 : 1;
	o->imm = t->insn.address_width == 64   ? ~0ul
		 : t->insn.address_width == 32 ? 0xfffffffful
					       : 0xfffful;
	t->end = true;
	return true;
}

void x86_register_io(x86_emit_fn *table)
{
	table[ZYDIS_MNEMONIC_IN] = emit_io;
	table[ZYDIS_MNEMONIC_OUT] = emit_io;
	table[ZYDIS_MNEMONIC_INSB] = emit_string;
	table[ZYDIS_MNEMONIC_INSW] = emit_string;
	table[ZYDIS_MNEMONIC_INSD] = emit_string;
	table[ZYDIS_MNEMONIC_OUTSB] = emit_string;
	table[ZYDIS_MNEMONIC_OUTSW] = emit_string;
	table[ZYDIS_MNEMONIC_OUTSD] = emit_string;
}
