/*
 * port.c - IN, OUT, INS, OUTS.
 *
 * The hypervisor has checked that the guest may use the port before it exits. The memory half of
 * INS and OUTS is that of STOS and LODS with the same prefixes, which the processor executes; RCX
 * is counted here. INS finds out where its data goes before it reads the port, so that a page
 * fault loses nothing.
 */
#include <string.h>

#include "emulator/emulator.h"

#define OPCODE_STOSB 0xaa
#define OPCODE_LODSB 0xac

static bool access_port(
	struct emulation *e, uint16_t port, unsigned size, bool write, uint32_t *data)
{
	WHV_EMULATOR_IO_ACCESS_INFO info = {
		.Direction = write,
		.Port = port,
		.AccessSize = (UINT16)size,
		.Data = write ? *data : 0,
	};

	if (e->emulator->callbacks.WHvEmulatorIoPortCallback(e->context, &info) != S_OK) {
		e->status.IoPortCallbackFailed = 1;
		return false;
	}
	if (!write)
		*data = info.Data;
	return true;
}

static uint32_t size_mask(unsigned size)
{
	return 0xffffffffu >> (32 - 8 * size);
}

static void step_over(struct emulation *e, unsigned length)
{
	e->state->rip += length;
	if (!emulation_is_64bit(e))
		e->state->rip &= 0xffffffff;
}

/* ----- IN, OUT ----- */

static void plain(struct emulation *e, const WHV_X64_IO_PORT_ACCESS_CONTEXT *io)
{
	unsigned size = io->AccessInfo.AccessSize, length = e->vp->InstructionLength;
	uint64_t *rax = &e->state->gpr[X86_RAX];
	uint32_t data = (uint32_t)io->Rax & size_mask(size);

	if (!length) {
		if (!emulation_decode(e))
			return;
		length = e->decoded.length;
	}
	if (!emulation_load(e) ||
		!access_port(e, io->PortNumber, size, io->AccessInfo.IsWrite, &data))
		return;
	if (!io->AccessInfo.IsWrite) {
		if (size == 4)
			*rax = data;
		else
			*rax = (io->Rax & ~(uint64_t)size_mask(size)) | (data & size_mask(size));
		e->written = REG_BIT(REG_GPR + X86_RAX);
	}
	step_over(e, length);
	e->exit.reason = X86_EXIT_STOPPED;
	emulation_store(e, true);
}

/* ----- INS, OUTS ----- */

/* Registers that the exit brings: they need not be fetched, yet what changes is written back. */
static void load_given(struct emulation *e, const WHV_X64_IO_PORT_ACCESS_CONTEXT *io)
{
	const struct {
		enum x86_gpr reg;
		uint64_t value;
	} given[] = {
		{X86_RAX, io->Rax},
		{X86_RCX, io->Rcx},
		{X86_RSI, io->Rsi},
		{X86_RDI, io->Rdi},
	};

	for (unsigned i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		unsigned id = REG_GPR + given[i].reg;

		e->state->gpr[given[i].reg] = given[i].value;
		memset(&e->before[id], 0, sizeof(e->before[id]));
		e->before[id].Reg64 = given[i].value;
		e->needed |= REG_BIT(id);
	}
	emulation_set_segment(e, X86_DS, &io->Ds);
	emulation_set_segment(e, X86_ES, &io->Es);
}

/* The segment OUTS reads through, when it is none of those the exit brings. */
static uint64_t override_of(const struct emulation *e)
{
	ZydisInstructionAttributes a = e->decoded.attributes;

	if (a & ZYDIS_ATTRIB_HAS_SEGMENT_SS)
		return REG_BIT(REG_SEG + X86_SS);
	if (a & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		return REG_BIT(REG_SEG + X86_FS);
	if (a & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		return REG_BIT(REG_SEG + X86_GS);
	return 0;
}

/* The string instruction with the same memory operand: without repetition, and never 64 bits. */
static unsigned memory_half(const struct emulation *e, bool write, uint8_t insn[16])
{
	uint8_t opcode = e->decoded.opcode & 1;
	unsigned n = 0;

	for (unsigned i = 0; i < e->decoded.raw.prefix_count; i++) {
		uint8_t prefix = e->decoded.raw.prefixes[i].value;

		if (prefix != 0xf2 && prefix != 0xf3 && (prefix & 0xf0) != 0x40)
			insn[n++] = prefix;
	}
	insn[n++] = opcode | (write ? OPCODE_LODSB : OPCODE_STOSB);
	return n;
}

static uint64_t count_mask(const struct emulation *e)
{
	return ~0ull >> (64 - e->decoded.address_width);
}

static void count_down(struct emulation *e)
{
	uint64_t mask = count_mask(e), *rcx = &e->state->gpr[X86_RCX];
	uint64_t count = (*rcx - 1) & mask;

	/* 32-bit results clear the upper half, 16-bit ones keep what is above. */
	*rcx = mask == 0xffff ? (*rcx & ~mask) | count : count;
}

static bool move_one(struct emulation *e, const WHV_X64_IO_PORT_ACCESS_CONTEXT *io,
	const uint8_t *insn, unsigned length)
{
	unsigned size = io->AccessInfo.AccessSize;
	bool write = io->AccessInfo.IsWrite;
	uint32_t data = 0;
	bool done;

	e->n_pieces = 0;
	e->probing = !write;
	done = emulation_execute(e, insn, length);
	e->probing = false;
	e->state->rip = e->vp->Rip;
	if (write)
		data = (uint32_t)e->state->gpr[X86_RAX] & size_mask(size);
	e->state->gpr[X86_RAX] = io->Rax;
	if (!done || !access_port(e, io->PortNumber, size, write, &data))
		return false;
	for (unsigned i = 0, at = 0; i < e->n_pieces; i++) {
		if (!emulation_memory(
			    e, e->pieces[i].gpa, e->pieces[i].size, true, (uint8_t *)&data + at))
			return false;
		at += e->pieces[i].size;
	}
	return true;
}

static void string(struct emulation *e, const WHV_X64_IO_PORT_ACCESS_CONTEXT *io)
{
	unsigned size = io->AccessInfo.AccessSize, limit, length, done = 0;
	bool rep, more;
	uint8_t insn[16];

	if (!emulation_decode(e))
		return;
	if ((e->decoded.opcode & 0xfc) != 0x6c ||
		e->decoded.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT) {
		e->status.InternalEmulationFailure = 1;
		return;
	}
	e->needed = io->AccessInfo.IsWrite ? override_of(e) : 0;
	if (!emulation_load(e))
		return;
	load_given(e, io);
	x86_vcpu_changed(e->vcpu);
	rep = emulation_is_repeated(e);
	length = memory_half(e, io->AccessInfo.IsWrite, insn);
	limit = e->single_step ? 1 : EMULATOR_STRING_BYTES / size;
	more = !rep || (e->state->gpr[X86_RCX] & count_mask(e));
	for (; more && done < limit; done++) {
		if (!move_one(e, io, insn, length))
			break;
		if (rep)
			count_down(e);
		more = rep && (e->state->gpr[X86_RCX] & count_mask(e));
	}
	if (e->status.AsUINT32)
		return;
	if (!more) {
		step_over(e, e->decoded.length);
		e->exit.reason = X86_EXIT_STOPPED;
	}
	emulation_store(e, !more || done);
}

void emulation_port(struct emulation *e, const WHV_X64_IO_PORT_ACCESS_CONTEXT *io)
{
	if (io->AccessInfo.StringOp)
		string(e, io);
	else
		plain(e, io);
}
