/*
 * vsp_services.c - the integration services, with the guest of vmbus_guest.h as their drivers:
 * negotiation, requests and their ends, what each service says and understands, and drivers that do
 * it wrong.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/utf16.h"
#include "vmbus_guest.h"
#include "vsp/fcopy.h"
#include "vsp/heartbeat.h"
#include "vsp/kvp.h"
#include "vsp/shutdown.h"
#include "vsp/timesync.h"
#include "vsp/vss.h"

#define PATIENCE_NS 20000000000ull

/* A message as it is in a packet. */
struct message {
	struct ic_pipe_header pipe;
	struct ic_header header;
	uint8_t body[IC_MESSAGE_MAX];
} IC_PACKED;

struct fixture {
	struct guest *guest;
	struct vmbus_offer_channel offer;
	struct guest_channel c;
	struct heartbeat *heartbeat;
	struct timesync *timesync;
	struct shutdown *shutdown;
	struct kvp *kvp;
	struct vss *vss;
	struct fcopy *fcopy;
	struct ic *ic;
};

static struct fixture *f;

static uint64_t reference_time(void *ctx)
{
	return 123456789;
}

static const struct kvp_item items[] = {{"HostName", "here"}, {"Long", "ä"}};

enum service { HEARTBEAT, TIMESYNC, SHUTDOWN, KVP, VSS, FCOPY };

/* One service, and a guest that sees its offer. */
static void offer(enum service service)
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
		assert_int_equal(kvp_create(bus, items, 2, &f->kvp), 0);
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

static int set_up(void **state)
{
	f = calloc(1, sizeof(*f));
	f->guest = guest_create();
	return 0;
}

static int tear_down(void **state)
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

static void take(uint16_t type, struct message *m)
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

static void put(struct message *m)
{
	assert_true(guest_send(&f->c, VMBUS_PACKET_INBAND, 0, 0, NULL, 0, m,
		(uint32_t)sizeof(m->pipe) + m->pipe.size));
}

/* As Linux answers: the same message, which is now an answer. */
static void answer(struct message *m, uint32_t status)
{
	m->header.flags = IC_TRANSACTION | IC_RESPONSE;
	m->header.status = status;
	put(m);
}

static void open_channel(struct message *m)
{
	guest_open(f->guest, &f->c, &f->offer, 4);
	take(IC_NEGOTIATE, m);
}

static void pick(struct message *m, struct ic_version framework, struct ic_version version)
{
	const struct ic_negotiate counts = {1, 1, 0};

	memcpy(m->body, &counts, sizeof(counts));
	memcpy(m->body + 8, &framework, 4);
	memcpy(m->body + 12, &version, 4);
	m->header.size = 16; /* and the packet as long as it was */
	answer(m, IC_OK);
}

/* The service comes to be at @stage, or the test fails. */
static void await_stage(enum ic_stage stage)
{
	uint64_t until = loop_now() + PATIENCE_NS;

	while (ic_state(f->ic).stage != stage) {
		assert_true(loop_now() < until);
		sched_yield();
	}
}

static void connect(enum service service, uint16_t major, uint16_t minor)
{
	struct message m;

	offer(service);
	open_channel(&m);
	pick(&m, (struct ic_version){3, 0}, (struct ic_version){major, minor});
	await_stage(IC_READY);
}

/* ---- Requests ------------------------------------------------------------------------------- */

struct waiter {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned ended;
};

static struct waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

static void count_end(void)
{
	pthread_mutex_lock(&waiter.lock);
	waiter.ended++;
	pthread_cond_broadcast(&waiter.changed);
	pthread_mutex_unlock(&waiter.lock);
}

static int request_done(struct ic_request *r)
{
	count_end();
	return 0;
}

static void await_ends(unsigned n)
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

static int ask_shutdown(struct shutdown_request *r, uint64_t deadline, unsigned flags)
{
	memset(r, 0, sizeof(*r));
	r->ic.done = request_done;
	r->ic.deadline = deadline;
	return shutdown_submit(f->shutdown, r, flags);
}

/* ---- Negotiation ---------------------------------------------------------------------------- */

