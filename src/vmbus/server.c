/*
 * server.c - threads that channels share (VMBUS_SERVED_TOGETHER). They are made when the first such
 * channels open, and stay until the bus ends; a channel stays with the one that it was given.
 */
#include "vmbus/bus.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"

void server_init(struct server *s, struct vmbus *bus, struct loop *loop, int event)
{
	*s = (struct server){.bus = bus, .loop = loop, .event = event};
	s->due_end = &s->due;
}

static void *server_main(void *arg)
{
	struct server *s = arg;
	int err;

	pthread_setname_np(pthread_self(), "channels");
	err = loop_run(s->loop);
	if (err)
		log_error("%s: VMBus: cannot wait for events: %s; some devices have stopped",
			s->bus->config.name, strerror(-err));
	return NULL;
}

static void told(void *ctx, uint32_t events)
{
	struct server *s = ctx;
	uint64_t count;

	if (read(s->event, &count, sizeof(count)) == sizeof(count))
		serve_due(s);
}

static void server_free(struct server *s)
{
	loop_watch_destroy(s->watch);
	loop_destroy(s->loop);
	if (s->event >= 0)
		close(s->event);
}

static int server_create(struct server *s, struct vmbus *bus)
{
	int err = 0;

	server_init(s, bus, loop_create(), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (s->loop)
		loop_spin(s->loop);
	if (s->loop && s->event >= 0)
		s->watch = loop_watch_create(s->loop, s->event, EPOLLIN, told, s);
	if (!s->watch)
		err = -errno;
	if (!err)
		err = -pthread_create(&s->thread, NULL, server_main, s);
	if (err)
		server_free(s);
	return err;
}

bool servers_are_there(const struct vmbus *bus)
{
	return bus->n_servers == SERVERS_MAX || bus->n_servers >= bus->config.processors;
}

struct server *server_get(struct vmbus *bus)
{
	struct server *least = NULL;

	if (!servers_are_there(bus) && server_create(&bus->servers[bus->n_servers], bus) == 0)
		bus->n_servers++;
	for (unsigned i = 0; i < bus->n_servers; i++)
		if (!least || bus->servers[i].users < least->users)
			least = &bus->servers[i];
	return least;
}

void servers_destroy(struct vmbus *bus)
{
	for (unsigned i = 0; i < bus->n_servers; i++) {
		loop_quit(bus->servers[i].loop);
		pthread_join(bus->servers[i].thread, NULL);
		server_free(&bus->servers[i]);
	}
}
