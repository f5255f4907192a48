/*
 * disk_merge.c - merging chains: what they read as before, during and after, also when the process
 * is gone in the middle.
 */
#include "disk_images.h"

#include <fcntl.h>
#include <unistd.h>

#include "disk/operations.h"

#define SIZE   (24 * MIB)
#define IMAGES 4

static const char *const names[IMAGES] = {"base", "one", "two", "leaf"};

/* A chain of four; model[n] is what it reads as from image n down. */
struct chain {
	enum disk_format format;
	struct model model[IMAGES];
};

static void make_chain(struct images *i, enum disk_format format, struct chain *c)
{
	struct disk_create create = {.format = format, .kind = DISK_DYNAMIC, .size = SIZE};
	struct disk *d;

	c->format = format;
	for (unsigned n = 0; n < IMAGES; n++) {
		struct model *m = &c->model[n];

		model_init(m, SIZE, 40 + n);
		if (n) {
			memcpy(m->bytes, c->model[n - 1].bytes, SIZE);
			create.kind = DISK_DIFFERENCING;
			create.parent = image_path(i, names[n - 1]);
		}
		image_create(i, names[n], &create);
		d = image_open(i, names[n], DISK_OPEN_WRITE);
		for (unsigned k = 0; k < 25; k++)
			model_change(m, d);
		image_close(d);
	}
}

static void free_chain(struct chain *c)
{
	for (unsigned n = 0; n < IMAGES; n++)
		model_fini(&c->model[n]);
}

static void check(struct images *i, const char *name, const struct model *m, unsigned depth)
{
	struct disk *d = image_open(i, name, 0);
	struct disk_info info;

	disk_info(d, &info);
	assert_int_equal(info.depth, depth);
	model_check(m, d);
	image_close(d);
}

static struct disk *open_chain(struct images *i, const char *leaf)
{
	return image_open(i, leaf, DISK_OPEN_WRITE | DISK_OPEN_WRITE_PARENTS);
}

static void merge(struct images *i, const char *leaf, struct disk_merge m)
{
	struct disk *d = open_chain(i, leaf);
	struct disk_progress progress = {0};
	int err = disk_merge(i->engine, d, &m, &progress, &i->problem);

	if (err)
		fail_msg("%s", disk_problem_text(&i->problem, leaf, err));
	assert_int_equal(progress.done, progress.total);
	image_close(d);
}

static void one_level(struct images *i, enum disk_format format)
{
	struct chain c;

	make_chain(i, format, &c);
	merge(i, "leaf", (struct disk_merge){0});
	check(i, "leaf", &c.model[3], 3);
	assert_int_equal(unlink(image_path(i, "leaf")), 0);
	check(i, "two", &c.model[3], 2);
	free_chain(&c);
}

static void all_levels(struct images *i, enum disk_format format)
{
	struct chain c;

	make_chain(i, format, &c);
	merge(i, "leaf", (struct disk_merge){.into = 3, .parallel = 3});
	check(i, "leaf", &c.model[3], 3);
	for (unsigned n = 1; n < IMAGES; n++)
		assert_int_equal(unlink(image_path(i, names[n])), 0);
	check(i, "base", &c.model[3], 0);
	free_chain(&c);
}

/* Two images in the middle, into the base, which the leaf then stands on. */
static void middle(struct images *i, enum disk_format format)
{
	struct disk *d;
	struct chain c;

	make_chain(i, format, &c);
	merge(i, "leaf", (struct disk_merge){.from = 1, .into = 3});
	check(i, "leaf", &c.model[3], 3);
	d = image_open(i, "leaf", DISK_OPEN_WRITE | DISK_OPEN_NO_PARENTS);
	assert_int_equal(disk_set_parent(d, image_path(i, "base"), true, &i->problem), 0);
	image_close(d);
	check(i, "leaf", &c.model[3], 1);
	check(i, "base", &c.model[2], 0);
	free_chain(&c);
}

/* Half of the disk only: the child stays, and the parent has its contents there. */
static void part(struct images *i, enum disk_format format)
{
	struct chain c;

	make_chain(i, format, &c);
	merge(i, "leaf", (struct disk_merge){.offset = 5 * MIB + 512, .length = SIZE / 2});
	check(i, "leaf", &c.model[3], 3);
	memcpy(c.model[2].bytes + 5 * MIB + 512, c.model[3].bytes + 5 * MIB + 512, SIZE / 2);
	check(i, "two", &c.model[2], 2);
	free_chain(&c);
}

