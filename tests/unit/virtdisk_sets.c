/*
 * virtdisk.h: VHD sets and their snapshots, and the file that keeps them (src/disk/vhdset.h).
 */
#include "virtdisk_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/guid.h"
#include "disk/vhdset.h"

static const GUID one = {1, 1, 1, {1}}, two = {2, 2, 2, {2}}, three = {3, 3, 3, {3}}, zero;

static HANDLE make_set(struct fixture *f)
{
	return create(&set_type, path(f, "s.vhds"), 64 * MIB, NULL, false);
}

static DWORD take(HANDLE h, const GUID *id, bool writeable)
{
	TAKE_SNAPSHOT_VHDSET_PARAMETERS p = {
		.Version = TAKE_SNAPSHOT_VHDSET_VERSION_1, .Version1 = {.SnapshotId = *id}};

	return TakeSnapshotVhdSet(h, &p,
		writeable ? TAKE_SNAPSHOT_VHDSET_FLAG_WRITEABLE : TAKE_SNAPSHOT_VHDSET_FLAG_NONE);
}

static DWORD apply(HANDLE h, const GUID *id, const GUID *leaf, bool writeable)
{
	APPLY_SNAPSHOT_VHDSET_PARAMETERS p = {.Version = APPLY_SNAPSHOT_VHDSET_VERSION_1,
		.Version1 = {.SnapshotId = *id, .LeafSnapshotId = *leaf}};

	return ApplySnapshotVhdSet(h, &p,
		writeable ? APPLY_SNAPSHOT_VHDSET_FLAG_WRITEABLE : APPLY_SNAPSHOT_VHDSET_FLAG_NONE);
}

static DWORD delete (HANDLE h, const GUID *id, unsigned flags)
{
	DELETE_SNAPSHOT_VHDSET_PARAMETERS p = {
		.Version = DELETE_SNAPSHOT_VHDSET_VERSION_1, .Version1 = {.SnapshotId = *id}};

	return DeleteSnapshotVhdSet(h, &p, (DELETE_SNAPSHOT_VHDSET_FLAG)flags);
}

static DWORD open_snapshot(struct fixture *f, const GUID *id, HANDLE *h)
{
	OPEN_VIRTUAL_DISK_PARAMETERS p = {.Version = OPEN_VIRTUAL_DISK_VERSION_3,
		.Version3 = {.ReadOnly = TRUE, .SnapshotId = *id}};
	VIRTUAL_STORAGE_TYPE t = set_type;

	return OpenVirtualDisk(&t, f->paths[0], 0, 0, &p, h);
}

static void expect_snapshot(struct fixture *f, const GUID *id, char value)
{
	HANDLE h;

	assert_code(open_snapshot(f, id, &h), ERROR_SUCCESS);
	assert_int_equal(get(h, 0), value);
	close_disk(h);
}

static unsigned count_images(struct fixture *f)
{
	char command[128], text[16] = "";
	FILE *p;

	snprintf(command, sizeof(command), "ls %s | grep -c avhdx", f->folder);
	p = popen(command, "r");
	assert_non_null(fgets(text, sizeof(text), p));
	pclose(p);
	return atoi(text);
}

/* ---- Snapshots ------------------------------------------------------------------------------- */

static void test_a_set_is_a_disk(void **state)
{
	struct fixture *f = *state;
	HANDLE h = make_set(f);
	GET_VIRTUAL_DISK_INFO i;

	assert_int_equal(virtual_size(h), 64 * MIB);
	assert_code(info(h, GET_VIRTUAL_DISK_INFO_VIRTUAL_STORAGE_TYPE, &i, sizeof(i)), 0);
	assert_int_equal(i.VirtualStorageType.DeviceId, VIRTUAL_STORAGE_TYPE_DEVICE_VHDSET);
	put(h, 0, 'a');
	close_disk(h);
	h = open_disk(f->paths[0], false);
	assert_int_equal(get(h, 0), 'a');
	close_disk(h);
}

