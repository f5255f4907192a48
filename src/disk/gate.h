/*
 * gate.h - who is at work on a disk: lets requests in and out without a lock, and lets those who
 * change the disk under them wait.
 *
 * A request is inside while it uses a place in the file that map() or place() named; formats wait
 * for that to end before they use a place again (disk_synchronize()). A request that must be able
 * to wait for others itself (flush, zero, unmap) is outside, but counted. Freezing keeps new ones
 * away and waits for both.
 *
 * The counters are striped, so that threads do not share a cache line: a queue has its stripe,
 * other threads use that of their processor. Inside is counted by epoch: synchronizing begins a new
 * epoch and waits for the old one's counters to become zero, each for itself (a request leaves by
 * the stripe where it came in). Ideas from sleepable RCU (Linux, kernel/rcu/srcutree.c).
 *
 * A parent is frozen only while its children are: who is inside a child is let into its parents.
 */
#ifndef PARTITA_DISK_GATE_H
#define PARTITA_DISK_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "disk/work.h"

#define DISK_STRIPES 8u

struct disk_gate_stripe {
	_Atomic unsigned inside[2], outside;
	char apart[64 - 3 * sizeof(unsigned)];
};

struct disk_gate {
	/* Changed seldom, read by all. */
	_Atomic unsigned epoch, frozen;
	_Atomic unsigned waiting; /* threads that wait for a counter to become zero */
	pthread_mutex_t turn;	  /* one epoch at a time */
	pthread_mutex_t lock;	  /* of held, and for the condition */
	pthread_cond_t moved;	  /* a counter became zero, or the disk thawed */
	struct disk_work_list held;
	char apart[64];
	struct disk_gate_stripe stripe[DISK_STRIPES];
};

/* How a request came in; 0: it is not in. */
typedef unsigned disk_ticket;

void disk_gate_init(struct disk_gate *g);
void disk_gate_fini(struct disk_gate *g);

/* disk_stripe - the stripe of the calling thread's processor. */
unsigned disk_stripe(void);

/*
 * disk_gate_enter - be inside. 0: the disk is frozen. With @under_way (it is outside, or inside a
 * child) also while others freeze.
 */
disk_ticket disk_gate_enter(struct disk_gate *g, unsigned stripe, bool under_way);
/* disk_gate_stay - be outside, as disk_gate_enter(). */
disk_ticket disk_gate_stay(struct disk_gate *g, unsigned stripe, bool under_way);
/* disk_gate_leave - the end of either; 0 is allowed. */
void disk_gate_leave(struct disk_gate *g, disk_ticket t);

/* disk_gate_wait - until the disk is not frozen (it may be again at once). */
void disk_gate_wait(struct disk_gate *g);
/*
 * disk_gate_hold - keep @w until the disk thaws, and then run it on the engine. False: not frozen.
 */
bool disk_gate_hold(struct disk_gate *g, struct disk_work *w);

#endif
