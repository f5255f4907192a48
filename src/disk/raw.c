/*
 * raw.c - a file that is the disk, byte for byte. A length that is not a multiple of the sector is
 * read as if zeros followed.
 */
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "disk/format.h"
#include "winerror.h"

#define SECTOR 512u

static bool raw_probe(const uint8_t *head, size_t n_head, const uint8_t *tail, uint64_t file_size)
{
	return true;
}

static int raw_open(struct disk_engine *e, struct disk_file *file,
	const struct disk_open_options *options, struct disk **disk, struct disk_problem *problem)
{
	struct disk *d = calloc(1, sizeof(*d));
	unsigned physical = SECTOR;
	int logical = SECTOR;

	if (!d)
		return -ENOMEM;
	disk_init(d, &disk_raw, e, file, options);
	/* A block device knows its sectors; a file does not, and then these change nothing. */
	ioctl(d->file.fd, BLKSSZGET, &logical);
	ioctl(d->file.fd, BLKPBSZGET, &physical);
	d->size = (atomic_load(&d->file.size) + SECTOR - 1) / SECTOR * SECTOR;
	d->fixed = (struct disk_info){
		.kind = DISK_FIXED,
		.logical_sector = logical,
		.physical_sector = physical,
	};
	*disk = d;
	return 0;
}

static int raw_close(struct disk *d)
{
	disk_fini(d);
	free(d);
	return 0;
}

static int raw_create(struct disk_file *file, const struct disk_create *create, struct disk *parent,
	struct disk_problem *problem)
{
	if (create->kind != DISK_FIXED)
		return disk_problem_note(problem, file, -EINVAL, ERROR_NOT_SUPPORTED,
			"a raw image can only be fixed; choose VHD or VHDX");
	if (!create->size || create->size % SECTOR)
		return disk_problem_note(problem, file, -EINVAL, ERROR_VHD_INVALID_SIZE,
			"the size must be a multiple of %u bytes", SECTOR);
	return create->preallocated ? disk_file_allocate(file, 0, create->size)
				    : disk_file_set_size(file, create->size);
}

static int raw_map(
	struct disk *d, uint64_t offset, uint64_t length, bool nowait, struct disk_extent *extent)
{
	*extent = (struct disk_extent){
		.place = DISK_HERE,
		.length = length,
		.file_offset = offset,
	};
	return 0;
}

static int raw_place(struct disk *d, uint64_t offset, uint64_t length, const struct disk_iov *data,
	bool nowait, struct disk_extent *extent)
{
	return raw_map(d, offset, length, nowait, extent);
}

static int raw_zero(struct disk *d, uint64_t offset, uint64_t length, bool unmap, uint64_t *done)
{
	*done = length;
	return disk_file_zero(&d->file, offset, length, unmap);
}

static int raw_resize(struct disk *d, uint64_t size, bool lose, struct disk_problem *problem)
{
	uint64_t before = atomic_load(&d->size);
	int err;

	if (!size || size % SECTOR)
		return disk_problem_note(problem, &d->file, -EINVAL, ERROR_VHD_INVALID_SIZE,
			"the size must be a multiple of %u bytes", SECTOR);
	if (size < before && !lose)
		return disk_problem_note(problem, &d->file, -ENOTEMPTY,
			ERROR_VHD_RESIZE_WOULD_TRUNCATE_DATA,
			"shrinking a raw image cuts off what is behind the new size; say so if "
			"that may be lost");
	err = disk_file_set_size(&d->file, size);
	if (!err)
		err = disk_file_flush(&d->file);
	if (!err)
		atomic_store(&d->size, size);
	return err;
}

const struct disk_format_ops disk_raw = {
	.format = DISK_FORMAT_RAW,
	.name = "raw",
	.probe = raw_probe,
	.open = raw_open,
	.close = raw_close,
	.create = raw_create,
	.map = raw_map,
	.place = raw_place,
	.zero = raw_zero,
	.resize = raw_resize,
};
