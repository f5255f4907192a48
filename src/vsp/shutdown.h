/*
 * shutdown.h - the shutdown service: asks the guest's system to end in order.
 *
 * The guest's answer says that it will do so; that it has is seen when the machine ends.
 */
#ifndef PARTITA_VSP_SHUTDOWN_H
#define PARTITA_VSP_SHUTDOWN_H

#include "vsp/ic.h"

struct shutdown;

struct shutdown_request {
	struct ic_request ic; /* the caller sets done and deadline */
	struct ic_shutdown message;
};

/* shutdown_create - returns 0, or what ic_create() returned. */
int shutdown_create(struct vmbus *bus, struct shutdown **s);
void shutdown_destroy(struct shutdown *s);
struct ic *shutdown_ic(struct shutdown *s);
/*
 * shutdown_submit - @flags of enum ic_shutdown_flags: neither RESTART nor HIBERNATE means to power
 * off. Returns what ic_submit() does, -EOPNOTSUPP (the guest's version cannot do that).
 */
int shutdown_submit(struct shutdown *s, struct shutdown_request *r, unsigned flags);

#endif
