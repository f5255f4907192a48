/*
 * vhd.c - a hostile VHD: opened read-only and for writing, with itself as its parent when it asks
 * for one, read all over, written, checked, repaired, compacted, resized, closed.
 *
 * Promises that are tested: no crash, nothing read or written outside the file (by the sanitizers
 * and the file's own length), and nothing written to a file that was opened read-only.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <endian.h>

#include "disk/vhd.h"

#define FILE_MOST (64u << 20) /* bytes to which the file may grow */

static struct disk_engine *engine;

static int open_file(void *ctx, const char *path, int flags)
{
	const int *fd = ctx;
	char name[64];
	int opened;

	if (strcmp(path, "fuzz.vhd") != 0 && !strstr(path, "self"))
		return -ENOENT;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", *fd);
	opened = open(name, flags);
	return opened < 0 ? -errno : opened;
}

static void read_all_over(struct disk *d)
{
	uint64_t size = disk_size(d), step = size / 64 / 512 * 512 + 512;
	static uint8_t bytes[8192];
	enum disk_where where;

	for (uint64_t at = 0; at < size; at += step) {
		uint64_t n = size - at < sizeof(bytes) ? size - at : sizeof(bytes);

		disk_read(d, bytes, n, at);
		disk_extent(d, at, size, 0, &where);
	}
}

static void write_some(struct disk *d)
{
	uint64_t size = disk_size(d);
	static uint8_t bytes[4096];

	for (unsigned i = 0; i < 3; i++) {
		uint64_t at = size / 3 * i / 512 * 512;
		uint64_t n = size - at < sizeof(bytes) ? size - at : sizeof(bytes);

		disk_write(d, bytes, n, at);
		disk_unmap(d, at, n / 1024 * 512);
		disk_zero(d, at, n / 2048 * 512);
	}
	disk_unmap(d, 0, size < (1u << 20) ? size : 1u << 20);
	disk_flush(d);
}

static void change(struct disk *d, uint32_t what)
{
	struct disk_problem problem = {0};

	if (what & 1)
		disk_compact(d, what >> 1 & DISK_COMPACT_ALL, NULL, &problem);
	if (what & 4)
		disk_resize(d, disk_size(d) / 1024 * 512 + 512, what & 8, &problem);
	if ((what & 16) && disk_size(d) < (64u << 20))
		disk_resize(d, disk_size(d) + 512 * (what >> 8 & 0xffff), what & 8, &problem);
}

static void look(struct disk *d)
{
	struct disk_check check = {0};
	struct disk_info info;
	char *path;

	disk_info(d, &info);
	for (unsigned i = DISK_LOCATOR_RELATIVE; i <= DISK_LOCATOR_VOLUME; i++)
		if (disk_parent_locator(d, i, &path) == 0)
			free(path);
	disk_check(d, &check, NULL);
	read_all_over(d);
}

/* Footers and header get the checksum that they should have: no fuzzer finds that. */
static void seal(uint8_t *bytes, size_t n)
{
	struct vhd_footer *first = (struct vhd_footer *)bytes;
	struct vhd_footer *last = (struct vhd_footer *)(bytes + n - sizeof(*last));
	struct vhd_header *header;

	vhd_footer_seal(last);
	vhd_footer_seal(first);
	if (n < sizeof(*header) || be64toh(last->data_offset) > n - sizeof(*header))
		return;
	header = (struct vhd_header *)(bytes + be64toh(last->data_offset));
	vhd_header_seal(header);
}

static void with_flags(int fd, unsigned flags, uint32_t what)
{
	struct disk_open_options options = {
		.flags = flags | DISK_OPEN_SHARED,
		.format = DISK_FORMAT_VHD,
		.cache = 1u << 20,
		.open_file = open_file,
		.ctx = &fd,
	};
	struct disk_problem problem = {0};
	struct disk *d;
	int err = disk_open(engine, "fuzz.vhd", &options, &d, &problem);

	if (err)
		return;
	look(d);
	if (flags & DISK_OPEN_DAMAGED) {
		struct disk_check check = {.repair = true};

		disk_check(d, &check, NULL);
	}
	if (flags & DISK_OPEN_WRITE) {
		write_some(d);
		change(d, what);
		read_all_over(d);
	}
	disk_close(d);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	engine = disk_engine_create(&(struct disk_engine_options){.no_uring = true, .threads = 1});
	return engine ? 0 : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t what;
	uint8_t *bytes, *after;
	int fd;

	if (size < sizeof(what) + sizeof(struct vhd_footer) || size > FILE_MOST)
		return 0;
	memcpy(&what, data, sizeof(what));
	size -= sizeof(what);
	bytes = malloc(size);
	after = malloc(size);
	memcpy(bytes, data + sizeof(what), size);
	if (!(what & 1u << 30))
		seal(bytes, size);
	fd = memfd_create("fuzz.vhd", MFD_CLOEXEC);
	if (write(fd, bytes, size) == (ssize_t)size) {
		with_flags(fd, 0, what);
		with_flags(fd, DISK_OPEN_NO_PARENTS | DISK_OPEN_DAMAGED, what);
		assert(lseek(fd, 0, SEEK_END) == (off_t)size);
		assert(pread(fd, after, size, 0) == (ssize_t)size);
		assert(memcmp(bytes, after, size) == 0);
		if (what & 1u << 31)
			with_flags(fd, DISK_OPEN_WRITE | DISK_OPEN_NO_PARENTS | DISK_OPEN_DAMAGED,
				what);
		else
			with_flags(fd, DISK_OPEN_WRITE, what);
	}
	close(fd);
	free(after);
	free(bytes);
	return 0;
}
