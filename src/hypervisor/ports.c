/*
 * ports.c - see ports.h. Source: Windows Hypervisor Platform API, "Notification Port Data Types".
 */
#include "hypervisor/partition.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/event.h"

#define CONNECTION_ID_BITS 0x00FFFFFFu

/* Of an event port by its connection, of a doorbell by its address. */
static struct port **bucket_of(struct ports *ports, uint64_t key)
{
	return &ports->bucket[key % PORT_BUCKETS];
}

static struct port **bucket_like(struct ports *ports, const WHV_NOTIFICATION_PORT_PARAMETERS *like)
{
	return bucket_of(ports, like->NotificationPortType == WHvNotificationPortTypeEvent
					? like->Event.ConnectionId
					: like->Doorbell.GuestAddress);
}

int ports_init(struct ports *ports)
{
	memset(ports->bucket, 0, sizeof(ports->bucket));
	ports->made = 0;
	ports->doorbells = 0;
	return -pthread_rwlock_init(&ports->lock, NULL);
}

static void port_free(struct port *port)
{
	close(port->event);
	free(port);
}

void ports_free(struct ports *ports)
{
	for (unsigned i = 0; i < PORT_BUCKETS; i++) {
		while (ports->bucket[i]) {
			struct port *port = ports->bucket[i];

			ports->bucket[i] = port->next;
			port_free(port);
		}
	}
	pthread_rwlock_destroy(&ports->lock);
}

bool ports_signal(struct ports *ports, uint32_t connection)
{
	struct port *port;

	pthread_rwlock_rdlock(&ports->lock);
	for (port = *bucket_of(ports, connection); port; port = port->next) {
		if (port->parameters.NotificationPortType == WHvNotificationPortTypeEvent &&
			port->parameters.Event.ConnectionId == connection) {
			event_signal(port->event);
			break;
		}
	}
	pthread_rwlock_unlock(&ports->lock);
	return port != NULL;
}

static bool doorbell_matches(
	const WHV_DOORBELL_MATCH_DATA *match, uint64_t gpa, unsigned size, uint64_t value)
{
	return match->GuestAddress == gpa && (!match->MatchOnLength || match->Length == size) &&
	       (!match->MatchOnValue || match->Value == value);
}

bool ports_doorbell(struct ports *ports, uint64_t gpa, unsigned size, uint64_t value)
{
	bool found = false;

	if (!atomic_load_explicit(&ports->doorbells, memory_order_relaxed))
		return false;
	pthread_rwlock_rdlock(&ports->lock);
	for (struct port *port = *bucket_of(ports, gpa); port; port = port->next) {
		if (port->parameters.NotificationPortType == WHvNotificationPortTypeDoorbell &&
			doorbell_matches(&port->parameters.Doorbell, gpa, size, value)) {
			event_signal(port->event);
			found = true;
		}
	}
	pthread_rwlock_unlock(&ports->lock);
	return found;
}

static bool valid_doorbell(const WHV_DOORBELL_MATCH_DATA *d)
{
	if (d->Reserved || (d->MatchOnValue && !d->MatchOnLength))
		return false;
	if (d->MatchOnLength ? d->Length != 1 && d->Length != 2 && d->Length != 4 && d->Length != 8
			     : d->Length != 0)
		return false;
	return d->MatchOnValue || !d->Value;
}

static bool valid_parameters(const WHV_NOTIFICATION_PORT_PARAMETERS *p)
{
	if (p->Reserved || p->Reserved1 || p->ConnectionVtl)
		return false;
	switch (p->NotificationPortType) {
	case WHvNotificationPortTypeEvent:
		return p->Event.ConnectionId && !(p->Event.ConnectionId & ~CONNECTION_ID_BITS);
	case WHvNotificationPortTypeDoorbell:
		return valid_doorbell(&p->Doorbell);
	default:
		return false;
	}
}

static bool same_port(
	const WHV_NOTIFICATION_PORT_PARAMETERS *a, const WHV_NOTIFICATION_PORT_PARAMETERS *b)
{
	if (a->NotificationPortType != b->NotificationPortType)
		return false;
	if (a->NotificationPortType == WHvNotificationPortTypeEvent)
		return a->Event.ConnectionId == b->Event.ConnectionId;
	return !memcmp(&a->Doorbell, &b->Doorbell, sizeof(a->Doorbell));
}

/* Add @port unless one like it is there: then 0, otherwise its handle. */
static uintptr_t add(struct ports *ports, struct port *port)
{
	struct port **bucket = bucket_like(ports, &port->parameters), *other;
	uintptr_t handle = 0;

	pthread_rwlock_wrlock(&ports->lock);
	for (other = *bucket; other; other = other->next) {
		if (same_port(&other->parameters, &port->parameters))
			break;
	}
	if (!other) {
		handle = ++ports->made * PORT_BUCKETS + (uintptr_t)(bucket - ports->bucket);
		port->handle = handle;
		port->next = *bucket;
		*bucket = port;
		if (port->parameters.NotificationPortType == WHvNotificationPortTypeDoorbell)
			ports->doorbells++;
	}
	pthread_rwlock_unlock(&ports->lock);
	return handle;
}

/* Where the port with a handle hangs; a pointer to NULL: there is none. The lock is held. */
static struct port **find(struct ports *ports, WHV_NOTIFICATION_PORT_HANDLE handle)
{
	struct port **at = bucket_of(ports, (uintptr_t)handle);

