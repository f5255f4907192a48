/*
 * sync.c - requests done at once, in the calling thread: those of callers without a queue, and on
 * the engine's threads those parts of a queue's requests that may block.
 */
#include <errno.h>

#include "disk/request.h"

/* ---- Where it is ----------------------------------------------------------------------------- */

void disk_step_end(struct disk_step *s)
{
	if (s->ticket)
		disk_gate_leave(&s->at->gate, s->ticket);
}

int disk_step_map(struct disk *d, uint64_t offset, uint64_t length, unsigned stripe, bool nowait,
	struct disk_step *s)
{
	struct disk_extent extent;
	int err;

	*s = (struct disk_step){.at = d, .length = length};
	for (;;) {
		uint64_t size = atomic_load_explicit(&s->at->size, memory_order_relaxed);
		struct disk *parent = s->at->parent;

		if (offset >= size) { /* a parent that is smaller */
			extent.place = DISK_NOWHERE;
			err = 0;
			break;
		}
		if (s->length > size - offset)
			s->length = size - offset;
		err = s->at->ops->map(s->at, offset, s->length, nowait, &extent);
		if (err)
			break;
		if (extent.length < s->length)
			s->length = extent.length;
		if (extent.place != DISK_IN_PARENT)
			break;
		disk_step_end(s);
		s->ticket = 0;
		if (!parent)
			return -ENXIO;
		s->at = parent;
		/* One that nobody can write needs no counting: its places are for ever. */
		if (parent->file.writable)
			s->ticket = disk_gate_enter(&parent->gate, stripe, true);
	}
	if (!err && extent.place == DISK_HERE) {
		s->file_offset = extent.file_offset;
		return 0;
	}
	disk_step_end(s);
	s->ticket = 0;
	s->at = NULL;
	return err;
}

/* ---- Requests -------------------------------------------------------------------------------- */

int disk_request_check(struct disk *d, const struct disk_request *r)
{
	uint64_t mask = d->fixed.logical_sector - 1, size = disk_size(d), held = 0;

	if (r->op == DISK_FLUSH)
		return 0;
	if (r->op != DISK_READ && !d->file.writable)
		return -EROFS;
	if ((r->offset | r->length) & mask)
		return -EINVAL;
	if (r->offset > size || r->length > size - r->offset)
		return -ENOSPC;
	if (r->op == DISK_COPY) {
		size = disk_size(r->from);
		return r->offset > size || r->length > size - r->offset ? -ENOSPC : 0;
	}
	if (r->op != DISK_READ && r->op != DISK_WRITE)
		return 0;
	for (unsigned i = 0; i < r->n_iov && held < r->length; i++)
		held += r->iov[i].iov_len;
	return held >= r->length ? 0 : -EINVAL;
}

bool disk_request_empty(const struct disk *d, const struct disk_request *r)
{
	return r->op == DISK_FLUSH ? !d->file.writable : !r->length;
}

struct disk_gate *disk_request_admit(struct disk_request *r, unsigned stripe)
{
	struct disk_gate *g = &r->disk->gate;
	const bool copies = r->op == DISK_COPY;

	/* The source first, since it may be a child of the target: a child is frozen first. */
	if (copies) {
		r->from_ticket = disk_gate_enter(&r->from->gate, stripe, false);
		if (!r->from_ticket)
			return &r->from->gate;
	}
	r->ticket = copies || r->op == DISK_READ || r->op == DISK_WRITE
			    ? disk_gate_enter(g, stripe, false)
			    : disk_gate_stay(g, stripe, false);
	if (r->ticket)
		return NULL;
	if (copies)
		disk_gate_leave(&r->from->gate, r->from_ticket);
	return g;
}

static int read_next(struct disk_request *r, struct disk_iov at, unsigned stripe, uint64_t *moved)
{
	struct disk_step s;
	int err = disk_step_map(
		r->disk, r->offset + r->reached, r->length - r->reached, stripe, false, &s);

	if (err)
		return err;
	if (s.at)
		err = disk_file_move(&s.at->file, false, at, s.length, s.file_offset);
	else
		disk_iov_zero(at, s.length);
	disk_step_end(&s);
	*moved = s.length;
	return err;
}

static int write_next(struct disk_request *r, struct disk_iov at, uint64_t *moved)
{
	struct disk *d = r->disk;
	struct disk_extent x = {0};
	uint64_t offset = r->offset + r->reached;
	int err = d->ops->place(d, offset, r->length - r->reached, &at, false, &x), settled;

	if (err)
		return err;
	*moved = x.length;
	if (x.place == DISK_NOWHERE)
		return 0;
	err = disk_file_move(&d->file, true, at, x.length, x.file_offset);
	settled = x.settle ? d->ops->settle(d, offset, &x, err) : 0;
	return err ? err : settled;
}

int disk_request_move(struct disk_request *r, unsigned stripe)
{
	struct disk_iov at = {r->iov, r->n_iov, 0};
	int err = 0;

	disk_iov_advance(&at, r->reached);
	while (r->reached < r->length && !err) {
		uint64_t moved = 0;

		err = r->op == DISK_READ ? read_next(r, at, stripe, &moved)
					 : write_next(r, at, &moved);
		disk_iov_advance(&at, moved);
		r->reached += moved;
	}
	return err;
}

/* Zeros for a place where the format itself cannot put them. */
static int write_zeros(
	struct disk *d, uint64_t offset, uint64_t length, unsigned stripe, uint64_t *done)
{
	disk_ticket t = disk_gate_enter(&d->gate, stripe, true);
	struct disk_extent x = {0};
	int err = d->ops->place(d, offset, length, NULL, false, &x), settled = 0;

