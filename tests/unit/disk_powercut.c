/*
 * disk_powercut - nothing that was flushed is lost, and the disk is consistent, wherever a power
 * cut falls.
 *
 * A run is a random sequence of operations on a disk, recorded. Then, for each moment at which
 * something began or ended at its file, the file is made as it can be after a cut (powercut.h),
 * opened for reading only and opened for writing, checked and read: each sector must have what it
 * had at the last flush that was answered, or what was written since.
 *
 * usage: disk_powercut [CUTS [SEED [TEST]]]: at least so many cuts for each kind of disk.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/operations.h"
#include "powercut.h"

#define KIB	  1024ull
#define MIB	  (1024 * KIB)
#define SIZE	  (5 * MIB + 44 * KIB) /* at the beginning */
#define SIZE_MAX_ (8 * MIB)
#define SECTOR	  POWERCUT_SECTOR
#define SECTORS	  (SIZE_MAX_ / SECTOR)
#define STEPS	  40 /* operations of a run */
#define BURST	  5  /* writes at once */
#define CHANGES	  4096

static unsigned cuts_wanted = 100, first_seed = 1;

/* ---- The model ------------------------------------------------------------------------------- */

/*
 * A write has a number, and a sector's contents are made of it and the sector's place; number 0 is
 * zeros. Sectors of a change may have the number from its beginning on. A change of size has no
 * sectors.
 */
struct change {
	uint64_t began; /* moments */
	uint32_t first, n, number;
	uint64_t size; /* bytes, 0: as before */
};

/* A flush that was answered covers the first @changes. */
struct mark {
	uint64_t ended;
	unsigned changes;
};

struct run {
	struct disk_engine *engine;
	char folder[64], path[128], parent[128];
	enum disk_format format;
	enum disk_kind kind;
	uint32_t sector, block;
	unsigned seed, number;

	struct disk *disk;
	uint64_t size;
	struct powercut *cut; /* NULL: nothing is recorded */
	struct change change[CHANGES];
	struct mark mark[CHANGES];
	unsigned n_changes, n_marks;

	/* While cutting: what is durable, and up to which change. */
	uint32_t number_at[SECTORS];
	uint64_t durable_size;
	unsigned durable;
	uint8_t *buffer;
	const char *what; /* for messages */
	uint64_t moment;
	unsigned cut_seed;
};

static unsigned random_below(struct run *r, unsigned n)
{
	return (unsigned)rand_r(&r->seed) % n;
}

static uint64_t word_of(uint32_t number, uint32_t sector, unsigned i)
{
	return number ? (uint64_t)number << 32 | (sector * (SECTOR / 8) + i) : 0;
}

static struct change *add_change(struct run *r)
{
	struct change *c = &r->change[r->n_changes++];

	assert_true(r->n_changes < CHANGES);
	*c = (struct change){.began = r->cut ? powercut_moment(r->cut) : 0};
	return c;
}

/* From now on sectors may have @number. */
static void will_have(struct run *r, uint64_t offset, uint64_t length, uint32_t number)
{
	struct change *c = add_change(r);

	c->first = offset / SECTOR;
	c->n = length / SECTOR;
	c->number = number;
}

static void flushed(struct run *r, unsigned changes)
{
	r->mark[r->n_marks++] = (struct mark){r->cut ? powercut_moment(r->cut) : 0, changes};
}

/* ---- Operations ------------------------------------------------------------------------------ */

static void succeed(struct run *r, const char *what, int err)
{
	if (err)
		fail_msg("%s: %s (seed %u)", what, strerror(-err), first_seed);
}

static void open_disk(struct run *r, unsigned flags, const struct disk_recorder *recorder)
{
	struct disk_open_options options = {.flags = flags, .recorder = recorder};
	struct disk_problem problem = {0};
	int err = disk_open(r->engine, r->path, &options, &r->disk, &problem);

	if (err)
		fail_msg("%s: %s (seed %u, moment %llu, cut %u)", r->what,
			disk_problem_text(&problem, r->path, err), first_seed,
			(unsigned long long)r->moment, r->cut_seed);
}

static void close_disk(struct run *r)
{
	unsigned changes = r->n_changes;

	succeed(r, "close", disk_close(r->disk));
	flushed(r, changes);
}

static void flush(struct run *r)
{
	unsigned changes = r->n_changes;

	succeed(r, "flush", disk_flush(r->disk));
	flushed(r, changes);
}

