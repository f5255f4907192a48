/*
 * boot_elf.c - loading ELF kernels: by their PVH note, and as Multiboot 1 in all its forms.
 */
#include "boot_machine.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "boot/multiboot_protocol.h"
#include "boot/pvh_protocol.h"

/*
 * The made-up kernel: headers, then code at CODE_AT (the Multiboot header its first bytes), then
 * notes. The code is linked high, as kernels are, and loaded at 1 MiB with room for its BSS.
 */
#define CODE_AT	    0x200
#define CODE_BYTES  0x100
#define NOTES_AT    (CODE_AT + CODE_BYTES)
#define IMAGE_BYTES (NOTES_AT + 64)
#define LOADED_AT   0x100000
#define LINKED_AT   0xc0100000
#define BSS_BYTES   0x5000
#define ENTRY_AT    0x40 /* from the code's start */

static uint8_t image[IMAGE_BYTES];

static void make_header_64(void)
{
	Elf64_Ehdr *e = (void *)image;
	Elf64_Phdr *p = (void *)(e + 1);

	*e = (Elf64_Ehdr){.e_ident = ELFMAG,
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_entry = LINKED_AT + ENTRY_AT,
		.e_phoff = sizeof(*e),
		.e_phentsize = sizeof(*p),
		.e_phnum = 2};
	e->e_ident[EI_CLASS] = ELFCLASS64;
	e->e_ident[EI_DATA] = ELFDATA2LSB;
	p[0] = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = CODE_AT,
		.p_vaddr = LINKED_AT,
		.p_paddr = LOADED_AT,
		.p_filesz = CODE_BYTES,
		.p_memsz = CODE_BYTES + BSS_BYTES};
	p[1] = (Elf64_Phdr){.p_type = PT_NOTE,
		.p_offset = NOTES_AT,
		.p_filesz = IMAGE_BYTES - NOTES_AT,
		.p_align = 4};
}

static void make_header_32(void)
{
	Elf32_Ehdr *e = (void *)image;
	Elf32_Phdr *p = (void *)(e + 1);

	*e = (Elf32_Ehdr){.e_ident = ELFMAG,
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_entry = LINKED_AT + ENTRY_AT,
		.e_phoff = sizeof(*e),
		.e_phentsize = sizeof(*p),
		.e_phnum = 2};
	e->e_ident[EI_CLASS] = ELFCLASS32;
	e->e_ident[EI_DATA] = ELFDATA2LSB;
	p[0] = (Elf32_Phdr){.p_type = PT_LOAD,
		.p_offset = CODE_AT,
		.p_vaddr = LINKED_AT,
		.p_paddr = LOADED_AT,
		.p_filesz = CODE_BYTES,
		.p_memsz = CODE_BYTES + BSS_BYTES};
	p[1] = (Elf32_Phdr){.p_type = PT_NOTE,
		.p_offset = NOTES_AT,
		.p_filesz = IMAGE_BYTES - NOTES_AT,
		.p_align = 4};
}

static void make_image(bool is_64)
{
	memset(image, 0, sizeof(image));
	if (is_64)
		make_header_64();
	else
		make_header_32();
	for (unsigned i = 0; i < CODE_BYTES; i++)
		image[CODE_AT + i] = i + 1;
}

/* Another vendor's note first, then ours. */
static void add_note(void)
{
	static const struct {
		Elf32_Nhdr other;
		char other_name[8];
		uint8_t other_desc[4];
		Elf32_Nhdr note;
		char name[4];
		uint32_t entry;
	} notes = {{5, 2, 1}, "GNUX", {1, 2}, {4, 4, PVH_NOTE_ENTRY}, "Xen", LOADED_AT + ENTRY_AT};

	memcpy(image + NOTES_AT, &notes, sizeof(notes));
}

static struct multiboot_header *add_multiboot(uint32_t flags)
{
	struct multiboot_header *h = (void *)(image + CODE_AT);

	memset(h, 0, sizeof(*h));
	h->magic = MULTIBOOT_HEADER_MAGIC;
	h->flags = flags;
	h->checksum = -(h->magic + h->flags);
	return h;
}

static int setup(void **state)
{
	static struct machine m;

	machine_create(&m, 64 * MIB, 32 * MIB);
	m.request.cmdline = "one two";
	*state = &m;
	return 0;
}

static void check_code(struct machine *m)
{
	const uint8_t *code = guest(m, LOADED_AT, CODE_BYTES + BSS_BYTES);

	assert_memory_equal(code, image + CODE_AT, CODE_BYTES);
	for (unsigned i = 0; i < BSS_BYTES; i++)
		assert_int_equal(code[CODE_BYTES + i], 0);
	assert_int_equal(m->result.state.rip, LOADED_AT + ENTRY_AT);
	check_32(m);
}

static void set_kernel(struct machine *m)
{
	file_set(&m->request.kernel, image, sizeof(image));
	/* what the BSS must not keep */
	memset(m->memory[0].host + LOADED_AT, 0xee, 0x10000);
}

