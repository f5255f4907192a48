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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "x86/x86.h"

#define RAM_SIZE 0x200000u
#define PML4	 0x1000u
#define CODE	 0x10000u
#define DATA	 0x20000u /* aligned to 64; rbx points here */
#define UNMAPPED 0x40000000u

static struct x86_machine *machine;
static struct x86_vcpu *vcpu;
static struct x86_state *s;
static uint8_t *ram;

static enum x86_answer no_cpuid(void *ctx, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	return X86_FAULT;
}

static enum x86_answer no_rdmsr(void *ctx, uint32_t msr, uint64_t *value)
{
	return X86_FAULT;
}

static enum x86_answer no_wrmsr(void *ctx, uint32_t msr, uint64_t value)
{
	return X86_FAULT;
}

static enum x86_answer no_read(void *ctx, uint64_t gpa, unsigned size, uint64_t *value)
{
	return X86_EXIT;
}

static enum x86_answer no_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	return X86_EXIT;
}

static enum x86_answer no_hypercall(void *ctx)
{
	return X86_FAULT;
}

static int no_interrupt(void *ctx)
{
	return -1;
}

static uint64_t no_cr8(void *ctx)
{
	return 0;
}

static void ignore_cr8(void *ctx, uint64_t value)
{
}

static const struct x86_ops ops = {
	.cpuid = no_cpuid,
	.rdmsr = no_rdmsr,
	.wrmsr = no_wrmsr,
	.mmio_read = no_read,
	.mmio_write = no_write,
	.hypercall = no_hypercall,
	.interrupt = no_interrupt,
	.read_cr8 = no_cr8,
	.write_cr8 = ignore_cr8,
};

static int machine_setup(void **state)
{
	uint64_t *table;

	machine = x86_machine_create(1, 4u << 20);
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!machine || ram == MAP_FAILED ||
		x86_machine_map(
			machine, 0, ram, RAM_SIZE, X86_MAP_READ | X86_MAP_WRITE | X86_MAP_EXEC))
		return -1;
	table = (uint64_t *)(ram + PML4);
	table[0] = (PML4 + 0x1000) | 3;
	table[512] = (PML4 + 0x2000) | 3;
	table[1024] = 0x83; /* one page of 2 MiB */
	vcpu = x86_vcpu_create(machine, 0, &ops, NULL);
	if (!vcpu)
		return -1;
	x86_vcpu_intercept_exceptions(vcpu, ~0ull);
	s = x86_vcpu_state(vcpu);
	return 0;
}

static int machine_teardown(void **state)
{
	x86_vcpu_destroy(vcpu);
	x86_machine_destroy(machine);
	munmap(ram, RAM_SIZE);
	return 0;
}

/* The state that every case starts from. */
static int fresh(void **state)
{
	const uint16_t data = 3 | X86_SEG_S | X86_SEG_P | X86_SEG_DB | X86_SEG_G;

	x86_vcpu_reset(vcpu, false);
	for (int i = 0; i < 6; i++)
		s->seg[i] = (struct x86_segment){
			.limit = 0xffffffff, .selector = 16, .attributes = data};
	s->seg[X86_CS] = (struct x86_segment){.limit = 0xffffffff,
		.selector = 8,
		.attributes = 0xb | X86_SEG_S | X86_SEG_P | X86_SEG_L | X86_SEG_G};
	s->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_NE | X86_CR0_MP | X86_CR0_ET | X86_CR0_WP;
	s->cr3 = PML4;
	s->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
	s->efer = X86_EFER_LME | X86_EFER_LMA;
	s->xcr0 = 3;
	s->fx.fcw = 0x37f;
	s->fx.fsw = 0;
	s->fx.ftw = 0;
	s->fx.mxcsr = 0x1f80;
	s->gpr[X86_RBX] = DATA;
	s->gpr[X86_RSP] = DATA + 0x8000;
	memset(ram + DATA, 0, 0x1000);
	return 0;
}

#define DONE (-1)

/* Runs @code from the current state; returns DONE or the vector it ended with. */
static int run_bytes(const uint8_t *code, size_t size)
{
	struct x86_exit exit;
	uint16_t fcw, env[14];
	uint32_t mxcsr;

	memcpy(ram + CODE, code, size);
	ram[CODE + size] = 0xf4;
	x86_machine_written(machine, CODE, size + 1);
	s->rip = CODE;
	x86_vcpu_changed(vcpu);
	x86_vcpu_run(vcpu, &exit);
	/* Whatever ran, the host's own units are as the ABI wants them. */
	asm volatile("stmxcsr %0\n\tfnstcw %1\n\tfnstenv %2\n\tfldenv %2"
		     : "=m"(mxcsr), "=m"(fcw), "=m"(env));
	assert_int_equal(mxcsr & 0xffc0, 0x1f80);
	assert_int_equal(fcw, 0x37f);
	assert_int_equal(env[4], 0xffff);
	if (exit.reason == X86_EXIT_HALT)
		return DONE;
	assert_int_equal(exit.reason, X86_EXIT_EXCEPTION);
	return exit.exception.vector;
}

#define RUN(...) run_bytes((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* ---- Instructions, as bytes
 * ---------------------------------------------------------------------- */

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
