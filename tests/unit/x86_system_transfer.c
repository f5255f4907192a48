/*
 * x86_system_transfer.c - far branches, call gates, tasks, and the fast system calls.
 */
#include "x86_guest.h"

GUEST_CODE_BYTES(far_jump32, 32, "ljmp *(%edi); hlt");
GUEST_CODE_BYTES(far_jump64, 64, "ljmp *(%rdi); hlt");
GUEST_CODE_BYTES(far_call32, 32, "lcall *(%edi); hlt");
GUEST_CODE_BYTES(far_call64, 64, "lcall *(%rdi); hlt");
GUEST_CODE_BYTES(far_call16, 16, "lcall $0x1000, $0x100; hlt");
GUEST_CODE_BYTES(far_ret32, 32, "lretl");
GUEST_CODE_BYTES(far_ret_imm32, 32, "lretl $8");
GUEST_CODE_BYTES(far_ret64, 64, "lretq");
GUEST_CODE_BYTES(syscall64, 64, "syscall; hlt");
GUEST_CODE_BYTES(sysret64, 64, "sysretq");
GUEST_CODE_BYTES(sysret32, 64, "sysretl");
GUEST_CODE_BYTES(sysenter, 32, "sysenter");
GUEST_CODE_BYTES(sysexit32, 32, "sysexit");
GUEST_CODE_BYTES(sysexit64, 64, "sysexitq");
GUEST_CODE_BYTES(swapgs64, 64,
	"movq %gs:(%rdi), %rax; swapgs; movq %gs:(%rdi), %rbx; swapgs; movq %gs:(%rdi), %rcx; hlt");
GUEST_CODE_BYTES(bases64, 64,
	"wrfsbase %rdi; rdfsbase %rax; movq %fs:8, %rbx; wrgsbase %esi; rdgsbase %rcx; hlt");
GUEST_CODE_BYTES(call_task32, 32, "lcall $0x90, $0; hlt");
GUEST_CODE_BYTES(call_task_gate32, 32, "lcall $0x98, $0; hlt");
GUEST_CODE_BYTES(jump_task32, 32, "ljmp $0x90, $0; hlt");
GUEST_CODE_BYTES(task_body, 32, "addl $1, %eax; iretl; addl $16, %eax; iretl");
GUEST_CODE_BYTES(call_twice32, 32, "lcall $0x90, $0; lcall $0x90, $0; hlt");
GUEST_CODE_BYTES(
	to_protected16, 16, "movl %cr0, %eax; orb $1, %al; movl %eax, %cr0; ljmpl $0x08, $0x10100");
GUEST_CODE_BYTES(to_long32, 32,
	"movl %cr4, %eax; orl $0x20, %eax; movl %eax, %cr4; movl $0x1000, %eax; movl %eax, %cr3;"
	"movl $0xc0000080, %ecx; rdmsr; orl $0x100, %eax; wrmsr;"
	"movl %cr0, %eax; orl $0x80000000, %eax; movl %eax, %cr0; ljmp $0x10, $0x10100");
GUEST_CODE_BYTES(
	out_of_long32, 32, "movl %cr0, %eax; andl $0x7fffffff, %eax; movl %eax, %cr0; hlt");

#define TARGET (GUEST_CODE + 0x100)

static void halt_at(struct guest *g, uint64_t address)
{
	guest_write(g, address, 1, 0xf4);
}

/* A far pointer in memory, which EDI points to. */
static void set_pointer(struct guest *g, unsigned selector, uint32_t offset)
{
	guest_write(g, GUEST_DATA, 4, offset);
	guest_write(g, GUEST_DATA + 4, 2, selector);
	g->s->gpr[X86_RDI] = GUEST_DATA;
	halt_at(g, TARGET);
}

