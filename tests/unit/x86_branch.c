/*
 * x86_branch.c - where branches lead that the processor has learnt: calls, returns and jumps,
 * within a page and into others, while the pages they lead to are mapped elsewhere or written,
 * return addresses are changed, or somebody wants the processor to stop.
 *
 * Facts: Intel SDM vol. 3A, 4.10.4 (what makes translations be looked up anew), vol. 2 (RET).
 */
#include "x86_flat.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define HLT 0xf4

#define CODE	0x30000u
#define FUNC	0x40000u
#define ALT	0x48000u /* what is mapped at FUNC later */
#define COPY	0x50000u /* and at CODE */
#define COUNTER 0x60000u

static struct flat *h;

static int setup(void **state)
{
	h = flat_create(1, 1 << 20);
	flat_small_pages(h);
	return 0;
}

static int teardown(void **state)
{
	flat_destroy(h);
	return 0;
}

#define PUT(gpa, ...) FLAT_CODE(h, gpa, __VA_ARGS__)
#define NOPS6	      0x90, 0x90, 0x90, 0x90, 0x90, 0x90

static uint64_t run_rbp(uint64_t rbx)
{
	struct x86_state *s = flat_start(h, 0, FLAT_64, CODE);

	s->gpr[X86_RBX] = rbx;
	s->gpr[X86_R8] = 1000;
	assert_int_equal(flat_run(h, 0).exit.reason, X86_EXIT_HALT);
	return s->gpr[X86_RBP];
}

/*
 * Eight times, while ECX goes down to 0: the branch at CODE + 7 to FUNC, which comes back with EAX;
 * the sum in RBP. When ECX is 5 FUNC is mapped to ALT, and the translation of [RBX] flushed.
 */
static void put_loop(void)
{
	PUT(CODE, 0x31, 0xed,				   /* xor ebp, ebp */
		0xb9, 8, 0, 0, 0,			   /* mov ecx, 8 */
		0xe8, 0xf4, 0xff, 0, 0, 0x90, 0x90, 0x90,  /* again: call FUNC */
		0x48, 0x01, 0xc5,			   /* add rbp, rax */
		0x83, 0xf9, 5,				   /* cmp ecx, 5 */
		0x75, 18,				   /* jne skip */
		0x48, 0xc7, 0x04, 0x25, 0x00, 0x42, 0, 0,  /* mov qword [FUNC's entry], */
		0x03, 0x80, 0x04, 0,			   /* ALT, present, writable */
		0x0f, 0x01, 0x3b, 0x90, 0x90, 0x90,	   /* invlpg [rbx] */
		0xff, 0xc9,				   /* skip: dec ecx */
		0x75, 0xda,				   /* jnz again */
		HLT);
	flat_map_page(h, FUNC, FUNC);
}

#define EXPECTED (4 * 1 + 4 * 100)

static void put_functions(const uint8_t *back, unsigned n)
{
	PUT(FUNC, 0xb8, 1, 0, 0, 0);  /* mov eax, 1 */
	PUT(ALT, 0xb8, 100, 0, 0, 0); /* mov eax, 100 */
	flat_write(h, FUNC + 5, back, n);
	flat_write(h, ALT + 5, back, n);
}

static void test_call_remapped(void **state)
{
	static const uint8_t ret = 0xc3;

	put_functions(&ret, 1);
	put_loop();
	assert_int_equal(run_rbp(FUNC), EXPECTED);
	put_loop();
	PUT(CODE + 35, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8); /* mov rax, cr3; mov cr3, rax */
	assert_int_equal(run_rbp(0), EXPECTED);
}

static void test_jump_remapped(void **state)
{
	static const uint8_t back[] = {0xe9, 0x05, 0, 0xff, 0xff}; /* jmp CODE + 15 */

	put_functions(back, sizeof(back));
	put_loop();
	PUT(CODE + 7, 0xe9); /* jmp FUNC */
	assert_int_equal(run_rbp(FUNC), EXPECTED);
	put_loop();
	PUT(CODE + 7, 0x31, 0xc0, 0x0f, 0x84, 0xf1, 0xff, 0, 0); /* xor eax, eax; jz FUNC */
	assert_int_equal(run_rbp(FUNC), EXPECTED);
}

/* FUNC maps COPY where it was called from, whose loop adds R8. */
static void test_return_remapped(void **state)
{
	put_loop();
	PUT(CODE + 18, NOPS6, NOPS6, NOPS6, 0x90, 0x90, 0x90, 0x90, 0x90);
	memcpy(h->ram + COPY, h->ram + CODE, 0x100);
	PUT(COPY + 15, 0x4c, 0x01, 0xc5); /* add rbp, r8 */
	PUT(FUNC, 0xb8, 1, 0, 0, 0,	  /* mov eax, 1 */
		0x83, 0xf9, 5,		  /* cmp ecx, 5 */
		0x75, 15,		  /* jne out */
		0x48, 0xc7, 0x04, 0x25, 0x80, 0x41, 0, 0, 0x03, 0, 0x05, 0, /* map COPY */
		0x0f, 0x01, 0x3b, /* invlpg [rbx] */
		0xc3);		  /* out: ret */
	assert_int_equal(run_rbp(CODE), 3 * 1 + 5 * 1000);
	flat_map_page(h, CODE, CODE);
}

