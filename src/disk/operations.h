/*
 * operations.h - operations across disks: convert, merge, mirror, compare. They stand on disk.h
 * alone, so that each works for every format, kind and depth of chain.
 *
 * What they promise: data moves in large requests, several at once; what no file holds costs
 * nothing; a cancelled or failed operation leaves what was there before as it was. The functions
 * return 0 or a negative errno and note a problem as those of disk.h do. @progress and @problem may
 * be NULL; progress is in bytes of the disk.
 */
#ifndef PARTITA_DISK_OPERATIONS_H
#define PARTITA_DISK_OPERATIONS_H

#include "disk/disk.h"

/* How many requests an operation may have under way, and has when it is not said (0). */
#define DISK_PARALLEL_MAX     64
#define DISK_PARALLEL_DEFAULT 8

/* ---- Convert -------------------------------------------------------------------------------- */

struct disk_convert {
	/*
	 * What to make; 0 for size and sectors: as the source. For DISK_DIFFERENCING only what the
	 * source image itself holds is copied, onto @target.parent; else all that its chain shows.
	 */
	struct disk_create target;
	/*
	 * Copy less, NULL for all: what the images of the chain above image @above hold; what
	 * changed since the point @since of the source's change tracking (tracking.h). The rest
	 * reads as zeros, or as @target.parent does.
	 */
	const char *above, *since;
	unsigned parallel; /* requests under way at once; 0: the default */
	bool keep_zeros; /* write the zeros that the source's files hold; else they take no room */
};

/*
 * disk_convert - make a new image at @path with the contents of @source, user metadata included
 * where both formats have it. The file appears under @path whole and durable or not at all; until
 * then it is a .partita-RANDOM beside it. -EEXIST without target.overwrite; -EINVAL: a size or
 * sector size that the target's format has not, or @above is no parent of the source; -EBUSY:
 * @path is a parent of the source; the errors of tracking_query() for @since.
 */
int disk_convert(struct disk_engine *e, struct disk *source, const char *path,
	const struct disk_convert *convert, struct disk_progress *progress,
	struct disk_problem *problem);

/* ---- Merge ---------------------------------------------------------------------------------- */

struct disk_merge {
	unsigned from;	 /* the child that is merged, counted from the leaf (0) */
	unsigned into;	 /* the parent that gets it, above @from; 0: @from + 1 */
	uint64_t offset; /* a part of the disk, in bytes, multiples of the logical sector ... */
	uint64_t length; /* ... 0: all */
	unsigned parallel;
};

/*
 * disk_merge - write what the images from @from up to the one before @into hold into image @into,
 * in place. @leaf was opened with DISK_OPEN_WRITE_PARENTS, and with DISK_OPEN_WRITE. Nobody else
 * may write to the chain meanwhile.
 *
 * At any moment, also after a power cut, the chain reads as before. After success (of the whole
 * disk) everything is durable in @into, which has the child's size, and the images that were
 * merged can go; what stands on @from can be given @into as its parent (disk_set_parent()).
 */
int disk_merge(struct disk_engine *e, struct disk *leaf, const struct disk_merge *merge,
	struct disk_progress *progress, struct disk_problem *problem);

/* ---- Mirror --------------------------------------------------------------------------------- */

struct disk_mirror;

enum disk_mirror_state {
	DISK_MIRROR_COPYING,
	DISK_MIRROR_READY,  /* the target has what the source has, and gets every write */
	DISK_MIRROR_FAILED, /* an error, or cancelled: the target is of no use; the source is well
			     */
};

/*
 * disk_mirror_start - begin to copy @source, which stays in use, into @target, an open, writable
 * disk of the same size that reads as zeros; @target_is_new false: it may hold anything. From now
 * on until disk_mirror_stop() every change of @source is made in both. @progress must live as long
 * as the mirror.
 */
int disk_mirror_start(struct disk *source, struct disk *target, bool target_is_new,
	struct disk_progress *progress, struct disk_mirror **mirror);
/* disk_mirror_state - *@err (may be NULL) is what it failed of. Any thread. */
enum disk_mirror_state disk_mirror_state(struct disk_mirror *m, int *err);
/* disk_mirror_wait - until it is no longer copying. */
enum disk_mirror_state disk_mirror_wait(struct disk_mirror *m);
/*
 * disk_mirror_stop - end it and free @m; both disks stay the caller's. 0: the target is whole, as
 * the source was at a moment within this call, and durable; -ECANCELED: it was not ready; or what
 * it failed of. A caller that switches over must itself have stopped the writers; disk_freeze() of
 * the source is a way when the mirror is ready, but holds a copy that still runs, and so this.
 */
int disk_mirror_stop(struct disk_mirror *m);

/* ---- Compare -------------------------------------------------------------------------------- */

struct disk_compare {
	bool same_size; /* disks of different sizes differ; else the longer may end in zeros */
	unsigned parallel;
	/* Results. */
	bool differ;
	uint64_t where; /* bytes: the first difference */
};

/* disk_compare - whether two disks have the same contents. 0: compared. */
int disk_compare(struct disk_engine *e, struct disk *a, struct disk *b,
	struct disk_compare *compare, struct disk_progress *progress);

#endif
