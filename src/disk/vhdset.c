/*
 * vhdset.c - the file of a VHD set: read, checked, changed, replaced. What snapshots do to images
 * is the business of virtdisk_set.c.
 */
#include "disk/vhdset.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/guid.h"
#include "disk/partial.h"

#define FIRST_LINE "partita vhdset 1\n"

struct vhdset {
	char *path;
	int lock; /* the file that is there, locked; -1: to be read */
	char *image;
	struct vhdset_snapshot snapshots[VHDSET_SNAPSHOTS_MAX];
	struct vhdset_reference references[VHDSET_REFERENCES_MAX];
	unsigned n, n_references;
};

static void forget(struct vhdset *s)
{
	for (unsigned i = 0; i < s->n; i++)
		free(s->snapshots[i].image);
	for (unsigned i = 0; i < s->n_references; i++)
		free(s->references[i].point);
	s->n = s->n_references = 0;
	free(s->image);
	s->image = NULL;
}

/* ---- Paths ----------------------------------------------------------------------------------- */

/* Bytes of the folder of the set's path, its slash included. */
static size_t folder_length(const char *set_path)
{
	const char *slash = strrchr(set_path, '/');

	return slash ? (size_t)(slash - set_path) + 1 : 0;
}

/* As it is written: relative to the set's folder where it can be. */
static const char *shorten(const char *set_path, const char *image)
{
	size_t n = folder_length(set_path);

	return strncmp(set_path, image, n) || !image[n] || image[n] == '/' ? image : image + n;
}

static char *lengthen(const char *set_path, const char *image)
{
	char *path;

	if (image[0] == '/')
		return strdup(image);
	return asprintf(&path, "%.*s%s", (int)folder_length(set_path), set_path, image) < 0 ? NULL
											    : path;
}

static void print_path(FILE *f, const char *path)
{
	for (const unsigned char *c = (const unsigned char *)path; *c; c++) {
		if (*c <= ' ' || *c >= 0x7F || *c == '%')
			fprintf(f, "%%%02X", *c);
		else
			putc(*c, f);
	}
}

static int hex(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undo print_path() in place. */
static bool unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (*s != '%') {
			*to++ = *s;
			continue;
		}
		if (hex(s[1]) < 0 || hex(s[2]) < 0 || !(hex(s[1]) | hex(s[2])))
			return false;
		*to++ = hex(s[1]) << 4 | hex(s[2]);
		s += 2;
	}
	*to = '\0';
	return true;
}

int vhdset_new_image_path(const char *set_path, char **image)
{
	size_t folder = folder_length(set_path);
	const char *dot = strrchr(set_path + folder, '.');
	int stem = dot ? dot - set_path : (int)strlen(set_path);
	char text[GUID_TEXT];
	GUID id;

	guid_new(&id);
	return asprintf(image, "%.*s_%s.avhdx", stem, set_path, guid_format(&id, text)) < 0
		       ? -ENOMEM
		       : 0;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static int damaged(const struct vhdset *s, struct disk_problem *problem, const char *what)
{
	return disk_problem_say(problem, s->path, -EUCLEAN,
		"the VHD set is damaged: %s; restore it from a copy, or make a new one of its "
		"newest image",
		what);
}

/* The path in the rest of a line, complete; NULL: none, or no memory. */
static char *take_path(const struct vhdset *s, char *text)
{
	return text && text[0] && unescape(text) && text[0] ? lengthen(s->path, text) : NULL;
}

/* No two things have one name, and zero is the present state's. */
static bool is_named(const struct vhdset *s, const GUID *id)
{
	return guid_is_zero(id) || vhdset_find(s, id) || vhdset_reference(s, id);
}

static bool take_snapshot(struct vhdset *s, char *line)
{
	char *id = strsep(&line, " "), *kind = strsep(&line, " ");
	struct vhdset_snapshot one = {0};

	if (!kind || s->n == VHDSET_SNAPSHOTS_MAX || !guid_parse(id, &one.id) ||
		is_named(s, &one.id))
		return false;
	one.writeable = !strcmp(kind, "writeable");
	if (!one.writeable && strcmp(kind, "fixed"))
		return false;
	one.image = take_path(s, line);
	if (one.image)
		s->snapshots[s->n++] = one;
	return one.image;
}

static bool take_reference(struct vhdset *s, char *line)
{
	char *id = strsep(&line, " ");
	struct vhdset_reference one;

	if (!line || !line[0] || s->n_references == VHDSET_REFERENCES_MAX ||
		!guid_parse(id, &one.id) || is_named(s, &one.id) || !unescape(line))
		return false;
	one.point = strdup(line);
	if (one.point)
		s->references[s->n_references++] = one;
	return one.point;
}

static bool take_line(struct vhdset *s, char *line)
{
	char *word = strsep(&line, " ");

	if (line && !strcmp(word, "snapshot"))
		return take_snapshot(s, line);
	if (line && !strcmp(word, "reference"))
		return take_reference(s, line);
	if (!line || strcmp(word, "default") || s->image)
		return false;
	s->image = take_path(s, line);
	return s->image;
}

/* @text is the file, terminated. */
static int parse(struct vhdset *s, char *text, struct disk_problem *problem)
{
	char *sum = strstr(text, "\nchecksum "), *line, *end;
	uint32_t value;

	if (strncmp(text, FIRST_LINE, strlen(FIRST_LINE)))
		return disk_problem_say(problem, s->path, -EMEDIUMTYPE,
			"this is not a VHD set of Partita; those of Windows cannot be read: open "
			"its images instead");
	if (!sum)
		return damaged(s, problem, "it has no checksum");
	value = strtoul(sum + strlen("\nchecksum "), &end, 16);
	if (strcmp(end, "\n") || crc32c(0, text, sum + 1 - text) != value)
		return damaged(s, problem, "its checksum is wrong");
	*sum = '\0';
	text += strlen(FIRST_LINE);
	while ((line = strsep(&text, "\n")))
		if (!take_line(s, line))
			return damaged(s, problem, "a line has no meaning");
	return s->image ? 0 : damaged(s, problem, "it names no image");
}

/* The whole file as text that the caller frees; NULL with errno set. */
static char *read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = fd < 0 ? NULL : malloc(VHDSET_FILE_MAX + 1);
	ssize_t n = text ? pread(fd, text, VHDSET_FILE_MAX, 0) : -1;

	if (n >= 0) {
		text[n] = '\0';
	} else {
		free(text);
		text = NULL;
	}
	if (fd >= 0)
		close(fd);
	return text;
}

