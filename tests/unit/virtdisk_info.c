/*
 * virtdisk.h: what is asked of disks and set in them: information, user metadata, dependencies.
 */
#include "virtdisk_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Enough for every answer. */
union answer {
	GET_VIRTUAL_DISK_INFO i;
	char room[4096];
};

#define ASK(h, version, a) assert_code(info(h, version, a, sizeof(*(a))), ERROR_SUCCESS)

static bool same_string(const WCHAR *a, PCWSTR b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static void test_size(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false);
	union answer a;

	ASK(h, GET_VIRTUAL_DISK_INFO_SIZE, &a);
	assert_int_equal(a.i.Size.VirtualSize, 64 * MIB);
	assert_int_equal(a.i.Size.SectorSize, 512);
	assert_int_equal(a.i.Size.BlockSize % MIB, 0);
	assert_true(a.i.Size.PhysicalSize > 0 && a.i.Size.PhysicalSize < 16 * MIB);
	close_disk(h);
}

static void test_sizes_of_buffers(void **state)
{
	struct fixture *f = *state;
	PCWSTR base = path(f, "base.vhdx");
	union answer a = {.i.Version = GET_VIRTUAL_DISK_INFO_PARENT_LOCATION};
	ULONG size = sizeof(a.i.Version) - 1, used = 0;
	HANDLE h;

	close_disk(create(&vhdx_type, base, 16 * MIB, NULL, false));
	h = create(&vhdx_type, path(f, "child.vhdx"), 0, base, false);
	assert_code(GetVirtualDiskInformation(h, NULL, &a.i, NULL), ERROR_INVALID_PARAMETER);
	assert_code(GetVirtualDiskInformation(h, &size, NULL, NULL), ERROR_INVALID_PARAMETER);
	assert_code(GetVirtualDiskInformation(h, &size, &a.i, NULL), ERROR_INVALID_PARAMETER);
	size = 16;
	assert_code(GetVirtualDiskInformation(h, &size, &a.i, &used), ERROR_INSUFFICIENT_BUFFER);
	assert_int_equal(size, used);
	assert_true(size > 16 && size < sizeof(a));
	assert_code(GetVirtualDiskInformation(h, &size, &a.i, &used), ERROR_SUCCESS);
	assert_int_equal(size, used);
	size--;
	assert_code(GetVirtualDiskInformation(h, &size, &a.i, NULL), ERROR_INSUFFICIENT_BUFFER);
	a.i.Version = GET_VIRTUAL_DISK_INFO_SIZE;
	size = sizeof(a.i) - 1;
	assert_code(GetVirtualDiskInformation(h, &size, &a.i, NULL), ERROR_INSUFFICIENT_BUFFER);
	assert_int_equal(size, sizeof(a.i));
	a.i.Version = GET_VIRTUAL_DISK_INFO_UNSPECIFIED;
	assert_code(GetVirtualDiskInformation(h, &size, &a.i, NULL), ERROR_INVALID_PARAMETER);
	a.i.Version = (GET_VIRTUAL_DISK_INFO_VERSION)99;
	assert_code(GetVirtualDiskInformation(h, &size, &a.i, NULL), ERROR_INVALID_PARAMETER);
	close_disk(h);
}

/* A program finds out by identifiers whether a disk is the parent of another, whatever the format. */
static void test_parent_is_recognized(void **state)
{
	struct fixture *f = *state;
	PCWSTR base = path(f, "base.vhdx");
	HANDLE parent = create(&vhdx_type, base, 64 * MIB, NULL, false), child;
	union answer of_parent, of_child;

	close_disk(parent);
	child = create(&vhdx_type, path(f, "child.vhdx"), 0, base, false);
	parent = open_disk(base, true);
	ASK(parent, GET_VIRTUAL_DISK_INFO_IDENTIFIER, &of_parent);
	ASK(child, GET_VIRTUAL_DISK_INFO_PARENT_IDENTIFIER, &of_child);
	assert_memory_equal(&of_child.i.ParentIdentifier, &of_parent.i.Identifier, sizeof(GUID));
	ASK(parent, GET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID, &of_parent);
	assert_memory_not_equal(
		&of_child.i.ParentIdentifier, &of_parent.i.VirtualDiskId, sizeof(GUID));
	close_disk(child);
	close_disk(parent);
}