	if (!err) {
		/* A new place may be behind the end of the file, which the data then moves. */
		err = x.file_offset + x.length > atomic_load(&d->file.size)
			      ? disk_file_write_zeros(&d->file, x.file_offset, x.length)
			      : disk_file_zero(&d->file, x.file_offset, x.length, false);
		settled = x.settle ? d->ops->settle(d, offset, &x, err) : 0;
	}
	disk_gate_leave(&d->gate, t);
	*done = x.length;
	return err ? err : settled;
}

int disk_request_write_zeros(struct disk *d, uint64_t offset, uint64_t length, unsigned stripe)
{
	int err = 0;

	for (uint64_t done = 0; length && !err; offset += done, length -= done)
		err = write_zeros(d, offset, length, stripe, &done);
	return err;
}

static int zero(struct disk_request *r, unsigned stripe)
{
	struct disk *d = r->disk;
	int err = 0;

	while (r->reached < r->length && !err) {
		uint64_t at = r->offset + r->reached, left = r->length - r->reached, done = 0;

		err = d->ops->zero(d, at, left, r->op == DISK_UNMAP, &done);
		if (!err && done < left) {
			uint64_t more = 0;

			err = write_zeros(d, at + done, left - done, stripe, &more);
			done += more;
		}
		r->reached += done;
	}
	return err;
}

int disk_request_flush(struct disk *d)
{
	struct disk_watcher *w;
	int err;

	err = d->ops->flush ? d->ops->flush(d) : disk_file_flush(&d->file);
	for (w = atomic_load(&d->watchers); w && !err; w = w->next)
		if (w->flushed)
			w->flushed(w);
	return err;
}

static int change(struct disk_request *r, unsigned stripe)
{
	struct disk *d = r->disk;
	disk_ticket inside = r->ticket;
	int err;

	if (r->op == DISK_COPY)
		return disk_request_copy(r, stripe);
	if (r->op != DISK_WRITE)
		return zero(r, stripe);
	err = disk_request_move(r, stripe);
	if (err || !r->fua)
		return err;
	r->ticket = disk_gate_stay(&d->gate, stripe, true);
	disk_gate_leave(&d->gate, inside);
	return disk_request_flush(d);
}

/* Changes are told to the watchers: those who agreed before also learn how it ended. */
static int watched_change(struct disk_request *r, unsigned stripe)
{
	struct disk_watcher *first = atomic_load(&r->disk->watchers), *w;
	int err = 0;

	for (w = first; w; w = w->next) {
		err = w->before(w, r);
		if (err)
			break;
	}
	if (!err)
		err = change(r, stripe);
	r->result = err;
	for (struct disk_watcher *told = first; told != w; told = told->next)
		told->after(told, r);
	return err;
}

int disk_request_perform(struct disk_request *r, unsigned stripe)
{
	int err = r->op == DISK_READ	? disk_request_move(r, stripe)
		  : r->op == DISK_FLUSH ? disk_request_flush(r->disk)
					: watched_change(r, stripe);

	disk_gate_leave(&r->disk->gate, r->ticket);
	if (r->op == DISK_COPY)
		disk_gate_leave(&r->from->gate, r->from_ticket);
	return err;
}

/* ---- Without a queue ------------------------------------------------------------------------- */

static int now(struct disk *d, struct disk_request *r)
{
	unsigned stripe = disk_stripe();
	int err = disk_request_check(d, r);
	struct disk_gate *shut;

	if (err || disk_request_empty(d, r))
		return err;
	r->disk = d;
	while ((shut = disk_request_admit(r, stripe)))
		disk_gate_wait(shut);
	return disk_request_perform(r, stripe);
}

static uint64_t total(const struct iovec *iov, unsigned n)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += iov[i].iov_len;
	return bytes;
}

int disk_readv(struct disk *d, const struct iovec *iov, unsigned n, uint64_t offset)
{
	struct disk_request r = {.op = DISK_READ, .offset = offset, .iov = iov, .n_iov = n};

	r.length = total(iov, n);
	return now(d, &r);
}

int disk_writev(struct disk *d, const struct iovec *iov, unsigned n, uint64_t offset)
{
	struct disk_request r = {.op = DISK_WRITE, .offset = offset, .iov = iov, .n_iov = n};

	r.length = total(iov, n);
	return now(d, &r);
}

int disk_read(struct disk *d, void *buffer, uint64_t length, uint64_t offset)
{
	struct iovec area = {.iov_base = buffer, .iov_len = length};

	return disk_readv(d, &area, 1, offset);
}

int disk_write(struct disk *d, const void *buffer, uint64_t length, uint64_t offset)
{
	struct iovec area = {.iov_base = (void *)buffer, .iov_len = length};

	return disk_writev(d, &area, 1, offset);
}

int disk_flush(struct disk *d)
{
	struct disk_request r = {.op = DISK_FLUSH};

	return now(d, &r);
}

int disk_unmap(struct disk *d, uint64_t offset, uint64_t length)
{
	struct disk_request r = {.op = DISK_UNMAP, .offset = offset, .length = length};

	return now(d, &r);
}

int disk_zero(struct disk *d, uint64_t offset, uint64_t length)
{
	struct disk_request r = {.op = DISK_ZERO, .offset = offset, .length = length};

	return now(d, &r);
}

int disk_copy(struct disk *d, struct disk *from, uint64_t offset, uint64_t length)
{
	struct disk_request r = {.op = DISK_COPY, .from = from, .offset = offset, .length = length};

	return now(d, &r);
}
