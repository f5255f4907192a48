/*
 * storage.c - a driver that says anything at all to the storage provider: packets in any order and
 * of any contents, with pages and without; while units come and go and commands are under way.
 *
 * Input: operations (struct operation), each followed by the packet that it sends. The rings are
 * right here; vmbus.c is the guest whose rings are not.
 *
 * Promises that are tested: each packet is answered once, with a packet of the same size, unless
 * the channel ends for it; the end waits for what is under way.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk/scsi.h"
#include "memory_disk.h"
#include "vmbus/bus.h"
#include "vmbus_guest.h"
#include "vsp/storage.h"
#include "vsp/storage_protocol.h"

#define SIZE	   (1u << 20) /* bytes of the disk */
#define OPERATIONS 64u
#define PAGES	   32u /* for data */
#define MOST	   80u /* bytes of a packet, more than the protocol has */

enum { START, INBAND, DIRECT, DIRECT_SRB, OTHER, AWAIT, MOVE, KINDS };

struct operation {
	uint8_t kind, size;
	uint16_t a;
	uint32_t b;
};

static struct {
	struct disk_engine *engine;
	struct disk *disk;
	struct scsi_unit *unit, *drive;
	struct storage *storage;
	struct guest *guest;
	struct guest_channel c;
	uint64_t pages;
	uint8_t sizes[OPERATIONS * 8]; /* of the packets that wait for an answer, by transaction */
	unsigned sent, waiting;
} world;

static void begin(void)
{
	struct storage_config config = {.name = "fuzz", .sub_channels = 3};
	struct vmbus_offer_channel offer;

	if (!world.engine) {
		world.engine = disk_engine_create(NULL);
		world.disk = memory_disk(world.engine, memory_file(SIZE), DISK_OPEN_WRITE);
	}
	config.engine = world.engine;
	world.unit = scsi_disk_create(world.disk, NULL);
	world.drive = scsi_dvd_create(world.disk);
	world.guest = guest_create();
	world.guest->may_miss = true;
	world.sent = world.waiting = 0;
	memset(world.sizes, 0, sizeof(world.sizes));
	assert_int_equal(storage_create(world.guest->bus, &config, &world.storage), 0);
	assert_int_equal(storage_attach(world.storage, 0, world.unit), 0);
	assert_int_equal(storage_attach(world.storage, 1, world.drive), 0);
	guest_connect(world.guest, VMBUS_WIN10_5_3, &offer);
	guest_open(world.guest, &world.c, &offer, 3);
	world.pages = guest_pages(world.guest, PAGES);
}

static void end(void)
{
	storage_destroy(world.storage);
	guest_destroy(world.guest);
	scsi_unit_destroy(world.unit);
	scsi_unit_destroy(world.drive);
}

/* ---- The conversation ----------------------------------------------------------------------- */

/* Does the host still serve the channel? */
static bool served(void)
{
	struct vmbus *bus = world.guest->bus;
	struct vmbus_channel *ch;
	bool served;

	pthread_mutex_lock(&bus->lock);
	ch = bus->channel[world.c.offer.relid];
	served = ch && ch->service == SERVICE_RUNNING && !ch->stop;
	pthread_mutex_unlock(&bus->lock);
	return served;
}

static void take(void)
{
	struct storage_packet p;
	struct vmbus_descriptor d;

	while (guest_receive(&world.c, &d, &p, sizeof(p))) {
		if (d.type == VMBUS_PACKET_INBAND) {
			assert_int_equal(p.operation, STORAGE_ENUMERATE_BUS);
			continue;
		}
		assert_int_equal(d.type, VMBUS_PACKET_COMPLETION);
		assert_true(d.transaction < world.sent && world.sizes[d.transaction]);
		assert_int_equal(d.length8 * 8 - 16, world.sizes[d.transaction]);
		assert_int_equal(p.operation, STORAGE_COMPLETE_IO);
		world.sizes[d.transaction] = 0;
		world.waiting--;
	}
}

static void await_all(void)
{
	while (world.waiting && served()) {
		take();
		sched_yield();
	}
}

/* Sends a packet and lets the host take it; what it leads to may still be under way. */
static void put(
	uint16_t type, const void *header, uint32_t header_size, const void *packet, uint32_t size)
{
	const struct vmbus_ring_control *ring = world.c.out.control;
	uint32_t answer =
		size < sizeof(struct storage_packet) ? size : sizeof(struct storage_packet);

	if (world.sent == sizeof(world.sizes) || !served())
		return;
	if (type == VMBUS_PACKET_INBAND || type == VMBUS_PACKET_GPA_DIRECT) {
		world.sizes[world.sent] = (uint8_t)((answer + 7) & ~7u);
		world.waiting++;
	}
	while (!guest_send(&world.c, type, VMBUS_PACKET_WANTS_COMPLETION, world.sent, header,
		header_size, packet, size))
		take();
	world.sent++;
	while (served() && __atomic_load_n(&ring->read_index, __ATOMIC_SEQ_CST) !=
				   __atomic_load_n(&ring->write_index, __ATOMIC_SEQ_CST)) {
		take();
		sched_yield();
	}
}

