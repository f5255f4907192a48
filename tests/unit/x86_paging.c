/*
 * x86_paging.c - paging in every mode, seen by small guests: formats, rights, error codes, accessed
 * and dirty bits, reserved bits, accesses to two pages, CR2.
 *
 * Facts: Intel SDM vol. 3A, chapter 4.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "x86_tables.h"

/* ---- Formats -------------------------------------------------------------------------------- */

static void test_sizes(void **state)
{
	static const struct {
		enum flat_mode mode;
		unsigned level;
		uint64_t size;
	} pages[] = {
		{FLAT_PAGED, 1, 0x1000},
		{FLAT_PAGED, 2, 0x400000},
		{FLAT_PAE, 1, 0x1000},
		{FLAT_PAE, 2, 0x200000},
		{FLAT_64, 1, 0x1000},
		{FLAT_64, 2, 0x200000},
		{FLAT_64, 3, 0x40000000},
		{FLAT_COMPAT, 1, 0x1000},
		{FLAT_COMPAT, 2, 0x200000},
	};
	struct flat *g = *state;
	struct paging p;

	for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		/* A frame that is its size's multiple: 0 for 1 GiB pages. */
		uint64_t gpa = LARGE0 & ~(pages[i].size - 1), at = 0x1234568 & (pages[i].size - 1);

		paging_setup(&p, g, pages[i].mode);
		paging_map(&p, VA, pages[i].level, gpa | P | W | (pages[i].level > 1 ? PS : 0));
		*paging_frame(&p, gpa + at) = 0x1122334455667788;
		assert_int_equal(paging_read(&p, VA + at),
			p.mode == FLAT_64 ? 0x1122334455667788 : 0x55667788);
		assert_done(paging_probe(&p, WRITE, 0, VA + at));
		assert_int_equal(*paging_frame(&p, gpa + at) & 0xffffffff, 0x55);
		/* Another page of that size is not mapped. */
		assert_fault(paging_probe(&p, READ, 0, VA + pages[i].size), 0, VA + pages[i].size);
	}
}

static void test_pse_off(void **state)
{
	struct flat *g = *state;
	struct paging p;
	struct x86_state *s;

	/* Without CR4.PSE the bit is ignored: the entry names a table, whose first entry maps. */
	paging_setup(&p, g, FLAT_PAGED);
	paging_map(&p, VA, 2, 0x180000 | P | W | PS);
	*(uint32_t *)(g->ram + 0x180000) = FRAME1 | P | W;
	s = paging_enter(&p, 0, CODE_S);
	s->cr4 &= ~X86_CR4_PSE;
	s->gpr[X86_RBX] = VA + 8;
	assert_done(flat_run(g, 0));
	assert_int_equal(paging_rax(&p), 1);
}

static void test_high_half(void **state)
{
	struct paging p;

	paging_setup(&p, *state, FLAT_64);
	paging_map(&p, 0xffff800000000000, 1, FRAME0 | P | W);
	paging_map(&p, 0xfffffffffffff000, 1, FRAME1 | P | W);
	assert_int_equal(paging_read(&p, 0xffff800000000008), 0xf0f0f0f000000001);
	assert_int_equal(paging_read(&p, 0xfffffffffffffff8), 0xf1f1f1f1000001ff);
}

static void test_canonical(void **state)
{
	struct flat *g = *state;
	struct paging p;
	struct x86_state *s;
	struct flat_result r;

	paging_setup(&p, g, FLAT_64);
	r = paging_probe(&p, READ, 0, 0x800000000000);
	assert_int_equal(r.vector, X86_VEC_GP);
	assert_int_equal(r.error, 0);
	r = paging_probe(&p, WRITE, 0, 0xffff7ffffffffff8);
	assert_int_equal(r.vector, X86_VEC_GP);
	r = paging_probe(&p, EXEC, 0, 0x800000000000);
	assert_int_equal(r.vector, X86_VEC_GP);
	/* Through the stack pointer it is the stack's fault. */
	FLAT_CODE(g, CODE_S + 0x800, 0x48, 0x8b, 0x04, 0x24, DONE); /* mov rax, [rsp] */
	s = paging_enter(&p, 0, CODE_S + 0x800);
	s->gpr[X86_RSP] = 0x900000000000;
	r = flat_run(g, 0);
	assert_int_equal(r.vector, X86_VEC_SS);
	assert_int_equal(r.error, 0);
}

