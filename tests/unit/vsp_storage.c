/*
 * vsp_storage.c - the storage provider, with the guest of vmbus_guest.h as its driver: negotiation,
 * commands, units that come and go under I/O, and drivers that do it wrong.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk/scsi_protocol.h"
#include "folder.h"
#include "vmbus_guest.h"
#include "vsp/storage.h"
#include "vsp/storage_protocol.h"

#define SIZE (16u << 20)

struct fixture {
	struct guest *guest;
	struct disk_engine *engine;
	struct storage *storage;
	char dir[FOLDER], path[2][96];
	struct disk *disk[2];
	struct scsi_unit *unit[2];
	struct vmbus_offer_channel offer;
	struct guest_channel c;
};

static struct fixture *f;

static void make_disk(unsigned i)
{
	struct disk_create c = {.format = DISK_FORMAT_RAW, .kind = DISK_FIXED, .size = SIZE};
	struct disk_open_options o = {.flags = DISK_OPEN_WRITE, .format = DISK_FORMAT_RAW};
	struct disk_problem p = {0};

	snprintf(f->path[i], sizeof(f->path[i]), "%s/disk%u", f->dir, i);
	assert_int_equal(disk_create(f->engine, f->path[i], &c, NULL, &p), 0);
	assert_int_equal(disk_open(f->engine, f->path[i], &o, &f->disk[i], &p), 0);
	f->unit[i] = scsi_disk_create(f->disk[i], NULL);
	assert_non_null(f->unit[i]);
}

static int set_up(void **state)
{
	struct storage_config config = {.name = "scsi0", .sub_channels = 3};

	f = calloc(1, sizeof(*f));
	folder_make(f->dir);
	f->engine = disk_engine_create(NULL);
	assert_non_null(f->engine);
	config.engine = f->engine;
	make_disk(0);
	make_disk(1);
	f->guest = guest_create();
	assert_int_equal(storage_create(f->guest->bus, &config, &f->storage), 0);
	assert_int_equal(storage_attach(f->storage, 0, f->unit[0]), 0);
	return 0;
}

static int tear_down(void **state)
{
	storage_destroy(f->storage);
	guest_destroy(f->guest);
	for (unsigned i = 0; i < 2; i++) {
		scsi_unit_destroy(f->unit[i]);
		assert_int_equal(disk_close(f->disk[i]), 0);
	}
	disk_engine_destroy(f->engine);
	folder_remove(f->dir);
	free(f);
	return 0;
}

/* ---- A driver -------------------------------------------------------------------------------- */

static void take(struct guest_channel *c, uint64_t transaction, struct storage_packet *p)
{
	struct vmbus_descriptor d;

	guest_await_packet(c, &d, p, sizeof(*p));
	assert_int_equal(d.type, VMBUS_PACKET_COMPLETION);
	assert_int_equal(d.transaction, transaction);
	assert_int_equal(p->operation, STORAGE_COMPLETE_IO);
}

/* Sends a packet without data and takes its answer, whose status this returns. */
static uint32_t operate(struct guest_channel *c, struct storage_packet *p)
{
	assert_true(guest_send(
		c, VMBUS_PACKET_INBAND, VMBUS_PACKET_WANTS_COMPLETION, 77, NULL, 0, p, sizeof(*p)));
	take(c, 77, p);
	return p->status;
}

static uint32_t simple(struct guest_channel *c, uint32_t operation)
{
	struct storage_packet p = {.operation = operation};

	return operate(c, &p);
}

static uint32_t query_version(struct guest_channel *c, uint16_t version)
{
	struct storage_packet p = {.operation = STORAGE_QUERY_PROTOCOL_VERSION};

	p.version.major_minor = version;
	return operate(c, &p);
}

