/*
 * vhd_compact.c - giving back what the file holds without need: blocks that hold nothing, and the
 * room between blocks, into which the last blocks are moved. What room stays becomes holes.
 *
 * A moved block is durable in its new place before the BAT names that, and its old place is used
 * only when that is durable.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "disk/vhd.h"
#include "winerror.h"

#define PIECE	   (1u << 20) /* bytes copied at once */
#define MOVES_MOST 4096u      /* blocks moved for one writing of the BAT */

/* Call @piece for what @length bytes of the file at @offset hold, holes left out, until not 0. */
static int each_piece(struct vhd *v, uint64_t offset, uint64_t length,
	int (*piece)(struct vhd *v, uint64_t at, uint8_t *bytes, size_t n, void *ctx), void *ctx)
{
	uint64_t end = offset + length, file_end = v->disk.file.size;
	uint8_t *bytes = malloc(PIECE);
	int err = bytes ? 0 : -ENOMEM;

	if (end > file_end)
		end = file_end;
	while (!err && offset < end) {
		bool hole;
		int64_t n = disk_file_hole(
			&v->disk.file, offset, end - offset < PIECE ? end : offset + PIECE, &hole);

		if (n < 0)
			err = n;
		else if (!hole)
			err = disk_file_read(&v->disk.file, bytes, n, offset);
		if (!err && !hole)
			err = piece(v, offset, bytes, n, ctx);
		offset += n > 0 ? n : 0;
	}
	free(bytes);
	return err;
}

/* ---- Blocks that hold nothing ---------------------------------------------------------------- */

static int look(struct vhd *v, uint64_t at, uint8_t *bytes, size_t n, void *ctx)
{
	return bytes_are_zero(bytes, n) ? 0 : 1;
}

/* Would the sectors of @block be zeros without it? */
static bool zeros_below(struct vhd *v, uint32_t block)
{
	uint64_t at = (uint64_t)block << v->block_shift, end = at + v->block_size;

	if (v->nowhere == DISK_NOWHERE)
		return true;
	if (!v->disk.parent)
		return false;
	if (end > v->disk.size)
		end = v->disk.size;
	if (end > disk_size(v->disk.parent))
		end = disk_size(v->disk.parent);
	while (at < end) {
		enum disk_where where;
		int64_t n = disk_extent(v->disk.parent, at, end, UINT_MAX, &where);

		if (n <= 0 || where != DISK_ZEROS)
			return false;
		at += n;
	}
	return true;
}

/* 1: @block can go. */
static int is_needless(struct vhd *v, uint32_t block, bool find_zeros)
{
	uint64_t room = vhd_room_offset(v->bat[block]);
	int err = each_piece(v, room, v->bitmap_size, look, NULL);

	if (err <= 0)
		return err < 0 ? err : 1; /* no sector is in the file */
	if (!find_zeros || !zeros_below(v, block))
		return 0;
	err = each_piece(v, room + v->bitmap_size, v->block_size, look, NULL);
	return err < 0 ? err : !err;
}

static bool cancelled(const struct disk_progress *p)
{
	return atomic_load(&p->cancel);
}

static int free_needless(struct vhd *v, bool find_zeros, struct disk_progress *progress)
{
	for (uint32_t i = 0; i < v->blocks; i++) {
		int needless = 0;

		if (cancelled(progress))
			return -ECANCELED;
		if (v->bat[i] != VHD_UNUSED)
			needless = is_needless(v, i, find_zeros);
		if (needless < 0)
			return needless;
		if (needless) {
			pthread_mutex_lock(&v->lock);
			vhd_set_entry(v, i, VHD_UNUSED);
			pthread_mutex_unlock(&v->lock);
		}
		atomic_fetch_add(&progress->done, 1);
	}
	return 0;
}

/* ---- Moving ---------------------------------------------------------------------------------- */

struct copy {
	uint64_t from, to;
};

static int copy_piece(struct vhd *v, uint64_t at, uint8_t *bytes, size_t n, void *ctx)
{
	const struct copy *c = ctx;

	return disk_file_write(&v->disk.file, bytes, n, at - c->from + c->to);
}

int vhd_block_copy(struct vhd *v, uint32_t from, uint32_t to)
{
	struct copy c = {vhd_room_offset(from), vhd_room_offset(to)};
	int err = disk_file_zero(&v->disk.file, c.to, vhd_block_room(v), true);

	return err ? err : each_piece(v, c.from, vhd_block_room(v), copy_piece, &c);
}

