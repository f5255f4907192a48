/*
 * virtdisk_info.c - GetVirtualDiskInformation, SetVirtualDiskInformation, and user metadata.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"
#include "disk/host.h"
#include "disk/survey.h"
#include "disk/tracking.h"
#include "disk/virtdisk_handle.h"

/* ---- Getting --------------------------------------------------------------------------------- */

/* An answer under construction: the room that the caller gave, and what is needed. */
struct answer {
	GET_VIRTUAL_DISK_INFO *info;
	size_t room, used;
};

/* The answer ends behind a member; false: the caller's room does not reach there. */
#define ANSWER_IS(a, member)                                                                       \
	answer_is(a, offsetof(GET_VIRTUAL_DISK_INFO, member) +                                     \
			     sizeof(((GET_VIRTUAL_DISK_INFO *)0)->member))

static bool answer_is(struct answer *a, size_t used)
{
	a->used = used;
	return used <= a->room;
}

static DWORD answer_size(struct vdisk *v, struct answer *a)
{
	struct disk_info i;

	if (!ANSWER_IS(a, Size))
		return ERROR_INSUFFICIENT_BUFFER;
	disk_info(v->disk, &i);
	a->info->Size.VirtualSize = i.size;
	a->info->Size.PhysicalSize = i.file_size;
	a->info->Size.BlockSize = i.block_size;
	a->info->Size.SectorSize = i.logical_sector;
	return ERROR_SUCCESS;
}

static DWORD answer_guid(struct answer *a, const GUID *g)
{
	if (!ANSWER_IS(a, Identifier))
		return ERROR_INSUFFICIENT_BUFFER;
	a->info->Identifier = *g;
	return ERROR_SUCCESS;
}

static DWORD answer_ulong(struct answer *a, ULONG value)
{
	if (!ANSWER_IS(a, ProviderSubtype))
		return ERROR_INSUFFICIENT_BUFFER;
	a->info->ProviderSubtype = value;
	return ERROR_SUCCESS;
}

/* One string more behind the others, at a->used; the sum goes on being counted without room. */
static DWORD add_string(struct answer *a, const char *s)
{
	size_t at = a->used, room = at < a->room ? a->room - at : 0, used;
	DWORD err = vdisk_put_string(s, (WCHAR *)((char *)a->info + at), room, &used);

	if (err != ERROR_NOT_ENOUGH_MEMORY)
		a->used = at + used;
	return err;
}

static DWORD answer_recorded_parents(struct vdisk *v, struct answer *a)
{
	static const enum disk_locator kinds[] = {
		DISK_LOCATOR_RELATIVE, DISK_LOCATOR_ABSOLUTE, DISK_LOCATOR_VOLUME};
	DWORD err = ERROR_SUCCESS, one;
	char *path;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (disk_parent_locator(v->disk, kinds[i], &path))
			continue;
		one = add_string(a, path);
		free(path);
		if (one)
			err = one;
	}
	one = add_string(a, "");
	return one ? one : err;
}

static DWORD answer_parent_location(struct vdisk *v, struct answer *a)
{
	struct disk *parent = disk_parent(v->disk);
	char *path;
	DWORD err;

	a->used = offsetof(GET_VIRTUAL_DISK_INFO, ParentLocation.ParentLocationBuffer);
	if (a->room >= a->used)
		a->info->ParentLocation.ParentResolved = parent != NULL;
	if (!parent)
		return answer_recorded_parents(v, a);
	/* It was found from the child's folder, which need not be the shortest way. */
	path = realpath(disk_path(parent), NULL);
	err = add_string(a, path ? path : disk_path(parent));
	free(path);
	return err;
}

static DWORD answer_parent(struct vdisk *v, struct answer *a)
{
	struct disk_info i;

	disk_info(v->disk, &i);
	if (i.kind != DISK_DIFFERENCING)
		return ERROR_VHD_INVALID_TYPE;
	switch (a->info->Version) {
	case GET_VIRTUAL_DISK_INFO_PARENT_LOCATION:
		return answer_parent_location(v, a);
	case GET_VIRTUAL_DISK_INFO_PARENT_IDENTIFIER:
		return answer_guid(a, &i.parent_id);
	default: /* a property of VHD alone */
		return i.format == DISK_FORMAT_VHD ? answer_ulong(a, i.parent_time)
						   : ERROR_VHD_INVALID_TYPE;
	}
}

