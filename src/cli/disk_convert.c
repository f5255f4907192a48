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
	"  --above IMAGE           copy only what SOURCE and its parents above IMAGE hold;\n"
	"                          with --parent IMAGE several levels become one\n"
	"  --since ID              copy only what changed since that point, which 'partita\n"
	"                          disk changes' tells; --parent is the copy made then\n"
	"  --block-size SIZE       as for 'partita disk create'\n"
	"  --logical-sector SIZE   512 or 4096; SOURCE's by default\n"
	"  --physical-sector SIZE  512 or 4096; SOURCE's by default\n"
	"  --source-format FORMAT  vhdx, vhd or raw, instead of what SOURCE's contents say\n"
	"  --keep-zeros            do not look for zeros in what SOURCE holds\n"
	"  --parallel N            requests under way at once, 1 to 64 (default 8)\n"
	"  --overwrite             replace TARGET if it exists\n"
	"  --help                  this help\n";

struct arguments {
	struct disk_convert convert;
	enum disk_format source_format;
	bool fixed;
};

static const struct cli_option options[] = {
	CLI_VALUE("format", convert.target.format, enum disk_format, cli_parse_format),
	CLI_FLAG("fixed", fixed),
	CLI_STRING("parent", convert.target.parent),
	CLI_STRING("above", convert.above),
	CLI_STRING("since", convert.since),
	CLI_VALUE("block-size", convert.target.block_size, uint32_t, cli_parse_block_size),
	CLI_VALUE("logical-sector", convert.target.logical_sector, uint32_t, cli_parse_sector),
	CLI_VALUE("physical-sector", convert.target.physical_sector, uint32_t, cli_parse_sector),
	CLI_VALUE("source-format", source_format, enum disk_format, cli_parse_format),
	CLI_FLAG("keep-zeros", convert.keep_zeros),
	CLI_VALUE("parallel", convert.parallel, unsigned, cli_parse_parallel),
	CLI_FLAG("overwrite", convert.target.overwrite),
	{0},
};

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
