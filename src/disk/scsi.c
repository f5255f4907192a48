/*
 * scsi.c - what all SCSI units do: check whether a command may run, start it, end it.
 */
#include "disk/scsi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/scsi_unit.h"

/* ---- Ends ------------------------------------------------------------------------------------ */

static void finish(struct scsi_request *r, enum scsi_status status, uint32_t moved)
{
	r->status = status;
	r->moved = moved;
	r->done(r);
}

void scsi_end(struct scsi_request *r, uint32_t moved)
{
	r->sense_length = 0;
	finish(r, SCSI_GOOD, moved);
}

void scsi_conflict(struct scsi_request *r)
{
	r->sense_length = 0;
	finish(r, SCSI_RESERVATION_CONFLICT, 0);
}

/* SPC-4, 4.5.3: fixed format, a current error. */
static void put_sense(uint8_t *sense, unsigned key, unsigned code)
{
	memset(sense, 0, SCSI_SENSE);
	sense[0] = 0x70;
	sense[2] = (uint8_t)key;
	sense[7] = SCSI_SENSE - 8;
	scsi_put16(sense + 12, (uint16_t)code);
}

void scsi_fail(struct scsi_request *r, enum scsi_key key, enum scsi_code code)
{
	put_sense(r->sense, key, code);
	r->sense_length = SCSI_SENSE;
	finish(r, SCSI_CHECK_CONDITION, 0);
}

void scsi_end_io(struct scsi_request *r, uint32_t moved, bool write, int err)
{
	switch (err) {
	case 0:
		scsi_end(r, moved);
		break;
	case -EROFS:
	case -EBADF:
	case -EACCES:
		scsi_fail(r, SCSI_KEY_DATA_PROTECT, SCSI_WRITE_PROTECTED);
		break;
	case -ENOSPC:
	case -EDQUOT:
		scsi_fail(r, SCSI_KEY_DATA_PROTECT, SCSI_SPACE_EXHAUSTED);
		break;
	case -EIO:
		scsi_fail(r, SCSI_KEY_MEDIUM_ERROR,
			write ? SCSI_WRITE_ERROR : SCSI_UNRECOVERED_READ_ERROR);
		break;
	default:
		scsi_fail(r, SCSI_KEY_HARDWARE_ERROR, SCSI_INTERNAL_FAILURE);
	}
}

/* ---- The data buffer ------------------------------------------------------------------------- */

static bool copy(const struct scsi_request *r, uint8_t *own, size_t n, size_t at, bool to_buffer)
{
	if (at > r->length || n > r->length - at)
		return false;
	for (unsigned i = 0; i < r->n_iov && n; i++) {
		uint8_t *base = r->iov[i].iov_base;
		size_t here = r->iov[i].iov_len;

		if (at >= here) {
			at -= here;
			continue;
		}
		here = here - at < n ? here - at : n;
		if (to_buffer)
			memcpy(base + at, own, here);
		else
			memcpy(own, base + at, here);
		own += here;
		n -= here;
		at = 0;
	}
	return n == 0;
}

bool scsi_fetch(const struct scsi_request *r, void *to, size_t n, size_t at)
{
	return copy(r, to, n, at, false);
}

bool scsi_deliver(const struct scsi_request *r, const void *from, size_t n, size_t at)
{
	return copy(r, (uint8_t *)from, n, at, true);
}

void scsi_reply(struct scsi_request *r, const void *data, size_t n, size_t allocation)
{
	if (n > allocation)
		n = allocation;
	if (n > r->length)
		n = r->length;
	scsi_deliver(r, data, n, 0);
	scsi_end(r, (uint32_t)n);
}

/* ---- Ranges and disk requests ---------------------------------------------------------------- */

uint64_t scsi_blocks(const struct scsi_unit *u)
{
	return atomic_load_explicit(&u->size, memory_order_relaxed) >> u->block_shift;
}

