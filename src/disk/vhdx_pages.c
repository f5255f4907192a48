/*
 * vhdx_pages.c - tables of a VHDX file in memory: a cache of pages, and atomic changes of them.
 *
 * Bounded: the frames are mapped once. A word is looked up without a lock and without writing to
 * shared memory, but for the mark that its page was used when it lacks. Pages that were changed
 * stay until a commit has put them in place; when too many are, whoever needs one more commits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "disk/vhdx_live.h"

#define GENERATION 12 /* bits of a tag */
#define WORDS	   (VHDX_PAGE / 8)
#define WAYS_MIN   8
#define COMMITTED  4 /* a commit's share of the frames: one in so many */

/* ---- Looking up ------------------------------------------------------------------------------ */

/* Neighbours, and the same page of neighbouring bitmap blocks, are in different sets. */
static unsigned set_of(const struct vhdx_pages *p, uint64_t number)
{
	return (number + (number >> 8) * 31) & (p->sets - 1);
}

static _Atomic uint64_t *word_of(const struct vhdx_pages *p, unsigned frame, uint64_t offset)
{
	return &p->words[(size_t)frame * WORDS + offset % VHDX_PAGE / 8];
}

/*
 * The frame's tag is 0 before its words change their meaning, and a new one after (fill()): words
 * read between two equal tags are that page's.
 */
static bool peek(struct vhdx_pages *p, uint64_t offset, uint64_t *value)
{
	uint64_t number = offset / VHDX_PAGE;
	unsigned first = set_of(p, number) * p->ways;

	for (unsigned f = first; f < first + p->ways; f++) {
		uint64_t tag = atomic_load_explicit(&p->tags[f], memory_order_acquire);

		if (tag >> GENERATION != number)
			continue;
		*value = atomic_load_explicit(word_of(p, f, offset), memory_order_acquire);
		if (atomic_load_explicit(&p->tags[f], memory_order_relaxed) != tag)
			return false;
		if (!atomic_load_explicit(&p->frames[f].used, memory_order_relaxed))
			atomic_store_explicit(&p->frames[f].used, true, memory_order_relaxed);
		return true;
	}
	return false;
}

/* Under the lock: the frame of the page, or -1. */
static int find(const struct vhdx_pages *p, uint64_t number)
{
	unsigned first = set_of(p, number) * p->ways;

	for (unsigned f = first; f < first + p->ways; f++)
		if (atomic_load_explicit(&p->tags[f], memory_order_relaxed) >> GENERATION == number)
			return f;
	return -1;
}

/* ---- Reading pages --------------------------------------------------------------------------- */

static bool is_busy(const struct vhdx_frame *f)
{
	return f->loading || f->dirty || f->committing || f->pins;
}

/* A frame of the set for another page: the clock's choice, or -1: all are busy. */
static int victim(struct vhdx_pages *p, unsigned set)
{
	for (unsigned turn = 0; turn < 2 * p->ways; turn++) {
		unsigned f = set * p->ways + p->hands[set];

		p->hands[set] = (p->hands[set] + 1) % p->ways;
		if (is_busy(&p->frames[f]))
			continue;
		if (!atomic_exchange_explicit(&p->frames[f].used, false, memory_order_relaxed))
			return f;
	}
	return -1;
}

static bool is_loading(const struct vhdx_pages *p, unsigned set, uint64_t number)
{
	for (unsigned f = set * p->ways; f < (set + 1) * p->ways; f++)
		if (p->frames[f].loading && (!number || p->frames[f].loading == number))
			return true;
	return false;
}

static void fill(struct vhdx_pages *p, unsigned f, uint64_t number, const uint64_t *words)
{
	uint64_t generation = ++p->frames[f].generation & ((1 << GENERATION) - 1);

	for (unsigned i = 0; i < WORDS; i++)
		atomic_store_explicit(
			&p->words[(size_t)f * WORDS + i], words[i], memory_order_release);
	atomic_store_explicit(&p->tags[f], number << GENERATION | generation, memory_order_release);
}