/* ---- Rights --------------------------------------------------------------------------------- */

static void test_not_present(void **state)
{
	static const enum flat_mode modes[] = {FLAT_PAGED, FLAT_PAE, FLAT_64};
	struct paging p;

	for (unsigned m = 0; m < 3; m++) {
		paging_setup(&p, *state, modes[m]);
		paging_map(&p, VA, 1, FRAME0 | W | U);
		assert_fault(paging_probe(&p, READ, 0, VA + 12), 0, VA + 12);
		assert_fault(paging_probe(&p, WRITE, 0, VA + 12), EW, VA + 12);
		assert_fault(paging_probe(&p, MODIFY, 0, VA + 12), EW, VA + 12);
		assert_fault(paging_probe(&p, READ, 3, VA + 12), EU, VA + 12);
		assert_fault(paging_probe(&p, WRITE, 3, VA + 12), EU | EW, VA + 12);
		/* The fetch is told apart where there is NX to ask it for. */
		assert_fault(paging_probe(&p, EXEC, 3, VA), EU | (m ? EI : 0), VA);
	}
}

static void test_user_supervisor(void **state)
{
	struct paging p;

	paging_setup(&p, *state, FLAT_64);
	flat_write(*state, FRAME1, "\x0f\x0b", 2);
	paging_map(&p, VA, 1, FRAME1 | P | W);
	assert_done(paging_probe(&p, READ, 0, VA));
	assert_done(paging_probe(&p, WRITE, 0, VA + 8));
	/* What the supervisor has just entered into the buffer must not serve the user. */
	assert_fault(paging_probe(&p, READ, 3, VA), EP | EU, VA);
	assert_fault(paging_probe(&p, WRITE, 3, VA), EP | EU | EW, VA);
	assert_fault(paging_probe(&p, EXEC, 3, VA), EP | EU | EI, VA);
	/* One supervisor entry on the way is enough. */
	paging_map(&p, VA, 1, FRAME1 | P | W | U);
	paging_map(&p, VA, 2, paging_entry(&p, VA, 2) & ~U);
	EXECUTE(&p, 0, VA, INVLPG);
	assert_fault(paging_probe(&p, READ, 3, VA), EP | EU, VA);
	paging_map(&p, VA, 2, paging_entry(&p, VA, 2) | U);
	EXECUTE(&p, 0, VA, INVLPG);
	assert_done(paging_probe(&p, READ, 3, VA));
	assert_done(paging_probe(&p, WRITE, 3, VA + 8));
	assert_done(paging_probe(&p, EXEC, 3, VA));
}

static void test_write_protect(void **state)
{
	static const enum flat_mode modes[] = {FLAT_PAGED, FLAT_PAE, FLAT_64};
	struct paging p;

	for (unsigned m = 0; m < 3; m++) {
		paging_setup(&p, *state, modes[m]);
		paging_map(&p, VA, 1, FRAME0 | P | U);
		assert_done(paging_probe(&p, READ, 3, VA));
		assert_fault(paging_probe(&p, WRITE, 3, VA), EP | EW | EU, VA);
		assert_fault(paging_probe(&p, WRITE, 0, VA), EP | EW, VA);
		assert_fault(paging_probe(&p, MODIFY, 0, VA), EP | EW, VA);
		assert_int_equal(paging_entry(&p, VA, 1) & D, 0);
		/* CR0.WP clear: the supervisor writes where it likes, the user does not. */
		p.cr0_clear = X86_CR0_WP;
		assert_done(paging_probe(&p, WRITE, 0, VA));
		assert_int_equal(*paging_frame(&p, FRAME0) & 0xffffffff, 0x55);
		assert_fault(paging_probe(&p, WRITE, 3, VA), EP | EW | EU, VA);
		p.cr0_clear = 0;
		assert_fault(paging_probe(&p, WRITE, 0, VA), EP | EW, VA);
	}
}

