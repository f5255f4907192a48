/*
 * memory.c - see memory.h.
 */
#include "hypervisor/memory.h"

#include "hypervisor/tlfs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_MASK 4095ull

int memory_init(struct memory *m)
{
	int err;

	memset(m, 0, sizeof(*m));
	err = pthread_mutex_init(&m->map_lock, NULL);
	if (err)
		return -err;
	err = pthread_rwlock_init(&m->lock, NULL);
	if (err)
		pthread_mutex_destroy(&m->map_lock);
	return -err;
}

void memory_free(struct memory *m)
{
	pthread_rwlock_destroy(&m->lock);
	pthread_mutex_destroy(&m->map_lock);
	free(m->ranges);
	m->ranges = NULL;
}

/* The first range that ends after @gpa. */
static unsigned first_after(const struct memory *m, uint64_t gpa)
{
	unsigned low = 0, high = m->count;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (m->ranges[mid].gpa + m->ranges[mid].size <= gpa)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static const struct memory_range *range_at(const struct memory *m, uint64_t gpa)
{
	unsigned i = first_after(m, gpa);

	return i < m->count && m->ranges[i].gpa <= gpa ? &m->ranges[i] : NULL;
}

/* Room for @more entries; map_lock is held. */
static int reserve(struct memory *m, unsigned more)
{
	struct memory_range *ranges, *old = NULL;
	unsigned room = m->room + more + 16;

	if (m->count + more <= m->room)
		return 0;
	ranges = malloc(room * sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	pthread_rwlock_wrlock(&m->lock);
	if (m->count)
		memcpy(ranges, m->ranges, m->count * sizeof(*ranges));
	old = m->ranges;
	m->ranges = ranges;
	m->room = room;
	pthread_rwlock_unlock(&m->lock);
	free(old);
	return 0;
}

static void insert(struct memory *m, unsigned at, struct memory_range range)
{
	memmove(&m->ranges[at + 1], &m->ranges[at], (m->count - at) * sizeof(range));
	m->ranges[at] = range;
	m->count++;
}

/* Forget [gpa, gpa + size), keeping the parts of ranges on both sides; needs room for one more. */
static void cut(struct memory *m, uint64_t gpa, uint64_t size)
{
	uint64_t end = gpa + size;
	unsigned i = first_after(m, gpa);

	while (i < m->count && m->ranges[i].gpa < end) {
		struct memory_range old = m->ranges[i];
		uint64_t old_end = old.gpa + old.size;

		memmove(&m->ranges[i], &m->ranges[i + 1], (--m->count - i) * sizeof(old));
		if (old.gpa < gpa) {
			struct memory_range left = old;

			left.size = gpa - old.gpa;
			insert(m, i++, left);
		}
		if (old_end > end) {
			struct memory_range right = old;

			right.gpa = end;
			right.size = old_end - end;
			right.host += end - old.gpa;
			insert(m, i++, right);
		}
	}
}

static bool bad_range(uint64_t gpa, uint64_t size)
{
	return !size || ((gpa | size) & PAGE_MASK) || gpa + size < gpa;
}

int memory_map(struct memory *m, uint64_t gpa, void *host, uint64_t size, unsigned flags)
{
	struct memory_range range = {gpa, size, host, flags};
	int err;

	if (bad_range(gpa, size) || ((uintptr_t)host & PAGE_MASK) || !host ||
		(uintptr_t)host + size < (uintptr_t)host)
		return -EINVAL;
	pthread_mutex_lock(&m->map_lock);
	err = reserve(m, 3);
	if (!err)
		err = m->engine->map(m->machine, gpa, host, size, flags);
	if (!err) {
		pthread_rwlock_wrlock(&m->lock);
		cut(m, gpa, size);
		insert(m, first_after(m, gpa), range);
		pthread_rwlock_unlock(&m->lock);
	}
	pthread_mutex_unlock(&m->map_lock);
	return err;
}

/* Is every byte of the range mapped with @need? */
static bool all_mapped(const struct memory *m, uint64_t gpa, uint64_t size, unsigned need)
{
	while (size) {
		const struct memory_range *range = range_at(m, gpa);
		uint64_t part;

		if (!range || (range->flags & need) != need)
			return false;
		part = range->gpa + range->size - gpa;
		if (part >= size)
			return true;
		gpa += part;
		size -= part;
	}
	return true;
}

int memory_unmap(struct memory *m, uint64_t gpa, uint64_t size)
{
	int err = 0;

	if (bad_range(gpa, size))
		return -EINVAL;
	pthread_mutex_lock(&m->map_lock);
	if (!all_mapped(m, gpa, size, 0))
		err = -ENOENT;
	if (!err)
		err = reserve(m, 2);
	if (!err)
		err = m->engine->unmap(m->machine, gpa, size);
	if (!err) {
		pthread_rwlock_wrlock(&m->lock);
		cut(m, gpa, size);
		pthread_rwlock_unlock(&m->lock);
	}
	pthread_mutex_unlock(&m->map_lock);
	return err;
}

/* Copy a guest range that is known to be mapped: @data NULL writes zeros. The lock is held. */
static void access_range(struct memory *m, uint64_t gpa, void *data, size_t size, bool write)
{
	uint8_t *at = data;

	while (size) {
		const struct memory_range *range = range_at(m, gpa);
		uint64_t offset = gpa - range->gpa, part = range->size - offset;

		if (part > size)
			part = size;
		if (!write)
			memcpy(at, range->host + offset, part);
		else if (at)
			memcpy(range->host + offset, at, part);
		else
			memset(range->host + offset, 0, part);
		if (at)
			at += part;
		gpa += part;
		size -= part;
	}
}

static int access_locked(
	struct memory *m, uint64_t gpa, void *data, size_t size, unsigned need, bool write)
{
	int err = -EFAULT;

	if (gpa + size < gpa)
		return -EFAULT;
	pthread_rwlock_rdlock(&m->lock);
	if (all_mapped(m, gpa, size, need)) {
		access_range(m, gpa, data, size, write);
		err = 0;
	}
	pthread_rwlock_unlock(&m->lock);
	if (!err && write)
		m->engine->written(m->machine, gpa, size);
	return err;
}

int memory_read(struct memory *m, uint64_t gpa, void *data, size_t size)
{
	return access_locked(m, gpa, data, size, X86_MAP_READ, false);
}

int memory_write(struct memory *m, uint64_t gpa, const void *data, size_t size)
{
	return access_locked(m, gpa, (void *)data, size, X86_MAP_WRITE, true);
}

int memory_zero(struct memory *m, uint64_t gpa, size_t size)
{
	return access_locked(m, gpa, NULL, size, X86_MAP_WRITE, true);
}

bool memory_mapped(struct memory *m, uint64_t gpa, uint64_t size)
{
	bool mapped;

	if (gpa + size < gpa)
		return false;
	pthread_rwlock_rdlock(&m->lock);
	mapped = all_mapped(m, gpa, size, 0);
	pthread_rwlock_unlock(&m->lock);
	return mapped;
}

int memory_written(struct memory *m, uint64_t gpa, uint64_t size)
{
	if (!memory_mapped(m, gpa, size))
		return -EFAULT;
	m->engine->written(m->machine, gpa, size);
	return 0;
}

int memory_rights(struct memory *m, uint64_t gpa)
{
	const struct memory_range *range;
	int rights;

	pthread_rwlock_rdlock(&m->lock);
	range = range_at(m, gpa);
	rights = range ? (int)range->flags : -EFAULT;
	pthread_rwlock_unlock(&m->lock);
	return rights;
}

void *memory_lock_page(struct memory *m, uint64_t gpa)
{
	const struct memory_range *range;

	gpa &= ~PAGE_MASK;
	pthread_rwlock_rdlock(&m->lock);
	range = range_at(m, gpa);
	if (range && (range->flags & X86_MAP_WRITE))
		return range->host + (gpa - range->gpa);
	pthread_rwlock_unlock(&m->lock);
	return NULL;
}

void memory_unlock(struct memory *m)
{
	pthread_rwlock_unlock(&m->lock);
}

uint64_t memory_pages(struct memory *m)
{
	uint64_t pages = 0;

	pthread_rwlock_rdlock(&m->lock);
	for (unsigned i = 0; i < m->count; i++)
		pages += m->ranges[i].size / HV_PAGE_SIZE;
	pthread_rwlock_unlock(&m->lock);
	return pages;
}
