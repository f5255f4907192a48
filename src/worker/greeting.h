/*
 * greeting.h - the first line that a program sends at a machine's socket: what in the guest it
 * wants to be connected to.
 *
 *	CONNECT <vsock port>\n
 *		the form that Firecracker and Cloud Hypervisor have: answered with "OK <port>\n",
 *		with the port of the host's end, and then the stream; closed when there is no
 *		connection
 *	HVCONNECT <service> <padding> <milliseconds>\n
 *		the form of hvsocket/connect.h, which says how that is answered
 */
#ifndef PARTITA_WORKER_GREETING_H
#define PARTITA_WORKER_GREETING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hvsocket/connect.h"
#include "vsp/socket.h"

#define GREETING_MAX 128u /* bytes, with the newline */
_Static_assert(GREETING_MAX >= HV_GREETING_TEXT, "both forms fit");

enum greeting_kind {
	GREETING_PORT,	  /* CONNECT */
	GREETING_SERVICE, /* HVCONNECT */
};

/*
 * greeting_parse - @line, ended by a zero in place of its newline. Fills in all of *request but the
 * descriptor. False: it is no such line.
 */
bool greeting_parse(const char *line, struct socket_request *request);
/*
 * greeting_answer - what a program is sent for @kind when its attempt ended with @err, or 0: then
 * @port is that of the host's end. Returns its length, 0: nothing.
 */
size_t greeting_answer(unsigned kind, int err, uint32_t port, char text[GREETING_MAX]);

#endif
