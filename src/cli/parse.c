/*
 * parse.c - numbers on the command line: see cli.h.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int parse_digits(const char *text, uint64_t *value, const char **end)
{
	char *rest;

	/* strtoull would take blanks and signs. */
	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &rest, 10);
	*end = rest;
	return errno ? -EINVAL : 0;
}

int cli_parse_count(const char *text, uint64_t max, uint64_t *count)
{
	const char *end;

	if (parse_digits(text, count, &end) || *end || *count > max)
		return -EINVAL;
	return 0;
}

/* The power of two of a unit's letter, 0: it is none. */
static unsigned unit_shift(char letter)
{
	static const char units[] = "KMGTPkmgtp";
	const char *unit = letter ? strchr(units, letter) : NULL;

	return unit ? 10 * ((unit - units) % 5 + 1) : 0;
}

int cli_parse_size(const char *text, uint64_t *bytes)
{
	const char *end;
	unsigned shift;

	if (parse_digits(text, bytes, &end) || !*end || end[1])
		return -EINVAL;
	shift = unit_shift(*end);
	if (!shift || *bytes > UINT64_MAX >> shift)
		return -EINVAL;
	*bytes <<= shift;
	return 0;
}

/* The digits behind a decimal point, as a fraction of 2 to the power of @shift. */
static int parse_fraction(const char *text, unsigned shift, uint64_t *bytes, const char **end)
{
	unsigned __int128 value = 0, scale = 1;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9'; text++) {
		if (scale > 1000000000000)
			continue; /* finer than any unit is */
		value = 10 * value + (*text - '0');
		scale *= 10;
	}
	*end = text;
	*bytes = (uint64_t)((value << shift) / scale) & ~4095ull;
	return 0;
}

int cli_parse_bytes(const char *text, uint64_t *bytes)
{
	const char *point, *end;
	uint64_t fraction = 0;
	unsigned shift;

	if (parse_digits(text, bytes, &end))
		return -EINVAL;
	point = *end == '.' ? end + 1 : NULL;
	if (point)
		end = point + strspn(point, "0123456789");
	shift = unit_shift(*end);
	if (shift)
		end += end[1] == 'i' && (end[2] | 0x20) == 'b' ? 3 : (end[1] | 0x20) == 'b' ? 2 : 1;
	if (*end || *bytes > UINT64_MAX >> shift)
		return -EINVAL;
	if (point && (!shift || parse_fraction(point, shift, &fraction, &end)))
		return -EINVAL;
	/* The fraction is less than one unit, which the shift left free. */
	*bytes = (*bytes << shift) + fraction;
	return 0;
}
