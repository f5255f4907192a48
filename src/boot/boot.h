/*
 * boot.h - put a kernel into guest memory, and say with which registers it starts.
 *
 * A kernel is known by its contents: a Linux bzImage, an ELF file with a PVH note, or a Multiboot 1
 * kernel. Files are read into host memory before they are looked at, and nothing in them is
 * believed: a bad file gives an error and one sentence, and leaves nothing but guest memory
 * changed.
 */
#ifndef PARTITA_BOOT_BOOT_H
#define PARTITA_BOOT_BOOT_H

#include <stddef.h>
#include <stdint.h>

struct boot_memory {
	uint64_t gpa, size; /* a range of guest RAM, page-aligned */
	uint8_t *host;
};

struct boot_file {
	int fd;		  /* -1: none. Read with pread or, if it cannot seek, to its end */
	const char *name; /* for messages */
};

struct boot_request {
	/*
	 * Guest RAM: 1 to 16 ranges in ascending order, the first beginning at 0 and larger than
	 * 1 MiB. The bytes from 639 KiB to 1 MiB are told to the guest as reserved: they are the
	 * PC's, with ACPI tables.
	 */
	const struct boot_memory *memory;
	unsigned memory_count;
	struct boot_file kernel;
	struct boot_file initrd;
	const char *cmdline; /* may be NULL */
	uint64_t rsdp;	     /* guest-physical address of the ACPI RSDP; 0: none */
};

/* A segment register: fields as WHV_X64_SEGMENT_REGISTER has them. */
struct boot_segment {
	uint64_t base;
	uint32_t limit;
	uint16_t selector;
	uint16_t attributes;
};

struct boot_table {
	uint64_t base;
	uint16_t limit;
};

/* The first processor's state at the kernel's entry. Registers not named are zero. */
struct boot_state {
	uint64_t rip, rflags;
	uint64_t rax, rbx, rsi, rsp;
	uint64_t cr0, cr3, cr4, efer;
	struct boot_segment cs, data; /* data: DS, ES, FS, GS and SS */
	struct boot_segment tr, ldtr;
	struct boot_table gdtr, idtr;
};

enum boot_kind {
	BOOT_LINUX_64,	/* bzImage, 64-bit entry */
	BOOT_LINUX_32,	/* bzImage, 32-bit entry */
	BOOT_PVH,	/* ELF, 32-bit entry of its PVH note */
	BOOT_MULTIBOOT, /* Multiboot 1 */
};

struct boot_result {
	enum boot_kind kind;
	struct boot_state state;
	char error[256]; /* after a failure: one sentence, without newline */
};

/*
 * boot_load - load what @request names.
 * Returns 0 with the result filled in, or with result->error set: -ENOEXEC (not a kernel, or a
 * broken one), -ENOMEM (does not fit the guest's memory), -E2BIG (command line too long), -EINVAL
 * (the request itself), or what reading a file gave.
 */
int boot_load(const struct boot_request *request, struct boot_result *result);

#endif