static void test_no_execute(void **state)
{
	struct paging p;

	for (unsigned m = 0; m < 2; m++) {
		paging_setup(&p, *state, m ? FLAT_64 : FLAT_PAE);
		flat_write(*state, FRAME1, "\x0f\x0b", 2);
		paging_map(&p, VA, 1, FRAME1 | P | W | U | NX);
		assert_done(paging_probe(&p, READ, 3, VA));
		assert_fault(paging_probe(&p, EXEC, 3, VA), EP | EU | EI, VA);
		assert_fault(paging_probe(&p, EXEC, 0, VA), EP | EI, VA);
		paging_map(&p, VA, 1, FRAME1 | P | W | U);
		EXECUTE(&p, 0, VA, INVLPG);
		assert_done(paging_probe(&p, EXEC, 3, VA));
		assert_done(paging_probe(&p, EXEC, 0, VA));
		/* A directory entry's NX counts for all below it. */
		paging_map(&p, VA, 2, paging_entry(&p, VA, 2) | NX);
		EXECUTE(&p, 0, VA, INVLPG);
		assert_fault(paging_probe(&p, EXEC, 3, VA), EP | EU | EI, VA);
		/* Without EFER.NXE the bit is reserved, and fetches are reads. */
		p.efer_clear = X86_EFER_NXE;
		assert_fault(paging_probe(&p, READ, 3, VA), EP | EU | ERSVD, VA);
		assert_fault(paging_probe(&p, EXEC, 3, VA), EP | EU | ERSVD, VA);
	}
}

static void test_smep(void **state)
{
	struct paging p;

	paging_setup(&p, *state, FLAT_64);
	flat_write(*state, FRAME1, "\x0f\x0b", 2);
	paging_map(&p, VA, 1, FRAME1 | P | W | U);
	assert_done(paging_probe(&p, EXEC, 0, VA));
	p.cr4_set = X86_CR4_SMEP;
	assert_fault(paging_probe(&p, EXEC, 0, VA), EP | EI, VA);
	assert_done(paging_probe(&p, EXEC, 3, VA));
	assert_done(paging_probe(&p, READ, 0, VA));
	assert_done(paging_probe(&p, WRITE, 0, VA + 8));
}

static void test_smap(void **state)
{
	struct flat *g = *state;
	struct flat_result r;
	struct paging p;

	paging_setup(&p, g, FLAT_64);
	flat_write(g, FRAME1, "\x0f\x0b", 2);
	paging_map(&p, VA, 1, FRAME1 | P | W | U);
	p.cr4_set = X86_CR4_SMAP;
	assert_fault(paging_probe(&p, READ, 0, VA), EP, VA);
	assert_fault(paging_probe(&p, WRITE, 0, VA), EP | EW, VA);
	assert_done(paging_probe(&p, READ, 3, VA));
	assert_done(paging_probe(&p, WRITE, 3, VA + 8));
	assert_done(paging_probe(&p, EXEC, 0, VA)); /* that is SMEP's business */
	/* stac; mov rax, [rbx]; clac; mov [rbx], rax */
	FLAT_CODE(g, CODE_S + 0x800, 0x0f, 0x01, 0xcb, 0x48, 0x8b, 0x03, 0x0f, 0x01, 0xca, 0x48,
		0x89, 0x03, DONE);
	paging_enter(&p, 0, CODE_S + 0x800)->gpr[X86_RBX] = VA + 16;
	r = flat_run(g, 0);
	assert_fault(r, EP | EW, VA + 16);
	assert_int_equal(x86_vcpu_state(g->vcpu[0])->rip, CODE_S + 0x809);
	assert_int_equal(paging_rax(&p), 0xf1f1f1f100000002);
	/* Supervisor pages are not concerned. */
	paging_map(&p, VA + 0x1000, 1, FRAME0 | P | W);
	assert_done(paging_probe(&p, WRITE, 0, VA + 0x1000));
}

/* ---- Accessed and dirty --------------------------------------------------------------------- */

