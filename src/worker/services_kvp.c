/*
 * services_kvp.c - key-value exchange: requests to read and change the guest's pools, and addresses
 * of its adapters; see services.h.
 *
 * A job may be several messages to the guest, of which each is sent when the one before was
 * answered: an enumeration is a message for each item. Getting one item may be an enumeration, too:
 * Linux's daemon returns an empty value for it, and knows its own pool only that way.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "worker/services.h"

#define LIST_BYTES (CONTROL_LINE / 2) /* of a reply's items; one more is less than the rest */

struct kvp_job;

struct kvp_job {
	struct job job;
	struct kvp_request request;
	int err;
	/* What an answer leads to: true, the job is done and was answered. */
	bool (*next)(struct kvp_job *j);
	enum kvp_pool pool;
	uint32_t index; /* of an enumeration */
	char *key;	/* that is looked for */
	struct json_object *items;
	size_t bytes; /* of the items */
};

/* ---- The course of a job -------------------------------------------------------------------- */

static void on_answer(struct kvp_request *r)
{
	struct kvp_job *j = (struct kvp_job *)((char *)r - offsetof(struct kvp_job, request));

	j->err = r->ic.err;
	job_done(&j->job);
}

static void finish(struct job *job)
{
	struct kvp_job *j = (struct kvp_job *)job;

	if (job->client && !j->next(j))
		return;
	json_object_put(j->items);
	free(j->key);
	free(j);
}

/*
 * @err: of putting the message together. A failure is dealt with as if the guest had answered so.
 */
static void ask(struct kvp_job *j, int err)
{
	struct kvp *kvp = j->job.machine->services->kvp; /* NULL: disabled meanwhile */

	j->request.done = on_answer;
	j->request.ic.deadline = loop_now() + SERVICE_PATIENCE_NS;
	if (!err)
		err = kvp ? kvp_submit(kvp, &j->request) : -ENOTCONN;
	if (!err)
		return;
	j->err = err;
	job_done(&j->job);
}

/* True: it did, and the client was told. */
static bool failed(struct kvp_job *j)
{
	switch (j->err) {
	case -EMSGSIZE:
		job_error(&j->job,
			"a key has 1 to %u characters, a value at most %u, and addresses are "
			"shorter",
			KVP_KEY_MAX, KVP_VALUE_MAX);
		return true;
	case -EINVAL:
		job_error(&j->job,
			"there are up to %u addresses and %u gateways of each family, and a subnet "
			"for each address: the mask of an IPv4 one, the prefix length of an IPv6 "
			"one",
			IC_KVP_BINARY_ADDRESSES, IC_KVP_BINARY_GATEWAYS);
		return true;
	default:
		return service_failed(
			&j->job, WORKER_KVP, j->err, j->err ? 0 : j->request.ic.status);
	}
}

static struct json_object *answered_item(struct kvp_job *j)
{
	struct json_object *item = json_object_new_object();
	char *key = j->key ? strdup(j->key) : kvp_answered_key(&j->request);
	char *value = kvp_answered_value(&j->request);

	json_object_object_add(item, "key", json_object_new_string(key ? key : ""));
	json_object_object_add(item, "value", json_object_new_string(value ? value : ""));
	free(key);
	free(value);
	return item;
}

static void enumerate(struct kvp_job *j)
{
	ask(j, kvp_put_enumerate(&j->request, j->pool, j->index++));
}

static bool ended(const struct kvp_job *j)
{
	return !j->err && j->request.ic.status == IC_NO_MORE_ITEMS;
}

/* ---- What follows an answer ----------------------------------------------------------------- */

static bool next_plain(struct kvp_job *j)
{
	if (!failed(j))
		job_answer(&j->job, json_object_new_object());
	return true;
}

static bool next_find(struct kvp_job *j)
{
	char *key;
	bool found;

	if (ended(j)) {
		job_error(&j->job, "the guest has no item '%s' in that pool", j->key);
		return true;
	}
	if (failed(j))
		return true;
	key = kvp_answered_key(&j->request);
	found = key && strcmp(key, j->key) == 0;
	free(key);
	if (found)
		job_answer(&j->job, answered_item(j));
	else
		enumerate(j);
	return found;
}

static bool next_get(struct kvp_job *j)
{
	char *value;
	bool got;

	if (j->err && failed(j))
		return true;
	value = j->request.ic.status ? NULL : kvp_answered_value(&j->request);
	got = value && value[0];
	free(value);
	if (got) {
		job_answer(&j->job, answered_item(j));
		return true;
	}
	j->next = next_find;
	enumerate(j);
	return false;
}

static bool next_list(struct kvp_job *j)
{
	struct json_object *reply, *item;

	if (!ended(j)) {
		if (failed(j))
			return true;
		item = answered_item(j);
		j->bytes += strlen(json_object_to_json_string_ext(item, JSON_C_TO_STRING_PLAIN));
		json_object_array_add(j->items, item);
		if (j->bytes < LIST_BYTES) {
			enumerate(j);
			return false;
		}
	}
	reply = json_object_new_object();
	json_object_object_add(reply, "items", json_object_get(j->items));
	if (!ended(j))
		json_object_object_add(reply, "next", json_object_new_int64(j->index));
	job_answer(&j->job, reply);
	return true;
}

