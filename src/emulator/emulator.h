/*
 * emulator.h - what the files of src/emulator share.
 *
 * The processor itself is x86/: one vcpu executes one instruction with all memory reached through
 * callbacks (x86_vcpu_emulate). This room fetches the registers that the instruction touches, runs
 * it, and writes back what changed:
 *
 *	emulator.c	the public functions, and the vcpus that calls take turns on
 *	decode.c	the instruction's bytes, and which registers it touches
 *	registers.c	registers between the caller's names and the processor's state
 *	memory.c	translation and memory through the caller's callbacks
 *	port.c		IN, OUT, INS, OUTS
 */
#ifndef PARTITA_EMULATOR_EMULATOR_H
#define PARTITA_EMULATOR_EMULATOR_H

#include <semaphore.h>
#include <stdatomic.h>
#include <Zydis/Zydis.h>

#include <WinHvEmulation.h>
#include "x86/x86.h"

/* Calls that may be under way on one emulator; further ones wait. */
#define EMULATOR_CALLS 64
/* A string instruction moves this many bytes at most before the guest may take interrupts. */
#define EMULATOR_STRING_BYTES	 4096u
#define EMULATOR_INSTRUCTION_MAX 15u

/* Registers as bits of a set, in groups whose names follow one another. */
enum emulator_register {
	REG_GPR = 0,  /* 16 */
	REG_SEG = 16, /* 6, as enum x86_seg */
	REG_XMM = 22, /* 16 */
	REG_X87 = 38, /* 8 */
	REG_X87_CONTROL = 46,
	REG_SSE_CONTROL = 47,
	REG_CR0 = 48,
	REG_CR4 = 49,
	REG_DR6 = 50,
	REG_INTERRUPT_STATE = 51,
	REG_COUNT = 52,
};
#define REG_BIT(n)  (1ull << (n))
#define REG_X87_ALL (0x1ffull << REG_X87)
#define REG_XMM_ALL (0xffffull << REG_XMM)

struct emulator_translation {
	uint64_t gva, gpa; /* pages */
	bool write;	   /* it was translated for writing; else for reading */
};

/* One call at work, by the thread that took it. */
struct emulation {
	struct emulator *emulator;
	struct x86_vcpu *vcpu;
	struct x86_state *state;
	atomic_bool busy;

	/* What decoded and operands hold, if last_decoder is set. */
	const ZydisDecoder *last_decoder;
	uint8_t last_insn[EMULATOR_INSTRUCTION_MAX];

	/* The rest belongs to the current call. */
	void *context;
	const WHV_VP_EXIT_CONTEXT *vp;
	WHV_EMULATOR_STATUS status; /* failures so far */

	uint8_t insn[16];
	unsigned insn_bytes; /* that are there */
	ZydisDecodedInstruction decoded;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

	uint64_t needed;  /* registers to fetch */
	uint64_t written; /* registers that are overwritten without being needed */
	WHV_REGISTER_VALUE before[REG_COUNT];
	bool interrupt_shadow_ends;
	bool single_step;

	struct x86_exit exit; /* how the last instruction ended */

	struct emulator_translation translations[4];
	unsigned n_translations, next_translation;
	unsigned moved; /* bytes of memory operands so far */

	/* INS: where the data will go, found before the port is read. */
	bool probing;
	unsigned n_pieces;
	struct {
		uint64_t gpa;
		unsigned size;
	} pieces[2];
};

struct emulator {
	WHV_EMULATOR_CALLBACKS callbacks;
	ZydisDecoder decoder16, decoder32, decoder64;
	struct x86_machine *machine;
	sem_t idle; /* counts calls not busy */
	struct emulation calls[EMULATOR_CALLS];
};

static inline bool emulation_is_64bit(const struct emulation *e)
{
	return e->vp->ExecutionState.EferLma && e->vp->Cs.Long;
}

/* ----- decode.c ----- */

/*
 * Completes and decodes the instruction at the vp's RIP. False: the status is set, or fetching it
 * faults and that is the call's outcome.
 */
bool emulation_decode(struct emulation *e);
bool emulation_is_repeated(const struct emulation *e);
/* Sets needed and written. False (InternalEmulationFailure): not one to be emulated. */
bool emulation_requirements(struct emulation *e);

/* ----- registers.c ----- */

/* Fetches what is needed and makes the state ready for execution. */
bool emulation_load(struct emulation *e);
/* Sets one segment from the caller's form. */
void emulation_set_segment(
	struct emulation *e, enum x86_seg seg, const WHV_X64_SEGMENT_REGISTER *from);
/*
 * Writes back what changed, with the exception in exit made pending if there is one. @completed:
 * the instruction (or a repetition of it) was executed.
 */
bool emulation_store(struct emulation *e, bool completed);

/* ----- memory.c ----- */

extern const struct x86_ops emulation_ops;
/* Instruction bytes at @linear, within one page. */
bool emulation_fetch(struct emulation *e, uint64_t linear, uint8_t *to, unsigned size);
/* Guest physical memory, within one page, 1 to 8 bytes. */
bool emulation_memory(struct emulation *e, uint64_t gpa, unsigned size, bool write, void *data);
/* What the exit tells of a translation. */
void emulation_remember(struct emulation *e, uint64_t gva, uint64_t gpa, bool write);

/* ----- emulator.c ----- */

/* Executes one instruction. False when it did not complete: exit or status tells why. */
bool emulation_execute(struct emulation *e, const uint8_t *insn, unsigned length);
/* Makes an exception the outcome. */
void emulation_raise(
	struct emulation *e, uint8_t vector, bool has_error, uint32_t error, uint64_t parameter);

/* ----- port.c ----- */

void emulation_port(struct emulation *e, const WHV_X64_IO_PORT_ACCESS_CONTEXT *io);

#endif
