/*
 * bytes.h - questions about runs of bytes.
 */
#ifndef PARTITA_BASE_BYTES_H
#define PARTITA_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* bytes_are_zero - whether all @n bytes are. The first one is, and each is as the one before it. */
static inline bool bytes_are_zero(const void *bytes, size_t n)
{
	const char *p = bytes;

	return !n || (!p[0] && memcmp(p, p + 1, n - 1) == 0);
}

#endif
