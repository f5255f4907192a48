/*
 * linux_protocol.h - the bytes of the Linux/x86 boot protocol: the setup header in a bzImage, and
 * the "zero page" that the kernel receives. Linux, Documentation/x86/boot.rst and zero-page.rst.
 */
#ifndef PARTITA_BOOT_LINUX_PROTOCOL_H
#define PARTITA_BOOT_LINUX_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#define LINUX_SECTOR	    512
#define LINUX_HEADER_OFFSET 0x1f1
#define LINUX_BOOT_FLAG	    0xaa55
#define LINUX_MAGIC	    0x53726448 /* "HdrS" */
#define LINUX_DEFAULT_SECTS 4

/* The header. What a field needs as protocol version stands behind it. */
struct linux_header {
	uint8_t setup_sects;
	uint16_t root_flags;
	uint32_t syssize; /* 2.04 */
	uint16_t ram_size;
	uint16_t vid_mode;
	uint16_t root_dev;
	uint16_t boot_flag;
	uint8_t jump[2]; /* its second byte + 0x202: where the header ends */
	uint32_t magic;
	uint16_t version;
	uint32_t realmode_switch;
	uint16_t start_sys_seg;
	uint16_t kernel_version;
	uint8_t type_of_loader;
	uint8_t loadflags;
	uint16_t setup_move_size;
	uint32_t code32_start;
	uint32_t ramdisk_image;
	uint32_t ramdisk_size;
	uint32_t bootsect_kludge;
	uint16_t heap_end_ptr;
	uint8_t ext_loader_ver;
	uint8_t ext_loader_type;
	uint32_t cmd_line_ptr;	    /* 2.02 */
	uint32_t initrd_addr_max;   /* 2.03 */
	uint32_t kernel_alignment;  /* 2.05 */
	uint8_t relocatable_kernel; /* 2.05 */
	uint8_t min_alignment;	    /* 2.10 */
	uint16_t xloadflags;	    /* 2.12 */
	uint32_t cmdline_size;	    /* 2.06 */
	uint32_t hardware_subarch;  /* 2.07 */
	uint64_t hardware_subarch_data;
	uint32_t payload_offset; /* 2.08 */
	uint32_t payload_length;
	uint64_t setup_data;   /* 2.09 */
	uint64_t pref_address; /* 2.10 */
	uint32_t init_size;    /* 2.10 */
	uint32_t handover_offset;
	uint32_t kernel_info_offset;
} __attribute__((packed));
_Static_assert(offsetof(struct linux_header, magic) == 0x202 - LINUX_HEADER_OFFSET, "header");
_Static_assert(
	offsetof(struct linux_header, cmd_line_ptr) == 0x228 - LINUX_HEADER_OFFSET, "header");
_Static_assert(offsetof(struct linux_header, init_size) == 0x260 - LINUX_HEADER_OFFSET, "header");
_Static_assert(sizeof(struct linux_header) == 0x26c - LINUX_HEADER_OFFSET, "header");

#define LINUX_LOADED_HIGH    0x01 /* loadflags */
#define LINUX_XLF_KERNEL_64  0x01 /* xloadflags: there is a 64-bit entry */
#define LINUX_XLF_ABOVE_4G   0x02 /* and kernel, initrd and so on may lie above 4 GiB */
#define LINUX_ENTRY_64	     0x200
#define LINUX_LOADER_UNKNOWN 0xff
#define LINUX_VID_NORMAL     0xffff

/* What holds where an old header does not say. */
#define LINUX_OLD_INITRD_MAX   0x37ffffff
#define LINUX_OLD_CMDLINE_SIZE 255
#define LINUX_OLD_ADDRESS      0x100000

struct linux_e820 {
	uint64_t start, size;
	uint32_t type;
} __attribute__((packed));
_Static_assert(sizeof(struct linux_e820) == 20, "E820 entry");
#define LINUX_E820_MAX 128

/* The zero page: only the fields that we fill. */
struct linux_zero_page {
	uint8_t screen_info[0x70];
	uint64_t acpi_rsdp_addr;
	uint8_t reserved0[0xc0 - 0x78];
	uint32_t ext_ramdisk_image;
	uint32_t ext_ramdisk_size;
	uint32_t ext_cmd_line_ptr;
	uint8_t reserved1[0x1e8 - 0xcc];
	uint8_t e820_entries;
	uint8_t reserved2[LINUX_HEADER_OFFSET - 0x1e9];
	struct linux_header header;
	uint8_t reserved3[0x2d0 - 0x26c];
	struct linux_e820 e820[LINUX_E820_MAX];
	uint8_t reserved4[4096 - 0xcd0];
} __attribute__((packed));
_Static_assert(offsetof(struct linux_zero_page, ext_ramdisk_image) == 0xc0, "zero page");
_Static_assert(offsetof(struct linux_zero_page, e820_entries) == 0x1e8, "zero page");
_Static_assert(offsetof(struct linux_zero_page, header) == LINUX_HEADER_OFFSET, "zero page");
_Static_assert(offsetof(struct linux_zero_page, e820) == 0x2d0, "zero page");
_Static_assert(sizeof(struct linux_zero_page) == 4096, "zero page");

#endif
