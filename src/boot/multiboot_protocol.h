/*
 * multiboot_protocol.h - the Multiboot Specification, version 0.6.96: the header in a kernel (3.1)
 * and the information it receives (3.3).
 */
#ifndef PARTITA_BOOT_MULTIBOOT_PROTOCOL_H
#define PARTITA_BOOT_MULTIBOOT_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#define MULTIBOOT_SEARCH       8192 /* the header lies within, at a multiple of 4 */
#define MULTIBOOT_HEADER_MAGIC 0x1badb002
#define MULTIBOOT_ENTRY_MAGIC  0x2badb002 /* in EAX; EBX has the information */

/* Header flags. The lower half are demands. */
#define MULTIBOOT_PAGE_ALIGN  0x00001u
#define MULTIBOOT_MEMORY_INFO 0x00002u
#define MULTIBOOT_DEMANDS     0x0ffffu
#define MULTIBOOT_ADDRESSES   0x10000u

struct multiboot_header {
	uint32_t magic, flags, checksum;
	/* only with MULTIBOOT_ADDRESSES */
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};
_Static_assert(sizeof(struct multiboot_header) == 32, "Multiboot header");

/* Which fields of the information are valid */
#define MULTIBOOT_INFO_MEMORY  0x001
#define MULTIBOOT_INFO_CMDLINE 0x004
#define MULTIBOOT_INFO_MODULES 0x008
#define MULTIBOOT_INFO_MAP     0x040
#define MULTIBOOT_INFO_LOADER  0x200

struct multiboot_info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper; /* KiB from 0 and from 1 MiB */
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t symbols[4];
	uint32_t mmap_length, mmap_addr;
	uint32_t drives_length, drives_addr;
	uint32_t config_table;
	uint32_t boot_loader_name;
	uint32_t reserved[13]; /* APM, VBE, framebuffer */
};
_Static_assert(offsetof(struct multiboot_info, mmap_length) == 44, "Multiboot information");
_Static_assert(offsetof(struct multiboot_info, boot_loader_name) == 64, "Multiboot information");

struct multiboot_module {
	uint32_t start, end;
	uint32_t string;
	uint32_t reserved;
};
_Static_assert(sizeof(struct multiboot_module) == 16, "Multiboot module");

struct multiboot_memory {
	uint32_t size; /* of the rest */
	uint64_t start, length;
	uint32_t type; /* as in E820 */
} __attribute__((packed));
_Static_assert(sizeof(struct multiboot_memory) == 24, "Multiboot memory map");

#endif