static void test_snapshots_are_taken(void **state)
{
	struct fixture *f = *state;
	OPEN_VIRTUAL_DISK_PARAMETERS write_snapshot = {.Version = OPEN_VIRTUAL_DISK_VERSION_3};
	VIRTUAL_STORAGE_TYPE t = set_type;
	HANDLE h = make_set(f), other;

	put(h, 0, 'a');
	assert_code(take(h, &one, false), ERROR_SUCCESS);
	put(h, 0, 'b');
	assert_code(take(h, &two, false), ERROR_SUCCESS);
	assert_code(take(h, &two, false), ERROR_ALREADY_EXISTS);
	assert_code(take(h, &zero, false), ERROR_INVALID_PARAMETER);
	put(h, 0, 'c');
	assert_int_equal(get(h, 0), 'c');
	close_disk(h);
	expect_snapshot(f, &one, 'a');
	expect_snapshot(f, &two, 'b');
	expect_snapshot(f, &zero, 'c');
	assert_code(open_snapshot(f, &three, &other), ERROR_NOT_FOUND);
	write_snapshot.Version3.SnapshotId = one;
	assert_code(OpenVirtualDisk(&t, f->paths[0], 0, 0, &write_snapshot, &other),
		ERROR_ACCESS_DENIED);
}

static void test_a_snapshot_is_applied(void **state)
{
	struct fixture *f = *state;
	HANDLE h = make_set(f);

	put(h, 0, 'a');
	assert_code(take(h, &one, false), ERROR_SUCCESS);
	put(h, 0, 'b');
	assert_code(apply(h, &two, &zero, false), ERROR_NOT_FOUND);
	assert_code(apply(h, &one, &zero, true), ERROR_INVALID_PARAMETER);
	/* The present is kept as three, and comes back. */
	assert_code(apply(h, &one, &three, false), ERROR_SUCCESS);
	assert_int_equal(get(h, 0), 'a');
	put(h, 0, 'x');
	assert_code(apply(h, &one, &three, false), ERROR_ALREADY_EXISTS);
	assert_int_equal(get(h, 0), 'x');
	assert_code(apply(h, &three, &zero, true), ERROR_SUCCESS);
	assert_int_equal(get(h, 0), 'b');
	close_disk(h);
	expect_snapshot(f, &one, 'a');
	assert_int_equal(count_images(f), 2);
}

static void test_a_writeable_snapshot(void **state)
{
	struct fixture *f = *state;
	HANDLE h = make_set(f);

	put(h, 0, 'a');
	assert_code(take(h, &one, true), ERROR_SUCCESS);
	put(h, 0, 'b');
	assert_code(apply(h, &one, &two, true), ERROR_SUCCESS);
	assert_int_equal(get(h, 0), 'a');
	close_disk(h);
	expect_snapshot(f, &two, 'b');
}

static void test_snapshots_are_deleted(void **state)
{
	struct fixture *f = *state;
	HANDLE h = make_set(f);

	put(h, 0, 'a');
	put(h, 8 * MIB, 'p');
	assert_code(take(h, &one, false), ERROR_SUCCESS);
	put(h, 0, 'b');
	assert_code(take(h, &two, false), ERROR_SUCCESS);
	put(h, 0, 'c');
	assert_int_equal(count_images(f), 3);
	assert_code(delete (h, &three, 0), ERROR_NOT_FOUND);
	assert_code(delete (h, &one, DELETE_SNAPSHOT_VHDSET_FLAG_PERSIST_RCT),
		ERROR_VHD_CHANGE_TRACKING_DISABLED);
	assert_code(delete (h, &one, 0), ERROR_SUCCESS);
	assert_int_equal(count_images(f), 2);
	assert_int_equal(get(h, 0), 'c');
	assert_int_equal(get(h, 8 * MIB), 'p');
	close_disk(h);
	expect_snapshot(f, &two, 'b');
	h = open_disk(f->paths[0], false);
	assert_code(delete (h, &two, 0), ERROR_SUCCESS);
	assert_int_equal(count_images(f), 1);
	assert_int_equal(get(h, 0), 'c');
	close_disk(h);
}

/* Two stand on it: it stays without a name. */
static void test_a_shared_snapshot_is_deleted(void **state)
{
	struct fixture *f = *state;
	HANDLE h = make_set(f);

	put(h, 0, 'a');
	assert_code(take(h, &one, false), ERROR_SUCCESS);
	put(h, 0, 'b');
	assert_code(apply(h, &one, &two, false), ERROR_SUCCESS);
	put(h, 0, 'c');
	assert_code(delete (h, &one, 0), ERROR_SUCCESS);
	assert_int_equal(count_images(f), 3);
	assert_int_equal(get(h, 0), 'c');
	/* Nothing stands on a writeable one. */
	close_disk(h);
	expect_snapshot(f, &two, 'b');
	h = open_disk(f->paths[0], false);
	assert_code(delete (h, &two, 0), ERROR_SUCCESS);
	assert_int_equal(count_images(f), 2);
	close_disk(h);
}

