/*
 * vhdx_replay.c - logs that were left in a VHDX file: which entries count, and that they are done
 * in the file or, read-only, in memory. Each log is written by hand.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/guid.h"
#include "disk/vhdx.h"
#include "vhdx_image.h"
#include "winerror.h"

#define IMAGE	   "disk.vhdx"
#define SECTOR	   VHDX_LOG_SECTOR
#define LOG_LENGTH ((uint32_t)MIB)

/* Where the tests' entries write: a user item's place, in the metadata region. */
#define TARGET (IMAGE_METADATA + 512 * 1024)

static const GUID log_id = {1, 2, 3, {4}};

/* ---- Logs made by hand ----------------------------------------------------------------------- */

/* An entry under construction. */
struct entry {
	uint32_t at, tail; /* in the log */
	uint64_t sequence;
	uint64_t flushed, last; /* lengths of the file */
	unsigned n;
	struct vhdx_log_descriptor d[200];
	uint8_t data[200][SECTOR]; /* of those with data */
};

static struct entry *entry_new(uint32_t at, uint32_t tail, uint64_t sequence)
{
	struct entry *e = calloc(1, sizeof(*e));

	e->at = at;
	e->tail = tail;
	e->sequence = sequence;
	e->flushed = e->last = IMAGE_BLOCKS;
	return e;
}

static void add_data(struct entry *e, uint64_t offset, uint8_t fill)
{
	struct vhdx_log_descriptor *d = &e->d[e->n];

	d->signature = VHDX_LOG_DATA_SIGNATURE;
	d->offset = offset;
	memset(e->data[e->n], fill, SECTOR);
	memset(&d->leading, fill, sizeof(d->leading));
	memset(&d->trailing, fill, sizeof(d->trailing));
	e->n++;
}

static void add_zeros(struct entry *e, uint64_t offset, uint64_t length)
{
	e->d[e->n] = (struct vhdx_log_descriptor){
		.signature = VHDX_LOG_ZERO_SIGNATURE,
		.offset = offset,
		.length = length,
	};
	e->n++;
}

/* Bytes of the log, which goes round. */
static void poke_log(struct images *m, uint32_t at, const uint8_t *bytes, uint32_t n)
{
	for (uint32_t done = 0; done < n; done += SECTOR)
		image_poke(m, IMAGE, IMAGE_LOG + (at + done) % LOG_LENGTH, bytes + done, SECTOR);
}

/* Write and free the entry; returns where the next one goes. */
static uint32_t entry_put(struct images *m, struct entry *e)
{
	uint32_t head = (sizeof(struct vhdx_log_header) + e->n * sizeof(e->d[0]) + SECTOR - 1) /
			SECTOR * SECTOR;
	uint8_t *bytes = calloc(1, head + sizeof(e->data));
	struct vhdx_log_header *h = (void *)bytes;
	uint32_t length = head;

	for (unsigned i = 0; i < e->n; i++) {
		struct vhdx_log_sector *s = (void *)(bytes + length);

		e->d[i].sequence = e->sequence;
		if (e->d[i].signature != VHDX_LOG_DATA_SIGNATURE)
			continue;
		memcpy(s, e->data[i], SECTOR);
		s->signature = VHDX_LOG_SECTOR_SIGNATURE;
		s->sequence_high = e->sequence >> 32;
		s->sequence_low = e->sequence;
		length += SECTOR;
	}
	*h = (struct vhdx_log_header){
		.signature = VHDX_LOG_ENTRY_SIGNATURE,
		.length = length,
		.tail = e->tail,
		.sequence = e->sequence,
		.descriptors = e->n,
		.log = log_id,
		.flushed_file_offset = e->flushed,
		.last_file_offset = e->last,
	};
	memcpy(h + 1, e->d, e->n * sizeof(e->d[0]));
	h->checksum = vhdx_checksum(bytes, length);
	poke_log(m, e->at, bytes, length);
	length = (e->at + length) % LOG_LENGTH;
	free(bytes);
	free(e);
	return length;
}

/* An entry with one sector of @fill for @target. */
static uint32_t put_simple(struct images *m, uint32_t at, uint32_t tail, uint64_t sequence,
	uint64_t target, uint8_t fill)
{
	struct entry *e = entry_new(at, tail, sequence);

	add_data(e, target, fill);
	return entry_put(m, e);
}

/* A sound file whose header says that there is a log. */
static void make(struct images *m)
{
	struct vhdx_header h;

	image_make(m, IMAGE);
	for (unsigned i = 0; i < 2; i++) {
		image_get_header(m, IMAGE, i, &h);
		h.log = log_id;
		image_set_header(m, IMAGE, i, &h);
	}
}

/* ---- Looking --------------------------------------------------------------------------------- */

