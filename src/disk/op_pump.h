/*
 * op_pump.h - many large requests under way at once, all driven by one thread: what the operations
 * across disks have in common.
 *
 * A pump has slots, each with a buffer. A slot carries one piece of the work at a time: start()
 * finds a piece and submits its first request with pump_submit(); what is answered submits the next
 * one, or ends the piece with pump_next(), which starts another.
 */
#ifndef PARTITA_DISK_OP_PUMP_H
#define PARTITA_DISK_OP_PUMP_H

#include "disk/disk.h"

/* The largest piece that is read into memory, and the size of its requests, in bytes. */
#define PUMP_PIECE (1u << 20)

struct pump;

struct pump_slot {
	struct disk_request request;
	struct iovec iov;
	void (*answered)(struct pump_slot *s);
	struct pump *pump;
	uint8_t *buffer;	 /* pump.buffer bytes, page aligned */
	uint64_t offset, length; /* the piece; start()'s own */
};

struct pump {
	void *ctx;
	unsigned n;	 /* slots; 0: the default number */
	uint64_t buffer; /* bytes for each slot, 0: none */
	/* start - 1: a request of a new piece is submitted; 0: there is no more; or an error. */
	int (*start)(struct pump_slot *s);
	struct disk_progress *progress; /* may be NULL */

	struct disk_queue *queue;
	unsigned busy; /* slots with a piece */
	int err;       /* the first; what is under way is waited for, nothing more is started */
};

/* pump_run - all of the work. 0 or the first error. */
int pump_run(struct disk_engine *e, struct pump *p);
/* pump_submit - the slot's piece on @d: @what is the operation, and what it needs beside that. */
void pump_submit(struct pump_slot *s, struct disk *d, struct disk_request what,
	void (*answered)(struct pump_slot *s));
/* pump_read - the slot's piece of @d into @data, which is in the slot's buffer. */
void pump_read(
	struct pump_slot *s, struct disk *d, void *data, void (*answered)(struct pump_slot *s));
/* pump_next - the slot's piece is done, or failed of @err; look for another. */
void pump_next(struct pump_slot *s, int err);
/* pump_advance - so many bytes of the disk need no further look. */
void pump_advance(struct pump *p, uint64_t bytes);

/*
 * A walk goes over a part of a disk and cuts it into pieces of one sort. Pieces begin and end at
 * multiples of @align, for the sake of another disk with larger sectors; what is only partly data
 * counts as data.
 */
struct walk {
	struct disk *disk;
	uint64_t at, end; /* bytes: where it is, and where it stops */
	unsigned depth;	  /* disk_extent()'s */
	uint32_t align;

	uint64_t run_end; /* the sort is known up to here */
	enum disk_where where;
};

/*
 * walk_peek - the sort of what follows, *@where, and its length in bytes; 0 at the end, or a
 * negative errno. The caller moves @at on, by that or less.
 */
int64_t walk_peek(struct walk *w, enum disk_where *where);

#endif
