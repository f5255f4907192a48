/*
 * op_pump.c - see op_pump.h.
 */
#include "disk/op_pump.h"

#include <errno.h>
#include <stdlib.h>

#include "disk/operations.h"

/* A slot becomes busy with a piece, or rests for good. */
static void start_slot(struct pump_slot *s)
{
	struct pump *p = s->pump;
	int started = 0;

	if (p->progress && p->progress->cancel && !p->err)
		p->err = -ECANCELED;
	if (!p->err)
		started = p->start(s);
	if (started > 0)
		p->busy++;
	else if (started < 0 && !p->err)
		p->err = started;
}

int pump_run(struct disk_engine *e, struct pump *p)
{
	unsigned n = p->n ? p->n : DISK_PARALLEL_DEFAULT;
	struct pump_slot *slots = calloc(n, sizeof(*slots));
	uint8_t *arena = p->buffer ? aligned_alloc(4096, n * p->buffer) : NULL;

	p->queue = disk_queue_create(e, n);
	if (!slots || !p->queue || (p->buffer && !arena))
		p->err = -ENOMEM;
	for (unsigned i = 0; i < n && !p->err; i++) {
		slots[i].pump = p;
		slots[i].buffer = p->buffer ? arena + i * p->buffer : NULL;
		start_slot(&slots[i]);
	}
	while (p->busy)
		disk_queue_run(p->queue, true);
	disk_queue_destroy(p->queue);
	free(arena);
	free(slots);
	return p->err;
}

static void done(struct disk_request *r)
{
	struct pump_slot *s = (struct pump_slot *)r; /* its first member */

	if (r->result)
		pump_next(s, r->result);
	else
		s->answered(s);
}

void pump_submit(struct pump_slot *s, struct disk *d, struct disk_request what,
	void (*answered)(struct pump_slot *s))
{
	s->answered = answered;
	s->request = what;
	s->request.offset = s->offset;
	s->request.length = s->length;
	s->request.done = done;
	disk_submit(s->pump->queue, d, &s->request);
}

void pump_read(
	struct pump_slot *s, struct disk *d, void *data, void (*answered)(struct pump_slot *s))
{
	s->iov = (struct iovec){data, s->length};
	pump_submit(
		s, d, (struct disk_request){.op = DISK_READ, .iov = &s->iov, .n_iov = 1}, answered);
}

void pump_next(struct pump_slot *s, int err)
{
	struct pump *p = s->pump;

	if (err && !p->err)
		p->err = err;
	p->busy--;
	start_slot(s);
}

void pump_advance(struct pump *p, uint64_t bytes)
{
	if (p->progress)
		p->progress->done += bytes;
}

static int look(struct walk *w)
{
	int64_t run = disk_extent(w->disk, w->at, w->end, w->depth, &w->where);
	uint64_t end;

	if (run <= 0)
		return run ? run : -EIO;
	end = w->at + run;
	if (w->where == DISK_DATA && end % w->align)
		end += w->align - end % w->align;
	else if (w->where != DISK_DATA && end != w->end)
		end -= end % w->align;
	if (end <= w->at) {
		w->where = DISK_DATA;
		end = w->at + w->align;
	}
	w->run_end = end < w->end ? end : w->end;
	return 0;
}

int64_t walk_peek(struct walk *w, enum disk_where *where)
{
	int err;

	if (w->at >= w->end)
		return 0;
	if (w->at >= w->run_end) {
		err = look(w);
		if (err)
			return err;
	}
	*where = w->where;
	return w->run_end - w->at;
}
