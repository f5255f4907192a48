/*
 * virtdisk_fixture.c - see virtdisk_fixture.h.
 */
#include "virtdisk_fixture.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const VIRTUAL_STORAGE_TYPE any_type = {0};
const VIRTUAL_STORAGE_TYPE vhd_type = {VIRTUAL_STORAGE_TYPE_DEVICE_VHD,
	{0xEC984AEC, 0xA0F9, 0x47E9, {0x90, 0x1F, 0x71, 0x41, 0x5A, 0x66, 0x34, 0x5B}}};
const VIRTUAL_STORAGE_TYPE vhdx_type = {VIRTUAL_STORAGE_TYPE_DEVICE_VHDX,
	{0xEC984AEC, 0xA0F9, 0x47E9, {0x90, 0x1F, 0x71, 0x41, 0x5A, 0x66, 0x34, 0x5B}}};
const VIRTUAL_STORAGE_TYPE set_type = {VIRTUAL_STORAGE_TYPE_DEVICE_VHDSET,
	{0xEC984AEC, 0xA0F9, 0x47E9, {0x90, 0x1F, 0x71, 0x41, 0x5A, 0x66, 0x34, 0x5B}}};

int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	folder_make(f->folder);
	*state = f;
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	folder_remove(f->folder);
	free(f);
	return 0;
}

PCWSTR path(struct fixture *f, const char *name)
{
	WCHAR *to = f->paths[f->n_paths++];
	char full[160];

	assert_true(f->n_paths <= 16);
	snprintf(full, sizeof(full), "%s/%s", f->folder, name);
	for (unsigned i = 0; (to[i] = (unsigned char)full[i]); i++)
		;
	return to;
}

bool exists(struct fixture *f, const char *name)
{
	char full[160];

	snprintf(full, sizeof(full), "%s/%s", f->folder, name);
	return !access(full, F_OK);
}

HANDLE create(
	const VIRTUAL_STORAGE_TYPE *type, PCWSTR path, uint64_t size, PCWSTR parent, bool fixed)
{
	CREATE_VIRTUAL_DISK_PARAMETERS p = {.Version = CREATE_VIRTUAL_DISK_VERSION_2,
		.Version2 = {.MaximumSize = size, .ParentPath = parent}};
	VIRTUAL_STORAGE_TYPE t = *type;
	HANDLE h;

	assert_code(CreateVirtualDisk(&t, path, VIRTUAL_DISK_ACCESS_NONE, NULL,
			    fixed ? CREATE_VIRTUAL_DISK_FLAG_FULL_PHYSICAL_ALLOCATION : 0, 0, &p,
			    NULL, &h),
		ERROR_SUCCESS);
	return h;
}

DWORD try_open(PCWSTR path, bool read_only, HANDLE *h)
{
	OPEN_VIRTUAL_DISK_PARAMETERS p = {
		.Version = OPEN_VIRTUAL_DISK_VERSION_2, .Version2 = {.ReadOnly = read_only}};
	VIRTUAL_STORAGE_TYPE t = any_type;

	return OpenVirtualDisk(&t, path, VIRTUAL_DISK_ACCESS_NONE, 0, &p, h);
}

HANDLE open_disk(PCWSTR path, bool read_only)
{
	HANDLE h;

	assert_code(try_open(path, read_only, &h), ERROR_SUCCESS);
	return h;
}

void close_disk(HANDLE h)
{
	assert_true(CloseHandle(h));
}

static void transfer(HANDLE h, uint8_t operation, uint64_t offset, void *data)
{
	uint64_t block = offset / 512;
	UCHAR cdb[16] = {operation, [13] = 8}, sense[18];
	RAW_SCSI_VIRTUAL_DISK_PARAMETERS p = {.Version = RAW_SCSI_VIRTUAL_DISK_VERSION_1,
		.Version1 = {.DataIn = operation == 0x88,
			.CdbLength = 16,
			.SenseInfoLength = sizeof(sense),
			.DataTransferLength = 4096,
			.DataBuffer = data,
			.SenseInfo = sense,
			.Cdb = cdb}};
	RAW_SCSI_VIRTUAL_DISK_RESPONSE r = {0};

	for (unsigned i = 0; i < 8; i++)
		cdb[2 + i] = block >> (56 - 8 * i);
	do /* the first command of a unit may be told of a unit attention */
		assert_code(RawSCSIVirtualDisk(h, &p, RAW_SCSI_VIRTUAL_DISK_FLAG_NONE, &r),
			ERROR_SUCCESS);
	while (r.Version1.ScsiStatus == 2 && (sense[2] & 0xF) == 6);
	assert_int_equal(r.Version1.ScsiStatus, 0);
	assert_int_equal(r.Version1.DataTransferLength, 4096);
}

void put(HANDLE h, uint64_t offset, char value)
{
	char data[4096];

	memset(data, value, sizeof(data));
	transfer(h, 0x8A, offset, data);
}

char get(HANDLE h, uint64_t offset)
{
	char data[4096];

	transfer(h, 0x88, offset, data);
	for (size_t i = 1; i < sizeof(data); i++)
		assert_int_equal(data[i], data[0]);
	return data[0];
}

DWORD info(HANDLE h, GET_VIRTUAL_DISK_INFO_VERSION version, void *to, ULONG size)
{
	GET_VIRTUAL_DISK_INFO *i = to;

	i->Version = version;
	return GetVirtualDiskInformation(h, &size, i, NULL);
}

uint64_t virtual_size(HANDLE h)
{
	GET_VIRTUAL_DISK_INFO i;

	assert_code(info(h, GET_VIRTUAL_DISK_INFO_SIZE, &i, sizeof(i)), ERROR_SUCCESS);
	return i.Size.VirtualSize;
}

void most_recent_id(HANDLE h, WCHAR id[VIRTUAL_DISK_MAXIMUM_CHANGE_TRACKING_ID_LENGTH], BOOL *newer)
{
	union {
		GET_VIRTUAL_DISK_INFO i;
		char room[sizeof(GET_VIRTUAL_DISK_INFO) +
			  2 * VIRTUAL_DISK_MAXIMUM_CHANGE_TRACKING_ID_LENGTH];
	} u;
	const WCHAR *from = u.i.ChangeTrackingState.MostRecentId;
	unsigned n = 0;

	assert_code(
		info(h, GET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE, &u, sizeof(u)), ERROR_SUCCESS);
	assert_true(u.i.ChangeTrackingState.Enabled);
	do
		id[n] = from[n];
	while (id[n++]);
	if (newer)
		*newer = u.i.ChangeTrackingState.NewerChanges;
}

void start_mirror(HANDLE h, PCWSTR to, unsigned flags, OVERLAPPED *o)
{
	MIRROR_VIRTUAL_DISK_PARAMETERS p = {.Version = MIRROR_VIRTUAL_DISK_VERSION_1,
		.Version1 = {.MirrorVirtualDiskPath = to}};

	assert_code(MirrorVirtualDisk(h, (MIRROR_VIRTUAL_DISK_FLAG)flags, &p, o), ERROR_IO_PENDING);
}

void break_mirror(HANDLE h)
{
	DWORD err;

	while ((err = BreakMirrorVirtualDisk(h)) == ERROR_VHD_INVALID_STATE)
		sched_yield();
	assert_code(err, ERROR_SUCCESS);
}
