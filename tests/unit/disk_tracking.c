/*
 * Change tracking (src/disk/tracking.h): what changed is named, exactly after a clean end, and
 * never too little after a crash, a change by others, or a damaged file.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/tracking.h"
#include "folder.h"

#define MIB   (1ull << 20)
#define SIZE  (256 * MIB)
#define CHUNK (64ull << 10)
#define ROOM  16

struct fixture {
	char folder[FOLDER], image[96], file[128];
	struct disk_engine *engine;
	struct disk *disk;
	char id[TRACKING_ID]; /* of the state when tracking began */
	struct tracking_range ranges[ROOM];
	uint32_t n;
};

static void open_disk(struct fixture *f)
{
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE, .format = DISK_FORMAT_RAW};

	assert_int_equal(disk_open(f->engine, f->image, &options, &f->disk, NULL), 0);
}

static void close_disk(struct fixture *f)
{
	assert_int_equal(disk_close(f->disk), 0);
	f->disk = NULL;
}

static void last_id(struct fixture *f, char id[TRACKING_ID], bool newer)
{
	struct tracking_state state;

	assert_int_equal(tracking_state(f->image, &state), 0);
	assert_int_equal(state.newer, newer);
	strcpy(id, state.id);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct disk_create create = {.format = DISK_FORMAT_RAW, .kind = DISK_FIXED, .size = SIZE};

	folder_make(f->folder);
	snprintf(f->image, sizeof(f->image), "%s/disk.img", f->folder);
	snprintf(f->file, sizeof(f->file), "%s.rct", f->image);
	f->engine = disk_engine_create(NULL);
	assert_non_null(f->engine);
	assert_int_equal(disk_create(f->engine, f->image, &create, NULL, NULL), 0);
	open_disk(f);
	assert_int_equal(tracking_enable(f->disk, NULL), 0);
	last_id(f, f->id, false);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	disk_close(f->disk);
	disk_engine_destroy(f->engine);
	folder_remove(f->folder);
	free(f);
	return 0;
}

static void write_at(struct fixture *f, uint64_t offset, uint64_t length)
{
	char *data = calloc(1, length);

	memset(data, 'x', length);
	assert_int_equal(disk_write(f->disk, data, length, offset), 0);
	free(data);
}

static int query(struct fixture *f, const char *id)
{
	uint64_t processed;

	f->n = ROOM;
	return tracking_query(f->image, id, 0, SIZE, f->ranges, &f->n, &processed);
}

static void expect(struct fixture *f, const char *id, unsigned n, ...)
{
	va_list ap;

	assert_int_equal(query(f, id), 0);
	assert_int_equal(f->n, n);
	va_start(ap, n);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(f->ranges[i].offset, va_arg(ap, uint64_t));
		assert_int_equal(f->ranges[i].length, va_arg(ap, uint64_t));
	}
	va_end(ap);
}

static void test_changes_are_named(void **state)
{
	struct fixture *f = *state;
	char id[TRACKING_ID];

	expect(f, f->id, 0);
	write_at(f, 512, 512);
	write_at(f, 3 * CHUNK - 512, 1024);
	assert_int_equal(disk_zero(f->disk, 100 * MIB, CHUNK), 0);
	assert_int_equal(disk_unmap(f->disk, 200 * MIB, 2 * CHUNK), 0);
	expect(f, f->id, 4, 0ull, CHUNK, 2 * CHUNK, 2 * CHUNK, 100 * MIB, CHUNK, 200 * MIB,
		2 * CHUNK);
	last_id(f, id, true);
	assert_string_equal(id, f->id);
}

static void test_reading_changes_nothing(void **state)
{
	struct fixture *f = *state;
	char data[512], id[TRACKING_ID];

	assert_int_equal(disk_read(f->disk, data, sizeof(data), 0), 0);
	assert_int_equal(disk_flush(f->disk), 0);
	close_disk(f);
	last_id(f, id, false);
	assert_string_equal(id, f->id);
	expect(f, f->id, 0);
}

