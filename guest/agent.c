/*
 * agent.c - partita-agent: listens in a guest for the host's direct sessions. Under systemd it is
 * given its socket (LISTEN_FDS, sd_listen_fds(3)); started otherwise it opens it. See
 * docs/session.md.
 */
#include <errno.h>
#include <getopt.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

#include "log.h"
#include "login.h"

#define CONFIG	  "/etc/partita/agent.conf"
#define KEY	  "/var/lib/partita/agent.key"
#define PASSED_FD 3   /* the first socket that systemd gives */
#define NEWCOMERS 16u /* connections whose user is not accepted yet */
#define BACKLOG	  16

struct agent {
	struct settings settings;
	const char *key, *confdir;
	int listening, signals;
	int accepted[2];
	struct child {
		pid_t pid;
		bool accepted;
	} * children; /* settings.sessions of them */
	unsigned n_children, n_newcomers;
	bool full; /* and that was logged */
};

static const char help[] =
	"Usage: partita-agent [OPTION]...\n"
	"\n"
	"Serve the host's direct sessions (partita enter, exec, copy) in this guest.\n"
	"\n"
	"  --config FILE   settings (default " CONFIG ")\n"
	"  --key FILE      the agent's key, made at first start (default " KEY ")\n"
	"  --pam-dir DIR   where PAM's service 'partita' is defined (default: the system's)\n"
	"  --stderr        say on standard error, too, what is logged\n"
	"  --fingerprint   show the key's fingerprint, and end\n"
	"  --help, --version\n"
	"\n"
	"The host reaches it at vsock port 825. A socket that systemd gives is used instead.\n";

/* ---- Connections ----------------------------------------------------------------------------- */

/* Who is at the other end, for the log. False: somebody who is not the host. */
static bool identify(int fd, char *name, size_t size)
{
	union {
		struct sockaddr any;
		struct sockaddr_vm vm;
		struct sockaddr_storage room;
	} peer = {0};
	socklen_t length = sizeof(peer);

	if (getpeername(fd, &peer.any, &length) || peer.any.sa_family != AF_VSOCK) {
		snprintf(name, size, "a local socket");
		return true;
	}
	snprintf(name, size, "vsock:%u:%u", peer.vm.svm_cid, peer.vm.svm_port);
	return peer.vm.svm_cid == VMADDR_CID_HOST;
}

/* In a process of its own; does not return. */
static void serve(struct agent *a, struct connection *c)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_IGN);
	close(a->listening);
	close(a->signals);
	close(a->accepted[0]);
	login_serve(c);
	_exit(0);
}

static void start_child(struct agent *a, struct connection *c)
{
	pid_t pid = fork();

	if (pid == 0)
		serve(a, c);
	if (pid < 0) {
		agent_log(LOG_ERR, "cannot serve %s: %m", c->peer);
		return;
	}
	a->children[a->n_children++] = (struct child){.pid = pid};
	a->n_newcomers++;
}

static void accept_one(struct agent *a)
{
	struct connection c = {
		.settings = &a->settings,
		.key = a->key,
		.confdir = a->confdir,
		.wire = accept4(a->listening, NULL, NULL, SOCK_CLOEXEC),
		.accepted = a->accepted[1],
	};
	bool full = a->n_children >= a->settings.sessions || a->n_newcomers >= NEWCOMERS;

	if (c.wire < 0)
		return;
	if (!identify(c.wire, c.peer, sizeof(c.peer)))
		agent_log(LOG_NOTICE, "%s is not the host: not served", c.peer);
	else if (!full)
		start_child(a, &c);
	else if (!a->full)
		agent_log(LOG_WARNING, "%u sessions and logins: more are turned away", a->n_children);
	a->full = full;
	close(c.wire);
}

static struct child *find_child(struct agent *a, pid_t pid)
{
	for (unsigned i = 0; i < a->n_children; i++)
		if (a->children[i].pid == pid)
			return &a->children[i];
	return NULL;
}

static void note_accepted(struct agent *a)
{
	struct child *child;
	pid_t pid;

	if (read(a->accepted[0], &pid, sizeof(pid)) != sizeof(pid))
		return;
	child = find_child(a, pid);
	if (child && !child->accepted) {
		child->accepted = true;
		a->n_newcomers--;
	}
}

