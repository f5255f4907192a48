/*
 * vhdx_create.c - a new VHDX file: fixed, dynamic or differencing.
 *
 * The file's order is that of Hyper-V: the header's MiB, the log, the metadata region, the block
 * allocation table, and in a fixed disk then all blocks, one behind the other.
 *
 * Source: [MS-VHDX] 2.1 to 2.6.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"
#include "disk/vhdx.h"
#include "winerror.h"

#define LOG_LENGTH	VHDX_MB
#define METADATA_LENGTH VHDX_MB
#define PIECE		(1u << 20) /* bytes of the BAT written at once */

/* The new file, as far as it is thought of. */
struct plan {
	struct disk_file *file;
	const struct disk_create *want;
	struct disk *parent;
	struct vhdx v; /* geometry only */
	uint32_t physical_sector;
	uint64_t metadata_at, bat_at, bat_length, blocks_at; /* in the file */
};

/* ---- What it shall be ------------------------------------------------------------------------ */

static int check_block_size(struct plan *p, struct disk_problem *problem)
{
	uint32_t size = p->want->block_size;

	if (!size)
		size = p->want->kind == DISK_DIFFERENCING ? VHDX_BLOCK_DIFFERENCING
							  : VHDX_BLOCK_DEFAULT;
	if (size < VHDX_BLOCK_MIN || size > VHDX_BLOCK_MAX || size & (size - 1))
		return disk_problem_note(problem, p->file, -EINVAL, ERROR_VHD_INVALID_BLOCK_SIZE,
			"a VHDX file cannot have blocks of %u bytes; choose a power of 2 from 1M "
			"to "
			"256M",
			size);
	p->v.block_size = size;
	return 0;
}

static int check_sectors(struct plan *p, struct disk_problem *problem)
{
	uint32_t logical = p->want->logical_sector;

	p->physical_sector = p->want->physical_sector ? p->want->physical_sector : 4096;
	if (p->physical_sector < logical)
		return disk_problem_note(problem, p->file, -EINVAL,
			ERROR_VIRTDISK_UNSUPPORTED_DISK_SECTOR_SIZE,
			"physical sectors of %u bytes cannot hold logical ones of %u; choose 4096",
			p->physical_sector, logical);
	if (p->parent && p->parent->fixed.logical_sector != logical)
		return disk_problem_note(problem, p->file, -EINVAL,
			ERROR_VIRTDISK_UNSUPPORTED_DISK_SECTOR_SIZE,
			"its logical sectors must have %u bytes, as those of its parent",
			p->parent->fixed.logical_sector);
	p->v.disk.fixed.logical_sector = logical;
	return 0;
}

static int check_size(struct plan *p, struct disk_problem *problem)
{
	uint64_t size = p->want->size;

	if (size && size <= VHDX_SIZE_MAX && size % p->want->logical_sector == 0)
		return 0;
	return disk_problem_note(problem, p->file, -EINVAL, ERROR_VHD_INVALID_SIZE,
		"a VHDX disk cannot have %llu bytes; choose whole sectors of %u bytes, up to 64T",
		(unsigned long long)size, p->want->logical_sector);
}

static int make_plan(struct plan *p, struct disk_problem *problem)
{
	int r = check_block_size(p, problem);

	if (!r)
		r = check_sectors(p, problem);
	if (!r)
		r = check_size(p, problem);
	if (!r && p->parent && p->parent->ops != &disk_vhdx)
		r = disk_problem_note(problem, p->file, -EINVAL, ERROR_VHD_INVALID_TYPE,
			"its parent %s is not a VHDX file; convert that first",
			p->parent->file.path);
	if (r)
		return r;
	p->v.has_parent = p->parent;
	p->bat_length = vhdx_geometry(&p->v, p->want->size);
	p->bat_length = (p->bat_length + VHDX_MB - 1) / VHDX_MB * VHDX_MB;
	p->metadata_at = VHDX_HEADER_AREA + LOG_LENGTH;
	p->bat_at = p->metadata_at + METADATA_LENGTH;
	p->blocks_at = p->bat_at + p->bat_length;
	return 0;
}

/* ---- Its parts ------------------------------------------------------------------------------- */

static int write_headers(struct plan *p)
{
	struct vhdx_identifier id;
	struct vhdx_header h = {
		.version = VHDX_VERSION,
		.log_version = VHDX_LOG_VERSION,
		.log_length = LOG_LENGTH,
		.log_offset = VHDX_HEADER_AREA,
	};
	int r;

	vhdx_identifier_make(&id);
	guid_new(&h.file_write);
	guid_new(&h.data_write);
	r = disk_file_write(p->file, &id, sizeof(id), VHDX_IDENTIFIER_AT);
	for (unsigned i = 0; !r && i < 2; i++) {
		h.sequence = i + 1;
		vhdx_header_seal(&h);
		r = disk_file_write(p->file, &h, sizeof(h), VHDX_HEADER_AT(i));
	}
	return r;
}

static int write_regions(struct plan *p)
{
	const struct vhdx_region regions[] = {
		{VHDX_REGION_BAT, p->bat_at, p->bat_length, true},
		{VHDX_REGION_METADATA, p->metadata_at, METADATA_LENGTH, true},
	};
	struct vhdx_region_table *t = malloc(sizeof(*t));
	int r = 0;

	if (!t)
		return -ENOMEM;
	vhdx_region_table_make(t, regions, 2);
	for (unsigned i = 0; !r && i < 2; i++)
		r = disk_file_write(p->file, t, sizeof(*t), VHDX_REGION_TABLE_AT(i));
	free(t);
	return r;
}

