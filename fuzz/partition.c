/*
 * partition.c - a hostile partition table: whatever it says, partitions lie inside the disk.
 *
 * Input: a byte of how, then what the disk begins with. HAS_COPY puts it also where the copy of a
 * GPT is looked for; SEALED makes the checksums right.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "disk/partition.h"
#include "disk/partition_protocol.h"
#include "memory_disk.h"

#define SECTOR 512u
#define SIZE   (1u << 20)
#define TABLE  (40 * SECTOR)

enum { HAS_COPY = 1, SEALED = 2 };

static int file = -1;
static struct disk_engine *engine;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	engine = disk_engine_create(NULL);
	file = memory_file(SIZE);
	return 0;
}

/* The header in the second sector, and its entries where it says that they are. */
static void seal(uint8_t *table)
{
	struct gpt_header *h = (struct gpt_header *)(table + SECTOR);
	const uint64_t bytes = (uint64_t)h->n_entries * h->entry_size;

	h->signature = GPT_SIGNATURE;
	h->size = sizeof(*h);
	h->here = 1;
	if (h->entries < TABLE / SECTOR && bytes <= TABLE - h->entries * SECTOR)
		h->entries_crc = crc32(0, table + h->entries * SECTOR, bytes);
	h->crc = 0;
	h->crc = crc32(0, (const Bytef *)h, sizeof(*h));
}

static void put(const void *data, size_t n, uint64_t at)
{
	if (pwrite(file, data, n, at) != (ssize_t)n)
		abort();
}

static void look(struct disk *d)
{
	struct disk_problem problem = {0};
	struct disk_partition *list, one;
	unsigned n;
	int err = disk_partitions(d, &list, &n, &problem);

	assert(err ? problem.text[0] : !problem.text[0]);
	disk_partition_find(d, 0, &one, NULL);
	for (unsigned i = 0; !err && i < n; i++) {
		assert(list[i].number && list[i].length && list[i].offset < SIZE);
		assert(list[i].length <= SIZE - list[i].offset);
		assert(disk_partition_find(d, list[i].number, &one, NULL) != -ENOENT);
	}
	if (!err)
		free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t table[TABLE];
	struct disk *d;

	if (!size || size > TABLE)
		return 0;
	memset(table, 0, sizeof(table));
	memcpy(table, data + 1, size - 1);
	if (data[0] & SEALED)
		seal(table);
	put(table, sizeof(table), 0);
	if (data[0] & HAS_COPY)
		put(table + SECTOR, SECTOR, SIZE - SECTOR);
	d = memory_disk(engine, file, 0);
	look(d);
	disk_close(d);
	return 0;
}
