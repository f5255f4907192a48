/*
 * kvp_addresses.h - the addresses of a guest's network adapter as text, and in the binary form that
 * key-value exchange has from version 5.0 on (ic_protocol.h).
 *
 * Text is what versions up to 4.0 exchange and what people write: lists separated by ';', in which
 * addresses of both families may stand. A subnet is a mask (255.255.255.0) for an IPv4 address, and
 * the length of the prefix (64 or /64) for an IPv6 address; there are as many as addresses.
 */
#ifndef PARTITA_VSP_KVP_ADDRESSES_H
#define PARTITA_VSP_KVP_ADDRESSES_H

#include <stdbool.h>

#include "vsp/ic_protocol.h"

struct kvp_addresses {
	char *addresses, *subnets, *gateways, *dns; /* NULL: empty */
	char *origins; /* of the addresses: static, other, unknown; NULL: not known */
	bool dhcp;
};

/*
 * kvp_addresses_pack - put the lists and @from->dhcp into @to, whose lists are empty, and its
 * family where there are addresses. Returns 0, -EINVAL (something is not an address, there are too
 * many, or not as many subnets as addresses).
 */
int kvp_addresses_pack(const struct kvp_addresses *from, struct ic_kvp_ip_binary *to);
/* kvp_addresses_counted - are there not more addresses than there is room for? */
bool kvp_addresses_counted(const struct ic_kvp_ip_binary *b);
/*
 * kvp_addresses_unpack - make text of addresses that are counted, those of IPv4 first. Returns 0;
 * -ENOMEM, and nothing is to be freed.
 */
int kvp_addresses_unpack(const struct ic_kvp_ip_binary *from, struct kvp_addresses *to);
void kvp_free_addresses(struct kvp_addresses *a);

#endif