static void *contents(struct images *m, size_t *n)
{
	struct stat st;
	void *bytes;

	assert_int_equal(stat(image_path(m, IMAGE), &st), 0);
	bytes = malloc(st.st_size);
	image_peek(m, IMAGE, 0, bytes, st.st_size);
	*n = st.st_size;
	return bytes;
}

/* What the file's bytes are for a disk that is open. */
static uint8_t byte_at(struct disk *d, uint64_t offset)
{
	uint8_t b;

	assert_int_equal(vhdx_read(vhdx_of(d), &b, 1, offset), 0);
	return b;
}

/*
 * Open read-only and then for writing: each time the sector at TARGET + i * SECTOR must have the
 * byte fills[i]. Read-only nothing of the file changes.
 */
static void expect(struct images *m, const uint8_t *fills, unsigned n)
{
	size_t n_before, n_after;
	uint8_t *before = contents(m, &n_before), *after;
	struct vhdx_header h;
	struct disk_info info;
	struct disk *d;

	for (unsigned write = 0; write < 2; write++) {
		d = image_opened(m, IMAGE, write ? DISK_OPEN_WRITE : 0);
		disk_info(d, &info);
		assert_true(info.has_log);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(byte_at(d, TARGET + i * SECTOR), fills[i]);
			assert_int_equal(byte_at(d, TARGET + i * SECTOR + 7), fills[i]);
			assert_int_equal(byte_at(d, TARGET + i * SECTOR + 8), fills[i]);
			assert_int_equal(byte_at(d, TARGET + i * SECTOR + 4095), fills[i]);
		}
		assert_int_equal(disk_close(d), 0);
		if (write)
			continue;
		after = contents(m, &n_after);
		assert_int_equal(n_after, n_before);
		assert_memory_equal(after, before, n_before);
		free(after);
	}
	for (unsigned i = 0; i < 2; i++) {
		image_get_header(m, IMAGE, i, &h);
		assert_true(guid_is_zero(&h.log));
	}
	for (unsigned i = 0; i < n; i++) {
		uint8_t sector[SECTOR];

		image_peek(m, IMAGE, TARGET + i * SECTOR, sector, SECTOR);
		for (unsigned k = 0; k < SECTOR; k++)
			assert_int_equal(sector[k], fills[i]);
	}
	d = image_opened(m, IMAGE, 0);
	disk_info(d, &info);
	assert_false(info.has_log);
	assert_int_equal(disk_close(d), 0);
	free(before);
}

