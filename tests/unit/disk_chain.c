/*
 * disk_chain - parents are found where they are, refused when they are not the ones, and locked.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/disk.h"
#include "folder.h"
#include "winerror.h"

#define MIB (1ull << 20)

/* base.FORMAT in folder/bases, child.FORMAT in folder/vms. */
struct fixture {
	struct disk_engine *engine;
	char folder[FOLDER];
};

static enum disk_format format;

static const char *at(struct fixture *f, const char *name)
{
	static char paths[8][160];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s.%s", f->folder, name,
		format == DISK_FORMAT_VHD ? "vhd" : "vhdx");
	return path;
}

static void create(struct fixture *f, const char *name, const char *parent)
{
	struct disk_create c = {
		.format = format,
		.kind = parent ? DISK_DIFFERENCING : DISK_DYNAMIC,
		.size = parent ? 0 : 16 * MIB,
		.parent = parent ? at(f, parent) : NULL,
	};
	struct disk_problem problem = {0};
	int err = disk_create(f->engine, at(f, name), &c, NULL, &problem);

	if (err)
		fail_msg("%s", disk_problem_text(&problem, name, err));
}

static int open_it(struct fixture *f, const char *name, unsigned flags, struct disk **d,
	struct disk_problem *problem)
{
	struct disk_open_options options = {.flags = flags};

	*problem = (struct disk_problem){0};
	return disk_open(f->engine, at(f, name), &options, d, problem);
}

static void write_byte(struct fixture *f, const char *name, uint8_t byte, uint64_t offset)
{
	struct disk_problem problem;
	struct disk *d;
	uint8_t data[4096];

	memset(data, byte, sizeof(data));
	assert_int_equal(open_it(f, name, DISK_OPEN_WRITE, &d, &problem), 0);
	assert_int_equal(disk_write(d, data, sizeof(data), offset), 0);
	assert_int_equal(disk_close(d), 0);
}

static void expect_byte(struct disk *d, uint8_t byte, uint64_t offset)
{
	uint8_t data[4096];

	assert_int_equal(disk_read(d, data, sizeof(data), offset), 0);
	assert_int_equal(data[0], byte);
	assert_int_equal(data[4095], byte);
}

static void expect_child(struct fixture *f, const char *name)
{
	struct disk_problem problem;
	struct disk_info info;
	struct disk *d;
	int err = open_it(f, name, 0, &d, &problem);

	if (err)
		fail_msg("%s", disk_problem_text(&problem, name, err));
	disk_info(d, &info);
	assert_int_equal(info.kind, DISK_DIFFERENCING);
	expect_byte(d, 1, MIB);
	expect_byte(d, 2, 2 * MIB);
	assert_int_equal(disk_close(d), 0);
}

/* The code and the line that a disk is refused with. */
static void expect_refusal(
	struct fixture *f, const char *name, int err, uint32_t win32, const char *words)
{
	struct disk_problem problem;
	struct disk *d;

	assert_int_equal(open_it(f, name, 0, &d, &problem), err);
	assert_null(d);
	assert_int_equal(disk_problem_win32(&problem, err), win32);
	if (strncmp(problem.text, at(f, name), strlen(at(f, name))) || !strstr(problem.text, words))
		fail_msg("not what was to be said: %s", problem.text);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char path[128];

	assert_non_null(f);
	folder_make(f->folder);
	snprintf(path, sizeof(path), "%s/bases", f->folder);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/vms", f->folder);
	assert_int_equal(mkdir(path, 0700), 0);
	f->engine = disk_engine_create(NULL);
	assert_non_null(f->engine);
	create(f, "bases/base", NULL);
	write_byte(f, "bases/base", 1, MIB);
	create(f, "vms/child", "bases/base");
	write_byte(f, "vms/child", 2, 2 * MIB);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	disk_engine_destroy(f->engine);
	folder_remove(f->folder);
	free(f);
	return 0;
}

static void test_found_where_it_was(void **state)
{
	expect_child(*state, "vms/child");
}

