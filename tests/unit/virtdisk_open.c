/*
 * virtdisk.h: creating and opening, and what they refuse.
 */
#include "virtdisk_fixture.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- CreateVirtualDisk ----------------------------------------------------------------------- */

struct creation {
	VIRTUAL_STORAGE_TYPE type;
	PCWSTR path;
	VIRTUAL_DISK_ACCESS_MASK access;
	unsigned flags;
	CREATE_VIRTUAL_DISK_PARAMETERS p;
};

static struct creation good_creation(struct fixture *f)
{
	return (struct creation){.type = vhdx_type,
		.path = path(f, "new.vhdx"),
		.p = {.Version = CREATE_VIRTUAL_DISK_VERSION_2,
			.Version2 = {.MaximumSize = 16 * MIB}}};
}

static DWORD do_create(struct creation *c, HANDLE *h)
{
	return CreateVirtualDisk(&c->type, c->path, c->access, NULL,
		(CREATE_VIRTUAL_DISK_FLAG)c->flags, 0, &c->p, NULL, h);
}

static void refused(struct fixture *f, struct creation c, DWORD code)
{
	HANDLE h = NULL;

	assert_code(do_create(&c, &h), code);
	assert_false(exists(f, "new.vhdx"));
}

#define REFUSED(code, change)                                                                      \
	do {                                                                                       \
		struct creation c = good_creation(f);                                              \
		change;                                                                            \
		refused(f, c, code);                                                               \
		f->n_paths = 0;                                                                    \
	} while (0)

static void test_create_null_pointers(void **state)
{
	struct fixture *f = *state;
	struct creation c = good_creation(f);
	HANDLE h;

	assert_code(CreateVirtualDisk(NULL, c.path, 0, NULL, 0, 0, &c.p, NULL, &h),
		ERROR_INVALID_PARAMETER);
	assert_code(CreateVirtualDisk(&c.type, NULL, 0, NULL, 0, 0, &c.p, NULL, &h),
		ERROR_INVALID_PARAMETER);
	assert_code(CreateVirtualDisk(&c.type, c.path, 0, NULL, 0, 0, NULL, NULL, &h),
		ERROR_INVALID_PARAMETER);
	assert_code(CreateVirtualDisk(&c.type, c.path, 0, NULL, 0, 0, &c.p, NULL, NULL),
		ERROR_INVALID_PARAMETER);
}

static void test_create_refuses(void **state)
{
	struct fixture *f = *state;

	REFUSED(ERROR_INVALID_PARAMETER, c.p.Version = CREATE_VIRTUAL_DISK_VERSION_UNSPECIFIED);
	REFUSED(ERROR_INVALID_PARAMETER, c.p.Version = (CREATE_VIRTUAL_DISK_VERSION)5);
	REFUSED(ERROR_INVALID_PARAMETER, c.access = VIRTUAL_DISK_ACCESS_ALL);
	REFUSED(ERROR_INVALID_PARAMETER, c.flags = 0x8000);
	REFUSED(ERROR_INVALID_PARAMETER, c.path = u"");
	REFUSED(ERROR_INVALID_PARAMETER, c.p.Version2.MaximumSize = 3 * MIB - 512);
	REFUSED(ERROR_INVALID_PARAMETER, c.p.Version2.MaximumSize += 100);
	REFUSED(ERROR_INVALID_PARAMETER, c.p.Version2.BlockSizeInBytes = 512 << 10);
	REFUSED(ERROR_INVALID_PARAMETER, c.p.Version2.BlockSizeInBytes = 3 << 20);
	REFUSED(ERROR_INVALID_PARAMETER, c.p.Version2.BlockSizeInBytes = 512 << 20);
	REFUSED(ERROR_INVALID_PARAMETER, c.p.Version2.SectorSizeInBytes = 1024);
	REFUSED(ERROR_INVALID_PARAMETER, c.p.Version2.PhysicalSectorSizeInBytes = 513);
	REFUSED(ERROR_VHD_INVALID_SIZE, c.p.Version2.MaximumSize = 65ull << 40);
	REFUSED(ERROR_VIRTDISK_PROVIDER_NOT_FOUND, c.type.DeviceId = 77);
	REFUSED(ERROR_VIRTDISK_PROVIDER_NOT_FOUND,
		c.type.DeviceId = VIRTUAL_STORAGE_TYPE_DEVICE_ISO);
	REFUSED(ERROR_VIRTDISK_PROVIDER_NOT_FOUND, c.type.VendorId.Data1 = 1);
	REFUSED(ERROR_NOT_SUPPORTED, c.flags = CREATE_VIRTUAL_DISK_FLAG_PMEM_COMPATIBLE);
	REFUSED(ERROR_PATH_NOT_FOUND, c.path = u"/dev/null/x.vhdx");
	REFUSED(ERROR_FILE_NOT_FOUND, c.path = u"/nowhere/x.vhdx");
}

