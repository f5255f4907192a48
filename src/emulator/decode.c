/*
 * decode.c - what instruction it is, and which registers it touches.
 *
 * Promises: an instruction that passes emulation_requirements() touches no register outside the
 * needed and written sets but RIP, RFLAGS and CS, which every exit brings.
 */
#include <string.h>

#include "emulator/emulator.h"

static const ZydisDecoder *decoder_of(const struct emulation *e)
{
	const WHV_VP_EXIT_CONTEXT *vp = e->vp;

	if (emulation_is_64bit(e))
		return &e->emulator->decoder64;
	return vp->Cs.Default ? &e->emulator->decoder32 : &e->emulator->decoder16;
}

/* Up to the end of the page, so that nothing is fetched that the processor would not fetch. */
static bool fetch_more(struct emulation *e)
{
	bool flat = emulation_is_64bit(e);
	uint64_t linear = e->vp->Rip + e->insn_bytes + (flat ? 0 : e->vp->Cs.Base);
	unsigned want = EMULATOR_INSTRUCTION_MAX - e->insn_bytes;
	unsigned left;

	if (!flat)
		linear &= 0xffffffff;
	left = 4096 - (linear & 4095);
	if (want > left)
		want = left;
	if (want > 8)
		want = 8;
	if (!emulation_fetch(e, linear, e->insn + e->insn_bytes, want))
		return false;
	e->insn_bytes += want;
	return true;
}

/*
 * Devices are accessed by the same few instructions again and again: what was decoded last is
 * often what is to be decoded now.
 */
static bool same_as_last(const struct emulation *e, const ZydisDecoder *decoder)
{
	return decoder == e->last_decoder && e->insn_bytes >= e->decoded.length &&
	       !memcmp(e->insn, e->last_insn, e->decoded.length);
}

bool emulation_decode(struct emulation *e)
{
	const ZydisDecoder *decoder = decoder_of(e);

	if (same_as_last(e, decoder))
		return true;
	e->last_decoder = NULL;
	for (;;) {
		ZyanStatus status = ZydisDecoderDecodeFull(
			decoder, e->insn, e->insn_bytes, &e->decoded, e->operands);

		if (ZYAN_SUCCESS(status)) {
			e->last_decoder = decoder;
			memcpy(e->last_insn, e->insn, e->decoded.length);
			return true;
		}
		if (status != ZYDIS_STATUS_NO_MORE_DATA ||
			e->insn_bytes >= EMULATOR_INSTRUCTION_MAX) {
			e->status.InternalEmulationFailure = 1;
			return false;
		}
		if (!fetch_more(e)) {
			if (!e->status.AsUINT32 && emulation_load(e))
				emulation_store(e, false);
			return false;
		}
	}
}

bool emulation_is_repeated(const struct emulation *e)
{
	ZydisInstructionCategory category = e->decoded.meta.category;

	if (category != ZYDIS_CATEGORY_STRINGOP && category != ZYDIS_CATEGORY_IOSTRINGOP)
		return false;
	for (unsigned i = 0; i < e->decoded.raw.prefix_count; i++)
		if ((e->decoded.raw.prefixes[i].value | 1) == 0xf3)
			return true;
	return false;
}

/* Whether the old value of a register does not matter. */
static bool overwrites(const struct emulation *e, const ZydisDecodedOperand *op)
{
	return op->actions == ZYDIS_OPERAND_ACTION_WRITE && op->size >= 32 &&
	       !emulation_is_repeated(e);
}

static bool touch_general(struct emulation *e, ZydisRegister r, const ZydisDecodedOperand *op)
{
	uint64_t bit;

	r = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);
	bit = REG_BIT(REG_GPR + (unsigned)ZydisRegisterGetId(r));
	if (op && overwrites(e, op))
		e->written |= bit;
	else
		e->needed |= bit;
	return true;
}

