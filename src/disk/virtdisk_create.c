/*
 * virtdisk_create.c - CreateVirtualDisk: new images, empty, from a parent, or from a source disk.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/guid.h"
#include "disk/operations.h"
#include "disk/tracking.h"
#include "disk/vhdset.h"
#include "disk/virtdisk_handle.h"

#define FLAGS_KNOWN                                                                                \
	(CREATE_VIRTUAL_DISK_FLAG_FULL_PHYSICAL_ALLOCATION |                                       \
		CREATE_VIRTUAL_DISK_FLAG_PREVENT_WRITES_TO_SOURCE_DISK |                           \
		CREATE_VIRTUAL_DISK_FLAG_DO_NOT_COPY_METADATA_FROM_PARENT |                        \
		CREATE_VIRTUAL_DISK_FLAG_CREATE_BACKING_STORAGE |                                  \
		CREATE_VIRTUAL_DISK_FLAG_USE_CHANGE_TRACKING_SOURCE_LIMIT |                        \
		CREATE_VIRTUAL_DISK_FLAG_PRESERVE_PARENT_CHANGE_TRACKING_STATE |                   \
		CREATE_VIRTUAL_DISK_FLAG_VHD_SET_USE_ORIGINAL_BACKING_STORAGE |                    \
		CREATE_VIRTUAL_DISK_FLAG_SPARSE_FILE | CREATE_VIRTUAL_DISK_FLAG_PMEM_COMPATIBLE |  \
		CREATE_VIRTUAL_DISK_FLAG_SUPPORT_COMPRESSED_VOLUMES |                              \
		CREATE_VIRTUAL_DISK_FLAG_SUPPORT_SPARSE_FILES_ANY_FS)

#define MIN_SIZE      (3ull << 20)
#define MAX_ALIGNMENT (1u << 20) /* where VHDX puts blocks */

/* What shall be made: the members of all versions, in the room's terms. */
struct creation {
	struct disk_create image; /* image.parent is parent below */
	char *path, *parent, *source;
	char *limit; /* of what is copied: a parent of the source, or a change identifier */
	enum disk_format source_format;
	uint32_t flags;
	bool set;
};

static void creation_free(struct creation *c)
{
	free(c->path);
	free(c->parent);
	free(c->source);
	free(c->limit);
}

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

/* ---- Parameters ------------------------------------------------------------------------------ */

static const struct {
	const char *extension;
	enum disk_format format;
	bool set;
} extensions[] = {
	{".vhd", DISK_FORMAT_VHD},
	{".avhd", DISK_FORMAT_VHD},
	{".vhdx", DISK_FORMAT_VHDX},
	{".avhdx", DISK_FORMAT_VHDX},
	{".vhds", DISK_FORMAT_VHDX, true},
	{".img", DISK_FORMAT_RAW},
	{".raw", DISK_FORMAT_RAW},
};

static DWORD format_by_name(struct creation *c)
{
	const char *dot = strrchr(c->path, '.');

	for (size_t i = 0; dot && i < sizeof(extensions) / sizeof(extensions[0]); i++) {
		if (strcasecmp(dot, extensions[i].extension))
			continue;
		c->image.format = extensions[i].format;
		c->set = extensions[i].set;
		return ERROR_SUCCESS;
	}
	return ERROR_VIRTDISK_PROVIDER_NOT_FOUND;
}

/* An optional path: *@to stays NULL without one. */
static DWORD copy_path(PCWSTR from, char **to)
{
	if (!from)
		return ERROR_SUCCESS;
	if (!from[0])
		return ERROR_INVALID_PARAMETER;
	*to = vdisk_path(from);
	return *to ? ERROR_SUCCESS : ERROR_NOT_ENOUGH_MEMORY;
}

/* Versions 2 to 4 begin alike; ResiliencyGuid is for clusters and has no meaning here. */
static DWORD read_version_2(const CREATE_VIRTUAL_DISK_PARAMETERS *p, struct creation *c)
{
	bool set;
	DWORD err;

	c->image.id = p->Version2.UniqueId;
	c->image.size = p->Version2.MaximumSize;
	c->image.block_size = p->Version2.BlockSizeInBytes;
	c->image.logical_sector = p->Version2.SectorSizeInBytes;
	c->image.physical_sector = p->Version2.PhysicalSectorSizeInBytes;
	err = vdisk_format(&p->Version2.ParentVirtualStorageType, &c->image.parent_format, &set);
	if (!err)
		err = vdisk_format(&p->Version2.SourceVirtualStorageType, &c->source_format, &set);
	if (!err)
		err = copy_path(p->Version2.ParentPath, &c->parent);
	if (!err)
		err = copy_path(p->Version2.SourcePath, &c->source);
	return err;
}

