/*
 * vhd_open.c - opening and closing a VHD.
 *
 * The footer at the end of the file says what the disk is. Only when that is damaged the copy at
 * the beginning is asked, which a fixed disk does not have: there the guest's first sector is, and
 * it must not be able to say what the disk is.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "disk/vhd.h"
#include "winerror.h"

#define BAT_AT_ONCE 16384u /* entries read at once */

static bool is_footer(const void *bytes)
{
	return memcmp(bytes, VHD_FOOTER_COOKIE, 8) == 0;
}

static bool probe(const uint8_t *head, size_t n_head, const uint8_t *tail, uint64_t file_size)
{
	if (file_size < VHD_SECTOR || n_head < VHD_SECTOR)
		return false;
	return is_footer(tail) || is_footer(tail + VHD_SECTOR - VHD_FOOTER_OLD) || is_footer(head);
}

/* ---- Footers --------------------------------------------------------------------------------- */

static int read_footer(struct vhd *v, uint64_t offset, struct vhd_footer *f)
{
	return disk_file_read_some(&v->disk.file, f, sizeof(*f), offset);
}

/*
 * The footer @f holds, also - for a disk that is to be repaired - when all that is wrong is its
 * checksum.
 */
static int accept_footer(
	struct vhd *v, struct vhd_footer *f, bool *mended, struct disk_problem *problem)
{
	struct vhd_footer fixed = *f;
	int err = vhd_footer_check(f, &v->disk.file, NULL);

	*mended = false;
	if (err == -EUCLEAN && (v->disk.flags & DISK_OPEN_DAMAGED)) {
		vhd_footer_seal(&fixed);
		if (vhd_footer_check(&fixed, &v->disk.file, NULL) == 0) {
			*f = fixed;
			*mended = true;
			return 0;
		}
	}
	return err ? vhd_footer_check(f, &v->disk.file, problem) : 0;
}

static int find_footer(struct vhd *v, struct disk_problem *problem)
{
	uint64_t size = v->disk.file.size;
	/* From before Virtual PC 2004: a footer of 511 bytes. It too begins at a sector. */
	uint64_t last =
		size % VHD_SECTOR == VHD_FOOTER_OLD ? size - VHD_FOOTER_OLD : size - VHD_SECTOR;
	struct vhd_footer copy;
	bool mended;
	int err;

	if (size < VHD_SECTOR)
		return disk_problem_note(problem, &v->disk.file, -EMEDIUMTYPE,
			ERROR_VHD_DRIVE_FOOTER_MISSING, "it is too short for a VHD");
	err = read_footer(v, last, &v->footer);
	if (!err)
		err = read_footer(v, 0, &copy);
	if (err)
		return disk_problem_note(problem, &v->disk.file, err,
			ERROR_VHD_METADATA_READ_FAILURE, "its footer cannot be read: %s",
			strerror(-err));
	if (last % VHD_SECTOR)
		memset(&v->footer, 0, sizeof(v->footer));
	v->end = last;
	if (vhd_footer_check(&v->footer, &v->disk.file, NULL) == 0) {
		v->copy_bad = be32toh(v->footer.type) != VHD_FIXED &&
			      (vhd_footer_check(&copy, &v->disk.file, NULL) < 0 ||
				      memcmp(copy.id, v->footer.id, sizeof(copy.id)) != 0);
		return 0;
	}
	if (vhd_footer_check(&copy, &v->disk.file, NULL) == 0 && be32toh(copy.type) != VHD_FIXED) {
		v->end_missing = !is_footer(&v->footer);
		v->footer = copy;
		v->end_lost = true;
		return 0;
	}
	err = accept_footer(v, &v->footer, &mended, problem);
	v->end_lost = mended;
	return err;
}

static int check_fixed(struct vhd *v, struct disk_problem *problem)
{
	uint64_t size = be64toh(v->footer.size);
	struct stat st;

	if (size > v->end)
		return disk_problem_note(problem, &v->disk.file, -EUCLEAN,
			ERROR_VHD_INVALID_FILE_SIZE,
			"the disk has %llu bytes, the file only %llu; the file was cut off",
			(unsigned long long)size, (unsigned long long)v->end);
	v->dense = fstat(v->disk.file.fd, &st) == 0 && (uint64_t)st.st_blocks * 512 >= size;
	return 0;
}

