/*
 * disk_set.c - partita disk set: changes what a disk's file says about it; see partita-disk(1).
 */
#include "cli/disk.h"

#include <string.h>

#include "base/guid.h"
#include "base/log.h"

static const char help[] =
	"Usage: partita disk set FILE OPTION...\n"
	"\n"
	"Change what a disk's file says about the disk.\n"
	"\n"
	"  --parent PATH           where its parent is now\n"
	"  --force                 with --parent: accept a parent that is not the one the\n"
	"                          disk was made from, or was changed since; what the disk\n"
	"                          reads as is then yours to answer for\n"
	"  --id GUID               its identifier; 'new' for a new one\n"
	"  --physical-sector SIZE  512 or 4096\n"
	"  --help                  this help\n";

enum option_code { OPT_PARENT = CLI_OPTION, OPT_FORCE, OPT_ID, OPT_PHYSICAL_SECTOR };

static const struct option options[] = {
	{"parent", required_argument, NULL, OPT_PARENT},
	{"force", no_argument, NULL, OPT_FORCE},
	{"id", required_argument, NULL, OPT_ID},
	{"physical-sector", required_argument, NULL, OPT_PHYSICAL_SECTOR},
	{0},
};

struct arguments {
	const char *parent;
	bool force, identify;
	GUID id;
	uint32_t physical_sector;
};

static bool take(void *ctx, int code, const char *value)
{
	struct arguments *a = ctx;

	switch (code) {
	case OPT_PARENT:
		a->parent = value;
		return true;
	case OPT_FORCE:
		return a->force = true;
	case OPT_ID:
		a->identify = true;
		if (strcmp(value, "new") != 0)
			return cli_parse_guid("--id", value, &a->id);
		guid_new(&a->id);
		return true;
	default:
		return cli_parse_sector("--physical-sector", value, &a->physical_sector);
	}
}

static int set(struct cli_job *job, const char *path, const struct arguments *a)
{
	/* A parent that is not where it was must not keep this from saying where it is. */
	struct disk *d =
		cli_job_open(job, path, DISK_OPEN_WRITE | DISK_OPEN_NO_PARENTS, DISK_FORMAT_ANY);
	int err = 0;

	if (!d)
		return CLI_FAILURE;
	if (a->parent)
		err = disk_set_parent(d, a->parent, a->force, &job->problem);
	if (!err && a->identify)
		err = disk_set_id(d, &a->id, &job->problem);
	if (!err && a->physical_sector)
		err = disk_set_physical_sector(d, a->physical_sector, &job->problem);
	return cli_job_close(job, d, err ? cli_job_fail(job, path, err) : 0);
}

static const struct cli_syntax syntax = {
	.command = "disk set",
	.help = help,
	.options = options,
	.min = 1,
	.max = 1,
	.arguments = "the disk's FILE",
	.take = take,
};

int cli_disk_set(int argc, char **argv)
{
	struct arguments a = {0};
	struct cli_job job;
	int status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (!a.parent && !a.identify && !a.physical_sector) {
		log_error("disk set: nothing to change; see 'partita disk set --help'");
		return CLI_USAGE_ERROR;
	}
	if (a.force && !a.parent) {
		log_error("--force goes with --parent; see 'partita disk set --help'");
		return CLI_USAGE_ERROR;
	}
	if (!cli_job_begin(&job, NULL))
		return CLI_FAILURE;
	return cli_job_end(&job, set(&job, argv[optind], &a));
}
