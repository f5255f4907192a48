/*
 * kvp.c - see kvp.h.
 *
 * From version 5.0 on addresses are binary. Which version the guest picked may change until a
 * message leaves, so the question is put in both forms, and the right one is taken then.
 */
#include "vsp/kvp.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf16.h"

static const struct ic_version versions[] = {{1, 0}, {3, 0}, {4, 0}, {5, 0}};

struct kvp {
	struct ic *ic;
	const struct kvp_item *items;
	unsigned n_items;
	/* The serving thread's. */
	struct kvp_request push;
	unsigned pushed;
};

/* ---- Questions ------------------------------------------------------------------------------ */

/* Writes a terminated string into @room units. Returns its bytes, the terminator included. */
static int put_text(uint16_t *to, unsigned room, const char *from)
{
	size_t n;
	uint16_t *text = utf16_from_utf8(from, &n);
	int bytes = -EMSGSIZE;

	if (!text)
		return -ENOMEM;
	if (n < room) {
		bytes = (int)(n + 1) * 2;
		memcpy(to, text, (size_t)bytes);
	}
	free(text);
	return bytes;
}

static void start(struct kvp_request *r, enum ic_kvp_operation operation, enum kvp_pool pool)
{
	memset(&r->message, 0, sizeof(r->message));
	r->message.item.operation = operation;
	r->message.item.pool = pool;
	r->ic.message = &r->message;
	r->ic.size = operation == IC_KVP_GET_IP || operation == IC_KVP_SET_IP
			     ? sizeof(r->message.ip)
			     : sizeof(r->message.item);
}

static int put_key(uint16_t *to, uint32_t *size, const char *key)
{
	int bytes = key[0] ? put_text(to, IC_KVP_KEY / 2, key) : -EMSGSIZE;

	if (bytes < 0)
		return bytes;
	*size = (uint32_t)bytes;
	return 0;
}

int kvp_put_get(struct kvp_request *r, enum kvp_pool pool, const char *key)
{
	struct ic_kvp_value *v = &r->message.item.value;
	uint16_t text[IC_KVP_KEY / 2];
	uint32_t size;
	int err = put_key(text, &size, key);

	if (err)
		return err;
	start(r, IC_KVP_GET, pool);
	memcpy(v->key, text, size);
	v->key_size = size;
	return 0;
}

int kvp_put_set(struct kvp_request *r, enum kvp_pool pool, const char *key, const char *value)
{
	struct ic_kvp_value *v = &r->message.item.value;
	uint16_t text[IC_KVP_VALUE / 2];
	int err = kvp_put_get(r, pool, key), bytes;

	if (err)
		return err;
	bytes = put_text(text, IC_KVP_VALUE / 2, value);
	if (bytes < 0)
		return bytes;
	r->message.item.operation = IC_KVP_SET;
	memcpy(v->text, text, (size_t)bytes);
	v->type = IC_KVP_STRING;
	v->value_size = (uint32_t)bytes;
	return 0;
}

int kvp_put_delete(struct kvp_request *r, enum kvp_pool pool, const char *key)
{
	uint16_t text[IC_KVP_KEY / 2];
	uint32_t size;
	int err = put_key(text, &size, key);

	if (err)
		return err;
	start(r, IC_KVP_DELETE, pool);
	memcpy(r->message.item.name.key, text, size);
	r->message.item.name.key_size = size;
	return 0;
}

int kvp_put_enumerate(struct kvp_request *r, enum kvp_pool pool, uint32_t index)
{
	start(r, IC_KVP_ENUMERATE, pool);
	r->message.item.item.index = index;
	return 0;
}

/* A field of the packed message of addresses. */
static int put_field(void *field, unsigned room, const char *text)
{
	uint16_t units[IC_KVP_ADDRESSES];
	int bytes = put_text(units, room, text ? text : "");

	if (bytes < 0)
		return bytes;
	memcpy(field, units, (size_t)bytes);
	return 0;
}

