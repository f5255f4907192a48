/*
 * vhdx_structure.c - VHDX files that are sound: created in all shapes, their headers, metadata and
 * parent locators as they change.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/guid.h"
#include "disk/vhdx.h"
#include "vhdx_image.h"
#include "winerror.h"

#define IMAGE "disk.vhdx"
#define TIB   (1ull << 40)

/* ---- Creating -------------------------------------------------------------------------------- */

static void check_created(struct images *m, const struct disk_create *c)
{
	uint8_t sector[4096], back[4096];
	struct disk_check check = {0};
	struct disk_info info;
	struct disk *d;

	assert_int_equal(image_create(m, IMAGE, c, NULL, NULL), 0);
	d = image_opened(m, IMAGE, DISK_OPEN_WRITE);
	disk_info(d, &info);
	assert_int_equal(info.kind, c->kind);
	assert_int_equal(info.size, c->size);
	assert_int_equal(info.block_size, c->block_size);
	assert_int_equal(info.logical_sector, c->logical_sector);
	assert_int_equal(info.physical_sector, 4096);
	assert_memory_equal(info.creator, "Partita ", 8);
	assert_false(guid_is_zero(&info.id));
	assert_false(guid_is_zero(&info.data_id));
	memset(sector, 0x5a, sizeof(sector));
	assert_int_equal(disk_write(d, sector, c->logical_sector, c->size - c->logical_sector), 0);
	assert_int_equal(disk_close(d), 0);
	d = image_opened(m, IMAGE, 0);
	assert_int_equal(disk_read(d, back, c->logical_sector, c->size - c->logical_sector), 0);
	assert_memory_equal(back, sector, c->logical_sector);
	assert_int_equal(disk_check(d, &check, NULL), 0);
	assert_int_equal(check.errors, 0);
	assert_int_equal(disk_close(d), 0);
}

static void test_create(void **state)
{
	static const uint64_t sizes[] = {4096, 3 * MIB - 4096, 100 * MIB, 4096 * MIB, 5 * TIB};
	static const uint32_t blocks[] = {VHDX_BLOCK_MIN, 2 * MIB, 32 * MIB, VHDX_BLOCK_MAX};
	struct disk_create c = {0};

	for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
		for (unsigned b = 0; b < sizeof(blocks) / sizeof(blocks[0]); b++)
			for (unsigned k = 0; k < 4; k++) {
				c.size = sizes[s];
				c.block_size = blocks[b];
				c.logical_sector = k & 1 ? 4096 : 512;
				c.kind = k & 2 ? DISK_FIXED : DISK_DYNAMIC;
				if (c.size > TIB && c.kind == DISK_FIXED)
					continue;
				check_created(*state, &c);
			}
	c = (struct disk_create){
		.kind = DISK_DYNAMIC,
		.size = VHDX_SIZE_MAX,
		.block_size = VHDX_BLOCK_MIN,
		.logical_sector = 512,
	};
	check_created(*state, &c);
}

static void test_defaults(void **state)
{
	struct images *m = *state;
	struct disk_create c = {.kind = DISK_DYNAMIC, .size = 64 * MIB};
	struct disk_info info;
	struct disk *d;

	guid_new(&c.id);
	assert_int_equal(image_create(m, IMAGE, &c, NULL, NULL), 0);
	c = (struct disk_create){0};
	assert_int_equal(image_create(m, "child.vhdx", &c, IMAGE, NULL), 0);
	d = image_opened(m, "child.vhdx", 0);
	disk_info(d, &info);
	assert_int_equal(info.block_size, 2 * MIB);
	assert_int_equal(info.depth, 1);
	assert_int_equal(info.size, 64 * MIB);
	disk_info(disk_parent(d), &info);
	assert_int_equal(info.block_size, 32 * MIB);
	assert_int_equal(info.logical_sector, 512);
	assert_int_equal(info.physical_sector, 4096);
	assert_int_equal(disk_close(d), 0);
}

