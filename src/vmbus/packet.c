/*
 * packet.c - packets taken apart and put together; what the guest wrote is checked here.
 */
#include <errno.h>
#include <string.h>

#include "vmbus/bus.h"

#define WROTE_BATCH 64u

/* ---- From the guest ------------------------------------------------------------------------- */

void packet_of(const struct ring_packet *raw, struct vmbus_packet *packet)
{
	const uint8_t *extra = raw->start + sizeof(struct vmbus_descriptor);
	struct vmbus_transfer_pages transfer;
	struct vmbus_gpa_direct direct;

	*packet = (struct vmbus_packet){
		.kind = VMBUS_INBAND,
		.wants_completion = raw->descriptor.flags & VMBUS_PACKET_WANTS_COMPLETION,
		.transaction = raw->descriptor.transaction,
		.payload = raw->start + raw->header_bytes,
		.size = raw->bytes - raw->header_bytes,
	};
	switch (raw->descriptor.type) {
	case VMBUS_PACKET_COMPLETION:
		packet->kind = VMBUS_COMPLETION;
		return;
	case VMBUS_PACKET_GPA_DIRECT:
		memcpy(&direct, extra, sizeof(direct));
		packet->kind = VMBUS_GPA_DIRECT;
		packet->ranges = direct.range_count;
		break;
	case VMBUS_PACKET_TRANSFER_PAGES:
		memcpy(&transfer, extra, sizeof(transfer));
		packet->kind = VMBUS_TRANSFER;
		packet->ranges = transfer.range_count;
		packet->transfer_set = transfer.set;
		break;
	default:
		return;
	}
	/* Both have 8 bytes before the ranges: ring.c checked that they are there. */
	packet->range_data = extra + 8;
	packet->range_bytes = raw->header_bytes - (uint32_t)sizeof(struct vmbus_descriptor) - 8;
}

int vmbus_packet_read(const struct vmbus_packet *packet, uint32_t offset, void *to, uint32_t size)
{
	if (offset > packet->size || size > packet->size - offset)
		return -EPROTO;
	memcpy(to, packet->payload + offset, size);
	return 0;
}

/* Where the next range or page number is read from, and what is gathered. */
struct pages {
	const struct memory *memory;
	const uint8_t *at;
	uint32_t left; /* bytes at it */
	struct iovec *iov;
	unsigned room, count;
	uint64_t bytes;
};

static int next_word(struct pages *p, uint64_t *word)
{
	if (p->left < sizeof(*word))
		return -EPROTO;
	memcpy(word, p->at, sizeof(*word));
	p->at += sizeof(*word);
	p->left -= sizeof(*word);
	return 0;
}

static int append(struct pages *p, uint8_t *host, size_t bytes)
{
	struct iovec *last = p->count ? &p->iov[p->count - 1] : NULL;

	p->bytes += bytes;
	if (last && (uint8_t *)last->iov_base + last->iov_len == host) {
		last->iov_len += bytes;
		return 0;
	}
	if (p->count == p->room)
		return -E2BIG;
	p->iov[p->count++] = (struct iovec){host, bytes};
	return 0;
}

static int append_range(struct pages *p)
{
	struct vmbus_gpa_range range;
	uint64_t word, offset, left;

	if (next_word(p, &word) < 0)
		return -EPROTO;
	memcpy(&range, &word, sizeof(range));
	offset = range.byte_offset;
	if (offset >= VMBUS_PAGE)
		return -EPROTO;
	for (left = range.byte_count; left; offset = 0) {
		uint64_t part = VMBUS_PAGE - offset < left ? VMBUS_PAGE - offset : left;
		uint8_t *host;
		int err;

		if (next_word(p, &word) < 0)
			return -EPROTO;
		host = memory_page(p->memory, word);
		if (!host)
			return -EPROTO;
		err = append(p, host + offset, part);
		if (err)
			return err;
		left -= part;
	}
	return 0;
}

