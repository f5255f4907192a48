/*
 * vsp_kvp.c - key-value exchange, with a driver of the test's: items, addresses as text and in
 * binary, and drivers that do it wrong.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf16.h"
#include "service_guest.h"

static void kvp_done(struct kvp_request *r)
{
	service_ended();
}

/* What the host says of itself comes first. */
static void expect_items(struct message *m)
{
	struct ic_kvp *k = (struct ic_kvp *)m->body;

	for (unsigned i = 0; i < SERVICE_ITEMS; i++) {
		char *text;

		service_take(IC_KVP, m);
		assert_int_equal(k->operation, IC_KVP_SET);
		assert_int_equal(k->pool, KVP_POOL_AUTO_EXTERNAL);
		text = utf16_to_utf8((void *)k->value.text, IC_KVP_VALUE / 2);
		assert_string_equal(text, service_items[i].value);
		free(text);
		service_answer(m, i ? IC_OK : IC_FAIL);
	}
}

static void connect_kvp(uint16_t major, struct message *m)
{
	service_connect(KVP, major, 0);
	expect_items(m);
}

static void test_kvp(void **state)
{
	struct message m;
	struct ic_kvp *k = (struct ic_kvp *)m.body;
	struct kvp_request r = {.done = kvp_done};
	char *key, *value;

	connect_kvp(4, &m);
	assert_int_equal(kvp_put_enumerate(&r, KVP_POOL_GUEST, 7), 0);
	assert_int_equal(kvp_submit(f->kvp, &r), 0);
	service_take(IC_KVP, &m);
	assert_int_equal(m.header.size, sizeof(*k));
	assert_int_equal(k->item.index, 7);
	k->item.value.type = IC_KVP_U64;
	k->item.value.key_size = IC_KVP_KEY;
	for (unsigned i = 0; i < IC_KVP_KEY / 2; i++)
		k->item.value.key[i] = 'k'; /* without an end */
	k->item.value.value_size = 8;
	k->item.value.u64 = 1ull << 40;
	service_answer(&m, IC_OK);
	service_await_ends(1);
	assert_int_equal(r.ic.err, 0);
	key = kvp_answered_key(&r);
	value = kvp_answered_value(&r);
	assert_int_equal(strlen(key), IC_KVP_KEY / 2);
	assert_string_equal(value, "1099511627776");
	free(key);
	free(value);
	guest_close(&f->c);
}

static void test_kvp_sizes(void **state)
{
	char text[KVP_VALUE_MAX + 2];
	struct kvp_request r;
	struct kvp_addresses a = {.gateways = text};

	memset(text, 'x', sizeof(text));
	text[KVP_KEY_MAX] = 0;
	assert_int_equal(kvp_put_get(&r, KVP_POOL_GUEST, text), 0);
	assert_int_equal(r.message.item.value.key_size, IC_KVP_KEY);
	assert_int_equal(kvp_put_delete(&r, KVP_POOL_GUEST, text), 0);
	assert_int_equal(r.message.item.name.key_size, IC_KVP_KEY);
	text[KVP_KEY_MAX] = 'x';
	text[KVP_KEY_MAX + 1] = 0;
	assert_int_equal(kvp_put_get(&r, KVP_POOL_GUEST, text), -EMSGSIZE);
	assert_int_equal(kvp_put_delete(&r, KVP_POOL_GUEST, text), -EMSGSIZE);
	assert_int_equal(kvp_put_get(&r, KVP_POOL_GUEST, ""), -EMSGSIZE);
	text[KVP_KEY_MAX + 1] = 'x';
	text[KVP_VALUE_MAX] = 0;
	assert_int_equal(kvp_put_set(&r, KVP_POOL_GUEST, "k", text), 0);
	assert_int_equal(r.message.item.value.value_size, IC_KVP_VALUE);
	text[KVP_VALUE_MAX] = 'x';
	text[KVP_VALUE_MAX + 1] = 0;
	assert_int_equal(kvp_put_set(&r, KVP_POOL_GUEST, "k", text), -EMSGSIZE);
	assert_int_equal(kvp_put_set_ip(&r, "adapter", IC_KVP_IPV4, &a), -EMSGSIZE);
	assert_int_equal(kvp_put_get_ip(&r, text, IC_KVP_IPV4), -EMSGSIZE);
}

