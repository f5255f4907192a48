/*
 * tracking.h - resilient change tracking: which parts of an image changed since a point that has a
 * name. The file IMAGE.rct beside the image holds it (tracking_protocol.h); while it is there,
 * disk_open() for writing and disk_close() keep it.
 *
 * A point is a generation's end: the change identifier "rctX:...:N" names the state of the disk at
 * the end of generation N. A generation ends when a disk that changed is closed, and by
 * tracking_enable().
 *
 * What it promises: an answer may name too much, never too little. After a crash or power cut,
 * every region that could have been written in the session counts as changed. After a change by
 * something that does not track (another program, Windows) all of the disk does.
 *
 * Cost: the first write to a region (1/4096 of the disk, at least 64 MiB) in a session waits for a
 * flush of the file; any other write stores a few words in memory.
 */
#ifndef PARTITA_DISK_TRACKING_H
#define PARTITA_DISK_TRACKING_H

#include "disk/disk.h"

#define TRACKING_ID 64 /* bytes of an identifier as text, its end included */

struct tracking;

struct tracking_state {
	char id[TRACKING_ID]; /* of the last point */
	bool newer;	      /* something changed since */
};

struct tracking_range {
	uint64_t offset, length; /* bytes */
};

/* ---- For disk_open() and disk_close() -------------------------------------------------------- */

/*
 * tracking_begin - if the image of @d, open for writing, is tracked: watch its changes from now on,
 * in d->tracking. A file that cannot be used is put aside (IMAGE.rct.bad), which ends tracking: its
 * identifiers are no longer answered. -EBUSY: somebody else tracks it.
 */
int tracking_begin(struct disk *d, const struct disk_open_options *options);
/* tracking_stop - watch no longer; the disk is about to be closed. NULL is allowed. */
void tracking_stop(struct tracking *t);
/* tracking_end - the image was closed, with @err: write what is known, end the generation, free. */
void tracking_end(struct tracking *t, int err);

/* ---- For everybody --------------------------------------------------------------------------- */

/*
 * tracking_enable - begin to track @d, open for writing; where it is tracked already, end the
 * generation, so that the present state has a name. 0 or a negative errno.
 */
int tracking_enable(struct disk *d, struct disk_problem *problem);
/* tracking_disable - end tracking and remove the file. */
int tracking_disable(struct disk *d);
/* tracking_path - of the file for @image; the caller frees. NULL: memory is short. */
char *tracking_path(const char *image);
/* tracking_inherit - the tracking of image @parent goes on in its new child @child. */
int tracking_inherit(const char *parent, const char *child);
/*
 * tracking_move - the tracking of image @from, whose contents image @to has taken over, becomes that
 * of @to, in place of its own; where @from is not tracked, @to is not any more. Both are closed.
 */
int tracking_move(const char *from, const char *to);

/* tracking_state - of the image @path, whoever has it open. -ENOENT: it is not tracked. */
int tracking_state(const char *path, struct tracking_state *state);
/*
 * tracking_query - what of the @length bytes from @offset changed since @id: up to *@n ranges to
 * @ranges, in order; *@n becomes their count, *@processed how many bytes were looked at. -ENOENT:
 * not tracked; -EINVAL: @id is no identifier; -ESRCH: not one of this image.
 */
int tracking_query(const char *path, const char *id, uint64_t offset, uint64_t length,
	struct tracking_range *ranges, uint32_t *n, uint64_t *processed);
/*
 * tracking_add - another changed range, behind those of an answer: joined with the last one where
 * that ends at @from. False: there are @room already.
 */
bool tracking_add(
	struct tracking_range *ranges, uint32_t *n, uint32_t room, uint64_t from, uint64_t to);
/*
 * tracking_problem - note why the question for @id (NULL: for the state) about the image @path was
 * not answered: @err of one of the two above, which is returned.
 */
int tracking_problem(struct disk_problem *p, const char *path, const char *id, int err);

#endif