bool scsi_range(struct scsi_unit *u, struct scsi_request *r, struct scsi_range *range)
{
	const uint8_t *c = r->cdb;
	uint64_t total = scsi_blocks(u);

	switch (c[0] >> 5) { /* the group tells the length */
	case 0:
		range->lba = scsi_get24(c + 1) & 0x1fffff;
		range->blocks = c[4] ? c[4] : 256;
		break;
	case 1:
	case 2:
		range->lba = scsi_get32(c + 2);
		range->blocks = scsi_get16(c + 7);
		break;
	case 4:
		range->lba = scsi_get64(c + 2);
		range->blocks = scsi_get32(c + 10);
		break;
	default:
		range->lba = scsi_get32(c + 2);
		range->blocks = scsi_get32(c + 6);
	}
	if (range->lba > total || range->blocks > total - range->lba) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
		return false;
	}
	return true;
}

static void io_done(struct disk_request *io)
{
	struct scsi_request *r =
		(struct scsi_request *)((char *)io - offsetof(struct scsi_request, io));
	bool data = io->op == DISK_READ || io->op == DISK_WRITE;

	scsi_end_io(r, data ? (uint32_t)io->length : 0, io->op != DISK_READ, io->result);
}

void scsi_disk_io(struct scsi_unit *u, struct scsi_request *r, enum disk_op op, uint64_t lba,
	uint64_t blocks, bool fua)
{
	r->io = (struct disk_request){.op = op,
		.fua = fua,
		.offset = lba << u->block_shift,
		.length = blocks << u->block_shift,
		.iov = r->iov,
		.n_iov = r->n_iov,
		.done = io_done};
	disk_submit(r->queue, u->disk, &r->io);
}

/* ---- Commands -------------------------------------------------------------------------------- */

bool scsi_inquiry_page(struct scsi_request *r, int *page, size_t *allocation)
{
	const uint8_t *c = r->cdb;
	bool vital = c[1] & 1;

	/* The bit beside (command support data) is obsolete; a page needs the first. */
	if (c[1] & 0xfe || (c[2] && !vital)) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return false;
	}
	*page = vital ? c[2] : -1;
	*allocation = scsi_get16(c + 3);
	return true;
}

bool scsi_unit_resized(struct scsi_unit *u)
{
	uint64_t told = atomic_load_explicit(&u->size, memory_order_relaxed), now;

	if (u->removable)
		return false;
	now = disk_size(u->disk);
	if (now == told || !atomic_compare_exchange_strong(&u->size, &told, now))
		return false;
	u->attention = SCSI_CAPACITY_CHANGED;
	return true;
}

void scsi_submit(struct scsi_unit *u, struct disk_queue *q, struct scsi_request *r)
{
	const struct scsi_command *c = &u->commands[r->cdb[0]];
	uint16_t attention = 0;

	r->unit = u;
	r->queue = q;
	if (!c->run) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_OPCODE);
		return;
	}
	scsi_unit_resized(u);
	if (!(c->needs & SCSI_ANY_TIME) && u->attention)
		attention = atomic_exchange(&u->attention, 0);
	if (u->reserved && !attention && scsi_reserved_against(u, r, c->needs, &attention))
		scsi_conflict(r);
	else if (attention)
		scsi_fail(r, SCSI_KEY_UNIT_ATTENTION, attention);
	else if (c->needs & SCSI_MEDIUM && !u->disk)
		scsi_fail(r, SCSI_KEY_NOT_READY,
			u->tray_open ? SCSI_NO_MEDIUM_TRAY_OPEN : SCSI_NO_MEDIUM_TRAY_CLOSED);
	else if (c->needs & SCSI_WRITES && u->read_only)
		scsi_fail(r, SCSI_KEY_DATA_PROTECT, SCSI_WRITE_PROTECTED);
	else
		c->run(u, r);
}

void scsi_reset(struct scsi_unit *u)
{
	pthread_mutex_lock(&u->lock);
	u->prevented = false;
	u->reservations.plain = false;
	u->reserved = u->reservations.n > 0;
	pthread_mutex_unlock(&u->lock);
}

void scsi_unit_destroy(struct scsi_unit *u)
{
	if (!u)
		return;
	pthread_cond_destroy(&u->idle);
	pthread_mutex_destroy(&u->lock);
	free(u);
}
