/*
 * virtdisk_handle.h - what stands behind the handles of virtdisk.h: an open disk with its own
 * engine, what may be done with it, and the operations that run on it.
 *
 * A handle is the address of a struct vdisk with a mark that no descriptor and no address has, so
 * that a handle of another kind is told from it.
 *
 * Who uses the disk holds `use` for reading; who puts another disk in its place (a snapshot, the
 * end of a mirror, the end of a creation) holds it for writing, and is the one for whom the handle
 * is busy: an operation in its thread, or a function that claimed it. Whoever else would replace or
 * change the disk then gets ERROR_BUSY.
 */
#ifndef PARTITA_DISK_VIRTDISK_HANDLE_H
#define PARTITA_DISK_VIRTDISK_HANDLE_H

#include <pthread.h>

#include <virtdisk.h>

#include "disk/disk.h"

#define VDISK_ACCESS_WRITES                                                                        \
	(VIRTUAL_DISK_ACCESS_ATTACH_RW | VIRTUAL_DISK_ACCESS_CREATE | VIRTUAL_DISK_ACCESS_METAOPS)

/* The parents are opened for writing when an operation needs it. */
#define VDISK_DEPTH_AS_NEEDED UINT32_MAX

struct disk_attach;
struct disk_mirror;
struct scsi_unit;
struct vhdset;
struct vdisk;
struct vdisk_io;

/* How the disk was opened, so that it can be opened again after its chain has changed. */
struct vdisk_how {
	char *path; /* of the image or set, UTF-8 */
	enum disk_format format;
	unsigned flags;	   /* disk_open_flags */
	unsigned rw_depth; /* files from the leaf on that may be written; VDISK_DEPTH_AS_NEEDED */
};

/*
 * An operation that was given an OVERLAPPED, kept after its end for those who ask for its result.
 */
struct vdisk_operation {
	struct vdisk *disk;
	OVERLAPPED *overlapped;
	DWORD (*run)(struct vdisk_operation *o);
	void *arguments; /* from malloc(), the operation's */
	struct disk_progress progress;
	HANDLE event;
	DWORD result; /* ERROR_IO_PENDING while it runs */
	pthread_t thread;
	bool joinable;
	struct vdisk_operation *next;
};

struct vdisk {
	uint64_t magic;
	struct disk_engine *engine;
	pthread_rwlock_t use;
	struct disk *disk; /* NULL: not created yet, or only the file of a set was opened */
	struct vdisk_how how;
	uint32_t access;   /* VIRTUAL_DISK_ACCESS_... */
	bool creating;	   /* the disk is still to be made */
	bool custom_chain; /* parents are added by AddVirtualDiskParent */
	bool no_relative;  /* parents are found by absolute path alone */
	bool is_set, file_only;
	struct vhdset *set;
	GUID snapshot; /* of the set: which state is open; zero: the present one */
	struct disk_attach *attach;
	bool attached_read_only;
	bool attached_nowhere; /* held as if attached, for somebody else than this host */

	pthread_mutex_t lock; /* what follows */
	pthread_cond_t changed;
	struct vdisk_operation *operations;
	bool busy;		    /* one of them runs, or the disk is being replaced */
	struct scsi_unit *scsi;	    /* over disk, from the first command on */
	struct vdisk_io *io;	    /* virtdisk_io.c; from the first ReadFile on */
	struct disk_mirror *mirror; /* while a mirror or fork runs */
	enum { VDISK_MIRROR_GOES_ON, VDISK_MIRROR_BREAK, VDISK_MIRROR_FORK } mirror_end;
	DWORD mirror_result; /* of the end that was asked for */
};

/* vdisk_create - an empty one with an engine. NULL: memory or descriptors are short. */
struct vdisk *vdisk_create(void);
/* vdisk_destroy - end its operations, detach, close. The disk's error, as Win32. */
DWORD vdisk_destroy(struct vdisk *v);
HANDLE vdisk_handle(struct vdisk *v);
/* vdisk_from - NULL: @h is no virtual disk. */
struct vdisk *vdisk_from(HANDLE h);

/*
 * vdisk_enter - begin to use the disk of @h: 0 and *@v, which vdisk_leave() must follow, or
 * ERROR_INVALID_PARAMETER (no virtual disk), ERROR_ACCESS_DENIED (none of @access was given; 0 asks
 * for nothing), ERROR_VHD_INVALID_STATE (there is no disk, yet).
 */