int vmbus_packet_pages(const struct vmbus_channel *ch, const struct vmbus_packet *packet,
	struct iovec *iov, unsigned room, uint64_t *bytes)
{
	struct pages p = {
		.memory = &ch->bus->memory,
		.at = packet->range_data,
		.left = packet->range_bytes,
		.iov = iov,
		.room = room,
	};

	if (packet->kind != VMBUS_GPA_DIRECT)
		return -EPROTO;
	/* Each range takes 8 bytes at least: a wrong count soon meets the end of the header. */
	for (uint32_t i = 0; i < packet->ranges; i++) {
		int err = append_range(&p);

		if (err)
			return err;
	}
	*bytes = p.bytes;
	return (int)p.count;
}

int vmbus_packet_transfer(
	const struct vmbus_packet *packet, uint32_t index, uint32_t *offset, uint32_t *bytes)
{
	struct vmbus_transfer_range range;

	if (packet->kind != VMBUS_TRANSFER || index >= packet->ranges ||
		index >= packet->range_bytes / sizeof(range))
		return -EPROTO;
	memcpy(&range, packet->range_data + index * sizeof(range), sizeof(range));
	*offset = range.byte_offset;
	*bytes = range.byte_count;
	return 0;
}

/* The end of a device's access is what unpinning says; see WHvAdviseGpaRange. */
static void unpin(const struct vmbus_channel *ch, const WHV_MEMORY_RANGE_ENTRY *entries, unsigned n)
{
	if (n)
		WHvAdviseGpaRange(
			ch->bus->config.partition, entries, n, WHvAdviseGpaRangeCodeUnpin, NULL, 0);
}

void vmbus_wrote(const struct vmbus_channel *ch, const struct iovec *iov, unsigned count)
{
	WHV_MEMORY_RANGE_ENTRY entries[WROTE_BATCH];
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		uint64_t gpa, end;

		if (!iov[i].iov_len || !memory_gpa(&ch->bus->memory, iov[i].iov_base, &gpa))
			continue;
		if (n == WROTE_BATCH) {
			unpin(ch, entries, n);
			n = 0;
		}
		end = (gpa + iov[i].iov_len + VMBUS_PAGE - 1) & ~(uint64_t)(VMBUS_PAGE - 1);
		gpa &= ~(uint64_t)(VMBUS_PAGE - 1);
		entries[n++] = (WHV_MEMORY_RANGE_ENTRY){gpa, end - gpa};
	}
	unpin(ch, entries, n);
}

/* ---- To the guest --------------------------------------------------------------------------- */

static uint32_t round8(uint64_t bytes)
{
	return (uint32_t)((bytes + 7) & ~7ull);
}

/* Room for a packet, with its descriptor written; *at is where its header goes on. */
static int put(struct vmbus_channel *ch, struct vmbus_descriptor descriptor, uint32_t header,
	uint64_t payload, uint8_t **at)
{
	uint32_t bytes;
	int err;

	header += (uint32_t)sizeof(descriptor);
	if (payload > UINT16_MAX * 8ull - header)
		return -EMSGSIZE;
	bytes = header + round8(payload);
	if (ch->broken)
		return -EPROTO;
	err = ring_out_put(&ch->out, bytes, at);
	if (err)
		return err;
	descriptor.offset8 = (uint16_t)(header / 8);
	descriptor.length8 = (uint16_t)(bytes / 8);
	memcpy(*at, &descriptor, sizeof(descriptor));
	/* The last word is padded with zeros; what is payload in it is written after this. */
	memset(*at + bytes - 8, 0, payload ? 8 : 0);
	*at += sizeof(descriptor);
	return 0;
}

static void commit(struct vmbus_channel *ch, uint32_t header, uint64_t payload)
{
	ring_out_commit(
		&ch->out, (uint32_t)sizeof(struct vmbus_descriptor) + header + round8(payload));
}

