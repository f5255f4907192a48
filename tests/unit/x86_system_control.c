/*
 * x86_system_control.c - control registers, MSRs, I/O permission, privileged instructions.
 */
#include "x86_guest.h"

GUEST_CODE_BYTES(write_cr0, 64, "movq %rax, %cr0; hlt");
GUEST_CODE_BYTES(write_cr0_32, 32, "movl %eax, %cr0; hlt");
GUEST_CODE_BYTES(write_cr3, 64, "movq %rax, %cr3; hlt");
GUEST_CODE_BYTES(write_cr4, 64, "movq %rax, %cr4; hlt");
GUEST_CODE_BYTES(read_cr, 64, "movq %cr0, %rax; movq %cr3, %rbx; movq %cr8, %rcx; hlt");
GUEST_CODE_BYTES(write_cr8, 64, "movq %rax, %cr8; hlt");
GUEST_CODE_BYTES(read_cr1, 64, ".byte 0x0f, 0x20, 0xc8");
GUEST_CODE_BYTES(lmsw16, 16, "smsww %ax; orw $9, %ax; lmsw %ax; clts; smswl %ebx; hlt");
GUEST_CODE_BYTES(wrmsr64, 64, "wrmsr; rdmsr; hlt");
GUEST_CODE_BYTES(rdmsr64, 64, "rdmsr; hlt");
GUEST_CODE_BYTES(rdtsc64, 64, "rdtsc; movl %eax, %ebx; rdtscp; hlt");
GUEST_CODE_BYTES(cpuid64, 64, "cpuid; hlt");
GUEST_CODE_BYTES(vmcall64, 64, "vmcall; hlt");
GUEST_CODE_BYTES(hlt64, 64, "hlt");
GUEST_CODE_BYTES(cli64, 64, "cli; hlt");
GUEST_CODE_BYTES(stac64, 64, "stac; pushfq; popq %rax; clac; pushfq; popq %rbx; hlt");
GUEST_CODE_BYTES(invpcid64, 64, "invpcid (%rdi), %rax; hlt");
GUEST_CODE_BYTES(random64, 64, "rdrand %rax; setc %bl; rdseed %edx; setc %cl; hlt");
GUEST_CODE_BYTES(umip64, 64, "sgdt (%rdi); sidt 16(%rdi); sldt %eax; str %ecx; smsw %rdx; hlt");
GUEST_CODE_BYTES(lgdt64, 64, "lgdt (%rdi); lidt (%rdi); hlt");
GUEST_CODE_BYTES(ltr64, 64, "ltr %ax; str %ebx; lldt %cx; sldt %edx; hlt");
GUEST_CODE_BYTES(examine32, 32,
	"larl %eax, %ebx; setz %cl; lsll %eax, %edx; setz %ch; verr %ax; setz %al; verw %si; setz "
	"%ah;"
	"hlt");
GUEST_CODE_BYTES(arpl32, 32, "arpl %cx, %ax; setz %bl; arpl %cx, (%edi); setz %bh; hlt");
GUEST_CODE_BYTES(out_dx64, 64, "outl %eax, %dx; hlt");
GUEST_CODE_BYTES(in_imm64, 64, "inb $0x71, %al; hlt");
GUEST_CODE_BYTES(outs64, 64, "rep outsb; hlt");
GUEST_CODE_BYTES(invlpg64, 64,
	"movq (%rdi), %rax; movq %rbx, (%rsi); invlpg (%rdi); movq (%rdi), %rcx; hlt");
GUEST_CODE_BYTES(load_far32, 32, "lfs (%edi), %eax; hlt");

static void expect_gp(struct guest *g)
{
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 0, 8), 0);
	assert_int_equal(guest_stack(g, 1, 8), GUEST_CODE);
	guest_destroy(g);
}

static struct guest *with_rax(
	enum guest_mode mode, const uint8_t *begin, const uint8_t *end, uint64_t rax)
{
	struct guest *g = guest_create(mode, 0, begin, end);

