/*
 * request.h - what a request is made of, shared by those who do one at once (sync.c) and those who
 * do it on a queue (request.c).
 */
#ifndef PARTITA_DISK_REQUEST_H
#define PARTITA_DISK_REQUEST_H

#include "disk/format.h"

/* Where a run of bytes is to be read, whichever image of the chain has it. */
struct disk_step {
	struct disk *at; /* NULL: nowhere, zeros */
	uint64_t length, file_offset;
	disk_ticket ticket; /* of a parent that may change; for disk_step_end() */
};

/*
 * disk_step_map - follow the chain from @d. The caller is inside @d. -EAGAIN with @nowait; -ENXIO:
 * it is in a parent that was not opened.
 */
int disk_step_map(struct disk *d, uint64_t offset, uint64_t length, unsigned stripe, bool nowait,
	struct disk_step *s);
/* disk_step_end - the place is used no more. */
void disk_step_end(struct disk_step *s);

/* disk_request_check - may @r be started? 0, -EINVAL, -ENOSPC, -EROFS. */
int disk_request_check(struct disk *d, const struct disk_request *r);
/* disk_request_empty - is there nothing to do? */
bool disk_request_empty(const struct disk *d, const struct disk_request *r);
/*
 * disk_request_admit - let @r in, as its operation needs it, wherever it has not been let in yet.
 * Returns the gate of a disk that is frozen, or NULL.
 */
struct disk_gate *disk_request_admit(struct disk_request *r, unsigned stripe);
/* disk_request_move - move what is behind r->reached, in this thread. */
int disk_request_move(struct disk_request *r, unsigned stripe);
/* disk_request_copy - copy what is behind r->reached, in this thread (copy.c). */
int disk_request_copy(struct disk_request *r, unsigned stripe);
/* disk_request_write_zeros - write them as data; the caller is inside. */
int disk_request_write_zeros(struct disk *d, uint64_t offset, uint64_t length, unsigned stripe);
/* disk_request_perform - do all of @r, which is let in, in this thread, and let it out. */
int disk_request_perform(struct disk_request *r, unsigned stripe);
/* disk_request_flush - flush @d in this thread; the caller is outside. */
int disk_request_flush(struct disk *d);

#endif
