/*
 * virtdisk.h - virtual hard disks: VHD, VHDX, VHD sets and raw images (the SDK's type ISO is not
 * one of them), with the SDK's functions.
 *
 * Every function returns a Win32 error code: ERROR_SUCCESS, or ERROR_IO_PENDING for an operation
 * that was given an OVERLAPPED and now runs in a thread of the library; its result is then found by
 * GetOverlappedResult (winbase.h) or GetVirtualDiskOperationProgress, and Overlapped->hEvent is set
 * when it ended. Parameters are read before the function returns.
 *
 * What is Linux about it:
 * - Paths are the host's, in UTF-16: u"/srv/images/a.vhdx". Relative paths are allowed.
 * - A disk that the vendor or device identifier does not name (VIRTUAL_STORAGE_TYPE_DEVICE_UNKNOWN)
 *   is recognized by its contents when it is opened, by its name when it is created.
 * - Security descriptors are ignored: new files get the process's umask.
 * - An attached disk is a file of a file system of its own (FUSE), with a loop device on it where
 *   the process may make one. The physical path is that device, or that file.
 * - The image's file is locked while a handle could write it; who cannot have the lock gets
 *   ERROR_SHARING_VIOLATION.
 *
 * Parameters that a function cannot mean are ERROR_INVALID_PARAMETER: null pointers, unknown
 * versions, unknown flags, a handle that is none. A handle that lacks the access a function asks
 * for is ERROR_ACCESS_DENIED; the access is named with each function. A handle opened with version
 * 2 or 3 of the parameters has the access that ReadOnly and GetInfoOnly imply.
 *
 * Source: MicrosoftDocs/sdk-api, virtdisk.h.
 */
#ifndef PARTITA_VIRTDISK_H
#define PARTITA_VIRTDISK_H

#include <winbase.h>
#include <winerror.h>

#include <vhd/information.h>
#include <vhd/operations.h>
#include <vhd/storage.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Handles; they are closed by CloseHandle (winbase.h). */

/*
 * OpenVirtualDisk - open an image and the chain of its parents.
 *
 * Version 1 of the parameters (and none): @VirtualDiskAccessMask says what the handle is for;
 * ATTACH_RW, CREATE and METAOPS write, the others read. RWDepth files of the chain are opened for
 * writing. Versions 2 and 3: the mask must be VIRTUAL_DISK_ACCESS_NONE; ReadOnly and GetInfoOnly
 * take its place. Flags that speak of NTFS or of the cache's layout are accepted and have no
 * effect.
 *
 * ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND, ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION;
 * ERROR_FILE_CORRUPT or a more exact ERROR_VHD_...: a damaged image;
 * ERROR_VIRTDISK_PROVIDER_NOT_FOUND: a storage type that is not known;
 * ERROR_VHD_PARENT_VHD_NOT_FOUND, ERROR_VHD_CHILD_PARENT_ID_MISMATCH: the chain is broken;
 * ERROR_NOT_FOUND: no such SnapshotId.
 */
DWORD WINAPI OpenVirtualDisk(PVIRTUAL_STORAGE_TYPE VirtualStorageType, PCWSTR Path,
	VIRTUAL_DISK_ACCESS_MASK VirtualDiskAccessMask, OPEN_VIRTUAL_DISK_FLAG Flags,
	POPEN_VIRTUAL_DISK_PARAMETERS Parameters, PHANDLE Handle);

