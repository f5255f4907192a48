/*
 * disk_zeros.c - writes of zeros: where a disk reads as zeros they take no room, and yet they are
 * writes. One byte that is something else, and a parent, are reasons to take it.
 */
#include "disk_images.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "disk/tracking.h"
#include "disk/vhdx_protocol.h"

#define SIZE  (64 * MIB)
#define BLOCK (2 * MIB)
#define BAT   (3 * MIB) /* of a VHDX, where vhdx_create.c puts it */

static const struct {
	const char *name, *child;
	enum disk_format format;
} formats[] = {
	{"d.vhd", "child.vhd", DISK_FORMAT_VHD},
	{"d.vhdx", "child.vhdx", DISK_FORMAT_VHDX},
};
#define FORMATS (sizeof(formats) / sizeof(formats[0]))

static struct disk *new_disk(struct images *i, unsigned format)
{
	const struct disk_create create = {.format = formats[format].format,
		.kind = DISK_DYNAMIC,
		.size = SIZE,
		.block_size = BLOCK};

	image_create(i, formats[format].name, &create);
	return image_open(i, formats[format].name, DISK_OPEN_WRITE);
}

static struct disk *new_child(struct images *i, unsigned format)
{
	const struct disk_create create = {.format = formats[format].format,
		.kind = DISK_DIFFERENCING,
		.block_size = BLOCK,
		.parent = image_path(i, formats[format].name)};

	image_create(i, formats[format].child, &create);
	return image_open(i, formats[format].child, DISK_OPEN_WRITE);
}

static uint64_t file_size(struct images *i, const char *name)
{
	struct stat st;

	assert_int_equal(stat(image_path(i, name), &st), 0);
	return st.st_size;
}

/* ---- Writing and looking --------------------------------------------------------------------- */

static void answered(struct disk_request *r)
{
}

static void write_queued(
	struct images *i, struct disk *d, const struct iovec *iov, unsigned n, uint64_t offset)
{
	struct disk_queue *q = disk_queue_create(i->engine, 4);
	struct disk_request r = {
		.op = DISK_WRITE, .offset = offset, .iov = iov, .n_iov = n, .done = answered};

	assert_non_null(q);
	for (unsigned k = 0; k < n; k++)
		r.length += iov[k].iov_len;
	disk_submit(q, d, &r);
	assert_int_equal(disk_queue_run(q, true), 1);
	assert_int_equal(r.result, 0);
	disk_queue_destroy(q);
}

/* Zeros but for their last byte, which is @last, in areas that are not whole sectors. */
static void write_zeros(struct images *i, struct disk *d, uint64_t offset, uint64_t length,
	uint8_t last, bool queued)
{
	uint8_t *data = calloc(1, length);
	const struct iovec areas[] = {{data, 100}, {data + 100, length - 100}};

	assert_non_null(data);
	data[length - 1] = last;
	if (queued)
		write_queued(i, d, areas, 2, offset);
	else
		assert_int_equal(disk_writev(d, areas, 2, offset), 0);
	free(data);
}

static void fill_block(struct disk *d, uint64_t offset)
{
	uint8_t *data = malloc(BLOCK);

	assert_non_null(data);
	memset(data, 'x', BLOCK);
	assert_int_equal(disk_write(d, data, BLOCK, offset), 0);
	free(data);
}

static void reads_zeros(struct disk *d, uint64_t offset, uint64_t length)
{
	uint8_t *data = malloc(length);

	assert_non_null(data);
	memset(data, 'x', length);
	assert_int_equal(disk_read(d, data, length, offset), 0);
	assert_true(bytes_are_zero(data, length));
	free(data);
}

/* The image itself has the range as @where, all of it. */
static void is(struct disk *d, uint64_t offset, uint64_t length, enum disk_where where)
{
	enum disk_where found;

	for (uint64_t end = offset + length; offset < end;) {
		int64_t run = disk_extent(d, offset, end, 0, &found);

		assert_true(run > 0);
		assert_int_equal(found, where);
		offset += run;
	}
}

