/*
 * Partition tables: what is found in good ones, and what damaged and hostile ones give.
 */
#include "disk_images.h"

#include "disk/partition.h"
#include "disk/partition_protocol.h"

#define SECTOR 512u
#define SIZE   (64 * MIB)
#define LAST   (SIZE / SECTOR - 1)
#define ROUNDS 4000 /* of tables that are damaged at random */

static const GUID linux_data = {
	0x0FC63DAF, 0x8483, 0x4772, {0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4}};
static const GUID efi_system = {
	0xC12A7328, 0xF81F, 0x11D2, {0xBA, 0x4B, 0, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B}};

static struct disk *new_disk(struct images *i, uint32_t sector)
{
	const struct disk_create create = {.format = DISK_FORMAT_VHDX,
		.kind = DISK_DYNAMIC,
		.size = SIZE,
		.block_size = MIB,
		.logical_sector = sector,
		.overwrite = true};

	image_create(i, "d.vhdx", &create);
	return image_open(i, "d.vhdx", DISK_OPEN_WRITE);
}

/* ---- MBR ------------------------------------------------------------------------------------- */

static void put_mbr(struct disk *d, uint64_t block, const struct mbr_partition *p, unsigned n)
{
	struct mbr mbr = {.signature = MBR_SIGNATURE};

	memcpy(mbr.partition, p, n * sizeof(*p));
	assert_int_equal(disk_write(d, &mbr, sizeof(mbr), block * SECTOR), 0);
}

static int list(struct disk *d, struct disk_partition **found, unsigned *n)
{
	struct disk_problem problem = {0};
	int err = disk_partitions(d, found, n, &problem);

	assert_int_equal(!err, !problem.text[0]);
	return err;
}

static void is(
	const struct disk_partition *p, unsigned number, uint64_t first, uint64_t blocks, bool data)
{
	assert_int_equal(p->number, number);
	assert_int_equal(p->offset, first * SECTOR);
	assert_int_equal(p->length, blocks * SECTOR);
	assert_int_equal(p->data, data);
}

static void test_mbr(void **state)
{
	const struct mbr_partition primary[] = {
		{.type = MBR_EFI_SYSTEM, .first = 8, .blocks = 8},
		{.type = MBR_EMPTY},
		{.type = 0x83, .first = 16, .blocks = 100},
		{.type = MBR_EXTENDED_LBA, .first = 1000, .blocks = 5000},
	};
	const struct mbr_partition logical[2][2] = {
		{{.type = 0x83, .first = 8, .blocks = 100},
			{.type = MBR_EXTENDED, .first = 2000, .blocks = 500}},
		{{.type = 0x07, .first = 16, .blocks = 200}},
	};
	struct disk *d = new_disk(*state, SECTOR);
	struct disk_partition *found, one;
	unsigned n;

	assert_int_equal(list(d, &found, &n), -ENOENT);
	put_mbr(d, 0, primary, 4);
	put_mbr(d, 1000, logical[0], 2);
	put_mbr(d, 3000, logical[1], 2);
	assert_int_equal(list(d, &found, &n), 0);
	assert_int_equal(n, 4);
	is(&found[0], 1, 8, 8, false);
	is(&found[1], 3, 16, 100, true);
	is(&found[2], 5, 1008, 100, true);
	is(&found[3], 6, 3016, 200, true);
	free(found);
	assert_int_equal(disk_partition_find(d, 6, &one, NULL), 0);
	is(&one, 6, 3016, 200, true);
	assert_int_equal(disk_partition_find(d, 2, &one, NULL), -ENOENT);
	assert_int_equal(disk_partition_find(d, 0, &one, NULL), -EINVAL);
	put_mbr(d, 0, primary, 3);
	assert_int_equal(disk_partition_find(d, 0, &one, NULL), 0);
	is(&one, 3, 16, 100, true);
	put_mbr(d, 0, primary, 1);
	assert_int_equal(disk_partition_find(d, 0, &one, NULL), -ENOENT);
	image_close(d);
}

static void test_damaged_mbrs(void **state)
{
	const struct mbr_partition beyond = {.type = 0x83, .first = LAST, .blocks = 2};
	const struct mbr_partition outside = {.type = 0x83, .first = ~0u, .blocks = ~0u};
	const struct mbr_partition extended = {.type = MBR_EXTENDED, .first = 1000, .blocks = 10};
	const struct mbr_partition far = {.type = MBR_EXTENDED, .first = ~0u, .blocks = 10};
	/* An extended boot record that names itself. */
	const struct mbr_partition loop[2] = {{.type = MBR_EMPTY}, {.type = MBR_EXTENDED}};
	struct disk *d = new_disk(*state, SECTOR);
	struct disk_partition *found;
	unsigned n;

	put_mbr(d, 0, &beyond, 1);
	assert_int_equal(list(d, &found, &n), -EUCLEAN);
	put_mbr(d, 0, &outside, 1);
	assert_int_equal(list(d, &found, &n), -EUCLEAN);
	put_mbr(d, 0, &far, 1);
	assert_int_equal(list(d, &found, &n), -EUCLEAN);
	put_mbr(d, 0, &extended, 1);
	assert_int_equal(list(d, &found, &n), -EUCLEAN);
	put_mbr(d, 1000, loop, 2);
	assert_int_equal(list(d, &found, &n), -EUCLEAN);
	image_close(d);
}

/* ---- GPT ------------------------------------------------------------------------------------- */

