/*
 * disks.c - the guest's storage: synthetic SCSI controllers with disks and DVD drives.
 *
 * The instance GUIDs are those of Hyper-V's first four controllers, by which images for Azure and
 * Hyper-V tell them apart.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "disk/scsi.h"
#include "vsp/storage.h"
#include "worker/machine.h"

static const struct {
	const char *name;
	GUID instance;
} controllers[WORKER_CONTROLLERS] = {
	{"scsi0", {0xf8b3781a, 0x1e82, 0x4818, {0xa1, 0xc3, 0x63, 0xd8, 0x06, 0xec, 0x15, 0xbb}}},
	{"scsi1", {0xf8b3781b, 0x1e82, 0x4818, {0xa1, 0xc3, 0x63, 0xd8, 0x06, 0xec, 0x15, 0xbb}}},
	{"scsi2", {0xf8b3781c, 0x1e82, 0x4818, {0xa1, 0xc3, 0x63, 0xd8, 0x06, 0xec, 0x15, 0xbb}}},
	{"scsi3", {0xf8b3781d, 0x1e82, 0x4818, {0xa1, 0xc3, 0x63, 0xd8, 0x06, 0xec, 0x15, 0xbb}}},
};

struct disks {
	struct storage *controllers[WORKER_CONTROLLERS];
	struct scsi_unit *units[]; /* as worker_config.disks */
};

/* A controller that a disk names is there, and the first one always, as on Hyper-V. */
static int offer_controllers(struct machine *m)
{
	const struct worker_config *config = m->config;
	bool wanted[WORKER_CONTROLLERS] = {config->n_disks > 0};
	int err = 0;

	for (unsigned i = 0; i < config->n_disks; i++)
		wanted[config->disks[i].controller] = true;
	for (unsigned i = 0; i < WORKER_CONTROLLERS && !err; i++) {
		struct storage_config storage = {.name = controllers[i].name,
			.instance = controllers[i].instance,
			.sub_channels = config->processors - 1,
			.engine = config->disk_engine};

		if (wanted[i])
			err = storage_create(m->vmbus, &storage, &m->disks->controllers[i]);
	}
	return err;
}

static int attach_disks(struct machine *m)
{
	int err = 0;

	for (unsigned i = 0; i < m->config->n_disks && !err; i++) {
		const struct worker_disk *d = &m->config->disks[i];
		struct scsi_disk_options options = {.read_only = d->read_only};
		struct scsi_unit *unit =
			d->dvd ? scsi_dvd_create(d->disk) : scsi_disk_create(d->disk, &options);

		m->disks->units[i] = unit;
		err = unit ? storage_attach(m->disks->controllers[d->controller], d->lun, unit)
			   : -ENOMEM;
	}
	return err;
}

int disks_create(struct machine *m)
{
	const struct worker_config *config = m->config;
	int err;

	if (!config->n_disks)
		return 0;
	m->disks = calloc(1, sizeof(*m->disks) + config->n_disks * sizeof(m->disks->units[0]));
	if (!m->disks)
		return -ENOMEM;
	err = disk_engine_start(config->disk_engine);
	if (!err)
		err = offer_controllers(m);
	if (!err)
		err = attach_disks(m);
	if (err)
		log_error("%s: cannot offer the guest its disks: %s", config->name, strerror(-err));
	return err;
}

void disks_destroy(struct machine *m)
{
	const struct worker_config *config = m->config;

	for (unsigned i = 0; m->disks && i < WORKER_CONTROLLERS; i++)
		storage_destroy(m->disks->controllers[i]);
	for (unsigned i = 0; i < config->n_disks; i++) {
		struct disk *d = config->disks[i].disk;
		int err;

		if (m->disks)
			scsi_unit_destroy(m->disks->units[i]);
		err = d ? disk_close(d) : 0;
		if (err)
			log_error("%s: not all that the guest wrote reached its disk %u: %s; check "
				  "it "
				  "with 'partita disk check'",
				config->name, i, strerror(-err));
	}
	disk_engine_destroy(config->disk_engine);
	free(m->disks);
	m->disks = NULL;
}
