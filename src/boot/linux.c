/*
 * linux.c - loads a bzImage by the Linux/x86 boot protocol (Documentation/x86/boot.rst), version
 * 2.02 or newer: through the 64-bit entry where the kernel has one, otherwise the 32-bit one. The
 * kernel's real-mode code does not run, and the kernel decompresses itself.
 */
#include <errno.h>
#include <string.h>

#include "boot/linux_protocol.h"
#include "boot/loader.h"

/* No kernel ends above this, where a PC's memory makes room for devices. */
#define MAX_END (3 * GIB)

/* A header, its gaps filled with what holds for its version. */
struct kernel {
	struct linux_header header;
	const uint8_t *code; /* the protected-mode kernel in the file */
	uint64_t code_size;
	uint64_t address, room; /* where it goes, and what it needs there until it is up */
	uint64_t alignment;	/* of another place; 0: it cannot run elsewhere */
	bool entry_64;
	struct linux_zero_page *zero; /* in guest memory */
};

static bool at_least(const struct linux_header *h, unsigned minor)
{
	return h->version >= (2u << 8 | minor);
}

bool linux_probe(const struct loader *l)
{
	struct linux_header h;

	/* Older headers are shorter; what is missing reads as zero. */
	if (l->kernel.size < LINUX_HEADER_OFFSET + offsetof(struct linux_header, version))
		return false;
	memcpy(&h, l->kernel.data + LINUX_HEADER_OFFSET, offsetof(struct linux_header, version));
	return h.boot_flag == LINUX_BOOT_FLAG && h.magic == LINUX_MAGIC;
}

static int read_header(struct loader *l, struct kernel *k)
{
	const struct loader_file *f = &l->kernel;
	struct linux_header *h = &k->header;
	uint64_t setup, size;

	if (f->size < LINUX_HEADER_OFFSET + offsetof(struct linux_header, cmd_line_ptr))
		goto truncated;
	memcpy(h, f->data + LINUX_HEADER_OFFSET, offsetof(struct linux_header, cmd_line_ptr));
	if (!at_least(h, 2) || !(h->loadflags & LINUX_LOADED_HIGH))
		return loader_fail(l, -ENOEXEC,
			"%s: its Linux boot protocol is older than 2.02; use a bzImage of Linux "
			"2.4 or newer",
			f->name);
	/* The header says itself how long it is: the jump over it. */
	size = offsetof(struct linux_header, magic) + h->jump[1];
	if (size < offsetof(struct linux_header, initrd_addr_max))
		return loader_fail(l, -ENOEXEC, "%s: its setup header is broken", f->name);
	if (size > sizeof(*h))
		size = sizeof(*h);
	setup = ((h->setup_sects ? h->setup_sects : LINUX_DEFAULT_SECTS) + 1) * LINUX_SECTOR;
	if (f->size <= setup || setup < LINUX_HEADER_OFFSET + size)
		goto truncated;
	memcpy(h, f->data + LINUX_HEADER_OFFSET, size);
	k->code = f->data + setup;
	k->code_size = f->size - setup;
	if (at_least(h, 4)) {
		if (h->syssize * 16ull > k->code_size)
			goto truncated;
		k->code_size = h->syssize * 16ull; /* a signature may follow */
	}
	if (!k->code_size)
		goto truncated;
	return 0;
truncated:
	return loader_fail(
		l, -ENOEXEC, "%s: a Linux kernel, but truncated; fetch or build it again", f->name);
}

static int complete_header(struct loader *l, struct kernel *k)
{
	struct linux_header *h = &k->header;

	if (!at_least(h, 3))
		h->initrd_addr_max = LINUX_OLD_INITRD_MAX;
	if (!at_least(h, 6))
		h->cmdline_size = LINUX_OLD_CMDLINE_SIZE;
	k->entry_64 = at_least(h, 12) && h->xloadflags & LINUX_XLF_KERNEL_64;
	if (k->entry_64 && k->code_size <= LINUX_ENTRY_64)
		return loader_fail(l, -ENOEXEC, "%s: a Linux kernel without code", l->kernel.name);
	if (at_least(h, 5) && h->relocatable_kernel) {
		k->alignment = h->kernel_alignment;
		if (k->alignment < 4096 || k->alignment & (k->alignment - 1))
			return loader_fail(l, -ENOEXEC,
				"%s: its setup header is broken (alignment)", l->kernel.name);
	}
	k->address = at_least(h, 10) ? h->pref_address : LINUX_OLD_ADDRESS;
	k->room = at_least(h, 10) && h->init_size > k->code_size ? h->init_size : k->code_size;
	return 0;
}

