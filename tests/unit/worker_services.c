/*
 * worker_services.c - integration services asked for over the control socket: answers that come
 * when the guest's has come, clients that wait, go away or are too many, and what becomes of a
 * guest that was frozen.
 *
 * The machine is that of worker_machine.h, with services; the test is the guest's driver.
 */
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "worker/services.h"
#include "worker_machine.h"

struct message {
	struct ic_pipe_header pipe;
	struct ic_header header;
	uint8_t body[IC_MESSAGE_MAX];
} IC_PACKED;

static struct test_machine *f;
static struct guest_channel channel;

/* disks.c is not in this machine. */
void disks_attach_request(struct machine *m, struct control_request *r)
{
}

void disks_detach_request(struct machine *m, struct control_request *r)
{
}

void disks_resize_request(struct machine *m, struct control_request *r)
{
}

void disks_list_request(struct machine *m, struct control_request *r)
{
}

static int set_up(void **state)
{
	const struct worker_config config = {.name = "test", .host_name = "host", .processors = 1};

	f = test_machine_create(&config, services_create, services_destroy);
	memset(&channel, 0, sizeof(channel));
	return 0;
}

static int tear_down(void **state)
{
	test_machine_destroy(f);
	return 0;
}

/* ---- A client ------------------------------------------------------------------------------- */

static int client(const char *request)
{
	int fd = test_machine_connect(f);

	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	assert_int_equal(send(fd, "\n", 1, MSG_NOSIGNAL), 1);
	return fd;
}

/* The next line. */
static const char *line(int client)
{
	size_t n = 0;

	do {
		assert_true(test_machine_readable(client));
		assert_int_equal(recv(client, f->reply + n, 1, 0), 1);
	} while (f->reply[n++] != '\n');
	f->reply[n] = 0;
	return f->reply;
}

/* The line after which the machine closes. */
static const char *last_line(int client)
{
	return test_machine_hear(f, client);
}

static void assert_refused(const char *request, const char *why)
{
	const char *reply = last_line(client(request));

	assert_non_null(strstr(reply, "\"error\""));
	if (!strstr(reply, why))
		fail_msg("%s", reply);
}

static void assert_done(int client)
{
	assert_string_equal(last_line(client), "{}\n");
}

/* ---- The guest's driver --------------------------------------------------------------------- */

static void take(struct message *m)
{
	struct vmbus_descriptor d;

	guest_await_packet(&channel, &d, m, sizeof(*m));
	assert_int_equal(d.type, VMBUS_PACKET_INBAND);
}

static void answer(struct message *m, uint32_t status)
{
	m->header.flags = IC_TRANSACTION | IC_RESPONSE;
	m->header.status = status;
	assert_true(guest_send(&channel, VMBUS_PACKET_INBAND, 0, 0, NULL, 0, m,
		(uint32_t)sizeof(m->pipe) + m->pipe.size));
}

/* Opens the channel of one of the services, which is ready then. */
static void use(GUID interface, struct ic *ic, uint16_t major, uint16_t minor)
{
	const struct ic_negotiate counts = {1, 1, 0};
	const struct ic_version versions[] = {{3, 0}, {major, minor}};
	struct vmbus_offer_channel offer, found = {0};
	struct vmbus_header header;
	struct message m;

	assert_true(guest_contact(f->guest, VMBUS_WIN10_5_3));
	guest_post(f->guest, VMBUS_REQUEST_OFFERS, &header, sizeof(header));
	for (unsigned i = 0; i < WORKER_SERVICES; i++) {
		guest_take(f->guest, VMBUS_OFFER_CHANNEL, &offer, sizeof(offer));
		if (memcmp(&offer.interface, &interface, sizeof(interface)) == 0)
			found = offer;
	}
	guest_take(f->guest, VMBUS_ALL_OFFERS_DELIVERED, &header, sizeof(header));
	guest_open(f->guest, &channel, &found, 4);
	take(&m);
	memcpy(m.body, &counts, 8);
	memcpy(m.body + 8, versions, 8);
	m.header.size = 16;
	answer(&m, IC_OK);
	while (ic_state(ic).stage != IC_READY)
		sched_yield();
}

