/*
 * x86_flush.c - what a processor must not remember of its page tables: after INVLPG, writes to CR3
 * and CR4, and INVPCID, with large, global and PCID-tagged pages.
 *
 * Facts: Intel SDM vol. 3A, 4.10.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "x86_tables.h"

/* ---- INVLPG, CR3, CR4 ----------------------------------------------------------------------- */

static void test_invlpg(void **state)
{
	static const struct {
		enum flat_mode mode;
		unsigned level;
	} pages[] = {{FLAT_PAGED, 1}, {FLAT_PAGED, 2}, {FLAT_PAE, 2}, {FLAT_64, 1}, {FLAT_64, 2},
		{FLAT_64, 3}};
	struct paging p;

	for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		uint64_t from = LARGE0, to = LARGE1, bits = P | W | PS;

		paging_setup(&p, *state, pages[i].mode);
		if (pages[i].level == 1) {
			from = FRAME0;
			to = FRAME1;
			bits = P | W;
		}
		if (pages[i].level == 3) { /* to another table instead: of 2 MiB pages */
			from = 0;
			paging_map(&p, VA + 0x80000000, 2, LARGE1 | P | W | PS);
			to = paging_entry(&p, VA + 0x80000000, 3) & ~0xfffull;
		}
		paging_map(&p, VA, pages[i].level, from | bits);
		/* Several pages of a large one are in use. */
		for (unsigned at = 0; at < 0x8000; at += 0x1000) {
			*paging_frame(&p, from + 0x10 + at) = 1;
			if (pages[i].level == 3)
				*paging_frame(&p, LARGE1 + 0x10 + at) = 2;
			else
				*paging_frame(&p, to + 0x10 + at) = 2;
			if (pages[i].level == 1)
				break;
		}
		for (unsigned at = 0; at < 0x8000 && (!at || pages[i].level > 1); at += 0x1000)
			assert_int_equal(paging_read(&p, VA + 0x10 + at), 1);
		paging_map(&p, VA, pages[i].level, to | P | W | (pages[i].level == 2 ? PS : 0));
		/* invlpg [rbx], somewhere in the page */
		EXECUTE(&p, 0, VA + (pages[i].level > 1 ? 0x5432 : 0x432), INVLPG);
		for (unsigned at = 0; at < 0x8000 && (!at || pages[i].level > 1); at += 0x1000)
			assert_int_equal(paging_read(&p, VA + 0x10 + at), 2);
	}
}

static void test_invlpg_code(void **state)
{
	struct flat *g = *state;
	struct paging p;

	paging_setup(&p, g, FLAT_64);
	flat_write(g, FRAME0, "\xb8\x01\x00\x00\x00\x0f\x0b", 7); /* mov eax, 1 */
	flat_write(g, FRAME1, "\xb8\x02\x00\x00\x00\x0f\x0b", 7); /* mov eax, 2 */
	paging_map(&p, VA, 1, FRAME0 | P | W);
	for (unsigned i = 0; i < 3; i++) {
		assert_done(paging_probe(&p, EXEC, 0, VA));
		assert_int_equal(paging_rax(&p), 1);
	}
	paging_map(&p, VA, 1, FRAME1 | P | W);
	EXECUTE(&p, 0, VA, INVLPG);
	assert_done(paging_probe(&p, EXEC, 0, VA));
	assert_int_equal(paging_rax(&p), 2);
}

static void test_cr3_write(void **state)
{
	struct paging p;

	for (unsigned m = 0; m < 3; m++) {
		paging_setup(&p, *state, m == 0 ? FLAT_PAGED : m == 1 ? FLAT_PAE : FLAT_64);
		*paging_frame(&p, FRAME0) = 1;
		*paging_frame(&p, FRAME1) = 2;
		paging_map(&p, VA, 1, FRAME0 | P | W);
		assert_int_equal(paging_read(&p, VA), 1);
		paging_map(&p, VA, 1, FRAME1 | P | W);
		EXECUTE(&p, p.root, 0, 0x0f, 0x22, 0xd8); /* mov cr3, rax */
		assert_int_equal(paging_read(&p, VA), 2);
	}
}

