/*
 * tracking.c - a hostile change tracking file beside an image: asked, handed on to a child, and
 * kept by who writes the image.
 *
 * Input: four bytes that say what is done, then the file. Its checksums and signatures are put
 * right, and the image's identity, unless the first byte says not, so that what stands behind them
 * is reached.
 *
 * Promises that are tested: asking writes nothing; an answer lies in what was asked for, in order;
 * after whatever was there before, what is written to the disk is named as changed.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "disk/tracking_file.h"

#define SIZE	 (4u << 20)   /* bytes of the disk */
#define FILE_MAX (256u << 10) /* bytes of an input */
#define RANGES	 16u

enum { KEEP_SUMS = 1, KEEP_IDENTITY = 2, KEEP_SIZE = 4, SMALL_ANSWER = 8, AGAIN = 16 };

static struct {
	struct disk_engine *engine;
	int image;
	char *path, *rct, *bad, *child, *child_rct;
} world;

static char *name_of(const char *folder, const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", folder, name) < 0)
		abort();
	return path;
}

static void remove_folder(void)
{
	char *slash = strrchr(world.path, '/');

	unlink(world.path);
	unlink(world.child);
	*slash = '\0';
	rmdir(world.path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char folder[] = "/dev/shm/partita-fuzz-XXXXXX";
	int child;

	if (!mkdtemp(folder))
		abort();
	world.path = name_of(folder, "disk.raw");
	world.rct = name_of(folder, "disk.raw.rct");
	world.bad = name_of(folder, "disk.raw.rct.bad");
	world.child = name_of(folder, "child.raw");
	world.child_rct = name_of(folder, "child.raw.rct");
	world.image = open(world.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	child = open(world.child, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	world.engine = disk_engine_create(&(struct disk_engine_options){.no_uring = true});
	if (world.image < 0 || ftruncate(world.image, SIZE) || child < 0 || !world.engine)
		abort();
	close(child);
	atexit(remove_folder);
	return 0;
}

static void seal(uint8_t *bytes, size_t n, unsigned what)
{
	struct tracking_file now = {0};

	tracking_file_bind(&now, world.image);
	for (unsigned i = 0; i < 2 && (i + 1) * TRACKING_SLOT <= n; i++) {
		struct tracking_header h;

		memcpy(&h, bytes + i * TRACKING_SLOT, sizeof(h));
		h.signature = TRACKING_SIGNATURE;
		if (!(what & KEEP_IDENTITY)) {
			h.image_size = now.h.image_size;
			h.image_seconds = now.h.image_seconds;
			h.image_nanoseconds = now.h.image_nanoseconds;
			h.image_inode = now.h.image_inode;
		}
		if (!(what & KEEP_SIZE))
			h.disk_size = SIZE;
		h.checksum = 0;
		h.checksum = crc32c(0, &h, sizeof(h));
		memcpy(bytes + i * TRACKING_SLOT, &h, sizeof(h));
	}
}

static void put_file(const uint8_t *bytes, size_t n)
{
	int fd = open(world.rct, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, bytes, n) != (ssize_t)n)
		abort();
	close(fd);
}

static void check_unchanged(const uint8_t *bytes, size_t n)
{
	int fd = open(world.rct, O_RDONLY | O_CLOEXEC);
	uint8_t *now = malloc(n + 1);

	assert(fd >= 0 && read(fd, now, n + 1) == (ssize_t)n && memcmp(now, bytes, n) == 0);
	free(now);
	close(fd);
}

/* Is @offset among what changed since @id? The whole answer is looked at. */
static bool changed(const char *id, uint64_t offset, uint32_t room)
{
	struct tracking_range ranges[RANGES];
	uint64_t at = 0, processed;
	bool found = false;

	while (at < SIZE) {
		uint64_t before = at;
		uint32_t n = room;

		if (tracking_query(world.path, id, at, SIZE - at, ranges, &n, &processed))
			return false;
		assert(n <= room && processed <= SIZE - at);
		for (uint32_t i = 0; i < n; i++) {
			assert(ranges[i].length && ranges[i].offset >= before);
			assert(ranges[i].offset + ranges[i].length <= at + processed);
			before = ranges[i].offset + ranges[i].length;
			found |= ranges[i].offset <= offset && offset < before;
		}
		assert(processed);
		at += processed;
	}
	return found;
}

static void ask(uint32_t room)
{
	struct tracking_state state;

	if (tracking_state(world.path, &state) == 0)
		changed(state.id, 0, room);
	if (tracking_inherit(world.path, world.child) == 0 &&
		tracking_state(world.child, &state) == 0)
		assert(state.id[0]);
	unlink(world.child_rct);
}

static void change(uint32_t what)
{
	const struct disk_open_options options = {
		.flags = DISK_OPEN_WRITE, .format = DISK_FORMAT_RAW};
	const uint64_t offset = (what >> 16) % (SIZE / 512) * 512;
	struct tracking_state state;
	uint8_t sector[512] = {1};
	struct disk *d;

	if (disk_open(world.engine, world.path, &options, &d, NULL))
		return;
	if (tracking_enable(d, NULL) == 0) {
		assert(tracking_state(world.path, &state) == 0);
		assert(disk_write(d, sector, sizeof(sector), offset) == 0);
		assert(changed(state.id, offset, RANGES));
		disk_close(d);
		assert(changed(state.id, offset, RANGES));
	} else {
		disk_close(d);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes;
	uint32_t what;

	if (size < sizeof(what) || size > FILE_MAX)
		return 0;
	memcpy(&what, data, sizeof(what));
	size -= sizeof(what);
	bytes = malloc(size + 1);
	memcpy(bytes, data + sizeof(what), size);
	if (!(what & KEEP_SUMS))
		seal(bytes, size, what);
	put_file(bytes, size);
	ask(what & SMALL_ANSWER ? 1 : RANGES);
	check_unchanged(bytes, size);
	change(what);
	if (what & AGAIN)
		change(what << 3);
	unlink(world.rct);
	unlink(world.bad);
	free(bytes);
	return 0;
}
