/*
 * x86_guest.c - see x86_guest.h.
 */
#include "x86_guest.h"

#include <stdlib.h>
#include <unistd.h>

#define PRESENT_RW_USER 7u
#define TYPE_INT32	14u
#define TYPE_INT16	6u
#define CODE_CACHE	(1u << 20)

/* ---- What the processor asks --------------------------------------------------------------- */

static enum x86_answer on_cpuid(void *ctx, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	out[0] = leaf;
	out[1] = subleaf;
	out[2] = out[3] = 0;
	return X86_DONE;
}

static enum x86_answer on_rdmsr(void *ctx, uint32_t msr, uint64_t *value)
{
	return msr == 0x1b ? X86_EXIT : X86_FAULT;
}

static enum x86_answer on_wrmsr(void *ctx, uint32_t msr, uint64_t value)
{
	return msr == 0x1b ? X86_EXIT : X86_FAULT;
}

static enum x86_answer on_hypercall(void *ctx)
{
	struct guest *g = ctx;

	g->hypercalls++;
	g->s->gpr[X86_RAX] = 0x600d;
	return X86_DONE;
}

static int on_interrupt(void *ctx)
{
	struct guest *g = ctx;
	int vector = g->interrupt;

	g->interrupt = -1;
	return vector;
}

static uint64_t on_read_cr8(void *ctx)
{
	return ((struct guest *)ctx)->cr8;
}

static void on_write_cr8(void *ctx, uint64_t value)
{
	((struct guest *)ctx)->cr8 = value;
}

static void set_ops(struct guest *g)
{
	g->ops = parts_ops;
	g->ops.cpuid = on_cpuid;
	g->ops.rdmsr = on_rdmsr;
	g->ops.wrmsr = on_wrmsr;
	g->ops.hypercall = on_hypercall;
	g->ops.interrupt = on_interrupt;
	g->ops.read_cr8 = on_read_cr8;
	g->ops.write_cr8 = on_write_cr8;
}

/* ---- Memory -------------------------------------------------------------------------------- */

uint64_t guest_read(struct guest *g, uint64_t address, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, g->memory + address, size);
	return value;
}

void guest_write(struct guest *g, uint64_t address, unsigned size, uint64_t value)
{
	memcpy(g->memory + address, &value, size);
	x86_machine_written(g->machine, address, size);
}

uint64_t guest_stack(struct guest *g, unsigned n, unsigned size)
{
	uint64_t base = g->s->seg[X86_CS].attributes & X86_SEG_L ? 0 : g->s->seg[X86_SS].base;

	return guest_read(g, base + g->s->gpr[X86_RSP] + n * size, size);
}

/* ---- Tables -------------------------------------------------------------------------------- */

static bool is_long(const struct guest *g)
{
	return g->mode == MODE_LONG || g->mode == MODE_COMPATIBILITY;
}

