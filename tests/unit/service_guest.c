/*
 * service_guest.c - see service_guest.h.
 */
#include "service_guest.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE_NS 20000000000ull

struct service_guest *f;

atomic_bool service_reference_runs;

static uint64_t reference_time(void *ctx)
{
	struct timespec t;

	if (!service_reference_runs)
		return SERVICE_REFERENCE;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 10000000u + (uint64_t)t.tv_nsec / 100;
}

const struct kvp_item service_items[SERVICE_ITEMS] = {{"HostName", "here"}, {"Long", "ä"}};

/* One service, and a guest that sees its offer. */
void service_offer(enum service service)
{
	static const struct timesync_config config = {.reference_time = reference_time};
	struct vmbus *bus = f->guest->bus;

	switch (service) {
	case HEARTBEAT:
		assert_int_equal(heartbeat_create(bus, &f->heartbeat), 0);
		f->ic = heartbeat_ic(f->heartbeat);
		break;
	case TIMESYNC:
		assert_int_equal(timesync_create(bus, &config, &f->timesync), 0);
		f->ic = timesync_ic(f->timesync);
		break;
	case SHUTDOWN:
		assert_int_equal(shutdown_create(bus, &f->shutdown), 0);
		f->ic = shutdown_ic(f->shutdown);
		break;
	case KVP:
		assert_int_equal(kvp_create(bus, service_items, SERVICE_ITEMS, &f->kvp), 0);
		f->ic = kvp_ic(f->kvp);
		break;
	case VSS:
		assert_int_equal(vss_create(bus, NULL, NULL, &f->vss), 0);
		f->ic = vss_ic(f->vss);
		break;
	case FCOPY:
		assert_int_equal(fcopy_create(bus, &f->fcopy), 0);
		f->ic = fcopy_ic(f->fcopy);
	}
	guest_connect(f->guest, VMBUS_WIN10_5_3, &f->offer);
	assert_int_equal(f->offer.flags & VMBUS_OFFER_PIPE, VMBUS_OFFER_PIPE);
	assert_int_equal(f->offer.user_data[0], VMBUS_PIPE_MESSAGES);
}

int service_set_up(void **state)
{
	f = calloc(1, sizeof(*f));
	service_reference_runs = false;
	f->guest = guest_create();
	return 0;
}

int service_tear_down(void **state)
{
	heartbeat_destroy(f->heartbeat);
	timesync_destroy(f->timesync);
	shutdown_destroy(f->shutdown);
	kvp_destroy(f->kvp);
	vss_destroy(f->vss);
	fcopy_destroy(f->fcopy);
	guest_destroy(f->guest);
	free(f);
	return 0;
}

/* ---- A driver ------------------------------------------------------------------------------- */

void service_take(uint16_t type, struct message *m)
{
	struct vmbus_descriptor d;

	memset(m, 0xee, sizeof(*m));
	guest_await_packet(&f->c, &d, m, sizeof(*m));
	assert_int_equal(d.type, VMBUS_PACKET_INBAND);
	assert_int_equal(m->pipe.type, IC_PIPE_DATA);
	assert_int_equal(m->pipe.size, sizeof(m->header) + m->header.size);
	assert_int_equal(m->header.type, type);
	assert_int_equal(m->header.flags, IC_TRANSACTION | IC_REQUEST);
}

static void service_put(struct message *m)
{
	assert_true(guest_send(&f->c, VMBUS_PACKET_INBAND, 0, 0, NULL, 0, m,
		(uint32_t)sizeof(m->pipe) + m->pipe.size));
}

/* As Linux answers: the same message, which is now an answer. */
void service_answer(struct message *m, uint32_t status)
{
	m->header.flags = IC_TRANSACTION | IC_RESPONSE;
	m->header.status = status;
	service_put(m);
}

void service_open(struct message *m)
{
	guest_open(f->guest, &f->c, &f->offer, 4);
	service_take(IC_NEGOTIATE, m);
}

void service_pick(struct message *m, struct ic_version framework, struct ic_version version)
{
	const struct ic_negotiate counts = {1, 1, 0};

	memcpy(m->body, &counts, sizeof(counts));
	memcpy(m->body + 8, &framework, 4);
	memcpy(m->body + 12, &version, 4);
	m->header.size = 16; /* and the packet as long as it was */
	service_answer(m, IC_OK);
}

/* The service comes to be at @stage, or the test fails. */
void service_await(enum ic_stage stage)
{
	uint64_t until = loop_now() + PATIENCE_NS;

	while (ic_state(f->ic).stage != stage) {
		assert_true(loop_now() < until);
		sched_yield();
	}
}

void service_connect(enum service service, uint16_t major, uint16_t minor)
{
	struct message m;

	service_offer(service);
	service_open(&m);
	service_pick(&m, (struct ic_version){3, 0}, (struct ic_version){major, minor});
	service_await(IC_READY);
}

/* ---- Requests ------------------------------------------------------------------------------- */

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned ended;
};

static struct waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

void service_ended(void)
{
	pthread_mutex_lock(&waiter.lock);
	waiter.ended++;
	pthread_cond_broadcast(&waiter.changed);
	pthread_mutex_unlock(&waiter.lock);
}

int service_request_done(struct ic_request *r)
{
	service_ended();
	return 0;
}

void service_await_ends(unsigned n)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	pthread_mutex_lock(&waiter.lock);
	while (waiter.ended < n && !pthread_cond_timedwait(&waiter.changed, &waiter.lock, &until))
		;
	assert_int_equal(waiter.ended, n);
	waiter.ended = 0;
	pthread_mutex_unlock(&waiter.lock);
}
