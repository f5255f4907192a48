/*
 * enter.c - the processor states in which kernels are entered: flat 32-bit protected mode without
 * paging, and 64-bit mode with the first 4 GiB mapped to themselves. Interrupts are off and there
 * is no IDT. Intel SDM vol. 3, 3.4 (segments), 4.5 (4-level paging).
 */
#include "boot/loader.h"

#include <errno.h>

#define SELECTOR_CODE 0x10 /* as Linux's boot protocol names them */
#define SELECTOR_DATA 0x18
#define SELECTOR_TASK 0x20 /* two entries in 64-bit mode */
#define GDT_ENTRIES   6

#define ATTR_CODE_64 0xa09b /* present, code, accessed; L; 4 KiB granules */
#define ATTR_CODE_32 0xc09b /* the same, 32-bit */
#define ATTR_DATA    0xc093
#define ATTR_TASK    0x008b /* busy TSS */
#define ATTR_LDT     0x0082

#define TASK_LIMIT 0x67
#define FLAT_LIMIT UINT32_MAX

#define CR0_PE	 0x00000001ull
#define CR0_ET	 0x00000010ull
#define CR0_PG	 0x80000000ull
#define CR4_PAE	 0x20ull
#define EFER_LME 0x100ull
#define EFER_LMA 0x400ull
#define RFLAGS_1 0x2ull

#define PAGE_BYTES    4096ull
#define PAGE_PRESENT  0x01ull
#define PAGE_WRITABLE 0x02ull
#define PAGE_LARGE    0x80ull
#define LARGE_BYTES   (2 * MIB)
#define TABLE_ENTRIES 512
#define IDENTITY_GIB  4
#define STACK_BYTES   PAGE_BYTES

/* The GDT's view of a flat segment: base 0, limit in 4 KiB granules. */
static uint64_t flat_descriptor(uint16_t attributes)
{
	return (uint64_t)attributes << 40 | 0x000f00000000ffffull;
}

static int fill_segments(struct loader *l, uint16_t code_attributes)
{
	struct boot_state *s = &l->result->state;
	uint64_t start, *gdt = loader_place_info(l, GDT_ENTRIES * sizeof(*gdt), &start);

	if (!gdt)
		return -ENOMEM;
	gdt[SELECTOR_CODE / 8] = flat_descriptor(code_attributes);
	gdt[SELECTOR_DATA / 8] = flat_descriptor(ATTR_DATA);
	gdt[SELECTOR_TASK / 8] = (uint64_t)ATTR_TASK << 40 | TASK_LIMIT;
	s->gdtr = (struct boot_table){start, GDT_ENTRIES * sizeof(*gdt) - 1};
	s->cs = (struct boot_segment){0, FLAT_LIMIT, SELECTOR_CODE, code_attributes};
	s->data = (struct boot_segment){0, FLAT_LIMIT, SELECTOR_DATA, ATTR_DATA};
	s->tr = (struct boot_segment){0, TASK_LIMIT, SELECTOR_TASK, ATTR_TASK};
	s->ldtr = (struct boot_segment){0, 0xffff, 0, ATTR_LDT};
	return 0;
}

/* A few words for a kernel that pushes before it has a stack of its own. */
static int place_stack(struct loader *l)
{
	uint64_t start;

	if (!loader_place_info(l, STACK_BYTES, &start))
		return -ENOMEM;
	l->result->state.rsp = start + STACK_BYTES;
	return 0;
}

/* One root, one directory of GiBs, and a table of 2 MiB pages for each GiB. */
static int place_page_tables(struct loader *l)
{
	uint64_t start, *entry;
	const uint64_t flags = PAGE_PRESENT | PAGE_WRITABLE;

	entry = loader_place_info(l, (2 + IDENTITY_GIB) * PAGE_BYTES, &start);
	if (!entry)
		return -ENOMEM;
	entry[0] = (start + PAGE_BYTES) | flags;
	for (unsigned i = 0; i < IDENTITY_GIB; i++)
		entry[TABLE_ENTRIES + i] = (start + (2 + i) * PAGE_BYTES) | flags;
	for (unsigned i = 0; i < IDENTITY_GIB * TABLE_ENTRIES; i++)
		entry[2 * TABLE_ENTRIES + i] = i * LARGE_BYTES | flags | PAGE_LARGE;
	l->result->state.cr3 = start;
	return 0;
}

int loader_enter_64(struct loader *l, uint64_t rip)
{
	struct boot_state *s = &l->result->state;

	if (fill_segments(l, ATTR_CODE_64) || place_stack(l) || place_page_tables(l))
		return -ENOMEM;
	s->rip = rip;
	s->rflags = RFLAGS_1;
	s->cr0 = CR0_PE | CR0_ET | CR0_PG;
	s->cr4 = CR4_PAE;
	s->efer = EFER_LME | EFER_LMA;
	return 0;
}

int loader_enter_32(struct loader *l, uint32_t eip)
{
	struct boot_state *s = &l->result->state;

	if (fill_segments(l, ATTR_CODE_32) || place_stack(l))
		return -ENOMEM;
	s->rip = eip;
	s->rflags = RFLAGS_1;
	s->cr0 = CR0_PE | CR0_ET;
	return 0;
}
