/*
 * scsi_dvd.c - a DVD drive: reads an image in blocks of 2048 bytes, and lets media come and go from
 * either side, the guest's eject and the administrator's insert.
 *
 * Facts: MMC-6; which commands, features and mode pages Hyper-V's drive has, after OpenVMM's
 * scsidisk.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/scsi_unit.h"

#define BLOCK_SHIFT 11
#define LEAD_IN	    150 /* blocks before the first of the program area, in addresses by time */

/* ---- The medium
 * ---------------------------------------------------------------------------------- */

/* Media events of GET EVENT STATUS NOTIFICATION (MMC-6, table 281). */
enum { EVENT_NONE, EVENT_EJECT_REQUEST, EVENT_NEW_MEDIUM, EVENT_REMOVAL };

/* Under the lock; waits until nobody reads from the medium that goes. */
static struct disk *change(struct scsi_unit *u, struct disk *medium)
{
	struct disk *old;

	old = atomic_exchange(&u->disk, medium);
	while (u->busy)
		pthread_cond_wait(&u->idle, &u->lock);
	u->size = medium ? disk_size(medium) : 0;
	u->event = medium ? EVENT_NEW_MEDIUM : EVENT_REMOVAL;
	return old;
}

int scsi_dvd_insert(struct scsi_unit *u, struct disk *medium, bool force, struct disk **old)
{
	int err = 0;

	pthread_mutex_lock(&u->lock);
	if (u->prevented && u->disk && !force) {
		err = -EBUSY;
	} else {
		*old = change(u, medium);
		u->tray_open = !medium;
		u->prevented = false;
		if (medium)
			u->attention = SCSI_MEDIUM_CHANGED;
	}
	pthread_mutex_unlock(&u->lock);
	return err;
}

struct disk *scsi_dvd_medium(struct scsi_unit *u)
{
	return u->disk;
}

/*
 * A medium that the guest ejects is out of the drive; who inserted it sees that and may close it.
 */
static void run_start_stop(struct scsi_unit *u, struct scsi_request *r)
{
	bool start = r->cdb[4] & 1, load_eject = r->cdb[4] & 2, prevented;

	pthread_mutex_lock(&u->lock);
	prevented = load_eject && !start && u->prevented && u->disk;
	if (load_eject && start)
		u->tray_open = false;
	else if (load_eject && !prevented) {
		if (u->disk && !u->busy)
			change(u, NULL);
		u->tray_open = !u->disk;
	}
	pthread_mutex_unlock(&u->lock);
	if (prevented)
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_REMOVAL_PREVENTED);
	else
		scsi_end(r, 0);
}

static void run_prevent(struct scsi_unit *u, struct scsi_request *r)
{
	pthread_mutex_lock(&u->lock);
	u->prevented = r->cdb[4] & 1;
	pthread_mutex_unlock(&u->lock);
	scsi_end(r, 0);
}

static void read_done(struct disk_request *io)
{
	struct scsi_request *r =
		(struct scsi_request *)((char *)io - offsetof(struct scsi_request, io));
	struct scsi_unit *u = r->unit;
	int err = io->result;

	pthread_mutex_lock(&u->lock);
	if (!--u->busy)
		pthread_cond_broadcast(&u->idle);
	pthread_mutex_unlock(&u->lock);
	scsi_end_io(r, (uint32_t)io->length, false, err);
}

static void run_read(struct scsi_unit *u, struct scsi_request *r)
{
	struct scsi_range range;
	struct disk *medium;

	if (!scsi_range(u, r, &range))
		return;
	if (range.blocks > r->length >> BLOCK_SHIFT) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	if (!range.blocks) {
		scsi_end(r, 0);
		return;
	}
	pthread_mutex_lock(&u->lock);
	medium = u->disk;
	u->busy += medium != NULL;
	pthread_mutex_unlock(&u->lock);
	if (!medium) {
		scsi_fail(r, SCSI_KEY_NOT_READY, SCSI_NO_MEDIUM_TRAY_OPEN);
		return;
	}
	r->io = (struct disk_request){.op = DISK_READ,
		.offset = range.lba << BLOCK_SHIFT,
		.length = range.blocks << BLOCK_SHIFT,
		.iov = r->iov,
		.n_iov = r->n_iov,
		.done = read_done};
	disk_submit(r->queue, medium, &r->io);
}

/* ---- What the drive is
 * ---------------------------------------------------------------------------- */

