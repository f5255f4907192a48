/*
 * attach_fuse.c - a disk as one file, through libfuse's low-level interface.
 *
 * The mount point is a file itself, so that there is one inode and nothing to look up. A few
 * threads take requests from the kernel and put them into disk queues of their own, which they
 * answer from: a thread waits for both at once. Nothing is cached on the way (direct I/O, no
 * writeback cache), so that a write has reached the disk when it is answered and fsync(2) is
 * DISK_FLUSH.
 *
 * Who opens the file may read and write at any byte. What is not whole sectors is read, changed and
 * written back by one thread at a time; the kernel holds the inode's lock meanwhile, so that no
 * other write(2) comes in between. (Writes through a loop device, which are asynchronous, are whole
 * sectors.)
 */
#define FUSE_USE_VERSION 35

#include "disk/attach_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <fuse_opt.h>
#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/event.h"

#define MAX_TRANSFER (1u << 20) /* bytes of one read or write; the kernel's limit is the same */
#define MAX_WORKERS  4
#define SLOTS	     64 /* requests of one worker at once */
#define BACKGROUND   128
#define BLOCK	     4096 /* what statfs(2) says: the loop driver's discard granularity */
#define BUFFER_ALIGN 4096

struct worker;

/* A request of the kernel, from its arrival until its answer. */
struct slot {
	struct disk_request disk;
	struct iovec iov;
	fuse_req_t req;
	struct worker *worker;
	struct slot *next;	 /* among the unused */
	struct fuse_buf message; /* libfuse allocates it at first use: MAX_TRANSFER and a page */
};

struct worker {
	struct attach_fuse *fuse;
	pthread_t thread;
	struct disk_queue *queue;
	int epoll;
	bool listening;	    /* the session's descriptor is in the set */
	unsigned in_flight; /* requests that the disk has */
	struct slot *unused;
	struct slot *current; /* being taken; a handler that keeps it makes this NULL */
	struct slot slots[SLOTS];
};

struct attach_fuse {
	struct fuse_session *session;
	struct disk_engine *engine;
	struct disk *disk;
	bool read_only;
	uint32_t sector; /* bytes */
	uint64_t begin;	 /* bytes: where in the disk the file begins ... */
	uint64_t length; /* ... and what it has; 0: the rest */
	struct timespec since;
	int stop; /* eventfd: the workers shall end */
	int gone; /* eventfd: the file was unmounted */
	pthread_mutex_t lock;
	pthread_cond_t closed;
	unsigned opens;		    /* guarded by lock */
	pthread_mutex_t odd_writes; /* held by who writes what is not whole sectors */
	unsigned n_workers;
	struct worker *workers;
};

/* libfuse hands nothing of ours to a handler but the session's data: this thread's worker. */
static _Thread_local struct worker *this_worker;

static struct attach_fuse *fuse_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static uint64_t size_of(const struct attach_fuse *f)
{
	const uint64_t size = disk_size(f->disk), rest = size > f->begin ? size - f->begin : 0;

	return f->length && f->length < rest ? f->length : rest;
}

/* ---- Requests that the disk answers ---------------------------------------------------------- */

static void slot_put(struct slot *s)
{
	s->next = s->worker->unused;
	s->worker->unused = s;
}

static void request_done(struct disk_request *r)
{
	struct slot *s = (struct slot *)r;

	s->worker->in_flight--;
	if (r->result)
		fuse_reply_err(s->req, -r->result);
	else if (r->op == DISK_READ)
		fuse_reply_buf(s->req, s->iov.iov_base, r->length);
	else if (r->op == DISK_WRITE)
		fuse_reply_write(s->req, r->length);
	else
		fuse_reply_err(s->req, 0);
	slot_put(s);
}

/* Keep the current slot until the disk has answered. */
static void submit(
	fuse_req_t req, enum disk_op op, uint64_t offset, uint64_t length, const void *data)
{
	struct worker *w = this_worker;
	struct slot *s = w->current;

	w->current = NULL;
	w->in_flight++;
	s->req = req;
	s->iov = (struct iovec){(void *)data, length};
	s->disk.op = op;
	s->disk.offset = w->fuse->begin + offset;
	s->disk.length = length;
	s->disk.iov = &s->iov;
	s->disk.n_iov = data ? 1 : 0;
	disk_submit(w->queue, w->fuse->disk, &s->disk);
}