/* @attributes as in struct x86_segment; @limit in the descriptor's unit. */
uint64_t guest_descriptor(uint32_t base, uint32_t limit, unsigned attributes)
{
	return (uint64_t)(limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 |
	       (uint64_t)(attributes & 0xf0ff) << 40 | (uint64_t)(limit >> 16 & 15) << 48 |
	       (uint64_t)(base >> 24) << 56;
}

uint64_t guest_gate(unsigned type, unsigned dpl, unsigned selector, uint32_t offset)
{
	return (offset & 0xffff) | (uint64_t)selector << 16 |
	       (uint64_t)(type | dpl << 5 | X86_SEG_P) << 40 | (uint64_t)(offset >> 16) << 48;
}

void guest_set_descriptor(struct guest *g, unsigned selector, uint64_t descriptor)
{
	guest_write(g, (selector & 4 ? GUEST_LDT : GUEST_GDT) + (selector & ~7u), 8, descriptor);
}

void guest_set_gate(struct guest *g, unsigned vector, unsigned type, unsigned dpl,
	unsigned selector, uint64_t offset, unsigned ist)
{
	uint64_t gate = guest_gate(type, dpl, selector, (uint32_t)offset);

	if (!is_long(g)) {
		guest_write(g, GUEST_IDT + vector * 8, 8, gate);
		return;
	}
	guest_write(g, GUEST_IDT + vector * 16, 8, gate | (uint64_t)ist << 32);
	guest_write(g, GUEST_IDT + vector * 16 + 8, 8, offset >> 32);
}

#define ATTR_CODE   (X86_SEG_P | X86_SEG_S | 0xb)
#define ATTR_DATA   (X86_SEG_P | X86_SEG_S | 0x3)
#define ATTR_BIG    (X86_SEG_G | X86_SEG_DB)
#define ATTR_DPL(n) ((n) << 5)

static void make_gdt(struct guest *g)
{
	const unsigned all = 0xfffff;
	unsigned tss = X86_SEG_P | 0xb;

	guest_set_descriptor(g, SEL_CODE32, guest_descriptor(0, all, ATTR_CODE | ATTR_BIG));
	guest_set_descriptor(
		g, SEL_CODE64, guest_descriptor(0, all, ATTR_CODE | X86_SEG_G | X86_SEG_L));
	guest_set_descriptor(g, SEL_DATA, guest_descriptor(0, all, ATTR_DATA | ATTR_BIG));
	guest_set_descriptor(
		g, SEL_USER32, guest_descriptor(0, all, ATTR_CODE | ATTR_BIG | ATTR_DPL(3)));
	guest_set_descriptor(
		g, SEL_USER_DATA, guest_descriptor(0, all, ATTR_DATA | ATTR_BIG | ATTR_DPL(3)));
	guest_set_descriptor(g, SEL_USER64,
		guest_descriptor(0, all, ATTR_CODE | X86_SEG_G | X86_SEG_L | ATTR_DPL(3)));
	guest_set_descriptor(g, SEL_LDT, guest_descriptor(GUEST_LDT, 0xff, X86_SEG_P | 2));
	guest_set_descriptor(g, SEL_TSS, guest_descriptor(GUEST_TSS, 0xfff, tss));
	guest_set_descriptor(g, SEL_CODE16, guest_descriptor(GUEST_CODE, 0xffff, ATTR_CODE));
	guest_set_descriptor(g, SEL_DATA16, guest_descriptor(0, 0xffff, ATTR_DATA));
	guest_set_descriptor(g, SEL_CONFORMING, guest_descriptor(0, all, ATTR_CODE | 4 | ATTR_BIG));
	guest_set_descriptor(
		g, SEL_ABSENT, guest_descriptor(0, all, (ATTR_DATA | ATTR_BIG) & ~X86_SEG_P));
	guest_set_descriptor(
		g, SEL_SMALL, guest_descriptor(GUEST_DATA, 15, ATTR_DATA | X86_SEG_DB));
	guest_set_descriptor(
		g, SEL_DOWN, guest_descriptor(GUEST_DATA, 0xfff, ATTR_DATA | X86_SEG_DB | 4));
	guest_set_descriptor(
		g, SEL_READ_ONLY, guest_descriptor(0, all, (ATTR_DATA | ATTR_BIG) & ~2u));
	guest_set_descriptor(g, SEL_TSS2, guest_descriptor(GUEST_TSS2, 0x67, X86_SEG_P | 9));
	guest_set_descriptor(g, SEL_TASK_GATE, guest_gate(5, 3, SEL_TSS2, 0));
	guest_set_descriptor(
		g, SEL_RING1, guest_descriptor(0, all, ATTR_CODE | ATTR_BIG | ATTR_DPL(1)));
	guest_set_descriptor(
		g, SEL_RING1_DATA, guest_descriptor(0, all, ATTR_DATA | ATTR_BIG | ATTR_DPL(1)));
}

static void make_tss(struct guest *g)
{
	if (is_long(g)) {
		guest_write(g, GUEST_TSS + 4, 8, GUEST_RING0);
		guest_write(g, GUEST_TSS + 12, 8, GUEST_STACK1);
		guest_write(g, GUEST_TSS + 36, 8, GUEST_IST1);
	} else {
		guest_write(g, GUEST_TSS + 4, 4, GUEST_RING0);
		guest_write(g, GUEST_TSS + 8, 2, SEL_DATA);
		guest_write(g, GUEST_TSS + 12, 4, GUEST_STACK1);
		guest_write(g, GUEST_TSS + 16, 2, SEL_RING1_DATA | 1);
	}
	guest_write(g, GUEST_TSS + 102, 2, 0xfff); /* no I/O permission bit map */
}

static void make_vectors(struct guest *g)
{
	for (unsigned v = 0; v < 256; v++) {
		uint32_t handler = GUEST_HANDLERS + v * 16;

		g->memory[handler] = 0xf4; /* HLT */
		if (g->mode == MODE_REAL)
			guest_write(g, v * 4, 4, (handler >> 4) << 16);
		else
			guest_set_gate(g, v, TYPE_INT32, 0, is_long(g) ? SEL_CODE64 : SEL_CODE32,
				handler, 0);
	}
}

static void make_page_tables(struct guest *g)
{
	guest_write(g, GUEST_PML4, 8, (GUEST_PML4 + 0x1000) | PRESENT_RW_USER);
	guest_write(g, GUEST_PML4 + 0x1000, 8, (GUEST_PML4 + 0x2000) | PRESENT_RW_USER);
	guest_write(g, GUEST_PML4 + 0x2000, 8, PRESENT_RW_USER | 0x80); /* 2 MiB */
}

/* ---- State --------------------------------------------------------------------------------- */

static struct x86_segment segment(struct guest *g, unsigned selector)
{
	uint64_t d = guest_read(g, GUEST_GDT + (selector & ~7u), 8);
	uint32_t limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));

	return (struct x86_segment){
		.base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000),
		.limit = d >> 55 & 1 ? limit << 12 | 0xfff : limit,
		.selector = (uint16_t)selector,
		.attributes = (uint16_t)(d >> 40 & 0xf0ff),
	};
}

static struct x86_segment real_segment(unsigned selector, unsigned attributes)
{
	return (struct x86_segment){
		(uint64_t)selector << 4, 0xffff, (uint16_t)selector, (uint16_t)attributes};
}