static void check_pvh(struct machine *m)
{
	struct pvh_start_info *info;
	struct pvh_module *module;
	struct pvh_memory *memory;

	check_loads(m);
	assert_int_equal(m->result.kind, BOOT_PVH);
	check_code(m);
	info = guest(m, m->result.state.rbx, sizeof(*info));
	assert_int_equal(info->magic, 0x336ec578);
	assert_int_equal(info->version, 1);
	assert_int_equal(info->rsdp, 0xe0000);
	assert_string_equal(guest(m, info->cmdline, 8), "one two");
	assert_int_equal(info->modules, 1);
	module = guest(m, info->module_list, sizeof(*module));
	assert_int_equal(module->size, 4);
	assert_memory_equal(guest(m, module->start, 4), "init", 4);
	assert_int_equal(info->memory_map_entries, 4);
	memory = guest(m, info->memory_map, 4 * sizeof(*memory));
	assert_int_equal(memory[0].type, 1);
	assert_int_equal(memory[1].type, 2);
	assert_int_equal(memory[2].start, MIB);
	assert_int_equal(memory[2].size, 63 * MIB);
	assert_int_equal(memory[3].start, 4 * GIB);
	assert_int_equal(memory[3].size, 32 * MIB);
}

static void test_pvh(void **state)
{
	struct machine *m = *state;

	file_set(&m->request.initrd, "init", 4);
	for (unsigned is_64 = 0; is_64 < 2; is_64++) {
		make_image(is_64);
		add_note();
		set_kernel(m);
		check_pvh(m);
	}
}

/* Symbols for a debugger behind the kernel do not count, however many. */
static void test_what_is_not_loaded_is_not_read(void **state)
{
	struct machine *m = *state;

	make_image(true);
	add_note();
	set_kernel(m);
	assert_int_equal(ftruncate(m->request.kernel.fd, 2 * GIB), 0);
	check_loads(m);
	check_code(m);
	/* unless a segment says that it is there */
	((Elf64_Phdr *)(image + sizeof(Elf64_Ehdr)))[0].p_offset = 1 * GIB;
	set_kernel(m);
	assert_int_equal(ftruncate(m->request.kernel.fd, 2 * GIB), 0);
	check_refused(m, -ENOMEM, "larger than the machine's 96 MiB");
}

static struct multiboot_info *check_multiboot(struct machine *m)
{
	struct multiboot_info *info;
	struct multiboot_memory *memory;

	check_loads(m);
	assert_int_equal(m->result.kind, BOOT_MULTIBOOT);
	check_code(m);
	assert_int_equal(m->result.state.rax, 0x2badb002);
	info = guest(m, m->result.state.rbx, sizeof(*info));
	assert_int_equal(info->flags, 0x24d);
	assert_int_equal(info->mem_lower, 639);
	assert_int_equal(info->mem_upper, 63 * 1024);
	assert_string_equal(guest(m, info->cmdline, 8), "one two");
	assert_string_equal(guest(m, info->boot_loader_name, 8), "Partita");
	assert_int_equal(info->mmap_length, 4 * 24);
	memory = guest(m, info->mmap_addr, info->mmap_length);
	assert_int_equal(memory[3].size, 20);
	assert_int_equal(memory[3].start, 4 * GIB);
	assert_int_equal(memory[3].length, 32 * MIB);
	return info;
}

static void test_multiboot_elf(void **state)
{
	struct machine *m = *state;

	for (unsigned is_64 = 0; is_64 < 2; is_64++) {
		make_image(is_64);
		add_multiboot(MULTIBOOT_PAGE_ALIGN | MULTIBOOT_MEMORY_INFO);
		set_kernel(m);
		assert_int_equal(check_multiboot(m)->mods_count, 0);
	}
}

static void test_multiboot_module(void **state)
{
	struct machine *m = *state;
	struct multiboot_info *info;
	struct multiboot_module *module;

	make_image(false);
	add_multiboot(0);
	set_kernel(m);
	file_set(&m->request.initrd, "module", 6);
	info = check_multiboot(m);
	assert_int_equal(info->mods_count, 1);
	module = guest(m, info->mods_addr, sizeof(*module));
	assert_int_equal(module->end - module->start, 6);
	assert_int_equal(module->start % 4096, 0);
	assert_memory_equal(guest(m, module->start, 6), "module", 6);
	assert_string_equal(guest(m, module->string, 11), "initrd.img");
}

/* The header's own addresses count, not the ELF headers, which need not be there. */
static void test_multiboot_addresses(void **state)
{
	struct machine *m = *state;
	struct multiboot_header *h;

	make_image(false);
	memset(image, 0x90, CODE_AT);
	h = add_multiboot(MULTIBOOT_ADDRESSES);
	h->header_addr = h->load_addr = LOADED_AT;
	h->load_end_addr = LOADED_AT + CODE_BYTES;
	h->bss_end_addr = h->load_end_addr + BSS_BYTES;
	h->entry_addr = LOADED_AT + ENTRY_AT;
	set_kernel(m);
	check_multiboot(m);
	/* the whole file from its start, no BSS */
	h->load_addr = LOADED_AT - CODE_AT;
	h->load_addr += 0x10000;
	h->header_addr += 0x10000;
	h->load_end_addr = h->bss_end_addr = 0;
	set_kernel(m);
	check_loads(m);
	assert_memory_equal(guest(m, h->load_addr, IMAGE_BYTES), image, IMAGE_BYTES);
}

