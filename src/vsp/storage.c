/*
 * storage.c - the storage provider: negotiates with the guest's driver, hands its SCSI commands to
 * the units, and returns their results. See storage.h; the conversation is in storage_protocol.h:
 *
 *   guest                                   host
 *   BEGIN_INITIALIZATION                    completes
 *   QUERY_PROTOCOL_VERSION (best first)     completes with success or "revision mismatch"
 *   QUERY_PROPERTIES                        how many sub-channels, how long a transfer
 *   END_INITIALIZATION                      ready
 *   CREATE_SUB_CHANNELS                     offers them; the guest opens each
 *   EXECUTE_SRB with the guest's pages      COMPLETE_IO, in any order, on the same channel
 *                                           ENUMERATE_BUS at any time: units came, went or changed
 *
 * A packet that is malformed ends the channel; a command that is, ends with a status.
 */
#include "vsp/storage.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/event.h"
#include "disk/scsi_protocol.h"
#include "vsp/storage_protocol.h"

#define MAX_TRANSFER (1u << 20) /* bytes of a command */
#define IOV_ROOM     (MAX_TRANSFER / 4096 + 1)
#define QUEUE_DEPTH  128u
#define SLAB	     16u /* commands that are made room for at a time */

enum stage { BEGIN, QUERY_VERSION, QUERY_PROPERTIES, END, READY };

/* A place for a unit. Whoever uses it counts itself first; detaching waits until none does. */
struct slot {
	_Atomic(struct scsi_unit *) unit;
	_Atomic unsigned users;
};

struct storage {
	struct storage_config config;
	struct vmbus_channel *channel; /* the primary one */
	struct slot slots[STORAGE_LUNS];
	pthread_mutex_t lock; /* for @unused only: slots are looked up without it */
	pthread_cond_t unused;
	_Atomic enum stage stage; /* moved by the primary channel's thread */
	int look;		  /* eventfd: tell the guest to look for units */
};

/* A command on its way. */
struct command {
	struct scsi_request scsi;
	struct channel *channel;
	struct slot *slot;
	struct command *next;
	uint64_t transaction;
	uint32_t packet_size;
	unsigned n_iov;
	struct storage_packet packet;
	struct iovec iov[IOV_ROOM];
};

/* An open channel; all of it is its serving thread's. */
struct channel {
	struct storage *storage;
	struct vmbus_channel *vmbus;
	struct disk_queue *queue;
	struct loop_watch *disk_watch, *look_watch;
	struct command *free;			   /* a list */
	struct command *finished, **finished_last; /* waiting for room in the ring, in order */
	unsigned in_flight;
	bool look_due; /* ENUMERATE_BUS did not fit the ring */
	struct slab *slabs;
};

struct slab {
	struct slab *next;
	struct command commands[SLAB];
};

/* ---- Units ----------------------------------------------------------------------------------- */

static void slot_put(struct storage *s, struct slot *slot)
{
	if (atomic_fetch_sub(&slot->users, 1) > 1 || slot->unit)
		return;
	/* The last one out of a slot that is being emptied. */
	pthread_mutex_lock(&s->lock);
	pthread_cond_broadcast(&s->unused);
	pthread_mutex_unlock(&s->lock);
}

/*
 * A controller has one path and target. Drivers of IDE disks name the target, but not always the
 * path.
 */
static bool is_ours(const struct storage *s, const struct storage_srb *srb)
{
	return s->config.ide ? srb->target == s->config.ide_target : !srb->path && !srb->target;
}

/* The unit that @srb addresses, counted in *@slot; NULL: there is none. */
static struct scsi_unit *slot_get(
	struct storage *s, const struct storage_srb *srb, struct slot **slot)
{
	struct scsi_unit *unit;

	if (srb->lun >= STORAGE_LUNS || !is_ours(s, srb))
		return NULL;
	*slot = &s->slots[srb->lun];
	atomic_fetch_add(&(*slot)->users, 1);
	unit = (*slot)->unit;
	if (!unit)
		slot_put(s, *slot);
	return unit;
}

void storage_changed(struct storage *s)
{
	event_signal(s->look);
}