/* Puts the kernel where it prefers to be, or else as low above 1 MiB as it can run. */
static int place_kernel(struct loader *l, struct kernel *k)
{
	uint64_t address = k->address;
	uint8_t *host = NULL;

	if (address >= MIB && address < MAX_END && k->room <= MAX_END - address)
		host = loader_take(l, address, k->room);
	if (!host && k->alignment) {
		address = (MIB + k->alignment - 1) & ~(k->alignment - 1);
		host = loader_place_low(l, k->room, k->alignment, MIB, UINT32_MAX, &k->address);
	}
	if (!host && (address >= MAX_END || k->room > MAX_END - address))
		return loader_fail(l, -ENOEXEC,
			"%s: its setup header is broken (it asks for %llu MiB at %#llx)",
			l->kernel.name, (unsigned long long)(k->room / MIB),
			(unsigned long long)address);
	if (!host)
		return loader_no_room(l, l->kernel.name, "the kernel", address + k->room);
	memcpy(host, k->code, k->code_size);
	return 0;
}

static int place_initrd(struct loader *l, const struct kernel *k)
{
	struct linux_zero_page *zero = k->zero;
	/* With more memory the kernel would stand where it prefers to. */
	uint64_t preferred = at_least(&k->header, 10) ? k->header.pref_address : 0;
	uint64_t end = (k->address > preferred ? k->address : preferred) + k->room;
	uint64_t max = k->header.initrd_addr_max, start;
	int error;

	if (!l->initrd.size)
		return 0;
	if (k->entry_64 && k->header.xloadflags & LINUX_XLF_ABOVE_4G)
		max = UINT64_MAX - 1;
	error = loader_place_initrd(l, max, end, &start);
	if (error)
		return error;
	zero->header.ramdisk_image = start;
	zero->header.ramdisk_size = l->initrd.size;
	zero->ext_ramdisk_image = start >> 32;
	zero->ext_ramdisk_size = (uint64_t)l->initrd.size >> 32;
	return 0;
}

static int place_cmdline(struct loader *l, const struct kernel *k)
{
	size_t length = strlen(l->cmdline);
	uint64_t start;

	if (length > k->header.cmdline_size)
		return loader_fail(l, -E2BIG,
			"%s: the command line has %zu bytes and the kernel takes %u; shorten it",
			l->kernel.name, length, k->header.cmdline_size);
	if (loader_place_string(l, l->cmdline, &start))
		return -ENOMEM;
	k->zero->header.cmd_line_ptr = start;
	return 0;
}

static void fill_zero_page(const struct loader *l, const struct kernel *k)
{
	struct linux_zero_page *zero = k->zero;

	zero->header = k->header;
	zero->header.type_of_loader = LINUX_LOADER_UNKNOWN;
	zero->header.vid_mode = LINUX_VID_NORMAL;
	zero->header.code32_start = k->address;
	zero->header.ramdisk_image = zero->header.ramdisk_size = 0;
	zero->acpi_rsdp_addr = l->request->rsdp;
	zero->e820_entries = l->map_count;
	for (unsigned i = 0; i < l->map_count; i++)
		zero->e820[i] = (struct linux_e820){
			l->map[i].start, l->map[i].end - l->map[i].start, l->map[i].type};
}

int linux_load(struct loader *l)
{
	struct boot_state *state = &l->result->state;
	struct kernel k = {0};
	int error = read_header(l, &k);

	if (!error)
		error = complete_header(l, &k);
	if (!error)
		error = place_kernel(l, &k);
	if (error)
		return error;
	k.zero = loader_place_info(l, sizeof(*k.zero), &state->rsi);
	if (!k.zero)
		return -ENOMEM;
	fill_zero_page(l, &k);
	error = place_initrd(l, &k);
	if (!error)
		error = place_cmdline(l, &k);
	if (error)
		return error;
	l->result->kind = k.entry_64 ? BOOT_LINUX_64 : BOOT_LINUX_32;
	return k.entry_64 ? loader_enter_64(l, k.address + LINUX_ENTRY_64)
			  : loader_enter_32(l, k.address);
}
