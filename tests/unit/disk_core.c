/*
 * disk_core - opening, creating and the room's files, with raw images.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/disk.h"
#include "disk/file.h"
#include "folder.h"
#include "winerror.h"

#define MIB (1ull << 20)

/* What the next calls of fdatasync() say, once; the kernel, too, tells of a loss only once. */
static _Atomic int sync_fails;

int fdatasync(int fd)
{
	const int error = atomic_exchange(&sync_fails, 0);

	errno = error;
	return error ? -1 : syscall(SYS_fdatasync, fd);
}

struct fixture {
	struct disk_engine *engine;
	char folder[FOLDER], path[128];
	struct disk *disk;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct disk_create create = {.format = DISK_FORMAT_RAW, .size = 64 * MIB};
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE};
	struct disk_problem problem = {0};

	folder_make(f->folder);
	snprintf(f->path, sizeof(f->path), "%s/disk.raw", f->folder);
	f->engine = disk_engine_create(NULL);
	assert_non_null(f->engine);
	assert_int_equal(disk_create(f->engine, f->path, &create, NULL, &problem), 0);
	assert_int_equal(disk_open(f->engine, f->path, &options, &f->disk, &problem), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(disk_close(f->disk), 0);
	disk_engine_destroy(f->engine);
	folder_remove(f->folder);
	free(f);
	return 0;
}

static void test_reads_what_was_written(void **state)
{
	struct fixture *f = *state;
	uint8_t in[4096], out[4096];
	enum disk_where where;

	memset(out, 0xa5, sizeof(out));
	assert_int_equal(disk_write(f->disk, out, sizeof(out), 8 * MIB), 0);
	assert_int_equal(disk_flush(f->disk), 0);
	assert_int_equal(disk_read(f->disk, in, sizeof(in), 8 * MIB), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(disk_extent(f->disk, 0, UINT64_MAX, 0, &where), 8 * MIB);
	assert_int_equal(where, DISK_ZEROS);
	assert_int_equal(disk_unmap(f->disk, 8 * MIB, 4096), 0);
	assert_int_equal(disk_extent(f->disk, 0, UINT64_MAX, 0, &where), 64 * MIB);
	assert_int_equal(where, DISK_ZEROS);
	assert_int_equal(disk_read(f->disk, in, sizeof(in), 8 * MIB), 0);
	memset(out, 0, sizeof(out));
	assert_memory_equal(in, out, sizeof(in));
}

static void request_noted(struct disk_request *r)
{
	/* The result is in the request. */
}

static int flush_by_queue(struct fixture *f)
{
	struct disk_queue *q = disk_queue_create(f->engine, 1);
	struct disk_request r = {.op = DISK_FLUSH, .done = request_noted};

	assert_non_null(q);
	disk_submit(q, f->disk, &r);
	while (disk_queue_run(q, true))
		;
	disk_queue_destroy(q);
	return r.result;
}

static void test_lost_stays_lost(void **state)
{
	struct fixture *f = *state;
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE};
	uint8_t data[512] = {7};

	assert_int_equal(disk_write(f->disk, data, sizeof(data), 0), 0);
	assert_int_equal(flush_by_queue(f), 0);
	sync_fails = EIO;
	assert_int_equal(disk_flush(f->disk), -EIO);
	assert_int_equal(sync_fails, 0);
	assert_int_equal(disk_flush(f->disk), -EIO);
	assert_int_equal(flush_by_queue(f), -EIO);
	/* The data is there, and may be overwritten and read; it is only not known to stay. */
	assert_int_equal(disk_write(f->disk, data, sizeof(data), 0), 0);
	assert_int_equal(disk_read(f->disk, data, sizeof(data), 0), 0);
	assert_int_equal(flush_by_queue(f), -EIO);
	assert_int_equal(disk_close(f->disk), -EIO);
	assert_int_equal(disk_open(f->engine, f->path, &options, &f->disk, NULL), 0);
	assert_int_equal(disk_flush(f->disk), 0);
}

static void *flush_often(void *arg)
{
	struct fixture *f = arg;
	uint8_t data[512] = {7};
	int err = 0;

	for (unsigned i = 0; i < 200 && !err; i++) {
		err = disk_write(f->disk, data, sizeof(data), 512 * (i % 8));
		if (!err)
			err = disk_flush(f->disk);
	}
	return (void *)(intptr_t)err;
}

/* Of those who flush together all learn of it, not only the one whose call it was. */
static void test_all_learn_of_a_loss(void **state)
{
	struct fixture *f = *state;
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE};
	pthread_t threads[4];
	void *result;

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, flush_often, f), 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		assert_ptr_equal(result, NULL);
	}
	sync_fails = ENOSPC;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, flush_often, f), 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		assert_int_equal((intptr_t)result, -ENOSPC);
	}
	assert_int_equal(disk_close(f->disk), -ENOSPC);
	assert_int_equal(disk_open(f->engine, f->path, &options, &f->disk, NULL), 0);
}

