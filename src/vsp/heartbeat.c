/*
 * heartbeat.c - see heartbeat.h. One message is under way at a time: a guest that does not answer
 * is not asked again, and is lost when its answer is late.
 */
#include "vsp/heartbeat.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

static const struct ic_version versions[] = {{1, 0}, {3, 0}};

struct heartbeat {
	struct ic *ic;

	/* The serving thread's. */
	struct loop_timer *timer;
	struct ic_request request;
	struct ic_heartbeat message;
	uint64_t sequence;
	bool under_way;

	pthread_mutex_t lock;		/* guards what follows */
	struct heartbeat_status status; /* whose contact is never LOST: that is a matter of time */
	uint64_t last;			/* answer, by the loop's clock */
};

static void set_contact(struct heartbeat *h, enum heartbeat_contact contact)
{
	pthread_mutex_lock(&h->lock);
	if (h->status.contact != contact ||
		(contact == HEARTBEAT_OK && loop_now() - h->last > HEARTBEAT_LOST_NS))
		h->status.since = time(NULL);
	h->status.contact = contact;
	if (contact == HEARTBEAT_OK) {
		h->last = loop_now();
		h->status.sequence = h->message.sequence;
		h->status.applications = h->message.state;
	} else {
		h->status.applications = IC_APPLICATIONS_UNKNOWN;
	}
	pthread_mutex_unlock(&h->lock);
}

static int answered(struct ic_request *r)
{
	struct heartbeat *h = (struct heartbeat *)((char *)r - offsetof(struct heartbeat, request));

	h->under_way = false;
	if (r->err || r->status)
		return 0;
	if (!ic_at_least(h->ic, 3, 0))
		h->message.state = IC_APPLICATIONS_UNKNOWN;
	if (r->answered < offsetof(struct ic_heartbeat, reserved) ||
		h->message.sequence != h->sequence + 1 ||
		h->message.state > IC_APPLICATIONS_STOPPED)
		return -EPROTO;
	set_contact(h, HEARTBEAT_OK);
	return 0;
}

static void beat(void *ctx)
{
	struct heartbeat *h = ctx;

	if (h->under_way)
		return;
	h->message = (struct ic_heartbeat){.sequence = ++h->sequence};
	h->request = (struct ic_request){
		.message = &h->message, .size = sizeof(h->message), .done = answered};
	h->under_way = ic_submit(h->ic, &h->request) == 0;
}

static void ready(void *ctx)
{
	struct heartbeat *h = ctx;

	h->timer = loop_timer_create(ic_loop(h->ic), beat, h);
	if (h->timer)
		loop_timer_arm(h->timer, loop_now(), HEARTBEAT_PERIOD_NS);
}

static void gone(void *ctx)
{
	struct heartbeat *h = ctx;

	loop_timer_destroy(h->timer);
	h->timer = NULL;
	set_contact(h, HEARTBEAT_NO_CONTACT);
}

int heartbeat_create(struct vmbus *bus, struct heartbeat **heartbeat)
{
	struct heartbeat *h = calloc(1, sizeof(*h));
	struct ic_config config = {.name = "heartbeat",
		.interface = IC_HEARTBEAT_INTERFACE,
		.instance = IC_HEARTBEAT_INSTANCE,
		.type = IC_HEARTBEAT,
		.versions = versions,
		.n_versions = sizeof(versions) / sizeof(versions[0]),
		.ready = ready,
		.gone = gone,
		.ctx = h};
	int err;

	if (!h)
		return -ENOMEM;
	pthread_mutex_init(&h->lock, NULL);
	h->status.since = time(NULL);
	err = ic_create(bus, &config, &h->ic);
	if (err)
		heartbeat_destroy(h);
	else
		*heartbeat = h;
	return err;
}

void heartbeat_destroy(struct heartbeat *h)
{
	if (!h)
		return;
	ic_destroy(h->ic);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

struct ic *heartbeat_ic(struct heartbeat *h)
{
	return h->ic;
}

struct heartbeat_status heartbeat_status(struct heartbeat *h)
{
	struct heartbeat_status status;
	uint64_t silent;

	pthread_mutex_lock(&h->lock);
	status = h->status;
	silent = loop_now() - h->last;
	pthread_mutex_unlock(&h->lock);
	if (status.contact == HEARTBEAT_OK && silent > HEARTBEAT_LOST_NS) {
		status.contact = HEARTBEAT_LOST;
		status.since = time(NULL) - (int64_t)((silent - HEARTBEAT_LOST_NS) / 1000000000u);
	}
	return status;
}
