/*
 * service_guest.h - for the tests of integration services: one of them, offered to the guest of
 * vmbus_guest.h, and that guest's driver for it.
 */
#ifndef PARTITA_TESTS_SERVICE_GUEST_H
#define PARTITA_TESTS_SERVICE_GUEST_H

#include <stdatomic.h>

#include "vmbus_guest.h"
#include "vsp/fcopy.h"
#include "vsp/heartbeat.h"
#include "vsp/kvp.h"
#include "vsp/shutdown.h"
#include "vsp/timesync.h"
#include "vsp/vss.h"

/* A message as it is in a packet. */
struct message {
	struct ic_pipe_header pipe;
	struct ic_header header;
	uint8_t body[IC_MESSAGE_MAX];
} IC_PACKED;

enum service { HEARTBEAT, TIMESYNC, SHUTDOWN, KVP, VSS, FCOPY };

struct service_guest {
	struct guest *guest;
	struct vmbus_offer_channel offer;
	struct guest_channel c;
	struct heartbeat *heartbeat; /* NULL but for the one that is offered */
	struct timesync *timesync;
	struct shutdown *shutdown;
	struct kvp *kvp;
	struct vss *vss;
	struct fcopy *fcopy;
	struct ic *ic; /* of that one */
};

/* The test's. */
extern struct service_guest *f;

int service_set_up(void **state);
int service_tear_down(void **state);
#define SERVICE_TEST(name) cmocka_unit_test_setup_teardown(name, service_set_up, service_tear_down)

/* The partition's reference time: it stands still, or runs with the host's clock. */
#define SERVICE_REFERENCE 123456789u
extern atomic_bool service_reference_runs;

/* What kvp tells the guest of its host. */
#define SERVICE_ITEMS 2u
extern const struct kvp_item service_items[SERVICE_ITEMS];

/*
 * Offer a service; let the guest open its channel, which the first message comes to; pick versions.
 */
void service_offer(enum service service);
void service_open(struct message *m);
void service_pick(struct message *m, struct ic_version framework, struct ic_version version);
/* All of that, up to a service that is ready. */
void service_connect(enum service service, uint16_t major, uint16_t minor);
/* The service comes to be at @stage, or the test fails. */
void service_await(enum ic_stage stage);

/* The next message, which must be a request of that type. */
void service_take(uint16_t type, struct message *m);
/* As Linux answers: the same message, which is now an answer. */
void service_answer(struct message *m, uint32_t status);

/* Requests that end, on the serving thread, are counted. */
void service_ended(void);
int service_request_done(struct ic_request *r);
/* @n have ended since the last call. */
void service_await_ends(unsigned n);

#endif
