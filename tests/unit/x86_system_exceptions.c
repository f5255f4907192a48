/*
 * x86_system_exceptions.c - delivery of exceptions and interrupts in every mode, and IRET.
 */
#include "x86_guest.h"

GUEST_CODE_BYTES(ud32, 32, "nop; ud2");
GUEST_CODE_BYTES(ud64, 64, "nop; ud2");
GUEST_CODE_BYTES(ud16, 16, "nop; ud2");
GUEST_CODE_BYTES(int64, 64, "int $0x80; hlt");
GUEST_CODE_BYTES(int32, 32, "int $0x80; hlt");
GUEST_CODE_BYTES(int16, 16, "int $0x80; hlt");
GUEST_CODE_BYTES(int3_64, 64, "int3");
GUEST_CODE_BYTES(int1_64, 64, ".byte 0xf1");
GUEST_CODE_BYTES(into32, 32, "movb $0x7f, %al; addb $1, %al; into");
GUEST_CODE_BYTES(divide64, 64, "xorl %ecx, %ecx; divl %ecx");
GUEST_CODE_BYTES(loop64, 64, "1: jmp 1b");
GUEST_CODE_BYTES(load64, 64, "movq (%rdi), %rax; hlt");
GUEST_CODE_BYTES(store64, 64, "movq %rax, (%rdi); hlt");
GUEST_CODE_BYTES(load_gs32, 32, "movw %ax, %gs; hlt");
GUEST_CODE_BYTES(load_ss32, 32, "movw %ax, %ss; hlt");
GUEST_CODE_BYTES(through_gs32, 32, "movw %ax, %gs; movl %gs:(%edi), %ecx; hlt");
GUEST_CODE_BYTES(push32, 32, "pushl %eax; hlt");
GUEST_CODE_BYTES(iret64, 64, "iretq");
GUEST_CODE_BYTES(iret32, 32, "iretl");
GUEST_CODE_BYTES(iret16, 16, "iretw");

/* What the handler's stack shows in 64-bit mode, error code first where there is one. */
static void expect_frame64(
	struct guest *g, bool has_error, uint64_t rip, unsigned cs, uint64_t rsp, unsigned ss)
{
	unsigned n = has_error;

	assert_int_equal(guest_stack(g, n + 0, 8), rip);
	assert_int_equal(guest_stack(g, n + 1, 8), cs);
	assert_int_equal(guest_stack(g, n + 3, 8), rsp);
	assert_int_equal(guest_stack(g, n + 4, 8), ss);
}

/* ---- Delivery ------------------------------------------------------------------------------ */

static void fault_in_real_mode(void **state)
{
	struct guest *g = GUEST(MODE_REAL, 0, ud16);

	g->s->rflags |= X86_FLAG_IF | X86_FLAG_AC;
	guest_expect_vector(g, X86_VEC_UD);
	assert_int_equal(guest_stack(g, 0, 2), 1);
	assert_int_equal(guest_stack(g, 1, 2), GUEST_CODE >> 4);
	assert_int_equal(guest_stack(g, 2, 2) & X86_FLAG_IF, X86_FLAG_IF);
	assert_int_equal(g->s->gpr[X86_RSP], 0xff00 - 6);
	assert_int_equal(g->s->rflags & (X86_FLAG_IF | X86_FLAG_AC), 0);
	guest_destroy(g);
}

static void fault_in_protected_mode(void **state)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 0, ud32);

	guest_expect_vector(g, X86_VEC_UD);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_STACK0 - 12);
	assert_int_equal(guest_stack(g, 0, 4), GUEST_CODE + 1);
	assert_int_equal(guest_stack(g, 1, 4), SEL_CODE32);
	assert_int_equal(guest_stack(g, 2, 4) & X86_FLAG_RF, X86_FLAG_RF);
	assert_int_equal(g->s->rflags & X86_FLAG_RF, 0);
	guest_destroy(g);
}

static void fault_through_16_bit_gate(void **state)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 0, ud32);

	guest_set_gate(g, X86_VEC_UD, 6, 0, SEL_CODE32, GUEST_HANDLERS + X86_VEC_UD * 16, 0);
	guest_expect_vector(g, X86_VEC_UD);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_STACK0 - 6);
	assert_int_equal(guest_stack(g, 0, 2), (GUEST_CODE + 1) & 0xffff);
	assert_int_equal(guest_stack(g, 1, 2), SEL_CODE32);
	guest_destroy(g);
}

