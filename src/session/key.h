/*
 * key.h - the key by which one end of a direct session is known, the fingerprint that others pin,
 * and the proof of having it.
 *
 * A key is Ed25519, made at first use, in a file of its owner's (PEM). It stays with the process
 * that has it: a relay (relay.h), which meets the other end's bytes first, never sees it.
 */
#ifndef PARTITA_SESSION_KEY_H
#define PARTITA_SESSION_KEY_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "session/session_protocol.h"

/* "sha256:" and the hash of the public key (DER, SubjectPublicKeyInfo) in hex, its end included. */
#define SESSION_FINGERPRINT 72

struct session_key {
	EVP_PKEY *key; /* NULL: there is none */
	char fingerprint[SESSION_FINGERPRINT];
};

/*
 * session_key_open - the key in the file at @path, which is made when it is not there. Returns 0;
 * -EPERM: others may read it; -EINVAL: it holds no Ed25519 key; another negative errno of the file.
 */
int session_key_open(struct session_key *k, const char *path);
void session_key_close(struct session_key *k);

/*
 * session_prove - sign that the connection of @binding is ours; @role is SESSION_PROOF_HOST or
 * SESSION_PROOF_AGENT. False: libcrypto fails.
 */
bool session_prove(const struct session_key *k, const char *role, const uint8_t binding[],
	struct session_proof *proof);
/*
 * session_proven - whose proof this is: the fingerprint of a key that signed this connection's
 * @binding as @role. False: of nobody's.
 */
bool session_proven(const struct session_proof *proof, const char *role, const uint8_t binding[],
	char fingerprint[SESSION_FINGERPRINT]);

/* session_fingerprint_parse - a fingerprint as people write it, either case. */
bool session_fingerprint_parse(const char *text, char fingerprint[SESSION_FINGERPRINT]);

#endif