static void test_global(void **state)
{
	struct paging p;

	paging_setup(&p, *state, FLAT_64);
	p.cr4_set = X86_CR4_PGE;
	*paging_frame(&p, FRAME0) = 1;
	*paging_frame(&p, FRAME1) = 2;
	paging_map(&p, VA, 1, FRAME0 | P | W | G);
	paging_map(&p, VA + 0x1000, 1, FRAME0 | P | W);
	assert_int_equal(paging_read(&p, VA), 1);
	assert_int_equal(paging_read(&p, VA + 0x1000), 1);
	paging_map(&p, VA, 1, FRAME1 | P | W | G);
	paging_map(&p, VA + 0x1000, 1, FRAME1 | P | W);
	/* A new CR3 is enough for pages that are not global... */
	EXECUTE(&p, p.root, 0, 0x0f, 0x22, 0xd8);
	assert_int_equal(paging_read(&p, VA + 0x1000), 2);
	/* ... and turning CR4.PGE off and on for those that are: mov rax, cr4; btc rax, 7; ... */
	EXECUTE(&p, 0, 0, 0x0f, 0x20, 0xe0, 0x48, 0x0f, 0xba, 0xf8, 0x07, 0x0f, 0x22, 0xe0, 0x48,
		0x0f, 0xba, 0xf8, 0x07, 0x0f, 0x22, 0xe0);
	assert_int_equal(paging_read(&p, VA), 2);
	/* INVLPG takes global pages, too. */
	paging_map(&p, VA, 1, FRAME0 | P | W | G);
	EXECUTE(&p, 0, VA, INVLPG);
	assert_int_equal(paging_read(&p, VA), 1);
}

/* ---- PCID ----------------------------------------------------------------------------------- */

#define KEEP (1ull << 63)

/* The guest of the PCID tests goes on in one address space after another: CR3 is its own. */
static uint64_t read_in(struct paging *p, uint64_t cr3, uint64_t va)
{
	struct flat *g = p->g;
	struct x86_state *s = x86_vcpu_state(g->vcpu[0]);

	/* mov cr3, rax; mov rax, [rbx] */
	FLAT_CODE(g, CODE_S + 0x900, 0x0f, 0x22, 0xd8, 0x48, 0x8b, 0x03, DONE);
	s->rip = CODE_S + 0x900;
	s->gpr[X86_RAX] = cr3;
	s->gpr[X86_RBX] = va;
	flat_run_done(g, 0);
	return s->gpr[X86_RAX];
}

static bool has_invpcid(void)
{
	struct x86_features f;

	x86_features(&f);
	return f.leaf7_ebx & 1u << 10;
}

static bool has_pcid(void)
{
	struct x86_features f;

	x86_features(&f);
	return f.leaf1_ecx & 1u << 17;
}

static void invpcid(struct paging *p, uint64_t type, uint64_t pcid, uint64_t va)
{
	struct flat *g = p->g;
	struct x86_state *s = x86_vcpu_state(g->vcpu[0]);

	/* The descriptor lies behind the code. invpcid rax, [rbx] */
	FLAT_CODE(g, CODE_S + 0xa00, 0x66, 0x0f, 0x38, 0x82, 0x03, DONE);
	paging_frame(p, CODE_S + 0xb00)[0] = pcid;
	paging_frame(p, CODE_S + 0xb00)[1] = va;
	s->rip = CODE_S + 0xa00;
	s->gpr[X86_RAX] = type;
	s->gpr[X86_RBX] = CODE_S + 0xb00;
	flat_run_done(g, 0);
}

/* Two address spaces that map VA to FRAME0 and FRAME1, with PCID 1 and 2. */
static void setup_pcid(struct paging *a, struct paging *b, struct flat *g)
{
	paging_setup(a, g, FLAT_64);
	a->cr4_set = X86_CR4_PCIDE | X86_CR4_PGE;
	paging_map(a, VA, 1, FRAME0 | P | W);
	*b = *a;
	b->root = a->next;
	b->next = a->next + 0x1000;
	paging_map(b, CODE_S, 1, CODE_S | P | W);
	paging_map(b, VA, 1, FRAME1 | P | W);
	a->next = b->next;
	*paging_frame(a, FRAME0) = 1;
	*paging_frame(a, FRAME1) = 2;
	paging_enter(a, 0, CODE_S)->cr3 = a->root | 1;
	x86_vcpu_changed(g->vcpu[0]);
}

