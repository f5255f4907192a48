/*
 * log.h - the one way to tell the user that something went wrong.
 *
 * A message is one line on stderr that names the thing and the remedy; it begins with the
 * program's name. Nothing here exits, allocates or takes a lock that a device can hold.
 */
#ifndef PARTITA_BASE_LOG_H
#define PARTITA_BASE_LOG_H

#define LOG_FORMAT __attribute__((format(printf, 1, 2)))

/* Something failed and the user must act. */
void log_error(const char *format, ...) LOG_FORMAT;
/* Something is odd but goes on. */
void log_warning(const char *format, ...) LOG_FORMAT;
/* Said only after log_set_verbose(true). */
void log_debug(const char *format, ...) LOG_FORMAT;

void log_set_verbose(int on);

#endif
