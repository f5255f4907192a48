/*
 * vhdx_protocol.h - the bytes of a VHDX file. Source: [MS-VHDX] 2.2 (structures) and 2.3 (log).
 *
 * Everything is little-endian, and laid out so that the compiler adds nothing. Checksums are
 * CRC-32C of the whole structure with the checksum's field as zeros. The first MiB has the
 * identifier, two headers and two region tables, 64 KiB each; every other object lies at a multiple
 * of 1 MiB and is one long.
 */
#ifndef PARTITA_DISK_VHDX_PROTOCOL_H
#define PARTITA_DISK_VHDX_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include "guiddef.h"

#define VHDX_KB64 (64ull << 10)
#define VHDX_MB	  (1ull << 20)
#define VHDX_TB	  (1ull << 40)

#define VHDX_ALIGNMENT		VHDX_MB /* of regions, the log and blocks */
#define VHDX_HEADER_AREA	VHDX_MB
#define VHDX_IDENTIFIER_AT	0ull
#define VHDX_HEADER_AT(i)	(VHDX_KB64 * (1 + (i))) /* i: 0, 1 */
#define VHDX_REGION_TABLE_AT(i) (VHDX_KB64 * (3 + (i)))

/* Limits of the format. */
#define VHDX_BLOCK_MIN		 (1u << 20)
#define VHDX_BLOCK_MAX		 (256u << 20)
#define VHDX_BLOCK_DEFAULT	 (32u << 20) /* as Hyper-V makes them; differencing disks: */
#define VHDX_BLOCK_DIFFERENCING	 (2u << 20)
#define VHDX_SIZE_MAX		 (64 * VHDX_TB)
#define VHDX_FILE_MAX		 (128 * VHDX_TB) /* ours: no file with sound tables is longer */
#define VHDX_CHUNK_SECTORS	 (1ull << 23)	 /* sectors whose bits fill a sector bitmap block */
#define VHDX_BITMAP_BLOCK	 (1u << 20)
#define VHDX_REGIONS_MAX	 2047
#define VHDX_METADATA_MAX	 2047		/* items ... */
#define VHDX_METADATA_USER_MAX	 1024		/* ... of which are the user's */
#define VHDX_METADATA_ITEM_MAX	 (1u << 20)	/* bytes of an item */
#define VHDX_METADATA_REGION_MAX (128ull << 20) /* ours */
#define VHDX_LOCATOR_KEYS_MAX	 256		/* ours: the format has no limit but 16 bits */

/* 2.2.1 */
struct vhdx_identifier {
	uint8_t signature[8];
	uint16_t creator[256]; /* UTF-16, terminated */
};
_Static_assert(sizeof(struct vhdx_identifier) == 520, "file type identifier");
#define VHDX_IDENTIFIER_SIGNATURE "vhdxfile"

/* 2.2.2 */
#define VHDX_HEADER_SIGNATURE 0x64616568u /* "head" */
#define VHDX_VERSION	      1
#define VHDX_LOG_VERSION      0
struct vhdx_header {
	uint32_t signature;
	uint32_t checksum;
	uint64_t sequence; /* of two valid headers the greater one is current */
	GUID file_write;   /* changed before the first write after opening */
	GUID data_write;   /* changed before the first change of what a user of the disk sees */
	GUID log;	   /* of the entries to be replayed; zero: there are none */
	uint16_t log_version;
	uint16_t version;
	uint32_t log_length; /* bytes */
	uint64_t log_offset; /* in the file */
	uint8_t reserved[4016];
};
_Static_assert(offsetof(struct vhdx_header, log) == 48, "header");
_Static_assert(offsetof(struct vhdx_header, log_offset) == 72, "header");
_Static_assert(sizeof(struct vhdx_header) == 4096, "header");

