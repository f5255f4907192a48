/*
 * command.c - see command.h.
 */
#include "command.h"
#include "log.h"

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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "session/streams.h"
#include "session/transfer.h"

/* How long what was hung up on may take to end, before it is killed. */
static const struct timespec patience = {.tv_sec = 2};

/* A command that runs. */
struct running {
	const struct command *c;
	struct streams streams;
	pid_t pid; /* also its process group */
	int signals;
	bool ended;
	struct session_exit exit;
};

/* ---- Starting it ----------------------------------------------------------------------------- */

/* What its standard descriptors are: with a terminal that, else a pipe for each. */
struct ends {
	int ours[SESSION_STREAMS], its[SESSION_STREAMS];
};

static int make_pipes(struct ends *e)
{
	for (unsigned i = 0; i < SESSION_STREAMS; i++) {
		int pair[2];

		if (pipe2(pair, O_CLOEXEC))
			return -errno;
		e->its[i] = pair[i == SESSION_STDIN ? 0 : 1];
		e->ours[i] = pair[i == SESSION_STDIN ? 1 : 0];
		fcntl(e->ours[i], F_SETFL, O_NONBLOCK);
		/* Two processes that wake each other seldom: it is no error where it may not be. */
		fcntl(e->ours[i], F_SETPIPE_SZ, SESSION_WINDOW);
	}
	return 0;
}

/* The arguments as one line of shell in which each stays what it is. NULL: no memory. */
static char *shell_line(const char *strings, unsigned n)
{
	char *line = NULL;
	size_t size;
	FILE *out = open_memstream(&line, &size);

	if (!out)
		return NULL;
	for (; n; n--, strings += strlen(strings) + 1) {
		putc('\'', out);
		for (const char *p = strings; *p; p++)
			if (*p == '\'')
				fputs("'\\''", out);
			else
				putc(*p, out);
		fputs(n > 1 ? "' " : "'", out);
	}
	if (fclose(out)) {
		free(line);
		return NULL;
	}
	return line;
}

/* The shell's name, with the dash that makes it a login shell. */
static const char *login_name(const char *shell)
{
	const char *name = strrchr(shell, '/');
	char *dashed;

	return asprintf(&dashed, "-%s", name ? name + 1 : shell) < 0 ? shell : dashed;
}

