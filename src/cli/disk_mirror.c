/*
 * disk_mirror.c - partita disk mirror: copies a disk while it is in use; see partita-disk(1).
 *
 * The disk is attached in this process, which sees every write. Whoever ends that, by detaching or
 * with a signal, ends the mirror, and waits until the copy has its name. To move a disk, the copy
 * gets its name as soon as it is equal, and takes the disk's place under the device.
 */
#include "cli/disk.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "disk/attach.h"
#include "disk/operations.h"
#include "disk/partial.h"

static const char help[] =
	"Usage: partita disk mirror SOURCE TARGET [OPTION]...\n"
	"\n"
	"Attach SOURCE, as 'partita disk attach --foreground' does, and copy it into the\n"
	"new disk TARGET while it is in use. The line \"ready\" says that TARGET has all\n"
	"that SOURCE has; every write goes to both. When SOURCE is detached, or a signal\n"
	"ends this, TARGET appears, whole and durable; before \"ready\" it does not.\n"
	"\n"
	"  --format FORMAT         vhdx, vhd or raw, instead of what TARGET's name says\n"
	"  --fixed                 a fixed disk; VHD and VHDX are dynamic without this\n"
	"  --block-size SIZE       as for 'partita disk create'\n"
	"  --source-format FORMAT  vhdx, vhd or raw, instead of what SOURCE's contents say\n"
	"  --move                  then go on with TARGET in the place of SOURCE, which is\n"
	"                          not used any more after the line \"moved\"\n"
	"  --file                  attach SOURCE as a file alone, no block device\n"
	"  --overwrite             replace TARGET if it exists\n"
	"  --help                  this help\n";

struct arguments {
	/* The command line's. */
	const char *source, *path;
	struct disk_create create;
	enum disk_format source_format;
	bool fixed, file, move;

	struct cli_service service; /* with the source */
	char *partial;		    /* the target's name until the end */
	struct disk *target;
	struct disk_progress progress;
	struct disk_mirror *mirror; /* NULL: it has ended */
	struct disk_attach *attach;
	bool failed; /* to move */
	bool telling;
	pthread_t teller; /* says when it is ready */
};

static const struct cli_option options[] = {
	CLI_VALUE("format", create.format, enum disk_format, cli_parse_format),
	CLI_FLAG("fixed", fixed),
	CLI_VALUE("block-size", create.block_size, uint32_t, cli_parse_block_size),
	CLI_VALUE("source-format", source_format, enum disk_format, cli_parse_format),
	CLI_FLAG("file", file),
	CLI_FLAG("move", move),
	CLI_FLAG("overwrite", create.overwrite),
	{0},
};

static bool settle(struct arguments *m)
{
	if (!cli_settle_format(m->path, &m->create.format))
		return false;
	m->create.kind =
		m->fixed || m->create.format == DISK_FORMAT_RAW ? DISK_FIXED : DISK_DYNAMIC;
	return true;
}

/* The mirror ends; the target gets its name when it is whole, or goes. */
static int finish(struct arguments *m)
{
	int err = disk_mirror_stop(m->mirror), closed = disk_close(m->target);

	m->mirror = NULL;
	if (!err)
		err = closed;
	if (err)
		disk_discard(m->partial);
	else
		err = disk_publish(m->partial, m->path, m->create.overwrite);
	if (err)
		log_error("%s: it was not made: %s", m->path,
			err == -ECANCELED ? "the copy was not ready" : strerror(-err));
	return err;
}

/* The target, under its name; NULL: said why. */
static struct disk *finished_target(struct arguments *m)
{
	const struct disk_open_options open = {
		.flags = DISK_OPEN_WRITE, .format = m->create.format};
	struct disk_problem problem = {0};
	struct disk *target = NULL;
	int err = finish(m);

	if (err)
		return NULL;
	err = disk_open(m->service.engine, m->path, &open, &target, &problem);
	if (err)
		log_error("%s", disk_problem_text(&problem, m->path, err));
	return target;
}

