/*
 * serve.c - open channels: what one needs is set up by the bus's thread, used by the thread that
 * serves it, and freed by the bus's thread again.
 *
 * The serving thread is told of work by the channel's eventfd, which the hypervisor signals without
 * leaving the processor (a notification port), as do the bus's monitor and a provider that resumes.
 * While it drains the ring the guest is told not to signal; before it waits again it says that the
 * guest must, and looks once more.
 *
 * A channel whose ring is broken is closed towards its provider, with one line in the log; the
 * guest finds it silent until it closes it too.
 */
#include "vmbus/bus.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/event.h"
#include "base/log.h"

#define BATCH 64u /* packets whose room is given back, and whose answers are shown, together */
#define TURN  16u /* batches, after which others on the same loop get theirs */

/* ---- The ring, on the serving thread --------------------------------------------------------- */

/* Say why a channel is closed or does not open: once, however often the guest does it. */
static void complain(struct vmbus_channel *ch, const char *what)
{
	if (!ch->complained)
		log_warning("%s: VMBus: channel %s.%u is closed: %s", ch->bus->config.name,
			ch->offer.name, ch->index, what);
	ch->complained = true;
}

static void broken(struct vmbus_channel *ch, const char *what)
{
	if (ch->broken)
		return;
	ch->broken = true;
	pthread_mutex_lock(&ch->bus->lock);
	complain(ch, what);
	serve_stop(ch);
	pthread_mutex_unlock(&ch->bus->lock);
}

static void signal_guest(struct vmbus_channel *ch)
{
	WHV_SYNIC_EVENT_PARAMETERS event = {
		.VpIndex = atomic_load_explicit(&ch->target_vp, memory_order_relaxed),
		.TargetSint = (UINT8)ch->bus->message_sint,
		.FlagNumber = (UINT16)ch->relid,
	};

	if (event.VpIndex != VMBUS_NO_VP)
		WHvSignalVirtualProcessorSynicEvent(ch->bus->config.partition, event, NULL);
}

/* True: the guest is to be signalled. */
static bool publish(struct vmbus_channel *ch)
{
	bool signal = ring_out_publish(&ch->out);

	if (ring_out_missed_room(&ch->out))
		event_signal(ch->event);
	return signal;
}

void vmbus_flush(struct vmbus_channel *ch)
{
	if (publish(ch))
		signal_guest(ch);
}

/* After a batch: the guest gets room and answers, with one signal for both. */
static void end_batch(struct vmbus_channel *ch)
{
	int signal;

	if (ch->provider->batch_end)
		ch->provider->batch_end(ch->ctx, ch);
	signal = ring_in_publish(&ch->in);
	if (signal < 0)
		broken(ch, "the guest has put a wrong index into its ring");
	if (publish(ch) || signal > 0)
		signal_guest(ch);
}

/* Returns how many packets were taken. */
static unsigned take_batch(struct vmbus_channel *ch)
{
	struct ring_packet raw;
	struct vmbus_packet packet;
	unsigned count;
	int err;

	for (count = 0; count < BATCH; count++) {
		err = ring_in_next(&ch->in, &raw);
		if (err <= 0) {
			if (err < 0)
				broken(ch, "the guest has put nonsense into its ring");
			break;
		}
		packet_of(&raw, &packet);
		err = ch->provider->receive(ch->ctx, ch, &packet);
		if (err == -EAGAIN)
			ch->held = true;
		else if (err)
			broken(ch, "the guest does not keep to the device's protocol");
		if (err)
			break;
		ring_in_take(&ch->in, &raw);
	}
	end_batch(ch);
	return ch->broken ? 0 : count;
}

static void drain(struct vmbus_channel *ch)
{
	int more = 1;

	while (more > 0) {
		ring_in_mask(&ch->in);
		for (unsigned turn = 0; take_batch(ch) == BATCH; turn++) {
			if (turn < TURN)
				continue;
			event_signal(ch->event);
			return;
		}
		if (ch->held || ch->broken)
			return;
		more = ring_in_unmask(&ch->in);
	}
	if (more < 0)
		broken(ch, "the guest has put a wrong index into its ring");
}

static void signalled(void *ctx, uint32_t events)
{
	struct vmbus_channel *ch = ctx;
	uint64_t count;
	int room;

	if (read(ch->event, &count, sizeof(count)) != sizeof(count) || ch->broken)
		return;
	room = ring_out_room(&ch->out);
	if (room < 0) {
		broken(ch, "the guest has put a wrong index into its ring");
		return;
	}
	if (room && ch->provider->room) {
		ch->provider->room(ch->ctx, ch);
		vmbus_flush(ch);
	}
	if (!ch->held && !ch->broken)
		drain(ch);
}

void vmbus_resume(struct vmbus_channel *ch)
{
	if (!ch->held)
		return;
	ch->held = false;
	event_signal(ch->event);
}

void vmbus_channel_set(struct vmbus_channel *ch, void *data)
{
	ch->data = data;
}

