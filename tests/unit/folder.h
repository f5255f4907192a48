/*
 * folder.h - a folder of a test's own, which goes away with all that is in it.
 */
#ifndef PARTITA_TESTS_FOLDER_H
#define PARTITA_TESTS_FOLDER_H

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define FOLDER 64 /* bytes of its path */

/* folder_make - *@path becomes that of a new, empty folder. The test fails if there can be none. */
static inline void folder_make(char path[FOLDER])
{
	strcpy(path, "/tmp/partita-unit-XXXXXX");
	assert_non_null(mkdtemp(path));
}

static inline int folder_remove_entry(
	const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static inline void folder_remove(const char *path)
{
	assert_int_equal(nftw(path, folder_remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

#endif
