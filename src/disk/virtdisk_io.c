/*
 * virtdisk_io.c - ReadFile, WriteFile and FlushFileBuffers on a virtual disk: its contents without
 * a device, any number of requests at once.
 *
 * The disk is attached to nobody for that (NO_LOCAL_HOST). A handle has one thread for this, from
 * its first request on, with a queue of its own. The thread holds the disk while something is under
 * way, and from time to time lets everything end first, so that whoever waits to put another disk
 * in its place gets his turn.
 *
 * Source: Microsoft Learn, "ReadFile function", "WriteFile function", and of what a handle allows
 * the flags of AttachVirtualDisk.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/event.h"
#include "disk/virtdisk_event.h"
#include "disk/virtdisk_handle.h"

#define DEPTH 64u   /* file operations at once */
#define TURN  1024u /* requests after which everything ends once */

struct transfer {
	struct disk_request request; /* the first member */
	struct iovec data;
	OVERLAPPED *overlapped;
	HANDLE event;
	struct vdisk_io *io;
	struct transfer *next;
};

struct vdisk_io {
	struct vdisk *disk;
	struct disk_queue *queue;
	pthread_t thread;
	int wake;
	bool ending; /* this and what waits: under the handle's lock */
	struct transfer *first, **last;
	/* The thread's own. */
	bool holding;
	unsigned under_way, taken; /* of this turn */
};

/* Once Internal is set, the caller may free the OVERLAPPED and close the handle. */
static void finish(struct transfer *t, DWORD code, uint64_t bytes)
{
	struct vdisk *v = t->io->disk;

	pthread_mutex_lock(&v->lock);
	vdisk_complete(t->overlapped, t->event, code, code ? 0 : bytes);
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
	free(t);
}

static void transfer_done(struct disk_request *r)
{
	struct transfer *t = (struct transfer *)r;

	t->io->under_way--;
	finish(t, disk_problem_win32(NULL, r->result), r->length);
}

/* Start @t, cut off at the disk's end. */
static void submit(struct vdisk_io *io, struct transfer *t)
{
	struct disk_request *r = &t->request;
	struct disk *d = io->disk->disk;
	const uint64_t size = d ? disk_size(d) : 0;
	DWORD code = ERROR_SUCCESS;
	struct disk_info info;

	if (d)
		disk_info(d, &info);
	if (!d)
		code = ERROR_VHD_INVALID_STATE;
	else if (r->offset >= size)
		code = ERROR_HANDLE_EOF;
	else if ((r->offset | r->length) % info.logical_sector)
		code = ERROR_INVALID_PARAMETER;
	if (code) {
		finish(t, code, 0);
		return;
	}
	if (r->length > size - r->offset)
		r->length = size - r->offset;
	io->under_way++;
	disk_submit(io->queue, d, r);
}

static struct transfer *take_next(struct vdisk_io *io)
{
	struct vdisk *v = io->disk;
	struct transfer *t;

	pthread_mutex_lock(&v->lock);
	t = io->first;
	if (t)
		io->first = t->next;
	if (!io->first)
		io->last = &io->first;
	pthread_mutex_unlock(&v->lock);
	return t;
}

static void begin_turn(struct vdisk_io *io)
{
	if (!io->holding)
		pthread_rwlock_rdlock(&io->disk->use);
	io->holding = true;
}

static void end_turn(struct vdisk_io *io)
{
	if (io->holding)
		pthread_rwlock_unlock(&io->disk->use);
	io->holding = false;
	io->taken = 0;
}

static void submit_all(struct vdisk_io *io)
{
	struct transfer *t;

	while (io->taken < TURN && (t = take_next(io))) {
		begin_turn(io);
		io->taken++;
		submit(io, t);
	}
	disk_queue_kick(io->queue);
}

/* Whether there is nothing to wait for any more. */
static bool is_over(struct vdisk_io *io)
{
	bool over;

	pthread_mutex_lock(&io->disk->lock);
	over = io->ending && !io->first && !io->under_way;
	pthread_mutex_unlock(&io->disk->lock);
	return over;
}

static void *io_thread(void *ctx)
{
	struct vdisk_io *io = ctx;
	struct pollfd p[] = {
		{.fd = io->wake, .events = POLLIN},
		{.fd = disk_queue_fd(io->queue), .events = POLLIN},
	};
	uint64_t count;
	bool full;

	while (!is_over(io)) {
		poll(p, 2, -1);
		if (p[0].revents & POLLIN && read(io->wake, &count, sizeof(count)) < 0)
			continue;
		do {
			submit_all(io);
			full = io->taken == TURN;
			disk_queue_run(io->queue, full);
			if (!io->under_way)
				end_turn(io);
		} while (full);
	}
	return NULL;
}

