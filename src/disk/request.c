/*
 * request.c - requests on a queue: split at the extents the formats name, followed through the
 * chain, and put together again.
 *
 * Everything here happens in the queue's thread without waiting. What a format cannot answer so is
 * done by the engine's threads as sync.c does it: the whole request, or what is left of it. The
 * same goes for changes that are watched, for zeroing, and for flushing.
 */
#include <errno.h>

#include "disk/engine.h"
#include "disk/queue.h"

static struct disk_request *request_of(struct disk_work *w)
{
	return (struct disk_request *)((char *)w - offsetof(struct disk_request, work));
}

static void ready(struct disk_request *r, int result)
{
	r->result = result;
	disk_work_append(&r->queue->ready, &r->work);
}

/* ---- On the engine --------------------------------------------------------------------------- */

static void back_whole(struct disk_work *w)
{
	struct disk_request *r = request_of(w);

	r->queue->aside--;
	ready(r, r->aside);
}

static void do_whole(struct disk_work *w)
{
	struct disk_request *r = request_of(w);
	unsigned stripe = disk_stripe();
	struct disk_gate *shut;

	/* Not in yet: it was held back while the disk was frozen, or see send_whole(). */
	while (!r->ticket && (shut = disk_request_admit(r, stripe)))
		if (disk_gate_hold(shut, w))
			return;
	r->aside = disk_request_perform(r, stripe);
	w->run = back_whole;
	disk_queue_post(r->queue, w);
}

static void part_done(struct disk_request *r, int err);

static void back_rest(struct disk_work *w)
{
	struct disk_request *r = request_of(w);

	r->queue->aside--;
	part_done(r, r->aside);
}

static void do_rest(struct disk_work *w)
{
	struct disk_request *r = request_of(w);

	r->aside = disk_request_move(r, disk_stripe());
	w->run = back_rest;
	disk_queue_post(r->queue, w);
}

static void send_aside(
	struct disk_request *r, void (*run)(struct disk_work *w), enum disk_work_kind kind)
{
	r->queue->aside++;
	r->work.run = run;
	disk_engine_run(r->disk->engine, &r->work, kind);
}

/* Nothing of it has begun. */
static void send_whole(struct disk_request *r)
{
	const bool flushes = r->op == DISK_WRITE && r->fua;
	const bool waits = flushes || r->op == DISK_ZERO || r->op == DISK_UNMAP;

	if (flushes) {
		/* It will also flush: it must not wait for its turn inside. */
		disk_gate_leave(&r->disk->gate, r->ticket);
		r->ticket = 0;
	}
	send_aside(r, do_whole, waits ? DISK_WORK_WAITS : DISK_WORK_GOES_ON);
}

/* ---- Flushing -------------------------------------------------------------------------------- */

static void flush_aside(struct disk_work *w)
{
	struct disk_request *r = request_of(w);

	r->aside = disk_request_flush(r->disk);
	disk_gate_leave(&r->disk->gate, r->ticket);
	w->run = back_whole;
	disk_queue_post(r->queue, w);
}

/* A flush, or the end of a write that is to be durable; outside. */
static void start_flush(struct disk_request *r)
{
	send_aside(r, flush_aside, DISK_WORK_WAITS);
}

/* ---- Reading and writing --------------------------------------------------------------------- */

/* All parts are done, and there will be no more. */
static void finish(struct disk_request *r)
{
	struct disk_gate *g = &r->disk->gate;
	disk_ticket inside = r->ticket;

	if (r->op == DISK_WRITE && r->fua && !r->result) {
		r->ticket = disk_gate_stay(g, r->queue->stripe, true);
		disk_gate_leave(g, inside);
		start_flush(r);
		return;
	}
	disk_gate_leave(g, r->ticket);
	ready(r, r->result);
}

static void part_done(struct disk_request *r, int err)
{
	if (err && !r->result)
		r->result = err;
	if (!--r->parts)
		finish(r);
}

void disk_op_ended(struct disk_file_op *op)
{
	struct disk_request *r = op->request;
	struct disk *d = r->disk;
	int err = op->result, settled = 0;

	if (op->kind == OP_READ) {
		disk_step_end(&op->step);
	} else {
		disk_file_ended(
			op->file, op->recorded, DISK_EVENT_WRITE, op->file_offset, op->length, err);
		if (op->extent.settle)
			settled = d->ops->settle(d, op->disk_offset, &op->extent, err);
	}
	disk_op_give(op);
	part_done(r, err ? err : settled);
}

static int start_read(
	struct disk_request *r, struct disk_file_op *op, struct disk_iov at, uint64_t *length)
{
	int err = disk_step_map(r->disk, r->offset + r->reached, r->length - r->reached,
		r->queue->stripe, true, &op->step);

	if (err)
		return err;
	*length = op->step.length;
	if (!op->step.at) {
		disk_iov_zero(at, *length);
		disk_op_give(op);
		return 0;
	}
	op->kind = OP_READ;
	op->file = &op->step.at->file;
	op->at = at;
	op->left = *length;
	op->offset = op->step.file_offset;
	r->parts++;
	disk_op_start(op);
	return 0;
}

static int start_write(
	struct disk_request *r, struct disk_file_op *op, struct disk_iov at, uint64_t *length)
{
	struct disk *d = r->disk;
	int err;

	op->disk_offset = r->offset + r->reached;
	op->extent.settle = false;
	err = d->ops->place(d, op->disk_offset, r->length - r->reached, &at, true, &op->extent);
	if (err)
		return err;
	*length = op->extent.length;
	if (op->extent.place == DISK_NOWHERE) {
		disk_op_give(op);
		return 0;
	}
	op->kind = OP_WRITE;
	op->file = &d->file;
	op->at = at;
	op->left = *length;
	op->offset = op->extent.file_offset;
	r->parts++;
	disk_op_start(op);
	return 0;
}

/* Make parts of what was not reached yet. */
static void move(struct disk_request *r)
{
	struct disk_iov at = {r->iov, r->n_iov, 0};
	int err = 0;

	disk_iov_advance(&at, r->reached);
	while (r->reached < r->length && !err) {
		struct disk_file_op *op = disk_op_take(r->queue);
		uint64_t length = 0;

		if (!op) {
			disk_work_append(&r->queue->starved, &r->work);
			return;
		}
		op->request = r;
		err = r->op == DISK_READ ? start_read(r, op, at, &length)
					 : start_write(r, op, at, &length);
		if (err)
			disk_op_give(op);
		disk_iov_advance(&at, length);
		r->reached += length;
	}
	if (err != -EAGAIN)
		part_done(r, err);
	else if (r->reached)
		send_aside(r, do_rest, DISK_WORK_GOES_ON);
	else
		send_whole(r);
}

void disk_request_resume(struct disk_request *r)
{
	move(r);
}

void disk_submit(struct disk_queue *q, struct disk *d, struct disk_request *r)
{
	int err = disk_request_check(d, r);
	struct disk_gate *shut;

	r->disk = d;
	r->queue = q;
	r->reached = 0;
	r->parts = 1;
	r->ticket = 0;
	r->result = 0;
	q->under_way++;
	if (err || disk_request_empty(d, r)) {
		ready(r, err);
		return;
	}
	r->work.run = do_whole;
	while ((shut = disk_request_admit(r, q->stripe)))
		if (disk_gate_hold(shut, &r->work)) {
			q->aside++;
			return;
		}
	if (r->op == DISK_FLUSH)
		start_flush(r);
	else if (r->op == DISK_READ || (r->op == DISK_WRITE && !atomic_load(&d->watchers)))
		move(r);
	else
		send_whole(r);
}
