/*
 * winbase.h: events, waiting, and what goes on around an overlapped operation.
 */
#include "virtdisk_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "interruptions.h"

static void test_an_event_reset_by_hand(void **state)
{
	HANDLE e = CreateEvent(NULL, TRUE, FALSE, NULL);

	assert_non_null(e);
	assert_int_equal(WaitForSingleObject(e, 0), WAIT_TIMEOUT);
	assert_int_equal(WaitForSingleObject(e, 1), WAIT_TIMEOUT);
	assert_true(SetEvent(e));
	assert_true(SetEvent(e));
	assert_int_equal(WaitForSingleObject(e, INFINITE), WAIT_OBJECT_0);
	assert_int_equal(WaitForSingleObject(e, 0), WAIT_OBJECT_0);
	assert_true(ResetEvent(e));
	assert_true(ResetEvent(e));
	assert_int_equal(WaitForSingleObject(e, 0), WAIT_TIMEOUT);
	assert_true(CloseHandle(e));
}

/* The clock ticks between its two readings of some of these waits. */
static void test_a_deadline_that_just_passed(void **state)
{
	HANDLE e = CreateEvent(NULL, TRUE, FALSE, NULL);

	for (unsigned i = 0; i < 300000; i++)
		assert_int_equal(WaitForSingleObject(e, 0), WAIT_TIMEOUT);
	assert_true(CloseHandle(e));
}

static void test_signals_while_an_event_is_reset(void **state)
{
	HANDLE e = CreateEvent(NULL, TRUE, FALSE, NULL);
	timer_t timer;

	timer = interruptions_begin();
	while (interruptions_go_on())
		assert_true(ResetEvent(e));
	interruptions_end(timer);
	assert_true(CloseHandle(e));
}

static void test_an_event_that_lets_one_through(void **state)
{
	HANDLE e = CreateEvent(NULL, FALSE, TRUE, NULL);

	assert_int_equal(WaitForSingleObject(e, 0), WAIT_OBJECT_0);
	assert_int_equal(WaitForSingleObject(e, 0), WAIT_TIMEOUT);
	assert_true(SetEvent(e));
	assert_int_equal(WaitForSingleObject(e, INFINITE), WAIT_OBJECT_0);
	assert_int_equal(WaitForSingleObject(e, 0), WAIT_TIMEOUT);
	assert_true(CloseHandle(e));
}

static void *set_it(void *e)
{
	SetEvent(e);
	return NULL;
}

static void test_waiting_for_another_thread(void **state)
{
	HANDLE e = CreateEvent(NULL, FALSE, FALSE, NULL);
	pthread_t thread;

	pthread_create(&thread, NULL, set_it, e);
	assert_int_equal(WaitForSingleObject(e, INFINITE), WAIT_OBJECT_0);
	pthread_join(thread, NULL);
	assert_true(CloseHandle(e));
}

static void test_waiting_for_several(void **state)
{
	HANDLE e[3];

	for (unsigned i = 0; i < 3; i++)
		e[i] = CreateEvent(NULL, i % 2, FALSE, NULL);
	assert_int_equal(WaitForMultipleObjects(3, e, FALSE, 0), WAIT_TIMEOUT);
	SetEvent(e[2]);
	assert_int_equal(WaitForMultipleObjects(3, e, FALSE, INFINITE), WAIT_OBJECT_0 + 2);
	assert_int_equal(WaitForMultipleObjects(3, e, FALSE, 0), WAIT_TIMEOUT);
	SetEvent(e[0]);
	SetEvent(e[2]);
	assert_int_equal(WaitForMultipleObjects(3, e, TRUE, 1), WAIT_TIMEOUT);
	for (unsigned i = 0; i < 3; i++)
		SetEvent(e[i]);
	assert_int_equal(WaitForMultipleObjects(3, e, TRUE, INFINITE), WAIT_OBJECT_0);
	assert_int_equal(WaitForMultipleObjects(0, e, TRUE, 0), WAIT_FAILED);
	assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
	assert_int_equal(WaitForMultipleObjects(65, e, TRUE, 0), WAIT_FAILED);
	for (unsigned i = 0; i < 3; i++)
		assert_true(CloseHandle(e[i]));
}

