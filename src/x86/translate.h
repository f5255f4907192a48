/*
 * translate.h - between the translator and the instruction families.
 *
 * translate.c decodes an instruction with Zydis and hands it to the emitter that its family
 * registered for the mnemonic; the emitter appends operations. An instruction without an emitter,
 * or whose emitter refuses, raises #UD when executed.
 */
#ifndef PARTITA_X86_TRANSLATE_H
#define PARTITA_X86_TRANSLATE_H

#include "x86/cpu.h"

#include <Zydis/Zydis.h>

struct x86_xlate {
	struct x86_vcpu *c;
	uint32_t mode;	   /* X86_MODE_* */
	uint16_t off;	   /* of the instruction, from its page */
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	struct x86_op *out; /* operations of the block so far */
	unsigned n_out;
	unsigned n_insns;
	bool end;	 /* set by the emitter: the block ends after this instruction */
	bool shadow;	 /* set by the emitter: interrupts stay closed for one more instruction */
};

/* Returns false: #UD. */
typedef bool (*x86_emit_fn)(struct x86_xlate *t);

/* Appends an operation of the current instruction; operands are zero, off, len and n are set. */
struct x86_op *x86_emit(struct x86_xlate *t, x86_op_fn fn);

/*
 * x86_emit_mem - appends an operation that addresses memory operand @m. Emits what is needed to
 * compute the address, then chooses @fs (uses x86_ea_s) or @ff (uses x86_ea_f). Outside 64-bit
 * mode the segment's limit and rights are checked for @size bytes; @write tells the kind of access.
 */
struct x86_op *x86_emit_mem(struct x86_xlate *t, const ZydisDecodedOperand *m, x86_op_fn fs,
	x86_op_fn ff, unsigned size, bool write);
/* Only the address: afterwards it is in X86_R_EA. @check false (LEA): no segment base, no check. */
void x86_emit_ea(struct x86_xlate *t, const ZydisDecodedOperand *m, unsigned size, bool write,
	bool check);

/* X86_R()/X86_RH() of a general-purpose register of any size. */
uint8_t x86_reg(ZydisRegister r);

static inline bool x86_is_reg(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_REGISTER;
}
static inline bool x86_is_mem(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_MEMORY;
}
static inline bool x86_is_imm(const ZydisDecodedOperand *op)
{
	return op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}
static inline bool x86_has_lock(const struct x86_xlate *t)
{
	return t->insn.attributes & ZYDIS_ATTRIB_HAS_LOCK;
}

/* Size index 0..3 of 8, 16, 32, 64 bits: tables of functions are ordered so. */
static inline unsigned x86_size_index(unsigned bits)
{
	return bits == 8 ? 0 : bits == 16 ? 1 : bits == 32 ? 2 : 3;
}

/*
 * x86_emit_jump - appends the end of a block that continues at @rel bytes past this instruction's
 * end (within CS): a LINK when that is in the block's page and the mode allows, else a chain. With
 * @rel 0 this is how a block ends that must end for other reasons.
 */
void x86_emit_jump(struct x86_xlate *t, int64_t rel);
/* True when a target @rel past the instruction's end may be a LINK (64-bit mode, same page). */
bool x86_can_link(const struct x86_xlate *t, int64_t rel);

/*
 * What the emitters of MOV, PUSH, POP, CALL, JMP and RET hand over to segment.c, far.c and
 * control.c: moves to and from segment, control and debug registers, and far branches (branch_type
 * FAR).
 */
bool x86_emit_mov_segment(struct x86_xlate *t);
bool x86_emit_push_segment(struct x86_xlate *t);
bool x86_emit_pop_segment(struct x86_xlate *t);
bool x86_emit_mov_control(struct x86_xlate *t);
bool x86_emit_mov_debug(struct x86_xlate *t);
bool x86_emit_far(struct x86_xlate *t);
/* The string instructions: MOVSD and CMPSD are mnemonics of SSE instructions as well. */
bool x86_emit_string(struct x86_xlate *t);

/*
 * Word operands of system instructions (segment.c). The source: emits what is needed, then the
 * word is in the register returned. The result: emits @fn with operand @x, which leaves it,
 * zero-extended, in X86_R_T0, and what stores it in the first operand, a word in memory or a
 * register of any width.
 */
uint8_t x86_emit_word_source(struct x86_xlate *t, const ZydisDecodedOperand *p);
void x86_emit_word_result(struct x86_xlate *t, x86_op_fn fn, uint8_t x);

/* Each family adds its emitters to a table indexed by ZydisMnemonic. */
void x86_register_alu(x86_emit_fn *table);
void x86_register_move(x86_emit_fn *table);
void x86_register_shift(x86_emit_fn *table);
void x86_register_multiply(x86_emit_fn *table);
void x86_register_bit(x86_emit_fn *table);
void x86_register_stack(x86_emit_fn *table);
void x86_register_branch(x86_emit_fn *table);
void x86_register_string(x86_emit_fn *table);
void x86_register_atomic(x86_emit_fn *table);
void x86_register_interrupt(x86_emit_fn *table);
void x86_register_control(x86_emit_fn *table);
void x86_register_system(x86_emit_fn *table);
void x86_register_syscall(x86_emit_fn *table);
void x86_register_msr(x86_emit_fn *table);
void x86_register_segment(x86_emit_fn *table);
void x86_register_io(x86_emit_fn *table);
void x86_register_simd(x86_emit_fn *table);
void x86_register_x87(x86_emit_fn *table);
void x86_register_xsave(x86_emit_fn *table);

#endif