static int start_thread(struct vdisk_io *io)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&io->thread, NULL, io_thread, io);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

static void io_free(struct vdisk_io *io)
{
	disk_queue_destroy(io->queue);
	if (io->wake >= 0)
		close(io->wake);
	free(io);
}

/* NULL: memory, descriptors or threads are short. */
static struct vdisk_io *io_create(struct vdisk *v)
{
	struct vdisk_io *io = calloc(1, sizeof(*io));

	if (!io)
		return NULL;
	io->disk = v;
	io->last = &io->first;
	io->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	io->queue = disk_queue_create(v->engine, DEPTH);
	if (io->wake >= 0 && io->queue && !start_thread(io))
		return io;
	io_free(io);
	return NULL;
}

void vdisk_end_io(struct vdisk *v)
{
	struct vdisk_io *io = v->io;

	if (!io)
		return;
	pthread_mutex_lock(&v->lock);
	io->ending = true;
	pthread_mutex_unlock(&v->lock);
	event_signal(io->wake);
	pthread_join(io->thread, NULL);
	v->io = NULL;
	io_free(io);
}

/* Hand @t to the thread, which is made when there is none. */
static bool enqueue(struct vdisk *v, struct transfer *t)
{
	struct vdisk_io *io;

	pthread_mutex_lock(&v->lock);
	if (!v->io)
		v->io = io_create(v);
	io = t->io = v->io;
	if (io) {
		vdisk_begin(t->overlapped, t->event);
		*io->last = t;
		io->last = &t->next;
	}
	pthread_mutex_unlock(&v->lock);
	if (io)
		event_signal(io->wake);
	return io;
}

static BOOL fail(DWORD code)
{
	SetLastError(code);
	return FALSE;
}

/* Start a transfer; how it went is asked of the OVERLAPPED. */
static BOOL start(HANDLE file, enum disk_op op, void *buffer, DWORD bytes, DWORD *moved,
	OVERLAPPED *overlapped)
{
	const uint32_t access =
		op == DISK_WRITE ? VIRTUAL_DISK_ACCESS_ATTACH_RW
				 : VIRTUAL_DISK_ACCESS_ATTACH_RO | VIRTUAL_DISK_ACCESS_ATTACH_RW;
	struct vdisk *v = vdisk_from(file);
	struct transfer *t;

	if (moved)
		*moved = 0;
	if (!v)
		return fail(ERROR_INVALID_HANDLE);
	if (!overlapped || !buffer || !bytes)
		return fail(ERROR_INVALID_PARAMETER);
	if (!(v->access & access))
		return fail(ERROR_ACCESS_DENIED);
	if (!v->attached_nowhere)
		return fail(ERROR_VHD_INVALID_STATE);
	if (op == DISK_WRITE && v->attached_read_only)
		return fail(ERROR_WRITE_PROTECT);
	t = calloc(1, sizeof(*t));
	if (!t)
		return fail(ERROR_NOT_ENOUGH_MEMORY);
	t->overlapped = overlapped;
	t->event = overlapped->hEvent;
	t->data = (struct iovec){buffer, bytes};
	t->request = (struct disk_request){.op = op,
		.offset = overlapped->Offset | (uint64_t)overlapped->OffsetHigh << 32,
		.length = bytes,
		.iov = &t->data,
		.n_iov = 1,
		.done = transfer_done};
	if (enqueue(v, t))
		return fail(ERROR_IO_PENDING);
	free(t);
	return fail(ERROR_NOT_ENOUGH_MEMORY);
}

BOOL WINAPI ReadFile(
	HANDLE File, LPVOID Buffer, DWORD Bytes, DWORD *BytesRead, LPOVERLAPPED Overlapped)
{
	return start(File, DISK_READ, Buffer, Bytes, BytesRead, Overlapped);
}

BOOL WINAPI WriteFile(
	HANDLE File, LPCVOID Buffer, DWORD Bytes, DWORD *BytesWritten, LPOVERLAPPED Overlapped)
{
	return start(File, DISK_WRITE, (void *)Buffer, Bytes, BytesWritten, Overlapped);
}

BOOL WINAPI FlushFileBuffers(HANDLE File)
{
	struct vdisk *v;
	DWORD code = vdisk_enter(File, VIRTUAL_DISK_ACCESS_ATTACH_RW, &v);

	if (code)
		return fail(code == ERROR_INVALID_PARAMETER ? ERROR_INVALID_HANDLE : code);
	code = disk_problem_win32(NULL, disk_flush(v->disk));
	vdisk_leave(v);
	return !code || fail(code);
}
