/*
 * disk_toy.c - see disk_toy.h.
 */
#include "disk_toy.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static struct toy *toy_of(struct disk *d)
{
	return (struct toy *)d;
}

static bool waits(struct toy *t)
{
	unsigned n = atomic_fetch_add(&t->calls, 1);

	assert(!atomic_load(&t->frozen));
	return t->reluctant && n % t->reluctant == 0;
}

/* Sectors that lie together make one extent. */
static uint64_t run(const uint64_t *table, uint64_t first, uint64_t sectors)
{
	uint64_t n = 1, step = table[first] > TOY_IN_PARENT ? TOY_SECTOR : 0;

	while (n < sectors && table[first + n] == table[first] + n * step)
		n++;
	return n;
}

static int toy_map(
	struct disk *d, uint64_t offset, uint64_t length, bool nowait, struct disk_extent *x)
{
	struct toy *t = toy_of(d);
	uint64_t sector = offset / TOY_SECTOR, place;

	if (waits(t) && nowait)
		return -EAGAIN;
	pthread_mutex_lock(&t->lock);
	place = t->table[sector];
	*x = (struct disk_extent){
		.place = place == TOY_NOWHERE	  ? DISK_NOWHERE
			 : place == TOY_IN_PARENT ? DISK_IN_PARENT
						  : DISK_HERE,
		.length = run(t->table, sector, length / TOY_SECTOR) * TOY_SECTOR,
		.file_offset = place,
	};
	pthread_mutex_unlock(&t->lock);
	return 0;
}

static int toy_place(struct disk *d, uint64_t offset, uint64_t length, const struct disk_iov *data,
	bool nowait, struct disk_extent *x)
{
	struct toy *t = toy_of(d);
	uint64_t sector = offset / TOY_SECTOR;

	if (t->refuse)
		return t->refuse;
	if (waits(t) && nowait)
		return -EAGAIN;
	pthread_mutex_lock(&t->lock);
	*x = (struct disk_extent){.place = DISK_HERE, .length = TOY_SECTOR};
	if (t->table[sector] > TOY_IN_PARENT) {
		x->length = run(t->table, sector, length / TOY_SECTOR) * TOY_SECTOR;
		x->file_offset = t->table[sector];
	} else {
		if (!t->pending[sector]) {
			t->pending[sector] = t->end;
			/* A gap now and then, so that not everything lies together. */
			t->end += sector % 5 ? TOY_SECTOR : 2 * TOY_SECTOR;
		}
		x->file_offset = t->pending[sector];
		x->settle = true;
		x->token = sector;
	}
	pthread_mutex_unlock(&t->lock);
	return 0;
}

static int toy_settle(struct disk *d, uint64_t offset, const struct disk_extent *x, int err)
{
	struct toy *t = toy_of(d);

	assert(x->token == offset / TOY_SECTOR);
	atomic_fetch_add(err ? &t->failed : &t->settled, 1);
	if (err)
		return 0;
	pthread_mutex_lock(&t->lock);
	t->table[x->token] = x->file_offset;
	pthread_mutex_unlock(&t->lock);
	return 0;
}

static int toy_flush(struct disk *d)
{
	struct toy *t = toy_of(d);

	assert(!atomic_load(&t->frozen));
	atomic_fetch_add(&t->flushes, 1);
	disk_synchronize(d); /* as a format does that frees room */
	return disk_file_flush(&d->file);
}

/* Does every other sector by itself, so that the core must help. */
static int toy_zero(struct disk *d, uint64_t offset, uint64_t length, bool unmap, uint64_t *done)
{
	struct toy *t = toy_of(d);
	uint64_t sector = offset / TOY_SECTOR;

	*done = 0;
	if (!t->can_zero || sector % 2)
		return 0;
	pthread_mutex_lock(&t->lock);
	t->table[sector] = t->pending[sector] = TOY_NOWHERE;
	pthread_mutex_unlock(&t->lock);
	*done = TOY_SECTOR;
	return 0;
}

static int toy_resize(struct disk *d, uint64_t size, bool lose, struct disk_problem *problem)
{
	if (size > d->fixed.size && !lose)
		return -EINVAL;
	atomic_store(&d->size, size);
	return 0;
}

static int toy_close(struct disk *d)
{
	struct toy *t = toy_of(d);

	disk_fini(d);
	pthread_mutex_destroy(&t->lock);
	free(t->table);
	free(t->pending);
	free(t);
	return 0;
}

static const struct disk_format_ops toy_ops = {
	.name = "toy",
	.close = toy_close,
	.map = toy_map,
	.place = toy_place,
	.settle = toy_settle,
	.flush = toy_flush,
	.zero = toy_zero,
	.resize = toy_resize,
};

struct toy *toy_create(struct disk_engine *e, const char *path, uint64_t sectors, uint64_t begin,
	unsigned flags, const struct disk_recorder *recorder)
{
	struct disk_open_options options = {.flags = flags};
	struct disk_file file;
	struct toy *t = calloc(1, sizeof(*t));
	int how = O_RDWR | O_CREAT | O_EXCL | (flags & DISK_OPEN_DIRECT ? O_DIRECT : 0);
	int err = disk_file_open(&file, open(path, how, 0600), path, flags & DISK_OPEN_WRITE,
		flags & DISK_OPEN_DIRECT, recorder);

	assert(t && !err);
	unlink(path);
	disk_init(&t->disk, &toy_ops, e, &file, &options);
	pthread_mutex_init(&t->lock, NULL);
	t->table = calloc(sectors, sizeof(*t->table));
	t->pending = calloc(sectors, sizeof(*t->pending));
	assert(t->table && t->pending);
	for (uint64_t i = 0; i < sectors; i++)
		t->table[i] = begin;
	t->end = TOY_SECTOR;
	t->disk.size = sectors * TOY_SECTOR;
	t->disk.fixed = (struct disk_info){
		.size = t->disk.size,
		.kind = begin == TOY_IN_PARENT ? DISK_DIFFERENCING : DISK_DYNAMIC,
		.logical_sector = TOY_SECTOR,
		.physical_sector = TOY_SECTOR,
	};
	return t;
}
