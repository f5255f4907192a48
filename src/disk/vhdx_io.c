/*
 * vhdx_io.c - requests on a VHDX disk: where bytes are, where they shall go, and zeros without
 * writing any.
 *
 * A block that has its room is looked up without a lock (vhdx_pages.c) and written in place. Only
 * new blocks, and the bits of sectors that a differencing disk did not have, change tables.
 */
#include <errno.h>
#include <string.h>

#include "disk/vhdx_live.h"

#define FREED_MAX 256 /* runs that wait to be handed back, before unmapping does it */

/* ---- Extents --------------------------------------------------------------------------------- */

static uint64_t in_block(const struct vhdx *v, uint64_t offset)
{
	return offset & (v->block_size - 1);
}

static uint64_t block_left(const struct vhdx *v, uint64_t offset, uint64_t length)
{
	uint64_t left = v->block_size - in_block(v, offset);

	return length < left ? length : left;
}

static uint32_t sector_of(const struct vhdx *v, uint64_t offset)
{
	return in_block(v, offset) >> v->sector_shift;
}

static enum disk_place place_of(const struct vhdx *v, const struct vhdx_block *b)
{
	if (b->offset)
		return DISK_HERE;
	return v->has_parent && b->state == VHDX_BLOCK_NOT_PRESENT ? DISK_IN_PARENT : DISK_NOWHERE;
}

/*
 * Does everybody read zeros in this block? Of one that another program unmapped, that one may read
 * what was there before.
 */
static bool is_zero(const struct vhdx *v, const struct vhdx_block *b)
{
	return b->state == VHDX_BLOCK_ZERO ||
	       (b->state == VHDX_BLOCK_NOT_PRESENT && !v->has_parent);
}

/* Blocks behind the extent that continue it: all but partial ones, while they are in memory. */
static void extend(struct vhdx *v, uint64_t offset, uint64_t length, struct disk_extent *x)
{
	struct vhdx_block b;

	while (x->length < length) {
		uint64_t next = offset + x->length;

		if (vhdx_block(v, next >> v->block_shift, true, &b) ||
			b.state == VHDX_BLOCK_PARTIAL || place_of(v, &b) != x->place)
			return;
		if (b.offset && b.offset != x->file_offset + x->length)
			return;
		x->length += block_left(v, next, length - x->length);
	}
}

/*
 * In a file whose log was replayed in memory only, payload may be in the log, or in what would be
 * behind the file's end. Neither is ever read from the file.
 */
static int overlaid(const struct vhdx *v, struct disk_extent *x)
{
	uint64_t size = v->disk.file.size;
	enum vhdx_run run;

	x->length = vhdx_overlay_run(v, x->file_offset, x->length, &run);
	if (run == VHDX_RUN_LOG)
		return -ENOTSUP;
	if (run == VHDX_RUN_ZERO || x->file_offset >= size)
		x->place = DISK_NOWHERE;
	else if (x->length > size - x->file_offset)
		x->length = (size - x->file_offset) & ~((1ull << v->sector_shift) - 1);
	if (!x->length) { /* the file ends within a sector */
		x->length = 1ull << v->sector_shift;
		x->place = DISK_NOWHERE;
	}
	return 0;
}

static int map_partial(struct vhdx *v, uint64_t offset, bool nowait, struct disk_extent *x)
{
	uint32_t run;
	bool here;
	int err = vhdx_bits_run(v, offset >> v->block_shift, sector_of(v, offset),
		x->length >> v->sector_shift, nowait, &here, &run);

	if (err)
		return err;
	if (!here)
		x->place = DISK_IN_PARENT;
	x->length = (uint64_t)run << v->sector_shift;
	return 0;
}

int vhdx_map(
	struct disk *d, uint64_t offset, uint64_t length, bool nowait, struct disk_extent *extent)
{
	struct vhdx *v = vhdx_of(d);
	struct vhdx_block b;
	int err = vhdx_block(v, offset >> v->block_shift, nowait, &b);

	if (err)
		return err;
	*extent = (struct disk_extent){
		.place = place_of(v, &b),
		.length = block_left(v, offset, length),
		.file_offset = b.offset + in_block(v, offset),
	};
	if (b.state == VHDX_BLOCK_PARTIAL)
		err = map_partial(v, offset, nowait, extent);
	else
		extend(v, offset, length, extent);
	if (!err && v->overlay && extent->place == DISK_HERE)
		err = overlaid(v, extent);
	return err;
}

/* ---- Writing --------------------------------------------------------------------------------- */

/*
 * A table is about to change. When half of the pages that may be changed are, commit: others go on
 * meanwhile with the other half.
 */
static int before_change(struct vhdx *v, bool nowait)
{
	struct vhdx_pages *p = &v->live->pages;

	if (atomic_load_explicit(&p->dirty, memory_order_relaxed) <= p->limit / 2)
		return 0;
	return nowait ? -EAGAIN : vhdx_sync(v);
}

/* Sectors that are all here are written in place; else their bits follow the data. */
static int place_partial(struct vhdx *v, uint64_t offset, bool nowait, const struct vhdx_block *b,
	struct disk_extent *x)
{
	uint64_t block = offset >> v->block_shift;
	uint32_t sector = sector_of(v, offset), run;
	uint32_t n = vhdx_bits_page(v, block, sector, x->length >> v->sector_shift);
	bool here;
	int err = vhdx_bits_run(v, block, sector, n, nowait, &here, &run);

	if (err)
		return err;
	x->length = (uint64_t)n << v->sector_shift;
	x->settle = !here || run < n;
	x->token = b->entry;
	return x->settle ? before_change(v, nowait) : 0;
}

