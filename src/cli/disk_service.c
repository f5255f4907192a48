/*
 * disk_service.c - what attach and serve have in common: an open image that stays in use until
 * somebody or a signal ends it. See disk.h.
 */
#include "cli/disk.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"

bool cli_service_begin(
	struct cli_service *s, const char *path, bool read_only, enum disk_format format)
{
	const struct disk_open_options options = {
		.flags = read_only ? 0 : DISK_OPEN_WRITE, .format = format};
	static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	sigset_t signals;
	int err;

	*s = (struct cli_service){.signals = -1};
	sigemptyset(&signals);
	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		sigaddset(&signals, ending[i]);
	/* All threads that are made from here on leave these signals to the descriptor. */
	sigprocmask(SIG_BLOCK, &signals, NULL);
	s->signals = signalfd(-1, &signals, SFD_CLOEXEC);
	s->engine = s->signals < 0 ? NULL : disk_engine_create(NULL);
	if (!s->engine) {
		log_error("cannot start: %s", strerror(errno));
		return false;
	}
	err = disk_open(s->engine, path, &options, &s->disk, &s->problem);
	if (!err)
		return true;
	cli_service_fail(s, path, err);
	disk_engine_destroy(s->engine);
	close(s->signals);
	return false;
}

bool cli_service_wait(struct cli_service *s, int fd)
{
	struct pollfd fds[] = {{.fd = s->signals, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
	struct signalfd_siginfo info;

	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents)
			return false;
		if (fds[0].revents && read(s->signals, &info, sizeof(info)) == sizeof(info))
			return true;
	}
}

int cli_service_close(struct cli_service *s)
{
	int err = s->disk ? disk_close(s->disk) : 0;

	s->disk = NULL;
	return err;
}

int cli_service_fail(struct cli_service *s, const char *path, int err)
{
	if (err == -EBUSY && !s->problem.text[0])
		log_error("%s: another program uses it; end that, or give --read-only", path);
	else if ((err == -EACCES || err == -EROFS) && !s->problem.text[0])
		log_error("%s: it may not be written; give --read-only", path);
	else
		log_error("%s", disk_problem_text(&s->problem, path, err));
	s->problem = (struct disk_problem){0};
	return CLI_FAILURE;
}

int cli_service_end(struct cli_service *s, const char *path, int status)
{
	int err = cli_service_close(s);

	if (err)
		status = cli_service_fail(s, path, err);
	disk_engine_destroy(s->engine);
	close(s->signals);
	return status;
}
