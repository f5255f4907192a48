/*
 * vhdx_image.c - see vhdx_image.h.
 */
#include "vhdx_image.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/vhdx.h"

int images_set_up(void **state)
{
	struct images *m = calloc(1, sizeof(*m));

	folder_make(m->folder);
	m->engine = disk_engine_create(NULL);
	assert_non_null(m->engine);
	*state = m;
	return 0;
}

int images_tear_down(void **state)
{
	struct images *m = *state;

	disk_engine_destroy(m->engine);
	folder_remove(m->folder);
	free(m);
	return 0;
}

const char *image_path(struct images *m, const char *name)
{
	snprintf(m->path, sizeof(m->path), "%s/%s", m->folder, name);
	return m->path;
}

int image_create(struct images *m, const char *name, const struct disk_create *create,
	const char *parent, struct disk_problem *problem)
{
	struct disk_create c = *create;
	char path[192];

	strcpy(path, image_path(m, parent ? parent : ""));
	c.format = DISK_FORMAT_VHDX;
	c.overwrite = true;
	if (parent) {
		c.kind = DISK_DIFFERENCING;
		c.parent = path;
	}
	return disk_create(m->engine, image_path(m, name), &c, NULL, problem);
}

void image_make(struct images *m, const char *name)
{
	const struct disk_create c = {.kind = DISK_DYNAMIC, .size = 100 * MIB, .block_size = MIB};

	assert_int_equal(image_create(m, name, &c, NULL, NULL), 0);
}

void image_make_child(struct images *m, const char *name, const char *parent)
{
	const struct disk_create c = {.block_size = MIB};

	assert_int_equal(image_create(m, name, &c, parent, NULL), 0);
}

int image_open(struct images *m, const char *name, unsigned flags, struct disk **d,
	struct disk_problem *problem)
{
	struct disk_open_options o = {.flags = flags};

	return disk_open(m->engine, image_path(m, name), &o, d, problem);
}

struct disk *image_opened(struct images *m, const char *name, unsigned flags)
{
	struct disk_problem problem = {0};
	struct disk *d;
	int r = image_open(m, name, flags, &d, &problem);

	if (r)
		fail_msg("%s", disk_problem_text(&problem, name, r));
	return d;
}

void image_peek(struct images *m, const char *name, uint64_t offset, void *data, size_t n)
{
	int fd = open(image_path(m, name), O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, data, n, offset), n);
	close(fd);
}

void image_poke(struct images *m, const char *name, uint64_t offset, const void *data, size_t n)
{
	int fd = open(image_path(m, name), O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, data, n, offset), n);
	close(fd);
}

void image_copy(struct images *m, const char *from, const char *to)
{
	char command[512], source[192];

	strcpy(source, image_path(m, from));
	snprintf(command, sizeof(command), "cp --sparse=always %s %s", source, image_path(m, to));
	assert_int_equal(system(command), 0);
}

void image_get_header(struct images *m, const char *name, unsigned i, struct vhdx_header *h)
{
	image_peek(m, name, VHDX_HEADER_AT(i), h, sizeof(*h));
}

void image_set_header(struct images *m, const char *name, unsigned i, struct vhdx_header *h)
{
	vhdx_header_seal(h);
	image_poke(m, name, VHDX_HEADER_AT(i), h, sizeof(*h));
}

void image_get_regions(struct images *m, const char *name, struct vhdx_region_table *t)
{
	image_peek(m, name, VHDX_REGION_TABLE_AT(0), t, sizeof(*t));
}

void image_set_regions(struct images *m, const char *name, struct vhdx_region_table *t)
{
	t->checksum = vhdx_checksum(t, sizeof(*t));
	for (unsigned i = 0; i < 2; i++)
		image_poke(m, name, VHDX_REGION_TABLE_AT(i), t, sizeof(*t));
}
