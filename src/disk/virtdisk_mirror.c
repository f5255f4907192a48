/*
 * virtdisk_mirror.c - mirrors and forks: a second image that gets what the disk has, and then every
 * write, until the caller says which of them the handle shall stand for.
 *
 * The operation is a thread that copies and then waits for the word: BreakMirrorVirtualDisk,
 * CompleteForkVirtualDisk, or its cancellation.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk/attach.h"
#include "disk/operations.h"
#include "disk/virtdisk_handle.h"

struct mirror {
	bool existing;
	bool inactive; /* its end leaves the handle with the original */
	struct disk *target;
	char path[]; /* UTF-8 */
};

/* ---- The second image ------------------------------------------------------------------------ */

static int create_target(struct vdisk *v, const char *path, struct disk_problem *problem)
{
	struct disk_create create = {0};
	struct disk_info info;

	disk_info(v->disk, &info);
	create.format = info.format;
	/* A mirror has all that the chain shows. */
	create.kind = info.kind == DISK_FIXED ? DISK_FIXED : DISK_DYNAMIC;
	create.size = info.size;
	create.block_size = info.block_size;
	create.logical_sector = info.logical_sector;
	create.physical_sector = info.physical_sector;
	return disk_create(v->engine, path, &create, NULL, problem);
}

static int open_target(struct vdisk *v, struct mirror *m, struct disk_problem *problem)
{
	struct disk_open_options options = {.flags = DISK_OPEN_WRITE};
	int err = m->existing ? 0 : create_target(v, m->path, problem);

	if (!err)
		err = disk_open(v->engine, m->path, &options, &m->target, problem);
	if (err)
		return err;
	if (disk_size(m->target) == disk_size(v->disk))
		return 0;
	disk_close(m->target);
	m->target = NULL;
	return -EINVAL;
}

static void drop_target(struct mirror *m)
{
	disk_close(m->target);
	if (!m->existing)
		unlink(m->path);
}

/* ---- The operation --------------------------------------------------------------------------- */

static DWORD begin(struct vdisk_operation *o, struct disk_mirror **mirror)
{
	struct disk_problem problem = {0};
	struct mirror *m = o->arguments;
	struct vdisk *v = o->disk;
	int err;

	if (v->is_set)
		return ERROR_VHD_INVALID_TYPE;
	/* What another process writes is not seen here. */
	if (vdisk_is_attached(v) && !vdisk_is_attached_here(v))
		return ERROR_VHD_INVALID_STATE;
	err = open_target(v, m, &problem);
	if (!err) {
		err = disk_mirror_start(v->disk, m->target, !m->existing, &o->progress, mirror);
		if (err)
			drop_target(m);
	}
	return disk_problem_win32(&problem, err);
}

/* Equal now: wait for the word. */
static void wait_for_end(struct vdisk_operation *o, struct disk_mirror *mirror)
{
	struct vdisk *v = o->disk;

	pthread_mutex_lock(&v->lock);
	v->mirror = mirror;
	v->mirror_end = VDISK_MIRROR_GOES_ON;
	while (v->mirror_end == VDISK_MIRROR_GOES_ON && !atomic_load(&o->progress.cancel))
		pthread_cond_wait(&v->changed, &v->lock);
	/* Cancelled: nobody shall give the word any more. */
	if (v->mirror_end == VDISK_MIRROR_GOES_ON)
		v->mirror = NULL;
	pthread_mutex_unlock(&v->lock);
}

/* The handle stands for the mirror from now on, and so does the device, which is @paused. */
static DWORD switch_over(struct vdisk *v, struct mirror *m, bool paused)
{
	char *path = strdup(m->path);
	int err = 0;
	DWORD code;

	if (!path) {
		if (paused)
			disk_attach_resume(v->attach, v->disk);
		disk_close(m->target);
		return ERROR_NOT_ENOUGH_MEMORY;
	}
	if (paused)
		err = disk_attach_resume(v->attach, m->target);
	code = vdisk_close_disk(v);
	free(v->how.path);
	v->how.path = path;
	v->disk = m->target;
	return err ? disk_problem_win32(NULL, err) : code;
}

/* Both are whole, or not even that. */
static DWORD keep_original(struct vdisk *v, struct mirror *m, DWORD code)
{
	if (code || v->mirror_end == VDISK_MIRROR_GOES_ON)
		drop_target(m);
	else
		code = disk_problem_win32(NULL, disk_close(m->target));
	return code;
}