/* A fixed disk has its room at once: as a sparse file, or taken. */
static void test_fixed(void **state)
{
	struct images *m = *state;
	struct disk_create c = {.kind = DISK_FIXED, .size = 8 * MIB, .block_size = MIB};
	struct stat st;
	uint64_t bat[8];

	for (unsigned taken = 0; taken < 2; taken++) {
		c.preallocated = taken;
		assert_int_equal(image_create(m, IMAGE, &c, NULL, NULL), 0);
		assert_int_equal(stat(image_path(m, IMAGE), &st), 0);
		assert_int_equal(st.st_size, IMAGE_BLOCKS + 8 * MIB);
		if (taken)
			assert_true(st.st_blocks * 512ull >= 8 * MIB);
		else
			assert_true(st.st_blocks * 512ull < 2 * MIB);
		image_peek(m, IMAGE, IMAGE_BAT, bat, sizeof(bat));
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(
				bat[i], VHDX_BAT_ENTRY(VHDX_BLOCK_PRESENT, IMAGE_BLOCKS + i * MIB));
	}
}

static void test_create_refused(void **state)
{
	static const struct {
		struct disk_create c;
		uint32_t win32;
	} cases[] = {
		{{.size = 64 * MIB, .block_size = 512 << 10}, ERROR_VHD_INVALID_BLOCK_SIZE},
		{{.size = 64 * MIB, .block_size = 3 << 20}, ERROR_VHD_INVALID_BLOCK_SIZE},
		{{.size = 64 * MIB, .block_size = 512 << 20}, ERROR_VHD_INVALID_BLOCK_SIZE},
		{{.size = 0}, ERROR_VHD_INVALID_SIZE},
		{{.size = VHDX_SIZE_MAX + 512}, ERROR_VHD_INVALID_SIZE},
		{{.size = 64 * MIB, .logical_sector = 4096, .physical_sector = 512},
			ERROR_VIRTDISK_UNSUPPORTED_DISK_SECTOR_SIZE},
	};
	struct images *m = *state;
	struct disk_create c;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct disk_problem problem = {0};

		c = cases[i].c;
		c.kind = DISK_DYNAMIC;
		assert_int_equal(image_create(m, IMAGE, &c, NULL, &problem), -EINVAL);
		assert_int_equal(problem.win32, cases[i].win32);
		assert_int_equal(access(image_path(m, IMAGE), F_OK), -1);
	}
	image_make(m, "parent.vhdx");
	c = (struct disk_create){.logical_sector = 4096};
	assert_int_equal(image_create(m, IMAGE, &c, "parent.vhdx", NULL), -EINVAL);
}

/* ---- Headers --------------------------------------------------------------------------------- */

/* Opening changes nothing; the first write changes both GUIDs; both copies say so. */
static void test_guids(void **state)
{
	struct images *m = *state;
	struct vhdx_header before[2], after[2];
	uint8_t sector[512] = {1};
	struct disk *d;

	image_make(m, IMAGE);
	for (unsigned step = 0; step < 3; step++) {
		for (unsigned i = 0; i < 2; i++)
			image_get_header(m, IMAGE, i, &before[i]);
		d = image_opened(m, IMAGE, step ? DISK_OPEN_WRITE : 0);
		if (step == 2)
			assert_int_equal(disk_write(d, sector, 512, 0), 0);
		assert_int_equal(disk_close(d), 0);
		for (unsigned i = 0; i < 2; i++)
			image_get_header(m, IMAGE, i, &after[i]);
		if (step < 2)
			assert_memory_equal(before, after, sizeof(before));
	}
	assert_false(guid_equal(&before[0].file_write, &after[0].file_write));
	assert_false(guid_equal(&before[0].data_write, &after[0].data_write));
	assert_true(guid_equal(&after[0].file_write, &after[1].file_write));
	assert_true(guid_equal(&after[0].data_write, &after[1].data_write));
	assert_true(guid_is_zero(&after[0].log) && guid_is_zero(&after[1].log));
	assert_true(after[0].sequence != after[1].sequence);
}

/* The valid header with the greater number is current, whichever copy it is. */
static void test_current(void **state)
{
	struct images *m = *state;

	for (unsigned newer = 0; newer < 2; newer++)
		for (unsigned bad = 0; bad < 2; bad++) {
			struct vhdx_header h;
			struct disk_info info;
			struct disk *d;

			image_make(m, IMAGE);
			image_get_header(m, IMAGE, 0, &h);
			h.sequence = UINT32_MAX;
			h.data_write.Data1 = 1;
			image_set_header(m, IMAGE, !newer, &h);
			h.sequence++;
			h.data_write.Data1 = 2;
			image_set_header(m, IMAGE, newer, &h);
			if (bad)
				image_poke(m, IMAGE, VHDX_HEADER_AT(newer) + 4095, "x", 1);
			d = image_opened(m, IMAGE, 0);
			disk_info(d, &info);
			assert_int_equal(info.data_id.Data1, bad ? 1 : 2);
			assert_int_equal(disk_close(d), 0);
		}
}

