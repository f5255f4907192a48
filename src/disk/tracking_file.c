/*
 * tracking_file.c - the file of a change tracking: read, checked, written. Layout and meaning stand
 * in tracking_protocol.h.
 */
#include "disk/tracking_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/guid.h"

#define CHUNK_MIN  (64u << 10)
#define CHUNKS_MAX (16u << 20) /* then chunks are larger: 64 MiB of generations are enough */
#define REGION_MIN (64u << 20)
#define REGIONS	   (TRACKING_TOUCHED_MAX * 8)
#define DISK_MAX   (1ull << 56) /* far above what any format can hold, so that sums stay whole */

char *tracking_path(const char *image)
{
	char *path;

	return asprintf(&path, "%s.rct", image) < 0 ? NULL : path;
}

uint64_t tracking_chunks(const struct tracking_header *h)
{
	return (h->disk_size + h->chunk_size - 1) / h->chunk_size;
}

/* A chunk once chosen stays: the generations are by chunk. */
void tracking_file_layout(struct tracking_header *h)
{
	if (!h->chunk_size) {
		h->chunk_size = CHUNK_MIN;
		while (tracking_chunks(h) > CHUNKS_MAX)
			h->chunk_size *= 2;
	}
	h->region_size = REGION_MIN > h->chunk_size ? REGION_MIN : h->chunk_size;
	while (h->region_size * REGIONS < h->disk_size)
		h->region_size *= 2;
}

/* ---- Opening --------------------------------------------------------------------------------- */

static uint32_t header_sum(struct tracking_header h)
{
	h.checksum = 0;
	return crc32c(0, &h, sizeof(h));
}

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

static bool header_is_valid(const struct tracking_header *h)
{
	return h->signature == TRACKING_SIGNATURE && h->checksum == header_sum(*h) &&
	       h->disk_size && h->disk_size <= DISK_MAX && is_power_of_two(h->chunk_size) &&
	       h->chunk_size >= 4096 && h->chunk_size <= DISK_MAX &&
	       is_power_of_two(h->region_size) && h->region_size >= h->chunk_size &&
	       h->region_size <= DISK_MAX &&
	       (h->disk_size + h->region_size - 1) / h->region_size <= REGIONS && h->current > 0 &&
	       h->current < UINT32_MAX && h->floor <= h->current &&
	       h->n_ancestors <= TRACKING_ANCESTORS;
}

static int read_at(int fd, void *to, size_t n, uint64_t offset)
{
	ssize_t got = pread(fd, to, n, offset);

	if (got < 0)
		return -errno;
	return (size_t)got == n ? 0 : -EUCLEAN;
}

static int write_at(int fd, const void *from, size_t n, uint64_t offset)
{
	ssize_t put = pwrite(fd, from, n, offset);

	if (put < 0)
		return -errno;
	return (size_t)put == n ? 0 : -ENOSPC;
}

static int read_header(struct tracking_file *f)
{
	struct tracking_header copy;
	bool found = false;

	for (unsigned i = 0; i < 2; i++) {
		int err = read_at(f->fd, &copy, sizeof(copy), i * TRACKING_SLOT);

		if (err && err != -EUCLEAN)
			return err;
		if (err || !header_is_valid(&copy) || (found && copy.sequence <= f->h.sequence))
			continue;
		f->h = copy;
		found = true;
	}
	return found ? 0 : -EUCLEAN;
}

static int check_length(const struct tracking_file *f)
{
	struct stat st;

	if (fstat(f->fd, &st))
		return -errno;
	return S_ISREG(st.st_mode) && (uint64_t)st.st_size >=
					      TRACKING_GENERATIONS +
						      tracking_chunks(&f->h) * sizeof(uint32_t)
		       ? 0
		       : -EUCLEAN;
}

int tracking_file_open(struct tracking_file *f, int fd, bool write)
{
	int err = 0;

	*f = (struct tracking_file){.fd = fd};
	f->alone = !flock(fd, (write ? LOCK_EX : LOCK_SH) | LOCK_NB);
	if (write && !f->alone)
		err = -EBUSY;
	if (!err)
		err = read_header(f);
	if (!err)
		err = check_length(f);
	if (!err)
		err = read_at(fd, f->touched, sizeof(f->touched), TRACKING_TOUCHED);
	if (err)
		close(fd);
	return err;
}