static void test_versions(void **state)
{
	static const struct ic_version frameworks[] = {{1, 0}, {3, 0}};
	static const struct ic_version versions[] = {{1, 0}, {3, 0}, {3, 1}, {3, 2}};
	struct ic_negotiate counts;
	struct message m;

	offer(SHUTDOWN);
	for (unsigned i = 0; i < 8; i++) {
		struct ic_state s;

		open_channel(&m);
		memcpy(&counts, m.body, sizeof(counts));
		assert_int_equal(counts.frameworks, 2);
		assert_int_equal(counts.messages, 4);
		assert_memory_equal(m.body + 8, frameworks, sizeof(frameworks));
		assert_memory_equal(m.body + 16, versions, sizeof(versions));
		assert_int_equal(ic_state(f->ic).stage, IC_NEGOTIATING);
		pick(&m, frameworks[i / 4], versions[i % 4]);
		await_stage(IC_READY);
		s = ic_state(f->ic);
		assert_memory_equal(&s.framework, &frameworks[i / 4], 4);
		assert_memory_equal(&s.message, &versions[i % 4], 4);
		guest_close(&f->c);
		assert_int_equal(ic_state(f->ic).stage, IC_CLOSED);
	}
}

static void test_refused(void **state)
{
	struct shutdown_request r;
	struct message m;

	offer(SHUTDOWN);
	assert_int_equal(ask_shutdown(&r, 0, 0), -ENOTCONN);
	open_channel(&m);
	assert_int_equal(ask_shutdown(&r, 0, 0), -EAGAIN);
	memset(m.body, 0, 8);
	answer(&m, IC_OK);
	await_stage(IC_REFUSED);
	assert_int_equal(ask_shutdown(&r, 0, 0), -EPROTONOSUPPORT);
	guest_close(&f->c);
}

/* What a hostile driver answers: @at of the message becomes @value (@bytes of it). */
static const struct damage {
	uint16_t at, bytes;
	uint32_t value;
} damages[] = {
	{0, 4, 2},	 /* not data */
	{4, 4, 0xffff},	 /* longer than the packet */
	{4, 4, 19},	 /* shorter than the header */
	{12, 2, 3},	 /* of another type */
	{18, 2, 0x7fff}, /* longer than the pipe has */
	{18, 2, 15},	 /* shorter than an answer to it */
	{24, 1, 0x55},	 /* to another message */
	{25, 1, IC_TRANSACTION | IC_REQUEST}, {25, 1, 0}, {28, 2, 2}, /* two frameworks */
	{30, 2, 9}, {36, 2, 2}, /* version 2.0 of the framework */
	{40, 2, 9},		/* version 9.0 of the service */
};

static void test_nonsense(void **state)
{
	static const uint8_t much[sizeof(struct message) + 8];
	struct message m;

	offer(SHUTDOWN);
	for (unsigned i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		const struct ic_negotiate counts = {1, 1, 0};
		const struct ic_version picked[] = {{3, 0}, {3, 2}};
		uint32_t size;

		open_channel(&m);
		size = (uint32_t)sizeof(m.pipe) + m.pipe.size;
		memcpy(m.body, &counts, 8);
		memcpy(m.body + 8, picked, 8);
		m.header.size = 16;
		m.header.flags = IC_TRANSACTION | IC_RESPONSE;
		memcpy((uint8_t *)&m + damages[i].at, &damages[i].value, damages[i].bytes);
		assert_true(guest_send(&f->c, VMBUS_PACKET_INBAND, 0, 0, NULL, 0, &m, size));
		await_stage(IC_CLOSED);
		guest_close(&f->c);
	}
	/* Nothing at all, too much, and what nobody asked for. */
	for (unsigned i = 0; i < 3; i++) {
		open_channel(&m);
		if (i == 2) {
			pick(&m, (struct ic_version){3, 0}, (struct ic_version){3, 2});
			await_stage(IC_READY);
			answer(&m, IC_OK);
		} else {
			assert_true(guest_send(&f->c, VMBUS_PACKET_INBAND, 0, 0, NULL, 0, much,
				i ? sizeof(much) : 0));
		}
		await_stage(IC_CLOSED);
		guest_close(&f->c);
	}
}