void *vmbus_channel_get(const struct vmbus_channel *ch)
{
	return ch->data;
}

struct loop *vmbus_channel_loop(struct vmbus_channel *ch)
{
	return ch->loop;
}

/* ---- What a server has to do. The lock is held ----------------------------------------------- */

/* Its server shall begin or end to serve it. The lock is held. */
static void make_due(struct vmbus_channel *ch)
{
	struct server *s = ch->server;

	ch->due = true;
	ch->next = NULL;
	*s->due_end = ch;
	s->due_end = &ch->next;
	event_signal(s->event);
}

static struct vmbus_channel *next_due(struct server *s)
{
	struct vmbus_channel *ch = s->due;

	if (!ch)
		return NULL;
	ch->due = false;
	s->due = ch->next;
	if (!s->due)
		s->due_end = &s->due;
	return ch;
}

/* It was refused, and meanwhile asked to end. */
static void not_due(struct vmbus_channel *ch)
{
	struct server *s = ch->server;
	struct vmbus_channel **at = &s->due;

	while (*at != ch)
		at = &(*at)->next;
	*at = ch->next;
	if (!*at)
		s->due_end = at;
	ch->due = false;
}

/* ---- A service from begin to end, on the serving thread ----------------------------------------
 */

static void answer(struct vmbus_channel *ch, uint32_t relid, uint32_t open_id, bool opened)
{
	struct vmbus_open_result result = {
		.relid = relid,
		.open_id = open_id,
		.status = opened ? VMBUS_STATUS_SUCCESS : VMBUS_STATUS_UNSUCCESSFUL,
	};

	if (!opened)
		ch->open = false;
	bus_send(ch->bus, VMBUS_OPEN_RESULT, &result, sizeof(result));
}

/* The serving thread is done with it, and does not touch it any more. The lock is held. */
static void stopped(struct vmbus_channel *ch)
{
	if (ch->due)
		not_due(ch);
	ch->service = SERVICE_STOPPED;
	ch->next = ch->bus->stopped;
	ch->bus->stopped = ch;
	bus_wake(ch->bus);
}

/* False: it was refused and is at its end. */
static bool begin(struct vmbus_channel *ch)
{
	struct vmbus *bus = ch->bus;
	int err = ch->provider->open(ch->ctx, ch, ch->user_data);

	if (!err) {
		ch->watch = loop_watch_create(ch->loop, ch->event, EPOLLIN, signalled, ch);
		if (!ch->watch) {
			err = -errno;
			ch->provider->close(ch->ctx, ch);
		}
	}
	/* What the guest put into the ring before it could signal will be seen. */
	event_signal(ch->event);
	pthread_mutex_lock(&bus->lock);
	/* The guest may act on the answer before the lock is free again. */
	if (!err)
		notify_opened(ch);
	answer(ch, ch->relid, ch->open_id, !err);
	if (err)
		stopped(ch);
	pthread_mutex_unlock(&bus->lock);
	return !err;
}

static void end(struct vmbus_channel *ch)
{
	struct vmbus *bus = ch->bus;

	ch->broken = true;
	loop_watch_destroy(ch->watch);
	ch->watch = NULL;
	ch->provider->close(ch->ctx, ch);
	pthread_mutex_lock(&bus->lock);
	stopped(ch);
	pthread_mutex_unlock(&bus->lock);
}

static void *serve_alone(void *arg)
{
	struct vmbus_channel *ch = arg;
	char name[16];

	snprintf(name, sizeof(name), "%.8s.%u", ch->offer.name, ch->index);
	pthread_setname_np(pthread_self(), name);
	if (!begin(ch))
		return NULL;
	loop_run(ch->loop);
	end(ch);
	return NULL;
}

void serve_due(struct server *s)
{
	struct vmbus *bus = s->bus;
	struct vmbus_channel *ch;

	pthread_mutex_lock(&bus->lock);
	while ((ch = next_due(s)) != NULL) {
		bool starts = ch->service == SERVICE_DUE, serves;

		ch->service = SERVICE_RUNNING;
		pthread_mutex_unlock(&bus->lock);
		serves = starts && begin(ch);
		if (!starts)
			end(ch);
		pthread_mutex_lock(&bus->lock);
		/* Asked to end before it had begun. */
		if (serves && ch->stop && !ch->due)
			make_due(ch);
	}
	pthread_mutex_unlock(&bus->lock);
}

/* ---- Setting up and freeing, on the bus's thread, the lock held --------------------------------
 */

static struct ring ring_of(const struct memory_view *view, unsigned pages)
{
	return (struct ring){
		.control = (struct vmbus_ring_control *)view->base,
		.data = view->base + VMBUS_PAGE,
		.size = (pages - 1) * VMBUS_PAGE,
	};
}

