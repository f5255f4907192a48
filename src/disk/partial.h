/*
 * partial.h - a file that appears whole or not at all: it is made under another name beside the one
 * it shall have, and then published.
 */
#ifndef PARTITA_DISK_PARTIAL_H
#define PARTITA_DISK_PARTIAL_H

#include <stdbool.h>

/* disk_partial_name - a name of its own beside @path, which the caller frees. NULL with errno set.
 */
char *disk_partial_name(const char *path);
/*
 * disk_publish - give the durable file @partial the name @path, durably; @overwrite: whatever file
 * has that name is replaced in one step, else -EEXIST.
 */
int disk_publish(const char *partial, const char *path, bool overwrite);

#endif
