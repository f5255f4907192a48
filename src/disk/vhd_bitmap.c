/*
 * vhd_bitmap.c - the sector bitmaps of blocks, cached by the sector.
 *
 * Most pages are full: all sectors are in the file. That is remembered in a bit, and such a page
 * needs no room in the cache. The others are in a table where the page with number n is found
 * within a few places from n % size.
 *
 * A page is pinned while its bits are used. Pinning is counting up and then looking whether the
 * page is still what it was; taking a place from a page is making it nobody's and then looking
 * whether somebody has pinned it. Both are sequentially consistent, so one sees the other.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "disk/vhd.h"

#define PROBES	  16u
#define PAGES_MIN 64u

static size_t full_bytes(const struct vhd *v)
{
	uint64_t pages = (uint64_t)v->blocks << v->page_shift;

	return (pages / 64 + 1) * 8;
}

int vhd_pages_init(struct vhd *v, size_t bytes)
{
	uint64_t all = (uint64_t)v->blocks << v->page_shift;
	size_t size;

	v->full = calloc(1, full_bytes(v));
	v->pages = bytes / sizeof(*v->page);
	if (v->pages > all)
		v->pages = all;
	if (v->pages < PAGES_MIN)
		v->pages = PAGES_MIN;
	size = v->pages * sizeof(*v->page);
	/* Places that were never used take no memory: a number of 0 is nobody's, too. */
	v->page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (v->page == MAP_FAILED)
		v->page = NULL;
	v->page_dirty = calloc(v->pages / 64 + 1, sizeof(*v->page_dirty));
	pthread_cond_init(&v->unpinned, NULL);
	return v->full && v->page && v->page_dirty ? 0 : -ENOMEM;
}

void vhd_pages_fini(struct vhd *v)
{
	if (v->page)
		munmap(v->page, v->pages * sizeof(*v->page));
	free(v->page_dirty);
	free(v->full);
	pthread_cond_destroy(&v->unpinned);
	v->page = NULL;
	v->page_dirty = NULL;
	v->full = NULL;
}

void vhd_pages_drop(struct vhd *v)
{
	for (uint64_t i = 0; i < v->pages; i++)
		atomic_store(&v->page[i].number, 0);
	memset(v->full, 0, full_bytes(v));
}

/* ---- Bits ------------------------------------------------------------------------------------ */

void vhd_page_set_full(struct vhd *v, uint64_t page, bool full)
{
	uint64_t bit = UINT64_C(1) << (page % 64);

	if (full)
		atomic_fetch_or(&v->full[page / 64], bit);
	else
		atomic_fetch_and(&v->full[page / 64], ~bit);
}

/* Of the word that has sector @first, the bits from @first on, @n of them at most. */
static uint64_t mask(uint32_t first, uint32_t n)
{
	uint64_t bits = UINT64_MAX >> (first % 64);

	if (n < 64 - first % 64)
		bits &= ~(UINT64_MAX >> (first % 64 + n));
	return bits;
}

uint32_t vhd_page_run(struct vhd_page *p, uint32_t first, uint32_t n, bool *set)
{
	uint32_t end = first + n, at = first;

	*set = atomic_load(&p->bits[at / 64]) >> (63 - at % 64) & 1;
	while (at < end) {
		uint64_t word = atomic_load(&p->bits[at / 64]);
		uint64_t other = (*set ? ~word : word) & mask(at, end - at);

		if (other)
			return (at & ~63u) + __builtin_clzll(other) - first;
		at = (at | 63) + 1;
	}
	return n;
}

static void set_dirty(struct vhd *v, const struct vhd_page *p)
{
	uint64_t i = p - v->page;

	atomic_fetch_or(&v->page_dirty[i / 64], UINT64_C(1) << (i % 64));
}

static bool is_dirty(const struct vhd *v, const struct vhd_page *p)
{
	uint64_t i = p - v->page;

	return atomic_load(&v->page_dirty[i / 64]) >> (i % 64) & 1;
}

static bool all_set(const struct vhd *v, const _Atomic uint64_t *bits)
{
	for (uint32_t at = 0; at < v->page_sectors; at += 64) {
		uint64_t wanted = mask(at, v->page_sectors - at);

		if ((atomic_load_explicit(&bits[at / 64], memory_order_acquire) & wanted) != wanted)
			return false;
	}
	return true;
}

void vhd_page_set(struct vhd *v, struct vhd_page *p, uint32_t first, uint32_t n)
{
	for (uint32_t at = first, end = first + n; at < end; at = (at | 63) + 1)
		atomic_fetch_or(&p->bits[at / 64], mask(at, end - at));
	set_dirty(v, p);
	atomic_fetch_add(&v->changes, 1);
	if (all_set(v, p->bits))
		vhd_page_set_full(v, atomic_load(&p->number) - 1, true);
}

/* ---- The file -------------------------------------------------------------------------------- */

/* Where page @number stands in the file; its block is allocated. */
static uint64_t page_offset(const struct vhd *v, uint64_t number, uint32_t room)
{
	uint64_t part = number & ((UINT64_C(1) << v->page_shift) - 1);

	return vhd_room_offset(room) + part * VHD_SECTOR;
}

int vhd_page_read(struct vhd *v, uint64_t number, uint64_t bits[VHD_PAGE_WORDS])
{
	uint32_t room = atomic_load(&v->bat[number >> v->page_shift]);
	int err;

	if (room == VHD_UNUSED || room == VHD_BAD) {
		memset(bits, 0, VHD_SECTOR);
		return 0;
	}
	err = disk_file_read_some(&v->disk.file, bits, VHD_SECTOR, page_offset(v, number, room));
	for (unsigned i = 0; i < VHD_PAGE_WORDS; i++)
		bits[i] = be64toh(bits[i]);
	return err;
}

