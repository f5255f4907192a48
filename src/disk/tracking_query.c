/*
 * tracking_query.c - asking a change tracking file: its last point, and what changed since one. For
 * anybody, also while another process writes the disk: that one's marks are in the file before the
 * change is in the image.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/guid.h"
#include "disk/tracking_file.h"
#include "winerror.h"

#define BATCH 16384 /* chunks that are read at once */

static int open_file(const char *image, struct tracking_file *f)
{
	char *path = tracking_path(image);
	int fd, err;

	if (!path)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	err = fd < 0 ? -errno : tracking_file_open(f, fd, false);
	free(path);
	if (err)
		return err;
	/* Nobody has it open for writing, and it is not of this image as it is. */
	if (f->alone && (!(f->h.flags & TRACKING_CLEAN) || !tracking_file_is_current(f, image)))
		tracking_file_all_changed(f);
	return 0;
}

/* ---- Identifiers ----------------------------------------------------------------------------- */

static void format_id(const GUID *g, uint32_t generation, char id[TRACKING_ID])
{
	char text[GUID_TEXT];

	guid_format(g, text);
	for (char *c = text; *c; c++)
		if (*c == '-')
			*c = ':';
	snprintf(id, TRACKING_ID, "rctX:%s:%08" PRIx32, text, generation);
}

static int parse_id(const char *id, GUID *g, uint32_t *generation)
{
	char text[GUID_TEXT], *end;
	unsigned long n;

	if (strncmp(id, "rctX:", 5) || strlen(id) != 5 + GUID_TEXT - 1 + 9)
		return -EINVAL;
	memcpy(text, id + 5, GUID_TEXT - 1);
	text[GUID_TEXT - 1] = '\0';
	for (char *c = text; *c; c++)
		if (*c == ':')
			*c = '-';
	id += 5 + GUID_TEXT - 1;
	if (!guid_parse(text, g) || *id++ != ':' || strspn(id, "0123456789abcdefABCDEF") != 8)
		return -EINVAL;
	n = strtoul(id, &end, 16);
	*generation = n;
	return 0;
}

int tracking_state(const char *path, struct tracking_state *state)
{
	struct tracking_file f;
	int err = open_file(path, &f);

	if (err)
		return err;
	format_id(&f.h.id, f.h.current - 1, state->id);
	state->newer = f.h.flags & TRACKING_NEWER;
	tracking_file_close(&f);
	return 0;
}

int tracking_problem(struct disk_problem *p, const char *path, const char *id, int err)
{
	static const struct {
		int err;
		uint32_t win32;
		const char *text;
	} reasons[] = {
		{-ENOENT, ERROR_VHD_CHANGE_TRACKING_DISABLED,
			"it is not tracked; begin with 'partita disk changes --enable'"},
		{-EINVAL, ERROR_VHD_INVALID_CHANGE_TRACKING_ID, "no identifier of a point: "},
		{-ESRCH, ERROR_VHD_MISSING_CHANGE_TRACKING_INFORMATION,
			"not a point of this disk that is known: "},
		{-ERANGE, ERROR_INVALID_PARAMETER, "the range is not inside the disk"},
		{-EUCLEAN, ERROR_CTLOG_INCONSISTENT_TRACKING_FILE,
			"its change tracking file is damaged"},
	};

	for (size_t i = 0; p && !p->win32 && i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].err != err)
			continue;
		disk_problem_say(p, path, err, "%s%s", reasons[i].text,
			id && (err == -EINVAL || err == -ESRCH) ? id : "");
		p->win32 = reasons[i].win32;
	}
	return err;
}

/* ---- Changes --------------------------------------------------------------------------------- */

struct query {
	struct tracking_file file;
	uint32_t since;
	uint64_t begin, end; /* bytes of the disk that are asked for */
	struct tracking_range *ranges;
	uint32_t room, n;
	uint64_t processed; /* up to here, from begin */
};

bool tracking_add(
	struct tracking_range *ranges, uint32_t *n, uint32_t room, uint64_t from, uint64_t to)
{
	struct tracking_range *last = *n ? &ranges[*n - 1] : NULL;

	if (last && last->offset + last->length == from) {
		last->length += to - from;
		return true;
	}
	if (*n == room)
		return false;
	ranges[(*n)++] = (struct tracking_range){from, to - from};
	return true;
}

/* Look at @n chunks from @first; 1: no more room. */
static int look(struct query *q, uint64_t first, uint64_t n, uint32_t *generations)
{
	uint64_t size = q->file.h.chunk_size;
	int err = tracking_file_read(&q->file, first, n, generations);

	for (uint64_t i = 0; !err && i < n; i++) {
		uint64_t from = (first + i) * size, to = from + size;

		if (from < q->begin)
			from = q->begin;
		if (to > q->end)
			to = q->end;
		if (generations[i] > q->since && !tracking_add(q->ranges, &q->n, q->room, from, to))
			return 1;
		q->processed = to - q->begin;
	}
	return err;
}

static int look_at_all(struct query *q)
{
	uint32_t *generations = malloc(BATCH * sizeof(uint32_t));
	uint64_t first = q->begin / q->file.h.chunk_size;
	uint64_t end = (q->end + q->file.h.chunk_size - 1) / q->file.h.chunk_size;
	int err = generations ? 0 : -ENOMEM;

	while (!err && first < end) {
		uint64_t n = end - first < BATCH ? end - first : BATCH;

		err = look(q, first, n, generations);
		first += n;
	}
	free(generations);
	return err < 0 ? err : 0;
}

int tracking_query(const char *path, const char *id, uint64_t offset, uint64_t length,
	struct tracking_range *ranges, uint32_t *n, uint64_t *processed)
{
	struct query q = {.begin = offset, .end = offset + length, .ranges = ranges, .room = *n};
	GUID g;
	int err = parse_id(id, &g, &q.since);

	if (!err)
		err = open_file(path, &q.file);
	if (err)
		return err;
	if (!tracking_file_knows(&q.file, &g, q.since))
		err = -ESRCH;
	else if (q.end < offset || q.end > q.file.h.disk_size)
		err = -ERANGE;
	else
		err = look_at_all(&q);
	tracking_file_close(&q.file);
	*n = q.n;
	*processed = q.processed;
	return err;
}
