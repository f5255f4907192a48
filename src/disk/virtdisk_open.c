/*
 * virtdisk_open.c - OpenVirtualDisk and AddVirtualDiskParent.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"
#include "disk/attach.h"
#include "disk/vhdset.h"
#include "disk/virtdisk_handle.h"

#define FLAGS_KNOWN                                                                                \
	(OPEN_VIRTUAL_DISK_FLAG_NO_PARENTS | OPEN_VIRTUAL_DISK_FLAG_BLANK_FILE |                   \
		OPEN_VIRTUAL_DISK_FLAG_BOOT_DRIVE | OPEN_VIRTUAL_DISK_FLAG_CACHED_IO |             \
		OPEN_VIRTUAL_DISK_FLAG_CUSTOM_DIFF_CHAIN |                                         \
		OPEN_VIRTUAL_DISK_FLAG_PARENT_CACHED_IO |                                          \
		OPEN_VIRTUAL_DISK_FLAG_VHDSET_FILE_ONLY |                                          \
		OPEN_VIRTUAL_DISK_FLAG_IGNORE_RELATIVE_PARENT_LOCATOR |                            \
		OPEN_VIRTUAL_DISK_FLAG_NO_WRITE_HARDENING |                                        \
		OPEN_VIRTUAL_DISK_FLAG_SUPPORT_COMPRESSED_VOLUMES |                                \
		OPEN_VIRTUAL_DISK_FLAG_SUPPORT_SPARSE_FILES_ANY_FS |                               \
		OPEN_VIRTUAL_DISK_FLAG_SUPPORT_ENCRYPTED_FILES)
/* The caller finds the parents, or nobody does. */
#define FLAGS_NO_PARENTS                                                                           \
	(OPEN_VIRTUAL_DISK_FLAG_NO_PARENTS | OPEN_VIRTUAL_DISK_FLAG_CUSTOM_DIFF_CHAIN)

#define ACCESS_READS_DATA (VDISK_ACCESS_WRITES | VIRTUAL_DISK_ACCESS_ATTACH_RO)

/* The members of all versions. */
struct request {
	uint32_t access, flags;
	ULONG rw_depth;
	GUID snapshot;
};

static DWORD read_parameters(const OPEN_VIRTUAL_DISK_PARAMETERS *p, struct request *r)
{
	BOOL info_only, read_only;

	if (!p || p->Version == OPEN_VIRTUAL_DISK_VERSION_1) {
		r->rw_depth = p ? p->Version1.RWDepth : OPEN_VIRTUAL_DISK_RW_DEPTH_DEFAULT;
		return r->access ? ERROR_SUCCESS : ERROR_INVALID_PARAMETER;
	}
	if (r->access != VIRTUAL_DISK_ACCESS_NONE)
		return ERROR_INVALID_PARAMETER;
	switch (p->Version) {
	case OPEN_VIRTUAL_DISK_VERSION_2:
		info_only = p->Version2.GetInfoOnly;
		read_only = p->Version2.ReadOnly;
		break;
	case OPEN_VIRTUAL_DISK_VERSION_3:
		info_only = p->Version3.GetInfoOnly;
		read_only = p->Version3.ReadOnly;
		r->snapshot = p->Version3.SnapshotId;
		break;
	default:
		return ERROR_INVALID_PARAMETER;
	}
	r->rw_depth = VDISK_DEPTH_AS_NEEDED;
	if (info_only)
		r->access = VIRTUAL_DISK_ACCESS_GET_INFO | VIRTUAL_DISK_ACCESS_DETACH;
	else if (read_only)
		r->access = VIRTUAL_DISK_ACCESS_READ;
	else
		r->access = VIRTUAL_DISK_ACCESS_ALL;
	return ERROR_SUCCESS;
}