/* The first part of the GPADL is the ring from the guest, the rest that to the guest. */
static int map_rings(struct vmbus_channel *ch, uint32_t downstream)
{
	struct memory *m = &ch->bus->memory;
	const uint64_t *pages;
	uint64_t offset, bytes;
	struct ring in, out;
	unsigned up, down;
	int count, err;

	count = gpadl_pages(ch->ring_gpadl, &pages, &offset, &bytes);
	if (count < 4 || offset || bytes % VMBUS_PAGE || downstream < 2 ||
		downstream > (unsigned)count - 2)
		return -EPROTO;
	up = downstream;
	down = (unsigned)count - up;
	err = memory_view_create(m, pages, up, 1, &ch->in_view);
	if (!err)
		err = memory_view_create(m, pages + up, down, 1, &ch->out_view);
	if (err)
		return err;
	in = ring_of(&ch->in_view, up);
	out = ring_of(&ch->out_view, down);
	err = ring_in_init(&ch->in, &in);
	return err ? err : ring_out_init(&ch->out, &out);
}

static int create_port(struct vmbus_channel *ch)
{
	WHV_NOTIFICATION_PORT_PARAMETERS parameters = {
		.NotificationPortType = WHvNotificationPortTypeEvent,
		.Event.ConnectionId = VMBUS_CHANNEL_CONNECTIONS + ch->relid,
	};

	ch->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ch->event < 0)
		return -errno;
	return FAILED(WHvCreateNotificationPort(ch->bus->config.partition, &parameters,
		       PARTITA_HANDLE_FROM_FD(ch->event), &ch->port))
		       ? -EIO
		       : 0;
}

static int start(struct vmbus_channel *ch)
{
	int err;

	if (ch->offer.service != VMBUS_SERVED_ALONE) {
		ch->server = ch->offer.service == VMBUS_SERVED_BY_BUS ? &ch->bus->own
								      : server_get(ch->bus);
		if (!ch->server)
			return -ENOMEM;
		ch->server->users++;
		ch->loop = ch->server->loop;
		ch->service = SERVICE_DUE;
		make_due(ch);
		return 0;
	}
	ch->loop = loop_create();
	if (!ch->loop)
		return -errno;
	ch->service = SERVICE_RUNNING;
	err = -pthread_create(&ch->thread, NULL, serve_alone, ch);
	if (err)
		ch->service = SERVICE_IDLE;
	return err;
}

static void free_service(struct vmbus_channel *ch)
{
	struct vmbus *bus = ch->bus;

	notify_closed(ch);
	if (ch->port)
		WHvDeleteNotificationPort(bus->config.partition, ch->port);
	ch->port = NULL;
	if (ch->event >= 0)
		close(ch->event);
	ch->event = -1;
	if (ch->server)
		ch->server->users--;
	else
		loop_destroy(ch->loop);
	ch->server = NULL;
	ch->loop = NULL;
	memory_view_destroy(&bus->memory, &ch->in_view);
	memory_view_destroy(&bus->memory, &ch->out_view);
	if (ch->ring_gpadl)
		gpadl_put(bus, ch->ring_gpadl);
	ch->ring_gpadl = NULL;
}

void serve_open(struct vmbus_channel *ch, const struct vmbus_open_channel *request)
{
	struct vmbus *bus = ch->bus;
	int err = -EPROTO;

	ch->open = true;
	ch->stop = ch->held = ch->broken = false;
	ch->data = NULL;
	ch->open_id = request->open_id;
	memcpy(ch->user_data, request->user_data, sizeof(ch->user_data));
	if (request->target_vp < bus->config.processors || request->target_vp == VMBUS_NO_VP) {
		atomic_store(&ch->target_vp, request->target_vp);
		ch->ring_gpadl = gpadl_get(bus, ch->relid, request->ring_gpadl);
	}
	if (ch->ring_gpadl)
		err = map_rings(ch, request->downstream_page);
	if (!err)
		err = create_port(ch);
	if (!err)
		err = start(ch);
	if (!err)
		return;
	complain(ch, err == -EPROTO ? "the guest gave it no usable ring" : strerror(-err));
	free_service(ch);
	answer(ch, ch->relid, ch->open_id, false);
}

void serve_stop(struct vmbus_channel *ch)
{
	if (ch->service == SERVICE_IDLE || ch->service == SERVICE_STOPPED || ch->stop)
		return;
	ch->stop = true;
	if (ch->offer.service == VMBUS_SERVED_ALONE)
		loop_quit(ch->loop);
	else if (!ch->due)
		make_due(ch);
}

void serve_reap(struct vmbus *bus)
{
	struct vmbus_channel *ch;

	while ((ch = bus->stopped) != NULL) {
		bus->stopped = ch->next;
		/* It has no more to do than to return. */
		if (ch->offer.service == VMBUS_SERVED_ALONE)
			pthread_join(ch->thread, NULL);
		free_service(ch);
		ch->service = SERVICE_IDLE;
		offer_idle(ch);
		pthread_cond_broadcast(&bus->changed);
	}
}
