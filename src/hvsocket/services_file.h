/*
 * services_file.h - the registry of services as a file: what its text says, and the text that says
 * it. The rest of the registry is in services.c.
 */
#ifndef PARTITA_HVSOCKET_SERVICES_FILE_H
#define PARTITA_HVSOCKET_SERVICES_FILE_H

#include <stddef.h>

#include "hvsocket/services.h"

/*
 * services_parse - the @length bytes of @text, which come from the file @path. Returns 0, or a
 * negative errno with @problem. service_list_free() in any case.
 */
int services_parse(const char *path, const char *text, size_t length, struct service_list *list,
	char problem[SERVICES_PROBLEM]);
/* services_text - the file's text, the caller's; NULL: no memory. */
char *services_text(const struct service_list *list);

#endif