static void test_closing_names_a_state(void **state)
{
	struct fixture *f = *state;
	char second[TRACKING_ID], third[TRACKING_ID];

	write_at(f, 0, CHUNK);
	close_disk(f);
	last_id(f, second, false);
	assert_string_not_equal(second, f->id);
	open_disk(f);
	expect(f, second, 0);
	write_at(f, 10 * CHUNK, 512);
	expect(f, second, 1, 10 * CHUNK, CHUNK);
	expect(f, f->id, 2, 0ull, CHUNK, 10 * CHUNK, CHUNK);
	close_disk(f);
	last_id(f, third, false);
	expect(f, second, 1, 10 * CHUNK, CHUNK);
	expect(f, third, 0);
}

static void test_enabling_again_names_the_present(void **state)
{
	struct fixture *f = *state;
	char now[TRACKING_ID];

	write_at(f, 0, CHUNK);
	assert_int_equal(tracking_enable(f->disk, NULL), 0);
	last_id(f, now, false);
	assert_string_not_equal(now, f->id);
	write_at(f, 0, 512);
	write_at(f, 5 * CHUNK, 512);
	expect(f, now, 2, 0ull, CHUNK, 5 * CHUNK, CHUNK);
	close_disk(f);
	expect(f, now, 2, 0ull, CHUNK, 5 * CHUNK, CHUNK);
}

static void test_a_part_is_asked_for(void **state)
{
	struct fixture *f = *state;
	uint64_t processed;
	uint32_t n = ROOM;

	write_at(f, 4 * CHUNK, 4 * CHUNK);
	assert_int_equal(
		tracking_query(f->image, f->id, 5 * CHUNK + 512, CHUNK, f->ranges, &n, &processed),
		0);
	assert_int_equal(n, 1);
	assert_int_equal(f->ranges[0].offset, 5 * CHUNK + 512);
	assert_int_equal(f->ranges[0].length, CHUNK);
	assert_int_equal(processed, CHUNK);
	assert_int_equal(
		tracking_query(f->image, f->id, SIZE - 512, 1024, f->ranges, &n, &processed),
		-ERANGE);
}

static void test_little_room_is_asked_again(void **state)
{
	struct fixture *f = *state;
	uint64_t processed = 0, at = 0, found = 0;

	for (unsigned i = 0; i < 9; i++)
		write_at(f, 2 * i * CHUNK, 512);
	while (at < SIZE) {
		uint32_t n = 2;

		assert_int_equal(
			tracking_query(f->image, f->id, at, SIZE - at, f->ranges, &n, &processed),
			0);
		assert_true(processed > 0);
		for (uint32_t i = 0; i < n; i++)
			found += f->ranges[i].length;
		at += processed;
	}
	assert_int_equal(found, 9 * CHUNK);
}

static void test_identifiers_that_are_none(void **state)
{
	struct fixture *f = *state;
	char id[TRACKING_ID];

	assert_int_equal(query(f, ""), -EINVAL);
	assert_int_equal(query(f, "rctX:"), -EINVAL);
	assert_int_equal(query(f, "rctX:01234567:0123:0123:0123:0123456789ab:0000000g"), -EINVAL);
	assert_int_equal(query(f, "rctX:01234567:0123:0123:0123:0123456789ab:00000000"), -ESRCH);
	strcpy(id, f->id);
	id[strlen(id) - 1] = '7'; /* a state that is yet to come */
	assert_int_equal(query(f, id), -ESRCH);
}

/* Write a byte's sector at 200 MiB of the image in a process that then dies. */
static void write_and_die(const char *image)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct disk_engine *e = disk_engine_create(NULL);
		struct disk_open_options options = {.flags = DISK_OPEN_WRITE};
		char data[512] = "written";
		struct disk *d;

		if (disk_open(e, image, &options, &d, NULL) ||
			disk_write(d, data, sizeof(data), 200 * MIB) || disk_flush(d))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/*
 * The process dies with the disk open: what it may have changed is named, here all of a raw disk.
 */
