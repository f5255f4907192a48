/*
 * vmbus_memory.c - views of guest pages: their order, and those of rings that are kept.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmbus/memory.h"
#include "vmbus/vmbus_protocol.h"

#define PAGES 512u

static struct memory memory;
static uint8_t *ram;
static int fd;

static int set_up(void **state)
{
	struct vmbus_memory range = {.size = PAGES * VMBUS_PAGE};

	fd = memfd_create("pages", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)range.size), 0);
	ram = mmap(NULL, range.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(ram, MAP_FAILED);
	range.host = ram;
	range.fd = fd;
	memset(&memory, 0, sizeof(memory));
	memory_open(&memory, &range, 1);
	for (unsigned i = 0; i < PAGES; i++)
		memcpy(ram + i * VMBUS_PAGE, &i, sizeof(i));
	return 0;
}

static int tear_down(void **state)
{
	memory_close(&memory);
	assert_int_equal(memory.pieces, 0);
	munmap(ram, PAGES * VMBUS_PAGE);
	close(fd);
	return 0;
}

/* Which page lies there. */
static unsigned page_at(const struct memory_view *view, unsigned index)
{
	unsigned number;

	memcpy(&number, view->base + index * VMBUS_PAGE, sizeof(number));
	return number;
}

static void assert_ring(const struct memory_view *view, const uint64_t *pfn, unsigned count)
{
	assert_int_equal(view->size, (2 * count - 1) * VMBUS_PAGE);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(page_at(view, i), pfn[i]);
	for (unsigned i = 1; i < count; i++)
		assert_int_equal(page_at(view, count - 1 + i), pfn[i]);
}

static void test_order(void **state)
{
	static const uint64_t pfn[] = {7, 8, 9, 3, 511};
	struct memory_view view;

	assert_int_equal(memory_ring_map(&memory, pfn, 5, &view), 0);
	assert_ring(&view, pfn, 5);
	memory_ring_unmap(&memory, pfn, 5, &view);
	assert_null(view.base);
	memory_ring_unmap(&memory, pfn, 5, &view);
}

/* What is mapped again is found, and no other is taken for it. */
static void test_kept(void **state)
{
	static const uint64_t pfn[] = {7, 8, 9, 10}, other[] = {7, 8, 9, 11};
	struct memory_view view, second;
	const uint8_t *base;

	assert_int_equal(memory_ring_map(&memory, pfn, 4, &view), 0);
	base = view.base;
	memory_ring_unmap(&memory, pfn, 4, &view);
	assert_int_equal(memory_ring_map(&memory, other, 4, &second), 0);
	assert_ring(&second, other, 4);
	assert_int_equal(memory_ring_map(&memory, pfn, 3, &view), 0);
	assert_ring(&view, pfn, 3);
	memory_ring_unmap(&memory, pfn, 3, &view);
	assert_int_equal(memory_ring_map(&memory, pfn, 4, &view), 0);
	assert_ptr_equal(view.base, base);
	assert_ring(&view, pfn, 4);
	memory_ring_unmap(&memory, other, 4, &second);
	memory_ring_unmap(&memory, pfn, 4, &view);
}

/* The same pages twice at once: two views, of which both are kept. */
static void test_twice(void **state)
{
	static const uint64_t pfn[] = {1, 2, 3};
	struct memory_view one, two;

	assert_int_equal(memory_ring_map(&memory, pfn, 3, &one), 0);
	assert_int_equal(memory_ring_map(&memory, pfn, 3, &two), 0);
	assert_ptr_not_equal(one.base, two.base);
	memory_ring_unmap(&memory, pfn, 3, &one);
	memory_ring_unmap(&memory, pfn, 3, &two);
	assert_int_equal(memory_ring_map(&memory, pfn, 3, &one), 0);
	assert_int_equal(memory_ring_map(&memory, pfn, 3, &two), 0);
	assert_ptr_not_equal(one.base, two.base);
	memory_ring_unmap(&memory, pfn, 3, &one);
	memory_ring_unmap(&memory, pfn, 3, &two);
}

/* However many come and go, few are kept, and none that is in many pieces or large. */
static void test_bounds(void **state)
{
	uint64_t pfn[MEMORY_KEPT_PAGES + 1];
	struct memory_view view;
	int kept;

	for (unsigned i = 0; i < 4 * MEMORY_KEPT; i++) {
		uint64_t ring[] = {i, i + 1, i + 2};

		assert_int_equal(memory_ring_map(&memory, ring, 3, &view), 0);
		assert_ring(&view, ring, 3);
		memory_ring_unmap(&memory, ring, 3, &view);
	}
	kept = memory.pieces;
	assert_in_range(kept, MEMORY_KEPT, MEMORY_KEPT * MEMORY_KEPT_PIECES);
	for (unsigned i = 0; i < MEMORY_KEPT_PAGES; i++)
		pfn[i] = 2 * i;
	assert_int_equal(memory_ring_map(&memory, pfn, MEMORY_KEPT_PAGES, &view), 0);
	assert_true(memory.pieces > kept + (int)MEMORY_KEPT_PAGES);
	memory_ring_unmap(&memory, pfn, MEMORY_KEPT_PAGES, &view);
	assert_int_equal(memory.pieces, kept);
	for (unsigned i = 0; i <= MEMORY_KEPT_PAGES; i++)
		pfn[i] = i;
	assert_int_equal(memory_ring_map(&memory, pfn, MEMORY_KEPT_PAGES + 1, &view), 0);
	memory_ring_unmap(&memory, pfn, MEMORY_KEPT_PAGES + 1, &view);
	assert_int_equal(memory.pieces, kept);
}

static void test_not_memory(void **state)
{
	static const uint64_t pfn[] = {PAGES - 2, PAGES - 1, PAGES};
	struct memory_view view;

	assert_int_equal(memory_ring_map(&memory, pfn, 3, &view), -EFAULT);
	assert_null(view.base);
	memory_ring_unmap(&memory, pfn, 3, &view);
	assert_int_equal(memory.pieces, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_order),
		TEST(test_kept),
		TEST(test_twice),
		TEST(test_bounds),
		TEST(test_not_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