/* @op: the operand the register is; NULL where it only addresses memory. */
static bool touch_register(struct emulation *e, ZydisRegister r, const ZydisDecodedOperand *op)
{
	unsigned id = (unsigned)ZydisRegisterGetId(r);

	switch (r) {
	case ZYDIS_REGISTER_NONE:
		return true;
	case ZYDIS_REGISTER_X87CONTROL:
	case ZYDIS_REGISTER_X87STATUS:
	case ZYDIS_REGISTER_X87TAG:
		e->needed |= REG_X87_ALL;
		return true;
	case ZYDIS_REGISTER_MXCSR:
		e->needed |= REG_BIT(REG_SSE_CONTROL);
		return true;
	default:
		break;
	}
	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_FLAGS:
	case ZYDIS_REGCLASS_IP:
		return true;
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return touch_general(e, r, op);
	case ZYDIS_REGCLASS_SEGMENT:
		e->needed |= REG_BIT(REG_SEG + id);
		return !op || !(op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
	case ZYDIS_REGCLASS_XMM: /* all of it: instructions leave parts alone */
		if (id >= 16)
			return false;
		e->needed |= REG_BIT(REG_XMM + id);
		return true;
	case ZYDIS_REGCLASS_MMX:
	case ZYDIS_REGCLASS_X87:
		e->needed |= REG_X87_ALL;
		return true;
	default:
		return false;
	}
}

static bool touch_memory(struct emulation *e, const ZydisDecodedOperand *op)
{
	ZydisRegister segment = op->mem.segment;

	/* In 64-bit mode only FS and GS mean something. */
	if (emulation_is_64bit(e) && segment != ZYDIS_REGISTER_FS && segment != ZYDIS_REGISTER_GS)
		segment = ZYDIS_REGISTER_NONE;
	return touch_register(e, segment, NULL) && touch_register(e, op->mem.base, NULL) &&
	       touch_register(e, op->mem.index, NULL);
}

/* Instructions that do more than their operands say. */
static bool is_supported(const struct emulation *e)
{
	const ZydisDecodedInstruction *insn = &e->decoded;

	switch (insn->meta.category) {
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_SYSTEM:
	case ZYDIS_CATEGORY_VTX:
	case ZYDIS_CATEGORY_XSAVE:
	case ZYDIS_CATEGORY_XSAVEOPT:
		return false;
	case ZYDIS_CATEGORY_RET: /* not IRET */
		return insn->mnemonic == ZYDIS_MNEMONIC_RET &&
		       insn->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR;
	default:
		return insn->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR;
	}
}

static void touch_implied(struct emulation *e)
{
	switch (e->decoded.mnemonic) {
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
		e->needed |= REG_XMM_ALL | REG_X87_ALL;
		break;
	default:
		break;
	}
	if (e->decoded.meta.category == ZYDIS_CATEGORY_X87_ALU)
		e->needed |= REG_X87_ALL;
	if ((e->needed & REG_XMM_ALL) && e->decoded.meta.category != ZYDIS_CATEGORY_DATAXFER)
		e->needed |= REG_BIT(REG_SSE_CONTROL);
	/* Whether they may be used at all. */
	if (e->needed & (REG_XMM_ALL | REG_X87_ALL | REG_BIT(REG_SSE_CONTROL)))
		e->needed |= REG_BIT(REG_CR0) | REG_BIT(REG_CR4);
}

bool emulation_requirements(struct emulation *e)
{
	bool known = is_supported(e);

	for (unsigned i = 0; known && i < e->decoded.operand_count; i++) {
		const ZydisDecodedOperand *op = &e->operands[i];

		if (op->type == ZYDIS_OPERAND_TYPE_REGISTER)
			known = touch_register(e, op->reg.value, op);
		else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
			known = touch_memory(e, op);
	}
	touch_implied(e);
	e->written &= ~e->needed;
	e->status.InternalEmulationFailure = !known;
	return known;
}
