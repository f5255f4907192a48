/*
 * escape.h - the escape key of the terminal: Ctrl-A, as other machine monitors have it.
 */
#ifndef PARTITA_WORKER_ESCAPE_H
#define PARTITA_WORKER_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ESCAPE_KEY 0x01 /* Ctrl-A */

enum escape_command {
	ESCAPE_NONE,
	ESCAPE_QUIT, /* Ctrl-A x */
	ESCAPE_HELP, /* Ctrl-A h, or ? */
};

/*
 * escape_filter - take one byte that the user typed. Returns whether *byte, possibly changed, is
 * for the guest. @armed: whether the escape key was the byte before; false at first.
 */
bool escape_filter(bool *armed, uint8_t *byte, enum escape_command *command);

/* What Ctrl-A h shows. */
extern const char escape_help[];

#endif
