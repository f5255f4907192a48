/*
 * socket.c - a guest that does anything at all to Hyper-V sockets: connects, opens what it is
 * offered and does not, says whatever in its packets, takes its own index back, closes and lets go
 * in any order; while programs of the host connect, send, do not read, and close.
 *
 * Input: operations (struct operation); those that send bytes of their own are followed by them.
 *
 * Promises that are tested: each request is answered once; everything ends when the machine does.
 */
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmbus/bus.h"
#include "vmbus_guest.h"
#include "vsp/socket.h"
#include "vsp/socket_protocol.h"

#define OPERATIONS 48u
#define PROGRAMS   4u
#define CHANNELS   6u

enum { CONNECT, ACCEPT, TAKE, OPEN, PACKET, RAW, INDEX, HEAR, SEND, RECEIVE, SHUT, CLOSE, RELEASE };
#define KINDS (RELEASE + 1)

struct operation {
	uint8_t kind, which;
	uint16_t a;
	uint32_t b;
};

static struct {
	struct guest *guest;
	struct loop *loop;
	struct sockets *sockets;
	int program[PROGRAMS]; /* -1: none */
	struct vmbus_offer_channel offer[CHANNELS];
	struct guest_channel channel[CHANNELS];
	bool offered[CHANNELS], open[CHANNELS];
	unsigned asked;
	_Atomic unsigned answers;
} world;

static void answered(void *ctx, const struct socket_request *r, int err, uint32_t port)
{
	world.answers++;
}

static void begin(void)
{
	struct sockets_config config = {.name = "fuzz", .answered = answered};
	struct vmbus_header header;

	memset(&world, 0, sizeof(world));
	memset(world.program, 0xFF, sizeof(world.program));
	world.guest = guest_create();
	world.guest->may_miss = true;
	world.loop = config.loop = loop_create();
	assert_int_equal(sockets_create(world.guest->bus, &config, &world.sockets), 0);
	assert_true(guest_contact(world.guest, VMBUS_WIN10_5_3));
	guest_post(world.guest, VMBUS_REQUEST_OFFERS, &header, sizeof(header));
}

static void end(void)
{
	sockets_destroy(world.sockets);
	if (world.answers != world.asked)
		abort();
	for (unsigned i = 0; i < PROGRAMS; i++)
		if (world.program[i] >= 0)
			close(world.program[i]);
	guest_destroy(world.guest);
	loop_destroy(world.loop);
}

/* ---- The host -------------------------------------------------------------------------------- */

static void connect_program(const struct operation *o, bool from_guest)
{
	int *fd = &world.program[o->which % PROGRAMS], pair[2];
	struct socket_request r = {.timeout_ms = 1 + o->a, .skip = o->b % 100};
	const GUID endpoint = {o->b, 0, 0, {0}};

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return;
	*fd = pair[1];
	r.fd = pair[0];
	if (from_guest) {
		sockets_accept(world.sockets, &endpoint, &r.service, pair[0]);
		return;
	}
	world.asked++;
	sockets_connect(world.sockets, &r);
}

static void receive(int fd)
{
	char scrap[4096];

	recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT);
}

/* ---- The guest ------------------------------------------------------------------------------- */

/* A message, if one has come: offers are kept. */
static void take(unsigned which)
{
	struct vmbus_synic_message m;
	uint32_t type;

	if (!guest_empty_slot(world.guest, &m))
		return;
	memcpy(&type, m.payload, sizeof(type));
	if (type != VMBUS_OFFER_CHANNEL || world.open[which])
		return;
	memcpy(&world.offer[which], m.payload, sizeof(world.offer[which]));
	world.offered[which] = true;
}

/* Without awaiting the answers: other messages are among them. */
static void open_channel(unsigned which, unsigned pages)
{
	struct guest *g = world.guest;
	struct guest_channel *c = &world.channel[which];
	uint64_t gpa = guest_pages(g, 2 * pages);
	struct {
		struct vmbus_gpadl_header header;
		struct vmbus_gpa_range range;
		uint64_t pfn[16];
	} __attribute__((packed)) gpadl = {
		.header = {.relid = world.offer[which].relid,
			.gpadl = ++g->next_gpadl,
			.range_bytes = (uint16_t)(8 + 16 * pages),
			.range_count = 1},
		.range = {.byte_count = 2 * pages * VMBUS_PAGE},
	};
	struct vmbus_open_channel open = {.relid = world.offer[which].relid,
		.ring_gpadl = g->next_gpadl,
		.downstream_page = pages};

	for (unsigned i = 0; i < 2 * pages; i++)
		gpadl.pfn[i] = gpa / VMBUS_PAGE + i;
	*c = (struct guest_channel){
		.guest = g, .offer = world.offer[which], .gpadl = g->next_gpadl};
	c->out = (struct guest_ring){
		(void *)guest_at(g, gpa), guest_at(g, gpa + VMBUS_PAGE), (pages - 1) * VMBUS_PAGE};
	gpa += pages * VMBUS_PAGE;
	c->in = (struct guest_ring){
		(void *)guest_at(g, gpa), guest_at(g, gpa + VMBUS_PAGE), (pages - 1) * VMBUS_PAGE};
	guest_post(g, VMBUS_GPADL_HEADER, &gpadl, sizeof(gpadl.header) + 8 + 16 * pages);
	guest_post(g, VMBUS_OPEN_CHANNEL, &open, sizeof(open));
	world.open[which] = true;
}

