/*
 * disk_copy.c - DISK_COPY: the same bytes whoever moves them, the kernel, the kernel in part, or we
 * ourselves; errors, zeros, and disks that are frozen meanwhile.
 */
#include "disk_images.h"

#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "disk/operations.h"

#define SIZE (12 * MIB)

/* ---- The kernel's part ---------------------------------------------------------------------- */

static struct {
	int error; /* each call fails of it */
	_Atomic unsigned
		every; /* not 0: only so many calls copy something, others fail with EXDEV */
	size_t most;   /* bytes of a call; 0: all */
	_Atomic uint64_t copied;
	_Atomic unsigned calls;
} kernel;

/* In place of libc's. */
ssize_t copy_file_range(int in, off_t *from, int out, off_t *to, size_t length, unsigned flags)
{
	const unsigned every = kernel.every, call = atomic_fetch_add(&kernel.calls, 1);
	ssize_t n;

	if (kernel.error || (every && call % every)) {
		errno = kernel.error ? kernel.error : EXDEV;
		return -1;
	}
	if (kernel.most && length > kernel.most)
		length = kernel.most;
	n = syscall(__NR_copy_file_range, in, from, out, to, length, flags);
	if (n > 0)
		kernel.copied += n;
	return n;
}

static void kernel_reset(void)
{
	kernel.error = 0;
	kernel.every = 0;
	kernel.most = 0;
	kernel.copied = 0;
	kernel.calls = 0;
}

static int set_up(void **state)
{
	kernel_reset();
	return images_set_up(state);
}

/* ---- Disks ---------------------------------------------------------------------------------- */

struct pair {
	struct disk *from, *to;
	struct model source, target;
};

static struct disk *make_disk(struct images *i, const char *name, struct disk_create create,
	struct model *m, uint64_t seed)
{
	struct disk *d;

	create.size = SIZE;
	image_create(i, name, &create);
	d = image_open(i, name, DISK_OPEN_WRITE);
	model_init(m, SIZE, seed);
	for (unsigned n = 0; n < 40; n++)
		model_change(m, d);
	return d;
}

static void make_pair(
	struct images *i, struct disk_create from, struct disk_create to, struct pair *p)
{
	p->from = make_disk(i, "from", from, &p->source, 5);
	p->to = make_disk(i, "to", to, &p->target, 6);
}

static void end_pair(struct pair *p)
{
	image_close(p->from);
	image_close(p->to);
	model_fini(&p->source);
	model_fini(&p->target);
}

/* Some ranges, over the bounds of blocks, and what they then are; read anew from the file. */
static void copy_ranges(struct images *i, struct pair *p, unsigned n)
{
	while (n--) {
		uint64_t offset = model_random(&p->target, SIZE / 512) * 512;
		uint64_t length = (1 + model_random(&p->target, (SIZE - offset) / 512)) * 512;

		assert_int_equal(disk_copy(p->to, p->from, offset, length), 0);
		memcpy(p->target.bytes + offset, p->source.bytes + offset, length);
	}
	model_check(&p->target, p->to);
	image_close(p->to);
	p->to = image_open(i, "to", DISK_OPEN_WRITE);
	model_check(&p->target, p->to);
}

static const struct disk_create sorts[] = {
	{.format = DISK_FORMAT_RAW, .kind = DISK_FIXED},
	{.format = DISK_FORMAT_VHD, .kind = DISK_DYNAMIC, .block_size = 512 << 10},
	{.format = DISK_FORMAT_VHDX, .kind = DISK_DYNAMIC, .block_size = 1 << 20},
};

static void every_sort(struct images *i)
{
	const unsigned n = sizeof(sorts) / sizeof(sorts[0]);

	for (unsigned k = 0; k < n * n; k++) {
		struct disk_create from = sorts[k / n], to = sorts[k % n];
		struct pair p;

		from.overwrite = to.overwrite = true;
		make_pair(i, from, to, &p);
		copy_ranges(i, &p, 6);
		end_pair(&p);
	}
}

static void test_by_the_kernel(void **state)
{
	every_sort(*state);
	assert_true(kernel.copied > SIZE);
}

static void test_by_memory(void **state)
{
	static const int errors[] = {EXDEV, EINVAL, EOPNOTSUPP, ENOSYS};

	for (unsigned n = 0; n < sizeof(errors) / sizeof(errors[0]); n++) {
		kernel.error = errors[n];
		every_sort(*state);
	}
	assert_int_equal(kernel.copied, 0);
	assert_true(kernel.calls > 0);
}

/* Short counts, and a kernel that gives up in the middle. */
static void test_by_both(void **state)
{
	kernel.most = 70000;
	every_sort(*state);
	kernel.every = 2;
	every_sort(*state);
	assert_true(kernel.copied > 0);
}

/* What a parent has and what the child has, into a disk of one file. */
static void test_chain(void **state)
{
	struct images *i = *state;
	struct disk_create child = {.format = DISK_FORMAT_VHDX, .kind = DISK_DIFFERENCING};
	struct pair p;

	image_close(make_disk(i, "parent", sorts[2], &p.source, 5));
	child.parent = image_path(i, "parent");
	image_create(i, "from", &child);
	p.from = image_open(i, "from", DISK_OPEN_WRITE);
	for (unsigned n = 0; n < 20; n++)
		model_change(&p.source, p.from);
	p.to = make_disk(i, "to", sorts[0], &p.target, 6);
	copy_ranges(i, &p, 6);
	end_pair(&p);
}

/* ---- Zeros ---------------------------------------------------------------------------------- */

static int answer;

static void answered(struct disk_request *r)
{
	answer = r->result;
}

static uint64_t used(struct images *i, const char *name)
{
	struct stat st;

	assert_int_equal(stat(image_path(i, name), &st), 0);
	return st.st_blocks * 512ull;
}

