/* x86_flat.c - see x86_flat.h. */
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "x86_flat.h"

struct context {
	struct flat *guest;
	unsigned vcpu;
};

static struct context contexts[FLAT_VCPUS];

static enum x86_answer answer_cpuid(void *ctx, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	memset(out, 0, 16);
	return X86_DONE;
}

static enum x86_answer answer_rdmsr(void *ctx, uint32_t msr, uint64_t *value)
{
	return X86_FAULT;
}

static enum x86_answer answer_wrmsr(void *ctx, uint32_t msr, uint64_t value)
{
	return X86_FAULT;
}

static enum x86_answer answer_read(void *ctx, uint64_t gpa, unsigned size, uint64_t *value)
{
	return X86_EXIT;
}

static enum x86_answer answer_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	return X86_EXIT;
}

static enum x86_answer answer_hypercall(void *ctx)
{
	return X86_EXIT;
}

static int answer_interrupt(void *ctx)
{
	struct context *c = ctx;

	return atomic_exchange(&c->guest->interrupt[c->vcpu], -1);
}

static uint64_t answer_read_cr8(void *ctx)
{
	return 0;
}

static void answer_write_cr8(void *ctx, uint64_t value)
{
}

static const struct x86_ops ops = {
	.cpuid = answer_cpuid,
	.rdmsr = answer_rdmsr,
	.wrmsr = answer_wrmsr,
	.mmio_read = answer_read,
	.mmio_write = answer_write,
	.hypercall = answer_hypercall,
	.interrupt = answer_interrupt,
	.read_cr8 = answer_read_cr8,
	.write_cr8 = answer_write_cr8,
};

struct flat *flat_create(unsigned vcpus)
{
	struct flat *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->machine = x86_machine_create(vcpus, 16u << 20);
	assert_non_null(g->machine);
	g->ram = mmap(NULL, FLAT_MEMORY, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(g->ram, MAP_FAILED);
	assert_int_equal(x86_machine_map(g->machine, 0, g->ram, FLAT_MEMORY,
				 X86_MAP_READ | X86_MAP_WRITE | X86_MAP_EXEC),
		0);
	for (unsigned i = 0; i < vcpus; i++) {
		contexts[i] = (struct context){ g, i };
		atomic_store(&g->interrupt[i], -1);
		g->vcpu[i] = x86_vcpu_create(g->machine, i, &ops, &contexts[i]);
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
	munmap(g->ram, FLAT_MEMORY);
	free(g);
}

void flat_write(struct flat *g, uint64_t gpa, const void *bytes, unsigned n)
{
	memcpy(g->ram + gpa, bytes, n);
	x86_machine_written(g->machine, gpa, n);
}

static struct x86_segment segment(enum flat_mode mode, unsigned cpl, bool code)
{
	bool real = mode == FLAT_REAL;
	struct x86_segment s = { .limit = real ? 0xffff : 0xffffffff };

	s.attributes = (code ? 0xb : 0x3) | X86_SEG_S | X86_SEG_P | (uint16_t)(cpl << 5);
	s.selector = (uint16_t)(real ? 0 : (code ? 0x8 : 0x10) | cpl);
	if (real)
		return s;
	s.attributes |= X86_SEG_G | (mode == FLAT_64 && code ? X86_SEG_L : X86_SEG_DB);
	return s;
}

struct x86_state *flat_enter(struct flat *g, unsigned vcpu, enum flat_mode mode, unsigned cpl,
	uint64_t cr3, uint64_t rip)
{
	struct x86_state *s = x86_vcpu_state(g->vcpu[vcpu]);
	bool wide = mode == FLAT_64 || mode == FLAT_COMPAT;

	for (unsigned i = X86_ES; i <= X86_GS; i++)
		s->seg[i] = segment(mode, cpl, i == X86_CS);
	s->cpl = (uint8_t)cpl;
	s->rip = rip;
	s->rflags = X86_FLAG_1;
	s->cr0 = X86_CR0_ET | X86_CR0_NE;
	if (mode != FLAT_REAL)
		s->cr0 |= X86_CR0_PE | X86_CR0_WP;
	if (mode >= FLAT_PAGED)
		s->cr0 |= X86_CR0_PG;
	s->cr3 = cr3;
	s->cr4 = X86_CR4_OSFXSR | X86_CR4_PSE;
	if (mode >= FLAT_PAE)
		s->cr4 |= X86_CR4_PAE;
	s->efer = X86_EFER_SCE | X86_EFER_NXE | (wide ? X86_EFER_LME | X86_EFER_LMA : 0);
	s->interrupt_shadow = false;
	x86_vcpu_changed(g->vcpu[vcpu]);
	return s;
}

void flat_deliver(struct flat *g, unsigned vcpu, uint64_t vectors)
{
	x86_vcpu_intercept_exceptions(g->vcpu[vcpu], ~vectors);
}

struct flat_result flat_run(struct flat *g, unsigned vcpu)
{
	struct flat_result r = { .vector = -2 };

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
