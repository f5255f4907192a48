/*
 * vhd_change.c - making VHDs and changing them: what stands in their files, sizes, compacting, and
 * what holds a child and its parent together.
 */
#include "vhd_image.h"

#include <endian.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/guid.h"
#include "disk/vhd.h"
#include "winerror.h"

#define MIB (1u << 20)
#define GIB ((uint64_t)1 << 30)

/* ---- Made ------------------------------------------------------------------------------------ */

static void geometry_is(uint64_t size, unsigned cylinders, unsigned heads, unsigned sectors)
{
	struct vhd_footer f;

	vhd_geometry(&f, size);
	assert_int_equal(be16toh(f.cylinders), cylinders);
	assert_int_equal(f.heads, heads);
	assert_int_equal(f.sectors, sectors);
}

/* The specification's algorithm, at each of its turns. */
static void geometry(void **state)
{
	geometry_is(512, 0, 4, 17);
	geometry_is(10 * MIB, 301, 4, 17);
	geometry_is(40 * MIB, 963, 5, 17);
	geometry_is(512 * (uint64_t)MIB, 1024 * 1024 / 63 / 16, 16, 63);
	geometry_is(200 * (uint64_t)MIB, 825, 16, 31);
	geometry_is(127 * GIB, 127 * 2 * MIB / 255 / 16, 16, 255);
	geometry_is(2040 * GIB, 65535, 16, 255);
}

