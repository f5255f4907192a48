/*
 * broker.c - see broker.h.
 *
 * A guest's connection goes to the first of these that there is:
 * - a program that listens for this machine, for all machines (children), or for everybody: a Unix
 *   socket (places.h) whose owner the registry lets serve;
 * - what the registry says to do: another Unix socket, or a program to be started, which gets the
 *   connection as its standard input and output;
 * - the hybrid form's Unix socket for the vsock port.
 * Our end of a Unix socket is bound to a name that tells the other end who connects (address.h).
 */
#include "hvsocket/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/guid.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/pass.h"
#include "base/rundir.h"
#include "hvsocket/places.h"
#include "hvsocket/services.h"

#define RETRY	  10u /* ms between attempts at a listener whose queue is full */
#define NS_PER_MS 1000000ull

struct waiting {
	struct broker_question question;
	uint64_t until; /* 0: this place is free */
};

/*
 * A file that is removed at the end, if it is still the same. Another that has come to its path may
 * have been given the inode that the first one left; when they were made tells them apart.
 */
struct place {
	const char *path;
	struct statx file;
};

struct broker {
	const struct broker_config *config;
	struct place places[BROKER_PATHS];
	struct services *services;
	int fd;
	int children; /* a signalfd: programs have ended */
	unsigned programs;
	unsigned n_waiting;
	struct waiting waiting[BROKER_WAITING];
};

/* ---- Answers --------------------------------------------------------------------------------- */

static void answer(struct broker *b, const struct broker_question *q, int err, int given)
{
	struct broker_answer a = {.tag = q->tag, .err = err};

	/* When it cannot be sent the machine is gone, which the next look at the socket says. */
	pass_send(b->fd, &a, sizeof(a), &given, given >= 0);
	if (given >= 0)
		close(given);
}

/* ---- Who listens ----------------------------------------------------------------------------- */

/* The guest's end of a connection. */
static struct hv_address guest_end(const struct broker *b, const struct broker_question *q)
{
	return (struct hv_address){.vm = b->config->vm, .service = q->endpoint};
}

/* Connects to a Unix socket. Returns a descriptor; -EAGAIN: its queue is full; or why not. */
static int connect_to(const struct broker *b, const struct broker_question *q, const char *path)
{
	struct hv_address end = guest_end(b, q);
	int fd, err;

	/* Most places that are looked at are empty, and no socket need be made to see that. */
	if (access(path, F_OK))
		return -errno;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = hv_address_bind(fd, &end);
	if (!err)
		err = hv_place_connect(fd, path);
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* The same, where any user may listen: the registry says whether this one does for this guest. */
static int connect_to_listener(const struct broker *b, const struct broker_question *q,
	const struct service *service, const char *path)
{
	struct ucred who;
	socklen_t length = sizeof(who);
	int fd = connect_to(b, q, path);

	if (fd < 0)
		return fd;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) == 0 &&
		service_may_serve(service, who.uid, b->config->owner, &b->config->vm))
		return fd;
	close(fd);
	return -EACCES;
}

static int find_listener(
	const struct broker *b, const struct broker_question *q, const struct service *service)
{
	const GUID *scopes[] = {&b->config->vm, &hv_children, &hv_zero};
	char base[PATH_MAX], path[PATH_MAX];
	int fd = -ECONNREFUSED;

	if (!rundir_look(0, base))
		return -ECONNREFUSED;
	for (unsigned i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
		hv_place_listener(base, scopes[i], &q->service, path);
		fd = connect_to_listener(b, q, service, path);
		if (fd >= 0 || fd == -EAGAIN)
			return fd;
	}
	return -ECONNREFUSED;
}

/* ---- Programs -------------------------------------------------------------------------------- */

static void set_guid(const char *variable, const GUID *value)
{
	char text[GUID_TEXT];

	setenv(variable, guid_format(value, text), 1);
}

static void __attribute__((noreturn)) become(const struct broker *b,
	const struct broker_question *q, const struct service *service, int fd)
{
	sigset_t none;

	setsid();
	signal(SIGINT, SIG_DFL);
	signal(SIGQUIT, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	set_guid("PARTITA_VM_ID", &b->config->vm);
	set_guid("PARTITA_SERVICE_ID", &q->service);
	set_guid("PARTITA_PEER_SERVICE_ID", &q->endpoint);
	if (dup2(fd, STDIN_FILENO) >= 0 && dup2(fd, STDOUT_FILENO) >= 0) {
		syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 0);
		execv(service->command[0], service->command);
	}
	log_error("%s: cannot start %s for service %s: %s", b->config->name, service->command[0],
		service->name, strerror(errno));
	_exit(127);
}

