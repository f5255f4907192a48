/*
 * ram.c - see ram.h.
 *
 * The pages are anonymous and private: the worker alone has them, huge pages serve them well, and
 * the host gives none before the guest touches it.
 */
#include "worker/ram.h"

#include <errno.h>
#include <sys/mman.h>

#define GUARD 4096u

int ram_create(struct ram *ram, uint64_t size)
{
	uint64_t low = size < RAM_LOW_MAX ? size : RAM_LOW_MAX;
	uint8_t *area = mmap(NULL, size + 2 * GUARD, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED)
		return -errno;
	if (mprotect(area + GUARD, size, PROT_READ | PROT_WRITE) < 0) {
		int err = -errno;

		munmap(area, size + 2 * GUARD);
		return err;
	}
	/* Fewer faults and fewer host TLB misses; where the host has no huge pages, so be it. */
	madvise(area + GUARD, size, MADV_HUGEPAGE);
	madvise(area + GUARD, size, MADV_DONTDUMP);

	ram->host = area + GUARD;
	ram->size = size;
	ram->range[0] = (struct boot_memory){.gpa = 0, .size = low, .host = ram->host};
	ram->range[1] = (struct boot_memory){
		.gpa = RAM_HIGH_BASE, .size = size - low, .host = ram->host + low};
	ram->ranges = size > low ? 2 : 1;
	return 0;
}

void ram_destroy(struct ram *ram)
{
	if (ram->host)
		munmap(ram->host - GUARD, ram->size + 2 * GUARD);
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
	madvise(ram->host, ram->size, MADV_DONTNEED);
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