static struct guest *far_guest(enum guest_mode mode, unsigned cpl, const uint8_t *begin,
	const uint8_t *end, unsigned selector)
{
	struct guest *g = guest_create(mode, cpl, begin, end);

	set_pointer(g, selector, TARGET);
	return g;
}
#define FAR_GUEST(mode, cpl, name, selector)                                                       \
	far_guest(mode, cpl, name##_begin, name##_end, selector)

/* ---- Direct -------------------------------------------------------------------------------- */

static void far_call_in_real_mode(void **state)
{
	struct guest *g = GUEST(MODE_REAL, 0, far_call16);

	halt_at(g, TARGET);
	guest_expect_halt(g, 0x100);
	assert_int_equal(guest_stack(g, 0, 2), 5);
	assert_int_equal(guest_stack(g, 1, 2), GUEST_CODE >> 4);
	guest_destroy(g);
}

static void far_call_and_jump(void **state)
{
	struct guest *g = FAR_GUEST(MODE_PROTECTED32, 0, far_call32, SEL_CODE32);

	guest_expect_halt(g, 0x100);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_STACK0 - 8);
	assert_int_equal(guest_stack(g, 0, 4), GUEST_CODE + 2);
	assert_int_equal(guest_stack(g, 1, 4), SEL_CODE32);
	guest_destroy(g);

	g = FAR_GUEST(MODE_PROTECTED32, 3, far_jump32, SEL_CONFORMING);
	guest_expect_vector(g, X86_VEC_GP); /* the HLT, at the level that jumped */
	assert_int_equal(guest_stack(g, 1, 4), TARGET);
	assert_int_equal(guest_stack(g, 2, 4), SEL_CONFORMING | 3);
	guest_destroy(g);

	g = FAR_GUEST(MODE_LONG, 0, far_jump64, SEL_CODE32); /* to compatibility mode */
	guest_expect_halt(g, 0x100);
	assert_int_equal(g->s->seg[X86_CS].selector, SEL_CODE32);
	guest_destroy(g);
}

static void far_branch_checks(void **state)
{
	static const struct {
		unsigned selector, vector, error;
	} bad[] = {
		{0, X86_VEC_GP, 0},
		{SEL_DATA, X86_VEC_GP, SEL_DATA},
		{SEL_USER32, X86_VEC_GP, SEL_USER32 & ~3u},
		{SEL_CODE32 | 1, X86_VEC_GP, SEL_CODE32},
		{0xff8, X86_VEC_GP, 0xff8},
		{SEL_LDT, X86_VEC_GP, SEL_LDT},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct guest *g = FAR_GUEST(MODE_PROTECTED32, 0, far_call32, bad[i].selector);

		guest_expect_vector(g, bad[i].vector);
		assert_int_equal(guest_stack(g, 0, 4), bad[i].error);
		assert_int_equal(guest_stack(g, 1, 4), GUEST_CODE);
		assert_int_equal(g->s->gpr[X86_RSP], GUEST_STACK0 - 16);
		guest_destroy(g);
	}
}

static void far_return(void **state)
{
	const uint32_t frame[] = {TARGET, SEL_CODE32};
	struct guest *g = GUEST(MODE_PROTECTED32, 0, far_ret_imm32);

	g->s->gpr[X86_RSP] = GUEST_STACK0 - 16;
	memcpy(g->memory + GUEST_STACK0 - 16, frame, sizeof(frame));
	halt_at(g, TARGET);
	guest_expect_halt(g, 0x100);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_STACK0);
	guest_destroy(g);
}

