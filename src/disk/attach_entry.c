/*
 * attach_entry.c - what is attached, as a directory tells it: one entry for each attached disk,
 * made and removed by who serves it. See attach_parts.h for what is in an entry.
 *
 * Who serves an entry listens at its socket. When nobody does, the process was killed: whoever
 * looks next cleans up, unless the device is still used. A lock on the directory keeps those who
 * look from those who make an entry and have no socket yet.
 */
#include "disk/attach_parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/rundir.h"

#define NAME_LENGTH	64 /* of an entry */
#define NAME_ATTEMPTS	1000
#define BACKLOG		8
#define CLAIMED_WAIT_MS 500 /* for a file system that was unmounted just now: looking is quick */

static const char *const fixed_names[] = {"image", "device", "access", "disk", "control"};

/* ---- The directory --------------------------------------------------------------------------- */

static int lock(int fd)
{
	while (flock(fd, LOCK_EX))
		if (errno != EINTR)
			return -errno;
	return 0;
}

/*
 * The directory of all entries, opened and locked; *@path is as the kernel names it, the caller's.
 */
static int open_directory(char **path, struct disk_problem *problem)
{
	char *made;
	int fd = -1, err = rundir_make("disks", &made);

	*path = err ? NULL : realpath(made, NULL);
	if (!err && !*path)
		err = -errno;
	if (!err) {
		fd = open(*path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		err = fd < 0 ? -errno : lock(fd);
	}
	if (err) {
		disk_problem_say(problem, "the directory of attached disks", err, "%s%s",
			strerror(-err),
			err == -ENOENT ? "; XDG_RUNTIME_DIR must name a directory" : "");
		if (fd >= 0)
			close(fd);
		free(*path);
		*path = NULL;
	}
	free(made);
	return err ? err : fd;
}

/* ---- Entries --------------------------------------------------------------------------------- */

char *attach_entry_file(const char *path, const char *name)
{
	char *file;

	return asprintf(&file, "%s/%s", path, name) < 0 ? NULL : file;
}

int attach_entry_note(const char *path, const char *name, const char *target)
{
	char *file = attach_entry_file(path, name);
	int err = !file ? -ENOMEM : symlink(target, file) ? -errno : 0;

	free(file);
	return err;
}

static char *read_note(const char *path, const char *name)
{
	char *file = attach_entry_file(path, name), target[PATH_MAX];
	ssize_t n = file ? readlink(file, target, sizeof(target)) : -1;

	free(file);
	return n < 0 || n == sizeof(target) ? NULL : strndup(target, n);
}

static void remove_parents(int directory)
{
	char name[32];

	for (unsigned i = 0;; i++) {
		snprintf(name, sizeof(name), "parent-%u", i);
		if (unlinkat(directory, name, 0))
			break;
	}
}

void attach_entry_remove(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	for (size_t i = 0; i < sizeof(fixed_names) / sizeof(fixed_names[0]); i++)
		unlinkat(fd, fixed_names[i], 0);
	remove_parents(fd);
	close(fd);
	rmdir(path);
}

/* An address in the entry, short enough for a socket whatever the entry's path. */
static int entry_address(const char *path, struct sockaddr_un *address)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/control", fd);
	return fd < 0 ? -errno : fd;
}

int attach_entry_connect(const char *path)
{
	struct sockaddr_un address;
	int directory = entry_address(path, &address), fd, err = 0;

	if (directory < 0)
		return directory;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		err = -errno;
	close(directory);
	if (err && fd >= 0)
		close(fd);
	return err ? err : fd;
}

static int listen_in(const char *path)
{
	struct sockaddr_un address;
	int directory = entry_address(path, &address), fd, err = 0;

	if (directory < 0)
		return directory;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, BACKLOG))
		err = -errno;
	close(directory);
	if (err && fd >= 0)
		close(fd);
	return err ? err : fd;
}

