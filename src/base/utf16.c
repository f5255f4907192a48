/*
 * utf16.c - UTF-16 from and to UTF-8 (Unicode 15, 3.9).
 */
#include "base/utf16.h"

#include <stdlib.h>
#include <string.h>

#define REPLACEMENT 0xfffdu

static char *put_utf8(char *to, uint32_t c)
{
	if (c < 0x80) {
		*to++ = (char)c;
	} else if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*to++ = (char)(0xe0 | c >> 12);
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	} else {
		*to++ = (char)(0xf0 | c >> 18);
		*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	}
	return to;
}

char *utf16_to_utf8(const void *from, size_t n)
{
	const uint8_t *units = from;
	char *text = malloc(n * 3 + 1), *to = text;

	if (!text)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		uint16_t u, low;
		uint32_t c;

		memcpy(&u, units + 2 * i, 2);
		if (!u)
			break;
		c = u;
		if (u >= 0xd800 && u < 0xe000) {
			c = REPLACEMENT;
			if (u < 0xdc00 && i + 1 < n) {
				memcpy(&low, units + 2 * i + 2, 2);
				if (low >= 0xdc00 && low < 0xe000) {
					c = 0x10000 + ((u - 0xd800u) << 10) + (low - 0xdc00u);
					i++;
				}
			}
		}
		to = put_utf8(to, c);
	}
	*to = 0;
	return text;
}

/* The next character of @s, at least one byte of which is there; advances *@s past what it took. */
static uint32_t take_utf8(const char **s)
{
	static const uint32_t least[4] = {0, 0x80, 0x800, 0x10000};
	const uint8_t *b = (const uint8_t *)*s;
	unsigned more = b[0] < 0x80 ? 0 : b[0] < 0xc2 ? 4 : b[0] < 0xe0 ? 1 : b[0] < 0xf0 ? 2 : 3;
	uint32_t c = b[0] & (more ? 0x3f >> more : 0x7f);

	(*s)++;
	if (more == 4 || b[0] > 0xf4)
		return REPLACEMENT;
	for (unsigned i = 1; i <= more; i++) {
		if ((b[i] & 0xc0) != 0x80)
			return REPLACEMENT;
		c = c << 6 | (b[i] & 0x3f);
	}
	if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return REPLACEMENT;
	*s += more;
	return c;
}

uint16_t *utf16_from_utf8(const char *from, size_t *n)
{
	uint16_t *units = malloc((strlen(from) + 1) * sizeof(*units)), *to = units;

	if (!units)
		return NULL;
	while (*from) {
		uint32_t c = take_utf8(&from);

		if (c >= 0x10000) {
			*to++ = (uint16_t)(0xd800 + ((c - 0x10000) >> 10));
			c = 0xdc00 + ((c - 0x10000) & 0x3ff);
		}
		*to++ = (uint16_t)c;
	}
	*to = 0;
	if (n)
		*n = (size_t)(to - units);
	return units;
}

size_t utf16_length(const uint16_t *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}
