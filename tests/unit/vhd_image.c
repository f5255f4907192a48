/*
 * vhd_image.c - see vhd_image.h.
 */
#include "vhd_image.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/vhd.h"
#include "folder.h"

struct disk_engine *engine;
static char folder[FOLDER];

int vhd_set_up(void **state)
{
	engine = disk_engine_create(NULL);
	folder_make(folder);
	return engine ? 0 : -1;
}

int vhd_tear_down(void **state)
{
	disk_engine_destroy(engine);
	folder_remove(folder);
	return 0;
}

const char *image(const char *name)
{
	static char path[8][256];
	static unsigned turn;
	char *p = path[turn++ % 8];

	snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
	return p;
}

void make(const char *name, enum disk_kind kind, uint64_t size, uint32_t block_size,
	const char *parent)
{
	struct disk_problem problem = {0};
	struct disk_create create = {
		.format = DISK_FORMAT_VHD,
		.kind = kind,
		.size = size,
		.block_size = block_size,
		.parent = parent ? image(parent) : NULL,
		.overwrite = true,
	};

	if (disk_create(engine, image(name), &create, NULL, &problem) < 0)
		fail_msg("%s", problem.text);
}

struct disk *opened(const char *name, unsigned flags)
{
	struct disk_open_options options = {.flags = flags};
	struct disk_problem problem = {0};
	struct disk *d;
	int err = disk_open(engine, image(name), &options, &d, &problem);

	if (err)
		fail_msg("%s", disk_problem_text(&problem, name, err));
	return d;
}

void refused(const char *name, int err, uint32_t win32, const char *text)
{
	struct disk_problem problem = {0};
	struct disk *d;

	assert_int_equal(disk_open(engine, image(name), NULL, &d, &problem), err);
	assert_int_equal(disk_problem_win32(&problem, err), win32);
	if (!strstr(problem.text, text))
		fail_msg("\"%s\" does not say \"%s\"", problem.text, text);
	assert_memory_equal(problem.text, image(name), strlen(image(name)));
}

uint64_t checked(const char *name, bool repair, uint64_t *repaired)
{
	struct disk *d = opened(
		name, DISK_OPEN_DAMAGED | DISK_OPEN_NO_PARENTS | (repair ? DISK_OPEN_WRITE : 0));
	struct disk_check check = {.repair = repair};

	assert_int_equal(disk_check(d, &check, NULL), 0);
	assert_int_equal(disk_close(d), 0);
	if (repaired)
		*repaired = check.repaired;
	return check.errors;
}

/* ---- Bytes ----------------------------------------------------------------------------------- */

static int open_file(const char *name, int64_t *offset)
{
	int fd = open(image(name), O_RDWR);

	assert_true(fd >= 0);
	if (*offset < 0)
		*offset += lseek(fd, 0, SEEK_END);
	return fd;
}

void peek(const char *name, void *bytes, size_t n, int64_t offset)
{
	int fd = open_file(name, &offset);

	assert_int_equal(pread(fd, bytes, n, offset), n);
	close(fd);
}

void poke(const char *name, const void *bytes, size_t n, int64_t offset)
{
	int fd = open_file(name, &offset);

	assert_int_equal(pwrite(fd, bytes, n, offset), n);
	close(fd);
}

uint64_t file_size(const char *name)
{
	struct stat st;

	assert_int_equal(stat(image(name), &st), 0);
	return st.st_size;
}

void cut(const char *name, uint64_t size)
{
	assert_int_equal(truncate(image(name), size), 0);
}

void poke_footer(const char *name, struct vhd_footer *f)
{
	vhd_footer_seal(f);
	if (be32toh(f->type) != VHD_FIXED)
		poke(name, f, sizeof(*f), 0);
	poke(name, f, sizeof(*f), -(int64_t)sizeof(*f));
}

void poke_header(const char *name, struct vhd_header *h)
{
	struct vhd_footer f;

	vhd_header_seal(h);
	peek(name, &f, sizeof(f), -(int64_t)sizeof(f));
	poke(name, h, sizeof(*h), be64toh(f.data_offset));
}

/* ---- Contents -------------------------------------------------------------------------------- */

void fill(void *bytes, size_t n, uint32_t seed)
{
	uint32_t *words = bytes;

	for (size_t i = 0; i < n / 4; i++)
		words[i] = seed ? seed * 0x9e3779b1u + (uint32_t)i : 0;
}

void holds(struct disk *d, uint64_t offset, size_t n, uint32_t seed)
{
	uint8_t *expected = malloc(n), *found = malloc(n);

	fill(expected, n, seed);
	assert_int_equal(disk_read(d, found, n, offset), 0);
	if (memcmp(expected, found, n) != 0)
		fail_msg("%zu bytes at %llu are not those of seed %u", n,
			(unsigned long long)offset, seed);
	free(expected);
	free(found);
}

void put(struct disk *d, uint64_t offset, size_t n, uint32_t seed)
{
	uint8_t *bytes = malloc(n);

	fill(bytes, n, seed);
	assert_int_equal(disk_write(d, bytes, n, offset), 0);
	free(bytes);
}
