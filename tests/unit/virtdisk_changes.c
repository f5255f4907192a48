/*
 * virtdisk.h: change tracking, as a backup program uses it, and SCSI commands.
 */
#include "virtdisk_fixture.h"

#define CHUNK 65536ull

typedef WCHAR change_id[VIRTUAL_DISK_MAXIMUM_CHANGE_TRACKING_ID_LENGTH];

static void track(HANDLE h, BOOL enabled)
{
	SET_VIRTUAL_DISK_INFO s = {.Version = SET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE,
		.ChangeTrackingEnabled = enabled};

	assert_code(SetVirtualDiskInformation(h, &s), ERROR_SUCCESS);
}

static DWORD query(HANDLE h, PCWSTR id, QUERY_CHANGES_VIRTUAL_DISK_RANGE *ranges, ULONG *n)
{
	ULONG64 processed;

	return QueryChangesVirtualDisk(h, id, 0, virtual_size(h),
		QUERY_CHANGES_VIRTUAL_DISK_FLAG_NONE, ranges, n, &processed);
}

static void test_an_incremental_backup(void **state)
{
	struct fixture *f = *state;
	PCWSTR p = path(f, "d.vhdx");
	HANDLE h = create(&vhdx_type, p, 64 * MIB, NULL, false);
	QUERY_CHANGES_VIRTUAL_DISK_RANGE r[8];
	change_id first, second;
	ULONG n = 8;
	BOOL newer;

	track(h, TRUE);
	most_recent_id(h, first, &newer);
	assert_false(newer);
	put(h, 10 * MIB, 'a');
	put(h, 20 * MIB, 'b');
	most_recent_id(h, second, &newer);
	assert_true(newer);
	assert_code(query(h, first, r, &n), ERROR_SUCCESS);
	assert_int_equal(n, 2);
	assert_int_equal(r[0].ByteOffset, 10 * MIB);
	assert_int_equal(r[0].ByteLength, CHUNK);
	assert_int_equal(r[1].ByteOffset, 20 * MIB);
	close_disk(h);

	h = open_disk(p, true);
	most_recent_id(h, second, &newer);
	assert_false(newer);
	assert_memory_not_equal(first, second, sizeof(first));
	n = 8;
	assert_code(query(h, first, r, &n), ERROR_SUCCESS);
	assert_int_equal(n, 2);
	n = 8;
	assert_code(query(h, second, r, &n), ERROR_SUCCESS);
	assert_int_equal(n, 0);
	close_disk(h);
}

static void test_tracking_refuses(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false);
	QUERY_CHANGES_VIRTUAL_DISK_RANGE r[2];
	union {
		GET_VIRTUAL_DISK_INFO i;
		char room[64];
	} u;
	ULONG64 processed;
	change_id id;
	ULONG n = 2;

	assert_code(info(h, GET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE, &u, sizeof(u)), 0);
	assert_false(u.i.ChangeTrackingState.Enabled);
	assert_code(query(h, u"rctX:01234567:0123:0123:0123:0123456789ab:00000000", r, &n),
		ERROR_VHD_CHANGE_TRACKING_DISABLED);
	track(h, TRUE);
	most_recent_id(h, id, NULL);
	n = 2;
	assert_code(query(h, u"nonsense", r, &n), ERROR_VHD_INVALID_CHANGE_TRACKING_ID);
	n = 2;
	assert_code(query(h, u"rctX:01234567:0123:0123:0123:0123456789ab:00000000", r, &n),
		ERROR_VHD_MISSING_CHANGE_TRACKING_INFORMATION);
	n = 2;
	assert_code(QueryChangesVirtualDisk(h, id, 64 * MIB, 512, 0, r, &n, &processed),
		ERROR_INVALID_PARAMETER);
	n = 2;
	assert_code(QueryChangesVirtualDisk(h, NULL, 0, 512, 0, r, &n, &processed),
		ERROR_INVALID_PARAMETER);
	assert_code(QueryChangesVirtualDisk(h, id, 0, 512, 0, NULL, &n, &processed),
		ERROR_INVALID_PARAMETER);
	assert_code(QueryChangesVirtualDisk(
			    h, id, 0, 512, (QUERY_CHANGES_VIRTUAL_DISK_FLAG)1, r, &n, &processed),
		ERROR_INVALID_PARAMETER);
	n = 0;
	assert_code(QueryChangesVirtualDisk(h, id, 0, 512, 0, r, &n, &processed),
		ERROR_INVALID_PARAMETER);
	/* Room for the identifier is asked for. */
	assert_code(info(h, GET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE, &u.i, sizeof(u.i)),
		ERROR_INSUFFICIENT_BUFFER);
	track(h, FALSE);
	n = 2;
	assert_code(query(h, id, r, &n), ERROR_VHD_CHANGE_TRACKING_DISABLED);
	close_disk(h);
}

