/*
 * session_protocol.h - the bytes of a direct session: what `partita enter`, `exec` and `copy` on
 * the host and partita-agent in the guest say to each other. The protocol is this project's own.
 *
 * The host connects to port SESSION_PORT of the guest's AF_VSOCK; on Hyper-V sockets that is the
 * service 00000339-facb-11e6-bd58-64006a7986d3. Both begin TLS 1.3 at once, the host as the client.
 * Inside are messages, each a header and as many bytes as it says. Numbers are little-endian.
 *
 *   host                                     agent
 *   HELLO (which versions it speaks)         HELLO (the one that is chosen), or REFUSED and the end
 *   PROOF (of its key, if it has one)        PROOF (of its key)
 *   LOGIN (user)                             any number of NOTE, and PROMPT answered by ANSWER;
 *                                            ACCEPTED, or REFUSED: with SESSION_REFUSED_LOGIN the
 *                                            host may say LOGIN again, after others it ends
 *   START (what to do)                       NOTE, PROMPT as above; STARTED, or REFUSED and the end
 *   DATA, EOF, CREDIT, CLOSE for streams; RESIZE, SIGNAL
 *                                            DATA, EOF, CREDIT, CLOSE; EXIT when all is said
 * When either side ends the connection early, the command in the guest is hung up on.
 *
 * Who the two are. TLS keeps others out, and does not say who is in: the agent's certificate is
 * made for one connection, and means nothing. What it exports (RFC 9266, tls-exporter) is known to
 * the two ends of this connection alone; nobody between them has the same on both of his own. PROOF
 * signs it.
 *
 * Streams. stdin flows to the guest, stdout and stderr to the host. Of each its sender may send
 * SESSION_WINDOW bytes of DATA, and then as many more as CREDIT grants: so the receiver holds no
 * more than that, and always takes every message. EOF: no more DATA comes. CLOSE: the receiver
 * wants no more; what still comes is dropped.
 */
#ifndef PARTITA_SESSION_PROTOCOL_H
#define PARTITA_SESSION_PROTOCOL_H

#include <assert.h>
#include <stdint.h>

/* Below 1024, so that in the guest only root can be the agent. */
#define SESSION_PORT 825

#define SESSION_MAGIC	    0x54525050u /* "PPRT" */
#define SESSION_VERSION	    1
#define SESSION_PAYLOAD_MAX 32768u
#define SESSION_WINDOW	    (256u << 10)
#define SESSION_USER_MAX    255u
#define SESSION_TEXT_MAX    1024u /* prompts, notes, refusals */
#define SESSION_ANSWER_MAX  512u
#define SESSION_STRINGS_MAX 4096u

enum session_type {
	SESSION_HELLO = 1, /* struct session_hello; both */
	SESSION_LOGIN,	   /* the user's name; host */
	SESSION_PROMPT,	   /* a byte of enum session_prompt, a text; agent */
	SESSION_ANSWER,	   /* a text; host */
	SESSION_NOTE,	   /* a byte of enum session_note, a text; agent */
	SESSION_ACCEPTED,  /* nothing; agent */
	SESSION_REFUSED,   /* a byte of enum session_refusal, a text; agent */
	SESSION_START,	   /* struct session_start, its strings; host */
	SESSION_STARTED,   /* nothing; agent */
	SESSION_DATA,	   /* bytes of a stream; its sender */
	SESSION_EOF,	   /* nothing; a stream's sender */
	SESSION_CREDIT,	   /* struct session_credit; a stream's receiver */
	SESSION_CLOSE,	   /* nothing; a stream's receiver */
	SESSION_RESIZE,	   /* struct session_window_size; host */
	SESSION_SIGNAL,	   /* struct session_signal; host */
	SESSION_EXIT,	   /* struct session_exit; agent */
	SESSION_PROOF,	   /* struct session_proof, or nothing where the host has no key; both */
	/* Never on the wire: a relay tells its own side (relay.h). */
	SESSION_BOUND, /* SESSION_BINDING bytes that TLS exports: it stands */
	SESSION_LOST,  /* a text: why the connection is over */
	SESSION_TYPES,
};

struct session_header {
	uint32_t length; /* of what follows the header */
	uint8_t type;
	uint8_t stream; /* of DATA, EOF, CREDIT and CLOSE; else 0 */
	uint16_t zero;
} __attribute__((packed));
static_assert(sizeof(struct session_header) == 8, "layout");

#define SESSION_MESSAGE_MAX (sizeof(struct session_header) + SESSION_PAYLOAD_MAX)

enum session_stream { SESSION_STDIN, SESSION_STDOUT, SESSION_STDERR, SESSION_STREAMS };

struct session_hello {
	uint32_t magic;
	uint16_t lowest, highest; /* versions; the agent's answer has the chosen one in both */
} __attribute__((packed));
static_assert(sizeof(struct session_hello) == 8, "layout");

#define SESSION_BINDING 32u

/*
 * Ed25519 (RFC 8032): of SESSION_PROOF_HOST or SESSION_PROOF_AGENT without its 0, then the
 * connection's SESSION_BINDING bytes.
 */
struct session_proof {
	uint8_t key[32], signature[64];
} __attribute__((packed));
static_assert(sizeof(struct session_proof) == 96, "layout");

#define SESSION_PROOF_HOST  "partita session 1: host"
#define SESSION_PROOF_AGENT "partita session 1: agent"

enum session_prompt { SESSION_PROMPT_HIDDEN, SESSION_PROMPT_SHOWN, SESSION_PROMPTS };
enum session_note { SESSION_NOTE_INFO, SESSION_NOTE_ERROR, SESSION_NOTES };

enum session_refusal {
	SESSION_REFUSED_VERSION, /* no version in common */
	SESSION_REFUSED_LOGIN,	 /* user or password are wrong; LOGIN may be tried again */
	SESSION_REFUSED_TRIES,	 /* the same, for the last time */
	SESSION_REFUSED_ACCOUNT, /* who he is, is proven, but he may not log in */
	SESSION_REFUSED_FAILURE, /* the agent cannot do it */
	SESSION_REFUSED_HOST,	 /* the agent does not know this host */
	SESSION_REFUSALS,
};

struct session_window_size {
	uint16_t rows, columns, width, height; /* the latter two in pixels, or 0 */
} __attribute__((packed));
static_assert(sizeof(struct session_window_size) == 8, "layout");

enum session_kind {
	SESSION_SHELL,	 /* the user's login shell */
	SESSION_COMMAND, /* strings: the command and its arguments, run by the login shell */
	SESSION_SEND,	 /* string: a path whose transfer (transfer_protocol.h) goes to stdout */
	SESSION_RECEIVE, /* string: a path that a transfer on stdin is put at */
	SESSION_KINDS,
};

#define SESSION_TERMINAL  1 /* flags: with a terminal */
#define SESSION_RECURSIVE 2 /* SEND: a directory, too */
#define SESSION_FLAGS	  3

/*
 * Strings follow, each with a 0 at its end: TERM ("" without a terminal), then those of the kind.
 */
struct session_start {
	uint8_t kind, flags;
	uint16_t strings; /* how many follow */
	struct session_window_size size;
} __attribute__((packed));
static_assert(sizeof(struct session_start) == 12, "layout");

struct session_credit {
	uint32_t bytes;
} __attribute__((packed));

struct session_signal {
	uint8_t number; /* as Linux has it on x86 */
} __attribute__((packed));

struct session_exit {
	uint8_t signalled; /* 1: status is the signal that ended the command */
	uint8_t status;
} __attribute__((packed));

#endif
