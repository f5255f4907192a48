/*
 * vmbus_channel.c - open channels: packets both ways, pages lent, sub-channels, signals of all
 * kinds; and guests that do it wrong.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmbus_guest.h"

/* What the device under test does with packets, and what it saw. */
struct device {
	struct guest *guest;
	struct vmbus_channel *channel;
	struct vmbus_channel *_Atomic opened; /* the last */
	pthread_t thread;		      /* that opened the primary channel */
	bool any_thread;		      /* there are several of these */
	_Atomic unsigned opens, closes, packets, batches, rooms;
	int answer_open;
	_Atomic bool hold; /* receive() leaves what comes */
	bool resumes;	   /* has a timer for that, on the serving thread */
	struct loop_timer *resume;
	_Atomic bool no_reply;	 /* takes it and sends nothing */
	_Atomic unsigned unsent; /* completions there was no room for */
	struct vmbus_mapping mapping;
	_Atomic uint32_t map; /* a GPADL to map when a packet comes */
	_Atomic unsigned subchannels;
	_Atomic unsigned gone;
};

static void resume(void *ctx)
{
	vmbus_resume(ctx);
}

static int device_open(void *ctx, struct vmbus_channel *ch, const uint8_t *user_data)
{
	struct device *d = ctx;

	if (d->answer_open)
		return d->answer_open;
	if (!vmbus_channel_index(ch))
		d->thread = pthread_self();
	if (d->resumes)
		d->resume = loop_timer_create(vmbus_channel_loop(ch), resume, ch);
	d->opened = ch;
	d->opens++;
	assert_null(vmbus_channel_get(ch));
	vmbus_channel_set(ch, d);
	return 0;
}

static void device_close(void *ctx, struct vmbus_channel *ch)
{
	struct device *d = ctx;

	assert_ptr_equal(vmbus_channel_get(ch), d);
	assert_int_equal(vmbus_complete(ch, 0, NULL, 0), -EPROTO);
	if (d->mapping.base)
		vmbus_gpadl_unmap(ch, &d->mapping);
	if (d->resumes)
		loop_timer_destroy(d->resume);
	d->closes++;
}

static void send_unsent(struct device *d, struct vmbus_channel *ch)
{
	static const uint8_t big[1000];

	while (d->unsent && vmbus_complete(ch, d->unsent, big, sizeof(big)) == 0)
		d->unsent--;
}

/* Answers with what came: bytes, and the first word of each page or range. */
static int reply(struct device *d, struct vmbus_channel *ch, const struct vmbus_packet *p)
{
	uint8_t bytes[4096];
	struct iovec iov[16];
	uint64_t total;
	uint32_t ranges[2][2];
	int n;

	switch (p->kind) {
	case VMBUS_INBAND:
		if (p->size > sizeof(bytes))
			return -EPROTO;
		vmbus_packet_read(p, 0, bytes, p->size);
		return p->wants_completion ? vmbus_complete(ch, p->transaction, bytes, p->size) : 0;
	case VMBUS_GPA_DIRECT:
		n = vmbus_packet_pages(ch, p, iov, 16, &total);
		if (n < 0)
			return n == -E2BIG ? vmbus_complete(ch, 0xE2B, "", 0) : n;
		for (int i = 0; i < n; i++)
			memset(iov[i].iov_base, 0xD0 + i, iov[i].iov_len);
		vmbus_wrote(ch, iov, (unsigned)n);
		return vmbus_complete(ch, p->transaction, &total, sizeof(total));
	case VMBUS_TRANSFER:
		assert_int_equal(p->transfer_set, 0xCAFE);
		for (unsigned i = 0; i < 2; i++) {
			if (vmbus_packet_transfer(p, i, &ranges[i][0], &ranges[i][1]) < 0)
				return -EPROTO;
		}
		return vmbus_complete(ch, p->transaction, ranges, sizeof(ranges));
	default:
		return 0;
	}
}

