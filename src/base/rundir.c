/*
 * rundir.c - see rundir.h.
 */
#include "base/rundir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int rundir_path(const char *part, char **path)
{
	const char *base = geteuid() == 0 ? "/run" : getenv("XDG_RUNTIME_DIR");

	*path = NULL;
	if (!base || !base[0])
		return -ENOENT;
	if (asprintf(path, "%s/partita/%s", base, part) < 0) {
		*path = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int make(const char *path)
{
	return mkdir(path, geteuid() == 0 ? 0755 : 0700) && errno != EEXIST ? -errno : 0;
}

int rundir_make(const char *part, char **path)
{
	int err = rundir_path(part, path);
	char *last;

	if (err)
		return err;
	last = *path + strlen(*path) - strlen(part) - 1;
	*last = '\0';
	err = make(*path);
	*last = '/';
	if (!err)
		err = make(*path);
	if (err) {
		free(*path);
		*path = NULL;
	}
	return err;
}
