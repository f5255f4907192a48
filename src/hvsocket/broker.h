/*
 * broker.h - what a confined machine may not do itself: finding out who serves a service to its
 * guest, connecting to them, and who may connect to the guest.
 *
 * A broker is a process for one machine, with the rights of the user who runs it. It is forked
 * before the machine gives up its own, and ends when the machine does. The two talk over a socket
 * that keeps messages apart (SOCK_SEQPACKET): every question has one answer, in any order. The
 * guest chose what stands in a question, and a machine that a guest has broken out of could ask
 * anything; so a question can only lead where the registry of services (services.h) allows a guest
 * to go.
 */
#ifndef PARTITA_HVSOCKET_BROKER_H
#define PARTITA_HVSOCKET_BROKER_H

#include <stdint.h>
#include <sys/types.h>

#include "hvsocket/address.h"

/*
 * Programs that run for a guest, and connections that wait for one of them to end or for a listener
 * to accept: as many as a guest has channels.
 */
#define BROKER_PROGRAMS 256u
#define BROKER_WAITING	2048u
#define BROKER_PATHS	8u /* that it can remove */
/* How long they wait. */
#define BROKER_PATIENCE 4000u /* ms */

enum broker_kind {
	BROKER_GUEST_CONNECTS = 1, /* from @endpoint to @service: answered with a descriptor */
	BROKER_MAY_CONNECT = 2,	   /* may host user @uid connect to @service in the guest? */
};

struct broker_question {
	uint32_t kind;
	uint32_t tag; /* which the answer has, too */
	GUID service;
	GUID endpoint;
	uint32_t uid;
};

/* With 0, a connection's descriptor comes as SCM_RIGHTS. */
struct broker_answer {
	uint32_t tag;
	int32_t err; /* 0 or a negative errno */
};

struct broker_config {
	const char *name; /* of the machine, for messages */
	GUID vm;
	uid_t owner;
	const char
		*hybrid; /* guests reach vsock port N at the Unix socket HYBRID_N, too; NULL: no */
	char *const
		*paths; /* a list with NULL behind: removed when the machine has ended; or NULL */
};

/*
 * broker_start - fork a broker. *@fd receives the machine's end of the socket. To be called while
 * there is one thread. Returns 0 or a negative errno.
 */
int broker_start(const struct broker_config *config, int *fd);

/*
 * broker_receive - take an answer; *@given is its descriptor, the caller's, or -1. Returns 1; 0:
 * there is none now; -EPIPE: there is no broker any more.
 */
int broker_receive(int fd, struct broker_answer *answer, int *given);

#endif