static void test_bounds(void **state)
{
	struct fixture *f = *state;
	uint8_t data[1024] = {0};

	assert_int_equal(disk_read(f->disk, data, 512, 64 * MIB), -ENOSPC);
	assert_int_equal(disk_read(f->disk, data, 1024, 64 * MIB - 512), -ENOSPC);
	assert_int_equal(disk_read(f->disk, data, 512, UINT64_MAX - 511), -ENOSPC);
	assert_int_equal(disk_read(f->disk, data, 100, 0), -EINVAL);
	assert_int_equal(disk_read(f->disk, data, 512, 1), -EINVAL);
	assert_int_equal(disk_read(f->disk, data, 0, 64 * MIB), 0);
}

/* ---- Files ----------------------------------------------------------------------------------- */

static struct disk_file open_direct(struct fixture *f)
{
	struct disk_open_options options = {.flags = DISK_OPEN_DIRECT | DISK_OPEN_SHARED};
	struct disk_file file;
	char path[160];

	/* Beside the program, where O_DIRECT can be had. */
	snprintf(path, sizeof(path), "./disk_core-%d", getpid());
	close(open(path, O_CREAT | O_EXCL | O_RDWR, 0600));
	assert_int_equal(disk_file_open_path(&file, path, &options, true), 0);
	unlink(path);
	return file;
}

/* What O_DIRECT would refuse: any offset, length and memory, at the file's end too. */
static void test_unaligned_direct_file(void **state)
{
	struct disk_file file = open_direct(*state);
	enum { SIZE = 3 * 4096 + 77 };
	static uint8_t model[SIZE], data[SIZE + 1];
	uint32_t random = 1;

	assert_true(file.align > 1);
	assert_int_equal(disk_file_write(&file, model, SIZE, 0), 0);
	for (unsigned i = 0; i < 400; i++) {
		uint32_t at, length;

		random = random * 1664525 + 1013904223;
		at = (random >> 8) % SIZE;
		length = 1 + (random >> 16) % (SIZE - at);
		memset(model + at, i, length);
		memcpy(data + 1, model + at, length);
		assert_int_equal(disk_file_write(&file, data + 1, length, at), 0);
		assert_int_equal(file.size, SIZE);
		at = (random >> 4) % SIZE;
		length = 1 + (random >> 12) % (SIZE - at);
		assert_int_equal(disk_file_read(&file, data + 1, length, at), 0);
		assert_memory_equal(data + 1, model + at, length);
	}
	assert_int_equal(disk_file_read(&file, data, 2, SIZE - 1), -EIO);
	assert_int_equal(disk_file_read_some(&file, data, 2, SIZE - 1), 0);
	assert_int_equal(data[0], model[SIZE - 1]);
	assert_int_equal(data[1], 0);
	disk_file_close(&file);
}

static void test_file_zeroed_and_sized(void **state)
{
	struct fixture *f = *state;
	struct disk_open_options options = {.flags = DISK_OPEN_SHARED};
	struct disk_file file;
	static uint8_t data[4 * MIB], zeros[2 * MIB];
	bool hole;

	memset(data, 3, sizeof(data));
	assert_int_equal(disk_file_open_path(&file, f->path, &options, true), 0);
	assert_int_equal(disk_file_write(&file, data, sizeof(data), 0), 0);
	assert_int_equal(disk_file_zero(&file, MIB, MIB, true), 0);
	assert_int_equal(disk_file_hole(&file, 0, 4 * MIB, &hole), MIB);
	assert_false(hole);
	assert_int_equal(disk_file_hole(&file, MIB, 4 * MIB, &hole), MIB);
	assert_true(hole);
	assert_int_equal(disk_file_zero(&file, 2 * MIB, MIB, false), 0);
	assert_int_equal(disk_file_read(&file, data, 2 * MIB, MIB), 0);
	assert_memory_equal(data, zeros, 2 * MIB);
	assert_int_equal(disk_file_set_size(&file, 5 * MIB), 0);
	assert_int_equal(disk_file_zero(&file, 4 * MIB, 9 * MIB, true), 0);
	assert_int_equal(file.size, 5 * MIB);
	assert_int_equal(disk_file_write_zeros(&file, 5 * MIB, 3 * MIB), 0);
	assert_int_equal(file.size, 8 * MIB);
	assert_int_equal(disk_file_allocate(&file, 8 * MIB, MIB), 0);
	assert_int_equal(file.size, 9 * MIB);
	assert_int_equal(disk_file_read(&file, data, MIB, 8 * MIB), 0);
	assert_memory_equal(data, zeros, MIB);
	disk_file_close(&file);
}