static unsigned open_flags(const struct request *r)
{
	unsigned flags = 0;

	if (r->flags & (FLAGS_NO_PARENTS | OPEN_VIRTUAL_DISK_FLAG_IGNORE_RELATIVE_PARENT_LOCATOR))
		flags |= DISK_OPEN_NO_PARENTS;
	if (r->access & VDISK_ACCESS_WRITES && r->rw_depth > 0)
		flags |= DISK_OPEN_WRITE;
	if (flags & DISK_OPEN_WRITE && r->rw_depth > 1 && r->rw_depth != VDISK_DEPTH_AS_NEEDED)
		flags |= DISK_OPEN_WRITE_PARENTS;
	return flags;
}

static bool is_attached(const char *path)
{
	struct disk_attached *found;
	bool attached = disk_attached_find(path, &found) == 0;

	if (attached)
		disk_attached_free(found, 1);
	return attached;
}

/*
 * Information and detaching are allowed while somebody else has the image locked, as an attached
 * disk's server has; what is then read is what the file says at this moment. Of an attached disk a
 * handle that would do more does that much: a program opens with all access in order to detach.
 */
static int open_image(struct vdisk *v, const char *path, struct disk_problem *problem)
{
	struct disk_open_options options = {.flags = v->how.flags, .format = v->how.format};
	int err = disk_open(v->engine, path, &options, &v->disk, problem);

	if (err != -EBUSY || (v->access & ACCESS_READS_DATA && !is_attached(path)))
		return err;
	*problem = (struct disk_problem){0};
	v->access &= VIRTUAL_DISK_ACCESS_GET_INFO | VIRTUAL_DISK_ACCESS_DETACH;
	options.flags = (options.flags & DISK_OPEN_NO_PARENTS) | DISK_OPEN_SHARED;
	return disk_open(v->engine, path, &options, &v->disk, problem);
}

/* A path as it was recorded: as it stands, or as Windows writes it. */
static int add_recorded_parent(struct disk *d, char *path, struct disk_problem *problem)
{
	int err = disk_add_parent(d, path, problem);

	if (err != -ENOENT)
		return err;
	for (char *c = path; *c; c++)
		if (*c == '\\')
			*c = '/';
	err = disk_add_parent(d, path, problem);
	return err == -ENOENT ? -ENOLINK : err;
}

/* Open the parents of a disk that was opened without them, by the absolute paths it records. */
static int open_parents(struct disk *d, struct disk_problem *problem)
{
	struct disk *last;
	char *path;
	int err;

	while ((last = disk_chain_end(d))) {
		err = disk_parent_locator(last, DISK_LOCATOR_ABSOLUTE, &path);
		if (err)
			return err == -ENOENT ? -ENOLINK : err;
		err = add_recorded_parent(d, path, problem);
		free(path);
		if (err)
			return err;
	}
	return 0;
}

/* A snapshot that others may stand on must stay what it is. */
static bool may_open_snapshot(const struct vdisk *v)
{
	const struct vhdset_snapshot *s = vhdset_find(v->set, &v->snapshot);

	return !s || s->writeable || !(v->how.flags & DISK_OPEN_WRITE);
}

static DWORD open_set(struct vdisk *v, char **image)
{
	struct disk_problem problem = {0};
	int err = 0;

	if (!v->set)
		err = vhdset_open(v->how.path, v->how.flags & DISK_OPEN_WRITE, &v->set, &problem);
	if (err || v->file_only)
		return disk_problem_win32(&problem, err);
	if (!may_open_snapshot(v))
		return ERROR_ACCESS_DENIED;
	err = vhdset_image(v->set, &v->snapshot, image);
	return err == -ENOENT ? ERROR_NOT_FOUND : disk_problem_win32(NULL, err);
}

DWORD vdisk_open(struct vdisk *v)
{
	struct disk_problem problem = {0};
	char *image = NULL;
	DWORD code;
	int err;

	if (v->is_set) {
		code = open_set(v, &image);
		if (code || v->file_only)
			return code;
	}
	err = open_image(v, image ? image : v->how.path, &problem);
	free(image);
	if (!err && v->no_relative)
		err = open_parents(v->disk, &problem);
	return disk_problem_win32(&problem, err);
}