/* ---- The block table ------------------------------------------------------------------------- */

/* Does the block at @room lie in the file, behind nothing else? The last may be cut off. */
static bool fits(
	struct vhd *v, uint32_t block, uint32_t room, const struct vhd_region *fixed, uint32_t n)
{
	uint64_t start = vhd_room_offset(room), end = start + vhd_block_room(v);
	uint64_t size = be64toh(v->footer.size), first = (uint64_t)block << v->block_shift;
	uint64_t needed = size - first < v->block_size ? size - first : v->block_size;

	if (start + v->bitmap_size + needed > v->disk.file.size)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (start < fixed[i].end && fixed[i].start < end)
			return false;
	return true;
}

static int load_entries(struct vhd *v, struct disk_problem *problem)
{
	uint64_t table = be64toh(v->header.table_offset);
	struct vhd_region fixed[VHD_FIXED_REGIONS];
	uint32_t n = vhd_fixed_regions(v, fixed), *entries;
	int err = 0;

	entries = malloc(BAT_AT_ONCE * 4);
	if (!entries)
		return -ENOMEM;
	for (uint32_t at = 0; !err && at < v->blocks; at += BAT_AT_ONCE) {
		uint32_t more = v->blocks - at < BAT_AT_ONCE ? v->blocks - at : BAT_AT_ONCE;

		err = disk_file_read(&v->disk.file, entries, more * 4, table + 4 * (uint64_t)at);
		for (uint32_t i = 0; !err && i < more; i++) {
			uint32_t room = be32toh(entries[i]);

			if (room != VHD_UNUSED && !fits(v, at + i, room, fixed, n)) {
				room = VHD_BAD;
				v->bad++;
			}
			v->bat[at + i] = room;
		}
	}
	free(entries);
	if (err)
		return disk_problem_note(problem, &v->disk.file, err,
			ERROR_VHD_METADATA_READ_FAILURE, "its block table cannot be read: %s",
			strerror(-err));
	return 0;
}

/* Two blocks in one place: what is written to one would be seen in the other. */
static int check_overlaps(struct vhd *v, struct disk_problem *problem)
{
	struct vhd_region *r;
	uint32_t n, i;
	int err = vhd_regions(v, &r, &n);

	if (err)
		return err;
	for (i = 1; i < n; i++)
		if (r[i].start < r[i - 1].end && r[i].block != VHD_UNUSED &&
			r[i - 1].block != VHD_UNUSED)
			break;
	if (i < n)
		err = disk_problem_note(problem, &v->disk.file, -EUCLEAN,
			ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT,
			"blocks %u and %u lie in the same place of the file; check it with "
			"--repair",
			r[i - 1].block, r[i].block);
	free(r);
	return err;
}

static int check_entries(struct vhd *v, struct disk_problem *problem)
{
	if (v->bad)
		for (uint32_t i = 0; i < v->blocks; i++)
			if (v->bat[i] == VHD_BAD)
				return disk_problem_note(problem, &v->disk.file, -EUCLEAN,
					ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT,
					"block %u lies outside the file or in its tables; check "
					"it with --repair",
					i);
	return check_overlaps(v, problem);
}

static int open_blocks(struct vhd *v, size_t cache, struct disk_problem *problem)
{
	size_t bytes;
	int err = vhd_header_read(v, problem);

	if (err)
		return err;
	bytes = v->blocks * (sizeof(*v->bat) + 1) + v->blocks / 8;
	if (bytes > cache / 4 * 3)
		return disk_problem_note(problem, &v->disk.file, -ENOMEM, ERROR_NOT_ENOUGH_MEMORY,
			"its block table takes %zu KiB of memory, more than the cache's bound "
			"allows; open it with a larger cache",
			bytes >> 10);
	v->bat = malloc((v->blocks + (size_t)1) * sizeof(*v->bat));
	v->bat_dirty = calloc(1, vhd_bat_bytes(v->blocks) / VHD_SECTOR / 8 + 1);
	if (!v->bat || !v->bat_dirty)
		return -ENOMEM;
	err = vhd_pages_init(v, cache - bytes);
	if (!err)
		err = load_entries(v, problem);
	if (!err && !(v->disk.flags & DISK_OPEN_DAMAGED))
		err = check_entries(v, problem);
	if (!err)
		vhd_room_next(v);
	return err;
}

