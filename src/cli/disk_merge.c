/*
 * disk_merge.c - partita disk merge: merges differencing disks into a parent; see partita-disk(1).
 */
#include "cli/disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "disk/operations.h"

#define DEPTH_MAX 65535

static const char help[] =
	"Usage: partita disk merge CHILD [OPTION]...\n"
	"\n"
	"Write what a differencing disk holds into its parent, in place. Until CHILD is\n"
	"removed it reads as before, whatever interrupts this. Other disks that stand on\n"
	"the same parent are of no use afterwards.\n"
	"\n"
	"  --into PARENT  the disk of CHILD's chain to merge into, with all disks in\n"
	"                 between (default: its parent)\n"
	"  --depth N      likewise: into the Nth disk below CHILD; 1 is its parent\n"
	"  --leaf LEAF    CHILD is in the middle of LEAF's chain: the disk that stands on\n"
	"                 CHILD stands on PARENT afterwards\n"
	"  --remove       remove the files that are merged and not needed any more\n"
	"  --parallel N   requests under way at once, 1 to 64 (default 8)\n"
	"  --help         this help\n";

struct arguments {
	const char *child, *into, *leaf;
	unsigned depth; /* 0: not given */
	bool remove;
	struct disk_merge merge;
};

static bool take_depth(const char *option, const char *value, void *depth)
{
	return cli_take_number(option, value, 1, DEPTH_MAX, depth);
}

static const struct cli_option options[] = {
	CLI_STRING("into", into),
	CLI_VALUE("depth", depth, unsigned, take_depth),
	CLI_STRING("leaf", leaf),
	CLI_FLAG("remove", remove),
	CLI_VALUE("parallel", merge.parallel, unsigned, cli_parse_parallel),
	{0},
};

static struct disk *image_at(struct disk *d, unsigned depth)
{
	for (; d && depth; depth--)
		d = disk_parent(d);
	return d;
}

/* Which image of the chain @path is; from @depth on. False: none, which is said. */
static bool find_image(struct disk *leaf, const char *path, unsigned *depth)
{
	struct stat wanted, st;
	struct disk *d;

	if (stat(path, &wanted) == 0)
		for (; (d = image_at(leaf, *depth)); ++*depth)
			if (stat(disk_path(d), &st) == 0 && st.st_dev == wanted.st_dev &&
				st.st_ino == wanted.st_ino)
				return true;
	log_error("%s: is not below that in the chain of %s; 'partita disk info' shows it", path,
		disk_path(leaf));
	return false;
}

static bool find_images(struct disk *leaf, struct arguments *a)
{
	if (!find_image(leaf, a->child, &a->merge.from))
		return false;
	a->merge.into = a->merge.from + (a->depth ? a->depth : 1);
	if (a->into)
		return find_image(leaf, a->into, &a->merge.into);
	if (image_at(leaf, a->merge.into))
		return true;
	if (a->depth)
		log_error("%s: there are not %u disks below it; 'partita disk info' shows them",
			a->child, a->depth);
	else
		log_error("%s: it has no parent to merge into", a->child);
	return false;
}

/* What is to be done when the chain is closed again. */
struct after {
	char **merged; /* the files whose contents are in the parent now */
	unsigned n;
	char *above; /* the disk that stood on the first of them; NULL: none */
	char *into;
};

static bool after_init(struct after *after, struct disk *leaf, const struct disk_merge *m)
{
	bool good;

	*after = (struct after){.n = m->into - m->from};
	after->merged = calloc(after->n, sizeof(*after->merged));
	after->into = strdup(disk_path(image_at(leaf, m->into)));
	good = after->merged && after->into;
	if (m->from) {
		after->above = strdup(disk_path(image_at(leaf, m->from - 1)));
		good = good && after->above;
	}
	for (unsigned i = 0; i < after->n && good; i++) {
		after->merged[i] = strdup(disk_path(image_at(leaf, m->from + i)));
		good = after->merged[i];
	}
	return good;
}

static void after_fini(struct after *after)
{
	for (unsigned i = 0; i < after->n && after->merged; i++)
		free(after->merged[i]);
	free(after->merged);
	free(after->above);
	free(after->into);
}

/* The disk above what was merged stands on the parent from now on. */
static int adopt(struct cli_job *job, const struct after *after)
{
	struct disk *d = cli_job_open(
		job, after->above, DISK_OPEN_WRITE | DISK_OPEN_NO_PARENTS, DISK_FORMAT_ANY);
	int err;

	if (!d)
		return CLI_FAILURE;
	err = disk_set_parent(d, after->into, true, &job->problem);
	return cli_job_close(job, d, err ? cli_job_fail(job, after->above, err) : 0);
}

static int remove_merged(const struct after *after)
{
	int status = 0;

	for (unsigned i = 0; i < after->n; i++)
		if (unlink(after->merged[i]) < 0) {
			log_error("%s: is merged, but cannot be removed: %s", after->merged[i],
				strerror(errno));
			status = CLI_FAILURE;
		}
	return status;
}

static int merge(struct cli_job *job, struct arguments *a)
{
	struct disk *leaf = cli_job_open(job, a->leaf ? a->leaf : a->child,
		DISK_OPEN_WRITE | DISK_OPEN_WRITE_PARENTS, DISK_FORMAT_ANY);
	struct after after = {0};
	int err, status = CLI_FAILURE;

	if (!leaf)
		return CLI_FAILURE;
	if (find_images(leaf, a)) {
		err = after_init(&after, leaf, &a->merge) ? 0 : -ENOMEM;
		if (!err)
			err = disk_merge(
				job->engine, leaf, &a->merge, &job->progress, &job->problem);
		status = err ? cli_job_fail(job, a->child, err) : 0;
	}
	status = cli_job_close(job, leaf, status);
	if (!status && after.above)
		status = adopt(job, &after);
	if (!status && a->remove)
		status = remove_merged(&after);
	if (!status)
		printf("%s is merged into %s\n", a->child, after.into);
	after_fini(&after);
	return status;
}

static const struct cli_syntax syntax = {
	.command = "disk merge",
	.help = help,
	.options = options,
	.min = 1,
	.max = 1,
	.arguments = "the CHILD to merge",
};

int cli_disk_merge(int argc, char **argv)
{
	struct arguments a = {0};
	struct cli_job job;
	int status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	a.child = argv[optind];
	if (a.into && a.depth) {
		log_error("give either --into or --depth");
		return CLI_USAGE_ERROR;
	}
	if (!cli_job_begin(&job, "merging"))
		return CLI_FAILURE;
	return cli_job_end(&job, merge(&job, &a));
}