static bool next_addresses(struct kvp_job *j)
{
	struct kvp_addresses a;
	struct json_object *reply;

	if (failed(j))
		return true;
	if (kvp_answered_addresses(&j->request, &a)) {
		job_error(&j->job, "memory is short");
		return true;
	}
	reply = json_object_new_object();
	json_object_object_add(reply, "addresses", json_object_new_string(a.addresses));
	json_object_object_add(reply, "subnets", json_object_new_string(a.subnets));
	json_object_object_add(reply, "gateways", json_object_new_string(a.gateways));
	json_object_object_add(reply, "dns", json_object_new_string(a.dns));
	if (a.origins)
		json_object_object_add(reply, "origins", json_object_new_string(a.origins));
	json_object_object_add(reply, "dhcp", json_object_new_boolean(a.dhcp));
	kvp_free_addresses(&a);
	job_answer(&j->job, reply);
	return true;
}

/* ---- Requests ------------------------------------------------------------------------------- */

/* NULL: an error was replied. */
static struct kvp_job *begin(
	struct machine *m, struct control_request *r, bool (*next)(struct kvp_job *j))
{
	struct kvp_job *j;

	if (!services_enabled(m->services, r, WORKER_KVP))
		return NULL;
	j = calloc(1, sizeof(*j));
	if (!j) {
		control_error(r, "memory is short");
		return NULL;
	}
	j->job = (struct job){.finish = finish};
	j->next = next;
	if (job_begin(m, r, &j->job))
		return j;
	free(j);
	return NULL;
}

static bool find_pool(struct control_request *r, enum kvp_pool *pool)
{
	static const char *const pools[] = {[KVP_POOL_EXTERNAL] = "external",
		[KVP_POOL_GUEST] = "guest",
		[KVP_POOL_AUTO] = "auto",
		[KVP_POOL_AUTO_EXTERNAL] = "auto-external"};
	const char *name = service_string(r, "pool");

	for (unsigned i = 0; name && i < KVP_POOLS; i++)
		if (strcmp(name, pools[i]) == 0) {
			*pool = i;
			return true;
		}
	control_error(r, "there are the pools external, guest, auto and auto-external");
	return false;
}

static bool find_string(struct control_request *r, const char *name, const char **text)
{
	*text = service_string(r, name);
	if (!*text)
		control_error(r, "the request has no %s", name);
	return *text;
}

void services_kvp_get_request(struct machine *m, struct control_request *r)
{
	enum kvp_pool pool;
	const char *key;
	struct kvp_job *j;

	if (!find_pool(r, &pool) || !find_string(r, "key", &key) || !(j = begin(m, r, next_get)))
		return;
	j->pool = pool;
	j->key = strdup(key);
	ask(j, j->key ? kvp_put_get(&j->request, pool, key) : -ENOMEM);
}

void services_kvp_set_request(struct machine *m, struct control_request *r)
{
	enum kvp_pool pool;
	const char *key, *value;
	struct kvp_job *j;

	if (find_pool(r, &pool) && find_string(r, "key", &key) && find_string(r, "value", &value) &&
		(j = begin(m, r, next_plain)))
		ask(j, kvp_put_set(&j->request, pool, key, value));
}

void services_kvp_delete_request(struct machine *m, struct control_request *r)
{
	enum kvp_pool pool;
	const char *key;
	struct kvp_job *j;

	if (find_pool(r, &pool) && find_string(r, "key", &key) && (j = begin(m, r, next_plain)))
		ask(j, kvp_put_delete(&j->request, pool, key));
}

void services_kvp_list_request(struct machine *m, struct control_request *r)
{
	struct json_object *from;
	enum kvp_pool pool;
	struct kvp_job *j;
	int64_t index = 0;

	if (json_object_object_get_ex(r->json, "from", &from))
		index = json_object_get_int64(from);
	if (index < 0 || index > UINT32_MAX) {
		control_error(r, "there is no item %lld", (long long)index);
		return;
	}
	if (!find_pool(r, &pool) || !(j = begin(m, r, next_list)))
		return;
	j->pool = pool;
	j->index = (uint32_t)index;
	j->items = json_object_new_array();
	enumerate(j);
}

static bool find_adapter(struct control_request *r, const char **adapter, unsigned *family)
{
	const char *name = service_string(r, "family");

	if (!find_string(r, "adapter", adapter))
		return false;
	*family = name && strcmp(name, "ipv6") == 0 ? IC_KVP_IPV6 : IC_KVP_IPV4;
	return true;
}

void services_ip_get_request(struct machine *m, struct control_request *r)
{
	const char *adapter;
	unsigned family;
	struct kvp_job *j;

	if (find_adapter(r, &adapter, &family) && (j = begin(m, r, next_addresses)))
		ask(j, kvp_put_get_ip(&j->request, adapter, family));
}

void services_ip_set_request(struct machine *m, struct control_request *r)
{
	/* Not changed, although what they could be freed as is not constant. */
	const struct kvp_addresses a = {
		.addresses = (char *)service_string(r, "addresses"),
		.subnets = (char *)service_string(r, "subnets"),
		.gateways = (char *)service_string(r, "gateways"),
		.dns = (char *)service_string(r, "dns"),
		.dhcp = service_flag(r, "dhcp"),
	};
	const char *adapter;
	unsigned family;
	struct kvp_job *j;

	if (find_adapter(r, &adapter, &family) && (j = begin(m, r, next_plain)))
		ask(j, kvp_put_set_ip(&j->request, adapter, family, &a));
}