static DWORD answer_type(struct vdisk *v, struct answer *a)
{
	struct disk_info i;

	if (!ANSWER_IS(a, VirtualStorageType))
		return ERROR_INSUFFICIENT_BUFFER;
	disk_info(v->disk, &i);
	a->info->VirtualStorageType = vdisk_type(i.format, v->is_set);
	return ERROR_SUCCESS;
}

static DWORD answer_subtype(struct vdisk *v, struct answer *a)
{
	static const ULONG subtypes[] = {
		[DISK_FIXED] = 2, [DISK_DYNAMIC] = 3, [DISK_DIFFERENCING] = 4};
	struct disk_info i;

	disk_info(v->disk, &i);
	return answer_ulong(a, subtypes[i.kind]);
}

static DWORD answer_physical_disk(struct vdisk *v, struct answer *a)
{
	struct host_storage host;

	if (!ANSWER_IS(a, PhysicalDisk))
		return ERROR_INSUFFICIENT_BUFFER;
	host_storage(disk_path(v->disk), &host);
	a->info->PhysicalDisk.LogicalSectorSize = host.logical_sector;
	a->info->PhysicalDisk.PhysicalSectorSize = host.physical_sector;
	a->info->PhysicalDisk.IsRemote = host.remote;
	return ERROR_SUCCESS;
}

static DWORD answer_smallest_size(struct vdisk *v, struct answer *a)
{
	struct disk_info i;

	if (!ANSWER_IS(a, SmallestSafeVirtualSize))
		return ERROR_INSUFFICIENT_BUFFER;
	disk_info(v->disk, &i);
	a->info->SmallestSafeVirtualSize = i.min_size;
	return i.min_size ? ERROR_SUCCESS : ERROR_VHD_COULD_NOT_COMPUTE_MINIMUM_VIRTUAL_SIZE;
}

static DWORD answer_survey(struct vdisk *v, struct answer *a)
{
	struct disk_survey survey;
	int err = disk_survey(v->disk, &survey);

	if (err)
		return disk_problem_win32(NULL, err);
	return answer_ulong(a, a->info->Version == GET_VIRTUAL_DISK_INFO_FRAGMENTATION
				       ? survey.fragmented_percent
				       : survey.aligned_4k);
}

static DWORD answer_tracking(struct vdisk *v, struct answer *a)
{
	struct tracking_state state;
	int err = tracking_state(disk_path(v->disk), &state);

	if (err && err != -ENOENT)
		return disk_problem_win32(NULL, err);
	a->used = offsetof(GET_VIRTUAL_DISK_INFO, ChangeTrackingState.MostRecentId);
	if (a->room < a->used)
		return add_string(a, state.id);
	a->info->ChangeTrackingState.Enabled = !err;
	a->info->ChangeTrackingState.NewerChanges = !err && state.newer;
	return add_string(a, err ? "" : state.id);
}

static DWORD answer(struct vdisk *v, struct answer *a)
{
	struct disk_info i;

	switch (a->info->Version) {
	case GET_VIRTUAL_DISK_INFO_SIZE:
		return answer_size(v, a);
	case GET_VIRTUAL_DISK_INFO_IDENTIFIER:
		/* What a child's PARENT_IDENTIFIER is compared with: of a VHDX, that of its data. */
		disk_info(v->disk, &i);
		return answer_guid(a, &i.data_id);
	case GET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID:
		disk_info(v->disk, &i);
		return answer_guid(a, &i.id);
	case GET_VIRTUAL_DISK_INFO_PARENT_LOCATION:
	case GET_VIRTUAL_DISK_INFO_PARENT_IDENTIFIER:
	case GET_VIRTUAL_DISK_INFO_PARENT_TIMESTAMP:
		return answer_parent(v, a);
	case GET_VIRTUAL_DISK_INFO_VIRTUAL_STORAGE_TYPE:
		return answer_type(v, a);
	case GET_VIRTUAL_DISK_INFO_PROVIDER_SUBTYPE:
		return answer_subtype(v, a);
	case GET_VIRTUAL_DISK_INFO_PHYSICAL_DISK:
		return answer_physical_disk(v, a);
	case GET_VIRTUAL_DISK_INFO_VHD_PHYSICAL_SECTOR_SIZE:
		disk_info(v->disk, &i);
		return answer_ulong(a, i.physical_sector);
	case GET_VIRTUAL_DISK_INFO_SMALLEST_SAFE_VIRTUAL_SIZE:
		return answer_smallest_size(v, a);
	case GET_VIRTUAL_DISK_INFO_IS_4K_ALIGNED:
	case GET_VIRTUAL_DISK_INFO_FRAGMENTATION:
		return answer_survey(v, a);
	case GET_VIRTUAL_DISK_INFO_IS_LOADED:
		return answer_ulong(a, vdisk_is_attached(v));
	case GET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE:
		return answer_tracking(v, a);
	default:
		return ERROR_INVALID_PARAMETER;
	}
}