static void test_create_refuses_parents(void **state)
{
	struct fixture *f = *state;

	REFUSED(ERROR_INVALID_PARAMETER, {
		c.p.Version2.ParentPath = u"/a.vhdx";
		c.p.Version2.SourcePath = u"/b.vhdx";
		c.p.Version2.MaximumSize = 0;
	});
	REFUSED(ERROR_INVALID_PARAMETER, c.p.Version2.ParentPath = u"/a.vhdx");
	REFUSED(ERROR_INVALID_PARAMETER, {
		c.p.Version2.ParentPath = u"/a.vhdx";
		c.p.Version2.MaximumSize = 0;
		c.flags = CREATE_VIRTUAL_DISK_FLAG_FULL_PHYSICAL_ALLOCATION;
	});
	REFUSED(ERROR_FILE_NOT_FOUND, {
		c.p.Version2.ParentPath = u"/nowhere.vhdx";
		c.p.Version2.MaximumSize = 0;
	});
	REFUSED(ERROR_FILE_NOT_FOUND, c.p.Version2.SourcePath = u"/nowhere.vhdx");
}

static void test_create_refuses_vhd(void **state)
{
	struct fixture *f = *state;

	REFUSED(ERROR_INVALID_PARAMETER, {
		c.type = vhd_type;
		c.p.Version2.BlockSizeInBytes = 1 << 20;
	});
	REFUSED(ERROR_INVALID_PARAMETER, {
		c.type = vhd_type;
		c.p.Version2.SectorSizeInBytes = 4096;
	});
	REFUSED(ERROR_INVALID_PARAMETER, {
		c.type = vhd_type;
		c.flags = CREATE_VIRTUAL_DISK_FLAG_FULL_PHYSICAL_ALLOCATION;
		c.p.Version2.BlockSizeInBytes = 512 << 10;
	});
}

static void test_create_existing(void **state)
{
	struct fixture *f = *state;
	struct creation c = good_creation(f);
	HANDLE h;

	assert_code(do_create(&c, &h), ERROR_SUCCESS);
	close_disk(h);
	assert_code(do_create(&c, &h), ERROR_FILE_EXISTS);
}

static void check_created(HANDLE h, ULONG device, ULONG subtype, uint64_t size)
{
	GET_VIRTUAL_DISK_INFO i;

	assert_int_equal(virtual_size(h), size);
	assert_code(info(h, GET_VIRTUAL_DISK_INFO_VIRTUAL_STORAGE_TYPE, &i, sizeof(i)), 0);
	assert_int_equal(i.VirtualStorageType.DeviceId, device);
	assert_code(info(h, GET_VIRTUAL_DISK_INFO_PROVIDER_SUBTYPE, &i, sizeof(i)), 0);
	assert_int_equal(i.ProviderSubtype, subtype);
	put(h, 5 * MIB, 'a');
	assert_int_equal(get(h, 5 * MIB), 'a');
	assert_int_equal(get(h, 6 * MIB), 0);
	close_disk(h);
}