/* A read's data goes where the request came from, whose bytes have been taken. */
static void *read_buffer(void)
{
	uintptr_t at = (uintptr_t)this_worker->current->message.mem;

	return (void *)((at + BUFFER_ALIGN - 1) & ~(uintptr_t)(BUFFER_ALIGN - 1));
}

/* ---- What is not whole sectors --------------------------------------------------------------- */

/* Nothing of this thread may be under way while it waits for the disk itself. */
static void settle(struct worker *w)
{
	while (w->in_flight)
		disk_queue_run(w->queue, true);
}

static bool whole_sectors(const struct attach_fuse *f, uint64_t offset, uint64_t length)
{
	return length && offset % f->sector == 0 && length % f->sector == 0;
}

/* The sectors that the bytes lie in. The disk's end is the end of a sector. */
static void *sectors_around(
	const struct attach_fuse *f, uint64_t offset, uint64_t length, uint64_t *from, uint64_t *n)
{
	*from = offset - offset % f->sector;
	*n = offset + length - *from + f->sector - 1;
	*n -= *n % f->sector;
	return aligned_alloc(f->sector, *n);
}

static void odd_read(fuse_req_t req, uint64_t offset, uint64_t length)
{
	struct attach_fuse *f = fuse_of(req);
	uint64_t from, n;
	uint8_t *sectors = sectors_around(f, offset, length, &from, &n);
	int err = sectors ? 0 : -ENOMEM;

	settle(this_worker);
	if (!err)
		err = disk_read(f->disk, sectors, n, f->begin + from);
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_buf(req, (char *)sectors + (offset - from), length);
	free(sectors);
}

/* @data NULL: zeros. */
static int odd_write(struct attach_fuse *f, const void *data, uint64_t offset, uint64_t length)
{
	uint64_t from, n;
	uint8_t *sectors = sectors_around(f, offset, length, &from, &n);
	int err;

	if (!sectors)
		return -ENOMEM;
	settle(this_worker);
	pthread_mutex_lock(&f->odd_writes);
	err = disk_read(f->disk, sectors, n, f->begin + from);
	if (!err) {
		if (data)
			memcpy(sectors + (offset - from), data, length);
		else
			memset(sectors + (offset - from), 0, length);
		err = disk_write(f->disk, sectors, n, f->begin + from);
	}
	pthread_mutex_unlock(&f->odd_writes);
	free(sectors);
	return err;
}

/* ---- The file's operations ------------------------------------------------------------------- */

static void on_init(void *ctx, struct fuse_conn_info *conn)
{
	conn->want &= ~(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
			FUSE_CAP_WRITEBACK_CACHE);
	conn->max_write = MAX_TRANSFER;
	conn->max_read = MAX_TRANSFER;
	conn->max_background = BACKGROUND;
	conn->congestion_threshold = BACKGROUND;
}

static struct stat attributes(const struct attach_fuse *f)
{
	return (struct stat){
		.st_ino = FUSE_ROOT_ID,
		.st_mode = S_IFREG | (f->read_only ? 0400 : 0600),
		.st_nlink = 1,
		.st_uid = geteuid(),
		.st_gid = getegid(),
		.st_size = size_of(f),
		.st_blksize = BLOCK,
		.st_blocks = size_of(f) / 512,
		.st_atim = f->since,
		.st_mtim = f->since,
		.st_ctim = f->since,
	};
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st = attributes(fuse_of(req));

	fuse_reply_attr(req, &st, 0);
}

/* The size is the disk's, and times are not kept; a program that sets them goes on. */
static void on_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *to, int which, struct fuse_file_info *fi)
{
	struct stat st = attributes(fuse_of(req));

	if (which & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) ||
		(which & FUSE_SET_ATTR_SIZE && to->st_size != st.st_size))
		fuse_reply_err(req, EPERM);
	else
		fuse_reply_attr(req, &st, 0);
}

static void count_open(struct attach_fuse *f, int by)
{
	pthread_mutex_lock(&f->lock);
	f->opens += by;
	pthread_cond_broadcast(&f->closed);
	pthread_mutex_unlock(&f->lock);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct attach_fuse *f = fuse_of(req);

	if (f->read_only && (fi->flags & O_ACCMODE) != O_RDONLY) {
		fuse_reply_err(req, EROFS);
		return;
	}
	fi->direct_io = 1;
	fi->noflush = 1;
	count_open(f, 1);
	/* Who asked may have been killed meanwhile; then there is no release. */
	if (fuse_reply_open(req, fi) < 0)
		count_open(f, -1);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct attach_fuse *f = fuse_of(req);

	fuse_reply_err(req, 0);
	count_open(f, -1);
}