static void test_a_crash_loses_nothing(void **state)
{
	struct fixture *f = *state;

	write_at(f, 0, 512);
	close_disk(f);
	write_and_die(f->image);
	expect(f, f->id, 1, 0ull, (uint64_t)SIZE);
	open_disk(f);
	expect(f, f->id, 1, 0ull, (uint64_t)SIZE);
	/* The next state has a name of its own. */
	last_id(f, f->id, false);
	expect(f, f->id, 0);
	write_at(f, 0, 512);
	expect(f, f->id, 1, 0ull, CHUNK);
}

/* A VHDX tells whether others wrote since: only the region that was touched counts. */
static void test_a_crash_touches_a_region(void **state)
{
	struct fixture *f = *state;
	struct disk_create create = {
		.format = DISK_FORMAT_VHDX, .kind = DISK_DYNAMIC, .size = SIZE};
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE};
	char image[128];
	struct tracking_state before;
	uint64_t processed;
	uint32_t n = ROOM;
	struct disk *d;

	snprintf(image, sizeof(image), "%s/disk.vhdx", f->folder);
	assert_int_equal(disk_create(f->engine, image, &create, NULL, NULL), 0);
	assert_int_equal(disk_open(f->engine, image, &options, &d, NULL), 0);
	assert_int_equal(tracking_enable(d, NULL), 0);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(tracking_state(image, &before), 0);
	write_and_die(image);
	assert_int_equal(disk_open(f->engine, image, &options, &d, NULL), 0);
	assert_int_equal(tracking_query(image, before.id, 0, SIZE, f->ranges, &n, &processed), 0);
	assert_int_equal(n, 1);
	assert_int_equal(f->ranges[0].offset, 192 * MIB);
	assert_int_equal(f->ranges[0].length, 64 * MIB);
	assert_int_equal(disk_close(d), 0);
}

static void test_changes_by_others_are_noticed(void **state)
{
	struct fixture *f = *state;
	int fd;

	write_at(f, 0, 512);
	close_disk(f);
	fd = open(f->image, O_WRONLY);
	assert_int_equal(pwrite(fd, "else", 4, 100 * MIB), 4);
	close(fd);
	expect(f, f->id, 1, 0ull, (uint64_t)SIZE);
	open_disk(f);
	expect(f, f->id, 1, 0ull, (uint64_t)SIZE);
	close_disk(f);
}

static void test_new_room_has_changed(void **state)
{
	struct fixture *f = *state;
	uint64_t processed;
	uint32_t n = ROOM;

	assert_int_equal(disk_resize(f->disk, SIZE + 10 * MIB, false, NULL), 0);
	write_at(f, SIZE + MIB, 512);
	close_disk(f);
	assert_int_equal(
		tracking_query(f->image, f->id, 0, SIZE + 10 * MIB, f->ranges, &n, &processed), 0);
	assert_int_equal(n, 1);
	assert_int_equal(f->ranges[0].offset, SIZE);
	assert_int_equal(f->ranges[0].length, 10 * MIB);
}

static void test_disabled_is_gone(void **state)
{
	struct fixture *f = *state;
	struct tracking_state s;

	write_at(f, 0, 512);
	assert_int_equal(tracking_disable(f->disk), 0);
	assert_int_equal(tracking_state(f->image, &s), -ENOENT);
	assert_int_equal(query(f, f->id), -ENOENT);
	write_at(f, 0, 512);
	close_disk(f);
	assert_int_equal(access(f->file, F_OK), -1);
}

static void damage(struct fixture *f, off_t offset, const void *bytes, size_t n)
{
	int fd = open(f->file, O_WRONLY);

	assert_int_equal(pwrite(fd, bytes, n, offset), n);
	close(fd);
}

/* Both headers are spoilt, one after the other: one copy is enough, none ends tracking. */
static void test_a_damaged_file(void **state)
{
	struct fixture *f = *state;
	struct tracking_state s;

	close_disk(f);
	open_disk(f);
	close_disk(f);
	damage(f, 8, "\xFF", 1);
	assert_int_equal(tracking_state(f->image, &s), 0);
	damage(f, 4096 + 8, "\xFF", 1);
	assert_int_equal(tracking_state(f->image, &s), -EUCLEAN);
	open_disk(f);
	write_at(f, 0, 512);
	assert_int_equal(tracking_state(f->image, &s), -ENOENT);
	assert_int_equal(tracking_enable(f->disk, NULL), 0);
	assert_int_equal(query(f, f->id), -ESRCH);
}