static void test_length_within_a_sector(void **state)
{
	struct fixture *f = *state;
	struct disk *d;
	uint8_t data[1024], queue_data[1024];
	struct disk_queue *q = disk_queue_create(f->engine, 1);
	struct iovec area = {queue_data, sizeof(queue_data)};
	struct disk_request r = {
		.op = DISK_READ, .length = 1024, .iov = &area, .n_iov = 1, .done = request_noted};
	char path[160];
	FILE *file;

	snprintf(path, sizeof(path), "%s/odd.raw", f->folder);
	file = fopen(path, "w");
	assert_non_null(file);
	for (unsigned i = 0; i < 700; i++)
		assert_int_equal(putc('x', file), 'x');
	assert_int_equal(fclose(file), 0);
	assert_int_equal(disk_open(f->engine, path, NULL, &d, NULL), 0);
	assert_int_equal(disk_size(d), 1024);
	memset(data, 1, sizeof(data));
	memset(queue_data, 1, sizeof(queue_data));
	assert_int_equal(disk_read(d, data, 1024, 0), 0);
	assert_int_equal(data[699], 'x');
	assert_int_equal(data[700], 0);
	assert_int_equal(data[1023], 0);
	disk_submit(q, d, &r);
	assert_int_equal(disk_queue_run(q, true), 1);
	assert_int_equal(r.result, 0);
	assert_memory_equal(queue_data, data, 1024);
	/* A disk that nobody writes has nothing to flush. */
	r.op = DISK_FLUSH;
	disk_submit(q, d, &r);
	assert_int_equal(disk_queue_run(q, true), 1);
	assert_int_equal(r.result, 0);
	assert_int_equal(disk_flush(d), 0);
	disk_queue_destroy(q);
	assert_int_equal(disk_close(d), 0);
}

/* ---- Creating -------------------------------------------------------------------------------- */

static unsigned names_in(const char *folder)
{
	DIR *d = opendir(folder);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void test_creating_leaves_all_or_nothing(void **state)
{
	struct fixture *f = *state;
	struct disk_create create = {.format = DISK_FORMAT_RAW, .size = 1000};
	struct disk_problem problem = {0};
	char path[160];
	struct stat st;

	snprintf(path, sizeof(path), "%s/new.raw", f->folder);
	assert_int_equal(disk_create(f->engine, path, &create, NULL, &problem), -EINVAL);
	create.size = 4096;
	assert_int_equal(disk_create(f->engine, f->path, &create, NULL, &problem), -EEXIST);
	assert_int_equal(
		disk_create(f->engine, "/nowhere/at/all", &create, NULL, &problem), -ENOENT);
	create.overwrite = true;
	assert_int_equal(disk_create(f->engine, f->folder, &create, NULL, &problem), -EINVAL);
	assert_int_equal(names_in(f->folder), 1);
	assert_int_equal(disk_create(f->engine, f->path, &create, NULL, &problem), 0);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, 4096);
	assert_int_equal(names_in(f->folder), 1);
}

static void test_opening_what_is_no_image(void **state)
{
	struct fixture *f = *state;
	struct disk_problem problem = {0};
	struct disk_open_options as_vhdx = {.format = DISK_FORMAT_VHDX, .flags = DISK_OPEN_SHARED};
	struct disk *d;

	assert_int_equal(disk_open(f->engine, f->path, &as_vhdx, &d, &problem), -EMEDIUMTYPE);
	assert_null(d);
	assert_non_null(strstr(problem.text, "this is not a VHDX"));
	assert_int_equal(disk_open(f->engine, f->folder, NULL, &d, NULL), -EISDIR);
	assert_int_equal(disk_open(f->engine, "/dev/null", NULL, &d, NULL), -EINVAL);
	assert_int_equal(disk_open(f->engine, "/nowhere/at/all", NULL, &d, NULL), -ENOENT);
	assert_int_equal(disk_open(f->engine, f->path, NULL, &d, NULL), -EBUSY);
}

/* ---- Without io_uring ------------------------------------------------------------------------ */

/* As a container's filter does it. */
static void forbid_uring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};

	assert(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	assert(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

/* An engine of before, perhaps with io_uring, makes its new queue without; a new one has none. */
static void without_uring(struct fixture *f)
{
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE | DISK_OPEN_SHARED};
	static uint8_t out[2 * MIB], in[sizeof(out)];
	struct iovec area = {out, sizeof(out)};
	struct disk_request w = {.op = DISK_WRITE,
		.length = sizeof(out),
		.iov = &area,
		.n_iov = 1,
		.done = request_noted};
	struct disk_engine *e = disk_engine_create(NULL);
	struct disk_queue *q;
	struct disk *d;

	memset(out, 9, sizeof(out));
	forbid_uring();
	assert(e && disk_open(e, f->path, &options, &d, NULL) == 0);
	q = disk_queue_create(e, 4);
	assert(q);
	disk_submit(q, d, &w);
	assert(disk_queue_run(q, true) == 1 && !w.result);
	assert(!disk_read(d, in, sizeof(in), 0) && !memcmp(in, out, sizeof(in)));
	disk_queue_destroy(q);
	disk_close(d);
	disk_engine_destroy(e);
	e = disk_engine_create(NULL);
	assert(e && !disk_engine_uses_uring(e));
	disk_engine_destroy(e);
}

static void test_forbidden_uring(void **state)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		without_uring(*state);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_reads_what_was_written, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bounds, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lost_stays_lost, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_all_learn_of_a_loss, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_unaligned_direct_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file_zeroed_and_sized, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_length_within_a_sector, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_creating_leaves_all_or_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_opening_what_is_no_image, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_forbidden_uring, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
