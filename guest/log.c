/*
 * log.c - the agent's log; see log.h.
 *
 * Facts: systemd.exec(5) on JOURNAL_STREAM, sd-daemon(3) on the priority in front of a line.
 */
#include "log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static bool to_journal;

/* JOURNAL_STREAM names the stream's device and inode: descriptors may have been changed since. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;

	return stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_open(bool to_stderr)
{
	to_journal = stderr_is_journal();
	openlog("partita-agent", LOG_PID | (to_stderr ? LOG_PERROR : 0), LOG_AUTHPRIV);
}

/* A name that the host says must not end the line and begin one of its own. */
static void keep_on_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

/* In one call, or lines of several processes could mix. */
__attribute__((format(printf, 2, 0))) static void journal_log(
	int priority, const char *format, va_list values)
{
	char *text, *line;
	int n;

	if (vasprintf(&text, format, values) < 0)
		return;
	keep_on_line(text);
	n = asprintf(&line, "<%d>%s\n", priority, text);
	if (n >= 0) {
		if (send(STDERR_FILENO, line, (size_t)n, MSG_NOSIGNAL) != n)
			syslog(priority, "%s",
				text); /* journald does not read: tell whoever does */
		free(line);
	}
	free(text);
}

void agent_log(int priority, const char *format, ...)
{
	va_list values;

	va_start(values, format);
	if (to_journal)
		journal_log(priority, format, values);
	else
		vsyslog(priority, format, values);
	va_end(values);
}
