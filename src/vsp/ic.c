/*
 * ic.c - see ic.h; the frame is in ic_protocol.h.
 *
 *   guest                                   host
 *   opens the channel                       names its versions
 *   picks two                               ready: sends the first request
 *   answers                                 sends the next
 */
#include "vsp/ic.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "vmbus/vmbus_protocol.h"

#define VERSIONS 16u /* of each kind, at most */

static const struct ic_version frameworks[] = {{1, 0}, {3, 0}};

#define FRAMEWORKS (sizeof(frameworks) / sizeof(frameworks[0]))

struct ic {
	struct ic_config config;
	struct vmbus_channel *offer;

	pthread_mutex_t lock; /* guards what follows, up to the serving thread's */
	struct ic_state state;
	struct ic_request *waiting, **last; /* in order */
	struct loop_timer *timer;	    /* while open: wakes the serving thread */
	bool busy;			    /* it will look at the requests by itself */

	/* The serving thread's. */
	struct vmbus_channel *channel;
	bool negotiate_due;
	bool answer_due; /* the guest has a message to answer */
	uint16_t type;	 /* of that message */
	uint8_t transaction;
	struct ic_request *current; /* that it belongs to; NULL: nobody waits for it any more */
	uint8_t packet[sizeof(struct ic_pipe_header) + sizeof(struct ic_header) + IC_MESSAGE_MAX];
};

static bool equal(struct ic_version a, struct ic_version b)
{
	return a.major == b.major && a.minor == b.minor;
}

static bool known(struct ic_version v, const struct ic_version *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (equal(v, list[i]))
			return true;
	return false;
}

/* ---- Sending -------------------------------------------------------------------------------- */

/* Puts a message of one or more parts into the ring: 0, or a negative errno of vmbus_send(). */
static int put(struct ic *ic, uint16_t type, const struct iovec *parts, unsigned n)
{
	struct ic_header header = {.framework = ic->state.framework,
		.type = type,
		.message = ic->state.message,
		.transaction = (uint8_t)(ic->transaction + 1),
		.flags = IC_TRANSACTION | IC_REQUEST};
	struct ic_pipe_header pipe = {.type = IC_PIPE_DATA, .size = sizeof(header)};
	struct iovec iov[6] = {{&pipe, sizeof(pipe)}, {&header, sizeof(header)}};
	int err;

	for (unsigned i = 0; i < n; i++) {
		iov[2 + i] = parts[i];
		header.size = (uint16_t)(header.size + parts[i].iov_len);
	}
	pipe.size += header.size;
	err = vmbus_send(ic->channel, 0, false, iov, 2 + n);
	if (err)
		return err;
	ic->answer_due = true;
	ic->type = type;
	ic->transaction++;
	return 0;
}

static void negotiate(struct ic *ic)
{
	struct ic_negotiate counts = {
		.frameworks = FRAMEWORKS, .messages = (uint16_t)ic->config.n_versions};
	const struct iovec parts[] = {{&counts, sizeof(counts)},
		{(void *)frameworks, sizeof(frameworks)},
		{(void *)ic->config.versions, ic->config.n_versions * sizeof(struct ic_version)}};

	/* The ring is empty: whatever is wrong with it shows with the first packet. */
	ic->negotiate_due = put(ic, IC_NEGOTIATE, parts, 3) == -EAGAIN;
}

static void end(struct ic_request *r, int err)
{
	r->err = err;
	r->done(r);
}

/*
 * Sends a request that was taken off the queue. False: the ring has no room, and it is back there.
 */
static bool send_request(struct ic *ic, struct ic_request *r)
{
	struct iovec part;
	int err;

	if (r->prepare)
		r->prepare(r);
	part = (struct iovec){r->message, r->size};
	err = put(ic, ic->config.type, &part, 1);
	if (err == -EAGAIN) {
		pthread_mutex_lock(&ic->lock);
		r->next = ic->waiting;
		ic->waiting = r;
		if (!r->next)
			ic->last = &r->next;
		pthread_mutex_unlock(&ic->lock);
		return false;
	}
	if (err)
		end(r, err);
	else
		ic->current = r;
	return true;
}

/* ---- The queue, the lock held ---------------------------------------------------------------- */

static void unlink_request(struct ic *ic, struct ic_request **at)
{
	*at = (*at)->next;
	if (!*at)
		ic->last = at;
}

/* A request that has come to its end without an answer, taken out. NULL: none has. */
static struct ic_request *take_ended(struct ic *ic, uint64_t now)
{
	struct ic_request *r = ic->current;

	if (r && (r->cancelled || (r->deadline && r->deadline <= now))) {
		ic->current = NULL;
		return r;
	}
	for (struct ic_request **at = &ic->waiting; (r = *at); at = &r->next)
		if (r->cancelled || (r->deadline && r->deadline <= now)) {
			unlink_request(ic, at);
			return r;
		}
	return NULL;
}

