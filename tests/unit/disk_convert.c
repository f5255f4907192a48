/*
 * disk_convert.c - converting and comparing: every format and kind into every other, chains, sparse
 * disks, and targets that appear whole or not at all.
 */
#include "disk_images.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/operations.h"

#define SIZE (24 * MIB)

static const struct sort {
	const char *name;
	enum disk_format format;
	enum disk_kind kind;
} sorts[] = {
	{"raw", DISK_FORMAT_RAW, DISK_FIXED},
	{"fixed.vhd", DISK_FORMAT_VHD, DISK_FIXED},
	{"dynamic.vhd", DISK_FORMAT_VHD, DISK_DYNAMIC},
	{"fixed.vhdx", DISK_FORMAT_VHDX, DISK_FIXED},
	{"dynamic.vhdx", DISK_FORMAT_VHDX, DISK_DYNAMIC},
};

#define N_SORTS (sizeof(sorts) / sizeof(sorts[0]))

static int convert(struct images *i, const char *from, const char *to, struct disk_convert c)
{
	struct disk *source = image_open(i, from, 0);
	int err = disk_convert(i->engine, source, image_path(i, to), &c, NULL, &i->problem);

	image_close(source);
	return err;
}

static void must_convert(struct images *i, const char *from, const char *to, struct disk_convert c)
{
	int err = convert(i, from, to, c);

	if (err)
		fail_msg("%s to %s: %s", from, to, disk_problem_text(&i->problem, to, err));
}

static struct disk_compare compare(struct images *i, const char *a, const char *b, bool same_size)
{
	struct disk *disks[] = {image_open(i, a, 0), image_open(i, b, 0)};
	struct disk_compare c = {.same_size = same_size};

	assert_int_equal(disk_compare(i->engine, disks[0], disks[1], &c, NULL), 0);
	image_close(disks[0]);
	image_close(disks[1]);
	return c;
}

/* A source of one sort with random contents, its second half left alone. */
static void make_source(
	struct images *i, const char *name, struct disk_create create, struct model *m)
{
	struct disk *d;

	create.size = SIZE;
	image_create(i, name, &create);
	d = image_open(i, name, DISK_OPEN_WRITE);
	model_init(m, SIZE, 17);
	m->size /= 2;
	for (unsigned n = 0; n < 60; n++)
		model_change(m, d);
	m->size = SIZE;
	image_close(d);
}

static void check_target(
	struct images *i, const char *name, const struct sort *sort, const struct model *m)
{
	struct disk *d = image_open(i, name, 0);
	struct disk_info info;

	disk_info(d, &info);
	assert_int_equal(info.format, sort->format);
	assert_int_equal(info.kind, sort->kind);
	assert_int_equal(info.depth, 0);
	model_check(m, d);
	image_close(d);
}

static void test_everything_into_everything(void **state)
{
	struct images *i = *state;
	struct model m;

	for (const struct sort *from = sorts; from < sorts + N_SORTS; from++) {
		make_source(i, from->name,
			(struct disk_create){.format = from->format, .kind = from->kind}, &m);
		for (const struct sort *to = sorts; to < sorts + N_SORTS; to++) {
			struct disk_convert c = {
				.target = {.format = to->format,
					.kind = to->kind,
					.overwrite = true},
				.parallel = 1 + (to - sorts) * 7,
			};

			must_convert(i, from->name, "target", c);
			check_target(i, "target", to, &m);
			assert_false(compare(i, from->name, "target", true).differ);
		}
		model_fini(&m);
	}
}

/* Three images, each with changes of its own. */
static void make_chain(struct images *i, enum disk_format format, struct model *m)
{
	static const char *const names[] = {"base", "middle", "leaf"};
	struct disk *d;

	model_init(m, SIZE, 23);
	for (unsigned n = 0; n < 3; n++) {
		struct disk_create create = {.format = format, .kind = DISK_DYNAMIC, .size = SIZE};

		if (n) {
			create.kind = DISK_DIFFERENCING;
			create.parent = image_path(i, names[n - 1]);
		}
		image_create(i, names[n], &create);
		d = image_open(i, names[n], DISK_OPEN_WRITE);
		for (unsigned k = 0; k < 30; k++)
			model_change(m, d);
		image_close(d);
	}
}

