/*
 * file.c - see file.h. Plain system calls; what is not aligned as O_DIRECT wants it goes through a
 * buffer.
 */
#include "disk/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOUNCE	   (1u << 20) /* bytes bounced at once */
#define SECTOR	   512u
#define MAX_DIRECT 4096u /* an alignment that every device accepts */

struct disk_file_sync {
	pthread_mutex_t edge; /* of unaligned writes to a direct file: one at a time */
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t moved;
	uint64_t began, ended; /* calls of fdatasync(2) */
	bool running;	       /* one of them */
	int lost;	       /* what the first that failed said; 0: none has */
};

/* ---- Opening --------------------------------------------------------------------------------- */

static uint32_t direct_alignment(int fd)
{
#ifdef STATX_DIOALIGN
	struct statx x;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) == 0 &&
		(x.stx_mask & STATX_DIOALIGN) && x.stx_dio_offset_align) {
		uint32_t memory = x.stx_dio_mem_align, offset = x.stx_dio_offset_align;

		return memory > offset ? memory : offset;
	}
#endif
	return MAX_DIRECT;
}

static int length_of(int fd, uint64_t *size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode)) {
		*size = st.st_size;
		return 0;
	}
	if (S_ISBLK(st.st_mode))
		return ioctl(fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
	return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
}

static struct disk_file_sync *new_sync(void)
{
	struct disk_file_sync *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	pthread_mutex_init(&s->edge, NULL);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->moved, NULL);
	return s;
}

int disk_file_open(struct disk_file *f, int fd, const char *path, bool writable, bool direct,
	const struct disk_recorder *recorder)
{
	uint64_t size = 0;
	int err = length_of(fd, &size);

	*f = (struct disk_file){
		.fd = fd,
		.writable = writable,
		.direct = direct,
		.align = direct ? direct_alignment(fd) : 1,
		.path = strdup(path),
		.sync = new_sync(),
		.recorder = recorder,
		.size = size,
	};
	if (!err && (!f->path || !f->sync))
		err = -ENOMEM;
	if (err)
		disk_file_close(f);
	return err;
}

