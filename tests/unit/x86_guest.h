/*
 * x86_guest.h - small guests for the tests of the software processor's system side.
 *
 * A guest is 1 MiB of memory with descriptor tables, page tables (long mode: an identity map that
 * CPL 3 may use), a TSS and stacks at fixed places, and code copied to GUEST_CODE. Each vector's
 * handler is a HLT of its own, so that a test runs until an event was delivered and then looks at
 * the processor and at the stack as the event left them.
 */
#ifndef PARTITA_TESTS_X86_GUEST_H
#define PARTITA_TESTS_X86_GUEST_H

#include "x86_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/*
 * GUEST_CODE_BYTES - assembly for the guest: the bytes between name_begin and name_end. @bits: 16,
 * 32 or 64.
 */
#define GUEST_CODE_BYTES(name, bits, ...)                                                          \
	__asm__(".pushsection .rodata\n\t.code" #bits "\n" #name "_begin:\n\t" __VA_ARGS__         \
		"\n" #name "_end:\n\t.code64\n\t.popsection");                                     \
	extern const uint8_t name##_begin[], name##_end[]

/* Where things are in guest memory. */
enum {
	GUEST_MEMORY = 0x100000,
	GUEST_PML4 = 0x1000,
	GUEST_GDT = 0x4000,
	GUEST_LDT = 0x4800,
	GUEST_IDT = 0x5000,
	GUEST_TSS = 0x6000,
	GUEST_TSS2 = 0x7000,
	GUEST_HANDLERS = 0x8000, /* 16 bytes a vector */
	GUEST_CODE = 0x10000,
	GUEST_STACK0 = 0x20000, /* top of the stack of CPL 0 */
	GUEST_STACK1 = 0x22000, /* in the TSS for CPL 1 */
	GUEST_IST1 = 0x24000,
	GUEST_RING0 = 0x26000, /* in the TSS for CPL 0 */
	GUEST_STACK3 = 0x30000,
	GUEST_DATA = 0x40000,
};

/* Selectors. In real and virtual-8086 mode: GUEST_CODE >> 4 and 0. */
enum {
	SEL_CODE32 = 0x08,
	SEL_CODE64 = 0x10,
	SEL_DATA = 0x18,
	SEL_USER32 = 0x20 | 3,
	SEL_USER_DATA = 0x28 | 3,
	SEL_USER64 = 0x30 | 3,
	SEL_LDT = 0x38, /* 16 bytes */
	SEL_TSS = 0x48, /* 16 bytes */
	SEL_CODE16 = 0x58,
	SEL_DATA16 = 0x60,
	SEL_CONFORMING = 0x68,
	SEL_ABSENT = 0x70, /* data, not present */
	SEL_SMALL = 0x78,  /* data, limit 15 */
	SEL_DOWN = 0x80,   /* data, expands down, limit 0xfff */
	SEL_READ_ONLY = 0x88,
	SEL_TSS2 = 0x90,
	SEL_TASK_GATE = 0x98,
	SEL_GATE = 0xa0,  /* 16 bytes; call gate of DPL 3 */
	SEL_RING1 = 0xb0, /* code, DPL 1 */
	SEL_RING1_DATA = 0xb8,
	SEL_END = 0xc0,
};

enum guest_mode {
	MODE_REAL,
	MODE_PROTECTED16,
	MODE_PROTECTED32,
	MODE_VM86,
	MODE_COMPATIBILITY,
	MODE_LONG,
};

struct guest {
	struct x86_machine *machine;
	struct x86_vcpu *vcpu;
	struct x86_state *s;
	struct x86_exit exit;
	struct x86_ops ops;
	uint8_t *memory;
	enum guest_mode mode;
	int interrupt; /* vector that ops->interrupt gives once, or -1 */
	uint64_t cr8;
	unsigned hypercalls;
};

/* guest_create - a guest about to execute [begin, end) at @cpl, on that level's stack. */
struct guest *guest_create(
	enum guest_mode mode, unsigned cpl, const uint8_t *begin, const uint8_t *end);
void guest_destroy(struct guest *g);
#define GUEST(mode, cpl, name) guest_create(mode, cpl, name##_begin, name##_end)

/* Run until an exit and return its reason. A guest that runs for long is stopped. */
enum x86_exit_reason guest_run(struct guest *g);
/* Run to the handler of @vector; fails when anything else happens. */
void guest_expect_vector(struct guest *g, unsigned vector);
/* Run to a HLT in the code itself, at @offset past GUEST_CODE's beginning (-1: anywhere). */
void guest_expect_halt(struct guest *g, int offset);

uint64_t guest_read(struct guest *g, uint64_t address, unsigned size);
void guest_write(struct guest *g, uint64_t address, unsigned size, uint64_t value);
/* The @n-th word of @size bytes up from the stack pointer. */
uint64_t guest_stack(struct guest *g, unsigned n, unsigned size);

/* Change an entry of a table; in long mode gates of the IDT and SEL_GATE are 16 bytes. */
void guest_set_descriptor(struct guest *g, unsigned selector, uint64_t descriptor);
void guest_set_gate(struct guest *g, unsigned vector, unsigned type, unsigned dpl,
	unsigned selector, uint64_t offset, unsigned ist);
uint64_t guest_gate(unsigned type, unsigned dpl, unsigned selector, uint32_t offset);
uint64_t guest_descriptor(uint32_t base, uint32_t limit, unsigned attributes);

#endif