static void fault_from_user_switches_stacks(void **state)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 3, ud32);

	guest_expect_vector(g, X86_VEC_UD);
	assert_int_equal(g->s->cpl, 0);
	assert_int_equal(g->s->seg[X86_SS].selector, SEL_DATA);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_RING0 - 20);
	assert_int_equal(guest_stack(g, 1, 4), SEL_USER32);
	assert_int_equal(guest_stack(g, 3, 4), GUEST_STACK3);
	assert_int_equal(guest_stack(g, 4, 4), SEL_USER_DATA);
	guest_destroy(g);
}

static void fault_in_long_mode(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 3, ud64);

	guest_expect_vector(g, X86_VEC_UD);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_RING0 - 40);
	expect_frame64(g, false, GUEST_CODE + 1, SEL_USER64, GUEST_STACK3, SEL_USER_DATA);
	assert_int_equal(g->s->seg[X86_SS].selector, 0);
	guest_destroy(g);
}

static void fault_in_compatibility_mode(void **state)
{
	struct guest *g = GUEST(MODE_COMPATIBILITY, 3, ud32);

	/* The kernel's stack lies above 4 GiB for it, in another mapping of the same memory. */
	guest_write(g, GUEST_PML4 + 8 * 256, 8, (GUEST_PML4 + 0x1000) | 7);
	guest_write(g, GUEST_TSS + 4, 8, 0xffff800000000000ul + GUEST_RING0);
	guest_expect_vector(g, X86_VEC_UD);
	assert_int_equal(g->s->gpr[X86_RSP], 0xffff800000000000ul + GUEST_RING0 - 40);
	g->s->gpr[X86_RSP] -= 0xffff800000000000ul;
	expect_frame64(g, false, GUEST_CODE + 1, SEL_USER32, GUEST_STACK3, SEL_USER_DATA);
	guest_destroy(g);
}

static void long_mode_aligns_stack_at_same_level(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, ud64);

	g->s->gpr[X86_RSP] = GUEST_STACK0 - 3;
	guest_expect_vector(g, X86_VEC_UD);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_STACK0 - 16 - 40);
	expect_frame64(g, false, GUEST_CODE + 1, SEL_CODE64, GUEST_STACK0 - 3, SEL_DATA);
	assert_int_equal(g->s->seg[X86_SS].selector, SEL_DATA);
	guest_destroy(g);
}

static void interrupt_stack_table(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, ud64);

	guest_set_gate(g, X86_VEC_UD, 14, 0, SEL_CODE64, GUEST_HANDLERS + X86_VEC_UD * 16, 1);
	guest_expect_vector(g, X86_VEC_UD);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_IST1 - 40);
	expect_frame64(g, false, GUEST_CODE + 1, SEL_CODE64, GUEST_STACK0, SEL_DATA);
	guest_destroy(g);
}

static void fault_in_vm86(void **state)
{
	struct guest *g = GUEST(MODE_VM86, 3, ud16);

	g->s->seg[X86_GS].selector = 0x1234;
	guest_expect_vector(g, X86_VEC_UD);
	assert_int_equal(g->s->rflags & X86_FLAG_VM, 0);
	assert_int_equal(g->s->cpl, 0);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_RING0 - 36);
	assert_int_equal(guest_stack(g, 0, 4), 1);
	assert_int_equal(guest_stack(g, 1, 4), GUEST_CODE >> 4);
	assert_int_equal(guest_stack(g, 2, 4) & X86_FLAG_VM, X86_FLAG_VM);
	assert_int_equal(guest_stack(g, 3, 4), 0xff00);
	assert_int_equal(guest_stack(g, 8, 4), 0x1234);
	assert_int_equal(g->s->seg[X86_GS].selector, 0);
	guest_destroy(g);
}

static void divide_error_points_at_instruction(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, divide64);

	guest_expect_vector(g, X86_VEC_DE);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 2);
	guest_destroy(g);
}

