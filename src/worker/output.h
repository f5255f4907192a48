/*
 * output.h - bytes on their way to a descriptor: buffered, in order, written by the loop's thread.
 *
 * Bytes wait a moment for company, so that a guest's line costs one write and not eighty. When the
 * buffer fills the producer waits until the reader has taken some.
 */
#ifndef PARTITA_WORKER_OUTPUT_H
#define PARTITA_WORKER_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"

struct output;

/*
 * output_create - to nowhere at first. NULL with errno set. broken(ctx, error) is called on the
 * loop's thread when writing failed with that errno; the output goes nowhere from then on.
 */
struct output *output_create(struct loop *loop, void (*broken)(void *ctx, int error), void *ctx);
/* output_destroy - the descriptor stays the caller's. NULL is allowed. */
void output_destroy(struct output *o);

/*
 * output_connect - write to @fd from now on; -1: nowhere, what comes is dropped. On the loop's
 * thread. What was buffered is dropped.
 */
void output_connect(struct output *o, int fd);
/* output_put - append a byte; never waits. Any thread. */
void output_put(struct output *o, uint8_t byte);
/*
 * output_throttle - wait while much is buffered. A producer calls it now and then, at least every
 * few thousand bytes, when it holds nothing that others need: what does not fit is lost.
 */
void output_throttle(struct output *o);
/* output_hurry - from now on nobody is to wait, or (hurry false) waiting is in order again. Any
 * thread. */
void output_hurry(struct output *o, bool hurry);
/* output_flush - write all that is buffered; gives up after a second in which nobody read. */
void output_flush(struct output *o);

#endif
