/*
 * vhdx_space.c - the room of a VHDX file: where new blocks go, and what becomes of freed ones.
 *
 * New blocks need zeros (vhdx_io.c relies on it), and take them from room freed in this session,
 * from room that a scan of the BAT finds unused, or from behind the end. The file grows in steps
 * and is trimmed when it is closed. Freed room goes a long way: freed (the change is in memory),
 * going (in a commit), committed (durable), and, when nobody can be inside any more, zeroed: clean.
 *
 * Lists are bounded. What they forget is found by the scan of another session.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhdx_live.h"

#define STEP_MIN  (16ull << 20)	 /* bytes by which the file grows, at least ... */
#define STEP_MAX  (256ull << 20) /* ... and at most; between these, an eighth */
#define DRAIN	  64		 /* runs handed back at once */
#define SCAN_READ 8192		 /* entries */

/* ---- Lists of runs --------------------------------------------------------------------------- */

static void runs_delete(struct vhdx_runs *r, unsigned i)
{
	memmove(&r->run[i], &r->run[i + 1], (--r->n - i) * sizeof(*r->run));
}

/* The list is full: the smallest run gives way. False: that would be one of @length. */
static bool runs_forget(struct vhdx_runs *r, uint64_t length)
{
	unsigned smallest = 0;

	for (unsigned i = 1; i < r->n; i++)
		if (r->run[i].length < r->run[smallest].length)
			smallest = i;
	if (r->run[smallest].length >= length)
		return false;
	runs_delete(r, smallest);
	return true;
}