static void page_fault(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 3, store64);

	g->s->gpr[X86_RDI] = 0x7ff0001238;
	guest_expect_vector(g, X86_VEC_PF);
	assert_int_equal(g->s->cr2, 0x7ff0001238);
	assert_int_equal(guest_stack(g, 0, 8), 6); /* write, user, not present */
	expect_frame64(g, true, GUEST_CODE, SEL_USER64, GUEST_STACK3, SEL_USER_DATA);
	guest_destroy(g);
}

static void non_canonical_address(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, load64);

	g->s->gpr[X86_RDI] = 0x800000000000;
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 0, 8), 0);
	guest_destroy(g);
}

/* ---- Software interrupts ------------------------------------------------------------------- */

static void software_interrupt(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 3, int64);

	guest_set_gate(g, 0x80, 15, 3, SEL_CODE64, GUEST_HANDLERS + 0x80 * 16, 0);
	g->s->rflags |= X86_FLAG_IF;
	guest_expect_vector(g, 0x80);
	expect_frame64(g, false, GUEST_CODE + 2, SEL_USER64, GUEST_STACK3, SEL_USER_DATA);
	assert_int_equal(guest_stack(g, 2, 8) & X86_FLAG_RF, 0);
	assert_int_equal(g->s->rflags & X86_FLAG_IF, X86_FLAG_IF); /* a trap gate */
	guest_destroy(g);
}

static void software_interrupt_needs_gate_dpl(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 3, int64);

	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 0, 8), 0x80 * 8 + 2); /* IDT, no EXT */
	assert_int_equal(guest_stack(g, 1, 8), GUEST_CODE);
	guest_destroy(g);
}

static void breakpoint_and_icebp(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 3, int3_64);

	guest_set_gate(g, X86_VEC_BP, 14, 3, SEL_CODE64, GUEST_HANDLERS + X86_VEC_BP * 16, 0);
	guest_expect_vector(g, X86_VEC_BP);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 1);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 3, int1_64); /* no DPL check */
	guest_expect_vector(g, X86_VEC_DB);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 1);
	guest_destroy(g);
}

static void overflow_trap(void **state)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 0, into32);

	guest_expect_vector(g, X86_VEC_OF);
	assert_int_equal(guest_stack(g, 0, 4), GUEST_CODE + 5);
	guest_destroy(g);
}

static void vm86_interrupt_needs_iopl(void **state)
{
	struct guest *g = GUEST(MODE_VM86, 3, int16);

	guest_set_gate(g, 0x80, 14, 3, SEL_CODE32, GUEST_HANDLERS + 0x80 * 16, 0);
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 0, 4), 0);
	guest_destroy(g);

	g = GUEST(MODE_VM86, 3, int16);
	guest_set_gate(g, 0x80, 14, 3, SEL_CODE32, GUEST_HANDLERS + 0x80 * 16, 0);
	g->s->rflags |= X86_FLAG_IOPL;
	guest_expect_vector(g, 0x80);
	guest_destroy(g);
}

/* ---- Gates that are wrong ------------------------------------------------------------------ */

static void expect_nested_fault(struct guest *g, unsigned vector, uint32_t error, unsigned size)
{
	guest_expect_vector(g, vector);
	assert_int_equal(guest_stack(g, 0, size), error);
	assert_int_equal(guest_stack(g, 1, size), GUEST_CODE);
	guest_destroy(g);
}

static struct guest *software_int32(unsigned type, unsigned dpl, unsigned selector)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 0, int32);

	guest_set_gate(g, 0x80, type, dpl, selector, GUEST_HANDLERS + 0x80 * 16, 0);
	return g;
}

