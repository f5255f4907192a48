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

int cli_parse_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGTkmgt";
	const char *end, *unit;
	unsigned shift;

	if (parse_digits(text, bytes, &end) || !*end || end[1])
		return -EINVAL;
	unit = strchr(units, *end);
	if (!unit)
		return -EINVAL;
	shift = 10 * ((unit - units) % 4 + 1);
	if (*bytes > UINT64_MAX >> shift)
		return -EINVAL;
	*bytes <<= shift;
	return 0;
}