static void test_create_every_kind(void **state)
{
	struct fixture *f = *state;
	PCWSTR vhd = path(f, "d.vhd"), vhdx = path(f, "d.vhdx");

	check_created(create(&vhd_type, path(f, "f.vhd"), 16 * MIB, NULL, true),
		VIRTUAL_STORAGE_TYPE_DEVICE_VHD, 2, 16 * MIB);
	check_created(create(&vhd_type, vhd, 16 * MIB, NULL, false),
		VIRTUAL_STORAGE_TYPE_DEVICE_VHD, 3, 16 * MIB);
	check_created(create(&vhdx_type, path(f, "f.vhdx"), 16 * MIB, NULL, true),
		VIRTUAL_STORAGE_TYPE_DEVICE_VHDX, 2, 16 * MIB);
	check_created(create(&vhdx_type, vhdx, 16 * MIB, NULL, false),
		VIRTUAL_STORAGE_TYPE_DEVICE_VHDX, 3, 16 * MIB);
	check_created(create(&vhd_type, path(f, "c.vhd"), 0, vhd, false),
		VIRTUAL_STORAGE_TYPE_DEVICE_VHD, 4, 16 * MIB);
	check_created(create(&any_type, path(f, "c.avhdx"), 0, vhdx, false),
		VIRTUAL_STORAGE_TYPE_DEVICE_VHDX, 4, 16 * MIB);
	check_created(create(&any_type, path(f, "r.img"), 16 * MIB, NULL, false),
		VIRTUAL_STORAGE_TYPE_DEVICE_UNKNOWN, 2, 16 * MIB);
}

static void test_create_every_version(void **state)
{
	struct fixture *f = *state;
	struct creation c = good_creation(f);
	GET_VIRTUAL_DISK_INFO i;
	GUID id = {0x12345678, 0x1234, 0x5678, {1, 2, 3, 4, 5, 6, 7, 8}};
	HANDLE h;

	c.p = (CREATE_VIRTUAL_DISK_PARAMETERS){.Version = CREATE_VIRTUAL_DISK_VERSION_1,
		.Version1 = {.UniqueId = id, .MaximumSize = 8 * MIB, .SectorSizeInBytes = 512}};
	c.access = VIRTUAL_DISK_ACCESS_GET_INFO;
	assert_code(do_create(&c, &h), ERROR_SUCCESS);
	assert_code(info(h, GET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID, &i, sizeof(i)), 0);
	assert_memory_equal(&i.VirtualDiskId, &id, sizeof(id));
	assert_code(DetachVirtualDisk(h, 0, 0), ERROR_ACCESS_DENIED);
	close_disk(h);

	c.access = VIRTUAL_DISK_ACCESS_NONE;
	c.path = path(f, "three.vhdx");
	c.p = (CREATE_VIRTUAL_DISK_PARAMETERS){.Version = CREATE_VIRTUAL_DISK_VERSION_3,
		.Version3 = {.MaximumSize = 8 * MIB, .SectorSizeInBytes = 4096}};
	assert_code(do_create(&c, &h), ERROR_SUCCESS);
	close_disk(h);

	c.path = path(f, "four.vhdx");
	c.p.Version = CREATE_VIRTUAL_DISK_VERSION_4;
	c.p.Version4.DataAlignment = 4096;
	assert_code(do_create(&c, &h), ERROR_SUCCESS);
	assert_code(info(h, GET_VIRTUAL_DISK_INFO_SIZE, &i, sizeof(i)), 0);
	assert_int_equal(i.Size.SectorSize, 4096);
	close_disk(h);
	c.path = path(f, "five.vhdx");
	c.p.Version4.DataAlignment = 4095;
	assert_code(do_create(&c, &h), ERROR_INVALID_PARAMETER);
	c.p.Version4.DataAlignment = 0;
	c.p.Version3.SourceLimitPath = u"x"; /* of no source */
	assert_code(do_create(&c, &h), ERROR_INVALID_PARAMETER);
	c.p.Version3.SourceLimitPath = NULL;
	c.flags = CREATE_VIRTUAL_DISK_FLAG_USE_CHANGE_TRACKING_SOURCE_LIMIT;
	assert_code(do_create(&c, &h), ERROR_INVALID_PARAMETER);
}

/* Of base, middle and leaf each has something in a place of its own. */
static void make_chain(struct fixture *f, PCWSTR paths[3])
{
	paths[0] = path(f, "base.vhdx");
	paths[1] = path(f, "middle.vhdx");
	paths[2] = path(f, "leaf.vhdx");
	for (unsigned i = 0; i < 3; i++) {
		HANDLE h = create(
			&vhdx_type, paths[i], i ? 0 : 16 * MIB, i ? paths[i - 1] : NULL, false);

		put(h, i * MIB, 'a' + i);
		close_disk(h);
	}
}