static void flatten(struct images *i, enum disk_format format)
{
	struct model m;

	make_chain(i, format, &m);
	for (const struct sort *to = sorts; to < sorts + N_SORTS; to++) {
		must_convert(i, "leaf", to->name,
			(struct disk_convert){.target = {.format = to->format, .kind = to->kind}});
		check_target(i, to->name, to, &m);
		assert_false(compare(i, to->name, "leaf", true).differ);
	}
	model_fini(&m);
}

static void test_vhd_chain_is_flattened(void **state)
{
	flatten(*state, DISK_FORMAT_VHD);
}

static void test_vhdx_chain_is_flattened(void **state)
{
	flatten(*state, DISK_FORMAT_VHDX);
}

/* The leaf alone, from one format's chain onto a parent of the other. */
static void one_layer(struct images *i, enum disk_format from, enum disk_format to)
{
	struct disk_convert parent = {.target = {.format = to, .kind = DISK_DYNAMIC}};
	struct disk_convert layer = {.target = {.format = to, .kind = DISK_DIFFERENCING}};
	struct disk_info info, whole;
	struct model m;
	struct disk *d;

	make_chain(i, from, &m);
	must_convert(i, "middle", "parent", parent);
	layer.target.parent = image_path(i, "parent");
	must_convert(i, "leaf", "layer", layer);
	d = image_open(i, "layer", 0);
	model_check(&m, d);
	disk_info(d, &info);
	disk_info(disk_parent(d), &whole);
	assert_int_equal(info.kind, DISK_DIFFERENCING);
	assert_int_equal(info.depth, 1);
	image_close(d);
	model_fini(&m);
}

static void test_one_layer_from_vhd_to_vhdx(void **state)
{
	one_layer(*state, DISK_FORMAT_VHD, DISK_FORMAT_VHDX);
}

static void test_one_layer_from_vhdx_to_vhd(void **state)
{
	one_layer(*state, DISK_FORMAT_VHDX, DISK_FORMAT_VHD);
}

/* A terabyte with three places of data: what takes room is those. */
static void test_sparse_stays_sparse(void **state)
{
	struct images *i = *state;
	const uint64_t size = 1ull << 40, places[] = {0, 300ull << 30, size - 4096};
	struct disk *d;
	struct disk_info info;
	char text[4096] = "something";

	image_create(i, "raw", &(struct disk_create){.format = DISK_FORMAT_RAW, .size = size});
	d = image_open(i, "raw", DISK_OPEN_WRITE);
	for (unsigned n = 0; n < 3; n++)
		assert_int_equal(disk_write(d, text, sizeof(text), places[n]), 0);
	image_close(d);
	must_convert(i, "raw", "vhdx",
		(struct disk_convert){
			.target = {.format = DISK_FORMAT_VHDX, .kind = DISK_DYNAMIC}});
	must_convert(
		i, "vhdx", "again", (struct disk_convert){.target = {.format = DISK_FORMAT_RAW}});
	assert_false(compare(i, "raw", "again", true).differ);
	d = image_open(i, "again", 0);
	disk_info(d, &info);
	assert_int_equal(info.size, size);
	assert_true(info.file_used <= MIB);
	image_close(d);
}

static uint64_t used(struct images *i, const char *name)
{
	struct stat st;

	assert_int_equal(stat(image_path(i, name), &st), 0);
	return st.st_blocks * 512ull;
}

static void test_zeros_are_found(void **state)
{
	struct images *i = *state;
	struct disk_convert c = {.target = {.format = DISK_FORMAT_RAW, .overwrite = true}};
	char *zeros = calloc(1, SIZE);
	struct disk *d;

	image_create(i, "raw", &(struct disk_create){.format = DISK_FORMAT_RAW, .size = SIZE});
	d = image_open(i, "raw", DISK_OPEN_WRITE);
	/* The last byte of a grain, and the first of one, in pieces of their own. */
	zeros[3 * MIB - 1] = zeros[5 * MIB] = 1;
	assert_int_equal(disk_write(d, zeros, SIZE, 0), 0);
	image_close(d);
	free(zeros);
	must_convert(i, "raw", "target", c);
	assert_true(used(i, "target") <= 2 * 65536);
	assert_false(compare(i, "raw", "target", true).differ);
	c.keep_zeros = true;
	must_convert(i, "raw", "target", c);
	assert_true(used(i, "target") >= SIZE);
	assert_false(compare(i, "raw", "target", true).differ);
}

