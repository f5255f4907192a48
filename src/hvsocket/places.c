/*
 * places.c - where the sockets of machines and host programs lie. See places.h.
 */
#include "hvsocket/places.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/guid.h"
#include "base/rundir.h"
#include "hvsocket/system.h"

void hv_place_machine(const char *base, const GUID *vm, char path[PATH_MAX])
{
	char id[GUID_TEXT];

	snprintf(path, PATH_MAX, "%s/sockets/%s", base, guid_format(vm, id));
}

void hv_place_cid(const char *base, uint32_t cid, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/sockets/cid-%u", base, cid);
}

void hv_place_listener(
	const char *base, const GUID *scope, const GUID *service, char path[PATH_MAX])
{
	char a[GUID_TEXT], b[GUID_TEXT];

	snprintf(path, PATH_MAX, "%s/sockets/listen/%s.%s", base, guid_format(scope, a),
		guid_format(service, b));
}

bool hv_place_name(const char *path, GUID *scope, GUID *service)
{
	const char *name = strrchr(path, '/');
	char part[GUID_TEXT];

	name = name ? name + 1 : path;
	if (strlen(name) != 2 * GUID_TEXT - 1 || name[GUID_TEXT - 1] != '.')
		return false;
	memcpy(part, name, GUID_TEXT - 1);
	part[GUID_TEXT - 1] = 0;
	return guid_parse(part, scope) && guid_parse(name + GUID_TEXT, service);
}

int hv_place_make(const char *base)
{
	const mode_t mode = geteuid() ? 0700 : 0755;
	char path[PATH_MAX];

	for (const char *const *part =
			(const char *const[]){"", "/sockets", "/sockets/listen", NULL};
		*part; part++) {
		if (snprintf(path, PATH_MAX, "%s%s", base, *part) >= PATH_MAX)
			return -ENAMETOOLONG;
		if (mkdir(path, mode) && errno != EEXIST)
			return -errno;
	}
	return 0;
}

/* ---- Paths of any length -------------------------------------------------------------------- */

/*
 * Bind or connect by a path: as it is when there is room for it, else through a descriptor of its
 * directory.
 */
static int with_path(
	int (*call)(int fd, const void *address, socklen_t length), int fd, const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	const char *last = strrchr(path, '/');
	int directory = -1, n, err;

	n = snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	if (n >= (int)sizeof(name.sun_path)) {
		char above[PATH_MAX];

		if (!last || n >= PATH_MAX)
			return -ENAMETOOLONG;
		snprintf(above, sizeof(above), "%.*s", (int)(last - path), path);
		directory = open(above, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (directory < 0)
			return -errno;
		n = snprintf(name.sun_path, sizeof(name.sun_path), "/proc/self/fd/%d%s", directory,
			last);
	}
	err = n < (int)sizeof(name.sun_path) ? call(fd, &name, sizeof(name)) : -ENAMETOOLONG;
	if (directory >= 0)
		close(directory);
	return err;
}

int hv_place_bind(int fd, const char *path)
{
	return with_path(sys_bind, fd, path);
}

int hv_place_connect(int fd, const char *path)
{
	return with_path(sys_connect, fd, path);
}

/* ---- Contexts ------------------------------------------------------------------------------- */

/* The machine that the link @path names. */
static bool read_link(const char *path, GUID *vm)
{
	char target[GUID_TEXT];
	ssize_t n = readlink(path, target, sizeof(target));

	if (n != GUID_TEXT - 1)
		return false;
	target[n] = 0;
	return guid_parse(target, vm);
}

bool hv_place_find_cid(uint32_t cid, GUID *vm)
{
	char base[PATH_MAX], path[PATH_MAX];

	for (unsigned i = 0; rundir_look(i, base); i++) {
		hv_place_cid(base, cid, path);
		if (read_link(path, vm))
			return true;
	}
	return false;
}

/* The context of @vm among those of one directory. */
static bool cid_in(const char *base, const GUID *vm, uint32_t *cid)
{
	char path[PATH_MAX];
	bool found = false;
	struct dirent *e;
	DIR *d;

	if (snprintf(path, sizeof(path), "%s/sockets", base) >= PATH_MAX || !(d = opendir(path)))
		return false;
	while (!found && (e = readdir(d))) {
		GUID other;
		char *end;

		if (strncmp(e->d_name, "cid-", 4))
			continue;
		*cid = strtoul(e->d_name + 4, &end, 10);
		hv_place_cid(base, *cid, path);
		found = !*end && read_link(path, &other) && guid_equal(&other, vm);
	}
	closedir(d);
	return found;
}

bool hv_place_cid_of(const GUID *vm, uint32_t *cid)
{
	char base[PATH_MAX];

	for (unsigned i = 0; rundir_look(i, base); i++)
		if (cid_in(base, vm, cid))
			return true;
	return false;
}
