/*
 * whp/memory.h - guest physical memory: mapping, translating, reading, advising.
 *
 * Source: the Windows SDK's definition of the same names (values and layouts are its ABI); sizes
 * and offsets are asserted in src/hypervisor/abi.c. Include <WinHvPlatformDefs.h>, not this file.
 */
#ifndef PARTITA_WHP_MEMORY_H
#define PARTITA_WHP_MEMORY_H

#include <whp/registers.h>

typedef enum WHV_MAP_GPA_RANGE_FLAGS {
	WHvMapGpaRangeFlagNone = 0x00000000,
	WHvMapGpaRangeFlagRead = 0x00000001,
	WHvMapGpaRangeFlagWrite = 0x00000002,
	WHvMapGpaRangeFlagExecute = 0x00000004,
	WHvMapGpaRangeFlagTrackDirtyPages = 0x00000008,
} WHV_MAP_GPA_RANGE_FLAGS;
DEFINE_ENUM_FLAG_OPERATORS(WHV_MAP_GPA_RANGE_FLAGS)

typedef enum WHV_TRANSLATE_GVA_FLAGS {
	WHvTranslateGvaFlagNone = 0x00000000,
	WHvTranslateGvaFlagValidateRead = 0x00000001,
	WHvTranslateGvaFlagValidateWrite = 0x00000002,
	WHvTranslateGvaFlagValidateExecute = 0x00000004,
	WHvTranslateGvaFlagPrivilegeExempt = 0x00000008,
	WHvTranslateGvaFlagSetPageTableBits = 0x00000010,
	WHvTranslateGvaFlagEnforceSmap = 0x00000100,
	WHvTranslateGvaFlagOverrideSmap = 0x00000200
} WHV_TRANSLATE_GVA_FLAGS;
DEFINE_ENUM_FLAG_OPERATORS(WHV_TRANSLATE_GVA_FLAGS)

typedef union WHV_TRANSLATE_GVA_2_FLAGS {
	struct {
		UINT64 ValidateRead : 1;
		UINT64 ValidateWrite : 1;
		UINT64 ValidateExecute : 1;
		UINT64 PrivilegeExempt : 1;
		UINT64 SetPageTableBits : 1;
		UINT64 Reserved1 : 3;
		UINT64 EnforceSmap : 1;
		UINT64 OverrideSmap : 1;
		UINT64 Reserved4 : 46;
		UINT64 InputVtl : 8;
	};
	UINT64 AsUINT64;
} WHV_TRANSLATE_GVA_2_FLAGS;

typedef enum WHV_TRANSLATE_GVA_RESULT_CODE {
	WHvTranslateGvaResultSuccess = 0,
	WHvTranslateGvaResultPageNotPresent = 1,
	WHvTranslateGvaResultPrivilegeViolation = 2,
	WHvTranslateGvaResultInvalidPageTableFlags = 3,
	WHvTranslateGvaResultGpaUnmapped = 4,
	WHvTranslateGvaResultGpaNoReadAccess = 5,
	WHvTranslateGvaResultGpaNoWriteAccess = 6,
	WHvTranslateGvaResultGpaIllegalOverlayAccess = 7,
	WHvTranslateGvaResultIntercept = 8
} WHV_TRANSLATE_GVA_RESULT_CODE;

typedef struct WHV_TRANSLATE_GVA_RESULT {
	WHV_TRANSLATE_GVA_RESULT_CODE ResultCode;
	UINT32 Reserved;
} WHV_TRANSLATE_GVA_RESULT;

/* The most bytes WHvReadGpaRange and WHvWriteGpaRange move. */
#define WHV_READ_WRITE_GPA_RANGE_MAX_SIZE 16

typedef enum WHV_MEMORY_ACCESS_TYPE {
	WHvMemoryAccessRead = 0,
	WHvMemoryAccessWrite = 1,
	WHvMemoryAccessExecute = 2
} WHV_MEMORY_ACCESS_TYPE;

