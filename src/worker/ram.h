/*
 * ram.h - the machine's memory: host pages, and where the guest sees them.
 */
#ifndef PARTITA_WORKER_RAM_H
#define PARTITA_WORKER_RAM_H

#include <stddef.h>
#include <stdint.h>

#include <WinHvPlatform.h>

#include "boot/boot.h"

/* Up to here RAM lies below 4 GiB; the rest begins at 4 GiB, after the hole for devices. */
#define RAM_LOW_MAX   0xc0000000ull
#define RAM_HIGH_BASE 0x100000000ull

struct ram {
	uint8_t *host; /* size bytes between two inaccessible pages */
	uint64_t size;
	int fd; /* whose bytes they are, from the first on; cannot change its size */
	struct boot_memory range[2]; /* as the guest sees it */
	unsigned ranges;
};

/* ram_create - reserve @size bytes, all zero. Returns 0 or a negative errno. */
int ram_create(struct ram *ram, uint64_t size);
void ram_destroy(struct ram *ram);

/* ram_map, ram_unmap - show it to a partition, or hide it. */
HRESULT ram_map(const struct ram *ram, WHV_PARTITION_HANDLE partition);
HRESULT ram_unmap(const struct ram *ram, WHV_PARTITION_HANDLE partition);

/* ram_clear - make it zero again, and give its pages back. It must not be mapped. */
void ram_clear(const struct ram *ram);

/* ram_at - the host address of @size bytes of RAM at @gpa, or NULL. */
uint8_t *ram_at(const struct ram *ram, uint64_t gpa, uint64_t size);

#endif
