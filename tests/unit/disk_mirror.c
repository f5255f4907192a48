/*
 * disk_mirror.c - mirrors: a disk is copied while several threads write to it, and at the end both
 * are the same.
 */
#include "disk_images.h"

#include <pthread.h>

#include "disk/operations.h"

#define SIZE (16 * MIB)

static void create_pair(struct images *i, uint64_t target_size)
{
	image_create(i, "source", &(struct disk_create){.format = DISK_FORMAT_RAW, .size = SIZE});
	image_create(
		i, "target", &(struct disk_create){.format = DISK_FORMAT_RAW, .size = target_size});
}

struct writer {
	struct disk *disk;
	uint64_t seed;
	unsigned changes;
	pthread_t thread;
	pthread_barrier_t *begun;
};

/* Changes of its own; the threads' overlap, so that their order matters. */
static void *write_on(void *ctx)
{
	struct writer *w = ctx;
	struct model m;

	model_init(&m, SIZE, w->seed);
	for (unsigned n = 0; n < w->changes; n++) {
		model_change(&m, w->disk);
		if (n == 0)
			pthread_barrier_wait(w->begun);
	}
	model_fini(&m);
	return NULL;
}

static void assert_same(struct images *i, struct disk *a, struct disk *b)
{
	uint8_t *bytes[2] = {malloc(SIZE), malloc(SIZE)};

	assert_int_equal(disk_size(a), disk_size(b));
	assert_int_equal(disk_read(a, bytes[0], SIZE, 0), 0);
	assert_int_equal(disk_read(b, bytes[1], SIZE, 0), 0);
	assert_memory_equal(bytes[0], bytes[1], SIZE);
	free(bytes[0]);
	free(bytes[1]);
}

static void mirror_under_load(struct images *i, bool target_is_new)
{
	struct disk *source = image_open(i, "source", DISK_OPEN_WRITE);
	struct disk *target = image_open(i, "target", DISK_OPEN_WRITE);
	struct writer writers[3];
	struct disk_progress progress = {0};
	struct disk_mirror *mirror;
	pthread_barrier_t begun;

	pthread_barrier_init(&begun, NULL, 4);
	for (unsigned n = 0; n < 3; n++) {
		writers[n] = (struct writer){source, n + 1, 200, 0, &begun};
		pthread_create(&writers[n].thread, NULL, write_on, &writers[n]);
	}
	pthread_barrier_wait(&begun);
	assert_int_equal(disk_mirror_start(source, target, target_is_new, &progress, &mirror), 0);
	assert_int_equal(disk_mirror_wait(mirror), DISK_MIRROR_READY);
	assert_int_equal(progress.done, SIZE);
	assert_int_equal(progress.total, SIZE);
	for (unsigned n = 0; n < 3; n++)
		pthread_join(writers[n].thread, NULL);
	assert_int_equal(disk_mirror_stop(mirror), 0);
	assert_same(i, source, target);
	pthread_barrier_destroy(&begun);
	image_close(source);
	image_close(target);
}

static void test_under_load(void **state)
{
	create_pair(*state, SIZE);
	mirror_under_load(*state, true);
}

static void test_onto_old_contents(void **state)
{
	struct disk *target;
	struct model m;

	create_pair(*state, SIZE);
	target = image_open(*state, "target", DISK_OPEN_WRITE);
	model_init(&m, SIZE, 99);
	for (unsigned n = 0; n < 100; n++)
		model_change(&m, target);
	model_fini(&m);
	image_close(target);
	mirror_under_load(*state, false);
}

static void test_changes_when_ready(void **state)
{
	struct images *i = *state;
	struct disk *source, *target;
	struct disk_mirror *mirror;
	struct model m;

	create_pair(i, SIZE);
	source = image_open(i, "source", DISK_OPEN_WRITE);
	target = image_open(i, "target", DISK_OPEN_WRITE);
	model_init(&m, SIZE, 5);
	model_change(&m, source);
	assert_int_equal(disk_mirror_start(source, target, true, NULL, &mirror), 0);
	assert_int_equal(disk_mirror_wait(mirror), DISK_MIRROR_READY);
	for (unsigned n = 0; n < 200; n++)
		model_change(&m, source);
	/* The writer stopped: the target can take over. */
	disk_freeze(source);
	assert_int_equal(disk_mirror_stop(mirror), 0);
	model_check(&m, target);
	disk_thaw(source);
	/* What comes afterwards is the source's alone. */
	assert_int_equal(disk_unmap(source, 0, SIZE), 0);
	model_check(&m, target);
	image_close(source);
	image_close(target);
	model_fini(&m);
}

