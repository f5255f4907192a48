/*
 * vhdx_metadata.c - the metadata region of a VHDX file: a table of items, of which the format has
 * some of its own and users may add more.
 *
 * What it promises: an item is replaced, added or deleted as a whole, through the log. Items never
 * overlap, and none is longer than 1 MiB. A region that is full moves to where it can be larger.
 *
 * Source: [MS-VHDX] 2.6.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"
#include "disk/vhdx.h"
#include "winerror.h"

/* Bytes of an item that even a small log takes together with the table. */
#define LOGGED_AT_ONCE (256u << 10)

static const GUID file_parameters = VHDX_ITEM_FILE_PARAMETERS;
static const GUID disk_size_item = VHDX_ITEM_DISK_SIZE;
static const GUID page_83 = VHDX_ITEM_PAGE_83;
static const GUID logical_sector = VHDX_ITEM_LOGICAL_SECTOR;
static const GUID physical_sector = VHDX_ITEM_PHYSICAL_SECTOR;
static const GUID parent_locator = VHDX_ITEM_PARENT_LOCATOR;

static bool is_user(const struct vhdx_item *item)
{
	return item->flags & VHDX_METADATA_USER;
}

static bool is_known(const struct vhdx_item *item)
{
	static const GUID *const known[] = {&file_parameters, &disk_size_item, &page_83,
		&logical_sector, &physical_sector, &parent_locator};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (guid_equal(&item->id, known[i]))
			return !is_user(item);
	return false;
}

static struct vhdx_item *find(struct vhdx *v, const GUID *id, bool user)
{
	for (unsigned i = 0; i < v->n_items; i++)
		if (is_user(&v->items[i]) == user && guid_equal(&v->items[i].id, id))
			return &v->items[i];
	return NULL;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
	const struct vhdx_item *x = a, *y = b;
	int order = memcmp(&x->id, &y->id, sizeof(x->id));

	return order ? order : (int)is_user(x) - (int)is_user(y);
}

