/* x86_harness.c - see x86_harness.h. */
#include "x86_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#define TABLES	       0x1000u /* PML4, PDPT, PD, PT */
#define PRESENT_WRITE  3u
#define LAST_TABLE(h)  ((uint64_t *)((h)->ram + TABLES + 0x3000))

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
	return X86_FAULT;
}

static int answer_interrupt(void *ctx)
{
	return -1;
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

static void make_tables(struct harness *h)
{
	for (unsigned level = 0; level < 3; level++) {
		uint64_t *entry = (uint64_t *)(h->ram + TABLES + level * 0x1000);

		*entry = (TABLES + (level + 1) * 0x1000) | PRESENT_WRITE;
	}
	for (uint64_t gpa = 0; gpa < HARNESS_RAM; gpa += 4096)
		LAST_TABLE(h)[gpa >> 12] = gpa | PRESENT_WRITE;
}

void harness_create(struct harness *h, unsigned vcpus, size_t code_bytes)
{
	memset(h, 0, sizeof(*h));
	h->ram = mmap(NULL, HARNESS_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(h->ram, MAP_FAILED);
	h->machine = x86_machine_create(2, code_bytes);
	assert_non_null(h->machine);
	assert_int_equal(x86_machine_map(h->machine, 0, h->ram, HARNESS_RAM,
				 X86_MAP_READ | X86_MAP_WRITE | X86_MAP_EXEC),
		0);
	make_tables(h);
	for (unsigned i = 0; i < vcpus; i++) {
		h->vcpu[i] = x86_vcpu_create(h->machine, i, &ops, NULL);
		assert_non_null(h->vcpu[i]);
		x86_vcpu_intercept_exceptions(h->vcpu[i], ~0ul);
	}
}

void harness_destroy(struct harness *h)
{
	for (unsigned i = 0; i < 2; i++)
		if (h->vcpu[i])
			x86_vcpu_destroy(h->vcpu[i]);
	x86_machine_destroy(h->machine);
	munmap(h->ram, HARNESS_RAM);
}

static void flat_segments(struct x86_state *s, enum harness_mode mode)
{
	static const uint16_t size[] = {
		[MODE_REAL] = 0, [MODE_32] = X86_SEG_DB | X86_SEG_G, [MODE_64] = X86_SEG_G};
	uint32_t limit = mode == MODE_REAL ? 0xffff : 0xffffffff;
	uint16_t common = X86_SEG_P | X86_SEG_S | size[mode];

	for (unsigned i = X86_ES; i <= X86_GS; i++)
		s->seg[i] = (struct x86_segment){
			.limit = limit,
			.selector = mode == MODE_REAL ? 0 : 0x10,
			.attributes = common | 0x3,
		};
	s->seg[X86_CS].attributes = common | 0xb | (mode == MODE_64 ? X86_SEG_L : 0);
	s->seg[X86_CS].selector = mode == MODE_REAL ? 0 : 0x8;
}

struct x86_state *harness_start(
	struct harness *h, unsigned vcpu, enum harness_mode mode, uint64_t rip)
{
	struct x86_state *s = x86_vcpu_state(h->vcpu[vcpu]);

	x86_vcpu_reset(h->vcpu[vcpu], false);
	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[X86_RSP] = mode == MODE_REAL ? 0x8000 : HARNESS_STACK(vcpu);
	s->rip = rip;
	s->rflags = X86_FLAG_1;
	flat_segments(s, mode);
	s->cr0 = X86_CR0_ET | X86_CR0_NE | (mode == MODE_REAL ? 0 : X86_CR0_PE);
	s->cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
	s->efer = 0;
	if (mode == MODE_64) {
		s->cr0 |= X86_CR0_PG | X86_CR0_WP;
		s->cr3 = TABLES;
		s->cr4 |= X86_CR4_PAE;
		s->efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
	}
	return s;
}

struct x86_exit harness_run(struct harness *h, unsigned vcpu)
{
	struct x86_exit exit;

	x86_vcpu_changed(h->vcpu[vcpu]);
	x86_vcpu_run(h->vcpu[vcpu], &exit);
	return exit;
}

void harness_put(struct harness *h, uint64_t gpa, const void *code, size_t size)
{
	memcpy(h->ram + gpa, code, size);
	x86_machine_written(h->machine, gpa, size);
}

void harness_page(struct harness *h, uint64_t va, uint64_t gpa)
{
	LAST_TABLE(h)[va >> 12] = gpa == ~0ul ? 0 : gpa | PRESENT_WRITE;
	x86_vcpu_flush(h->machine, NULL, 3, true, NULL, 0);
}