/* ---- Metadata -------------------------------------------------------------------------------- */

static GUID item_id(unsigned i)
{
	return (GUID){i, 7, 7, {7}};
}

static void expect_item(struct disk *d, unsigned i, uint32_t length, uint8_t fill)
{
	uint32_t n = VHDX_METADATA_ITEM_MAX;
	uint8_t *data = malloc(n);
	GUID id = item_id(i);

	assert_int_equal(disk_metadata_get(d, &id, data, &n), 0);
	assert_int_equal(n, length);
	for (uint32_t k = 0; k < n; k++)
		assert_int_equal(data[k], fill);
	free(data);
}

static int set_item(struct disk *d, unsigned i, uint32_t length, uint8_t fill)
{
	uint8_t *data = malloc(length + 1);
	GUID id = item_id(i);
	int r;

	memset(data, fill, length);
	r = disk_metadata_set(d, &id, data, length);
	free(data);
	return r;
}

static unsigned count_items(struct disk *d)
{
	unsigned n;

	assert_int_equal(disk_metadata_list(d, NULL, 0, &n), 0);
	return n;
}

static void test_metadata(void **state)
{
	struct images *m = *state;
	GUID list[4], id = item_id(9);
	uint32_t n = 2;
	char text[4];
	unsigned count;
	struct disk *d;

	image_make(m, IMAGE);
	d = image_opened(m, IMAGE, DISK_OPEN_WRITE);
	assert_int_equal(count_items(d), 0);
	assert_int_equal(disk_metadata_get(d, &id, text, &n), -ENOENT);
	assert_int_equal(disk_metadata_delete(d, &id), -ENOENT);
	assert_int_equal(set_item(d, 1, 100, 1), 0);
	assert_int_equal(set_item(d, 2, 0, 0), 0);
	assert_int_equal(set_item(d, 3, 5000, 3), 0);
	assert_int_equal(set_item(d, 1, 50, 11), 0);	 /* shorter, where it is */
	assert_int_equal(set_item(d, 3, 200000, 33), 0); /* longer, elsewhere */
	id = item_id(1);
	assert_int_equal(disk_metadata_get(d, &id, text, &n), -ERANGE);
	assert_int_equal(n, 50);
	assert_int_equal(disk_close(d), 0);

	d = image_opened(m, IMAGE, DISK_OPEN_WRITE);
	assert_int_equal(disk_metadata_list(d, list, 4, &count), 0);
	assert_int_equal(count, 3);
	expect_item(d, 1, 50, 11);
	expect_item(d, 2, 0, 0);
	expect_item(d, 3, 200000, 33);
	assert_int_equal(disk_metadata_delete(d, &id), 0);
	assert_int_equal(disk_metadata_get(d, &id, text, &n), -ENOENT);
	assert_int_equal(disk_close(d), 0);

	d = image_opened(m, IMAGE, 0);
	assert_int_equal(count_items(d), 2);
	expect_item(d, 3, 200000, 33);
	assert_int_equal(set_item(d, 1, 1, 1), -EROFS);
	assert_int_equal(disk_metadata_delete(d, &id), -EROFS);
	assert_int_equal(disk_close(d), 0);
}

/* Items as long as they may be: the region grows for them. */
static void test_metadata_long(void **state)
{
	struct images *m = *state;
	struct disk_check check = {0};
	struct disk *d;

	image_make(m, IMAGE);
	d = image_opened(m, IMAGE, DISK_OPEN_WRITE);
	assert_int_equal(set_item(d, 0, VHDX_METADATA_ITEM_MAX + 1, 1), -EINVAL);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(set_item(d, i, VHDX_METADATA_ITEM_MAX, i), 0);
	assert_int_equal(set_item(d, 2, VHDX_METADATA_ITEM_MAX, 22), 0);
	assert_int_equal(disk_close(d), 0);
	d = image_opened(m, IMAGE, 0);
	for (unsigned i = 0; i < 5; i++)
		expect_item(d, i, VHDX_METADATA_ITEM_MAX, i == 2 ? 22 : i);
	assert_int_equal(disk_check(d, &check, NULL), 0);
	assert_int_equal(check.errors, 0);
	assert_int_equal(disk_close(d), 0);
}

