/*
 * vhdset.h - VHD sets: a small file (.vhds) that names the images of one disk, those of its
 * snapshots and that of its present state.
 *
 * The format is Partita's own, text with a checksum; Windows' file of that name is not documented
 * and is refused with a clear error. It is replaced as a whole, so that it is the old one or the
 * new one after any crash:
 *
 *	partita vhdset 1
 *	default IMAGE
 *	snapshot ID KIND IMAGE			KIND: fixed, or writeable
 *	...
 *	reference ID POINT			of a deleted snapshot: its point in the change
 *	...					tracking
 *	checksum CRC-32C-OF-THE-LINES-ABOVE
 *
 * IDs are GUIDs. Images are paths, relative to the folder of the set when they are under it; bytes
 * that are not printable, blanks and % are written as %XX.
 */
#ifndef PARTITA_DISK_VHDSET_H
#define PARTITA_DISK_VHDSET_H

#include "disk/disk.h"

/* What a set may have. */
#define VHDSET_SNAPSHOTS_MAX  1024
#define VHDSET_REFERENCES_MAX 1024
#define VHDSET_FILE_MAX	     (1u << 20) /* bytes */

struct vhdset;

struct vhdset_snapshot {
	GUID id;
	bool writeable; /* it may be written, and then is no longer what it was */
	char *image;	/* absolute path, or relative to the current folder as the set's is */
};

/* What is left of a snapshot so that one can ask what changed since. */
struct vhdset_reference {
	GUID id;
	char *point; /* a change tracking identifier (tracking.h) */
};

/* vhdset_probe - is the file a set of ours? */
bool vhdset_probe(const char *path);
/* vhdset_create - a new set with no snapshots, whose present state is @image. -EEXIST. */
int vhdset_create(const char *path, const char *image, struct disk_problem *problem);
/*
 * vhdset_open - read a set; with @write it is locked until it is closed (-EBUSY) and can be
 * changed. -EMEDIUMTYPE: not a set; -EUCLEAN: damaged.
 */
int vhdset_open(const char *path, bool write, struct vhdset **set, struct disk_problem *problem);
/* vhdset_close - NULL is allowed. */
void vhdset_close(struct vhdset *set);

/*
 * vhdset_image - of snapshot @id, or of the present state if that is zero; caller frees. -ENOENT.
 */
int vhdset_image(const struct vhdset *set, const GUID *id, char **image);
/* vhdset_default, vhdset_find, vhdset_at - what the set has, without copies; NULL: no such. */
const char *vhdset_default(const struct vhdset *set);
const struct vhdset_snapshot *vhdset_find(const struct vhdset *set, const GUID *id);
const struct vhdset_snapshot *vhdset_at(const struct vhdset *set, unsigned i);
const struct vhdset_reference *vhdset_reference(const struct vhdset *set, const GUID *id);
const struct vhdset_reference *vhdset_reference_at(const struct vhdset *set, unsigned i);

/*
 * Changes, in memory until vhdset_store(). Add: -EEXIST, -ENOSPC (as many as a set may have);
 * set_image, remove (a snapshot or a reference): -ENOENT. -EBADF: the set was opened to be read.
 */
int vhdset_add(struct vhdset *set, const GUID *id, bool writeable, const char *image);
int vhdset_add_reference(struct vhdset *set, const GUID *id, const char *point);
int vhdset_remove(struct vhdset *set, const GUID *id);
int vhdset_set_image(struct vhdset *set, const GUID *id, const char *image);
int vhdset_set_default(struct vhdset *set, const char *image);
/* vhdset_store - write it, durably. vhdset_revert - read it again, as it was stored last. */
int vhdset_store(struct vhdset *set);
int vhdset_revert(struct vhdset *set);

/* vhdset_new_image_path - a name for a new image beside the set: NAME_GUID.avhdx; caller frees. */
int vhdset_new_image_path(const char *set_path, char **image);

#endif
