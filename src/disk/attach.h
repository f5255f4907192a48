/*
 * attach.h - a disk's contents as a block device of this host.
 *
 * An attached disk is one file, which this process serves through FUSE, with a loop device on it;
 * or without the privilege to make a loop device, the file alone. It stays as long as its process
 * serves it, until disk_attach_end() there or disk_attached_detach() anywhere.
 *
 * What it promises:
 * - fsync(2) on the device or the file is DISK_FLUSH, and nothing is held back in between: killing
 *   the process that serves loses nothing that was flushed.
 * - Detaching flushes, and is refused while somebody uses the device.
 * - What is attached can be seen by every process of the same user, also what a killed process left
 *   behind, which detaching cleans up.
 *
 * A small directory says what is attached (attach_state.c): /run/partita/disks for root, and
 * $XDG_RUNTIME_DIR/partita/disks for others.
 */
#ifndef PARTITA_DISK_ATTACH_H
#define PARTITA_DISK_ATTACH_H

#include <sys/types.h>

#include "disk/disk.h"

/* ---- Serving, in this process ---------------------------------------------------------------- */

struct disk_attach;

struct disk_attach_options {
	bool read_only;	    /* also when the disk could be written */
	bool no_device;	    /* the file alone, without trying for a block device */
	bool need_device;   /* fail when there can be no block device */
	bool no_partitions; /* the kernel shall not look for partitions */
	/* Only this part of the disk, in bytes, whole sectors; length 0: up to its end. */
	uint64_t offset, length;
	/*
	 * Called when another process had this disk detached, after the last request was answered
	 * and flushed, in a thread of the attachment. The other process waits for it and is told
	 * what it returns, 0 or a negative errno. NULL is allowed.
	 */
	int (*ended)(void *ctx);
	void *ctx;
};

/*
 * disk_attach_start - serve @d, which must stay open until the attachment ended. Starts threads,
 * which block all signals. @options NULL: defaults. 0 with the problem noted: there can be no block
 * device, and why. Errors: -EINVAL: the part is not inside the disk; -EALREADY: the image is
 * attached; -ENOTSUP: no FUSE here; -EPERM, -EACCES: FUSE, or with need_device the loop device, is
 * not for this user.
 */
int disk_attach_start(struct disk_engine *e, struct disk *d,
	const struct disk_attach_options *options, struct disk_attach **attach,
	struct disk_problem *problem);
/*
 * disk_attach_end - detach: flush, give up the device, unmount the file. -EBUSY: somebody uses it,
 * and it stays attached. Any other error: it is detached, but what could not be written is lost.
 * 0 when it had ended already.
 */
int disk_attach_end(struct disk_attach *a, struct disk_problem *problem);
/* disk_attach_fd - becomes readable, and stays so, when the attachment has ended. */
int disk_attach_fd(const struct disk_attach *a);
bool disk_attach_ended(const struct disk_attach *a);
/*
 * disk_attach_free - after the end; before it, who uses the device is cut off as if this process
 * had been killed. Not from ended(). NULL is allowed.
 */
void disk_attach_free(struct disk_attach *a);

/* disk_attach_device - "/dev/loop3"; NULL: the file is all there is. As long as @a. */
const char *disk_attach_device(const struct disk_attach *a);
/* disk_attach_file - the path of the file that has the disk's contents. As long as @a. */
const char *disk_attach_file(const struct disk_attach *a);
/* disk_attach_resized - the disk has another size: tell the device. 0 or a negative errno. */
int disk_attach_resized(struct disk_attach *a);

/*
 * disk_attach_pause - answer what was asked and nothing more: who uses the device waits.
 * disk_attach_resume() must follow, in the same thread. -ESHUTDOWN: it has ended, and nothing must
 * follow.
 */
int disk_attach_pause(struct disk_attach *a);
/*
 * disk_attach_resume - go on with @d, which has the same contents and takes the place of the disk
 * from now on; sectors are not larger than before. An error ends the attachment as if this process
 * had been killed.
 */
int disk_attach_resume(struct disk_attach *a, struct disk *d);

/*
 * disk_attach_spawn - have @image attached by a process of its own, the command partita disk attach
 * (found in PATH, or what PARTITA_COMMAND names), which stays after this one. @image must not be
 * open for writing here. Find it with disk_attached_find() then. Errors: the problem has what the
 * command said; -ENOENT: there is no such command.
 */
int disk_attach_spawn(
	const char *image, const struct disk_attach_options *options, struct disk_problem *problem);

/* ---- What is attached, by whichever process -------------------------------------------------- */

struct disk_attached {
	char *image;	/* absolute path of the image */
	char *device;	/* "/dev/loop3"; NULL: none */
	char *file;	/* the file that has the disk's contents */
	char **parents; /* absolute paths, the nearest first */
	unsigned n_parents;
	bool read_only;
	pid_t pid; /* who serves it; 0: that process is gone */
};

/*
 * disk_attached_list - this user's attached disks. What is left of a killed process is cleaned up
 * where nobody uses it any more; the rest is listed without a pid. Free with disk_attached_free().
 */
int disk_attached_list(struct disk_attached **list, unsigned *n);
void disk_attached_free(struct disk_attached *list, unsigned n);
/*
 * disk_attached_find - the attached disk that @path belongs to: its image, its block device or a
 * partition of that, its file, or any path on a file system that is mounted from the device. Free
 * with disk_attached_free(found, 1). -ENOENT: none.
 */
int disk_attached_find(const char *path, struct disk_attached **found);
/*
 * disk_attached_detach - have the process that serves it detach it, and wait until the image is
 * closed there; clean up where that process is gone. Errors as for disk_attach_end().
 */
int disk_attached_detach(const struct disk_attached *attached, struct disk_problem *problem);

#endif
