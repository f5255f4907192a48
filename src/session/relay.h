/*
 * relay.h - a process between the wire and whoever acts on messages: it speaks TLS 1.3 with the
 * other end, parses what comes, and passes whole, valid messages on as packets (message.h), and
 * back.
 *
 * It is what a hostile peer talks to first. It has nothing but its two sockets: no privileges (root
 * becomes nobody), a seccomp filter that leaves memory and those descriptors, and no key but one
 * that is made for the connection. Who the peer is, its own side finds out (SESSION_PROOF). Two
 * processes, one each in the host and in the guest, run the same code.
 *
 * A relay's first word to its own side is SESSION_BOUND. It ends when either side does: what the
 * packets' side said before is still sent. Where the wire fails, its own side is told why with
 * SESSION_LOST.
 */
#ifndef PARTITA_SESSION_RELAY_H
#define PARTITA_SESSION_RELAY_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * relay_start - start one for the connection @wire, which is the relay's from then on and closed
 * here. @agent: it is the TLS server, and messages come from the host. *@packets is the socket to
 * talk to it, close-on-exec; the caller waits for *@pid. Returns 0, or a negative errno.
 */
int relay_start(bool agent, int wire, int *packets, pid_t *pid);

#endif
