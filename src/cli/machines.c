/*
 * machines.c - see machines.h.
 *
 * An entry is the file <VM ID>.json beside the socket: {"name": ..., "cid": ...}. That the machine
 * runs, and as which process, is what the kernel says of the socket.
 */
#include "cli/machines.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/guid.h"
#include "base/rundir.h"
#include "hvsocket/places.h"

#define SUFFIX ".json"

static void entry_path(const char *base, const GUID *id, char path[PATH_MAX])
{
	hv_place_machine(base, id, path);
	strncat(path, SUFFIX, PATH_MAX - 1 - strlen(path));
}

bool machines_describe(
	const char *base, const GUID *id, const char *name, uint32_t cid, char path[PATH_MAX])
{
	struct json_object *o = json_object_new_object();
	bool done;

	entry_path(base, id, path);
	json_object_object_add(o, "name", json_object_new_string(name));
	json_object_object_add(o, "cid", json_object_new_int64(cid));
	done = json_object_to_file_ext(path, o, JSON_C_TO_STRING_PLAIN) == 0;
	json_object_put(o);
	return done;
}

/* The process that listens at a machine's socket; 0: nobody does; -1: it cannot be told. */
static pid_t process_of(const char *base, const GUID *id)
{
	char path[PATH_MAX];
	struct ucred who = {.pid = -1};
	socklen_t length = sizeof(who);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err;

	if (fd < 0)
		return -1;
	hv_place_machine(base, id, path);
	err = hv_place_connect(fd, path);
	if (!err)
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length);
	close(fd);
	return err == -ECONNREFUSED || err == -ENOENT ? 0 : who.pid;
}

/* A link's target; false: it is none that we made. */
static bool read_link(const char *path, GUID *id)
{
	char target[GUID_TEXT];
	ssize_t n = readlink(path, target, sizeof(target));

	if (n != GUID_TEXT - 1)
		return false;
	target[n] = 0;
	return guid_parse(target, id);
}

/* The ID that a name in the directory stands for. False: it is not of ours. */
static bool id_of(const char *base, const char *name, GUID *id)
{
	char path[PATH_MAX], text[GUID_TEXT];
	size_t length = strlen(name);

	if (strncmp(name, "cid-", 4) == 0)
		return snprintf(path, sizeof(path), "%s/sockets/%s", base, name) < PATH_MAX &&
		       read_link(path, id);
	if (length != GUID_TEXT - 1 &&
		(length != GUID_TEXT - 1 + strlen(SUFFIX) || strcmp(name + GUID_TEXT - 1, SUFFIX)))
		return false;
	memcpy(text, name, GUID_TEXT - 1);
	text[GUID_TEXT - 1] = 0;
	return guid_parse(text, id);
}

static DIR *open_directory(const char *base)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/sockets", base) < PATH_MAX ? opendir(path) : NULL;
}

void machines_clean(const char *base)
{
	DIR *d = open_directory(base);
	struct dirent *e;
	GUID id;

	while (d && (e = readdir(d)))
		if (id_of(base, e->d_name, &id) && process_of(base, &id) == 0)
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
}

/* False: there is none. */
static bool read_entry(const char *base, const char *file, struct machines_entry *m)
{
	char path[PATH_MAX];
	struct json_object *o, *name, *cid;
	bool found;

	if (strlen(file) != GUID_TEXT - 1 + strlen(SUFFIX) || !id_of(base, file, &m->id))
		return false;
	m->pid = process_of(base, &m->id);
	entry_path(base, &m->id, path);
	o = m->pid ? json_object_from_file(path) : NULL;
	found = o && json_object_object_get_ex(o, "name", &name) &&
		json_object_object_get_ex(o, "cid", &cid);
	if (found) {
		m->name = strdup(json_object_get_string(name));
		m->cid = (uint32_t)json_object_get_int64(cid);
	}
	json_object_put(o);
	return found && m->name;
}

static int by_cid(const void *a, const void *b)
{
	const struct machines_entry *x = a, *y = b;

	return (x->cid > y->cid) - (x->cid < y->cid);
}

struct machines_entry *machines_list(unsigned *n)
{
	struct machines_entry *list = NULL, m, *longer;
	char base[PATH_MAX];
	struct dirent *e;

	*n = 0;
	for (unsigned i = 0; rundir_look(i, base); i++) {
		DIR *d = open_directory(base);

		machines_clean(base);
		while (d && (e = readdir(d))) {
			if (!read_entry(base, e->d_name, &m))
				continue;
			longer = realloc(list, (*n + 1) * sizeof(*list));
			if (!longer) {
				free(m.name);
				break;
			}
			list = longer;
			list[(*n)++] = m;
		}
		if (d)
			closedir(d);
	}
	if (list)
		qsort(list, *n, sizeof(*list), by_cid);
	return list;
}

void machines_free(struct machines_entry *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(list[i].name);
	free(list);
}
