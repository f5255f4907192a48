/*
 * ReadFile, WriteFile, FlushFileBuffers: a virtual disk's contents, without a device.
 */
#include "virtdisk_fixture.h"

#include <pthread.h>
#include <stdlib.h>

#define BLOCK 4096u
#define MANY  300u

/* Without a device: that is what these functions are for. */
static HANDLE hold(HANDLE h, unsigned flags)
{
	assert_code(
		AttachVirtualDisk(h, NULL,
			(ATTACH_VIRTUAL_DISK_FLAG)(ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST | flags),
			0, NULL, NULL),
		ERROR_SUCCESS);
	return h;
}

/* One request, from its start to its end. */
struct io {
	OVERLAPPED overlapped;
	unsigned char data[BLOCK];
};

static struct io *new_io(uint64_t offset, int value)
{
	struct io *io = calloc(1, sizeof(*io));

	io->overlapped.Offset = (DWORD)offset;
	io->overlapped.OffsetHigh = (DWORD)(offset >> 32);
	memset(io->data, value, sizeof(io->data));
	return io;
}

static void start_read(HANDLE h, struct io *io, DWORD bytes)
{
	assert_false(ReadFile(h, io->data, bytes, NULL, &io->overlapped));
	assert_int_equal(GetLastError(), ERROR_IO_PENDING);
}

static void start_write(HANDLE h, struct io *io, DWORD bytes)
{
	assert_false(WriteFile(h, io->data, bytes, NULL, &io->overlapped));
	assert_int_equal(GetLastError(), ERROR_IO_PENDING);
}

/* The end of @io: a code, and if that is 0 how much was moved. */
static DWORD end(HANDLE h, struct io *io, DWORD *moved)
{
	*moved = 0;
	return GetOverlappedResult(h, &io->overlapped, moved, TRUE) ? ERROR_SUCCESS
								    : GetLastError();
}

static void assert_moved(HANDLE h, struct io *io, DWORD bytes)
{
	DWORD moved;

	assert_code(end(h, io, &moved), ERROR_SUCCESS);
	assert_int_equal(moved, bytes);
	assert_true(HasOverlappedIoCompleted(&io->overlapped));
}

static void test_written_and_read(void **state)
{
	struct fixture *f = *state;
	PCWSTR p = path(f, "d.vhdx");
	HANDLE h = hold(create(&vhdx_type, p, 8ull << 30, NULL, false), 0);
	struct io *io = new_io(5ull << 30, 'a');
	DWORD moved = 1;

	io->overlapped.hEvent = CreateEvent(NULL, TRUE, TRUE, NULL);
	assert_false(WriteFile(h, io->data, BLOCK, &moved, &io->overlapped));
	assert_int_equal(moved, 0);
	assert_int_equal(WaitForSingleObject(io->overlapped.hEvent, INFINITE), WAIT_OBJECT_0);
	assert_moved(h, io, BLOCK);
	assert_true(FlushFileBuffers(h));
	close_disk(h);

	h = hold(open_disk(p, false), 0);
	memset(io->data, 0, BLOCK);
	start_read(h, io, BLOCK);
	assert_int_equal(WaitForSingleObject(io->overlapped.hEvent, INFINITE), WAIT_OBJECT_0);
	assert_moved(h, io, BLOCK);
	assert_int_equal(io->data[0], 'a');
	assert_int_equal(io->data[BLOCK - 1], 'a');
	/* The same with what SCSI commands see. */
	assert_int_equal(get(h, 5ull << 30), 'a');
	CloseHandle(io->overlapped.hEvent);
	close_disk(h);
	free(io);
}

/* More than the queue takes at once, ended in whatever order. */
static void test_many_at_once(void **state)
{
	struct fixture *f = *state;
	HANDLE h = hold(create(&vhdx_type, path(f, "d.vhdx"), 1024 * MIB, NULL, false), 0);
	struct io *io[MANY];

	for (unsigned i = 0; i < MANY; i++) {
		io[i] = new_io(i * (3 * MIB), (int)(i % 251 + 1));
		start_write(h, io[i], BLOCK);
	}
	for (unsigned i = MANY; i-- > 0;)
		assert_moved(h, io[i], BLOCK);
	for (unsigned i = 0; i < MANY; i++) {
		memset(io[i]->data, 0, BLOCK);
		start_read(h, io[i], BLOCK);
	}
	for (unsigned i = 0; i < MANY; i++) {
		assert_moved(h, io[i], BLOCK);
		assert_int_equal(io[i]->data[BLOCK / 2], i % 251 + 1);
		free(io[i]);
	}
	close_disk(h);
}

struct worker {
	HANDLE disk;
	unsigned number;
	bool ok;
};

static void *write_and_compare(void *ctx)
{
	struct worker *w = ctx;
	struct io *io = new_io(0, 0);
	DWORD moved;

	w->ok = true;
	for (unsigned i = 0; w->ok && i < 100; i++) {
		io->overlapped.Offset = (DWORD)((w->number * 100 + i) * BLOCK);
		memset(io->data, (int)(w->number + i), BLOCK);
		WriteFile(w->disk, io->data, BLOCK, NULL, &io->overlapped);
		w->ok = GetOverlappedResult(w->disk, &io->overlapped, &moved, TRUE);
		memset(io->data, 0, BLOCK);
		ReadFile(w->disk, io->data, BLOCK, NULL, &io->overlapped);
		w->ok &= GetOverlappedResult(w->disk, &io->overlapped, &moved, TRUE) &&
			 io->data[0] == (unsigned char)(w->number + i);
	}
	free(io);
	return NULL;
}

