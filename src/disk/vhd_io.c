/*
 * vhd_io.c - requests: where bytes are, where they go, and how that becomes durable (vhd.h has the
 * rules).
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhd.h"

#define COMMIT_PAGES 512u /* bitmap pages written at once */

/* ---- Where bytes are ------------------------------------------------------------------------- */

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* @length, but not beyond the page of @offset. */
static uint64_t in_page(const struct vhd *v, uint64_t offset, uint64_t length)
{
	uint64_t bytes = (uint64_t)v->page_sectors * VHD_SECTOR;

	return smaller(length, bytes - offset % bytes);
}

static uint64_t in_block(const struct vhd *v, uint64_t offset, uint64_t length)
{
	return smaller(length, v->block_size - (offset & (v->block_size - 1)));
}

static uint64_t file_offset(const struct vhd *v, uint32_t room, uint64_t offset)
{
	return vhd_room_offset(room) + v->bitmap_size + (offset & (v->block_size - 1));
}

/* How many of @length bytes from @offset lie in blocks that are not allocated. */
static uint64_t unused_run(const struct vhd *v, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length, block = offset >> v->block_shift;

	while (block << v->block_shift < end &&
		atomic_load_explicit(&v->bat[block], memory_order_relaxed) == VHD_UNUSED)
		block++;
	return smaller(block << v->block_shift, end) - offset;
}

int vhd_map(
	struct disk *d, uint64_t offset, uint64_t length, bool nowait, struct disk_extent *extent)
{
	struct vhd *v = vhd_of(d);
	struct vhd_page *p;
	uint32_t room, n;
	bool set;
	int err;

	*extent = (struct disk_extent){.place = DISK_HERE, .length = length, .file_offset = offset};
	if (!vhd_has_blocks(v))
		return 0;
	room = atomic_load_explicit(&v->bat[offset >> v->block_shift], memory_order_acquire);
	if (room == VHD_BAD)
		return -EUCLEAN;
	if (room == VHD_UNUSED) {
		extent->place = v->nowhere;
		extent->length = unused_run(v, offset, length);
		/* Allocated just now: then it is no longer than it was. */
		if (!extent->length)
			extent->length = VHD_SECTOR;
		return 0;
	}
	extent->length = in_page(v, offset, length);
	extent->file_offset = file_offset(v, room, offset);
	err = vhd_page_pin(v, vhd_page_of(v, offset), nowait, &p);
	if (err || !p)
		return err;
	n = vhd_page_run(
		p, offset / VHD_SECTOR % v->page_sectors, extent->length / VHD_SECTOR, &set);
	vhd_page_unpin(v, p);
	extent->length = (uint64_t)n * VHD_SECTOR;
	if (!set)
		extent->place = v->nowhere;
	return 0;
}

/* ---- Where they go --------------------------------------------------------------------------- */

void vhd_set_entry(struct vhd *v, uint32_t block, uint32_t room)
{
	atomic_store_explicit(&v->bat[block], room, memory_order_release);
	v->bat_dirty[block / 128 / 8] |= 1u << (block / 128 % 8);
	atomic_fetch_add(&v->changes, 1);
}

static void set_block_full(struct vhd *v, uint32_t block, bool full)
{
	uint64_t first = (uint64_t)block << v->page_shift;

	for (uint64_t i = 0; i < UINT64_C(1) << v->page_shift; i++)
		vhd_page_set_full(v, first + i, full);
}

/*
 * Give @block room. On a dynamic disk all its sectors are in the file from now on, as zeros, which
 * is how Hyper-V and qemu do it; on a differencing disk none is.
 */
static int allocate(struct vhd *v, uint32_t block)
{
	bool full = v->nowhere == DISK_NOWHERE;
	uint8_t *ones = NULL;
	uint32_t room;
	int err = 0;

	if (full) {
		ones = malloc(v->bitmap_size);
		if (!ones)
			return -ENOMEM;
		memset(ones, 0xff, v->bitmap_size);
	}
	pthread_mutex_lock(&v->lock);
	if (v->bat[block] == VHD_UNUSED) {
		err = vhd_room_take(v, &room);
		if (!err && full) {
			err = disk_file_write(
				&v->disk.file, ones, v->bitmap_size, vhd_room_offset(room));
			if (!err)
				set_block_full(v, block, true);
			else
				vhd_rooms_add(&v->free, room);
		}
		if (!err)
			vhd_set_entry(v, block, room);
	}
	pthread_mutex_unlock(&v->lock);
	free(ones);
	return err;
}