static void test_sectors_of_4096(void **state)
{
	struct images *i = *state;
	struct disk_convert c = {
		.target = {
			.format = DISK_FORMAT_VHDX, .kind = DISK_DYNAMIC, .logical_sector = 4096}};
	struct disk_convert vhd = {.target = {.format = DISK_FORMAT_VHD, .kind = DISK_DYNAMIC}};
	struct disk_info info;
	struct disk *d;
	struct model m;

	make_source(i, "raw", (struct disk_create){.format = DISK_FORMAT_RAW}, &m);
	must_convert(i, "raw", "vhdx", c);
	d = image_open(i, "vhdx", 0);
	disk_info(d, &info);
	assert_int_equal(info.logical_sector, 4096);
	model_check(&m, d);
	image_close(d);
	/* What VHD has not is refused, unless it is asked for. */
	assert_int_equal(convert(i, "vhdx", "vhd", vhd), -EINVAL);
	vhd.target.logical_sector = 512;
	must_convert(i, "vhdx", "vhd", vhd);
	assert_false(compare(i, "vhdx", "vhd", true).differ);
	model_fini(&m);
}

static unsigned count_files(struct images *i)
{
	DIR *folder = opendir(i->folder);
	unsigned n = 0;

	assert_non_null(folder);
	while (readdir(folder))
		n++;
	closedir(folder);
	return n;
}

static void test_nothing_is_left_of_a_failure(void **state)
{
	struct images *i = *state;
	struct disk_convert c = {.target = {.format = DISK_FORMAT_RAW}};
	struct disk_progress progress = {.cancel = 1};
	struct disk *source;
	struct model m;
	unsigned files;

	make_source(i, "raw", (struct disk_create){.format = DISK_FORMAT_RAW}, &m);
	files = count_files(i);
	source = image_open(i, "raw", 0);
	assert_int_equal(disk_convert(i->engine, source, image_path(i, "target"), &c, &progress,
				 &i->problem),
		-ECANCELED);
	image_close(source);
	assert_int_equal(count_files(i), files);
	/* A size that the format has not. */
	c.target = (struct disk_create){.format = DISK_FORMAT_RAW, .size = SIZE + 1};
	assert_int_equal(convert(i, "raw", "target", c), -EINVAL);
	assert_int_equal(count_files(i), files);
	model_fini(&m);
}

static void test_existing_target(void **state)
{
	struct images *i = *state;
	struct disk_convert c = {.target = {.format = DISK_FORMAT_RAW}};
	struct model m;

	make_source(i, "raw", (struct disk_create){.format = DISK_FORMAT_RAW}, &m);
	image_create(i, "target", &(struct disk_create){.format = DISK_FORMAT_RAW, .size = MIB});
	assert_int_equal(convert(i, "raw", "target", c), -EEXIST);
	assert_int_equal(used(i, "target"), 0);
	i->problem = (struct disk_problem){0};
	c.target.overwrite = true;
	must_convert(i, "raw", "target", c);
	check_target(i, "target", &sorts[0], &m);
	/* Onto itself: the new file takes the old one's place. */
	must_convert(i, "raw", "raw", c);
	check_target(i, "raw", &sorts[0], &m);
	assert_int_equal(mkdir(image_path(i, "folder"), 0777), 0);
	assert_int_equal(convert(i, "raw", "folder", c), -EINVAL);
	model_fini(&m);
}

static void test_parent_is_not_overwritten(void **state)
{
	struct images *i = *state;
	struct disk_convert c = {.target = {.format = DISK_FORMAT_RAW, .overwrite = true}};
	struct model m;

	make_chain(i, DISK_FORMAT_VHDX, &m);
	assert_int_equal(convert(i, "leaf", "base", c), -EBUSY);
	model_fini(&m);
}