static void run_inquiry(struct scsi_unit *u, struct scsi_request *r)
{
	static const uint8_t supported[] = {
		5, 0, 0, 2, SCSI_VPD_SUPPORTED, SCSI_VPD_IDENTIFICATION};
	/* One designator: vendor identification, in ASCII. */
	static const uint8_t identification[] = {5, SCSI_VPD_IDENTIFICATION, 0, 28, 2, 1, 0, 24,
		'M', 's', 'f', 't', ' ', ' ', ' ', ' ', 'V', 'i', 'r', 't', 'u', 'a', 'l', ' ', 'D',
		'V', 'D', '-', 'R', 'O', 'M', ' '};
	uint8_t data[36] = {5, 0x80 /* removable */, 0, 2, sizeof(data) - 5};
	size_t allocation;
	int page;

	if (!scsi_inquiry_page(r, &page, &allocation))
		return;
	if (page == SCSI_VPD_SUPPORTED) {
		scsi_reply(r, supported, sizeof(supported), allocation);
	} else if (page == SCSI_VPD_IDENTIFICATION) {
		scsi_reply(r, identification, sizeof(identification), allocation);
	} else if (page >= 0) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
	} else {
		memcpy(data + 8, "Msft    Virtual DVD-ROM 1.0 ", 28);
		scsi_reply(r, data, sizeof(data), allocation);
	}
}

static void run_test_ready(struct scsi_unit *u, struct scsi_request *r)
{
	scsi_end(r, 0);
}

static void run_request_sense(struct scsi_unit *u, struct scsi_request *r)
{
	uint8_t sense[SCSI_SENSE] = {0x70, 0, 0, 0, 0, 0, 0, SCSI_SENSE - 8};

	scsi_reply(r, sense, sizeof(sense), r->cdb[4]);
}

static void run_capacity(struct scsi_unit *u, struct scsi_request *r)
{
	uint64_t last = scsi_blocks(u) - 1;
	uint8_t data[8];

	scsi_put32(data, last < UINT32_MAX ? (uint32_t)last : UINT32_MAX);
	scsi_put32(data + 4, 1u << BLOCK_SHIFT);
	scsi_reply(r, data, sizeof(data), sizeof(data));
}

/* MMC-6, 7: the mode pages hold their defaults, which are zeros apart from these bytes. */
static const uint8_t pages[][12] = {
	{SCSI_MODE_RECOVERY, 10, 0, 0},
	{SCSI_MODE_POWER, 10},
	{SCSI_MODE_TIMEOUT, 10, 0, 0, 0x08, 0, 0, 2, 0, 2},
};

static void run_mode_sense(struct scsi_unit *u, struct scsi_request *r)
{
	unsigned code = r->cdb[2] & 0x3f, control = r->cdb[2] >> 6;
	uint8_t data[8 + sizeof(pages)] = {0};
	size_t n = 8;

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		if (code != SCSI_MODE_ALL && code != pages[i][0])
			continue;
		memcpy(data + n, pages[i], control == 1 ? 2 : sizeof(pages[i]));
		n += sizeof(pages[i]);
	}
	if (n == 8 || control == 3) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	scsi_put16(data, (uint16_t)(n - 2));
	scsi_reply(r, data, n, scsi_get16(r->cdb + 7));
}

/* Parameters of pages the drive has may be sent; they change nothing that an image could notice. */
static void run_mode_select(struct scsi_unit *u, struct scsi_request *r)
{
	size_t n = scsi_get16(r->cdb + 7);
	uint8_t page;

	if (r->cdb[1] & 1) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	if (n > r->length || (n && n < 8) || (n > 8 && n < 8 + sizeof(pages[0]))) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_PARAMETER_LIST_LENGTH);
		return;
	}
	if (n > 8) {
		bool known = false;

		scsi_fetch(r, &page, 1, 8);
		for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
			known |= (page & 0x3f) == pages[i][0];
		if (!known) {
			scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_LIST);
			return;
		}
	}
	scsi_end(r, (uint32_t)n);
}

/* ---- What the medium is
 * ---------------------------------------------------------------------------- */

/* A block's address, as a number or by time (minutes, seconds, frames of 1/75 s). */
static void put_address(uint8_t *p, uint32_t lba, bool time)
{
	if (time) {
		lba += LEAD_IN;
		p[0] = 0;
		p[1] = (uint8_t)(lba / 75 / 60);
		p[2] = (uint8_t)(lba / 75 % 60);
		p[3] = (uint8_t)(lba % 75);
	} else {
		scsi_put32(p, lba);
	}
}

