/*
 * virtdisk_dependency.c - GetStorageDependencyInformation: which files a virtual disk depends on,
 * or which attached disks depend on a volume.
 *
 * An answer is gathered as a list of images and then laid out in the caller's buffer, the strings
 * behind the entries.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/attach.h"
#include "disk/host.h"
#include "disk/virtdisk_handle.h"

struct entry {
	char *image;  /* absolute path */
	char *device; /* "" where it is not attached */
	ULONG level;  /* 0: the image itself, 1: its parent ... */
	uint32_t flags;
	VIRTUAL_STORAGE_TYPE type;
};

struct entries {
	struct entry *all;
	unsigned n;
};

static void entries_free(struct entries *e)
{
	for (unsigned i = 0; i < e->n; i++) {
		free(e->all[i].image);
		free(e->all[i].device);
	}
	free(e->all);
}

/* What the image says about itself; what cannot be read says nothing. */
static void look_at(struct entry *e, struct disk_engine *engine)
{
	struct disk_open_options options = {.flags = DISK_OPEN_SHARED | DISK_OPEN_NO_PARENTS};
	struct host_storage host;
	struct disk_info info;
	struct disk *d;

	host_storage(e->image, &host);
	if (host.remote)
		e->flags |= DEPENDENT_DISK_FLAG_REMOTE;
	if (disk_open(engine, e->image, &options, &d, NULL))
		return;
	disk_info(d, &info);
	e->type = vdisk_type(info.format, false);
	if (info.kind == DISK_FIXED)
		e->flags |= DEPENDENT_DISK_FLAG_FULLY_ALLOCATED;
	if (info.kind == DISK_DIFFERENCING)
		e->flags |= DEPENDENT_DISK_FLAG_MULT_BACKING_FILES;
	disk_close(d);
}

static int add(struct entries *e, struct disk_engine *engine, const char *image, const char *device,
	ULONG level, uint32_t flags)
{
	struct entry *all = realloc(e->all, (e->n + 1) * sizeof(*all)), *one;

	if (!all)
		return -ENOMEM;
	e->all = all;
	one = &all[e->n];
	*one = (struct entry){.image = realpath(image, NULL),
		.device = strdup(device ? device : ""),
		.level = level,
		.flags = flags};
	if (!one->image)
		one->image = strdup(image);
	e->n++;
	if (!one->image || !one->device)
		return -ENOMEM;
	if (level)
		one->flags |= DEPENDENT_DISK_FLAG_PARENT;
	if (!device)
		one->flags |= DEPENDENT_DISK_FLAG_NO_HOST_DISK;
	look_at(one, engine);
	return 0;
}

/* ---- Gathering ------------------------------------------------------------------------------- */

static int add_attached(
	struct entries *e, struct disk_engine *engine, const struct disk_attached *a, bool parents)
{
	uint32_t flags = a->read_only ? DEPENDENT_DISK_FLAG_READ_ONLY : 0;
	const char *device = a->device ? a->device : a->file;
	int err = add(e, engine, a->image, device, 0, flags);

	for (unsigned i = 0; parents && !err && i < a->n_parents; i++)
		err = add(e, engine, a->parents[i], device, i + 1, DEPENDENT_DISK_FLAG_READ_ONLY);
	return err;
}

static int add_chain(struct entries *e, struct vdisk *v)
{
	struct disk_attached *found = NULL;
	const char *device = NULL;
	ULONG level = 0;
	int err = 0;

	if (!disk_attached_find(disk_path(v->disk), &found))
		device = found->device ? found->device : found->file;
	for (struct disk *d = v->disk; d && !err; d = disk_parent(d), level++)
		err = add(e, v->engine, disk_path(d), device, level, 0);
	if (found)
		disk_attached_free(found, 1);
	return err;
}

/* Attached disks that have a file on the file system of @path. */
static int add_dependents(struct entries *e, struct disk_engine *engine, const char *path)
{
	struct disk_attached *list;
	struct stat volume, st;
	unsigned n;
	int err = stat(path, &volume) ? -errno : disk_attached_list(&list, &n);

	if (err)
		return err;
	for (unsigned i = 0; i < n && !err; i++) {
		bool depends = !stat(list[i].image, &st) && st.st_dev == volume.st_dev;

		for (unsigned k = 0; k < list[i].n_parents && !depends; k++)
			depends = !stat(list[i].parents[k], &st) && st.st_dev == volume.st_dev;
		if (depends)
			err = add_attached(e, engine, &list[i], false);
	}
	disk_attached_free(list, n);
	return err;
}

/* Of a descriptor: what it is open on. */
static int gather_path(struct entries *e, HANDLE h, bool parents)
{
	char link[64], path[PATH_MAX];
	struct disk_engine *engine;
	struct disk_attached *found;
	ssize_t n;
	int err;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", PARTITA_FD_FROM_HANDLE(h));
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return -EBADF;
	path[n] = '\0';
	engine = disk_engine_create(NULL);
	if (!engine)
		return -errno;
	if (!parents) {
		err = add_dependents(e, engine, path);
	} else {
		err = disk_attached_find(path, &found);
		if (!err) {
			err = add_attached(e, engine, found, true);
			disk_attached_free(found, 1);
		}
	}
	disk_engine_destroy(engine);
	return err;
}

