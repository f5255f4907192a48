/*
 * minwindef.h - the base types of the Windows SDK, as far as the headers beside this one need
 * them, with the sizes they have on 64-bit Windows (LLP64: LONG is 32 bits wide).
 *
 * What differs by nature:
 * - the calling convention is the platform's own: WINAPI and CALLBACK are empty;
 * - an event HANDLE is an eventfd(2) descriptor, cast: see PARTITA_HANDLE_FROM_FD. Events are made,
 *   waited for and closed by the functions of winbase.h, or by eventfd(2), poll(2) and close(2).
 */
#ifndef PARTITA_MINWINDEF_H
#define PARTITA_MINWINDEF_H

#include <sal.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && !defined(_AMD64_)
#define _AMD64_ 1
#endif

#ifdef __cplusplus
#define C_ASSERT(e) static_assert(e, #e)
#else
#define C_ASSERT(e) _Static_assert(e, #e)
#endif

#define WINAPI
#define APIENTRY
#define CALLBACK
#define VOID void
#ifndef CONST
#define CONST const
#endif
#define UNREFERENCED_PARAMETER(p) ((void)(p))
#define FIELD_OFFSET(type, field) ((LONG)offsetof(type, field))
#define DECLSPEC_ALIGN(n)	  __attribute__((aligned(n)))
#define ANYSIZE_ARRAY		  1

#ifndef FALSE
#define FALSE 0
#endif
#ifndef TRUE
#define TRUE 1
#endif

typedef int8_t INT8;
typedef int16_t INT16, SHORT;
typedef int32_t INT32, INT, LONG, BOOL, *PBOOL;
typedef int64_t INT64, LONGLONG, LONG64;
typedef uint8_t UINT8, UCHAR, BYTE, BOOLEAN, *PUCHAR, *PBYTE;
typedef uint16_t UINT16, USHORT, WORD, *PUSHORT;
typedef uint32_t UINT32, UINT, ULONG, DWORD, *PUINT32, *PULONG, *PDWORD;
typedef uint64_t UINT64, ULONGLONG, ULONG64, DWORD64, *PUINT64, *PULONG64;
typedef intptr_t INT_PTR, LONG_PTR;
typedef uintptr_t UINT_PTR, ULONG_PTR, DWORD_PTR, SIZE_T;
typedef char CHAR, *PSTR, *LPSTR;
typedef const char *PCSTR, *LPCSTR;
typedef void *PVOID, *LPVOID, *HANDLE, **PHANDLE;
typedef const void *LPCVOID;
typedef PVOID PSECURITY_DESCRIPTOR;
typedef LONG HRESULT, NTSTATUS;

/*
 * UTF-16 code units: string constants are written u"...", or L"..." by a program that is compiled
 * with -fshort-wchar (which the C library's own functions for wide strings do not know).
 */
#if __SIZEOF_WCHAR_T__ == 2
typedef wchar_t WCHAR;
#elif defined(__cplusplus)
typedef char16_t WCHAR;
#else
typedef uint_least16_t WCHAR;
#endif
typedef WCHAR *PWSTR, *LPWSTR, *PWCHAR;
typedef const WCHAR *PCWSTR, *LPCWSTR;

typedef struct _LUID {
	DWORD LowPart;
	LONG HighPart;
} LUID, *PLUID;

typedef union _LARGE_INTEGER {
	struct {
		DWORD LowPart;
		LONG HighPart;
	};
	LONGLONG QuadPart;
} LARGE_INTEGER;

typedef enum _DEVICE_POWER_STATE {
	PowerDeviceUnspecified = 0,
	PowerDeviceD0 = 1,
	PowerDeviceD1 = 2,
	PowerDeviceD2 = 3,
	PowerDeviceD3 = 4,
	PowerDeviceMaximum = 5
} DEVICE_POWER_STATE;

#define INVALID_HANDLE_VALUE ((HANDLE)(intptr_t)-1)

/* An eventfd as a HANDLE and back. Descriptor 0 stays distinguishable from NULL. */
#define PARTITA_HANDLE_FROM_FD(fd) ((HANDLE)((intptr_t)(fd) + 1))
#define PARTITA_FD_FROM_HANDLE(h)  ((int)((intptr_t)(h)-1))

#ifdef __cplusplus
#define DEFINE_ENUM_FLAG_OPERATORS(T)                                                              \
	extern "C++" {                                                                             \
	inline constexpr T operator|(T a, T b)                                                     \
	{                                                                                          \
		return T((unsigned)a | (unsigned)b);                                               \
	}                                                                                          \
	inline constexpr T operator&(T a, T b)                                                     \
	{                                                                                          \
		return T((unsigned)a & (unsigned)b);                                               \
	}                                                                                          \
	inline constexpr T operator~(T a)                                                          \
	{                                                                                          \
		return T(~(unsigned)a);                                                            \
	}                                                                                          \
	inline T &operator|=(T &a, T b)                                                            \
	{                                                                                          \
		return a = a | b;                                                                  \
	}                                                                                          \
	inline T &operator&=(T &a, T b)                                                            \
	{                                                                                          \
		return a = a & b;                                                                  \
	}                                                                                          \
	}
#else
#define DEFINE_ENUM_FLAG_OPERATORS(T)
#endif

#endif