static void test_parents(void **state)
{
	struct fixture *f = *state;
	PCWSTR base = path(f, "base.vhd"), child = path(f, "child.vhd");
	VIRTUAL_STORAGE_TYPE any = any_type;
	OPEN_VIRTUAL_DISK_PARAMETERS v2 = {.Version = OPEN_VIRTUAL_DISK_VERSION_2};
	HANDLE parent = create(&vhd_type, base, 16 * MIB, NULL, false), h;
	union answer a, of_parent;
	unsigned strings = 0;

	assert_code(info(parent, GET_VIRTUAL_DISK_INFO_PARENT_LOCATION, &a, sizeof(a)),
		ERROR_VHD_INVALID_TYPE);
	assert_code(info(parent, GET_VIRTUAL_DISK_INFO_PARENT_IDENTIFIER, &a, sizeof(a)),
		ERROR_VHD_INVALID_TYPE);
	assert_code(info(parent, GET_VIRTUAL_DISK_INFO_PARENT_TIMESTAMP, &a, sizeof(a)),
		ERROR_VHD_INVALID_TYPE);
	ASK(parent, GET_VIRTUAL_DISK_INFO_IDENTIFIER, &of_parent);
	close_disk(parent);
	h = create(&vhd_type, child, 0, base, false);
	ASK(h, GET_VIRTUAL_DISK_INFO_PARENT_IDENTIFIER, &a);
	assert_memory_equal(&a.i.ParentIdentifier, &of_parent.i.Identifier, sizeof(GUID));
	ASK(h, GET_VIRTUAL_DISK_INFO_PARENT_TIMESTAMP, &a);
	assert_int_not_equal(a.i.ParentTimestamp, 0);
	ASK(h, GET_VIRTUAL_DISK_INFO_PARENT_LOCATION, &a);
	assert_true(a.i.ParentLocation.ParentResolved);
	assert_true(same_string(a.i.ParentLocation.ParentLocationBuffer, base));
	close_disk(h);

	/* Not resolved: all that is recorded. */
	assert_code(OpenVirtualDisk(&any, child, 0, OPEN_VIRTUAL_DISK_FLAG_NO_PARENTS, &v2, &h), 0);
	ASK(h, GET_VIRTUAL_DISK_INFO_PARENT_LOCATION, &a);
	assert_false(a.i.ParentLocation.ParentResolved);
	for (WCHAR *s = a.i.ParentLocation.ParentLocationBuffer; *s; strings++)
		while (*s++)
			;
	assert_true(strings >= 1);
	close_disk(h);
}

static void test_physical_properties(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false);
	union answer a;

	ASK(h, GET_VIRTUAL_DISK_INFO_IS_4K_ALIGNED, &a);
	assert_true(a.i.Is4kAligned);
	ASK(h, GET_VIRTUAL_DISK_INFO_PHYSICAL_DISK, &a);
	assert_true(a.i.PhysicalDisk.LogicalSectorSize >= 512);
	assert_true(a.i.PhysicalDisk.PhysicalSectorSize >= a.i.PhysicalDisk.LogicalSectorSize);
	ASK(h, GET_VIRTUAL_DISK_INFO_VHD_PHYSICAL_SECTOR_SIZE, &a);
	assert_int_equal(a.i.VhdPhysicalSectorSize, 4096);
	ASK(h, GET_VIRTUAL_DISK_INFO_IS_LOADED, &a);
	assert_false(a.i.IsLoaded);
	close_disk(h);
}

