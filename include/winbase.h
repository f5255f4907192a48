/*
 * winbase.h - the little of Win32 that programs need around asynchronous operations: events,
 * waiting, closing handles and the result of an overlapped operation, with the SDK's names.
 *
 * The functions are in libvirtdisk. A HANDLE is one of two things:
 * - an event: an eventfd(2) descriptor (PARTITA_HANDLE_FROM_FD). An eventfd of the program's own
 *   serves as an event that is reset by hand;
 * - a virtual disk, from OpenVirtualDisk or CreateVirtualDisk. It cannot be waited for; an event in
 *   an OVERLAPPED can.
 * A handle that was closed must not be used again: as with a freed pointer, this is not detected.
 *
 * Functions that answer BOOL or a HANDLE leave the reason of a failure in GetLastError().
 */
#ifndef PARTITA_WINBASE_H
#define PARTITA_WINBASE_H

#include <minwindef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct _SECURITY_ATTRIBUTES {
	DWORD nLength;
	LPVOID lpSecurityDescriptor;
	BOOL bInheritHandle;
} SECURITY_ATTRIBUTES, *PSECURITY_ATTRIBUTES, *LPSECURITY_ATTRIBUTES;

/*
 * The caller's part is hEvent: NULL, or an event that is reset when the operation starts and set
 * when it ended. The structure must stay where it is until then.
 */
typedef struct _OVERLAPPED {
	ULONG_PTR Internal;	/* STATUS_PENDING, then the result as an NTSTATUS */
	ULONG_PTR InternalHigh; /* bytes transferred */
	union {
		struct {
			DWORD Offset;
			DWORD OffsetHigh;
		};
		PVOID Pointer;
	};
	HANDLE hEvent;
} OVERLAPPED, *LPOVERLAPPED;

C_ASSERT(sizeof(OVERLAPPED) == 32);
C_ASSERT(offsetof(OVERLAPPED, hEvent) == 24);

#define STATUS_PENDING ((NTSTATUS)0x00000103)
#define HasOverlappedIoCompleted(o)                                                                \
	(__atomic_load_n(&(o)->Internal, __ATOMIC_ACQUIRE) != (ULONG_PTR)STATUS_PENDING)

#define INFINITE	     0xFFFFFFFFu
#define WAIT_OBJECT_0	     0u
#define WAIT_FAILED	     0xFFFFFFFFu
#define MAXIMUM_WAIT_OBJECTS 64

/* The calling thread's error code, set by functions that fail. */
DWORD WINAPI GetLastError(void);
VOID WINAPI SetLastError(DWORD Code);

/*
 * CloseHandle - close an event or a virtual disk. A disk's operations that still run are cancelled
 * and waited for; a disk that was attached through this handle without
 * ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME is detached; everything written is durable.
 * ERROR_INVALID_HANDLE.
 */
BOOL WINAPI CloseHandle(HANDLE Handle);

/*
 * CreateEventW - an event; @Name must be NULL (ERROR_NOT_SUPPORTED), @Attributes is ignored.
 * @ManualReset FALSE: one waiter at a time is let through, and that resets the event.
 */
HANDLE WINAPI CreateEventW(
	LPSECURITY_ATTRIBUTES Attributes, BOOL ManualReset, BOOL InitialState, LPCWSTR Name);
HANDLE WINAPI CreateEventA(
	LPSECURITY_ATTRIBUTES Attributes, BOOL ManualReset, BOOL InitialState, LPCSTR Name);
#ifdef UNICODE
#define CreateEvent CreateEventW
#else
#define CreateEvent CreateEventA
#endif
BOOL WINAPI SetEvent(HANDLE Event);
BOOL WINAPI ResetEvent(HANDLE Event);

/*
 * WaitForSingleObject, WaitForMultipleObjects - wait until an event is set, or all of up to
 * MAXIMUM_WAIT_OBJECTS, for at most @Milliseconds (or INFINITE). WAIT_OBJECT_0 plus the index of
 * the event, WAIT_TIMEOUT, or WAIT_FAILED.
 */
DWORD WINAPI WaitForSingleObject(HANDLE Event, DWORD Milliseconds);
DWORD WINAPI WaitForMultipleObjects(
	DWORD Count, const HANDLE *Events, BOOL WaitAll, DWORD Milliseconds);

VOID WINAPI Sleep(DWORD Milliseconds);

/*
 * ReadFile, WriteFile - start to move @Bytes bytes between the virtual disk's contents, at the
 * offset in @Overlapped, and @Buffer. The disk was attached through this handle, with
 * ATTACH_VIRTUAL_DISK_FLAG_NO_LOCAL_HOST. Both return FALSE with ERROR_IO_PENDING: the result is
 * asked of the OVERLAPPED, and until then @Buffer belongs to the disk. Any number may be under way
 * at once, in any order. Offset and length are multiples of the logical sector; what would go on
 * past the end of the disk is cut off there.
 *
 * ERROR_INVALID_HANDLE: no virtual disk. ERROR_INVALID_PARAMETER: no @Overlapped, no @Buffer or
 * nothing to move; or, as the result, no whole sectors. ERROR_ACCESS_DENIED: the handle was opened
 * without VIRTUAL_DISK_ACCESS_ATTACH_RO (to write: ATTACH_RW). ERROR_VHD_INVALID_STATE: not so
 * attached; ERROR_WRITE_PROTECT: for reading only. Result ERROR_HANDLE_EOF: past the end.
 */
BOOL WINAPI ReadFile(
	HANDLE File, LPVOID Buffer, DWORD Bytes, DWORD *BytesRead, LPOVERLAPPED Overlapped);
BOOL WINAPI WriteFile(
	HANDLE File, LPCVOID Buffer, DWORD Bytes, DWORD *BytesWritten, LPOVERLAPPED Overlapped);
/*
 * FlushFileBuffers - what was written to the virtual disk before, and has ended, becomes durable.
 */
BOOL WINAPI FlushFileBuffers(HANDLE File);

/*
 * GetOverlappedResult - the result of what was started on the virtual disk @File with @Overlapped.
 * @Wait: wait for its end; otherwise ERROR_IO_INCOMPLETE while it runs. What failed fails this
 * call, with its own error code. An OVERLAPPED that nothing was started with tells what is in it.
 */
BOOL WINAPI GetOverlappedResult(
	HANDLE File, LPOVERLAPPED Overlapped, DWORD *BytesTransferred, BOOL Wait);
/*
 * CancelIoEx - ask the operation with @Overlapped, or all if NULL, to end. It ends with
 * ERROR_OPERATION_ABORTED at its next safe point, or normally if it came too late.
 * ERROR_NOT_FOUND: nothing runs.
 */
BOOL WINAPI CancelIoEx(HANDLE File, LPOVERLAPPED Overlapped);

#ifdef __cplusplus
}
#endif

#endif
