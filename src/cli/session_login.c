/*
 * session_login.c - the conversation with the guest's PAM: its prompts are answered at the
 * terminal, or from a file. What the guest says is shown with its controls taken out.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/session.h"

/* A signal that came while there is no message. */
static void take_signal(struct session *s)
{
	struct signalfd_siginfo info;
	sigset_t one;

	if (read(s->signals, &info, sizeof(info)) != sizeof(info) || info.ssi_signo == SIGWINCH ||
		info.ssi_signo == SIGCONT)
		return;
	if (s->early_signal) {
		sigemptyset(&one);
		sigaddset(&one, (int)info.ssi_signo);
		sigprocmask(SIG_UNBLOCK, &one, NULL);
		raise((int)info.ssi_signo);
	}
	s->early_signal = (int)info.ssi_signo;
}

bool session_receive_reply(struct session *s)
{
	struct pollfd fds[] = {{s->packets, POLLIN, 0}, {s->signals, POLLIN, 0}};

	while (s->signals >= 0 && (poll(fds, 2, -1) < 0 || !fds[0].revents))
		take_signal(s);
	int got = session_receive(s->packets, &s->m, SESSION_FROM_AGENT | SESSION_FROM_RELAY, 0);

	if (got > 0 && s->m.header.type != SESSION_LOST)
		return true;
	session_clean((char *)s->m.payload);
	if (got > 0)
		log_error("%s: the guest's agent: %s", s->vm, s->m.payload);
	else
		log_error("%s: the guest's agent has ended the session", s->vm);
	s->status = SESSION_STATUS_LOST;
	return false;
}

/* If it cannot be sent, what is received next says why. */
static void say(struct session *s, enum session_type type, const void *payload, size_t n)
{
	session_send(s->packets, type, 0, payload, n, 0);
}

/* ---- Answers --------------------------------------------------------------------------------- */

/* A line of a file, without its end; a byte at a time, for what follows is somebody else's. */
static bool read_line(int fd, char *line, size_t size)
{
	size_t n = 0;
	ssize_t got;

	while ((got = read(fd, line + n, 1)) == 1 && line[n] != '\n')
		if (++n == size)
			return false;
	line[n] = 0;
	return got == 1 || n;
}

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	interrupted = signal;
}

static bool say_prompt(int tty, const char *vm, const char *prompt)
{
	return dprintf(tty, "(%s) %s", vm, prompt) > 0;
}

/* Wait for a line, or its end, to be typed, with signals as in @mask. False: one came. */
static bool await_line(int tty, const sigset_t *mask)
{
	struct pollfd p = {.fd = tty, .events = POLLIN};

	while (!interrupted)
		if (ppoll(&p, 1, NULL, mask) > 0)
			return true;
	return false;
}

/*
 * Asks with the terminal's echo off, before the first word of the prompt for those who type fast,
 * and on again whatever happens; a signal then takes effect.
 */
static bool ask_hidden(int tty, const char *vm, const char *prompt, char *line, size_t size)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
	enum { COUNT = sizeof(signals) / sizeof(signals[0]) };
	const struct sigaction action = {.sa_handler = interrupt};
	struct sigaction before[COUNT];
	struct termios shown, hidden;
	sigset_t held, mask;
	bool ok = false;

	interrupted = 0;
	sigemptyset(&held);
	for (int i = 0; i < COUNT; i++)
		sigaddset(&held, signals[i]);
	/* They are let through only where one ends the wait: await_line(). */
	sigprocmask(SIG_BLOCK, &held, &mask);
	for (int i = 0; i < COUNT; i++)
		sigaction(signals[i], &action, &before[i]);
	if (tcgetattr(tty, &shown) == 0) {
		hidden = shown;
		hidden.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(tty, TCSAFLUSH, &hidden);
		ok = say_prompt(tty, vm, prompt) && await_line(tty, &mask) &&
		     read_line(tty, line, size);
		tcsetattr(tty, TCSAFLUSH, &shown);
		if (write(tty, "\n", 1) < 0)
			ok = false;
	}
	for (int i = 0; i < COUNT; i++)
		sigaction(signals[i], &before[i], NULL);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	if (interrupted)
		raise(interrupted);
	return ok;
}

static bool ask_user(struct session *s, const char *prompt, bool shown, char *line, size_t size)
{
	int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	bool ok;

	if (tty < 0) {
		log_error("%s: the guest asks '%s', and there is no terminal; give --password-file",
			s->vm, prompt);
		return false;
	}
	ok = shown ? say_prompt(tty, s->vm, prompt) && read_line(tty, line, size)
		   : ask_hidden(tty, s->vm, prompt, line, size);
	if (!ok)
		log_error("%s: no answer was given", s->vm);
	close(tty);
	return ok;
}

static bool answer(struct session *s)
{
	char line[SESSION_ANSWER_MAX + 1], *prompt = (char *)s->m.payload + 1;
	bool ok, shown = s->m.payload[0] == SESSION_PROMPT_SHOWN;

	session_clean(prompt);
	if (s->answers < 0) {
		ok = ask_user(s, prompt, shown, line, sizeof(line));
	} else {
		ok = read_line(s->answers, line, sizeof(line));
		if (!ok)
			log_error("%s: the password file has no answer to '%s'", s->vm, prompt);
	}
	if (ok)
		say(s, SESSION_ANSWER, line, strlen(line));
	explicit_bzero(line, sizeof(line));
	return ok;
}

