/*
 * vmbus_connection.c - contact, versions, offers, goodbye; and guests that do it wrong.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmbus_guest.h"

static const struct vmbus_offer offer = {
	.name = "test",
	.interface = {0x11111111, 2, 3, {4}},
	.instance = {0x22222222, 3, 4, {5}},
	.flags = VMBUS_OFFER_ENUMERATE,
	.mmio_megabytes = 8,
	.user_data = {9, 8, 7},
};

static int accept(void *ctx, struct vmbus_channel *ch, const uint8_t *user_data)
{
	return 0;
}

static void leave(void *ctx, struct vmbus_channel *ch)
{
}

static int ignore(void *ctx, struct vmbus_channel *ch, const struct vmbus_packet *packet)
{
	return 0;
}

static const struct vmbus_provider provider = {.open = accept, .close = leave, .receive = ignore};

static int set_up(void **state)
{
	*state = guest_create();
	return 0;
}

static int tear_down(void **state)
{
	guest_destroy(*state);
	return 0;
}

static struct vmbus_channel *add_offer(struct guest *g)
{
	struct vmbus_channel *ch;

	assert_int_equal(vmbus_offer(g->bus, &offer, &provider, NULL, &ch), 0);
	return ch;
}

static void test_every_version_that_linux_knows_connects(void **state)
{
	static const uint32_t versions[] = {VMBUS_WIN10_5_3, VMBUS_WIN10_5_2, VMBUS_WIN10_5_1,
		VMBUS_WIN10_5_0, VMBUS_WIN10_RS3, VMBUS_WIN10, VMBUS_WIN8_1, VMBUS_WIN8};

	for (unsigned i = 0; i < 8; i++)
		assert_true(guest_contact(*state, versions[i]));
}

static void test_other_versions_are_refused_and_the_guest_may_try_again(void **state)
{
	assert_false(guest_contact(*state, VMBUS_VERSION(6, 0)));
	assert_false(guest_contact(*state, VMBUS_VERSION(1, 1)));
	assert_false(guest_contact(*state, VMBUS_VERSION(5, 4)));
	assert_true(guest_contact(*state, VMBUS_WIN10_5_3));
}

static void test_the_offer_says_what_the_device_is(void **state)
{
	struct guest *g = *state;
	struct vmbus_offer_channel got;

	add_offer(g);
	guest_connect(g, VMBUS_WIN10_5_3, &got);
	assert_memory_equal(&got.interface, &offer.interface, sizeof(GUID));
	assert_memory_equal(&got.instance, &offer.instance, sizeof(GUID));
	assert_memory_equal(got.user_data, offer.user_data, sizeof(got.user_data));
	assert_int_equal(got.flags, VMBUS_OFFER_ENUMERATE);
	assert_int_equal(got.mmio_megabytes, 8);
	assert_int_equal(got.subchannel, 0);
	assert_int_equal(got.dedicated, 1);
	assert_int_equal(got.monitor_allocated, 0);
	assert_int_not_equal(got.relid, 0);
	assert_int_equal(got.connection, VMBUS_CHANNEL_CONNECTIONS + got.relid);
}

static void test_a_device_that_comes_later_is_offered_at_once(void **state)
{
	struct guest *g = *state;
	struct vmbus_offer_channel first, second;

	add_offer(g);
	guest_connect(g, VMBUS_WIN10_5_3, &first);
	add_offer(g);
	guest_take(g, VMBUS_OFFER_CHANNEL, &second, sizeof(second));
	assert_int_not_equal(first.relid, second.relid);
}

static void test_a_revoked_device_is_rescinded_and_its_number_free_when_released(void **state)
{
	struct guest *g = *state;
	struct vmbus_offer_channel got;
	struct vmbus_relid_message message;
	struct vmbus_channel *ch = add_offer(g);
	uint32_t relid;

	guest_connect(g, VMBUS_WIN10_5_3, &got);
	relid = got.relid;
	vmbus_revoke(ch);
	guest_take(g, VMBUS_RESCIND_OFFER, &message, sizeof(message));
	assert_int_equal(message.relid, relid);
	add_offer(g);
	guest_take(g, VMBUS_OFFER_CHANNEL, &got, sizeof(got));
	assert_int_not_equal(got.relid, relid);
	guest_post(g, VMBUS_RELID_RELEASED, &message, sizeof(message));
	guest_take_nothing(g);
	add_offer(g);
	guest_take(g, VMBUS_OFFER_CHANNEL, &got, sizeof(got));
	assert_int_equal(got.relid, relid);
}

static void test_a_device_that_the_guest_removed_is_offered_when_it_asks_again(void **state)
{
	struct guest *g = *state;
	struct vmbus_offer_channel got;
	struct vmbus_relid_message message;
	struct vmbus_header header;

	add_offer(g);
	guest_connect(g, VMBUS_WIN10_5_3, &got);
	message.relid = got.relid;
	guest_post(g, VMBUS_RELID_RELEASED, &message, sizeof(message));
	guest_post(g, VMBUS_REQUEST_OFFERS, &header, sizeof(header));
	guest_take(g, VMBUS_OFFER_CHANNEL, &got, sizeof(got));
	guest_take(g, VMBUS_ALL_OFFERS_DELIVERED, &header, sizeof(header));
}

static void test_goodbye_is_answered_and_contact_works_again(void **state)
{
	struct guest *g = *state;
	struct vmbus_offer_channel got;
	struct vmbus_header header;
	struct guest_channel c;

	add_offer(g);
	guest_connect(g, VMBUS_WIN10_5_3, &got);
	guest_open(g, &c, &got, 4);
	guest_post(g, VMBUS_UNLOAD, &header, sizeof(header));
	guest_take(g, VMBUS_UNLOAD_RESPONSE, &header, sizeof(header));
	guest_connect(g, VMBUS_WIN10, &got);
	guest_open(g, &c, &got, 4);
}

/* As after kexec from a crash: nobody said goodbye, and messages of before wait. */
/* Contact of a new kernel. What the host put before it heard of that comes first. */
static void contact_anew(struct guest *g)
{
	struct vmbus_initiate_contact contact = {
		.version = VMBUS_WIN10_5_3, .target_vp = 1, .sint = VMBUS_SINT};
	struct vmbus_synic_message slot;
	uint32_t type;

	guest_post(g, VMBUS_INITIATE_CONTACT, &contact, sizeof(contact));
	do {
		while (!guest_empty_slot(g, &slot))
			sched_yield();
		memcpy(&type, slot.payload, sizeof(type));
	} while (type == VMBUS_ALL_OFFERS_DELIVERED);
	assert_int_equal(type, VMBUS_VERSION_RESPONSE);
}

