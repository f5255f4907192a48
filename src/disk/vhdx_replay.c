/*
 * vhdx_replay.c - a log that was left in a VHDX file: finding the entries that count, and doing
 * what they say, in the file or, when it is not written, in memory.
 *
 * What it promises: nothing is changed before the whole sequence was found to be valid. Entries
 * that were torn by a power cut are not part of it, so that replay is always all of a state that
 * was durable once. Replay that is itself cut off is done again at the next opening.
 *
 * Source: [MS-VHDX] 2.3.1 (entries), 2.3.2 (sequences), 2.3.3 (replay).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/guid.h"
#include "disk/vhdx_overlay.h"
#include "winerror.h"

#define WINDOW (64u << 10)

/* The log as it is read: a part at a time. */
struct log {
	struct vhdx *v;
	uint8_t *window;
	uint64_t at;   /* of the window in the log; UINT64_MAX: nothing is there yet */
	bool only_try; /* change nothing: see whether all may be done */
};

/* A valid entry. */
struct entry {
	uint32_t at; /* in the log */
	struct vhdx_log_header h;
};

/* ---- Reading --------------------------------------------------------------------------------- */

/* The sector at @offset of the log, which goes round. Valid until the next is read. */
static int get_sector(struct log *l, uint64_t offset, const void **sector)
{
	uint64_t at = offset % l->v->log_length;
	uint64_t from = at / WINDOW * WINDOW;
	int r;

	if (l->at != from) {
		l->at = UINT64_MAX;
		r = disk_file_read(&l->v->disk.file, l->window, WINDOW, l->v->log_offset + from);
		if (r)
			return r;
		l->at = from;
	}
	*sector = l->window + (at - from);
	return 0;
}

/* Bytes of header and descriptors, whole sectors. */
static uint64_t descriptors_length(uint32_t n)
{
	uint64_t bytes =
		sizeof(struct vhdx_log_header) + (uint64_t)n * sizeof(struct vhdx_log_descriptor);

	return (bytes + VHDX_LOG_SECTOR - 1) / VHDX_LOG_SECTOR * VHDX_LOG_SECTOR;
}

/* Descriptor @i of the entry at @at. */
static int get_descriptor(struct log *l, uint32_t at, uint32_t i, struct vhdx_log_descriptor *d)
{
	uint64_t offset =
		sizeof(struct vhdx_log_header) + (uint64_t)i * sizeof(struct vhdx_log_descriptor);
	const void *sector;
	int r = get_sector(l, at + offset / VHDX_LOG_SECTOR * VHDX_LOG_SECTOR, &sector);

	if (!r)
		memcpy(d, (const uint8_t *)sector + offset % VHDX_LOG_SECTOR, sizeof(*d));
	return r;
}

static bool header_holds(const struct log *l, const struct vhdx_log_header *h)
{
	uint32_t size = l->v->log_length;

	return h->signature == VHDX_LOG_ENTRY_SIGNATURE && guid_equal(&h->log, &l->v->header.log) &&
	       h->length && h->length % VHDX_LOG_SECTOR == 0 && h->length <= size &&
	       h->tail % VHDX_LOG_SECTOR == 0 && h->tail < size && h->sequence &&
	       descriptors_length(h->descriptors) <= h->length;
}

static bool descriptor_holds(const struct vhdx_log_descriptor *d, uint64_t sequence)
{
	if (d->sequence != sequence || d->offset % VHDX_LOG_SECTOR)
		return false;
	return d->signature == VHDX_LOG_DATA_SIGNATURE ||
	       (d->signature == VHDX_LOG_ZERO_SIGNATURE && d->length % VHDX_LOG_SECTOR == 0);
}

/* 1: descriptors and data sectors of @e are as they must be; 0: not; or a negative errno. */
static int contents_hold(struct log *l, const struct entry *e)
{
	uint64_t data_at = descriptors_length(e->h.descriptors);
	const struct vhdx_log_sector *s;
	struct vhdx_log_descriptor d;
	uint64_t data = 0;
	const void *p;
	int r;

	for (uint32_t i = 0; i < e->h.descriptors; i++) {
		r = get_descriptor(l, e->at, i, &d);
		if (r || !descriptor_holds(&d, e->h.sequence))
			return r;
		data += d.signature == VHDX_LOG_DATA_SIGNATURE;
	}
	if (data_at + data * VHDX_LOG_SECTOR > e->h.length)
		return 0;
	for (; data; data--, data_at += VHDX_LOG_SECTOR) {
		r = get_sector(l, e->at + data_at, &p);
		if (r)
			return r;
		s = p;
		if (s->signature != VHDX_LOG_SECTOR_SIGNATURE ||
			s->sequence_high != e->h.sequence >> 32 ||
			s->sequence_low != (uint32_t)e->h.sequence)
			return 0;
	}
	return 1;
}