/* ---- The table ------------------------------------------------------------------------------- */

static struct vhd_page *probe(struct vhd *v, uint64_t number, unsigned i)
{
	return &v->page[(number + i) % v->pages];
}

static struct vhd_page *find(struct vhd *v, uint64_t number)
{
	for (unsigned i = 0; i < PROBES; i++) {
		struct vhd_page *p = probe(v, number, i);

		if (atomic_load(&p->number) != number + 1)
			continue;
		atomic_fetch_add(&p->pins, 1);
		if (atomic_load(&p->number) == number + 1)
			return p;
		vhd_page_unpin(v, p);
	}
	return NULL;
}

void vhd_page_unpin(struct vhd *v, struct vhd_page *p)
{
	if (atomic_fetch_sub(&p->pins, 1) != 1 || !atomic_load(&v->unpin_waiters))
		return;
	pthread_mutex_lock(&v->lock);
	pthread_cond_broadcast(&v->unpinned);
	pthread_mutex_unlock(&v->lock);
}

/*
 * Pages stay pinned until their copy is in the file: who needs them meanwhile must find them here.
 */
static bool copy_page(struct vhd *v, struct vhd_page *p, struct vhd_page_copy *out)
{
	uint64_t number = atomic_load(&p->number) - 1;
	uint32_t room = atomic_load(&v->bat[number >> v->page_shift]);
	/* A block that was freed and allocated again is full, whatever the page has. */
	uint64_t ones = vhd_page_full(v, number) ? UINT64_MAX : 0;

	if (room == VHD_UNUSED || room == VHD_BAD)
		return false;
	atomic_fetch_add(&p->pins, 1);
	out->page = p;
	out->offset = page_offset(v, number, room);
	for (unsigned i = 0; i < VHD_PAGE_WORDS; i++)
		out->bits[i] = htobe64(atomic_load(&p->bits[i]) | ones);
	return true;
}

uint32_t vhd_pages_collect(struct vhd *v, struct vhd_page_copy *out, uint32_t max)
{
	uint32_t n = 0;

	for (uint64_t w = 0; w <= v->pages / 64 && n < max; w++) {
		uint64_t dirty = atomic_load_explicit(&v->page_dirty[w], memory_order_relaxed);

		for (; dirty && n < max; dirty &= dirty - 1) {
			unsigned bit = __builtin_ctzll(dirty);

			atomic_fetch_and(&v->page_dirty[w], ~(UINT64_C(1) << bit));
			n += copy_page(v, &v->page[w * 64 + bit], &out[n]);
		}
	}
	return n;
}

void vhd_page_written(struct vhd *v, const struct vhd_page_copy *copy, int err)
{
	if (err)
		set_dirty(v, copy->page);
	vhd_page_unpin(v, copy->page);
}

/* A place for page @number, nobody's now. *@dirty: there are some that only need writing. */
static struct vhd_page *make_place(struct vhd *v, uint64_t number, bool *dirty)
{
	*dirty = false;
	for (unsigned i = 0; i < PROBES; i++) {
		struct vhd_page *p = probe(v, number, i);
		uint64_t was = atomic_load(&p->number);

		if (is_dirty(v, p)) {
			*dirty = true;
			continue;
		}
		atomic_store(&p->number, 0);
		if (!atomic_load(&p->pins) && !is_dirty(v, p))
			return p;
		atomic_store(&p->number, was);
	}
	return NULL;
}

/* Read page @number into memory, under the lock. -EAGAIN: there was no place, look again. */
static int bring(struct vhd *v, uint64_t number, struct vhd_page **page)
{
	uint64_t bits[VHD_PAGE_WORDS];
	struct vhd_page *p;
	bool dirty;
	int err = vhd_page_read(v, number, bits);

	if (err)
		return err;
	if (all_set(v, (_Atomic uint64_t *)bits)) {
		vhd_page_set_full(v, number, true);
		return 0;
	}
	/* Counted before looking: who unpins later sees it. */
	atomic_fetch_add(&v->unpin_waiters, 1);
	p = make_place(v, number, &dirty);
	if (!p && !dirty)
		pthread_cond_wait(&v->unpinned, &v->lock);
	atomic_fetch_sub(&v->unpin_waiters, 1);
	if (p) {
		for (unsigned i = 0; i < VHD_PAGE_WORDS; i++)
			atomic_store_explicit(&p->bits[i], bits[i], memory_order_relaxed);
		atomic_fetch_add(&p->pins, 1);
		atomic_store(&p->number, number + 1);
		*page = p;
		return 0;
	}
	if (dirty) {
		pthread_mutex_unlock(&v->lock);
		err = vhd_commit(v);
		pthread_mutex_lock(&v->lock);
	}
	return err ? err : -EAGAIN;
}

int vhd_page_pin(struct vhd *v, uint64_t number, bool nowait, struct vhd_page **page)
{
	int err = 0;

	*page = NULL;
	if (vhd_page_full(v, number))
		return 0;
	*page = find(v, number);
	if (*page)
		return 0;
	if (nowait)
		return -EAGAIN;
	pthread_mutex_lock(&v->lock);
	do {
		/* Somebody may have brought it meanwhile. */
		if (vhd_page_full(v, number))
			break;
		*page = find(v, number);
		if (*page)
			break;
		err = bring(v, number, page);
	} while (err == -EAGAIN);
	pthread_mutex_unlock(&v->lock);
	return err;
}
