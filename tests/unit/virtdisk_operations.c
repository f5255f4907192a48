/*
 * virtdisk.h: operations that change disks: compact, expand, resize, merge, mirror, fork; at once
 * and aside.
 */
#include "virtdisk_fixture.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static DWORD finish(HANDLE h, OVERLAPPED *o, DWORD started)
{
	DWORD n;

	if (started != ERROR_IO_PENDING)
		return started;
	return GetOverlappedResult(h, o, &n, TRUE) ? ERROR_SUCCESS : GetLastError();
}

static uint64_t physical_size(HANDLE h)
{
	GET_VIRTUAL_DISK_INFO i;

	assert_code(info(h, GET_VIRTUAL_DISK_INFO_SIZE, &i, sizeof(i)), ERROR_SUCCESS);
	return i.Size.PhysicalSize;
}

/* ---- Compact --------------------------------------------------------------------------------- */

static void test_compact(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 512 * MIB, NULL, false);
	OVERLAPPED o = {.hEvent = CreateEvent(NULL, TRUE, FALSE, NULL)};
	VIRTUAL_DISK_PROGRESS progress;
	uint64_t full;

	for (unsigned i = 0; i < 8; i++)
		put(h, i * 64 * MIB, i == 7 ? 'x' : 0);
	put(h, 0, 'y');
	put(h, 64 * MIB, 'z');
	put(h, 64 * MIB, 0);
	full = physical_size(h);
	assert_code(
		CompactVirtualDisk(h, COMPACT_VIRTUAL_DISK_FLAG_NONE, NULL, &o), ERROR_IO_PENDING);
	assert_int_equal(WaitForSingleObject(o.hEvent, INFINITE), WAIT_OBJECT_0);
	assert_code(GetVirtualDiskOperationProgress(h, &o, &progress), ERROR_SUCCESS);
	assert_int_equal(progress.OperationStatus, ERROR_SUCCESS);
	assert_true(physical_size(h) < full);
	assert_int_equal(get(h, 0), 'y');
	assert_int_equal(get(h, 64 * MIB), 0);
	assert_int_equal(get(h, 7 * 64 * MIB), 'x');
	close_disk(h);
	CloseHandle(o.hEvent);
}

/* What the file takes on its file system. */
static uint64_t space_of(struct fixture *f, const char *name)
{
	char full[128];
	struct stat st;

	snprintf(full, sizeof(full), "%s/%s", f->folder, name);
	assert_int_equal(stat(full, &st), 0);
	return st.st_blocks * 512ull;
}

static void test_compact_without_moves(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 512 * MIB, NULL, false);
	const unsigned no_scan = COMPACT_VIRTUAL_DISK_FLAG_NO_ZERO_SCAN;
	const unsigned no_moves = COMPACT_VIRTUAL_DISK_FLAG_NO_BLOCK_MOVES;
	uint64_t length, space;

	for (unsigned i = 0; i < 4; i++)
		put(h, i * 64 * MIB, 'a' + i);
	put(h, 64 * MIB, 0);
	/* The file's end beyond the last block is cut at once. */
	assert_code(CompactVirtualDisk(
			    h, (COMPACT_VIRTUAL_DISK_FLAG)(no_scan | no_moves), NULL, NULL),
		ERROR_SUCCESS);
	length = physical_size(h);
	space = space_of(f, "d.vhdx");
	assert_code(CompactVirtualDisk(h, (COMPACT_VIRTUAL_DISK_FLAG)no_moves, NULL, NULL),
		ERROR_SUCCESS);
	assert_int_equal(physical_size(h), length);
	assert_true(space_of(f, "d.vhdx") < space);
	assert_code(CompactVirtualDisk(h, COMPACT_VIRTUAL_DISK_FLAG_NONE, NULL, NULL),
		ERROR_SUCCESS);
	assert_true(physical_size(h) < length);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(get(h, i * 64 * MIB), i == 1 ? 0 : 'a' + i);
	close_disk(h);
}