static void bad_gates(void **state)
{
	const uint32_t gate = 0x80 * 8 + 2;
	struct guest *g;

	expect_nested_fault(software_int32(2, 0, SEL_CODE32), X86_VEC_GP, gate, 4);
	expect_nested_fault(software_int32(14, 0, 0), X86_VEC_GP, 0, 4);
	expect_nested_fault(software_int32(14, 0, SEL_DATA), X86_VEC_GP, SEL_DATA, 4);
	expect_nested_fault(software_int32(14, 0, SEL_USER32), X86_VEC_GP, SEL_USER32 & ~3, 4);
	expect_nested_fault(software_int32(14, 0, 0xff8), X86_VEC_GP, 0xff8, 4);

	g = software_int32(14, 0, SEL_CODE32);
	guest_write(g, GUEST_IDT + 0x80 * 8 + 5, 1, 14); /* not present */
	expect_nested_fault(g, X86_VEC_NP, gate, 4);

	g = software_int32(14, 0, SEL_CODE32);
	g->s->idtr.limit = 0x80 * 8 - 1;
	expect_nested_fault(g, X86_VEC_GP, gate, 4);

	g = GUEST(MODE_LONG, 0, int64); /* only 64-bit code handles events in long mode */
	guest_set_gate(g, 0x80, 14, 0, SEL_CODE32, GUEST_HANDLERS, 0);
	expect_nested_fault(g, X86_VEC_GP, SEL_CODE32, 8);
}

static void hardware_events_set_ext(void **state)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 0, loop64);

	g->s->rflags |= X86_FLAG_IF;
	g->interrupt = 0x30;
	guest_write(g, GUEST_IDT + 0x30 * 8 + 5, 1, 14);
	x86_vcpu_interrupt(g->vcpu);
	guest_expect_vector(g, X86_VEC_NP);
	assert_int_equal(guest_stack(g, 0, 4), 0x30 * 8 + 3);
	guest_destroy(g);
}

static void inner_stack_faults(void **state)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 3, ud32);

	/* #UD needs a stack that is no stack: #TS, which needs the same, and so on. */
	guest_write(g, GUEST_TSS + 8, 2, SEL_CODE32);
	assert_int_equal(guest_run(g), X86_EXIT_SHUTDOWN);
	assert_int_equal(g->s->rip, GUEST_CODE + 1);
	assert_int_equal(g->s->cpl, 3);
	guest_destroy(g);
}

/* ---- Double and triple faults -------------------------------------------------------------- */

static void double_fault(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 3, load64);

	g->s->gpr[X86_RDI] = 0x7ff0000000;
	guest_write(g, GUEST_IDT + X86_VEC_PF * 16 + 5, 1, 14); /* #PF, then #NP */
	guest_expect_vector(g, X86_VEC_DF);
	assert_int_equal(guest_stack(g, 0, 8), 0);
	assert_int_equal(g->s->cr2, 0x7ff0000000);
	expect_frame64(g, true, GUEST_CODE, SEL_USER64, GUEST_STACK3, SEL_USER_DATA);
	guest_destroy(g);
}

static void benign_then_contributory_is_serial(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, ud64);

	guest_write(g, GUEST_IDT + X86_VEC_UD * 16 + 5, 1, 14);
	guest_expect_vector(g, X86_VEC_NP);
	assert_int_equal(guest_stack(g, 0, 8), X86_VEC_UD * 8 + 3);
	guest_destroy(g);
}

static void contributory_then_page_fault_is_serial(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, load64);

	g->s->gpr[X86_RDI] = 0x800000000000; /* #GP on a stack that is not there */
	guest_set_gate(g, X86_VEC_GP, 14, 0, SEL_CODE64, GUEST_HANDLERS + X86_VEC_GP * 16, 1);
	guest_write(g, GUEST_TSS + 36, 8, 0x7ff0000000);
	guest_expect_vector(g, X86_VEC_PF);
	assert_int_equal(guest_stack(g, 0, 8), 2); /* write by the supervisor */
	assert_int_equal(g->s->cr2, 0x7ff0000000 - 8);
	guest_destroy(g);
}

static void triple_fault(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, load64);

	g->s->gpr[X86_RDI] = 0x7ff0000000;
	guest_write(g, GUEST_IDT + X86_VEC_PF * 16 + 5, 1, 14);
	guest_write(g, GUEST_IDT + X86_VEC_DF * 16 + 5, 1, 14);
	assert_int_equal(guest_run(g), X86_EXIT_SHUTDOWN);
	assert_int_equal(g->s->rip, GUEST_CODE);
	guest_destroy(g);
}

