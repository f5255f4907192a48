/*
 * vhd_damage.c - VHDs that are not as they should be: each is refused with the error that says why,
 * what can be mended is mended, and what a guest writes is never taken for the disk's own tables.
 */
#include "vhd_image.h"

#include <endian.h>

#include "winerror.h"

#define MIB (1u << 20)

static struct vhd_footer footer_of(const char *name)
{
	struct vhd_footer f;

	peek(name, &f, sizeof(f), -(int64_t)sizeof(f));
	return f;
}

static struct vhd_header header_of(const char *name)
{
	struct vhd_header h;

	peek(name, &h, sizeof(h), 512);
	return h;
}

static void set_entry(const char *name, uint32_t block, uint32_t room)
{
	struct vhd_header h = header_of(name);
	uint32_t entry = htobe32(room);

	poke(name, &entry, sizeof(entry), be64toh(h.table_offset) + block * 4);
}

static uint32_t entry_of(const char *name, uint32_t block)
{
	struct vhd_header h = header_of(name);
	uint32_t entry;

	peek(name, &entry, sizeof(entry), be64toh(h.table_offset) + block * 4);
	return be32toh(entry);
}

/* A disk of 16 MiB with data in its first two blocks and the last one. */
static void make_used(const char *name)
{
	struct disk *d;

	make(name, DISK_DYNAMIC, 16 * MIB, 0, NULL);
	d = opened(name, DISK_OPEN_WRITE);
	put(d, 0, 4096, 1);
	put(d, 2 * MIB, 4096, 2);
	put(d, 14 * MIB, 4096, 3);
	assert_int_equal(disk_close(d), 0);
}

/* ---- Footers --------------------------------------------------------------------------------- */

static void fixed_footer(void **state)
{
	struct vhd_footer f, good;

	make("f.vhd", DISK_FIXED, MIB, 0, NULL);
	good = f = footer_of("f.vhd");
	f.creator_host[0] ^= 1;
	poke("f.vhd", &f, sizeof(f), -512);
	refused("f.vhd", -EUCLEAN, ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH, "checksum");
	f = good;
	f.version = htobe32(0x20000);
	poke_footer("f.vhd", &f);
	refused("f.vhd", -ENOTSUP, ERROR_VHD_FORMAT_UNSUPPORTED_VERSION, "version 2.0");
	f = good;
	f.type = htobe32(5);
	poke_footer("f.vhd", &f);
	refused("f.vhd", -EUCLEAN, ERROR_VHD_INVALID_TYPE, "type is 5");
	f = good;
	f.size = htobe64(MIB + 512);
	poke_footer("f.vhd", &f);
	refused("f.vhd", -EUCLEAN, ERROR_VHD_INVALID_FILE_SIZE, "cut off");
	f.size = htobe64(UINT64_MAX - 511);
	poke_footer("f.vhd", &f);
	refused("f.vhd", -EUCLEAN, ERROR_VHD_DRIVE_FOOTER_CORRUPT, "cannot be");
	f.size = htobe64(1000);
	poke_footer("f.vhd", &f);
	refused("f.vhd", -EUCLEAN, ERROR_VHD_DRIVE_FOOTER_CORRUPT, "1000 bytes");
	f.size = 0;
	poke_footer("f.vhd", &f);
	refused("f.vhd", -EUCLEAN, ERROR_VHD_DRIVE_FOOTER_CORRUPT, "0 bytes");
}

static void footer_without_checksum_is_mended(void **state)
{
	struct vhd_footer f;
	uint64_t repaired;

	make("fm.vhd", DISK_FIXED, MIB, 0, NULL);
	f = footer_of("fm.vhd");
	f.checksum ^= 1;
	poke("fm.vhd", &f, sizeof(f), -512);
	assert_int_equal(checked("fm.vhd", true, &repaired), 1);
	assert_int_equal(repaired, 1);
	assert_int_equal(checked("fm.vhd", false, NULL), 0);
	assert_int_equal(disk_close(opened("fm.vhd", 0)), 0);
}

/* The footer at the end is gone, as when a file was not copied whole: the copy serves. */
static void footer_from_its_copy(void **state)
{
	struct disk *d;
	uint64_t size;

	make_used("copy.vhd");
	size = file_size("copy.vhd");
	cut("copy.vhd", size - 512);
	d = opened("copy.vhd", 0);
	holds(d, 14 * MIB, 4096, 3);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(file_size("copy.vhd"), size - 512);
	d = opened("copy.vhd", DISK_OPEN_WRITE);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(file_size("copy.vhd"), size);
	assert_memory_equal(footer_of("copy.vhd").cookie, VHD_FOOTER_COOKIE, 8);
	/* Damaged, and both. */
	poke("copy.vhd", "x", 1, -300);
	assert_int_equal(checked("copy.vhd", false, NULL), 1);
	poke("copy.vhd", "x", 1, 300);
	refused("copy.vhd", -EUCLEAN, ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH, "--repair");
	assert_true(checked("copy.vhd", true, NULL) > 0);
	assert_int_equal(checked("copy.vhd", false, NULL), 0);
	d = opened("copy.vhd", 0);
	holds(d, 14 * MIB, 4096, 3);
	assert_int_equal(disk_close(d), 0);
}

