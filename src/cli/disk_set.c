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

struct arguments {
	const char *parent;
	bool force, identify;
	GUID id;
	uint32_t physical_sector;
};

static bool take_id(const char *option, const char *value, void *arguments)
{
	struct arguments *a = arguments;

	a->identify = true;
	if (strcmp(value, "new") != 0)
		return cli_parse_guid(option, value, &a->id);
	guid_new(&a->id);
	return true;
}

static const struct cli_option options[] = {
	CLI_STRING("parent", parent),
	CLI_FLAG("force", force),
	CLI_TAKE("id", take_id),
	CLI_VALUE("physical-sector", physical_sector, uint32_t, cli_parse_sector),
	{0},
};

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
