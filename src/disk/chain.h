/*
 * chain.h - opening an image alone, and the chain of parents behind it. Of disk.c and chain.c.
 */
#ifndef PARTITA_DISK_CHAIN_H
#define PARTITA_DISK_CHAIN_H

#include "disk/format.h"

/*
 * disk_open_image - the image at @path without its parents. @top (NULL: none) is the disk in whose
 * chain it shall be: -ELOOP when it is there already.
 */
int disk_open_image(struct disk_engine *e, const char *path,
	const struct disk_open_options *options, const struct disk *top, struct disk **disk,
	struct disk_problem *problem);
/* disk_open_chain - find, open and verify the parents of @d that are not open yet; they are its. */
int disk_open_chain(
	struct disk *d, const struct disk_open_options *options, struct disk_problem *problem);
/* disk_parent_options - how the parents of a disk that is opened with @options are opened. */
struct disk_open_options disk_parent_options(
	const struct disk *child, const struct disk_open_options *options);

#endif
