/*
 * scsi_unit.h - what the parts of a SCSI unit share: the unit, its table of commands, and the few
 * ways in which a command ends.
 */
#ifndef PARTITA_DISK_SCSI_UNIT_H
#define PARTITA_DISK_SCSI_UNIT_H

#include <pthread.h>

#include "disk/scsi.h"
#include "disk/scsi_protocol.h"

/* What must hold for a command to run. */
enum scsi_needs {
	SCSI_READS = 1 << 0,	/* of the medium: exclusive access of another nexus conflicts */
	SCSI_WRITES = 1 << 1,	/* to the medium: not when write protected or reserved */
	SCSI_MEDIUM = 1 << 2,	/* there is one */
	SCSI_ANY_TIME = 1 << 3, /* runs (and does not report it) when a unit attention waits */
};

/*
 * A command's function starts it and sees to it that it ends with exactly one call of scsi_end(),
 * scsi_fail() or scsi_reply().
 */
struct scsi_command {
	void (*run)(struct scsi_unit *u, struct scsi_request *r);
	unsigned needs;
};

#define SCSI_NEXUSES 64

struct scsi_registration {
	uint64_t nexus, key;
	uint16_t attention; /* enum scsi_code, 0: none */
};

/* Persistent reservations (scsi_reserve.c); under the unit's lock. */
struct scsi_reservations {
	struct scsi_registration of[SCSI_NEXUSES];
	unsigned n;
	uint32_t generation;
	uint8_t type; /* 0: no reservation */
	uint64_t holder, key;
	bool plain; /* RESERVE(6), by @holder */
};

struct scsi_unit {
	const struct scsi_command *commands; /* 256 of them, by operation code */
	/* The medium; NULL: none. A removable one may go unless @busy counts its user. */
	_Atomic(struct disk *) disk;
	bool removable;
	bool read_only;
	char serial[32];
	uint32_t max_transfer; /* bytes */
	unsigned block_shift;  /* log2 of the logical block */

	_Atomic bool reserved; /* something in @reservations is to be looked at */
	_Atomic uint64_t size; /* bytes of the medium, as the guest was last told */

	pthread_mutex_t lock;
	struct scsi_reservations reservations;
	/* DVD drives: under the lock, too. */
	pthread_cond_t idle;
	unsigned busy; /* requests that use the medium */
	bool tray_open, prevented;
	_Atomic uint16_t attention; /* enum scsi_code, 0: none */
	uint8_t event;		    /* MMC media event that GET EVENT STATUS has to tell, 0: none */
};

/* scsi_blocks - how many logical blocks the medium has. */
uint64_t scsi_blocks(const struct scsi_unit *u);

/* scsi_end - @moved bytes of the buffer, status good. */
void scsi_end(struct scsi_request *r, uint32_t moved);
/* scsi_fail - check condition. */
void scsi_fail(struct scsi_request *r, enum scsi_key key, enum scsi_code code);
/* scsi_end_io - as @err, 0 or a negative errno of a disk request, says. */
void scsi_end_io(struct scsi_request *r, uint32_t moved, bool write, int err);
/* scsi_conflict - reservation conflict. */
void scsi_conflict(struct scsi_request *r);
/* scsi_reply - @n bytes of parameter data, of which the command allows @allocation. */
void scsi_reply(struct scsi_request *r, const void *data, size_t n, size_t allocation);

/* Copies from or to the buffer; both say false when it is too short. */
bool scsi_fetch(const struct scsi_request *r, void *to, size_t n, size_t at);
bool scsi_deliver(const struct scsi_request *r, const void *from, size_t n, size_t at);

/* scsi_disk_io - start a disk request that ends in scsi_end_io(). */
void scsi_disk_io(struct scsi_unit *u, struct scsi_request *r, enum disk_op op, uint64_t lba,
	uint64_t blocks, bool fua);

/* Blocks that a READ, WRITE, VERIFY or WRITE SAME of any length names. */
struct scsi_range {
	uint64_t lba, blocks;
};
/* scsi_range - false: out of the medium's range, and @r was failed. */
bool scsi_range(struct scsi_unit *u, struct scsi_request *r, struct scsi_range *range);

/* Commands, by file. */
void scsi_disk_inquiry(struct scsi_unit *u, struct scsi_request *r);	 /* scsi_inquiry.c */
void scsi_disk_mode_sense(struct scsi_unit *u, struct scsi_request *r);	 /* scsi_mode.c */
void scsi_disk_mode_select(struct scsi_unit *u, struct scsi_request *r); /* scsi_mode.c */
void scsi_unmap(struct scsi_unit *u, struct scsi_request *r);		 /* scsi_job.c */
void scsi_write_same(struct scsi_unit *u, struct scsi_request *r);	 /* scsi_job.c */
void scsi_verify(struct scsi_unit *u, struct scsi_request *r);		 /* scsi_job.c */
void scsi_reserve_in(struct scsi_unit *u, struct scsi_request *r);	 /* scsi_reserve.c */
void scsi_reserve_out(struct scsi_unit *u, struct scsi_request *r);	 /* scsi_reserve.c */
void scsi_reserve_6(struct scsi_unit *u, struct scsi_request *r);	 /* scsi_reserve.c */
void scsi_release_6(struct scsi_unit *u, struct scsi_request *r);	 /* scsi_reserve.c */

/*
 * scsi_reserved_against - do reservations keep @r, with these needs, from running? Also takes the
 * attention that waits for its nexus into *@attention, unless SCSI_ANY_TIME.
 */
bool scsi_reserved_against(
	struct scsi_unit *u, const struct scsi_request *r, unsigned needs, uint16_t *attention);

/* The standard INQUIRY's command descriptor block: page, allocation length, page wanted at all. */
bool scsi_inquiry_page(struct scsi_request *r, int *page, size_t *allocation);

#endif
