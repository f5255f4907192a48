/*
 * places.h - where the Unix sockets of machines and host programs lie, below a
 * directory of base/rundir.h:
 *
 *	sockets/<VM ID>				a running machine's (connect.h)
 *	sockets/cid-<N>				a link to <VM ID>: its vsock context
 *	sockets/listen/<scope>.<service ID>	a host program's that listens; the scope is a VM ID,
 *						or one of the GUIDs zero (everybody), children (all
 *						machines) and loopback (host programs)
 */
#ifndef PARTITA_HVSOCKET_PLACES_H
#define PARTITA_HVSOCKET_PLACES_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "hvsocket/address.h"

/* Paths below @base. They are cut, and exist nowhere, when @base is near PATH_MAX. */
void hv_place_machine(const char *base, const GUID *vm, char path[PATH_MAX]);
void hv_place_cid(const char *base, uint32_t cid, char path[PATH_MAX]);
void hv_place_listener(
	const char *base, const GUID *scope, const GUID *service, char path[PATH_MAX]);

/*
 * hv_place_name - what the last part of @path, a listener's, says. False: it is no listener's.
 */
bool hv_place_name(const char *path, GUID *scope, GUID *service);

/*
 * hv_place_make - make @base/sockets/listen and what is above it. Returns 0, or a negative errno.
 */
int hv_place_make(const char *base);

/* hv_place_bind, hv_place_connect - a Unix socket's path may be longer than sockaddr_un has room.
 * Return 0, or a negative errno. */
int hv_place_bind(int fd, const char *path);
int hv_place_connect(int fd, const char *path);

/*
 * hv_place_find_cid - the machine with vsock context @cid, in any directory of this user.
 * hv_place_cid_of - the context of machine @vm. False: no such machine.
 */
bool hv_place_find_cid(uint32_t cid, GUID *vm);
bool hv_place_cid_of(const GUID *vm, uint32_t *cid);

#endif
