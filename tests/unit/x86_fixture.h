/*
 * x86_fixture.h - a vcpu for tests that look at single instructions: at CPL 0 in 64-bit mode, the
 * first 2 MiB mapped to themselves, every exception leaving the vcpu, HLT ending a case.
 */
#ifndef PARTITA_TESTS_X86_FIXTURE_H
#define PARTITA_TESTS_X86_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "x86/x86.h"

#define RAM_SIZE 0x200000u
#define CODE	 0x10000u
#define DATA	 0x20000u /* aligned to 64; rbx points here */
#define UNMAPPED 0x40000000u

/* The state and the memory of the group's one vcpu. */
extern struct x86_state *s;
extern uint8_t *ram;

/* For cmocka: a group's set-up and teardown, and the state that every case starts from. */
int machine_setup(void **state);
int machine_teardown(void **state);
int fresh(void **state);

#define HALTED (-1) /* by the HLT behind the code */

/* Runs @code from the current state; returns HALTED, or the vector it ended with. */
int run_bytes(const uint8_t *code, size_t size);
#define RUN(...) run_bytes((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* ---- Instructions, as bytes --------------------------------------------------------------- */

#define ADDPS	  0x0f, 0x58, 0xc1	 /* addps xmm0, xmm1 */
#define PXOR	  0x66, 0x0f, 0xef, 0xc1 /* pxor xmm0, xmm1 */
#define PADDSB	  0x66, 0x0f, 0xec, 0xc1 /* paddsb xmm0, xmm1 */
#define MOVAPS	  0x0f, 0x28, 0xc1	 /* movaps xmm0, xmm1 */
#define DIVSD	  0xf2, 0x0f, 0x5e, 0xc1 /* divsd xmm0, xmm1 */
#define MULSD	  0xf2, 0x0f, 0x59, 0xc1 /* mulsd xmm0, xmm1 */
#define COMISD	  0x66, 0x0f, 0x2f, 0xc1 /* comisd xmm0, xmm1 */
#define CVTSD2SI  0xf2, 0x0f, 0x2d, 0xc0 /* cvtsd2si eax, xmm0 */
#define PADDB_MMX 0x0f, 0xfc, 0xc1	 /* paddb mm0, mm1 */
#define CVTPI2PS  0x0f, 0x2a, 0xc1	 /* cvtpi2ps xmm0, mm1 */
#define EMMS	  0x0f, 0x77
#define FLD1	  0xd9, 0xe8
#define FLDZ	  0xd9, 0xee
#define FDIVP	  0xde, 0xf9
#define FWAIT	  0x9b
#define FNSTSW_AX 0xdf, 0xe0
#define FNCLEX	  0xdb, 0xe2
#define FNINIT	  0xdb, 0xe3
#define FSTP_D	  0xdd, 0x1b /* fstp qword [rbx] */
#define LDMXCSR	  0x0f, 0xae, 0x13
#define STMXCSR	  0x0f, 0xae, 0x1b
#define FXSAVE	  0x48, 0x0f, 0xae, 0x03
#define FXRSTOR	  0x48, 0x0f, 0xae, 0x0b
#define XSAVE	  0x48, 0x0f, 0xae, 0x23
#define XRSTOR	  0x48, 0x0f, 0xae, 0x2b
#define XSAVEOPT  0x48, 0x0f, 0xae, 0x33
#define XSAVEC	  0x48, 0x0f, 0xc7, 0x23
#define XGETBV	  0x0f, 0x01, 0xd0
#define XSETBV	  0x0f, 0x01, 0xd1

#endif
