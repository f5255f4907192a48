/*
 * run_disks.c - see run_disks.h.
 *
 * Disks are opened here, chain and all, while the process may still open files; the worker gives
 * them to the guest after it has given up its privileges.
 */
#include "cli/run_disks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/cli.h"
#include "disk/disk.h"

static struct worker_disk *add(struct run_disks *d, const char *path)
{
	if (d->n == RUN_DISKS) {
		log_error("%s: a machine has at most %u disks", path, RUN_DISKS);
		return NULL;
	}
	d->paths[d->n] = strdup(path);
	if (d->paths[d->n])
		return &d->disks[d->n++];
	log_error("%s: %s", path, strerror(errno));
	return NULL;
}

static bool take_ide(const char *text, struct worker_disk *disk)
{
	if (strlen(text) == 3 && strspn(text, "01") == 1 && text[1] == '.' &&
		strspn(text + 2, "01") == 1) {
		disk->controller = WORKER_IDE(text[0] - '0', text[2] - '0');
		return true;
	}
	log_error("--disk: ide=%s: there are ide=0.0, 0.1, 1.0 and 1.1", text);
	return false;
}

/* Which words about its place were there. */
struct words {
	bool controller, lun, ide;
};

/* One of the words behind the file's name. 1: taken; 0: it is none of them; -1: it is wrong. */
static int take_word(struct worker_disk *disk, struct words *were, const char *word)
{
	bool fine = true;

	if (strcmp(word, "ro") == 0) {
		disk->read_only = true;
	} else if (strncmp(word, "controller=", 11) == 0) {
		were->controller = true;
		fine = cli_take_number("--disk: controller", word + 11, 0, WORKER_CONTROLLERS - 1,
			&disk->controller);
	} else if (strncmp(word, "lun=", 4) == 0) {
		were->lun = true;
		fine = cli_take_number("--disk: lun", word + 4, 0, WORKER_LUNS - 1, &disk->lun);
	} else if (strncmp(word, "ide=", 4) == 0) {
		were->ide = true;
		fine = take_ide(word + 4, disk);
	} else {
		return 0;
	}
	return fine ? 1 : -1;
}

/* The words are taken from the end, so that a file's name may have commas. */
bool run_disks_add(const char *option, const char *text, void *disks)
{
	struct run_disks *d = disks;
	struct worker_disk *disk = add(d, text);
	unsigned i = d->n - 1;
	struct words were = {0};
	char *comma;
	int taken = 1;

	if (!disk)
		return false;
	while (taken > 0 && (comma = strrchr(d->paths[i], ','))) {
		taken = take_word(disk, &were, comma + 1);
		if (taken > 0)
			*comma = 0;
	}
	if (taken >= 0 && were.ide && (were.controller || were.lun)) {
		log_error("%s %s: ide= says all about its place", option, text);
		return false;
	}
	d->placed[i] = were.lun || were.ide;
	return taken >= 0;
}

bool run_disks_add_dvd(const char *option, const char *path, void *disks)
{
	struct worker_disk *disk = add(disks, path);

	if (!disk)
		return false;
	disk->dvd = true;
	disk->read_only = true;
	return true;
}

static bool in_use(const struct run_disks *d, unsigned but, unsigned controller, unsigned lun)
{
	for (unsigned i = 0; i < d->n; i++)
		if (i != but && d->placed[i] && d->disks[i].controller == controller &&
			d->disks[i].lun == lun)
			return true;
	return false;
}

static void say_taken(const char *path, const struct worker_disk *disk)
{
	if (disk->controller < WORKER_CONTROLLERS)
		log_error("%s: there is a disk already at controller %u, LUN %u", path,
			disk->controller, disk->lun);
	else
		log_error("%s: there is a disk already at that place of the IDE controller", path);
}

static bool place(struct run_disks *d)
{
	for (unsigned i = 0; i < d->n; i++) {
		struct worker_disk *disk = &d->disks[i];

		while (!d->placed[i] && disk->lun < WORKER_LUNS &&
			in_use(d, i, disk->controller, disk->lun))
			disk->lun++;
		if (disk->lun == WORKER_LUNS) {
			log_error(
				"%s: controller %u has no LUN left", d->paths[i], disk->controller);
			return false;
		}
		if (in_use(d, i, disk->controller, disk->lun)) {
			say_taken(d->paths[i], disk);
			return false;
		}
		d->placed[i] = true;
	}
	return true;
}

/* io_uring is not for a confined process; what would gain by it is done by threads. */
static bool open_one(struct disk_engine *e, const char *path, struct worker_disk *disk)
{
	struct disk_open_options options = {
		.flags = disk->read_only ? 0 : DISK_OPEN_WRITE,
		.format = disk->dvd ? DISK_FORMAT_RAW : DISK_FORMAT_ANY,
	};
	struct disk_problem problem = {0};
	/* By its real path, so that detach-from finds it by that. */
	char *real = realpath(path, NULL);
	int err = real ? disk_open(e, real, &options, &disk->disk, &problem) : -errno;

	if (err)
		log_error("%s", disk_problem_text(&problem, path, err));
	free(real);
	return err == 0;
}

bool run_disks_open(struct run_disks *d, struct worker_config *config)
{
	static const struct disk_engine_options options = {.no_uring = true, .threads_later = true};
	bool fine = place(d);

	if (!fine)
		return false;
	config->disk_engine = disk_engine_create(&options);
	if (!config->disk_engine) {
		log_error("no memory for disks");
		return false;
	}
	for (unsigned i = 0; i < d->n && fine; i++)
		fine = open_one(config->disk_engine, d->paths[i], &d->disks[i]);
	for (unsigned i = 0; i < d->n; i++) {
		if (!fine)
			disk_close(d->disks[i].disk);
		free(d->paths[i]);
	}
	config->disks = d->disks;
	config->n_disks = d->n;
	return fine;
}
