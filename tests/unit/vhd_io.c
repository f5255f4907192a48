/*
 * vhd_io.c - reading, writing, unmapping and flushing VHDs; that what they hold is what was
 * written, whatever came before; that their files stay whole and no larger than they need to be.
 */
#include "vhd_image.h"

#include <endian.h>
#include <pthread.h>
#include <sys/stat.h>

#define MIB (1u << 20)

/* ---- One after the other --------------------------------------------------------------------- */

static void fixed(void **state)
{
	struct disk *d;

	make("fixed.vhd", DISK_FIXED, 3 * MIB + 512, 0, NULL);
	assert_int_equal(file_size("fixed.vhd"), 3 * MIB + 1024);
	d = opened("fixed.vhd", DISK_OPEN_WRITE);
	put(d, 0, 4096, 1);
	put(d, 3 * MIB, 512, 2);
	assert_int_equal(disk_close(d), 0);
	d = opened("fixed.vhd", 0);
	holds(d, 0, 4096, 1);
	holds(d, 4096, 4096, 0);
	holds(d, 3 * MIB, 512, 2);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(file_size("fixed.vhd"), 3 * MIB + 1024);
	assert_int_equal(checked("fixed.vhd", false, NULL), 0);
}

static void dynamic(void **state)
{
	struct disk *d;
	uint64_t empty;

	make("dynamic.vhd", DISK_DYNAMIC, 100 * (uint64_t)MIB + 512, 0, NULL);
	empty = file_size("dynamic.vhd");
	assert_true(empty < 8192);
	d = opened("dynamic.vhd", DISK_OPEN_WRITE);
	put(d, 2 * MIB - 1024, 2048, 3); /* across a block's end */
	put(d, 100 * MIB, 512, 4);	 /* in a block that is not whole */
	assert_int_equal(disk_close(d), 0);
	/* Three blocks, and nothing in reserve. */
	assert_in_range(file_size("dynamic.vhd"), empty + 6 * MIB, empty + 6 * MIB + 4 * 4096);
	d = opened("dynamic.vhd", 0);
	holds(d, 0, 2 * MIB - 1024, 0);
	holds(d, 2 * MIB - 1024, 2048, 3);
	holds(d, 2 * MIB + 1024, 4096, 0);
	holds(d, 50 * MIB, 4096, 0);
	holds(d, 100 * MIB, 512, 4);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(checked("dynamic.vhd", false, NULL), 0);
}

static void unmap_gives_room_back(void **state)
{
	struct disk *d;
	uint64_t full;
	struct stat st;

	make("unmap.vhd", DISK_DYNAMIC, 64 * MIB, 0, NULL);
	d = opened("unmap.vhd", DISK_OPEN_WRITE);
	for (unsigned i = 0; i < 8; i++)
		put(d, i * 2 * MIB, 2 * MIB, i + 1);
	assert_int_equal(disk_flush(d), 0);
	full = file_size("unmap.vhd");
	assert_int_equal(disk_unmap(d, 2 * MIB, 8 * MIB), 0);
	assert_int_equal(disk_unmap(d, 12 * MIB + 512, MIB), 0);
	holds(d, 2 * MIB, 8 * MIB, 0);
	assert_int_equal(disk_flush(d), 0);
	/* Four other blocks have their room, and read as zeros where nothing was written. */
	for (unsigned i = 0; i < 4; i++)
		put(d, (20 + i * 2) * MIB + 8192, 4096, i + 100);
	assert_int_equal(disk_flush(d), 0);
	assert_int_equal(file_size("unmap.vhd"), full);
	for (unsigned i = 0; i < 4; i++) {
		holds(d, (20 + i * 2) * MIB, 8192, 0);
		holds(d, (20 + i * 2) * MIB + 8192, 4096, i + 100);
		holds(d, (20 + i * 2) * MIB + 12288, 2 * MIB - 12288, 0);
	}
	holds(d, 0, 2 * MIB, 1);
	holds(d, 10 * MIB, 2 * MIB, 6);
	holds(d, 12 * MIB + 512, MIB, 0);
	holds(d, 14 * MIB, 2 * MIB, 8);
	assert_int_equal(disk_unmap(d, 0, 64 * MIB), 0);
	assert_int_equal(disk_close(d), 0);
	/* All of it. */
	assert_int_equal(stat(image("unmap.vhd"), &st), 0);
	assert_true(st.st_size < 8192);
	assert_int_equal(checked("unmap.vhd", false, NULL), 0);
}

