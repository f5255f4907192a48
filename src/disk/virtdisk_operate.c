/*
 * virtdisk_operate.c - the operations that change a disk by itself: compact, expand, resize, merge.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "disk/attach.h"
#include "disk/operations.h"
#include "disk/virtdisk_handle.h"

static void *copy(const void *from, size_t n)
{
	void *to = malloc(n);

	return to ? memcpy(to, from, n) : NULL;
}

/* Start run() with a copy of @arguments. */
static DWORD start(struct vdisk *v, LPOVERLAPPED overlapped, DWORD (*run)(struct vdisk_operation *),
	const void *arguments, size_t n)
{
	void *own = copy(arguments, n);

	return own ? vdisk_start(v, overlapped, run, own) : ERROR_NOT_ENOUGH_MEMORY;
}

/* ---- Compact --------------------------------------------------------------------------------- */

/* A disk that is attached to be written has a writer that moving blocks would race with. */
static bool is_attached_writable(struct vdisk *v)
{
	return vdisk_is_attached(v) && !v->attached_read_only;
}

static DWORD run_compact(struct vdisk_operation *o)
{
	COMPACT_VIRTUAL_DISK_FLAG flags = *(COMPACT_VIRTUAL_DISK_FLAG *)o->arguments;
	struct disk_problem problem = {0};
	struct vdisk *v = o->disk;
	struct disk_info info;
	unsigned how = 0;
	int err;

	disk_info(v->disk, &info);
	if (info.kind == DISK_FIXED)
		return ERROR_NOT_SUPPORTED;
	if (is_attached_writable(v))
		return ERROR_VHD_INVALID_STATE;
	if (!(flags & COMPACT_VIRTUAL_DISK_FLAG_NO_ZERO_SCAN))
		how |= DISK_COMPACT_ZEROS;
	if (!(flags & COMPACT_VIRTUAL_DISK_FLAG_NO_BLOCK_MOVES))
		how |= DISK_COMPACT_MOVE;
	err = disk_compact(v->disk, how, &o->progress, &problem);
	return disk_problem_win32(&problem, err);
}

DWORD WINAPI CompactVirtualDisk(HANDLE VirtualDiskHandle, COMPACT_VIRTUAL_DISK_FLAG Flags,
	PCOMPACT_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped)
{
	struct vdisk *v;
	DWORD err = vdisk_for_operation(VirtualDiskHandle, &v);

	if (err)
		return err;
	if ((Parameters && Parameters->Version != COMPACT_VIRTUAL_DISK_VERSION_1) ||
		(unsigned)Flags & ~(COMPACT_VIRTUAL_DISK_FLAG_NO_ZERO_SCAN |
					  COMPACT_VIRTUAL_DISK_FLAG_NO_BLOCK_MOVES))
		return ERROR_INVALID_PARAMETER;
	return start(v, Overlapped, run_compact, &Flags, sizeof(Flags));
}

/* ---- Expand and resize ----------------------------------------------------------------------- */

struct resize {
	uint64_t size;
	bool expand, lose, smallest, notify;
};

static DWORD smallest_size(struct vdisk *v, uint64_t *size)
{
	struct disk_info info;

	disk_info(v->disk, &info);
	*size = info.min_size;
	if (!info.min_size)
		return ERROR_VHD_COULD_NOT_COMPUTE_MINIMUM_VIRTUAL_SIZE;
	return info.min_size < info.size ? ERROR_SUCCESS
					 : ERROR_VHD_ALREADY_AT_OR_BELOW_MINIMUM_VIRTUAL_SIZE;
}

static DWORD check_expand(struct vdisk *v, const struct resize *r)
{
	struct disk_info info;

	disk_info(v->disk, &info);
	if (info.kind == DISK_DIFFERENCING)
		return ERROR_VHD_INVALID_TYPE;
	return r->size > info.size ? ERROR_SUCCESS : ERROR_INVALID_PARAMETER;
}

static DWORD run_resize(struct vdisk_operation *o)
{
	struct resize *r = o->arguments;
	struct disk_problem problem = {0};
	struct vdisk *v = o->disk;
	DWORD code = ERROR_SUCCESS;
	int err;

	if (vdisk_is_attached(v) && !(r->notify && v->attach))
		return ERROR_VHD_INVALID_STATE;
	if (r->expand)
		code = check_expand(v, r);
	else if (r->smallest)
		code = smallest_size(v, &r->size);
	if (code)
		return code;
	err = disk_resize(v->disk, r->size, r->lose, &problem);
	if (err == -ENOTEMPTY)
		return ERROR_VHD_RESIZE_WOULD_TRUNCATE_DATA;
	if (!err && v->attach)
		err = disk_attach_resized(v->attach);
	return disk_problem_win32(&problem, err);
}

