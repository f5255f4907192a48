/*
 * cli_parse.c - sizes and counts on the command line.
 */
#include "cli/cli.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"1K", 1024},
		{"512M", 512ull << 20},
		{"512m", 512ull << 20},
		{"3G", 3ull << 30},
		{"16777215T", 16777215ull << 40},
		{"0M", 0},
	};
	static const char *const bad[] = {"", "M", "512", "-1M", "+1M", " 1M", "1 M", "1MB", "1.5G",
		"0x10M", "1X", "16777216T", "18446744073709551616K", "1Mi"};
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(cli_parse_size(good[i].text, &bytes), 0);
		assert_int_equal(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(cli_parse_size(bad[i], &bytes), -EINVAL);
}

static void counts(void **state)
{
	static const char *const bad[] = {
		"", "-1", "+1", " 1", "1 ", "0x1", "two", "65", "18446744073709551617"};
	uint64_t count;

	assert_int_equal(cli_parse_count("0", 64, &count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(cli_parse_count("64", 64, &count), 0);
	assert_int_equal(count, 64);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(cli_parse_count(bad[i], 64, &count), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(sizes), cmocka_unit_test(counts)};

	return cmocka_run_group_tests_name("cli/parse", tests, NULL, NULL);
}