static int device_receive(void *ctx, struct vmbus_channel *ch, const struct vmbus_packet *p)
{
	struct device *d = ctx;

	assert_true(vmbus_channel_index(ch) || d->any_thread ||
		    pthread_equal(d->thread, pthread_self()));
	if (d->hold)
		return -EAGAIN;
	d->packets++;
	if (d->map)
		assert_int_equal(vmbus_gpadl_map(ch, d->map, &d->mapping), 0);
	d->map = 0;
	if (d->subchannels)
		assert_int_equal(vmbus_offer_subchannels(ch, d->subchannels), 0);
	d->subchannels = 0;
	if (!d->no_reply)
		return reply(d, ch, p);
	d->unsent++;
	return 0;
}

static void device_batch_end(void *ctx, struct vmbus_channel *ch)
{
	struct device *d = ctx;

	d->batches++;
	send_unsent(d, ch);
}

static void device_room(void *ctx, struct vmbus_channel *ch)
{
	struct device *d = ctx;

	d->rooms++;
	send_unsent(d, ch);
}

static void device_gone(void *ctx)
{
	struct device *d = ctx;

	d->gone++;
}

static const struct vmbus_provider provider = {
	.open = device_open,
	.close = device_close,
	.receive = device_receive,
	.batch_end = device_batch_end,
	.room = device_room,
	.gone = device_gone,
};

static const struct vmbus_offer offers[] = {
	{.name = "alone", .service = VMBUS_SERVED_ALONE},
	{.name = "by bus", .service = VMBUS_SERVED_BY_BUS},
	{.name = "monitor", .service = VMBUS_SERVED_BY_BUS, .monitor_latency = 1000},
	{.name = "shared", .service = VMBUS_SERVED_ALONE, .shared_interrupt = true},
	{.name = "together", .service = VMBUS_SERVED_TOGETHER},
};

static int set_up(void **state)
{
	struct device *d = calloc(1, sizeof(*d));

	d->guest = guest_create();
	*state = d;
	return 0;
}

static int tear_down(void **state)
{
	struct device *d = *state;

	guest_destroy(d->guest);
	assert_int_equal(d->opens, d->closes);
	free(d);
	return 0;
}

/* Contact at a version, and the device's channel open. */
static void open_at(
	struct device *d, unsigned kind, uint32_t version, unsigned pages, struct guest_channel *c)
{
	struct vmbus_offer_channel offer;

	assert_int_equal(vmbus_offer(d->guest->bus, &offers[kind], &provider, d, &d->channel), 0);
	guest_connect(d->guest, version, &offer);
	guest_open(d->guest, c, &offer, pages);
	assert_int_equal(d->opens, 1);
}

static void send_one(struct guest_channel *c, uint64_t transaction, const char *text)
{
	assert_true(guest_send(c, VMBUS_PACKET_INBAND, VMBUS_PACKET_WANTS_COMPLETION, transaction,
		NULL, 0, text, (uint32_t)strlen(text) + 1));
}

/* The answer to a packet. */
static void take_one(struct guest_channel *c, uint64_t transaction, void *data, uint32_t size)
{
	struct vmbus_descriptor d;

	guest_await_packet(c, &d, data, size);
	assert_int_equal(d.type, VMBUS_PACKET_COMPLETION);
	assert_int_equal(d.transaction, transaction);
}

static void echo(struct guest_channel *c, uint64_t transaction, const char *text)
{
	char answer[256];

	send_one(c, transaction, text);
	take_one(c, transaction, answer, sizeof(answer));
	assert_string_equal(answer, text);
}

static void echoes_on(struct device *d, unsigned kind)
{
	struct guest_channel c;

	open_at(d, kind, VMBUS_WIN10_5_3, 2, &c);
	for (unsigned i = 0; i < 1000; i++) {
		char text[64];

		snprintf(text, sizeof(text), "packet %u", i);
		echo(&c, i, text);
	}
	assert_int_equal(d->guest->event_vp, 2);
	guest_close(&c);
	assert_int_equal(d->closes, 1);
}