static void footer_of_a_new_disk(void **state)
{
	struct vhd_footer f, copy;
	struct disk_create c = {.format = DISK_FORMAT_VHD, .kind = DISK_DYNAMIC, .size = 10 * MIB};
	struct disk *d;
	struct disk_info info;

	assert_true(guid_parse("00112233-4455-6677-8899-aabbccddeeff", &c.id));
	assert_int_equal(disk_create(engine, image("new.vhd"), &c, NULL, NULL), 0);
	peek("new.vhd", &copy, sizeof(copy), 0);
	peek("new.vhd", &f, sizeof(f), -512);
	assert_memory_equal(&copy, &f, sizeof(f));
	assert_memory_equal(f.cookie, "conectix", 8);
	assert_int_equal(be32toh(f.features), 2);
	assert_int_equal(be32toh(f.version), 0x10000);
	assert_int_equal(be64toh(f.data_offset), 512);
	assert_memory_equal(f.creator, "win ", 4);
	assert_int_equal(be64toh(f.size), 10 * MIB);
	assert_int_equal(be64toh(f.original_size), 10 * MIB);
	assert_memory_equal(
		f.id, "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16);
	d = opened("new.vhd", 0);
	disk_info(d, &info);
	assert_true(guid_equal(&info.id, &c.id));
	assert_string_equal(info.creator, "Partita 0.1");
	assert_int_equal(info.block_size, 2 * MIB);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(disk_create(engine, image("new.vhd"), &c, NULL, NULL), -EEXIST);
}

static void refused_to_make(uint64_t size, uint32_t block, uint32_t sector, uint32_t win32)
{
	struct disk_create c = {
		.format = DISK_FORMAT_VHD,
		.kind = DISK_DYNAMIC,
		.size = size,
		.block_size = block,
		.logical_sector = sector,
	};
	struct disk_problem problem = {0};

	assert_int_equal(disk_create(engine, image("no.vhd"), &c, NULL, &problem), -EINVAL);
	assert_int_equal(problem.win32, win32);
	assert_int_equal(access(image("no.vhd"), F_OK), -1);
}

static void what_a_vhd_cannot_be(void **state)
{
	refused_to_make(2040 * GIB + 512, 0, 0, ERROR_VHD_INVALID_SIZE);
	refused_to_make(MIB, 3 * MIB, 0, ERROR_VHD_INVALID_BLOCK_SIZE);
	refused_to_make(MIB, 512, 0, ERROR_VHD_INVALID_BLOCK_SIZE);
	refused_to_make(2040 * GIB, 65536, 0, ERROR_VHD_INVALID_BLOCK_SIZE);
	refused_to_make(MIB, 0, 4096, ERROR_VIRTDISK_UNSUPPORTED_DISK_SECTOR_SIZE);
}

/* The largest there can be, with the smallest blocks of Hyper-V, all of whose places must fit. */
static void largest(void **state)
{
	struct disk *d;

	make("large.vhd", DISK_DYNAMIC, 2040 * GIB, 512 * 1024, NULL);
	d = opened("large.vhd", DISK_OPEN_WRITE);
	put(d, 2040 * GIB - 4096, 4096, 1);
	put(d, 1000 * GIB - 512, 1024, 2);
	assert_int_equal(disk_close(d), 0);
	d = opened("large.vhd", 0);
	holds(d, 2040 * GIB - 4096, 4096, 1);
	holds(d, 1000 * GIB - 512, 1024, 2);
	assert_int_equal(disk_close(d), 0);
	assert_true(file_size("large.vhd") < 20 * MIB);
}

/* ---- Sizes ----------------------------------------------------------------------------------- */

static void resized(const char *name, uint64_t size, bool lose, int err)
{
	struct disk *d = opened(name, DISK_OPEN_WRITE);
	uint64_t before = disk_size(d);

	assert_int_equal(disk_resize(d, size, lose, NULL), err);
	assert_int_equal(disk_size(d), err ? before : size);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(checked(name, false, NULL), 0);
}

static void resize_fixed(void **state)
{
	struct disk *d;

	make("rf.vhd", DISK_FIXED, 4 * MIB, 0, NULL);
	d = opened("rf.vhd", DISK_OPEN_WRITE);
	put(d, 2 * MIB, 512, 1);
	assert_int_equal(disk_close(d), 0);
	resized("rf.vhd", 6 * MIB + 512, false, 0);
	assert_int_equal(file_size("rf.vhd"), 6 * MIB + 1024);
	resized("rf.vhd", 2 * MIB, false, -ENOTEMPTY);
	resized("rf.vhd", 2 * MIB + 512, false, 0);
	assert_int_equal(file_size("rf.vhd"), 2 * MIB + 1024);
	d = opened("rf.vhd", 0);
	holds(d, 2 * MIB, 512, 1);
	assert_int_equal(disk_close(d), 0);
	resized("rf.vhd", MIB, true, 0);
	/* What was cut off is not there again, nor is what was the footer. */
	resized("rf.vhd", 4 * MIB, false, 0);
	d = opened("rf.vhd", 0);
	holds(d, 0, 4 * MIB, 0);
	assert_int_equal(disk_close(d), 0);
	resized("rf.vhd", 1000, false, -EINVAL);
	resized("rf.vhd", 2041 * GIB, false, -EINVAL);
}

static void resize_dynamic(void **state)
{
	struct disk *d;
	struct disk_info info;

	make("rd.vhd", DISK_DYNAMIC, 3 * MIB, 0, NULL);
	d = opened("rd.vhd", DISK_OPEN_WRITE);
	put(d, 0, 4096, 1);
	put(d, 2 * MIB, MIB, 2);
	/* Still open: the table must move, since its one sector is full at 256 MiB. */
	assert_int_equal(disk_resize(d, 100 * GIB, false, NULL), 0);
	put(d, 100 * GIB - 4096, 4096, 3);
	holds(d, 2 * MIB, MIB, 2);
	holds(d, 3 * MIB, MIB, 0);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(checked("rd.vhd", false, NULL), 0);
	d = opened("rd.vhd", DISK_OPEN_WRITE);
	holds(d, 100 * GIB - 4096, 4096, 3);
	disk_info(d, &info);
	assert_int_equal(info.min_size, 100 * GIB);
	assert_int_equal(disk_resize(d, 2 * MIB, false, NULL), -ENOTEMPTY);
	assert_int_equal(disk_unmap(d, 100 * GIB - 2 * MIB, 2 * MIB), 0);
	assert_int_equal(disk_close(d), 0);
	resized("rd.vhd", 4 * MIB, false, 0);
	/* In the middle of a block: what is behind it does not come back. */
	resized("rd.vhd", 2 * MIB + 512, true, 0);
	resized("rd.vhd", 8 * MIB, false, 0);
	d = opened("rd.vhd", 0);
	holds(d, 0, 4096, 1);
	holds(d, 2 * MIB + 512, 6 * MIB - 512, 0);
	assert_int_equal(disk_close(d), 0);
}

/* What the parent has behind the child's end is not to be seen when the child grows again. */
static void resize_differencing(void **state)
{
	struct disk *d;

	make("rp.vhd", DISK_DYNAMIC, 16 * MIB, 0, NULL);
	d = opened("rp.vhd", DISK_OPEN_WRITE);
	put(d, 0, 16 * MIB, 1);
	assert_int_equal(disk_close(d), 0);
	make("rc.vhd", DISK_DIFFERENCING, 0, 512 * 1024, "rp.vhd");
	resized("rc.vhd", 5 * MIB + 512, false, 0);
	resized("rc.vhd", 20 * MIB, false, 0);
	d = opened("rc.vhd", 0);
	holds(d, 5 * MIB + 512, 15 * MIB - 512, 0);
	assert_int_equal(disk_close(d), 0);
}

/* ---- Compacting ------------------------------------------------------------------------------ */

static void compact(void **state)
{
	struct disk *d;
	uint64_t full;

	make("compact.vhd", DISK_DYNAMIC, 64 * MIB, 0, NULL);
	d = opened("compact.vhd", DISK_OPEN_WRITE);
	for (unsigned i = 0; i < 16; i++)
		put(d, i * 2 * MIB, 2 * MIB, i + 1);
	put(d, 4 * MIB, 2 * MIB, 0);
	assert_int_equal(disk_close(d), 0);
	full = file_size("compact.vhd");
	d = opened("compact.vhd", DISK_OPEN_WRITE);
	assert_int_equal(disk_unmap(d, 8 * MIB, 8 * MIB), 0);
	assert_int_equal(disk_compact(d, DISK_COMPACT_MOVE, NULL, NULL), 0);
	assert_int_equal(disk_flush(d), 0);
	assert_in_range(file_size("compact.vhd"), full - 8 * MIB - 5 * 4096, full - 8 * MIB);
	assert_int_equal(disk_compact(d, DISK_COMPACT_ALL, NULL, NULL), 0);
	assert_in_range(file_size("compact.vhd"), full - 10 * MIB - 6 * 4096, full - 10 * MIB);
	for (unsigned i = 0; i < 16; i++)
		holds(d, i * 2 * MIB, 2 * MIB, i == 2 || (i >= 4 && i < 8) ? 0 : i + 1);
	put(d, 40 * MIB, 4096, 50);
	assert_int_equal(disk_close(d), 0);
	d = opened("compact.vhd", 0);
	for (unsigned i = 8; i < 16; i++)
		holds(d, i * 2 * MIB, 2 * MIB, i + 1);
	holds(d, 40 * MIB, 4096, 50);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(checked("compact.vhd", false, NULL), 0);
}

/* The file stays as long, with holes in which new blocks find room. */
static void compact_without_moves(void **state)
{
	struct disk_info before, after;
	struct disk *d;
	uint64_t full;

	make("stay.vhd", DISK_DYNAMIC, 64 * MIB, 0, NULL);
	d = opened("stay.vhd", DISK_OPEN_WRITE);
	for (unsigned i = 0; i < 8; i++)
		put(d, i * 2 * MIB, 2 * MIB, i + 1);
	assert_int_equal(disk_close(d), 0);
	d = opened("stay.vhd", DISK_OPEN_WRITE);
	put(d, 4 * MIB, 2 * MIB, 0);
	disk_info(d, &before);
	full = file_size("stay.vhd");
	assert_int_equal(disk_compact(d, 0, NULL, NULL), 0);
	disk_info(d, &after);
	assert_int_equal(after.file_used, before.file_used);
	assert_int_equal(disk_compact(d, DISK_COMPACT_ZEROS, NULL, NULL), 0);
	disk_info(d, &after);
	assert_true(after.file_used <= before.file_used - 2 * MIB + 8192);
	assert_int_equal(file_size("stay.vhd"), full);
	put(d, 40 * MIB, 2 * MIB, 50);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(file_size("stay.vhd"), full);
	d = opened("stay.vhd", 0);
	for (unsigned i = 0; i < 8; i++)
		holds(d, i * 2 * MIB, 2 * MIB, i == 2 ? 0 : i + 1);
	holds(d, 40 * MIB, 2 * MIB, 50);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(checked("stay.vhd", false, NULL), 0);
}

/* Zeros of a child hide what the parent has: they are no zeros that can go. */
static void compact_differencing(void **state)
{
	struct disk *d;
	uint64_t full;

	make("cp.vhd", DISK_DYNAMIC, 16 * MIB, 0, NULL);
	d = opened("cp.vhd", DISK_OPEN_WRITE);
	put(d, 0, 2 * MIB, 1);
	assert_int_equal(disk_close(d), 0);
	make("cc.vhd", DISK_DIFFERENCING, 0, 0, "cp.vhd");
	d = opened("cc.vhd", DISK_OPEN_WRITE);
	put(d, 0, 2 * MIB, 0);
	put(d, 2 * MIB, 2 * MIB, 0);
	put(d, 4 * MIB, 2 * MIB, 3);
	assert_int_equal(disk_close(d), 0);
	full = file_size("cc.vhd");
	d = opened("cc.vhd", DISK_OPEN_WRITE);
	assert_int_equal(disk_compact(d, DISK_COMPACT_ALL, NULL, NULL), 0);
	assert_int_equal(disk_close(d), 0);
	assert_in_range(file_size("cc.vhd"), full - 2 * MIB - 4096, full - 2 * MIB);
	d = opened("cc.vhd", 0);
	holds(d, 0, 4 * MIB, 0);
	holds(d, 4 * MIB, 2 * MIB, 3);
	assert_int_equal(disk_close(d), 0);
}

static void compact_cancelled(void **state)
{
	struct disk_progress progress = {.cancel = true};
	struct disk *d;

	make("cancel.vhd", DISK_DYNAMIC, 16 * MIB, 0, NULL);
	d = opened("cancel.vhd", DISK_OPEN_WRITE);
	put(d, 0, 2 * MIB, 1);
	assert_int_equal(disk_compact(d, DISK_COMPACT_ALL, &progress, NULL), -ECANCELED);
	holds(d, 0, 2 * MIB, 1);
	assert_int_equal(disk_close(d), 0);
	make("fixed.vhd", DISK_FIXED, MIB, 0, NULL);
	d = opened("fixed.vhd", DISK_OPEN_WRITE);
	assert_int_equal(disk_compact(d, DISK_COMPACT_ALL, NULL, NULL), -ENOTSUP);
	assert_int_equal(disk_close(d), 0);
}

/* ---- Parents --------------------------------------------------------------------------------- */

static void two_disks(void)
{
	struct disk *d;

	make("base.vhd", DISK_DYNAMIC, 4 * MIB, 0, NULL);
	d = opened("base.vhd", DISK_OPEN_WRITE);
	put(d, 0, 4096, 1);
	assert_int_equal(disk_close(d), 0);
	make("child.vhd", DISK_DIFFERENCING, 0, 0, "base.vhd");
}

static void locators(void **state)
{
	struct disk *d;
	char *path;

	two_disks();
	d = opened("child.vhd", 0);
	assert_int_equal(disk_parent_locator(d, DISK_LOCATOR_RELATIVE, &path), 0);
	assert_string_equal(path, ".\\base.vhd");
	free(path);
	assert_int_equal(disk_parent_locator(d, DISK_LOCATOR_ABSOLUTE, &path), 0);
	assert_non_null(strstr(path, "\\base.vhd"));
	free(path);
	assert_int_equal(disk_parent_locator(d, DISK_LOCATOR_VOLUME, &path), -ENOENT);
	assert_int_equal(disk_close(d), 0);
}

static void changed_parent_is_refused(void **state)
{
	struct disk *d;
	GUID id;

	two_disks();
	/* Looking at it is no change, nor is opening it for writing. */
	assert_int_equal(disk_close(opened("base.vhd", DISK_OPEN_WRITE)), 0);
	d = opened("child.vhd", 0);
	holds(d, 0, 4096, 1);
	assert_int_equal(disk_close(d), 0);
	/* A write is, also in the second in which the child was made. */
	d = opened("base.vhd", DISK_OPEN_WRITE);
	put(d, 0, 512, 2);
	assert_int_equal(disk_close(d), 0);
	refused("child.vhd", -ESTALE, ERROR_VHD_CHILD_PARENT_TIMESTAMP_MISMATCH, "was changed");
	d = opened("child.vhd", DISK_OPEN_WRITE | DISK_OPEN_NO_PARENTS);
	assert_int_equal(disk_set_parent(d, image("base.vhd"), false, NULL), -ESTALE);
	assert_int_equal(disk_set_parent(d, image("base.vhd"), true, NULL), 0);
	assert_int_equal(disk_close(d), 0);
	d = opened("child.vhd", 0);
	holds(d, 0, 512, 2);
	assert_int_equal(disk_close(d), 0);
	/* Another disk in its place. */
	guid_new(&id);
	d = opened("base.vhd", DISK_OPEN_WRITE);
	assert_int_equal(disk_set_id(d, &id, NULL), 0);
	assert_int_equal(disk_close(d), 0);
	refused("child.vhd", -ESTALE, ERROR_VHD_CHILD_PARENT_ID_MISMATCH, "is not its parent");
}

/* What others made: their children have the time of the parent's file, or its footer's. */
static void times_of_others(void **state)
{
	struct vhd_header h;
	struct vhd_footer f;

	two_disks();
	peek("child.vhd", &f, sizeof(f), -512);
	f.creator_version = htobe32(0x60001);
	poke_footer("child.vhd", &f);
	peek("child.vhd", &h, sizeof(h), 512);
	h.parent_time = htobe32(be32toh(h.parent_time) + 1000);
	poke_header("child.vhd", &h);
	assert_int_equal(disk_close(opened("child.vhd", 0)), 0);
	h.parent_time = htobe32(be32toh(h.parent_time) - 2000);
	poke_header("child.vhd", &h);
	refused("child.vhd", -ESTALE, ERROR_VHD_CHILD_PARENT_TIMESTAMP_MISMATCH, "was changed");
}

static void moved_parent(void **state)
{
	struct disk *d;
	char *path;

	two_disks();
	assert_int_equal(rename(image("base.vhd"), image("moved.vhd")), 0);
	refused("child.vhd", -ENOLINK, ERROR_VHD_PARENT_VHD_NOT_FOUND, "base.vhd");
	/* Grandchildren do not mind: what they see is the same. */
	assert_int_equal(rename(image("moved.vhd"), image("base.vhd")), 0);
	make("grandchild.vhd", DISK_DIFFERENCING, 0, 0, "child.vhd");
	assert_int_equal(rename(image("base.vhd"), image("moved.vhd")), 0);
	d = opened("child.vhd", DISK_OPEN_WRITE | DISK_OPEN_NO_PARENTS);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(disk_set_parent(d, image("moved.vhd"), false, NULL), 0);
	assert_int_equal(disk_parent_locator(d, DISK_LOCATOR_RELATIVE, &path), 0);
	assert_string_equal(path, ".\\moved.vhd");
	free(path);
	put(d, 2 * MIB, 512, 7);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(checked("child.vhd", false, NULL), 0);
	d = opened("child.vhd", 0);
	holds(d, 0, 4096, 1);
	holds(d, 2 * MIB, 512, 7);
	assert_int_equal(disk_close(d), 0);
}

/* A path that leads to itself. */
static void own_parent(void **state)
{
	struct vhd_header h;
	struct vhd_footer f;

	two_disks();
	peek("child.vhd", &f, sizeof(f), -512);
	peek("child.vhd", &h, sizeof(h), 512);
	memcpy(h.parent_id, f.id, sizeof(f.id));
	memset(h.locator, 0, sizeof(h.locator));
	for (unsigned i = 0; i < 9; i++)
		h.parent_name[i] = htobe16("child.vhd"[i]);
	h.parent_name[9] = 0;
	poke_header("child.vhd", &h);
	refused("child.vhd", -ELOOP, ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED, "itself");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(geometry),
		cmocka_unit_test(footer_of_a_new_disk),
		cmocka_unit_test(what_a_vhd_cannot_be),
		cmocka_unit_test(largest),
		cmocka_unit_test(resize_fixed),
		cmocka_unit_test(resize_dynamic),
		cmocka_unit_test(resize_differencing),
		cmocka_unit_test(compact),
		cmocka_unit_test(compact_without_moves),
		cmocka_unit_test(compact_differencing),
		cmocka_unit_test(compact_cancelled),
		cmocka_unit_test(locators),
		cmocka_unit_test(changed_parent_is_refused),
		cmocka_unit_test(times_of_others),
		cmocka_unit_test(moved_parent),
		cmocka_unit_test(own_parent),
	};

	return cmocka_run_group_tests(tests, vhd_set_up, vhd_tear_down);
}
