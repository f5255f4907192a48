/*
 * console.c - see console.h. Input waits in a small buffer until the port has room; meanwhile a
 * pipe or socket is not read, and a terminal is read on, so that the escape key always works.
 */
#include "worker/console.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "worker/escape.h"
#include "worker/output.h"
#include "base/terminal.h"

#define INPUT_SIZE 1024u

struct console {
	struct loop *loop;
	const struct console_ops *ops;
	void *ctx;
	enum worker_serial serial;
	const char *path;
	int listener;		    /* a socket's; -1: none */
	struct loop_watch *clients; /* of listener; at rest while there is a client */
	int in, out;		    /* -1: none. A client's is in both */
	bool out_is_ours;	    /* opened here */
	bool terminal, armed;
	struct loop_watch *readable; /* of in; NULL while there is none, or it is a regular file */
	struct loop_timer *resume;   /* armed by console_room() */
	struct output *output;
	size_t count; /* bytes in input */
	uint8_t input[INPUT_SIZE];
};

static void put_text(struct console *c, const char *text)
{
	while (*text)
		output_put(c->output, *text++);
}

static void close_input(struct console *c)
{
	loop_watch_destroy(c->readable);
	c->readable = NULL;
	c->in = -1;
}

/* The client left: wait for the next. */
static void close_client(struct console *c)
{
	int fd = c->out;

	close_input(c);
	output_connect(c->output, -1);
	c->out = -1;
	c->count = 0;
	close(fd);
	loop_watch_change(c->clients, EPOLLIN);
}

static void output_broken(void *ctx, int error)
{
	struct console *c = ctx;

	if (c->serial == WORKER_SERIAL_UNIX) {
		if (c->out >= 0)
			close_client(c);
	} else if (c->serial == WORKER_SERIAL_STDIO) {
		c->ops->quit(c->ctx, SIGPIPE);
	} else {
		log_error("cannot write the serial output to %s: %s; what follows is lost", c->path,
			strerror(error));
	}
}

static void offer_input(struct console *c)
{
	size_t taken = c->count ? c->ops->input(c->ctx, c->input, c->count) : 0;

	c->count -= taken;
	memmove(c->input, c->input + taken, c->count);
}

static void command(struct console *c, enum escape_command command)
{
	if (command == ESCAPE_QUIT)
		c->ops->quit(c->ctx, 0);
	else if (command == ESCAPE_HELP)
		put_text(c, escape_help);
}

/* Keys of a terminal: commands are carried out, and what the guest cannot take is lost. */
static void take_keys(struct console *c, uint8_t *keys, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		enum escape_command found;

		if (escape_filter(&c->armed, &keys[i], &found) && c->count < INPUT_SIZE)
			c->input[c->count++] = keys[i];
		command(c, found);
	}
}

/* Returns false when there is nothing more to be had from the input now. */
static bool read_input(struct console *c)
{
	uint8_t bytes[INPUT_SIZE];
	size_t room = c->terminal ? sizeof(bytes) : INPUT_SIZE - c->count;
	ssize_t n = read(c->in, bytes, room);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		if (c->serial == WORKER_SERIAL_UNIX)
			close_client(c);
		else
			close_input(c);
		return false;
	}
	if (c->terminal) {
		take_keys(c, bytes, n);
	} else {
		memcpy(c->input + c->count, bytes, n);
		c->count += n;
	}
	offer_input(c);
	return true;
}

static void in_ready(void *ctx, uint32_t events)
{
	struct console *c = ctx;

	if (read_input(c) && c->count && !c->terminal)
		loop_watch_change(c->readable, 0); /* until console_room() */
}

static void resume_input(void *ctx)
{
	struct console *c = ctx;

	offer_input(c);
	if (c->count || c->in < 0)
		return;
	if (c->readable) {
		loop_watch_change(c->readable, EPOLLIN);
		return;
	}
	/* A regular file: as much as the port takes. */
	while (read_input(c) && !c->count)
		;
}

static void open_input(struct console *c, int fd)
{
	c->in = fd;
	c->readable = loop_watch_create(c->loop, fd, EPOLLIN, in_ready, c);
	if (c->readable)
		return;
	if (errno == EPERM)
		loop_timer_arm(c->resume, 0, 0);
	else
		c->in = -1;
}

static void client_ready(void *ctx, uint32_t events)
{
	struct console *c = ctx;
	int fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	loop_watch_change(c->clients, 0);
	c->out = fd;
	output_connect(c->output, fd);
	open_input(c, fd);
}

/*
 * A terminal that is stopped (Ctrl-S, a slow line) must not hold the loop: ours is a second,
 * non-blocking description of it, because the first is shared with the user's shell.
 */
static int open_stdout(struct console *c)
{
	int fd = isatty(STDOUT_FILENO)
			 ? open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
			 : -1;

	c->out_is_ours = fd >= 0;
	return fd >= 0 ? fd : STDOUT_FILENO;
}

static bool open_ends(struct console *c, int fd)
{
	switch (c->serial) {
	case WORKER_SERIAL_STDIO:
		c->terminal = terminal_raw(false);
		c->out = open_stdout(c);
		output_connect(c->output, c->out);
		open_input(c, STDIN_FILENO);
		return true;
	case WORKER_SERIAL_FILE:
		c->out = fd;
		output_connect(c->output, fd);
		return true;
	default:
		c->listener = fd;
		c->clients = loop_watch_create(c->loop, fd, EPOLLIN, client_ready, c);
		return c->clients;
	}
}

struct console *console_create(struct loop *loop, enum worker_serial serial, int fd,
	const char *path, const struct console_ops *ops, void *ctx)
{
	struct console *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	*c = (struct console){
		.loop = loop,
		.ops = ops,
		.ctx = ctx,
		.serial = serial,
		.path = path,
		.listener = -1,
		.in = -1,
		.out = -1,
	};
	c->output = output_create(loop, output_broken, c);
	c->resume = loop_timer_create(loop, resume_input, c);
	if (c->output && c->resume && open_ends(c, fd))
		return c;
	console_destroy(c);
	return NULL;
}

void console_destroy(struct console *c)
{
	int saved = errno;

	if (!c)
		return;
	if (c->output)
		output_flush(c->output);
	close_input(c);
	loop_watch_destroy(c->clients);
	loop_timer_destroy(c->resume);
	output_destroy(c->output);
	if (c->out >= 0 && (c->out_is_ours || c->serial == WORKER_SERIAL_UNIX))
		close(c->out);
	terminal_restore();
	free(c);
	errno = saved;
}

void console_put(struct console *c, uint8_t byte)
{
	output_put(c->output, byte);
}

void console_throttle(struct console *c)
{
	output_throttle(c->output);
}

void console_hurry(struct console *c, bool hurry)
{
	output_hurry(c->output, hurry);
}

void console_room(struct console *c)
{
	loop_timer_arm(c->resume, 0, 0);
}
