/*
 * storage.h - the storage provider: synthetic SCSI controllers, and the fast path of IDE disks,
 * whose units are SCSI units over virtual disks (disk/scsi.h).
 *
 * Data goes between the guest's pages and the disk's file without a copy. Every channel has a
 * thread and a disk queue of its own; they share nothing that one could make another wait for.
 */
#ifndef PARTITA_VSP_STORAGE_H
#define PARTITA_VSP_STORAGE_H

#include "disk/scsi.h"
#include "vmbus/vmbus.h"

#define STORAGE_LUNS 64u

struct storage;

struct storage_config {
	const char *name; /* for messages; stays the caller's */
	GUID instance;
	unsigned sub_channels; /* the most that the guest may ask for */
	struct disk_engine *engine;
	/* Not a SCSI controller but disk @ide_target (0 or 1) of IDE controller @ide_path; LUN 0 is
	 * it. */
	bool ide;
	uint8_t ide_path, ide_target;
};

/*
 * storage_create - offer a controller without units on @bus. Returns 0, a negative errno of
 * vmbus_offer(), -ENOMEM.
 */
int storage_create(struct vmbus *bus, const struct storage_config *config, struct storage **s);
/* storage_destroy - revoke it. Its units stay the caller's. NULL is allowed. */
void storage_destroy(struct storage *s);

/*
 * storage_attach - make @unit the guest's unit @lun; a running guest is told to look. Any thread
 * but serving ones. -EINVAL: no such LUN; -EEXIST: there is one.
 */
int storage_attach(struct storage *s, unsigned lun, struct scsi_unit *unit);
/*
 * storage_detach - take a unit away and tell the guest; commands under way end first. Returns the
 * unit, NULL when there is none.
 */
struct scsi_unit *storage_detach(struct storage *s, unsigned lun);
/* storage_changed - something about a unit changed (its size, its medium): the guest shall look. */
void storage_changed(struct storage *s);
/* storage_unit - what is attached, NULL: nothing. For the thread that attaches and detaches. */
struct scsi_unit *storage_unit(struct storage *s, unsigned lun);

#endif
