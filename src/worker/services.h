/*
 * services.h - the worker's side of the integration services: which ones the guest is offered, and
 * what others ask of them over the control socket (control.h).
 *
 *   {"command": "services"}
 *       reply {"services": [{"name": "kvp", "enabled": true, "state": "ready", "version": "4.0",
 *       "framework": "3.0"}, ...]}; the state is "closed", "negotiating", "refused" or "ready", and
 *       only a ready one has versions
 *   {"command": "enable-service", "service": "kvp"}, {"command": "disable-service", ...}
 *       reply {}
 *   {"command": "heartbeat"}
 *       reply {"status": "ok", "applications": "unknown", "since": 1767225600, "sequence": 7}; the
 *       status is "ok", "lost", "no contact" or "disabled"
 *   {"command": "set-time", "sample": false}
 *       reply {} when the guest was told to set its clock, or has got a sample
 *   {"command": "shutdown", "action": "shutdown", "force": false}      or "reboot", "hibernate"
 *       reply {} when the guest has agreed
 *   {"command": "kvp-get", "pool": "guest", "key": "color"}
 *       reply {"key": "color", "value": "blue"}; the pool is "external", "guest", "auto" or
 *       "auto-external"
 *   {"command": "kvp-set", "pool": ..., "key": ..., "value": ...}, {"command": "kvp-delete", ...}
 *       reply {}
 *   {"command": "kvp-list", "pool": ..., "from": 0}
 *       reply {"items": [{"key": ..., "value": ...}, ...], "next": 40}; with "next" there may be
 *       more, from there on
 *   {"command": "ip-get", "adapter": "00:15:5D:01:02:03", "family": "ipv4"}    or "ipv6"
 *       reply {"addresses": "a;b", "subnets": ..., "gateways": ..., "dns": ..., "dhcp": false};
 *       from version 5.0 on also "origins", of each address: "static;other;unknown"
 *   {"command": "ip-set", "adapter": ..., "family": ..., "addresses": ..., ...}
 *       reply {}
 *   {"command": "check-backup"}
 *       reply {} when the guest could be frozen
 *   {"command": "freeze", "hold": false, "limit": 60}
 *       reply {} when the guest is frozen; it thaws after so many seconds, with 0 when it is told.
 *       With "hold" a line {"progress": {"frozen": true}} comes then, and the reply when the guest
 *       is thawed, at the latest because the client has gone
 *   {"command": "thaw"}
 *       reply {}
 *   {"command": "copy-file", "path": "/in/the/guest", "overwrite": false,
 *    "create-directories": false}                            descriptor: the file
 *       lines {"progress": {"copied": 6144, "size": 1048576}}, reply {"size": 1048576}
 *
 * A request that waits for the guest is a job (jobs.h), which the provider has in between.
 */
#ifndef PARTITA_WORKER_SERVICES_H
#define PARTITA_WORKER_SERVICES_H

#include <stdint.h>

#include "base/guid.h"
#include "vsp/fcopy.h"
#include "vsp/heartbeat.h"
#include "vsp/kvp.h"
#include "vsp/shutdown.h"
#include "vsp/timesync.h"
#include "vsp/vss.h"
#include "worker/jobs.h"
#include "worker/worker.h"

#define SERVICE_PATIENCE_NS 60000000000ull /* for an answer of the guest */

#define SERVICE_ITEMS 5u

struct freezer;

struct services {
	struct machine *machine;
	struct heartbeat *heartbeat; /* each NULL while it is disabled */
	struct timesync *timesync;
	struct shutdown *shutdown;
	struct kvp *kvp;
	struct vss *vss;
	struct fcopy *fcopy;
	struct kvp_item items[SERVICE_ITEMS]; /* what the guest is told of the host */
	char id[GUID_TEXT];		      /* the machine's, for that */
	struct freezer *freezer;	      /* services_vss.c's */

	struct job vss_closed;	 /* the guest closed the channel */
	atomic_bool vss_closing; /* ... and that job is done, but not finished yet */
};

/* services_find - the service that a request names. False: an error was replied. */
bool services_find(struct control_request *r, enum worker_service *service);
/* services_enabled - is the service offered? False: an error was replied. */
bool services_enabled(struct services *s, struct control_request *r, enum worker_service service);

/*
 * service_failed - if a request to the guest did not succeed, reply so and return true: @err of
 * submitting it or of its end, else the guest's @status.
 */
bool service_failed(struct job *job, enum worker_service service, int err, uint32_t status);

/* A string of the request; NULL: there is none. */
const char *service_string(const struct control_request *r, const char *name);
/* False also where the request does not say. */
bool service_flag(const struct control_request *r, const char *name);

/* services_vss.c: the service's state. freezer_create() returns 0 or a negative errno. */
int freezer_create(struct services *s);
void freezer_destroy(struct services *s);
/* The guest's channel is gone. */
void freezer_gone(struct services *s);
/* Is the guest not, or not for sure, thawed? */
bool freezer_busy(const struct services *s);

/* What the commands do; services.c and its like. */
void services_list_request(struct machine *m, struct control_request *r);
void services_enable_request(struct machine *m, struct control_request *r);
void services_disable_request(struct machine *m, struct control_request *r);
void services_heartbeat_request(struct machine *m, struct control_request *r);
void services_time_request(struct machine *m, struct control_request *r);
void services_shutdown_request(struct machine *m, struct control_request *r);
void services_kvp_get_request(struct machine *m, struct control_request *r);
void services_kvp_set_request(struct machine *m, struct control_request *r);
void services_kvp_delete_request(struct machine *m, struct control_request *r);
void services_kvp_list_request(struct machine *m, struct control_request *r);
void services_ip_get_request(struct machine *m, struct control_request *r);
void services_ip_set_request(struct machine *m, struct control_request *r);
void services_check_backup_request(struct machine *m, struct control_request *r);
void services_freeze_request(struct machine *m, struct control_request *r);
void services_thaw_request(struct machine *m, struct control_request *r);
void services_copy_file_request(struct machine *m, struct control_request *r);

#endif
