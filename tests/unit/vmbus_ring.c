/*
 * vmbus_ring.c - the two ring ends against each other and against hostile values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <errno.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmbus/memory.h"
#include "vmbus/ring.h"

#define PAGES 4u /* of data */

struct fixture {
	struct memory memory;
	struct memory_view view;
	uint8_t *ram;
	struct ring ring;
	struct ring_in in;   /* where the test is the reader */
	struct ring_out out; /* and where it is the writer, of the same ring */
};

/* Pages in an order of their own, so that the view has something to put right. */
static int set_up(void **state)
{
	static const uint64_t pfn[] = {3, 9, 8, 7, 12};
	struct fixture *f = calloc(1, sizeof(*f));
	int fd = memfd_create("ring", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 16 * VMBUS_PAGE), 0);
	f->ram = mmap(NULL, 16 * VMBUS_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	f->memory.range[0] = (struct vmbus_memory){
		.gpa = VMBUS_PAGE, .size = 15 * VMBUS_PAGE, .host = f->ram, .fd = fd};
	f->memory.count = 1;
	assert_int_equal(memory_view_create(&f->memory, pfn, PAGES + 1, 1, &f->view), 0);
	f->ring = (struct ring){
		.control = (struct vmbus_ring_control *)f->view.base,
		.data = f->view.base + VMBUS_PAGE,
		.size = PAGES * VMBUS_PAGE,
	};
	assert_int_equal(ring_in_init(&f->in, &f->ring), 0);
	assert_int_equal(ring_out_init(&f->out, &f->ring), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	memory_view_destroy(&f->memory, &f->view);
	assert_int_equal(f->memory.pieces, 0);
	munmap(f->ram, 16 * VMBUS_PAGE);
	close(f->memory.range[0].fd);
	free(f);
	return 0;
}

/* A packet of @bytes in all, whose payload says @value. */
static int put(struct fixture *f, uint32_t bytes, uint64_t value)
{
	struct vmbus_descriptor d = {
		.type = VMBUS_PACKET_INBAND, .offset8 = 2, .length8 = (uint16_t)(bytes / 8)};
	uint8_t *at;
	int err = ring_out_put(&f->out, bytes, &at);

	if (err)
		return err;
	d.transaction = value;
	memcpy(at, &d, sizeof(d));
	for (uint32_t i = sizeof(d); i < bytes; i += 8)
		memcpy(at + i, &value, 8);
	ring_out_commit(&f->out, bytes);
	return 0;
}

static void take(struct fixture *f, uint32_t bytes, uint64_t value)
{
	struct ring_packet p;

	assert_int_equal(ring_in_next(&f->in, &p), 1);
	assert_int_equal(p.bytes, bytes);
	assert_int_equal(p.descriptor.transaction, value);
	for (uint32_t i = p.header_bytes; i < bytes; i += 8)
		assert_memory_equal(p.start + i, &value, 8);
	ring_in_take(&f->in, &p);
}

static void test_views_show_the_pages_in_order_and_twice(void **state)
{
	struct fixture *f = *state;

	strcpy((char *)f->ram + 11 * VMBUS_PAGE, "page twelve"); /* memory begins at page 1 */
	assert_string_equal((char *)f->ring.data + 3 * VMBUS_PAGE, "page twelve");
	assert_string_equal((char *)f->ring.data + 7 * VMBUS_PAGE, "page twelve");
	strcpy((char *)f->ring.data + 4 * VMBUS_PAGE, "page nine");
	assert_string_equal((char *)f->ram + 8 * VMBUS_PAGE, "page nine");
}

static void test_pages_that_are_not_memory_make_no_view(void **state)
{
	struct fixture *f = *state;
	static const uint64_t bad[][2] = {{1, 0}, {1, 16}, {~0ull, 1}, {1, 1ull << 52}};
	struct memory_view view;

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(memory_view_create(&f->memory, bad[i], 2, 2, &view), -EFAULT);
	assert_null(memory_at(&f->memory, 15 * VMBUS_PAGE, 2 * VMBUS_PAGE));
	assert_null(memory_at(&f->memory, VMBUS_PAGE, ~0ull));
	assert_non_null(memory_at(&f->memory, 15 * VMBUS_PAGE, VMBUS_PAGE));
}

static void test_packets_of_all_sizes_go_round(void **state)
{
	struct fixture *f = *state;

	for (uint64_t n = 0; n < 3000; n++) {
		uint32_t bytes = 16 + (uint32_t)(n * 56 % 9000) / 8 * 8;

		assert_int_equal(put(f, bytes, n), 0);
		ring_out_publish(&f->out);
		take(f, bytes, n);
		assert_true(ring_in_publish(&f->in) >= 0);
	}
}

static void test_packets_are_seen_when_they_are_published(void **state)
{
	struct fixture *f = *state;
	struct ring_packet p;

	assert_int_equal(put(f, 64, 1), 0);
	assert_int_equal(put(f, 64, 2), 0);
	assert_int_equal(ring_in_next(&f->in, &p), 0);
	assert_true(ring_out_publish(&f->out)); /* it was empty */
	assert_false(ring_out_publish(&f->out));
	take(f, 64, 1);
	take(f, 64, 2);
	assert_int_equal(ring_in_next(&f->in, &p), 0);
}

static void test_a_writer_signals_only_who_waits(void **state)
{
	struct fixture *f = *state;

	put(f, 64, 1);
	assert_true(ring_out_publish(&f->out));
	put(f, 64, 2);
	assert_false(ring_out_publish(&f->out)); /* not empty */
	take(f, 64, 1);
	take(f, 64, 2);
	assert_int_equal(ring_in_publish(&f->in), 0);
	ring_in_mask(&f->in);
	put(f, 64, 3);
	assert_false(ring_out_publish(&f->out)); /* masked */
	assert_int_equal(ring_in_unmask(&f->in), 1);
	take(f, 64, 3);
	ring_in_publish(&f->in);
	assert_int_equal(ring_in_unmask(&f->in), 0);
	put(f, 64, 4);
	assert_true(ring_out_publish(&f->out));
}

static void test_a_reader_signals_when_there_is_the_room_asked_for(void **state)
{
	struct fixture *f = *state;
	uint32_t count = 0;

	while (put(f, 1016, count) == 0) /* 1024 with the trailer */
		count++;
	assert_int_equal(count, PAGES * VMBUS_PAGE / 1024 - 1);
	assert_int_equal(put(f, 3000, 0), -EAGAIN);
	assert_int_equal(f->ring.control->pending_send_size, 3008);
	ring_out_publish(&f->out);
	for (uint32_t i = 0; i < 5; i++) {
		take(f, 1016, i);
		/* With the third there is room for 3008 bytes; one byte stays free. */
		assert_int_equal(ring_in_publish(&f->in), i == 1);
		if (i < 1)
			assert_int_equal(ring_out_room(&f->out), 0);
	}
	assert_int_equal(ring_out_room(&f->out), 1);
	assert_int_equal(f->ring.control->pending_send_size, 0);
	assert_int_equal(ring_out_room(&f->out), 0);
	assert_int_equal(put(f, 3000, 0), 0);
}

/*
 * The guest takes a packet when it sees half of what is in the ring: room enough, nothing to
 * signal. What it did not see takes that room, so the host has to look by itself.
 */
static void test_room_that_came_unseen(void **state)
{
	struct fixture *f = *state;
	uint32_t count = 0;

	for (; count < 4; count++)
		assert_int_equal(put(f, 1016, count), 0);
	ring_out_publish(&f->out);
	while (put(f, 1016, count) == 0)
		count++;
	take(f, 1016, 0);
	assert_int_equal(ring_in_publish(&f->in), 0);
	ring_out_publish(&f->out);
	assert_true(ring_out_missed_room(&f->out));
	assert_int_equal(ring_out_room(&f->out), 1);
	assert_false(ring_out_missed_room(&f->out));
}

static void test_what_never_fits_is_said(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, PAGES * VMBUS_PAGE - 8, 0), -EMSGSIZE);
	assert_int_equal(put(f, PAGES * VMBUS_PAGE - 16, 0), 0);
	assert_int_equal(put(f, 16, 0), -EAGAIN);
}

