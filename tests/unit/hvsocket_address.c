/*
 * hvsocket_address.c - the forms of a Hyper-V socket's address: names of connecting ends, vsock
 * ports, places of sockets, and the line that asks a machine for a connection.
 */
#include "hvsocket/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/guid.h"
#include "hvsocket/connect.h"
#include "hvsocket/places.h"

#define VM	"11111111-2222-3333-4444-555555555555"
#define SERVICE "0000138a-facb-11e6-bd58-64006a7986d3" /* vsock:5002 */

static GUID guid(const char *text)
{
	GUID g;

	assert_true(guid_parse(text, &g));
	return g;
}

static void names_come_back(void **state)
{
	static const uint64_t numbers[] = {0, 1, 0xfedcba98, UINT64_MAX};
	const struct hv_address a = {guid(VM), guid(SERVICE)};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct sockaddr_un name;
		struct hv_address b;
		socklen_t length = hv_address_encode(&a, numbers[i], &name);

		assert_int_equal(name.sun_path[0], 0);
		assert_true(hv_address_decode(&name, length, &b));
		assert_memory_equal(&a, &b, sizeof(a));
	}
}

static void other_names_are_none(void **state)
{
	const struct hv_address a = {guid(VM), guid(SERVICE)};
	struct sockaddr_un name, other;
	socklen_t length = hv_address_encode(&a, 0x123, &name);
	struct hv_address b;

	for (socklen_t i = 0; i < length - 3; i++)
		assert_false(hv_address_decode(&name, i, &b));
	assert_false(hv_address_decode(&name, sizeof(name) + 1, &b));
	assert_false(hv_address_decode(&name, sizeof(name), &b));
	for (socklen_t i = 0; i < length; i++) {
		other = name;
		((char *)&other)[i] ^= 0x40; /* no digit becomes another */
		assert_false(hv_address_decode(&other, length, &b));
	}
	strcpy(name.sun_path, "/a/path");
	assert_false(hv_address_decode(&name, sizeof(name), &b));
}

static void ports_are_services(void **state)
{
	GUID service = hv_service_of_port(5002), other = guid(VM);
	char text[HV_SERVICE_TEXT];
	uint32_t port;

	assert_string_equal(guid_format(&service, text), SERVICE);
	assert_true(hv_port_of_service(&service, &port));
	assert_int_equal(port, 5002);
	assert_false(hv_port_of_service(&other, &port));
	assert_string_equal(hv_service_format(&service, text), "vsock:5002");
	assert_string_equal(hv_service_format(&other, text), VM);
}

static void services_as_text(void **state)
{
	static const char *const bad[] = {"", "vsock:", "vsock:-1", "vsock:+1", "vsock: 1",
		"vsock:1 ", "vsock:0x10", "vsock:4294967295", "vsock:99999999999999999999", "vsock",
		"5002", "00000000-0000-0000-0000-000000000000", "VSOCK:1"};
	GUID service, expected = guid(SERVICE);

	assert_true(hv_service_parse("vsock:5002", &service));
	assert_memory_equal(&service, &expected, sizeof(service));
	assert_true(hv_service_parse("{" SERVICE "}", &service));
	assert_memory_equal(&service, &expected, sizeof(service));
	assert_true(hv_service_parse("vsock:4294967294", &service));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(hv_service_parse(bad[i], &service));
}

static void constants_are_no_machines(void **state)
{
	const GUID vm = guid(VM);

	assert_true(hv_is_machine(&vm));
	assert_false(hv_is_machine(&hv_zero));
	assert_false(hv_is_machine(&hv_broadcast));
	assert_false(hv_is_machine(&hv_children));
	assert_false(hv_is_machine(&hv_loopback));
	assert_false(hv_is_machine(&hv_parent));
	assert_false(hv_is_machine(&hv_silohost));
	assert_true(hv_is_host(&hv_loopback));
	assert_true(hv_is_host(&hv_parent));
	assert_false(hv_is_host(&hv_zero));
	assert_false(hv_is_host(&vm));
}

static void listeners_have_names(void **state)
{
	static const char *const bad[] = {
		"", "/", VM, VM "." VM "x", VM "-" VM, "/run/" VM "/" VM, VM "." VM "/"};
	char path[PATH_MAX], long_base[PATH_MAX + 1];
	const GUID vm = guid(VM), service = guid(SERVICE);
	GUID a, b;

	hv_place_listener("/run", &vm, &service, path);
	assert_string_equal(path, "/run/sockets/listen/" VM "." SERVICE);
	assert_true(hv_place_name(path, &a, &b));
	assert_memory_equal(&a, &vm, sizeof(a));
	assert_memory_equal(&b, &service, sizeof(b));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(hv_place_name(bad[i], &a, &b));
	memset(long_base, '/', PATH_MAX);
	long_base[PATH_MAX] = 0;
	hv_place_listener(long_base, &vm, &service, path);
	assert_int_equal(strlen(path), PATH_MAX - 1);
}

static void greetings_come_back(void **state)
{
	struct hv_greeting g = {guid(SERVICE), 53249, 2000}, back;
	char text[HV_GREETING_TEXT];
	size_t n = hv_greeting_format(&g, text);

	assert_string_equal(text, "HVCONNECT " SERVICE " 53249 2000\n");
	assert_int_equal(n, strlen(text));
	text[n - 1] = 0;
	assert_true(hv_greeting_parse(text, &back));
	assert_memory_equal(&g.service, &back.service, sizeof(GUID));
	assert_int_equal(back.padding, 53249);
	assert_int_equal(back.timeout_ms, 2000);
	g.padding = -1;
	g.timeout_ms = -1;
	assert_true(hv_greeting_format(&g, text) < HV_GREETING_TEXT);
}

static void malformed_greetings_are_none(void **state)
{
	static const char *const bad[] = {"", "CONNECT 22", "HVCONNECT", "HVCONNECT ",
		"HVCONNECT " SERVICE, "HVCONNECT " SERVICE " ", "HVCONNECT " SERVICE " 1",
		"HVCONNECT " SERVICE " 1 ", "HVCONNECT " SERVICE " 1 0",
		"HVCONNECT " SERVICE " -1 1", "HVCONNECT " SERVICE " 1 -1",
		"HVCONNECT " SERVICE " 1 300001", "HVCONNECT " SERVICE " 2147483648 1",
		"HVCONNECT " SERVICE " 99999999999999999999999 1", "HVCONNECT " SERVICE " 1 1 ",
		"HVCONNECT " SERVICE " 1 1 1", "HVCONNECT " SERVICE "  1 1",
		"HVCONNECT " VM "1 1 1", "HVCONNECT 1 1 1", "hvconnect " SERVICE " 1 1"};
	struct hv_greeting g;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(hv_greeting_parse(bad[i], &g));
	assert_true(hv_greeting_parse("HVCONNECT " SERVICE " 0 300000", &g));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_come_back),
		cmocka_unit_test(other_names_are_none),
		cmocka_unit_test(ports_are_services),
		cmocka_unit_test(services_as_text),
		cmocka_unit_test(constants_are_no_machines),
		cmocka_unit_test(listeners_have_names),
		cmocka_unit_test(greetings_come_back),
		cmocka_unit_test(malformed_greetings_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