/* In the child: becomes what was asked for. Does not return. */
static void execute(const struct command *c)
{
	const char *shell = c->account->shell, *term, *strings;
	static const struct transfer transfer = {.where = "guest: "};
	struct session_start start;
	char **environment;

	memcpy(&start, c->start->payload, sizeof(start));
	term = (const char *)c->start->payload + sizeof(start);
	strings = term + strlen(term) + 1;
	if (chdir(c->account->home) && chdir("/"))
		_exit(126);
	close_range(3, ~0u, 0);
	if (start.kind == SESSION_SEND || start.kind == SESSION_RECEIVE) {
		/* It hears of the host's end through its pipe, and tidies up. */
		signal(SIGHUP, SIG_IGN);
		signal(SIGPIPE, SIG_IGN);
		_exit(start.kind == SESSION_SEND
				? transfer_send(&transfer, strings, start.flags & SESSION_RECURSIVE,
					  STDOUT_FILENO)
				: transfer_receive(&transfer, strings, NULL, STDIN_FILENO));
	}
	environment = account_environment(c->account, term, c->environment);
	if (environment && start.kind == SESSION_SHELL)
		execle(shell, login_name(shell), NULL, environment);
	else if (environment)
		execle(shell, shell, "-c", shell_line(strings, start.strings - 1u), NULL,
			environment);
	dprintf(STDERR_FILENO, "partita-agent: %s: %s\n", shell, strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void become_child(const struct command *c, const struct ends *e)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	setsid();
	if (c->master >= 0) {
		/* The first terminal that the leader of a session opens is the session's. */
		int tty = open(c->tty, O_RDWR);

		if (tty < 0)
			_exit(126);
		ioctl(tty, TIOCSCTTY, 0);
		for (unsigned i = 0; i < SESSION_STREAMS; i++)
			dup2(tty, (int)i);
	} else {
		for (unsigned i = 0; i < SESSION_STREAMS; i++)
			dup2(e->its[i], (int)i);
	}
	execute(c);
}

static int attach_streams(struct running *r, const struct ends *e)
{
	int in =
		r->c->master < 0 ? e->ours[SESSION_STDIN] : fcntl(r->c->master, F_DUPFD_CLOEXEC, 3);
	int err = in < 0 ? -errno : streams_sink(&r->streams, SESSION_STDIN, in);

	if (r->c->master >= 0) {
		r->streams.stream[SESSION_STDIN].terminal = true;
		streams_source(&r->streams, SESSION_STDOUT, r->c->master);
	} else {
		streams_source(&r->streams, SESSION_STDOUT, e->ours[SESSION_STDOUT]);
		streams_source(&r->streams, SESSION_STDERR, e->ours[SESSION_STDERR]);
	}
	return err;
}

static int start_command(struct running *r)
{
	struct ends ends;
	sigset_t child;
	int err = r->c->master < 0 ? make_pipes(&ends) : 0;

	/* A child that ends is read from a descriptor. */
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	signal(SIGPIPE, SIG_IGN);
	r->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (err || r->signals < 0)
		return err ? err : -errno;
	r->pid = fork();
	if (r->pid < 0)
		return -errno;
	if (r->pid == 0)
		become_child(r->c, &ends);
	for (unsigned i = 0; r->c->master < 0 && i < SESSION_STREAMS; i++)
		close(ends.its[i]);
	return attach_streams(r, &ends);
}

/* ---- While it runs --------------------------------------------------------------------------- */

static int send_signal(const struct running *r, unsigned number)
{
	switch (number) {
	case SIGHUP:
	case SIGINT:
	case SIGQUIT:
	case SIGTERM:
	case SIGUSR1:
	case SIGUSR2:
		if (!r->ended)
			kill(-r->pid, (int)number);
		return 0;
	default:
		return -EPROTO;
	}
}

static int resize(const struct running *r, const struct session_message *m)
{
	struct session_window_size size;
	struct winsize window;

	memcpy(&size, m->payload, sizeof(size));
	window = (struct winsize){size.rows, size.columns, size.width, size.height};
	if (r->c->master < 0)
		return -EPROTO;
	/*
	 * Whoever uses the terminal is told by the kernel. The stream may have closed it already.
	 */
	if (r->streams.stream[SESSION_STDOUT].fd >= 0)
		ioctl(r->streams.stream[SESSION_STDOUT].fd, TIOCSWINSZ, &window);
	return 0;
}

static int take_message(struct running *r, const struct session_message *m)
{
	int taken = streams_take(&r->streams, m);

	if (taken)
		return taken < 0 ? taken : 0;
	if (m->header.type == SESSION_RESIZE)
		return resize(r, m);
	if (m->header.type == SESSION_SIGNAL)
		return send_signal(r, m->payload[0]);
	return -EPROTO;
}

/* Everything that came. Returns 0, or -1: the host is gone, or does not keep to the protocol. */
static int take_messages(struct running *r, struct session_message *m)
{
	int got;

	while ((got = session_receive(r->c->packets, m, SESSION_FROM_HOST, MSG_DONTWAIT)) > 0)
		if (take_message(r, m))
			return -1;
	return got == -EAGAIN ? 0 : -1;
}

static void reap(struct running *r)
{
	struct signalfd_siginfo info;
	int status;

	while (read(r->signals, &info, sizeof(info)) > 0)
		;
	if (r->ended || waitpid(r->pid, &status, WNOHANG) != r->pid)
		return;
	r->ended = true;
	r->exit = (struct session_exit){
		.signalled = WIFSIGNALED(status),
		.status = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
	};
	streams_drain(&r->streams);
}

/* The host is gone: so must be what it started. */
static void hang_up(struct running *r)
{
	sigset_t child;

	streams_free(&r->streams);
	if (r->ended)
		return;
	kill(-r->pid, SIGHUP);
	kill(-r->pid, SIGCONT);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	if (sigtimedwait(&child, NULL, &patience) < 0)
		kill(-r->pid, SIGKILL);
	while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void serve(struct running *r, struct session_message *m)
{
	struct pollfd fds[STREAMS_POLL + 1];

	for (;;) {
		streams_poll(&r->streams, fds);
		fds[STREAMS_POLL] = (struct pollfd){.fd = r->signals, .events = POLLIN};
		if (poll(fds, STREAMS_POLL + 1, -1) < 0 && errno != EINTR)
			break;
		if (fds[STREAMS_POLL].revents)
			reap(r);
		if ((fds[0].revents & ~POLLOUT && take_messages(r, m)) ||
			streams_move(&r->streams, fds))
			break;
		if (r->ended && streams_sources_ended(&r->streams) &&
			streams_send(&r->streams, SESSION_EXIT, &r->exit, sizeof(r->exit))) {
			streams_free(&r->streams);
			return;
		}
	}
	hang_up(r);
}

int command_run(const struct command *c)
{
	struct session_message *m = malloc(sizeof(*m));
	struct running r = {.c = c};
	int err = m ? account_become(c->account) : -ENOMEM;

	streams_init(&r.streams, c->packets);
	if (!err)
		err = start_command(&r);
	if (err) {
		agent_log(LOG_ERR, "no session for %s: %s", c->account->name, strerror(-err));
		session_send_text(c->packets, SESSION_REFUSED, SESSION_REFUSED_FAILURE,
			"the guest cannot start it: its log says more");
		return 1;
	}
	if (session_send(c->packets, SESSION_STARTED, 0, NULL, 0, 0) == 0)
		serve(&r, m);
	else
		hang_up(&r);
	return 0;
}