int storage_attach(struct storage *s, unsigned lun, struct scsi_unit *unit)
{
	struct scsi_unit *none = NULL;

	if (lun >= (s->config.ide ? 1 : STORAGE_LUNS))
		return -EINVAL;
	if (!atomic_compare_exchange_strong(&s->slots[lun].unit, &none, unit))
		return -EEXIST;
	storage_changed(s);
	return 0;
}

struct scsi_unit *storage_detach(struct storage *s, unsigned lun)
{
	struct slot *slot;
	struct scsi_unit *unit;

	if (lun >= STORAGE_LUNS)
		return NULL;
	slot = &s->slots[lun];
	unit = atomic_exchange(&slot->unit, NULL);
	if (!unit)
		return NULL;
	pthread_mutex_lock(&s->lock);
	while (slot->users)
		pthread_cond_wait(&s->unused, &s->lock);
	pthread_mutex_unlock(&s->lock);
	storage_changed(s);
	return unit;
}

struct scsi_unit *storage_unit(struct storage *s, unsigned lun)
{
	return lun < STORAGE_LUNS ? s->slots[lun].unit : NULL;
}

/* ---- Commands -------------------------------------------------------------------------------- */

static struct command *command_get(struct channel *ch)
{
	struct command *c = ch->free;

	if (!c) {
		struct slab *slab = malloc(sizeof(*slab));

		if (!slab)
			return NULL;
		slab->next = ch->slabs;
		ch->slabs = slab;
		for (unsigned i = 0; i < SLAB; i++) {
			slab->commands[i].channel = ch;
			slab->commands[i].next = ch->free;
			ch->free = &slab->commands[i];
		}
		c = ch->free;
	}
	ch->free = c->next;
	c->slot = NULL;
	c->n_iov = 0;
	return c;
}

static void command_put(struct command *c)
{
	c->next = c->channel->free;
	c->channel->free = c;
}

/* Sends what has finished, in order, as far as the ring has room. */
static void send_finished(struct channel *ch)
{
	struct command *c;

	while ((c = ch->finished)) {
		if (vmbus_complete(ch->vmbus, c->transaction, &c->packet, c->packet_size) ==
			-EAGAIN)
			return;
		/* Sent, or the channel is ending and nobody waits for it. */
		ch->finished = c->next;
		if (!ch->finished)
			ch->finished_last = &ch->finished;
		command_put(c);
	}
}

static void finish(struct command *c, enum storage_status status)
{
	struct channel *ch = c->channel;

	c->packet.operation = STORAGE_COMPLETE_IO;
	c->packet.status = status;
	c->next = NULL;
	*ch->finished_last = c;
	ch->finished_last = &c->next;
	if (ch->finished == c)
		send_finished(ch);
}

static void finish_srb(struct command *c, uint8_t srb_status, uint8_t scsi_status, uint32_t moved)
{
	c->packet.srb.srb_status = srb_status;
	c->packet.srb.scsi_status = scsi_status;
	c->packet.srb.data_transfer_length = moved;
	finish(c, STORAGE_SUCCESS);
}

static void scsi_done(struct scsi_request *r)
{
	struct command *c = (struct command *)((char *)r - offsetof(struct command, scsi));
	struct channel *ch = c->channel;
	struct storage_srb *srb = &c->packet.srb;
	uint8_t status = SRB_STATUS_ERROR;

	ch->in_flight--;
	slot_put(ch->storage, c->slot);
	if (srb->data_in && r->moved)
		vmbus_wrote(ch->vmbus, c->iov, c->n_iov);
	srb->sense_length = r->sense_length;
	if (r->sense_length) {
		memset(srb->sense, 0, sizeof(srb->sense));
		memcpy(srb->sense, r->sense, r->sense_length);
		status |= SRB_STATUS_AUTOSENSE_VALID;
	} else if (r->status == SCSI_GOOD) {
		status = SRB_STATUS_SUCCESS;
	}
	finish_srb(c, status, r->status, r->moved);
}

/* Copies @n bytes into the command's pages, as far as they go. Returns how many that were. */
static uint32_t deliver(struct command *c, const uint8_t *from, uint32_t n)
{
	uint32_t moved = 0;

	if (n > c->packet.srb.data_transfer_length)
		n = c->packet.srb.data_transfer_length;
	for (unsigned i = 0; i < c->n_iov && moved < n; i++) {
		size_t here = c->iov[i].iov_len < n - moved ? c->iov[i].iov_len : n - moved;

		memcpy(c->iov[i].iov_base, from + moved, here);
		moved += (uint32_t)here;
	}
	vmbus_wrote(c->channel->vmbus, c->iov, c->n_iov);
	return moved;
}