/* ---- Requests, by the example of shutdown --------------------------------------------------- */

static void test_one_after_the_other(void **state)
{
	struct shutdown_request r[3];
	struct ic_shutdown s;
	struct message m;

	connect(SHUTDOWN, 3, 2);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ask_shutdown(&r[i], 0, i << 1), 0);
	for (unsigned i = 0; i < 3; i++) {
		take(IC_SHUTDOWN, &m);
		memcpy(&s, m.body, sizeof(s));
		assert_int_equal(m.header.size, sizeof(s));
		assert_int_equal(s.flags, i << 1);
		guest_take_nothing(f->guest);
		answer(&m, i == 1 ? IC_FAIL : IC_OK);
		await_ends(1);
		assert_int_equal(r[i].ic.err, 0);
		assert_int_equal(r[i].ic.status, i == 1 ? IC_FAIL : IC_OK);
		assert_int_equal(r[i].ic.answered, sizeof(s));
	}
	guest_close(&f->c);
}

/* The guest is late: who asked has given up, and who comes next waits for it. */
static void test_deadlines(void **state)
{
	struct shutdown_request first, second, third;
	struct message m;

	connect(SHUTDOWN, 3, 2);
	assert_int_equal(ask_shutdown(&first, loop_now() + 50000000, 0), 0);
	take(IC_SHUTDOWN, &m);
	await_ends(1);
	assert_int_equal(first.ic.err, -ETIMEDOUT);
	assert_int_equal(ask_shutdown(&second, loop_now() + 50000000, 0), 0);
	await_ends(1);
	assert_int_equal(second.ic.err, -ETIMEDOUT);
	assert_int_equal(ask_shutdown(&third, 0, IC_SHUTDOWN_FORCE), 0);
	answer(&m, IC_OK); /* to the first */
	take(IC_SHUTDOWN, &m);
	assert_int_equal(m.body[8], IC_SHUTDOWN_FORCE);
	answer(&m, IC_OK);
	await_ends(1);
	assert_int_equal(third.ic.err, 0);
	guest_close(&f->c);
}

static void test_cancel_and_close(void **state)
{
	struct shutdown_request sent, waiting, last;
	struct message m;

	connect(SHUTDOWN, 3, 2);
	assert_int_equal(ask_shutdown(&sent, 0, 0), 0);
	assert_int_equal(ask_shutdown(&waiting, 0, 0), 0);
	take(IC_SHUTDOWN, &m);
	ic_cancel(f->ic, &waiting.ic);
	await_ends(1);
	assert_int_equal(waiting.ic.err, -ECANCELED);
	ic_cancel(f->ic, &sent.ic);
	await_ends(1);
	assert_int_equal(sent.ic.err, -ECANCELED);
	assert_int_equal(ask_shutdown(&last, 0, 0), 0);
	guest_close(&f->c);
	await_ends(1);
	assert_int_equal(last.ic.err, -ENOTCONN);
}

static void test_old_shutdown(void **state)
{
	struct shutdown_request r;

	connect(SHUTDOWN, 3, 0);
	assert_int_equal(ask_shutdown(&r, 0, IC_SHUTDOWN_RESTART), -EOPNOTSUPP);
	assert_int_equal(ask_shutdown(&r, 0, IC_SHUTDOWN_HIBERNATE), -EOPNOTSUPP);
	guest_close(&f->c);
}

/* ---- Heartbeat ------------------------------------------------------------------------------ */

static void beat(uint64_t more, uint32_t state, struct message *m)
{
	struct ic_heartbeat *h = (struct ic_heartbeat *)m->body;

	take(IC_HEARTBEAT, m);
	h->sequence += more;
	h->state = state;
	answer(m, IC_OK);
}