static void triple_fault_in_real_mode(void **state)
{
	struct guest *g = GUEST(MODE_REAL, 0, ud16);

	g->s->idtr.limit = 0;
	assert_int_equal(guest_run(g), X86_EXIT_SHUTDOWN);
	guest_destroy(g);
}

/* ---- Segment checks ------------------------------------------------------------------------ */

static void expect_load_fault(
	const uint8_t *begin, const uint8_t *end, unsigned selector, unsigned vector)
{
	struct guest *g = guest_create(MODE_PROTECTED32, 0, begin, end);

	g->s->gpr[X86_RAX] = selector;
	guest_expect_vector(g, vector);
	assert_int_equal(guest_stack(g, 0, 4), selector & ~3u);
	assert_int_equal(guest_stack(g, 1, 4), GUEST_CODE);
	guest_destroy(g);
}

#define LOAD_FAULT(name, selector, vector)                                                         \
	expect_load_fault(name##_begin, name##_end, selector, vector)

static void segment_loads(void **state)
{
	struct guest *g;

	LOAD_FAULT(load_gs32, SEL_ABSENT, X86_VEC_NP);
	LOAD_FAULT(load_gs32, SEL_TSS, X86_VEC_GP);
	LOAD_FAULT(load_gs32, SEL_DATA | 3, X86_VEC_GP);
	LOAD_FAULT(load_gs32, 0xff0, X86_VEC_GP);
	LOAD_FAULT(load_ss32, 0, X86_VEC_GP);
	LOAD_FAULT(load_ss32, SEL_READ_ONLY, X86_VEC_GP);
	LOAD_FAULT(load_ss32, SEL_USER_DATA, X86_VEC_GP);
	LOAD_FAULT(load_ss32, SEL_ABSENT, X86_VEC_SS);

	g = GUEST(MODE_PROTECTED32, 0, load_gs32);
	g->s->gpr[X86_RAX] = SEL_DATA;
	guest_write(g, GUEST_GDT + SEL_DATA + 5, 1, 0x92);
	guest_expect_halt(g, -1);
	assert_int_equal(guest_read(g, GUEST_GDT + SEL_DATA + 5, 1), 0x93); /* accessed */
	guest_destroy(g);
}

static void expect_access(unsigned selector, uint32_t offset, bool allowed)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 0, through_gs32);

	g->s->gpr[X86_RAX] = selector;
	g->s->gpr[X86_RDI] = offset;
	if (allowed)
		guest_expect_halt(g, -1);
	else
		guest_expect_vector(g, X86_VEC_GP);
	guest_destroy(g);
}

static void segment_limits(void **state)
{
	struct guest *g;

	expect_access(SEL_SMALL, 12, true);
	expect_access(SEL_SMALL, 13, false);
	expect_access(SEL_SMALL, 0xfffffffe, false);
	expect_access(SEL_DOWN, 0x1000, true);
	expect_access(SEL_DOWN, 0xfff, false);
	expect_access(0, 0, false);

	g = GUEST(MODE_PROTECTED32, 0, push32); /* beyond the stack's limit: #SS, then on it */
	g->s->seg[X86_SS].limit = 0xffff;
	guest_set_gate(g, X86_VEC_SS, 5, 0, SEL_TSS2, 0, 0);
	guest_write(g, GUEST_TSS2 + 0x20, 4, GUEST_HANDLERS + X86_VEC_SS * 16);
	guest_write(g, GUEST_TSS2 + 0x24, 4, 2);
	guest_write(g, GUEST_TSS2 + 0x38, 4, GUEST_STACK1);
	guest_write(g, GUEST_TSS2 + 0x4c, 4, SEL_CODE32);
	guest_write(g, GUEST_TSS2 + 0x50, 4, SEL_DATA);
	guest_expect_vector(g, X86_VEC_SS);
	assert_int_equal(guest_stack(g, 0, 4), 0);
	assert_int_equal(g->s->seg[X86_TR].selector, SEL_TSS2);
	guest_destroy(g);
}

/* ---- IRET ---------------------------------------------------------------------------------- */

static void push_words(struct guest *g, unsigned size, const uint64_t *word, unsigned n)
{
	g->s->gpr[X86_RSP] -= n * size;
	for (unsigned i = 0; i < n; i++)
		guest_write(
			g, g->s->seg[X86_SS].base + g->s->gpr[X86_RSP] + i * size, size, word[i]);
}

