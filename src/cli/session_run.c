/*
 * session_run.c - a session that stands: bytes between this process's descriptors and the guest's
 * command, signals, the size of the window, and at the end its status.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/terminal.h"
#include "cli/session.h"
#include "session/streams.h"

struct run {
	struct session *s;
	const struct session_work *work;
	struct streams streams;
	sigset_t before;
	bool resize_due;
	int signal_due; /* to be forwarded; 0: none */
	bool exited;	/* what follows says how */
	int status;
	bool line_begins, tilde; /* the escape: what was typed last */
};

/* ---- The escape ------------------------------------------------------------------------------ */

static const char escapes[] = "\r\n~.  hang up\r\n~~  send one ~\r\n~?  these\r\n";

/* As ssh has it: a tilde at the beginning of a line. */
static bool look_for_escape(void *ctx, const uint8_t *in, size_t n, uint8_t *out, size_t *n_out)
{
	struct run *r = ctx;
	size_t m = 0;

	for (size_t i = 0; i < n; i++) {
		if (r->tilde && in[i] == '.')
			return false;
		if (r->tilde && in[i] == '?') {
			r->tilde = false;
			if (write(STDERR_FILENO, escapes, sizeof(escapes) - 1) < 0)
				return false;
			continue;
		}
		if (!r->tilde && r->line_begins && in[i] == '~') {
			r->tilde = true;
			continue;
		}
		if (r->tilde && in[i] != '~')
			out[m++] = '~';
		r->tilde = false;
		out[m++] = in[i];
		r->line_begins = in[i] == '\r' || in[i] == '\n';
	}
	*n_out = m;
	return true;
}

/* ---- Setting up ------------------------------------------------------------------------------ */

/* TERM and the others, each with its end, behind what is fixed. */
static bool send_start(struct session *s, const struct session_work *work)
{
	struct session_start start = work->start;
	uint8_t payload[SESSION_PAYLOAD_MAX];
	const char *next = work->term;
	size_t n = sizeof(start);

	start.strings = 0;
	for (char *const *more = work->strings; next; next = *more ? *more++ : NULL) {
		size_t length = strlen(next) + 1;

		if (length > sizeof(payload) - n || start.strings == SESSION_STRINGS_MAX) {
			log_error("the command is longer than %zu bytes", sizeof(payload) - n);
			s->status = 2;
			return false;
		}
		memcpy(payload + n, next, length);
		n += length;
		start.strings++;
	}
	memcpy(payload, &start, sizeof(start));
	/* If it cannot be sent, what is received next says why. */
	session_send(s->packets, SESSION_START, 0, payload, n, 0);
	return session_await_start(s);
}

static void take_signals(struct run *r)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGCONT};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, &r->before);
	r->s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/*
 * Writing to a terminal or pipe that does not take it must not hold everything up. O_NONBLOCK
 * belongs to the open file, which others share; so it is opened anew.
 */
static int own_opening(int fd)
{
	struct stat status;
	char path[32];
	int own;

	if (!isatty(fd) && (fstat(fd, &status) || !S_ISFIFO(status.st_mode)))
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (own < 0)
		return fd;
	close(fd);
	return own;
}

