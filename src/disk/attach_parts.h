/*
 * attach_parts.h - what an attachment (attach.c) is made of: the file that FUSE serves, the loop
 * device on it, and the directory entry that tells others of both.
 */
#ifndef PARTITA_DISK_ATTACH_PARTS_H
#define PARTITA_DISK_ATTACH_PARTS_H

#include "disk/attach.h"

/* ---- The file (attach_fuse.c) ---------------------------------------------------------------- */

struct attach_fuse;

/*
 * attach_fuse_start - make @path, an empty file, have the contents of @d: mount there, and answer
 * in threads of its own. Of @options the part and read_only count. Returns 0 or a negative errno,
 * noted.
 */
int attach_fuse_start(struct disk_engine *e, struct disk *d, const char *path,
	const struct disk_attach_options *options, struct attach_fuse **fuse,
	struct disk_problem *problem);
/* attach_fuse_fd - becomes readable when somebody else unmounted the file. */
int attach_fuse_fd(const struct attach_fuse *f);
/* attach_fuse_wait_closed - wait until nobody has the file open, @ms at most; then -EBUSY. */
int attach_fuse_wait_closed(struct attach_fuse *f, unsigned others, unsigned ms);
/* attach_fuse_pause - answer what was asked; what comes then waits in the kernel. */
void attach_fuse_pause(struct attach_fuse *f);
/* attach_fuse_resume - go on, with @d. 0 or a negative errno: it is still paused. */
int attach_fuse_resume(struct attach_fuse *f, struct disk *d);
/*
 * attach_fuse_stop - answer what was asked, flush, unmount, free. Returns what the flush did. NULL
 * is allowed.
 */
int attach_fuse_stop(struct attach_fuse *f);
/* attach_fuse_unmount - what is left of a killed process's mount, from outside. */
void attach_fuse_unmount(const char *path);

/* ---- The block device (attach_loop.c) -------------------------------------------------------- */

/*
 * attach_loop_create - a loop device on @path with sectors of @sector bytes. *@device is its path,
 * the caller's. Returns 0 or a negative errno, noted.
 */
int attach_loop_create(const char *path, uint32_t sector, const struct disk_attach_options *options,
	char **device, struct disk_problem *problem);
/*
 * attach_loop_remove - flush the device, give it up, wait until it is gone. -EBUSY, noted: somebody
 * uses it, and it stays; who does so unseen, as the rest of an unmounted file system may, gets
 * @wait_ms to end that. Any other error: it is gone, but what was written to it last is lost.
 * Where @device is no more a loop device on @path, there is nothing to do.
 */
int attach_loop_remove(
	const char *device, const char *path, unsigned wait_ms, struct disk_problem *problem);
/* attach_loop_resized - have the device take on the file's size. */
int attach_loop_resized(const char *device);
/*
 * attach_loop_of - the loop device ("/dev/loop3") that @path is, is a partition of, or lies on the
 * file system of. The caller frees *@device. -ENOENT: none.
 */
int attach_loop_of(const char *path, char **device);

/* ---- The entry: one directory for each attached disk (attach_entry.c) ------------------------ */

/*
 * Links have what is known, whatever bytes a path is made of:
 *	image, parent-0, parent-1 ...	paths of the files
 *	device				the block device, if there is one
 *	access				read-only or read-write
 * beside them are the file (disk) and the socket of who serves it (control).
 */

/*
 * attach_entry_create - an entry for @d. Its directory goes to *@path, the caller's. *@control is
 * the socket, listening. -EALREADY, noted: the image is attached.
 */
int attach_entry_create(
	struct disk *d, bool read_only, char **path, int *control, struct disk_problem *problem);
/* attach_entry_note - a link of this name to @target. */
int attach_entry_note(const char *path, const char *name, const char *target);
/* attach_entry_switch - the entry is one for the image @d from now on. */
int attach_entry_switch(const char *path, struct disk *d);
/* attach_entry_remove - what attach_entry_create() and attach_entry_note() made. */
void attach_entry_remove(const char *path);
/* attach_entry_file - the path of something in the entry; the caller's. NULL: no memory. */
char *attach_entry_file(const char *path, const char *name);
/* attach_entry_connect - the socket of who serves it, or a negative errno: nobody does. */
int attach_entry_connect(const char *path);

#endif