	g->s->gpr[X86_RAX] = rax;
	return g;
}
#define WITH_RAX(mode, name, rax) with_rax(mode, name##_begin, name##_end, rax)

/* ---- Control registers --------------------------------------------------------------------- */

static void cr0_checks(void **state)
{
	const uint64_t now = X86_CR0_PG | X86_CR0_PE | X86_CR0_WP | X86_CR0_NE;
	struct guest *g;

	expect_gp(WITH_RAX(MODE_LONG, write_cr0, now & ~X86_CR0_PE));
	expect_gp(WITH_RAX(MODE_LONG, write_cr0, now | X86_CR0_NW));
	expect_gp(WITH_RAX(MODE_LONG, write_cr0, now | 1ul << 32));
	expect_gp(WITH_RAX(MODE_LONG, write_cr0, now & ~X86_CR0_PG));

	g = WITH_RAX(MODE_LONG, write_cr0, now | X86_CR0_TS | 0x0ff00f00);
	guest_expect_halt(g, -1);
	assert_int_equal(g->s->cr0, now | X86_CR0_TS | X86_CR0_ET);
	guest_destroy(g);

	g = WITH_RAX(MODE_PROTECTED32, write_cr0_32, X86_CR0_PE | X86_CR0_PG);
	g->s->efer = X86_EFER_LME; /* without CR4.PAE */
	guest_expect_vector(g, X86_VEC_GP);
	guest_destroy(g);
}

static void cr3_and_cr4_checks(void **state)
{
	struct guest *g;

	expect_gp(WITH_RAX(MODE_LONG, write_cr3, 1ul << 40 | GUEST_PML4));
	expect_gp(WITH_RAX(MODE_LONG, write_cr3, 1ul << 63 | GUEST_PML4));
	expect_gp(WITH_RAX(MODE_LONG, write_cr4, 0));
	expect_gp(WITH_RAX(MODE_LONG, write_cr4, X86_CR4_PAE | X86_CR4_VME));
	expect_gp(WITH_RAX(MODE_LONG, write_cr4, X86_CR4_PAE | 1ul << 40));

	g = WITH_RAX(MODE_LONG, write_cr4, X86_CR4_PAE | X86_CR4_PCIDE);
	g->s->cr3 |= 1;
	expect_gp(g);
	g = WITH_RAX(MODE_LONG, write_cr3, 1ul << 63 | GUEST_PML4 | 5);
	g->s->cr4 |= X86_CR4_PCIDE;
	guest_expect_halt(g, -1);
	assert_int_equal(g->s->cr3, GUEST_PML4 | 5);
	guest_destroy(g);
}

static void reading_control_registers(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, read_cr);

	g->cr8 = 9;
	guest_expect_halt(g, -1);
	assert_int_equal(g->s->gpr[X86_RAX], g->s->cr0);
	assert_int_equal(g->s->gpr[X86_RBX], GUEST_PML4);
	assert_int_equal(g->s->gpr[X86_RCX], 9);
	guest_destroy(g);

	expect_gp(GUEST(MODE_LONG, 3, read_cr));
	expect_gp(WITH_RAX(MODE_LONG, write_cr8, 16));
	g = WITH_RAX(MODE_LONG, write_cr8, 5);
	guest_expect_halt(g, -1);
	assert_int_equal(g->cr8, 5);
	guest_destroy(g);
	g = GUEST(MODE_LONG, 0, read_cr1);
	guest_expect_vector(g, X86_VEC_UD);
	guest_destroy(g);
}

static void machine_status_word(void **state)
{
	struct guest *g = GUEST(MODE_REAL, 0, lmsw16);

	guest_expect_halt(g, -1);
	assert_int_equal(g->s->cr0, X86_CR0_PE | X86_CR0_ET | X86_CR0_NE);
	assert_int_equal(g->s->gpr[X86_RBX], g->s->cr0);
	guest_destroy(g);
}