static struct ic_request *take_next(struct ic *ic)
{
	struct ic_request *r = ic->waiting;

	if (!r || ic->answer_due || ic->state.stage != IC_READY)
		return NULL;
	unlink_request(ic, &ic->waiting);
	return r;
}

static void arm(struct ic *ic)
{
	uint64_t nearest = ic->current ? ic->current->deadline : 0;

	for (struct ic_request *r = ic->waiting; r; r = r->next)
		if (r->deadline && (!nearest || r->deadline < nearest))
			nearest = r->deadline;
	if (nearest)
		loop_timer_arm(ic->timer, nearest, 0);
	else
		loop_timer_disarm(ic->timer);
}

/* Ends what has ended and sends what can be sent. */
static void run(struct ic *ic)
{
	struct ic_request *ended, *next;
	bool room = true;

	if (ic->negotiate_due)
		negotiate(ic);
	for (;;) {
		pthread_mutex_lock(&ic->lock);
		ended = take_ended(ic, loop_now());
		next = ended || !room ? NULL : take_next(ic);
		if (!ended && !next)
			break;
		pthread_mutex_unlock(&ic->lock);
		if (ended)
			end(ended, ended->cancelled ? -ECANCELED : -ETIMEDOUT);
		else
			room = send_request(ic, next);
	}
	ic->busy = false;
	arm(ic);
	pthread_mutex_unlock(&ic->lock);
}

static void set_busy(struct ic *ic)
{
	pthread_mutex_lock(&ic->lock);
	ic->busy = true;
	pthread_mutex_unlock(&ic->lock);
}

static void on_timer(void *ctx)
{
	struct ic *ic = ctx;

	set_busy(ic);
	run(ic);
	vmbus_flush(ic->channel);
}

/* The lock held. */
static void wake(struct ic *ic)
{
	if (ic->timer && !ic->busy)
		loop_timer_arm(ic->timer, 0, 0);
}

/* ---- Answers -------------------------------------------------------------------------------- */

static int negotiated(struct ic *ic, const uint8_t *body, uint32_t size)
{
	struct ic_negotiate counts;
	struct ic_version chosen[2];

	if (size < sizeof(counts))
		return -EPROTO;
	memcpy(&counts, body, sizeof(counts));
	if (!counts.frameworks || !counts.messages) {
		log_warning("the guest's driver of the service '%s' knows none of the versions "
			    "that are offered",
			ic->config.name);
		pthread_mutex_lock(&ic->lock);
		ic->state.stage = IC_REFUSED;
		pthread_mutex_unlock(&ic->lock);
		return 0;
	}
	if (counts.frameworks != 1 || counts.messages != 1 ||
		size < sizeof(counts) + sizeof(chosen))
		return -EPROTO;
	memcpy(chosen, body + sizeof(counts), sizeof(chosen));
	if (!known(chosen[0], frameworks, FRAMEWORKS) ||
		!known(chosen[1], ic->config.versions, ic->config.n_versions))
		return -EPROTO;
	log_debug("%s: the guest picked version %u.%u, framework %u.%u", ic->config.name,
		chosen[1].major, chosen[1].minor, chosen[0].major, chosen[0].minor);
	pthread_mutex_lock(&ic->lock);
	ic->state = (struct ic_state){IC_READY, chosen[0], chosen[1]};
	ic->busy = true;
	pthread_mutex_unlock(&ic->lock);
	if (ic->config.ready)
		ic->config.ready(ic->config.ctx);
	run(ic);
	return 0;
}

static int answered(struct ic *ic, uint32_t status, const uint8_t *body, uint32_t size)
{
	struct ic_request *r = ic->current;
	int err = 0;

	ic->current = NULL;
	set_busy(ic);
	if (r) {
		r->err = 0;
		r->status = status;
		r->answered = size < r->size ? size : r->size;
		memcpy(r->message, body, r->answered);
		err = r->done(r);
	}
	run(ic);
	return err == -EPROTO ? err : 0;
}

static int on_receive(void *ctx, struct vmbus_channel *channel, const struct vmbus_packet *p)
{
	struct ic *ic = ctx;
	const uint8_t *body = ic->packet + sizeof(struct ic_pipe_header) + sizeof(struct ic_header);
	struct ic_pipe_header pipe;
	struct ic_header header;

	if (p->kind != VMBUS_INBAND || p->size > sizeof(ic->packet) ||
		p->size < sizeof(pipe) + sizeof(header))
		return -EPROTO;
	if (vmbus_packet_read(p, 0, ic->packet, p->size))
		return -EPROTO;
	memcpy(&pipe, ic->packet, sizeof(pipe));
	memcpy(&header, ic->packet + sizeof(pipe), sizeof(header));
	if (pipe.type != IC_PIPE_DATA || pipe.size > p->size - sizeof(pipe) ||
		pipe.size < sizeof(header) || header.size > pipe.size - sizeof(header))
		return -EPROTO;
	if (!ic->answer_due || header.type != ic->type || header.transaction != ic->transaction ||
		(header.flags & (IC_TRANSACTION | IC_RESPONSE)) != (IC_TRANSACTION | IC_RESPONSE))
		return -EPROTO;
	ic->answer_due = false;
	return header.type == IC_NEGOTIATE ? negotiated(ic, body, header.size)
					   : answered(ic, header.status, body, header.size);
}