static void test_a_ring_begins_where_it_stands(void **state)
{
	struct fixture *f = *state;

	f->ring.control->write_index = f->ring.control->read_index = 4096;
	assert_int_equal(ring_in_init(&f->in, &f->ring), 0);
	assert_int_equal(ring_out_init(&f->out, &f->ring), 0);
	assert_int_equal(f->ring.control->features & VMBUS_RING_PENDING_SEND, 1);
	put(f, 64, 5);
	ring_out_publish(&f->out);
	take(f, 64, 5);
	f->ring.control->read_index = PAGES * VMBUS_PAGE;
	assert_int_equal(ring_in_init(&f->in, &f->ring), -EPROTO);
	assert_int_equal(ring_out_init(&f->out, &f->ring), -EPROTO);
}

static void test_hostile_indices_are_refused(void **state)
{
	static const uint32_t bad[] = {4, PAGES * VMBUS_PAGE, 0x80000000u, ~7u};
	struct fixture *f = *state;
	struct ring_packet p;
	uint8_t *at;

	for (unsigned i = 0; i < 4; i++) {
		f->ring.control->write_index = bad[i];
		assert_int_equal(ring_in_next(&f->in, &p), -EPROTO);
		assert_int_equal(ring_in_unmask(&f->in), -EPROTO);
		f->ring.control->read_index = bad[i];
		/* Looked at only when there seems to be no room. */
		assert_int_equal(ring_out_put(&f->out, PAGES * VMBUS_PAGE - 16, &at), 0);
		f->out.write = 64;
		assert_int_equal(ring_out_put(&f->out, PAGES * VMBUS_PAGE - 16, &at), -EPROTO);
		f->out.write = 0;
	}
}

