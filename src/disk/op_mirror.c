/*
 * op_mirror.c - copy a disk that stays in use: see operations.h.
 *
 * A thread copies from the beginning to the end while a watcher makes every change of the source in
 * the target too. A change holds its range of the disk from ahead of its first byte in the source
 * to behind its last in the target, so that changes which overlap come to both in the same order.
 * The copy reads a piece without holding it, and holds it to write it when no change touched it
 * meanwhile; otherwise it reads again.
 *
 * Who holds a range works on the target alone, or on a request that the source has let in: neither
 * waits for disk_freeze() of the source. The target's requests are made with the functions that
 * work in the caller's thread, so that who waits for a range waits for a thread that is at work.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "disk/op_pump.h"
#include "disk/operations.h"

/* More changes than this at once wait for one another. */
#define RANGES 128

struct range {
	const void *holder; /* NULL: free */
	uint64_t begin, end;
};

struct disk_mirror {
	struct disk_watcher watcher; /* first: what its functions get is the mirror */
	struct disk *source, *target;
	bool fresh; /* the target reads as zeros where nothing was written */
	struct disk_progress *progress, own_progress;
	uint8_t *buffer; /* the thread's */
	pthread_t thread;

	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t moved; /* a range was given back, or the state is another */
	struct range ranges[RANGES];
	struct range piece; /* what the copy reads */
	bool touched;	    /* a change began in it since */
	enum disk_mirror_state state;
	int err; /* the first */
};

/* ---- Ranges --------------------------------------------------------------------------------- */

static bool overlap(const struct range *r, uint64_t begin, uint64_t end)
{
	return r->holder && r->begin < end && begin < r->end;
}

static struct range *try_hold(struct disk_mirror *m, uint64_t begin, uint64_t end)
{
	struct range *free = NULL;

	for (struct range *r = m->ranges; r < m->ranges + RANGES; r++)
		if (overlap(r, begin, end))
			return NULL;
		else if (!r->holder)
			free = r;
	return free;
}

static void give_back(struct disk_mirror *m, const void *holder)
{
	pthread_mutex_lock(&m->lock);
	for (struct range *r = m->ranges; r < m->ranges + RANGES; r++)
		if (r->holder == holder)
			r->holder = NULL;
	pthread_cond_broadcast(&m->moved);
	pthread_mutex_unlock(&m->lock);
}

/* ---- State ---------------------------------------------------------------------------------- */

static void become(struct disk_mirror *m, enum disk_mirror_state state, int err)
{
	pthread_mutex_lock(&m->lock);
	if (m->state != DISK_MIRROR_FAILED) {
		m->state = state;
		m->err = err;
	}
	pthread_cond_broadcast(&m->moved);
	pthread_mutex_unlock(&m->lock);
}

enum disk_mirror_state disk_mirror_state(struct disk_mirror *m, int *err)
{
	enum disk_mirror_state state;

	pthread_mutex_lock(&m->lock);
	state = m->state;
	if (err)
		*err = m->err;
	pthread_mutex_unlock(&m->lock);
	return state;
}

enum disk_mirror_state disk_mirror_wait(struct disk_mirror *m)
{
	enum disk_mirror_state state;

	pthread_mutex_lock(&m->lock);
	while (m->state == DISK_MIRROR_COPYING)
		pthread_cond_wait(&m->moved, &m->lock);
	state = m->state;
	pthread_mutex_unlock(&m->lock);
	return state;
}

/* ---- Changes of the source ------------------------------------------------------------------ */

