/*
 * socket.c - the connections there are, from the offer to the end; see socket.h. How their bytes
 * move is socket_stream.c.
 *
 *	program   host                         guest
 *	CONNECT ─▶ offer ────────────────────▶ somebody listens
 *	           opened() ◀───────────────── opens the channel
 *	answer ◀──
 *	data  ◀──▶ socket_stream.c ◀────────▶ data
 *	close ───▶ withdraw ─────────────────▶ closes the channel, releases its number
 *	           gone()  ◀──────────────────
 *
 * Whether a guest listens cannot be told from its silence, but guests see offers in order: when one
 * is offered and withdrawn at once after those that are waiting, and the guest has let go of it,
 * then nobody will open the others.
 */
#include "vsp/socket_connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/guid.h"

#define NS_PER_MS   1000000ull
#define WAITING_MAX 1024u /* for the guest to let go of others; more are refused */

static void connection_gone(void *ctx);

struct sockets {
	struct vmbus *bus;
	struct sockets_config config;
	struct loop_timer *timer;
	pthread_mutex_t lock; /* taken before the bus's */
	pthread_cond_t fewer;
	struct connection *connections; /* the newest first */
	unsigned waiting, leaving;	/* of them WAITING, ENDED */
	uint64_t alarm;			/* when the timer expires, or 0 */
	uint32_t next_port;		/* of the host's end of connections to the guest */
	unsigned round;			/* how often the guest was asked what it has seen */
	bool asking;
};

/* ---- Coming and going; the lock is held ------------------------------------------------------ */

static void insert(struct sockets *s, struct connection *c)
{
	c->next = s->connections;
	c->link = &s->connections;
	if (c->next)
		c->next->link = &c->next;
	s->connections = c;
	s->waiting += c->phase == WAITING;
}

static void set_phase(struct connection *c, enum phase phase)
{
	struct sockets *s = c->sockets;

	s->waiting += (phase == WAITING) - (c->phase == WAITING);
	s->leaving += (phase == ENDED) - (c->phase == ENDED);
	c->phase = phase;
}

static void extract(struct connection *c)
{
	set_phase(c, OPEN); /* which is not counted */
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
}

