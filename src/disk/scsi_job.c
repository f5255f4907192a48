/*
 * scsi_job.c - commands that take several disk requests, one after the other: UNMAP, WRITE SAME
 * with a pattern, VERIFY of the caller's bytes.
 *
 * Facts: SBC-3, 5.28 (UNMAP), 5.44 and 5.45 (WRITE SAME), 5.30 to 5.32 (VERIFY).
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "disk/scsi_unit.h"

#define MOST_DESCRIPTORS 4096
#define DESCRIPTOR	 16
#define SAME_MOST	 (8u << 20) /* bytes, as the block limits page says */
#define CHUNK		 (1u << 20) /* bytes at a time */

struct scsi_job {
	/* Starts the next request; false: there is none, and the job ends well. */
	bool (*step)(struct scsi_unit *u, struct scsi_request *r, struct scsi_job *j);
	uint64_t lba, blocks; /* what is left */
	unsigned next, n;     /* descriptors */
	size_t at;	      /* VERIFY: bytes compared */
	uint32_t chunk;	      /* bytes in the request under way */
	uint8_t bytes[];
};

static void job_free(struct scsi_request *r)
{
	free(r->job);
	r->job = NULL;
}

static void job_done(struct disk_request *io);

static void job_go(struct scsi_unit *u, struct scsi_request *r)
{
	if (r->job->step(u, r, r->job)) {
		disk_submit(r->queue, u->disk, &r->io);
		return;
	}
	job_free(r);
	scsi_end(r, r->length);
}

static void job_done(struct disk_request *io)
{
	struct scsi_request *r =
		(struct scsi_request *)((char *)io - offsetof(struct scsi_request, io));
	bool write = io->op != DISK_READ;

	if (!io->result) {
		job_go(r->unit, r);
		return;
	}
	job_free(r);
	scsi_end_io(r, 0, write, io->result);
}

/* A job with @room bytes of its own; NULL: memory is short, and @r was failed. */
static struct scsi_job *job_create(struct scsi_request *r, size_t room)
{
	r->job = calloc(1, sizeof(*r->job) + room);
	if (!r->job)
		scsi_fail(r, SCSI_KEY_HARDWARE_ERROR, SCSI_INTERNAL_FAILURE);
	return r->job;
}

static void job_request(
	struct scsi_unit *u, struct scsi_request *r, enum disk_op op, uint64_t lba, uint64_t bytes)
{
	r->io = (struct disk_request){
		.op = op, .offset = lba << u->block_shift, .length = bytes, .done = job_done};
}

/* ---- UNMAP ----------------------------------------------------------------------------------- */

static bool unmap_step(struct scsi_unit *u, struct scsi_request *r, struct scsi_job *j)
{
	while (j->next < j->n) {
		const uint8_t *d = j->bytes + j->next++ * DESCRIPTOR;
		uint64_t blocks = scsi_get32(d + 8);

		if (!blocks)
			continue;
		job_request(u, r, DISK_UNMAP, scsi_get64(d), blocks << u->block_shift);
		return true;
	}
	return false;
}

static bool in_range(uint64_t total, const uint8_t *d)
{
	uint64_t lba = scsi_get64(d);

	return lba <= total && scsi_get32(d + 8) <= total - lba;
}

void scsi_unmap(struct scsi_unit *u, struct scsi_request *r)
{
	size_t n = scsi_get16(r->cdb + 7), list;
	uint64_t total = scsi_blocks(u);
	struct scsi_job *j;
	uint8_t head[8];

	if (!n) {
		scsi_end(r, 0);
		return;
	}
	if (n < sizeof(head) || !scsi_fetch(r, head, sizeof(head), 0)) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH);
		return;
	}
	list = scsi_get16(head + 2);
	if (list > n - sizeof(head))
		list = n - sizeof(head);
	if (list / DESCRIPTOR > MOST_DESCRIPTORS) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_LIST);
		return;
	}
	j = job_create(r, list);
	if (!j)
		return;
	j->step = unmap_step;
	j->n = (unsigned)(list / DESCRIPTOR);
	if (!scsi_fetch(r, j->bytes, list, sizeof(head))) {
		job_free(r);
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH);
		return;
	}
	for (unsigned i = 0; i < j->n; i++) {
		if (in_range(total, j->bytes + i * DESCRIPTOR))
			continue;
		job_free(r);
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_LBA_OUT_OF_RANGE);
		return;
	}
	job_go(u, r);
}

/* ---- WRITE SAME ------------------------------------------------------------------------------ */

