/*
 * scsi_mode.c - a disk's mode parameters: there is the caching page, and nothing in it can be
 * changed.
 *
 * Facts: SPC-4, 6.11 to 6.14 and 7.5; SBC-3, 6.4.5.
 */
#include <string.h>

#include "disk/scsi_unit.h"

#define CACHING_BYTES 20
#define WRITE_CACHE   0x04 /* of the page's third byte */

/* Page control (the two bits above the page code). */
enum { CURRENT, CHANGEABLE, DEFAULT, SAVED };

void scsi_disk_mode_sense(struct scsi_unit *u, struct scsi_request *r)
{
	bool ten = r->cdb[0] == SCSI_MODE_SENSE_10;
	unsigned header = ten ? 8 : 4, code = r->cdb[2] & 0x3f, control = r->cdb[2] >> 6;
	size_t allocation = ten ? scsi_get16(r->cdb + 7) : r->cdb[4];
	/* Write protected; FUA (and DPO, which asks for nothing) are known. */
	uint8_t specific = u->read_only ? 0x90 : 0x10;
	uint8_t data[8 + CACHING_BYTES] = {0};

	if (control == SAVED || (code != SCSI_MODE_CACHING && code != SCSI_MODE_ALL)) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	if (ten) {
		scsi_put16(data, (uint16_t)(header + CACHING_BYTES - 2));
		data[3] = specific;
	} else {
		data[0] = (uint8_t)(header + CACHING_BYTES - 1);
		data[2] = specific;
	}
	data[header] = SCSI_MODE_CACHING;
	data[header + 1] = CACHING_BYTES - 2;
	if (control != CHANGEABLE)
		data[header + 2] = WRITE_CACHE;
	scsi_reply(r, data, header + CACHING_BYTES, allocation);
}

/*
 * Only what is already so may be set. To agree to turn the write cache off, and then have it on,
 * would cost the guest data.
 */
void scsi_disk_mode_select(struct scsi_unit *u, struct scsi_request *r)
{
	bool ten = r->cdb[0] == SCSI_MODE_SELECT_10, save = r->cdb[1] & 1;
	unsigned header = ten ? 8 : 4;
	size_t n = ten ? scsi_get16(r->cdb + 7) : r->cdb[4];
	uint8_t head[8], page[CACHING_BYTES];
	size_t skip;

	if (!n) {
		scsi_end(r, 0);
		return;
	}
	if (save) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	if (n > r->length || n < header + CACHING_BYTES || !scsi_fetch(r, head, header, 0))
		goto length;
	skip = header + (ten ? scsi_get16(head + 6) : head[3]);
	if (skip + CACHING_BYTES > n || !scsi_fetch(r, page, CACHING_BYTES, skip))
		goto length;
	if ((page[0] & 0x3f) != SCSI_MODE_CACHING || page[1] != CACHING_BYTES - 2 ||
		!(page[2] & WRITE_CACHE))
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_LIST);
	else
		scsi_end(r, (uint32_t)n);
	return;
length:
	scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH);
}