static void test_compact_refuses(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 16 * MIB, NULL, true);
	COMPACT_VIRTUAL_DISK_PARAMETERS p = {.Version = COMPACT_VIRTUAL_DISK_VERSION_1};

	assert_code(CompactVirtualDisk(h, 0, &p, NULL), ERROR_NOT_SUPPORTED);
	assert_code(CompactVirtualDisk(h, (COMPACT_VIRTUAL_DISK_FLAG)8, &p, NULL),
		ERROR_INVALID_PARAMETER);
	p.Version = COMPACT_VIRTUAL_DISK_VERSION_UNSPECIFIED;
	assert_code(CompactVirtualDisk(h, 0, &p, NULL), ERROR_INVALID_PARAMETER);
	close_disk(h);
}

/* ---- Expand and resize ----------------------------------------------------------------------- */

static DWORD expand(HANDLE h, uint64_t size)
{
	EXPAND_VIRTUAL_DISK_PARAMETERS p = {
		.Version = EXPAND_VIRTUAL_DISK_VERSION_1, .Version1 = {.NewSize = size}};
	OVERLAPPED o = {0};

	return finish(h, &o, ExpandVirtualDisk(h, EXPAND_VIRTUAL_DISK_FLAG_NONE, &p, &o));
}

static DWORD resize(HANDLE h, uint64_t size, unsigned flags)
{
	RESIZE_VIRTUAL_DISK_PARAMETERS p = {
		.Version = RESIZE_VIRTUAL_DISK_VERSION_1, .Version1 = {.NewSize = size}};

	return ResizeVirtualDisk(h, (RESIZE_VIRTUAL_DISK_FLAG)flags, &p, NULL);
}

static void test_expand(void **state)
{
	struct fixture *f = *state;
	PCWSTR base = path(f, "d.vhdx");
	HANDLE h = create(&vhdx_type, base, 16 * MIB, NULL, false);
	EXPAND_VIRTUAL_DISK_PARAMETERS p = {.Version = EXPAND_VIRTUAL_DISK_VERSION_UNSPECIFIED};

	put(h, 0, 'a');
	assert_code(expand(h, 64 * MIB), ERROR_SUCCESS);
	assert_int_equal(virtual_size(h), 64 * MIB);
	assert_int_equal(get(h, 0), 'a');
	put(h, 63 * MIB, 'b');
	assert_code(expand(h, 64 * MIB), ERROR_INVALID_PARAMETER);
	assert_code(expand(h, 32 * MIB), ERROR_INVALID_PARAMETER);
	assert_code(ExpandVirtualDisk(h, 0, &p, NULL), ERROR_INVALID_PARAMETER);
	assert_code(ExpandVirtualDisk(h, 0, NULL, NULL), ERROR_INVALID_PARAMETER);
	assert_code(ExpandVirtualDisk(h, (EXPAND_VIRTUAL_DISK_FLAG)2, &p, NULL),
		ERROR_INVALID_PARAMETER);
	close_disk(h);
	h = create(&vhdx_type, path(f, "c.vhdx"), 0, base, false);
	assert_code(expand(h, 128 * MIB), ERROR_VHD_INVALID_TYPE);
	close_disk(h);
}

