/*
 * tracking_file.h - the file of a change tracking, opened and checked: of tracking.c (who writes
 * the disk) and tracking_query.c (who asks).
 */
#ifndef PARTITA_DISK_TRACKING_FILE_H
#define PARTITA_DISK_TRACKING_FILE_H

#include "disk/tracking.h"
#include "disk/tracking_protocol.h"

struct tracking_file {
	int fd;
	bool alone; /* locked: nobody else writes the disk and the file */
	struct tracking_header h;
	uint8_t touched[TRACKING_TOUCHED_MAX];
};

/* tracking_file_layout - sizes of chunks and regions for a disk of h->disk_size bytes. */
void tracking_file_layout(struct tracking_header *h);
uint64_t tracking_chunks(const struct tracking_header *h);

/*
 * tracking_file_open - take @fd, locked: for @write alone (-EBUSY: somebody has it), else as it can
 * be had, and check what it says. -EUCLEAN: damaged. The descriptor is closed on failure.
 */
int tracking_file_open(struct tracking_file *f, int fd, bool write);
void tracking_file_close(struct tracking_file *f);

/* tracking_file_write_header - durably, f->h with the next sequence. */
int tracking_file_write_header(struct tracking_file *f);
/* tracking_file_write_touched - durably, f->touched. */
int tracking_file_write_touched(struct tracking_file *f);
/* tracking_file_mark - chunks @first to @last changed in the current generation. Not durable. */
int tracking_file_mark(struct tracking_file *f, uint64_t first, uint64_t last);
/* tracking_file_read - the generations of @n chunks from @first. */
int tracking_file_read(struct tracking_file *f, uint64_t first, uint64_t n, uint32_t *generations);

/* tracking_file_all_changed - everything counts as changed in the current generation. */
void tracking_file_all_changed(struct tracking_file *f);
/* tracking_file_branch - what goes on from here has an identity of its own. */
void tracking_file_branch(struct tracking_file *f);
/* tracking_file_knows - does the identifier name a state of this image? */
bool tracking_file_knows(const struct tracking_file *f, const GUID *id, uint32_t generation);
/*
 * tracking_file_bind, tracking_file_is_bound - note, and compare, the open @image as it is now.
 * Is_bound: has nobody else changed it since? tracking_file_is_current: likewise, by its path.
 */
int tracking_file_bind(struct tracking_file *f, int image);
bool tracking_file_is_bound(const struct tracking_file *f, int image);
bool tracking_file_is_current(const struct tracking_file *f, const char *path);
/* tracking_file_seal - end the current generation: what comes now belongs to the next. */
void tracking_file_seal(struct tracking_file *f);

#endif