static void zeros_allocate_nothing(void **state)
{
	struct disk *d;

	make("zero.vhd", DISK_DYNAMIC, 64 * MIB, 0, NULL);
	d = opened("zero.vhd", DISK_OPEN_WRITE);
	assert_int_equal(disk_zero(d, 0, 64 * MIB), 0);
	assert_int_equal(disk_close(d), 0);
	assert_true(file_size("zero.vhd") < 8192);
}

static void chain(void **state)
{
	struct disk *d;

	make("a.vhd", DISK_DYNAMIC, 16 * MIB + 512, 0, NULL);
	d = opened("a.vhd", DISK_OPEN_WRITE);
	put(d, 0, 4 * MIB, 1);
	put(d, 16 * MIB, 512, 9);
	assert_int_equal(disk_close(d), 0);
	make("b.vhd", DISK_DIFFERENCING, 0, 512 * 1024, "a.vhd");
	d = opened("b.vhd", DISK_OPEN_WRITE);
	put(d, 512, 512, 2);
	put(d, 3 * MIB + 1024, MIB, 3);
	assert_int_equal(disk_unmap(d, MIB, MIB), 0);
	assert_int_equal(disk_close(d), 0);
	make("c.vhd", DISK_DIFFERENCING, 0, 0, "b.vhd");
	d = opened("c.vhd", DISK_OPEN_WRITE);
	put(d, 3 * MIB + 1024, 512, 4);
	holds(d, 512, 512, 2);
	holds(d, MIB, MIB, 0);
	holds(d, 3 * MIB + 1024, 512, 4);
	holds(d, 4 * MIB + 1024, MIB, 0);
	holds(d, 16 * MIB, 512, 9);
	assert_int_equal(disk_close(d), 0);
	d = opened("b.vhd", 0);
	holds(d, 3 * MIB + 1024, MIB, 3);
	assert_int_equal(disk_close(d), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
			checked((const char *[]){"a.vhd", "b.vhd", "c.vhd"}[i], false, NULL), 0);
}

/* A file that was left as it is when the power goes: no close. */
static void flushed_is_there_without_close(void **state)
{
	struct disk *d, *again;

	make("left.vhd", DISK_DYNAMIC, 64 * MIB, 0, NULL);
	d = opened("left.vhd", DISK_OPEN_WRITE | DISK_OPEN_SHARED);
	put(d, 0, 4096, 1);
	put(d, 32 * MIB, 4096, 2);
	assert_int_equal(disk_flush(d), 0);
	put(d, 48 * MIB, 4096, 3); /* not flushed: is not named yet */
	again = opened("left.vhd", DISK_OPEN_SHARED);
	holds(again, 0, 4096, 1);
	holds(again, 32 * MIB, 4096, 2);
	holds(again, 48 * MIB, 4096, 0);
	assert_int_equal(disk_close(again), 0);
	/* The footer is at the file's end. */
	assert_int_equal(checked("left.vhd", false, NULL), 0);
	assert_int_equal(disk_close(d), 0);
}

static void read_only_is_not_written(void **state)
{
	struct disk *d;
	uint8_t before[8192], after[8192];

	make("ro.vhd", DISK_DYNAMIC, 4 * MIB, 0, NULL);
	peek("ro.vhd", before, file_size("ro.vhd"), 0);
	d = opened("ro.vhd", 0);
	assert_int_not_equal(disk_write(d, before, 512, 0), 0);
	assert_int_not_equal(disk_unmap(d, 0, 512), 0);
	assert_int_not_equal(disk_zero(d, 0, 512), 0);
	assert_int_not_equal(disk_resize(d, MIB, true, NULL), 0);
	assert_int_not_equal(disk_compact(d, DISK_COMPACT_ALL, NULL, NULL), 0);
	disk_close(d);
	peek("ro.vhd", after, file_size("ro.vhd"), 0);
	assert_memory_equal(before, after, file_size("ro.vhd"));
}

/* ---- At random ------------------------------------------------------------------------------- */

#define SECTORS 16384u /* of the disk */
#define SPAN	300u   /* sectors, at most, of an operation */

struct model {
	uint32_t seed[SECTORS]; /* what fill() each sector has; 0: zeros */
	uint32_t state, next;
};

