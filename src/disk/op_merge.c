/*
 * op_merge.c - merge images of a chain into one below them, in place: see operations.h.
 *
 * Why the chain reads as before at any moment: what is written to the parent is what the images
 * above it hold, and those answer for it until they are gone. A parent that is shorter grows first
 * (what is beyond a parent's end reads as zeros either way); one that is longer shrinks last, when
 * everything in it is durable.
 */
#include <errno.h>

#include "disk/op_copy.h"
#include "disk/operations.h"

static struct disk *image_of(struct disk *leaf, unsigned depth)
{
	for (; leaf && depth; depth--)
		leaf = disk_parent(leaf);
	return leaf;
}

static int check_images(struct disk *from, struct disk *into, struct disk_problem *problem)
{
	struct disk_info child, parent;

	disk_info(from, &child);
	disk_info(into, &parent);
	if (!parent.writable)
		return disk_problem_say(problem, disk_path(into), -EROFS,
			"is open for reading only; a merge writes to it");
	if (child.logical_sector != parent.logical_sector)
		return disk_problem_say(problem, disk_path(into), -EINVAL,
			"has sectors of another size than %s", disk_path(from));
	return 0;
}

static int check_range(struct disk *from, const struct disk_merge *m, struct disk_problem *problem)
{
	const uint64_t size = disk_size(from);
	struct disk_info info;

	disk_info(from, &info);
	if (m->offset > size || m->length > size - m->offset || m->offset % info.logical_sector ||
		m->length % info.logical_sector)
		return disk_problem_say(problem, disk_path(from), -EINVAL,
			"the range is not one of whole sectors of the disk");
	return 0;
}

/* The parent has the child's size at last, when all of the child is in it. */
static int shrink(struct disk *into, uint64_t size, struct disk_problem *problem)
{
	int err = disk_flush(into);

	return err || disk_size(into) == size ? err : disk_resize(into, size, true, problem);
}

int disk_merge(struct disk_engine *e, struct disk *leaf, const struct disk_merge *m,
	struct disk_progress *progress, struct disk_problem *problem)
{
	const unsigned below = m->into ? m->into : m->from + 1;
	struct disk *from = image_of(leaf, m->from);
	struct disk *into = image_of(leaf, below);
	const bool whole = !m->offset && !m->length;
	struct disk_copy copy = {
		.from = from,
		.to = into,
		.begin = m->offset,
		.depth = below - m->from - 1,
		.parallel = m->parallel,
	};
	int err;

	if (below <= m->from || !into)
		return disk_problem_say(
			problem, disk_path(leaf), -EINVAL, "there is no such parent to merge into");
	err = check_images(from, into, problem);
	if (!err)
		err = check_range(from, m, problem);
	if (err)
		return err;
	copy.end = m->length ? m->offset + m->length : disk_size(from);
	if (disk_size(into) < copy.end)
		err = disk_resize(into, disk_size(from), false, problem);
	if (err)
		return err;
	if (progress)
		progress->total = copy.end - copy.begin;
	err = disk_copy_run(e, &copy, progress);
	if (!err)
		err = whole ? shrink(into, disk_size(from), problem) : disk_flush(into);
	return err;
}
