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

bool greeting_parse(const char *line, struct socket_request *request)
{
	static const char connect[] = "CONNECT ";
	/* The service that guests of Linux know as vsock port 0. */
	static const GUID ports = {
		0, 0xfacb, 0x11e6, {0xbd, 0x58, 0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3}};
	uint32_t port;

	if (strncmp(line, connect, sizeof(connect) - 1) != 0 ||
		!parse_port(line + sizeof(connect) - 1, &port))
		return false;
	request->service = ports;
	request->service.Data1 = port;
	request->timeout_ms = PORT_TIMEOUT;
	request->skip = 0;
	request->kind = GREETING_PORT;
	return true;
}

size_t greeting_answer(unsigned kind, int err, uint32_t port, char text[GREETING_MAX])
{
	return err ? 0 : (size_t)snprintf(text, GREETING_MAX, "OK %u\n", port);
}
