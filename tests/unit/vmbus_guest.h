/*
 * vmbus_guest.h - a guest for the tests of VMBus: memory, a SynIC with one message slot, its own
 * end of the rings. It stands where the hypervisor stands: the functions of WinHvPlatform.h that
 * the bus calls are in vmbus_guest.c, and the partition's handle is the struct guest.
 *
 * Its rings are written independently of src/vmbus/ring.c and copy around the end of the buffer.
 * Whatever waits gives up after some seconds and fails the test.
 */
#ifndef PARTITA_TESTS_VMBUS_GUEST_H
#define PARTITA_TESTS_VMBUS_GUEST_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "vmbus/vmbus.h"
#include "vmbus/vmbus_protocol.h"

#define GUEST_RAM	 (16u << 20)
#define GUEST_HIGH	 0x100000000ull /* where the second half of memory lies */
#define GUEST_PROCESSORS 4u
#define GUEST_PORTS	 64u

struct guest {
	struct vmbus *bus;
	int fd;
	/*
	 * Its memory, where the guest has it and where the host has it. They are two places because
	 * of the thread sanitizer: what orders their accesses is the indices of rings, which the
	 * host sees at places of its own too, and a sanitizer knows an order by the place.
	 */
	uint8_t *ram, *host;
	uint64_t next_page; /* not handed out yet */
	uint32_t next_gpadl;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t processors;
	uint32_t cancelled; /* processors, a bit each */
	bool ends;
	bool slot_full;
	bool takes_at_once; /* the slot is never full: */
	unsigned taken;	    /* so many messages came */
	uint32_t slot_vp;
	struct vmbus_synic_message slot;
	unsigned events[VMBUS_MAX_CHANNELS]; /* by flag */
	_Atomic uint32_t event_vp;
	struct {
		uint32_t connection;
		int fd; /* 0: free */
	} ports[GUEST_PORTS];
	WHV_MEMORY_RANGE_ENTRY unpinned[64];
	unsigned unpinned_count;
	bool may_miss;	 /* a signal for a channel that the host has closed is no failure */
	GUID tl_service; /* that the host was asked for */
	int tl_answer;
};

/* The guest's end of one ring. */
struct guest_ring {
	struct vmbus_ring_control *control;
	uint8_t *data; /* contiguous in the tests' memory */
	uint32_t size;
};

struct guest_channel {
	struct guest *guest;
	struct vmbus_offer_channel offer;
	uint32_t gpadl;
	struct guest_ring out, in; /* as the guest sees them */
};

/* A guest that has not made contact; and its end. */
struct guest *guest_create(void);
void guest_destroy(struct guest *g);

/* @count pages in a row; the address as the guest has it. */
uint64_t guest_pages(struct guest *g, unsigned count);
uint8_t *guest_at(struct guest *g, uint64_t gpa);

/* Post a message; its header's type is set. Again while the bus has no room. */
void guest_post(struct guest *g, uint32_t type, void *message, size_t size);
/* Take the message that is there; false: none is. */
bool guest_empty_slot(struct guest *g, struct vmbus_synic_message *message);
/* Wait for the next message and take it; it must be of @type. */
void guest_take(struct guest *g, uint32_t type, void *message, size_t size);
/* From now on messages are taken as they come; wait until there were @count. */
void guest_take_at_once(struct guest *g, unsigned count);
/* No message comes although the bus had time for one. */
void guest_take_nothing(struct guest *g);
/* Contact at @version; true when the host agrees. */
bool guest_contact(struct guest *g, uint32_t version);
/* Contact, offers asked for; the first one goes to *offer. */
void guest_connect(struct guest *g, uint32_t version, struct vmbus_offer_channel *offer);

/* Describe @count pages; the answer must be @created. */
uint32_t guest_gpadl(
	struct guest *g, uint32_t relid, const uint64_t *pfn, unsigned count, bool created);
void guest_gpadl_teardown(struct guest *g, uint32_t relid, uint32_t id);

/* Open the channel of an offer with rings of so many pages each, scattered in memory or not. */
void guest_open(struct guest *g, struct guest_channel *c, const struct vmbus_offer_channel *offer,
	unsigned pages);
/* The same, up to the answer. */
uint32_t guest_try_open(struct guest *g, struct guest_channel *c,
	const struct vmbus_offer_channel *offer, unsigned pages);
/* Close it and take its ring back. */
void guest_close(struct guest_channel *c);
void guest_signal(struct guest *g, uint32_t connection);
void guest_signal_channel(struct guest_channel *c);
/* Wait until the channel's flag was signalled. */
void guest_await_event(struct guest_channel *c);

/* Put a packet; signals when the protocol says so. False: no room. */
bool guest_send(struct guest_channel *c, uint16_t type, uint16_t flags, uint64_t transaction,
	const void *header, uint32_t header_size, const void *payload, uint32_t size);
/* Take a packet if there is one; bytes after the descriptor go to @data. */
bool guest_receive(struct guest_channel *c, struct vmbus_descriptor *d, void *data, uint32_t size);
/* Wait for one. */
void guest_await_packet(
	struct guest_channel *c, struct vmbus_descriptor *d, void *data, uint32_t size);

#endif
