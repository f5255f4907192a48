/*
 * vmbus_guest.c - see vmbus_guest.h.
 */
#include "vmbus_guest.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 20 /* seconds; only a test that fails waits so long */

/* ---- The hypervisor ------------------------------------------------------------------------- */

HRESULT WINAPI WHvPostVirtualProcessorSynicMessage(
	WHV_PARTITION_HANDLE p, UINT32 vp, UINT32 sint, const VOID *message, UINT32 size)
{
	struct guest *g = p;
	HRESULT hr = S_OK;

	pthread_mutex_lock(&g->lock);
	if (g->takes_at_once) {
		g->taken++;
		pthread_cond_broadcast(&g->changed);
	} else if (g->slot_full) {
		hr = HRESULT_FROM_WIN32(ERROR_HV_OBJECT_IN_USE);
	} else {
		g->slot_full = true;
		g->slot_vp = vp;
		memcpy(&g->slot, message, size);
		pthread_cond_broadcast(&g->changed);
	}
	pthread_mutex_unlock(&g->lock);
	return hr;
}

HRESULT WINAPI WHvCancelRunVirtualProcessor(WHV_PARTITION_HANDLE p, UINT32 vp, UINT32 flags)
{
	struct guest *g = p;

	pthread_mutex_lock(&g->lock);
	g->cancelled |= 1u << vp;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
	return S_OK;
}

/*
 * All processors: one that is cancelled leaves its run, asks what is wanted, and finds the slot free
 * or not. Their thread is not the caller's, who may hold locks.
 */
static void *processors(void *arg)
{
	struct guest *g = arg;

	pthread_mutex_lock(&g->lock);
	while (!g->ends) {
		const uint32_t cancelled = g->cancelled;
		const bool full = g->slot_full;

		if (!cancelled) {
			pthread_cond_wait(&g->changed, &g->lock);
			continue;
		}
		g->cancelled = 0;
		pthread_mutex_unlock(&g->lock);
		for (uint32_t vp = 0; !full && vp < GUEST_PROCESSORS; vp++)
			if (cancelled >> vp & 1)
				vmbus_sints_deliverable(
					g->bus, vp, vmbus_sints_wanted(g->bus, vp));
		pthread_mutex_lock(&g->lock);
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

/* All processors share the slot. */
bool guest_empty_slot(struct guest *g, struct vmbus_synic_message *message)
{
	bool full;

	pthread_mutex_lock(&g->lock);
	full = g->slot_full;
	if (full)
		*message = g->slot;
	g->slot_full = false;
	pthread_mutex_unlock(&g->lock);
	for (uint32_t vp = 0; full && vp < GUEST_PROCESSORS; vp++)
		vmbus_sints_deliverable(g->bus, vp, vmbus_sints_wanted(g->bus, vp));
	return full;
}

HRESULT WINAPI WHvSignalVirtualProcessorSynicEvent(
	WHV_PARTITION_HANDLE p, WHV_SYNIC_EVENT_PARAMETERS event, BOOL *newly)
{
	struct guest *g = p;

	pthread_mutex_lock(&g->lock);
	g->events[event.FlagNumber]++;
	g->event_vp = event.VpIndex;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
	return S_OK;
}

HRESULT WINAPI WHvCreateNotificationPort(WHV_PARTITION_HANDLE p,
	const WHV_NOTIFICATION_PORT_PARAMETERS *parameters, HANDLE event,
	WHV_NOTIFICATION_PORT_HANDLE *port)
{
	struct guest *g = p;
	HRESULT hr = E_FAIL;

	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < GUEST_PORTS; i++) {
		if (g->ports[i].fd)
			continue;
		g->ports[i].connection = parameters->Event.ConnectionId;
		g->ports[i].fd = fcntl(PARTITA_FD_FROM_HANDLE(event), F_DUPFD_CLOEXEC, 3);
		*port = &g->ports[i];
		hr = S_OK;
		break;
	}
	pthread_mutex_unlock(&g->lock);
	return hr;
}

HRESULT WINAPI WHvDeleteNotificationPort(WHV_PARTITION_HANDLE p, WHV_NOTIFICATION_PORT_HANDLE port)
{
	struct guest *g = p;

	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < GUEST_PORTS; i++) {
		if (&g->ports[i] == port) {
			close(g->ports[i].fd);
			g->ports[i].fd = 0;
		}
	}
	pthread_mutex_unlock(&g->lock);
	return S_OK;
}