static void initialize(struct guest_channel *c)
{
	struct storage_packet p = {.operation = STORAGE_QUERY_PROPERTIES};

	assert_int_equal(simple(c, STORAGE_BEGIN_INITIALIZATION), STORAGE_SUCCESS);
	assert_int_equal(query_version(c, 0x0700), STORAGE_REVISION_MISMATCH);
	assert_int_equal(query_version(c, STORAGE_VERSION_THRESHOLD), STORAGE_SUCCESS);
	assert_int_equal(operate(c, &p), STORAGE_SUCCESS);
	assert_int_equal(p.properties.max_sub_channels, 3);
	assert_int_equal(p.properties.flags, STORAGE_MULTI_CHANNEL);
	assert_true(p.properties.max_transfer_bytes >= 256 << 10);
	assert_int_equal(simple(c, STORAGE_END_INITIALIZATION), STORAGE_SUCCESS);
}

static void take_look(struct guest_channel *c)
{
	struct vmbus_descriptor d;
	struct storage_packet p;

	guest_await_packet(c, &d, &p, sizeof(p));
	assert_int_equal(d.type, VMBUS_PACKET_INBAND);
	assert_int_equal(d.transaction, 0);
	assert_int_equal(p.operation, STORAGE_ENUMERATE_BUS);
}

static void connect(void)
{
	guest_connect(f->guest, VMBUS_WIN10_5_3, &f->offer);
	guest_open(f->guest, &f->c, &f->offer, 8);
	initialize(&f->c);
}

static void put_srb(struct storage_packet *p, uint8_t lun, const uint8_t *cdb, uint8_t n,
	uint32_t bytes, bool in)
{
	*p = (struct storage_packet){.operation = STORAGE_EXECUTE_SRB, .flags = 1};
	p->srb.length = sizeof(p->srb);
	p->srb.lun = lun;
	p->srb.cdb_length = n;
	p->srb.sense_length = STORAGE_SENSE;
	p->srb.data_in = in;
	p->srb.data_transfer_length = bytes;
	memcpy(p->srb.cdb, cdb, n);
}

/* A command whose data is in @bytes at @gpa, pages in a row. */
static bool send_srb(struct guest_channel *c, uint64_t transaction, struct storage_packet *p,
	uint64_t gpa, uint32_t bytes)
{
	struct {
		struct vmbus_gpa_direct head;
		struct vmbus_gpa_range range;
		uint64_t pfn[64];
	} VMBUS_PACKED direct = {.head.range_count = 1, .range.byte_count = bytes};
	uint32_t pages = (bytes + 4095) / 4096;

	if (!bytes)
		return guest_send(c, VMBUS_PACKET_INBAND, VMBUS_PACKET_WANTS_COMPLETION,
			transaction, NULL, 0, p, sizeof(*p));
	for (uint32_t i = 0; i < pages; i++)
		direct.pfn[i] = gpa / 4096 + i;
	return guest_send(c, VMBUS_PACKET_GPA_DIRECT, VMBUS_PACKET_WANTS_COMPLETION, transaction,
		&direct, 16 + pages * 8, p, sizeof(*p));
}

static void command(uint8_t lun, const uint8_t *cdb, uint8_t n, uint64_t gpa, uint32_t bytes,
	bool in, struct storage_packet *p)
{
	put_srb(p, lun, cdb, n, bytes, in);
	assert_true(send_srb(&f->c, 5, p, gpa, bytes));
	take(&f->c, 5, p);
	assert_int_equal(p->status, STORAGE_SUCCESS);
}

#define CDB(...) ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})

/* ---- What a driver sees ---------------------------------------------------------------------- */

static void test_negotiation(void **state)
{
	connect();
	/* Out of order: refused, and nothing changes. */
	assert_int_equal(simple(&f->c, STORAGE_BEGIN_INITIALIZATION), STORAGE_INVALID_DEVICE_STATE);
	assert_int_equal(query_version(&f->c, 0x0602), STORAGE_INVALID_DEVICE_STATE);
	assert_int_equal(simple(&f->c, 99), STORAGE_INVALID_DEVICE_REQUEST);
	assert_int_equal(simple(&f->c, STORAGE_RESET_BUS), STORAGE_SUCCESS);
	/* Close and open: from the start. */
	guest_close(&f->c);
	guest_open(f->guest, &f->c, &f->offer, 8);
	assert_int_equal(query_version(&f->c, 0x0602), STORAGE_INVALID_DEVICE_STATE);
	initialize(&f->c);
	guest_close(&f->c);
}

