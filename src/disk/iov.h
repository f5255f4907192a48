/*
 * iov.h - a position in an array of memory areas, and the system call's view from there. Segments
 * of a request slice its array with these; no data and, mostly, no array is copied.
 */
#ifndef PARTITA_DISK_IOV_H
#define PARTITA_DISK_IOV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct disk_iov {
	const struct iovec *iov;
	unsigned n;
	size_t skip; /* bytes of the first area that are behind */
};

/* Areas that disk_iov_window() copies at most; an array that can be used as it is has no limit. */
#define DISK_IOV_ROOM 8

/* disk_iov_advance - @bytes further. */
void disk_iov_advance(struct disk_iov *at, uint64_t bytes);
/*
 * disk_iov_window - areas for a system call that moves up to @length bytes from @at: in place in
 * the array where they begin and end with its areas, else copied to @room. Returns how many, at
 * least one for a @length above 0; *@bytes: what they hold, at most @length.
 */
unsigned disk_iov_window(const struct disk_iov *at, uint64_t length,
	struct iovec room[DISK_IOV_ROOM], const struct iovec **window, uint64_t *bytes);
/* disk_iov_is_zero - are the next @length bytes? */
bool disk_iov_is_zero(struct disk_iov at, uint64_t length);
/* disk_iov_zero - zeros into the next @length bytes. */
void disk_iov_zero(struct disk_iov at, uint64_t length);
/* disk_iov_read, disk_iov_write - copy the next @length bytes to, from a buffer. */
void disk_iov_read(struct disk_iov at, void *to, uint64_t length);
void disk_iov_write(struct disk_iov at, const void *from, uint64_t length);
/*
 * disk_iov_slice - an array, which the caller frees, of just the next @length bytes. NULL: memory.
 */
struct iovec *disk_iov_slice(struct disk_iov at, uint64_t length, unsigned *n);

#endif
