/*
 * virtdisk_operation.c - operations that were given an OVERLAPPED: each runs in a thread of its
 * own, at most one on a handle at a time, and stays known to the handle after its end.
 */
#include <signal.h>
#include <stdlib.h>

#include "disk/virtdisk_event.h"
#include "disk/virtdisk_handle.h"

static void set_internal(OVERLAPPED *overlapped, ULONG_PTR value)
{
	__atomic_store_n(&overlapped->Internal, value, __ATOMIC_RELEASE);
}

/* A Win32 error as the NTSTATUS that OVERLAPPED.Internal has, and back. */
static ULONG_PTR nt_status(DWORD code)
{
	return !code || code > 0xFFFF ? code : 0xC0070000u | code;
}

static DWORD win32_error(ULONG_PTR status)
{
	return status >> 16 == 0xC007 ? status & 0xFFFF : status;
}

void vdisk_begin(OVERLAPPED *overlapped, HANDLE event)
{
	if (event)
		event_reset(event);
	set_internal(overlapped, (ULONG_PTR)STATUS_PENDING);
}

void vdisk_complete(OVERLAPPED *overlapped, HANDLE event, DWORD code, uint64_t bytes)
{
	overlapped->InternalHigh = bytes;
	set_internal(overlapped, nt_status(code));
	if (event)
		event_set(event);
}

static void forget(struct vdisk_operation *o)
{
	if (o->joinable)
		pthread_join(o->thread, NULL);
	free(o->arguments);
	free(o);
}

/* Whoever waits may free the OVERLAPPED and close the handle as soon as the lock is let go. */
static void finish(struct vdisk_operation *o, DWORD result)
{
	struct vdisk *v = o->disk;

	pthread_mutex_lock(&v->lock);
	o->result = result;
	v->busy = false;
	vdisk_complete(o->overlapped, o->event, result, 0);
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
}

static void *operation_thread(void *ctx)
{
	struct vdisk_operation *o = ctx;

	finish(o, o->run(o));
	return NULL;
}

static struct vdisk_operation *find(struct vdisk *v, const OVERLAPPED *overlapped)
{
	struct vdisk_operation *o = v->operations;

	while (o && o->overlapped != overlapped)
		o = o->next;
	return o;
}

/* A new operation in place of a finished one with the same OVERLAPPED. The lock is held. */
static void remember(struct vdisk *v, struct vdisk_operation *o)
{
	struct vdisk_operation **at = &v->operations, *old;

	while ((old = *at)) {
		if (old->overlapped != o->overlapped) {
			at = &old->next;
			continue;
		}
		*at = old->next;
		forget(old);
	}
	*at = o;
}

static DWORD start_thread(struct vdisk *v, struct vdisk_operation *o)
{
	sigset_t all, before;
	int err;

	o->event = o->overlapped->hEvent;
	vdisk_begin(o->overlapped, o->event);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_mutex_lock(&v->lock);
	remember(v, o);
	err = pthread_create(&o->thread, NULL, operation_thread, o);
	o->joinable = !err;
	pthread_mutex_unlock(&v->lock);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		finish(o, ERROR_NOT_ENOUGH_MEMORY);
	return err ? ERROR_NOT_ENOUGH_MEMORY : ERROR_IO_PENDING;
}

static bool claim(struct vdisk *v)
{
	bool was_busy;

	pthread_mutex_lock(&v->lock);
	was_busy = v->busy;
	v->busy = true;
	pthread_mutex_unlock(&v->lock);
	return !was_busy;
}

static void unclaim(struct vdisk *v)
{
	pthread_mutex_lock(&v->lock);
	v->busy = false;
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
}

