/*
 * vhdx_log.c - commits: how changed tables of a VHDX file become durable, by way of its log.
 *
 * A commit is one entry, and an entry never needs another one: before it is written the file is
 * flushed, and with that the pages of the entries before it are durable where they belong. So each
 * entry's tail is itself. Only the last durable entry must not be overwritten; the rest of the log
 * is free. An entry that does not fit beside it gets the log for itself: everything is in place,
 * the header says that nothing is to be replayed, and a new log begins.
 *
 * A log begins with its first entry; the header names it only after that, since a header that
 * names a log without entries is damage.
 *
 * Source: [MS-VHDX] 2.3.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/guid.h"
#include "disk/vhdx_live.h"

/*
 * Behind the last entry stands a sector of zeros. Qemu replays whole sequences, whatever the tail
 * says, and takes any entry for the second one of a sequence: it must not find an old one there.
 */
#define END VHDX_LOG_SECTOR

/* ---- Sizes ----------------------------------------------------------------------------------- */

/* Bytes of the sectors that the header and @n descriptors fill. */
static uint32_t head_size(unsigned n)
{
	uint32_t bytes =
		sizeof(struct vhdx_log_header) + n * (uint32_t)sizeof(struct vhdx_log_descriptor);

	return (bytes + VHDX_LOG_SECTOR - 1) / VHDX_LOG_SECTOR * VHDX_LOG_SECTOR;
}

/* How many pages an entry of @bytes has place for. */
static unsigned pages_of(uint32_t bytes)
{
	unsigned n = bytes / VHDX_LOG_SECTOR;

	while (n && head_size(n) + n * VHDX_LOG_SECTOR > bytes)
		n--;
	return n;
}

unsigned vhdx_log_pages(const struct vhdx *v)
{
	return pages_of(v->log_length / 2 - END);
}

unsigned vhdx_log_pages_alone(const struct vhdx *v)
{
	return pages_of(v->log_length - END);
}

/* ---- An entry -------------------------------------------------------------------------------- */

/* What a commit has in hand. */
struct commit {
	unsigned n;	     /* pages: log->pages, log->copies */
	unsigned n_data;     /* descriptors with data, which come first ... */
	unsigned n_zero;     /* ... and those of zeros */
	uint64_t durable;    /* bytes: the file's length, once flushed */
	uint64_t structures; /* bytes: all rooms lie in these */
};

static struct vhdx_log_descriptor *descriptor(struct vhdx_log *log, unsigned i)
{
	return (struct vhdx_log_descriptor *)(log->buffer + sizeof(struct vhdx_log_header)) + i;
}

/*
 * A page becomes a data sector where it lies: its first and last bytes go into the descriptor, and
 * the sequence number takes their place.
 */
static void seal_page(struct vhdx_log_descriptor *d, uint8_t *page, uint64_t offset, uint64_t seq)
{
	struct vhdx_log_sector *s = (struct vhdx_log_sector *)page;

	d->signature = VHDX_LOG_DATA_SIGNATURE;
	d->offset = offset;
	d->sequence = seq;
	memcpy(&d->leading, page, sizeof(d->leading));
	memcpy(&d->trailing, &s->sequence_low, sizeof(d->trailing));
	s->signature = VHDX_LOG_SECTOR_SIGNATURE;
	s->sequence_high = seq >> 32;
	s->sequence_low = (uint32_t)seq;
}

static void unseal_page(const struct vhdx_log_descriptor *d, uint8_t *page)
{
	memcpy(page, &d->leading, sizeof(d->leading));
	memcpy(page + VHDX_PAGE - sizeof(d->trailing), &d->trailing, sizeof(d->trailing));
}

/* Pages with data move to the front of the copies; those of zeros become descriptors in @zeros. */
static void sort_out(struct vhdx_log *log, struct commit *c)
{
	struct vhdx_log_descriptor *zero = log->zeros;

	for (unsigned i = 0; i < c->n; i++) {
		uint8_t *page = log->copies + (size_t)i * VHDX_PAGE;

		if (bytes_are_zero(page, VHDX_PAGE)) {
			if (c->n_zero && zero->offset + zero->length == log->pages[i]) {
				zero->length += VHDX_PAGE;
				continue;
			}
			zero = &log->zeros[c->n_zero++];
			*zero = (struct vhdx_log_descriptor){
				.signature = VHDX_LOG_ZERO_SIGNATURE,
				.length = VHDX_PAGE,
				.offset = log->pages[i],
				.sequence = log->sequence,
			};
			continue;
		}
		if (c->n_data != i)
			memcpy(log->copies + (size_t)c->n_data * VHDX_PAGE, page, VHDX_PAGE);
		log->pages[c->n_data++] = log->pages[i];
	}
}

