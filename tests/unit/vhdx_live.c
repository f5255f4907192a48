/*
 * vhdx_live - a VHDX disk in use, against a model in memory: random writes, zeros, unmapping,
 * flushes, compacting and resizing, with reopening and checks in between; for each kind, sector
 * size and block size.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/disk.h"
#include "folder.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

struct fixture {
	struct disk_engine *engine;
	char folder[FOLDER], path[128], parent[128];
	struct disk *disk;
	uint8_t *model, *read;
	uint64_t size, room; /* bytes: of the disk, and of the model */
	uint32_t sector;
	unsigned seed;
};

static unsigned random_below(struct fixture *f, unsigned n)
{
	return (unsigned)rand_r(&f->seed) % n;
}

static void fill(struct fixture *f, uint8_t *bytes, uint64_t n)
{
	uint64_t value = (uint64_t)rand_r(&f->seed) << 32 | (unsigned)rand_r(&f->seed);

	for (uint64_t i = 0; i < n; i += 8)
		memcpy(bytes + i, &(uint64_t){value + i}, 8);
}

static void found(void *ctx, bool repaired, const char *text)
{
	print_error("check: %s\n", text);
}

static void check(struct fixture *f)
{
	struct disk_check c = {.found = found};

	assert_int_equal(disk_check(f->disk, &c, NULL), 0);
	assert_int_equal(c.errors, 0);
}

static void open_disk(struct fixture *f, unsigned flags)
{
	struct disk_open_options options = {.flags = flags};
	struct disk_problem problem = {0};
	int err = disk_open(f->engine, f->path, &options, &f->disk, &problem);

	if (err)
		print_error("%s\n", disk_problem_text(&problem, f->path, err));
	assert_int_equal(err, 0);
}

static void compare(struct fixture *f)
{
	assert_int_equal(disk_size(f->disk), f->size);
	assert_int_equal(disk_read(f->disk, f->read, f->size, 0), 0);
	if (memcmp(f->read, f->model, f->size) == 0)
		return;
	for (uint64_t i = 0; i < f->size; i++)
		if (f->read[i] != f->model[i])
			fail_msg("byte %llu is %02x, not %02x", (unsigned long long)i, f->read[i],
				f->model[i]);
}

static void reopen(struct fixture *f)
{
	assert_int_equal(disk_close(f->disk), 0);
	open_disk(f, 0);
	compare(f);
	assert_int_equal(disk_close(f->disk), 0);
	open_disk(f, DISK_OPEN_WRITE);
	check(f);
}

/* A range of the disk: anywhere, or often at blocks. */
static void choose(struct fixture *f, uint64_t *offset, uint64_t *length)
{
	uint64_t unit = random_below(f, 3) ? f->sector : MIB, units = f->size / unit;

	if (!units) {
		unit = f->sector;
		units = f->size / unit;
	}
	*offset = random_below(f, units) * unit;
	*length = (1 + random_below(f, unit == MIB ? 4 : 300)) * unit;
	if (*length > f->size - *offset)
		*length = f->size - *offset;
}

static void resize(struct fixture *f)
{
	uint64_t size = (1 + random_below(f, f->room / f->sector)) * f->sector;

	assert_int_equal(disk_resize(f->disk, size, true, NULL), 0);
	if (size > f->size)
		memset(f->model + f->size, 0, size - f->size);
	f->size = size;
}

static void step(struct fixture *f, bool resizes)
{
	unsigned what = random_below(f, 100);
	uint64_t offset, length;

	choose(f, &offset, &length);
	if (what < 55) {
		fill(f, f->model + offset, length);
		assert_int_equal(disk_write(f->disk, f->model + offset, length, offset), 0);
	} else if (what < 65) {
		memset(f->model + offset, 0, length);
		assert_int_equal(disk_zero(f->disk, offset, length), 0);
	} else if (what < 80) {
		memset(f->model + offset, 0, length);
		assert_int_equal(disk_unmap(f->disk, offset, length), 0);
	} else if (what < 90) {
		assert_int_equal(disk_flush(f->disk), 0);
	} else if (what < 93) {
		assert_int_equal(disk_compact(f->disk, what & DISK_COMPACT_ALL, NULL, NULL), 0);
	} else if (what < 96 && resizes) {
		resize(f);
	} else if (what < 98) {
		reopen(f);
	} else {
		compare(f);
	}
}

static void create(struct fixture *f, const struct disk_create *c)
{
	struct disk_problem problem = {0};
	int err = disk_create(f->engine, f->path, c, NULL, &problem);

	if (err)
		print_error("%s\n", disk_problem_text(&problem, f->path, err));
	assert_int_equal(err, 0);
}

static void run(struct fixture *f, enum disk_kind kind, uint32_t sector, uint32_t block,
	bool resizes, unsigned seed)
{
	struct disk_create c = {.format = DISK_FORMAT_VHDX,
		.kind = kind == DISK_DIFFERENCING ? DISK_DYNAMIC : kind,
		.size = 11 * MIB + 12 * KIB,
		.block_size = block,
		.logical_sector = sector};

	f->seed = seed;
	f->sector = sector;
	f->size = c.size;
	memset(f->model, 0, f->room);
	create(f, &c);
	if (kind == DISK_DIFFERENCING) {
		struct disk_create child = {.format = DISK_FORMAT_VHDX,
			.kind = DISK_DIFFERENCING,
			.block_size = block,
			.parent = f->parent};

		open_disk(f, DISK_OPEN_WRITE);
		for (int i = 0; i < 20; i++)
			step(f, false);
		assert_int_equal(disk_close(f->disk), 0);
		assert_int_equal(rename(f->path, f->parent), 0);
		create(f, &child);
	}
	open_disk(f, DISK_OPEN_WRITE);
	for (int i = 0; i < 300; i++)
		step(f, resizes);
	compare(f);
	check(f);
	assert_int_equal(disk_close(f->disk), 0);
	unlink(f->path);
	unlink(f->parent);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	folder_make(f->folder);
	snprintf(f->path, sizeof(f->path), "%s/disk.vhdx", f->folder);
	snprintf(f->parent, sizeof(f->parent), "%s/parent.vhdx", f->folder);
	f->engine = disk_engine_create(NULL);
	f->room = 24 * MIB;
	f->model = malloc(f->room);
	f->read = malloc(f->room);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	disk_engine_destroy(f->engine);
	folder_remove(f->folder);
	free(f->model);
	free(f->read);
	free(f);
	return 0;
}

static void test_dynamic(void **state)
{
	run(*state, DISK_DYNAMIC, 512, MIB, true, 1);
	run(*state, DISK_DYNAMIC, 4096, MIB, true, 2);
	run(*state, DISK_DYNAMIC, 512, 4 * MIB, true, 3);
}

static void test_fixed(void **state)
{
	run(*state, DISK_FIXED, 512, MIB, true, 4);
	run(*state, DISK_FIXED, 4096, 2 * MIB, true, 5);
}

static void test_differencing(void **state)
{
	run(*state, DISK_DIFFERENCING, 512, MIB, true, 6);
	run(*state, DISK_DIFFERENCING, 4096, MIB, true, 7);
	run(*state, DISK_DIFFERENCING, 512, 4 * MIB, true, 8);
	/* Bits of a block on several pages of the bitmap. */
	run(*state, DISK_DIFFERENCING, 512, 32 * MIB, true, 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_dynamic, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_fixed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_differencing, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
