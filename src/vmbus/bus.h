/*
 * bus.h - what the files of this room share; private to it.
 *
 * bus->lock guards everything but what is marked otherwise. It is never held while a provider's
 * function runs, and nothing on the way of a packet takes it.
 *
 * A control message takes this way: a processor's thread acts on it, or when that may take long or
 * others wait puts it into the inbox, out of which the bus's thread takes it. Answers are posted to
 * the guest's SynIC while its message slot is free, and wait in the outbox while it is not. The
 * inbox is short and the call is refused when it is full, so that a guest that posts and never
 * reads costs a bounded amount of memory.
 *
 * Who holds the lock wakes nobody: whom there is something to do for is noted, and told by
 * bus_unlock(). Woken at once he would often take the waker's processor, and then wait for the
 * lock.
 */
#ifndef PARTITA_VMBUS_BUS_H
#define PARTITA_VMBUS_BUS_H

#include <pthread.h>
#include <stdatomic.h>

#include "vmbus/memory.h"
#include "vmbus/ring.h"
#include "vmbus/vmbus.h"

#define INBOX_SIZE    64u
#define OUTBOX_HIGH   256u /* with so many unsent, nothing more is taken from the inbox */
#define VMBUS_MAX_VP  64u
#define GPADL_BUCKETS 2048u /* as many as channels, whose rings have one each */

struct message {
	struct message *next; /* in the outbox */
	uint32_t size;
	_Alignas(8) uint8_t payload[VMBUS_PAYLOAD_MAX];
};

/* A guest's description of its pages; it counts who uses it. */
struct vmbus_gpadl {
	struct vmbus_gpadl *next;    /* whose number has the same hash */
	struct vmbus_gpadl *sibling; /* of the same channel */
	uint32_t id, relid;
	unsigned ranges;
	uint64_t *words; /* range headers and page numbers as they came */
	unsigned have, need;
	bool torn; /* the guest wants it gone, when users is 0 */
	unsigned users;
};

enum service {
	SERVICE_IDLE,	 /* not open, nothing to free */
	SERVICE_DUE,	 /* its server will begin to serve it, or does */
	SERVICE_RUNNING, /* a thread calls the provider */
	SERVICE_ENDING,	 /* that thread closes it, and frees what it used */
};

/* A thread that serves channels: the bus's own, or one of those that channels share. */
struct server {
	struct vmbus *bus;
	struct loop *loop;
	int event;	/* makes it look at what is due */
	bool wanted;	/* bus_unlock() will signal the event */
	unsigned users; /* channels that it serves, or will */
	struct vmbus_channel *due, **due_end;
	/* Not of the bus's own. */
	struct loop_watch *watch;
	pthread_t thread;
};

#define SERVERS_MAX 4u /* threads that channels share, no more than there are processors */

struct vmbus_channel {
	struct vmbus *bus;
	struct vmbus_offer offer;
	const struct vmbus_provider *provider;
	void *ctx;
	struct vmbus_channel *primary; /* NULL: it is one */
	unsigned index;
	uint32_t relid;
	int monitor; /* or -1 */

	bool known;	/* offered to the guest, which has not released the number */
	bool rescinded; /* and then taken away */
	bool revoked;	/* the device is gone: free it when the guest has let go */
	bool awaited;	/* not yet: vmbus_revoke() waits for it to be idle */
	bool withdrawn; /* its provider waits for gone() */
	bool open;	/* the guest opened it and did not close it */
	enum service service;
	struct server *server;	    /* NULL: it is served alone */
	struct vmbus_channel *next; /* due at its server, ended, or gone: in one list at most */
	bool due;
	bool stop;	 /* whoever serves it shall end */
	bool complained; /* of what this guest does with it, in one line */
	uint32_t open_id;
	uint32_t downstream; /* the page of ring_gpadl at which the ring to the guest begins */
	uint8_t user_data[VMBUS_USER_DATA];
	struct vmbus_gpadl *ring_gpadl;
	_Atomic uint32_t target_vp;

