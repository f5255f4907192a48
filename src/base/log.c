/*
 * log.c - see log.h. Each message is formatted into a buffer and written with a single write(2),
 * so that lines of several threads do not mix.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int verbose;

static void say(const char *prefix, const char *format, va_list args)
{
	char line[1024];
	int n = snprintf(line, sizeof(line), "partita: %s", prefix);
	int m = vsnprintf(line + n, sizeof(line) - n - 1, format, args);

	if (m > (int)sizeof(line) - n - 2)
		m = sizeof(line) - n - 2;
	line[n + m] = '\n';
	if (write(STDERR_FILENO, line, n + m + 1) < 0)
		return; /* nobody is listening */
}

#define SAY(prefix)                                                                                \
	do {                                                                                       \
		va_list args;                                                                      \
		va_start(args, format);                                                            \
		say(prefix, format, args);                                                         \
		va_end(args);                                                                      \
	} while (0)

void log_error(const char *format, ...)
{
	SAY("");
}

void log_warning(const char *format, ...)
{
	SAY("warning: ");
}

void log_debug(const char *format, ...)
{
	if (verbose)
		SAY("debug: ");
}

void log_set_verbose(int on)
{
	verbose = on;
}
