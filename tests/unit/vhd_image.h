/*
 * vhd_image.h - what the tests of VHDs share: a folder, an engine, images in it, and their bytes.
 */
#ifndef PARTITA_TESTS_VHD_IMAGE_H
#define PARTITA_TESTS_VHD_IMAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>

#include "disk/disk.h"
#include "disk/vhd_protocol.h"

extern struct disk_engine *engine;

/* For cmocka: makes the folder and the engine, and takes them away. */
int vhd_set_up(void **state);
int vhd_tear_down(void **state);

/* image - the path of @name in the folder; good until the eighth call after. */
const char *image(const char *name);
/* make - create; an existing one is replaced. @parent NULL: none. Fails the test. */
void make(const char *name, enum disk_kind kind, uint64_t size, uint32_t block_size,
	const char *parent);
/* opened - open, or fail the test with the problem's text. */
struct disk *opened(const char *name, unsigned flags);
/* refused - opening fails with @err and @win32; what the user is told contains @text. */
void refused(const char *name, int err, uint32_t win32, const char *text);
/* check - how many errors, with repair when @repair; *@repaired may be NULL. */
uint64_t checked(const char *name, bool repair, uint64_t *repaired);

/* Bytes of the file itself. @offset < 0: from the end. */
void peek(const char *name, void *bytes, size_t n, int64_t offset);
void poke(const char *name, const void *bytes, size_t n, int64_t offset);
uint64_t file_size(const char *name);
void cut(const char *name, uint64_t size);
/* poke_footer, poke_header - put a structure in its places, with the right checksum. */
void poke_footer(const char *name, struct vhd_footer *f);
void poke_header(const char *name, struct vhd_header *h);

/* fill - bytes that tell where they are from. */
void fill(void *bytes, size_t n, uint32_t seed);
/* holds - fails unless the disk has what fill() made, or zeros for seed 0. */
void holds(struct disk *d, uint64_t offset, size_t n, uint32_t seed);
void put(struct disk *d, uint64_t offset, size_t n, uint32_t seed);

#endif
