/*
 * run_disks.h - the disks of partita run: what --disk and --dvd say.
 */
#ifndef PARTITA_CLI_RUN_DISKS_H
#define PARTITA_CLI_RUN_DISKS_H

#include "worker/worker.h"

#define RUN_DISKS (WORKER_CONTROLLERS * WORKER_LUNS + WORKER_PLACES - WORKER_CONTROLLERS)

struct run_disks {
	struct worker_disk disks[RUN_DISKS];
	char *paths[RUN_DISKS];
	bool placed[RUN_DISKS]; /* the place was given */
	unsigned n;
};

/* These say what is wrong, and return false. */

/* run_disks_add - take --disk into struct run_disks: FILE[,ro][,controller=N][,lun=N] or
 * FILE[,ro],ide=CONTROLLER.LOCATION */
bool run_disks_add(const char *option, const char *text, void *disks);
bool run_disks_add_dvd(const char *option, const char *path, void *disks);
/* run_disks_open - place and open them all, into @config. */
bool run_disks_open(struct run_disks *d, struct worker_config *config);

#endif
