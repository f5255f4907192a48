/*
 * vhdx.h - the inside of the VHDX format, between its two halves.
 *
 * Structure: what stands in the file and changes seldom. Headers (vhdx_header.c), regions
 * (vhdx_region.c), metadata items (vhdx_metadata.c), the parent locator (vhdx_locator.c), replay of
 * a log that was left (vhdx_replay.c), opening (vhdx_open.c), creating (vhdx_create.c), checking
 * (vhdx_check.c).
 *
 * Live: what changes with every write. Cached pages of tables (vhdx_pages.c), the block allocation
 * table (vhdx_bat.c), the file's room (vhdx_space.c), writing the log (vhdx_log.c), requests
 * (vhdx_io.c), compacting and resizing (vhdx_compact.c, vhdx_resize.c).
 *
 * The order of things in a writable file's life:
 *   open	headers; a log that was left is replayed into the file and LogGuid cleared; regions;
 *		metadata; then vhdx_live_open(). Nothing is written to a clean file.
 *   change	whoever changes the file first calls vhdx_file_begin(), and whoever changes what a
 *		user of the disk sees vhdx_data_begin(). Tables (BAT, bitmaps, metadata, region
 *		tables) are changed only through the log: vhdx_write_logged(), vhdx_commit(). The
 *		live half sets LogGuid by vhdx_log_begin() before its first entry.
 *   close	vhdx_live_close() writes the tables in place and flushes; then vhdx_log_end().
 *
 * Hostile files: the structure half has checked, before vhdx_live_open(), everything in struct
 * vhdx. BAT entries and bitmaps are checked by the live half whenever it reads them, with
 * vhdx_block_fits(); an entry that does not hold is -EUCLEAN for the request that met it.
 *
 * Source: [MS-VHDX].
 */
#ifndef PARTITA_DISK_VHDX_H
#define PARTITA_DISK_VHDX_H

#include <pthread.h>

#include "disk/format.h"
#include "disk/vhdx_protocol.h"

struct vhdx_live;    /* the live half's own (vhdx_live.h) */
struct vhdx_overlay; /* the replayed log of a file that is not written (vhdx_replay.c) */

/* A run of the file, in bytes: multiples of 1 MiB. */
struct vhdx_region {
	GUID id;
	uint64_t offset;
	uint32_t length;
	bool required;
};

struct vhdx_item {
	GUID id;
	uint32_t offset; /* in the metadata region; 0 when @length is 0 */
	uint32_t length;
	uint32_t flags; /* VHDX_METADATA_... */
};

struct vhdx {
	struct disk disk; /* size, sector sizes, block size, IDs: disk.fixed */

	/*
	 * Geometry. Changes only while the disk is frozen, by vhdx_set_size(). All sizes are powers
	 * of 2. The first block of a chunk is block << chunk_shift; BAT index of payload block b is
	 * b + (b >> chunk_shift), of chunk c's bitmap (c + 1 << chunk_shift) + c.
	 */
	uint32_t block_size; /* bytes, and as a shift: */
	unsigned block_shift;
	unsigned sector_shift; /* logical sector */
	unsigned chunk_shift;  /* payload blocks of a chunk, as a shift */
	uint64_t blocks;       /* payload blocks */
	uint64_t bat_entries;  /* that are in use; those of the last bitmap only with a parent */
	bool has_parent;
	bool stays_allocated; /* fixed: blocks are never given back */

	/*
	 * Where things are. The log's place is the header's. @regions has all regions of the table,
	 * known or not; @bat and @metadata point into it. Changes: vhdx_region_move().
	 */
	uint64_t log_offset;
	uint32_t log_length;
	struct vhdx_region *regions, *bat, *metadata;
	unsigned n_regions;

	/* The headers (vhdx_header.c). */
	pthread_mutex_t header_lock;
	struct vhdx_header header; /* the current one; GUIDs: under the lock */
	unsigned header_at;	   /* which copy is current: 0 or 1 */
	unsigned header_bad;	   /* bit i: copy i was not valid at opening */
	bool identifier_bad;	   /* the file's first bytes were not those of a VHDX file */
	_Atomic bool file_begun, data_begun;

