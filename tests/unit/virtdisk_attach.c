/*
 * virtdisk.h: attached disks. They need FUSE; where that is not to be had the tests are skipped.
 */
#include "virtdisk_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static DWORD attach_range(HANDLE h, unsigned flags, uint64_t offset, uint64_t length)
{
	ATTACH_VIRTUAL_DISK_PARAMETERS p = {.Version = ATTACH_VIRTUAL_DISK_VERSION_2,
		.Version2 = {.RestrictedOffset = offset, .RestrictedLength = length}};
	OVERLAPPED o = {0};
	DWORD n, err;

	if (!(flags & ATTACH_VIRTUAL_DISK_FLAG_RESTRICTED_RANGE))
		p.Version = ATTACH_VIRTUAL_DISK_VERSION_1;
	err = AttachVirtualDisk(h, NULL, (ATTACH_VIRTUAL_DISK_FLAG)flags, 0, &p, &o);
	if (err != ERROR_IO_PENDING)
		return err;
	return GetOverlappedResult(h, &o, &n, TRUE) ? ERROR_SUCCESS : GetLastError();
}

static DWORD attach(HANDLE h, unsigned flags)
{
	return attach_range(h, flags, 0, 0);
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

/* Whoever is to hear of the end need not have begun to listen. */
static void test_detached_at_once(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false);

	for (unsigned i = 0; i < 20; i++) {
		must_attach(h, ATTACH_VIRTUAL_DISK_FLAG_NONE);
		assert_code(detach(h), ERROR_SUCCESS);
	}
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

/*
 * It outlives its handle, and another one detaches it: one that was opened for no more, or one with
 * all access, as programs open a disk for that, which then has no other.
 */
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
	assert_code(try_open(p, false, &h), ERROR_SUCCESS);
	assert_code(CompactVirtualDisk(h, 0, NULL, NULL), ERROR_ACCESS_DENIED);
	close_disk(h);
	assert_code(OpenVirtualDisk(&t, p,
			    VIRTUAL_DISK_ACCESS_DETACH | VIRTUAL_DISK_ACCESS_GET_INFO, 0, NULL, &h),
		ERROR_SUCCESS);
	assert_true(is_loaded(h));
	assert_code(detach(h), ERROR_SUCCESS);
	assert_false(is_loaded(h));
	close_disk(h);
	h = open_disk(p, false);
	assert_int_equal(get(h, 0), 'p');
	must_attach(h, ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME);
	close_disk(h);
	h = open_disk(p, false);
	assert_code(detach(h), ERROR_SUCCESS);
	close_disk(h);
}

static uint64_t file_size(const char *file)
{
	int fd = open(file, O_RDONLY);
	off_t size = lseek(fd, 0, SEEK_END);

	close(fd);
	return size;
}

static void test_a_range_of_a_disk(void **state)
{
	const unsigned range = ATTACH_VIRTUAL_DISK_FLAG_RESTRICTED_RANGE;
	const unsigned write = range | ATTACH_VIRTUAL_DISK_FLAG_NON_PNP;
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false);
	char file[256];

	assert_code(attach_range(h, range, 0, 0), ERROR_INVALID_PARAMETER);
	assert_code(attach_range(h, range, 64 * MIB, 4096), ERROR_INVALID_PARAMETER);
	assert_code(attach_range(h, range, MIB, 64 * MIB), ERROR_INVALID_PARAMETER);
	assert_code(attach_range(h, range, UINT64_MAX - 511, 512), ERROR_INVALID_PARAMETER);
	assert_code(attach_range(h, range, 100, 4096), ERROR_INVALID_PARAMETER);
	assert_code(attach_range(h, range, 512, 100), ERROR_INVALID_PARAMETER);
	assert_code(attach_range(h, range | ATTACH_VIRTUAL_DISK_FLAG_SINGLE_PARTITION, 0, 4096),
		ERROR_INVALID_PARAMETER);
	put(h, 8 * MIB - 4096, 'b');
	put(h, 24 * MIB, 'e');
	must_attach(h, 0); /* whether it can be */
	assert_code(detach(h), ERROR_SUCCESS);
	assert_code(attach_range(h, write, 8 * MIB, 16 * MIB), ERROR_SUCCESS);
	physical_path(h, file);
	assert_int_equal(file_size(file), 16 * MIB);
	write_file(file, 0, 'w');
	write_file(file, 16 * MIB - 4096, 'x');
	assert_code(detach(h), ERROR_SUCCESS);
	assert_int_equal(get(h, 8 * MIB - 4096), 'b');
	assert_int_equal(get(h, 8 * MIB), 'w');
	assert_int_equal(get(h, 24 * MIB - 4096), 'x');
	assert_int_equal(get(h, 24 * MIB), 'e');
	close_disk(h);
}