int vhd_place(struct disk *d, uint64_t offset, uint64_t length, const struct disk_iov *data,
	bool nowait, struct disk_extent *extent)
{
	struct vhd *v = vhd_of(d);
	struct vhd_page *p;
	uint32_t room, block = offset >> v->block_shift, n;
	bool set;
	int err;

	if (!atomic_load_explicit(&v->stamped, memory_order_acquire)) {
		err = nowait ? -EAGAIN : vhd_stamp(v);
		if (err)
			return err;
	}
	*extent = (struct disk_extent){.place = DISK_HERE, .length = length, .file_offset = offset};
	if (!vhd_has_blocks(v))
		return 0;
	while ((room = atomic_load_explicit(&v->bat[block], memory_order_acquire)) == VHD_UNUSED) {
		extent->length = in_block(v, offset, length);
		if (data && v->nowhere == DISK_NOWHERE && disk_iov_is_zero(*data, extent->length)) {
			extent->place = DISK_NOWHERE;
			return 0;
		}
		err = nowait ? -EAGAIN : allocate(v, block);
		if (err)
			return err;
	}
	if (room == VHD_BAD)
		return -EUCLEAN;
	extent->length = in_page(v, offset, length);
	extent->file_offset = file_offset(v, room, offset);
	err = vhd_page_pin(v, vhd_page_of(v, offset), nowait, &p);
	if (err || !p)
		return err;
	n = vhd_page_run(
		p, offset / VHD_SECTOR % v->page_sectors, extent->length / VHD_SECTOR, &set);
	if (set && n == extent->length / VHD_SECTOR) {
		vhd_page_unpin(v, p);
		return 0;
	}
	/* The page stays pinned until it is settled. */
	extent->settle = true;
	extent->token = p - v->page;
	return 0;
}

int vhd_settle(struct disk *d, uint64_t offset, const struct disk_extent *extent, int err)
{
	struct vhd *v = vhd_of(d);
	struct vhd_page *p = &v->page[extent->token];
	uint32_t room = atomic_load(&v->bat[offset >> v->block_shift]);

	/* Unless the block was freed meanwhile. */
	if (!err && room != VHD_UNUSED && file_offset(v, room, offset) == extent->file_offset)
		vhd_page_set(
			v, p, offset / VHD_SECTOR % v->page_sectors, extent->length / VHD_SECTOR);
	vhd_page_unpin(v, p);
	return 0;
}

/* ---- Zeros ----------------------------------------------------------------------------------- */

/* A block of a dynamic disk is not needed any more. */
static int free_block(struct vhd *v, uint32_t block)
{
	int err = 0;

	pthread_mutex_lock(&v->lock);
	if (v->bat[block] != VHD_UNUSED && v->bat[block] != VHD_BAD) {
		err = vhd_rooms_add(&v->freed, v->bat[block]);
		if (!err) {
			vhd_set_entry(v, block, VHD_UNUSED);
			set_block_full(v, block, false);
		}
	}
	pthread_mutex_unlock(&v->lock);
	return err;
}

int vhd_zero_here(struct vhd *v, uint64_t offset, uint64_t length, bool unmap)
{
	while (length) {
		struct disk_extent e;
		int err = vhd_place(&v->disk, offset, length, NULL, false, &e);

		if (err)
			return err;
		err = disk_file_zero(&v->disk.file, e.file_offset, e.length, unmap);
		if (e.settle)
			vhd_settle(&v->disk, offset, &e, err);
		if (err)
			return err;
		offset += e.length;
		length -= e.length;
	}
	return 0;
}

int vhd_zero(struct disk *d, uint64_t offset, uint64_t length, bool unmap, uint64_t *done)
{
	struct vhd *v = vhd_of(d);
	uint64_t end = offset + length;
	int err = vhd_stamp(v);

	pthread_mutex_lock(&v->alter);
	*done = 0;
	while (!err && offset < end) {
		uint64_t n = end - offset;

		if (!vhd_has_blocks(v)) {
			err = vhd_zero_here(v, offset, n, unmap && !v->dense);
		} else {
			uint32_t block = offset >> v->block_shift;
			uint64_t start = (uint64_t)block << v->block_shift;
			uint64_t whole = smaller(v->block_size, d->size - start);

			n = smaller(n, start + whole - offset);
			if (v->nowhere == DISK_IN_PARENT)
				err = vhd_zero_here(v, offset, n, unmap);
			else if (v->bat[block] == VHD_UNUSED)
				err = 0;
			else if (unmap && n == whole)
				err = free_block(v, block);
			else
				err = vhd_zero_here(v, offset, n, unmap);
		}
		if (!err)
			*done += n;
		offset += n;
	}
	pthread_mutex_unlock(&v->alter);
	return err;
}

