/*
 * base_spin.c - the window in which a waiter looks again before it sleeps.
 */
#include "base/spin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

static void short_waits_open_the_window(void **state)
{
	uint64_t window = 0, before;

	for (unsigned i = 0; i < 20; i++) {
		before = window;
		window = spin_window(window, SPIN_MAX_NS);
		assert_true(window > before || window == SPIN_MAX_NS);
		assert_true(window >= SPIN_MIN_NS && window <= SPIN_MAX_NS);
	}
	assert_int_equal(window, SPIN_MAX_NS);
}

static void a_wait_within_the_window_leaves_it(void **state)
{
	assert_int_equal(spin_window(SPIN_MIN_NS, 0), SPIN_MIN_NS);
	assert_int_equal(spin_window(SPIN_MIN_NS, SPIN_MIN_NS), SPIN_MIN_NS);
	assert_int_equal(spin_window(SPIN_MAX_NS, SPIN_MAX_NS), SPIN_MAX_NS);
}

/* Whoever waits long spins for less than twice the longest window, and then no more. */
static void long_waits_close_it(void **state)
{
	uint64_t window = SPIN_MAX_NS, spun = 0;

	while (window) {
		spun += window;
		window = spin_window(window, SPIN_MAX_NS + 1);
	}
	assert_true(spun < 2 * SPIN_MAX_NS);
	assert_int_equal(spin_window(0, SPIN_MAX_NS + 1), 0);
	assert_int_equal(spin_window(0, UINT64_MAX), 0);
}

static void without_a_window_nobody_spins(void **state)
{
	struct spin s = {0};

	spin_begin(&s);
	assert_false(spin_on(&s));
}

static void spinning_ends(void **state)
{
	struct spin s = {.window = SPIN_MIN_NS};

	spin_begin(&s);
	while (spin_on(&s))
		;
	spin_end(&s);
	assert_true(s.window <= SPIN_MAX_NS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_waits_open_the_window),
		cmocka_unit_test(a_wait_within_the_window_leaves_it),
		cmocka_unit_test(long_waits_close_it),
		cmocka_unit_test(without_a_window_nobody_spins),
		cmocka_unit_test(spinning_ends),
	};

	return cmocka_run_group_tests_name("base/spin", tests, NULL, NULL);
}