/*
 * CreateVirtualDisk - a new image: fixed with CREATE_VIRTUAL_DISK_FLAG_FULL_PHYSICAL_ALLOCATION,
 * differencing with ParentPath, else dynamic; filled from the disk or image SourcePath if there is
 * one. With @Overlapped the handle is there at once and usable when the operation ended.
 *
 * MaximumSize: bytes, a multiple of the sector size, at least 3 MiB; 0 with ParentPath, and with
 * SourcePath 0 or at least the source's.
 * SourceLimitPath: of the source only what is in the children of that image is copied, an image of
 * its chain; with CREATE_VIRTUAL_DISK_FLAG_USE_CHANGE_TRACKING_SOURCE_LIMIT only what changed since
 * that change tracking identifier (the errors of QueryChangesVirtualDisk). The rest is zeros.
 * ERROR_FILE_EXISTS, ERROR_DISK_FULL; ERROR_INVALID_PARAMETER: sizes outside the format, both
 * ParentPath and SourcePath, a limit that is not in the source's chain, a mask other than
 * VIRTUAL_DISK_ACCESS_NONE with versions 2 and up.
 */
DWORD WINAPI CreateVirtualDisk(PVIRTUAL_STORAGE_TYPE VirtualStorageType, PCWSTR Path,
	VIRTUAL_DISK_ACCESS_MASK VirtualDiskAccessMask, PSECURITY_DESCRIPTOR SecurityDescriptor,
	CREATE_VIRTUAL_DISK_FLAG Flags, ULONG ProviderSpecificFlags,
	PCREATE_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped, PHANDLE Handle);

/*
 * AddVirtualDiskParent - open @ParentPath as the next parent of a chain that was opened with
 * OPEN_VIRTUAL_DISK_FLAG_CUSTOM_DIFF_CHAIN. ERROR_INVALID_STATE: the handle was opened otherwise,
 * or the chain is complete; ERROR_VHD_CHILD_PARENT_ID_MISMATCH: it is not that parent.
 */
DWORD WINAPI AddVirtualDiskParent(HANDLE VirtualDiskHandle, PCWSTR ParentPath);

/* Attaching */

/*
 * AttachVirtualDisk - make the disk's contents a block device. Access: ATTACH_RW, or ATTACH_RO with
 * ATTACH_VIRTUAL_DISK_FLAG_READ_ONLY. It is detached when the handle is closed, unless
 * ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME hands it to a process of its own.
 * Of the other flags:
 * - RESTRICTED_RANGE: only RestrictedLength bytes from RestrictedOffset, whole sectors;
 *   SINGLE_PARTITION: only the one partition with data (ERROR_NOT_FOUND: none, or several);
 * - NON_PNP: the kernel does not look for partitions;
 * - NO_LOCAL_HOST: the disk is held as if attached, but this host gets no device of it.
 * ERROR_VHD_INVALID_STATE: attached already; ERROR_NOT_SUPPORTED: AT_BOOT.
 */
DWORD WINAPI AttachVirtualDisk(HANDLE VirtualDiskHandle, PSECURITY_DESCRIPTOR SecurityDescriptor,
	ATTACH_VIRTUAL_DISK_FLAG Flags, ULONG ProviderSpecificFlags,
	PATTACH_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped);
/*
 * DetachVirtualDisk - flush and detach. Access: DETACH. ERROR_NOT_READY: it is not attached;
 * ERROR_BUSY: its device or file is in use.
 */
DWORD WINAPI DetachVirtualDisk(
	HANDLE VirtualDiskHandle, DETACH_VIRTUAL_DISK_FLAG Flags, ULONG ProviderSpecificFlags);
/*
 * GetVirtualDiskPhysicalPath - where the attached disk is. @DiskPathSizeInBytes: in, the room at
 * @DiskPath; out, what the path takes with its terminator. Access: GET_INFO.
 * ERROR_INSUFFICIENT_BUFFER; ERROR_DEV_NOT_EXIST: it is not attached.
 */
DWORD WINAPI GetVirtualDiskPhysicalPath(
	HANDLE VirtualDiskHandle, PULONG DiskPathSizeInBytes, PWSTR DiskPath);
/*
 * GetAllAttachedVirtualDiskPhysicalPaths - of all disks that are attached on this host and that
 * this user may see: each path with its terminator, and one terminator more. Sizes as above.
 */
