/*
 * vmbus.h - the host side of VMBus: offers devices to a guest, and carries packets between their
 * providers and the guest's drivers.
 *
 * The worker creates a bus, hands it what the guest posts (vmbus_post_message) and asks it before
 * each run of a virtual processor what to be told (vmbus_sints_wanted). A device is an offer: its
 * description, a table of functions (struct vmbus_provider) and the provider's own context. When
 * the guest opens the channel, the table's functions are called for it.
 *
 * Threads. The bus has one thread, which deals with those control messages that the processor's
 * does not deal with itself. An open channel is served by one thread, which waits for the guest's
 * signal and calls the provider: the bus's own (VMBUS_SERVED_BY_BUS, for devices with little
 * traffic), one that lives while the channel is open (VMBUS_SERVED_ALONE), or one of a few that
 * such channels share (VMBUS_SERVED_TOGETHER, for devices that come by the thousand and never wait
 * inside a function). All of the table's functions for a channel are called on its thread, so that
 * what belongs to a channel needs no lock; functions here that are marked "serving thread" are
 * called there too. A provider that has more to wait for (a disk's completions, a socket) watches
 * it on vmbus_channel_loop().
 *
 * Everything that a guest puts in a ring or in its pages may change while it is looked at. Take
 * what is decided on with vmbus_packet_read() once, check that copy, then use it.
 *
 * Sources: see vmbus_protocol.h.
 */
#ifndef PARTITA_VMBUS_VMBUS_H
#define PARTITA_VMBUS_VMBUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <WinHvPlatform.h>

#include "base/loop.h"

struct vmbus;
struct vmbus_channel;

/* ---- The bus -------------------------------------------------------------------------------- */

/* A piece of guest memory, whole pages; the same bytes are at host and in the file. */
struct vmbus_memory {
	uint64_t gpa, size;
	uint8_t *host;
	int fd;		 /* a memfd that cannot shrink; stays the caller's */
	uint64_t offset; /* in fd */
};

#define VMBUS_MEMORY_MAX 8u

struct vmbus_config {
	const char *name; /* of the machine, for messages */
	WHV_PARTITION_HANDLE partition;
	uint32_t processors;
	struct vmbus_memory memory[VMBUS_MEMORY_MAX];
	unsigned memory_count;
	/*
	 * The guest connects to a socket that the host listens on: answer with an offer, or return
	 * a negative errno for a refusal. May be NULL: all are refused. Called on the thread of the
	 * processor that asks, or on the bus's.
	 */
	int (*tl_connect)(void *ctx, const GUID *endpoint, const GUID *service);
	void *ctx;
};

/* vmbus_create - a bus and its thread; *config is copied. Returns 0 or a negative errno. */
int vmbus_create(const struct vmbus_config *config, struct vmbus **bus);
/* vmbus_destroy - after no processor runs any more; every channel is closed first. NULL is fine. */
void vmbus_destroy(struct vmbus *bus);
/*
 * vmbus_reset - forget the guest: channels are closed, offers stay. To be called while no processor
 * runs; returns when no provider's function runs any more.
 */
void vmbus_reset(struct vmbus *bus);

/*
 * vmbus_post_message - the guest's HvCallPostMessage. Any thread. @type and @payload (@size bytes,
 * at most 240, in host memory) are the call's input. Returns the call's status, 0 for success.
 */
uint16_t vmbus_post_message(
	struct vmbus *bus, uint32_t connection, uint32_t type, const void *payload, size_t size);
/*
 * vmbus_sints_wanted - the SINTs whose message slot the bus waits for, to be merged into the
 * processor's WHvRegisterDeliverabilityNotifications before it runs. When that changes, the bus
 * cancels the processor's run. To be called by the processor's thread.
 */
uint16_t vmbus_sints_wanted(struct vmbus *bus, uint32_t vp);
/* vmbus_sints_deliverable - WHvRunVpExitReasonSynicSintDeliverable. The processor's thread. */
void vmbus_sints_deliverable(struct vmbus *bus, uint32_t vp, uint16_t sints);
/* vmbus_tl_connect_result - tell the guest how a connect request that is under way ended. */
void vmbus_tl_connect_result(
	struct vmbus *bus, const GUID *endpoint, const GUID *service, uint32_t status);

/* ---- Devices -------------------------------------------------------------------------------- */

enum vmbus_packet_kind {
	VMBUS_INBAND,
	VMBUS_GPA_DIRECT,
	VMBUS_TRANSFER,
	VMBUS_COMPLETION,
};

