/*
 * queue.h - a queue from the inside: file operations, and those who carry them out.
 *
 * A request becomes operations, one for each run of bytes that lies together in a file. An
 * operation on a buffered file is tried at once, in the queue's thread: reads as long as that does
 * not wait (RWF_NOWAIT), writes up to OP_INLINE bytes whatever it takes, since that is a copy into
 * the page cache which others would only begin later. (Measured on Linux 6.18 with ext4, 4 KiB and
 * one at a time: reads take 1.3 us so, 1.7 us through io_uring; writes less than a third of what
 * they take through io_uring, which hands them to a kernel thread. Registered files and the
 * cooperative modes of io_uring made no difference that could be told from noise.) Everything else
 * goes to the queue's own io_uring, or, where there is none and for what must be bounced, to the
 * engine's threads.
 *
 * All of a queue belongs to the thread that uses it, except the inbox: there the engine's threads
 * put what they have done.
 */
#ifndef PARTITA_DISK_QUEUE_H
#define PARTITA_DISK_QUEUE_H

#include <liburing.h>

#include "disk/request.h"
#include "disk/work.h"

#define OP_INLINE (1u << 20) /* bytes */

enum disk_op_kind { OP_READ, OP_WRITE };

struct disk_file_op {
	struct disk_work work; /* in the list of free ones, with the engine, in the inbox */
	struct disk_queue *queue;
	struct disk_request *request;
	enum disk_op_kind kind;
	struct disk_file *file;
	struct disk_iov at;    /* what is left ... */
	uint64_t left, offset; /* ... bytes, and where in the file */
	struct iovec room[DISK_IOV_ROOM];
	int result;
	/* For its end. */
	uint64_t file_offset, length, recorded;
	uint64_t disk_offset;	   /* OP_WRITE */
	struct disk_extent extent; /* OP_WRITE */
	struct disk_step step;	   /* OP_READ */
};

struct disk_queue {
	struct disk_engine *engine;
	unsigned stripe;
	unsigned under_way;	       /* requests that are not answered */
	unsigned aside;		       /* requests and operations with the engine */
	struct disk_work_list ready;   /* requests to be answered */
	struct disk_work_list starved; /* requests that wait for a free operation */
	struct disk_work *free;	       /* operations */
	struct disk_file_op *ops;

	bool has_ring;
	struct io_uring ring;
	unsigned in_ring; /* operations */

	int event;		  /* eventfd */
	int readiness;		  /* what disk_queue_fd() returns */
	bool polled;		  /* somebody waits for that */
	char apart[64];		  /* what follows is written by other threads */
	_Atomic unsigned posting; /* threads that are about to */
	_Atomic bool signalled;	  /* event was written, or will be at once */
	_Atomic(struct disk_work *) inbox;
};

/* ---- queue.c ---- */

/* disk_queue_post - have the queue's thread call w->run(w). Any thread. */
void disk_queue_post(struct disk_queue *q, struct disk_work *w);

/* ---- file_op.c ---- */

/* disk_op_take - a free operation, NULL: all are in use. disk_op_give() returns it. */
struct disk_file_op *disk_op_take(struct disk_queue *q);
void disk_op_give(struct disk_file_op *op);
/* disk_op_start - carry it out; disk_op_ended() follows, perhaps at once. */
void disk_op_start(struct disk_file_op *op);
/* disk_op_moved - a system call returned @n, a number of bytes or an error. True: it has ended. */
bool disk_op_moved(struct disk_file_op *op, int64_t n);

/* ---- request.c ---- */

void disk_op_ended(struct disk_file_op *op);
/* disk_request_resume - go on with a request that was starved. */
void disk_request_resume(struct disk_request *r);

/* ---- uring.c ---- */

/* disk_ring_available - can there be one? */
bool disk_ring_available(void);
/* disk_ring_init - a ring that can do no more than file operations. 0 or a negative errno. */
int disk_ring_init(struct disk_queue *q, unsigned depth);
void disk_ring_start(struct disk_queue *q, struct disk_file_op *op);
/* disk_ring_submit - what was started reaches the kernel; with @wait, until something has ended. */
void disk_ring_submit(struct disk_queue *q, bool wait);
void disk_ring_reap(struct disk_queue *q);

#endif
