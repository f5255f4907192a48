/*
 * heartbeat.h - the heartbeat service: asks the guest every two seconds whether it is alive, and
 * knows since when it has been, and what it says of its applications.
 */
#ifndef PARTITA_VSP_HEARTBEAT_H
#define PARTITA_VSP_HEARTBEAT_H

#include "vsp/ic.h"

#define HEARTBEAT_PERIOD_NS 2000000000ull
#define HEARTBEAT_LOST_NS   10000000000ull /* without an answer: the guest is lost */

struct heartbeat;

enum heartbeat_contact {
	HEARTBEAT_NO_CONTACT, /* the guest has not answered since its channel is open, or has none
			       */
	HEARTBEAT_OK,
	HEARTBEAT_LOST,
};

struct heartbeat_status {
	enum heartbeat_contact contact;
	enum ic_application_state applications; /* of the last answer */
	int64_t since;	   /* when the contact became what it is: seconds of CLOCK_REALTIME */
	uint64_t sequence; /* of the last answer */
};

/* heartbeat_create - returns 0, or what ic_create() returned. */
int heartbeat_create(struct vmbus *bus, struct heartbeat **h);
void heartbeat_destroy(struct heartbeat *h);
struct ic *heartbeat_ic(struct heartbeat *h);
/* heartbeat_status - any thread. */
struct heartbeat_status heartbeat_status(struct heartbeat *h);

#endif