static void reap(struct agent *a)
{
	struct signalfd_siginfo info;
	struct child *child;
	pid_t pid;

	while (read(a->signals, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		child = find_child(a, pid);
		if (!child)
			continue;
		if (!child->accepted)
			a->n_newcomers--;
		*child = a->children[--a->n_children];
	}
}

static int serve_all(struct agent *a)
{
	for (;;) {
		struct pollfd fds[] = {
			{a->signals, POLLIN, 0},
			{a->accepted[0], POLLIN, 0},
			{a->listening, POLLIN, 0},
		};

		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			return EXIT_FAILURE;
		/* First what has been said of children that may be gone by now. */
		if (fds[1].revents)
			note_accepted(a);
		else if (fds[0].revents)
			reap(a);
		else if (fds[2].revents)
			accept_one(a);
	}
}

/* ---- Starting -------------------------------------------------------------------------------- */

/* systemd's socket, if there is one for us. */
static int passed_socket(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");

	int listens = 0;
	socklen_t size = sizeof(listens);

	if (!pid || !fds || atol(pid) != getpid() || atoi(fds) < 1)
		return -1;
	if (getsockopt(PASSED_FD, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) || !listens) {
		agent_log(LOG_ERR, "LISTEN_FDS: descriptor %d does not listen", PASSED_FD);
		return -1;
	}
	fcntl(PASSED_FD, F_SETFD, FD_CLOEXEC);
	return PASSED_FD;
}

static int open_socket(void)
{
	const struct sockaddr_vm address = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = SESSION_PORT};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		agent_log(LOG_ERR, "no AF_VSOCK: %m; is the module hv_sock loaded?");
	else if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) ||
		 listen(fd, BACKLOG))
		agent_log(LOG_ERR, "vsock port %u: %m", SESSION_PORT);
	else
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/*
 * The fingerprint of the agent's key, which is made when there is none. The key itself is not kept:
 * what serves a connection reads it where it is needed.
 */
static bool identify_self(const char *path, char fingerprint[SESSION_FINGERPRINT])
{
	struct session_key key;
	int err;

	if (strcmp(path, KEY) == 0)
		mkdir("/var/lib/partita", 0755);
	err = session_key_open(&key, path);
	strcpy(fingerprint, key.fingerprint);
	session_key_close(&key);
	if (err)
		agent_log(LOG_ERR, "%s: %s", path,
			err == -EPERM	 ? "others may read it; chmod 600 it, or delete it"
			: err == -EINVAL ? "has no Ed25519 key; delete it to have a new one"
					 : strerror(-err));
	return !err;
}

static bool start(struct agent *a)
{
	sigset_t child;

	a->listening = passed_socket();
	if (a->listening < 0)
		a->listening = open_socket();
	a->children = calloc(a->settings.sessions, sizeof(*a->children));
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	a->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (a->listening < 0 || !a->children || a->signals < 0 || pipe2(a->accepted, O_CLOEXEC))
		return false;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return true;
}

int main(int argc, char **argv)
{
	enum { CONFIG_FILE = 256, KEY_FILE, PAM_DIR, TO_STDERR, FINGERPRINT, HELP, VERSION };
	static const struct option options[] = {
		{"config", required_argument, NULL, CONFIG_FILE},
		{"key", required_argument, NULL, KEY_FILE},
		{"pam-dir", required_argument, NULL, PAM_DIR},
		{"stderr", no_argument, NULL, TO_STDERR},
		{"fingerprint", no_argument, NULL, FINGERPRINT},
		{"help", no_argument, NULL, HELP},
		{"version", no_argument, NULL, VERSION},
		{0},
	};
	const char *config = CONFIG;
	struct agent a = {.key = KEY};
	char fingerprint[SESSION_FINGERPRINT];
	bool to_stderr = false, show = false;
	int code;

	while ((code = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (code) {
		case CONFIG_FILE:
			config = optarg;
			break;
		case KEY_FILE:
			a.key = optarg;
			break;
		case PAM_DIR:
			a.confdir = optarg;
			break;
		case TO_STDERR:
			to_stderr = true;
			break;
		case FINGERPRINT:
			show = to_stderr = true;
			break;
		case HELP:
			fputs(help, stdout);
			return 0;
		case VERSION:
			puts("partita-agent " PARTITA_VERSION);
			return 0;
		default:
			return 2;
		}
	}
	log_open(to_stderr);
	if (!identify_self(a.key, fingerprint))
		return EXIT_FAILURE;
	if (show)
		return puts(fingerprint) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	if (settings_read(&a.settings, config) || !start(&a)) {
		settings_free(&a.settings);
		return EXIT_FAILURE;
	}
	agent_log(LOG_INFO, "serving direct sessions; its key is %s", fingerprint);
	return serve_all(&a);
}
