/*
 * disk_resize.c - partita disk resize: makes a disk larger or smaller; see partita-disk(1).
 */
#include "cli/disk.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"

static const char help[] =
	"Usage: partita disk resize FILE SIZE [OPTION]...\n"
	"       partita disk resize FILE --minimum [OPTION]...\n"
	"\n"
	"Give a disk another size, such as 20G, or one that is larger by so much, such as\n"
	"+5G. What is new reads as zeros. A disk that shrinks keeps all data that it\n"
	"holds, or is left as it is.\n"
	"\n"
	"  --minimum        the smallest size that loses nothing\n"
	"  --lose-data      shrink although data that is beyond the new end is lost\n"
	"  --format FORMAT  vhdx, vhd or raw, instead of what the contents say\n"
	"  --help           this help\n";

struct arguments {
	uint64_t bytes;
	bool more; /* than it has */
	bool minimum, lose;
	enum disk_format format;
};

static const struct cli_option options[] = {
	CLI_FLAG("minimum", minimum),
	CLI_FLAG("lose-data", lose),
	CLI_VALUE("format", format, enum disk_format, cli_parse_format),
	{0},
};

/* The new size in bytes; 0: said why there is none. */
static uint64_t new_size(struct disk *d, const struct arguments *a)
{
	struct disk_info info;
	const uint64_t size = disk_size(d);

	disk_info(d, &info);
	if (a->minimum) {
		if (!info.min_size)
			log_error(
				"%s: where its data ends is not known; give a SIZE", disk_path(d));
		return info.min_size;
	}
	if (!a->more)
		return a->bytes;
	if (a->bytes <= UINT64_MAX - size)
		return size + a->bytes;
	log_error("%s: no disk can be that large", disk_path(d));
	return 0;
}

static int resize(struct cli_job *job, const char *path, const struct arguments *a)
{
	struct disk *d = cli_job_open(job, path, DISK_OPEN_WRITE, a->format);
	char was[CLI_SIZE_TEXT], is[CLI_SIZE_TEXT];
	uint64_t before, size;
	int err, status = CLI_FAILURE;

	if (!d)
		return CLI_FAILURE;
	before = disk_size(d);
	size = new_size(d, a);
	if (size) {
		err = disk_resize(d, size, a->lose, &job->problem);
		status = err ? cli_job_fail(job, path, err) : 0;
	}
	status = cli_job_close(job, d, status);
	if (!status)
		printf("%s: from %s to %s\n", path, cli_exact_size(before, was),
			cli_exact_size(size, is));
	return status;
}

static const struct cli_syntax syntax = {
	.command = "disk resize",
	.help = help,
	.options = options,
	.min = 1,
	.max = 2,
	.arguments = "the disk's FILE and the new SIZE",
};

int cli_disk_resize(int argc, char **argv)
{
	struct arguments a = {0};
	struct cli_job job;
	int status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (a.minimum == (argc - optind == 2)) {
		log_error("disk resize: give either a SIZE or --minimum");
		return CLI_USAGE_ERROR;
	}
	if (!a.minimum && !cli_parse_new_size(argv[optind + 1], &a.bytes, &a.more))
		return CLI_USAGE_ERROR;
	if (!cli_job_begin(&job, NULL))
		return CLI_FAILURE;
	return cli_job_end(&job, resize(&job, argv[optind], &a));
}
