/*
 * services.h - the registry of services: what guests may reach, and who may reach them, as the key
 * GuestCommunicationServices of a Hyper-V host is.
 *
 * It is a file that a person can read and edit: /etc/partita/services.json for root,
 * $XDG_CONFIG_HOME/partita/services.json (~/.config/partita/services.json) for other users, or what
 * PARTITA_SERVICES names. It holds for the machines of the user whose it is.
 *
 *	{
 *	  "services": [
 *	    {
 *	      "id": "vsock:5000",		a GUID, or a vsock port
 *	      "name": "Build agent",		ElementName in Hyper-V's registry
 *	      "enabled": true,
 *	      "connect": ["alice", "1001"],	users who may connect to it in guests,
 *	      "serve": ["alice"],		... and who may serve it to guests
 *	      "machines": ["<VM ID>"],		that may be reached, and reach it
 *	      "command": ["/usr/bin/agent", "-v"],	to be started for a connection from a guest
 *	      "socket": "/run/agent.sock"	... or the Unix socket where it is passed on to
 *	    }
 *	  ]
 *	}
 *
 * Without "connect" or "serve" it is root and the machine's owner, who always may; "*" is
 * everybody. Without "machines" it is all. Of "command" and "socket" there is at most one.
 *
 * A file that is damaged is refused as a whole, with a line that says where, and is never written
 * over; so is one with a field that nobody knows, for that is a slip in what guards a machine.
 */
#ifndef PARTITA_HVSOCKET_SERVICES_H
#define PARTITA_HVSOCKET_SERVICES_H

#include <stdbool.h>
#include <sys/types.h>

#include "hvsocket/address.h"

#define SERVICE_NAME_MAX 127 /* bytes */

/* Users beside root and the owner of a machine. */
struct service_users {
	bool all;
	unsigned n;
	char **names; /* of users, or their numbers */
	uid_t *ids;   /* (uid_t)-1: there is no such user now */
};

struct service {
	GUID id;
	char *name; /* never NULL */
	bool enabled;
	struct service_users connect, serve;
	GUID *machines;
	unsigned n_machines; /* 0: all */
	char **command;	     /* an absolute path and arguments, with a NULL behind; or NULL */
	char *socket;	     /* an absolute path, or NULL */
};

struct service_list {
	struct service *services;
	unsigned n;
};

/* Room for a line that says what is wrong. */
#define SERVICES_PROBLEM 512

/* ---- Who may -------------------------------------------------------------------------------- */

/*
 * service_may_connect - may host program of user @uid connect to @s in machine @vm of user @owner?
 * @s NULL: a service that is not registered; that is open to root and the owner.
 */
bool service_may_connect(const struct service *s, uid_t uid, uid_t owner, const GUID *vm);
/*
 * service_may_serve - may machine @vm of user @owner reach @s, served by a host program of user
 * @uid? @s NULL: a service that is not registered; nobody.
 */
bool service_may_serve(const struct service *s, uid_t uid, uid_t owner, const GUID *vm);

/* ---- For who looks up: the broker ------------------------------------------------------------ */

struct services;

/*
 * services_open - @path, which is copied; NULL: the user's. The file need not exist. NULL: there is
 * no memory, or no name for the file.
 */
struct services *services_open(const char *path);
void services_close(struct services *r);
/*
 * services_lookup - what is registered as @id now: the file is looked at each time, and read again
 * when it has changed. Returns 0 and sets *@found, NULL if nothing is, which stays until the next
 * call; or a negative errno when the file cannot be used, which was logged, once: then nobody may
 * do anything.
 */
int services_lookup(struct services *r, const GUID *id, const struct service **found);

/* ---- For who changes them: partita service --------------------------------------------------- */

/* services_path - of the file, the caller's; NULL: no memory, or HOME is not set. */
char *services_path(void);
/*
 * services_read - all that stand in @path, none if there is no such file. Returns 0, or a negative
 * errno with @problem, a line that names the file. service_list_free() in any case.
 */
int services_read(const char *path, struct service_list *list, char problem[SERVICES_PROBLEM]);
void service_list_free(struct service_list *list);
/* service_list_find - NULL: not there. */
struct service *service_list_find(const struct service_list *list, const GUID *id);
/*
 * service_list_add - a new one, with @id, enabled, with nothing else set. NULL: no memory.
 * service_list_remove - take @s away.
 */
struct service *service_list_add(struct service_list *list, const GUID *id);
void service_list_remove(struct service_list *list, struct service *s);
/*
 * services_change - read @path, let @change change the list, and write it: under a lock, and so
 * that whoever reads finds the old file or the new one. @change returns 0, or something else, which
 * becomes the result and nothing is written. Otherwise returns as services_read().
 */
int services_change(const char *path, int (*change)(struct service_list *list, void *ctx),
	void *ctx, char problem[SERVICES_PROBLEM]);

struct json_object;
/* service_json - as in the file; NULL: no memory. */
struct json_object *service_json(const struct service *s);

#endif
