/*
 * disk_info.c - partita disk info: shows what a disk is; see partita-disk(1).
 *
 * A chain with a parent that is missing or changed is shown as far as it goes, and what is wrong
 * with it is part of the answer.
 */
#include "cli/disk.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/guid.h"

static const char help[] =
	"Usage: partita disk info FILE [OPTION]...\n"
	"\n"
	"Show what a disk is: format, sizes, identifiers, and its chain of parents.\n"
	"\n"
	"  --json           for programs: one JSON object\n"
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

struct locator {
	enum disk_locator which;
	const char *name;
};

static const struct locator locators[] = {
	{DISK_LOCATOR_RELATIVE, "relative"},
	{DISK_LOCATOR_ABSOLUTE, "absolute"},
	{DISK_LOCATOR_VOLUME, "volume"},
};

#define N_LOCATORS (sizeof(locators) / sizeof(locators[0]))

/* ---- For people ----------------------------------------------------------------------------- */

#define LINE "%-17s "

static void print_guid(const char *label, const GUID *g)
{
	char text[GUID_TEXT];

	if (!guid_is_zero(g))
		printf(LINE "%s\n", label, guid_format(g, text));
}

static void print_sizes(const struct disk_info *info)
{
	char a[CLI_SIZE_TEXT], b[CLI_SIZE_TEXT];

	printf(LINE "%s\n", "Size:", cli_exact_size(info->size, a));
	printf(LINE "%s, of which %s are on the file system\n",
		"File size:", cli_exact_size(info->file_size, a), cli_size(info->file_used, b));
	if (info->min_size)
		printf(LINE "%s\n", "Can shrink to:", cli_exact_size(info->min_size, a));
	if (info->block_size)
		printf(LINE "%s\n", "Block size:", cli_size(info->block_size, a));
	printf(LINE "%" PRIu32 " bytes logical, %" PRIu32 " bytes physical\n",
		"Sectors:", info->logical_sector, info->physical_sector);
}

static void print_chain(struct disk *d, const char *broken)
{
	struct disk_info info;
	const char *label = "Chain:";

	disk_info(d, &info);
	if (info.kind != DISK_DIFFERENCING)
		return;
	for (; d; d = disk_parent(d), label = "") {
		disk_info(d, &info);
		printf(LINE "%s (%s, %s)\n", label, disk_path(d), cli_format_name(info.format),
			cli_kind_name(info.kind));
	}
	if (broken)
		printf(LINE "broken: %s\n", "", broken);
}

static void print_locators(struct disk *d)
{
	const char *label = "Parent paths:";
	char *path;

	for (size_t i = 0; i < N_LOCATORS; i++)
		if (disk_parent_locator(d, locators[i].which, &path) == 0) {
			printf(LINE "%s (%s)\n", label, path, locators[i].name);
			free(path);
			label = "";
		}
}

static void print_info(struct disk *d, const char *broken)
{
	struct disk_info info;

	disk_info(d, &info);
	printf(LINE "%s\n", "File:", disk_path(d));
	printf(LINE "%s, %s\n", "Format:", cli_format_name(info.format), cli_kind_name(info.kind));
	print_sizes(&info);
	print_guid("Identifier:", &info.id);
	if (!guid_equal(&info.id, &info.data_id))
		print_guid("Data identifier:", &info.data_id);
	if (info.creator[0])
		printf(LINE "%s\n", "Created by:", info.creator);
	if (info.has_log)
		printf(LINE "not closed cleanly: the log's changes are shown as made\n", "State:");
	if (info.kind == DISK_DIFFERENCING) {
		print_guid("Parent's data:", &info.parent_id);
		print_locators(d);
	}
	print_chain(d, broken);
}

/* ---- For programs --------------------------------------------------------------------------- */

static void add_string(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static void add_number(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_uint64(n));
}

static void add_guid(struct json_object *o, const char *key, const GUID *g)
{
	char text[GUID_TEXT];

	if (!guid_is_zero(g))
		add_string(o, key, guid_format(g, text));
}

static struct json_object *image_json(struct disk *d)
{
	struct json_object *o = json_object_new_object();
	struct disk_info info;

	disk_info(d, &info);
	add_string(o, "file", disk_path(d));
	add_string(o, "format", cli_format_word(info.format));
	add_string(o, "kind", cli_kind_name(info.kind));
	add_number(o, "size", info.size);
	add_number(o, "file_size", info.file_size);
	add_number(o, "file_used", info.file_used);
	if (info.min_size)
		add_number(o, "min_size", info.min_size);
	if (info.block_size)
		add_number(o, "block_size", info.block_size);
	add_number(o, "logical_sector", info.logical_sector);
	add_number(o, "physical_sector", info.physical_sector);
	add_guid(o, "id", &info.id);
	add_guid(o, "data_id", &info.data_id);
	add_guid(o, "parent_id", &info.parent_id);
	if (info.creator[0])
		add_string(o, "creator", info.creator);
	json_object_object_add(o, "log_replayed", json_object_new_boolean(info.has_log));
	return o;
}

static struct json_object *locators_json(struct disk *d)
{
	struct json_object *o = json_object_new_object();
	char *path;

	for (size_t i = 0; i < N_LOCATORS; i++)
		if (disk_parent_locator(d, locators[i].which, &path) == 0) {
			add_string(o, locators[i].name, path);
			free(path);
		}
	return o;
}

static void print_json(struct disk *d, const char *broken)
{
	struct json_object *o = image_json(d), *parents = json_object_new_array();
	struct disk_info info;

	disk_info(d, &info);
	if (info.kind == DISK_DIFFERENCING) {
		json_object_object_add(o, "parent_paths", locators_json(d));
		for (struct disk *p = disk_parent(d); p; p = disk_parent(p))
			json_object_array_add(parents, image_json(p));
	}
	json_object_object_add(o, "parents", parents);
	if (broken)
		add_string(o, "broken", broken);
	cli_print_json(o);
}

/* ---- The command ---------------------------------------------------------------------------- */

static const struct cli_syntax syntax = {
	.command = "disk info",
	.help = help,
	.options = options,
	.min = 1,
	.max = 1,
	.arguments = "the disk's FILE",
};

static int show(struct cli_job *job, const char *path, const struct arguments *a)
{
	struct disk_open_options open = {.format = a->format};
	struct disk_problem chain = {0};
	const char *broken = NULL;
	struct disk *d = NULL;
	int err = disk_open(job->engine, path, &open, &d, &chain);

	if (err) {
		/* Alone it may still be well. */
		open.flags = DISK_OPEN_NO_PARENTS;
		broken = disk_problem_text(&chain, path, err);
		err = disk_open(job->engine, path, &open, &d, &job->problem);
	}
	if (err)
		return cli_job_fail(job, path, err);
	if (a->json)
		print_json(d, broken);
	else
		print_info(d, broken);
	return cli_job_close(job, d, 0);
}

int cli_disk_info(int argc, char **argv)
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