/* Which units there are is the controller's knowledge: also LUNs without a unit are asked. */
static void report_luns(struct command *c)
{
	struct storage *s = c->channel->storage;
	bool here = is_ours(s, &c->packet.srb);
	uint8_t data[8 + STORAGE_LUNS * 8] = {0};
	uint32_t n = 8;

	for (unsigned lun = 0; here && lun < STORAGE_LUNS; lun++) {
		if (!s->slots[lun].unit)
			continue;
		scsi_put16(data + n, (uint16_t)lun);
		n += 8;
	}
	scsi_put32(data, n - 8);
	finish_srb(c, SRB_STATUS_SUCCESS, SCSI_GOOD, deliver(c, data, n));
}

/* INQUIRY where no unit is: "not there, but could be", so that the guest looks further. */
static void inquire_nobody(struct command *c)
{
	uint8_t data[36] = {0x7f, 0, 5, 2, 31};

	if (c->packet.srb.lun == 0)
		memcpy(data + 8, "Msft    Virtual Disk    1.0 ", 28);
	finish_srb(c, SRB_STATUS_SUCCESS, SCSI_GOOD, deliver(c, data, sizeof(data)));
}

static void execute(struct command *c)
{
	struct channel *ch = c->channel;
	struct storage_srb *srb = &c->packet.srb;
	struct scsi_unit *unit;
	uint8_t op = srb->cdb[0];

	if (op == SCSI_REPORT_LUNS) {
		report_luns(c);
		return;
	}
	unit = slot_get(ch->storage, srb, &c->slot);
	if (!unit && op == SCSI_INQUIRY && !(srb->cdb[1] & 1) && srb->lun < STORAGE_LUNS) {
		inquire_nobody(c);
		return;
	}
	if (!unit) {
		finish_srb(c, SRB_STATUS_INVALID_LUN, SCSI_CHECK_CONDITION, 0);
		return;
	}
	c->scsi.iov = c->iov;
	c->scsi.n_iov = c->n_iov;
	c->scsi.length = srb->data_transfer_length;
	c->scsi.nexus = 1;
	c->scsi.done = scsi_done;
	memset(c->scsi.cdb, 0, sizeof(c->scsi.cdb));
	memcpy(c->scsi.cdb, srb->cdb,
		srb->cdb_length < STORAGE_CDB ? srb->cdb_length : STORAGE_CDB);
	ch->in_flight++;
	scsi_submit(unit, ch->queue, &c->scsi);
}

/* Takes the pages of an EXECUTE_SRB and starts it. */
static int start_srb(struct command *c, const struct vmbus_packet *p)
{
	struct storage_srb *srb = &c->packet.srb;
	uint64_t bytes = 0;
	int n = 0;

	if (p->kind == VMBUS_GPA_DIRECT)
		n = vmbus_packet_pages(c->channel->vmbus, p, c->iov, IOV_ROOM, &bytes);
	if (n < 0 && n != -E2BIG)
		return n;
	if (n == -E2BIG || srb->data_transfer_length > bytes) {
		finish_srb(c, SRB_STATUS_INVALID_REQUEST, SCSI_GOOD, 0);
		return 0;
	}
	c->n_iov = (unsigned)n;
	execute(c);
	return 0;
}

/* ---- Negotiation ----------------------------------------------------------------------------- */

static bool version_known(uint16_t v)
{
	return v == STORAGE_VERSION_WIN6 || v == STORAGE_VERSION_WIN7 ||
	       v == STORAGE_VERSION_WIN8 || v == STORAGE_VERSION_WIN8_1 ||
	       v == STORAGE_VERSION_THRESHOLD;
}

/* The operations of start-up, each at its stage only; what follows, and how this one ends. */
static enum storage_status negotiate(struct storage *s, struct storage_packet *p)
{
	static const uint32_t expected[] = {[BEGIN] = STORAGE_BEGIN_INITIALIZATION,
		[QUERY_VERSION] = STORAGE_QUERY_PROTOCOL_VERSION,
		[QUERY_PROPERTIES] = STORAGE_QUERY_PROPERTIES,
		[END] = STORAGE_END_INITIALIZATION};

