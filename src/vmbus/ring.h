/*
 * ring.h - one ring buffer each way, as its host end sees it.
 *
 * The memory is the guest's and the guest is hostile: an index is read once, checked, and kept in
 * host memory; what this end owns (its own index) is never read back. The data pages are mapped
 * twice in a row, so that a packet that wraps is contiguous all the same.
 *
 * A ring end belongs to one thread. Packets are taken or put one by one and made known to the other
 * side together (ring_in_publish, ring_out_publish); each of those says whether the other side must
 * be signalled, which the protocol wants only on transitions:
 * - a writer signals when the ring was empty and the reader did not mask interrupts;
 * - a reader signals when the room that the writer waits for (pending_send_size) has just come.
 *
 * Source: Linux drivers/hv/ring_buffer.c and include/linux/hyperv.h; OpenVMM vmbus_ring.
 */
#ifndef PARTITA_VMBUS_RING_H
#define PARTITA_VMBUS_RING_H

#include <stdbool.h>

#include "vmbus/vmbus_protocol.h"

struct ring {
	struct vmbus_ring_control *control;
	uint8_t *data; /* mapped twice in a row */
	uint32_t size; /* of the data once: whole pages */
};

/* From the guest to the host. */
struct ring_in {
	struct ring ring;
	uint32_t read;	    /* up to here packets were taken */
	uint32_t published; /* up to here the guest knows it */
	uint32_t write;	    /* up to here it is known that there are packets */
};

/* From the host to the guest. */
struct ring_out {
	struct ring ring;
	uint32_t write;	    /* up to here packets were put */
	uint32_t published; /* up to here the guest knows it */
	uint32_t read;	    /* up to here it is known that the guest took them */
	uint32_t waiting;   /* bytes that a refused packet needs, or 0 */
};

/*
 * ring_in_init, ring_out_init - begin where the control page says. Returns 0 or -EPROTO, when it
 * says nonsense. The control and the data stay the caller's.
 */
int ring_in_init(struct ring_in *in, const struct ring *ring);
int ring_out_init(struct ring_out *out, const struct ring *ring);

/* A packet in the ring: the descriptor was read and checked, the bytes may change under us. */
struct ring_packet {
	struct vmbus_descriptor descriptor;
	const uint8_t *start;  /* of the descriptor, in the ring */
	uint32_t header_bytes; /* descriptor and what belongs to the type */
	uint32_t bytes;	       /* header and payload */
};

/* ring_in_next - look at the first packet that was not taken. 1, 0 for none, -EPROTO. */
int ring_in_next(struct ring_in *in, struct ring_packet *packet);
/* ring_in_take - the packet was dealt with. */
void ring_in_take(struct ring_in *in, const struct ring_packet *packet);
/*
 * ring_in_publish - give the room of the packets taken back to the guest. 1: signal it; 0;
 * -EPROTO.
 */
int ring_in_publish(struct ring_in *in);
/* ring_in_mask - from now on the guest need not signal. */
void ring_in_mask(struct ring_in *in);
/* ring_in_unmask - from now on it must. 1: something came before it knew; 0; -EPROTO. */
int ring_in_unmask(struct ring_in *in);

/*
 * ring_out_put - room for a packet of @bytes, a multiple of 8 with its descriptor, in *@at.
 * 0: fill it and call ring_out_commit(). -EAGAIN: no room; the guest was asked to signal when there
 * is. -EMSGSIZE: it never fits. -EPROTO.
 */
int ring_out_put(struct ring_out *out, uint32_t bytes, uint8_t **at);
void ring_out_commit(struct ring_out *out, uint32_t bytes);
/*
 * ring_out_usable - how many bytes fit now, the trailer's 8 among them; fewer than that may be said
 * when it is @wanted at least. Returns 0 or -EPROTO.
 */
int ring_out_usable(struct ring_out *out, uint32_t wanted, uint32_t *bytes);
/*
 * ring_out_taken - 1: no more than @left bytes, below the ring's size, are in the ring. 0: more;
 * the guest was asked to signal when that changes. -EPROTO.
 */
int ring_out_taken(struct ring_out *out, uint32_t left);
/* ring_out_publish - show the guest what was put. True: signal it. */
bool ring_out_publish(struct ring_out *out);
/*
 * ring_out_missed_room - after ring_out_publish(): whether room for a refused packet came while the
 * guest could not see all packets. It then had no reason to signal, and will not.
 */
bool ring_out_missed_room(struct ring_out *out);
/* ring_out_room - whether a packet that was refused would fit now: 1, 0, -EPROTO. */
int ring_out_room(struct ring_out *out);

#endif