static void test_a_checkpoint_keeps_tracking(void **state)
{
	struct fixture *f = *state;
	PCWSTR base = path(f, "base.vhdx"), child = path(f, "child.avhdx");
	CREATE_VIRTUAL_DISK_PARAMETERS p = {
		.Version = CREATE_VIRTUAL_DISK_VERSION_2, .Version2 = {.ParentPath = base}};
	HANDLE h = create(&vhdx_type, base, 64 * MIB, NULL, false);
	VIRTUAL_STORAGE_TYPE t = vhdx_type;
	QUERY_CHANGES_VIRTUAL_DISK_RANGE r[8];
	change_id first;
	ULONG n = 8;

	track(h, TRUE);
	most_recent_id(h, first, NULL);
	put(h, 0, 'a');
	close_disk(h);
	assert_code(CreateVirtualDisk(&t, child, 0, NULL,
			    CREATE_VIRTUAL_DISK_FLAG_PRESERVE_PARENT_CHANGE_TRACKING_STATE, 0, &p,
			    NULL, &h),
		ERROR_SUCCESS);
	put(h, 8 * MIB, 'b');
	assert_code(query(h, first, r, &n), ERROR_SUCCESS);
	assert_int_equal(n, 2);
	assert_int_equal(r[0].ByteOffset, 0);
	assert_int_equal(r[1].ByteOffset, 8 * MIB);
	close_disk(h);
}

/* ---- SCSI ------------------------------------------------------------------------------------ */

struct command {
	RAW_SCSI_VIRTUAL_DISK_PARAMETERS p;
	RAW_SCSI_VIRTUAL_DISK_RESPONSE r;
	UCHAR cdb[16], sense[18], data[256];
};

static DWORD send(HANDLE h, struct command *c, UCHAR length)
{
	c->p.Version = RAW_SCSI_VIRTUAL_DISK_VERSION_1;
	c->p.Version1.CdbLength = length;
	c->p.Version1.Cdb = c->cdb;
	c->p.Version1.SenseInfoLength = sizeof(c->sense);
	c->p.Version1.SenseInfo = c->sense;
	c->p.Version1.DataBuffer = c->data;
	c->p.Version1.DataTransferLength = sizeof(c->data);
	return RawSCSIVirtualDisk(h, &c->p, RAW_SCSI_VIRTUAL_DISK_FLAG_NONE, &c->r);
}

static void test_scsi_commands(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false);
	struct command inquiry = {.cdb = {0x12, 0, 0, 0, 96}, .p.Version1.DataIn = TRUE};
	struct command unknown = {.cdb = {0xFF}};

	assert_code(send(h, &inquiry, 6), ERROR_SUCCESS);
	assert_int_equal(inquiry.r.Version1.ScsiStatus, 0);
	assert_in_range(inquiry.r.Version1.DataTransferLength, 36, 96);
	assert_memory_equal(inquiry.data + 8, "Msft    Virtual Disk    ", 24);
	do
		assert_code(send(h, &unknown, 6), ERROR_SUCCESS);
	while ((unknown.sense[2] & 0xF) == 6); /* unit attention first */
	assert_int_equal(unknown.r.Version1.ScsiStatus, 2);
	assert_int_equal(unknown.r.Version1.SenseInfoLength, 18);
	assert_int_equal(unknown.sense[2] & 0xF, 5); /* illegal request */
	close_disk(h);
}

static void test_scsi_refuses(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 64 * MIB, NULL, false);
	struct command c = {.cdb = {0}};

	assert_code(send(h, &c, 5), ERROR_INVALID_PARAMETER);
	assert_code(send(h, &c, 17), ERROR_INVALID_PARAMETER);
	assert_code(RawSCSIVirtualDisk(h, NULL, 0, &c.r), ERROR_INVALID_PARAMETER);
	assert_code(RawSCSIVirtualDisk(h, &c.p, 0, NULL), ERROR_INVALID_PARAMETER);
	c.p.Version1.RSVDHandle = TRUE;
	assert_code(send(h, &c, 6), ERROR_NOT_SUPPORTED);
	close_disk(h);
}

/* A command that writes through a handle that may not. */
static void test_scsi_write_protection(void **state)
{
	struct fixture *f = *state;
	PCWSTR p = path(f, "d.vhdx");
	struct command c = {.cdb = {0x2A, [8] = 0}};
	HANDLE h;

	close_disk(create(&vhdx_type, p, 64 * MIB, NULL, false));
	h = open_disk(p, true);
	assert_int_equal(get(h, 0), 0);
	c.cdb[8] = 1;
	c.p.Version1.DataTransferLength = 0;
	assert_code(send(h, &c, 10), ERROR_SUCCESS);
	assert_int_equal(c.r.Version1.ScsiStatus, 2);
	assert_int_equal(c.sense[2] & 0xF, 7); /* data protect */
	close_disk(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_incremental_backup),
		TEST(tracking_refuses),
		TEST(a_checkpoint_keeps_tracking),
		TEST(scsi_commands),
		TEST(scsi_refuses),
		TEST(scsi_write_protection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