/* Blocks that were written backwards lie backwards in the file. */
static void test_fragmentation(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 512 * MIB, NULL, false);
	union answer a;

	ASK(h, GET_VIRTUAL_DISK_INFO_FRAGMENTATION, &a);
	assert_int_equal(a.i.FragmentationPercentage, 0);
	for (unsigned i = 8; i-- > 0;)
		put(h, i * 64 * MIB, 'x');
	ASK(h, GET_VIRTUAL_DISK_INFO_FRAGMENTATION, &a);
	assert_int_equal(a.i.FragmentationPercentage, 100);
	close_disk(h);
}

static void test_set_identifiers(void **state)
{
	struct fixture *f = *state;
	GUID id = {0x11223344, 0x5566, 0x7788, {1, 2, 3, 4, 5, 6, 7, 8}};
	SET_VIRTUAL_DISK_INFO s = {
		.Version = SET_VIRTUAL_DISK_INFO_IDENTIFIER, .UniqueIdentifier = id};
	HANDLE vhd = create(&vhd_type, path(f, "d.vhd"), 16 * MIB, NULL, false);
	HANDLE vhdx = create(&vhdx_type, path(f, "d.vhdx"), 16 * MIB, NULL, false);
	union answer a;

	assert_code(SetVirtualDiskInformation(vhd, &s), ERROR_SUCCESS);
	ASK(vhd, GET_VIRTUAL_DISK_INFO_IDENTIFIER, &a);
	assert_memory_equal(&a.i.Identifier, &id, sizeof(id));
	s.Version = SET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID;
	assert_code(SetVirtualDiskInformation(vhd, &s), ERROR_VHD_INVALID_TYPE);
	assert_code(SetVirtualDiskInformation(vhdx, &s), ERROR_SUCCESS);
	ASK(vhdx, GET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID, &a);
	assert_memory_equal(&a.i.VirtualDiskId, &id, sizeof(id));
	s.Version = SET_VIRTUAL_DISK_INFO_UNSPECIFIED;
	assert_code(SetVirtualDiskInformation(vhdx, &s), ERROR_INVALID_PARAMETER);
	assert_code(SetVirtualDiskInformation(vhdx, NULL), ERROR_INVALID_PARAMETER);
	close_disk(vhd);
	close_disk(vhdx);
}

static void test_set_sector_size(void **state)
{
	struct fixture *f = *state;
	SET_VIRTUAL_DISK_INFO s = {.Version = SET_VIRTUAL_DISK_INFO_PHYSICAL_SECTOR_SIZE,
		.VhdPhysicalSectorSize = 512};
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 16 * MIB, NULL, false);
	union answer a;

	assert_code(SetVirtualDiskInformation(h, &s), ERROR_SUCCESS);
	ASK(h, GET_VIRTUAL_DISK_INFO_VHD_PHYSICAL_SECTOR_SIZE, &a);
	assert_int_equal(a.i.VhdPhysicalSectorSize, 512);
	s.VhdPhysicalSectorSize = 777;
	assert_code(SetVirtualDiskInformation(h, &s), ERROR_VIRTDISK_UNSUPPORTED_DISK_SECTOR_SIZE);
	close_disk(h);
}

static void set_parent(HANDLE h, PCWSTR parent, DWORD code)
{
	SET_VIRTUAL_DISK_INFO s = {
		.Version = SET_VIRTUAL_DISK_INFO_PARENT_PATH, .ParentFilePath = parent};

	assert_code(SetVirtualDiskInformation(h, &s), code);
}

