/*
 * x86_smp.c - several vcpus as threads: atomicity, memory ordering, TLB shoot-down, and code that
 * one of them writes while another executes it.
 *
 * Facts: Intel SDM vol. 3A, 8.1 (locked operations), 8.1.3 (cross-modifying code), 8.2 (memory
 * ordering), 4.10.5 (propagation of paging-structure changes).
 */
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "x86_flat.h"

#define CODE   0x10000u
#define STACKS 0x80000u
#define DATA   0x100000u
#define TABLES 0x1000000u

struct runner {
	struct flat *g;
	unsigned vcpu;
	pthread_t thread;
	pthread_barrier_t *gate; /* all go at once; NULL: alone */
	atomic_bool over;
	struct flat_result result;
};

static void *run_thread(void *arg)
{
	struct runner *r = arg;

	if (r->gate)
		pthread_barrier_wait(r->gate);
	r->result = flat_run(r->g, r->vcpu);
	atomic_store(&r->over, true);
	return NULL;
}

static void start(struct runner *r, struct flat *g, unsigned vcpu, pthread_barrier_t *gate)
{
	r->g = g;
	r->vcpu = vcpu;
	r->gate = gate;
	atomic_store(&r->over, false);
	assert_int_equal(pthread_create(&r->thread, NULL, run_thread, r), 0);
}

static void join(struct runner *r)
{
	pthread_join(r->thread, NULL);
	if (r->result.vector != -1)
		print_error("vcpu %u: exit %d, vector %d, address %llx, rip %llx\n", r->vcpu,
			(int)r->result.exit.reason, r->result.vector,
			(unsigned long long)r->result.address,
			(unsigned long long)x86_vcpu_state(r->g->vcpu[r->vcpu])->rip);
	assert_int_equal(r->result.vector, -1);
}

static struct x86_state *enter_at(struct flat *g, unsigned vcpu, uint64_t rip)
{
	struct x86_state *s = flat_enter(g, vcpu, FLAT_64, 0, TABLES, rip);

	s->gpr[X86_RSP] = STACKS + 0x1000 * (vcpu + 1);
	return s;
}

static void run_all(struct flat *g, unsigned n)
{
	struct runner r[FLAT_VCPUS];
	pthread_barrier_t gate;

	pthread_barrier_init(&gate, NULL, n);
	for (unsigned i = 0; i < n; i++)
		start(&r[i], g, i, &gate);
	for (unsigned i = 0; i < n; i++)
		join(&r[i]);
	pthread_barrier_destroy(&gate);
}

static uint64_t *data(struct flat *g, uint64_t at)
{
	return (uint64_t *)(g->ram + at);
}

/* ---- Atomicity ------------------------------------------------------------------------------ */

#define ROUNDS 200000u
#define COUNTS 400000u

/* RCX times, then done: "dec rcx; jnz" back over @length bytes. */
#define LOOP_BACK(length) 0x48, 0xff, 0xc9, 0x75, 0xfb - (length), DONE

static void count(struct flat *g, uint64_t at, uint64_t rounds)
{
	for (unsigned i = 0; i < FLAT_VCPUS; i++) {
		struct x86_state *s = enter_at(g, i, CODE);

		s->gpr[X86_RBX] = at;
		s->gpr[X86_RCX] = rounds;
		s->gpr[X86_RDX] = 1;
	}
	run_all(g, FLAT_VCPUS);
}

