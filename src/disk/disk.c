/*
 * disk.c - opening, creating and closing images, and the operations that a format does by itself.
 */
#include "disk/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/guid.h"
#include "disk/chain.h"
#include "disk/partial.h"
#include "disk/request.h"
#include "disk/tracking.h"
#include "winerror.h"

#define HEAD (64u << 10)
#define TAIL 512u

/* In the order in which they are asked; raw takes everything. */
static const struct disk_format_ops *const formats[] = {
	&disk_vhdx,
	&disk_vhd,
	&disk_raw,
};

/* ---- The shared part ------------------------------------------------------------------------- */

void disk_init(struct disk *d, const struct disk_format_ops *ops, struct disk_engine *e,
	const struct disk_file *file, const struct disk_open_options *options)
{
	d->ops = ops;
	d->engine = e;
	d->file = *file;
	d->flags = options->flags;
	d->cache = options->cache;
	disk_gate_init(&d->gate);
}

void disk_fini(struct disk *d)
{
	disk_gate_fini(&d->gate);
	disk_file_close(&d->file);
}

/* ---- Opening and closing --------------------------------------------------------------------- */

static const struct disk_format_ops *find_format(enum disk_format format)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (formats[i]->format == format)
			return formats[i];
	return NULL;
}

static const struct disk_format_ops *probe(
	const uint8_t *head, const uint8_t *tail, uint64_t file_size)
{
	size_t i = 0;

	while (!formats[i]->probe(head, file_size < HEAD ? file_size : HEAD, tail, file_size))
		i++;
	return formats[i];
}

/* What @file is, or whether it can be what @wanted says. */
static int choose(struct disk_file *file, enum disk_format wanted,
	const struct disk_format_ops **ops, struct disk_problem *problem)
{
	uint64_t size = atomic_load(&file->size);
	uint8_t *head = malloc(HEAD), tail[TAIL];
	int err = head ? disk_file_read_some(file, head, HEAD, 0) : -ENOMEM;

	if (!err)
		err = disk_file_read_some(file, tail, TAIL, size < TAIL ? 0 : size - TAIL);
	*ops = wanted ? find_format(wanted) : NULL;
	if (!err && wanted && !*ops)
		err = -EINVAL;
	else if (!err && !wanted)
		*ops = probe(head, tail, size);
	else if (!err && !(*ops)->probe(head, size < HEAD ? size : HEAD, tail, size))
		err = disk_problem_note(problem, file, -EMEDIUMTYPE, ERROR_FILE_CORRUPT,
			"this is not a %s image", (*ops)->name);
	free(head);
	return err;
}

/* Opens and locks, unless the file is in the chain of @top: its own lock would be in the way. */
static int open_file(struct disk_file *file, const char *path,
	const struct disk_open_options *options, const struct disk *top)
{
	struct disk_open_options unlocked = *options;
	int err;

	unlocked.flags |= DISK_OPEN_SHARED;
	err = disk_file_open_path(file, path, &unlocked, options->flags & DISK_OPEN_WRITE);
	if (err)
		return err;
	for (; top && !err; top = top->parent)
		if (disk_file_same(file, &top->file))
			err = -ELOOP;
	if (!err && !(options->flags & DISK_OPEN_SHARED))
		err = disk_file_lock(file);
	if (err)
		disk_file_close(file);
	return err;
}

/* The image is open; its changes go on being tracked, or it is closed again and *@disk NULL. */
static int begin_tracking(
	struct disk **disk, const struct disk_open_options *options, struct disk_problem *problem)
{
	struct disk *d = *disk;
	int err = tracking_begin(d, options);

	if (!err)
		return 0;
	disk_problem_note(problem, &d->file, err, disk_problem_win32(NULL, err),
		"its change tracking file cannot be used: %s", strerror(-err));
	d->ops->close(d);
	*disk = NULL;
	return err;
}

int disk_open_image(struct disk_engine *e, const char *path,
	const struct disk_open_options *options, const struct disk *top, struct disk **disk,
	struct disk_problem *problem)
{
	const struct disk_format_ops *ops;
	struct disk_open_options o = *options;
	struct disk_file file;
	int err = open_file(&file, path, options, top);

	if (err)
		return err;
	if (!o.cache)
		o.cache = 32u << 20;
	err = choose(&file, o.format, &ops, problem);
	if (!err)
		err = ops->open(e, &file, &o, disk, problem);
	if (err) {
		disk_file_close(&file);
		return err;
	}
	return o.flags & DISK_OPEN_WRITE ? begin_tracking(disk, &o, problem) : 0;
}

