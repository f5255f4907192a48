/*
 * vhd_protocol.h - the layout of VHD files. All numbers are big-endian, structures are aligned to
 * sectors of 512 bytes.
 *
 *	fixed:		the disk's bytes; footer
 *	dynamic,	copy of the footer at 0; header; block allocation table (BAT); blocks, each
 *	differencing:	led by its sector bitmap; footer. A differencing disk also has the parent's
 *			paths, anywhere.
 *
 * Source: Microsoft, "Virtual Hard Disk Image Format Specification", version 1.0 (VHD 1.0). Where
 * programs agree on something else than its text, that is said at the field.
 */
#ifndef PARTITA_DISK_VHD_PROTOCOL_H
#define PARTITA_DISK_VHD_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#define VHD_SECTOR     512u
#define VHD_EPOCH      946684800		    /* time stamps: seconds since 2000-01-01 UTC */
#define VHD_SIZE_MAX   (UINT64_C(2040) << 30)	    /* bytes of a disk */
#define VHD_NO_OFFSET  UINT64_MAX		    /* a data offset that leads nowhere */
#define VHD_ROOM_MAX   (UINT64_C(0xffffffff) * 512) /* a BAT entry reaches no further, in bytes */
#define VHD_BLOCK_SIZE (2u << 20)		    /* bytes; the default */
#define VHD_FOOTER_OLD 511u /* bytes of the footer of disks from before Virtual PC 2004 */

/* "Hard Disk Footer Format" */
#define VHD_FOOTER_COOKIE "conectix"
#define VHD_VERSION	  0x00010000u
#define VHD_FEATURES	  2u /* a reserved bit that is always set */

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

struct vhd_footer {
	char cookie[8];
	uint32_t features;
	uint32_t version;     /* major << 16 | minor; another major is another format */
	uint64_t data_offset; /* of the header; VHD_NO_OFFSET on fixed disks */
	uint32_t time_stamp;
	char creator[4]; /* application */
	uint32_t creator_version;
	char creator_host[4];
	uint64_t original_size; /* bytes of the disk when it was made */
	uint64_t size;		/* bytes of the disk */
	uint16_t cylinders;
	uint8_t heads, sectors; /* per track */
	uint32_t type;
	uint32_t checksum; /* ones' complement of the sum of the other bytes */
	uint8_t id[16];	   /* a GUID, all of it big-endian */
	uint8_t saved_state;
	uint8_t reserved[427];
} __attribute__((packed));
_Static_assert(sizeof(struct vhd_footer) == 512, "footer");
_Static_assert(offsetof(struct vhd_footer, data_offset) == 16, "footer");
_Static_assert(offsetof(struct vhd_footer, size) == 48, "footer");
_Static_assert(offsetof(struct vhd_footer, id) == 68, "footer");

/*
 * Who made it. The size of a disk stands in the footer twice, in bytes and as a geometry, which is
 * mostly less. Hyper-V goes by the bytes. Virtual PC went by the geometry, and qemu does for
 * creators that it does not know; among those it knows to mean bytes is "win ".
 */
#define VHD_CREATOR	    "win "
#define VHD_CREATOR_VERSION 0x00000001u /* tells our disks from those of Windows (6.0 and up) */
#define VHD_CREATOR_HOST    "Wi2k"

/* "Dynamic Disk Header Format" */
#define VHD_HEADER_COOKIE "cxsparse"
#define VHD_LOCATORS	  8u
#define VHD_NAME_UNITS	  256u

struct vhd_locator {
	char platform[4];
	uint32_t space; /* room for the data: said to be sectors, written by all as bytes */
	uint32_t length;
	uint32_t reserved;
	uint64_t offset;
} __attribute__((packed));
_Static_assert(sizeof(struct vhd_locator) == 24, "parent locator");

#define VHD_LOCATOR_RELATIVE "W2ru"	 /* UTF-16LE, from the folder of the child */
#define VHD_LOCATOR_ABSOLUTE "W2ku"	 /* UTF-16LE */
#define VHD_LOCATOR_URL	     "MacX"	 /* file URL, UTF-8 */
#define VHD_LOCATOR_MAX	     (64u << 10) /* bytes that we read: longer than any path */

struct vhd_header {
	char cookie[8];
	uint64_t data_offset;  /* VHD_NO_OFFSET */
	uint64_t table_offset; /* the BAT's */
	uint32_t version;
	uint32_t entries;    /* of the BAT: at least the blocks of the disk */
	uint32_t block_size; /* bytes of data in a block, a power of 2 */
	uint32_t checksum;   /* as the footer's */
	uint8_t parent_id[16];
	uint32_t parent_time; /* the parent's time stamp when the child was made */
	uint32_t reserved;
	uint16_t parent_name[VHD_NAME_UNITS]; /* UTF-16BE */
	struct vhd_locator locator[VHD_LOCATORS];
	uint8_t reserved2[256];
} __attribute__((packed));
_Static_assert(sizeof(struct vhd_header) == 1024, "header");
_Static_assert(offsetof(struct vhd_header, parent_id) == 40, "header");
_Static_assert(offsetof(struct vhd_header, locator) == 576, "header");

/*
 * "Block Allocation Table and Data Blocks": an entry is the sector of the file where the block's
 * bitmap begins, whole sectors of a bit for each sector of the block, the first in the highest bit.
 * 1: the sector is in this file. 0: it is zeros, or the parent's.
 */
#define VHD_UNUSED 0xffffffffu

#endif