static void test_packets_on_a_thread_of_its_own(void **state)
{
	struct device *d = *state;

	echoes_on(d, 0);
	assert_int_equal(d->packets, 1000);
}

static void test_packets_on_the_bus_thread(void **state)
{
	echoes_on(*state, 1);
}

static void test_packets_on_a_shared_thread(void **state)
{
	echoes_on(*state, 4);
}

/* More channels than threads; each is served, also while others come and go. */
static void test_many_channels_share_threads(void **state)
{
	struct device *d = *state;
	struct guest *g = d->guest;
	struct vmbus_offer_channel offer[24];
	struct vmbus_header header;
	struct guest_channel c[24];

	for (unsigned i = 0; i < 24; i++)
		assert_int_equal(vmbus_offer(g->bus, &offers[4], &provider, d, &d->channel), 0);
	assert_true(guest_contact(g, VMBUS_WIN10_5_3));
	guest_post(g, VMBUS_REQUEST_OFFERS, &header, sizeof(header));
	for (unsigned i = 0; i < 24; i++)
		guest_take(g, VMBUS_OFFER_CHANNEL, &offer[i], sizeof(offer[i]));
	guest_take(g, VMBUS_ALL_OFFERS_DELIVERED, &header, sizeof(header));
	d->any_thread = true;
	for (unsigned i = 0; i < 24; i++) {
		guest_open(g, &c[i], &offer[i], 2);
		echo(&c[i], i, "first");
		if (i % 3 == 0)
			guest_close(&c[i]);
	}
	for (unsigned i = 0; i < 24; i++) {
		if (i % 3)
			echo(&c[i], i, "again");
	}
	assert_int_equal(d->opens, 24);
	assert_int_equal(d->closes, 8);
}

/* The guest lets go of a channel that was withdrawn. */
static void release(struct guest *g, uint32_t relid)
{
	struct vmbus_relid_message released = {.relid = relid};

	guest_post(g, VMBUS_RELID_RELEASED, &released, sizeof(released));
	guest_take_nothing(g);
}

static void test_a_withdrawn_channel_is_gone_when_both_let_go(void **state)
{
	struct device *d = *state;
	struct vmbus_relid_message rescind;
	struct guest_channel c;

	open_at(d, 4, VMBUS_WIN10_5_3, 2, &c);
	echo(&c, 1, "hello");
	vmbus_withdraw(d->channel);
	vmbus_withdraw(d->channel);
	guest_take(d->guest, VMBUS_RESCIND_OFFER, &rescind, sizeof(rescind));
	assert_int_equal(rescind.relid, c.offer.relid);
	/* From now on the ring's pages are the guest's. */
	assert_int_equal(d->closes, 1);
	guest_close(&c);
	assert_int_equal(d->gone, 0);
	release(d->guest, c.offer.relid);
	while (!d->gone)
		sched_yield();
}

static void test_an_offer_withdrawn_at_once_is_gone_when_the_guest_has_seen_it(void **state)
{
	struct device *d = *state;
	struct vmbus_relid_message rescind;
	struct vmbus_offer_channel offer;
	struct guest_channel c;
	struct vmbus_channel *other;

	open_at(d, 0, VMBUS_WIN10_5_3, 2, &c);
	assert_int_equal(vmbus_offer(d->guest->bus, &offers[4], &provider, d, &other), 0);
	vmbus_withdraw(other);
	guest_take(d->guest, VMBUS_OFFER_CHANNEL, &offer, sizeof(offer));
	guest_take(d->guest, VMBUS_RESCIND_OFFER, &rescind, sizeof(rescind));
	assert_int_equal(rescind.relid, offer.relid);
	assert_int_equal(d->gone, 0);
	release(d->guest, offer.relid);
	while (!d->gone)
		sched_yield();
	assert_int_equal(d->opens, 1);
	/* Also when the guest is forgotten instead. */
	assert_int_equal(vmbus_offer(d->guest->bus, &offers[4], &provider, d, &other), 0);
	vmbus_withdraw(other);
	vmbus_reset(d->guest->bus);
	while (d->gone < 2)
		sched_yield();
}

