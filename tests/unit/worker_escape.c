/*
 * worker_escape.c - the escape key of the terminal.
 */
#include "worker/escape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

/* Types keys; returns what the guest gets, and the last command. */
static const char *type(const char *keys, enum escape_command *last)
{
	static char got[64];
	bool armed = false;
	size_t length = 0;

	*last = ESCAPE_NONE;
	for (; *keys; keys++) {
		uint8_t byte = *keys;
		enum escape_command command;

		if (escape_filter(&armed, &byte, &command))
			got[length++] = byte;
		if (command != ESCAPE_NONE)
			*last = command;
	}
	got[length] = 0;
	return got;
}

static void ordinary_keys_pass(void **state)
{
	enum escape_command command;

	assert_string_equal(type("xhq\x03\x1a\x7f", &command), "xhq\x03\x1a\x7f");
	assert_int_equal(command, ESCAPE_NONE);
}

static void commands(void **state)
{
	enum escape_command command;

	assert_string_equal(type("a\x01xb", &command), "ab");
	assert_int_equal(command, ESCAPE_QUIT);
	assert_string_equal(type("\x01h", &command), "");
	assert_int_equal(command, ESCAPE_HELP);
	assert_string_equal(type("\x01?", &command), "");
	assert_int_equal(command, ESCAPE_HELP);
}

static void doubled_key_is_one(void **state)
{
	enum escape_command command;

	assert_string_equal(type("\x01\x01x", &command), "\x01x");
	assert_int_equal(command, ESCAPE_NONE);
	assert_string_equal(type("\x01\x01\x01\x01", &command), "\x01\x01");
}

static void unknown_command_is_swallowed(void **state)
{
	enum escape_command command;

	assert_string_equal(type("\x01zx", &command), "x");
	assert_int_equal(command, ESCAPE_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_keys_pass),
		cmocka_unit_test(commands),
		cmocka_unit_test(doubled_key_is_one),
		cmocka_unit_test(unknown_command_is_swallowed),
	};

	return cmocka_run_group_tests_name("worker/escape", tests, NULL, NULL);
}
