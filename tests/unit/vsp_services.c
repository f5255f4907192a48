/*
 * vsp_services.c - the integration services, with a driver of the test's: negotiation, requests and
 * their ends, heartbeat, time and freezing, and drivers that do it wrong.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "service_guest.h"

#define PATIENCE_NS 20000000000ull

static int ask_shutdown(struct shutdown_request *r, uint64_t deadline, unsigned flags)
{
	memset(r, 0, sizeof(*r));
	r->ic.done = service_request_done;
	r->ic.deadline = deadline;
	return shutdown_submit(f->shutdown, r, flags);
}

/* ---- Negotiation ---------------------------------------------------------------------------- */

/* What each service offers, oldest first. */
static const struct {
	enum service service;
	unsigned n;
	struct ic_version versions[4];
} offered[] = {
	{HEARTBEAT, 2, {{1, 0}, {3, 0}}},
	{TIMESYNC, 3, {{1, 0}, {3, 0}, {4, 0}}},
	{SHUTDOWN, 4, {{1, 0}, {3, 0}, {3, 1}, {3, 2}}},
	{KVP, 4, {{1, 0}, {3, 0}, {4, 0}, {5, 0}}},
	{VSS, 4, {{4, 0}, {5, 0}, {6, 0}, {7, 0}}},
	{FCOPY, 1, {{1, 1}}},
};
static const struct ic_version frameworks[] = {{1, 0}, {3, 0}};

/* The guest takes any version of the one list with any of the other. */
static void check_versions(const struct ic_version *versions, unsigned n)
{
	struct ic_negotiate counts;
	struct message m;

	for (unsigned i = 0; i < 2 * n; i++) {
		struct ic_state s;

		service_open(&m);
		memcpy(&counts, m.body, sizeof(counts));
		assert_int_equal(counts.frameworks, 2);
		assert_int_equal(counts.messages, n);
		assert_memory_equal(m.body + 8, frameworks, sizeof(frameworks));
		assert_memory_equal(m.body + 16, versions, n * sizeof(*versions));
		assert_int_equal(ic_state(f->ic).stage, IC_NEGOTIATING);
		service_pick(&m, frameworks[i / n], versions[i % n]);
		service_await(IC_READY);
		s = ic_state(f->ic);
		assert_memory_equal(&s.framework, &frameworks[i / n], 4);
		assert_memory_equal(&s.message, &versions[i % n], 4);
		guest_close(&f->c);
		assert_int_equal(ic_state(f->ic).stage, IC_CLOSED);
	}
}

static void test_versions(void **state)
{
	for (unsigned i = 0; i < sizeof(offered) / sizeof(offered[0]); i++) {
		service_offer(offered[i].service);
		check_versions(offered[i].versions, offered[i].n);
		service_tear_down(NULL);
		service_set_up(NULL);
	}
}

static void test_refused(void **state)
{
	struct shutdown_request r;
	struct message m;

	service_offer(SHUTDOWN);
	assert_int_equal(ask_shutdown(&r, 0, 0), -ENOTCONN);
	service_open(&m);
	assert_int_equal(ask_shutdown(&r, 0, 0), -EAGAIN);
	memset(m.body, 0, 8);
	service_answer(&m, IC_OK);
	service_await(IC_REFUSED);
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

	service_offer(SHUTDOWN);
	for (unsigned i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		const struct ic_negotiate counts = {1, 1, 0};
		const struct ic_version picked[] = {{3, 0}, {3, 2}};
		uint32_t size;

		service_open(&m);
		size = (uint32_t)sizeof(m.pipe) + m.pipe.size;
		memcpy(m.body, &counts, 8);
		memcpy(m.body + 8, picked, 8);
		m.header.size = 16;
		m.header.flags = IC_TRANSACTION | IC_RESPONSE;
		memcpy((uint8_t *)&m + damages[i].at, &damages[i].value, damages[i].bytes);
		assert_true(guest_send(&f->c, VMBUS_PACKET_INBAND, 0, 0, NULL, 0, &m, size));
		service_await(IC_CLOSED);
		guest_close(&f->c);
	}
	/* Nothing at all, too much, and what nobody asked for. */
	for (unsigned i = 0; i < 3; i++) {
		service_open(&m);
		if (i == 2) {
			service_pick(&m, (struct ic_version){3, 0}, (struct ic_version){3, 2});
			service_await(IC_READY);
			service_answer(&m, IC_OK);
		} else {
			assert_true(guest_send(&f->c, VMBUS_PACKET_INBAND, 0, 0, NULL, 0, much,
				i ? sizeof(much) : 0));
		}
		service_await(IC_CLOSED);
		guest_close(&f->c);
	}
}