static uint32_t chance(struct model *m, uint32_t below)
{
	m->state ^= m->state << 13;
	m->state ^= m->state >> 17;
	m->state ^= m->state << 5;
	return m->state % below;
}

static void write_run(struct disk *d, struct model *m, uint32_t first, uint32_t n)
{
	uint8_t *bytes = malloc(n * 512);

	for (uint32_t i = 0; i < n; i++) {
		m->seed[first + i] = ++m->next;
		fill(bytes + i * 512, 512, m->seed[first + i]);
	}
	assert_int_equal(disk_write(d, bytes, n * 512, first * 512), 0);
	free(bytes);
}

static void compare_all(struct disk *d, const struct model *m)
{
	uint8_t *bytes = malloc(SECTORS * 512), sector[512];

	assert_int_equal(disk_read(d, bytes, SECTORS * 512, 0), 0);
	for (uint32_t i = 0; i < SECTORS; i++) {
		fill(sector, 512, m->seed[i]);
		if (memcmp(sector, bytes + i * 512, 512) != 0)
			fail_msg("sector %u is wrong", i);
	}
	free(bytes);
}

static void some_operations(struct disk *d, struct model *m, unsigned n)
{
	while (n--) {
		uint32_t first = chance(m, SECTORS), most = SECTORS - first;
		uint32_t count = 1 + chance(m, most < SPAN ? most : SPAN);
		/* Now and then a whole range of blocks. */
		bool large = chance(m, 8) == 0;

		if (large) {
			first = first / 4096 * 4096;
			count = SECTORS - first < 4096 ? SECTORS - first : 4096;
		}
		switch (chance(m, 8)) {
		case 0:
			assert_int_equal(disk_unmap(d, first * 512, count * 512), 0);
			memset(&m->seed[first], 0, count * sizeof(m->seed[0]));
			break;
		case 1:
			assert_int_equal(disk_zero(d, first * 512, count * 512), 0);
			memset(&m->seed[first], 0, count * sizeof(m->seed[0]));
			break;
		case 2:
			assert_int_equal(disk_flush(d), 0);
			break;
		case 3:
			if (chance(m, 4) == 0)
				assert_int_equal(disk_compact(d, chance(m, 4), NULL, NULL), 0);
			break;
		default:
			if (!large)
				write_run(d, m, first, count);
		}
	}
}

static void random_operations(enum disk_kind kind, uint32_t block_size, uint32_t seed)
{
	struct model *m = calloc(1, sizeof(*m));
	struct disk *d;

	m->state = seed;
	if (kind == DISK_DIFFERENCING) {
		make("random-base.vhd", DISK_DYNAMIC, SECTORS * 512, 0, NULL);
		d = opened("random-base.vhd", DISK_OPEN_WRITE);
		some_operations(d, m, 20);
		assert_int_equal(disk_close(d), 0);
		make("random.vhd", kind, 0, block_size, "random-base.vhd");
	} else {
		make("random.vhd", kind, SECTORS * 512, block_size, NULL);
	}
	for (unsigned round = 0; round < 4; round++) {
		d = opened("random.vhd", DISK_OPEN_WRITE);
		if (kind == DISK_FIXED) {
			for (unsigned i = 0; i < 30; i++)
				write_run(d, m, chance(m, SECTORS - 64), 1 + chance(m, 64));
		} else {
			some_operations(d, m, 60);
		}
		compare_all(d, m);
		assert_int_equal(disk_close(d), 0);
		assert_int_equal(checked("random.vhd", false, NULL), 0);
		d = opened("random.vhd", 0);
		compare_all(d, m);
		assert_int_equal(disk_close(d), 0);
	}
	free(m);
}

static void random_fixed(void **state)
{
	random_operations(DISK_FIXED, 0, 1);
}

