/*
 * op_copy.c - see op_copy.h. A slot of the pump has one copying request (DISK_COPY) under way,
 * which an engine thread carries out.
 */
#include "disk/op_copy.h"

#include "disk/op_pump.h"

/*
 * Large, so that the file system gives out its space, and writes it back, in large runs. (Linux
 * 6.18 with ext4: 1 GiB takes a third longer in pieces of 1 MiB.)
 */
#define PIECE (8u << 20)

struct copying {
	const struct disk_copy *copy;
	struct walk walk;
	struct disk_request request; /* of a piece of data */
};

static void finished(struct pump_slot *s)
{
	pump_advance(s->pump, s->length);
	pump_next(s, 0);
}

/* As walk_peek(), over all parts. */
static int64_t peek(struct pump *p, enum disk_where *where)
{
	struct copying *c = p->ctx;
	struct walk *w = &c->walk;
	int64_t run;

	while (!(run = walk_peek(w, where)) && c->copy->more) {
		const uint64_t before = w->end;
		const int more = c->copy->more(c->copy->ctx, &w->at, &w->end);

		if (more <= 0)
			return more;
		pump_advance(p, w->at - before);
	}
	return run;
}

static int start(struct pump_slot *s)
{
	struct copying *c = s->pump->ctx;
	struct walk *w = &c->walk;
	enum disk_where where;
	int64_t run;

	while ((run = peek(s->pump, &where)) > 0) {
		s->offset = w->at;
		s->length = run;
		if (where == DISK_DATA) {
			/* Pieces end where the disk's blocks may end. */
			s->length = PIECE - w->at % PIECE;
			if (s->length > (uint64_t)run)
				s->length = run;
			pump_submit(s, c->copy->to, c->request, finished);
		} else if (where == DISK_ZEROS && !c->copy->fresh) {
			pump_submit(
				s, c->copy->to, (struct disk_request){.op = DISK_UNMAP}, finished);
		} else {
			pump_advance(s->pump, run);
			w->at += run;
			continue;
		}
		w->at += s->length;
		return 1;
	}
	return run;
}

int disk_copy_run(
	struct disk_engine *e, const struct disk_copy *copy, struct disk_progress *progress)
{
	struct disk_info from, to;
	struct copying c = {
		.copy = copy,
		.request = {.op = DISK_COPY,
			.from = copy->from,
			.skip_zeros = copy->fresh && copy->find_zeros},
	};
	struct pump p = {
		.ctx = &c,
		.n = copy->parallel,
		.start = start,
		.progress = progress,
	};

	disk_info(copy->from, &from);
	disk_info(copy->to, &to);
	c.walk = (struct walk){
		.disk = copy->from,
		.at = copy->begin,
		.end = copy->end,
		.depth = copy->depth,
		.align = from.logical_sector > to.logical_sector ? from.logical_sector
								 : to.logical_sector,
	};
	return pump_run(e, &p);
}
