/*
 * vhd_resize.c - another size. Whatever the moment of a power cut, the disk has the old or the new
 * size, and what is new is zeros.
 *
 * A fixed disk gets by with slack, room between the disk's last byte and the footer: the file grows
 * first and the disk after it; the disk shrinks first and the file after it. On others the table
 * grows first, in its place or, where no room is, behind all else.
 */
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhd.h"
#include "winerror.h"

/* The footer, with the size that v->footer has, written where it is; durable. */
static int write_size(struct vhd *v, uint64_t size)
{
	int err;

	pthread_mutex_lock(&v->lock);
	v->footer.size = htobe64(size);
	vhd_geometry(&v->footer, size);
	err = vhd_footers_write(v);
	if (!err)
		err = disk_file_flush(&v->disk.file);
	pthread_mutex_unlock(&v->lock);
	return err;
}

/* ---- Fixed disks ----------------------------------------------------------------------------- */

/* The footer also at @end, durable. The file's end is there if it was before that. */
static int move_footer(struct vhd *v, uint64_t end)
{
	v->end = end;
	return write_size(v, be64toh(v->footer.size));
}

static int grow_fixed(struct vhd *v, uint64_t size)
{
	struct disk_file *f = &v->disk.file;
	uint64_t old = v->disk.size, was = v->end + sizeof(v->footer);
	int err = 0;

	if (v->end < size)
		err = move_footer(v, size);
	/* The old footer, and what slack there was. */
	if (!err)
		err = disk_file_zero(f, old, (was < size ? was : size) - old, !v->dense);
	if (!err && v->dense && was < size)
		err = disk_file_allocate(f, was, size - was);
	if (!err)
		err = disk_file_flush(f);
	return err ? err : write_size(v, size);
}

static int shrink_fixed(struct vhd *v, uint64_t size)
{
	int err = write_size(v, size);

	if (!err)
		err = move_footer(v, size);
	if (!err)
		err = disk_file_set_size(&v->disk.file, size + sizeof(v->footer));
	return err ? err : disk_file_flush(&v->disk.file);
}

/* Are the bytes from @offset on zeros? 1: yes. */
static int zeros_from(struct vhd *v, uint64_t offset)
{
	static const uint8_t zeros[4096];
	uint8_t bytes[sizeof(zeros)];

	while (offset < v->disk.size) {
		bool hole;
		int64_t n = disk_file_hole(&v->disk.file, offset, v->disk.size, &hole);

		for (int64_t at = 0; !hole && at < n; at += sizeof(bytes)) {
			uint64_t more = n - at < (int64_t)sizeof(bytes) ? (uint64_t)(n - at)
									: sizeof(bytes);
			int err = disk_file_read(&v->disk.file, bytes, more, offset + at);

			if (err)
				return err;
			if (memcmp(bytes, zeros, more) != 0)
				return 0;
		}
		if (n < 0)
			return n;
		offset += n;
	}
	return 1;
}

/* ---- Disks with blocks ----------------------------------------------------------------------- */

/* What changes of the header for a size stands in its first sector, which is written whole. */
static int write_table_place(struct vhd *v, uint64_t offset, uint32_t entries)
{
	int err;

	v->header.table_offset = htobe64(offset);
	v->header.entries = htobe32(entries);
	vhd_header_seal(&v->header);
	err = disk_file_write(
		&v->disk.file, &v->header, VHD_SECTOR, be64toh(v->footer.data_offset));
	return err ? err : disk_file_flush(&v->disk.file);
}

/* Can the table have @bytes where it is? */
static bool has_room(struct vhd *v, uint64_t bytes, int *err)
{
	uint64_t table = be64toh(v->header.table_offset);
	struct vhd_region *r;
	bool room = false;
	uint32_t n;

	*err = vhd_regions(v, &r, &n);
	if (*err)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (r[i].start <= table)
			continue;
		room = table + bytes <= r[i].start;
		break;
	}
	free(r);
	return room;
}