/* Under the lock, which is given up meanwhile: a frame for the page. */
static int make_room(struct vhdx *v, unsigned set, int *frame)
{
	struct vhdx_live *l = v->live;
	int err;

	*frame = victim(&l->pages, set);
	if (*frame >= 0)
		return 0;
	if (is_loading(&l->pages, set, 0)) {
		pthread_cond_wait(&l->pages.loaded, &l->lock);
		return -EAGAIN;
	}
	pthread_mutex_unlock(&l->lock);
	err = vhdx_sync(v);
	pthread_mutex_lock(&l->lock);
	if (err)
		return err;
	*frame = victim(&l->pages, set);
	return *frame >= 0 ? 0 : -ENOBUFS;
}

/* Under the lock, which is given up meanwhile: the page is in memory when this returns 0. */
static int load(struct vhdx *v, uint64_t number)
{
	struct vhdx_live *l = v->live;
	struct vhdx_pages *p = &l->pages;
	unsigned set = set_of(p, number);
	uint64_t words[WORDS];
	int f, err;

	while (find(p, number) < 0) {
		if (is_loading(p, set, number)) {
			pthread_cond_wait(&p->loaded, &l->lock);
			continue;
		}
		err = make_room(v, set, &f);
		if (err == -EAGAIN)
			continue;
		if (err)
			return err;
		/* The lock may have been given up: did somebody else begin to load it? */
		if (find(p, number) >= 0 || is_loading(p, set, number))
			continue;
		atomic_store_explicit(&p->tags[f], 0, memory_order_relaxed);
		p->frames[f].loading = number;
		pthread_mutex_unlock(&l->lock);
		err = vhdx_read(v, words, sizeof(words), number * VHDX_PAGE);
		pthread_mutex_lock(&l->lock);
		p->frames[f].loading = 0;
		if (!err)
			fill(p, f, number, words);
		pthread_cond_broadcast(&p->loaded);
		if (err)
			return err;
	}
	return 0;
}

int vhdx_word(struct vhdx *v, uint64_t offset, bool nowait, uint64_t *value)
{
	struct vhdx_live *l = v->live;

	while (!peek(&l->pages, offset, value)) {
		int err;

		if (nowait)
			return -EAGAIN;
		pthread_mutex_lock(&l->lock);
		err = load(v, offset / VHDX_PAGE);
		pthread_mutex_unlock(&l->lock);
		if (err)
			return err;
	}
	return 0;
}

/* What of [@offset, @end) is in memory is copied to @buffer. Under the lock. */
static void overlay(struct vhdx_pages *p, uint8_t *buffer, uint64_t offset, uint64_t end)
{
	for (uint64_t at = offset; at < end;) {
		uint64_t stop = (at / VHDX_PAGE + 1) * VHDX_PAGE;
		int f = find(p, at / VHDX_PAGE);

		if (stop > end)
			stop = end;
		if (f >= 0)
			memcpy(buffer + (at - offset),
				(uint8_t *)&p->words[(size_t)f * WORDS] + at % VHDX_PAGE,
				stop - at);
		at = stop;
	}
}

/* As vhdx_read(); tables of large disks are mostly holes of the file. */
static int read_sparse(struct vhdx *v, void *buffer, uint64_t length, uint64_t offset)
{
	uint64_t end = offset + length;
	bool hole = false;

	if (v->overlay || end > v->disk.file.size ||
		disk_file_hole(&v->disk.file, offset, end, &hole) != (int64_t)length || !hole)
		return vhdx_read(v, buffer, length, offset);
	memset(buffer, 0, length);
	return 0;
}

int vhdx_read_cached(struct vhdx *v, void *buffer, uint64_t length, uint64_t file_offset)
{
	struct vhdx_live *l = v->live;
	uint64_t done;

	/*
	 * A changed page leaves the memory only after a commit: when none ended meanwhile, what is
	 * not in memory was in the file all the time.
	 */
	pthread_mutex_lock(&l->lock);
	do {
		int err;

		done = l->log.done;
		pthread_mutex_unlock(&l->lock);
		err = read_sparse(v, buffer, length, file_offset);
		if (err)
			return err;
		pthread_mutex_lock(&l->lock);
	} while (l->log.done != done);
	overlay(&l->pages, buffer, file_offset, file_offset + length);
	pthread_mutex_unlock(&l->lock);
	return 0;
}

/* ---- Changes --------------------------------------------------------------------------------- */

int vhdx_change_begin(struct vhdx_change *c, struct vhdx *v, bool nowait)
{
	*c = (struct vhdx_change){.v = v, .nowait = nowait};
	if (!nowait)
		return -pthread_mutex_lock(&v->live->change);
	return pthread_mutex_trylock(&v->live->change) ? -EAGAIN : 0;
}