static void test_locked_counters(void **state)
{
	struct flat *g = *state;
	uint64_t total = (uint64_t)FLAT_VCPUS * COUNTS;

	*data(g, DATA) = 0;
	FLAT_CODE(g, CODE, 0xf0, 0x48, 0x83, 0x03, 0x01, LOOP_BACK(5)); /* lock add [rbx], 1 */
	count(g, DATA, COUNTS);
	assert_int_equal(*data(g, DATA), total);

	*data(g, DATA) = 0;
	FLAT_CODE(g, CODE, 0xf0, 0xff, 0x03, LOOP_BACK(3)); /* lock inc dword [rbx] */
	count(g, DATA, COUNTS);
	assert_int_equal(*data(g, DATA), total);

	*data(g, DATA) = 0;
	FLAT_CODE(g, CODE, 0xf0, 0x66, 0xff, 0x0b, LOOP_BACK(4)); /* lock dec word [rbx] */
	count(g, DATA, COUNTS);
	assert_int_equal(*data(g, DATA), (uint16_t)-total);

	*data(g, DATA) = 0;
	FLAT_CODE(g, CODE, 0xf0, 0x00, 0x13, LOOP_BACK(3)); /* lock add byte [rbx], dl */
	count(g, DATA, COUNTS);
	assert_int_equal(*data(g, DATA), (uint8_t)total);

	/* lock btc qword [rbx], 63: an even number of times */
	*data(g, DATA) = 1;
	FLAT_CODE(g, CODE, 0xf0, 0x48, 0x0f, 0xba, 0x3b, 0x3f, LOOP_BACK(6));
	count(g, DATA, COUNTS);
	assert_int_equal(*data(g, DATA), 1);
}

/* Across a cache line; across a page; across a page's end and into a page with code. */
static void test_split_locks(void **state)
{
	static const struct {
		uint64_t at, rounds;
	} places[] = {{DATA + 60, COUNTS}, {DATA + 0xffc, 2000}, {DATA + 0xff9, 2000},
		{0x400000 - 3, 2000}, {CODE - 4, 200}};
	struct flat *g = *state;
	uint64_t value;

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		bool code = places[i].at == CODE - 4;
		uint32_t entry = code ? CODE + 0x10 : CODE;

		/* Starts near carries between the bytes, and between the two parts. */
		value = 0x00000000fffffc18;
		memcpy(g->ram + places[i].at, &value, 8);
		FLAT_CODE(g, CODE, 0xf0, 0x48, 0x83, 0x03, 0x01, LOOP_BACK(5));
		FLAT_CODE(g, CODE + 0x10, 0xf0, 0x48, 0x83, 0x03, 0x01, LOOP_BACK(5));
		if (code)
			memcpy(g->ram + places[i].at, &value, 8);
		for (unsigned v = 0; v < FLAT_VCPUS; v++) {
			struct x86_state *s = enter_at(g, v, entry);

			s->gpr[X86_RBX] = places[i].at;
			s->gpr[X86_RCX] = places[i].rounds;
		}
		run_all(g, FLAT_VCPUS);
		memcpy(&value, g->ram + places[i].at, 8);
		assert_int_equal(value, 0xfffffc18 + FLAT_VCPUS * places[i].rounds);
	}
}

/* Every ticket is drawn once. */
static void test_xadd_tickets(void **state)
{
	struct flat *g = *state;
	unsigned drawn[FLAT_VCPUS + 1] = {0};

	/* mov eax, 1; lock xadd [rbx], rax; mov [rdx+rax*8], rdi */
	FLAT_CODE(g, CODE, 0xb8, 1, 0, 0, 0, 0xf0, 0x48, 0x0f, 0xc1, 0x03, 0x48, 0x89, 0x3c, 0xc2,
		LOOP_BACK(14));
	memset(data(g, DATA), 0, 0x1000 + 8 * FLAT_VCPUS * ROUNDS);
	for (unsigned i = 0; i < FLAT_VCPUS; i++) {
		struct x86_state *s = enter_at(g, i, CODE);

		s->gpr[X86_RBX] = DATA;
		s->gpr[X86_RDX] = DATA + 0x1000;
		s->gpr[X86_RDI] = i + 1;
		s->gpr[X86_RCX] = ROUNDS;
	}
	run_all(g, FLAT_VCPUS);
	assert_int_equal(*data(g, DATA), FLAT_VCPUS * ROUNDS);
	for (unsigned i = 0; i < FLAT_VCPUS * ROUNDS; i++)
		drawn[data(g, DATA + 0x1000)[i] % (FLAT_VCPUS + 1)]++;
	for (unsigned i = 1; i <= FLAT_VCPUS; i++)
		assert_int_equal(drawn[i], ROUNDS);
}

