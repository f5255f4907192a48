/*
 * disk_compact.c - partita disk compact: gives back what a disk's file holds without need; see
 * partita-disk(1).
 */
#include "cli/disk.h"

#include <stdio.h>

static const char help[] =
	"Usage: partita disk compact FILE [OPTION]...\n"
	"\n"
	"Give back the space that a dynamic or differencing disk's file does not need:\n"
	"blocks that nothing uses any more, and blocks of zeros.\n"
	"\n"
	"  --keep-zeros     do not read the disk to find blocks of zeros\n"
	"  --keep-places    move no blocks: the file gets holes instead of shorter\n"
	"  --format FORMAT  vhdx, vhd or raw, instead of what the contents say\n"
	"  --help           this help\n";

struct arguments {
	bool keep_zeros, keep_places;
	enum disk_format format;
};

static const struct cli_option options[] = {
	CLI_FLAG("keep-zeros", keep_zeros),
	CLI_FLAG("keep-places", keep_places),
	CLI_VALUE("format", format, enum disk_format, cli_parse_format),
	{0},
};

static uint64_t file_used(struct disk *d)
{
	struct disk_info info;

	disk_info(d, &info);
	return info.file_used;
}

static int compact(struct cli_job *job, const char *path, const struct arguments *a)
{
	struct disk *d = cli_job_open(job, path, DISK_OPEN_WRITE, a->format);
	char was[CLI_SIZE_TEXT], is[CLI_SIZE_TEXT];
	unsigned how = (a->keep_zeros ? 0 : DISK_COMPACT_ZEROS) |
		       (a->keep_places ? 0 : DISK_COMPACT_MOVE);
	uint64_t before, now;
	int err, status;

	if (!d)
		return CLI_FAILURE;
	before = file_used(d);
	err = disk_compact(d, how, &job->progress, &job->problem);
	now = file_used(d);
	status = cli_job_close(job, d, err ? cli_job_fail(job, path, err) : 0);
	if (!status)
		printf("%s: from %s to %s of its file system\n", path, cli_size(before, was),
			cli_size(now, is));
	return status;
}

static const struct cli_syntax syntax = {
	.command = "disk compact",
	.help = help,
	.options = options,
	.min = 1,
	.max = 1,
	.arguments = "the disk's FILE",
};

int cli_disk_compact(int argc, char **argv)
{
	struct arguments a = {0};
	struct cli_job job;
	int status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (!cli_job_begin(&job, "compacting"))
		return CLI_FAILURE;
	return cli_job_end(&job, compact(&job, argv[optind], &a));
}
