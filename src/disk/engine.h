/*
 * engine.h - the engine's threads, for the room: work that may block runs there.
 */
#ifndef PARTITA_DISK_ENGINE_H
#define PARTITA_DISK_ENGINE_H

#include "disk/disk.h"

/*
 * Work that waits for requests to come out of a disk (it flushes or frees) must not take the last
 * thread from those requests. So there are two kinds: DISK_WORK_WAITS has half of the threads at
 * most, and who is queued as such is not inside of any disk.
 */
enum disk_work_kind { DISK_WORK_GOES_ON, DISK_WORK_WAITS };

/* disk_engine_run - call w->run(w) on one of the engine's threads, in the order of arrival. */
void disk_engine_run(struct disk_engine *e, struct disk_work *w, enum disk_work_kind kind);
/* disk_engine_stripe - a stripe (gate.h) for a new queue. */
unsigned disk_engine_stripe(struct disk_engine *e);

#endif
