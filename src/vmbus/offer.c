/*
 * offer.c - which channels there are and what the guest knows of them.
 *
 * A channel has a number (relid) from its offer to its end. A primary channel is the provider's and
 * stays while guests come and go; when it is revoked, and for a sub-channel that is dropped, it is
 * freed as soon as it is idle and the guest has released the number: until then the number must not
 * mean anything else.
 *
 * Source: Linux drivers/hv/channel_mgmt.c.
 */
#include "vmbus/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct vmbus_channel *offer_find(const struct vmbus *bus, uint32_t relid)
{
	struct vmbus_channel *ch = relid < VMBUS_MAX_CHANNELS ? bus->channel[relid] : NULL;

	return ch && ch->known ? ch : NULL;
}

/* ---- Telling the guest ---------------------------------------------------------------------- */

static void send_offer(struct vmbus_channel *ch)
{
	const struct vmbus_offer *o = &ch->offer;
	bool shared = o->shared_interrupt && notify_can_share(ch->bus);
	bool monitored = ch->monitor >= 0 && ch->bus->monitor_page;
	struct vmbus_offer_channel message = {
		.interface = o->interface,
		.instance = o->instance,
		.flags = o->flags,
		.mmio_megabytes = o->mmio_megabytes,
		.mmio_megabytes_optional = o->mmio_megabytes_optional,
		.subchannel = (uint16_t)ch->index,
		.relid = ch->relid,
		.monitor = monitored ? (uint8_t)ch->monitor : 0xFF,
		.monitor_allocated = monitored,
		.dedicated = shared ? 0 : VMBUS_OFFER_DEDICATED,
		.connection =
			shared ? VMBUS_SHARED_CONNECTION : VMBUS_CHANNEL_CONNECTIONS + ch->relid,
	};

	memcpy(message.user_data, o->user_data, sizeof(message.user_data));
	ch->known = true;
	bus_send(ch->bus, VMBUS_OFFER_CHANNEL, &message, sizeof(message));
}

void offer_send_all(struct vmbus *bus)
{
	struct vmbus_channel *ch;

	for_each_channel (ch, bus) {
		if (!ch->known && !ch->revoked)
			send_offer(ch);
	}
}

static void send_rescind(struct vmbus_channel *ch)
{
	struct vmbus_relid_message message = {.relid = ch->relid};

	if (!ch->known || ch->rescinded)
		return;
	ch->rescinded = true;
	bus_send(ch->bus, VMBUS_RESCIND_OFFER, &message, sizeof(message));
}

/* ---- Coming and going ------------------------------------------------------------------------ */

static int take_monitor(struct vmbus_channel *ch)
{
	for (int i = 0; i < (int)VMBUS_MONITORS; i++) {
		if (!ch->bus->monitored[i]) {
			ch->bus->monitored[i] = ch;
			return i;
		}
	}
	return -1; /* it signals like others then */
}

/* The lock is held. */
static int add(struct vmbus *bus, struct vmbus_channel *ch)
{
	uint32_t relid = 1;

	while (relid < VMBUS_MAX_CHANNELS && bus->channel[relid])
		relid++;
	if (relid == VMBUS_MAX_CHANNELS)
		return -ENOSPC;
	ch->bus = bus;
	ch->relid = relid;
	ch->event = -1;
	ch->monitor = ch->offer.monitor_latency ? take_monitor(ch) : -1;
	bus->channel[relid] = ch;
	if (bus->channels_end <= relid)
		bus->channels_end = relid + 1;
	if (bus->offers_wanted)
		send_offer(ch);
	return 0;
}

/* Free a channel that nobody needs any more. */
static void collect(struct vmbus_channel *ch)
{
	struct vmbus *bus = ch->bus;

	if (!ch->revoked || ch->awaited || ch->known || ch->service != SERVICE_IDLE)
		return;
	gpadl_forget(bus, ch->relid);
	if (ch->monitor >= 0)
		bus->monitored[ch->monitor] = NULL;
	bus->channel[ch->relid] = NULL;
	if (!ch->withdrawn) {
		free(ch);
		return;
	}
	ch->next = bus->gone;
	bus->gone = ch;
}

void offer_tell_gone(struct vmbus *bus)
{
	struct vmbus_channel *ch;

	while ((ch = bus->gone) != NULL) {
		bus->gone = ch->next;
		pthread_mutex_unlock(&bus->lock);
		ch->provider->gone(ch->ctx);
		free(ch);
		pthread_mutex_lock(&bus->lock);
	}
}

void offer_released(struct vmbus_channel *ch)
{
	ch->known = ch->rescinded = ch->open = false;
	/* The guest dropped a sub-channel by itself: it has no use any more. */
	if (ch->primary)
		ch->revoked = true;
	collect(ch);
}