/* Entries of the old table and, behind them, unused ones: @blocks, durable at @offset. */
static int write_table(struct vhd *v, uint64_t offset, uint32_t first, uint32_t blocks)
{
	uint32_t sector[128];
	int err = 0;

	for (uint32_t at = first / 128 * 128; !err && at < blocks; at += 128) {
		for (uint32_t i = 0; i < 128; i++)
			sector[i] = at + i < v->blocks ? htobe32(v->bat[at + i]) : VHD_UNUSED;
		err = disk_file_write(
			&v->disk.file, sector, sizeof(sector), offset + (uint64_t)at * 4);
	}
	return err ? err : disk_file_flush(&v->disk.file);
}

static int grow_table(struct vhd *v, uint32_t blocks)
{
	uint64_t table = be64toh(v->header.table_offset), place = table;
	uint64_t bytes = vhd_bat_bytes(blocks);
	int err = 0;

	if (vhd_bat_bytes(v->blocks) != bytes && !has_room(v, bytes, &err) && !err) {
		pthread_mutex_lock(&v->lock);
		err = vhd_room_append(v, bytes, &place);
		pthread_mutex_unlock(&v->lock);
	}
	if (!err)
		err = write_table(v, place, place == table ? v->blocks : 0, blocks);
	return err ? err : write_table_place(v, place, blocks);
}

/* What an earlier, larger size left in the last block is not to be seen again. */
static int clear_last(struct vhd *v)
{
	uint64_t used = v->disk.size & (v->block_size - 1);
	uint32_t room = v->blocks ? v->bat[v->blocks - 1] : VHD_UNUSED;
	int err;

	if (!used || room == VHD_UNUSED)
		return 0;
	err = disk_file_zero(&v->disk.file, vhd_room_offset(room) + v->bitmap_size + used,
		v->block_size - used, true);
	return err ? err : disk_file_flush(&v->disk.file);
}

/* The tables in memory, for another number of blocks. */
struct tables {
	_Atomic uint32_t *bat;
	uint8_t *bat_dirty;
};

static int make_tables(struct vhd *v, uint32_t blocks, struct tables *t)
{
	t->bat = malloc((blocks + (size_t)1) * sizeof(*t->bat));
	t->bat_dirty = calloc(1, vhd_bat_bytes(blocks) / VHD_SECTOR / 8 + 1);
	if (!t->bat || !t->bat_dirty) {
		free((void *)t->bat);
		free(t->bat_dirty);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < blocks; i++)
		t->bat[i] = i < v->blocks ? v->bat[i] : VHD_UNUSED;
	return 0;
}

/* Frozen, and nothing is dirty: the pages are read again. */
static int use_tables(struct vhd *v, struct tables *t, uint64_t size)
{
	size_t bytes = v->pages * sizeof(*v->page);

	free((void *)v->bat);
	free(v->bat_dirty);
	v->bat = t->bat;
	v->bat_dirty = t->bat_dirty;
	vhd_pages_fini(v);
	vhd_set_blocks(v, size, v->block_size);
	return vhd_pages_init(v, bytes);
}

/* Where the parent goes on behind this disk's old end, this disk has zeros. */
static int hide_parent(struct vhd *v, uint64_t end)
{
	struct disk *parent = v->disk.parent;
	uint64_t at = v->disk.size;
	int err = 0;

	if (v->nowhere != DISK_IN_PARENT)
		return 0;
	if (!parent)
		return -ENXIO;
	if (end > disk_size(parent))
		end = disk_size(parent);
	while (!err && at < end) {
		enum disk_where where;
		int64_t n = disk_extent(parent, at, end, UINT_MAX, &where);

		if (n < 0)
			err = n;
		else if (where != DISK_ZEROS)
			err = vhd_zero_here(v, at, n, true);
		at += n > 0 ? n : 0;
	}
	return err ? err : vhd_commit(v);
}