/* What of the range lies inside the file. */
static uint64_t inside(const struct attach_fuse *f, off_t offset, uint64_t length)
{
	const uint64_t size = size_of(f);

	if (offset < 0 || (uint64_t)offset >= size)
		return 0;
	return length < size - offset ? length : size - offset;
}

static void on_read(
	fuse_req_t req, fuse_ino_t ino, size_t length, off_t offset, struct fuse_file_info *fi)
{
	struct attach_fuse *f = fuse_of(req);

	length = inside(f, offset, length < MAX_TRANSFER ? length : MAX_TRANSFER);
	if (!length)
		fuse_reply_buf(req, NULL, 0);
	else if (whole_sectors(f, offset, length))
		submit(req, DISK_READ, offset, length, read_buffer());
	else
		odd_read(req, offset, length);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t length, off_t offset,
	struct fuse_file_info *fi)
{
	struct attach_fuse *f = fuse_of(req);
	int err;

	length = inside(f, offset, length);
	if (!length) {
		fuse_reply_err(req, ENOSPC);
	} else if (whole_sectors(f, offset, length)) {
		submit(req, DISK_WRITE, offset, length, data);
	} else {
		err = odd_write(f, data, offset, length);
		if (err)
			fuse_reply_err(req, -err);
		else
			fuse_reply_write(req, length);
	}
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	submit(req, DISK_FLUSH, 0, 0, NULL);
}

/* Zeros from @offset to @end, where they are not whole sectors. Returns 0 or a negative errno. */
static int zero_edges(struct attach_fuse *f, uint64_t *offset, uint64_t *end)
{
	uint64_t up = *offset + f->sector - 1, down = *end - *end % f->sector;
	int err = 0;

	up -= up % f->sector;
	if (up > *end)
		up = *end;
	if (*offset < up)
		err = odd_write(f, NULL, *offset, up - *offset);
	*offset = up;
	if (!err && down > up && down < *end)
		err = odd_write(f, NULL, down, *end - down);
	*end = down > up ? down : up;
	return err;
}

static void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
	struct fuse_file_info *fi)
{
	struct attach_fuse *f = fuse_of(req);
	const bool punch = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	const bool zero = (mode & ~FALLOC_FL_KEEP_SIZE) == FALLOC_FL_ZERO_RANGE;
	uint64_t from = offset, end = from + inside(f, offset, length);
	int err;

	if (!punch && !zero) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (from == end && length) {
		fuse_reply_err(req, ENOSPC);
		return;
	}
	err = zero_edges(f, &from, &end);
	if (err || from == end)
		fuse_reply_err(req, -err);
	else
		submit(req, punch ? DISK_UNMAP : DISK_ZERO, from, end - from, NULL);
}

static void on_lseek(
	fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct attach_fuse *f = fuse_of(req);
	const uint64_t size = size_of(f);
	uint64_t at = offset;

	if (whence != SEEK_DATA && whence != SEEK_HOLE) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	settle(this_worker);
	while (offset >= 0 && at < size) {
		enum disk_where where;
		int64_t run = disk_extent(
			f->disk, f->begin + at, f->begin + size, UINT_MAX, &where);

		if (run < 0) {
			fuse_reply_err(req, -run);
			return;
		}
		if ((where == DISK_ZEROS) == (whence == SEEK_HOLE))
			break;
		at += run;
	}
	/* There is a hole at every file's end, but behind it is nothing. */
	if (offset < 0 || (uint64_t)offset >= size || (at >= size && whence == SEEK_DATA))
		fuse_reply_err(req, ENXIO);
	else
		fuse_reply_lseek(req, at);
}

static void on_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st = {.f_bsize = BLOCK,
		.f_frsize = BLOCK,
		.f_blocks = size_of(fuse_of(req)) / BLOCK,
		.f_namemax = NAME_MAX};

	fuse_reply_statfs(req, &st);
}

static const struct fuse_lowlevel_ops operations = {
	.init = on_init,
	.getattr = on_getattr,
	.setattr = on_setattr,
	.open = on_open,
	.release = on_release,
	.read = on_read,
	.write = on_write,
	.fsync = on_fsync,
	.fallocate = on_fallocate,
	.lseek = on_lseek,
	.statfs = on_statfs,
};

/* ---- Workers --------------------------------------------------------------------------------- */