static void far_return_to_outer_level(void **state)
{
	const uint32_t frame[] = {TARGET, SEL_USER32, GUEST_STACK3 - 32, SEL_USER_DATA};
	const uint64_t frame64[] = {TARGET, SEL_USER64, GUEST_STACK3 - 32, SEL_USER_DATA};
	struct guest *g = GUEST(MODE_PROTECTED32, 0, far_ret32);

	g->s->gpr[X86_RSP] -= sizeof(frame);
	memcpy(g->memory + g->s->gpr[X86_RSP], frame, sizeof(frame));
	halt_at(g, TARGET);
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 1, 4), TARGET);
	assert_int_equal(guest_stack(g, 2, 4), SEL_USER32);
	assert_int_equal(guest_stack(g, 4, 4), GUEST_STACK3 - 32);
	assert_int_equal(g->s->seg[X86_ES].selector, 0);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 0, far_ret64);
	g->s->gpr[X86_RSP] -= sizeof(frame64);
	memcpy(g->memory + g->s->gpr[X86_RSP], frame64, sizeof(frame64));
	halt_at(g, TARGET);
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 1, 8), TARGET);
	assert_int_equal(guest_stack(g, 2, 8), SEL_USER64);
	guest_destroy(g);
}

/* ---- Call gates ---------------------------------------------------------------------------- */

static void call_gate_to_inner_level(void **state)
{
	struct guest *g = FAR_GUEST(MODE_PROTECTED32, 3, far_call32, SEL_GATE);

	/* Two parameters; the offset in the pointer is not looked at. */
	guest_set_descriptor(g, SEL_GATE, guest_gate(12, 3, SEL_CODE32, TARGET) | 2ul << 32);
	guest_write(g, GUEST_STACK3, 4, 0x1111);
	guest_write(g, GUEST_STACK3 + 4, 4, 0x2222);
	guest_expect_halt(g, 0x100);
	assert_int_equal(g->s->cpl, 0);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_RING0 - 24);
	assert_int_equal(guest_stack(g, 0, 4), GUEST_CODE + 2);
	assert_int_equal(guest_stack(g, 1, 4), SEL_USER32);
	assert_int_equal(guest_stack(g, 2, 4), 0x1111);
	assert_int_equal(guest_stack(g, 3, 4), 0x2222);
	assert_int_equal(guest_stack(g, 4, 4), GUEST_STACK3);
	assert_int_equal(guest_stack(g, 5, 4), SEL_USER_DATA);
	guest_destroy(g);
}

static void call_gate_to_level_1(void **state)
{
	struct guest *g = FAR_GUEST(MODE_PROTECTED32, 3, far_call32, SEL_GATE);

	guest_set_descriptor(g, SEL_GATE, guest_gate(12, 3, SEL_RING1, TARGET));
	guest_expect_vector(g, X86_VEC_GP); /* HLT at CPL 1 */
	assert_int_equal(guest_stack(g, 2, 4), SEL_RING1 | 1);
	assert_int_equal(guest_stack(g, 4, 4), GUEST_STACK1 - 16);
	guest_destroy(g);
}

static void call_gate_in_long_mode(void **state)
{
	struct guest *g = FAR_GUEST(MODE_LONG, 3, far_call64, SEL_GATE);

	guest_set_descriptor(g, SEL_GATE, guest_gate(12, 3, SEL_CODE64, TARGET));
	guest_expect_halt(g, 0x100);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_RING0 - 32);
	assert_int_equal(guest_stack(g, 0, 8), GUEST_CODE + 2);
	assert_int_equal(guest_stack(g, 1, 8), SEL_USER64);
	assert_int_equal(guest_stack(g, 2, 8), GUEST_STACK3);
	assert_int_equal(guest_stack(g, 3, 8), SEL_USER_DATA);
	assert_int_equal(g->s->seg[X86_SS].selector, 0);
	guest_destroy(g);
}

