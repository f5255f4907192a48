/*
 * vhdx_limits - a VHDX disk where something runs out: memory for the tables of the largest disk
 * there is, and room for the file.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/disk.h"
#include "folder.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define TIB (MIB * MIB)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEMORY_IS_OURS 0 /* a sanitizer has some of it */
#else
#define MEMORY_IS_OURS 1
#endif

struct fixture {
	struct disk_engine *engine;
	char folder[FOLDER], path[128];
	struct disk *disk;
};

static void create(struct fixture *f, uint64_t size)
{
	struct disk_create c = {.format = DISK_FORMAT_VHDX,
		.kind = DISK_DYNAMIC,
		.size = size,
		.block_size = MIB,
		.overwrite = true};

	assert_int_equal(disk_create(f->engine, f->path, &c, NULL, NULL), 0);
}

static void open_disk(struct fixture *f, size_t cache)
{
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE, .cache = cache};

	assert_int_equal(disk_open(f->engine, f->path, &options, &f->disk, NULL), 0);
}

static void check(struct fixture *f)
{
	struct disk_check c = {0};

	assert_int_equal(disk_check(f->disk, &c, NULL), 0);
	assert_int_equal(c.errors, 0);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	folder_make(f->folder);
	snprintf(f->path, sizeof(f->path), "%s/disk.vhdx", f->folder);
	f->engine = disk_engine_create(NULL);
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

/* ---- Room ------------------------------------------------------------------------------------ */

static uint64_t room(struct fixture *f)
{
	struct disk_info info;

	disk_info(f->disk, &info);
	return info.file_used;
}

/* What is unmapped goes back to the file system; zeros where nothing is take nothing. */
static void test_unmapped_and_zeros(void **state)
{
	struct fixture *f = *state;
	uint8_t *data = malloc(8 * MIB), *back = malloc(8 * MIB);
	uint64_t empty, full;

	memset(data, 1, 8 * MIB);
	create(f, 64 * MIB);
	open_disk(f, 0);
	assert_int_equal(disk_flush(f->disk), 0);
	empty = room(f);
	assert_int_equal(disk_zero(f->disk, 0, 64 * MIB), 0);
	assert_int_equal(disk_zero(f->disk, 32 * MIB + 512, 1024), 0);
	assert_int_equal(disk_flush(f->disk), 0);
	assert_true(room(f) < empty + MIB);
	assert_int_equal(disk_write(f->disk, data, 8 * MIB, 4 * MIB), 0);
	assert_int_equal(disk_flush(f->disk), 0);
	full = room(f);
	assert_true(full >= empty + 8 * MIB);
	assert_int_equal(disk_unmap(f->disk, 5 * MIB, 6 * MIB), 0);
	assert_int_equal(disk_flush(f->disk), 0);
	assert_true(room(f) <= full - 6 * MIB);
	assert_int_equal(disk_read(f->disk, back, 8 * MIB, 4 * MIB), 0);
	memset(data + MIB, 0, 6 * MIB);
	assert_memory_equal(back, data, 8 * MIB);
	check(f);
	assert_int_equal(disk_close(f->disk), 0);
	free(data);
	free(back);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* KiB of this process's own memory that are there. */
static long own_memory(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[128];
	long kib = -1;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %ld", &kib) == 1)
			break;
	fclose(f);
	assert_true(kib >= 0);
	return kib;
}

static void test_largest_disk(void **state)
{
	struct fixture *f = *state;
	const uint64_t size = 64 * TIB, step = 2 * 37 * 1024 * MIB + 5 * MIB;
	const size_t cache = 4 * MIB;
	uint64_t word[512] = {0}, read[512];
	long before;

	create(f, size);
	before = own_memory();
	open_disk(f, cache);
	for (uint64_t at = 0, i = 1; at < size; at += step, i++) {
		word[0] = i;
		assert_int_equal(disk_write(f->disk, word, sizeof(word), at), 0);
	}
	/* All of the table goes through the cache: 512 MiB. */
	assert_int_equal(disk_unmap(f->disk, size / 2, size / 2), 0);
	for (uint64_t at = 0, i = 1; at < size; at += step, i++) {
		assert_int_equal(disk_read(f->disk, read, sizeof(read), at), 0);
		assert_int_equal(read[0], at < size / 2 ? i : 0);
	}
	if (MEMORY_IS_OURS)
		assert_true(own_memory() - before < (long)(cache / KIB) + 512);
	assert_int_equal(disk_close(f->disk), 0);
}

/* ---- The file's length ----------------------------------------------------------------------- */

static void limit_files(uint64_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_file_cannot_grow(void **state)
{
	struct fixture *f = *state;
	static uint8_t wrote[64 * 1024], read[sizeof(wrote)];
	unsigned n = 0;
	int err = 0;

	signal(SIGXFSZ, SIG_IGN);
	create(f, 64 * MIB);
	open_disk(f, 0);
	memset(wrote, 0x5a, sizeof(wrote));
	limit_files(13 * MIB + 4096);
	for (; n < 64 && !err; n++)
		err = disk_write(f->disk, wrote, sizeof(wrote), n * MIB);
	assert_int_equal(err, -EFBIG);
	n--;
	assert_true(n > 0);
	/* What is there goes on to work, and what is given back can be had again. */
	assert_int_equal(disk_write(f->disk, wrote, sizeof(wrote), MIB / 2), 0);
	assert_int_equal(disk_flush(f->disk), 0);
	assert_int_equal(disk_unmap(f->disk, 0, MIB), 0);
	assert_int_equal(disk_flush(f->disk), 0);
	assert_int_equal(disk_write(f->disk, wrote, sizeof(wrote), n * MIB), 0);
	check(f);
	assert_int_equal(disk_close(f->disk), 0);
	limit_files(RLIM_INFINITY);

	open_disk(f, 0);
	check(f);
	for (unsigned i = 1; i <= n; i++) {
		assert_int_equal(disk_read(f->disk, read, sizeof(read), i * MIB), 0);
		assert_memory_equal(read, wrote, sizeof(read));
	}
	assert_int_equal(disk_read(f->disk, read, sizeof(read), 0), 0);
	assert_int_equal(read[0], 0);
	assert_int_equal(disk_write(f->disk, wrote, sizeof(wrote), 40 * MIB), 0);
	assert_int_equal(disk_close(f->disk), 0);
}

/* ---- A full file system ---------------------------------------------------------------------- */

/* In a process of its own, which alone sees the file system. Returns a line, or 0. */
#define NEED(condition)                                                                            \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return __LINE__;                                                           \
	} while (0)

#define CANNOT_MOUNT 1

static int fill_file_system(struct fixture *f)
{
	struct disk_create c = {.format = DISK_FORMAT_VHDX,
		.kind = DISK_DYNAMIC,
		.size = 64 * MIB,
		.block_size = MIB};
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE};
	struct disk_check check = {0};
	static uint8_t wrote[1024 * 1024], read[sizeof(wrote)];
	unsigned n = 0;
	int err = 0;

	if (unshare(geteuid() ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS) ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("tmpfs", f->folder, "tmpfs", 0, "size=8m"))
		return CANNOT_MOUNT;
	f->engine = disk_engine_create(NULL);
	NEED(disk_create(f->engine, f->path, &c, NULL, NULL) == 0);
	NEED(disk_open(f->engine, f->path, &options, &f->disk, NULL) == 0);
	memset(wrote, 0x5a, sizeof(wrote));
	for (; n < 64 && !err; n++) {
		err = disk_write(f->disk, wrote, sizeof(wrote), n * MIB);
		if (!err)
			NEED(disk_flush(f->disk) == 0);
	}
	NEED(err == -ENOSPC);
	n--;
	NEED(n > 2);
	/* Others' data is as it was, and giving some back makes room. */
	NEED(disk_flush(f->disk) == 0);
	NEED(disk_unmap(f->disk, 0, 2 * MIB) == 0);
	NEED(disk_flush(f->disk) == 0);
	NEED(disk_write(f->disk, wrote, sizeof(wrote), n * MIB) == 0);
	NEED(disk_close(f->disk) == 0);

	NEED(disk_open(f->engine, f->path, &options, &f->disk, NULL) == 0);
	NEED(disk_check(f->disk, &check, NULL) == 0 && !check.errors);
	for (unsigned i = 2; i <= n; i++) {
		NEED(disk_read(f->disk, read, sizeof(read), i * MIB) == 0);
		NEED(!memcmp(read, wrote, sizeof(read)));
	}
	NEED(disk_close(f->disk) == 0);
	disk_engine_destroy(f->engine);
	return 0;
}

static void test_full_file_system(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t child;

	disk_engine_destroy(f->engine);
	f->engine = NULL;
	child = fork();
	if (!child) {
		int line = fill_file_system(f);

		if (line > CANNOT_MOUNT)
			fprintf(stderr, "vhdx_limits.c:%d\n", line);
		_exit(line > CANNOT_MOUNT ? 2 : line);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == CANNOT_MOUNT)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_unmapped_and_zeros, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_largest_disk, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file_cannot_grow, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_full_file_system, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
