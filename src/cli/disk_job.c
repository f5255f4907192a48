/*
 * disk_job.c - one run of a disk command: see disk.h. A thread of the job's own draws the progress
 * bar and takes the signals that end a program, so that a command which is interrupted cleans up
 * after itself.
 */
#include "cli/disk.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/event.h"
#include "base/log.h"

#define REDRAW_MS 100

/* Written by its thread; @signal is the job's when the thread has ended. */
struct cli_watch {
	struct cli_job *job;
	pthread_t thread;
	const char *doing; /* NULL: no bar */
	int signals, quit; /* descriptors */
	sigset_t taken, mask_before;
	struct timespec began;
	bool drawn;
	int signal; /* that came; 0: none */
};

static double seconds_since(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - t->tv_sec) + (now.tv_nsec - t->tv_nsec) / 1e9;
}

static unsigned terminal_width(void)
{
	struct winsize size;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

/* "converting  [#########-------------]  41%  0:12 left" */
static void draw(struct cli_watch *w)
{
	const uint64_t total = w->job->progress.total, done = w->job->progress.done;
	const double part = total && done < total ? (double)done / total : total ? 1 : 0;
	const double elapsed = seconds_since(&w->began);
	const unsigned left = part > 0 ? elapsed / part - elapsed + 0.5 : 0;
	const unsigned taken = strlen(w->doing) + 30, width = terminal_width();
	const unsigned room = width > taken + 50 ? 50 : width > taken + 5 ? width - taken : 5;
	char bar[51], remaining[32] = "";

	memset(bar, '-', room);
	memset(bar, '#', (unsigned)(part * room));
	bar[room] = 0;
	if (part > 0 && elapsed >= 1)
		snprintf(remaining, sizeof(remaining), "  %u:%02u left", left / 60, left % 60);
	fprintf(stderr, "\r%s  [%s] %3u%%%s\033[K", w->doing, bar, (unsigned)(part * 100),
		remaining);
	w->drawn = true;
}

static void take_signal(struct cli_watch *w)
{
	struct signalfd_siginfo info;

	if (read(w->signals, &info, sizeof(info)) != sizeof(info))
		return;
	w->signal = info.ssi_signo;
	w->job->progress.cancel = 1;
	/* The next one finds its default: the user is in more of a hurry than the operation. */
	pthread_sigmask(SIG_UNBLOCK, &w->taken, NULL);
}

static void *watch(void *ctx)
{
	struct cli_watch *w = ctx;
	struct pollfd fds[] = {
		{.fd = w->quit, .events = POLLIN}, {.fd = w->signals, .events = POLLIN}};

	while (!(fds[0].revents & POLLIN)) {
		if (poll(fds, 2, w->doing ? REDRAW_MS : -1) < 0)
			continue;
		if (fds[1].revents & POLLIN && !w->signal)
			take_signal(w);
		if (w->signal)
			fds[1].fd = -1;
		if (w->doing && w->job->progress.total)
			draw(w);
	}
	if (w->drawn)
		fputs("\r\033[K", stderr);
	return NULL;
}

static int watch_open(struct cli_watch *w)
{
	static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

	sigemptyset(&w->taken);
	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		sigaddset(&w->taken, ending[i]);
	clock_gettime(CLOCK_MONOTONIC, &w->began);
	w->quit = eventfd(0, EFD_CLOEXEC);
	w->signals = signalfd(-1, &w->taken, SFD_CLOEXEC);
	if (w->quit < 0 || w->signals < 0)
		return -errno;
	/* All threads that are made from here on leave these signals to the descriptor. */
	pthread_sigmask(SIG_BLOCK, &w->taken, &w->mask_before);
	return -pthread_create(&w->thread, NULL, watch, w);
}

bool cli_job_begin(struct cli_job *job, const char *doing)
{
	struct cli_watch *w = calloc(1, sizeof(*w));
	int err = w ? 0 : -ENOMEM;

	*job = (struct cli_job){.watch = w};
	if (w) {
		w->job = job;
		w->doing = doing && isatty(STDERR_FILENO) ? doing : NULL;
		err = watch_open(w);
	}
	if (!err)
		job->engine = disk_engine_create(NULL);
	if (!err && !job->engine)
		err = -errno;
	if (err)
		log_error("cannot start: %s", strerror(-err));
	return !err;
}

int cli_job_end(struct cli_job *job, int status)
{
	struct cli_watch *w = job->watch;

	disk_engine_destroy(job->engine);
	event_signal(w->quit);
	pthread_join(w->thread, NULL);
	if (w->signal && status) {
		signal(w->signal, SIG_DFL);
		raise(w->signal);
	}
	pthread_sigmask(SIG_SETMASK, &w->mask_before, NULL);
	close(w->quit);
	close(w->signals);
	free(w);
	return status;
}

/* What to do about errors that nobody noted a problem for; NULL: nothing better to say. */
static const char *remedy(int err)
{
	switch (err) {
	case -EEXIST:
		return "the file exists; --overwrite replaces it";
	case -EBUSY:
		return "another program uses it; detach it, or wait until that is done";
	case -ENOTSUP:
		return "disks of this format and kind cannot do that";
	case -EROFS:
		return "it may not be written";
	default:
		return NULL;
	}
}

int cli_job_fail(struct cli_job *job, const char *path, int err)
{
	const char *say = job->problem.text[0] ? NULL : remedy(err);

	/* Who cancels needs no explanation: the process ends by the signal that did it. */
	if (err != -ECANCELED && say)
		log_error("%s: %s", path, say);
	else if (err != -ECANCELED)
		log_error("%s", disk_problem_text(&job->problem, path, err));
	job->problem = (struct disk_problem){0};
	return CLI_FAILURE;
}

struct disk *cli_job_open(
	struct cli_job *job, const char *path, unsigned flags, enum disk_format format)
{
	const struct disk_open_options options = {.flags = flags, .format = format};
	struct disk *d = NULL;
	int err = disk_open(job->engine, path, &options, &d, &job->problem);

	if (err) {
		cli_job_fail(job, path, err);
		return NULL;
	}
	return d;
}

int cli_job_close(struct cli_job *job, struct disk *d, int status)
{
	char *path;
	int err;

	if (!d)
		return status;
	path = strdup(disk_path(d));
	err = disk_close(d);
	if (err)
		status = cli_job_fail(job, path ? path : "the disk", err);
	free(path);
	return status;
}
