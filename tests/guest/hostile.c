/*
 * hostile.c - a guest, without a kernel, whose only aim is to hurt its host: a VMBus driver that
 * knows the protocol well enough to come far, and leaves it wherever its dice say so, while its
 * second processor writes over the rings and the data that the host is looking at.
 *
 * usage, on the kernel command line: SEED ROUNDS, in decimal.
 * A round is a life: contact, offers, every channel opened, the storage driver's start-up, commands
 * and packets; each step may be wrong, left out or done twice. It ends with UNLOAD, to which the
 * host owes an answer whatever came before. After the last round the guest behaves: it reads sector
 * 0 of the disk at LUN 0 of the first SCSI controller and prints what is there.
 *
 * Output: "FACT rounds N", "FACT sector TEXT"; "FACT failed WHY" when the host owed something and
 * it did not come.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmbus/vmbus_protocol.h"
#include "vsp/storage_protocol.h"

#define ENTRIES(array) (sizeof(array) / sizeof((array)[0]))

#define COM1	    0x3f8
#define PM1_CONTROL 0x604
#define SLEEP	    (1u << 13) /* S5, type 0 */
#define TRAMPOLINE  0x8000u

#define MSR_GUEST_OS  0x40000000
#define MSR_HYPERCALL 0x40000001
#define MSR_TIME      0x40000020 /* in 100 ns */
#define MSR_ICR	      0x40000071
#define SECOND	      (1ull << 56) /* the processor that is meant */
#define MSR_SCONTROL  0x40000080
#define MSR_SIEFP     0x40000082
#define MSR_SIMP      0x40000083
#define MSR_EOM	      0x40000084
#define MSR_SINT(n)   (0x40000090 + (n))
#define SINT_POLLING  (1ull << 18)

#define POST_MESSAGE	     0x5cull
#define SIGNAL_EVENT	     0x5dull
#define FAST		     (1ull << 16)
#define INSUFFICIENT_BUFFERS 0x13

#define PATIENCE   (60ull * 10000000) /* for what the host owes; a machine may be slow */
#define RING_PAGES 5u		      /* one for control */
#define CHANNELS   24u
#define DATA_PAGES 16u
#define COMMANDS   40u /* of a channel in a round, at most */

struct page {
	uint8_t bytes[VMBUS_PAGE];
} __attribute__((aligned(VMBUS_PAGE)));

struct channel {
	struct vmbus_offer_channel offer;
	struct page ring[2 * RING_PAGES]; /* to the host, then from it */
	uint32_t gpadl;
	uint32_t write;
	bool open, storage;
};

static struct page hypercall_page, message_page, event_page, interrupt_page, monitor_pages[2];
static struct page input_page, data[DATA_PAGES];
static struct channel channels[CHANNELS];
static unsigned n_channels;
static uint32_t next_gpadl = 1, connection;

/* What the second processor writes over: nothing, packets and data, control words too. */
static volatile enum { REST, SCRIBBLE_DATA, SCRIBBLE_ALL } second_does;

extern const uint8_t trampoline[], trampoline_end[];
void hostile_main(uint32_t info);
void hostile_second(void);

/* The compiler calls these. */
void *memcpy(void *to, const void *from, size_t n)
{
	void *start = to;

	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}

void *memset(void *to, int value, size_t n)
{
	void *start = to;

	asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
	return start;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

/* ---- The machine ---------------------------------------------------------------------------- */

static void wrmsr(uint32_t msr, uint64_t value)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static uint64_t now(void)
{
	uint32_t low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_TIME));
	return (uint64_t)high << 32 | low;
}

static void pause(void)
{
	asm volatile("pause" : : : "memory");
}

static void print(const char *text)
{
	for (; *text; text++)
		asm volatile("outb %0, %1" : : "a"(*text), "Nd"((uint16_t)COM1));
}

static void print_number(uint64_t n)
{
	char digits[21], *at = digits + 20;

	*at = 0;
	do
		*--at = (char)('0' + n % 10);
	while (n /= 10);
	print(at);
}

static void power_off(void)
{
	asm volatile("outw %0, %1" : : "a"((uint16_t)SLEEP), "Nd"((uint16_t)PM1_CONTROL));
	for (;;)
		asm volatile("cli; hlt");
}

static void fail(const char *why, uint64_t n)
{
	print("\nFACT failed ");
	print(why);
	print(" ");
	print_number(n);
	print("\n");
	power_off();
}