static DWORD read_version_3(const CREATE_VIRTUAL_DISK_PARAMETERS *p, struct creation *c)
{
	enum disk_format format;
	bool set;
	DWORD err = copy_path(p->Version3.SourceLimitPath, &c->limit);

	return err ? err : vdisk_format(&p->Version3.BackingStorageType, &format, &set);
}

static DWORD check_version_4(const CREATE_VIRTUAL_DISK_PARAMETERS *p)
{
	ULONGLONG alignment = p->Version4.DataAlignment;

	if (!guid_is_zero(&p->Version4.PmemAddressAbstractionType))
		return ERROR_NOT_SUPPORTED;
	return !alignment || (is_power_of_two(alignment) && alignment <= MAX_ALIGNMENT)
		       ? ERROR_SUCCESS
		       : ERROR_INVALID_PARAMETER;
}

static DWORD read_parameters(const CREATE_VIRTUAL_DISK_PARAMETERS *p, struct creation *c)
{
	DWORD err = ERROR_SUCCESS;

	switch (p->Version) {
	case CREATE_VIRTUAL_DISK_VERSION_1:
		c->image.id = p->Version1.UniqueId;
		c->image.size = p->Version1.MaximumSize;
		c->image.block_size = p->Version1.BlockSizeInBytes;
		c->image.logical_sector = p->Version1.SectorSizeInBytes;
		err = copy_path(p->Version1.ParentPath, &c->parent);
		return err ? err : copy_path(p->Version1.SourcePath, &c->source);
	case CREATE_VIRTUAL_DISK_VERSION_4:
		err = check_version_4(p);
		/* fallthrough */
	case CREATE_VIRTUAL_DISK_VERSION_3:
		if (!err)
			err = read_version_3(p, c);
		/* fallthrough */
	case CREATE_VIRTUAL_DISK_VERSION_2:
		return err ? err : read_version_2(p, c);
	default:
		return ERROR_INVALID_PARAMETER;
	}
}

static bool sector_is_valid(uint32_t sector, enum disk_format format)
{
	return !sector || sector == 512 || (sector == 4096 && format != DISK_FORMAT_VHD);
}

static bool block_is_valid(const struct disk_create *i)
{
	if (!i->block_size)
		return true;
	if (i->format == DISK_FORMAT_VHD)
		return i->kind != DISK_FIXED &&
		       (i->block_size == 512 << 10 || i->block_size == 2 << 20);
	return i->format == DISK_FORMAT_VHDX && is_power_of_two(i->block_size) &&
	       i->block_size >= 1 << 20 && i->block_size <= 256 << 20;
}

/* What is wrong whatever the files are. */
static DWORD check(const struct creation *c)
{
	const struct disk_create *i = &c->image;
	uint32_t sector = i->logical_sector ? i->logical_sector : 512;

	if (c->parent && (c->source || i->size || i->preallocated))
		return ERROR_INVALID_PARAMETER;
	if ((c->limit && !c->source) ||
		(!c->limit &&
			c->flags & CREATE_VIRTUAL_DISK_FLAG_USE_CHANGE_TRACKING_SOURCE_LIMIT))
		return ERROR_INVALID_PARAMETER;
	if (c->parent && i->format == DISK_FORMAT_RAW)
		return ERROR_VHD_INVALID_TYPE;
	if (!c->parent && !c->source && i->size < MIN_SIZE)
		return ERROR_INVALID_PARAMETER;
	if (!sector_is_valid(i->logical_sector, i->format) ||
		(i->physical_sector && i->physical_sector != 512 && i->physical_sector != 4096))
		return ERROR_INVALID_PARAMETER;
	if (i->size % sector || !block_is_valid(i))
		return ERROR_INVALID_PARAMETER;
	return c->flags & CREATE_VIRTUAL_DISK_FLAG_PMEM_COMPATIBLE ? ERROR_NOT_SUPPORTED
								   : ERROR_SUCCESS;
}

