/*
 * file.h - the room's files: an open image file, as the formats see it.
 *
 * Everything that the room writes to an image goes through here, so that a recorder sees each
 * write, flush, zeroing and change of length in the order in which they begin and end: that is what
 * the power cut tests replay. Functions block, return 0 or a negative errno, and may be called from
 * any thread. Asynchronous reads and writes of data are the queue's (queue.h). file_copy.c has
 * disk_file_copy() and disk_file_expect(), file.c the rest.
 */
#ifndef PARTITA_DISK_FILE_H
#define PARTITA_DISK_FILE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "disk/disk.h"
#include "disk/iov.h"

/* What a recorder is told. A flush covers the changes that ended before it began. */
enum disk_event { DISK_EVENT_WRITE, DISK_EVENT_ZERO, DISK_EVENT_LENGTH, DISK_EVENT_FLUSH };

/*
 * began() returns an identity that ended() gets; @iov has the bytes of a write (NULL otherwise);
 * @offset is the new length for DISK_EVENT_LENGTH. Called from any thread, many at once. @path
 * tells the files of a chain apart.
 */
struct disk_recorder {
	uint64_t (*began)(void *ctx, const char *path, enum disk_event event, uint64_t offset,
		uint64_t length, const struct iovec *iov, unsigned n_iov);
	void (*ended)(void *ctx, uint64_t id, int result);
	void *ctx;
};

struct disk_file_sync; /* who waits for whom, in file.c */

struct disk_file {
	int fd;
	bool writable;
	bool direct;	/* O_DIRECT: the functions below bounce what is not aligned */
	uint32_t align; /* bytes, of offset, length and memory; 1 unless direct */
	bool put_off;	/* flushes do nothing: DISK_OPEN_UNPUBLISHED */
	char *path;
	struct disk_file_sync *sync;
	const struct disk_recorder *recorder; /* NULL: none */
	_Atomic uint64_t size;		      /* bytes; kept by write, set_size */
};

/*
 * disk_file_open - take @fd, which is then the file's, and its length. disk_file_close() does not
 * flush. disk_file_open_path() opens first, as the options say, and locks (-EBUSY).
 */
int disk_file_open(struct disk_file *f, int fd, const char *path, bool writable, bool direct,
	const struct disk_recorder *recorder);
int disk_file_open_path(struct disk_file *f, const char *path,
	const struct disk_open_options *options, bool writable);
/* disk_file_lock - against other openers: shared, or alone when writable. -EBUSY. */
int disk_file_lock(struct disk_file *f);
/* disk_file_same - is it the same file, whatever the paths? */
bool disk_file_same(const struct disk_file *a, const struct disk_file *b);
void disk_file_close(struct disk_file *f);

/* disk_file_read - all of it: -EIO when the file ends before @length bytes. */
int disk_file_read(struct disk_file *f, void *buffer, uint64_t length, uint64_t offset);
/* disk_file_read_some - what there is; bytes behind the end are zeros. */
int disk_file_read_some(struct disk_file *f, void *buffer, uint64_t length, uint64_t offset);
int disk_file_readv(struct disk_file *f, const struct iovec *iov, unsigned n, uint64_t offset);
int disk_file_write(struct disk_file *f, const void *buffer, uint64_t length, uint64_t offset);
int disk_file_writev(struct disk_file *f, const struct iovec *iov, unsigned n, uint64_t offset);
/*
 * disk_file_move - the next @length bytes at @at. What a read finds missing behind the end is
 * zeros, when that is less than a sector (an image whose length is not a multiple), else -EIO.
 */
int disk_file_move(
	struct disk_file *f, bool write, struct disk_iov at, uint64_t length, uint64_t offset);
/*
 * disk_file_flush - durable: everything written before, and the file's length. Who asks at the same
 * time shares the work. What failed once fails for good: the kernel tells only once of what it
 * could not write, and takes it for written from then on.
 */
int disk_file_flush(struct disk_file *f);
/*
 * disk_file_copy - @length bytes from @from, another file or another part of the same, are written
 * to @to. The kernel copies them where it can, or lets both files share them; writing them back
 * begins at once, for whoever copies much mostly wants it durable next.
 */
int disk_file_copy(struct disk_file *to, uint64_t to_offset, struct disk_file *from,
	uint64_t from_offset, uint64_t length);
/* disk_file_expect - the range will be read soon: the kernel may begin with it. */
void disk_file_expect(struct disk_file *f, uint64_t offset, uint64_t length);
/* disk_file_set_size - longer (with zeros) or shorter. */
int disk_file_set_size(struct disk_file *f, uint64_t size);
/*
 * disk_file_zero - the range, inside the file, reads as zeros. @release: its space is given back
 * where the file system can. Falls back to writing zeros.
 */
int disk_file_zero(struct disk_file *f, uint64_t offset, uint64_t length, bool release);
/* disk_file_write_zeros - write them, also behind the end. */
int disk_file_write_zeros(struct disk_file *f, uint64_t offset, uint64_t length);
/* disk_file_allocate - take space for the range (fallocate), extending the file when needed. */
int disk_file_allocate(struct disk_file *f, uint64_t offset, uint64_t length);
/*
 * disk_file_hole - the run from @offset, at most to @end, that is a hole of the sparse file
 * (*@hole) or not. Returns its length in bytes or a negative errno; a file system that cannot tell
 * has no holes.
 */
int64_t disk_file_hole(struct disk_file *f, uint64_t offset, uint64_t end, bool *hole);

/* ---- For the queues, which move data by themselves ---- */

/* disk_file_aligned - can it be moved without a bounce? */
bool disk_file_aligned(
	const struct disk_file *f, const struct disk_iov *at, uint64_t length, uint64_t offset);
/* disk_file_transfer - disk_file_move() without telling the recorder. */
int disk_file_transfer(
	struct disk_file *f, bool write, struct disk_iov at, uint64_t length, uint64_t offset);
/* disk_file_began - tell the recorder; @at NULL unless a write. What disk_file_ended() gets. */
uint64_t disk_file_began(struct disk_file *f, enum disk_event event, uint64_t offset,
	uint64_t length, const struct disk_iov *at);
/* disk_file_ended - tell the recorder, and keep the size after a successful write. */
void disk_file_ended(struct disk_file *f, uint64_t id, enum disk_event event, uint64_t offset,
	uint64_t length, int result);

#endif
