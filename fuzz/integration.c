/*
 * integration.c - guests that answer anything at all to the integration services. The first byte
 * says which service; then come operations (struct operation), each with the bytes that take the
 * place of some of an answer's.
 *
 * Promises that are tested: every request that was taken ends once, also when the channel does;
 * what a request's answer holds can be read; nothing else happens.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmbus_guest.h"
#include "vsp/fcopy.h"
#include "vsp/heartbeat.h"
#include "vsp/kvp.h"
#include "vsp/shutdown.h"
#include "vsp/timesync.h"
#include "vsp/vss.h"

#define OPERATIONS 32u
#define REQUESTS   4u

enum { HEARTBEAT, TIMESYNC, SHUTDOWN, KVP, VSS, FCOPY, SERVICES };
enum { ASK, ANSWER, DAMAGED, RAW, CANCEL, KINDS };

struct operation {
	uint8_t kind, size; /* of what follows */
	uint16_t at;	    /* where it goes in the answer */
	uint32_t a;
};

struct message {
	struct ic_pipe_header pipe;
	struct ic_header header;
	uint8_t body[IC_MESSAGE_MAX];
} IC_PACKED;

static struct {
	struct guest *guest;
	struct guest_channel c;
	unsigned service;
	struct ic *ic;
	struct heartbeat *heartbeat;
	struct timesync *timesync;
	struct shutdown *shutdown;
	struct kvp *kvp;
	struct vss *vss;
	struct fcopy *fcopy;
	int file;
	struct message last; /* that the host sent */
	atomic_uint ended;
	unsigned taken, started;
	struct ic_request *ic_requests[REQUESTS];
	struct shutdown_request shutdown_requests[REQUESTS];
	struct timesync_request time_requests[REQUESTS];
	struct kvp_request kvp_requests[REQUESTS];
	struct vss_request vss_requests[REQUESTS];
	struct fcopy_request copy;
} world;

static uint64_t reference_time(void *ctx)
{
	return 1;
}

static int request_done(struct ic_request *r)
{
	world.ended++;
	return 0;
}

static void kvp_done(struct kvp_request *r)
{
	struct kvp_addresses a;

	if (!r->ic.err && !r->ic.status && r->operation == IC_KVP_GET_IP) {
		if (!kvp_answered_addresses(r, &a))
			kvp_free_addresses(&a);
	} else if (!r->ic.err && !r->ic.status &&
		   (r->operation == IC_KVP_GET || r->operation == IC_KVP_ENUMERATE)) {
		free(kvp_answered_key(r));
		free(kvp_answered_value(r));
	}
	world.ended++;
}

static void copy_done(struct fcopy_request *r)
{
	world.ended++;
}

static void begin(unsigned service)
{
	static const struct timesync_config time = {.reference_time = reference_time};
	static const struct kvp_item items[] = {{"HostName", "fuzz"}};
	struct vmbus_offer_channel offer;
	struct vmbus *bus;

	world.service = service;
	world.guest = guest_create();
	world.guest->may_miss = true;
	bus = world.guest->bus;
	switch (service) {
	case HEARTBEAT:
		assert_int_equal(heartbeat_create(bus, &world.heartbeat), 0);
		world.ic = heartbeat_ic(world.heartbeat);
		break;
	case TIMESYNC:
		assert_int_equal(timesync_create(bus, &time, &world.timesync), 0);
		world.ic = timesync_ic(world.timesync);
		break;
	case SHUTDOWN:
		assert_int_equal(shutdown_create(bus, &world.shutdown), 0);
		world.ic = shutdown_ic(world.shutdown);
		break;
	case KVP:
		assert_int_equal(kvp_create(bus, items, 1, &world.kvp), 0);
		world.ic = kvp_ic(world.kvp);
		break;
	case VSS:
		assert_int_equal(vss_create(bus, NULL, NULL, &world.vss), 0);
		world.ic = vss_ic(world.vss);
		break;
	default:
		assert_int_equal(fcopy_create(bus, &world.fcopy), 0);
		world.ic = fcopy_ic(world.fcopy);
	}
	guest_connect(world.guest, VMBUS_WIN10_5_3, &offer);
	guest_open(world.guest, &world.c, &offer, 4);
	memset(&world.last, 0, sizeof(world.last));
	world.ended = world.taken = world.started = 0;
}

static void end(void)
{
	heartbeat_destroy(world.heartbeat);
	timesync_destroy(world.timesync);
	shutdown_destroy(world.shutdown);
	kvp_destroy(world.kvp);
	vss_destroy(world.vss);
	fcopy_destroy(world.fcopy);
	assert_int_equal(world.ended, world.started);
	guest_destroy(world.guest);
	world.heartbeat = NULL;
	world.timesync = NULL;
	world.shutdown = NULL;
	world.kvp = NULL;
	world.vss = NULL;
	world.fcopy = NULL;
}

/* ---- The conversation ----------------------------------------------------------------------- */

/* Lets the host do what it has to do, and takes what it sent. */
static void take(void)
{
	struct vmbus_descriptor d;

	for (unsigned i = 0; i < 50; i++) {
		if (guest_receive(&world.c, &d, &world.last, sizeof(world.last)))
			return;
		if (ic_state(world.ic).stage == IC_CLOSED)
			return;
		sched_yield();
	}
}

