/*
 * path.c - see path.h.
 */
#include "disk/path.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>

/* The real path of the folder of @path. */
static char *folder_of(const char *path)
{
	char *copy = strdup(path), *real;

	if (!copy)
		return NULL;
	real = realpath(dirname(copy), NULL);
	free(copy);
	return real;
}

static void to_windows(char *path)
{
	for (; *path; path++)
		if (*path == '/')
			*path = '\\';
}

/* From the folder @from to @to, both real paths. */
static char *relative_to(const char *from, const char *to)
{
	size_t common = 0, ups = 0;
	char *path, *end;

	if (strcmp(from, "/") == 0)
		from = "";
	/* Behind the last slash up to which they are the same. */
	for (size_t i = 0; from[i] == to[i] || (!from[i] && to[i] == '/'); i++) {
		if (to[i] == '/')
			common = i + 1;
		if (!from[i])
			break;
	}
	for (size_t i = common; common <= strlen(from) && from[i]; i++)
		if (i == common || from[i] == '/')
			ups++;
	path = end = malloc(2 + 3 * ups + strlen(to + common) + 1);
	if (!path)
		return NULL;
	if (!ups)
		end = stpcpy(end, "./");
	while (ups--)
		end = stpcpy(end, "../");
	strcpy(end, to + common);
	return path;
}

int disk_path_locators(const char *child, const char *parent, char **relative, char **absolute)
{
	char *folder = folder_of(child);

	*absolute = folder ? realpath(parent, NULL) : NULL;
	if (!*absolute) {
		int err = -errno;

		free(folder);
		return err;
	}
	*relative = relative_to(folder, *absolute);
	free(folder);
	if (!*relative) {
		free(*absolute);
		return -ENOMEM;
	}
	to_windows(*relative);
	to_windows(*absolute);
	return 0;
}