static int before(struct disk_watcher *w, const struct disk_request *r)
{
	struct disk_mirror *m = (struct disk_mirror *)w;
	const uint64_t begin = r->offset, end = begin + r->length;
	struct range *held;

	pthread_mutex_lock(&m->lock);
	while (!(held = try_hold(m, begin, end)))
		pthread_cond_wait(&m->moved, &m->lock);
	*held = (struct range){r, begin, end};
	if (overlap(&m->piece, begin, end))
		m->touched = true;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int repeat(struct disk *target, const struct disk_request *r)
{
	/* Of a change that failed nobody knows how much of it was made. */
	if (r->result)
		return r->result;
	switch (r->op) {
	case DISK_WRITE:
		return disk_writev(target, r->iov, r->n_iov, r->offset);
	case DISK_ZERO:
		return disk_zero(target, r->offset, r->length);
	case DISK_UNMAP:
		return disk_unmap(target, r->offset, r->length);
	case DISK_COPY:
		return disk_copy(target, r->from, r->offset, r->length);
	default:
		return 0;
	}
}

static void after(struct disk_watcher *w, const struct disk_request *r)
{
	struct disk_mirror *m = (struct disk_mirror *)w;
	int err = 0;

	if (disk_mirror_state(m, NULL) != DISK_MIRROR_FAILED)
		err = repeat(m->target, r);
	if (err)
		become(m, DISK_MIRROR_FAILED, err);
	give_back(m, r);
}

static void resized(struct disk_watcher *w, uint64_t size)
{
	struct disk_mirror *m = (struct disk_mirror *)w;
	int err = disk_resize(m->target, size, true, NULL);

	if (err)
		become(m, DISK_MIRROR_FAILED, err);
}

/* ---- The copy ------------------------------------------------------------------------------- */

/* Announce what is going to be read. */
static void begin_piece(struct disk_mirror *m, uint64_t begin, uint64_t end)
{
	pthread_mutex_lock(&m->lock);
	m->piece = (struct range){m, begin, end};
	m->touched = false;
	pthread_mutex_unlock(&m->lock);
}

/* Hold what was read, when it is still that. */
static bool hold_piece(struct disk_mirror *m)
{
	struct range *held;

	pthread_mutex_lock(&m->lock);
	held = m->touched ? NULL : try_hold(m, m->piece.begin, m->piece.end);
	if (held)
		*held = m->piece;
	m->piece.holder = NULL;
	pthread_mutex_unlock(&m->lock);
	return held;
}

/* The piece that was announced, from source to target; as copy_piece(). */
static int64_t copy_announced(struct disk_mirror *m, enum disk_where where, uint64_t length)
{
	const uint64_t offset = m->piece.begin;
	int64_t run = length;
	int err = 0;

	if (where == DISK_DATA)
		err = disk_read(m->source, m->buffer, length, offset);
	else
		run = disk_extent(m->source, offset, offset + length, UINT_MAX, &where);
	if (err || run < 0)
		return err ? err : run;
	if ((uint64_t)run < length || !hold_piece(m))
		return 0;
	if (where != DISK_DATA)
		err = disk_unmap(m->target, offset, length);
	else if (!m->fresh || !bytes_are_zero(m->buffer, length))
		err = disk_write(m->target, m->buffer, length, offset);
	give_back(m, m);
	return err ? err : run;
}

/*
 * Copy what is at @offset, up to @length bytes of data, or more where there are only zeros. Returns
 * how many bytes are done; 0: changes came in between; or a negative errno.
 */
static int64_t copy_piece(struct disk_mirror *m, uint64_t offset, uint64_t end, uint64_t length)
{
	enum disk_where where;
	int64_t run = disk_extent(m->source, offset, end, UINT_MAX, &where);

	/* Whoever writes here from now on writes to both. */
	if (run <= 0 || (where == DISK_ZEROS && m->fresh))
		return run;
	if (where == DISK_ZEROS)
		length <<= 10;
	if (length > (uint64_t)run)
		length = run;
	begin_piece(m, offset, offset + length);
	return copy_announced(m, where, length);
}

static int copy_all(struct disk_mirror *m)
{
	uint64_t at = 0, size, length = PUMP_PIECE;
	int64_t copied;

	/* The size is looked at again and again: the source may be resized meanwhile. */
	while (at < (size = disk_size(m->source))) {
		if (m->progress->cancel || disk_mirror_state(m, NULL) == DISK_MIRROR_FAILED)
			return -ECANCELED;
		m->progress->total = size;
		copied = copy_piece(m, at, size, length);
		if (copied < 0 && disk_size(m->source) < size)
			continue;
		if (copied < 0)
			return copied;
		/* Where there is much going on a smaller piece finds its moment. */
		length = copied ? PUMP_PIECE : length > 4096 ? length / 2 : length;
		at += copied;
		m->progress->done = at;
	}
	return 0;
}

static void *copy_thread(void *ctx)
{
	struct disk_mirror *m = ctx;
	int err = copy_all(m);

	become(m, err ? DISK_MIRROR_FAILED : DISK_MIRROR_READY, err);
	return NULL;
}

/* ---- From start to stop --------------------------------------------------------------------- */

static void mirror_free(struct disk_mirror *m)
{
	pthread_cond_destroy(&m->moved);
	pthread_mutex_destroy(&m->lock);
	free(m->buffer);
	free(m);
}

static int mirror_alloc(struct disk_mirror **mirror)
{
	struct disk_mirror *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->buffer = aligned_alloc(4096, PUMP_PIECE);
	if (!m->buffer) {
		free(m);
		return -ENOMEM;
	}
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->moved, NULL);
	*mirror = m;
	return 0;
}

static int check_disks(struct disk *source, struct disk *target)
{
	struct disk_info from, to;

	disk_info(source, &from);
	disk_info(target, &to);
	/* A change of one sector in the source has to be one of whole sectors in the target. */
	if (!to.writable)
		return -EROFS;
	return from.size != to.size || to.logical_sector > from.logical_sector ? -EINVAL : 0;
}

int disk_mirror_start(struct disk *source, struct disk *target, bool target_is_new,
	struct disk_progress *progress, struct disk_mirror **mirror)
{
	struct disk_mirror *m = NULL;
	int err = check_disks(source, target);

	if (!err)
		err = mirror_alloc(&m);
	if (err)
		return err;
	m->watcher = (struct disk_watcher){
		.before = before,
		.after = after,
		.resized = resized,
	};
	m->source = source;
	m->target = target;
	m->fresh = target_is_new;
	m->progress = progress ? progress : &m->own_progress;
	/* Changes that began before anybody watched are made when this was frozen once. */
	disk_watch(source, &m->watcher);
	disk_freeze(source);
	disk_thaw(source);
	err = -pthread_create(&m->thread, NULL, copy_thread, m);
	if (err) {
		disk_unwatch(source, &m->watcher);
		mirror_free(m);
		return err;
	}
	*mirror = m;
	return 0;
}

int disk_mirror_stop(struct disk_mirror *m)
{
	int err;

	/* The copy that still runs sees this and ends. */
	if (disk_mirror_state(m, NULL) == DISK_MIRROR_COPYING)
		become(m, DISK_MIRROR_FAILED, -ECANCELED);
	pthread_join(m->thread, NULL);
	disk_unwatch(m->source, &m->watcher);
	if (disk_mirror_state(m, &err) == DISK_MIRROR_READY)
		err = disk_flush(m->target);
	mirror_free(m);
	return err;
}
