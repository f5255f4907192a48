/*
 * attach.c - an attachment: the file, the device on it and the entry that tells of both, made in
 * this order and taken down in the other. A thread of its own listens for who wants it detached.
 *
 * At the socket one asks "detach\n" and is answered when the image is closed: "0\n", or a negative
 * errno and a line that says why.
 */
#include "disk/attach_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/event.h"

#define DETACH	       "detach\n"
#define CLIENT_SECONDS 5 /* for who connects to say what he wants */
/* For what the kernel ends some time after close(2) and umount(2) returned. */
#define SETTLE_MS 5000

struct disk_attach {
	struct disk *disk;
	struct disk_attach_options options;
	char *entry, *file, *device; /* device NULL: none */
	struct attach_fuse *fuse;
	int control; /* the entry's socket */
	int quit;    /* eventfd: the thread shall end */
	int over;    /* eventfd: the attachment has ended */
	pthread_t thread;
	pthread_mutex_t lock; /* held while it ends */
	_Atomic bool ended;
};

/* ---- The end --------------------------------------------------------------------------------- */

/* With the lock held. Errors as for disk_attach_end(). */
static int detach(struct disk_attach *a, struct disk_problem *problem)
{
	int err = 0, lost;

	if (attach_fuse_wait_closed(a->fuse, a->device ? 1 : 0, SETTLE_MS))
		return disk_problem_say(
			problem, a->file, -EBUSY, "open in another program; end that first");
	if (a->device)
		err = attach_loop_remove(a->device, a->file, SETTLE_MS, problem);
	if (err == -EBUSY)
		return err;
	attach_fuse_wait_closed(a->fuse, 0, SETTLE_MS);
	lost = attach_fuse_stop(a->fuse);
	a->fuse = NULL;
	if (lost)
		err = disk_problem_say(problem, disk_path(a->disk), lost,
			"what was written last is lost: %s", strerror(-lost));
	attach_entry_remove(a->entry);
	a->ended = true;
	event_signal(a->over);
	return err;
}

int disk_attach_end(struct disk_attach *a, struct disk_problem *problem)
{
	int err;

	pthread_mutex_lock(&a->lock);
	err = a->ended ? 0 : detach(a, problem);
	pthread_mutex_unlock(&a->lock);
	return err;
}

/* For somebody else: who serves it is told, and may have the last word. */
static int detach_for_others(struct disk_attach *a, struct disk_problem *problem)
{
	bool ended_now;
	int err, closed = 0;

	pthread_mutex_lock(&a->lock);
	ended_now = !a->ended;
	err = a->ended ? 0 : detach(a, problem);
	ended_now &= a->ended;
	pthread_mutex_unlock(&a->lock);
	if (ended_now && a->options.ended)
		closed = a->options.ended(a->options.ctx);
	return err ? err : closed;
}

/* ---- The thread that listens ----------------------------------------------------------------- */

static void answer(struct disk_attach *a, int client)
{
	const struct timeval patience = {.tv_sec = CLIENT_SECONDS};
	struct disk_problem problem = {0};
	char word[sizeof(DETACH)], line[sizeof(problem.text) + 32];
	ssize_t n;
	int err;

	setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	/* Who only looks whether somebody is here says nothing. */
	do
		n = recv(client, word, strlen(DETACH), MSG_WAITALL);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)strlen(DETACH) || memcmp(word, DETACH, n))
		return;
	err = detach_for_others(a, &problem);
	n = err ? snprintf(line, sizeof(line), "%d %s\n", err,
			  disk_problem_text(&problem, a->file, err))
		: snprintf(line, sizeof(line), "0\n");
	send(client, line, n, MSG_NOSIGNAL);
}

static void *listen_for_others(void *arg)
{
	struct disk_attach *a = arg;
	struct pollfd fds[] = {{.fd = a->quit, .events = POLLIN},
		{.fd = a->control, .events = POLLIN}, {.fd = -1, .events = POLLIN}};

	/* It may have ended before this thread began. */
	pthread_mutex_lock(&a->lock);
	if (!a->ended)
		fds[2].fd = attach_fuse_fd(a->fuse);
	pthread_mutex_unlock(&a->lock);
	while (!a->ended) {
		int client;

		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[0].revents)
			break;
		/* Unmounting the file is detaching it, too. */
		if (fds[2].revents) {
			detach_for_others(a, NULL);
			fds[2].fd = -1;
		}
		client = fds[1].revents ? accept4(a->control, NULL, NULL, SOCK_CLOEXEC) : -1;
		if (client >= 0) {
			answer(a, client);
			close(client);
		}
	}
	return NULL;
}

static int start_thread(struct disk_attach *a)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&a->thread, NULL, listen_for_others, a);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

/* ---- The beginning --------------------------------------------------------------------------- */

/* Whether it is the user's privilege, or the host's drivers, that there can be no device. */
static bool is_no_device(int err)
{
	return err == -EPERM || err == -EACCES || err == -ENOENT || err == -ENODEV || err == -ENXIO;
}

static int add_device(struct disk_attach *a, struct disk_problem *problem)
{
	struct disk_info info;
	int err;

	disk_info(a->disk, &info);
	err = attach_loop_create(a->file, info.logical_sector, &a->options, &a->device, problem);
	if (err && is_no_device(err) && !a->options.need_device)
		return 0;
	return err ? err : attach_entry_note(a->entry, "device", a->device);
}