/* The entry in @log->buffer; returns its length. The data sectors follow the descriptors. */
static uint32_t build(struct vhdx *v, struct commit *c, uint32_t at)
{
	struct vhdx_log *log = &v->live->log;
	struct vhdx_log_header *h = (struct vhdx_log_header *)log->buffer;
	uint32_t head = head_size(c->n_data + c->n_zero);

	memset(log->buffer, 0, head);
	/* Merged zeros may have made the descriptors fewer than there was place for. */
	if (log->buffer + head != log->copies)
		memmove(log->buffer + head, log->copies, (size_t)c->n_data * VHDX_PAGE);
	log->copies = log->buffer + head;
	for (unsigned i = 0; i < c->n_data; i++)
		seal_page(descriptor(log, i), log->copies + (size_t)i * VHDX_PAGE, log->pages[i],
			log->sequence);
	memcpy(descriptor(log, c->n_data), log->zeros, c->n_zero * sizeof(*log->zeros));
	*h = (struct vhdx_log_header){
		.signature = VHDX_LOG_ENTRY_SIGNATURE,
		.length = head + c->n_data * VHDX_LOG_SECTOR,
		.tail = at,
		.sequence = log->sequence,
		.descriptors = c->n_data + c->n_zero,
		.log = log->id,
		.flushed_file_offset = c->durable / VHDX_MB * VHDX_MB,
		.last_file_offset = c->structures,
	};
	h->checksum = vhdx_checksum(h, h->length);
	return h->length;
}

/* ---- Writing it ------------------------------------------------------------------------------ */

/* The log is circular: what does not fit behind @at goes on at its beginning. */
static int write_around(struct vhdx *v, const uint8_t *bytes, uint32_t length, uint32_t at)
{
	uint32_t first = length < v->log_length - at ? length : v->log_length - at;
	int err = disk_file_write(&v->disk.file, bytes, first, v->log_offset + at);

	if (err || first == length)
		return err;
	return disk_file_write(&v->disk.file, bytes + first, length - first, v->log_offset);
}

/* Everything is in place: no entry is needed any more. */
static int rest(struct vhdx *v)
{
	struct vhdx_log *log = &v->live->log;
	int err = disk_file_flush(&v->disk.file);

	if (!err && log->begun)
		err = vhdx_log_end(v);
	if (err)
		return err;
	log->begun = false;
	log->last_length = 0;
	return 0;
}

static int write_entry(struct vhdx *v, struct commit *c)
{
	struct vhdx_log *log = &v->live->log;
	uint32_t at, length;
	int err = 0;

	sort_out(log, c);
	length = head_size(c->n_data + c->n_zero) + c->n_data * VHDX_LOG_SECTOR;
	if (log->begun && length + END + log->last_length > v->log_length)
		err = rest(v);
	if (err)
		return err;
	if (!log->begun) {
		/* A full file system shall not keep us from committing what gives it room. */
		(void)disk_file_allocate(&v->disk.file, v->log_offset, v->log_length);
		guid_new(&log->id);
		log->sequence = 1;
		log->last = 0;
		log->last_length = 0;
	}
	at = (log->last + log->last_length) % v->log_length;
	length = build(v, c, at);
	memset(log->buffer + length, 0, END);
	err = vhdx_file_begin(v);
	if (!err)
		err = write_around(v, log->buffer, length + END, at);
	if (!err)
		err = disk_file_flush(&v->disk.file);
	if (!err && !log->begun) {
		err = vhdx_log_begin(v, &log->id);
		log->begun = !err;
	}
	if (err)
		return err;
	log->sequence++;
	log->last = at;
	log->last_length = length;
	return 0;
}

/* ---- Applying it ----------------------------------------------------------------------------- */

/* The pages with data, neighbours at once. They were sealed in the entry. */
static int apply_data(struct vhdx *v, const struct commit *c)
{
	struct vhdx_log *log = &v->live->log;
	int err = 0;

	for (unsigned i = 0; i < c->n_data; i++)
		unseal_page(descriptor(log, i), log->copies + (size_t)i * VHDX_PAGE);
	for (unsigned i = 0, n; i < c->n_data && !err; i += n) {
		for (n = 1; i + n < c->n_data; n++)
			if (log->pages[i + n] != log->pages[i] + n * VHDX_PAGE)
				break;
		err = disk_file_write(&v->disk.file, log->copies + (size_t)i * VHDX_PAGE,
			(uint64_t)n * VHDX_PAGE, log->pages[i]);
	}
	return err;
}

