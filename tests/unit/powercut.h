/*
 * powercut.h - files as they can be after a power cut: a recorder of what the disk room does to its
 * files, and files made of it.
 *
 * What a completed flush covers is there. Of everything else that began before the cut any part may
 * be there, in sectors of 512 bytes, whatever the order in which it was written; changes of a
 * file's length are there up to one of them.
 */
#ifndef PARTITA_TESTS_POWERCUT_H
#define PARTITA_TESTS_POWERCUT_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "disk/file.h"

#define POWERCUT_SECTOR 512u
#define POWERCUT_FILES	4

struct powercut_event {
	enum disk_event type;
	unsigned file;
	uint64_t offset, length;
	uint8_t *data;	       /* of a write */
	uint64_t began, ended; /* moments; ended is UINT64_MAX until then */
	int result;
};

/* The file's pages that are not zeros, and its length. */
struct powercut_image {
	uint8_t **page;
	size_t n_pages;
	uint64_t length;
};

struct powercut {
	pthread_mutex_t lock;
	uint64_t now; /* counts up with each beginning and each end */
	struct powercut_event *event;
	size_t n_events, room;
	unsigned n_files;
	char *path[POWERCUT_FILES];
	struct disk_recorder recorder;

	/* While cutting: what is durable at a moment that only moves on. */
	struct powercut_image durable[POWERCUT_FILES];
	bool *applied; /* events */
	size_t first;  /* the first event that is not applied */
};

void powercut_init(struct powercut *p);
void powercut_fini(struct powercut *p);
/* powercut_watch - a file, known by its name, begins as it is now, durable. */
void powercut_watch(struct powercut *p, const char *path);
/* powercut_moment - the current moment; what begins later has a greater one. */
uint64_t powercut_moment(struct powercut *p);
/*
 * powercut_cut - write all watched files as they can be after a cut at @moment, which never is less
 * than in the call before. @seed chooses.
 */
void powercut_cut(struct powercut *p, uint64_t moment, unsigned seed);
/* powercut_changes - how many there were of the file, and of those how many no flush covers. */
unsigned powercut_changes(struct powercut *p, const char *path);
unsigned powercut_unflushed(struct powercut *p, const char *path);

#endif
