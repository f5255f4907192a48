/*
 * x86_flat.h - small guests for tests of the software processor: a machine with memory from
 * address 0, flat segments, code given as bytes.
 *
 * Every exception leaves the vcpu (flat_deliver() changes that), and a guest usually says
 * that it is done with UD2, which works at any privilege level.
 */
#ifndef PARTITA_TESTS_X86_FLAT_H
#define PARTITA_TESTS_X86_FLAT_H

#include <stdatomic.h>

#include "x86_parts.h"

#define FLAT_VCPUS  4
#define FLAT_MEMORY 0x2000000u	/* 32 MiB */
#define FLAT_CACHE  (16u << 20) /* of decoded code, usually */
#define FLAT_TABLES 0x1000u	/* where flat_start() has its page tables: four pages */
#define FLAT_MAPPED 0x200000u	/* what they map */

/* UD2, the end of a guest's code. */
#define DONE 0x0f, 0x0b

enum flat_mode {
	FLAT_REAL,   /* 16-bit, no paging */
	FLAT_32,     /* 32-bit protected, no paging */
	FLAT_PAGED,  /* 32-bit with 2-level paging */
	FLAT_PAE,    /* 32-bit with 3-level paging */
	FLAT_64,     /* 64-bit with 4-level paging */
	FLAT_COMPAT, /* 32-bit code in long mode */
};

struct flat {
	struct x86_machine *machine;
	struct x86_vcpu *vcpu[FLAT_VCPUS];
	uint8_t *ram;
	struct x86_ops ops;
	atomic_int interrupt[FLAT_VCPUS]; /* vector to hand out, or -1 */
};

/* @code_bytes: the bound of the decoded-code cache. Aborts the test when memory is short. */
struct flat *flat_create(unsigned vcpus, size_t code_bytes);
void flat_destroy(struct flat *g);
/* For cmocka: *state is a guest with one vcpu. */
int flat_setup(void **state);
int flat_teardown(void **state);
#define FLAT_TEST(name) cmocka_unit_test_setup_teardown(name, flat_setup, flat_teardown)

/* Put code at @gpa. */
void flat_write(struct flat *g, uint64_t gpa, const void *bytes, unsigned n);
#define FLAT_CODE(g, gpa, ...)                                                                     \
	do {                                                                                       \
		static const uint8_t code_[] = {__VA_ARGS__};                                      \
		flat_write(g, gpa, code_, sizeof(code_));                                          \
	} while (0)

/* A vcpu about to execute at @rip: flat segments, CR0, CR4 and EFER for the mode, no flags set. */
struct x86_state *flat_enter(struct flat *g, unsigned vcpu, enum flat_mode mode, unsigned cpl,
	uint64_t cr3, uint64_t rip);

/*
 * A vcpu as after power-on, about to execute at @rip at CPL 0, with a stack of its own; otherwise
 * as flat_enter(). 64-bit code has FLAT_MAPPED bytes, one to one.
 */
struct x86_state *flat_start(struct flat *g, unsigned vcpu, enum flat_mode mode, uint64_t rip);
/* Fills the page tables of flat_start(): 4 KiB pages. */
void flat_small_pages(struct flat *g);
/* Maps the page of linear address @va in these tables to @gpa; ~0: not present. */
void flat_map_page(struct flat *g, uint64_t va, uint64_t gpa);

/* Exceptions in the bitmap are delivered through the IDT instead of leaving the vcpu. */
void flat_deliver(struct flat *g, unsigned vcpu, uint64_t vectors);

/* What ended a run. */
struct flat_result {
	int vector; /* -1: it was done, by UD2; -2: @exit tells */
	uint32_t error;
	uint64_t address; /* #PF */
	struct x86_exit exit;
};
struct flat_result flat_run(struct flat *g, unsigned vcpu);
/* Runs until it is done; anything else fails the test. */
void flat_run_done(struct flat *g, unsigned vcpu);

/* Page tables of 4 KiB pages that map linear addresses 0 to 4 GiB to themselves as 2 MiB pages. */
uint64_t flat_identity(struct flat *g, uint64_t gpa);

#endif