struct vmbus_packet {
	enum vmbus_packet_kind kind;
	bool wants_completion;
	uint64_t transaction;
	const uint8_t *payload; /* in the ring, until receive() returns */
	uint32_t size;		/* of the payload, a multiple of 8 */
	uint32_t ranges;	/* of VMBUS_GPA_DIRECT and VMBUS_TRANSFER */
	uint16_t transfer_set;	/* of VMBUS_TRANSFER */
	const uint8_t *range_data;
	uint32_t range_bytes; /* of both; for the functions below */
};

/*
 * What a device does. All but open, close and receive may be NULL, but gone where something is
 * withdrawn. @ctx is the offer's.
 */
struct vmbus_provider {
	/*
	 * The guest opens the channel. @user_data are 120 bytes of the guest's. 0, or a negative
	 * errno to refuse; then close() is not called.
	 */
	int (*open)(void *ctx, struct vmbus_channel *channel, const uint8_t *user_data);
	/* The guest was told so: what it need not wait for. */
	void (*begun)(void *ctx, struct vmbus_channel *channel);
	/*
	 * The channel ends: the guest closed it, the offer was revoked, or the ring is broken. When
	 * this returns the guest's pages are no longer the provider's: it waits for what is in
	 * flight. Nothing can be sent any more.
	 */
	void (*close)(void *ctx, struct vmbus_channel *channel);
	/*
	 * A packet came. 0: it was taken. -EAGAIN: it cannot be now; it stays, and comes again
	 * after vmbus_resume(). -EPROTO: the guest broke the device's protocol; the channel ends,
	 * with a line that says so. What is sent meanwhile leaves together when the batch ends.
	 */
	int (*receive)(void *ctx, struct vmbus_channel *channel, const struct vmbus_packet *packet);
	/* No more packets for now: start what was gathered. */
	void (*batch_end)(void *ctx, struct vmbus_channel *channel);
	/* A send that returned -EAGAIN may do better now. */
	void (*room)(void *ctx, struct vmbus_channel *channel);
	/* A processor's or the bus's thread: nothing is left of what was withdrawn. */
	void (*gone)(void *ctx);
};

enum vmbus_service {
	VMBUS_SERVED_BY_BUS,
	VMBUS_SERVED_ALONE,
	VMBUS_SERVED_TOGETHER,
};

struct vmbus_offer {
	const char *name; /* for messages and threads; at most 8 characters show there */
	GUID interface, instance;
	uint16_t flags; /* VMBUS_OFFER_* of vmbus_protocol.h */
	uint16_t mmio_megabytes, mmio_megabytes_optional;
	uint8_t user_data[120];
	enum vmbus_service service;
	/*
	 * The guest sets a bit in a page instead of signalling, and the bus looks there so often,
	 * in units of 100 ns; 0: it signals. Saves the guest hypercalls and costs the host wakeups.
	 */
	uint16_t monitor_latency;
	/* Share one signal among all such channels, where the guest's version (below 5.0) can. */
	bool shared_interrupt;
};

/*
 * vmbus_offer - show the guest a device, now or when it asks. Any thread. *offer is copied but for
 * the name; the table stays the caller's. Returns 0, -ENOSPC (no channel number is free), -ENOMEM.
 */
int vmbus_offer(struct vmbus *bus, const struct vmbus_offer *offer,
	const struct vmbus_provider *provider, void *ctx, struct vmbus_channel **channel);
/*
 * vmbus_revoke - take a device (a primary channel) and its sub-channels away from the guest. Any
 * thread but the bus's and serving threads. When it returns no function of the provider runs or
 * will run, and @channel is no more.
 */
void vmbus_revoke(struct vmbus_channel *channel);
/*
 * vmbus_withdraw - begin to take a device without sub-channels away, for good; any thread, also
 * within the provider's functions, and again while gone() has not been called. close() is called if
 * the channel is open; gone() when the guest has let go of it, too, or has been forgotten: then
 * @channel is no more. A guest's drivers see offers in order, and Linux lets go of one that nobody
 * opened only after they have seen it: so an offer that is withdrawn at once tells when they have
 * seen those before it.
 */
void vmbus_withdraw(struct vmbus_channel *channel);
/*
 * vmbus_offer_subchannels - offer @count more channels of an open primary channel's device, with
 * indices from 1. They go when the primary channel closes. Serving thread. Returns 0, -ENOSPC,
 * -ENOMEM, -EEXIST (it has some).
 */
int vmbus_offer_subchannels(struct vmbus_channel *channel, unsigned count);