/* The first gap of @r, from region *@i on, that takes a block. 0: none ends at @end or before. */
static uint64_t find_gap(const struct vhd *v, const struct vhd_region *r, uint32_t *i, uint32_t n,
	uint64_t *from, uint64_t end)
{
	for (; *i < n && r[*i].start <= end; (*i)++) {
		uint64_t at = vhd_room_align(v, *from);

		if (at + vhd_block_room(v) <= r[*i].start) {
			*from = at + vhd_block_room(v);
			return at;
		}
		if (r[*i].end > *from)
			*from = r[*i].end;
	}
	return 0;
}

/* Move blocks from the end into gaps; *@moved: how many. */
static int move_some(struct vhd *v, struct disk_progress *progress, uint32_t *moved)
{
	struct vhd_region *r;
	uint32_t n, i = 0, last;
	uint64_t from = 0, gap;
	int err = vhd_regions(v, &r, &n);

	*moved = 0;
	if (err)
		return err;
	for (last = n; !err && last-- > 0 && *moved < MOVES_MOST;) {
		uint32_t block = r[last].block;

		if (block == VHD_UNUSED)
			continue;
		gap = find_gap(v, r, &i, n, &from, r[last].start);
		if (!gap)
			break;
		if (cancelled(progress))
			err = -ECANCELED;
		if (!err)
			err = vhd_block_copy(v, v->bat[block], gap / VHD_SECTOR);
		if (err)
			break;
		pthread_mutex_lock(&v->lock);
		vhd_set_entry(v, block, gap / VHD_SECTOR);
		pthread_mutex_unlock(&v->lock);
		(*moved)++;
	}
	free(r);
	return err;
}

static int move_all(struct vhd *v, struct disk_progress *progress)
{
	uint32_t moved;
	int err, committed;

	do {
		err = move_some(v, progress, &moved);
		committed = vhd_commit(v);
	} while (!err && !committed && moved);
	return committed ? committed : err;
}

/* ---- All of it ------------------------------------------------------------------------------- */

/* The room from @at to @end is in use no more: a hole, in which new blocks find their places. */
static int punch(struct vhd *v, uint64_t at, uint64_t end, struct vhd_rooms *rooms)
{
	int err = end > at ? disk_file_zero(&v->disk.file, at, end - at, true) : 0;

	for (at = vhd_room_align(v, at); !err && at + vhd_block_room(v) <= end;
		at = vhd_room_align(v, at + vhd_block_room(v)))
		err = vhd_rooms_add(rooms, at / VHD_SECTOR);
	return err;
}

/* Zeros that new blocks rely on are durable before those can be. */
static int punch_gaps(struct vhd *v)
{
	struct vhd_rooms rooms = {0};
	struct vhd_region *r;
	uint64_t at = 0;
	uint32_t n;
	int err = vhd_regions(v, &r, &n);

	if (err)
		return err;
	for (uint32_t i = 0; i < n && !err; i++) {
		err = punch(v, at, r[i].start, &rooms);
		at = r[i].end > at ? r[i].end : at;
	}
	free(r);
	if (!err && rooms.n)
		err = disk_file_flush(&v->disk.file);
	if (err) {
		free(rooms.room);
		return err;
	}
	free(v->free.room);
	v->free = rooms;
	return 0;
}

static int give_back(struct vhd *v)
{
	int err;

	pthread_mutex_lock(&v->lock);
	vhd_room_next(v);
	err = vhd_room_cut(v);
	if (!err)
		err = punch_gaps(v);
	if (!err)
		v->swept = true;
	pthread_mutex_unlock(&v->lock);
	return err;
}

int vhd_compact(struct disk *d, unsigned flags, struct disk_progress *progress,
	struct disk_problem *problem)
{
	struct vhd *v = vhd_of(d);
	int err, more;

	if (!vhd_has_blocks(v))
		return disk_problem_note(problem, &d->file, -ENOTSUP, ERROR_VHD_INVALID_TYPE,
			"a fixed disk cannot be compacted; convert it to a dynamic one");
	atomic_store(&progress->total, v->blocks);
	/* Nobody is inside; what is free is found anew. */
	err = vhd_commit(v);
	if (err)
		return err;
	v->free.n = v->freed.n = 0;
	vhd_pages_drop(v);
	err = free_needless(v, flags & DISK_COMPACT_ZEROS, progress);
	more = vhd_commit(v);
	if (!err && !more && flags & DISK_COMPACT_MOVE)
		err = move_all(v, progress);
	if (!more)
		more = vhd_dirty(d) ? -EIO : give_back(v);
	return err ? err : more;
}
