/*
 * virtdisk_changes.c - QueryChangesVirtualDisk: since a point of the change tracking, or since a
 * snapshot of a VHD set.
 *
 * A snapshot needs no change tracking. It and the present state (or another snapshot that is open)
 * are images of one tree; what differs is in the images above the one that both stand on.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/guid.h"
#include "base/utf16.h"
#include "disk/tracking.h"
#include "disk/vhdset.h"
#include "disk/virtdisk_handle.h"

/* What is asked, and the answer so far. */
struct query {
	uint64_t offset, length; /* bytes */
	struct tracking_range *ranges;
	uint32_t room, n;
	uint64_t processed;
};

/* ---- Two images of a tree -------------------------------------------------------------------- */

/* How many images of the chain of @d stand on the image @file. UINT_MAX: it is not in the chain. */
static unsigned images_above(struct disk *d, const struct stat *file)
{
	struct stat st;
	unsigned n = 0;

	for (; d; d = disk_parent(d), n++)
		if (!stat(disk_path(d), &st) && st.st_dev == file->st_dev &&
			st.st_ino == file->st_ino)
			return n;
	return UINT_MAX;
}

/* The first image of the chain of @a that is one of @b's; how many stand on it on each side. */
static int find_common(struct disk *a, struct disk *b, unsigned *above_a, unsigned *above_b)
{
	struct stat st;

	*above_a = 0;
	for (struct disk *at = a; at; at = disk_parent(at), ++*above_a) {
		if (stat(disk_path(at), &st))
			return -errno;
		*above_b = images_above(b, &st);
		if (*above_b != UINT_MAX)
			return 0;
	}
	return -ESRCH;
}

/* Whether the first @above images of @d hold what is at @at; cuts *@end to where that is so. */
static int look(struct disk *d, unsigned above, uint64_t at, uint64_t *end, bool *held)
{
	const uint64_t size = disk_size(d);
	enum disk_where where = DISK_ZEROS;
	int64_t run;

	if (!above || at >= size)
		return 0;
	run = disk_extent(d, at, *end < size ? *end : size, above - 1, &where);
	if (run < 0)
		return run;
	*held |= where != DISK_BELOW;
	*end = at + run;
	return 0;
}

static int compare(struct disk *now, struct disk *then, struct query *q)
{
	const uint64_t end = q->offset + q->length;
	unsigned above_now, above_then;
	int err = find_common(now, then, &above_now, &above_then);

	if (!err && (end < q->offset || end > disk_size(now)))
		err = -ERANGE;
	for (uint64_t at = q->offset, to; !err && at < end; at = to) {
		/* What was not there then, or is longer now. */
		bool changed = at >= disk_size(then);

		to = changed || end < disk_size(then) ? end : disk_size(then);
		err = look(now, above_now, at, &to, &changed);
		if (!err)
			err = look(then, above_then, at, &to, &changed);
		if (!err && changed && !tracking_add(q->ranges, &q->n, q->room, at, to))
			break;
		q->processed = err ? 0 : to - q->offset;
	}
	return err;
}

static int since_snapshot(struct vdisk *v, const struct vhdset_snapshot *s, struct query *q)
{
	struct disk_open_options options = {.flags = DISK_OPEN_SHARED, .format = DISK_FORMAT_VHDX};
	struct disk *then;
	int err = disk_open(v->engine, s->image, &options, &then, NULL);

	if (err)
		return err;
	err = compare(v->disk, then, q);
	disk_close(then);
	return err;
}

/* ---- The question ---------------------------------------------------------------------------- */

static int since_point(struct vdisk *v, const char *point, struct query *q)
{
	q->n = q->room;
	return tracking_query(
		disk_path(v->disk), point, q->offset, q->length, q->ranges, &q->n, &q->processed);
}

/* @id: a point; of a set also a snapshot, or what is left of one. */
static int ask(struct vdisk *v, const char *id, struct query *q)
{
	const struct vhdset_reference *reference = NULL;
	const struct vhdset_snapshot *snapshot = NULL;
	GUID g;

	if (v->set && guid_parse(id, &g)) {
		snapshot = vhdset_find(v->set, &g);
		reference = vhdset_reference(v->set, &g);
		if (!snapshot && !reference)
			return -ESRCH;
	}
	return snapshot ? since_snapshot(v, snapshot, q)
			: since_point(v, reference ? reference->point : id, q);
}

DWORD WINAPI QueryChangesVirtualDisk(HANDLE VirtualDiskHandle, PCWSTR ChangeTrackingId,
	ULONG64 ByteOffset, ULONG64 ByteLength, QUERY_CHANGES_VIRTUAL_DISK_FLAG Flags,
	PQUERY_CHANGES_VIRTUAL_DISK_RANGE Ranges, PULONG RangeCount, PULONG64 ProcessedLength)
{
	struct query q = {.offset = ByteOffset, .length = ByteLength};
	struct disk_problem problem = {0};
	struct vdisk *v;
	DWORD err;
	char *id;
	int errn;

	if (!ChangeTrackingId || !Ranges || !RangeCount || !*RangeCount || !ProcessedLength ||
		Flags != QUERY_CHANGES_VIRTUAL_DISK_FLAG_NONE)
		return ERROR_INVALID_PARAMETER;
	err = vdisk_enter(VirtualDiskHandle, VIRTUAL_DISK_ACCESS_GET_INFO, &v);
	if (err)
		return err;
	id = utf16_to_utf8(ChangeTrackingId, VIRTUAL_DISK_MAXIMUM_CHANGE_TRACKING_ID_LENGTH);
	q.room = *RangeCount;
	q.ranges = calloc(q.room, sizeof(*q.ranges));
	errn = id && q.ranges ? ask(v, id, &q) : -ENOMEM;
	tracking_problem(&problem, disk_path(v->disk), id, errn);
	vdisk_leave(v);
	for (uint32_t i = 0; !errn && i < q.n; i++)
		Ranges[i] = (QUERY_CHANGES_VIRTUAL_DISK_RANGE){
			.ByteOffset = q.ranges[i].offset, .ByteLength = q.ranges[i].length};
	*RangeCount = q.n;
	*ProcessedLength = q.processed;
	free(q.ranges);
	free(id);
	return disk_problem_win32(&problem, errn);
}
