/*
 * listen.c - sockets that a command listens at: see cli.h.
 */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

/* Whether a socket's file is left over from a process that is gone. */
static bool is_stale(const struct sockaddr_un *address)
{
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool stale = fd >= 0 && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
		     connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
		     errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return stale;
}

int cli_listen(const char *what, const char *path, int backlog)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct sockaddr *generic = (const struct sockaddr *)&address;
	int fd, err;

	if (strlen(path) >= sizeof(address.sun_path)) {
		log_error("%s's path is longer than the %zu characters a socket can have: %s", what,
			sizeof(address.sun_path) - 1, path);
		return -1;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	err = fd < 0 ? errno : bind(fd, generic, sizeof(address)) < 0 ? errno : 0;
	if (err == EADDRINUSE && is_stale(&address)) {
		unlink(path);
		err = bind(fd, generic, sizeof(address)) < 0 ? errno : 0;
	}
	if (!err)
		err = listen(fd, backlog) < 0 ? errno : 0;
	if (!err)
		return fd;
	log_error("cannot listen at %s %s: %s; name a path that is free and that you may write",
		what, path, strerror(err));
	if (fd >= 0)
		close(fd);
	return -1;
}