/* Of each processor its own (xorshift64*). */
static uint64_t seeds[2];

static uint32_t dice(unsigned processor)
{
	uint64_t x = seeds[processor];

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	seeds[processor] = x;
	return (uint32_t)(x * 0x2545f4914f6cdd1dull >> 32);
}

static uint32_t below(uint32_t n)
{
	return dice(0) % n;
}

static bool once_in(uint32_t n)
{
	return !below(n);
}

/* A number that may be right, or is near an edge. */
static uint32_t perhaps(uint32_t right)
{
	static const uint32_t edges[] = {0, 1, 7, 8, 0xff, 0x7ff, 0x800, 0xfff, 0x1000, 0x1001,
		0xffff, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff};

	if (!once_in(12))
		return right;
	switch (below(3)) {
	case 0:
		return edges[below(ENTRIES(edges))];
	case 1:
		return right + below(5) - 2;
	default:
		return dice(0);
	}
}

static uint64_t page_of(const void *address)
{
	return (uintptr_t)address / VMBUS_PAGE;
}

/* Somewhere that the host must not be led to: behind memory, in devices, its own pages. */
static uint64_t wrong_page(void)
{
	static const uint64_t pages[] = {0, 0xa0, 0xfee00, 0x7ffffffff, 0xfffffffffffff, ~0ull};

	switch (below(4)) {
	case 0:
		return pages[below(ENTRIES(pages))];
	case 1:
		return page_of(once_in(2) ? &message_page : &event_page);
	case 2:
		return page_of(channels[below(CHANNELS)].ring) + below(RING_PAGES);
	default:
		return dice(0);
	}
}

static uint64_t perhaps_page(const void *address)
{
	return once_in(60) ? wrong_page() : page_of(address);
}

/* ---- Hypercalls ----------------------------------------------------------------------------- */

static uint16_t hypercall(uint64_t control, uint64_t input)
{
	register uint64_t output asm("r8") = 0;
	uint64_t result;

	asm volatile("call *%[page]"
		     : "=a"(result), "+c"(control), "+d"(input), "+r"(output)
		     : [page] "r"(&hypercall_page)
		     : "memory", "cc", "r9", "r10", "r11");
	return (uint16_t)result;
}

static void post(uint32_t type, const void *message, uint32_t size)
{
	struct {
		uint32_t connection, reserved, type, size;
		uint8_t payload[VMBUS_PAYLOAD_MAX];
	} *in = (void *)&input_page;
	uint64_t until = now() + PATIENCE;
	uint16_t status;

	in->connection = connection;
	in->reserved = 0;
	in->type = VMBUS_MESSAGE_TYPE;
	in->size = size;
	memcpy(in->payload, message, size);
	memcpy(in->payload, &type, sizeof(type));
	while ((status = hypercall(POST_MESSAGE, (uintptr_t)in)) == INSUFFICIENT_BUFFERS)
		if (now() > until)
			fail("no room for a message of type", type);
}

static void signal(const struct channel *c)
{
	hypercall(SIGNAL_EVENT | FAST, c->offer.connection);
}

/* ---- Messages ------------------------------------------------------------------------------- */

static uint32_t type_of(const void *message)
{
	uint32_t type;

	memcpy(&type, message, sizeof(type));
	return type;
}

/* Takes a message if there is one. */
static bool take(uint8_t message[VMBUS_PAYLOAD_MAX])
{
	volatile struct vmbus_synic_message *slot =
		(volatile void *)(message_page.bytes + VMBUS_SINT * 256);

	if (!slot->type)
		return false;
	memcpy(message, (const void *)slot->payload, VMBUS_PAYLOAD_MAX);
	slot->type = 0;
	asm volatile("mfence" : : : "memory");
	wrmsr(MSR_EOM, 0);
	return true;
}

static void note_offer(const void *message)
{
	static const GUID scsi = STORAGE_SCSI_INTERFACE, ide = STORAGE_IDE_INTERFACE;
	struct channel *c = &channels[n_channels];

	if (n_channels == CHANNELS)
		return;
	n_channels++;
	memcpy(&c->offer, message, sizeof(c->offer));
	c->storage = !memcmp(&c->offer.interface, &scsi, sizeof(scsi)) ||
		     !memcmp(&c->offer.interface, &ide, sizeof(ide));
	c->open = false;
	c->write = 0;
}

