/*
 * chain.c - finding the parents of differencing disks.
 *
 * A disk names its parent in up to three ways (the parent locators of both formats): relative to
 * itself, absolute, and by volume. They come from Windows as a rule, so that on this machine only
 * the relative one can mean something, with backslashes between its names; Partita itself stores
 * paths as they are here. Each is tried as it stands and with slashes; then the parent's file name
 * beside the child. The first file that is the parent by its identity is taken.
 *
 * What the locators say is the image's word, so nothing but a regular file or a block device is
 * opened, and only as the child's own format: no image can make another kind of file its contents.
 */
#include "disk/chain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "winerror.h"

struct disk_open_options disk_parent_options(
	const struct disk *child, const struct disk_open_options *options)
{
	struct disk_open_options o = *options;

	o.flags &= DISK_OPEN_DIRECT | DISK_OPEN_SHARED | DISK_OPEN_WRITE_PARENTS;
	if (o.flags & DISK_OPEN_WRITE_PARENTS)
		o.flags |= DISK_OPEN_WRITE;
	o.format = child->ops->format;
	return o;
}

/* ---- Paths ----------------------------------------------------------------------------------- */

static char *with_slashes(const char *path)
{
	char *copy = strdup(path);

	for (char *c = copy; c && *c; c++)
		if (*c == '\\')
			*c = '/';
	return copy;
}

static const char *file_name(const char *path)
{
	const char *name = path;

	for (; *path; path++)
		if (*path == '/' || *path == '\\' || (path == name + 1 && *path == ':'))
			name = path + 1;
	return name;
}

/* @path as seen from the folder of @child; what the caller frees. */
static char *from_child(const struct disk *child, const char *path)
{
	const char *slash = strrchr(child->file.path, '/');
	char *joined;

	if (path[0] == '/' || !slash)
		return strdup(path);
	if (asprintf(&joined, "%.*s/%s", (int)(slash - child->file.path), child->file.path, path) <
		0)
		return NULL;
	return joined;
}

/* ---- One parent ------------------------------------------------------------------------------ */

struct search {
	const struct disk *top;
	struct disk *child;
	const struct disk_open_options *options;
	struct disk *found;
	int err;		     /* of the first file that was there and was not it */
	struct disk_problem problem; /* that file's */
};

/* Is the search over? */
static bool try_path(struct search *s, const char *path)
{
	struct disk_open_options options = disk_parent_options(s->child, s->options);
	struct disk_problem problem = {0};
	struct disk *parent = NULL;
	char *full = from_child(s->child, path);
	int err =
		full ? disk_open_image(s->child->engine, full, &options, s->top, &parent, &problem)
		     : -ENOMEM;

	if (!err && s->child->ops->parent_fits) {
		err = s->child->ops->parent_fits(s->child, parent, &problem);
		if (err)
			disk_close(parent);
	}
	if (!err)
		s->found = parent;
	/* What is not there says nothing; a folder in its path may be a file. */
	if (err && err != -ENOENT && err != -ENOTDIR && !s->err) {
		s->err = err;
		s->problem = problem;
		disk_problem_text(&s->problem, full ? full : path, err);
	}
	free(full);
	return !err || err == -ENOMEM;
}

static bool try_both(struct search *s, const char *path)
{
	char *slashes;
	bool over = path[0] && try_path(s, path);

	if (over || !strchr(path, '\\'))
		return over;
	slashes = with_slashes(path);
	over = !slashes || try_path(s, slashes);
	free(slashes);
	return over;
}

static void search(struct search *s, char *const names[], unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (names[i] && try_both(s, names[i]))
			return;
	for (unsigned i = 0; i < n; i++)
		if (names[i] && *file_name(names[i]) && try_path(s, file_name(names[i])))
			return;
}

/* Why there is no parent, for people. */
static int explain(const struct search *s, const char *name, struct disk_problem *problem)
{
	const struct disk_file *f = &s->child->file;
	uint32_t win32;

	switch (s->err) {
	case 0:
		return disk_problem_note(problem, f, -ENOLINK, ERROR_VHD_PARENT_VHD_NOT_FOUND,
			"its parent \"%s\" was found neither there nor in the folder of this disk; "
			"put it there, or store its new path",
			name ? name : "");
	case -ELOOP:
		return disk_problem_note(problem, f, -ELOOP,
			ERROR_VHD_DIFFERENCING_CHAIN_CYCLE_DETECTED,
			"its chain of parents comes back to itself; store the path of the right "
			"parent");
	case -ESTALE:
		win32 = disk_problem_win32(&s->problem, s->err);
		break;
	case -EACCES:
	case -EPERM:
		win32 = ERROR_VHD_PARENT_VHD_ACCESS_DENIED;
		break;
	default:
		win32 = ERROR_VHD_DIFFERENCING_CHAIN_ERROR_IN_PARENT;
	}
	return disk_problem_note(problem, f, s->err, win32, "in its parent: %s", s->problem.text);
}

static int open_parent(const struct disk *top, struct disk *child,
	const struct disk_open_options *options, struct disk_problem *problem)
{
	static const enum disk_locator forms[] = {
		DISK_LOCATOR_RELATIVE,
		DISK_LOCATOR_ABSOLUTE,
		DISK_LOCATOR_VOLUME,
	};
	struct search s = {.top = top, .child = child, .options = options};
	char *names[3] = {0};
	int err = 0;

	for (unsigned i = 0; i < 3; i++) {
		err = child->ops->locator(child, forms[i], &names[i]);
		if (err && err != -ENOENT)
			break;
		err = 0;
	}
	if (!err) {
		search(&s, names, 3);
		if (!s.found)
			err = explain(&s,
				names[0]   ? names[0]
				: names[1] ? names[1]
					   : names[2],
				problem);
	}
	for (unsigned i = 0; i < 3; i++)
		free(names[i]);
	child->parent = s.found;
	return err;
}

int disk_open_chain(
	struct disk *d, const struct disk_open_options *options, struct disk_problem *problem)
{
	int err = 0;

	for (struct disk *child = d; !err && child && child->fixed.kind == DISK_DIFFERENCING;
		child = child->parent)
		if (!child->parent)
			err = open_parent(d, child, options, problem);
	return err;
}