static void attach_free(struct disk_attach *a)
{
	/* Without its device there is nothing left that others should know of. */
	if (a->device && !a->ended &&
		attach_loop_remove(a->device, a->file, SETTLE_MS, NULL) == 0) {
		free(a->device);
		a->device = NULL;
	}
	attach_fuse_stop(a->fuse);
	if (a->control >= 0)
		close(a->control);
	if (a->entry && !a->ended && !a->device)
		attach_entry_remove(a->entry);
	if (a->quit >= 0)
		close(a->quit);
	if (a->over >= 0)
		close(a->over);
	pthread_mutex_destroy(&a->lock);
	free(a->entry);
	free(a->file);
	free(a->device);
	free(a);
}

static int start(struct disk_engine *e, struct disk_attach *a, struct disk_problem *problem)
{
	int err;

	a->quit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	a->over = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (a->quit < 0 || a->over < 0)
		return -errno;
	err = attach_entry_create(a->disk, a->options.read_only, &a->entry, &a->control, problem);
	if (err)
		return err;
	a->file = attach_entry_file(a->entry, "disk");
	err = a->file ? attach_fuse_start(e, a->disk, a->file, &a->options, &a->fuse, problem)
		      : -ENOMEM;
	if (!err && !a->options.no_device)
		err = add_device(a, problem);
	return err ? err : start_thread(a);
}

int disk_attach_start(struct disk_engine *e, struct disk *d,
	const struct disk_attach_options *options, struct disk_attach **attach,
	struct disk_problem *problem)
{
	struct disk_attach *a = calloc(1, sizeof(*a));
	struct disk_info info;
	int err;

	if (!a)
		return -ENOMEM;
	disk_info(d, &info);
	a->disk = d;
	a->control = a->quit = a->over = -1;
	if (options)
		a->options = *options;
	a->options.read_only |= !info.writable;
	pthread_mutex_init(&a->lock, NULL);
	err = start(e, a, problem);
	if (err) {
		attach_free(a);
		return err;
	}
	*attach = a;
	return 0;
}

void disk_attach_free(struct disk_attach *a)
{
	if (!a)
		return;
	event_signal(a->quit);
	pthread_join(a->thread, NULL);
	attach_free(a);
}

int disk_attach_fd(const struct disk_attach *a)
{
	return a->over;
}

bool disk_attach_ended(const struct disk_attach *a)
{
	return a->ended;
}

const char *disk_attach_device(const struct disk_attach *a)
{
	return a->device;
}

const char *disk_attach_file(const struct disk_attach *a)
{
	return a->file;
}

int disk_attach_resized(struct disk_attach *a)
{
	struct stat st;

	/* Asking has the kernel note the file's new size, which the device then takes. */
	if (stat(a->file, &st))
		return -errno;
	return a->device ? attach_loop_resized(a->device) : 0;
}

int disk_attach_pause(struct disk_attach *a)
{
	/* Nobody has it detached meanwhile. */
	pthread_mutex_lock(&a->lock);
	if (a->ended) {
		pthread_mutex_unlock(&a->lock);
		return -ESHUTDOWN;
	}
	attach_fuse_pause(a->fuse);
	return 0;
}

int disk_attach_resume(struct disk_attach *a, struct disk *d)
{
	int err = d == a->disk ? 0 : attach_entry_switch(a->entry, d);

	a->disk = d;
	if (!err)
		err = attach_fuse_resume(a->fuse, d);
	if (err) {
		attach_fuse_stop(a->fuse);
		a->fuse = NULL;
		attach_entry_remove(a->entry);
		a->ended = true;
		event_signal(a->over);
	}
	pthread_mutex_unlock(&a->lock);
	return err;
}

/* ---- From elsewhere -------------------------------------------------------------------------- */

/* Ask who serves the entry. Returns what he answered, or -ECONNRESET when he went without. */
static int ask(int fd, const struct disk_attached *attached, struct disk_problem *problem)
{
	char line[sizeof(problem->text) + 32], *text;
	size_t got = 0;
	ssize_t n = 1;
	long err;

	if (send(fd, DETACH, strlen(DETACH), MSG_NOSIGNAL) < 0)
		return -ECONNRESET;
	while (n > 0 && got < sizeof(line) - 1) {
		n = recv(fd, line + got, sizeof(line) - 1 - got, 0);
		if (n > 0)
			got += n;
		else if (n < 0 && errno == EINTR)
			n = 1;
	}
	line[got] = '\0';
	line[strcspn(line, "\n")] = '\0';
	err = strtol(line, &text, 10);
	if (text == line || err > 0 || err < -4095)
		return -ECONNRESET;
	if (err && problem && !problem->win32) {
		problem->win32 = disk_problem_win32(NULL, err);
		snprintf(problem->text, sizeof(problem->text), "%s", text + (*text == ' '));
	}
	return err;
}

int disk_attached_detach(const struct disk_attached *attached, struct disk_problem *problem)
{
	const char *end = strrchr(attached->file, '/');
	char *entry = end ? strndup(attached->file, end - attached->file) : NULL;
	struct disk_attached *left;
	int fd, err = -ECONNRESET;

	if (!entry)
		return -ENOMEM;
	fd = attach_entry_connect(entry);
	free(entry);
	if (fd >= 0) {
		err = ask(fd, attached, problem);
		close(fd);
	}
	if (err != -ECONNRESET)
		return err;
	/* Its process is gone; looking for it cleans up. */
	if (disk_attached_find(attached->file, &left))
		return 0;
	err = disk_problem_say(problem, left->device ? left->device : left->file, -EBUSY,
		"the process that served it was killed, and it is still in use; unmount it first");
	disk_attached_free(left, 1);
	return err;
}
