/*
 * x86_smc.c - code that changes: by the processor that runs it, by another one, from outside, and
 * a decoded-code cache that is too small for what runs.
 *
 * Facts: Intel SDM vol. 3A, 8.1.3 (self- and cross-modifying code). Stores to the instructions that
 * follow take effect at once, which is stronger than the manual asks.
 */
#include "x86_flat.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define HLT 0xf4

#define CODE  0x30000u
#define OTHER 0x40000u /* code in another page */
#define DATA  0x50000u

static struct flat *h;

static int setup(void **state)
{
	h = flat_create(2, 1 << 20);
	flat_small_pages(h);
	return 0;
}

static int teardown(void **state)
{
	flat_destroy(h);
	return 0;
}

static uint64_t run_rax(uint64_t rip)
{
	struct x86_state *s = flat_start(h, 0, FLAT_64, rip);

	s->gpr[X86_RBX] = DATA;
	assert_int_equal(flat_run(h, 0).exit.reason, X86_EXIT_HALT);
	return s->gpr[X86_RAX];
}

#define PUT(gpa, ...) FLAT_CODE(h, gpa, __VA_ARGS__)

/* ---- By the processor itself ---------------------------------------------------------------- */

/* Stores of every kind into the instruction right behind, each run twice: new and known code. */
static void test_next_instruction(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		/* mov byte [rip + 1], 0x55; mov eax, 0x11; hlt */
		PUT(CODE, 0xc6, 0x05, 1, 0, 0, 0, 0x55, 0xb8, 0x11, 0, 0, 0, HLT);
		assert_int_equal(run_rax(CODE), 0x55);
		assert_int_equal(run_rax(CODE), 0x55);
		/* add byte [rip + 1], 0x22; mov eax, 0x11; hlt */
		PUT(CODE, 0x80, 0x05, 1, 0, 0, 0, 0x22, 0xb8, 0x11, 0, 0, 0, HLT);
		assert_int_equal(run_rax(CODE), 0x33);
		assert_int_equal(run_rax(CODE), 0x55);
		/* lock xor byte [rip + 1], 0x10; mov eax, 0x11; hlt */
		PUT(CODE, 0xf0, 0x80, 0x35, 1, 0, 0, 0, 0x10, 0xb8, 0x11, 0, 0, 0, HLT);
		assert_int_equal(run_rax(CODE), 0x01);
		assert_int_equal(run_rax(CODE), 0x11);
		/* lea rdi, [rip + 4]; mov al, 0x77; stosb; mov eax, 0x11; hlt */
		PUT(CODE, 0x48, 0x8d, 0x3d, 4, 0, 0, 0, 0xb0, 0x77, 0xaa, 0xb8, 0x11, 0, 0, 0, HLT);
		assert_int_equal(run_rax(CODE), 0x77);
		/* lea rsp, [rip + 14]; push imm32 of "mov al, 0x66; hlt"; nops to overwrite */
		PUT(CODE, 0x48, 0x8d, 0x25, 13, 0, 0, 0, 0x68, 0xb0, 0x66, HLT, 0x00, 0x90, 0x90,
			0x90, 0x90, 0x90, 0x90, 0x90, 0x90, HLT);
		assert_int_equal(run_rax(CODE) & 0xff, 0x66);
	}
}

/* A loop that changes its own immediate each time round: 1 + 2 + ... + 200. */
static void test_loop(void **state)
{
	static const uint8_t loop[] = {
		0x31, 0xc0,			/* xor eax, eax */
		0xb9, 200, 0, 0, 0,		/* mov ecx, 200 */
		0x05, 1, 0, 0, 0,		/* again: add eax, 1 */
		0xff, 0x05, 0xf6, 0xff, 0xff, 0xff, /* inc dword [rip - 10]: that immediate */
		0xff, 0xc9,			/* dec ecx */
		0x75, 0xf1,			/* jnz again */
		HLT,
	};

	flat_write(h, CODE, loop, sizeof(loop));
	assert_int_equal(run_rax(CODE), 200 * 201 / 2);
}

