/*
 * disk_compare.c - partita disk compare: tells whether two disks have the same contents; see
 * partita-disk(1).
 */
#include "cli/disk.h"

#include <inttypes.h>
#include <stdio.h>

#include "disk/operations.h"

static const char help[] =
	"Usage: partita disk compare FIRST SECOND [OPTION]...\n"
	"\n"
	"Tell whether two disks, of whatever format, have the same contents. A disk that\n"
	"is longer than the other may end in zeros.\n"
	"\n"
	"  --same-size             they must have the same size, too\n"
	"  --first-format FORMAT   vhdx, vhd or raw, instead of what the contents say\n"
	"  --second-format FORMAT  the same\n"
	"  --parallel N            requests under way at once, 1 to 64 (default 8)\n"
	"  --help                  this help\n"
	"\n"
	"Exit status: 0 they are the same; 1 they differ; 2 they could not be compared.\n";

/* As cmp(1) has it: trouble is not the same as a difference. */
#define COMPARE_TROUBLE 2

struct arguments {
	struct disk_compare compare;
	enum disk_format format[2];
};

static const struct cli_option options[] = {
	CLI_FLAG("same-size", compare.same_size),
	CLI_VALUE("first-format", format[0], enum disk_format, cli_parse_format),
	CLI_VALUE("second-format", format[1], enum disk_format, cli_parse_format),
	CLI_VALUE("parallel", compare.parallel, unsigned, cli_parse_parallel),
	{0},
};

static int compare(struct cli_job *job, struct arguments *a, char **paths)
{
	struct disk *disks[2] = {0};
	int err, status = COMPARE_TROUBLE;

	disks[0] = cli_job_open(job, paths[0], 0, a->format[0]);
	if (disks[0])
		disks[1] = cli_job_open(job, paths[1], 0, a->format[1]);
	if (disks[1]) {
		err = disk_compare(job->engine, disks[0], disks[1], &a->compare, &job->progress);
		if (err)
			cli_job_fail(job, paths[0], err);
		else
			status = a->compare.differ;
	}
	for (unsigned i = 0; i < 2; i++)
		if (cli_job_close(job, disks[i], 0))
			status = COMPARE_TROUBLE;
	return status;
}

static const struct cli_syntax syntax = {
	.command = "disk compare",
	.help = help,
	.options = options,
	.min = 2,
	.max = 2,
	.arguments = "two disks",
};

int cli_disk_compare(int argc, char **argv)
{
	struct arguments a = {0};
	struct cli_job job;
	int status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (!cli_job_begin(&job, "comparing"))
		return COMPARE_TROUBLE;
	status = cli_job_end(&job, compare(&job, &a, argv + optind));
	if (status == 0)
		printf("%s and %s have the same contents\n", argv[optind], argv[optind + 1]);
	else if (status == 1)
		printf("%s and %s differ at byte %" PRIu64 "\n", argv[optind], argv[optind + 1],
			a.compare.where);
	return status;
}
