/*
 * disk_machine.c - partita disk attach-to, detach-from and resize-in: disks of a machine that runs.
 * See partita-disk(1).
 *
 * The machine may open no files, so they are opened here, the image and all its parents, and
 * passed.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/disk.h"
#include "cli/machine.h"
#include "worker/control.h"
#include "worker/worker.h"

struct arguments {
	bool read_only, dvd, force;
	bool has_controller, has_lun;
	unsigned controller, lun;
};

static bool take_controller(const char *option, const char *value, void *arguments)
{
	struct arguments *a = arguments;

	a->has_controller = true;
	return cli_take_number(option, value, 0, WORKER_CONTROLLERS - 1, &a->controller);
}

static bool take_lun(const char *option, const char *value, void *arguments)
{
	struct arguments *a = arguments;

	a->has_lun = true;
	return cli_take_number(option, value, 0, WORKER_LUNS - 1, &a->lun);
}

/* A request about the disk in @file (NULL: at the place), to be put. */
static struct json_object *make_request(
	const char *command, const struct arguments *a, const char *file)
{
	struct json_object *request = json_object_new_object();

	json_object_object_add(request, "command", json_object_new_string(command));
	if (file) {
		/* The file may be gone from its place, and the machine still have it. */
		char *path = realpath(file, NULL);

		json_object_object_add(request, "path", json_object_new_string(path ? path : file));
		free(path);
	}
	if (a->has_controller)
		json_object_object_add(request, "controller", json_object_new_int(a->controller));
	if (a->has_lun)
		json_object_object_add(request, "lun", json_object_new_int(a->lun));
	if (a->force)
		json_object_object_add(request, "force", json_object_new_boolean(true));
	return request;
}

/* ---- attach-to ------------------------------------------------------------------------------ */

static const char attach_help[] =
	"Usage: partita disk attach-to MACHINE FILE [OPTION]...\n"
	"\n"
	"Give a machine that runs another disk; its guest sees it come.\n"
	"\n"
	"  --read-only     the guest cannot write to it\n"
	"  --dvd           an ISO image, in a DVD drive: the one at the LUN that is\n"
	"                  given, or a new one\n"
	"  --force         change the medium although the guest has locked the drive\n"
	"  --controller N  of the machine's SCSI controllers, 0 to 3 (default 0)\n"
	"  --lun N         0 to 63; by default the first that is free\n"
	"  --help          this help\n";

static const struct cli_option attach_options[] = {
	CLI_FLAG("read-only", read_only),
	CLI_FLAG("dvd", dvd),
	CLI_FLAG("force", force),
	CLI_TAKE("controller", take_controller),
	CLI_TAKE("lun", take_lun),
	{0},
};

static const struct cli_syntax attach_syntax = {
	.command = "disk attach-to",
	.help = attach_help,
	.options = attach_options,
	.min = 2,
	.max = 2,
	.arguments = "MACHINE and FILE",
};

/* The files of a chain: what disk_open() opened, in its order. */
struct chain {
	struct json_object *paths;
	int fds[CONTROL_FDS];
	unsigned n;
};

static int note_path(void *ctx, const char *path, int flags)
{
	struct chain *c = ctx;
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (c->n == CONTROL_FDS) {
		close(fd);
		return -EMFILE;
	}
	json_object_array_add(c->paths, json_object_new_string(path));
	c->n++;
	return fd;
}

/* Finds the chain by opening it, in which whatever is wrong with it shows, too. */
static bool find_chain(struct chain *c, const char *path, bool dvd)
{
	struct disk_open_options options = {.format = dvd ? DISK_FORMAT_RAW : DISK_FORMAT_ANY,
		.open_file = note_path,
		.ctx = c};
	struct disk_problem problem = {0};
	struct disk_engine *engine = disk_engine_create(NULL);
	struct disk *d = NULL;
	int err = engine ? disk_open(engine, path, &options, &d, &problem) : -errno;

	if (err)
		log_error("%s", disk_problem_text(&problem, path, err));
	disk_close(d);
	disk_engine_destroy(engine);
	return err == 0;
}

/* Is @path the image's, or that of what tracks the image's changes (disk/tracking.h)? */
static bool is_images_own(const char *path, const char *image)
{
	size_t n = strlen(image);

	return strncmp(path, image, n) == 0 && (!path[n] || strcmp(path + n, ".rct") == 0);
}

/* Opens what the machine needs, the image itself to be written unless it is not to be. */
static bool open_chain(struct chain *c, bool write)
{
	const char *image = json_object_get_string(json_object_array_get_idx(c->paths, 0));
	unsigned n = c->n;

	for (c->n = 0; c->n < n; c->n++) {
		const char *path =
			json_object_get_string(json_object_array_get_idx(c->paths, c->n));
		bool own = is_images_own(path, image);
		int fd = open(path, (write && own ? O_RDWR : O_RDONLY) | O_CLOEXEC);

		if (fd < 0) {
			log_error("%s: %s%s", path, strerror(errno),
				write && own ? "; --read-only may do" : "");
			return false;
		}
		c->fds[c->n] = fd;
	}
	return true;
}