static int load(struct vhdset *s, struct disk_problem *problem)
{
	char *text = read_file(s->path);
	int err;

	if (!text)
		return -errno;
	forget(s);
	err = parse(s, text, problem);
	free(text);
	return err;
}

bool vhdset_probe(const char *path)
{
	char text[sizeof(FIRST_LINE) - 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool is = fd >= 0 && pread(fd, text, sizeof(text), 0) == sizeof(text) &&
		  !memcmp(text, FIRST_LINE, sizeof(text));

	if (fd >= 0)
		close(fd);
	return is;
}

/* ---- Opening --------------------------------------------------------------------------------- */

static bool is_still_there(int fd, const char *path)
{
	struct stat held, there;

	return !fstat(fd, &held) && !stat(path, &there) && held.st_dev == there.st_dev &&
	       held.st_ino == there.st_ino;
}

/* Lock the file that has the name, whoever replaces it meanwhile. */
static int lock(struct vhdset *s)
{
	for (;;) {
		int fd = open(s->path, O_RDWR | O_CLOEXEC);

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			close(fd);
			return -EBUSY;
		}
		if (is_still_there(fd, s->path)) {
			s->lock = fd;
			return 0;
		}
		close(fd);
	}
}

int vhdset_open(const char *path, bool write, struct vhdset **set, struct disk_problem *problem)
{
	struct vhdset *s = calloc(1, sizeof(*s));
	int err = 0;

	if (!s)
		return -ENOMEM;
	s->lock = -1;
	s->path = strdup(path);
	if (!s->path)
		err = -ENOMEM;
	if (!err && write)
		err = lock(s);
	if (!err)
		err = load(s, problem);
	if (err)
		vhdset_close(s);
	else
		*set = s;
	return err;
}

void vhdset_close(struct vhdset *s)
{
	if (!s)
		return;
	forget(s);
	if (s->lock >= 0)
		close(s->lock);
	free(s->path);
	free(s);
}

/* ---- What it has ----------------------------------------------------------------------------- */

const char *vhdset_default(const struct vhdset *s)
{
	return s->image;
}

const struct vhdset_snapshot *vhdset_at(const struct vhdset *s, unsigned i)
{
	return i < s->n ? &s->snapshots[i] : NULL;
}

const struct vhdset_snapshot *vhdset_find(const struct vhdset *s, const GUID *id)
{
	for (unsigned i = 0; i < s->n; i++)
		if (guid_equal(&s->snapshots[i].id, id))
			return &s->snapshots[i];
	return NULL;
}

const struct vhdset_reference *vhdset_reference_at(const struct vhdset *s, unsigned i)
{
	return i < s->n_references ? &s->references[i] : NULL;
}

const struct vhdset_reference *vhdset_reference(const struct vhdset *s, const GUID *id)
{
	for (unsigned i = 0; i < s->n_references; i++)
		if (guid_equal(&s->references[i].id, id))
			return &s->references[i];
	return NULL;
}

int vhdset_image(const struct vhdset *s, const GUID *id, char **image)
{
	const struct vhdset_snapshot *one = vhdset_find(s, id);

	if (!one && !guid_is_zero(id))
		return -ENOENT;
	*image = strdup(one ? one->image : s->image);
	return *image ? 0 : -ENOMEM;
}

/* ---- Changing -------------------------------------------------------------------------------- */

int vhdset_add(struct vhdset *s, const GUID *id, bool writeable, const char *image)
{
	char *copy;

	if (s->lock < 0)
		return -EBADF;
	if (is_named(s, id))
		return -EEXIST;
	if (s->n == VHDSET_SNAPSHOTS_MAX)
		return -ENOSPC;
	copy = strdup(image);
	if (!copy)
		return -ENOMEM;
	s->snapshots[s->n++] =
		(struct vhdset_snapshot){.id = *id, .writeable = writeable, .image = copy};
	return 0;
}