/* Waits until a message of this type comes; others are noted or forgotten. */
static void await(uint32_t type, void *to, size_t size)
{
	uint64_t until = now() + PATIENCE;
	uint8_t message[VMBUS_PAYLOAD_MAX];

	for (;;) {
		while (!take(message)) {
			if (now() > until)
				fail("no message of type", type);
			pause();
		}
		if (type_of(message) == VMBUS_OFFER_CHANNEL)
			note_offer(message);
		if (type_of(message) == type) {
			memcpy(to, message, size);
			return;
		}
	}
}

/* What has come until now. */
static void read_all(void)
{
	uint8_t message[VMBUS_PAYLOAD_MAX];

	while (take(message))
		if (type_of(message) == VMBUS_OFFER_CHANNEL)
			note_offer(message);
}

/* Any message at all, with numbers that mean something now and then. */
static void post_anything(void)
{
	uint32_t words[VMBUS_PAYLOAD_MAX / 4], size = 8 + below(VMBUS_PAYLOAD_MAX - 7);
	uint32_t right = connection;

	for (unsigned i = 0; i < ENTRIES(words); i++)
		words[i] = once_in(3) ? dice(0) : below(CHANNELS);
	/* Not these: the round's end waits for the answer to one of its own. */
	words[0] = below(VMBUS_MESSAGE_TYPES + 3);
	if (words[0] == VMBUS_UNLOAD || words[0] == VMBUS_INITIATE_CONTACT)
		words[0] = VMBUS_GPADL_BODY;
	if (once_in(8))
		connection = below(8);
	post(words[0], words, size);
	connection = right;
}

static void contact(uint32_t version)
{
	struct vmbus_initiate_contact m = {.version = version,
		.monitor_page_to_guest = (uintptr_t)&monitor_pages[0],
		.monitor_page_to_host = (uintptr_t)&monitor_pages[1]};
	struct vmbus_version_response response;

	connection =
		version < VMBUS_WIN10_5_0 ? VMBUS_MESSAGE_CONNECTION : VMBUS_MESSAGE_CONNECTION_4;
	if (version >= VMBUS_WIN10_5_0)
		m.sint = VMBUS_SINT;
	else
		m.interrupt_page = (uintptr_t)&interrupt_page;
	post(VMBUS_INITIATE_CONTACT, &m, sizeof(m));
	await(VMBUS_VERSION_RESPONSE, &response, sizeof(response));
	if (!response.supported)
		fail("no contact at version", version);
}

static void unload(void)
{
	struct vmbus_header header = {0};

	post(VMBUS_UNLOAD, &header, sizeof(header));
	await(VMBUS_UNLOAD_RESPONSE, &header, sizeof(header));
	n_channels = 0;
}

static void request_offers(void)
{
	struct vmbus_header header = {0};

	post(VMBUS_REQUEST_OFFERS, &header, sizeof(header));
	await(VMBUS_ALL_OFFERS_DELIVERED, &header, sizeof(header));
}

/* ---- Channels ------------------------------------------------------------------------------- */

/* Lends the rings' pages; with @mean perhaps not in one message, or other pages. */
static void lend(struct channel *c, bool mean)
{
	struct {
		struct vmbus_gpadl_header header;
		struct vmbus_gpa_range range;
		uint64_t pfn[2 * RING_PAGES];
	} VMBUS_PACKED m = {
		.header = {.relid = c->offer.relid,
			.gpadl = c->gpadl = next_gpadl++,
			.range_bytes = 8 + sizeof(m.pfn),
			.range_count = 1},
		.range = {.byte_count = sizeof(c->ring)},
	};

	for (unsigned i = 0; i < 2 * RING_PAGES; i++)
		m.pfn[i] = mean ? perhaps_page(&c->ring[i]) : page_of(&c->ring[i]);
	if (mean) {
		m.header.relid = perhaps(m.header.relid);
		m.header.gpadl = perhaps(m.header.gpadl);
		m.header.range_bytes = (uint16_t)perhaps(m.header.range_bytes);
		m.header.range_count = (uint16_t)perhaps(m.header.range_count);
		m.range.byte_count = perhaps(m.range.byte_count);
		m.range.byte_offset = perhaps(0);
	}
	post(VMBUS_GPADL_HEADER, &m, mean && once_in(12) ? 8 + below(sizeof(m) - 8) : sizeof(m));
}

