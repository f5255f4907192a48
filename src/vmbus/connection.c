/*
 * connection.c - what the guest posts, and what the bus answers: contact, version, offers, opening
 * and closing, and leaving again.
 *
 * A guest that makes contact while another (or the same, before kexec) is still connected, one that
 * says goodbye, and a machine that is reset are the same thing here: every channel is closed, and
 * when the last one is, the guest is forgotten and answered.
 *
 * Source: Linux drivers/hv/connection.c, channel_mgmt.c, channel.c.
 */
#include <errno.h>
#include <string.h>

#include "vmbus/bus.h"

/* ---- Contact and goodbye -------------------------------------------------------------------- */

static bool version_supported(uint32_t version)
{
	static const uint32_t versions[] = {VMBUS_WIN8, VMBUS_WIN8_1, VMBUS_WIN10, VMBUS_WIN10_RS3,
		VMBUS_WIN10_5_0, VMBUS_WIN10_5_1, VMBUS_WIN10_5_2, VMBUS_WIN10_5_3};

	for (unsigned i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		if (versions[i] == version)
			return true;
	}
	return false;
}

/* Answer a guest that wants to be connected; nothing of an earlier one is left. */
static void connect(struct vmbus *bus, const struct vmbus_initiate_contact *c)
{
	struct vmbus_version_response response = {.supported = version_supported(c->version)};
	bool names_sint = c->version >= VMBUS_WIN10_5_0;

	bus->message_vp = c->target_vp < bus->config.processors ? c->target_vp : 0;
	bus->message_sint =
		names_sint && c->sint && c->sint < VMBUS_SINT_COUNT ? c->sint : VMBUS_SINT;
	bus->complained = false;
	/* Channels of higher trust levels are not offered. */
	if (names_sint && c->vtl)
		response.supported = 0;
	if (response.supported) {
		bus->version = c->version;
		notify_connect(bus, c);
		response.connection = names_sint ? VMBUS_MESSAGE_CONNECTION_4 : 0;
	}
	bus_send(bus, VMBUS_VERSION_RESPONSE, &response, sizeof(response));
}

static void initiate_contact(struct vmbus *bus, const struct message *m)
{
	memcpy(&bus->contact, m->payload, sizeof(bus->contact));
	connection_leave(bus, LEAVE_CONTACT);
	connection_progress(bus);
}

static void unload(struct vmbus *bus, const struct message *m)
{
	connection_leave(bus, LEAVE_UNLOAD);
	connection_progress(bus);
}

void connection_leave(struct vmbus *bus, enum leave leave)
{
	struct vmbus_channel *ch;

	bus->leave = leave;
	bus->offers_wanted = false;
	for_each_channel (ch, bus) {
		ch->open = false;
		serve_stop(ch);
	}
}

static bool all_idle(const struct vmbus *bus)
{
	struct vmbus_channel *ch;

	for_each_channel (ch, bus) {
		if (ch->service != SERVICE_IDLE)
			return false;
	}
	return true;
}

void connection_progress(struct vmbus *bus)
{
	struct vmbus_header response;
	enum leave leave = bus->leave;

	if (leave == LEAVE_NOT || !all_idle(bus))
		return;
	bus->leave = LEAVE_NOT;
	bus->version = 0;
	outbox_clear(bus);
	gpadl_forget_all(bus);
	offer_forget_guest(bus);
	notify_disconnect(bus);
	if (leave == LEAVE_CONTACT)
		connect(bus, &bus->contact);
	else if (leave == LEAVE_UNLOAD)
		bus_send(bus, VMBUS_UNLOAD_RESPONSE, &response, sizeof(response));
	pthread_cond_broadcast(&bus->changed);
}

/* ---- Channels ------------------------------------------------------------------------------- */

static void request_offers(struct vmbus *bus, const struct message *m)
{
	struct vmbus_header done;

	bus->offers_wanted = true;
	offer_send_all(bus);
	bus_send(bus, VMBUS_ALL_OFFERS_DELIVERED, &done, sizeof(done));
}

static void open_channel(struct vmbus *bus, const struct message *m)
{
	struct vmbus_open_channel request;
	struct vmbus_open_result refusal = {.status = VMBUS_STATUS_UNSUCCESSFUL};
	struct vmbus_channel *ch;

	memcpy(&request, m->payload, sizeof(request));
	ch = offer_find(bus, request.relid);
	if (ch && !ch->open && !ch->rescinded && ch->service == SERVICE_IDLE) {
		serve_open(ch, &request);
		return;
	}
	/* One that is being taken back it may not know to be. */
	if (!ch || ch->open || !ch->rescinded)
		bus_complain(bus, "opens a channel that it cannot open");
	refusal.relid = request.relid;
	refusal.open_id = request.open_id;
	bus_send(bus, VMBUS_OPEN_RESULT, &refusal, sizeof(refusal));
}

static void close_channel(struct vmbus *bus, const struct message *m)
{
	struct vmbus_relid_message request;
	struct vmbus_channel *ch;

	memcpy(&request, m->payload, sizeof(request));
	ch = offer_find(bus, request.relid);
	if (!ch || (!ch->open && !ch->rescinded)) {
		bus_complain(bus, "closes a channel that is not open");
		return;
	}
	ch->open = false;
	serve_stop(ch);
	if (!ch->primary)
		offer_drop_subchannels(ch);
}

static void relid_released(struct vmbus *bus, const struct message *m)
{
	struct vmbus_relid_message request;
	struct vmbus_channel *ch;

	memcpy(&request, m->payload, sizeof(request));
	ch = offer_find(bus, request.relid);
	if (!ch || (ch->open && !ch->rescinded)) {
		bus_complain(bus, "releases a channel that it does not have, or has open");
		return;
	}
	offer_released(ch);
}

