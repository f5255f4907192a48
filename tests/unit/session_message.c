/*
 * session_message.c - messages of a direct session: which are valid, from whom, and that packets
 * carry them as they are.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "session/key.h"
#include "session/message.h"

#define HOST  SESSION_FROM_HOST
#define AGENT SESSION_FROM_AGENT

static uint8_t bytes[sizeof(struct session_header) + SESSION_PAYLOAD_MAX + 1];

/* A message with the payload; returns its size. */
static size_t make(unsigned type, unsigned stream, const void *payload, size_t n)
{
	const struct session_header h = {.length = n, .type = type, .stream = stream};

	memcpy(bytes, &h, sizeof(h));
	memcpy(bytes + sizeof(h), payload, n);
	return sizeof(h) + n;
}

static bool valid(unsigned type, unsigned stream, const void *payload, size_t n, unsigned from)
{
	return session_message_valid(bytes, make(type, stream, payload, n), from);
}

/* Each type: the shortest payload, the longest, and who may send it; both ends of the lengths. */
static void lengths(void **state)
{
	static const struct {
		unsigned type, stream, least, most, from;
	} all[] = {
		{SESSION_HELLO, 0, 8, 8, HOST | AGENT},
		{SESSION_LOGIN, 0, 1, SESSION_USER_MAX, HOST},
		{SESSION_PROMPT, 0, 1, 1 + SESSION_TEXT_MAX, AGENT},
		{SESSION_ANSWER, 0, 0, SESSION_ANSWER_MAX, HOST},
		{SESSION_NOTE, 0, 1, 1 + SESSION_TEXT_MAX, AGENT},
		{SESSION_ACCEPTED, 0, 0, 0, AGENT},
		{SESSION_REFUSED, 0, 1, 1 + SESSION_TEXT_MAX, AGENT},
		{SESSION_STARTED, 0, 0, 0, AGENT},
		{SESSION_DATA, 0, 1, SESSION_PAYLOAD_MAX, HOST},
		{SESSION_DATA, 2, 1, SESSION_PAYLOAD_MAX, AGENT},
		{SESSION_EOF, 0, 0, 0, HOST},
		{SESSION_EOF, 1, 0, 0, AGENT},
		{SESSION_CREDIT, 0, 4, 4, AGENT},
		{SESSION_CREDIT, 1, 4, 4, HOST},
		{SESSION_CLOSE, 0, 0, 0, AGENT},
		{SESSION_CLOSE, 2, 0, 0, HOST},
		{SESSION_RESIZE, 0, 8, 8, HOST},
		{SESSION_SIGNAL, 0, 1, 1, HOST},
		{SESSION_EXIT, 0, 2, 2, AGENT},
		{SESSION_PROOF, 0, 0, 96, HOST | AGENT},
		{SESSION_BOUND, 0, 32, 32, SESSION_FROM_RELAY},
		{SESSION_LOST, 0, 0, SESSION_TEXT_MAX, SESSION_FROM_RELAY},
	};
	static uint8_t payload[SESSION_PAYLOAD_MAX + 1];

	/* Texts have no byte of 0; kinds are small. */
	memset(payload, 1, sizeof(payload));
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		unsigned type = all[i].type, stream = all[i].stream, from = all[i].from;

		assert_true(valid(type, stream, payload, all[i].least, from));
		assert_true(valid(type, stream, payload, all[i].most, from));
		assert_false(valid(type, stream, payload, all[i].most + 1, from));
		if (all[i].least)
			assert_false(valid(type, stream, payload, all[i].least - 1, from));
		assert_false(valid(type, stream, payload, all[i].least, ~from & 7));
		assert_false(valid(type, stream + 3, payload, all[i].least, from));
	}
	assert_false(valid(0, 0, payload, 0, 7));
	assert_false(valid(SESSION_TYPES, 0, payload, 0, 7));
}

static void contents(void **state)
{
	assert_true(valid(SESSION_PROMPT, 0, "\1text", 5, AGENT));
	assert_false(valid(SESSION_PROMPT, 0, "\2text", 5, AGENT));
	assert_false(valid(SESSION_PROMPT, 0, "\1te\0t", 5, AGENT));
	/* The kind itself may be 0. */
	assert_true(valid(SESSION_NOTE, 0, "\0text", 5, AGENT));
	assert_false(valid(SESSION_LOGIN, 0, "ro\0ot", 5, HOST));
	assert_true(valid(SESSION_REFUSED, 0, "\5", 1, AGENT));
	assert_false(valid(SESSION_REFUSED, 0, "\6", 1, AGENT));
	assert_false(valid(SESSION_EXIT, 0, "\2\0", 2, AGENT));
	make(SESSION_LOGIN, 0, "root", 4);
	((struct session_header *)bytes)->zero = 1;
	assert_false(session_message_valid(bytes, 12, HOST));
	make(SESSION_LOGIN, 0, "root", 4);
	assert_false(session_message_valid(bytes, 11, HOST));
	assert_false(session_message_valid(bytes, 13, HOST));
	assert_false(session_message_valid(bytes, 7, HOST));
}

