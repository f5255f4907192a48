/*
 * x86_system_debug.c - single-step, breakpoints, the interrupt shadow, NMI masking, injection.
 */
#include "x86_guest.h"

GUEST_CODE_BYTES(nops64, 64, "nop; nop; nop; hlt");
GUEST_CODE_BYTES(popf_step64, 64, "popfq; nop; nop; hlt");
GUEST_CODE_BYTES(int_step64, 64, "int $0x80; nop; hlt");
GUEST_CODE_BYTES(store64, 64, "nop; movl %eax, (%rdi); nop; hlt");
GUEST_CODE_BYTES(load64, 64, "nop; movl (%rdi), %eax; nop; hlt");
GUEST_CODE_BYTES(iret_rf64, 64, "iretq");
GUEST_CODE_BYTES(read_dr64, 64, "movq %dr6, %rax; hlt");
GUEST_CODE_BYTES(read_dr4, 64, "movq %dr4, %rax; hlt");
GUEST_CODE_BYTES(write_dr7, 64, "movq %rax, %dr7; nop; hlt");
GUEST_CODE_BYTES(sti64, 64, "sti; nop; nop; hlt");
GUEST_CODE_BYTES(sti_hlt64, 64, "sti; hlt; nop");
GUEST_CODE_BYTES(mov_ss64, 64, "movw %ax, %ss; nop; nop; hlt");
GUEST_CODE_BYTES(mov_ss32, 32, "movw %ax, %ss; nop; nop; hlt");
GUEST_CODE_BYTES(pop_ss16, 16, "popw %ss; nop; nop; hlt");
GUEST_CODE_BYTES(loop64, 64, "1: jmp 1b");
GUEST_CODE_BYTES(in64, 64, "inb $0x40, %al; nop; hlt");

/* ---- Single-step --------------------------------------------------------------------------- */

static void single_step(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, nops64);

	g->s->rflags |= X86_FLAG_TF;
	guest_expect_vector(g, X86_VEC_DB);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 1);
	assert_int_equal(guest_stack(g, 2, 8) & X86_FLAG_TF, X86_FLAG_TF);
	assert_int_equal(g->s->rflags & X86_FLAG_TF, 0);
	assert_int_equal(g->s->dr6, 0xffff4ff0);
	guest_destroy(g);
}

static void popf_traps_after_the_next_instruction(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, popf_step64);

	g->s->gpr[X86_RSP] -= 8;
	guest_write(g, g->s->gpr[X86_RSP], 8, X86_FLAG_TF | X86_FLAG_1);
	guest_expect_vector(g, X86_VEC_DB);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 2);
	guest_destroy(g);
}

static void software_interrupt_takes_no_step_trap(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, int_step64);

	g->s->rflags |= X86_FLAG_TF;
	guest_expect_vector(g, 0x80);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 2);
	assert_int_equal(g->s->dr6, 0xffff0ff0);
	guest_destroy(g);
}

/* An interrupt instruction that was not stepped leaves nothing behind for a later step. */
static void software_interrupt_leaves_steps_alone(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, int_step64);

	guest_expect_vector(g, 0x80);
	g->s->rip = GUEST_CODE + 2;
	g->s->rflags |= X86_FLAG_TF;
	guest_expect_vector(g, X86_VEC_DB);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 3);
	guest_destroy(g);
}

static void stack_segment_load_holds_step_trap(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, mov_ss64);

	g->s->gpr[X86_RAX] = SEL_DATA;
	g->s->rflags |= X86_FLAG_TF;
	guest_expect_vector(g, X86_VEC_DB);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 3);
	guest_destroy(g);

	g = GUEST(MODE_PROTECTED32, 0, mov_ss32);
	g->s->gpr[X86_RAX] = SEL_DATA;
	g->s->rflags |= X86_FLAG_TF;
	guest_expect_vector(g, X86_VEC_DB);
	assert_int_equal(guest_stack(g, 0, 4), GUEST_CODE + 3);
	guest_destroy(g);
}

static void step_trap_after_port_exit(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, in64);

	g->s->rflags |= X86_FLAG_TF;
	assert_int_equal(guest_run(g), X86_EXIT_IO);
	g->s->rip += g->exit.next;
	x86_vcpu_changed(g->vcpu);
	guest_expect_vector(g, X86_VEC_DB);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 2);
	assert_int_equal(g->s->dr6, 0xffff4ff0);
	guest_destroy(g);
}

/* ---- Breakpoints --------------------------------------------------------------------------- */

static void instruction_breakpoint(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, nops64);

	g->s->dr[1] = GUEST_CODE + 2;
	g->s->dr7 |= 1 << 2;
	guest_expect_vector(g, X86_VEC_DB);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 2); /* a fault */
	assert_int_equal(guest_stack(g, 2, 8) & X86_FLAG_RF, 0);
	assert_int_equal(g->s->dr6, 0xffff0ff2);
	guest_destroy(g);
}

