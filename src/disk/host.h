/*
 * host.h - what the host keeps a file on.
 */
#ifndef PARTITA_DISK_HOST_H
#define PARTITA_DISK_HOST_H

#include <stdbool.h>
#include <stdint.h>

struct host_storage {
	uint32_t logical_sector, physical_sector; /* bytes; 512 and 4096 where unknown */
	bool remote;				  /* another machine has it */
};

/* host_storage - of the file @path; what is not known gets its default. */
void host_storage(const char *path, struct host_storage *storage);
/*
 * host_mount - where the file system that @path is on is mounted, the longest such path that is a
 * prefix of the absolute path of @path. Returns what the caller frees, NULL: not known.
 */
char *host_mount(const char *path);

#endif