/* MMC-6, 6.26: one session with one data track, and where the lead-out begins. */
static void run_toc(struct scsi_unit *u, struct scsi_request *r)
{
	unsigned format = r->cdb[2] & 0x0f ? r->cdb[2] & 0x0f : r->cdb[9] >> 6;
	bool time = r->cdb[1] & 2;
	uint8_t data[20] = {0, 0, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa};
	size_t n = format ? 12 : 20;

	if (format > 1 || (!format && r->cdb[6] > 1 && r->cdb[6] != 0xaa)) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	scsi_put16(data, (uint16_t)(n - 2));
	put_address(data + 8, 0, time);
	put_address(data + 16, (uint32_t)scsi_blocks(u), time);
	scsi_reply(r, data, n, scsi_get16(r->cdb + 7));
}

static void run_disc_information(struct scsi_unit *u, struct scsi_request *r)
{
	/* Complete, its last session too; one session, tracks 1 to 1; the disc's kind is
	 * unrestricted. */
	uint8_t data[34] = {0, sizeof(data) - 2, 0x0e, 1, 1, 1, 1, 0x20};

	if (r->cdb[1] & 7)
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
	else
		scsi_reply(r, data, sizeof(data), scsi_get16(r->cdb + 7));
}

static void run_track_information(struct scsi_unit *u, struct scsi_request *r)
{
	uint8_t data[36] = {0, sizeof(data) - 2, 1, 1, 0, 4, 1, 0};

	scsi_put32(data + 24, (uint32_t)scsi_blocks(u));
	scsi_reply(r, data, sizeof(data), scsi_get16(r->cdb + 7));
}

/* MMC-6, 6.22: of the structures, the physical format of a DVD-ROM with one layer. */
static void run_dvd_structure(struct scsi_unit *u, struct scsi_request *r)
{
	uint8_t data[4 + 2048] = {(2048 + 2) >> 8, (2048 + 2) & 0xff, 0, 0, 0x01, 0x02, 0x01, 0};

	if (r->cdb[7] || r->cdb[1] & 0x0f) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	scsi_put32(data + 8, 0x30000); /* the data area's first sector, as DVD counts */
	scsi_put32(data + 12, 0x30000 + (uint32_t)scsi_blocks(u) - 1);
	scsi_reply(r, data, sizeof(data), scsi_get16(r->cdb + 8));
}

static void run_mechanism_status(struct scsi_unit *u, struct scsi_request *r)
{
	uint8_t data[8] = {0, u->tray_open ? 0x10 : 0};

	scsi_reply(r, data, sizeof(data), scsi_get16(r->cdb + 8));
}

/* ---- Configuration and events
 * --------------------------------------------------------------------- */

#define PROFILE_DVD_ROM 0x0010

/* Features (MMC-6, 5.3): number, version and flags (bit 0: current), bytes, the bytes. */
static const struct {
	uint16_t number;
	uint8_t flags, n, data[8];
	bool medium; /* current only with a medium */
} features[] = {
	{0x0000, 0x03, 4, {0, PROFILE_DVD_ROM, 0, 0}, false},
	{0x0001, 0x0b, 8, {0, 0, 0, 1 /* SCSI */, 0, 0, 0, 0}, false},
	{0x0002, 0x07, 4, {0x02 /* operational changes too */, 0, 0, 0}, false},
	{0x0003, 0x03, 4, {0x29 /* tray, eject, lock */, 0, 0, 0}, false},
	{0x0010, 0x00, 8, {0, 0, 8, 0, 0, 1, 0, 0}, true},
	{0x001f, 0x04, 4, {0}, true},
	{0x0100, 0x03, 0, {0}, false},
	{0x0105, 0x07, 4, {0}, false},
};

static void run_configuration(struct scsi_unit *u, struct scsi_request *r)
{
	unsigned which = r->cdb[1] & 3, start = scsi_get16(r->cdb + 2);
	uint8_t data[8 + sizeof(features)] = {0};
	bool medium = u->disk;
	size_t n = 8;

	if (which == 3) {
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		bool current = features[i].medium ? medium : features[i].flags & 1;
		unsigned number = features[i].number;

		if (which == 2 ? number != start : number < start || (which == 1 && !current))
			continue;
		scsi_put16(data + n, (uint16_t)number);
		data[n + 2] = (uint8_t)((features[i].flags & ~1) | current);
		data[n + 3] = features[i].n;
		memcpy(data + n + 4, features[i].data, features[i].n);
		if (!number)
			data[n + 6] = medium; /* the profile is current */
		n += 4 + features[i].n;
	}
	scsi_put32(data, (uint32_t)(n - 4));
	scsi_put16(data + 6, medium ? PROFILE_DVD_ROM : 0);
	scsi_reply(r, data, n, scsi_get16(r->cdb + 7));
}