static void test_pcid(void **state)
{
	struct paging a, b;

	if (!has_pcid())
		skip();
	setup_pcid(&a, &b, *state);
	assert_int_equal(read_in(&a, a.root | 1, VA), 1);
	assert_int_equal(read_in(&a, b.root | 2, VA), 2);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(read_in(&a, a.root | 1 | KEEP, VA), 1);
		assert_int_equal(read_in(&a, b.root | 2 | KEEP, VA), 2);
	}
	/* Changed while away: coming back without keeping sees it. */
	paging_map(&a, VA, 1, FRAME1 | P | W);
	assert_int_equal(read_in(&a, a.root | 1, VA), 2);
	/* The other one was not touched by that, and still sees its own. */
	assert_int_equal(read_in(&a, b.root | 2 | KEEP, VA), 2);
	/* CR3 does not hold the bit. */
	assert_int_equal(x86_vcpu_state(a.g->vcpu[0])->cr3, b.root | 2);
	/* INVLPG is for the current PCID. */
	paging_map(&b, VA, 1, FRAME0 | P | W);
	EXECUTE(&b, b.root | 2 | KEEP, VA, 0x0f, 0x22, 0xd8, INVLPG);
	assert_int_equal(read_in(&a, b.root | 2 | KEEP, VA), 1);
}

static void test_pcid_rules(void **state)
{
	struct flat *g = *state;
	struct flat_result r;
	struct paging p;

	if (!has_pcid())
		skip();
	/* Bit 63 of CR3 without CR4.PCIDE */
	paging_setup(&p, g, FLAT_64);
	FLAT_CODE(g, CODE_S + 0x800, 0x0f, 0x22, 0xd8, DONE); /* mov cr3, rax */
	paging_enter(&p, 0, CODE_S + 0x800)->gpr[X86_RAX] = p.root | KEEP;
	r = flat_run(g, 0);
	assert_int_equal(r.vector, X86_VEC_GP);
	/* Turning CR4.PCIDE on with a PCID already in CR3 */
	FLAT_CODE(g, CODE_S + 0x800, 0x0f, 0x22, 0xe0, DONE); /* mov cr4, rax */
	paging_enter(&p, 0, CODE_S + 0x800)->gpr[X86_RAX] = X86_CR4_PAE | X86_CR4_PCIDE;
	x86_vcpu_state(g->vcpu[0])->cr3 |= 1;
	r = flat_run(g, 0);
	assert_int_equal(r.vector, X86_VEC_GP);
	paging_enter(&p, 0, CODE_S + 0x800)->gpr[X86_RAX] = X86_CR4_PAE | X86_CR4_PCIDE;
	flat_run_done(g, 0);
}

static void test_invpcid(void **state)
{
	struct flat *g = *state;
	struct paging a, b;

	if (!has_pcid() || !has_invpcid())
		skip();
	for (uint64_t type = 0; type < 4; type++) {
		setup_pcid(&a, &b, g);
		assert_int_equal(read_in(&a, a.root | 1, VA), 1);
		assert_int_equal(read_in(&a, b.root | 2, VA), 2);
		paging_map(&a, VA, 1, FRAME1 | P | W);
		invpcid(&b, type, 1, VA); /* while PCID 2 is in use */
		assert_int_equal(read_in(&a, a.root | 1 | KEEP, VA), 2);
	}
	/* Types 0 to 3 only, a canonical address, no bits above the PCID */
	static const struct {
		uint64_t type, pcid, va;
	} bad[] = {{4, 1, VA}, {0, 1, 0x800000000000}, {1, 0x1000, VA}, {~0ull, 0, 0}};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct x86_state *s;

		FLAT_CODE(g, CODE_S + 0xa00, 0x66, 0x0f, 0x38, 0x82, 0x03, DONE);
		setup_pcid(&a, &b, g);
		paging_frame(&a, CODE_S + 0xb00)[0] = bad[i].pcid;
		paging_frame(&a, CODE_S + 0xb00)[1] = bad[i].va;
		s = x86_vcpu_state(g->vcpu[0]);
		s->rip = CODE_S + 0xa00;
		s->gpr[X86_RAX] = bad[i].type;
		s->gpr[X86_RBX] = CODE_S + 0xb00;
		assert_int_equal(flat_run(g, 0).vector, X86_VEC_GP);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		FLAT_TEST(test_invlpg),
		FLAT_TEST(test_invlpg_code),
		FLAT_TEST(test_cr3_write),
		FLAT_TEST(test_global),
		FLAT_TEST(test_pcid),
		FLAT_TEST(test_pcid_rules),
		FLAT_TEST(test_invpcid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