	/* Metadata items, in the table's order (vhdx_metadata.c); under the lock. */
	pthread_mutex_t metadata_lock;
	struct vhdx_item *items;
	unsigned n_items;
	/* What the parent locator says (vhdx_locator.c): the parent's DataWriteGuid, or another one
	 * that it may have (else zero); paths as stored in UTF-8, NULL where there is none. */
	GUID linkage[2];
	char *locator[DISK_LOCATOR_VOLUME + 1];
	/* The open disk that was made from this one; it hears of a new DataWriteGuid first. */
	struct vhdx *child;

	/*
	 * A log that was left, and what the file is with it. @overlay: not NULL only when the file
	 * is not written. @length: bytes, at least what the log's entries promise.
	 */
	struct vhdx_overlay *overlay;
	bool replayed;
	bool log_lost;	     /* LogGuid names entries, and the log has none of them */
	uint64_t length;     /* of the file at opening, after replay */
	unsigned region_bad; /* bit i: region table i was not valid at opening */

	struct vhdx_live *live;
};

static inline struct vhdx *vhdx_of(struct disk *d)
{
	return (struct vhdx *)d;
}

static inline uint64_t vhdx_bat_index(const struct vhdx *v, uint64_t block)
{
	return block + (block >> v->chunk_shift);
}

static inline uint64_t vhdx_bitmap_index(const struct vhdx *v, uint64_t chunk)
{
	return ((chunk + 1) << v->chunk_shift) + chunk;
}

/* ---- Structure's half ------------------------------------------------------------------------ */

/*
 * vhdx_read - @length bytes of the file's tables as they are after replay: from the overlay where
 * there is one. Bytes behind the end of the file are zeros. Never sees the live half's cache.
 */
int vhdx_read(struct vhdx *v, void *buffer, uint64_t length, uint64_t offset);
/*
 * vhdx_overlay_run - for map() of a file that is not written: how many of @length bytes of the file
 * from @offset are alike, and what they are. A log may hold any place of the file but the headers,
 * so payload can be there too: zeros are to be answered with DISK_NOWHERE, VHDX_RUN_LOG (bytes that
 * stand only in memory) with -ENOTSUP. Without an overlay: all are VHDX_RUN_FILE.
 */
enum vhdx_run { VHDX_RUN_FILE, VHDX_RUN_ZERO, VHDX_RUN_LOG };
uint64_t vhdx_overlay_run(
	const struct vhdx *v, uint64_t offset, uint64_t length, enum vhdx_run *run);

/*
 * vhdx_file_begin - the file is about to change: a new FileWriteGuid, durable. Cheap when done.
 * vhdx_data_begin - what a user of the disk sees is about to change (contents, size, metadata): a
 * new DataWriteGuid too. Cheap when done; until vhdx_data_begun() says so it writes and flushes,
 * and must not be called with @nowait.
 */
int vhdx_file_begin(struct vhdx *v);
int vhdx_data_begin(struct vhdx *v);
static inline bool vhdx_data_begun(const struct vhdx *v)
{
	return v->data_begun;
}
/*
 * vhdx_log_begin - LogGuid becomes @log, durable: from now on entries with it are replayed. The
 * first of them is already in the log, durable: a LogGuid without entries is a damaged file.
 * vhdx_log_end - LogGuid becomes zero, durable: all that was logged is in place and flushed. When
 * nothing was logged, nothing happens.
 */
int vhdx_log_begin(struct vhdx *v, const GUID *log);
int vhdx_log_end(struct vhdx *v);

/*
 * vhdx_block_fits - can @length bytes at @offset of the file be a block: aligned, whole inside
 * @file_length, and outside the headers, the log and all regions?
 */
bool vhdx_block_fits(const struct vhdx *v, uint64_t offset, uint64_t length, uint64_t file_length);

/*
 * vhdx_region_move - @r (of v->regions) is elsewhere: changes both region tables through
 * vhdx_write_logged() and @r. The caller has put the region's contents there, durable, and keeps
 * the old place until vhdx_commit() returned.
 */