/* ---- Opening and closing --------------------------------------------------------------------- */

static void free_vhd(struct vhd *v)
{
	vhd_pages_fini(v);
	free((void *)v->bat);
	free(v->bat_dirty);
	free(v->free.room);
	free(v->freed.room);
	pthread_mutex_destroy(&v->alter);
	pthread_mutex_destroy(&v->commit);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

static int read_tables(struct vhd *v, size_t cache, struct disk_problem *problem)
{
	struct disk_info *info = &v->disk.fixed;
	int err = find_footer(v, problem);

	if (err)
		return err;
	vhd_footer_info(&v->footer, info);
	if (!vhd_has_blocks(v))
		return check_fixed(v, problem);
	v->nowhere = info->kind == DISK_DYNAMIC ? DISK_NOWHERE : DISK_IN_PARENT;
	err = open_blocks(v, cache, problem);
	if (err)
		return err;
	info->block_size = v->block_size;
	if (info->kind == DISK_DIFFERENCING) {
		vhd_guid_load(v->header.parent_id, &info->parent_id);
		info->parent_time = be32toh(v->header.parent_time);
	}
	return 0;
}

static int vhd_open(struct disk_engine *e, struct disk_file *file,
	const struct disk_open_options *options, struct disk **disk, struct disk_problem *problem)
{
	struct vhd *v = calloc(1, sizeof(*v));
	struct disk_info fixed;
	int err;

	if (!v)
		return -ENOMEM;
	pthread_mutex_init(&v->alter, NULL);
	pthread_mutex_init(&v->commit, NULL);
	pthread_mutex_init(&v->lock, NULL);
	/* Borrowed until all is well. */
	v->disk.file = *file;
	v->disk.flags = options->flags;
	err = read_tables(v, options->cache, problem);
	if (err) {
		free_vhd(v);
		return err;
	}
	if (v->end_missing && file->writable && !(options->flags & DISK_OPEN_DAMAGED)) {
		pthread_mutex_lock(&v->lock);
		err = vhd_room_cut(v);
		pthread_mutex_unlock(&v->lock);
		*file = v->disk.file; /* its length */
	}
	if (err) {
		free_vhd(v);
		return err;
	}
	fixed = v->disk.fixed;
	disk_init(&v->disk, &disk_vhd, e, file, options);
	v->disk.fixed = fixed;
	v->disk.size = fixed.size;
	*disk = &v->disk;
	return 0;
}

static int vhd_close(struct disk *d)
{
	struct vhd *v = vhd_of(d);
	int err = 0;

	/*
	 * The core has flushed. What the file holds in reserve goes, if the BAT is what we think.
	 */
	if (v->swept && !vhd_dirty(d)) {
		pthread_mutex_lock(&v->lock);
		vhd_room_next(v);
		err = vhd_room_cut(v);
		pthread_mutex_unlock(&v->lock);
	}
	if (d->parent && d->parent->ops == &disk_vhd)
		vhd_of(d->parent)->child = NULL;
	disk_fini(d);
	free_vhd(v);
	return err;
}

/* Without data behind it: the end of the last block that is in the file. */
static void vhd_info(struct disk *d, struct disk_info *info)
{
	struct vhd *v = vhd_of(d);
	uint32_t n = v->blocks;

	if (!vhd_has_blocks(v))
		return;
	while (n && atomic_load_explicit(&v->bat[n - 1], memory_order_relaxed) == VHD_UNUSED)
		n--;
	info->min_size = (uint64_t)n << v->block_shift;
	if (info->min_size > d->size)
		info->min_size = d->size;
}

const struct disk_format_ops disk_vhd = {
	.format = DISK_FORMAT_VHD,
	.name = "VHD",
	.probe = probe,
	.open = vhd_open,
	.close = vhd_close,
	.create = vhd_create,
	.map = vhd_map,
	.place = vhd_place,
	.settle = vhd_settle,
	.flush = vhd_flush,
	.zero = vhd_zero,
	.resize = vhd_resize,
	.compact = vhd_compact,
	.set_parent = vhd_set_parent,
	.set_id = vhd_set_id,
	.check = vhd_check,
	.locator = vhd_locator,
	.parent_fits = vhd_parent_fits,
	.info = vhd_info,
};
