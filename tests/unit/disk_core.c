/*
 * disk_core - opening, creating and the room's files, with raw images.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/disk.h"
#include "winerror.h"

#define MIB (1ull << 20)

struct fixture {
	struct disk_engine *engine;
	char folder[64], path[128];
	struct disk *disk;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct disk_create create = {.format = DISK_FORMAT_RAW, .size = 64 * MIB};
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE};
	struct disk_problem problem = {0};

	snprintf(f->folder, sizeof(f->folder), "/tmp/disk_core-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->path, sizeof(f->path), "%s/disk.raw", f->folder);
	f->engine = disk_engine_create(NULL);
	assert_non_null(f->engine);
	assert_int_equal(disk_create(f->engine, f->path, &create, NULL, &problem), 0);
	assert_int_equal(disk_open(f->engine, f->path, &options, &f->disk, &problem), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[128];

	assert_int_equal(disk_close(f->disk), 0);
	disk_engine_destroy(f->engine);
	snprintf(command, sizeof(command), "rm -r %s", f->folder);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static void test_reads_what_was_written(void **state)
{
	struct fixture *f = *state;
	uint8_t in[4096], out[4096];
	enum disk_where where;

	memset(out, 0xa5, sizeof(out));
	assert_int_equal(disk_write(f->disk, out, sizeof(out), 8 * MIB), 0);
	assert_int_equal(disk_flush(f->disk), 0);
	assert_int_equal(disk_read(f->disk, in, sizeof(in), 8 * MIB), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(disk_extent(f->disk, 0, UINT64_MAX, 0, &where), 8 * MIB);
	assert_int_equal(where, DISK_ZEROS);
	assert_int_equal(disk_unmap(f->disk, 8 * MIB, 4096), 0);
	assert_int_equal(disk_extent(f->disk, 0, UINT64_MAX, 0, &where), 64 * MIB);
	assert_int_equal(where, DISK_ZEROS);
	assert_int_equal(disk_read(f->disk, in, sizeof(in), 8 * MIB), 0);
	memset(out, 0, sizeof(out));
	assert_memory_equal(in, out, sizeof(in));
}

static void test_bounds(void **state)
{
	struct fixture *f = *state;
	uint8_t data[1024] = {0};

	assert_int_equal(disk_read(f->disk, data, 512, 64 * MIB), -ENOSPC);
	assert_int_equal(disk_read(f->disk, data, 1024, 64 * MIB - 512), -ENOSPC);
	assert_int_equal(disk_read(f->disk, data, 512, UINT64_MAX - 511), -ENOSPC);
	assert_int_equal(disk_read(f->disk, data, 100, 0), -EINVAL);
	assert_int_equal(disk_read(f->disk, data, 512, 1), -EINVAL);
	assert_int_equal(disk_read(f->disk, data, 0, 64 * MIB), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_reads_what_was_written, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bounds, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
