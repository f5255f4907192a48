/*
 * hvsocket.c - what others say to a Hyper-V socket of the host: the name of a connecting end, the
 * name of a listener's file, and the line that asks a machine for a connection.
 *
 * Promises that are tested: no crash, and what is understood is said again in the same words.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"
#include "hvsocket/connect.h"
#include "hvsocket/places.h"

static void try_name(const uint8_t *data, size_t size)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX}, again;
	struct hv_address a, b;
	socklen_t length;

	size = size < sizeof(name.sun_path) ? size : sizeof(name.sun_path);
	memcpy(name.sun_path, data, size);
	if (!hv_address_decode(&name, offsetof(struct sockaddr_un, sun_path) + size, &a))
		return;
	length = hv_address_encode(&a, 1, &again);
	assert(hv_address_decode(&again, length, &b) && !memcmp(&a, &b, sizeof(a)));
}

static void try_file(const char *text)
{
	char path[PATH_MAX];
	GUID scope, service, a, b;

	if (!hv_place_name(text, &scope, &service))
		return;
	hv_place_listener("", &scope, &service, path);
	assert(hv_place_name(path, &a, &b) && guid_equal(&a, &scope) && guid_equal(&b, &service));
}

static void try_line(const char *text)
{
	char line[HV_GREETING_TEXT];
	struct hv_greeting g, again;
	size_t n;

	if (!hv_greeting_parse(text, &g))
		return;
	n = hv_greeting_format(&g, line);
	assert(n > 0 && n < sizeof(line) && line[n - 1] == '\n');
	line[n - 1] = 0;
	assert(hv_greeting_parse(line, &again) && !memcmp(&g, &again, sizeof(g)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	memcpy(text, data, size);
	text[size] = 0;
	try_name(data, size);
	try_file(text);
	try_line(text);
	free(text);
	return 0;
}
