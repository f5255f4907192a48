/*
 * scsi.c - commands to a SCSI disk and a DVD drive, several at once, from initiators that know
 * nothing; while the administrator changes media, resizes the disk and resets the units.
 *
 * Input: operations (struct operation), each followed by the bytes that its data buffer begins
 * with.
 *
 * Promises that are tested: each command is answered once, with a status that is one and sense data
 * exactly where it belongs; no byte outside its data buffer changes, and none at all of a buffer
 * that the command only takes data from; "moved" is at most the buffer's length.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk/scsi.h"
#include "disk/scsi_protocol.h"
#include "memory_disk.h"

#define SIZE	   (1u << 20) /* bytes of the disk and of the DVD */
#define OPERATIONS 64u
#define GUARD	   64u /* bytes on both sides of a buffer that nobody may touch */
#define PATTERN	   0x5a

enum { INSERT, EJECT, RESIZE, RESET, ACTIONS };

struct operation {
	uint8_t cdb[SCSI_CDB];
	uint16_t length; /* of the buffer, in units of 1 << (flags >> 4 & 3) bytes */
	uint8_t nexus, data;
	uint8_t flags;	/* 1: to the drive; 2: await all; 4: the administrator does cdb[0] */
	uint8_t pieces; /* of the buffer */
} __attribute__((packed));

struct command {
	struct scsi_request r;
	bool answered, only_taken;
	uint8_t *memory; /* guard, buffer, guard */
	uint8_t *before; /* a copy of the buffer when it is only taken from */
	struct iovec iov[4];
};

static struct {
	struct disk_engine *engine;
	struct disk_queue *queue;
	struct disk *disk, *image;
	struct scsi_unit *unit, *drive;
	struct command commands[OPERATIONS];
	unsigned n, waiting;
} world;

/* ---- Commands ------------------------------------------------------------------------------- */

/* Commands whose buffer is the initiator's data, which must stay as it is. */
static bool only_takes(uint8_t op)
{
	switch (op) {
	case SCSI_WRITE_6:
	case SCSI_WRITE_10:
	case SCSI_WRITE_12:
	case SCSI_WRITE_16:
	case SCSI_WRITE_VERIFY_10:
	case SCSI_WRITE_VERIFY_12:
	case SCSI_WRITE_VERIFY_16:
	case SCSI_VERIFY_10:
	case SCSI_VERIFY_12:
	case SCSI_VERIFY_16:
	case SCSI_WRITE_SAME_10:
	case SCSI_WRITE_SAME_16:
	case SCSI_UNMAP:
	case SCSI_MODE_SELECT_6:
	case SCSI_MODE_SELECT_10:
	case SCSI_PERSISTENT_RESERVE_OUT:
		return true;
	}
	return false;
}

static void done(struct scsi_request *r)
{
	struct command *c = (struct command *)r;

	assert(!c->answered);
	c->answered = true;
	world.waiting--;
	assert(r->status == SCSI_GOOD || r->status == SCSI_CHECK_CONDITION ||
		r->status == SCSI_RESERVATION_CONFLICT);
	assert(r->sense_length == (r->status == SCSI_CHECK_CONDITION ? SCSI_SENSE : 0));
	assert(r->moved <= r->length);
	for (unsigned i = 0; i < GUARD; i++) {
		assert(c->memory[i] == PATTERN);
		assert(c->memory[GUARD + r->length + i] == PATTERN);
	}
	if (c->only_taken)
		assert(!memcmp(c->before, c->memory + GUARD, r->length));
	/* Nothing of the caller's is looked at any more. */
	free(c->memory);
	free(c->before);
	memset(c->iov, 0xff, sizeof(c->iov));
}

/*
 * The buffer in up to four pieces; the last one goes on into the guard, as a guest's pages may go
 * on behind the length that its command names.
 */
static void put_buffer(struct command *c, uint32_t length, unsigned pieces)
{
	uint32_t at = 0, each;

	pieces = pieces % 4 + 1;
	each = length / pieces;
	for (unsigned i = 0; i < pieces; i++, at += each)
		c->iov[i] = (struct iovec){
			c->memory + GUARD + at, i + 1 < pieces ? each : length - at + GUARD};
	c->r.iov = c->iov;
	c->r.n_iov = pieces;
	c->r.length = length;
}

static void submit(const struct operation *o, const uint8_t *data, size_t n)
{
	struct command *c = &world.commands[world.n++];
	uint32_t length = (uint32_t)o->length << (o->flags >> 4 & 3);

	*c = (struct command){.r = {.nexus = o->nexus % 4, .done = done}};
	c->memory = malloc(length + 2 * GUARD);
	memset(c->memory, PATTERN, length + 2 * GUARD);
	memcpy(c->memory + GUARD, data, n < length ? n : length);
	memcpy(c->r.cdb, o->cdb, sizeof(o->cdb));
	put_buffer(c, length, o->pieces);
	c->only_taken = only_takes(o->cdb[0]);
	if (c->only_taken) {
		c->before = malloc(length + 1);
		memcpy(c->before, c->memory + GUARD, length);
	}
	world.waiting++;
	scsi_submit(o->flags & 1 ? world.drive : world.unit, world.queue, &c->r);
}

static void await_all(void)
{
	while (world.waiting)
		disk_queue_run(world.queue, true);
}

/* ---- The administrator ---------------------------------------------------------------------- */

static void act(const struct operation *o)
{
	struct disk_problem problem = {0};
	struct disk *old;

	/* What waits for requests must not be called with requests of the same thread under way. */
	await_all();
	switch (o->cdb[0] % ACTIONS) {
	case INSERT:
		scsi_dvd_insert(world.drive, world.image, o->cdb[1] & 1, &old);
		break;
	case EJECT:
		scsi_dvd_insert(world.drive, NULL, o->cdb[1] & 1, &old);
		break;
	case RESIZE:
		disk_resize(world.disk, SIZE / 2 + 512u * o->cdb[1], true, &problem);
		if (o->cdb[2] & 1)
			scsi_unit_resized(world.unit);
		break;
	case RESET:
		scsi_reset(o->flags & 1 ? world.drive : world.unit);
		break;
	}
}

/* ---- An input ------------------------------------------------------------------------------- */

static void begin(void)
{
	struct disk_problem problem = {0};
	int fd;

	if (!world.engine) {
		world.engine = disk_engine_create(NULL);
		world.queue = disk_queue_create(world.engine, 8);
		fd = memory_file(SIZE);
		if (!world.queue)
			abort();
		world.disk = memory_disk(world.engine, fd, DISK_OPEN_WRITE | DISK_OPEN_SHARED);
		world.image = memory_disk(world.engine, fd, DISK_OPEN_SHARED);
	}
	if (disk_resize(world.disk, SIZE, true, &problem) || disk_unmap(world.disk, 0, SIZE))
		abort();
	world.unit = scsi_disk_create(world.disk, NULL);
	world.drive = scsi_dvd_create(world.image);
	world.n = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct operation o;

	begin();
	while (world.n < OPERATIONS && size >= sizeof(o)) {
		memcpy(&o, data, sizeof(o));
		data += sizeof(o);
		size -= sizeof(o);
		if (o.flags & 4) {
			act(&o);
			continue;
		}
		if (o.data > size)
			o.data = (uint8_t)size;
		submit(&o, data, o.data);
		data += o.data;
		size -= o.data;
		if (o.flags & 2)
			await_all();
	}
	await_all();
	for (unsigned i = 0; i < world.n; i++)
		assert(world.commands[i].answered);
	scsi_unit_destroy(world.unit);
	scsi_unit_destroy(world.drive);
	return 0;
}
