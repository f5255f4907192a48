/*
 * vss.h - the volume shadow copy service: has the guest make its file systems and programs fit for
 * a backup, and go on afterwards. Linux guests freeze their file systems: whoever writes waits.
 *
 * Between freezing and thawing everything in the guest may come to wait; whoever freezes is
 * responsible for the thaw, also when the answer to the freeze did not come in time: a thaw that is
 * submitted then is sent after the guest has answered.
 */
#ifndef PARTITA_VSP_VSS_H
#define PARTITA_VSP_VSS_H

#include "vsp/ic.h"

struct vss;

struct vss_request {
	struct ic_request ic; /* the caller sets done and deadline */
	union {
		struct ic_vss plain;
		struct ic_vss_freeze freeze;
	} message;
};

/*
 * vss_create - gone(ctx) is called when the guest's channel closes after it was ready, and with it
 * everything that was frozen is thawed or has ended. On the serving thread. Returns 0, or what
 * ic_create() returned.
 */
int vss_create(struct vmbus *bus, void (*gone)(void *ctx), void *ctx, struct vss **v);
void vss_destroy(struct vss *v);
struct ic *vss_ic(struct vss *v);

/*
 * vss_submit - IC_VSS_HOT_BACKUP (could there be a backup now?), IC_VSS_FREEZE or IC_VSS_THAW.
 * Returns what ic_submit() does, -EOPNOTSUPP (the guest's version cannot freeze).
 */
int vss_submit(struct vss *v, struct vss_request *r, enum ic_vss_operation operation);

#endif
