/*
 * disk_path.c - the paths by which a differencing disk names its parent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "disk/path.h"

static char root[] = "/tmp/partita-path-XXXXXX";

static int set_up(void **state)
{
	static const char *const folders[] = {"vms", "vms/a", "vms/ab"};

	if (!mkdtemp(root) || chdir(root) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		if (mkdir(folders[i], 0700) < 0)
			return -1;
	close(open("vms/base.vhd", O_CREAT | O_WRONLY, 0600));
	close(open("vms/ab/base.vhd", O_CREAT | O_WRONLY, 0600));
	return symlink("ab", "vms/link");
}

static int tear_down(void **state)
{
	unlink("vms/link");
	unlink("vms/ab/base.vhd");
	unlink("vms/base.vhd");
	rmdir("vms/ab");
	rmdir("vms/a");
	rmdir("vms");
	return rmdir(root);
}

static void check(const char *child, const char *parent, const char *expected)
{
	char *relative, *absolute, *real = realpath(parent, NULL);

	assert_int_equal(disk_path_locators(child, parent, &relative, &absolute), 0);
	assert_string_equal(relative, expected);
	assert_int_equal(strlen(absolute), strlen(real));
	assert_int_equal(absolute[0], '\\');
	assert_null(strchr(absolute, '/'));
	assert_string_equal(strrchr(absolute, '\\'), "\\base.vhd");
	free(relative);
	free(absolute);
	free(real);
}

static void relative_paths(void **state)
{
	char away[sizeof(root) + 32];

	check("vms/child.vhd", "vms/base.vhd", ".\\base.vhd");
	check("vms/a/child.vhd", "vms/base.vhd", "..\\base.vhd");
	check("vms/child.vhd", "vms/ab/base.vhd", ".\\ab\\base.vhd");
	/* A folder whose name begins like another's. */
	check("vms/a/child.vhd", "vms/ab/base.vhd", "..\\ab\\base.vhd");
	check("vms/ab/child.vhd", "vms/ab/base.vhd", ".\\base.vhd");
	/* Links are followed first: the path must hold from where the file really is. */
	check("vms/link/child.vhd", "vms/link/base.vhd", ".\\base.vhd");
	check("vms/link/child.vhd", "vms/base.vhd", "..\\base.vhd");
	check("child.vhd", "vms/base.vhd", ".\\vms\\base.vhd");
	/* From the root, and with nothing in common. */
	snprintf(away, sizeof(away), ".%s/vms/base.vhd", root);
	for (char *c = away; *c; c++)
		if (*c == '/')
			*c = '\\';
	check("/child.vhd", "vms/base.vhd", away);
}

static void errors(void **state)
{
	char *relative, *absolute;

	assert_int_equal(disk_path_locators("vms/c.vhd", "vms/no", &relative, &absolute), -ENOENT);
	assert_int_equal(
		disk_path_locators("no/c.vhd", "vms/base.vhd", &relative, &absolute), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(relative_paths),
		cmocka_unit_test(errors),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