	if (s->stage == READY || p->operation != expected[s->stage])
		return STORAGE_INVALID_DEVICE_STATE;
	if (s->stage == QUERY_VERSION && !version_known(p->version.major_minor))
		return STORAGE_REVISION_MISMATCH;
	if (s->stage == QUERY_PROPERTIES)
		p->properties = (struct storage_properties){
			.max_sub_channels = (uint16_t)s->config.sub_channels,
			.flags = s->config.sub_channels ? STORAGE_MULTI_CHANNEL : 0,
			.max_transfer_bytes = MAX_TRANSFER};
	s->stage++;
	return STORAGE_SUCCESS;
}

static enum storage_status create_sub_channels(struct channel *ch, const struct storage_packet *p)
{
	struct storage *s = ch->storage;

	if (s->stage != READY || vmbus_channel_index(ch->vmbus))
		return STORAGE_INVALID_DEVICE_STATE;
	if (p->sub_channels > s->config.sub_channels ||
		vmbus_offer_subchannels(ch->vmbus, p->sub_channels))
		return STORAGE_INVALID_PARAMETER;
	return STORAGE_SUCCESS;
}

static void reset(struct storage *s)
{
	for (unsigned lun = 0; lun < STORAGE_LUNS; lun++) {
		const struct storage_srb at = {.lun = (uint8_t)lun, .target = s->config.ide_target};
		struct slot *slot;
		struct scsi_unit *unit = slot_get(s, &at, &slot);

		if (!unit)
			continue;
		scsi_reset(unit);
		slot_put(s, slot);
	}
}

static enum storage_status control(struct channel *ch, struct storage_packet *p)
{
	struct storage *s = ch->storage;

	switch (p->operation) {
	case STORAGE_BEGIN_INITIALIZATION:
	case STORAGE_QUERY_PROTOCOL_VERSION:
	case STORAGE_QUERY_PROPERTIES:
	case STORAGE_END_INITIALIZATION:
		return vmbus_channel_index(ch->vmbus) ? STORAGE_INVALID_DEVICE_STATE
						      : negotiate(s, p);
	case STORAGE_CREATE_SUB_CHANNELS:
		return create_sub_channels(ch, p);
	case STORAGE_RESET_LUN:
	case STORAGE_RESET_ADAPTER:
	case STORAGE_RESET_BUS:
		/* Commands under way end by themselves; the guest waits for them. */
		reset(s);
		return STORAGE_SUCCESS;
	default:
		return STORAGE_INVALID_DEVICE_REQUEST;
	}
}

/* ---- The channel ----------------------------------------------------------------------------- */

static int on_receive(void *ctx, struct vmbus_channel *vmbus, const struct vmbus_packet *p)
{
	struct channel *ch = vmbus_channel_get(vmbus);
	struct storage *s = ctx;
	struct command *c;
	uint32_t size = p->size < sizeof(c->packet) ? p->size : sizeof(c->packet);
	int err;

	if (p->kind == VMBUS_COMPLETION)
		return 0; /* of ENUMERATE_BUS; none was asked for */
	if (size < STORAGE_PACKET_SHORT || p->kind == VMBUS_TRANSFER)
		return -EPROTO;
	c = command_get(ch);
	if (!c)
		return -EAGAIN; /* comes again when one that is under way has ended */
	memset(&c->packet, 0, sizeof(c->packet));
	err = vmbus_packet_read(p, 0, &c->packet, size);
	c->transaction = p->transaction;
	c->packet_size = size;
	if (!err && c->packet.operation != STORAGE_EXECUTE_SRB)
		finish(c, control(ch, &c->packet));
	else if (!err && s->stage != READY)
		finish(c, STORAGE_INVALID_DEVICE_STATE);
	else if (!err)
		err = start_srb(c, p);
	if (err)
		command_put(c);
	return err;
}

static void on_batch_end(void *ctx, struct vmbus_channel *vmbus)
{
	disk_queue_kick(((struct channel *)vmbus_channel_get(vmbus))->queue);
}

