/*
 * scsi_disk.c - a direct access unit: the table of its commands, and the short ones among them.
 *
 * Facts: SBC-3; which commands Hyper-V's disks know, and how they answer, after OpenVMM's scsidisk.
 */
#include <stdlib.h>
#include <string.h>

#include "disk/scsi_unit.h"

static void run_ok(struct scsi_unit *u, struct scsi_request *r)
{
	scsi_end(r, 0);
}

/*
 * Transfers must fit the buffer; a length of no blocks moves nothing and is no error (SBC-3, 5.8).
 */
static void run_transfer(struct scsi_unit *u, struct scsi_request *r, enum disk_op op, bool fua)
{
	struct scsi_range range;

	if (!scsi_range(u, r, &range))
		return;
	if (range.blocks > r->length >> u->block_shift)
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
	else if (!range.blocks)
		scsi_end(r, 0);
	else
		scsi_disk_io(u, r, op, range.lba, range.blocks, fua);
}

/* The bit is elsewhere in none of the long forms; the 6-byte ones have none. */
static bool has_fua(const struct scsi_request *r)
{
	return r->cdb[0] >> 5 && r->cdb[1] & 0x08;
}

static void run_read(struct scsi_unit *u, struct scsi_request *r)
{
	run_transfer(u, r, DISK_READ, false);
}

static void run_write(struct scsi_unit *u, struct scsi_request *r)
{
	run_transfer(u, r, DISK_WRITE, has_fua(r));
}

/* What is durable was written; reading it back from the host's cache would prove no more. */
static void run_write_verify(struct scsi_unit *u, struct scsi_request *r)
{
	run_transfer(u, r, DISK_WRITE, true);
}

static void run_flush(struct scsi_unit *u, struct scsi_request *r)
{
	scsi_disk_io(u, r, DISK_FLUSH, 0, 0, false);
}

static void run_synchronize_cache(struct scsi_unit *u, struct scsi_request *r)
{
	struct scsi_range range;

	/* Everything is made durable, whatever range is meant. */
	if (scsi_range(u, r, &range))
		run_flush(u, r);
}

static void run_start_stop(struct scsi_unit *u, struct scsi_request *r)
{
	bool immediate = r->cdb[1] & 1, start = r->cdb[4] & 1;

	if (immediate)
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
	else if (start)
		scsi_end(r, 0);
	else
		run_flush(u, r);
}

static void run_request_sense(struct scsi_unit *u, struct scsi_request *r)
{
	uint16_t code = atomic_exchange(&u->attention, 0);
	uint8_t sense[SCSI_SENSE] = {
		0x70, 0, code ? SCSI_KEY_UNIT_ATTENTION : 0, 0, 0, 0, 0, SCSI_SENSE - 8};

	scsi_put16(sense + 12, code);
	scsi_reply(r, sense, sizeof(sense), r->cdb[4]);
}

static void run_send_diagnostic(struct scsi_unit *u, struct scsi_request *r)
{
	/* Only the default self-test, which has nothing to find: no parameters, no other test. */
	if (r->cdb[1] & 0xf0 || scsi_get16(r->cdb + 3))
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
	else
		scsi_end(r, 0);
}

static void run_capacity_10(struct scsi_unit *u, struct scsi_request *r)
{
	uint64_t last = scsi_blocks(u) - 1;
	uint8_t data[8];

	scsi_put32(data, last < UINT32_MAX ? (uint32_t)last : UINT32_MAX);
	scsi_put32(data + 4, 1u << u->block_shift);
	scsi_reply(r, data, sizeof(data), sizeof(data));
}

/* SBC-3, 5.16.2. Unmapped blocks read as zeros here, so LBPRZ is told beside LBPME. */
static void run_service_action_in(struct scsi_unit *u, struct scsi_request *r)
{
	uint8_t data[32] = {0}, per_physical = 0;
	struct disk_info info;

	if ((r->cdb[1] & 0x1f) != SCSI_SAI_READ_CAPACITY_16) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	disk_info(u->disk, &info);
	while (info.logical_sector << per_physical < info.physical_sector)
		per_physical++;
	scsi_put64(data, scsi_blocks(u) - 1);
	scsi_put32(data + 8, 1u << u->block_shift);
	data[13] = per_physical;
	if (!u->read_only)
		data[14] = 0xc0;
	scsi_reply(r, data, sizeof(data), scsi_get32(r->cdb + 10));
}

