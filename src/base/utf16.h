/*
 * utf16.h - UTF-16, which Hyper-V's files, protocols and functions speak, from and to UTF-8.
 *
 * Unpaired surrogates and bytes that are not UTF-8 become U+FFFD: names from elsewhere are data,
 * and never a reason to fail.
 */
#ifndef PARTITA_BASE_UTF16_H
#define PARTITA_BASE_UTF16_H

#include <stddef.h>
#include <stdint.h>

/*
 * utf16_to_utf8 - @n units in the host's (little-endian) order, up to the first 0; @from need not
 * be aligned. Returns what the caller frees, NULL when memory is short.
 */
char *utf16_to_utf8(const void *from, size_t n);
/*
 * utf16_from_utf8 - returns a terminated string that the caller frees, NULL when memory is short;
 * *@n (may be NULL) its units without the terminator.
 */
uint16_t *utf16_from_utf8(const char *from, size_t *n);
/* utf16_length - units up to the terminator. */
size_t utf16_length(const uint16_t *s);

#endif
