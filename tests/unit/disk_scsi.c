/*
 * disk_scsi.c - SCSI units: what each command answers, and that bad ones answer with sense data and
 * touch nothing.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/scsi.h"
#include "disk/scsi_protocol.h"
#include "folder.h"

#define SIZE (8u << 20)

struct fixture {
	char dir[FOLDER], path[96];
	struct disk_engine *engine;
	struct disk *disk;
	struct disk_queue *queue;
	struct scsi_unit *unit;
	struct scsi_request r;
	bool answered;
	uint8_t data[65536];
};

static struct fixture *f;

static void on_done(struct scsi_request *r)
{
	assert_false(f->answered);
	f->answered = true;
}

/* Runs a command whose buffer is the first @length bytes of f->data, in two pieces. */
static uint8_t command_as(uint64_t nexus, const uint8_t *cdb, size_t n, uint32_t length)
{
	uint32_t first = length > 1024 ? 512 : length / 2;
	struct iovec iov[2] = {{f->data, first}, {f->data + first, length - first}};

	f->r = (struct scsi_request){
		.iov = iov, .n_iov = 2, .length = length, .nexus = nexus, .done = on_done};
	memcpy(f->r.cdb, cdb, n);
	f->answered = false;
	scsi_submit(f->unit, f->queue, &f->r);
	while (!f->answered)
		assert_int_not_equal(disk_queue_run(f->queue, true), 0);
	return f->r.status;
}

#define CDB(...)	     ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})
#define command(length, ...) command_as(1, CDB(__VA_ARGS__), length)

static void assert_sense(unsigned key, unsigned code)
{
	assert_int_equal(f->r.status, SCSI_CHECK_CONDITION);
	assert_int_equal(f->r.sense_length, SCSI_SENSE);
	assert_int_equal(f->r.sense[0], 0x70);
	assert_int_equal(f->r.sense[2], key);
	assert_int_equal(scsi_get16(f->r.sense + 12), code);
	assert_int_equal(f->r.moved, 0);
}

static struct disk *open_disk(unsigned flags)
{
	struct disk_open_options o = {.flags = flags, .format = DISK_FORMAT_RAW};
	struct disk_problem p = {0};
	struct disk *d;

	assert_int_equal(disk_open(f->engine, f->path, &o, &d, &p), 0);
	return d;
}

static int setup(void **state)
{
	struct disk_create c = {.format = DISK_FORMAT_RAW, .kind = DISK_FIXED, .size = SIZE};
	struct disk_problem p = {0};

	f = calloc(1, sizeof(*f));
	folder_make(f->dir);
	snprintf(f->path, sizeof(f->path), "%s/disk", f->dir);
	f->engine = disk_engine_create(NULL);
	assert_non_null(f->engine);
	assert_int_equal(disk_create(f->engine, f->path, &c, NULL, &p), 0);
	f->queue = disk_queue_create(f->engine, 16);
	assert_non_null(f->queue);
	return 0;
}

static int setup_disk(void **state)
{
	setup(state);
	f->disk = open_disk(DISK_OPEN_WRITE);
	f->unit = scsi_disk_create(f->disk, NULL);
	assert_non_null(f->unit);
	return 0;
}

static int setup_read_only(void **state)
{
	struct scsi_disk_options o = {.read_only = true, .serial = "PARTITA-7"};

	setup(state);
	f->disk = open_disk(0);
	f->unit = scsi_disk_create(f->disk, &o);
	assert_non_null(f->unit);
	return 0;
}

static int setup_dvd(void **state)
{
	setup(state);
	f->disk = open_disk(0);
	f->unit = scsi_dvd_create(f->disk);
	assert_non_null(f->unit);
	return 0;
}

static int teardown(void **state)
{
	scsi_unit_destroy(f->unit);
	disk_queue_destroy(f->queue);
	disk_close(f->disk);
	disk_engine_destroy(f->engine);
	folder_remove(f->dir);
	free(f);
	return 0;
}

