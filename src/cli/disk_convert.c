/*
 * disk_convert.c - partita disk convert: copies a disk into another format or kind; see
 * partita-disk(1).
 */
#include "cli/disk.h"

#include "base/log.h"
#include "disk/operations.h"

static const char help[] =
	"Usage: partita disk convert SOURCE TARGET [OPTION]...\n"
	"\n"
	"Copy a disk into a new one of any format and kind. SOURCE's chain of parents\n"
	"is flattened into TARGET, unless --parent says what TARGET shall stand on. What\n"
	"SOURCE does not use, and zeros, take no room in TARGET. TARGET appears when it\n"
	"is whole and durable.\n"
	"\n"
	"  --format FORMAT         vhdx, vhd or raw, instead of what TARGET's name says\n"
	"  --fixed                 a fixed disk; VHD and VHDX are dynamic without this\n"
	"  --parent PARENT         copy only what SOURCE itself holds, into a differencing\n"
	"                          disk that stands on PARENT, which has the contents of\n"
	"                          SOURCE's parent\n"
	"  --block-size SIZE       as for 'partita disk create'\n"
	"  --logical-sector SIZE   512 or 4096; SOURCE's by default\n"
	"  --physical-sector SIZE  512 or 4096; SOURCE's by default\n"
	"  --source-format FORMAT  vhdx, vhd or raw, instead of what SOURCE's contents say\n"
	"  --keep-zeros            do not look for zeros in what SOURCE holds\n"
	"  --parallel N            requests under way at once, 1 to 64 (default 8)\n"
	"  --overwrite             replace TARGET if it exists\n"
	"  --help                  this help\n";

enum option_code {
	OPT_FORMAT = CLI_OPTION,
	OPT_FIXED,
	OPT_PARENT,
	OPT_BLOCK_SIZE,
	OPT_LOGICAL_SECTOR,
	OPT_PHYSICAL_SECTOR,
	OPT_SOURCE_FORMAT,
	OPT_KEEP_ZEROS,
	OPT_PARALLEL,
	OPT_OVERWRITE,
};

static const struct option options[] = {
	{"format", required_argument, NULL, OPT_FORMAT},
	{"fixed", no_argument, NULL, OPT_FIXED},
	{"parent", required_argument, NULL, OPT_PARENT},
	{"block-size", required_argument, NULL, OPT_BLOCK_SIZE},
	{"logical-sector", required_argument, NULL, OPT_LOGICAL_SECTOR},
	{"physical-sector", required_argument, NULL, OPT_PHYSICAL_SECTOR},
	{"source-format", required_argument, NULL, OPT_SOURCE_FORMAT},
	{"keep-zeros", no_argument, NULL, OPT_KEEP_ZEROS},
	{"parallel", required_argument, NULL, OPT_PARALLEL},
	{"overwrite", no_argument, NULL, OPT_OVERWRITE},
	{0},
};

struct arguments {
	struct disk_convert convert;
	enum disk_format source_format;
	bool fixed;
};

static bool take(void *ctx, int code, const char *value)
{
	struct arguments *a = ctx;
	struct disk_create *target = &a->convert.target;

	switch (code) {
	case OPT_FORMAT:
		return cli_parse_format("--format", value, &target->format);
	case OPT_FIXED:
		return a->fixed = true;
	case OPT_PARENT:
		target->parent = value;
		return true;
	case OPT_BLOCK_SIZE:
		return cli_parse_block_size("--block-size", value, &target->block_size);
	case OPT_LOGICAL_SECTOR:
		return cli_parse_sector("--logical-sector", value, &target->logical_sector);
	case OPT_PHYSICAL_SECTOR:
		return cli_parse_sector("--physical-sector", value, &target->physical_sector);
	case OPT_SOURCE_FORMAT:
		return cli_parse_format("--source-format", value, &a->source_format);
	case OPT_KEEP_ZEROS:
		return a->convert.keep_zeros = true;
	case OPT_PARALLEL:
		return cli_parse_parallel("--parallel", value, &a->convert.parallel);
	default:
		return target->overwrite = true;
	}
}

static bool settle(struct arguments *a, const char *path)
{
	struct disk_create *target = &a->convert.target;

	if (!cli_settle_format(path, &target->format))
		return false;
	if (target->parent && (a->fixed || target->format == DISK_FORMAT_RAW)) {
		log_error("--parent: a %s disk has no parent; leave one of the two away",
			a->fixed ? "fixed" : "raw");
		return false;
	}
	target->kind = target->parent				       ? DISK_DIFFERENCING
		       : a->fixed || target->format == DISK_FORMAT_RAW ? DISK_FIXED
								       : DISK_DYNAMIC;
	return true;
}

static int convert(struct cli_job *job, const struct arguments *a, const char *from, const char *to)
{
	struct disk *d = cli_job_open(job, from, 0, a->source_format);
	int err;

	if (!d)
		return CLI_FAILURE;
	err = disk_convert(job->engine, d, to, &a->convert, &job->progress, &job->problem);
	return cli_job_close(job, d, err ? cli_job_fail(job, to, err) : 0);
}

static const struct cli_syntax syntax = {
	.command = "disk convert",
	.help = help,
	.options = options,
	.min = 2,
	.max = 2,
	.arguments = "SOURCE and TARGET",
	.take = take,
};

int cli_disk_convert(int argc, char **argv)
{
	struct arguments a = {0};
	struct cli_job job;
	int status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (!settle(&a, argv[optind + 1]))
		return CLI_USAGE_ERROR;
	if (!cli_job_begin(&job, "converting"))
		return CLI_FAILURE;
	return cli_job_end(&job, convert(&job, &a, argv[optind], argv[optind + 1]));
}
