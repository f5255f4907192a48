/*
 * x86_harness.h - one or two processors over a little memory, for tests that write machine code.
 *
 * 2 MiB of memory at guest-physical 0, mapped one to one by 4 KiB pages in 64-bit mode and not
 * paged otherwise. Every exception leaves the vcpu (X86_EXIT_EXCEPTION); code ends with HLT.
 */
#ifndef PARTITA_TESTS_X86_HARNESS_H
#define PARTITA_TESTS_X86_HARNESS_H

#include "x86/x86.h"

#define HARNESS_RAM	 0x200000u
#define HARNESS_STACK(n) (0x1f0000u - (n)*0x10000u) /* where vcpu n's stack begins */
#define HARNESS_CODE	 0x10000u /* free from here to the stacks, for tests */

#define HLT 0xf4

enum harness_mode {
	MODE_REAL,
	MODE_32,
	MODE_64,
};

struct harness {
	struct x86_machine *machine;
	struct x86_vcpu *vcpu[2];
	uint8_t *ram;
};

/* @code_bytes: the bound of the decoded-code cache. */
void harness_create(struct harness *h, unsigned vcpus, size_t code_bytes);
void harness_destroy(struct harness *h);

/* Everything at its start: registers 0, stack pointer at its place, RIP at @rip. */
struct x86_state *harness_start(
	struct harness *h, unsigned vcpu, enum harness_mode mode, uint64_t rip);
/* Applies the state and runs until something ends it; returns what. */
struct x86_exit harness_run(struct harness *h, unsigned vcpu);

/* Copies code into memory, telling the machine. */
void harness_put(struct harness *h, uint64_t gpa, const void *code, size_t size);
/* Maps the 4 KiB page of linear address @va, below 2 MiB, to @gpa; ~0: not present. */
void harness_page(struct harness *h, uint64_t va, uint64_t gpa);

#endif