/* ---- What changed since ---------------------------------------------------------------------- */

/* The MiB in which something changed since @id, a snapshot or what is left of one. */
static DWORD changes(HANDLE h, const GUID *id, unsigned mib[8], unsigned *n)
{
	QUERY_CHANGES_VIRTUAL_DISK_RANGE r[8];
	WCHAR wide[GUID_TEXT];
	ULONG64 processed = 0;
	char text[GUID_TEXT];
	ULONG count = 8;
	DWORD err;

	guid_format(id, text);
	for (unsigned i = 0; i < GUID_TEXT; i++)
		wide[i] = text[i];
	err = QueryChangesVirtualDisk(h, wide, 0, virtual_size(h), 0, r, &count, &processed);
	*n = count;
	for (unsigned i = 0; !err && i < count; i++)
		mib[i] = r[i].ByteOffset / MIB;
	assert_true(err || processed == virtual_size(h));
	return err;
}

#define assert_changes(h, id, ...)                                                                 \
	do {                                                                                       \
		const unsigned wanted[] = {__VA_ARGS__};                                           \
		unsigned mib[8], n;                                                                \
		assert_code(changes(h, id, mib, &n), ERROR_SUCCESS);                               \
		assert_int_equal(n, sizeof(wanted) / sizeof(wanted[0]));                           \
		assert_memory_equal(mib, wanted, sizeof(wanted));                                  \
	} while (0)

static DWORD changes_code(HANDLE h, const GUID *id)
{
	unsigned mib[8], n;

	return changes(h, id, mib, &n);
}

/* The images themselves tell: no tracking is needed, and other branches can be asked about. */
static void test_changes_since_a_snapshot(void **state)
{
	struct fixture *f = *state;
	HANDLE h = make_set(f);

	put(h, 0, 'a');
	assert_code(take(h, &one, false), ERROR_SUCCESS);
	put(h, 8 * MIB, 'b');
	assert_code(take(h, &two, false), ERROR_SUCCESS);
	put(h, 16 * MIB, 'c');
	assert_changes(h, &two, 16);
	assert_changes(h, &one, 8, 16);
	assert_code(changes_code(h, &three), ERROR_VHD_MISSING_CHANGE_TRACKING_INFORMATION);
	assert_code(apply(h, &one, &three, false), ERROR_SUCCESS);
	assert_code(changes_code(h, &one), ERROR_SUCCESS);
	put(h, 24 * MIB, 'd');
	assert_changes(h, &one, 24);
	assert_changes(h, &two, 8, 24);
	assert_changes(h, &three, 8, 16, 24);
	close_disk(h);
	assert_code(open_snapshot(f, &two, &h), ERROR_SUCCESS);
	assert_changes(h, &one, 8);
	close_disk(h);
}

/* Ranges that do not fit are asked for again. */
static void test_many_changes_since_a_snapshot(void **state)
{
	struct fixture *f = *state;
	HANDLE h = make_set(f);
	QUERY_CHANGES_VIRTUAL_DISK_RANGE r[3];
	WCHAR wide[GUID_TEXT];
	ULONG64 at = 0, processed;
	char text[GUID_TEXT];
	unsigned found = 0;
	ULONG n;

	guid_format(&one, text);
	for (unsigned i = 0; i < GUID_TEXT; i++)
		wide[i] = text[i];
	assert_code(take(h, &one, false), ERROR_SUCCESS);
	for (unsigned i = 0; i < 10; i++)
		put(h, 5 * i * MIB, 'x');
	for (; at < 64 * MIB; at += processed) {
		n = 3;
		assert_code(QueryChangesVirtualDisk(
				    h, wide, at, 64 * MIB - at, 0, r, &n, &processed),
			ERROR_SUCCESS);
		assert_true(processed > 0);
		for (ULONG i = 0; i < n; i++, found++) {
			assert_int_equal(r[i].ByteOffset, 5 * found * MIB);
			assert_int_equal(r[i].ByteLength, 4096);
		}
	}
	assert_int_equal(found, 10);
	n = 3;
	assert_code(QueryChangesVirtualDisk(h, wide, 64 * MIB, 512, 0, r, &n, &processed),
		ERROR_INVALID_PARAMETER);
	close_disk(h);
}