/*
 * Whether the kernel's requests wake this worker. Each request wakes one of those that listen; one
 * without an unused slot does not.
 */
static void listen_to_kernel(struct worker *w, bool on)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = w};

	if (on == w->listening)
		return;
	w->listening = on;
	epoll_ctl(w->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fuse_session_fd(w->fuse->session),
		&event);
}

/* Take what the kernel asks for, until there is no more, or no slot. */
static void take_requests(struct worker *w)
{
	struct fuse_session *session = w->fuse->session;

	while (w->unused) {
		struct slot *s = w->unused;
		int n = fuse_session_receive_buf(session, &s->message);

		if (n <= 0) {
			if (n == 0)
				event_signal(w->fuse->gone);
			/* A broken connection would wake us for ever. */
			if (n != -EAGAIN && n != -EINTR)
				listen_to_kernel(w, false);
			return;
		}
		w->unused = s->next;
		w->current = s;
		fuse_session_process_buf(session, &s->message);
		if (w->current)
			slot_put(s);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	bool stop = false;

	this_worker = w;
	/* Memory may be short because of writes to this very disk: do not wait for those. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	listen_to_kernel(w, true);
	while (!stop || w->in_flight) {
		struct epoll_event events[3];
		int n;

		disk_queue_kick(w->queue);
		n = epoll_wait(w->epoll, events, 3, -1);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == w->queue)
				disk_queue_run(w->queue, false);
			else if (events[i].data.ptr == w->fuse)
				stop = true;
		}
		for (int i = 0; i < n && !stop; i++)
			if (events[i].data.ptr == w)
				take_requests(w);
		if (stop)
			listen_to_kernel(w, false);
		else if (!fuse_session_exited(w->fuse->session))
			listen_to_kernel(w, w->unused != NULL);
	}
	return NULL;
}

static int worker_init(struct worker *w, struct attach_fuse *f)
{
	struct epoll_event queue = {.events = EPOLLIN}, stop = {.events = EPOLLIN | EPOLLET};

	w->fuse = f;
	for (unsigned i = SLOTS; i-- > 0;) {
		w->slots[i].worker = w;
		w->slots[i].disk.done = request_done;
		slot_put(&w->slots[i]);
	}
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	w->queue = w->epoll < 0 ? NULL : disk_queue_create(f->engine, SLOTS);
	if (!w->queue)
		return -errno;
	queue.data.ptr = w->queue;
	stop.data.ptr = f;
	if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, disk_queue_fd(w->queue), &queue) ||
		epoll_ctl(w->epoll, EPOLL_CTL_ADD, f->stop, &stop))
		return -errno;
	return -pthread_create(&w->thread, NULL, work, w);
}

static void worker_fini(struct worker *w)
{
	disk_queue_destroy(w->queue);
	if (w->epoll >= 0)
		close(w->epoll);
	for (unsigned i = 0; i < SLOTS; i++)
		free(w->slots[i].message.mem);
}

static void stop_workers(struct attach_fuse *f)
{
	uint64_t times;

	event_signal(f->stop);
	for (unsigned i = 0; i < f->n_workers; i++) {
		pthread_join(f->workers[i].thread, NULL);
		worker_fini(&f->workers[i]);
	}
	f->n_workers = 0;
	free(f->workers);
	f->workers = NULL;
	/* Others may be started. There is always something to be read. */
	if (read(f->stop, &times, sizeof(times)) < 0)
		return;
}

static int start_workers(struct attach_fuse *f)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n = processors < 1 ? 1 : processors > MAX_WORKERS ? MAX_WORKERS : processors;
	sigset_t all, before;
	int err = 0;

	f->workers = calloc(n, sizeof(*f->workers));
	if (!f->workers)
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (!err && f->n_workers < n) {
		err = worker_init(&f->workers[f->n_workers], f);
		if (err)
			worker_fini(&f->workers[f->n_workers]);
		else
			f->n_workers++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		stop_workers(f);
	return err;
}

/* ---- Mounting -------------------------------------------------------------------------------- */

/* The image's path is what mount(8) shows as the source; commas in it are no options. */
static char *mount_options(const struct attach_fuse *f)
{
	char *options = NULL, *source = NULL, limit[32];

	snprintf(limit, sizeof(limit), "max_read=%u", MAX_TRANSFER);
	if (asprintf(&source, "fsname=%s", disk_path(f->disk)) < 0)
		return NULL;
	if (fuse_opt_add_opt(&options, "subtype=partita") || fuse_opt_add_opt(&options, limit) ||
		(f->read_only && fuse_opt_add_opt(&options, "ro")) ||
		fuse_opt_add_opt_escaped(&options, source)) {
		free(options);
		options = NULL;
	}
	free(source);
	return options;
}

static int mount_file(struct attach_fuse *f, const char *path, struct disk_problem *problem)
{
	char *options = mount_options(f);
	char *argv[] = {"partita", "-o", options, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	int fd;

	if (!options)
		return -ENOMEM;
	f->session = fuse_session_new(&args, &operations, sizeof(operations), f);
	free(options);
	fuse_opt_free_args(&args);
	if (!f->session)
		return -ENOMEM;
	/* libfuse says nothing about why it could not: ask first. */
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno != EACCES)
		return disk_problem_say(problem, "/dev/fuse", errno == ENOENT ? -ENOTSUP : -errno,
			"%s; FUSE is needed for attaching: modprobe fuse", strerror(errno));
	if (fd >= 0)
		close(fd);
	if (fuse_session_mount(f->session, path))
		return disk_problem_say(problem, path, -EPERM,
			"FUSE did not mount it; attaching needs root, or fusermount3 (package "
			"fuse3) and /dev/fuse for this user");
	fd = fuse_session_fd(f->session);
	return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) ? -errno : 0;
}

