/*
 * session_key.c - keys of a direct session: what is signed for one connection, as one role, with
 * one key is proof of that alone.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "session/key.h"

static char folder[] = "/tmp/partita-session-key-XXXXXX", path[64];
static const uint8_t binding[SESSION_BINDING] = {1, 2, 3}, another[SESSION_BINDING] = {1, 2, 4};

static int set_up(void **state)
{
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/key", folder);
	return 0;
}

static int tear_down(void **state)
{
	unlink(path);
	return rmdir(folder);
}

static void made_once(void **state)
{
	struct session_key first, second;

	assert_int_equal(session_key_open(&first, path), 0);
	assert_int_equal(session_key_open(&second, path), 0);
	assert_string_equal(first.fingerprint, second.fingerprint);
	session_key_close(&first);
	assert_null(first.key);
	session_key_close(&second);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(session_key_open(&first, path), -EPERM);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(truncate(path, 50), 0);
	assert_int_equal(session_key_open(&first, path), -EINVAL);
	assert_null(first.key);
	assert_int_equal(unlink(path), 0);
}

static void proofs(void **state)
{
	char fingerprint[SESSION_FINGERPRINT] = "";
	struct session_proof proof, changed;
	struct session_key key;

	assert_int_equal(session_key_open(&key, path), 0);
	assert_true(session_prove(&key, SESSION_PROOF_HOST, binding, &proof));
	assert_true(session_proven(&proof, SESSION_PROOF_HOST, binding, fingerprint));
	assert_string_equal(fingerprint, key.fingerprint);
	assert_false(session_proven(&proof, SESSION_PROOF_AGENT, binding, fingerprint));
	assert_false(session_proven(&proof, SESSION_PROOF_HOST, another, fingerprint));
	for (size_t i = 0; i < sizeof(proof); i++) {
		changed = proof;
		((uint8_t *)&changed)[i] ^= 1;
		assert_false(session_proven(&changed, SESSION_PROOF_HOST, binding, fingerprint));
	}
	session_key_close(&key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made_once),
		cmocka_unit_test(proofs),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
