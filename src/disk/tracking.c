/*
 * tracking.c - change tracking of a disk that is open for writing.
 *
 * Before the first byte of a change goes to the image, its chunks are marked: in memory by a bit,
 * which is all that later changes of the same chunk look at, and in the file by the generation. The
 * file is not flushed for that. What survives a power cut is that the chunk's region was touched;
 * that is flushed before the first change of a region. Closing flushes all, and only then says that
 * the file is whole.
 *
 * Where the file cannot be written (a full file system) the disk goes on and tracking ends: the
 * file is removed, because what it says would be too little.
 */
#include "disk/tracking.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/guid.h"
#include "base/log.h"
#include "disk/format.h"
#include "disk/partial.h"
#include "disk/tracking_file.h"

#define WORD_BITS 64

struct tracking {
	struct disk_watcher watcher;
	struct disk *disk;
	char *path; /* of the tracking file */
	char *image;
	int image_fd; /* from tracking_stop() on: keeps the image locked until tracking_end() */

	pthread_mutex_t lock; /* of what follows, but for reading set bits */
	struct tracking_file file;
	_Atomic uint64_t *bits; /* a bit for each chunk: marked in this generation */
	uint64_t n_words;
	_Atomic bool identified; /* the header has the identity of the image after a change */
	bool dead;		 /* tracking ended; changes are let through */
};

static struct tracking *from_watcher(struct disk_watcher *w)
{
	return (struct tracking *)((char *)w - offsetof(struct tracking, watcher));
}

/* ---- Marking --------------------------------------------------------------------------------- */

static bool is_marked(const struct tracking *t, uint64_t chunk)
{
	return atomic_load_explicit(&t->bits[chunk / WORD_BITS], memory_order_acquire) >>
		       chunk % WORD_BITS &
	       1;
}

static void set_marked(struct tracking *t, uint64_t chunk)
{
	atomic_fetch_or_explicit(
		&t->bits[chunk / WORD_BITS], 1ull << chunk % WORD_BITS, memory_order_release);
}

/* The regions of the chunks are noted, durably, and that something changed at all. */
static int touch(struct tracking *t, uint64_t first, uint64_t last)
{
	struct tracking_file *f = &t->file;
	uint64_t per_region = f->h.region_size / f->h.chunk_size;
	bool changed = false;
	int err = 0;

	for (uint64_t r = first / per_region; r <= last / per_region; r++) {
		uint8_t bit = 1 << r % 8;

		changed |= !(f->touched[r / 8] & bit);
		f->touched[r / 8] |= bit;
	}
	if (changed)
		err = tracking_file_write_touched(f);
	if (!err && !(f->h.flags & TRACKING_NEWER)) {
		f->h.flags |= TRACKING_NEWER;
		err = tracking_file_write_header(f);
	}
	return err;
}

/* Tracking ends, and with it the file; without that the change must not happen. */
static int give_up(struct tracking *t, int err)
{
	log_warning("%s: change tracking ended: %s", t->image, strerror(-err));
	t->dead = true;
	return unlink(t->path) && errno != ENOENT ? err : 0;
}

static int mark(struct tracking *t, uint64_t first, uint64_t last)
{
	int err;

	pthread_mutex_lock(&t->lock);
	err = t->dead ? 0 : touch(t, first, last);
	if (!err && !t->dead)
		err = tracking_file_mark(&t->file, first, last);
	for (uint64_t c = first; !err && c <= last; c++)
		set_marked(t, c);
	if (err)
		err = give_up(t, err);
	pthread_mutex_unlock(&t->lock);
	return err;
}

static int before(struct disk_watcher *w, const struct disk_request *r)
{
	struct tracking *t = from_watcher(w);
	uint64_t first, last, at;

	if (!r->length)
		return 0;
	first = r->offset / t->file.h.chunk_size;
	last = (r->offset + r->length - 1) / t->file.h.chunk_size;
	for (at = first; at <= last && is_marked(t, at); at++)
		;
	return at > last ? 0 : mark(t, at, last);
}

/* A power cut leaves the image with the identity that its first change gave it. */
static void after(struct disk_watcher *w, const struct disk_request *r)
{
	struct tracking *t = from_watcher(w);
	struct disk_info info;

	if (t->disk->ops->format != DISK_FORMAT_VHDX ||
		atomic_load_explicit(&t->identified, memory_order_relaxed))
		return;
	disk_info(t->disk, &info);
	pthread_mutex_lock(&t->lock);
	if (!t->dead && !atomic_load(&t->identified)) {
		t->file.h.image_data_id = info.data_id;
		atomic_store(&t->identified, true);
		/* Not written: after a power cut all of the disk counts as changed. */
		if (tracking_file_write_header(&t->file))
			log_warning("%s: cannot be written", t->path);
	}
	pthread_mutex_unlock(&t->lock);
}