/* ---- The steps ------------------------------------------------------------------------------- */

static void show_note(struct session *s)
{
	char *text = (char *)s->m.payload + 1, *line;

	while ((line = strsep(&text, "\n"))) {
		session_clean(line);
		dprintf(STDERR_FILENO, "%s\n", line);
	}
}

static void show_refusal(struct session *s, enum session_refusal why, const char *user)
{
	char *text = (char *)s->m.payload + 1;

	session_clean(text);
	s->status = why == SESSION_REFUSED_LOGIN || why == SESSION_REFUSED_TRIES ||
				    why == SESSION_REFUSED_ACCOUNT
			    ? SESSION_STATUS_REFUSED
			    : SESSION_STATUS_LOST;
	if (user)
		log_error("%s: %s is not let in: %s", s->vm, user, text);
	else
		log_error("%s: the guest's agent: %s", s->vm, text);
}

/* Talks until a message comes that is neither a note nor a prompt. */
static bool talk(struct session *s)
{
	while (session_receive_reply(s)) {
		if (s->m.header.type == SESSION_NOTE)
			show_note(s);
		else if (s->m.header.type != SESSION_PROMPT)
			return true;
		else if (!answer(s))
			return false;
	}
	return false;
}

static bool unexpected(struct session *s)
{
	log_error("%s: the guest's agent does not keep to the protocol", s->vm);
	return false;
}

/* The relay's first word, when TLS stands. */
static bool await_connection(struct session *s, uint8_t binding[SESSION_BINDING])
{
	if (!session_receive_reply(s))
		return false;
	if (s->m.header.type != SESSION_BOUND)
		return unexpected(s);
	memcpy(binding, s->m.payload, SESSION_BINDING);
	return true;
}

static bool negotiate(struct session *s)
{
	struct session_hello hello = {SESSION_MAGIC, SESSION_VERSION, SESSION_VERSION};

	say(s, SESSION_HELLO, &hello, sizeof(hello));
	if (!session_receive_reply(s))
		return false;
	memcpy(&hello, s->m.payload, sizeof(hello));
	if (s->m.header.type == SESSION_REFUSED)
		show_refusal(s, s->m.payload[0], NULL);
	else if (s->m.header.type == SESSION_HELLO && hello.magic == SESSION_MAGIC &&
		 hello.lowest == SESSION_VERSION && hello.highest == SESSION_VERSION)
		return true;
	else
		unexpected(s);
	return false;
}

static bool show_key(struct session *s, const struct session_key *key, const uint8_t binding[])
{
	struct session_proof proof;

	if (key->key && !session_prove(key, SESSION_PROOF_HOST, binding, &proof)) {
		log_error("%s: cannot sign with this host's key", s->vm);
		return false;
	}
	say(s, SESSION_PROOF, &proof, key->key ? sizeof(proof) : 0);
	return true;
}

/* Whether it is the agent that the user wants, where he says which. */
static bool check_agent(struct session *s, const char *agent_key, const uint8_t binding[])
{
	char fingerprint[SESSION_FINGERPRINT];
	struct session_proof proof;

	if (!session_receive_reply(s))
		return false;
	if (s->m.header.type == SESSION_REFUSED) {
		show_refusal(s, s->m.payload[0], NULL);
		return false;
	}
	if (s->m.header.type != SESSION_PROOF)
		return unexpected(s);
	if (!agent_key[0])
		return true;
	memcpy(&proof, s->m.payload, sizeof(proof));
	if (s->m.header.length != sizeof(proof) ||
		!session_proven(&proof, SESSION_PROOF_AGENT, binding, fingerprint))
		log_error("%s: the guest's agent: it does not prove to have a key", s->vm);
	else if (strcmp(fingerprint, agent_key) == 0)
		return true;
	else
		log_error("%s: the guest's agent: its key %s is not the expected one", s->vm,
			fingerprint);
	return false;
}

bool session_log_in(
	struct session *s, const char *user, const struct session_key *key, const char *agent_key)
{
	uint8_t binding[SESSION_BINDING];
	enum session_refusal why;

	if (!await_connection(s, binding) || !negotiate(s) || !show_key(s, key, binding) ||
		!check_agent(s, agent_key, binding))
		return false;
	for (;;) {
		say(s, SESSION_LOGIN, user, strlen(user));
		if (!talk(s))
			return false;
		if (s->m.header.type == SESSION_ACCEPTED)
			return true;
		if (s->m.header.type != SESSION_REFUSED)
			return unexpected(s);
		why = s->m.payload[0];
		show_refusal(s, why, user);
		/* Whoever types may have mistyped; a file says the same again. */
		if (why != SESSION_REFUSED_LOGIN || s->answers >= 0)
			return false;
	}
}

bool session_await_start(struct session *s)
{
	if (!talk(s))
		return false;
	if (s->m.header.type == SESSION_STARTED)
		return true;
	if (s->m.header.type != SESSION_REFUSED)
		return unexpected(s);
	show_refusal(s, s->m.payload[0], NULL);
	return false;
}
