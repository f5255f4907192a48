/*
 * event.h - an eventfd(2) that says that something is to be done: it is readable from a signal on
 * until it is read, however many signals there were.
 */
#ifndef PARTITA_BASE_EVENT_H
#define PARTITA_BASE_EVENT_H

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

/*
 * event_signal - what the caller did before is seen by who reads it. Any thread, also a signal
 * handler. (It is not eventfd_write(3) because the thread sanitizer does not know of that.)
 */
static inline void event_signal(int event)
{
	const uint64_t one = 1;

	/* A full counter means that it is signalled already. */
	while (write(event, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

#endif