static void test_a_deleted_snapshot_stays_a_point(void **state)
{
	const unsigned persist = DELETE_SNAPSHOT_VHDSET_FLAG_PERSIST_RCT;
	SET_VIRTUAL_DISK_INFO track = {.Version = SET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE,
		.ChangeTrackingEnabled = TRUE};
	MODIFY_VHDSET_PARAMETERS forget = {
		.Version = MODIFY_VHDSET_REMOVE_SNAPSHOT, .SnapshotId = one};
	WCHAR id[VIRTUAL_DISK_MAXIMUM_CHANGE_TRACKING_ID_LENGTH];
	struct fixture *f = *state;
	HANDLE h = make_set(f);
	QUERY_CHANGES_VIRTUAL_DISK_RANGE r[8];
	ULONG64 processed;
	ULONG n = 8;

	put(h, 0, 'a');
	assert_code(take(h, &one, false), ERROR_SUCCESS);
	assert_code(delete (h, &one, persist), ERROR_VHD_CHANGE_TRACKING_DISABLED);
	assert_code(changes_code(h, &one), ERROR_SUCCESS);
	assert_code(delete (h, &one, 0), ERROR_SUCCESS);
	assert_code(SetVirtualDiskInformation(h, &track), ERROR_SUCCESS);
	assert_code(take(h, &one, false), ERROR_SUCCESS);
	put(h, 8 * MIB, 'b');
	assert_code(SetVirtualDiskInformation(h, &track), ERROR_SUCCESS);
	most_recent_id(h, id, NULL);
	put(h, 12 * MIB, 'p');
	assert_code(take(h, &two, false), ERROR_SUCCESS);
	put(h, 16 * MIB, 'c');
	assert_code(delete (h, &one, persist), ERROR_SUCCESS);
	assert_changes(h, &one, 8, 12, 16);
	assert_code(delete (h, &two, persist), ERROR_SUCCESS);
	assert_changes(h, &one, 8, 12, 16);
	assert_changes(h, &two, 16);
	/* A point that a merged image knew is still known. */
	assert_code(QueryChangesVirtualDisk(h, id, 0, 64 * MIB, 0, r, &n, &processed),
		ERROR_SUCCESS);
	assert_int_equal(n, 2);
	assert_int_equal(r[0].ByteOffset, 12 * MIB);
	put(h, 24 * MIB, 'd');
	close_disk(h);
	h = open_disk(f->paths[0], false);
	assert_changes(h, &two, 16, 24);
	assert_code(take(h, &one, false), ERROR_ALREADY_EXISTS);
	assert_code(delete (h, &one, persist), ERROR_NOT_FOUND);
	assert_code(ModifyVhdSet(h, &forget, MODIFY_VHDSET_FLAG_NONE), ERROR_SUCCESS);
	assert_code(changes_code(h, &one), ERROR_VHD_MISSING_CHANGE_TRACKING_INFORMATION);
	assert_changes(h, &two, 16, 24);
	assert_int_equal(count_images(f), 2); /* with the tracking's file */
	close_disk(h);
}

/* The present does not go on from it: there is nothing that could be asked. */
static void test_a_snapshot_of_another_branch_is_no_point(void **state)
{
	const unsigned persist = DELETE_SNAPSHOT_VHDSET_FLAG_PERSIST_RCT;
	SET_VIRTUAL_DISK_INFO track = {.Version = SET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE,
		.ChangeTrackingEnabled = TRUE};
	struct fixture *f = *state;
	HANDLE h = make_set(f);

	assert_code(SetVirtualDiskInformation(h, &track), ERROR_SUCCESS);
	assert_code(take(h, &one, false), ERROR_SUCCESS);
	put(h, 8 * MIB, 'b');
	assert_code(take(h, &two, false), ERROR_SUCCESS);
	assert_code(apply(h, &one, &zero, false), ERROR_SUCCESS);
	assert_code(
		delete (h, &two, persist), ERROR_VHD_MISSING_CHANGE_TRACKING_INFORMATION);
	assert_code(changes_code(h, &two), ERROR_SUCCESS);
	assert_code(delete (h, &two, 0), ERROR_SUCCESS);
	close_disk(h);
}

/* ---- What cannot be -------------------------------------------------------------------------- */

