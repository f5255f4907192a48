/*
 * disk_images.c - see disk_images.h.
 */
#include "disk_images.h"

#include <unistd.h>

int images_set_up(void **state)
{
	struct images *i = calloc(1, sizeof(*i));

	assert_non_null(i);
	folder_make(i->folder);
	i->engine = disk_engine_create(NULL);
	assert_non_null(i->engine);
	*state = i;
	return 0;
}

int images_tear_down(void **state)
{
	struct images *i = *state;

	disk_engine_destroy(i->engine);
	folder_remove(i->folder);
	free(i);
	return 0;
}

const char *image_path(struct images *i, const char *name)
{
	char *path = i->paths[i->next++ % 8];

	snprintf(path, sizeof(i->paths[0]), "%s/%s", i->folder, name);
	return path;
}

static void must(struct images *i, const char *name, int err)
{
	if (err)
		fail_msg("%s: %s", name, disk_problem_text(&i->problem, name, err));
}

void image_create(struct images *i, const char *name, const struct disk_create *create)
{
	must(i, name, disk_create(i->engine, image_path(i, name), create, NULL, &i->problem));
}

struct disk *image_open(struct images *i, const char *name, unsigned flags)
{
	const struct disk_open_options options = {.flags = flags};
	struct disk *d = NULL;

	must(i, name, disk_open(i->engine, image_path(i, name), &options, &d, &i->problem));
	return d;
}

void image_close(struct disk *d)
{
	assert_int_equal(disk_close(d), 0);
}

void model_init(struct model *m, uint64_t size, uint64_t seed)
{
	*m = (struct model){.bytes = calloc(1, size), .size = size, .seed = seed};
	assert_non_null(m->bytes);
}

void model_fini(struct model *m)
{
	free(m->bytes);
}

/* splitmix64 */
static uint64_t next_random(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint64_t model_random(struct model *m, uint64_t below)
{
	return next_random(&m->seed) % below;
}

/* A word at a time, in registers: sanitizers look at each access. */
static void fill(struct model *m, uint64_t offset, uint64_t length)
{
	uint64_t *words = (uint64_t *)(m->bytes + offset), seed = m->seed;

	for (uint64_t i = 0; i < length / 8; i++)
		words[i] = next_random(&seed);
	m->seed = seed;
}

void model_change(struct model *m, struct disk *d)
{
	const uint64_t most = model_random(m, 8) ? 16 : m->size / 512 / 4;
	const uint64_t length = 512 * (1 + model_random(m, most));
	const uint64_t offset = 512 * model_random(m, (m->size - length) / 512 + 1);
	const uint64_t sort = model_random(m, 8);

	if (sort < 6) {
		fill(m, offset, length);
		assert_int_equal(disk_write(d, m->bytes + offset, length, offset), 0);
		return;
	}
	memset(m->bytes + offset, 0, length);
	assert_int_equal(
		sort == 6 ? disk_zero(d, offset, length) : disk_unmap(d, offset, length), 0);
}

void model_check(const struct model *m, struct disk *d)
{
	uint8_t *bytes = malloc(m->size);

	assert_non_null(bytes);
	assert_int_equal(disk_size(d), m->size);
	assert_int_equal(disk_read(d, bytes, m->size, 0), 0);
	if (memcmp(bytes, m->bytes, m->size)) {
		uint64_t i = 0;

		while (bytes[i] == m->bytes[i])
			i++;
		fail_msg("byte %llu is %02x, not %02x", (unsigned long long)i, bytes[i],
			m->bytes[i]);
	}
	free(bytes);
}