/* A 128-bit counter of two halves that go up by 1 and 3 together. */
static void test_cmpxchg16b(void **state)
{
	struct flat *g = *state;

	/*
	 *    mov rax, [rsi]; mov rdx, [rsi+8]
	 * 1: lea rbx, [rax+1]; mov rcx, rdx; add rcx, 3; lock cmpxchg16b [rsi]; jne 1b
	 *    dec rdi; jnz
	 */
	FLAT_CODE(g, CODE, 0x48, 0x8b, 0x06, 0x48, 0x8b, 0x56, 0x08, 0x48, 0x8d, 0x58, 0x01, 0x48,
		0x89, 0xd1, 0x48, 0x83, 0xc1, 0x03, 0xf0, 0x48, 0x0f, 0xc7, 0x0e, 0x75, 0xee, 0x48,
		0xff, 0xcf, 0x75, 0xe2, DONE);
	data(g, DATA)[0] = data(g, DATA)[1] = 0;
	for (unsigned i = 0; i < FLAT_VCPUS; i++) {
		struct x86_state *s = enter_at(g, i, CODE);

		s->gpr[X86_RSI] = DATA;
		s->gpr[X86_RDI] = ROUNDS;
	}
	run_all(g, FLAT_VCPUS);
	assert_int_equal(data(g, DATA)[0], (uint64_t)FLAT_VCPUS * ROUNDS);
	assert_int_equal(data(g, DATA)[1], 3ull * FLAT_VCPUS * ROUNDS);
}

/* A lock made of XCHG around an increment that is not atomic. */
static void test_spin_lock(void **state)
{
	struct flat *g = *state;
	uint64_t rounds = ROUNDS / 10;

	/*
	 * 1: mov eax, 1; xchg [rbx], eax; test eax, eax; jz 2f; pause; jmp 1b
	 * 2: inc dword [rdx]; mov dword [rbx], 0; dec rcx; jnz 1b
	 */
	FLAT_CODE(g, CODE, 0xb8, 1, 0, 0, 0, 0x87, 0x03, 0x85, 0xc0, 0x74, 0x04, 0xf3, 0x90, 0xeb,
		0xf1, 0xff, 0x02, 0xc7, 0x03, 0, 0, 0, 0, 0x48, 0xff, 0xc9, 0x75, 0xe4, DONE);
	*data(g, DATA) = *data(g, DATA + 64) = 0;
	for (unsigned i = 0; i < FLAT_VCPUS; i++) {
		struct x86_state *s = enter_at(g, i, CODE);

		s->gpr[X86_RBX] = DATA;
		s->gpr[X86_RDX] = DATA + 64;
		s->gpr[X86_RCX] = rounds;
	}
	run_all(g, FLAT_VCPUS);
	assert_int_equal(*data(g, DATA + 64), FLAT_VCPUS * rounds);
	assert_int_equal(*data(g, DATA), 0);
}

/* ---- Ordering ------------------------------------------------------------------------------- */

#define LITMUS 500u
#define X      (DATA + 0x10000)
#define Y      (DATA + 0x40000)
#define R      (DATA + 0x80000) /* results: 8 bytes a round, vcpu 1's from R + 0x10000 */

static void store_buffer(struct flat *g)
{
	unsigned bad = 0;

	memset(data(g, DATA), 0, 0x100000);
	for (unsigned i = 0; i < 2; i++) {
		struct x86_state *s = enter_at(g, i, CODE);

		s->gpr[X86_R8] = DATA; /* where both meet before each round */
		s->gpr[X86_RBX] = i ? Y : X;
		s->gpr[X86_RSI] = i ? X : Y;
		s->gpr[X86_RDX] = R + 0x10000 * i;
		s->gpr[X86_RCX] = LITMUS;
		s->gpr[X86_R9] = 0;
	}
	run_all(g, 2);
	for (unsigned i = 0; i < LITMUS; i++)
		bad += !data(g, R)[i] && !data(g, R + 0x10000)[i];
	assert_int_equal(bad, 0);
}

