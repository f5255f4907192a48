/*
 * key.h - the key by which one end of a direct session is known, and the fingerprint that others
 * pin.
 *
 * A key is Ed25519, made at first use, in a file of its owner's (PEM). The certificate that TLS
 * wants around it is made anew each time: only the key counts.
 */
#ifndef PARTITA_SESSION_KEY_H
#define PARTITA_SESSION_KEY_H

#include <openssl/ssl.h>
#include <stdbool.h>

/* "sha256:" and the hash of the public key (DER, SubjectPublicKeyInfo) in hex, its end included. */
#define SESSION_FINGERPRINT 72

struct session_key {
	EVP_PKEY *key;
	X509 *certificate;
	char fingerprint[SESSION_FINGERPRINT];
};

/*
 * session_key_open - the key in the file at @path, which is made when it is not there. Returns 0;
 * -EPERM: others may read it; -EINVAL: it holds no Ed25519 key; another negative errno of the file.
 */
int session_key_open(struct session_key *k, const char *path);
void session_key_close(struct session_key *k);

/* session_fingerprint - of a certificate's key. False: it has none that can be used. */
bool session_fingerprint(X509 *certificate, char text[SESSION_FINGERPRINT]);
/* session_fingerprint_parse - a fingerprint as people write it, either case. */
bool session_fingerprint_parse(const char *text, char fingerprint[SESSION_FINGERPRINT]);

#endif