static void is_sound(struct disk *d)
{
	struct disk_check check = {0};

	assert_int_equal(disk_check(d, &check, NULL), 0);
	assert_int_equal(check.errors, 0);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void test_no_room(void **state)
{
	struct images *i = *state;

	for (unsigned format = 0; format < FORMATS; format++) {
		struct disk *d = new_disk(i, format);
		const uint64_t empty = file_size(i, formats[format].name);

		/* The first one is also the first of the disk, which others do not wait for. */
		for (unsigned k = 0; k < 6; k++)
			write_zeros(i, d, k * 9 * MIB + 512, 5 * MIB, 0, k % 2);
		assert_int_equal(disk_flush(d), 0);
		is(d, 0, SIZE, DISK_ZEROS);
		reads_zeros(d, 0, SIZE);
		is_sound(d);
		image_close(d);
		assert_int_equal(file_size(i, formats[format].name), empty);
	}
}

static void test_last_byte(void **state)
{
	struct images *i = *state;

	for (unsigned format = 0; format < FORMATS; format++) {
		struct disk *d = new_disk(i, format);
		const uint64_t empty = file_size(i, formats[format].name);
		uint8_t sector[512];

		for (unsigned k = 0; k < 2; k++) {
			const uint64_t at = k * 16 * MIB, last = at + 5 * MIB - 512;

			write_zeros(i, d, at + MIB, 4 * MIB, 1, k);
			reads_zeros(d, at, last - at);
			assert_int_equal(disk_read(d, sector, 512, last), 0);
			assert_int_equal(sector[510], 0);
			assert_int_equal(sector[511], 1);
		}
		is_sound(d);
		image_close(d);
		/* The last one of three blocks, twice; a VHD's have bitmaps too. */
		assert_in_range(file_size(i, formats[format].name), empty + 2 * BLOCK,
			empty + 2 * BLOCK + 4 * 4096);
	}
}

static void test_over_data(void **state)
{
	struct images *i = *state;

	for (unsigned format = 0; format < FORMATS; format++) {
		struct disk *d = new_disk(i, format);

		fill_block(d, BLOCK);
		fill_block(d, 3 * BLOCK);
		write_zeros(i, d, 0, 3 * BLOCK, 0, false);
		write_zeros(i, d, 3 * BLOCK, 2 * BLOCK, 0, true);
		reads_zeros(d, 0, SIZE);
		image_close(d);
		d = image_open(i, formats[format].name, DISK_OPEN_WRITE);
		reads_zeros(d, 0, SIZE);
		is_sound(d);
		image_close(d);
	}
}

static void test_after_unmapping(void **state)
{
	struct images *i = *state;

	for (unsigned format = 0; format < FORMATS; format++) {
		struct disk *d = new_disk(i, format);

		fill_block(d, BLOCK);
		assert_int_equal(disk_flush(d), 0);
		assert_int_equal(disk_unmap(d, BLOCK, BLOCK), 0);
		write_zeros(i, d, BLOCK + 512, MIB, 0, false);
		write_zeros(i, d, BLOCK + 512, MIB, 0, true);
		assert_int_equal(disk_flush(d), 0);
		image_close(d);
		d = image_open(i, formats[format].name, 0);
		is(d, 0, SIZE, DISK_ZEROS);
		reads_zeros(d, 0, SIZE);
		image_close(d);
	}
}

/* What the parent has is hidden; that it has nothing is not asked. */
static void test_child(void **state)
{
	struct images *i = *state;

	for (unsigned format = 0; format < FORMATS; format++) {
		struct disk *d = new_disk(i, format);

		fill_block(d, BLOCK);
		image_close(d);
		d = new_child(i, format);
		write_zeros(i, d, BLOCK, 4096, 0, false);
		write_zeros(i, d, 4 * BLOCK, 4096, 0, true);
		is(d, BLOCK, 4096, DISK_DATA);
		is(d, BLOCK + 4096, BLOCK - 4096, DISK_BELOW);
		is(d, 4 * BLOCK, 4096, DISK_DATA);
		reads_zeros(d, BLOCK, 4096);
		is_sound(d);
		image_close(d);
	}
}

static void test_zero_block_of_a_child(void **state)
{
	struct images *i = *state;
	struct disk *d = new_disk(i, 1);

	fill_block(d, BLOCK);
	image_close(d);
	d = new_child(i, 1);
	assert_int_equal(disk_zero(d, BLOCK, BLOCK), 0);
	write_zeros(i, d, BLOCK + 512, MIB, 0, false);
	write_zeros(i, d, BLOCK + 512, MIB, 0, true);
	is(d, BLOCK, BLOCK, DISK_ZEROS);
	reads_zeros(d, BLOCK, BLOCK);
	image_close(d);
}

/* Other programs may put an unmapped block back, or show what was in it. */
static void test_block_that_others_unmapped(void **state)
{
	const uint64_t unmapped = VHDX_BLOCK_UNMAPPED;
	struct images *i = *state;
	struct disk *d = new_disk(i, 1);
	int fd;

	image_close(d);
	fd = open(image_path(i, "d.vhdx"), O_WRONLY);
	assert_true(fd >= 0);
	for (unsigned block = 0; block < 4; block++)
		assert_int_equal(pwrite(fd, &unmapped, 8, BAT + block * 8), 8);
	close(fd);
	d = image_open(i, "d.vhdx", DISK_OPEN_WRITE);
	reads_zeros(d, 0, 4 * BLOCK);
	assert_int_equal(disk_unmap(d, 0, BLOCK), 0);
	assert_int_equal(disk_zero(d, BLOCK, BLOCK), 0);
	write_zeros(i, d, 2 * BLOCK, 512, 0, false);
	assert_int_equal(disk_zero(d, 3 * BLOCK, 512), 0);
	is(d, 0, 2 * BLOCK, DISK_ZEROS);
	reads_zeros(d, 0, 4 * BLOCK);
	is_sound(d);
	image_close(d);
	fd = open(image_path(i, "d.vhdx"), O_RDONLY);
	for (unsigned block = 0; block < 4; block++) {
		static const uint64_t states[] = {VHDX_BLOCK_UNMAPPED, VHDX_BLOCK_ZERO,
			VHDX_BLOCK_PRESENT, VHDX_BLOCK_PRESENT};
		uint64_t entry;

		assert_int_equal(pread(fd, &entry, 8, BAT + block * 8), 8);
		assert_int_equal(entry & VHDX_BAT_STATE, states[block]);
	}
	close(fd);
}

static void test_it_is_a_write(void **state)
{
	struct images *i = *state;

	for (unsigned format = 0; format < FORMATS; format++) {
		struct disk *d = new_disk(i, format);
		struct disk_info before, after;
		struct tracking_state point;
		struct tracking_range ranges[2];
		uint32_t n = 2;
		uint64_t processed;

		assert_int_equal(tracking_enable(d, NULL), 0);
		assert_int_equal(tracking_state(image_path(i, formats[format].name), &point), 0);
		disk_info(d, &before);
		write_zeros(i, d, 10 * MIB, MIB, 0, format);
		disk_info(d, &after);
		is(d, 0, SIZE, DISK_ZEROS);
		if (formats[format].format == DISK_FORMAT_VHDX)
			assert_memory_not_equal(&before.data_id, &after.data_id, sizeof(GUID));
		assert_int_equal(tracking_query(image_path(i, formats[format].name), point.id, 0,
					 SIZE, ranges, &n, &processed),
			0);
		assert_int_equal(n, 1);
		assert_int_equal(ranges[0].offset, 10 * MIB);
		assert_int_equal(ranges[0].length, MIB);
		image_close(d);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, images_set_up, images_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(no_room),
		TEST(last_byte),
		TEST(over_data),
		TEST(after_unmapping),
		TEST(child),
		TEST(zero_block_of_a_child),
		TEST(block_that_others_unmapped),
		TEST(it_is_a_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
