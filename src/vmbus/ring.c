/*
 * ring.c - see ring.h.
 */
#include "vmbus/ring.h"

#include <errno.h>
#include <string.h>

/*
 * What the guest may change at any moment is read and written through these. Where one side writes
 * a word and then looks at another, which the other side writes before it looks at the first, both
 * must have a full barrier between: a sequentially consistent store is one.
 */
#define LOAD(field)	    __atomic_load_n(&(field), __ATOMIC_SEQ_CST)
#define STORE(field, value) __atomic_store_n(&(field), value, __ATOMIC_SEQ_CST)

static bool valid_index(const struct ring *r, uint32_t index)
{
	return index < r->size && !(index & 7);
}

/* From @from forward to @to. */
static uint32_t distance(const struct ring *r, uint32_t from, uint32_t to)
{
	return to >= from ? to - from : r->size - from + to;
}

static uint32_t advance(const struct ring *r, uint32_t index, uint32_t bytes)
{
	index += bytes;
	return index >= r->size ? index - r->size : index;
}

/* ---- From the guest ------------------------------------------------------------------------- */

int ring_in_init(struct ring_in *in, const struct ring *ring)
{
	uint32_t read = LOAD(ring->control->read_index);

	*in = (struct ring_in){.ring = *ring, .read = read, .published = read, .write = read};
	return valid_index(ring, read) ? 0 : -EPROTO;
}

static int look(struct ring_in *in)
{
	uint32_t write = LOAD(in->ring.control->write_index);

	if (!valid_index(&in->ring, write))
		return -EPROTO;
	in->write = write;
	return 0;
}

/* How much comes before the payload at least; 0: a type that guests do not send. */
static uint32_t header_min(uint16_t type)
{
	switch (type) {
	case VMBUS_PACKET_INBAND:
	case VMBUS_PACKET_COMPLETION:
		return sizeof(struct vmbus_descriptor);
	case VMBUS_PACKET_GPA_DIRECT:
		return sizeof(struct vmbus_descriptor) + sizeof(struct vmbus_gpa_direct);
	case VMBUS_PACKET_TRANSFER_PAGES:
		return sizeof(struct vmbus_descriptor) + sizeof(struct vmbus_transfer_pages);
	default:
		return 0;
	}
}

int ring_in_next(struct ring_in *in, struct ring_packet *p)
{
	uint32_t available, least;
	struct vmbus_descriptor d;
	uint64_t words[2];

	if (in->read == in->write && look(in) < 0)
		return -EPROTO;
	available = distance(&in->ring, in->read, in->write);
	if (!available)
		return 0;
	if (available < sizeof(p->descriptor) + sizeof(struct vmbus_trailer))
		return -EPROTO;
	p->start = in->ring.data + in->read;
	/* Once, and in whole words: what is checked is what is used. */
	words[0] = __atomic_load_n((const uint64_t *)p->start, __ATOMIC_RELAXED);
	words[1] = __atomic_load_n((const uint64_t *)p->start + 1, __ATOMIC_RELAXED);
	memcpy(&d, words, sizeof(d));
	p->descriptor = d;
	p->header_bytes = d.offset8 * 8u;
	p->bytes = d.length8 * 8u;
	least = header_min(d.type);
	if (!least || p->header_bytes < least || p->bytes < p->header_bytes ||
		p->bytes + sizeof(struct vmbus_trailer) > available ||
		(d.flags & ~VMBUS_PACKET_WANTS_COMPLETION))
		return -EPROTO;
	return 1;
}

void ring_in_take(struct ring_in *in, const struct ring_packet *p)
{
	in->read = advance(&in->ring, in->read, p->bytes + (uint32_t)sizeof(struct vmbus_trailer));
}

/*
 * The guest, when it finds no room, sets pending_send_size and looks at read_index once more; we
 * set read_index and look at pending_send_size: one of the two sees the other. We signal when our
 * packets made the difference, not before and not again.
 */
int ring_in_publish(struct ring_in *in)
{
	struct vmbus_ring_control *c = in->ring.control;
	uint32_t freed = distance(&in->ring, in->published, in->read);
	uint32_t pending, write, room;

	if (!freed)
		return 0;
	in->published = in->read;
	STORE(c->read_index, in->read);
	pending = LOAD(c->pending_send_size);
	if (!pending)
		return 0;
	write = LOAD(c->write_index);
	if (!valid_index(&in->ring, write))
		return -EPROTO;
	room = in->ring.size - distance(&in->ring, in->read, write);
	return room > pending && (room < freed || room - freed <= pending);
}

