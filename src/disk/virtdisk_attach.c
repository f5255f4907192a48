/*
 * virtdisk_attach.c - AttachVirtualDisk and its kin: disks as block devices of this host.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/attach.h"
#include "disk/partition.h"
#include "disk/virtdisk_handle.h"

/*
 * Flags that speak of Windows' drive letters, security and mount manager have nothing to do here: a
 * block device is all that a volume needs to be mounted.
 */
#define FLAGS_KNOWN                                                                                \
	(ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY | ATTACH_VIRTUAL_DISK_FLAG_NO_DRIVE_LETTER |           \
		ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME |                                      \
		ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST |                                           \
		ATTACH_VIRTUAL_DISK_FLAG_NO_SECURITY_DESCRIPTOR |                                  \
		ATTACH_VIRTUAL_DISK_FLAG_BYPASS_DEFAULT_ENCRYPTION_POLICY |                        \
		ATTACH_VIRTUAL_DISK_FLAG_NON_PNP | ATTACH_VIRTUAL_DISK_FLAG_RESTRICTED_RANGE |     \
		ATTACH_VIRTUAL_DISK_FLAG_SINGLE_PARTITION |                                        \
		ATTACH_VIRTUAL_DISK_FLAG_REGISTER_VOLUME | ATTACH_VIRTUAL_DISK_FLAG_AT_BOOT)

/* An attachment to be made. */
struct attaching {
	ATTACH_VIRTUAL_DISK_FLAG flags;
	struct disk_attach_options options;
};

/* ---- Attach ---------------------------------------------------------------------------------- */

/* A process of its own has the image from now on; the handle keeps a look at it. */
static DWORD attach_permanently(struct vdisk *v, const struct disk_attach_options *options)
{
	struct disk_problem problem = {0};
	char *image = strdup(disk_path(v->disk));
	unsigned flags = v->how.flags;
	DWORD code = image ? ERROR_SUCCESS : ERROR_NOT_ENOUGH_MEMORY;
	int err;

	if (code)
		return code;
	pthread_rwlock_wrlock(&v->use);
	code = vdisk_close_disk(v);
	pthread_rwlock_unlock(&v->use);
	err = disk_attach_spawn(image, options, &problem);
	free(image);
	if (!code)
		code = disk_problem_win32(&problem, err);
	if (!code)
		flags = DISK_OPEN_SHARED;
	if (vdisk_reopen(v, flags) && !code)
		code = ERROR_VHD_INVALID_STATE;
	return code;
}

/* The part of the disk that has its only data. */
static DWORD find_partition(struct vdisk *v, struct disk_attach_options *options)
{
	struct disk_partition only;
	int err = disk_partition_find(v->disk, 0, &only, NULL);

	if (err == -ENOENT || err == -EINVAL)
		return ERROR_NOT_FOUND;
	options->offset = only.offset;
	options->length = only.length;
	return disk_problem_win32(NULL, err);
}

static DWORD run_attach(struct vdisk_operation *o)
{
	struct attaching *a = o->arguments;
	struct disk_problem problem = {0};
	struct vdisk *v = o->disk;
	DWORD code = ERROR_SUCCESS;
	int err;

	if (vdisk_is_attached(v))
		return ERROR_VHD_INVALID_STATE;
	disk_attach_free(v->attach);
	v->attach = NULL;
	if (a->flags & ATTACH_VIRTUAL_DISK_FLAG_SINGLE_PARTITION)
		code = find_partition(v, &a->options);
	if (code)
		return code;
	v->attached_read_only = a->options.read_only;
	if (a->flags & ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST) {
		v->attached_nowhere = true;
		return ERROR_SUCCESS;
	}
	if (a->flags & ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME)
		return attach_permanently(v, &a->options);
	err = disk_attach_start(v->engine, v->disk, &a->options, &v->attach, &problem);
	code = disk_problem_win32(&problem, err);
	return err == -EALREADY ? ERROR_VHD_INVALID_STATE : code;
}

/* What contradicts itself, and what nothing here can do. */
static DWORD check_flags(ATTACH_VIRTUAL_DISK_FLAG flags, const ATTACH_VIRTUAL_DISK_PARAMETERS *p)
{
	const bool range = flags & ATTACH_VIRTUAL_DISK_FLAG_RESTRICTED_RANGE;
	const bool nowhere = flags & ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST;

	if ((unsigned)flags & ~FLAGS_KNOWN ||
		(p && p->Version != ATTACH_VIRTUAL_DISK_VERSION_1 &&
			p->Version != ATTACH_VIRTUAL_DISK_VERSION_2))
		return ERROR_INVALID_PARAMETER;
	if (range && (!p || p->Version != ATTACH_VIRTUAL_DISK_VERSION_2 ||
			     !p->Version2.RestrictedLength ||
			     flags & ATTACH_VIRTUAL_DISK_FLAG_SINGLE_PARTITION))
		return ERROR_INVALID_PARAMETER;
	/* What this process holds back ends with it, and what begins with the host does not. */
	if ((nowhere && flags & ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME) ||
		flags & ATTACH_VIRTUAL_DISK_FLAG_AT_BOOT)
		return ERROR_NOT_SUPPORTED;
	return ERROR_SUCCESS;
}

