/*
 * disk_metadata.c - partita disk metadata: the user's own items in a VHDX file; see
 * partita-disk(1).
 */
#include "cli/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"
#include "base/log.h"

static const char help[] =
	"Usage: partita disk metadata list FILE\n"
	"       partita disk metadata get FILE GUID >DATA\n"
	"       partita disk metadata set FILE GUID <DATA\n"
	"       partita disk metadata delete FILE GUID\n"
	"\n"
	"Work with user metadata, which a VHDX file keeps beside the disk: items of up to\n"
	"1 MiB, each under a GUID. Data comes from standard input and goes to standard\n"
	"output.\n"
	"\n"
	"  --help  this help\n";

#define ITEM_MAX  (1u << 20)
#define ITEMS_MAX 2048

/* Each of these works with an open disk, and returns 0 or a negative errno. */

static int list(struct disk *d, const GUID *unused)
{
	GUID *items = malloc(ITEMS_MAX * sizeof(*items));
	char text[GUID_TEXT];
	unsigned n = 0;
	int err = items ? disk_metadata_list(d, items, ITEMS_MAX, &n) : -ENOMEM;

	for (unsigned i = 0; i < n && !err; i++) {
		uint32_t length = 0;

		err = disk_metadata_get(d, &items[i], NULL, &length);
		if (!err || err == -ERANGE)
			err = printf("%s %8" PRIu32 " bytes\n", guid_format(&items[i], text),
				      length) < 0;
	}
	free(items);
	return err;
}

static int get(struct disk *d, const GUID *item)
{
	uint32_t length = ITEM_MAX;
	void *data = malloc(length);
	int err = data ? disk_metadata_get(d, item, data, &length) : -ENOMEM;

	if (!err && (fwrite(data, 1, length, stdout) != length || fflush(stdout)))
		err = -EIO;
	free(data);
	return err;
}

static int set(struct disk *d, const GUID *item)
{
	char *data = malloc(ITEM_MAX + 1);
	size_t length = data ? fread(data, 1, ITEM_MAX + 1, stdin) : 0;
	int err = !data		      ? -ENOMEM
		  : ferror(stdin)     ? -EIO
		  : length > ITEM_MAX ? -EFBIG
				      : disk_metadata_set(d, item, data, length);

	free(data);
	return err;
}

static int delete (struct disk *d, const GUID *item)
{
	return disk_metadata_delete(d, item);
}

static const struct action {
	const char *word;
	unsigned arguments;
	unsigned flags;
	int (*run)(struct disk *d, const GUID *item);
} actions[] = {
	{"list", 2, 0, list},
	{"get", 3, 0, get},
	{"set", 3, DISK_OPEN_WRITE, set},
	{"delete", 3, DISK_OPEN_WRITE, delete},
};

static const struct action *find_action(const char *word, int arguments)
{
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (strcmp(word, actions[i].word) == 0) {
			if ((int)actions[i].arguments == arguments)
				return &actions[i];
			log_error("disk metadata %s: give %s; see 'partita disk metadata --help'",
				word, actions[i].arguments == 2 ? "FILE" : "FILE and GUID");
			return NULL;
		}
	log_error("disk metadata: there are list, get, set and delete, not %s", word);
	return NULL;
}

static const char *why(int err)
{
	return err == -ENOENT	 ? "there is no such item; 'partita disk metadata list' shows them"
	       : err == -ENOTSUP ? "the format has no user metadata; VHDX has"
	       : err == -EFBIG	 ? "an item is at most 1 MiB"
				 : strerror(-err);
}

static int work(
	struct cli_job *job, const struct action *action, const char *path, const GUID *item)
{
	struct disk *d =
		cli_job_open(job, path, action->flags | DISK_OPEN_NO_PARENTS, DISK_FORMAT_ANY);
	int err, status = 0;

	if (!d)
		return CLI_FAILURE;
	err = action->run(d, item);
	if (err) {
		log_error("%s: %s", path, why(err));
		status = CLI_FAILURE;
	}
	return cli_job_close(job, d, status);
}

static const struct cli_syntax syntax = {
	.command = "disk metadata",
	.help = help,
	.min = 2,
	.max = 3,
	.arguments = "what to do and the disk's FILE",
};

int cli_disk_metadata(int argc, char **argv)
{
	const struct action *action;
	GUID item = {0};
	struct cli_job job;
	int status = cli_options(&syntax, argc, argv, NULL);

	if (status != CLI_GO_ON)
		return status;
	action = find_action(argv[optind], argc - optind);
	if (!action)
		return CLI_USAGE_ERROR;
	if (action->arguments == 3 && !cli_parse_guid("GUID", argv[optind + 2], &item))
		return CLI_USAGE_ERROR;
	if (!cli_job_begin(&job, NULL))
		return CLI_FAILURE;
	return cli_job_end(&job, work(&job, action, argv[optind + 1], &item));
}