static struct guest *iret_guest64(uint64_t rip, uint64_t cs, uint64_t flags, uint64_t ss)
{
	const uint64_t frame[] = {rip, cs, flags, GUEST_STACK3 - 8, ss};
	struct guest *g = GUEST(MODE_LONG, 0, iret64);

	push_words(g, 8, frame, 5);
	g->memory[GUEST_CODE + 0x100] = 0xf4; /* HLT: #GP at CPL 3 */
	return g;
}

static void iret_to_user(void **state)
{
	const uint64_t flags = 2 | X86_FLAG_IF | X86_FLAG_IOPL | X86_FLAG_CF | X86_FLAG_ID;
	struct guest *g = iret_guest64(GUEST_CODE + 0x100, SEL_USER64, flags, SEL_USER_DATA);

	guest_expect_vector(g, X86_VEC_GP);
	expect_frame64(g, true, GUEST_CODE + 0x100, SEL_USER64, GUEST_STACK3 - 8, SEL_USER_DATA);
	assert_int_equal(guest_stack(g, 3, 8), flags | X86_FLAG_RF);
	assert_int_equal(g->s->seg[X86_DS].selector, 0); /* was the kernel's */
	guest_destroy(g);
}

static void iret_to_compatibility_mode(void **state)
{
	struct guest *g = iret_guest64(GUEST_CODE + 0x100, SEL_USER32, 2, SEL_USER_DATA);

	g->memory[GUEST_CODE + 0x100] = 0x40; /* INC EAX there, a REX prefix in 64-bit mode */
	g->memory[GUEST_CODE + 0x101] = 0xf4;
	g->s->gpr[X86_RAX] = 41;
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 1, 8), GUEST_CODE + 0x101);
	assert_int_equal(g->s->gpr[X86_RAX], 42);
	guest_destroy(g);
}

static void iret_checks(void **state)
{
	static const struct {
		uint64_t rip, cs, ss;
		unsigned vector, error;
	} bad[] = {
		{GUEST_CODE, 0, SEL_USER_DATA, X86_VEC_GP, 0},
		{GUEST_CODE, SEL_DATA, SEL_USER_DATA, X86_VEC_GP, SEL_DATA},
		{GUEST_CODE, SEL_CODE64 | 3, SEL_USER_DATA, X86_VEC_GP, SEL_CODE64},
		{GUEST_CODE, 0xff8 | 3, SEL_USER_DATA, X86_VEC_GP, 0xff8},
		{GUEST_CODE, SEL_USER64, SEL_DATA, X86_VEC_GP, SEL_DATA},
		{GUEST_CODE, SEL_USER64, 0, X86_VEC_GP, 0},
		{0x800000000000, SEL_USER64, SEL_USER_DATA, X86_VEC_GP, 0},
		{GUEST_CODE, SEL_CODE64, SEL_ABSENT, X86_VEC_SS, SEL_ABSENT},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct guest *g = iret_guest64(bad[i].rip, bad[i].cs, 2, bad[i].ss);
		uint64_t rsp = g->s->gpr[X86_RSP];

		guest_expect_vector(g, bad[i].vector);
		assert_int_equal(guest_stack(g, 0, 8), bad[i].error);
		expect_frame64(g, true, GUEST_CODE, SEL_CODE64, rsp, SEL_DATA);
		guest_destroy(g);
	}
}

static void iret_to_null_ss_at_same_level(void **state)
{
	struct guest *g = iret_guest64(GUEST_CODE + 0x100, SEL_CODE64, 2, 0);

	guest_expect_halt(g, 0x100);
	assert_int_equal(g->s->seg[X86_SS].selector, 0);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_STACK3 - 8);
	guest_destroy(g);
}

static void iret_unmasks_nmi(void **state)
{
	struct guest *g = iret_guest64(GUEST_CODE + 0x100, SEL_CODE64, 2, SEL_DATA);

	g->s->nmi_masked = true;
	g->s->nmi_pending = true;
	guest_expect_vector(g, X86_VEC_NMI);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 0x100);
	assert_true(g->s->nmi_masked);
	assert_false(g->s->nmi_pending);
	guest_destroy(g);
}

