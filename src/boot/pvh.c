/*
 * pvh.c - loads an ELF kernel with a PVH note and enters it in 32-bit protected mode with EBX at
 * its start info (pvh_protocol.h). The first module is the initrd.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "boot/elf_file.h"
#include "boot/loader.h"
#include "boot/pvh_protocol.h"

static uint64_t align_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

/* Searches [@p, @end), a segment of notes, for the entry. */
static bool find_note(const uint8_t *p, const uint8_t *end, uint64_t align, uint64_t *entry)
{
	Elf64_Nhdr note; /* the 32-bit one is the same */

	while ((size_t)(end - p) > sizeof(note)) {
		uint64_t room = end - p, name = sizeof(note), desc, next;

		memcpy(&note, p, sizeof(note));
		desc = align_up(name + note.n_namesz, align);
		next = align_up(desc + note.n_descsz, align);
		if (desc + note.n_descsz > room)
			return false;
		if (note.n_type == PVH_NOTE_ENTRY && note.n_namesz == sizeof(PVH_NOTE_NAME) &&
			!memcmp(p + name, PVH_NOTE_NAME, sizeof(PVH_NOTE_NAME)) &&
			(note.n_descsz == 4 || note.n_descsz == 8)) {
			*entry = 0;
			memcpy(entry, p + desc, note.n_descsz);
			return *entry <= UINT32_MAX;
		}
		if (next >= room)
			return false;
		p += next;
	}
	return false;
}

static bool find_entry(const struct elf_file *elf, uint64_t *entry)
{
	const struct loader_file *file = elf->file;

	for (unsigned i = 0; i < elf->segments; i++) {
		struct elf_segment s = elf_segment(elf, i);

		if (s.type != PT_NOTE || s.offset > file->size ||
			s.file_size > file->size - s.offset)
			continue;
		if (find_note(file->data + s.offset, file->data + s.offset + s.file_size,
			    s.align == 8 ? 8 : 4, entry))
			return true;
	}
	return false;
}

bool pvh_probe(const struct loader *l)
{
	struct elf_file elf;
	uint64_t entry;

	return elf_open(&l->kernel, &elf) && find_entry(&elf, &entry);
}

static int place_module(struct loader *l, struct pvh_start_info *info, uint64_t kernel_end)
{
	struct pvh_module *module;
	uint64_t start;
	int error;

	if (!l->initrd.size)
		return 0;
	error = loader_place_initrd(l, UINT32_MAX, kernel_end, &start);
	if (error)
		return error;
	module = loader_place_info(l, sizeof(*module), &info->module_list);
	if (!module)
		return -ENOMEM;
	module->start = start;
	module->size = l->initrd.size;
	info->modules = 1;
	return 0;
}

static int place_map(struct loader *l, struct pvh_start_info *info)
{
	struct pvh_memory *memory =
		loader_place_info(l, l->map_count * sizeof(*memory), &info->memory_map);

	if (!memory)
		return -ENOMEM;
	for (unsigned i = 0; i < l->map_count; i++)
		memory[i] = (struct pvh_memory){
			l->map[i].start, l->map[i].end - l->map[i].start, l->map[i].type, 0};
	info->memory_map_entries = l->map_count;
	return 0;
}

int pvh_load(struct loader *l)
{
	struct pvh_start_info *info;
	struct elf_file elf;
	uint64_t entry, end;
	int error;

	if (!elf_open(&l->kernel, &elf) || !find_entry(&elf, &entry))
		return -ENOEXEC; /* cannot be: it was probed */
	error = elf_load(l, &elf, &end);
	if (error)
		return error;
	info = loader_place_info(l, sizeof(*info), &l->result->state.rbx);
	if (!info)
		return -ENOMEM;
	info->magic = PVH_MAGIC;
	info->version = PVH_VERSION;
	info->rsdp = l->request->rsdp;
	error = place_module(l, info, end);
	if (!error)
		error = place_map(l, info);
	if (!error)
		error = loader_place_string(l, l->cmdline, &info->cmdline);
	if (error)
		return error;
	l->result->kind = BOOT_PVH;
	return loader_enter_32(l, entry);
}