/* A new directory that is called as the image; @directory: of all entries. */
static int make_directory(const char *directory, const char *image, char **path)
{
	const char *base = strrchr(image, '/');
	char name[NAME_LENGTH], number[16] = "";

	snprintf(name, sizeof(name), "%s", base ? base + 1 : image);
	for (char *c = name; *c; c++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+",
			    *c) ||
			(c == name && *c == '.'))
			*c = '_';
	for (unsigned i = 2; i < NAME_ATTEMPTS; i++) {
		if (asprintf(path, "%s/%s%s", directory, name, number) < 0)
			return -ENOMEM;
		if (mkdir(*path, 0700) == 0)
			return 0;
		free(*path);
		if (errno != EEXIST)
			return -errno;
		snprintf(number, sizeof(number), ".%u", i);
	}
	return -EEXIST;
}

static int note_images(struct disk *d, const char *path, const char *image)
{
	int err = attach_entry_note(path, "image", image);
	unsigned i = 0;
	char name[32];

	for (struct disk *p = disk_parent(d); p && !err; p = disk_parent(p)) {
		char *parent = realpath(disk_path(p), NULL);

		snprintf(name, sizeof(name), "parent-%u", i++);
		err = parent ? attach_entry_note(path, name, parent) : -errno;
		free(parent);
	}
	return err;
}

static int note_disk(struct disk *d, const char *path, const char *image, bool read_only)
{
	char *file = attach_entry_file(path, "disk");
	int fd = file ? open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
	int err = !file ? -ENOMEM : fd < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	free(file);
	if (!err)
		err = note_images(d, path, image);
	if (!err)
		err = attach_entry_note(path, "access", read_only ? "read-only" : "read-write");
	return err;
}

int attach_entry_switch(const char *path, struct disk *d)
{
	char *directory, *image = realpath(disk_path(d), NULL);
	int lock = image ? open_directory(&directory, NULL) : -errno, entry, err;

	if (lock < 0) {
		free(image);
		return lock;
	}
	entry = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = entry < 0 || unlinkat(entry, "image", 0) ? -errno : 0;
	if (!err) {
		remove_parents(entry);
		err = note_images(d, path, image);
	}
	if (entry >= 0)
		close(entry);
	close(lock);
	free(directory);
	free(image);
	return err;
}

/* ---- Looking --------------------------------------------------------------------------------- */

static void attached_fini(struct disk_attached *a)
{
	free(a->image);
	free(a->device);
	free(a->file);
	for (unsigned i = 0; i < a->n_parents; i++)
		free(a->parents[i]);
	free(a->parents);
}

void disk_attached_free(struct disk_attached *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		attached_fini(&list[i]);
	free(list);
}

static int read_parents(const char *path, struct disk_attached *a)
{
	for (;;) {
		char name[32], *parent, **longer;

		snprintf(name, sizeof(name), "parent-%u", a->n_parents);
		parent = read_note(path, name);
		if (!parent)
			return 0;
		longer = realloc(a->parents, (a->n_parents + 1) * sizeof(*longer));
		if (!longer) {
			free(parent);
			return -ENOMEM;
		}
		a->parents = longer;
		a->parents[a->n_parents++] = parent;
	}
}

/* Nobody serves the entry. Returns whether it is gone now. */
static bool clean_up(const char *path, const struct disk_attached *a)
{
	struct disk_problem problem = {0};

	if (a->device &&
		attach_loop_remove(a->device, a->file, CLAIMED_WAIT_MS, &problem) == -EBUSY)
		return false;
	attach_fuse_unmount(a->file);
	attach_entry_remove(path);
	return true;
}

/* Returns 0; -ENOENT: there is nothing any more; or another negative errno. */
static int read_entry(const char *path, struct disk_attached *a)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);
	char *access = read_note(path, "access");
	int fd, err;

	*a = (struct disk_attached){.read_only = access && strcmp(access, "read-only") == 0};
	free(access);
	a->image = read_note(path, "image");
	a->device = read_note(path, "device");
	a->file = attach_entry_file(path, "disk");
	err = a->file ? read_parents(path, a) : -ENOMEM;
	fd = err ? -1 : attach_entry_connect(path);
	if (fd >= 0) {
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0)
			a->pid = peer.pid;
		close(fd);
	} else if (!err && (fd == -ECONNREFUSED || fd == -ENOENT || !a->image)) {
		err = clean_up(path, a) || !a->image ? -ENOENT : 0;
	}
	if (!err && !a->image)
		err = -ENOENT;
	if (err)
		attached_fini(a);
	return err;
}