static void test_multiboot_contradictions(void **state)
{
	static const uint32_t bad[][4] = {
		/* header, load, load end, bss end: all relative to LOADED_AT */
		{0, 1, 0, 0},			    /* loaded after the header */
		{CODE_AT + 1, 0, 0, 0},		    /* begins before the file */
		{0, 0, IMAGE_BYTES, 0},		    /* ends after it */
		{0x100, 0x100, 0xff, 0},	    /* ends before it begins */
		{0, 0, CODE_BYTES, CODE_BYTES - 1}, /* a BSS that ends in the data */
	};
	struct machine *m = *state;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct multiboot_header *h;

		make_image(false);
		h = add_multiboot(MULTIBOOT_ADDRESSES);
		h->header_addr = LOADED_AT + bad[i][0];
		h->load_addr = LOADED_AT + bad[i][1];
		h->load_end_addr = bad[i][2] ? LOADED_AT + bad[i][2] : 0;
		h->bss_end_addr = bad[i][3] ? LOADED_AT + bad[i][3] : 0;
		set_kernel(m);
		check_refused(m, -ENOEXEC, "contradictory");
	}
}

static void test_multiboot_demands(void **state)
{
	struct machine *m = *state;

	make_image(false);
	add_multiboot(0x4);
	set_kernel(m);
	check_refused(m, -ENOEXEC, "flags 0x4");
	/* a wrong checksum is no header */
	add_multiboot(0)->checksum++;
	set_kernel(m);
	check_refused(m, -ENOEXEC, "neither a PVH note nor a Multiboot 1 header");
}

static void test_does_not_fit(void **state)
{
	struct machine *m = *state;
	Elf64_Phdr *p = (void *)(image + sizeof(Elf64_Ehdr));
	static const struct {
		uint64_t paddr, size;
	} places[] = {
		{0, 0x1000},		     /* the first page is the machine's */
		{0x9f000, 0x2000},	     /* into the hole below 1 MiB */
		{64 * MIB - 0x1000, 0x2000}, /* over the end */
		{64 * MIB, 0x1000},
		{2 * GIB, 0x1000},
		{MIB, 1ull << 40},
		{UINT64_MAX - 0xfff, 0x800},
	};

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		make_image(true);
		add_note();
		p[0].p_paddr = places[i].paddr;
		p[0].p_memsz = places[i].size;
		set_kernel(m);
		check_refused(m, -ENOMEM, "no free memory");
	}
	/* segments on top of each other */
	make_image(true);
	add_multiboot(0);
	p[1] = p[0];
	p[1].p_paddr += BSS_BYTES;
	set_kernel(m);
	check_refused(m, -ENOMEM, "no free memory");
	/* wraps around */
	p[1].p_paddr = UINT64_MAX - 0xff;
	set_kernel(m);
	check_refused(m, -ENOEXEC, "broken or truncated");
	/* nothing to load at all */
	p[0].p_type = p[1].p_type = PT_NULL;
	set_kernel(m);
	check_refused(m, -ENOEXEC, "nothing to load");
}

static void test_every_truncation_is_refused(void **state)
{
	struct machine *m = *state;

	for (unsigned form = 0; form < 4; form++) {
		make_image(form & 1);
		if (form & 2)
			add_note();
		else
			add_multiboot(0);
		for (size_t n = 1; n < (form & 2 ? IMAGE_BYTES : NOTES_AT); n++) {
			file_set(&m->request.kernel, image, n);
			if (form & 2 && n >= NOTES_AT + 44)
				continue; /* only padding is cut off */
			check_refused(m, -ENOEXEC, "vmlinuz: ");
		}
	}
}

static void test_corruption_never_harms(void **state)
{
	struct machine *m = *state;
	unsigned loaded = 0;

	srand(2);
	file_set(&m->request.initrd, "init", 4);
	file_set(&m->request.kernel, image, sizeof(image));
	for (unsigned round = 0; round < 30000; round++) {
		make_image(round & 1);
		if (round & 2)
			add_note();
		else
			add_multiboot(round & 4 ? MULTIBOOT_ADDRESSES : 0);
		for (unsigned i = 0; i <= round % 5; i++)
			corrupt(image + (rand() % 3 ? rand() % 0xb0 : rand() % IMAGE_BYTES),
				round & 8);
		loaded += survives(m, image, sizeof(image));
	}
	assert_in_range(loaded, 1000, 29999);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, machine_teardown)
		TEST(test_pvh),
		TEST(test_what_is_not_loaded_is_not_read),
		TEST(test_multiboot_elf),
		TEST(test_multiboot_module),
		TEST(test_multiboot_addresses),
		TEST(test_multiboot_contradictions),
		TEST(test_multiboot_demands),
		TEST(test_does_not_fit),
		TEST(test_every_truncation_is_refused),
		TEST(test_corruption_never_harms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
