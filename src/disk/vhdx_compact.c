/*
 * vhdx_compact.c - a VHDX file becomes as short as its blocks allow: the last ones move into free
 * room before them, the rest is cut off. Free room that stays between blocks becomes holes.
 *
 * A block is copied, then its entry changes, and only when that is durable its old room is used
 * again: a cut at any point leaves each block whole at one place or the other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "disk/vhdx_live.h"

#define READ_ENTRIES 8192u
#define READ_BYTES   (1u << 20)
#define MOVES	     4096u /* blocks considered for each pass over the table */
#define MOVES_FLUSH  64u   /* moves, after which the old rooms are handed back */

static int cancelled(const struct disk_progress *p)
{
	return atomic_load(&p->cancel) ? -ECANCELED : 0;
}

/* ---- Blocks of zeros ------------------------------------------------------------------------- */

/* 1: the range holds nothing but zeros, 0: it does not, or a negative errno. */
static int holds_zeros(struct vhdx *v, uint64_t offset, uint64_t length, uint8_t *buffer)
{
	uint64_t end = offset + length;

	while (offset < end) {
		bool hole;
		int64_t run = disk_file_hole(&v->disk.file, offset, end, &hole);
		int err;

		if (run < 0)
			return run;
		if (!hole) {
			run = run < READ_BYTES ? run : READ_BYTES;
			err = disk_file_read(&v->disk.file, buffer, run, offset);
			if (err)
				return err;
			if (!bytes_are_zero(buffer, run))
				return 0;
		}
		offset += run;
	}
	return 1;
}

static int drop_if_zeros(struct vhdx *v, uint64_t block, uint8_t *buffer)
{
	struct vhdx_block b;
	int err = vhdx_block(v, block, false, &b);

	if (err || b.state != VHDX_BLOCK_PRESENT)
		return err;
	err = holds_zeros(v, b.offset, v->block_size, buffer);
	if (err <= 0)
		return err;
	err = vhdx_block_change(v, block, &b, VHDX_BAT_ENTRY(VHDX_BLOCK_ZERO, 0));
	if (!err && vhdx_space_waiting(v, MOVES_FLUSH))
		err = vhdx_flush(&v->disk);
	return err;
}

static int drop_zeros(struct vhdx *v, struct disk_progress *progress, uint8_t *buffer)
{
	int err = 0;

	for (uint64_t block = 0; block < v->blocks && !err; block++) {
		err = cancelled(progress);
		if (!err)
			err = drop_if_zeros(v, block, buffer);
		atomic_fetch_add(&progress->done, 1);
	}
	return err;
}

/* ---- Moving ---------------------------------------------------------------------------------- */

/* A block that may move, payload or bitmap. */
struct candidate {
	uint64_t offset, index;
};

static int highest_first(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return x->offset > y->offset ? -1 : x->offset < y->offset;
}

struct candidates {
	struct candidate *c; /* 2 * MOVES */
	unsigned n;
	uint64_t below; /* only those before this */
};

/* The higher half stays. */
static void keep_highest(struct candidates *all)
{
	qsort(all->c, all->n, sizeof(*all->c), highest_first);
	if (all->n > MOVES)
		all->n = MOVES;
}

static uint64_t size_of(const struct vhdx *v, uint64_t index)
{
	return vhdx_is_bitmap(v, index) ? VHDX_BITMAP_BLOCK : v->block_size;
}

static void consider(struct vhdx *v, struct candidates *all, uint64_t index, uint64_t entry)
{
	unsigned state = entry & VHDX_BAT_STATE;
	uint64_t offset = VHDX_BAT_OFFSET(entry);

	if ((state != VHDX_BLOCK_PRESENT && state != VHDX_BLOCK_PARTIAL) || offset >= all->below ||
		!vhdx_payload_fits(v, offset, size_of(v, index)))
		return;
	if (all->n == 2 * MOVES)
		keep_highest(all);
	all->c[all->n++] = (struct candidate){offset, index};
}

/* The highest blocks before @all->below, in that order. */
static int collect(struct vhdx *v, struct candidates *all, uint64_t *entries)
{
	all->n = 0;
	for (uint64_t first = 0; first < v->bat_entries; first += READ_ENTRIES) {
		uint64_t left = v->bat_entries - first;
		unsigned n = left < READ_ENTRIES ? left : READ_ENTRIES;
		int err = vhdx_bat_read(v, first, n, entries);

		if (err)
			return err;
		for (unsigned i = 0; i < n; i++)
			consider(v, all, first + i, entries[i]);
	}
	keep_highest(all);
	return 0;
}