DWORD vdisk_reopen(struct vdisk *v, unsigned flags)
{
	DWORD closing, err;

	pthread_rwlock_wrlock(&v->use);
	closing = vdisk_close_disk(v);
	v->how.flags = flags;
	err = vdisk_open(v);
	pthread_rwlock_unlock(&v->use);
	return closing ? closing : err;
}

static DWORD open_all(struct vdisk *v, const struct request *r, bool set)
{
	v->access = r->access;
	v->how.flags = open_flags(r);
	v->how.rw_depth = r->rw_depth;
	v->custom_chain = r->flags & OPEN_VIRTUAL_DISK_FLAG_CUSTOM_DIFF_CHAIN;
	v->no_relative = r->flags & OPEN_VIRTUAL_DISK_FLAG_IGNORE_RELATIVE_PARENT_LOCATOR &&
			 !(r->flags & FLAGS_NO_PARENTS);
	v->snapshot = r->snapshot;
	v->is_set = set || (v->how.format == DISK_FORMAT_ANY && vhdset_probe(v->how.path));
	v->file_only = r->flags & OPEN_VIRTUAL_DISK_FLAG_VHDSET_FILE_ONLY;
	if (!v->is_set && (v->file_only || !guid_is_zero(&r->snapshot)))
		return ERROR_VHD_INVALID_TYPE;
	return vdisk_open(v);
}

DWORD WINAPI OpenVirtualDisk(PVIRTUAL_STORAGE_TYPE VirtualStorageType, PCWSTR Path,
	VIRTUAL_DISK_ACCESS_MASK VirtualDiskAccessMask, OPEN_VIRTUAL_DISK_FLAG Flags,
	POPEN_VIRTUAL_DISK_PARAMETERS Parameters, PHANDLE Handle)
{
	struct request r = {.access = VirtualDiskAccessMask, .flags = Flags};
	enum disk_format format;
	struct vdisk *v;
	bool set;
	DWORD err;

	if (!VirtualStorageType || !Path || !Path[0] || !Handle ||
		r.access & ~VIRTUAL_DISK_ACCESS_ALL || r.flags & ~FLAGS_KNOWN)
		return ERROR_INVALID_PARAMETER;
	err = read_parameters(Parameters, &r);
	if (!err)
		err = vdisk_format(VirtualStorageType, &format, &set);
	if (!err && r.flags & OPEN_VIRTUAL_DISK_FLAG_BLANK_FILE)
		err = ERROR_NOT_SUPPORTED;
	if (err)
		return err;
	v = vdisk_create();
	if (!v)
		return ERROR_NOT_ENOUGH_MEMORY;
	v->how.path = vdisk_path(Path);
	v->how.format = format;
	err = v->how.path ? open_all(v, &r, set) : ERROR_NOT_ENOUGH_MEMORY;
	if (err)
		vdisk_destroy(v);
	else
		*Handle = vdisk_handle(v);
	return err;
}

DWORD WINAPI AddVirtualDiskParent(HANDLE VirtualDiskHandle, PCWSTR ParentPath)
{
	struct disk_problem problem = {0};
	struct vdisk *v;
	char *path;
	DWORD err;
	int errn;

	if (!ParentPath || !ParentPath[0])
		return ERROR_INVALID_PARAMETER;
	err = vdisk_claim(VirtualDiskHandle, 0, true, &v);
	if (err)
		return err;
	path = vdisk_path(ParentPath);
	if (!path) {
		err = ERROR_NOT_ENOUGH_MEMORY;
	} else if (!v->disk || !v->custom_chain) {
		err = ERROR_INVALID_STATE;
	} else {
		errn = disk_add_parent(v->disk, path, &problem);
		err = errn == -EALREADY ? ERROR_INVALID_STATE : disk_problem_win32(&problem, errn);
	}
	free(path);
	vdisk_unclaim(v);
	return err;
}
