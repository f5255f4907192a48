/*
 * vsp_fcopy.c - copying a file into the guest, with a driver of the test's: its pieces, its ends,
 * and paths that are not right.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/utf16.h"
#include "service_guest.h"

#define FILE_SIZE (2 * IC_FCOPY_DATA + 100)

static uint8_t contents(unsigned at)
{
	return (uint8_t)(at * 7 + at / 256);
}

static int make_file(void)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	uint8_t data[FILE_SIZE];

	for (unsigned i = 0; i < FILE_SIZE; i++)
		data[i] = contents(i);
	assert_int_equal(write(fd, data, FILE_SIZE), FILE_SIZE);
	return fd;
}

static void copy_done(struct fcopy_request *r)
{
	service_ended();
}

static void expect_start(struct message *m)
{
	struct ic_fcopy_start *s = (struct ic_fcopy_start *)m->body;
	char *directory, *file;

	service_take(IC_FCOPY, m);
	assert_int_equal(m->header.size, sizeof(*s));
	assert_int_equal(s->header.operation, IC_FCOPY_START);
	assert_int_equal(s->flags, IC_FCOPY_OVERWRITE);
	directory = utf16_to_utf8((void *)s->directory, IC_FCOPY_NAME);
	file = utf16_to_utf8((void *)s->file, IC_FCOPY_NAME);
	assert_string_equal(directory, "/tmp/a dir/");
	assert_string_equal(file, "fäle");
	free(directory);
	free(file);
}

static void expect_piece(struct message *m, unsigned at, unsigned size)
{
	struct ic_fcopy_write *w = (struct ic_fcopy_write *)m->body;

	service_take(IC_FCOPY, m);
	assert_int_equal(m->header.size, sizeof(*w));
	assert_int_equal(w->header.operation, IC_FCOPY_WRITE);
	assert_int_equal(w->offset, at);
	assert_int_equal(w->size, size);
	for (unsigned i = 0; i < size; i++)
		assert_int_equal(w->data[i], contents(at + i));
}

static void expect_operation(struct message *m, enum ic_fcopy_operation operation)
{
	service_take(IC_FCOPY, m);
	assert_int_equal(m->body[0], operation);
}

static void copy(struct fcopy_request *r, int fd)
{
	*r = (struct fcopy_request){.fd = fd, .size = FILE_SIZE, .done = copy_done};
	assert_int_equal(fcopy_submit(f->fcopy, r, "/tmp/a dir/fäle", IC_FCOPY_OVERWRITE), 0);
}

static void test_copy(void **state)
{
	struct fcopy_request r, other;
	struct message m;
	int fd = make_file();

	service_connect(FCOPY, 1, 1);
	copy(&r, fd);
	other = (struct fcopy_request){.fd = fd, .done = copy_done};
	assert_int_equal(fcopy_submit(f->fcopy, &other, "/x", 0), -EBUSY);
	expect_start(&m);
	service_answer(&m, IC_OK);
	for (unsigned at = 0; at < FILE_SIZE; at += IC_FCOPY_DATA) {
		expect_piece(&m, at, at < 2 * IC_FCOPY_DATA ? IC_FCOPY_DATA : 100);
		assert_int_equal(r.copied, at);
		memset(m.body, 0xff, m.header.size); /* what comes back counts for nothing */
		service_answer(&m, IC_OK);
	}
	expect_operation(&m, IC_FCOPY_COMPLETE);
	service_answer(&m, IC_OK);
	service_await_ends(1);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.status, 0);
	guest_close(&f->c);
	close(fd);
}

/* Each of these ends with CANCEL, unless nothing was made yet. */
static void test_copy_fails(void **state)
{
	struct fcopy_request r;
	struct message m;
	int fd = make_file();

	service_connect(FCOPY, 1, 1);
	copy(&r, fd);
	expect_start(&m);
	service_answer(&m, IC_EXISTS);
	service_await_ends(1);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.status, IC_EXISTS);

	copy(&r, fd);
	expect_start(&m);
	service_answer(&m, IC_OK);
	expect_piece(&m, 0, IC_FCOPY_DATA);
	service_answer(&m, IC_DISK_FULL);
	expect_operation(&m, IC_FCOPY_CANCEL);
	service_answer(&m, IC_OK);
	service_await_ends(1);
	assert_int_equal(r.status, IC_DISK_FULL);

	copy(&r, fd);
	expect_start(&m);
	fcopy_cancel(&r);
	service_answer(&m, IC_OK);
	expect_operation(&m, IC_FCOPY_CANCEL);
	service_answer(&m, IC_FAIL);
	service_await_ends(1);
	assert_int_equal(r.err, -ECANCELED);

	assert_int_equal(ftruncate(fd, 100), 0);
	copy(&r, fd);
	expect_start(&m);
	service_answer(&m, IC_OK);
	expect_operation(&m, IC_FCOPY_CANCEL);
	service_answer(&m, IC_OK);
	service_await_ends(1);
	assert_int_equal(r.err, -ENODATA);

	copy(&r, fd);
	expect_start(&m);
	guest_close(&f->c);
	service_await_ends(1);
	assert_int_equal(r.err, -ENOTCONN);
	close(fd);
}

static void test_copy_paths(void **state)
{
	struct fcopy_request r = {.fd = -1, .done = copy_done};
	char path[600];

	service_connect(FCOPY, 1, 1);
	assert_int_equal(fcopy_submit(f->fcopy, &r, "name", 0), -EINVAL);
	assert_int_equal(fcopy_submit(f->fcopy, &r, "/dir/", 0), -EINVAL);
	assert_int_equal(fcopy_submit(f->fcopy, &r, "", 0), -EINVAL);
	memset(path, 'n', sizeof(path));
	path[0] = '/';
	path[1 + FCOPY_NAME_MAX + 1] = 0;
	assert_int_equal(fcopy_submit(f->fcopy, &r, path, 0), -ENAMETOOLONG);
	path[FCOPY_NAME_MAX] = '/';
	path[FCOPY_NAME_MAX + 1] = 'n';
	path[FCOPY_NAME_MAX + 2] = 0;
	assert_int_equal(fcopy_submit(f->fcopy, &r, path, 0), -ENAMETOOLONG);
	guest_close(&f->c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		SERVICE_TEST(test_copy),
		SERVICE_TEST(test_copy_fails),
		SERVICE_TEST(test_copy_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
