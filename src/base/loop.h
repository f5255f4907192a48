/*
 * loop.h - an event loop: one thread waits for descriptors and timers and calls back.
 *
 * Callbacks run one at a time on the thread inside loop_run() and no lock is held meanwhile, so a
 * callback may call anything here, also destroy its own watch or timer. Functions marked "any
 * thread" may be called from elsewhere; everything else belongs to the loop's thread, or to
 * whoever builds the loop before it runs and takes it down after.
 *
 * Time is CLOCK_MONOTONIC in nanoseconds. Built on epoll(7), timerfd_create(2) and eventfd(2).
 */
#ifndef PARTITA_BASE_LOOP_H
#define PARTITA_BASE_LOOP_H

#include <stdint.h>

struct loop;
struct loop_watch;
struct loop_timer;

/* loop_create - a loop with nothing in it. NULL with errno set when descriptors are short. */
struct loop *loop_create(void);
/* loop_destroy - after every watch and timer was taken out and loop_run() returned. */
void loop_destroy(struct loop *l);

/*
 * loop_spin - loop_run() shall look for events for a moment before it sleeps, when that has paid
 * lately (base/spin.h): for a loop whose events are turns of a conversation.
 */
void loop_spin(struct loop *l);
/* loop_run - call back until loop_quit(). Returns 0, or a negative errno of epoll_wait(2). */
int loop_run(struct loop *l);
/* loop_quit - make the current or next loop_run() return. Any thread, also a signal handler. */
void loop_quit(struct loop *l);

/*
 * loop_watch_create - call ready(ctx, events) while @fd has any of @events (EPOLLIN, EPOLLOUT;
 * level-triggered; EPOLLHUP and EPOLLERR always count, unless @events is 0). The descriptor stays
 * the caller's. NULL with errno set; EPERM: a regular file, which is always ready.
 */
struct loop_watch *loop_watch_create(struct loop *l, int fd, uint32_t events,
	void (*ready)(void *ctx, uint32_t events), void *ctx);
/* loop_watch_change - wait for other events from now on; 0 rests the watch. Any thread. */
void loop_watch_change(struct loop_watch *w, uint32_t events);
/* loop_watch_destroy - forget it; call before closing the descriptor. NULL is allowed. */
void loop_watch_destroy(struct loop_watch *w);

/* loop_timer_create - a timer, not armed, that calls expired(ctx). NULL with errno set. */
struct loop_timer *loop_timer_create(struct loop *l, void (*expired)(void *ctx), void *ctx);
/*
 * loop_timer_arm - expire once at @deadline, and again every @period if that is not 0. A deadline
 * that has passed expires at once; periods that were missed together expire once. Replaces an
 * earlier deadline, of which no callback starts after this returns unless it is already under way
 * on the loop's thread. Any thread.
 */
void loop_timer_arm(struct loop_timer *t, uint64_t deadline, uint64_t period);
/* loop_timer_disarm - as loop_timer_arm(), to never. Any thread. */
void loop_timer_disarm(struct loop_timer *t);
/* loop_timer_destroy - NULL is allowed. */
void loop_timer_destroy(struct loop_timer *t);

/* loop_now - the loop's clock. Any thread. */
uint64_t loop_now(void);

#endif