/* As many items as there may be: made by hand but for the last one. */
static void test_metadata_many(void **state)
{
	struct images *m = *state;
	struct vhdx_metadata_table t;
	struct disk *d;

	image_make(m, IMAGE);
	image_peek(m, IMAGE, IMAGE_METADATA, &t, sizeof(t));
	for (unsigned i = 1; i < VHDX_METADATA_USER_MAX; i++)
		t.entry[t.count++] = (struct vhdx_metadata_entry){
			.id = item_id(i),
			.flags = VHDX_METADATA_USER,
		};
	image_poke(m, IMAGE, IMAGE_METADATA, &t, sizeof(t));
	d = image_opened(m, IMAGE, DISK_OPEN_WRITE);
	assert_int_equal(set_item(d, VHDX_METADATA_USER_MAX, 8, 1), 0);
	assert_int_equal(set_item(d, VHDX_METADATA_USER_MAX + 1, 8, 1), -ENOSPC);
	assert_int_equal(set_item(d, 7, 8, 7), 0);
	assert_int_equal(disk_close(d), 0);
	d = image_opened(m, IMAGE, 0);
	assert_int_equal(count_items(d), VHDX_METADATA_USER_MAX);
	expect_item(d, 7, 8, 7);
	expect_item(d, 8, 0, 0);
	expect_item(d, VHDX_METADATA_USER_MAX, 8, 1);
	assert_int_equal(disk_close(d), 0);
}

static void test_settings(void **state)
{
	struct images *m = *state;
	struct disk_problem problem = {0};
	struct disk_info info;
	struct disk *d;
	GUID id;

	guid_new(&id);
	image_make(m, IMAGE);
	d = image_opened(m, IMAGE, DISK_OPEN_WRITE);
	assert_int_equal(disk_set_id(d, &id, &problem), 0);
	assert_int_equal(disk_set_physical_sector(d, 512, &problem), 0);
	assert_int_equal(disk_set_physical_sector(d, 1024, &problem), -EINVAL);
	assert_int_equal(problem.win32, ERROR_VIRTDISK_UNSUPPORTED_DISK_SECTOR_SIZE);
	for (unsigned again = 0; again < 2; again++) {
		disk_info(d, &info);
		assert_true(guid_equal(&info.id, &id));
		assert_int_equal(info.physical_sector, 512);
		assert_int_equal(disk_close(d), 0);
		d = image_opened(m, IMAGE, 0);
	}
	assert_int_equal(disk_close(d), 0);
}

/* ---- Parents --------------------------------------------------------------------------------- */

static void expect_locator(struct disk *d, enum disk_locator which, const char *text)
{
	char *path;

	assert_int_equal(disk_parent_locator(d, which, &path), 0);
	assert_string_equal(path, text);
	free(path);
}

static void test_locators(void **state)
{
	struct images *m = *state;
	char text[256], path[256];
	struct disk *d;

	assert_int_equal(mkdir(image_path(m, "b\u00e4se"), 0777), 0);
	image_make(m, "b\u00e4se/parent.vhdx");
	image_make_child(m, "child.vhdx", "b\u00e4se/parent.vhdx");
	d = image_opened(m, "child.vhdx", 0);
	expect_locator(d, DISK_LOCATOR_RELATIVE, ".\\b\u00e4se\\parent.vhdx");
	snprintf(text, sizeof(text), "%s/b\u00e4se/parent.vhdx", m->folder);
	for (char *c = text; *c; c++)
		if (*c == '/')
			*c = '\\';
	expect_locator(d, DISK_LOCATOR_ABSOLUTE, text);
	assert_int_equal(disk_close(d), 0);

	/* The parent moves beside its child and is found; then its path is stored. */
	strcpy(path, image_path(m, "b\u00e4se/parent.vhdx"));
	assert_int_equal(rename(path, image_path(m, "parent.vhdx")), 0);
	d = image_opened(m, "child.vhdx", 0);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(rename(image_path(m, "parent.vhdx"), path), 0);
	strcpy(text, path);
	strcpy(text + strlen(text) - strlen("parent.vhdx"), "other.vhdx");
	assert_int_equal(rename(path, text), 0);
	d = image_opened(m, "child.vhdx", DISK_OPEN_WRITE | DISK_OPEN_NO_PARENTS);
	assert_int_equal(disk_set_parent(d, text, false, NULL), 0);
	assert_int_equal(disk_close(d), 0);
	d = image_opened(m, "child.vhdx", 0);
	expect_locator(d, DISK_LOCATOR_RELATIVE, ".\\b\u00e4se\\other.vhdx");
	assert_int_equal(disk_close(d), 0);
}

