/*
 * kvp_addresses.c - see kvp_addresses.h.
 */
#include "vsp/kvp_addresses.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ELEMENT 64u /* an address or a prefix length as text, with its end; more is neither */

/* ---- From text ------------------------------------------------------------------------------ */

/* Takes the next element off a list. False: there is none; one that is too long is empty. */
static bool take(const char **list, char element[ELEMENT])
{
	const char *start, *end;

	start = *list + strspn(*list, "; ");
	end = start + strcspn(start, "; ");
	*list = end;
	snprintf(element, ELEMENT, "%.*s", end - start < (int)ELEMENT ? (int)(end - start) : 0,
		start);
	return end > start;
}

/* A list of addresses into the arrays of both families, which have @room each. */
static int pack_list(const char *list, uint8_t (*ipv4)[4], uint8_t (*ipv6)[16], unsigned room,
	struct ic_kvp_counts *counts)
{
	struct ic_kvp_counts n = {0};
	char element[ELEMENT];
	uint8_t address[16];

	while (list && take(&list, element)) {
		if (n.ipv4 < room && inet_pton(AF_INET, element, address) == 1)
			memcpy(ipv4[n.ipv4++], address, 4);
		else if (n.ipv6 < room && inet_pton(AF_INET6, element, address) == 1)
			memcpy(ipv6[n.ipv6++], address, 16);
		else
			return -EINVAL;
	}
	*counts = n;
	return 0;
}

/* Returns the length of a prefix, or -EINVAL. */
static int prefix_length(const char *text)
{
	unsigned long length;
	char *end;

	if (*text == '/')
		text++;
	length = strtoul(text, &end, 10);
	return *text < '0' || *text > '9' || *end || length > 128 ? -EINVAL : (int)length;
}

static int pack_subnets(const char *list, struct ic_kvp_ip_binary *to)
{
	struct ic_kvp_counts n = {0};
	char element[ELEMENT];
	uint8_t mask[4];
	int length;

	while (list && take(&list, element)) {
		if (n.ipv4 < to->addresses.ipv4 && inet_pton(AF_INET, element, mask) == 1) {
			memcpy(to->ipv4_subnets[n.ipv4++], mask, 4);
			continue;
		}
		length = prefix_length(element);
		if (length < 0 || n.ipv6 == to->addresses.ipv6)
			return -EINVAL;
		to->ipv6_subnets[n.ipv6++] = (uint32_t)length;
	}
	return memcmp(&n, &to->addresses, sizeof(n)) ? -EINVAL : 0;
}

int kvp_addresses_pack(const struct kvp_addresses *from, struct ic_kvp_ip_binary *to)
{
	int err;

	to->dhcp = from->dhcp;
	err = pack_list(from->addresses, to->ipv4_addresses, to->ipv6_addresses,
		IC_KVP_BINARY_ADDRESSES, &to->addresses);
	if (!err)
		err = pack_subnets(from->subnets, to);
	if (!err)
		err = pack_list(from->gateways, to->ipv4_gateways, to->ipv6_gateways,
			IC_KVP_BINARY_GATEWAYS, &to->gateways);
	if (!err)
		err = pack_list(
			from->dns, to->ipv4_dns, to->ipv6_dns, IC_KVP_BINARY_ADDRESSES, &to->dns);
	if (!err && (to->addresses.ipv4 || to->addresses.ipv6))
		to->family = (to->addresses.ipv4 ? IC_KVP_IPV4 : 0) |
			     (to->addresses.ipv6 ? IC_KVP_IPV6 : 0);
	return err;
}

/* ---- To text -------------------------------------------------------------------------------- */

bool kvp_addresses_counted(const struct ic_kvp_ip_binary *b)
{
	return b->addresses.ipv4 <= IC_KVP_BINARY_ADDRESSES &&
	       b->addresses.ipv6 <= IC_KVP_BINARY_ADDRESSES &&
	       b->gateways.ipv4 <= IC_KVP_BINARY_GATEWAYS &&
	       b->gateways.ipv6 <= IC_KVP_BINARY_GATEWAYS &&
	       b->dns.ipv4 <= IC_KVP_BINARY_ADDRESSES && b->dns.ipv6 <= IC_KVP_BINARY_ADDRESSES;
}

static void add(FILE *list, const char *element)
{
	fprintf(list, "%s%s", ftell(list) ? ";" : "", element);
}

static void add_address(FILE *list, int family, const void *address)
{
	char text[INET6_ADDRSTRLEN];

	add(list, inet_ntop(family, address, text, sizeof(text)));
}

static void write_list(FILE *list, const uint8_t (*ipv4)[4], const uint8_t (*ipv6)[16],
	const struct ic_kvp_counts *n)
{
	for (unsigned i = 0; i < n->ipv4; i++)
		add_address(list, AF_INET, ipv4[i]);
	for (unsigned i = 0; i < n->ipv6; i++)
		add_address(list, AF_INET6, ipv6[i]);
}

static void write_addresses(FILE *list, const struct ic_kvp_ip_binary *b)
{
	write_list(list, b->ipv4_addresses, b->ipv6_addresses, &b->addresses);
}

static void write_subnets(FILE *list, const struct ic_kvp_ip_binary *b)
{
	char text[16];

	for (unsigned i = 0; i < b->addresses.ipv4; i++)
		add_address(list, AF_INET, b->ipv4_subnets[i]);
	for (unsigned i = 0; i < b->addresses.ipv6; i++) {
		snprintf(text, sizeof(text), "/%" PRIu32, b->ipv6_subnets[i]);
		add(list, text);
	}
}

static void write_gateways(FILE *list, const struct ic_kvp_ip_binary *b)
{
	write_list(list, b->ipv4_gateways, b->ipv6_gateways, &b->gateways);
}

static void write_dns(FILE *list, const struct ic_kvp_ip_binary *b)
{
	write_list(list, b->ipv4_dns, b->ipv6_dns, &b->dns);
}

static void write_origins(FILE *list, const struct ic_kvp_ip_binary *b)
{
	for (unsigned i = 0; i < b->addresses.ipv4 + b->addresses.ipv6; i++)
		add(list, b->origins[i] == IC_KVP_ORIGIN_STATIC	 ? "static"
			  : b->origins[i] == IC_KVP_ORIGIN_OTHER ? "other"
								 : "unknown");
}

/* NULL: memory is short. */
static char *written(void (*write)(FILE *list, const struct ic_kvp_ip_binary *b),
	const struct ic_kvp_ip_binary *b)
{
	char *text = NULL;
	size_t size;
	FILE *list = open_memstream(&text, &size);

	if (!list)
		return NULL;
	write(list, b);
	if (fclose(list) == 0)
		return text;
	free(text);
	return NULL;
}

int kvp_addresses_unpack(const struct ic_kvp_ip_binary *from, struct kvp_addresses *to)
{
	*to = (struct kvp_addresses){
		.addresses = written(write_addresses, from),
		.subnets = written(write_subnets, from),
		.gateways = written(write_gateways, from),
		.dns = written(write_dns, from),
		.origins = written(write_origins, from),
		.dhcp = from->dhcp,
	};
	if (to->addresses && to->subnets && to->gateways && to->dns && to->origins)
		return 0;
	kvp_free_addresses(to);
	return -ENOMEM;
}

void kvp_free_addresses(struct kvp_addresses *a)
{
	free(a->addresses);
	free(a->subnets);
	free(a->gateways);
	free(a->dns);
	free(a->origins);
	*a = (struct kvp_addresses){0};
}