static void test_contact_without_goodbye_forgets_the_guest_of_before(void **state)
{
	struct guest *g = *state;
	struct vmbus_offer_channel got;
	struct vmbus_header header;
	struct guest_channel c;

	for (unsigned i = 0; i < 2; i++) {
		add_offer(g);
		guest_post(g, VMBUS_UNLOAD, &header, sizeof(header));
		guest_take(g, VMBUS_UNLOAD_RESPONSE, &header, sizeof(header));
		assert_true(guest_contact(g, VMBUS_WIN10_5_3));
		guest_post(g, VMBUS_REQUEST_OFFERS, &header, sizeof(header));
		guest_take(g, VMBUS_OFFER_CHANNEL, &got, sizeof(got));
		if (i == 1)
			guest_take(g, VMBUS_OFFER_CHANNEL, &got, sizeof(got));
		guest_take(g, VMBUS_ALL_OFFERS_DELIVERED, &header, sizeof(header));
		guest_open(g, &c, &got, 4);
		for (unsigned k = 0; k < 20; k++)
			guest_post(g, VMBUS_REQUEST_OFFERS, &header, sizeof(header));
		/* The new kernel's message page is empty. */
		pthread_mutex_lock(&g->lock);
		g->slot_full = false;
		pthread_mutex_unlock(&g->lock);
		contact_anew(g);
	}
}

static void test_many_offers_pass_the_one_slot(void **state)
{
	struct guest *g = *state;
	struct vmbus_offer_channel got;
	struct vmbus_header header;

	for (unsigned i = 0; i < 300; i++)
		add_offer(g);
	assert_true(guest_contact(g, VMBUS_WIN10_5_3));
	guest_post(g, VMBUS_REQUEST_OFFERS, &header, sizeof(header));
	for (unsigned i = 0; i < 300; i++) {
		guest_take(g, VMBUS_OFFER_CHANNEL, &got, sizeof(got));
		assert_int_equal(got.relid, i + 1);
	}
	guest_take(g, VMBUS_ALL_OFFERS_DELIVERED, &header, sizeof(header));
}

static void test_numbers_run_out(void **state)
{
	struct guest *g = *state;
	struct vmbus_channel *ch;

	for (unsigned i = 1; i < VMBUS_MAX_CHANNELS; i++)
		add_offer(g);
	assert_int_equal(vmbus_offer(g->bus, &offer, &provider, NULL, &ch), -ENOSPC);
}

