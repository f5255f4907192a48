/*
 * vhdx_overlay.h - what a replayed log changes in a file that is not written, kept in memory.
 *
 * Changes are added in the log's order, later ones on top; then the overlay is finished and only
 * read, from any thread. It takes as much memory as the replayed entries have bytes.
 */
#ifndef PARTITA_DISK_VHDX_OVERLAY_H
#define PARTITA_DISK_VHDX_OVERLAY_H

#include "disk/vhdx.h"

struct vhdx_overlay *vhdx_overlay_new(void);
/* A log sector's worth of bytes at @offset of the file, a multiple of that; zeros for @length. */
int vhdx_overlay_add(struct vhdx_overlay *o, uint64_t offset, const void *data);
int vhdx_overlay_add_zeros(struct vhdx_overlay *o, uint64_t offset, uint64_t length);
int vhdx_overlay_finish(struct vhdx_overlay *o);

#endif
