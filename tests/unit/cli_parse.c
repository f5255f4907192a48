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

static void bytes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"1", 1},
		{"1073741824", 1073741824},
		{"10G", 10ull << 30},
		{"10g", 10ull << 30},
		{"10GB", 10ull << 30},
		{"10gb", 10ull << 30},
		{"10GiB", 10ull << 30},
		{"512M", 512ull << 20},
		{"1.5T", 3ull << 39},
		{"0.5K", 0},
		{"1.1G", 1181114368}, /* 1181116006.4 */
		{"2.000000000000000000000001G", 2ull << 30},
		{"16383P", 16383ull << 50},
		{"16383.5P", (16383ull << 50) + (1ull << 49)},
		{"18446744073709551615", UINT64_MAX},
	};
	static const char *const bad[] = {"", "G", "-1G", "+1G", " 1G", "1 G", "1X", "1GX", "1Gi",
		"1GiBs", "1.5", ".5G", "1.G", "1..5G", "1,5G", "0x10G", "16384P", "1E", "1e3",
		"18446744073709551616", "18014398509481984K", "1B", "G1", "1GG"};
	uint64_t value;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(cli_parse_bytes(good[i].text, &value), 0);
		assert_int_equal(value, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(cli_parse_bytes(bad[i], &value), -EINVAL);
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
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes), cmocka_unit_test(bytes), cmocka_unit_test(counts)};

	return cmocka_run_group_tests_name("cli/parse", tests, NULL, NULL);
}
