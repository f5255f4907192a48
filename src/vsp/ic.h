/*
 * ic.h - what the integration services have in common: the offer, the negotiation of versions, and
 * requests to the guest, one after the other, each with an answer or an end.
 *
 * A service is one channel. When the guest has opened it and agreed on versions, the service is
 * ready; requests are taken from any thread, wait for those before them, and are answered on the
 * channel's thread. Some guests take part only when a daemon of theirs runs, and a daemon that
 * hangs holds up the answer: a request has a deadline. When it passes, the request ends; the next
 * one is sent when the guest has answered, since a guest deals with one message at a time.
 *
 * An answer that is malformed, or to nothing that was asked, ends the channel (vmbus.h). The guest
 * may open it again.
 */
#ifndef PARTITA_VSP_IC_H
#define PARTITA_VSP_IC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmbus/vmbus.h"
#include "vsp/ic_protocol.h"

/* The largest message of a service. */
#define IC_MESSAGE_MAX 8192u

struct ic;

struct ic_config {
	const char *name; /* for messages, at most 8 characters; stays the caller's */
	GUID interface, instance;
	uint16_t type;			   /* enum ic_type */
	const struct ic_version *versions; /* of the service, oldest first; stays the caller's */
	unsigned n_versions;
	bool alone; /* served by a thread of its own, which its requests may keep busy */
	/* Versions were agreed on; the channel is gone. On the channel's thread; may be NULL. */
	void (*ready)(void *ctx);
	void (*gone)(void *ctx);
	void *ctx;
};

/* A message for the guest, and its answer. Belongs to the service until done() is called. */
struct ic_request {
	void *message; /* the answer's bytes take its place */
	uint32_t size;
	uint64_t deadline; /* of the loop's clock; 0: none */
	/*
	 * Called once, on the channel's thread or from ic_destroy(), without a lock. What it
	 * returns counts after an answer only: -EPROTO ends the channel.
	 */
	int (*done)(struct ic_request *r);
	/* Called just before the message is sent, to complete it; may be NULL. */
	void (*prepare)(struct ic_request *r);

	/*
	 * How it ended. @err 0: the guest answered with @status and @answered bytes (at most
	 * @size); -ETIMEDOUT, -ECANCELED, -ENOTCONN (the channel went).
	 */
	int err;
	uint32_t status, answered;

	/* ic.c's. */
	struct ic_request *next;
	atomic_bool cancelled;
};

/* How far a service is. */
enum ic_stage {
	IC_CLOSED,	/* the guest has no driver for it, or has not opened it yet */
	IC_NEGOTIATING, /* the guest has not answered: it may wait for its daemon */
	IC_REFUSED,	/* the guest knows none of the versions */
	IC_READY,
};

struct ic_state {
	enum ic_stage stage;
	struct ic_version framework, message; /* when ready */
};

/* ic_create - offer the service. Returns 0, a negative errno of vmbus_offer(), -ENOMEM. */
int ic_create(struct vmbus *bus, const struct ic_config *config, struct ic **ic);
/*
 * ic_destroy - revoke it; requests that are under way end. Not on a serving thread. NULL is fine.
 */
void ic_destroy(struct ic *ic);

/*
 * ic_submit - send a request. Any thread. Returns 0; or, and then done() is not called, -ENOTCONN
 * (the guest has not opened the channel), -EAGAIN (it has not agreed on versions yet),
 * -EPROTONOSUPPORT (it refused them).
 */
int ic_submit(struct ic *ic, struct ic_request *r);
/* ic_cancel - let a request end soon, if it has not. Any thread, while @r is there. */
void ic_cancel(struct ic *ic, struct ic_request *r);

/* ic_state - any thread. */
struct ic_state ic_state(struct ic *ic);
/* ic_loop - of the channel's thread; from ready() until gone() returned. */
struct loop *ic_loop(struct ic *ic);
/* ic_at_least - is the version that was agreed on this one or newer? False when not ready. */
bool ic_at_least(struct ic *ic, uint16_t major, uint16_t minor);

#endif
