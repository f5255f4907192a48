/*
 * vhd_check.c - examining a VHD's tables, and mending what can be mended.
 */
#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhd.h"

static void found(struct disk_check *c, bool repaired, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void found(struct disk_check *c, bool repaired, const char *format, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	c->errors++;
	c->repaired += repaired;
	if (c->found)
		c->found(c->ctx, repaired, text);
}

/* ---- Footers and header ---------------------------------------------------------------------- */

static int check_footers(struct vhd *v, struct disk_check *c)
{
	bool missing = v->end_missing, lost = v->end_lost, bad = v->copy_bad, good = false;
	int err = 0;

	if (c->repair && (lost || bad)) {
		pthread_mutex_lock(&v->lock);
		err = lost && vhd_has_blocks(v) ? vhd_room_cut(v) : vhd_footers_write(v);
		if (!err)
			err = disk_file_flush(&v->disk.file);
		pthread_mutex_unlock(&v->lock);
		good = !err;
	}
	/* What a power cut may leave is told, but is no error: the copy serves. */
	if (missing && !c->repair) {
		if (c->found)
			c->found(c->ctx, false,
				"the footer at the end of the file is missing; the disk gets it "
				"when it is next opened for writing");
	} else if (lost) {
		found(c, good, "the footer at the end of the file is missing or damaged");
	}
	if (bad)
		found(c, good, "the copy of the footer is damaged or another disk's");
	return err;
}

static int check_header(struct vhd *v, struct disk_check *c)
{
	int err = 0;

	if (!v->header_damaged)
		return 0;
	if (c->repair) {
		vhd_header_seal(&v->header);
		err = disk_file_write(&v->disk.file, &v->header, sizeof(v->header),
			be64toh(v->footer.data_offset));
		if (!err)
			v->header_damaged = false;
	}
	found(c, c->repair && !err, "the header's checksum is wrong");
	return err;
}

static void check_paths(struct vhd *v, struct disk_check *c)
{
	for (unsigned i = 0; v->disk.fixed.kind == DISK_DIFFERENCING && i < VHD_LOCATORS; i++) {
		const struct vhd_locator *l = &v->header.locator[i];
		uint64_t offset = be64toh(l->offset), length = be32toh(l->length);

		if (l->platform[0] && (length > VHD_LOCATOR_MAX || offset > v->disk.file.size ||
					      length > v->disk.file.size - offset))
			found(c, false, "the parent's path in locator %u lies outside the file", i);
	}
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

static void check_entries(struct vhd *v, struct disk_check *c, struct disk_progress *progress)
{
	for (uint32_t i = 0; i < v->blocks; i++) {
		if (v->bat[i] == VHD_BAD) {
			if (c->repair) {
				pthread_mutex_lock(&v->lock);
				vhd_set_entry(v, i, VHD_UNUSED);
				v->bad--;
				pthread_mutex_unlock(&v->lock);
			}
			found(c, c->repair,
				"block %u lies outside the file or in its tables; its contents are "
				"lost",
				i);
		}
		if (i % 1024 == 0)
			atomic_store(&progress->done, i);
	}
}

/* The block gets what it shares with another for itself. */
static int part(struct vhd *v, uint32_t block)
{
	uint32_t room;
	int err;

	pthread_mutex_lock(&v->lock);
	err = vhd_room_take(v, &room);
	if (!err)
		err = vhd_block_copy(v, v->bat[block], room);
	if (!err)
		vhd_set_entry(v, block, room);
	pthread_mutex_unlock(&v->lock);
	return err;
}

static int check_overlaps(struct vhd *v, struct disk_check *c)
{
	const struct vhd_region *last = NULL;
	struct vhd_region *r;
	uint64_t used = sizeof(v->footer);
	uint32_t n;
	int err = vhd_regions(v, &r, &n);

	for (uint32_t i = 0; !err && i < n; i++) {
		bool overlaps = last && r[i].start < last->end;

		if (overlaps && r[i].block != VHD_UNUSED && last->block != VHD_UNUSED) {
			if (c->repair)
				err = part(v, r[i].block);
			found(c, c->repair && !err,
				"blocks %u and %u lie in the same place of the file; either may "
				"hold what is the other's",
				last->block, r[i].block);
		}
		if (!overlaps)
			used += r[i].end - r[i].start;
		else if (r[i].end > last->end)
			used += r[i].end - last->end;
		if (!last || r[i].end > last->end)
			last = &r[i];
	}
	if (!err)
		c->leaked = v->disk.file.size > used ? v->disk.file.size - used : 0;
	free(r);
	return err;
}

/* ---- All of it ------------------------------------------------------------------------------- */

int vhd_check(struct disk *d, struct disk_check *check, struct disk_progress *progress)
{
	struct vhd *v = vhd_of(d);
	int err, committed;

	atomic_store(&progress->total, v->blocks);
	err = check_footers(v, check);
	if (err || !vhd_has_blocks(v))
		return err;
	err = check_header(v, check);
	if (err)
		return err;
	check_paths(v, check);
	check_entries(v, check, progress);
	err = check_overlaps(v, check);
	if (!check->repair)
		return err;
	vhd_pages_drop(v);
	committed = vhd_commit(v);
	return err ? err : committed;
}
