/*
 * message.h - messages of a direct session (session_protocol.h): whole ones are passed in packets
 * over a socket of this machine (AF_UNIX, SOCK_SEQPACKET) between a relay (relay.h), which is on
 * the wire, and whoever acts on them.
 */
#ifndef PARTITA_SESSION_MESSAGE_H
#define PARTITA_SESSION_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "session/session_protocol.h"

/* Who may have sent a message. */
enum session_from { SESSION_FROM_HOST = 1, SESSION_FROM_AGENT = 2, SESSION_FROM_RELAY = 4 };

struct session_message {
	struct session_header header;
	uint8_t payload[SESSION_PAYLOAD_MAX + 1]; /* ends in a 0 behind header.length bytes */
};

/*
 * session_message_valid - are these @n bytes one whole message that one of @from (bits) may send?
 * Type, length, stream and every value of a fixed meaning are checked, texts for bytes of 0, and
 * that START has its strings.
 */
bool session_message_valid(const void *bytes, size_t n, unsigned from);

/*
 * session_message_whole - how long the message is that begins in @n bytes of @from: more than n
 * when some is missing, 0 when not even the header is there. -EPROTO: no message begins like that.
 */
ssize_t session_message_whole(const void *bytes, size_t n, unsigned from);

/*
 * session_send - one packet: a message with @n bytes (at most SESSION_PAYLOAD_MAX). @flags: as
 * send(2), MSG_DONTWAIT. Returns 0, or a negative errno: -EPIPE when nobody is there.
 */
int session_send(
	int fd, enum session_type type, unsigned stream, const void *payload, size_t n, int flags);
/* session_send_text - a message of a byte and a text, which is cut at SESSION_TEXT_MAX. */
int session_send_text(int fd, enum session_type type, unsigned kind, const char *text);

/*
 * session_receive - one packet, a valid message of @from. @flags as recv(2). Returns 1; 0: the
 * other side has ended; -EPROTO: what came is no such message; another negative errno.
 */
int session_receive(int fd, struct session_message *m, unsigned from, int flags);

/* session_clean - make a text of a peer fit to be shown or logged: controls become '?'. */
void session_clean(char *text);

#endif
