/*
 * ram.c - see ram.h.
 *
 * The pages are those of a memfd, so that parts of them can be mapped a second time, in another
 * order (the rings of VMBus are). The host gives none before the guest touches it. The file cannot
 * change its size: an access to what is mapped always finds a page.
 */
#include "worker/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUARD 4096u

/* Returns the descriptor of a file of @size zeros, or a negative errno. */
static int create_file(uint64_t size)
{
	int fd = memfd_create("guest memory", MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) == 0 &&
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* The file's pages between two inaccessible ones. Returns 0 or a negative errno. */
static int map_file(struct ram *ram)
{
	uint8_t *area = mmap(NULL, ram->size + 2 * GUARD, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED)
		return -errno;
	if (mmap(area + GUARD, ram->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ram->fd,
		    0) == MAP_FAILED) {
		int err = -errno;

		munmap(area, ram->size + 2 * GUARD);
		return err;
	}
	ram->host = area + GUARD;
	return 0;
}

int ram_create(struct ram *ram, uint64_t size)
{
	uint64_t low = size < RAM_LOW_MAX ? size : RAM_LOW_MAX;
	int err;

	ram->size = size;
	ram->fd = create_file(size);
	if (ram->fd < 0)
		return ram->fd;
	err = map_file(ram);
	if (err) {
		close(ram->fd);
		return err;
	}
	/* Fewer faults and fewer host TLB misses; where the host has no huge pages, so be it. */
	madvise(ram->host, size, MADV_HUGEPAGE);
	madvise(ram->host, size, MADV_DONTDUMP);
	ram->range[0] = (struct boot_memory){.gpa = 0, .size = low, .host = ram->host};
	ram->range[1] = (struct boot_memory){
		.gpa = RAM_HIGH_BASE, .size = size - low, .host = ram->host + low};
	ram->ranges = size > low ? 2 : 1;
	return 0;
}

void ram_destroy(struct ram *ram)
{
	if (!ram->host)
		return;
	munmap(ram->host - GUARD, ram->size + 2 * GUARD);
	close(ram->fd);
	ram->host = NULL;
}

HRESULT ram_map(const struct ram *ram, WHV_PARTITION_HANDLE partition)
{
	HRESULT hr = S_OK;

	for (unsigned i = 0; i < ram->ranges && SUCCEEDED(hr); i++)
		hr = WHvMapGpaRange(partition, ram->range[i].host, ram->range[i].gpa,
			ram->range[i].size,
			WHvMapGpaRangeFlagRead | WHvMapGpaRangeFlagWrite |
				WHvMapGpaRangeFlagExecute);
	return hr;
}

HRESULT ram_unmap(const struct ram *ram, WHV_PARTITION_HANDLE partition)
{
	HRESULT hr = S_OK;

	for (unsigned i = 0; i < ram->ranges && SUCCEEDED(hr); i++)
		hr = WHvUnmapGpaRange(partition, ram->range[i].gpa, ram->range[i].size);
	return hr;
}

void ram_clear(const struct ram *ram)
{
	madvise(ram->host, ram->size, MADV_REMOVE);
}

uint8_t *ram_at(const struct ram *ram, uint64_t gpa, uint64_t size)
{
	for (unsigned i = 0; i < ram->ranges; i++) {
		const struct boot_memory *r = &ram->range[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size && size <= r->size - (gpa - r->gpa))
			return r->host + (gpa - r->gpa);
	}
	return NULL;
}
