/*
 * key.c - see key.h.
 */
#include "session/key.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
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

bool session_fingerprint(X509 *certificate, char text[SESSION_FINGERPRINT])
{
	EVP_PKEY *key = X509_get0_pubkey(certificate);

	if (!key)
		return false;
	hash_key(key, text);
	return strlen(text) == SESSION_FINGERPRINT - 1;
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

/* Writes a new key beside the file and links it there; whoever is first wins. */
static int make_key(const char *path)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	char *temporary = NULL;
	FILE *file = NULL;
	int fd, err = -ENOMEM;

	if (!key || asprintf(&temporary, "%s.XXXXXX", path) < 0)
		goto out;
	fd = mkostemp(temporary, O_CLOEXEC);
	err = fd < 0 ? -errno : 0;
	if (err)
		goto out;
	file = fdopen(fd, "w");
	if (!file || !PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) || fflush(file) ||
		fsync(fd))
		err = -EIO;
	if (file)
		fclose(file);
	else
		close(fd);
	if (!err && link(temporary, path) && errno != EEXIST)
		err = -errno;
	unlink(temporary);
out:
	free(temporary);
	EVP_PKEY_free(key);
	return err;
}

static int read_key(struct session_key *k, const char *path)
{
	FILE *file = fopen(path, "re");
	struct stat status;
	int err = 0;

	if (!file)
		return -errno;
	if (fstat(fileno(file), &status))
		err = -errno;
	else if (status.st_uid != geteuid() || status.st_mode & 077)
		err = -EPERM;
	else
		k->key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
	fclose(file);
	if (!err && (!k->key || !EVP_PKEY_is_a(k->key, "ED25519")))
		err = -EINVAL;
	return err;
}

/* What TLS asks for and nobody reads. */
static X509 *make_certificate(EVP_PKEY *key)
{
	X509 *x = X509_new();
	X509_NAME *name = x ? X509_get_subject_name(x) : NULL;

	if (name && X509_set_version(x, X509_VERSION_3) &&
		ASN1_INTEGER_set(X509_get_serialNumber(x), 1) &&
		X509_gmtime_adj(X509_getm_notBefore(x), -86400) &&
		ASN1_TIME_set_string_X509(X509_getm_notAfter(x), "99991231235959Z") &&
		X509_NAME_add_entry_by_txt(
			name, "CN", MBSTRING_ASC, (const unsigned char *)"partita", -1, -1, 0) &&
		X509_set_issuer_name(x, name) && X509_set_pubkey(x, key) && X509_sign(x, key, NULL))
		return x;
	X509_free(x);
	return NULL;
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
	if (!err) {
		k->certificate = make_certificate(k->key);
		err = k->certificate ? 0 : -ENOMEM;
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
	X509_free(k->certificate);
	*k = (struct session_key){0};
}
