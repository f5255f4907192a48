/*
 * vhd_room.c - the room in the file: what is in use, what can be given, and the footer behind it.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhd.h"

#define ALIGN	   4096u	/* a block's data begins there: so large are sectors of disks */
#define GROW_LEAST (8u << 20)	/* bytes by which a file grows, when it holds little */
#define GROW_MOST  (256u << 20) /* and much */

/* ---- What is in use -------------------------------------------------------------------------- */

static void add_region(
	struct vhd_region *r, uint32_t *n, const char *name, uint64_t start, uint64_t length)
{
	if (length)
		r[(*n)++] = (struct vhd_region){start, start + length, VHD_UNUSED, name};
}

static int by_start(const void *a, const void *b)
{
	const struct vhd_region *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

uint32_t vhd_fixed_regions(const struct vhd *v, struct vhd_region *regions)
{
	uint64_t size = v->disk.file.size;
	uint32_t n = 0;

	add_region(regions, &n, "the copy of the footer", 0, sizeof(v->footer));
	add_region(regions, &n, "the header", be64toh(v->footer.data_offset), sizeof(v->header));
	add_region(regions, &n, "the block table", be64toh(v->header.table_offset),
		vhd_bat_bytes(v->blocks));
	for (unsigned i = 0; v->disk.fixed.kind == DISK_DIFFERENCING && i < VHD_LOCATORS; i++) {
		const struct vhd_locator *l = &v->header.locator[i];
		uint64_t offset = be64toh(l->offset), length = be32toh(l->length);

		if (offset < size && length <= VHD_LOCATOR_MAX && length <= size - offset)
			add_region(regions, &n, "a path of the parent", offset, length);
	}
	qsort(regions, n, sizeof(*regions), by_start);
	return n;
}

int vhd_regions(struct vhd *v, struct vhd_region **regions, uint32_t *n)
{
	uint32_t used = 0;
	struct vhd_region *r;

	for (uint32_t i = 0; i < v->blocks; i++)
		used += v->bat[i] != VHD_UNUSED && v->bat[i] != VHD_BAD;
	r = malloc((used + VHD_FIXED_REGIONS) * sizeof(*r));
	if (!r)
		return -ENOMEM;
	*n = vhd_fixed_regions(v, r);
	for (uint32_t i = 0; i < v->blocks; i++) {
		uint64_t start = vhd_room_offset(v->bat[i]);

		if (v->bat[i] != VHD_UNUSED && v->bat[i] != VHD_BAD)
			r[(*n)++] = (struct vhd_region){start, start + vhd_block_room(v), i, NULL};
	}
	qsort(r, *n, sizeof(*r), by_start);
	*regions = r;
	return 0;
}

void vhd_room_next(struct vhd *v)
{
	struct vhd_region fixed[VHD_FIXED_REGIONS];
	uint32_t n = vhd_fixed_regions(v, fixed);
	uint64_t next = 0;

	for (uint32_t i = 0; i < n; i++)
		if (fixed[i].end > next)
			next = fixed[i].end;
	for (uint32_t i = 0; i < v->blocks; i++) {
		uint64_t end = vhd_room_offset(v->bat[i]) + vhd_block_room(v);

		if (v->bat[i] != VHD_UNUSED && v->bat[i] != VHD_BAD && end > next)
			next = end;
	}
	v->next = (next + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
}

/* ---- The end of the file --------------------------------------------------------------------- */

int vhd_room_cut(struct vhd *v)
{
	struct disk_file *f = &v->disk.file;
	int err;

	if (v->end == v->next && !v->end_lost && f->size == v->end + sizeof(v->footer))
		return 0;
	v->end = v->next;
	err = vhd_footers_write(v);
	if (!err)
		err = disk_file_flush(f);
	if (!err)
		err = disk_file_set_size(f, v->end + sizeof(v->footer));
	return err ? err : disk_file_flush(f);
}

/*
 * The footer goes to @end, behind what is there, and where it was are zeros: durable, each after
 * the other.
 */
static int grow(struct vhd *v, uint64_t end)
{
	static const uint8_t zeros[VHD_SECTOR];
	struct disk_file *f = &v->disk.file;
	uint64_t was = v->end;
	int err;

	v->end = end;
	err = vhd_footers_write(v);
	if (!err)
		err = disk_file_flush(f);
	if (!err)
		err = disk_file_write(f, zeros, sizeof(zeros), was);
	if (!err)
		err = disk_file_flush(f);
	if (err) {
		v->end = was;
		disk_file_set_size(f, was + sizeof(v->footer));
	}
	return err;
}

/* What lies between the last block and the footer at opening may be anything: it goes, once. */
static int cut_once(struct vhd *v)
{
	int err = v->swept ? 0 : vhd_room_cut(v);

	if (!err)
		v->swept = true;
	return err;
}

int vhd_room_append(struct vhd *v, uint64_t length, uint64_t *offset)
{
	uint64_t end;
	int err = cut_once(v);

	if (err)
		return err;
	end = (v->next + length + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
	if (end > VHD_ROOM_MAX)
		return -EFBIG;
	if (end > v->end)
		err = grow(v, end);
	if (err)
		return err;
	*offset = v->next;
	v->next = end;
	return 0;
}

/* Where a block behind @next begins: its data aligned, unless so the last would be out of reach. */
uint64_t vhd_room_align(const struct vhd *v, uint64_t next)
{
	uint64_t rest = (next + v->bitmap_size) % ALIGN;
	uint64_t all = v->blocks * (vhd_block_room(v) + ALIGN);

	if (!rest || v->block_size < ALIGN || all > VHD_ROOM_MAX - (1u << 30))
		return next;
	return next + ALIGN - rest;
}

/* ---- Giving room ----------------------------------------------------------------------------- */

int vhd_room_take(struct vhd *v, uint32_t *room)
{
	uint64_t at, end, more;
	int err;

	if (v->free.n) {
		*room = v->free.room[--v->free.n];
		return 0;
	}
	err = cut_once(v);
	if (err)
		return err;
	at = vhd_room_align(v, v->next);
	end = at + vhd_block_room(v);
	if (at >= VHD_ROOM_MAX)
		return -ENOSPC;
	if (end > v->end) {
		more = v->next / 8;
		more = more < GROW_LEAST ? GROW_LEAST : more > GROW_MOST ? GROW_MOST : more;
		more = more / VHD_SECTOR * VHD_SECTOR;
		err = grow(v, end + more);
		/* A file system that lets it have this block may not let it have more. */
		if (err == -ENOSPC || err == -EFBIG)
			err = grow(v, end);
	}
	if (err)
		return err;
	*room = at / VHD_SECTOR;
	v->next = end;
	return 0;
}

int vhd_rooms_add(struct vhd_rooms *r, uint32_t room)
{
	if (r->n == r->space) {
		uint32_t space = r->space ? r->space * 2 : 64;
		uint32_t *more = realloc(r->room, (size_t)space * sizeof(*more));

		if (!more)
			return -ENOMEM;
		r->room = more;
		r->space = space;
	}
	r->room[r->n++] = room;
	return 0;
}

int vhd_rooms_recycle(struct vhd *v, struct vhd_rooms *rooms)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < rooms->n; i++)
		err = disk_file_zero(
			&v->disk.file, vhd_room_offset(rooms->room[i]), vhd_block_room(v), true);
	if (!err)
		err = disk_file_flush(&v->disk.file);
	if (err)
		return err;
	pthread_mutex_lock(&v->lock);
	for (uint32_t i = 0; i < rooms->n; i++)
		if (vhd_rooms_add(&v->free, rooms->room[i]) < 0)
			break; /* what is not remembered is found again by compacting */
	pthread_mutex_unlock(&v->lock);
	return 0;
}