static void test_sets_refuse(void **state)
{
	struct fixture *f = *state;
	HANDLE h = make_set(f), other, disk;
	TAKE_SNAPSHOT_VHDSET_PARAMETERS t = {.Version1 = {.SnapshotId = one}};
	MODIFY_VHDSET_PARAMETERS m = {.Version = MODIFY_VHDSET_UNSPECIFIED};

	assert_code(TakeSnapshotVhdSet(h, NULL, 0), ERROR_INVALID_PARAMETER);
	assert_code(TakeSnapshotVhdSet(h, &t, 0), ERROR_INVALID_PARAMETER);
	t.Version = TAKE_SNAPSHOT_VHDSET_VERSION_1;
	assert_code(
		TakeSnapshotVhdSet(h, &t, (TAKE_SNAPSHOT_VHDSET_FLAG)2), ERROR_INVALID_PARAMETER);
	assert_code(ModifyVhdSet(h, &m, 0), ERROR_INVALID_PARAMETER);
	assert_code(ModifyVhdSet(h, NULL, 0), ERROR_INVALID_PARAMETER);
	assert_code(DeleteSnapshotVhdSet(h, NULL, 0), ERROR_INVALID_PARAMETER);
	assert_code(ApplySnapshotVhdSet(h, NULL, 0), ERROR_INVALID_PARAMETER);
	assert_code(try_open(f->paths[0], false, &other), ERROR_SHARING_VIOLATION);
	close_disk(h);
	h = open_disk(f->paths[0], true);
	assert_code(take(h, &one, false), ERROR_ACCESS_DENIED);
	close_disk(h);
	disk = create(&vhdx_type, path(f, "d.vhdx"), 16 * MIB, NULL, false);
	assert_code(take(disk, &one, false), ERROR_VHD_INVALID_TYPE);
	close_disk(disk);
}

static void test_the_original_is_used(void **state)
{
	struct fixture *f = *state;
	PCWSTR disk = path(f, "d.vhdx"), set = path(f, "s.vhds"), vhd = path(f, "d.vhd");
	CREATE_VIRTUAL_DISK_PARAMETERS p = {
		.Version = CREATE_VIRTUAL_DISK_VERSION_3, .Version3 = {.SourcePath = disk}};
	VIRTUAL_STORAGE_TYPE t = set_type;
	HANDLE h = create(&vhdx_type, disk, 64 * MIB, NULL, false);

	put(h, 0, 'o');
	close_disk(h);
	close_disk(create(&vhd_type, vhd, 64 * MIB, NULL, false));
	p.Version3.SourcePath = vhd;
	assert_code(CreateVirtualDisk(&t, set, 0, NULL,
			    CREATE_VIRTUAL_DISK_FLAG_VHD_SET_USE_ORIGINAL_BACKING_STORAGE, 0, &p,
			    NULL, &h),
		ERROR_FILE_CORRUPT);
	p.Version3.SourcePath = disk;
	assert_code(CreateVirtualDisk(&t, set, 0, NULL,
			    CREATE_VIRTUAL_DISK_FLAG_VHD_SET_USE_ORIGINAL_BACKING_STORAGE, 0, &p,
			    NULL, &h),
		ERROR_SUCCESS);
	assert_int_equal(get(h, 0), 'o');
	put(h, 0, 'n');
	close_disk(h);
	h = open_disk(disk, true);
	assert_int_equal(get(h, 0), 'n');
	close_disk(h);
}

/* ---- The file -------------------------------------------------------------------------------- */

static HANDLE open_file_only(struct fixture *f)
{
	OPEN_VIRTUAL_DISK_PARAMETERS p = {.Version = OPEN_VIRTUAL_DISK_VERSION_2};
	VIRTUAL_STORAGE_TYPE t = set_type;
	HANDLE h;

	assert_code(OpenVirtualDisk(
			    &t, f->paths[0], 0, OPEN_VIRTUAL_DISK_FLAG_VHDSET_FILE_ONLY, &p, &h),
		ERROR_SUCCESS);
	return h;
}