static bool same_step(struct scsi_unit *u, struct scsi_request *r, struct scsi_job *j)
{
	uint64_t left = j->blocks << u->block_shift;
	uint32_t bytes = left < j->chunk ? (uint32_t)left : j->chunk;

	if (!bytes)
		return false;
	job_request(u, r, DISK_WRITE, j->lba, bytes);
	r->vector = (struct iovec){.iov_base = j->bytes, .iov_len = bytes};
	r->io.iov = &r->vector;
	r->io.n_iov = 1;
	j->lba += bytes >> u->block_shift;
	j->blocks -= bytes >> u->block_shift;
	return true;
}

void scsi_write_same(struct scsi_unit *u, struct scsi_request *r)
{
	bool sixteen = r->cdb[0] == SCSI_WRITE_SAME_16, unmap = r->cdb[1] & 0x08;
	bool no_data = sixteen && r->cdb[1] & 0x01;
	size_t block = (size_t)1 << u->block_shift, chunk;
	struct scsi_range range;
	struct scsi_job *j;

	if (!scsi_range(u, r, &range))
		return;
	/* No count means "to the end" (SBC-3, 5.44), which may be more than the limit. */
	if (!range.blocks)
		range.blocks = scsi_blocks(u) - range.lba;
	if (r->cdb[1] & 0x06 || (!no_data && r->length < block)) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	chunk = range.blocks << u->block_shift < CHUNK ? range.blocks << u->block_shift : CHUNK;
	if (chunk < block)
		chunk = block;
	j = job_create(r, chunk);
	if (!j)
		return;
	if (!no_data)
		scsi_fetch(r, j->bytes, block, 0);
	if (bytes_are_zero(j->bytes, block)) {
		job_free(r);
		scsi_disk_io(u, r, unmap ? DISK_UNMAP : DISK_ZERO, range.lba, range.blocks, false);
		return;
	}
	if (range.blocks << u->block_shift > SAME_MOST) {
		job_free(r);
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	for (size_t at = block; at < chunk; at += block)
		memcpy(j->bytes + at, j->bytes, block);
	j->step = same_step;
	j->chunk = (uint32_t)chunk;
	j->lba = range.lba;
	j->blocks = range.blocks;
	job_go(u, r);
}

/* ---- VERIFY ---------------------------------------------------------------------------------- */

/* Is what was read what the caller's buffer has there? */
static bool same_bytes(const struct scsi_request *r, const uint8_t *read, size_t n, size_t at)
{
	uint8_t piece[4096];

	for (size_t i = 0, here; i < n; i += here) {
		here = n - i < sizeof(piece) ? n - i : sizeof(piece);
		if (!scsi_fetch(r, piece, here, at + i) || memcmp(piece, read + i, here))
			return false;
	}
	return true;
}

static void verify_done(struct disk_request *io)
{
	struct scsi_request *r =
		(struct scsi_request *)((char *)io - offsetof(struct scsi_request, io));
	struct scsi_job *j = r->job;

	if (!io->result && !same_bytes(r, j->bytes, j->chunk, j->at)) {
		job_free(r);
		scsi_fail(r, SCSI_KEY_MISCOMPARE, SCSI_MISCOMPARE);
		return;
	}
	j->at += j->chunk;
	job_done(io);
}

static bool verify_step(struct scsi_unit *u, struct scsi_request *r, struct scsi_job *j)
{
	uint64_t left = j->blocks << u->block_shift;

	j->chunk = left < CHUNK ? (uint32_t)left : CHUNK;
	if (!j->chunk)
		return false;
	job_request(u, r, DISK_READ, j->lba, j->chunk);
	r->vector = (struct iovec){.iov_base = j->bytes, .iov_len = j->chunk};
	r->io.iov = &r->vector;
	r->io.n_iov = 1;
	r->io.done = verify_done;
	j->lba += j->chunk >> u->block_shift;
	j->blocks -= j->chunk >> u->block_shift;
	return true;
}

/* Without bytes to compare with, that the blocks exist is all there is to find out. */
void scsi_verify(struct scsi_unit *u, struct scsi_request *r)
{
	unsigned compare = r->cdb[1] >> 1 & 3;
	struct scsi_range range;
	struct scsi_job *j;

	if (!scsi_range(u, r, &range))
		return;
	if (compare > 1 || (compare && range.blocks > r->length >> u->block_shift)) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	if (!compare || !range.blocks) {
		scsi_end(r, 0);
		return;
	}
	j = job_create(r, CHUNK);
	if (!j)
		return;
	j->step = verify_step;
	j->lba = range.lba;
	j->blocks = range.blocks;
	job_go(u, r);
}