int disk_file_lock(struct disk_file *f)
{
	struct flock lock = {.l_type = f->writable ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};

	if (fcntl(f->fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	/* A file system without locks has none to offer. */
	return errno == EAGAIN || errno == EACCES ? -EBUSY : 0;
}

/* To open a pipe or a device may already do something: only what can be an image is opened. */
static int open_here(const char *path, int how)
{
	struct stat st;
	int fd;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	fd = open(path, how | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

int disk_file_open_path(struct disk_file *f, const char *path,
	const struct disk_open_options *options, bool writable)
{
	bool direct = options->flags & DISK_OPEN_DIRECT;
	int how = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | (direct ? O_DIRECT : 0);
	int fd, err;

	fd = options->open_file ? options->open_file(options->ctx, path, how)
				: open_here(path, how);
	if (fd < 0)
		return fd;
	err = disk_file_open(f, fd, path, writable, direct, options->recorder);
	f->put_off = options->flags & DISK_OPEN_UNPUBLISHED;
	if (err || (options->flags & DISK_OPEN_SHARED))
		return err;
	err = disk_file_lock(f);
	if (err)
		disk_file_close(f);
	return err;
}

void disk_file_close(struct disk_file *f)
{
	close(f->fd);
	free(f->path);
	if (f->sync) {
		pthread_cond_destroy(&f->sync->moved);
		pthread_mutex_destroy(&f->sync->lock);
		pthread_mutex_destroy(&f->sync->edge);
	}
	free(f->sync);
	f->path = NULL;
	f->sync = NULL;
	f->fd = -1;
}

bool disk_file_same(const struct disk_file *a, const struct disk_file *b)
{
	struct stat x, y;

	return fstat(a->fd, &x) == 0 && fstat(b->fd, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* ---- The recorder ---------------------------------------------------------------------------- */

uint64_t disk_file_began(struct disk_file *f, enum disk_event event, uint64_t offset,
	uint64_t length, const struct disk_iov *at)
{
	const struct disk_recorder *r = f->recorder;
	struct iovec *slice = NULL;
	unsigned n = 0;
	uint64_t id;

	if (!r)
		return 0;
	if (at)
		slice = disk_iov_slice(*at, length, &n);
	id = r->began(r->ctx, f->path, event, offset, length, slice, n);
	free(slice);
	return id;
}

void disk_file_ended(struct disk_file *f, uint64_t id, enum disk_event event, uint64_t offset,
	uint64_t length, int result)
{
	uint64_t size = atomic_load_explicit(&f->size, memory_order_relaxed);

	if (event == DISK_EVENT_WRITE && result >= 0) {
		while (offset + length > size &&
			!atomic_compare_exchange_weak(&f->size, &size, offset + length))
			;
	}
	if (f->recorder)
		f->recorder->ended(f->recorder->ctx, id, result);
}

/* ---- Reading and writing --------------------------------------------------------------------- */

bool disk_file_aligned(
	const struct disk_file *f, const struct disk_iov *at, uint64_t length, uint64_t offset)
{
	size_t mask = f->align - 1, skip = at->skip;

	if (!f->direct)
		return true;
	if ((length | offset) & mask)
		return false;
	for (unsigned i = 0; length; i++, skip = 0) {
		uint64_t bytes = at->iov[i].iov_len - skip;

		if (bytes > length)
			bytes = length;
		if (((uintptr_t)at->iov[i].iov_base + skip) & mask || bytes & mask)
			return false;
		length -= bytes;
	}
	return true;
}

/* Returns the bytes moved, fewer than @length only where a read meets the end, or an error. */
static int64_t move_aligned(
	struct disk_file *f, bool write, struct disk_iov at, uint64_t length, uint64_t offset)
{
	uint64_t done = 0;

	while (done < length) {
		struct iovec room[DISK_IOV_ROOM];
		const struct iovec *window;
		uint64_t bytes;
		unsigned n = disk_iov_window(&at, length - done, room, &window, &bytes);
		ssize_t moved = write ? pwritev(f->fd, window, n, offset + done)
				      : preadv(f->fd, window, n, offset + done);

		if (moved < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (!moved && write)
			return -EIO;
		if (!moved)
			break;
		if (moved > 0) {
			disk_iov_advance(&at, moved);
			done += moved;
		}
	}
	return done;
}

/* As move_aligned(), for a buffer. */
static int64_t move_buffer(
	struct disk_file *f, bool write, void *buffer, uint64_t length, uint64_t offset)
{
	struct iovec area = {.iov_base = buffer, .iov_len = length};

	return move_aligned(f, write, (struct disk_iov){&area, 1, 0}, length, offset);
}

/* One bounce of @length bytes, whose aligned surroundings [low, high) fit into @buffer. */
static int64_t bounce_write(
	struct disk_file *f, struct disk_iov at, uint64_t length, uint64_t offset, uint8_t *buffer)
{
	uint64_t mask = f->align - 1, low = offset & ~mask, high = (offset + length + mask) & ~mask;
	uint64_t end = atomic_load(&f->size);
	int64_t n = 0;

	memset(buffer, 0, high - low);
	/* What surrounds it stays; nobody else may rewrite that meanwhile. */
	if (low != offset)
		n = move_buffer(f, false, buffer, f->align, low);
	if (n >= 0 && high != offset + length && (high - f->align != low || low == offset))
		n = move_buffer(
			f, false, buffer + (high - f->align - low), f->align, high - f->align);
	if (n < 0)
		return n;
	disk_iov_read(at, buffer + (offset - low), length);
	n = move_buffer(f, true, buffer, high - low, low);
	if (n < 0)
		return n;
	if (end < offset + length)
		end = offset + length;
	if (high > end && ftruncate(f->fd, end) < 0)
		return -errno;
	return length;
}

static int64_t bounce_read(
	struct disk_file *f, struct disk_iov at, uint64_t length, uint64_t offset, uint8_t *buffer)
{
	uint64_t mask = f->align - 1, low = offset & ~mask, high = (offset + length + mask) & ~mask;
	int64_t n = move_buffer(f, false, buffer, high - low, low);

	if (n < 0)
		return n;
	n -= offset - low;
	if (n < 0)
		return 0;
	if ((uint64_t)n > length)
		n = length;
	disk_iov_write(at, buffer + (offset - low), n);
	return n;
}

static int64_t move_bounced(
	struct disk_file *f, bool write, struct disk_iov at, uint64_t length, uint64_t offset)
{
	uint64_t done = 0;
	int64_t n = 0;
	void *buffer;

	if (posix_memalign(&buffer, f->align, BOUNCE + 2 * f->align))
		return -ENOMEM;
	while (done < length) {
		uint64_t step = length - done < BOUNCE ? length - done : BOUNCE;

		if (write) {
			pthread_mutex_lock(&f->sync->edge);
			n = bounce_write(f, at, step, offset + done, buffer);
			pthread_mutex_unlock(&f->sync->edge);
		} else {
			n = bounce_read(f, at, step, offset + done, buffer);
		}
		if (n <= 0)
			break;
		disk_iov_advance(&at, n);
		done += n;
	}
	free(buffer);
	return n < 0 ? n : (int64_t)done;
}

static int64_t move(
	struct disk_file *f, bool write, struct disk_iov at, uint64_t length, uint64_t offset)
{
	return disk_file_aligned(f, &at, length, offset)
		       ? move_aligned(f, write, at, length, offset)
		       : move_bounced(f, write, at, length, offset);
}

int disk_file_transfer(
	struct disk_file *f, bool write, struct disk_iov at, uint64_t length, uint64_t offset)
{
	int64_t n = move(f, write, at, length, offset);

	if (n < 0)
		return n;
	if (length - n >= SECTOR)
		return -EIO;
	disk_iov_advance(&at, n);
	disk_iov_zero(at, length - n);
	return 0;
}

static int write_at(struct disk_file *f, struct disk_iov at, uint64_t length, uint64_t offset)
{
	uint64_t id;
	int err;

	if (!f->writable)
		return -EBADF;
	id = disk_file_began(f, DISK_EVENT_WRITE, offset, length, &at);
	err = disk_file_transfer(f, true, at, length, offset);
	disk_file_ended(f, id, DISK_EVENT_WRITE, offset, length, err);
	return err;
}

int disk_file_move(
	struct disk_file *f, bool write, struct disk_iov at, uint64_t length, uint64_t offset)
{
	return write ? write_at(f, at, length, offset)
		     : disk_file_transfer(f, false, at, length, offset);
}

int disk_file_readv(struct disk_file *f, const struct iovec *iov, unsigned n, uint64_t offset)
{
	uint64_t length = 0;
	int64_t got;

	for (unsigned i = 0; i < n; i++)
		length += iov[i].iov_len;
	got = move(f, false, (struct disk_iov){iov, n, 0}, length, offset);
	return got < 0 ? got : (uint64_t)got < length ? -EIO : 0;
}

int disk_file_writev(struct disk_file *f, const struct iovec *iov, unsigned n, uint64_t offset)
{
	uint64_t length = 0;

	for (unsigned i = 0; i < n; i++)
		length += iov[i].iov_len;
	return write_at(f, (struct disk_iov){iov, n, 0}, length, offset);
}

int disk_file_read(struct disk_file *f, void *buffer, uint64_t length, uint64_t offset)
{
	struct iovec area = {.iov_base = buffer, .iov_len = length};

	return disk_file_readv(f, &area, 1, offset);
}

int disk_file_read_some(struct disk_file *f, void *buffer, uint64_t length, uint64_t offset)
{
	struct iovec area = {.iov_base = buffer, .iov_len = length};
	int64_t n = move(f, false, (struct disk_iov){&area, 1, 0}, length, offset);

	if (n < 0)
		return n;
	memset((char *)buffer + n, 0, length - n);
	return 0;
}

int disk_file_write(struct disk_file *f, const void *buffer, uint64_t length, uint64_t offset)
{
	struct iovec area = {.iov_base = (void *)buffer, .iov_len = length};

	return disk_file_writev(f, &area, 1, offset);
}

/* ---- The file as a whole --------------------------------------------------------------------- */

static int sync_now(int fd)
{
	int err;

	do
		err = fdatasync(fd) < 0 ? -errno : 0;
	while (err == -EINTR);
	return err;
}

/* A call that begins from now on covers the caller, whoever makes it. */
static int sync_file(struct disk_file *f)
{
	struct disk_file_sync *s = f->sync;
	uint64_t wanted;
	int err;

	pthread_mutex_lock(&s->lock);
	wanted = s->began + 1;
	while (s->ended < wanted && !s->lost) {
		if (s->running) {
			pthread_cond_wait(&s->moved, &s->lock);
			continue;
		}
		s->running = true;
		s->began++;
		pthread_mutex_unlock(&s->lock);
		err = sync_now(f->fd);
		pthread_mutex_lock(&s->lock);
		s->running = false;
		s->ended = s->began;
		s->lost = err;
		pthread_cond_broadcast(&s->moved);
	}
	err = s->lost;
	pthread_mutex_unlock(&s->lock);
	return err;
}

int disk_file_flush(struct disk_file *f)
{
	uint64_t id;
	int err;

	if (f->put_off)
		return 0;
	id = disk_file_began(f, DISK_EVENT_FLUSH, 0, 0, NULL);
	err = sync_file(f);
	disk_file_ended(f, id, DISK_EVENT_FLUSH, 0, 0, err);
	return err;
}

int disk_file_set_size(struct disk_file *f, uint64_t size)
{
	uint64_t id = disk_file_began(f, DISK_EVENT_LENGTH, size, 0, NULL);
	int err = !f->writable ? -EBADF : ftruncate(f->fd, size) < 0 ? -errno : 0;

	/* A block device has its length; it only must hold what is wanted. */
	if (err == -EINVAL && size <= atomic_load(&f->size))
		err = 0;
	else if (!err)
		atomic_store(&f->size, size);
	disk_file_ended(f, id, DISK_EVENT_LENGTH, size, 0, err);
	return err;
}

int disk_file_write_zeros(struct disk_file *f, uint64_t offset, uint64_t length)
{
	uint64_t step = length < BOUNCE ? length : BOUNCE;
	void *zeros;
	int err = 0;

	if (posix_memalign(&zeros, MAX_DIRECT, step))
		return -ENOMEM;
	memset(zeros, 0, step);
	while (length && !err) {
		uint64_t n = length < step ? length : step;

		err = disk_file_write(f, zeros, n, offset);
		offset += n;
		length -= n;
	}
	free(zeros);
	return err;
}

int disk_file_zero(struct disk_file *f, uint64_t offset, uint64_t length, bool release)
{
	uint64_t size = atomic_load(&f->size), id;
	int mode = FALLOC_FL_KEEP_SIZE | (release ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
	int err;

	if (!f->writable)
		return -EBADF;
	if (offset >= size || !length)
		return 0;
	if (length > size - offset)
		length = size - offset;
	id = disk_file_began(f, DISK_EVENT_ZERO, offset, length, NULL);
	do
		err = fallocate(f->fd, mode, offset, length) < 0 ? -errno : 0;
	while (err == -EINTR);
	disk_file_ended(f, id, DISK_EVENT_ZERO, offset, length, err);
	if (err == -EOPNOTSUPP || err == -ENOSYS || err == -EINVAL)
		return disk_file_write_zeros(f, offset, length);
	return err;
}

int disk_file_allocate(struct disk_file *f, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length, id;
	bool grows = end > atomic_load(&f->size);
	int err;

	if (!f->writable)
		return -EBADF;
	if (!length)
		return 0;
	id = grows ? disk_file_began(f, DISK_EVENT_LENGTH, end, 0, NULL) : 0;
	do
		err = fallocate(f->fd, 0, offset, length) < 0 ? -errno : 0;
	while (err == -EINTR);
	/* Without a way to reserve space, the length is what can be had. */
	if (err == -EOPNOTSUPP || err == -ENOSYS)
		err = grows && ftruncate(f->fd, end) < 0 ? -errno : 0;
	if (!grows)
		return err;
	if (!err)
		atomic_store(&f->size, end);
	disk_file_ended(f, id, DISK_EVENT_LENGTH, end, 0, err);
	return err;
}

int64_t disk_file_hole(struct disk_file *f, uint64_t offset, uint64_t end, bool *hole)
{
	off_t data = lseek(f->fd, offset, SEEK_DATA), next;

	*hole = false;
	if (data < 0 && errno == ENXIO) {
		*hole = true;
		return end - offset;
	}
	if (data < 0)
		return end - offset;
	if ((uint64_t)data > offset) {
		*hole = true;
		return ((uint64_t)data < end ? (uint64_t)data : end) - offset;
	}
	next = lseek(f->fd, offset, SEEK_HOLE);
	if (next < 0 || (uint64_t)next > end)
		return end - offset;
	if ((uint64_t)next <= offset)
		return end - offset;
	return next - offset;
}