static DWORD prepare(struct creation *c, const VIRTUAL_STORAGE_TYPE *type, PCWSTR path,
	const CREATE_VIRTUAL_DISK_PARAMETERS *p)
{
	DWORD err = copy_path(path, &c->path);

	if (!err)
		err = vdisk_format(type, &c->image.format, &c->set);
	if (!err && c->image.format == DISK_FORMAT_ANY)
		err = format_by_name(c);
	if (!err)
		err = read_parameters(p, c);
	if (err)
		return err;
	c->image.parent = c->parent;
	if (c->parent)
		c->image.kind = DISK_DIFFERENCING;
	else if (c->flags & CREATE_VIRTUAL_DISK_FLAG_FULL_PHYSICAL_ALLOCATION ||
		 c->image.format == DISK_FORMAT_RAW)
		c->image.kind = DISK_FIXED;
	else
		c->image.kind = DISK_DYNAMIC;
	c->image.preallocated = c->flags & CREATE_VIRTUAL_DISK_FLAG_FULL_PHYSICAL_ALLOCATION &&
				!(c->flags & CREATE_VIRTUAL_DISK_FLAG_SPARSE_FILE);
	if (c->parent && c->flags & CREATE_VIRTUAL_DISK_FLAG_FULL_PHYSICAL_ALLOCATION)
		return ERROR_INVALID_PARAMETER;
	return check(c);
}

/* ---- Creating -------------------------------------------------------------------------------- */

static int copy_item(struct disk *from, struct disk *to, const GUID *item)
{
	uint32_t length = 0;
	int err = disk_metadata_get(from, item, NULL, &length);
	void *data;

	if (err && err != -ERANGE)
		return err;
	data = malloc(length ? length : 1);
	if (!data)
		return -ENOMEM;
	err = disk_metadata_get(from, item, data, &length);
	if (!err)
		err = disk_metadata_set(to, item, data, length);
	free(data);
	return err;
}

/* User metadata goes with the disk that a child continues. */
static int copy_metadata(struct disk *from, struct disk *to)
{
	unsigned n = 0, room;
	int err = disk_metadata_list(from, NULL, 0, &n);
	GUID *items;

	if (!n)
		return err == -ENOTSUP ? 0 : err;
	room = n;
	items = calloc(room, sizeof(*items));
	err = items ? disk_metadata_list(from, items, room, &n) : -ENOMEM;
	for (unsigned i = 0; !err && i < room; i++)
		err = copy_item(from, to, &items[i]);
	free(items);
	return err;
}

static int create_child(
	struct vdisk *v, const struct creation *c, const char *path, struct disk_problem *problem)
{
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE};
	struct disk *child;
	int err, closing;

	err = disk_create(v->engine, path, &c->image, NULL, problem);
	if (!err && c->flags & CREATE_VIRTUAL_DISK_FLAG_PRESERVE_PARENT_CHANGE_TRACKING_STATE)
		err = tracking_inherit(c->parent, path);
	if (err || c->flags & CREATE_VIRTUAL_DISK_FLAG_DO_NOT_COPY_METADATA_FROM_PARENT ||
		c->image.format != DISK_FORMAT_VHDX)
		return err;
	err = disk_open(v->engine, path, &options, &child, problem);
	if (err)
		return err;
	err = copy_metadata(disk_parent(child), child);
	closing = disk_close(child);
	return err ? err : closing;
}

static int create_from_source(struct vdisk *v, const struct creation *c, const char *path,
	struct disk_progress *progress, struct disk_problem *problem)
{
	struct disk_open_options options = {.format = c->source_format};
	struct disk_convert convert = {.target = c->image};
	struct disk *source;
	int err = disk_open(v->engine, c->source, &options, &source, problem);

	if (err)
		return err;
	if (c->flags & CREATE_VIRTUAL_DISK_FLAG_USE_CHANGE_TRACKING_SOURCE_LIMIT)
		convert.since = c->limit;
	else
		convert.above = c->limit;
	if (c->image.size && c->image.size < disk_size(source))
		err = -EINVAL;
	else
		err = disk_convert(v->engine, source, path, &convert, progress, problem);
	disk_close(source);
	return err;
}

static int create_image(struct vdisk *v, const struct creation *c, const char *path,
	struct disk_progress *progress, struct disk_problem *problem)
{
	if (c->source)
		return create_from_source(v, c, path, progress, problem);
	if (c->parent)
		return create_child(v, c, path, problem);
	return disk_create(v->engine, path, &c->image, NULL, problem);
}

