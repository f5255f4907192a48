/*
 * uring.c - operations through the queue's io_uring (io_uring(7)).
 *
 * The ring is restricted to reading and writing files before it is enabled, so that it
 * adds nothing to what a confined process may do.
 */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "disk/queue.h"

/* Debian 12's liburing knows these calls but does not export them. */
static int tell(struct io_uring *ring, unsigned what, void *arg, unsigned n)
{
	return syscall(__NR_io_uring_register, ring->ring_fd, what, arg, n) < 0 ? -errno : 0;
}

static int make(struct io_uring *ring, unsigned depth)
{
	static const uint8_t allowed[] = {
		IORING_OP_READ,
		IORING_OP_READV,
		IORING_OP_WRITE,
		IORING_OP_WRITEV,
	};
	struct io_uring_restriction only[sizeof(allowed)] = {0};
	struct io_uring_params params = {.flags = IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP};
	int err = io_uring_queue_init_params(depth, ring, &params);

	if (err)
		return err;
	for (unsigned i = 0; i < sizeof(allowed); i++) {
		only[i].opcode = IORING_RESTRICTION_SQE_OP;
		only[i].sqe_op = allowed[i];
	}
	err = tell(ring, IORING_REGISTER_RESTRICTIONS, only, sizeof(allowed));
	if (!err)
		err = tell(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	if (err)
		io_uring_queue_exit(ring);
	return err;
}

bool disk_ring_available(void)
{
	struct io_uring ring;

	if (make(&ring, 1))
		return false;
	io_uring_queue_exit(&ring);
	return true;
}

int disk_ring_init(struct disk_queue *q, unsigned depth)
{
	return make(&q->ring, depth);
}

void disk_ring_start(struct disk_queue *q, struct disk_file_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);
	const struct iovec *window;
	uint64_t bytes;
	unsigned n;

	/* There are as many operations as entries, unless the kernel clamped them. */
	while (!sqe) {
		disk_ring_submit(q, false);
		sqe = io_uring_get_sqe(&q->ring);
	}
	n = disk_iov_window(&op->at, op->left, op->room, &window, &bytes);
	if (op->kind == OP_WRITE)
		io_uring_prep_writev(sqe, op->file->fd, window, n, op->offset);
	else
		io_uring_prep_readv(sqe, op->file->fd, window, n, op->offset);
	io_uring_sqe_set_data(sqe, op);
	q->in_ring++;
}

void disk_ring_submit(struct disk_queue *q, bool wait)
{
	/* Whatever keeps it from being done (a signal, memory) the next call tries again. */
	if (wait)
		io_uring_submit_and_wait(&q->ring, 1);
	else if (io_uring_sq_ready(&q->ring))
		io_uring_submit(&q->ring);
}

void disk_ring_reap(struct disk_queue *q)
{
	struct io_uring_cqe *cqe;

	while (q->in_ring && io_uring_peek_cqe(&q->ring, &cqe) == 0) {
		struct disk_file_op *op = io_uring_cqe_get_data(cqe);
		int n = cqe->res;

		io_uring_cqe_seen(&q->ring, cqe);
		q->in_ring--;
		if (disk_op_moved(op, n))
			disk_op_ended(op);
		else
			disk_ring_start(q, op);
	}
}
