/*
 * session_connect.c - from a machine's name to a session with its guest's agent: the connection,
 * the relay, this host's key.
 */
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

#include "base/guid.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/machines.h"
#include "cli/session.h"
#include "hvsocket/address.h"
#include "hvsocket/connect.h"
#include "session/relay.h"

#define CONNECT_TIME 10000 /* ms: the guest may be busy */

bool session_take_user(const char *option, const char *value, void *user)
{
	*(const char **)user = value;
	if (value[0] && strlen(value) <= SESSION_USER_MAX)
		return true;
	log_error("%s: a name has 1 to %u bytes", option, SESSION_USER_MAX);
	return false;
}

bool session_take_agent_key(const char *option, const char *value, void *wish)
{
	if (session_fingerprint_parse(value, ((struct session_wish *)wish)->agent_key))
		return true;
	log_error("%s %s: no fingerprint; 'partita-agent --fingerprint' in the guest shows it",
		option, value);
	return false;
}

/* ---- The connection -------------------------------------------------------------------------- */

/* A socket on this host behind which an agent listens: "unix:PATH". */
static int connect_unix(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path)) {
		log_error("%s: the path is too long", path);
	} else {
		strcpy(address.sun_path, path);
		if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		log_error("%s: %s", path, strerror(errno));
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

/* A machine that runs, by its name. */
static bool find_machine(const char *name, GUID *id)
{
	unsigned n, i;
	struct machines_entry *list = machines_list(&n);

	for (i = 0; i < n && strcmp(list[i].name, name) != 0; i++)
		;
	if (i < n)
		*id = list[i].id;
	else
		log_error("no machine '%s' is running", name);
	machines_free(list, n);
	return i < n;
}

int session_connect(const char *vm)
{
	const GUID service = hv_service_of_port(SESSION_PORT);
	GUID id;
	int fd;

	if (strncmp(vm, "unix:", 5) == 0)
		return connect_unix(vm + 5);
	if (!guid_parse(vm, &id) && !find_machine(vm, &id))
		return -1;
	fd = hv_connect(&id, &service, CONNECT_TIME);
	if (fd >= 0)
		return fd;
	switch (fd) {
	case -ENETUNREACH:
	case -EADDRNOTAVAIL:
		log_error("no machine '%s' is running", vm);
		break;
	case -ECONNREFUSED:
		log_error("%s: its guest runs no partita-agent; see partita-enter(1)", vm);
		break;
	case -ETIMEDOUT:
		log_error("%s: its guest does not answer: it hangs, or has not loaded hv_sock; "
			  "'partita guest %s heartbeat' tells more",
			vm, vm);
		break;
	default:
		log_error("%s: no connection to its guest: %s", vm, strerror(-fd));
	}
	return -1;
}

/* ---- The session ----------------------------------------------------------------------------- */

static bool open_answers(struct session *s, const char *file)
{
	s->answers = -1;
	if (file && strcmp(file, "-") == 0)
		s->answers = STDIN_FILENO;
	else if (file)
		s->answers = open(file, O_RDONLY | O_CLOEXEC);
	if (!file || s->answers >= 0)
		return true;
	log_error("%s: %s", file, strerror(errno));
	return false;
}

static bool start_relay(struct session *s)
{
	int err, wire = session_connect(s->vm);

	if (wire < 0)
		return false;
	err = relay_start(false, wire, &s->packets, &s->relay);
	if (err)
		log_error("%s: %s", s->vm, strerror(-err));
	return !err;
}

/* After the relay was forked, which has no part in the key. */
static bool log_in(struct session *s, const struct session_wish *w, const char *user)
{
	struct session_key key = {0};
	bool ok = session_own_key(&key, w->host_key, w->host_key) == 0 &&
		  session_log_in(s, user, &key, w->agent_key);

	session_key_close(&key);
	return ok;
}

bool session_open(struct session *s, const struct session_wish *w)
{
	const struct passwd *me;
	const char *user = w->user;

	s->vm = w->vm;
	s->packets = s->signals = -1;
	s->status = SESSION_STATUS_LOST;
	if (!user) {
		me = getpwuid(getuid());
		user = me ? me->pw_name : NULL;
	}
	if (!user) {
		log_error("you have no name here; give --user");
		return false;
	}
	signal(SIGPIPE, SIG_IGN);
	return open_answers(s, w->password_file) && start_relay(s) && log_in(s, w, user);
}

void session_close(struct session *s)
{
	if (s->answers > STDIN_FILENO)
		close(s->answers);
	if (s->packets < 0)
		return;
	close(s->packets);
	while (waitpid(s->relay, NULL, 0) < 0 && errno == EINTR)
		;
}
