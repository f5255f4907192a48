/*
 * session.h - the direct session's host side: what enter, exec and copy have in common. See
 * session/session_protocol.h and docs/session.md.
 */
#ifndef PARTITA_CLI_SESSION_H
#define PARTITA_CLI_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/cli.h"
#include "session/key.h"
#include "session/message.h"

/* Exit statuses of partita itself; a command's own are from 0 to 253. */
#define SESSION_STATUS_LOST    255 /* no session could be had, or it was lost */
#define SESSION_STATUS_REFUSED 254 /* the guest does not accept the user */

/* What the user said about the session; all zero at first. */
struct session_wish {
	const char *vm, *user, *password_file;
	char agent_key[SESSION_FINGERPRINT];
	const char *host_key; /* the file */
};

/*
 * The options of all three, for a table of options whose struct arguments has a struct session_wish
 * named session, and for the help.
 */
/* clang-format off */
#define SESSION_OPTIONS                                                                            \
	CLI_VALUE("user", session.user, const char *, session_take_user),                          \
	CLI_STRING("password-file", session.password_file),                                        \
	CLI_VALUE("agent-key", session, struct session_wish, session_take_agent_key),              \
	SESSION_HOST_KEY_OPTION
#define SESSION_HOST_KEY_OPTION CLI_STRING("host-key", session.host_key)
/* clang-format on */
#define SESSION_OPTIONS_HELP                                                                       \
	"  --user NAME           of the guest's users; by default the one you are here\n"          \
	"  --password-file FILE  what to answer when the guest asks, a line each; - is standard "  \
	"input\n"                                                                                  \
	"  --agent-key KEY       the fingerprint that the guest's agent must have\n"               \
	"  --host-key FILE       the key by which the guest knows this host\n"
bool session_take_user(const char *option, const char *value, void *user);
bool session_take_agent_key(const char *option, const char *value, void *wish);

struct session {
	const char *vm;
	int packets; /* to the relay */
	pid_t relay;
	int answers; /* the password file, -1: ask at the terminal */
	int status;  /* what to exit with when it went wrong */
	/*
	 * From START on signals are read from a descriptor, -1: not yet. One that comes before
	 * STARTED is kept, for the command may run already; another ends the wait.
	 */
	int signals, early_signal;
	struct session_message m;
};

/*
 * session_open - connect to the agent in @w's machine, and log in. False: why not was said, and
 * s->status is to be returned. session_close() is due in both cases.
 */
bool session_open(struct session *s, const struct session_wish *w);
void session_close(struct session *s);

/* session_connect.c: a stream to the agent; -1: said why there is none. */
int session_connect(const char *vm);
/*
 * session_own_key (host_key.c) - the key that guests know this host by: in the file @path, or the
 * user's own (NULL), made at first use. Unless it is @needed, there may be none, where it cannot be
 * made: only a guest that asks for it minds. Returns 0, or a negative errno after an error message.
 */
int session_own_key(struct session_key *key, const char *path, bool needed);
/*
 * session_login.c: the conversation up to ACCEPTED, and from START to STARTED. @key is the host's,
 * which has none when that is empty; @agent_key the fingerprint that the agent must have, or "".
 */
bool session_log_in(
	struct session *s, const char *user, const struct session_key *key, const char *agent_key);
bool session_await_start(struct session *s);
/* session_receive_reply - the next message; false: it was LOST, the end, or nonsense: said so. */
bool session_receive_reply(struct session *s);

/* What is to be done, and with what. */
struct session_work {
	struct session_start start; /* strings are counted here */
	const char *term;
	char *const *strings; /* after TERM, up to a NULL */
	int in, out, err;     /* become the session's; -1: none */
	bool interactive;     /* the terminal in raw mode, ~. hangs up */
	bool forward;	      /* signals go to the command */
};

/* session_run - do it. Returns the exit status, after an error message if one is due. */
int session_run(struct session *s, const struct session_work *work);

#endif
