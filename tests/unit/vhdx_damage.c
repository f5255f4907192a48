/*
 * vhdx_damage.c - the corpus of damaged VHDX files: each is made from a sound one by one change,
 * and opening must refuse it with the code and the words that tell people what is wrong; with
 * another program's sound leftovers it must open.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/guid.h"
#include "vhdx_image.h"
#include "winerror.h"

#define IMAGE "disk.vhdx"

/* One change of IMAGE, or of "child.vhdx" that was made from it; and what opening says then. */
struct damage {
	const char *name;
	void (*make)(struct images *m);
	int err;
	uint32_t win32;
	const char *text; /* a part of the line */
	bool child;	  /* "child.vhdx" is opened */
};

#define CORRUPT -EUCLEAN, ERROR_FILE_CORRUPT

/* ---- Headers --------------------------------------------------------------------------------- */

static void poke32(struct images *m, uint64_t offset, uint32_t value)
{
	image_poke(m, IMAGE, offset, &value, sizeof(value));
}

static void identifier(struct images *m)
{
	poke32(m, 4, 0);
}

static void short_file(struct images *m)
{
	assert_int_equal(truncate(image_path(m, IMAGE), MIB / 2), 0);
}

static void both_headers(struct images *m)
{
	poke32(m, VHDX_HEADER_AT(0) + 100, 1);
	poke32(m, VHDX_HEADER_AT(1) + 4000, 1);
}

static void change_headers(struct images *m, void (*change)(struct vhdx_header *h))
{
	struct vhdx_header h;

	for (unsigned i = 0; i < 2; i++) {
		image_get_header(m, IMAGE, i, &h);
		change(&h);
		image_set_header(m, IMAGE, i, &h);
	}
}