static DWORD create_limited(
	struct fixture *f, const char *name, PCWSTR source, PCWSTR limit, unsigned flags, HANDLE *h)
{
	struct creation c = {.type = vhdx_type,
		.path = path(f, name),
		.flags = flags,
		.p = {.Version = CREATE_VIRTUAL_DISK_VERSION_3,
			.Version3 = {.SourcePath = source, .SourceLimitPath = limit}}};

	return do_create(&c, h);
}

static void test_create_down_to_a_limit(void **state)
{
	struct fixture *f = *state;
	PCWSTR p[3];
	HANDLE h;

	make_chain(f, p);
	assert_code(create_limited(f, "new.vhdx", p[2], p[2], 0, &h), ERROR_INVALID_PARAMETER);
	assert_code(create_limited(f, "new.vhdx", p[2], u"/nowhere", 0, &h), ERROR_FILE_NOT_FOUND);
	assert_code(create_limited(f, "new.vhdx", p[1], p[2], 0, &h), ERROR_INVALID_PARAMETER);
	assert_false(exists(f, "new.vhdx"));
	assert_code(create_limited(f, "one.vhdx", p[2], p[1], 0, &h), ERROR_SUCCESS);
	assert_int_equal(get(h, 0), 0);
	assert_int_equal(get(h, MIB), 0);
	assert_int_equal(get(h, 2 * MIB), 'c');
	close_disk(h);
	assert_code(create_limited(f, "two.vhdx", p[2], p[0], 0, &h), ERROR_SUCCESS);
	assert_int_equal(get(h, 0), 0);
	assert_int_equal(get(h, MIB), 'b');
	assert_int_equal(get(h, 2 * MIB), 'c');
	close_disk(h);
}

