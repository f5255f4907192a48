/*
 * fcopy.c - see fcopy.h.
 *
 *   START, WRITE for each 6 KiB, COMPLETE; or CANCEL at any time after START
 */
#include "vsp/fcopy.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf16.h"

#define PATIENCE_NS 60000000000ull /* for each of the guest's answers */

static const struct ic_version versions[] = {{1, 1}};

struct fcopy {
	struct ic *ic;
	atomic_flag busy;
};

static int answered(struct ic_request *ic);

static void finish(struct fcopy_request *r, int err, uint32_t status)
{
	r->err = err;
	r->status = status;
	atomic_flag_clear(&r->fcopy->busy);
	r->done(r);
}

/* Sends the message that is there, for an answer. */
static int ask(struct fcopy_request *r, enum ic_fcopy_operation operation, uint32_t size)
{
	r->step = operation;
	r->message.start.header = (struct ic_fcopy_header){.operation = operation};
	r->ic = (struct ic_request){.message = &r->message,
		.size = size,
		.deadline = loop_now() + PATIENCE_NS,
		.done = answered};
	return ic_submit(r->fcopy->ic, &r->ic);
}

/* The copy has failed; the guest shall remove what it has. */
static void give_up(struct fcopy_request *r, int err, uint32_t status)
{
	r->err = err;
	r->status = status;
	if (ask(r, IC_FCOPY_CANCEL, sizeof(struct ic_fcopy_header)))
		finish(r, err, status);
}

/* Reads the next piece into the message. Returns its bytes, or a negative errno. */
static int read_piece(struct fcopy_request *r)
{
	struct ic_fcopy_write *w = &r->message.write;
	uint64_t left = r->size - r->copied;
	size_t n = left < IC_FCOPY_DATA ? left : IC_FCOPY_DATA, have = 0;

	memset(w, 0, sizeof(*w));
	while (have < n) {
		ssize_t got = pread(r->fd, w->data + have, n - have, (off_t)(r->copied + have));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got ? -errno : -ENODATA;
		have += (size_t)got;
	}
	w->offset = r->copied;
	w->size = (uint32_t)n;
	return (int)n;
}

static int next(struct fcopy_request *r)
{
	int n;

	if (r->copied == r->size)
		return ask(r, IC_FCOPY_COMPLETE, sizeof(struct ic_fcopy_header));
	n = read_piece(r);
	if (n < 0)
		return n;
	r->piece = (uint32_t)n;
	/* The size on the wire is always that of a full piece: Linux reads so much. */
	return ask(r, IC_FCOPY_WRITE, sizeof(r->message.write));
}

static int answered(struct ic_request *ic)
{
	struct fcopy_request *r =
		(struct fcopy_request *)((char *)ic - offsetof(struct fcopy_request, ic));
	int err = ic->err;
	uint32_t status = err ? 0 : ic->status;

	if (r->step == IC_FCOPY_CANCEL) {
		finish(r, r->err, r->status);
		return 0;
	}
	/* At its end; or the guest made nothing that it could remove. */
	if (r->step == IC_FCOPY_COMPLETE || (r->step == IC_FCOPY_START && status)) {
		finish(r, err, status);
		return 0;
	}
	if (r->step == IC_FCOPY_WRITE && !err && !status)
		r->copied += r->piece;
	if (!err && !status)
		err = r->cancel ? -ECANCELED : next(r);
	if (err || status)
		give_up(r, err, status);
	return 0;
}

/* A name, which must be there and fit, with its terminator. */
static int put_name(uint16_t to[IC_FCOPY_NAME], const char *from, size_t n)
{
	char *name = strndup(from, n);
	uint16_t *text = name ? utf16_from_utf8(name, &n) : NULL;
	int err = !text ? -ENOMEM : n > FCOPY_NAME_MAX ? -ENAMETOOLONG : 0;

	if (!err)
		memcpy(to, text, (n + 1) * 2);
	free(text);
	free(name);
	return err;
}

/* The directory keeps its last separator: Linux's daemon makes what stands before one. */
static int put_path(struct ic_fcopy_start *start, const char *path)
{
	const char *slash = strrchr(path, '/'), *other = strrchr(path, '\\');
	uint16_t directory[IC_FCOPY_NAME] = {0}, file[IC_FCOPY_NAME] = {0};
	const char *name;
	int err;

	name = !slash || (other && other > slash) ? other : slash;
	if (!name || !name[1])
		return -EINVAL;
	name++;
	if ((size_t)(name - path) > FCOPY_NAME_MAX || strlen(name) > FCOPY_NAME_MAX)
		return -ENAMETOOLONG;
	err = put_name(directory, path, (size_t)(name - path));
	if (!err)
		err = put_name(file, name, strlen(name));
	memcpy(start->directory, directory, sizeof(directory));
	memcpy(start->file, file, sizeof(file));
	return err;
}

int fcopy_submit(struct fcopy *f, struct fcopy_request *r, const char *path, unsigned flags)
{
	int err;

	memset(&r->message, 0, sizeof(r->message));
	err = put_path(&r->message.start, path);
	if (err)
		return err;
	if (atomic_flag_test_and_set(&f->busy))
		return -EBUSY;
	r->message.start.flags = flags;
	r->message.start.size = r->size;
	r->fcopy = f;
	r->copied = 0;
	r->cancel = false;
	err = ask(r, IC_FCOPY_START, sizeof(r->message.start));
	if (err)
		atomic_flag_clear(&f->busy);
	return err;
}

void fcopy_cancel(struct fcopy_request *r)
{
	r->cancel = true;
}

int fcopy_create(struct vmbus *bus, struct fcopy **fcopy)
{
	static const struct ic_config config = {.name = "fcopy",
		.interface = IC_FCOPY_INTERFACE,
		.instance = IC_FCOPY_INSTANCE,
		.type = IC_FCOPY,
		.versions = versions,
		.n_versions = sizeof(versions) / sizeof(versions[0]),
		.alone = true};
	struct fcopy *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	atomic_flag_clear(&f->busy);
	err = ic_create(bus, &config, &f->ic);
	if (err)
		fcopy_destroy(f);
	else
		*fcopy = f;
	return err;
}

void fcopy_destroy(struct fcopy *f)
{
	if (!f)
		return;
	ic_destroy(f->ic);
	free(f);
}

struct ic *fcopy_ic(struct fcopy *f)
{
	return f->ic;
}
