/*
 * elf_file.c - see elf_file.h.
 */
#include "boot/elf_file.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

bool elf_probe(const struct loader_file *file)
{
	return file->size >= EI_NIDENT && !memcmp(file->data, ELFMAG, SELFMAG);
}

/* Whether [@offset, @offset + @size) is in the file. */
static bool within(const struct loader_file *file, uint64_t offset, uint64_t size)
{
	return offset <= file->size && size <= file->size - offset;
}

static bool open_32(struct elf_file *elf)
{
	Elf32_Ehdr h;

	if (elf->file->size < sizeof(h))
		return false;
	memcpy(&h, elf->file->data, sizeof(h));
	elf->entry = h.e_entry;
	elf->segments_at = h.e_phoff;
	elf->segment_size = h.e_phentsize;
	elf->segments = h.e_phnum;
	return h.e_machine == EM_386 && (h.e_type == ET_EXEC || h.e_type == ET_DYN) &&
	       h.e_phentsize >= sizeof(Elf32_Phdr);
}

static bool open_64(struct elf_file *elf)
{
	Elf64_Ehdr h;

	if (elf->file->size < sizeof(h))
		return false;
	memcpy(&h, elf->file->data, sizeof(h));
	elf->entry = h.e_entry;
	elf->segments_at = h.e_phoff;
	elf->segment_size = h.e_phentsize;
	elf->segments = h.e_phnum;
	return h.e_machine == EM_X86_64 && (h.e_type == ET_EXEC || h.e_type == ET_DYN) &&
	       h.e_phentsize >= sizeof(Elf64_Phdr);
}

bool elf_open(const struct loader_file *file, struct elf_file *elf)
{
	uint8_t class;

	if (!elf_probe(file) || file->data[EI_DATA] != ELFDATA2LSB)
		return false;
	class = file->data[EI_CLASS];
	*elf = (struct elf_file){.file = file, .is_64 = class == ELFCLASS64};
	if (class != ELFCLASS32 && class != ELFCLASS64)
		return false;
	if (!(elf->is_64 ? open_64(elf) : open_32(elf)))
		return false;
	return elf->segments && elf->segments <= ELF_MAX_SEGMENTS &&
	       within(file, elf->segments_at, (uint64_t)elf->segments * elf->segment_size);
}

struct elf_segment elf_segment(const struct elf_file *elf, unsigned i)
{
	const uint8_t *at = elf->file->data + elf->segments_at + (uint64_t)i * elf->segment_size;

	if (elf->is_64) {
		Elf64_Phdr h;

		memcpy(&h, at, sizeof(h));
		return (struct elf_segment){h.p_type, h.p_offset, h.p_vaddr, h.p_paddr, h.p_filesz,
			h.p_memsz, h.p_align};
	} else {
		Elf32_Phdr h;

		memcpy(&h, at, sizeof(h));
		return (struct elf_segment){h.p_type, h.p_offset, h.p_vaddr, h.p_paddr, h.p_filesz,
			h.p_memsz, h.p_align};
	}
}

uint64_t elf_needed(const struct loader_file *file)
{
	struct elf_file elf;
	uint64_t needed = 0;

	if (!elf_open(file, &elf))
		return UINT64_MAX;
	for (unsigned i = 0; i < elf.segments; i++) {
		struct elf_segment s = elf_segment(&elf, i);
		uint64_t end = s.offset + s.file_size;

		if (s.type != PT_LOAD && s.type != PT_NOTE)
			continue;
		if (end < s.offset)
			return UINT64_MAX;
		if (end > needed)
			needed = end;
	}
	return needed;
}

static int load_segment(struct loader *l, const struct elf_file *elf, const struct elf_segment *s)
{
	uint8_t *host;

	if (s->file_size > s->memory_size || s->paddr + s->memory_size < s->paddr ||
		!within(elf->file, s->offset, s->file_size))
		return loader_fail(l, -ENOEXEC,
			"%s: an ELF kernel, but broken or truncated; fetch or build it again",
			elf->file->name);
	host = loader_take(l, s->paddr, s->memory_size);
	if (!host)
		return loader_fail(l, -ENOMEM,
			"%s: the kernel wants %llu KiB of memory at %#llx, where the machine has "
			"no free memory; give it more, or link the kernel elsewhere",
			elf->file->name, (unsigned long long)(s->memory_size + KIB - 1) / KIB,
			(unsigned long long)s->paddr);
	memcpy(host, elf->file->data + s->offset, s->file_size);
	memset(host + s->file_size, 0, s->memory_size - s->file_size);
	return 0;
}

int elf_load(struct loader *l, const struct elf_file *elf, uint64_t *end)
{
	*end = 0;
	for (unsigned i = 0; i < elf->segments; i++) {
		struct elf_segment s = elf_segment(elf, i);
		int error;

		if (s.type != PT_LOAD || !s.memory_size)
			continue;
		error = load_segment(l, elf, &s);
		if (error)
			return error;
		if (s.paddr + s.memory_size > *end)
			*end = s.paddr + s.memory_size;
	}
	if (!*end)
		return loader_fail(
			l, -ENOEXEC, "%s: an ELF file with nothing to load", elf->file->name);
	return 0;
}