static void bad_copy(void **state)
{
	uint64_t repaired;

	make_used("bc.vhd");
	poke("bc.vhd", "x", 1, 300);
	assert_int_equal(disk_close(opened("bc.vhd", 0)), 0);
	assert_int_equal(checked("bc.vhd", true, &repaired), 1);
	assert_int_equal(repaired, 1);
	assert_int_equal(checked("bc.vhd", false, NULL), 0);
}

/* Before Virtual PC 2004 a footer had 511 bytes. */
static void old_footer(void **state)
{
	struct disk *d;

	make_used("old.vhd");
	cut("old.vhd", file_size("old.vhd") - 1);
	d = opened("old.vhd", DISK_OPEN_WRITE);
	holds(d, 2 * MIB, 4096, 2);
	put(d, 6 * MIB, 4096, 4);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(file_size("old.vhd") % 512, 0);
	assert_int_equal(checked("old.vhd", false, NULL), 0);
}

/*
 * A guest writes, as its first and last sector, a footer that would make its fixed disk a
 * differencing one; and on a dynamic disk, one into every sector there is.
 */
static void guest_writes_footers(void **state)
{
	struct vhd_footer f;
	struct disk *d;
	struct disk_info info;

	make("evil.vhd", DISK_DYNAMIC, 2 * MIB, 0, NULL);
	f = footer_of("evil.vhd");
	f.type = htobe32(VHD_DIFFERENCING);
	poke_footer("evil.vhd", &f);
	f = footer_of("evil.vhd");
	make("guest.vhd", DISK_FIXED, MIB, 0, NULL);
	d = opened("guest.vhd", DISK_OPEN_WRITE);
	assert_int_equal(disk_write(d, &f, sizeof(f), 0), 0);
	assert_int_equal(disk_write(d, &f, sizeof(f), MIB - 512), 0);
	assert_int_equal(disk_close(d), 0);
	d = opened("guest.vhd", 0);
	disk_info(d, &info);
	assert_int_equal(info.kind, DISK_FIXED);
	assert_int_equal(disk_close(d), 0);

	make("guest2.vhd", DISK_DYNAMIC, 4 * MIB, 4096, NULL);
	d = opened("guest2.vhd", DISK_OPEN_WRITE | DISK_OPEN_SHARED);
	for (uint64_t at = 0; at < 4 * MIB; at += 512) {
		struct disk *look;

		assert_int_equal(disk_write(d, &f, sizeof(f), at), 0);
		if (at % (512 * 1021))
			continue;
		/* As the power goes, now. */
		look = opened("guest2.vhd", DISK_OPEN_SHARED);
		disk_info(look, &info);
		assert_int_equal(info.kind, DISK_DYNAMIC);
		assert_int_equal(disk_close(look), 0);
	}
	assert_int_equal(disk_close(d), 0);
}

/* ---- Headers --------------------------------------------------------------------------------- */

static void header(void **state)
{
	struct vhd_header h, good;
	struct vhd_footer f;

	make_used("h.vhd");
	good = h = header_of("h.vhd");
	h.checksum ^= 1;
	poke("h.vhd", &h, sizeof(h), 512);
	refused("h.vhd", -EUCLEAN, ERROR_VHD_SPARSE_HEADER_CHECKSUM_MISMATCH, "--repair");
	h = good;
	memset(h.cookie, 0, 8);
	poke_header("h.vhd", &h);
	refused("h.vhd", -EUCLEAN, ERROR_VHD_SPARSE_HEADER_CORRUPT, "no header");
	h = good;
	h.version = htobe32(0x30001);
	poke_header("h.vhd", &h);
	refused("h.vhd", -ENOTSUP, ERROR_VHD_SPARSE_HEADER_UNSUPPORTED_VERSION, "version 3.1");
	h = good;
	h.block_size = htobe32(3 * MIB);
	poke_header("h.vhd", &h);
	refused("h.vhd", -EUCLEAN, ERROR_VHD_INVALID_BLOCK_SIZE, "3145728");
	h.block_size = 0;
	poke_header("h.vhd", &h);
	refused("h.vhd", -EUCLEAN, ERROR_VHD_INVALID_BLOCK_SIZE, "0 bytes");
	h = good;
	h.entries = htobe32(7);
	poke_header("h.vhd", &h);
	refused("h.vhd", -EUCLEAN, ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT, "7 entries");
	h = good;
	h.table_offset = htobe64(UINT64_MAX - 511);
	poke_header("h.vhd", &h);
	refused("h.vhd", -EUCLEAN, ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT, "inside the file");
	poke_header("h.vhd", &good);
	f = footer_of("h.vhd");
	f.data_offset = htobe64(1ull << 39);
	poke_footer("h.vhd", &f);
	refused("h.vhd", -EUCLEAN, ERROR_VHD_SPARSE_HEADER_CORRUPT, "behind the end");
	/* A size for which the table would have to be larger than anything. */
	make_used("h.vhd");
	f = footer_of("h.vhd");
	f.size = htobe64(1ull << 60);
	poke_footer("h.vhd", &f);
	refused("h.vhd", -EUCLEAN, ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT, "the disk needs");
}