static void test_a_flood_both_ways_loses_nothing(void **state)
{
	struct device *d = *state;
	struct guest_channel c;
	struct vmbus_descriptor got;
	uint64_t word, sent = 0, taken = 0;

	open_at(d, 0, VMBUS_WIN10_5_3, 3, &c);
	while (taken < 20000) {
		while (sent < 20000 && sent - taken < 100 &&
			guest_send(&c, VMBUS_PACKET_INBAND, 1, sent, NULL, 0, &sent, 8))
			sent++;
		if (!guest_receive(&c, &got, &word, 8)) {
			guest_await_event(&c);
			continue;
		}
		assert_int_equal(got.transaction, taken);
		assert_int_equal(word, taken);
		taken++;
	}
	assert_int_equal(d->packets, 20000);
}

static void test_a_channel_opens_again(void **state)
{
	struct device *d = *state;
	struct guest_channel c;

	open_at(d, 0, VMBUS_WIN10_5_3, 2, &c);
	for (unsigned i = 1; i < 20; i++) {
		echo(&c, i, "hello");
		guest_close(&c);
		assert_int_equal(d->closes, i);
		guest_open(d->guest, &c, &c.offer, 2);
	}
}

static void test_a_device_may_refuse_to_open(void **state)
{
	struct device *d = *state;
	struct vmbus_offer_channel offer;
	struct guest_channel c;

	d->answer_open = -EBUSY;
	for (unsigned kind = 0; kind < 2; kind++)
		assert_int_equal(
			vmbus_offer(d->guest->bus, &offers[kind], &provider, d, &d->channel), 0);
	assert_true(guest_contact(d->guest, VMBUS_WIN10_5_3));
	guest_post(d->guest, VMBUS_REQUEST_OFFERS, &offer, sizeof(struct vmbus_header));
	for (unsigned kind = 0; kind < 2; kind++)
		guest_take(d->guest, VMBUS_OFFER_CHANNEL, &offer, sizeof(offer));
	guest_take(d->guest, VMBUS_ALL_OFFERS_DELIVERED, &c.offer, sizeof(struct vmbus_header));
	for (offer.relid = 1; offer.relid <= 2; offer.relid++) {
		assert_int_not_equal(guest_try_open(d->guest, &c, &offer, 2), 0);
		guest_gpadl_teardown(d->guest, offer.relid, c.gpadl);
	}
	d->answer_open = 0;
	offer.relid = 1;
	guest_open(d->guest, &c, &offer, 2);
}

static void test_pages_of_a_packet_are_written_where_they_are(void **state)
{
	struct device *d = *state;
	struct guest *g = d->guest;
	struct guest_channel c;
	uint64_t low = guest_pages(g, 2), skipped = guest_pages(g, 1), high = guest_pages(g, 1);
	struct {
		struct vmbus_gpa_direct direct;
		struct vmbus_gpa_range first;
		uint64_t first_pages[2];
		struct vmbus_gpa_range second;
		uint64_t second_pages[1];
	} __attribute__((packed)) header = {
		.direct = {.range_count = 2},
		.first = {.byte_count = 4096, .byte_offset = 100},
		.first_pages = {low / 4096, low / 4096 + 1},
		.second = {.byte_count = 8, .byte_offset = 4088},
		.second_pages = {high / 4096},
	};
	uint64_t total;

	(void)skipped;
	open_at(d, 0, VMBUS_WIN10_5_3, 2, &c);
	guest_send(&c, VMBUS_PACKET_GPA_DIRECT, 1, 5, &header, sizeof(header), "cdb", 4);
	take_one(&c, 5, &total, sizeof(total));
	assert_int_equal(total, 4104);
	assert_int_equal(guest_at(g, low)[99], 0);
	assert_int_equal(guest_at(g, low)[100], 0xD0);
	assert_int_equal(guest_at(g, low)[4195], 0xD0);
	assert_int_equal(guest_at(g, low)[4196], 0);
	assert_int_equal(guest_at(g, high)[4087], 0);
	assert_int_equal(guest_at(g, high)[4095], 0xD1);
	/* The hypervisor was told, in whole pages. */
	assert_int_equal(g->unpinned_count, 2);
	assert_int_equal(g->unpinned[0].GuestAddress, low);
	assert_int_equal(g->unpinned[0].SizeInBytes, 8192);
	assert_int_equal(g->unpinned[1].GuestAddress, high);
}