/* ---- Requests, by the example of shutdown --------------------------------------------------- */

static void test_one_after_the_other(void **state)
{
	struct shutdown_request r[3];
	struct ic_shutdown s;
	struct message m;

	service_connect(SHUTDOWN, 3, 2);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ask_shutdown(&r[i], 0, i << 1), 0);
	for (unsigned i = 0; i < 3; i++) {
		service_take(IC_SHUTDOWN, &m);
		memcpy(&s, m.body, sizeof(s));
		assert_int_equal(m.header.size, sizeof(s));
		assert_int_equal(s.flags, i << 1);
		guest_take_nothing(f->guest);
		service_answer(&m, i == 1 ? IC_FAIL : IC_OK);
		service_await_ends(1);
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

	service_connect(SHUTDOWN, 3, 2);
	assert_int_equal(ask_shutdown(&first, loop_now() + 50000000, 0), 0);
	service_take(IC_SHUTDOWN, &m);
	service_await_ends(1);
	assert_int_equal(first.ic.err, -ETIMEDOUT);
	assert_int_equal(ask_shutdown(&second, loop_now() + 50000000, 0), 0);
	service_await_ends(1);
	assert_int_equal(second.ic.err, -ETIMEDOUT);
	assert_int_equal(ask_shutdown(&third, 0, IC_SHUTDOWN_FORCE), 0);
	service_answer(&m, IC_OK); /* to the first */
	service_take(IC_SHUTDOWN, &m);
	assert_int_equal(m.body[8], IC_SHUTDOWN_FORCE);
	service_answer(&m, IC_OK);
	service_await_ends(1);
	assert_int_equal(third.ic.err, 0);
	guest_close(&f->c);
}

static void test_cancel_and_close(void **state)
{
	struct shutdown_request sent, waiting, last;
	struct message m;

	service_connect(SHUTDOWN, 3, 2);
	assert_int_equal(ask_shutdown(&sent, 0, 0), 0);
	assert_int_equal(ask_shutdown(&waiting, 0, 0), 0);
	service_take(IC_SHUTDOWN, &m);
	ic_cancel(f->ic, &waiting.ic);
	service_await_ends(1);
	assert_int_equal(waiting.ic.err, -ECANCELED);
	ic_cancel(f->ic, &sent.ic);
	service_await_ends(1);
	assert_int_equal(sent.ic.err, -ECANCELED);
	assert_int_equal(ask_shutdown(&last, 0, 0), 0);
	guest_close(&f->c);
	service_await_ends(1);
	assert_int_equal(last.ic.err, -ENOTCONN);
}

/* What each version of shutdown can do, and that every flag of it comes to the guest. */
static void test_shutdown_versions(void **state)
{
	static const struct {
		struct ic_version version;
		unsigned most; /* that its flags can be */
	} known[] = {{{1, 0}, 1}, {{3, 0}, 1}, {{3, 1}, 3}, {{3, 2}, 5}};
	struct shutdown_request r;
	struct ic_shutdown s;
	struct message m;

	service_offer(SHUTDOWN);
	for (unsigned i = 0; i < 4; i++) {
		service_open(&m);
		service_pick(&m, frameworks[i > 0], known[i].version);
		service_await(IC_READY);
		for (unsigned flags = 0; flags <= 5; flags++) {
			if (flags > known[i].most) {
				assert_int_equal(ask_shutdown(&r, 0, flags), -EOPNOTSUPP);
				continue;
			}
			assert_int_equal(ask_shutdown(&r, 0, flags), 0);
			service_take(IC_SHUTDOWN, &m);
			memcpy(&s, m.body, sizeof(s));
			assert_int_equal(s.flags, flags);
			assert_int_equal(s.reason, IC_REASON_PLANNED);
			service_answer(&m, IC_OK);
			service_await_ends(1);
		}
		guest_close(&f->c);
	}
}

/* ---- Heartbeat ------------------------------------------------------------------------------ */

static void beat(uint64_t more, uint32_t state, struct message *m)
{
	struct ic_heartbeat *h = (struct ic_heartbeat *)m->body;

	service_take(IC_HEARTBEAT, m);
	h->sequence += more;
	h->state = state;
	service_answer(m, IC_OK);
}

static void test_heartbeat(void **state)
{
	struct heartbeat_status s;
	struct message m;
	uint64_t until = loop_now() + PATIENCE_NS;

	service_connect(HEARTBEAT, 3, 0);
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
		service_open(&m);
		service_pick(&m, (struct ic_version){3, 0}, (struct ic_version){3, 0});
		service_take(IC_HEARTBEAT, &m);
		m.body[0] += i == 0 ? 7 : 1;
		m.body[8] = i == 1 ? 9 : 0;
		if (i == 2)
			m.header.size = 8;
		service_answer(&m, IC_OK);
		service_await(IC_CLOSED);
		guest_close(&f->c);
	}
}

