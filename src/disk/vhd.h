/*
 * vhd.h - the inside of the VHD format.
 *
 * Footers (vhd_footer.c), the header with what it says of a parent (vhd_header.c, vhd_parent.c),
 * opening (vhd_open.c), creating (vhd_create.c), the file's room (vhd_room.c), cached sector
 * bitmaps (vhd_bitmap.c), requests (vhd_io.c), checking (vhd_check.c), resizing (vhd_resize.c),
 * compacting (vhd_compact.c).
 *
 * VHD has no log: what keeps a disk whole in a power cut is the order of writes, and that a sector
 * of 512 bytes is written whole or not at all.
 * - A growing file gets its new footer behind room for several blocks, durable, before a block uses
 *   that room; what is left of it is cut off when the disk is closed. So the file ends with a valid
 *   footer at every moment, good for every other program - on file systems that may lengthen a file
 *   before its data is there, with zeros in place of the footer while it grows, and then the copy
 *   at the beginning serves. Nothing that a guest writes ever stands where the footer is looked
 *   for.
 * - Room that a block is given is durably zeros before the BAT names it: a BAT entry may reach the
 *   disk any time after that, it shows zeros or the parent until data is there.
 * - A bit of a sector bitmap is written after the data that it shows is durable; flushing is: data
 *   durable; bitmaps and BAT written; those durable.
 * - What an entry of the BAT no longer names is used again when that is durable and nobody is
 *   inside who may still use it, and it was made zeros again.
 * - Header and footers change in one sector each. Of two footers that differ the one at the end of
 *   the file counts. What does not fit in a sector is written elsewhere and then pointed to.
 *
 * Locks, in this order: alter (who zeroes or frees blocks, or gives freed room back), commit (who
 * writes tables), lock (allocation, the bitmap cache's membership, footers). Requests on allocated
 * blocks take none; settling takes none.
 */
#ifndef PARTITA_DISK_VHD_H
#define PARTITA_DISK_VHD_H

#include <pthread.h>

#include "disk/format.h"
#include "disk/vhd_protocol.h"

#define VHD_BAD 0u /* in memory: a BAT entry that cannot be */

/* A sector of a block's bitmap: the unit of caching. It stands for up to 4096 sectors. */
#define VHD_PAGE_SECTORS 4096u
#define VHD_PAGE_WORDS	 (VHD_PAGE_SECTORS / 64)

struct vhd_page {
	_Atomic uint64_t number; /* + 1; 0: nobody's */
	_Atomic uint32_t pins;
	_Atomic uint64_t bits[VHD_PAGE_WORDS]; /* the first sector in the highest bit */
};

/* A growing array of BAT entries. */
struct vhd_rooms {
	uint32_t *room;
	uint32_t n, space;
};

struct vhd {
	struct disk disk;
	struct vhd_footer footer; /* as in the file: under the lock */
	struct vhd_header header;
	uint64_t end;	     /* where the footer at the end of the file is; under the lock */
	bool end_lost;	     /* it was not valid at opening; the copy served */
	bool end_missing;    /* nothing was there: a power cut while the file grew may leave that */
	bool copy_bad;	     /* the copy at the beginning is not valid, or another disk's */
	bool header_damaged; /* its checksum is wrong */
	bool dense;	     /* a fixed disk whose file has no holes, and shall have none */
	_Atomic bool stamped; /* the time stamp tells that the disk was changed */
	/* The open disk that was made from this one; it hears of a new time stamp first. */
	struct vhd *child;

	/* Geometry of dynamic and differencing disks; changes while frozen. */
	uint32_t block_size;   /* bytes */
	unsigned block_shift;  /* of bytes */
	uint32_t bitmap_size;  /* bytes, whole sectors */
	uint32_t page_sectors; /* sectors that a page stands for */
	unsigned page_shift;   /* of pages in a block */
	uint32_t blocks;
	enum disk_place nowhere; /* what an unallocated sector is */

	pthread_mutex_t alter, commit, lock;

	/* The BAT, in the host's order. Entries change under the lock. */
	_Atomic uint32_t *bat;
	uint8_t *bat_dirty; /* a bit for each sector of the BAT, under the lock */
	uint32_t bad;	    /* how many entries are VHD_BAD */
	/* Of BAT and bitmaps: how many, and how many of them are durable. */
	_Atomic uint64_t changes, committed;

	/* The file's room, under the lock. */
	uint64_t next;		/* behind everything that is in use, where the next block comes */
	bool swept;		/* what was unused at opening has been given back */
	struct vhd_rooms free;	/* zeros, durable */
	struct vhd_rooms freed; /* of blocks that were freed and may still be named in the file */

	/* Pages of the bitmaps. */
	_Atomic uint64_t *full; /* a bit for each page: all its sectors are in this file */
	struct vhd_page *page;
	_Atomic uint64_t *page_dirty; /* a bit for each */
	uint64_t pages;		      /* of the cache */
	pthread_cond_t unpinned;
	_Atomic unsigned unpin_waiters;
};

static inline struct vhd *vhd_of(struct disk *d)
{
	return (struct vhd *)d;
}