static void test_found_after_all_moved(void **state)
{
	struct fixture *f = *state;
	char moved[80];

	snprintf(moved, sizeof(moved), "%s-moved", f->folder);
	assert_int_equal(rename(f->folder, moved), 0);
	strcpy(f->folder, moved);
	expect_child(f, "vms/child");
}

static void test_found_after_child_moved(void **state)
{
	struct fixture *f = *state;
	char folder[128];

	/* Now the relative path leads nowhere, but the absolute one is right. */
	snprintf(folder, sizeof(folder), "%s/vms/deeper", f->folder);
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(rename(at(f, "vms/child"), at(f, "vms/deeper/child")), 0);
	expect_child(f, "vms/deeper/child");
}

static void test_found_beside_child(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rename(at(f, "bases/base"), at(f, "vms/base")), 0);
	expect_child(f, "vms/child");
}

static void test_not_found(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(unlink(at(f, "bases/base")), 0);
	expect_refusal(f, "vms/child", -ENOLINK, ERROR_VHD_PARENT_VHD_NOT_FOUND, "was found");
}

static void test_another_disk_in_its_place(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(unlink(at(f, "bases/base")), 0);
	create(f, "bases/base", NULL);
	expect_refusal(
		f, "vms/child", -ESTALE, ERROR_VHD_CHILD_PARENT_ID_MISMATCH, "in its parent");
}

/* The right one is taken, even when another is found first. */
static void test_the_right_one_of_two(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rename(at(f, "bases/base"), at(f, "vms/base")), 0);
	create(f, "bases/base", NULL);
	expect_child(f, "vms/child");
}

static void test_loops(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(unlink(at(f, "bases/base")), 0);
	assert_int_equal(symlink(at(f, "vms/child"), at(f, "bases/base")), 0);
	expect_refusal(f, "vms/child", -ELOOP, ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED,
		"comes back to itself");
	assert_int_equal(unlink(at(f, "bases/base")), 0);
	assert_int_equal(link(at(f, "vms/child"), at(f, "bases/base")), 0);
	expect_refusal(f, "vms/child", -ELOOP, ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED,
		"comes back to itself");
}

/* Nothing but an image of the child's format is ever a parent. */
static void test_what_is_no_image(void **state)
{
	struct fixture *f = *state;
	FILE *file;

	assert_int_equal(unlink(at(f, "bases/base")), 0);
	assert_int_equal(mkfifo(at(f, "bases/base"), 0600), 0);
	expect_refusal(f, "vms/child", -EINVAL, ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT,
		"in its parent");
	assert_int_equal(unlink(at(f, "bases/base")), 0);
	assert_int_equal(mkdir(at(f, "bases/base"), 0700), 0);
	expect_refusal(f, "vms/child", -EISDIR, ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT,
		"in its parent");
	assert_int_equal(rmdir(at(f, "bases/base")), 0);
	file = fopen(at(f, "bases/base"), "w");
	assert_non_null(file);
	assert_int_equal(fputs("root:x:0:0\n", file) < 0, 0);
	assert_int_equal(fclose(file), 0);
	expect_refusal(f, "vms/child", -EMEDIUMTYPE, ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT,
		"this is not a");
}

static void test_alone(void **state)
{
	struct fixture *f = *state;
	struct disk_problem problem;
	struct disk *d;
	uint8_t data[4096];
	enum disk_where where;

	assert_int_equal(unlink(at(f, "bases/base")), 0);
	assert_int_equal(open_it(f, "vms/child", DISK_OPEN_NO_PARENTS, &d, &problem), 0);
	expect_byte(d, 2, 2 * MIB);
	assert_int_equal(disk_read(d, data, sizeof(data), MIB), -ENXIO);
	assert_int_equal(disk_extent(d, 0, UINT64_MAX, 0, &where), 2 * MIB);
	assert_int_equal(where, DISK_BELOW);
	assert_int_equal(disk_close(d), 0);
}