static void fill(uint8_t seed, size_t n)
{
	for (size_t i = 0; i < n; i++)
		f->data[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

/* Does the disk hold at @offset what fill(seed) makes? */
static void assert_on_disk(uint8_t seed, size_t n, uint64_t offset)
{
	uint8_t *got = malloc(n);

	assert_int_equal(disk_read(f->disk, got, n, offset), 0);
	fill(seed, n);
	assert_memory_equal(got, f->data, n);
	free(got);
}

static void assert_zero_on_disk(size_t n, uint64_t offset)
{
	uint8_t *got = malloc(n);

	assert_int_equal(disk_read(f->disk, got, n, offset), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(got[i], 0);
	free(got);
}

/* ---- What it is ----------------------------------------------------------------------------- */

static void test_inquiry(void **state)
{
	assert_int_equal(command(255, SCSI_INQUIRY, 0, 0, 0, 255), SCSI_GOOD);
	assert_int_equal(f->r.moved, 104);
	assert_int_equal(f->data[0], 0);
	assert_int_equal(f->data[2], 5);
	assert_int_equal(f->data[4], 99);
	assert_memory_equal(f->data + 8, "Msft    Virtual Disk    1.0 ", 28);
	/* No more than the command allows, and than there is room for. */
	assert_int_equal(command(255, SCSI_INQUIRY, 0, 0, 0, 5), SCSI_GOOD);
	assert_int_equal(f->r.moved, 5);
	assert_int_equal(command(4, SCSI_INQUIRY, 0, 0, 0, 255), SCSI_GOOD);
	assert_int_equal(f->r.moved, 4);
	/* A page without the bit that asks for one. */
	command(255, SCSI_INQUIRY, 0, 0x83, 0, 255);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
	command(255, SCSI_INQUIRY, 1, 0x99, 0, 255);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
	command(255, SCSI_INQUIRY, 1, SCSI_VPD_SERIAL, 0, 255);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
}

static void test_vital_pages(void **state)
{
	static const uint8_t supported[] = {0, 0, 0, 7, 0x00, 0x83, 0xb0, 0xb1, 0xb2, 0xce, 0xcf};

	assert_int_equal(command(255, SCSI_INQUIRY, 1, 0, 0, 255), SCSI_GOOD);
	assert_int_equal(f->r.moved, sizeof(supported));
	assert_memory_equal(f->data, supported, sizeof(supported));
	for (size_t i = 5; i < sizeof(supported); i++) {
		assert_int_equal(command(255, SCSI_INQUIRY, 1, supported[i], 0, 255), SCSI_GOOD);
		assert_int_equal(f->data[1], supported[i]);
		assert_int_equal(f->r.moved, scsi_get16(f->data + 2) + 4u);
	}
	command(255, SCSI_INQUIRY, 1, SCSI_VPD_IDENTIFICATION, 0, 255);
	assert_memory_equal(f->data + 8, "Msft    ", 8);
	assert_int_equal(f->data[4 + 28 + 4], 0x60);
	command(255, SCSI_INQUIRY, 1, SCSI_VPD_BLOCK_LIMITS, 0, 255);
	assert_int_equal(scsi_get32(f->data + 20), UINT32_MAX);
	assert_int_equal(scsi_get64(f->data + 36), (8 << 20) / 512);
	command(255, SCSI_INQUIRY, 1, SCSI_VPD_PROVISIONING, 0, 255);
	assert_int_equal(f->data[5], 0xe4);
}

static void test_read_only(void **state)
{
	assert_int_equal(command(255, SCSI_INQUIRY, 1, SCSI_VPD_SERIAL, 0, 255), SCSI_GOOD);
	assert_int_equal(f->r.moved, 4 + 9);
	assert_memory_equal(f->data + 4, "PARTITA-7", 9);
	assert_int_equal(command(64, SCSI_MODE_SENSE_6, 0, 0x08, 0, 64), SCSI_GOOD);
	assert_int_equal(f->data[2], 0x90);
	fill(1, 512);
	command(512, SCSI_WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1);
	assert_sense(SCSI_KEY_DATA_PROTECT, SCSI_WRITE_PROTECTED);
	command(512, SCSI_WRITE_SAME_10, 0, 0, 0, 0, 0, 0, 0, 1);
	assert_sense(SCSI_KEY_DATA_PROTECT, SCSI_WRITE_PROTECTED);
	command(24, SCSI_UNMAP, 0, 0, 0, 0, 0, 0, 0, 24);
	assert_sense(SCSI_KEY_DATA_PROTECT, SCSI_WRITE_PROTECTED);
	assert_zero_on_disk(512, 0);
}

static void test_capacity(void **state)
{
	assert_int_equal(command(8, SCSI_READ_CAPACITY_10, 0), SCSI_GOOD);
	assert_int_equal(scsi_get32(f->data), SIZE / 512 - 1);
	assert_int_equal(scsi_get32(f->data + 4), 512);
	assert_int_equal(
		command(32, SCSI_SERVICE_ACTION_IN_16, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32),
		SCSI_GOOD);
	assert_int_equal(scsi_get64(f->data), SIZE / 512 - 1);
	assert_int_equal(f->data[14], 0xc0);
	command(32, SCSI_SERVICE_ACTION_IN_16, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
}

static void test_resize(void **state)
{
	struct disk_problem p = {0};

	assert_int_equal(command(0, SCSI_TEST_UNIT_READY), SCSI_GOOD);
	assert_int_equal(disk_resize(f->disk, 2 * SIZE, false, &p), 0);
	/* INQUIRY does not mind; the next other command is told, once. */
	assert_int_equal(command(255, SCSI_INQUIRY, 0, 0, 0, 255), SCSI_GOOD);
	command(0, SCSI_TEST_UNIT_READY);
	assert_sense(SCSI_KEY_UNIT_ATTENTION, SCSI_CAPACITY_CHANGED);
	assert_int_equal(command(8, SCSI_READ_CAPACITY_10), SCSI_GOOD);
	assert_int_equal(scsi_get32(f->data), 2 * SIZE / 512 - 1);
	/* REQUEST SENSE tells what waits, too. */
	assert_int_equal(disk_resize(f->disk, SIZE, true, &p), 0);
	assert_int_equal(command(18, SCSI_REQUEST_SENSE, 0, 0, 0, 18), SCSI_GOOD);
	assert_int_equal(f->data[2], SCSI_KEY_UNIT_ATTENTION);
	assert_int_equal(scsi_get16(f->data + 12), SCSI_CAPACITY_CHANGED);
	assert_int_equal(command(0, SCSI_TEST_UNIT_READY), SCSI_GOOD);
}

static void test_unknown(void **state)
{
	command(0, 0xff);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_OPCODE);
	assert_int_equal(command(18, SCSI_REQUEST_SENSE, 0, 0, 0, 18), SCSI_GOOD);
	assert_int_equal(f->data[2], 0);
}

/* ---- Moving data ---------------------------------------------------------------------------- */

static void test_read_write(void **state)
{
	fill(3, 4096);
	assert_int_equal(command(4096, SCSI_WRITE_10, 0, 0, 0, 0, 16, 0, 0, 8), SCSI_GOOD);
	assert_int_equal(f->r.moved, 4096);
	assert_on_disk(3, 4096, 16 * 512);
	fill(4, 512);
	assert_int_equal(command(512, SCSI_WRITE_6, 0, 0, 40, 1), SCSI_GOOD);
	assert_on_disk(4, 512, 40 * 512);
	fill(5, 1024);
	assert_int_equal(
		command(1024, SCSI_WRITE_12, 8 /* FUA */, 0, 0, 0, 50, 0, 0, 0, 2), SCSI_GOOD);
	assert_on_disk(5, 1024, 50 * 512);
	fill(6, 1024);
	assert_int_equal(
		command(1024, SCSI_WRITE_16, 0, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 2), SCSI_GOOD);
	assert_on_disk(6, 1024, 60 * 512);
	fill(7, 512);
	assert_int_equal(command(512, SCSI_WRITE_VERIFY_10, 0, 0, 0, 0, 70, 0, 0, 1), SCSI_GOOD);
	assert_on_disk(7, 512, 70 * 512);

	memset(f->data, 0xee, 8192);
	assert_int_equal(command(8192, SCSI_READ_10, 0, 0, 0, 0, 16, 0, 0, 8), SCSI_GOOD);
	assert_int_equal(f->r.moved, 4096);
	assert_int_equal(f->data[4096], 0xee); /* the rest of the buffer is left alone */
	assert_on_disk(3, 4096, 16 * 512);
	assert_int_equal(command(1024, SCSI_READ_12, 0, 0, 0, 0, 50, 0, 0, 0, 2), SCSI_GOOD);
	assert_int_equal(
		command(1024, SCSI_READ_16, 0, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 2), SCSI_GOOD);
	assert_int_equal(f->data[1], (uint8_t)(6 + 7));
}

/* READ(6) with no count means 256 blocks; in the long forms it means none. */
static void test_read_6_count(void **state)
{
	assert_int_equal(command(65536, SCSI_READ_6, 0, 0, 0, 128), SCSI_GOOD);
	assert_int_equal(f->r.moved, 65536);
	command(65536, SCSI_READ_6, 0, 0, 0, 0); /* 256 blocks */
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
	assert_int_equal(command(65536, SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 0), SCSI_GOOD);
	assert_int_equal(f->r.moved, 0);
}

static void test_bad_ranges(void **state)
{
	uint32_t last = SIZE / 512;

	command(512, SCSI_READ_10, 0, 0, last >> 16, last >> 8 & 255, last & 255, 0, 0, 1);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
	command(512, SCSI_READ_16, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 1);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
	command(512, SCSI_WRITE_16, 0, 0, 0, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
	command(512, SCSI_WRITE_10, 0, 0, 0, 0, 0, 0, 0, 2); /* more than the buffer holds */
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
	command(0, SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 1);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
}

static void test_flush(void **state)
{
	assert_int_equal(command(0, SCSI_SYNCHRONIZE_CACHE_10), SCSI_GOOD);
	assert_int_equal(command(0, SCSI_SYNCHRONIZE_CACHE_16), SCSI_GOOD);
	command(0, SCSI_SYNCHRONIZE_CACHE_10, 0, 255, 255, 255, 255);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
	assert_int_equal(command(0, SCSI_START_STOP_UNIT, 0, 0, 0, 0), SCSI_GOOD);
	assert_int_equal(command(0, SCSI_START_STOP_UNIT, 0, 0, 0, 1), SCSI_GOOD);
	command(0, SCSI_START_STOP_UNIT, 1, 0, 0, 1);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
}

static void unmap_list(unsigned n, const uint64_t (*ranges)[2])
{
	memset(f->data, 0, 8 + n * 16);
	scsi_put16(f->data, (uint16_t)(6 + n * 16));
	scsi_put16(f->data + 2, (uint16_t)(n * 16));
	for (unsigned i = 0; i < n; i++) {
		scsi_put64(f->data + 8 + i * 16, ranges[i][0]);
		scsi_put32(f->data + 16 + i * 16, (uint32_t)ranges[i][1]);
	}
}

static void test_unmap(void **state)
{
	const uint64_t good[][2] = {{0, 8}, {16, 0}, {24, 8}};
	const uint64_t bad[][2] = {{0, 8}, {SIZE / 512 - 1, 2}};

	fill(9, 16384);
	assert_int_equal(disk_write(f->disk, f->data, 16384, 0), 0);
	unmap_list(3, good);
	assert_int_equal(command(56, SCSI_UNMAP, 0, 0, 0, 0, 0, 0, 0, 56), SCSI_GOOD);
	assert_zero_on_disk(4096, 0);
	assert_zero_on_disk(4096, 12288);
	/* One bad range, and nothing is done. */
	fill(9, 16384);
	assert_int_equal(disk_write(f->disk, f->data, 16384, 0), 0);
	unmap_list(2, bad);
	command(40, SCSI_UNMAP, 0, 0, 0, 0, 0, 0, 0, 40);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
	assert_on_disk(9, 16384, 0);
	/* A list that claims more than was sent is cut; one that is shorter than its head is
	 * refused. */
	unmap_list(3, good);
	assert_int_equal(command(24, SCSI_UNMAP, 0, 0, 0, 0, 0, 0, 0, 24), SCSI_GOOD);
	assert_zero_on_disk(4096, 0);
	command(4, SCSI_UNMAP, 0, 0, 0, 0, 0, 0, 0, 4);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH);
	command(8, SCSI_UNMAP, 0, 0, 0, 0, 0, 0, 255, 255);
	assert_int_equal(f->r.status, SCSI_CHECK_CONDITION);
	assert_int_equal(command(0, SCSI_UNMAP), SCSI_GOOD);
}

static void test_write_same(void **state)
{
	uint8_t *got = malloc(3 << 20);

	fill(11, 512);
	assert_int_equal(
		command(512, SCSI_WRITE_SAME_10, 0, 0, 0, 0, 8, 0, 0x18, 0), SCSI_GOOD); /* 3 MiB */
	assert_int_equal(disk_read(f->disk, got, 3 << 20, 8 * 512), 0);
	for (unsigned i = 0; i < (3 << 20) / 512; i++)
		assert_memory_equal(got + i * 512, f->data, 512);
	/* Zeros over a part of it; without data at all; and with UNMAP. */
	memset(f->data, 0, 512);
	assert_int_equal(command(512, SCSI_WRITE_SAME_10, 0, 0, 0, 0, 8, 0, 0, 8), SCSI_GOOD);
	assert_int_equal(
		command(0, SCSI_WRITE_SAME_16, 1, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 8), SCSI_GOOD);
	assert_int_equal(command(512, SCSI_WRITE_SAME_16, 8, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 8),
		SCSI_GOOD);
	assert_zero_on_disk(3 * 4096, 8 * 512);
	fill(11, 512);
	assert_int_equal(disk_read(f->disk, got, 512, 32 * 512), 0);
	assert_memory_equal(got, f->data, 512);
	command(100, SCSI_WRITE_SAME_10, 0, 0, 0, 0, 8, 0, 0, 8); /* less than a block */
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
	free(got);
}

static void test_verify(void **state)
{
	fill(13, 8192);
	assert_int_equal(disk_write(f->disk, f->data, 8192, 4096), 0);
	assert_int_equal(command(8192, SCSI_VERIFY_10, 2, 0, 0, 0, 8, 0, 0, 16), SCSI_GOOD);
	f->data[8191] ^= 1;
	command(8192, SCSI_VERIFY_10, 2, 0, 0, 0, 8, 0, 0, 16);
	assert_sense(SCSI_KEY_MISCOMPARE, SCSI_MISCOMPARE);
	assert_int_equal(
		command(0, SCSI_VERIFY_16, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 16), SCSI_GOOD);
	command(0, SCSI_VERIFY_16, 0, 255, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 16);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
}

/* ---- Modes ---------------------------------------------------------------------------------- */

static void test_mode(void **state)
{
	assert_int_equal(command(64, SCSI_MODE_SENSE_6, 0, 0x3f, 0, 64), SCSI_GOOD);
	assert_int_equal(f->r.moved, 24);
	assert_int_equal(f->data[0], 23);
	assert_int_equal(f->data[2], 0x10);
	assert_int_equal(f->data[4], 0x08);
	assert_int_equal(f->data[6], 0x04); /* the write cache is on */
	assert_int_equal(command(64, SCSI_MODE_SENSE_10, 0, 0x08, 0, 0, 0, 0, 0, 64), SCSI_GOOD);
	assert_int_equal(f->r.moved, 28);
	assert_int_equal(scsi_get16(f->data), 26);
	/* What was read may be set again; to turn the cache off is refused. */
	assert_int_equal(command(28, SCSI_MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, 0, 28), SCSI_GOOD);
	f->data[10] = 0;
	command(28, SCSI_MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, 0, 28);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_LIST);
	command(28, SCSI_MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, 0, 200);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH);
	f->data[7] = 255; /* block descriptors to beyond the list's end */
	command(28, SCSI_MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, 0, 28);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH);
	assert_int_equal(command(64, SCSI_MODE_SENSE_6, 0, 0x48, 0, 64), SCSI_GOOD);
	assert_int_equal(f->data[6], 0); /* nothing can be changed */
	command(64, SCSI_MODE_SENSE_6, 0, 0xc8, 0, 64);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
	command(64, SCSI_MODE_SENSE_6, 0, 0x1c, 0, 64);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
}