void tracking_file_close(struct tracking_file *f)
{
	close(f->fd);
}

/* ---- Writing --------------------------------------------------------------------------------- */

int tracking_file_write_header(struct tracking_file *f)
{
	int err;

	f->h.sequence++;
	f->h.checksum = header_sum(f->h);
	err = write_at(f->fd, &f->h, sizeof(f->h), f->h.sequence % 2 * TRACKING_SLOT);
	return err || !fdatasync(f->fd) ? err : -errno;
}

int tracking_file_write_touched(struct tracking_file *f)
{
	int err = write_at(f->fd, f->touched, sizeof(f->touched), TRACKING_TOUCHED);

	return err || !fdatasync(f->fd) ? err : -errno;
}

int tracking_file_mark(struct tracking_file *f, uint64_t first, uint64_t last)
{
	uint32_t generations[1024];
	uint64_t n = last - first + 1;
	int err = 0;

	for (size_t i = 0; i < 1024 && i < n; i++)
		generations[i] = f->h.current;
	while (n && !err) {
		uint64_t part = n < 1024 ? n : 1024;

		err = write_at(f->fd, generations, part * sizeof(uint32_t),
			TRACKING_GENERATIONS + first * sizeof(uint32_t));
		first += part;
		n -= part;
	}
	return err;
}

int tracking_file_read(struct tracking_file *f, uint64_t first, uint64_t n, uint32_t *generations)
{
	int err = read_at(f->fd, generations, n * sizeof(uint32_t),
		TRACKING_GENERATIONS + first * sizeof(uint32_t));

	for (uint64_t i = 0; !err && i < n; i++)
		if (generations[i] < f->h.floor)
			generations[i] = f->h.floor;
	return err;
}

/* ---- What it says ---------------------------------------------------------------------------- */

void tracking_file_all_changed(struct tracking_file *f)
{
	f->h.floor = f->h.current;
	f->h.flags |= TRACKING_NEWER;
}

void tracking_file_branch(struct tracking_file *f)
{
	struct tracking_header *h = &f->h;

	if (h->n_ancestors == TRACKING_ANCESTORS)
		memmove(&h->ancestors[0], &h->ancestors[1],
			--h->n_ancestors * sizeof(h->ancestors[0]));
	h->ancestors[h->n_ancestors++] = (struct tracking_ancestor){h->id, h->current - 1};
	guid_new(&h->id);
}

bool tracking_file_knows(const struct tracking_file *f, const GUID *id, uint32_t generation)
{
	if (guid_equal(id, &f->h.id))
		return generation < f->h.current;
	for (uint32_t i = 0; i < f->h.n_ancestors; i++)
		if (guid_equal(id, &f->h.ancestors[i].id))
			return generation <= f->h.ancestors[i].last;
	return false;
}

int tracking_file_bind(struct tracking_file *f, int image)
{
	struct stat st;

	if (fstat(image, &st))
		return -errno;
	f->h.image_size = st.st_size;
	f->h.image_seconds = st.st_mtim.tv_sec;
	f->h.image_nanoseconds = st.st_mtim.tv_nsec;
	f->h.image_inode = st.st_ino;
	return 0;
}

bool tracking_file_is_bound(const struct tracking_file *f, int image)
{
	struct tracking_file now = {0};

	return !tracking_file_bind(&now, image) && now.h.image_size == f->h.image_size &&
	       now.h.image_seconds == f->h.image_seconds &&
	       now.h.image_nanoseconds == f->h.image_nanoseconds &&
	       now.h.image_inode == f->h.image_inode;
}

bool tracking_file_is_current(const struct tracking_file *f, const char *path)
{
	int image = open(path, O_PATH | O_CLOEXEC);
	bool bound = image >= 0 && tracking_file_is_bound(f, image);

	if (image >= 0)
		close(image);
	return bound;
}

void tracking_file_seal(struct tracking_file *f)
{
	if (!(f->h.flags & TRACKING_NEWER))
		return;
	f->h.current++;
	f->h.flags &= ~TRACKING_NEWER;
}
