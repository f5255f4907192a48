/*
 * virtdisk_fixture.h - for the tests of virtdisk.h: a folder of its own, paths in UTF-16, and disks
 * made and used through the SDK's functions alone.
 */
#ifndef PARTITA_TESTS_VIRTDISK_FIXTURE_H
#define PARTITA_TESTS_VIRTDISK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <windows.h>

#include <virtdisk.h>

#include "folder.h"

#define MIB (1ull << 20)

struct fixture {
	char folder[FOLDER];
	WCHAR paths[16][160]; /* of path() */
	unsigned n_paths;
};

int fixture_setup(void **state);
int fixture_teardown(void **state);

/* path - of a file in the folder; good until the test ends, for up to 16 of them. */
PCWSTR path(struct fixture *f, const char *name);
bool exists(struct fixture *f, const char *name);

extern const VIRTUAL_STORAGE_TYPE any_type, vhd_type, vhdx_type, set_type;

/* create - a disk of @size bytes (0: the parent's), which stays open with all access. */
HANDLE create(
	const VIRTUAL_STORAGE_TYPE *type, PCWSTR path, uint64_t size, PCWSTR parent, bool fixed);
/* open_disk - version 2 of the parameters. */
HANDLE open_disk(PCWSTR path, bool read_only);
DWORD try_open(PCWSTR path, bool read_only, HANDLE *h);
void close_disk(HANDLE h);

/* put, get - a block of 4096 bytes of @value at @offset, by SCSI commands. */
void put(HANDLE h, uint64_t offset, char value);
char get(HANDLE h, uint64_t offset);

/* info - GetVirtualDiskInformation into @info, which has room for @size bytes. */
DWORD info(HANDLE h, GET_VIRTUAL_DISK_INFO_VERSION version, void *info, ULONG size);
uint64_t virtual_size(HANDLE h);
/* most_recent_id - of change tracking; @newer may be NULL. */
void most_recent_id(
	HANDLE h, WCHAR id[VIRTUAL_DISK_MAXIMUM_CHANGE_TRACKING_ID_LENGTH], BOOL *newer);

/* start_mirror - with @o, to the image @to, which is new unless @flags say otherwise. */
void start_mirror(HANDLE h, PCWSTR to, unsigned flags, OVERLAPPED *o);
/* break_mirror - as soon as the mirror is equal. */
void break_mirror(HANDLE h);

#define TEST(name)		cmocka_unit_test_setup_teardown(test_##name, fixture_setup, fixture_teardown)
#define assert_code(call, code) assert_int_equal(call, code)

#endif