DWORD WINAPI AttachVirtualDisk(HANDLE VirtualDiskHandle, PSECURITY_DESCRIPTOR SecurityDescriptor,
	ATTACH_VIRTUAL_DISK_FLAG Flags, ULONG ProviderSpecificFlags,
	PATTACH_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped)
{
	struct vdisk *v = vdisk_from(VirtualDiskHandle);
	struct attaching *a;
	DWORD err;
	uint32_t access = Flags & ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY
				  ? VIRTUAL_DISK_ACCESS_ATTACH_RO | VIRTUAL_DISK_ACCESS_ATTACH_RW
				  : VIRTUAL_DISK_ACCESS_ATTACH_RW;

	if (!v || ProviderSpecificFlags)
		return ERROR_INVALID_PARAMETER;
	if (!(v->access & access))
		return ERROR_ACCESS_DENIED;
	err = check_flags(Flags, Parameters);
	if (err)
		return err;
	a = calloc(1, sizeof(*a));
	if (!a)
		return ERROR_NOT_ENOUGH_MEMORY;
	a->flags = Flags;
	a->options.read_only = Flags & ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY;
	a->options.no_partitions = Flags & ATTACH_VIRTUAL_DISK_FLAG_NON_PNP;
	if (Flags & ATTACH_VIRTUAL_DISK_FLAG_RESTRICTED_RANGE) {
		a->options.offset = Parameters->Version2.RestrictedOffset;
		a->options.length = Parameters->Version2.RestrictedLength;
	}
	return vdisk_start(v, Overlapped, run_attach, a);
}

/* ---- Detach ---------------------------------------------------------------------------------- */

static DWORD detach_elsewhere(struct vdisk *v)
{
	struct disk_problem problem = {0};
	struct disk_attached *found;
	int err = disk_attached_find(disk_path(v->disk), &found);

	if (err)
		return err == -ENOENT ? ERROR_NOT_READY : disk_problem_win32(NULL, err);
	err = disk_attached_detach(found, &problem);
	disk_attached_free(found, 1);
	return err == -EBUSY ? ERROR_BUSY : disk_problem_win32(&problem, err);
}

DWORD WINAPI DetachVirtualDisk(
	HANDLE VirtualDiskHandle, DETACH_VIRTUAL_DISK_FLAG Flags, ULONG ProviderSpecificFlags)
{
	struct vdisk *v;
	DWORD err;

	if (Flags != DETACH_VIRTUAL_DISK_FLAG_NONE || ProviderSpecificFlags)
		return ERROR_INVALID_PARAMETER;
	err = vdisk_claim(VirtualDiskHandle, VIRTUAL_DISK_ACCESS_DETACH, false, &v);
	if (err)
		return err;
	if (!v->disk)
		err = ERROR_VHD_INVALID_STATE;
	else if (vdisk_is_attached_here(v))
		err = vdisk_detach(v);
	else
		err = detach_elsewhere(v);
	vdisk_unclaim(v);
	return err;
}

/* ---- Where it is ----------------------------------------------------------------------------- */

static DWORD put_path(const char *path, PULONG size, PWSTR to)
{
	size_t used = 0;
	DWORD err = vdisk_put_string(path, to, to ? *size : 0, &used);

	*size = used;
	return err;
}

static const char *place_of(const struct disk_attached *a)
{
	return a->device ? a->device : a->file;
}

DWORD WINAPI GetVirtualDiskPhysicalPath(
	HANDLE VirtualDiskHandle, PULONG DiskPathSizeInBytes, PWSTR DiskPath)
{
	struct disk_attached *found;
	struct vdisk *v;
	DWORD err;

	if (!DiskPathSizeInBytes)
		return ERROR_INVALID_PARAMETER;
	err = vdisk_enter(VirtualDiskHandle, VIRTUAL_DISK_ACCESS_GET_INFO, &v);
	if (err)
		return err;
	if (disk_attached_find(disk_path(v->disk), &found)) {
		err = ERROR_DEV_NOT_EXIST;
	} else {
		err = put_path(place_of(found), DiskPathSizeInBytes, DiskPath);
		disk_attached_free(found, 1);
	}
	vdisk_leave(v);
	return err;
}

/* One more string at *@used of @to; what there is no room for is counted. */
static DWORD add_path(const char *path, size_t room, PWSTR to, size_t *used)
{
	size_t at = *used, n = 0;
	DWORD err = vdisk_put_string(
		path, (WCHAR *)((char *)to + at), to && at < room ? room - at : 0, &n);

	*used += n;
	return err;
}

DWORD WINAPI GetAllAttachedVirtualDiskPhysicalPaths(
	PULONG PathsBufferSizeInBytes, PWSTR PathsBuffer)
{
	struct disk_attached *list;
	DWORD err = ERROR_SUCCESS, one;
	size_t used = 0;
	unsigned n;
	int errn;

	if (!PathsBufferSizeInBytes)
		return ERROR_INVALID_PARAMETER;
	errn = disk_attached_list(&list, &n);
	if (errn)
		return disk_problem_win32(NULL, errn);
	for (unsigned i = 0; i < n; i++) {
		one = add_path(place_of(&list[i]), *PathsBufferSizeInBytes, PathsBuffer, &used);
		err = one ? one : err;
	}
	one = add_path("", *PathsBufferSizeInBytes, PathsBuffer, &used);
	disk_attached_free(list, n);
	*PathsBufferSizeInBytes = used;
	return one ? one : err;
}
