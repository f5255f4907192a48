/*
 * multiboot.c - loads a Multiboot 1 kernel: by the addresses in its header if it gives them,
 * otherwise as an ELF file, 64-bit ones included, as GRUB does. It is entered in 32-bit protected
 * mode. The initrd is its only module.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "boot/elf_file.h"
#include "boot/loader.h"
#include "boot/multiboot_protocol.h"

#define LOADER_NAME "Partita"

/* What loading the kernel gave. */
struct image {
	struct multiboot_header header;
	size_t header_at; /* its offset in the file */
	uint64_t entry, end;
};

static bool find_header(const struct loader_file *file, struct image *image)
{
	const size_t magic_size = offsetof(struct multiboot_header, header_addr);
	size_t limit = file->size < MULTIBOOT_SEARCH ? file->size : MULTIBOOT_SEARCH;
	struct multiboot_header *h = &image->header;

	for (size_t at = 0; at + magic_size <= limit; at += 4) {
		memset(h, 0, sizeof(*h));
		memcpy(h, file->data + at, magic_size);
		if (h->magic != MULTIBOOT_HEADER_MAGIC || h->magic + h->flags + h->checksum)
			continue;
		image->header_at = at;
		if (!(h->flags & MULTIBOOT_ADDRESSES))
			return true;
		if (sizeof(*h) > file->size - at)
			return false;
		memcpy(h, file->data + at, sizeof(*h));
		return true;
	}
	return false;
}

bool multiboot_probe(const struct loader *l)
{
	struct elf_file elf;
	struct image image;

	return find_header(&l->kernel, &image) &&
	       (image.header.flags & MULTIBOOT_ADDRESSES || elf_open(&l->kernel, &elf));
}

/* Loads what the header's addresses name: 3.1.3. */
static int load_by_addresses(struct loader *l, struct image *image)
{
	const struct multiboot_header *h = &image->header;
	const struct loader_file *f = &l->kernel;
	uint64_t before = (uint64_t)h->header_addr - h->load_addr, offset, size, room;
	uint8_t *host;

	if (h->load_addr > h->header_addr || before > image->header_at)
		goto broken;
	offset = image->header_at - before;
	size = f->size - offset;
	if (h->load_end_addr) {
		if (h->load_end_addr < h->load_addr || h->load_end_addr - h->load_addr > size)
			goto broken;
		size = h->load_end_addr - h->load_addr;
	}
	room = size;
	if (h->bss_end_addr) {
		if (h->bss_end_addr < h->load_addr || h->bss_end_addr - h->load_addr < size)
			goto broken;
		room = h->bss_end_addr - h->load_addr;
	}
	host = loader_take(l, h->load_addr, room);
	if (!host)
		return loader_fail(l, -ENOMEM,
			"%s: the kernel wants %llu KiB of memory at %#x, where the machine has no "
			"free memory; give it more, or link the kernel elsewhere",
			f->name, (unsigned long long)(room + KIB - 1) / KIB, h->load_addr);
	memcpy(host, f->data + offset, size);
	memset(host + size, 0, room - size);
	image->entry = h->entry_addr;
	image->end = h->load_addr + room;
	return 0;
broken:
	return loader_fail(l, -ENOEXEC,
		"%s: a Multiboot kernel, but truncated or with contradictory addresses; fetch or "
		"build it again",
		f->name);
}

/* The entry is a virtual address: where the segment that holds it is loaded counts. */
static uint64_t physical_entry(const struct elf_file *elf)
{
	for (unsigned i = 0; i < elf->segments; i++) {
		struct elf_segment s = elf_segment(elf, i);

		if (s.type == PT_LOAD && elf->entry >= s.vaddr &&
			elf->entry - s.vaddr < s.memory_size)
			return s.paddr + (elf->entry - s.vaddr);
	}
	return elf->entry;
}