static DWORD end(struct vdisk_operation *o, struct disk_mirror *mirror)
{
	struct mirror *m = o->arguments;
	struct vdisk *v = o->disk;
	bool over, paused;
	DWORD code;

	/* Whoever could write through this handle holds use for reading. */
	pthread_rwlock_wrlock(&v->use);
	over = v->mirror_end == VDISK_MIRROR_BREAK && !m->inactive;
	/* And whoever writes through the device waits. */
	paused = over && v->attach && !disk_attach_pause(v->attach);
	code = disk_problem_win32(NULL, disk_mirror_stop(mirror));
	if (!code && over) {
		code = switch_over(v, m, paused);
	} else {
		if (paused)
			disk_attach_resume(v->attach, v->disk);
		code = keep_original(v, m, code);
	}
	pthread_rwlock_unlock(&v->use);
	if (!code && v->mirror_end == VDISK_MIRROR_GOES_ON)
		code = ERROR_OPERATION_ABORTED;
	pthread_mutex_lock(&v->lock);
	v->mirror = NULL;
	v->mirror_result = code;
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
	return code;
}

static DWORD run_mirror(struct vdisk_operation *o)
{
	struct disk_mirror *mirror;
	DWORD code = begin(o, &mirror);

	if (code)
		return code;
	o->disk->mirror_end = VDISK_MIRROR_GOES_ON;
	if (disk_mirror_wait(mirror) == DISK_MIRROR_READY)
		wait_for_end(o, mirror);
	return end(o, mirror);
}

static DWORD start(
	HANDLE h, PCWSTR path, bool existing, bool inactive, LPOVERLAPPED overlapped)
{
	struct vdisk *v;
	struct mirror *m;
	char *utf8;
	DWORD err = vdisk_for_operation(h, &v);

	if (err)
		return err;
	if (!path || !path[0] || !overlapped)
		return ERROR_INVALID_PARAMETER;
	utf8 = vdisk_path(path);
	m = utf8 ? calloc(1, sizeof(*m) + strlen(utf8) + 1) : NULL;
	if (m) {
		m->existing = existing;
		m->inactive = inactive;
		strcpy(m->path, utf8);
	}
	free(utf8);
	return m ? vdisk_start(v, overlapped, run_mirror, m) : ERROR_NOT_ENOUGH_MEMORY;
}

DWORD WINAPI MirrorVirtualDisk(HANDLE VirtualDiskHandle, MIRROR_VIRTUAL_DISK_FLAG Flags,
	PMIRROR_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped)
{
	const unsigned known = MIRROR_VIRTUAL_DISK_FLAG_EXISTING_FILE |
			       MIRROR_VIRTUAL_DISK_FLAG_SKIP_MIRROR_ACTIVATION |
			       MIRROR_VIRTUAL_DISK_FLAG_ENABLE_SMB_COMPRESSION |
			       MIRROR_VIRTUAL_DISK_FLAG_IS_LIVE_MIGRATION;

	if (!Parameters || Parameters->Version != MIRROR_VIRTUAL_DISK_VERSION_1 ||
		(unsigned)Flags & ~known)
		return ERROR_INVALID_PARAMETER;
	return start(VirtualDiskHandle, Parameters->Version1.MirrorVirtualDiskPath,
		Flags & MIRROR_VIRTUAL_DISK_FLAG_EXISTING_FILE,
		Flags & MIRROR_VIRTUAL_DISK_FLAG_SKIP_MIRROR_ACTIVATION, Overlapped);
}

DWORD WINAPI ForkVirtualDisk(HANDLE VirtualDiskHandle, FORK_VIRTUAL_DISK_FLAG Flags,
	const FORK_VIRTUAL_DISK_PARAMETERS *Parameters, LPOVERLAPPED Overlapped)
{
	if (!Parameters || Parameters->Version != FORK_VIRTUAL_DISK_VERSION_1 ||
		(unsigned)Flags & ~FORK_VIRTUAL_DISK_FLAG_EXISTING_FILE)
		return ERROR_INVALID_PARAMETER;
	return start(VirtualDiskHandle, Parameters->Version1.ForkedVirtualDiskPath,
		Flags & FORK_VIRTUAL_DISK_FLAG_EXISTING_FILE, true, Overlapped);
}

/* ---- The word -------------------------------------------------------------------------------- */

static DWORD give_word(struct vdisk *v, int word)
{
	DWORD code = ERROR_VHD_INVALID_STATE;

	pthread_mutex_lock(&v->lock);
	if (v->mirror && v->mirror_end == VDISK_MIRROR_GOES_ON &&
		disk_mirror_state(v->mirror, NULL) == DISK_MIRROR_READY) {
		v->mirror_end = word;
		pthread_cond_broadcast(&v->changed);
		while (v->mirror)
			pthread_cond_wait(&v->changed, &v->lock);
		code = v->mirror_result;
	}
	pthread_mutex_unlock(&v->lock);
	return code;
}

DWORD WINAPI BreakMirrorVirtualDisk(HANDLE VirtualDiskHandle)
{
	struct vdisk *v;
	DWORD err = vdisk_for_operation(VirtualDiskHandle, &v);

	return err ? err : give_word(v, VDISK_MIRROR_BREAK);
}

DWORD WINAPI CompleteForkVirtualDisk(HANDLE VirtualDiskHandle)
{
	struct vdisk *v;
	DWORD err = vdisk_for_operation(VirtualDiskHandle, &v);

	return err ? err : give_word(v, VDISK_MIRROR_FORK);
}
