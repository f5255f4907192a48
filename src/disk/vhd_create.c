/*
 * vhd_create.c - new VHDs.
 *
 * Dynamic:	0 copy of the footer; 512 header; 1536 BAT; footer
 * Differencing:	the same, with the parent's paths between BAT and footer.
 *
 * The size is the one that was asked for, as with Hyper-V; see vhd_protocol.h on programs that
 * would rather have it rounded to a geometry.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhd.h"
#include "winerror.h"

#define BLOCK_LEAST (4u << 10) /* ours: smaller ones are more table than data */
#define BLOCK_MOST  (256u << 20)
#define BAT_MOST    (16u << 20) /* bytes; it stays in memory */
#define BAT_AT	    (VHD_SECTOR + sizeof(struct vhd_header))

static int check_parameters(const struct disk_file *f, const struct disk_create *c, uint64_t size,
	uint32_t block_size, struct disk_problem *problem)
{
	if (!size || size % VHD_SECTOR || size > VHD_SIZE_MAX)
		return disk_problem_note(problem, f, -EINVAL, ERROR_VHD_INVALID_SIZE,
			"a VHD has from 512 bytes to 2040 GiB, in sectors of 512 bytes, not %llu "
			"bytes",
			(unsigned long long)size);
	if (c->logical_sector > VHD_SECTOR || c->physical_sector > VHD_SECTOR)
		return disk_problem_note(problem, f, -EINVAL,
			ERROR_VIRTDISK_UNSUPPORTED_DISK_SECTOR_SIZE,
			"sectors of a VHD have 512 bytes; take VHDX for sectors of %u bytes",
			c->logical_sector > VHD_SECTOR ? c->logical_sector : c->physical_sector);
	if (c->kind == DISK_FIXED)
		return 0;
	if (block_size < BLOCK_LEAST || block_size > BLOCK_MOST || (block_size & (block_size - 1)))
		return disk_problem_note(problem, f, -EINVAL, ERROR_VHD_INVALID_BLOCK_SIZE,
			"blocks of a VHD have a power of 2 of bytes from 4 KiB to 256 MiB "
			"(Hyper-V: 512 KiB or 2 MiB), not %u",
			block_size);
	if ((size + block_size - 1) / block_size * 4 > BAT_MOST)
		return disk_problem_note(problem, f, -EINVAL, ERROR_VHD_INVALID_BLOCK_SIZE,
			"blocks of %u bytes are too small for a disk of that size; take 2 MiB",
			block_size);
	return 0;
}

static int create_fixed(struct disk_file *f, const struct disk_create *c)
{
	struct vhd_footer footer;
	int err = 0;

	vhd_footer_fill(&footer, VHD_FIXED, c->size, &c->id);
	vhd_footer_seal(&footer);
	if (c->preallocated)
		err = disk_file_allocate(f, 0, c->size);
	if (!err)
		err = disk_file_write(f, &footer, sizeof(footer), c->size);
	return err;
}

/* All entries unused. */
static int write_bat(struct disk_file *f, uint64_t length)
{
	uint8_t ones[64 << 10];
	int err = 0;

	memset(ones, 0xff, sizeof(ones));
	for (uint64_t at = 0; !err && at < length; at += sizeof(ones))
		err = disk_file_write(f, ones,
			length - at < sizeof(ones) ? length - at : sizeof(ones), BAT_AT + at);
	return err;
}

static int create_blocks(struct disk_file *f, const struct disk_create *c, struct disk *parent,
	uint64_t size, uint32_t block_size)
{
	uint64_t blocks = (size + block_size - 1) / block_size;
	uint64_t at = BAT_AT + vhd_bat_bytes(blocks);
	struct vhd_footer footer;
	struct vhd_header header;
	void *paths = NULL;
	uint32_t length = 0;
	int err = 0;

	vhd_footer_fill(&footer, parent ? VHD_DIFFERENCING : VHD_DYNAMIC, size, &c->id);
	vhd_footer_seal(&footer);
	vhd_header_fill(&header, BAT_AT, blocks, block_size);
	if (parent)
		err = vhd_parent_fill(
			&header, parent, disk_path(parent), f->path, at, &paths, &length);
	vhd_header_seal(&header);
	if (!err)
		err = disk_file_write(f, &footer, sizeof(footer), 0);
	if (!err)
		err = disk_file_write(f, &header, sizeof(header), VHD_SECTOR);
	if (!err)
		err = write_bat(f, vhd_bat_bytes(blocks));
	if (!err && length)
		err = disk_file_write(f, paths, length, at);
	if (!err)
		err = disk_file_write(f, &footer, sizeof(footer), at + length);
	free(paths);
	return err;
}

int vhd_create(struct disk_file *file, const struct disk_create *create, struct disk *parent,
	struct disk_problem *problem)
{
	struct disk_create c = *create;
	uint32_t block_size = c.block_size ? c.block_size : VHD_BLOCK_SIZE;
	int err;

	if (!c.size && parent)
		c.size = disk_size(parent);
	if (parent && !c.block_size && parent->ops == &disk_vhd && parent->fixed.block_size)
		block_size = parent->fixed.block_size;
	err = check_parameters(file, &c, c.size, block_size, problem);
	if (err)
		return err;
	if (parent && parent->ops != &disk_vhd)
		return disk_problem_note(problem, file, -EINVAL, ERROR_VHD_INVALID_TYPE,
			"the parent of a VHD must be a VHD; %s is not", disk_path(parent));
	if (c.kind == DISK_FIXED)
		err = create_fixed(file, &c);
	else
		err = create_blocks(file, &c, parent, c.size, block_size);
	return err;
}