DWORD vdisk_start(struct vdisk *v, OVERLAPPED *overlapped, DWORD (*run)(struct vdisk_operation *o),
	void *arguments)
{
	struct vdisk_operation *o = calloc(1, sizeof(*o));
	DWORD err;

	err = !o ? ERROR_NOT_ENOUGH_MEMORY : claim(v) ? ERROR_SUCCESS : ERROR_BUSY;
	if (!err && !v->disk && !v->creating) {
		unclaim(v);
		err = ERROR_VHD_INVALID_STATE;
	}
	if (err) {
		free(arguments);
		free(o);
		return err;
	}
	*o = (struct vdisk_operation){.disk = v,
		.overlapped = overlapped,
		.run = run,
		.arguments = arguments,
		.result = ERROR_IO_PENDING};
	if (overlapped)
		return start_thread(v, o);
	err = run(o);
	unclaim(v);
	forget(o);
	return err;
}

DWORD vdisk_result(struct vdisk *v, const OVERLAPPED *overlapped, bool wait)
{
	DWORD result;

	pthread_mutex_lock(&v->lock);
	while (!HasOverlappedIoCompleted(overlapped) && wait)
		pthread_cond_wait(&v->changed, &v->lock);
	result = HasOverlappedIoCompleted(overlapped) ? win32_error(overlapped->Internal)
						      : ERROR_IO_PENDING;
	pthread_mutex_unlock(&v->lock);
	return result;
}

bool vdisk_cancel(struct vdisk *v, const OVERLAPPED *overlapped)
{
	bool found = false;

	pthread_mutex_lock(&v->lock);
	for (struct vdisk_operation *o = v->operations; o; o = o->next) {
		if ((overlapped && o->overlapped != overlapped) || o->result != ERROR_IO_PENDING)
			continue;
		atomic_store(&o->progress.cancel, true);
		found = true;
	}
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
	return found;
}

void vdisk_end_operations(struct vdisk *v)
{
	struct vdisk_operation *o;

	vdisk_cancel(v, NULL);
	pthread_mutex_lock(&v->lock);
	while (v->busy)
		pthread_cond_wait(&v->changed, &v->lock);
	pthread_mutex_unlock(&v->lock);
	while ((o = v->operations)) {
		v->operations = o->next;
		forget(o);
	}
}

DWORD WINAPI GetVirtualDiskOperationProgress(
	HANDLE VirtualDiskHandle, LPOVERLAPPED Overlapped, PVIRTUAL_DISK_PROGRESS Progress)
{
	struct vdisk *v = vdisk_from(VirtualDiskHandle);
	struct vdisk_operation *o;

	if (!v || !Overlapped || !Progress)
		return ERROR_INVALID_PARAMETER;
	pthread_mutex_lock(&v->lock);
	o = find(v, Overlapped);
	if (o) {
		uint64_t total = atomic_load(&o->progress.total);

		*Progress = (VIRTUAL_DISK_PROGRESS){.OperationStatus = o->result,
			.CurrentValue = atomic_load(&o->progress.done),
			/* Not known yet is not done yet. */
			.CompletionValue = total ? total : 1};
		if (o->result == ERROR_SUCCESS)
			Progress->CurrentValue = Progress->CompletionValue;
	}
	pthread_mutex_unlock(&v->lock);
	return o ? ERROR_SUCCESS : ERROR_INVALID_PARAMETER;
}

DWORD vdisk_claim(HANDLE h, uint32_t access, bool detached, struct vdisk **out)
{
	struct vdisk *v = vdisk_from(h);

	if (!v)
		return ERROR_INVALID_PARAMETER;
	if (access && !(v->access & access))
		return ERROR_ACCESS_DENIED;
	if (!claim(v))
		return ERROR_BUSY;
	pthread_rwlock_wrlock(&v->use);
	if (detached && vdisk_is_attached(v)) {
		vdisk_unclaim(v);
		return ERROR_VHD_INVALID_STATE;
	}
	*out = v;
	return ERROR_SUCCESS;
}

void vdisk_unclaim(struct vdisk *v)
{
	pthread_rwlock_unlock(&v->use);
	unclaim(v);
}