/* The first sector: an EFI system partition and one or two others. */
static void put_table(HANDLE h, bool two)
{
	UCHAR mbr[512] = {[446] = 0, [446 + 4] = 0xEF, [446 + 9] = 8, [446 + 13] = 8};
	RAW_SCSI_VIRTUAL_DISK_PARAMETERS p = {.Version = RAW_SCSI_VIRTUAL_DISK_VERSION_1};
	RAW_SCSI_VIRTUAL_DISK_RESPONSE r = {.Version = RAW_SCSI_VIRTUAL_DISK_VERSION_1};
	UCHAR cdb[10] = {0x2A, [8] = 1}, sense[18];

	mbr[462 + 4] = 0x83;
	mbr[462 + 9] = 0x10; /* block 4096: 2 MiB */
	mbr[462 + 13] = 0x20;
	if (two)
		memcpy(&mbr[478], &mbr[462], 16);
	mbr[510] = 0x55;
	mbr[511] = 0xAA;
	p.Version1.Cdb = cdb;
	p.Version1.CdbLength = sizeof(cdb);
	p.Version1.SenseInfo = sense;
	p.Version1.SenseInfoLength = sizeof(sense);
	p.Version1.DataBuffer = mbr;
	p.Version1.DataTransferLength = sizeof(mbr);
	do
		assert_code(RawSCSIVirtualDisk(h, &p, 0, &r), ERROR_SUCCESS);
	while (r.Version1.ScsiStatus && (sense[2] & 0xF) == 6); /* unit attention first */
	assert_int_equal(r.Version1.ScsiStatus, 0);
}

static void test_a_single_partition(void **state)
{
	const unsigned single = ATTACH_VIRTUAL_DISK_FLAG_SINGLE_PARTITION;
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false);
	char file[256];

	assert_code(attach(h, single), ERROR_NOT_FOUND);
	put_table(h, true);
	assert_code(attach(h, single), ERROR_NOT_FOUND);
	put_table(h, false);
	put(h, 2 * MIB, 'p');
	must_attach(h, single);
	physical_path(h, file);
	assert_int_equal(file_size(file), 4 * MIB);
	write_file(file, 4096, 'w');
	assert_code(detach(h), ERROR_SUCCESS);
	assert_int_equal(get(h, 2 * MIB), 'p');
	assert_int_equal(get(h, 2 * MIB + 4096), 'w');
	close_disk(h);
}

/* Held as if attached, but this host has no device. */
static void test_a_disk_attached_elsewhere(void **state)
{
	const unsigned nowhere = ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST;
	struct fixture *f = *state;
	PCWSTR p = path(f, "d.vhdx");
	HANDLE h = create(&vhdx_type, p, 64 * MIB, NULL, false);
	WCHAR room[64];
	ULONG size = sizeof(room);

	assert_code(attach(h, nowhere | ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME),
		ERROR_NOT_SUPPORTED);
	assert_code(attach(h, nowhere), ERROR_SUCCESS);
	assert_true(is_loaded(h));
	assert_code(attach(h, nowhere), ERROR_VHD_INVALID_STATE);
	assert_code(GetVirtualDiskPhysicalPath(h, &size, room), ERROR_DEV_NOT_EXIST);
	assert_code(CompactVirtualDisk(h, 0, NULL, NULL), ERROR_VHD_INVALID_STATE);
	put(h, 0, 'n');
	assert_code(detach(h), ERROR_SUCCESS);
	assert_false(is_loaded(h));
	assert_int_equal(get(h, 0), 'n');
	assert_code(attach(h, nowhere), ERROR_SUCCESS);
	close_disk(h);
	close_disk(open_disk(p, false));
}

/* ---- Mirrors of an attached disk ------------------------------------------------------------- */