static void test_hostile_packets_are_refused(void **state)
{
	static const struct vmbus_descriptor bad[] = {
		{.type = VMBUS_PACKET_INBAND, .offset8 = 1, .length8 = 8},
		{.type = VMBUS_PACKET_INBAND, .offset8 = 9, .length8 = 8},
		{.type = VMBUS_PACKET_INBAND, .offset8 = 2, .length8 = 9},
		{.type = VMBUS_PACKET_INBAND, .offset8 = 2, .length8 = 0xFFFF},
		{.type = VMBUS_PACKET_INBAND, .offset8 = 2, .length8 = 8, .flags = 2},
		{.type = VMBUS_PACKET_GPA_DIRECT, .offset8 = 2, .length8 = 8},
		{.type = VMBUS_PACKET_TRANSFER_PAGES, .offset8 = 2, .length8 = 8},
		{.type = 0, .offset8 = 2, .length8 = 8},
		{.type = 0xFFFF, .offset8 = 2, .length8 = 8},
		{0},
	};
	struct fixture *f = *state;
	struct ring_packet p;

	f->ring.control->write_index = 8 * 8 + 8; /* a packet of eight words and its trailer */
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(f->ring.data, &bad[i], sizeof(bad[i]));
		assert_int_equal(ring_in_next(&f->in, &p), -EPROTO);
	}
	f->ring.control->write_index = 16;
	f->in.write = f->in.read;
	assert_int_equal(ring_in_next(&f->in, &p), -EPROTO);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_views_show_the_pages_in_order_and_twice),
		TEST(test_pages_that_are_not_memory_make_no_view),
		TEST(test_packets_of_all_sizes_go_round),
		TEST(test_packets_are_seen_when_they_are_published),
		TEST(test_a_writer_signals_only_who_waits),
		TEST(test_a_reader_signals_when_there_is_the_room_asked_for),
		TEST(test_room_that_came_unseen),
		TEST(test_what_never_fits_is_said),
		TEST(test_a_ring_begins_where_it_stands),
		TEST(test_hostile_indices_are_refused),
		TEST(test_hostile_packets_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