/* May this change have a page more, or must there be a commit first? */
static bool has_place(const struct vhdx_change *c)
{
	const struct vhdx_pages *p = &c->v->live->pages;

	return c->held || p->dirty + p->committing + c->n < p->limit;
}

static bool is_needed(const struct vhdx_change *c, unsigned frame)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->frame[i] == frame)
			return true;
	return false;
}

/* Under the lock, which is given up meanwhile. */
static int need(struct vhdx_change *c, uint64_t number)
{
	struct vhdx_live *l = c->v->live;
	int f, err;

	for (;;) {
		f = find(&l->pages, number);
		if (f >= 0 && is_needed(c, f))
			return 0;
		if (f >= 0 && has_place(c))
			break;
		if (c->nowait)
			return -EAGAIN;
		if (f < 0) {
			err = load(c->v, number);
		} else {
			pthread_mutex_unlock(&l->lock);
			err = vhdx_sync(c->v);
			pthread_mutex_lock(&l->lock);
		}
		if (err)
			return err;
	}
	l->pages.frames[f].pins++;
	c->frame[c->n++] = f;
	return 0;
}

int vhdx_change_need(struct vhdx_change *c, uint64_t offset)
{
	struct vhdx_live *l = c->v->live;
	int err;

	if (c->n == VHDX_CHANGE_PAGES)
		return -E2BIG;
	pthread_mutex_lock(&l->lock);
	err = need(c, offset / VHDX_PAGE);
	pthread_mutex_unlock(&l->lock);
	return err;
}

void vhdx_change_apply(struct vhdx_change *c)
{
	pthread_mutex_lock(&c->v->live->lock);
	c->applied = true;
}

static void mark(struct vhdx_pages *p, struct vhdx_frame *f, bool held)
{
	if (f->dirty && f->held == held)
		return;
	if (f->dirty) {
		p->dirty -= !f->held;
		p->held -= f->held;
	}
	f->dirty = true;
	f->held = held;
	p->dirty += !held;
	p->held += held;
}

void vhdx_change_store(struct vhdx_change *c, uint64_t offset, uint64_t value)
{
	struct vhdx_pages *p = &c->v->live->pages;
	int f = find(p, offset / VHDX_PAGE);

	mark(p, &p->frames[f], c->held);
	atomic_store_explicit(word_of(p, f, offset), value, memory_order_release);
}

void vhdx_change_end(struct vhdx_change *c)
{
	struct vhdx_live *l = c->v->live;

	if (!c->applied)
		pthread_mutex_lock(&l->lock);
	for (unsigned i = 0; i < c->n; i++)
		l->pages.frames[c->frame[i]].pins--;
	pthread_mutex_unlock(&l->lock);
	pthread_mutex_unlock(&l->change);
}

/* ---- Changes of the structure half ----------------------------------------------------------- */

/* The words that [@offset, @end) touches, all in one page. Applied. */
static void store_bytes(struct vhdx_change *c, uint64_t offset, const uint8_t *bytes, uint64_t end)
{
	for (uint64_t at = offset; at < end;) {
		uint64_t word = at / 8 * 8, stop = word + 8 < end ? word + 8 : end, value;

		peek(&c->v->live->pages, word, &value);
		memcpy((uint8_t *)&value + (at - word), bytes + (at - offset), stop - at);
		vhdx_change_store(c, word, value);
		at = stop;
	}
}

static int write_page(struct vhdx *v, uint64_t offset, const uint8_t *bytes, uint64_t end)
{
	struct vhdx_pages *p = &v->live->pages;
	struct vhdx_change c;
	int err = vhdx_change_begin(&c, v, false);

	if (err)
		return err;
	c.held = true;
	err = vhdx_change_need(&c, offset);
	if (!err) {
		vhdx_change_apply(&c);
		if (p->held >= vhdx_held_max(v) && !p->frames[c.frame[0]].held)
			err = -E2BIG;
		else
			store_bytes(&c, offset, bytes, end);
	}
	vhdx_change_end(&c);
	return err;
}