static void test_several_threads(void **state)
{
	struct fixture *f = *state;
	HANDLE h = hold(create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false), 0);
	struct worker w[4];
	pthread_t thread[4];

	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct worker){h, i, false};
		assert_int_equal(pthread_create(&thread[i], NULL, write_and_compare, &w[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		assert_true(w[i].ok);
	}
	close_disk(h);
}

static void test_the_end_of_the_disk(void **state)
{
	struct fixture *f = *state;
	HANDLE h = hold(create(&vhdx_type, path(f, "d.vhdx"), 16 * MIB, NULL, false), 0);
	struct io *io = new_io(16 * MIB - 512, 'e');
	DWORD moved;

	start_write(h, io, BLOCK);
	assert_moved(h, io, 512);
	memset(io->data, 0, BLOCK);
	start_read(h, io, BLOCK);
	assert_moved(h, io, 512);
	assert_int_equal(io->data[511], 'e');
	assert_int_equal(io->data[512], 0);
	io->overlapped.Offset = 16 * MIB;
	start_read(h, io, BLOCK);
	assert_code(end(h, io, &moved), ERROR_HANDLE_EOF);
	io->overlapped.Offset = io->overlapped.OffsetHigh = UINT32_MAX - 511;
	start_write(h, io, 512);
	assert_code(end(h, io, &moved), ERROR_HANDLE_EOF);
	close_disk(h);
	free(io);
}

static void test_what_is_refused(void **state)
{
	struct fixture *f = *state;
	PCWSTR p = path(f, "d.vhdx");
	HANDLE h = hold(create(&vhdx_type, p, 16 * MIB, NULL, false), 0);
	struct io *io = new_io(0, 'x');
	DWORD moved;

	start_write(h, io, 100);
	assert_code(end(h, io, &moved), ERROR_INVALID_PARAMETER);
	io->overlapped.Offset = 100;
	start_read(h, io, 512);
	assert_code(end(h, io, &moved), ERROR_INVALID_PARAMETER);
	io->overlapped.Offset = 0;
	assert_false(ReadFile(h, io->data, BLOCK, &moved, NULL));
	assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
	assert_false(ReadFile(h, NULL, BLOCK, &moved, &io->overlapped));
	assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
	assert_false(WriteFile(h, io->data, 0, &moved, &io->overlapped));
	assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
	assert_false(WriteFile(NULL, io->data, BLOCK, &moved, &io->overlapped));
	assert_int_equal(GetLastError(), ERROR_INVALID_HANDLE);
	assert_false(FlushFileBuffers(INVALID_HANDLE_VALUE));
	assert_int_equal(GetLastError(), ERROR_INVALID_HANDLE);
	close_disk(h);

	h = open_disk(p, true);
	assert_false(WriteFile(h, io->data, BLOCK, &moved, &io->overlapped));
	assert_int_equal(GetLastError(), ERROR_ACCESS_DENIED);
	close_disk(h);

	h = open_disk(p, false);
	assert_false(ReadFile(h, io->data, BLOCK, &moved, &io->overlapped));
	assert_int_equal(GetLastError(), ERROR_VHD_INVALID_STATE);
	hold(h, ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY);
	start_read(h, io, BLOCK);
	assert_moved(h, io, BLOCK);
	assert_false(WriteFile(h, io->data, BLOCK, &moved, &io->overlapped));
	assert_int_equal(GetLastError(), ERROR_WRITE_PROTECT);
	close_disk(h);
	free(io);
}

/* Closing waits for what was started, and all of that is told its end. */
static void test_closed_meanwhile(void **state)
{
	struct fixture *f = *state;
	PCWSTR p = path(f, "d.vhdx");
	HANDLE h = hold(create(&vhdx_type, p, 64 * MIB, NULL, false), 0);
	struct io *io[MANY];

	for (unsigned i = 0; i < MANY; i++) {
		io[i] = new_io(i * BLOCK, 'c');
		start_write(h, io[i], BLOCK);
	}
	assert_true(CloseHandle(h));
	h = open_disk(p, false);
	for (unsigned i = 0; i < MANY; i++) {
		assert_true(HasOverlappedIoCompleted(&io[i]->overlapped));
		assert_int_equal(io[i]->overlapped.Internal, 0);
		assert_int_equal(get(h, i * BLOCK), 'c');
		free(io[i]);
	}
	close_disk(h);
}

/* An OVERLAPPED serves a write, then an operation, then a write. */
static void test_an_overlapped_of_an_operation(void **state)
{
	struct fixture *f = *state;
	HANDLE h = hold(create(&vhdx_type, path(f, "d.vhdx"), 16 * MIB, NULL, false), 0);
	struct io *io = new_io(0, 'o');
	DWORD moved;

	start_write(h, io, BLOCK);
	assert_moved(h, io, BLOCK);
	assert_code(DetachVirtualDisk(h, DETACH_VIRTUAL_DISK_FLAG_NONE, 0), ERROR_SUCCESS);
	assert_code(CompactVirtualDisk(h, 0, NULL, &io->overlapped), ERROR_IO_PENDING);
	assert_code(end(h, io, &moved), ERROR_SUCCESS);
	assert_int_equal(moved, 0);
	hold(h, 0);
	start_write(h, io, BLOCK);
	assert_moved(h, io, BLOCK);
	assert_int_equal(get(h, 0), 'o');
	close_disk(h);
	free(io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(written_and_read),
		TEST(many_at_once),
		TEST(several_threads),
		TEST(the_end_of_the_disk),
		TEST(what_is_refused),
		TEST(closed_meanwhile),
		TEST(an_overlapped_of_an_operation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
