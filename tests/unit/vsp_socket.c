/*
 * vsp_socket.c - Hyper-V sockets against a guest made of code: connections both ways, bytes, ends,
 * full rings and sockets, guests that do not listen, and guests that do it wrong.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmbus_guest.h"
#include "vsp/socket.h"
#include "vsp/socket_protocol.h"

#define FOREVER 20000 /* ms; only a test that fails waits so long */
/* ms, and what a slow guest is about one of its PLENTY packets: longer, all in all */
#define SLOW_STALL 2000u
#define SLOW_STEP  30u

static const GUID service = {
	5000, 0xfacb, 0x11e6, {0xbd, 0x58, 0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3}};

struct host {
	struct guest *guest;
	struct loop *loop;
	pthread_t thread;
	struct sockets *sockets;
	int answers[2]; /* a pipe: how requests ended */
	uint32_t port;
};

static void answered(void *ctx, const struct socket_request *r, int err, uint32_t port)
{
	struct host *h = ctx;

	h->port = port;
	assert_int_equal(write(h->answers[1], &err, sizeof(err)), sizeof(err));
}

static int answer(struct host *h)
{
	struct pollfd pfd = {.fd = h->answers[0], .events = POLLIN};
	int err;

	assert_int_equal(poll(&pfd, 1, FOREVER), 1);
	assert_int_equal(read(h->answers[0], &err, sizeof(err)), sizeof(err));
	return err;
}

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static int set_up_with(void **state, unsigned stall_ms)
{
	struct host *h = calloc(1, sizeof(*h));
	struct sockets_config config = {
		.name = "test", .answered = answered, .ctx = h, .stall_ms = stall_ms};
	struct vmbus_header header;

	h->guest = guest_create();
	h->loop = config.loop = loop_create();
	assert_int_equal(pipe(h->answers), 0);
	assert_int_equal(sockets_create(h->guest->bus, &config, &h->sockets), 0);
	assert_int_equal(pthread_create(&h->thread, NULL, run_loop, h->loop), 0);
	assert_true(guest_contact(h->guest, VMBUS_WIN10_5_3));
	guest_post(h->guest, VMBUS_REQUEST_OFFERS, &header, sizeof(header));
	guest_take(h->guest, VMBUS_ALL_OFFERS_DELIVERED, &header, sizeof(header));
	*state = h;
	return 0;
}

static int set_up(void **state)
{
	return set_up_with(state, 0);
}

/* Guests that take nothing are not waited for long. */
static int set_up_impatient(void **state)
{
	return set_up_with(state, 50);
}

/* Nor here, but longer than a test may be kept from its processor. */
static int set_up_less_patient(void **state)
{
	return set_up_with(state, SLOW_STALL);
}

static int tear_down(void **state)
{
	struct host *h = *state;

	loop_quit(h->loop);
	pthread_join(h->thread, NULL);
	sockets_destroy(h->sockets);
	loop_destroy(h->loop);
	guest_destroy(h->guest);
	close(h->answers[0]);
	close(h->answers[1]);
	free(h);
	return 0;
}

/* A program asks; returns its end. */
static int ask_only(struct host *h, unsigned timeout, uint32_t skip)
{
	struct socket_request r = {.service = service, .timeout_ms = timeout, .skip = skip};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	r.fd = pair[0];
	sockets_connect(h->sockets, &r);
	return pair[1];
}

/* The same, and the guest has the offer. */
static int ask(struct host *h, unsigned timeout, uint32_t skip, struct vmbus_offer_channel *offer)
{
	int fd = ask_only(h, timeout, skip);

	guest_take(h->guest, VMBUS_OFFER_CHANNEL, offer, sizeof(*offer));
	return fd;
}

/* The same, and the guest accepts. */
static int connected(struct host *h, struct guest_channel *c, unsigned pages)
{
	struct vmbus_offer_channel offer;
	int fd = ask(h, FOREVER, 0, &offer);

	guest_open(h->guest, c, &offer, pages);
	assert_int_equal(answer(h), 0);
	return fd;
}