/* Wait for the end of a channel that the guest broke; then it closes it and opens it again. */
static void breaks(struct device *d, struct guest_channel *c, unsigned closes)
{
	while (d->closes != closes)
		sched_yield();
	guest_close(c);
	assert_int_equal(d->closes, closes);
	guest_open(d->guest, c, &c->offer, 2);
}

static void test_pages_that_are_no_memory_end_the_channel(void **state)
{
	struct device *d = *state;
	struct guest_channel c;
	uint64_t page = guest_pages(d->guest, 1) / 4096;
	const struct {
		struct vmbus_gpa_direct direct;
		struct vmbus_gpa_range range;
		uint64_t page;
	} __attribute__((packed)) bad[] = {
		{{.range_count = 1}, {4096, 0}, GUEST_RAM / 4096},
		{{.range_count = 1}, {4096, 0}, 1ull << 52},
		{{.range_count = 1}, {4096, 1}, page},
		{{.range_count = 1}, {4096, 4096}, page},
		{{.range_count = 1}, {0xFFFFFFFF, 0}, page},
		{{.range_count = 2}, {4096, 0}, page},
		{{.range_count = 0xFFFFFFFF}, {0, 0}, 0},
	};

	open_at(d, 0, VMBUS_WIN10_5_3, 2, &c);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		guest_send(&c, VMBUS_PACKET_GPA_DIRECT, 1, 5, &bad[i], sizeof(bad[i]), "", 1);
		breaks(d, &c, i + 1);
		echo(&c, 1, "still alive");
	}
}

static void test_a_ring_that_breaks_ends_the_channel(void **state)
{
	struct device *d = *state;
	struct guest_channel c;

	open_at(d, 0, VMBUS_WIN10_5_3, 2, &c);
	for (unsigned i = 0; i < 4; i++) {
		struct vmbus_descriptor bad = {.type = i == 3 ? 99 : VMBUS_PACKET_INBAND,
			.offset8 = 2,
			.length8 = i == 2 ? 1000 : 8};

		memcpy(c.out.data, &bad, sizeof(bad));
		c.out.control->write_index = i == 0 ? 0xFFFFFFF8 : i == 1 ? 12 : 72;
		guest_signal_channel(&c);
		breaks(d, &c, i + 1);
		assert_int_equal(d->packets, 0);
	}
}

static void test_ranges_of_transfer_pages(void **state)
{
	struct device *d = *state;
	struct guest_channel c;
	const struct {
		struct vmbus_transfer_pages head;
		struct vmbus_transfer_range range[2];
	} __attribute__((packed)) header = {
		{.set = 0xCAFE, .range_count = 2},
		{{.byte_count = 10, .byte_offset = 20}, {.byte_count = 30, .byte_offset = 40}},
	};
	uint32_t got[4];

	open_at(d, 1, VMBUS_WIN10_5_3, 2, &c);
	guest_send(&c, VMBUS_PACKET_TRANSFER_PAGES, 1, 9, &header, sizeof(header), "", 1);
	take_one(&c, 9, got, sizeof(got));
	assert_int_equal(got[0], 20);
	assert_int_equal(got[1], 10);
	assert_int_equal(got[2], 40);
	assert_int_equal(got[3], 30);
}

