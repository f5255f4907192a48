/*
 * greeting.c - any bytes as the first line at a machine's socket. What is taken for a line says the
 * same when it is written anew.
 */
#include <stdlib.h>
#include <string.h>

#include "worker/greeting.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char line[GREETING_MAX + 1] = {0}, again[HV_GREETING_TEXT];
	struct socket_request r, s;
	struct hv_greeting g;

	memcpy(line, data, size < GREETING_MAX ? size : GREETING_MAX);
	if (!greeting_parse(line, &r))
		return 0;
	g = (struct hv_greeting){r.service, r.skip, r.timeout_ms};
	again[hv_greeting_format(&g, again) - 1] = 0;
	if (!greeting_parse(again, &s) || memcmp(&r.service, &s.service, sizeof(GUID)) ||
		r.skip != s.skip || r.timeout_ms != s.timeout_ms)
		abort();
	return 0;
}