static void test_heartbeat(void **state)
{
	struct heartbeat_status s;
	struct message m;
	uint64_t until = loop_now() + PATIENCE_NS;

	connect(HEARTBEAT, 3, 0);
	s = heartbeat_status(f->heartbeat);
	assert_int_equal(s.contact, HEARTBEAT_NO_CONTACT);
	beat(1, IC_APPLICATIONS_CRITICAL, &m);
	while ((s = heartbeat_status(f->heartbeat)).contact != HEARTBEAT_OK)
		assert_true(loop_now() < until);
	assert_int_equal(s.applications, IC_APPLICATIONS_CRITICAL);
	assert_int_equal(s.sequence, 2);
	assert_true(llabs(s.since - time(NULL)) < 60);
	guest_close(&f->c);
	assert_int_equal(heartbeat_status(f->heartbeat).contact, HEARTBEAT_NO_CONTACT);
	/* A wrong number; a state that there is not; too short. */
	for (unsigned i = 0; i < 3; i++) {
		open_channel(&m);
		pick(&m, (struct ic_version){3, 0}, (struct ic_version){3, 0});
		take(IC_HEARTBEAT, &m);
		m.body[0] += i == 0 ? 7 : 1;
		m.body[8] = i == 1 ? 9 : 0;
		if (i == 2)
			m.header.size = 8;
		answer(&m, IC_OK);
		await_stage(IC_CLOSED);
		guest_close(&f->c);
	}
}

/* ---- Time ----------------------------------------------------------------------------------- */

static void check_time(uint64_t parent)
{
	int64_t seconds = (int64_t)(parent / 10000000) - 11644473600;

	assert_true(llabs(seconds - time(NULL)) <= 2);
}

static void test_timesync(void **state)
{
	struct ic_timesync_reference reference;
	struct ic_timesync plain;
	struct timesync_request r = {.ic.done = request_done};
	struct message m;

	connect(TIMESYNC, 4, 0);
	take(IC_TIMESYNC, &m);
	assert_int_equal(m.header.size, sizeof(reference));
	memcpy(&reference, m.body, sizeof(reference));
	check_time(reference.parent_time);
	assert_int_equal(reference.reference, 123456789);
	assert_int_equal(reference.flags, IC_TIME_SYNC);
	answer(&m, IC_OK);
	guest_close(&f->c);
	for (unsigned version = 1; version <= 3; version += 2) {
		open_channel(&m);
		pick(&m, (struct ic_version){1, 0}, (struct ic_version){(uint16_t)version, 0});
		for (unsigned i = 0; i < 2; i++) {
			take(IC_TIMESYNC, &m);
			assert_int_equal(m.header.size, sizeof(plain));
			memcpy(&plain, m.body, sizeof(plain));
			check_time(plain.parent_time);
			assert_int_equal(plain.flags, IC_TIME_SYNC);
			if (!i)
				assert_int_equal(timesync_submit(f->timesync, &r), 0);
			answer(&m, IC_OK);
		}
		await_ends(1);
		assert_int_equal(r.ic.err, 0);
		guest_close(&f->c);
	}
}

/* ---- Key-value exchange --------------------------------------------------------------------- */

static void kvp_done(struct kvp_request *r)
{
	count_end();
}

/* What the host says of itself comes first. */
static void connect_kvp(uint16_t major, struct message *m)
{
	struct ic_kvp *k = (struct ic_kvp *)m->body;

	connect(KVP, major, 0);
	for (unsigned i = 0; i < 2; i++) {
		char *text;

		take(IC_KVP, m);
		assert_int_equal(k->operation, IC_KVP_SET);
		assert_int_equal(k->pool, KVP_POOL_AUTO_EXTERNAL);
		text = utf16_to_utf8((void *)k->value.text, IC_KVP_VALUE / 2);
		assert_string_equal(text, items[i].value);
		free(text);
		answer(m, i ? IC_OK : IC_FAIL);
	}
}

static void test_kvp(void **state)
{
	struct message m;
	struct ic_kvp *k = (struct ic_kvp *)m.body;
	struct kvp_request r = {.done = kvp_done};
	char *key, *value;

	connect_kvp(4, &m);
	assert_int_equal(kvp_put_enumerate(&r, KVP_POOL_GUEST, 7), 0);
	assert_int_equal(kvp_submit(f->kvp, &r), 0);
	take(IC_KVP, &m);
	assert_int_equal(m.header.size, sizeof(*k));
	assert_int_equal(k->item.index, 7);
	k->item.value.type = IC_KVP_U64;
	k->item.value.key_size = IC_KVP_KEY;
	for (unsigned i = 0; i < IC_KVP_KEY / 2; i++)
		k->item.value.key[i] = 'k'; /* without an end */
	k->item.value.value_size = 8;
	k->item.value.u64 = 1ull << 40;
	answer(&m, IC_OK);
	await_ends(1);
	assert_int_equal(r.ic.err, 0);
	key = kvp_answered_key(&r);
	value = kvp_answered_value(&r);
	assert_int_equal(strlen(key), IC_KVP_KEY / 2);
	assert_string_equal(value, "1099511627776");
	free(key);
	free(value);
	guest_close(&f->c);
}