static void open_channel(struct channel *c, bool mean)
{
	struct vmbus_open_channel m = {
		.relid = c->offer.relid, .open_id = c->offer.relid, .downstream_page = RING_PAGES};

	memset(c->ring, 0, sizeof(c->ring));
	c->write = 0;
	lend(c, mean);
	m.ring_gpadl = c->gpadl;
	if (mean) {
		m.relid = perhaps(m.relid);
		m.ring_gpadl = perhaps(m.ring_gpadl);
		m.target_vp = perhaps(0);
		m.downstream_page = perhaps(m.downstream_page);
		m.user_data[0] = (uint8_t)perhaps(0);
	}
	post(VMBUS_OPEN_CHANNEL, &m, sizeof(m));
	c->open = true;
}

static struct vmbus_ring_control *to_host(struct channel *c)
{
	return (void *)c->ring;
}

static uint8_t *ring_data(struct channel *c)
{
	return c->ring[1].bytes;
}

/* Puts bytes into the ring, whether there is room or not. */
static void put(struct channel *c, const void *bytes, uint32_t n)
{
	const uint8_t *from = bytes;
	uint32_t size = (RING_PAGES - 1) * VMBUS_PAGE;

	for (uint32_t i = 0; i < n; i++) {
		ring_data(c)[c->write] = from[i];
		c->write = (c->write + 1) % size;
	}
}

struct packet {
	struct vmbus_descriptor descriptor;
	struct vmbus_gpa_direct direct;
	struct vmbus_gpa_range range;
	uint64_t pfn[DATA_PAGES];
};

static void send(struct channel *c, const void *header, uint32_t header_size, const void *payload,
	uint32_t size)
{
	struct vmbus_trailer trailer = {.start = c->write};

	put(c, header, header_size);
	put(c, payload, size);
	put(c, &trailer, sizeof(trailer));
	__atomic_store_n(&to_host(c)->write_index, c->write, __ATOMIC_SEQ_CST);
	signal(c);
}

/* A packet of the storage driver's, with @pages pages of data. */
static void send_storage(struct channel *c, const struct storage_packet *p, unsigned pages,
	uint64_t transaction, bool mean)
{
	struct packet m = {
		.descriptor = {.type = pages ? VMBUS_PACKET_GPA_DIRECT : VMBUS_PACKET_INBAND,
			.flags = VMBUS_PACKET_WANTS_COMPLETION,
			.transaction = transaction},
		.direct = {.range_count = 1},
		.range = {.byte_count = pages * VMBUS_PAGE},
	};
	uint32_t header = pages ? offsetof(struct packet, pfn) + pages * 8 : 16;

	for (unsigned i = 0; i < pages; i++)
		m.pfn[i] = mean ? perhaps_page(&data[i]) : page_of(&data[i]);
	m.descriptor.offset8 = (uint16_t)(header / 8);
	m.descriptor.length8 = (uint16_t)((header + sizeof(*p)) / 8);
	if (mean) {
		m.descriptor.type = (uint16_t)(once_in(30) ? below(16) : m.descriptor.type);
		m.descriptor.flags = (uint16_t)(once_in(30) ? dice(0) : m.descriptor.flags);
		if (once_in(30))
			m.descriptor.offset8 = (uint16_t)perhaps(m.descriptor.offset8);
		if (once_in(30))
			m.descriptor.length8 = (uint16_t)perhaps(m.descriptor.length8);
		if (once_in(8))
			m.direct.range_count = perhaps(1);
		if (once_in(4))
			m.range.byte_count = perhaps(m.range.byte_count);
		if (once_in(4))
			m.range.byte_offset = below(VMBUS_PAGE);
	}
	send(c, &m, header, p, sizeof(*p));
}

/* The answer to a transaction, when the driver behaves. */
static void await_completion(struct channel *c, uint64_t transaction, struct storage_packet *p)
{
	struct vmbus_ring_control *in = (void *)&c->ring[RING_PAGES];
	uint8_t *from = c->ring[RING_PAGES + 1].bytes;
	uint64_t until = now() + PATIENCE;

	for (;;) {
		uint32_t read = in->read_index, size = (RING_PAGES - 1) * VMBUS_PAGE;
		uint8_t bytes[16 + sizeof(*p)];
		struct vmbus_descriptor d;

		while (read == __atomic_load_n(&in->write_index, __ATOMIC_SEQ_CST)) {
			if (now() > until)
				fail("no answer to", transaction);
			pause();
		}
		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = from[(read + i) % size];
		memcpy(&d, bytes, sizeof(d));
		__atomic_store_n(
			&in->read_index, (read + d.length8 * 8u + 8) % size, __ATOMIC_SEQ_CST);
		if (d.type == VMBUS_PACKET_COMPLETION && d.transaction == transaction) {
			memcpy(p, bytes + 16, sizeof(*p));
			return;
		}
	}
}

