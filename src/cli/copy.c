/*
 * copy.c - partita copy: a file or directory into a guest, or out of it.
 *
 * The transfer's half on this side is a process of its own, whose pipe the session carries.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "session/transfer.h"

#define SHOW_EVERY 200000000 /* nanoseconds */

struct arguments {
	struct session_wish session;
	bool recursive, quiet;
};

static const char help[] = "Usage: partita copy [OPTION]... FILE VM:PATH\n"
			   "       partita copy [OPTION]... VM:PATH FILE\n"
			   "\n"
			   "Copy a file into a guest, or out of it, without any network. VM is a "
			   "machine's name or ID. "
			   "Where\n"
			   "the target is a directory, the file comes into it under its own name. "
			   "It appears there whole, "
			   "or not\n"
			   "at all; permissions and times are kept.\n"
			   "\n"
			   "  -r, --recursive       a directory with all that is in it\n"
			   "  -q, --quiet           show no progress\n" SESSION_OPTIONS_HELP
			   "  --help                this help\n";

static const struct cli_option options[] = {
	CLI_LETTER('r', "recursive", recursive),
	CLI_LETTER('q', "quiet", quiet),
	SESSION_OPTIONS,
	{0},
};

static const struct cli_syntax syntax = {
	.command = "copy",
	.help = help,
	.options = options,
	.min = 2,
	.max = 2,
	.arguments = "FILE and VM:PATH",
};

/* ---- Progress -------------------------------------------------------------------------------- */

struct shown {
	uint64_t last; /* when: CLOCK_MONOTONIC */
	bool any;
};

static void show_progress(void *ctx, const char *name, uint64_t done, uint64_t size)
{
	struct shown *shown = ctx;
	struct timespec now;
	char clean[256];
	uint64_t time;

	clock_gettime(CLOCK_MONOTONIC, &now);
	time = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	if (shown->any && done < size && time - shown->last < SHOW_EVERY)
		return;
	shown->last = time;
	shown->any = true;
	snprintf(clean, sizeof(clean), "%s", name);
	session_clean(clean);
	dprintf(STDERR_FILENO, "\r\033[K%s  %llu of %llu MiB, %u%%", clean,
		(unsigned long long)done >> 20, (unsigned long long)size >> 20,
		size ? (unsigned)((done < size ? done : size) * 100.0 / size) : 100);
}

/* ---- This side's half ------------------------------------------------------------------------ */

struct half {
	const struct arguments *wish;
	bool sends;
	const char *path, *as; /* @as: what it is called, where it comes into a directory */
};

static int run_half(const struct half *h, int fd)
{
	struct shown shown = {0};
	struct transfer t = {.where = "", .ctx = &shown};
	int status;

	/* It ends with its pipe, and tidies up first. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	if (isatty(STDERR_FILENO) && !h->wish->quiet)
		t.progress = show_progress;
	status = h->sends ? transfer_send(&t, h->path, h->wish->recursive, fd)
			  : transfer_receive(&t, h->path, h->as, fd);
	if (shown.any)
		dprintf(STDERR_FILENO, "\n");
	return status;
}

/* Starts it; *@fd is the pipe's other end. */
static pid_t start_half(const struct half *h, const struct session *s, int *fd)
{
	const int its = h->sends ? 1 : 0;
	int pair[2];
	pid_t pid;

	if (pipe2(pair, O_CLOEXEC))
		return -1;
	fcntl(pair[0], F_SETPIPE_SZ, SESSION_WINDOW); /* an improvement where it may be */
	pid = fork();
	if (pid == 0) {
		close(pair[!its]);
		/* Otherwise the session would not end before it does. */
		close(s->packets);
		_exit(run_half(h, pair[its]));
	}
	close(pair[its]);
	*fd = pair[!its];
	if (pid < 0)
		close(*fd);
	return pid;
}

static int copy(struct session *s, const struct half *h, const char *remote)
{
	char *const strings[] = {(char *)remote, NULL};
	struct session_work work = {
		.start = {.kind = h->sends ? SESSION_RECEIVE : SESSION_SEND,
			.flags = h->wish->recursive ? SESSION_RECURSIVE : 0},
		.term = "",
		.strings = strings,
		.in = -1,
		.out = -1,
	};
	int status, half_status;
	pid_t pid = start_half(h, s, h->sends ? &work.in : &work.out);

	if (pid < 0) {
		log_error("%s: %s", h->path, strerror(errno));
		return CLI_FAILURE;
	}
	work.err = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	status = session_run(s, &work);
	while (waitpid(pid, &half_status, 0) < 0 && errno == EINTR)
		;
	return status ? status : half_status ? CLI_FAILURE : 0;
}

/* ---- What is copied where -------------------------------------------------------------------- */

/*
 * "VM:PATH", cut in two: returns PATH. NULL: it is a file of this host. A name with a slash before
 * the colon is one, but "unix:" and the path of a socket is a machine.
 */
static char *split(char *argument)
{
	bool is_socket = strncmp(argument, "unix:", 5) == 0;
	char *colon = strchr(argument + (is_socket ? 5 : 0), ':'), *slash = strchr(argument, '/');

	if (!colon || (!is_socket && slash && slash < colon))
		return NULL;
	*colon = 0;
	return colon + 1;
}

/* What the guest's file is called; the guest is not asked, it might say ".bashrc". */
static const char *last_part(char *path)
{
	char *name;

	for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
		path[n - 1] = 0;
	name = strrchr(path, '/');
	name = name ? name + 1 : path;
	return name[0] && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 ? name : NULL;
}

int cli_copy(int argc, char **argv)
{
	struct arguments w = {0};
	struct half half = {.wish = &w};
	int status = cli_options(&syntax, argc, argv, &w);
	char *from, *to;
	struct session *s;

	if (status != CLI_GO_ON)
		return status;
	from = split(argv[optind]);
	to = split(argv[optind + 1]);
	if (!from == !to) {
		log_error("copy: one of FILE and VM:PATH must name a machine, the other none");
		return CLI_USAGE_ERROR;
	}
	half.sends = to;
	half.path = argv[optind + (to ? 0 : 1)];
	half.as = from ? last_part(from) : NULL;
	if (from && !half.as) {
		log_error("copy: %s: name the file or directory itself", from);
		return CLI_USAGE_ERROR;
	}
	w.session.vm = argv[optind + (to ? 1 : 0)];
	s = calloc(1, sizeof(*s));
	if (!s)
		return CLI_FAILURE;
	status = session_open(s, &w.session) ? copy(s, &half, to ? to : from) : s->status;
	session_close(s);
	free(s);
	return status;
}