/* ---- Reservations --------------------------------------------------------------------------- */

static uint8_t reserve(uint64_t nexus, uint8_t action, uint8_t type, uint64_t key, uint64_t new_key)
{
	memset(f->data, 0, 24);
	scsi_put64(f->data, key);
	scsi_put64(f->data + 8, new_key);
	return command_as(
		nexus, CDB(SCSI_PERSISTENT_RESERVE_OUT, action, type, 0, 0, 0, 0, 0, 24), 24);
}

static uint8_t write_as(uint64_t nexus)
{
	return command_as(nexus, CDB(SCSI_WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1), 512);
}

static uint8_t read_as(uint64_t nexus)
{
	return command_as(nexus, CDB(SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 1), 512);
}

static void test_persistent_reservations(void **state)
{
	/* Only who is registered may reserve, and with the right key. */
	assert_int_equal(reserve(1, 1, 1, 0xa, 0), SCSI_RESERVATION_CONFLICT);
	assert_int_equal(reserve(1, 0, 0, 0, 0xa), SCSI_GOOD);
	assert_int_equal(reserve(1, 0, 0, 0xb, 0xc), SCSI_RESERVATION_CONFLICT);
	assert_int_equal(reserve(2, 6, 0, 0, 0xb), SCSI_GOOD);
	assert_int_equal(
		command(64, SCSI_PERSISTENT_RESERVE_IN, 0, 0, 0, 0, 0, 0, 0, 64), SCSI_GOOD);
	assert_int_equal(f->r.moved, 24);
	assert_int_equal(scsi_get32(f->data), 2);
	assert_int_equal(scsi_get64(f->data + 8), 0xa);
	assert_int_equal(scsi_get64(f->data + 16), 0xb);
	assert_int_equal(reserve(1, 1, 9, 0xa, 0), SCSI_CHECK_CONDITION);
	/* Write exclusive: others read. */
	assert_int_equal(reserve(1, 1, 1, 0xa, 0), SCSI_GOOD);
	assert_int_equal(write_as(1), SCSI_GOOD);
	assert_int_equal(write_as(2), SCSI_RESERVATION_CONFLICT);
	assert_int_equal(read_as(2), SCSI_GOOD);
	assert_int_equal(reserve(2, 1, 3, 0xb, 0), SCSI_RESERVATION_CONFLICT);
	assert_int_equal(
		command(64, SCSI_PERSISTENT_RESERVE_IN, 1, 0, 0, 0, 0, 0, 0, 64), SCSI_GOOD);
	assert_int_equal(f->r.moved, 24);
	assert_int_equal(scsi_get64(f->data + 8), 0xa);
	assert_int_equal(f->data[21], 1);
	/* Released with another type: an error. With its own: free. */
	assert_int_equal(reserve(1, 2, 3, 0xa, 0), SCSI_CHECK_CONDITION);
	assert_int_equal(reserve(1, 2, 1, 0xa, 0), SCSI_GOOD);
	assert_int_equal(write_as(2), SCSI_GOOD);
	/* Exclusive access, registrants only: those who are not registered do nothing. */
	assert_int_equal(reserve(1, 1, 6, 0xa, 0), SCSI_GOOD);
	assert_int_equal(write_as(2), SCSI_GOOD);
	assert_int_equal(read_as(3), SCSI_RESERVATION_CONFLICT);
	/* Preempted: the first loses its key. */
	assert_int_equal(reserve(2, 4, 3, 0xb, 0xa), SCSI_GOOD);
	assert_int_equal(read_as(1), SCSI_RESERVATION_CONFLICT);
	assert_int_equal(reserve(1, 2, 6, 0xa, 0), SCSI_RESERVATION_CONFLICT);
	/* The holder unregisters: over. */
	assert_int_equal(reserve(2, 0, 0, 0xb, 0), SCSI_GOOD);
	assert_int_equal(write_as(1), SCSI_GOOD);
	/* Asking for what is not offered. */
	memset(f->data, 0, 24);
	f->data[20] = 1;
	command(24, SCSI_PERSISTENT_RESERVE_OUT, 0, 0, 0, 0, 0, 0, 0, 24);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_LIST);
	command(23, SCSI_PERSISTENT_RESERVE_OUT, 0, 0, 0, 0, 0, 0, 0, 23);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH);
}