/* ---- The channel ---------------------------------------------------------------------------- */

static void on_room(void *ctx, struct vmbus_channel *channel)
{
	on_timer(ctx);
}

static int on_open(void *ctx, struct vmbus_channel *channel, const uint8_t *user_data)
{
	struct ic *ic = ctx;
	struct loop_timer *timer = loop_timer_create(vmbus_channel_loop(channel), on_timer, ic);

	if (!timer)
		return -ENOMEM;
	ic->channel = channel;
	ic->negotiate_due = true;
	ic->answer_due = false;
	pthread_mutex_lock(&ic->lock);
	ic->timer = timer;
	ic->busy = false;
	ic->state = (struct ic_state){.stage = IC_NEGOTIATING};
	wake(ic);
	pthread_mutex_unlock(&ic->lock);
	return 0;
}

static void on_close(void *ctx, struct vmbus_channel *channel)
{
	struct ic *ic = ctx;
	struct loop_timer *timer = ic->timer;
	struct ic_request *r, *next;
	bool was_ready;

	pthread_mutex_lock(&ic->lock);
	was_ready = ic->state.stage == IC_READY;
	ic->state = (struct ic_state){.stage = IC_CLOSED};
	ic->timer = NULL;
	r = ic->waiting;
	ic->waiting = NULL;
	ic->last = &ic->waiting;
	pthread_mutex_unlock(&ic->lock);
	if (ic->current)
		end(ic->current, -ENOTCONN);
	ic->current = NULL;
	for (; r; r = next) {
		next = r->next;
		end(r, -ENOTCONN);
	}
	if (was_ready && ic->config.gone)
		ic->config.gone(ic->config.ctx);
	loop_timer_destroy(timer);
	ic->channel = NULL;
}

static const struct vmbus_provider provider = {
	.open = on_open,
	.close = on_close,
	.receive = on_receive,
	.room = on_room,
};

int ic_create(struct vmbus *bus, const struct ic_config *config, struct ic **ic)
{
	struct vmbus_offer offer = {.name = config->name,
		.interface = config->interface,
		.instance = config->instance,
		.flags = VMBUS_OFFER_PIPE,
		.user_data = {VMBUS_PIPE_MESSAGES},
		.service = config->alone ? VMBUS_SERVED_ALONE : VMBUS_SERVED_BY_BUS};
	struct ic *new = calloc(1, sizeof(*new));
	int err;

	if (!new)
		return -ENOMEM;
	new->config = *config;
	new->last = &new->waiting;
	pthread_mutex_init(&new->lock, NULL);
	*ic = new; /* the guest may open it at once */
	err = vmbus_offer(bus, &offer, &provider, new, &new->offer);
	if (err) {
		ic_destroy(new);
		*ic = NULL;
	}
	return err;
}

void ic_destroy(struct ic *ic)
{
	if (!ic)
		return;
	if (ic->offer)
		vmbus_revoke(ic->offer);
	pthread_mutex_destroy(&ic->lock);
	free(ic);
}

/* ---- From other threads --------------------------------------------------------------------- */

int ic_submit(struct ic *ic, struct ic_request *r)
{
	int err = 0;

	r->next = NULL;
	r->cancelled = false;
	r->answered = 0;
	pthread_mutex_lock(&ic->lock);
	switch (ic->state.stage) {
	case IC_CLOSED:
		err = -ENOTCONN;
		break;
	case IC_NEGOTIATING:
		err = -EAGAIN;
		break;
	case IC_REFUSED:
		err = -EPROTONOSUPPORT;
		break;
	case IC_READY:
		*ic->last = r;
		ic->last = &r->next;
		wake(ic);
	}
	pthread_mutex_unlock(&ic->lock);
	return err;
}

void ic_cancel(struct ic *ic, struct ic_request *r)
{
	pthread_mutex_lock(&ic->lock);
	r->cancelled = true;
	wake(ic);
	pthread_mutex_unlock(&ic->lock);
}

struct ic_state ic_state(struct ic *ic)
{
	struct ic_state state;

	pthread_mutex_lock(&ic->lock);
	state = ic->state;
	pthread_mutex_unlock(&ic->lock);
	return state;
}

struct loop *ic_loop(struct ic *ic)
{
	return vmbus_channel_loop(ic->channel);
}

bool ic_at_least(struct ic *ic, uint16_t major, uint16_t minor)
{
	struct ic_state s = ic_state(ic);

	return s.stage == IC_READY &&
	       (s.message.major > major || (s.message.major == major && s.message.minor >= minor));
}
