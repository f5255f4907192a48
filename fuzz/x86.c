/*
 * x86.c - random bytes as code, in every mode of the processor: whatever it executes, the host
 * process neither crashes nor hangs, and guest memory is all it writes.
 *
 * Input: one byte that selects the mode, one that seeds the registers, then code. Page tables,
 * descriptor tables and an interrupt table are valid at first; the code may do to them what it
 * likes.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "x86/x86.h"

#define MEMORY	   (1u << 20)
#define GDT	   0x1000u
#define IDT	   0x2000u
#define TSS	   0x3000u
#define PML4	   0x4000u
#define PDPT	   0x5000u
#define PD	   0x6000u
#define PT	   0x7000u
#define HANDLER	   0x8000u
#define CODE	   0x10000u
#define STACK	   0x20000u
#define CODE_MAX   4096u
#define EXITS_MAX  64
#define CODE_CACHE (4u << 20)
#define SLICE_US   2000

enum mode {
	REAL,
	PROTECTED_16,
	PROTECTED_32,
	PAGED_32,
	PAE,
	LONG,
	COMPATIBILITY,
	LONG_USER,
	MODES
};

static struct x86_machine *machine;
static struct x86_vcpu *vcpu;
static uint8_t *memory;
static unsigned callbacks;

static enum x86_answer answer(void)
{
	return callbacks++ % 3;
}

static enum x86_answer on_cpuid(void *ctx, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	memset(out, 0x5a, 4 * sizeof(out[0]));
	return X86_DONE;
}

static enum x86_answer on_rdmsr(void *ctx, uint32_t msr, uint64_t *value)
{
	*value = 0x123456789abcdefull;
	return answer();
}

static enum x86_answer on_wrmsr(void *ctx, uint32_t msr, uint64_t value)
{
	return answer();
}

static enum x86_answer on_mmio_read(void *ctx, uint64_t gpa, unsigned size, uint64_t *value)
{
	*value = gpa * 0x9e3779b97f4a7c15ull;
	return callbacks++ % 2 ? X86_DONE : X86_EXIT;
}

static enum x86_answer on_mmio_write(void *ctx, uint64_t gpa, unsigned size, uint64_t value)
{
	return callbacks++ % 2 ? X86_DONE : X86_EXIT;
}

static enum x86_answer on_hypercall(void *ctx)
{
	return answer();
}

static int on_interrupt(void *ctx)
{
	return callbacks++ % 4 ? -1 : 32 + (int)(callbacks % 200);
}

static uint64_t on_read_cr8(void *ctx)
{
	return callbacks % 16;
}

static void on_write_cr8(void *ctx, uint64_t value)
{
}

static const struct x86_ops ops = {
	.cpuid = on_cpuid,
	.rdmsr = on_rdmsr,
	.wrmsr = on_wrmsr,
	.mmio_read = on_mmio_read,
	.mmio_write = on_mmio_write,
	.hypercall = on_hypercall,
	.interrupt = on_interrupt,
	.read_cr8 = on_read_cr8,
	.write_cr8 = on_write_cr8,
};

/* Code that loops is stopped by the clock. */
static void on_alarm(int signal)
{
	x86_vcpu_stop(vcpu);
}

static void create(void)
{
	struct itimerval slice = {{0, SLICE_US}, {0, SLICE_US}};

	machine = x86_machine_create(1, CODE_CACHE);
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* Native code is made of what is executed twice. */
	if (!machine || memory == MAP_FAILED || x86_machine_compile(machine, 2) ||
		x86_machine_map(
			machine, 0, memory, MEMORY, X86_MAP_READ | X86_MAP_WRITE | X86_MAP_EXEC))
		abort();
	vcpu = x86_vcpu_create(machine, 0, &ops, NULL);
	if (!vcpu)
		abort();
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &slice, NULL);
}

static void put64(uint32_t at, uint64_t value)
{
	memcpy(memory + at, &value, sizeof(value));
}

static void put32(uint32_t at, uint32_t value)
{
	memcpy(memory + at, &value, sizeof(value));
}

/* Identity-mapped, all of it for user code too: 4 KiB pages low, 2 MiB above. */
static void make_page_tables(enum mode mode)
{
	if (mode == PAGED_32) {
		put32(PML4, PT | 7);
		for (unsigned i = 1; i < 1024; i++)
			put32(PML4 + i * 4, i << 22 | 0x87);
		for (unsigned i = 0; i < 1024; i++)
			put32(PT + i * 4, i << 12 | 7);
		return;
	}
	put64(PML4, PDPT | 7);
	/* A PAE root's entries have no rights bits. */
	put64(PDPT, PD | (mode == PAE ? 1 : 7));
	put64(PD, PT | 7);
	for (unsigned i = 1; i < 512; i++)
		put64(PD + i * 8, (uint64_t)i << 21 | 0x87);
	for (unsigned i = 0; i < 512; i++)
		put64(PT + i * 8, (uint64_t)i << 12 | 7);
}