static void test_kvp_sizes(void **state)
{
	char text[KVP_VALUE_MAX + 2];
	struct kvp_request r;
	struct kvp_addresses a = {.gateways = text};

	memset(text, 'x', sizeof(text));
	text[KVP_KEY_MAX] = 0;
	assert_int_equal(kvp_put_get(&r, KVP_POOL_GUEST, text), 0);
	assert_int_equal(r.message.item.value.key_size, IC_KVP_KEY);
	assert_int_equal(kvp_put_delete(&r, KVP_POOL_GUEST, text), 0);
	assert_int_equal(r.message.item.name.key_size, IC_KVP_KEY);
	text[KVP_KEY_MAX] = 'x';
	text[KVP_KEY_MAX + 1] = 0;
	assert_int_equal(kvp_put_get(&r, KVP_POOL_GUEST, text), -EMSGSIZE);
	assert_int_equal(kvp_put_delete(&r, KVP_POOL_GUEST, text), -EMSGSIZE);
	assert_int_equal(kvp_put_get(&r, KVP_POOL_GUEST, ""), -EMSGSIZE);
	text[KVP_KEY_MAX + 1] = 'x';
	text[KVP_VALUE_MAX] = 0;
	assert_int_equal(kvp_put_set(&r, KVP_POOL_GUEST, "k", text), 0);
	assert_int_equal(r.message.item.value.value_size, IC_KVP_VALUE);
	text[KVP_VALUE_MAX] = 'x';
	text[KVP_VALUE_MAX + 1] = 0;
	assert_int_equal(kvp_put_set(&r, KVP_POOL_GUEST, "k", text), -EMSGSIZE);
	assert_int_equal(kvp_put_set_ip(&r, "adapter", IC_KVP_IPV4, &a), -EMSGSIZE);
	assert_int_equal(kvp_put_get_ip(&r, text, IC_KVP_IPV4), -EMSGSIZE);
}

static void test_kvp_addresses(void **state)
{
	struct message m;
	struct ic_kvp_ip *ip = (struct ic_kvp_ip *)m.body;
	struct kvp_request r = {.done = kvp_done};
	struct kvp_addresses a;

	connect_kvp(4, &m);
	assert_int_equal(kvp_put_get_ip(&r, "00:15:5D:00:00:01", IC_KVP_IPV4), 0);
	assert_int_equal(kvp_submit(f->kvp, &r), 0);
	take(IC_KVP, &m);
	assert_int_equal(m.header.size, sizeof(*ip));
	assert_int_equal(ip->family, IC_KVP_IPV4);
	for (unsigned i = 0; i < IC_KVP_ADDRESSES; i++)
		ip->addresses[i] = '1'; /* without an end */
	ip->dhcp = 1;
	answer(&m, IC_OK);
	await_ends(1);
	assert_int_equal(kvp_answered_addresses(&r, &a), 0);
	assert_int_equal(strlen(a.addresses), IC_KVP_ADDRESSES);
	assert_string_equal(a.dns, "");
	assert_true(a.dhcp);
	kvp_free_addresses(&a);
	guest_close(&f->c);
}