/* SPC-4, 6.33. The transport knows the other units; a unit answers for itself. */
static void run_report_luns(struct scsi_unit *u, struct scsi_request *r)
{
	static const uint8_t data[16] = {[3] = 8};

	if (scsi_get32(r->cdb + 6) < sizeof(data))
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
	else
		scsi_reply(r, data, sizeof(data), scsi_get32(r->cdb + 6));
}

static const struct scsi_command commands[256] = {
	[SCSI_TEST_UNIT_READY] = {run_ok, 0},
	[SCSI_REQUEST_SENSE] = {run_request_sense, SCSI_ANY_TIME},
	[SCSI_FORMAT_UNIT] = {run_ok, SCSI_WRITES}, /* it has its format */
	[SCSI_READ_6] = {run_read, SCSI_READS},
	[SCSI_WRITE_6] = {run_write, SCSI_WRITES},
	[SCSI_INQUIRY] = {scsi_disk_inquiry, SCSI_ANY_TIME},
	[SCSI_MODE_SELECT_6] = {scsi_disk_mode_select, 0},
	[SCSI_RESERVE_6] = {scsi_reserve_6, 0},
	[SCSI_RELEASE_6] = {scsi_release_6, 0},
	[SCSI_MODE_SENSE_6] = {scsi_disk_mode_sense, 0},
	[SCSI_START_STOP_UNIT] = {run_start_stop, SCSI_READS},
	[SCSI_SEND_DIAGNOSTIC] = {run_send_diagnostic, 0},
	[SCSI_PREVENT_ALLOW_REMOVAL] = {run_ok, 0}, /* the medium cannot be removed */
	[SCSI_READ_CAPACITY_10] = {run_capacity_10, 0},
	[SCSI_READ_10] = {run_read, SCSI_READS},
	[SCSI_WRITE_10] = {run_write, SCSI_WRITES},
	[SCSI_WRITE_VERIFY_10] = {run_write_verify, SCSI_WRITES},
	[SCSI_VERIFY_10] = {scsi_verify, SCSI_READS},
	[SCSI_SYNCHRONIZE_CACHE_10] = {run_synchronize_cache, SCSI_READS},
	[SCSI_WRITE_SAME_10] = {scsi_write_same, SCSI_WRITES},
	[SCSI_UNMAP] = {scsi_unmap, SCSI_WRITES},
	[SCSI_MODE_SELECT_10] = {scsi_disk_mode_select, 0},
	[SCSI_MODE_SENSE_10] = {scsi_disk_mode_sense, 0},
	[SCSI_PERSISTENT_RESERVE_IN] = {scsi_reserve_in, 0},
	[SCSI_PERSISTENT_RESERVE_OUT] = {scsi_reserve_out, 0},
	[SCSI_READ_16] = {run_read, SCSI_READS},
	[SCSI_WRITE_16] = {run_write, SCSI_WRITES},
	[SCSI_WRITE_VERIFY_16] = {run_write_verify, SCSI_WRITES},
	[SCSI_VERIFY_16] = {scsi_verify, SCSI_READS},
	[SCSI_SYNCHRONIZE_CACHE_16] = {run_synchronize_cache, SCSI_READS},
	[SCSI_WRITE_SAME_16] = {scsi_write_same, SCSI_WRITES},
	[SCSI_SERVICE_ACTION_IN_16] = {run_service_action_in, 0},
	[SCSI_REPORT_LUNS] = {run_report_luns, SCSI_ANY_TIME},
	[SCSI_READ_12] = {run_read, SCSI_READS},
	[SCSI_WRITE_12] = {run_write, SCSI_WRITES},
	[SCSI_WRITE_VERIFY_12] = {run_write_verify, SCSI_WRITES},
	[SCSI_VERIFY_12] = {scsi_verify, SCSI_READS},
};

struct scsi_unit *scsi_disk_create(struct disk *d, const struct scsi_disk_options *options)
{
	static const struct scsi_disk_options defaults;
	struct scsi_unit *u = calloc(1, sizeof(*u));
	struct disk_info info;

	if (!u)
		return NULL;
	if (!options)
		options = &defaults;
	disk_info(d, &info);
	u->commands = commands;
	u->disk = d;
	u->read_only = options->read_only || !info.writable;
	if (options->serial)
		strncpy(u->serial, options->serial, sizeof(u->serial) - 1);
	u->max_transfer = options->max_transfer ? options->max_transfer : 8u << 20;
	u->block_shift = (unsigned)__builtin_ctz(info.logical_sector);
	u->size = info.size;
	pthread_mutex_init(&u->lock, NULL);
	pthread_cond_init(&u->idle, NULL);
	return u;
}