static void test_set_parent(void **state)
{
	struct fixture *f = *state;
	PCWSTR base = path(f, "base.vhdx"), child = path(f, "child.vhdx");
	PCWSTR moved = path(f, "moved"), alone = path(f, "alone.vhdx");
	VIRTUAL_STORAGE_TYPE any = any_type;
	OPEN_VIRTUAL_DISK_PARAMETERS v2 = {.Version = OPEN_VIRTUAL_DISK_VERSION_2};
	char command[256];
	HANDLE h;

	h = create(&vhdx_type, base, 16 * MIB, NULL, false);
	put(h, 0, 'b');
	close_disk(h);
	close_disk(create(&vhdx_type, child, 0, base, false));
	h = create(&vhdx_type, alone, 16 * MIB, NULL, false);
	set_parent(h, base, ERROR_VHD_INVALID_TYPE);
	close_disk(h);
	snprintf(command, sizeof(command), "mv %s/base.vhdx %s/moved", f->folder, f->folder);
	assert_int_equal(system(command), 0);
	assert_code(OpenVirtualDisk(&any, child, 0, OPEN_VIRTUAL_DISK_FLAG_NO_PARENTS, &v2, &h), 0);
	set_parent(h, NULL, ERROR_INVALID_PARAMETER);
	set_parent(h, base, ERROR_FILE_NOT_FOUND);
	set_parent(h, moved, ERROR_SUCCESS);
	close_disk(h);
	h = open_disk(child, false);
	assert_int_equal(get(h, 0), 'b');
	close_disk(h);
}

static void test_set_parent_by_depth_and_identity(void **state)
{
	struct fixture *f = *state;
	PCWSTR base = path(f, "base.vhdx"), child = path(f, "child.vhdx");
	SET_VIRTUAL_DISK_INFO s = {.Version = SET_VIRTUAL_DISK_INFO_PARENT_PATH_WITH_DEPTH,
		.ParentPathWithDepthInfo = {.ChildDepth = 2, .ParentFilePath = base}};
	union answer a;
	HANDLE h;

	close_disk(create(&vhdx_type, base, 16 * MIB, NULL, false));
	h = create(&vhdx_type, child, 0, base, false);
	/* The image at depth 2 is the base, which is open to be read. */
	assert_code(SetVirtualDiskInformation(h, &s), ERROR_WRITE_PROTECT);
	s.ParentPathWithDepthInfo.ChildDepth = 3;
	assert_code(SetVirtualDiskInformation(h, &s), ERROR_INVALID_PARAMETER);
	s.ParentPathWithDepthInfo.ChildDepth = 0;
	assert_code(SetVirtualDiskInformation(h, &s), ERROR_INVALID_PARAMETER);
	s.ParentPathWithDepthInfo.ChildDepth = 1;
	assert_code(SetVirtualDiskInformation(h, &s), ERROR_SUCCESS);

	ASK(h, GET_VIRTUAL_DISK_INFO_PARENT_IDENTIFIER, &a);
	s.Version = SET_VIRTUAL_DISK_INFO_PARENT_LOCATOR;
	s.ParentLocator.LinkageId = a.i.ParentIdentifier;
	s.ParentLocator.ParentFilePath = base;
	assert_code(SetVirtualDiskInformation(h, &s), ERROR_SUCCESS);
	s.ParentLocator.LinkageId.Data1++;
	assert_code(SetVirtualDiskInformation(h, &s), ERROR_VHD_CHILD_PARENT_ID_MISMATCH);
	close_disk(h);
}

/* ---- User metadata --------------------------------------------------------------------------- */