static int apply(struct vhdx *v, const struct commit *c)
{
	struct vhdx_log *log = &v->live->log;
	int err = apply_data(v, c);

	for (unsigned i = 0; i < c->n_zero && !err; i++)
		err = disk_file_zero(
			&v->disk.file, log->zeros[i].offset, log->zeros[i].length, false);
	return err;
}

/* ---- Commits --------------------------------------------------------------------------------- */

static int make_buffer(struct vhdx_log *log, unsigned pages)
{
	size_t bytes = head_size(pages) + (size_t)pages * VHDX_PAGE + END;
	void *buffer = aligned_alloc(VHDX_PAGE, bytes);
	uint64_t *offsets = calloc(pages, sizeof(*offsets));
	struct vhdx_log_descriptor *zeros = calloc(pages, sizeof(*zeros));

	if (!buffer || !offsets || !zeros) {
		free(buffer);
		free(offsets);
		free(zeros);
		return -ENOMEM;
	}
	free(log->buffer);
	free(log->pages);
	free(log->zeros);
	log->buffer = buffer;
	log->pages = offsets;
	log->zeros = zeros;
	log->room = pages;
	return 0;
}

/* What is changed now goes into the commit. */
static int collect(struct vhdx *v, struct commit *c)
{
	struct vhdx_live *l = v->live;
	struct vhdx_log *log = &l->log;
	int err;

	/* More than usual only for vhdx_commit(), which keeps others from changing meanwhile. */
	if (l->pages.dirty > log->room) {
		err = make_buffer(log, l->pages.dirty);
		if (err)
			return err;
	}
	log->copies = log->buffer + head_size(l->pages.dirty);
	c->n = vhdx_pages_take(v, log->pages, log->copies);
	c->durable = v->disk.file.size;
	c->structures = l->space.end;
	vhdx_space_taken(v);
	return 0;
}

/* By one thread at a time. Only after it has begun may what it covers be answered as durable. */
static int run(struct vhdx *v)
{
	struct vhdx_live *l = v->live;
	struct commit c = {0};
	int err;

	pthread_mutex_lock(&l->lock);
	err = collect(v, &c);
	pthread_mutex_unlock(&l->lock);
	if (err)
		return err;
	err = disk_file_flush(&v->disk.file);
	if (!err && c.n)
		err = write_entry(v, &c);
	if (!err && c.n)
		err = apply(v, &c);
	pthread_mutex_lock(&l->lock);
	vhdx_pages_taken(v, err);
	vhdx_space_done(v, err);
	pthread_mutex_unlock(&l->lock);
	return err;
}

/* Under the lock, which is given up meanwhile. */
static void lead(struct vhdx *v, int (*what)(struct vhdx *v))
{
	struct vhdx_live *l = v->live;
	int err;

	l->log.running = true;
	l->log.started++;
	pthread_mutex_unlock(&l->lock);
	err = what(v);
	pthread_mutex_lock(&l->lock);
	l->log.result = err;
	l->log.done = l->log.started;
	l->log.running = false;
	pthread_cond_broadcast(&l->log.moved);
}

/* A commit that begins from now on covers the caller, whoever runs it. */
int vhdx_sync(struct vhdx *v)
{
	struct vhdx_live *l = v->live;
	uint64_t ticket;
	int err;

	pthread_mutex_lock(&l->lock);
	ticket = l->log.started + 1;
	while (l->log.done < ticket) {
		if (l->log.running)
			pthread_cond_wait(&l->log.moved, &l->lock);
		else
			lead(v, run);
	}
	err = l->log.result;
	pthread_mutex_unlock(&l->lock);
	return err;
}

static int run_and_rest(struct vhdx *v)
{
	int err = run(v);

	return err ? err : rest(v);
}

int vhdx_log_rest(struct vhdx *v)
{
	struct vhdx_live *l = v->live;
	int err;

	pthread_mutex_lock(&l->lock);
	while (l->log.running)
		pthread_cond_wait(&l->log.moved, &l->lock);
	lead(v, run_and_rest);
	err = l->log.result;
	pthread_mutex_unlock(&l->lock);
	return err;
}

/* ---- Making and ending ----------------------------------------------------------------------- */

int vhdx_log_init(struct vhdx *v)
{
	pthread_cond_init(&v->live->log.moved, NULL);
	return v->disk.file.writable ? make_buffer(&v->live->log, v->live->pages.limit) : 0;
}

void vhdx_log_fini(struct vhdx_log *log)
{
	free(log->buffer);
	free(log->pages);
	free(log->zeros);
	pthread_cond_destroy(&log->moved);
}