static void test_resized_source(void **state)
{
	struct images *i = *state;
	struct disk *source, *target;
	struct disk_mirror *mirror;
	char text[512] = "behind the old end";

	create_pair(i, SIZE);
	source = image_open(i, "source", DISK_OPEN_WRITE);
	target = image_open(i, "target", DISK_OPEN_WRITE);
	assert_int_equal(disk_mirror_start(source, target, true, NULL, &mirror), 0);
	assert_int_equal(disk_resize(source, 2 * SIZE, false, NULL), 0);
	assert_int_equal(disk_write(source, text, sizeof(text), SIZE + MIB), 0);
	assert_int_equal(disk_mirror_wait(mirror), DISK_MIRROR_READY);
	assert_int_equal(disk_mirror_stop(mirror), 0);
	assert_int_equal(disk_size(target), 2 * SIZE);
	memset(text, 0, sizeof(text));
	assert_int_equal(disk_read(target, text, sizeof(text), SIZE + MIB), 0);
	assert_string_equal(text, "behind the old end");
	image_close(source);
	image_close(target);
}

static void test_cancelled(void **state)
{
	struct images *i = *state;
	struct disk_progress progress = {.cancel = 1};
	struct disk *source, *target;
	struct disk_mirror *mirror;
	char text[512] = "the source goes on";
	int err;

	create_pair(i, SIZE);
	source = image_open(i, "source", DISK_OPEN_WRITE);
	target = image_open(i, "target", DISK_OPEN_WRITE);
	assert_int_equal(disk_mirror_start(source, target, true, &progress, &mirror), 0);
	assert_int_equal(disk_mirror_wait(mirror), DISK_MIRROR_FAILED);
	assert_int_equal(disk_mirror_state(mirror, &err), DISK_MIRROR_FAILED);
	assert_int_equal(err, -ECANCELED);
	assert_int_equal(disk_write(source, text, sizeof(text), 0), 0);
	assert_int_equal(disk_mirror_stop(mirror), -ECANCELED);
	image_close(source);
	image_close(target);
}

/* A target that fails does not harm the source. */
static void test_failing_target(void **state)
{
	struct images *i = *state;
	struct disk *source, *target;
	struct disk_mirror *mirror;
	char text[512] = "data";

	create_pair(i, SIZE);
	source = image_open(i, "source", DISK_OPEN_WRITE);
	target = image_open(i, "target", DISK_OPEN_WRITE);
	assert_int_equal(disk_mirror_start(source, target, true, NULL, &mirror), 0);
	assert_int_equal(disk_mirror_wait(mirror), DISK_MIRROR_READY);
	/* What the source still has, the target has no longer. */
	assert_int_equal(disk_resize(target, MIB, true, NULL), 0);
	assert_int_equal(disk_write(source, text, sizeof(text), SIZE - MIB), 0);
	assert_int_equal(disk_mirror_state(mirror, NULL), DISK_MIRROR_FAILED);
	assert_int_equal(disk_mirror_stop(mirror), -ENOSPC);
	image_close(source);
	image_close(target);
}

static void test_unfit_targets(void **state)
{
	struct images *i = *state;
	struct disk *source, *target;
	struct disk_mirror *mirror;

	create_pair(i, SIZE - MIB);
	source = image_open(i, "source", DISK_OPEN_WRITE);
	target = image_open(i, "target", DISK_OPEN_WRITE);
	assert_int_equal(disk_mirror_start(source, target, true, NULL, &mirror), -EINVAL);
	image_close(target);
	target = image_open(i, "target", 0);
	assert_int_equal(disk_mirror_start(source, target, true, NULL, &mirror), -EROFS);
	image_close(source);
	image_close(target);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, images_set_up, images_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_under_load),
		TEST(test_onto_old_contents),
		TEST(test_changes_when_ready),
		TEST(test_resized_source),
		TEST(test_cancelled),
		TEST(test_failing_target),
		TEST(test_unfit_targets),
	};

	return cmocka_run_group_tests_name("disk/mirror", tests, NULL, NULL);
}