/* Another disk is not the parent, unless one insists. */
static void test_other_parent(void **state)
{
	struct images *m = *state;
	struct disk_problem problem = {0};
	struct disk_info info, parent;
	struct disk *d;

	image_make(m, "parent.vhdx");
	image_make(m, "other.vhdx");
	image_make_child(m, "child.vhdx", "parent.vhdx");
	d = image_opened(m, "child.vhdx", DISK_OPEN_WRITE);
	assert_int_equal(disk_set_parent(d, image_path(m, "other.vhdx"), false, &problem), -ESTALE);
	assert_int_equal(problem.win32, ERROR_VHD_CHILD_PARENT_ID_MISMATCH);
	assert_int_equal(disk_set_parent(d, image_path(m, "other.vhdx"), true, NULL), 0);
	assert_int_equal(disk_close(d), 0);
	d = image_opened(m, "child.vhdx", 0);
	disk_info(d, &info);
	disk_info(disk_parent(d), &parent);
	assert_true(guid_equal(&info.parent_id, &parent.data_id));
	assert_string_equal(disk_path(disk_parent(d)) + strlen(m->folder), "/./other.vhdx");
	assert_int_equal(disk_close(d), 0);
}

/*
 * A parent that is written below its child, as a merge does, is the child's parent at each moment:
 * also when the child was not the one who closed it.
 */
static void test_parent_written(void **state)
{
	struct images *m = *state;
	uint8_t sector[512] = {1}, back[512];
	struct disk *d;

	image_make(m, "parent.vhdx");
	image_make_child(m, "child.vhdx", "parent.vhdx");
	for (unsigned i = 0; i < 3; i++) {
		sector[0] = i;
		d = image_opened(m, "child.vhdx", DISK_OPEN_WRITE | DISK_OPEN_WRITE_PARENTS);
		assert_int_equal(disk_write(disk_parent(d), sector, 512, 0), 0);
		assert_int_equal(disk_flush(disk_parent(d)), 0);
		/* As a power cut now would find them. */
		image_copy(m, "child.vhdx", "cut.vhdx");
		image_copy(m, "parent.vhdx", "parent.cut");
		assert_int_equal(disk_close(d), 0);
		d = image_opened(m, "child.vhdx", 0);
		assert_int_equal(disk_read(d, back, 512, 0), 0);
		assert_memory_equal(back, sector, 512);
		assert_int_equal(disk_close(d), 0);
		d = image_opened(m, "cut.vhdx", DISK_OPEN_WRITE | DISK_OPEN_NO_PARENTS);
		assert_int_equal(disk_add_parent(d, image_path(m, "parent.cut"), NULL), 0);
		assert_int_equal(disk_read(d, back, 512, 0), 0);
		assert_memory_equal(back, sector, 512);
		assert_int_equal(disk_close(d), 0);
	}
}

/* ---- Checking -------------------------------------------------------------------------------- */

struct findings {
	unsigned n, repaired;
	char text[256]; /* the last one's */
};

static void on_found(void *ctx, bool repaired, const char *text)
{
	struct findings *f = ctx;

	f->n++;
	f->repaired += repaired;
	snprintf(f->text, sizeof(f->text), "%s", text);
}

static struct findings check(struct images *m, const char *name, bool repair, uint64_t errors)
{
	unsigned flags = repair ? DISK_OPEN_WRITE | DISK_OPEN_DAMAGED : DISK_OPEN_DAMAGED;
	struct findings f = {0};
	struct disk_check c = {.repair = repair, .found = on_found, .ctx = &f};
	struct disk *d = image_opened(m, name, flags | DISK_OPEN_NO_PARENTS);
	int r = disk_check(d, &c, NULL);