static void test_not_before_it_is_ready(void **state)
{
	struct storage_packet p;

	guest_connect(f->guest, VMBUS_WIN10_5_3, &f->offer);
	guest_open(f->guest, &f->c, &f->offer, 8);
	put_srb(&p, 0, CDB(SCSI_TEST_UNIT_READY), 0, false);
	assert_int_equal(operate(&f->c, &p), STORAGE_INVALID_DEVICE_STATE);
	guest_close(&f->c);
}

/*
 * The thread sanitizer: a ring is mapped at one address for the guest and at another for its host,
 * so it takes a guest's pages for unordered with the packet that names them, unless a signal went
 * with that.
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:^test_commands$\n";
}

static void test_commands(void **state)
{
	uint64_t gpa = guest_pages(f->guest, 16);
	uint8_t *ram = guest_at(f->guest, gpa), back[8192];
	struct storage_packet p;

	connect();
	command(0, CDB(SCSI_INQUIRY, 0, 0, 0, 96), gpa, 96, true, &p);
	assert_int_equal(p.srb.srb_status, SRB_STATUS_SUCCESS);
	assert_int_equal(p.srb.data_transfer_length, 96);
	assert_memory_equal(ram + 8, "Msft    Virtual Disk    ", 24);
	/* Data both ways, between the guest's pages and the disk. */
	for (unsigned i = 0; i < 8192; i++)
		ram[i] = (uint8_t)(i * 7 + (i >> 8));
	memcpy(back, ram, 8192);
	command(0, CDB(SCSI_WRITE_10, 0, 0, 0, 1, 0, 0, 0, 16), gpa, 8192, false, &p);
	assert_int_equal(p.srb.srb_status, SRB_STATUS_SUCCESS);
	memset(ram, 0, 8192);
	assert_int_equal(disk_read(f->disk[0], ram, 8192, 256 * 512), 0);
	assert_memory_equal(ram, back, 8192);
	memset(ram, 0, 8192);
	command(0, CDB(SCSI_READ_10, 0, 0, 0, 1, 0, 0, 0, 16), gpa, 8192, true, &p);
	assert_memory_equal(ram, back, 8192);
	/* A failing one has its sense data. */
	command(0, CDB(SCSI_READ_10, 0, 255, 255, 255, 255, 0, 0, 16), gpa, 8192, true, &p);
	assert_int_equal(p.srb.srb_status, SRB_STATUS_ERROR | SRB_STATUS_AUTOSENSE_VALID);
	assert_int_equal(p.srb.scsi_status, SCSI_CHECK_CONDITION);
	assert_int_equal(p.srb.sense_length, SCSI_SENSE);
	assert_int_equal(p.srb.sense[2], SCSI_KEY_ILLEGAL_REQUEST);
	command(0, CDB(SCSI_SYNCHRONIZE_CACHE_10), 0, 0, false, &p);
	assert_int_equal(p.srb.srb_status, SRB_STATUS_SUCCESS);
	guest_close(&f->c);
}