/* Returns the other end of the program's standard input and output; -EAGAIN: too many run. */
static int start_program(
	struct broker *b, const struct broker_question *q, const struct service *service)
{
	struct hv_address end = guest_end(b, q);
	int pair[2], err;
	pid_t child;

	if (b->programs == BROKER_PROGRAMS)
		return -EAGAIN;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	err = hv_address_bind(pair[0], &end);
	child = err ? -1 : fork();
	if (child == 0)
		become(b, q, service, pair[1]);
	if (child < 0 && !err)
		err = -errno;
	close(pair[1]);
	if (err) {
		close(pair[0]);
		return err;
	}
	b->programs++;
	return pair[0];
}

/* ---- Questions ------------------------------------------------------------------------------- */

/* The hybrid form has a Unix socket for each port. */
static int find_hybrid(const struct broker *b, const struct broker_question *q)
{
	char path[PATH_MAX];
	uint32_t port;

	if (!b->config->hybrid || !hv_port_of_service(&q->service, &port) ||
		snprintf(path, sizeof(path), "%s_%u", b->config->hybrid, port) >= PATH_MAX)
		return -ECONNREFUSED;
	return connect_to(b, q, path);
}

/* A descriptor; -EAGAIN: later perhaps; or a negative errno. */
static int find(struct broker *b, const struct broker_question *q)
{
	const struct service *service;
	int fd = services_lookup(b->services, &q->service, &service);

	if (fd || !service || !service->enabled ||
		!service_may_serve(service, b->config->owner, b->config->owner, &b->config->vm))
		return fd ? -EACCES : -ECONNREFUSED;
	fd = find_listener(b, q, service);
	if (fd >= 0 || fd == -EAGAIN)
		return fd;
	if (service->socket)
		return connect_to(b, q, service->socket);
	if (service->command)
		return start_program(b, q, service);
	return find_hybrid(b, q);
}

static int may_connect(struct broker *b, const struct broker_question *q)
{
	const struct service *service;

	if (services_lookup(b->services, &q->service, &service) ||
		!service_may_connect(service, q->uid, b->config->owner, &b->config->vm))
		return -EACCES;
	return 0;
}

/* A listener's queue is full, or too many programs run: the question waits, if there is room. */
static void wait_for(struct broker *b, const struct broker_question *q)
{
	for (unsigned i = 0; i < BROKER_WAITING; i++) {
		if (b->waiting[i].until)
			continue;
		b->waiting[i].question = *q;
		b->waiting[i].until = loop_now() + BROKER_PATIENCE * NS_PER_MS;
		b->n_waiting++;
		return;
	}
	answer(b, q, -ECONNREFUSED, -1);
}

static void consider(struct broker *b, const struct broker_question *q)
{
	int fd;

	switch (q->kind) {
	case BROKER_GUEST_CONNECTS:
		fd = find(b, q);
		if (fd == -EAGAIN)
			wait_for(b, q);
		else
			answer(b, q, fd < 0 ? fd : 0, fd);
		return;
	case BROKER_MAY_CONNECT:
		answer(b, q, may_connect(b, q), -1);
		return;
	default:
		answer(b, q, -EINVAL, -1);
	}
}

/* Those for a service that was tried in vain just now are not tried, but their time may be up. */
static void try_again(struct broker *b)
{
	const GUID *busy = NULL;

	for (unsigned i = 0; b->n_waiting && i < BROKER_WAITING; i++) {
		struct waiting *w = &b->waiting[i];
		int fd = -EAGAIN;

		if (!w->until)
			continue;
		if (!busy || !guid_equal(busy, &w->question.service))
			fd = find(b, &w->question);
		if (fd == -EAGAIN) {
			busy = &w->question.service;
			if (loop_now() < w->until)
				continue;
		}
		answer(b, &w->question, fd < 0 ? -ECONNREFUSED : 0, fd);
		w->until = 0;
		b->n_waiting--;
	}
}

static void reap(struct broker *b)
{
	struct signalfd_siginfo ended;

	/* One may stand for several. */
	while (read(b->children, &ended, sizeof(ended)) == sizeof(ended))
		;
	while (b->programs && waitpid(-1, NULL, WNOHANG) > 0)
		b->programs--;
}

