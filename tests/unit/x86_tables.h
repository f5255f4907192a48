/*
 * x86_tables.h - guests whose page tables a test writes entry by entry, in any paging mode, and
 * accesses that probe them.
 */
#ifndef PARTITA_TESTS_X86_TABLES_H
#define PARTITA_TESTS_X86_TABLES_H

#include "x86_flat.h"

#define P  0x001ull
#define W  0x002ull
#define U  0x004ull
#define A  0x020ull
#define D  0x040ull
#define PS 0x080ull
#define G  0x100ull
#define NX (1ull << 63)

/* Page-fault error codes. */
#define EP    0x01u
#define EW    0x02u
#define EU    0x04u
#define ERSVD 0x08u
#define EI    0x10u

/* Guest-physical memory: tables from here, then pages to map. */
#define TABLES 0x100000u
#define FRAME0 0x200000u
#define FRAME1 0x201000u
/* 4 MiB and 2 MiB frames. */
#define LARGE0 0x800000u
#define LARGE1 0xc00000u

/* The code that probes: at the same linear and physical addresses, for supervisor and user. */
#define CODE_S 0x10000u
#define CODE_U 0x20000u
/* What it probes, mostly. */
#define VA 0x40000000u

enum probe {
	READ,
	WRITE,
	EXEC,
	MODIFY,
	PROBES,
};

struct paging {
	struct flat *g;
	enum flat_mode mode;
	unsigned levels, index_bits;
	bool wide;
	uint64_t root, next; /* tables */
	uint64_t cr0_clear, cr4_set, efer_clear;
};

/* Tables that map the probing code only, and frames that hold numbers of their words. */
void paging_setup(struct paging *p, struct flat *g, enum flat_mode mode);
/* The entry of @level (1: a page table's) that @va goes through; tables above have all rights. */
void paging_map(struct paging *p, uint64_t va, unsigned level, uint64_t value);
uint64_t paging_entry(struct paging *p, uint64_t va, unsigned level);
/* Guest-physical memory, as 64-bit words. */
uint64_t *paging_frame(struct paging *p, uint64_t gpa);

struct x86_state *paging_enter(struct paging *p, unsigned cpl, uint64_t rip);
/* One access at @va; what is written or added is 0x55. */
struct flat_result paging_probe(struct paging *p, enum probe what, unsigned cpl, uint64_t va);
/* What a supervisor reads at @va, which must work: 64 or 32 bits. */
uint64_t paging_read(struct paging *p, uint64_t va);
uint64_t paging_rax(struct paging *p);

void assert_done(struct flat_result r);
void assert_fault(struct flat_result r, uint32_t error, uint64_t address);

/* Executes some code at CPL 0, RAX and RBX given, to its end. */
#define EXECUTE(p, rax, rbx, ...)                                                                  \
	do {                                                                                       \
		struct x86_state *s_ = paging_enter(p, 0, CODE_S + 0x800);                         \
		FLAT_CODE((p)->g, CODE_S + 0x800, __VA_ARGS__, DONE);                              \
		s_->gpr[X86_RAX] = (rax);                                                          \
		s_->gpr[X86_RBX] = (rbx);                                                          \
		flat_run_done((p)->g, 0);                                                          \
	} while (0)
#define INVLPG 0x0f, 0x01, 0x3b /* invlpg [rbx] */

#endif