static void test_metadata_goes_along(void **state)
{
	struct images *i = *state;
	struct disk_convert c = {.target = {.format = DISK_FORMAT_VHDX, .kind = DISK_FIXED}};
	const GUID item = {1, 2, 3, {4}};
	uint32_t length = 32;
	char text[32] = "an item";
	struct disk *d;

	image_create(i, "from",
		&(struct disk_create){
			.format = DISK_FORMAT_VHDX, .kind = DISK_DYNAMIC, .size = SIZE});
	d = image_open(i, "from", DISK_OPEN_WRITE);
	assert_int_equal(disk_metadata_set(d, &item, text, 8), 0);
	image_close(d);
	must_convert(i, "from", "to", c);
	d = image_open(i, "to", 0);
	memset(text, 0, sizeof(text));
	assert_int_equal(disk_metadata_get(d, &item, text, &length), 0);
	assert_int_equal(length, 8);
	assert_string_equal(text, "an item");
	image_close(d);
}

/* ---- Comparing ------------------------------------------------------------------------------ */

static void put_byte(struct images *i, const char *name, uint64_t at)
{
	char sector[512] = {0};
	struct disk *d = image_open(i, name, DISK_OPEN_WRITE);

	assert_int_equal(disk_read(d, sector, 512, at - at % 512), 0);
	sector[at % 512] ^= 1;
	assert_int_equal(disk_write(d, sector, 512, at - at % 512), 0);
	image_close(d);
}

static void test_first_difference(void **state)
{
	struct images *i = *state;
	const uint64_t places[] = {SIZE - 1, 20 * MIB + 5, 3 * MIB, 1};
	struct disk_create create = {.format = DISK_FORMAT_RAW, .size = SIZE};

	image_create(i, "a", &create);
	image_create(i, "b", &create);
	assert_false(compare(i, "a", "b", true).differ);
	for (unsigned n = 0; n < 4; n++) {
		put_byte(i, n % 2 ? "a" : "b", places[n]);
		assert_true(compare(i, "a", "b", true).differ);
		assert_int_equal(compare(i, "a", "b", true).where, places[n]);
	}
}

static void test_longer_disk(void **state)
{
	struct images *i = *state;
	/* The shorter one ends inside a piece. */
	const uint64_t size = SIZE - 512;

	image_create(i, "a", &(struct disk_create){.format = DISK_FORMAT_RAW, .size = size});
	image_create(i, "b", &(struct disk_create){.format = DISK_FORMAT_RAW, .size = 2 * SIZE});
	put_byte(i, "a", size - 1);
	put_byte(i, "b", size - 1);
	assert_false(compare(i, "a", "b", false).differ);
	assert_true(compare(i, "a", "b", true).differ);
	assert_int_equal(compare(i, "b", "a", true).where, size);
	put_byte(i, "b", size + MIB);
	assert_int_equal(compare(i, "a", "b", false).where, size + MIB);
	put_byte(i, "b", size);
	assert_int_equal(compare(i, "b", "a", false).where, size);
}

static void test_disk_ending_in_a_sector_of_the_other(void **state)
{
	struct images *i = *state;
	const uint64_t size = SIZE + 1536;

	image_create(i, "a", &(struct disk_create){.format = DISK_FORMAT_RAW, .size = size});
	image_create(i, "b",
		&(struct disk_create){.format = DISK_FORMAT_VHDX,
			.kind = DISK_DYNAMIC,
			.size = SIZE + MIB,
			.logical_sector = 4096});
	put_byte(i, "a", size - 1);
	assert_int_equal(compare(i, "a", "b", false).where, size - 1);
	assert_true(compare(i, "b", "a", false).differ);
	put_byte(i, "a", size - 1);
	assert_false(compare(i, "b", "a", false).differ);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, images_set_up, images_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_everything_into_everything),
		TEST(test_vhd_chain_is_flattened),
		TEST(test_vhdx_chain_is_flattened),
		TEST(test_one_layer_from_vhd_to_vhdx),
		TEST(test_one_layer_from_vhdx_to_vhd),
		TEST(test_sparse_stays_sparse),
		TEST(test_zeros_are_found),
		TEST(test_sectors_of_4096),
		TEST(test_nothing_is_left_of_a_failure),
		TEST(test_existing_target),
		TEST(test_parent_is_not_overwritten),
		TEST(test_metadata_goes_along),
		TEST(test_first_difference),
		TEST(test_longer_disk),
		TEST(test_disk_ending_in_a_sector_of_the_other),
	};

	return cmocka_run_group_tests_name("disk/convert", tests, NULL, NULL);
}
