/*
 * partial.h - a file that appears whole or not at all: it is made under another name beside the one
 * it shall have, and then published. For whoever makes a disk that shall not be seen empty.
 */
#ifndef PARTITA_DISK_PARTIAL_H
#define PARTITA_DISK_PARTIAL_H

#include "disk/disk.h"

/* disk_partial_name - a name of its own beside @path. NULL with errno set. */
char *disk_partial_name(const char *path);
/*
 * disk_create_partial - as disk_create(), but the file is left under the name *@partial, whole, but
 * durable only when it was flushed.
 */
int disk_create_partial(struct disk_engine *e, const char *path, const struct disk_create *create,
	const struct disk_recorder *recorder, struct disk_problem *problem, char **partial);
/*
 * disk_publish - give the durable file @partial the name @path, durably; @overwrite: whatever file
 * has that name is replaced in one step, else -EEXIST. When that fails the file is removed. Frees
 * @partial.
 */
int disk_publish(char *partial, const char *path, bool overwrite);
/* disk_discard - remove the file instead. Frees @partial. */
void disk_discard(char *partial);

#endif
