/*
 * op_pump.c - see op_pump.h.
 */
#include "disk/op_pump.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

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
	struct pump_slot *slots;
	uint8_t *arena = MAP_FAILED;
	unsigned n = p->n ? p->n : DISK_PARALLEL_DEFAULT;

	slots = calloc(n, sizeof(*slots));
	p->queue = disk_queue_create(e, n);
	if (slots && p->queue)
		arena = mmap(NULL, n * p->buffer, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED) {
		p->err = -ENOMEM;
	} else {
		for (unsigned i = 0; i < n; i++) {
			slots[i].pump = p;
			slots[i].buffer = arena + i * p->buffer;
			start_slot(&slots[i]);
		}
		while (p->busy)
			disk_queue_run(p->queue, true);
		munmap(arena, n * p->buffer);
	}
	disk_queue_destroy(p->queue);
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

void pump_submit(struct pump_slot *s, struct disk *d, enum disk_op op, void *data, uint64_t length,
	uint64_t offset, void (*answered)(struct pump_slot *s))
{
	s->answered = answered;
	s->iov = (struct iovec){data, length};
	s->request = (struct disk_request){
		.op = op,
		.offset = offset,
		.length = length,
		.iov = data ? &s->iov : NULL,
		.n_iov = data ? 1 : 0,
		.done = done,
	};
	disk_submit(s->pump->queue, d, &s->request);
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
