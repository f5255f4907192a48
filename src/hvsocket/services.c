/*
 * services.c - the registry of services: who may, looking up, and changing the file. See
 * services.h.
 */
#include "hvsocket/services.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/guid.h"
#include "base/log.h"
#include "hvsocket/services_file.h"

#define SYSTEM_FILE "/etc/partita/services.json"
#define FILE_MAX    (4u << 20)

/* ---- Who may -------------------------------------------------------------------------------- */

static bool is_among(const struct service_users *users, uid_t uid)
{
	if (users->all)
		return true;
	for (unsigned i = 0; i < users->n; i++)
		if (users->ids[i] == uid && uid != (uid_t)-1)
			return true;
	return false;
}

static bool is_open_to(const struct service *s, const GUID *vm)
{
	if (!s->enabled)
		return false;
	for (unsigned i = 0; i < s->n_machines; i++)
		if (guid_equal(&s->machines[i], vm))
			return true;
	return !s->n_machines;
}

bool service_may_connect(const struct service *s, uid_t uid, uid_t owner, const GUID *vm)
{
	const bool always = !uid || uid == owner;

	if (!s)
		return always;
	return is_open_to(s, vm) && (always || is_among(&s->connect, uid));
}

bool service_may_serve(const struct service *s, uid_t uid, uid_t owner, const GUID *vm)
{
	return s && is_open_to(s, vm) && (!uid || uid == owner || is_among(&s->serve, uid));
}

/* ---- Lists ---------------------------------------------------------------------------------- */

static void free_strings(char **strings)
{
	for (char **s = strings; s && *s; s++)
		free(*s);
	free(strings);
}

static void free_service(struct service *s)
{
	free(s->name);
	free_strings(s->connect.names);
	free(s->connect.ids);
	free_strings(s->serve.names);
	free(s->serve.ids);
	free(s->machines);
	free_strings(s->command);
	free(s->socket);
}

void service_list_free(struct service_list *list)
{
	for (unsigned i = 0; i < list->n; i++)
		free_service(&list->services[i]);
	free(list->services);
	*list = (struct service_list){0};
}

struct service *service_list_find(const struct service_list *list, const GUID *id)
{
	for (unsigned i = 0; i < list->n; i++)
		if (guid_equal(&list->services[i].id, id))
			return &list->services[i];
	return NULL;
}

struct service *service_list_add(struct service_list *list, const GUID *id)
{
	struct service *more = realloc(list->services, (list->n + 1) * sizeof(*more));
	char *name = strdup("");

	if (more)
		list->services = more;
	if (!more || !name) {
		free(name);
		return NULL;
	}
	more[list->n] = (struct service){.id = *id, .name = name, .enabled = true};
	return &more[list->n++];
}

void service_list_remove(struct service_list *list, struct service *s)
{
	free_service(s);
	memmove(s, s + 1, (char *)(list->services + list->n) - (char *)(s + 1));
	list->n--;
}

/* ---- Reading -------------------------------------------------------------------------------- */

char *services_path(void)
{
	const char *chosen = secure_getenv("PARTITA_SERVICES");
	const char *config = secure_getenv("XDG_CONFIG_HOME"), *home = secure_getenv("HOME");
	char *path = NULL;
	int n = -1;

	if (chosen && *chosen)
		return strdup(chosen);
	if (!geteuid())
		return strdup(SYSTEM_FILE);
	if (config && *config == '/')
		n = asprintf(&path, "%s/partita/services.json", config);
	else if (home && *home == '/')
		n = asprintf(&path, "%s/.config/partita/services.json", home);
	return n < 0 ? NULL : path;
}

static int say(char problem[SERVICES_PROBLEM], const char *path, int err)
{
	snprintf(problem, SERVICES_PROBLEM, "%.200s: %s", path,
		err == -EINVAL ? "is no file; move it away" : strerror(-err));
	return err;
}

/* All of @fd, the caller's in *@text. */
static int read_all(int fd, const struct stat *st, char **text, size_t *length)
{
	size_t room;

	if (!S_ISREG(st->st_mode))
		return -EINVAL;
	if (st->st_size > FILE_MAX)
		return -EFBIG;
	room = st->st_size;
	*text = malloc(room + 1);
	*length = 0;
	if (!*text)
		return -ENOMEM;
	while (*length < room) {
		ssize_t n = read(fd, *text + *length, room - *length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		*length += n;
	}
	return 0;
}

/* services_read(), and what the file is: all zero if there is none. */
static int read_file(const char *path, struct service_list *list, struct stat *st,
	char problem[SERVICES_PROBLEM])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), err;
	char *text = NULL;
	size_t length = 0;

	*list = (struct service_list){0};
	memset(st, 0, sizeof(*st));
	if (fd < 0)
		return errno == ENOENT ? 0 : say(problem, path, -errno);
	err = fstat(fd, st) ? -errno : read_all(fd, st, &text, &length);
	close(fd);
	if (err)
		say(problem, path, err);
	else
		err = services_parse(path, text, length, list, problem);
	free(text);
	return err;
}

int services_read(const char *path, struct service_list *list, char problem[SERVICES_PROBLEM])
{
	struct stat st;

	return read_file(path, list, &st, problem);
}

