/*
 * loader.c - see loader.h: files, guest memory, errors.
 */
#include "boot/loader.h"
#include "boot/elf_file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096ull

/* What a PC keeps below 1 MiB: from the extended BIOS data area on; and the vectors at 0. */
#define PC_HOLE_START (639 * KIB)
#define PC_HOLE_END   MIB
#define FIRST_USABLE  PAGE

#define READ_CHUNK (1ul << 20)

int loader_fail(struct loader *l, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(l->result->error, sizeof(l->result->error), format, args);
	va_end(args);
	return error;
}

static uint64_t memory_size(const struct boot_request *request)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < request->memory_count; i++)
		total += request->memory[i].size;
	return total;
}

int loader_no_room(struct loader *l, const char *name, const char *what, uint64_t need)
{
	return loader_fail(l, -ENOMEM,
		"%s: %s does not fit the machine's %llu MiB of memory; give it at least %llu MiB",
		name, what, (unsigned long long)(memory_size(l->request) / MIB),
		(unsigned long long)(need / MIB + (need % MIB != 0)));
}

static void add_map(struct loader *l, uint64_t start, uint64_t end, uint32_t type)
{
	if (start < end)
		l->map[l->map_count++] = (struct loader_map){start, end, type};
}

static int build_map(struct loader *l)
{
	const struct boot_request *request = l->request;
	uint64_t last = 0;

	if (!request->memory_count || request->memory_count > LOADER_MAX_MEMORY)
		return loader_fail(l, -EINVAL, "the machine has no memory");
	for (unsigned i = 0; i < request->memory_count; i++) {
		const struct boot_memory *m = &request->memory[i];
		uint64_t end = m->gpa + m->size;

		if (m->gpa % PAGE || m->size % PAGE || !m->size || end < m->gpa || m->gpa < last ||
			(i == 0 && (m->gpa || m->size <= PC_HOLE_END)))
			return loader_fail(
				l, -EINVAL, "the machine's memory is too small or not in order");
		if (i == 0) {
			add_map(l, 0, PC_HOLE_START, MAP_RAM);
			add_map(l, PC_HOLE_START, PC_HOLE_END, MAP_RESERVED);
			add_map(l, PC_HOLE_END, end, MAP_RAM);
		} else {
			add_map(l, m->gpa, end, MAP_RAM);
		}
		last = end;
	}
	return 0;
}

/* The host's address of [@start, @end), which lies within one entry of the map. */
static uint8_t *host_address(const struct loader *l, uint64_t start)
{
	const struct boot_memory *m = l->request->memory;

	while (start - m->gpa >= m->size)
		m++;
	return m->host + (start - m->gpa);
}

/* What is already taken of [@start, @end), or NULL. */
static const struct loader_range *overlap(const struct loader *l, uint64_t start, uint64_t end)
{
	for (unsigned i = 0; i < l->taken_count; i++)
		if (l->taken[i].start < end && start < l->taken[i].end)
			return &l->taken[i];
	return NULL;
}

static uint8_t *claim(struct loader *l, uint64_t start, uint64_t size)
{
	if (l->taken_count == LOADER_MAX_TAKEN)
		return NULL;
	l->taken[l->taken_count++] = (struct loader_range){start, start + size};
	return host_address(l, start);
}

uint8_t *loader_take(struct loader *l, uint64_t start, uint64_t size)
{
	for (unsigned i = 0; i < l->map_count; i++) {
		const struct loader_map *m = &l->map[i];

		if (m->type != MAP_RAM || start < m->start || start >= m->end ||
			size > m->end - start)
			continue;
		if (!size || start < FIRST_USABLE || overlap(l, start, start + size))
			return NULL;
		return claim(l, start, size);
	}
	return NULL;
}

/* Narrows [*@start, *@end) to what entry @i of the map and the caller's bounds allow. */
static bool bounds(const struct loader *l, unsigned i, uint64_t min, uint64_t max, uint64_t *start,
	uint64_t *end)
{
	const struct loader_map *m = &l->map[i];

	*start = m->start < FIRST_USABLE ? FIRST_USABLE : m->start;
	if (*start < min)
		*start = min;
	*end = m->end - 1 > max ? max + 1 : m->end;
	return m->type == MAP_RAM && *start < *end;
}

uint8_t *loader_place_low(struct loader *l, uint64_t size, uint64_t align, uint64_t min,
	uint64_t max, uint64_t *place)
{
	uint64_t start, end;

	for (unsigned i = 0; size && i < l->map_count; i++) {
		const struct loader_range *other;

		if (!bounds(l, i, min, max, &start, &end))
			continue;
		do {
			start = (start + align - 1) & ~(align - 1);
			if (start >= end || size > end - start)
				break;
			other = overlap(l, start, start + size);
			if (!other) {
				*place = start;
				return claim(l, start, size);
			}
			start = other->end;
		} while (start < end);
	}
	return NULL;
}

uint8_t *loader_place_high(struct loader *l, uint64_t size, uint64_t align, uint64_t min,
	uint64_t max, uint64_t *place)
{
	uint64_t start, end;

	for (unsigned i = l->map_count; size && i-- > 0;) {
		if (!bounds(l, i, min, max, &start, &end))
			continue;
		while (end > start && size <= end - start) {
			uint64_t at = (end - size) & ~(align - 1);
			const struct loader_range *other;

			if (at < start)
				break;
			other = overlap(l, at, at + size);
			if (!other) {
				*place = at;
				return claim(l, at, size);
			}
			end = other->start;
		}
	}
	return NULL;
}

