/*
 * chain_add.c - chains that are put together by hand: a parent for an image that was opened without
 * its parents.
 */
#include <errno.h>

#include "disk/chain.h"

struct disk *disk_chain_end(struct disk *d)
{
	while (d->parent)
		d = d->parent;
	return d->fixed.kind == DISK_DIFFERENCING ? d : NULL;
}

int disk_add_parent(struct disk *d, const char *path, struct disk_problem *problem)
{
	struct disk_open_options options = {.flags = d->flags};
	struct disk *child = disk_chain_end(d), *parent = NULL;
	int err;

	if (!child)
		return -EALREADY;
	options = disk_parent_options(child, &options);
	err = disk_open_image(d->engine, path, &options, d, &parent, problem);
	if (!err) {
		err = child->ops->parent_fits(child, parent, problem);
		if (err)
			disk_close(parent);
	}
	if (err)
		return err;
	disk_freeze(d);
	child->parent = parent;
	disk_thaw(d);
	return 0;
}