static int by_offset(const void *a, const void *b)
{
	const struct vhdx_item *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* What no item may be alone: too large, outside the region, not known and yet required. */
static int check_item(struct vhdx *v, const struct vhdx_item *item, struct disk_problem *problem)
{
	char id[GUID_TEXT];

	if (item->flags & VHDX_METADATA_REQUIRED && !is_known(item))
		return disk_problem_note(problem, &v->disk.file, -ENOTSUP,
			ERROR_VHD_FORMAT_UNSUPPORTED_VERSION,
			"it requires metadata item %s, which is not known; "
			"open it with the system that made it",
			guid_format(&item->id, id));
	if (item->length &&
		(item->length > VHDX_METADATA_ITEM_MAX || item->offset < VHDX_METADATA_TABLE ||
			item->offset > v->metadata->length ||
			item->length > v->metadata->length - item->offset))
		return vhdx_damaged(v, problem,
			"metadata item %s (%u bytes at %#x) is not inside the metadata region; "
			"use a copy of the file",
			guid_format(&item->id, id), item->length, item->offset);
	return 0;
}

/* What no two items may be: the same, or in the same place. */
static int check_pairs(struct vhdx *v, struct vhdx_item *sorted, struct disk_problem *problem)
{
	char id[GUID_TEXT];
	uint64_t end = 0;

	memcpy(sorted, v->items, v->n_items * sizeof(*sorted));
	qsort(sorted, v->n_items, sizeof(*sorted), by_id);
	for (unsigned i = 1; i < v->n_items; i++)
		if (!by_id(&sorted[i - 1], &sorted[i]))
			return vhdx_damaged(v, problem,
				"metadata item %s is there twice; use a copy of the file",
				guid_format(&sorted[i].id, id));
	qsort(sorted, v->n_items, sizeof(*sorted), by_offset);
	for (unsigned i = 0; i < v->n_items; i++) {
		if (!sorted[i].length)
			continue;
		if (sorted[i].offset < end)
			return vhdx_damaged(v, problem,
				"metadata item %s overlaps another; use a copy of the file",
				guid_format(&sorted[i].id, id));
		end = (uint64_t)sorted[i].offset + sorted[i].length;
	}
	return 0;
}

static int add_items(
	struct vhdx *v, const struct vhdx_metadata_table *t, struct disk_problem *problem)
{
	struct vhdx_item *sorted;
	unsigned users = 0;
	int r = 0;

	if (memcmp(t->signature, VHDX_METADATA_SIGNATURE, sizeof(t->signature)) ||
		t->count > VHDX_METADATA_MAX)
		return vhdx_damaged(
			v, problem, "its metadata table is damaged; use a copy of the file");
	v->items = calloc(VHDX_METADATA_MAX, sizeof(*v->items));
	sorted = calloc(VHDX_METADATA_MAX, sizeof(*sorted));
	if (!v->items || !sorted)
		r = -ENOMEM;
	for (unsigned i = 0; !r && i < t->count; i++) {
		v->items[i] = (struct vhdx_item){
			.id = t->entry[i].id,
			.offset = t->entry[i].length ? t->entry[i].offset : 0,
			.length = t->entry[i].length,
			.flags = t->entry[i].flags,
		};
		v->n_items++;
		users += is_user(&v->items[i]);
		r = check_item(v, &v->items[i], problem);
	}
	if (!r && users > VHDX_METADATA_USER_MAX)
		r = vhdx_damaged(v, problem,
			"it has %u user metadata items, and 1024 are allowed; use a copy of the "
			"file",
			users);
	if (!r)
		r = check_pairs(v, sorted, problem);
	free(sorted);
	return r;
}

int vhdx_item_load(struct vhdx *v, const GUID *id, void **data, uint32_t *n)
{
	const struct vhdx_item *item = find(v, id, false);
	int r;

	if (!item)
		return -ENOENT;
	*n = item->length;
	*data = malloc(item->length + 1);
	if (!*data)
		return -ENOMEM;
	r = vhdx_read(v, *data, item->length, v->metadata->offset + item->offset);
	if (r)
		free(*data);
	return r;
}

/* An item of the format that must be there and have @n bytes. */
static int read_known(struct vhdx *v, const GUID *id, const char *what, void *data, uint32_t n,
	struct disk_problem *problem)
{
	const struct vhdx_item *item = find(v, id, false);

	if (!item || item->length != n)
		return vhdx_damaged(v, problem,
			"its metadata does not have the %s%s; use a copy of the file", what,
			item ? " in the right length" : "");
	return vhdx_read(v, data, n, v->metadata->offset + item->offset);
}

static int check_known(struct vhdx *v, const struct vhdx_file_parameters *p, uint64_t size,
	struct disk_problem *problem)
{
	const struct disk_info *info = &v->disk.fixed;

	if (p->block_size < VHDX_BLOCK_MIN || p->block_size > VHDX_BLOCK_MAX ||
		p->block_size & (p->block_size - 1))
		return disk_problem_note(problem, &v->disk.file, -EUCLEAN,
			ERROR_VHD_INVALID_BLOCK_SIZE,
			"it has blocks of %u bytes, which is not a power of 2 from 1 to 256 MiB; "
			"use a copy of the file",
			p->block_size);
	if ((info->logical_sector != 512 && info->logical_sector != 4096) ||
		(info->physical_sector != 512 && info->physical_sector != 4096))
		return disk_problem_note(problem, &v->disk.file, -EUCLEAN,
			ERROR_VIRTDISK_UNSUPPORTED_DISK_SECTOR_SIZE,
			"it has sectors of %u (logical) and %u (physical) bytes, and only 512 and "
			"4096 are possible; use a copy of the file",
			info->logical_sector, info->physical_sector);
	if (!size || size > VHDX_SIZE_MAX || size % info->logical_sector)
		return disk_problem_note(problem, &v->disk.file, -EUCLEAN, ERROR_VHD_INVALID_SIZE,
			"its size of %llu bytes is not one of whole sectors up to 64 TiB; "
			"use a copy of the file",
			(unsigned long long)size);
	return 0;
}

static int read_known_items(struct vhdx *v, struct disk_problem *problem)
{
	struct disk_info *info = &v->disk.fixed;
	struct vhdx_file_parameters p;
	uint64_t size;
	int r;

	r = read_known(v, &file_parameters, "file parameters", &p, sizeof(p), problem);
	if (!r)
		r = read_known(v, &disk_size_item, "disk's size", &size, sizeof(size), problem);
	if (!r)
		r = read_known(
			v, &page_83, "disk's identifier", &info->id, sizeof(info->id), problem);
	if (!r)
		r = read_known(v, &logical_sector, "logical sector size", &info->logical_sector,
			sizeof(info->logical_sector), problem);
	if (!r)
		r = read_known(v, &physical_sector, "physical sector size", &info->physical_sector,
			sizeof(info->physical_sector), problem);
	if (!r)
		r = check_known(v, &p, size, problem);
	if (r)
		return r;
	v->block_size = info->block_size = p.block_size;
	v->has_parent = p.flags & VHDX_FILE_HAS_PARENT;
	v->stays_allocated = p.flags & VHDX_FILE_FIXED;
	info->kind = v->has_parent	  ? DISK_DIFFERENCING
		     : v->stays_allocated ? DISK_FIXED
					  : DISK_DYNAMIC;
	info->size = size;
	v->disk.size = size;
	if (vhdx_geometry(v, size) > v->bat->length)
		return disk_problem_note(problem, &v->disk.file, -EUCLEAN,
			ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT,
			"its block allocation table has room for %u entries, and a disk of this "
			"size has %llu; use a copy of the file",
			v->bat->length / 8, (unsigned long long)v->bat_entries);
	return 0;
}

int vhdx_metadata_read(struct vhdx *v, struct disk_problem *problem)
{
	struct vhdx_metadata_table *t = malloc(sizeof(*t));
	int r = -ENOMEM;

	if (t)
		r = vhdx_read(v, t, sizeof(*t), v->metadata->offset);
	if (!r)
		r = add_items(v, t, problem);
	free(t);
	return r ? r : read_known_items(v, problem);
}

uint64_t vhdx_geometry(struct vhdx *v, uint64_t size)
{
	uint64_t chunks;

	v->block_shift = __builtin_ctz(v->block_size);
	v->sector_shift = __builtin_ctz(v->disk.fixed.logical_sector);
	v->chunk_shift = __builtin_ctzll(VHDX_CHUNK_SECTORS) + v->sector_shift - v->block_shift;
	v->blocks = (size + v->block_size - 1) >> v->block_shift;
	chunks = (v->blocks + (1ull << v->chunk_shift) - 1) >> v->chunk_shift;
	if (v->has_parent)
		v->bat_entries = (chunks << v->chunk_shift) + chunks;
	else
		v->bat_entries = v->blocks + (chunks ? chunks - 1 : 0);
	return v->bat_entries * sizeof(uint64_t);
}

/* ---- Changing -------------------------------------------------------------------------------- */

/* Where @length more bytes fit in the region, leaving alone what is there; 0: nowhere. */
static uint32_t find_room(struct vhdx *v, uint32_t length)
{
	struct vhdx_item *sorted = malloc(v->n_items * sizeof(*sorted) + 1);
	uint32_t at = VHDX_METADATA_TABLE;

	if (!sorted)
		return 0;
	memcpy(sorted, v->items, v->n_items * sizeof(*sorted));
	qsort(sorted, v->n_items, sizeof(*sorted), by_offset);
	for (unsigned i = 0; i < v->n_items; i++) {
		if (!sorted[i].length)
			continue;
		if (sorted[i].offset - at >= length)
			break;
		at = sorted[i].offset + sorted[i].length;
	}
	free(sorted);
	return v->metadata->length - at >= length ? at : 0;
}

/* The table as it shall be: @items, and an empty entry where there is room. */
static int write_table(struct vhdx *v, const struct vhdx_item *items, unsigned n)
{
	struct vhdx_metadata_table *t = calloc(1, sizeof(*t));
	size_t length =
		offsetof(struct vhdx_metadata_table, entry[n < VHDX_METADATA_MAX ? n + 1 : n]);
	int r;

	if (!t)
		return -ENOMEM;
	memcpy(t->signature, VHDX_METADATA_SIGNATURE, sizeof(t->signature));
	t->count = n;
	for (unsigned i = 0; i < n; i++)
		t->entry[i] = (struct vhdx_metadata_entry){
			.id = items[i].id,
			.offset = items[i].offset,
			.length = items[i].length,
			.flags = items[i].flags,
		};
	r = vhdx_write_logged(v, v->metadata->offset, t, length);
	free(t);
	return r;
}

/* Room for a new item in the table; NULL: it is full. */
static struct vhdx_item *new_item(struct vhdx *v, const GUID *id, uint32_t flags)
{
	struct vhdx_item *item = &v->items[v->n_items];
	unsigned users = 0;

	for (unsigned i = 0; i < v->n_items; i++)
		users += is_user(&v->items[i]);
	if (v->n_items == VHDX_METADATA_MAX ||
		(flags & VHDX_METADATA_USER && users == VHDX_METADATA_USER_MAX))
		return NULL;
	*item = (struct vhdx_item){.id = *id, .flags = flags};
	v->n_items++;
	return item;
}

/*
 * Contents that the log has no room for at once are written where no item is, and durable piece by
 * piece before the table names them.
 */
static int write_contents(struct vhdx *v, uint32_t at, const void *data, uint32_t length)
{
	int r = 0;

	for (uint32_t done = 0, n; !r && done < length; done += n) {
		n = length - done < LOGGED_AT_ONCE ? length - done : LOGGED_AT_ONCE;
		r = vhdx_write_logged(
			v, v->metadata->offset + at + done, (const uint8_t *)data + done, n);
		if (!r && length > LOGGED_AT_ONCE)
			r = vhdx_commit(v);
	}
	return r;
}

/*
 * Under the lock. That contents and table change together is the log's doing. -EAGAIN: the region
 * has no room for that many bytes; -ENOSPC: the table has none for another item.
 */
static int set_item(
	struct vhdx *v, const GUID *id, uint32_t flags, const void *data, uint32_t length)
{
	struct vhdx_item *item = find(v, id, flags & VHDX_METADATA_USER);
	unsigned n_before = v->n_items;
	struct vhdx_item before;
	int r = 0;

	if (!item)
		item = new_item(v, id, flags);
	if (!item)
		return -ENOSPC;
	before = *item;
	if (length > item->length || length > LOGGED_AT_ONCE)
		item->offset = find_room(v, length);
	else if (!length)
		item->offset = 0;
	item->length = length;
	if (length && !item->offset)
		r = -EAGAIN;
	if (!r)
		r = write_contents(v, item->offset, data, length);
	if (!r)
		r = write_table(v, v->items, v->n_items);
	if (r) {
		*item = before;
		v->n_items = n_before;
	}
	return r;
}

/* Make the region larger, so that @more bytes fit behind all items. */
static int extend_region(struct vhdx *v, uint32_t more)
{
	uint64_t length =
		2 * (uint64_t)v->metadata->length + (more + VHDX_MB - 1) / VHDX_MB * VHDX_MB;
	int r;

	if (length > VHDX_METADATA_REGION_MAX)
		return -ENOSPC;
	disk_freeze(&v->disk);
	r = vhdx_flush(&v->disk);
	if (!r) {
		pthread_mutex_lock(&v->metadata_lock);
		r = vhdx_region_extend(v, v->metadata, length);
		pthread_mutex_unlock(&v->metadata_lock);
	}
	disk_thaw(&v->disk);
	return r;
}

static int try_set_item(
	struct vhdx *v, const GUID *id, uint32_t flags, const void *data, uint32_t length)
{
	int r;

	pthread_mutex_lock(&v->metadata_lock);
	r = set_item(v, id, flags, data, length);
	pthread_mutex_unlock(&v->metadata_lock);
	return r;
}

int vhdx_item_set(struct vhdx *v, const GUID *id, uint32_t flags, const void *data, uint32_t length)
{
	int r = try_set_item(v, id, flags, data, length);

	if (r != -EAGAIN)
		return r;
	r = extend_region(v, length);
	return r ? r : try_set_item(v, id, flags, data, length);
}

int vhdx_set_size(struct vhdx *v, uint64_t size)
{
	uint64_t before = v->disk.fixed.size;
	int r;

	if (vhdx_geometry(v, size) > v->bat->length)
		r = -ENOSPC;
	else
		r = vhdx_item_set(v, &disk_size_item, VHDX_METADATA_DISK | VHDX_METADATA_REQUIRED,
			&size, sizeof(size));
	if (r) {
		vhdx_geometry(v, before);
		return r;
	}
	v->disk.fixed.size = size;
	v->disk.size = size;
	return 0;
}

int vhdx_set_id(struct disk *d, const GUID *id, struct disk_problem *problem)
{
	struct vhdx *v = vhdx_of(d);
	int r = vhdx_data_begin(v);

	if (!r)
		r = vhdx_item_set(
			v, &page_83, VHDX_METADATA_DISK | VHDX_METADATA_REQUIRED, id, sizeof(*id));
	if (!r)
		r = vhdx_commit(v);
	if (!r)
		d->fixed.id = *id;
	return r;
}

int vhdx_set_physical_sector(struct disk *d, uint32_t bytes, struct disk_problem *problem)
{
	struct vhdx *v = vhdx_of(d);
	int r;

	if ((bytes != 512 && bytes != 4096) || bytes < d->fixed.logical_sector)
		return disk_problem_note(problem, &d->file, -EINVAL,
			ERROR_VIRTDISK_UNSUPPORTED_DISK_SECTOR_SIZE,
			"its physical sectors cannot have %u bytes; 512 and 4096 are possible, "
			"and not less than the logical sector's %u",
			bytes, d->fixed.logical_sector);
	r = vhdx_data_begin(v);
	if (!r)
		r = vhdx_item_set(v, &physical_sector, VHDX_METADATA_DISK | VHDX_METADATA_REQUIRED,
			&bytes, sizeof(bytes));
	if (!r)
		r = vhdx_commit(v);
	if (!r)
		d->fixed.physical_sector = bytes;
	return r;
}

/* ---- The user's items ------------------------------------------------------------------------ */

int vhdx_metadata_list(struct disk *d, GUID *items, unsigned room, unsigned *n)
{
	struct vhdx *v = vhdx_of(d);

	*n = 0;
	pthread_mutex_lock(&v->metadata_lock);
	for (unsigned i = 0; i < v->n_items; i++) {
		if (!is_user(&v->items[i]))
			continue;
		if (*n < room)
			items[*n] = v->items[i].id;
		++*n;
	}
	pthread_mutex_unlock(&v->metadata_lock);
	return 0;
}

int vhdx_metadata_get(struct disk *d, const GUID *id, void *data, uint32_t *length)
{
	struct vhdx *v = vhdx_of(d);
	const struct vhdx_item *item;
	uint32_t room = *length;
	int r = -ENOENT;

	pthread_mutex_lock(&v->metadata_lock);
	item = find(v, id, true);
	if (item) {
		*length = item->length;
		r = vhdx_read_cached(v, data, item->length < room ? item->length : room,
			v->metadata->offset + item->offset);
		if (!r && item->length > room)
			r = -ERANGE;
	}
	pthread_mutex_unlock(&v->metadata_lock);
	return r;
}

int vhdx_metadata_set(struct disk *d, const GUID *id, const void *data, uint32_t length)
{
	struct vhdx *v = vhdx_of(d);
	int r;

	if (length > VHDX_METADATA_ITEM_MAX)
		return -EINVAL;
	r = vhdx_item_set(v, id, VHDX_METADATA_USER, data, length);
	return r ? r : vhdx_commit(v);
}

int vhdx_metadata_delete(struct disk *d, const GUID *id)
{
	struct vhdx *v = vhdx_of(d);
	struct vhdx_item *item, deleted;
	int r = -ENOENT;

	pthread_mutex_lock(&v->metadata_lock);
	item = find(v, id, true);
	if (item) {
		deleted = *item;
		*item = v->items[v->n_items - 1];
		r = write_table(v, v->items, v->n_items - 1);
		if (r)
			*item = deleted;
		else
			v->n_items--;
	}
	pthread_mutex_unlock(&v->metadata_lock);
	return r ? r : vhdx_commit(v);
}
