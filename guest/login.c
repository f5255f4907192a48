/*
 * login.c - see login.h.
 */
#include "login.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/loop.h"
#include "command.h"
#include "log.h"
#include "pam.h"
#include "session/relay.h"

#define TRIES	   3
#define LOGIN_TIME 120000000000ull /* nanoseconds from the first byte to START */
/* A failure is told at a multiple of this after the last answer, whatever it was. */
#define FAILURE_STEP 2000000000ull

struct login {
	struct connection *c;
	int packets;
	uint64_t deadline;
	uint8_t binding[SESSION_BINDING]; /* of the connection */
	struct login_pam pam;
	struct account account;
	struct session_message m;
	int master; /* of the session's terminal, -1: none */
	char tty[64];
};

int login_receive(int packets, struct session_message *m, uint64_t deadline)
{
	struct pollfd p = {.fd = packets, .events = POLLIN};
	uint64_t now = loop_now();
	int got = -EAGAIN;

	while (got == -EAGAIN) {
		if (now >= deadline || poll(&p, 1, (int)((deadline - now) / 1000000) + 1) == 0) {
			agent_log(LOG_NOTICE, "the login took too long");
			return -ETIMEDOUT;
		}
		got = session_receive(
			packets, m, SESSION_FROM_HOST | SESSION_FROM_RELAY, MSG_DONTWAIT);
		now = loop_now();
	}
	if (got > 0 && m->header.type == SESSION_LOST) {
		session_clean((char *)m->payload);
		agent_log(LOG_NOTICE, "the connection was lost: %s", m->payload);
		return -EPIPE;
	}
	if (got <= 0)
		agent_log(LOG_INFO, "the host closed the connection");
	return got;
}

static void refuse(struct login *l, enum session_refusal why, const char *text)
{
	session_send_text(l->packets, SESSION_REFUSED, why, text);
}

/* ---- Which version --------------------------------------------------------------------------- */

/* The relay's first word, when TLS stands. */
static bool await_connection(struct login *l)
{
	if (login_receive(l->packets, &l->m, l->deadline) <= 0 || l->m.header.type != SESSION_BOUND)
		return false;
	memcpy(l->binding, l->m.payload, sizeof(l->binding));
	return true;
}

static bool negotiate(struct login *l)
{
	struct session_hello hello;

	if (login_receive(l->packets, &l->m, l->deadline) <= 0)
		return false;
	memcpy(&hello, l->m.payload, sizeof(hello));
	if (l->m.header.type != SESSION_HELLO || hello.magic != SESSION_MAGIC) {
		agent_log(LOG_NOTICE, "the host does not speak the protocol of direct sessions");
		return false;
	}
	if (hello.lowest > SESSION_VERSION || hello.highest < SESSION_VERSION) {
		agent_log(LOG_NOTICE, "the host speaks versions %u to %u, not %u", hello.lowest,
			hello.highest, SESSION_VERSION);
		refuse(l, SESSION_REFUSED_VERSION, "the agent speaks version 1 only");
		return false;
	}
	hello.lowest = hello.highest = SESSION_VERSION;
	return session_send(l->packets, SESSION_HELLO, 0, &hello, sizeof(hello), 0) == 0;
}

/* ---- Keys ------------------------------------------------------------------------------------ */

/* The relay is there already, and has no part in this: it was forked before the key was read. */
static bool show_key(struct login *l)
{
	struct session_proof proof;
	struct session_key key;
	int err = session_key_open(&key, l->c->key);
	bool ok = !err && session_prove(&key, SESSION_PROOF_AGENT, l->binding, &proof);

	session_key_close(&key);
	if (ok)
		return session_send(l->packets, SESSION_PROOF, 0, &proof, sizeof(proof), 0) == 0;
	agent_log(LOG_ERR, "%s: %s", l->c->key, err ? strerror(-err) : "cannot sign with it");
	refuse(l, SESSION_REFUSED_FAILURE,
		"the agent cannot use its key: the guest's log says more");
	return false;
}

static bool host_is_known(const struct settings *s, const char *fingerprint)
{
	for (unsigned i = 0; i < s->n_host_keys; i++)
		if (strcmp(s->host_keys[i], fingerprint) == 0)
			return true;
	return false;
}

/* Whether it is a host that may connect, where the administrator says which may. */
static bool check_host(struct login *l)
{
	char fingerprint[SESSION_FINGERPRINT], text[SESSION_TEXT_MAX];
	struct session_proof proof;

	if (login_receive(l->packets, &l->m, l->deadline) <= 0 || l->m.header.type != SESSION_PROOF)
		return false;
	if (!l->c->settings->n_host_keys)
		return true;
	memcpy(&proof, l->m.payload, sizeof(proof));
	if (l->m.header.length != sizeof(proof) ||
		!session_proven(&proof, SESSION_PROOF_HOST, l->binding, fingerprint))
		strcpy(fingerprint, "(it proved none)");
	else if (host_is_known(l->c->settings, fingerprint))
		return true;
	agent_log(LOG_NOTICE, "%s is not served: its key %s is not the expected one", l->c->peer,
		fingerprint);
	snprintf(text, sizeof(text), "it does not know this host's key %s", fingerprint);
	refuse(l, SESSION_REFUSED_HOST, text);
	return false;
}

/* ---- Who it is ------------------------------------------------------------------------------- */