/* Metadata under construction: table and items, as they stand in the region. */
struct metadata {
	struct vhdx_metadata_table table;
	uint8_t items[METADATA_LENGTH - VHDX_METADATA_TABLE];
	uint32_t used; /* bytes of items */
};

static void add_item(struct metadata *m, GUID id, uint32_t flags, const void *data, uint32_t length)
{
	m->table.entry[m->table.count++] = (struct vhdx_metadata_entry){
		.id = id,
		.offset = VHDX_METADATA_TABLE + m->used,
		.length = length,
		.flags = flags | VHDX_METADATA_REQUIRED,
	};
	memcpy(m->items + m->used, data, length);
	m->used += length;
}

static void add_disk_items(struct plan *p, struct metadata *m)
{
	struct vhdx_file_parameters parameters = {
		.block_size = p->v.block_size,
		.flags = (p->want->kind == DISK_FIXED ? VHDX_FILE_FIXED : 0) |
			 (p->parent ? VHDX_FILE_HAS_PARENT : 0),
	};

	add_item(m, (GUID)VHDX_ITEM_FILE_PARAMETERS, 0, &parameters, sizeof(parameters));
	add_item(m, (GUID)VHDX_ITEM_DISK_SIZE, VHDX_METADATA_DISK, &p->want->size,
		sizeof(p->want->size));
	add_item(m, (GUID)VHDX_ITEM_PAGE_83, VHDX_METADATA_DISK, &p->want->id, sizeof(p->want->id));
	add_item(m, (GUID)VHDX_ITEM_LOGICAL_SECTOR, VHDX_METADATA_DISK, &p->want->logical_sector,
		sizeof(p->want->logical_sector));
	add_item(m, (GUID)VHDX_ITEM_PHYSICAL_SECTOR, VHDX_METADATA_DISK, &p->physical_sector,
		sizeof(p->physical_sector));
}

static int add_locator(struct plan *p, struct metadata *m)
{
	struct disk_info info;
	uint32_t length;
	void *locator;
	int r;

	disk_info(p->parent, &info);
	r = vhdx_locator_make(p->file->path, p->want->parent, &info.data_id, &locator, &length);
	if (r)
		return r;
	add_item(m, (GUID)VHDX_ITEM_PARENT_LOCATOR, 0, locator, length);
	free(locator);
	return 0;
}

static int write_metadata(struct plan *p)
{
	struct metadata *m = calloc(1, sizeof(*m));
	int r = 0;

	if (!m)
		return -ENOMEM;
	memcpy(m->table.signature, VHDX_METADATA_SIGNATURE, sizeof(m->table.signature));
	add_disk_items(p, m);
	if (p->parent)
		r = add_locator(p, m);
	if (!r)
		r = disk_file_write(p->file, m, VHDX_METADATA_TABLE + m->used, p->metadata_at);
	free(m);
	return r;
}

/* A fixed disk's entry @index: its block, or nothing for a sector bitmap. */
static uint64_t fixed_entry(const struct plan *p, uint64_t index)
{
	uint64_t chunk = (1ull << p->v.chunk_shift) + 1;
	uint64_t block = index - index / chunk;

	if (index % chunk == chunk - 1)
		return VHDX_BLOCK_NOT_PRESENT;
	return VHDX_BAT_ENTRY(VHDX_BLOCK_PRESENT, p->blocks_at + (block << p->v.block_shift));
}

static int write_fixed_bat(struct plan *p)
{
	uint64_t *piece = malloc(PIECE);
	uint64_t n, done;
	int r = piece ? 0 : -ENOMEM;

	for (done = 0; !r && done < p->v.bat_entries; done += n) {
		n = p->v.bat_entries - done;
		if (n > PIECE / sizeof(*piece))
			n = PIECE / sizeof(*piece);
		for (uint64_t i = 0; i < n; i++)
			piece[i] = fixed_entry(p, done + i);
		r = disk_file_write(
			p->file, piece, n * sizeof(*piece), p->bat_at + done * sizeof(*piece));
	}
	free(piece);
	return r;
}

static int write_blocks(struct plan *p)
{
	uint64_t length = p->v.blocks << p->v.block_shift;
	int r = write_fixed_bat(p);

	if (!r)
		r = disk_file_set_size(p->file, p->blocks_at + length);
	if (!r && p->want->preallocated)
		r = disk_file_allocate(p->file, p->blocks_at, length);
	return r;
}

int vhdx_create(struct disk_file *file, const struct disk_create *create, struct disk *parent,
	struct disk_problem *problem)
{
	struct plan p = {.file = file, .want = create, .parent = parent};
	int r = make_plan(&p, problem);

	if (!r)
		r = disk_file_set_size(file, p.blocks_at);
	if (!r)
		r = write_headers(&p);
	if (!r)
		r = write_regions(&p);
	if (!r)
		r = write_metadata(&p);
	if (!r && create->kind == DISK_FIXED)
		r = write_blocks(&p);
	return r;
}
