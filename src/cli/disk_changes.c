/*
 * disk_changes.c - partita disk changes: resilient change tracking; see partita-disk(1).
 */
#include "cli/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "disk/tracking.h"

static const char help[] =
	"Usage: partita disk changes FILE [OPTION]...\n"
	"\n"
	"Keep track of what is written to a disk, for backups that copy only what changed.\n"
	"Without an option, show the identifier of the last point that can be asked about:\n"
	"whenever a disk that was changed is closed, one begins.\n"
	"\n"
	"  --enable     begin to track; on a tracked disk, begin a new point now\n"
	"  --disable    end tracking, and forget all points\n"
	"  --since ID   show what changed since that point, and maybe more\n"
	"  --json       for programs: one JSON object\n"
	"  --help       this help\n";

struct arguments {
	bool enable, disable, json;
	const char *since;
};

static const struct cli_option options[] = {
	CLI_FLAG("enable", enable),
	CLI_FLAG("disable", disable),
	CLI_STRING("since", since),
	CLI_FLAG("json", json),
	{0},
};

static int fail(struct cli_job *job, const char *path, const char *since, int err)
{
	return cli_job_fail(job, path, tracking_problem(&job->problem, path, since, err));
}

/* ---- What changed --------------------------------------------------------------------------- */

#define RANGES 256

void cli_show_range(struct json_object *array, uint64_t offset, uint64_t length)
{
	char at[CLI_SIZE_TEXT], size[CLI_SIZE_TEXT];
	struct json_object *o;

	if (!array) {
		printf("%16" PRIu64 " %16" PRIu64 "  %10s %10s\n", offset, length,
			cli_size(offset, at), cli_size(length, size));
		return;
	}
	o = json_object_new_object();
	json_object_object_add(o, "offset", json_object_new_uint64(offset));
	json_object_object_add(o, "length", json_object_new_uint64(length));
	json_object_array_add(array, o);
}

void cli_show_range_titles(void)
{
	printf("%16s %16s  %10s %10s\n", "offset", "length", "at", "size");
}

static int query(const char *path, const char *since, uint64_t size, struct json_object *array)
{
	struct tracking_range ranges[RANGES];
	uint64_t at = 0, processed;
	uint32_t n;
	int err;

	for (; at < size; at += processed) {
		n = RANGES;
		err = tracking_query(path, since, at, size - at, ranges, &n, &processed);
		if (err || !processed)
			return err;
		if (!array && !at)
			cli_show_range_titles();
		for (uint32_t i = 0; i < n; i++)
			cli_show_range(array, ranges[i].offset, ranges[i].length);
	}
	return 0;
}

static int show_since(struct cli_job *job, const char *path, const struct arguments *a)
{
	struct disk *d =
		cli_job_open(job, path, DISK_OPEN_NO_PARENTS | DISK_OPEN_SHARED, DISK_FORMAT_ANY);
	struct json_object *o = NULL, *array = NULL;
	uint64_t size;
	int err;

	if (!d)
		return CLI_FAILURE;
	size = disk_size(d);
	if (cli_job_close(job, d, 0))
		return CLI_FAILURE;
	if (a->json)
		array = json_object_new_array();
	err = query(path, a->since, size, array);
	if (a->json) {
		o = json_object_new_object();
		json_object_object_add(o, "since", json_object_new_string(a->since));
		json_object_object_add(o, "changed", array);
	}
	if (!err && o)
		cli_print_json(o);
	else
		json_object_put(o);
	return err ? fail(job, path, a->since, err) : 0;
}

/* ---- Points --------------------------------------------------------------------------------- */

static int show_state(struct cli_job *job, const char *path, bool json)
{
	struct tracking_state state;
	struct json_object *o;
	int err = tracking_state(path, &state);

	if (err && !(json && err == -ENOENT))
		return fail(job, path, NULL, err);
	if (!json) {
		printf("%s%s\n", state.id, state.newer ? " (there are newer changes)" : "");
		return 0;
	}
	o = json_object_new_object();
	json_object_object_add(o, "tracked", json_object_new_boolean(!err));
	if (!err) {
		json_object_object_add(o, "id", json_object_new_string(state.id));
		json_object_object_add(o, "newer", json_object_new_boolean(state.newer));
	}
	cli_print_json(o);
	return 0;
}

static int change(struct cli_job *job, const char *path, bool enable)
{
	struct disk *d =
		cli_job_open(job, path, DISK_OPEN_WRITE | DISK_OPEN_NO_PARENTS, DISK_FORMAT_ANY);
	int err;

	if (!d)
		return CLI_FAILURE;
	err = enable ? tracking_enable(d, &job->problem) : tracking_disable(d);
	return cli_job_close(job, d, err ? cli_job_fail(job, path, err) : 0);
}

static int work(struct cli_job *job, const char *path, const struct arguments *a)
{
	int status;

	if (a->since)
		return show_since(job, path, a);
	if (!a->enable && !a->disable)
		return show_state(job, path, a->json);
	status = change(job, path, a->enable);
	return status || a->disable ? status : show_state(job, path, a->json);
}

static const struct cli_syntax syntax = {
	.command = "disk changes",
	.help = help,
	.options = options,
	.min = 1,
	.max = 1,
	.arguments = "the disk's FILE",
};

int cli_disk_changes(int argc, char **argv)
{
	struct arguments a = {0};
	struct cli_job job;
	int status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (a.enable + a.disable + !!a.since > 1) {
		log_error("disk changes: give only one of --enable, --disable and --since");
		return CLI_USAGE_ERROR;
	}
	if (!cli_job_begin(&job, NULL))
		return CLI_FAILURE;
	return cli_job_end(&job, work(&job, argv[optind], &a));
}