static void test_a_packet_that_is_left_comes_again(void **state)
{
	struct device *d = *state;
	struct guest_channel c;
	char answer[64];

	d->resumes = true;
	open_at(d, 1, VMBUS_WIN10_5_3, 2, &c);
	d->hold = true;
	send_one(&c, 1, "first");
	send_one(&c, 2, "second");
	guest_signal_channel(&c);
	guest_take_nothing(d->guest);
	assert_int_equal(d->packets, 0);
	d->hold = false;
	guest_take_nothing(d->guest);
	loop_timer_arm(d->resume, loop_now(), 0);
	take_one(&c, 1, answer, sizeof(answer));
	assert_string_equal(answer, "first");
	take_one(&c, 2, answer, sizeof(answer));
}

static void test_a_full_ring_is_filled_again_when_there_is_room(void **state)
{
	struct device *d = *state;
	struct guest_channel c;
	struct vmbus_descriptor got;
	uint8_t answer[1000];

	open_at(d, 0, VMBUS_WIN10_5_3, 2, &c);
	d->no_reply = true;
	for (unsigned i = 1; i <= 40; i++)
		assert_true(guest_send(&c, VMBUS_PACKET_INBAND, 1, i, NULL, 0, &i, 4));
	for (unsigned i = 0; i < 40; i++) {
		guest_await_packet(&c, &got, answer, sizeof(answer));
		assert_int_equal(got.length8, 2 + 125);
	}
	assert_true(d->rooms > 0);
	assert_int_equal(d->unsent, 0);
}

static void test_a_long_list_of_pages_is_mapped_until_it_is_not(void **state)
{
	struct device *d = *state;
	struct guest *g = d->guest;
	struct guest_channel c;
	uint64_t pfn[3] = {
		guest_pages(g, 1) / 4096, guest_pages(g, 1) / 4096, guest_pages(g, 1) / 4096};
	uint64_t swapped[3] = {pfn[2], pfn[0], pfn[1]};
	struct vmbus_gpadl_teardown teardown;
	struct vmbus_gpadl_torndown torndown;
	struct vmbus_relid_message close;

	open_at(d, 0, VMBUS_WIN10_5_3, 2, &c);
	d->map = guest_gpadl(g, c.offer.relid, swapped, 3, true);
	teardown = (struct vmbus_gpadl_teardown){.relid = c.offer.relid, .gpadl = d->map};
	echo(&c, 1, "map it");
	assert_int_equal(d->map, 0); /* what its thread did before is ours to see */
	assert_int_equal(d->mapping.size, 3 * 4096);
	strcpy((char *)guest_at(g, pfn[0] * 4096), "shared");
	assert_string_equal((char *)d->mapping.base + 4096, "shared");
	/* The guest wants it back, and gets it when the channel is closed. */
	guest_post(g, VMBUS_GPADL_TEARDOWN, &teardown, sizeof(teardown));
	guest_take_nothing(g);
	close.relid = c.offer.relid;
	guest_post(g, VMBUS_CLOSE_CHANNEL, &close, sizeof(close));
	guest_take(g, VMBUS_GPADL_TORNDOWN, &torndown, sizeof(torndown));
	assert_int_equal(torndown.gpadl, teardown.gpadl);
	guest_gpadl_teardown(g, c.offer.relid, c.gpadl);
}

