/*
 * vhdx_resize.c - another size of a VHDX disk.
 *
 * What is behind the disk's end means nothing, in the table and in the last block: growing makes it
 * zeros first, and then the disk longer. Shrinking makes the disk shorter first, and then gives
 * back what was behind. A BAT that must be longer than its region is copied to a new place; that
 * the region is there and no longer here is one entry of the log.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhdx_live.h"
#include "winerror.h"

#define READ_ENTRIES 8192u
#define COPY	     (1u << 20)

/* ---- What holds data ------------------------------------------------------------------------- */

static bool is_data(const struct vhdx *v, uint64_t index, uint64_t entry)
{
	unsigned state = entry & VHDX_BAT_STATE;

	return !vhdx_is_bitmap(v, index) &&
	       (state == VHDX_BLOCK_PRESENT || state == VHDX_BLOCK_PARTIAL);
}

/* The payload blocks before BAT index @index. */
static uint64_t blocks_before(const struct vhdx *v, uint64_t index)
{
	return index - index / ((1ull << v->chunk_shift) + 1);
}

/* The end of the last block of this image that holds data, in blocks; from the table's end. */
static int last_data(struct vhdx *v, uint64_t *blocks)
{
	uint64_t *entries = malloc(READ_ENTRIES * sizeof(*entries)), end = v->bat_entries;
	int err = entries ? 0 : -ENOMEM;

	*blocks = 0;
	while (!err && !*blocks && end) {
		unsigned n = end < READ_ENTRIES ? end : READ_ENTRIES;

		end -= n;
		err = vhdx_bat_read(v, end, n, entries);
		for (unsigned i = n; !err && !*blocks && i-- > 0;)
			if (is_data(v, end + i, entries[i]))
				*blocks = blocks_before(v, end + i) + 1;
	}
	free(entries);
	return err;
}

/* What the parent shows counts too. */
static uint64_t parent_data(struct vhdx *v)
{
	struct disk_info info;

	if (!v->has_parent)
		return 0;
	if (!v->disk.parent)
		return v->disk.size;
	disk_info(v->disk.parent, &info);
	return info.min_size ? info.min_size : info.size;
}

uint64_t vhdx_min_size(struct vhdx *v)
{
	uint64_t blocks, bytes = v->disk.size, parent = parent_data(v);

	if (last_data(v, &blocks) == 0)
		bytes = blocks << v->block_shift;
	if (bytes < parent)
		bytes = parent;
	if (bytes < VHDX_MB)
		bytes = VHDX_MB;
	return bytes < v->disk.size ? bytes : v->disk.size;
}

/* ---- Behind the end -------------------------------------------------------------------------- */

/* The entry means nothing any more; with @give its room is free. */
static int clear_entry(struct vhdx *v, uint64_t index, uint64_t entry, bool give)
{
	unsigned state = entry & VHDX_BAT_STATE;
	uint64_t size = vhdx_is_bitmap(v, index) ? VHDX_BITMAP_BLOCK : v->block_size;
	int err = vhdx_bat_set(v, index, 0);

	if (!err && give && (state == VHDX_BLOCK_PRESENT || state == VHDX_BLOCK_PARTIAL) &&
		vhdx_payload_fits(v, VHDX_BAT_OFFSET(entry), size))
		vhdx_space_give(v, VHDX_BAT_OFFSET(entry), size);
	return err;
}

/*
 * Entries of blocks from @block on, below index @end, become 0; not that of a bitmap which blocks
 * before them need.
 */
static int clear_entries(struct vhdx *v, uint64_t block, uint64_t end, bool give)
{
	uint64_t *entries = malloc(READ_ENTRIES * sizeof(*entries));
	uint64_t first = vhdx_bat_index(v, block), kept = UINT64_MAX;
	int err = entries ? 0 : -ENOMEM;

	if (v->has_parent && block & ((1ull << v->chunk_shift) - 1))
		kept = vhdx_bitmap_index(v, block >> v->chunk_shift);
	for (; !err && first < end; first += READ_ENTRIES) {
		unsigned n = end - first < READ_ENTRIES ? end - first : READ_ENTRIES;

		err = vhdx_bat_read(v, first, n, entries);
		for (unsigned i = 0; !err && i < n; i++)
			if (entries[i] && first + i != kept)
				err = clear_entry(v, first + i, entries[i], give);
	}
	free(entries);
	return err;
}

/* The end of the last block, which is not the disk's, becomes zeros. */
static int clear_tail(struct vhdx *v)
{
	uint64_t size = v->disk.size, in_block = size & (v->block_size - 1);
	struct vhdx_block b;
	int err;

	if (!in_block)
		return 0;
	err = vhdx_block(v, size >> v->block_shift, false, &b);
	if (err || !b.offset)
		return err;
	return disk_file_zero(&v->disk.file, b.offset + in_block, v->block_size - in_block, false);
}

