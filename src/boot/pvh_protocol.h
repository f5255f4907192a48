/*
 * pvh_protocol.h - what a kernel entered through its PVH note receives. Xen,
 * xen/include/public/arch-x86/hvm/start_info.h and docs/misc/pvh.
 */
#ifndef PARTITA_BOOT_PVH_PROTOCOL_H
#define PARTITA_BOOT_PVH_PROTOCOL_H

#include <stdint.h>

#define PVH_NOTE_NAME  "Xen"
#define PVH_NOTE_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY: a physical address of 4 or 8 bytes */

#define PVH_MAGIC   0x336ec578
#define PVH_VERSION 1

struct pvh_start_info {
	uint32_t magic, version;
	uint32_t flags;
	uint32_t modules;
	uint64_t module_list;
	uint64_t cmdline;
	uint64_t rsdp;
	uint64_t memory_map;
	uint32_t memory_map_entries;
	uint32_t reserved;
};
_Static_assert(sizeof(struct pvh_start_info) == 56, "hvm_start_info");

struct pvh_module {
	uint64_t start, size;
	uint64_t cmdline;
	uint64_t reserved;
};
_Static_assert(sizeof(struct pvh_module) == 32, "hvm_modlist_entry");

struct pvh_memory {
	uint64_t start, size;
	uint32_t type; /* as in E820 */
	uint32_t reserved;
};
_Static_assert(sizeof(struct pvh_memory) == 24, "hvm_memmap_table_entry");

#endif