static void test_create_since_a_change(void **state)
{
	static const SET_VIRTUAL_DISK_INFO track = {
		.Version = SET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE,
		.ChangeTrackingEnabled = TRUE};
	const unsigned by_id = CREATE_VIRTUAL_DISK_FLAG_USE_CHANGE_TRACKING_SOURCE_LIMIT;
	struct fixture *f = *state;
	PCWSTR source = path(f, "s.vhdx");
	WCHAR id[VIRTUAL_DISK_MAXIMUM_CHANGE_TRACKING_ID_LENGTH];
	HANDLE h = create(&vhdx_type, source, 64 * MIB, NULL, false);
	SET_VIRTUAL_DISK_INFO set = track;

	put(h, 0, 'a');
	close_disk(h);
	assert_code(create_limited(f, "new.vhdx", source,
			    u"rctX:01234567:0123:0123:0123:0123456789ab:00000000", by_id, &h),
		ERROR_VHD_CHANGE_TRACKING_DISABLED);
	h = open_disk(source, false);
	assert_code(SetVirtualDiskInformation(h, &set), ERROR_SUCCESS);
	most_recent_id(h, id, NULL);
	for (unsigned i = 0; i < 20; i++)
		put(h, (20 + 2 * i) * MIB, 'b');
	close_disk(h);
	assert_code(create_limited(f, "new.vhdx", source, u"x", by_id, &h),
		ERROR_VHD_INVALID_CHANGE_TRACKING_ID);
	assert_false(exists(f, "new.vhdx"));
	assert_code(create_limited(f, "new.vhdx", source, id, by_id, &h), ERROR_SUCCESS);
	assert_int_equal(virtual_size(h), 64 * MIB);
	assert_int_equal(get(h, 0), 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(get(h, (20 + 2 * i) * MIB), 'b');
	close_disk(h);
}

static void test_create_from_source(void **state)
{
	struct fixture *f = *state;
	PCWSTR source = path(f, "s.vhd");
	struct creation c = good_creation(f);
	HANDLE h = create(&vhd_type, source, 16 * MIB, NULL, false);

	put(h, 0, 's');
	put(h, 9 * MIB, 't');
	close_disk(h);
	c.p.Version2.SourcePath = source;
	c.p.Version2.MaximumSize = 15 * MIB;
	assert_code(do_create(&c, &h), ERROR_INVALID_PARAMETER);
	c.p.Version2.MaximumSize = 20 * MIB;
	assert_code(do_create(&c, &h), ERROR_SUCCESS);
	assert_int_equal(virtual_size(h), 20 * MIB);
	assert_int_equal(get(h, 0), 's');
	assert_int_equal(get(h, 9 * MIB), 't');
	assert_int_equal(get(h, 17 * MIB), 0);
	close_disk(h);
}

static void test_create_aside(void **state)
{
	struct fixture *f = *state;
	struct creation c = good_creation(f);
	OVERLAPPED o = {.hEvent = CreateEvent(NULL, TRUE, FALSE, NULL)};
	VIRTUAL_DISK_PROGRESS progress;
	DWORD n;
	HANDLE h;

	assert_code(
		CreateVirtualDisk(&c.type, c.path, 0, NULL, 0, 0, &c.p, &o, &h), ERROR_IO_PENDING);
	assert_int_equal(WaitForSingleObject(o.hEvent, INFINITE), WAIT_OBJECT_0);
	assert_true(GetOverlappedResult(h, &o, &n, FALSE));
	assert_true(HasOverlappedIoCompleted(&o));
	assert_code(GetVirtualDiskOperationProgress(h, &o, &progress), ERROR_SUCCESS);
	assert_int_equal(progress.OperationStatus, ERROR_SUCCESS);
	assert_int_equal(progress.CurrentValue, progress.CompletionValue);
	assert_int_equal(virtual_size(h), 16 * MIB);
	close_disk(h);

	/* Again: the file is there. The handle is one that can only be closed. */
	assert_code(
		CreateVirtualDisk(&c.type, c.path, 0, NULL, 0, 0, &c.p, &o, &h), ERROR_IO_PENDING);
	assert_false(GetOverlappedResult(h, &o, &n, TRUE));
	assert_int_equal(GetLastError(), ERROR_FILE_EXISTS);
	assert_code(GetVirtualDiskOperationProgress(h, &o, &progress), ERROR_SUCCESS);
	assert_int_equal(progress.OperationStatus, ERROR_FILE_EXISTS);
	assert_code(CompactVirtualDisk(h, 0, NULL, NULL), ERROR_VHD_INVALID_STATE);
	close_disk(h);
	CloseHandle(o.hEvent);
}

/* ---- OpenVirtualDisk ------------------------------------------------------------------------- */

static void test_open_refuses(void **state)
{
	struct fixture *f = *state;
	PCWSTR p = path(f, "d.vhdx");
	OPEN_VIRTUAL_DISK_PARAMETERS v1 = {.Version = OPEN_VIRTUAL_DISK_VERSION_1,
					     .Version1 = {.RWDepth = 1}},
				     v2 = {.Version = OPEN_VIRTUAL_DISK_VERSION_2};
	VIRTUAL_STORAGE_TYPE t = vhdx_type, iso = vhdx_type, other = vhdx_type, vhd = vhd_type;
	const VIRTUAL_DISK_ACCESS_MASK all = VIRTUAL_DISK_ACCESS_ALL;
	HANDLE h;

	close_disk(create(&vhdx_type, p, 16 * MIB, NULL, false));
	iso.DeviceId = VIRTUAL_STORAGE_TYPE_DEVICE_ISO;
	other.VendorId.Data1 = 7;
	assert_code(OpenVirtualDisk(NULL, p, all, 0, &v1, &h), ERROR_INVALID_PARAMETER);
	assert_code(OpenVirtualDisk(&t, NULL, all, 0, &v1, &h), ERROR_INVALID_PARAMETER);
	assert_code(OpenVirtualDisk(&t, p, all, 0, &v1, NULL), ERROR_INVALID_PARAMETER);
	assert_code(OpenVirtualDisk(&t, p, (VIRTUAL_DISK_ACCESS_MASK)1, 0, &v1, &h),
		ERROR_INVALID_PARAMETER);
	assert_code(OpenVirtualDisk(&t, p, 0, 0, &v1, &h), ERROR_INVALID_PARAMETER);
	assert_code(OpenVirtualDisk(&t, p, all, 0, &v2, &h), ERROR_INVALID_PARAMETER);
	assert_code(OpenVirtualDisk(&t, p, all, (OPEN_VIRTUAL_DISK_FLAG)0x8000, &v1, &h),
		ERROR_INVALID_PARAMETER);
	v1.Version = OPEN_VIRTUAL_DISK_VERSION_UNSPECIFIED;
	assert_code(OpenVirtualDisk(&t, p, 0, 0, &v1, &h), ERROR_INVALID_PARAMETER);
	assert_code(OpenVirtualDisk(&iso, p, 0, 0, &v2, &h), ERROR_VIRTDISK_PROVIDER_NOT_FOUND);
	assert_code(OpenVirtualDisk(&other, p, 0, 0, &v2, &h), ERROR_VIRTDISK_PROVIDER_NOT_FOUND);
	assert_code(OpenVirtualDisk(&vhd, p, 0, 0, &v2, &h), ERROR_FILE_CORRUPT);
	assert_code(OpenVirtualDisk(&t, u"/nowhere/x", 0, 0, &v2, &h), ERROR_FILE_NOT_FOUND);
	assert_code(OpenVirtualDisk(&t, u"/dev/null/x", 0, 0, &v2, &h), ERROR_PATH_NOT_FOUND);
	assert_code(OpenVirtualDisk(&t, p, 0, OPEN_VIRTUAL_DISK_FLAG_VHDSET_FILE_ONLY, &v2, &h),
		ERROR_VHD_INVALID_TYPE);
	v2.Version = OPEN_VIRTUAL_DISK_VERSION_3;
	v2.Version3.SnapshotId.Data1 = 1;
	assert_code(OpenVirtualDisk(&t, p, 0, 0, &v2, &h), ERROR_VHD_INVALID_TYPE);
}

static void test_open_sharing(void **state)
{
	struct fixture *f = *state;
	PCWSTR p = path(f, "d.vhdx");
	VIRTUAL_STORAGE_TYPE t = any_type;
	HANDLE writer = create(&vhdx_type, p, 16 * MIB, NULL, false), reader, h;

	assert_code(try_open(p, false, &h), ERROR_SHARING_VIOLATION);
	assert_code(try_open(p, true, &h), ERROR_SHARING_VIOLATION);
	/* Information can be had all the same. */
	assert_code(
		OpenVirtualDisk(&t, p, VIRTUAL_DISK_ACCESS_GET_INFO, 0, NULL, &h), ERROR_SUCCESS);
	assert_int_equal(virtual_size(h), 16 * MIB);
	close_disk(h);
	close_disk(writer);
	reader = open_disk(p, true);
	close_disk(open_disk(p, true));
	assert_code(try_open(p, false, &h), ERROR_SHARING_VIOLATION);
	close_disk(reader);
	close_disk(open_disk(p, false));
}

static void test_access_is_asked_for(void **state)
{
	struct fixture *f = *state;
	PCWSTR p = path(f, "d.vhdx");
	VIRTUAL_STORAGE_TYPE t = any_type;
	GET_VIRTUAL_DISK_INFO i;
	SET_VIRTUAL_DISK_INFO s = {.Version = SET_VIRTUAL_DISK_INFO_IDENTIFIER};
	GUID item = {1};
	HANDLE h;

	close_disk(create(&vhdx_type, p, 16 * MIB, NULL, false));
	assert_code(OpenVirtualDisk(&t, p, VIRTUAL_DISK_ACCESS_DETACH, 0, NULL, &h), 0);
	assert_code(info(h, GET_VIRTUAL_DISK_INFO_SIZE, &i, sizeof(i)), ERROR_ACCESS_DENIED);
	close_disk(h);
	h = open_disk(p, true);
	assert_code(SetVirtualDiskInformation(h, &s), ERROR_ACCESS_DENIED);
	assert_code(CompactVirtualDisk(h, 0, NULL, NULL), ERROR_ACCESS_DENIED);
	assert_code(SetVirtualDiskMetadata(h, &item, 1, "x"), ERROR_ACCESS_DENIED);
	assert_code(BreakMirrorVirtualDisk(h), ERROR_ACCESS_DENIED);
	assert_code(AttachVirtualDisk(h, NULL, 0, 0, NULL, NULL), ERROR_ACCESS_DENIED);
	close_disk(h);
}

static void test_what_is_no_disk(void **state)
{
	HANDLE event = CreateEvent(NULL, TRUE, FALSE, NULL);
	HANDLE none[] = {NULL, INVALID_HANDLE_VALUE, event, (HANDLE)12345};
	GET_VIRTUAL_DISK_INFO i;

	for (unsigned k = 0; k < 4; k++) {
		assert_code(info(none[k], GET_VIRTUAL_DISK_INFO_SIZE, &i, sizeof(i)),
			ERROR_INVALID_PARAMETER);
		assert_code(DetachVirtualDisk(none[k], 0, 0), ERROR_INVALID_PARAMETER);
		assert_code(CompactVirtualDisk(none[k], 0, NULL, NULL), ERROR_INVALID_PARAMETER);
		assert_code(BreakMirrorVirtualDisk(none[k]), ERROR_INVALID_PARAMETER);
	}
	assert_true(CloseHandle(event));
}

/* ---- Chains ---------------------------------------------------------------------------------- */

static HANDLE open_flags(PCWSTR p, unsigned flags, DWORD code)
{
	OPEN_VIRTUAL_DISK_PARAMETERS v2 = {.Version = OPEN_VIRTUAL_DISK_VERSION_2};
	VIRTUAL_STORAGE_TYPE t = any_type;
	HANDLE h = NULL;

	assert_code(OpenVirtualDisk(&t, p, 0, (OPEN_VIRTUAL_DISK_FLAG)flags, &v2, &h), code);
	return h;
}

static void test_chain_by_hand(void **state)
{
	struct fixture *f = *state;
	PCWSTR p[3];
	HANDLE h;

	make_chain(f, p);
	h = open_flags(p[2], OPEN_VIRTUAL_DISK_FLAG_CUSTOM_DIFF_CHAIN, 0);
	assert_code(AddVirtualDiskParent(h, NULL), ERROR_INVALID_PARAMETER);
	assert_code(AddVirtualDiskParent(h, u"/nowhere"), ERROR_FILE_NOT_FOUND);
	assert_code(AddVirtualDiskParent(h, p[0]), ERROR_VHD_CHILD_PARENT_ID_MISMATCH);
	assert_code(AddVirtualDiskParent(h, p[1]), ERROR_SUCCESS);
	assert_code(AddVirtualDiskParent(h, p[0]), ERROR_SUCCESS);
	assert_code(AddVirtualDiskParent(h, p[0]), ERROR_INVALID_STATE);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(get(h, i * MIB), 'a' + i);
	close_disk(h);
	h = open_disk(p[2], false);
	assert_code(AddVirtualDiskParent(h, p[0]), ERROR_INVALID_STATE);
	close_disk(h);
}

static void test_chain_is_found(void **state)
{
	struct fixture *f = *state;
	char command[256];
	PCWSTR p[3];
	HANDLE h;

	make_chain(f, p);
	h = open_flags(p[2], OPEN_VIRTUAL_DISK_FLAG_IGNORE_RELATIVE_PARENT_LOCATOR, 0);
	assert_int_equal(get(h, 0), 'a');
	close_disk(h);
	snprintf(command, sizeof(command), "mv %s/middle.vhdx %s/elsewhere", f->folder, f->folder);
	assert_int_equal(system(command), 0);
	assert_code(try_open(p[2], true, &h), ERROR_VHD_PARENT_VHD_NOT_FOUND);
	h = open_flags(p[2], OPEN_VIRTUAL_DISK_FLAG_NO_PARENTS, 0);
	assert_int_equal(virtual_size(h), 16 * MIB);
	close_disk(h);
}

static void test_blank_file_is_not_supported(void **state)
{
	struct fixture *f = *state;

	open_flags(path(f, "x.vhdx"), OPEN_VIRTUAL_DISK_FLAG_BLANK_FILE, ERROR_NOT_SUPPORTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(create_null_pointers),
		TEST(create_refuses),
		TEST(create_refuses_parents),
		TEST(create_refuses_vhd),
		TEST(create_existing),
		TEST(create_every_kind),
		TEST(create_every_version),
		TEST(create_down_to_a_limit),
		TEST(create_since_a_change),
		TEST(create_from_source),
		TEST(create_aside),
		TEST(open_refuses),
		TEST(open_sharing),
		TEST(access_is_asked_for),
		TEST(what_is_no_disk),
		TEST(chain_by_hand),
		TEST(chain_is_found),
		TEST(blank_file_is_not_supported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