static void test_zeros_are_left_out(void **state)
{
	struct images *i = *state;
	struct disk_queue *q = disk_queue_create(i->engine, 4);
	struct disk_create raw = sorts[0];
	uint8_t *bytes = calloc(1, SIZE);
	struct disk_request r = {
		.op = DISK_COPY, .length = SIZE, .skip_zeros = true, .done = answered};
	struct disk *to;

	raw.size = SIZE;
	image_create(i, "from", &raw);
	image_create(i, "to", &raw);
	r.from = image_open(i, "from", DISK_OPEN_WRITE);
	to = image_open(i, "to", DISK_OPEN_WRITE);
	/* Behind a grain's first page, a grain's last byte, and the disk's. */
	bytes[MIB + 5000] = bytes[3 * MIB - 1] = bytes[SIZE - 1] = 1;
	assert_int_equal(disk_write(r.from, bytes, SIZE, 0), 0);
	disk_submit(q, to, &r);
	while (disk_queue_run(q, true))
		;
	assert_int_equal(answer, 0);
	assert_true(used(i, "to") <= 3 * 65536);
	assert_int_equal(disk_read(r.from, bytes, SIZE, 0), 0);
	disk_queue_destroy(q);
	image_close(to);
	to = image_open(i, "to", 0);
	model_check(&(struct model){.bytes = bytes, .size = SIZE}, to);
	image_close(to);
	image_close(r.from);
	free(bytes);
}

/* ---- What goes wrong ------------------------------------------------------------------------ */

static void test_errors(void **state)
{
	struct images *i = *state;
	struct disk_convert c = {.target = sorts[2], .parallel = 3};
	struct disk_create larger = sorts[0];
	struct disk *d;
	struct pair p;

	make_pair(i, sorts[1], sorts[2], &p);
	kernel.error = ENOSPC;
	assert_int_equal(disk_copy(p.to, p.from, 0, SIZE), -ENOSPC);
	assert_int_equal(
		disk_convert(i->engine, p.from, image_path(i, "new"), &c, NULL, &i->problem),
		-ENOSPC);
	assert_int_equal(access(image_path(i, "new"), F_OK), -1);
	kernel_reset();
	/* Beyond either disk, not in sectors, and to where nothing may be written. */
	larger.size = SIZE + MIB;
	image_create(i, "larger", &larger);
	d = image_open(i, "larger", 0);
	assert_int_equal(disk_copy(p.to, d, SIZE, 512), -ENOSPC);
	assert_int_equal(disk_copy(p.to, p.from, 100, 512), -EINVAL);
	assert_int_equal(disk_copy(d, p.from, 0, 512), -EROFS);
	image_close(d);
	d = image_open(i, "larger", DISK_OPEN_WRITE);
	assert_int_equal(disk_copy(d, p.from, SIZE, 512), -ENOSPC);
	assert_int_equal(disk_copy(d, p.from, SIZE - 512, 512), 0);
	image_close(d);
	end_pair(&p);
}

/* A copy that meets a frozen disk is made when it thaws. */
static void test_frozen(void **state)
{
	struct images *i = *state;
	struct disk_queue *q = disk_queue_create(i->engine, 4);
	struct disk_request r = {.op = DISK_COPY, .length = SIZE, .done = answered};
	struct pair p;

	make_pair(i, sorts[1], sorts[2], &p);
	r.from = p.from;
	for (unsigned n = 0; n < 3; n++) {
		struct disk *frozen[] = {n != 1 ? p.from : NULL, n != 0 ? p.to : NULL};

		answer = 1;
		for (unsigned k = 0; k < 2; k++)
			if (frozen[k])
				disk_freeze(frozen[k]);
		disk_submit(q, p.to, &r);
		assert_int_equal(disk_queue_run(q, false), 0);
		for (unsigned k = 0; k < 2; k++)
			if (frozen[k])
				disk_thaw(frozen[k]);
		while (disk_queue_run(q, true))
			;
		assert_int_equal(answer, 0);
		model_check(&p.source, p.to);
	}
	disk_queue_destroy(q);
	end_pair(&p);
}

/* ---- Convert -------------------------------------------------------------------------------- */

/*
 * From another file system nothing is copied by the kernel, and the target is open with O_DIRECT.
 */
static void test_other_file_system(void **state)
{
	char path[] = "/dev/shm/partita-disk-copy-XXXXXX";
	struct images *i = *state;
	struct disk_convert c = {.target = sorts[0]};
	struct disk_create raw = sorts[0];
	struct disk *d;
	struct model m;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	raw.size = SIZE;
	raw.overwrite = true;
	assert_int_equal(disk_create(i->engine, path, &raw, NULL, NULL), 0);
	d = NULL;
	assert_int_equal(disk_open(i->engine, path,
				 &(struct disk_open_options){.flags = DISK_OPEN_WRITE}, &d, NULL),
		0);
	model_init(&m, SIZE, 8);
	for (unsigned n = 0; n < 40; n++)
		model_change(&m, d);
	for (unsigned n = 0; n < 3; n++) {
		struct disk *to;

		c.target = sorts[n];
		c.target.overwrite = true;
		c.parallel = 1 + 15 * n;
		assert_int_equal(
			disk_convert(i->engine, d, image_path(i, "to"), &c, NULL, &i->problem), 0);
		to = image_open(i, "to", 0);
		model_check(&m, to);
		image_close(to);
	}
	image_close(d);
	unlink(path);
	model_fini(&m);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, images_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_by_the_kernel),
		TEST(test_by_memory),
		TEST(test_by_both),
		TEST(test_chain),
		TEST(test_zeros_are_left_out),
		TEST(test_errors),
		TEST(test_frozen),
		TEST(test_other_file_system),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