static void test_resize(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 256 * MIB, NULL, false);
	const unsigned smallest = RESIZE_VIRTUAL_DISK_FLAG_RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE;
	const unsigned lose = RESIZE_VIRTUAL_DISK_FLAG_ALLOW_UNSAFE_VIRTUAL_SIZE;
	GET_VIRTUAL_DISK_INFO i;
	uint64_t safe;

	put(h, 100 * MIB, 'x');
	assert_code(info(h, GET_VIRTUAL_DISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE, &i, sizeof(i)), 0);
	safe = i.SmallestSafeVirtualSize;
	assert_in_range(safe, 100 * MIB + 4096, 256 * MIB - 1);
	assert_code(resize(h, 512 * MIB, 0), ERROR_SUCCESS);
	assert_code(resize(h, 64 * MIB, 0), ERROR_VHD_RESIZE_WOULD_TRUNCATE_DATA);
	assert_int_equal(virtual_size(h), 512 * MIB);
	assert_code(resize(h, 0, smallest), ERROR_SUCCESS);
	assert_int_equal(virtual_size(h), safe);
	assert_int_equal(get(h, 100 * MIB), 'x');
	assert_code(resize(h, 0, smallest), ERROR_VHD_ALREADY_AT_OR_BELOW_MINIMUM_VIRTUAL_SIZE);
	assert_code(resize(h, 64 * MIB, lose), ERROR_SUCCESS);
	assert_int_equal(virtual_size(h), 64 * MIB);
	assert_code(resize(h, 64 * MIB, smallest), ERROR_INVALID_PARAMETER);
	assert_code(resize(h, 0, 0), ERROR_INVALID_PARAMETER);
	assert_code(resize(h, 64 * MIB, 4), ERROR_INVALID_PARAMETER);
	assert_code(ResizeVirtualDisk(h, 0, NULL, NULL), ERROR_INVALID_PARAMETER);
	close_disk(h);
}

/* ---- Merge ----------------------------------------------------------------------------------- */

static void make_chain(struct fixture *f, PCWSTR paths[3])
{
	paths[0] = path(f, "base.vhdx");
	paths[1] = path(f, "middle.vhdx");
	paths[2] = path(f, "leaf.vhdx");
	for (unsigned i = 0; i < 3; i++) {
		HANDLE h = create(
			&vhdx_type, paths[i], i ? 0 : 64 * MIB, i ? paths[i - 1] : NULL, false);

		put(h, i * 8 * MIB, 'a' + i);
		put(h, 32 * MIB, 'A' + i);
		close_disk(h);
	}
}

static DWORD merge(HANDLE h, ULONG depth)
{
	MERGE_VIRTUAL_DISK_PARAMETERS p = {
		.Version = MERGE_VIRTUAL_DISK_VERSION_1, .Version1 = {.MergeDepth = depth}};
	OVERLAPPED o = {0};

	return finish(h, &o, MergeVirtualDisk(h, MERGE_VIRTUAL_DISK_FLAG_NONE, &p, &o));
}

static HANDLE open_depth(PCWSTR p, ULONG depth)
{
	OPEN_VIRTUAL_DISK_PARAMETERS v1 = {
		.Version = OPEN_VIRTUAL_DISK_VERSION_1, .Version1 = {.RWDepth = depth}};
	VIRTUAL_STORAGE_TYPE t = vhdx_type;
	HANDLE h;

	assert_code(OpenVirtualDisk(&t, p, VIRTUAL_DISK_ACCESS_ALL, 0, &v1, &h), ERROR_SUCCESS);
	return h;
}

static void test_merge_one_level(void **state)
{
	struct fixture *f = *state;
	PCWSTR p[3];
	HANDLE h;

	make_chain(f, p);
	h = open_depth(p[2], 2);
	assert_code(merge(h, 2), ERROR_ACCESS_DENIED);
	assert_code(merge(h, 3), ERROR_INVALID_PARAMETER);
	assert_code(merge(h, 0), ERROR_INVALID_PARAMETER);
	assert_code(merge(h, 1), ERROR_SUCCESS);
	close_disk(h);
	h = open_disk(p[1], true);
	assert_int_equal(get(h, 0), 'a');
	assert_int_equal(get(h, 8 * MIB), 'b');
	assert_int_equal(get(h, 16 * MIB), 'c');
	assert_int_equal(get(h, 32 * MIB), 'C');
	close_disk(h);
	h = open_disk(p[0], true);
	assert_int_equal(get(h, 32 * MIB), 'A');
	close_disk(h);
}