void ring_in_mask(struct ring_in *in)
{
	STORE(in->ring.control->interrupt_mask, 1);
}

int ring_in_unmask(struct ring_in *in)
{
	STORE(in->ring.control->interrupt_mask, 0);
	if (look(in) < 0)
		return -EPROTO;
	return in->read != in->write;
}

/* ---- To the guest --------------------------------------------------------------------------- */

int ring_out_init(struct ring_out *out, const struct ring *ring)
{
	uint32_t write = LOAD(ring->control->write_index);

	*out = (struct ring_out){.ring = *ring, .write = write, .published = write, .read = write};
	if (!valid_index(ring, write))
		return -EPROTO;
	out->read = LOAD(ring->control->read_index);
	if (!valid_index(ring, out->read))
		return -EPROTO;
	STORE(ring->control->features, VMBUS_RING_PENDING_SEND);
	return 0;
}

/* A ring that is full to the last byte would look empty: one byte always stays free. */
static bool fits(const struct ring_out *out, uint32_t need)
{
	return out->ring.size - distance(&out->ring, out->read, out->write) > need;
}

static int look_for_room(struct ring_out *out)
{
	uint32_t read = LOAD(out->ring.control->read_index);

	if (!valid_index(&out->ring, read))
		return -EPROTO;
	out->read = read;
	return 0;
}

/* The counterpart of ring_in_publish(): first say what is needed, then look again. */
static int ask_for_room(struct ring_out *out, uint32_t need)
{
	struct vmbus_ring_control *c = out->ring.control;

	out->waiting = need;
	STORE(c->pending_send_size, need);
	return ring_out_room(out);
}

int ring_out_room(struct ring_out *out)
{
	if (!out->waiting)
		return 0;
	if (look_for_room(out) < 0)
		return -EPROTO;
	if (!fits(out, out->waiting))
		return 0;
	out->waiting = 0;
	STORE(out->ring.control->pending_send_size, 0);
	return 1;
}

bool ring_out_missed_room(struct ring_out *out)
{
	return out->waiting && (look_for_room(out) < 0 || fits(out, out->waiting));
}

int ring_out_put(struct ring_out *out, uint32_t bytes, uint8_t **at)
{
	uint32_t need = bytes + (uint32_t)sizeof(struct vmbus_trailer);
	int room;

	if (need >= out->ring.size)
		return -EMSGSIZE;
	if (!fits(out, need)) {
		if (look_for_room(out) < 0)
			return -EPROTO;
		if (!fits(out, need)) {
			room = ask_for_room(out, need);
			if (room <= 0)
				return room < 0 ? room : -EAGAIN;
		}
	}
	*at = out->ring.data + out->write;
	return 0;
}

/* Of the words that are free one stays so: see fits(). */
static uint32_t usable(const struct ring_out *out)
{
	return out->ring.size - distance(&out->ring, out->read, out->write) - 8;
}

int ring_out_usable(struct ring_out *out, uint32_t wanted, uint32_t *bytes)
{
	if (usable(out) < wanted && look_for_room(out) < 0)
		return -EPROTO;
	*bytes = usable(out);
	return 0;
}

int ring_out_taken(struct ring_out *out, uint32_t left)
{
	uint32_t need = out->ring.size - left - 8;

	if (look_for_room(out) < 0)
		return -EPROTO;
	return fits(out, need) ? 1 : ask_for_room(out, need);
}

void ring_out_commit(struct ring_out *out, uint32_t bytes)
{
	struct vmbus_trailer trailer = {.start = out->write};

	memcpy(out->ring.data + out->write + bytes, &trailer, sizeof(trailer));
	out->write = advance(&out->ring, out->write, bytes + (uint32_t)sizeof(trailer));
}

/*
 * The guest, when it has emptied the ring, clears the mask and looks at write_index once more; we
 * set write_index and look at the mask.
 */
bool ring_out_publish(struct ring_out *out)
{
	struct vmbus_ring_control *c = out->ring.control;
	uint32_t before = out->published;

	if (before == out->write)
		return false;
	out->published = out->write;
	STORE(c->write_index, out->write);
	return !LOAD(c->interrupt_mask) && LOAD(c->read_index) == before;
}