/* MMC-6, 6.7: of the classes asked for, the media class has events; the others never change. */
static void run_event_status(struct scsi_unit *u, struct scsi_request *r)
{
	enum { OPERATIONAL = 1, POWER = 2, EXTERNAL = 3, MEDIA = 4, MULTI_HOST = 5, BUSY = 6 };
	static const uint8_t known = 1 << OPERATIONAL | 1 << POWER | 1 << EXTERNAL | 1 << MEDIA |
				     1 << MULTI_HOST | 1 << BUSY;
	uint8_t asked = r->cdb[4] & known, data[8] = {0, 6, 0, known};
	size_t n = 8;

	if (!(r->cdb[1] & 1)) { /* no queue of events to wait in */
		scsi_fail(r, SCSI_KEY_ILLEGAL_REQUEST, SCSI_INVALID_FIELD_IN_CDB);
		return;
	}
	pthread_mutex_lock(&u->lock);
	if (!asked) {
		data[1] = 2;
		data[2] = 0x80; /* none of them */
		n = 4;
	} else if (asked & 1 << MEDIA && (u->event || (asked & -asked) == 1 << MEDIA)) {
		data[2] = MEDIA;
		data[4] = u->event;
		data[5] = (uint8_t)((u->disk ? 2 : 0) | (u->tray_open ? 1 : 0));
		u->event = EVENT_NONE;
	} else {
		data[2] = (uint8_t)__builtin_ctz(asked);
		data[5] = data[2] == POWER ? 1 : 0; /* active; the others' "ready" is 0 */
	}
	pthread_mutex_unlock(&u->lock);
	scsi_reply(r, data, n, scsi_get16(r->cdb + 7));
}

static const struct scsi_command commands[256] = {
	[SCSI_TEST_UNIT_READY] = {run_test_ready, SCSI_MEDIUM},
	[SCSI_REQUEST_SENSE] = {run_request_sense, SCSI_ANY_TIME},
	[SCSI_INQUIRY] = {run_inquiry, SCSI_ANY_TIME},
	[SCSI_START_STOP_UNIT] = {run_start_stop, SCSI_ANY_TIME},
	[SCSI_PREVENT_ALLOW_REMOVAL] = {run_prevent, SCSI_ANY_TIME},
	[SCSI_READ_CAPACITY_10] = {run_capacity, SCSI_MEDIUM},
	[SCSI_READ_10] = {run_read, SCSI_MEDIUM},
	[SCSI_READ_TOC] = {run_toc, SCSI_MEDIUM},
	[SCSI_GET_CONFIGURATION] = {run_configuration, SCSI_ANY_TIME},
	[SCSI_GET_EVENT_STATUS] = {run_event_status, SCSI_ANY_TIME},
	[SCSI_READ_DISC_INFORMATION] = {run_disc_information, SCSI_MEDIUM},
	[SCSI_READ_TRACK_INFORMATION] = {run_track_information, SCSI_MEDIUM},
	[SCSI_MODE_SELECT_10] = {run_mode_select, 0},
	[SCSI_MODE_SENSE_10] = {run_mode_sense, 0},
	[SCSI_READ_16] = {run_read, SCSI_MEDIUM},
	[SCSI_READ_12] = {run_read, SCSI_MEDIUM},
	[SCSI_READ_DVD_STRUCTURE] = {run_dvd_structure, SCSI_MEDIUM},
	[SCSI_MECHANISM_STATUS] = {run_mechanism_status, SCSI_ANY_TIME},
};

struct scsi_unit *scsi_dvd_create(struct disk *medium)
{
	struct scsi_unit *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->commands = commands;
	u->disk = medium;
	u->size = medium ? disk_size(medium) : 0;
	u->removable = true;
	u->read_only = true;
	u->block_shift = BLOCK_SHIFT;
	pthread_mutex_init(&u->lock, NULL);
	pthread_cond_init(&u->idle, NULL);
	return u;
}