int disk_open(struct disk_engine *e, const char *path, const struct disk_open_options *options,
	struct disk **disk, struct disk_problem *problem)
{
	static const struct disk_open_options defaults;
	struct disk *d = NULL;
	int err;

	if (!options)
		options = &defaults;
	*disk = NULL;
	err = disk_open_image(e, path, options, NULL, &d, problem);
	if (!err && !(options->flags & DISK_OPEN_NO_PARENTS))
		err = disk_open_chain(d, options, problem);
	if (!err)
		*disk = d;
	else
		disk_close(d);
	return err;
}

/* As the format's close(); what was put off until now (DISK_OPEN_UNPUBLISHED) becomes durable. */
static int close_file(struct disk *d)
{
	int fd, flushed = 0, closed;

	if (!d->file.put_off)
		return d->ops->close(d);
	fd = fcntl(d->file.fd, F_DUPFD_CLOEXEC, 0);
	closed = d->ops->close(d);
	if (fd < 0 || fdatasync(fd) < 0)
		flushed = -errno;
	if (fd >= 0)
		close(fd);
	return closed ? closed : flushed;
}

static int close_image(struct disk *d)
{
	struct tracking *tracking = d->tracking;
	int flushed = disk_flush(d), closed, err;

	tracking_stop(tracking);
	closed = close_file(d);
	err = flushed ? flushed : closed;
	tracking_end(tracking, err);
	return err;
}

int disk_close(struct disk *d)
{
	int first = 0;

	while (d) {
		struct disk *parent = d->parent;
		int err = close_image(d);

		if (!first)
			first = err;
		d = parent;
	}
	return first;
}

/* ---- Creating -------------------------------------------------------------------------------- */

/* A file of its own beside @path, that becomes @path when it is whole. */
static int open_new(const char *path, char **partial)
{
	int fd;

	*partial = disk_partial_name(path);
	if (!*partial)
		return -errno;
	fd = open(*partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	return fd < 0 ? -errno : fd;
}

/* Fill in what a differencing disk has from its parent, and what has a default. */
static int complete(struct disk_create *c, const struct disk *parent)
{
	if (parent) {
		if (!c->size)
			c->size = disk_size(parent);
		if (!c->logical_sector)
			c->logical_sector = parent->fixed.logical_sector;
		if (!c->physical_sector)
			c->physical_sector = parent->fixed.physical_sector;
	}
	if (!c->logical_sector)
		c->logical_sector = 512;
	if (guid_is_zero(&c->id))
		guid_new(&c->id);
	return (c->logical_sector != 512 && c->logical_sector != 4096) ||
			       (c->physical_sector && c->physical_sector != 512 &&
				       c->physical_sector != 4096) ||
			       c->size % c->logical_sector
		       ? -EINVAL
		       : 0;
}

static int fill(const char *path, int fd, const struct disk_create *create, struct disk *parent,
	bool durable, const struct disk_recorder *recorder, struct disk_problem *problem)
{
	const struct disk_format_ops *ops = find_format(create->format);
	struct disk_file file;
	/* Its name is the final one: that is what people and recorders shall read. */
	int err = disk_file_open(&file, fd, path, true, false, recorder);

	if (err)
		return err;
	err = ops->create(&file, create, parent, problem);
	if (!err && durable)
		err = disk_file_flush(&file);
	disk_file_close(&file);
	return err;
}

/* May something be made at @path? */
static int check_target(const char *path, bool overwrite)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	return !overwrite ? -EEXIST : S_ISREG(st.st_mode) ? 0 : -EINVAL;
}

static int create_partial(struct disk_engine *e, const char *path, const struct disk_create *create,
	bool durable, const struct disk_recorder *recorder, struct disk_problem *problem,
	char **partial)
{
	struct disk_open_options options = {.format = create->parent_format};
	struct disk_create c = *create;
	struct disk *parent = NULL;
	int fd, err = check_target(path, create->overwrite);

	*partial = NULL;
	if (err || !find_format(c.format) || (c.kind == DISK_DIFFERENCING) != !!c.parent)
		return err ? err : -EINVAL;
	if (c.parent)
		err = disk_open(e, c.parent, &options, &parent, problem);
	if (err)
		return disk_problem_say(
			problem, c.parent, err, "the parent cannot be opened: %s", strerror(-err));
	err = complete(&c, parent);
	fd = err ? err : open_new(path, partial);
	if (fd < 0)
		err = fd;
	else
		err = fill(path, fd, &c, parent, durable, recorder, problem);
	if (err && fd >= 0)
		unlink(*partial);
	if (err)
		free(*partial);
	disk_close(parent);
	return err;
}

