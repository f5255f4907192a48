/*
 * disk_map.c - partita disk map: shows which parts of a disk hold data, and in which image of the
 * chain; see partita-disk(1).
 */
#include "cli/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>

static const char help[] =
	"Usage: partita disk map FILE [OPTION]...\n"
	"\n"
	"Show which parts of a disk hold data, and in which image of its chain; what is\n"
	"not shown reads as zeros.\n"
	"\n"
	"  --json           for programs: an array of all runs, with their offset and\n"
	"                   length in bytes, whether they are data or zeros, and the image\n"
	"                   that says so (0: FILE, 1: its parent, ...)\n"
	"  --format FORMAT  vhdx, vhd or raw, instead of what the contents say\n"
	"  --help           this help\n";

struct arguments {
	bool json;
	enum disk_format format;
};

static const struct cli_option options[] = {
	CLI_FLAG("json", json),
	CLI_VALUE("format", format, enum disk_format, cli_parse_format),
	{0},
};

struct run {
	uint64_t offset, length;
	enum disk_where where;
	unsigned depth; /* of the image that answers for it */
};

/* The run at @offset: images are asked one by one, and each may shorten it. */
static int find_run(struct disk *d, uint64_t offset, struct run *run)
{
	uint64_t end = disk_size(d);
	int64_t length;

	*run = (struct run){.offset = offset, .where = DISK_BELOW};
	for (; run->where == DISK_BELOW; run->depth++) {
		length = disk_extent(d, offset, end, run->depth, &run->where);
		if (length < 0)
			return length;
		end = offset + length;
	}
	run->depth--;
	run->length = end - offset;
	return 0;
}

struct output {
	struct json_object *array; /* NULL: for people */
	struct disk *disk;
	struct run run; /* that grows; length 0: none yet */
};

static void put(struct output *o)
{
	struct json_object *entry;
	struct disk *image = o->disk;
	char at[CLI_SIZE_TEXT], length[CLI_SIZE_TEXT];

	if (!o->run.length)
		return;
	if (o->array) {
		entry = json_object_new_object();
		json_object_object_add(entry, "offset", json_object_new_uint64(o->run.offset));
		json_object_object_add(entry, "length", json_object_new_uint64(o->run.length));
		json_object_object_add(
			entry, "data", json_object_new_boolean(o->run.where == DISK_DATA));
		json_object_object_add(entry, "image", json_object_new_int64(o->run.depth));
		json_object_array_add(o->array, entry);
	} else if (o->run.where == DISK_DATA) {
		for (unsigned i = 0; i < o->run.depth; i++)
			image = disk_parent(image);
		printf("%16" PRIu64 " %16" PRIu64 "  %10s %10s  %s\n", o->run.offset, o->run.length,
			cli_size(o->run.offset, at), cli_size(o->run.length, length),
			disk_path(image));
	}
}

static int walk(struct disk *d, struct output *o, struct disk_progress *progress)
{
	struct run next;
	int err = 0;

	for (uint64_t at = 0; at < disk_size(d) && !err; at += next.length) {
		err = progress->cancel ? -ECANCELED : find_run(d, at, &next);
		if (err)
			break;
		if (o->run.length && next.where == o->run.where && next.depth == o->run.depth) {
			o->run.length += next.length;
		} else {
			put(o);
			o->run = next;
		}
	}
	if (!err)
		put(o);
	return err;
}

static const struct cli_syntax syntax = {
	.command = "disk map",
	.help = help,
	.options = options,
	.min = 1,
	.max = 1,
	.arguments = "the disk's FILE",
};

static int show(struct cli_job *job, const char *path, const struct arguments *a)
{
	struct output o = {.disk = cli_job_open(job, path, 0, a->format)};
	int err;

	if (!o.disk)
		return CLI_FAILURE;
	if (a->json)
		o.array = json_object_new_array();
	else
		printf("%16s %16s  %10s %10s  %s\n", "offset", "length", "at", "size", "image");
	err = walk(o.disk, &o, &job->progress);
	if (a->json && !err)
		cli_print_json(o.array);
	return cli_job_close(job, o.disk, err ? cli_job_fail(job, path, err) : 0);
}

int cli_disk_map(int argc, char **argv)
{
	struct arguments a = {0};
	struct cli_job job;
	int status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (!cli_job_begin(&job, NULL))
		return CLI_FAILURE;
	return cli_job_end(&job, show(&job, argv[optind], &a));
}
