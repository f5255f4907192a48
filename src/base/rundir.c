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

#define SYSTEM "/run/partita"

static const char *named(const char *variable)
{
	const char *path = secure_getenv(variable);

	return path && *path ? path : NULL;
}

bool rundir_own(char path[PATH_MAX])
{
	const char *chosen = named("PARTITA_RUN_DIR"), *users = named("XDG_RUNTIME_DIR");

	if (chosen)
		return snprintf(path, PATH_MAX, "%s", chosen) < PATH_MAX;
	if (geteuid())
		return users && snprintf(path, PATH_MAX, "%s/partita", users) < PATH_MAX;
	strcpy(path, SYSTEM);
	return true;
}

bool rundir_look(unsigned index, char path[PATH_MAX])
{
	bool own = rundir_own(path);

	if (own && !index)
		return true;
	if (named("PARTITA_RUN_DIR") || !geteuid() || index > own)
		return false;
	strcpy(path, SYSTEM);
	return true;
}

int rundir_path(const char *part, char **path)
{
	char base[PATH_MAX];

	*path = NULL;
	if (!rundir_own(base))
		return -ENOENT;
	if (asprintf(path, "%s/%s", base, part) < 0) {
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
