/*
 * disk_attach.c - partita disk attach: makes a disk a block device of this host; see
 * partita-disk(1).
 *
 * A process of its own serves the disk until it is detached. It tells of success or failure at the
 * command's terminal and leaves that then; the command waits for this.
 */
#include "cli/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/disk_attached.h"
#include "disk/attach.h"
#include "disk/partition.h"

static const char help[] =
	"Usage: partita disk attach FILE [OPTION]...\n"
	"       partita disk attach --list [--json]\n"
	"\n"
	"Make a disk a block device of this host, and print its name, such as\n"
	"/dev/loop0. For users who may not make block devices, print the name of a file\n"
	"that has the disk's contents. 'partita disk detach' ends it.\n"
	"\n"
	"  --read-only      the device cannot be written\n"
	"  --no-partitions  do not look for partitions\n"
	"  --partition N    only partition N of the disk; 0: the only one with data\n"
	"  --offset SIZE    only what begins there ...\n"
	"  --length SIZE    ... and has this length; up to the disk's end by default\n"
	"  --file           the file alone, no block device\n"
	"  --device         fail when there can be no block device\n"
	"  --foreground     serve the disk in this process, until it is detached or a\n"
	"                   signal comes\n"
	"  --format FORMAT  vhdx, vhd or raw, instead of what the contents say\n"
	"  --list           show what is attached\n"
	"  --json           with --list, for programs: one JSON array\n"
	"  --help           this help\n";

struct arguments {
	struct disk_attach_options options;
	enum disk_format format;
	unsigned partition; /* from 1 on; 0: the only one */
	bool one_partition, foreground, list, json;
};

static bool take_partition(const char *option, const char *value, void *field)
{
	struct arguments *a = field;

	return a->one_partition = cli_take_number(option, value, 0, 128, &a->partition);
}

static const struct cli_option options[] = {
	CLI_FLAG("read-only", options.read_only),
	CLI_FLAG("no-partitions", options.no_partitions),
	CLI_TAKE("partition", take_partition),
	CLI_VALUE("offset", options.offset, uint64_t, cli_parse_option_bytes),
	CLI_VALUE("length", options.length, uint64_t, cli_parse_option_bytes),
	CLI_FLAG("file", options.no_device),
	CLI_FLAG("device", options.need_device),
	CLI_FLAG("foreground", foreground),
	CLI_VALUE("format", format, enum disk_format, cli_parse_format),
	CLI_FLAG("list", list),
	CLI_FLAG("json", json),
	{0},
};

/* Somebody had it detached, and waits until the image is closed. */
static int ended(void *ctx)
{
	return cli_service_close(ctx);
}

/* It is attached: say so, and leave the terminal. */
static void announce(struct cli_service *s, const struct disk_attach *attach, int ready)
{
	const char *device = disk_attach_device(attach);
	int nothing;

	puts(device ? device : disk_attach_file(attach));
	fflush(stdout);
	if (s->problem.text[0])
		log_warning("no block device, a file only: %s", s->problem.text);
	s->problem = (struct disk_problem){0};
	if (ready < 0)
		return;
	/* Who waits for the end of our output must not wait for us, whatever there is to open. */
	nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (nothing < 0)
		nothing = open("/", O_PATH | O_CLOEXEC);
	for (int fd = STDIN_FILENO; nothing >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(nothing, fd);
	if (nothing > STDERR_FILENO)
		close(nothing);
	/* Nothing shall be kept from being unmounted. */
	if (chdir("/") || write(ready, "", 1) != 1)
		log_debug("the command is gone");
	close(ready);
}

/* The part of the disk that the partition has. */
static int find_partition(struct cli_service *s, struct arguments *a)
{
	struct disk_partition found = {0};
	int err = disk_partition_find(s->disk, a->partition, &found, &s->problem);

	a->options.offset = found.offset;
	a->options.length = found.length;
	return err;
}

static int serve(struct cli_service *s, struct arguments *a, const char *path, int ready)
{
	struct disk_attach *attach;
	int err, status = 0;

	a->options.ended = ended;
	a->options.ctx = s;
	err = a->one_partition ? find_partition(s, a) : 0;
	if (!err)
		err = disk_attach_start(s->engine, s->disk, &a->options, &attach, &s->problem);
	if (err)
		return cli_service_fail(s, path, err);
	announce(s, attach, ready);
	while (cli_service_wait(s, disk_attach_fd(attach))) {
		err = disk_attach_end(attach, &s->problem);
		if (!err)
			break;
		status = cli_service_fail(s, path, err);
		if (err != -EBUSY)
			break;
		status = 0;
	}
	disk_attach_free(attach);
	return status;
}

/* @ready: told when the disk is attached; -1: nobody waits for that. */
static int attach(struct arguments *a, const char *path, int ready)
{
	struct cli_service service;

	/* Memory may be short because of writes to this very disk: do not wait for those. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	if (!cli_service_begin(&service, path, a->options.read_only, a->format))
		return CLI_FAILURE;
	return cli_service_end(&service, path, serve(&service, a, path, ready));
}

static int attach_aside(struct arguments *a, const char *path)
{
	int ready[2], status = 0;
	char byte;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC)) {
		log_error("cannot start: %s", strerror(errno));
		return CLI_FAILURE;
	}
	pid = fork();
	if (pid == 0) {
		close(ready[0]);
		setsid();
		status = attach(a, path, ready[1]);
		_exit(status);
	}
	close(ready[1]);
	if (pid < 0) {
		log_error("cannot start: %s", strerror(errno));
		close(ready[0]);
		return CLI_FAILURE;
	}
	if (read(ready[0], &byte, 1) != 1 && waitpid(pid, &status, 0) == pid)
		status = WIFEXITED(status) ? WEXITSTATUS(status) : CLI_FAILURE;
	close(ready[0]);
	return status;
}

static const struct cli_syntax syntax = {
	.command = "disk attach",
	.help = help,
	.options = options,
	.max = 1,
	.arguments = "the disk's FILE",
};

int cli_disk_attach(int argc, char **argv)
{
	struct arguments a = {0};
	int status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (a.list != (optind == argc)) {
		log_error("disk attach: name either the disk's FILE or --list; see 'partita disk "
			  "attach --help'");
		return CLI_USAGE_ERROR;
	}
	if (a.options.no_device && a.options.need_device) {
		log_error("disk attach: give either --file or --device");
		return CLI_USAGE_ERROR;
	}
	if (a.one_partition && (a.options.offset || a.options.length)) {
		log_error("disk attach: give either --partition, or --offset and --length");
		return CLI_USAGE_ERROR;
	}
	if (a.list)
		return cli_list_attached(a.json);
	return a.foreground ? attach(&a, argv[optind], -1) : attach_aside(&a, argv[optind]);
}