int vhdx_region_move(struct vhdx *v, struct vhdx_region *r, uint64_t offset, uint32_t length);

/*
 * vhdx_geometry - fill the geometry for @size bytes (0 < size <= 64 TiB, whole logical sectors).
 * Returns how many bytes of BAT that needs.
 * vhdx_set_size - the virtual disk size item becomes @size through vhdx_write_logged(), and so do
 * disk.size, disk.fixed and the geometry. The BAT's region must have room (-ENOSPC). Frozen.
 */
uint64_t vhdx_geometry(struct vhdx *v, uint64_t size);
int vhdx_set_size(struct vhdx *v, uint64_t size);

/* ---- The live half --------------------------------------------------------------------------- */

/*
 * vhdx_live_open - the last step of opening; the structure is filled and checked. Reads what it
 * needs; with DISK_OPEN_DAMAGED in disk.flags, bad BAT entries must not keep it from opening.
 * vhdx_live_close - everything in place and durable (writable files only), then free. NULL live is
 * allowed. Returns the first error that lost something.
 */
int vhdx_live_open(struct vhdx *v, struct disk_problem *problem);
int vhdx_live_close(struct vhdx *v);

/*
 * vhdx_write_logged - change @length bytes (any number, any alignment) of a table at @file_offset:
 * visible to vhdx_read_cached() at once, durable when vhdx_commit() returned. What was changed
 * between two vhdx_commit() becomes durable as a whole or not at all, whoever flushes meanwhile: as
 * many pages of 4 KiB as the log alone has place for (251 in 1 MiB) and half of the cache; -E2BIG
 * beyond.
 * vhdx_commit - durable: all changes made by vhdx_write_logged() and to the BAT before.
 * vhdx_read_cached - bytes of a table as changed: what vhdx_read() has, and the cache's changes.
 */
int vhdx_write_logged(struct vhdx *v, uint64_t file_offset, const void *data, size_t length);
int vhdx_commit(struct vhdx *v);
int vhdx_read_cached(struct vhdx *v, void *buffer, uint64_t length, uint64_t file_offset);

/*
 * vhdx_bat_get, vhdx_bat_set - an entry by its index in the table (< bat_entries), as it is in the
 * file, unchecked; set: durable at vhdx_commit(). For checking, repair and resizing.
 */
int vhdx_bat_get(struct vhdx *v, uint64_t index, uint64_t *entry);
int vhdx_bat_set(struct vhdx *v, uint64_t index, uint64_t entry);

/*
 * vhdx_space_take - room for @length bytes (multiple of 1 MiB) of the file, aligned to 1 MiB,
 * extending it when needed. The room's contents are not defined. Belongs to the caller; it is used
 * only once a table that refers to it was committed.
 * vhdx_space_give - the room is free, for reuse after the next vhdx_commit().
 */
int vhdx_space_take(struct vhdx *v, uint64_t length, uint64_t *offset);
void vhdx_space_give(struct vhdx *v, uint64_t offset, uint64_t length);

/*
 * vhdx_region_extend - @region moves to room of @length bytes, more than it has, with what it
 * holds; the rest is zeros. Durable. Frozen, and after vhdx_flush(): nothing is changed in memory.
 */
int vhdx_region_extend(struct vhdx *v, struct vhdx_region *region, uint32_t length);

/* Parts of the table of operations, as format.h has them (vhdx_io.c ...). */
int vhdx_map(
	struct disk *d, uint64_t offset, uint64_t length, bool nowait, struct disk_extent *extent);
int vhdx_place(struct disk *d, uint64_t offset, uint64_t length, const struct disk_iov *data,
	bool nowait, struct disk_extent *extent);
int vhdx_settle(struct disk *d, uint64_t offset, const struct disk_extent *extent, int err);
int vhdx_flush(struct disk *d);
int vhdx_zero(struct disk *d, uint64_t offset, uint64_t length, bool unmap, uint64_t *done);
int vhdx_resize(struct disk *d, uint64_t size, bool lose, struct disk_problem *problem);
int vhdx_compact(struct disk *d, unsigned flags, struct disk_progress *progress,
	struct disk_problem *problem);