static int free_behind(struct vhd *v, uint32_t blocks)
{
	struct vhd_rooms rooms = {0};
	int err = 0;

	for (uint32_t i = blocks; !err && i < v->blocks; i++)
		if (v->bat[i] != VHD_UNUSED)
			err = vhd_rooms_add(&rooms, v->bat[i]);
	pthread_mutex_lock(&v->alter);
	if (!err)
		err = vhd_rooms_recycle(v, &rooms);
	pthread_mutex_unlock(&v->alter);
	free(rooms.room);
	return err;
}

static int shrink_blocks(struct vhd *v, uint64_t size, uint32_t blocks)
{
	int err = write_size(v, size);

	if (!err)
		err = write_table_place(v, be64toh(v->header.table_offset), blocks);
	return err ? err : free_behind(v, blocks);
}

static int resize_blocks(struct vhd *v, uint64_t size)
{
	uint32_t blocks = (size + v->block_size - 1) >> v->block_shift;
	bool grows = size > v->disk.size;
	struct tables t;
	int err;

	err = make_tables(v, blocks, &t);
	if (err)
		return err;
	/* Room that was given back may be where the table grows to. */
	v->free.n = 0;
	err = grows ? clear_last(v) : shrink_blocks(v, size, blocks);
	if (!err && blocks > v->blocks)
		err = grow_table(v, blocks);
	if (err) {
		free((void *)t.bat);
		free(t.bat_dirty);
		return err;
	}
	err = use_tables(v, &t, size);
	if (!err && grows)
		err = hide_parent(v, size);
	return err || !grows ? err : write_size(v, size);
}

/* ---- Either ---------------------------------------------------------------------------------- */

static int check_size(struct vhd *v, uint64_t size, bool lose, struct disk_problem *problem)
{
	const struct disk_file *f = &v->disk.file;
	struct disk_info info = {0};
	int fits = 1;

	if (!size || size % VHD_SECTOR || size > VHD_SIZE_MAX)
		return disk_problem_note(problem, f, -EINVAL, ERROR_VHD_INVALID_SIZE,
			"a VHD has from 512 bytes to 2040 GiB, in sectors of 512 bytes, not %llu "
			"bytes",
			(unsigned long long)size);
	if (vhd_has_blocks(v) && ((size - 1) >> v->block_shift) * 8 > v->disk.cache)
		return disk_problem_note(problem, f, -EINVAL, ERROR_VHD_INVALID_SIZE,
			"its blocks of %u bytes are too small for that size; convert it",
			v->block_size);
	if (size >= v->disk.size || lose)
		return 0;
	if (vhd_has_blocks(v)) {
		v->disk.ops->info(&v->disk, &info);
		fits = size >= info.min_size;
	} else {
		fits = zeros_from(v, size);
	}
	if (fits < 0)
		return fits;
	return fits ? 0
		    : disk_problem_note(problem, f, -ENOTEMPTY,
			      ERROR_VHD_RESIZE_WOULD_TRUNCATE_DATA,
			      "data lies behind the new end; compact it first, or let it be lost");
}

int vhd_resize(struct disk *d, uint64_t size, bool lose, struct disk_problem *problem)
{
	struct vhd *v = vhd_of(d);
	int err = check_size(v, size, lose, problem);

	if (!err && vhd_has_blocks(v))
		err = vhd_commit(v);
	if (!err)
		err = vhd_stamp(v);
	if (err || size == d->size)
		return err;
	if (vhd_has_blocks(v))
		err = resize_blocks(v, size);
	else
		err = size > d->size ? grow_fixed(v, size) : shrink_fixed(v, size);
	if (err)
		return disk_problem_note(problem, &d->file, err, disk_problem_win32(NULL, err),
			"its size cannot be changed: %s", strerror(-err));
	d->size = d->fixed.size = size;
	return 0;
}