static void make_descriptors(bool wide)
{
	static const uint64_t gdt[] = {
		0, 0x00af9a000000ffff, /* 0x08 64-bit code */
		0x00cf92000000ffff,    /* 0x10 data */
		0x00cf9a000000ffff,    /* 0x18 32-bit code */
		0x000f9a000000ffff,    /* 0x20 16-bit code */
		0x00affa000000ffff,    /* 0x28 64-bit code, user */
		0x00cff2000000ffff,    /* 0x30 data, user */
		0x00cffa000000ffff,    /* 0x38 32-bit code, user */
		0x0000890030000067,    /* 0x40 TSS */
		0, 0x0000ec0000188000, /* 0x50 call gate */
	};

	memcpy(memory + GDT, gdt, sizeof(gdt));
	for (unsigned i = 0; i < 256; i++) {
		uint64_t gate = 0x0000ee0000000000ull | (wide ? 0x08 : 0x18) << 16 | HANDLER;

		if (wide) {
			put64(IDT + i * 16, gate);
			put64(IDT + i * 16 + 8, 0);
		} else {
			put64(IDT + i * 8, gate);
		}
	}
	put64(TSS + 4, STACK);
	put32(TSS + 8, 0x10);
	for (unsigned i = 0; i < 8; i++)
		put64(TSS + 36 + i * 8, STACK + 0x1000 * i);
	memory[HANDLER] = 0x48; /* iretq, or dec and iret */
	memory[HANDLER + 1] = 0xcf;
}

static struct x86_segment segment(uint16_t selector, uint16_t attributes, uint32_t limit)
{
	return (struct x86_segment){.selector = selector, .attributes = attributes, .limit = limit};
}

static void set_segments(struct x86_state *s, struct x86_segment code, struct x86_segment data)
{
	for (unsigned i = X86_ES; i <= X86_GS; i++)
		s->seg[i] = data;
	s->seg[X86_CS] = code;
	s->seg[X86_TR] = segment(0x40, 0x8b, 0x67);
	s->seg[X86_TR].base = TSS;
}

static void set_mode(struct x86_state *s, enum mode mode)
{
	const struct x86_segment data = segment(0x10, 0xc093, UINT32_MAX);
	const struct x86_segment user_data = segment(0x33, 0xc0f3, UINT32_MAX);

	s->gdtr = (struct x86_table){.base = GDT, .limit = 0x57};
	s->idtr = (struct x86_table){.base = IDT, .limit = 0xfff};
	s->cr0 = X86_CR0_ET | X86_CR0_NE | (mode != REAL ? X86_CR0_PE : 0) |
		 (mode >= PAGED_32 ? X86_CR0_PG | X86_CR0_WP : 0);
	s->cr3 = PML4;
	if (mode == PAE)
		s->cr3 = PDPT;
	s->cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | (mode == PAGED_32 ? X86_CR4_PSE : 0) |
		 (mode >= PAE ? X86_CR4_PAE : 0);
	s->efer = mode >= LONG ? X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE | X86_EFER_SCE : 0;
	s->cpl = mode == LONG_USER ? 3 : 0;
	switch (mode) {
	case REAL:
		set_segments(s, segment(0, 0x9b, 0xffff), segment(0, 0x93, 0xffff));
		s->idtr = (struct x86_table){.limit = 0x3ff};
		s->seg[X86_CS].base = CODE;
		s->seg[X86_CS].selector = CODE >> 4;
		break;
	case PROTECTED_16:
		set_segments(s, segment(0x20, 0x9b, 0xfffff), data);
		break;
	case LONG:
		set_segments(s, segment(0x08, 0xa09b, UINT32_MAX), data);
		break;
	case LONG_USER:
		set_segments(s, segment(0x2b, 0xa0fb, UINT32_MAX), user_data);
		break;
	default:
		set_segments(s, segment(0x18, 0xc09b, UINT32_MAX), data);
	}
	s->rip = mode == REAL ? 0 : CODE;
}

static void set_registers(struct x86_state *s, uint8_t seed)
{
	static const uint64_t odd[] = {0, 1, UINT64_MAX, 0x8000000000000000, 0x7fffffff, STACK,
		CODE, MEMORY - 3, PT, 0xfee00000, 0xffff800000000000, 0x100};

	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = odd[(seed + i * 7) % (sizeof(odd) / sizeof(odd[0]))];
	s->gpr[X86_RSP] = STACK;
	s->rflags = X86_FLAG_1 | (seed & 1 ? X86_FLAG_IF : 0);
}

/* After an exit: go on behind the instruction, as whoever completed it would. */
static bool go_on(struct x86_state *s, const struct x86_exit *exit)
{
	switch (exit->reason) {
	case X86_EXIT_STOPPED:
	case X86_EXIT_SHUTDOWN:
		return false;
	case X86_EXIT_HALT:
		return true;
	default:
		s->rip += exit->next;
		return true;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct x86_state *s;
	struct x86_exit exit;
	enum mode mode;

	if (size < 3)
		return 0;
	if (!machine)
		create();
	mode = data[0] % MODES;
	callbacks = 0;
	memset(memory, 0, MEMORY);
	make_descriptors(mode >= LONG);
	make_page_tables(mode);
	size -= 2;
	memcpy(memory + CODE, data + 2, size < CODE_MAX ? size : CODE_MAX);
	x86_machine_written(machine, 0, MEMORY);

	x86_vcpu_reset(vcpu, false);
	s = x86_vcpu_state(vcpu);
	set_registers(s, data[1]);
	set_mode(s, mode);
	x86_vcpu_changed(vcpu);
	for (unsigned exits = 0; exits < EXITS_MAX; exits++) {
		x86_vcpu_run(vcpu, &exit);
		if (!go_on(s, &exit))
			break;
		x86_vcpu_changed(vcpu);
		x86_vcpu_interrupt(vcpu);
	}
	return 0;
}