static const uint32_t start_up[] = {STORAGE_BEGIN_INITIALIZATION, STORAGE_QUERY_PROTOCOL_VERSION,
	STORAGE_QUERY_PROPERTIES, STORAGE_END_INITIALIZATION};

static void begin_storage(struct channel *c)
{
	for (unsigned i = 0; i < ENTRIES(start_up); i++) {
		struct storage_packet p = {.operation = start_up[i]};

		if (start_up[i] == STORAGE_QUERY_PROTOCOL_VERSION)
			p.version.major_minor = STORAGE_VERSION_THRESHOLD;
		send_storage(c, &p, 0, i + 1, false);
	}
}

/* A command that disks or DVD drives know, with any fields, to any unit. */
static struct storage_packet any_command(unsigned *pages)
{
	static const uint8_t commands[] = {0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x1e,
		0x25, 0x28, 0x2a, 0x2e, 0x2f, 0x35, 0x41, 0x42, 0x43, 0x46, 0x4a, 0x51, 0x55, 0x5a,
		0x5e, 0x5f, 0x88, 0x8a, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa8, 0xaa, 0xad};
	struct storage_packet p = {.operation = STORAGE_EXECUTE_SRB};

	*pages = below(DATA_PAGES + 1);
	p.srb.length = sizeof(p.srb);
	p.srb.cdb_length = (uint8_t)perhaps(STORAGE_CDB);
	p.srb.sense_length = STORAGE_SENSE;
	p.srb.data_in = (uint8_t)below(3);
	p.srb.lun = (uint8_t)(once_in(8) ? dice(0) : below(3));
	p.srb.target = (uint8_t)(once_in(16) ? dice(0) : 0);
	p.srb.data_transfer_length = perhaps(*pages * VMBUS_PAGE);
	for (unsigned i = 0; i < STORAGE_CDB; i++)
		p.srb.cdb[i] = (uint8_t)(once_in(6) ? dice(0) : 0);
	p.srb.cdb[0] = once_in(16) ? (uint8_t)dice(0) : commands[below(ENTRIES(commands))];
	/* Lengths that fit, often enough for data to move. */
	p.srb.cdb[8] = p.srb.cdb[13] = (uint8_t)below(*pages * 8 + 2);
	p.srb.cdb[5] = (uint8_t)dice(0);
	if (once_in(12))
		p.operation = below(16);
	return p;
}

/* ---- A round -------------------------------------------------------------------------------- */

static void scribble_once(unsigned processor)
{
	struct channel *c = &channels[dice(processor) % CHANNELS];
	uint8_t *at = dice(processor) % 2 ? ring_data(c) : data[0].bytes;
	uint32_t size = (RING_PAGES - 1) * VMBUS_PAGE;

	*(volatile uint32_t *)(at + dice(processor) % size / 4 * 4) = dice(processor);
	if (second_does == SCRIBBLE_ALL && dice(processor) % 64 == 0) {
		struct vmbus_ring_control *control =
			(void *)&c->ring[dice(processor) % 2 * RING_PAGES];
		volatile uint32_t *word = &control->write_index + dice(processor) % 4;

		*word = dice(processor) % (dice(processor) % 2 ? size : 0xffffffff);
	}
}

void hostile_second(void)
{
	for (;;) {
		if (second_does == REST)
			pause();
		else
			scribble_once(1);
	}
}

static void use(struct channel *c)
{
	unsigned commands = below(COMMANDS);

	if (c->storage && !once_in(8))
		begin_storage(c);
	for (unsigned i = 0; i < commands; i++) {
		unsigned pages;
		struct storage_packet p = any_command(&pages);

		send_storage(c, &p, pages, dice(0), true);
		if (once_in(20))
			post_anything();
		if (once_in(30))
			read_all();
		/* Room in the other ring, so that answers go on coming; or nonsense. */
		if (once_in(3)) {
			struct vmbus_ring_control *in = (void *)&c->ring[RING_PAGES];

			in->read_index = once_in(40) ? dice(0) : in->write_index;
		}
	}
}