typedef enum WHV_CACHE_TYPE {
	WHvCacheTypeUncached = 0,
	WHvCacheTypeWriteCombining = 1,
	WHvCacheTypeWriteThrough = 4,
	WHvCacheTypeWriteProtected = 5,
	WHvCacheTypeWriteBack = 6
} WHV_CACHE_TYPE;

/* Virtual trust levels. */
typedef UINT8 WHV_VTL;
#define WHV_VTL_ALL 0xF

typedef union WHV_INPUT_VTL {
	UINT8 AsUINT8;
	struct {
		UINT8 TargetVtl : 4;
		UINT8 UseTargetVtl : 1;
		UINT8 Reserved : 3;
	};
} WHV_INPUT_VTL;

typedef union WHV_ENABLE_PARTITION_VTL_FLAGS {
	UINT8 AsUINT8;
	struct {
		UINT8 EnableMbec : 1;
		UINT8 EnableSupervisorShadowStack : 1;
		UINT8 EnableHardwareHvpt : 1;
		UINT8 Reserved : 5;
	};
} WHV_ENABLE_PARTITION_VTL_FLAGS;

typedef union WHV_DISABLE_PARTITION_VTL_FLAGS {
	UINT8 AsUINT8;
	struct {
		UINT8 ScrubOnly : 1;
		UINT8 Reserved : 7;
	};
} WHV_DISABLE_PARTITION_VTL_FLAGS;

typedef union WHV_DISABLE_VP_VTL_FLAGS {
	UINT8 AsUINT8;
	struct {
		UINT8 ScrubOnly : 1;
		UINT8 Reserved : 7;
	};
} WHV_DISABLE_VP_VTL_FLAGS;

/* VTL permissions of a page, from VTL 1 up. */
typedef union WHV_VTL_PERMISSION_SET {
	UINT32 AsUINT32;
	struct {
		UINT16 VtlPermissionFrom1[2];
	};
} WHV_VTL_PERMISSION_SET;

typedef union WHV_ACCESS_GPA_CONTROLS {
	UINT64 AsUINT64;
	struct {
		WHV_CACHE_TYPE CacheType;
		WHV_INPUT_VTL InputVtl;
		UINT8 Reserved;
		UINT16 Reserved1;
	};
} WHV_ACCESS_GPA_CONTROLS;

typedef struct WHV_MEMORY_RANGE_ENTRY {
	UINT64 GuestAddress;
	UINT64 SizeInBytes;
} WHV_MEMORY_RANGE_ENTRY;

typedef enum WHV_ADVISE_GPA_RANGE_CODE {
	WHvAdviseGpaRangeCodePopulate = 0x00000000,
	WHvAdviseGpaRangeCodePin = 0x00000001,
	WHvAdviseGpaRangeCodeUnpin = 0x00000002,
} WHV_ADVISE_GPA_RANGE_CODE;

typedef union WHV_ADVISE_GPA_RANGE_POPULATE_FLAGS {
	UINT32 AsUINT32;
	struct {
		UINT32 Prefetch : 1;
		UINT32 AvoidHardFaults : 1;
		UINT32 Reserved : 30;
	};
} WHV_ADVISE_GPA_RANGE_POPULATE_FLAGS;

typedef struct WHV_ADVISE_GPA_RANGE_POPULATE {
	WHV_ADVISE_GPA_RANGE_POPULATE_FLAGS Flags;
	WHV_MEMORY_ACCESS_TYPE AccessType;
} WHV_ADVISE_GPA_RANGE_POPULATE;

typedef union WHV_ADVISE_GPA_RANGE {
	WHV_ADVISE_GPA_RANGE_POPULATE Populate;
} WHV_ADVISE_GPA_RANGE;

/* A write that signals an event instead of exiting. */
typedef struct WHV_DOORBELL_MATCH_DATA {
	WHV_GUEST_PHYSICAL_ADDRESS GuestAddress;
	UINT64 Value;
	UINT32 Length;
	UINT32 MatchOnValue : 1;
	UINT32 MatchOnLength : 1;
	UINT32 Reserved : 30;
} WHV_DOORBELL_MATCH_DATA;

#endif