/* 1: the checksum is right; 0: not; or a negative errno. */
static int sum_holds(struct log *l, const struct entry *e)
{
	struct vhdx_log_header h = e->h;
	uint32_t crc;
	const void *p;
	int r;

	h.checksum = 0;
	crc = crc32c(0, &h, sizeof(h));
	for (uint32_t done = 0; done < e->h.length; done += VHDX_LOG_SECTOR) {
		size_t skip = done ? 0 : sizeof(h);

		r = get_sector(l, (uint64_t)e->at + done, &p);
		if (r)
			return r;
		crc = crc32c(crc, (const uint8_t *)p + skip, VHDX_LOG_SECTOR - skip);
	}
	return crc == e->h.checksum;
}

/* The entry at @at. 1: there is a valid one; 0: there is none; or a negative errno. */
static int get_entry(struct log *l, uint32_t at, struct entry *e)
{
	const void *sector;
	int r = get_sector(l, at, &sector);

	if (r)
		return r;
	e->at = at;
	memcpy(&e->h, sector, sizeof(e->h));
	if (!header_holds(l, &e->h))
		return 0;
	/*
	 * Contents first: data sectors cannot be taken for headers, so no sector is summed often.
	 */
	r = contents_hold(l, e);
	return r > 0 ? sum_holds(l, e) : r;
}

/* ---- The sequence ---------------------------------------------------------------------------- */

/*
 * Follow entries from @at as long as they are valid and numbered on; @last becomes the last one.
 * Returns the bytes they have, or a negative errno.
 */
static int64_t follow(struct log *l, uint32_t at, struct entry *last)
{
	uint64_t length = 0;
	struct entry e;
	int r;

	for (;;) {
		r = get_entry(l, (at + length) % l->v->log_length, &e);
		if (r < 0)
			return r;
		if (!r || (length && e.h.sequence != last->h.sequence + 1) ||
			length + e.h.length > l->v->log_length)
			return length;
		length += e.h.length;
		*last = e;
		/* All of the log: what follows is the first entry again. */
		if (length == l->v->log_length)
			return length;
	}
}

/*
 * Is the sequence of @length bytes from @at one that can be replayed: does it have, as an entry,
 * the tail that its last entry names? 1, 0, or a negative errno.
 */
static int has_tail(struct log *l, uint32_t at, uint64_t length, const struct entry *last)
{
	uint64_t before = ((uint64_t)last->h.tail + l->v->log_length - at) % l->v->log_length;
	struct entry end = {0};
	int64_t n;

	if (before >= length)
		return 0;
	n = follow(l, last->h.tail, &end);
	if (n < 0)
		return n;
	return n && end.at == last->at && end.h.sequence == last->h.sequence;
}

/*
 * Find the last entry of the active sequence, the one that was written last. 1: found; 0: there is
 * none; or a negative errno. What begins inside a sequence ends where that ends, so the search goes
 * on behind it.
 */
static int find_active(struct log *l, struct entry *active)
{
	struct entry last;
	int found = 0;
	int64_t length;
	int r;

	for (uint64_t at = 0; at < l->v->log_length; at += length ? length : VHDX_LOG_SECTOR) {
		length = follow(l, at, &last);
		if (length < 0)
			return length;
		if (!length || (found && last.h.sequence <= active->h.sequence))
			continue;
		r = has_tail(l, at, length, &last);
		if (r < 0)
			return r;
		if (r) {
			*active = last;
			found = 1;
		}
	}
	return found;
}

/* ---- Doing what it says ---------------------------------------------------------------------- */

/* A range that the log may change: inside the file, not the headers, not the log. */
static bool may_change(const struct vhdx *v, uint64_t offset, uint64_t length)
{
	if (offset < VHDX_LOGGABLE || offset > v->length || length > v->length - offset)
		return false;
	return offset >= v->log_offset + v->log_length || offset + length <= v->log_offset;
}

static int do_zeros(struct log *l, const struct vhdx_log_descriptor *d)
{
	struct vhdx *v = l->v;

	if (!may_change(v, d->offset, d->length))
		return -EUCLEAN;
	if (l->only_try)
		return 0;
	if (v->overlay)
		return vhdx_overlay_add_zeros(v->overlay, d->offset, d->length);
	return disk_file_zero(&v->disk.file, d->offset, d->length, false);
}