static inline bool vhd_has_blocks(const struct vhd *v)
{
	return v->disk.fixed.kind != DISK_FIXED;
}

/* A byte of the file, from a BAT entry. */
static inline uint64_t vhd_room_offset(uint32_t room)
{
	return (uint64_t)room * VHD_SECTOR;
}

/* Bytes that a block takes in the file. */
static inline uint64_t vhd_block_room(const struct vhd *v)
{
	return (uint64_t)v->bitmap_size + v->block_size;
}

/* Bytes of the BAT for @blocks, whole sectors. */
static inline uint64_t vhd_bat_bytes(uint64_t blocks)
{
	return (blocks * 4 + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
}

/* ---- vhd_footer.c ---------------------------------------------------------------------------- */

/* vhd_checksum - of a structure whose checksum is at @at, in bytes. In the file's order. */
uint32_t vhd_checksum(const void *structure, size_t size, size_t at);
void vhd_footer_seal(struct vhd_footer *f);
/* vhd_geometry - cylinders, heads and sectors of a disk of @size bytes, as the specification. */
void vhd_geometry(struct vhd_footer *f, uint64_t size);
/* vhd_time - a time stamp of now that is later than @last. */
uint32_t vhd_time(uint32_t last);
void vhd_guid_load(const uint8_t from[16], GUID *to);
void vhd_guid_store(const GUID *from, uint8_t to[16]);
/*
 * vhd_footer_check - -EMEDIUMTYPE: not a footer; -EUCLEAN: one with a wrong checksum or a value
 * that cannot be; -ENOTSUP: of another version. The problem is noted.
 */
int vhd_footer_check(
	const struct vhd_footer *f, const struct disk_file *file, struct disk_problem *problem);
/* vhd_footer_fill - a new footer, without its checksum. */
void vhd_footer_fill(struct vhd_footer *f, enum vhd_type type, uint64_t size, const GUID *id);
/* vhd_footer_info - what a footer says of the disk. */
void vhd_footer_info(const struct vhd_footer *f, struct disk_info *info);
/*
 * vhd_footers_write - v->footer, with a new checksum, to its places: the end of the file and, on
 * disks with blocks, the beginning. Not yet durable. Under the lock.
 */
int vhd_footers_write(struct vhd *v);
/* vhd_stamp - the disk is about to change: a new time stamp, durable. Cheap when it was done. */
int vhd_stamp(struct vhd *v);

/* ---- vhd_header.c ---------------------------------------------------------------------------- */

/* vhd_header_read - the header, checked, into v, with the geometry that follows from it. */
int vhd_header_read(struct vhd *v, struct disk_problem *problem);
void vhd_header_fill(
	struct vhd_header *h, uint64_t table_offset, uint32_t entries, uint32_t block_size);
/* vhd_header_seal - set the checksum. */
void vhd_header_seal(struct vhd_header *h);
/* vhd_set_blocks - the geometry for a disk of @size bytes. */
void vhd_set_blocks(struct vhd *v, uint64_t size, uint32_t block_size);

/* ---- vhd_parent.c ---------------------------------------------------------------------------- */

/*
 * vhd_parent_fill - what @h says of the parent: identity, name and locators, whose data is to stand
 * at @offset. @path: of the parent; @child: of the disk. Returns the data in *@data, which the
 * caller frees, and its whole sectors in *@length.
 */
int vhd_parent_fill(struct vhd_header *h, struct disk *parent, const char *path, const char *child,
	uint64_t offset, void **data, uint32_t *length);
int vhd_parent_fits(struct disk *d, struct disk *parent, struct disk_problem *problem);
int vhd_set_parent(
	struct disk *d, const char *path, struct disk *parent, struct disk_problem *problem);
/*
 * vhd_parent_follow - the parent of @v is about to be changed and stays its parent, as in a merge.
 */
int vhd_parent_follow(struct vhd *v);
int vhd_locator(struct disk *d, enum disk_locator which, char **path);

/* ---- vhd_room.c ------------------------------------------------------------------------------ */

/* A run of the file that is in use, in bytes. */
struct vhd_region {
	uint64_t start, end;
	uint32_t block;	  /* VHD_UNUSED: not a block */
	const char *name; /* of what is not a block */
};

/*
 * vhd_regions - all runs in use, in order, in *@regions, which the caller frees. Blocks that are
 * VHD_BAD are left out.
 */
int vhd_regions(struct vhd *v, struct vhd_region **regions, uint32_t *n);
/* vhd_fixed_regions - those that are not blocks, in order; at most VHD_FIXED_REGIONS. */
#define VHD_FIXED_REGIONS (3 + VHD_LOCATORS)
uint32_t vhd_fixed_regions(const struct vhd *v, struct vhd_region *regions);
/* vhd_room_take - room for a block, durably zeros. Under the lock; writes and flushes. */
int vhd_room_take(struct vhd *v, uint32_t *room);
/*
 * vhd_room_append - @length bytes behind everything in use, in a file that ends with a valid footer
 * behind them, durable. Under the lock.
 */
int vhd_room_append(struct vhd *v, uint64_t length, uint64_t *offset);
/* vhd_room_cut - the file ends right behind what is in use. Under the lock. */
int vhd_room_cut(struct vhd *v);
/* vhd_room_next - find v->next again, after blocks were freed. Under the lock. */
void vhd_room_next(struct vhd *v);
/* vhd_room_align - where a block behind @next would begin. */
uint64_t vhd_room_align(const struct vhd *v, uint64_t next);
/* vhd_rooms_add - -ENOMEM. */
int vhd_rooms_add(struct vhd_rooms *r, uint32_t room);
/* vhd_rooms_recycle - make the rooms zeros, durably, and free for use. Holding alter. */
int vhd_rooms_recycle(struct vhd *v, struct vhd_rooms *rooms);

/* ---- vhd_bitmap.c ---------------------------------------------------------------------------- */

/* vhd_pages_init - the cache, within @bytes. -ENOMEM. */
int vhd_pages_init(struct vhd *v, size_t bytes);
void vhd_pages_fini(struct vhd *v);
/* vhd_pages_drop - forget all; nothing is dirty, and the disk is frozen. */
void vhd_pages_drop(struct vhd *v);

/* vhd_page_of - the page of a byte of the disk. */
static inline uint64_t vhd_page_of(const struct vhd *v, uint64_t offset)
{
	return offset / VHD_SECTOR / v->page_sectors;
}
static inline bool vhd_page_full(const struct vhd *v, uint64_t page)
{
	return atomic_load_explicit(&v->full[page / 64], memory_order_acquire) >> (page % 64) & 1;
}
void vhd_page_set_full(struct vhd *v, uint64_t page, bool full);
/*
 * vhd_page_pin - the cached page @number of an allocated block; vhd_page_unpin() follows. *@p NULL:
 * the page is full. -EAGAIN: @nowait, and it is not in memory. Without @nowait not under a lock.
 */
int vhd_page_pin(struct vhd *v, uint64_t number, bool nowait, struct vhd_page **p);
void vhd_page_unpin(struct vhd *v, struct vhd_page *p);
/* vhd_page_run - how many sectors from @first on, at most @n, are alike; *@set: in this file. */
uint32_t vhd_page_run(struct vhd_page *p, uint32_t first, uint32_t n, bool *set);
/* vhd_page_set - those sectors are in this file. */
void vhd_page_set(struct vhd *v, struct vhd_page *p, uint32_t first, uint32_t n);
/*
 * vhd_pages_collect - copy dirty pages to @out, as the file has them; they count as clean and stay
 * in memory. Returns how many, at most @max. Under the lock. For each vhd_page_written() follows.
 */
struct vhd_page_copy {
	struct vhd_page *page;
	uint64_t offset; /* of the file */
	uint64_t bits[VHD_PAGE_WORDS];
};
uint32_t vhd_pages_collect(struct vhd *v, struct vhd_page_copy *out, uint32_t max);
void vhd_page_written(struct vhd *v, const struct vhd_page_copy *copy, int err);
/* vhd_page_read - a bitmap's page as it is in the file, in the host's order. */
int vhd_page_read(struct vhd *v, uint64_t number, uint64_t bits[VHD_PAGE_WORDS]);

/* ---- vhd_io.c -------------------------------------------------------------------------------- */

int vhd_map(
	struct disk *d, uint64_t offset, uint64_t length, bool nowait, struct disk_extent *extent);
int vhd_place(struct disk *d, uint64_t offset, uint64_t length, const struct disk_iov *data,
	bool nowait, struct disk_extent *extent);
int vhd_settle(struct disk *d, uint64_t offset, const struct disk_extent *extent, int err);
int vhd_flush(struct disk *d);
bool vhd_dirty(struct disk *d);
int vhd_zero(struct disk *d, uint64_t offset, uint64_t length, bool unmap, uint64_t *done);
/* vhd_zero_here - zeros in sectors that this file has then. Holding alter, or frozen. */
int vhd_zero_here(struct vhd *v, uint64_t offset, uint64_t length, bool unmap);
/* vhd_commit - data, then bitmaps and BAT, durable. */
int vhd_commit(struct vhd *v);
/* vhd_set_entry - an entry of the BAT; written by vhd_commit(). Under the lock. */
void vhd_set_entry(struct vhd *v, uint32_t block, uint32_t room);

/* ---- Operations ------------------------------------------------------------------------------ */

int vhd_create(struct disk_file *file, const struct disk_create *create, struct disk *parent,
	struct disk_problem *problem);
int vhd_check(struct disk *d, struct disk_check *check, struct disk_progress *progress);
int vhd_resize(struct disk *d, uint64_t size, bool lose, struct disk_problem *problem);
int vhd_compact(struct disk *d, unsigned flags, struct disk_progress *progress,
	struct disk_problem *problem);
/* vhd_block_copy - bitmap and data of a block, to room that is not in use; not yet durable. */
int vhd_block_copy(struct vhd *v, uint32_t from, uint32_t to);
int vhd_set_id(struct disk *d, const GUID *id, struct disk_problem *problem);

#endif