static void test_units(void **state)
{
	uint64_t gpa = guest_pages(f->guest, 1);
	uint8_t *ram = guest_at(f->guest, gpa);
	struct storage_packet p;

	connect();
	command(0, CDB(SCSI_REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 2, 8), gpa, 520, true, &p);
	assert_int_equal(scsi_get32(ram), 8);
	assert_int_equal(p.srb.data_transfer_length, 16);
	/* Nobody there: INQUIRY says so, the rest is not taken. */
	command(7, CDB(SCSI_INQUIRY, 0, 0, 0, 36), gpa, 36, true, &p);
	assert_int_equal(ram[0], 0x7f);
	command(7, CDB(SCSI_TEST_UNIT_READY), 0, 0, false, &p);
	assert_int_equal(p.srb.srb_status, SRB_STATUS_INVALID_LUN);
	command(200, CDB(SCSI_INQUIRY, 0, 0, 0, 36), gpa, 36, true, &p);
	assert_int_equal(p.srb.srb_status, SRB_STATUS_INVALID_LUN);
	/* One comes: the guest is told, and finds it. */
	assert_int_equal(storage_attach(f->storage, 7, f->unit[1]), 0);
	assert_int_equal(storage_attach(f->storage, 7, f->unit[1]), -EEXIST);
	assert_int_equal(storage_attach(f->storage, 64, f->unit[1]), -EINVAL);
	take_look(&f->c);
	command(7, CDB(SCSI_TEST_UNIT_READY), 0, 0, false, &p);
	assert_int_equal(p.srb.srb_status, SRB_STATUS_SUCCESS);
	command(0, CDB(SCSI_REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 2, 8), gpa, 520, true, &p);
	assert_int_equal(scsi_get32(ram), 16);
	assert_int_equal(scsi_get16(ram + 16), 7);
	/* And goes. */
	assert_ptr_equal(storage_detach(f->storage, 7), f->unit[1]);
	assert_null(storage_detach(f->storage, 7));
	take_look(&f->c);
	command(7, CDB(SCSI_TEST_UNIT_READY), 0, 0, false, &p);
	assert_int_equal(p.srb.srb_status, SRB_STATUS_INVALID_LUN);
	guest_close(&f->c);
}

/* Many at once; each is answered once, in whatever order, with its own data. */
static void test_many_in_flight(void **state)
{
	enum { N = 64, ROUNDS = 40 };
	uint64_t gpa = guest_pages(f->guest, N);
	uint8_t *ram = guest_at(f->guest, gpa);
	struct vmbus_descriptor d;
	struct storage_packet p;

	connect();
	for (unsigned round = 0; round < ROUNDS; round++) {
		bool write = round % 2 == 0;
		uint64_t seen = 0;

		for (unsigned i = 0; i < N; i++) {
			memset(ram + i * 4096, write ? (int)(round + i) : 0xee, 4096);
			put_srb(&p, 0,
				CDB(write ? SCSI_WRITE_10 : SCSI_READ_10, 0, 0, 0,
					(uint8_t)(i >> 4), (uint8_t)(i << 4), 0, 0, 8),
				4096, !write);
			/* The ring may be full: then take answers first. */
			while (!send_srb(&f->c, 1 + i, &p, gpa + i * 4096, 4096)) {
				guest_await_packet(&f->c, &d, &p, sizeof(p));
				seen |= 1ull << (d.transaction - 1);
				i--;
				break;
			}
		}
		while (seen != UINT64_MAX) {
			guest_await_packet(&f->c, &d, &p, sizeof(p));
			assert_in_range(d.transaction, 1, N);
			assert_false(seen >> (d.transaction - 1) & 1);
			assert_int_equal(p.srb.srb_status, SRB_STATUS_SUCCESS);
			seen |= 1ull << (d.transaction - 1);
		}
		for (unsigned i = 0; i < N && !write; i++) {
			assert_int_equal(ram[i * 4096], (uint8_t)(round - 1 + i));
			assert_int_equal(ram[i * 4096 + 4095], (uint8_t)(round - 1 + i));
		}
	}
	guest_close(&f->c);
}

