/*
 * console.h - what is at the other end of the machine's COM1: the user's terminal (or pipes), a
 * file, or a socket.
 *
 * Output is buffered and written by the loop's thread; a reader that is slow slows the guest down,
 * as flow control on a serial line would. Input goes to the port as it has room. On a terminal
 * Ctrl-A is the escape key: Ctrl-A x quits, Ctrl-A h helps, Ctrl-A Ctrl-A is one Ctrl-A.
 */
#ifndef PARTITA_WORKER_CONSOLE_H
#define PARTITA_WORKER_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "worker/worker.h"

struct console;

/* All are called on the loop's thread. */
struct console_ops {
	/* Bytes from the user; returns how many were taken: console_room() says when to go on. */
	size_t (*input)(void *ctx, const uint8_t *bytes, size_t count);
	/* The user wants to quit, or (signal is SIGPIPE) nobody reads stdout any more. */
	void (*quit)(void *ctx, int signal);
};

/*
 * console_create - start to listen. Returns NULL with errno set.
 * @serial, @fd, @path: as in struct worker_config; @ops and @ctx are kept.
 */
struct console *console_create(struct loop *loop, enum worker_serial serial, int fd,
	const char *path, const struct console_ops *ops, void *ctx);
/* console_destroy - write what is still buffered, as far as somebody takes it. NULL is allowed. */
void console_destroy(struct console *c);

/* console_put - a byte from the guest. Any thread; never waits. */
void console_put(struct console *c, uint8_t byte);
/* console_throttle - after bytes from the guest, with no lock held: wait for a slow reader. */
void console_throttle(struct console *c);
/*
 * console_hurry - the machine ends: wait for no reader any more; with @hurry false it starts again.
 * Any thread.
 */
void console_hurry(struct console *c, bool hurry);
/* console_room - the port takes input again. Any thread. */
void console_room(struct console *c);

#endif