/* A parent that is longer than this disk was must not be seen where this grows. */
static int hide_parent(struct vhdx *v, uint64_t size)
{
	uint64_t from = v->disk.size, to = size, done;

	if (!v->has_parent)
		return 0;
	if (v->disk.parent && v->disk.parent->size < to)
		to = v->disk.parent->size;
	while (from < to) {
		int err = vhdx_zero(&v->disk, from, to - from, true, &done);

		if (err)
			return err;
		from += done;
	}
	return 0;
}

/* ---- A longer region ------------------------------------------------------------------------- */

static int copy_region(struct vhdx *v, const struct vhdx_region *r, uint64_t to)
{
	uint8_t *buffer = malloc(COPY);
	int err = buffer ? 0 : -ENOMEM;

	for (uint64_t at = 0; !err && at < r->length; at += COPY) {
		err = vhdx_read(v, buffer, COPY, r->offset + at);
		if (!err)
			err = disk_file_write(&v->disk.file, buffer, COPY, to + at);
	}
	free(buffer);
	return err ? err : disk_file_flush(&v->disk.file);
}

static int rest(struct vhdx *v)
{
	int err;

	pthread_mutex_lock(&v->live->change);
	err = vhdx_log_rest(v);
	pthread_mutex_unlock(&v->live->change);
	return err;
}

int vhdx_region_extend(struct vhdx *v, struct vhdx_region *region, uint32_t length)
{
	struct vhdx_region old = *region;
	uint64_t to;
	int err = vhdx_space_take(v, length, &to);

	if (err)
		return err;
	err = copy_region(v, region, to);
	vhdx_pages_forget(v);
	if (!err)
		err = vhdx_region_move(v, region, to, length);
	if (err) {
		vhdx_space_back(v, to, length);
		return err;
	}
	vhdx_low(v);
	err = vhdx_commit(v);
	/* Nobody shall replay what was logged for the old place: see vhdx_log.c. */
	if (!err)
		err = rest(v);
	if (!err)
		vhdx_space_give(v, old.offset, old.length);
	return err;
}

/* ---- Growing and shrinking ------------------------------------------------------------------- */

/* A fixed disk has room for all its blocks; when there is not enough, for none of the new ones. */
static int take_blocks(struct vhdx *v, uint64_t from, uint64_t to)
{
	uint64_t block;
	int err = 0;

	for (block = from; block < to && !err; block++) {
		struct vhdx_block b;

		err = vhdx_block_allocate(v, block, false, &b);
	}
	if (err)
		clear_entries(v, from, vhdx_bat_index(v, block), true);
	return err;
}

static int scan(struct vhdx *v)
{
	int err;

	pthread_mutex_lock(&v->live->change);
	err = vhdx_space_scan(v, false);
	pthread_mutex_unlock(&v->live->change);
	return err;
}

static int grow(struct vhdx *v, uint64_t size)
{
	struct vhdx larger = *v;
	uint64_t bytes = vhdx_geometry(&larger, size);
	/* Now: later it would not see the blocks that are taken behind the disk's end. */
	int err = scan(v);

	if (!err && bytes > v->bat->length)
		err = vhdx_region_extend(v, v->bat, (bytes + VHDX_MB - 1) / VHDX_MB * VHDX_MB);
	if (!err)
		err = clear_entries(v, v->blocks, larger.bat_entries, false);
	if (!err)
		err = clear_tail(v);
	if (!err)
		err = hide_parent(v, size);
	if (!err && v->stays_allocated)
		err = take_blocks(v, v->blocks, larger.blocks);
	/* Before the size: a longer disk must not be durable without them. */
	if (!err)
		err = vhdx_sync(v);
	return err ? err : vhdx_set_size(v, size);
}

static int shrink(struct vhdx *v, uint64_t size)
{
	uint64_t end = v->bat_entries;
	int err = vhdx_set_size(v, size);

	if (!err)
		err = vhdx_commit(v);
	return err ? err : clear_entries(v, v->blocks, end, true);
}

int vhdx_resize(struct disk *d, uint64_t size, bool lose, struct disk_problem *problem)
{
	struct vhdx *v = vhdx_of(d);
	uint64_t least;
	int err;

	if (size > VHDX_SIZE_MAX)
		return disk_problem_note(problem, &d->file, -EINVAL, ERROR_VHD_INVALID_SIZE,
			"a VHDX disk has at most 64 TiB; give a smaller size");
	if (size == d->size)
		return 0;
	least = lose ? 0 : vhdx_min_size(v);
	if (size < least && size < d->size)
		return disk_problem_note(problem, &d->file, -ENOTEMPTY, ERROR_VHD_INVALID_SIZE,
			"the disk holds data up to %llu bytes; shrink to that size at least, or "
			"say that what is behind it may be lost",
			(unsigned long long)least);
	err = vhdx_data_begin(v);
	if (!err)
		err = vhdx_flush(d);
	if (!err)
		err = size > d->size ? grow(v, size) : shrink(v, size);
	if (!err)
		err = vhdx_commit(v);
	if (!err)
		vhdx_space_drain(v);
	return err;
}
