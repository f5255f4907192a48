/*
 * guest_copy.c - partita guest VM copy-file: a file of the host's into the guest. See
 * partita-guest(1).
 *
 * The machine may open no files: it gets a descriptor. It tells how far it is; when this process
 * ends, it ends the copy.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/disk.h"
#include "cli/guest.h"

static const char help[] =
	"Usage: partita guest VM copy-file FILE PATH [--overwrite] [--create-directories] "
	"[--json]\n"
	"\n"
	"Copy a file into the guest, which makes it at the absolute PATH; where that ends in '/', "
	"with the\n"
	"FILE's name. A copy that is interrupted leaves nothing there.\n"
	"\n"
	"  --overwrite           replace a file that is there\n"
	"  --create-directories  make the directories of PATH that are not there\n"
	"  --json                an object with size (bytes)\n"
	"  --help                this help\n";

struct arguments {
	bool json, overwrite, directories;
	bool shown; /* how far it is */
};

static const struct cli_option options[] = {
	CLI_FLAG("json", json),
	CLI_FLAG("overwrite", overwrite),
	CLI_FLAG("create-directories", directories),
	{0},
};

static uint64_t number(const struct json_object *o, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(o, name, &value) ? (uint64_t)json_object_get_int64(value)
							  : 0;
}

static bool show_progress(void *ctx, struct json_object *progress)
{
	const uint64_t copied = number(progress, "copied"), size = number(progress, "size");
	char done[CLI_SIZE_TEXT], all[CLI_SIZE_TEXT];
	struct arguments *a = ctx;

	if (!isatty(STDERR_FILENO))
		return true;
	fprintf(stderr, "copying  %3u%%  %s of %s\033[K\r",
		size ? (unsigned)((double)copied * 100 / (double)size) : 100,
		cli_size(copied, done), cli_size(size, all));
	a->shown = true;
	return true;
}

static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode))) {
		close(fd);
		log_error("%s: only a file can be copied", path);
		return -1;
	}
	if (fd < 0)
		log_error("%s: %s", path, strerror(errno));
	return fd;
}

static struct json_object *request_for(
	const struct arguments *a, const char *file, const char *path)
{
	const char *slash = strrchr(file, '/');
	struct json_object *request = cli_guest_request("copy-file");
	size_t n = strlen(path);
	char *whole = NULL;

	if (n && path[n - 1] == '/' && asprintf(&whole, "%s%s", path, slash ? slash + 1 : file) < 0)
		whole = NULL;
	cli_guest_add_string(request, "path", whole ? whole : path);
	json_object_object_add(request, "overwrite", json_object_new_boolean(a->overwrite));
	json_object_object_add(
		request, "create-directories", json_object_new_boolean(a->directories));
	free(whole);
	return request;
}

int cli_guest_copy_file(int argc, char **argv)
{
	static const struct cli_syntax syntax = {.command = "guest VM copy-file",
		.help = help,
		.options = options,
		.min = 3,
		.max = 3,
		.arguments = "the machine, FILE and PATH"};
	struct arguments a = {0};
	int status = cli_options(&syntax, argc, argv, &a), fd;
	struct json_object *request, *reply;

	if (status != CLI_GO_ON)
		return status;
	fd = open_file(argv[optind + 1]);
	if (fd < 0)
		return CLI_FAILURE;
	request = request_for(&a, argv[optind + 1], argv[optind + 2]);
	reply = cli_machine_hear(argv[optind], request, &fd, 1, show_progress, &a);
	if (a.shown)
		fputs("\033[K", stderr);
	json_object_put(request);
	close(fd);
	return cli_guest_end(reply, a.json);
}
