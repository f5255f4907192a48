/*
 * vhdx_region.c - the two copies of a VHDX file's region table: where the block allocation table,
 * the metadata and what else there may be lie in the file.
 *
 * What it promises: after vhdx_regions_read() all regions are inside the file, aligned, and apart
 * from each other, from the headers and from the log; both known ones are there, and no unknown one
 * is required.
 *
 * Source: [MS-VHDX] 2.2.3.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"
#include "disk/vhdx.h"
#include "winerror.h"

static const GUID bat_id = VHDX_REGION_BAT;
static const GUID metadata_id = VHDX_REGION_METADATA;

static bool is_valid(const struct vhdx_region_table *t)
{
	return t->signature == VHDX_REGION_TABLE_SIGNATURE && t->count <= VHDX_REGIONS_MAX &&
	       vhdx_sealed(t, sizeof(*t));
}

/* The first copy that is valid; @t has room for one. */
static int read_table(struct vhdx *v, struct vhdx_region_table *t, struct vhdx_region_table *second)
{
	int r = vhdx_read(v, t, sizeof(*t), VHDX_REGION_TABLE_AT(0));

	if (!r)
		r = vhdx_read(v, second, sizeof(*second), VHDX_REGION_TABLE_AT(1));
	if (r)
		return r;
	v->region_bad = (!is_valid(t)) | (!is_valid(second)) << 1;
	if (!v->region_bad && memcmp(t, second, sizeof(*t)))
		v->region_bad = 2;
	if (v->region_bad == 3)
		return -EUCLEAN;
	if (v->region_bad == 1)
		*t = *second;
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct vhdx_region *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int check_place(struct vhdx *v, const struct vhdx_region *r, char id[GUID_TEXT],
	struct disk_problem *problem)
{
	if (r->offset % VHDX_ALIGNMENT || r->length % VHDX_ALIGNMENT || !r->length ||
		r->offset < VHDX_HEADER_AREA)
		return vhdx_damaged(v, problem,
			"region %s has the impossible place %#llx (%#x bytes); use a copy of the "
			"file",
			guid_format(&r->id, id), (unsigned long long)r->offset, r->length);
	if (r->offset > v->length || r->length > v->length - r->offset)
		return vhdx_damaged(v, problem,
			"region %s at %#llx (%#x bytes) is not inside the file; "
			"it was cut off, use a copy",
			guid_format(&r->id, id), (unsigned long long)r->offset, r->length);
	return 0;
}

/* @all: regions and the log, by offset. */
static int check_apart(
	struct vhdx *v, const struct vhdx_region *all, unsigned n, struct disk_problem *problem)
{
	for (unsigned i = 1; i < n; i++)
		if (all[i].offset - all[i - 1].offset < all[i - 1].length)
			return vhdx_damaged(v, problem,
				"two of its regions (or one and the log) overlap at %#llx; "
				"use a copy of the file",
				(unsigned long long)all[i].offset);
	return 0;
}

static int add_region(
	struct vhdx *v, const struct vhdx_region_entry *e, struct disk_problem *problem)
{
	struct vhdx_region *r = &v->regions[v->n_regions];
	struct vhdx_region **known = NULL;
	char id[GUID_TEXT];

	*r = (struct vhdx_region){
		.id = e->id,
		.offset = e->offset,
		.length = e->length,
		.required = e->flags & VHDX_REGION_REQUIRED,
	};
	if (guid_equal(&r->id, &bat_id))
		known = &v->bat;
	else if (guid_equal(&r->id, &metadata_id))
		known = &v->metadata;
	else if (r->required)
		return disk_problem_note(problem, &v->disk.file, -ENOTSUP,
			ERROR_VHD_FORMAT_UNSUPPORTED_VERSION,
			"it requires region %s, which is not known; "
			"open it with the system that made it",
			guid_format(&r->id, id));
	if (known && *known)
		return vhdx_damaged(v, problem, "region %s is there twice; use a copy of the file",
			guid_format(&r->id, id));
	if (known)
		*known = r;
	v->n_regions++;
	return check_place(v, r, id, problem);
}

static int add_regions(
	struct vhdx *v, const struct vhdx_region_table *t, struct disk_problem *problem)
{
	struct vhdx_region *all;
	unsigned n;
	int r = 0;

	/* One more for the log, while they are compared. */
	v->regions = calloc(t->count + 1, sizeof(*v->regions));
	all = calloc(t->count + 1, sizeof(*all));
	if (!v->regions || !all)
		r = -ENOMEM;
	for (unsigned i = 0; !r && i < t->count; i++)
		r = add_region(v, &t->entry[i], problem);
	if (!r && (!v->bat || !v->metadata))
		r = vhdx_damaged(v, problem, "it has no %s region; use a copy of the file",
			v->bat ? "metadata" : "block allocation table");
	if (!r) {
		n = v->n_regions;
		memcpy(all, v->regions, n * sizeof(*all));
		if (v->log_length)
			all[n++] = (struct vhdx_region){
				.offset = v->log_offset, .length = v->log_length};
		qsort(all, n, sizeof(*all), by_offset);
		r = check_apart(v, all, n, problem);
	}
	free(all);
	return r;
}

int vhdx_regions_read(struct vhdx *v, struct disk_problem *problem)
{
	struct vhdx_region_table *t = malloc(2 * sizeof(*t));
	int r = -ENOMEM;

	if (t)
		r = read_table(v, t, t + 1);
	if (r == -EUCLEAN)
		r = vhdx_damaged(v, problem,
			"both copies of its region table are damaged; use a copy of the file");
	if (!r)
		r = add_regions(v, t, problem);
	free(t);
	return r;
}

void vhdx_region_table_make(
	struct vhdx_region_table *t, const struct vhdx_region *regions, unsigned n)
{
	memset(t, 0, sizeof(*t));
	t->signature = VHDX_REGION_TABLE_SIGNATURE;
	t->count = n;
	for (unsigned i = 0; i < n; i++)
		t->entry[i] = (struct vhdx_region_entry){
			.id = regions[i].id,
			.offset = regions[i].offset,
			.length = regions[i].length,
			.flags = regions[i].required ? VHDX_REGION_REQUIRED : 0,
		};
	t->checksum = vhdx_checksum(t, sizeof(*t));
}

int vhdx_regions_renew(struct vhdx *v)
{
	struct vhdx_region_table *t = malloc(sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	vhdx_region_table_make(t, v->regions, v->n_regions);
	r = vhdx_write_logged(v, VHDX_REGION_TABLE_AT(0), t, sizeof(*t));
	if (!r)
		r = vhdx_write_logged(v, VHDX_REGION_TABLE_AT(1), t, sizeof(*t));
	free(t);
	return r;
}

int vhdx_region_move(struct vhdx *v, struct vhdx_region *region, uint64_t offset, uint32_t length)
{
	struct vhdx_region old = *region;
	int r;

	region->offset = offset;
	region->length = length;
	r = vhdx_regions_renew(v);
	if (r)
		*region = old;
	return r;
}

static bool overlaps(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
	return a < b + b_length && b < a + a_length;
}

bool vhdx_block_fits(const struct vhdx *v, uint64_t offset, uint64_t length, uint64_t file_length)
{
	if (offset % VHDX_ALIGNMENT || offset < VHDX_HEADER_AREA || offset > file_length ||
		length > file_length - offset)
		return false;
	if (overlaps(offset, length, v->log_offset, v->log_length))
		return false;
	for (unsigned i = 0; i < v->n_regions; i++)
		if (overlaps(offset, length, v->regions[i].offset, v->regions[i].length))
			return false;
	return true;
}