static void test_locks(void **state)
{
	struct fixture *f = *state;
	struct disk_problem problem;
	struct disk *d, *other;

	assert_int_equal(open_it(f, "vms/child", DISK_OPEN_WRITE, &d, &problem), 0);
	assert_int_equal(open_it(f, "vms/child", 0, &other, &problem), -EBUSY);
	assert_int_equal(open_it(f, "vms/child", DISK_OPEN_SHARED, &other, &problem), 0);
	assert_int_equal(disk_close(other), 0);
	/* The parent is read: others may read it too, but not write. */
	assert_int_equal(open_it(f, "bases/base", 0, &other, &problem), 0);
	assert_int_equal(disk_close(other), 0);
	assert_int_equal(open_it(f, "bases/base", DISK_OPEN_WRITE, &other, &problem), -EBUSY);
	assert_int_equal(disk_close(d), 0);
	assert_int_equal(open_it(f, "bases/base", DISK_OPEN_WRITE, &other, &problem), 0);
	assert_int_equal(disk_close(other), 0);
}

static void test_long_chain(void **state)
{
	struct fixture *f = *state;
	struct disk_problem problem;
	struct disk_info info;
	struct disk *d;
	char name[32], parent[32] = "vms/child";
	enum { DEPTH = 20 };

	for (unsigned i = 0; i < DEPTH; i++) {
		snprintf(name, sizeof(name), "vms/child%u", i);
		create(f, name, parent);
		write_byte(f, name, 10 + i, (4 + i % 5) * MIB);
		strcpy(parent, name);
	}
	assert_int_equal(open_it(f, parent, DISK_OPEN_WRITE, &d, &problem), 0);
	disk_info(d, &info);
	assert_int_equal(info.depth, DEPTH + 1);
	expect_byte(d, 1, MIB);
	expect_byte(d, 2, 2 * MIB);
	for (unsigned i = DEPTH - 5; i < DEPTH; i++)
		expect_byte(d, 10 + i, (4 + i % 5) * MIB);
	expect_byte(d, 0, 3 * MIB);
	assert_int_equal(disk_close(d), 0);
}

static void test_new_path_of_the_parent(void **state)
{
	struct fixture *f = *state;
	struct disk_problem problem = {0};
	struct disk *d;

	create(f, "bases/other", NULL);
	assert_int_equal(rename(at(f, "bases/base"), at(f, "bases/moved")), 0);
	assert_int_equal(
		open_it(f, "vms/child", DISK_OPEN_WRITE | DISK_OPEN_NO_PARENTS, &d, &problem), 0);
	assert_int_equal(disk_set_parent(d, at(f, "bases/other"), false, &problem), -ESTALE);
	problem = (struct disk_problem){0};
	assert_int_equal(disk_set_parent(d, at(f, "vms/child"), true, &problem), -ELOOP);
	problem = (struct disk_problem){0};
	assert_int_equal(disk_set_parent(d, at(f, "bases/moved"), false, &problem), 0);
	expect_byte(d, 1, MIB);
	/* Once more, with the parent open. */
	assert_int_equal(disk_set_parent(d, at(f, "bases/moved"), false, &problem), 0);
	assert_int_equal(disk_close(d), 0);
	expect_child(f, "vms/child");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_found_where_it_was),
		TEST(test_found_after_all_moved),
		TEST(test_found_after_child_moved),
		TEST(test_found_beside_child),
		TEST(test_not_found),
		TEST(test_another_disk_in_its_place),
		TEST(test_the_right_one_of_two),
		TEST(test_loops),
		TEST(test_what_is_no_image),
		TEST(test_alone),
		TEST(test_locks),
		TEST(test_long_chain),
		TEST(test_new_path_of_the_parent),
	};
	int failed;

	format = DISK_FORMAT_VHDX;
	failed = cmocka_run_group_tests_name("VHDX", tests, NULL, NULL);
	format = DISK_FORMAT_VHD;
	return failed + cmocka_run_group_tests_name("VHD", tests, NULL, NULL);
}