HRESULT WINAPI WHvAdviseGpaRange(WHV_PARTITION_HANDLE p, const WHV_MEMORY_RANGE_ENTRY *ranges,
	UINT32 count, WHV_ADVISE_GPA_RANGE_CODE advice, const VOID *buffer, UINT32 size)
{
	struct guest *g = p;

	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < count && g->unpinned_count < 64; i++)
		g->unpinned[g->unpinned_count++] = ranges[i];
	pthread_mutex_unlock(&g->lock);
	return advice == WHvAdviseGpaRangeCodeUnpin ? S_OK : E_INVALIDARG;
}

/* The reference time, which is all that is asked for. */
HRESULT WINAPI WHvGetPartitionProperty(WHV_PARTITION_HANDLE p, WHV_PARTITION_PROPERTY_CODE code,
	VOID *buffer, UINT32 size, UINT32 *written)
{
	WHV_PARTITION_PROPERTY *property = buffer;
	struct timespec now;

	assert_int_equal(code, WHvPartitionPropertyCodeReferenceTime);
	clock_gettime(CLOCK_MONOTONIC, &now);
	property->ReferenceTime = (UINT64)now.tv_sec * 10000000u + (UINT64)now.tv_nsec / 100;
	return S_OK;
}

/* ---- Life ----------------------------------------------------------------------------------- */

static int tl_connect(void *ctx, const GUID *endpoint, const GUID *service)
{
	struct guest *g = ctx;

	g->tl_service = *service;
	return g->tl_answer;
}

static uint8_t *map_ram(const struct guest *g)
{
	uint8_t *at = mmap(NULL, GUEST_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

struct guest *guest_create(void)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct vmbus_config config = {
		.name = "test", .partition = g, .processors = GUEST_PROCESSORS, .memory_count = 2};

	assert_non_null(g);
	g->fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(g->fd, GUEST_RAM), 0);
	g->ram = map_ram(g);
	g->host = map_ram(g);
	g->next_page = 1;
	g->next_gpadl = 0xE1E10;
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
	config.memory[0] =
		(struct vmbus_memory){.size = GUEST_RAM / 2, .host = g->host, .fd = g->fd};
	config.memory[1] = (struct vmbus_memory){.gpa = GUEST_HIGH,
		.size = GUEST_RAM / 2,
		.host = g->host + GUEST_RAM / 2,
		.fd = g->fd,
		.offset = GUEST_RAM / 2};
	config.tl_connect = tl_connect;
	config.ctx = g;
	assert_int_equal(vmbus_create(&config, &g->bus), 0);
	assert_int_equal(pthread_create(&g->processors, NULL, processors, g), 0);
	return g;
}