/* As retpolines do: the return address on the stack is not that of the call. */
static void test_return_elsewhere(void **state)
{
	PUT(CODE, 0x31, 0xed,		/* xor ebp, ebp */
		0xb9, 200, 0, 0, 0,	/* mov ecx, 200 */
		0xe8, 0xf4, 0xff, 0, 0, /* again: call FUNC */
		HLT,
		0x48, 0xff, 0xc5, /* inc rbp */
		0xff, 0xc9,	  /* dec ecx */
		0x75, 0xf3,	  /* jnz again */
		HLT);
	PUT(FUNC, 0x48, 0x89, 0x1c, 0x24, 0xc3); /* mov [rsp], rbx; ret */
	assert_int_equal(run_rbp(CODE + 13), 200);
}

/* Deeper than calls are remembered, and within the page. */
static void test_recursion(void **state)
{
	PUT(CODE, 0x31, 0xed,		/* xor ebp, ebp */
		0xb9, 100, 0, 0, 0,	/* mov ecx, 100 */
		0xe8, 0xf4, 0xff, 0, 0, /* call FUNC */
		HLT);
	PUT(FUNC, 0xff, 0xc9,		      /* dec ecx */
		0x74, 8,		      /* jz out */
		0xe8, 0xf7, 0xff, 0xff, 0xff, /* call FUNC */
		0x48, 0xff, 0xc5,	      /* inc rbp */
		0xc3);			      /* out: ret */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(run_rbp(0), 99);
}

/* Linear address 0 is one like the others; one that is not canonical faults at the RET. */
static void test_return_to(void **state)
{
	struct flat_result r;
	struct x86_state *s;

	PUT(0, 0xbd, 0x77, 0, 0, 0, HLT); /* mov ebp, 0x77 */
	/* xor ebp, ebp; push rbx; pop rax; jmp + 0; and with the stack's page known: push rbx; ret */
	PUT(CODE, 0x31, 0xed, 0x53, 0x58, 0xeb, 0, 0x53, 0xc3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(run_rbp(0), 0x77);
	for (unsigned i = 0; i < 3; i++) {
		s = flat_start(h, 0, FLAT_64, CODE);
		s->gpr[X86_RBX] = 1ull << 47;
		r = flat_run(h, 0);
		assert_int_equal(r.vector, X86_VEC_GP);
		assert_int_equal(s->rip, CODE + 7);
	}
}

/* A block of the same page is written by a function each time before it is jumped to. */
static void test_target_written(void **state)
{
	PUT(CODE, 0x31, 0xed,		/* xor ebp, ebp */
		0xb9, 100, 0, 0, 0,	/* mov ecx, 100 */
		0xe8, 0xf4, 0xff, 0, 0, /* again: call FUNC */
		0xeb, 2, HLT, HLT,	/* jmp there */
		0xb8, 0, 0, 0, 0,	/* there: mov eax, 0 */
		0x48, 0x01, 0xc5,	/* add rbp, rax */
		0xff, 0xc9,		/* dec ecx */
		0x75, 0xeb,		/* jnz again */
		HLT);
	PUT(FUNC, 0x89, 0x0b, 0xc3); /* mov [rbx], ecx; ret */
	assert_int_equal(run_rbp(CODE + 17), 100 * 101 / 2);
}

static void *run_first(void *result)
{
	*(struct flat_result *)result = flat_run(h, 0);
	return NULL;
}

/* Calls without end, into the other page and back. */
static void test_stop(void **state)
{
	volatile uint64_t *counter = (volatile uint64_t *)(h->ram + COUNTER);
	struct flat_result r;
	pthread_t thread;

	PUT(CODE, 0xe8, 0xfb, 0xff, 0, 0, 0xeb, 0xf9); /* again: call FUNC; jmp again */
	PUT(FUNC, 0x48, 0xff, 0x03, 0xc3);	       /* inc qword [rbx]; ret */
	*counter = 0;
	flat_start(h, 0, FLAT_64, CODE)->gpr[X86_RBX] = COUNTER;
	assert_int_equal(pthread_create(&thread, NULL, run_first, &r), 0);
	while (*counter < 100000)
		;
	x86_vcpu_stop(h->vcpu[0]);
	pthread_join(thread, NULL);
	assert_int_equal(r.exit.reason, X86_EXIT_STOPPED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_call_remapped),
		cmocka_unit_test(test_jump_remapped),
		cmocka_unit_test(test_return_remapped),
		cmocka_unit_test(test_return_elsewhere),
		cmocka_unit_test(test_recursion),
		cmocka_unit_test(test_return_to),
		cmocka_unit_test(test_target_written),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
