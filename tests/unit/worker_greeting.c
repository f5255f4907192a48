/*
 * worker_greeting.c - the first line at a machine's socket, in both forms.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "worker/greeting.h"

static void test_a_port(void **state)
{
	struct socket_request r;
	uint32_t port;

	assert_true(greeting_parse("CONNECT 5000", &r));
	assert_true(hv_port_of_service(&r.service, &port));
	assert_int_equal(port, 5000);
	assert_int_equal(r.kind, GREETING_PORT);
	assert_int_equal(r.skip, 0);
	assert_true(r.timeout_ms > 0);
	assert_true(greeting_parse("CONNECT 0", &r));
	assert_true(greeting_parse("CONNECT 4294967294", &r));
}

static void test_what_is_no_port(void **state)
{
	static const char *const lines[] = {"", "CONNECT", "CONNECT ", "CONNECT -1", "CONNECT +1",
		"CONNECT 0x10", "CONNECT 1 ", "CONNECT  1", "connect 1", "CONNECT 4294967295",
		"CONNECT 99999999999", "CONNECT 18446744073709551617", "CONNECT 1\r", "OK 1"};
	struct socket_request r;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_false(greeting_parse(lines[i], &r));
}

static void test_a_service(void **state)
{
	struct hv_greeting g = {
		.service = hv_service_of_port(7), .padding = 100000, .timeout_ms = 1234};
	struct socket_request r;
	char line[GREETING_MAX];
	size_t length = hv_greeting_format(&g, line);

	line[length - 1] = 0;
	assert_true(greeting_parse(line, &r));
	assert_memory_equal(&r.service, &g.service, sizeof(GUID));
	assert_int_equal(r.kind, GREETING_SERVICE);
	assert_int_equal(r.skip, 100000);
	assert_int_equal(r.timeout_ms, 1234);
}

static void test_answers(void **state)
{
	char text[GREETING_MAX], refusal[16];

	assert_int_equal(greeting_answer(GREETING_PORT, 0, 77, text), 6);
	assert_string_equal(text, "OK 77\n");
	assert_int_equal(greeting_answer(GREETING_PORT, -ECONNREFUSED, 0, text), 0);
	assert_int_equal(greeting_answer(GREETING_SERVICE, 0, 77, text), 0);
	snprintf(refusal, sizeof(refusal), "E%d\n", ETIMEDOUT);
	assert_int_equal(greeting_answer(GREETING_SERVICE, -ETIMEDOUT, 0, text), strlen(refusal));
	assert_memory_equal(text, refusal, strlen(refusal));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_port),
		cmocka_unit_test(test_what_is_no_port),
		cmocka_unit_test(test_a_service),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
