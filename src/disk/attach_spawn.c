/*
 * attach_spawn.c - attaching for longer than this process lives: the command does it.
 */
#include "disk/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the command says begins with its name, and ends with a newline. */
static void read_problem(int fd, struct disk_problem *problem)
{
	static const char prefix[] = "partita: ";
	char text[sizeof(problem->text)];
	size_t got = 0;
	ssize_t n;

	while ((n = read(fd, text + got, sizeof(text) - 1 - got)) > 0 || (n < 0 && errno == EINTR))
		got += n > 0 ? n : 0;
	text[got] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (!got || !problem || problem->win32)
		return;
	problem->win32 = disk_problem_win32(NULL, -EIO);
	n = strncmp(text, prefix, strlen(prefix)) == 0 ? strlen(prefix) : 0;
	memcpy(problem->text, text + n, strlen(text + n) + 1);
}

static int spawn(char *const argv[], int errors, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	int err;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
	err = -posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return err;
}

int disk_attach_spawn(
	const char *image, const struct disk_attach_options *options, struct disk_problem *problem)
{
	const char *command = getenv("PARTITA_COMMAND");
	char *argv[12] = {(char *)(command ? command : "partita"), "disk", "attach"};
	int argc = 3, errors[2], status, err;
	char offset[24], length[24];
	pid_t pid;

	if (options && options->read_only)
		argv[argc++] = "--read-only";
	if (options && options->no_partitions)
		argv[argc++] = "--no-partitions";
	if (options && (options->no_device || options->need_device))
		argv[argc++] = options->no_device ? "--file" : "--device";
	if (options && (options->offset || options->length)) {
		snprintf(offset, sizeof(offset), "%" PRIu64, options->offset);
		snprintf(length, sizeof(length), "%" PRIu64, options->length);
		argv[argc++] = "--offset";
		argv[argc++] = offset;
	}
	if (options && options->length) {
		argv[argc++] = "--length";
		argv[argc++] = length;
	}
	argv[argc++] = "--";
	argv[argc++] = (char *)image;
	argv[argc] = NULL;
	if (pipe2(errors, O_CLOEXEC))
		return -errno;
	err = spawn(argv, errors[1], &pid);
	close(errors[1]);
	if (err) {
		close(errors[0]);
		return disk_problem_say(problem, argv[0], err,
			"%s; install it, or set PARTITA_COMMAND to where it is", strerror(-err));
	}
	read_problem(errors[0], problem);
	close(errors[0]);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}
