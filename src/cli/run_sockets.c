/*
 * run_sockets.c - see run_sockets.h.
 */
#include "cli/run_sockets.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/guid.h"
#include "base/log.h"
#include "base/rundir.h"
#include "cli/cli.h"
#include "cli/machines.h"
#include "hvsocket/places.h"
#include "worker/worker.h"

#define BACKLOG 4096 /* as far as the host allows */

bool run_sockets_id(const char *option, const char *value, void *sockets)
{
	struct run_sockets *s = sockets;

	s->id_given = guid_parse(value, &s->id) && hv_is_machine(&s->id);
	if (!s->id_given)
		log_error("%s %s: give a GUID that is not one of hvsocket.h's", option, value);
	return s->id_given;
}

bool run_sockets_cid(const char *option, const char *value, void *sockets)
{
	uint64_t cid;

	if (cli_parse_count(value, UINT32_MAX - 1, &cid) || cid < MACHINES_CID_FIRST) {
		log_error("%s %s: a machine's vsock context is a number from %u on", option, value,
			MACHINES_CID_FIRST);
		return false;
	}
	((struct run_sockets *)sockets)->cid = (uint32_t)cid;
	return true;
}

static void remember(struct run_sockets *s, const char *path)
{
	unsigned n = 0;

	while (s->paths[n])
		n++;
	s->paths[n] = (char *)path;
}

/* Who may connect is said by the registry of services, so others reach the socket, too. */
static int listen_for_all(const char *what, const char *path)
{
	int fd = cli_listen(what, path, BACKLOG);

	if (fd >= 0)
		chmod(path, 0666);
	return fd;
}

/* The number is the machine's when the link is. */
static bool take_cid(struct run_sockets *s, const char *base)
{
	char target[GUID_TEXT];
	bool chosen = s->cid;

	guid_format(&s->id, target);
	if (!chosen)
		s->cid = MACHINES_CID_FIRST;
	for (;; s->cid++) {
		hv_place_cid(base, s->cid, s->cid_path);
		if (symlink(target, s->cid_path) == 0) {
			remember(s, s->cid_path);
			return true;
		}
		if (errno != EEXIST || chosen)
			break;
	}
	if (errno == EEXIST)
		log_error("--cid %u: another machine has that vsock context; see 'partita list'",
			s->cid);
	else
		log_error("cannot make %s: %s", s->cid_path, strerror(errno));
	return false;
}

static bool take_place(struct run_sockets *s, struct worker_config *config, const char *base)
{
	hv_place_machine(base, &s->id, s->machine_path);
	config->socket_fds[WORKER_SOCKET_MACHINE] =
		listen_for_all("the machine's socket", s->machine_path);
	if (config->socket_fds[WORKER_SOCKET_MACHINE] < 0)
		return false;
	remember(s, s->machine_path);
	if (!take_cid(s, base))
		return false;
	if (!machines_describe(base, &s->id, config->name, s->cid, s->entry_path)) {
		log_error("cannot write %s: %s", s->entry_path, strerror(errno));
		return false;
	}
	remember(s, s->entry_path);
	return true;
}

static bool find_place(struct run_sockets *s, struct worker_config *config)
{
	char base[PATH_MAX];
	bool must = s->id_given || s->cid;
	int err = rundir_own(base) ? hv_place_make(base) : -ENOENT;

	if (!err) {
		machines_clean(base);
		return take_place(s, config, base);
	}
	if (must)
		log_error(
			"no directory for the machine's socket: %s; XDG_RUNTIME_DIR must name one",
			strerror(-err));
	return !must;
}

static bool start_broker(struct run_sockets *s, struct worker_config *config)
{
	int err;

	s->broker = (struct broker_config){.name = config->name,
		.vm = s->id,
		.owner = config->owner,
		.hybrid = s->hybrid,
		.paths = s->paths};
	err = broker_start(&s->broker, &config->broker_fd);
	if (err)
		log_error("cannot start a process that looks for services: %s", strerror(-err));
	return !err;
}

static void remove_all(struct run_sockets *s)
{
	for (char **path = s->paths; *path; path++)
		unlink(*path);
}

bool run_sockets_open(struct run_sockets *s, struct worker_config *config)
{
	bool done;

	if (!s->id_given)
		guid_new(&s->id);
	config->owner = geteuid();
	done = find_place(s, config);
	if (done && s->hybrid) {
		config->socket_fds[WORKER_SOCKET_HYBRID] =
			cli_listen("the vsock socket", s->hybrid, BACKLOG);
		done = config->socket_fds[WORKER_SOCKET_HYBRID] >= 0;
		if (done)
			remember(s, s->hybrid);
	}
	done = done && start_broker(s, config);
	if (!done)
		remove_all(s);
	config->id = s->id;
	config->cid = s->cid;
	return done;
}
