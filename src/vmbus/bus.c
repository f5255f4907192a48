/*
 * bus.c - a bus from its creation to its end: its thread, and the way of control messages in and
 * out. See bus.h.
 */
#include "vmbus/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/event.h"
#include "base/log.h"

/* Statuses of HvCallPostMessage: TLFS "HvCallPostMessage". */
#define HV_STATUS_SUCCESS		0x00
#define HV_STATUS_INVALID_PARAMETER	0x05
#define HV_STATUS_INVALID_CONNECTION_ID 0x12
#define HV_STATUS_INSUFFICIENT_BUFFERS	0x13

/* ---- The lock ------------------------------------------------------------------------------- */

void bus_wake(struct vmbus *bus)
{
	bus->own.wanted = true;
}

/* Returns how many events are to be signalled. */
static unsigned take_wanted(struct vmbus *bus, int events[SERVERS_MAX + 1])
{
	unsigned count = 0;

	if (bus->gone)
		bus_wake(bus);
	for (unsigned i = 0; i <= bus->n_servers; i++) {
		struct server *s = i ? &bus->servers[i - 1] : &bus->own;

		if (s->wanted)
			events[count++] = s->event;
		s->wanted = false;
	}
	return count;
}

void bus_unlock(struct vmbus *bus)
{
	int events[SERVERS_MAX + 1];
	unsigned count = take_wanted(bus, events);

	pthread_mutex_unlock(&bus->lock);
	while (count)
		event_signal(events[--count]);
}

void bus_wait(struct vmbus *bus)
{
	int events[SERVERS_MAX + 1];
	unsigned count = take_wanted(bus, events);

	while (count)
		event_signal(events[--count]);
	pthread_cond_wait(&bus->changed, &bus->lock);
}

void bus_complain(struct vmbus *bus, const char *what)
{
	if (!bus->complained)
		log_warning("%s: VMBus: the guest %s; it is ignored, as are further errors of this "
			    "connection",
			bus->config.name, what);
	bus->complained = true;
}

/* ---- In ------------------------------------------------------------------------------------- */

/* A guest that makes contact or says goodbye waits for nothing that is still under way. */
static void forget_messages(struct vmbus *bus)
{
	bus->inbox_count = 0;
	outbox_clear(bus);
}

uint16_t vmbus_post_message(
	struct vmbus *bus, uint32_t connection, uint32_t type, const void *payload, size_t size)
{
	struct message m = {.size = (uint32_t)size};
	uint16_t status = HV_STATUS_SUCCESS;
	uint32_t kind;

	if (connection != VMBUS_MESSAGE_CONNECTION && connection != VMBUS_MESSAGE_CONNECTION_4)
		return HV_STATUS_INVALID_CONNECTION_ID;
	if (type != VMBUS_MESSAGE_TYPE || size < sizeof(struct vmbus_header) ||
		size > VMBUS_PAYLOAD_MAX)
		return HV_STATUS_INVALID_PARAMETER;
	memcpy(m.payload, payload, size);
	memcpy(&kind, m.payload, sizeof(kind));
	pthread_mutex_lock(&bus->lock);
	if (kind == VMBUS_INITIATE_CONTACT || kind == VMBUS_UNLOAD)
		forget_messages(bus);
	if (!bus->inbox_count && bus->outbox_count < OUTBOX_HIGH && connection_is_quick(bus, &m)) {
		connection_dispatch(bus, &m);
		offer_tell_gone(bus);
	} else if (bus->inbox_count == INBOX_SIZE) {
		status = HV_STATUS_INSUFFICIENT_BUFFERS; /* the guest waits and tries again */
	} else {
		bus->inbox[(bus->inbox_first + bus->inbox_count++) % INBOX_SIZE] = m;
		bus_wake(bus);
	}
	bus_unlock(bus);
	return status;
}

static void read_inbox(struct vmbus *bus)
{
	while (bus->inbox_count && bus->outbox_count < OUTBOX_HIGH) {
		/* A copy: acting on it may let the lock go. */
		struct message m = bus->inbox[bus->inbox_first];

		bus->inbox_first = (bus->inbox_first + 1) % INBOX_SIZE;
		bus->inbox_count--;
		connection_dispatch(bus, &m);
	}
}

/* ---- Out ------------------------------------------------------------------------------------ */

static void outbox_pop(struct vmbus *bus)
{
	struct message *m = bus->outbox;

	bus->outbox = m->next;
	if (!bus->outbox)
		bus->outbox_end = &bus->outbox;
	bus->outbox_count--;
	free(m);
}

void outbox_clear(struct vmbus *bus)
{
	while (bus->outbox)
		outbox_pop(bus);
}

/*
 * The slot is full. Its processor shall tell us when it no longer is: it asks what we want each
 * time before it runs, so we make it leave its run.
 */
static void await_slot(struct vmbus *bus)
{
	atomic_fetch_or(&bus->sints_wanted[bus->message_vp], (uint16_t)(1u << bus->message_sint));
	WHvCancelRunVirtualProcessor(bus->config.partition, bus->message_vp, 0);
}

static void empty_outbox(struct vmbus *bus)
{
	while (bus->outbox) {
		struct message *m = bus->outbox;
		struct vmbus_synic_message s = {
			.type = VMBUS_MESSAGE_TYPE,
			.payload_size = (uint8_t)m->size,
			.port = VMBUS_MESSAGE_PORT,
		};
		HRESULT hr;

		memcpy(s.payload, m->payload, m->size);
		hr = WHvPostVirtualProcessorSynicMessage(
			bus->config.partition, bus->message_vp, bus->message_sint, &s, sizeof(s));
		if (hr == HRESULT_FROM_WIN32(ERROR_HV_OBJECT_IN_USE)) {
			await_slot(bus);
			return;
		}
		/* A guest that turned its SynIC off does not want to hear. */
		outbox_pop(bus);
	}
}

