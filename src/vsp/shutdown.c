/*
 * shutdown.c - see shutdown.h.
 */
#include "vsp/shutdown.h"

#include <errno.h>
#include <stdlib.h>

static const struct ic_version versions[] = {{1, 0}, {3, 0}, {3, 1}, {3, 2}};

struct shutdown {
	struct ic *ic;
};

int shutdown_create(struct vmbus *bus, struct shutdown **shutdown)
{
	static const struct ic_config config = {.name = "shutdown",
		.interface = IC_SHUTDOWN_INTERFACE,
		.instance = IC_SHUTDOWN_INSTANCE,
		.type = IC_SHUTDOWN,
		.versions = versions,
		.n_versions = sizeof(versions) / sizeof(versions[0])};
	struct shutdown *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	err = ic_create(bus, &config, &s->ic);
	if (err)
		shutdown_destroy(s);
	else
		*shutdown = s;
	return err;
}

void shutdown_destroy(struct shutdown *s)
{
	if (!s)
		return;
	ic_destroy(s->ic);
	free(s);
}

struct ic *shutdown_ic(struct shutdown *s)
{
	return s->ic;
}

int shutdown_submit(struct shutdown *s, struct shutdown_request *r, unsigned flags)
{
	r->message = (struct ic_shutdown){.reason = IC_REASON_PLANNED, .flags = flags};
	r->ic.message = &r->message;
	r->ic.size = sizeof(r->message);
	if (ic_state(s->ic).stage == IC_READY &&
		((flags & IC_SHUTDOWN_RESTART && !ic_at_least(s->ic, 3, 1)) ||
			(flags & IC_SHUTDOWN_HIBERNATE && !ic_at_least(s->ic, 3, 2))))
		return -EOPNOTSUPP;
	return ic_submit(s->ic, &r->ic);
}
