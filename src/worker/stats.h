/*
 * stats.h - figures about a run, for benchmarks.
 */
#ifndef PARTITA_WORKER_STATS_H
#define PARTITA_WORKER_STATS_H

#include <stdint.h>

struct machine;

/* stats_write - write what --stats asks for, if it was asked for. @duration: nanoseconds. */
void stats_write(const struct machine *m, uint64_t duration);

#endif