/* False: the machine has ended. */
static bool hear(struct broker *b)
{
	struct broker_question q;
	ssize_t n = recv(b->fd, &q, sizeof(q), 0);

	if (n == sizeof(q))
		consider(b, &q);
	return n > 0 || (n < 0 && errno == EINTR);
}

/* Until the machine has ended. */
static void serve(struct broker *b)
{
	struct pollfd pfd[] = {
		{.fd = b->fd, .events = POLLIN}, {.fd = b->children, .events = POLLIN}};
	uint64_t tried = 0;

	for (;;) {
		int ready = poll(pfd, 2, b->n_waiting ? (int)RETRY : -1);

		if (ready > 0 && pfd[1].revents)
			reap(b);
		if (ready > 0 && pfd[0].revents && !hear(b))
			return;
		if (b->n_waiting && loop_now() - tried >= RETRY * NS_PER_MS) {
			try_again(b);
			tried = loop_now();
		}
	}
}

/* ---- The process ----------------------------------------------------------------------------- */

static int watch_children(struct broker *b)
{
	sigset_t ended;

	signal(SIGCHLD, SIG_DFL); /* whoever started the machine may ignore it */
	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	sigprocmask(SIG_BLOCK, &ended, NULL);
	b->children = signalfd(-1, &ended, SFD_NONBLOCK | SFD_CLOEXEC);
	return b->children < 0 ? -errno : 0;
}

/*
 * It keeps its socket and where messages go, and nothing else of what the machine has open: neither
 * disks nor a terminal. A key that interrupts the machine does not interrupt it.
 */
static int detach(int *fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, "partita-broker");
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
		dup3(*fd, STDERR_FILENO + 1, O_CLOEXEC) < 0)
		return -errno;
	*fd = STDERR_FILENO + 1;
	syscall(SYS_close_range, *fd + 1, ~0u, 0);
	return 0;
}

static bool look_at(const char *path, struct statx *file)
{
	return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, file) == 0;
}

/* A file system that does not keep when a file was made says zero. */
static bool same_file(const struct statx *a, const struct statx *b)
{
	return a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor &&
	       a->stx_ino == b->stx_ino && a->stx_btime.tv_sec == b->stx_btime.tv_sec &&
	       a->stx_btime.tv_nsec == b->stx_btime.tv_nsec;
}

static void note_places(struct broker *b)
{
	unsigned n = 0;

	for (char *const *path = b->config->paths; path && *path && n < BROKER_PATHS; path++)
		if (look_at(*path, &b->places[n].file))
			b->places[n++].path = *path;
}

/* Another machine may have come since, which has the same ID or takes the same path. */
static void remove_places(const struct broker *b)
{
	struct statx now;

	for (unsigned i = 0; i < BROKER_PATHS && b->places[i].path; i++) {
		const struct place *p = &b->places[i];

		if (look_at(p->path, &now) && same_file(&now, &p->file))
			unlink(p->path);
	}
}

static void __attribute__((noreturn)) broker_main(const struct broker_config *config, int fd)
{
	struct broker *b = calloc(1, sizeof(*b));
	int err = b ? detach(&fd) : -ENOMEM;

	if (!err) {
		b->config = config;
		b->fd = fd;
		note_places(b);
		b->services = services_open(NULL);
		err = b->services ? watch_children(b) : -ENOMEM;
	}
	if (err)
		log_error("%s: nobody will find services of the host for the guest: %s",
			config->name, strerror(-err));
	else
		serve(b);
	if (!err)
		remove_places(b);
	_exit(err ? 1 : 0);
}

int broker_start(const struct broker_config *config, int *fd)
{
	int pair[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	child = fork();
	if (child == 0) {
		close(pair[0]);
		broker_main(config, pair[1]);
	}
	close(pair[1]);
	if (child < 0) {
		int err = -errno;

		close(pair[0]);
		return err;
	}
	*fd = pair[0];
	return 0;
}

int broker_receive(int fd, struct broker_answer *a, int *given)
{
	unsigned n_given = 1;
	ssize_t n = pass_receive(fd, a, sizeof(*a), given, &n_given);

	if (!n_given)
		*given = -1;
	if (n == sizeof(*a))
		return 1;
	if (*given >= 0)
		close(*given);
	*given = -1;
	return n == -EAGAIN ? 0 : -EPIPE;
}