/* ---- MSRs ---------------------------------------------------------------------------------- */

static struct guest *msr_guest(uint32_t msr, uint64_t value)
{
	struct guest *g = GUEST(MODE_LONG, 0, wrmsr64);

	g->s->gpr[X86_RCX] = msr;
	g->s->gpr[X86_RAX] = (uint32_t)value;
	g->s->gpr[X86_RDX] = value >> 32;
	return g;
}

static void expect_msr(uint32_t msr, uint64_t value, bool valid)
{
	struct guest *g = msr_guest(msr, value);

	if (!valid) {
		expect_gp(g);
		return;
	}
	guest_expect_halt(g, 4);
	assert_int_equal(g->s->gpr[X86_RAX] | g->s->gpr[X86_RDX] << 32, value);
	guest_destroy(g);
}

static void model_specific_registers(void **state)
{
	const uint64_t far = 0x800000000000, high = 0xffff800000000000;
	struct guest *g;

	expect_msr(0xc0000081, ~0ul, true); /* STAR */
	expect_msr(0xc0000082, high, true); /* LSTAR */
	expect_msr(0xc0000082, far, false);
	expect_msr(0xc0000084, 1ul << 32, false); /* SFMASK */
	expect_msr(0xc0000100, high, true);	  /* FS_BASE */
	expect_msr(0xc0000101, far, false);
	expect_msr(0xc0000102, high, true);
	expect_msr(0xc0000103, 7, true); /* TSC_AUX */
	expect_msr(0x174, 0x10, true);	 /* SYSENTER_CS */
	expect_msr(0x175, far, false);
	expect_msr(0x277, 0x0007040600070406, true); /* PAT */
	expect_msr(0x277, 2, false);
	expect_msr(0x277, 8, false);
	expect_msr(0xc0000080, X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE, true);
	expect_msr(0xc0000080, X86_EFER_LMA, false); /* LME cannot change under paging */
	expect_msr(0xc0000080, X86_EFER_LME | 2, false);
	expect_msr(0xdead, 0, false);

	g = GUEST(MODE_LONG, 0, rdmsr64); /* the harness asks to leave for this one */
	g->s->gpr[X86_RCX] = 0x1b;
	assert_int_equal(guest_run(g), X86_EXIT_RDMSR);
	assert_int_equal(g->s->rip, GUEST_CODE);
	assert_int_equal(g->exit.next, 2);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 3, rdmsr64);
	expect_gp(g);
}

static void time_stamp_counter(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 3, rdtsc64);
	uint64_t before = __builtin_ia32_rdtsc();

	g->s->tsc_aux = 3;
	g->s->tsc_offset = 1ul << 40;
	guest_expect_vector(g, X86_VEC_GP); /* HLT */
	assert_in_range((g->s->gpr[X86_RAX] | g->s->gpr[X86_RDX] << 32) - before, 1ul << 40,
		(1ul << 40) + (1ul << 38));
	assert_int_equal(g->s->gpr[X86_RCX], 3);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 3, rdtsc64);
	g->s->cr4 |= X86_CR4_TSD;
	expect_gp(g);
}

/* ---- Privileged and other instructions ----------------------------------------------------- */

static void privileged_instructions(void **state)
{
	struct guest *g;

	expect_gp(GUEST(MODE_LONG, 3, hlt64));
	expect_gp(GUEST(MODE_LONG, 3, cli64));
	expect_gp(GUEST(MODE_LONG, 3, write_cr0));
	expect_gp(GUEST(MODE_LONG, 3, invpcid64));
	expect_gp(GUEST(MODE_LONG, 3, lgdt64));
	expect_gp(GUEST(MODE_LONG, 3, ltr64));

	g = GUEST(MODE_LONG, 3, cli64); /* allowed by IOPL */
	g->s->rflags |= X86_FLAG_IOPL | X86_FLAG_IF;
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 1, 8), GUEST_CODE + 1);
	assert_int_equal(guest_stack(g, 3, 8) & X86_FLAG_IF, 0);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 3, stac64);
	guest_expect_vector(g, X86_VEC_UD);
	guest_destroy(g);
}