DWORD vdisk_enter(HANDLE h, uint32_t access, struct vdisk **v);
void vdisk_leave(struct vdisk *v);
/*
 * vdisk_claim - the disk for itself, to be replaced or changed: as vdisk_enter(), but also without
 * a disk, and ERROR_BUSY while an operation runs, ERROR_VHD_INVALID_STATE when it is attached and
 * @detached. vdisk_unclaim() must follow.
 */
DWORD vdisk_claim(HANDLE h, uint32_t access, bool detached, struct vdisk **v);
void vdisk_unclaim(struct vdisk *v);
/* vdisk_is_attached - by this handle or by any other process; _here: by this handle. */
bool vdisk_is_attached(struct vdisk *v);
bool vdisk_is_attached_here(struct vdisk *v);

/*
 * vdisk_for_operation - the disk of @h with METAOPS: ERROR_INVALID_PARAMETER, ERROR_ACCESS_DENIED.
 */
DWORD vdisk_for_operation(HANDLE h, struct vdisk **v);

/*
 * vdisk_open - open v->how as v->disk (and v->set); v->use is held for writing or not needed yet.
 */
DWORD vdisk_open(struct vdisk *v);
/* vdisk_close_disk - close v->disk, with what stands on it; v->use is held for writing. */
DWORD vdisk_close_disk(struct vdisk *v);
/* vdisk_reopen - close the disk and open it with other disk_open_flags; for whom it is busy. */
DWORD vdisk_reopen(struct vdisk *v, unsigned flags);

/*
 * vdisk_start - run(operation) in this thread when @overlapped is NULL, in one of its own
 * otherwise (ERROR_IO_PENDING then). @arguments is from malloc() and becomes the operation's, also
 * on failure. ERROR_BUSY: another one runs; ERROR_VHD_INVALID_STATE: there is no disk. run()
 * returns a Win32 error; it has not entered.
 */
DWORD vdisk_start(struct vdisk *v, OVERLAPPED *overlapped, DWORD (*run)(struct vdisk_operation *o),
	void *arguments);

/* vdisk_begin, vdisk_complete - what the caller sees of a start and, under v->lock, of an end. */
void vdisk_begin(OVERLAPPED *overlapped, HANDLE event);
void vdisk_complete(OVERLAPPED *overlapped, HANDLE event, DWORD code, uint64_t bytes);
/* vdisk_result - how what was started with @overlapped ended; ERROR_IO_PENDING: not yet, and @wait
 * was not set. */
DWORD vdisk_result(struct vdisk *v, const OVERLAPPED *overlapped, bool wait);
/* vdisk_cancel - the operation with @overlapped, NULL: any. False: none runs. */
bool vdisk_cancel(struct vdisk *v, const OVERLAPPED *overlapped);
/* vdisk_end_operations - cancel what runs, wait for it, forget all. */
void vdisk_end_operations(struct vdisk *v);

/* vdisk_end_io (virtdisk_io.c) - wait for what ReadFile and WriteFile started, and end their
 * thread. */
void vdisk_end_io(struct vdisk *v);

/* vdisk_path - UTF-16 to UTF-8; the caller frees. NULL: @path is NULL or empty, or no memory. */
char *vdisk_path(PCWSTR path);
/*
 * vdisk_put_string - @s in UTF-16 with its terminator to @to, which has room for @room bytes;
 * *@used is what it takes. ERROR_INSUFFICIENT_BUFFER.
 */
DWORD vdisk_put_string(const char *s, PWSTR to, size_t room, size_t *used);
/*
 * vdisk_format - the format that a storage type names; DISK_FORMAT_ANY for an unknown device.
 * *@set: it is a VHD set. ERROR_VIRTDISK_PROVIDER_NOT_FOUND.
 */
DWORD vdisk_format(const VIRTUAL_STORAGE_TYPE *type, enum disk_format *format, bool *set);
/* vdisk_type - the storage type of a format. */
VIRTUAL_STORAGE_TYPE vdisk_type(enum disk_format format, bool set);

/* vdisk_detach - end the attachment of @v, if any. */
DWORD vdisk_detach(struct vdisk *v);

#endif