static void test_kvp_nonsense(void **state)
{
	struct message m;
	struct ic_kvp *k = (struct ic_kvp *)m.body;
	struct kvp_request r = {.done = kvp_done};

	connect_kvp(3, &m);
	assert_int_equal(kvp_put_get_ip(&r, "a", IC_KVP_IPV4), 0);
	assert_int_equal(kvp_submit(f->kvp, &r), -EOPNOTSUPP);
	assert_int_equal(kvp_put_enumerate(&r, KVP_POOL_GUEST, 0), 0);
	assert_int_equal(kvp_submit(f->kvp, &r), 0);
	take(IC_KVP, &m);
	k->item.value.value_size = IC_KVP_VALUE + 1;
	answer(&m, IC_OK);
	await_ends(1);
	assert_int_equal(r.ic.err, -EPROTO);
	await_stage(IC_CLOSED);
	guest_close(&f->c);
}

/* ---- Freezing ------------------------------------------------------------------------------- */

static void test_vss(void **state)
{
	static const struct {
		enum ic_vss_operation operation;
		unsigned size;
	} steps[] = {{IC_VSS_HOT_BACKUP, 39}, {IC_VSS_FREEZE, 6260}, {IC_VSS_THAW, 39}};
	struct vss_request r;
	struct message m;

	connect(VSS, 5, 0);
	for (unsigned i = 0; i < 3; i++) {
		memset(&r, 0, sizeof(r));
		r.ic.done = request_done;
		assert_int_equal(vss_submit(f->vss, &r, steps[i].operation), 0);
		take(IC_VSS, &m);
		assert_int_equal(m.header.size, steps[i].size);
		assert_int_equal(m.body[0], steps[i].operation);
		answer(&m, i);
		await_ends(1);
		assert_int_equal(r.ic.status, i);
	}
	guest_close(&f->c);
	open_channel(&m);
	pick(&m, (struct ic_version){3, 0}, (struct ic_version){4, 0});
	await_stage(IC_READY);
	assert_int_equal(vss_submit(f->vss, &r, IC_VSS_FREEZE), -EOPNOTSUPP);
	guest_close(&f->c);
}

/* ---- File copy ------------------------------------------------------------------------------ */

#define FILE_SIZE (2 * IC_FCOPY_DATA + 100)

static uint8_t contents(unsigned at)
{
	return (uint8_t)(at * 7 + at / 256);
}

static int make_file(void)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	uint8_t data[FILE_SIZE];

	for (unsigned i = 0; i < FILE_SIZE; i++)
		data[i] = contents(i);
	assert_int_equal(write(fd, data, FILE_SIZE), FILE_SIZE);
	return fd;
}

static void copy_done(struct fcopy_request *r)
{
	count_end();
}

static void expect_start(struct message *m)
{
	struct ic_fcopy_start *s = (struct ic_fcopy_start *)m->body;
	char *directory, *file;

	take(IC_FCOPY, m);
	assert_int_equal(m->header.size, sizeof(*s));
	assert_int_equal(s->header.operation, IC_FCOPY_START);
	assert_int_equal(s->flags, IC_FCOPY_OVERWRITE);
	directory = utf16_to_utf8((void *)s->directory, IC_FCOPY_NAME);
	file = utf16_to_utf8((void *)s->file, IC_FCOPY_NAME);
	assert_string_equal(directory, "/tmp/a dir/");
	assert_string_equal(file, "fäle");
	free(directory);
	free(file);
}

static void expect_piece(struct message *m, unsigned at, unsigned size)
{
	struct ic_fcopy_write *w = (struct ic_fcopy_write *)m->body;

	take(IC_FCOPY, m);
	assert_int_equal(m->header.size, sizeof(*w));
	assert_int_equal(w->header.operation, IC_FCOPY_WRITE);
	assert_int_equal(w->offset, at);
	assert_int_equal(w->size, size);
	for (unsigned i = 0; i < size; i++)
		assert_int_equal(w->data[i], contents(at + i));
}

static void expect_operation(struct message *m, enum ic_fcopy_operation operation)
{
	take(IC_FCOPY, m);
	assert_int_equal(m->body[0], operation);
}

static void copy(struct fcopy_request *r, int fd)
{
	*r = (struct fcopy_request){.fd = fd, .size = FILE_SIZE, .done = copy_done};
	assert_int_equal(fcopy_submit(f->fcopy, r, "/tmp/a dir/fäle", IC_FCOPY_OVERWRITE), 0);
}

