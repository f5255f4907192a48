/*
 * disk_check.c - partita disk check: looks for damage, and repairs it; see partita-disk(1).
 */
#include "cli/disk.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"

static const char help[] =
	"Usage: partita disk check FILE [OPTION]...\n"
	"\n"
	"Look for damage in a disk's tables, and whether its parents are there and are\n"
	"the ones that it was made from.\n"
	"\n"
	"  --repair         mend what can be mended; without this nothing is written\n"
	"  --format FORMAT  vhdx, vhd or raw, instead of what the contents say\n"
	"  --help           this help\n"
	"\n"
	"Exit status: 0 the disk is well, or is so now; 1 it is damaged, or could not be\n"
	"examined.\n";

struct arguments {
	bool repair;
	enum disk_format format;
};

static const struct cli_option options[] = {
	CLI_FLAG("repair", repair),
	CLI_VALUE("format", format, enum disk_format, cli_parse_format),
	{0},
};

static void found(void *ctx, bool repaired, const char *text)
{
	printf("%s: %s\n", repaired ? "repaired" : "damage", text);
}

/*
 * The tables of one image. True: they are well, *@differencing says whether there is more to see.
 */
static bool check_tables(
	struct cli_job *job, const char *path, const struct arguments *a, bool *differencing)
{
	const unsigned flags = DISK_OPEN_DAMAGED | DISK_OPEN_NO_PARENTS;
	struct disk *d =
		cli_job_open(job, path, flags | (a->repair ? DISK_OPEN_WRITE : 0), a->format);
	struct disk_check check = {.repair = a->repair, .found = found};
	struct disk_info info;
	char text[CLI_SIZE_TEXT];
	int err;

	if (!d)
		return false;
	disk_info(d, &info);
	*differencing = info.kind == DISK_DIFFERENCING;
	err = disk_check(d, &check, &job->progress);
	if (cli_job_close(job, d, err ? cli_job_fail(job, path, err) : 0))
		return false;
	if (check.leaked)
		printf("%s of the file are not used; 'partita disk compact' gives them back\n",
			cli_exact_size(check.leaked, text));
	if (check.errors > check.repaired)
		log_error("%s: damaged in %" PRIu64 " place%s%s", path,
			check.errors - check.repaired,
			check.errors - check.repaired == 1 ? "" : "s",
			a->repair ? " that cannot be mended; restore it from a copy"
				  : "; 'partita disk check --repair' mends what can be mended");
	return check.errors == check.repaired;
}

static int check_all(struct cli_job *job, const char *path, const struct arguments *a)
{
	bool differencing;
	struct disk *d;

	if (!check_tables(job, path, a, &differencing))
		return CLI_FAILURE;
	if (differencing) {
		d = cli_job_open(job, path, 0, a->format);
		if (!d || cli_job_close(job, d, 0))
			return CLI_FAILURE;
	}
	printf("%s is well\n", path);
	return 0;
}

static const struct cli_syntax syntax = {
	.command = "disk check",
	.help = help,
	.options = options,
	.min = 1,
	.max = 1,
	.arguments = "the disk's FILE",
};

int cli_disk_check(int argc, char **argv)
{
	struct arguments a = {0};
	struct cli_job job;
	int status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (!cli_job_begin(&job, "checking"))
		return CLI_FAILURE;
	return cli_job_end(&job, check_all(&job, argv[optind], &a));
}