static void test_one_level_vhd(void **state)
{
	one_level(*state, DISK_FORMAT_VHD);
}

static void test_one_level_vhdx(void **state)
{
	one_level(*state, DISK_FORMAT_VHDX);
}

static void test_all_levels_vhd(void **state)
{
	all_levels(*state, DISK_FORMAT_VHD);
}

static void test_all_levels_vhdx(void **state)
{
	all_levels(*state, DISK_FORMAT_VHDX);
}

static void test_middle_vhd(void **state)
{
	middle(*state, DISK_FORMAT_VHD);
}

static void test_middle_vhdx(void **state)
{
	middle(*state, DISK_FORMAT_VHDX);
}

static void test_part_vhd(void **state)
{
	part(*state, DISK_FORMAT_VHD);
}

static void test_part_vhdx(void **state)
{
	part(*state, DISK_FORMAT_VHDX);
}

/* ---- Sizes ---------------------------------------------------------------------------------- */

static void resize(struct images *i, const char *name, uint64_t size)
{
	struct disk *d = image_open(i, name, DISK_OPEN_WRITE);
	int err = disk_resize(d, size, true, &i->problem);

	if (err)
		fail_msg("%s", disk_problem_text(&i->problem, name, err));
	image_close(d);
}

/* The parent gets the child's size, and what is behind the end of a disk in between stays away. */
static void test_child_of_another_size(void **state)
{
	const uint64_t sizes[] = {SIZE + 8 * MIB, SIZE - 8 * MIB};
	struct images *i = *state;
	struct disk *d;
	struct model m;
	struct chain c;

	for (unsigned n = 0; n < 2; n++) {
		make_chain(i, DISK_FORMAT_VHDX, &c);
		resize(i, "leaf", sizes[n]);
		model_init(&m, sizes[n], 7);
		memcpy(m.bytes, c.model[3].bytes, sizes[n] < SIZE ? sizes[n] : SIZE);
		d = image_open(i, "leaf", DISK_OPEN_WRITE);
		model_change(&m, d);
		image_close(d);
		merge(i, "leaf", (struct disk_merge){.into = 3});
		check(i, "leaf", &m, 3);
		check(i, "base", &m, 0);
		for (unsigned k = 0; k < IMAGES; k++)
			unlink(image_path(i, names[k]));
		model_fini(&m);
		free_chain(&c);
	}
}

/* ---- What is refused ------------------------------------------------------------------------ */

static int try_merge(struct images *i, unsigned flags, struct disk_merge m)
{
	struct disk *d = image_open(i, "leaf", flags);
	int err = disk_merge(i->engine, d, &m, NULL, &i->problem);

	i->problem = (struct disk_problem){0};
	image_close(d);
	return err;
}

static void test_refused(void **state)
{
	const unsigned flags = DISK_OPEN_WRITE | DISK_OPEN_WRITE_PARENTS;
	struct images *i = *state;
	struct chain c;

	make_chain(i, DISK_FORMAT_VHDX, &c);
	assert_int_equal(try_merge(i, DISK_OPEN_WRITE, (struct disk_merge){0}), -EROFS);
	assert_int_equal(try_merge(i, flags, (struct disk_merge){.into = 4}), -EINVAL);
	assert_int_equal(try_merge(i, flags, (struct disk_merge){.from = 3}), -EINVAL);
	assert_int_equal(try_merge(i, flags, (struct disk_merge){.from = 2, .into = 1}), -EINVAL);
	assert_int_equal(try_merge(i, flags, (struct disk_merge){.offset = 100}), -EINVAL);
	assert_int_equal(
		try_merge(i, flags, (struct disk_merge){.offset = 512, .length = SIZE}), -EINVAL);
	assert_int_equal(try_merge(i, flags,
				 (struct disk_merge){.offset = UINT64_MAX - 511, .length = 1024}),
		-EINVAL);
	for (unsigned n = 0; n < IMAGES; n++)
		check(i, names[n], &c.model[n], n);
	free_chain(&c);
}

/* ---- In the middle -------------------------------------------------------------------------- */

