/*
 * Tests of base/rundir.h, as a user without privilege: root's directory is the host's.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/rundir.h"

#define NOBODY 65534

static char base[] = "/tmp/partita-rundir-XXXXXX";

static int begin(void **state)
{
	(void)state;
	unsetenv("PARTITA_RUN_DIR");
	if (!mkdtemp(base))
		return -1;
	if (geteuid() == 0 && (chown(base, NOBODY, NOBODY) || seteuid(NOBODY)))
		return -1;
	return setenv("XDG_RUNTIME_DIR", base, 1);
}

static int end(void **state)
{
	char path[sizeof(base) + 32];

	(void)state;
	snprintf(path, sizeof(path), "%s/partita/machines", base);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/partita", base);
	rmdir(path);
	return getuid() != geteuid() && seteuid(getuid()) ? -1 : rmdir(base);
}

static void test_path(void **state)
{
	char *path, wanted[sizeof(base) + 32];
	struct stat st;

	(void)state;
	snprintf(wanted, sizeof(wanted), "%s/partita/machines", base);
	assert_int_equal(rundir_path("machines", &path), 0);
	assert_string_equal(path, wanted);
	assert_int_equal(stat(path, &st), -1);
	free(path);
}

static void test_make(void **state)
{
	char *path, *again;
	struct stat st;

	(void)state;
	assert_int_equal(rundir_make("machines", &path), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(rundir_make("machines", &again), 0);
	assert_string_equal(path, again);
	free(path);
	free(again);
}

/* One's own first, then the system's; what was chosen, alone. */
static void test_where_to_look(void **state)
{
	char path[PATH_MAX], wanted[sizeof(base) + 32], *part;

	(void)state;
	snprintf(wanted, sizeof(wanted), "%s/partita", base);
	assert_true(rundir_look(0, path));
	assert_string_equal(path, wanted);
	assert_true(rundir_look(1, path));
	assert_string_equal(path, "/run/partita");
	assert_false(rundir_look(2, path));
	setenv("PARTITA_RUN_DIR", "/somewhere", 1);
	assert_true(rundir_look(0, path));
	assert_string_equal(path, "/somewhere");
	assert_false(rundir_look(1, path));
	assert_int_equal(rundir_path("machines", &part), 0);
	assert_string_equal(part, "/somewhere/machines");
	free(part);
	unsetenv("PARTITA_RUN_DIR");
}

static void test_none(void **state)
{
	char *path, system[PATH_MAX];

	(void)state;
	setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
	assert_int_equal(rundir_make("machines", &path), -ENOENT);
	assert_null(path);
	setenv("XDG_RUNTIME_DIR", "", 1);
	assert_int_equal(rundir_path("machines", &path), -ENOENT);
	unsetenv("XDG_RUNTIME_DIR");
	assert_int_equal(rundir_path("machines", &path), -ENOENT);
	assert_null(path);
	assert_false(rundir_own(system));
	assert_true(rundir_look(0, system));
	assert_string_equal(system, "/run/partita");
	assert_false(rundir_look(1, system));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_make),
		cmocka_unit_test(test_where_to_look),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests_name("base_rundir", tests, begin, end);
}
