/*
 * format.h - the contract between the core of the room (disk.c, request.c, chain.c) and the formats
 * (raw.c, vhd_*.c, vhdx_*.c), and nobody else's business.
 *
 * The core splits a request at the extents the format names, moves the data itself, asynchronously,
 * and follows the chain into parents. A format keeps the tables: where a byte of the disk lies in
 * the file, and how that comes to be durable.
 *
 * Reading:   map() says where a run of bytes is.
 * Writing:   place() says where a run of bytes shall be written, making room if it must; the core
 *            writes; settle() makes it visible. An extent that needs no settle() says so: it was
 *            allocated before, and writing in place is all there is to do. Where room would have
 *            to be made it first looks at the data: zeros that read as zeros already need none.
 * Flushing:  flush() makes everything settled before it durable: first the data, then the tables
 * that refer to it. A format may hold table changes in memory until then (or until its cache needs
 * the room).
 *
 * With @nowait a function must neither block nor do file I/O; where it would have to, it returns
 * -EAGAIN and the core calls again without, on one of the engine's threads. Allocated blocks whose
 * tables are in memory must be served with @nowait: that is the path whose speed counts.
 *
 * What keeps places valid: between map() or place() and the end of the file operation a request is
 * "inside" (gate.h). A format may use the file's room that it freed for
 * something else only after (1) the tables that freed it are durable and (2)
 * disk_synchronize() was called after they changed. flush(), unmap() and zero() run outside, so
 * they may call it; place() may not.
 *
 * All functions may be called from several threads at once unless noted; they lock what they need,
 * and hold no lock during file I/O that map() and place() with @nowait would wait for (they try and
 * return -EAGAIN).
 */
#ifndef PARTITA_DISK_FORMAT_H
#define PARTITA_DISK_FORMAT_H

#include "disk/disk.h"
#include "disk/file.h"
#include "disk/gate.h"
#include "disk/iov.h"

enum disk_place {
	DISK_HERE,	/* in this file at file_offset */
	DISK_NOWHERE,	/* nothing holds it: zeros */
	DISK_IN_PARENT, /* whatever the parent has (zeros where it ends before) */
};

struct disk_extent {
	enum disk_place place;
	uint64_t length;      /* bytes, at least one logical sector */
	uint64_t file_offset; /* DISK_HERE */
	/* From place(): */
	bool settle;	/* settle() must follow */
	uint64_t token; /* the format's own, for settle() */
};

struct disk_format_ops {
	enum disk_format format;
	const char *name; /* "VHDX" */

	/*
	 * Does the file begin (or end) as this format? true also for damaged ones that open() then
	 * explains. @head: the first 64 KiB or what there is; @tail: the last 512 bytes.
	 */
	bool (*probe)(const uint8_t *head, size_t n_head, const uint8_t *tail, uint64_t file_size);
	/*
	 * open - @file is open and becomes the disk's on success. Returns in *@disk what
	 * disk_init() began and the format filled: info, ops. Parents are not its business.
	 */
	int (*open)(struct disk_engine *e, struct disk_file *file,
		const struct disk_open_options *options, struct disk **disk,
		struct disk_problem *problem);
	/* close - write the tables, mark the file clean, free. The core flushed before. */
	int (*close)(struct disk *d);
	/*
	 * create - fill a new empty file, which is flushed afterwards. @parent: open, for a
	 * differencing disk.
	 */
	int (*create)(struct disk_file *file, const struct disk_create *create, struct disk *parent,
		struct disk_problem *problem);

