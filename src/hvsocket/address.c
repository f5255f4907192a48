/*
 * address.c - addresses of Hyper-V sockets in their several forms. See address.h.
 */
#include <initguid.h> /* the constants of hvsocket.h are here */

#include "hvsocket/address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/guid.h"
#include "hvsocket/system.h"

#define PREFIX	      "partita/hv/"
#define PREFIX_LENGTH (sizeof(PREFIX) - 1)
#define GUID_LENGTH   (GUID_TEXT - 1)
/* Behind the zero byte: the prefix, two GUIDs with a slash after each, and a number. */
#define NUMBER_AT     (PREFIX_LENGTH + 2 * (GUID_LENGTH + 1))
#define NUMBER_LENGTH 16
#define NAME_AT	      (offsetof(struct sockaddr_un, sun_path) + 1)

_Static_assert(1 + NUMBER_AT + NUMBER_LENGTH + 1 <= sizeof(((struct sockaddr_un *)0)->sun_path),
	"a name has room, snprintf's end included");

/* ---- Names of connecting ends --------------------------------------------------------------- */

socklen_t hv_address_encode(const struct hv_address *a, uint64_t unique, struct sockaddr_un *name)
{
	char vm[GUID_TEXT], service[GUID_TEXT];
	int n;

	memset(name, 0, sizeof(*name));
	name->sun_family = AF_UNIX;
	n = snprintf(name->sun_path + 1, sizeof(name->sun_path) - 1, PREFIX "%s/%s/%llx",
		guid_format(&a->vm, vm), guid_format(&a->service, service),
		(unsigned long long)unique);
	return NAME_AT + n;
}

/* The GUID that @text begins with, and a slash after it. */
static bool decode_guid(const char *text, GUID *g)
{
	char part[GUID_TEXT];

	memcpy(part, text, GUID_LENGTH);
	part[GUID_LENGTH] = 0;
	return text[GUID_LENGTH] == '/' && guid_parse(part, g);
}

bool hv_address_decode(const struct sockaddr_un *name, socklen_t length, struct hv_address *a)
{
	const char *text = name->sun_path + 1;
	size_t n;

	if (length <= NAME_AT || length > sizeof(*name) || name->sun_family != AF_UNIX ||
		name->sun_path[0])
		return false;
	n = length - NAME_AT;
	if (n <= NUMBER_AT || n > NUMBER_AT + NUMBER_LENGTH || memcmp(text, PREFIX, PREFIX_LENGTH))
		return false;
	for (size_t i = NUMBER_AT; i < n; i++)
		if (!text[i] || !strchr("0123456789abcdef", text[i]))
			return false;
	return decode_guid(text + PREFIX_LENGTH, &a->vm) &&
	       decode_guid(text + PREFIX_LENGTH + GUID_LENGTH + 1, &a->service);
}

int hv_address_bind(int fd, const struct hv_address *a)
{
	struct sockaddr_un name;
	uint64_t unique;
	int err;

	do {
		if (getrandom(&unique, sizeof(unique), 0) != sizeof(unique))
			return -EIO;
		err = sys_bind(fd, &name, hv_address_encode(a, unique, &name));
	} while (err == -EADDRINUSE);
	return err;
}

/* ---- Services and machines ------------------------------------------------------------------ */

GUID hv_service_of_port(uint32_t port)
{
	GUID service = HV_GUID_VSOCK_TEMPLATE;

	service.Data1 = port;
	return service;
}

bool hv_port_of_service(const GUID *service, uint32_t *port)
{
	GUID same = hv_service_of_port(service->Data1);

	*port = service->Data1;
	return guid_equal(service, &same);
}

bool hv_is_host(const GUID *vm)
{
	return guid_equal(vm, &hv_loopback) || guid_equal(vm, &hv_parent);
}

bool hv_is_machine(const GUID *vm)
{
	return !hv_is_host(vm) && !guid_equal(vm, &hv_zero) && !guid_equal(vm, &hv_broadcast) &&
	       !guid_equal(vm, &hv_children) && !guid_equal(vm, &hv_silohost);
}

const char *hv_service_format(const GUID *service, char text[HV_SERVICE_TEXT])
{
	uint32_t port;

	if (!hv_port_of_service(service, &port))
		return guid_format(service, text);
	snprintf(text, HV_SERVICE_TEXT, "vsock:%u", port);
	return text;
}

bool hv_service_parse(const char *text, GUID *service)
{
	unsigned long long port;
	char *end;

	if (strncmp(text, "vsock:", 6))
		return guid_parse(text, service) && !guid_is_zero(service);
	text += 6;
	errno = 0;
	port = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || port >= UINT32_MAX)
		return false;
	*service = hv_service_of_port(port);
	return true;
}