static int resize_bits(struct tracking *t)
{
	uint64_t n = (tracking_chunks(&t->file.h) + WORD_BITS - 1) / WORD_BITS;
	_Atomic uint64_t *bits = realloc((void *)t->bits, n * sizeof(*bits));

	if (!bits)
		return -ENOMEM;
	for (uint64_t i = t->n_words; i < n; i++)
		atomic_init(&bits[i], 0);
	t->bits = bits;
	t->n_words = n;
	return 0;
}

/* The file takes the size of the disk; regions may be larger than they were. */
static int take_size(struct tracking *t, uint64_t size)
{
	struct tracking_file *f = &t->file;
	uint64_t region = f->h.region_size;

	f->h.disk_size = size;
	tracking_file_layout(&f->h);
	if (f->h.region_size != region)
		memset(f->touched, 0xFF, sizeof(f->touched));
	if (ftruncate(f->fd, TRACKING_GENERATIONS + tracking_chunks(&f->h) * sizeof(uint32_t)))
		return -errno;
	return resize_bits(t);
}

/* The disk is frozen: nobody looks at the bits. What was added, or cut off and may come back, has
 * changed. */
static void resized(struct disk_watcher *w, uint64_t size)
{
	struct tracking *t = from_watcher(w);
	uint64_t old, chunk = t->file.h.chunk_size;
	int err;

	pthread_mutex_lock(&t->lock);
	old = t->file.h.disk_size;
	err = t->dead ? 0 : take_size(t, size);
	if (!err && !t->dead && size > old) {
		err = touch(t, old / chunk, (size - 1) / chunk);
		if (!err)
			err = tracking_file_mark(&t->file, old / chunk, (size - 1) / chunk);
	}
	if (!err && !t->dead)
		err = tracking_file_write_touched(&t->file);
	if (!err && !t->dead)
		err = tracking_file_write_header(&t->file);
	if (err)
		give_up(t, err);
	pthread_mutex_unlock(&t->lock);
}

/* ---- Beginning ------------------------------------------------------------------------------- */

/* After a crash: what was touched has changed, if nobody else has written since. */
static int recover(struct tracking_file *f, const struct disk *d)
{
	uint64_t per_region = f->h.region_size / f->h.chunk_size, n = tracking_chunks(&f->h);
	struct disk_info info;
	int err = 0;

	disk_info((struct disk *)d, &info);
	f->h.flags |= TRACKING_NEWER;
	if (info.format != DISK_FORMAT_VHDX || !guid_equal(&info.data_id, &f->h.image_data_id)) {
		tracking_file_all_changed(f);
		return 0;
	}
	for (uint64_t first = 0; first < n && !err; first += per_region) {
		uint64_t r = first / per_region;
		uint64_t last = first + per_region < n ? first + per_region - 1 : n - 1;

		if (f->touched[r / 8] & 1 << r % 8)
			err = tracking_file_mark(f, first, last);
	}
	return err;
}

/* Make what the file says true of the disk as it is, and begin a session in it. */
static int begin_session(struct tracking *t)
{
	struct tracking_file *f = &t->file;
	struct disk_info info;
	int err = 0;

	disk_info(t->disk, &info);
	if (!(f->h.flags & TRACKING_CLEAN)) {
		tracking_file_branch(f);
		err = recover(f, t->disk);
	} else if (!tracking_file_is_bound(f, t->disk->file.fd)) {
		tracking_file_branch(f);
		tracking_file_all_changed(f);
	}
	/* A repair changes contents by other ways than requests. */
	if (t->disk->flags & DISK_OPEN_DAMAGED || f->h.disk_size != info.size)
		tracking_file_all_changed(f);
	if (!err)
		err = take_size(t, info.size);
	if (!err && fdatasync(f->fd))
		err = -errno;
	if (err)
		return err;
	tracking_file_seal(f);
	memset(f->touched, 0, sizeof(f->touched));
	f->h.flags &= ~TRACKING_CLEAN;
	f->h.image_data_id = info.data_id;
	err = tracking_file_write_header(f);
	return err ? err : tracking_file_write_touched(f);
}

static void free_tracking(struct tracking *t)
{
	pthread_mutex_destroy(&t->lock);
	free((void *)t->bits);
	free(t->path);
	free(t->image);
	free(t);
}

static struct tracking *new_tracking(struct disk *d)
{
	struct tracking *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	t->disk = d;
	t->image = strdup(disk_path(d));
	t->path = tracking_path(disk_path(d));
	t->watcher = (struct disk_watcher){.before = before, .after = after, .resized = resized};
	if (t->image && t->path)
		return t;
	free_tracking(t);
	return NULL;
}

