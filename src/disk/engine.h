/*
 * engine.h - the engine's threads, for the room: work that may block runs there.
 */
#ifndef PARTITA_DISK_ENGINE_H
#define PARTITA_DISK_ENGINE_H

#include "disk/disk.h"

/* disk_engine_run - call w->run(w) on one of the engine's threads, in the order of arrival. */
void disk_engine_run(struct disk_engine *e, struct disk_work *w);
/* disk_engine_stripe - a stripe (gate.h) for a new queue. */
unsigned disk_engine_stripe(struct disk_engine *e);

#endif