static void test_merge_without_depth(void **state)
{
	struct fixture *f = *state;
	PCWSTR p[3];
	HANDLE h;

	make_chain(f, p);
	h = open_depth(p[2], 1);
	assert_code(merge(h, 1), ERROR_ACCESS_DENIED);
	close_disk(h);
	/* Version 2 of the parameters has no depth: the parents are opened as needed. */
	h = open_disk(p[2], false);
	assert_code(merge(h, 2), ERROR_SUCCESS);
	close_disk(h);
	h = open_disk(p[0], true);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(get(h, i * 8 * MIB), 'a' + i);
	assert_int_equal(get(h, 32 * MIB), 'C');
	close_disk(h);
}

static void test_merge_a_range(void **state)
{
	struct fixture *f = *state;
	MERGE_VIRTUAL_DISK_PARAMETERS m = {.Version = MERGE_VIRTUAL_DISK_VERSION_2,
		.Version2 = {.MergeSourceDepth = 2, .MergeTargetDepth = 3}};
	PCWSTR p[3];
	HANDLE h;

	make_chain(f, p);
	h = open_disk(p[2], false);
	assert_code(MergeVirtualDisk(h, 0, &m, NULL), ERROR_SUCCESS);
	assert_int_equal(get(h, 32 * MIB), 'C');
	close_disk(h);
	h = open_disk(p[0], true);
	assert_int_equal(get(h, 8 * MIB), 'b');
	assert_int_equal(get(h, 16 * MIB), 0);
	assert_int_equal(get(h, 32 * MIB), 'B');
	m.Version2.MergeTargetDepth = 2;
	assert_code(MergeVirtualDisk(h, 0, &m, NULL), ERROR_ACCESS_DENIED);
	close_disk(h);
	h = open_disk(p[0], false);
	assert_code(MergeVirtualDisk(h, 0, &m, NULL), ERROR_INVALID_PARAMETER);
	m.Version2.MergeSourceDepth = 0;
	assert_code(MergeVirtualDisk(h, 0, &m, NULL), ERROR_INVALID_PARAMETER);
	m.Version = MERGE_VIRTUAL_DISK_VERSION_UNSPECIFIED;
	assert_code(MergeVirtualDisk(h, 0, &m, NULL), ERROR_INVALID_PARAMETER);
	assert_code(MergeVirtualDisk(h, 0, NULL, NULL), ERROR_INVALID_PARAMETER);
	close_disk(h);
}

/* ---- Mirror and fork ------------------------------------------------------------------------- */

static void wait_equal(HANDLE h, OVERLAPPED *o)
{
	VIRTUAL_DISK_PROGRESS p;

	do {
		sched_yield();
		assert_code(GetVirtualDiskOperationProgress(h, o, &p), ERROR_SUCCESS);
	} while (p.OperationStatus == ERROR_IO_PENDING && p.CurrentValue != p.CompletionValue);
	assert_int_equal(p.OperationStatus, ERROR_IO_PENDING);
}

static void test_mirror_is_broken(void **state)
{
	struct fixture *f = *state;
	PCWSTR original = path(f, "d.vhdx"), mirror = path(f, "m.vhdx");
	HANDLE h = create(&vhdx_type, original, 64 * MIB, NULL, false), other;
	OVERLAPPED o = {.hEvent = CreateEvent(NULL, TRUE, FALSE, NULL)};
	DWORD n;

	put(h, 0, 'a');
	start_mirror(h, mirror, 0, &o);
	wait_equal(h, &o);
	put(h, 8 * MIB, 'b');
	assert_int_equal(WaitForSingleObject(o.hEvent, 0), WAIT_TIMEOUT);
	assert_false(GetOverlappedResult(h, &o, &n, FALSE));
	assert_int_equal(GetLastError(), ERROR_IO_INCOMPLETE);
	assert_code(CompactVirtualDisk(h, 0, NULL, NULL), ERROR_BUSY);
	break_mirror(h);
	assert_int_equal(WaitForSingleObject(o.hEvent, INFINITE), WAIT_OBJECT_0);
	assert_true(GetOverlappedResult(h, &o, &n, FALSE));
	/* The handle is the mirror now, and the original is free. */
	put(h, 16 * MIB, 'c');
	other = open_disk(original, false);
	assert_int_equal(get(other, 8 * MIB), 'b');
	assert_int_equal(get(other, 16 * MIB), 0);
	close_disk(other);
	close_disk(h);
	h = open_disk(mirror, true);
	assert_int_equal(get(h, 0), 'a');
	assert_int_equal(get(h, 8 * MIB), 'b');
	assert_int_equal(get(h, 16 * MIB), 'c');
	close_disk(h);
	CloseHandle(o.hEvent);
}