static void iret_in_real_mode(void **state)
{
	const uint64_t frame[] = {0x100, GUEST_CODE >> 4, X86_FLAG_CF | X86_FLAG_DF};
	struct guest *g = GUEST(MODE_REAL, 0, iret16);

	push_words(g, 2, frame, 3);
	g->memory[GUEST_CODE + 0x100] = 0xf4;
	guest_expect_halt(g, 0x100);
	assert_int_equal(g->s->rflags, X86_FLAG_1 | X86_FLAG_CF | X86_FLAG_DF);
	assert_int_equal(g->s->gpr[X86_RSP], 0xff00);
	guest_destroy(g);
}

static void iret_to_outer_level_in_protected_mode(void **state)
{
	const uint64_t frame[] = {
		GUEST_CODE + 0x100, SEL_USER32, 2, GUEST_STACK3 - 4, SEL_USER_DATA};
	struct guest *g = GUEST(MODE_PROTECTED32, 0, iret32);

	push_words(g, 4, frame, 5);
	g->memory[GUEST_CODE + 0x100] = 0xf4;
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 1, 4), GUEST_CODE + 0x100);
	assert_int_equal(guest_stack(g, 4, 4), GUEST_STACK3 - 4);
	guest_destroy(g);
}

static void iret_to_vm86(void **state)
{
	const uint64_t frame[] = {0x100, GUEST_CODE >> 4, X86_FLAG_VM | 2, 0xfff0, 0, 1, 2, 3, 4};
	struct guest *g = GUEST(MODE_PROTECTED32, 0, iret32);

	push_words(g, 4, frame, 9);
	g->memory[GUEST_CODE + 0x100] = 0xf4;
	guest_expect_vector(g, X86_VEC_GP); /* HLT at CPL 3 */
	assert_int_equal(guest_stack(g, 1, 4), 0x100);
	assert_int_equal(guest_stack(g, 2, 4), GUEST_CODE >> 4);
	for (unsigned i = 0; i < 4; i++) /* ES, DS, FS, GS */
		assert_int_equal(guest_stack(g, 6 + i, 4), 1 + i);
	guest_destroy(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fault_in_real_mode),
		cmocka_unit_test(fault_in_protected_mode),
		cmocka_unit_test(fault_through_16_bit_gate),
		cmocka_unit_test(fault_from_user_switches_stacks),
		cmocka_unit_test(fault_in_long_mode),
		cmocka_unit_test(fault_in_compatibility_mode),
		cmocka_unit_test(long_mode_aligns_stack_at_same_level),
		cmocka_unit_test(interrupt_stack_table),
		cmocka_unit_test(fault_in_vm86),
		cmocka_unit_test(divide_error_points_at_instruction),
		cmocka_unit_test(page_fault),
		cmocka_unit_test(non_canonical_address),
		cmocka_unit_test(software_interrupt),
		cmocka_unit_test(software_interrupt_needs_gate_dpl),
		cmocka_unit_test(breakpoint_and_icebp),
		cmocka_unit_test(overflow_trap),
		cmocka_unit_test(vm86_interrupt_needs_iopl),
		cmocka_unit_test(bad_gates),
		cmocka_unit_test(hardware_events_set_ext),
		cmocka_unit_test(inner_stack_faults),
		cmocka_unit_test(double_fault),
		cmocka_unit_test(benign_then_contributory_is_serial),
		cmocka_unit_test(contributory_then_page_fault_is_serial),
		cmocka_unit_test(triple_fault),
		cmocka_unit_test(triple_fault_in_real_mode),
		cmocka_unit_test(segment_loads),
		cmocka_unit_test(segment_limits),
		cmocka_unit_test(iret_to_user),
		cmocka_unit_test(iret_to_compatibility_mode),
		cmocka_unit_test(iret_checks),
		cmocka_unit_test(iret_to_null_ss_at_same_level),
		cmocka_unit_test(iret_unmasks_nmi),
		cmocka_unit_test(iret_in_real_mode),
		cmocka_unit_test(iret_to_outer_level_in_protected_mode),
		cmocka_unit_test(iret_to_vm86),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