static void test_entries_are_modified(void **state)
{
	struct fixture *f = *state;
	char command[256];
	HANDLE h = make_set(f);
	MODIFY_VHDSET_PARAMETERS m = {.Version = MODIFY_VHDSET_SNAPSHOT_PATH};
	GET_VIRTUAL_DISK_INFO i;

	put(h, 0, 'a');
	assert_code(take(h, &one, false), ERROR_SUCCESS);
	close_disk(h);
	snprintf(command, sizeof(command), "cp \"$(ls -t %s/*.avhdx | tail -1)\" '%s/base %%.vhdx'",
		f->folder, f->folder);
	assert_int_equal(system(command), 0);
	h = open_file_only(f);
	assert_code(info(h, GET_VIRTUAL_DISK_INFO_SIZE, &i, sizeof(i)), ERROR_VHD_INVALID_STATE);
	m.SnapshotPath.SnapshotId = two;
	m.SnapshotPath.SnapshotFilePath = path(f, "base %.vhdx");
	assert_code(ModifyVhdSet(h, &m, 0), ERROR_NOT_FOUND);
	m.SnapshotPath.SnapshotId = one;
	assert_code(ModifyVhdSet(h, &m, 0), ERROR_SUCCESS);
	assert_code(take(h, &three, false), ERROR_VHD_INVALID_STATE);
	close_disk(h);
	expect_snapshot(f, &one, 'a');
	h = open_file_only(f);
	m.Version = MODIFY_VHDSET_DEFAULT_SNAPSHOT_PATH;
	m.DefaultFilePath = f->paths[1];
	assert_code(ModifyVhdSet(h, &m, 0), ERROR_SUCCESS);
	m.Version = MODIFY_VHDSET_REMOVE_SNAPSHOT;
	m.SnapshotId = one;
	assert_code(ModifyVhdSet(h, &m, 0), ERROR_SUCCESS);
	assert_code(ModifyVhdSet(h, &m, 0), ERROR_NOT_FOUND);
	close_disk(h);
	expect_snapshot(f, &zero, 'a');
}

static void write_set(struct fixture *f, const char *text)
{
	char full[128];
	FILE *file;

	snprintf(full, sizeof(full), "%s/s.vhds", f->folder);
	file = fopen(full, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int open_text(struct fixture *f, const char *text, struct disk_problem *problem)
{
	char full[128];
	struct vhdset *s;
	int err;

	*problem = (struct disk_problem){0};
	write_set(f, text);
	snprintf(full, sizeof(full), "%s/s.vhds", f->folder);
	err = vhdset_open(full, false, &s, problem);
	if (!err)
		vhdset_close(s);
	return err;
}

static void test_damaged_files(void **state)
{
	static const char *const damaged[] = {
		"partita vhdset 1\n",
		"partita vhdset 1\ndefault a\n",
		"partita vhdset 1\ndefault a\nchecksum 00000000\n",
		"partita vhdset 1\ndefault a\nchecksum\n",
	};
	struct fixture *f = *state;
	struct disk_problem problem;

	assert_int_equal(open_text(f, "", &problem), -EMEDIUMTYPE);
	assert_int_equal(open_text(f, "vhdxfile", &problem), -EMEDIUMTYPE);
	assert_non_null(strstr(problem.text, "Windows"));
	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		assert_int_equal(open_text(f, damaged[i], &problem), -EUCLEAN);
		assert_int_equal(problem.win32, ERROR_FILE_CORRUPT);
	}
}

/* Every line is checked, also one with a good checksum: each byte of a good file is changed. */
static void test_a_changed_byte_is_found(void **state)
{
	struct fixture *f = *state;
	char full[128], text[4096];
	struct disk_problem problem;
	HANDLE h = make_set(f);
	int fd;
	ssize_t n;

	assert_code(take(h, &one, false), ERROR_SUCCESS);
	close_disk(h);
	snprintf(full, sizeof(full), "%s/s.vhds", f->folder);
	fd = open(full, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	assert_true(n > 0);
	text[n] = '\0';
	assert_int_equal(open_text(f, text, &problem), 0);
	for (ssize_t i = 0; i < n; i++) {
		char was = text[i];

		text[i] = was == 'q' ? 'r' : 'q';
		assert_int_not_equal(open_text(f, text, &problem), 0);
		text[i] = was;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_set_is_a_disk),
		TEST(snapshots_are_taken),
		TEST(a_snapshot_is_applied),
		TEST(a_writeable_snapshot),
		TEST(snapshots_are_deleted),
		TEST(a_shared_snapshot_is_deleted),
		TEST(changes_since_a_snapshot),
		TEST(many_changes_since_a_snapshot),
		TEST(a_deleted_snapshot_stays_a_point),
		TEST(a_snapshot_of_another_branch_is_no_point),
		TEST(sets_refuse),
		TEST(the_original_is_used),
		TEST(entries_are_modified),
		TEST(damaged_files),
		TEST(a_changed_byte_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