static void test_copy(void **state)
{
	struct fcopy_request r, other;
	struct message m;
	int fd = make_file();

	connect(FCOPY, 1, 1);
	copy(&r, fd);
	other = (struct fcopy_request){.fd = fd, .done = copy_done};
	assert_int_equal(fcopy_submit(f->fcopy, &other, "/x", 0), -EBUSY);
	expect_start(&m);
	answer(&m, IC_OK);
	for (unsigned at = 0; at < FILE_SIZE; at += IC_FCOPY_DATA) {
		expect_piece(&m, at, at < 2 * IC_FCOPY_DATA ? IC_FCOPY_DATA : 100);
		assert_int_equal(r.copied, at);
		memset(m.body, 0xff, m.header.size); /* what comes back counts for nothing */
		answer(&m, IC_OK);
	}
	expect_operation(&m, IC_FCOPY_COMPLETE);
	answer(&m, IC_OK);
	await_ends(1);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.status, 0);
	guest_close(&f->c);
	close(fd);
}

/* Each of these ends with CANCEL, unless nothing was made yet. */
static void test_copy_fails(void **state)
{
	struct fcopy_request r;
	struct message m;
	int fd = make_file();

	connect(FCOPY, 1, 1);
	copy(&r, fd);
	expect_start(&m);
	answer(&m, IC_EXISTS);
	await_ends(1);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.status, IC_EXISTS);

	copy(&r, fd);
	expect_start(&m);
	answer(&m, IC_OK);
	expect_piece(&m, 0, IC_FCOPY_DATA);
	answer(&m, IC_DISK_FULL);
	expect_operation(&m, IC_FCOPY_CANCEL);
	answer(&m, IC_OK);
	await_ends(1);
	assert_int_equal(r.status, IC_DISK_FULL);

	copy(&r, fd);
	expect_start(&m);
	fcopy_cancel(&r);
	answer(&m, IC_OK);
	expect_operation(&m, IC_FCOPY_CANCEL);
	answer(&m, IC_FAIL);
	await_ends(1);
	assert_int_equal(r.err, -ECANCELED);

	assert_int_equal(ftruncate(fd, 100), 0);
	copy(&r, fd);
	expect_start(&m);
	answer(&m, IC_OK);
	expect_operation(&m, IC_FCOPY_CANCEL);
	answer(&m, IC_OK);
	await_ends(1);
	assert_int_equal(r.err, -ENODATA);

	copy(&r, fd);
	expect_start(&m);
	guest_close(&f->c);
	await_ends(1);
	assert_int_equal(r.err, -ENOTCONN);
	close(fd);
}

static void test_copy_paths(void **state)
{
	struct fcopy_request r = {.fd = -1, .done = copy_done};
	char path[600];

	connect(FCOPY, 1, 1);
	assert_int_equal(fcopy_submit(f->fcopy, &r, "name", 0), -EINVAL);
	assert_int_equal(fcopy_submit(f->fcopy, &r, "/dir/", 0), -EINVAL);
	assert_int_equal(fcopy_submit(f->fcopy, &r, "", 0), -EINVAL);
	memset(path, 'n', sizeof(path));
	path[0] = '/';
	path[1 + FCOPY_NAME_MAX + 1] = 0;
	assert_int_equal(fcopy_submit(f->fcopy, &r, path, 0), -ENAMETOOLONG);
	path[FCOPY_NAME_MAX] = '/';
	path[FCOPY_NAME_MAX + 1] = 'n';
	path[FCOPY_NAME_MAX + 2] = 0;
	assert_int_equal(fcopy_submit(f->fcopy, &r, path, 0), -ENAMETOOLONG);
	guest_close(&f->c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_versions),
		TEST(test_refused),
		TEST(test_nonsense),
		TEST(test_one_after_the_other),
		TEST(test_deadlines),
		TEST(test_cancel_and_close),
		TEST(test_old_shutdown),
		TEST(test_heartbeat),
		TEST(test_timesync),
		TEST(test_kvp),
		TEST(test_kvp_sizes),
		TEST(test_kvp_addresses),
		TEST(test_kvp_nonsense),
		TEST(test_vss),
		TEST(test_copy),
		TEST(test_copy_fails),
		TEST(test_copy_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