static void test_accessed_dirty(void **state)
{
	static const enum flat_mode modes[] = {FLAT_PAGED, FLAT_PAE, FLAT_64};
	struct paging p;

	for (unsigned m = 0; m < 3; m++) {
		unsigned top = modes[m] == FLAT_PAE ? 2 : modes[m] == FLAT_64 ? 4 : 2;

		paging_setup(&p, *state, modes[m]);
		paging_map(&p, VA, 1, FRAME0 | P | W);
		assert_done(paging_probe(&p, READ, 0, VA));
		assert_int_equal(paging_entry(&p, VA, 1), FRAME0 | P | W | A);
		for (unsigned level = 2; level <= top; level++)
			assert_int_equal(paging_entry(&p, VA, level) & (A | D), A);
		/* The first write after a read is not lost. */
		assert_done(paging_probe(&p, WRITE, 0, VA));
		assert_int_equal(paging_entry(&p, VA, 1), FRAME0 | P | W | A | D);
		for (unsigned level = 2; level <= top; level++)
			assert_int_equal(paging_entry(&p, VA, level) & (A | D), A);
		/* Cleared and flushed, they come again. */
		paging_map(&p, VA, 1, FRAME0 | P | W);
		EXECUTE(&p, 0, VA, INVLPG);
		assert_done(paging_probe(&p, MODIFY, 0, VA));
		assert_int_equal(paging_entry(&p, VA, 1), FRAME0 | P | W | A | D);
		/* A large page has them in its directory entry. */
		paging_map(&p, VA, 2, LARGE0 | P | W | PS);
		EXECUTE(&p, 0, VA, INVLPG);
		assert_done(paging_probe(&p, READ, 0, VA));
		assert_int_equal(paging_entry(&p, VA, 2), LARGE0 | P | W | PS | A);
		assert_done(paging_probe(&p, WRITE, 0, VA + 0x1000));
		assert_int_equal(paging_entry(&p, VA, 2), LARGE0 | P | W | PS | A | D);
	}
}

/* ---- Reserved bits -------------------------------------------------------------------------- */

static void test_reserved(void **state)
{
	static const struct {
		enum flat_mode mode;
		unsigned level;
		uint64_t value;
	} entries[] = {
		{FLAT_PAGED, 2, LARGE0 | 1 << 21 | P | W | PS},
		{FLAT_PAE, 2, LARGE0 | 1 << 13 | P | W | PS},
		{FLAT_PAE, 1, FRAME0 | 1ull << 52 | P | W},
		{FLAT_64, 1, FRAME0 | 1ull << 51 | P | W},
		{FLAT_64, 2, LARGE0 | 1 << 13 | P | W | PS},
		{FLAT_64, 2, LARGE0 | 1 << 20 | P | W | PS},
		{FLAT_64, 3, 1 << 29 | P | W | PS},
		{FLAT_64, 4, LARGE0 | P | W | PS},
	};
	struct paging p;

	for (unsigned i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		uint64_t va = entries[i].level == 4 ? 0x7f0000000000 : VA;

		paging_setup(&p, *state, entries[i].mode);
		paging_map(&p, va, entries[i].level, entries[i].value);
		assert_fault(paging_probe(&p, READ, 0, va), EP | ERSVD, va);
		assert_fault(paging_probe(&p, WRITE, 0, va), EP | EW | ERSVD, va);
		assert_fault(paging_probe(&p, READ, 3, va), EP | EU | ERSVD, va);
		/* Of an entry that is not present nothing is reserved. */
		paging_map(&p, va, entries[i].level, entries[i].value & ~P);
		assert_fault(paging_probe(&p, READ, 0, va), 0, va);
	}
}

/* ---- Two pages at once ---------------------------------------------------------------------- */

