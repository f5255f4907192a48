/*
 * notify.c - the two ways of a guest to signal without a connection of the channel's own.
 *
 * Monitored: the guest sets a bit of the monitor page and makes no hypercall; somebody looks at the
 * page as often as the channel's latency says. That somebody is a timer of the bus's loop here, so
 * it runs only while a monitored channel is open.
 *
 * Shared: before version 5.0 the guest gives a page with a bit per channel; it sets the channel's
 * bit and signals one connection for all of them.
 *
 * Source: Linux drivers/hv/channel.c vmbus_setevent(), connection.c vmbus_set_event(); TLFS
 * "Monitored Notifications".
 */
#include "vmbus/bus.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/event.h"

#define NS_PER_LATENCY 100u
/* Where the guest's half of the interrupt page begins. */
#define INTERRUPTS_TO_HOST (VMBUS_PAGE / 2)

/* A bit of a guest's page that was set: whom it is for. Lock held. */
static void told(struct vmbus_channel *ch)
{
	if (ch && ch->service == SERVICE_RUNNING && ch->event >= 0)
		event_signal(ch->event);
}

/* ---- Monitored ------------------------------------------------------------------------------ */

static void look(void *ctx)
{
	struct vmbus *bus = ctx;

	pthread_mutex_lock(&bus->lock);
	for (unsigned g = 0; bus->monitor_page && g < VMBUS_MONITOR_GROUPS; g++) {
		uint32_t *word = &bus->monitor_page->group[g].pending, bits;

		if (!__atomic_load_n(word, __ATOMIC_RELAXED))
			continue;
		for (bits = __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST); bits; bits &= bits - 1)
			told(bus->monitored[g * 32 + (unsigned)__builtin_ctz(bits)]);
	}
	pthread_mutex_unlock(&bus->lock);
}

/* Look as often as the most impatient open channel wants. */
static void set_period(struct vmbus *bus)
{
	uint64_t period = 0;

	for (unsigned i = 0; i < VMBUS_MONITORS; i++) {
		const struct vmbus_channel *ch = bus->monitored[i];
		uint64_t wanted = ch ? ch->offer.monitor_latency * (uint64_t)NS_PER_LATENCY : 0;

		if (ch && ch->service == SERVICE_RUNNING && (!period || wanted < period))
			period = wanted;
	}
	if (!bus->monitor_page)
		period = 0;
	if (period == bus->monitor_period)
		return;
	bus->monitor_period = period;
	if (period)
		loop_timer_arm(bus->monitor_timer, loop_now() + period, period);
	else
		loop_timer_disarm(bus->monitor_timer);
}

/* The guest shows its administrator what the page says of a channel. */
static void describe(struct vmbus_channel *ch)
{
	struct vmbus_monitor_page *page = ch->bus->monitor_page;

	page->latency[ch->monitor] = ch->offer.monitor_latency;
	page->parameter[ch->monitor].connection = VMBUS_CHANNEL_CONNECTIONS + ch->relid;
	__atomic_fetch_or(&page->group_enable, 1u << (ch->monitor / 32), __ATOMIC_SEQ_CST);
}

void notify_opened(struct vmbus_channel *ch)
{
	if (ch->monitor < 0)
		return;
	if (ch->bus->monitor_page)
		describe(ch);
	set_period(ch->bus);
}

void notify_closed(struct vmbus_channel *ch)
{
	if (ch->monitor >= 0)
		set_period(ch->bus);
}

/* ---- Shared --------------------------------------------------------------------------------- */

static void shared(void *ctx, uint32_t events)
{
	struct vmbus *bus = ctx;
	uint64_t count;
	uint8_t *page;
	uint32_t *words;

	if (read(bus->shared_event, &count, sizeof(count)) != sizeof(count))
		return;
	pthread_mutex_lock(&bus->lock);
	page = bus->interrupt_page ? memory_at(&bus->memory, bus->interrupt_page, VMBUS_PAGE)
				   : NULL;
	words = page ? (uint32_t *)(page + INTERRUPTS_TO_HOST) : NULL;
	for (unsigned w = 0; words && w < VMBUS_MAX_CHANNELS / 32; w++) {
		uint32_t bits;

		if (!__atomic_load_n(&words[w], __ATOMIC_RELAXED))
			continue;
		for (bits = __atomic_exchange_n(&words[w], 0, __ATOMIC_SEQ_CST); bits;
			bits &= bits - 1)
			told(bus->channel[w * 32 + (unsigned)__builtin_ctz(bits)]);
	}
	pthread_mutex_unlock(&bus->lock);
}

bool notify_can_share(const struct vmbus *bus)
{
	return bus->interrupt_page != 0;
}

/* ---- With the connection --------------------------------------------------------------------- */

void notify_connect(struct vmbus *bus, const struct vmbus_initiate_contact *c)
{
	bool old = c->version < VMBUS_WIN10_5_0;

	if (!(c->monitor_page_to_host & (VMBUS_PAGE - 1)) && c->monitor_page_to_host)
		bus->monitor_page = (struct vmbus_monitor_page *)memory_at(
			&bus->memory, c->monitor_page_to_host, VMBUS_PAGE);
	if (old && !(c->interrupt_page & (VMBUS_PAGE - 1)))
		bus->interrupt_page = c->interrupt_page;
}

void notify_disconnect(struct vmbus *bus)
{
	bus->monitor_page = NULL;
	bus->interrupt_page = 0;
	set_period(bus);
}

int notify_create(struct vmbus *bus)
{
	WHV_NOTIFICATION_PORT_PARAMETERS parameters = {
		.NotificationPortType = WHvNotificationPortTypeEvent,
		.Event.ConnectionId = VMBUS_SHARED_CONNECTION,
	};

	bus->monitor_timer = loop_timer_create(bus->loop, look, bus);
	bus->shared_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!bus->monitor_timer || bus->shared_event < 0)
		return -errno;
	bus->shared_watch = loop_watch_create(bus->loop, bus->shared_event, EPOLLIN, shared, bus);
	if (!bus->shared_watch)
		return -errno;
	return FAILED(WHvCreateNotificationPort(bus->config.partition, &parameters,
		       PARTITA_HANDLE_FROM_FD(bus->shared_event), &bus->shared_port))
		       ? -EIO
		       : 0;
}

void notify_destroy(struct vmbus *bus)
{
	if (bus->shared_port)
		WHvDeleteNotificationPort(bus->config.partition, bus->shared_port);
	loop_watch_destroy(bus->shared_watch);
	if (bus->shared_event >= 0)
		close(bus->shared_event);
	loop_timer_destroy(bus->monitor_timer);
}
