/*
 * key.c - see key.h. Ed25519 signs in one step, and libcrypto checks the lengths of what it is
 * given.
 */
#include "session/key.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "sha256:"

static void hash_key(EVP_PKEY *key, char text[SESSION_FINGERPRINT])
{
	unsigned char hash[EVP_MAX_MD_SIZE], *der = NULL;
	int n = i2d_PUBKEY(key, &der);
	unsigned size = 0;

	strcpy(text, PREFIX);
	if (n > 0 && EVP_Digest(der, (size_t)n, hash, &size, EVP_sha256(), NULL))
		for (unsigned i = 0; i < size; i++)
			sprintf(text + strlen(PREFIX) + 2 * i, "%02x", hash[i]);
	OPENSSL_free(der);
}

bool session_fingerprint_parse(const char *text, char fingerprint[SESSION_FINGERPRINT])
{
	if (strlen(text) != SESSION_FINGERPRINT - 1 || strncmp(text, PREFIX, strlen(PREFIX)) != 0)
		return false;
	strcpy(fingerprint, text);
	for (char *p = fingerprint + strlen(PREFIX); *p; p++) {
		if (!isxdigit((unsigned char)*p))
			return false;
		*p = (char)tolower((unsigned char)*p);
	}
	return true;
}

/* ---- The file -------------------------------------------------------------------------------- */

/*
 * PKCS #8 in PEM (RFC 8410), which for Ed25519 is always of this form. It is read and written here,
 * for libcrypto's reader is not known to wipe what it copies; nothing of the key may stay behind in
 * memory that another process gets by fork.
 */
#define PEM_HEAD "-----BEGIN PRIVATE KEY-----\n"
#define PEM_TAIL "\n-----END PRIVATE KEY-----\n"
#define DER_HEAD "\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"
#define SECRET	 32u
#define DER_SIZE (sizeof(DER_HEAD) - 1 + SECRET)
#define BASE64	 64u /* of DER_SIZE bytes */
#define PEM_SIZE (sizeof(PEM_HEAD) - 1 + BASE64 + sizeof(PEM_TAIL) - 1)
static_assert(DER_SIZE * 4 / 3 == BASE64, "layout");

/* A new secret as the bytes of a file. */
static int make_pem(char pem[PEM_SIZE + 1])
{
	uint8_t der[DER_SIZE] = DER_HEAD;
	char base64[BASE64 + 1];
	int made = RAND_priv_bytes(der + DER_SIZE - SECRET, SECRET);

	EVP_EncodeBlock((unsigned char *)base64, der, DER_SIZE);
	snprintf(pem, PEM_SIZE + 1, PEM_HEAD "%s" PEM_TAIL, base64);
	OPENSSL_cleanse(der, sizeof(der));
	OPENSSL_cleanse(base64, sizeof(base64));
	return made == 1 ? 0 : -EIO;
}

/* Writes a new key beside the file and links it there; whoever is first wins. */
static int make_key(const char *path)
{
	char pem[PEM_SIZE + 1], *temporary;
	int fd, err;

	if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0) {
		err = -errno;
		free(temporary);
		return err;
	}
	err = make_pem(pem);
	if (!err && (write(fd, pem, PEM_SIZE) != (ssize_t)PEM_SIZE || fsync(fd)))
		err = -EIO;
	OPENSSL_cleanse(pem, sizeof(pem));
	close(fd);
	if (!err && link(temporary, path) && errno != EEXIST)
		err = -errno;
	unlink(temporary);
	free(temporary);
	return err;
}

/* NULL: these are not the bytes of such a file. */
static EVP_PKEY *parse_pem(const char *pem, size_t n)
{
	const char *base64 = pem + sizeof(PEM_HEAD) - 1;
	uint8_t der[DER_SIZE];
	EVP_PKEY *key = NULL;

	if (n == PEM_SIZE && memcmp(pem, PEM_HEAD, sizeof(PEM_HEAD) - 1) == 0 &&
		memcmp(base64 + BASE64, PEM_TAIL, sizeof(PEM_TAIL) - 1) == 0 &&
		EVP_DecodeBlock(der, (const unsigned char *)base64, BASE64) == (int)DER_SIZE &&
		memcmp(der, DER_HEAD, sizeof(DER_HEAD) - 1) == 0)
		key = EVP_PKEY_new_raw_private_key(
			EVP_PKEY_ED25519, NULL, der + DER_SIZE - SECRET, SECRET);
	OPENSSL_cleanse(der, sizeof(der));
	return key;
}

static int read_key(struct session_key *k, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	char pem[PEM_SIZE + 1]; /* one more, by which a longer file is known */
	struct stat status;
	ssize_t n;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status))
		err = -errno;
	else if (status.st_uid != geteuid() || status.st_mode & 077)
		err = -EPERM;
	n = err ? 0 : read(fd, pem, sizeof(pem));
	if (n < 0)
		err = -errno;
	close(fd);
	if (!err)
		k->key = parse_pem(pem, (size_t)n);
	OPENSSL_cleanse(pem, sizeof(pem));
	return err ? err : k->key ? 0 : -EINVAL;
}

int session_key_open(struct session_key *k, const char *path)
{
	int err;

	*k = (struct session_key){0};
	err = read_key(k, path);
	if (err == -ENOENT) {
		err = make_key(path);
		if (!err)
			err = read_key(k, path);
	}
	if (err)
		session_key_close(k);
	else
		hash_key(k->key, k->fingerprint);
	return err;
}

void session_key_close(struct session_key *k)
{
	EVP_PKEY_free(k->key);
	*k = (struct session_key){0};
}

/* ---- Proofs ---------------------------------------------------------------------------------- */

#define STATEMENT_MAX 64

/* What is signed; returns its size. */
static size_t make_statement(
	uint8_t statement[STATEMENT_MAX], const char *role, const uint8_t binding[])
{
	size_t n = strlen(role);

	memcpy(statement, role, n);
	memcpy(statement + n, binding, SESSION_BINDING);
	return n + SESSION_BINDING;
}

bool session_prove(const struct session_key *k, const char *role, const uint8_t binding[],
	struct session_proof *proof)
{
	uint8_t statement[STATEMENT_MAX];
	size_t n = make_statement(statement, role, binding), key_size = sizeof(proof->key),
	       signature_size = sizeof(proof->signature);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_PKEY_get_raw_public_key(k->key, proof->key, &key_size) == 1 &&
		  EVP_DigestSignInit(ctx, NULL, NULL, NULL, k->key) == 1 &&
		  EVP_DigestSign(ctx, proof->signature, &signature_size, statement, n) == 1;

	EVP_MD_CTX_free(ctx);
	return ok;
}

bool session_proven(const struct session_proof *proof, const char *role, const uint8_t binding[],
	char fingerprint[SESSION_FINGERPRINT])
{
	uint8_t statement[STATEMENT_MAX];
	size_t n = make_statement(statement, role, binding);
	EVP_PKEY *key =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, proof->key, sizeof(proof->key));
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = key && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1 &&
		  EVP_DigestVerify(ctx, proof->signature, sizeof(proof->signature), statement, n) ==
			  1;

	if (ok)
		hash_key(key, fingerprint);
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	return ok;
}