static int do_data(struct log *l, const struct vhdx_log_descriptor *d, uint64_t data_at)
{
	uint8_t bytes[VHDX_LOG_SECTOR];
	struct vhdx *v = l->v;
	const void *sector;
	int r;

	if (!may_change(v, d->offset, sizeof(bytes)))
		return -EUCLEAN;
	if (l->only_try)
		return 0;
	r = get_sector(l, data_at, &sector);
	if (r)
		return r;
	memcpy(bytes, sector, sizeof(bytes));
	memcpy(bytes, &d->leading, sizeof(d->leading));
	memcpy(bytes + sizeof(bytes) - sizeof(d->trailing), &d->trailing, sizeof(d->trailing));
	if (v->overlay)
		return vhdx_overlay_add(v->overlay, d->offset, bytes);
	return disk_file_write(&v->disk.file, bytes, sizeof(bytes), d->offset);
}

static int do_entry(struct log *l, const struct entry *e)
{
	uint64_t data_at = e->at + descriptors_length(e->h.descriptors);
	struct vhdx_log_descriptor d;
	int r = 0;

	for (uint32_t i = 0; !r && i < e->h.descriptors; i++) {
		r = get_descriptor(l, e->at, i, &d);
		if (!r && d.signature == VHDX_LOG_ZERO_SIGNATURE) {
			r = do_zeros(l, &d);
		} else if (!r) {
			r = do_data(l, &d, data_at);
			data_at += VHDX_LOG_SECTOR;
		}
	}
	return r;
}

static int do_sequence(struct log *l, const struct entry *last, bool only_try)
{
	uint64_t at = last->h.tail;
	uint64_t done = 0;
	struct entry e;
	int r;

	l->only_try = only_try;
	do {
		r = get_entry(l, at, &e);
		if (r <= 0 || done + e.h.length > l->v->log_length)
			return r < 0 ? r : -EUCLEAN;
		r = do_entry(l, &e);
		if (r)
			return r;
		done += e.h.length;
		at = (at + e.h.length) % l->v->log_length;
	} while (e.at != last->at);
	return 0;
}

/* The lengths that the last entry promises: what the file had, and what it is to have. */
static int check_lengths(struct vhdx *v, const struct entry *last, struct disk_problem *problem)
{
	if (last->h.flushed_file_offset > v->disk.file.size)
		return disk_problem_note(problem, &v->disk.file, -EUCLEAN,
			ERROR_VHD_INVALID_FILE_SIZE,
			"it has %llu bytes, and its log says that there were %llu; "
			"it was cut off, use a copy",
			(unsigned long long)v->disk.file.size,
			(unsigned long long)last->h.flushed_file_offset);
	if (last->h.last_file_offset > VHDX_FILE_MAX)
		return vhdx_damaged(v, problem,
			"its log wants the file to have %llu bytes, more than any VHDX file; "
			"use a copy",
			(unsigned long long)last->h.last_file_offset);
	if (last->h.last_file_offset > v->length)
		v->length = last->h.last_file_offset;
	return 0;
}

static int replay_to_file(struct log *l, const struct entry *last)
{
	struct vhdx *v = l->v;
	int r = do_sequence(l, last, true);

	if (!r)
		r = vhdx_file_begin(v);
	if (!r && v->length > v->disk.file.size)
		r = disk_file_set_size(&v->disk.file, v->length);
	if (!r)
		r = do_sequence(l, last, false);
	if (!r)
		r = disk_file_flush(&v->disk.file);
	return r ? r : vhdx_log_end(v);
}

static int replay_to_memory(struct log *l, const struct entry *last)
{
	struct vhdx *v = l->v;
	int r;

	v->overlay = vhdx_overlay_new();
	if (!v->overlay)
		return -ENOMEM;
	r = do_sequence(l, last, false);
	return r ? r : vhdx_overlay_finish(v->overlay);
}

/* LogGuid names a log and there is none: the file's tables may be half of an old state. */
static int lost(struct vhdx *v, struct disk_problem *problem)
{
	if (!(v->disk.flags & DISK_OPEN_DAMAGED))
		return vhdx_damaged(v, problem,
			"it was not closed, and its log is damaged; "
			"run partita disk check --repair on it");
	v->log_lost = true;
	return 0;
}

int vhdx_replay(struct vhdx *v, struct disk_problem *problem)
{
	struct log l = {.v = v, .at = UINT64_MAX};
	struct entry last;
	int r;

	v->length = v->disk.file.size;
	if (guid_is_zero(&v->header.log))
		return 0;
	l.window = malloc(WINDOW);
	if (!l.window)
		return -ENOMEM;
	r = find_active(&l, &last);
	if (!r) {
		free(l.window);
		return lost(v, problem);
	}
	if (r > 0)
		r = check_lengths(v, &last, problem);
	if (!r)
		r = v->disk.file.writable ? replay_to_file(&l, &last) : replay_to_memory(&l, &last);
	free(l.window);
	if (r == -EUCLEAN)
		return vhdx_damaged(v, problem,
			"its log would change what a log must not; use a copy of the file");
	v->replayed = !r;
	return r;
}