#define HEADERS(name, ...)                                                                         \
	static void name##_change(struct vhdx_header *h)                                           \
	{                                                                                          \
		__VA_ARGS__;                                                                       \
	}                                                                                          \
	static void name(struct images *m)                                                         \
	{                                                                                          \
		change_headers(m, name##_change);                                                  \
	}

HEADERS(same_sequence, (h->reserved[0] = h->sequence, h->sequence = 7))
HEADERS(version, h->version = 2)
HEADERS(log_version, (h->log_version = 1, h->log.Data1 = 1))
HEADERS(log_lost, h->log.Data1 = 1)
HEADERS(log_unaligned, h->log_offset += 4096)
HEADERS(log_low, h->log_offset = 0)
HEADERS(log_overflow, h->log_offset = -MIB)
HEADERS(log_long, h->log_length = 0xfff00000)
HEADERS(log_odd, h->log_length = 4096)

/* ---- Regions --------------------------------------------------------------------------------- */

static void both_region_tables(struct images *m)
{
	poke32(m, VHDX_REGION_TABLE_AT(0) + 60000, 1);
	poke32(m, VHDX_REGION_TABLE_AT(1), 1);
}

static void change_regions(struct images *m, void (*change)(struct vhdx_region_table *t))
{
	struct vhdx_region_table t;

	image_get_regions(m, IMAGE, &t);
	change(&t);
	image_set_regions(m, IMAGE, &t);
}

#define REGIONS(name, ...)                                                                         \
	static void name##_change(struct vhdx_region_table *t)                                     \
	{                                                                                          \
		__VA_ARGS__;                                                                       \
	}                                                                                          \
	static void name(struct images *m)                                                         \
	{                                                                                          \
		change_regions(m, name##_change);                                                  \
	}

REGIONS(many_regions, t->count = VHDX_REGIONS_MAX + 1)
REGIONS(unknown_region, (t->entry[2] = t->entry[1], t->entry[2].id.Data1 = 5, t->count = 3))
REGIONS(region_twice, (t->entry[2] = t->entry[1], t->count = 3))
REGIONS(no_bat, (t->entry[0] = t->entry[1], t->count = 1))
REGIONS(no_metadata, t->count = 1)
REGIONS(region_empty, t->entry[0].length = 0)
REGIONS(region_unaligned, t->entry[0].offset += 512)
REGIONS(region_low, t->entry[0].offset = 0)
REGIONS(region_outside, t->entry[0].offset = 1000 * MIB)
REGIONS(region_overflow, t->entry[0].offset = -MIB)
REGIONS(region_long, t->entry[0].length = 0xfff00000)
REGIONS(regions_overlap, t->entry[0].offset = t->entry[1].offset)
REGIONS(region_on_log, t->entry[0].offset = IMAGE_LOG)

/* ---- Metadata -------------------------------------------------------------------------------- */

static void change_metadata(
	struct images *m, const char *name, void (*change)(struct vhdx_metadata_table *t))
{
	struct vhdx_metadata_table t;

	image_peek(m, name, IMAGE_METADATA, &t, sizeof(t));
	change(&t);
	image_poke(m, name, IMAGE_METADATA, &t, sizeof(t));
}

#define METADATA_OF(file, name, ...)                                                               \
	static void name##_change(struct vhdx_metadata_table *t)                                   \
	{                                                                                          \
		__VA_ARGS__;                                                                       \
	}                                                                                          \
	static void name(struct images *m)                                                         \
	{                                                                                          \
		change_metadata(m, file, name##_change);                                           \
	}
#define METADATA(name, ...) METADATA_OF(IMAGE, name, __VA_ARGS__)

/* The items in the order in which they are made. */
enum { PARAMETERS, SIZE, PAGE_83, LOGICAL, PHYSICAL, LOCATOR };

METADATA(metadata_signature, t->signature[0] = 'M')
METADATA(many_items, t->count = VHDX_METADATA_MAX + 1)
METADATA(item_long, (t->entry[SIZE].length = VHDX_METADATA_ITEM_MAX + 1))
METADATA(item_in_table, t->entry[SIZE].offset = 100)
METADATA(item_outside, t->entry[SIZE].offset = MIB - 4)
METADATA(item_overflow, t->entry[SIZE].offset = 0xfffffffc)
METADATA(items_overlap, t->entry[SIZE].offset = t->entry[PARAMETERS].offset + 4)
METADATA(item_twice, (t->entry[5] = t->entry[SIZE], t->count = 6))
METADATA(unknown_item, (t->entry[5] = t->entry[SIZE], t->entry[5].id.Data1 = 5, t->count = 6))
METADATA(no_size, t->entry[SIZE].id.Data1 = t->entry[SIZE].flags = 0)
METADATA(short_size, t->entry[SIZE].length = 4)
METADATA_OF("child.vhdx", no_locator, t->count = LOCATOR)

/* The user's items: one more than there may be. */
METADATA(
	many_user_items, for (unsigned i = 0; i <= VHDX_METADATA_USER_MAX; i++) {
		t->entry[t->count].id.Data1 = i;
		t->entry[t->count++].flags = VHDX_METADATA_USER;
	})

#define ITEMS (IMAGE_METADATA + VHDX_METADATA_TABLE)

static void block_size_odd(struct images *m)
{
	poke32(m, ITEMS, 3 << 20);
}

static void block_size_small(struct images *m)
{
	poke32(m, ITEMS, 512 << 10);
}

static void block_size_large(struct images *m)
{
	poke32(m, ITEMS, 512u << 20);
}

static void poke_size(struct images *m, uint64_t size)
{
	image_poke(m, IMAGE, ITEMS + 8, &size, sizeof(size));
}

static void size_zero(struct images *m)
{
	poke_size(m, 0);
}

static void size_large(struct images *m)
{
	poke_size(m, VHDX_SIZE_MAX + 512);
}

static void size_overflow(struct images *m)
{
	poke_size(m, -512ull);
}

static void size_odd(struct images *m)
{
	poke_size(m, 100 * MIB + 1);
}

static void size_beyond_bat(struct images *m)
{
	poke_size(m, VHDX_SIZE_MAX);
}

static void sector_size(struct images *m)
{
	poke32(m, ITEMS + 32, 1024);
}

static void physical_sector_size(struct images *m)
{
	poke32(m, ITEMS + 36, 0);
}

/* ---- The parent ------------------------------------------------------------------------------ */

#define CHILD_LOCATOR (ITEMS + 40)

static void poke_locator(struct images *m, size_t offset, const void *data, size_t n)
{
	image_poke(m, "child.vhdx", CHILD_LOCATOR + offset, data, n);
}

static void locator_type(struct images *m)
{
	poke_locator(m, 0, "type", 4);
}

static void locator_many(struct images *m)
{
	poke_locator(m, offsetof(struct vhdx_locator, count), "\xff\xff", 2);
}

static void locator_outside(struct images *m)
{
	poke_locator(
		m, offsetof(struct vhdx_locator, entry[1].value_offset), "\xf0\xff\xff\xff", 4);
}

static void locator_odd(struct images *m)
{
	poke_locator(m, offsetof(struct vhdx_locator, entry[1].value_length), "\x03", 2);
}

/* Where the text of entry @i's key or value is. */
static uint32_t text_at(struct images *m, unsigned i, bool value)
{
	struct vhdx_locator_entry e;

	image_peek(m, "child.vhdx", CHILD_LOCATOR + offsetof(struct vhdx_locator, entry[i]), &e,
		sizeof(e));
	return value ? e.value_offset : e.key_offset;
}

static void linkage_missing(struct images *m)
{
	poke_locator(m, text_at(m, 0, false), "P", 1);
}

static void linkage_text(struct images *m)
{
	poke_locator(m, text_at(m, 0, true) + 2, "x", 1);
}

static void paths_missing(struct images *m)
{
	poke_locator(m, text_at(m, 2, false), "x", 1);
	poke_locator(m, text_at(m, 3, false), "x", 1);
}

static void key_twice(struct images *m)
{
	struct vhdx_locator_entry e;

	image_peek(m, "child.vhdx", CHILD_LOCATOR + offsetof(struct vhdx_locator, entry[1]), &e,
		sizeof(e));
	poke_locator(m, offsetof(struct vhdx_locator, entry[2]), &e, sizeof(e));
}

static void parent_gone(struct images *m)
{
	assert_int_equal(unlink(image_path(m, IMAGE)), 0);
}

static void parent_changed(struct images *m)
{
	struct disk *d = image_opened(m, IMAGE, DISK_OPEN_WRITE);
	char sector[512] = "changed";

	assert_int_equal(disk_write(d, sector, sizeof(sector), 0), 0);
	assert_int_equal(disk_close(d), 0);
}

/* The parent becomes a copy of its child, which passes for it: the child is its own grandparent. */
static void parent_loop(struct images *m)
{
	struct vhdx_header parent, h;

	image_get_header(m, IMAGE, 1, &parent);
	image_copy(m, "child.vhdx", IMAGE);
	for (unsigned i = 0; i < 2; i++) {
		image_get_header(m, IMAGE, i, &h);
		h.data_write = parent.data_write;
		image_set_header(m, IMAGE, i, &h);
	}
}

static void parent_damaged(struct images *m)
{
	both_headers(m);
}

/* ---- All of them ----------------------------------------------------------------------------- */

#define UNKNOWN_VERSION -ENOTSUP, ERROR_VHD_FORMAT_UNSUPPORTED_VERSION

static const struct damage damages[] = {
	{"identifier", identifier, -EMEDIUMTYPE, ERROR_FILE_CORRUPT, "does not begin as a VHDX"},
	{"short file", short_file, CORRUPT, "too short"},
	{"both headers", both_headers, CORRUPT, "both headers are damaged"},
	{"same sequence", same_sequence, CORRUPT, "neither is the newer one"},
	{"version", version, UNKNOWN_VERSION, "version 2"},
	{"log version", log_version, UNKNOWN_VERSION, "log has version 1"},
	{"log lost", log_lost, CORRUPT, "its log is damaged"},
	{"log unaligned", log_unaligned, CORRUPT, "places the log"},
	{"log low", log_low, CORRUPT, "places the log"},
	{"log overflow", log_overflow, CORRUPT, "places the log"},
	{"log long", log_long, CORRUPT, "places the log"},
	{"log odd", log_odd, CORRUPT, "places the log"},

	{"both region tables", both_region_tables, CORRUPT, "both copies of its region table"},
	{"many regions", many_regions, CORRUPT, "both copies of its region table"},
	{"unknown region", unknown_region, UNKNOWN_VERSION, "requires region 00000005-"},
	{"region twice", region_twice, CORRUPT, "is there twice"},
	{"no BAT", no_bat, CORRUPT, "no block allocation table region"},
	{"no metadata", no_metadata, CORRUPT, "no metadata region"},
	{"region empty", region_empty, CORRUPT, "impossible place"},
	{"region unaligned", region_unaligned, CORRUPT, "impossible place"},
	{"region low", region_low, CORRUPT, "impossible place"},
	{"region outside", region_outside, CORRUPT, "is not inside the file"},
	{"region overflow", region_overflow, CORRUPT, "is not inside the file"},
	{"region long", region_long, CORRUPT, "is not inside the file"},
	{"regions overlap", regions_overlap, CORRUPT, "overlap at 0x200000"},
	{"region on log", region_on_log, CORRUPT, "overlap at 0x100000"},

	{"metadata signature", metadata_signature, CORRUPT, "metadata table is damaged"},
	{"many items", many_items, CORRUPT, "metadata table is damaged"},
	{"many user items", many_user_items, CORRUPT, "1025 user metadata items"},
	{"item long", item_long, CORRUPT, "not inside the metadata region"},
	{"item in table", item_in_table, CORRUPT, "not inside the metadata region"},
	{"item outside", item_outside, CORRUPT, "not inside the metadata region"},
	{"item overflow", item_overflow, CORRUPT, "not inside the metadata region"},
	{"items overlap", items_overlap, CORRUPT, "overlaps another"},
	{"item twice", item_twice, CORRUPT, "is there twice"},
	{"unknown item", unknown_item, UNKNOWN_VERSION, "requires metadata item 00000005-"},
	{"no size", no_size, CORRUPT, "does not have the disk's size;"},
	{"short size", short_size, CORRUPT, "disk's size in the right length"},
	{"block size odd", block_size_odd, -EUCLEAN, ERROR_VHD_INVALID_BLOCK_SIZE, "3145728"},
	{"block size small", block_size_small, -EUCLEAN, ERROR_VHD_INVALID_BLOCK_SIZE, "524288"},
	{"block size large", block_size_large, -EUCLEAN, ERROR_VHD_INVALID_BLOCK_SIZE, "536870912"},
	{"size zero", size_zero, -EUCLEAN, ERROR_VHD_INVALID_SIZE, "its size of 0 bytes"},
	{"size large", size_large, -EUCLEAN, ERROR_VHD_INVALID_SIZE, "up to 64 TiB"},
	{"size overflow", size_overflow, -EUCLEAN, ERROR_VHD_INVALID_SIZE, "up to 64 TiB"},
	{"size odd", size_odd, -EUCLEAN, ERROR_VHD_INVALID_SIZE, "104857601"},
	{"size beyond BAT", size_beyond_bat, -EUCLEAN, ERROR_VHD_BLOCK_ALLOCATION_TABLE_CORRUPT,
		"room for 131072 entries"},
	{"sector size", sector_size, -EUCLEAN, ERROR_VIRTDISK_UNSUPPORTED_DISK_SECTOR_SIZE,
		"1024 (logical)"},
	{"physical sector size", physical_sector_size, -EUCLEAN,
		ERROR_VIRTDISK_UNSUPPORTED_DISK_SECTOR_SIZE, "0 (physical)"},

	{"no locator", no_locator, CORRUPT, "does not say of what", true},
	{"locator type", locator_type, UNKNOWN_VERSION, "a form that is not known", true},
	{"locator many", locator_many, CORRUPT, "says of its parent is damaged", true},
	{"locator outside", locator_outside, CORRUPT, "says of its parent is damaged", true},
	{"locator odd", locator_odd, CORRUPT, "says of its parent is damaged", true},
	{"linkage missing", linkage_missing, CORRUPT, "says of its parent is damaged", true},
	{"linkage text", linkage_text, CORRUPT, "says of its parent is damaged", true},
	{"paths missing", paths_missing, CORRUPT, "says of its parent is damaged", true},
	{"key twice", key_twice, CORRUPT, "says of its parent is damaged", true},
	{"parent gone", parent_gone, -ENOLINK, ERROR_VHD_PARENT_VHD_NOT_FOUND, "was found neither",
		true},
	{"parent changed", parent_changed, -ESTALE, ERROR_VHD_CHILD_PARENT_ID_MISMATCH,
		"was changed after", true},
	{"parent loop", parent_loop, -ELOOP, ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED,
		"comes back to itself", true},
	{"parent damaged", parent_damaged, -EUCLEAN, ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT,
		"both headers are damaged", true},
};

static void test_refused(void **state)
{
	struct images *m = *state;

	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		const struct damage *t = &damages[i];
		const char *name = t->child ? "child.vhdx" : IMAGE;
		struct disk_problem problem = {0};
		struct disk *d = NULL;
		int r;

		image_make(m, IMAGE);
		image_make_child(m, "child.vhdx", IMAGE);
		t->make(m);
		for (unsigned write = 0; write < 2; write++) {
			memset(&problem, 0, sizeof(problem));
			r = image_open(m, name, write ? DISK_OPEN_WRITE : 0, &d, &problem);
			if (r != t->err || problem.win32 != t->win32 ||
				!strstr(problem.text, t->text) || d)
				fail_msg("%s: %d %#x \"%s\"", t->name, r, problem.win32,
					problem.text);
			/* One line, that begins with the name of a file of the chain. */
			assert_memory_equal(problem.text, m->folder, strlen(m->folder));
			assert_null(strchr(problem.text, '\n'));
		}
	}
}

/* ---- What is odd and yet sound --------------------------------------------------------------- */

REGIONS(optional_region, {
	t->entry[2] = (struct vhdx_region_entry){.offset = IMAGE_BLOCKS, .length = MIB};
	t->entry[2].id.Data1 = 5;
	t->count = 3;
})
METADATA(optional_item, {
	t->entry[5] = (struct vhdx_metadata_entry){.offset = MIB - 16, .length = 16};
	t->entry[5].id.Data1 = 5;
	t->count = 6;
})
METADATA(empty_item, {
	t->entry[5] = (struct vhdx_metadata_entry){.offset = 0};
	t->entry[5].id.Data1 = 5;
	t->count = 6;
})

static void optional_region_in_file(struct images *m)
{
	assert_int_equal(truncate(image_path(m, IMAGE), IMAGE_BLOCKS + MIB), 0);
	optional_region(m);
}

HEADERS(log_version_unused, h->log_version = 1)
HEADERS(same_headers, h->sequence = 7)

static void first_header(struct images *m)
{
	poke32(m, VHDX_HEADER_AT(0), 0);
}

static void second_header(struct images *m)
{
	poke32(m, VHDX_HEADER_AT(1), 0);
}

static void first_table(struct images *m)
{
	poke32(m, VHDX_REGION_TABLE_AT(0), 0);
}

static void second_table(struct images *m)
{
	poke32(m, VHDX_REGION_TABLE_AT(1), 0);
}

static void test_accepted(void **state)
{
	static void (*const makers[])(struct images *) = {optional_region_in_file, optional_item,
		empty_item, log_version_unused, same_headers, first_header, second_header,
		first_table, second_table};
	struct images *m = *state;

	for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
		char sector[512] = "kept", back[512];
		struct disk *d;

		image_make(m, IMAGE);
		makers[i](m);
		for (unsigned write = 0; write < 2; write++) {
			d = image_opened(m, IMAGE, write ? DISK_OPEN_WRITE : 0);
			assert_int_equal(disk_size(d), 100 * MIB);
			if (write)
				assert_int_equal(disk_write(d, sector, 512, 50 * MIB), 0);
			assert_int_equal(disk_close(d), 0);
		}
		d = image_opened(m, IMAGE, 0);
		assert_int_equal(disk_read(d, back, 512, 50 * MIB), 0);
		assert_memory_equal(back, sector, 512);
		assert_int_equal(disk_close(d), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refused, images_set_up, images_tear_down),
		cmocka_unit_test_setup_teardown(test_accepted, images_set_up, images_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