/* Each stores to one place, then looks at the other's: with a fence between, one sees the other. */
static void test_store_buffer(void **state)
{
	struct flat *g = *state;

	/*
	 *    add r9, 2; lock inc qword [r8]
	 * 1: cmp [r8], r9; jb 1b
	 *    mov qword [rbx], 1; mfence; mov rax, [rsi]; mov [rdx], rax
	 *    add rbx, 64; add rsi, 64; add rdx, 8; dec rcx; jnz
	 */
	FLAT_CODE(g, CODE, 0x49, 0x83, 0xc1, 0x02, 0xf0, 0x49, 0xff, 0x00, 0x4d, 0x39, 0x08, 0x72,
		0xfb, 0x48, 0xc7, 0x03, 1, 0, 0, 0, 0x0f, 0xae, 0xf0, 0x48, 0x8b, 0x06, 0x48, 0x89,
		0x02, 0x48, 0x83, 0xc3, 0x40, 0x48, 0x83, 0xc6, 0x40, 0x48, 0x83, 0xc2, 0x08,
		LOOP_BACK(41));
	store_buffer(g);
	/* The same with "lock or dword [rsp], 0" for a fence */
	FLAT_CODE(g, CODE, 0x49, 0x83, 0xc1, 0x02, 0xf0, 0x49, 0xff, 0x00, 0x4d, 0x39, 0x08, 0x72,
		0xfb, 0x48, 0xc7, 0x03, 1, 0, 0, 0, 0xf0, 0x83, 0x0c, 0x24, 0x00, 0x48, 0x8b, 0x06,
		0x48, 0x89, 0x02, 0x48, 0x83, 0xc3, 0x40, 0x48, 0x83, 0xc6, 0x40, 0x48, 0x83, 0xc2,
		0x08, LOOP_BACK(43));
	store_buffer(g);
	/* ... and with the store itself an exchange: mov eax, 1; xchg [rbx], rax */
	FLAT_CODE(g, CODE, 0x49, 0x83, 0xc1, 0x02, 0xf0, 0x49, 0xff, 0x00, 0x4d, 0x39, 0x08, 0x72,
		0xfb, 0xb8, 1, 0, 0, 0, 0x48, 0x87, 0x03, 0x48, 0x8b, 0x06, 0x48, 0x89, 0x02, 0x48,
		0x83, 0xc3, 0x40, 0x48, 0x83, 0xc6, 0x40, 0x48, 0x83, 0xc2, 0x08, LOOP_BACK(39));
	store_buffer(g);
}

/* Stores become visible in order, loads are done in order: no fence is needed to pass a message. */
static void test_message_passing(void **state)
{
	struct flat *g = *state;

	/* writer: inc rax; mov [rdi], rax; mov [rsi], rax; cmp rax, rcx; jb */
	FLAT_CODE(g, CODE, 0x48, 0xff, 0xc0, 0x48, 0x89, 0x07, 0x48, 0x89, 0x06, 0x48, 0x39, 0xc8,
		0x72, 0xf2, DONE);
	/* reader: mov rax, [rsi]; mov rbx, [rdi]; cmp rbx, rax; jb 2f; cmp rax, rcx; jb; 2: int3 */
	FLAT_CODE(g, CODE + 0x100, 0x48, 0x8b, 0x06, 0x48, 0x8b, 0x1f, 0x48, 0x39, 0xc3, 0x72, 0x07,
		0x48, 0x39, 0xc8, 0x72, 0xf0, DONE, 0xcc);
	*data(g, DATA) = *data(g, DATA + 0x1000) = 0;
	for (unsigned i = 0; i < 2; i++) {
		struct x86_state *s = enter_at(g, i, CODE + 0x100 * i);

		s->gpr[X86_RAX] = 0;
		s->gpr[X86_RDI] = DATA;
		s->gpr[X86_RSI] = DATA + 0x1000;
		s->gpr[X86_RCX] = 1000000;
	}
	run_all(g, 2);
}

/* ---- TLB shoot-down ------------------------------------------------------------------------- */

#define PAGE_TABLE 0x1800000u
#define FRAMES	   0x1900000u
#define MAPPED	   0x40000000u
#define SHOTS	   1000u
#define POISON	   (~0ull)

/*
 * One vcpu reads and writes a page whose frame is exchanged under it. Once the flush has returned,
 * the old frame is nobody's: reading the poison put there, or writing, would be a stale entry.
 */