/* ENUMERATE_BUS makes the driver scan: it finds new units, and that others are gone. */
static void send_look(struct channel *ch)
{
	struct storage_packet p = {.operation = STORAGE_ENUMERATE_BUS};
	struct iovec iov = {&p, sizeof(p)};

	ch->look_due =
		ch->storage->stage == READY && vmbus_send(ch->vmbus, 0, false, &iov, 1) == -EAGAIN;
}

static void on_room(void *ctx, struct vmbus_channel *vmbus)
{
	struct channel *ch = vmbus_channel_get(vmbus);

	send_finished(ch);
	if (ch->look_due && !ch->finished)
		send_look(ch);
	vmbus_flush(vmbus);
}

static void on_look(void *ctx, uint32_t events)
{
	struct channel *ch = ctx;
	eventfd_t count;

	eventfd_read(ch->storage->look, &count);
	send_look(ch);
	vmbus_flush(ch->vmbus);
}

static void on_disk(void *ctx, uint32_t events)
{
	struct channel *ch = ctx;

	disk_queue_run(ch->queue, false);
	vmbus_flush(ch->vmbus);
	vmbus_resume(ch->vmbus);
}

static void channel_free(struct channel *ch)
{
	struct slab *slab;

	loop_watch_destroy(ch->look_watch);
	loop_watch_destroy(ch->disk_watch);
	disk_queue_destroy(ch->queue);
	while ((slab = ch->slabs)) {
		ch->slabs = slab->next;
		free(slab);
	}
	free(ch);
}

static int on_open(void *ctx, struct vmbus_channel *vmbus, const uint8_t *user_data)
{
	struct storage *s = ctx;
	struct loop *loop = vmbus_channel_loop(vmbus);
	struct channel *ch = calloc(1, sizeof(*ch));
	eventfd_t before;

	if (!ch)
		return -ENOMEM;
	ch->storage = s;
	ch->vmbus = vmbus;
	ch->finished_last = &ch->finished;
	ch->queue = disk_queue_create(s->config.engine, QUEUE_DEPTH);
	if (ch->queue)
		ch->disk_watch =
			loop_watch_create(loop, disk_queue_fd(ch->queue), EPOLLIN, on_disk, ch);
	if (ch->disk_watch && !vmbus_channel_index(vmbus)) {
		s->stage = BEGIN;
		/* The units that came until now the driver will find by itself. */
		eventfd_read(s->look, &before);
		ch->look_watch = loop_watch_create(loop, s->look, EPOLLIN, on_look, ch);
	}
	if (!ch->disk_watch || (!vmbus_channel_index(vmbus) && !ch->look_watch)) {
		channel_free(ch);
		return -ENOMEM;
	}
	vmbus_channel_set(vmbus, ch);
	return 0;
}

static void on_close(void *ctx, struct vmbus_channel *vmbus)
{
	struct channel *ch = vmbus_channel_get(vmbus);

	/* The guest's pages are the requests' until those have ended. */
	while (ch->in_flight)
		disk_queue_run(ch->queue, true);
	channel_free(ch);
}

static const struct vmbus_provider provider = {
	.open = on_open,
	.close = on_close,
	.receive = on_receive,
	.batch_end = on_batch_end,
	.room = on_room,
};

/* ---- The controller -------------------------------------------------------------------------- */

int storage_create(struct vmbus *bus, const struct storage_config *config, struct storage **storage)
{
	static const GUID scsi = STORAGE_SCSI_INTERFACE, ide = STORAGE_IDE_INTERFACE;
	struct vmbus_offer offer = {.name = config->name,
		.interface = config->ide ? ide : scsi,
		.instance = config->instance,
		.service = VMBUS_SERVED_ALONE};
	struct storage_offer properties = {.path = config->ide_path,
		.target = config->ide_target,
		.flags = config->ide ? STORAGE_OFFER_EMULATED_IDE : 0};
	struct storage *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->config = *config;
	memcpy(offer.user_data, &properties, sizeof(properties));
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->unused, NULL);
	s->look = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = s->look < 0 ? -errno : vmbus_offer(bus, &offer, &provider, s, &s->channel);
	if (err) {
		storage_destroy(s);
		return err;
	}
	*storage = s;
	return 0;
}

void storage_destroy(struct storage *s)
{
	if (!s)
		return;
	if (s->channel)
		vmbus_revoke(s->channel);
	if (s->look >= 0)
		close(s->look);
	pthread_cond_destroy(&s->unused);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
