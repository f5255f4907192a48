/*
 * list.c - partita list: the machines that run.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/guid.h"
#include "cli/cli.h"
#include "cli/disk.h"
#include "cli/machines.h"

static const char help[] = "Usage: partita list [--json]\n"
			   "\n"
			   "List the machines that run: the name, the ID and the vsock context "
			   "(CID) by which programs "
			   "of\n"
			   "this host reach them, and the process.\n"
			   "\n"
			   "  --json           for programs\n"
			   "  --help           this help\n";

struct arguments {
	bool json;
};

static const struct cli_option options[] = {
	CLI_FLAG("json", json),
	{0},
};

static const struct cli_syntax syntax = {.command = "list", .help = help, .options = options};

static void print_json(const struct machines_entry *list, unsigned n)
{
	struct json_object *all = json_object_new_array();
	char id[GUID_TEXT];

	for (unsigned i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "name", json_object_new_string(list[i].name));
		json_object_object_add(
			o, "id", json_object_new_string(guid_format(&list[i].id, id)));
		json_object_object_add(o, "cid", json_object_new_int64(list[i].cid));
		json_object_object_add(
			o, "process", list[i].pid > 0 ? json_object_new_int(list[i].pid) : NULL);
		json_object_array_add(all, o);
	}
	cli_print_json(all);
}

static void print_table(const struct machines_entry *list, unsigned n)
{
	int width = 4;
	char id[GUID_TEXT];

	for (unsigned i = 0; i < n; i++)
		if ((int)strlen(list[i].name) > width)
			width = (int)strlen(list[i].name);
	if (n)
		printf("%-*s  %-36s  %5s  %7s\n", width, "NAME", "ID", "CID", "PROCESS");
	for (unsigned i = 0; i < n; i++)
		printf("%-*s  %s  %5u  %7d\n", width, list[i].name, guid_format(&list[i].id, id),
			list[i].cid, list[i].pid);
}

int cli_list(int argc, char **argv)
{
	struct arguments a = {0};
	int status = cli_options(&syntax, argc, argv, &a);
	struct machines_entry *list;
	unsigned n;

	if (status != CLI_GO_ON)
		return status;
	list = machines_list(&n);
	if (a.json)
		print_json(list, n);
	else
		print_table(list, n);
	machines_free(list, n);
	return 0;
}