static void resume_flag_skips_one_breakpoint(void **state)
{
	const uint64_t frame[] = {
		GUEST_CODE + 0x100, SEL_CODE64, X86_FLAG_RF | 2, GUEST_STACK0, SEL_DATA};
	struct guest *g = GUEST(MODE_LONG, 0, iret_rf64);

	g->s->gpr[X86_RSP] -= sizeof(frame);
	memcpy(g->memory + g->s->gpr[X86_RSP], frame, sizeof(frame));
	memset(g->memory + GUEST_CODE + 0x100, 0x90, 2);
	g->s->dr[0] = GUEST_CODE + 0x100;
	g->s->dr[1] = GUEST_CODE + 0x101;
	g->s->dr7 |= 1 << 0 | 1 << 2;
	guest_expect_vector(g, X86_VEC_DB);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 0x101);
	assert_int_equal(g->s->dr6, 0xffff0ff2);
	guest_destroy(g);
}

static struct guest *data_guest(
	const uint8_t *begin, const uint8_t *end, unsigned condition, uint64_t watched)
{
	struct guest *g = guest_create(MODE_LONG, 0, begin, end);

	g->s->gpr[X86_RDI] = GUEST_DATA;
	g->s->dr[3] = watched;
	g->s->dr7 |= 1 << 6 | condition << 28; /* L3, one byte */
	return g;
}

static void data_breakpoint(void **state)
{
	struct guest *g = data_guest(store64_begin, store64_end, 1, GUEST_DATA + 3);

	guest_expect_vector(g, X86_VEC_DB);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 3); /* a trap */
	assert_int_equal(g->s->dr6, 0xffff0ff8);
	guest_destroy(g);

	g = data_guest(store64_begin, store64_end, 1, GUEST_DATA + 4);
	guest_expect_halt(g, -1);
	guest_destroy(g);

	g = data_guest(load64_begin, load64_end, 1, GUEST_DATA); /* writes only */
	guest_expect_halt(g, -1);
	guest_destroy(g);

	g = data_guest(load64_begin, load64_end, 3, GUEST_DATA);
	guest_expect_vector(g, X86_VEC_DB);
	guest_destroy(g);
}

static void io_breakpoint(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, in64);

	g->s->cr4 |= X86_CR4_DE;
	g->s->dr[0] = 0x40;
	g->s->dr7 |= 1 | 2 << 16;
	assert_int_equal(guest_run(g), X86_EXIT_IO);
	g->s->rip += g->exit.next;
	x86_vcpu_changed(g->vcpu);
	guest_expect_vector(g, X86_VEC_DB);
	assert_int_equal(g->s->dr6, 0xffff0ff1);
	guest_destroy(g);
}

static void breakpoint_set_by_the_guest(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, write_dr7);

	g->s->dr[0] = GUEST_CODE + write_dr7_end - write_dr7_begin - 1;
	g->s->gpr[X86_RAX] = 2;
	guest_expect_vector(g, X86_VEC_DB);
	assert_int_equal(guest_stack(g, 0, 8), g->s->dr[0]);
	assert_int_equal(g->s->dr7, 0x402);
	guest_destroy(g);
}

static void debug_register_access(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, read_dr64);

	g->s->dr7 |= 0x2000; /* GD */
	guest_expect_vector(g, X86_VEC_DB);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE);
	assert_int_equal(g->s->dr6, 0xffff2ff0);
	assert_int_equal(g->s->dr7, 0x400);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 0, read_dr4);
	guest_expect_halt(g, -1);
	assert_int_equal(g->s->gpr[X86_RAX], 0xffff0ff0);
	guest_destroy(g);
	g = GUEST(MODE_LONG, 0, read_dr4);
	g->s->cr4 |= X86_CR4_DE;
	guest_expect_vector(g, X86_VEC_UD);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 0, write_dr7);
	g->s->gpr[X86_RAX] = 1ul << 32;
	guest_expect_vector(g, X86_VEC_GP);
	guest_destroy(g);
	g = GUEST(MODE_LONG, 3, read_dr64);
	guest_expect_vector(g, X86_VEC_GP);
	guest_destroy(g);
}

/* ---- Interrupts and their shadow ----------------------------------------------------------- */

static void expect_interrupt_after(struct guest *g, unsigned offset, unsigned size)
{
	g->interrupt = 0x40;
	x86_vcpu_interrupt(g->vcpu);
	guest_expect_vector(g, 0x40);
	assert_int_equal(guest_stack(g, 0, size), offset + (size == 2 ? 0 : GUEST_CODE));
	guest_destroy(g);
}

static void sti_shadow(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, sti64);

	expect_interrupt_after(g, 2, 8);
	g = GUEST(MODE_LONG, 0, sti64); /* the same when stepping */
	g->s->dr[0] = 0x1000;
	g->s->dr7 |= 1;
	expect_interrupt_after(g, 2, 8);
}