static unsigned runs_place(const struct vhdx_runs *r, uint64_t offset)
{
	unsigned low = 0, high = r->n;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (r->run[middle].offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void runs_add(struct vhdx_runs *r, uint64_t offset, uint64_t length)
{
	unsigned i = runs_place(r, offset);

	if (i < r->n && offset + length == r->run[i].offset) {
		length += r->run[i].length;
		runs_delete(r, i);
	}
	if (i && r->run[i - 1].offset + r->run[i - 1].length == offset) {
		r->run[i - 1].length += length;
		return;
	}
	if (r->n == r->room) {
		if (!runs_forget(r, length))
			return;
		i = runs_place(r, offset);
	}
	memmove(&r->run[i + 1], &r->run[i], (r->n++ - i) * sizeof(*r->run));
	r->run[i] = (struct vhdx_room){offset, length};
}

static void runs_move(struct vhdx_runs *from, struct vhdx_runs *to)
{
	for (unsigned i = 0; i < from->n; i++)
		runs_add(to, from->run[i].offset, from->run[i].length);
	from->n = 0;
}

/* The lowest room of @length that ends at or before @below. */
static bool runs_take(struct vhdx_runs *r, uint64_t length, uint64_t below, uint64_t *offset)
{
	for (unsigned i = 0; i < r->n; i++) {
		struct vhdx_room *run = &r->run[i];

		if (run->offset + length > below)
			return false;
		if (run->length < length)
			continue;
		*offset = run->offset;
		run->offset += length;
		run->length -= length;
		if (!run->length)
			runs_delete(r, i);
		return true;
	}
	return false;
}

/* The run that ends at @end is taken off it; returns the new end. */
static uint64_t runs_trim(struct vhdx_runs *r, uint64_t end)
{
	if (!r->n || r->run[r->n - 1].offset + r->run[r->n - 1].length != end)
		return end;
	return r->run[--r->n].offset;
}

/* ---- Scanning -------------------------------------------------------------------------------- */

/* A part of the file, a bit for each MiB: is it in use? */
struct window {
	uint64_t base, end; /* bytes */
	uint8_t *used;
};

static void window_use(struct window *w, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length < w->end ? offset + length : w->end;

	if (offset < w->base)
		offset = w->base;
	for (uint64_t at = offset; at < end; at += VHDX_MB) {
		uint64_t bit = (at - w->base) / VHDX_MB;

		w->used[bit / 8] |= 1 << bit % 8;
	}
}

static void window_use_runs(struct window *w, const struct vhdx_runs *r)
{
	for (unsigned i = 0; i < r->n; i++)
		window_use(w, r->run[i].offset, r->run[i].length);
}

/*
 * Room that an entry names though its block is not there counts as used: other programs may put the
 * block back where it was.
 */
static int window_use_blocks(struct vhdx *v, struct window *w, uint64_t *entries)
{
	uint64_t length = vhdx_file_length(v);

	for (uint64_t first = 0; first < v->bat_entries; first += SCAN_READ) {
		uint64_t left = v->bat_entries - first;
		unsigned n = left < SCAN_READ ? left : SCAN_READ;
		int err = vhdx_bat_read(v, first, n, entries);

		if (err)
			return err;
		for (unsigned i = 0; i < n; i++) {
			uint64_t offset = VHDX_BAT_OFFSET(entries[i]);
			uint64_t size = vhdx_is_bitmap(v, first + i) ? VHDX_MB : v->block_size;

			if (offset && (entries[i] & VHDX_BAT_STATE) != VHDX_BLOCK_NOT_PRESENT &&
				offset < length && size <= length - offset)
				window_use(w, offset, size);
		}
	}
	return 0;
}

static void window_use_structure(struct vhdx *v, struct window *w)
{
	window_use(w, 0, VHDX_HEADER_AREA);
	window_use(w, v->log_offset, v->log_length);
	for (unsigned i = 0; i < v->n_regions; i++)
		window_use(w, v->regions[i].offset, v->regions[i].length);
}

/* Under the lock: what is neither used nor in a list is free. */
static void window_free(struct vhdx_space *s, struct window *w)
{
	window_use_runs(w, &s->clean);
	window_use_runs(w, &s->stale);
	window_use_runs(w, &s->freed);
	window_use_runs(w, &s->going);
	window_use_runs(w, &s->committed);
	window_use_runs(w, &s->draining);
	for (uint64_t at = w->base; at < w->end; at += VHDX_MB) {
		uint64_t bit = (at - w->base) / VHDX_MB;

		if (!(w->used[bit / 8] >> bit % 8 & 1))
			runs_add(&s->stale, at, VHDX_MB);
	}
}

int vhdx_space_scan(struct vhdx *v, bool again)
{
	struct vhdx_live *l = v->live;
	size_t bytes = l->pages.mapped / 16;
	uint64_t *entries;
	struct window w;
	int err = 0;

	if (l->space.scanned && !again)
		return 0;
	w.used = malloc(bytes);
	entries = malloc(SCAN_READ * sizeof(*entries));
	if (!w.used || !entries)
		err = -ENOMEM;
	for (w.base = 0; !err && w.base < l->space.end; w.base = w.end) {
		memset(w.used, 0, bytes);
		w.end = w.base + bytes * 8 * VHDX_MB;
		if (w.end > l->space.end)
			w.end = l->space.end;
		window_use_structure(v, &w);
		err = window_use_blocks(v, &w, entries);
		if (err)
			break;
		pthread_mutex_lock(&l->lock);
		window_free(&l->space, &w);
		pthread_mutex_unlock(&l->lock);
	}
	free(entries);
	free(w.used);
	l->space.scanned = !err;
	return err;
}

/* ---- Taking ---------------------------------------------------------------------------------- */

/* Room that is zeros and inside the file. */
static bool take_ready(struct vhdx *v, uint64_t length, uint64_t *offset)
{
	struct vhdx_space *s = &v->live->space;

	if (runs_take(&s->clean, length, UINT64_MAX, offset))
		return true;
	for (unsigned i = 0; i < s->stale.n; i++)
		if (s->stale.run[i].length >= length)
			return false;
	if (s->end + length > v->disk.file.size)
		return false;
	*offset = s->end;
	s->end += length;
	return true;
}

static bool take_stale(struct vhdx *v, uint64_t length, uint64_t *offset)
{
	bool ok;

	pthread_mutex_lock(&v->live->lock);
	ok = runs_take(&v->live->space.stale, length, UINT64_MAX, offset);
	pthread_mutex_unlock(&v->live->lock);
	return ok;
}

/* `change` is held, so nobody else moves the end. */
static int grow(struct vhdx *v, uint64_t length)
{
	uint64_t end = v->live->space.end, step = end / 8 / VHDX_MB * VHDX_MB;
	int err;

	if (step < STEP_MIN)
		step = STEP_MIN;
	if (step > STEP_MAX)
		step = STEP_MAX;
	if (step < length)
		step = length;
	err = disk_file_set_size(&v->disk.file, end + step);
	if (err && step > length)
		err = disk_file_set_size(&v->disk.file, end + length);
	return err;
}

int vhdx_space_zeros(struct vhdx *v, uint64_t length, bool nowait, uint64_t *offset)
{
	struct vhdx_live *l = v->live;
	int err = 0;

	for (;;) {
		bool ready;

		pthread_mutex_lock(&l->lock);
		ready = take_ready(v, length, offset);
		pthread_mutex_unlock(&l->lock);
		if (ready)
			return 0;
		if (nowait)
			return -EAGAIN;
		err = vhdx_space_scan(v, false);
		if (err)
			return err;
		if (take_stale(v, length, offset))
			break;
		err = grow(v, length);
		if (err)
			return err;
	}
	/* A file that others made may end within a MiB that is free. */
	if (*offset + length > v->disk.file.size)
		err = disk_file_set_size(&v->disk.file, *offset + length);
	if (!err)
		err = disk_file_zero(&v->disk.file, *offset, length, true);
	if (err)
		vhdx_space_back(v, *offset, length);
	return err;
}

void vhdx_space_back(struct vhdx *v, uint64_t offset, uint64_t length)
{
	pthread_mutex_lock(&v->live->lock);
	runs_add(&v->live->space.stale, offset, length);
	pthread_mutex_unlock(&v->live->lock);
}

int vhdx_space_below(struct vhdx *v, uint64_t length, uint64_t below, uint64_t *offset)
{
	struct vhdx_live *l = v->live;
	bool ok;

	pthread_mutex_lock(&l->lock);
	runs_move(&l->space.clean, &l->space.stale);
	ok = runs_take(&l->space.stale, length, below, offset);
	pthread_mutex_unlock(&l->lock);
	return ok ? 0 : -ENOSPC;
}

int vhdx_space_take(struct vhdx *v, uint64_t length, uint64_t *offset)
{
	int err;

	pthread_mutex_lock(&v->live->change);
	err = vhdx_space_zeros(v, length, false, offset);
	pthread_mutex_unlock(&v->live->change);
	return err;
}

/* ---- Giving back ----------------------------------------------------------------------------- */

void vhdx_space_give(struct vhdx *v, uint64_t offset, uint64_t length)
{
	pthread_mutex_lock(&v->live->lock);
	runs_add(&v->live->space.freed, offset, length);
	pthread_mutex_unlock(&v->live->lock);
}

void vhdx_space_taken(struct vhdx *v)
{
	runs_move(&v->live->space.freed, &v->live->space.going);
}

void vhdx_space_done(struct vhdx *v, bool failed)
{
	struct vhdx_space *s = &v->live->space;

	runs_move(&s->going, failed ? &s->freed : &s->committed);
}

bool vhdx_space_waiting(struct vhdx *v, unsigned runs)
{
	struct vhdx_space *s = &v->live->space;
	bool waiting;

	pthread_mutex_lock(&v->live->lock);
	waiting = s->freed.n + s->going.n + s->committed.n > runs;
	pthread_mutex_unlock(&v->live->lock);
	return waiting;
}

static unsigned take_committed(struct vhdx *v, struct vhdx_room *runs)
{
	struct vhdx_runs *r = &v->live->space.committed;
	unsigned n;

	pthread_mutex_lock(&v->live->lock);
	n = r->n < DRAIN ? r->n : DRAIN;
	memcpy(runs, r->run + r->n - n, n * sizeof(*runs));
	r->n -= n;
	/* Nobody may think that they are free meanwhile. */
	v->live->space.draining.n = 0;
	for (unsigned i = 0; i < n; i++)
		runs_add(&v->live->space.draining, runs[i].offset, runs[i].length);
	pthread_mutex_unlock(&v->live->lock);
	return n;
}

void vhdx_space_drain(struct vhdx *v)
{
	struct vhdx_live *l = v->live;
	struct vhdx_room runs[DRAIN];
	unsigned n;

	pthread_mutex_lock(&l->space.drain);
	while ((n = take_committed(v, runs))) {
		disk_synchronize(&v->disk);
		pthread_rwlock_wrlock(&l->zeroing);
		pthread_rwlock_unlock(&l->zeroing);
		for (unsigned i = 0; i < n; i++) {
			int err =
				disk_file_zero(&v->disk.file, runs[i].offset, runs[i].length, true);

			pthread_mutex_lock(&l->lock);
			runs_add(err ? &l->space.stale : &l->space.clean, runs[i].offset,
				runs[i].length);
			pthread_mutex_unlock(&l->lock);
		}
	}
	pthread_mutex_unlock(&l->space.drain);
}

int vhdx_space_punch(struct vhdx *v)
{
	struct vhdx_space *s = &v->live->space;
	struct disk_file *f = &v->disk.file;
	int err = 0;

	for (unsigned i = 0; i < s->stale.n && !err; i++) {
		uint64_t at = s->stale.run[i].offset, end = at + s->stale.run[i].length;

		while (at < end && at < f->size && !err) {
			bool hole;
			int64_t run = disk_file_hole(f, at, end < f->size ? end : f->size, &hole);

			if (run < 0)
				return run;
			if (!hole)
				err = disk_file_zero(f, at, run, true);
			at += run;
		}
	}
	return err;
}

int vhdx_space_trim(struct vhdx *v)
{
	struct vhdx_space *s = &v->live->space;
	uint64_t before;

	do {
		before = s->end;
		s->end = runs_trim(&s->clean, s->end);
		s->end = runs_trim(&s->stale, s->end);
	} while (s->end != before);
	if (s->end >= v->disk.file.size)
		return 0;
	return disk_file_set_size(&v->disk.file, s->end);
}

/* ---- Making and ending ----------------------------------------------------------------------- */

int vhdx_space_init(struct vhdx *v, unsigned runs)
{
	struct vhdx_space *s = &v->live->space;
	struct vhdx_runs *all[] = {
		&s->clean, &s->stale, &s->freed, &s->going, &s->committed, &s->draining};

	s->end = (v->disk.file.size + VHDX_MB - 1) / VHDX_MB * VHDX_MB;
	pthread_mutex_init(&s->drain, NULL);
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		all[i]->run = calloc(runs, sizeof(*all[i]->run));
		if (!all[i]->run)
			return -ENOMEM;
		all[i]->room = runs;
	}
	return 0;
}

void vhdx_space_fini(struct vhdx_space *s)
{
	free(s->clean.run);
	free(s->stale.run);
	free(s->freed.run);
	free(s->going.run);
	free(s->committed.run);
	free(s->draining.run);
	pthread_mutex_destroy(&s->drain);
}
