/*
 * partial.c - see partial.h.
 */
#include "disk/partial.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

char *disk_partial_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	const int folder = slash ? slash - path + 1 : 0;
	uint64_t random;
	char *name;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return NULL;
	if (asprintf(&name, "%.*s.partita-%016" PRIx64, folder, path, random) < 0)
		return NULL;
	return name;
}

static int flush_folder(const char *path)
{
	char *copy = strdup(path), *slash = copy ? strrchr(copy, '/') : NULL;
	int fd, err = 0;

	if (!copy)
		return -ENOMEM;
	if (slash)
		slash[slash == copy] = '\0';
	fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* A file system that cannot flush a folder keeps its names by other means. */
	if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL))
		err = -errno;
	if (fd >= 0)
		close(fd);
	free(copy);
	return err;
}

static int rename_to(const char *partial, const char *path, bool overwrite)
{
	if (overwrite)
		return rename(partial, path) < 0 ? -errno : 0;
	if (renameat2(AT_FDCWD, partial, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* Some file systems can only do it by a second name. */
	if (link(partial, path) < 0)
		return -errno;
	unlink(partial);
	return 0;
}

int disk_publish(char *partial, const char *path, bool overwrite)
{
	int err = rename_to(partial, path, overwrite);

	if (err) {
		disk_discard(partial);
		return err;
	}
	free(partial);
	return flush_folder(path);
}

void disk_discard(char *partial)
{
	unlink(partial);
	free(partial);
}