static void start(const struct operation *o)
{
	static const uint16_t versions[] = {STORAGE_VERSION_THRESHOLD, STORAGE_VERSION_WIN8_1,
		STORAGE_VERSION_WIN8, STORAGE_VERSION_WIN7, STORAGE_VERSION_WIN6};
	static const uint32_t operations[] = {STORAGE_BEGIN_INITIALIZATION,
		STORAGE_QUERY_PROTOCOL_VERSION, STORAGE_QUERY_PROPERTIES,
		STORAGE_END_INITIALIZATION};

	for (unsigned i = 0; i < 4; i++) {
		struct storage_packet p = {.operation = operations[i]};

		if (i == 1)
			p.version.major_minor = versions[o->a % 5];
		put(VMBUS_PACKET_INBAND, NULL, 0, &p, sizeof(p));
	}
}

/*
 * With pages: how many bytes and from where on is the operation's; now and then one is not there.
 */
static void put_direct(const struct operation *o, const void *packet, uint32_t size)
{
	struct {
		struct vmbus_gpa_direct head;
		struct vmbus_gpa_range range;
		uint64_t pfn[PAGES];
	} VMBUS_PACKED direct = {
		.head.range_count = 1 + (o->b >> 31),
		.range = {.byte_count = o->a, .byte_offset = o->b & 0xfff},
	};
	uint32_t pages = (o->a + (o->b & 0xfff) + 4095u) / 4096u + (o->b >> 30 & 1);

	for (uint32_t i = 0; i < pages; i++)
		direct.pfn[i % PAGES] = world.pages / 4096 + (o->b >> 12 & 31) * (i + 1) % PAGES;
	if (o->b >> 29 & 1)
		direct.pfn[0] = UINT64_MAX >> (o->b >> 24 & 31);
	put(VMBUS_PACKET_GPA_DIRECT, &direct, 16 + (pages < PAGES ? pages : PAGES) * 8, packet,
		size);
}

/* The packet is a command descriptor block, and the rest of the request is right. */
static void put_srb(const struct operation *o, const uint8_t *packet, uint32_t size)
{
	struct storage_packet p = {.operation = STORAGE_EXECUTE_SRB, .flags = 1};

	p.srb.length = sizeof(p.srb);
	p.srb.lun = o->b >> 17 & 1;
	p.srb.cdb_length = STORAGE_CDB;
	p.srb.sense_length = STORAGE_SENSE;
	p.srb.data_in = o->b >> 18 & 1;
	p.srb.data_transfer_length = o->a;
	memcpy(p.srb.cdb, packet, size < STORAGE_CDB ? size : STORAGE_CDB);
	put_direct(o, &p, sizeof(p));
}

/* A unit goes, and comes again. */
static void move(const struct operation *o)
{
	unsigned lun = o->a & 1;
	struct scsi_unit *unit = storage_detach(world.storage, lun);

	assert_non_null(unit);
	if (o->b & 1)
		scsi_reset(unit);
	assert_int_equal(storage_attach(world.storage, lun, unit), 0);
}

static void run(const struct operation *o, const uint8_t *packet, uint32_t size)
{
	switch (o->kind % KINDS) {
	case START:
		start(o);
		break;
	case INBAND:
		put(VMBUS_PACKET_INBAND, NULL, 0, packet, size);
		break;
	case DIRECT:
		put_direct(o, packet, size);
		break;
	case DIRECT_SRB:
		put_srb(o, packet, size);
		break;
	case OTHER:
		put(o->a & 1 ? VMBUS_PACKET_COMPLETION : VMBUS_PACKET_TRANSFER_PAGES, packet,
			size & 8, packet, size);
		break;
	case AWAIT:
		await_all();
		break;
	case MOVE:
		move(o);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct operation o;

	begin();
	for (unsigned i = 0; i < OPERATIONS && size >= sizeof(o); i++) {
		uint32_t n;

		memcpy(&o, data, sizeof(o));
		data += sizeof(o);
		size -= sizeof(o);
		n = o.size % (MOST + 1);
		n = n < size ? n : (uint32_t)size;
		run(&o, data, n);
		data += n;
		size -= n;
	}
	/* Half of the inputs end with commands under way. */
	if (world.sent % 2)
		await_all();
	end();
	return 0;
}