	assert_int_equal(r, 0);
	if (c.errors != errors)
		fail_msg("%llu errors: %s", (unsigned long long)c.errors, f.text);
	assert_int_equal(disk_close(d), 0);
	return f;
}

/* An image with four blocks of data, in order; the byte i + 1 fills block i. */
static void make_full(struct images *m, const char *name)
{
	uint8_t *block = malloc(MIB);
	struct disk *d;

	image_make(m, name);
	d = image_opened(m, name, DISK_OPEN_WRITE);
	for (unsigned i = 0; i < 4; i++) {
		memset(block, i + 1, MIB);
		assert_int_equal(disk_write(d, block, MIB, i * MIB), 0);
	}
	assert_int_equal(disk_close(d), 0);
	free(block);
}

static uint8_t first_byte(struct images *m, const char *name, unsigned block)
{
	struct disk *d = image_opened(m, name, DISK_OPEN_NO_PARENTS);
	uint8_t sector[512];

	assert_int_equal(disk_read(d, sector, 512, block * MIB), 0);
	assert_int_equal(disk_close(d), 0);
	return sector[0];
}

static uint64_t get_entry(struct images *m, unsigned index)
{
	uint64_t entry;

	image_peek(m, IMAGE, IMAGE_BAT + index * 8, &entry, 8);
	return entry;
}

static void set_entry(struct images *m, unsigned index, uint64_t entry)
{
	image_poke(m, IMAGE, IMAGE_BAT + index * 8, &entry, 8);
}

/*
 * A damaged entry of block 1: found, mended, sound afterwards; block 1 then begins with @byte, and
 * the others are as they were.
 */
static void check_entry(struct images *m, uint64_t entry, const char *text, int byte)
{
	struct findings f;

	make_full(m, IMAGE);
	set_entry(m, 1, entry ? entry : get_entry(m, 0));
	f = check(m, IMAGE, false, 1);
	if (!strstr(f.text, text) || !strstr(f.text, "entry 1 "))
		fail_msg("%s", f.text);
	assert_int_equal(f.repaired, 0);
	f = check(m, IMAGE, true, 1);
	assert_int_equal(f.repaired, 1);
	check(m, IMAGE, false, 0);
	assert_int_equal(first_byte(m, IMAGE, 0), 1);
	assert_int_equal(first_byte(m, IMAGE, 1), byte);
	assert_int_equal(first_byte(m, IMAGE, 2), 3);
}

static void test_check_entries(void **state)
{
	struct images *m = *state;
	uint64_t place;
	struct disk *d;
	uint8_t sector[512] = {99};

	make_full(m, IMAGE);
	check(m, IMAGE, false, 0);
	place = VHDX_BAT_OFFSET(get_entry(m, 1));
	check_entry(m, VHDX_BAT_ENTRY(5, place), "does not exist", 2);
	check_entry(m, VHDX_BAT_ENTRY(4, 1ull << 60), "does not exist", 0);
	check_entry(m, VHDX_BAT_ENTRY(VHDX_BLOCK_PARTIAL, place), "does not exist", 2);
	check_entry(m, VHDX_BAT_ENTRY(VHDX_BLOCK_PRESENT, place) | 1 << 4, "reserved bits", 2);
	check_entry(m, VHDX_BAT_ENTRY(VHDX_BLOCK_PRESENT, -MIB), "contents are lost", 0);
	check_entry(m, VHDX_BAT_ENTRY(VHDX_BLOCK_PRESENT, 1ull << 40), "contents are lost", 0);
	check_entry(m, VHDX_BAT_ENTRY(VHDX_BLOCK_PRESENT, IMAGE_LOG), "contents are lost", 0);
	check_entry(m, VHDX_BAT_ENTRY(VHDX_BLOCK_PRESENT, 0), "contents are lost", 0);
	/* Blocks 0 and 1 in one place: both read alike, and then they are apart. */
	check_entry(m, 0, "another block is", 1);
	d = image_opened(m, IMAGE, DISK_OPEN_WRITE);
	assert_int_equal(disk_write(d, sector, 512, MIB), 0);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(first_byte(m, IMAGE, 0), 1);
	assert_int_equal(first_byte(m, IMAGE, 1), 99);
}

