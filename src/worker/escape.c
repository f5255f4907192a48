/*
 * escape.c - see escape.h.
 */
#include "worker/escape.h"

const char escape_help[] = "\r\n"
			   "Ctrl-A x       end the machine\r\n"
			   "Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n"
			   "Ctrl-A h       this help\r\n";

bool escape_filter(bool *armed, uint8_t *byte, enum escape_command *command)
{
	*command = ESCAPE_NONE;
	if (!*armed) {
		*armed = *byte == ESCAPE_KEY;
		return !*armed;
	}
	*armed = false;
	switch (*byte) {
	case 'x':
	case 'X':
		*command = ESCAPE_QUIT;
		return false;
	case 'h':
	case 'H':
	case '?':
		*command = ESCAPE_HELP;
		return false;
	case ESCAPE_KEY:
		return true;
	default:
		return false; /* not a command: swallowed, so that a slip does no harm */
	}
}
