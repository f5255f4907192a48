/*
 * guid.c - GUIDs as text and new ones.
 */
#include "base/guid.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

const char *guid_format(const GUID *g, char text[GUID_TEXT])
{
	const unsigned char *d = g->Data4;

	snprintf(text, GUID_TEXT, "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		(unsigned)g->Data1, g->Data2, g->Data3, d[0], d[1], d[2], d[3], d[4], d[5], d[6],
		d[7]);
	return text;
}

/* The value of @n hexadecimal digits; false when there is something else. */
static bool hex(const char *s, unsigned n, unsigned *value)
{
	*value = 0;
	for (unsigned i = 0; i < n; i++) {
		int c = tolower((unsigned char)s[i]);

		if (!isxdigit(c))
			return false;
		*value = *value << 4 | (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	return true;
}

bool guid_parse(const char *text, GUID *g)
{
	static const unsigned char pairs[8] = {19, 21, 24, 26, 28, 30, 32, 34};
	size_t n = strlen(text);
	unsigned a, b, c, d;

	if (n == 38 && text[0] == '{' && text[37] == '}') {
		text++;
		n -= 2;
	}
	if (n != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-')
		return false;
	if (!hex(text, 8, &a) || !hex(text + 9, 4, &b) || !hex(text + 14, 4, &c))
		return false;
	g->Data1 = a;
	g->Data2 = b;
	g->Data3 = c;
	for (unsigned i = 0; i < 8; i++) {
		if (!hex(text + pairs[i], 2, &d))
			return false;
		g->Data4[i] = d;
	}
	return true;
}

bool guid_equal(const GUID *a, const GUID *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool guid_is_zero(const GUID *g)
{
	static const GUID zero;

	return guid_equal(g, &zero);
}

void guid_new(GUID *g)
{
	/* Small requests are never cut short, and fail on no kernel since 3.17. */
	while (getrandom(g, sizeof(*g), 0) != sizeof(*g))
		;
	g->Data3 = (g->Data3 & 0x0fff) | 0x4000;
	g->Data4[0] = (g->Data4[0] & 0x3f) | 0x80;
}