static void alignment_flag(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, stac64);

	guest_expect_halt(g, -1);
	assert_int_equal(g->s->gpr[X86_RAX] & X86_FLAG_AC, X86_FLAG_AC);
	assert_int_equal(g->s->gpr[X86_RBX] & X86_FLAG_AC, 0);
	guest_destroy(g);
}

static void cpuid_and_vmcall(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 3, cpuid64);

	g->s->gpr[X86_RAX] = 0xffffffff00000007;
	g->s->gpr[X86_RCX] = 2;
	g->s->gpr[X86_RDX] = ~0ul;
	guest_expect_vector(g, X86_VEC_GP); /* HLT */
	assert_int_equal(g->s->gpr[X86_RAX], 7);
	assert_int_equal(g->s->gpr[X86_RBX], 2);
	assert_int_equal(g->s->gpr[X86_RDX], 0);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 0, vmcall64);
	guest_expect_halt(g, 3);
	assert_int_equal(g->hypercalls, 1);
	assert_int_equal(g->s->gpr[X86_RAX], 0x600d);
	guest_destroy(g);
}

static void random_numbers(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, random64);

	g->s->gpr[X86_RDX] = ~0ul;
	guest_expect_halt(g, -1);
	assert_int_equal(g->s->gpr[X86_RBX], 1);
	assert_int_equal(g->s->gpr[X86_RCX], 1);
	assert_int_equal(g->s->gpr[X86_RDX] >> 32, 0);
	assert_int_not_equal(g->s->gpr[X86_RAX] >> 32, 0);
	guest_destroy(g);
}

static void invpcid_checks(void **state)
{
	struct guest *g = WITH_RAX(MODE_LONG, invpcid64, 4);

	g->s->gpr[X86_RDI] = GUEST_DATA;
	expect_gp(g);
	g = WITH_RAX(MODE_LONG, invpcid64, 0);
	g->s->gpr[X86_RDI] = GUEST_DATA;
	guest_write(g, GUEST_DATA, 8, 1); /* a PCID without CR4.PCIDE */
	expect_gp(g);
	g = WITH_RAX(MODE_LONG, invpcid64, 2);
	g->s->gpr[X86_RDI] = GUEST_DATA;
	guest_expect_halt(g, -1);
	guest_destroy(g);
}

static void invlpg_drops_translation(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, invlpg64);

	/* A 4 KiB page table under the second 2 MiB: its first entry moves from one page to
	 * another. */
	guest_write(g, GUEST_PML4 + 0x2008, 8, 0x50000 | 7);
	guest_write(g, 0x50000, 8, 0x51000 | 7);
	guest_write(g, 0x51000, 8, 1);
	guest_write(g, 0x52000, 8, 2);
	g->s->gpr[X86_RDI] = 0x200000;
	g->s->gpr[X86_RSI] = 0x50000;
	g->s->gpr[X86_RBX] = 0x52000 | 7;
	guest_expect_halt(g, -1);
	assert_int_equal(g->s->gpr[X86_RAX], 1);
	assert_int_equal(g->s->gpr[X86_RCX], 2);
	guest_destroy(g);
}

/* ---- Tables -------------------------------------------------------------------------------- */