DWORD WINAPI GetVirtualDiskInformation(HANDLE VirtualDiskHandle, PULONG VirtualDiskInfoSize,
	PGET_VIRTUAL_DISK_INFO VirtualDiskInfo, PULONG SizeUsed)
{
	struct answer a = {.info = VirtualDiskInfo};
	struct vdisk *v;
	DWORD err;

	if (!VirtualDiskInfoSize || !VirtualDiskInfo ||
		*VirtualDiskInfoSize < sizeof(VirtualDiskInfo->Version))
		return ERROR_INVALID_PARAMETER;
	a.room = *VirtualDiskInfoSize;
	err = vdisk_enter(VirtualDiskHandle, VIRTUAL_DISK_ACCESS_GET_INFO, &v);
	if (err)
		return err;
	err = answer(v, &a);
	vdisk_leave(v);
	if (err == ERROR_INSUFFICIENT_BUFFER)
		*VirtualDiskInfoSize = a.used;
	if (SizeUsed && (!err || err == ERROR_INSUFFICIENT_BUFFER))
		*SizeUsed = a.used;
	return err;
}

/* ---- Setting --------------------------------------------------------------------------------- */

/* Is the image @path the one that @linkage names? */
static int check_linkage(
	struct disk_engine *e, const char *path, const GUID *linkage, struct disk_problem *problem)
{
	struct disk_open_options options = {.flags = DISK_OPEN_NO_PARENTS};
	struct disk_info info;
	struct disk *d;
	int err = disk_open(e, path, &options, &d, problem);

	if (err)
		return err;
	disk_info(d, &info);
	disk_close(d);
	return guid_equal(&info.data_id, linkage) ? 0 : -ESTALE;
}

static DWORD set_parent(struct vdisk *v, ULONG depth, PCWSTR parent, const GUID *linkage)
{
	struct disk_problem problem = {0};
	struct disk *child = v->disk;
	char *path = vdisk_path(parent);
	int err;

	while (child && --depth)
		child = disk_parent(child);
	if (!path || !child) {
		free(path);
		return ERROR_INVALID_PARAMETER;
	}
	/* With the identity given the parent must be that one; else it becomes the parent. */
	err = linkage ? check_linkage(v->engine, path, linkage, &problem) : 0;
	if (!err)
		err = disk_set_parent(child, path, true, &problem);
	free(path);
	return disk_problem_win32(&problem, err);
}

static DWORD set_tracking(struct vdisk *v, bool enabled)
{
	struct disk_problem problem = {0};
	int err = enabled ? tracking_enable(v->disk, &problem) : tracking_disable(v->disk);

	return disk_problem_win32(&problem, err);
}

static DWORD set(struct vdisk *v, const SET_VIRTUAL_DISK_INFO *info)
{
	struct disk_problem problem = {0};
	struct disk_info i;
	int err;

	switch (info->Version) {
	case SET_VIRTUAL_DISK_INFO_PARENT_PATH:
		return set_parent(v, 1, info->ParentFilePath, NULL);
	case SET_VIRTUAL_DISK_INFO_PARENT_PATH_WITH_DEPTH:
		return info->ParentPathWithDepthInfo.ChildDepth
			       ? set_parent(v, info->ParentPathWithDepthInfo.ChildDepth,
					 info->ParentPathWithDepthInfo.ParentFilePath, NULL)
			       : ERROR_INVALID_PARAMETER;
	case SET_VIRTUAL_DISK_INFO_PARENT_LOCATOR:
		return set_parent(
			v, 1, info->ParentLocator.ParentFilePath, &info->ParentLocator.LinkageId);
	case SET_VIRTUAL_DISK_INFO_IDENTIFIER:
		err = disk_set_id(v->disk, &info->UniqueIdentifier, &problem);
		return disk_problem_win32(&problem, err);
	case SET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID:
		disk_info(v->disk, &i);
		if (i.format != DISK_FORMAT_VHDX)
			return ERROR_VHD_INVALID_TYPE;
		err = disk_set_id(v->disk, &info->VirtualDiskId, &problem);
		return disk_problem_win32(&problem, err);
	case SET_VIRTUAL_DISK_INFO_PHYSICAL_SECTOR_SIZE:
		err = disk_set_physical_sector(v->disk, info->VhdPhysicalSectorSize, &problem);
		return disk_problem_win32(&problem, err);
	case SET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE:
		return set_tracking(v, info->ChangeTrackingEnabled);
	default:
		return ERROR_INVALID_PARAMETER;
	}
}