static void use_shutdown(void)
{
	use(IC_SHUTDOWN_INTERFACE, shutdown_ic(f->m.services->shutdown), 3, 2);
}

static void use_vss(void)
{
	use(IC_VSS_INTERFACE, vss_ic(f->m.services->vss), 5, 0);
}

#define SHUTDOWN "{\"command\": \"shutdown\", \"action\": \"shutdown\"}"

/* ---- Waiting for the guest ------------------------------------------------------------------ */

static void test_answers(void **state)
{
	struct message m;
	int fd;

	assert_refused(SHUTDOWN, "does not use the service 'shutdown'");
	use_shutdown();
	fd = client(SHUTDOWN);
	take(&m);
	answer(&m, IC_OK);
	assert_done(fd);
	fd = client("{\"command\": \"shutdown\", \"action\": \"reboot\", \"force\": true}");
	take(&m);
	assert_int_equal(m.body[8], IC_SHUTDOWN_RESTART | IC_SHUTDOWN_FORCE);
	answer(&m, IC_FAIL);
	assert_non_null(strstr(last_line(fd), "error 0x80004005"));
	assert_refused("{\"command\": \"shutdown\", \"action\": \"dance\"}", "no action 'dance'");
	assert_refused("{\"command\": \"shutdown\"}", "no action");
	guest_close(&channel);
}

/*
 * Those who wait for the guest take no one's place, up to their own limit; they leave at any time.
 */
static void test_many_wait(void **state)
{
	struct message m;
	int fds[32];

	use_shutdown();
	for (unsigned i = 0; i < 32; i++)
		fds[i] = client(SHUTDOWN);
	take(&m);
	while (strstr(last_line(client("{\"command\": \"heartbeat\"}")), "error"))
		;
	assert_refused(SHUTDOWN, "wait for the guest already");
	for (unsigned i = 0; i < 31; i++)
		close(fds[i]);
	answer(&m, IC_OK);
	for (;;) { /* those that were not cancelled in time, and the last one's */
		struct pollfd p = {.fd = fds[31], .events = POLLIN};
		struct vmbus_descriptor d;

		if (guest_receive(&channel, &d, &m, sizeof(m)))
			answer(&m, IC_OK);
		if (poll(&p, 1, 0) == 1)
			break;
	}
	assert_done(fds[31]);
	guest_close(&channel);
}

static void test_service_disabled_meanwhile(void **state)
{
	struct message m;
	int fd;

	use_shutdown();
	fd = client(SHUTDOWN);
	take(&m);
	assert_done(client("{\"command\": \"disable-service\", \"service\": \"shutdown\"}"));
	assert_non_null(strstr(last_line(fd), "does not use"));
	assert_refused(SHUTDOWN, "disabled");
	assert_done(client("{\"command\": \"disable-service\", \"service\": \"shutdown\"}"));
	assert_done(client("{\"command\": \"enable-service\", \"service\": \"shutdown\"}"));
	assert_refused(SHUTDOWN, "does not use");
	assert_refused("{\"command\": \"enable-service\", \"service\": \"x\"}", "no service 'x'");
}

/* ---- Freezing ------------------------------------------------------------------------------- */

#define FREEZE "{\"command\": \"freeze\"}"
#define HOLD   "{\"command\": \"freeze\", \"hold\": true}"
#define THAW   "{\"command\": \"thaw\"}"

static void expect(enum ic_vss_operation operation, uint32_t status)
{
	struct message m;

	take(&m);
	assert_int_equal(m.body[0], operation);
	answer(&m, status);
}

static void expect_freeze(void)
{
	expect(IC_VSS_HOT_BACKUP, IC_OK);
	expect(IC_VSS_FREEZE, IC_OK);
}