/* 0: the primary channel. Any thread. */
unsigned vmbus_channel_index(const struct vmbus_channel *channel);
/* The processor that the guest wants interrupted for this channel, for placing work near it. */
uint32_t vmbus_channel_vp(const struct vmbus_channel *channel);
/* What the provider keeps for an open channel; NULL when it opens. Serving thread. */
void vmbus_channel_set(struct vmbus_channel *channel, void *data);
void *vmbus_channel_get(const struct vmbus_channel *channel);
/* The loop of the thread that serves an open channel. */
struct loop *vmbus_channel_loop(struct vmbus_channel *channel);
/* vmbus_resume - let receive() be called for a packet that it left. Serving thread. */
void vmbus_resume(struct vmbus_channel *channel);

/* ---- Packets from the guest (in receive()) --------------------------------------------------- */

/*
 * vmbus_packet_read - copy @size bytes of the payload from @offset on. Returns 0, -EPROTO when it
 * is shorter.
 */
int vmbus_packet_read(const struct vmbus_packet *packet, uint32_t offset, void *to, uint32_t size);
/*
 * vmbus_packet_pages - where the pages of a GPA-direct packet are in host memory, adjacent ones
 * merged. @iov has room for @room entries; *bytes receives their sum. The pages are the provider's
 * until it completes the packet or close() returns. Returns the number of entries, -EPROTO (the
 * guest named what is not its memory, or the ranges are malformed), -E2BIG (more than @room).
 */
int vmbus_packet_pages(const struct vmbus_channel *channel, const struct vmbus_packet *packet,
	struct iovec *iov, unsigned room, uint64_t *bytes);
/* vmbus_packet_transfer - range @index of a transfer-page packet. Returns 0 or -EPROTO. */
int vmbus_packet_transfer(
	const struct vmbus_packet *packet, uint32_t index, uint32_t *offset, uint32_t *bytes);
/*
 * vmbus_wrote - to be called after data that did not come through the ring was written to guest
 * pages (of vmbus_packet_pages, vmbus_gpadl_map), before the guest hears of it: the processor may
 * have decoded instructions from them. Serving thread.
 */
void vmbus_wrote(const struct vmbus_channel *channel, const struct iovec *iov, unsigned count);

/* ---- Packets to the guest (serving thread) --------------------------------------------------- */

/*
 * All of these put a packet into the ring: 0, -EAGAIN (no room now; room() will be called),
 * -EMSGSIZE (the ring is too small for it), -EPROTO (the ring is broken, or the channel is
 * closing). The packet is padded to a multiple of 8 with zeros. It leaves at the end of the batch,
 * or outside of receive() with vmbus_flush().
 */
int vmbus_send(struct vmbus_channel *channel, uint64_t transaction, bool wants_completion,
	const struct iovec *payload, unsigned count);
int vmbus_complete(
	struct vmbus_channel *channel, uint64_t transaction, const void *payload, uint32_t size);

/*
 * vmbus_reserve - for a payload that is read straight into the ring: room for at least @least and
 * at most @most bytes in *@at, a multiple of 8. Returns how many, or as above. It becomes a packet
 * with vmbus_commit(), which says how many of the bytes it has (at most those), or nothing when
 * something else is put first.
 */
int vmbus_reserve(struct vmbus_channel *channel, uint32_t least, uint32_t most, uint8_t **at);
void vmbus_commit(struct vmbus_channel *channel, uint32_t bytes);
/*
 * vmbus_taken - whether the guest has taken all packets but the last @left bytes of the ring, which
 * count their headers: 1; 0: not yet, and room() will be called; -EPROTO.
 */
int vmbus_taken(struct vmbus_channel *channel, uint32_t left);

struct vmbus_transfer {
	uint32_t offset, bytes;
};
int vmbus_send_transfer(struct vmbus_channel *channel, uint64_t transaction, uint16_t set,
	const struct vmbus_transfer *ranges, unsigned range_count, const void *payload,
	uint32_t size);
/* vmbus_flush - show the guest what was put, and signal it if the protocol wants that. */
void vmbus_flush(struct vmbus_channel *channel);

/* ---- Memory that the guest lends for longer (serving thread) --------------------------------- */

/* A GPADL, mapped so that its bytes are in a row. */
struct vmbus_mapping {
	uint8_t *base;
	uint64_t size;
	/* For vmbus_gpadl_unmap(). */
	struct vmbus_gpadl *gpadl;
	uint8_t *view;
	uint64_t view_bytes;
	int pieces;
};

/*
 * vmbus_gpadl_map - map the GPADL that the guest established on this channel (or on its primary
 * channel) as @id. To be unmapped before close() returns; the guest's wish to tear it down waits
 * for that. Returns 0, -ENOENT, -EPROTO (more ranges than one), -ENOMEM.
 */
int vmbus_gpadl_map(struct vmbus_channel *channel, uint32_t id, struct vmbus_mapping *mapping);
void vmbus_gpadl_unmap(struct vmbus_channel *channel, struct vmbus_mapping *mapping);

#endif