static void test_a_shortened_file(void **state)
{
	struct fixture *f = *state;
	struct tracking_state s;

	close_disk(f);
	assert_int_equal(truncate(f->file, 16384), 0);
	assert_int_equal(tracking_state(f->image, &s), -EUCLEAN);
	open_disk(f);
	assert_int_equal(tracking_state(f->image, &s), -ENOENT);
}

static void test_a_copy_inherits(void **state)
{
	struct fixture *f = *state;
	char child[128], command[256], id[TRACKING_ID];
	struct tracking_state s;
	uint64_t processed;
	uint32_t n = ROOM;

	write_at(f, CHUNK, 512);
	close_disk(f);
	snprintf(child, sizeof(child), "%s/child.img", f->folder);
	snprintf(command, sizeof(command), "cp %s %s", f->image, child);
	assert_int_equal(system(command), 0);
	assert_int_equal(tracking_inherit(f->image, child), 0);
	assert_int_equal(tracking_query(child, f->id, 0, SIZE, f->ranges, &n, &processed), 0);
	assert_int_equal(n, 1);
	assert_int_equal(f->ranges[0].offset, CHUNK);
	/* From here on the two have names of their own. */
	assert_int_equal(tracking_state(child, &s), 0);
	assert_int_equal(query(f, s.id), -ESRCH);
	open_disk(f);
	write_at(f, 0, 512);
	assert_int_equal(tracking_enable(f->disk, NULL), 0);
	last_id(f, id, false);
	n = ROOM;
	assert_int_equal(tracking_query(child, id, 0, SIZE, f->ranges, &n, &processed), -ESRCH);
}

/* A copy by hand, with its times: neither takes the other's names for its own. */
static void test_a_plain_copy(void **state)
{
	struct fixture *f = *state;
	char copy[128], command[512], id[TRACKING_ID];
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE, .format = DISK_FORMAT_RAW};
	uint64_t processed;
	uint32_t n = ROOM;
	struct disk *d;

	close_disk(f);
	snprintf(copy, sizeof(copy), "%s/copy.img", f->folder);
	snprintf(command, sizeof(command), "cp -p %s %s && cp -p %s %s.rct", f->image, copy,
		f->file, copy);
	assert_int_equal(system(command), 0);
	open_disk(f);
	write_at(f, 0, 512);
	close_disk(f);
	last_id(f, id, false);
	assert_int_equal(disk_open(f->engine, copy, &options, &d, NULL), 0);
	assert_int_equal(disk_zero(d, 10 * CHUNK, 512), 0);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(tracking_query(copy, id, 0, SIZE, f->ranges, &n, &processed), -ESRCH);
	n = ROOM;
	assert_int_equal(tracking_query(copy, f->id, 0, SIZE, f->ranges, &n, &processed), 0);
	assert_int_equal(f->ranges[0].length, SIZE);
}

static void test_read_only_disks_are_not_tracked(void **state)
{
	struct fixture *f = *state;
	struct disk_open_options options = {.format = DISK_FORMAT_RAW};
	struct tracking_state s;

	assert_int_equal(tracking_disable(f->disk), 0);
	close_disk(f);
	assert_int_equal(disk_open(f->engine, f->image, &options, &f->disk, NULL), 0);
	assert_int_equal(tracking_enable(f->disk, NULL), -EBADF);
	assert_int_equal(tracking_state(f->image, &s), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(changes_are_named),
		TEST(reading_changes_nothing),
		TEST(closing_names_a_state),
		TEST(enabling_again_names_the_present),
		TEST(a_part_is_asked_for),
		TEST(little_room_is_asked_again),
		TEST(identifiers_that_are_none),
		TEST(a_crash_loses_nothing),
		TEST(a_crash_touches_a_region),
		TEST(changes_by_others_are_noticed),
		TEST(new_room_has_changed),
		TEST(disabled_is_gone),
		TEST(a_damaged_file),
		TEST(a_shortened_file),
		TEST(a_copy_inherits),
		TEST(a_plain_copy),
		TEST(read_only_disks_are_not_tracked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