static void test_metadata(void **state)
{
	struct fixture *f = *state;
	GUID first = {1, 2, 3, {4}}, second = {5, 6, 7, {8}}, items[4];
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 16 * MIB, NULL, false);
	char data[64] = "";
	ULONG n = 0;

	assert_code(EnumerateVirtualDiskMetadata(h, &n, NULL), ERROR_SUCCESS);
	assert_int_equal(n, 0);
	assert_code(SetVirtualDiskMetadata(h, &first, 5, "first"), ERROR_SUCCESS);
	assert_code(SetVirtualDiskMetadata(h, &second, 6, "second"), ERROR_SUCCESS);
	assert_code(EnumerateVirtualDiskMetadata(h, &n, NULL), ERROR_MORE_DATA);
	assert_int_equal(n, 2);
	n = 4;
	assert_code(EnumerateVirtualDiskMetadata(h, &n, items), ERROR_SUCCESS);
	assert_int_equal(n, 2);
	n = 3;
	assert_code(GetVirtualDiskMetadata(h, &second, &n, data), ERROR_INSUFFICIENT_BUFFER);
	assert_int_equal(n, 6);
	assert_memory_equal(data, "sec", 3);
	n = sizeof(data);
	assert_code(GetVirtualDiskMetadata(h, &second, &n, data), ERROR_SUCCESS);
	assert_int_equal(n, 6);
	assert_memory_equal(data, "second", 6);
	assert_code(SetVirtualDiskMetadata(h, &second, 3, "new"), ERROR_SUCCESS);
	assert_code(DeleteVirtualDiskMetadata(h, &first), ERROR_SUCCESS);
	assert_code(DeleteVirtualDiskMetadata(h, &first), ERROR_NOT_FOUND);
	assert_code(GetVirtualDiskMetadata(h, &first, &n, data), ERROR_NOT_FOUND);
	assert_code(SetVirtualDiskMetadata(h, NULL, 1, "x"), ERROR_INVALID_PARAMETER);
	assert_code(SetVirtualDiskMetadata(h, &first, 1, NULL), ERROR_INVALID_PARAMETER);
	assert_code(GetVirtualDiskMetadata(h, &first, NULL, data), ERROR_INVALID_PARAMETER);
	assert_code(EnumerateVirtualDiskMetadata(h, NULL, items), ERROR_INVALID_PARAMETER);
	close_disk(h);
	h = open_disk(f->paths[0], true);
	n = sizeof(data);
	assert_code(GetVirtualDiskMetadata(h, &second, &n, data), ERROR_SUCCESS);
	assert_int_equal(n, 3);
	close_disk(h);
}

static void test_metadata_of_vhd(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhd_type, path(f, "d.vhd"), 16 * MIB, NULL, false);
	GUID item = {1};
	ULONG n = 0;

	assert_code(EnumerateVirtualDiskMetadata(h, &n, NULL), ERROR_NOT_SUPPORTED);
	assert_code(SetVirtualDiskMetadata(h, &item, 1, "x"), ERROR_NOT_SUPPORTED);
	close_disk(h);
}

static void test_metadata_goes_to_children(void **state)
{
	struct fixture *f = *state;
	PCWSTR base = path(f, "base.vhdx");
	HANDLE h = create(&vhdx_type, base, 16 * MIB, NULL, false);
	GUID item = {1};
	char data[8];
	ULONG n = sizeof(data);

	assert_code(SetVirtualDiskMetadata(h, &item, 4, "data"), ERROR_SUCCESS);
	close_disk(h);
	h = create(&vhdx_type, path(f, "child.vhdx"), 0, base, false);
	assert_code(GetVirtualDiskMetadata(h, &item, &n, data), ERROR_SUCCESS);
	assert_int_equal(n, 4);
	close_disk(h);
}

/* ---- Dependencies ---------------------------------------------------------------------------- */