int cli_disk_attach_to(int argc, char **argv)
{
	struct arguments a = {0};
	int status = cli_options(&attach_syntax, argc, argv, &a);
	struct json_object *request, *reply = NULL, *controller, *lun;
	struct chain chain = {0};
	char *path;

	if (status != CLI_GO_ON)
		return status;
	path = realpath(argv[optind + 1], NULL);
	if (!path) {
		log_error("%s: %s", argv[optind + 1], strerror(errno));
		return CLI_FAILURE;
	}
	chain.paths = json_object_new_array();
	if (find_chain(&chain, path, a.dvd) && open_chain(&chain, !a.read_only && !a.dvd)) {
		request = make_request("attach-disk", &a, NULL);
		json_object_object_add(request, "paths", json_object_get(chain.paths));
		json_object_object_add(request, "dvd", json_object_new_boolean(a.dvd));
		json_object_object_add(request, "read-only", json_object_new_boolean(a.read_only));
		reply = cli_machine_ask(argv[optind], request, chain.fds, chain.n);
		json_object_put(request);
	}
	if (reply && json_object_object_get_ex(reply, "controller", &controller) &&
		json_object_object_get_ex(reply, "lun", &lun))
		printf("controller %d, LUN %d\n", json_object_get_int(controller),
			json_object_get_int(lun));
	for (unsigned i = 0; i < chain.n && chain.fds[i] > 0; i++)
		close(chain.fds[i]);
	status = reply ? 0 : CLI_FAILURE;
	json_object_put(reply);
	json_object_put(chain.paths);
	free(path);
	return status;
}

/* ---- detach-from ---------------------------------------------------------------------------- */

static const char detach_help[] =
	"Usage: partita disk detach-from MACHINE FILE [--force]\n"
	"       partita disk detach-from MACHINE --lun N [--controller N] [--force]\n"
	"\n"
	"Take a disk away from a machine that runs, or the medium out of its DVD drive.\n"
	"What the guest wrote is durable when this returns.\n"
	"\n"
	"  --force         take the medium out although the guest has locked the drive\n"
	"  --controller N  of the machine's SCSI controllers, 0 to 3 (default 0)\n"
	"  --lun N         instead of the file: 0 to 63\n"
	"  --help          this help\n";

static const struct cli_option detach_options[] = {
	CLI_FLAG("force", force),
	CLI_TAKE("controller", take_controller),
	CLI_TAKE("lun", take_lun),
	{0},
};

static const struct cli_syntax detach_syntax = {
	.command = "disk detach-from",
	.help = detach_help,
	.options = detach_options,
	.min = 1,
	.max = 2,
	.arguments = "MACHINE and FILE",
};

/* Either a file or a LUN names the disk. */
static bool is_named_once(bool has_file, const struct arguments *a)
{
	if (has_file != a->has_lun)
		return true;
	log_error("give either the disk's file or --lun");
	return false;
}

int cli_disk_detach_from(int argc, char **argv)
{
	struct arguments a = {0};
	int status = cli_options(&detach_syntax, argc, argv, &a);
	bool has_file = argc - optind == 2;
	struct json_object *request, *reply;

	if (status != CLI_GO_ON)
		return status;
	if (!is_named_once(has_file, &a))
		return CLI_USAGE_ERROR;
	request = make_request("detach-disk", &a, has_file ? argv[optind + 1] : NULL);
	reply = cli_machine_ask(argv[optind], request, NULL, 0);
	status = reply ? 0 : CLI_FAILURE;
	json_object_put(reply);
	json_object_put(request);
	return status;
}

/* ---- resize-in ------------------------------------------------------------------------------ */

static const char resize_help[] =
	"Usage: partita disk resize-in MACHINE FILE SIZE\n"
	"       partita disk resize-in MACHINE SIZE --lun N [--controller N]\n"
	"\n"
	"Give a disk of a machine that runs another size, such as 20G, or one that is\n"
	"larger by so much, such as +5G; its guest is told. What is new reads as zeros.\n"
	"A disk that shrinks keeps all data that it holds, or is left as it is.\n"
	"\n"
	"  --controller N  of the machine's SCSI controllers, 0 to 3 (default 0)\n"
	"  --lun N         instead of the file: 0 to 63\n"
	"  --help          this help\n";

static const struct cli_option resize_options[] = {
	CLI_TAKE("controller", take_controller),
	CLI_TAKE("lun", take_lun),
	{0},
};

static const struct cli_syntax resize_syntax = {
	.command = "disk resize-in",
	.help = resize_help,
	.options = resize_options,
	.min = 2,
	.max = 3,
	.arguments = "MACHINE, FILE and SIZE",
};

static bool add_size(struct json_object *request, const char *text)
{
	uint64_t bytes;
	bool more;

	if (!cli_parse_new_size(text, &bytes, &more))
		return false;
	json_object_object_add(request, "size", json_object_new_uint64(bytes));
	json_object_object_add(request, "more", json_object_new_boolean(more));
	return true;
}

int cli_disk_resize_in(int argc, char **argv)
{
	struct arguments a = {0};
	int status = cli_options(&resize_syntax, argc, argv, &a);
	bool has_file = argc - optind == 3;
	struct json_object *request, *reply = NULL, *before, *size;
	char was[CLI_SIZE_TEXT], is[CLI_SIZE_TEXT];

	if (status != CLI_GO_ON)
		return status;
	if (!is_named_once(has_file, &a))
		return CLI_USAGE_ERROR;
	request = make_request("resize-disk", &a, has_file ? argv[optind + 1] : NULL);
	status = CLI_USAGE_ERROR;
	if (add_size(request, argv[argc - 1])) {
		reply = cli_machine_ask(argv[optind], request, NULL, 0);
		status = reply ? 0 : CLI_FAILURE;
	}
	if (reply && json_object_object_get_ex(reply, "before", &before) &&
		json_object_object_get_ex(reply, "size", &size))
		printf("from %s to %s\n", cli_exact_size(json_object_get_uint64(before), was),
			cli_exact_size(json_object_get_uint64(size), is));
	json_object_put(reply);
	json_object_put(request);
	return status;
}
