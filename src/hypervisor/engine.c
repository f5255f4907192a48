/*
 * engine.c - which engine a partition runs on.
 *
 * The SDK has no say in this; the environment variable PARTITA_ENGINE has: "software", "kvm", or
 * "auto", which is the default and takes the software processor.
 */
#include "hypervisor/engine.h"

#include <stdlib.h>
#include <string.h>

const char *engine_wanted(void)
{
	return getenv("PARTITA_ENGINE");
}

const struct engine *engine_choose(const char *name, const char **why)
{
	if (!name || !*name || !strcmp(name, "auto") || !strcmp(name, "software"))
		return &engine_software;
	if (!strcmp(name, "kvm")) {
		if (engine_kvm.probe() == 0)
			return &engine_kvm;
		*why = "/dev/kvm cannot be used here";
		return NULL;
	}
	*why = "the engines are auto, software and kvm";
	return NULL;
}
