/*
 * memory.h - guest pages by their numbers: which are memory, where they are in this process, and
 * views of them in an order of our choice.
 */
#ifndef PARTITA_VMBUS_MEMORY_H
#define PARTITA_VMBUS_MEMORY_H

#include <stdatomic.h>

#include "vmbus/vmbus.h"

/* Pieces of address space that all views together may consist of: the host has a limit too. */
#define MEMORY_MAX_PIECES 32768

struct memory {
	struct vmbus_memory range[VMBUS_MEMORY_MAX];
	unsigned count;
	_Atomic int pieces; /* mapped in views */
};

/* memory_at - the host address of @size bytes at @gpa, in one range, or NULL. */
uint8_t *memory_at(const struct memory *m, uint64_t gpa, uint64_t size);
/* memory_gpa - the reverse of memory_at(); false: it is not guest memory. */
bool memory_gpa(const struct memory *m, const void *host, uint64_t *gpa);
/* memory_page - the host address of a page by its number, or NULL. */
uint8_t *memory_page(const struct memory *m, uint64_t pfn);

/* A view: guest pages mapped in a row. */
struct memory_view {
	uint8_t *base;
	uint64_t size;
	int pieces;
};

/*
 * memory_view_create - map the @count pages @pfn in a row and then, once more, those from
 * @again_from on (@count: none). Returns 0, -EFAULT (not memory), -ENOMEM.
 */
int memory_view_create(struct memory *m, const uint64_t *pfn, unsigned count, unsigned again_from,
	struct memory_view *view);
void memory_view_destroy(struct memory *m, struct memory_view *view);

#endif
