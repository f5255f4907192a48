/*
 * powercut.c - see powercut.h.
 */
#include "powercut.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096u

/* The means of the test itself must work. */
#define must(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			perror("powercut: " #condition);                                           \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* ---- Images ---------------------------------------------------------------------------------- */

static void image_resize(struct powercut_image *m, uint64_t length)
{
	size_t n = (length + PAGE - 1) / PAGE;

	for (size_t i = n; i < m->n_pages; i++)
		free(m->page[i]);
	m->page = realloc(m->page, (n + 1) * sizeof(*m->page));
	for (size_t i = m->n_pages; i < n; i++)
		m->page[i] = NULL;
	m->n_pages = n;
	if (length < m->length && length % PAGE && m->page[n - 1])
		memset(m->page[n - 1] + length % PAGE, 0, PAGE - length % PAGE);
	m->length = length;
}

/* @data NULL: zeros. */
static void image_write(
	struct powercut_image *m, uint64_t offset, uint64_t length, const uint8_t *data)
{
	if (offset + length > m->length)
		image_resize(m, offset + length);
	for (uint64_t at = offset, end = offset + length, n; at < end; at += n) {
		uint8_t **page = &m->page[at / PAGE];

		n = PAGE - at % PAGE < end - at ? PAGE - at % PAGE : end - at;
		if (!*page && data)
			*page = calloc(1, PAGE);
		if (*page && data)
			memcpy(*page + at % PAGE, data + (at - offset), n);
		else if (*page)
			memset(*page + at % PAGE, 0, n);
	}
}

static void image_load(struct powercut_image *m, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t end = lseek(fd, 0, SEEK_END), at = 0;
	uint8_t page[PAGE];

	must(fd >= 0 && end >= 0);
	image_resize(m, end);
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		ssize_t n;

		at = at / PAGE * PAGE;
		n = pread(fd, page, PAGE, at);
		must(n > 0);
		image_write(m, at, n, page);
		at += PAGE;
	}
	close(fd);
}

/* The file at @path becomes the image; returns it open. */
static int image_store(const struct powercut_image *m, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	must(fd >= 0);
	must(ftruncate(fd, m->length) == 0);
	for (size_t i = 0; i < m->n_pages; i++) {
		uint64_t at = i * (uint64_t)PAGE;
		size_t n = m->length - at < PAGE ? m->length - at : PAGE;

		if (m->page[i])
			must(pwrite(fd, m->page[i], n, at) == (ssize_t)n);
	}
	return fd;
}

/* ---- Recording ------------------------------------------------------------------------------- */

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* By its name: a child may know its parent by another path. */
static unsigned file_of(struct powercut *p, const char *path)
{
	for (unsigned i = 0; i < p->n_files; i++)
		if (strcmp(name_of(p->path[i]), name_of(path)) == 0)
			return i;
	return POWERCUT_FILES;
}

static uint64_t began(void *ctx, const char *path, enum disk_event type, uint64_t offset,
	uint64_t length, const struct iovec *iov, unsigned n_iov)
{
	struct powercut *p = ctx;
	struct powercut_event e = {.type = type, .offset = offset, .length = length};
	size_t at = 0;
	uint64_t id;

	if (type == DISK_EVENT_WRITE) {
		e.data = malloc(length);
		for (unsigned i = 0; i < n_iov; i++) {
			memcpy(e.data + at, iov[i].iov_base, iov[i].iov_len);
			at += iov[i].iov_len;
		}
		must(at == length);
	}
	pthread_mutex_lock(&p->lock);
	e.file = file_of(p, path);
	e.began = ++p->now;
	e.ended = UINT64_MAX;
	if (p->n_events == p->room) {
		p->room = p->room ? p->room * 2 : 256;
		p->event = realloc(p->event, p->room * sizeof(*p->event));
	}
	id = p->n_events++;
	p->event[id] = e;
	pthread_mutex_unlock(&p->lock);
	return id;
}