int vhdx_write_logged(struct vhdx *v, uint64_t file_offset, const void *data, size_t length)
{
	const uint8_t *bytes = data;
	uint64_t end = file_offset + length;

	for (uint64_t at = file_offset; at < end;) {
		uint64_t stop = (at / VHDX_PAGE + 1) * VHDX_PAGE;
		int err;

		if (stop > end)
			stop = end;
		err = write_page(v, at, bytes + (at - file_offset), stop);
		if (err)
			return err;
		at = stop;
	}
	return 0;
}

unsigned vhdx_held_max(const struct vhdx *v)
{
	const struct vhdx_pages *p = &v->live->pages;
	unsigned log = vhdx_log_pages_alone(v), frames = p->sets * p->ways / 2;

	return log < frames ? log : frames;
}

int vhdx_commit(struct vhdx *v)
{
	struct vhdx_live *l = v->live;
	struct vhdx_change c;
	int err = vhdx_change_begin(&c, v, false);

	if (err)
		return err;
	/* Nobody else's changes share the entry: it may need the whole log for itself. */
	err = vhdx_sync(v);
	if (!err && l->pages.held) {
		pthread_mutex_lock(&l->lock);
		for (unsigned f = 0; f < l->pages.sets * l->pages.ways; f++)
			if (l->pages.frames[f].held)
				mark(&l->pages, &l->pages.frames[f], false);
		pthread_mutex_unlock(&l->lock);
		err = vhdx_sync(v);
	}
	vhdx_change_end(&c);
	return err;
}

/* ---- For the log ----------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

unsigned vhdx_pages_take(struct vhdx *v, uint64_t *offsets, uint8_t *copies)
{
	struct vhdx_pages *p = &v->live->pages;
	unsigned n = 0;

	for (unsigned f = 0; p->dirty && f < p->sets * p->ways; f++) {
		if (!p->frames[f].dirty || p->frames[f].held)
			continue;
		p->frames[f].dirty = false;
		p->frames[f].committing = true;
		offsets[n++] = (p->tags[f] >> GENERATION) * VHDX_PAGE;
	}
	qsort(offsets, n, sizeof(*offsets), by_number);
	for (unsigned i = 0; i < n; i++)
		overlay(p, copies + (size_t)i * VHDX_PAGE, offsets[i], offsets[i] + VHDX_PAGE);
	p->dirty = 0;
	p->committing = n;
	return n;
}

void vhdx_pages_taken(struct vhdx *v, bool failed)
{
	struct vhdx_pages *p = &v->live->pages;

	for (unsigned f = 0; p->committing && f < p->sets * p->ways; f++) {
		if (!p->frames[f].committing)
			continue;
		p->frames[f].committing = false;
		p->committing--;
		if (failed && !p->frames[f].dirty)
			mark(p, &p->frames[f], false);
	}
}

void vhdx_pages_forget(struct vhdx *v)
{
	struct vhdx_live *l = v->live;

	pthread_mutex_lock(&l->lock);
	for (unsigned f = 0; f < l->pages.sets * l->pages.ways; f++)
		if (!is_busy(&l->pages.frames[f]))
			atomic_store_explicit(&l->pages.tags[f], 0, memory_order_relaxed);
	pthread_mutex_unlock(&l->lock);
}

/* ---- Making and ending ----------------------------------------------------------------------- */

int vhdx_pages_init(struct vhdx *v, size_t bytes)
{
	struct vhdx_pages *p = &v->live->pages;
	unsigned n = bytes / VHDX_PAGE, log = vhdx_log_pages(v);
	void *words;

	p->sets = 1;
	while (n / (p->sets * 2) >= WAYS_MIN)
		p->sets *= 2;
	p->ways = n / p->sets;
	n = p->sets * p->ways;
	p->limit = log < n / COMMITTED ? log : n / COMMITTED;
	pthread_cond_init(&p->loaded, NULL);
	p->tags = calloc(n, sizeof(*p->tags));
	p->frames = calloc(n, sizeof(*p->frames));
	p->hands = calloc(p->sets, 1);
	p->mapped = (size_t)n * VHDX_PAGE;
	words = mmap(NULL, p->mapped, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	p->words = words == MAP_FAILED ? NULL : words;
	return p->tags && p->frames && p->hands && p->words ? 0 : -ENOMEM;
}

void vhdx_pages_fini(struct vhdx_pages *p)
{
	if (p->words)
		munmap((void *)p->words, p->mapped);
	free(p->hands);
	free(p->frames);
	free((void *)p->tags);
	pthread_cond_destroy(&p->loaded);
}
