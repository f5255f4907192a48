/*
 * vhdx_threads - a VHDX disk used by several threads at once, with tables that do not fit into its
 * cache: everybody finds what they wrote, whatever the others do in the same blocks meanwhile.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/disk.h"
#include "disk/file.h"
#include "folder.h"

#define KIB	1024ull
#define MIB	(1024 * KIB)
#define TIB	(MIB * MIB)
#define THREADS 4
#define AREAS	480	     /* places that are used, a BAT page or more apart ... */
#define STRIDE	(1030 * MIB) /* ... of the disk's AREAS * STRIDE bytes */
#define UNIT	(16 * KIB)   /* what a thread writes at once */
#define UNITS	12	     /* of an area, one after another; some are in the next block */
#define STEPS	1500

struct fixture {
	struct disk_engine *engine;
	char folder[FOLDER], path[128], parent[128];
	struct disk *disk;
	unsigned version[AREAS][UNITS]; /* 0: zeros; each unit has one thread that changes it */
	_Atomic bool stop;
	_Atomic int failed; /* the line */
};

struct worker {
	struct fixture *f;
	unsigned index, seed;
	uint64_t *wrote, *read;
	pthread_t thread;
};

#define CHECK(w, condition)                                                                        \
	do {                                                                                       \
		if (!(condition))                                                                  \
			(w)->f->failed = __LINE__;                                                 \
	} while (0)

static uint64_t place(unsigned area, unsigned unit)
{
	/* The middle of the units is where a block ends. */
	return area * STRIDE + MIB - UNITS / 2 * UNIT + unit * UNIT;
}

static void contents(uint64_t *words, uint64_t offset, unsigned version)
{
	for (unsigned i = 0; i < UNIT / 8; i++)
		words[i] = version ? ((uint64_t)version << 48) + offset + i : 0;
}

static void verify(struct worker *w, unsigned area, unsigned unit)
{
	uint64_t offset = place(area, unit);

	contents(w->wrote, offset, w->f->version[area][unit]);
	CHECK(w, disk_read(w->f->disk, w->read, UNIT, offset) == 0);
	CHECK(w, memcmp(w->read, w->wrote, UNIT) == 0);
}

static void step(struct worker *w)
{
	struct disk *d = w->f->disk;
	unsigned area = rand_r(&w->seed) % AREAS, what = rand_r(&w->seed) % 16;
	unsigned unit = rand_r(&w->seed) % (UNITS / THREADS) * THREADS + w->index;
	unsigned *version = &w->f->version[area][unit];
	uint64_t offset = place(area, unit);

	if (what < 8) {
		contents(w->wrote, offset, ++*version);
		CHECK(w, disk_write(d, w->wrote, UNIT, offset) == 0);
	} else if (what < 10) {
		*version = 0;
		CHECK(w, (what & 1 ? disk_unmap : disk_zero)(d, offset, UNIT) == 0);
	} else if (what == 10 && rand_r(&w->seed) % 8 == 0) {
		CHECK(w, disk_flush(d) == 0);
	} else {
		verify(w, area, unit);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < STEPS && !w->f->failed; i++)
		step(w);
	return NULL;
}

/* Blocks of its own come and go all the time: rooms that others get. */
static void *churn(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; !w->f->stop && !w->f->failed; i++) {
		uint64_t block = (i % 7) * STRIDE + 16 * MIB;

		contents(w->wrote, block, i + 1);
		CHECK(w, disk_write(w->f->disk, w->wrote, UNIT, block) == 0);
		CHECK(w, disk_read(w->f->disk, w->read, UNIT, block) == 0);
		CHECK(w, memcmp(w->read, w->wrote, UNIT) == 0);
		CHECK(w, disk_unmap(w->f->disk, block, MIB) == 0);
		CHECK(w, disk_read(w->f->disk, w->read, UNIT, block) == 0);
		CHECK(w, !w->read[0] && !memcmp(w->read, w->read + 1, UNIT - 8));
		if (i % 5 == 0)
			CHECK(w, disk_flush(w->f->disk) == 0);
	}
	return NULL;
}

static void start(struct worker *w, struct fixture *f, unsigned index, void *(*what)(void *))
{
	*w = (struct worker){.f = f, .index = index, .seed = index + 1};
	w->wrote = malloc(UNIT);
	w->read = malloc(UNIT);
	assert_int_equal(pthread_create(&w->thread, NULL, what, w), 0);
}

static void finish(struct worker *w)
{
	pthread_join(w->thread, NULL);
	free(w->wrote);
	free(w->read);
}

static void open_disk(struct fixture *f)
{
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE, .cache = 1};

	assert_int_equal(disk_open(f->engine, f->path, &options, &f->disk, NULL), 0);
}

static void verify_all(struct fixture *f)
{
	struct worker w = {.f = f, .wrote = malloc(UNIT), .read = malloc(UNIT)};
	struct disk_check check = {0};

	for (unsigned area = 0; area < AREAS; area++)
		for (unsigned unit = 0; unit < UNITS; unit++)
			verify(&w, area, unit);
	free(w.wrote);
	free(w.read);
	assert_int_equal(f->failed, 0);
	assert_int_equal(disk_check(f->disk, &check, NULL), 0);
	assert_int_equal(check.errors, 0);
}