/* A guest that posts and does not read is told to wait. */
/* Post until it is refused; returns how many answers will come. */
static unsigned post_all(struct guest *g)
{
	struct vmbus_gpadl_header bad = {.header.type = VMBUS_GPADL_HEADER};
	unsigned posted = 0;

	assert_true(guest_contact(g, VMBUS_WIN10_5_3));
	while (vmbus_post_message(g->bus, VMBUS_MESSAGE_CONNECTION_4, VMBUS_MESSAGE_TYPE, &bad,
		       sizeof(bad)) == 0)
		assert_true(++posted < 2000);
	return posted;
}

static void test_a_guest_that_does_not_read_is_held_back(void **state)
{
	struct guest *g = *state;
	struct vmbus_gpadl_created created;

	for (unsigned left = post_all(g); left; left--)
		guest_take(g, VMBUS_GPADL_CREATED, &created, sizeof(created));
}

static void test_what_was_held_back_is_acted_on_however_fast_the_guest_reads(void **state)
{
	struct guest *g = *state;

	guest_take_at_once(g, post_all(g));
}

static void test_the_call_itself_is_checked(void **state)
{
	struct guest *g = *state;
	uint8_t payload[VMBUS_PAYLOAD_MAX + 8] = {VMBUS_UNLOAD};

	assert_int_equal(vmbus_post_message(g->bus, 2, VMBUS_MESSAGE_TYPE, payload, 8), 0x12);
	assert_int_equal(vmbus_post_message(g->bus, 1, 2, payload, 8), 0x05);
	assert_int_equal(vmbus_post_message(g->bus, 1, VMBUS_MESSAGE_TYPE, payload, 7), 0x05);
	assert_int_equal(vmbus_post_message(g->bus, 1, VMBUS_MESSAGE_TYPE, payload, 241), 0x05);
}

static void test_what_makes_no_sense_is_ignored(void **state)
{
	struct guest *g = *state;
	struct vmbus_offer_channel got;
	struct vmbus_relid_message relid = {.relid = 1};
	struct vmbus_header header;
	uint8_t payload[VMBUS_PAYLOAD_MAX] = {0};

	/* Not before contact. */
	guest_post(g, VMBUS_REQUEST_OFFERS, &header, sizeof(header));
	add_offer(g);
	guest_connect(g, VMBUS_WIN10_5_3, &got);
	for (uint32_t type = 0; type < 40; type++) {
		/* Too short, but for those that have no more than a header. */
		if (type != VMBUS_REQUEST_OFFERS && type != VMBUS_UNLOAD)
			guest_post(g, type, payload, sizeof(header));
	}
	guest_post(g, 0xFFFFFFFF, payload, sizeof(payload));
	guest_post(g, VMBUS_CLOSE_CHANNEL, &relid, sizeof(relid));
	relid.relid = 0xFFFFFFFF;
	guest_post(g, VMBUS_CLOSE_CHANNEL, &relid, sizeof(relid));
	guest_post(g, VMBUS_RELID_RELEASED, &relid, sizeof(relid));
	guest_take_nothing(g);
}

static void test_opening_without_a_ring_is_refused(void **state)
{
	struct guest *g = *state;
	struct vmbus_open_channel open = {.open_id = 5, .ring_gpadl = 99, .downstream_page = 2};
	struct vmbus_open_result result;
	struct vmbus_offer_channel got;
	struct guest_channel c;
	uint64_t pfn[8];
	static const uint32_t bad_page[] = {0, 1, 7, 8, 0xFFFFFFFF};

	add_offer(g);
	guest_connect(g, VMBUS_WIN10_5_3, &got);
	open.relid = got.relid;
	for (unsigned i = 0; i < 6; i++) {
		guest_post(g, VMBUS_OPEN_CHANNEL, &open, sizeof(open));
		guest_take(g, VMBUS_OPEN_RESULT, &result, sizeof(result));
		assert_int_equal(result.open_id, 5);
		assert_int_not_equal(result.status, 0);
		if (i == 0) {
			for (unsigned k = 0; k < 8; k++)
				pfn[k] = guest_pages(g, 1) / VMBUS_PAGE;
			open.ring_gpadl = guest_gpadl(g, got.relid, pfn, 8, true);
		}
		if (i < 5)
			open.downstream_page = bad_page[i];
	}
	open.target_vp = GUEST_PROCESSORS;
	open.downstream_page = 4;
	guest_post(g, VMBUS_OPEN_CHANNEL, &open, sizeof(open));
	guest_take(g, VMBUS_OPEN_RESULT, &result, sizeof(result));
	assert_int_not_equal(result.status, 0);
	/* None of that spoiled it; and an open channel is not opened again. */
	guest_open(g, &c, &got, 4);
	guest_post(g, VMBUS_OPEN_CHANNEL, &open, sizeof(open));
	guest_take(g, VMBUS_OPEN_RESULT, &result, sizeof(result));
	assert_int_not_equal(result.status, 0);
}

