/*
 * virtdisk_handle.c - handles: made, recognized, entered, closed; and the small conversions between
 * the SDK's types and the room's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/guid.h"
#include "base/utf16.h"
#include "disk/attach.h"
#include "disk/scsi.h"
#include "disk/vhdset.h"
#include "disk/virtdisk_handle.h"

/* No address of a process and no descriptor has this bit without the one above it. */
#define HANDLE_MARK ((uintptr_t)1 << 62)
#define HANDLE_KIND ((uintptr_t)3 << 62)
#define MAGIC	    0x6B73696474726976 /* "virtdisk" */

struct vdisk *vdisk_create(void)
{
	struct vdisk *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->engine = disk_engine_create(NULL);
	if (!v->engine) {
		free(v);
		return NULL;
	}
	v->magic = MAGIC;
	pthread_rwlock_init(&v->use, NULL);
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->changed, NULL);
	return v;
}

DWORD vdisk_detach(struct vdisk *v)
{
	struct disk_problem problem = {0};
	int err;

	if (v->attached_nowhere) {
		v->attached_nowhere = false;
		return disk_problem_win32(NULL, disk_flush(v->disk));
	}
	err = disk_attach_end(v->attach, &problem);
	if (err == -EBUSY)
		return ERROR_BUSY;
	disk_attach_free(v->attach);
	v->attach = NULL;
	return disk_problem_win32(&problem, err);
}

DWORD vdisk_close_disk(struct vdisk *v)
{
	int err;

	scsi_unit_destroy(v->scsi);
	v->scsi = NULL;
	err = disk_close(v->disk);
	v->disk = NULL;
	return disk_problem_win32(NULL, err);
}

DWORD vdisk_destroy(struct vdisk *v)
{
	DWORD err = ERROR_SUCCESS, closing;

	vdisk_end_operations(v);
	vdisk_end_io(v);
	if (v->attach) {
		err = vdisk_detach(v);
		disk_attach_free(v->attach);
	}
	closing = vdisk_close_disk(v);
	vhdset_close(v->set);
	disk_engine_destroy(v->engine);
	pthread_rwlock_destroy(&v->use);
	pthread_mutex_destroy(&v->lock);
	pthread_cond_destroy(&v->changed);
	free(v->how.path);
	v->magic = 0;
	free(v);
	return err ? err : closing;
}

HANDLE vdisk_handle(struct vdisk *v)
{
	return (HANDLE)((uintptr_t)v | HANDLE_MARK);
}

struct vdisk *vdisk_from(HANDLE h)
{
	struct vdisk *v = (struct vdisk *)((uintptr_t)h & ~HANDLE_KIND);

	return ((uintptr_t)h & HANDLE_KIND) == HANDLE_MARK && v->magic == MAGIC ? v : NULL;
}

DWORD vdisk_enter(HANDLE h, uint32_t access, struct vdisk **out)
{
	struct vdisk *v = vdisk_from(h);

	if (!v)
		return ERROR_INVALID_PARAMETER;
	if (access && !(v->access & access))
		return ERROR_ACCESS_DENIED;
	pthread_rwlock_rdlock(&v->use);
	if (!v->disk) {
		pthread_rwlock_unlock(&v->use);
		return ERROR_VHD_INVALID_STATE;
	}
	*out = v;
	return ERROR_SUCCESS;
}

void vdisk_leave(struct vdisk *v)
{
	pthread_rwlock_unlock(&v->use);
}

DWORD vdisk_for_operation(HANDLE h, struct vdisk **v)
{
	*v = vdisk_from(h);
	if (!*v)
		return ERROR_INVALID_PARAMETER;
	return (*v)->access & VIRTUAL_DISK_ACCESS_METAOPS ? ERROR_SUCCESS : ERROR_ACCESS_DENIED;
}

bool vdisk_is_attached_here(struct vdisk *v)
{
	return v->attached_nowhere || (v->attach && !disk_attach_ended(v->attach));
}

bool vdisk_is_attached(struct vdisk *v)
{
	struct disk_attached *found;

	if (vdisk_is_attached_here(v))
		return true;
	if (!v->disk || disk_attached_find(disk_path(v->disk), &found))
		return false;
	disk_attached_free(found, 1);
	return true;
}

char *vdisk_path(PCWSTR path)
{
	return path && path[0] ? utf16_to_utf8(path, utf16_length(path)) : NULL;
}

DWORD vdisk_put_string(const char *s, PWSTR to, size_t room, size_t *used)
{
	size_t n;
	uint16_t *wide = utf16_from_utf8(s, &n);

	if (!wide)
		return ERROR_NOT_ENOUGH_MEMORY;
	*used = (n + 1) * sizeof(WCHAR);
	if (*used <= room)
		memcpy(to, wide, *used);
	free(wide);
	return *used <= room ? ERROR_SUCCESS : ERROR_INSUFFICIENT_BUFFER;
}

DWORD vdisk_format(const VIRTUAL_STORAGE_TYPE *type, enum disk_format *format, bool *set)
{
	if (!guid_equal(&type->VendorId, &VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT) &&
		!guid_is_zero(&type->VendorId))
		return ERROR_VIRTDISK_PROVIDER_NOT_FOUND;
	*set = type->DeviceId == VIRTUAL_STORAGE_TYPE_DEVICE_VHDSET;
	switch (type->DeviceId) {
	case VIRTUAL_STORAGE_TYPE_DEVICE_UNKNOWN:
		*format = DISK_FORMAT_ANY;
		return ERROR_SUCCESS;
	case VIRTUAL_STORAGE_TYPE_DEVICE_VHD:
		*format = DISK_FORMAT_VHD;
		return ERROR_SUCCESS;
	case VIRTUAL_STORAGE_TYPE_DEVICE_VHDX:
	case VIRTUAL_STORAGE_TYPE_DEVICE_VHDSET:
		*format = DISK_FORMAT_VHDX;
		return ERROR_SUCCESS;
	default:
		return ERROR_VIRTDISK_PROVIDER_NOT_FOUND;
	}
}

VIRTUAL_STORAGE_TYPE vdisk_type(enum disk_format format, bool set)
{
	VIRTUAL_STORAGE_TYPE type = {.VendorId = VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT};

	if (set)
		type.DeviceId = VIRTUAL_STORAGE_TYPE_DEVICE_VHDSET;
	else if (format == DISK_FORMAT_VHD)
		type.DeviceId = VIRTUAL_STORAGE_TYPE_DEVICE_VHD;
	else if (format == DISK_FORMAT_VHDX)
		type.DeviceId = VIRTUAL_STORAGE_TYPE_DEVICE_VHDX;
	return type;
}
