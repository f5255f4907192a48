/*
 * memory.h - the guest physical address space: which host memory lies where.
 *
 * The map is an array sorted by address, changed under a write lock and read under a read lock;
 * map_lock keeps those apart who change it. The engine is told of a change while only map_lock is
 * held: it may have to wait for a processor that is waiting to read the map.
 * Guest-supplied addresses are checked here: every accessor takes a GPA and a length and fails
 * when any byte of it is not mapped with the right asked for.
 */
#ifndef PARTITA_HYPERVISOR_MEMORY_H
#define PARTITA_HYPERVISOR_MEMORY_H

#include "hypervisor/engine.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct memory_range {
	uint64_t gpa, size;
	uint8_t *host;
	unsigned flags; /* X86_MAP_* */
};

struct memory {
	pthread_mutex_t map_lock;
	pthread_rwlock_t lock;
	struct memory_range *ranges;
	unsigned count, room;
	const struct engine *engine;
	void *machine;
};

int memory_init(struct memory *m);
void memory_free(struct memory *m);

/* All of @gpa, @size and @host are page-aligned. Returns 0, -EINVAL, -ENOMEM. */
int memory_map(struct memory *m, uint64_t gpa, void *host, uint64_t size, unsigned flags);
/* -ENOENT when a page of the range is not mapped. */
int memory_unmap(struct memory *m, uint64_t gpa, uint64_t size);

/* Copy; -EFAULT when part of the range is not mapped for that. They may cross ranges. */
int memory_read(struct memory *m, uint64_t gpa, void *data, size_t size);
int memory_write(struct memory *m, uint64_t gpa, const void *data, size_t size);
int memory_zero(struct memory *m, uint64_t gpa, size_t size);

/* Somebody else wrote there, through host memory. -EFAULT when part of the range is not mapped. */
int memory_written(struct memory *m, uint64_t gpa, uint64_t size);
/* Is all of the range mapped? */
bool memory_mapped(struct memory *m, uint64_t gpa, uint64_t size);

/* The rights at @gpa (X86_MAP_*), or -EFAULT when nothing is mapped there. */
int memory_rights(struct memory *m, uint64_t gpa);

/*
 * memory_lock_page - the host address of the writable page at @gpa, which stays mapped until
 * memory_unlock(). NULL (and no lock held) when there is none.
 */
void *memory_lock_page(struct memory *m, uint64_t gpa);
void memory_unlock(struct memory *m);

uint64_t memory_pages(struct memory *m);

#endif
