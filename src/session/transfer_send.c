/*
 * transfer_send.c - the sending half: see transfer.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "session/transfer.h"
#include "session/transfer_protocol.h"

struct sender {
	const struct transfer *t;
	int out;
	unsigned depth;
	uint8_t chunk[TRANSFER_CHUNK_MAX];
};

static bool send_directory(struct sender *s, int fd, const char *name, const struct stat *status);

static bool put(struct sender *s, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n) {
		ssize_t written = write(s->out, at, n);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return false; /* whoever receives has said why */
		at += written;
		n -= (size_t)written;
	}
	return true;
}

static bool failed(struct sender *s, const char *name)
{
	log_error("%s%s: %s", s->t->where, name, strerror(errno));
	return false;
}

static bool put_entry(
	struct sender *s, enum transfer_kind kind, const char *name, const struct stat *status)
{
	const struct transfer_entry entry = {
		.kind = kind,
		.mode = status->st_mode & 0777,
		.name_length = strlen(name),
		.seconds = status->st_mtim.tv_sec,
		.nanoseconds = status->st_mtim.tv_nsec,
		.size = status->st_size,
	};

	return put(s, &entry, sizeof(entry)) && put(s, name, entry.name_length);
}

static bool put_mark(struct sender *s, enum transfer_kind kind)
{
	const struct stat none = {0};

	return put_entry(s, kind, "", &none);
}

/* A file's bytes, hole by hole. */
struct contents {
	int fd;
	bool holes;	       /* there may be some */
	uint64_t at, data_end; /* what is next; where the bytes end that are known to be there */
};

/* Skips a hole, if one begins at @c->at. False: the file has nothing more but that. */
static bool skip_hole(struct contents *c)
{
	off_t data, hole, end;

	if (!c->holes || c->at < c->data_end)
		return true;
	data = lseek(c->fd, (off_t)c->at, SEEK_DATA);
	if (data < 0 && errno == ENXIO) {
		end = lseek(c->fd, 0, SEEK_END);
		if (end > (off_t)c->at)
			c->at = (uint64_t)end;
		return false;
	}
	hole = data < 0 ? -1 : lseek(c->fd, data, SEEK_HOLE);
	c->holes = hole >= 0; /* not every file system knows */
	if (c->holes) {
		c->at = (uint64_t)data;
		c->data_end = (uint64_t)hole;
	}
	return lseek(c->fd, (off_t)c->at, SEEK_SET) == (off_t)c->at;
}

static bool put_chunk(struct sender *s, uint64_t offset, size_t n)
{
	const struct transfer_chunk chunk = {.offset = offset, .length = (uint32_t)n};

	return put(s, &chunk, sizeof(chunk)) && put(s, s->chunk, n);
}

static bool send_file(struct sender *s, int fd, const char *name, const struct stat *status)
{
	struct contents c = {.fd = fd, .holes = status->st_blocks * 512ll < status->st_size};

	if (!put_entry(s, TRANSFER_FILE, name, status))
		return false;
	while (skip_hole(&c)) {
		size_t most = sizeof(s->chunk);
		ssize_t n;

		if (c.holes && c.data_end - c.at < most)
			most = (size_t)(c.data_end - c.at);
		n = read(fd, s->chunk, most);
		if (n < 0)
			return failed(s, name);
		if (!n)
			break;
		if (!put_chunk(s, c.at, (size_t)n))
			return false;
		c.at += (uint64_t)n;
		if (s->t->progress)
			s->t->progress(s->t->ctx, name, c.at, (uint64_t)status->st_size);
	}
	return put_chunk(s, c.at, 0);
}

static bool send_link(struct sender *s, int directory, const char *name, struct stat *status)
{
	char target[TRANSFER_LINK_MAX + 1];
	ssize_t n = readlinkat(directory, name, target, sizeof(target));

	if (n < 0 || n > (ssize_t)TRANSFER_LINK_MAX) {
		errno = n < 0 ? errno : ENAMETOOLONG;
		return failed(s, name);
	}
	status->st_size = n;
	return put_entry(s, TRANSFER_LINK, name, status) && put(s, target, (size_t)n);
}

