/*
 * machine.c - see machine.h.
 */
#include "cli/machine.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/pass.h"
#include "base/rundir.h"
#include "cli/cli.h"
#include "worker/control.h"

/* Where the machine listens; with @make its directory is made. *@path is the caller's. */
static int socket_path(const char *name, bool make, char **path)
{
	char *directory;
	int err;

	if (!name[0] || strchr(name, '/') || name[0] == '.')
		return -EINVAL;
	err = make ? rundir_make("machines", &directory) : rundir_path("machines", &directory);
	if (err)
		return err;
	err = asprintf(path, "%s/%s", directory, name) < 0 ? -ENOMEM : 0;
	free(directory);
	return err;
}

/* Does somebody listen there? Connects for that, or says why not with a negative errno. */
static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, err = 0;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
		err = -errno;
		close(fd);
	}
	return err ? err : fd;
}

int cli_machine_listen(const char *name, bool must)
{
	mode_t mask;
	char *at;
	int fd, err = socket_path(name, true, &at);

	if (err && must)
		log_error("--name %s: %s%s", name,
			err == -EINVAL ? "a name has no '/' and does not begin with '.'"
				       : strerror(-err),
			err == -ENOENT ? "; XDG_RUNTIME_DIR must name a directory" : "");
	if (err)
		return -1;
	fd = connect_to(at);
	if (fd >= 0) {
		close(fd);
		if (must)
			log_error("--name %s: a machine of that name is running", name);
		free(at);
		return -1;
	}
	mask = umask(0177);
	fd = cli_listen("the control socket", at, 8);
	umask(mask);
	free(at);
	return fd;
}

static bool send_request(int fd, const char *text, const int *fds, unsigned n)
{
	size_t left = strlen(text);

	while (left) {
		ssize_t sent = pass_send(fd, text, left, fds, n);

		if (sent < 0)
			return false;
		text += sent;
		left -= (size_t)sent;
		n = 0;
	}
	return true;
}

struct listener {
	bool (*hear)(void *ctx, struct json_object *line);
	void *ctx;
};

/* A line: progress, or the reply, which this returns. *on becomes false when there is no use in
 * more. */
static struct json_object *take_line(const char *line, const struct listener *l, bool *on)
{
	struct json_object *json = json_tokener_parse(line), *progress;

	*on = false;
	if (!l->hear || !json_object_object_get_ex(json, "progress", &progress))
		return json;
	*on = l->hear(l->ctx, progress);
	json_object_put(json);
	return NULL;
}

/* The reply; NULL: it did not come. */
static struct json_object *receive_reply(int fd, const struct listener *l)
{
	struct json_object *reply = NULL;
	char *line = calloc(1, CONTROL_LINE + 1), *end;
	size_t have = 0;
	bool on = line;
	ssize_t n;

	while (on && have < CONTROL_LINE && (n = read(fd, line + have, CONTROL_LINE - have)) > 0) {
		have += (size_t)n;
		while (on && (end = memchr(line, '\n', have))) {
			*end++ = 0;
			reply = take_line(line, l, &on);
			have -= (size_t)(end - line);
			memmove(line, end, have);
		}
	}
	free(line);
	return reply;
}

struct json_object *cli_machine_hear(const char *name, struct json_object *request, const int *fds,
	unsigned n_fds, bool (*hear)(void *ctx, struct json_object *line), void *ctx)
{
	const struct listener listener = {hear, ctx};
	char *path = NULL, *line = NULL;
	int err = socket_path(name, false, &path), fd = err ? err : connect_to(path);
	struct json_object *reply = NULL, *error;

	free(path);
	if (fd < 0) {
		log_error("no machine '%s' is running%s", name,
			fd == -EACCES ? " that you may control" : "");
		return NULL;
	}
	if (asprintf(&line, "%s\n",
		    json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN)) >= 0 &&
		send_request(fd, line, fds, n_fds))
		reply = receive_reply(fd, &listener);
	free(line);
	close(fd);
	if (!reply) {
		log_error("the machine '%s' did not answer", name);
	} else if (json_object_object_get_ex(reply, "error", &error)) {
		log_error("%s: %s", name, json_object_get_string(error));
		json_object_put(reply);
		reply = NULL;
	}
	return reply;
}

struct json_object *cli_machine_ask(
	const char *name, struct json_object *request, const int *fds, unsigned n_fds)
{
	return cli_machine_hear(name, request, fds, n_fds, NULL, NULL);
}
