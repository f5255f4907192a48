/*
 * virtdisk_changes.c - QueryChangesVirtualDisk.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/utf16.h"
#include "disk/tracking.h"
#include "disk/virtdisk_handle.h"

DWORD WINAPI QueryChangesVirtualDisk(HANDLE VirtualDiskHandle, PCWSTR ChangeTrackingId,
	ULONG64 ByteOffset, ULONG64 ByteLength, QUERY_CHANGES_VIRTUAL_DISK_FLAG Flags,
	PQUERY_CHANGES_VIRTUAL_DISK_RANGE Ranges, PULONG RangeCount, PULONG64 ProcessedLength)
{
	struct disk_problem problem = {0};
	struct tracking_range *found;
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
	found = calloc(*RangeCount, sizeof(*found));
	errn = id && found ? tracking_query(disk_path(v->disk), id, ByteOffset, ByteLength, found,
				     RangeCount, ProcessedLength)
			   : -ENOMEM;
	tracking_problem(&problem, disk_path(v->disk), id, errn);
	vdisk_leave(v);
	for (ULONG i = 0; !errn && i < *RangeCount; i++)
		Ranges[i] = (QUERY_CHANGES_VIRTUAL_DISK_RANGE){
			.ByteOffset = found[i].offset, .ByteLength = found[i].length};
	free(found);
	free(id);
	return disk_problem_win32(&problem, errn);
}
