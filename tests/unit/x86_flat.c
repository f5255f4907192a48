/* x86_flat.c - see x86_flat.h. */
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "x86_flat.h"

#define PRESENT_WRITE 3u

static int answer_interrupt(void *ctx)
{
	return atomic_exchange((atomic_int *)ctx, -1);
}

struct flat *flat_create(unsigned vcpus, size_t code_bytes)
{
	struct flat *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->machine = parts_machine(vcpus, code_bytes);
	assert_non_null(g->machine);
	g->ram = parts_memory(g->machine, 0, FLAT_MEMORY);
	g->ops = parts_ops;
	g->ops.interrupt = answer_interrupt;
	for (unsigned i = 0; i < vcpus; i++) {
		atomic_store(&g->interrupt[i], -1);
		g->vcpu[i] = x86_vcpu_create(g->machine, i, &g->ops, &g->interrupt[i]);
		assert_non_null(g->vcpu[i]);
		x86_vcpu_intercept_exceptions(g->vcpu[i], ~0ull);
	}
	return g;
}

void flat_destroy(struct flat *g)
{
	for (unsigned i = 0; i < FLAT_VCPUS; i++)
		x86_vcpu_destroy(g->vcpu[i]);
	x86_machine_destroy(g->machine);
	parts_memory_free(g->ram, FLAT_MEMORY);
	free(g);
}

int flat_setup(void **state)
{
	*state = flat_create(1, FLAT_CACHE);
	return 0;
}

int flat_teardown(void **state)
{
	flat_destroy(*state);
	return 0;
}

void flat_write(struct flat *g, uint64_t gpa, const void *bytes, unsigned n)
{
	memcpy(g->ram + gpa, bytes, n);
	x86_machine_written(g->machine, gpa, n);
}

struct x86_state *flat_enter(struct flat *g, unsigned vcpu, enum flat_mode mode, unsigned cpl,
	uint64_t cr3, uint64_t rip)
{
	struct x86_state *s = x86_vcpu_state(g->vcpu[vcpu]);
	bool wide = mode == FLAT_64 || mode == FLAT_COMPAT;
	unsigned bits = mode == FLAT_REAL ? 16 : mode == FLAT_64 ? 64 : 32;

	for (unsigned i = X86_ES; i <= X86_GS; i++)
		s->seg[i] = parts_segment(bits, i == X86_CS, cpl);
	s->cpl = (uint8_t)cpl;
	s->rip = rip;
	s->rflags = X86_FLAG_1;
	s->cr0 = X86_CR0_ET | X86_CR0_NE;
	if (mode != FLAT_REAL)
		s->cr0 |= X86_CR0_PE | X86_CR0_WP;
	if (mode >= FLAT_PAGED)
		s->cr0 |= X86_CR0_PG;
	s->cr3 = cr3;
	s->cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_PSE;
	if (mode >= FLAT_PAE)
		s->cr4 |= X86_CR4_PAE;
	s->efer = X86_EFER_SCE | X86_EFER_NXE | (wide ? X86_EFER_LME | X86_EFER_LMA : 0);
	s->interrupt_shadow = false;
	x86_vcpu_changed(g->vcpu[vcpu]);
	return s;
}

struct x86_state *flat_start(struct flat *g, unsigned vcpu, enum flat_mode mode, uint64_t rip)
{
	struct x86_state *s = x86_vcpu_state(g->vcpu[vcpu]);

	x86_vcpu_reset(g->vcpu[vcpu], false);
	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[X86_RSP] = mode == FLAT_REAL ? 0x8000 : FLAT_MAPPED - 0x10000 * (vcpu + 1);
	return flat_enter(g, vcpu, mode, 0, FLAT_TABLES, rip);
}

static uint64_t *table(struct flat *g, unsigned n)
{
	return (uint64_t *)(g->ram + FLAT_TABLES + n * 0x1000);
}

void flat_small_pages(struct flat *g)
{
	for (unsigned level = 0; level < 3; level++)
		table(g, level)[0] = (FLAT_TABLES + (level + 1) * 0x1000) | PRESENT_WRITE;
	for (uint64_t gpa = 0; gpa < FLAT_MAPPED; gpa += 4096)
		table(g, 3)[gpa >> 12] = gpa | PRESENT_WRITE;
}

void flat_map_page(struct flat *g, uint64_t va, uint64_t gpa)
{
	table(g, 3)[va >> 12] = gpa == ~0ull ? 0 : gpa | PRESENT_WRITE;
	x86_vcpu_flush(g->machine, NULL, ~0ull, true, NULL, 0);
}

void flat_deliver(struct flat *g, unsigned vcpu, uint64_t vectors)
{
	x86_vcpu_intercept_exceptions(g->vcpu[vcpu], ~vectors);
}

struct flat_result flat_run(struct flat *g, unsigned vcpu)
{
	struct flat_result r = {.vector = -2};

	x86_vcpu_run(g->vcpu[vcpu], &r.exit);
	if (r.exit.reason != X86_EXIT_EXCEPTION)
		return r;
	r.vector = r.exit.exception.vector;
	if (r.vector == X86_VEC_UD && r.exit.insn_len >= 2 && r.exit.insn[0] == 0x0f &&
		r.exit.insn[1] == 0x0b) {
		r.vector = -1;
		return r;
	}
	if (r.exit.exception.has_error)
		r.error = r.exit.exception.error;
	r.address = r.exit.exception.parameter;
	return r;
}

void flat_run_done(struct flat *g, unsigned vcpu)
{
	struct flat_result r = flat_run(g, vcpu);

	if (r.vector == -1)
		return;
	print_error("vcpu %u: exit %d, vector %d, error %x, address %llx, rip %llx\n", vcpu,
		(int)r.exit.reason, r.vector, r.error, (unsigned long long)r.address,
		(unsigned long long)x86_vcpu_state(g->vcpu[vcpu])->rip);
	fail();
}

uint64_t flat_identity(struct flat *g, uint64_t gpa)
{
	uint64_t *tables = (uint64_t *)(g->ram + gpa);

	tables[0] = (gpa + 0x1000) | 7;
	for (unsigned i = 0; i < 4; i++)
		tables[512 + i] = (gpa + 0x2000 + i * 0x1000) | 7;
	for (unsigned i = 0; i < 2048; i++)
		tables[1024 + i] = (uint64_t)i << 21 | 0x80 | 7;
	return gpa;
}
