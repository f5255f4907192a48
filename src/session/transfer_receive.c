/*
 * transfer_receive.c - the receiving half: see transfer.h.
 *
 * Everything is made in a place of its own beside where it will be, with names that nothing has
 * yet and without following links; the last step gives it its name.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "session/transfer.h"
#include "session/transfer_protocol.h"

struct receiver {
	const struct transfer *t;
	int in;
	const char *path, *as;
	int parent; /* the directory that it comes into */
	char name[TRANSFER_NAME_MAX + 1], temporary[24];
	bool made; /* something has the temporary name */
	/* The directories that are open, innermost last. */
	struct level {
		int fd;
		struct transfer_entry entry;
	} levels[TRANSFER_DEPTH_MAX];
	unsigned depth;
	uint8_t chunk[TRANSFER_CHUNK_MAX];
};

static bool failed(struct receiver *r, const char *name)
{
	log_error("%s%s: %s", r->t->where, name, strerror(errno));
	return false;
}

static bool nonsense(struct receiver *r)
{
	log_error("%s%s: what comes is no transfer of files", r->t->where, r->path);
	return false;
}

/* ---- What comes ------------------------------------------------------------------------------ */

static bool get(struct receiver *r, void *bytes, size_t n)
{
	char *at = bytes;

	while (n) {
		ssize_t got = read(r->in, at, n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false; /* whoever sends has said why */
		at += got;
		n -= (size_t)got;
	}
	return true;
}

/* A name is one component of a path, and none of those that exist everywhere. */
static bool name_is_safe(const char *name, size_t n)
{
	return n && !memchr(name, 0, n) && !memchr(name, '/', n) && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

static bool get_entry(
	struct receiver *r, struct transfer_entry *e, char name[TRANSFER_NAME_MAX + 1])
{
	bool named;

	if (!get(r, e, sizeof(*e)))
		return false;
	named = e->kind >= TRANSFER_FILE && e->kind <= TRANSFER_LINK;
	if (e->kind < TRANSFER_FILE || e->kind > TRANSFER_END || e->mode > 0777 || e->zero ||
		e->zero_too || e->zero_as_well || e->nanoseconds > 999999999 ||
		e->name_length > TRANSFER_NAME_MAX ||
		(e->kind == TRANSFER_LINK && (!e->size || e->size > TRANSFER_LINK_MAX)))
		return nonsense(r);
	if (!get(r, name, e->name_length))
		return false;
	name[e->name_length] = 0;
	return named == name_is_safe(name, e->name_length) && (named || !e->name_length)
		       ? true
		       : nonsense(r);
}

static bool write_all(int fd, const uint8_t *bytes, size_t n, uint64_t offset)
{
	while (n) {
		ssize_t written = pwrite(fd, bytes, n, (off_t)offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return false;
		bytes += written;
		offset += (uint64_t)written;
		n -= (size_t)written;
	}
	return true;
}

static bool get_contents(
	struct receiver *r, int fd, const struct transfer_entry *e, const char *name)
{
	struct transfer_chunk c;
	uint64_t end = 0; /* of what is there */

	for (;;) {
		if (!get(r, &c, sizeof(c)))
			return false;
		if (c.length > sizeof(r->chunk) || c.offset < end ||
			c.offset > (uint64_t)INT64_MAX - c.length)
			return nonsense(r);
		if (!c.length)
			return c.offset == end || ftruncate(fd, (off_t)c.offset) == 0
				       ? true
				       : failed(r, name);
		if (!get(r, r->chunk, c.length))
			return false;
		if (!write_all(fd, r->chunk, c.length, c.offset))
			return failed(r, name);
		end = c.offset + c.length;
		if (r->t->progress)
			r->t->progress(r->t->ctx, name, end, e->size);
	}
}

/* ---- What becomes of it ---------------------------------------------------------------------- */

static bool set_status(struct receiver *r, int fd, const struct transfer_entry *e, const char *name)
{
	const struct timespec times[] = {
		{.tv_nsec = UTIME_OMIT},
		{.tv_sec = e->seconds, .tv_nsec = e->nanoseconds},
	};

	return fchmod(fd, e->mode) || futimens(fd, times) ? failed(r, name) : true;
}

/* What is copied itself is told by where it should be: the user may not write there. */
static bool cannot_make(struct receiver *r, int at, const char *name)
{
	return failed(r, at == r->parent && r->path[0] ? r->path : name);
}

static bool receive_file(struct receiver *r, int at, const char *as, const struct transfer_entry *e,
	const char *name)
{
	int fd = openat(at, as, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	bool ok;

	if (fd < 0)
		return cannot_make(r, at, name);
	r->made = true;
	ok = get_contents(r, fd, e, name) && set_status(r, fd, e, name);
	/* Some file systems say only now that the disk is full. */
	if (close(fd) && ok)
		ok = failed(r, name);
	return ok;
}

static bool receive_directory(struct receiver *r, int at, const char *as,
	const struct transfer_entry *e, const char *name)
{
	int fd;

	if (r->depth == TRANSFER_DEPTH_MAX)
		return nonsense(r);
	if (mkdirat(at, as, 0700))
		return cannot_make(r, at, name);
	r->made = true;
	fd = openat(at, as, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return failed(r, name);
	r->levels[r->depth++] = (struct level){fd, *e};
	return true;
}

static bool receive_link(
	struct receiver *r, int at, const struct transfer_entry *e, const char *name)
{
	const struct timespec times[] = {
		{.tv_nsec = UTIME_OMIT},
		{.tv_sec = e->seconds, .tv_nsec = e->nanoseconds},
	};
	char target[TRANSFER_LINK_MAX + 1];

	if (!get(r, target, e->size))
		return false;
	target[e->size] = 0;
	if (strlen(target) != e->size)
		return nonsense(r);
	if (symlinkat(target, at, name) || utimensat(at, name, times, AT_SYMLINK_NOFOLLOW))
		return failed(r, name);
	return true;
}

static bool leave_directory(struct receiver *r)
{
	const struct level *l = &r->levels[--r->depth];
	bool ok = set_status(r, l->fd, &l->entry, r->path);

	close(l->fd);
	return ok;
}

/* The members of the directory that was begun. */
static bool receive_members(struct receiver *r)
{
	struct transfer_entry e;
	char name[TRANSFER_NAME_MAX + 1];
	bool ok = true;

	while (ok && r->depth) {
		int at = r->levels[r->depth - 1].fd;

		if (!get_entry(r, &e, name))
			return false;
		switch (e.kind) {
		case TRANSFER_FILE:
			ok = receive_file(r, at, name, &e, name);
			break;
		case TRANSFER_DIRECTORY:
			ok = receive_directory(r, at, name, &e, name);
			break;
		case TRANSFER_LINK:
			ok = receive_link(r, at, &e, name);
			break;
		case TRANSFER_UP:
			ok = leave_directory(r);
			break;
		default:
			ok = nonsense(r);
		}
	}
	return ok;
}

/* ---- Where it goes --------------------------------------------------------------------------- */

/* Opens the directory, and finds the name that it will have in there. */
static bool find_place(struct receiver *r, const char *own_name)
{
	const char *path = r->path[0] ? r->path : ".", *slash = strrchr(path, '/');
	char *directory;

	strcpy(r->name, own_name);
	r->parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->parent >= 0)
		return true;
	if (errno != ENOENT && errno != ENOTDIR)
		return failed(r, path);
	if (slash && !slash[1]) {
		errno = ENOTDIR;
		return failed(r, path);
	}
	if (strlen(slash ? slash + 1 : path) > TRANSFER_NAME_MAX) {
		errno = ENAMETOOLONG;
		return failed(r, path);
	}
	strcpy(r->name, slash ? slash + 1 : path);
	directory = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	r->parent = directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (r->parent < 0)
		failed(r, directory ? directory : path);
	free(directory);
	return r->parent >= 0;
}

/* May what is there be replaced? */
static bool may_come(struct receiver *r, enum transfer_kind kind)
{
	struct stat status;

	if (fstatat(r->parent, r->name, &status, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? true : failed(r, r->name);
	if (S_ISDIR(status.st_mode))
		log_error("%s%s: %s is a directory, which is not replaced", r->t->where, r->path,
			r->name);
	else if (kind == TRANSFER_DIRECTORY)
		log_error("%s%s: %s is there, and no directory", r->t->where, r->path, r->name);
	else if (!S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode))
		log_error("%s%s: %s is no file", r->t->where, r->path, r->name);
	else
		return true;
	return false;
}

static bool choose_temporary(struct receiver *r)
{
	unsigned char random[6];

	if (RAND_bytes(random, sizeof(random)) != 1) {
		errno = EIO;
		return failed(r, r->path);
	}
	strcpy(r->temporary, ".partita-");
	for (unsigned i = 0; i < sizeof(random); i++)
		sprintf(r->temporary + 9 + 2 * i, "%02x", random[i]);
	return true;
}

static bool receive_all(struct receiver *r)
{
	struct transfer_head head;
	struct transfer_entry e, end;
	char name[TRANSFER_NAME_MAX + 1], none[TRANSFER_NAME_MAX + 1];
	bool directory;

	if (!get(r, &head, sizeof(head)))
		return false;
	if (head.magic != TRANSFER_MAGIC || head.version != TRANSFER_VERSION)
		return nonsense(r);
	if (!get_entry(r, &e, name))
		return false;
	directory = e.kind == TRANSFER_DIRECTORY;
	if (e.kind != TRANSFER_FILE && !directory)
		return nonsense(r);
	if (!find_place(r, r->as ? r->as : name) || !may_come(r, e.kind) || !choose_temporary(r) ||
		!(directory ? receive_directory(r, r->parent, r->temporary, &e, name)
			    : receive_file(r, r->parent, r->temporary, &e, name)) ||
		!receive_members(r) || !get_entry(r, &end, none))
		return false;
	if (end.kind != TRANSFER_END)
		return nonsense(r);
	if (renameat2(
		    r->parent, r->temporary, r->parent, r->name, directory ? RENAME_NOREPLACE : 0))
		return failed(r, r->path);
	r->made = false;
	return true;
}

/* Of what came only in part. */
static void remove_tree(int at, const char *name)
{
	struct dirent *member;
	DIR *directory;
	int fd;

	if (unlinkat(at, name, 0) == 0 || errno != EISDIR)
		return;
	fchmodat(at, name, 0700, 0);
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	directory = fd < 0 ? NULL : fdopendir(fd);
	while (directory && (member = readdir(directory)))
		if (strcmp(member->d_name, ".") != 0 && strcmp(member->d_name, "..") != 0)
			remove_tree(fd, member->d_name);
	if (directory)
		closedir(directory);
	unlinkat(at, name, AT_REMOVEDIR);
}

int transfer_receive(const struct transfer *t, const char *path, const char *as, int in)
{
	struct receiver *r = calloc(1, sizeof(*r));
	bool ok;

	if (!r)
		return 1;
	r->t = t;
	r->in = in;
	r->path = path;
	r->as = as;
	r->parent = -1;
	ok = receive_all(r);
	while (r->depth)
		close(r->levels[--r->depth].fd);
	if (r->made)
		remove_tree(r->parent, r->temporary);
	if (r->parent >= 0)
		close(r->parent);
	free(r);
	return ok ? 0 : 1;
}
