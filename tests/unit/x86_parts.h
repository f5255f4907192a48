/*
 * x86_parts.h - what the tests' small guests are put together from: callbacks that know of nothing
 * outside the processor, memory, and segments.
 */
#ifndef PARTITA_TESTS_X86_PARTS_H
#define PARTITA_TESTS_X86_PARTS_H

#include "x86/x86.h"

/*
 * CPUID is all zeros; MSRs and hypercalls fault; accesses where no memory is leave the vcpu; there
 * are no interrupts. A guest that wants more changes its copy.
 */
extern const struct x86_ops parts_ops;

/*
 * A machine; NULL when memory is short. Where the environment has X86_COMPILE=N, its blocks are compiled
 * when they are entered the Nth time: every test of the processor is run both ways.
 */
struct x86_machine *parts_machine(unsigned vcpus, size_t code_bytes);

/* Zeroed memory at @gpa with all rights; aborts the test when memory is short. */
uint8_t *parts_memory(struct x86_machine *machine, uint64_t gpa, uint64_t size);
void parts_memory_free(uint8_t *memory, uint64_t size);

/*
 * A flat segment: read/write data, or code that may be read. @bits: 16 (as in real mode), 32 or 64.
 * Selectors: 0 in real mode, 8 for code and 16 for data otherwise, with @cpl as RPL.
 */
struct x86_segment parts_segment(unsigned bits, bool code, unsigned cpl);

#endif
