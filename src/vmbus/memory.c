/*
 * memory.c - see memory.h. A view reserves its addresses first and then maps the file's pages into
 * them, runs of adjacent ones together.
 */
#include "vmbus/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "vmbus/vmbus_protocol.h"

void memory_open(struct memory *m, const struct vmbus_memory *ranges, unsigned count)
{
	m->count = count;
	memcpy(m->range, ranges, count * sizeof(*ranges));
	pthread_mutex_init(&m->lock, NULL);
}

void memory_close(struct memory *m)
{
	for (unsigned i = 0; i < MEMORY_KEPT; i++)
		memory_view_destroy(m, &m->kept[i].view);
	pthread_mutex_destroy(&m->lock);
}

static const struct vmbus_memory *range_of(const struct memory *m, uint64_t gpa, uint64_t size)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct vmbus_memory *r = &m->range[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size && size <= r->size - (gpa - r->gpa))
			return r;
	}
	return NULL;
}

uint8_t *memory_at(const struct memory *m, uint64_t gpa, uint64_t size)
{
	const struct vmbus_memory *r = range_of(m, gpa, size);

	return r ? r->host + (gpa - r->gpa) : NULL;
}

bool memory_gpa(const struct memory *m, const void *host, uint64_t *gpa)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct vmbus_memory *r = &m->range[i];
		uint64_t offset = (uint64_t)((const uint8_t *)host - r->host);

		if (offset < r->size) {
			*gpa = r->gpa + offset;
			return true;
		}
	}
	return false;
}

/* A number whose address does not fit 64 bits is no page. */
static const struct vmbus_memory *range_of_page(const struct memory *m, uint64_t pfn)
{
	return pfn >> 52 ? NULL : range_of(m, pfn * VMBUS_PAGE, VMBUS_PAGE);
}

uint8_t *memory_page(const struct memory *m, uint64_t pfn)
{
	const struct vmbus_memory *r = range_of_page(m, pfn);

	return r ? r->host + (pfn * VMBUS_PAGE - r->gpa) : NULL;
}

/* How many pages from the first on lie in a row in the same range. */
static unsigned run_length(const struct vmbus_memory *r, const uint64_t *pfn, unsigned count)
{
	uint64_t end = (r->gpa + r->size) / VMBUS_PAGE;
	unsigned n = 1;

	while (n < count && pfn[n] == pfn[0] + n && pfn[n] < end)
		n++;
	return n;
}

static int place(struct memory *m, struct memory_view *view, uint8_t *at, const uint64_t *pfn,
	unsigned count)
{
	while (count) {
		const struct vmbus_memory *r = range_of_page(m, *pfn);
		unsigned n;

		if (!r)
			return -EFAULT;
		if (atomic_fetch_add(&m->pieces, 1) >= MEMORY_MAX_PIECES) {
			atomic_fetch_sub(&m->pieces, 1);
			return -ENOMEM;
		}
		view->pieces++;
		n = run_length(r, pfn, count);
		if (mmap(at, (size_t)n * VMBUS_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			    r->fd, (off_t)(r->offset + (*pfn * VMBUS_PAGE - r->gpa))) == MAP_FAILED)
			return -errno;
		at += (size_t)n * VMBUS_PAGE;
		pfn += n;
		count -= n;
	}
	return 0;
}

int memory_view_create(struct memory *m, const uint64_t *pfn, unsigned count, unsigned again_from,
	struct memory_view *view)
{
	uint64_t again = count - again_from;
	int err;

	*view = (struct memory_view){.size = (count + again) * VMBUS_PAGE};
	view->base = mmap(
		NULL, view->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (view->base == MAP_FAILED) {
		view->base = NULL;
		return -errno;
	}
	err = place(m, view, view->base, pfn, count);
	if (!err && again)
		err = place(m, view, view->base + (size_t)count * VMBUS_PAGE, pfn + again_from,
			(unsigned)again);
	if (err)
		memory_view_destroy(m, view);
	return err;
}

void memory_view_destroy(struct memory *m, struct memory_view *view)
{
	if (!view->base)
		return;
	munmap(view->base, view->size);
	atomic_fetch_sub(&m->pieces, view->pieces);
	view->base = NULL;
}

/* ---- Rings ---------------------------------------------------------------------------------- */

/* False: none of these pages is kept. */
static bool take_kept(
	struct memory *m, const uint64_t *pfn, unsigned count, struct memory_view *view)
{
	bool found = false;

	pthread_mutex_lock(&m->lock);
	for (unsigned i = 0; i < MEMORY_KEPT && !found; i++) {
		struct memory_kept *k = &m->kept[i];

		found = k->view.base && k->count == count &&
			!memcmp(k->pfn, pfn, count * sizeof(*pfn));
		if (found) {
			*view = k->view;
			k->view.base = NULL;
		}
	}
	pthread_mutex_unlock(&m->lock);
	return found;
}

/* Where there is room, or what has been used in its turn. The lock is held. */
static struct memory_kept *place_to_keep(struct memory *m)
{
	for (unsigned i = 0; i < MEMORY_KEPT; i++)
		if (!m->kept[i].view.base)
			return &m->kept[i];
	return &m->kept[m->next_kept++ % MEMORY_KEPT];
}

/* Keeps the view; returns the one whose place it takes. */
static struct memory_view keep(
	struct memory *m, const uint64_t *pfn, unsigned count, const struct memory_view *view)
{
	struct memory_view other;
	struct memory_kept *k;

	pthread_mutex_lock(&m->lock);
	k = place_to_keep(m);
	other = k->view;
	k->view = *view;
	k->count = count;
	memcpy(k->pfn, pfn, count * sizeof(*pfn));
	pthread_mutex_unlock(&m->lock);
	return other;
}

int memory_ring_map(struct memory *m, const uint64_t *pfn, unsigned count, struct memory_view *view)
{
	if (take_kept(m, pfn, count, view))
		return 0;
	return memory_view_create(m, pfn, count, 1, view);
}

void memory_ring_unmap(
	struct memory *m, const uint64_t *pfn, unsigned count, struct memory_view *view)
{
	struct memory_view unused = *view;

	if (view->base && count <= MEMORY_KEPT_PAGES && view->pieces <= MEMORY_KEPT_PIECES)
		unused = keep(m, pfn, count, view);
	view->base = NULL;
	memory_view_destroy(m, &unused);
}