	/* While it is served: the serving thread's. */
	struct ring_in in;
	struct ring_out out;
	bool held;   /* receive() left a packet */
	bool broken; /* the guest did wrong: nothing is read or written any more */
	void *data;
	struct memory_view in_view, out_view;
	int event; /* what the guest signals; others may, with the lock, while SERVICE_RUNNING */
	WHV_NOTIFICATION_PORT_HANDLE port;
	struct loop *loop;
	struct loop_watch *watch;
	pthread_t thread;
};

/* What happens when all channels are closed. */
enum leave {
	LEAVE_NOT,
	LEAVE_RESET,
	LEAVE_UNLOAD,
	LEAVE_CONTACT, /* a guest (a new one perhaps) makes contact: bus->contact */
};

struct vmbus {
	struct vmbus_config config;
	struct memory memory;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a service became idle, or leaving was completed */

	pthread_t thread;
	struct loop *loop;
	int wake_event;
	struct loop_watch *wake_watch;
	struct server own, servers[SERVERS_MAX];
	unsigned n_servers;
	struct vmbus_channel *ended; /* whose threads are to be joined */
	struct vmbus_channel *gone;  /* withdrawn, and to be told so */

	/* The connection. */
	uint32_t version; /* 0: none */
	uint32_t message_vp, message_sint;
	bool offers_wanted; /* the guest asked for them */
	bool complained;    /* of this guest, in one line */
	enum leave leave;
	struct vmbus_initiate_contact contact;

	struct message inbox[INBOX_SIZE];
	unsigned inbox_first, inbox_count;
	struct message *outbox, **outbox_end;
	unsigned outbox_count;
	_Atomic uint16_t sints_wanted[VMBUS_MAX_VP];

	struct vmbus_channel *channel[VMBUS_MAX_CHANNELS]; /* by relid */
	uint32_t channels_end;				   /* all used numbers are below */
	struct vmbus_gpadl *gpadl[GPADL_BUCKETS];	   /* by its number */
	struct vmbus_gpadl *gpadls_of[VMBUS_MAX_CHANNELS]; /* by relid */
	unsigned gpadl_words;				   /* of all */

	/* Signals that do not come through a channel's own port. */
	uint64_t interrupt_page; /* before 5.0, or 0 */
	struct vmbus_monitor_page *monitor_page;
	struct vmbus_channel *monitored[VMBUS_MONITORS];
	struct loop_timer *monitor_timer;
	uint64_t monitor_period; /* ns; 0: not looking */
	int shared_event;
	struct loop_watch *shared_watch;
	WHV_NOTIFICATION_PORT_HANDLE shared_port;
};

/* Once for each channel there is. */
#define for_each_channel(ch, bus)                                                                  \
	for (uint32_t relid_ = 1; relid_ < (bus)->channels_end; relid_++)                          \
		if (((ch) = (bus)->channel[relid_]) != NULL)

/* ---- bus.c ---------------------------------------------------------------------------------- */

/* Let the bus's thread look at what there is to do, once the lock is free. The lock is held. */
void bus_wake(struct vmbus *bus);
/* Let the lock go, and tell those that there is something to do for. */
void bus_unlock(struct vmbus *bus);
/* Wait for bus->changed. The lock is held, but meanwhile. */
void bus_wait(struct vmbus *bus);
/*
 * Send a message, struct vmbus_header first: to the guest's slot, or when it is full to the outbox.
 */
void bus_send(struct vmbus *bus, uint32_t type, void *message, uint32_t size);
/* Say once per connection what the guest does wrong. */
void bus_complain(struct vmbus *bus, const char *what);

/* ---- connection.c: what the guest posts ------------------------------------------------------ */