/* A new write's bytes. */
static uint64_t *compose(struct run *r, uint64_t offset, uint64_t length)
{
	uint64_t *words = malloc(length);
	uint32_t number = ++r->number;

	for (uint64_t i = 0; i < length / 8; i++)
		words[i] = word_of(number, (offset + i * 8) / SECTOR, i % (SECTOR / 8));
	will_have(r, offset, length, number);
	return words;
}

static void write_sectors(struct run *r, uint64_t offset, uint64_t length)
{
	uint64_t *words = compose(r, offset, length);

	succeed(r, "write", disk_write(r->disk, words, length, offset));
	free(words);
}

static void answered(struct disk_request *q)
{
}

/* A run of bytes as several writes, all of them under way at once. */
static void write_burst(struct run *r, uint64_t offset, uint64_t length)
{
	struct disk_queue *q = disk_queue_create(r->engine, BURST);
	struct disk_request request[BURST] = {0};
	struct iovec area[BURST];
	uint64_t piece = (length / BURST / r->sector + 1) * r->sector;
	unsigned n = 0, done = 0;

	for (uint64_t end = offset + length; offset < end; offset += piece, n++) {
		if (piece > end - offset)
			piece = end - offset;
		area[n] = (struct iovec){compose(r, offset, piece), piece};
		request[n] = (struct disk_request){.op = DISK_WRITE,
			.offset = offset,
			.length = piece,
			.iov = &area[n],
			.n_iov = 1,
			.done = answered};
		disk_submit(q, r->disk, &request[n]);
	}
	while (done < n)
		done += disk_queue_run(q, true);
	for (unsigned i = 0; i < n; i++) {
		succeed(r, "write", request[i].result);
		free(area[i].iov_base);
	}
	disk_queue_destroy(q);
}

static void write_zeros(struct run *r, uint64_t offset, uint64_t length)
{
	uint8_t *zeros = calloc(1, length);

	assert_non_null(zeros);
	will_have(r, offset, length, 0);
	succeed(r, "write of zeros", disk_write(r->disk, zeros, length, offset));
	free(zeros);
}

/* Sectors, or blocks. */
static void choose(struct run *r, uint64_t *offset, uint64_t *length)
{
	uint64_t unit = random_below(r, 4) ? r->sector : MIB, units = r->size / unit;

	if (!units) {
		unit = r->sector;
		units = r->size / unit;
	}
	*offset = random_below(r, units) * unit;
	*length = (1 + random_below(r, unit == MIB ? 3 : 40)) * unit;
	if (*length > r->size - *offset)
		*length = r->size - *offset;
}

static void resize(struct run *r)
{
	uint64_t size = (1 + random_below(r, SIZE_MAX_ / r->sector)) * r->sector;
	struct change *c;

	if (size < r->size)
		will_have(r, size, r->size - size, 0);
	c = add_change(r);
	c->size = size;
	succeed(r, "resize", disk_resize(r->disk, size, true, NULL));
	r->size = size;
}

static void reopen(struct run *r)
{
	close_disk(r);
	open_disk(r, DISK_OPEN_WRITE, r->cut ? &r->cut->recorder : NULL);
}

static void step(struct run *r, bool may_resize)
{
	unsigned what = random_below(r, 100);
	uint64_t offset, length;

	choose(r, &offset, &length);
	if (what < 5) {
		write_zeros(r, offset, length);
	} else if (what < 30) {
		write_sectors(r, offset, length);
	} else if (what < 45) {
		write_burst(r, offset, length);
	} else if (what < 55) {
		will_have(r, offset, length, 0);
		succeed(r, "zero", disk_zero(r->disk, offset, length));
	} else if (what < 70) {
		will_have(r, offset, length, 0);
		succeed(r, "unmap", disk_unmap(r->disk, offset, length));
	} else if (what < 85) {
		flush(r);
	} else if (what < 90) {
		int err = disk_compact(r->disk, what & DISK_COMPACT_ALL, NULL, NULL);

		/* A fixed VHD has nothing to give back. */
		succeed(r, "compact", err == -ENOTSUP && r->kind == DISK_FIXED ? 0 : err);
	} else if (what < 95 && may_resize) {
		resize(r);
	} else if (what >= 95) {
		reopen(r);
	}
}

