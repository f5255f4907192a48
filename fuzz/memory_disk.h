/*
 * memory_disk.h - raw disks in memory, for fuzzers: nothing on a file system beside them, so that
 * no tracking file and no parent is found.
 */
#ifndef PARTITA_FUZZ_MEMORY_DISK_H
#define PARTITA_FUZZ_MEMORY_DISK_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "disk/disk.h"

/* memory_file - zeros. The descriptor. */
static inline int memory_file(uint64_t bytes)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, bytes))
		abort();
	return fd;
}

/* memory_disk - the file as a disk, opened anew with these flags. */
static inline struct disk *memory_disk(struct disk_engine *e, int fd, unsigned flags)
{
	const struct disk_open_options options = {.flags = flags, .format = DISK_FORMAT_RAW};
	struct disk_problem problem = {0};
	struct disk *d;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (e && disk_open(e, path, &options, &d, &problem) == 0)
		return d;
	fprintf(stderr, "%s\n", problem.text);
	abort();
}

#endif