static void table_registers(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 3, umip64);

	g->s->gpr[X86_RDI] = GUEST_DATA;
	guest_expect_vector(g, X86_VEC_GP); /* HLT */
	assert_int_equal(guest_stack(g, 1, 8), GUEST_CODE + umip64_end - umip64_begin - 1);
	assert_int_equal(guest_read(g, GUEST_DATA, 2), SEL_END - 1);
	assert_int_equal(guest_read(g, GUEST_DATA + 2, 8), GUEST_GDT);
	assert_int_equal(guest_read(g, GUEST_DATA + 18, 8), GUEST_IDT);
	assert_int_equal(g->s->gpr[X86_RAX], SEL_LDT);
	assert_int_equal(g->s->gpr[X86_RCX], SEL_TSS);
	assert_int_equal(g->s->gpr[X86_RDX], g->s->cr0);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 3, umip64);
	g->s->cr4 |= X86_CR4_UMIP;
	g->s->gpr[X86_RDI] = GUEST_DATA;
	expect_gp(g);

	g = GUEST(MODE_LONG, 0, lgdt64);
	g->s->gpr[X86_RDI] = GUEST_DATA;
	guest_write(g, GUEST_DATA, 2, 0x7f);
	guest_write(g, GUEST_DATA + 2, 8, 0xffff800000001000);
	guest_expect_halt(g, -1);
	assert_int_equal(g->s->gdtr.base, 0xffff800000001000);
	assert_int_equal(g->s->idtr.limit, 0x7f);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 0, lgdt64);
	g->s->gpr[X86_RDI] = GUEST_DATA;
	guest_write(g, GUEST_DATA + 2, 8, 0x800000000000);
	expect_gp(g);
}

static void task_and_local_tables(void **state)
{
	struct guest *g = WITH_RAX(MODE_LONG, ltr64, SEL_TSS);

	guest_write(g, GUEST_GDT + SEL_TSS + 5, 1, 0x89);
	g->s->gpr[X86_RCX] = SEL_LDT;
	guest_expect_halt(g, -1);
	assert_int_equal(g->s->gpr[X86_RBX], SEL_TSS);
	assert_int_equal(g->s->gpr[X86_RDX], SEL_LDT);
	assert_int_equal(guest_read(g, GUEST_GDT + SEL_TSS + 5, 1), 0x8b);
	assert_int_equal(g->s->seg[X86_TR].base, GUEST_TSS);
	guest_destroy(g);

	g = WITH_RAX(MODE_LONG, ltr64, SEL_TSS); /* busy */
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 0, 8), SEL_TSS);
	guest_destroy(g);
}

static void expect_examined(
	unsigned selector, uint32_t rights, uint32_t limit, bool readable, bool writable)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 0, examine32);

	g->s->gpr[X86_RAX] = selector;
	g->s->gpr[X86_RSI] = selector;
	g->s->gpr[X86_RBX] = g->s->gpr[X86_RDX] = 0x1234;
	guest_expect_halt(g, -1);
	assert_int_equal(g->s->gpr[X86_RCX], rights ? 0x101 : 0);
	assert_int_equal(g->s->gpr[X86_RBX] & 0xf0ff00, rights ? rights : 0x1200);
	assert_int_equal(g->s->gpr[X86_RDX], rights ? limit : 0x1234);
	assert_int_equal(g->s->gpr[X86_RAX] & 0xffff, readable | writable << 8);
	guest_destroy(g);
}

static void examining_segments(void **state)
{
	struct guest *g;

	expect_examined(SEL_CODE32, 0xc09b00, 0xffffffff, true, false);
	expect_examined(SEL_SMALL, 0x409300, 15, true, true);
	expect_examined(SEL_TSS2, 0x008900, 0x67, false, false);
	expect_examined(SEL_DATA | 3, 0, 0, false, false);
	expect_examined(0, 0, 0, false, false);

	g = GUEST(MODE_PROTECTED32, 0, arpl32);
	g->s->gpr[X86_RAX] = 0x11;
	g->s->gpr[X86_RCX] = 2;
	g->s->gpr[X86_RDI] = GUEST_DATA;
	guest_write(g, GUEST_DATA, 2, 0x13);
	guest_expect_halt(g, -1);
	assert_int_equal(g->s->gpr[X86_RAX], 0x12);
	assert_int_equal(guest_read(g, GUEST_DATA, 2), 0x13);
	assert_int_equal(g->s->gpr[X86_RBX], 1);
	guest_destroy(g);
}

