/*
 * vmbus.c - a guest that does anything at all to VMBus: control messages right and wrong, pages it
 * has and has not, packets and bytes in its rings; while its host takes devices away and offers
 * them again. The hypervisor is that of the unit tests.
 *
 * Input: operations of eight bytes (struct operation). Addresses and numbers are taken modulo
 * something that is little more than what there is.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "vmbus/bus.h"
#include "vmbus_guest.h"

#define OPERATIONS 128u
#define PAGES	   64u /* of the guest, from the first on */
#define DEVICES	   3u
#define IOV	   8u

enum { CONTACT, RAW_MESSAGE, LIST_PAGES, OPEN, RING_PACKET, RING_BYTES, SIGNAL, REVOKE, KINDS };

struct operation {
	uint8_t kind, which;
	uint16_t a;
	uint32_t b;
};

static struct {
	struct guest *guest;
	struct vmbus_channel *device[DEVICES];
} world;

/* ---- The device: looks at all that a packet has, and answers -------------------------------- */

static int device_open(void *ctx, struct vmbus_channel *ch, const uint8_t *user_data)
{
	return user_data[0] == 0xFF ? -EBUSY : 0;
}

static void device_close(void *ctx, struct vmbus_channel *ch)
{
	struct vmbus_mapping *m = vmbus_channel_get(ch);

	if (m)
		vmbus_gpadl_unmap(ch, m);
	free(m);
}

/* A packet may ask for a list of pages to be mapped, and written. */
static void map(struct vmbus_channel *ch, uint32_t id)
{
	struct vmbus_mapping *m = vmbus_channel_get(ch);

	if (m || !(m = calloc(1, sizeof(*m))))
		return;
	if (vmbus_gpadl_map(ch, id, m)) {
		free(m);
		return;
	}
	memset(m->base, 0xA5, m->size);
	vmbus_channel_set(ch, m);
}

static int device_receive(void *ctx, struct vmbus_channel *ch, const struct vmbus_packet *p)
{
	uint8_t bytes[64] = {0};
	struct iovec iov[IOV];
	uint64_t total = 0;
	uint32_t offset, size;
	int n;

	vmbus_packet_read(p, 0, bytes, p->size < sizeof(bytes) ? p->size : sizeof(bytes));
	n = vmbus_packet_pages(ch, p, iov, IOV, &total);
	for (int i = 0; i < n; i++)
		memset(iov[i].iov_base, 0x5A, iov[i].iov_len);
	if (n > 0)
		vmbus_wrote(ch, iov, (unsigned)n);
	if (p->kind == VMBUS_TRANSFER && vmbus_packet_transfer(p, 1, &offset, &size) < 0)
		return -EPROTO;
	if (bytes[0] == 1)
		map(ch, bytes[1] & 15);
	if (bytes[0] == 2)
		vmbus_offer_subchannels(ch, bytes[1] % 3);
	n = p->wants_completion ? vmbus_complete(ch, p->transaction, bytes, sizeof(bytes)) : 0;
	return n == -EPROTO ? n : 0;
}

static const struct vmbus_provider provider = {
	.open = device_open, .close = device_close, .receive = device_receive};

static void offer(unsigned i)
{
	static const struct vmbus_offer offers[DEVICES] = {
		{.name = "bus", .service = VMBUS_SERVED_BY_BUS},
		{.name = "alone", .service = VMBUS_SERVED_ALONE},
		{.name = "other",
			.service = VMBUS_SERVED_BY_BUS,
			.monitor_latency = 10000,
			.shared_interrupt = true},
	};

	if (vmbus_offer(world.guest->bus, &offers[i], &provider, NULL, &world.device[i]))
		abort();
}

/* ---- The guest ------------------------------------------------------------------------------ */

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return fd >= 0 && poll(&p, 1, 0) > 0;
}

static bool busy(struct vmbus *bus)
{
	struct vmbus_channel *ch;
	bool busy;

	pthread_mutex_lock(&bus->lock);
	busy = bus->inbox_count || bus->outbox || bus->leave != LEAVE_NOT ||
	       readable(bus->wake_event);
	for_each_channel (ch, bus)
		busy |= ch->service == SERVICE_DUE || ch->service == SERVICE_ENDING ||
			(ch->service == SERVICE_RUNNING && (ch->stop || readable(ch->event)));
	pthread_mutex_unlock(&bus->lock);
	return busy;
}

/* What was done has had its effects, so that the next operation comes after it. */
static void settle(struct guest *g)
{
	struct vmbus_synic_message message;

	while (guest_empty_slot(g, &message) || busy(g->bus))
		sched_yield();
}

static void post(struct guest *g, uint32_t type, void *message, size_t size)
{
	((struct vmbus_header *)message)->type = type;
	vmbus_post_message(g->bus, 1, VMBUS_MESSAGE_TYPE, message, size);
}

static uint64_t page(uint32_t n)
{
	return n % (PAGES + 1) == PAGES ? GUEST_RAM / VMBUS_PAGE + n : n % PAGES;
}

static void contact(struct guest *g, const struct operation *o)
{
	static const uint32_t versions[] = {
		VMBUS_WIN10_5_3, VMBUS_WIN8, VMBUS_WIN10_RS3, VMBUS_VERSION(6, 0)};
	struct vmbus_initiate_contact m = {
		.version = versions[o->which % 4],
		.target_vp = o->a % (GUEST_PROCESSORS + 1),
		.monitor_page_to_host = page(o->b) * VMBUS_PAGE,
	};
	struct vmbus_header header;

	if (m.version < VMBUS_WIN10_5_0)
		m.interrupt_page = page(o->b >> 8) * VMBUS_PAGE;
	post(g, VMBUS_INITIATE_CONTACT, &m, sizeof(m));
	post(g, VMBUS_REQUEST_OFFERS, &header, sizeof(header));
}