static void test_dependencies(void **state)
{
	struct fixture *f = *state;
	PCWSTR base = path(f, "base.vhdx"), child = path(f, "child.vhdx");
	union {
		STORAGE_DEPENDENCY_INFO i;
		char room[8192];
	} a = {.i.Version = STORAGE_DEPENDENCY_INFO_VERSION_2};
	const STORAGE_DEPENDENCY_INFO_TYPE_2 *entries = a.i.Version2Entries;
	const GET_STORAGE_DEPENDENCY_FLAG up =
		GET_STORAGE_DEPENDENCY_FLAG_PARENTS | GET_STORAGE_DEPENDENCY_FLAG_DISK_HANDLE;
	ULONG used = 0;
	HANDLE h;

	close_disk(create(&vhdx_type, base, 16 * MIB, NULL, true));
	h = create(&vhdx_type, child, 0, base, false);
	assert_code(GetStorageDependencyInformation(h, up, sizeof(a), &a.i, &used), 0);
	assert_int_equal(a.i.NumberEntries, 2);
	assert_true(used > sizeof(a.i) && used < sizeof(a));
	assert_int_equal(entries[0].AncestorLevel, 0);
	assert_int_equal(entries[1].AncestorLevel, 1);
	assert_true(entries[0].DependencyTypeFlags & DEPENDENT_DISK_FLAG_MULT_BACKING_FILES);
	assert_true(entries[1].DependencyTypeFlags & DEPENDENT_DISK_FLAG_PARENT);
	assert_true(entries[1].DependencyTypeFlags & DEPENDENT_DISK_FLAG_FULLY_ALLOCATED);
	assert_int_equal(entries[1].VirtualStorageType.DeviceId, VIRTUAL_STORAGE_TYPE_DEVICE_VHDX);
	for (PWSTR s = entries[1].DependentVolumeRelativePath; *s; s++)
		assert_in_range((uintptr_t)s, (uintptr_t)&a, (uintptr_t)&a + used);

	assert_code(GetStorageDependencyInformation(h, up, used - 1, &a.i, &used),
		ERROR_INSUFFICIENT_BUFFER);
	assert_code(GetStorageDependencyInformation(h, up, used, &a.i, NULL), 0);
	a.i.Version = STORAGE_DEPENDENCY_INFO_VERSION_1;
	assert_code(GetStorageDependencyInformation(h, up, sizeof(a), &a.i, &used), 0);
	assert_int_equal(a.i.NumberEntries, 2);
	assert_int_equal(used, 8 + 2 * sizeof(STORAGE_DEPENDENCY_INFO_TYPE_1));
	a.i.Version = STORAGE_DEPENDENCY_INFO_VERSION_UNSPECIFIED;
	assert_code(GetStorageDependencyInformation(h, up, sizeof(a), &a.i, &used),
		ERROR_INVALID_PARAMETER);
	assert_code(
		GetStorageDependencyInformation(h, up, 4, &a.i, &used), ERROR_INVALID_PARAMETER);
	assert_code(
		GetStorageDependencyInformation(h, up, 64, NULL, &used), ERROR_INVALID_PARAMETER);
	close_disk(h);
}

static void test_dependencies_of_what_is_no_disk(void **state)
{
	struct fixture *f = *state;
	STORAGE_DEPENDENCY_INFO i = {.Version = STORAGE_DEPENDENCY_INFO_VERSION_1};
	int fd = open(f->folder, O_RDONLY | O_DIRECTORY);
	HANDLE h = PARTITA_HANDLE_FROM_FD(fd);

	assert_code(GetStorageDependencyInformation(
			    h, GET_STORAGE_DEPENDENCY_FLAG_PARENTS, sizeof(i), &i, NULL),
		ERROR_VIRTDISK_NOT_VIRTUAL_DISK);
	/* No attached disk has a file there. */
	assert_code(GetStorageDependencyInformation(
			    NULL, GET_STORAGE_DEPENDENCY_FLAG_NONE, sizeof(i), &i, NULL),
		ERROR_INVALID_PARAMETER);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(size),
		TEST(sizes_of_buffers),
		TEST(parent_is_recognized),
		TEST(parents),
		TEST(physical_properties),
		TEST(fragmentation),
		TEST(set_identifiers),
		TEST(set_sector_size),
		TEST(set_parent),
		TEST(set_parent_by_depth_and_identity),
		TEST(metadata),
		TEST(metadata_of_vhd),
		TEST(metadata_goes_to_children),
		TEST(dependencies),
		TEST(dependencies_of_what_is_no_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