/* Who uses the device waits while the target takes the source's place. */
static void move(struct arguments *m)
{
	struct disk *source = m->service.disk, *target;
	int err;

	/* It was detached in this moment: then there is nothing to go on with. */
	if (disk_attach_pause(m->attach))
		return;
	target = finished_target(m);
	if (target)
		m->service.disk = target;
	err = disk_attach_resume(m->attach, m->service.disk);
	if (!err && target)
		err = disk_close(source);
	if (err)
		log_error("%s: %s", m->source, strerror(-err));
	m->failed = err || !target;
	if (m->failed)
		return;
	puts("moved");
	fflush(stdout);
}

static void *tell(void *ctx)
{
	struct arguments *m = ctx;
	int err;

	if (disk_mirror_wait(m->mirror) == DISK_MIRROR_READY) {
		puts("ready");
		fflush(stdout);
		if (m->move)
			move(m);
	} else if (disk_mirror_state(m->mirror, &err) && err != -ECANCELED) {
		log_error("%s: the copy failed: %s", m->path, strerror(-err));
	}
	return NULL;
}

static int open_target(struct arguments *m)
{
	struct cli_service *s = &m->service;
	const struct disk_open_options open = {
		.flags = DISK_OPEN_WRITE, .format = m->create.format};
	struct disk_info info;
	int err;

	disk_info(s->disk, &info);
	m->create.size = info.size;
	if (m->create.format == DISK_FORMAT_VHDX)
		m->create.logical_sector = info.logical_sector;
	err = disk_create_partial(s->engine, m->path, &m->create, NULL, &s->problem, &m->partial);
	if (err)
		return err;
	err = disk_open(s->engine, m->partial, &open, &m->target, &s->problem);
	if (err)
		disk_discard(m->partial);
	return err;
}

static int begin(struct arguments *m)
{
	int err = open_target(m);

	if (err)
		return err;
	err = disk_mirror_start(m->service.disk, m->target, true, &m->progress, &m->mirror);
	if (err) {
		m->mirror = NULL;
		disk_close(m->target);
		disk_discard(m->partial);
	}
	return err;
}

/* Nobody writes to the source any more. A copy that still runs comes too late. */
static int end(struct arguments *m)
{
	m->progress.cancel = 1;
	if (m->telling)
		pthread_join(m->teller, NULL);
	m->telling = false;
	return m->mirror ? finish(m) : 0;
}

/* Somebody had it detached, and waits for this. */
static int ended(void *ctx)
{
	struct arguments *m = ctx;
	int err = end(m), closed = cli_service_close(&m->service);

	return err ? err : closed;
}

static int serve(struct arguments *m)
{
	const struct disk_attach_options how = {.no_device = m->file, .ended = ended, .ctx = m};
	struct cli_service *s = &m->service;
	struct disk_attach *attach;
	const char *device;
	int err;

	err = disk_attach_start(s->engine, s->disk, &how, &attach, &s->problem);
	if (err)
		return cli_service_fail(s, m->source, err);
	device = disk_attach_device(attach);
	puts(device ? device : disk_attach_file(attach));
	fflush(stdout);
	s->problem = (struct disk_problem){0};
	m->attach = attach;
	m->telling = pthread_create(&m->teller, NULL, tell, m) == 0;
	while (cli_service_wait(s, disk_attach_fd(attach))) {
		err = disk_attach_end(attach, &s->problem);
		if (err)
			cli_service_fail(s, m->source, err);
		if (err != -EBUSY)
			break;
	}
	disk_attach_free(attach);
	return err ? CLI_FAILURE : 0;
}

static int mirror(struct arguments *m)
{
	int err, status;

	if (!cli_service_begin(&m->service, m->source, false, m->source_format))
		return CLI_FAILURE;
	err = begin(m);
	status = err ? cli_service_fail(&m->service, m->path, err) : serve(m);
	if (end(m) || m->failed)
		status = CLI_FAILURE;
	return cli_service_end(&m->service, m->source, status);
}

static const struct cli_syntax syntax = {
	.command = "disk mirror",
	.help = help,
	.options = options,
	.min = 2,
	.max = 2,
	.arguments = "SOURCE and TARGET",
};

int cli_disk_mirror(int argc, char **argv)
{
	struct arguments m = {0};
	int status = cli_options(&syntax, argc, argv, &m);

	if (status != CLI_GO_ON)
		return status;
	m.source = argv[optind];
	m.path = argv[optind + 1];
	return settle(&m) ? mirror(&m) : CLI_USAGE_ERROR;
}
