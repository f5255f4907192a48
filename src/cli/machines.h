/*
 * machines.h - which machines run: each has a socket and an entry, by its ID, and a link by its
 * vsock context, in a directory that hvsocket/places.h names. What a machine that was killed left
 * there is removed by whoever looks next.
 */
#ifndef PARTITA_CLI_MACHINES_H
#define PARTITA_CLI_MACHINES_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "hvsocket/address.h"

#define MACHINES_CID_FIRST 3u /* those below are the hypervisor, this host, and any host */

struct machines_entry {
	GUID id;
	char *name;
	uint32_t cid;
	pid_t pid;
};

/*
 * machines_describe - make the entry of machine @id below @base; its path goes to @path. False,
 * with errno set.
 */
bool machines_describe(
	const char *base, const GUID *id, const char *name, uint32_t cid, char path[PATH_MAX]);
/* machines_clean - remove what machines that run no more left below @base. */
void machines_clean(const char *base);
/* machines_list - all that this user sees, to be freed with machines_free(). */
struct machines_entry *machines_list(unsigned *n);
void machines_free(struct machines_entry *list, unsigned n);

#endif
