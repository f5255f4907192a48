/*
 * disk_images.h - what tests of operations across disks work with: a folder of images, and a model
 * in memory of what a disk must read as.
 */
#ifndef TEST_DISK_IMAGES_H
#define TEST_DISK_IMAGES_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "disk/disk.h"
#include "folder.h"

#define MIB (1ull << 20)

struct images {
	struct disk_engine *engine;
	char folder[FOLDER];
	char paths[8][128]; /* the latest names */
	unsigned next;
	struct disk_problem problem;
};

/* cmocka's set-up and tear-down; the state is the struct images. */
int images_set_up(void **state);
int images_tear_down(void **state);

/* image_path - of a name in the folder; valid for the next seven calls. */
const char *image_path(struct images *i, const char *name);
/* These must succeed. */
void image_create(struct images *i, const char *name, const struct disk_create *create);
struct disk *image_open(struct images *i, const char *name, unsigned flags);
void image_close(struct disk *d);

/* A disk's contents; numbers come from a generator of its own, so that a test repeats itself. */
struct model {
	uint8_t *bytes;
	uint64_t size;
	uint64_t seed;
};

void model_init(struct model *m, uint64_t size, uint64_t seed);
void model_fini(struct model *m);
uint64_t model_random(struct model *m, uint64_t below);
/* model_change - one random write, zeroing or unmapping, in the model and in @d. */
void model_change(struct model *m, struct disk *d);
/* model_check - @d has the model's size and contents. */
void model_check(const struct model *m, struct disk *d);

#endif