	while (*at && (*at)->handle != (uintptr_t)handle)
		at = &(*at)->next;
	return at;
}

static struct port **find_like(struct ports *ports, const WHV_NOTIFICATION_PORT_PARAMETERS *like)
{
	struct port **at = bucket_like(ports, like);

	while (*at && !same_port(&(*at)->parameters, like))
		at = &(*at)->next;
	return at;
}

/* Take out the port that is @handle, or when that is NULL the one like @like. */
static struct port *take(struct ports *ports, WHV_NOTIFICATION_PORT_HANDLE handle,
	const WHV_NOTIFICATION_PORT_PARAMETERS *like)
{
	struct port **at, *port;

	pthread_rwlock_wrlock(&ports->lock);
	at = handle ? find(ports, handle) : find_like(ports, like);
	port = *at;
	if (port) {
		*at = port->next;
		if (port->parameters.NotificationPortType == WHvNotificationPortTypeDoorbell)
			ports->doorbells--;
	}
	pthread_rwlock_unlock(&ports->lock);
	return port;
}

HRESULT WINAPI WHvCreateNotificationPort(WHV_PARTITION_HANDLE Partition,
	const WHV_NOTIFICATION_PORT_PARAMETERS *Parameters, HANDLE EventHandle,
	WHV_NOTIFICATION_PORT_HANDLE *PortHandle)
{
	struct partition *p = partition_ready(Partition);
	struct port *port;
	uintptr_t handle;

	if (!p || !Parameters || !PortHandle || !EventHandle || !valid_parameters(Parameters))
		return E_INVALIDARG;
	port = calloc(1, sizeof(*port));
	if (!port)
		return E_OUTOFMEMORY;
	port->parameters = *Parameters;
	port->target_vp = WHV_ANY_VP;
	port->target_duration = WHV_NOTIFICATION_PORT_PREFERRED_DURATION_MAX;
	port->event = fcntl(PARTITA_FD_FROM_HANDLE(EventHandle), F_DUPFD_CLOEXEC, 3);
	if (port->event < 0) {
		free(port);
		return E_HANDLE;
	}
	handle = add(&p->ports, port);
	if (!handle) {
		port_free(port);
		return HRESULT_FROM_WIN32(ERROR_ALREADY_EXISTS);
	}
	*PortHandle = (WHV_NOTIFICATION_PORT_HANDLE)handle;
	return S_OK;
}

HRESULT WINAPI WHvSetNotificationPortProperty(WHV_PARTITION_HANDLE Partition,
	WHV_NOTIFICATION_PORT_HANDLE PortHandle, WHV_NOTIFICATION_PORT_PROPERTY_CODE PropertyCode,
	WHV_NOTIFICATION_PORT_PROPERTY PropertyValue)
{
	struct partition *p = partition_ready(Partition);
	HRESULT result = E_INVALIDARG;
	struct port *port;

	if (!p)
		return E_INVALIDARG;
	pthread_rwlock_wrlock(&p->ports.lock);
	port = *find(&p->ports, PortHandle);
	if (port && PropertyCode == WHvNotificationPortPropertyPreferredTargetVp &&
		(PropertyValue == WHV_ANY_VP || PropertyValue < p->prop.processor_count)) {
		port->target_vp = (uint32_t)PropertyValue;
		result = S_OK;
	} else if (port && PropertyCode == WHvNotificationPortPropertyPreferredTargetDuration) {
		port->target_duration = PropertyValue;
		result = S_OK;
	}
	pthread_rwlock_unlock(&p->ports.lock);
	return result;
}

HRESULT WINAPI WHvDeleteNotificationPort(
	WHV_PARTITION_HANDLE Partition, WHV_NOTIFICATION_PORT_HANDLE PortHandle)
{
	struct partition *p = partition_ready(Partition);
	struct port *port;

	if (!p || !PortHandle)
		return E_INVALIDARG;
	port = take(&p->ports, PortHandle, NULL);
	if (!port)
		return E_INVALIDARG;
	port_free(port);
	return S_OK;
}

HRESULT WINAPI WHvRegisterPartitionDoorbellEvent(WHV_PARTITION_HANDLE Partition,
	const WHV_DOORBELL_MATCH_DATA *MatchData, HANDLE EventHandle)
{
	WHV_NOTIFICATION_PORT_PARAMETERS parameters = {
		.NotificationPortType = WHvNotificationPortTypeDoorbell};
	WHV_NOTIFICATION_PORT_HANDLE port;

	if (!MatchData)
		return E_INVALIDARG;
	parameters.Doorbell = *MatchData;
	return WHvCreateNotificationPort(Partition, &parameters, EventHandle, &port);
}

HRESULT WINAPI WHvUnregisterPartitionDoorbellEvent(
	WHV_PARTITION_HANDLE Partition, const WHV_DOORBELL_MATCH_DATA *MatchData)
{
	struct partition *p = partition_ready(Partition);
	WHV_NOTIFICATION_PORT_PARAMETERS parameters = {
		.NotificationPortType = WHvNotificationPortTypeDoorbell};
	struct port *port;

	if (!p || !MatchData)
		return E_INVALIDARG;
	parameters.Doorbell = *MatchData;
	port = take(&p->ports, NULL, &parameters);
	if (!port)
		return HRESULT_FROM_WIN32(ERROR_NOT_FOUND);
	port_free(port);
	return S_OK;
}