static int load_elf(struct loader *l, struct image *image)
{
	struct elf_file elf;
	int error;

	if (!elf_open(&l->kernel, &elf))
		return -ENOEXEC; /* cannot be: it was probed */
	error = elf_load(l, &elf, &image->end);
	if (error)
		return error;
	image->entry = physical_entry(&elf);
	if (image->entry > UINT32_MAX)
		return loader_fail(l, -ENOEXEC,
			"%s: a Multiboot kernel whose entry lies above 4 GiB; link it lower",
			l->kernel.name);
	return 0;
}

static int place_module(struct loader *l, struct multiboot_info *info, uint64_t kernel_end)
{
	struct multiboot_module *module;
	uint64_t start, at, name;
	int error;

	info->flags |= MULTIBOOT_INFO_MODULES;
	if (!l->initrd.size)
		return 0;
	error = loader_place_initrd(l, UINT32_MAX, kernel_end, &start);
	if (error)
		return error;
	module = loader_place_info(l, sizeof(*module), &at);
	if (!module || loader_place_string(l, l->initrd.name, &name))
		return -ENOMEM;
	module->start = start;
	module->end = start + l->initrd.size;
	module->string = name;
	info->mods_count = 1;
	info->mods_addr = at;
	return 0;
}

/* The amounts are those of the first two stretches of RAM. */
static void fill_amounts(const struct loader *l, struct multiboot_info *info)
{
	uint64_t upper = l->map[2].end - l->map[2].start;

	info->flags |= MULTIBOOT_INFO_MEMORY;
	info->mem_lower = l->map[0].end / KIB;
	info->mem_upper = upper / KIB;
}

static int place_map(struct loader *l, struct multiboot_info *info)
{
	uint64_t size = l->map_count * sizeof(struct multiboot_memory), at;
	struct multiboot_memory *memory = loader_place_info(l, size, &at);

	if (!memory)
		return -ENOMEM;
	for (unsigned i = 0; i < l->map_count; i++)
		memory[i] = (struct multiboot_memory){sizeof(*memory) - sizeof(memory->size),
			l->map[i].start, l->map[i].end - l->map[i].start, l->map[i].type};
	info->flags |= MULTIBOOT_INFO_MAP;
	info->mmap_length = size;
	info->mmap_addr = at;
	return 0;
}

static int place_strings(struct loader *l, struct multiboot_info *info)
{
	uint64_t cmdline, name;

	if (loader_place_string(l, l->cmdline, &cmdline) ||
		loader_place_string(l, LOADER_NAME, &name))
		return -ENOMEM;
	info->flags |= MULTIBOOT_INFO_CMDLINE | MULTIBOOT_INFO_LOADER;
	info->cmdline = cmdline;
	info->boot_loader_name = name;
	return 0;
}

int multiboot_load(struct loader *l)
{
	const uint32_t can = MULTIBOOT_PAGE_ALIGN | MULTIBOOT_MEMORY_INFO;
	struct multiboot_info *info;
	struct image image;
	int error;

	if (!find_header(&l->kernel, &image))
		return -ENOEXEC; /* cannot be: it was probed */
	if (image.header.flags & MULTIBOOT_DEMANDS & ~can)
		return loader_fail(l, -ENOEXEC,
			"%s: a Multiboot kernel that demands what this machine has not (flags "
			"%#x): a video mode, or a newer specification",
			l->kernel.name, image.header.flags & MULTIBOOT_DEMANDS & ~can);
	if (image.header.flags & MULTIBOOT_ADDRESSES)
		error = load_by_addresses(l, &image);
	else
		error = load_elf(l, &image);
	if (error)
		return error;
	info = loader_place_info(l, sizeof(*info), &l->result->state.rbx);
	if (!info)
		return -ENOMEM;
	fill_amounts(l, info);
	error = place_module(l, info, image.end);
	if (!error)
		error = place_map(l, info);
	if (!error)
		error = place_strings(l, info);
	if (error)
		return error;
	l->result->state.rax = MULTIBOOT_ENTRY_MAGIC;
	l->result->kind = BOOT_MULTIBOOT;
	return loader_enter_32(l, image.entry);
}
