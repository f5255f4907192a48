/*
 * loader.h - what the loaders of this room share: the files in host memory, guest memory and what
 * of it is taken, errors, and the states in which a kernel may be entered.
 */
#ifndef PARTITA_BOOT_LOADER_H
#define PARTITA_BOOT_LOADER_H

#include <stdbool.h>

#include "boot/boot.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define LOADER_MAX_MEMORY 16
#define LOADER_MAX_TAKEN  160

/* A file, read. The bytes are ours: nobody changes them behind our back. */
struct loader_file {
	const char *name;
	uint8_t *data;
	size_t size; /* 0: there is none */
};

struct loader_range {
	uint64_t start, end;
};

/* The memory map that every kernel is told, in its own format. Types as E820 has them. */
struct loader_map {
	uint64_t start, end;
	uint32_t type;
};
#define MAP_RAM	     1
#define MAP_RESERVED 2

struct loader {
	const struct boot_request *request;
	struct boot_result *result;
	struct loader_file kernel, initrd;
	const char *cmdline; /* never NULL */
	struct loader_map map[LOADER_MAX_MEMORY + 2];
	unsigned map_count;
	struct loader_range taken[LOADER_MAX_TAKEN];
	unsigned taken_count;
};

/* loader_fail - the sentence for the user. Returns @error. */
int loader_fail(struct loader *l, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * loader_no_room - fail because @what does not fit.
 * @need: bytes of memory, from address 0, with which it would.
 */
int loader_no_room(struct loader *l, const char *name, const char *what, uint64_t need);

/*
 * loader_take - claim exactly [@start, @start + @size), which must be free RAM.
 * Returns the host memory behind it, or NULL. @size 0 is nowhere: NULL.
 */
uint8_t *loader_take(struct loader *l, uint64_t start, uint64_t size);
/*
 * loader_place_low, loader_place_high - claim @size bytes at the lowest or highest free place
 * within [@min, @max], aligned to @align (a power of two). @start receives where. NULL: no room.
 */
uint8_t *loader_place_low(struct loader *l, uint64_t size, uint64_t align, uint64_t min,
	uint64_t max, uint64_t *start);
uint8_t *loader_place_high(struct loader *l, uint64_t size, uint64_t align, uint64_t min,
	uint64_t max, uint64_t *start);
/*
 * loader_place_info - claim zeroed room for what a kernel is told, below 4 GiB, low memory first.
 * NULL: no room, and the failure is said.
 */
void *loader_place_info(struct loader *l, uint64_t size, uint64_t *start);
/* loader_place_string - the same, filled with @string. Returns 0 or an error. */
int loader_place_string(struct loader *l, const char *string, uint64_t *start);
/*
 * loader_place_initrd - put the initrd, page-aligned, as high as it goes below 4 GiB, or else up
 * to @max. @kernel_end: for the message. Returns 0 with *@start, or an error.
 */
int loader_place_initrd(struct loader *l, uint64_t max, uint64_t kernel_end, uint64_t *start);

/* The states of entry: GDT (and page tables) are placed in guest memory. Return 0 or an error. */
int loader_enter_64(struct loader *l, uint64_t rip);
int loader_enter_32(struct loader *l, uint32_t eip);

/* The loaders. Each is called with a file that loader *_probe() recognised; 0 or an error. */
bool linux_probe(const struct loader *l);
int linux_load(struct loader *l);
bool pvh_probe(const struct loader *l);
int pvh_load(struct loader *l);
bool multiboot_probe(const struct loader *l);
int multiboot_load(struct loader *l);

#endif
