/*
 * guid.h - GUIDs: as text, compared, and new ones (RFC 4122). In memory and on disk the first three
 * fields are little-endian, as in the SDK.
 */
#ifndef PARTITA_BASE_GUID_H
#define PARTITA_BASE_GUID_H

#include <stdbool.h>

#include "guiddef.h"

/* Room for a GUID as text, its end included. */
#define GUID_TEXT 37

/* guid_format - "01234567-89ab-cdef-0123-456789abcdef"; returns @text. */
const char *guid_format(const GUID *g, char text[GUID_TEXT]);
/* guid_parse - of that form, in either case, with or without braces. False: @text is not that. */
bool guid_parse(const char *text, GUID *g);
bool guid_equal(const GUID *a, const GUID *b);
bool guid_is_zero(const GUID *g);
/* guid_new - a random one (version 4). */
void guid_new(GUID *g);

#endif
