/*
 * connect.h - connecting a host program to a service: of a machine, or of another host program.
 *
 * A running machine listens at a Unix socket (places.h). Who connects there sends a line and as
 * many bytes more as the line says,
 *
 *	HVCONNECT <service GUID> <padding> <timeout in milliseconds>\n<padding bytes>
 *
 * of which the machine reads nothing but the line until the guest has accepted. Then it reads the
 * padding and drops it, answers nothing, and the stream begins. When there will be no connection it
 * sends "E<errno>\n", reads no more and closes.
 *
 * The padding is what keeps the socket from being writable: a Unix socket is while no more than a
 * quarter of its send buffer is taken, by what the other side has not read yet. So the kernel
 * itself tells select, poll and epoll when the connection stands. Closing a Unix socket with
 * something unread in it resets the other end: that is how a failed connection differs from one
 * that stood, whatever the guest has sent on it.
 */
#ifndef PARTITA_HVSOCKET_CONNECT_H
#define PARTITA_HVSOCKET_CONNECT_H

#include <stdbool.h>
#include <stddef.h>

#include "hvsocket/address.h"

#define HV_CONNECT_TIMEOUT 2000 /* ms, where nobody says otherwise */

/*
 * hv_connect - connect to @service of machine @vm, or of this host (hv_is_host()).
 * @timeout_ms: how long at most, from 1 to HVSOCKET_CONNECT_TIMEOUT_MAX; 0: HV_CONNECT_TIMEOUT.
 * Returns a blocking descriptor that closes on exec, the caller's; or -ENETUNREACH: no such machine
 * runs, -ECONNREFUSED: nobody serves that, -EACCES: the user may not, -ETIMEDOUT, -ECONNRESET: the
 * machine ended meanwhile, -EADDRNOTAVAIL: @vm names nobody in particular, -EINTR, and what
 * socket(2) fails with.
 */
int hv_connect(const GUID *vm, const GUID *service, int timeout_ms);

/* ---- The steps, for who has a socket already ------------------------------------------------ */

/*
 * hv_connect_begin - send the Unix socket @fd on its way; it may be bound (hv_address_bind()).
 * Returns 0: it is connected; -EINPROGRESS: it is writable when hv_connect_end() can tell; or as
 * above. @timeout_ms is not 0. It waits only where @fd blocks and a host program lets connections
 * pile up.
 */
int hv_connect_begin(int fd, const GUID *vm, const GUID *service, int timeout_ms);
/*
 * hv_connect_end - how an attempt that was in progress went: 0, as above, or -EINPROGRESS while it
 * is not writable. To be asked once after that: it takes the socket's pending error.
 */
int hv_connect_end(int fd);
/*
 * hv_connect_wait - until it is writable, then hv_connect_end(). -EINTR: it is still in progress.
 */
int hv_connect_wait(int fd, int timeout_ms);

/* ---- The line, for who serves a machine ------------------------------------------------------ */

/* Room for the line, the newline and an end included. A longer one is none. */
#define HV_GREETING_TEXT 96

struct hv_greeting {
	GUID service;
	unsigned padding;    /* bytes behind the line */
	unsigned timeout_ms; /* 1 to HVSOCKET_CONNECT_TIMEOUT_MAX */
};

/* hv_greeting_format - the line, newline included; returns its length. */
size_t hv_greeting_format(const struct hv_greeting *g, char text[HV_GREETING_TEXT]);
/* hv_greeting_parse - @line without its newline, ended by a zero. False: it is malformed. */
bool hv_greeting_parse(const char *line, struct hv_greeting *g);
/* hv_refusal_format - "E<errno>\n" for the negative @err; returns its length. */
size_t hv_refusal_format(int err, char text[HV_GREETING_TEXT]);

#endif