static void call_gate_checks(void **state)
{
	struct guest *g = FAR_GUEST(MODE_PROTECTED32, 3, far_call32, SEL_GATE);

	guest_set_descriptor(g, SEL_GATE, guest_gate(12, 0, SEL_CODE32, TARGET));
	guest_expect_vector(g, X86_VEC_GP); /* the gate's DPL */
	assert_int_equal(guest_stack(g, 0, 4), SEL_GATE);
	guest_destroy(g);

	g = FAR_GUEST(MODE_PROTECTED32, 3, far_jump32, SEL_GATE);
	guest_set_descriptor(g, SEL_GATE, guest_gate(12, 3, SEL_CODE32, TARGET));
	guest_expect_vector(g, X86_VEC_GP); /* JMP cannot change the level */
	assert_int_equal(guest_stack(g, 0, 4), SEL_CODE32);
	guest_destroy(g);

	g = FAR_GUEST(MODE_PROTECTED32, 3, far_call32, SEL_GATE);
	guest_set_descriptor(g, SEL_GATE, guest_gate(12, 3, SEL_CODE32, TARGET) & ~(1ul << 47));
	guest_expect_vector(g, X86_VEC_NP);
	assert_int_equal(guest_stack(g, 0, 4), SEL_GATE);
	guest_destroy(g);

	g = FAR_GUEST(MODE_LONG, 3, far_call64, SEL_GATE);
	guest_set_descriptor(g, SEL_GATE, guest_gate(12, 3, SEL_CODE32, TARGET));
	guest_expect_vector(g, X86_VEC_GP); /* not 64-bit code */
	assert_int_equal(guest_stack(g, 0, 8), SEL_CODE32);
	guest_destroy(g);
}

/* ---- Tasks --------------------------------------------------------------------------------- */

static void make_task(struct guest *g)
{
	static const unsigned data[] = {0x48, 0x50, 0x54};

	memcpy(g->memory + TARGET, task_body_begin, (size_t)(task_body_end - task_body_begin));
	guest_write(g, GUEST_TSS2 + 0x20, 4, TARGET);
	guest_write(g, GUEST_TSS2 + 0x24, 4, 2);
	guest_write(g, GUEST_TSS2 + 0x28, 4, 100); /* EAX */
	guest_write(g, GUEST_TSS2 + 0x38, 4, GUEST_STACK1);
	guest_write(g, GUEST_TSS2 + 0x4c, 4, SEL_CODE32);
	for (unsigned i = 0; i < 3; i++)
		guest_write(g, GUEST_TSS2 + data[i], 4, SEL_DATA);
	g->s->gpr[X86_RAX] = 7;
	g->s->gpr[X86_RBX] = 0x1234;
}

static unsigned tss_type(struct guest *g, unsigned selector)
{
	return guest_read(g, GUEST_GDT + selector + 5, 1) & 15;
}

static void call_and_return(const uint8_t *begin, const uint8_t *end)
{
	struct guest *g = guest_create(MODE_PROTECTED32, 0, begin, end);

	make_task(g);
	guest_expect_halt(g, 7);
	assert_int_equal(g->s->gpr[X86_RAX], 7);
	assert_int_equal(g->s->gpr[X86_RBX], 0x1234);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_STACK0);
	assert_int_equal(g->s->seg[X86_TR].selector, SEL_TSS);
	assert_int_equal(g->s->rflags & X86_FLAG_NT, 0);
	assert_true(g->s->cr0 & X86_CR0_TS);
	assert_int_equal(guest_read(g, GUEST_TSS2, 2), SEL_TSS); /* the link back */
	assert_int_equal(guest_read(g, GUEST_TSS2 + 0x28, 4), 101);
	assert_int_equal(tss_type(g, SEL_TSS), 11);
	assert_int_equal(tss_type(g, SEL_TSS2), 9);
	guest_destroy(g);
}

static void task_call(void **state)
{
	call_and_return(call_task32_begin, call_task32_end);
	call_and_return(call_task_gate32_begin, call_task_gate32_end);
}

static void task_resumes_where_it_left(void **state)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 0, call_twice32);

	make_task(g);
	guest_expect_halt(g, 14);
	assert_int_equal(guest_read(g, GUEST_TSS2 + 0x28, 4), 117);
	guest_destroy(g);
}

