/*
 * vhdx_overlay.c - the replayed log of a file that is not written (vhdx_overlay.h), and reading a
 * file's tables through it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/vhdx_overlay.h"

#define ZEROS UINT32_MAX

/* One change. */
struct change {
	uint64_t start, end; /* bytes of the file */
	uint32_t sector;     /* which of the overlay's sectors, or ZEROS */
};

/*
 * When finished: segment i is the file from bounds[i] to bounds[i + 1], all of it as top[i] has it,
 * an index of a change, or as in the file (NOTHING).
 */
struct vhdx_overlay {
	struct change *changes;
	uint8_t (*sectors)[VHDX_LOG_SECTOR];
	uint32_t n_changes, room_changes;
	uint32_t n_sectors, room_sectors;

	uint64_t *bounds;
	uint32_t *top;
	uint32_t n_bounds;
};

#define NOTHING UINT32_MAX

struct vhdx_overlay *vhdx_overlay_new(void)
{
	return calloc(1, sizeof(struct vhdx_overlay));
}

void vhdx_overlay_free(struct vhdx_overlay *o)
{
	if (!o)
		return;
	free(o->changes);
	free(o->sectors);
	free(o->bounds);
	free(o->top);
	free(o);
}

/* Room for one more of @n elements of @size bytes. */
static int grow(void *array, uint32_t n, uint32_t *room, size_t size)
{
	uint32_t more = *room ? *room * 2 : 64;
	void *moved;

	if (n < *room)
		return 0;
	if (*room > UINT32_MAX / 4)
		return -ENOMEM;
	moved = realloc(*(void **)array, more * size);
	if (!moved)
		return -ENOMEM;
	*(void **)array = moved;
	*room = more;
	return 0;
}

static int add_change(struct vhdx_overlay *o, uint64_t start, uint64_t end, uint32_t sector)
{
	int r = grow(&o->changes, o->n_changes, &o->room_changes, sizeof(*o->changes));

	if (!r)
		o->changes[o->n_changes++] = (struct change){start, end, sector};
	return r;
}

int vhdx_overlay_add(struct vhdx_overlay *o, uint64_t offset, const void *data)
{
	int r = grow(&o->sectors, o->n_sectors, &o->room_sectors, sizeof(*o->sectors));

	if (r)
		return r;
	memcpy(o->sectors[o->n_sectors], data, sizeof(*o->sectors));
	return add_change(o, offset, offset + sizeof(*o->sectors), o->n_sectors++);
}

int vhdx_overlay_add_zeros(struct vhdx_overlay *o, uint64_t offset, uint64_t length)
{
	return length ? add_change(o, offset, offset + length, ZEROS) : 0;
}

/* ---- Finishing ------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The last of bounds that is at most @offset; there is one. */
static uint32_t find_bound(const struct vhdx_overlay *o, uint64_t offset)
{
	uint32_t low = 0, high = o->n_bounds;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (o->bounds[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static void collect_bounds(struct vhdx_overlay *o)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < o->n_changes; i++) {
		o->bounds[n++] = o->changes[i].start;
		o->bounds[n++] = o->changes[i].end;
	}
	qsort(o->bounds, n, sizeof(*o->bounds), by_value);
	o->n_bounds = 0;
	for (uint32_t i = 0; i < n; i++)
		if (!i || o->bounds[i] != o->bounds[i - 1])
			o->bounds[o->n_bounds++] = o->bounds[i];
}

/* The first segment from @i on that nothing is on top of yet; shortens the way for the next. */
static uint32_t free_segment(uint32_t *next, uint32_t i)
{
	while (next[i] != i) {
		next[i] = next[next[i]];
		i = next[i];
	}
	return i;
}

int vhdx_overlay_finish(struct vhdx_overlay *o)
{
	size_t n = 2 * (size_t)o->n_changes + 1;
	uint32_t *next = malloc(n * sizeof(*next));

	o->bounds = malloc(n * sizeof(*o->bounds));
	o->top = malloc(n * sizeof(*o->top));
	if (!next || !o->bounds || !o->top) {
		free(next);
		return -ENOMEM;
	}
	collect_bounds(o);
	for (uint32_t i = 0; i <= o->n_bounds; i++) {
		next[i] = i;
		o->top[i] = NOTHING;
	}
	/* The latest change first: a segment belongs to whoever comes to it first. */
	for (uint32_t c = o->n_changes; c-- > 0;) {
		uint32_t end = find_bound(o, o->changes[c].end);
		uint32_t i = find_bound(o, o->changes[c].start);

		while ((i = free_segment(next, i)) < end) {
			o->top[i] = c;
			next[i] = i + 1;
		}
	}
	free(next);
	return 0;
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* What is at @offset, and how many of @length bytes from there are of the same change. */
static uint64_t look(const struct vhdx_overlay *o, uint64_t offset, uint64_t length,
	const struct change **change)
{
	uint64_t end = UINT64_MAX;
	uint32_t i;

	*change = NULL;
	if (o && o->n_bounds && offset < o->bounds[0]) {
		end = o->bounds[0];
	} else if (o && o->n_bounds) {
		i = find_bound(o, offset);
		if (i + 1 < o->n_bounds) {
			end = o->bounds[i + 1];
			if (o->top[i] != NOTHING)
				*change = &o->changes[o->top[i]];
		}
	}
	return length < end - offset ? length : end - offset;
}

uint64_t vhdx_overlay_run(
	const struct vhdx *v, uint64_t offset, uint64_t length, enum vhdx_run *run)
{
	uint64_t end = v->disk.file.size;
	const struct change *c;
	uint64_t n = look(v->overlay, offset, length, &c);

	/* The file is what the log makes it, also where it has yet to grow. */
	if (!c && v->overlay && offset < end && n > end - offset)
		n = end - offset;
	if (!c && v->overlay && offset >= end) {
		*run = VHDX_RUN_ZERO;
		return n;
	}
	*run = !c ? VHDX_RUN_FILE : c->sector == ZEROS ? VHDX_RUN_ZERO : VHDX_RUN_LOG;
	return n;
}

int vhdx_read(struct vhdx *v, void *buffer, uint64_t length, uint64_t offset)
{
	const struct change *c;
	uint8_t *to = buffer;
	uint64_t n;
	int r;

	for (; length; length -= n, offset += n, to += n) {
		n = look(v->overlay, offset, length, &c);
		if (!c) {
			r = disk_file_read_some(&v->disk.file, to, n, offset);
			if (r)
				return r;
		} else if (c->sector == ZEROS) {
			memset(to, 0, n);
		} else {
			memcpy(to, v->overlay->sectors[c->sector] + (offset - c->start), n);
		}
	}
	return 0;
}