static void test_kvp_addresses(void **state)
{
	struct message m;
	struct ic_kvp_ip *ip = (struct ic_kvp_ip *)m.body;
	struct kvp_request r = {.done = kvp_done};
	struct kvp_addresses a;

	connect_kvp(4, &m);
	assert_int_equal(kvp_put_get_ip(&r, "00:15:5D:00:00:01", IC_KVP_IPV4), 0);
	assert_int_equal(kvp_submit(f->kvp, &r), 0);
	service_take(IC_KVP, &m);
	assert_int_equal(m.header.size, sizeof(*ip));
	assert_int_equal(ip->family, IC_KVP_IPV4);
	for (unsigned i = 0; i < IC_KVP_ADDRESSES; i++)
		ip->addresses[i] = '1'; /* without an end */
	ip->dhcp = 1;
	service_answer(&m, IC_OK);
	service_await_ends(1);
	assert_int_equal(kvp_answered_addresses(&r, &a), 0);
	assert_int_equal(strlen(a.addresses), IC_KVP_ADDRESSES);
	assert_string_equal(a.dns, "");
	assert_true(a.dhcp);
	kvp_free_addresses(&a);
	guest_close(&f->c);
}

/* What the guest is asked in 5.0, and what is made of its answer. */
static void test_binary_addresses(void **state)
{
	struct message m;
	struct ic_kvp_ip_binary *b = (struct ic_kvp_ip_binary *)m.body;
	struct kvp_request r = {.done = kvp_done};
	struct kvp_addresses a;
	char *adapter;

	connect_kvp(5, &m);
	assert_int_equal(kvp_put_get_ip(&r, "00:15:5D:00:00:01", IC_KVP_IPV6), 0);
	assert_int_equal(kvp_submit(f->kvp, &r), 0);
	service_take(IC_KVP, &m);
	assert_int_equal(m.header.size, sizeof(struct ic_kvp_ip));
	assert_int_equal(b->operation, IC_KVP_GET_IP);
	assert_int_equal(b->family, IC_KVP_IPV6);
	adapter = utf16_to_utf8(b->adapter, IC_KVP_ADAPTER);
	assert_string_equal(adapter, "00:15:5D:00:00:01");
	free(adapter);
	b->addresses = (struct ic_kvp_counts){2, 1};
	b->gateways = (struct ic_kvp_counts){0, 1};
	b->dns = (struct ic_kvp_counts){1, 0};
	for (unsigned i = 0; i < 2; i++) {
		memcpy(b->ipv4_addresses[i], (uint8_t[]){10, 1, 2, (uint8_t)(3 + i)}, 4);
		memcpy(b->ipv4_subnets[i], (uint8_t[]){255, 255, 0, 0}, 4);
	}
	b->ipv6_addresses[0][15] = b->ipv6_gateways[0][0] = 0xfe;
	b->ipv6_subnets[0] = 64;
	b->ipv4_dns[0][3] = 8;
	memcpy(b->origins, (uint16_t[]){IC_KVP_ORIGIN_STATIC, 99, IC_KVP_ORIGIN_OTHER}, 6);
	b->dhcp = 1;
	service_answer(&m, IC_OK);
	service_await_ends(1);
	assert_int_equal(r.ic.err, 0);
	assert_int_equal(kvp_answered_addresses(&r, &a), 0);
	assert_string_equal(a.addresses, "10.1.2.3;10.1.2.4;::fe");
	assert_string_equal(a.subnets, "255.255.0.0;255.255.0.0;/64");
	assert_string_equal(a.gateways, "fe00::");
	assert_string_equal(a.dns, "0.0.0.8");
	assert_string_equal(a.origins, "static;unknown;other");
	assert_true(a.dhcp);
	kvp_free_addresses(&a);
	guest_close(&f->c);
}