void guest_destroy(struct guest *g)
{
	pthread_mutex_lock(&g->lock);
	g->ends = true;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
	pthread_join(g->processors, NULL);
	vmbus_destroy(g->bus);
	for (unsigned i = 0; i < GUEST_PORTS; i++)
		assert_int_equal(g->ports[i].fd, 0);
	munmap(g->ram, GUEST_RAM);
	munmap(g->host, GUEST_RAM);
	close(g->fd);
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

uint8_t *guest_at(struct guest *g, uint64_t gpa)
{
	return g->ram + (gpa >= GUEST_HIGH ? gpa - GUEST_HIGH + GUEST_RAM / 2 : gpa);
}

uint64_t guest_pages(struct guest *g, unsigned count)
{
	uint64_t half = GUEST_RAM / 2 / VMBUS_PAGE, first = g->next_page;

	if (first < half && first + count > half)
		first = half; /* not across the hole */
	g->next_page = first + count;
	assert_true(g->next_page <= 2 * half);
	return first < half ? first * VMBUS_PAGE : GUEST_HIGH + (first - half) * VMBUS_PAGE;
}

/* ---- Messages ------------------------------------------------------------------------------- */

static struct timespec deadline(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += PATIENCE;
	return t;
}

void guest_post(struct guest *g, uint32_t type, void *message, size_t size)
{
	struct vmbus_header *header = message;
	uint16_t status;

	header->type = type;
	header->padding = 0;
	do
		status = vmbus_post_message(
			g->bus, VMBUS_MESSAGE_CONNECTION_4, VMBUS_MESSAGE_TYPE, message, size);
	while (status == 0x13);
	assert_int_equal(status, 0);
}

void guest_take(struct guest *g, uint32_t type, void *message, size_t size)
{
	struct timespec until = deadline();
	struct vmbus_synic_message slot = {0};
	uint32_t got;

	pthread_mutex_lock(&g->lock);
	while (!g->slot_full && !pthread_cond_timedwait(&g->changed, &g->lock, &until))
		;
	pthread_mutex_unlock(&g->lock);
	assert_true(guest_empty_slot(g, &slot));
	assert_int_equal(slot.type, VMBUS_MESSAGE_TYPE);
	memcpy(&got, slot.payload, sizeof(got));
	assert_int_equal(got, type);
	assert_int_equal(slot.payload_size, size);
	memcpy(message, slot.payload, size);
}

void guest_take_at_once(struct guest *g, unsigned count)
{
	struct timespec until = deadline();
	struct vmbus_synic_message slot;
	unsigned taken;

	pthread_mutex_lock(&g->lock);
	g->takes_at_once = true;
	g->taken = g->slot_full;
	pthread_mutex_unlock(&g->lock);
	guest_empty_slot(g, &slot);
	pthread_mutex_lock(&g->lock);
	while (g->taken < count && !pthread_cond_timedwait(&g->changed, &g->lock, &until))
		;
	taken = g->taken;
	pthread_mutex_unlock(&g->lock);
	assert_int_equal(taken, count);
}

/* The answer to a message that always has one comes next: there was nothing before it. */
void guest_take_nothing(struct guest *g)
{
	struct vmbus_gpadl_header bad = {.relid = VMBUS_MAX_CHANNELS};
	struct vmbus_gpadl_created created;

	guest_post(g, VMBUS_GPADL_HEADER, &bad, sizeof(bad));
	guest_take(g, VMBUS_GPADL_CREATED, &created, sizeof(created));
	assert_int_equal(created.relid, VMBUS_MAX_CHANNELS);
	assert_int_not_equal(created.status, 0);
}

bool guest_contact(struct guest *g, uint32_t version)
{
	struct vmbus_initiate_contact contact = {.version = version, .target_vp = 1};
	struct vmbus_version_response response;

	if (version >= VMBUS_WIN10_5_0)
		contact.sint = VMBUS_SINT;
	else
		contact.interrupt_page = guest_pages(g, 1);
	contact.monitor_page_to_guest = guest_pages(g, 1);
	contact.monitor_page_to_host = guest_pages(g, 1);
	guest_post(g, VMBUS_INITIATE_CONTACT, &contact, sizeof(contact));
	guest_take(g, VMBUS_VERSION_RESPONSE, &response, sizeof(response));
	assert_int_equal(g->slot_vp, 1);
	return response.supported;
}

void guest_connect(struct guest *g, uint32_t version, struct vmbus_offer_channel *offer)
{
	struct vmbus_header header;

	assert_true(guest_contact(g, version));
	guest_post(g, VMBUS_REQUEST_OFFERS, &header, sizeof(header));
	guest_take(g, VMBUS_OFFER_CHANNEL, offer, sizeof(*offer));
	guest_take(g, VMBUS_ALL_OFFERS_DELIVERED, &header, sizeof(header));
}

/* ---- Pages lent ----------------------------------------------------------------------------- */

struct gpadl_message {
	union {
		struct vmbus_gpadl_header header;
		struct vmbus_gpadl_body body;
	};
	uint8_t words[VMBUS_PAYLOAD_MAX - sizeof(struct vmbus_gpadl_header)];
};

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

uint32_t guest_gpadl(
	struct guest *g, uint32_t relid, const uint64_t *pfn, unsigned count, bool created)
{
	struct vmbus_gpa_range range = {.byte_count = count * VMBUS_PAGE};
	struct vmbus_gpadl_created answer;
	struct gpadl_message m = {.header = {
					  .relid = relid,
					  .gpadl = ++g->next_gpadl,
					  .range_bytes = (uint16_t)(8 + count * 8),
					  .range_count = 1,
				  }};
	unsigned done = least(count, 26);

	memcpy(m.words, &range, 8);
	memcpy(m.words + 8, pfn, done * 8);
	guest_post(g, VMBUS_GPADL_HEADER, &m, sizeof(m.header) + 8 + done * 8);
	while (done < count) {
		unsigned part = least(count - done, 28);
		uint8_t body[VMBUS_PAYLOAD_MAX];
		struct vmbus_gpadl_body head = {.gpadl = g->next_gpadl};

		memcpy(body, &head, sizeof(head));
		memcpy(body + sizeof(head), pfn + done, part * 8);
		guest_post(g, VMBUS_GPADL_BODY, body, sizeof(head) + part * 8);
		done += part;
	}
	guest_take(g, VMBUS_GPADL_CREATED, &answer, sizeof(answer));
	assert_int_equal(answer.gpadl, g->next_gpadl);
	assert_int_equal(answer.relid, relid);
	assert_int_equal(answer.status == VMBUS_STATUS_SUCCESS, created);
	return g->next_gpadl;
}

void guest_gpadl_teardown(struct guest *g, uint32_t relid, uint32_t id)
{
	struct vmbus_gpadl_teardown teardown = {.relid = relid, .gpadl = id};
	struct vmbus_gpadl_torndown torndown;

	guest_post(g, VMBUS_GPADL_TEARDOWN, &teardown, sizeof(teardown));
	guest_take(g, VMBUS_GPADL_TORNDOWN, &torndown, sizeof(torndown));
	assert_int_equal(torndown.gpadl, id);
}

/* ---- Channels ------------------------------------------------------------------------------- */

static struct guest_ring ring_at(struct guest *g, uint64_t gpa, unsigned pages)
{
	return (struct guest_ring){
		.control = (struct vmbus_ring_control *)guest_at(g, gpa),
		.data = guest_at(g, gpa + VMBUS_PAGE),
		.size = (pages - 1) * VMBUS_PAGE,
	};
}

uint32_t guest_try_open(struct guest *g, struct guest_channel *c,
	const struct vmbus_offer_channel *offer, unsigned pages)
{
	uint64_t out = guest_pages(g, pages), in, pfn[512];
	struct vmbus_open_channel open = {
		.relid = offer->relid, .open_id = 77, .target_vp = 2, .downstream_page = pages};
	struct vmbus_open_result result;

	guest_pages(g, 3);
	in = guest_pages(g, pages);
	*c = (struct guest_channel){.guest = g, .offer = *offer};
	c->out = ring_at(g, out, pages);
	c->in = ring_at(g, in, pages);
	for (unsigned i = 0; i < pages; i++) {
		pfn[i] = out / VMBUS_PAGE + i;
		pfn[pages + i] = in / VMBUS_PAGE + i;
	}
	c->gpadl = guest_gpadl(g, offer->relid, pfn, 2 * pages, true);
	open.ring_gpadl = c->gpadl;
	guest_post(g, VMBUS_OPEN_CHANNEL, &open, sizeof(open));
	guest_take(g, VMBUS_OPEN_RESULT, &result, sizeof(result));
	assert_int_equal(result.relid, offer->relid);
	assert_int_equal(result.open_id, 77);
	return result.status;
}

void guest_open(struct guest *g, struct guest_channel *c, const struct vmbus_offer_channel *offer,
	unsigned pages)
{
	assert_int_equal(guest_try_open(g, c, offer, pages), VMBUS_STATUS_SUCCESS);
}

void guest_close(struct guest_channel *c)
{
	struct vmbus_relid_message close = {.relid = c->offer.relid};

	guest_post(c->guest, VMBUS_CLOSE_CHANNEL, &close, sizeof(close));
	guest_gpadl_teardown(c->guest, c->offer.relid, c->gpadl);
}

void guest_signal(struct guest *g, uint32_t connection)
{
	uint64_t one = 1;
	bool found = g->may_miss;

	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < GUEST_PORTS; i++) {
		if (g->ports[i].fd && g->ports[i].connection == connection)
			found |= write(g->ports[i].fd, &one, 8) == 8;
	}
	pthread_mutex_unlock(&g->lock);
	assert_true(found);
}

