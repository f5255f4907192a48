/*
 * op_copy.h - copy a part of a disk, or of some images of its chain, into another: what convert and
 * merge stand on.
 */
#ifndef PARTITA_DISK_OP_COPY_H
#define PARTITA_DISK_OP_COPY_H

#include "disk/disk.h"

struct disk_copy {
	struct disk *from, *to;
	uint64_t begin, end; /* bytes, the same in both */
	unsigned depth;	     /* how many parents of @from count (disk_extent()); the rest is left */
	unsigned parallel;   /* 0: the default */
	bool fresh;	     /* @to reads as zeros: none are written */
	bool find_zeros;     /* with @fresh: also those that @from holds as data */
	/*
	 * Where there is more to copy behind @end, not NULL: 1 and the next part in *@begin and
	 * *@end, which comes after those before it; 0: no more; or a negative errno.
	 */
	int (*more)(void *ctx, uint64_t *begin, uint64_t *end);
	void *ctx;
};

/* disk_copy_run - 0 or a negative errno; adds to progress->done, which may be NULL. */
int disk_copy_run(
	struct disk_engine *e, const struct disk_copy *copy, struct disk_progress *progress);

#endif
