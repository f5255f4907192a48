/*
 * serve.c - open channels: the thread that serves one sets up what it needs, uses it and frees it.
 * The bus's lock is held while the guest's request is looked at and when the guest is answered, and
 * not while memory is mapped.
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
	bus_unlock(ch->bus);
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
	s->wanted = true;
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

/* ---- Setting up and freeing, on the serving thread ------------------------------------------- */

static struct ring ring_of(const struct memory_view *view, unsigned pages)
{
	return (struct ring){
		.control = (struct vmbus_ring_control *)view->base,
		.data = view->base + VMBUS_PAGE,
		.size = (pages - 1) * VMBUS_PAGE,
	};
}

/* The first part of the GPADL, which is held, is the ring from the guest, the rest that to it. */
static int map_rings(struct vmbus_channel *ch)
{
	struct memory *m = &ch->bus->memory;
	const uint64_t *pages;
	uint64_t offset, bytes;
	struct ring in, out;
	unsigned up, down;
	int count, err;

	count = gpadl_pages(ch->ring_gpadl, &pages, &offset, &bytes);
	if (count < 4 || offset || bytes % VMBUS_PAGE || ch->downstream < 2 ||
		ch->downstream > (unsigned)count - 2)
		return -EPROTO;
	up = ch->downstream;
	down = (unsigned)count - up;
	err = memory_ring_map(m, pages, up, &ch->in_view);
	if (!err)
		err = memory_ring_map(m, pages + up, down, &ch->out_view);
	if (err)
		return err;
	in = ring_of(&ch->in_view, up);
	out = ring_of(&ch->out_view, down);
	err = ring_in_init(&ch->in, &in);
	return err ? err : ring_out_init(&ch->out, &out);
}

static void unmap_rings(struct vmbus_channel *ch)
{
	struct memory *m = &ch->bus->memory;
	const uint64_t *pages;
	uint64_t offset, bytes;
	unsigned up = ch->downstream;
	int count;

	if (!ch->in_view.base)
		return;
	count = gpadl_pages(ch->ring_gpadl, &pages, &offset, &bytes);
	memory_ring_unmap(m, pages, up, &ch->in_view);
	memory_ring_unmap(m, pages + up, (unsigned)count - up, &ch->out_view);
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

static int set_up(struct vmbus_channel *ch)
{
	int err = map_rings(ch);

	if (!err)
		err = create_port(ch);
	if (!err)
		return 0;
	pthread_mutex_lock(&ch->bus->lock);
	complain(ch, err == -EPROTO ? "the guest gave it no usable ring" : strerror(-err));
	bus_unlock(ch->bus);
	return err;
}

static void tear_down(struct vmbus_channel *ch)
{
	struct vmbus *bus = ch->bus;

	if (ch->port)
		WHvDeleteNotificationPort(bus->config.partition, ch->port);
	ch->port = NULL;
	if (ch->event >= 0)
		close(ch->event);
	ch->event = -1;
	unmap_rings(ch);
}

/* ---- From the guest's request to the answer, and to the end ---------------------------------- */

static void answer(struct vmbus_channel *ch, bool opened)
{
	struct vmbus_open_result result = {
		.relid = ch->relid,
		.open_id = ch->open_id,
		.status = opened ? VMBUS_STATUS_SUCCESS : VMBUS_STATUS_UNSUCCESSFUL,
	};

	if (!opened)
		ch->open = false;
	bus_send(ch->bus, VMBUS_OPEN_RESULT, &result, sizeof(result));
}

/* Nobody serves it any more, and its memory is torn down. The lock is held; it may be freed. */
static void idle(struct vmbus_channel *ch)
{
	struct vmbus *bus = ch->bus;

	notify_closed(ch);
	if (ch->server)
		ch->server->users--;
	else
		loop_destroy(ch->loop);
	ch->server = NULL;
	ch->loop = NULL;
	if (ch->ring_gpadl)
		gpadl_put(bus, ch->ring_gpadl);
	ch->ring_gpadl = NULL;
	ch->service = SERVICE_IDLE;
	pthread_cond_broadcast(&bus->changed);
	if (bus->leave != LEAVE_NOT)
		bus_wake(bus);
	offer_idle(ch);
}

/* The serving thread is done with it, and does not touch it any more. The lock is held. */
static void ended(struct vmbus_channel *ch)
{
	struct vmbus *bus = ch->bus;

	if (ch->due)
		not_due(ch);
	if (ch->server) {
		idle(ch);
		return;
	}
	ch->next = bus->ended;
	bus->ended = ch;
	bus_wake(bus);
}

/* Returns 0; then the provider's close() is to be called some day. */
static int open_provider(struct vmbus_channel *ch)
{
	int err = ch->provider->open(ch->ctx, ch, ch->user_data);

	if (err)
		return err;
	ch->watch = loop_watch_create(ch->loop, ch->event, EPOLLIN, signalled, ch);
	if (ch->watch)
		return 0;
	err = -errno;
	ch->provider->close(ch->ctx, ch);
	return err;
}

/* False: it was refused and is at its end. */
static bool begin(struct vmbus_channel *ch)
{
	struct vmbus *bus = ch->bus;
	int err = set_up(ch);

	if (!err)
		err = open_provider(ch);
	if (err)
		tear_down(ch);
	pthread_mutex_lock(&bus->lock);
	ch->service = err ? SERVICE_ENDING : SERVICE_RUNNING;
	/* The guest may act on the answer before the lock is free again. */
	if (!err)
		notify_opened(ch);
	answer(ch, !err);
	if (err)
		ended(ch);
	bus_unlock(bus);
	if (err)
		return false;
	if (ch->provider->begun)
		ch->provider->begun(ch->ctx, ch);
	/* What the guest put into the ring before it could signal. */
	drain(ch);
	return true;
}

static void end(struct vmbus_channel *ch)
{
	struct vmbus *bus = ch->bus;

	ch->broken = true;
	loop_watch_destroy(ch->watch);
	ch->watch = NULL;
	ch->provider->close(ch->ctx, ch);
	tear_down(ch);
	pthread_mutex_lock(&bus->lock);
	ended(ch);
	bus_unlock(bus);
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
	pthread_mutex_lock(&ch->bus->lock);
	ch->service = SERVICE_ENDING;
	bus_unlock(ch->bus);
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

		if (!starts)
			ch->service = SERVICE_ENDING;
		bus_unlock(bus);
		serves = starts && begin(ch);
		if (!starts)
			end(ch);
		pthread_mutex_lock(&bus->lock);
		/* Asked to end before it had begun. */
		if (serves && ch->stop && !ch->due)
			make_due(ch);
	}
	bus_unlock(bus);
}