static void test_shoot_down(void **state)
{
	struct flat *g = *state;
	volatile uint64_t *progress = data(g, DATA), *stop = data(g, DATA + 64);
	uint64_t *pde = data(g, TABLES + 0x2000) + (MAPPED >> 21), va = MAPPED;
	struct runner r;
	struct x86_state *s;
	unsigned stale = 0;

	/*
	 * 1: mov rax, [rbx]; cmp rax, -1; je 2f; inc qword [rbx+8]; inc qword [rdx];
	 *    cmp qword [rsi], 0; je 1b; done
	 * 2: int3
	 */
	FLAT_CODE(g, CODE, 0x48, 0x8b, 0x03, 0x48, 0x83, 0xf8, 0xff, 0x74, 0x0f, 0x48, 0xff, 0x43,
		0x08, 0x48, 0xff, 0x02, 0x48, 0x83, 0x3e, 0x00, 0x74, 0xea, DONE, 0xcc);
	memset(data(g, FRAMES), 0, 0x2000);
	*progress = *stop = 0;
	*pde = PAGE_TABLE | 7;
	*data(g, PAGE_TABLE) = FRAMES | 7;
	s = enter_at(g, 0, CODE);
	s->gpr[X86_RBX] = MAPPED;
	s->gpr[X86_RDX] = DATA;
	s->gpr[X86_RSI] = DATA + 64;
	start(&r, g, 0, NULL);
	for (unsigned i = 1; i <= SHOTS && !atomic_load(&r.over); i++) {
		uint64_t fresh = FRAMES + 0x1000 * (i & 1), old = FRAMES + 0x1000 * (~i & 1);
		uint64_t writes, seen;

		*data(g, fresh) = 0;
		__atomic_store_n(data(g, PAGE_TABLE), fresh | 7, __ATOMIC_SEQ_CST);
		x86_vcpu_flush(g->machine, NULL, 1, true, &va, i % 3 ? 1 : 0);
		__atomic_store_n(data(g, old), POISON, __ATOMIC_SEQ_CST);
		writes = data(g, old)[1];
		seen = *progress;
		while (*progress - seen < 50 && !atomic_load(&r.over))
			sched_yield();
		stale += data(g, old)[1] != writes;
	}
	*stop = 1;
	join(&r);
	assert_int_equal(stale, 0);
	/* As it was for the next test. */
	*pde = MAPPED | 0x80 | 7;
}

/* ---- Code being written --------------------------------------------------------------------- */

/* A processor sees its own changes of the instructions right behind the one that made them. */
static void test_self_modifying(void **state)
{
	struct flat *g = *state;
	struct x86_state *s;

	for (unsigned i = 0; i < 3; i++) {
		/* mov [rbx], edx; mov eax, 0x11111111 */
		FLAT_CODE(g, CODE, 0x89, 0x13, 0xb8, 0x11, 0x11, 0x11, 0x11, DONE);
		s = enter_at(g, 0, CODE);
		s->gpr[X86_RBX] = CODE + 3;
		s->gpr[X86_RDX] = 0x22222222 + i;
		flat_run_done(g, 0);
		assert_int_equal(s->gpr[X86_RAX], 0x22222222 + i);
	}
	/* The same by a string instruction: mov ecx, 4; rep stosb; mov eax, ... */
	FLAT_CODE(g, CODE, 0xb9, 4, 0, 0, 0, 0xf3, 0xaa, 0xb8, 0x11, 0x11, 0x11, 0x11, DONE);
	s = enter_at(g, 0, CODE);
	s->gpr[X86_RDI] = CODE + 8;
	s->gpr[X86_RAX] = 0x33;
	flat_run_done(g, 0);
	assert_int_equal(s->gpr[X86_RAX], 0x33333333);
	assert_int_equal(s->gpr[X86_RDI], CODE + 12);
}

/*
 * One vcpu counts up the immediate of an instruction, aligned, that three others execute: those see
 * old or new values, never going back, and the last one in the end.
 */
