/*
 * kvp.h - the key-value exchange service: items that host and guest leave for each other, in pools,
 * and the addresses of the guest's network adapters.
 *
 * What the host has to say of itself (struct kvp_item) is put into the guest's pool AUTO_EXTERNAL
 * when the guest's driver starts.
 */
#ifndef PARTITA_VSP_KVP_H
#define PARTITA_VSP_KVP_H

#include "vsp/ic.h"
#include "vsp/kvp_addresses.h"

enum kvp_pool {
	KVP_POOL_EXTERNAL,	/* the host's, for the guest */
	KVP_POOL_GUEST,		/* the guest's, for the host */
	KVP_POOL_AUTO,		/* what the guest's system says of itself */
	KVP_POOL_AUTO_EXTERNAL, /* what the host says of itself */
	KVP_POOLS,
};

/* The longest key and value that can be sent, in UTF-16 units. */
#define KVP_KEY_MAX   (IC_KVP_KEY / 2 - 1)
#define KVP_VALUE_MAX (IC_KVP_VALUE / 2 - 1)

struct kvp;

struct kvp_item {
	const char *key, *value;
};

struct kvp_request {
	struct ic_request ic; /* the caller sets the deadline */
	/* Called as ic_request.done; an answer's lengths are right then. */
	void (*done)(struct kvp_request *r);
	union {
		struct ic_kvp item;
		struct ic_kvp_ip ip;
		struct ic_kvp_ip_binary binary_ip;
	} message;
	/* kvp.c's. */
	struct kvp *kvp;
	uint8_t operation;		   /* that was asked for, whatever the answer says */
	bool binary;			   /* the message has the form of 5.0 */
	struct ic_kvp_ip_binary binary_ip; /* the question in that form */
};

/*
 * kvp_create - the @n_items must live as long as the service. Returns 0, or what ic_create()
 * returned.
 */
int kvp_create(struct vmbus *bus, const struct kvp_item *items, unsigned n_items, struct kvp **k);
void kvp_destroy(struct kvp *k);
struct ic *kvp_ic(struct kvp *k);

/*
 * What to ask for: 0, -EMSGSIZE (a key or value is too long, or a key empty), -ENOMEM.
 */
int kvp_put_get(struct kvp_request *r, enum kvp_pool pool, const char *key);
int kvp_put_set(struct kvp_request *r, enum kvp_pool pool, const char *key, const char *value);
int kvp_put_delete(struct kvp_request *r, enum kvp_pool pool, const char *key);
int kvp_put_enumerate(struct kvp_request *r, enum kvp_pool pool, uint32_t index);
/*
 * @adapter as the guest knows it: Linux by its MAC address. @family of enum ic_kvp_family. Also
 * -EINVAL: the @addresses are not right (kvp_addresses.h).
 */
int kvp_put_get_ip(struct kvp_request *r, const char *adapter, unsigned family);
int kvp_put_set_ip(struct kvp_request *r, const char *adapter, unsigned family,
	const struct kvp_addresses *addresses);
/* kvp_submit - returns what ic_submit() does, -EOPNOTSUPP (the guest's version cannot do that). */
int kvp_submit(struct kvp *k, struct kvp_request *r);

/*
 * What the guest answered: to get and enumerate, when the request succeeded. The caller frees it;
 * NULL: memory is short.
 */
char *kvp_answered_key(const struct kvp_request *r);
char *kvp_answered_value(const struct kvp_request *r);
/* To get_ip, for kvp_free_addresses(). -ENOMEM: nothing is to be freed. */
int kvp_answered_addresses(const struct kvp_request *r, struct kvp_addresses *addresses);

#endif