/* Every array as full as it can be, and back. */
static void test_binary_full(void **state)
{
	static struct ic_kvp_ip_binary b, back;
	struct kvp_addresses a;

	b.addresses = b.dns = (struct ic_kvp_counts){64, 64};
	b.gateways = (struct ic_kvp_counts){5, 5};
	b.family = IC_KVP_IPV4 | IC_KVP_IPV6;
	memset(b.ipv4_addresses, 11, sizeof(b.ipv4_addresses));
	memset(b.ipv6_addresses, 0xab, sizeof(b.ipv6_addresses));
	memset(b.ipv4_subnets, 254, sizeof(b.ipv4_subnets));
	for (unsigned i = 0; i < 64; i++)
		b.ipv6_subnets[i] = 2 * i + 1;
	memset(b.ipv4_gateways, 12, sizeof(b.ipv4_gateways));
	memset(b.ipv6_gateways, 0xcd, sizeof(b.ipv6_gateways));
	memset(b.ipv4_dns, 13, sizeof(b.ipv4_dns));
	memset(b.ipv6_dns, 0xef, sizeof(b.ipv6_dns));
	assert_true(kvp_addresses_counted(&b));
	assert_int_equal(kvp_addresses_unpack(&b, &a), 0);
	assert_int_equal(kvp_addresses_pack(&a, &back), 0);
	assert_memory_equal(&b, &back, sizeof(b));
	kvp_free_addresses(&a);
}

/* What is set: in binary to a guest of 5.0, as it was given to one of 4.0. */
static void test_set_addresses(void **state)
{
	const struct kvp_addresses a = {.addresses = "10.0.0.2; fd00::2",
		.subnets = "255.0.0.0;64",
		.gateways = "10.0.0.1",
		.dns = "fd00::1;10.0.0.9"};
	static const uint8_t dns[16] = {0xfd, [15] = 1};
	struct message m;
	struct ic_kvp_ip_binary *b = (struct ic_kvp_ip_binary *)m.body;
	struct ic_kvp_ip *ip = (struct ic_kvp_ip *)m.body;
	struct kvp_request r = {.done = kvp_done};
	char *text;

	for (uint16_t version = 4; version <= 5; version++) {
		connect_kvp(version, &m);
		assert_int_equal(kvp_put_set_ip(&r, "{id}", IC_KVP_IPV4, &a), 0);
		assert_int_equal(kvp_submit(f->kvp, &r), 0);
		service_take(IC_KVP, &m);
		assert_int_equal(b->operation, IC_KVP_SET_IP);
		if (version == 4) {
			assert_int_equal(ip->family, IC_KVP_IPV4 | IC_KVP_IPV6);
			text = utf16_to_utf8(ip->addresses, IC_KVP_ADDRESSES);
			assert_string_equal(text, a.addresses);
			free(text);
		} else {
			assert_int_equal(b->family, IC_KVP_IPV4 | IC_KVP_IPV6);
			assert_int_equal(b->addresses.ipv4 << 4 | b->addresses.ipv6, 0x11);
			assert_int_equal(b->gateways.ipv4 << 4 | b->gateways.ipv6, 0x10);
			assert_int_equal(b->dns.ipv4 << 4 | b->dns.ipv6, 0x11);
			assert_memory_equal(b->ipv4_addresses, ((uint8_t[]){10, 0, 0, 2}), 4);
			assert_memory_equal(b->ipv4_subnets, ((uint8_t[]){255, 0, 0, 0}), 4);
			assert_int_equal(b->ipv6_subnets[0], 64);
			assert_memory_equal(b->ipv6_dns, dns, 16);
		}
		service_answer(&m, IC_OK);
		service_await_ends(1);
		assert_int_equal(r.ic.status, IC_OK);
		guest_close(&f->c);
		service_tear_down(NULL);
		service_set_up(NULL);
	}
}

