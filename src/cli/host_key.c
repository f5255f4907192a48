/*
 * host_key.c - partita host-key: the key by which guests know this host.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/session.h"

/* Whether they are there then, opening the file says. */
static void make_directories(char *path, mode_t mode)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(path, mode);
		*slash = '/';
	}
	mkdir(path, mode);
}

/* Root's is the host's; others have one of their own. NULL: there is no place for it. */
static char *own_key_path(void)
{
	const char *home = getenv("HOME"), *config = getenv("XDG_CONFIG_HOME");
	char *directory = NULL, *path = NULL;
	int n = -1;

	if (geteuid() == 0)
		n = asprintf(&directory, "/etc/partita");
	else if (config && config[0])
		n = asprintf(&directory, "%s/partita", config);
	else if (home)
		n = asprintf(&directory, "%s/.config/partita", home);
	if (n < 0)
		return NULL;
	make_directories(directory, geteuid() == 0 ? 0755 : 0700);
	if (asprintf(&path, "%s/host.key", directory) < 0)
		path = NULL;
	free(directory);
	return path;
}

int session_own_key(struct session_key *key, const char *path, bool needed)
{
	char *own = path ? NULL : own_key_path();
	int err = path || own ? session_key_open(key, path ? path : own) : -ENOENT;

	if (err && (needed || err == -EPERM || err == -EINVAL))
		log_error("%s: %s",
			path  ? path
			: own ? own
			      : "the host's key",
			err == -EPERM	 ? "is not yours alone: chown and chmod 600 it"
			: err == -EINVAL ? "has no Ed25519 key"
					 : strerror(-err));
	free(own);
	if (err && !needed && err != -EPERM && err != -EINVAL)
		err = 0;
	return err;
}

static const char help[] = "Usage: partita host-key [OPTION]...\n"
			   "\n"
			   "Show the fingerprint of the key by which guests know this host: for "
			   "require-host-key in the\n"
			   "agent.conf of a guest. The key is made when it is not there.\n"
			   "\n"
			   "  --host-key FILE  the key's file, instead of your own\n"
			   "  --help           this help\n";

struct arguments {
	struct session_wish session;
};

static const struct cli_option options[] = {
	SESSION_HOST_KEY_OPTION,
	{0},
};

static const struct cli_syntax syntax = {.command = "host-key", .help = help, .options = options};

int cli_host_key(int argc, char **argv)
{
	struct arguments a = {0};
	struct session_key key;
	int status = cli_options(&syntax, argc, argv, &a);

	if (status != CLI_GO_ON)
		return status;
	if (session_own_key(&key, a.session.host_key, true))
		return CLI_FAILURE;
	puts(key.fingerprint);
	session_key_close(&key);
	return 0;
}
