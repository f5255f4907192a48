/*
 * vhdx_image.h - VHDX files for tests: made in a folder of their own, opened, and changed byte by
 * byte with the checksums put right again.
 */
#ifndef PARTITA_TESTS_VHDX_IMAGE_H
#define PARTITA_TESTS_VHDX_IMAGE_H

#include "disk/disk.h"
#include "disk/vhdx_protocol.h"
#include "folder.h"

#define MIB (1ull << 20)

/* Where vhdx_create.c puts things. */
#define IMAGE_LOG      (1 * MIB)
#define IMAGE_METADATA (2 * MIB)
#define IMAGE_BAT      (3 * MIB)
#define IMAGE_BLOCKS   (4 * MIB) /* behind a BAT of at most 1 MiB */

struct images {
	struct disk_engine *engine;
	char folder[FOLDER];
	char path[192]; /* image_path()'s */
};

/* For cmocka: a folder and an engine; *state is the struct images. */
int images_set_up(void **state);
int images_tear_down(void **state);

/* The path of the image @name; valid until the next call. */
const char *image_path(struct images *m, const char *name);
/* A VHDX image; @parent (NULL: none) is a name too. Returns what disk_create() does. */
int image_create(struct images *m, const char *name, const struct disk_create *create,
	const char *parent, struct disk_problem *problem);
/* A dynamic image of 100 MiB with blocks of 1 MiB. */
void image_make(struct images *m, const char *name);
/* A differencing one, with blocks of 1 MiB. */
void image_make_child(struct images *m, const char *name, const char *parent);
int image_open(struct images *m, const char *name, unsigned flags, struct disk **d,
	struct disk_problem *problem);
/* Open what must open. */
struct disk *image_opened(struct images *m, const char *name, unsigned flags);

void image_peek(struct images *m, const char *name, uint64_t offset, void *data, size_t n);
void image_poke(struct images *m, const char *name, uint64_t offset, const void *data, size_t n);
void image_copy(struct images *m, const char *from, const char *to);

/* Structures of the file, read, and written with the right checksum. */
void image_get_header(struct images *m, const char *name, unsigned i, struct vhdx_header *h);
void image_set_header(struct images *m, const char *name, unsigned i, struct vhdx_header *h);
void image_get_regions(struct images *m, const char *name, struct vhdx_region_table *t);
/* Into both copies. */
void image_set_regions(struct images *m, const char *name, struct vhdx_region_table *t);

#endif