/* Standard error, from now on, into a file; and back, returning how many bytes were said. */
static int hush(FILE **said)
{
	int old = dup(STDERR_FILENO);

	*said = tmpfile();
	assert_non_null(*said);
	assert_true(dup2(fileno(*said), STDERR_FILENO) >= 0);
	return old;
}

static long unhush(int old, FILE *said)
{
	struct stat st;

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	assert_true(dup2(old, STDERR_FILENO) >= 0);
	close(old);
	fclose(said);
	return (long)st.st_size;
}

static void test_opening_what_was_just_taken_back_is_refused_and_no_mistake(void **state)
{
	struct guest *g = *state;
	struct vmbus_open_channel open = {.open_id = 7};
	struct vmbus_relid_message message;
	struct vmbus_open_result result;
	struct vmbus_offer_channel got;
	struct vmbus_channel *ch = add_offer(g);
	FILE *said;
	int old;

	guest_connect(g, VMBUS_WIN10_5_3, &got);
	vmbus_revoke(ch);
	guest_take(g, VMBUS_RESCIND_OFFER, &message, sizeof(message));
	open.relid = got.relid;
	old = hush(&said);
	guest_post(g, VMBUS_OPEN_CHANNEL, &open, sizeof(open));
	guest_take(g, VMBUS_OPEN_RESULT, &result, sizeof(result));
	assert_int_equal(unhush(old, said), 0);
	assert_int_equal(result.open_id, 7);
	assert_int_not_equal(result.status, 0);
	/* One that was never offered is a mistake. */
	open.relid = got.relid + 100;
	old = hush(&said);
	guest_post(g, VMBUS_OPEN_CHANNEL, &open, sizeof(open));
	guest_take(g, VMBUS_OPEN_RESULT, &result, sizeof(result));
	assert_true(unhush(old, said) > 0);
}

static void test_gpadls_that_make_no_sense_are_refused(void **state)
{
	struct guest *g = *state;
	struct vmbus_offer_channel got;
	uint64_t page = guest_pages(g, 1) / VMBUS_PAGE;
	uint64_t outside[] = {page, GUEST_RAM / VMBUS_PAGE}, wrapped[] = {1ull << 52};
	struct {
		struct vmbus_gpadl_header header;
		struct vmbus_gpa_range range;
		uint64_t pfn;
	} __attribute__((packed))
	m = {.header = {.gpadl = 7, .range_bytes = 16, .range_count = 1}, .pfn = page};
	struct vmbus_gpadl_created created;
	static const struct vmbus_gpa_range bad[] = {
		{0, 0}, {4097, 0}, {4096, 1}, {1, 4096}, {0xFFFFFFFF, 0xFFF}};

	add_offer(g);
	guest_connect(g, VMBUS_WIN10_5_3, &got);
	guest_gpadl(g, got.relid, outside, 2, false);
	guest_gpadl(g, got.relid, wrapped, 1, false);
	m.header.relid = got.relid;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		m.range = bad[i];
		guest_post(g, VMBUS_GPADL_HEADER, &m, sizeof(m));
		guest_take(g, VMBUS_GPADL_CREATED, &created, sizeof(created));
		assert_int_not_equal(created.status, 0);
	}
	m.range = (struct vmbus_gpa_range){4096, 0};
	m.header.range_count = 2; /* the second one is missing */
	guest_post(g, VMBUS_GPADL_HEADER, &m, sizeof(m));
	guest_take(g, VMBUS_GPADL_CREATED, &created, sizeof(created));
	assert_int_not_equal(created.status, 0);
	m.header.range_count = 1;
	guest_post(g, VMBUS_GPADL_HEADER, &m, sizeof(m));
	guest_take(g, VMBUS_GPADL_CREATED, &created, sizeof(created));
	assert_int_equal(created.status, 0);
	/* Its name is taken now. */
	guest_post(g, VMBUS_GPADL_HEADER, &m, sizeof(m));
	guest_take(g, VMBUS_GPADL_CREATED, &created, sizeof(created));
	assert_int_not_equal(created.status, 0);
	guest_gpadl_teardown(g, got.relid, 7);
}