struct writer {
	const char *file;
	_Atomic bool stop;
	_Atomic unsigned rounds;
};

/* Writes to the device all the time, each round another value, and sees what it wrote. */
static void *write_on(void *ctx)
{
	struct writer *w = ctx;
	int fd = open(w->file, O_RDWR | O_DIRECT);
	static _Alignas(4096) char page[4096], back[4096];

	for (unsigned i = 0; fd >= 0 && !w->stop; i++) {
		memset(page, i + 1, 4096);
		if (pwrite(fd, page, 4096, i % 64 * MIB) != 4096 ||
			pread(fd, back, 4096, i % 64 * MIB) != 4096 || memcmp(page, back, 4096))
			break;
		w->rounds = i + 1;
	}
	close(fd);
	return NULL;
}

/* The device goes on with the mirror, and who writes to it notices nothing. */
static void mirror_in_use(struct fixture *f, unsigned flags, PCWSTR original, PCWSTR mirror)
{
	const bool stays = flags & MIRROR_VIRTUAL_DISK_FLAG_SKIP_MIRROR_ACTIVATION;
	HANDLE h = create(&vhdx_type, original, 64 * MIB, NULL, false), other;
	char file[256], after[256];
	struct writer w = {.file = file};
	OVERLAPPED o = {0};
	pthread_t thread;
	unsigned before;

	must_attach(h, 0);
	physical_path(h, file);
	assert_int_equal(pthread_create(&thread, NULL, write_on, &w), 0);
	start_mirror(h, mirror, flags, &o);
	break_mirror(h);
	before = w.rounds;
	while (w.rounds < before + 130)
		sched_yield();
	w.stop = true;
	pthread_join(thread, NULL);
	physical_path(h, after);
	assert_string_equal(file, after);
	write_file(file, 0, 'z');
	assert_code(detach(h), ERROR_SUCCESS);
	close_disk(h);
	h = open_disk(stays ? original : mirror, true);
	other = open_disk(stays ? mirror : original, true);
	assert_int_equal(get(h, 0), 'z');
	assert_int_not_equal(get(other, 0), 'z');
	close_disk(other);
	close_disk(h);
}

static void test_an_attached_disk_moves_to_its_mirror(void **state)
{
	struct fixture *f = *state;

	mirror_in_use(f, 0, path(f, "d.vhdx"), path(f, "m.vhdx"));
}

static void test_an_attached_disk_stays_though_mirrored(void **state)
{
	struct fixture *f = *state;

	mirror_in_use(f, MIRROR_VIRTUAL_DISK_FLAG_SKIP_MIRROR_ACTIVATION, path(f, "d.vhdx"),
		path(f, "m.vhdx"));
}

/* Another process serves it: its writes would not be seen. */
static void test_a_permanent_attachment_has_no_mirror(void **state)
{
	struct fixture *f = *state;
	MIRROR_VIRTUAL_DISK_PARAMETERS p = {.Version = MIRROR_VIRTUAL_DISK_VERSION_1,
		.Version1 = {.MirrorVirtualDiskPath = path(f, "m.vhdx")}};
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false);
	OVERLAPPED o = {0};
	DWORD n;

	must_attach(h, ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME);
	assert_code(MirrorVirtualDisk(h, 0, &p, &o), ERROR_IO_PENDING);
	assert_false(GetOverlappedResult(h, &o, &n, TRUE));
	assert_int_equal(GetLastError(), ERROR_VHD_INVALID_STATE);
	assert_false(exists(f, "m.vhdx"));
	assert_code(detach(h), ERROR_SUCCESS);
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
		ERROR_INVALID_PARAMETER);
	assert_code(AttachVirtualDisk(h, NULL, ATTACH_VIRTUAL_DISK_FLAG_AT_BOOT, 0, NULL, NULL),
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
		TEST(detached_at_once),
		TEST(a_disk_attached_to_be_read),
		TEST(dependencies_of_a_device),
		TEST(a_disk_that_grows),
		TEST(a_permanent_attachment),
		TEST(a_range_of_a_disk),
		TEST(a_single_partition),
		TEST(a_disk_attached_elsewhere),
		TEST(an_attached_disk_moves_to_its_mirror),
		TEST(an_attached_disk_stays_though_mirrored),
		TEST(a_permanent_attachment_has_no_mirror),
		TEST(attach_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