/* What is released while others are registered is told to them. */
static void test_reservation_attention(void **state)
{
	assert_int_equal(reserve(1, 0, 0, 0, 0xa), SCSI_GOOD);
	assert_int_equal(reserve(2, 0, 0, 0, 0xb), SCSI_GOOD);
	assert_int_equal(reserve(1, 1, 7, 0xa, 0), SCSI_GOOD);
	assert_int_equal(reserve(1, 2, 7, 0xa, 0), SCSI_GOOD);
	read_as(2);
	assert_sense(SCSI_KEY_UNIT_ATTENTION, SCSI_RESERVATIONS_RELEASED);
	assert_int_equal(read_as(2), SCSI_GOOD);
	assert_int_equal(read_as(1), SCSI_GOOD);
}

static void test_registrations_full(void **state)
{
	for (uint64_t i = 0; i < 64; i++)
		assert_int_equal(reserve(100 + i, 0, 0, 0, 1 + i), SCSI_GOOD);
	reserve(99, 0, 0, 0, 1);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INSUFFICIENT_REGISTRATION);
	assert_int_equal(
		command(65535, SCSI_PERSISTENT_RESERVE_IN, 3, 0, 0, 0, 0, 0, 255, 255), SCSI_GOOD);
	assert_int_equal(f->r.moved, 8 + 64 * 24);
}