static void test_wrong_addresses(void **state)
{
	static const struct kvp_addresses wrong[] = {
		{.addresses = "10.0.0.256", .subnets = "255.0.0.0"},
		{.addresses = "10.0.0.1"},
		{.addresses = "10.0.0.1", .subnets = "24"},
		{.addresses = "10.0.0.1", .subnets = "255.0.0.0;255.0.0.0"},
		{.addresses = "fd00::1", .subnets = "255.0.0.0"},
		{.addresses = "fd00::1", .subnets = "129"},
		{.addresses = "fd00::1", .subnets = "-1"},
		{.addresses = "fd00::1", .subnets = "64x"},
		{.gateways = "1.1.1.1;1.1.1.2;1.1.1.3;1.1.1.4;1.1.1.5;1.1.1.6"},
		{.dns = "a name"},
		{.dns = "1111111111111111111111111111111111111111111111111111111111111111111111"},
	};
	struct kvp_request r;

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(kvp_put_set_ip(&r, "a", IC_KVP_IPV4, &wrong[i]), -EINVAL);
}

/* More addresses than there is room for, of each kind, and an answer that is too short. */
static void test_binary_nonsense(void **state)
{
	struct kvp_request r = {.done = kvp_done};
	struct message m;

	connect_kvp(5, &m);
	for (unsigned i = 0; i < 7; i++) {
		uint32_t many = i == 2 || i == 3 ? 6 : 65;

		if (i) {
			service_open(&m);
			service_pick(&m, (struct ic_version){3, 0}, (struct ic_version){5, 0});
			expect_items(&m);
		}
		assert_int_equal(kvp_put_get_ip(&r, "a", 0), 0);
		assert_int_equal(kvp_submit(f->kvp, &r), 0);
		service_take(IC_KVP, &m);
		if (i < 6)
			memcpy(m.body + 4 + 4 * i, &many, 4);
		else
			m.header.size = sizeof(struct ic_kvp_ip_binary) - 1;
		service_answer(&m, IC_OK);
		service_await_ends(1);
		assert_int_equal(r.ic.err, -EPROTO);
		service_await(IC_CLOSED);
		guest_close(&f->c);
	}
}

static void test_kvp_nonsense(void **state)
{
	struct message m;
	struct ic_kvp *k = (struct ic_kvp *)m.body;
	struct kvp_request r = {.done = kvp_done};

	connect_kvp(3, &m);
	assert_int_equal(kvp_put_get_ip(&r, "a", IC_KVP_IPV4), 0);
	assert_int_equal(kvp_submit(f->kvp, &r), -EOPNOTSUPP);
	assert_int_equal(kvp_put_enumerate(&r, KVP_POOL_GUEST, 0), 0);
	assert_int_equal(kvp_submit(f->kvp, &r), 0);
	service_take(IC_KVP, &m);
	k->item.value.value_size = IC_KVP_VALUE + 1;
	service_answer(&m, IC_OK);
	service_await_ends(1);
	assert_int_equal(r.ic.err, -EPROTO);
	service_await(IC_CLOSED);
	guest_close(&f->c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		SERVICE_TEST(test_kvp),
		SERVICE_TEST(test_kvp_sizes),
		SERVICE_TEST(test_kvp_addresses),
		SERVICE_TEST(test_binary_addresses),
		SERVICE_TEST(test_binary_full),
		SERVICE_TEST(test_set_addresses),
		SERVICE_TEST(test_wrong_addresses),
		SERVICE_TEST(test_binary_nonsense),
		SERVICE_TEST(test_kvp_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