/* Its end leaves the handle with the original, and both are whole. */
static void test_mirror_is_not_activated(void **state)
{
	struct fixture *f = *state;
	PCWSTR mirror = path(f, "m.vhdx");
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false), other;
	OVERLAPPED o = {0};
	DWORD n;

	put(h, 0, 'a');
	start_mirror(h, mirror, MIRROR_VIRTUAL_DISK_FLAG_SKIP_MIRROR_ACTIVATION, &o);
	wait_equal(h, &o);
	put(h, 8 * MIB, 'b');
	break_mirror(h);
	assert_true(GetOverlappedResult(h, &o, &n, TRUE));
	put(h, 8 * MIB, 'c');
	other = open_disk(mirror, false);
	assert_int_equal(get(other, 0), 'a');
	assert_int_equal(get(other, 8 * MIB), 'b');
	close_disk(other);
	assert_int_equal(get(h, 8 * MIB), 'c');
	close_disk(h);
}

static void test_mirror_is_cancelled(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false);
	OVERLAPPED o = {0};
	DWORD n;

	put(h, 0, 'a');
	start_mirror(h, path(f, "m.vhdx"), 0, &o);
	assert_true(CancelIoEx(h, &o));
	assert_false(GetOverlappedResult(h, &o, &n, TRUE));
	assert_int_equal(GetLastError(), ERROR_OPERATION_ABORTED);
	assert_int_equal(get(h, 0), 'a');
	assert_false(exists(f, "m.vhdx"));
	assert_code(BreakMirrorVirtualDisk(h), ERROR_VHD_INVALID_STATE);
	close_disk(h);
}

static void test_mirror_ends_with_its_handle(void **state)
{
	struct fixture *f = *state;
	PCWSTR p = path(f, "d.vhdx");
	HANDLE h = create(&vhdx_type, p, 64 * MIB, NULL, false);
	OVERLAPPED o = {0};

	start_mirror(h, path(f, "m.vhdx"), 0, &o);
	close_disk(h);
	assert_true(HasOverlappedIoCompleted(&o));
	close_disk(open_disk(p, false));
}

static void test_mirror_to_an_existing_file(void **state)
{
	struct fixture *f = *state;
	PCWSTR mirror = path(f, "m.vhd"), small = path(f, "small.vhd");
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false), other;
	OVERLAPPED o = {0};
	DWORD n;

	other = create(&vhd_type, mirror, 64 * MIB, NULL, false);
	put(other, 0, 'o');
	put(other, 32 * MIB, 'o');
	close_disk(other);
	close_disk(create(&vhd_type, small, 16 * MIB, NULL, false));
	start_mirror(h, small, MIRROR_VIRTUAL_DISK_FLAG_EXISTING_FILE, &o);
	assert_false(GetOverlappedResult(h, &o, &n, TRUE));
	assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
	start_mirror(h, small, MIRROR_VIRTUAL_DISK_FLAG_NONE, &o);
	assert_false(GetOverlappedResult(h, &o, &n, TRUE));
	assert_int_equal(GetLastError(), ERROR_FILE_EXISTS);
	put(h, 0, 'n');
	start_mirror(h, mirror, MIRROR_VIRTUAL_DISK_FLAG_EXISTING_FILE, &o);
	wait_equal(h, &o);
	break_mirror(h);
	assert_int_equal(get(h, 0), 'n');
	assert_int_equal(get(h, 32 * MIB), 0);
	close_disk(h);
}