/* Cancels, and copies the chain's files as a killed process would leave them, at a write. */
struct interruption {
	struct disk_watcher watcher; /* first */
	struct images *images;
	struct disk_progress progress;
	_Atomic unsigned left; /* writes until then */
	bool copied;
};

static void copy_file(struct images *i, const char *name, const char *folder)
{
	char command[512];

	snprintf(command, sizeof(command), "cd %s && mkdir -p %s && cp --sparse=always %s %s",
		i->folder, folder, name, folder);
	assert_int_equal(system(command), 0);
}

static int before(struct disk_watcher *w, const struct disk_request *r)
{
	struct interruption *in = (struct interruption *)w;

	if (atomic_fetch_sub(&in->left, 1) != 1)
		return 0;
	for (unsigned n = 0; n < IMAGES; n++)
		copy_file(in->images, names[n], "copy");
	in->copied = true;
	in->progress.cancel = 1;
	return 0;
}

static void after(struct disk_watcher *w, const struct disk_request *r)
{
}

static void interrupted(struct images *i, enum disk_format format, unsigned writes)
{
	struct disk_merge m = {.into = 2, .parallel = 2};
	struct interruption in = {
		.watcher = {.before = before, .after = after}, .images = i, .left = writes};
	struct disk *leaf, *into;
	struct chain c;

	make_chain(i, format, &c);
	leaf = open_chain(i, "leaf");
	into = disk_parent(disk_parent(leaf));
	disk_watch(into, &in.watcher);
	assert_int_equal(disk_merge(i->engine, leaf, &m, &in.progress, &i->problem), -ECANCELED);
	assert_true(in.copied);
	disk_unwatch(into, &in.watcher);
	model_check(&c.model[3], leaf);
	image_close(leaf);
	check(i, "leaf", &c.model[3], 3);
	check(i, "copy/leaf", &c.model[3], 3);
	/* It can be done again, to its end. */
	merge(i, "copy/leaf", (struct disk_merge){.into = 2});
	check(i, "copy/leaf", &c.model[3], 3);
	check(i, "copy/one", &c.model[3], 1);
	free_chain(&c);
}

static void test_interrupted_at_once_vhd(void **state)
{
	interrupted(*state, DISK_FORMAT_VHD, 1);
}

static void test_interrupted_at_once_vhdx(void **state)
{
	interrupted(*state, DISK_FORMAT_VHDX, 1);
}

static void test_interrupted_later_vhd(void **state)
{
	interrupted(*state, DISK_FORMAT_VHD, 10);
}

static void test_interrupted_later_vhdx(void **state)
{
	interrupted(*state, DISK_FORMAT_VHDX, 10);
}

/* Another child of the same parent is told that the parent is not what it was. */
static void siblings(struct images *i, enum disk_format format)
{
	struct disk_create create = {.format = format, .kind = DISK_DIFFERENCING};
	struct disk *d = NULL;
	struct chain c;

	make_chain(i, format, &c);
	create.parent = image_path(i, "two");
	image_create(i, "sibling", &create);
	merge(i, "leaf", (struct disk_merge){0});
	assert_int_equal(
		disk_open(i->engine, image_path(i, "sibling"), NULL, &d, &i->problem), -ESTALE);
	free_chain(&c);
}

static void test_siblings_vhd(void **state)
{
	siblings(*state, DISK_FORMAT_VHD);
}

static void test_siblings_vhdx(void **state)
{
	siblings(*state, DISK_FORMAT_VHDX);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, images_set_up, images_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_level_vhd),
		TEST(test_one_level_vhdx),
		TEST(test_all_levels_vhd),
		TEST(test_all_levels_vhdx),
		TEST(test_middle_vhd),
		TEST(test_middle_vhdx),
		TEST(test_part_vhd),
		TEST(test_part_vhdx),
		TEST(test_child_of_another_size),
		TEST(test_refused),
		TEST(test_interrupted_at_once_vhd),
		TEST(test_interrupted_at_once_vhdx),
		TEST(test_interrupted_later_vhd),
		TEST(test_interrupted_later_vhdx),
		TEST(test_siblings_vhd),
		TEST(test_siblings_vhdx),
	};

	return cmocka_run_group_tests_name("disk/merge", tests, NULL, NULL);
}