/* A unit goes while commands for it are under way: each is answered. */
static void test_detach_under_io(void **state)
{
	enum { N = 48 };
	uint64_t gpa = guest_pages(f->guest, N);
	struct vmbus_descriptor d;
	struct storage_packet p;

	connect();
	for (unsigned round = 0; round < 100; round++) {
		unsigned answered = 0, looks = 0;

		for (unsigned i = 0; i < N; i++) {
			put_srb(&p, 0, CDB(SCSI_WRITE_10, 0, 0, 0, 0, (uint8_t)(i * 4), 0, 0, 8),
				4096, false);
			assert_true(send_srb(&f->c, 1 + i, &p, gpa + i * 4096, 4096));
		}
		assert_ptr_equal(storage_detach(f->storage, 0), f->unit[0]);
		assert_int_equal(storage_attach(f->storage, 0, f->unit[0]), 0);
		while (answered < N || !looks) {
			guest_await_packet(&f->c, &d, &p, sizeof(p));
			if (d.type == VMBUS_PACKET_INBAND) {
				looks++;
				continue;
			}
			answered++;
			assert_true(p.srb.srb_status == SRB_STATUS_SUCCESS ||
				    p.srb.srb_status == SRB_STATUS_INVALID_LUN);
		}
		/* A second look may still come, when the two were told apart. */
		while (guest_receive(&f->c, &d, &p, sizeof(p)))
			assert_int_equal(p.operation, STORAGE_ENUMERATE_BUS);
	}
	guest_close(&f->c);
}

/* The guest closes the channel, or the controller is revoked, while commands are under way. */
static void test_end_under_io(void **state)
{
	uint64_t gpa = guest_pages(f->guest, 32);
	struct storage_packet p;

	connect();
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 32; i++) {
			put_srb(&p, 0, CDB(SCSI_WRITE_10, 0, 0, 0, 0, (uint8_t)(i * 4), 0, 0, 8),
				4096, false);
			assert_true(send_srb(&f->c, 1 + i, &p, gpa + i * 4096, 4096));
		}
		guest_close(&f->c);
		guest_open(f->guest, &f->c, &f->offer, 8);
		initialize(&f->c);
	}
	for (unsigned i = 0; i < 32; i++) {
		put_srb(&p, 0, CDB(SCSI_WRITE_10, 0, 0, 0, 0, (uint8_t)(i * 4), 0, 0, 8), 4096,
			false);
		assert_true(send_srb(&f->c, 1 + i, &p, gpa + i * 4096, 4096));
	}
	storage_destroy(f->storage);
	f->storage = NULL;
}

static void test_sub_channels(void **state)
{
	struct storage_packet p = {.operation = STORAGE_CREATE_SUB_CHANNELS, .sub_channels = 4};
	uint64_t gpa = guest_pages(f->guest, 4);
	struct vmbus_offer_channel offer[3];
	struct guest_channel sub[3];

	connect();
	assert_int_equal(operate(&f->c, &p), STORAGE_INVALID_PARAMETER); /* more than there are */
	p = (struct storage_packet){.operation = STORAGE_CREATE_SUB_CHANNELS, .sub_channels = 3};
	assert_int_equal(operate(&f->c, &p), STORAGE_SUCCESS);
	for (unsigned i = 0; i < 3; i++)
		guest_take(f->guest, VMBUS_OFFER_CHANNEL, &offer[i], sizeof(offer[i]));
	for (unsigned i = 0; i < 3; i++)
		guest_open(f->guest, &sub[i], &offer[i], 4);
	for (unsigned i = 0; i < 3; i++) {
		uint8_t *ram = guest_at(f->guest, gpa + i * 4096);

		assert_int_equal(simple(&sub[i], STORAGE_BEGIN_INITIALIZATION),
			STORAGE_INVALID_DEVICE_STATE);
		put_srb(&p, 0, CDB(SCSI_INQUIRY, 0, 0, 0, 36), 36, true);
		assert_true(send_srb(&sub[i], 9, &p, gpa + i * 4096, 36));
		take(&sub[i], 9, &p);
		assert_memory_equal(ram + 8, "Msft", 4);
	}
	for (unsigned i = 0; i < 3; i++)
		guest_close(&sub[i]);
}

/* ---- Drivers that do it wrong ---------------------------------------------------------------- */