/* Any type, a size that may be wrong, and small numbers where numbers are. */
static void raw_message(struct guest *g, const struct operation *o)
{
	uint32_t words[VMBUS_PAYLOAD_MAX / 4];

	for (unsigned i = 0; i < VMBUS_PAYLOAD_MAX / 4; i++)
		words[i] = (o->b >> (i % 8 * 4)) & 15;
	words[2] = o->b & 7;
	post(g, o->which % (VMBUS_MESSAGE_TYPES + 2), words, 8 + o->a % (VMBUS_PAYLOAD_MAX - 7));
}

/* A ring's worth of pages, or another list, one of them perhaps not there. */
static void list_pages(struct guest *g, const struct operation *o)
{
	unsigned count = o->a % 24;
	struct {
		struct vmbus_gpadl_header header;
		struct vmbus_gpa_range range;
		uint64_t pfn[24];
	} __attribute__((packed)) m = {
		.header = {.relid = o->which & 7,
			.gpadl = o->which >> 4,
			.range_bytes = (uint16_t)(8 + 8 * count),
			.range_count = 1 + (o->b >> 31)},
		.range = {.byte_count = count * VMBUS_PAGE, .byte_offset = (o->b >> 29) & 3},
	};

	for (unsigned i = 0; i < count; i++)
		m.pfn[i] = page(o->b + i);
	post(g, VMBUS_GPADL_HEADER, &m, sizeof(m.header) + 8 + 8 * count);
}

static void open_channel(struct guest *g, const struct operation *o)
{
	struct vmbus_open_channel m = {
		.relid = o->which & 7,
		.ring_gpadl = o->a & 15,
		.target_vp = o->b % (GUEST_PROCESSORS + 2) - 1,
		.downstream_page = (o->b >> 8) & 15,
		.user_data = {(uint8_t)(o->b >> 16)},
	};

	post(g, VMBUS_OPEN_CHANNEL, &m, sizeof(m));
}

/*
 * A packet at the write index of the ring whose control page is so. What follows the descriptor
 * begins as a GPA-direct packet of one or more ranges does; of others that is the payload.
 */
static void ring_packet(struct guest *g, const struct operation *o)
{
	static const uint16_t types[] = {VMBUS_PACKET_INBAND, VMBUS_PACKET_GPA_DIRECT,
		VMBUS_PACKET_TRANSFER_PAGES, VMBUS_PACKET_COMPLETION};
	struct vmbus_ring_control *c = (void *)guest_at(g, o->which % PAGES * VMBUS_PAGE);
	uint8_t *data = (uint8_t *)(c + 1);
	uint32_t write = c->write_index & 0xFF8, length = 2 + (o->a >> 4) % 16;
	struct {
		struct vmbus_descriptor descriptor;
		struct vmbus_gpa_direct direct;
		struct vmbus_gpa_range range;
		uint64_t pfn[13];
	} packet = {
		.descriptor = {.type = types[o->a & 3],
			.offset8 = (uint16_t)(2 + (o->a >> 8) % 8),
			.length8 = (uint16_t)length,
			.flags = o->a >> 3 & 1,
			.transaction = o->b},
		.direct = {.reserved = o->b, .range_count = 1 + (o->b >> 31)},
		.range = {.byte_count = o->b >> 8 & 0x3FFF, .byte_offset = o->b >> 4 & 0xFFF},
	};

	for (unsigned i = 0; i < 13; i++)
		packet.pfn[i] = page(o->b + i);
	if (write + length * 8 + 8 > VMBUS_PAGE)
		write = 0;
	memcpy(data + write, &packet, length * 8);
	__atomic_store_n(&c->write_index, write + length * 8 + 8, __ATOMIC_SEQ_CST);
}

static void ring_bytes(struct guest *g, const struct operation *o)
{
	uint8_t *at = guest_at(g, o->which % PAGES * VMBUS_PAGE) + o->a % (VMBUS_PAGE - 3);

	memcpy(at, &o->b, sizeof(o->b));
}

static void signal_all(struct guest *g)
{
	struct vmbus_channel *ch;

	pthread_mutex_lock(&g->bus->lock);
	event_signal(g->bus->shared_event);
	for_each_channel (ch, g->bus) {
		if (ch->event >= 0)
			event_signal(ch->event);
	}
	pthread_mutex_unlock(&g->bus->lock);
}

static void run(struct guest *g, const struct operation *o)
{
	switch (o->kind % KINDS) {
	case CONTACT:
		contact(g, o);
		break;
	case RAW_MESSAGE:
		raw_message(g, o);
		break;
	case LIST_PAGES:
		list_pages(g, o);
		break;
	case OPEN:
		open_channel(g, o);
		break;
	case RING_PACKET:
		ring_packet(g, o);
		break;
	case RING_BYTES:
		ring_bytes(g, o);
		break;
	case SIGNAL:
		signal_all(g);
		break;
	case REVOKE:
		vmbus_revoke(world.device[o->which % DEVICES]);
		offer(o->which % DEVICES);
		break;
	}
	settle(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct operation o;

	world.guest = guest_create();
	for (unsigned i = 0; i < DEVICES; i++)
		offer(i);
	for (unsigned i = 0; i < OPERATIONS && size >= sizeof(o); i++) {
		memcpy(&o, data, sizeof(o));
		data += sizeof(o);
		size -= sizeof(o);
		run(world.guest, &o);
	}
	guest_destroy(world.guest);
	return 0;
}
