/*
 * vhd_header.c - the header of dynamic and differencing disks: where the blocks are, and how large.
 *
 * Source: VHD 1.0, "Dynamic Disk Header Format".
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "disk/vhd.h"
#include "winerror.h"

#define BLOCK_MIN VHD_SECTOR
#define BLOCK_MAX (1u << 30)

void vhd_set_blocks(struct vhd *v, uint64_t size, uint32_t block_size)
{
	uint32_t sectors = block_size / VHD_SECTOR;

	v->block_size = block_size;
	v->block_shift = __builtin_ctz(block_size);
	v->bitmap_size = (sectors / 8 + VHD_SECTOR - 1) / VHD_SECTOR * VHD_SECTOR;
	if (!v->bitmap_size)
		v->bitmap_size = VHD_SECTOR;
	v->page_sectors = sectors < VHD_PAGE_SECTORS ? sectors : VHD_PAGE_SECTORS;
	v->page_shift = __builtin_ctz(sectors / v->page_sectors);
	v->blocks = (size + block_size - 1) >> v->block_shift;
}

static uint32_t checksum(const struct vhd_header *h)
{
	return vhd_checksum(h, sizeof(*h), offsetof(struct vhd_header, checksum));
}

void vhd_header_seal(struct vhd_header *h)
{
	h->checksum = checksum(h);
}

void vhd_header_fill(
	struct vhd_header *h, uint64_t table_offset, uint32_t entries, uint32_t block_size)
{
	*h = (struct vhd_header){
		.data_offset = htobe64(VHD_NO_OFFSET),
		.table_offset = htobe64(table_offset),
		.version = htobe32(VHD_VERSION),
		.entries = htobe32(entries),
		.block_size = htobe32(block_size),
	};
	memcpy(h->cookie, VHD_HEADER_COOKIE, sizeof(h->cookie));
}

/* Its checksum, for a disk that is to be repaired, may be wrong; its values must make sense. */
static int check_form(struct vhd *v, const struct vhd_header *h, struct disk_problem *problem)
{
	const struct disk_file *f = &v->disk.file;

	if (memcmp(h->cookie, VHD_HEADER_COOKIE, sizeof(h->cookie)) != 0)
		return disk_problem_note(problem, f, -EUCLEAN, ERROR_VHD_SPARSE_HEADER_CORRUPT,
			"there is no header where the footer says; the file is damaged");
	if (h->checksum != checksum(h)) {
		v->header_damaged = true;
		if (!(v->disk.flags & DISK_OPEN_DAMAGED))
			return disk_problem_note(problem, f, -EUCLEAN,
				ERROR_VHD_SPARSE_HEADER_CHECKSUM_MISMATCH,
				"the header's checksum is wrong; check it with --repair");
	}
	if (be32toh(h->version) >> 16 != VHD_VERSION >> 16)
		return disk_problem_note(problem, f, -ENOTSUP,
			ERROR_VHD_SPARSE_HEADER_UNSUPPORTED_VERSION,
			"the header is of version %u.%u, known is 1.0", be32toh(h->version) >> 16,
			be32toh(h->version) & 0xffff);
	return 0;
}

static int check_table(struct vhd *v, uint64_t size, struct disk_problem *problem)
{
	const struct disk_file *f = &v->disk.file;
	const struct vhd_header *h = &v->header;
	uint64_t table = be64toh(h->table_offset);
	uint32_t block_size = be32toh(h->block_size), entries = be32toh(h->entries);
	uint64_t blocks;

	if (block_size < BLOCK_MIN || block_size > BLOCK_MAX || (block_size & (block_size - 1)))
		return disk_problem_note(problem, f, -EUCLEAN, ERROR_VHD_INVALID_BLOCK_SIZE,
			"the header says blocks have %u bytes, which cannot be", block_size);
	blocks = (size + block_size - 1) / block_size;
	if (blocks > entries)
		return disk_problem_note(problem, f, -EUCLEAN,
			ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT,
			"the block table has %u entries, the disk needs %llu; the file is damaged",
			entries, (unsigned long long)blocks);
	if (table < VHD_SECTOR || table % VHD_SECTOR || table > f->size ||
		blocks * 4 > f->size - table)
		return disk_problem_note(problem, f, -EUCLEAN,
			ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT,
			"the block table does not lie inside the file; the file was cut off");
	vhd_set_blocks(v, size, block_size);
	return 0;
}

int vhd_header_read(struct vhd *v, struct disk_problem *problem)
{
	struct disk_file *f = &v->disk.file;
	uint64_t offset = be64toh(v->footer.data_offset);
	int err;

	if (offset > f->size || sizeof(v->header) > f->size - offset)
		return disk_problem_note(problem, f, -EUCLEAN, ERROR_VHD_SPARSE_HEADER_CORRUPT,
			"the header lies behind the end of the file; the file was cut off");
	err = disk_file_read(f, &v->header, sizeof(v->header), offset);
	if (err)
		return disk_problem_note(problem, f, err, ERROR_VHD_METADATA_READ_FAILURE,
			"the header cannot be read: %s", strerror(-err));
	err = check_form(v, &v->header, problem);
	if (!err)
		err = check_table(v, be64toh(v->footer.size), problem);
	return err;
}
