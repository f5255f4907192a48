/*
 * scsi.h - SCSI logical units over virtual disks: a disk and a DVD drive as Hyper-V presents them.
 * Who has a transport (the storage provider, RawSCSIVirtualDisk) hands in command descriptor blocks
 * and gets status, sense data and the count of bytes moved.
 *
 * READ and WRITE move their data between the disk and the caller's pages without a copy and
 * allocate nothing. Whatever a command says is checked here; nothing about it is trusted.
 *
 * Facts: SPC-4, SBC-3, MMC-6 and SAM-5 (T10); what Hyper-V shows of them as OpenVMM's scsidisk
 * presents it.
 */
#ifndef PARTITA_DISK_SCSI_H
#define PARTITA_DISK_SCSI_H

#include "disk/disk.h"

#define SCSI_CDB   16 /* bytes of the longest command */
#define SCSI_SENSE 18 /* bytes of fixed-format sense data */

/* SAM-5, 5.3.1 */
enum scsi_status {
	SCSI_GOOD = 0x00,
	SCSI_CHECK_CONDITION = 0x02,
	SCSI_RESERVATION_CONFLICT = 0x18,
};

struct scsi_unit;

/* Belongs to the unit from scsi_submit() until done() is called. */
struct scsi_request {
	uint8_t cdb[SCSI_CDB];	 /* shorter ones are filled up with zeros */
	const struct iovec *iov; /* the data buffer, its first @length bytes */
	unsigned n_iov;
	uint32_t length;
	uint64_t nexus; /* who asks, for reservations: any number that stays the same */
	void (*done)(struct scsi_request *r);

	/* Results. */
	uint8_t status;		   /* enum scsi_status */
	uint8_t sense_length;	   /* bytes, 0 unless SCSI_CHECK_CONDITION */
	uint8_t sense[SCSI_SENSE]; /* fixed format */
	uint32_t moved;		   /* bytes of the buffer that were read or written */

	/* The unit's own. */
	struct scsi_unit *unit;
	struct disk_queue *queue;
	struct disk_request io;
	struct iovec vector;
	struct scsi_job *job; /* commands of several steps */
};

struct scsi_disk_options {
	bool read_only;	       /* also when the disk is not writable */
	const char *serial;    /* unit serial number, NULL: none (as Hyper-V) */
	uint32_t max_transfer; /* bytes of a request; 0: 8 MiB */
};

/*
 * scsi_disk_create - a direct access unit over @d, which must outlive it. @options NULL: defaults.
 * NULL with errno set.
 */
struct scsi_unit *scsi_disk_create(struct disk *d, const struct scsi_disk_options *options);
/* scsi_dvd_create - a DVD drive; @medium: an image (read-only), NULL: no medium. */
struct scsi_unit *scsi_dvd_create(struct disk *medium);
/* scsi_unit_destroy - after its last request. The disks stay the caller's. NULL is allowed. */
void scsi_unit_destroy(struct scsi_unit *u);

/*
 * scsi_submit - start a command. done() is called inside this or in disk_queue_run() of @q.
 * Commands may be submitted from several threads, each with a queue of its own.
 */
void scsi_submit(struct scsi_unit *u, struct disk_queue *q, struct scsi_request *r);

/*
 * scsi_unit_resized - the disk's size has changed: the next command of each nexus is told so
 * (capacity data has changed). scsi_submit() notices by itself; this is for a transport that wants
 * to announce the change.
 */
bool scsi_unit_resized(struct scsi_unit *u);

/*
 * scsi_dvd_insert - change the medium (NULL: take it out); the guest is told by the next command.
 * -EBUSY: the guest prevents removal and @force is not set. *@old gets the medium that was in,
 * which no request uses any more.
 */
int scsi_dvd_insert(struct scsi_unit *u, struct disk *medium, bool force, struct disk **old);
/* scsi_dvd_medium - what is in; NULL: nothing (also when the guest ejected it). */
struct disk *scsi_dvd_medium(struct scsi_unit *u);

/* scsi_reset - a bus or unit reset: reservations of the old kind and prevented removal end. */
void scsi_reset(struct scsi_unit *u);

#endif