static bool start_valid(unsigned kind, unsigned flags, unsigned strings, const char *text, size_t n)
{
	const struct session_start start = {.kind = kind, .flags = flags, .strings = strings};
	uint8_t payload[64];

	memcpy(payload, &start, sizeof(start));
	memcpy(payload + sizeof(start), text, n);
	return valid(SESSION_START, 0, payload, sizeof(start) + n, HOST);
}

static void starts(void **state)
{
	assert_true(start_valid(SESSION_SHELL, 1, 1, "xterm", 6));
	assert_true(start_valid(SESSION_SHELL, 0, 1, "", 1));
	assert_true(start_valid(SESSION_COMMAND, 0, 3, "\0ls\0-l", 7));
	assert_true(start_valid(SESSION_SEND, 2, 2, "\0/a", 4));
	assert_false(start_valid(SESSION_SHELL, 0, 2, "\0ls", 4));
	assert_false(start_valid(SESSION_COMMAND, 0, 1, "", 1));
	assert_false(start_valid(SESSION_RECEIVE, 0, 3, "\0a\0b", 5));
	assert_false(start_valid(SESSION_COMMAND, 0, 3, "\0ls", 4));
	assert_false(start_valid(SESSION_COMMAND, 0, 1, "\0ls", 4));
	assert_false(start_valid(SESSION_COMMAND, 0, 2, "\0ls", 3));
	assert_false(start_valid(SESSION_COMMAND, 4, 2, "\0ls", 4));
	assert_false(start_valid(SESSION_KINDS, 0, 2, "\0ls", 4));
	assert_false(start_valid(SESSION_SHELL, 0, 0, "", 0));
}

static void whole(void **state)
{
	size_t n = make(SESSION_DATA, 1, "0123456789", 10);

	for (size_t have = 0; have < sizeof(struct session_header); have++)
		assert_int_equal(session_message_whole(bytes, have, AGENT), 0);
	for (size_t have = sizeof(struct session_header); have <= n; have++)
		assert_int_equal(session_message_whole(bytes, have, AGENT), n);
	assert_int_equal(session_message_whole(bytes, n, HOST), -EPROTO);
	((struct session_header *)bytes)->length = 0xffffffff;
	assert_int_equal(session_message_whole(bytes, n, AGENT), -EPROTO);
}

static void packets(void **state)
{
	static uint8_t big[SESSION_PAYLOAD_MAX];
	static struct session_message m;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(session_send(pair[0], SESSION_LOGIN, 0, "root", 4, 0), 0);
	assert_int_equal(session_send(pair[0], SESSION_DATA, 0, big, sizeof(big), 0), 0);
	assert_int_equal(session_receive(pair[1], &m, HOST, 0), 1);
	assert_int_equal(m.header.type, SESSION_LOGIN);
	assert_string_equal((char *)m.payload, "root");
	assert_int_equal(session_receive(pair[1], &m, HOST, 0), 1);
	assert_int_equal(m.header.length, sizeof(big));
	assert_int_equal(session_receive(pair[1], &m, HOST, MSG_DONTWAIT), -EAGAIN);
	/* What is no message, what is too long, and another's. */
	assert_int_equal(send(pair[0], "xyz", 3, 0), 3);
	assert_int_equal(session_receive(pair[1], &m, HOST, 0), -EPROTO);
	make(SESSION_DATA, 0, big, sizeof(big));
	assert_int_equal(send(pair[0], bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_int_equal(session_receive(pair[1], &m, HOST, 0), -EPROTO);
	assert_int_equal(session_send(pair[0], SESSION_ACCEPTED, 0, NULL, 0, 0), 0);
	assert_int_equal(session_receive(pair[1], &m, HOST, 0), -EPROTO);
	/* Last words come, although something was left unread. */
	assert_int_equal(session_send(pair[1], SESSION_ACCEPTED, 0, NULL, 0, 0), 0);
	assert_int_equal(session_send(pair[0], SESSION_LOGIN, 0, "last", 4, 0), 0);
	close(pair[0]);
	assert_int_equal(session_receive(pair[1], &m, HOST, 0), 1);
	assert_string_equal((char *)m.payload, "last");
	assert_int_equal(session_receive(pair[1], &m, HOST, 0), 0);
	assert_int_equal(session_send(pair[1], SESSION_ACCEPTED, 0, NULL, 0, 0), -EPIPE);
	close(pair[1]);
}

static void clean(void **state)
{
	char text[] = "a\033[2J\177\n\302\233x \303\244\302\240";

	session_clean(text);
	assert_string_equal(text, "a?[2J????x \303\244\302\240");
}

static void fingerprints(void **state)
{
	char upper[] = "sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef";
	char parsed[SESSION_FINGERPRINT];

	assert_true(session_fingerprint_parse(upper, parsed));
	assert_string_equal(
		parsed, "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
	upper[20] = 'g';
	assert_false(session_fingerprint_parse(upper, parsed));
	assert_false(session_fingerprint_parse("sha256:01", parsed));
	assert_false(session_fingerprint_parse("", parsed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths),
		cmocka_unit_test(contents),
		cmocka_unit_test(starts),
		cmocka_unit_test(whole),
		cmocka_unit_test(packets),
		cmocka_unit_test(clean),
		cmocka_unit_test(fingerprints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
