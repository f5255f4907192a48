/*
 * file_copy.c - bytes from one file into another (file.h): by the kernel (copy_file_range(2)),
 * which lets both files share them where the file system can, else through memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "disk/file.h"

#define PIECE	  (1u << 20) /* bytes in memory at once */
#define ALIGNMENT 4096u	     /* for files that are open past the page cache */

static struct disk_iov whole(struct iovec *area)
{
	return (struct disk_iov){area, 1, 0};
}

/* Not an error: other file systems, other kinds of files and older kernels need the other way. */
static bool must_be_done_otherwise(int err)
{
	return err == EXDEV || err == EINVAL || err == EOPNOTSUPP || err == ENOSYS || err == EPERM;
}

/* Returns the bytes copied, which may be fewer than @length for any reason, or an error. */
static int64_t by_kernel(struct disk_file *to, uint64_t to_offset, struct disk_file *from,
	uint64_t from_offset, uint64_t length)
{
	uint64_t done = 0;

	/* Past the page cache it would write in the tiny pieces of a pipe. */
	while (done < length && !to->direct) {
		off_t in = from_offset + done, out = to_offset + done;
		ssize_t n = copy_file_range(from->fd, &in, to->fd, &out, length - done, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && !must_be_done_otherwise(errno))
			return -errno;
		if (n <= 0)
			break;
		done += n;
	}
	return done;
}

static int by_memory(struct disk_file *to, uint64_t to_offset, struct disk_file *from,
	uint64_t from_offset, uint64_t length)
{
	struct iovec area = {.iov_len = PIECE};
	int err = -posix_memalign(&area.iov_base, ALIGNMENT, PIECE);

	for (uint64_t done = 0, n; done < length && !err; done += n) {
		n = length - done < PIECE ? length - done : PIECE;
		err = disk_file_transfer(from, false, whole(&area), n, from_offset + done);
		if (!err)
			err = disk_file_transfer(to, true, whole(&area), n, to_offset + done);
	}
	free(area.iov_base);
	return err;
}

static int copy(struct disk_file *to, uint64_t to_offset, struct disk_file *from,
	uint64_t from_offset, uint64_t length)
{
	int64_t n = by_kernel(to, to_offset, from, from_offset, length);

	if (n < 0 || (uint64_t)n == length)
		return n < 0 ? n : 0;
	return by_memory(to, to_offset + n, from, from_offset + n, length - n);
}

/* A recorder is shown what is going to be written, as with any other write. */
static int copy_recorded(struct disk_file *to, uint64_t to_offset, struct disk_file *from,
	uint64_t from_offset, uint64_t length)
{
	struct iovec area = {.iov_len = length};
	struct disk_iov at = whole(&area);
	uint64_t id;
	int err = -posix_memalign(&area.iov_base, ALIGNMENT, length);

	if (!err)
		err = disk_file_transfer(from, false, at, length, from_offset);
	if (!err) {
		id = disk_file_began(to, DISK_EVENT_WRITE, to_offset, length, &at);
		err = copy(to, to_offset, from, from_offset, length);
		disk_file_ended(to, id, DISK_EVENT_WRITE, to_offset, length, err);
	}
	free(area.iov_base);
	return err;
}

int disk_file_copy(struct disk_file *to, uint64_t to_offset, struct disk_file *from,
	uint64_t from_offset, uint64_t length)
{
	int err;

	if (!to->writable)
		return -EBADF;
	if (to->recorder)
		return copy_recorded(to, to_offset, from, from_offset, length);
	err = copy(to, to_offset, from, from_offset, length);
	disk_file_ended(to, 0, DISK_EVENT_WRITE, to_offset, length, err);
	/* What fails here is told by the flush. */
	if (!err && !to->direct)
		sync_file_range(to->fd, to_offset, length, SYNC_FILE_RANGE_WRITE);
	return err;
}

void disk_file_expect(struct disk_file *f, uint64_t offset, uint64_t length)
{
	if (!f->direct)
		posix_fadvise(f->fd, offset, length, POSIX_FADV_WILLNEED);
}
