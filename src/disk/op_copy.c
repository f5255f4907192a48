/*
 * op_copy.c - see op_copy.h. A slot of the pump reads a piece of data and writes it; with
 * find_zeros only those parts of it that are not zeros.
 */
#include "disk/op_copy.h"

#include "base/bytes.h"
#include "disk/op_pump.h"

/* Zeros are looked for in parts of this size, so that files do not fall into tiny pieces. */
#define ZERO_GRAIN (64u << 10)

struct copying {
	const struct disk_copy *copy;
	struct walk walk;
};

static void finished(struct pump_slot *s)
{
	pump_advance(s->pump, s->length);
	pump_next(s, 0);
}

static uint64_t grain_at(const struct pump_slot *s, uint64_t at)
{
	const uint64_t end = at - at % ZERO_GRAIN + ZERO_GRAIN;

	return (end < s->offset + s->length ? end : s->offset + s->length) - at;
}

static bool zero_at(const struct pump_slot *s, uint64_t at)
{
	return bytes_are_zero(s->buffer + (at - s->offset), grain_at(s, at));
}

/* Write the next part of the piece that is not zeros. */
static void write_on(struct pump_slot *s)
{
	const struct copying *c = s->pump->ctx;
	const uint64_t end = s->offset + s->length;
	const bool skip = c->copy->fresh && c->copy->find_zeros;
	uint64_t begin;

	while (skip && s->at < end && zero_at(s, s->at))
		s->at += grain_at(s, s->at);
	if (s->at >= end) {
		finished(s);
		return;
	}
	begin = s->at;
	if (!skip)
		s->at = end;
	while (s->at < end && !(s->at > begin && zero_at(s, s->at)))
		s->at += grain_at(s, s->at);
	pump_submit(s, c->copy->to, DISK_WRITE, s->buffer + (begin - s->offset), s->at - begin,
		begin, write_on);
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
		s->offset = s->at = w->at;
		s->length = run;
		if (where == DISK_DATA) {
			/* Pieces end where the disk's blocks may end. */
			s->length = PUMP_PIECE - w->at % PUMP_PIECE;
			if (s->length > (uint64_t)run)
				s->length = run;
			pump_submit(s, c->copy->from, DISK_READ, s->buffer, s->length, s->offset,
				write_on);
		} else if (where == DISK_ZEROS && !c->copy->fresh) {
			pump_submit(
				s, c->copy->to, DISK_UNMAP, NULL, s->length, s->offset, finished);
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
	struct copying c = {.copy = copy};
	struct pump p = {
		.ctx = &c,
		.n = copy->parallel,
		.buffer = PUMP_PIECE,
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