/* Code in a page of its own, called through a link or the jump cache, written by its caller. */
static void test_other_page(void **state)
{
	struct x86_state *s = flat_start(h, 0, FLAT_64, CODE);
	static const uint8_t caller[] = {
		0x31, 0xed,		      /* xor ebp, ebp */
		0xb9, 100, 0, 0, 0,	      /* mov ecx, 100 */
		0x89, 0x8b, 1, 0, 0, 0,	      /* again: mov [rbx + 1], ecx */
		0xff, 0xd3,		      /* call rbx */
		0x48, 0x01, 0xc5,	      /* add rbp, rax */
		0xff, 0xc9,		      /* dec ecx */
		0x75, 0xf1,		      /* jnz again */
		HLT,
	};

	flat_write(h, CODE, caller, sizeof(caller));
	PUT(OTHER, 0xb8, 0, 0, 0, 0, 0xc3);
	s->gpr[X86_RBX] = OTHER;
	assert_int_equal(flat_run(h, 0).exit.reason, X86_EXIT_HALT);
	assert_int_equal(s->gpr[X86_RBP], 100 * 101 / 2);
}

/* The same memory under two addresses: written through one, executed through the other. */
static void test_alias(void **state)
{
	flat_map_page(h, DATA, OTHER);
	/* call OTHER; mov byte [DATA + 1], 9; call OTHER; hlt */
	PUT(CODE, 0xe8, 0xfb, 0xff, 0, 0, 0xc6, 0x43, 1, 9, 0xe8, 0xf2, 0xff, 0, 0, HLT);
	PUT(OTHER, 0xb8, 1, 0, 0, 0, 0xc3);
	assert_int_equal(run_rax(CODE), 9);
	flat_map_page(h, DATA, DATA);
}

/* A write that crosses from a data page into a code page. */
static void test_write_across(void **state)
{
	flat_map_page(h, CODE + 0x1000, CODE + 0x1000);
	PUT(CODE + 0x2000, 0xb8, 0x11, 0, 0, 0, HLT); /* mov eax, 0x11; hlt */
	assert_int_equal(run_rax(CODE + 0x2000), 0x11);
	/* mov dword [CODE + 0x1ffe], 0x22b80000: the opcode again, and the immediate's low byte */
	PUT(CODE, 0xc7, 0x04, 0x25, 0xfe, 0x1f, 0x03, 0, 0, 0, 0xb8, 0x22, HLT);
	run_rax(CODE);
	assert_int_equal(run_rax(CODE + 0x2000), 0x22);
}

/* ---- From outside --------------------------------------------------------------------------- */

static void test_written(void **state)
{
	for (unsigned i = 0; i < 100; i++) {
		uint8_t code[] = {0xb8, (uint8_t)i, 0, 0, 0, HLT};

		memcpy(h->ram + CODE, code, sizeof(code));
		x86_machine_written(h->machine, CODE + 1, 1);
		assert_int_equal(run_rax(CODE), i);
	}
}

/* By a device, over several pages, of which the first and the last hold code. */
static void test_written_by_a_device(void **state)
{
	for (unsigned i = 0; i < 100; i++) {
		uint8_t code[] = {0xb8, (uint8_t)i, 0, 0, 0, HLT};

		memcpy(h->ram + CODE, code, sizeof(code));
		code[1] += 100;
		memcpy(h->ram + OTHER, code, sizeof(code));
		x86_machine_written(h->machine, CODE, OTHER + 0x1000 - CODE);
		assert_int_equal(run_rax(CODE), i);
		assert_int_equal(run_rax(OTHER), i + 100);
	}
}

/* Other memory at the address: the code is that of the new memory. */
static void test_remapped(void **state)
{
	static uint8_t page[4096] __attribute__((aligned(4096)));

	PUT(CODE, 0xb8, 1, 0, 0, 0, HLT);
	assert_int_equal(run_rax(CODE), 1);
	memcpy(page, (uint8_t[]){0xb8, 2, 0, 0, 0, HLT}, 6);
	assert_int_equal(x86_machine_map(h->machine, CODE, page, sizeof(page),
				 X86_MAP_READ | X86_MAP_WRITE | X86_MAP_EXEC),
		0);
	assert_int_equal(run_rax(CODE), 2);
	assert_int_equal(x86_machine_map(h->machine, CODE, h->ram + CODE, 4096,
				 X86_MAP_READ | X86_MAP_WRITE | X86_MAP_EXEC),
		0);
	assert_int_equal(run_rax(CODE), 1);
}

