/*
 * partition.c - partition tables, read and checked: see partition.h. What stands in them is a
 * guest's: numbers may be anything, and an extended partition may come back to itself.
 */
#include "disk/partition.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/guid.h"
#include "disk/partition_protocol.h"

#define LOGICAL_MAX 128 /* extended boot records that are followed */

struct table {
	struct disk *disk;
	uint64_t blocks;
	uint32_t sector; /* bytes */
	struct disk_partition *list;
	unsigned n, room;
	struct disk_problem *problem;
};

static int damaged(struct table *t, const char *what)
{
	return disk_problem_say(t->problem, disk_path(t->disk), -EUCLEAN,
		"its partition table is damaged: %s", what);
}

/* One more, of @blocks from block @first on. */
static int add(struct table *t, unsigned number, uint64_t first, uint64_t blocks, bool data)
{
	struct disk_partition *more = t->list;

	if (!blocks || first >= t->blocks || blocks > t->blocks - first)
		return damaged(t, "a partition is not inside the disk");
	if (t->n == t->room) {
		t->room = t->room ? 2 * t->room : 16;
		more = realloc(t->list, t->room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		t->list = more;
	}
	t->list[t->n++] =
		(struct disk_partition){number, first * t->sector, blocks * t->sector, data};
	return 0;
}

/* ---- MBR ------------------------------------------------------------------------------------- */

static bool is_extended(uint8_t type)
{
	return type == MBR_EXTENDED || type == MBR_EXTENDED_LBA || type == MBR_EXTENDED_LINUX;
}

/* -ENOENT: there is none at @block. */
static int read_mbr(struct table *t, uint64_t block, struct mbr *mbr)
{
	uint8_t *sector;
	int err;

	*mbr = (struct mbr){0};
	if (block >= t->blocks)
		return damaged(t, "an extended partition is not inside the disk");
	sector = aligned_alloc(t->sector, t->sector);
	if (!sector)
		return -ENOMEM;
	err = disk_read(t->disk, sector, t->sector, block * t->sector);
	if (!err)
		memcpy(mbr, sector, sizeof(*mbr));
	free(sector);
	return err ? err : le16toh(mbr->signature) == MBR_SIGNATURE ? 0 : -ENOENT;
}

/*
 * The chain of extended boot records in the extended partition at block @base: each names a logical
 * partition, from itself on, and the next record, from @base on.
 */
static int read_logical(struct table *t, uint64_t base)
{
	unsigned number = MBR_PARTITIONS;
	uint64_t at = base;

	for (unsigned i = 0; i < LOGICAL_MAX; i++) {
		struct mbr ebr;
		int err = read_mbr(t, at, &ebr);

		if (err)
			return err == -ENOENT ? damaged(t, "an extended boot record is none") : err;
		if (ebr.partition[0].type != MBR_EMPTY) {
			err = add(t, ++number, at + le32toh(ebr.partition[0].first),
				le32toh(ebr.partition[0].blocks), true);
			if (err)
				return err;
		}
		if (!is_extended(ebr.partition[1].type))
			return 0;
		at = base + le32toh(ebr.partition[1].first);
	}
	return damaged(t, "logical partitions without end");
}

static int read_primary(struct table *t, const struct mbr *mbr)
{
	int err = 0;

	for (unsigned i = 0; i < MBR_PARTITIONS && !err; i++) {
		const struct mbr_partition *p = &mbr->partition[i];

		if (p->type == MBR_EMPTY)
			continue;
		if (is_extended(p->type))
			err = read_logical(t, le32toh(p->first));
		else
			err = add(t, i + 1, le32toh(p->first), le32toh(p->blocks),
				p->type != MBR_RECOVERY && p->type != MBR_EFI_SYSTEM);
	}
	return err;
}

/* ---- GPT ------------------------------------------------------------------------------------- */

static bool header_is_valid(const struct table *t, struct gpt_header h, uint64_t block)
{
	const uint32_t crc = le32toh(h.crc);
	const uint64_t bytes = (uint64_t)le32toh(h.n_entries) * le32toh(h.entry_size);

	h.crc = 0;
	return le64toh(h.signature) == GPT_SIGNATURE && le32toh(h.size) == sizeof(h) &&
	       crc32(0, (const Bytef *)&h, sizeof(h)) == crc && le64toh(h.here) == block &&
	       le32toh(h.entry_size) >= GPT_ENTRY_MIN && bytes && bytes <= GPT_ENTRIES_BYTES &&
	       le64toh(h.entries) < t->blocks &&
	       (bytes + t->sector - 1) / t->sector <= t->blocks - le64toh(h.entries);
}

/* Computers start from these, and mend themselves; Windows keeps room in one. */
static bool holds_data(const GUID *type)
{
	static const GUID others[] = {
		{0xC12A7328, 0xF81F, 0x11D2, {0xBA, 0x4B, 0, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B}},
		{0x21686148, 0x6449, 0x6E6F, {0x74, 0x4E, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49}},
		{0xE3C9E316, 0x0B5C, 0x4DB8, {0x81, 0x7D, 0xF9, 0x2D, 0xF0, 0x02, 0x15, 0xAE}},
		{0xDE94BBA4, 0x06D1, 0x4D40, {0xA1, 0x6A, 0xBF, 0xD5, 0x01, 0x79, 0xD6, 0xAC}},
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (guid_equal(type, &others[i]))
			return false;
	return true;
}

static int take_entries(struct table *t, const struct gpt_header *h, const uint8_t *entries)
{
	int err = 0;

	for (uint32_t i = 0; i < le32toh(h->n_entries) && !err; i++) {
		struct gpt_entry e;
		uint64_t first, last;

		memcpy(&e, entries + (size_t)i * le32toh(h->entry_size), sizeof(e));
		first = le64toh(e.first);
		last = le64toh(e.last);
		if (guid_is_zero(&e.type))
			continue;
		/* A length that does not fit becomes 0, which is refused. */
		err = add(t, i + 1, first, last >= first && last < t->blocks ? last - first + 1 : 0,
			holds_data(&e.type));
	}
	return err;
}

static int read_entries(struct table *t, const struct gpt_header *h)
{
	const size_t bytes = (size_t)le32toh(h->n_entries) * le32toh(h->entry_size);
	const size_t whole = (bytes + t->sector - 1) / t->sector * t->sector;
	uint8_t *entries = aligned_alloc(t->sector, whole);
	int err = entries ? disk_read(t->disk, entries, whole, le64toh(h->entries) * t->sector)
			  : -ENOMEM;

	if (!err && crc32(0, entries, bytes) != le32toh(h->entries_crc))
		err = damaged(t, "the checksum of its entries is wrong");
	if (!err)
		err = take_entries(t, h, entries);
	free(entries);
	return err;
}

static int read_gpt(struct table *t, uint64_t block)
{
	uint8_t *sector = aligned_alloc(t->sector, t->sector);
	struct gpt_header h = {0};
	int err = sector ? disk_read(t->disk, sector, t->sector, block * t->sector) : -ENOMEM;

	if (!err) {
		memcpy(&h, sector, sizeof(h));
		err = header_is_valid(t, h, block) ? 0 : damaged(t, "its header is wrong");
	}
	free(sector);
	return err ? err : read_entries(t, &h);
}

/* ---- Both ------------------------------------------------------------------------------------ */

static bool is_protective(const struct mbr *mbr)
{
	for (unsigned i = 0; i < MBR_PARTITIONS; i++)
		if (mbr->partition[i].type == MBR_PROTECTIVE)
			return true;
	return false;
}

static int read_table(struct table *t)
{
	struct disk_problem *problem = t->problem;
	struct mbr mbr;
	int err = t->blocks > 2 ? read_mbr(t, 0, &mbr) : -ENOENT;

	if (err == -ENOENT)
		return disk_problem_say(
			problem, disk_path(t->disk), err, "the disk has no partition table");
	if (err || !is_protective(&mbr))
		return err ? err : read_primary(t, &mbr);
	/* What is wrong with the first does not matter where its copy is whole. */
	t->problem = NULL;
	err = read_gpt(t, 1);
	t->problem = problem;
	if (err == -EUCLEAN) {
		t->n = 0;
		err = read_gpt(t, t->blocks - 1);
	}
	return err;
}

int disk_partitions(
	struct disk *d, struct disk_partition **list, unsigned *n, struct disk_problem *problem)
{
	struct table t = {.disk = d, .problem = problem};
	struct disk_info info;
	int err;

	disk_info(d, &info);
	t.sector = info.logical_sector;
	t.blocks = info.size / t.sector;
	err = read_table(&t);
	if (err) {
		free(t.list);
		return err;
	}
	*list = t.list;
	*n = t.n;
	return 0;
}

int disk_partition_find(
	struct disk *d, unsigned number, struct disk_partition *found, struct disk_problem *problem)
{
	struct disk_partition *list;
	unsigned n, matches = 0;
	int err = disk_partitions(d, &list, &n, problem);

	if (err)
		return err;
	for (unsigned i = 0; i < n; i++) {
		if (number ? list[i].number != number : !list[i].data)
			continue;
		*found = list[i];
		matches++;
	}
	free(list);
	if (matches > 1)
		return disk_problem_say(problem, disk_path(d), -EINVAL,
			"has several partitions with data; name one");
	return matches ? 0
		       : disk_problem_say(problem, disk_path(d), -ENOENT, "has no such partition");
}
