/*
 * virtdisk.h: attached disks. They need FUSE; where that is not to be had the tests are skipped.
 */
#include "virtdisk_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static DWORD attach(HANDLE h, unsigned flags)
{
	ATTACH_VIRTUAL_DISK_PARAMETERS p = {.Version = ATTACH_VIRTUAL_DISK_VERSION_1};
	OVERLAPPED o = {0};
	DWORD n;
	DWORD err = AttachVirtualDisk(h, NULL, (ATTACH_VIRTUAL_DISK_FLAG)flags, 0, &p, &o);

	if (err != ERROR_IO_PENDING)
		return err;
	return GetOverlappedResult(h, &o, &n, TRUE) ? ERROR_SUCCESS : GetLastError();
}

static void must_attach(HANDLE h, unsigned flags)
{
	DWORD err = attach(h, flags);

	if (err == ERROR_NOT_SUPPORTED || err == ERROR_ACCESS_DENIED) {
		print_message("no FUSE for this process\n");
		close_disk(h);
		skip();
	}
	assert_code(err, ERROR_SUCCESS);
}

static DWORD detach(HANDLE h)
{
	DWORD err;

	/* Who looks at new devices may still hold this one for a moment. */
	while ((err = DetachVirtualDisk(h, DETACH_VIRTUAL_DISK_FLAG_NONE, 0)) == ERROR_BUSY)
		usleep(10000);
	return err;
}

/* The attached disk's device or file, as a path of the host. */
static void physical_path(HANDLE h, char text[256])
{
	WCHAR wide[256];
	ULONG size = 0, i = 0;

	assert_code(GetVirtualDiskPhysicalPath(h, &size, NULL), ERROR_INSUFFICIENT_BUFFER);
	assert_in_range(size, 4, sizeof(wide));
	assert_code(GetVirtualDiskPhysicalPath(h, &size, wide), ERROR_SUCCESS);
	do
		text[i] = (char)wide[i];
	while (text[i++]);
	assert_int_equal(i * sizeof(WCHAR), size);
}

static bool is_listed(const char *path)
{
	ULONG size = 0;
	WCHAR *all;
	bool found = false;

	assert_code(GetAllAttachedVirtualDiskPhysicalPaths(&size, NULL), ERROR_INSUFFICIENT_BUFFER);
	size += 4096; /* others may come */
	all = malloc(size);
	assert_code(GetAllAttachedVirtualDiskPhysicalPaths(&size, all), ERROR_SUCCESS);
	for (WCHAR *s = all; *s; s++) {
		size_t i = 0;

		while (*s && (char)*s == path[i]) {
			s++;
			i++;
		}
		found |= !*s && !path[i];
		while (*s)
			s++;
	}
	free(all);
	return found;
}

static bool is_loaded(HANDLE h)
{
	GET_VIRTUAL_DISK_INFO i;

	assert_code(info(h, GET_VIRTUAL_DISK_INFO_IS_LOADED, &i, sizeof(i)), ERROR_SUCCESS);
	return i.IsLoaded;
}