static void task_jump(void **state)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 0, jump_task32);

	make_task(g);
	halt_at(g, TARGET);
	guest_expect_halt(g, 0x100);
	assert_int_equal(g->s->gpr[X86_RAX], 100);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_STACK1);
	assert_int_equal(g->s->rflags & X86_FLAG_NT, 0);
	assert_int_equal(tss_type(g, SEL_TSS), 9);
	assert_int_equal(tss_type(g, SEL_TSS2), 11);
	assert_int_equal(guest_read(g, GUEST_TSS + 0x20, 4), GUEST_CODE + 7);
	guest_destroy(g);
}

static void task_checks(void **state)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 0, jump_task32);

	make_task(g); /* busy: the old task's fault */
	guest_write(g, GUEST_GDT + SEL_TSS2 + 5, 1, 0x8b);
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 0, 4), SEL_TSS2);
	assert_int_equal(guest_stack(g, 1, 4), GUEST_CODE);
	guest_destroy(g);

	g = GUEST(MODE_PROTECTED32, 0, jump_task32); /* too short */
	make_task(g);
	guest_write(g, GUEST_GDT + SEL_TSS2, 2, 0x66);
	guest_expect_vector(g, X86_VEC_TS);
	assert_int_equal(guest_stack(g, 0, 4), SEL_TSS2);
	guest_destroy(g);

	g = GUEST(MODE_PROTECTED32, 0, jump_task32); /* a bad DS: the new task's fault */
	make_task(g);
	guest_write(g, GUEST_TSS2 + 0x54, 4, SEL_TSS);
	guest_expect_vector(g, X86_VEC_TS);
	assert_int_equal(guest_stack(g, 0, 4), SEL_TSS);
	assert_int_equal(guest_stack(g, 1, 4), TARGET);
	assert_int_equal(g->s->seg[X86_TR].selector, SEL_TSS2);
	guest_destroy(g);
}

/* ---- System calls -------------------------------------------------------------------------- */

static void syscall_and_masks(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 3, syscall64);

	g->s->star = (uint64_t)(SEL_USER32 | 3) << 48 | (uint64_t)SEL_CODE64 << 32;
	g->s->lstar = TARGET;
	g->s->sfmask = X86_FLAG_IF | X86_FLAG_DF;
	g->s->rflags |= X86_FLAG_IF | X86_FLAG_DF | X86_FLAG_CF;
	halt_at(g, TARGET);
	guest_expect_halt(g, 0x100);
	assert_int_equal(g->s->cpl, 0);
	assert_int_equal(g->s->seg[X86_CS].selector, SEL_CODE64);
	assert_int_equal(g->s->seg[X86_SS].selector, SEL_DATA);
	assert_int_equal(g->s->gpr[X86_RCX], GUEST_CODE + 2);
	assert_int_equal(g->s->gpr[X86_R11], X86_FLAG_IF | X86_FLAG_DF | X86_FLAG_CF | X86_FLAG_1);
	assert_int_equal(g->s->rflags, X86_FLAG_CF | X86_FLAG_1);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_STACK3);
	guest_destroy(g);
}

static void syscall_is_undefined(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 3, syscall64);

	g->s->efer &= ~X86_EFER_SCE;
	guest_expect_vector(g, X86_VEC_UD);
	guest_destroy(g);

	g = GUEST(MODE_COMPATIBILITY, 3, syscall64);
	guest_expect_vector(g, X86_VEC_UD);
	guest_destroy(g);
}

static void sysret_to(const uint8_t *begin, const uint8_t *end, unsigned cs)
{
	struct guest *g = guest_create(MODE_LONG, 0, begin, end);

	g->s->star = (uint64_t)SEL_USER32 << 48;
	g->s->gpr[X86_RCX] = TARGET;
	g->s->gpr[X86_R11] = X86_FLAG_ZF | X86_FLAG_VM | X86_FLAG_1;
	halt_at(g, TARGET);
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 1, 8), TARGET);
	assert_int_equal(guest_stack(g, 2, 8), cs);
	assert_int_equal(guest_stack(g, 3, 8), X86_FLAG_ZF | X86_FLAG_1 | X86_FLAG_RF);
	assert_int_equal(guest_stack(g, 5, 8), SEL_USER_DATA);
	guest_destroy(g);
}