void bus_send(struct vmbus *bus, uint32_t type, void *message, uint32_t size)
{
	struct message *m = malloc(sizeof(*m));
	struct vmbus_header *header = message;

	if (!m) {
		log_error("%s: VMBus: no memory for a message; the guest will miss it",
			bus->config.name);
		return;
	}
	header->type = type;
	header->padding = 0;
	m->next = NULL;
	m->size = size;
	memcpy(m->payload, message, size);
	*bus->outbox_end = m;
	bus->outbox_end = &m->next;
	bus->outbox_count++;
	/* With others before it, the slot is full: they all leave when it is awaited no more. */
	if (bus->outbox == m)
		empty_outbox(bus);
}

uint16_t vmbus_sints_wanted(struct vmbus *bus, uint32_t vp)
{
	return atomic_load(&bus->sints_wanted[vp]);
}

void vmbus_sints_deliverable(struct vmbus *bus, uint32_t vp, uint16_t sints)
{
	if (!(atomic_fetch_and(&bus->sints_wanted[vp], (uint16_t)~sints) & sints))
		return;
	pthread_mutex_lock(&bus->lock);
	empty_outbox(bus);
	/* It may have been held back. */
	if (bus->inbox_count)
		bus_wake(bus);
	bus_unlock(bus);
}

void vmbus_tl_connect_result(
	struct vmbus *bus, const GUID *endpoint, const GUID *service, uint32_t status)
{
	struct vmbus_tl_connect_result result = {
		.endpoint = *endpoint, .service = *service, .status = status};

	pthread_mutex_lock(&bus->lock);
	if (bus->version >= VMBUS_WIN10_RS3)
		bus_send(bus, VMBUS_TL_CONNECT_RESULT, &result, sizeof(result));
	bus_unlock(bus);
}

/* ---- The thread ----------------------------------------------------------------------------- */

static void woken(void *ctx, uint32_t events)
{
	struct vmbus *bus = ctx;
	uint64_t count;

	if (read(bus->wake_event, &count, sizeof(count)) != sizeof(count))
		return;
	serve_due(&bus->own);
	pthread_mutex_lock(&bus->lock);
	serve_reap(bus);
	connection_progress(bus);
	read_inbox(bus);
	empty_outbox(bus);
	/*
	 * The guest took faster than was put: no slot is awaited that would wake us for the rest.
	 */
	if (bus->inbox_count && bus->outbox_count < OUTBOX_HIGH)
		bus_wake(bus);
	offer_tell_gone(bus);
	bus_unlock(bus);
	serve_due(&bus->own);
}

static void *bus_main(void *arg)
{
	struct vmbus *bus = arg;
	int err;

	pthread_setname_np(pthread_self(), "vmbus");
	err = loop_run(bus->loop);
	if (err)
		log_error("%s: VMBus: cannot wait for events: %s; the guest's devices have stopped",
			bus->config.name, strerror(-err));
	return NULL;
}

static void bus_free(struct vmbus *bus)
{
	notify_destroy(bus);
	outbox_clear(bus);
	loop_watch_destroy(bus->wake_watch);
	if (bus->wake_event >= 0)
		close(bus->wake_event);
	loop_destroy(bus->loop);
	memory_close(&bus->memory);
	pthread_cond_destroy(&bus->changed);
	pthread_mutex_destroy(&bus->lock);
	free(bus);
}

static int bus_init(struct vmbus *bus, const struct vmbus_config *config)
{
	bus->config = *config;
	memory_open(&bus->memory, config->memory, config->memory_count);
	pthread_mutex_init(&bus->lock, NULL);
	pthread_cond_init(&bus->changed, NULL);
	bus->outbox_end = &bus->outbox;
	bus->message_sint = VMBUS_SINT;
	bus->shared_event = -1;
	bus->wake_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bus->loop = loop_create();
	if (bus->wake_event < 0 || !bus->loop)
		return -errno;
	server_init(&bus->own, bus, bus->loop, bus->wake_event);
	bus->wake_watch = loop_watch_create(bus->loop, bus->wake_event, EPOLLIN, woken, bus);
	return bus->wake_watch ? notify_create(bus) : -errno;
}

int vmbus_create(const struct vmbus_config *config, struct vmbus **out)
{
	struct vmbus *bus;
	int err;

	if (config->memory_count > VMBUS_MEMORY_MAX || config->processors > VMBUS_MAX_VP)
		return -EINVAL;
	bus = calloc(1, sizeof(*bus));
	if (!bus)
		return -ENOMEM;
	err = bus_init(bus, config);
	if (!err)
		err = -pthread_create(&bus->thread, NULL, bus_main, bus);
	if (err) {
		bus_free(bus);
		return err;
	}
	*out = bus;
	return 0;
}

void vmbus_reset(struct vmbus *bus)
{
	pthread_mutex_lock(&bus->lock);
	forget_messages(bus);
	connection_leave(bus, LEAVE_RESET);
	bus_wake(bus);
	while (bus->leave != LEAVE_NOT)
		bus_wait(bus);
	for (unsigned i = 0; i < VMBUS_MAX_VP; i++)
		atomic_store(&bus->sints_wanted[i], 0);
	bus_unlock(bus);
}

void vmbus_destroy(struct vmbus *bus)
{
	if (!bus)
		return;
	vmbus_reset(bus);
	loop_quit(bus->loop);
	pthread_join(bus->thread, NULL);
	servers_destroy(bus);
	for (unsigned i = 0; i < VMBUS_MAX_CHANNELS; i++)
		free(bus->channel[i]);
	bus_free(bus);
}
