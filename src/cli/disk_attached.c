/*
 * disk_attached.c - what is attached already: the list of partita disk attach, and partita disk
 * detach; see partita-disk(1).
 */
#include "cli/disk_attached.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cli/disk.h"
#include "disk/attach.h"

/* ---- The list ------------------------------------------------------------------------------- */

static struct json_object *string_or_null(const char *text)
{
	return text ? json_object_new_string(text) : NULL;
}

static void print_json(const struct disk_attached *list, unsigned n)
{
	struct json_object *all = json_object_new_array();

	for (unsigned i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object();
		struct json_object *parents = json_object_new_array();

		for (unsigned j = 0; j < list[i].n_parents; j++)
			json_object_array_add(parents, json_object_new_string(list[i].parents[j]));
		json_object_object_add(o, "image", json_object_new_string(list[i].image));
		json_object_object_add(o, "parents", parents);
		json_object_object_add(o, "device", string_or_null(list[i].device));
		json_object_object_add(o, "file", json_object_new_string(list[i].file));
		json_object_object_add(o, "readOnly", json_object_new_boolean(list[i].read_only));
		json_object_object_add(
			o, "process", list[i].pid ? json_object_new_int(list[i].pid) : NULL);
		json_object_array_add(all, o);
	}
	cli_print_json(all);
}

static void print_table(const struct disk_attached *list, unsigned n)
{
	int width = 0;

	for (unsigned i = 0; i < n; i++) {
		int length = strlen(list[i].device ? list[i].device : list[i].file);

		width = length > width ? length : width;
	}
	for (unsigned i = 0; i < n; i++)
		printf("%-*s  %-10s  %s%s\n", width, list[i].device ? list[i].device : list[i].file,
			list[i].read_only ? "read-only" : "read-write", list[i].image,
			list[i].pid ? "" : " (its process was killed; unmount and detach it)");
}

int cli_list_attached(bool json)
{
	struct disk_attached *list;
	unsigned n;
	int err = disk_attached_list(&list, &n);

	if (err) {
		log_error("cannot read what is attached: %s%s", strerror(-err),
			err == -ENOENT ? "; XDG_RUNTIME_DIR must name a directory" : "");
		return CLI_FAILURE;
	}
	if (json)
		print_json(list, n);
	else
		print_table(list, n);
	disk_attached_free(list, n);
	return 0;
}

/* ---- The end -------------------------------------------------------------------------------- */

static const char help[] =
	"Usage: partita disk detach WHAT\n"
	"\n"
	"End what 'partita disk attach' began, when all is written to the disk. WHAT is\n"
	"the disk's file, its block device, or where that is mounted. A device that is\n"
	"in use stays.\n"
	"\n"
	"  --help           this help\n";

static const struct cli_syntax syntax = {
	.command = "disk detach",
	.help = help,
	.min = 1,
	.max = 1,
	.arguments = "the disk's FILE or device",
};

int cli_disk_detach(int argc, char **argv)
{
	struct disk_problem problem = {0};
	struct disk_attached *found;
	int status = cli_options(&syntax, argc, argv, NULL), err;

	if (status != CLI_GO_ON)
		return status;
	err = disk_attached_find(argv[optind], &found);
	if (err == -ENOENT)
		log_error("%s: not attached; 'partita disk attach --list' shows what is",
			argv[optind]);
	else if (err)
		log_error("%s: %s", argv[optind], strerror(-err));
	if (err)
		return CLI_FAILURE;
	err = disk_attached_detach(found, &problem);
	disk_attached_free(found, 1);
	if (!err)
		return 0;
	log_error("%s", disk_problem_text(&problem, argv[optind], err));
	return CLI_FAILURE;
}