void guest_signal_channel(struct guest_channel *c)
{
	guest_signal(c->guest, c->offer.connection);
}

void guest_await_event(struct guest_channel *c)
{
	struct guest *g = c->guest;
	struct timespec until = deadline();

	bool came;

	pthread_mutex_lock(&g->lock);
	while (!g->events[c->offer.relid] && !pthread_cond_timedwait(&g->changed, &g->lock, &until))
		;
	came = g->events[c->offer.relid];
	g->events[c->offer.relid] = 0;
	pthread_mutex_unlock(&g->lock);
	assert_true(came);
}

/* ---- Rings ---------------------------------------------------------------------------------- */

static uint32_t copy_in(struct guest_ring *r, uint32_t at, const void *from, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++, at = (at + 1) % r->size)
		r->data[at] = ((const uint8_t *)from)[i];
	return at;
}

static uint32_t copy_out(struct guest_ring *r, uint32_t at, void *to, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++, at = (at + 1) % r->size)
		((uint8_t *)to)[i] = r->data[at];
	return at;
}

bool guest_send(struct guest_channel *c, uint16_t type, uint16_t flags, uint64_t transaction,
	const void *header, uint32_t header_size, const void *payload, uint32_t size)
{
	struct guest_ring *r = &c->out;
	uint32_t read = __atomic_load_n(&r->control->read_index, __ATOMIC_SEQ_CST);
	uint32_t write = r->control->write_index, start = write;
	uint32_t padded = (size + 7) & ~7u, total = 16 + header_size + padded + 8;
	struct vmbus_descriptor d = {
		.type = type,
		.offset8 = (uint16_t)((16 + header_size) / 8),
		.length8 = (uint16_t)((16 + header_size + padded) / 8),
		.flags = flags,
		.transaction = transaction,
	};
	uint64_t zero = 0, trailer = (uint64_t)start << 32;

	if ((read + r->size - write - 1) % r->size < total)
		return false;
	write = copy_in(r, write, &d, 16);
	write = copy_in(r, write, header, header_size);
	write = copy_in(r, write, payload, size);
	write = copy_in(r, write, &zero, padded - size);
	write = copy_in(r, write, &trailer, 8);
	__atomic_store_n(&r->control->write_index, write, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&r->control->interrupt_mask, __ATOMIC_SEQ_CST) &&
		__atomic_load_n(&r->control->read_index, __ATOMIC_SEQ_CST) == start)
		guest_signal_channel(c);
	return true;
}