int vmbus_send(struct vmbus_channel *ch, uint64_t transaction, bool wants_completion,
	const struct iovec *payload, unsigned count)
{
	struct vmbus_descriptor d = {
		.type = VMBUS_PACKET_INBAND,
		.flags = wants_completion ? VMBUS_PACKET_WANTS_COMPLETION : 0,
		.transaction = transaction,
	};
	uint64_t size = 0;
	uint8_t *at;
	int err;

	for (unsigned i = 0; i < count; i++)
		size += payload[i].iov_len;
	err = put(ch, d, 0, size, &at);
	if (err)
		return err;
	for (unsigned i = 0; i < count; i++) {
		memcpy(at, payload[i].iov_base, payload[i].iov_len);
		at += payload[i].iov_len;
	}
	commit(ch, 0, size);
	return 0;
}

int vmbus_reserve(struct vmbus_channel *ch, uint32_t least, uint32_t most, uint8_t **at)
{
	uint32_t around = sizeof(struct vmbus_descriptor) + sizeof(struct vmbus_trailer), room;
	int err;

	if (ch->broken)
		return -EPROTO;
	err = ring_out_put(&ch->out, (uint32_t)sizeof(struct vmbus_descriptor) + round8(least), at);
	if (!err)
		err = ring_out_usable(&ch->out, around + round8(most), &room);
	if (err)
		return err;
	/* Less than a moment ago: the guest has taken its index back. */
	if (room < around + round8(least))
		return -EPROTO;
	*at += sizeof(struct vmbus_descriptor);
	room -= around;
	return (int)(room < round8(most) ? room : round8(most));
}

void vmbus_commit(struct vmbus_channel *ch, uint32_t bytes)
{
	struct vmbus_descriptor d = {
		.type = VMBUS_PACKET_INBAND,
		.offset8 = sizeof(d) / 8,
		.length8 = (uint16_t)((sizeof(d) + round8(bytes)) / 8),
	};
	uint8_t *at = ch->out.ring.data + ch->out.write;

	memcpy(at, &d, sizeof(d));
	memset(at + sizeof(d) + bytes, 0, round8(bytes) - bytes);
	commit(ch, 0, bytes);
}

int vmbus_taken(struct vmbus_channel *ch, uint32_t left)
{
	return ch->broken ? -EPROTO : ring_out_taken(&ch->out, left);
}

int vmbus_complete(
	struct vmbus_channel *ch, uint64_t transaction, const void *payload, uint32_t size)
{
	struct vmbus_descriptor d = {.type = VMBUS_PACKET_COMPLETION, .transaction = transaction};
	uint8_t *at;
	int err = put(ch, d, 0, size, &at);

	if (err)
		return err;
	memcpy(at, payload, size);
	commit(ch, 0, size);
	return 0;
}

int vmbus_send_transfer(struct vmbus_channel *ch, uint64_t transaction, uint16_t set,
	const struct vmbus_transfer *ranges, unsigned range_count, const void *payload,
	uint32_t size)
{
	struct vmbus_descriptor d = {
		.type = VMBUS_PACKET_TRANSFER_PAGES,
		.flags = VMBUS_PACKET_WANTS_COMPLETION,
		.transaction = transaction,
	};
	struct vmbus_transfer_pages head = {.set = set, .range_count = range_count};
	uint64_t header =
		sizeof(head) + range_count * (uint64_t)sizeof(struct vmbus_transfer_range);
	uint8_t *at;
	int err;

	if (header > UINT16_MAX * 4ull)
		return -EMSGSIZE;
	err = put(ch, d, (uint32_t)header, size, &at);
	if (err)
		return err;
	memcpy(at, &head, sizeof(head));
	at += sizeof(head);
	for (unsigned i = 0; i < range_count; i++, at += sizeof(struct vmbus_transfer_range)) {
		struct vmbus_transfer_range r = {
			.byte_count = ranges[i].bytes, .byte_offset = ranges[i].offset};

		memcpy(at, &r, sizeof(r));
	}
	memcpy(at, payload, size);
	commit(ch, (uint32_t)header, size);
	return 0;
}