/* The guest sends @size bytes in a packet. */
static bool say(struct guest_channel *c, const void *data, uint32_t size)
{
	uint8_t packet[16384] = {1, 0, 0, 0, (uint8_t)size, (uint8_t)(size >> 8)};

	memcpy(packet + 8, data, size);
	return guest_send(c, VMBUS_PACKET_INBAND, 0, 0, NULL, 0, packet, 8 + size);
}

/* The guest takes a packet; returns how many bytes it has. */
static uint32_t hear(struct guest_channel *c, void *data, uint32_t room)
{
	struct socket_header header;
	struct vmbus_descriptor d;
	uint8_t packet[sizeof(header) + 16384];

	guest_await_packet(c, &d, packet, sizeof(packet));
	assert_int_equal(d.type, VMBUS_PACKET_INBAND);
	memcpy(&header, packet, sizeof(header));
	assert_int_equal(header.type, SOCKET_DATA);
	assert_true(header.size <= d.length8 * 8u - 24 && header.size <= room);
	memcpy(data, packet + sizeof(header), header.size);
	return header.size;
}

/* The host ends the connection; the guest lets go of it. */
static void expect_end(struct host *h, struct guest_channel *c)
{
	struct vmbus_relid_message m;

	guest_take(h->guest, VMBUS_RESCIND_OFFER, &m, sizeof(m));
	assert_int_equal(m.relid, c->offer.relid);
	guest_close(c);
	guest_post(h->guest, VMBUS_RELID_RELEASED, &m, sizeof(m));
}

static void expect_read(int fd, const void *data, size_t size)
{
	char got[256];

	assert_int_equal(recv(fd, got, sizeof(got), 0), size);
	assert_memory_equal(got, data, size);
}

/* ---- Connecting ------------------------------------------------------------------------------ */

static void test_the_offer_is_what_hv_sock_looks_for(void **state)
{
	struct host *h = *state;
	struct vmbus_offer_channel offer;
	struct guest_channel c;
	int fd = ask(h, FOREVER, 0, &offer);

	assert_memory_equal(&offer.interface, &service, sizeof(service));
	assert_int_equal(offer.flags & VMBUS_OFFER_TLNPI, VMBUS_OFFER_TLNPI);
	assert_int_equal(offer.user_data[4], 1);
	guest_open(h->guest, &c, &offer, 6);
	assert_int_equal(answer(h), 0);
	assert_int_equal(h->port, offer.instance.Data1);
	close(fd);
}

static void test_bytes_both_ways(void **state)
{
	struct host *h = *state;
	struct guest_channel c;
	char got[16384];
	int fd = connected(h, &c, 6);

	assert_int_equal(send(fd, "question", 8, 0), 8);
	assert_int_equal(hear(&c, got, sizeof(got)), 8);
	assert_memory_equal(got, "question", 8);
	say(&c, "the answer", 10);
	expect_read(fd, "the answer", 10);
	close(fd);
	assert_int_equal(hear(&c, got, sizeof(got)), 0);
	expect_end(h, &c);
}

static void test_what_precedes_the_stream_is_dropped(void **state)
{
	struct host *h = *state;
	struct vmbus_offer_channel offer;
	struct guest_channel c;
	char padding[10000] = {0}, got[64];
	int fd = ask(h, FOREVER, sizeof(padding), &offer);

	assert_int_equal(send(fd, padding, 6000, 0), 6000);
	guest_open(h->guest, &c, &offer, 6);
	assert_int_equal(answer(h), 0);
	assert_int_equal(send(fd, padding, 4000, 0), 4000);
	assert_int_equal(send(fd, "stream", 6, 0), 6);
	assert_int_equal(hear(&c, got, sizeof(got)), 6);
	assert_memory_equal(got, "stream", 6);
	close(fd);
}

static void test_nobody_listens(void **state)
{
	struct host *h = *state;
	struct vmbus_offer_channel offer, question;
	struct vmbus_relid_message m;
	int fd = ask(h, FOREVER, 0, &offer);
	char byte;

	/* The guest says nothing, but lets go of what comes after. */
	guest_take(h->guest, VMBUS_OFFER_CHANNEL, &question, sizeof(question));
	guest_take(h->guest, VMBUS_RESCIND_OFFER, &m, sizeof(m));
	assert_int_equal(m.relid, question.relid);
	guest_post(h->guest, VMBUS_RELID_RELEASED, &m, sizeof(m));
	assert_int_equal(answer(h), -ECONNREFUSED);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	guest_take(h->guest, VMBUS_RESCIND_OFFER, &m, sizeof(m));
	assert_int_equal(m.relid, offer.relid);
	guest_post(h->guest, VMBUS_RELID_RELEASED, &m, sizeof(m));
	close(fd);
}