static void header_is_mended(void **state)
{
	struct vhd_header h;
	struct disk *d;

	make_used("hm.vhd");
	h = header_of("hm.vhd");
	h.checksum ^= 0x100;
	poke("hm.vhd", &h, sizeof(h), 512);
	assert_int_equal(checked("hm.vhd", true, NULL), 1);
	assert_int_equal(checked("hm.vhd", false, NULL), 0);
	d = opened("hm.vhd", 0);
	holds(d, 2 * MIB, 4096, 2);
	assert_int_equal(disk_close(d), 0);
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

static void blocks_elsewhere(void **state)
{
	static const uint32_t rooms[] = {0, 1, 2, 3, 0x7fffffff, 0xfffffffe};

	for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
		make_used("else.vhd");
		set_entry("else.vhd", 1, rooms[i]);
		refused("else.vhd", -EUCLEAN, ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT, "block 1");
	}
	/* Mended: that block is lost, the others are not. */
	assert_int_equal(checked("else.vhd", true, NULL), 1);
	assert_int_equal(checked("else.vhd", false, NULL), 0);
	struct disk *d = opened("else.vhd", 0);
	holds(d, 0, 4096, 1);
	holds(d, 2 * MIB, 4096, 0);
	holds(d, 14 * MIB, 4096, 3);
	assert_int_equal(disk_close(d), 0);
}

static void blocks_over_another(void **state)
{
	struct disk *d;
	uint64_t repaired;

	make_used("over.vhd");
	set_entry("over.vhd", 3, entry_of("over.vhd", 1));
	refused("over.vhd", -EUCLEAN, ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT, "same place");
	assert_int_equal(checked("over.vhd", true, &repaired), 1);
	assert_int_equal(repaired, 1);
	assert_int_equal(checked("over.vhd", false, NULL), 0);
	/* Each has what both had, and is its own. */
	d = opened("over.vhd", DISK_OPEN_WRITE);
	holds(d, 6 * MIB, 4096, 2);
	put(d, 6 * MIB, 4096, 9);
	holds(d, 2 * MIB, 4096, 2);
	assert_int_equal(disk_close(d), 0);
	/* Half over another. */
	make_used("over.vhd");
	set_entry("over.vhd", 3, entry_of("over.vhd", 1) + 5);
	refused("over.vhd", -EUCLEAN, ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT, "same place");
}

static void cut_off(void **state)
{
	make_used("cut.vhd");
	cut("cut.vhd", file_size("cut.vhd") - MIB);
	refused("cut.vhd", -EUCLEAN, ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT, "block 7");
	cut("cut.vhd", 1024);
	refused("cut.vhd", -EUCLEAN, ERROR_VHD_SPARSE_HEADER_CORRUPT, "cut off");
}

/* Sectors whose bit is not set are zeros, whatever the file has there. */
static void sector_bitmap_of_a_dynamic_disk(void **state)
{
	uint8_t bits = 0x7f;
	struct disk *d;

	make_used("bits.vhd");
	poke("bits.vhd", &bits, 1, entry_of("bits.vhd", 0) * (int64_t)512);
	d = opened("bits.vhd", DISK_OPEN_WRITE);
	holds(d, 0, 512, 0);
	put(d, 0, 512, 5);
	holds(d, 0, 512, 5);
	assert_int_equal(disk_close(d), 0);
	d = opened("bits.vhd", 0);
	holds(d, 0, 512, 5);
	assert_int_equal(disk_close(d), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fixed_footer),
		cmocka_unit_test(footer_without_checksum_is_mended),
		cmocka_unit_test(footer_from_its_copy),
		cmocka_unit_test(bad_copy),
		cmocka_unit_test(old_footer),
		cmocka_unit_test(guest_writes_footers),
		cmocka_unit_test(header),
		cmocka_unit_test(header_is_mended),
		cmocka_unit_test(blocks_elsewhere),
		cmocka_unit_test(blocks_over_another),
		cmocka_unit_test(cut_off),
		cmocka_unit_test(sector_bitmap_of_a_dynamic_disk),
	};

	return cmocka_run_group_tests(tests, vhd_set_up, vhd_tear_down);
}