static void test_reserve_6(void **state)
{
	assert_int_equal(command_as(1, CDB(SCSI_RESERVE_6), 0), SCSI_GOOD);
	assert_int_equal(read_as(2), SCSI_RESERVATION_CONFLICT);
	assert_int_equal(command_as(2, CDB(SCSI_RELEASE_6), 0), SCSI_GOOD);
	assert_int_equal(read_as(2), SCSI_RESERVATION_CONFLICT);
	assert_int_equal(command_as(2, CDB(SCSI_INQUIRY, 0, 0, 0, 36), 36), SCSI_GOOD);
	scsi_reset(f->unit);
	assert_int_equal(read_as(2), SCSI_GOOD);
}

/* ---- DVD ------------------------------------------------------------------------------------ */

static void test_dvd(void **state)
{
	assert_int_equal(command(36, SCSI_INQUIRY, 0, 0, 0, 36), SCSI_GOOD);
	assert_int_equal(f->data[0], 5);
	assert_int_equal(f->data[1], 0x80);
	assert_memory_equal(f->data + 8, "Msft    Virtual DVD-ROM 1.0 ", 28);
	assert_int_equal(command(8, SCSI_READ_CAPACITY_10), SCSI_GOOD);
	assert_int_equal(scsi_get32(f->data), SIZE / 2048 - 1);
	assert_int_equal(scsi_get32(f->data + 4), 2048);
	assert_int_equal(command(4096, SCSI_READ_10, 0, 0, 0, 0, 3, 0, 0, 2), SCSI_GOOD);
	assert_int_equal(f->r.moved, 4096);
	assert_int_equal(command(20, SCSI_READ_TOC, 0, 0, 0, 0, 0, 0, 0, 20), SCSI_GOOD);
	assert_int_equal(scsi_get32(f->data + 16), SIZE / 2048);
	assert_int_equal(command(20, SCSI_READ_TOC, 2, 0, 0, 0, 0, 0, 0, 20), SCSI_GOOD);
	assert_int_equal(scsi_get32(f->data + 8), 0x0200);
	assert_int_equal(command(256, SCSI_GET_CONFIGURATION, 0, 0, 0, 0, 0, 0, 1, 0), SCSI_GOOD);
	assert_int_equal(scsi_get16(f->data + 6), 0x10);
	assert_int_equal(scsi_get32(f->data) + 4, f->r.moved);
	assert_int_equal(command(64, SCSI_GET_CONFIGURATION, 2, 0, 3, 0, 0, 0, 0, 64), SCSI_GOOD);
	assert_int_equal(f->r.moved, 16);
	command(0, SCSI_WRITE_10);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_OPCODE);
}

