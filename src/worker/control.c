/*
 * control.c - see control.h. Requests are answered on the main thread, one after the other. Clients
 * that are slow make nobody else wait for long: when there are too many, they are sent away.
 */
#include "worker/control.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/guid.h"
#include "base/pass.h"
#include "worker/machine.h"
#include "worker/services.h"

#define CLIENTS	 8u	     /* whose request is not there yet */
#define WAITING	 32u	     /* whose answer is not */
#define PATIENCE 2000000000u /* nanoseconds that a client may let others wait */

struct control_client {
	struct control *control;
	struct loop_watch *watch;
	int fd;
	bool deferred;
	void (*gone)(void *ctx); /* of a deferred one */
	void *ctx;
	size_t have; /* of the request */
	unsigned n_fds;
	int fds[CONTROL_FDS];
	char line[CONTROL_LINE];
};

struct control {
	struct machine *machine;
	struct loop_watch *watch;
	struct loop_timer *patience; /* armed while no client more can be taken: see rest() */
	int fd;
	unsigned n_clients, n_waiting;
	struct control_client *clients[CLIENTS], *waiting[WAITING];
};

static void identify(struct machine *m, struct control_request *r)
{
	char id[GUID_TEXT];

	guid_format(&m->config->id, id);
	json_object_object_add(r->reply, "id", json_object_new_string(id));
	json_object_object_add(r->reply, "cid", json_object_new_int64(m->config->cid));
}

static const struct {
	const char *name;
	void (*run)(struct machine *m, struct control_request *r);
} commands[] = {
	{"id", identify},
	{"attach-disk", disks_attach_request},
	{"detach-disk", disks_detach_request},
	{"resize-disk", disks_resize_request},
	{"disks", disks_list_request},
	{"services", services_list_request},
	{"enable-service", services_enable_request},
	{"disable-service", services_disable_request},
	{"heartbeat", services_heartbeat_request},
	{"set-time", services_time_request},
	{"shutdown", services_shutdown_request},
	{"kvp-get", services_kvp_get_request},
	{"kvp-set", services_kvp_set_request},
	{"kvp-delete", services_kvp_delete_request},
	{"kvp-list", services_kvp_list_request},
	{"ip-get", services_ip_get_request},
	{"ip-set", services_ip_set_request},
	{"check-backup", services_check_backup_request},
	{"freeze", services_freeze_request},
	{"thaw", services_thaw_request},
	{"copy-file", services_copy_file_request},
};

int control_error(struct control_request *r, const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	json_object_object_add(r->reply, "error", json_object_new_string(text));
	return -1;
}

/* No client more can be taken now: the others wait until one is done, or all had their chance. */
static void rest(struct control *control)
{
	loop_watch_change(control->watch, 0);
	loop_timer_arm(control->patience, loop_now() + PATIENCE, 0);
}

static void resume(struct control *control)
{
	loop_timer_disarm(control->patience);
	loop_watch_change(control->watch, EPOLLIN);
}

static void take_out(struct control_client *c, struct control_client **list, unsigned *n)
{
	for (unsigned i = 0; i < *n; i++)
		if (list[i] == c)
			list[i] = list[--*n];
}

/* Others may have its place among those whose request is awaited. */
static void make_room(struct control_client *c)
{
	struct control *control = c->control;

	take_out(c, control->clients, &control->n_clients);
	resume(control);
}

static void client_destroy(struct control_client *c)
{
	if (c->deferred)
		take_out(c, c->control->waiting, &c->control->n_waiting);
	else
		make_room(c);
	for (unsigned i = 0; i < c->n_fds; i++)
		if (c->fds[i] >= 0)
			close(c->fds[i]);
	loop_watch_destroy(c->watch);
	close(c->fd);
	free(c);
}

/* A client that was deferred leaves before its answer came. */
static void client_leaves(struct control_client *c)
{
	if (c->deferred)
		c->gone(c->ctx);
	client_destroy(c);
}

/* None of them was done since the last one came, and others wait perhaps: they had their chance. */
static void out_of_patience(void *ctx)
{
	struct control *control = ctx;

	while (control->n_clients)
		client_destroy(control->clients[0]);
	resume(control);
}

