/*
 * virtdisk_win32.c - the functions of winbase.h: events, and what can be done with any handle.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "disk/virtdisk_event.h"
#include "disk/virtdisk_handle.h"

/* An event's handle above its descriptor: whoever is let through resets it. */
#define AUTO_RESET ((uintptr_t)1 << 32)

static _Thread_local DWORD last_error;

DWORD WINAPI GetLastError(void)
{
	return last_error;
}

VOID WINAPI SetLastError(DWORD Code)
{
	last_error = Code;
}

static BOOL fail(DWORD code)
{
	last_error = code;
	return FALSE;
}

/* The descriptor of an event, -1 for what is none. */
static int event_fd(HANDLE h)
{
	uintptr_t bits = (uintptr_t)h & ~AUTO_RESET;

	return bits && bits <= INT32_MAX ? PARTITA_FD_FROM_HANDLE(bits) : -1;
}

static bool is_auto_reset(HANDLE h)
{
	return (uintptr_t)h & AUTO_RESET;
}

bool event_is(HANDLE h)
{
	return fcntl(event_fd(h), F_GETFD) >= 0;
}

bool event_set(HANDLE h)
{
	uint64_t one = 1;

	return write(event_fd(h), &one, sizeof(one)) == sizeof(one) || errno == EAGAIN;
}

bool event_reset(HANDLE h)
{
	struct pollfd p = {.fd = event_fd(h), .events = POLLIN};
	uint64_t count;

	/* A program's own eventfd may be one whose read blocks. A signal may interrupt the look. */
	if (p.fd < 0 || (poll(&p, 1, 0) < 0 && errno != EINTR) || p.revents & POLLNVAL)
		return false;
	return !(p.revents & POLLIN) || read(p.fd, &count, sizeof(count)) > 0 || errno == EAGAIN;
}

HANDLE WINAPI CreateEventW(
	LPSECURITY_ATTRIBUTES Attributes, BOOL ManualReset, BOOL InitialState, LPCWSTR Name)
{
	int fd;

	if (Name) {
		fail(ERROR_NOT_SUPPORTED);
		return NULL;
	}
	fd = eventfd(InitialState != 0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0) {
		fail(ERROR_TOO_MANY_OPEN_FILES);
		return NULL;
	}
	return (HANDLE)((uintptr_t)PARTITA_HANDLE_FROM_FD(fd) | (ManualReset ? 0 : AUTO_RESET));
}

HANDLE WINAPI CreateEventA(
	LPSECURITY_ATTRIBUTES Attributes, BOOL ManualReset, BOOL InitialState, LPCSTR Name)
{
	return CreateEventW(Attributes, ManualReset, InitialState, Name ? u"" : NULL);
}

BOOL WINAPI SetEvent(HANDLE Event)
{
	return event_set(Event) || fail(ERROR_INVALID_HANDLE);
}

BOOL WINAPI ResetEvent(HANDLE Event)
{
	return event_reset(Event) || fail(ERROR_INVALID_HANDLE);
}

BOOL WINAPI CloseHandle(HANDLE Handle)
{
	struct vdisk *v = vdisk_from(Handle);
	DWORD err;

	if (!v)
		return (event_is(Handle) && !close(event_fd(Handle))) || fail(ERROR_INVALID_HANDLE);
	err = vdisk_destroy(v);
	return !err || fail(err);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* What poll() is to wait until @deadline, both in ms; negative: for ever. */
static int poll_timeout(int64_t deadline)
{
	int64_t left = deadline - now_ms();

	if (deadline < 0)
		return -1;
	/* A deadline that has just passed is not "for ever". */
	return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

/* Wait for any of @p; its index, WAIT_TIMEOUT or WAIT_FAILED. @deadline in ms, negative: none. */
static DWORD wait_any(struct pollfd *p, const HANDLE *events, DWORD count, int64_t deadline)
{
	for (;;) {
		int n = poll(p, count, poll_timeout(deadline));

		if (n < 0 && errno != EINTR)
			return fail(ERROR_GEN_FAILURE), WAIT_FAILED;
		if (n == 0 && deadline >= 0 && now_ms() >= deadline)
			return WAIT_TIMEOUT;
		for (DWORD i = 0; n > 0 && i < count; i++) {
			uint64_t taken;

			if (p[i].revents & POLLNVAL)
				return fail(ERROR_INVALID_HANDLE), WAIT_FAILED;
			/* Another waiter may have been faster. */
			if (p[i].revents & POLLIN &&
				(!is_auto_reset(events[i]) ||
					read(p[i].fd, &taken, sizeof(taken)) > 0))
				return WAIT_OBJECT_0 + i;
		}
	}
}

DWORD WINAPI WaitForMultipleObjects(
	DWORD Count, const HANDLE *Events, BOOL WaitAll, DWORD Milliseconds)
{
	int64_t deadline = Milliseconds == INFINITE ? -1 : now_ms() + Milliseconds;
	struct pollfd p[MAXIMUM_WAIT_OBJECTS];

	if (!Count || Count > MAXIMUM_WAIT_OBJECTS || !Events)
		return fail(ERROR_INVALID_PARAMETER), WAIT_FAILED;
	for (DWORD i = 0; i < Count; i++) {
		p[i] = (struct pollfd){.fd = event_fd(Events[i]), .events = POLLIN};
		if (p[i].fd < 0)
			return fail(ERROR_INVALID_HANDLE), WAIT_FAILED;
	}
	if (!WaitAll)
		return wait_any(p, Events, Count, deadline);
	for (DWORD i = 0; i < Count; i++) {
		DWORD one = wait_any(&p[i], &Events[i], 1, deadline);

		if (one != WAIT_OBJECT_0)
			return one;
	}
	return WAIT_OBJECT_0;
}

DWORD WINAPI WaitForSingleObject(HANDLE Event, DWORD Milliseconds)
{
	return WaitForMultipleObjects(1, &Event, FALSE, Milliseconds);
}

VOID WINAPI Sleep(DWORD Milliseconds)
{
	struct timespec t = {Milliseconds / 1000, Milliseconds % 1000 * 1000000L};

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

BOOL WINAPI GetOverlappedResult(
	HANDLE File, LPOVERLAPPED Overlapped, DWORD *BytesTransferred, BOOL Wait)
{
	struct vdisk *v = vdisk_from(File);
	DWORD result;

	if (!v)
		return fail(ERROR_INVALID_HANDLE);
	if (!Overlapped || !BytesTransferred)
		return fail(ERROR_INVALID_PARAMETER);
	result = vdisk_result(v, Overlapped, Wait);
	if (result == ERROR_IO_PENDING)
		return fail(ERROR_IO_INCOMPLETE);
	*BytesTransferred = (DWORD)Overlapped->InternalHigh;
	return !result || fail(result);
}

BOOL WINAPI CancelIoEx(HANDLE File, LPOVERLAPPED Overlapped)
{
	struct vdisk *v = vdisk_from(File);

	if (!v)
		return fail(ERROR_INVALID_HANDLE);
	return vdisk_cancel(v, Overlapped) || fail(ERROR_NOT_FOUND);
}