DWORD WINAPI GetAllAttachedVirtualDiskPhysicalPaths(
	PULONG PathsBufferSizeInBytes, PWSTR PathsBuffer);
/*
 * GetStorageDependencyInformation - the files a virtual disk depends on, the image first, then its
 * parents. @ObjectHandle: a virtual disk's handle (with GET_STORAGE_DEPENDENCY_FLAG_DISK_HANDLE),
 * or the descriptor of an attached device or file, or of a file or directory on it
 * (PARTITA_HANDLE_FROM_FD). @StorageDependencyInfo->Version chooses the entries; @SizeUsed (may be
 * NULL) is what they take. ERROR_INSUFFICIENT_BUFFER; ERROR_VIRTDISK_NOT_VIRTUAL_DISK.
 */
DWORD WINAPI GetStorageDependencyInformation(HANDLE ObjectHandle, GET_STORAGE_DEPENDENCY_FLAG Flags,
	ULONG StorageDependencyInfoSize, PSTORAGE_DEPENDENCY_INFO StorageDependencyInfo,
	PULONG SizeUsed);

/* Information */

/*
 * GetVirtualDiskInformation - what @VirtualDiskInfo->Version asks for. @VirtualDiskInfoSize: in,
 * the bytes at @VirtualDiskInfo; @SizeUsed (may be NULL): what the answer takes. Access: GET_INFO.
 * ERROR_INSUFFICIENT_BUFFER: then *@VirtualDiskInfoSize is what is needed; ERROR_VHD_INVALID_TYPE:
 * it has no parent, or no such property.
 */
DWORD WINAPI GetVirtualDiskInformation(HANDLE VirtualDiskHandle, PULONG VirtualDiskInfoSize,
	PGET_VIRTUAL_DISK_INFO VirtualDiskInfo, PULONG SizeUsed);
/*
 * SetVirtualDiskInformation - access: METAOPS; the disk must not be attached
 * (ERROR_VHD_INVALID_STATE), except for change tracking.
 */
DWORD WINAPI SetVirtualDiskInformation(
	HANDLE VirtualDiskHandle, PSET_VIRTUAL_DISK_INFO VirtualDiskInfo);

/*
 * User metadata, items of up to 1 MiB named by GUIDs; VHDX only (ERROR_NOT_SUPPORTED).
 * Enumerate: @NumberOfItems in the room at @Items, out what there is; ERROR_INSUFFICIENT_BUFFER.
 * Get: @MetaDataSize in the room, out the item's bytes; ERROR_INSUFFICIENT_BUFFER with the item's
 * beginning in the buffer; ERROR_NOT_FOUND. Set replaces; ERROR_VHD_METADATA_FULL. Access: GET_INFO
 * to read, METAOPS to change.
 */
DWORD WINAPI EnumerateVirtualDiskMetadata(
	HANDLE VirtualDiskHandle, PULONG NumberOfItems, GUID *Items);
DWORD WINAPI GetVirtualDiskMetadata(
	HANDLE VirtualDiskHandle, const GUID *Item, PULONG MetaDataSize, PVOID MetaData);
DWORD WINAPI SetVirtualDiskMetadata(
	HANDLE VirtualDiskHandle, const GUID *Item, ULONG MetaDataSize, const VOID *MetaData);
DWORD WINAPI DeleteVirtualDiskMetadata(HANDLE VirtualDiskHandle, const GUID *Item);

/*
 * GetVirtualDiskOperationProgress - how far the operation with @Overlapped is.
 * ERROR_INVALID_PARAMETER: none was started with it on this handle.
 */
DWORD WINAPI GetVirtualDiskOperationProgress(
	HANDLE VirtualDiskHandle, LPOVERLAPPED Overlapped, PVIRTUAL_DISK_PROGRESS Progress);