static void write_file(const char *file, off_t offset, char value)
{
	char data[4096];
	int fd = open(file, O_RDWR);

	assert_true(fd >= 0);
	memset(data, value, sizeof(data));
	assert_int_equal(pwrite(fd, data, sizeof(data), offset), sizeof(data));
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static void test_an_attached_disk(void **state)
{
	struct fixture *f = *state;
	PCWSTR p = path(f, "d.vhdx");
	HANDLE h = create(&vhdx_type, p, 64 * MIB, NULL, false);
	char file[256];

	assert_false(is_loaded(h));
	must_attach(h, ATTACH_VIRTUAL_DISK_FLAG_NONE);
	assert_true(is_loaded(h));
	physical_path(h, file);
	assert_true(is_listed(file));
	write_file(file, 8 * MIB, 'w');
	assert_int_equal(get(h, 8 * MIB), 'w');
	assert_code(attach(h, 0), ERROR_VHD_INVALID_STATE);
	assert_code(CompactVirtualDisk(h, 0, NULL, NULL), ERROR_VHD_INVALID_STATE);
	assert_code(detach(h), ERROR_SUCCESS);
	assert_false(is_loaded(h));
	assert_code(detach(h), ERROR_NOT_READY);
	assert_int_equal(get(h, 8 * MIB), 'w');
	must_attach(h, ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER);
	close_disk(h);
	/* Its device may be somebody else's by now; the image tells. */
	h = open_disk(p, true);
	assert_false(is_loaded(h));
	close_disk(h);
}

static void test_a_disk_attached_to_be_read(void **state)
{
	struct fixture *f = *state;
	PCWSTR p = path(f, "d.vhdx");
	char file[256];
	int fd;
	HANDLE h = create(&vhdx_type, p, 64 * MIB, NULL, false);

	put(h, 0, 'r');
	close_disk(h);
	h = open_disk(p, true);
	assert_code(attach(h, 0), ERROR_ACCESS_DENIED);
	must_attach(h, ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY);
	physical_path(h, file);
	fd = open(file, O_RDWR);
	assert_true(fd < 0 || pwrite(fd, "x", 1, 0) < 0);
	if (fd >= 0)
		close(fd);
	assert_code(detach(h), ERROR_SUCCESS);
	assert_int_equal(get(h, 0), 'r');
	close_disk(h);
}

static void test_dependencies_of_a_device(void **state)
{
	struct fixture *f = *state;
	PCWSTR base = path(f, "base.vhdx");
	union {
		STORAGE_DEPENDENCY_INFO i;
		char room[8192];
	} a = {.i.Version = STORAGE_DEPENDENCY_INFO_VERSION_2};
	const STORAGE_DEPENDENCY_INFO_TYPE_2 *entries = a.i.Version2Entries;
	char file[256];
	HANDLE h;
	int fd;

	close_disk(create(&vhdx_type, base, 64 * MIB, NULL, false));
	h = create(&vhdx_type, path(f, "child.vhdx"), 0, base, false);
	must_attach(h, 0);
	physical_path(h, file);
	fd = open(file, O_RDONLY);
	assert_code(GetStorageDependencyInformation(PARTITA_HANDLE_FROM_FD(fd),
			    GET_STORAGE_DEPENDENCY_FLAG_PARENTS |
				    GET_STORAGE_DEPENDENCY_FLAG_DISK_HANDLE,
			    sizeof(a), &a.i, NULL),
		ERROR_SUCCESS);
	close(fd);
	assert_int_equal(a.i.NumberEntries, 2);
	for (size_t i = 0; i <= strlen(file); i++)
		assert_int_equal(entries[1].DependencyDeviceName[i], (unsigned char)file[i]);
	/* And the other way: what stands on the file system that has the images. */
	fd = open(f->folder, O_RDONLY | O_DIRECTORY);
	assert_code(GetStorageDependencyInformation(PARTITA_HANDLE_FROM_FD(fd),
			    GET_STORAGE_DEPENDENCY_FLAG_NONE, sizeof(a), &a.i, NULL),
		ERROR_SUCCESS);
	close(fd);
	assert_true(a.i.NumberEntries >= 1);
	assert_code(detach(h), ERROR_SUCCESS);
	close_disk(h);
}

static void test_a_disk_that_grows(void **state)
{
	struct fixture *f = *state;
	EXPAND_VIRTUAL_DISK_PARAMETERS p = {
		.Version = EXPAND_VIRTUAL_DISK_VERSION_1, .Version1 = {.NewSize = 128 * MIB}};
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false);
	char file[256];
	int fd;

	must_attach(h, 0);
	assert_code(ExpandVirtualDisk(h, EXPAND_VIRTUAL_DISK_FLAG_NONE, &p, NULL),
		ERROR_VHD_INVALID_STATE);
	assert_code(ExpandVirtualDisk(h, EXPAND_VIRTUAL_DISK_FLAG_NOTIFY_CHANGE, &p, NULL),
		ERROR_SUCCESS);
	physical_path(h, file);
	fd = open(file, O_RDONLY);
	assert_int_equal(lseek(fd, 0, SEEK_END), 128 * MIB);
	close(fd);
	assert_code(detach(h), ERROR_SUCCESS);
	close_disk(h);
}

/* It outlives its handle, and another one detaches it. */
static void test_a_permanent_attachment(void **state)
{
	struct fixture *f = *state;
	PCWSTR p = path(f, "d.vhdx");
	HANDLE h = create(&vhdx_type, p, 64 * MIB, NULL, false);
	VIRTUAL_STORAGE_TYPE t = any_type;
	char file[256];

	must_attach(h, ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME);
	physical_path(h, file);
	close_disk(h);
	assert_true(is_listed(file));
	write_file(file, 0, 'p');
	assert_code(try_open(p, false, &h), ERROR_SHARING_VIOLATION);
	assert_code(OpenVirtualDisk(&t, p,
			    VIRTUAL_DISK_ACCESS_DETACH | VIRTUAL_DISK_ACCESS_GET_INFO, 0, NULL, &h),
		ERROR_SUCCESS);
	assert_true(is_loaded(h));
	assert_code(detach(h), ERROR_SUCCESS);
	assert_false(is_loaded(h));
	close_disk(h);
	h = open_disk(p, false);
	assert_int_equal(get(h, 0), 'p');
	close_disk(h);
}

static void test_attach_refuses(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false);
	ATTACH_VIRTUAL_DISK_PARAMETERS p = {.Version = ATTACH_VIRTUAL_DISK_VERSION_UNSPECIFIED};
	WCHAR room[64];
	ULONG size = sizeof(room);

	assert_code(AttachVirtualDisk(h, NULL, 0, 0, &p, NULL), ERROR_INVALID_PARAMETER);
	assert_code(AttachVirtualDisk(h, NULL, (ATTACH_VIRTUAL_DISK_FLAG)0x8000, 0, NULL, NULL),
		ERROR_INVALID_PARAMETER);
	assert_code(AttachVirtualDisk(
			    h, NULL, ATTACH_VIRTUAL_DISK_FLAG_RESTRICTED_RANGE, 0, NULL, NULL),
		ERROR_NOT_SUPPORTED);
	assert_code(DetachVirtualDisk(h, (DETACH_VIRTUAL_DISK_FLAG)1, 0), ERROR_INVALID_PARAMETER);
	assert_code(DetachVirtualDisk(h, 0, 0), ERROR_NOT_READY);
	assert_code(GetVirtualDiskPhysicalPath(h, &size, room), ERROR_DEV_NOT_EXIST);
	assert_code(GetVirtualDiskPhysicalPath(h, NULL, room), ERROR_INVALID_PARAMETER);
	assert_code(GetAllAttachedVirtualDiskPhysicalPaths(NULL, room), ERROR_INVALID_PARAMETER);
	close_disk(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_attached_disk),
		TEST(a_disk_attached_to_be_read),
		TEST(dependencies_of_a_device),
		TEST(a_disk_that_grows),
		TEST(a_permanent_attachment),
		TEST(attach_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
