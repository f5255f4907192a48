/*
 * base_crc32c.c - the checksum, by the instruction and by the table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crc32c.c"

/* RFC 3720 B.4, and the check value that every CRC has. */
static void test_known(void **state)
{
	uint8_t bytes[32] = {0};

	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, 32);
	assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = i;
	assert_int_equal(crc32c(0, bytes, 32), 0x46dd794e);
	assert_int_equal(crc32c(0, bytes, 0), 0);
}

/* Both ways, any alignment, in pieces. */
static void test_both(void **state)
{
	uint8_t bytes[100];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = i * 37;
	for (unsigned from = 0; from < 9; from++)
		for (unsigned n = 0; n < 80; n++) {
			uint32_t whole = crc32c(0, bytes + from, n);

			assert_int_equal(~by_table(~0u, bytes + from, n), whole);
			assert_int_equal(crc32c(crc32c(0, bytes + from, n / 3),
						 bytes + from + n / 3, n - n / 3),
				whole);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
