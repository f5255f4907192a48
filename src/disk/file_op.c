/*
 * file_op.c - one file operation: at once, by the ring or by an engine thread (queue.h says when).
 */
#include <errno.h>

#include "disk/engine.h"
#include "disk/queue.h"

#define SECTOR 512u

static struct disk_file_op *op_of(struct disk_work *w)
{
	return (struct disk_file_op *)((char *)w - offsetof(struct disk_file_op, work));
}

struct disk_file_op *disk_op_take(struct disk_queue *q)
{
	struct disk_work *w = q->free;

	if (!w)
		return NULL;
	q->free = w->next;
	return op_of(w);
}

void disk_op_give(struct disk_file_op *op)
{
	op->work.next = op->queue->free;
	op->queue->free = &op->work;
}

bool disk_op_moved(struct disk_file_op *op, int64_t n)
{
	if (n == -EINTR || n == -EAGAIN)
		return false;
	if (n < 0) {
		op->result = n;
		return true;
	}
	if (n == 0) {
		/* The end of the file: see disk_file_move(). */
		if (op->kind == OP_READ && op->left < SECTOR)
			disk_iov_zero(op->at, op->left);
		else
			op->result = -EIO;
		return true;
	}
	disk_iov_advance(&op->at, n);
	op->left -= n;
	op->offset += n;
	return !op->left;
}

/* ---- At once --------------------------------------------------------------------------------- */

/* True: it has ended. */
static bool try_read(struct disk_file_op *op)
{
	const struct iovec *window;
	uint64_t bytes;
	unsigned n;
	ssize_t got;

	do {
		n = disk_iov_window(&op->at, op->left, op->room, &window, &bytes);
		got = preadv2(op->file->fd, window, n, op->offset, RWF_NOWAIT);
		/* Errors, the end of the file and what would wait are left to the slow way. */
		if (got <= 0)
			return false;
	} while (!disk_op_moved(op, got));
	return true;
}

static bool write_now(struct disk_file_op *op)
{
	const struct iovec *window;
	uint64_t bytes;
	unsigned n;
	ssize_t put;

	do {
		n = disk_iov_window(&op->at, op->left, op->room, &window, &bytes);
		put = pwritev(op->file->fd, window, n, op->offset);
	} while (!disk_op_moved(op, put < 0 ? -errno : put));
	return true;
}

/* ---- On the engine --------------------------------------------------------------------------- */

static void back_from_engine(struct disk_work *w)
{
	struct disk_file_op *op = op_of(w);

	op->queue->aside--;
	disk_op_ended(op);
}

static void on_engine(struct disk_work *w)
{
	struct disk_file_op *op = op_of(w);

	op->result =
		disk_file_transfer(op->file, op->kind == OP_WRITE, op->at, op->left, op->offset);
	w->run = back_from_engine;
	disk_queue_post(op->queue, w);
}

/* ---- Either way ------------------------------------------------------------------------------ */

void disk_op_start(struct disk_file_op *op)
{
	bool bounce = !disk_file_aligned(op->file, &op->at, op->left, op->offset);

	op->result = 0;
	op->file_offset = op->offset;
	op->length = op->left;
	if (op->kind == OP_WRITE)
		op->recorded =
			disk_file_began(op->file, DISK_EVENT_WRITE, op->offset, op->left, &op->at);
	if (!op->file->direct &&
		((op->kind == OP_READ && try_read(op)) ||
			(op->kind == OP_WRITE && op->left <= OP_INLINE && write_now(op)))) {
		disk_op_ended(op);
	} else if (op->queue->has_ring && !bounce) {
		disk_ring_start(op->queue, op);
	} else {
		op->queue->aside++;
		op->work.run = on_engine;
		disk_engine_run(op->queue->engine, &op->work, DISK_WORK_GOES_ON);
	}
}