static void sysret(void **state)
{
	struct guest *g;

	sysret_to(sysret64_begin, sysret64_end, SEL_USER64);
	sysret_to(sysret32_begin, sysret32_end, SEL_USER32);

	g = GUEST(MODE_LONG, 0, sysret64); /* faults at CPL 0, as Intel's processors do */
	g->s->gpr[X86_RCX] = 0x800000000000;
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 1, 8), GUEST_CODE);
	assert_int_equal(guest_stack(g, 2, 8), SEL_CODE64);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 3, sysret64);
	guest_expect_vector(g, X86_VEC_GP);
	guest_destroy(g);
}

static void sysenter_and_sysexit(void **state)
{
	struct guest *g = GUEST(MODE_COMPATIBILITY, 3, sysenter);

	g->s->rflags |= X86_FLAG_IF;
	g->s->sysenter_cs = SEL_CODE64;
	g->s->sysenter_esp = GUEST_STACK1;
	g->s->sysenter_eip = TARGET;
	halt_at(g, TARGET);
	guest_expect_halt(g, 0x100);
	assert_int_equal(g->s->gpr[X86_RSP], GUEST_STACK1);
	assert_int_equal(g->s->rflags & X86_FLAG_IF, 0);
	assert_true(g->s->seg[X86_CS].attributes & X86_SEG_L);
	guest_destroy(g);

	g = GUEST(MODE_COMPATIBILITY, 3, sysenter);
	guest_expect_vector(g, X86_VEC_GP); /* SYSENTER_CS is 0 */
	guest_destroy(g);

	g = GUEST(MODE_LONG, 0, sysexit64); /* CS = MSR + 32 */
	g->s->sysenter_cs = SEL_CODE64;
	g->s->gpr[X86_RDX] = TARGET;
	g->s->gpr[X86_RCX] = GUEST_STACK3 - 64;
	halt_at(g, TARGET);
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 2, 8), SEL_USER64);
	assert_int_equal(guest_stack(g, 4, 8), GUEST_STACK3 - 64);
	guest_destroy(g);

	g = GUEST(MODE_PROTECTED32, 0, sysexit32); /* CS = MSR + 16 */
	g->s->sysenter_cs = SEL_CODE64;
	g->s->gpr[X86_RDX] = TARGET;
	g->s->gpr[X86_RCX] = GUEST_STACK3 - 64;
	halt_at(g, TARGET);
	guest_expect_vector(g, X86_VEC_GP);
	assert_int_equal(guest_stack(g, 2, 4), SEL_USER32);
	guest_destroy(g);
}

static void swapgs(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 0, swapgs64);

	guest_write(g, GUEST_DATA, 8, 1);
	guest_write(g, GUEST_DATA + 8, 8, 2);
	g->s->seg[X86_GS].base = GUEST_DATA;
	g->s->kernel_gs_base = GUEST_DATA + 8;
	guest_expect_halt(g, -1);
	assert_int_equal(g->s->gpr[X86_RAX], 1);
	assert_int_equal(g->s->gpr[X86_RBX], 2);
	assert_int_equal(g->s->gpr[X86_RCX], 1);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 3, swapgs64);
	guest_expect_vector(g, X86_VEC_GP);
	guest_destroy(g);
}