/* The host is signalled if it is still there. */
static void signal_host(const struct guest_channel *c)
{
	struct guest *g = world.guest;
	uint64_t one = 1;

	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < GUEST_PORTS; i++)
		if (g->ports[i].fd && g->ports[i].connection == c->offer.connection &&
			write(g->ports[i].fd, &one, 8) != 8)
			abort();
	pthread_mutex_unlock(&g->lock);
}

static void put(struct guest_channel *c, const void *payload, uint32_t size)
{
	/* So that it is signalled once, below. */
	c->out.control->interrupt_mask = 1;
	if (c->out.control->write_index < c->out.size && c->out.control->read_index < c->out.size &&
		guest_send(c, VMBUS_PACKET_INBAND, 0, 0, NULL, 0, payload, size))
		signal_host(c);
}

static void say(struct guest_channel *c, const struct operation *o)
{
	static uint32_t packet[2 + 1024];

	packet[0] = o->b & 0x80000000 ? o->b : SOCKET_DATA;
	packet[1] = o->a % 4097;
	put(c, packet, 8 + (o->b & 1 ? packet[1] : o->a / 2 % 4096));
}

static void let_go(unsigned which, bool release)
{
	struct vmbus_relid_message m = {.relid = world.offer[which].relid};

	guest_post(
		world.guest, release ? VMBUS_RELID_RELEASED : VMBUS_CLOSE_CHANNEL, &m, sizeof(m));
	if (release)
		world.open[which] = world.offered[which] = false;
}

static void hear(struct guest_channel *c)
{
	uint32_t write = c->in.control->write_index;

	if (write >= c->in.size)
		return;
	c->in.control->read_index = write;
	signal_host(c);
}

static size_t act(const struct operation *o, const uint8_t *data, size_t size)
{
	unsigned which = o->which % CHANNELS;
	struct guest_channel *c = &world.channel[which];
	int fd = world.program[o->which % PROGRAMS];
	size_t used = 0;

	switch (o->kind % KINDS) {
	case CONNECT:
	case ACCEPT:
		connect_program(o, o->kind % KINDS == ACCEPT);
		break;
	case TAKE:
		take(which);
		break;
	case OPEN:
		if (world.offered[which] && !world.open[which])
			open_channel(which, 2 + o->a % 5);
		break;
	case PACKET:
		if (world.open[which])
			say(c, o);
		break;
	case RAW:
		used = o->a % 64 < size ? o->a % 64 : size;
		if (world.open[which])
			put(c, data, (uint32_t)used);
		break;
	case INDEX: /* anywhere, also back */
		if (world.open[which]) {
			c->in.control->read_index = o->b % (c->in.size + 64) & ~7u;
			signal_host(c);
		}
		break;
	case HEAR:
		if (world.open[which])
			hear(c);
		break;
	case SEND:
		if (fd >= 0)
			send(fd, world.guest->ram, o->a, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case RECEIVE:
		if (fd >= 0)
			receive(fd);
		break;
	case SHUT:
		if (fd >= 0)
			shutdown(fd, SHUT_WR);
		break;
	case CLOSE:
		if (o->b & 1 && fd >= 0) {
			close(fd);
			world.program[o->which % PROGRAMS] = -1;
		} else {
			let_go(which, false);
		}
		break;
	default:
		let_go(which, true);
	}
	sched_yield();
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct operation o;

	begin();
	for (unsigned i = 0; i < OPERATIONS && size >= sizeof(o); i++) {
		size_t used;

		memcpy(&o, data, sizeof(o));
		data += sizeof(o);
		size -= sizeof(o);
		used = act(&o, data, size);
		data += used;
		size -= used;
	}
	end();
	return 0;
}