int vhdx_place(struct disk *d, uint64_t offset, uint64_t length, const struct disk_iov *data,
	bool nowait, struct disk_extent *extent)
{
	struct vhdx *v = vhdx_of(d);
	struct vhdx_block b;
	int err = 0;

	*extent = (struct disk_extent){.length = block_left(v, offset, length)};
	if (!vhdx_data_begun(v))
		err = nowait ? -EAGAIN : vhdx_data_begin(v);
	if (!err)
		err = vhdx_block(v, offset >> v->block_shift, nowait, &b);
	if (!err && !b.offset) {
		if (data && is_zero(v, &b) && disk_iov_is_zero(*data, extent->length)) {
			extent->place = DISK_NOWHERE;
			return 0;
		}
		err = before_change(v, nowait);
		if (!err)
			err = vhdx_block_allocate(v, offset >> v->block_shift, nowait, &b);
	}
	if (err)
		return err;
	extent->place = DISK_HERE;
	extent->file_offset = b.offset + in_block(v, offset);
	if (b.state == VHDX_BLOCK_PARTIAL)
		return place_partial(v, offset, nowait, &b, extent);
	extend(v, offset, length, extent);
	return 0;
}

int vhdx_settle(struct disk *d, uint64_t offset, const struct disk_extent *extent, int err)
{
	struct vhdx *v = vhdx_of(d);
	struct vhdx_block b = {
		.entry = extent->token, .offset = extent->file_offset - in_block(v, offset)};

	if (err)
		return 0;
	return vhdx_bits_set(v, offset >> v->block_shift, &b, sector_of(v, offset),
		extent->length >> v->sector_shift);
}

/* ---- Flushing -------------------------------------------------------------------------------- */

int vhdx_flush(struct disk *d)
{
	struct vhdx *v = vhdx_of(d);
	int err = vhdx_sync(v);

	if (!err)
		vhdx_space_drain(v);
	return err;
}

/* ---- Zeros ----------------------------------------------------------------------------------- */

/* What is asked of one block. */
struct hole {
	uint64_t block, offset, length; /* bytes of the disk */
	bool whole;			/* all of the block, or of the disk's end */
	bool release;			/* its space may go */
};

/* The part of the block that is in the file becomes zeros there. */
static int zero_room(struct vhdx *v, const struct hole *h, const struct vhdx_block *b)
{
	return disk_file_zero(&v->disk.file, b->offset + in_block(v, h->offset), h->length,
		h->release && !v->stays_allocated);
}

/* The sectors of a partial block are zeros in the file, and here. */
static int zero_partial(struct vhdx *v, const struct hole *h, const struct vhdx_block *b)
{
	uint32_t sector = sector_of(v, h->offset), n = h->length >> v->sector_shift, some;
	int err = zero_room(v, h, b);

	for (; !err && n; n -= some, sector += some) {
		some = vhdx_bits_page(v, h->block, sector, n);
		err = vhdx_bits_set(v, h->block, b, sector, some);
	}
	return err;
}

static int zero_block(struct vhdx *v, const struct hole *h)
{
	struct vhdx_block b;
	int err = vhdx_block(v, h->block, false, &b);

	if (err || is_zero(v, &b) || (h->release && place_of(v, &b) == DISK_NOWHERE))
		return err;
	err = before_change(v, false);
	if (err)
		return err;
	/* All of it: an entry says so. A room is given up only when its space may go. */
	if (h->whole && (!b.offset || (h->release && !v->stays_allocated)))
		return vhdx_block_change(v, h->block, &b, VHDX_BAT_ENTRY(VHDX_BLOCK_ZERO, 0));
	if (!b.offset)
		err = vhdx_block_allocate(v, h->block, false, &b);
	if (err)
		return err;
	return b.state == VHDX_BLOCK_PARTIAL ? zero_partial(v, h, &b) : zero_room(v, h, &b);
}

/*
 * As long as `zeroing` is held, nobody else gets the room that is zeroed; when the block loses it
 * meanwhile, that was unmapped after this.
 */
static int zero_one(struct vhdx *v, const struct hole *h)
{
	int err;

	do {
		pthread_rwlock_rdlock(&v->live->zeroing);
		err = zero_block(v, h);
		pthread_rwlock_unlock(&v->live->zeroing);
	} while (err == -EAGAIN);
	return err;
}

/* Blocks that are zeros already are passed over quickly. */
static uint64_t zeros_already(struct vhdx *v, uint64_t offset, uint64_t length)
{
	struct vhdx_block b;
	uint64_t run = 0;

	while (run < length && !vhdx_block(v, (offset + run) >> v->block_shift, true, &b) &&
		is_zero(v, &b))
		run += block_left(v, offset + run, length - run);
	return run;
}

int vhdx_zero(struct disk *d, uint64_t offset, uint64_t length, bool unmap, uint64_t *done)
{
	struct vhdx *v = vhdx_of(d);
	uint64_t end = offset + length, size = d->size;
	int err = vhdx_data_begin(v);

	*done = 0;
	while (!err && offset + *done < end) {
		struct hole h = {.offset = offset + *done, .release = unmap};

		h.length = zeros_already(v, h.offset, end - h.offset);
		if (!h.length) {
			h.block = h.offset >> v->block_shift;
			h.length = block_left(v, h.offset, end - h.offset);
			h.whole = !in_block(v, h.offset) &&
				  (h.length == v->block_size || h.offset + h.length == size);
			err = zero_one(v, &h);
		}
		*done += err ? 0 : h.length;
		if (!err && vhdx_space_waiting(v, FREED_MAX))
			err = vhdx_flush(d);
	}
	return err;
}