/* vhdx_min_size - disk_info.min_size: bytes up to the end of the last block that holds anything. */
uint64_t vhdx_min_size(struct vhdx *v);

/* ---- Within the structure's half ------------------------------------------------------------- */

/* Note that the file is damaged: what, and the remedy. Is -EUCLEAN. */
#define vhdx_damaged(v, problem, ...)                                                              \
	disk_problem_note(problem, &(v)->disk.file, -EUCLEAN, ERROR_FILE_CORRUPT, __VA_ARGS__)

/*
 * vhdx_checksum - of a structure, its checksum's field taken as zeros; the field is at the same
 * place in all. vhdx_sealed - is the one that it has right?
 */
#define VHDX_CHECKSUM_AT 4
uint32_t vhdx_checksum(const void *structure, size_t size);
bool vhdx_sealed(const void *structure, size_t size);

/* vhdx_header.c: the identifier; both headers, of which one becomes v->header. */
int vhdx_headers_read(struct vhdx *v, struct disk_problem *problem);
/* The identifier as we write it. */
void vhdx_identifier_make(struct vhdx_identifier *id);
void vhdx_header_seal(struct vhdx_header *h);
/* Write the identifier, and the current header into both copies: for repair. */
int vhdx_headers_renew(struct vhdx *v);

/* vhdx_replay.c: what LogGuid says is left is put into the file, or into v->overlay. */
int vhdx_replay(struct vhdx *v, struct disk_problem *problem);
void vhdx_overlay_free(struct vhdx_overlay *o);

/* vhdx_region.c */
int vhdx_regions_read(struct vhdx *v, struct disk_problem *problem);
void vhdx_region_table_make(
	struct vhdx_region_table *t, const struct vhdx_region *regions, unsigned n);
/* Writes both tables through the log, for repair. */
int vhdx_regions_renew(struct vhdx *v);

/* vhdx_metadata.c: the table, and the items that the format knows into struct vhdx. */
int vhdx_metadata_read(struct vhdx *v, struct disk_problem *problem);
/* The whole item in memory that the caller frees. */
int vhdx_item_load(struct vhdx *v, const GUID *id, void **data, uint32_t *n);
/* Store an item of the format, replacing it when there is one; @flags of a new one. */
int vhdx_item_set(struct vhdx *v, const GUID *id, uint32_t flags, const void *data, uint32_t n);
int vhdx_metadata_list(struct disk *d, GUID *items, unsigned room, unsigned *n);
int vhdx_metadata_get(struct disk *d, const GUID *item, void *data, uint32_t *length);
int vhdx_metadata_set(struct disk *d, const GUID *item, const void *data, uint32_t length);
int vhdx_metadata_delete(struct disk *d, const GUID *item);
int vhdx_set_id(struct disk *d, const GUID *id, struct disk_problem *problem);
int vhdx_set_physical_sector(struct disk *d, uint32_t bytes, struct disk_problem *problem);

/* vhdx_locator.c */
int vhdx_locator_read(struct vhdx *v, struct disk_problem *problem);
/*
 * The item's bytes for @parent, found at @path, as seen from the image @child; freed by the caller.
 */
int vhdx_locator_make(
	const char *child, const char *path, const GUID *linkage, void **data, uint32_t *n);
/*
 * The parent's DataWriteGuid is @now and will be @next: the locator names both, durable, so that a
 * power cut in between leaves the parent found. For a writable file.
 */
int vhdx_locator_follow(struct vhdx *v, const GUID *now, const GUID *next);
int vhdx_locator_get(struct disk *d, enum disk_locator which, char **path);
int vhdx_set_parent(
	struct disk *d, const char *path, struct disk *parent, struct disk_problem *problem);
int vhdx_parent_fits(struct disk *d, struct disk *parent, struct disk_problem *problem);

/* vhdx_create.c, vhdx_check.c */
int vhdx_create(struct disk_file *file, const struct disk_create *create, struct disk *parent,
	struct disk_problem *problem);
int vhdx_check(struct disk *d, struct disk_check *check, struct disk_progress *progress);

#endif