static void test_dvd_eject(void **state)
{
	struct disk *old;

	/* Locked by the guest: only force takes the medium out. */
	assert_int_equal(command(0, SCSI_PREVENT_ALLOW_REMOVAL, 0, 0, 0, 1), SCSI_GOOD);
	command(0, SCSI_START_STOP_UNIT, 0, 0, 0, 2);
	assert_sense(SCSI_KEY_ILLEGAL_REQUEST, SCSI_REMOVAL_PREVENTED);
	assert_int_equal(scsi_dvd_insert(f->unit, NULL, false, &old), -EBUSY);
	assert_int_equal(scsi_dvd_insert(f->unit, NULL, true, &old), 0);
	assert_ptr_equal(old, f->disk);
	command(0, SCSI_TEST_UNIT_READY);
	assert_sense(SCSI_KEY_NOT_READY, SCSI_NO_MEDIUM_TRAY_OPEN);
	assert_int_equal(command(8, SCSI_GET_EVENT_STATUS, 1, 0, 0, 0x10, 0, 0, 0, 8), SCSI_GOOD);
	assert_int_equal(f->data[2], 4);
	assert_int_equal(f->data[4], 3); /* removed */
	assert_int_equal(f->data[5], 1); /* the tray is open, without a medium */
	/* Back in: told once, in both ways. */
	assert_int_equal(scsi_dvd_insert(f->unit, f->disk, false, &old), 0);
	assert_null(old);
	command(0, SCSI_TEST_UNIT_READY);
	assert_sense(SCSI_KEY_UNIT_ATTENTION, SCSI_MEDIUM_CHANGED);
	assert_int_equal(command(0, SCSI_TEST_UNIT_READY), SCSI_GOOD);
	assert_int_equal(command(8, SCSI_GET_EVENT_STATUS, 1, 0, 0, 0x10, 0, 0, 0, 8), SCSI_GOOD);
	assert_int_equal(f->data[4], 2);
	assert_int_equal(f->data[5], 2);
	assert_int_equal(command(8, SCSI_GET_EVENT_STATUS, 1, 0, 0, 0x10, 0, 0, 0, 8), SCSI_GOOD);
	assert_int_equal(f->data[4], 0);
	/* The guest ejects. */
	assert_int_equal(command(0, SCSI_START_STOP_UNIT, 0, 0, 0, 2), SCSI_GOOD);
	assert_null(scsi_dvd_medium(f->unit));
	command(2048, SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 1);
	assert_sense(SCSI_KEY_NOT_READY, SCSI_NO_MEDIUM_TRAY_OPEN);
	assert_int_equal(command(0, SCSI_START_STOP_UNIT, 0, 0, 0, 3), SCSI_GOOD);
	command(0, SCSI_TEST_UNIT_READY);
	assert_sense(SCSI_KEY_NOT_READY, SCSI_NO_MEDIUM_TRAY_CLOSED);
}

