/* x86_tables.c - see x86_tables.h. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "x86_tables.h"

static uint64_t entry_get(const struct paging *p, uint64_t table, uint64_t index)
{
	const uint8_t *at = p->g->ram + table + index * (p->wide ? 8 : 4);

	return p->wide ? *(const uint64_t *)at : *(const uint32_t *)at;
}

static void entry_set(struct paging *p, uint64_t table, uint64_t index, uint64_t value)
{
	uint8_t *at = p->g->ram + table + index * (p->wide ? 8 : 4);

	if (p->wide)
		*(uint64_t *)at = value;
	else
		*(uint32_t *)at = (uint32_t)value;
}

static uint64_t index_of(const struct paging *p, uint64_t va, unsigned level)
{
	return va >> (12 + (level - 1) * p->index_bits) & ((1ull << p->index_bits) - 1);
}

/* The table of @level that @va goes through, made if need be with all rights in those above it. */
static uint64_t table_of(struct paging *p, uint64_t va, unsigned level)
{
	uint64_t table = p->root;

	for (unsigned l = p->levels; l > level; l--) {
		bool pdpte = p->mode == FLAT_PAE && l == 3;
		uint64_t index = index_of(p, va, l), e = entry_get(p, table, index);

		if (!(e & P)) {
			e = p->next | P | (pdpte ? 0 : W | U);
			p->next += 0x1000;
			entry_set(p, table, index, e);
		}
		table = e & 0xfffff000;
	}
	return table;
}

void paging_map(struct paging *p, uint64_t va, unsigned level, uint64_t value)
{
	entry_set(p, table_of(p, va, level), index_of(p, va, level), value);
}

uint64_t paging_entry(struct paging *p, uint64_t va, unsigned level)
{
	return entry_get(p, table_of(p, va, level), index_of(p, va, level));
}

static const uint8_t code64[PROBES][8] = {
	[READ] = {0x48, 0x8b, 0x03, DONE},   /* mov rax, [rbx] */
	[WRITE] = {0x48, 0x89, 0x03, DONE},  /* mov [rbx], rax */
	[EXEC] = {0xff, 0xe3},		     /* jmp rbx */
	[MODIFY] = {0x48, 0x01, 0x03, DONE}, /* add [rbx], rax */
};
static const uint8_t code32[PROBES][8] = {
	[READ] = {0x8b, 0x03, DONE},
	[WRITE] = {0x89, 0x03, DONE},
	[EXEC] = {0xff, 0xe3},
	[MODIFY] = {0x01, 0x03, DONE},
};

void paging_setup(struct paging *p, struct flat *g, enum flat_mode mode)
{
	*p = (struct paging){.g = g,
		.mode = mode,
		.levels = mode == FLAT_PAGED ? 2
			  : mode == FLAT_PAE ? 3
					     : 4,
		.index_bits = mode == FLAT_PAGED ? 10 : 9,
		.wide = mode != FLAT_PAGED,
		.root = TABLES,
		.next = TABLES + 0x1000};
	memset(g->ram + TABLES, 0, FRAME0 - TABLES);
	for (unsigned i = 0; i < PROBES; i++) {
		const uint8_t *code = mode == FLAT_64 ? code64[i] : code32[i];

		flat_write(g, CODE_S + 16 * i, code, 8);
		flat_write(g, CODE_U + 16 * i, code, 8);
	}
	paging_map(p, CODE_S, 1, CODE_S | P | W);
	paging_map(p, CODE_U, 1, CODE_U | P | W | U);
	for (unsigned i = 0; i < 512; i++) {
		((uint64_t *)(g->ram + FRAME0))[i] = 0xf0f0f0f000000000u | i;
		((uint64_t *)(g->ram + FRAME1))[i] = 0xf1f1f1f100000000u | i;
	}
	/* The tables were changed behind the vcpu's back. */
	x86_vcpu_flush(g->machine, NULL, 1, true, NULL, 0);
}

struct x86_state *paging_enter(struct paging *p, unsigned cpl, uint64_t rip)
{
	struct x86_state *s = flat_enter(p->g, 0, p->mode, cpl, p->root, rip);

	s->cr0 &= ~p->cr0_clear;
	s->cr4 |= p->cr4_set;
	s->efer &= ~p->efer_clear;
	return s;
}

struct flat_result paging_probe(struct paging *p, enum probe what, unsigned cpl, uint64_t va)
{
	struct x86_state *s = paging_enter(p, cpl, (cpl == 3 ? CODE_U : CODE_S) + 16 * what);

	s->gpr[X86_RBX] = va;
	s->gpr[X86_RAX] = 0x55;
	return flat_run(p->g, 0);
}

void assert_done(struct flat_result r)
{
	if (r.vector != -1)
		print_error("vector %d error %x address %llx\n", r.vector, r.error,
			(unsigned long long)r.address);
	assert_int_equal(r.vector, -1);
}

void assert_fault(struct flat_result r, uint32_t error, uint64_t address)
{
	assert_int_equal(r.vector, X86_VEC_PF);
	assert_int_equal(r.error, error);
	assert_int_equal(r.address, address);
}

uint64_t paging_rax(struct paging *p)
{
	uint64_t v = x86_vcpu_state(p->g->vcpu[0])->gpr[X86_RAX];

	return p->mode == FLAT_64 ? v : (uint32_t)v;
}

uint64_t paging_read(struct paging *p, uint64_t va)
{
	assert_done(paging_probe(p, READ, 0, va));
	return paging_rax(p);
}

uint64_t *paging_frame(struct paging *p, uint64_t gpa)
{
	return (uint64_t *)(p->g->ram + gpa);
}