void connection_dispatch(struct vmbus *bus, const struct message *message);
/* Whether a message is acted on where it is posted, unless others wait. */
bool connection_is_quick(const struct vmbus *bus, const struct message *message);
/* Close everything, then do @leave. */
void connection_leave(struct vmbus *bus, enum leave leave);
/* Go on with leaving if all channels are idle. */
void connection_progress(struct vmbus *bus);
/* Forget messages that the guest of before did not take. */
void outbox_clear(struct vmbus *bus);

/* ---- offer.c: which channels there are ------------------------------------------------------- */

/* The channel that the guest means, or NULL: it does not know of such a one. */
struct vmbus_channel *offer_find(const struct vmbus *bus, uint32_t relid);
void offer_send_all(struct vmbus *bus);
/* The guest has let go of the number. */
void offer_released(struct vmbus_channel *channel);
/* The channel became idle: free it if it is to go. */
void offer_idle(struct vmbus_channel *channel);
/* Take away the sub-channels of a primary channel that closes. */
void offer_drop_subchannels(struct vmbus_channel *primary);
/* After leaving: the guest knows of nothing, and what it held back is freed. */
void offer_forget_guest(struct vmbus *bus);
/* Calls gone() for what is; the lock is held, but meanwhile. */
void offer_tell_gone(struct vmbus *bus);

/* ---- gpadl.c -------------------------------------------------------------------------------- */

void gpadl_header(struct vmbus *bus, const struct message *message);
void gpadl_body(struct vmbus *bus, const struct message *message);
void gpadl_teardown(struct vmbus *bus, uint32_t relid, uint32_t id);
/* The complete GPADL @id of channel @relid, held for a user; NULL: none. */
struct vmbus_gpadl *gpadl_get(struct vmbus *bus, uint32_t relid, uint32_t id);
void gpadl_put(struct vmbus *bus, struct vmbus_gpadl *gpadl);
/* The page numbers of a GPADL of one range. Returns how many, or -EPROTO. */
int gpadl_pages(
	const struct vmbus_gpadl *gpadl, const uint64_t **pages, uint64_t *offset, uint64_t *bytes);
/* Forget those of a channel, or of all, that nobody uses. */
void gpadl_forget(struct vmbus *bus, uint32_t relid);
void gpadl_forget_all(struct vmbus *bus);

/* ---- serve.c: open channels ------------------------------------------------------------------ */

void serve_open(struct vmbus_channel *channel, const struct vmbus_open_channel *request);
/* Ask for the end of a service, if there is one; it becomes SERVICE_IDLE later. */
void serve_stop(struct vmbus_channel *channel);
/* On the bus's thread, the lock held: join the threads of channels that were served alone. */
void serve_reap(struct vmbus *bus);
/* On a server's thread, the lock not held: begin and end what is due. */
void serve_due(struct server *s);

/* ---- server.c: threads that channels share --------------------------------------------------- */

void server_init(struct server *s, struct vmbus *bus, struct loop *loop, int event);
/* The one that serves the fewest, for another user; NULL: none can be made. */
struct server *server_get(struct vmbus *bus);
/* Whether that will make no thread. */
bool servers_are_there(const struct vmbus *bus);
/* After the last channel: end the threads. */
void servers_destroy(struct vmbus *bus);

/* ---- packet.c ------------------------------------------------------------------------------- */

void packet_of(const struct ring_packet *raw, struct vmbus_packet *packet);

/* ---- notify.c: monitor pages, the shared interrupt ------------------------------------------- */

int notify_create(struct vmbus *bus);
void notify_destroy(struct vmbus *bus);
/* The guest's pages, from its contact message; forget them. */
void notify_connect(struct vmbus *bus, const struct vmbus_initiate_contact *contact);
void notify_disconnect(struct vmbus *bus);
bool notify_can_share(const struct vmbus *bus);
/* A channel is served from now on, or no longer: look at its bit. */
void notify_opened(struct vmbus_channel *channel);
void notify_closed(struct vmbus_channel *channel);

#endif