static void test_check_cut_off(void **state)
{
	struct images *m = *state;
	struct stat st;
	struct findings f;

	make_full(m, IMAGE);
	assert_int_equal(stat(image_path(m, IMAGE), &st), 0);
	assert_int_equal(truncate(m->path, st.st_size - MIB / 2), 0);
	f = check(m, IMAGE, true, 1);
	assert_non_null(strstr(f.text, "cut off"));
	check(m, IMAGE, false, 0);
	assert_int_equal(first_byte(m, IMAGE, 3), 4);
}

static void test_check_structure(void **state)
{
	struct images *m = *state;
	struct vhdx_header h;

	make_full(m, IMAGE);
	image_poke(m, IMAGE, 0, "vhdxFILE", 8);
	image_poke(m, IMAGE, VHDX_HEADER_AT(0), "x", 1);
	image_poke(m, IMAGE, VHDX_REGION_TABLE_AT(0), "x", 1);
	check(m, IMAGE, false, 3);
	assert_int_equal(check(m, IMAGE, true, 3).repaired, 3);
	check(m, IMAGE, false, 0);
	assert_int_equal(first_byte(m, IMAGE, 2), 3);

	for (unsigned i = 0; i < 2; i++) {
		image_get_header(m, IMAGE, i, &h);
		h.log.Data1 = 1;
		image_set_header(m, IMAGE, i, &h);
	}
	assert_non_null(strstr(check(m, IMAGE, true, 1).text, "log is damaged"));
	check(m, IMAGE, false, 0);
	assert_int_equal(first_byte(m, IMAGE, 2), 3);
}

/* A file whose length is not whole MiB, as others may leave it, is as good as any. */
static void test_odd_length(void **state)
{
	struct images *m = *state;
	uint8_t *block = malloc(2 * MIB), *back = malloc(2 * MIB);
	struct disk *d;

	image_make(m, IMAGE);
	assert_int_equal(truncate(image_path(m, IMAGE), IMAGE_BLOCKS + 4 * MIB + 12288), 0);
	memset(block, 0x44, 2 * MIB);
	d = image_opened(m, IMAGE, DISK_OPEN_WRITE);
	assert_int_equal(disk_write(d, block, 2 * MIB, 0), 0);
	assert_int_equal(set_item(d, 1, VHDX_METADATA_ITEM_MAX, 1), 0);
	assert_int_equal(disk_close(d), 0);
	check(m, IMAGE, false, 0);
	d = image_opened(m, IMAGE, 0);
	assert_int_equal(disk_read(d, back, 2 * MIB, 0), 0);
	assert_memory_equal(back, block, 2 * MIB);
	expect_item(d, 1, VHDX_METADATA_ITEM_MAX, 1);
	assert_int_equal(disk_close(d), 0);
	free(block);
	free(back);
}

/* A block that is partly here, and nothing that says which part: found, and left to people. */
static void test_check_bitmap(void **state)
{
	struct images *m = *state;
	uint64_t bitmap, none = 0;
	uint8_t sector[512] = {7};
	struct findings f;
	struct disk *d;

	image_make(m, "parent.vhdx");
	image_make_child(m, IMAGE, "parent.vhdx");
	d = image_opened(m, IMAGE, DISK_OPEN_WRITE);
	assert_int_equal(disk_write(d, sector, 512, 5 * MIB), 0);
	assert_int_equal(disk_close(d), 0);
	check(m, IMAGE, false, 0);
	image_peek(m, IMAGE, IMAGE_BAT + 4096 * 8, &bitmap, 8);
	assert_int_equal(bitmap & VHDX_BAT_STATE, VHDX_BLOCK_PRESENT);
	image_poke(m, IMAGE, IMAGE_BAT + 4096 * 8, &none, 8);
	f = check(m, IMAGE, true, 1);
	assert_int_equal(f.repaired, 0);
	assert_non_null(strstr(f.text, "sector bitmap is missing"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, images_set_up, images_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_create),
		TEST(test_defaults),
		TEST(test_fixed),
		TEST(test_create_refused),
		TEST(test_guids),
		TEST(test_current),
		TEST(test_metadata),
		TEST(test_metadata_long),
		TEST(test_metadata_many),
		TEST(test_settings),
		TEST(test_locators),
		TEST(test_other_parent),
		TEST(test_parent_written),
		TEST(test_check_entries),
		TEST(test_check_cut_off),
		TEST(test_check_structure),
		TEST(test_check_bitmap),
		TEST(test_odd_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