static void fuse_free(struct attach_fuse *f)
{
	if (f->session) {
		fuse_session_unmount(f->session);
		fuse_session_destroy(f->session);
	}
	if (f->stop >= 0)
		close(f->stop);
	if (f->gone >= 0)
		close(f->gone);
	pthread_mutex_destroy(&f->lock);
	pthread_mutex_destroy(&f->odd_writes);
	pthread_cond_destroy(&f->closed);
	free(f);
}

static void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

/* The part of the disk that the file shall have. */
static int check_part(
	struct disk *d, const struct disk_attach_options *o, struct disk_problem *problem)
{
	struct disk_info info;

	disk_info(d, &info);
	if (o->offset % info.logical_sector || o->length % info.logical_sector ||
		o->offset >= info.size || o->length > info.size - o->offset)
		return disk_problem_say(problem, disk_path(d), -EINVAL,
			"the part to attach is not one of whole sectors inside the disk");
	return 0;
}

static void take_disk(struct attach_fuse *f, struct disk *d)
{
	struct disk_info info;

	disk_info(d, &info);
	f->disk = d;
	f->sector = info.logical_sector;
}

int attach_fuse_start(struct disk_engine *e, struct disk *d, const char *path,
	const struct disk_attach_options *options, struct attach_fuse **fuse,
	struct disk_problem *problem)
{
	struct attach_fuse *f;
	int err = check_part(d, options, problem);

	if (err)
		return err;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	take_disk(f, d);
	f->engine = e;
	f->read_only = options->read_only;
	f->begin = options->offset;
	f->length = options->length;
	clock_gettime(CLOCK_REALTIME, &f->since);
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_init(&f->odd_writes, NULL);
	cond_init(&f->closed);
	f->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->gone = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = f->stop < 0 || f->gone < 0 ? -errno : mount_file(f, path, problem);
	if (!err)
		err = start_workers(f);
	if (err) {
		fuse_free(f);
		return err;
	}
	*fuse = f;
	return 0;
}

int attach_fuse_fd(const struct attach_fuse *f)
{
	return f->gone;
}

int attach_fuse_wait_closed(struct attach_fuse *f, unsigned others, unsigned ms)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&f->lock);
	while (f->opens > others && !err)
		err = -pthread_cond_timedwait(&f->closed, &f->lock, &until);
	err = f->opens > others ? -EBUSY : 0;
	pthread_mutex_unlock(&f->lock);
	return err;
}

void attach_fuse_pause(struct attach_fuse *f)
{
	stop_workers(f);
}

int attach_fuse_resume(struct attach_fuse *f, struct disk *d)
{
	take_disk(f, d);
	return start_workers(f);
}

int attach_fuse_stop(struct attach_fuse *f)
{
	int err;

	if (!f)
		return 0;
	stop_workers(f);
	err = f->read_only ? 0 : disk_flush(f->disk);
	fuse_free(f);
	return err;
}

/* Only root may do it himself. */
void attach_fuse_unmount(const char *path)
{
	char *argv[] = {"fusermount3", "-u", "-z", "-q", (char *)path, NULL};
	pid_t pid;

	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0 || errno != EPERM)
		return;
	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ))
		return;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}
