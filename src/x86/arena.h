/*
 * arena.h - memory for code that is made while running, mapped twice: writable for who makes it,
 * executable for everybody. No page is ever both at one address.
 */
#ifndef PARTITA_X86_ARENA_H
#define PARTITA_X86_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct x86_arena {
	uint8_t *write;
	const uint8_t *exec; /* the same bytes */
	size_t size;
};

/*
 * x86_arena_create - @size bytes, page-aligned; pages are taken when they are written. @name is for
 * /proc/PID/maps. Returns 0 or a negative errno: no memory, or none that may be executed.
 */
int x86_arena_create(struct x86_arena *a, size_t size, const char *name);
/* Also of one that was never created, if it is all zeros. */
void x86_arena_destroy(struct x86_arena *a);

#endif