void offer_idle(struct vmbus_channel *ch)
{
	if (ch->revoked)
		send_rescind(ch);
	collect(ch);
}

/* A guest that hears of it may use the ring's pages for something else at once: it does, when
 * nobody serves the channel any more. */
static void take_away(struct vmbus_channel *ch)
{
	ch->revoked = true;
	if (ch->service == SERVICE_IDLE)
		offer_idle(ch);
	else
		serve_stop(ch);
}

void offer_drop_subchannels(struct vmbus_channel *primary)
{
	struct vmbus_channel *ch;

	for_each_channel (ch, primary->bus) {
		if (ch->primary != primary || ch->revoked)
			continue;
		take_away(ch);
	}
}

void offer_forget_guest(struct vmbus *bus)
{
	struct vmbus_channel *ch;

	for_each_channel (ch, bus) {
		ch->known = ch->rescinded = ch->complained = false;
		ch->revoked |= ch->primary != NULL;
		collect(ch);
	}
}

int vmbus_offer(struct vmbus *bus, const struct vmbus_offer *offer,
	const struct vmbus_provider *provider, void *ctx, struct vmbus_channel **out)
{
	struct vmbus_channel *ch = calloc(1, sizeof(*ch));
	int err;

	if (!ch)
		return -ENOMEM;
	ch->offer = *offer;
	ch->provider = provider;
	ch->ctx = ctx;
	pthread_mutex_lock(&bus->lock);
	err = add(bus, ch);
	if (!err)
		*out = ch;
	bus_unlock(bus);
	if (err)
		free(ch);
	return err;
}

static bool has_subchannels(const struct vmbus_channel *primary)
{
	const struct vmbus_channel *ch;

	for_each_channel (ch, primary->bus) {
		if (ch->primary == primary && !ch->revoked)
			return true;
	}
	return false;
}

static int add_subchannel(struct vmbus_channel *primary, unsigned index)
{
	struct vmbus_channel *ch = calloc(1, sizeof(*ch));
	int err;

	if (!ch)
		return -ENOMEM;
	ch->offer = primary->offer;
	ch->provider = primary->provider;
	ch->ctx = primary->ctx;
	ch->primary = primary;
	ch->index = index;
	err = add(primary->bus, ch);
	if (err)
		free(ch);
	return err;
}

int vmbus_offer_subchannels(struct vmbus_channel *primary, unsigned count)
{
	struct vmbus *bus = primary->bus;
	int err;

	pthread_mutex_lock(&bus->lock);
	err = has_subchannels(primary) ? -EEXIST : 0;
	/* A channel that is on its way out gets none: nobody would take them away. */
	if (!err && (!primary->open || primary->revoked))
		err = -ENOSPC;
	for (unsigned i = 1; i <= count && !err; i++)
		err = add_subchannel(primary, i);
	if (err && err != -EEXIST)
		offer_drop_subchannels(primary);
	bus_unlock(bus);
	return err;
}

/* Does a function of the device's provider run, or may one yet? */
static bool in_service(const struct vmbus_channel *primary)
{
	const struct vmbus_channel *ch;

	for_each_channel (ch, primary->bus) {
		if ((ch == primary || ch->primary == primary) && ch->service != SERVICE_IDLE)
			return true;
	}
	return false;
}

/* Sub-channels whose numbers the guest still holds outlive the device, without it. */
static void orphan(struct vmbus_channel *primary)
{
	struct vmbus_channel *ch;

	for_each_channel (ch, primary->bus) {
		/* Itself: the primary channel is going to be freed. */
		if (ch->primary == primary)
			ch->primary = ch;
	}
}

void vmbus_revoke(struct vmbus_channel *ch)
{
	struct vmbus *bus = ch->bus;

	pthread_mutex_lock(&bus->lock);
	ch->awaited = true;
	offer_drop_subchannels(ch);
	take_away(ch);
	while (in_service(ch))
		bus_wait(bus);
	orphan(ch);
	ch->awaited = false;
	collect(ch);
	bus_unlock(bus);
}

void vmbus_withdraw(struct vmbus_channel *ch)
{
	struct vmbus *bus = ch->bus;

	pthread_mutex_lock(&bus->lock);
	ch->withdrawn = true;
	take_away(ch);
	bus_unlock(bus);
}

unsigned vmbus_channel_index(const struct vmbus_channel *ch)
{
	return ch->index;
}

uint32_t vmbus_channel_vp(const struct vmbus_channel *ch)
{
	return atomic_load(&ch->target_vp);
}