static void test_long_gpadls_come_in_pieces(void **state)
{
	struct guest *g = *state;
	struct vmbus_offer_channel got;
	uint64_t pfn[400];
	uint32_t id;

	add_offer(g);
	guest_connect(g, VMBUS_WIN10_5_3, &got);
	for (unsigned i = 0; i < 400; i++)
		pfn[i] = guest_pages(g, 1) / VMBUS_PAGE;
	id = guest_gpadl(g, got.relid, pfn, 400, true);
	guest_gpadl_teardown(g, got.relid, id);
	pfn[399] = 0xFFFFFFFFFF;
	guest_gpadl(g, got.relid, pfn, 400, false);
}

static void test_the_interrupt_moves_where_the_guest_wants_it(void **state)
{
	struct guest *g = *state;
	struct vmbus_offer_channel got;
	struct vmbus_modify_channel modify = {.target_vp = 3};
	struct vmbus_modify_response response;
	struct guest_channel c;
	struct vmbus_channel *ch = add_offer(g);

	guest_connect(g, VMBUS_WIN10_5_3, &got);
	guest_open(g, &c, &got, 4);
	assert_int_equal(vmbus_channel_vp(ch), 2);
	modify.relid = got.relid;
	guest_post(g, VMBUS_MODIFY_CHANNEL, &modify, sizeof(modify));
	guest_take(g, VMBUS_MODIFY_CHANNEL_RESPONSE, &response, sizeof(response));
	assert_int_equal(response.status, 0);
	assert_int_equal(vmbus_channel_vp(ch), 3);
	modify.target_vp = GUEST_PROCESSORS;
	guest_post(g, VMBUS_MODIFY_CHANNEL, &modify, sizeof(modify));
	guest_take(g, VMBUS_MODIFY_CHANNEL_RESPONSE, &response, sizeof(response));
	assert_int_not_equal(response.status, 0);
	assert_int_equal(vmbus_channel_vp(ch), 3);
}

static void test_sockets_are_asked_for(void **state)
{
	struct guest *g = *state;
	struct vmbus_tl_connect connect = {.endpoint = {1, 2, 3, {4}}, .service = {5, 6, 7, {8}}};
	struct vmbus_tl_connect_result result;

	assert_true(guest_contact(g, VMBUS_WIN10_5_3));
	g->tl_answer = -1;
	guest_post(g, VMBUS_TL_CONNECT_REQUEST, &connect, sizeof(connect));
	guest_take(g, VMBUS_TL_CONNECT_RESULT, &result, sizeof(result));
	assert_int_equal(result.status, VMBUS_STATUS_REFUSED);
	assert_int_equal(g->tl_service.Data1, 5);
	g->tl_answer = 0;
	guest_post(g, VMBUS_TL_CONNECT_REQUEST, &connect, sizeof(connect));
	guest_take_nothing(g);
}

static void test_a_reset_forgets_the_guest(void **state)
{
	struct guest *g = *state;
	struct vmbus_offer_channel got;
	struct guest_channel c;

	add_offer(g);
	for (unsigned i = 0; i < 3; i++) {
		guest_connect(g, VMBUS_WIN10_5_3, &got);
		guest_open(g, &c, &got, 4);
		vmbus_reset(g->bus);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_every_version_that_linux_knows_connects),
		TEST(test_other_versions_are_refused_and_the_guest_may_try_again),
		TEST(test_the_offer_says_what_the_device_is),
		TEST(test_a_device_that_comes_later_is_offered_at_once),
		TEST(test_a_revoked_device_is_rescinded_and_its_number_free_when_released),
		TEST(test_a_device_that_the_guest_removed_is_offered_when_it_asks_again),
		TEST(test_goodbye_is_answered_and_contact_works_again),
		TEST(test_contact_without_goodbye_forgets_the_guest_of_before),
		TEST(test_many_offers_pass_the_one_slot),
		TEST(test_numbers_run_out),
		TEST(test_a_guest_that_does_not_read_is_held_back),
		TEST(test_what_was_held_back_is_acted_on_however_fast_the_guest_reads),
		TEST(test_the_call_itself_is_checked),
		TEST(test_what_makes_no_sense_is_ignored),
		TEST(test_opening_without_a_ring_is_refused),
		TEST(test_opening_what_was_just_taken_back_is_refused_and_no_mistake),
		TEST(test_gpadls_that_make_no_sense_are_refused),
		TEST(test_long_gpadls_come_in_pieces),
		TEST(test_the_interrupt_moves_where_the_guest_wants_it),
		TEST(test_sockets_are_asked_for),
		TEST(test_a_reset_forgets_the_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