static void test_crossing(void **state)
{
	struct flat *g = *state;
	struct paging p;

	paging_setup(&p, g, FLAT_64);
	paging_map(&p, VA, 1, FRAME1 | P | W);
	paging_map(&p, VA + 0x1000, 1, FRAME0 | P | W); /* not neighbours in memory */
	paging_frame(&p, FRAME1)[511] = 0x1111111111111111;
	paging_frame(&p, FRAME0)[0] = 0x2222222222222222;
	assert_int_equal(paging_read(&p, VA + 0xffd), 0x2222222222111111);
	assert_done(paging_probe(&p, WRITE, 0, VA + 0xffd));
	assert_int_equal(paging_frame(&p, FRAME1)[511], 0x0000551111111111);
	assert_int_equal(paging_frame(&p, FRAME0)[0], 0x2222220000000000);
	/* The second page faults: the first is not written. */
	paging_map(&p, VA + 0x1000, 1, FRAME0 | P);
	EXECUTE(&p, 0, VA + 0x1000, INVLPG);
	assert_fault(paging_probe(&p, WRITE, 0, VA + 0xff9), EP | EW, VA + 0x1000);
	assert_fault(paging_probe(&p, MODIFY, 0, VA + 0xff9), EP | EW, VA + 0x1000);
	assert_int_equal(paging_frame(&p, FRAME1)[511], 0x0000551111111111);
	/* An instruction over the boundary: its second half comes from elsewhere. */
	paging_map(&p, VA + 0x1000, 1, FRAME0 | P);
	flat_write(g, FRAME1 + 0xffe, "\xb8\x44", 2); /* mov eax, 0x11223344 */
	flat_write(g, FRAME0, "\x33\x22\x11\x0f\x0b", 5);
	assert_done(paging_probe(&p, EXEC, 0, VA + 0xffe));
	assert_int_equal(paging_rax(&p), 0x11223344);
	paging_map(&p, VA + 0x1000, 1, 0);
	EXECUTE(&p, 0, VA + 0x1000, INVLPG);
	assert_fault(paging_probe(&p, EXEC, 0, VA + 0xffe), EI, VA + 0x1000);
	assert_int_equal(x86_vcpu_state(g->vcpu[0])->rip, VA + 0xffe);
}

/* ---- Delivery ------------------------------------------------------------------------------- */

#define IDT   0x30000u
#define GDT   0x31000u
#define STACK 0x34000u

static void test_cr2(void **state)
{
	struct flat *g = *state;
	struct x86_state *s;
	struct paging p;

	paging_setup(&p, g, FLAT_64);
	for (uint32_t at = IDT; at < STACK; at += 0x1000)
		paging_map(&p, at, 1, at | P | W);
	/* Vector 14: a 64-bit interrupt gate to CODE_S + 0x800 */
	*paging_frame(&p, IDT + 14 * 16) =
		0x00008e0000080000 | (CODE_S + 0x800) % 0x10000 | (uint64_t)(CODE_S >> 16) << 48;
	*paging_frame(&p, IDT + 14 * 16 + 8) = 0;
	*paging_frame(&p, GDT + 8) = 0x00af9b000000ffff; /* 64-bit code */
	*paging_frame(&p, GDT + 16) = 0x00cf93000000ffff;
	/* mov rax, cr2; pop rcx; pop rdx */
	FLAT_CODE(g, CODE_S + 0x800, 0x0f, 0x20, 0xd0, 0x59, 0x5a, DONE);
	s = paging_enter(&p, 0, CODE_S + 16 * WRITE);
	s->idtr = (struct x86_table){IDT, 0xfff};
	s->gdtr = (struct x86_table){GDT, 0xfff};
	s->gpr[X86_RSP] = STACK;
	s->gpr[X86_RBX] = VA + 0x123;
	flat_deliver(g, 0, 1u << X86_VEC_PF);
	flat_run_done(g, 0);
	flat_deliver(g, 0, 0);
	assert_int_equal(paging_rax(&p), VA + 0x123);
	assert_int_equal(s->gpr[X86_RCX], EW);
	assert_int_equal(s->gpr[X86_RDX], CODE_S + 16 * WRITE);
	assert_int_equal(s->cr2, VA + 0x123);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		FLAT_TEST(test_sizes),
		FLAT_TEST(test_pse_off),
		FLAT_TEST(test_high_half),
		FLAT_TEST(test_canonical),
		FLAT_TEST(test_not_present),
		FLAT_TEST(test_user_supervisor),
		FLAT_TEST(test_write_protect),
		FLAT_TEST(test_no_execute),
		FLAT_TEST(test_smep),
		FLAT_TEST(test_smap),
		FLAT_TEST(test_accessed_dirty),
		FLAT_TEST(test_reserved),
		FLAT_TEST(test_crossing),
		FLAT_TEST(test_cr2),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