static void test_freeze(void **state)
{
	int fd;

	assert_refused(FREEZE, "does not use");
	assert_refused(THAW, "not frozen");
	use_vss();
	fd = client(FREEZE);
	expect_freeze();
	assert_done(fd);
	assert_refused(FREEZE, "frozen already");
	assert_refused("{\"command\": \"disable-service\", \"service\": \"vss\"}", "thaw it");
	fd = client(THAW);
	expect(IC_VSS_THAW, IC_OK);
	assert_done(fd);
	assert_refused(THAW, "not frozen");
	/* The guest refuses: the first time to be backed up, then to freeze, then to thaw. */
	fd = client(FREEZE);
	expect(IC_VSS_HOT_BACKUP, IC_FAIL);
	assert_non_null(strstr(last_line(fd), "0x80004005"));
	fd = client(FREEZE);
	expect(IC_VSS_HOT_BACKUP, IC_OK);
	expect(IC_VSS_FREEZE, IC_FAIL);
	assert_non_null(strstr(last_line(fd), "0x80004005"));
	fd = client(FREEZE);
	expect_freeze();
	assert_done(fd);
	fd = client(THAW);
	expect(IC_VSS_THAW, IC_FAIL);
	assert_non_null(strstr(last_line(fd), "0x80004005"));
	assert_refused("{\"command\": \"freeze\", \"limit\": 901}", "limit");
	assert_refused("{\"command\": \"freeze\", \"limit\": 0}", "limit");
	guest_close(&channel);
}

/* The machine knows that the guest has thawed: then there is nothing to thaw. */
static void await_thawed(void)
{
	while (strstr(last_line(client(THAW)), "about to"))
		;
	assert_non_null(strstr(f->reply, "not frozen"));
}

static void test_hold(void **state)
{
	struct message m;
	int fd, other;

	use_vss();
	/* Until somebody thaws ... */
	fd = client(HOLD);
	expect_freeze();
	assert_string_equal(line(fd), "{\"progress\":{\"frozen\":true}}\n");
	other = client(THAW);
	expect(IC_VSS_THAW, IC_OK);
	assert_done(fd);
	assert_done(other);
	/* ... the time is over ... */
	fd = client("{\"command\": \"freeze\", \"hold\": true, \"limit\": 1}");
	expect_freeze();
	line(fd);
	expect(IC_VSS_THAW, IC_OK);
	assert_non_null(strstr(last_line(fd), "time limit"));
	/* ... or the client goes, before or after it was frozen. */
	await_thawed();
	fd = client(HOLD);
	expect_freeze();
	line(fd);
	close(fd);
	expect(IC_VSS_THAW, IC_OK);
	await_thawed();
	fd = client(HOLD);
	expect(IC_VSS_HOT_BACKUP, IC_OK);
	take(&m);
	assert_int_equal(m.body[0], IC_VSS_FREEZE);
	close(fd);
	assert_refused(HOLD, "about to freeze");
	answer(&m, IC_OK);
	expect(IC_VSS_THAW, IC_OK);
	await_thawed();
	guest_close(&channel);
}

static void test_guest_goes_while_frozen(void **state)
{
	int fd;

	use_vss();
	fd = client(HOLD);
	expect_freeze();
	line(fd);
	guest_close(&channel);
	assert_non_null(strstr(last_line(fd), "while it was frozen"));
	assert_refused(THAW, "not frozen");
}

/* The freeze is answered, and the channel closed, before the machine has looked at either. */
static void test_guest_goes_as_it_freezes(void **state)
{
	int fd;

	use_vss();
	fd = client(FREEZE);
	expect_freeze();
	guest_close(&channel);
	last_line(fd);
	assert_done(client("{\"command\": \"disable-service\", \"service\": \"vss\"}"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_answers),
		TEST(test_many_wait),
		TEST(test_service_disabled_meanwhile),
		TEST(test_freeze),
		TEST(test_hold),
		TEST(test_guest_goes_while_frozen),
		TEST(test_guest_goes_as_it_freezes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