static DWORD gather(struct entries *e, HANDLE h, bool parents)
{
	struct vdisk *v;
	DWORD err;
	int errn;

	if (!vdisk_from(h)) {
		errn = gather_path(e, h, parents);
		if (errn == -EBADF)
			return ERROR_INVALID_PARAMETER;
		return errn == -ENOENT ? ERROR_VIRTDISK_NOT_VIRTUAL_DISK
				       : disk_problem_win32(NULL, errn);
	}
	err = vdisk_enter(h, VIRTUAL_DISK_ACCESS_GET_INFO, &v);
	if (err)
		return err;
	errn = parents ? add_chain(e, v) : add_dependents(e, v->engine, disk_path(v->disk));
	vdisk_leave(v);
	return disk_problem_win32(NULL, errn);
}

/* ---- Answering ------------------------------------------------------------------------------- */

struct layout {
	char *buffer;
	size_t room, used; /* strings go to `used` */
};

static PWSTR put(struct layout *l, const char *s, DWORD *err)
{
	WCHAR *at = (WCHAR *)(l->buffer + l->used);
	size_t n = 0, room = l->used < l->room ? l->room - l->used : 0;
	DWORD one = vdisk_put_string(s, at, room, &n);

	l->used += n;
	if (one)
		*err = one;
	return at;
}

static DWORD put_strings(
	struct layout *l, const struct entry *e, STORAGE_DEPENDENCY_INFO_TYPE_2 *to)
{
	char *mount = host_mount(e->image);
	size_t prefix = mount && strcmp(mount, "/") ? strlen(mount) : 0;
	STORAGE_DEPENDENCY_INFO_TYPE_2 strings;
	DWORD err = ERROR_SUCCESS;

	strings.DependencyDeviceName = put(l, e->device, &err);
	strings.HostVolumeName = put(l, mount ? mount : "/", &err);
	strings.DependentVolumeName = put(l, mount ? mount : "/", &err);
	strings.DependentVolumeRelativePath = put(l, e->image + prefix, &err);
	free(mount);
	if (err)
		return err;
	*to = (STORAGE_DEPENDENCY_INFO_TYPE_2){.DependencyTypeFlags = e->flags,
		.VirtualStorageType = e->type,
		.AncestorLevel = e->level,
		.DependencyDeviceName = strings.DependencyDeviceName,
		.HostVolumeName = strings.HostVolumeName,
		.DependentVolumeName = strings.DependentVolumeName,
		.DependentVolumeRelativePath = strings.DependentVolumeRelativePath};
	return err;
}

static DWORD answer_1(struct layout *l, const struct entries *e, STORAGE_DEPENDENCY_INFO *info)
{
	STORAGE_DEPENDENCY_INFO_TYPE_1 *to = info->Version1Entries;

	l->used = offsetof(STORAGE_DEPENDENCY_INFO, Version1Entries) +
		  e->n * sizeof(STORAGE_DEPENDENCY_INFO_TYPE_1);
	if (l->used > l->room)
		return ERROR_INSUFFICIENT_BUFFER;
	for (unsigned i = 0; i < e->n; i++)
		to[i] = (STORAGE_DEPENDENCY_INFO_TYPE_1){.DependencyTypeFlags = e->all[i].flags,
			.VirtualStorageType = e->all[i].type};
	return ERROR_SUCCESS;
}

static DWORD answer_2(struct layout *l, const struct entries *e, STORAGE_DEPENDENCY_INFO *info)
{
	STORAGE_DEPENDENCY_INFO_TYPE_2 *to = info->Version2Entries;
	DWORD err = ERROR_SUCCESS, one;

	l->used = offsetof(STORAGE_DEPENDENCY_INFO, Version2Entries) +
		  e->n * sizeof(STORAGE_DEPENDENCY_INFO_TYPE_2);
	if (l->used > l->room)
		err = ERROR_INSUFFICIENT_BUFFER;
	for (unsigned i = 0; i < e->n; i++) {
		STORAGE_DEPENDENCY_INFO_TYPE_2 entry;

		one = put_strings(l, &e->all[i], &entry);
		if (one)
			err = one;
		if (!err)
			to[i] = entry;
	}
	return err;
}

DWORD WINAPI GetStorageDependencyInformation(HANDLE ObjectHandle, GET_STORAGE_DEPENDENCY_FLAG Flags,
	ULONG StorageDependencyInfoSize, PSTORAGE_DEPENDENCY_INFO StorageDependencyInfo,
	PULONG SizeUsed)
{
	struct layout l = {
		.buffer = (char *)StorageDependencyInfo, .room = StorageDependencyInfoSize};
	struct entries e = {0};
	DWORD err;

	if (!StorageDependencyInfo ||
		StorageDependencyInfoSize < offsetof(STORAGE_DEPENDENCY_INFO, Version1Entries) ||
		(unsigned)Flags & ~(GET_STORAGE_DEPENDENCY_FLAG_HOST_VOLUMES |
					  GET_STORAGE_DEPENDENCY_FLAG_DISK_HANDLE) ||
		(StorageDependencyInfo->Version != STORAGE_DEPENDENCY_INFO_VERSION_1 &&
			StorageDependencyInfo->Version != STORAGE_DEPENDENCY_INFO_VERSION_2))
		return ERROR_INVALID_PARAMETER;
	err = gather(&e, ObjectHandle, Flags & GET_STORAGE_DEPENDENCY_FLAG_PARENTS);
	if (!err)
		err = StorageDependencyInfo->Version == STORAGE_DEPENDENCY_INFO_VERSION_1
			      ? answer_1(&l, &e, StorageDependencyInfo)
			      : answer_2(&l, &e, StorageDependencyInfo);
	if (!err)
		StorageDependencyInfo->NumberEntries = e.n;
	if (SizeUsed && (!err || err == ERROR_INSUFFICIENT_BUFFER))
		*SizeUsed = l.used;
	entries_free(&e);
	return err;
}