	int (*map)(struct disk *d, uint64_t offset, uint64_t length, bool nowait,
		struct disk_extent *extent);
	/*
	 * place - @data: what is about to be written. Zeros to what has no room, and reads as zeros
	 * by the rules of the format itself, get none: the extent is DISK_NOWHERE, and writing it
	 * is done; all that a write leaves beside its data (a new identifier of the contents) was
	 * left. NULL: what it will be is not known. Every other extent is DISK_HERE.
	 */
	int (*place)(struct disk *d, uint64_t offset, uint64_t length, const struct disk_iov *data,
		bool nowait, struct disk_extent *extent);
	/* settle - the data of @extent was written (@err 0) or not. */
	int (*settle)(struct disk *d, uint64_t offset, const struct disk_extent *extent, int err);
	/* flush - see above. NULL: flushing the file is enough. */
	int (*flush)(struct disk *d);
	/*
	 * zero - the range reads as zeros; @unmap: its space may go. May do only what it can
	 * without writing data: returns in *@done how many bytes from @offset it did (0 possible)
	 * and the core writes zeros for the next sectors, up to a block's end, through place().
	 */
	int (*zero)(struct disk *d, uint64_t offset, uint64_t length, bool unmap, uint64_t *done);

	/* Called frozen (disk_freeze()). NULL: -ENOTSUP. */
	int (*resize)(struct disk *d, uint64_t size, bool lose, struct disk_problem *problem);
	int (*compact)(struct disk *d, unsigned flags, struct disk_progress *progress,
		struct disk_problem *problem);
	int (*set_parent)(struct disk *d, const char *path, struct disk *parent,
		struct disk_problem *problem);
	int (*set_id)(struct disk *d, const GUID *id, struct disk_problem *problem);
	int (*set_physical_sector)(struct disk *d, uint32_t bytes, struct disk_problem *problem);
	int (*check)(struct disk *d, struct disk_check *check, struct disk_progress *progress);
	/* Any time. */
	int (*locator)(struct disk *d, enum disk_locator which, char **path);
	/*
	 * parent_fits - is @parent the disk that @d was made from? -ESTALE with the problem noted
	 * when not.
	 */
	int (*parent_fits)(struct disk *d, struct disk *parent, struct disk_problem *problem);
	void (*info)(struct disk *d, struct disk_info *info); /* what changes: min_size ... */
	int (*metadata_list)(struct disk *d, GUID *items, unsigned room, unsigned *n);
	int (*metadata_get)(struct disk *d, const GUID *item, void *data, uint32_t *length);
	int (*metadata_set)(struct disk *d, const GUID *item, const void *data, uint32_t length);
	int (*metadata_delete)(struct disk *d, const GUID *item);
};

/*
 * The part of every disk that the core and the formats share; a format embeds it as first member.
 */
struct disk {
	const struct disk_format_ops *ops;
	struct disk_engine *engine;
	struct disk_file file;
	struct disk *parent;
	struct disk_info fixed; /* what was known at opening; size follows disk_resize() */
	_Atomic uint64_t size;	/* bytes */
	unsigned flags;		/* disk_open_flags */
	size_t cache;		/* bytes */

	/* The core's own. */
	struct disk_gate gate;
	_Atomic(struct disk_watcher *) watchers; /* newest first */
	struct tracking *tracking;		 /* tracking.h; NULL: not tracked */
};

/* disk_init - for a format's open(): the shared part, with @file moved into it. */
void disk_init(struct disk *d, const struct disk_format_ops *ops, struct disk_engine *e,
	const struct disk_file *file, const struct disk_open_options *options);
/* disk_fini - for a format's close(): closes the file, frees what disk_init() made (not @d). */
void disk_fini(struct disk *d);

/* disk_synchronize - wait until every request that was inside when this was called is out. */
void disk_synchronize(struct disk *d);

/*
 * disk_problem_note - note the first problem: its Win32 code, and a line made of the file's name
 * and @format. Returns @err, so that a format can say
 *	return disk_problem_note(p, &d->file, -EUCLEAN, ERROR_FILE_CORRUPT, "...");
 * @p may be NULL.
 */
int disk_problem_note(struct disk_problem *p, const struct disk_file *f, int err, uint32_t win32,
	const char *format, ...) __attribute__((format(printf, 5, 6)));

extern const struct disk_format_ops disk_raw, disk_vhd, disk_vhdx;

#endif
