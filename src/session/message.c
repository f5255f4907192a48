/*
 * message.c - see message.h.
 */
#include "session/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define BOTH (SESSION_FROM_HOST | SESSION_FROM_AGENT)

/* What a message of each type may be. */
static const struct shape {
	uint8_t from;
	bool stream;	      /* the header names one */
	bool text;	      /* the payload, or what follows the first byte, has no byte of 0 */
	uint8_t kinds;	      /* the first byte is less than that, where it is not 0 */
	uint32_t least, most; /* bytes of payload */
} shapes[SESSION_TYPES] = {
	[SESSION_HELLO] = {BOTH, .least = sizeof(struct session_hello),
		.most = sizeof(struct session_hello)},
	[SESSION_LOGIN] = {SESSION_FROM_HOST, .text = true, .least = 1, .most = SESSION_USER_MAX},
	[SESSION_PROMPT] = {SESSION_FROM_AGENT, .text = true, .kinds = SESSION_PROMPTS, .least = 1,
		.most = 1 + SESSION_TEXT_MAX},
	[SESSION_ANSWER] = {SESSION_FROM_HOST, .text = true, .most = SESSION_ANSWER_MAX},
	[SESSION_NOTE] = {SESSION_FROM_AGENT, .text = true, .kinds = SESSION_NOTES, .least = 1,
		.most = 1 + SESSION_TEXT_MAX},
	[SESSION_ACCEPTED] = {SESSION_FROM_AGENT},
	[SESSION_REFUSED] = {SESSION_FROM_AGENT, .text = true, .kinds = SESSION_REFUSALS,
		.least = 1, .most = 1 + SESSION_TEXT_MAX},
	[SESSION_START] = {SESSION_FROM_HOST, .kinds = SESSION_KINDS,
		.least = sizeof(struct session_start) + 1, .most = SESSION_PAYLOAD_MAX},
	[SESSION_STARTED] = {SESSION_FROM_AGENT},
	[SESSION_DATA] = {BOTH, .stream = true, .least = 1, .most = SESSION_PAYLOAD_MAX},
	[SESSION_EOF] = {BOTH, .stream = true},
	[SESSION_CREDIT] = {BOTH, .stream = true, .least = sizeof(struct session_credit),
		.most = sizeof(struct session_credit)},
	[SESSION_CLOSE] = {BOTH, .stream = true},
	[SESSION_RESIZE] = {SESSION_FROM_HOST, .least = sizeof(struct session_window_size),
		.most = sizeof(struct session_window_size)},
	[SESSION_SIGNAL] = {SESSION_FROM_HOST, .least = sizeof(struct session_signal),
		.most = sizeof(struct session_signal)},
	[SESSION_EXIT] = {SESSION_FROM_AGENT, .kinds = 2, .least = sizeof(struct session_exit),
		.most = sizeof(struct session_exit)},
	[SESSION_PROOF] = {BOTH, .most = sizeof(struct session_proof)},
	[SESSION_BOUND] = {SESSION_FROM_RELAY, .least = SESSION_BINDING, .most = SESSION_BINDING},
	[SESSION_LOST] = {SESSION_FROM_RELAY, .text = true, .most = SESSION_TEXT_MAX},
};

/* stdin comes from the host, the others go to it; credit and CLOSE take the other way. */
static bool stream_flows(const struct session_header *h, unsigned from)
{
	bool with_data = h->type == SESSION_DATA || h->type == SESSION_EOF;
	bool of_host = (h->stream == SESSION_STDIN) == with_data;

	return h->stream < SESSION_STREAMS &&
	       from & (of_host ? SESSION_FROM_HOST : SESSION_FROM_AGENT);
}

static bool header_valid(const struct session_header *h, unsigned from)
{
	const struct shape *shape = &shapes[h->type < SESSION_TYPES ? h->type : 0];

	return shape->from & from && h->length >= shape->least && h->length <= shape->most &&
	       !h->zero && (shape->stream ? stream_flows(h, from) : !h->stream);
}

static bool strings_valid(const uint8_t *payload, size_t n)
{
	static const struct {
		unsigned least, most; /* TERM included */
	} wanted[SESSION_KINDS] = {
		[SESSION_SHELL] = {1, 1},
		[SESSION_COMMAND] = {2, SESSION_STRINGS_MAX},
		[SESSION_SEND] = {2, 2},
		[SESSION_RECEIVE] = {2, 2},
	};
	struct session_start start;
	unsigned strings = 0;

	memcpy(&start, payload, sizeof(start));
	for (size_t i = sizeof(start); i < n; i++)
		strings += payload[i] == 0;
	return payload[n - 1] == 0 && strings == start.strings &&
	       strings >= wanted[start.kind].least && strings <= wanted[start.kind].most &&
	       !(start.flags & ~SESSION_FLAGS);
}

bool session_message_valid(const void *bytes, size_t n, unsigned from)
{
	const uint8_t *payload = (const uint8_t *)bytes + sizeof(struct session_header);
	struct session_header h;
	const struct shape *shape;

	if (n < sizeof(h))
		return false;
	memcpy(&h, bytes, sizeof(h));
	n -= sizeof(h);
	if (h.length != n || !header_valid(&h, from))
		return false;
	shape = &shapes[h.type];
	if (shape->kinds && payload[0] >= shape->kinds)
		return false;
	if (shape->text && n > !!shape->kinds &&
		memchr(payload + !!shape->kinds, 0, n - !!shape->kinds))
		return false;
	return h.type != SESSION_START || strings_valid(payload, n);
}

ssize_t session_message_whole(const void *bytes, size_t n, unsigned from)
{
	struct session_header h;

	if (n < sizeof(h))
		return 0;
	memcpy(&h, bytes, sizeof(h));
	return header_valid(&h, from) ? (ssize_t)(sizeof(h) + h.length) : -EPROTO;
}

int session_send(
	int fd, enum session_type type, unsigned stream, const void *payload, size_t n, int flags)
{
	struct session_header h = {.length = n, .type = type, .stream = stream};
	struct iovec parts[] = {{&h, sizeof(h)}, {(void *)payload, n}};
	const struct msghdr packet = {.msg_iov = parts, .msg_iovlen = 2};
	ssize_t sent;

	do
		sent = sendmsg(fd, &packet, flags | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

int session_send_text(int fd, enum session_type type, unsigned kind, const char *text)
{
	char payload[1 + SESSION_TEXT_MAX];
	size_t n = strnlen(text, SESSION_TEXT_MAX);

	payload[0] = (char)kind;
	memcpy(payload + 1, text, n);
	return session_send(fd, type, 0, payload, 1 + n, 0);
}

int session_receive(int fd, struct session_message *m, unsigned from, int flags)
{
	ssize_t n;

	/* The other side may have left something unread when it ended: first comes what it said. */
	do
		n = recv(fd, m, SESSION_MESSAGE_MAX, flags | MSG_TRUNC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n <= 0)
		return n < 0 ? -errno : 0;
	/* What a packet has beyond the largest message was cut off, and is counted. */
	if (n > (ssize_t)SESSION_MESSAGE_MAX || !session_message_valid(m, (size_t)n, from))
		return -EPROTO;
	m->payload[m->header.length] = 0;
	return 1;
}

void session_clean(char *text)
{
	for (unsigned char *p = (unsigned char *)text; *p; p++)
		/* Also the second half of a control in UTF-8, which terminals obey, too. */
		if (*p < ' ' || *p == 0x7f ||
			(*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0 && (p[1] = '?')))
			*p = '?';
}