/* What is in the directory @path, which is locked. */
static int list_entries(const char *path, struct disk_attached **list, unsigned *n)
{
	struct dirent **names;
	int count = scandir(path, &names, NULL, alphasort), err = 0;

	*list = NULL;
	*n = 0;
	if (count < 0)
		return -errno;
	*list = calloc(count, sizeof(**list));
	if (!*list)
		err = -ENOMEM;
	for (int i = 0; i < count; i++) {
		char *entry = err || names[i]->d_name[0] == '.'
				      ? NULL
				      : attach_entry_file(path, names[i]->d_name);

		if (entry) {
			err = read_entry(entry, &(*list)[*n]);
			*n += !err;
			if (err == -ENOENT)
				err = 0;
		}
		free(entry);
		free(names[i]);
	}
	free(names);
	return err;
}

int disk_attached_list(struct disk_attached **list, unsigned *n)
{
	char *path;
	int fd = open_directory(&path, NULL), err;

	*list = NULL;
	*n = 0;
	if (fd < 0)
		return fd;
	err = list_entries(path, list, n);
	close(fd);
	free(path);
	if (err) {
		disk_attached_free(*list, *n);
		*list = NULL;
		*n = 0;
	}
	return err;
}

static bool is_file(const struct disk_attached *a, const char *real)
{
	return real && (strcmp(a->image, real) == 0 || strcmp(a->file, real) == 0);
}

static bool is_device(const struct disk_attached *a, const char *device)
{
	return device && a->device && strcmp(a->device, device) == 0;
}

int disk_attached_find(const char *path, struct disk_attached **found)
{
	struct disk_attached *list;
	char *device = NULL, *real;
	unsigned n, at = 0;
	int err = disk_attached_list(&list, &n);

	if (err)
		return err;
	real = realpath(path, NULL);
	attach_loop_of(path, &device);
	/* An image may itself lie on an attached disk. */
	while (at < n && !is_file(&list[at], real))
		at++;
	for (unsigned i = 0; i < n && at == n; i++)
		if (is_device(&list[i], device))
			at = i;
	free(real);
	free(device);
	if (at == n) {
		disk_attached_free(list, n);
		return -ENOENT;
	}
	for (unsigned i = 0; i < n; i++)
		if (i != at)
			attached_fini(&list[i]);
	list[0] = list[at];
	*found = list;
	return 0;
}

/* ---- Making one ------------------------------------------------------------------------------ */

static int refuse_twice(const char *directory, const char *image, struct disk_problem *problem)
{
	struct disk_attached *list;
	unsigned n;
	int err = list_entries(directory, &list, &n);

	for (unsigned i = 0; i < n && !err; i++)
		if (strcmp(list[i].image, image) == 0)
			err = disk_problem_say(problem, image, -EALREADY,
				"attached already, as %s; detach it first",
				list[i].device ? list[i].device : list[i].file);
	disk_attached_free(list, n);
	return err;
}

int attach_entry_create(
	struct disk *d, bool read_only, char **path, int *control, struct disk_problem *problem)
{
	char *directory, *image = realpath(disk_path(d), NULL);
	int fd = -1, err;

	*path = NULL;
	if (!image)
		return disk_problem_say(problem, disk_path(d), -errno, "%s", strerror(errno));
	fd = open_directory(&directory, problem);
	if (fd < 0) {
		free(image);
		return fd;
	}
	err = refuse_twice(directory, image, problem);
	if (!err)
		err = make_directory(directory, image, path);
	if (!err) {
		*control = listen_in(*path);
		err = *control < 0 ? *control : note_disk(d, *path, image, read_only);
	}
	if (err) {
		disk_problem_say(problem, directory, err, "%s", strerror(-err));
		if (*path && *control >= 0)
			close(*control);
		if (*path)
			attach_entry_remove(*path);
		free(*path);
	}
	close(fd);
	free(directory);
	free(image);
	return err;
}
