/*
 * engine_kvm.c - the engine that uses /dev/kvm. This version does not offer it: probe() says so.
 */
#include "hypervisor/engine.h"

#include <errno.h>

static int probe(void)
{
	return -ENOSYS;
}

const struct engine engine_kvm = {
	.name = "kvm",
	.probe = probe,
};