static void test_a_guest_that_says_nothing_at_all(void **state)
{
	struct host *h = *state;
	struct vmbus_offer_channel offer;
	int fd = ask(h, 50, 0, &offer);
	char byte;

	assert_int_equal(answer(h), -ETIMEDOUT);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
}

static void test_a_guest_opens_too_late(void **state)
{
	struct host *h = *state;
	struct vmbus_offer_channel offer;
	struct vmbus_relid_message m;
	struct guest_channel c;
	int fd = ask(h, 50, 0, &offer);

	assert_int_equal(answer(h), -ETIMEDOUT);
	guest_take(h->guest, VMBUS_RESCIND_OFFER, &m, sizeof(m));
	assert_int_not_equal(guest_try_open(h->guest, &c, &offer, 6), VMBUS_STATUS_SUCCESS);
	close(fd);
}

static void test_the_guest_connects(void **state)
{
	struct host *h = *state;
	GUID endpoint = {0x1234, 0xfacb, 0x11e6, {1}};
	struct vmbus_offer_channel offer;
	struct guest_channel c;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(sockets_accept(h->sockets, &endpoint, &service, pair[0]), 0);
	guest_take(h->guest, VMBUS_OFFER_CHANNEL, &offer, sizeof(offer));
	assert_memory_equal(&offer.interface, &service, sizeof(service));
	assert_memory_equal(&offer.instance, &endpoint, sizeof(endpoint));
	assert_int_equal(offer.user_data[4], 0);
	guest_open(h->guest, &c, &offer, 6);
	say(&c, "hello", 5);
	expect_read(pair[1], "hello", 5);
	close(pair[1]);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

static void test_half_close_by_the_host(void **state)
{
	struct host *h = *state;
	struct guest_channel c;
	char got[64];
	int fd = connected(h, &c, 6);

	assert_int_equal(send(fd, "all", 3, 0), 3);
	shutdown(fd, SHUT_WR);
	assert_int_equal(hear(&c, got, sizeof(got)), 3);
	assert_int_equal(hear(&c, got, sizeof(got)), 0);
	say(&c, "still here", 10);
	expect_read(fd, "still here", 10);
	say(&c, "", 0);
	assert_int_equal(recv(fd, got, sizeof(got), 0), 0);
	expect_end(h, &c);
	close(fd);
}

static void test_half_close_by_the_guest(void **state)
{
	struct host *h = *state;
	struct guest_channel c;
	char got[64];
	int fd = connected(h, &c, 6);

	say(&c, "all", 3);
	say(&c, "", 0);
	expect_read(fd, "all", 3);
	assert_int_equal(recv(fd, got, sizeof(got), 0), 0);
	assert_int_equal(send(fd, "still here", 10, 0), 10);
	assert_int_equal(hear(&c, got, sizeof(got)), 10);
	close(fd);
	assert_int_equal(hear(&c, got, sizeof(got)), 0);
	expect_end(h, &c);
}

/* A guest that does not read has until SOCKET_LINGER; what it did not read is in its own ring. */
static void test_the_host_closes_what_nobody_reads(void **state)
{
	struct host *h = *state;
	struct guest_channel c;
	char got[64];
	int fd = connected(h, &c, 6);

	assert_int_equal(send(fd, "unread", 6, 0), 6);
	close(fd);
	expect_end(h, &c);
	c.in.control->pending_send_size = 0; /* nobody is there to be signalled */
	assert_int_equal(hear(&c, got, sizeof(got)), 6);
	assert_int_equal(hear(&c, got, sizeof(got)), 0);
}

static void test_the_guest_is_reset(void **state)
{
	struct host *h = *state;
	struct guest_channel c;
	char got[64];
	int fd = connected(h, &c, 6);

	say(&c, "last words", 10);
	expect_read(fd, "last words", 10);
	vmbus_reset(h->guest->bus);
	assert_int_equal(recv(fd, got, sizeof(got), 0), 0);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	close(fd);
}

/* ---- Full ------------------------------------------------------------------------------------ */

#define PLENTY (1u << 20)
#define MUCH   (64 << 10) /* less than what fits in a socket */

static void *write_plenty(void *arg)
{
	const int *fd = arg;
	uint32_t words[1024];

	for (uint32_t n = 0; n < PLENTY / 4; n += 1024) {
		for (uint32_t i = 0; i < 1024; i++)
			words[i] = n + i;
		assert_int_equal(send(*fd, words, sizeof(words), 0), sizeof(words));
	}
	shutdown(*fd, SHUT_WR);
	return NULL;
}

/* The ring is far smaller; the guest begins to read when the host can send no more. */
static void test_plenty_to_the_guest(void **state)
{
	struct host *h = *state;
	struct guest_channel c;
	uint8_t got[16384];
	uint32_t total = 0, n;
	pthread_t writer;
	int fd = connected(h, &c, 3);

	assert_int_equal(pthread_create(&writer, NULL, write_plenty, &fd), 0);
	while (!__atomic_load_n(&c.in.control->pending_send_size, __ATOMIC_SEQ_CST))
		sched_yield();
	while ((n = hear(&c, got, sizeof(got)))) {
		for (uint32_t i = 0; i < n; i++, total++)
			assert_int_equal(got[i], (uint8_t)(total / 4 >> total % 4 * 8));
	}
	assert_int_equal(total, PLENTY);
	pthread_join(writer, NULL);
	close(fd);
}

/* Sends until nothing more fits: the ring is full, and the socket. */
static void fill(int fd)
{
	static const char zeros[4096];

	for (struct pollfd pfd = {.fd = fd, .events = POLLOUT}; poll(&pfd, 1, 100) > 0;)
		while (send(fd, zeros, sizeof(zeros), MSG_DONTWAIT) > 0)
			;
}

/* What it sends after the program has closed is dropped, though it takes nothing: but not for ever. */
static void test_a_guest_that_only_sends(void **state)
{
	struct host *h = *state;
	struct guest_channel c;
	int fd = connected(h, &c, 3);

	fill(fd);
	say(&c, "before", 6);
	expect_read(fd, "before", 6);
	close(fd);
	say(&c, "after", 5);
	expect_end(h, &c);
}

/* One that has ended its own stream may be as long as it likes about the host's, while it reads. */
static void test_a_guest_that_reads_slowly_after_its_end(void **state)
{
	struct host *h = *state;
	struct guest_channel c;
	uint8_t got[16384];
	uint32_t total = 0, n;
	pthread_t writer;
	int fd = connected(h, &c, 3);

	say(&c, "", 0);
	assert_int_equal(pthread_create(&writer, NULL, write_plenty, &fd), 0);
	while ((n = hear(&c, got, sizeof(got)))) {
		total += n;
		poll(NULL, 0, SLOW_STEP);
		if (total < PLENTY / 4 * 3)
			guest_take_nothing(h->guest);
	}
	assert_int_equal(total, PLENTY);
	pthread_join(writer, NULL);
	expect_end(h, &c);
	close(fd);
}

/* What waits in the program's socket. */
static int queued(int fd)
{
	int bytes = 0;

	assert_int_equal(ioctl(fd, FIONREAD, &bytes), 0);
	return bytes;
}

/* Packets stay in the ring while the socket takes no more, and are not lost. */
static void test_plenty_to_the_host(void **state)
{
	struct host *h = *state;
	struct guest_channel c;
	uint8_t packet[4000], got[8192];
	uint32_t said = 0, read_ = 0;
	bool full = false; /* ring and socket are, and from then on the program reads */
	int fd = connected(h, &c, 3);

	while (read_ < PLENTY) {
		ssize_t n = 0;

		for (uint32_t i = 0; i < sizeof(packet); i++)
			packet[i] = (uint8_t)((said + i) / 7);
		if (said < PLENTY && say(&c, packet, sizeof(packet)))
			said += sizeof(packet);
		else if (!full)
			full = queued(fd) > MUCH;
		if (full)
			n = recv(fd, got, sizeof(got), MSG_DONTWAIT);
		if (n <= 0) /* the other side's turn: it has to take what is in the ring */
			sched_yield();
		for (ssize_t i = 0; i < n; i++, read_++)
			assert_int_equal(got[i], (uint8_t)(read_ / 7));
	}
	assert_true(full);
	close(fd);
}

/* ---- Guests that do it wrong ----------------------------------------------------------------- */

static void broken_by(void **state, const void *packet, uint32_t size)
{
	struct host *h = *state;
	struct guest_channel c;
	char byte;
	int fd = connected(h, &c, 6);

	guest_send(&c, VMBUS_PACKET_INBAND, 0, 0, NULL, 0, packet, size);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	expect_end(h, &c);
	close(fd);
}

static void test_a_packet_says_more_than_it_has(void **state)
{
	static const uint32_t packet[] = {SOCKET_DATA, 9, 0, 0};

	broken_by(state, packet, sizeof(packet));
}

static void test_a_packet_of_no_known_type(void **state)
{
	static const uint32_t packet[] = {7, 4, 0, 0};

	broken_by(state, packet, sizeof(packet));
}

static void test_a_packet_without_a_header(void **state)
{
	broken_by(state, "", 0);
}

static void test_data_after_the_end(void **state)
{
	struct host *h = *state;
	struct guest_channel c;
	char byte;
	int fd = connected(h, &c, 6);

	say(&c, "", 0);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	say(&c, "more", 4);
	expect_end(h, &c);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	close(fd);
}

/* It sees that connections have ended, and lets go of none: new ones wait, in order. */
static void test_a_guest_that_lets_go_of_nothing(void **state)
{
	struct host *h = *state;
	struct vmbus_offer_channel offer, offers[2];
	static struct vmbus_relid_message ended[SOCKET_LEAVING_MAX];
	int first, second;

	for (unsigned i = 0; i < SOCKET_LEAVING_MAX; i++) {
		close(ask(h, 1, 0, &offer));
		assert_int_equal(answer(h), -ETIMEDOUT);
		guest_take(h->guest, VMBUS_RESCIND_OFFER, &ended[i], sizeof(ended[i]));
	}
	/* One that waits is as long about it as it wants to be. */
	close(ask_only(h, 1, 0));
	assert_int_equal(answer(h), -ETIMEDOUT);
	first = ask_only(h, FOREVER, 0);
	second = ask_only(h, FOREVER, 0);
	guest_take_nothing(h->guest);
	guest_post(h->guest, VMBUS_RELID_RELEASED, &ended[0], sizeof(ended[0]));
	guest_take(h->guest, VMBUS_OFFER_CHANNEL, &offers[0], sizeof(offers[0]));
	guest_take(h->guest, VMBUS_OFFER_CHANNEL, &offers[1], sizeof(offers[1]));
	for (unsigned i = 0; i < 2; i++) {
		struct guest_channel c;

		guest_open(h->guest, &c, &offers[i], 6);
		assert_int_equal(answer(h), 0);
		say(&c, "here", 4);
		expect_read(i ? second : first, "here", 4);
	}
	close(first);
	close(second);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_the_offer_is_what_hv_sock_looks_for),
		TEST(test_bytes_both_ways),
		TEST(test_what_precedes_the_stream_is_dropped),
		TEST(test_nobody_listens),
		TEST(test_a_guest_that_says_nothing_at_all),
		TEST(test_a_guest_opens_too_late),
		TEST(test_the_guest_connects),
		TEST(test_half_close_by_the_host),
		TEST(test_half_close_by_the_guest),
		TEST(test_the_host_closes_what_nobody_reads),
		TEST(test_the_guest_is_reset),
		TEST(test_plenty_to_the_guest),
		TEST(test_plenty_to_the_host),
		cmocka_unit_test_setup_teardown(
			test_a_guest_that_only_sends, set_up_impatient, tear_down),
		cmocka_unit_test_setup_teardown(test_a_guest_that_reads_slowly_after_its_end,
			set_up_less_patient, tear_down),
		TEST(test_a_packet_says_more_than_it_has),
		TEST(test_a_packet_of_no_known_type),
		TEST(test_a_packet_without_a_header),
		TEST(test_data_after_the_end),
		TEST(test_a_guest_that_lets_go_of_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