static void test_more_data_than_pages(void **state)
{
	uint64_t gpa = guest_pages(f->guest, 1);
	struct storage_packet p;

	connect();
	put_srb(&p, 0, CDB(SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 16), 8192, true);
	assert_true(send_srb(&f->c, 3, &p, gpa, 4096));
	take(&f->c, 3, &p);
	assert_int_equal(p.srb.srb_status, SRB_STATUS_INVALID_REQUEST);
	/* And none at all, for a command that has data. */
	put_srb(&p, 0, CDB(SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 8), 4096, true);
	assert_true(send_srb(&f->c, 4, &p, 0, 0));
	take(&f->c, 4, &p);
	assert_int_equal(p.srb.srb_status, SRB_STATUS_INVALID_REQUEST);
	guest_close(&f->c);
}

/* The end of a channel whose driver broke the protocol: nothing is answered any more. */
static void assert_ended(void)
{
	struct storage_packet p = {.operation = STORAGE_RESET_BUS};
	struct vmbus_descriptor d;

	guest_send(&f->c, VMBUS_PACKET_INBAND, VMBUS_PACKET_WANTS_COMPLETION, 1, NULL, 0, &p,
		sizeof(p));
	guest_close(&f->c);
	assert_false(guest_receive(&f->c, &d, &p, sizeof(p)));
	guest_open(f->guest, &f->c, &f->offer, 8);
	initialize(&f->c);
	guest_close(&f->c);
}

static void test_short_packet(void **state)
{
	uint8_t few[16] = {STORAGE_EXECUTE_SRB};

	connect();
	guest_send(&f->c, VMBUS_PACKET_INBAND, VMBUS_PACKET_WANTS_COMPLETION, 1, NULL, 0, few,
		sizeof(few));
	assert_ended();
}

static void test_pages_that_are_not_memory(void **state)
{
	struct storage_packet p;

	connect();
	put_srb(&p, 0, CDB(SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 8), 4096, true);
	send_srb(&f->c, 1, &p, 0xfffffffff000, 4096);
	assert_ended();
}

/* Whatever a driver sends in well-formed packets: answered or the channel ends; nothing breaks. */
static void test_any_packet(void **state)
{
	uint64_t gpa = guest_pages(f->guest, 8);
	uint32_t seed = 7;

	connect();
	for (unsigned i = 0; i < 20000; i++) {
		struct storage_packet p, answer;
		uint8_t *bytes = (uint8_t *)&p;
		uint32_t length = i % 3 ? 512 * (1 + i % 16) : 0;
		struct vmbus_descriptor d;

		for (unsigned k = 0; k < sizeof(p); k++) {
			seed = seed * 1664525 + 1013904223;
			bytes[k] = seed >> 24 < 128 ? 0 : (uint8_t)(seed >> 16);
		}
		p.operation = i % 17 ? STORAGE_EXECUTE_SRB : seed >> 28;
		if (p.operation == STORAGE_CREATE_SUB_CHANNELS)
			continue; /* has a test of its own */
		p.srb.lun &= 1;
		p.srb.path = p.srb.target = 0;
		p.srb.data_transfer_length = i % 5 ? length : p.srb.data_transfer_length;
		assert_true(send_srb(&f->c, 1 + i, &p, gpa, length));
		guest_await_packet(&f->c, &d, &answer, sizeof(answer));
		assert_int_equal(d.transaction, 1 + i);
		assert_int_equal(answer.operation, STORAGE_COMPLETE_IO);
	}
	guest_close(&f->c);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_negotiation),
		TEST(test_not_before_it_is_ready),
		TEST(test_commands),
		TEST(test_units),
		TEST(test_many_in_flight),
		TEST(test_detach_under_io),
		TEST(test_end_under_io),
		TEST(test_sub_channels),
		TEST(test_more_data_than_pages),
		TEST(test_short_packet),
		TEST(test_pages_that_are_not_memory),
		TEST(test_any_packet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