static void create(struct run *r, const struct disk_create *c)
{
	struct disk_problem problem = {0};
	struct powercut cut;
	int err;

	powercut_init(&cut);
	cut.path[cut.n_files++] = strdup(r->path);
	err = disk_create(r->engine, r->path, c, &cut.recorder, &problem);
	if (err)
		fail_msg("%s", disk_problem_text(&problem, r->path, err));
	/* It appears under its name whole and durable. */
	assert_int_equal(powercut_unflushed(&cut, r->path), 0);
	powercut_fini(&cut);
}

/* A new disk, which has been in use for a while: its log is somewhere, its room is used. */
static void prepare(struct run *r)
{
	struct disk_create c = {.format = r->format,
		.kind = r->kind == DISK_DIFFERENCING ? DISK_DYNAMIC : r->kind,
		.size = SIZE,
		.block_size = r->block,
		.logical_sector = r->sector};

	r->size = SIZE;
	create(r, &c);
	if (r->kind != DISK_DIFFERENCING)
		return;
	open_disk(r, DISK_OPEN_WRITE, NULL);
	for (int i = 0; i < 20; i++)
		step(r, false);
	succeed(r, "close", disk_close(r->disk));
	succeed(r, "rename", rename(r->path, r->parent) ? -errno : 0);
	create(r, &(struct disk_create){.format = r->format,
			  .kind = DISK_DIFFERENCING,
			  .block_size = r->block,
			  .parent = r->parent});
}

/* ---- Cuts ------------------------------------------------------------------------------------ */

static void make_durable(struct run *r, unsigned changes)
{
	for (; r->durable < changes; r->durable++) {
		const struct change *c = &r->change[r->durable];

		for (uint32_t i = 0; i < c->n; i++)
			r->number_at[c->first + i] = c->number;
		if (c->size)
			r->durable_size = c->size;
	}
}

/* The changes that the last flush before the cut covered are durable. */
static void advance(struct run *r, uint64_t moment)
{
	for (unsigned i = 0; i < r->n_marks; i++)
		if (r->mark[i].ended <= moment)
			make_durable(r, r->mark[i].changes);
}

static uint32_t number_of(struct run *r, uint32_t sector, const uint64_t *words)
{
	uint32_t number = words[0] >> 32;

	for (unsigned i = 0; i < SECTOR / 8; i++)
		if (words[i] != word_of(number, sector, i))
			fail_msg("%s: sector %u is torn (seed %u, moment %llu, cut %u)", r->what,
				sector, first_seed, (unsigned long long)r->moment, r->cut_seed);
	return number;
}

static bool may_have(const struct run *r, uint32_t sector, uint32_t number)
{
	for (unsigned i = r->durable; i < r->n_changes && r->change[i].began <= r->moment; i++) {
		const struct change *c = &r->change[i];

		if (sector - c->first < c->n && c->number == number)
			return true;
	}
	return r->number_at[sector] == number;
}

static void check_size(struct run *r)
{
	uint64_t size = disk_size(r->disk);
	bool ok = size == r->durable_size;

	for (unsigned i = r->durable; i < r->n_changes && r->change[i].began <= r->moment; i++)
		ok |= r->change[i].size == size;
	if (!ok)
		fail_msg("%s: %llu bytes long (seed %u, moment %llu, cut %u)", r->what,
			(unsigned long long)size, first_seed, (unsigned long long)r->moment,
			r->cut_seed);
}

static void found(void *ctx, bool repaired, const char *text)
{
	print_error("check: %s\n", text);
}

static void check_contents(struct run *r)
{
	uint64_t size = disk_size(r->disk);

	check_size(r);
	succeed(r, "read", disk_read(r->disk, r->buffer, size, 0));
	for (uint32_t i = 0; i < size / SECTOR; i++) {
		uint32_t number =
			number_of(r, i, (const uint64_t *)(r->buffer + i * (uint64_t)SECTOR));

		if (!may_have(r, i, number))
			fail_msg("%s: sector %u has write %u, flushed was %u "
				 "(seed %u, moment %llu, cut %u)",
				r->what, i, number, r->number_at[i], first_seed,
				(unsigned long long)r->moment, r->cut_seed);
	}
}

