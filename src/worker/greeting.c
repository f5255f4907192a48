/*
 * greeting.c - see greeting.h.
 */
#include "worker/greeting.h"

#include <stdio.h>
#include <string.h>

#define PORT_TIMEOUT 5000u /* ms; CONNECT does not say */

/* Decimal digits and nothing else, up to the last port that can be listened on. */
static bool parse_port(const char *text, uint32_t *port)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; text[i] >= '0' && text[i] <= '9' && i < 10; i++)
		value = value * 10 + (uint64_t)(text[i] - '0');
	*port = (uint32_t)value;
	return i && !text[i] && value < UINT32_MAX;
}

static bool parse_hybrid(const char *line, struct socket_request *request)
{
	static const char connect[] = "CONNECT ";
	uint32_t port;

	if (strncmp(line, connect, sizeof(connect) - 1) != 0 ||
		!parse_port(line + sizeof(connect) - 1, &port))
		return false;
	request->service = hv_service_of_port(port);
	request->timeout_ms = PORT_TIMEOUT;
	request->skip = 0;
	request->kind = GREETING_PORT;
	return true;
}

bool greeting_parse(const char *line, struct socket_request *request)
{
	struct hv_greeting g;

	if (parse_hybrid(line, request))
		return true;
	if (strlen(line) + 2 > HV_GREETING_TEXT || !hv_greeting_parse(line, &g))
		return false;
	request->service = g.service;
	request->timeout_ms = g.timeout_ms;
	request->skip = g.padding;
	request->kind = GREETING_SERVICE;
	return true;
}

size_t greeting_answer(unsigned kind, int err, uint32_t port, char text[GREETING_MAX])
{
	if (kind == GREETING_SERVICE)
		return err ? hv_refusal_format(err, text) : 0;
	return err ? 0 : (size_t)snprintf(text, GREETING_MAX, "OK %u\n", port);
}