void *loader_place_info(struct loader *l, uint64_t size, uint64_t *start)
{
	uint8_t *host = loader_place_low(l, size, PAGE, 0, UINT32_MAX, start);

	if (!host) {
		loader_fail(l, -ENOMEM,
			"%s: no room beside the kernel for its boot information; give the "
			"machine more memory",
			l->kernel.name);
		return NULL;
	}
	return memset(host, 0, size);
}

int loader_place_string(struct loader *l, const char *string, uint64_t *start)
{
	size_t size = strlen(string) + 1;
	void *host = loader_place_info(l, size, start);

	if (!host)
		return -ENOMEM;
	memcpy(host, string, size);
	return 0;
}

static uint64_t page_up(uint64_t bytes)
{
	return (bytes + PAGE - 1) & ~(PAGE - 1);
}

int loader_place_initrd(struct loader *l, uint64_t max, uint64_t kernel_end, uint64_t *start)
{
	/* Whole pages: the kernel frees them as such. */
	uint64_t size = page_up(l->initrd.size), need = page_up(kernel_end) + size;
	uint64_t low = max < UINT32_MAX ? max : UINT32_MAX;
	uint8_t *host = loader_place_high(l, size, PAGE, MIB, low, start);

	if (!host) /* kernels map what lies above 4 GiB later */
		host = loader_place_high(l, size, PAGE, 4 * GIB, max, start);
	if (!host && need - 1 > max)
		return loader_fail(l, -ENOMEM,
			"%s: the initrd does not fit below %llu MiB, which is as far as the "
			"kernel can reach; make it smaller",
			l->initrd.name, (unsigned long long)((max + 1) / MIB));
	if (!host)
		return loader_no_room(l, l->initrd.name, "the initrd", need);
	memcpy(host, l->initrd.data, l->initrd.size);
	return 0;
}

/* Reads at most @limit bytes. Returns how many came, or a negative errno. */
static ssize_t read_some(int fd, uint8_t *to, size_t limit, off_t offset, bool *seekable)
{
	for (;;) {
		ssize_t n = *seekable ? pread(fd, to, limit, offset) : read(fd, to, limit);

		if (n >= 0)
			return n;
		if (errno == ESPIPE && *seekable)
			*seekable = false;
		else if (errno != EINTR)
			return -errno;
	}
}

/*
 * Reads a file to its end, or until it is larger than all of the guest's memory; of an ELF file
 * only what is loaded, and not the symbols for debuggers, which may be larger.
 */
static int read_file(struct loader *l, const struct boot_file *from, struct loader_file *file)
{
	uint64_t limit = memory_size(l->request);
	size_t room = 0;
	bool seekable = true;

	file->name = from->name;
	while (file->size < elf_needed(file)) {
		ssize_t n;

		if (file->size == room) {
			uint8_t *bigger;

			room = room ? room + room / 2 : READ_CHUNK;
			bigger = realloc(file->data, room);
			if (!bigger)
				return loader_fail(l, -ENOMEM,
					"%s: the host is short of memory to read it", file->name);
			file->data = bigger;
		}
		n = read_some(from->fd, file->data + file->size, room - file->size, file->size,
			&seekable);
		if (n < 0)
			return loader_fail(
				l, n, "%s: cannot be read: %s", file->name, strerror(-n));
		if (n == 0)
			return 0;
		file->size += n;
		if (file->size > limit)
			return loader_fail(l, -ENOMEM,
				"%s: larger than the machine's %llu MiB of memory; give it more",
				file->name, (unsigned long long)(limit / MIB));
	}
	return 0;
}

static int read_files(struct loader *l)
{
	int error = read_file(l, &l->request->kernel, &l->kernel);

	if (error)
		return error;
	if (!l->kernel.size)
		return loader_fail(l, -ENOEXEC, "%s: the file is empty", l->kernel.name);
	if (l->request->initrd.fd < 0)
		return 0;
	error = read_file(l, &l->request->initrd, &l->initrd);
	if (error)
		return error;
	if (!l->initrd.size)
		return loader_fail(l, -EINVAL, "%s: the initrd is empty", l->initrd.name);
	return 0;
}

static int load(struct loader *l)
{
	static const struct {
		bool (*probe)(const struct loader *l);
		int (*load)(struct loader *l);
	} loaders[] = {
		{linux_probe, linux_load},
		{pvh_probe, pvh_load},
		{multiboot_probe, multiboot_load},
	};
	int error = build_map(l);

	if (!error)
		error = read_files(l);
	if (error)
		return error;
	for (unsigned i = 0; i < sizeof(loaders) / sizeof(loaders[0]); i++)
		if (loaders[i].probe(l))
			return loaders[i].load(l);
	if (elf_probe(&l->kernel))
		return loader_fail(l, -ENOEXEC,
			"%s: an ELF file with neither a PVH note nor a Multiboot 1 header, or "
			"truncated",
			l->kernel.name);
	return loader_fail(l, -ENOEXEC,
		"%s: not a kernel I know (Linux bzImage, ELF with PVH note, Multiboot 1)",
		l->kernel.name);
}

int boot_load(const struct boot_request *request, struct boot_result *result)
{
	struct loader loader = {
		.request = request,
		.result = result,
		.cmdline = request->cmdline ? request->cmdline : "",
	};
	int error;

	memset(result, 0, sizeof(*result));
	error = load(&loader);
	free(loader.kernel.data);
	free(loader.initrd.data);
	return error;
}