static void run(struct control *control, struct control_request *r)
{
	struct json_object *name;

	if (!json_object_object_get_ex(r->json, "command", &name) ||
		!json_object_is_type(name, json_type_string)) {
		control_error(r, "the request names no command");
		return;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, json_object_get_string(name)) == 0) {
			commands[i].run(control->machine, r);
			return;
		}
	control_error(r, "the machine has no command '%s'", json_object_get_string(name));
}

/* A line fits the socket's buffer; a client that does not take it loses it. */
static void send_line(struct control_client *c, struct json_object *json)
{
	const char *text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN);

	if (send(c->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE) > 0)
		send(c->fd, "\n", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* True: the client waits for its answer, which comes later. */
static bool answer(struct control_client *c)
{
	struct json_object *json = json_tokener_parse(c->line);
	struct control_request r = {.json = json,
		.fds = c->fds,
		.n_fds = c->n_fds,
		.reply = json_object_new_object(),
		.client = c};

	if (json_object_is_type(json, json_type_object))
		run(c->control, &r);
	else
		control_error(&r, "the request is not a JSON object");
	if (!c->deferred)
		send_line(c, r.reply);
	json_object_put(r.reply);
	json_object_put(json);
	return c->deferred;
}

struct control_client *control_defer(struct control_request *r, void (*gone)(void *ctx), void *ctx)
{
	struct control_client *c = r->client;
	struct control *control = c->control;

	if (control->n_waiting == WAITING) {
		control_error(r, "%u requests wait for the guest already", WAITING);
		return NULL;
	}
	make_room(c);
	control->waiting[control->n_waiting++] = c;
	c->deferred = true;
	c->gone = gone;
	c->ctx = ctx;
	return c;
}

void control_progress(struct control_client *c, struct json_object *line)
{
	int unread;

	/* Only whole lines, and always room for the answer. */
	if (ioctl(c->fd, SIOCOUTQ, &unread) == 0 && !unread)
		send_line(c, line);
	json_object_put(line);
}

void control_answer(struct control_client *c, struct json_object *reply)
{
	send_line(c, reply);
	json_object_put(reply);
	client_destroy(c);
}

static void client_ready(void *ctx, uint32_t events)
{
	struct control_client *c = ctx;
	unsigned n_fds = CONTROL_FDS - c->n_fds;
	ssize_t n = pass_receive(
		c->fd, c->line + c->have, sizeof(c->line) - 1 - c->have, c->fds + c->n_fds, &n_fds);
	char *end;

	if (n == -EAGAIN)
		return;
	c->n_fds += n_fds;
	if (n > 0 && !c->deferred) {
		end = memchr(c->line + c->have, '\n', (size_t)n);
		c->have += (size_t)n;
		if (!end && c->have < sizeof(c->line) - 1)
			return;
		if (end) {
			*end = 0;
			if (answer(c))
				return;
		}
	}
	client_leaves(c);
}

static void accept_ready(void *ctx, uint32_t events)
{
	struct control *control = ctx;
	struct control_client *c;
	int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		/* Who waits would wake the loop again and again while there is no descriptor. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			rest(control);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (c)
		c->watch = loop_watch_create(control->machine->loop, fd, EPOLLIN, client_ready, c);
	if (!c || !c->watch) {
		free(c);
		close(fd);
		return;
	}
	c->control = control;
	c->fd = fd;
	control->clients[control->n_clients++] = c;
	if (control->n_clients == CLIENTS)
		rest(control);
}

struct control *control_create(struct machine *m, int fd)
{
	struct control *control = calloc(1, sizeof(*control));

	if (!control)
		return NULL;
	/* Who connects may be gone again before accept4(). */
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	control->machine = m;
	control->fd = fd;
	control->watch = loop_watch_create(m->loop, fd, EPOLLIN, accept_ready, control);
	control->patience = loop_timer_create(m->loop, out_of_patience, control);
	if (control->watch && control->patience)
		return control;
	control_destroy(control);
	return NULL;
}

void control_destroy(struct control *control)
{
	if (!control)
		return;
	while (control->n_clients)
		client_destroy(control->clients[0]);
	while (control->n_waiting)
		client_leaves(control->waiting[0]);
	loop_timer_destroy(control->patience);
	loop_watch_destroy(control->watch);
	free(control);
}
