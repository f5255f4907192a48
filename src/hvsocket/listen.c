/*
 * listen.c - see listen.h.
 *
 * Whoever binds holds a lock on the directory, so that a file without a socket is one whose program
 * was killed, or closed it. A socket is looked for without disturbing who listens: a datagram
 * socket cannot connect to a stream socket, but learns whether there is one.
 */
#include "hvsocket/listen.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/guid.h"
#include "base/rundir.h"
#include "hvsocket/places.h"
#include "hvsocket/system.h"

static bool is_left_behind(const char *path)
{
	int fd = sys_socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool nobody = fd >= 0 && hv_place_connect(fd, path) == -ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return nobody;
}

/* Remove from @directory what was left behind. */
static void clean(const char *directory)
{
	DIR *d = opendir(directory);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char path[PATH_MAX];
		GUID scope, service;

		if (hv_place_name(e->d_name, &scope, &service) &&
			snprintf(path, sizeof(path), "%s/%s", directory, e->d_name) < PATH_MAX &&
			is_left_behind(path))
			unlink(path);
	}
	if (d)
		closedir(d);
}

/* The directory's lock, a descriptor. */
static int lock(const char *directory)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "%s/.lock", directory) >= PATH_MAX)
		return -ENAMETOOLONG;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX))
		if (errno != EINTR) {
			int err = -errno;

			close(fd);
			return err;
		}
	return fd;
}

int hv_listener_bind(int fd, const struct hv_address *a)
{
	char base[PATH_MAX], directory[PATH_MAX], path[PATH_MAX];
	int held, err;

	if (!hv_is_machine(&a->vm) && !guid_equal(&a->vm, &hv_zero) &&
		!guid_equal(&a->vm, &hv_children) && !guid_equal(&a->vm, &hv_loopback))
		return -EADDRNOTAVAIL;
	if (!rundir_own(base))
		return -ENOENT;
	err = hv_place_make(base);
	if (err)
		return err;
	if (snprintf(directory, sizeof(directory), "%s/sockets/listen", base) >= PATH_MAX)
		return -ENAMETOOLONG;
	held = lock(directory);
	if (held < 0)
		return held;
	clean(directory);
	hv_place_listener(base, &a->vm, &a->service, path);
	err = hv_place_bind(fd, path);
	flock(held, LOCK_UN); /* a child that was forked meanwhile has the descriptor, too */
	close(held);
	return err;
}