/* 2.2.3 */
#define VHDX_REGION_TABLE_SIGNATURE 0x69676572u /* "regi" */
#define VHDX_REGION_REQUIRED	    1u
struct vhdx_region_entry {
	GUID id;
	uint64_t offset; /* in the file */
	uint32_t length; /* bytes */
	uint32_t flags;
};
_Static_assert(sizeof(struct vhdx_region_entry) == 32, "region table entry");

struct vhdx_region_table {
	uint32_t signature;
	uint32_t checksum;
	uint32_t count;
	uint32_t reserved;
	struct vhdx_region_entry entry[VHDX_REGIONS_MAX];
	uint8_t unused[16];
};
_Static_assert(offsetof(struct vhdx_region_table, entry) == 16, "region table");
_Static_assert(sizeof(struct vhdx_region_table) == VHDX_KB64, "region table");

/* Initializers of constants: 2.2.3.2 and 2.6.2. */
#define VHDX_GUID(l, w1, w2, b0, b1, b2, b3, b4, b5, b6, b7)                                       \
	{                                                                                          \
		l, w1, w2,                                                                         \
		{                                                                                  \
			b0, b1, b2, b3, b4, b5, b6, b7                                             \
		}                                                                                  \
	}
#define VHDX_REGION_BAT                                                                            \
	VHDX_GUID(0x2dc27766, 0xf623, 0x4200, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08)
#define VHDX_REGION_METADATA                                                                       \
	VHDX_GUID(0x8b7ca206, 0x4790, 0x4b9a, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e)
#define VHDX_ITEM_FILE_PARAMETERS                                                                  \
	VHDX_GUID(0xcaa16737, 0xfa36, 0x4d43, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b)
#define VHDX_ITEM_DISK_SIZE                                                                        \
	VHDX_GUID(0x2fa54224, 0xcd1b, 0x4876, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8)
#define VHDX_ITEM_PAGE_83                                                                          \
	VHDX_GUID(0xbeca12ab, 0xb2e6, 0x4523, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46)
#define VHDX_ITEM_LOGICAL_SECTOR                                                                   \
	VHDX_GUID(0x8141bf1d, 0xa96f, 0x4709, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f)
#define VHDX_ITEM_PHYSICAL_SECTOR                                                                  \
	VHDX_GUID(0xcda348c7, 0x445d, 0x4471, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56)
#define VHDX_ITEM_PARENT_LOCATOR                                                                   \
	VHDX_GUID(0xa8d35f2d, 0xb30b, 0x454d, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c)
#define VHDX_LOCATOR_TYPE                                                                          \
	VHDX_GUID(0xb04aefb7, 0xd19e, 0x4a81, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13)

/*
 * 2.5: an entry of the block allocation table: the state, and the place in the file in MiB. After
 * every chunk's payload blocks stands the entry of the chunk's sector bitmap block.
 */
#define VHDX_BAT_STATE	     7ull
#define VHDX_BAT_RESERVED    0xffff8ull
#define VHDX_BAT_OFFSET(e)   ((e) >> 20 << 20) /* bytes */
#define VHDX_BAT_ENTRY(s, o) ((uint64_t)(o) | (s))
enum vhdx_block_state {
	VHDX_BLOCK_NOT_PRESENT = 0, /* in the parent; without one: not defined, we read zeros */
	VHDX_BLOCK_UNDEFINED = 1,
	VHDX_BLOCK_ZERO = 2,
	VHDX_BLOCK_UNMAPPED = 3,
	VHDX_BLOCK_PRESENT = 6,
	VHDX_BLOCK_PARTIAL = 7, /* differencing: the sector bitmap says which sectors are here */
};
/* Sector bitmap blocks are VHDX_BLOCK_NOT_PRESENT or VHDX_BLOCK_PRESENT. */

