/*
 * elf_file.h - reads ELF files of both sizes, for the loaders that take them. Tool Interface
 * Standard ELF 1.2 and the 64-bit object file format; constants from <elf.h>.
 */
#ifndef PARTITA_BOOT_ELF_FILE_H
#define PARTITA_BOOT_ELF_FILE_H

#include "boot/loader.h"

#define ELF_MAX_SEGMENTS 128

struct elf_file {
	const struct loader_file *file;
	bool is_64;
	uint64_t entry;
	uint64_t segments_at; /* offset of the program headers, all of which are in the file */
	unsigned segment_size, segments;
};

struct elf_segment {
	uint32_t type;
	uint64_t offset, vaddr, paddr, file_size, memory_size, align;
};

/* elf_probe - whether this is an ELF file of any kind. */
bool elf_probe(const struct loader_file *file);
/*
 * elf_needed - how many bytes, from its start, of a file of which so much is read could matter to
 * a loader. Anything but ELF: all of them, UINT64_MAX.
 */
uint64_t elf_needed(const struct loader_file *file);
/* elf_open - whether this is an x86 executable whose program headers can be read. */
bool elf_open(const struct loader_file *file, struct elf_file *elf);
/* elf_segment - program header @i, below elf->segments. Nothing in it is checked. */
struct elf_segment elf_segment(const struct elf_file *elf, unsigned i);
/* elf_load - its PT_LOAD segments to their physical addresses. 0 with *@end, or an error. */
int elf_load(struct loader *l, const struct elf_file *elf, uint64_t *end);

#endif