static void set_segments(struct guest *g, unsigned cs, unsigned data)
{
	struct x86_segment *seg = g->s->seg;

	for (unsigned i = X86_ES; i <= X86_GS; i++)
		seg[i] = segment(g, i == X86_CS ? cs : data);
	seg[X86_LDTR] = segment(g, SEL_LDT);
	seg[X86_TR] = segment(g, SEL_TSS);
}

static void set_real_segments(struct guest *g, unsigned attributes)
{
	struct x86_segment *seg = g->s->seg;

	for (unsigned i = X86_ES; i <= X86_GS; i++)
		seg[i] = real_segment(i == X86_CS ? GUEST_CODE >> 4 : 0, attributes);
}

static void set_state(struct guest *g, unsigned cpl)
{
	struct x86_state *s = g->s;

	s->gdtr = (struct x86_table){GUEST_GDT, SEL_END - 1};
	s->idtr = (struct x86_table){GUEST_IDT, is_long(g) ? 0xfff : 0x7ff};
	s->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
	s->rip = GUEST_CODE;
	s->gpr[X86_RSP] = cpl == 3 ? GUEST_STACK3 : GUEST_STACK0;
	switch (g->mode) {
	case MODE_REAL:
		s->cr0 &= ~X86_CR0_PE;
		s->idtr = (struct x86_table){0, 0x3ff};
		set_real_segments(g, 0x93);
		break;
	case MODE_VM86:
		set_segments(g, SEL_CODE32, SEL_DATA);
		set_real_segments(g, 0xf3);
		s->rflags |= X86_FLAG_VM;
		break;
	case MODE_PROTECTED16:
		set_segments(g, SEL_CODE16, SEL_DATA16);
		break;
	case MODE_PROTECTED32:
	case MODE_COMPATIBILITY:
		set_segments(
			g, cpl == 3 ? SEL_USER32 : SEL_CODE32, cpl == 3 ? SEL_USER_DATA : SEL_DATA);
		break;
	case MODE_LONG:
		set_segments(
			g, cpl == 3 ? SEL_USER64 : SEL_CODE64, cpl == 3 ? SEL_USER_DATA : SEL_DATA);
		break;
	}
	if (g->mode == MODE_REAL || g->mode == MODE_VM86 || g->mode == MODE_PROTECTED16) {
		s->rip = 0;
		s->gpr[X86_RSP] = 0xff00;
	}
	if (is_long(g)) {
		s->cr0 |= X86_CR0_PG | X86_CR0_WP;
		s->cr3 = GUEST_PML4;
		s->cr4 = X86_CR4_PAE;
		s->efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_SCE;
	}
	x86_vcpu_changed(g->vcpu);
	assert_int_equal(s->cpl, g->mode == MODE_VM86 ? 3 : cpl);
}

struct guest *guest_create(
	enum guest_mode mode, unsigned cpl, const uint8_t *begin, const uint8_t *end)
{
	struct guest *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->mode = mode;
	g->interrupt = -1;
	g->machine = parts_machine(1, CODE_CACHE);
	assert_non_null(g->machine);
	g->memory = parts_memory(g->machine, 0, GUEST_MEMORY);
	set_ops(g);
	g->vcpu = x86_vcpu_create(g->machine, 0, &g->ops, g);
	assert_non_null(g->vcpu);
	g->s = x86_vcpu_state(g->vcpu);
	make_gdt(g);
	make_tss(g);
	make_vectors(g);
	if (is_long(g))
		make_page_tables(g);
	memcpy(g->memory + GUEST_CODE, begin, (size_t)(end - begin));
	set_state(g, cpl);
	return g;
}

void guest_destroy(struct guest *g)
{
	x86_vcpu_destroy(g->vcpu);
	x86_machine_destroy(g->machine);
	parts_memory_free(g->memory, GUEST_MEMORY);
	free(g);
}

/* ---- Running ------------------------------------------------------------------------------- */

enum x86_exit_reason guest_run(struct guest *g)
{
	alarm(20); /* a guest that never ends fails its test */
	x86_vcpu_run(g->vcpu, &g->exit);
	alarm(0);
	return g->exit.reason;
}

void guest_expect_vector(struct guest *g, unsigned vector)
{
	struct x86_state *s = g->s;

	assert_int_equal(guest_run(g), X86_EXIT_HALT);
	assert_int_equal(s->rip + s->seg[X86_CS].base * !(s->seg[X86_CS].attributes & X86_SEG_L),
		GUEST_HANDLERS + vector * 16 + 1);
}

void guest_expect_halt(struct guest *g, int offset)
{
	struct x86_state *s = g->s;
	uint64_t at;

	assert_int_equal(guest_run(g), X86_EXIT_HALT);
	at = s->rip + s->seg[X86_CS].base * !(s->seg[X86_CS].attributes & X86_SEG_L) - 1;
	assert_in_range(at, GUEST_CODE, GUEST_CODE + 0xffff);
	if (offset >= 0)
		assert_int_equal(at - GUEST_CODE, offset);
}
