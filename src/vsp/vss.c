/*
 * vss.c - see vss.h.
 */
#include "vsp/vss.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct ic_version versions[] = {{4, 0}, {5, 0}, {6, 0}, {7, 0}};

struct vss {
	struct ic *ic;
};

int vss_create(struct vmbus *bus, void (*gone)(void *ctx), void *ctx, struct vss **vss)
{
	struct vss *v = calloc(1, sizeof(*v));
	struct ic_config config = {.name = "vss",
		.interface = IC_VSS_INTERFACE,
		.instance = IC_VSS_INSTANCE,
		.type = IC_VSS,
		.versions = versions,
		.n_versions = sizeof(versions) / sizeof(versions[0]),
		.gone = gone,
		.ctx = ctx};
	int err;

	if (!v)
		return -ENOMEM;
	err = ic_create(bus, &config, &v->ic);
	if (err)
		vss_destroy(v);
	else
		*vss = v;
	return err;
}

void vss_destroy(struct vss *v)
{
	if (!v)
		return;
	ic_destroy(v->ic);
	free(v);
}

struct ic *vss_ic(struct vss *v)
{
	return v->ic;
}

int vss_submit(struct vss *v, struct vss_request *r, enum ic_vss_operation operation)
{
	memset(&r->message, 0, sizeof(r->message));
	r->message.plain.operation = (uint8_t)operation;
	r->ic.message = &r->message;
	r->ic.size =
		operation == IC_VSS_FREEZE ? sizeof(r->message.freeze) : sizeof(r->message.plain);
	if (operation != IC_VSS_HOT_BACKUP && ic_state(v->ic).stage == IC_READY &&
		!ic_at_least(v->ic, 5, 0))
		return -EOPNOTSUPP;
	return ic_submit(v->ic, &r->ic);
}