static void let_go(struct channel *c)
{
	struct vmbus_relid_message close = {.relid = perhaps(c->offer.relid)};
	struct vmbus_gpadl_teardown teardown = {
		.relid = perhaps(c->offer.relid), .gpadl = perhaps(c->gpadl)};

	if (!once_in(4))
		post(VMBUS_CLOSE_CHANNEL, &close, sizeof(close));
	if (!once_in(4))
		post(VMBUS_GPADL_TEARDOWN, &teardown, sizeof(teardown));
	c->open = false;
}

static void live(void)
{
	static const uint32_t versions[] = {VMBUS_WIN8, VMBUS_WIN8_1, VMBUS_WIN10, VMBUS_WIN10_RS3,
		VMBUS_WIN10_5_0, VMBUS_WIN10_5_3};
	unsigned steps = 4 + below(12);

	contact(versions[below(ENTRIES(versions))]);
	request_offers();
	second_does = below(3);
	while (steps--) {
		struct channel *c = &channels[below(n_channels ? n_channels : 1)];

		read_all();
		if (!c->open || once_in(8))
			open_channel(c, !once_in(3));
		else if (once_in(3))
			let_go(c);
		else
			use(c);
		if (once_in(4))
			post_anything();
	}
	second_does = REST;
	read_all();
	unload();
}

/* ---- The end -------------------------------------------------------------------------------- */

/* As a good driver does it. */
static void read_sector(void)
{
	struct storage_packet p = {.operation = STORAGE_EXECUTE_SRB,
		.srb = {.length = sizeof(p.srb),
			.cdb_length = 10,
			.sense_length = STORAGE_SENSE,
			.data_in = 1,
			.data_transfer_length = 512,
			.cdb = {[0] = 0x28, [8] = 1}}};
	struct vmbus_open_result opened;
	struct storage_packet answer;
	struct channel *c = channels;

	contact(VMBUS_WIN10_5_3);
	request_offers();
	while (c < channels + n_channels && !c->storage)
		c++;
	if (c == channels + n_channels)
		fail("no storage among offers:", n_channels);
	open_channel(c, false);
	await(VMBUS_OPEN_RESULT, &opened, sizeof(opened));
	begin_storage(c);
	await_completion(c, ENTRIES(start_up), &answer);
	/* A unit attention may come first. */
	for (unsigned i = 0; i < 8; i++) {
		memset(data, 0, VMBUS_PAGE);
		send_storage(c, &p, 1, 100 + i, false);
		await_completion(c, 100 + i, &answer);
		if (answer.srb.srb_status == SRB_STATUS_SUCCESS) {
			data[0].bytes[64] = 0;
			print("\nFACT sector ");
			print((const char *)data[0].bytes);
			print("\n");
			unload();
			return;
		}
	}
	fail("sector 0 cannot be read, SRB status", answer.srb.srb_status);
}

static const char *number(const char *text, uint64_t *n)
{
	while (*text == ' ')
		text++;
	for (*n = 0; *text >= '0' && *text <= '9'; text++)
		*n = *n * 10 + (uint64_t)(*text - '0');
	return text;
}

/* @info: where the PVH start information is. */
void hostile_main(uint32_t info)
{
	const char *cmdline = (const char *)*(const uint64_t *)(uintptr_t)(info + 24);
	uint64_t seed, rounds;

	number(number(cmdline, &seed), &rounds);
	seeds[0] = seed * 2 + 1;
	seeds[1] = ~seed;
	wrmsr(MSR_GUEST_OS, 1);
	wrmsr(MSR_HYPERCALL, (uintptr_t)&hypercall_page | 1);
	wrmsr(MSR_SIEFP, (uintptr_t)&event_page | 1);
	wrmsr(MSR_SIMP, (uintptr_t)&message_page | 1);
	wrmsr(MSR_SINT(VMBUS_SINT), SINT_POLLING | 0x50);
	wrmsr(MSR_SCONTROL, 1);
	memcpy((void *)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
	wrmsr(MSR_ICR, SECOND | 0x4500); /* INIT, start-up */
	wrmsr(MSR_ICR, SECOND | 0x4600 | TRAMPOLINE >> 12);
	for (uint64_t i = 0; i < rounds; i++)
		live();
	print("\nFACT rounds ");
	print_number(rounds);
	read_sector();
	power_off();
}