static void ended(void *ctx, uint64_t id, int result)
{
	struct powercut *p = ctx;

	pthread_mutex_lock(&p->lock);
	p->event[id].ended = ++p->now;
	p->event[id].result = result;
	pthread_mutex_unlock(&p->lock);
}

void powercut_init(struct powercut *p)
{
	*p = (struct powercut){.recorder = {.began = began, .ended = ended, .ctx = p}};
	pthread_mutex_init(&p->lock, NULL);
}

void powercut_fini(struct powercut *p)
{
	for (size_t i = 0; i < p->n_events; i++)
		free(p->event[i].data);
	for (unsigned i = 0; i < p->n_files; i++) {
		image_resize(&p->durable[i], 0);
		free(p->durable[i].page);
		free(p->path[i]);
	}
	free(p->event);
	free(p->applied);
	pthread_mutex_destroy(&p->lock);
}

void powercut_watch(struct powercut *p, const char *path)
{
	must(p->n_files < POWERCUT_FILES);
	image_load(&p->durable[p->n_files], path);
	p->path[p->n_files++] = strdup(path);
}

uint64_t powercut_moment(struct powercut *p)
{
	uint64_t now;

	pthread_mutex_lock(&p->lock);
	now = p->now;
	pthread_mutex_unlock(&p->lock);
	return now;
}

/* ---- What is durable ------------------------------------------------------------------------- */

/* The beginning of the last flush of @file that was complete at @moment. */
static uint64_t last_flush(const struct powercut *p, unsigned file, uint64_t moment)
{
	uint64_t last = 0;

	for (size_t i = 0; i < p->n_events; i++) {
		const struct powercut_event *e = &p->event[i];

		if (e->type == DISK_EVENT_FLUSH && e->file == file && e->ended <= moment &&
			!e->result && e->began > last)
			last = e->began;
	}
	return last;
}

static void apply(struct powercut_image *m, const struct powercut_event *e)
{
	if (e->type == DISK_EVENT_LENGTH)
		image_resize(m, e->offset);
	else if (e->type != DISK_EVENT_FLUSH)
		image_write(m, e->offset, e->length, e->data);
}

static void advance(struct powercut *p, uint64_t moment)
{
	uint64_t flushed[POWERCUT_FILES + 1] = {0};

	if (!p->applied)
		p->applied = calloc(p->n_events, sizeof(*p->applied));
	for (unsigned i = 0; i < p->n_files; i++)
		flushed[i] = last_flush(p, i, moment);
	for (size_t i = p->first; i < p->n_events && p->event[i].began <= moment; i++) {
		const struct powercut_event *e = &p->event[i];

		if (p->applied[i] || e->ended >= flushed[e->file])
			continue;
		apply(&p->durable[e->file], e);
		p->applied[i] = true;
	}
	while (p->first < p->n_events && p->applied[p->first])
		p->first++;
}

static unsigned changes_since(struct powercut *p, unsigned file, uint64_t moment)
{
	unsigned n = 0;

	for (size_t i = 0; i < p->n_events; i++)
		n += p->event[i].file == file && p->event[i].type != DISK_EVENT_FLUSH &&
		     p->event[i].ended >= moment;
	return n;
}

unsigned powercut_changes(struct powercut *p, const char *path)
{
	return changes_since(p, file_of(p, path), 0);
}

unsigned powercut_unflushed(struct powercut *p, const char *path)
{
	unsigned file = file_of(p, path);

	return changes_since(p, file, last_flush(p, file, p->now));
}

/* ---- What else may be there ------------------------------------------------------------------ */

/* How a cut treats the pending changes. */
enum how { NONE, ALL, SOME_EVENTS, SOME_SECTORS, MOST_SECTORS, ALL_BUT_ONE, ONLY_ONE, LAST_TORN };

struct choice {
	enum how how;
	unsigned seed;
	size_t n, one;	/* pending events, and one of them */
	size_t lengths; /* how many changes of length are there */
};