static int ask_kvp(struct kvp_request *r, uint32_t a)
{
	static const struct kvp_addresses some = {
		.addresses = "10.0.0.2;fd00::2", .subnets = "255.0.0.0;64"};
	enum kvp_pool pool = a >> 8 & 3;
	int err;

	r->done = kvp_done;
	switch (a & 7) {
	case IC_KVP_GET:
		err = kvp_put_get(r, pool, "key");
		break;
	case IC_KVP_SET:
		err = kvp_put_set(r, pool, "key", "value");
		break;
	case IC_KVP_DELETE:
		err = kvp_put_delete(r, pool, "key");
		break;
	case IC_KVP_GET_IP:
		err = kvp_put_get_ip(r, "adapter", IC_KVP_IPV4);
		break;
	case IC_KVP_SET_IP:
		err = kvp_put_set_ip(r, "adapter", IC_KVP_IPV4, &some);
		break;
	default:
		err = kvp_put_enumerate(r, pool, a);
	}
	return err ? err : kvp_submit(world.kvp, r);
}

static void ask(uint32_t a)
{
	static const uint8_t operations[] = {IC_VSS_HOT_BACKUP, IC_VSS_FREEZE, IC_VSS_THAW};
	unsigned n = world.taken;
	struct ic_request *ic = NULL;
	int err = -1;

	if (n == REQUESTS)
		return;
	switch (world.service) {
	case TIMESYNC:
		ic = &world.time_requests[n].ic;
		ic->done = request_done;
		err = timesync_submit(world.timesync, &world.time_requests[n], a & 1);
		break;
	case SHUTDOWN:
		ic = &world.shutdown_requests[n].ic;
		ic->done = request_done;
		ic->deadline = a & 8 ? loop_now() : 0;
		err = shutdown_submit(world.shutdown, &world.shutdown_requests[n], a & 7);
		break;
	case KVP:
		ic = &world.kvp_requests[n].ic;
		err = ask_kvp(&world.kvp_requests[n], a);
		break;
	case VSS:
		ic = &world.vss_requests[n].ic;
		ic->done = request_done;
		err = vss_submit(world.vss, &world.vss_requests[n], operations[a % 3]);
		break;
	case FCOPY:
		if (n)
			return;
		world.copy = (struct fcopy_request){
			.fd = world.file, .size = a % 30000, .done = copy_done};
		err = fcopy_submit(world.fcopy, &world.copy, "/dir/file", a >> 30);
	}
	if (err)
		return;
	world.ic_requests[n] = ic;
	world.taken++;
	world.started++;
}

static void send_answer(const struct operation *o, const uint8_t *data)
{
	struct message m = world.last;
	uint32_t size = (uint32_t)sizeof(m.pipe) + m.pipe.size;

	if (size > sizeof(m))
		size = sizeof(m);
	m.header.flags = IC_TRANSACTION | IC_RESPONSE;
	if (m.header.type == IC_NEGOTIATE && o->kind == ANSWER) {
		/* The newest framework, and one of the newest four versions of the service. */
		const struct ic_negotiate counts = {1, 1, 0};
		uint32_t n = m.header.size - (o->a & 3) * 4;

		memcpy(m.body, &counts, sizeof(counts));
		memcpy(m.body + 8, (struct ic_version[]){{3, 0}}, 4);
		if (n >= 16 && n <= 100)
			memcpy(m.body + 12, world.last.body + n - 4, 4);
		m.header.size = 16;
	}
	if (m.header.type == IC_HEARTBEAT)
		m.body[0]++;
	if (o->kind == ANSWER)
		m.header.status = o->a;
	else
		memcpy((uint8_t *)&m + o->at % 1500, data, o->size);
	guest_send(&world.c, VMBUS_PACKET_INBAND, 0, 0, NULL, 0, &m, size);
}

static void run(const struct operation *o, const uint8_t *data)
{
	switch (o->kind % KINDS) {
	case ASK:
		ask(o->a);
		break;
	case ANSWER:
	case DAMAGED:
		send_answer(o, data);
		break;
	case RAW:
		guest_send(&world.c, o->at & 1 ? VMBUS_PACKET_COMPLETION : VMBUS_PACKET_INBAND, 0,
			0, NULL, 0, data, o->size);
		break;
	default:
		if (world.service == FCOPY && world.taken)
			fcopy_cancel(&world.copy);
		else if (world.taken && world.service != HEARTBEAT)
			ic_cancel(world.ic, world.ic_requests[o->a % world.taken]);
	}
	take();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct operation o;

	if (!size)
		return 0;
	if (!world.file) {
		world.file = memfd_create("fuzz", MFD_CLOEXEC);
		if (ftruncate(world.file, 20000))
			abort();
	}
	begin(data[0] % SERVICES);
	data++;
	size--;
	take();
	for (unsigned i = 0; i < OPERATIONS && size >= sizeof(o); i++) {
		memcpy(&o, data, sizeof(o));
		data += sizeof(o);
		size -= sizeof(o);
		o.kind %= KINDS;
		if (o.size > size)
			o.size = (uint8_t)size;
		run(&o, data);
		data += o.size;
		size -= o.size;
	}
	end();
	return 0;
}