DWORD WINAPI SetVirtualDiskInformation(
	HANDLE VirtualDiskHandle, PSET_VIRTUAL_DISK_INFO VirtualDiskInfo)
{
	bool tracking;
	struct vdisk *v;
	DWORD err;

	if (!VirtualDiskInfo)
		return ERROR_INVALID_PARAMETER;
	tracking = VirtualDiskInfo->Version == SET_VIRTUAL_DISK_INFO_CHANGE_TRACKING_STATE;
	err = vdisk_claim(VirtualDiskHandle, VIRTUAL_DISK_ACCESS_METAOPS, !tracking, &v);
	if (err)
		return err;
	err = v->disk ? set(v, VirtualDiskInfo) : ERROR_VHD_INVALID_STATE;
	vdisk_unclaim(v);
	return err;
}

/* ---- User metadata --------------------------------------------------------------------------- */

DWORD WINAPI EnumerateVirtualDiskMetadata(
	HANDLE VirtualDiskHandle, PULONG NumberOfItems, GUID *Items)
{
	struct vdisk *v;
	unsigned n;
	DWORD err;
	int errn;

	if (!NumberOfItems || (*NumberOfItems && !Items))
		return ERROR_INVALID_PARAMETER;
	err = vdisk_enter(VirtualDiskHandle, VIRTUAL_DISK_ACCESS_GET_INFO, &v);
	if (err)
		return err;
	errn = disk_metadata_list(v->disk, Items, *NumberOfItems, &n);
	vdisk_leave(v);
	if (errn && errn != -ERANGE)
		return disk_problem_win32(NULL, errn);
	err = n > *NumberOfItems ? ERROR_MORE_DATA : ERROR_SUCCESS;
	*NumberOfItems = n;
	return err;
}

/* The codes that the metadata functions have of their own. */
static DWORD metadata_code(int err)
{
	switch (err) {
	case -ENOENT:
		return ERROR_NOT_FOUND;
	case -ERANGE:
		return ERROR_INSUFFICIENT_BUFFER;
	case -ENOSPC:
		return ERROR_VHD_METADATA_FULL;
	default:
		return disk_problem_win32(NULL, err);
	}
}

DWORD WINAPI GetVirtualDiskMetadata(
	HANDLE VirtualDiskHandle, const GUID *Item, PULONG MetaDataSize, PVOID MetaData)
{
	struct vdisk *v;
	DWORD err;
	int errn;

	if (!Item || !MetaDataSize || (*MetaDataSize && !MetaData))
		return ERROR_INVALID_PARAMETER;
	err = vdisk_enter(VirtualDiskHandle, VIRTUAL_DISK_ACCESS_GET_INFO, &v);
	if (err)
		return err;
	errn = disk_metadata_get(v->disk, Item, MetaData, MetaDataSize);
	vdisk_leave(v);
	return metadata_code(errn);
}

DWORD WINAPI SetVirtualDiskMetadata(
	HANDLE VirtualDiskHandle, const GUID *Item, ULONG MetaDataSize, const VOID *MetaData)
{
	struct vdisk *v;
	DWORD err;
	int errn;

	if (!Item || (MetaDataSize && !MetaData))
		return ERROR_INVALID_PARAMETER;
	err = vdisk_enter(VirtualDiskHandle, VIRTUAL_DISK_ACCESS_METAOPS, &v);
	if (err)
		return err;
	errn = disk_metadata_set(v->disk, Item, MetaData, MetaDataSize);
	vdisk_leave(v);
	return metadata_code(errn);
}

DWORD WINAPI DeleteVirtualDiskMetadata(HANDLE VirtualDiskHandle, const GUID *Item)
{
	struct vdisk *v;
	DWORD err;
	int errn;

	if (!Item)
		return ERROR_INVALID_PARAMETER;
	err = vdisk_enter(VirtualDiskHandle, VIRTUAL_DISK_ACCESS_METAOPS, &v);
	if (err)
		return err;
	errn = disk_metadata_delete(v->disk, Item);
	vdisk_leave(v);
	return metadata_code(errn);
}