DWORD WINAPI ExpandVirtualDisk(HANDLE VirtualDiskHandle, EXPAND_VIRTUAL_DISK_FLAG Flags,
	PEXPAND_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped)
{
	struct resize r = {.expand = true, .notify = Flags};
	struct vdisk *v;
	DWORD err = vdisk_for_operation(VirtualDiskHandle, &v);

	if (err)
		return err;
	if (!Parameters || Parameters->Version != EXPAND_VIRTUAL_DISK_VERSION_1 ||
		(unsigned)Flags & ~EXPAND_VIRTUAL_DISK_FLAG_NOTIFY_CHANGE)
		return ERROR_INVALID_PARAMETER;
	r.size = Parameters->Version1.NewSize;
	return start(v, Overlapped, run_resize, &r, sizeof(r));
}

DWORD WINAPI ResizeVirtualDisk(HANDLE VirtualDiskHandle, RESIZE_VIRTUAL_DISK_FLAG Flags,
	PRESIZE_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped)
{
	struct resize r = {.lose = Flags & RESIZE_VIRTUAL_DISK_FLAG_ALLOW_UNSAFE_VIRTUAL_SIZE,
		.smallest = Flags & RESIZE_VIRTUAL_DISK_FLAG_RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE};
	struct vdisk *v;
	DWORD err = vdisk_for_operation(VirtualDiskHandle, &v);

	if (err)
		return err;
	if (!Parameters || Parameters->Version != RESIZE_VIRTUAL_DISK_VERSION_1 ||
		(unsigned)Flags &
			~(RESIZE_VIRTUAL_DISK_FLAG_ALLOW_UNSAFE_VIRTUAL_SIZE |
				RESIZE_VIRTUAL_DISK_FLAG_RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE) ||
		!Parameters->Version1.NewSize != r.smallest)
		return ERROR_INVALID_PARAMETER;
	r.size = Parameters->Version1.NewSize;
	return start(v, Overlapped, run_resize, &r, sizeof(r));
}

/* ---- Merge ----------------------------------------------------------------------------------- */

/*
 * A handle whose parameters named no RWDepth gets its parents opened for writing when a merge needs
 * them. Another one must have been opened that far.
 */
static DWORD open_parents_for_writing(struct vdisk *v, unsigned into)
{
	DWORD code, again;

	if (v->how.flags & DISK_OPEN_WRITE_PARENTS)
		return into < v->how.rw_depth ? ERROR_SUCCESS : ERROR_ACCESS_DENIED;
	if (v->how.rw_depth != VDISK_DEPTH_AS_NEEDED || v->custom_chain)
		return ERROR_ACCESS_DENIED;
	code = vdisk_reopen(v, v->how.flags | DISK_OPEN_WRITE_PARENTS);
	if (code) {
		again = vdisk_reopen(v, v->how.flags & ~DISK_OPEN_WRITE_PARENTS);
		return again ? again : code;
	}
	return ERROR_SUCCESS;
}

static DWORD run_merge(struct vdisk_operation *o)
{
	const struct disk_merge *merge = o->arguments;
	struct disk_problem problem = {0};
	struct vdisk *v = o->disk;
	struct disk *at = v->disk;
	DWORD code;
	int err;

	if (vdisk_is_attached(v))
		return ERROR_VHD_INVALID_STATE;
	for (unsigned i = 0; at && i < merge->into; i++)
		at = disk_parent(at);
	if (!at)
		return ERROR_INVALID_PARAMETER;
	code = open_parents_for_writing(v, merge->into);
	if (code)
		return code;
	err = disk_merge(v->engine, v->disk, merge, &o->progress, &problem);
	return disk_problem_win32(&problem, err);
}

DWORD WINAPI MergeVirtualDisk(HANDLE VirtualDiskHandle, MERGE_VIRTUAL_DISK_FLAG Flags,
	PMERGE_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped)
{
	struct disk_merge merge = {0};
	struct vdisk *v;
	DWORD err = vdisk_for_operation(VirtualDiskHandle, &v);

	if (err)
		return err;
	if (!Parameters || Flags != MERGE_VIRTUAL_DISK_FLAG_NONE)
		return ERROR_INVALID_PARAMETER;
	switch (Parameters->Version) {
	case MERGE_VIRTUAL_DISK_VERSION_1:
		merge.into = Parameters->Version1.MergeDepth;
		break;
	case MERGE_VIRTUAL_DISK_VERSION_2: /* the leaf is 1 */
		merge.from = Parameters->Version2.MergeSourceDepth - 1;
		merge.into = Parameters->Version2.MergeTargetDepth - 1;
		break;
	default:
		return ERROR_INVALID_PARAMETER;
	}
	if (merge.into == UINT_MAX || merge.into <= merge.from)
		return ERROR_INVALID_PARAMETER;
	return start(v, Overlapped, run_merge, &merge, sizeof(merge));
}