static int copy(struct vhdx *v, uint64_t from, uint64_t to, uint64_t length, uint8_t *buffer)
{
	uint64_t end = from + length;
	int err = disk_file_zero(&v->disk.file, to, length, true);

	while (!err && from < end) {
		bool hole;
		int64_t run = disk_file_hole(&v->disk.file, from, end, &hole);

		if (run < 0)
			return run;
		if (!hole) {
			run = run < READ_BYTES ? run : READ_BYTES;
			err = disk_file_read(&v->disk.file, buffer, run, from);
			if (!err)
				err = disk_file_write(&v->disk.file, buffer, run, to);
		}
		from += run;
		to += run;
	}
	return err;
}

static int move(struct vhdx *v, const struct candidate *c, uint64_t to, uint8_t *buffer)
{
	uint64_t size = size_of(v, c->index), entry;
	int err = 0;

	/* A bitmap's pages are known by their place in the file. */
	if (vhdx_is_bitmap(v, c->index)) {
		err = vhdx_sync(v);
		if (!err)
			vhdx_pages_forget(v);
	}
	if (!err)
		err = copy(v, c->offset, to, size, buffer);
	if (!err)
		err = vhdx_bat_get(v, c->index, &entry);
	if (!err)
		err = vhdx_bat_set(v, c->index, VHDX_BAT_ENTRY(entry & VHDX_BAT_STATE, to));
	if (err)
		vhdx_space_back(v, to, size);
	else
		vhdx_space_give(v, c->offset, size);
	return err;
}

static int move_all(
	struct vhdx *v, struct candidates *all, struct disk_progress *progress, uint8_t *buffer)
{
	unsigned moved = 0;
	int err = 0;

	for (unsigned i = 0; i < all->n && !err; i++) {
		uint64_t to;

		err = cancelled(progress);
		if (err || vhdx_space_below(v, size_of(v, all->c[i].index), all->c[i].offset, &to))
			continue;
		err = move(v, &all->c[i], to, buffer);
		if (!err && ++moved % MOVES_FLUSH == 0)
			err = vhdx_flush(&v->disk);
	}
	return err;
}

/* Fewer and fewer blocks, from the end of the file to its beginning. */
static int move_down(
	struct vhdx *v, struct disk_progress *progress, uint64_t *entries, uint8_t *buffer)
{
	struct candidates all = {.below = UINT64_MAX};
	int err = 0;

	all.c = malloc(2 * MOVES * sizeof(*all.c));
	if (!all.c)
		return -ENOMEM;
	do {
		err = collect(v, &all, entries);
		if (err || !all.n)
			break;
		all.below = all.c[all.n - 1].offset;
		err = move_all(v, &all, progress, buffer);
	} while (!err && all.n == MOVES);
	free(all.c);
	return err;
}

/* ---- All of it ------------------------------------------------------------------------------- */

static int scan(struct vhdx *v)
{
	int err;

	pthread_mutex_lock(&v->live->change);
	err = vhdx_space_scan(v, true);
	pthread_mutex_unlock(&v->live->change);
	return err;
}

/*
 * An entry of the log says how long the file is: the file is only cut when no entry counts. Nobody
 * makes one meanwhile.
 */
static int cut(struct vhdx *v)
{
	int err = vhdx_flush(&v->disk);

	if (err)
		return err;
	pthread_mutex_lock(&v->live->change);
	err = vhdx_log_rest(v);
	if (!err)
		err = vhdx_space_scan(v, true);
	if (!err)
		err = vhdx_space_trim(v);
	if (!err)
		err = vhdx_space_punch(v);
	pthread_mutex_unlock(&v->live->change);
	return err;
}

int vhdx_compact(struct disk *d, unsigned flags, struct disk_progress *progress,
	struct disk_problem *problem)
{
	struct vhdx *v = vhdx_of(d);
	uint64_t *entries = malloc(READ_ENTRIES * sizeof(*entries));
	uint8_t *buffer = malloc(READ_BYTES);
	int err = entries && buffer ? vhdx_file_begin(v) : -ENOMEM, ended;

	atomic_store(&progress->total, v->blocks);
	if (!err && flags & DISK_COMPACT_ZEROS && !v->stays_allocated)
		err = drop_zeros(v, progress, buffer);
	if (!err)
		err = vhdx_flush(d);
	if (!err)
		err = scan(v);
	if (!err && flags & DISK_COMPACT_MOVE)
		err = move_down(v, progress, entries, buffer);
	/* Also when it was cancelled: what has moved need not be done again. */
	if (!err || err == -ECANCELED) {
		ended = cut(v);
		err = err ? err : ended;
	}
	if (!err)
		atomic_store(&progress->done, v->blocks);
	free(buffer);
	free(entries);
	return err;
}
