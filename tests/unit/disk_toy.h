/*
 * disk_toy - a disk format for tests of the core: 4 KiB sectors that lie anywhere in the file, a
 * table that exists in memory only, and every reason to make the core work: sectors that nothing
 * holds, that a parent holds, that must be settled, and answers that would have to wait.
 */
#ifndef PARTITA_TESTS_DISK_TOY_H
#define PARTITA_TESTS_DISK_TOY_H

#include "disk/format.h"

#define TOY_SECTOR 4096u

struct toy {
	struct disk disk;
	pthread_mutex_t lock;
	uint64_t *table;   /* by sector: its place in the file; or one of these: */
	uint64_t *pending; /* places that are not settled */
	uint64_t end;	   /* of the file's used part */
	_Atomic unsigned calls, settled, failed, flushes;
	unsigned reluctant;  /* every so many calls would have to wait; 0: none */
	_Atomic bool frozen; /* the test says so: nobody may come now */
	bool can_zero;
	int refuse; /* what place() fails with */
};

#define TOY_NOWHERE   0ull
#define TOY_IN_PARENT 1ull

/* toy_create - in a new file at @path that is removed at once. Sectors begin as @begin. */
struct toy *toy_create(struct disk_engine *e, const char *path, uint64_t sectors, uint64_t begin,
	unsigned flags, const struct disk_recorder *recorder);

#endif