static void test_cross_modifying(void **state)
{
	struct flat *g = *state;

	/* nop; nop; nop; mov eax, 0; ret */
	FLAT_CODE(g, CODE + 0x800, 0x90, 0x90, 0x90, 0xb8, 0, 0, 0, 0, 0xc3);
	/* writer: inc eax; mov [rbx], eax; mov edx, 200; 1: dec edx; jnz 1b; cmp eax, ecx; jb */
	FLAT_CODE(g, CODE, 0xff, 0xc0, 0x89, 0x03, 0xba, 200, 0, 0, 0, 0xff, 0xca, 0x75, 0xfc, 0x39,
		0xc8, 0x72, 0xef, DONE);
	/* call rbx; cmp eax, r12d; jb 2f; mov r12d, eax; cmp eax, ecx; jb; done; 2: int3 */
	FLAT_CODE(g, CODE + 0x1000, 0xff, 0xd3, 0x44, 0x39, 0xe0, 0x72, 0x09, 0x41, 0x89, 0xc4,
		0x39, 0xc8, 0x72, 0xf2, DONE, 0xcc);
	for (unsigned i = 0; i < FLAT_VCPUS; i++) {
		struct x86_state *s = enter_at(g, i, i ? CODE + 0x1000 : CODE);

		s->gpr[X86_RAX] = 0;
		s->gpr[X86_RBX] = CODE + 0x800 + (i ? 0 : 4);
		s->gpr[X86_RCX] = 1000;
		s->gpr[X86_R12] = 0;
	}
	run_all(g, FLAT_VCPUS);
}

/* ---- Stopping ------------------------------------------------------------------------------- */

/* A long string instruction is left between two elements, and goes on where it was. */
static void test_stop_in_string(void **state)
{
	struct flat *g = *state;
	uint64_t size = 0x800000, from = DATA, stops = 0;
	struct x86_state *s;

	FLAT_CODE(g, CODE, 0xf3, 0xa4, DONE); /* rep movsb */
	for (unsigned i = 0; i < 20 && stops < 3; i++) {
		struct runner r;

		memset(g->ram + from, 0, size);
		g->ram[from] = 0x5a;
		s = enter_at(g, 0, CODE);
		s->gpr[X86_RSI] = from;
		s->gpr[X86_RDI] = from + 1; /* copies the first byte along */
		s->gpr[X86_RCX] = size - 1;
		start(&r, g, 0, NULL);
		while (!__atomic_load_n(g->ram + from + 0x10000, __ATOMIC_RELAXED))
			;
		x86_vcpu_stop(g->vcpu[0]);
		pthread_join(r.thread, NULL);
		if (r.result.vector == -2) {
			uint64_t done = s->gpr[X86_RDI] - from;

			stops++;
			assert_int_equal(r.result.exit.reason, X86_EXIT_STOPPED);
			assert_int_equal(s->rip, CODE);
			assert_int_equal(s->gpr[X86_RSI] + 1, s->gpr[X86_RDI]);
			assert_int_equal(s->gpr[X86_RCX], size - done);
			assert_int_equal(g->ram[from + done - 1], 0x5a);
			assert_int_equal(g->ram[from + done], 0);
			flat_run_done(g, 0);
		} else { /* it was asked too late, and is to stop yet */
			assert_int_equal(flat_run(g, 0).exit.reason, X86_EXIT_STOPPED);
		}
		assert_int_equal(s->gpr[X86_RCX], 0);
		assert_int_equal(g->ram[from + size - 1], 0x5a);
	}
	assert_true(stops > 0);
}

static int create(void **state)
{
	*state = flat_create(FLAT_VCPUS, FLAT_CACHE);
	flat_identity(*state, TABLES);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_locked_counters),
		cmocka_unit_test(test_split_locks),
		cmocka_unit_test(test_xadd_tickets),
		cmocka_unit_test(test_cmpxchg16b),
		cmocka_unit_test(test_spin_lock),
		cmocka_unit_test(test_store_buffer),
		cmocka_unit_test(test_message_passing),
		cmocka_unit_test(test_shoot_down),
		cmocka_unit_test(test_self_modifying),
		cmocka_unit_test(test_cross_modifying),
		cmocka_unit_test(test_stop_in_string),
	};

	return cmocka_run_group_tests(tests, create, flat_teardown);
}