static int or_nothing(int fd)
{
	return fd >= 0 ? fd : open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int attach(struct run *r)
{
	const struct session_work *work = r->work;
	int err;

	streams_source(&r->streams, SESSION_STDIN, or_nothing(work->in));
	if (work->interactive) {
		r->line_begins = true;
		r->streams.stream[SESSION_STDIN].look_through = look_for_escape;
		r->streams.stream[SESSION_STDIN].ctx = r;
	}
	err = streams_sink(&r->streams, SESSION_STDOUT, own_opening(or_nothing(work->out)));
	if (!err)
		err = streams_sink(&r->streams, SESSION_STDERR, own_opening(or_nothing(work->err)));
	return err;
}

/* ---- While it runs --------------------------------------------------------------------------- */

/* What the signals that came mean. False: hang up. */
static bool take_signal(struct run *r)
{
	struct signalfd_siginfo info;

	while (read(r->s->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGWINCH)
			r->resize_due = r->work->start.flags & SESSION_TERMINAL;
		else if (info.ssi_signo == SIGCONT)
			terminal_continued();
		else if (!r->work->forward)
			return false;
		else
			r->signal_due = (int)info.ssi_signo;
	}
	return true;
}

/* Says what is due, as far as the relay takes it. */
static void say_due(struct run *r)
{
	const struct session_signal number = {(uint8_t)r->signal_due};
	struct session_window_size size;
	struct winsize window;

	if (r->signal_due && streams_send(&r->streams, SESSION_SIGNAL, &number, sizeof(number)))
		r->signal_due = 0;
	if (!r->resize_due || ioctl(STDIN_FILENO, TIOCGWINSZ, &window))
		return;
	size = (struct session_window_size){
		window.ws_row, window.ws_col, window.ws_xpixel, window.ws_ypixel};
	if (streams_send(&r->streams, SESSION_RESIZE, &size, sizeof(size)))
		r->resize_due = false;
}

/* False: the session is lost. */
static bool take_messages(struct run *r)
{
	struct session_message *m = &r->s->m;
	struct session_exit exit;
	int got, taken;

	while ((got = session_receive(r->s->packets, m, SESSION_FROM_AGENT | SESSION_FROM_RELAY,
			MSG_DONTWAIT)) > 0) {
		taken = streams_take(&r->streams, m);
		if (taken > 0)
			continue;
		if (taken < 0 || m->header.type != SESSION_EXIT) {
			session_clean((char *)m->payload);
			terminal_restore();
			log_error("%s: the session was lost: %s", r->s->vm,
				m->header.type == SESSION_LOST
					? (const char *)m->payload
					: "the guest's agent does not keep to the protocol");
			return false;
		}
		memcpy(&exit, m->payload, sizeof(exit));
		r->exited = true;
		r->status = exit.signalled ? 128 + exit.status : exit.status;
		streams_over(&r->streams);
		return true;
	}
	if (got == -EAGAIN)
		return true;
	terminal_restore();
	log_error("%s: the session was lost: the guest's agent has ended it", r->s->vm);
	return false;
}

static void serve(struct run *r)
{
	struct pollfd fds[STREAMS_POLL + 1];
	int err;

	for (;;) {
		streams_poll(&r->streams, fds);
		fds[STREAMS_POLL] = (struct pollfd){.fd = r->s->signals, .events = POLLIN};
		if (poll(fds, STREAMS_POLL + 1, -1) < 0 && errno != EINTR)
			return;
		if (fds[STREAMS_POLL].revents && !take_signal(r))
			return;
		if (fds[0].revents & ~POLLOUT && !take_messages(r))
			return;
		err = streams_move(&r->streams, fds);
		if (!r->exited && err == -ECANCELED)
			return;
		if (r->exited && streams_sinks_empty(&r->streams))
			return;
		say_due(r);
	}
}

/* Output that could not be written here is no success, whatever the command's status is. */
static int tell_lost(const struct run *r)
{
	static const char *const names[] = {
		[SESSION_STDOUT] = "standard output", [SESSION_STDERR] = "standard error"};
	int status = r->status;

	for (unsigned i = SESSION_STDOUT; i <= SESSION_STDERR; i++) {
		int err = r->streams.stream[i].error;

		if (!err)
			continue;
		log_error("%s: the command's output is not complete: %s: %s", r->s->vm, names[i],
			strerror(err));
		if (status == 0)
			status = SESSION_STATUS_LOST;
	}
	return status;
}

int session_run(struct session *s, const struct session_work *work)
{
	struct run r = {.s = s, .work = work, .status = SESSION_STATUS_LOST};

	streams_init(&r.streams, s->packets);
	take_signals(&r);
	if (!send_start(s, work)) {
		r.status = s->status;
	} else if (attach(&r) == 0 && (work->forward || !s->early_signal)) {
		r.signal_due = s->early_signal;
		if (work->interactive)
			terminal_raw(true);
		serve(&r);
		terminal_restore();
		r.status = tell_lost(&r);
	}
	streams_free(&r.streams);
	close(s->signals);
	s->signals = -1;
	sigprocmask(SIG_SETMASK, &r.before, NULL);
	return r.status;
}