static bool there(struct choice *c, size_t nth)
{
	switch (c->how) {
	case NONE:
		return false;
	case ALL:
		return true;
	case SOME_SECTORS:
		return rand_r(&c->seed) & 16;
	case MOST_SECTORS:
		return rand_r(&c->seed) % 16;
	case ALL_BUT_ONE:
		return nth != c->one;
	case ONLY_ONE:
		return nth == c->one;
	case LAST_TORN:
		return nth + 1 < c->n || rand_r(&c->seed) & 16;
	default: /* whole events: the same answer for all sectors of one */
		return (nth * 2654435761u ^ c->one) >> 7 & 1;
	}
}

static void store_sectors(
	int fd, const struct powercut_event *e, struct choice *c, size_t nth, uint64_t length)
{
	static const uint8_t zeros[POWERCUT_SECTOR];

	for (uint64_t at = 0, n; at < e->length; at += n) {
		uint64_t offset = e->offset + at;

		n = POWERCUT_SECTOR - offset % POWERCUT_SECTOR;
		if (n > e->length - at)
			n = e->length - at;
		/* What is behind the end as it was left was never there. */
		if (there(c, nth) && offset + n <= length)
			must(pwrite(fd, e->data ? e->data + at : zeros, n, offset) == (ssize_t)n);
	}
}

static bool is_pending(const struct powercut *p, size_t i, unsigned file)
{
	return !p->applied[i] && p->event[i].file == file && p->event[i].type != DISK_EVENT_FLUSH;
}

/*
 * A write behind the end makes the file longer by what of it is there, and never without: file
 * systems make a length durable only after the data that gave it.
 */
static bool grows(const struct powercut_event *e, uint64_t length)
{
	return e->type == DISK_EVENT_WRITE && e->offset + e->length > length;
}

static void cut_file(struct powercut *p, unsigned file, uint64_t moment, struct choice *c)
{
	int fd = image_store(&p->durable[file], p->path[file]);
	uint64_t length = p->durable[file].length, asked = length;
	size_t nth = 0, lengths = 0;

	for (size_t i = p->first; i < p->n_events && p->event[i].began <= moment; i++) {
		const struct powercut_event *e = &p->event[i];

		if (!is_pending(p, i, file))
			continue;
		if (e->type == DISK_EVENT_LENGTH) {
			asked = e->offset;
			if (lengths++ < c->lengths) {
				length = asked;
				must(ftruncate(fd, length) == 0);
			}
		} else if (grows(e, asked)) {
			asked = e->offset + e->length;
			store_sectors(fd, e, c, nth, asked);
			length = lseek(fd, 0, SEEK_END);
		} else {
			store_sectors(fd, e, c, nth, length);
		}
		nth++;
	}
	close(fd);
}

/* Of the pending changes of @file: how many, and how many of them set its length. */
static void count(const struct powercut *p, unsigned file, uint64_t moment, struct choice *c)
{
	c->n = c->lengths = 0;
	for (size_t i = p->first; i < p->n_events && p->event[i].began <= moment; i++) {
		c->n += is_pending(p, i, file);
		c->lengths += is_pending(p, i, file) && p->event[i].type == DISK_EVENT_LENGTH;
	}
}

void powercut_cut(struct powercut *p, uint64_t moment, unsigned seed)
{
	struct choice c = {.seed = seed};

	advance(p, moment);
	c.how = rand_r(&c.seed) % (LAST_TORN + 1);
	for (unsigned file = 0; file < p->n_files; file++) {
		count(p, file, moment, &c);
		c.one = c.how == SOME_EVENTS ? (size_t)rand_r(&c.seed)
					     : (size_t)rand_r(&c.seed) % (c.n + 1);
		if (c.how == NONE)
			c.lengths = 0;
		else if (c.how != ALL)
			c.lengths = rand_r(&c.seed) % (c.lengths + 1);
		cut_file(p, file, moment, &c);
	}
}