/* Until the next multiple of FAILURE_STEP after @since. */
static void delay_failure(uint64_t since)
{
	uint64_t left = FAILURE_STEP - (loop_now() - since) % FAILURE_STEP;
	struct timespec time = {(time_t)(left / 1000000000), (long)(left % 1000000000)};

	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

/* One LOGIN. Returns 1: accepted; 0: he may try again; -1: it is over. */
static int try_login(struct login *l, bool last)
{
	char user[SESSION_USER_MAX + 1], text[SESSION_TEXT_MAX];
	const char *reason;
	enum login_outcome o;

	if (login_receive(l->packets, &l->m, l->deadline) <= 0 || l->m.header.type != SESSION_LOGIN)
		return -1;
	strcpy(user, (const char *)l->m.payload);
	l->pam = (struct login_pam){
		.packets = l->packets, .deadline = l->deadline, .answered = loop_now()};
	o = login_pam_prove(&l->pam, user, l->c->confdir, l->c->peer, &l->account, &reason);
	session_clean(user);
	switch (o) {
	case LOGIN_ACCEPTED:
		agent_log(LOG_INFO, "accepted %s from %s", user, l->c->peer);
		return session_send(l->packets, SESSION_ACCEPTED, 0, NULL, 0, 0) ? -1 : 1;
	case LOGIN_WRONG:
		agent_log(LOG_NOTICE, "failed login as %s from %s: %s", user, l->c->peer, reason);
		delay_failure(l->pam.answered);
		refuse(l, last ? SESSION_REFUSED_TRIES : SESSION_REFUSED_LOGIN,
			"wrong user or password");
		return last ? -1 : 0;
	case LOGIN_BARRED:
		agent_log(LOG_NOTICE, "refused %s from %s: %s", user, l->c->peer, reason);
		delay_failure(l->pam.answered);
		snprintf(text, sizeof(text), "his account may not be used: %s", reason);
		refuse(l, SESSION_REFUSED_ACCOUNT, text);
		return -1;
	case LOGIN_FAILED:
		agent_log(LOG_ERR, "PAM cannot be used: %s", reason);
		refuse(l, SESSION_REFUSED_FAILURE,
			"the guest's PAM cannot be used: its log says more");
		return -1;
	default:
		return -1;
	}
}

static bool log_in(struct login *l)
{
	int result = 0;

	for (unsigned i = 1; i <= TRIES && result == 0; i++)
		result = try_login(l, i == TRIES);
	return result > 0;
}

/* ---- The session ----------------------------------------------------------------------------- */

/* A terminal of the user's. */
static int open_terminal(struct login *l, const struct session_window_size *size)
{
	const struct winsize window = {size->rows, size->columns, size->width, size->height};

	l->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (l->master < 0 || grantpt(l->master) || unlockpt(l->master) ||
		ptsname_r(l->master, l->tty, sizeof(l->tty)) ||
		ioctl(l->master, TIOCSWINSZ, &window))
		return -errno;
	if (geteuid() == 0 && (chown(l->tty, l->account.uid, (gid_t)-1) || chmod(l->tty, 0620)))
		return -errno;
	return 0;
}

static bool open_session(struct login *l)
{
	struct session_start start;
	const char *reason = "no terminal can be had";
	int err = 0;

	if (login_receive(l->packets, &l->m, l->deadline) <= 0 || l->m.header.type != SESSION_START)
		return false;
	memcpy(&start, l->m.payload, sizeof(start));
	if (start.flags & SESSION_TERMINAL)
		err = open_terminal(l, &start.size);
	if (!err)
		err = login_pam_open(&l->pam, &l->account, l->tty[0] ? l->tty : NULL, &reason);
	if (err) {
		agent_log(LOG_ERR, "no session for %s: %s (%s)", l->account.name, reason,
			strerror(-err));
		refuse(l, SESSION_REFUSED_FAILURE, reason);
	}
	return !err;
}

/* The process that is the user's; this one waits, to close what it opened. */
static void run_session(struct login *l)
{
	pid_t pid = fork();

	if (pid == 0) {
		const struct command command = {
			.packets = l->packets,
			.master = l->master,
			.tty = l->tty,
			.account = &l->account,
			.environment = pam_getenvlist(l->pam.pam),
			.start = &l->m,
		};

		_exit(command_run(&command));
	}
	/* The relay ends with the session. */
	close(l->packets);
	l->packets = -1;
	if (l->master >= 0)
		close(l->master);
	if (pid < 0) {
		agent_log(LOG_ERR, "cannot start a session: %m");
		return;
	}
	if (l->tty[0])
		account_record(l->account.name, l->tty, pid, true);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (l->tty[0])
		account_record(l->account.name, l->tty, pid, false);
	agent_log(LOG_INFO, "the session of %s has ended", l->account.name);
}

void login_serve(struct connection *c)
{
	struct login l = {.c = c, .packets = -1, .master = -1};
	const pid_t self = getpid();
	pid_t relay;
	int err = relay_start(true, c->wire, &l.packets, &relay);

	if (err) {
		agent_log(LOG_ERR, "cannot serve %s: %s", c->peer, strerror(-err));
		return;
	}
	l.deadline = loop_now() + LOGIN_TIME;
	if (await_connection(&l) && negotiate(&l) && show_key(&l) && check_host(&l) && log_in(&l)) {
		/* The listener counts those who are not: there are more of us than it asks for. */
		if (write(c->accepted, &self, sizeof(self)) != sizeof(self) || close(c->accepted))
			agent_log(LOG_WARNING, "the listener is gone");
		if (open_session(&l))
			run_session(&l);
		login_pam_close(&l.pam);
		account_free(&l.account);
	}
	if (l.packets >= 0)
		close(l.packets);
	while (waitpid(relay, NULL, 0) < 0 && errno == EINTR)
		;
}