/* ---- Durable --------------------------------------------------------------------------------- */

/*
 * Write the sectors of the BAT that changed. Entries that change meanwhile may go along: what they
 * name is durable already.
 */
static int write_bat(struct vhd *v, const uint8_t *dirty, uint32_t sectors)
{
	uint64_t table = be64toh(v->header.table_offset);
	uint32_t entries[128];
	int err = 0;

	for (uint32_t s = 0; s < sectors && !err; s++) {
		if (!(dirty[s / 8] >> (s % 8) & 1))
			continue;
		for (uint32_t i = 0; i < 128; i++) {
			uint64_t block = (uint64_t)s * 128 + i;

			entries[i] = block < v->blocks ? htobe32(v->bat[block]) : VHD_UNUSED;
		}
		err = disk_file_write(
			&v->disk.file, entries, sizeof(entries), table + (uint64_t)s * VHD_SECTOR);
	}
	return err;
}

static int write_pages(struct vhd *v, const struct vhd_page_copy *pages, uint32_t n, int err)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!err)
			err = disk_file_write(
				&v->disk.file, pages[i].bits, VHD_SECTOR, pages[i].offset);
		vhd_page_written(v, &pages[i], err);
	}
	return err;
}

/* What is to be written: taken at once, before the data that it shows is made durable. */
struct batch {
	uint64_t changes;
	uint8_t *bat; /* v->bat_dirty */
	uint32_t bytes;
	bool any; /* of the BAT */
	struct vhd_page_copy *pages;
	uint32_t n;
};

static void take_batch(struct vhd *v, struct batch *b)
{
	pthread_mutex_lock(&v->lock);
	b->changes = atomic_load(&v->changes);
	memcpy(b->bat, v->bat_dirty, b->bytes);
	memset(v->bat_dirty, 0, b->bytes);
	b->n = vhd_pages_collect(v, b->pages, COMMIT_PAGES);
	pthread_mutex_unlock(&v->lock);
	b->any = false;
	for (uint32_t i = 0; i < b->bytes; i++)
		b->any |= b->bat[i] != 0;
}

static void bat_again(struct vhd *v, const struct batch *b)
{
	pthread_mutex_lock(&v->lock);
	for (uint32_t i = 0; i < b->bytes; i++)
		v->bat_dirty[i] |= b->bat[i];
	pthread_mutex_unlock(&v->lock);
}

static int write_batch(struct vhd *v, struct batch *b)
{
	int err;

	take_batch(v, b);
	err = disk_file_flush(&v->disk.file);
	err = write_pages(v, b->pages, b->n, err);
	if (!err)
		err = write_bat(v, b->bat, b->bytes * 8);
	if (!err && (b->n || b->any))
		err = disk_file_flush(&v->disk.file);
	if (err)
		bat_again(v, b);
	return err;
}

int vhd_commit(struct vhd *v)
{
	uint32_t bytes = vhd_bat_bytes(v->blocks) / VHD_SECTOR / 8 + 1;
	struct batch b = {
		.bat = malloc(bytes),
		.bytes = bytes,
		.pages = malloc(COMMIT_PAGES * sizeof(*b.pages)),
	};
	int err = b.bat && b.pages ? 0 : -ENOMEM;

	pthread_mutex_lock(&v->commit);
	if (!err) {
		do
			err = write_batch(v, &b);
		while (!err && b.n == COMMIT_PAGES);
		if (!err)
			atomic_store(&v->committed, b.changes);
	}
	pthread_mutex_unlock(&v->commit);
	free(b.pages);
	free(b.bat);
	return err;
}

/* True also while somebody else commits: what that covers is not durable yet. */
bool vhd_dirty(struct disk *d)
{
	struct vhd *v = vhd_of(d);

	return atomic_load(&v->changes) != atomic_load(&v->committed);
}

/*
 * Room of blocks that were freed before the flush is used again when nobody inside can still mean
 * the old block by it.
 */
int vhd_flush(struct disk *d)
{
	struct vhd *v = vhd_of(d);
	struct vhd_rooms freed;
	int err;

	if (!vhd_dirty(d))
		return disk_file_flush(&d->file);
	pthread_mutex_lock(&v->lock);
	freed = v->freed;
	v->freed = (struct vhd_rooms){0};
	pthread_mutex_unlock(&v->lock);
	err = vhd_commit(v);
	if (!err && freed.n) {
		disk_synchronize(d);
		pthread_mutex_lock(&v->alter);
		err = vhd_rooms_recycle(v, &freed);
		pthread_mutex_unlock(&v->alter);
	}
	free(freed.room);
	return err;
}