#define EXPECT(m, ...)                                                                             \
	expect(m, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void expect_refused(struct images *m, uint32_t win32, const char *text)
{
	size_t n_before, n_after;
	uint8_t *before = contents(m, &n_before), *after;
	struct disk_problem problem;
	struct disk *d;

	for (unsigned write = 0; write < 2; write++) {
		memset(&problem, 0, sizeof(problem));
		assert_int_equal(
			image_open(m, IMAGE, write ? DISK_OPEN_WRITE : 0, &d, &problem), -EUCLEAN);
		assert_int_equal(problem.win32, win32);
		if (!strstr(problem.text, text))
			fail_msg("%s", problem.text);
	}
	after = contents(m, &n_after);
	assert_int_equal(n_after, n_before);
	assert_memory_equal(after, before, n_before);
	free(before);
	free(after);
}

/* ---- Sequences ------------------------------------------------------------------------------- */

static void test_one_entry(void **state)
{
	struct images *m = *state;

	make(m);
	put_simple(m, 0, 0, 1, TARGET, 0x11);
	EXPECT(m, 0x11, 0);
}

/* Later entries win, also over zeros and under them. */
static void test_order(void **state)
{
	struct images *m = *state;
	struct entry *e;
	uint32_t at;

	make(m);
	e = entry_new(0, 0, 5);
	for (unsigned i = 0; i < 6; i++)
		add_data(e, TARGET + i * SECTOR, 0x20 + i);
	at = entry_put(m, e);
	e = entry_new(at, 0, 6);
	add_zeros(e, TARGET + 1 * SECTOR, 3 * SECTOR);
	add_data(e, TARGET + 2 * SECTOR, 0x32);
	at = entry_put(m, e);
	put_simple(m, at, 0, 7, TARGET + 5 * SECTOR, 0x35);
	EXPECT(m, 0x20, 0, 0x32, 0, 0x24, 0x35);
}

/* Only from the tail that the last entry names. */
static void test_tail(void **state)
{
	struct images *m = *state;
	uint32_t second, third;

	make(m);
	second = put_simple(m, 0, 0, 1, TARGET, 0x11);
	third = put_simple(m, second, 0, 2, TARGET + SECTOR, 0x12);
	put_simple(m, third, second, 3, TARGET + 2 * SECTOR, 0x13);
	EXPECT(m, 0, 0x12, 0x13);
}

/* Round the end of the log, within an entry and between entries. */
static void test_round(void **state)
{
	struct images *m = *state;
	uint32_t tail = LOG_LENGTH - 3 * SECTOR, at;

	make(m);
	at = put_simple(m, tail, tail, UINT32_MAX, TARGET, 0x11);
	at = put_simple(m, at, tail, UINT32_MAX + 1ull, TARGET + SECTOR, 0x12);
	assert_int_equal(at, SECTOR);
	put_simple(m, at, tail, UINT32_MAX + 2ull, TARGET + 2 * SECTOR, 0x13);
	EXPECT(m, 0x11, 0x12, 0x13);
}

/* Descriptors that take more than a sector. */
static void test_long_entry(void **state)
{
	struct images *m = *state;
	struct entry *e;
	uint8_t fills[60];

	make(m);
	e = entry_new(64 * SECTOR, 64 * SECTOR, 9);
	for (unsigned i = 0; i < 140; i++)
		add_data(e, TARGET + i % 60 * SECTOR, i);
	entry_put(m, e);
	for (unsigned i = 0; i < 60; i++)
		fills[i] = i + 60 + (i < 20 ? 60 : 0);
	expect(m, fills, 60);
}

/* An old log's entries, and older ones of this, are not part of the sequence. */
static void test_leftovers(void **state)
{
	struct images *m = *state;
	uint32_t at;
	GUID other = {9};

	make(m);
	/* A longer sequence with smaller numbers; one with greater numbers of another log. */
	at = put_simple(m, 100 * SECTOR, 100 * SECTOR, 1, TARGET, 0x01);
	at = put_simple(m, at, 100 * SECTOR, 2, TARGET + SECTOR, 0x02);
	put_simple(m, at, 100 * SECTOR, 3, TARGET + 2 * SECTOR, 0x03);
	put_simple(m, 50 * SECTOR, 50 * SECTOR, 90, TARGET, 0x90);
	image_poke(m, IMAGE, IMAGE_LOG + 50 * SECTOR + offsetof(struct vhdx_log_header, log),
		&other, sizeof(other));
	put_simple(m, 20 * SECTOR, 20 * SECTOR, 7, TARGET + 3 * SECTOR, 0x07);
	EXPECT(m, 0, 0, 0, 0x07);
}

/* A torn last entry was never durable: what was before it counts. */
static void test_torn(void **state)
{
	static const uint32_t where[] = {0, 8, 16, 24, 28, 48, 64, 68, 80, 88, 1000, SECTOR,
		SECTOR + 4, SECTOR + 100, 2 * SECTOR - 4};
	struct images *m = *state;

	for (unsigned i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
		uint32_t second, garbage = 0xa5a5a5a5;

		make(m);
		second = put_simple(m, 0, 0, 1, TARGET, 0x11);
		put_simple(m, second, 0, 2, TARGET, 0x12);
		image_poke(m, IMAGE, IMAGE_LOG + second + where[i], &garbage, sizeof(garbage));
		EXPECT(m, 0x11);
	}
}

/* A last entry whose tail is not there makes its sequence useless, and an older one counts. */
static void test_no_tail(void **state)
{
	struct images *m = *state;
	uint32_t at;

	make(m);
	at = put_simple(m, 0, 0, 11, TARGET, 0x11);
	put_simple(m, at, 40 * SECTOR, 12, TARGET, 0x12);
	put_simple(m, 60 * SECTOR, 60 * SECTOR, 5, TARGET + SECTOR, 0x05);
	EXPECT(m, 0, 0x05);
}

static void test_gap(void **state)
{
	struct images *m = *state;
	uint32_t at;

	make(m);
	at = put_simple(m, 0, 0, 1, TARGET, 0x11);
	at = put_simple(m, at, 0, 2, TARGET + SECTOR, 0x12);
	put_simple(m, at, 0, 4, TARGET, 0x14);
	EXPECT(m, 0x11, 0x12);
}

/* An empty entry is one too. */
static void test_empty_entry(void **state)
{
	struct images *m = *state;

	make(m);
	entry_put(m, entry_new(0, 0, 1));
	EXPECT(m, 0);
}

/* ---- The file's length ----------------------------------------------------------------------- */

static void test_longer(void **state)
{
	struct images *m = *state;
	struct entry *e;
	struct stat st;

	make(m);
	e = entry_new(0, 0, 1);
	e->last = 10 * MIB;
	add_data(e, TARGET, 0x11);
	entry_put(m, e);
	EXPECT(m, 0x11);
	assert_int_equal(stat(image_path(m, IMAGE), &st), 0);
	assert_true(st.st_size >= 10 * (off_t)MIB);
}

static void test_cut_off(void **state)
{
	struct images *m = *state;
	struct entry *e;

	make(m);
	e = entry_new(0, 0, 1);
	e->flushed = e->last = 10 * MIB;
	add_data(e, TARGET, 0x11);
	entry_put(m, e);
	expect_refused(m, ERROR_VHD_INVALID_FILE_SIZE, "cut off");
}

/* ---- What a log may not do ------------------------------------------------------------------- */

static void refused(struct images *m, uint64_t offset, uint64_t zeros)
{
	struct entry *e;
	uint32_t at;

	make(m);
	/* Nothing is done, not even what comes before. */
	at = put_simple(m, 0, 0, 1, TARGET, 0x11);
	e = entry_new(at, 0, 2);
	if (zeros)
		add_zeros(e, offset, zeros);
	else
		add_data(e, offset, 0x12);
	entry_put(m, e);
	expect_refused(m, ERROR_FILE_CORRUPT, "what a log must not");
}

static void test_hostile(void **state)
{
	struct images *m = *state;
	struct entry *e;

	refused(m, 0, 0);
	refused(m, VHDX_HEADER_AT(1), 0);
	refused(m, IMAGE_LOG, 0);
	refused(m, IMAGE_LOG + MIB - SECTOR, 0);
	refused(m, IMAGE_BLOCKS, 0);
	refused(m, -(uint64_t)SECTOR, 0);
	refused(m, VHDX_LOGGABLE, MIB);
	refused(m, TARGET, -(uint64_t)SECTOR);
	refused(m, IMAGE_METADATA, 100 * MIB);
	make(m);
	e = entry_new(0, 0, 1);
	e->last = 1ull << 60;
	entry_put(m, e);
	expect_refused(m, ERROR_FILE_CORRUPT, "more than any VHDX file");
}

/* The last entry's region tables and metadata are those that count when the file is opened. */
static void test_tables(void **state)
{
	struct images *m = *state;
	uint8_t zeros[SECTOR] = {0};
	struct entry *e;
	struct disk *d;

	make(m);
	e = entry_new(0, 0, 1);
	add_data(e, IMAGE_METADATA, 0);
	image_peek(m, IMAGE, IMAGE_METADATA, e->data[0], SECTOR);
	memcpy(&e->d[0].leading, e->data[0], 8);
	memcpy(&e->d[0].trailing, e->data[0] + SECTOR - 4, 4);
	entry_put(m, e);
	image_poke(m, IMAGE, IMAGE_METADATA, zeros, SECTOR);
	for (unsigned write = 0; write < 2; write++) {
		d = image_opened(m, IMAGE, write ? DISK_OPEN_WRITE : 0);
		assert_int_equal(disk_size(d), 100 * MIB);
		assert_int_equal(disk_close(d), 0);
	}
}

/* Read-only, a log may also have zeroed payload, or lengthened the file under it. */
static void test_payload(void **state)
{
	struct images *m = *state;
	uint64_t bat[2] = {VHDX_BAT_ENTRY(VHDX_BLOCK_PRESENT, IMAGE_BLOCKS),
		VHDX_BAT_ENTRY(VHDX_BLOCK_PRESENT, IMAGE_BLOCKS + MIB)};
	struct entry *e;
	struct disk *d;
	uint8_t b[3 * SECTOR];

	make(m);
	assert_int_equal(truncate(image_path(m, IMAGE), IMAGE_BLOCKS + MIB), 0);
	memset(b, 0x77, sizeof(b));
	image_poke(m, IMAGE, IMAGE_BLOCKS, b, sizeof(b));
	image_poke(m, IMAGE, IMAGE_BAT, bat, sizeof(bat));
	e = entry_new(0, 0, 1);
	e->last = IMAGE_BLOCKS + 2 * MIB;
	add_zeros(e, IMAGE_BLOCKS + SECTOR, SECTOR);
	entry_put(m, e);
	for (unsigned write = 0; write < 2; write++) {
		d = image_opened(m, IMAGE, write ? DISK_OPEN_WRITE : 0);
		assert_int_equal(disk_read(d, b, sizeof(b), 0), 0);
		assert_int_equal(b[0], 0x77);
		assert_int_equal(b[SECTOR - 1], 0x77);
		assert_int_equal(b[SECTOR], 0);
		assert_int_equal(b[2 * SECTOR - 1], 0);
		assert_int_equal(b[2 * SECTOR], 0x77);
		assert_int_equal(disk_read(d, b, sizeof(b), MIB), 0);
		assert_int_equal(b[0], 0);
		assert_int_equal(disk_close(d), 0);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, images_set_up, images_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_one_entry),
		TEST(test_order),
		TEST(test_tail),
		TEST(test_round),
		TEST(test_long_entry),
		TEST(test_leftovers),
		TEST(test_torn),
		TEST(test_no_tail),
		TEST(test_gap),
		TEST(test_empty_entry),
		TEST(test_longer),
		TEST(test_cut_off),
		TEST(test_hostile),
		TEST(test_tables),
		TEST(test_payload),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