static void modify_channel(struct vmbus *bus, const struct message *m)
{
	struct vmbus_modify_channel request;
	struct vmbus_modify_response response = {.status = VMBUS_STATUS_UNSUCCESSFUL};
	struct vmbus_channel *ch;

	memcpy(&request, m->payload, sizeof(request));
	ch = offer_find(bus, request.relid);
	if (ch && ch->open &&
		(request.target_vp < bus->config.processors || request.target_vp == VMBUS_NO_VP)) {
		atomic_store(&ch->target_vp, request.target_vp);
		response.status = VMBUS_STATUS_SUCCESS;
	} else {
		bus_complain(bus, "modifies a channel that it cannot modify");
	}
	response.relid = request.relid;
	if (bus->version >= VMBUS_WIN10_5_3)
		bus_send(bus, VMBUS_MODIFY_CHANNEL_RESPONSE, &response, sizeof(response));
}

static void teardown_gpadl(struct vmbus *bus, const struct message *m)
{
	struct vmbus_gpadl_teardown request;

	memcpy(&request, m->payload, sizeof(request));
	gpadl_teardown(bus, request.relid, request.gpadl);
}

/* ---- Sockets -------------------------------------------------------------------------------- */

static void tl_connect(struct vmbus *bus, const struct message *m)
{
	struct vmbus_tl_connect request;
	GUID endpoint, service;
	int err = -ECONNREFUSED;

	memcpy(&request, m->payload, sizeof(request));
	endpoint = request.endpoint;
	service = request.service;
	bus_unlock(bus);
	if (bus->config.tl_connect)
		err = bus->config.tl_connect(bus->config.ctx, &endpoint, &service);
	if (err)
		vmbus_tl_connect_result(bus, &endpoint, &service, VMBUS_STATUS_REFUSED);
	pthread_mutex_lock(&bus->lock);
}

/* ---- Dispatch ------------------------------------------------------------------------------- */

static const struct {
	void (*act)(struct vmbus *bus, const struct message *message);
	uint32_t size;	  /* at least */
	uint32_t version; /* at least; 0: needs no connection */
} actions[VMBUS_MESSAGE_TYPES] = {
	[VMBUS_REQUEST_OFFERS] = {request_offers, sizeof(struct vmbus_header), VMBUS_WIN8},
	[VMBUS_OPEN_CHANNEL] = {open_channel, sizeof(struct vmbus_open_channel), VMBUS_WIN8},
	[VMBUS_CLOSE_CHANNEL] = {close_channel, sizeof(struct vmbus_relid_message), VMBUS_WIN8},
	[VMBUS_GPADL_HEADER] = {gpadl_header, sizeof(struct vmbus_gpadl_header), VMBUS_WIN8},
	[VMBUS_GPADL_BODY] = {gpadl_body, sizeof(struct vmbus_gpadl_body), VMBUS_WIN8},
	[VMBUS_GPADL_TEARDOWN] = {teardown_gpadl, sizeof(struct vmbus_gpadl_teardown), VMBUS_WIN8},
	[VMBUS_RELID_RELEASED] = {relid_released, sizeof(struct vmbus_relid_message), VMBUS_WIN8},
	[VMBUS_INITIATE_CONTACT] = {initiate_contact, sizeof(struct vmbus_initiate_contact), 0},
	[VMBUS_UNLOAD] = {unload, sizeof(struct vmbus_header), 0},
	[VMBUS_TL_CONNECT_REQUEST] = {tl_connect, sizeof(struct vmbus_tl_connect), VMBUS_WIN10},
	[VMBUS_MODIFY_CHANNEL] = {modify_channel, sizeof(struct vmbus_modify_channel), VMBUS_WIN8},
};

/* Who is opened, closes or connects is only noted, for other threads. */
bool connection_is_quick(const struct vmbus *bus, const struct message *m)
{
	struct vmbus_open_channel request;
	const struct vmbus_channel *ch;

	switch (((const struct vmbus_header *)m->payload)->type) {
	case VMBUS_OPEN_CHANNEL:
		memcpy(&request, m->payload, sizeof(request));
		ch = offer_find(bus, request.relid);
		/* Not where a thread would be made: it would inherit what is the processor's. */
		return ch && ch->offer.service == VMBUS_SERVED_TOGETHER && servers_are_there(bus);
	case VMBUS_CLOSE_CHANNEL:
	case VMBUS_GPADL_HEADER:
	case VMBUS_GPADL_BODY:
	case VMBUS_GPADL_TEARDOWN:
	case VMBUS_RELID_RELEASED:
	case VMBUS_TL_CONNECT_REQUEST:
		return true;
	default:
		return false;
	}
}

void connection_dispatch(struct vmbus *bus, const struct message *m)
{
	uint32_t type = ((const struct vmbus_header *)m->payload)->type;

	if (type >= VMBUS_MESSAGE_TYPES || !actions[type].act) {
		bus_complain(bus, "posts a message of a type that no guest sends");
		return;
	}
	if (m->size < actions[type].size) {
		bus_complain(bus, "posts a message that is too short");
		return;
	}
	/* While one guest is leaving, only another contact or goodbye makes sense. */
	if (actions[type].version &&
		(bus->leave != LEAVE_NOT || bus->version < actions[type].version)) {
		/* Linux lets go of channels after its goodbye. */
		if (type != VMBUS_RELID_RELEASED)
			bus_complain(bus, "posts a message that its connection does not have");
		return;
	}
	actions[type].act(bus, m);
}