bool guest_receive(struct guest_channel *c, struct vmbus_descriptor *d, void *data, uint32_t size)
{
	struct guest_ring *r = &c->in;
	uint32_t write = __atomic_load_n(&r->control->write_index, __ATOMIC_SEQ_CST);
	uint32_t read = r->control->read_index, at, room, pending, bytes;

	if (read == write)
		return false;
	/* What the host asked of the hypervisor before it put the packet was done. */
	pthread_mutex_lock(&c->guest->lock);
	pthread_mutex_unlock(&c->guest->lock);
	at = copy_out(r, read, d, 16);
	bytes = d->length8 * 8u - 16;
	copy_out(r, at, data, bytes < size ? bytes : size);
	read = (read + d->length8 * 8u + 8) % r->size;
	__atomic_store_n(&r->control->read_index, read, __ATOMIC_SEQ_CST);
	pending = __atomic_load_n(&r->control->pending_send_size, __ATOMIC_SEQ_CST);
	write = __atomic_load_n(&r->control->write_index, __ATOMIC_SEQ_CST);
	room = (read + r->size - write - 1) % r->size + 1;
	/* Did this packet's room make the difference to what the host waits for? */
	if (pending && room > pending && room - (d->length8 * 8u + 8) <= pending)
		guest_signal_channel(c);
	return true;
}

void guest_await_packet(
	struct guest_channel *c, struct vmbus_descriptor *d, void *data, uint32_t size)
{
	while (!guest_receive(c, d, data, size))
		guest_await_event(c);
}
