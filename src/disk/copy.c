/*
 * copy.c - DISK_COPY: a range of a disk into the same range of another, in the calling thread.
 *
 * The formats say where the bytes lie in both files; runs that lie together in both go from file to
 * file (disk_file_copy()) and are never seen here, unless zeros are looked for.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "disk/request.h"

/* Zeros are looked for in parts of this size, so that files do not fall into tiny pieces. */
#define GRAIN (64u << 10)
#define FIRST 4096u /* bytes of a grain that mostly tell that it is not zeros */

/* Bytes of a disk that lie together in the file of an image of its chain. */
struct run {
	struct disk_file *file;
	uint64_t file_offset;
	uint64_t offset, end; /* in the disk */
};

static int place_and_copy(struct disk *to, const struct run *run)
{
	uint64_t at = run->offset;
	int err = 0, settled = 0;

	while (at < run->end && !err && !settled) {
		struct disk_extent x = {0};

		err = to->ops->place(to, at, run->end - at, NULL, false, &x);
		if (err)
			break;
		err = disk_file_copy(&to->file, x.file_offset, run->file,
			run->file_offset + (at - run->offset), x.length);
		if (x.settle)
			settled = to->ops->settle(to, at, &x, err);
		at += x.length;
	}
	return err ? err : settled;
}

/* ---- Without the zeros ----------------------------------------------------------------------- */

/* The grain that begins at @at: its end, and is it zeros? */
static int look(const struct run *run, uint64_t at, uint8_t *room, uint64_t *end, bool *zero)
{
	uint64_t from = run->file_offset + (at - run->offset), length = GRAIN - at % GRAIN, first;
	int err;

	if (length > run->end - at)
		length = run->end - at;
	*end = at + length;
	first = length < FIRST ? length : FIRST;
	err = disk_file_read_some(run->file, room, first, from);
	*zero = !err && bytes_are_zero(room, first);
	if (!*zero || first == length)
		return err;
	err = disk_file_read_some(run->file, room, length - first, from + first);
	*zero = !err && bytes_are_zero(room, length - first);
	return err;
}

/* The next part of @run from @at on that is not zeros; it is empty at the end. */
static int find_data(const struct run *run, uint64_t at, uint8_t *room, struct run *data)
{
	uint64_t end;
	bool zero = true;
	int err = 0;

	*data = *run;
	while (at < run->end && !err && zero) {
		data->offset = at;
		err = look(run, at, room, &end, &zero);
		at = end;
	}
	if (zero)
		data->offset = run->end;
	data->end = at;
	while (data->end < run->end && !err && !zero) {
		err = look(run, data->end, room, &end, &zero);
		if (!zero)
			data->end = end;
	}
	data->file_offset = run->file_offset + (data->offset - run->offset);
	return err;
}

static int copy_data(struct disk *to, const struct run *run)
{
	uint8_t *room = aligned_alloc(FIRST, GRAIN);
	struct run data = {.end = run->offset};
	int err = room ? 0 : -ENOMEM;

	if (!err)
		disk_file_expect(run->file, run->file_offset, run->end - run->offset);
	while (!err && data.end < run->end) {
		err = find_data(run, data.end, room, &data);
		if (!err)
			err = place_and_copy(to, &data);
	}
	free(room);
	return err;
}

/* ---- Requests -------------------------------------------------------------------------------- */

static int copy_step(struct disk_request *r, const struct disk_step *s, unsigned stripe)
{
	const struct run run = {
		.file = s->at ? &s->at->file : NULL,
		.file_offset = s->file_offset,
		.offset = r->offset + r->reached,
		.end = r->offset + r->reached + s->length,
	};

	if (run.file)
		return r->skip_zeros ? copy_data(r->disk, &run) : place_and_copy(r->disk, &run);
	return r->skip_zeros ? 0 : disk_request_write_zeros(r->disk, run.offset, s->length, stripe);
}

int disk_request_copy(struct disk_request *r, unsigned stripe)
{
	int err = 0;

	while (r->reached < r->length && !err) {
		struct disk_step s;

		err = disk_step_map(
			r->from, r->offset + r->reached, r->length - r->reached, stripe, false, &s);
		if (err)
			break;
		err = copy_step(r, &s, stripe);
		disk_step_end(&s);
		r->reached += s.length;
	}
	return err;
}