static void check_tables(struct run *r, bool repair)
{
	struct disk_check c = {.found = repair ? NULL : found, .repair = repair};

	succeed(r, "check", disk_check(r->disk, &c, NULL));
	if (c.errors > c.repaired)
		fail_msg("%s: not consistent (seed %u, moment %llu, cut %u)", r->what, first_seed,
			(unsigned long long)r->moment, r->cut_seed);
}

/* Opening for writing replays the log into the file, and the power fails again meanwhile. */
static void check_second_cut(struct run *r)
{
	struct powercut again;

	r->what = "second cut";
	powercut_init(&again);
	powercut_watch(&again, r->path);
	open_disk(r, DISK_OPEN_WRITE, &again.recorder);
	succeed(r, "close", disk_close(r->disk));
	for (uint64_t moment = 0; moment <= again.now; moment++) {
		powercut_cut(&again, moment, r->cut_seed + moment);
		open_disk(r, 0, NULL);
		check_tables(r, false);
		check_contents(r);
		succeed(r, "close", disk_close(r->disk));
	}
	powercut_fini(&again);
	powercut_cut(r->cut, r->moment, r->cut_seed);
}

/*
 * The disk as the cut left it, then mended, then in use again. A VHD has no log: two copies of
 * something may differ until they are repaired, but what the disk has is right all the time.
 */
static void check_cut(struct run *r)
{
	bool has_log = r->format == DISK_FORMAT_VHDX;

	r->what = "read-only";
	open_disk(r, 0, NULL);
	check_contents(r);
	if (has_log)
		check_tables(r, false);
	succeed(r, "close", disk_close(r->disk));

	if (has_log && random_below(r, 20) == 0)
		check_second_cut(r);

	r->what = "writable";
	open_disk(r, has_log ? DISK_OPEN_WRITE : DISK_OPEN_WRITE | DISK_OPEN_DAMAGED, NULL);
	check_tables(r, !has_log);
	check_contents(r);
	succeed(r, "close", disk_close(r->disk));

	r->what = "mended";
	open_disk(r, 0, NULL);
	check_tables(r, false);
	if (!has_log)
		check_contents(r);
	succeed(r, "close", disk_close(r->disk));
}

/* The names stay, since images name their parents by them. */
static void put_aside(struct run *r)
{
	char aside[80];

	snprintf(aside, sizeof(aside), "%s-done", r->folder);
	succeed(r, "rename", rename(r->folder, aside) ? -errno : 0);
	succeed(r, "mkdir", mkdir(r->folder, 0700) ? -errno : 0);
}

static unsigned cut_everywhere(struct run *r, uint64_t from)
{
	unsigned cuts = 0;

	put_aside(r);
	r->durable_size = SIZE;
	for (r->moment = from; r->moment <= r->cut->now; r->moment++) {
		r->cut_seed = (unsigned)r->moment * 7919 + first_seed;
		powercut_cut(r->cut, r->moment, r->cut_seed);
		advance(r, r->moment);
		check_cut(r);
		cuts++;
	}
	return cuts;
}

static struct run *begin(enum disk_format format, enum disk_kind kind, struct powercut *cut)
{
	static const uint32_t sectors[] = {512, 4096};
	static const uint32_t blocks[] = {MIB, MIB, 2 * MIB, 512 * KIB, 512 * KIB, 2 * MIB};
	struct run *r = calloc(1, sizeof(*r));
	bool memory = access("/dev/shm", W_OK) == 0;

	r->seed = first_seed;
	r->format = format;
	r->kind = kind;
	r->sector = sectors[format == DISK_FORMAT_VHDX ? random_below(r, 2) : 0];
	r->block = blocks[random_below(r, 3) + (format == DISK_FORMAT_VHD ? 3 : 0)];
	r->buffer = malloc(SIZE_MAX_);
	r->engine = disk_engine_create(NULL);
	snprintf(r->folder, sizeof(r->folder), "%s/powercut-XXXXXX", memory ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(r->folder));
	snprintf(r->path, sizeof(r->path), "%s/disk", r->folder);
	snprintf(r->parent, sizeof(r->parent), "%s/parent", r->folder);
	r->what = "run";
	prepare(r);
	powercut_init(cut);
	return r;
}

/* From here on cuts count. */
static void watch(struct run *r, struct powercut *cut)
{
	flushed(r, r->n_changes);
	powercut_watch(cut, r->path);
	if (r->kind == DISK_DIFFERENCING)
		powercut_watch(cut, r->parent);
	r->cut = cut;
}

