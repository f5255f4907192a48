/*
 * partition_protocol.h - the bytes of partition tables: the master boot record with its chain of
 * extended ones, and the GUID partition table.
 *
 * Source: UEFI Specification 2.10, chapter 5 ("GUID Partition Table (GPT) Disk Layout"), with the
 * legacy MBR of 5.2.1. All numbers are little-endian. Blocks are the disk's logical sectors.
 */
#ifndef PARTITA_DISK_PARTITION_PROTOCOL_H
#define PARTITA_DISK_PARTITION_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include "guiddef.h"

#define MBR_SIGNATURE  0xAA55
#define MBR_PARTITIONS 4

enum mbr_type {
	MBR_EMPTY = 0x00,
	MBR_EXTENDED = 0x05,
	MBR_EXTENDED_LBA = 0x0F,
	MBR_EXTENDED_LINUX = 0x85,
	MBR_RECOVERY = 0x27, /* of Windows */
	MBR_PROTECTIVE = 0xEE,
	MBR_EFI_SYSTEM = 0xEF,
};

struct mbr_partition {
	uint8_t active, first_chs[3];
	uint8_t type;
	uint8_t last_chs[3];
	uint32_t first, blocks;
} __attribute__((packed));

struct mbr {
	uint8_t code[446];
	struct mbr_partition partition[MBR_PARTITIONS];
	uint16_t signature;
} __attribute__((packed));

#define GPT_SIGNATURE	  0x5452415020494645 /* "EFI PART" */
#define GPT_ENTRY_MIN	  128		     /* bytes */
#define GPT_ENTRIES_BYTES (1u << 20)	     /* of all entries: more than anybody makes */

struct gpt_header {
	uint64_t signature;
	uint32_t revision, size;
	uint32_t crc; /* CRC-32 of size bytes, with this field 0 */
	uint32_t reserved;
	uint64_t here, other; /* blocks of this header and of its copy */
	uint64_t first, last; /* blocks that partitions may have */
	GUID disk;
	uint64_t entries; /* block */
	uint32_t n_entries, entry_size;
	uint32_t entries_crc;
} __attribute__((packed));

struct gpt_entry {
	GUID type, id;
	uint64_t first, last; /* blocks */
	uint64_t attributes;
	uint16_t name[36];
};

_Static_assert(sizeof(struct mbr_partition) == 16, "size");
_Static_assert(sizeof(struct mbr) == 512, "size");
_Static_assert(sizeof(struct gpt_header) == 92, "size");
_Static_assert(offsetof(struct gpt_header, entries) == 72, "offset");
_Static_assert(sizeof(struct gpt_entry) == GPT_ENTRY_MIN, "size");

#endif
