/*
 * stats.c - see stats.h. One "key value" line a figure.
 */
#include "worker/stats.h"

#include <stdio.h>

#include "base/log.h"
#include "worker/machine.h"

void stats_write(const struct machine *m, uint64_t duration)
{
	uint64_t exits = 0;

	if (m->config->stats_fd < 0)
		return;
	for (unsigned i = 0; i < m->config->processors; i++)
		exits += m->vps[i].exits;
	if (dprintf(m->config->stats_fd,
		    "seconds %.3f\n"
		    "memory_bytes %llu\n"
		    "processors %u\n"
		    "exits %llu\n",
		    duration / 1e9, (unsigned long long)m->ram.size, m->config->processors,
		    (unsigned long long)exits) < 0)
		log_warning("%s: cannot write the figures that --stats asked for", m->config->name);
}