/*
 * QueryChangesVirtualDisk - which parts of a range, in bytes, changed since @ChangeTrackingId was
 * the most recent identifier. @RangeCount: in the room at @Ranges, out how many were filled, in
 * order; @ProcessedLength: how far they go, ask for the rest again. More may be reported than
 * changed, never less. Of a VHD set @ChangeTrackingId may also be the GUID of a snapshot, or of one
 * that was deleted with DELETE_SNAPSHOT_VHDSET_FLAG_PERSIST_RCT. Access: GET_INFO.
 * ERROR_VHD_CHANGE_TRACKING_DISABLED, ERROR_VHD_INVALID_CHANGE_TRACKING_ID,
 * ERROR_VHD_MISSING_CHANGE_TRACKING_INFORMATION.
 */
DWORD WINAPI QueryChangesVirtualDisk(HANDLE VirtualDiskHandle, PCWSTR ChangeTrackingId,
	ULONG64 ByteOffset, ULONG64 ByteLength, QUERY_CHANGES_VIRTUAL_DISK_FLAG Flags,
	PQUERY_CHANGES_VIRTUAL_DISK_RANGE Ranges, PULONG RangeCount, PULONG64 ProcessedLength);

/*
 * Operations. All need METAOPS, and a disk that is not attached. One runs at a time on a disk
 * (ERROR_BUSY).
 */

/*
 * CompactVirtualDisk - give back what the file holds without need; blocks of zeros too, unless
 * COMPACT_VIRTUAL_DISK_FLAG_NO_ZERO_SCAN. With COMPACT_VIRTUAL_DISK_FLAG_NO_BLOCK_MOVES the file
 * stays as long as its last block says, and has holes where it can. ERROR_NOT_SUPPORTED: a fixed
 * disk. May run while the disk is attached read-only.
 */
DWORD WINAPI CompactVirtualDisk(HANDLE VirtualDiskHandle, COMPACT_VIRTUAL_DISK_FLAG Flags,
	PCOMPACT_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped);
/*
 * MergeVirtualDisk - move what children hold into one of their parents; the children are invalid
 * afterwards, and stay. The chain must have been opened with an RWDepth beyond the target.
 */
DWORD WINAPI MergeVirtualDisk(HANDLE VirtualDiskHandle, MERGE_VIRTUAL_DISK_FLAG Flags,
	PMERGE_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped);
/* ExpandVirtualDisk - a larger virtual size. ERROR_INVALID_PARAMETER: not larger. */
DWORD WINAPI ExpandVirtualDisk(HANDLE VirtualDiskHandle, EXPAND_VIRTUAL_DISK_FLAG Flags,
	PEXPAND_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped);
/*
 * ResizeVirtualDisk - another virtual size. ERROR_VHD_RESIZE_WOULD_TRUNCATE_DATA: smaller than
 * SmallestSafeVirtualSize, without RESIZE_VIRTUAL_DISK_FLAG_ALLOW_UNSAFE_VIRTUAL_SIZE. With
 * RESIZE_VIRTUAL_DISK_FLAG_RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE NewSize must be 0;
 * ERROR_VHD_COULD_NOT_COMPUTE_MINIMUM_VIRTUAL_SIZE,
 * ERROR_VHD_ALREADY_AT_OR_BELOW_MINIMUM_VIRTUAL_SIZE.
 */
DWORD WINAPI ResizeVirtualDisk(HANDLE VirtualDiskHandle, RESIZE_VIRTUAL_DISK_FLAG Flags,
	PRESIZE_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped);
/*
 * MirrorVirtualDisk - copy the disk to another image, and from then on write both. @Overlapped is
 * required; the operation goes on until BreakMirrorVirtualDisk, which makes the handle stand for
 * the mirror alone, or CancelIoEx, which leaves the original. When CurrentValue reaches
 * CompletionValue the two are equal. Works on a disk that this handle has attached, whose device
 * goes on with the mirror. With MIRROR_VIRTUAL_DISK_FLAG_SKIP_MIRROR_ACTIVATION both are whole
 * after the break, and the handle stands for the original.
 */