/* ---- By another processor ------------------------------------------------------------------- */

struct second {
	struct x86_vcpu *vcpu;
	struct x86_exit exit;
};

static void *run_second(void *arg)
{
	struct second *t = arg;

	x86_vcpu_run(t->vcpu, &t->exit);
	return NULL;
}

/* Runs both until both halt; vcpu 0 on this thread. */
static void run_both(struct flat *both)
{
	struct second t = {.vcpu = both->vcpu[1]};
	pthread_t thread;

	x86_vcpu_changed(t.vcpu);
	assert_int_equal(pthread_create(&thread, NULL, run_second, &t), 0);
	assert_int_equal(flat_run(both, 0).exit.reason, X86_EXIT_HALT);
	pthread_join(thread, NULL);
	assert_int_equal(t.exit.reason, X86_EXIT_HALT);
}

#define ROUNDS 1000

/*
 * The protocol of SDM 8.1.3: the writer (vcpu 1) stores the code, then a number; the other waits
 * for the number, serializes, and runs the code, which returns it. RBX: number; RBX + 64: answer.
 */
static void test_protocol(void **state)
{
	static const uint8_t writer[] = {
		0x31, 0xc9,			    /* xor ecx, ecx */
		0xff, 0xc1,			    /* again: inc ecx */
		0x89, 0x4d, 0x01,		    /* mov [rbp + 1], ecx */
		0x89, 0x0b,			    /* mov [rbx], ecx */
		0xf3, 0x90,			    /* wait: pause */
		0x39, 0x4b, 0x40,		    /* cmp [rbx + 64], ecx */
		0x75, 0xf9,			    /* jnz wait */
		0x39, 0xd1,			    /* cmp ecx, edx */
		0x75, 0xee,			    /* jnz again */
		HLT,
	};
	static const uint8_t runner[] = {
		0x31, 0xff,			    /* xor edi, edi */
		0xff, 0xc7,			    /* again: inc edi */
		0xf3, 0x90,			    /* wait: pause */
		0x39, 0x3b,			    /* cmp [rbx], edi */
		0x75, 0xfa,			    /* jnz wait */
		0x53,				    /* push rbx */
		0x52,				    /* push rdx */
		0x31, 0xc0,			    /* xor eax, eax */
		0x0f, 0xa2,			    /* cpuid */
		0x5a,				    /* pop rdx */
		0x5b,				    /* pop rbx */
		0xff, 0xd5,			    /* call rbp */
		0x39, 0xf8,			    /* cmp eax, edi */
		0x75, 0x07,			    /* jnz wrong */
		0x89, 0x7b, 0x40,		    /* mov [rbx + 64], edi */
		0x39, 0xd7,			    /* cmp edi, edx */
		0x75, 0xe3,			    /* jnz again */
		HLT,				    /* wrong: EDI has not reached the count */
	};
	struct x86_state *s[2];

	flat_write(h, CODE, runner, sizeof(runner));
	flat_write(h, CODE + 0x1000, writer, sizeof(writer));
	PUT(OTHER, 0xb8, 0, 0, 0, 0, 0xc3);
	memset(h->ram + DATA, 0, 128);
	for (unsigned i = 0; i < 2; i++) {
		s[i] = flat_start(h, i, FLAT_64, CODE + i * 0x1000);
		s[i]->gpr[X86_RBX] = DATA;
		s[i]->gpr[X86_RBP] = OTHER;
		s[i]->gpr[X86_RDX] = ROUNDS;
	}
	run_both(h);
	assert_int_equal(s[0]->gpr[X86_RDI], ROUNDS);
	assert_int_equal(s[1]->gpr[X86_RCX], ROUNDS);
}

/*
 * Without a protocol, one aligned store changes an instruction while the other runs it: either the
 * old or the new one is executed, and the last one in the end.
 */