int disk_create_partial(struct disk_engine *e, const char *path, const struct disk_create *create,
	const struct disk_recorder *recorder, struct disk_problem *problem, char **partial)
{
	return create_partial(e, path, create, false, recorder, problem, partial);
}

int disk_create(struct disk_engine *e, const char *path, const struct disk_create *create,
	const struct disk_recorder *recorder, struct disk_problem *problem)
{
	char *partial;
	int err = create_partial(e, path, create, true, recorder, problem, &partial);

	return err ? err : disk_publish(partial, path, create->overwrite);
}

/* ---- What it is ------------------------------------------------------------------------------ */

void disk_info(struct disk *d, struct disk_info *info)
{
	struct stat st;

	*info = d->fixed;
	info->format = d->ops->format;
	info->size = disk_size(d);
	info->file_size = atomic_load(&d->file.size);
	info->file_used = fstat(d->file.fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
	info->writable = d->file.writable;
	info->depth = 0;
	for (const struct disk *p = d->parent; p; p = p->parent)
		info->depth++;
	if (d->ops->info)
		d->ops->info(d, info);
}

const char *disk_path(const struct disk *d)
{
	return d->file.path;
}

struct disk *disk_parent(struct disk *d)
{
	return d->parent;
}

uint64_t disk_size(const struct disk *d)
{
	return atomic_load_explicit(&d->size, memory_order_relaxed);
}

int disk_parent_locator(struct disk *d, enum disk_locator which, char **path)
{
	return d->ops->locator ? d->ops->locator(d, which, path) : -ENOENT;
}

/* ---- Where the contents are ------------------------------------------------------------------ */

/* One run, as the image that holds it says, and then its file's own holes. */
static int64_t find_run(
	struct disk *d, uint64_t offset, uint64_t end, unsigned depth, enum disk_where *where)
{
	uint64_t length = end - offset;
	struct disk *at = d;

	*where = DISK_ZEROS;
	for (;;) {
		struct disk_extent x;
		uint64_t size = disk_size(at);
		bool hole;
		int err;

		if (offset >= size)
			return length;
		if (length > size - offset)
			length = size - offset;
		err = at->ops->map(at, offset, length, false, &x);
		if (err)
			return err;
		if (x.length < length)
			length = x.length;
		if (x.place == DISK_HERE) {
			length = disk_file_hole(
				&at->file, x.file_offset, x.file_offset + length, &hole);
			*where = hole ? DISK_ZEROS : DISK_DATA;
			return length;
		}
		if (x.place == DISK_NOWHERE)
			return length;
		if (!depth) {
			*where = DISK_BELOW;
			return length;
		}
		if (!at->parent)
			return -ENXIO;
		at = at->parent;
		depth -= depth != UINT_MAX;
	}
}

int64_t disk_extent(
	struct disk *d, uint64_t offset, uint64_t end, unsigned depth, enum disk_where *where)
{
	unsigned stripe = disk_stripe();
	uint64_t at = offset, size = disk_size(d);
	disk_ticket t;
	int64_t n;

	if (end > size)
		end = size;
	if (offset >= end)
		return -EINVAL;
	while (!(t = disk_gate_enter(&d->gate, stripe, false)))
		disk_gate_wait(&d->gate);
	n = find_run(d, at, end, depth, where);
	while (n > 0 && (at += n) < end) {
		enum disk_where next;

		n = find_run(d, at, end, depth, &next);
		if (n > 0 && next != *where)
			break;
	}
	disk_gate_leave(&d->gate, t);
	return n < 0 ? n : (int64_t)(at - offset);
}

/* ---- What a format does by itself ------------------------------------------------------------ */

static int changeable(const struct disk *d, bool supported)
{
	return !supported ? -ENOTSUP : d->file.writable ? 0 : -EROFS;
}

int disk_resize(struct disk *d, uint64_t size, bool lose, struct disk_problem *problem)
{
	int err = changeable(d, d->ops->resize);

	if (!err && (!size || size % d->fixed.logical_sector))
		err = -EINVAL;
	if (err)
		return err;
	disk_freeze(d);
	err = d->ops->resize(d, size, lose, problem);
	d->fixed.size = disk_size(d);
	for (struct disk_watcher *w = atomic_load(&d->watchers); w && !err; w = w->next)
		if (w->resized)
			w->resized(w, size);
	disk_thaw(d);
	return err;
}

int disk_compact(struct disk *d, unsigned flags, struct disk_progress *progress,
	struct disk_problem *problem)
{
	struct disk_progress unwatched = {0};
	int err = changeable(d, d->ops->compact);

	if (err)
		return err;
	disk_freeze(d);
	err = d->ops->compact(d, flags, progress ? progress : &unwatched, problem);
	disk_thaw(d);
	return err;
}

int disk_set_parent(struct disk *d, const char *path, bool force, struct disk_problem *problem)
{
	struct disk_open_options options = {.flags = d->flags, .cache = d->cache};
	struct disk *before;
	int err = changeable(d, d->ops->set_parent);

	if (err)
		return err;
	options = disk_parent_options(d, &options);
	disk_freeze(d);
	before = d->parent;
	d->parent = NULL;
	err = disk_open_image(d->engine, path, &options, d, &d->parent, problem);
	if (!err && !force && d->ops->parent_fits)
		err = d->ops->parent_fits(d, d->parent, problem);
	if (!err)
		err = disk_open_chain(d, &options, problem);
	if (!err)
		err = d->ops->set_parent(d, path, d->parent, problem);
	if (err) {
		disk_close(d->parent);
		d->parent = before;
	} else {
		disk_close(before);
	}
	disk_thaw(d);
	return err;
}

int disk_set_id(struct disk *d, const GUID *id, struct disk_problem *problem)
{
	int err = changeable(d, d->ops->set_id);

	if (err)
		return err;
	disk_freeze(d);
	err = d->ops->set_id(d, id, problem);
	disk_thaw(d);
	return err;
}

int disk_set_physical_sector(struct disk *d, uint32_t bytes, struct disk_problem *problem)
{
	int err = changeable(d, d->ops->set_physical_sector);

	if (err)
		return err;
	disk_freeze(d);
	err = d->ops->set_physical_sector(d, bytes, problem);
	disk_thaw(d);
	return err;
}

int disk_check(struct disk *d, struct disk_check *check, struct disk_progress *progress)
{
	struct disk_progress unwatched = {0};
	int err = check->repair ? changeable(d, true) : 0;

	check->errors = check->repaired = check->leaked = 0;
	if (err || !d->ops->check)
		return err;
	disk_freeze(d);
	err = d->ops->check(d, check, progress ? progress : &unwatched);
	disk_thaw(d);
	return err;
}

int disk_metadata_list(struct disk *d, GUID *items, unsigned room, unsigned *n)
{
	return d->ops->metadata_list ? d->ops->metadata_list(d, items, room, n) : -ENOTSUP;
}

int disk_metadata_get(struct disk *d, const GUID *item, void *data, uint32_t *length)
{
	return d->ops->metadata_get ? d->ops->metadata_get(d, item, data, length) : -ENOTSUP;
}

int disk_metadata_set(struct disk *d, const GUID *item, const void *data, uint32_t length)
{
	int err = changeable(d, d->ops->metadata_set);

	return err ? err : d->ops->metadata_set(d, item, data, length);
}

int disk_metadata_delete(struct disk *d, const GUID *item)
{
	int err = changeable(d, d->ops->metadata_delete);

	return err ? err : d->ops->metadata_delete(d, item);
}

/* ---- Watchers -------------------------------------------------------------------------------- */

void disk_watch(struct disk *d, struct disk_watcher *w)
{
	w->next = atomic_load(&d->watchers);
	while (!atomic_compare_exchange_weak(&d->watchers, &w->next, w))
		;
}

void disk_unwatch(struct disk *d, struct disk_watcher *w)
{
	struct disk_watcher *before;

	/* Only with nobody in the list may something be taken out of it; new ones come first. */
	disk_freeze(d);
	before = w;
	if (!atomic_compare_exchange_strong(&d->watchers, &before, w->next)) {
		while (before->next != w)
			before = before->next;
		before->next = w->next;
	}
	disk_thaw(d);
}
