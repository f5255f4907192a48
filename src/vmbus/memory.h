/*
 * memory.h - guest pages by their numbers: which are memory, where they are in this process, and
 * views of them in an order of our choice.
 */
#ifndef PARTITA_VMBUS_MEMORY_H
#define PARTITA_VMBUS_MEMORY_H

#include <pthread.h>
#include <stdatomic.h>

#include "vmbus/vmbus.h"

/* Pieces of address space that all views together may consist of: the host has a limit too. */
#define MEMORY_MAX_PIECES 32768

/* A view: guest pages mapped in a row. */
struct memory_view {
	uint8_t *base;
	uint64_t size;
	int pieces;
};

/*
 * Guests use the same few blocks of pages for the rings of one connection after the other, and it
 * takes longer to map them than to find out that they are mapped still. So views of rings are kept
 * for a while, unless they are much larger than a socket's.
 */
#define MEMORY_KEPT	   32u
#define MEMORY_KEPT_PAGES  128u
#define MEMORY_KEPT_PIECES 8 /* so that all of them are little of MEMORY_MAX_PIECES */

struct memory_kept {
	struct memory_view view; /* base NULL: none */
	unsigned count;
	uint64_t pfn[MEMORY_KEPT_PAGES];
};

struct memory {
	struct vmbus_memory range[VMBUS_MEMORY_MAX];
	unsigned count;
	_Atomic int pieces;   /* mapped in views */
	pthread_mutex_t lock; /* guards what follows */
	struct memory_kept kept[MEMORY_KEPT];
	unsigned next_kept; /* the place to be used next when all are */
};

/* memory_open - @ranges stay the caller's. */
void memory_open(struct memory *m, const struct vmbus_memory *ranges, unsigned count);
/* memory_close - all views but kept ones are destroyed. */
void memory_close(struct memory *m);

/* memory_at - the host address of @size bytes at @gpa, in one range, or NULL. */
uint8_t *memory_at(const struct memory *m, uint64_t gpa, uint64_t size);
/* memory_gpa - the reverse of memory_at(); false: it is not guest memory. */
bool memory_gpa(const struct memory *m, const void *host, uint64_t *gpa);
/* memory_page - the host address of a page by its number, or NULL. */
uint8_t *memory_page(const struct memory *m, uint64_t pfn);

/*
 * memory_view_create - map the @count pages @pfn in a row and then, once more, those from
 * @again_from on (@count: none). Returns 0, -EFAULT (not memory), -ENOMEM.
 */
int memory_view_create(struct memory *m, const uint64_t *pfn, unsigned count, unsigned again_from,
	struct memory_view *view);
void memory_view_destroy(struct memory *m, struct memory_view *view);
/*
 * memory_ring_map - a view of a ring's pages, in which all but the first come twice; a kept one, or
 * as above.
 */
int memory_ring_map(
	struct memory *m, const uint64_t *pfn, unsigned count, struct memory_view *view);
/* memory_ring_unmap - with the same pages; the view may be kept. None (base NULL) is fine. */
void memory_ring_unmap(
	struct memory *m, const uint64_t *pfn, unsigned count, struct memory_view *view);

#endif