static void test_mirror_refuses(void **state)
{
	struct fixture *f = *state;
	MIRROR_VIRTUAL_DISK_PARAMETERS p = {.Version = MIRROR_VIRTUAL_DISK_VERSION_1,
		.Version1 = {.MirrorVirtualDiskPath = u"/nowhere/m"}};
	FORK_VIRTUAL_DISK_PARAMETERS fork = {.Version = FORK_VIRTUAL_DISK_VERSION_UNSPECIFIED};
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 16 * MIB, NULL, false);
	OVERLAPPED o = {0};

	assert_code(MirrorVirtualDisk(h, 0, &p, NULL), ERROR_INVALID_PARAMETER);
	assert_code(MirrorVirtualDisk(h, 0, NULL, &o), ERROR_INVALID_PARAMETER);
	assert_code(MirrorVirtualDisk(h, (MIRROR_VIRTUAL_DISK_FLAG)0x10, &p, &o),
		ERROR_INVALID_PARAMETER);
	assert_code(finish(h, &o, MirrorVirtualDisk(h, 0, &p, &o)), ERROR_FILE_NOT_FOUND);
	p.Version1.MirrorVirtualDiskPath = NULL;
	assert_code(MirrorVirtualDisk(h, 0, &p, &o), ERROR_INVALID_PARAMETER);
	p.Version = MIRROR_VIRTUAL_DISK_VERSION_UNSPECIFIED;
	assert_code(MirrorVirtualDisk(h, 0, &p, &o), ERROR_INVALID_PARAMETER);
	assert_code(ForkVirtualDisk(h, 0, &fork, &o), ERROR_INVALID_PARAMETER);
	assert_code(BreakMirrorVirtualDisk(h), ERROR_VHD_INVALID_STATE);
	assert_code(CompleteForkVirtualDisk(h), ERROR_VHD_INVALID_STATE);
	close_disk(h);
}

static void test_fork(void **state)
{
	struct fixture *f = *state;
	PCWSTR original = path(f, "d.vhdx"), forked = path(f, "f.vhdx");
	FORK_VIRTUAL_DISK_PARAMETERS p = {.Version = FORK_VIRTUAL_DISK_VERSION_1,
		.Version1 = {.ForkedVirtualDiskPath = forked}};
	HANDLE h = create(&vhdx_type, original, 64 * MIB, NULL, false), other;
	OVERLAPPED o = {0};
	DWORD n;

	put(h, 0, 'a');
	assert_code(ForkVirtualDisk(h, FORK_VIRTUAL_DISK_FLAG_NONE, &p, &o), ERROR_IO_PENDING);
	wait_equal(h, &o);
	while (CompleteForkVirtualDisk(h) == ERROR_VHD_INVALID_STATE)
		sched_yield();
	assert_true(GetOverlappedResult(h, &o, &n, TRUE));
	put(h, 0, 'b');
	other = open_disk(forked, false);
	assert_int_equal(get(other, 0), 'a');
	put(other, 0, 'c');
	assert_int_equal(get(h, 0), 'b');
	close_disk(other);
	close_disk(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(compact),
		TEST(compact_without_moves),
		TEST(compact_refuses),
		TEST(expand),
		TEST(resize),
		TEST(merge_one_level),
		TEST(merge_without_depth),
		TEST(merge_a_range),
		TEST(mirror_is_broken),
		TEST(mirror_is_not_activated),
		TEST(mirror_is_cancelled),
		TEST(mirror_ends_with_its_handle),
		TEST(mirror_to_an_existing_file),
		TEST(mirror_refuses),
		TEST(fork),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
