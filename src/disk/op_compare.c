/*
 * op_compare.c - whether two disks have the same contents: see operations.h. Only what one of them
 * holds is read; a slot of the pump reads a piece of both, one behind the other.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "disk/op_pump.h"
#include "disk/operations.h"

enum { A, B };

struct comparing {
	struct walk walk[2]; /* both stop where the shorter disk ends */
	struct walk rest;    /* of the longer one, which has to be zeros */
	bool differ;
	uint64_t where; /* the first difference that was found so far */
};

static uint8_t *half(const struct pump_slot *s, unsigned which)
{
	return s->buffer + which * PUMP_PIECE;
}

/* Pieces are answered in any order; the first difference counts. */
static void note_difference(struct comparing *c, uint64_t where)
{
	if (!c->differ || where < c->where)
		c->where = where;
	c->differ = true;
}

static void compare(struct pump_slot *s)
{
	const uint8_t *a = half(s, A), *b = half(s, B);
	uint64_t i = 0;

	if (memcmp(a, b, s->length) != 0) {
		while (a[i] == b[i])
			i++;
		note_difference(s->pump->ctx, s->offset + i);
	}
	pump_advance(s->pump, s->length);
	pump_next(s, 0);
}

static void read_b(struct pump_slot *s)
{
	const struct comparing *c = s->pump->ctx;

	pump_read(s, c->walk[B].disk, half(s, B), compare);
}

/* A disk that holds nothing here needs no read. */
static void read_piece(struct pump_slot *s, const enum disk_where where[2])
{
	const struct comparing *c = s->pump->ctx;

	for (unsigned which = A; which <= B; which++)
		if (where[which] != DISK_DATA)
			memset(half(s, which), 0, s->length);
	if (where[A] == DISK_DATA)
		pump_read(s, c->walk[A].disk, half(s, A), where[B] == DISK_DATA ? read_b : compare);
	else
		read_b(s);
}

static void read_rest(struct pump_slot *s)
{
	const struct comparing *c = s->pump->ctx;

	memset(half(s, B), 0, s->length);
	pump_read(s, c->rest.disk, half(s, A), compare);
}

static uint64_t piece_length(uint64_t at, uint64_t run)
{
	const uint64_t left = PUMP_PIECE - at % PUMP_PIECE;

	return left < run ? left : run;
}

/* 1: a piece of what both disks have was started; 0: there is no more of it. */
static int start_both(struct pump_slot *s)
{
	struct comparing *c = s->pump->ctx;
	enum disk_where where[2];
	int64_t run, run_b;
	bool data;

	while ((run = walk_peek(&c->walk[A], &where[A])) > 0) {
		run_b = walk_peek(&c->walk[B], &where[B]);
		if (run_b <= 0)
			return run_b;
		if (run_b < run)
			run = run_b;
		data = where[A] == DISK_DATA || where[B] == DISK_DATA;
		s->offset = c->walk[A].at;
		s->length = data ? piece_length(s->offset, run) : (uint64_t)run;
		c->walk[A].at += s->length;
		c->walk[B].at += s->length;
		if (data) {
			read_piece(s, where);
			return 1;
		}
		pump_advance(s->pump, s->length);
	}
	return run;
}

static int start(struct pump_slot *s)
{
	struct comparing *c = s->pump->ctx;
	enum disk_where where;
	int64_t run;
	int started = c->differ ? 0 : start_both(s);

	if (started || c->differ)
		return started;
	while ((run = walk_peek(&c->rest, &where)) > 0) {
		s->offset = c->rest.at;
		s->length = where == DISK_DATA ? piece_length(s->offset, run) : (uint64_t)run;
		c->rest.at += s->length;
		if (where == DISK_DATA) {
			read_rest(s);
			return 1;
		}
		pump_advance(s->pump, s->length);
	}
	return run;
}

/*
 * The end of the shorter disk, when it lies within a sector of the longer one: what is behind it
 * there has to be zeros.
 */
static int compare_tail(struct comparing *c, uint64_t from, uint32_t n)
{
	uint8_t sector[2][4096] = {0};
	uint64_t left;
	int err = 0;

	for (unsigned which = A; which <= B && !err; which++) {
		left = disk_size(c->walk[which].disk) - from;
		err = disk_read(c->walk[which].disk, sector[which], left < n ? left : n, from);
	}
	for (uint32_t i = 0; i < n && !err; i++)
		if (sector[A][i] != sector[B][i])
			note_difference(c, from + i);
	return err;
}

/* Pieces begin and end at both disks' sectors. */
static uint32_t alignment(struct disk *a, struct disk *b)
{
	struct disk_info info_a, info_b;

	disk_info(a, &info_a);
	disk_info(b, &info_b);
	return info_a.logical_sector > info_b.logical_sector ? info_a.logical_sector
							     : info_b.logical_sector;
}

int disk_compare(struct disk_engine *e, struct disk *a, struct disk *b,
	struct disk_compare *compare, struct disk_progress *progress)
{
	struct disk *longer = disk_size(a) < disk_size(b) ? b : a;
	const uint64_t shorter = disk_size(longer == a ? b : a), all = disk_size(longer);
	const uint32_t align = alignment(a, b), tail = shorter % align;
	const uint64_t end = shorter - tail;
	struct comparing c = {
		.walk = {{a, 0, end, UINT_MAX, align, 0, 0}, {b, 0, end, UINT_MAX, align, 0, 0}},
		.rest = {longer, tail ? end + align : end, all, UINT_MAX, align, 0, 0},
	};
	struct pump p = {
		.ctx = &c,
		.n = compare->parallel,
		.buffer = 2 * PUMP_PIECE,
		.start = start,
		.progress = progress,
	};
	int err;

	if (compare->same_size && shorter != all) {
		compare->differ = true;
		compare->where = shorter;
		return 0;
	}
	if (progress)
		progress->total = all;
	err = pump_run(e, &p);
	if (!err && tail && (!c.differ || c.where > end))
		err = compare_tail(&c, end, align);
	compare->differ = c.differ;
	compare->where = c.where;
	/* What failed behind a difference does not change the answer. */
	return c.differ ? 0 : err;
}