/* Also one whose read would block. */
static void test_a_descriptor_of_the_program(void **state)
{
	int fd = eventfd(0, 0);
	HANDLE e = PARTITA_HANDLE_FROM_FD(fd);

	assert_true(ResetEvent(e));
	assert_true(SetEvent(e));
	assert_int_equal(WaitForSingleObject(e, 0), WAIT_OBJECT_0);
	assert_true(ResetEvent(e));
	assert_int_equal(WaitForSingleObject(e, 0), WAIT_TIMEOUT);
	assert_true(CloseHandle(e));
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_what_is_no_handle(void **state)
{
	HANDLE none[] = {NULL, INVALID_HANDLE_VALUE, PARTITA_HANDLE_FROM_FD(1000000)};

	for (unsigned i = 0; i < 3; i++) {
		SetLastError(0);
		assert_false(CloseHandle(none[i]));
		assert_int_equal(GetLastError(), ERROR_INVALID_HANDLE);
		assert_false(SetEvent(none[i]));
		assert_false(ResetEvent(none[i]));
		assert_int_equal(WaitForSingleObject(none[i], 0), WAIT_FAILED);
		assert_int_equal(GetLastError(), ERROR_INVALID_HANDLE);
		assert_false(CancelIoEx(none[i], NULL));
	}
	assert_null(CreateEventW(NULL, TRUE, FALSE, u"name"));
	assert_int_equal(GetLastError(), ERROR_NOT_SUPPORTED);
	assert_null(CreateEventA(NULL, TRUE, FALSE, "name"));
}

static void test_results_of_nothing(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 16 * MIB, NULL, false);
	VIRTUAL_DISK_PROGRESS progress;
	OVERLAPPED o = {0};
	DWORD n;

	assert_true(GetOverlappedResult(h, &o, &n, TRUE));
	assert_int_equal(n, 0);
	assert_false(GetOverlappedResult(h, NULL, &n, TRUE));
	assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
	assert_false(GetOverlappedResult(NULL, &o, &n, TRUE));
	assert_int_equal(GetLastError(), ERROR_INVALID_HANDLE);
	assert_code(GetVirtualDiskOperationProgress(h, &o, &progress), ERROR_INVALID_PARAMETER);
	assert_code(GetVirtualDiskOperationProgress(h, NULL, &progress), ERROR_INVALID_PARAMETER);
	assert_code(GetVirtualDiskOperationProgress(NULL, &o, &progress), ERROR_INVALID_PARAMETER);
	assert_false(CancelIoEx(h, NULL));
	assert_int_equal(GetLastError(), ERROR_NOT_FOUND);
	close_disk(h);
}

/* One OVERLAPPED after the other, also the same one again, without an event. */
static void test_an_overlapped_is_used_again(void **state)
{
	struct fixture *f = *state;
	HANDLE h = create(&vhdx_type, path(f, "d.vhdx"), 16 * MIB, NULL, false);
	OVERLAPPED o = {0}, other = {0};
	DWORD n;

	for (unsigned i = 0; i < 5; i++) {
		assert_code(CompactVirtualDisk(h, 0, NULL, i % 2 ? &other : &o), ERROR_IO_PENDING);
		assert_true(GetOverlappedResult(h, i % 2 ? &other : &o, &n, TRUE));
	}
	assert_true(GetOverlappedResult(h, &o, &n, FALSE));
	assert_int_equal(o.Internal, 0);
	close_disk(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_event_reset_by_hand),
		cmocka_unit_test(test_a_deadline_that_just_passed),
		cmocka_unit_test(test_signals_while_an_event_is_reset),
		cmocka_unit_test(test_an_event_that_lets_one_through),
		cmocka_unit_test(test_waiting_for_another_thread),
		cmocka_unit_test(test_waiting_for_several),
		cmocka_unit_test(test_a_descriptor_of_the_program),
		cmocka_unit_test(test_what_is_no_handle),
		TEST(results_of_nothing),
		TEST(an_overlapped_is_used_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
