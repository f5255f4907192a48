/*
 * questions.h - what a confined machine asks its broker (hvsocket/broker.h), and who is told of the
 * answer. As many may be open as a guest has channels; a guest that asks more is refused. Those
 * that the broker has no time for wait here.
 */
#ifndef PARTITA_WORKER_QUESTIONS_H
#define PARTITA_WORKER_QUESTIONS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/loop.h"
#include "vsp/socket.h"

#define QUESTIONS_MAX 2048u

struct question {
	bool from_guest; /* it connects from @endpoint; otherwise @uid wants to connect to it */
	GUID endpoint;
	uid_t uid;
	struct socket_request request; /* its service is asked about; the rest is for who asked */
};

struct questions;

/*
 * questions_create - @fd is the machine's end of the broker's socket, or -1, and stays the
 * caller's. answered() is called on the loop's thread, once for each question that was taken: @err
 * 0 or a negative errno, @given a descriptor for the callee, if the guest connects and may. NULL
 * with errno set.
 */
struct questions *questions_create(struct loop *loop, int fd,
	void (*answered)(void *ctx, const struct question *q, int err, int given), void *ctx);
/* questions_destroy - those that are open are answered with -ECONNRESET. NULL is allowed. */
void questions_destroy(struct questions *qs);
/* questions_ask - any thread. Returns 0, or a negative errno: it was not taken. */
int questions_ask(struct questions *qs, const struct question *q);

#endif
