/*
 * exec.c - partita exec and enter: a command, or a login shell, in a guest.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/session.h"

struct arguments {
	struct session_wish session;
	bool terminal;
};

static struct session_window_size window_size(void)
{
	struct winsize w = {.ws_row = 24, .ws_col = 80};

	ioctl(STDIN_FILENO, TIOCGWINSZ, &w);
	return (struct session_window_size){w.ws_row, w.ws_col, w.ws_xpixel, w.ws_ypixel};
}

/* The session's own descriptors: standard input that is also the password file stays the rest of
 * it. */
static int run(struct arguments *w, enum session_kind kind, char *const *command)
{
	struct session *s = calloc(1, sizeof(*s));
	const char *term = getenv("TERM");
	struct session_work work = {
		.start = {.kind = kind, .flags = w->terminal ? SESSION_TERMINAL : 0},
		.term = w->terminal && term ? term : "",
		.strings = command,
		.interactive = w->terminal && isatty(STDIN_FILENO),
		.forward = !w->terminal,
	};
	int status = SESSION_STATUS_LOST;

	if (!s)
		return status;
	if (session_open(s, &w->session)) {
		if (w->terminal)
			work.start.size = window_size();
		work.in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
		work.out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
		work.err = w->terminal ? -1 : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
		status = session_run(s, &work);
	} else {
		status = s->status;
	}
	session_close(s);
	free(s);
	return status;
}

/* ---- exec ------------------------------------------------------------------------------------ */

static const char exec_help[] =
	"Usage: partita exec VM [OPTION]... -- COMMAND [ARGUMENT]...\n"
	"\n"
	"Run a command in a guest, without any network: its standard input, output and error are "
	"those of\n"
	"partita, and so is its exit status. VM is a machine's name or ID.\n"
	"\n"
	"  -t, --terminal        give it a terminal\n" SESSION_OPTIONS_HELP
	"  --help                this help\n";

static const struct cli_option exec_options[] = {
	CLI_LETTER('t', "terminal", terminal),
	SESSION_OPTIONS,
	{0},
};

static const struct cli_syntax exec_syntax = {
	.command = "exec",
	.help = exec_help,
	.options = exec_options,
	.min = 2,
	.max = SESSION_STRINGS_MAX,
	.arguments = "VM and COMMAND",
};

int cli_exec(int argc, char **argv)
{
	struct arguments w = {0};
	int status = cli_options(&exec_syntax, argc, argv, &w);

	if (status != CLI_GO_ON)
		return status;
	w.session.vm = argv[optind];
	return run(&w, SESSION_COMMAND, argv + optind + 1);
}

/* ---- enter ----------------------------------------------------------------------------------- */

static const char enter_help[] =
	"Usage: partita enter VM [OPTION]...\n"
	"\n"
	"A login shell in a guest, at this terminal, without any network. VM is a machine's name "
	"or "
	"ID.\n"
	"At the beginning of a line, ~. hangs up, and ~? shows the other escapes.\n"
	"\n" SESSION_OPTIONS_HELP "  --help                this help\n";

static const struct cli_option enter_options[] = {
	SESSION_OPTIONS,
	{0},
};

static const struct cli_syntax enter_syntax = {
	.command = "enter",
	.help = enter_help,
	.options = enter_options,
	.min = 1,
	.max = 1,
	.arguments = "VM",
};

int cli_enter(int argc, char **argv)
{
	static char *const nothing[] = {NULL};
	struct arguments w = {.terminal = true};
	int status = cli_options(&enter_syntax, argc, argv, &w);

	if (status != CLI_GO_ON)
		return status;
	w.session.vm = argv[optind];
	return run(&w, SESSION_SHELL, nothing);
}