int kvp_put_get_ip(struct kvp_request *r, const char *adapter, unsigned family)
{
	struct ic_kvp_ip *ip = &r->message.ip;
	int err;

	start(r, IC_KVP_GET_IP, KVP_POOL_GUEST);
	ip->family = (uint8_t)family;
	err = put_field(ip->adapter, IC_KVP_ADAPTER, adapter);
	r->binary_ip = (struct ic_kvp_ip_binary){
		.operation = ip->operation, .pool = ip->pool, .family = ip->family};
	memcpy(r->binary_ip.adapter, ip->adapter, sizeof(ip->adapter));
	return err;
}

int kvp_put_set_ip(
	struct kvp_request *r, const char *adapter, unsigned family, const struct kvp_addresses *a)
{
	struct ic_kvp_ip *ip = &r->message.ip;
	int err = kvp_put_get_ip(r, adapter, family);

	ip->operation = IC_KVP_SET_IP;
	ip->dhcp = a->dhcp;
	if (!err)
		err = put_field(ip->addresses, IC_KVP_ADDRESSES, a->addresses);
	if (!err)
		err = put_field(ip->subnets, IC_KVP_ADDRESSES, a->subnets);
	if (!err)
		err = put_field(ip->gateways, IC_KVP_GATEWAYS, a->gateways);
	if (!err)
		err = put_field(ip->dns, IC_KVP_ADDRESSES, a->dns);
	r->binary_ip.operation = IC_KVP_SET_IP;
	if (!err)
		err = kvp_addresses_pack(a, &r->binary_ip);
	ip->family = r->binary_ip.family;
	return err;
}

static bool about_addresses(const struct kvp_request *r)
{
	return r->operation == IC_KVP_GET_IP || r->operation == IC_KVP_SET_IP;
}

/* The version is known when the message leaves. */
static void prepare(struct ic_request *ic)
{
	struct kvp_request *r = (struct kvp_request *)ic;

	r->binary = about_addresses(r) && ic_at_least(r->kvp->ic, 5, 0);
	if (!r->binary)
		return;
	memset(&r->message, 0, sizeof(r->message));
	r->message.binary_ip = r->binary_ip;
}

/* ---- Answers -------------------------------------------------------------------------------- */

/* Where the answer's value is: it lies elsewhere in an enumeration. */
static const void *value_at(const struct kvp_request *r)
{
	return r->operation == IC_KVP_ENUMERATE ? (const void *)&r->message.item.item.value
						: (const void *)&r->message.item.value;
}

static bool lengths_right(const struct kvp_request *r)
{
	struct ic_kvp_value v;

	if (r->operation == IC_KVP_GET_IP && r->binary)
		return r->ic.answered >= sizeof(r->message.binary_ip) &&
		       kvp_addresses_counted(&r->message.binary_ip);
	if (r->operation == IC_KVP_GET_IP)
		return r->ic.answered == sizeof(r->message.ip);
	if (r->operation != IC_KVP_GET && r->operation != IC_KVP_ENUMERATE)
		return true;
	if (r->ic.answered != sizeof(r->message.item))
		return false;
	memcpy(&v, value_at(r), sizeof(v));
	return v.key_size <= IC_KVP_KEY && v.value_size <= IC_KVP_VALUE;
}

static int answered(struct ic_request *ic)
{
	struct kvp_request *r = (struct kvp_request *)ic;
	int err;

	if (!ic->err && !ic->status && !lengths_right(r))
		ic->err = -EPROTO;
	err = ic->err;
	r->done(r); /* after which it may be gone */
	return err;
}

int kvp_submit(struct kvp *k, struct kvp_request *r)
{
	r->ic.done = answered;
	r->ic.prepare = prepare;
	r->kvp = k;
	r->operation = r->message.item.operation;
	if (ic_state(k->ic).stage == IC_READY && about_addresses(r) && !ic_at_least(k->ic, 4, 0))
		return -EOPNOTSUPP;
	return ic_submit(k->ic, &r->ic);
}

