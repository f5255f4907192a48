/*
 * disk_create.c - partita disk create: makes a disk; see partita-disk(1).
 */
#include "cli/disk.h"

#include <string.h>

#include "base/log.h"

static const char help[] =
	"Usage: partita disk create FILE --size SIZE [OPTION]...\n"
	"       partita disk create FILE --parent PARENT [OPTION]...\n"
	"\n"
	"Make a new disk. The name's ending (.vhdx, .avhdx, .vhd, .avhd, .raw, .img) says\n"
	"which format it has, unless --format does.\n"
	"\n"
	"  --size SIZE             such as 10G, 512M, 1.5T, or a number of bytes\n"
	"  --parent PARENT         make a differencing disk, which holds what differs from\n"
	"                          PARENT\n"
	"  --format FORMAT         vhdx, vhd or raw\n"
	"  --fixed                 take all space in the file now; VHD and VHDX are dynamic\n"
	"                          without this: they grow with what is written to them\n"
	"  --sparse                with --fixed: leave the file sparse instead\n"
	"  --block-size SIZE       of a dynamic or differencing disk: VHDX 1M to 256M\n"
	"                          (default 32M, for differencing disks 2M), VHD 512K or 2M\n"
	"  --logical-sector SIZE   512 (the default) or 4096\n"
	"  --physical-sector SIZE  512 or 4096\n"
	"  --parent-format FORMAT  when the parent's contents do not tell\n"
	"  --id GUID               the disk's identifier; a new one by default\n"
	"  --overwrite             replace a file that exists\n"
	"  --help                  this help\n";

struct arguments {
	struct disk_create create;
	bool sized, fixed, sparse;
};

static bool take_size(const char *option, const char *value, void *arguments)
{
	struct arguments *a = arguments;

	a->sized = true;
	return cli_parse_option_bytes(option, value, &a->create.size);
}

static const struct cli_option options[] = {
	CLI_TAKE("size", take_size),
	CLI_STRING("parent", create.parent),
	CLI_VALUE("format", create.format, enum disk_format, cli_parse_format),
	CLI_FLAG("fixed", fixed),
	CLI_FLAG("sparse", sparse),
	CLI_VALUE("block-size", create.block_size, uint32_t, cli_parse_block_size),
	CLI_VALUE("logical-sector", create.logical_sector, uint32_t, cli_parse_sector),
	CLI_VALUE("physical-sector", create.physical_sector, uint32_t, cli_parse_sector),
	CLI_VALUE("parent-format", create.parent_format, enum disk_format, cli_parse_format),
	CLI_VALUE("id", create.id, GUID, cli_parse_guid),
	CLI_FLAG("overwrite", create.overwrite),
	{0},
};

/* What contradicts itself is said before anything is made. */
static bool settle(struct arguments *a, const char *path)
{
	struct disk_create *c = &a->create;

	if (!cli_settle_format(path, &c->format))
		return false;
	if (c->parent && a->fixed)
		log_error("--fixed and --parent: a differencing disk cannot be fixed");
	else if (c->parent && c->format == DISK_FORMAT_RAW)
		log_error("--parent: a raw disk has no parent; use vhdx or vhd");
	else if (!c->parent && !a->sized)
		log_error("%s: give its size with --size, or a parent with --parent", path);
	else if (a->sized && !c->size)
		log_error("--size 0: a disk has at least one sector");
	else if (a->sparse && !a->fixed && c->format != DISK_FORMAT_RAW)
		log_error("--sparse is for fixed disks; a dynamic disk takes no space it does not "
			  "need");
	else {
		c->kind = c->parent				     ? DISK_DIFFERENCING
			  : a->fixed || c->format == DISK_FORMAT_RAW ? DISK_FIXED
								     : DISK_DYNAMIC;
		c->preallocated = a->fixed && !a->sparse;
		return true;
	}
	return false;
}

static const struct cli_syntax syntax = {
	.command = "disk create",
	.help = help,
	.options = options,
	.min = 1,
	.max = 1,
	.arguments = "the FILE to make",
};

int cli_disk_create(int argc, char **argv)
{
	struct arguments a = {0};
	struct cli_job job;
	int err, status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (!settle(&a, argv[optind]))
		return CLI_USAGE_ERROR;
	if (!cli_job_begin(&job, NULL))
		return CLI_FAILURE;
	err = disk_create(job.engine, argv[optind], &a.create, NULL, &job.problem);
	return cli_job_end(&job, err ? cli_job_fail(&job, argv[optind], err) : 0);
}