static void set_alarm(struct sockets *s, uint64_t when)
{
	if (s->alarm && s->alarm <= when)
		return;
	s->alarm = when;
	loop_timer_arm(s->timer, when, 0);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

/*
 * Ends a connection that nobody opened, with the error that it failed with; the lock is released
 * meanwhile. False: somebody did open it, or it has ended.
 */
static bool fail(struct connection *c, int err)
{
	struct sockets *s = c->sockets;
	bool offered = c->phase == OFFERED;

	if (!offered && c->phase != WAITING)
		return false;
	set_phase(c, ENDED);
	pthread_mutex_unlock(&s->lock);
	if (!c->from_guest)
		s->config.answered(s->config.ctx, &c->request, err, 0);
	close(c->request.fd);
	if (offered)
		vmbus_withdraw(c->channel);
	else
		connection_gone(c);
	pthread_mutex_lock(&s->lock);
	return true;
}

void connection_deadline(struct connection *c, unsigned ms)
{
	struct sockets *s = c->sockets;

	pthread_mutex_lock(&s->lock);
	c->deadline = ms ? loop_now() + ms * NS_PER_MS : 0;
	if (ms)
		set_alarm(s, c->deadline);
	pthread_mutex_unlock(&s->lock);
}

unsigned connection_stall(const struct connection *c)
{
	return c->sockets->config.stall_ms;
}

/* ---- Does the guest know of it? -------------------------------------------------------------- */

/* The guest has seen all offers of earlier rounds. */
static void seen(void *ctx)
{
	struct sockets *s = ctx;
	struct connection *c;

	pthread_mutex_lock(&s->lock);
	s->asking = false;
	for (c = s->connections; c; c = c->next) {
		if (c->phase == OFFERED && c->round < s->round)
			c->refused = true;
	}
	/* They are told on the loop's thread, as those whose time is up. */
	set_alarm(s, loop_now());
	pthread_cond_signal(&s->fewer);
	pthread_mutex_unlock(&s->lock);
}

static int never_opened(void *ctx, struct vmbus_channel *ch, const uint8_t *user_data)
{
	return -ECONNREFUSED;
}

static void never_closed(void *ctx, struct vmbus_channel *ch)
{
}

static int never_received(void *ctx, struct vmbus_channel *ch, const struct vmbus_packet *packet)
{
	return -EPROTO;
}

static const struct vmbus_provider question = {
	.open = never_opened,
	.close = never_closed,
	.receive = never_received,
	.gone = seen,
};

/* A connection to a service that nobody has. The lock is held. */
static void ask(struct sockets *s)
{
	struct vmbus_offer offer = {
		.name = "seen",
		.flags = SOCKET_OFFER_FLAGS,
		.service = VMBUS_SERVED_TOGETHER,
	};
	struct vmbus_channel *channel;

	if (s->asking)
		return;
	guid_new(&offer.interface);
	guid_new(&offer.instance);
	offer.user_data[offsetof(struct socket_offer, for_guest_accept)] = 1;
	if (vmbus_offer(s->bus, &offer, &question, s, &channel))
		return; /* what waits will time out */
	s->asking = true;
	s->round++;
	vmbus_withdraw(channel);
}

/* ---- Time ------------------------------------------------------------------------------------ */

/* The lock is held. The error with which a connection fails now; 0: it does not. */
static int verdict(struct sockets *s, struct connection *c, uint64_t now)
{
	if (c->phase == OFFERED && c->refused)
		return -ECONNREFUSED;
	if (c->deadline && c->deadline <= now) {
		c->deadline = 0;
		if (c->phase == OFFERED || c->phase == WAITING)
			return -ETIMEDOUT;
		if (c->phase == OPEN)
			vmbus_withdraw(c->channel);
	}
	if (c->phase == OFFERED && c->round == s->round && c->ask_at <= now)
		ask(s);
	return 0;
}

/* When to look at it again, or 0. */
static uint64_t next_look(const struct sockets *s, const struct connection *c, uint64_t now)
{
	if (c->phase == OFFERED && c->round == s->round && c->ask_at < c->deadline)
		return c->ask_at > now ? c->ask_at : now + SOCKET_ASK * NS_PER_MS;
	return c->phase == ENDED ? 0 : c->deadline;
}

static void look(void *ctx)
{
	struct sockets *s = ctx;
	uint64_t now = loop_now();
	struct connection *c, *next;
	int err;

	pthread_mutex_lock(&s->lock);
	s->alarm = 0;
	for (c = s->connections; c; c = next) {
		uint64_t again;

		next = c->next;
		err = verdict(s, c, now);
		if (err && fail(c, err)) {
			next = s->connections; /* the list may have changed meanwhile */
			continue;
		}
		again = next_look(s, c, now);
		if (again)
			set_alarm(s, again);
	}
	pthread_mutex_unlock(&s->lock);
}

/* ---- The channel ----------------------------------------------------------------------------- */

static int opened(void *ctx, struct vmbus_channel *ch, const uint8_t *user_data)
{
	struct connection *c = ctx;
	struct sockets *s = c->sockets;
	bool ours;
	int err;

	pthread_mutex_lock(&s->lock);
	ours = c->phase == OFFERED;
	if (ours) {
		set_phase(c, OPEN);
		c->deadline = 0;
	}
	pthread_mutex_unlock(&s->lock);
	if (!ours)
		return -ECONNREFUSED;
	err = stream_open(c);
	if (!err)
		return 0;
	pthread_mutex_lock(&s->lock);
	set_phase(c, OFFERED);
	fail(c, err);
	pthread_mutex_unlock(&s->lock);
	return err;
}

static void begun(void *ctx, struct vmbus_channel *ch)
{
	struct connection *c = ctx;

	if (!c->from_guest)
		c->sockets->config.answered(c->sockets->config.ctx, &c->request, 0, c->port);
}

static void closed(void *ctx, struct vmbus_channel *ch)
{
	struct connection *c = ctx;

	stream_close(c);
	close(c->request.fd);
	pthread_mutex_lock(&c->sockets->lock);
	set_phase(c, ENDED);
	pthread_mutex_unlock(&c->sockets->lock);
	vmbus_withdraw(ch);
}

static const struct vmbus_provider connection_provider = {
	.open = opened,
	.begun = begun,
	.close = closed,
	.receive = stream_receive,
	.room = stream_room,
	.gone = connection_gone,
};

/* The lock is held. */
static int offer(struct connection *c)
{
	struct sockets *s = c->sockets;
	struct vmbus_offer offer = {
		.name = "socket",
		.interface = c->request.service,
		.instance = c->instance,
		.flags = SOCKET_OFFER_FLAGS,
		.service = VMBUS_SERVED_TOGETHER,
	};
	struct socket_offer data = {.pipe = VMBUS_PIPE_BYTES, .for_guest_accept = !c->from_guest};
	int err;

	memcpy(offer.user_data, &data, sizeof(data));
	err = vmbus_offer(s->bus, &offer, &connection_provider, c, &c->channel);
	if (err)
		return err;
	set_phase(c, OFFERED);
	c->round = s->round;
	c->ask_at = loop_now() + SOCKET_ASK * NS_PER_MS;
	set_alarm(s, c->ask_at);
	return 0;
}

/* The guest has let go of some: offer those that wait, the oldest first. The lock is held. */
static void offer_waiting(struct sockets *s)
{
	while (s->waiting && s->leaving < SOCKET_LEAVING_MAX) {
		struct connection *oldest = NULL;

		for (struct connection *c = s->connections; c; c = c->next)
			if (c->phase == WAITING)
				oldest = c;
		if (offer(oldest))
			return; /* it goes on waiting, until its time is up */
	}
}

static void connection_gone(void *ctx)
{
	struct connection *c = ctx;
	struct sockets *s = c->sockets;

	pthread_mutex_lock(&s->lock);
	extract(c);
	offer_waiting(s);
	pthread_cond_signal(&s->fewer);
	pthread_mutex_unlock(&s->lock);
	free(c);
}

/* Offers @c, now or when the guest has let go of others; or frees it. */
static int begin(struct connection *c)
{
	struct sockets *s = c->sockets;
	int err = -ENOSPC;

	pthread_mutex_lock(&s->lock);
	c->deadline = loop_now() + c->request.timeout_ms * NS_PER_MS;
	insert(s, c);
	set_alarm(s, c->deadline);
	if (s->waiting == 1 && s->leaving < SOCKET_LEAVING_MAX)
		err = offer(c);
	if (err == -ENOSPC && s->leaving && s->waiting <= WAITING_MAX)
		err = 0;
	pthread_mutex_unlock(&s->lock);
	if (err)
		connection_gone(c);
	return err;
}

/* ---- From outside ---------------------------------------------------------------------------- */

void sockets_connect(struct sockets *s, const struct socket_request *request)
{
	struct connection *c = calloc(1, sizeof(*c));
	int err = -ENOMEM;

	if (c) {
		c->sockets = s;
		c->request = *request;
		/* The guest sees the first word as the port of the host's end. */
		guid_new(&c->instance);
		pthread_mutex_lock(&s->lock);
		c->port = s->next_port++;
		pthread_mutex_unlock(&s->lock);
		c->instance.Data1 = c->port;
		err = begin(c);
	}
	if (!err)
		return;
	s->config.answered(s->config.ctx, request, err, 0);
	close(request->fd);
}

int sockets_accept(struct sockets *s, const GUID *endpoint, const GUID *service, int fd)
{
	struct connection *c = calloc(1, sizeof(*c));
	int err;

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->sockets = s;
	c->from_guest = true;
	c->request = (struct socket_request){
		.fd = fd, .service = *service, .timeout_ms = SOCKET_GUEST_OPENS};
	c->instance = *endpoint;
	err = begin(c);
	if (err)
		close(fd);
	return err;
}

int sockets_create(struct vmbus *bus, const struct sockets_config *config, struct sockets **out)
{
	struct sockets *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->bus = bus;
	s->config = *config;
	if (!s->config.stall_ms)
		s->config.stall_ms = SOCKET_STALL;
	s->timer = loop_timer_create(config->loop, look, s);
	if (!s->timer || getrandom(&s->next_port, sizeof(s->next_port), 0) < 0) {
		int err = -errno;

		loop_timer_destroy(s->timer);
		free(s);
		return err;
	}
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->fewer, NULL);
	*out = s;
	return 0;
}

void sockets_destroy(struct sockets *s)
{
	struct connection *c, *next;

	if (!s)
		return;
	/* Closes all channels, and lets go of their numbers in the guest's stead. */
	vmbus_reset(s->bus);
	pthread_mutex_lock(&s->lock);
	for (c = s->connections; c; c = next) {
		next = c->next;
		if (fail(c, -ECONNRESET))
			next = s->connections;
	}
	while (s->connections || s->asking)
		pthread_cond_wait(&s->fewer, &s->lock);
	pthread_mutex_unlock(&s->lock);
	loop_timer_destroy(s->timer);
	pthread_cond_destroy(&s->fewer);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