/* A set of an image that is there; snapshots can stand on VHDX alone. */
static int create_set_on(struct vdisk *v, const struct creation *c, struct disk_problem *problem)
{
	struct disk_open_options options = {.format = DISK_FORMAT_VHDX};
	struct disk *source;
	int err = disk_open(v->engine, c->source, &options, &source, problem);

	if (err)
		return err;
	disk_close(source);
	return vhdset_create(c->path, c->source, problem);
}

/* A set: its first image stands beside it, or is the source itself when that is asked for. */
static int create_set(struct vdisk *v, const struct creation *c, struct disk_progress *progress,
	struct disk_problem *problem)
{
	char *image = NULL;
	int err;

	if (c->flags & CREATE_VIRTUAL_DISK_FLAG_VHD_SET_USE_ORIGINAL_BACKING_STORAGE)
		return c->source ? create_set_on(v, c, problem) : -EINVAL;
	err = vhdset_new_image_path(c->path, &image);
	if (!err)
		err = create_image(v, c, image, progress, problem);
	if (!err)
		err = vhdset_create(c->path, image, problem);
	free(image);
	return err;
}

static DWORD run_create(struct vdisk_operation *o)
{
	struct disk_problem problem = {0};
	struct creation *c = o->arguments;
	struct vdisk *v = o->disk;
	DWORD code;
	int err;

	if (c->set)
		err = create_set(v, c, &o->progress, &problem);
	else
		err = create_image(v, c, c->path, &o->progress, &problem);
	code = disk_problem_win32(&problem, err);
	if (!code) {
		pthread_rwlock_wrlock(&v->use);
		code = vdisk_open(v);
		pthread_rwlock_unlock(&v->use);
	}
	creation_free(c);
	v->creating = false;
	return code;
}

static DWORD create(struct creation *c, uint32_t access, LPOVERLAPPED overlapped, PHANDLE handle)
{
	struct creation *arguments = malloc(sizeof(*arguments));
	struct vdisk *v = arguments ? vdisk_create() : NULL;
	DWORD err;

	if (!v || !(v->how.path = strdup(c->path))) {
		creation_free(c);
		free(arguments);
		if (v)
			vdisk_destroy(v);
		return ERROR_NOT_ENOUGH_MEMORY;
	}
	v->access = access;
	v->how.format = c->image.format;
	v->how.flags = access & VDISK_ACCESS_WRITES ? DISK_OPEN_WRITE : 0;
	v->how.rw_depth = VDISK_DEPTH_AS_NEEDED;
	v->is_set = c->set;
	v->creating = true;
	*arguments = *c;
	arguments->image.parent = arguments->parent;
	*handle = vdisk_handle(v);
	err = vdisk_start(v, overlapped, run_create, arguments);
	if (err && err != ERROR_IO_PENDING) {
		*handle = INVALID_HANDLE_VALUE;
		vdisk_destroy(v);
	}
	return err;
}

DWORD WINAPI CreateVirtualDisk(PVIRTUAL_STORAGE_TYPE VirtualStorageType, PCWSTR Path,
	VIRTUAL_DISK_ACCESS_MASK VirtualDiskAccessMask, PSECURITY_DESCRIPTOR SecurityDescriptor,
	CREATE_VIRTUAL_DISK_FLAG Flags, ULONG ProviderSpecificFlags,
	PCREATE_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped, PHANDLE Handle)
{
	struct creation c = {.flags = Flags};
	uint32_t access = VirtualDiskAccessMask;
	DWORD err;

	if (!VirtualStorageType || !Path || !Parameters || !Handle ||
		access & ~VIRTUAL_DISK_ACCESS_ALL || c.flags & ~FLAGS_KNOWN ||
		ProviderSpecificFlags)
		return ERROR_INVALID_PARAMETER;
	if (Parameters->Version != CREATE_VIRTUAL_DISK_VERSION_1) {
		if (access != VIRTUAL_DISK_ACCESS_NONE)
			return ERROR_INVALID_PARAMETER;
		access = VIRTUAL_DISK_ACCESS_ALL;
	}
	err = prepare(&c, VirtualStorageType, Path, Parameters);
	if (err) {
		creation_free(&c);
		return err;
	}
	return create(&c, access, Overlapped, Handle);
}