/* ---- Looking up ----------------------------------------------------------------------------- */

struct services {
	char *path;
	struct service_list list;
	struct stat seen; /* the file, when it was read */
	bool read;
	int err; /* what reading it gave */
};

struct services *services_open(const char *path)
{
	struct services *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->path = path ? strdup(path) : services_path();
	if (!r->path) {
		free(r);
		return NULL;
	}
	return r;
}

void services_close(struct services *r)
{
	if (!r)
		return;
	service_list_free(&r->list);
	free(r->path);
	free(r);
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

int services_lookup(struct services *r, const GUID *id, const struct service **found)
{
	char problem[SERVICES_PROBLEM];
	struct stat st;

	*found = NULL;
	if (stat(r->path, &st))
		memset(&st, 0, sizeof(st));
	if (!r->read || !is_same_file(&st, &r->seen)) {
		service_list_free(&r->list);
		r->err = read_file(r->path, &r->list, &r->seen, problem);
		r->read = true;
		if (r->err)
			log_error("%s; until then no service can be reached", problem);
	}
	if (r->err)
		return r->err;
	*found = service_list_find(&r->list, id);
	return 0;
}

/* ---- Changing ------------------------------------------------------------------------------- */

/* The directory of @path, made with what is above it, opened and locked. */
static int lock_directory(const char *path)
{
	char *directory = strdup(path), *end;
	int fd, err = 0;

	if (!directory)
		return -ENOMEM;
	end = strrchr(directory, '/');
	if (end)
		*end = 0;
	for (char *p = directory; end && *p && (p = strchr(p + 1, '/')); *p = '/') {
		*p = 0;
		mkdir(directory, 0755);
	}
	if (end && *directory && mkdir(directory, geteuid() ? 0700 : 0755) && errno != EEXIST)
		err = -errno;
	fd = err ? err
		 : open(end ? (*directory ? directory : "/") : ".",
			   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!err && fd < 0)
		fd = -errno;
	free(directory);
	while (fd >= 0 && flock(fd, LOCK_EX))
		if (errno != EINTR) {
			err = -errno;
			close(fd);
			return err;
		}
	return fd;
}

static int write_all(int fd, const char *text)
{
	for (size_t left = strlen(text); left;) {
		ssize_t n = write(fd, text, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		left -= n;
	}
	return fsync(fd) ? -errno : 0;
}

/* Put @text in the place of @path; @old is what was there, all zero for nothing. */
static int replace(const char *path, const char *text, const struct stat *old)
{
	char *temporary;
	int fd, err;

	if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0) {
		err = -errno;
		free(temporary);
		return err;
	}
	err = write_all(fd, text);
	if (!err && old->st_ino && fchown(fd, old->st_uid, old->st_gid) && !geteuid())
		err = -errno;
	if (!err && fchmod(fd, old->st_ino ? old->st_mode & 07777 : 0644))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(temporary, path))
		err = -errno;
	if (err)
		unlink(temporary);
	free(temporary);
	return err;
}

/* What could not be read again is not written. Returns 0, or a negative errno; @problem has it. */
static int check(const char *path, const char *text, char problem[SERVICES_PROBLEM])
{
	struct service_list again;
	char why[SERVICES_PROBLEM], *remedy;
	int err = strlen(text) > FILE_MAX ? -EFBIG : 0;

	if (err)
		return say(problem, path, err);
	err = services_parse("what was given", text, strlen(text), &again, why);
	service_list_free(&again);
	if (!err)
		return 0;
	/* There is no file to be corrected. */
	remedy = strrchr(why, ';');
	snprintf(problem, SERVICES_PROBLEM, "%.200s is not changed: %.*s", path,
		(int)(remedy ? remedy - why : SERVICES_PROBLEM), why);
	return err;
}

static int write_list(int directory, const char *path, const struct service_list *list,
	const struct stat *old, char problem[SERVICES_PROBLEM])
{
	char *text = services_text(list);
	int err;

	if (!text)
		return say(problem, path, -ENOMEM);
	err = check(path, text, problem);
	if (!err) {
		err = replace(path, text, old);
		if (!err && fsync(directory))
			err = -errno;
		if (err)
			say(problem, path, err);
	}
	free(text);
	return err;
}

/* services_change(), under the lock @directory. */
static int change_locked(int directory, const char *path,
	int (*change)(struct service_list *list, void *ctx), void *ctx,
	char problem[SERVICES_PROBLEM])
{
	struct service_list list;
	struct stat st;
	int err = read_file(path, &list, &st, problem);

	if (!err)
		err = change(&list, ctx);
	if (!err)
		err = write_list(directory, path, &list, &st, problem);
	service_list_free(&list);
	return err;
}

int services_change(const char *path, int (*change)(struct service_list *list, void *ctx),
	void *ctx, char problem[SERVICES_PROBLEM])
{
	/* A link stays one: what it names is replaced. */
	char *real = realpath(path, NULL);
	int directory, err;

	if (real)
		path = real;
	directory = lock_directory(path);
	err = directory < 0 ? say(problem, path, directory)
			    : change_locked(directory, path, change, ctx, problem);
	if (directory >= 0)
		close(directory);
	free(real);
	return err;
}