static void fs_and_gs_bases(void **state)
{
	struct guest *g = GUEST(MODE_LONG, 3, bases64);

	guest_expect_vector(g, X86_VEC_UD); /* CR4.FSGSBASE is clear */
	guest_destroy(g);

	g = GUEST(MODE_LONG, 0, bases64);
	g->s->cr4 |= X86_CR4_FSGSBASE;
	g->s->gpr[X86_RDI] = GUEST_DATA;
	g->s->gpr[X86_RSI] = 0xffffffff12345678;
	guest_write(g, GUEST_DATA + 8, 8, 77);
	guest_expect_halt(g, -1);
	assert_int_equal(g->s->gpr[X86_RAX], GUEST_DATA);
	assert_int_equal(g->s->gpr[X86_RBX], 77);
	assert_int_equal(g->s->gpr[X86_RCX], 0x12345678);
	guest_destroy(g);

	g = GUEST(MODE_LONG, 0, bases64);
	g->s->cr4 |= X86_CR4_FSGSBASE;
	g->s->gpr[X86_RDI] = 0x800000000000;
	guest_expect_vector(g, X86_VEC_GP);
	guest_destroy(g);
}

/* ---- From mode to mode --------------------------------------------------------------------- */

static void real_to_protected(void **state)
{
	struct guest *g = GUEST(MODE_REAL, 0, to_protected16);

	g->s->gdtr = (struct x86_table){GUEST_GDT, SEL_END - 1};
	halt_at(g, TARGET);
	guest_expect_halt(g, 0x100);
	assert_int_equal(g->s->seg[X86_CS].selector, SEL_CODE32);
	assert_int_equal(g->s->seg[X86_CS].base, 0);
	guest_destroy(g);
}

static void protected_to_long(void **state)
{
	struct guest *g = GUEST(MODE_PROTECTED32, 0, to_long32);

	guest_write(g, GUEST_PML4, 8, (GUEST_PML4 + 0x1000) | 3);
	guest_write(g, GUEST_PML4 + 0x1000, 8, (GUEST_PML4 + 0x2000) | 3);
	guest_write(g, GUEST_PML4 + 0x2000, 8, 0x83);
	halt_at(g, TARGET);
	guest_expect_halt(g, 0x100);
	assert_int_equal(g->s->efer, X86_EFER_LME | X86_EFER_LMA);
	assert_int_equal(g->s->seg[X86_CS].selector, SEL_CODE64);
	guest_destroy(g);
}

static void long_to_protected(void **state)
{
	struct guest *g = GUEST(MODE_COMPATIBILITY, 0, out_of_long32);

	guest_expect_halt(g, -1);
	assert_int_equal(g->s->efer & X86_EFER_LMA, 0);
	guest_destroy(g);

	g = GUEST(MODE_COMPATIBILITY, 0, out_of_long32); /* not with PCIDs */
	g->s->cr4 |= X86_CR4_PCIDE;
	guest_expect_vector(g, X86_VEC_GP);
	guest_destroy(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(far_call_in_real_mode),
		cmocka_unit_test(far_call_and_jump),
		cmocka_unit_test(far_branch_checks),
		cmocka_unit_test(far_return),
		cmocka_unit_test(far_return_to_outer_level),
		cmocka_unit_test(call_gate_to_inner_level),
		cmocka_unit_test(call_gate_to_level_1),
		cmocka_unit_test(call_gate_in_long_mode),
		cmocka_unit_test(call_gate_checks),
		cmocka_unit_test(task_call),
		cmocka_unit_test(task_resumes_where_it_left),
		cmocka_unit_test(task_jump),
		cmocka_unit_test(task_checks),
		cmocka_unit_test(syscall_and_masks),
		cmocka_unit_test(syscall_is_undefined),
		cmocka_unit_test(sysret),
		cmocka_unit_test(sysenter_and_sysexit),
		cmocka_unit_test(swapgs),
		cmocka_unit_test(fs_and_gs_bases),
		cmocka_unit_test(real_to_protected),
		cmocka_unit_test(protected_to_long),
		cmocka_unit_test(long_to_protected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
