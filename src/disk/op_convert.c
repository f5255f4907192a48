/*
 * op_convert.c - a new image with the contents of another disk: see operations.h.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "disk/op_copy.h"
#include "disk/partial.h"
#include "disk/operations.h"
#include "disk/tracking.h"

#define METADATA_ITEMS_MAX 1024
#define METADATA_BYTES_MAX (1u << 20)
#define RANGES		   256 /* of what changed, asked for at once */

struct converting {
	struct disk_engine *engine;
	struct disk *source;
	const struct disk_convert *convert;
	struct disk_create target; /* with what the source decides filled in */
	struct disk_progress *progress;
	struct disk_problem *problem;
	unsigned depth; /* parents of the source that count */
	/* What changed: the ranges that are known, the next of them, how far was looked. */
	struct tracking_range changed[RANGES];
	uint32_t n_changed, next;
	uint64_t looked;
};

static int copy_item(struct disk *from, struct disk *to, const GUID *item, void *buffer)
{
	uint32_t length = METADATA_BYTES_MAX;
	int err = disk_metadata_get(from, item, buffer, &length);

	return err ? err : disk_metadata_set(to, item, buffer, length);
}

/* User metadata goes along where both formats have it. */
static int copy_metadata(struct disk *from, struct disk *to)
{
	GUID *items = malloc(METADATA_ITEMS_MAX * sizeof(*items));
	void *buffer = malloc(METADATA_BYTES_MAX);
	struct disk_info info;
	unsigned n = 0;
	int err = items && buffer ? 0 : -ENOMEM;

	disk_info(to, &info);
	if (!err)
		err = disk_metadata_list(from, items, METADATA_ITEMS_MAX, &n);
	if (err == -ENOTSUP || info.format != DISK_FORMAT_VHDX)
		err = n = 0;
	for (unsigned i = 0; i < n && !err; i++)
		err = copy_item(from, to, &items[i], buffer);
	free(items);
	free(buffer);
	return err;
}

/* Can the kernel copy from the source's file? Not from one file system to another. */
static bool kernel_copies(struct converting *c, const char *path)
{
	struct stat from, to;

	return stat(disk_path(c->source), &from) == 0 && S_ISREG(from.st_mode) &&
	       stat(path, &to) == 0 && from.st_dev == to.st_dev;
}

/*
 * Data that goes through our memory is written past the page cache, where the file system lets
 * that: once, in large pieces, to be durable soon; it would only push out what others use.
 */
static int open_target(struct converting *c, const char *path, struct disk **target)
{
	struct disk_open_options options = {
		.flags = DISK_OPEN_WRITE | DISK_OPEN_UNPUBLISHED,
		.format = c->target.format,
	};
	struct disk_problem unused = {0};
	int err;

	if (!kernel_copies(c, path)) {
		options.flags |= DISK_OPEN_DIRECT;
		err = disk_open(c->engine, path, &options, target, &unused);
		if (err != -EINVAL)
			return err;
		options.flags &= ~DISK_OPEN_DIRECT;
	}
	return disk_open(c->engine, path, &options, target, c->problem);
}

/* The next range that changed, for disk_copy.more. */
static int next_changed(void *ctx, uint64_t *begin, uint64_t *end)
{
	struct converting *c = ctx;
	const uint64_t size = disk_size(c->source);

	while (c->next == c->n_changed && c->looked < size) {
		const char *image = disk_path(c->source), *since = c->convert->since;
		uint64_t processed = 0;
		int err;

		c->next = 0;
		c->n_changed = RANGES;
		err = tracking_query(image, since, c->looked, size - c->looked, c->changed,
			&c->n_changed, &processed);
		if (err)
			return tracking_problem(c->problem, image, since, err);
		c->looked += processed;
	}
	if (c->next == c->n_changed)
		return 0;
	*begin = c->changed[c->next].offset;
	*end = *begin + c->changed[c->next++].length;
	return 1;
}

/* Fill the image at @path, which was just made. */
static int fill(struct converting *c, const char *path)
{
	struct disk_copy copy = {
		.from = c->source,
		.end = c->convert->since ? 0 : disk_size(c->source),
		.depth = c->depth,
		.parallel = c->convert->parallel,
		.fresh = c->target.kind != DISK_DIFFERENCING,
		.find_zeros = !c->convert->keep_zeros,
		.more = c->convert->since ? next_changed : NULL,
		.ctx = c,
	};
	int closed, err = open_target(c, path, &copy.to);

	if (err)
		return err;
	if (c->progress)
		c->progress->total = disk_size(c->source);
	err = disk_copy_run(c->engine, &copy, c->progress);
	if (!err)
		err = copy_metadata(c->source, copy.to);
	closed = disk_close(copy.to);
	return err ? err : closed;
}

static bool is_file(const char *path, const struct stat *file)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_dev == file->st_dev && st.st_ino == file->st_ino;
}

/* A parent of the source can be replaced as little as it can be written. */
static int check_path(struct converting *c, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return 0;
	for (struct disk *d = disk_parent(c->source); d; d = disk_parent(d))
		if (is_file(disk_path(d), &st))
			return disk_problem_say(c->problem, path, -EBUSY,
				"is a parent of %s; name another file", disk_path(c->source));
	return 0;
}

/* How many parents count: with a parent for the target, or a limit, fewer than all. */
static int find_depth(struct converting *c)
{
	const char *above = c->convert->above;
	struct disk *d = disk_parent(c->source);
	struct stat st;

	c->depth = c->target.kind == DISK_DIFFERENCING && !c->convert->since ? 0 : UINT_MAX;
	if (!above)
		return 0;
	if (stat(above, &st) < 0)
		return disk_problem_say(c->problem, above, -errno, "%s", strerror(errno));
	c->depth = 0;
	for (; d && !is_file(disk_path(d), &st); d = disk_parent(d))
		c->depth++;
	return d ? 0
		 : disk_problem_say(c->problem, above, -EINVAL, "is no parent of %s",
			   disk_path(c->source));
}

/* What is not said is as in the source, as far as the format can say it. */
static void complete(struct converting *c)
{
	struct disk_create *t = &c->target;
	struct disk_info info;

	disk_info(c->source, &info);
	if (!t->size && t->kind != DISK_DIFFERENCING)
		t->size = info.size;
	if (t->format == DISK_FORMAT_RAW)
		return;
	if (!t->logical_sector)
		t->logical_sector = info.logical_sector;
	if (!t->physical_sector && t->format == DISK_FORMAT_VHDX &&
		info.physical_sector >= t->logical_sector)
		t->physical_sector = info.physical_sector;
}

int disk_convert(struct disk_engine *e, struct disk *source, const char *path,
	const struct disk_convert *convert, struct disk_progress *progress,
	struct disk_problem *problem)
{
	struct converting c = {
		.engine = e,
		.source = source,
		.convert = convert,
		.target = convert->target,
		.progress = progress,
		.problem = problem,
	};
	char *partial;
	int err;

	complete(&c);
	err = check_path(&c, path);
	if (!err)
		err = find_depth(&c);
	if (!err)
		err = disk_create_partial(e, path, &c.target, NULL, problem, &partial);
	if (err)
		return err;
	err = fill(&c, partial);
	if (!err)
		return disk_publish(partial, path, c.target.overwrite);
	disk_discard(partial);
	return err;
}