static void test_subchannels_come_and_go_with_their_primary(void **state)
{
	struct device *d = *state;
	struct guest *g = d->guest;
	struct guest_channel c, sub[2];
	struct vmbus_offer_channel offer;
	struct vmbus_relid_message message;

	open_at(d, 0, VMBUS_WIN10_5_3, 2, &c);
	for (unsigned round = 1; round <= 3; round++) {
		d->subchannels = 2;
		echo(&c, 1, "more, please");
		for (unsigned i = 0; i < 2; i++) {
			guest_take(g, VMBUS_OFFER_CHANNEL, &sub[i].offer, sizeof(offer));
			assert_int_equal(sub[i].offer.subchannel, i + 1);
		}
		for (unsigned i = 0; i < 2; i++) {
			offer = sub[i].offer;
			guest_open(g, &sub[i], &offer, 2);
			echo(&sub[i], i, "on a sub-channel");
		}
		/* One is closed before, one is taken away while open. */
		guest_close(&sub[0]);
		message.relid = c.offer.relid;
		guest_post(g, VMBUS_CLOSE_CHANNEL, &message, sizeof(message));
		for (unsigned i = 0; i < 2; i++) {
			guest_take(g, VMBUS_RESCIND_OFFER, &message, sizeof(message));
			assert_int_equal(message.relid, sub[i].offer.relid);
			guest_post(g, VMBUS_RELID_RELEASED, &message, sizeof(message));
		}
		guest_gpadl_teardown(g, c.offer.relid, c.gpadl);
		guest_open(g, &c, &c.offer, 2);
	}
	d->subchannels = 2;
	echo(&c, 1, "and again");
	guest_take(g, VMBUS_OFFER_CHANNEL, &offer, sizeof(offer));
	guest_take(g, VMBUS_OFFER_CHANNEL, &offer, sizeof(offer));
	guest_open(g, &sub[0], &offer, 2);
}

static void test_a_device_is_revoked_while_packets_fly(void **state)
{
	struct device *d = *state;
	struct vmbus_relid_message message;
	struct guest_channel c;
	struct vmbus_offer_channel offer;

	open_at(d, 0, VMBUS_WIN10_5_3, 4, &c);
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < 50; i++)
			guest_send(&c, VMBUS_PACKET_INBAND, 1, i, NULL, 0, "x", 1);
		vmbus_revoke(d->channel);
		assert_int_equal(d->closes, round + 1);
		guest_take(d->guest, VMBUS_RESCIND_OFFER, &message, sizeof(message));
		guest_post(d->guest, VMBUS_RELID_RELEASED, &message, sizeof(message));
		assert_int_equal(
			vmbus_offer(d->guest->bus, &offers[round & 1], &provider, d, &d->channel),
			0);
		guest_take(d->guest, VMBUS_OFFER_CHANNEL, &offer, sizeof(offer));
		guest_open(d->guest, &c, &offer, 4);
	}
}

static void test_monitored_signals_are_found(void **state)
{
	struct device *d = *state;
	struct vmbus_initiate_contact contact = {.version = VMBUS_WIN10_5_3, .sint = VMBUS_SINT};
	struct vmbus_version_response response;
	struct vmbus_offer_channel offer;
	struct vmbus_header header;
	struct vmbus_monitor_page *page;
	struct guest_channel c;
	char answer[64];

	assert_int_equal(vmbus_offer(d->guest->bus, &offers[2], &provider, d, &d->channel), 0);
	contact.monitor_page_to_guest = guest_pages(d->guest, 1);
	contact.monitor_page_to_host = guest_pages(d->guest, 1);
	page = (void *)guest_at(d->guest, contact.monitor_page_to_host);
	guest_post(d->guest, VMBUS_INITIATE_CONTACT, &contact, sizeof(contact));
	guest_take(d->guest, VMBUS_VERSION_RESPONSE, &response, sizeof(response));
	guest_post(d->guest, VMBUS_REQUEST_OFFERS, &header, sizeof(header));
	guest_take(d->guest, VMBUS_OFFER_CHANNEL, &offer, sizeof(offer));
	guest_take(d->guest, VMBUS_ALL_OFFERS_DELIVERED, &header, sizeof(header));
	assert_int_equal(offer.monitor_allocated, 1);
	guest_open(d->guest, &c, &offer, 2);
	assert_int_equal(page->latency[offer.monitor], 1000);
	for (unsigned i = 0; i < 20; i++) {
		/* As a Linux guest does it: no hypercall, only a bit. */
		c.out.control->interrupt_mask = 1;
		send_one(&c, i, "quietly");
		__atomic_fetch_or(&page->group[offer.monitor / 32].pending,
			1u << (offer.monitor & 31), __ATOMIC_SEQ_CST);
		take_one(&c, i, answer, sizeof(answer));
	}
}

