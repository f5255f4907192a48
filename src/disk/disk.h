/*
 * disk.h - virtual hard disks: VHD, VHDX and raw images, alone or as a chain of differencing disks.
 * The room's face to the other rooms; programs use virtdisk.h, which stands on this.
 *
 * What it promises:
 * - A request that was answered with success is visible to every later request; one that a later
 *   successful DISK_FLUSH covers survives a power cut. Until then a sector holds its old or its new
 *   contents, nothing else.
 * - An image opened without DISK_OPEN_WRITE is never written, and nothing outside the image and its
 *   named parents is read.
 * - Data goes between the file and the caller's pages without a copy.
 * - Metadata in memory stays within disk_open_options.cache bytes for each image, whatever its
 *   size.
 *
 * Threads: a disk may be used from any number of threads. A queue belongs to one thread at a time
 * (it changes hands with no request under way); requests of one queue complete in any order, in
 * disk_queue_run() of that queue. A thread whose queue has requests under way must not call what
 * waits for them: the functions that work at once on the same disk, and disk_freeze().
 *
 * Functions return 0 or a negative errno. Those that take a struct disk_problem also say there, in
 * one line that names the file and the remedy, what was wrong, and which Win32 error that is.
 */
#ifndef PARTITA_DISK_DISK_H
#define PARTITA_DISK_DISK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "guiddef.h"

struct disk;
struct disk_engine;
struct disk_queue;
struct disk_recorder;

/* ---- What went wrong ------------------------------------------------------------------------- */

struct disk_problem {
	uint32_t win32; /* ERROR_..., 0: none was noted */
	char text[512]; /* one line without a full stop or newline; begins with the file's name */
};

/* disk_problem_win32 - the noted code, or the one that fits @err, a negative errno. 0 for 0. */
uint32_t disk_problem_win32(const struct disk_problem *p, int err);
/* disk_problem_text - the noted line, or one made of @path and @err. Valid as long as @p. */
const char *disk_problem_text(struct disk_problem *p, const char *path, int err);
/*
 * disk_problem_say - note the first problem: the Win32 code that fits @err, and a line made of
 * @path and @format. Returns @err. @p may be NULL.
 */