/* A file or directory that is open, which is closed. */
static bool send_open(struct sender *s, int fd, const char *name)
{
	struct stat status;
	bool ok = false;

	if (fstat(fd, &status)) {
		ok = failed(s, name);
	} else if (S_ISDIR(status.st_mode)) {
		return send_directory(s, fd, name, &status);
	} else if (S_ISREG(status.st_mode)) {
		ok = send_file(s, fd, name, &status);
	} else {
		log_warning("%s%s: neither file nor directory: left out", s->t->where, name);
		ok = true;
	}
	close(fd);
	return ok;
}

static bool send_member(struct sender *s, int directory, const char *name)
{
	struct stat status;
	int fd;

	if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW))
		return failed(s, name);
	if (S_ISLNK(status.st_mode))
		return send_link(s, directory, name, &status);
	if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
		log_warning("%s%s: neither file nor directory: left out", s->t->where, name);
		return true;
	}
	fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? failed(s, name) : send_open(s, fd, name);
}

static bool send_directory(struct sender *s, int fd, const char *name, const struct stat *status)
{
	DIR *directory = fdopendir(fd);
	struct dirent *member;
	bool ok;

	if (!directory || ++s->depth > TRANSFER_DEPTH_MAX) {
		errno = directory ? ELOOP : errno;
		ok = failed(s, name);
	} else {
		ok = put_entry(s, TRANSFER_DIRECTORY, name, status);
	}
	while (ok && (errno = 0, member = readdir(directory)))
		if (strcmp(member->d_name, ".") != 0 && strcmp(member->d_name, "..") != 0)
			ok = send_member(s, fd, member->d_name);
	if (ok && errno)
		ok = failed(s, name);
	if (directory)
		closedir(directory);
	else
		close(fd);
	s->depth--;
	return ok && put_mark(s, TRANSFER_UP);
}

/* The name that it has at the receiver's when that is only told where: "" for "/", "..". */
static bool own_name(const char *path, char name[TRANSFER_NAME_MAX + 1])
{
	char *real = realpath(path, NULL);
	const char *trimmed = path + strlen(path), *end;

	while (trimmed > path && trimmed[-1] == '/')
		trimmed--;
	end = trimmed;
	while (trimmed > path && trimmed[-1] != '/')
		trimmed--;
	/* "." and ".." have the names of the directories that they are. */
	if (real &&
		(end == trimmed || (end - trimmed < 3 &&
					   strncmp("..", trimmed, (size_t)(end - trimmed)) == 0))) {
		trimmed = strrchr(real, '/') + 1;
		end = trimmed + strlen(trimmed);
	}
	name[0] = 0;
	if (end - trimmed <= (ptrdiff_t)TRANSFER_NAME_MAX) {
		memcpy(name, trimmed, (size_t)(end - trimmed));
		name[end - trimmed] = 0;
	}
	free(real);
	return name[0];
}

int transfer_send(const struct transfer *t, const char *path, bool recursive, int out)
{
	static const struct transfer_head head = {TRANSFER_MAGIC, TRANSFER_VERSION};
	struct sender *s = calloc(1, sizeof(*s));
	char name[TRANSFER_NAME_MAX + 1];
	struct stat status;
	bool ok = false;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &status)) {
		log_error("%s%s: %s", t->where, path, strerror(errno));
	} else if (S_ISDIR(status.st_mode) && !recursive) {
		log_error("%s%s: is a directory; -r copies it", t->where, path);
	} else if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
		log_error("%s%s: neither file nor directory", t->where, path);
	} else if (!own_name(path, name)) {
		log_error("%s%s: has no name of its own", t->where, path);
	} else if (s) {
		s->t = t;
		s->out = out;
		ok = put(s, &head, sizeof(head)) && send_open(s, fd, name) &&
		     put_mark(s, TRANSFER_END);
		fd = -1;
	}
	if (fd >= 0)
		close(fd);
	free(s);
	return ok ? 0 : 1;
}