static void test_shared_signals_are_told_apart(void **state)
{
	struct device *d = *state;
	struct vmbus_initiate_contact contact = {.version = VMBUS_WIN8};
	struct vmbus_version_response response;
	struct vmbus_offer_channel offer;
	struct vmbus_header header;
	struct guest_channel c;
	uint32_t *bits;
	char answer[64];

	assert_int_equal(vmbus_offer(d->guest->bus, &offers[3], &provider, d, &d->channel), 0);
	contact.interrupt_page = guest_pages(d->guest, 1);
	bits = (uint32_t *)(guest_at(d->guest, contact.interrupt_page) + 2048);
	guest_post(d->guest, VMBUS_INITIATE_CONTACT, &contact, sizeof(contact));
	guest_take(d->guest, VMBUS_VERSION_RESPONSE, &response, sizeof(response));
	guest_post(d->guest, VMBUS_REQUEST_OFFERS, &header, sizeof(header));
	guest_take(d->guest, VMBUS_OFFER_CHANNEL, &offer, sizeof(offer));
	guest_take(d->guest, VMBUS_ALL_OFFERS_DELIVERED, &header, sizeof(header));
	assert_int_equal(offer.dedicated, 0);
	assert_int_equal(offer.connection, VMBUS_SHARED_CONNECTION);
	guest_open(d->guest, &c, &offer, 2);
	for (unsigned i = 0; i < 20; i++) {
		__atomic_store_n(&bits[63], 0xFFFFFFFF, __ATOMIC_SEQ_CST); /* nobody's */
		__atomic_fetch_or(
			&bits[offer.relid / 32], 1u << (offer.relid & 31), __ATOMIC_SEQ_CST);
		c.out.control->interrupt_mask = 1;
		send_one(&c, i, "for one of many");
		guest_signal(d->guest, VMBUS_SHARED_CONNECTION);
		take_one(&c, i, answer, sizeof(answer));
	}
}

static void test_a_guest_may_want_no_interrupts(void **state)
{
	struct device *d = *state;
	struct vmbus_modify_channel modify = {.target_vp = VMBUS_NO_VP};
	struct vmbus_modify_response response;
	struct vmbus_descriptor got;
	struct guest_channel c;
	char answer[64];

	open_at(d, 0, VMBUS_WIN10_5_3, 2, &c);
	modify.relid = c.offer.relid;
	guest_post(d->guest, VMBUS_MODIFY_CHANNEL, &modify, sizeof(modify));
	guest_take(d->guest, VMBUS_MODIFY_CHANNEL_RESPONSE, &response, sizeof(response));
	send_one(&c, 1, "anybody there?");
	while (!guest_receive(&c, &got, answer, sizeof(answer)))
		sched_yield();
	assert_int_equal(d->guest->events[c.offer.relid], 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_packets_on_a_thread_of_its_own),
		TEST(test_packets_on_the_bus_thread),
		TEST(test_packets_on_a_shared_thread),
		TEST(test_many_channels_share_threads),
		TEST(test_a_withdrawn_channel_is_gone_when_both_let_go),
		TEST(test_an_offer_withdrawn_at_once_is_gone_when_the_guest_has_seen_it),
		TEST(test_a_flood_both_ways_loses_nothing),
		TEST(test_a_channel_opens_again),
		TEST(test_a_device_may_refuse_to_open),
		TEST(test_pages_of_a_packet_are_written_where_they_are),
		TEST(test_pages_that_are_no_memory_end_the_channel),
		TEST(test_a_ring_that_breaks_ends_the_channel),
		TEST(test_ranges_of_transfer_pages),
		TEST(test_a_packet_that_is_left_comes_again),
		TEST(test_a_full_ring_is_filled_again_when_there_is_room),
		TEST(test_a_long_list_of_pages_is_mapped_until_it_is_not),
		TEST(test_subchannels_come_and_go_with_their_primary),
		TEST(test_a_device_is_revoked_while_packets_fly),
		TEST(test_monitored_signals_are_found),
		TEST(test_shared_signals_are_told_apart),
		TEST(test_a_guest_may_want_no_interrupts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