int disk_problem_say(struct disk_problem *p, const char *path, int err, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* ---- The engine: threads and queues ---------------------------------------------------------- */

struct disk_engine_options {
	bool no_uring;	    /* do without io_uring even where there is one */
	unsigned threads;   /* for what may block; 0: a number that fits the machine */
	bool threads_later; /* disk_engine_start() makes them */
};

/*
 * disk_engine_create - what the disks of a process share: threads for requests that must wait, and
 * whether io_uring can be used. @options NULL: defaults. NULL with errno set.
 */
struct disk_engine *disk_engine_create(const struct disk_engine_options *options);
/*
 * disk_engine_start - make the threads that were to come later, for a process that gives up
 * privileges first: a thread that is there before keeps its own. Until then disks can be opened,
 * but no queue may be used. Returns 0 or a negative errno.
 */
int disk_engine_start(struct disk_engine *e);
/* disk_engine_destroy - after all its disks and queues. NULL is allowed. */
void disk_engine_destroy(struct disk_engine *e);
/* disk_engine_uses_uring - as it says. */
bool disk_engine_uses_uring(const struct disk_engine *e);

/* ---- Opening and creating -------------------------------------------------------------------- */

enum disk_format { DISK_FORMAT_ANY, DISK_FORMAT_RAW, DISK_FORMAT_VHD, DISK_FORMAT_VHDX };
enum disk_kind { DISK_FIXED, DISK_DYNAMIC, DISK_DIFFERENCING };

enum disk_open_flags {
	DISK_OPEN_WRITE = 1 << 0,
	DISK_OPEN_NO_PARENTS =
		1 << 1, /* only this image: reads of what is in a parent fail with -ENXIO */
	DISK_OPEN_WRITE_PARENTS = 1 << 2, /* the parents writable too (for a merge) */
	DISK_OPEN_DIRECT = 1 << 3,	  /* past the host's page cache (O_DIRECT) */
	DISK_OPEN_SHARED = 1 << 4,	  /* do not lock: whoever opens takes care of other users */
	DISK_OPEN_DAMAGED = 1 << 5, /* for repair: go on where the format's tables can be read */
	DISK_OPEN_UNPUBLISHED = 1 << 6, /* nobody needs the file before it is whole: only
					   disk_close() makes anything durable */
};

struct disk_open_options {
	unsigned flags;
	enum disk_format format; /* DISK_FORMAT_ANY: by contents */
	size_t cache;		 /* bound of metadata in memory, in bytes; 0: 32 MiB */
	/*
	 * Opens the image and its parents in place of open(2), for a process that may not: returns
	 * a descriptor that the disk closes, or a negative errno.
	 */
	int (*open_file)(void *ctx, const char *path, int open_flags);
	void *ctx;
	const struct disk_recorder *recorder; /* for tests: file.h */
};

/*
 * disk_open - open an image and, for a differencing disk, its chain of parents.
 * @options NULL: read-only, by contents. Errors: those of open(2); -EBUSY: in use elsewhere;
 * -EMEDIUMTYPE: not that format; -EUCLEAN: damaged; -ENOTSUP: a feature that is not known;
 * -ESTALE: the parent is not the one this disk was made from; -ENOLINK: a parent was not found;
 * -ELOOP: a chain that comes back to itself.
 */
int disk_open(struct disk_engine *e, const char *path, const struct disk_open_options *options,
	struct disk **disk, struct disk_problem *problem);
/*
 * disk_close - write what is still in memory, flush, close. No request may be under way. NULL is
 * allowed. Returns the first error that lost something.
 */
int disk_close(struct disk *d);

struct disk_create {
	enum disk_format format; /* not DISK_FORMAT_ANY */
	enum disk_kind kind;
	uint64_t size;		  /* bytes; 0 for a differencing disk: the parent's */
	uint32_t block_size;	  /* bytes, 0: the format's default */
	uint32_t logical_sector;  /* 512 or 4096; 0: 512, or the parent's */
	uint32_t physical_sector; /* 512 or 4096; 0: the format's default, or the parent's */
	const char *parent;	  /* path, for DISK_DIFFERENCING */
	enum disk_format parent_format;
	GUID id;	   /* all zero: a new one */
	bool preallocated; /* DISK_FIXED: take the space now (fallocate) instead of a sparse file */
	bool overwrite;	   /* an existing file is replaced; else -EEXIST */
};

/*
 * disk_create - make an image. The new file appears whole and durable under @path or not at all.
 * Errors: -EEXIST, -EINVAL (a size or block size outside the format), those of opening the parent.
 */
int disk_create(struct disk_engine *e, const char *path, const struct disk_create *create,
	const struct disk_recorder *recorder, struct disk_problem *problem);

/* ---- What it is ------------------------------------------------------------------------------ */

struct disk_info {
	enum disk_format format;
	enum disk_kind kind;
	uint64_t size;	     /* bytes of the virtual disk */
	uint64_t file_size;  /* bytes: the file's length */
	uint64_t file_used;  /* bytes that the file takes on its file system */
	uint32_t block_size; /* bytes; 0: the format has no blocks */
	uint32_t logical_sector, physical_sector;
	uint64_t min_size;    /* bytes: disk_resize() below this would lose data; 0: not known */
	GUID id;	      /* VHD: the footer's unique ID; VHDX: the page 83 identifier */
	GUID data_id;	      /* changes when the contents do: VHDX DataWriteGuid; VHD: as id */
	GUID parent_id;	      /* the data_id the parent must have; differencing disks only */
	uint32_t parent_time; /* VHD: when the parent was written last, seconds since 2000 */
	char creator[64];     /* UTF-8, what the file says made it */
	bool has_log;	      /* VHDX: the log was replayed (in memory when read-only) at opening */
	bool writable;
	unsigned depth; /* how many parents */
};

void disk_info(struct disk *d, struct disk_info *info);
/* disk_path - the path it was opened with. */
const char *disk_path(const struct disk *d);
/* disk_parent - the open parent, NULL: none. Belongs to @d. */
struct disk *disk_parent(struct disk *d);
/*
 * disk_chain_end - the image at the end of the chain of @d whose parent is still to be opened,
 * after DISK_OPEN_NO_PARENTS; NULL: the chain is complete.
 */
struct disk *disk_chain_end(struct disk *d);
/*
 * disk_add_parent - open the image @path, without its parents, as the parent that
 * disk_chain_end() lacks; it is written if @d was opened with DISK_OPEN_WRITE_PARENTS. -EALREADY:
 * the chain is complete; -ESTALE: that is not the parent; -ELOOP: it is in the chain already; and
 * the errors of disk_open().
 */
int disk_add_parent(struct disk *d, const char *path, struct disk_problem *problem);
/* disk_size - bytes; cheap. */
uint64_t disk_size(const struct disk *d);
/*
 * disk_parent_locator - the path by which the parent is (to be) found, UTF-8, of the given form.
 * The caller frees *@path. -ENOENT: not stored.
 */
enum disk_locator { DISK_LOCATOR_RELATIVE, DISK_LOCATOR_ABSOLUTE, DISK_LOCATOR_VOLUME };
int disk_parent_locator(struct disk *d, enum disk_locator which, char **path);

/* ---- Requests -------------------------------------------------------------------------------- */

enum disk_op {
	DISK_READ,
	DISK_WRITE, /* zeros to where there is nothing, and nothing reads as zeros, take no room */
	/*
	 * Everything answered before this was submitted becomes durable. Once that failed for a
	 * file, no flush of it succeeds until it is opened anew: what was lost is not known.
	 */
	DISK_FLUSH,
	DISK_UNMAP, /* the range's contents are no longer needed: they read as zeros afterwards */
	DISK_ZERO,  /* the range reads as zeros; its blocks stay where they are */
	/*
	 * What @from has in the same range, which must lie inside of both disks, is written here.
	 * The kernel moves the data where it can, and begins to write it back.
	 */
	DISK_COPY,
};

/* Something to be run by a thread of the room; the room's own. */
struct disk_work {
	struct disk_work *next;
	void (*run)(struct disk_work *w);
};

/* A request belongs to the room from disk_submit() until done() is called. */
struct disk_request {
	enum disk_op op;
	bool fua; /* DISK_WRITE: durable when answered */
	/*
	 * Bytes, multiples of the logical sector; the range must lie inside the disk, else -ENOSPC.
	 */
	uint64_t offset, length;
	const struct iovec *iov; /* the caller's pages, together at least @length bytes */
	unsigned n_iov;
	struct disk *from; /* DISK_COPY */
	bool skip_zeros;   /* DISK_COPY: zeros need not be written; the range reads as zeros */
	void (*done)(struct disk_request *r); /* may submit, also @r again */
	int result;			      /* 0 or a negative errno */

	/* The room's own. */
	struct disk_work work;
	struct disk *disk;
	struct disk_queue *queue;
	uint64_t reached; /* bytes that parts were made of */
	unsigned parts;	 /* that are not done, and one while more may be made; the queue's thread */
	unsigned ticket; /* gate.h */
	unsigned from_ticket;
	int aside;	 /* what an engine thread's part came to */
};

/*
 * disk_queue_create - a queue for at most @depth file operations at once (more wait their turn).
 * NULL with errno set.
 */
struct disk_queue *disk_queue_create(struct disk_engine *e, unsigned depth);
/* disk_queue_destroy - after its last request was answered. NULL is allowed. */
void disk_queue_destroy(struct disk_queue *q);
/*
 * disk_queue_fd - becomes readable when disk_queue_run() has something to do. To be asked for
 * before the first request: a queue of which nobody waits for the descriptor spares the work of
 * telling.
 */
int disk_queue_fd(struct disk_queue *q);
/*
 * disk_submit - start @r. It is answered in disk_queue_run(), never inside this. Operations may be
 * gathered: they reach the kernel at the next disk_queue_run() or disk_queue_kick(). Those that
 * done() submits need no kick.
 */
void disk_submit(struct disk_queue *q, struct disk *d, struct disk_request *r);
void disk_queue_kick(struct disk_queue *q);
/*
 * disk_queue_run - answer what is finished; with @wait, wait until at least one request was
 * answered (returns at once when none is under way). Returns how many were answered.
 */
unsigned disk_queue_run(struct disk_queue *q, bool wait);

/* The same at once, in the caller's thread, without a queue. Return 0 or a negative errno. */
int disk_read(struct disk *d, void *buffer, uint64_t length, uint64_t offset);
int disk_write(struct disk *d, const void *buffer, uint64_t length, uint64_t offset);
int disk_readv(struct disk *d, const struct iovec *iov, unsigned n, uint64_t offset);
int disk_writev(struct disk *d, const struct iovec *iov, unsigned n, uint64_t offset);
int disk_flush(struct disk *d);
int disk_unmap(struct disk *d, uint64_t offset, uint64_t length);
int disk_zero(struct disk *d, uint64_t offset, uint64_t length);
int disk_copy(struct disk *d, struct disk *from, uint64_t offset, uint64_t length);

/* ---- Where the contents are ------------------------------------------------------------------ */

enum disk_where {
	DISK_ZEROS, /* reads as zeros, and no file holds them */
	DISK_DATA,
	DISK_BELOW, /* left to a parent that was not asked */
};

/*
 * disk_extent - what the run of bytes from @offset, at most up to @end, is. @depth: how many
 * parents are asked: 0 this image alone, UINT_MAX the whole chain (which leaves nothing to
 * DISK_BELOW). An image that ends before its child has zeros there, whatever is below it. Returns
 * the run's length in bytes, or a negative errno.
 */
int64_t disk_extent(
	struct disk *d, uint64_t offset, uint64_t end, unsigned depth, enum disk_where *where);

/* ---- Changing an image ----------------------------------------------------------------------- */

/* Filled while an operation runs, read and cancelled from elsewhere. Units are the operation's. */
struct disk_progress {
	_Atomic uint64_t done, total;
	_Atomic bool cancel; /* the operation ends with -ECANCELED at the next safe point */
};

/*
 * disk_resize - a new size in bytes, a multiple of the logical sector. Shrinking below
 * disk_info.min_size needs @lose. -EINVAL: outside the format; -ENOTEMPTY: would lose data.
 */
int disk_resize(struct disk *d, uint64_t size, bool lose, struct disk_problem *problem);
/*
 * disk_compact - give back what the file holds without need: unmapped blocks, and the room between
 * and behind blocks. What stays between them becomes holes of the file, where its file system has
 * such; the file gets shorter when the last blocks may move there.
 */
enum disk_compact_flags {
	DISK_COMPACT_ZEROS = 1 << 0, /* read the blocks: those of zeros go too */
	DISK_COMPACT_MOVE = 1 << 1,  /* blocks move within the file */
	DISK_COMPACT_ALL = DISK_COMPACT_ZEROS | DISK_COMPACT_MOVE,
};
int disk_compact(struct disk *d, unsigned flags, struct disk_progress *progress,
	struct disk_problem *problem);
/* disk_set_parent - store another path of the same parent, @path; @force: whatever its identity. */
int disk_set_parent(struct disk *d, const char *path, bool force, struct disk_problem *problem);
int disk_set_id(struct disk *d, const GUID *id, struct disk_problem *problem);
int disk_set_physical_sector(struct disk *d, uint32_t bytes, struct disk_problem *problem);

/*
 * User metadata (VHDX; else -ENOTSUP). Items are at most 1 MiB, all together as the format allows.
 */
int disk_metadata_list(struct disk *d, GUID *items, unsigned room, unsigned *n);
/*
 * Copies at most *@length bytes; *@length becomes the item's. -ENOENT; -ERANGE: more room needed.
 */
int disk_metadata_get(struct disk *d, const GUID *item, void *data, uint32_t *length);
int disk_metadata_set(struct disk *d, const GUID *item, const void *data, uint32_t length);
int disk_metadata_delete(struct disk *d, const GUID *item);

/* ---- Checking -------------------------------------------------------------------------------- */

struct disk_check {
	bool repair; /* the disk was opened with DISK_OPEN_WRITE | DISK_OPEN_DAMAGED */
	/* Called for each finding, a line that names it; @repaired: it was mended. */
	void (*found)(void *ctx, bool repaired, const char *text);
	void *ctx;
	/* Results. */
	uint64_t errors, repaired;
	uint64_t leaked; /* bytes of the file that nothing refers to; not an error */
};

/* disk_check - examine every table of the image (not its parents). 0: examined. */
int disk_check(struct disk *d, struct disk_check *check, struct disk_progress *progress);

/* ---- Watching writes ------------------------------------------------------------------------- */

/*
 * Told of changes, for change tracking and mirrors: before() ahead of the first byte written or
 * zeroed, and after() behind the last, with the result. They are called in the thread that does the
 * request (a queue's or the engine's), many at once. before() may refuse with a negative errno,
 * which then is the request's result, and may block: with a watcher, writes go through the engine's
 * threads. resized() follows disk_resize().
 */
struct disk_watcher {
	int (*before)(struct disk_watcher *w, const struct disk_request *r);
	void (*after)(struct disk_watcher *w, const struct disk_request *r);
	void (*flushed)(struct disk_watcher *w);		/* a flush succeeded; may be NULL */
	void (*resized)(struct disk_watcher *w, uint64_t size); /* may be NULL */
	struct disk_watcher *next;				/* the disk's */
};

/* Requests that are under way when this is called may or may not be seen; later ones are. */
void disk_watch(struct disk *d, struct disk_watcher *w);
/* disk_unwatch - no callback runs any more when this returns. */
void disk_unwatch(struct disk *d, struct disk_watcher *w);

/*
 * disk_freeze - hold new requests back and wait until those under way are answered; disk_thaw()
 * lets them go on. For short steps; nests. Requests on queues are then answered by the engine's
 * threads meanwhile; never call it from a queue's done().
 */
void disk_freeze(struct disk *d);
void disk_thaw(struct disk *d);

#endif