static void sti_before_hlt_never_misses(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, sti_hlt64);

	g->interrupt = 0x40;
	x86_vcpu_interrupt(g->vcpu);
	assert_int_equal(guest_run(g), X86_EXIT_HALT);
	assert_int_equal(g->s->rip, GUEST_CODE + 2);
	guest_expect_vector(g, 0x40);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 2);
	guest_destroy(g);
}

static void stack_segment_shadow(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, mov_ss64);

	g->s->gpr[X86_RAX] = SEL_DATA;
	g->s->rflags |= X86_FLAG_IF;
	g->s->interrupt_shadow = true; /* so that MOV SS comes before the interrupt */
	expect_interrupt_after(g, 3, 8);

	g = GUEST(MODE_PROTECTED32, 0, mov_ss32);
	g->s->gpr[X86_RAX] = SEL_DATA;
	g->s->rflags |= X86_FLAG_IF;
	g->s->interrupt_shadow = true;
	expect_interrupt_after(g, 3, 4);

	g = GUEST(MODE_REAL, 0, pop_ss16);
	g->s->rflags |= X86_FLAG_IF;
	g->s->interrupt_shadow = true;
	expect_interrupt_after(g, 2, 2);
}

static void interrupt_needs_if(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, nops64);

	g->interrupt = 0x40;
	x86_vcpu_interrupt(g->vcpu);
	guest_expect_halt(g, 3);
	assert_int_equal(g->interrupt, 0x40);
	guest_destroy(g);
}

static void nmi_masks_itself(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, loop64);

	x86_vcpu_nmi(g->vcpu);
	guest_expect_vector(g, X86_VEC_NMI);
	assert_true(g->s->nmi_masked);
	x86_vcpu_nmi(g->vcpu); /* waits; the handler goes on into a HLT */
	g->memory[GUEST_HANDLERS + X86_VEC_NMI * 16 + 1] = 0xf4;
	assert_int_equal(guest_run(g), X86_EXIT_HALT);
	assert_int_equal(g->s->rip, GUEST_HANDLERS + X86_VEC_NMI * 16 + 2);
	guest_destroy(g);
}

static void interrupt_window(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, sti64);

	x86_vcpu_request_window(g->vcpu);
	assert_int_equal(guest_run(g), X86_EXIT_INTERRUPT_WINDOW);
	assert_int_equal(g->s->rip, GUEST_CODE + 2);
	guest_destroy(g);
}

static void injection(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, nops64);

	x86_vcpu_inject(g->vcpu, 3, X86_VEC_PF, true, 4, 0x1234, 0);
	guest_expect_vector(g, X86_VEC_PF);
	assert_int_equal(g->s->cr2, 0x1234);
	assert_int_equal(guest_stack(g, 0, 8), 4);
	assert_int_equal(guest_stack(g, 1, 8), GUEST_CODE);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 0, nops64); /* a software interrupt pushes what follows it */
	x86_vcpu_inject(g->vcpu, 4, 0x80, false, 0, 0, 2);
	guest_expect_vector(g, 0x80);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 2);
	guest_destroy(g);
}

static void intercepted_exception(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, load64);

	x86_vcpu_intercept_exceptions(g->vcpu, 1 << X86_VEC_PF);
	g->s->gpr[X86_RDI] = 0x7ff0000000;
	assert_int_equal(guest_run(g), X86_EXIT_EXCEPTION);
	assert_int_equal(g->exit.exception.vector, X86_VEC_PF);
	assert_int_equal(g->exit.exception.parameter, 0x7ff0000000);
	assert_int_equal(g->s->rip, GUEST_CODE + 1);
	assert_int_equal(g->s->cr2, 0);
	guest_destroy(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(single_step),
		cmocka_unit_test(popf_traps_after_the_next_instruction),
		cmocka_unit_test(software_interrupt_takes_no_step_trap),
		cmocka_unit_test(software_interrupt_leaves_steps_alone),
		cmocka_unit_test(stack_segment_load_holds_step_trap),
		cmocka_unit_test(step_trap_after_port_exit),
		cmocka_unit_test(instruction_breakpoint),
		cmocka_unit_test(resume_flag_skips_one_breakpoint),
		cmocka_unit_test(data_breakpoint),
		cmocka_unit_test(io_breakpoint),
		cmocka_unit_test(breakpoint_set_by_the_guest),
		cmocka_unit_test(debug_register_access),
		cmocka_unit_test(sti_shadow),
		cmocka_unit_test(sti_before_hlt_never_misses),
		cmocka_unit_test(stack_segment_shadow),
		cmocka_unit_test(interrupt_needs_if),
		cmocka_unit_test(nmi_masks_itself),
		cmocka_unit_test(interrupt_window),
		cmocka_unit_test(injection),
		cmocka_unit_test(intercepted_exception),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