DWORD WINAPI MirrorVirtualDisk(HANDLE VirtualDiskHandle, MIRROR_VIRTUAL_DISK_FLAG Flags,
	PMIRROR_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped);
/* BreakMirrorVirtualDisk - ERROR_VHD_INVALID_STATE: there is no mirror, or it is not equal yet. */
DWORD WINAPI BreakMirrorVirtualDisk(HANDLE VirtualDiskHandle);
/*
 * ForkVirtualDisk - as MirrorVirtualDisk; CompleteForkVirtualDisk ends it with two independent
 * disks of equal contents, and the handle stands for the original.
 */
DWORD WINAPI ForkVirtualDisk(HANDLE VirtualDiskHandle, FORK_VIRTUAL_DISK_FLAG Flags,
	const FORK_VIRTUAL_DISK_PARAMETERS *Parameters, LPOVERLAPPED Overlapped);
DWORD WINAPI CompleteForkVirtualDisk(HANDLE VirtualDiskHandle);

/*
 * VHD sets: a file that names the images of one disk's snapshots and of its present state. The
 * handle must be one of a set (ERROR_VHD_INVALID_TYPE), opened to be written.
 */

/*
 * TakeSnapshotVhdSet - keep the present state as snapshot SnapshotId; writes go to a new
 * differencing image from then on. ERROR_ALREADY_EXISTS.
 */
DWORD WINAPI TakeSnapshotVhdSet(HANDLE VirtualDiskHandle,
	const PTAKE_SNAPSHOT_VHDSET_PARAMETERS Parameters, TAKE_SNAPSHOT_VHDSET_FLAG Flags);
/*
 * DeleteSnapshotVhdSet - forget a snapshot; its image is merged with the one that depends on it.
 * With DELETE_SNAPSHOT_VHDSET_FLAG_PERSIST_RCT its GUID stays a point that
 * QueryChangesVirtualDisk knows, until ModifyVhdSet removes that; for this the disk must have been
 * tracked when the snapshot was taken (ERROR_VHD_CHANGE_TRACKING_DISABLED), and the present state
 * go on from it (ERROR_VHD_MISSING_CHANGE_TRACKING_INFORMATION). ERROR_NOT_FOUND.
 */
DWORD WINAPI DeleteSnapshotVhdSet(HANDLE VirtualDiskHandle,
	const PDELETE_SNAPSHOT_VHDSET_PARAMETERS Parameters, DELETE_SNAPSHOT_VHDSET_FLAG Flags);
/*
 * ModifyVhdSet - change entries of the file and nothing else: a snapshot's path, a snapshot's
 * removal, the path of the present state's image.
 */
DWORD WINAPI ModifyVhdSet(HANDLE VirtualDiskHandle, const PMODIFY_VHDSET_PARAMETERS Parameters,
	MODIFY_VHDSET_FLAG Flags);
/*
 * ApplySnapshotVhdSet - the disk becomes what it was at SnapshotId. The present state is kept as
 * writeable snapshot LeafSnapshotId, or dropped if that is zero.
 */
DWORD WINAPI ApplySnapshotVhdSet(HANDLE VirtualDiskHandle,
	const PAPPLY_SNAPSHOT_VHDSET_PARAMETERS Parameters, APPLY_SNAPSHOT_VHDSET_FLAG Flags);

/*
 * RawSCSIVirtualDisk - give the disk a SCSI command. ERROR_SUCCESS says only that it was received;
 * @Response has the SCSI status. A command that writes needs a handle that may.
 */
DWORD WINAPI RawSCSIVirtualDisk(HANDLE VirtualDiskHandle,
	const PRAW_SCSI_VIRTUAL_DISK_PARAMETERS Parameters, RAW_SCSI_VIRTUAL_DISK_FLAG Flags,
	PRAW_SCSI_VIRTUAL_DISK_RESPONSE Response);

#ifdef __cplusplus
}
#endif

#endif