static void test_racing_store(void **state)
{
	static const uint8_t writer[] = {
		0xb9, 0x00, 0x00, 0x01, 0x00, /* mov ecx, 65536 */
		0xf7, 0x55, 0x00,	      /* again: not dword [rbp] */
		0xff, 0xc9,		      /* dec ecx */
		0x75, 0xf9,		      /* jnz again */
		0xc7, 0x03, 1, 0, 0, 0,	      /* mov dword [rbx], 1 */
		HLT,
	};
	/* OTHER + 3: mov eax, imm32 with the immediate aligned; ret */
	static const uint8_t runner[] = {
		0x8b, 0x33,		      /* again: mov esi, [rbx] */
		0xff, 0xd5,		      /* call rbp */
		0x8d, 0x48, 0x01,	      /* lea ecx, [rax + 1] */
		0x83, 0xf9, 0x01,	      /* cmp ecx, 1 */
		0x77, 0x04,		      /* ja wrong: neither 0 nor -1 */
		0x85, 0xf6,		      /* test esi, esi */
		0x74, 0xf0,		      /* jz again */
		HLT,			      /* wrong: */
	};
	struct x86_state *s[2];

	flat_write(h, CODE, runner, sizeof(runner));
	flat_write(h, CODE + 0x1000, writer, sizeof(writer));
	PUT(OTHER + 3, 0xb8, 0, 0, 0, 0, 0xc3);
	memset(h->ram + DATA, 0, 128);
	for (unsigned i = 0; i < 2; i++) {
		s[i] = flat_start(h, i, FLAT_64, CODE + i * 0x1000);
		s[i]->gpr[X86_RBX] = DATA;
	}
	s[0]->gpr[X86_RBP] = OTHER + 3;
	s[1]->gpr[X86_RBP] = OTHER + 4;
	run_both(h);
	assert_int_equal(s[0]->gpr[X86_RSI], 1); /* saw the end, and nothing wrong before */
	assert_int_equal(s[0]->gpr[X86_RAX], 0); /* an even number of changes */
}

/* ---- A small cache -------------------------------------------------------------------------- */

#define FUNCTIONS 2000u

/* Both processors run through more code than the cache holds, again and again. */
static void test_small_cache(void **state)
{
	struct flat *small = flat_create(2, 64 << 10);
	struct x86_state *s[2];
	/* Function i at CODE + 16 i: add rax, i; jmp to the next one. The last decrements RCX. */
	static const uint8_t function[] = {0x48, 0x05, 0, 0, 0, 0, 0xeb, 0x08};
	static const uint8_t last[] = {0x48, 0xff, 0xc9, 0x74, 0x02, 0xff, 0xe3, HLT};
	uint64_t sum = 0;

	flat_small_pages(small);
	for (unsigned i = 0; i < FUNCTIONS; i++) {
		uint8_t *at = small->ram + CODE + i * 16;

		memcpy(at, function, sizeof(function));
		memcpy(at + 2, &i, 4);
		sum += i;
	}
	memcpy(small->ram + CODE + FUNCTIONS * 16, last, sizeof(last));
	for (unsigned i = 0; i < 2; i++) {
		s[i] = flat_start(small, i, FLAT_64, CODE);
		s[i]->gpr[X86_RBX] = CODE;
		s[i]->gpr[X86_RCX] = 30;
	}
	run_both(small);
	assert_int_equal(s[0]->gpr[X86_RAX], sum * 30);
	assert_int_equal(s[1]->gpr[X86_RAX], sum * 30);
	assert_in_range(x86_machine_code_bytes(small->machine), 1, 64 << 10);
	flat_destroy(small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_next_instruction),
		cmocka_unit_test(test_loop),
		cmocka_unit_test(test_other_page),
		cmocka_unit_test(test_alias),
		cmocka_unit_test(test_write_across),
		cmocka_unit_test(test_written),
		cmocka_unit_test(test_written_by_a_device),
		cmocka_unit_test(test_remapped),
		cmocka_unit_test(test_protocol),
		cmocka_unit_test(test_racing_store),
		cmocka_unit_test(test_small_cache),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