int vhdset_add_reference(struct vhdset *s, const GUID *id, const char *point)
{
	char *copy;

	if (s->lock < 0)
		return -EBADF;
	if (is_named(s, id))
		return -EEXIST;
	if (s->n_references == VHDSET_REFERENCES_MAX)
		return -ENOSPC;
	copy = strdup(point);
	if (!copy)
		return -ENOMEM;
	s->references[s->n_references++] = (struct vhdset_reference){*id, copy};
	return 0;
}

static int remove_reference(struct vhdset *s, const GUID *id)
{
	struct vhdset_reference *one = (struct vhdset_reference *)vhdset_reference(s, id);

	if (!one)
		return -ENOENT;
	free(one->point);
	s->n_references--;
	memmove(one, one + 1, (char *)&s->references[s->n_references] - (char *)one);
	return 0;
}

int vhdset_remove(struct vhdset *s, const GUID *id)
{
	struct vhdset_snapshot *one = (struct vhdset_snapshot *)vhdset_find(s, id);

	if (s->lock < 0)
		return -EBADF;
	if (!one)
		return remove_reference(s, id);
	free(one->image);
	s->n--;
	memmove(one, one + 1, (char *)&s->snapshots[s->n] - (char *)one);
	return 0;
}

static int replace(const struct vhdset *s, char **image, const char *with)
{
	char *copy = s->lock < 0 ? NULL : strdup(with);

	if (!copy)
		return s->lock < 0 ? -EBADF : -ENOMEM;
	free(*image);
	*image = copy;
	return 0;
}

int vhdset_set_image(struct vhdset *s, const GUID *id, const char *image)
{
	struct vhdset_snapshot *one = (struct vhdset_snapshot *)vhdset_find(s, id);

	return one ? replace(s, &one->image, image) : -ENOENT;
}

int vhdset_set_default(struct vhdset *s, const char *image)
{
	return replace(s, &s->image, image);
}

/* ---- Writing --------------------------------------------------------------------------------- */

static int print(const struct vhdset *s, char **text, size_t *n)
{
	FILE *f = open_memstream(text, n);
	char id[GUID_TEXT];

	if (!f)
		return -errno;
	fputs(FIRST_LINE "default ", f);
	print_path(f, shorten(s->path, s->image));
	for (unsigned i = 0; i < s->n; i++) {
		const struct vhdset_snapshot *one = &s->snapshots[i];

		fprintf(f, "\nsnapshot %s %s ", guid_format(&one->id, id),
			one->writeable ? "writeable" : "fixed");
		print_path(f, shorten(s->path, one->image));
	}
	for (unsigned i = 0; i < s->n_references; i++) {
		fprintf(f, "\nreference %s ", guid_format(&s->references[i].id, id));
		print_path(f, s->references[i].point);
	}
	putc('\n', f);
	fflush(f);
	fprintf(f, "checksum %08" PRIX32 "\n", crc32c(0, *text, *n));
	if (fclose(f)) {
		free(*text);
		return -ENOMEM;
	}
	if (*n <= VHDSET_FILE_MAX)
		return 0;
	free(*text);
	return -EFBIG;
}

/* A file with @text under a name of its own, locked and durable. */
static int write_partial(const char *partial, const char *text, size_t n, int *fd)
{
	ssize_t put;

	*fd = open(partial, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (*fd < 0)
		return -errno;
	put = flock(*fd, LOCK_EX | LOCK_NB) ? -1 : write(*fd, text, n);
	if (put == (ssize_t)n && !fsync(*fd))
		return 0;
	close(*fd);
	return put < 0 || put == (ssize_t)n ? -EIO : -ENOSPC;
}

static int write_file(const struct vhdset *s, bool overwrite, int *fd)
{
	char *partial, *text;
	size_t n;
	int err = print(s, &text, &n);

	if (err)
		return err;
	partial = disk_partial_name(s->path);
	err = partial ? write_partial(partial, text, n, fd) : -errno;
	free(text);
	if (err) {
		if (partial)
			disk_discard(partial);
		return err;
	}
	err = disk_publish(partial, s->path, overwrite);
	if (err)
		close(*fd);
	return err;
}

int vhdset_store(struct vhdset *s)
{
	int fd, err;

	if (s->lock < 0)
		return -EBADF;
	err = write_file(s, true, &fd);
	if (err)
		return err;
	close(s->lock);
	s->lock = fd;
	return 0;
}

int vhdset_revert(struct vhdset *s)
{
	return load(s, NULL);
}

int vhdset_create(const char *path, const char *image, struct disk_problem *problem)
{
	struct vhdset s = {.path = (char *)path, .image = (char *)image};
	int fd, err = write_file(&s, false, &fd);

	if (err == -EEXIST)
		return disk_problem_say(
			problem, path, err, "the file exists; remove it or choose another name");
	if (!err)
		close(fd);
	return err;
}