static void end(struct run *r, struct powercut *cut)
{
	char command[256];

	powercut_fini(cut);
	snprintf(command, sizeof(command), "rm -rf %s %s-done", r->folder, r->folder);
	assert_int_equal(system(command), 0);
	disk_engine_destroy(r->engine);
	free(r->buffer);
	free(r);
}

/* A run of random operations; returns the number of cuts. */
static unsigned run_operations(enum disk_format format, enum disk_kind kind)
{
	struct powercut cut;
	struct run *r = begin(format, kind, &cut);
	unsigned cuts;
	uint64_t from;

	watch(r, &cut);
	open_disk(r, DISK_OPEN_WRITE, &cut.recorder);
	/* So many commits that its log begins again at its beginning, sometimes. */
	for (unsigned i = random_below(r, 4) ? 0 : random_below(r, 150); i; i--) {
		step(r, false);
		flush(r);
	}
	from = powercut_moment(&cut);
	for (int i = 0; i < STEPS; i++)
		step(r, true);
	close_disk(r);
	cuts = cut_everywhere(r, from);
	end(r, &cut);
	return cuts;
}

/* A child is merged into its parent: at any moment it shows what it always did. */
static unsigned run_merge(enum disk_format format, enum disk_kind kind)
{
	struct powercut cut;
	struct run *r = begin(format, kind, &cut);
	struct disk_problem problem = {0};
	unsigned cuts;
	int err;

	open_disk(r, DISK_OPEN_WRITE, NULL);
	for (int i = 0; i < STEPS; i++)
		step(r, false);
	close_disk(r);
	watch(r, &cut);
	open_disk(r, DISK_OPEN_WRITE | DISK_OPEN_WRITE_PARENTS, &cut.recorder);
	err = disk_merge(r->engine, r->disk, &(struct disk_merge){0}, NULL, &problem);
	if (err)
		fail_msg("merge: %s", disk_problem_text(&problem, r->path, err));
	close_disk(r);
	assert_true(powercut_changes(&cut, r->parent) > 0);
	cuts = cut_everywhere(r, 0);
	end(r, &cut);
	return cuts;
}

static void run_all(unsigned (*run)(enum disk_format, enum disk_kind), enum disk_format format,
	enum disk_kind kind)
{
	unsigned cuts = 0, seed = first_seed;

	for (; cuts < cuts_wanted; first_seed++)
		cuts += run(format, kind);
	first_seed = seed;
	print_message("%u cuts\n", cuts);
}

#define RUNS(name, run, format, kind)                                                              \
	static void name(void **state)                                                             \
	{                                                                                          \
		run_all(run, format, kind);                                                        \
	}
RUNS(test_vhdx_dynamic, run_operations, DISK_FORMAT_VHDX, DISK_DYNAMIC)
RUNS(test_vhdx_fixed, run_operations, DISK_FORMAT_VHDX, DISK_FIXED)
RUNS(test_vhdx_differencing, run_operations, DISK_FORMAT_VHDX, DISK_DIFFERENCING)
RUNS(test_vhdx_merge, run_merge, DISK_FORMAT_VHDX, DISK_DIFFERENCING)
RUNS(test_vhd_dynamic, run_operations, DISK_FORMAT_VHD, DISK_DYNAMIC)
RUNS(test_vhd_fixed, run_operations, DISK_FORMAT_VHD, DISK_FIXED)
RUNS(test_vhd_differencing, run_operations, DISK_FORMAT_VHD, DISK_DIFFERENCING)
RUNS(test_vhd_merge, run_merge, DISK_FORMAT_VHD, DISK_DIFFERENCING)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vhdx_dynamic),
		cmocka_unit_test(test_vhdx_fixed),
		cmocka_unit_test(test_vhdx_differencing),
		cmocka_unit_test(test_vhdx_merge),
		cmocka_unit_test(test_vhd_dynamic),
		cmocka_unit_test(test_vhd_fixed),
		cmocka_unit_test(test_vhd_differencing),
		cmocka_unit_test(test_vhd_merge),
	};

	if (argc > 1)
		cuts_wanted = strtoul(argv[1], NULL, 10);
	if (argc > 2)
		first_seed = strtoul(argv[2], NULL, 10);
	if (argc > 3)
		cmocka_set_test_filter(argv[3]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