/* Whatever bytes a guest sends as a command: it is answered, once, and nothing is overrun. */
static void test_any_command(void **state)
{
	uint32_t seed = 1;

	for (unsigned i = 0; i < 200000; i++) {
		uint8_t cdb[SCSI_CDB];

		for (unsigned k = 0; k < sizeof(cdb); k++) {
			seed = seed * 1664525 + 1013904223;
			cdb[k] = seed >> 24 < 96 ? 0 : (uint8_t)(seed >> 16);
		}
		cdb[0] = (uint8_t)(i >> 2);
		/* One round in two the lengths are small, so that more gets past the checks. */
		if (i & 1)
			memset(cdb + 2, 0, 4);
		command_as(i & 3, cdb, sizeof(cdb), i % 5 ? 512 * (i % 5) : 0);
		assert_true(f->r.moved <= f->r.length || f->r.status == SCSI_GOOD);
	}
}

#define DISK_TEST(t) cmocka_unit_test_setup_teardown(t, setup_disk, teardown)
#define DVD_TEST(t)  cmocka_unit_test_setup_teardown(t, setup_dvd, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_TEST(test_inquiry),
		DISK_TEST(test_vital_pages),
		cmocka_unit_test_setup_teardown(test_read_only, setup_read_only, teardown),
		DISK_TEST(test_capacity),
		DISK_TEST(test_resize),
		DISK_TEST(test_unknown),
		DISK_TEST(test_read_write),
		DISK_TEST(test_read_6_count),
		DISK_TEST(test_bad_ranges),
		DISK_TEST(test_flush),
		DISK_TEST(test_unmap),
		DISK_TEST(test_write_same),
		DISK_TEST(test_verify),
		DISK_TEST(test_mode),
		DISK_TEST(test_persistent_reservations),
		DISK_TEST(test_reservation_attention),
		DISK_TEST(test_registrations_full),
		DISK_TEST(test_reserve_6),
		DVD_TEST(test_dvd),
		DVD_TEST(test_dvd_eject),
		DISK_TEST(test_any_command),
		DVD_TEST(test_any_command),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