/* ---- What the guest, or the provider, asks for; the lock is held ----------------------------- */

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
	ch->service = SERVICE_DUE;
	err = -pthread_create(&ch->thread, NULL, serve_alone, ch);
	if (!err)
		return 0;
	ch->service = SERVICE_IDLE;
	loop_destroy(ch->loop);
	ch->loop = NULL;
	return err;
}

void serve_open(struct vmbus_channel *ch, const struct vmbus_open_channel *request)
{
	struct vmbus *bus = ch->bus;
	int err = -EPROTO;

	ch->open = true;
	ch->stop = ch->held = ch->broken = false;
	ch->data = NULL;
	ch->open_id = request->open_id;
	ch->downstream = request->downstream_page;
	memcpy(ch->user_data, request->user_data, sizeof(ch->user_data));
	if (request->target_vp < bus->config.processors || request->target_vp == VMBUS_NO_VP) {
		atomic_store(&ch->target_vp, request->target_vp);
		ch->ring_gpadl = gpadl_get(bus, ch->relid, request->ring_gpadl);
	}
	if (ch->ring_gpadl)
		err = start(ch);
	if (!err)
		return;
	complain(ch, err == -EPROTO ? "the guest gave it no usable ring" : strerror(-err));
	if (ch->ring_gpadl)
		gpadl_put(bus, ch->ring_gpadl);
	ch->ring_gpadl = NULL;
	answer(ch, false);
}

void serve_stop(struct vmbus_channel *ch)
{
	if (ch->service == SERVICE_IDLE || ch->service == SERVICE_ENDING || ch->stop)
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

	while ((ch = bus->ended) != NULL) {
		bus->ended = ch->next;
		/* It has no more to do than to return. */
		pthread_join(ch->thread, NULL);
		idle(ch);
	}
}