/* @fd is the file's, opened for writing, and taken over. */
static int begin(struct disk *d, int fd)
{
	struct tracking *t = new_tracking(d);
	int err;

	if (!t) {
		close(fd);
		return -ENOMEM;
	}
	err = tracking_file_open(&t->file, fd, true);
	if (!err) {
		err = begin_session(t);
		if (err)
			tracking_file_close(&t->file);
	}
	if (err) {
		free_tracking(t);
		return err;
	}
	d->tracking = t;
	disk_watch(d, &t->watcher);
	return 0;
}

static int put_aside(const char *path)
{
	char *aside;
	int err = asprintf(&aside, "%s.bad", path) < 0 ? -ENOMEM : 0;

	if (err)
		return err;
	log_warning(
		"%s: damaged; change tracking begins anew when it is enabled again (kept as %s)",
		path, aside);
	if (rename(path, aside))
		err = -errno;
	free(aside);
	return err;
}

static int open_file(const char *path, const struct disk_open_options *options)
{
	int fd;

	if (options->open_file)
		return options->open_file(options->ctx, path, O_RDWR | O_CLOEXEC);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

int tracking_begin(struct disk *d, const struct disk_open_options *options)
{
	char *path = tracking_path(disk_path(d));
	int fd, err = 0;

	if (!path)
		return -ENOMEM;
	fd = open_file(path, options);
	if (fd >= 0)
		err = begin(d, fd);
	if (err && err != -EBUSY && err != -ENOMEM)
		err = put_aside(path);
	free(path);
	return err;
}

/* ---- Ending ---------------------------------------------------------------------------------- */

void tracking_stop(struct tracking *t)
{
	if (!t)
		return;
	disk_unwatch(t->disk, &t->watcher);
	t->image_fd = fcntl(t->disk->file.fd, F_DUPFD_CLOEXEC, 0);
}

static int end_session(struct tracking *t)
{
	struct tracking_file *f = &t->file;
	int err;

	/* The generations first: the header says that they are all there. */
	if (fdatasync(f->fd))
		return -errno;
	err = tracking_file_bind(f, t->image_fd);
	if (err)
		return err;
	tracking_file_seal(f);
	f->h.flags |= TRACKING_CLEAN;
	return tracking_file_write_header(f);
}

void tracking_end(struct tracking *t, int err)
{
	if (!t)
		return;
	/* Otherwise the file stays as after a power cut, and is read as such. */
	if (!t->dead && !err)
		err = end_session(t);
	if (err)
		log_warning("%s: change tracking was not closed: %s", t->image, strerror(-err));
	if (t->image_fd >= 0)
		close(t->image_fd);
	tracking_file_close(&t->file);
	free_tracking(t);
}

/* ---- Switching it on and off ----------------------------------------------------------------- */

/* A new file under @path, whole and durable; @h has id, sizes and generations to start with. */
static int create_file(const char *path, const struct tracking_header *h)
{
	uint64_t length = TRACKING_GENERATIONS + tracking_chunks(h) * sizeof(uint32_t);
	char *partial = disk_partial_name(path);
	struct tracking_file f = {.h = *h};
	int err = 0;

	if (!partial)
		return -errno;
	f.fd = open(partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (f.fd < 0 || ftruncate(f.fd, length))
		err = -errno;
	else
		err = tracking_file_write_header(&f);
	if (f.fd >= 0)
		close(f.fd);
	if (!err)
		return disk_publish(partial, path, true);
	disk_discard(partial);
	return err;
}

static int enable_frozen(struct disk *d, const char *path)
{
	struct disk_open_options options = {0};
	struct tracking_file f = {.h = {.signature = TRACKING_SIGNATURE,
					  .disk_size = disk_size(d),
					  .current = 1,
					  .flags = TRACKING_CLEAN}};
	int err = tracking_file_bind(&f, d->file.fd);

	if (err)
		return err;
	guid_new(&f.h.id);
	tracking_file_layout(&f.h);
	err = create_file(path, &f.h);
	if (!err)
		err = tracking_begin(d, &options);
	return err || d->tracking ? err : -EIO;
}

/* The present state gets a name. Nobody changes the disk meanwhile. */
static int seal_frozen(struct tracking *t)
{
	struct tracking_file *f = &t->file;
	int err = 0;

	pthread_mutex_lock(&t->lock);
	if (!t->dead && f->h.flags & TRACKING_NEWER) {
		err = fdatasync(f->fd) ? -errno : 0;
		if (!err) {
			tracking_file_seal(f);
			err = tracking_file_write_header(f);
		}
		memset((void *)t->bits, 0, t->n_words * sizeof(*t->bits));
		memset(f->touched, 0, sizeof(f->touched));
		if (!err)
			err = tracking_file_write_touched(f);
		if (err)
			give_up(t, err);
	}
	pthread_mutex_unlock(&t->lock);
	return err;
}

int tracking_enable(struct disk *d, struct disk_problem *problem)
{
	char *path;
	int err;

	if (!d->file.writable)
		return -EBADF;
	path = tracking_path(disk_path(d));
	if (!path)
		return -ENOMEM;
	disk_freeze(d);
	err = d->tracking ? seal_frozen(d->tracking) : enable_frozen(d, path);
	disk_thaw(d);
	if (err)
		disk_problem_note(problem, &d->file, err, disk_problem_win32(NULL, err),
			"its changes cannot be tracked in %s: %s", path, strerror(-err));
	free(path);
	return err;
}

int tracking_disable(struct disk *d)
{
	char *path = tracking_path(disk_path(d));
	int err;

	if (!path)
		return -ENOMEM;
	err = unlink(path) && errno != ENOENT ? -errno : 0;
	free(path);
	if (err || !d->tracking)
		return err;
	d->tracking->dead = true;
	tracking_stop(d->tracking);
	tracking_end(d->tracking, 0);
	d->tracking = NULL;
	return 0;
}

/* ---- Children -------------------------------------------------------------------------------- */

static int copy_generations(int from, int to, uint64_t n)
{
	static const size_t size = 1 << 16;
	char *buffer = malloc(size);
	uint64_t at = TRACKING_GENERATIONS, end = at + n * sizeof(uint32_t);
	int err = buffer ? 0 : -ENOMEM;

	while (!err && at < end) {
		size_t part = end - at < size ? end - at : size;

		if (pread(from, buffer, part, at) != (ssize_t)part ||
			pwrite(to, buffer, part, at) != (ssize_t)part)
			err = -EIO;
		at += part;
	}
	free(buffer);
	return err || !fdatasync(to) ? err : -errno;
}

/* The child shows what the parent shows, under the same names. */
static int inherit(struct tracking_file *f, const char *parent, const char *path, int image)
{
	struct tracking_file child = {.h = f->h};
	int err = 0;

	if (!(f->h.flags & TRACKING_CLEAN) || !tracking_file_is_current(f, parent))
		tracking_file_all_changed(&child);
	tracking_file_seal(&child);
	tracking_file_branch(&child);
	child.h.flags |= TRACKING_CLEAN;
	err = tracking_file_bind(&child, image);
	if (!err)
		err = create_file(path, &child.h);
	if (err)
		return err;
	child.fd = open(path, O_RDWR | O_CLOEXEC);
	if (child.fd < 0)
		return -errno;
	err = copy_generations(f->fd, child.fd, tracking_chunks(&f->h));
	close(child.fd);
	if (err)
		unlink(path);
	return err;
}

int tracking_inherit(const char *parent, const char *child)
{
	char *from = tracking_path(parent), *to = tracking_path(child);
	int fd = -1, image = -1, err = from && to ? 0 : -ENOMEM;
	struct tracking_file f;

	if (!err && (fd = open(from, O_RDONLY | O_CLOEXEC)) < 0)
		err = -errno;
	if (!err)
		err = tracking_file_open(&f, fd, false);
	if (!err) {
		image = open(child, O_RDONLY | O_CLOEXEC);
		err = image < 0 ? -errno : inherit(&f, parent, to, image);
		tracking_file_close(&f);
	}
	if (image >= 0)
		close(image);
	free(from);
	free(to);
	/* Nothing to go on with. */
	return err == -ENOENT ? 0 : err;
}

/* ---- Merged images --------------------------------------------------------------------------- */

/* What @f says of the image @from is said of @to from now on. */
static int rebind(struct tracking_file *f, const char *from, const char *to)
{
	int image, err;

	if (!(f->h.flags & TRACKING_CLEAN) || !tracking_file_is_current(f, from)) {
		tracking_file_branch(f);
		tracking_file_all_changed(f);
		tracking_file_seal(f);
		f->h.flags |= TRACKING_CLEAN;
	}
	image = open(to, O_RDONLY | O_CLOEXEC);
	if (image < 0)
		return -errno;
	err = tracking_file_bind(f, image);
	close(image);
	return err ? err : tracking_file_write_header(f);
}

static int move_file(const char *from, const char *from_image, const char *to, const char *to_image)
{
	int fd = open(from, O_RDWR | O_CLOEXEC | O_NOFOLLOW), err;
	struct tracking_file f;

	if (fd < 0 && errno == ENOENT)
		return unlink(to) && errno != ENOENT ? -errno : 0;
	err = fd < 0 ? -errno : tracking_file_open(&f, fd, true);
	if (err)
		return err;
	err = rebind(&f, from_image, to_image);
	if (!err && rename(from, to))
		err = -errno;
	tracking_file_close(&f);
	return err;
}

int tracking_move(const char *from, const char *to)
{
	char *old = tracking_path(from), *new = tracking_path(to);
	int err = old && new ? move_file(old, from, new, to) : -ENOMEM;

	free(old);
	free(new);
	return err;
}