/* Before 3.0 the guest says nothing of its applications, whatever stands there. */
static void test_old_heartbeat(void **state)
{
	uint64_t until = loop_now() + PATIENCE_NS;
	struct heartbeat_status s;
	struct message m;

	service_connect(HEARTBEAT, 1, 0);
	beat(1, 0xffff, &m);
	while ((s = heartbeat_status(f->heartbeat)).contact != HEARTBEAT_OK)
		assert_true(loop_now() < until);
	assert_int_equal(s.applications, IC_APPLICATIONS_UNKNOWN);
	guest_close(&f->c);
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
	struct timesync_request r = {.ic.done = service_request_done};
	struct message m;

	service_connect(TIMESYNC, 4, 0);
	service_take(IC_TIMESYNC, &m);
	assert_int_equal(m.header.size, sizeof(reference));
	memcpy(&reference, m.body, sizeof(reference));
	check_time(reference.parent_time);
	assert_int_equal(reference.reference, SERVICE_REFERENCE);
	assert_int_equal(reference.flags, IC_TIME_SYNC);
	service_answer(&m, IC_OK);
	guest_close(&f->c);
	for (unsigned version = 1; version <= 3; version += 2) {
		service_open(&m);
		service_pick(
			&m, (struct ic_version){1, 0}, (struct ic_version){(uint16_t)version, 0});
		for (unsigned i = 0; i < 2; i++) {
			service_take(IC_TIMESYNC, &m);
			assert_int_equal(m.header.size, sizeof(plain));
			memcpy(&plain, m.body, sizeof(plain));
			check_time(plain.parent_time);
			assert_int_equal(plain.flags, IC_TIME_SYNC);
			if (!i)
				assert_int_equal(timesync_submit(f->timesync, &r, true), 0);
			service_answer(&m, IC_OK);
		}
		service_await_ends(1);
		assert_int_equal(r.ic.err, 0);
		guest_close(&f->c);
	}
}

static void expect_time(uint8_t flags)
{
	struct ic_timesync_reference reference;
	struct message m;

	service_take(IC_TIMESYNC, &m);
	memcpy(&reference, m.body, sizeof(reference));
	assert_int_equal(reference.flags, flags);
	service_answer(&m, IC_OK);
}

/*
 * Samples, while the guest's clock runs with the host's; when it no longer does, it shall be set.
 */
static void test_time_moves_apart(void **state)
{
	struct timesync_request r = {.ic.done = service_request_done};

	service_reference_runs = true;
	service_connect(TIMESYNC, 4, 0);
	expect_time(IC_TIME_SYNC);
	assert_int_equal(timesync_submit(f->timesync, &r, false), 0);
	expect_time(IC_TIME_SAMPLE);
	service_await_ends(1);
	expect_time(IC_TIME_SAMPLE); /* when the period has passed */
	service_reference_runs = false;
	expect_time(IC_TIME_SYNC);
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

	service_offer(VSS);
	for (uint16_t version = 4; version <= 7; version++) {
		service_open(&m);
		service_pick(&m, (struct ic_version){3, 0}, (struct ic_version){version, 0});
		service_await(IC_READY);
		for (unsigned i = 0; i < 3; i++) {
			memset(&r, 0, sizeof(r));
			r.ic.done = service_request_done;
			if (version == 4 && i) { /* which can be asked, but not frozen */
				assert_int_equal(
					vss_submit(f->vss, &r, steps[i].operation), -EOPNOTSUPP);
				continue;
			}
			assert_int_equal(vss_submit(f->vss, &r, steps[i].operation), 0);
			service_take(IC_VSS, &m);
			assert_int_equal(m.header.size, steps[i].size);
			assert_int_equal(m.body[0], steps[i].operation);
			service_answer(&m, i);
			service_await_ends(1);
			assert_int_equal(r.ic.status, i);
		}
		guest_close(&f->c);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		SERVICE_TEST(test_versions),
		SERVICE_TEST(test_refused),
		SERVICE_TEST(test_nonsense),
		SERVICE_TEST(test_one_after_the_other),
		SERVICE_TEST(test_deadlines),
		SERVICE_TEST(test_cancel_and_close),
		SERVICE_TEST(test_shutdown_versions),
		SERVICE_TEST(test_heartbeat),
		SERVICE_TEST(test_old_heartbeat),
		SERVICE_TEST(test_timesync),
		SERVICE_TEST(test_time_moves_apart),
		SERVICE_TEST(test_vss),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