char *kvp_answered_key(const struct kvp_request *r)
{
	struct ic_kvp_value v;

	memcpy(&v, value_at(r), sizeof(v));
	return utf16_to_utf8(v.key, v.key_size / 2);
}

char *kvp_answered_value(const struct kvp_request *r)
{
	struct ic_kvp_value v;
	char *text = NULL;
	int n;

	memcpy(&v, value_at(r), sizeof(v));
	switch (v.type) {
	case IC_KVP_U32:
		n = asprintf(&text, "%" PRIu32, v.u32);
		break;
	case IC_KVP_U64_LINUX:
	case IC_KVP_U64:
		n = asprintf(&text, "%" PRIu64, v.u64);
		break;
	default:
		return utf16_to_utf8(v.text, v.value_size / 2);
	}
	return n < 0 ? NULL : text;
}

int kvp_answered_addresses(const struct kvp_request *r, struct kvp_addresses *a)
{
	const struct ic_kvp_ip *ip = &r->message.ip;

	if (r->binary)
		return kvp_addresses_unpack(&r->message.binary_ip, a);
	*a = (struct kvp_addresses){
		.addresses = utf16_to_utf8((const void *)ip->addresses, IC_KVP_ADDRESSES),
		.subnets = utf16_to_utf8((const void *)ip->subnets, IC_KVP_ADDRESSES),
		.gateways = utf16_to_utf8((const void *)ip->gateways, IC_KVP_GATEWAYS),
		.dns = utf16_to_utf8((const void *)ip->dns, IC_KVP_ADDRESSES),
		.dhcp = ip->dhcp,
	};
	if (a->addresses && a->subnets && a->gateways && a->dns)
		return 0;
	kvp_free_addresses(a);
	return -ENOMEM;
}

/* ---- The host's own items ------------------------------------------------------------------- */

static void push_next(struct kvp *k);

/* Whether the guest took one does not matter for the others, unless it is gone. */
static void pushed(struct kvp_request *r)
{
	struct kvp *k = (struct kvp *)((char *)r - offsetof(struct kvp, push));

	k->pushed++;
	if (r->ic.err == 0)
		push_next(k);
}

static void push_next(struct kvp *k)
{
	int err = -EMSGSIZE;

	k->push.done = pushed;
	while (k->pushed < k->n_items && err) {
		const struct kvp_item *item = &k->items[k->pushed];

		err = kvp_put_set(&k->push, KVP_POOL_AUTO_EXTERNAL, item->key, item->value);
		if (!err)
			err = kvp_submit(k, &k->push);
		if (err)
			k->pushed++;
	}
}

static void ready(void *ctx)
{
	struct kvp *k = ctx;

	k->pushed = 0;
	push_next(k);
}

int kvp_create(struct vmbus *bus, const struct kvp_item *items, unsigned n_items, struct kvp **kvp)
{
	struct kvp *k = calloc(1, sizeof(*k));
	struct ic_config config = {.name = "kvp",
		.interface = IC_KVP_INTERFACE,
		.instance = IC_KVP_INSTANCE,
		.type = IC_KVP,
		.versions = versions,
		.n_versions = sizeof(versions) / sizeof(versions[0]),
		.ready = ready,
		.ctx = k};
	int err;

	if (!k)
		return -ENOMEM;
	k->items = items;
	k->n_items = n_items;
	err = ic_create(bus, &config, &k->ic);
	if (err)
		kvp_destroy(k);
	else
		*kvp = k;
	return err;
}

void kvp_destroy(struct kvp *k)
{
	if (!k)
		return;
	ic_destroy(k->ic);
	free(k);
}

struct ic *kvp_ic(struct kvp *k)
{
	return k->ic;
}
