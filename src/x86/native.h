/*
 * native.h - native code that executes one guest instruction as itself.
 *
 * The guest's x87, MMX and SSE instructions are the host's. For each distinct one (opcode, operand
 * kinds, immediate; not register numbers) a short function, a thunk, is made once: it loads fixed
 * host registers from where the vcpu keeps the guest's, executes the guest's instruction on them
 * and stores what it wrote. A thunk neither faults nor blocks: its callers have checked the guest's
 * rights, alignment and pending exceptions, and give it memory that is there.
 *
 * Which instructions may run here is not decided here: the emitters' lists of mnemonics do that
 * (simd.c, mmx.c, x87.c), and x86_native_has() says what the host can execute.
 */
#ifndef PARTITA_X86_NATIVE_H
#define PARTITA_X86_NATIVE_H

#include "x86/translate.h"

/* The thunks of a machine; any thread may ask for one. */
struct x86_native;

/* x86_native_create - NULL: no memory, or the host allows no executable memory. */
struct x86_native *x86_native_create(void);
void x86_native_destroy(struct x86_native *n);

/*
 * x86_native_has - whether x86_features() reports the x87, MMX, SSE or XSAVE set that @insn belongs
 * to; false for every other set.
 */
const struct x86_features *x86_native_features(const struct x86_native *n);
bool x86_native_has(const struct x86_native *n, const ZydisDecodedInstruction *insn);

/*
 * An MMX or SSE instruction. @reg: where the register that ModRM.reg names is kept. @rm: likewise
 * for ModRM.rm, or the memory operand, readable or writable in its exact size. XMM and MMX
 * registers are kept in 16 bytes (aligned to 16), general registers in 8. Implicit registers, flags
 * and MXCSR are @c's own. Floating-point instructions run with @c's MXCSR, which must mask every
 * exception, and leave their flags there; on return the host's MXCSR is the default.
 */
typedef void (*x86_simd_fn)(void *reg, void *rm, struct x86_vcpu *c);

/*
 * An x87 instruction: state from @in, which must have no unmasked exception pending, to @out (may
 * be @in); @mem: the memory operand; @fl: flags of FCOMI and FCMOV, as in struct x86_vcpu. The
 * host's x87 unit and MXCSR are in their default state on return.
 */
typedef void (*x86_x87_fn)(const struct x86_fx *in, void *mem, struct x86_fx *out, uint16_t *fl);

/* The thunk of the instruction in @t; NULL: it cannot be made. @fp: it uses MXCSR. */
x86_simd_fn x86_native_simd(struct x86_native *n, const struct x86_xlate *t, bool fp);
x86_x87_fn x86_native_x87(struct x86_native *n, const struct x86_xlate *t);

#endif