static uint32_t crc32(const void *data, size_t n)
{
	const uint8_t *bytes = data;
	uint32_t crc = ~0u;

	for (size_t i = 0; i < n; i++) {
		crc ^= bytes[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
	}
	return ~crc;
}

static void put_header(struct disk *d, uint32_t sector, uint64_t here, uint64_t entries,
	const struct gpt_entry *e, unsigned n)
{
	uint8_t block[4096] = {0};
	struct gpt_header h = {.signature = GPT_SIGNATURE,
		.revision = 0x10000,
		.size = sizeof(h),
		.here = here,
		.entries = entries,
		.n_entries = n,
		.entry_size = sizeof(*e),
		.entries_crc = crc32(e, n * sizeof(*e))};

	h.crc = crc32(&h, sizeof(h));
	memcpy(block, &h, sizeof(h));
	assert_int_equal(disk_write(d, block, sector, here * sector), 0);
	assert_int_equal(disk_write(d, e, n * sizeof(*e), entries * sector), 0);
}

/* 128 entries, the first two of them used. */
static void put_gpt(struct disk *d, uint32_t sector)
{
	static const struct mbr_partition protective = {.type = MBR_PROTECTIVE, .first = 1};
	const uint64_t last = SIZE / sector - 1;
	struct gpt_entry e[128] = {
		{.type = efi_system, .first = 64, .last = 127},
		{.type = linux_data, .first = 128, .last = 1127},
	};
	struct mbr mbr = {.signature = MBR_SIGNATURE, .partition = {protective}};
	uint8_t block[4096] = {0};

	memcpy(block, &mbr, sizeof(mbr));
	assert_int_equal(disk_write(d, block, sector, 0), 0);
	put_header(d, sector, 1, 2, e, 128);
	put_header(d, sector, last, last - sizeof(e) / sector, e, 128);
}

static void gpt_is_read(struct disk *d, uint32_t sector)
{
	struct disk_partition *found, one;
	unsigned n;

	assert_int_equal(list(d, &found, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(found[0].offset, 64 * sector);
	assert_false(found[0].data);
	free(found);
	assert_int_equal(disk_partition_find(d, 0, &one, NULL), 0);
	assert_int_equal(one.number, 2);
	assert_int_equal(one.offset, 128 * sector);
	assert_int_equal(one.length, 1000 * sector);
}

static void test_gpt(void **state)
{
	for (uint32_t sector = 512; sector <= 4096; sector *= 8) {
		struct disk *d = new_disk(*state, sector);

		put_gpt(d, sector);
		gpt_is_read(d, sector);
		/* Without its first copy, and with neither. */
		assert_int_equal(disk_zero(d, sector, sector), 0);
		gpt_is_read(d, sector);
		put_gpt(d, sector);
		assert_int_equal(disk_zero(d, 2 * sector, sector), 0);
		gpt_is_read(d, sector);
		assert_int_equal(disk_zero(d, SIZE - sector, sector), 0);
		assert_int_equal(
			disk_partition_find(d, 2, &(struct disk_partition){0}, NULL), -EUCLEAN);
		image_close(d);
	}
}

static void test_a_gpt_outside_the_disk(void **state)
{
	struct gpt_entry e[4] = {{.type = linux_data, .first = 64, .last = LAST + 1}};
	struct disk *d = new_disk(*state, SECTOR);
	struct disk_partition *found;
	unsigned n;

	for (unsigned i = 0; i < 4; i++) {
		put_gpt(d, SECTOR);
		put_header(d, SECTOR, 1, 2, e, 4);
		put_header(d, SECTOR, LAST, LAST - 1, e, 4);
		assert_int_equal(list(d, &found, &n), -EUCLEAN);
		e->last = i ? UINT64_MAX : 0;
		e->first = i == 2 ? UINT64_MAX : 64;
	}
	image_close(d);
}

/* Whatever stands there, what is found lies inside the disk. */
static void test_tables_damaged_at_random(void **state)
{
	struct disk *d = new_disk(*state, SECTOR);
	uint8_t good[34 * SECTOR], bad[sizeof(good)];
	struct model m = {.seed = 1};
	struct disk_partition *found;
	unsigned n;

	put_gpt(d, SECTOR);
	assert_int_equal(disk_read(d, good, sizeof(good), 0), 0);
	assert_int_equal(disk_zero(d, SIZE - SECTOR, SECTOR), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct gpt_header *h = (struct gpt_header *)(bad + SECTOR);

		memcpy(bad, good, sizeof(good));
		for (unsigned k = 0; k < 4; k++)
			bad[model_random(&m, k % 2 ? 1300 : 620)] = model_random(&m, 256);
		/* Half of them with good checksums. */
		if (i % 2 && h->n_entries == 128 && h->entry_size == 128) {
			h->entries_crc = crc32(bad + 2 * SECTOR, 128 * 128);
			h->crc = 0;
			h->crc = crc32(h, sizeof(*h));
		}
		assert_int_equal(disk_write(d, bad, sizeof(bad), 0), 0);
		if (list(d, &found, &n))
			continue;
		for (unsigned k = 0; k < n; k++) {
			assert_true(found[k].length > 0 && found[k].offset < SIZE);
			assert_true(found[k].length <= SIZE - found[k].offset);
		}
		free(found);
	}
	image_close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_mbr, images_set_up, images_tear_down),
		cmocka_unit_test_setup_teardown(test_damaged_mbrs, images_set_up, images_tear_down),
		cmocka_unit_test_setup_teardown(test_gpt, images_set_up, images_tear_down),
		cmocka_unit_test_setup_teardown(
			test_a_gpt_outside_the_disk, images_set_up, images_tear_down),
		cmocka_unit_test_setup_teardown(
			test_tables_damaged_at_random, images_set_up, images_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