static void run(struct fixture *f)
{
	struct worker w[THREADS], churner;

	open_disk(f);
	start(&churner, f, THREADS, churn);
	for (unsigned i = 0; i < THREADS; i++)
		start(&w[i], f, i, work);
	for (unsigned i = 0; i < THREADS; i++)
		finish(&w[i]);
	f->stop = true;
	finish(&churner);
	assert_int_equal(f->failed, 0);
	verify_all(f);
	assert_int_equal(disk_close(f->disk), 0);
	open_disk(f);
	verify_all(f);
	assert_int_equal(disk_close(f->disk), 0);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	folder_make(f->folder);
	snprintf(f->path, sizeof(f->path), "%s/disk.vhdx", f->folder);
	snprintf(f->parent, sizeof(f->parent), "%s/parent.vhdx", f->folder);
	f->engine = disk_engine_create(NULL);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	disk_engine_destroy(f->engine);
	folder_remove(f->folder);
	free(f);
	return 0;
}

static void create(struct fixture *f, const char *path, enum disk_kind kind)
{
	struct disk_create c = {.format = DISK_FORMAT_VHDX,
		.kind = kind,
		.size = AREAS * STRIDE,
		.block_size = MIB,
		.parent = kind == DISK_DIFFERENCING ? f->parent : NULL};

	assert_int_equal(disk_create(f->engine, path, &c, NULL, NULL), 0);
}

static void test_dynamic(void **state)
{
	struct fixture *f = *state;

	create(f, f->path, DISK_DYNAMIC);
	run(f);
}

static void test_differencing(void **state)
{
	struct fixture *f = *state;

	create(f, f->parent, DISK_DYNAMIC);
	create(f, f->path, DISK_DIFFERENCING);
	run(f);
}

/* ---- Room that is on its way from one block to another -------------------------------------- */

struct late_writer {
	struct disk *disk;
	_Atomic bool armed; /* the next room that is zeroed */
	uint8_t data[UNIT];
	int result;
};

static void *write_late(void *arg)
{
	struct late_writer *w = arg;

	w->result = disk_write(w->disk, w->data, UNIT, 5 * MIB);
	return NULL;
}

/* A room is about to be zeroed: somebody looks for room meanwhile, and writes to what he gets. */
static uint64_t began(void *ctx, const char *path, enum disk_event event, uint64_t offset,
	uint64_t length, const struct iovec *iov, unsigned n)
{
	struct late_writer *w = ctx;
	pthread_t thread;

	if (event == DISK_EVENT_ZERO && length == MIB && atomic_exchange(&w->armed, false)) {
		assert_int_equal(pthread_create(&thread, NULL, write_late, w), 0);
		pthread_join(thread, NULL);
	}
	return 0;
}

static void ended(void *ctx, uint64_t id, int result)
{
	/* What was changed is of no interest here. */
}

/* The file ends with its last block, so that who needs room looks for unused room in it. */
static void make_full_file(struct fixture *f, const void *data)
{
	struct disk_create c = {.format = DISK_FORMAT_VHDX,
		.kind = DISK_DYNAMIC,
		.size = 64 * MIB,
		.block_size = MIB};

	assert_int_equal(disk_create(f->engine, f->path, &c, NULL, NULL), 0);
	open_disk(f);
	assert_int_equal(disk_write(f->disk, data, UNIT, 0), 0);
	assert_int_equal(disk_write(f->disk, data, UNIT, MIB), 0);
	assert_int_equal(disk_close(f->disk), 0);
}

static void test_room_being_zeroed(void **state)
{
	struct fixture *f = *state;
	struct late_writer w = {.result = -EIO};
	const struct disk_recorder recorder = {.began = began, .ended = ended, .ctx = &w};
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE, .recorder = &recorder};
	uint8_t read[UNIT];

	memset(w.data, 0x5a, UNIT);
	make_full_file(f, w.data);
	assert_int_equal(disk_open(f->engine, f->path, &options, &f->disk, NULL), 0);
	w.disk = f->disk;
	assert_int_equal(disk_unmap(f->disk, 0, MIB), 0);
	w.armed = true;
	assert_int_equal(disk_flush(f->disk), 0);
	assert_false(w.armed);
	assert_int_equal(w.result, 0);
	assert_int_equal(disk_read(f->disk, read, UNIT, 5 * MIB), 0);
	assert_memory_equal(read, w.data, UNIT);
	assert_int_equal(disk_close(f->disk), 0);
	open_disk(f);
	assert_int_equal(disk_read(f->disk, read, UNIT, 5 * MIB), 0);
	assert_memory_equal(read, w.data, UNIT);
	assert_int_equal(disk_close(f->disk), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_dynamic, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_room_being_zeroed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_differencing, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