static void load_far_pointer(void **state)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 0, load_far32);

	g->s->gpr[X86_RDI] = GUEST_DATA;
	guest_write(g, GUEST_DATA, 4, 0x12345678);
	guest_write(g, GUEST_DATA + 4, 2, SEL_SMALL);
	guest_expect_halt(g, -1);
	assert_int_equal(g->s->gpr[X86_RAX], 0x12345678);
	assert_int_equal(g->s->seg[X86_FS].base, GUEST_DATA);
	assert_int_equal(g->s->seg[X86_FS].limit, 15);
	guest_destroy(g);
}

/* ---- Ports --------------------------------------------------------------------------------- */

static void port_exits(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, out_dx64);

	g->s->gpr[X86_RDX] = 0xfffff0cf8;
	assert_int_equal(guest_run(g), X86_EXIT_IO);
	assert_int_equal(g->exit.io.port, 0x0cf8);
	assert_int_equal(g->exit.io.size, 4);
	assert_true(g->exit.io.write && !g->exit.io.string);
	assert_int_equal(g->exit.next, 1);
	assert_int_equal(g->exit.insn[0], 0xef);
	assert_int_equal(g->s->rip, GUEST_CODE);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 0, in_imm64);
	assert_int_equal(guest_run(g), X86_EXIT_IO);
	assert_int_equal(g->exit.io.port, 0x71);
	assert_int_equal(g->exit.io.size, 1);
	assert_false(g->exit.io.write);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 0, outs64);
	g->s->gpr[X86_RCX] = 1;
	assert_int_equal(guest_run(g), X86_EXIT_IO);
	assert_true(g->exit.io.write && g->exit.io.string && g->exit.io.rep);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 0, outs64);
	guest_expect_halt(g, 2); /* RCX is 0: nothing to do */
	guest_destroy(g);
}

static void port_permission(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 3, out_dx64);

	g->s->gpr[X86_RDX] = 0x60;
	expect_gp(g); /* no bit map */

	g = GUEST(MODE_LONG, 3, out_dx64);
	g->s->gpr[X86_RDX] = 0x60;
	g->s->rflags |= X86_FLAG_IOPL;
	assert_int_equal(guest_run(g), X86_EXIT_IO);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 3, out_dx64);
	guest_write(g, GUEST_TSS + 102, 2, 104);
	g->s->gpr[X86_RDX] = 0x60;
	assert_int_equal(guest_run(g), X86_EXIT_IO);
	guest_write(g, GUEST_TSS + 104 + 0x63 / 8, 1, 1 << (0x63 % 8)); /* the last of four */
	expect_gp(g);

	g = GUEST(MODE_LONG, 3, out_dx64);
	guest_write(g, GUEST_TSS + 102, 2, 104);
	g->s->seg[X86_TR].limit = 104 + 0x60 / 8; /* the byte after the one needed is missing */
	g->s->gpr[X86_RDX] = 0x60;
	expect_gp(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cr0_checks),
		cmocka_unit_test(cr3_and_cr4_checks),
		cmocka_unit_test(reading_control_registers),
		cmocka_unit_test(machine_status_word),
		cmocka_unit_test(model_specific_registers),
		cmocka_unit_test(time_stamp_counter),
		cmocka_unit_test(privileged_instructions),
		cmocka_unit_test(alignment_flag),
		cmocka_unit_test(cpuid_and_vmcall),
		cmocka_unit_test(random_numbers),
		cmocka_unit_test(invpcid_checks),
		cmocka_unit_test(invlpg_drops_translation),
		cmocka_unit_test(table_registers),
		cmocka_unit_test(task_and_local_tables),
		cmocka_unit_test(examining_segments),
		cmocka_unit_test(load_far_pointer),
		cmocka_unit_test(port_exits),
		cmocka_unit_test(port_permission),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