/* 2.6.1 */
#define VHDX_METADATA_SIGNATURE "metadata"
#define VHDX_METADATA_TABLE	(64u << 10) /* bytes; items begin behind it */
#define VHDX_METADATA_USER	1u
#define VHDX_METADATA_DISK	2u /* of the disk, not of the file: travels with the contents */
#define VHDX_METADATA_REQUIRED	4u
struct vhdx_metadata_entry {
	GUID id;
	uint32_t offset; /* in the region; 0 for an empty item */
	uint32_t length;
	uint32_t flags;
	uint32_t reserved;
};
_Static_assert(sizeof(struct vhdx_metadata_entry) == 32, "metadata table entry");

struct vhdx_metadata_table {
	uint8_t signature[8];
	uint16_t reserved0;
	uint16_t count;
	uint8_t reserved1[20];
	struct vhdx_metadata_entry entry[VHDX_METADATA_MAX];
};
_Static_assert(sizeof(struct vhdx_metadata_table) == VHDX_METADATA_TABLE, "metadata table");

/* 2.6.2.1 */
#define VHDX_FILE_FIXED	     1u /* leave blocks allocated */
#define VHDX_FILE_HAS_PARENT 2u
struct vhdx_file_parameters {
	uint32_t block_size;
	uint32_t flags;
};
_Static_assert(sizeof(struct vhdx_file_parameters) == 8, "file parameters");

/* 2.6.2.6: the locator's header, then its entries; offsets are from the header's start. */
struct vhdx_locator_entry {
	uint32_t key_offset, value_offset;
	uint16_t key_length, value_length; /* bytes of UTF-16, not terminated */
};
_Static_assert(sizeof(struct vhdx_locator_entry) == 12, "parent locator entry");

struct vhdx_locator {
	GUID type;
	uint16_t reserved;
	uint16_t count;
	struct vhdx_locator_entry entry[];
};
_Static_assert(sizeof(struct vhdx_locator) == 20, "parent locator");

/* 2.3.1: an entry of the log: header and descriptors fill whole sectors, then come data sectors. */
#define VHDX_LOG_SECTOR		  4096u
#define VHDX_LOGGABLE		  VHDX_REGION_TABLE_AT(0) /* the log changes nothing before it */
#define VHDX_LOG_ENTRY_SIGNATURE  0x65676f6cu		  /* "loge" */
#define VHDX_LOG_ZERO_SIGNATURE	  0x6f72657au		  /* "zero" */
#define VHDX_LOG_DATA_SIGNATURE	  0x63736564u		  /* "desc" */
#define VHDX_LOG_SECTOR_SIGNATURE 0x61746164u		  /* "data" */
struct vhdx_log_header {
	uint32_t signature;
	uint32_t checksum; /* of the whole entry */
	uint32_t length;   /* bytes of the entry, whole sectors */
	uint32_t tail;	   /* in the log: where the sequence that ends with this entry begins */
	uint64_t sequence; /* not 0; one more than that of the entry before */
	uint32_t descriptors;
	uint32_t reserved;
	GUID log;
	uint64_t flushed_file_offset; /* bytes: the durable length of the file */
	uint64_t last_file_offset;    /* bytes: the file is at least as long after replay */
};
_Static_assert(sizeof(struct vhdx_log_header) == 64, "log entry header");

struct vhdx_log_descriptor {
	uint32_t signature;
	uint32_t trailing; /* data: the sector's last 4 bytes */
	union {
		uint64_t leading; /* data: the sector's first 8 bytes */
		uint64_t length;  /* zero: bytes, whole sectors */
	};
	uint64_t offset; /* in the file, a multiple of a sector */
	uint64_t sequence;
};
_Static_assert(sizeof(struct vhdx_log_descriptor) == 32, "log descriptor");

struct vhdx_log_sector {
	uint32_t signature;
	uint32_t sequence_high;
	uint8_t data[4084]; /* bytes 8 to 4091 */
	uint32_t sequence_low;
};
_Static_assert(sizeof(struct vhdx_log_sector) == VHDX_LOG_SECTOR, "log data sector");

#endif
