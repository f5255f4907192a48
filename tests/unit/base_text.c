/*
 * base_text.c - GUIDs and UTF-16.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/guid.h"
#include "base/utf16.h"

static void test_guid_text(void **state)
{
	static const unsigned char bytes[16] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
		0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
	const char *text = "2dc27766-f623-4200-9d64-115e9bfd4a08";
	char back[GUID_TEXT];
	GUID g, h;

	assert_true(guid_parse(text, &g));
	assert_memory_equal(&g, bytes, 16);
	assert_string_equal(guid_format(&g, back), text);
	assert_true(guid_parse("{2DC27766-F623-4200-9D64-115E9BFD4A08}", &h));
	assert_true(guid_equal(&g, &h));
	assert_false(guid_parse("", &h));
	assert_false(guid_parse("2dc27766-f623-4200-9d64-115e9bfd4a0", &h));
	assert_false(guid_parse("2dc27766-f623-4200-9d64-115e9bfd4a0g", &h));
	assert_false(guid_parse("{2dc27766-f623-4200-9d64-115e9bfd4a08", &h));
	assert_false(guid_parse("2dc27766+f623-4200-9d64-115e9bfd4a08", &h));
}

static void test_guid_new(void **state)
{
	GUID a, b;

	guid_new(&a);
	guid_new(&b);
	assert_false(guid_equal(&a, &b));
	assert_false(guid_is_zero(&a));
	assert_int_equal(a.Data3 >> 12, 4);
	assert_int_equal(a.Data4[0] >> 6, 2);
	memset(&a, 0, sizeof(a));
	assert_true(guid_is_zero(&a));
}

static void check_text(const char *utf8, const uint16_t *utf16, size_t n)
{
	size_t got;
	uint16_t *u = utf16_from_utf8(utf8, &got);
	char *t;

	assert_non_null(u);
	assert_int_equal(got, n);
	assert_int_equal(utf16_length(u), n);
	assert_memory_equal(u, utf16, n * 2);
	t = utf16_to_utf8(u, n + 1);
	assert_non_null(t);
	assert_string_equal(t, utf8);
	free(t);
	free(u);
}

static void test_utf16(void **state)
{
	check_text("", (const uint16_t *)u"", 0);
	check_text("C:\\disk.vhdx", (const uint16_t *)u"C:\\disk.vhdx", 12);
	check_text("\u00e9\u20ac\U0001f600z", (const uint16_t *)u"\u00e9\u20ac\U0001f600z", 5);
}

/* What is not text becomes U+FFFD, and what follows is still read. */
static void test_utf16_bad(void **state)
{
	static const char *const bad[] = {
		"\xff", "\xc0\x80" /* two */, "\xe0\x80", "\x80", "\xf8", "\xed\xa0\x80"};
	static const size_t many[] = {1, 2, 2, 1, 1, 3};
	static const uint16_t lone[] = {0xd800, 'x', 0xdc00, 'y', 0xd800};
	char *t = utf16_to_utf8(lone, 5);

	assert_string_equal(t, "\ufffdx\ufffdy\ufffd");
	free(t);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[16];
		uint16_t *u;
		size_t n;

		strcpy(text, bad[i]);
		strcat(text, "k");
		u = utf16_from_utf8(text, &n);
		assert_int_equal(n, many[i] + 1);
		assert_int_equal(u[0], 0xfffd);
		assert_int_equal(u[n - 1], 'k');
		free(u);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guid_text),
		cmocka_unit_test(test_guid_new),
		cmocka_unit_test(test_utf16),
		cmocka_unit_test(test_utf16_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