static void random_dynamic(void **state)
{
	static const uint32_t blocks[] = {4096, 65536, 512 * 1024, 2 * MIB, 4 * MIB};

	for (uint32_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		random_operations(DISK_DYNAMIC, blocks[i], i + 2);
}

static void random_differencing(void **state)
{
	static const uint32_t blocks[] = {4096, 65536, 512 * 1024, 2 * MIB, 4 * MIB};

	for (uint32_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		random_operations(DISK_DIFFERENCING, blocks[i], i + 20);
}

/* ---- At once --------------------------------------------------------------------------------- */

#define THREADS	 4u
#define WORKINGS 400u

struct worker {
	pthread_t thread;
	struct disk *d;
	uint32_t number;
};

/* Each has its own sectors, in blocks that all share. */
static void *work(void *arg)
{
	struct worker *w = arg;
	uint8_t sector[512], found[512];
	uint32_t last[64] = {0};
	uint32_t state = w->number + 1;

	for (uint32_t i = 0; i < WORKINGS; i++) {
		uint32_t slot = (state = state * 1664525 + 1013904223) >> 26;
		uint64_t offset = ((uint64_t)slot * 256 + w->number) * 512;

		if (i % 16 == 15) {
			assert_int_equal(disk_flush(w->d), 0);
		} else if (i % 8 == 3) {
			assert_int_equal(disk_unmap(w->d, offset, 512), 0);
			last[slot] = 0;
		} else {
			last[slot] = w->number << 16 | (i + 1);
			fill(sector, 512, last[slot]);
			assert_int_equal(disk_write(w->d, sector, 512, offset), 0);
		}
		fill(sector, 512, last[slot]);
		assert_int_equal(disk_read(w->d, found, 512, offset), 0);
		assert_memory_equal(sector, found, 512);
	}
	return NULL;
}

static void threads_on(const char *name)
{
	struct worker w[THREADS];
	struct disk *d = opened(name, DISK_OPEN_WRITE);

	for (uint32_t i = 0; i < THREADS; i++) {
		w[i] = (struct worker){.d = d, .number = i};
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	/* Blocks that nobody works in come and go meanwhile. */
	for (unsigned i = 0; i < 40; i++) {
		put(d, (16 + i % 4 * 2) * MIB, 2 * MIB, i + 1);
		holds(d, (16 + i % 4 * 2) * MIB, 2 * MIB, i + 1);
		assert_int_equal(disk_unmap(d, (16 + i % 4 * 2) * MIB, 2 * MIB), 0);
		if (i % 3 == 0)
			assert_int_equal(disk_flush(d), 0);
	}
	for (uint32_t i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(checked(name, false, NULL), 0);
}

static void threads_dynamic(void **state)
{
	make("threads.vhd", DISK_DYNAMIC, 32 * MIB, 0, NULL);
	threads_on("threads.vhd");
}

static void threads_differencing(void **state)
{
	make("threads-base.vhd", DISK_DYNAMIC, 32 * MIB, 0, NULL);
	make("threads-child.vhd", DISK_DIFFERENCING, 0, 0, "threads-base.vhd");
	threads_on("threads-child.vhd");
}

/* The smallest cache: pages of bitmaps are brought and written all the time. */
static void small_cache(void **state)
{
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE, .cache = 200000};
	struct disk *d;

	make("small-base.vhd", DISK_DYNAMIC, 1024 * (uint64_t)MIB, 0, NULL);
	make("small.vhd", DISK_DIFFERENCING, 0, 128 * 1024, "small-base.vhd");
	assert_int_equal(disk_open(engine, image("small.vhd"), &options, &d, NULL), 0);
	for (uint64_t i = 0; i < 700; i++)
		put(d, i * MIB + i % 200 * 512, 512, i + 1);
	for (uint64_t i = 0; i < 700; i++) {
		holds(d, i * MIB + i % 200 * 512, 512, i + 1);
		holds(d, i * MIB + i % 200 * 512 + 512, 512, 0);
	}
	assert_int_equal(disk_close(d), 0);
	/* One that cannot even hold the block table says so. */
	options.cache = 16384;
	struct disk_problem problem = {0};
	assert_int_equal(disk_open(engine, image("small.vhd"), &options, &d, &problem), -ENOMEM);
	assert_non_null(strstr(problem.text, "larger cache"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fixed),
		cmocka_unit_test(dynamic),
		cmocka_unit_test(unmap_gives_room_back),
		cmocka_unit_test(zeros_allocate_nothing),
		cmocka_unit_test(chain),
		cmocka_unit_test(flushed_is_there_without_close),
		cmocka_unit_test(read_only_is_not_written),
		cmocka_unit_test(random_fixed),
		cmocka_unit_test(random_dynamic),
		cmocka_unit_test(random_differencing),
		cmocka_unit_test(threads_dynamic),
		cmocka_unit_test(threads_differencing),
		cmocka_unit_test(small_cache),
	};

	return cmocka_run_group_tests(tests, vhd_set_up, vhd_tear_down);
}
