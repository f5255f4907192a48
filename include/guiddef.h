/*
 * guiddef.h - the GUID type in the SDK's layout (first three fields little-endian).
 */
#ifndef PARTITA_GUIDDEF_H
#define PARTITA_GUIDDEF_H

#include <minwindef.h>
#include <string.h>

#ifndef GUID_DEFINED
#define GUID_DEFINED
typedef struct _GUID {
	UINT32 Data1;
	UINT16 Data2;
	UINT16 Data3;
	UINT8 Data4[8];
} GUID, *LPGUID;
#endif

C_ASSERT(sizeof(GUID) == 16);

static inline BOOL IsEqualGUID_(const GUID *a, const GUID *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}
#ifdef __cplusplus
#define IsEqualGUID(a, b) IsEqualGUID_(&(a), &(b))
#else
#define IsEqualGUID(a, b) IsEqualGUID_((a), (b))
#endif

/* As in the SDK: defines the constant where INITGUID is set, declares it elsewhere. */
#define PARTITA_GUID_CONSTANT(name, l, w1, w2, b1, b2, b3, b4, b5, b6, b7, b8)                     \
	extern const GUID name __attribute__((weak));                                              \
	const GUID name = {l, w1, w2, {b1, b2, b3, b4, b5, b6, b7, b8}}
#ifdef INITGUID
#define DEFINE_GUID PARTITA_GUID_CONSTANT
#else
#define DEFINE_GUID(name, l, w1, w2, b1, b2, b3, b4, b5, b6, b7, b8) extern const GUID name
#endif

#endif
