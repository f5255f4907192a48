/*
 * relay.h - a process between the wire and whoever acts on messages: it speaks TLS 1.3 with the
 * other end, parses what comes, and passes whole, valid messages on as packets (message.h), and
 * back.
 *
 * It is what a hostile peer talks to first. It has nothing but its two sockets and its end's key:
 * no privileges (root becomes nobody), and a seccomp filter that leaves memory and those
 * descriptors. Two processes, one each in the host and in the guest, run the same code.
 *
 * A relay ends when either side does: what the packets' side said before is still sent. Where the
 * wire fails, its own side is told why with SESSION_LOST.
 */
#ifndef PARTITA_SESSION_RELAY_H
#define PARTITA_SESSION_RELAY_H

#include <stdbool.h>
#include <sys/types.h>

#include "session/key.h"

struct relay_options {
	bool agent;		       /* the TLS server, and messages come from the host */
	const struct session_key *key; /* NULL: the host shows no key of its own */
	/* Fingerprints of which the peer must have one; without any, whoever it is will do. */
	const char (*known)[SESSION_FINGERPRINT];
	unsigned n_known;
};

/*
 * relay_start - start one for the connection @wire, which is the relay's from then on and closed
 * here. *@packets is the socket to talk to it, close-on-exec; the caller waits for *@pid. Returns
 * 0, or a negative errno.
 */
int relay_start(const struct relay_options *options, int wire, int *packets, pid_t *pid);

/*
 * relay_run - be one, in this process, until it ends; for those who have no process to spare. The
 * descriptors stay the caller's; @wire does not block, and SIGPIPE is ignored.
 */
void relay_run(const struct relay_options *options, int wire, int packets);

#endif
